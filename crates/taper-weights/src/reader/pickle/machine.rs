//! The stack machine: opcodes to a [`Graph`].

use super::globals::allowed;
use super::input::Input;
use super::{Global, Graph, Node, Value};
use crate::WeightsError;
use crate::reader::Limits;
use crate::reader::source::Region;
use std::collections::HashMap;
use std::sync::Arc;

/// What a value on the stack, in a container or in the memo is charged with.
const VALUE_BYTES: u64 = 64;

/// What a container is charged with.
const NODE_BYTES: u64 = 96;

/// What bytes in memory are charged with beside themselves.
const SOURCE_BYTES: u64 = 192;

/// The longest line of protocols 0 and 1.
const LINE: usize = 1 << 20;

/// Bytes objects below this are kept in memory.
const INLINE: u64 = 1 << 12;

/// Parses pickles of one file; they share the cap on memory.
pub(crate) struct Parser<'a> {
    pub(crate) limits: &'a Limits,
    /// Class names of TorchScript are allowed.
    pub(crate) torch_script: bool,
    left: u64,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            torch_script: false,
            left: limits.pickle_bytes,
        }
    }

    /// Parses the pickle that starts at `position`; gives the position after it.
    pub(crate) fn parse(
        &mut self,
        region: &Region,
        position: u64,
    ) -> Result<(Graph, u64), WeightsError> {
        let mut machine = Machine {
            input: Input::new(region.clone(), position),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            nodes: Vec::new(),
            left: self.left,
            cap: self.limits.pickle_bytes,
            torch_script: self.torch_script,
            opcode_at: position,
        };
        let root = machine.run()?;
        self.left = machine.left;
        let end = machine.input.position();
        let nodes = machine.nodes;
        Ok((Graph { nodes, root }, end))
    }
}

struct Machine {
    input: Input,
    stack: Vec<Value>,
    /// Stack heights.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    nodes: Vec<Node>,
    /// Bytes of memory that may still be taken.
    left: u64,
    cap: u64,
    torch_script: bool,
    opcode_at: u64,
}

type Step<T = ()> = Result<T, WeightsError>;

