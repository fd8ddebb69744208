//! Files too large to keep in the tree, and folders of several files.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use taper_weights::{Limits, TensorFile};

fn npy(code: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{code}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((text.len() as u16).to_le_bytes());
    file.extend(text.as_bytes());
    file.extend(data);
    file
}

fn rows(file: &TensorFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.read_into(&file.entries()[0], &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    bytes
}

/// Column-major arrays of more than one block: several rows a block, and rows above a block.
#[test]
fn large_transposed_arrays_are_gathered() {
    for (height, width) in [(7000, 5000), (2, 34_000_000), (34_000_000, 2)] {
        let value = |row: usize, column: usize| (row * 31 + column * 7) as u8;
        let columns: Vec<u8> = (0..height * width)
            .map(|at| value(at % height, at / height))
            .collect();
        let bytes = npy("|u1", "True", &format!("({height}, {width})"), &columns);
        let file = TensorFile::from_bytes("large.npy", bytes, &Limits::default()).unwrap();
        let found = rows(&file);
        assert_eq!(found.len(), height * width);
        let wrong = (0..found.len()).find(|at| found[*at] != value(at / width, at % width));
        assert_eq!(wrong, None);
    }
}

#[test]
fn a_compressed_bomb_meets_the_cap_that_a_limit_raises() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.npz");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated);
    archive.start_file("w.npy", options).unwrap();
    archive
        .write_all(&npy("<f4", "False", "(75000000,)", &[]))
        .unwrap();
    for _ in 0..300 {
        archive.write_all(&[0; 1_000_000]).unwrap();
    }
    archive.finish().unwrap();
    let error = TensorFile::open(&path, &Limits::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("bomb.npz") && error.contains("expansion"),
        "{error}"
    );
    let file = TensorFile::open(&path, &Limits::default().raised(100)).unwrap();
    assert_eq!(file.entries()[0].bytes(), 300_000_000);
}

#[test]
fn an_index_names_only_files_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    let refused = |map: &str, reason: &str| {
        std::fs::write(&index, format!("{{\"weight_map\": {map}}}")).unwrap();
        let error = TensorFile::open(folder.path(), &Limits::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{error}");
    };
    refused(r#"{"w": "../w.safetensors"}"#, "no plain file name");
    refused(r#"{"w": "/etc/passwd"}"#, "no plain file name");
    refused(r#"{"w": "missing.safetensors"}"#, "missing.safetensors");
    refused("{}", "0 files");
    refused(&"[".repeat(1000), "index of shards");
    let bias = candle_core::Tensor::new(&[1f32], &candle_core::Device::Cpu).unwrap();
    let shard = folder.path().join("part.safetensors");
    taper_weights::save(
        &shard,
        &[("b".to_string(), bias)].into(),
        &Default::default(),
    )
    .unwrap();
    refused(r#"{"w": "part.safetensors"}"#, "tensor w");
    std::fs::write(&index, r#"{"weight_map": {"b": "part.safetensors"}}"#).unwrap();
    let checkpoint = taper_weights::load(folder.path()).unwrap();
    assert_eq!(checkpoint.tensors["b"].to_vec1::<f32>().unwrap(), [1.]);
}

#[test]
fn a_folder_without_a_checkpoint_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = TensorFile::open(folder.path(), &Limits::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("0 checkpoints"), "{error}");
    let error = TensorFile::open(Path::new("no/such.pt"), &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("no/such.pt"));
}
