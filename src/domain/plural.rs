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
