//! Writes a safetensors file tensor by tensor behind a header of known length.

use super::cast::Cast;
use super::flush::Flushing;
use super::{ConvertProgress, Overflowed};
use crate::reader::TensorEntry;
use crate::{ElementType, WeightsError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of the length before the header, and what it is padded to.
const PREFIX: u64 = 8;
/// The header's key for free metadata; no tensor can have this name.
pub(crate) const METADATA: &str = "__metadata__";
/// Small tensors are written together.
const BUFFER: usize = 1 << 20;

/// Takes pieces of whole elements.
pub(crate) type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), WeightsError> + 'a;
/// Gives its elements to a sink, row-major and little-endian.
pub(crate) type Producer<'a> = dyn Fn(&mut Sink<'_>) -> Result<(), WeightsError> + 'a;

/// Where a tensor's numbers come from.
pub(crate) enum Payload<'a> {
    Entry(TensorEntry),
    Computed(Box<Producer<'a>>),
}

/// A tensor to write.
pub(crate) struct PlannedTensor<'a> {
    pub(crate) name: String,
    /// As written.
    pub(crate) dtype: ElementType,
    pub(crate) shape: Vec<usize>,
    /// As read.
    pub(crate) from: ElementType,
    pub(crate) payload: Payload<'a>,
}

impl PlannedTensor<'_> {
    pub(crate) fn bytes(&self) -> u64 {
        let count = self.shape.iter().map(|&extent| extent as u64);
        count.fold(self.dtype.size() as u64, u64::saturating_mul)
    }
}

/// Sorts tensors as they are laid out: the widest elements first, so that all are aligned, then by name.
pub(crate) fn sort(tensors: &mut [PlannedTensor<'_>]) {
    tensors.sort_by(|a, b| {
        let widths = b.dtype.size().cmp(&a.dtype.size());
        widths.then_with(|| a.name.cmp(&b.name))
    });
}

/// See the module's documentation.
pub(crate) struct Writer<'a> {
    out: &'a mut File,
    path: &'a Path,
    /// Of each tensor by name: its entry in the header.
    entries: BTreeMap<String, serde_json::Value>,
    header_length: u64,
    total: u64,
}

