//! What can be wrong with the arguments of a convolution.

use candle_core::{DType, Shape};

/// An argument that a convolution cannot take: names the operator, the argument, what was found and what would be right.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Conv2dError {
    /// A tensor of the wrong rank.
    #[error("{operator}: {argument} must have rank {expected}, found shape {found:?}")]
    Rank {
        /// The operator called.
        operator: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// Its shape.
        found: Shape,
        /// The rank it must have.
        expected: usize,
    },
    /// A tensor whose shape does not fit the others.
    #[error("{operator}: {argument} has shape {found:?}, expected {expected}")]
    Shape {
        /// The operator called.
        operator: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// Its shape.
        found: Shape,
        /// What it must be, in words.
        expected: String,
    },
    /// A tensor of a type that the operator does not compute in.
    #[error("{operator}: {argument} is {found:?}, expected {expected}")]
    DataType {
        /// The operator called.
        operator: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// Its type.
        found: DType,
        /// The types that are right, in words.
        expected: String,
    },
    /// A stride, dilation or group count of zero.
    #[error("{operator}: {field} must be at least 1, found {found:?}")]
    Zero {
        /// The operator called.
        operator: &'static str,
        /// The field of the geometry at fault.
        field: &'static str,
        /// Its value, vertical then horizontal.
        found: (usize, usize),
    },
    /// A kernel that does not fit into the padded input even once.
    #[error(
        "{operator}: a kernel spanning {span:?} does not fit into an input of {input:?} with padding {padding:?}"
    )]
    KernelTooLarge {
        /// The operator called.
        operator: &'static str,
        /// Height and width that the dilated kernel spans.
        span: (usize, usize),
        /// Height and width of the input.
        input: (usize, usize),
        /// The padding of each side.
        padding: (usize, usize),
    },
}

impl From<Conv2dError> for candle_core::Error {
    fn from(error: Conv2dError) -> Self {
        Self::wrap(error)
    }
}
