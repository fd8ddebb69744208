//! Writing a checkpoint that is in memory.

use crate::WeightsError;
use crate::atomic::{Target, write_atomically};
use candle_core::Tensor;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Writes `tensors` and `metadata` as safetensors to `path`. The same input gives the same bytes.
///
/// # Errors
/// [`WeightsError::Write`]; an existing file at `path` is then untouched.
pub fn save(
    path: impl AsRef<Path>,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), WeightsError> {
    let path = path.as_ref();
    let bytes =
        taper_layers::to_safetensors(tensors, metadata).map_err(|error| WeightsError::Format {
            path: path.to_path_buf(),
            reason: format!("cannot be laid out as safetensors: {error}"),
        })?;
    write_atomically(path, Target::Any, |file| {
        file.write_all(&bytes)
            .map_err(|source| WeightsError::Write {
                path: path.to_path_buf(),
                source,
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load;
    use candle_core::Device;

    #[test]
    fn same_input_same_bytes_and_a_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let tensor = |v: f32| Tensor::new(&[v, 2., 3.], &Device::Cpu).unwrap();
        let tensors = BTreeMap::from([("b".to_string(), tensor(1.)), ("a".into(), tensor(5.))]);
        let metadata: BTreeMap<String, String> = (0..9)
            .map(|i| (format!("key{i}"), format!("\"value\" {i}")))
            .collect();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        save(&one, &tensors, &metadata).unwrap();
        save(&two, &tensors, &metadata).unwrap();
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        let back = load(&one).unwrap();
        assert_eq!(back.metadata, metadata);
        assert_eq!(back.tensors["a"].to_vec1::<f32>().unwrap(), [5., 2., 3.]);
    }

    #[test]
    fn a_failed_write_names_the_file() {
        let path = Path::new("/no/such/folder/w.safetensors");
        let error = save(path, &BTreeMap::new(), &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder/w.safetensors"));
    }

    #[test]
    fn other_formats_and_truncation_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let tensors = BTreeMap::from([("a".to_string(), Tensor::new(1f32, &Device::Cpu).unwrap())]);
        save(&path, &tensors, &BTreeMap::new()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains("w.safetensors"), "{error}");
        }
        std::fs::write(&path, b"\x80\x02\x8a\x0al\xfc").unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("truncated"));
    }
}
