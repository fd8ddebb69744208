//! Floating numbers in another type, piece by piece.

use crate::ElementType;
use crate::reader::number;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Rounds to nearest, ties to even, once; counts finite numbers that become infinite.
pub(crate) struct Cast {
    from: ElementType,
    to: ElementType,
    overflowed: u64,
    bytes: Vec<u8>,
    numbers: Vec<f64>,
}

impl Cast {
    pub(crate) fn new(from: ElementType, to: ElementType) -> Self {
        Self {
            from,
            to,
            overflowed: 0,
            bytes: Vec::new(),
            numbers: Vec::new(),
        }
    }

    /// Finite numbers that became infinite so far.
    pub(crate) fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Whole elements of the one type in the other.
    pub(crate) fn apply<'a>(&'a mut self, piece: &'a [u8]) -> &'a [u8] {
        if self.from == self.to {
            return piece;
        }
        self.bytes.clear();
        match (self.from, self.to) {
            (ElementType::F32, ElementType::F16) => self.singles_to_halves(piece),
            (ElementType::F32, ElementType::BF16) => {
                for single in singles(piece) {
                    let upper = bf16::from_f32(single);
                    self.overflowed += u64::from(upper.is_infinite() && single.is_finite());
                    self.bytes.extend_from_slice(&upper.to_le_bytes());
                }
            }
            _ => self.by_doubles(piece),
        }
        &self.bytes
    }

    fn singles_to_halves(&mut self, piece: &[u8]) {
        let numbers: Vec<f32> = singles(piece).collect();
        let mut halves = vec![f16::ZERO; numbers.len()];
        halves.convert_from_f32_slice(&numbers);
        for (half, number) in halves.iter().zip(&numbers) {
            self.overflowed += u64::from(half.is_infinite() && number.is_finite());
            self.bytes.extend_from_slice(&half.to_le_bytes());
        }
    }

    fn by_doubles(&mut self, piece: &[u8]) {
        self.numbers.clear();
        number::decode(self.from, piece, &mut self.numbers);
        let bytes = &mut self.bytes;
        for &number in &self.numbers {
            let infinite = match self.to {
                ElementType::F16 => {
                    let half = f16::from_f64(number);
                    bytes.extend_from_slice(&half.to_le_bytes());
                    half.is_infinite()
                }
                ElementType::BF16 => {
                    let upper = bf16::from_f64(number);
                    bytes.extend_from_slice(&upper.to_le_bytes());
                    upper.is_infinite()
                }
                ElementType::F32 => {
                    let single = number as f32;
                    bytes.extend_from_slice(&single.to_le_bytes());
                    single.is_infinite()
                }
                _ => {
                    bytes.extend_from_slice(&number.to_le_bytes());
                    number.is_infinite()
                }
            };
            self.overflowed += u64::from(infinite && number.is_finite());
        }
    }
}

fn singles(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(from: ElementType, to: ElementType, bytes: &[u8]) -> (Vec<u8>, u64) {
        let mut cast = Cast::new(from, to);
        let cast_bytes = cast.apply(bytes).to_vec();
        (cast_bytes, cast.overflowed())
    }

    #[test]
    fn rounding_and_overflow() {
        let singles: Vec<u8> = [1.0f32, -2.5, 1e6, f32::INFINITY, f32::NAN, 1. + 1. / 2048.]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        let (halves, overflowed) = cast(ElementType::F32, ElementType::F16, &singles);
        assert_eq!(overflowed, 1);
        let halves: Vec<f16> = halves
            .as_chunks()
            .0
            .iter()
            .map(|&b| f16::from_le_bytes(b))
            .collect();
        assert_eq!(halves[..2], [f16::from_f32(1.), f16::from_f32(-2.5)]);
        assert!(halves[2].is_infinite() && halves[3].is_infinite() && halves[4].is_nan());
        // Half way between 1 and its neighbour: to the even one.
        assert_eq!(halves[5], f16::ONE);
        let (doubles, overflowed) = cast(ElementType::F32, ElementType::F64, &singles);
        assert_eq!((doubles.len(), overflowed), (48, 0));
        let (back, _) = cast(ElementType::F64, ElementType::F32, &doubles);
        assert_eq!(back[..16], singles[..16]);
        let large = 1e300f64.to_le_bytes();
        for to in [ElementType::F32, ElementType::BF16, ElementType::F16] {
            assert_eq!(cast(ElementType::F64, to, &large).1, 1, "{to}");
        }
    }
}
