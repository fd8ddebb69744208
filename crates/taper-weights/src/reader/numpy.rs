//! A `.npy` array: versions 1 to 3, either byte order, C or Fortran order.

use super::source::Region;
use super::storage::Storage;
use super::view::{View, row_major};
use super::{ElementType, Limits};
use crate::WeightsError;
use std::sync::Arc;

/// First bytes of every `.npy` file.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Bytes before the header's text, at most.
const PREAMBLE: usize = 12;

/// What a header tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) dtype: ElementType,
    pub(crate) big_endian: bool,
    pub(crate) fortran_order: bool,
    pub(crate) shape: Vec<usize>,
    /// Where the numbers start.
    pub(crate) length: u64,
}

/// A whole `.npy` file.
pub(crate) fn read(file: &Region, limits: &Limits) -> Result<View, WeightsError> {
    let format = |reason: String| file.source.format(reason);
    let header = parse(limits, file.length, &mut |count| file.head(count))?
        .map_err(|reason| format(format!("NumPy array: {reason}")))?;
    let data = file
        .from(header.length)
        .ok_or_else(|| format("NumPy array: ends in its header".into()))?;
    let expected = super::view::byte_count(&header.shape, header.dtype);
    if expected.is_some_and(|bytes| bytes < data.length) {
        return Err(format(format!(
            "NumPy array: {} bytes follow the header, shape {:?} of {} has fewer",
            data.length, header.shape, header.dtype
        )));
    }
    let storage = Storage::plain("array", data).with_byte_order(header.big_endian);
    header.view(storage, 0).map_err(format)
}

impl Header {
    /// The array whose numbers start at byte `offset` of `storage`.
    pub(crate) fn view(&self, storage: Storage, offset: u64) -> Result<View, String> {
        array(
            Arc::new(storage),
            offset,
            self.dtype,
            &self.shape,
            self.fortran_order,
        )
    }
}

/// A tensor in C or Fortran order.
pub(crate) fn array(
    storage: Arc<Storage>,
    offset: u64,
    dtype: ElementType,
    shape: &[usize],
    fortran_order: bool,
) -> Result<View, String> {
    let mut view = View {
        storage,
        offset,
        dtype,
        shape: shape.to_vec(),
        strides: Vec::new(),
        conjugate: false,
        negative: false,
    };
    let mut extents = shape.to_vec();
    if fortran_order {
        extents.reverse();
    }
    view.strides = row_major(&extents)
        .ok_or_else(|| format!("shape {shape:?} has more elements than fit in 64 bits"))?;
    if fortran_order {
        view.strides.reverse();
    }
    view.check()?;
    Ok(view)
}

/// Parses the header; `head` gives up to so many bytes from the start of the array's file.
pub(crate) fn parse(
    limits: &Limits,
    length: u64,
    head: &mut dyn FnMut(usize) -> Result<Vec<u8>, WeightsError>,
) -> Result<Result<Header, String>, WeightsError> {
    let preamble = head(PREAMBLE)?;
    let text_span = match text_span(&preamble) {
        Ok(span) => span,
        Err(reason) => return Ok(Err(reason)),
    };
    if text_span.end as u64 > length {
        return Ok(Err(format!(
            "the header is announced with {} bytes, the file has {length}: truncated",
            text_span.end
        )));
    }
    if text_span.end as u64 > limits.header_bytes.min(1 << 24) {
        return Ok(Err(format!(
            "a header of {} bytes is no header",
            text_span.end
        )));
    }
    let bytes = head(text_span.end)?;
    let Some(text) = bytes.get(text_span.clone()) else {
        return Ok(Err("the header is truncated".into()));
    };
    Ok(parse_text(
        &String::from_utf8_lossy(text),
        text_span.end as u64,
    ))
}

fn text_span(preamble: &[u8]) -> Result<std::ops::Range<usize>, String> {
    if !preamble.starts_with(MAGIC) {
        return Err("does not start as a NumPy array".into());
    }
    match preamble {
        [_, _, _, _, _, _, 1, _, a, b, ..] => {
            Ok(10..10 + usize::from(u16::from_le_bytes([*a, *b])))
        }
        [_, _, _, _, _, _, 2 | 3, _, a, b, c, d] => {
            let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
            Ok(12..12usize.saturating_add(length))
        }
        [_, _, _, _, _, _, major, ..] if *major > 3 => Err(format!(
            "format version {major} is not known; expected 1, 2 or 3"
        )),
        _ => Err("the header is truncated".into()),
    }
}

