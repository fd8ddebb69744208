//! Pictures of samples as PNG: grids of images, point clouds, trajectories, each with small labels.

mod canvas;
mod glyphs;
mod grid;
mod points;

pub use canvas::{Canvas, png};
pub use grid::{image_rows, sample_image};
pub use points::{point_panels, trajectory_panel};
