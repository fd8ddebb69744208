//! Which objects of a pickle are tensors, and what they view.

use super::pickle::{Global, Graph, Node, Value};
use super::storage::Storage;
use super::view::View;
use super::{ElementType, MAX_RANK, numpy};
use crate::reader::source::{Region, Source};
use std::sync::Arc;

/// What a persistent id stands for.
#[derive(Debug, Clone)]
pub(crate) enum Stored {
    Storage(Typed),
    /// Tar archives keep whole tensors.
    Tensor(View),
}

/// A storage, or the part of one that a view of it is.
#[derive(Debug, Clone)]
pub(crate) struct Typed {
    pub(crate) storage: Arc<Storage>,
    /// `None` for an untyped storage: the tensor tells.
    pub(crate) dtype: Option<ElementType>,
    /// Bytes from the start of `storage`.
    pub(crate) offset: u64,
}

/// Finds what a persistent id stands for.
pub(crate) type Lookup<'a> = dyn Fn(&Graph, &Value) -> Result<Stored, String> + 'a;

/// Tells tensors from other objects.
pub(crate) struct Resolver<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) lookup: &'a Lookup<'a>,
    pub(crate) source: &'a Source,
}

/// Wrappers of wrappers of a tensor, at most.
const WRAPPED: usize = 8;

