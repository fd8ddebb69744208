//! ImageNet classifiers of torchvision, whose names the zoo keeps.

use super::{Dialect, Network, Rule, same};

pub(super) const DIALECT: Dialect = Dialect {
    name: "torchvision",
    about: "pytorch/vision",
    prefix: "",
    remark: None,
    networks: &[
        Network {
            name: "resnet",
            rules: resnet,
            dropped: &[],
        },
        Network {
            name: "mobilenet_v2",
            rules: mobilenet_v2,
            dropped: &[],
        },
        Network {
            name: "shufflenet_v2_x1_0",
            rules: shufflenet_v2,
            dropped: &[],
        },
    ],
};

/// `resnet18`, `resnet34`, `resnet50`; timm has the same.
pub(super) fn resnet() -> Vec<Rule> {
    same(&[
        "conv1.weight",
        "bn1.{bn}",
        "layer{n}.{n}.conv{n}.weight",
        "layer{n}.{n}.bn{n}.{bn}",
        "layer{n}.{n}.downsample.0.weight",
        "layer{n}.{n}.downsample.1.{bn}",
        "fc.{wb}",
    ])
}

fn mobilenet_v2() -> Vec<Rule> {
    same(&[
        "features.0.0.weight",
        "features.0.1.{bn}",
        "features.{n}.conv.{n}.0.weight",
        "features.{n}.conv.{n}.1.{bn}",
        "features.{n}.conv.{n}.{bn}",
        "features.18.0.weight",
        "features.18.1.{bn}",
        "classifier.1.{wb}",
    ])
}

fn shufflenet_v2() -> Vec<Rule> {
    same(&[
        "conv1.0.weight",
        "conv1.1.{bn}",
        "stage{n}.{n}.branch{n}.{n}.{bn}",
        "conv5.0.weight",
        "conv5.1.{bn}",
        "fc.{wb}",
    ])
}
