//! `taper run` against the library, and what it refuses.

use crate::support::{Folder, tensor_names};
use candle_core::{DType, Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use taper::layers::{Mode, ParameterStore};
use taper::vision::registry;

fn noise(shape: &[usize], label: &str) -> Tensor {
    use rand::Rng;
    let mut random = taper::kernels::random::stream(11, label, 0);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| random.random_range(-1.5..1.5)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A seeded network as a file, its names behind `prefix`.
fn weights(name: &str, classes: usize, path: &Path, prefix: &str) -> ParameterStore {
    let entry = registry::find(name).unwrap();
    let store = ParameterStore::new(3, &Device::Cpu);
    (entry.config)(classes)
        .build(store.var_builder(DType::F32))
        .unwrap();
    let tensors: BTreeMap<String, Tensor> = store
        .state()
        .into_iter()
        .map(|(name, tensor)| (format!("{prefix}{name}"), tensor))
        .collect();
    taper::weights::save(path, &tensors, &BTreeMap::new()).unwrap();
    store
}

fn input(path: &Path, tensor: &Tensor, name: &str) {
    let tensors = HashMap::from([(name.to_string(), tensor.clone())]);
    candle_core::safetensors::save(&tensors, path).unwrap();
}

#[test]
fn all_features_equal_the_library_s() {
    let folder = Folder::new();
    // 70 images: more than one chunk.
    let images = noise(&[70, 3, 32, 32], "images");
    input(&folder.path("in.safetensors"), &images, "input");
    for (name, prefix, classes) in [
        ("resnet8", "", 10),
        ("wrn_16_1", "module.", 100),
        ("resnet8", "_orig_mod.module.", 10),
    ] {
        let store = weights(name, classes, &folder.path("w.safetensors"), prefix);
        let arguments = [
            "run",
            name,
            "--weights",
            "w.safetensors",
            "--input",
            "in.safetensors",
            "--output",
            "out.safetensors",
            "--all",
            "--json",
        ];
        let answer = folder.ok(&arguments).json();
        assert_eq!(answer["tensors"]["logits"][1], classes);
        let out =
            candle_core::safetensors::load(folder.path("out.safetensors"), &Device::Cpu).unwrap();
        let entry = registry::find(name).unwrap();
        let model = (entry.config)(classes)
            .build(store.frozen(DType::F32))
            .unwrap();
        let features = model.forward(&images, Mode::Eval).unwrap();
        let same = |name: &str, expected: &Tensor| {
            let difference = (&out[name] - expected).unwrap().abs().unwrap();
            let largest = difference.flatten_all().unwrap().max(0).unwrap();
            assert!(largest.to_scalar::<f32>().unwrap() < 1e-5, "{name}");
        };
        same("logits", &features.logits);
        same("embedding", &features.embedding);
        for (index, stage) in features.stages.iter().enumerate() {
            same(&format!("stages.{index}"), stage);
        }
        assert_eq!(
            tensor_names(&folder.path("out.safetensors")).len(),
            2 + features.stages.len()
        );
    }
}

#[test]
fn misfits_are_named() {
    let folder = Folder::new();
    weights("resnet8", 10, &folder.path("w.safetensors"), "");
    input(
        &folder.path("in.safetensors"),
        &noise(&[1, 3, 32, 32], "x"),
        "input",
    );
    input(
        &folder.path("grey.safetensors"),
        &noise(&[1, 1, 32, 32], "x"),
        "input",
    );
    input(
        &folder.path("name.safetensors"),
        &noise(&[1, 3, 32, 32], "x"),
        "image",
    );
    input(
        &folder.path("none.safetensors"),
        &noise(&[0, 3, 32, 32], "x"),
        "input",
    );
    let whole = std::fs::read(folder.path("w.safetensors")).unwrap();
    std::fs::write(folder.path("cut.safetensors"), &whole[..whole.len() / 2]).unwrap();
    let run = |model: &str, weights: &str, input: &str, extra: &[&str]| {
        let mut arguments = vec![
            "run",
            model,
            "--weights",
            weights,
            "--input",
            input,
            "--output",
            "out.safetensors",
        ];
        arguments.extend(extra);
        folder.fails(&arguments)
    };
    let contains = |text: String, parts: &[&str]| {
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    let (w, x) = ("w.safetensors", "in.safetensors");
    contains(
        run("resnet14", w, x, &[]),
        &["w.safetensors", "resnet14", "missing", "layer1.1"],
    );
    contains(run("wrn_16_1", w, x, &[]), &["w.safetensors", "wrn_16_1"]);
    contains(
        run("resnet8", "no.safetensors", x, &[]),
        &["no.safetensors", "No such file"],
    );
    contains(
        run("resnet8", "cut.safetensors", x, &[]),
        &["cut.safetensors", "truncated"],
    );
    contains(
        run("resnet8", w, "grey.safetensors", &[]),
        &["grey.safetensors", "[1, 1, 32, 32]"],
    );
    contains(
        run("resnet8", w, "name.safetensors", &[]),
        &["name.safetensors", "`input`", "image"],
    );
    contains(
        run("resnet8", w, "none.safetensors", &[]),
        &["none.safetensors", "at least one image"],
    );
    contains(
        run("resnet8", w, x, &["--classes", "100"]),
        &["--classes 100", "10 classes"],
    );
    assert!(!folder.path("out.safetensors").exists());
    for own in [w, x] {
        let text = folder.fails(&[
            "run",
            "resnet8",
            "--weights",
            w,
            "--input",
            x,
            "--output",
            own,
        ]);
        contains(text, &["--output", own]);
    }
    assert_eq!(std::fs::read(folder.path(w)).unwrap(), whole);
}

#[test]
fn a_wrong_shape_is_named_with_both_shapes() {
    let folder = Folder::new();
    let store = weights("resnet8", 10, &folder.path("w.safetensors"), "");
    let mut tensors = store.state();
    tensors.insert("conv1.weight".into(), noise(&[16, 3, 5, 5], "w"));
    taper::weights::save(folder.path("w.safetensors"), &tensors, &BTreeMap::new()).unwrap();
    input(
        &folder.path("in.safetensors"),
        &noise(&[1, 3, 32, 32], "x"),
        "input",
    );
    let text = folder.fails(&[
        "run",
        "resnet8",
        "--weights",
        "w.safetensors",
        "--input",
        "in.safetensors",
        "--output",
        "out.safetensors",
    ]);
    for part in ["conv1.weight", "[16, 3, 5, 5]", "[16, 3, 3, 3]"] {
        assert!(text.contains(part), "{text}");
    }
}

/// An image, the same image as a lone array, and as `input` of an archive give the same logits.
#[test]
fn images_and_arrays_are_read() {
    let folder = Folder::new();
    weights("akamaster_resnet20", 10, &folder.path("w.safetensors"), "");
    let picture = image::RgbImage::from_fn(40, 24, |x, y| {
        image::Rgb([(6 * x) as u8, (10 * y) as u8, 77])
    });
    std::fs::create_dir(folder.path("pictures")).unwrap();
    for name in [
        "picture.png",
        "pictures/b.png",
        "pictures/a.jpg",
        "pictures/c.webp",
    ] {
        picture.save(folder.path(name)).unwrap();
    }
    let run = |input: &str| {
        let arguments = [
            "run",
            "akamaster_resnet20",
            "--weights",
            "w.safetensors",
            "--input",
            input,
            "--output",
            "out.safetensors",
            "--json",
        ];
        let answer = folder.ok(&arguments).json();
        let out =
            candle_core::safetensors::load(folder.path("out.safetensors"), &Device::Cpu).unwrap();
        (answer, out["logits"].to_vec2::<f32>().unwrap())
    };
    let (answer, logits) = run("picture.png");
    let prepared = answer["prepared"].to_string();
    for part in ["40x24 RGB", "resized to 32x32", "0.485", "0.229"] {
        assert!(prepared.contains(part), "{part}: {prepared}");
    }
    let (answer, three) = run("pictures");
    assert_eq!(
        (three.len(), answer["prepared"].as_array().unwrap().len()),
        (3, 4)
    );
    // In the order of their names; PNG and WebP keep every pixel.
    assert_eq!((&three[1], &three[2]), (&logits[0], &logits[0]));
    // The same preparation by hand.
    let decoded =
        taper::data::decode(&std::fs::read(folder.path("picture.png")).unwrap(), "p").unwrap();
    let resized = taper::data::resize(decoded.view(), [32, 32]).unwrap();
    let (mean, std) = ([0.485f32, 0.456, 0.406], [0.229f32, 0.224, 0.225]);
    let values: Vec<f32> = resized
        .pixels()
        .iter()
        .enumerate()
        .map(|(at, &pixel)| (f32::from(pixel) / 255. - mean[at / 1024]) / std[at / 1024])
        .collect();
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 32, 32), }\n";
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    npy.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(folder.path("array.npy"), npy).unwrap();
    assert_eq!(run("array.npy").1, logits);
    // What is no image for a classifier.
    std::fs::write(folder.path("sound.wav"), b"RIFF\x24\x00\x00\x00WAVEfmt ").unwrap();
    std::fs::write(
        folder.path("cut.png"),
        &std::fs::read(folder.path("picture.png")).unwrap()[..60],
    )
    .unwrap();
    std::fs::create_dir(folder.path("none")).unwrap();
    let bytes = Tensor::zeros((1, 3, 32, 32), DType::U8, &Device::Cpu).unwrap();
    input(&folder.path("bytes.safetensors"), &bytes, "input");
    for (input, parts) in [
        (
            "sound.wav",
            &["sound.wav", "sound file", "akamaster_resnet20"][..],
        ),
        ("cut.png", &["cut.png"]),
        ("none", &["none", "without images"]),
        ("bytes.safetensors", &["bytes.safetensors", "U8", "F32"]),
        ("missing.png", &["missing.png", "No such file"]),
    ] {
        let text = folder.fails(&[
            "run",
            "akamaster_resnet20",
            "--weights",
            "w.safetensors",
            "--input",
            input,
            "--output",
            "no.safetensors",
        ]);
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    assert!(!folder.path("no.safetensors").exists());
}
