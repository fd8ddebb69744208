//! EfficientNet-Lite0 under the names of the first PyTorch port, to timm's `tf_efficientnet_lite0`
//! (Meta-Pooling's method card, section 10).

use super::mobilenet::{self, Block};
use super::{Dialect, Network, Rule};

pub(super) const DIALECT: Dialect = Dialect {
    name: "lukemelas",
    about: "lukemelas/EfficientNet-PyTorch and the lite ports of it",
    prefix: "",
    remark: None,
    networks: &[Network {
        name: "tf_efficientnet_lite0",
        rules: lite0,
        dropped: &[],
    }],
};

pub(super) fn lite0() -> Vec<Rule> {
    let mut rules = vec![
        Rule::new("_conv_stem.weight", "conv_stem.weight"),
        Rule::new("_bn0.{bn}", "bn1.{bn}"),
        Rule::new("_conv_head.weight", "conv_head.weight"),
        Rule::new("_bn1.{bn}", "bn2.{bn}"),
        Rule::new("_fc.{wb}", "classifier.{wb}"),
    ];
    for block in mobilenet::blocks(&mobilenet::LITE0_REPEATS) {
        let Block {
            number,
            stage,
            index,
        } = block;
        let parts = [
            "_expand_conv.weight",
            "_bn0.{bn}",
            "_depthwise_conv.weight",
            "_bn1.{bn}",
            "_project_conv.weight",
            "_bn2.{bn}",
        ];
        // The first block expands nothing.
        let parts = if number == 1 { &parts[2..] } else { &parts[..] };
        for (part, timm) in parts.iter().zip(mobilenet::timm_parts(&block)) {
            rules.push(Rule::new(
                format!("_blocks.{}.{part}", number - 1),
                format!("blocks.{stage}.{index}.{timm}"),
            ));
        }
    }
    rules
}
