//! "Did you mean": the names closest to a misspelt one.

/// The `count` candidates of least edit distance to `name`, nearest first; ties in the order given.
///
/// ```
/// let near = taper_weights::nearest("fc.wieght", ["conv1.weight", "fc.weight"], 1);
/// assert_eq!(near, ["fc.weight"]);
/// ```
pub fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    let mut ranked: Vec<_> = candidates
        .into_iter()
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .collect();
    ranked.sort_by_key(|(distance, _)| *distance);
    ranked.truncate(count);
    ranked.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Levenshtein distance in bytes, one row at a time.
fn edit_distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &byte) in a.as_bytes().iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &other) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(byte != other);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(nearest("resnet21", ["vgg8", "resnet20"], 1), ["resnet20"]);
    }
}
