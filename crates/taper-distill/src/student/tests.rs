//! The merge on every family, the module's invariances, and a gradient for every parameter.

use super::*;
use crate::norm::norm_loss;
use candle_core::Device;
use rand_distr::{Distribution, StandardNormal};
use taper_vision::registry;

fn noise(shape: &[usize], label: &str) -> Tensor {
    let mut random = taper_kernels::random::stream(4, label, 0);
    let count = shape.iter().product();
    let values: Vec<f32> = StandardNormal
        .sample_iter(&mut random)
        .take(count)
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn student(name: &str, slices: usize, residual: bool, teacher_channels: usize) -> Student {
    let entry = registry::find(name).unwrap();
    let recipe = TransformRecipe { slices, residual };
    Student::new(entry, 10, Some(recipe), teacher_channels).unwrap()
}

/// A student after a few training passes, so that its running statistics are no longer the initial ones.
fn warmed(student: &Student) -> (ParameterStore, StudentGraph) {
    let store = ParameterStore::new(9, &Device::Cpu);
    let graph = student.build(store.var_builder(DType::F32)).unwrap();
    for pass in 0..3 {
        let images = noise(&[6, 3, 32, 32], &format!("pass {pass}"));
        graph.forward(&images, Mode::Train).unwrap();
    }
    (store, graph)
}

/// Card, section 13.2: logits equal to 1e-5 of max(1, |logit|), the plain network's names and no others.
#[test]
fn every_family_merges_into_its_plain_network() {
    let probe = noise(&[4, 3, 32, 32], "probe");
    for name in [
        "resnet8",
        "vgg8",
        "cifar_shufflenetv1",
        "cifar_shufflenetv2",
        "distiller_resnet8",
        "akamaster_resnet20",
        "cifar_mobilenetv2",
        "wrn_16_1",
    ] {
        for residual in [true, false] {
            let student = student(name, 3, residual, 8);
            let (store, graph) = warmed(&student);
            let merged = student.merge(store.state(), &probe).unwrap();
            let recorder = taper_layers::ShapeRecorder::default();
            student
                .merged_config()
                .build(recorder.var_builder())
                .unwrap();
            let expected: Vec<String> = recorder.tensors().into_iter().map(|t| t.name).collect();
            assert_eq!(
                merged.keys().cloned().collect::<Vec<_>>(),
                expected,
                "{name}"
            );
            // The merge itself compares; here once more, and on other images.
            let images = noise(&[4, 3, 32, 32], "others");
            let plain = student.merged_config();
            let plain = plain
                .build(filled(&merged).unwrap().frozen(DType::F32))
                .unwrap();
            let found = plain.forward(&images, Mode::Eval).unwrap().logits;
            let wanted = graph.forward(&images, Mode::Eval).unwrap().logits;
            let difference = largest_difference(&found, &wanted).unwrap();
            assert!(difference <= MERGE_TOLERANCE, "{name}: {difference}");
        }
    }
}

/// Card, section 7: the plain MobileNetV2, with its ReLU, is another network than the merged student.
#[test]
fn a_mobilenet_with_its_relu_would_be_wrong() {
    let probe = noise(&[4, 3, 32, 32], "probe");
    let student = student("cifar_mobilenetv2", 2, true, 8);
    let (store, graph) = warmed(&student);
    let merged = filled(&student.merge(store.state(), &probe).unwrap()).unwrap();
    let entry = registry::find("cifar_mobilenetv2").unwrap();
    let with_relu = (entry.config)(10).build(merged.frozen(DType::F32)).unwrap();
    let found = with_relu.forward(&probe, Mode::Eval).unwrap().logits;
    let wanted = graph.forward(&probe, Mode::Eval).unwrap().logits;
    assert!(largest_difference(&found, &wanted).unwrap() > 1e-3);
}

/// Statistics that are not numbers must not pass for a merge.
#[test]
fn a_merge_that_cannot_be_checked_fails() {
    let probe = noise(&[2, 3, 32, 32], "probe");
    let student = student("resnet8", 2, true, 8);
    let (store, _) = warmed(&student);
    let broken = noise(&[64], "x").affine(0.0, f64::NAN).unwrap();
    store.set("layer32.1.running_mean", &broken).unwrap();
    let error = student.merge(store.state(), &probe).unwrap_err();
    assert!(matches!(error, DistillError::Merge { .. }), "{error}");
}

/// Card, section 13.4: at the start E has mean 0 and variance 1 a channel, so L_norm ≈ N (1 + E[F²]).
#[test]
fn the_loss_starts_where_it_should() {
    let student = student("resnet8", 8, true, 64);
    let store = ParameterStore::new(1, &Device::Cpu);
    let graph = student.build(store.var_builder(DType::F32)).unwrap();
    let images = noise(&[16, 3, 32, 32], "images");
    let expanded = graph
        .forward(&images, Mode::Train)
        .unwrap()
        .expanded
        .unwrap();
    assert_eq!(expanded.dims(), [16, 512, 8, 8]);
    let teacher = noise(&[16, 64, 8, 8], "teacher");
    let square = teacher.sqr().unwrap().mean_all().unwrap();
    let expected = 8.0 * (1.0 + square.to_scalar::<f32>().unwrap());
    let found = norm_loss(&expanded, &teacher, 8).unwrap();
    let found = found.to_scalar::<f32>().unwrap();
    assert!((found / expected - 1.0).abs() < 0.02, "{found} {expected}");
}

/// Card, section 13.3: exchanging slices of W₁, BN₁ and W₂ together changes neither loss nor output.
#[test]
fn slices_are_exchangeable() {
    const CHANNELS: usize = 8;
    let student = student("resnet8", 2, true, CHANNELS);
    let (store, graph) = warmed(&student);
    let images = noise(&[4, 3, 32, 32], "images");
    let teacher = noise(&[4, CHANNELS, 8, 8], "teacher");
    let observe = || {
        let output = graph.forward(&images, Mode::Eval).unwrap();
        let loss = norm_loss(&output.expanded.unwrap(), &teacher, 2).unwrap();
        (loss.to_scalar::<f32>().unwrap(), output.logits)
    };
    let before = observe();
    let swap = |name: &str, axis: usize| {
        let tensor = store.get(name).unwrap();
        let slice = |index| tensor.narrow(axis, index * CHANNELS, CHANNELS).unwrap();
        let swapped = Tensor::cat(&[slice(1), slice(0)], axis).unwrap();
        store.set(name, &swapped).unwrap();
    };
    swap("layer31.0.weight", 0);
    for part in ["weight", "bias", "running_mean", "running_var"] {
        swap(&format!("layer31.1.{part}"), 0);
    }
    swap("layer32.0.weight", 1);
    let after = observe();
    assert!((before.0 - after.0).abs() < 1e-4 * before.0);
    assert!(largest_difference(&before.1, &after.1).unwrap() < 1e-4);
}

/// No silent cut: every parameter, the module's among them, gets a finite gradient that is not zero.
#[test]
fn every_parameter_learns() {
    let student = student("resnet8", 2, true, 8);
    let store = ParameterStore::new(1, &Device::Cpu);
    let graph = student.build(store.var_builder(DType::F32)).unwrap();
    let output = graph
        .forward(&noise(&[4, 3, 32, 32], "images"), Mode::Train)
        .unwrap();
    let labels = Tensor::new(&[0u32, 3, 5, 9], &Device::Cpu).unwrap();
    let cross_entropy = taper_kernels::cross_entropy(&output.logits, &labels, 0.0).unwrap();
    let norm = norm_loss(&output.expanded.unwrap(), &noise(&[4, 8, 8, 8], "f"), 2).unwrap();
    let gradients = (cross_entropy + norm).unwrap().backward().unwrap();
    for (name, parameter) in store.parameters() {
        let gradient = gradients
            .get(&parameter)
            .unwrap_or_else(|| panic!("{name}: none"));
        let norm = taper_kernels::squared_norm(gradient).unwrap();
        assert!(norm.is_finite() && norm > 0.0, "{name}: {norm}");
    }
}
