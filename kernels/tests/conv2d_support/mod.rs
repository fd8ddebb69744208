//! Shapes and random tensors for the convolution tests.
#![allow(dead_code)]

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::Rng;
use taper_kernels::{Conv2dGeometry, random::stream};

/// The sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub batch: usize,
    pub channels: (usize, usize),
    pub size: (usize, usize),
    pub kernel: (usize, usize),
    pub geometry: Conv2dGeometry,
}

/// A case whose geometry is the same along both axes.
pub const fn case(
    batch: usize,
    channels: (usize, usize),
    size: (usize, usize),
    kernel: usize,
    stride: usize,
    padding: usize,
    groups: usize,
) -> Case {
    let geometry = Conv2dGeometry {
        stride: (stride, stride),
        padding: (padding, padding),
        dilation: (1, 1),
        groups,
    };
    Case {
        batch,
        channels,
        size,
        kernel: (kernel, kernel),
        geometry,
    }
}

/// Small cases for finite differences: odd, rectangular, of size 1, strides that do not divide.
pub const CASES: &[Case] = &[
    case(2, (3, 4), (5, 7), 3, 1, 1, 1),
    case(1, (2, 3), (6, 5), 3, 2, 1, 1),
    case(2, (2, 2), (7, 8), 3, 3, 0, 1),
    case(1, (4, 6), (5, 5), 3, 1, 1, 2),
    case(2, (4, 4), (5, 6), 3, 2, 1, 4),
    case(1, (3, 6), (4, 4), 3, 1, 2, 3),
    case(1, (3, 2), (4, 6), 1, 1, 0, 1),
    case(1, (3, 2), (5, 6), 1, 2, 0, 1),
    case(1, (1, 1), (1, 1), 1, 1, 0, 1),
    case(1, (2, 2), (1, 1), 3, 1, 1, 1),
    case(1, (2, 3), (9, 8), 5, 2, 2, 1),
    case(1, (2, 3), (3, 3), 1, 1, 2, 1),
    Case {
        batch: 2,
        channels: (2, 4),
        size: (9, 7),
        kernel: (3, 2),
        geometry: Conv2dGeometry {
            stride: (2, 1),
            padding: (1, 2),
            dilation: (2, 3),
            groups: 2,
        },
    },
    Case {
        batch: 1,
        channels: (3, 3),
        size: (1, 12),
        kernel: (1, 5),
        geometry: Conv2dGeometry {
            stride: (1, 1),
            padding: (0, 2),
            dilation: (1, 1),
            groups: 3,
        },
    },
];

impl Case {
    /// Dimensions of the weight.
    pub fn weight_dims(&self) -> [usize; 4] {
        let (input, output) = self.channels;
        [
            output,
            input / self.geometry.groups,
            self.kernel.0,
            self.kernel.1,
        ]
    }

    /// Random input, weight and bias.
    pub fn variables(&self, dtype: DType) -> Result<(Var, Var, Var)> {
        let x = [self.batch, self.channels.0, self.size.0, self.size.1];
        let make = |dims: &[usize], seed| {
            let values = random(dims.iter().product(), seed);
            Var::from_tensor(&tensor(&values, dims, dtype)?)
        };
        Ok((
            make(&x, 1)?,
            make(&self.weight_dims(), 2)?,
            make(&[self.channels.1], 3)?,
        ))
    }
}

/// `count` numbers between −1 and 1 that f32 holds exactly.
pub fn random(count: usize, seed: u64) -> Vec<f64> {
    let mut stream = stream(seed, "convolution test", 0);
    (0..count)
        .map(|_| f64::from(stream.random::<f32>() * 2.0 - 1.0))
        .collect()
}

/// A tensor on the CPU.
pub fn tensor(values: &[f64], dims: &[usize], dtype: DType) -> Result<Tensor> {
    Tensor::from_slice(values, dims, &Device::Cpu)?.to_dtype(dtype)
}
