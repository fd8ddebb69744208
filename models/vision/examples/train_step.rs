//! Times training steps (forward, cross-entropy, backward, momentum) of a network, without the program around it.
//!
//!     MIMALLOC_PURGE_DELAY=-1 CANDLE_NUM_THREADS=1 cargo run --release -p taper-vision --example train_step -- resnet20 64 2
#![allow(clippy::print_stdout)]

use candle_core::{DType, Device, Tensor};
use std::time::Instant;
use taper_kernels::{SgdHyper, cross_entropy, random, sgd_step, threads};
use taper_layers::{Mode, ParameterStore};
use taper_vision::registry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, batch, count] = arguments.as_slice() else {
        return Err("usage: train_step MODEL BATCH THREADS".into());
    };
    threads::set_threads(count.parse()?);
    let entry = registry::find(model)?;
    let store = ParameterStore::new(0, &Device::Cpu);
    let network = (entry.config)(100).build(store.var_builder(DType::F32))?;
    let batch: usize = batch.parse()?;
    let (channels, height, width) = (3, 32, 32);
    let mut stream = random::stream(0, "images", 0);
    let pixels = batch * channels * height * width;
    let images: Vec<f32> = (0..pixels)
        .map(|_| rand::Rng::random_range(&mut stream, -1.0..1.0))
        .collect();
    let images = Tensor::from_vec(images, (batch, channels, height, width), &Device::Cpu)?;
    let labels: Vec<u32> = (0..batch as u32).map(|label| label % 100).collect();
    let labels = Tensor::from_vec(labels, batch, &Device::Cpu)?;
    let parameters = store.parameters();
    let velocities: Vec<Tensor> = parameters
        .iter()
        .map(|(_, parameter)| parameter.zeros_like())
        .collect::<Result<_, _>>()?;
    let hyper = SgdHyper {
        lr: 0.05,
        momentum: 0.9,
        dampening: 0.0,
        weight_decay: 5e-4,
        nesterov: false,
    };
    let mut times = Vec::new();
    for step in 0..40 {
        let begun = Instant::now();
        let logits = network.forward(&images, Mode::Train)?.logits;
        let loss = cross_entropy(&logits, &labels, 0.0)?;
        let gradients = loss.backward()?;
        for ((_, parameter), velocity) in parameters.iter().zip(&velocities) {
            if let Some(gradient) = gradients.get(parameter) {
                sgd_step(parameter, gradient, velocity, &hyper, step == 0)?;
            }
        }
        if step >= 4 {
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{model} least {:.2} ms, median {:.2} ms",
        times[0],
        times[times.len() / 2]
    );
    Ok(())
}
