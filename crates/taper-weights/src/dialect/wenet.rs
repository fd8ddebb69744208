//! Conformer and Transformer recognisers of WeNet (the recogniser's method card, section 8.3).

use super::{Dialect, Network, Rule, same};

pub(super) const DIALECT: Dialect = Dialect {
    name: "wenet",
    about: "wenet-e2e/wenet",
    prefix: "",
    remark: Some(
        "WeNet's attention adds no relative shift: the positional term uses the key's absolute position",
    ),
    networks: &[Network {
        name: "conformer",
        rules: names,
        // Positional tables are computed; `concat_linear` of old files is read by nobody.
        dropped: DROPPED,
    }],
};

pub(super) const DROPPED: &[&str] = &[
    "encoder.embed.pos_enc.pe",
    "decoder.embed.1.pe",
    "decoder.{n}.pe",
    "decoder.left_decoder.embed.1.pe",
    "decoder.right_decoder.embed.1.pe",
    "encoder.encoders.{n}.concat_linear.{wb}",
    "decoder.decoders.{n}.concat_linear{n}.{wb}",
];

fn names() -> Vec<Rule> {
    let mut rules = same(&["encoder.global_cmvn.mean", "encoder.global_cmvn.istd"]);
    rules.extend(recogniser());
    rules
}

/// What WeNet and ESPnet have in common.
pub(super) fn recogniser() -> Vec<Rule> {
    let mut rules = same(&[
        "encoder.embed.conv.{n}.{wb}",
        "encoder.embed.out.{n}.{wb}",
        "encoder.encoders.{n}.self_attn.linear_q.{wb}",
        "encoder.encoders.{n}.self_attn.linear_k.{wb}",
        "encoder.encoders.{n}.self_attn.linear_v.{wb}",
        "encoder.encoders.{n}.self_attn.linear_out.{wb}",
        "encoder.encoders.{n}.self_attn.linear_pos.weight",
        "encoder.encoders.{n}.self_attn.pos_bias_u",
        "encoder.encoders.{n}.self_attn.pos_bias_v",
        "encoder.encoders.{n}.feed_forward.w_{n}.{wb}",
        "encoder.encoders.{n}.feed_forward_macaron.w_{n}.{wb}",
        "encoder.encoders.{n}.conv_module.pointwise_conv{n}.{wb}",
        "encoder.encoders.{n}.conv_module.depthwise_conv.{wb}",
        "encoder.encoders.{n}.conv_module.norm.{bn}",
        "encoder.encoders.{n}.norm_ff.{wb}",
        "encoder.encoders.{n}.norm_mha.{wb}",
        "encoder.encoders.{n}.norm_ff_macaron.{wb}",
        "encoder.encoders.{n}.norm_conv.{wb}",
        "encoder.encoders.{n}.norm_final.{wb}",
        "encoder.encoders.{n}.norm{n}.{wb}",
        "encoder.after_norm.{wb}",
        "ctc.ctc_lo.{wb}",
    ]);
    for decoder in ["decoder", "decoder.left_decoder", "decoder.right_decoder"] {
        for name in [
            "embed.0.weight",
            "decoders.{n}.self_attn.linear_q.{wb}",
            "decoders.{n}.self_attn.linear_k.{wb}",
            "decoders.{n}.self_attn.linear_v.{wb}",
            "decoders.{n}.self_attn.linear_out.{wb}",
            "decoders.{n}.src_attn.linear_q.{wb}",
            "decoders.{n}.src_attn.linear_k.{wb}",
            "decoders.{n}.src_attn.linear_v.{wb}",
            "decoders.{n}.src_attn.linear_out.{wb}",
            "decoders.{n}.feed_forward.w_{n}.{wb}",
            "decoders.{n}.norm{n}.{wb}",
            "after_norm.{wb}",
            "output_layer.{wb}",
        ] {
            let name = format!("{decoder}.{name}");
            rules.push(Rule::new(name.clone(), name));
        }
    }
    rules
}
