//! Layers on Taper's kernels under PyTorch's parameter names, and the ordered, seeded store of their parameters.
//!
//! Every network in `models/` is built from these: a layer is a plain struct whose
//! tensors carry the names that the PyTorch original gives them (`weight`, `bias`,
//! `running_mean`, …), so that a converted checkpoint loads without renaming.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use taper_kernels::{Activation, Conv2dGeometry};
//! use taper_layers::{BatchNorm2d, Conv2d, Mode, ParameterStore, conv_bn_act};
//!
//! # fn main() -> candle_core::Result<()> {
//! let store = ParameterStore::new(0, &Device::Cpu);
//! let vb = store.var_builder(DType::F32);
//! let conv = Conv2d::new(3, 16, 3, Conv2dGeometry::with(1, 1), vb.pp("conv1"))?;
//! let bn = BatchNorm2d::new(16, vb.pp("bn1"))?;
//! let x = Tensor::zeros((2, 3, 8, 8), DType::F32, &Device::Cpu)?;
//! let y = conv_bn_act(&conv, &bn, &x, None, Activation::Relu, Mode::Train)?;
//! assert_eq!(y.dims(), [2, 16, 8, 8]);
//! assert_eq!(store.parameters()[0].0, "bn1.bias");
//! # Ok(())
//! # }
//! ```

mod batch_norm;
mod conv;
mod group_norm;
pub mod init;
mod linear;
pub mod names;
mod recorder;
mod run;
mod state_file;
mod store;

pub use batch_norm::{BatchNorm2d, DEFAULT_EPS};
pub use conv::{Conv2d, conv_bn_act};
pub use group_norm::GroupNorm;
pub use linear::Linear;
pub use names::UnknownModel;
pub use recorder::{ShapeRecorder, TensorInfo};
pub use run::{RunNorm, TrainingRun};
pub use state_file::to_safetensors;
pub use store::{ParameterStore, Role, StoreError};

/// Whether a network learns (batch statistics, running averages move) or predicts (running statistics).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics; running statistics are updated.
    Train,
    /// Running statistics; nothing changes.
    Eval,
}
