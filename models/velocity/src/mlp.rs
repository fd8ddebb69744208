//! A small perceptron for points in few dimensions: velocity or coupling network of the 2-D toys.
//!
//! Source: the checkerboard experiment of Taper's card of Catch-Up Distillation, section 12.

use crate::check::{check_class, check_positive, check_times};
use crate::{Dropout, VelocityNetwork};
use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;
use taper_layers::Linear;

/// Frequencies of the sines and cosines of t.
const FREQUENCIES: [f64; 3] = [1.0, 2.0, 4.0];
/// 2t − 1 and a sine and cosine for each frequency.
const TIME_INPUTS: usize = 1 + 2 * FREQUENCIES.len();
/// The output starts near 0.
const OUTPUT_SCALE: f64 = 1e-5;

/// Shape of an [`Mlp`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpConfig {
    /// Coordinates of a point.
    pub inputs: usize,
    /// Coordinates of a head's answer.
    pub outputs: usize,
    /// Width of the hidden layers.
    pub width: usize,
    /// Number of hidden layers.
    pub layers: usize,
    /// Number of heads: linear outputs upon the last hidden layer.
    pub heads: usize,
}

impl MlpConfig {
    /// The velocity network of the 2-D toys: three hidden layers of 128.
    pub const fn velocity_2d() -> Self {
        Self {
            inputs: 2,
            outputs: 2,
            width: 128,
            layers: 3,
            heads: 1,
        }
    }

    /// The coupling network of the 2-D toys: two hidden layers of 64, answers (mean, log-variance).
    pub const fn coupling_2d() -> Self {
        Self {
            inputs: 2,
            outputs: 4,
            width: 64,
            layers: 2,
            heads: 1,
        }
    }
}

/// Hidden layers with SiLU over (x, 2t − 1, sin 2πkt, cos 2πkt for k = 1, 2, 4), then linear heads.
#[derive(Debug, Clone)]
pub struct Mlp {
    layers: Vec<Linear>,
    heads: Vec<Linear>,
    inputs: usize,
}

impl Mlp {
    /// Parameters: `layers.{i}` and `heads.{j}`, each `.weight` and `.bias`.
    ///
    /// # Errors
    /// A zero count in `config`, or what `vb` reports.
    pub fn new(config: &MlpConfig, vb: VarBuilder) -> Result<Self> {
        check_positive(&[
            ("inputs", config.inputs),
            ("outputs", config.outputs),
            ("width", config.width),
            ("layers", config.layers),
            ("heads", config.heads),
        ])?;
        let zero = Init::Const(0.0);
        let mut inputs = config.inputs + TIME_INPUTS;
        let mut layers = Vec::with_capacity(config.layers);
        for index in 0..config.layers {
            let weight = uniform((3.0 / inputs as f64).sqrt());
            let vb = vb.pp("layers").pp(index);
            layers.push(Linear::with_init(inputs, config.width, weight, zero, vb)?);
            inputs = config.width;
        }
        let weight = uniform(OUTPUT_SCALE / (config.width as f64).sqrt());
        let head = |index| {
            let vb = vb.pp("heads").pp(index);
            Linear::with_init(config.width, config.outputs, weight, zero, vb)
        };
        Ok(Self {
            layers,
            heads: (0..config.heads).map(head).collect::<Result<_>>()?,
            inputs: config.inputs,
        })
    }
}

fn uniform(bound: f64) -> Init {
    Init::Uniform {
        lo: -bound,
        up: bound,
    }
}

/// `[batch, TIME_INPUTS]` in the type of `x`.
fn time_inputs(times: &[f64], x: &Tensor) -> Result<Tensor> {
    let mut rows = Vec::with_capacity(times.len() * TIME_INPUTS);
    for &t in times {
        rows.push(2.0 * t - 1.0);
        for frequency in FREQUENCIES {
            let (sine, cosine) = (TAU * frequency * t).sin_cos();
            rows.extend([sine, cosine]);
        }
    }
    Tensor::from_vec(rows, (times.len(), TIME_INPUTS), x.device())?.to_dtype(x.dtype())
}

impl VelocityNetwork for Mlp {
    fn heads(&self) -> usize {
        self.heads.len()
    }

