//! `taper weights convert`, `inspect`, `diff`, `verify`, `merge`: every verb and what each refuses.

mod convert;
mod look;
mod merge;

use crate::support::Folder;
use candle_core::{DType, Device};
use std::collections::BTreeMap;
use std::path::Path;
use taper::layers::ParameterStore;
use taper::vision::registry;

/// A file of the corpus that PyTorch wrote.
fn corpus(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/weights");
    folder.join(name).display().to_string()
}

/// A seeded network as a file.
fn network(name: &str, path: &Path) {
    let entry = registry::find(name).unwrap();
    let store = ParameterStore::new(3, &Device::Cpu);
    (entry.config)(10)
        .build(store.var_builder(DType::F32))
        .unwrap();
    taper::weights::save(path, &store.state(), &BTreeMap::new()).unwrap();
}

/// Exit code 1 without an error text: the answer is on stdout.
fn differs(folder: &Folder, arguments: &[&str]) -> serde_json::Value {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    let answer = folder.run(&arguments);
    assert_eq!(answer.code(), 1, "{}", answer.errors());
    assert_eq!(answer.errors(), "");
    answer.json()
}
