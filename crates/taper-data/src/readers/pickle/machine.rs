//! The pickle machine: one opcode after another, on a stack of places in the arena.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::{Global, Id, Value};
use crate::error::{DataError, Result};

/// The pickle machine: input, stack, marks, memo.
pub(super) struct Machine<'a> {
    input: &'a [u8],
    path: &'a Path,
    position: usize,
    opcode_at: usize,
    pub(super) values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: BTreeMap<u64, Id>,
    /// Bytes decoded from Latin-1 so far: never more than the input has.
    decoded: usize,
}

impl<'a> Machine<'a> {
    pub(super) fn new(input: &'a [u8], path: &'a Path) -> Self {
        Self {
            input,
            path,
            position: 0,
            opcode_at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
            decoded: 0,
        }
    }
    fn error(&self, found: impl Into<String>, expected: &str) -> DataError {
        DataError::Pickle {
            path: self.path.into(),
            offset: self.opcode_at,
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// Runs to STOP; gives the place of the outermost value.
    pub(super) fn run(&mut self) -> Result<Id> {
        loop {
            self.opcode_at = self.position;
            let opcode = self.take(1)?[0];
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            0x80 => return self.protocol(),
            0x95 => return self.little_endian(8).map(drop), // FRAME: its length matters not
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Boolean),
            b'K' => return self.integer(1),
            b'M' => return self.integer(2),
            b'J' => return self.integer(4),
            0x8a => return self.long(),
            b'U' | b'C' | 0x8c => return self.text(1),
            b'T' | b'B' | b'X' => return self.text(4),
            0x8d | 0x8e => return self.text(8),
            b'}' => self.push(Value::Dictionary(Vec::new())),
            b']' => self.push(Value::List(Vec::new())),
            b')' => self.push(Value::Tuple(Vec::new())),
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items));
            }
            0x85..=0x87 => return self.short_tuple(usize::from(opcode - 0x84)),
            b'a' => {
                let item = self.pop()?;
                return self.extend_list(&[item]);
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                return self.extend_list(&items);
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                return self.extend_dictionary(&[key, value]);
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                return self.extend_dictionary(&items);
            }
            b'q' => return self.memorise(1),
            b'r' => return self.memorise(4),
            0x94 => {
                let (slot, top) = (self.memo.len() as u64, self.top()?);
                self.memo.insert(slot, top);
            }
            b'h' => return self.recall(1),
            b'j' => return self.recall(4),
            b'c' => return self.global(),
            0x93 => return self.stack_global(),
            b'R' => return self.reduce(),
            b'b' => return self.build(),
            _ => {
                let found = format!("opcode 0x{opcode:02x}");
                return Err(self.error(found, "an opcode of the CIFAR batches' vocabulary"));
            }
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let end = self.position.checked_add(count);
        match end.filter(|&end| end <= self.input.len()) {
            Some(end) => {
                let start = std::mem::replace(&mut self.position, end);
                Ok(&self.input[start..end])
            }
            None => {
                let left = self.input.len() - self.position;
                let found = format!("the end of the file ({left} of {count} bytes left)");
                Err(self.error(found, "a whole pickle (truncated file)"))
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.input[self.position..];
        match rest.iter().position(|&b| b == b'\n') {
            Some(length) => {
                let line = String::from_utf8_lossy(&rest[..length]).into_owned();
                self.position += length + 1;
                Ok(line)
            }
            None => Err(self.error("no end of line", "a whole pickle (truncated file)")),
        }
    }

    fn little_endian(&mut self, count: usize) -> Result<u64> {
        let mut word = [0; 8];
        word[..count].copy_from_slice(self.take(count)?);
        Ok(u64::from_le_bytes(word))
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// Takes the top of the stack, which must lie above the last mark.
    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len() > floor {
            true => self.stack.pop(),
            false => None,
        }
        .ok_or_else(|| self.error("an empty stack", "a value"))
    }

    fn top(&self) -> Result<Id> {
        let top = self.stack.last().copied();
        top.ok_or_else(|| self.error("an empty stack", "a value"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let Some(mark) = self.marks.pop() else {
            return Err(self.error("no mark", "a mark on the stack"));
        };
        Ok(self.stack.split_off(mark))
    }

    fn protocol(&mut self) -> Result<()> {
        match self.take(1)?[0] {
            2..=5 => Ok(()),
            other => Err(self.error(format!("protocol {other}"), "protocol 2 to 5")),
        }
    }

    /// BININT1, BININT2 (unsigned) and BININT (signed).
    fn integer(&mut self, bytes: usize) -> Result<()> {
        let word = self.little_endian(bytes)?;
        let value = match bytes {
            4 => i64::from(word as u32 as i32),
            _ => word as i64,
        };
        self.push(Value::Integer(value));
        Ok(())
    }

    /// LONG1: two's complement, little-endian, of a length given in one byte.
    fn long(&mut self) -> Result<()> {
        let length = usize::from(self.take(1)?[0]);
        if length > 8 {
            return Err(self.error(format!("an integer of {length} bytes"), "at most 8"));
        }
        let word = self.little_endian(length)?;
        let unused = 64 - 8 * length as u32;
        let value = match length {
            0 => 0,
            _ => ((word << unused) as i64) >> unused,
        };
        self.push(Value::Integer(value));
        Ok(())
    }

    /// Bytes or text with its length in `length_bytes` before it.
    fn text(&mut self, length_bytes: usize) -> Result<()> {
        let length = self.little_endian(length_bytes)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.take(length)?;
        self.push(Value::Text(self.position - length..self.position));
        Ok(())
    }

    fn short_tuple(&mut self, count: usize) -> Result<()> {
        let mut items = vec![0; count];
        for slot in items.iter_mut().rev() {
            *slot = self.pop()?;
        }
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn extend_list(&mut self, items: &[Id]) -> Result<()> {
        let list = self.top()?;
        match &mut self.values[list] {
            Value::List(list) => {
                list.extend_from_slice(items);
                Ok(())
            }
            _ => Err(self.error("items for what is no list", "a list below them")),
        }
    }

    fn extend_dictionary(&mut self, items: &[Id]) -> Result<()> {
        let dictionary = self.top()?;
        match &mut self.values[dictionary] {
            Value::Dictionary(entries) if items.len().is_multiple_of(2) => {
                entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            _ => Err(self.error(
                "items that are no entries of a dictionary",
                "pairs of key and value above a dictionary",
            )),
        }
    }

    fn memorise(&mut self, bytes: usize) -> Result<()> {
        let (slot, top) = (self.little_endian(bytes)?, self.top()?);
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, bytes: usize) -> Result<()> {
        let slot = self.little_endian(bytes)?;
        match self.memo.get(&slot) {
            Some(&id) => {
                self.stack.push(id);
                Ok(())
            }
            None => Err(self.error(format!("memo {slot}, never stored"), "a stored one")),
        }
    }

    fn global(&mut self) -> Result<()> {
        let (module, name) = (self.line()?, self.line()?);
        self.push_global(&module, &name)
    }

    fn stack_global(&mut self) -> Result<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Value::Text(name), Value::Text(module)) = (&self.values[name], &self.values[module])
        else {
            return Err(self.error("a global without a name", "two texts"));
        };
        let text = |range: &Range<usize>| String::from_utf8_lossy(&self.input[range.clone()]);
        let (module, name) = (text(module).into_owned(), text(name).into_owned());
        self.push_global(&module, &name)
    }

    fn push_global(&mut self, module: &str, name: &str) -> Result<()> {
        let global = match (module, name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => {
                Global::Reconstruct
            }
            ("numpy", "ndarray") => Global::NdArray,
            ("numpy", "dtype") => Global::DataType,
            ("_codecs", "encode") => Global::Encode,
            _ => {
                let shown: String = format!("{module}.{name}").chars().take(120).collect();
                return Err(self.error(
                    format!("the global \"{}\"", shown.escape_default()),
                    "only numpy's ndarray, dtype and _reconstruct (a pickle is never executed)",
                ));
            }
        };
        self.push(Value::Global(global));
        Ok(())
    }

    fn reduce(&mut self) -> Result<()> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let (Value::Tuple(arguments), Value::Global(global)) =
            (&self.values[arguments], &self.values[callable])
        else {
            return Err(self.error("a call of what is no global", "a global and a tuple"));
        };
        let first = arguments.first().map(|&id| &self.values[id]);
        let value = match (global, first) {
            (Global::Reconstruct, Some(Value::Global(Global::NdArray))) => Value::Array(None),
            (Global::DataType, Some(Value::Text(name))) if self.input[name.clone()] == *b"u1" => {
                Value::ByteType
            }
            (Global::Encode, Some(Value::Text(text))) => {
                let (text, encoding) = (text.clone(), arguments.get(1).copied());
                Value::Decoded(self.latin1(text, encoding)?)
            }
            (Global::DataType, _) => return Err(self.error("another dtype", "uint8 (\"u1\")")),
            _ => return Err(self.error("a call with other arguments", "numpy's own form")),
        };
        self.push(value);
        Ok(())
    }

    /// The bytes of a text in which each character stands for one.
    fn latin1(&mut self, text: Range<usize>, encoding: Option<Id>) -> Result<Vec<u8>> {
        let named = encoding.map(|id| &self.values[id]);
        let is_latin1 = matches!(named, Some(Value::Text(name))
            if matches!(&self.input[name.clone()], b"latin1" | b"latin-1"));
        self.decoded += text.len();
        if self.decoded > self.input.len() {
            return Err(self.error("more text than the file is long", "each text once"));
        }
        let text = std::str::from_utf8(&self.input[text]).ok();
        let bytes = text.and_then(|t| t.chars().map(|c| u8::try_from(c).ok()).collect());
        bytes
            .filter(|_| is_latin1)
            .ok_or_else(|| self.error("text in another encoding", "latin1"))
    }

    /// BUILD: gives an array its shape and data, or a dtype its (ignored) byte order.
    fn build(&mut self) -> Result<()> {
        let (state, target) = (self.pop()?, self.top()?);
        let Value::Tuple(state) = &self.values[state] else {
            return Err(self.error("a state that is no tuple", "numpy's own form"));
        };
        match &self.values[target] {
            Value::ByteType => return Ok(()),
            Value::Array(_) => {}
            _ => return Err(self.error("a state for another object", "an array or a dtype")),
        }
        // (version, shape, dtype, is Fortran-ordered, data)
        let &[_, shape, kind, _, data] = &state[..] else {
            let found = format!("an array's state of {} items", state.len());
            return Err(self.error(found, "5 items"));
        };
        let Value::Tuple(shape) = &self.values[shape] else {
            return Err(self.error("a shape that is no tuple", "a tuple"));
        };
        if !matches!(self.values[kind], Value::ByteType) {
            return Err(self.error("an array of another type", "uint8 (\"u1\")"));
        }
        let side = |&id: &Id| match self.values[id] {
            Value::Integer(value) => usize::try_from(value).ok(),
            _ => None,
        };
        let shape: Option<Vec<usize>> = shape.iter().map(side).collect();
        let shape = shape.ok_or_else(|| self.error("a shape of other values", "integers"))?;
        self.values[target] = Value::Array(Some((shape, data)));
        Ok(())
    }
}
