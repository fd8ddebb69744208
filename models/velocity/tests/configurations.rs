//! Configurations as text, and those that describe no network.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use taper_velocity::{AdmConfig, SongUNetConfig, VelocityConfig, registry};

#[test]
fn configurations_survive_serde() {
    for entry in registry::MODELS {
        let config = (entry.config)();
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.contains(entry.family), "{text}");
        assert_eq!(
            serde_json::from_str::<VelocityConfig>(&text).unwrap(),
            config
        );
    }
}

#[test]
fn bad_configurations_are_named() {
    let song = SongUNetConfig::small(28, 1);
    let edit = |change: fn(&mut SongUNetConfig)| {
        let mut config = song.clone();
        change(&mut config);
        let error = registry::tensor_list(&VelocityConfig::SongUnet(config)).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    };
    for (change, expected) in [
        ((|c| c.side = 30) as fn(&mut SongUNetConfig), "`side` is 30"),
        (|c| c.heads = 0, "`heads` is 0"),
        (|c| c.multipliers = Vec::new(), "`multipliers` is 0"),
        (|c| c.multipliers = vec![1; 70], "`side` is 28"),
        (|c| c.width = 3, "even width"),
        (|c| c.dropout = 1.0, "`dropout` is 1"),
        (|c| c.phi = Some(1.5), "`phi` is 1.5"),
        (|c| c.classes = Some(0), "`classes` is 0"),
        (|c| c.width = 34, "groups do not divide"),
    ] {
        let message = edit(change);
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let config = VelocityConfig::Adm(AdmConfig {
        head_channels: 48,
        ..AdmConfig::edm_imagenet64_w64()
    });
    let message = registry::tensor_list(&config).unwrap_err().to_string();
    assert!(message.contains("`head_channels` is 48"), "{message}");
}
