//! What an untrusted file may cost, as flags.

use clap::Args;
use taper::weights::Limits;

/// Caps on what a file can make the program allocate or write.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits (a number, or one with K, M or G)")]
pub struct LimitArgs {
    /// Bytes of a header or an index [default: 100M].
    #[arg(long, value_name = "N", value_parser = size)]
    max_header_bytes: Option<u64>,
    /// Bytes of memory for the objects of a pickle [default: 512M].
    #[arg(long, value_name = "N", value_parser = size)]
    max_pickle_bytes: Option<u64>,
    /// Nesting of dictionaries and lists [default: 64].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    max_depth: Option<u32>,
    /// Tensors in a checkpoint [default: 1000000].
    #[arg(long, value_name = "N", value_parser = size)]
    max_tensors: Option<u64>,
    /// Bytes of one compressed member that must be held in memory [default: 1G].
    #[arg(long, value_name = "N", value_parser = size)]
    max_inflated_bytes: Option<u64>,
    /// How many times larger than the file its tensors may be [default: 64].
    #[arg(long, value_name = "N", value_parser = size)]
    max_expansion: Option<u64>,
}

impl LimitArgs {
    pub fn limits(&self) -> Limits {
        let usual = Limits::default();
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Limits {
            header_bytes: self.max_header_bytes.unwrap_or(usual.header_bytes),
            pickle_bytes: self.max_pickle_bytes.unwrap_or(usual.pickle_bytes),
            depth: self.max_depth.map_or(usual.depth, |depth| depth as usize),
            tensors: self.max_tensors.map_or(usual.tensors, count),
            inflated_bytes: self.max_inflated_bytes.unwrap_or(usual.inflated_bytes),
            expansion: self.max_expansion.unwrap_or(usual.expansion),
        }
    }
}

/// `4096`, `100M`, `2G`: powers of 1024.
fn size(text: &str) -> Result<u64, String> {
    let expected = || "expected a number above 0, or one with K, M or G".to_string();
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    let bytes = number.checked_mul(1 << shift).ok_or_else(expected)?;
    if bytes == 0 {
        Err(expected())
    } else {
        Ok(bytes)
    }
}
