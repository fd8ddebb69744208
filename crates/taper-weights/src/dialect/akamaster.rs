//! CIFAR-10 ResNets with parameter-free shortcuts (`akamaster/pytorch_resnet_cifar10`).

use super::{Dialect, Network, Rule, same};

pub(super) const DIALECT: Dialect = Dialect {
    name: "akamaster",
    about: "akamaster/pytorch_resnet_cifar10",
    prefix: "module.",
    remark: None,
    networks: &[Network {
        name: "akamaster_resnet",
        rules: names,
        dropped: &[],
    }],
};

fn names() -> Vec<Rule> {
    same(&[
        "conv1.weight",
        "bn1.{bn}",
        "layer{n}.{n}.conv{n}.weight",
        "layer{n}.{n}.bn{n}.{bn}",
        "linear.{wb}",
    ])
}
