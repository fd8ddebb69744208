//! Tables against the zoo's registry and against the key lists of the method cards.

use super::super::rule::Compiled;
use super::super::*;
use std::collections::BTreeSet;
use taper_vision::registry;

fn both_ways(dialect: &'static Dialect, originals: &[String]) -> Vec<String> {
    let texts: Vec<&str> = originals.iter().map(String::as_str).collect();
    let there = translate(Some(dialect), Direction::ToZoo, &texts).unwrap();
    let zoo: Vec<&str> = there.names.iter().map(|n| n.name.as_str()).collect();
    for (named, original) in there.names.iter().zip(&texts) {
        assert_eq!(named.status, Status::Known, "{}: {original}", dialect.name);
    }
    let unique: BTreeSet<&str> = zoo.iter().copied().collect();
    assert_eq!(unique.len(), zoo.len(), "{}: names clash", dialect.name);
    let back = translate(Some(dialect), Direction::ToOriginal, &zoo).unwrap();
    let back: Vec<&str> = back.names.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(back, texts, "{}: the way back", dialect.name);
    zoo.into_iter().map(str::to_string).collect()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
fn every_table_can_be_read_both_ways() {
    for dialect in DIALECTS {
        for network in dialect.networks {
            for rule in (network.rules)() {
                for direction in [Direction::ToZoo, Direction::ToOriginal] {
                    Compiled::new(&rule, direction).unwrap();
                }
            }
            for name in network.dropped {
                crate::pattern::Pattern::parse(name).unwrap();
            }
        }
        assert!(std::ptr::eq(Dialect::find(dialect.name).unwrap(), dialect));
    }
    let text = Dialect::find("tomvision").unwrap_err().to_string();
    assert!(
        text.contains("torchvision") && text.contains("auto"),
        "{text}"
    );
}

#[test]
fn every_classifier_of_the_zoo_is_in_the_dialect_of_its_original() {
    for entry in registry::MODELS {
        let name = match entry.name {
            name if name.starts_with("akamaster") => "akamaster",
            name if name.starts_with("distiller") => "distiller",
            _ => "repdistiller",
        };
        let dialect = Dialect::find(name).unwrap();
        let list = entry.tensor_list(10).unwrap();
        let prefixed: Vec<String> = list
            .iter()
            .map(|info| format!("{}{}", dialect.prefix, info.name))
            .collect();
        let zoo = both_ways(dialect, &prefixed);
        assert!(
            zoo.iter().zip(&list).all(|(zoo, info)| *zoo == info.name),
            "{}",
            entry.name
        );
    }
}

#[test]
fn mobilenet_v2_under_three_names() {
    // The card's table, one block of each kind: torchvision, timm, d-li14.
    let rows = [
        (
            "features.0.0.weight",
            "conv_stem.weight",
            "features.0.0.weight",
        ),
        (
            "features.0.1.running_var",
            "bn1.running_var",
            "features.0.1.running_var",
        ),
        (
            "features.1.conv.0.0.weight",
            "blocks.0.0.conv_dw.weight",
            "features.1.conv.0.weight",
        ),
        (
            "features.1.conv.0.1.bias",
            "blocks.0.0.bn1.bias",
            "features.1.conv.1.bias",
        ),
        (
            "features.1.conv.1.weight",
            "blocks.0.0.conv_pw.weight",
            "features.1.conv.3.weight",
        ),
        (
            "features.1.conv.2.weight",
            "blocks.0.0.bn2.weight",
            "features.1.conv.4.weight",
        ),
        (
            "features.2.conv.0.0.weight",
            "blocks.1.0.conv_pw.weight",
            "features.2.conv.0.weight",
        ),
        (
            "features.5.conv.1.0.weight",
            "blocks.2.1.conv_dw.weight",
            "features.5.conv.3.weight",
        ),
        (
            "features.14.conv.2.weight",
            "blocks.5.0.conv_pwl.weight",
            "features.14.conv.6.weight",
        ),
        (
            "features.17.conv.3.bias",
            "blocks.6.0.bn3.bias",
            "features.17.conv.7.bias",
        ),
        ("features.18.0.weight", "conv_head.weight", "conv.0.weight"),
        ("features.18.1.weight", "bn2.weight", "conv.1.weight"),
        ("classifier.1.bias", "classifier.bias", "classifier.bias"),
    ];
    let column = |pick: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
        strings(&rows.iter().map(pick).collect::<Vec<_>>())
    };
    let torchvision = column(|row| row.0);
    assert_eq!(
        both_ways(Dialect::find("timm").unwrap(), &column(|row| row.1)),
        torchvision
    );
    assert_eq!(
        both_ways(Dialect::find("d-li14").unwrap(), &column(|row| row.2)),
        torchvision
    );
    assert_eq!(
        both_ways(Dialect::find("torchvision").unwrap(), &torchvision),
        torchvision
    );
}

