//! Initialisations of PyTorch, as hints for a `VarBuilder`.

use candle_nn::Init;

/// PyTorch's default for convolutions and linear layers, weight and bias alike:
/// uniform in ±1/√fan_in (Kaiming-uniform with a = √5).
pub fn default_uniform(fan_in: usize) -> Init {
    let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
    Init::Uniform {
        lo: -bound,
        up: bound,
    }
}

/// Kaiming-normal over the outputs with ReLU gain: N(0, √(2 / (k·k·out))).
pub fn kaiming_normal_fan_out(out_channels: usize, kernel: usize) -> Init {
    normal((2.0 / (out_channels * kernel * kernel) as f64).sqrt())
}

/// N(0, `stdev`).
pub fn normal(stdev: f64) -> Init {
    Init::Randn { mean: 0.0, stdev }
}