    fn classes(&self) -> Option<usize> {
        None
    }

    /// `x` is `[batch, inputs]`; nothing is dropped.
    fn forward(
        &self,
        x: &Tensor,
        t: &Tensor,
        class: Option<&Tensor>,
        _dropout: Dropout<'_>,
    ) -> Result<Vec<Tensor>> {
        check_class(class, None, x)?;
        match *x.dims() {
            [_, inputs] if inputs == self.inputs => {}
            _ => candle_core::bail!(
                "x: found shape {:?}, the network reads [batch, {}]",
                x.dims(),
                self.inputs
            ),
        }
        let times = check_times(t, x)?;
        let mut hidden = Tensor::cat(&[x, &time_inputs(&times, x)?], 1)?;
        for layer in &self.layers {
            hidden = taper_kernels::silu(&layer.forward(&hidden)?)?;
        }
        self.heads
            .iter()
            .map(|head| head.forward(&hidden))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use taper_layers::ParameterStore;

    fn point(x: f32, y: f32) -> Tensor {
        Tensor::new(&[[x, y]], &Device::Cpu).unwrap()
    }

    /// Written out by hand for one hidden layer of one unit.
    #[test]
    fn one_unit_by_hand() -> Result<()> {
        let config = MlpConfig {
            width: 1,
            layers: 1,
            heads: 2,
            ..MlpConfig::velocity_2d()
        };
        let store = ParameterStore::new(1, &Device::Cpu);
        let model = Mlp::new(&config, store.var_builder(DType::F32))?;
        let weight: Vec<f32> = (1..=9).map(|i| 0.1 * i as f32).collect();
        let set = |name: &str, value: &Tensor| store.set(name, value).unwrap();
        set(
            "layers.0.weight",
            &Tensor::from_vec(weight, (1, 9), &Device::Cpu)?,
        );
        set(
            "heads.0.weight",
            &Tensor::new(&[[1f32], [2.]], &Device::Cpu)?,
        );
        set("heads.1.bias", &Tensor::new(&[5f32, 6.], &Device::Cpu)?);
        set(
            "heads.1.weight",
            &Tensor::zeros((2, 1), DType::F32, &Device::Cpu)?,
        );
        let t = Tensor::new(&[0.25f32], &Device::Cpu)?;
        let found = model.forward(&point(3.0, -1.0), &t, None, Dropout::Off)?;
        // Inputs 3, −1, −½, then (sin, cos) of π/2, π, 2π: 1, 0, 0, −1, 0, 1.
        let z: f64 = 0.3 - 0.2 - 0.15 + 0.4 - 0.7 + 0.9;
        let y = z / (1.0 + (-z).exp());
        let found: Vec<Vec<f32>> = found
            .iter()
            .map(|v| v.get(0)?.to_vec1())
            .collect::<Result<_>>()?;
        assert!((f64::from(found[0][0]) - y).abs() < 1e-6, "{found:?} {y}");
        assert!(
            (f64::from(found[0][1]) - 2.0 * y).abs() < 1e-6,
            "{found:?} {y}"
        );
        assert_eq!(found[1], [5.0, 6.0]);
        Ok(())
    }

    #[test]
    fn bad_input_is_named() -> Result<()> {
        let store = ParameterStore::new(1, &Device::Cpu);
        let model = Mlp::new(&MlpConfig::velocity_2d(), store.var_builder(DType::F32))?;
        let x = point(0.0, 0.0);
        let t = Tensor::new(&[0.5f32], &Device::Cpu)?;
        let message = |x: &Tensor, t: &Tensor, class: Option<&Tensor>| {
            let error = model.forward(x, t, class, Dropout::Off).err();
            error.map(|error| error.to_string()).unwrap_or_default()
        };
        let three = Tensor::zeros((1, 3), DType::F32, &Device::Cpu)?;
        assert!(message(&three, &t, None).contains("reads [batch, 2]"));
        let many = Tensor::new(&[0.5f32, 0.5], &Device::Cpu)?;
        assert!(message(&x, &many, None).contains("t: found shape [2]"));
        let class = Tensor::new(&[0u32], &Device::Cpu)?;
        assert!(message(&x, &t, Some(&class)).contains("has no classes"));
        Ok(())
    }
}
