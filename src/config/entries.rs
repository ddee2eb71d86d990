//! The `[[entry]]` tables of `permesso.toml`: by which word somebody who writes first is known to come from a link or a QR code of ours,
//! and which form's page is the answer.

use std::path::Path;

use super::read::Table;
use super::{Config, Entry, values};
use crate::domain::reply::{Classifier, Intent, PhraseSet};

/// Lengths of a word, characters: a shorter one is written by chance.
const LENGTH: std::ops::RangeInclusive<usize> = 4..=20;

pub fn entries(root: &Table, dir: &Path, phrases: &[PhraseSet]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let tables = root.tables("entry");
    // Made of thousands of phrases.
    let classifier = (!tables.is_empty()).then(|| Classifier::new(phrases.to_vec()));
    for table in tables {
        let word = table.read_needed("word", word);
        let form = table.read_needed("form", values::name);
        let text = table.get::<String>("text");
        if let Some(form) = form.as_ref().filter(|form| !dir.join("forms").join(format!("{form}.toml")).is_file()) {
            table.note("form", format!("there is no form `{form}`"), format!("write forms/{form}.toml, or name another form"));
        }
        table.end();
        let Some(word) = word else { continue };
        let (key, text) = text.map_or(("word", word.clone()), |text| ("text", text));
        if !words(&text).any(|w| same(w, &word)) {
            table.note(
                "text",
                format!("`{word}` does not stand in it, so nobody who sends it is known by it"),
                "write the word in the text",
            );
        }
        if let Some(classifier) = &classifier {
            let answers = |p: &&PhraseSet| !matches!(classifier.classify(&p.locale, &text), Intent::Unclear | Intent::Help);
            if let Some(known) = phrases.iter().find(answers) {
                let what = format!("`{text}` is an answer by replies/{}.toml, and would be taken for one", known.locale);
                table.note(key, what, "choose words that say neither yes nor no, as in \"NEWSLETTER\"");
            }
        }
        if entries.iter().any(|other| other.word == word) {
            table.note("word", format!("there is another entry `{word}`"), "give each its own word");
        }
        entries.extend(form.map(|form| Entry { word, text, form }));
    }
    entries
}

fn word(text: &str) -> values::Parsed<String> {
    match LENGTH.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        true => Ok(text.to_ascii_uppercase()),
        false => Err((
            format!("`{text}` is no word to know people by"),
            "write 4 to 20 letters and digits, as in \"NEWSLETTER\"".into(),
        )),
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

impl Config {
    /// The entry whose word stands in this text, with nothing beside it but words of its own: whatever people add may be a no, which is read
    /// as any other reply is.
    pub fn entry_of(&self, text: &str) -> Option<&Entry> {
        let holds = |entry: &&Entry| words(text).any(|w| same(w, &entry.word));
        self.entries.iter().filter(holds).find(|entry| words(text).all(|w| words(&entry.text).any(|own| same(w, own))))
    }
}
