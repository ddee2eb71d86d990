//! The external ids of a list: which cells are a word for none, and which ids stand on so many numbers that they may be one.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;

use super::table::{Broken, Row};

const FIELD: &str = "external_id";
/// More numbers than one human has.
const MANY: usize = 10;
/// Ids told of.
const TOLD: usize = 20;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Crowd {
    /// The first line of the file that has it.
    pub line: u64,
    pub numbers: u64,
    pub rows: u64,
}

/// Counts the numbers of each id. By hashes: a million ids take some fifty megabytes.
#[derive(Debug, Default)]
pub struct Crowds {
    ids: HashMap<u64, Seen>,
    /// Of an id that stands on several numbers, all but the first.
    others: HashMap<u64, HashSet<u64>>,
}

#[derive(Debug)]
struct Seen {
    line: u64,
    rows: u64,
    number: u64,
}

/// An id and a number of one row.
pub type Pair = (u64, u64, u64);

/// What [`Crowds::add`] takes of a row.
pub fn pair(id: &str, number: &str, line: u64) -> Pair {
    (hash(id), hash(number), line)
}

impl Crowds {
    pub fn add(&mut self, (id, number, line): Pair) {
        let seen = self.ids.entry(id).or_insert(Seen { line, rows: 0, number });
        seen.rows += 1;
        if number != seen.number {
            self.others.entry(id).or_default().insert(number);
        }
    }

    /// Ids on more than ten numbers, those on most numbers first.
    pub fn found(&self) -> Vec<Crowd> {
        let crowded = self.others.iter().filter(|(_, others)| others.len() >= MANY);
        let mut found: Vec<Crowd> = crowded
            .filter_map(|(id, others)| {
                let seen = self.ids.get(id)?;
                Some(Crowd { line: seen.line, numbers: 1 + others.len() as u64, rows: seen.rows })
            })
            .collect();
        found.sort_by_key(|crowd| (std::cmp::Reverse(crowd.numbers), crowd.line));
        found.truncate(TOLD);
        found
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
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

    #[test]
    fn an_id_on_more_than_ten_numbers_is_told_with_its_first_line() {
        let mut crowds = Crowds::default();
        for line in 2..=11 {
            crowds.add(pair("one", &line.to_string(), line));
            crowds.add(pair("two", "7", line));
        }
        assert_eq!(crowds.found(), []);
        crowds.add(pair("one", "another", 12));
        crowds.add(pair("one", "another", 13));
        assert_eq!(crowds.found(), [Crowd { line: 2, numbers: 11, rows: 12 }]);
    }
}