impl Resolver<'_> {
    /// `None` when the object is no tensor; the reason when it is one that cannot be read.
    pub(crate) fn tensor(&self, value: &Value) -> Option<Result<View, String>> {
        self.tensor_within(value, WRAPPED)
    }

    fn tensor_within(&self, value: &Value, depth: usize) -> Option<Result<View, String>> {
        match self.graph.node(value)? {
            Node::Persistent(id) => match (self.lookup)(self.graph, id) {
                Ok(Stored::Tensor(view)) => Some(Ok(view)),
                // A storage saved by itself is a vector of its numbers.
                Ok(Stored::Storage(typed)) => Some(bare_storage(typed)),
                Err(reason) => Some(Err(reason)),
            },
            Node::Call {
                callable,
                arguments,
                state,
            } => {
                let arguments = self.graph.items(arguments)?;
                if depth == 0 {
                    return Some(Err("is wrapped too deeply".into()));
                }
                self.called(callable, arguments, state.as_ref(), depth - 1)
            }
            _ => None,
        }
    }

    fn called(
        &self,
        callable: &Global,
        arguments: &[Value],
        state: Option<&Value>,
        depth: usize,
    ) -> Option<Result<View, String>> {
        let name = callable.name.as_str();
        match (callable.module.as_str(), name) {
            ("torch._utils", "_rebuild_tensor") => Some(self.strided(arguments, None, None)),
            ("torch._utils", "_rebuild_tensor_v2") => {
                Some(self.strided(arguments, None, arguments.get(6)))
            }
            ("torch._utils", "_rebuild_tensor_v3") => {
                Some(self.strided(arguments, arguments.get(6), arguments.get(7)))
            }
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")
            | ("torch.nn.parameter", "Parameter" | "Buffer")
            | ("torch.autograd.variable", "Variable") => {
                // Of old: Parameter() with the tensor first in its state.
                let data = arguments
                    .first()
                    .or_else(|| self.graph.items(state?)?.first())?;
                self.tensor_within(data, depth)
            }
            ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor") => {
                Some(self.device_tensor(arguments, depth))
            }
            ("torch._utils", "_rebuild_device_tensor_from_numpy" | "_rebuild_xla_tensor") => {
                Some(self.device_tensor(arguments, depth))
            }
            ("torch._tensor" | "torch.tensor", "_rebuild_from_type" | "_rebuild_from_type_v2") => {
                match arguments {
                    [Value::Global(function), _, inner, ..] => {
                        let inner = self.graph.items(inner)?;
                        self.called(function, inner, None, depth.checked_sub(1)?)
                    }
                    _ => Some(Err("has damaged arguments of _rebuild_from_type".into())),
                }
            }
            ("torch._utils", _) => Some(Err(refusal(name))),
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => {
                Some(self.array(state?))
            }
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => {
                Some(self.buffer(arguments))
            }
            _ => None,
        }
    }

    /// `_rebuild_tensor*(storage, offset, size, stride, …)`.
    fn strided(
        &self,
        arguments: &[Value],
        dtype: Option<&Value>,
        metadata: Option<&Value>,
    ) -> Result<View, String> {
        let damaged = || "has damaged arguments of _rebuild_tensor".to_string();
        let [storage, offset, size, stride, ..] = arguments else {
            return Err(damaged());
        };
        let Some(Node::Persistent(id)) = self.graph.node(storage) else {
            return Err("has no storage".into());
        };
        let Stored::Storage(stored) = (self.lookup)(self.graph, id)? else {
            return Err(damaged());
        };
        let dtype = match dtype {
            Some(Value::Global(global)) => torch_dtype(global)?,
            Some(_) => return Err(damaged()),
            None => stored
                .dtype
                .ok_or("is a view of an untyped storage without a type")?,
        };
        let offset = self
            .graph
            .integer(offset)
            .and_then(|n| u64::try_from(n).ok());
        let offset = offset
            .and_then(|n| {
                n.checked_mul(dtype.size() as u64)?
                    .checked_add(stored.offset)
            })
            .ok_or_else(damaged)?;
        let shape = self
            .graph
            .sizes(size)
            .ok_or("has a shape that is no list of sizes")?;
        let strides = self
            .graph
            .sizes(stride)
            .ok_or("has strides that are no list of non-negative integers")?;
        if shape.len() != strides.len() || shape.len() > MAX_RANK {
            return Err(format!(
                "has {} sizes and {} strides",
                shape.len(),
                strides.len()
            ));
        }
        let (conjugate, negative) = self.signs(metadata)?;
        let view = View {
            storage: stored.storage,
            offset,
            dtype,
            shape: shape
                .into_iter()
                .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
                .collect(),
            strides,
            conjugate,
            negative,
        };
        view.check()?;
        Ok(view)
    }

    /// The `conj` and `neg` bits.
    fn signs(&self, metadata: Option<&Value>) -> Result<(bool, bool), String> {
        let mut signs = (false, false);
        for (key, value) in metadata
            .and_then(|m| self.graph.dict(m))
            .unwrap_or_default()
        {
            let on = self.graph.integer(value) == Some(1);
            match self.graph.text(key).as_deref() {
                Some("conj") => signs.0 = on,
                Some("neg") => signs.1 = on,
                _ => return Err("has metadata that is not known".into()),
            }
        }
        Ok(signs)
    }

    fn device_tensor(&self, arguments: &[Value], depth: usize) -> Result<View, String> {
        let inner = arguments
            .first()
            .and_then(|data| self.tensor_within(data, depth));
        let view = inner.ok_or("has no data")??;
        match arguments.get(1) {
            Some(Value::Global(global)) if torch_dtype(global)? != view.dtype => Err(format!(
                "is stored as {} and was {} on its device; refused",
                view.dtype,
                torch_dtype(global)?
            )),
            _ => Ok(view),
        }
    }

    /// The state of a NumPy array: version, shape, type, Fortran order, bytes.
    fn array(&self, state: &Value) -> Result<View, String> {
        let items = self.graph.items(state).unwrap_or_default();
        let [.., shape, dtype, fortran, data] = items else {
            return Err("is a damaged NumPy array".into());
        };
        let fortran = self.graph.integer(fortran) == Some(1);
        self.array_of(data, dtype, shape, fortran)
    }

    /// `_frombuffer(bytes, type, shape, order)`.
    fn buffer(&self, arguments: &[Value]) -> Result<View, String> {
        let [data, dtype, shape, order] = arguments else {
            return Err("is a damaged NumPy array".into());
        };
        let fortran = self.graph.text(order).as_deref() == Some("F");
        self.array_of(data, dtype, shape, fortran)
    }

    fn array_of(
        &self,
        data: &Value,
        dtype: &Value,
        shape: &Value,
        fortran: bool,
    ) -> Result<View, String> {
        let (dtype, big_endian) = self.numpy_type(dtype)?;
        let shape = self
            .graph
            .sizes(shape)
            .ok_or("is a NumPy array without a shape")?;
        let shape: Vec<usize> = shape
            .into_iter()
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
            .collect();
        if shape.len() > MAX_RANK {
            return Err(format!("has {} dimensions", shape.len()));
        }
        let region = self.bytes(data).ok_or("is a NumPy array without bytes")?;
        let storage = Storage::plain("NumPy array", region).with_byte_order(big_endian);
        numpy::array(Arc::new(storage), 0, dtype, &shape, fortran)
    }

    /// Bytes, or a text that stands for them in protocols below 3.
    fn bytes(&self, value: &Value) -> Option<Region> {
        if let Value::Bytes(region) = value {
            return Some(region.clone());
        }
        let (callable, arguments, _) = self.graph.call(value)?;
        let first = self.graph.items(arguments)?.first();
        match (callable.module.as_str(), callable.name.as_str(), first) {
            ("_codecs", "encode", Some(Value::Text(text))) => {
                let bytes: Result<Vec<u8>, _> =
                    text.chars().map(|c| u8::try_from(u32::from(c))).collect();
                Some(Region::out_of(self.source, bytes.ok()?))
            }
            ("builtins" | "__builtin__", "bytes" | "bytearray", None) => {
                Some(Region::out_of(self.source, Vec::new()))
            }
            ("builtins" | "__builtin__", "bytearray", Some(inner @ Value::Bytes(_))) => {
                self.bytes(inner)
            }
            _ => None,
        }
    }

    /// `numpy.dtype('f4', …)` and its state, of which the byte order counts.
    fn numpy_type(&self, value: &Value) -> Result<(ElementType, bool), String> {
        let damaged = || "is a NumPy array without a type".to_string();
        let (callable, arguments, state) = self.graph.call(value).ok_or_else(damaged)?;
        if !callable.is("numpy", "dtype") {
            return Err(damaged());
        }
        let code = self.graph.items(arguments).and_then(|items| items.first());
        let code = code
            .and_then(|code| self.graph.text(code))
            .ok_or_else(damaged)?;
        let (dtype, mut big_endian) = numpy::element_type(&code)?;
        let state = state
            .and_then(|state| self.graph.items(state))
            .unwrap_or_default();
        match state
            .get(1)
            .and_then(|order| self.graph.text(order))
            .as_deref()
        {
            Some(">") => big_endian = true,
            Some("<") => big_endian = false,
            _ => {}
        }
        Ok((dtype, big_endian))
    }

    /// A NumPy scalar, as text.
    pub(crate) fn numpy_scalar(&self, value: &Value) -> Option<String> {
        let (callable, arguments, _) = self.graph.call(value)?;
        if callable.name != "scalar" || !callable.module.starts_with("numpy") {
            return None;
        }
        let [dtype, data] = self.graph.items(arguments)? else {
            return None;
        };
        let (dtype, big_endian) = self.numpy_type(dtype).ok()?;
        let mut bytes = self.bytes(data)?.head(16).ok()?;
        if big_endian {
            bytes.reverse();
        }
        Some(match dtype {
            ElementType::F64 => f64::from_le_bytes(bytes.try_into().ok()?).to_string(),
            ElementType::F32 => f32::from_le_bytes(bytes.try_into().ok()?).to_string(),
            ElementType::I64 => i64::from_le_bytes(bytes.try_into().ok()?).to_string(),
            ElementType::I32 => i32::from_le_bytes(bytes.try_into().ok()?).to_string(),
            ElementType::Bool => (bytes.first()? != &0).to_string(),
            _ => return None,
        })
    }
}

