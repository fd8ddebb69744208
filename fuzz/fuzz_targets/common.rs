//! What every target does with its bytes: open them, read every tensor, keep to the caps.

use taper_weights::{Limits, TensorFile};

/// Small, so that a run is fast and a breach shows as memory.
fn limits() -> Limits {
    Limits {
        header_bytes: 1 << 20,
        pickle_bytes: 16 << 20,
        inflated_bytes: 16 << 20,
        tensors: 10_000,
        ..Limits::default()
    }
}

pub fn read(bytes: &[u8]) {
    let name = "fuzzed file";
    let file = match TensorFile::from_bytes(name, bytes.to_vec(), &limits()) {
        Ok(file) => file,
        Err(error) => {
            assert!(error.to_string().contains(name), "{error}");
            return;
        }
    };
    let mut left = 8u64 << 20;
    for entry in file.entries().iter().chain(file.beside()) {
        // Strides make large tensors of few bytes: a few of them are enough.
        let Some(rest) = left.checked_sub(entry.bytes()) else {
            continue;
        };
        left = rest;
        let mut bytes = 0;
        let done = file.read_into(entry, &mut |piece| {
            assert_eq!(piece.len() % entry.dtype.size(), 0);
            bytes += piece.len() as u64;
            Ok(())
        });
        match done {
            Ok(()) => assert_eq!(bytes, entry.bytes()),
            Err(error) => assert!(error.to_string().contains(name), "{error}"),
        }
    }
}
