//! No time is worth anything before the results agree.

use crate::case::Tolerance;
use anyhow::{Context, bail};

/// Compares result and gradients, each with its own size as the measure.
///
/// # Errors
/// Says which differs, where and by how much.
pub(crate) fn check(
    names: &[&str],
    ours: &[Vec<f64>],
    theirs: &[Vec<f64>],
    tolerance: Tolerance,
) -> anyhow::Result<()> {
    if ours.len() != theirs.len() {
        bail!(
            "{} results, the other side has {}",
            ours.len(),
            theirs.len()
        );
    }
    for ((name, ours), theirs) in names.iter().zip(ours).zip(theirs) {
        compare(ours, theirs, tolerance).with_context(|| format!("{name} does not agree"))?;
    }
    Ok(())
}

fn compare(ours: &[f64], theirs: &[f64], tolerance: Tolerance) -> anyhow::Result<()> {
    if ours.len() != theirs.len() {
        bail!(
            "{} elements, the other side has {}",
            ours.len(),
            theirs.len()
        );
    }
    let square_sum: f64 = theirs.iter().map(|value| value * value).sum();
    let scale = (square_sum / theirs.len().max(1) as f64).sqrt();
    let bound = tolerance.difference * scale;
    let mut outliers = (tolerance.outliers * theirs.len() as f64).ceil() as usize;
    for (index, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let difference = (a - b).abs();
        // A NaN on either side is more than any bound.
        if difference.is_nan() || difference > bound {
            if outliers == 0 {
                bail!(
                    "element {index} is {a}, the other side has {b}; allowed are {bound:.1e} between them"
                );
            }
            outliers -= 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::case::Tolerance;

    fn within(difference: f64, outliers: f64) -> Tolerance {
        Tolerance {
            difference,
            outliers,
        }
    }

    #[test]
    fn differences_are_measured_by_the_size_of_the_whole() {
        let ok = |ours: &[f64], theirs: &[f64]| {
            check(
                &["result"],
                &[ours.to_vec()],
                &[theirs.to_vec()],
                within(1e-3, 0.0),
            )
        };
        assert!(ok(&[100.05, 0.05], &[100.0, 0.0]).is_ok());
        let message = format!("{:#}", ok(&[100.0, 0.2], &[100.0, 0.0]).unwrap_err());
        assert!(
            message.contains("result does not agree") && message.contains("element 1"),
            "{message}"
        );
        assert!(ok(&[f64::NAN], &[1.0]).is_err());
        assert!(ok(&[1.0], &[1.0, 1.0]).is_err());
        assert!(check(&[], &[vec![]], &[], within(1.0, 0.0)).is_err());
    }

    #[test]
    fn a_few_elements_may_lie_beside_a_kink() {
        let (mut ours, theirs) = (vec![1.0; 100], vec![1.0; 100]);
        ours[3] = 0.0;
        let check = |ours: &[f64], share| {
            check(
                &["x"],
                &[ours.to_vec()],
                std::slice::from_ref(&theirs),
                within(1e-3, share),
            )
        };
        assert!(check(&ours, 0.0).is_err());
        assert!(check(&ours, 0.01).is_ok());
        ours[4] = 0.0;
        assert!(check(&ours, 0.01).is_err());
    }
}
