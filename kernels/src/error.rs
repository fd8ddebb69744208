//! What the operators report when an argument cannot be used.

use candle_core::{DType, DeviceLocation};
use thiserror::Error;

/// Why an operator refused its arguments. Operators return it wrapped in a [`candle_core::Error`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// An argument has a shape the operator cannot use.
    #[error("{op}: `{argument}` has shape {found:?}, expected {expected}")]
    Shape {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// What the shape should be.
        expected: String,
    },
    /// An argument has a type of number the operator does not take.
    #[error("{op}: `{argument}` has type {found:?}, expected {expected}")]
    DType {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// Its type.
        found: DType,
        /// The types that are taken.
        expected: String,
    },
    /// An argument lies on a device the operator has no code for.
    #[error("{op}: `{argument}` lies on {found:?}, expected a tensor on the CPU")]
    Device {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// Where it lies.
        found: DeviceLocation,
    },
    /// A number (an option, or an element such as a class index) is out of range.
    #[error("{op}: `{argument}` is {found}, expected {expected}")]
    Value {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// Its value.
        found: String,
        /// The values that are taken.
        expected: String,
    },
    /// A tensor to be changed in place is a strided view.
    #[error(
        "{op}: `{argument}` has strides {found:?}, expected a contiguous tensor to change in place"
    )]
    NotContiguous {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// Its strides, in elements.
        found: Vec<usize>,
    },
    /// Two tensors that must be separate share one storage.
    #[error("{op}: `{argument}` shares its storage with `{other}`, expected separate tensors")]
    Aliased {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// The argument it shares its storage with.
        other: &'static str,
    },
}

impl From<KernelError> for candle_core::Error {
    fn from(error: KernelError) -> Self {
        candle_core::Error::wrap(error)
    }
}
