//! Velocity networks of diffusion models, parameter for parameter as their PyTorch originals.
//!
//! One file a family: a serde `Config` with named presets and a network with
//! `new(&Config, VarBuilder)`. Each is a [`VelocityNetwork`].
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use taper_layers::ParameterStore;
//! use taper_velocity::{Dropout, MlpConfig, VelocityConfig};
//!
//! # fn main() -> candle_core::Result<()> {
//! let store = ParameterStore::new(0, &Device::Cpu);
//! let config = VelocityConfig::Mlp(MlpConfig::velocity_2d()).with_heads(2);
//! let network = config.build(store.var_builder(DType::F32))?;
//! let x = Tensor::zeros((8, 2), DType::F32, &Device::Cpu)?;
//! let t = Tensor::zeros(8, DType::F32, &Device::Cpu)?;
//! let velocities = network.forward(&x, &t, None, Dropout::Off)?;
//! assert_eq!(velocities.len(), 2);
//! assert_eq!(velocities[0].dims(), [8, 2]);
//! # Ok(())
//! # }
//! ```

mod check;
mod dropout;
mod mlp;
mod network;
mod velocity_config;

pub use dropout::Dropout;
pub use mlp::{Mlp, MlpConfig};
pub use network::VelocityNetwork;
pub use velocity_config::VelocityConfig;
