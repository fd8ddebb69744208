//! One tensor of a file as a Candle tensor.

use super::{ElementType, TensorEntry, TensorFile, number};
use crate::WeightsError;
use candle_core::{DType, Device, Tensor};

impl TensorFile {
    /// Reads one tensor onto the CPU, the rest of the file stays unread.
    ///
    /// Types that Candle lacks become the next larger one: booleans [`DType::U8`], 16-bit and
    /// 8-bit integers [`DType::U32`] or [`DType::I16`], the other 8-bit floats [`DType::F32`].
    ///
    /// # Errors
    /// [`WeightsError::Format`] when there is no such tensor, it is complex, or has unsigned
    /// 64-bit numbers that do not fit [`DType::I64`].
    pub fn tensor(&self, name: &str) -> Result<Tensor, WeightsError> {
        let entry = self.entry(name).ok_or_else(|| {
            let names = self.entries().iter().map(|entry| entry.name.as_str());
            let near = crate::nearest(name, names, 3).join(", ");
            self.format(format!("no tensor {name}; nearest: {near}"))
        })?;
        self.read_tensor(entry)
    }

    /// Reads one entry onto the CPU, as [`TensorFile::tensor`].
    ///
    /// # Errors
    /// As [`TensorFile::tensor`].
    pub fn read_tensor(&self, entry: &TensorEntry) -> Result<Tensor, WeightsError> {
        let mut bytes = Vec::new();
        self.read_into(entry, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        let (bytes, dtype) = widened(entry.dtype, bytes)
            .map_err(|reason| self.format(format!("tensor {}: {reason}", entry.name)))?;
        let shape = entry.shape.as_slice();
        if bytes.is_empty() {
            return Ok(Tensor::zeros(shape, dtype, &Device::Cpu)?);
        }
        Ok(Tensor::from_raw_buffer(&bytes, dtype, shape, &Device::Cpu)?)
    }

    fn format(&self, reason: String) -> WeightsError {
        WeightsError::Format {
            path: self.path().to_path_buf(),
            reason,
        }
    }
}

/// The bytes in a type that Candle has.
fn widened(dtype: ElementType, bytes: Vec<u8>) -> Result<(Vec<u8>, DType), String> {
    let pairs = |bytes: &[u8]| -> Vec<[u8; 2]> { bytes.as_chunks().0.to_vec() };
    let floats = |decode: fn(u8) -> f32| -> Vec<u8> {
        bytes
            .iter()
            .flat_map(|&byte| decode(byte).to_le_bytes())
            .collect()
    };
    Ok(match dtype {
        ElementType::Bool | ElementType::U8 => (bytes, DType::U8),
        ElementType::I8 => {
            let wide = bytes
                .iter()
                .flat_map(|&byte| i16::from(byte as i8).to_le_bytes());
            (wide.collect(), DType::I16)
        }
        ElementType::U16 => {
            let wide = pairs(&bytes).into_iter().map(u16::from_le_bytes);
            (
                wide.flat_map(|n| u32::from(n).to_le_bytes()).collect(),
                DType::U32,
            )
        }
        ElementType::I16 => (bytes, DType::I16),
        ElementType::U32 => (bytes, DType::U32),
        ElementType::I32 => (bytes, DType::I32),
        ElementType::U64 if bytes.iter().skip(7).step_by(8).any(|&high| high > 0x7f) => {
            return Err("has numbers above 2^63, which no type of Candle holds".into());
        }
        ElementType::U64 | ElementType::I64 => (bytes, DType::I64),
        ElementType::F8E4M3 => (bytes, DType::F8E4M3),
        ElementType::F8E4M3Fnuz => (floats(|byte| number::fnuz(byte, 4, 8)), DType::F32),
        ElementType::F8E5M2 => (floats(number::e5m2), DType::F32),
        ElementType::F8E5M2Fnuz => (floats(|byte| number::fnuz(byte, 5, 16)), DType::F32),
        ElementType::F8E8M0 => (floats(number::power_of_two), DType::F32),
        ElementType::F16 => (bytes, DType::F16),
        ElementType::BF16 => (bytes, DType::BF16),
        ElementType::F32 => (bytes, DType::F32),
        ElementType::F64 => (bytes, DType::F64),
        ElementType::Complex32 | ElementType::Complex64 | ElementType::Complex128 => {
            return Err(format!(
                "holds complex numbers ({dtype}), which Candle has no type for"
            ));
        }
    })
}