impl Machine {
    fn run(&mut self) -> Step<Value> {
        loop {
            self.opcode_at = self.input.position();
            let opcode = self.input.byte()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Step {
        match opcode {
            0x80 => self.protocol(),
            0x95 => self.input.array::<8>().map(|_| ()),
            b'(' => {
                self.charge(VALUE_BYTES)?;
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop_or_mark(),
            b'1' => self.pop_mark().map(|_| ()),
            b'2' => {
                let top = self.top()?.clone();
                self.push(top)
            }
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'I' | b'J' | b'K' | b'M' | b'L' | 0x8a | 0x8b | b'F' | b'G' => self.number(opcode),
            b'S' | b'T' | b'U' | b'V' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | 0x96 => {
                self.string(opcode)
            }
            b']' | b')' | b'}' | 0x8f | 0x91 | b'l' | b'd' | b't' | 0x85..=0x87 => {
                self.container(opcode)
            }
            b'a' | b'e' | b's' | b'u' | 0x90 => self.extend(opcode),
            b'g' | b'h' | b'j' => self.get(opcode),
            b'p' | b'q' | b'r' | 0x94 => self.put(opcode),
            b'c' | 0x93 | b'i' | b'o' => self.global(opcode),
            b'R' | 0x81 | 0x92 => self.call(opcode),
            b'b' => self.build(),
            b'P' => {
                let id = self.input.line(LINE)?;
                self.charge(id.len() as u64)?;
                self.push_node(Node::Persistent(Value::Text(id.into())))
            }
            b'Q' => {
                let id = self.pop()?;
                self.push_node(Node::Persistent(id))
            }
            0x82..=0x84 => Err(self.refused("an extension code of copyreg")),
            0x97 | 0x98 => Err(self.refused("a buffer that is not in the file (NEXT_BUFFER)")),
            other => Err(self.refused(&format!("opcode {other:#04x}, which no pickle has"))),
        }
    }

    fn protocol(&mut self) -> Step {
        match self.input.byte()? {
            0..=5 => Ok(()),
            other => Err(self.refused(&format!("pickle protocol {other}; expected 0 to 5"))),
        }
    }

    // Errors and accounts.

    fn refused(&self, what: &str) -> WeightsError {
        self.input.format(format!(
            "pickle, position {}: found {what}; a checkpoint of tensors needs none and nothing was executed",
            self.opcode_at
        ))
    }

    fn damaged(&self, what: &str) -> WeightsError {
        self.input.format(format!(
            "pickle, position {}: {what}: damaged",
            self.opcode_at
        ))
    }

    fn charge(&mut self, bytes: u64) -> Step {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(self.input.limit(
                format!("a pickle whose objects take more than {} bytes", self.cap),
                "pickle_bytes",
            )),
        }
    }

    // The stack.

    fn push(&mut self, value: Value) -> Step {
        self.charge(VALUE_BYTES)?;
        self.stack.push(value);
        Ok(())
    }

    fn push_node(&mut self, node: Node) -> Step {
        self.charge(NODE_BYTES)?;
        self.nodes.push(node);
        self.push(Value::Node(self.nodes.len() - 1))
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Step<Value> {
        if self.stack.len() <= self.floor() {
            return Err(self.damaged("the stack is empty"));
        }
        self.stack
            .pop()
            .ok_or_else(|| self.damaged("the stack is empty"))
    }

    fn pop_or_mark(&mut self) -> Step {
        if self.stack.len() == self.floor() && self.marks.pop().is_some() {
            return Ok(());
        }
        self.pop().map(|_| ())
    }

    fn pop_mark(&mut self) -> Step<Vec<Value>> {
        let height = self
            .marks
            .pop()
            .ok_or_else(|| self.damaged("no mark is set"))?;
        Ok(self.stack.split_off(height))
    }

    fn top(&self) -> Step<&Value> {
        if self.stack.len() <= self.floor() {
            return Err(self.damaged("the stack is empty"));
        }
        self.stack
            .last()
            .ok_or_else(|| self.damaged("the stack is empty"))
    }

    fn top_node(&mut self) -> Step<&mut Node> {
        match self.top()? {
            Value::Node(index) => {
                let index = *index;
                match self.nodes.get_mut(index) {
                    Some(node) => Ok(node),
                    None => Err(self.input.format("pickle: damaged".into())),
                }
            }
            _ => Err(self.damaged("an opcode changes something that is no container")),
        }
    }

    // Opcodes, by kind.

    fn number(&mut self, opcode: u8) -> Step {
        let value = match opcode {
            b'J' => Value::Int(i32::from_le_bytes(self.input.array()?).into()),
            b'K' => Value::Int(self.input.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(self.input.array()?).into()),
            b'G' => Value::Float(f64::from_be_bytes(self.input.array()?)),
            0x8a => {
                let length = self.input.byte()?;
                self.long(length.into())?
            }
            0x8b => {
                let length = u32::from_le_bytes(self.input.array()?);
                self.long(length.into())?
            }
            _ => {
                let line = self.input.line(LINE)?;
                match (opcode, line.as_str()) {
                    (b'I', "00") => Value::Bool(false),
                    (b'I', "01") => Value::Bool(true),
                    (b'F', line) => Value::Float(
                        line.trim()
                            .parse()
                            .map_err(|_| self.damaged("a float is no number"))?,
                    ),
                    (_, line) => self.decimal(line.trim().trim_end_matches('L'))?,
                }
            }
        };
        self.push(value)
    }

    fn decimal(&self, digits: &str) -> Step<Value> {
        match digits.parse::<i64>() {
            Ok(number) => Ok(Value::Int(number)),
            Err(_)
                if !digits.is_empty()
                    && digits
                        .bytes()
                        .all(|byte| byte.is_ascii_digit() || byte == b'-') =>
            {
                // The magic number of PyTorch is the only one that matters beyond 64 bits.
                let bytes = digits.parse::<i128>().map_or([0xff; 16], i128::to_le_bytes);
                Ok(Value::Long(Arc::from(trimmed(&bytes))))
            }
            Err(_) => Err(self.damaged("an integer is no number")),
        }
    }

    fn long(&mut self, length: u64) -> Step<Value> {
        self.input.require(length)?;
        self.charge(length)?;
        let bytes = self.input.take(length)?;
        let kept = trimmed(&bytes);
        if kept.len() > 8 {
            return Ok(Value::Long(Arc::from(kept)));
        }
        let negative = kept.last().is_some_and(|last| last & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..kept.len()].copy_from_slice(kept);
        Ok(Value::Int(i64::from_le_bytes(wide)))
    }

    fn string(&mut self, opcode: u8) -> Step {
        let length = match opcode {
            b'S' | b'V' => {
                let line = self.input.line(LINE)?;
                self.charge(line.len() as u64)?;
                return self.quoted(opcode, &line);
            }
            b'U' | 0x8c | b'C' => u64::from(self.input.byte()?),
            b'T' | b'X' | b'B' => u32::from_le_bytes(self.input.array()?).into(),
            _ => u64::from_le_bytes(self.input.array()?),
        };
        if matches!(opcode, b'X' | 0x8c | 0x8d) {
            self.input.require(length)?;
            self.charge(length)?;
            let text = String::from_utf8(self.input.take(length)?)
                .map_err(|_| self.damaged("a text is no UTF-8"))?;
            return self.push(Value::Text(text.into()));
        }
        let region = self.input.region(length)?;
        if length > INLINE {
            return self.push(Value::Bytes(region));
        }
        self.charge(length + SOURCE_BYTES)?;
        let copy = Region::out_of(&region.source, region.bytes()?);
        self.push(Value::Bytes(copy))
    }

    /// Texts of protocol 0.
    fn quoted(&mut self, opcode: u8, line: &str) -> Step {
        if opcode == b'V' {
            let text =
                unescaped(line, true).ok_or_else(|| self.damaged("a text has a wrong escape"))?;
            return self.push(Value::Text(text.into_iter().collect::<String>().into()));
        }
        let inner = ['\'', '"']
            .iter()
            .find_map(|&quote| line.strip_prefix(quote)?.strip_suffix(quote))
            .ok_or_else(|| self.damaged("a text without quotes"))?;
        let text =
            unescaped(inner, false).ok_or_else(|| self.damaged("a text has a wrong escape"))?;
        let bytes: Option<Vec<u8>> = text
            .iter()
            .map(|&c| u8::try_from(u32::from(c)).ok())
            .collect();
        match bytes {
            Some(bytes) => {
                let region = self.input.region(0)?;
                self.charge(SOURCE_BYTES)?;
                self.push(Value::Bytes(Region::out_of(&region.source, bytes)))
            }
            None => self.push(Value::Text(text.into_iter().collect::<String>().into())),
        }
    }

    fn container(&mut self, opcode: u8) -> Step {
        let node = match opcode {
            b']' => Node::List(Vec::new()),
            b')' => Node::Tuple(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            0x8f => Node::Set,
            0x91 => {
                self.pop_mark()?;
                Node::Set
            }
            b'l' => Node::List(self.pop_mark()?),
            b't' => Node::Tuple(self.pop_mark()?),
            b'd' => {
                let items = self.pop_mark()?;
                Node::Dict(self.pairs(items)?)
            }
            _ => {
                let count = usize::from(opcode - 0x84);
                let mut items = Vec::with_capacity(count);
                for _ in 0..count {
                    items.push(self.pop()?);
                }
                items.reverse();
                Node::Tuple(items)
            }
        };
        self.push_node(node)
    }

    fn pairs(&self, items: Vec<Value>) -> Step<Vec<(Value, Value)>> {
        if !items.len().is_multiple_of(2) {
            return Err(self.damaged("a dictionary has a key without a value"));
        }
        let mut pairs = Vec::with_capacity(items.len() / 2);
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            pairs.push((key, value));
        }
        Ok(pairs)
    }

    fn extend(&mut self, opcode: u8) -> Step {
        let items = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        match opcode {
            b'a' | b'e' => match self.top_node()? {
                Node::List(list) => list.extend(items),
                _ => return Err(self.damaged("items are appended to something that is no list")),
            },
            b's' | b'u' => {
                let pairs = self.pairs(items)?;
                match self.top_node()? {
                    Node::Dict(dict) => dict.extend(pairs),
                    _ => {
                        return Err(
                            self.damaged("items are set in something that is no dictionary")
                        );
                    }
                }
            }
            _ => match self.top_node()? {
                Node::Set => {}
                _ => return Err(self.damaged("items are added to something that is no set")),
            },
        }
        Ok(())
    }

    fn memo_index(&mut self, opcode: u8) -> Step<u32> {
        match opcode {
            b'h' | b'q' => Ok(self.input.byte()?.into()),
            b'j' | b'r' => Ok(u32::from_le_bytes(self.input.array()?)),
            _ => {
                let line = self.input.line(LINE)?;
                line.trim()
                    .parse()
                    .map_err(|_| self.damaged("a memo index is no number"))
            }
        }
    }

    fn get(&mut self, opcode: u8) -> Step {
        let index = self.memo_index(opcode)?;
        let value = self.memo.get(&index).cloned();
        let value = value.ok_or_else(|| self.damaged(&format!("memo {index} was never stored")))?;
        self.push(value)
    }

    fn put(&mut self, opcode: u8) -> Step {
        let index = if opcode == 0x94 {
            self.memo.len() as u32
        } else {
            self.memo_index(opcode)?
        };
        self.charge(VALUE_BYTES)?;
        let value = self.top()?.clone();
        self.memo.insert(index, value);
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Step {
        if opcode == b'o' {
            let mut items = self.pop_mark()?.into_iter();
            let class = items.next();
            let Some(Value::Global(callable)) = class else {
                return Err(self.damaged("an object without a class"));
            };
            return self.push_call(callable, items.collect(), None);
        }
        let (module, name) = if opcode == 0x93 {
            let name = self.pop()?;
            let module = self.pop()?;
            match (module, name) {
                (Value::Text(module), Value::Text(name)) => (module.to_string(), name.to_string()),
                _ => return Err(self.damaged("a global whose name is no text")),
            }
        } else {
            (self.input.line(LINE)?, self.input.line(LINE)?)
        };
        if !allowed(&module, &name, self.torch_script) {
            return Err(self.refused_global(&module, &name));
        }
        self.charge((module.len() + name.len()) as u64 + NODE_BYTES)?;
        let global = Arc::new(Global { module, name });
        if opcode == b'i' {
            let arguments = self.pop_mark()?;
            return self.push_call(global, arguments, None);
        }
        self.push(Value::Global(global))
    }

    fn refused_global(&self, module: &str, name: &str) -> WeightsError {
        let shown = |text: &str| -> String {
            text.chars()
                .take(100)
                .flat_map(char::escape_debug)
                .collect()
        };
        let hint =
            if module.starts_with("torch.nn.") || module == "__main__" || module.contains("models")
            {
                "; this is a whole Python object: save its state_dict() instead"
            } else {
                ""
            };
        self.input.format(format!(
            "pickle, position {}: refused the global {}.{}, which is not in the vocabulary of tensors; nothing was executed{hint}",
            self.opcode_at,
            shown(module),
            shown(name),
        ))
    }

    fn push_call(
        &mut self,
        callable: Arc<Global>,
        arguments: Vec<Value>,
        state: Option<Value>,
    ) -> Step {
        self.charge(NODE_BYTES)?;
        self.nodes.push(Node::Tuple(arguments));
        let arguments = Value::Node(self.nodes.len() - 1);
        self.push_node(Node::Call {
            callable,
            arguments,
            state,
        })
    }

    fn call(&mut self, opcode: u8) -> Step {
        if opcode == 0x92 {
            self.pop()?; // keyword arguments
        }
        let arguments = self.pop()?;
        let Value::Global(callable) = self.pop()? else {
            return Err(self.refused("a call of something that is no global of the vocabulary"));
        };
        let items = match arguments {
            Value::Node(index) => match self.nodes.get(index) {
                Some(Node::Tuple(items)) => items.clone(),
                _ => return Err(self.damaged("a call whose arguments are no tuple")),
            },
            _ => return Err(self.damaged("a call whose arguments are no tuple")),
        };
        self.charge(items.len() as u64 * VALUE_BYTES)?;
        match (callable.module.as_str(), callable.name.as_str()) {
            ("collections", "OrderedDict" | "defaultdict" | "Counter")
            | ("builtins" | "__builtin__", "dict") => {
                let node = self.dictionary(&items)?;
                self.push_node(node)
            }
            ("collections", "deque") | ("builtins" | "__builtin__", "list") => {
                let content = match items.first() {
                    Some(Value::Node(index)) => match self.nodes.get(*index) {
                        Some(Node::List(list) | Node::Tuple(list)) => list.clone(),
                        _ => Vec::new(),
                    },
                    _ => Vec::new(),
                };
                self.charge(content.len() as u64 * VALUE_BYTES)?;
                self.push_node(Node::List(content))
            }
            ("copyreg" | "copy_reg", "__newobj__") => {
                let mut items = items.into_iter();
                match items.next() {
                    Some(Value::Global(class)) => self.push_call(class, items.collect(), None),
                    _ => Err(self.damaged("__newobj__ without a class")),
                }
            }
            ("torch.jit._pickle", name)
                if name.starts_with("build_") || name == "restore_type_tag" =>
            {
                let inner = items.into_iter().next().unwrap_or(Value::None);
                self.push(inner)
            }
            _ => self.push_call(callable, items, None),
        }
    }

    /// `OrderedDict()`, or with a list of pairs as Python 2 wrote it.
    fn dictionary(&mut self, items: &[Value]) -> Step<Node> {
        let find = |value: &Value| match value {
            Value::Node(index) => self.nodes.get(*index),
            _ => None,
        };
        let mut pairs = Vec::new();
        for argument in items {
            match find(argument) {
                Some(Node::Dict(dict)) => pairs.extend(dict.iter().cloned()),
                Some(Node::List(list) | Node::Tuple(list)) => {
                    for pair in list {
                        match find(pair) {
                            Some(Node::List(pair) | Node::Tuple(pair)) if pair.len() == 2 => {
                                pairs.push((pair[0].clone(), pair[1].clone()));
                            }
                            _ => {
                                return Err(
                                    self.damaged("a dictionary of something that is no pairs")
                                );
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        self.charge(pairs.len() as u64 * 2 * VALUE_BYTES)?;
        Ok(Node::Dict(pairs))
    }

    fn build(&mut self) -> Step {
        let new_state = self.pop()?;
        match self.top()? {
            // Attributes of a class that is only mentioned.
            Value::Global(_) => return Ok(()),
            Value::Node(_) => {}
            _ => return Err(self.damaged("a state is given to a number or text")),
        }
        if let Node::Call { state, .. } = self.top_node()? {
            *state = Some(new_state);
        }
        Ok(())
    }
}

/// Little-endian two's complement without the bytes that only repeat the sign.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let mut kept = bytes;
    while let [.., before, last] = kept {
        let sign = if before & 0x80 == 0 { 0 } else { 0xff };
        if *last != sign {
            break;
        }
        kept = &kept[..kept.len() - 1];
    }
    kept
}

/// Python's escapes; `unicode` knows `\u` and `\U` alone.
fn unescaped(text: &str, unicode: bool) -> Option<Vec<char>> {
    let mut result = Vec::new();
    let mut rest = text.chars();
    let hex = |rest: &mut std::str::Chars<'_>, count: usize| -> Option<char> {
        let digits: String = rest.by_ref().take(count).collect();
        (digits.len() == count).then_some(())?;
        char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
    };
    while let Some(c) = rest.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        let c = match (rest.next()?, unicode) {
            ('u', true) => hex(&mut rest, 4)?,
            ('U', true) => hex(&mut rest, 8)?,
            (other, true) => {
                result.push('\\');
                other
            }
            ('x', _) => hex(&mut rest, 2)?,
            ('n', _) => '\n',
            ('r', _) => '\r',
            ('t', _) => '\t',
            ('a', _) => '\x07',
            ('b', _) => '\x08',
            ('f', _) => '\x0c',
            ('v', _) => '\x0b',
            (first @ '0'..='7', _) => {
                let mut value = first.to_digit(8)?;
                for _ in 0..2 {
                    match rest.clone().next().and_then(|next| next.to_digit(8)) {
                        Some(digit) => {
                            value = value * 8 + digit;
                            rest.next();
                        }
                        None => break,
                    }
                }
                char::from_u32(value & 0xff)?
            }
            (other @ ('\\' | '\'' | '"'), _) => other,
            (other, _) => {
                result.push('\\');
                other
            }
        };
        result.push(c);
    }
    Some(result)
}
