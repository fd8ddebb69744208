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
        .map(|candidate| (strsim::levenshtein(name, candidate), candidate))
        .collect();
    ranked.sort_by_key(|(distance, _)| *distance);
    ranked.truncate(count);
    ranked.into_iter().map(|(_, candidate)| candidate).collect()
}
