//! The ADM U-Net at 64x64 under the names of guided-diffusion and of Catch-Up Distillation's ImageNet
//! code, to those of EDM's `DhariwalUNet` (Catch-Up Distillation's method card, section 7).
//!
//! The three agree in everything but names and the order of the attention's rows.

use super::{Change, Dialect, Network, Rule};
use taper_velocity::QkvOrder;

/// Sizes of the levels, and residual blocks a level.
const LEVELS: [usize; 4] = [64, 32, 16, 8];
const BLOCKS: usize = 3;
/// Channels of an attention head.
const HEAD: usize = 64;

pub(super) const GUIDED_DIFFUSION: Dialect = Dialect {
    name: "guided-diffusion",
    about: "openai/guided-diffusion, 64x64",
    prefix: "",
    remark: None,
    networks: &[Network {
        name: "edm_imagenet64_adm",
        rules: guided_diffusion,
        dropped: &[],
    }],
};

pub(super) const CUD_IMAGENET: Dialect = Dialect {
    name: "cud-imagenet",
    about: "shaoshitong/Catch-Up-Distillation-ImageNet-64x64",
    prefix: "",
    remark: None,
    networks: &[Network {
        name: "edm_imagenet64_adm",
        rules: cud_imagenet,
        dropped: &[],
    }],
};

fn guided_diffusion() -> Vec<Rule> {
    adm(QkvOrder::HeadWhichChannel)
}

fn cud_imagenet() -> Vec<Rule> {
    let mut rules = adm(QkvOrder::WhichHeadChannel);
    rules.push(Rule::new(
        "generator_list.{n}.block.{n}.{wb}",
        "generator_list.{n}.block.{n}.{wb}",
    ));
    rules
}

fn adm(order: QkvOrder) -> Vec<Rule> {
    let transposed = Change {
        transpose: true,
        ..Change::default()
    };
    let mut rules = vec![
        Rule::new("time_embed.0.{wb}", "map_layer0.{wb}"),
        Rule::new("time_embed.2.{wb}", "map_layer1.{wb}"),
        Rule::new("label_emb.weight", "map_label.weight").with(transposed),
        Rule::new("input_blocks.0.0.{wb}", "enc.64x64_conv.{wb}"),
        Rule::new("out.0.{wb}", "out_norm.{wb}"),
        Rule::new("out.2.{wb}", "out_conv.{wb}"),
    ];
    let mut table = Table {
        order,
        rules: Vec::new(),
    };
    let mut number = 0;
    for (level, size) in LEVELS.iter().enumerate() {
        number += 1;
        if level > 0 {
            table.residual(
                &format!("input_blocks.{number}.0"),
                &format!("enc.{size}x{size}_down"),
            );
            number += 1;
        }
        for block in 0..BLOCKS {
            table.both(
                &format!("input_blocks.{}", number + block),
                &format!("enc.{size}x{size}_block{block}"),
            );
        }
        number += BLOCKS - 1;
    }
    table.residual("middle_block.0", "dec.8x8_in0");
    table.attention("middle_block.1", "dec.8x8_in0");
    table.residual("middle_block.2", "dec.8x8_in1");
    for (level, size) in LEVELS.iter().rev().enumerate() {
        for block in 0..=BLOCKS {
            let there = format!("output_blocks.{}", level * (BLOCKS + 1) + block);
            table.both(&there, &format!("dec.{size}x{size}_block{block}"));
            // The last block of a level also enlarges.
            if block == BLOCKS && *size < LEVELS[0] {
                let up = 2 * size;
                table.residual(&format!("{there}.2"), &format!("dec.{up}x{up}_up"));
            }
        }
    }
    rules.extend(table.rules);
    rules
}

struct Table {
    order: QkvOrder,
    rules: Vec<Rule>,
}

impl Table {
    /// A block with, where the file has it, attention behind.
    fn both(&mut self, there: &str, here: &str) {
        self.residual(&format!("{there}.0"), here);
        self.attention(&format!("{there}.1"), here);
    }

    fn residual(&mut self, there: &str, here: &str) {
        for (original, zoo) in [
            ("in_layers.0", "norm0"),
            ("in_layers.2", "conv0"),
            ("emb_layers.1", "affine"),
            ("out_layers.0", "norm1"),
            ("out_layers.3", "conv1"),
            ("skip_connection", "skip"),
        ] {
            self.rules.push(Rule::new(
                format!("{there}.{original}.{{wb}}"),
                format!("{here}.{zoo}.{{wb}}"),
            ));
        }
    }

    /// Its 1x1 convolutions are one-dimensional there, two-dimensional here.
    fn attention(&mut self, there: &str, here: &str) {
        let plane = Some((3, 4));
        let rows = Some((self.order, QkvOrder::HeadChannelWhich, HEAD));
        let mut push = |original: &str, zoo: &str, change| {
            let rule = Rule::new(format!("{there}.{original}"), format!("{here}.{zoo}"));
            self.rules.push(rule.with(change));
        };
        push("norm.{wb}", "norm2.{wb}", Change::default());
        push(
            "qkv.weight",
            "qkv.weight",
            Change {
                rows,
                rank: plane,
                transpose: false,
            },
        );
        push(
            "qkv.bias",
            "qkv.bias",
            Change {
                rows,
                ..Change::default()
            },
        );
        push(
            "proj_out.weight",
            "proj.weight",
            Change {
                rank: plane,
                ..Change::default()
            },
        );
        push("proj_out.bias", "proj.bias", Change::default());
    }
}
