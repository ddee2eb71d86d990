//! The external ids of a list: which cells are a word for none, and which ids stand on so many numbers that they may be one.

use serde::Serialize;

use super::table::{Broken, Row};

const FIELD: &str = "external_id";
/// More numbers than one human has.
pub const MANY: i64 = 10;

/// What CRMs and people write where there is no id, without its dots, dashes and slashes.
const NONE: [&str; 25] = [
    "na",
    "nan",
    "nd",
    "nil",
    "null",
    "none",
    "undefined",
    "unknown",
    "missing",
    "empty",
    "sconosciuto",
    "sconosciuta",
    "nessuno",
    "nessuna",
    "brak",
    "nieznany",
    "nieznana",
    "unbekannt",
    "keine",
    "inconnu",
    "aucun",
    "desconocido",
    "desconocida",
    "ninguno",
    "ninguna",
];

/// The row's id; none where its cell is empty or a word for none, by which everybody would be one human.
pub fn of<'a>(row: &'a Row<'_>) -> Option<&'a str> {
    row.get(FIELD).filter(|id| is_id(id))
}

/// Every cell of a broken row that may be its id.
pub fn of_broken<'a>(broken: &'a Broken<'_>) -> impl Iterator<Item = &'a str> {
    broken.cells(FIELD).filter(|cell| is_id(cell))
}

fn is_id(cell: &str) -> bool {
    let letters: String = cell.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    !letters.chars().all(|c| c == '0') && !NONE.contains(&letters.as_str())
}

/// An id that stands on more numbers than one human has. The id itself is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Crowd {
    /// The first line of the file where it was one.
    pub line: i64,
    pub numbers: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_for_none_is_no_id() {
        for none in [
            "0",
            "00",
            "0.0",
            "n/a",
            "N.A.",
            "-",
            "--",
            "?",
            "null",
            "<NULL>",
            "None",
            "unknown",
            "nd",
            "n.d.",
            "Sconosciuto",
            "#N/A",
            "nessuno",
            "BRAK",
        ] {
            assert!(!is_id(none), "{none}");
        }
        for id in ["1", "100", "A0", "CRM-0", "nd1", "na-7", "x", "0-0-1", "Nadia"] {
            assert!(is_id(id), "{id}");
        }
    }
}
