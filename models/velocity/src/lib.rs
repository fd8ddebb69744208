//! Velocity networks of diffusion models, parameter for parameter as their PyTorch originals.
//!
//! One file a family: a serde `Config` with named presets that builds the network over a
//! `VarBuilder`. Each is a [`VelocityNetwork`]. [`registry`] lists every network with its size;
//! [`Preconditioning`] makes a denoiser of EDM's.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use taper_layers::ParameterStore;
//! use taper_velocity::{Dropout, registry};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let entry = registry::find("unet-small-8")?;
//! let store = ParameterStore::new(0, &Device::Cpu);
//! let network = (entry.config)().with_heads(2).build(store.var_builder(DType::F32))?;
//! let x = Tensor::zeros((4, 1, 8, 8), DType::F32, &Device::Cpu)?;
//! let t = Tensor::ones(4, DType::F32, &Device::Cpu)?;
//! let velocities = network.forward(&x, &t, None, Dropout::Off)?;
//! assert_eq!(velocities.len(), 2);
//! assert_eq!(velocities[0].dims(), [4, 1, 8, 8]);
//! # Ok(())
//! # }
//! ```

mod adm;
mod check;
mod dropout;
mod mlp;
mod network;
mod preconditioning;
pub mod registry;
mod song_unet;
mod unet;
mod velocity_config;

pub use adm::{AdmConfig, AdmDialect};
pub use dropout::Dropout;
pub use mlp::{Mlp, MlpConfig};
pub use network::VelocityNetwork;
pub use preconditioning::{Coefficients, Preconditioning};
pub use registry::VelocityEntry;
pub use song_unet::SongUNetConfig;
pub use taper_layers::UnknownModel;
pub use unet::{Labels, QkvOrder, UNet};
pub use velocity_config::VelocityConfig;