fn parse_text(text: &str, length: u64) -> Result<Header, String> {
    let mut literal = Literal { rest: text };
    let mut descr = None;
    let mut fortran_order = None;
    let mut shape = None;
    literal.expect('{')?;
    while !literal.take('}') {
        let key = literal.string()?;
        literal.expect(':')?;
        let twice = match key {
            "descr" => descr.replace(literal.descr()?).is_some(),
            "fortran_order" => fortran_order.replace(literal.boolean()?).is_some(),
            "shape" => shape.replace(literal.shape()?).is_some(),
            other => return Err(format!("header key '{other}' is not known")),
        };
        if twice {
            return Err(format!("header key '{key}' is there twice"));
        }
        if !literal.take(',') {
            literal.expect('}')?;
            break;
        }
    }
    if !literal.rest.trim().is_empty() {
        return Err("the header has more than a dictionary".into());
    }
    let missing = |key: &str| format!("the header has no '{key}'");
    let (dtype, big_endian) = element_type(descr.ok_or_else(|| missing("descr"))?)?;
    Ok(Header {
        dtype,
        big_endian,
        fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
        shape: shape.ok_or_else(|| missing("shape"))?,
        length,
    })
}

/// NumPy's code, `<f4`, and whether its bytes are reversed.
pub(crate) fn element_type(code: &str) -> Result<(ElementType, bool), String> {
    let (order, kind) = match code.chars().next() {
        Some(order @ ('<' | '>' | '|' | '=')) => (order, &code[1..]),
        _ => ('=', code),
    };
    let dtype = match kind {
        "b1" | "?" | "bool" => ElementType::Bool,
        "u1" => ElementType::U8,
        "i1" => ElementType::I8,
        "u2" => ElementType::U16,
        "i2" => ElementType::I16,
        "u4" => ElementType::U32,
        "i4" => ElementType::I32,
        "u8" => ElementType::U64,
        "i8" => ElementType::I64,
        "f2" => ElementType::F16,
        "f4" => ElementType::F32,
        "f8" => ElementType::F64,
        "c8" => ElementType::Complex64,
        "c16" => ElementType::Complex128,
        "bfloat16" => ElementType::BF16,
        _ => return Err(refusal(code, kind)),
    };
    Ok((dtype, order == '>'))
}

fn refusal(code: &str, kind: &str) -> String {
    let what = match kind.chars().next() {
        Some('O') => "Python objects (they would have to be unpickled)",
        Some('U' | 'S' | 'a') => "text",
        Some('M' | 'm') => "dates",
        Some('V') => "raw bytes without a type",
        Some('f' | 'c') => "extended precision",
        _ => "no numbers that Taper knows",
    };
    format!(
        "element type '{code}' is {what}; expected booleans, integers, floats or complex numbers of 1 to 16 bytes"
    )
}

/// The Python literals that a header uses.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    fn take(&mut self, token: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: char) -> Result<(), String> {
        if self.take(token) {
            return Ok(());
        }
        let found: String = self.rest.chars().take(20).collect();
        Err(format!("header: found `{found}`, expected `{token}`"))
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let quote = if self.take('"') {
            '"'
        } else {
            self.expect('\'')?;
            '\''
        };
        let (text, rest) = self
            .rest
            .split_once(quote)
            .ok_or_else(|| "header: a string without its end".to_string())?;
        self.rest = rest;
        Ok(text)
    }

    fn descr(&mut self) -> Result<&'a str, String> {
        if self.rest.trim_start().starts_with('[') {
            return Err("the array has named fields; expected plain numbers".into());
        }
        self.string()
    }

    fn boolean(&mut self) -> Result<bool, String> {
        self.rest = self.rest.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err("header: fortran_order is neither True nor False".into())
    }

    fn shape(&mut self) -> Result<Vec<usize>, String> {
        self.expect('(')?;
        let mut shape = Vec::new();
        while !self.take(')') {
            self.rest = self.rest.trim_start();
            let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            let number = &self.rest[..digits];
            self.rest = &self.rest[digits..];
            // Python 2 wrote long integers as 3L.
            self.take('L');
            let extent = number
                .parse()
                .map_err(|_| format!("header: shape has `{number}` where a size is expected"))?;
            shape.push(extent);
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        if shape.len() > super::MAX_RANK {
            return Err(format!(
                "{} dimensions; at most {} are known",
                shape.len(),
                super::MAX_RANK
            ));
        }
        Ok(shape)
    }
}
