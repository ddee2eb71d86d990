//! Counts as they are read: `1 row`, `2 rows`.

use std::fmt::Display;

/// The word that fits the count.
pub fn word<'w, N: PartialEq + From<u8>>(count: N, one: &'w str, many: &'w str) -> &'w str {
    if count == N::from(1) { one } else { many }
}

/// The count and the word that fits it.
pub fn counted<N: PartialEq + From<u8> + Display>(count: N, one: &str, many: &str) -> String {
    format!("{count} {}", if count == N::from(1) { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_everything_else_is_many() {
        assert_eq!([0u64, 1, 2].map(|n| counted(n, "row", "rows")), ["0 rows", "1 row", "2 rows"]);
        assert_eq!([0u64, 1, 2].map(|n| word(n, "row", "rows")), ["rows", "row", "rows"]);
    }
}
