//! What a dialect does to the numbers, against the definition of each order.

use super::super::*;
use crate::{ConvertOptions, DialectChoice, Limits, TensorFile};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use taper_velocity::QkvOrder;

/// Row values say which, head and channel; all six conversions are compared with the definition.
#[test]
fn attention_rows_change_places() {
    let (heads, channels, columns) = (2usize, 64usize, 3usize);
    let value = |which: usize, head: usize, channel: usize, column: usize| {
        (which * 100_000 + head * 10_000 + channel * 10 + column) as f32
    };
    let laid_out = |order: QkvOrder| {
        let mut rows = Vec::new();
        let sizes = [3, heads, channels];
        let axes = row_axes(order);
        for a in 0..sizes[axes[0]] {
            for b in 0..sizes[axes[1]] {
                for c in 0..sizes[axes[2]] {
                    let mut at = [0; 3];
                    (at[axes[0]], at[axes[1]], at[axes[2]]) = (a, b, c);
                    rows.extend((0..columns).map(|column| value(at[0], at[1], at[2], column)));
                }
            }
        }
        Tensor::from_vec(rows, (3 * heads * channels, columns), &Device::Cpu).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let orders = [
        QkvOrder::WhichHeadChannel,
        QkvOrder::HeadWhichChannel,
        QkvOrder::HeadChannelWhich,
    ];
    for from in orders {
        crate::save(
            &path,
            &BTreeMap::from([("qkv".to_string(), laid_out(from))]),
            &BTreeMap::new(),
        )
        .unwrap();
        let file = TensorFile::open(&path, &Limits::default()).unwrap();
        for to in orders {
            let change = Change {
                rows: Some((from, to, 64)),
                ..Change::default()
            };
            let changed = file.entries()[0].rearranged(&change).unwrap();
            let found = file
                .read_tensor(&changed)
                .unwrap()
                .to_vec2::<f32>()
                .unwrap();
            assert_eq!(
                found,
                laid_out(to).to_vec2::<f32>().unwrap(),
                "{from:?} to {to:?}"
            );
        }
        let wrong = Change {
            rows: Some((from, from, 63)),
            ..Change::default()
        };
        assert!(
            file.entries()[0]
                .rearranged(&wrong)
                .unwrap_err()
                .contains("heads")
        );
    }
}

/// A whole file by the table: rows, transposed labels, one more dimension, and back to the same bytes.
#[test]
fn a_guided_diffusion_file_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = |shape: &[usize]| {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let tensors = BTreeMap::from([
        ("label_emb.weight".to_string(), tensor(&[10, 4])),
        ("middle_block.1.qkv.weight".into(), tensor(&[384, 2, 1])),
        ("middle_block.1.qkv.bias".into(), tensor(&[384])),
        ("middle_block.1.proj_out.weight".into(), tensor(&[2, 2, 1])),
        ("time_embed.0.weight".into(), tensor(&[3, 2])),
    ]);
    let [original, zoo, back] = ["o", "z", "b"].map(|name| folder.path().join(name));
    crate::save(&original, &tensors, &BTreeMap::new()).unwrap();
    let convert = |from: &std::path::Path, to: &std::path::Path, direction| {
        let options = ConvertOptions {
            dialect: DialectChoice::Named(Dialect::find("guided-diffusion").unwrap()),
            direction,
            ..Default::default()
        };
        crate::convert(from, to, &options, &mut |_, _| {
            std::ops::ControlFlow::Continue(())
        })
        .unwrap()
    };
    let report = convert(&original, &zoo, Direction::ToZoo);
    assert_eq!(report.renamed.len(), 5);
    assert_eq!(report.permuted.len(), 4);
    let converted = crate::load(&zoo).unwrap().tensors;
    assert_eq!(converted["map_label.weight"].dims(), [4, 10]);
    assert_eq!(converted["dec.8x8_in0.qkv.weight"].dims(), [384, 2, 1, 1]);
    assert_eq!(converted["dec.8x8_in0.proj.weight"].dims(), [2, 2, 1, 1]);
    // [head][which][channel] to [head][channel][which]: the second row is the first key.
    let rows = converted["dec.8x8_in0.qkv.bias"].to_vec1::<f32>().unwrap();
    assert_eq!(rows[..4], [0., 64., 128., 1.]);
    convert(&zoo, &back, Direction::ToOriginal);
    let (back, original) = (crate::load(&back).unwrap(), crate::load(&original).unwrap());
    assert!(back.tensors.keys().eq(original.tensors.keys()));
    for (name, tensor) in &original.tensors {
        assert_eq!(back.tensors[name].dims(), tensor.dims(), "{name}");
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(&back.tensors[name]), flat(tensor), "{name}");
    }
}
