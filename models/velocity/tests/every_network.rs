//! Walks the registry: sizes, names, shapes of all answers, a gradient for every parameter, dropout, bad input.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests are tests"
)]

use candle_core::{DType, Device, Result, Tensor};
use rand::Rng;
use std::collections::BTreeMap;
use taper_kernels::random::stream;
use taper_layers::{ParameterStore, Role};
use taper_velocity::{
    AdmConfig, AdmDialect, Dropout, Labels, SongUNetConfig, VelocityConfig, registry,
};

/// Parameters, parameter tensors and tensors of the state (catch-up-distillation card, section 7; by count
/// of the originals for the rest). The published count for EDM's ADM is that of its own `DhariwalUNet`.
const PUBLISHED: &[(&str, usize, usize, usize)] = &[
    ("mlp_2d", 34_562, 8, 8),
    ("mlp_2d_coupling", 5_060, 6, 6),
    ("unet_small", 215_185, 188, 196),
    ("unet_small_8", 215_185, 188, 196),
    ("unet_small_32", 215_763, 188, 196),
    ("cud_mnist", 2_155_201, 254, 262),
    ("cud_mnist_encoder", 2_155_778, 254, 262),
    ("cud_cifar10", 55_732_739, 416, 424),
    ("cud_cifar10_encoder", 2_208_966, 272, 280),
    ("edm_cifar10_ddpmpp", 55_733_891, 417, 425),
    ("cud_imagenet64", 295_899_267, 541, 541),
    ("edm_imagenet64_adm", 295_899_267, 541, 553),
    ("edm_imagenet64_adm_w64", 33_105_283, 541, 553),
];

/// Numbers of a further head: MNIST, CIFAR-10, ImageNet.
const FURTHER_HEAD: &[(&str, usize)] = &[
    ("cud_mnist", 705),
    ("cud_cifar10", 7_427),
    ("cud_imagenet64", 5_571),
];

