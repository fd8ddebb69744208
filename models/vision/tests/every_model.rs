//! Walks the registry: sizes, shapes of all features, and a gradient for every parameter.

use candle_core::{D, DType, Device, Result, Tensor};
use rand::Rng;
use taper_layers::{Mode, ParameterStore, Role};
use taper_vision::{ModelConfig, ModelEntry, registry};

/// Parameters and tensors of each model as published (norm.md section 12 for 100 classes; the
/// networks with published weights: akamaster's README, karanchahal/distiller `model_factory.py`).
const PUBLISHED: &[(&str, usize, usize)] = &[
    ("resnet8", 83_892, 56),
    ("resnet14", 181_108, 92),
    ("resnet20", 278_324, 128),
    ("resnet32", 472_756, 200),
    ("resnet44", 667_188, 272),
    ("resnet56", 861_620, 344),
    ("resnet110", 1_736_564, 668),
    ("resnet8x4", 1_233_540, 62),
    ("resnet32x4", 7_433_860, 206),
    ("wrn_16_1", 180_916, 82),
    ("wrn_16_2", 703_284, 83),
    ("wrn_40_1", 569_780, 226),
    ("wrn_40_2", 2_255_156, 227),
    ("vgg8", 3_965_028, 37),
    ("vgg11", 9_277_284, 58),
    ("vgg13", 9_462_180, 72),
    ("vgg16", 14_774_436, 93),
    ("vgg19", 20_086_692, 114),
    ("cifar_mobilenetv2", 812_836, 320),
    ("cifar_shufflenetv1", 949_258, 296),
    ("cifar_shufflenetv2", 1_355_528, 338),
    ("cifar_resnet18", 11_220_132, 122),
    ("cifar_resnet50", 23_705_252, 320),
    ("akamaster_resnet20", 269_722, 116),
    ("akamaster_resnet32", 464_154, 188),
    ("akamaster_resnet44", 658_586, 260),
    ("akamaster_resnet56", 853_018, 332),
    ("distiller_resnet8", 112_452, 62),
    ("distiller_resnet14", 209_668, 98),
    ("distiller_resnet20", 306_884, 134),
    ("distiller_resnet26", 404_100, 170),
    ("distiller_resnet32", 501_316, 206),
    ("distiller_wrn_10_1", 77_850, 46),
    ("distiller_wrn_16_1", 175_066, 82),
];

fn images(batch: usize, side: usize) -> Result<Tensor> {
    let mut random = taper_kernels::random::stream(1, "images", 0);
    let count = batch * 3 * side * side;
    let values: Vec<f32> = (0..count).map(|_| random.random_range(-2.0..2.0)).collect();
    Tensor::from_vec(values, (batch, 3, side, side), &Device::Cpu)
}

#[test]
fn sizes_are_those_published() -> Result<()> {
    assert_eq!(PUBLISHED.len(), registry::MODELS.len());
    for &(name, parameters, tensors) in PUBLISHED {
        let entry = registry::find(name).unwrap();
        assert_eq!(
            (entry.parameters, entry.tensors),
            (parameters, tensors),
            "{name}"
        );
        let list = entry.tensor_list(entry.classes)?;
        let learnt = list
            .iter()
            .filter(|info| Role::of(&info.name) == Role::Parameter)
            .map(|info| info.shape.iter().product::<usize>());
        assert_eq!(
            (learnt.sum::<usize>(), list.len()),
            (parameters, tensors),
            "{name}"
        );
        for tensor in [entry.head.weight, entry.head.bias] {
            assert!(
                list.iter().any(|info| info.name == tensor),
                "{name} {tensor}"
            );
        }
    }
    Ok(())
}

/// One training step of every model: all shapes as registered, a gradient for each parameter.
#[test]
fn every_parameter_learns() -> Result<()> {
    for entry in registry::MODELS {
        learns(entry, &entry.default_config())?;
    }
    Ok(())
}

