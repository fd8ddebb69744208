//! Checks of configurations and of what a forward pass is given.

use candle_core::{DType, Result, Tensor, bail};

/// No count of a configuration is 0.
pub(crate) fn check_positive(counts: &[(&str, usize)]) -> Result<()> {
    match counts.iter().find(|(_, count)| *count == 0) {
        Some((field, _)) => bail!("`{field}` is 0; a network needs at least 1"),
        None => Ok(()),
    }
}

/// The times of the batch of `x`, in f64.
pub(crate) fn check_times(t: &Tensor, x: &Tensor) -> Result<Vec<f64>> {
    let batch = x.dims().first().copied().unwrap_or(0);
    if t.dims() != [batch] {
        bail!(
            "t: found shape {:?}, the batch of x needs [{batch}]",
            t.dims()
        );
    }
    if !t.dtype().is_float() {
        bail!("t: found type {:?}, times are f32 or f64", t.dtype());
    }
    t.detach().to_dtype(DType::F64)?.to_vec1()
}

/// A class is there where, and only where, the network has `classes`.
pub(crate) fn check_class(
    class: Option<&Tensor>,
    classes: Option<usize>,
    x: &Tensor,
) -> Result<()> {
    let batch = x.dims().first().copied().unwrap_or(0);
    match (class, classes) {
        (None, None) => Ok(()),
        (None, Some(classes)) => {
            bail!("class: missing; the network needs [{batch}] u32 below {classes}")
        }
        (Some(_), None) => bail!("class: the network has no classes; leave it out"),
        (Some(class), Some(classes)) => {
            if class.dims() != [batch] || class.dtype() != DType::U32 {
                bail!(
                    "class: found {:?} {:?}, the network needs [{batch}] u32 below {classes}",
                    class.dims(),
                    class.dtype()
                );
            }
            match class
                .to_vec1::<u32>()?
                .iter()
                .find(|&&c| c as usize >= classes)
            {
                Some(bad) => bail!(
                    "class: found {bad}, the network has classes 0 to {}",
                    classes - 1
                ),
                None => Ok(()),
            }
        }
    }
}