fn noise(shape: &[usize], label: &str) -> Result<Tensor> {
    let mut random = stream(5, label, 0);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| random.random_range(-1.5..1.5)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

fn learnt(config: &VelocityConfig) -> Result<(usize, usize, usize)> {
    let list = registry::tensor_list(config)?;
    let learnt: Vec<usize> = list
        .iter()
        .filter(|info| Role::of(&info.name) == Role::Parameter)
        .map(|info| info.shape.iter().product())
        .collect();
    Ok((learnt.iter().sum(), learnt.len(), list.len()))
}

#[test]
fn sizes_are_those_published() -> Result<()> {
    assert_eq!(PUBLISHED.len(), registry::MODELS.len());
    for &(name, parameters, parameter_tensors, tensors) in PUBLISHED {
        let entry = registry::find(name).unwrap();
        assert_eq!(
            (entry.parameters, entry.tensors),
            (parameters, tensors),
            "{name}"
        );
        let counted = learnt(&(entry.config)())?;
        assert_eq!(counted, (parameters, parameter_tensors, tensors), "{name}");
    }
    for &(name, numbers) in FURTHER_HEAD {
        let config = (registry::find(name).unwrap().config)();
        let (one, _, tensors) = learnt(&config)?;
        let (three, _, more) = learnt(&config.with_heads(3))?;
        assert_eq!((three - one, more - tensors), (2 * numbers, 8), "{name}");
    }
    Ok(())
}

/// With EDM's class labels CIFAR's network is the published conditional one.
#[test]
fn a_file_tells_heads_classes_and_labels() -> Result<()> {
    let entry = registry::find("edm_cifar10_ddpmpp").unwrap();
    let VelocityConfig::SongUnet(config) = (entry.config)() else {
        panic!("{} is no SongUNet", entry.name)
    };
    let conditional = VelocityConfig::SongUnet(SongUNetConfig {
        classes: Some(10),
        heads: 2,
        ..config.clone()
    });
    assert_eq!(learnt(&conditional.clone().with_heads(1))?.0, 55_735_299);
    let shapes = |config: &VelocityConfig| -> Result<BTreeMap<String, Vec<usize>>> {
        let list = registry::tensor_list(config)?;
        Ok(list
            .into_iter()
            .map(|info| (info.name, info.shape))
            .collect())
    };
    assert_eq!(entry.config_for(&shapes(&conditional)?), conditional);
    let mut without = shapes(&(entry.config)())?;
    without.remove("map_augment.weight");
    let VelocityConfig::SongUnet(found) = entry.config_for(&without) else {
        panic!("another family")
    };
    assert_eq!(found.augment, None);
    let adm = registry::find("cud_imagenet64").unwrap();
    let three = (adm.config)().with_heads(3);
    assert_eq!(adm.config_for(&shapes(&three)?), three);
    let mlp = registry::find("mlp_2d").unwrap();
    let two = (mlp.config)().with_heads(2);
    assert_eq!(mlp.config_for(&shapes(&two)?), two);
    // EDM's file into the catch-up network: the labels are left out.
    let cud = registry::find("cud_cifar10").unwrap();
    assert_eq!(cud.config_for(&shapes(&(entry.config)())?), (cud.config)());
    assert!(taper_velocity::VelocityEntry::ignorable(
        "map_augment.weight"
    ));
    Ok(())
}

/// Small networks of every kind, and which of them have classes or augmentation labels.
fn kinds() -> Vec<(&'static str, VelocityConfig)> {
    let adm = |dialect| {
        VelocityConfig::Adm(AdmConfig {
            dialect,
            side: 16,
            // Norms of one channel a group would take the biases before them away.
            width: 64,
            multipliers: vec![1, 2],
            blocks: 1,
            attention: vec![8],
            head_channels: 32,
            classes: Some(5),
            phi: Some(0.75),
            heads: 2,
            ..AdmConfig::edm_imagenet64()
        })
    };
    let small = |name: &str| (registry::find(name).unwrap().config)();
    vec![
        ("mlp_2d", small("mlp_2d").with_heads(3)),
        ("mlp_2d_coupling", small("mlp_2d_coupling")),
        (
            "unet_small_8",
            small("unet_small_8").with_heads(3).with_phi(Some(0.25)),
        ),
        (
            "song labels",
            VelocityConfig::SongUnet(SongUNetConfig {
                classes: Some(5),
                augment: Some(9),
                attention: vec![16, 8],
                ..SongUNetConfig::small(16, 3)
            }),
        ),
        ("adm edm", adm(AdmDialect::Edm)),
        ("adm catch-up", adm(AdmDialect::CatchUp)),
        ("adm guided-diffusion", adm(AdmDialect::GuidedDiffusion)),
    ]
}

/// A batch for a configuration: x, t, class, augmentation labels.
struct Batch {
    x: Tensor,
    t: Tensor,
    class: Option<Tensor>,
    augment: Option<Tensor>,
}

fn batch(config: &VelocityConfig, size: usize) -> Result<Batch> {
    let (shape, augment) = match config {
        VelocityConfig::Mlp(config) => (vec![size, config.inputs], None),
        VelocityConfig::SongUnet(c) => (vec![size, c.inputs, c.side, c.side], c.augment),
        VelocityConfig::Adm(c) => (vec![size, c.inputs, c.side, c.side], c.augment),
        _ => panic!("a family without a batch"),
    };
    let times: Vec<f32> = (0..size).map(|i| (i as f32 + 0.5) / size as f32).collect();
    let class = config.classes().map(|classes| {
        let classes: Vec<u32> = (0..size).map(|i| (i * 3 % classes) as u32).collect();
        Tensor::from_vec(classes, size, &Device::Cpu)
    });
    Ok(Batch {
        x: noise(&shape, "x")?,
        t: Tensor::from_vec(times, size, &Device::Cpu)?,
        class: class.transpose()?,
        augment: augment
            .map(|width| noise(&[size, width], "augment"))
            .transpose()?,
    })
}

/// Initial values that are 0 or near it would hide what lies before them.
fn randomise(store: &ParameterStore) -> Result<()> {
    for (name, var) in store.parameters() {
        let shape = var.dims().to_vec();
        let fan_in: usize = shape.iter().skip(1).product();
        let value = noise(&shape, &name)?;
        let value = match shape.len() {
            1 if !name.ends_with("bias") => ((value * 0.2)? + 0.6)?,
            1 => (value * 0.1)?,
            _ => (value * (1.0 / fan_in as f64).sqrt())?,
        };
        store.set(&name, &value).unwrap();
    }
    Ok(())
}

fn velocities(
    config: &VelocityConfig,
    store: &ParameterStore,
    batch: &Batch,
    dropout: Dropout<'_>,
) -> Result<Vec<Tensor>> {
    let vb = store.var_builder(DType::F32);
    let labels = Labels {
        class: batch.class.as_ref(),
        augment: batch.augment.as_ref(),
    };
    match config {
        VelocityConfig::SongUnet(config) => config
            .build(vb)?
            .forward_labelled(&batch.x, &batch.t, labels, dropout),
        VelocityConfig::Adm(config) => config
            .build(vb)?
            .forward_labelled(&batch.x, &batch.t, labels, dropout),
        other => other
            .build(vb)?
            .forward(&batch.x, &batch.t, labels.class, dropout),
    }
}

#[test]
fn every_parameter_learns() -> Result<()> {
    for (name, config) in kinds() {
        let batch = batch(&config, 3)?;
        let store = ParameterStore::new(3, &Device::Cpu);
        config.build(store.var_builder(DType::F32))?;
        randomise(&store)?;
        let found = velocities(&config, &store, &batch, Dropout::Off)?;
        assert_eq!(found.len(), config.heads(), "{name}");
        let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        for velocity in &found {
            assert_eq!(velocity.dims()[0], 3, "{name}");
            loss = (loss + velocity.sqr()?.mean_all()?)?;
        }
        let gradients = loss.backward()?;
        for (parameter, var) in store.parameters() {
            let gradient = gradients.get(&var);
            let gradient =
                gradient.unwrap_or_else(|| panic!("{name}: {parameter} has no gradient"));
            let size = gradient.abs()?.sum_all()?.to_scalar::<f32>()?;
            assert!(
                size > 0.0 && size.is_finite(),
                "{name}: {parameter} has gradient {size}"
            );
        }
    }
    Ok(())
}

/// Every registered network but the largest learns in its own shape from its own initial weights: the last layers at least.
#[test]
fn the_last_layer_learns_from_the_start() -> Result<()> {
    for name in ["mlp_2d", "unet_small_8", "unet_small", "cud_mnist"] {
        let config = (registry::find(name).unwrap().config)();
        let batch = batch(&config, 2)?;
        let store = ParameterStore::new(3, &Device::Cpu);
        config.build(store.var_builder(DType::F32))?;
        let found = velocities(&config, &store, &batch, Dropout::Off)?;
        let error = (&found[0] - &batch.x)?.sqr()?.mean_all()?;
        let start = error.to_scalar::<f32>()?;
        let gradients = error.backward()?;
        for (_, var) in store.parameters() {
            if let Some(gradient) = gradients.get(&var) {
                var.set(&(var.as_tensor() - (gradient * 0.05)?)?)?;
            }
        }
        let found = velocities(&config, &store, &batch, Dropout::Off)?;
        let after = (&found[0] - &batch.x)?
            .sqr()?
            .mean_all()?
            .to_scalar::<f32>()?;
        assert!(after < start, "{name}: {start} → {after}");
    }
    Ok(())
}

#[test]
fn dropout_follows_its_stream_alone() -> Result<()> {
    let config = (registry::find("cud_mnist").unwrap().config)();
    let batch = batch(&config, 2)?;
    let store = ParameterStore::new(3, &Device::Cpu);
    config.build(store.var_builder(DType::F32))?;
    randomise(&store)?;
    let run = |seed: Option<u64>| -> Result<Vec<f32>> {
        let mut random = stream(seed.unwrap_or(0), "dropout", 0);
        let dropout = match seed {
            Some(_) => Dropout::On(&mut random),
            None => Dropout::Off,
        };
        velocities(&config, &store, &batch, dropout)?[0]
            .flatten_all()?
            .to_vec1()
    };
    assert_eq!(run(Some(1))?, run(Some(1))?);
    assert_ne!(run(Some(1))?, run(Some(2))?);
    assert_ne!(run(Some(1))?, run(None)?);
    taper_kernels::threads::set_threads(1);
    let alone = run(Some(1))?;
    taper_kernels::threads::set_threads(0);
    assert_eq!(alone, run(Some(1))?);
    Ok(())
}

/// φ = ½ balances nothing; any φ balances nothing at t = ½ (section 13.8 of the card).
#[test]
fn the_skip_balance() -> Result<()> {
    let config = (registry::find("unet_small_8").unwrap().config)();
    let mut batch = batch(&config, 2)?;
    let store = ParameterStore::new(3, &Device::Cpu);
    config.build(store.var_builder(DType::F32))?;
    randomise(&store)?;
    let run = |phi: Option<f64>, batch: &Batch| -> Result<Vec<f32>> {
        let config = config.clone().with_phi(phi);
        velocities(&config, &store, batch, Dropout::Off)?[0]
            .flatten_all()?
            .to_vec1()
    };
    assert_eq!(run(None, &batch)?, run(Some(0.5), &batch)?);
    assert_ne!(run(None, &batch)?, run(Some(0.75), &batch)?);
    batch.t = Tensor::new(&[0.5f32, 0.5], &Device::Cpu)?;
    assert_eq!(run(None, &batch)?, run(Some(0.75), &batch)?);
    Ok(())
}

/// One sample's answer does not depend on its batch.
#[test]
fn samples_do_not_see_each_other() -> Result<()> {
    for (name, config) in kinds() {
        let both = batch(&config, 2)?;
        let store = ParameterStore::new(3, &Device::Cpu);
        config.build(store.var_builder(DType::F32))?;
        randomise(&store)?;
        let together = velocities(&config, &store, &both, Dropout::Off)?;
        let second = |tensor: &Tensor| tensor.narrow(0, 1, 1)?.contiguous();
        let alone = Batch {
            x: second(&both.x)?,
            t: second(&both.t)?,
            class: both.class.as_ref().map(second).transpose()?,
            augment: both.augment.as_ref().map(second).transpose()?,
        };
        let alone = velocities(&config, &store, &alone, Dropout::Off)?;
        for (together, alone) in together.iter().zip(&alone) {
            let difference = (second(together)? - alone)?.abs()?.flatten_all()?.max(0)?;
            let difference = difference.to_scalar::<f32>()?;
            assert!(difference < 1e-5, "{name}: {difference}");
        }
    }
    Ok(())
}

#[test]
fn bad_input_is_named() -> Result<()> {
    let (_, config) = kinds().swap_remove(4);
    let store = ParameterStore::new(3, &Device::Cpu);
    let network = config.build(store.var_builder(DType::F32))?;
    let Batch { x, t, class, .. } = batch(&config, 2)?;
    let class = class.unwrap();
    let message = |x: &Tensor, t: &Tensor, class: Option<&Tensor>| {
        let error = network.forward(x, t, class, Dropout::Off).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(message(&x, &t, None).contains("class: missing"));
    let far = Tensor::new(&[0u32, 5], &Device::Cpu)?;
    assert!(message(&x, &t, Some(&far)).contains("class: found 5"));
    let odd = x.narrow(2, 0, 15)?;
    assert!(message(&odd, &t, Some(&class)).contains("multiples of 2"));
    let grey = x.narrow(1, 0, 1)?;
    assert!(message(&grey, &t, Some(&class)).contains("[batch, 3, height, width]"));
    let whole = t.to_dtype(DType::U32)?;
    assert!(message(&x, &whole, Some(&class)).contains("times are f32 or f64"));
    Ok(())
}
