//! The SHA-256 of a file, and the part of it that published names carry.

use crate::WeightsError;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// The SHA-256 of a file's bytes, 64 lower-case hexadecimal digits.
///
/// # Errors
/// [`WeightsError::Read`].
pub fn sha256(path: impl AsRef<Path>) -> Result<String, WeightsError> {
    sha256_unless(path.as_ref(), &AtomicBool::new(false))
}

/// [`sha256`], given up with an unspecified result once `stop` is set.
pub(crate) fn sha256_unless(path: &Path, stop: &AtomicBool) -> Result<String, WeightsError> {
    let read = |source| WeightsError::Read {
        path: path.to_path_buf(),
        source,
    };
    let mut file = File::open(path).map_err(read)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0u8; 1 << 20];
    while !stop.load(Ordering::Relaxed) {
        match file.read(&mut piece).map_err(read)? {
            0 => break,
            count => hasher.update(&piece[..count]),
        }
    }
    let digits = hasher.finalize();
    Ok(digits.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The first eight digits of the SHA-256 in a name such as `resnet20-12fca82f.th`, the habit of
/// torchvision.
pub(crate) fn digits_in_name(name: &str) -> Option<&str> {
    let (stem, _) = name.rsplit_once('.')?;
    let (_, digits) = stem.rsplit_once('-')?;
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (digits.len() == 8 && digits.bytes().all(lower)).then_some(digits)
}
