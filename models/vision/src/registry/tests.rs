use super::*;
use crate::WideResNetConfig;

#[test]
fn names_are_unique_and_found_however_they_are_written() {
    for (index, entry) in MODELS.iter().enumerate() {
        let spelled = entry.name.to_uppercase().replace('_', "-");
        assert!(std::ptr::eq(find(&spelled).unwrap(), entry), "{spelled}");
        let mut others = MODELS[index + 1..].iter();
        assert!(others.all(|other| names::fold(other.name) != names::fold(entry.name)));
    }
}

#[test]
fn a_misspelt_name_is_answered_with_the_nearest_three() {
    let error = find("restnet20").unwrap_err();
    assert_eq!(error.nearest.len(), 3);
    assert_eq!(error.nearest[0], "resnet20");
    assert!(error.to_string().contains("restnet20"), "{error}");
    assert_eq!(
        find("mobilenet").unwrap_err().nearest[0],
        "cifar_mobilenetv2"
    );
    assert_eq!(find("resnet50").unwrap_err().nearest[0], "cifar_resnet50");
}

#[test]
fn lists_are_in_natural_order() {
    let names: Vec<_> = list("ResNet*").iter().map(|entry| entry.name).collect();
    let expected = [
        "resnet8",
        "resnet8x4",
        "resnet14",
        "resnet20",
        "resnet32",
        "resnet32x4",
        "resnet44",
        "resnet56",
        "resnet110",
    ];
    assert_eq!(names, expected);
    assert_eq!(list("*").len(), MODELS.len());
    assert!(list("nothing").is_empty());
}

#[test]
fn the_family_is_the_tag_in_files() {
    for entry in MODELS {
        let config = entry.default_config();
        assert_eq!(config.classes(), entry.classes, "{}", entry.name);
        let text = serde_json::to_value(&config).unwrap();
        assert_eq!(text["family"], entry.family, "{}", entry.name);
        let again: ModelConfig = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(again, config);
        let mut unknown = text;
        unknown["dropout"] = 0.5.into();
        assert!(
            serde_json::from_value::<ModelConfig>(unknown).is_err(),
            "{}",
            entry.name
        );
    }
}

#[test]
fn the_head_tells_the_classes() {
    for entry in MODELS {
        let tensors: BTreeMap<_, _> = entry
            .tensor_list(7)
            .unwrap()
            .into_iter()
            .map(|info| (format!("module.{}", info.name), info.shape))
            .collect();
        assert_eq!(
            entry.config_for(&tensors).unwrap(),
            (entry.config)(7),
            "{}",
            entry.name
        );
    }
}

#[test]
fn a_transform_is_seen() {
    let entry = find("wrn_16_1").unwrap();
    let mut tensors = BTreeMap::from([("fc.weight".to_string(), vec![5, 64])]);
    tensors.insert("transform.weight".into(), vec![64, 64, 1, 1]);
    let expected = WideResNetConfig {
        transform: true,
        ..WideResNetConfig::wrn_16_1(5)
    };
    assert_eq!(
        entry.config_for(&tensors).unwrap(),
        ModelConfig::WideResnet(expected)
    );
}

#[test]
fn a_file_of_another_model_is_refused() {
    let entry = find("resnet20").unwrap();
    let error = entry.config_for(&BTreeMap::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tensor fc.weight: missing; resnet20 needs it with shape [classes, 64]"
    );
    let other = BTreeMap::from([("fc.weight".to_string(), vec![100, 256])]);
    let error = entry.config_for(&other).unwrap_err();
    assert!(
        matches!(error, VisionError::HeadShape { columns: 64, .. }),
        "{error}"
    );
}

#[test]
fn unused_tensors_are_known() {
    let resnet = find("resnet20").unwrap();
    assert!(resnet.ignorable("module.alpha"));
    assert!(!resnet.ignorable("alphabet") && !resnet.ignorable("layer21.0.weight"));
    let wrn = find("wrn_16_2").unwrap();
    assert!(wrn.ignorable("layer21.0.weight") && wrn.ignorable("layer22.1.running_mean"));
    // The module itself is used: a network without it would answer otherwise.
    assert!(!wrn.ignorable("layer31.0.weight"));
}

#[test]
fn images_are_normalised_as_the_weights_were() {
    let resnet8 = find("distiller_resnet8").unwrap();
    assert_eq!(resnet8.normalisation(10), weights::DISTILLER_CIFAR10);
    assert_eq!(resnet8.normalisation(100), weights::DISTILLER_CIFAR100);
    assert_eq!(resnet8.normalisation(7), weights::DISTILLER_CIFAR100);
    assert_eq!(
        find("akamaster_resnet20").unwrap().normalisation(10),
        weights::IMAGENET
    );
    assert_eq!(find("vgg8").unwrap().normalisation(100), weights::CIFAR100);
}
