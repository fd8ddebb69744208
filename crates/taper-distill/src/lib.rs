//! Knowledge distillation: a small student learns from a larger teacher.
//!
//! | method | what the student sees besides the labels | module |
//! | --- | --- | --- |
//! | `ce` | nothing: the baseline | |
//! | `kd` | the teacher's softened logits (arXiv:1503.02531) | [`logits`] |
//! | `norm` | the teacher's last feature map, N times (arXiv:2305.13803) | [`norm`] |
//!
//! A [`Method`] names a [`LossRecipe`]; a [`Distillation`] is that recipe as an objective for
//! [`taper_train::train`]; [`compare`] runs several methods over several seeds and tables them.

mod comparison;
mod config;
mod data;
mod error;
mod evaluate;
pub mod logits;
mod merge_checkpoint;
mod metadata;
mod method;
pub mod norm;
mod objective;
mod recipe;
mod student;
mod supervised;
mod teacher;

pub use comparison::{Comparison, Row, compare};
pub use config::{DistillConfig, KdConfig, NormConfig, TeacherConfig};
pub use data::{ClassifierData, LoaderSource};
pub use error::DistillError;
pub use evaluate::{Scores, evaluate, score};
pub use merge_checkpoint::{MergedStudent, merge_checkpoint};
pub use method::Method;
pub use objective::Distillation;
pub use recipe::{LossRecipe, TransformRecipe};
pub use student::{Student, StudentOutput};
pub use supervised::{ClassifierConfig, train_classifier};
pub use teacher::{Tap, Teacher, TeacherView};
