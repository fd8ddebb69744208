//! ImageNet classifiers of timm: the zoo keeps its names for `mobilenetv1_100` and
//! `tf_efficientnet_lite0`, and torchvision's for MobileNetV2 (Meta-Pooling's method card, section 10).

use super::mobilenet::{self, Block};
use super::{Dialect, Network, Rule, efficientnet, same, torchvision};

pub(super) const DIALECT: Dialect = Dialect {
    name: "timm",
    about: "huggingface/pytorch-image-models",
    prefix: "",
    remark: None,
    networks: &[
        Network {
            name: "resnet",
            rules: torchvision::resnet,
            dropped: &[],
        },
        Network {
            name: "mobilenetv2_100",
            rules: mobilenet_v2,
            dropped: &[],
        },
        Network {
            name: "mobilenetv1_100",
            rules: mobilenet_v1,
            dropped: &[],
        },
        Network {
            name: "tf_efficientnet_lite0",
            rules: efficientnet_lite0,
            dropped: &[],
        },
    ],
};

/// timm's blocks in torchvision's numbering.
fn mobilenet_v2() -> Vec<Rule> {
    let mut rules = vec![
        Rule::new("conv_stem.weight", "features.0.0.weight"),
        Rule::new("bn1.{bn}", "features.0.1.{bn}"),
        Rule::new("conv_head.weight", "features.18.0.weight"),
        Rule::new("bn2.{bn}", "features.18.1.{bn}"),
        Rule::new("classifier.{wb}", "classifier.1.{wb}"),
    ];
    for block in mobilenet::blocks(&mobilenet::V2_REPEATS) {
        let Block { number, .. } = block;
        let timm = mobilenet::timm_parts(&block);
        let torchvision = mobilenet::torchvision_parts(&block);
        for (timm, torchvision) in timm.iter().zip(torchvision) {
            let there = format!("blocks.{}.{}.{timm}", block.stage, block.index);
            rules.push(Rule::new(
                there,
                format!("features.{number}.conv.{torchvision}"),
            ));
        }
    }
    rules
}

fn mobilenet_v1() -> Vec<Rule> {
    let mut names = same(&["conv_stem.weight", "bn1.{bn}", "classifier.{wb}"]);
    for block in mobilenet::blocks(&mobilenet::V1_REPEATS) {
        for part in mobilenet::SEPARABLE_PARTS {
            let name = format!("blocks.{}.{}.{part}", block.stage, block.index);
            names.push(Rule::new(name.clone(), name));
        }
    }
    names
}

fn efficientnet_lite0() -> Vec<Rule> {
    efficientnet::lite0()
        .into_iter()
        .map(|rule| Rule::new(rule.zoo.clone(), rule.zoo))
        .collect()
}
