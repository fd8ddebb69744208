//! Conversion of every kind of checkpoint, every option, and what must be refused.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod content;
#[path = "../files/mod.rs"]
mod files;
mod options;
mod published;
mod target;

use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use taper_weights::{ConvertOptions, ConvertReport, WeightsError, save};

fn convert(
    from: &Path,
    to: &Path,
    options: &ConvertOptions,
) -> Result<ConvertReport, WeightsError> {
    taper_weights::convert(from, to, options, &mut |_, _| ControlFlow::Continue(()))
}

fn leftovers(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

fn small(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("small.safetensors");
    let tensor = |v: f32| Tensor::new(&[v, 1e6], &Device::Cpu).unwrap();
    let tensors = BTreeMap::from([
        ("module.a.0.weight".to_string(), tensor(1.)),
        ("module.a.1.weight".into(), tensor(2.)),
        ("module.b.bias".into(), tensor(3.)),
        (
            "module.count".into(),
            Tensor::new(7i64, &Device::Cpu).unwrap(),
        ),
    ]);
    save(&path, &tensors, &BTreeMap::new()).unwrap();
    path
}
