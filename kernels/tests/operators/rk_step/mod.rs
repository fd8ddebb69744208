//! The arithmetic of Catch-Up Distillation and its samplers.

mod agreement;
mod derivatives;
mod loss;
mod refusals;
mod rules;
mod samplers;

use candle_core::{DType, Device, Result, Tensor, Var};
use taper_kernels::testing::uniform;

const SHAPES: [&[usize]; 7] = [
    &[1],
    &[3],
    &[2, 5],
    &[4, 1, 3],
    &[2, 3, 5, 7],
    &[1, 1, 1, 1],
    &[3, 2, 37, 41],
];

fn var(index: u64, dims: &[usize]) -> Result<Var> {
    Var::from_tensor(&uniform("rk_step", index, dims, -1.0, 1.0)?)
}

fn single(index: u64, dims: &[usize]) -> Result<Tensor> {
    uniform("rk_step", index, dims, -1.0, 1.0)?.to_dtype(DType::F32)
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

fn scalars(values: &[f64]) -> Result<Tensor> {
    Tensor::new(values, &Device::Cpu)
}

fn largest_distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    assert_eq!(a.dims(), b.dims());
    let distances = values(a)?
        .into_iter()
        .zip(values(b)?)
        .map(|(a, b)| (a - b).abs());
    Ok(distances.fold(0.0, f64::max))
}

/// One number a sample, in a shape that broadcasts over `dims`.
fn spread_out(scalars: &Tensor, dims: &[usize]) -> Result<Tensor> {
    let mut shape = vec![1; dims.len()];
    shape[0] = dims[0];
    scalars.reshape(shape)?.broadcast_as(dims)
}