#[test]
fn efficientnet_lite0_and_mobilenet_v1_to_timm() {
    let lite = strings(&[
        "_conv_stem.weight",
        "_bn0.bias",
        "_blocks.0._depthwise_conv.weight",
        "_blocks.0._bn1.weight",
        "_blocks.0._project_conv.weight",
        "_blocks.0._bn2.weight",
        "_blocks.1._expand_conv.weight",
        "_blocks.3._depthwise_conv.weight",
        "_blocks.15._bn2.running_mean",
        "_conv_head.weight",
        "_bn1.weight",
        "_fc.bias",
    ]);
    assert_eq!(
        both_ways(Dialect::find("lukemelas").unwrap(), &lite),
        [
            "conv_stem.weight",
            "bn1.bias",
            "blocks.0.0.conv_dw.weight",
            "blocks.0.0.bn1.weight",
            "blocks.0.0.conv_pw.weight",
            "blocks.0.0.bn2.weight",
            "blocks.1.0.conv_pw.weight",
            "blocks.2.0.conv_dw.weight",
            "blocks.6.0.bn3.running_mean",
            "conv_head.weight",
            "bn2.weight",
            "classifier.bias",
        ]
    );
    let norm = strings(&[
        "module.model1.0.0.weight",
        "module.model1.1.0.weight",
        "module.model1.11.3.weight",
        "module.model2.1.4.weight",
        "module.fc.weight",
    ]);
    assert_eq!(
        both_ways(Dialect::find("norm-imagenet").unwrap(), &norm),
        [
            "conv_stem.weight",
            "blocks.0.0.conv_dw.weight",
            "blocks.3.5.conv_pw.weight",
            "blocks.4.1.bn2.weight",
            "classifier.weight",
        ]
    );
}

/// Keys of guided-diffusion's ADM at 64x64: 541 tensors, as the card counts.
fn adm_names() -> Vec<String> {
    let mut names = strings(&["label_emb.weight"]);
    let mut push = |module: &str, parts: &[&str]| {
        for part in parts {
            for tensor in ["weight", "bias"] {
                names.push(format!("{module}.{part}.{tensor}"));
            }
        }
    };
    const RESIDUAL: [&str; 5] = [
        "in_layers.0",
        "in_layers.2",
        "emb_layers.1",
        "out_layers.0",
        "out_layers.3",
    ];
    const ATTENTION: [&str; 3] = ["norm", "qkv", "proj_out"];
    push("time_embed", &["0", "2"]);
    push("out", &["0", "2"]);
    push("input_blocks.0", &["0"]);
    for block in 1..16 {
        push(&format!("input_blocks.{block}.0"), &RESIDUAL);
        // Widths change at the first block of a level, and not in the residual block that halves.
        if [5, 9, 13].contains(&block) {
            push(&format!("input_blocks.{block}.0"), &["skip_connection"]);
        }
        if block > 4 && block % 4 != 0 {
            push(&format!("input_blocks.{block}.1"), &ATTENTION);
        }
    }
    push("middle_block.0", &RESIDUAL);
    push("middle_block.1", &ATTENTION);
    push("middle_block.2", &RESIDUAL);
    for block in 0..16 {
        push(&format!("output_blocks.{block}.0"), &RESIDUAL);
        push(&format!("output_blocks.{block}.0"), &["skip_connection"]);
        if block < 12 {
            push(&format!("output_blocks.{block}.1"), &ATTENTION);
        }
        if block % 4 == 3 && block < 12 {
            push(&format!("output_blocks.{block}.2"), &RESIDUAL);
        }
    }
    names
}

#[test]
fn adm_under_edm_s_names() {
    let names = adm_names();
    assert_eq!(names.len(), 541, "the card's count");
    for dialect in ["guided-diffusion", "cud-imagenet"] {
        let zoo = both_ways(Dialect::find(dialect).unwrap(), &names);
        for name in [
            "map_label.weight",
            "enc.64x64_conv.weight",
            "enc.8x8_block2.qkv.weight",
            "enc.32x32_down.conv0.bias",
            "dec.8x8_in0.proj.weight",
            "dec.8x8_in1.norm1.weight",
            "dec.16x16_up.affine.weight",
            "dec.64x64_up.conv1.weight",
            "dec.64x64_block3.skip.weight",
            "out_conv.bias",
        ] {
            assert!(zoo.iter().any(|found| found == name), "{dialect}: {name}");
        }
        assert!(!zoo.iter().any(|name| name.contains("64x64_block0.qkv")));
        // All are names that EDM's own dialect has.
        let edm: Vec<String> = zoo.iter().map(|name| format!("model.{name}")).collect();
        assert_eq!(both_ways(Dialect::find("edm").unwrap(), &edm), zoo);
    }
}

