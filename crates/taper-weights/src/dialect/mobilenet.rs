//! Blocks of the MobileNets under their several names (Meta-Pooling's method card, section 10).

use super::{Dialect, Network, Rule};

/// Blocks a stage of MobileNetV2, EfficientNet-Lite0 and MobileNetV1.
pub(super) const V2_REPEATS: [usize; 7] = [1, 2, 3, 4, 3, 3, 1];
pub(super) const LITE0_REPEATS: [usize; 7] = [1, 2, 2, 3, 3, 4, 1];
pub(super) const V1_REPEATS: [usize; 5] = [1, 2, 2, 6, 2];

/// A depthwise convolution and a 1x1 one, as timm names them.
pub(super) const SEPARABLE_PARTS: [&str; 4] =
    ["conv_dw.weight", "bn1.{bn}", "conv_pw.weight", "bn2.{bn}"];
/// The same after an expanding 1x1 convolution.
const INVERTED_PARTS: [&str; 6] = [
    "conv_pw.weight",
    "bn1.{bn}",
    "conv_dw.weight",
    "bn2.{bn}",
    "conv_pwl.weight",
    "bn3.{bn}",
];

/// A block's place: `number` counts from 1 over all stages.
pub(super) struct Block {
    pub(super) number: usize,
    pub(super) stage: usize,
    pub(super) index: usize,
}

pub(super) fn blocks(repeats: &[usize]) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (stage, &count) in repeats.iter().enumerate() {
        for index in 0..count {
            blocks.push(Block {
                number: blocks.len() + 1,
                stage,
                index,
            });
        }
    }
    blocks
}

/// The first block of an inverted network expands nothing.
pub(super) fn timm_parts(block: &Block) -> &'static [&'static str] {
    match block.number {
        1 => &SEPARABLE_PARTS,
        _ => &INVERTED_PARTS,
    }
}

pub(super) fn torchvision_parts(block: &Block) -> &'static [&'static str] {
    match block.number {
        1 => &["0.0.weight", "0.1.{bn}", "1.weight", "2.{bn}"],
        _ => &[
            "0.0.weight",
            "0.1.{bn}",
            "1.0.weight",
            "1.1.{bn}",
            "2.weight",
            "3.{bn}",
        ],
    }
}

/// MobileNetV2 with flat blocks.
pub(super) const FLAT: Dialect = Dialect {
    name: "d-li14",
    about: "d-li14/mobilenetv2.pytorch",
    prefix: "",
    remark: None,
    networks: &[Network {
        name: "mobilenet_v2",
        rules: flat,
        dropped: &[],
    }],
};

/// MobileNetV1 of NORM's ImageNet students.
pub(super) const NORM: Dialect = Dialect {
    name: "norm-imagenet",
    about: "OSVAI/NORM models/imagenet/MobileNet.py",
    prefix: "module.",
    remark: None,
    networks: &[Network {
        name: "mobilenetv1_100",
        rules: norm_imagenet,
        dropped: &[],
    }],
};

fn flat() -> Vec<Rule> {
    let mut rules = vec![
        Rule::new("features.0.0.weight", "features.0.0.weight"),
        Rule::new("features.0.1.{bn}", "features.0.1.{bn}"),
        Rule::new("conv.0.weight", "features.18.0.weight"),
        Rule::new("conv.1.{bn}", "features.18.1.{bn}"),
        Rule::new("classifier.{wb}", "classifier.1.{wb}"),
    ];
    for block in blocks(&V2_REPEATS) {
        let flat: &[&str] = match block.number {
            1 => &["0.weight", "1.{bn}", "3.weight", "4.{bn}"],
            _ => &[
                "0.weight", "1.{bn}", "3.weight", "4.{bn}", "6.weight", "7.{bn}",
            ],
        };
        for (flat, part) in flat.iter().zip(torchvision_parts(&block)) {
            let module = format!("features.{}.conv", block.number);
            rules.push(Rule::new(
                format!("{module}.{flat}"),
                format!("{module}.{part}"),
            ));
        }
    }
    rules
}

/// `model1.1` to `model1.11` and `model2.0`, `model2.1` are timm's thirteen blocks.
fn norm_imagenet() -> Vec<Rule> {
    let mut rules = vec![
        Rule::new("model1.0.0.weight", "conv_stem.weight"),
        Rule::new("model1.0.1.{bn}", "bn1.{bn}"),
        Rule::new("fc.{wb}", "classifier.{wb}"),
        Rule::new("layer31.0.weight", "layer31.0.weight"),
        Rule::new("layer31.1.{bn}", "layer31.1.{bn}"),
        Rule::new("layer32.0.weight", "layer32.0.weight"),
        Rule::new("layer32.1.{bn}", "layer32.1.{bn}"),
    ];
    for block in blocks(&V1_REPEATS) {
        let module = match block.number {
            number @ 1..=11 => format!("model1.{number}"),
            number => format!("model2.{}", number - 12),
        };
        let flat = ["0.weight", "1.{bn}", "3.weight", "4.{bn}"];
        for (flat, part) in flat.iter().zip(SEPARABLE_PARTS) {
            let timm = format!("blocks.{}.{}.{part}", block.stage, block.index);
            rules.push(Rule::new(format!("{module}.{flat}"), timm));
        }
    }
    rules
}