fn bare_storage(typed: Typed) -> Result<View, String> {
    let dtype = typed.dtype.unwrap_or(ElementType::U8);
    let count = typed.storage.length().saturating_sub(typed.offset) / dtype.size() as u64;
    let count = usize::try_from(count).map_err(|_| "is too large".to_string())?;
    View::contiguous(typed.storage, typed.offset, dtype, vec![count])
}

fn refusal(function: &str) -> String {
    let what = match function {
        "_rebuild_sparse_tensor" => "sparse",
        "_rebuild_qtensor" => "quantised",
        "_rebuild_nested_tensor" => "nested",
        "_rebuild_meta_tensor_no_storage" => "on the meta device: it has no numbers",
        "_rebuild_wrapper_subclass" => "of a subclass without a storage",
        other => return format!("was built by torch._utils.{other}, which is not known"),
    };
    format!("is {what}; expected a dense tensor (to_dense(), dequantize()), or drop it")
}

/// The type that `torch.float32` and its like stand for.
pub(crate) fn torch_dtype(global: &Global) -> Result<ElementType, String> {
    let known = match global.name.as_str() {
        "float32" | "float" => ElementType::F32,
        "float64" | "double" => ElementType::F64,
        "float16" | "half" => ElementType::F16,
        "bfloat16" => ElementType::BF16,
        "int64" | "long" => ElementType::I64,
        "int32" | "int" => ElementType::I32,
        "int16" | "short" => ElementType::I16,
        "int8" => ElementType::I8,
        "uint8" => ElementType::U8,
        "uint16" => ElementType::U16,
        "uint32" => ElementType::U32,
        "uint64" => ElementType::U64,
        "bool" => ElementType::Bool,
        "complex32" | "chalf" => ElementType::Complex32,
        "complex64" | "cfloat" => ElementType::Complex64,
        "complex128" | "cdouble" => ElementType::Complex128,
        "float8_e4m3fn" => ElementType::F8E4M3,
        "float8_e4m3fnuz" => ElementType::F8E4M3Fnuz,
        "float8_e5m2" => ElementType::F8E5M2,
        "float8_e5m2fnuz" => ElementType::F8E5M2Fnuz,
        "float8_e8m0fnu" => ElementType::F8E8M0,
        other => {
            return Err(format!(
                "has elements of type {}.{other}, which is not read",
                global.module
            ));
        }
    };
    Ok(known)
}

/// The type that `torch.FloatStorage` and its like stand for, `None` if untyped.
pub(crate) fn storage_dtype(global: &Global) -> Result<Option<ElementType>, String> {
    let Some(kind) = global.name.strip_suffix("Storage") else {
        return Err(format!(
            "has a storage of class {}.{}",
            global.module, global.name
        ));
    };
    let known = match kind {
        "Untyped" | "_Untyped" | "UntypedCuda" => return Ok(None),
        "Double" => ElementType::F64,
        "Float" => ElementType::F32,
        "Half" => ElementType::F16,
        "BFloat16" => ElementType::BF16,
        "Long" => ElementType::I64,
        "Int" => ElementType::I32,
        "Short" => ElementType::I16,
        "Char" => ElementType::I8,
        "Byte" => ElementType::U8,
        "Bool" => ElementType::Bool,
        "ComplexHalf" => ElementType::Complex32,
        "ComplexFloat" => ElementType::Complex64,
        "ComplexDouble" => ElementType::Complex128,
        other if other.starts_with('Q') => {
            return Err("is quantised; expected a dense tensor (dequantize()), or drop it".into());
        }
        other => return Err(format!("has a storage of type {other}, which is not read")),
    };
    Ok(Some(known))
}
