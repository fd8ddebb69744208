//! Networks of `NVlabs/edm`: the preconditioner holds the network as `model.`
//! (Catch-Up Distillation's method card, section 7).

use super::{Dialect, Network, Rule, same};

pub(super) const DIALECT: Dialect = Dialect {
    name: "edm",
    about: "NVlabs/edm",
    prefix: "model.",
    remark: None,
    networks: &[Network {
        name: "edm_cifar10_ddpmpp, edm_imagenet64_adm",
        rules: song_and_dhariwal,
        dropped: &[],
    }],
};

/// Both U-Nets: they differ in the embedding and in the last layers.
pub(super) fn song_and_dhariwal() -> Vec<Rule> {
    same(&[
        "map_layer{n}.{wb}",
        "map_label.{wb}",
        "map_augment.weight",
        "enc.{n}x{n}_conv.{wb}",
        "dec.{n}x{n}_aux_norm.{wb}",
        "dec.{n}x{n}_aux_conv.{wb}",
        "out_norm.{wb}",
        "out_conv.{wb}",
        "enc.{n}x{n}_block{n}.*",
        "enc.{n}x{n}_down.*",
        "dec.{n}x{n}_block{n}.*",
        "dec.{n}x{n}_in{n}.*",
        "dec.{n}x{n}_up.*",
    ])
}