/// The two flags that distillation sets.
#[test]
fn variants_learn_too() -> Result<()> {
    let wrn = registry::find("wrn_16_1").unwrap();
    let mut config = wrn.default_config();
    if let ModelConfig::WideResnet(config) = &mut config {
        config.transform = true;
    }
    learns(wrn, &config)?;
    let mobilenet = registry::find("cifar_mobilenetv2").unwrap();
    let mut config = mobilenet.default_config();
    if let ModelConfig::MobilenetV2(config) = &mut config {
        config.final_relu = false;
    }
    learns(mobilenet, &config)
}

fn learns(entry: &ModelEntry, config: &ModelConfig) -> Result<()> {
    const BATCH: usize = 4;
    let name = entry.name;
    let store = ParameterStore::new(3, &Device::Cpu);
    let model = config.build(store.var_builder(DType::F32))?;
    assert_eq!(model.classes(), entry.classes);
    let features = model.forward(&images(BATCH, 32)?, Mode::Train)?;
    assert_eq!(features.logits.dims(), [BATCH, entry.classes], "{name}");
    assert_eq!(features.stages.len(), entry.stages.len(), "{name}");
    for (stage, expected) in features.stages.iter().zip(entry.stages) {
        let side = 32 / expected.stride;
        assert_eq!(
            stage.dims(),
            [BATCH, expected.channels, side, side],
            "{name}"
        );
    }
    let columns = store.get(entry.head.weight).map(|weight| weight.dims()[1]);
    let width = features.embedding.dim(D::Minus1)?;
    assert_eq!(Some(width), columns, "{name}");

    let labels: Vec<u32> = (0..BATCH).map(|i| (i * 3 % entry.classes) as u32).collect();
    let labels = Tensor::from_vec(labels, BATCH, &Device::Cpu)?;
    let loss = candle_nn::loss::cross_entropy(&features.logits, &labels)?;
    let gradients = loss.backward()?;
    for (parameter, var) in store.parameters() {
        let gradient = gradients.get(&var);
        let gradient = gradient.unwrap_or_else(|| panic!("{name}: {parameter} has no gradient"));
        let size = gradient.abs()?.sum_all()?.to_scalar::<f32>()?;
        assert!(size.is_finite(), "{name}: {parameter} has gradient {size}");
        let idle = taken_away_again(entry.family, &parameter);
        assert!(size > 0.0 || idle, "{name}: {parameter} has gradient 0");
    }
    Ok(())
}

/// Whether a parameter is a shift that the next batch norm subtracts with the batch mean, so that
/// its gradient is 0 but for rounding (seen in the originals as well): a VGG convolution's bias;
/// a batch norm without ReLU before a 1x1 convolution and its batch norm.
fn taken_away_again(family: &str, parameter: &str) -> bool {
    let parts: Vec<_> = parameter.split('.').collect();
    match (family, parts.as_slice()) {
        ("vgg", [block, slot, "bias"]) => {
            let slot = slot.parse::<usize>();
            block.starts_with("block") && slot.is_ok_and(|slot| slot.is_multiple_of(3))
        }
        ("mobilenet_v2", [.., "7", "bias"]) => true,
        ("shufflenet_v2", [_, "0", "bn1" | "bn4", "bias"]) => true,
        ("shufflenet_v2", [_, block, "bn2", "bias"]) => *block != "0",
        _ => false,
    }
}

/// Heads are general in the size of the image: 48 pixels give six-by-six maps.
#[test]
fn other_sizes_of_image_work() -> Result<()> {
    for name in [
        "resnet8",
        "wrn_16_1",
        "vgg8",
        "distiller_resnet8",
        "akamaster_resnet20",
    ] {
        let entry = registry::find(name).unwrap();
        let store = ParameterStore::new(3, &Device::Cpu);
        let model = entry
            .default_config()
            .build(store.var_builder(DType::F32))?;
        let features = model.forward(&images(2, 48)?, Mode::Eval)?;
        assert_eq!(features.logits.dims(), [2, entry.classes], "{name}");
    }
    Ok(())
}

#[test]
fn a_configuration_of_nothing_is_refused() {
    for entry in registry::MODELS {
        let store = ParameterStore::new(0, &Device::Cpu);
        let config = entry.default_config().with_classes(0);
        let error = config.build(store.var_builder(DType::F32)).err();
        let message = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(
            message.contains("`classes` is 0"),
            "{}: {message}",
            entry.name
        );
    }
}
