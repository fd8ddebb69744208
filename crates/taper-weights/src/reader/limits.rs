//! What an untrusted file may cost.

/// Caps on what a file can make a reader allocate or write; each error that meets one names the
/// field, so that a flag can raise it.
///
/// ```
/// use taper_weights::Limits;
/// let generous = Limits::default().raised(8);
/// assert_eq!(generous.tensors, 8 * Limits::default().tensors);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a safetensors header, a `.npy` header or an index file.
    pub header_bytes: u64,
    /// Bytes of memory that the objects of a pickle may take.
    pub pickle_bytes: u64,
    /// Nesting of dictionaries, lists and tuples.
    pub depth: usize,
    /// Tensors in a checkpoint.
    pub tensors: usize,
    /// Bytes of one compressed member that must be held whole in memory (strided tensors).
    pub inflated_bytes: u64,
    /// How many times larger than the file all tensors together may be, whether by compression
    /// or by strides; the first 256 MiB are free.
    pub expansion: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 100 << 20,
            pickle_bytes: 512 << 20,
            depth: 64,
            tensors: 1_000_000,
            inflated_bytes: 1 << 30,
            expansion: 64,
        }
    }
}

impl Limits {
    /// Bytes of tensors that every file may have.
    pub(crate) const FREE_BYTES: u64 = 256 << 20;

    /// Every cap times `factor`; the nesting stays.
    pub fn raised(self, factor: u64) -> Self {
        Self {
            header_bytes: self.header_bytes.saturating_mul(factor),
            pickle_bytes: self.pickle_bytes.saturating_mul(factor),
            depth: self.depth,
            tensors: self
                .tensors
                .saturating_mul(usize::try_from(factor).unwrap_or(usize::MAX)),
            inflated_bytes: self.inflated_bytes.saturating_mul(factor),
            expansion: self.expansion.saturating_mul(factor),
        }
    }
}