#[test]
fn prefixes_of_velocity_networks() {
    let song = [
        "map_layer0.weight",
        "enc.32x32_conv.weight",
        "dec.8x8_in0.qkv.bias",
        "enc.16x16_down.conv0.resample_filter",
        "dec.32x32_aux_norm.weight",
    ];
    let with = |prefix: &str| -> Vec<String> {
        song.iter().map(|name| format!("{prefix}{name}")).collect()
    };
    assert_eq!(
        both_ways(Dialect::find("edm").unwrap(), &with("model.")),
        song
    );
    let texts = with("encoder.");
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let cud = Dialect::find("cud").unwrap();
    let found = translate(Some(cud), Direction::ToZoo, &texts).unwrap();
    assert_eq!(found.network, "coupling");
    assert!(
        found
            .names
            .iter()
            .zip(song)
            .all(|(named, name)| named.name == name)
    );
    let heads = strings(&["0.module.block.0.weight", "1.module.block.2.bias"]);
    let zoo = both_ways(cud, &heads);
    assert_eq!(
        zoo,
        [
            "generator_list.0.block.0.weight",
            "generator_list.1.block.2.bias"
        ]
    );
}

#[test]
fn recognisers_lose_their_constants() {
    let names = [
        "encoder.global_cmvn.mean",
        "encoder.embed.conv.0.weight",
        "encoder.embed.out.0.bias",
        "encoder.embed.pos_enc.pe",
        "encoder.encoders.11.self_attn.linear_pos.weight",
        "encoder.encoders.11.self_attn.pos_bias_u",
        "encoder.encoders.0.feed_forward_macaron.w_1.weight",
        "encoder.encoders.0.conv_module.norm.num_batches_tracked",
        "encoder.encoders.0.concat_linear.weight",
        "encoder.after_norm.bias",
        "decoder.embed.0.weight",
        "decoder.embed.1.pe",
        "decoder.left_decoder.decoders.5.src_attn.linear_v.bias",
        "ctc.ctc_lo.weight",
    ];
    let wenet = Dialect::find("wenet").unwrap();
    let found = translate(Some(wenet), Direction::ToZoo, &names).unwrap();
    let dropped: Vec<&str> = found
        .names
        .iter()
        .filter(|named| named.status == Status::Dropped)
        .map(|named| named.name.as_str())
        .collect();
    assert_eq!(
        dropped,
        [
            "encoder.embed.pos_enc.pe",
            "encoder.encoders.0.concat_linear.weight",
            "decoder.embed.1.pe"
        ]
    );
    assert_eq!(found.known(), names.len());
    // ESPnet has no feature normalisation among its tensors.
    let espnet = Dialect::find("espnet").unwrap();
    let found = translate(Some(espnet), Direction::ToZoo, &names).unwrap();
    assert_eq!(found.known(), names.len() - 1);
}

#[test]
fn auto_takes_the_dialect_that_knows_every_name() {
    let auto = |names: &[&str]| translate(None, Direction::ToZoo, names);
    let found = auto(&[
        "module.conv1.weight",
        "module.bn1.bias",
        "module.linear.bias",
    ])
    .unwrap();
    assert_eq!(found.names[0].name, "conv1.weight");
    assert_eq!(
        auto(&["conv_stem.weight", "blocks.1.0.conv_pwl.weight"])
            .unwrap()
            .dialect
            .name,
        "timm"
    );
    assert_eq!(
        auto(&["_conv_stem.weight"]).unwrap().dialect.name,
        "lukemelas"
    );
    assert_eq!(
        auto(&["model.map_augment.weight"]).unwrap().dialect.name,
        "edm"
    );
    let text = auto(&["_conv_stem.weight", "strange.weight"]).unwrap_err();
    assert!(
        text.contains("lukemelas") && text.contains("strange.weight"),
        "{text}"
    );
    let text = translate(Some(&DIALECTS[3]), Direction::ToZoo, &["a", "b"]).unwrap_err();
    assert!(text.contains("none of the 2 names"), "{text}");
}
