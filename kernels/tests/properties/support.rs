//! Inputs as views of variables, and the checks that every operator passes.

use candle_core::{DType, Result, Tensor, Var};
use proptest::prelude::*;
use std::sync::{Mutex, PoisonError};
use taper_kernels::testing::{check_gradient, uniform, weighted_sum};
use taper_kernels::threads::set_threads;

/// How an input lies in memory.
#[derive(Debug, Clone, Copy)]
pub enum View {
    Contiguous,
    /// The axes are stored in reverse order.
    Transposed,
    /// Part of a tensor that is longer at both ends of its last axis, and before its first.
    Narrowed,
    /// One axis is stored with length 1.
    Broadcast,
}

pub fn views() -> impl Strategy<Value = View> {
    prop_oneof![
        3 => Just(View::Contiguous),
        2 => Just(View::Transposed),
        2 => Just(View::Narrowed),
        1 => Just(View::Broadcast),
    ]
}

/// How many cases a property tries; a dear one tries fewer.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        max_global_rejects: 65_536,
        ..ProptestConfig::default()
    }
}

/// A variable, and the view of it that an operator gets.
#[derive(Debug, Clone)]
pub struct Input {
    pub var: Var,
    dims: Vec<usize>,
    view: View,
}

impl Input {
    /// Numbers drawn evenly from `low … high`.
    pub fn between(index: u64, dims: &[usize], view: View, low: f64, high: f64) -> Self {
        let stored = stored(dims, view);
        let values = uniform("properties", index, &stored, low, high).unwrap();
        Self {
            var: Var::from_tensor(&values).unwrap(),
            dims: dims.to_vec(),
            view,
        }
    }

    /// Numbers from −1 to 1.
    pub fn new(index: u64, dims: &[usize], view: View) -> Self {
        Self::between(index, dims, view, -1.0, 1.0)
    }

    /// Numbers at least 0.01 away from each other and from 0, for operators with kinks there.
    ///
    /// A broadcast axis would repeat them, so that view becomes a transposed one.
    pub fn spread(index: u64, dims: &[usize], view: View) -> Self {
        let view = match view {
            View::Broadcast => View::Transposed,
            other => other,
        };
        let stored = stored(dims, view);
        let count: usize = stored.iter().product();
        // A stride that has no factor in common with the count visits every number once.
        let stride = (7919 + 2 * index as usize..)
            .find(|&stride| gcd(stride, count.max(1)) == 1)
            .unwrap();
        let values: Vec<f64> = (0..count)
            .map(|i| 0.01 * ((i * stride % count) as f64 - (count / 2) as f64 + 0.5))
            .collect();
        let values = Tensor::from_vec(values, stored, &candle_core::Device::Cpu).unwrap();
        Self {
            var: Var::from_tensor(&values).unwrap(),
            dims: dims.to_vec(),
            view,
        }
    }

    /// The view of `stored`, on the tape.
    fn view_of(&self, stored: &Tensor) -> Result<Tensor> {
        let rank = self.dims.len();
        match self.view {
            View::Contiguous => Ok(stored.clone()),
            View::Transposed => stored.permute((0..rank).rev().collect::<Vec<_>>()),
            View::Narrowed if rank == 0 => Ok(stored.clone()),
            View::Narrowed => {
                let stored = stored.narrow(rank - 1, 2, self.dims[rank - 1])?;
                match rank {
                    1 => Ok(stored),
                    _ => stored.narrow(0, 1, self.dims[0]),
                }
            }
            View::Broadcast => stored.broadcast_as(self.dims.as_slice()),
        }
    }

