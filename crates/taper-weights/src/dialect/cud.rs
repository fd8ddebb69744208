//! Networks of Catch-Up Distillation on MNIST and CIFAR-10: velocity, coupling (`encoder.`) and the
//! heads of the higher orders (its method card, section 7).

use super::{Dialect, Network, Rule, edm, same};

pub(super) const DIALECT: Dialect = Dialect {
    name: "cud",
    about: "shaoshitong/Catch-Up-Distillation",
    prefix: "",
    remark: None,
    networks: &[
        Network {
            name: "cud_mnist, cud_cifar10",
            rules: edm::song_and_dhariwal,
            dropped: &[],
        },
        Network {
            name: "coupling",
            rules: encoder,
            dropped: &[],
        },
        Network {
            name: "heads",
            rules: heads,
            dropped: &[],
        },
    ],
};

/// The coupling network's file has `encoder.` before every name, the zoo's network has not.
fn encoder() -> Vec<Rule> {
    edm::song_and_dhariwal()
        .into_iter()
        .map(|rule| Rule::new(format!("encoder.{}", rule.original), rule.zoo))
        .collect()
}

/// A list of dictionaries with a data-parallel wrapper in each: `0.module.block.0.weight`.
fn heads() -> Vec<Rule> {
    let mut rules = vec![Rule::new(
        "{n}.module.block.{n}.{wb}",
        "generator_list.{n}.block.{n}.{wb}",
    )];
    rules.extend(same(&["generator_list.{n}.block.{n}.{wb}"]));
    rules
}
