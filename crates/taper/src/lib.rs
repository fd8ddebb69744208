//! The Rust home of small neural networks: one name for everything below.
//!
//! ```
//! use taper::vision::registry;
//! let entry = registry::find("resnet20").unwrap();
//! assert_eq!(entry.parameters, 278_324);
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
