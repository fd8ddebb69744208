//! Every kind of checkpoint, good and bad: `tests/weights/generate.py` wrote them with PyTorch.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod files;

use files::{Tensors, corpus, expected, goods, open_and_read, read};
use std::path::Path;
use taper_weights::{Limits, TensorFile, WeightsError};

#[test]
fn good_files_give_the_tensors_that_pytorch_and_numpy_read() {
    let mut wrong = Vec::new();
    for (path, expectation) in goods() {
        let expected = expected(&expectation);
        match open_and_read(&path) {
            Err(error) => wrong.push(error.to_string()),
            Ok(tensors) if tensors == expected => {}
            Ok(tensors) => {
                let differing: Vec<&String> = expected
                    .keys()
                    .chain(tensors.keys())
                    .filter(|name| expected.get(*name) != tensors.get(*name))
                    .collect();
                wrong.push(format!("{}: {differing:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bad_files_are_refused_with_their_name_and_the_reason() {
    let folder = corpus("bad");
    let reasons = std::fs::read_to_string(folder.join("REASONS")).unwrap();
    let mut wrong = Vec::new();
    for line in reasons.lines() {
        let mut parts = line.split('\t');
        let file = parts.next().unwrap();
        match open_and_read(&folder.join(file)) {
            Ok(_) => wrong.push(format!("{file} was read")),
            Err(error) => {
                let text = error.to_string();
                let missing: Vec<_> = parts.filter(|part| !text.contains(part)).collect();
                if !missing.is_empty() || !text.contains(file) {
                    wrong.push(format!("{text} | without {missing:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!Path::new("/tmp/taper-was-executed").exists());
}

fn read_bytes(path: &Path, bytes: Vec<u8>) -> Result<Tensors, WeightsError> {
    read(&TensorFile::from_bytes(path, bytes, &Limits::default())?)
}

#[test]
fn files_cut_at_any_byte_are_refused() {
    for (path, expectation) in goods().into_iter().filter(|(path, _)| path.is_file()) {
        let expected = expected(&expectation);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            match read_bytes(&path, whole[..length].to_vec()) {
                Err(error) => assert!(error.to_string().contains(path.to_str().unwrap())),
                Ok(tensors) => {
                    // A tar archive ends in blocks of zeros, which may be missing.
                    assert!(
                        path.ends_with("oldest.tar"),
                        "{} cut at {length}",
                        path.display()
                    );
                    assert_eq!(tensors, expected);
                }
            }
        }
    }
}

#[test]
fn flipped_bits_never_panic() {
    for (path, _) in goods().into_iter().filter(|(path, _)| path.is_file()) {
        let mut bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let bit = 1 << (at % 8);
            bytes[at] ^= bit;
            if let Err(error) = read_bytes(&path, bytes.clone()) {
                assert!(error.to_string().contains(path.to_str().unwrap()));
            }
            bytes[at] ^= bit;
        }
    }
}

#[test]
fn one_tensor_is_read_alone() {
    let file = TensorFile::open(corpus("good/layouts.pt"), &Limits::default()).unwrap();
    let expected = expected(&corpus("good/layouts.pt.expected"));
    let tensor = file.tensor("channels_last").unwrap();
    assert_eq!(tensor.dims(), [2, 3, 4, 5]);
    let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    assert_eq!(bytes, expected["channels_last"].2);
    let [a, b, plain] = ["tied_a", "tied_b", "plain"].map(|name| file.entry(name).unwrap());
    assert!(a.shares_storage_with(b) && !a.shares_storage_with(plain));
    let error = file.tensor("chanels_last").unwrap_err().to_string();
    assert!(error.contains("channels_last"), "{error}");
}

#[test]
fn every_type_becomes_a_candle_tensor_or_is_named() {
    let file = TensorFile::open(corpus("good/dtypes.pt"), &Limits::default()).unwrap();
    for entry in file.entries() {
        match file.read_tensor(entry) {
            Ok(tensor) => assert_eq!(tensor.dims(), entry.shape),
            Err(error) => {
                assert!(entry.dtype.is_complex(), "{error}");
                assert!(error.to_string().contains(&entry.name), "{error}");
            }
        }
    }
    // Patterns 3, 60, 100 as PyTorch reads them.
    let row = |name| file.tensor(name).unwrap().to_vec2::<f32>().unwrap()[1].clone();
    assert_eq!(row("f8_e5m2"), [0.75 / 16384., 1., 1024.]);
    assert_eq!(row("f8_e5m2fnuz"), [0.75 / 32768., 0.5, 512.]);
    assert_eq!(row("f8_e4m3fnuz"), [0.0029296875, 0.75, 24.]);
}

#[test]
fn what_lies_beside_the_weights_is_told() {
    let file = TensorFile::open(corpus("good/wrapped-net.pt"), &Limits::default()).unwrap();
    assert_eq!(file.wrapper(), Some("net"));
    assert_eq!(file.metadata()["epoch"], "3");
    assert_eq!(file.metadata()["loss"], "0.25");
    let beside: Vec<&str> = file
        .beside()
        .iter()
        .map(|entry| entry.name.as_str())
        .collect();
    assert!(beside.contains(&"optimizer.state.0.exp_avg"), "{beside:?}");
    assert!(beside.contains(&"best_prec1"), "{beside:?}");
    assert!(file.notes()[0].contains("optimizer"), "{:?}", file.notes());
}
