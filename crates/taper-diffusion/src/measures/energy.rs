//! The energy distance of two point sets (Székely and Rizzo 2013).

use super::{pair, squared_distances};
use crate::error::Result;
use candle_core::Tensor;

/// 2 E|X − Y| − E|X − X'| − E|Y − Y'| over all pairs; 0 where, and only where, both sets are equal.
///
/// * `a`, `b`: `[count, width]`
///
/// # Errors
/// If the widths differ or a set is empty.
pub fn energy_distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (a, b) = pair("energy distance", a, b)?;
    let mean = |a: &Tensor, b: &Tensor| -> Result<f64> {
        let distances = squared_distances(a, b)?;
        let count = distances.len() as f64;
        Ok(distances.into_iter().map(f64::sqrt).sum::<f64>() / count)
    };
    Ok(2.0 * mean(&a, &b)? - mean(&a, &a)? - mean(&b, &b)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn by_hand() {
        let a = Tensor::new(&[[0f64, 0.0], [0.0, 2.0]], &Device::Cpu).unwrap();
        let b = Tensor::new(&[[0f64, 1.0]], &Device::Cpu).unwrap();
        assert!((energy_distance(&a, &b).unwrap() - (2.0 - 1.0)).abs() < 1e-12);
        assert!(energy_distance(&a, &a).unwrap().abs() < 1e-12);
        let flat = Tensor::new(&[[0f64]], &Device::Cpu).unwrap();
        assert!(energy_distance(&a, &flat).is_err());
    }
}
