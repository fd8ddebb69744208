//! The Rust home of small neural networks: one name for everything below.
//!
//! ```
//! use taper::vision::registry;
//! let entry = registry::find("resnet20").unwrap();
//! assert_eq!(entry.parameters, 278_324);
//! ```
//!
//! A checkpoint of any kind, from a path or from the hub:
//!
//! ```no_run
//! # fn main() -> Result<(), taper::weights::WeightsError> {
//! let weights = taper::weights::load("timm/resnet18.a1_in1k")?;
//! let head = &weights.tensors["fc.weight"];
//! assert_eq!(head.dims(), [1000, 512]);
//! # Ok(())
//! # }
//! ```
//!
//! One tensor of a file of any size, the rest unread:
//!
//! ```no_run
//! # fn main() -> Result<(), taper::weights::WeightsError> {
//! let file = taper::weights::TensorFile::open("large.pth", &Default::default())?;
//! let head = file.tensor("fc.weight")?;
//! # let _ = head;
//! # Ok(())
//! # }
//! ```

pub use taper_data as data;
pub use taper_diffusion as diffusion;
pub use taper_distill as distill;
pub use taper_kernels as kernels;
pub use taper_layers as layers;
pub use taper_train as train;
pub use taper_velocity as velocity;
pub use taper_vision as vision;
pub use taper_weights as weights;