impl<'a> Writer<'a> {
    /// `tensors` must be sorted; `reserved` is metadata as long as that which [`Self::finish`] gets.
    ///
    /// # Errors
    /// [`WeightsError::Format`] when the header cannot be written.
    pub(crate) fn new(
        out: &'a mut File,
        path: &'a Path,
        tensors: &[PlannedTensor<'_>],
        reserved: &BTreeMap<String, String>,
    ) -> Result<Self, WeightsError> {
        let mut entries = BTreeMap::new();
        let mut position = 0u64;
        for tensor in tensors {
            let end = position.saturating_add(tensor.bytes());
            let entry = serde_json::json!({
                "data_offsets": [position, end],
                "dtype": tensor.dtype.safetensors_name(),
                "shape": tensor.shape,
            });
            entries.insert(tensor.name.clone(), entry);
            position = end;
        }
        let mut writer = Self {
            out,
            path,
            entries,
            header_length: 0,
            total: position,
        };
        let length = writer.header(reserved)?.len() as u64;
        writer.header_length = length.next_multiple_of(PREFIX);
        Ok(writer)
    }

    fn header(&self, metadata: &BTreeMap<String, String>) -> Result<String, WeightsError> {
        let laid_out = || {
            let mut members = vec![format!(
                "\"{METADATA}\":{}",
                serde_json::to_string(metadata)?
            )];
            for (name, entry) in &self.entries {
                members.push(format!("{}:{entry}", serde_json::to_string(name)?));
            }
            Ok(format!("{{{}}}", members.join(",")))
        };
        laid_out().map_err(|error: serde_json::Error| WeightsError::Format {
            path: self.path.to_path_buf(),
            reason: format!("cannot be laid out as safetensors: {error}"),
        })
    }

    fn failed(&self) -> impl Fn(std::io::Error) -> WeightsError + use<> {
        let path = self.path.to_path_buf();
        move |source| WeightsError::Write {
            path: path.clone(),
            source,
        }
    }

    /// Writes all numbers; says which no longer fit their type.
    pub(crate) fn write_tensors(
        &mut self,
        tensors: &[PlannedTensor<'_>],
        progress: ConvertProgress<'_>,
    ) -> Result<Vec<Overflowed>, WeightsError> {
        let failed = self.failed();
        let start = PREFIX + self.header_length;
        self.out.seek(SeekFrom::Start(start)).map_err(&failed)?;
        std::thread::scope(|scope| {
            let file = Flushing::new(self.out, scope).map_err(&failed)?;
            let mut out = BufWriter::with_capacity(BUFFER, file);
            let overflowed = self.write_to(&mut out, tensors, progress)?;
            let file = out
                .into_inner()
                .map_err(|error| failed(error.into_error()))?;
            file.finish(self.path)?;
            Ok(overflowed)
        })
    }

    fn write_to(
        &self,
        out: &mut impl Write,
        tensors: &[PlannedTensor<'_>],
        progress: ConvertProgress<'_>,
    ) -> Result<Vec<Overflowed>, WeightsError> {
        let failed = self.failed();
        let mut overflowed = Vec::new();
        let (mut done, total) = (0, self.total);
        for tensor in tensors {
            let mut cast = Cast::new(tensor.from, tensor.dtype);
            let expected = done + tensor.bytes();
            let mut put = |piece: &[u8]| {
                let piece = cast.apply(piece);
                out.write_all(piece).map_err(&failed)?;
                done += piece.len() as u64;
                match progress(done, total).is_break() {
                    true => Err(WeightsError::Stopped {
                        path: self.path.to_path_buf(),
                    }),
                    false => Ok(()),
                }
            };
            match &tensor.payload {
                Payload::Entry(entry) => entry.read_into(&mut put)?,
                Payload::Computed(produce) => produce(&mut put)?,
            }
            if done != expected {
                return Err(WeightsError::Format {
                    path: self.path.to_path_buf(),
                    reason: format!(
                        "tensor {}: {} bytes announced, {} given",
                        tensor.name,
                        tensor.bytes(),
                        tensor.bytes() + done - expected
                    ),
                });
            }
            if cast.overflowed() > 0 {
                overflowed.push(Overflowed {
                    name: tensor.name.clone(),
                    count: cast.overflowed(),
                });
            }
        }
        Ok(overflowed)
    }

    /// Writes the header before the numbers.
    pub(crate) fn finish(self, metadata: &BTreeMap<String, String>) -> Result<(), WeightsError> {
        let failed = self.failed();
        let mut header = self.header(metadata)?.into_bytes();
        let length = self.header_length as usize;
        if header.len() > length {
            return Err(WeightsError::Format {
                path: self.path.to_path_buf(),
                reason: format!("metadata of {} bytes, {length} reserved", header.len()),
            });
        }
        header.resize(length, b' ');
        let mut start = self.header_length.to_le_bytes().to_vec();
        start.append(&mut header);
        self.out.write_all_at(&start, 0).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::ControlFlow;

    /// A device that is always full: what a disk without space answers.
    #[test]
    fn no_space_left_is_said() {
        let Ok(mut full) = File::options().write(true).open("/dev/full") else {
            return println!("/dev/full: not on this system, skipped");
        };
        let tensors = [PlannedTensor {
            name: "a".into(),
            dtype: ElementType::U8,
            shape: vec![8],
            from: ElementType::U8,
            payload: Payload::Computed(Box::new(|sink| sink(&[0; 8]))),
        }];
        let path = Path::new("out.safetensors");
        let mut writer = Writer::new(&mut full, path, &tensors, &BTreeMap::new()).unwrap();
        let error = writer
            .write_tensors(&tensors, &mut |_, _| ControlFlow::Continue(()))
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("out.safetensors") && text.contains("No space left"),
            "{text}"
        );
    }

    #[test]
    fn a_tensor_of_another_length_than_announced_is_refused() {
        let mut file = tempfile::tempfile().unwrap();
        let tensors = [PlannedTensor {
            name: "short".into(),
            dtype: ElementType::U8,
            shape: vec![8],
            from: ElementType::U8,
            payload: Payload::Computed(Box::new(|sink| sink(&[0; 7]))),
        }];
        let mut writer =
            Writer::new(&mut file, Path::new("o"), &tensors, &BTreeMap::new()).unwrap();
        let written = writer.write_tensors(&tensors, &mut |_, _| ControlFlow::Continue(()));
        assert!(written.unwrap_err().to_string().contains("short"));
    }
}
