//! The CIFAR zoo of `HobbitLong/RepDistiller` and `megvii-research/mdistiller`, and NORM's students
//! (NORM's method card, section 12).

use super::{Dialect, Network, Rule, same};

pub(super) const DIALECT: Dialect = Dialect {
    name: "repdistiller",
    about: "HobbitLong/RepDistiller, megvii-research/mdistiller, OSVAI/NORM models/cifar",
    prefix: "",
    remark: None,
    networks: &[
        Network {
            name: "resnet",
            rules: resnet,
            dropped: &[],
        },
        Network {
            name: "cifar_resnet18/50",
            rules: resnet_v2,
            dropped: &[],
        },
        Network {
            name: "wrn",
            rules: wide,
            dropped: &[],
        },
        Network {
            name: "vgg",
            rules: vgg,
            dropped: &[],
        },
        Network {
            name: "cifar_mobilenetv2",
            rules: mobilenet_v2,
            dropped: &[],
        },
        Network {
            name: "cifar_shufflenet",
            rules: shufflenet,
            dropped: &[],
        },
    ],
};

/// NORM's module in training (31, 32 or 41, 42), and what its student classes hold without reading it.
const NORM: [&str; 6] = [
    "layer31", "layer32", "layer41", "layer42", "layer21", "layer22",
];

fn with_norm(names: &[&str]) -> Vec<Rule> {
    let mut rules = same(names);
    rules.extend(same(&["alpha"]));
    for module in NORM {
        for part in ["0.weight", "1.{bn}"] {
            let name = format!("{module}.{part}");
            rules.push(Rule::new(name.clone(), name));
        }
    }
    rules
}

fn resnet() -> Vec<Rule> {
    with_norm(&[
        "conv1.weight",
        "bn1.{bn}",
        "layer{n}.{n}.conv{n}.weight",
        "layer{n}.{n}.bn{n}.{bn}",
        "layer{n}.{n}.downsample.0.weight",
        "layer{n}.{n}.downsample.1.{bn}",
        "fc.{wb}",
    ])
}

fn resnet_v2() -> Vec<Rule> {
    with_norm(&[
        "conv1.weight",
        "bn1.{bn}",
        "layer{n}.{n}.conv{n}.weight",
        "layer{n}.{n}.bn{n}.{bn}",
        "layer{n}.{n}.shortcut.0.weight",
        "layer{n}.{n}.shortcut.1.{bn}",
        "linear.{wb}",
    ])
}

fn wide() -> Vec<Rule> {
    with_norm(&[
        "conv1.weight",
        "block{n}.layer.{n}.bn{n}.{bn}",
        "block{n}.layer.{n}.conv{n}.weight",
        "block{n}.layer.{n}.convShortcut.weight",
        "bn1.{bn}",
        "fc.{wb}",
    ])
}

fn vgg() -> Vec<Rule> {
    with_norm(&["block{n}.{n}.{bn}", "classifier.{wb}"])
}

fn mobilenet_v2() -> Vec<Rule> {
    with_norm(&[
        "conv1.0.weight",
        "conv1.1.{bn}",
        "blocks.{n}.{n}.conv.{n}.{bn}",
        "conv2.0.weight",
        "conv2.1.{bn}",
        "classifier.{n}.{wb}",
    ])
}

fn shufflenet() -> Vec<Rule> {
    with_norm(&[
        "conv{n}.weight",
        "bn{n}.{bn}",
        "layer{n}.{n}.conv{n}.weight",
        "layer{n}.{n}.bn{n}.{bn}",
        "linear.{wb}",
    ])
}
