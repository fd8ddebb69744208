//! The numbers in a run of stored bytes.

use super::ElementType;

/// Appends the numbers of whole little-endian elements to `numbers`; a complex one gives two.
///
/// 64-bit integers beyond 2^53 are rounded.
pub(crate) fn decode(dtype: ElementType, bytes: &[u8], numbers: &mut Vec<f64>) {
    fn each<const N: usize>(bytes: &[u8], numbers: &mut Vec<f64>, number: fn([u8; N]) -> f64) {
        numbers.extend(bytes.as_chunks::<N>().0.iter().map(|&bytes| number(bytes)));
    }
    let half = |bytes| half::f16::from_le_bytes(bytes).to_f64();
    match dtype {
        ElementType::Bool | ElementType::U8 => each(bytes, numbers, |[byte]| f64::from(byte)),
        ElementType::I8 => each(bytes, numbers, |[byte]| f64::from(byte as i8)),
        ElementType::U16 => each(bytes, numbers, |b| f64::from(u16::from_le_bytes(b))),
        ElementType::I16 => each(bytes, numbers, |b| f64::from(i16::from_le_bytes(b))),
        ElementType::U32 => each(bytes, numbers, |b| f64::from(u32::from_le_bytes(b))),
        ElementType::I32 => each(bytes, numbers, |b| f64::from(i32::from_le_bytes(b))),
        ElementType::U64 => each(bytes, numbers, |b| u64::from_le_bytes(b) as f64),
        ElementType::I64 => each(bytes, numbers, |b| i64::from_le_bytes(b) as f64),
        ElementType::F8E4M3 => each(bytes, numbers, |[byte]| f64::from(e4m3(byte))),
        ElementType::F8E4M3Fnuz => each(bytes, numbers, |[b]| f64::from(fnuz(b, 4, 8))),
        ElementType::F8E5M2 => each(bytes, numbers, |[byte]| f64::from(e5m2(byte))),
        ElementType::F8E5M2Fnuz => each(bytes, numbers, |[b]| f64::from(fnuz(b, 5, 16))),
        ElementType::F8E8M0 => each(bytes, numbers, |[byte]| f64::from(power_of_two(byte))),
        ElementType::F16 | ElementType::Complex32 => each(bytes, numbers, half),
        ElementType::BF16 => each(bytes, numbers, |b| half::bf16::from_le_bytes(b).to_f64()),
        ElementType::F32 | ElementType::Complex64 => {
            each(bytes, numbers, |b| f64::from(f32::from_le_bytes(b)));
        }
        ElementType::F64 | ElementType::Complex128 => each(bytes, numbers, f64::from_le_bytes),
    }
}

/// 4 exponent bits of bias 7, no infinity; all ones is not a number.
pub(crate) fn e4m3(byte: u8) -> f32 {
    match byte & 0x7f {
        0x7f => f32::NAN,
        _ => small(byte, 4, 7),
    }
}

/// The upper byte of a half.
pub(crate) fn e5m2(byte: u8) -> f32 {
    half::f16::from_bits(u16::from(byte) << 8).to_f32()
}

/// A `fnuz` float: no infinities, the pattern of negative zero is not a number.
pub(crate) fn fnuz(byte: u8, exponent_bits: u32, bias: i32) -> f32 {
    match byte {
        0x80 => f32::NAN,
        _ => small(byte, exponent_bits, bias),
    }
}

/// A float of 8 bits without special patterns.
fn small(byte: u8, exponent_bits: u32, bias: i32) -> f32 {
    let mantissa_bits = 7 - exponent_bits;
    let exponent = i32::from((byte & 0x7f) >> mantissa_bits);
    let mantissa = f32::from(byte & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits) as f32;
    let magnitude = if exponent == 0 {
        mantissa * 2f32.powi(1 - bias)
    } else {
        (1. + mantissa) * 2f32.powi(exponent - bias)
    };
    if byte & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// A scale of MX formats.
pub(crate) fn power_of_two(byte: u8) -> f32 {
    if byte == 0xff {
        f32::NAN
    } else {
        2f64.powi(i32::from(byte) - 127) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats() {
        // PyTorch: torch.tensor([...], dtype=torch.uint8).view(torch.float8_e4m3fn).float()
        for (byte, expected) in [(0x38, 1.), (0x7e, 448.), (0x01, 0.001953125), (0xb8, -1.)] {
            assert_eq!(e4m3(byte), expected);
        }
        assert!(e4m3(0x7f).is_nan() && e4m3(0xff).is_nan());
        assert_eq!(e5m2(0x3c), 1.);
        assert!(e5m2(0x7c).is_infinite());
        assert_eq!(power_of_two(127), 1.);
        let mut numbers = Vec::new();
        decode(
            ElementType::Complex64,
            &[0, 0, 128, 63, 0, 0, 0, 192],
            &mut numbers,
        );
        assert_eq!(numbers, [1., -2.]);
    }
}
