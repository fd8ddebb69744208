//! `--seeds`: one number, a list, a range.

/// `3`, `0,4,7` or `0..4` (0, 1, 2, 3 and 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeds(pub Vec<u64>);

/// Beyond this a range is a slip of the pen.
const MOST: usize = 10_000;

impl std::str::FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.trim()
                .parse::<u64>()
                .map_err(|_| format!("{text}: expected a seed, a list 0,4,7 or a range 0..4"))
        };
        let mut seeds = Vec::new();
        for part in text.split(',') {
            match part.split_once("..") {
                None => seeds.push(number(part)?),
                Some((first, last)) => {
                    let last = last.strip_prefix('=').unwrap_or(last);
                    let (first, last) = (number(first)?, number(last)?);
                    if first > last || last - first >= MOST as u64 {
                        return Err(format!("{part}: expected at most {MOST} seeds, rising"));
                    }
                    seeds.extend(first..=last);
                }
            }
        }
        let mut once = seeds.clone();
        once.sort_unstable();
        once.dedup();
        if once.len() != seeds.len() {
            return Err(format!("{text}: a seed stands there twice"));
        }
        Ok(Self(seeds))
    }
}

#[cfg(test)]
mod tests {
    use super::Seeds;

    #[test]
    fn forms() {
        let seeds = |text: &str| text.parse::<Seeds>().map(|seeds| seeds.0);
        assert_eq!(seeds("3").unwrap(), [3]);
        assert_eq!(seeds("0..4").unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(seeds("0..=2, 7").unwrap(), [0, 1, 2, 7]);
        for bad in ["", "a", "4..0", "1,1", "0..99999", "-1"] {
            assert!(seeds(bad).is_err(), "{bad}");
        }
    }
}
