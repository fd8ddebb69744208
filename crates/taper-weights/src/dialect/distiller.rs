//! CIFAR ResNets and wide ResNets of `karanchahal/distiller`.

use super::{Dialect, Network, Rule, same};

pub(super) const DIALECT: Dialect = Dialect {
    name: "distiller",
    about: "karanchahal/distiller",
    prefix: "module.",
    remark: None,
    networks: &[
        Network {
            name: "distiller_resnet",
            rules: resnet,
            dropped: &[],
        },
        Network {
            name: "distiller_wrn",
            rules: wide,
            dropped: &[],
        },
    ],
};

fn resnet() -> Vec<Rule> {
    same(&[
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
    same(&[
        "conv1.weight",
        "layer{n}.layer.{n}.bn{n}.{bn}",
        "layer{n}.layer.{n}.conv{n}.weight",
        "layer{n}.layer.{n}.convShortcut.weight",
        "bn1.{bn}",
        "linear.{wb}",
    ])
}
