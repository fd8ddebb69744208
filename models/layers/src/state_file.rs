//! A network's state as the bytes of a safetensors file; the same input gives the same bytes.

use candle_core::{Device, Result, Tensor};
use std::collections::BTreeMap;

/// The header's key for free metadata.
const METADATA: &str = "__metadata__";

/// Lays `tensors` and `metadata` out as a safetensors file.
///
/// # Errors
/// A type of number that the format does not have, or what Candle reports.
pub fn to_safetensors(
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let contiguous = tensors
        .iter()
        .map(|(name, tensor)| Ok((name, tensor.to_device(&Device::Cpu)?.contiguous()?)))
        .collect::<Result<Vec<_>>>()?;
    let header = (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect());
    let mut bytes = safetensors::serialize(contiguous, header).map_err(candle_core::Error::wrap)?;
    order_header(&mut bytes).map_err(candle_core::Error::wrap)?;
    Ok(bytes)
}

/// Writes the header again with its metadata ordered by name: the format's crate keeps it in a
/// hash map, whose order changes from run to run. The length stays, so no offset moves.
fn order_header(bytes: &mut [u8]) -> serde_json::Result<()> {
    const LENGTH: usize = size_of::<u64>();
    let mut length = [0; LENGTH];
    length.copy_from_slice(&bytes[..LENGTH]);
    let header = &mut bytes[LENGTH..LENGTH + u64::from_le_bytes(length) as usize];
    let mut entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header)?;
    let member = |name: &str, value: String| {
        let name = serde_json::to_string(name)?;
        Ok::<_, serde_json::Error>(format!("{name}:{value}"))
    };
    let mut members = Vec::new();
    if let Some(metadata) = entries.remove(METADATA) {
        let ordered: BTreeMap<String, String> = serde_json::from_value(metadata)?;
        members.push(member(METADATA, serde_json::to_string(&ordered)?)?);
    }
    for (name, entry) in &entries {
        members.push(member(name, serde_json::to_string(entry)?)?);
    }
    let text = format!("{{{}}}", members.join(","));
    if text.len() <= header.len() {
        header.fill(b' ');
        header[..text.len()].copy_from_slice(text.as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_input_same_bytes() -> Result<()> {
        let tensor = |v: f32| Tensor::new(&[v, 2., 3.], &Device::Cpu);
        let tensors = BTreeMap::from([("b".to_string(), tensor(1.)?), ("a".into(), tensor(5.)?)]);
        let metadata: BTreeMap<String, String> = (0..9)
            .map(|i| (format!("key{i}"), format!("\"value\" {i}")))
            .collect();
        let bytes = to_safetensors(&tensors, &metadata)?;
        for _ in 0..8 {
            assert_eq!(to_safetensors(&tensors, &metadata)?, bytes);
        }
        let back = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?;
        assert_eq!(back["a"].to_vec1::<f32>()?, [5., 2., 3.]);
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let found = header.metadata().clone().unwrap();
        assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), metadata);
        Ok(())
    }
}
