//! Image classifiers: students and teachers, parameter for parameter as their PyTorch originals.
//!
//! One file a family: a serde `Config` with named presets and a network with
//! `new(&Config, VarBuilder)`. Each is a [`Classifier`]: a forward pass gives [`Features`], so
//! that distillers, class activation maps and proxies read what they need without hooks.
//! [`registry`] lists every model with its size, stages, head and known weights.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use taper_layers::{Mode, ParameterStore};
//! use taper_vision::{Classifier, registry};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let entry = registry::find("ResNet-8")?;
//! let store = ParameterStore::new(0, &Device::Cpu);
//! let model = (entry.config)(10).build(store.var_builder(DType::F32))?;
//! let x = Tensor::zeros((2, 3, 32, 32), DType::F32, &Device::Cpu)?;
//! let features = model.forward(&x, Mode::Eval)?;
//! assert_eq!(features.logits.dims(), [2, 10]);
//! assert_eq!(features.stages[3].dims(), [2, 64, 8, 8]);
//! # Ok(())
//! # }
//! ```

mod akamaster_resnet;
mod blocks;
mod cifar_resnet;
mod cifar_resnet_v2;
mod classifier;
mod distiller_resnet;
mod error;
mod mobilenet_v2;
mod model_config;
pub mod registry;
mod residual;
mod shufflenet_v1;
mod shufflenet_v2;
mod vgg;
mod wide_resnet;

pub use akamaster_resnet::{AkamasterResNet, AkamasterResNetConfig};
pub use cifar_resnet::{CifarResNet, CifarResNetConfig};
pub use cifar_resnet_v2::{CifarResNetV2, CifarResNetV2Config};
pub use classifier::{Classifier, Features, Trunk};
pub use distiller_resnet::{DistillerResNet, DistillerResNetConfig};
pub use error::VisionError;
pub use mobilenet_v2::{MobileNetV2, MobileNetV2Config};
pub use model_config::ModelConfig;
pub use registry::ModelEntry;
pub use shufflenet_v1::{ShuffleNetV1, ShuffleNetV1Config};
pub use shufflenet_v2::{ShuffleNetV2, ShuffleNetV2Config};
pub use taper_layers::UnknownModel;
pub use vgg::{Vgg, VggConfig};
pub use wide_resnet::{WideResNet, WideResNetConfig, WideResNetNames};
