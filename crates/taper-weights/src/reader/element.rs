//! The kinds of number that files hold.

use std::fmt;

/// The type of a tensor's elements, as the file stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ElementType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, 8 bits.
    U8,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 16 bits.
    U16,
    /// Signed, 16 bits.
    I16,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 64 bits.
    I64,
    /// 4 exponent bits, 3 of mantissa, no infinity.
    F8E4M3,
    /// As [`Self::F8E4M3`] with another bias and no negative zero.
    F8E4M3Fnuz,
    /// 5 exponent bits, 2 of mantissa.
    F8E5M2,
    /// As [`Self::F8E5M2`] with another bias, no infinity and no negative zero.
    F8E5M2Fnuz,
    /// 8 exponent bits: a power of two, as the scales of MX formats.
    F8E8M0,
    /// IEEE half precision.
    F16,
    /// The upper half of single precision.
    BF16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// Two halves.
    Complex32,
    /// Two singles.
    Complex64,
    /// Two doubles.
    Complex128,
}

impl ElementType {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 21] = [
        Self::Bool,
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::U64,
        Self::I64,
        Self::F8E4M3,
        Self::F8E4M3Fnuz,
        Self::F8E5M2,
        Self::F8E5M2Fnuz,
        Self::F8E8M0,
        Self::F16,
        Self::BF16,
        Self::F32,
        Self::F64,
        Self::Complex32,
        Self::Complex64,
        Self::Complex128,
    ];

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::Bool
            | Self::U8
            | Self::I8
            | Self::F8E4M3
            | Self::F8E4M3Fnuz
            | Self::F8E5M2
            | Self::F8E5M2Fnuz
            | Self::F8E8M0 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::U32 | Self::I32 | Self::F32 | Self::Complex32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::Complex64 => 8,
            Self::Complex128 => 16,
        }
    }

    /// Bytes of the number whose order a big-endian file reverses: half an element if complex.
    pub(crate) fn word(self) -> usize {
        if self.is_complex() {
            self.size() / 2
        } else {
            self.size()
        }
    }

    /// Whether it has a real and an imaginary part.
    pub fn is_complex(self) -> bool {
        matches!(self, Self::Complex32 | Self::Complex64 | Self::Complex128)
    }

    /// Whether it can hold fractions, complex ones included.
    pub fn is_float(self) -> bool {
        self >= Self::F8E4M3
    }

    /// Name in a safetensors header, `None` where that format has none.
    pub fn safetensors_name(self) -> Option<&'static str> {
        Some(match self {
            Self::Bool => "BOOL",
            Self::U8 => "U8",
            Self::I8 => "I8",
            Self::U16 => "U16",
            Self::I16 => "I16",
            Self::U32 => "U32",
            Self::I32 => "I32",
            Self::U64 => "U64",
            Self::I64 => "I64",
            Self::F8E4M3 => "F8_E4M3",
            Self::F8E4M3Fnuz => "F8_E4M3FNUZ",
            Self::F8E5M2 => "F8_E5M2",
            Self::F8E5M2Fnuz => "F8_E5M2FNUZ",
            Self::F8E8M0 => "F8_E8M0",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::F32 => "F32",
            Self::F64 => "F64",
            Self::Complex64 => "C64",
            Self::Complex32 | Self::Complex128 => return None,
        })
    }

    /// The inverse of [`Self::safetensors_name`].
    pub fn from_safetensors(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.safetensors_name() == Some(name))
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Complex32 => "C32",
            Self::Complex128 => "C128",
            other => other.safetensors_name().unwrap_or("?"),
        })
    }
}