    pub fn tensor(&self) -> Result<Tensor> {
        self.view_of(self.var.as_tensor())
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn stored(dims: &[usize], view: View) -> Vec<usize> {
    let mut stored = dims.to_vec();
    let rank = dims.len();
    match view {
        View::Contiguous => {}
        View::Transposed => stored.reverse(),
        View::Narrowed if rank == 0 => {}
        View::Narrowed => {
            stored[rank - 1] += 3;
            if rank > 1 {
                stored[0] += 1;
            }
        }
        View::Broadcast => {
            // An axis in the middle, if there is one, with something to repeat.
            if let Some(axis) = (0..rank).rev().find(|&axis| axis < 2 && dims[axis] > 1) {
                stored[axis] = 1;
            }
        }
    }
    stored
}

/// Every check but differences, which need small tensors: see [`check`].
pub fn check_values(
    inputs: &[&Input],
    tolerance: f64,
    operator: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    compare(inputs, tolerance, true, operator);
}

/// [`check_values`]; `copies`: whether contiguous copies of the views give the same bits.
fn compare(
    inputs: &[&Input],
    tolerance: f64,
    copies: bool,
    operator: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let rounded: Vec<Tensor> = inputs
        .iter()
        .map(|input| input.var.to_dtype(DType::F32).unwrap())
        .collect();
    let run = |dtype: DType, contiguous: bool| -> Vec<Tensor> {
        let vars: Vec<Var> = rounded
            .iter()
            .map(|tensor| {
                Var::from_tensor(&tensor.to_dtype(dtype).unwrap().copy().unwrap()).unwrap()
            })
            .collect();
        let tensors: Vec<Tensor> = inputs
            .iter()
            .zip(&vars)
            .map(|(input, var)| {
                let view = input.view_of(var).unwrap();
                if contiguous {
                    view.contiguous().unwrap()
                } else {
                    view
                }
            })
            .collect();
        let result = operator(&tensors).unwrap();
        let gradients = weighted_sum(&result).unwrap().backward().unwrap();
        let mut found = vec![result];
        for (input, var) in inputs.iter().zip(&vars) {
            let gradient = gradients
                .get(var)
                .expect("every input has a gradient")
                .clone();
            assert_eq!(gradient.dims(), input.var.dims(), "the shape of a gradient");
            found.push(gradient);
        }
        found
    };
    let single = run(DType::F32, false);
    let double = run(DType::F64, false);
    for (number, (single, double)) in single.iter().zip(&double).enumerate() {
        close(number, single, double, tolerance);
    }
    // The lock keeps another test from changing the number of threads meanwhile.
    static THREADS: Mutex<()> = Mutex::new(());
    let lock = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    let runs = [(1, false), (2, false), (2, true)];
    for (threads, contiguous) in runs.into_iter().take(if copies { 3 } else { 2 }) {
        set_threads(threads);
        let again = run(DType::F32, contiguous);
        set_threads(0);
        let of = if contiguous {
            "a contiguous copy"
        } else {
            "the same"
        };
        for (number, (first, again)) in single.iter().zip(&again).enumerate() {
            let (first, again) = (bits(first), bits(again));
            assert_eq!(
                first,
                again,
                "{} of {of} with {threads} threads",
                name(number)
            );
        }
    }
    drop(lock);
}

/// Checks `operator` at `inputs`, views of variables of `f64`:
///
/// * its gradient in every variable against central differences, while the variable is used elsewhere too,
/// * results and gradients in `f32` against those in `f64` (from the same, rounded, numbers),
/// * equal bits with 1 and 2 threads, and from contiguous copies of the views.
pub fn check(inputs: &[&Input], tolerance: f64, operator: impl Fn(&[Tensor]) -> Result<Tensor>) {
    check_derivatives(inputs, &operator);
    check_values(inputs, tolerance, operator);
}

/// [`check`] for an operator whose matrix products depend on the layout of their factors.
pub fn check_product(
    inputs: &[&Input],
    tolerance: f64,
    operator: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    check_derivatives(inputs, &operator);
    compare(inputs, tolerance, false, operator);
}

fn check_derivatives(inputs: &[&Input], operator: impl Fn(&[Tensor]) -> Result<Tensor>) {
    for input in inputs {
        let scalar = || -> Result<Tensor> {
            let tensors = inputs
                .iter()
                .map(|input| input.tensor())
                .collect::<Result<Vec<_>>>()?;
            let result = weighted_sum(&operator(&tensors)?)?;
            // Candle's own operators fail on some empty views.
            match input.dims.contains(&0) {
                true => Ok(result),
                false => result + weighted_sum(&input.tensor()?.sqr()?)?,
            }
        };
        check_gradient(&input.var, 1e-5, scalar).unwrap();
    }
}

/// Checks an operator that is given one tensor for two of its arguments.
pub fn check_twice(input: &Input, operator: impl Fn(&Tensor, &Tensor) -> Result<Tensor>) {
    check_gradient(&input.var, 1e-5, || {
        let x = input.tensor()?;
        weighted_sum(&operator(&x, &x)?)
    })
    .unwrap();
}

fn name(number: usize) -> String {
    match number {
        0 => "the result".to_owned(),
        _ => format!("the gradient of input {}", number - 1),
    }
}

pub fn bits(tensor: &Tensor) -> Vec<u32> {
    if tensor.elem_count() == 0 {
        return Vec::new();
    }
    let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

pub fn values(tensor: &Tensor) -> Vec<f64> {
    if tensor.elem_count() == 0 {
        // Candle fails on some empty views.
        return Vec::new();
    }
    let tensor = tensor.to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Within `tolerance` of the larger of 1 and the tensor's largest element.
fn close(number: usize, single: &Tensor, double: &Tensor, tolerance: f64) {
    assert_eq!(
        single.dims(),
        double.dims(),
        "the shape of {}",
        name(number)
    );
    let (single, double) = (values(single), values(double));
    let scale = double
        .iter()
        .fold(1.0, |scale: f64, value| scale.max(value.abs()));
    for (index, (single, double)) in single.iter().zip(&double).enumerate() {
        assert!(
            (single - double).abs() <= tolerance.max(1e-6) * scale,
            "{}, element {index}: f32 {single}, f64 {double}",
            name(number)
        );
    }
}

/// Equal, element by element, NaN to NaN.
pub fn assert_same(found: &Tensor, expected: &[f64], tolerance: f64) {
    let found = values(found);
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = found == expected
            || (found.is_nan() && expected.is_nan())
            || (found - expected).abs() <= tolerance * expected.abs().max(1.0);
        assert!(same, "element {index}: {found}, expected {expected}");
    }
}
