//! `taper weights convert`, `inspect`, `diff`, `verify`, `merge`: every verb and what each refuses.

mod convert;
mod look;
mod merge;

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
