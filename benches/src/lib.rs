//! Benchmarks of the operators, with their peers beside them.
//!
//! [`cases()`] is the one table of what is timed: `taper bench kernels` and `cargo bench` both walk it.
//! [`run`] times a case beside its peers, [`Roofs`] measures what the machine could do at best,
//! [`roofline`] draws the two together. Whole training steps are timed by `pytorch/compare.py`.

mod agreement;
mod case;
mod cases;
mod clock;
mod peer;
mod roofline;
mod roofs;
mod row;
mod run;

pub use case::{Argument, Call, Case, Mode, Tolerance, Values, Work};
pub use cases::cases;
pub use clock::Quantiles;
pub use peer::Peer;
pub use roofline::roofline;
pub use roofs::Roofs;
pub use row::{Machine, Row, csv};
pub use run::{Settings, run};
