//! `taper run` and `taper models` for velocity networks, against the library, and what they refuse.

use crate::support::Folder;
use candle_core::{DType, Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use taper::layers::{ParameterStore, Role};
use taper::velocity::{Dropout, SongUNetConfig, VelocityConfig, registry};

fn noise(shape: &[usize], label: &str) -> Tensor {
    use rand::Rng;
    let mut random = taper::kernels::random::stream(12, label, 0);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| random.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A network of random weights as a file, its names behind `prefix`.
fn weights(config: &VelocityConfig, path: &Path, prefix: &str) -> ParameterStore {
    let store = ParameterStore::new(3, &Device::Cpu);
    config.build(store.var_builder(DType::F32)).unwrap();
    for (name, tensor) in store.state() {
        // Last layers start near 0: their answers would not tell networks apart.
        if Role::of(&name) == Role::Parameter {
            let fan_in: usize = tensor.dims().iter().skip(1).product();
            let value = noise(tensor.dims(), &name) * (1.0 / fan_in as f64).sqrt();
            store.set(&name, &value.unwrap()).unwrap();
        }
    }
    let tensors: BTreeMap<String, Tensor> = store
        .state()
        .into_iter()
        .map(|(name, tensor)| (format!("{prefix}{name}"), tensor))
        .collect();
    taper::weights::save(path, &tensors, &BTreeMap::new()).unwrap();
    store
}

fn save(path: &Path, tensors: &[(&str, &Tensor)]) {
    let tensors: HashMap<String, Tensor> = tensors
        .iter()
        .map(|(name, tensor)| (name.to_string(), (*tensor).clone()))
        .collect();
    candle_core::safetensors::save(&tensors, path).unwrap();
}

fn run<'a>(model: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["run", model, "--weights", "w.safetensors"];
    arguments.extend(["--input", "in.safetensors", "--output", "out.safetensors"]);
    arguments.extend(extra);
    arguments
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
    difference.max(0).unwrap().to_scalar().unwrap()
}

#[test]
fn heads_prefixes_and_phi() {
    let folder = Folder::new();
    // 18 samples: more than one chunk.
    let x = noise(&[18, 1, 8, 8], "x");
    let t = ((noise(&[18], "t") * 0.5).unwrap() + 0.5).unwrap();
    save(&folder.path("in.safetensors"), &[("x", &x), ("t", &t)]);
    let config = (registry::find("unet_small_8").unwrap().config)().with_heads(2);
    for (prefix, phi) in [("", None), ("module.", Some(0.75)), ("model.", None)] {
        let store = weights(&config, &folder.path("w.safetensors"), prefix);
        let mut extra = vec!["--all", "--json"];
        if phi.is_some() {
            extra.extend(["--phi", "0.75"]);
        }
        let answer = folder.ok(&run("unet_small_8", &extra)).json();
        assert_eq!(answer["tensors"]["velocity"][0], 18);
        let out =
            candle_core::safetensors::load(folder.path("out.safetensors"), &Device::Cpu).unwrap();
        let network = config.clone().with_phi(phi).build(store.frozen(DType::F32));
        let network = network.unwrap();
        let expected = network.forward(&x, &t, None, Dropout::Off).unwrap();
        assert_eq!(out.len(), 2);
        for (name, expected) in ["velocity", "velocity.2"].iter().zip(&expected) {
            let difference = largest_difference(&out[*name], expected);
            assert!(difference < 1e-5, "{prefix}{name}: {difference}");
        }
    }
}

#[test]
fn a_perceptron_and_what_is_refused() {
    let folder = Folder::new();
    let config = (registry::find("mlp_2d").unwrap().config)();
    let store = weights(&config, &folder.path("w.safetensors"), "");
    let (x, t) = (noise(&[5, 2], "x"), noise(&[5], "t"));
    save(&folder.path("in.safetensors"), &[("x", &x), ("t", &t)]);
    folder.ok(&run("mlp_2d", &[]));
    let out = candle_core::safetensors::load(folder.path("out.safetensors"), &Device::Cpu).unwrap();
    let network = config.build(store.frozen(DType::F32)).unwrap();
    let expected = network.forward(&x, &t, None, Dropout::Off).unwrap();
    assert!(largest_difference(&out["velocity"], &expected[0]) < 1e-6);

    for (extra, expected) in [
        (&["--preconditioned"][..], "--preconditioned: mlp_2d"),
        (&["--classes", "3"], "--classes: mlp_2d"),
    ] {
        let message = folder.fails(&run("mlp_2d", extra));
        assert!(message.contains(expected), "{message}");
    }
    let message = folder.fails(&run("unet_small_8", &[]));
    assert!(message.contains("w.safetensors"), "{message}");
    save(&folder.path("in.safetensors"), &[("x", &x)]);
    let message = folder.fails(&run("mlp_2d", &[]));
    assert!(message.contains("no tensor `t`; found x"), "{message}");
    let many = noise(&[4], "t");
    save(&folder.path("in.safetensors"), &[("x", &x), ("t", &many)]);
    let message = folder.fails(&run("mlp_2d", &[]));
    assert!(message.contains("`t` is [4]"), "{message}");
    let wide = noise(&[5, 3], "x");
    save(&folder.path("in.safetensors"), &[("x", &wide), ("t", &t)]);
    let message = folder.fails(&run("mlp_2d", &[]));
    assert!(message.contains("[batch, 2]"), "{message}");
    let eval = [
        "eval",
        "cud-mnist",
        "--weights",
        "w.safetensors",
        "--data",
        "digits",
    ];
    let message = folder.fails(&eval);
    assert!(message.contains("velocity network"), "{message}");
}

/// EDM's CIFAR network with zeros for weights answers the bias of its last layer: D = c_skip·x + c_out·bias.
#[test]
fn preconditioned() {
    let folder = Folder::new();
    let config = SongUNetConfig {
        augment: None,
        ..SongUNetConfig::edm_cifar10_ddpmpp()
    };
    let mut state = BTreeMap::new();
    for info in registry::tensor_list(&VelocityConfig::SongUnet(config)).unwrap() {
        let value = match info.name.as_str() {
            "dec.32x32_aux_conv.bias" => Tensor::new(&[0.5f32, -1.0, 2.0], &Device::Cpu),
            name if registry::is_filter(name) => Tensor::full(0.25f32, (1, 1, 2, 2), &Device::Cpu),
            _ => Tensor::zeros(info.shape, DType::F32, &Device::Cpu),
        };
        state.insert(format!("model.{}", info.name), value.unwrap());
    }
    taper::weights::save(folder.path("w.safetensors"), &state, &BTreeMap::new()).unwrap();
    let x = noise(&[1, 3, 4, 4], "x");
    let sigma = Tensor::new(&[2f32], &Device::Cpu).unwrap();
    save(&folder.path("in.safetensors"), &[("x", &x), ("t", &sigma)]);
    let bias = state["model.dec.32x32_aux_conv.bias"].reshape((1, 3, 1, 1));
    let bias = bias.unwrap().broadcast_as((1, 3, 4, 4)).unwrap();
    let variance = 2f64 * 2.0 + 0.25;
    let denoised = (&x * (0.25 / variance)).unwrap();
    let denoised = (denoised + (&bias * (2.0 * 0.5 / variance.sqrt())).unwrap()).unwrap();
    for (extra, expected) in [(&[][..], &bias), (&["--preconditioned"], &denoised)] {
        folder.ok(&run("edm_cifar10_ddpmpp", extra));
        let out = candle_core::safetensors::load(folder.path("out.safetensors"), &Device::Cpu);
        let difference = largest_difference(&out.unwrap()["velocity"], expected);
        assert!(difference < 1e-6, "{extra:?}: {difference}");
    }
}

#[test]
fn models_are_listed_and_described() {
    let folder = Folder::new();
    let list = folder.ok(&["models", "list", "*", "--json"]).json();
    let names: Vec<_> = list["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    for entry in registry::MODELS {
        assert!(names.contains(&entry.name), "{}", entry.name);
    }
    let info = folder
        .ok(&["models", "info", "CUD-CIFAR10", "--json"])
        .json();
    assert_eq!(info["parameters"], 55_732_739);
    assert_eq!(info["tensor_list"].as_array().unwrap().len(), 424);
    assert_eq!(info["config"]["phi"], 0.75);
    let message = folder.fails(&["models", "info", "cud_cifar"]);
    assert!(message.contains("cud_cifar10"), "{message}");
}
