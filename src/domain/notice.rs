//! A privacy notice as text: what fills its placeholders, and the blocks a page shows it in. Where the texts come from is `config`'s,
//! what was published is the store's.

use super::channel::{Channel, Purpose};
use super::ledger::body_hash;

/// One language's notice, complete as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub locale: String,
    pub text: String,
    /// Where the text is: a file, or the name of one that ships.
    pub file: String,
    /// It is the one that ships, which nobody of the company has written.
    pub is_built_in: bool,
}

impl Notice {
    /// The proof of what was published.
    pub fn hash(&self) -> String {
        body_hash(&self.text)
    }
}

/// Every placeholder a notice may have.
pub const PLACEHOLDERS: [&str; 13] = [
    "controller",
    "contact",
    "processor",
    "storage",
    "stop_number",
    "consent_months",
    "profiling_months",
    "silent_days",
    "replies_days",
    "proof_months",
    "silent",
    "replies",
    "proof",
];

/// Those of [`PLACEHOLDERS`] that stand for a length of time in words, which not every language has here.
pub const SPANS: [&str; 3] = ["silent", "replies", "proof"];

/// Placeholders that leave nothing behind: their line is there where some campaign or form offers the purpose or the channel they name, by
/// [`Purpose::code`] and [`Channel::code`].
pub fn offers() -> impl Iterator<Item = &'static str> {
    Purpose::ALL.map(Purpose::code).into_iter().chain(Channel::ALL.map(Channel::code))
}

/// What the placeholders stand for.
#[derive(Debug, Clone, Default)]
pub struct Values {
    /// Who asks, with the postal address.
    pub controller: String,
    pub contact: String,
    /// Who sends, or keeps records, on the controller's behalf, each with its region: its line is repeated.
    pub processors: Vec<String>,
    /// Where the data are kept.
    pub storage: String,
    /// Where a STOP is understood.
    pub stop_number: String,
    /// How long a consent to marketing holds at most, and one to profiling.
    pub consent_months: String,
    pub profiling_months: String,
    /// After how long somebody of whom nothing was heard is forgotten, and the words of replies.
    pub silent_days: String,
    pub replies_days: String,
    /// How long the proof of choices is kept after its person's data are deleted.
    pub proof_months: String,
    /// The same three in words of the text's language, as in `2 years`.
    pub silent: String,
    pub replies: String,
    pub proof: String,
    /// Those of [`offers`] that the company offers.
    pub offered: Vec<&'static str>,
}

/// Fills a text. A line whose placeholder has no value is left out, and one that names what is not offered; one that names a processor is
/// there once for each.
///
/// # Errors
/// The line, counted from 1, and the placeholder in it that does not exist.
pub fn fill(text: &str, values: &Values) -> Result<String, (usize, String)> {
    let mut lines: Vec<String> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let names: Vec<&str> = line.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect();
        let is_offer = |name: &&str| offers().any(|offer| offer == *name);
        if let Some(unknown) = names.iter().find(|name| !PLACEHOLDERS.contains(name) && !is_offer(name)) {
            return Err((at + 1, (*unknown).to_owned()));
        }
        if names.iter().filter(|name| is_offer(name)).any(|name| !values.offered.contains(name)) {
            continue;
        }
        let none = [String::new()];
        let processors: &[String] = if names.contains(&"processor") { &values.processors } else { &none };
        for processor in processors {
            let of = |name: &str| match name {
                "controller" => &values.controller,
                "contact" => &values.contact,
                "storage" => &values.storage,
                "stop_number" => &values.stop_number,
                "consent_months" => &values.consent_months,
                "profiling_months" => &values.profiling_months,
                "silent_days" => &values.silent_days,
                "replies_days" => &values.replies_days,
                "proof_months" => &values.proof_months,
                "silent" => &values.silent,
                "replies" => &values.replies,
                "proof" => &values.proof,
                "processor" => processor,
                _ => &none[0],
            };
            if names.iter().filter(|name| !is_offer(name)).any(|name| of(name).is_empty()) {
                continue;
            }
            lines.push(filled(line, of));
        }
    }
    Ok(lines.join("\n").trim().to_owned())
}

/// In one go, so that a value is never read as a placeholder.
fn filled<'a>(line: &str, of: impl Fn(&str) -> &'a String) -> String {
    let mut pieces = line.split('{');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once('}') {
            Some((name, rest)) => out.extend([of(name).as_str(), rest]),
            None => out.extend(["{", piece]),
        }
    }
    out
}

/// A part of a notice as a page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// A line that begins with `# `.
    Heading(String),
    /// Lines that begin with `- `.
    List(Vec<String>),
    /// Lines up to the next empty one.
    Paragraph(String),
}

pub fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for line in text.lines().map(str::trim) {
        match (line.strip_prefix("# "), line.strip_prefix("- "), blocks.last_mut()) {
            _ if line.is_empty() => {
                open = false;
                continue;
            }
            (Some(heading), ..) => blocks.push(Block::Heading(heading.to_owned())),
            (_, Some(item), Some(Block::List(items))) if open => items.push(item.to_owned()),
            (_, Some(item), _) => blocks.push(Block::List(vec![item.to_owned()])),
            (.., Some(Block::Paragraph(text))) if open => {
                text.push(' ');
                text.push_str(line);
            }
            _ => blocks.push(Block::Paragraph(line.to_owned())),
        }
        open = true;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> Values {
        let processors = vec!["One (EU)".to_owned(), "Two {contact} (US)".to_owned()];
        Values { controller: "ACME".into(), contact: "dpo@acme.example".into(), processors, ..Values::default() }
    }

    #[test]
    fn a_line_is_repeated_for_each_processor_and_left_out_without_a_value() {
        let text = "# Who\n{controller}, {contact}\n- {processor}\nKept in {storage}.\n- STOP to {stop_number}\n{ alone";
        let said = fill(text, &values()).unwrap();
        assert_eq!(said, "# Who\nACME, dpo@acme.example\n- One (EU)\n- Two {contact} (US)\n{ alone");
        assert_eq!(fill("x\n{name}", &values()), Err((2, "name".into())));
    }

    #[test]
    fn a_line_about_what_nobody_offers_is_left_out() {
        let text = "- {promotions}Offers\n- {profiling}Tailored\n- {sms}SMS\n- {call}{stop_number}Call";
        let said = |offered: &[&'static str]| fill(text, &Values { offered: offered.to_vec(), ..values() }).unwrap();
        assert_eq!(said(&["promotions", "sms", "call"]), "- Offers\n- SMS");
        assert_eq!(said(&["profiling"]), "- Tailored");
        assert_eq!(said(&[]), "");
    }

    #[test]
    fn a_text_is_headings_lists_and_paragraphs() {
        let heading = |t: &str| Block::Heading(t.into());
        let blocks = blocks("# A\none\ntwo\n\nthree\n- x\n- y\n# B\n- z\n\n- w");
        let list = |items: &[&str]| Block::List(items.iter().map(|i| (*i).to_owned()).collect());
        let paragraph = |t: &str| Block::Paragraph(t.into());
        assert_eq!(
            blocks,
            [heading("A"), paragraph("one two"), paragraph("three"), list(&["x", "y"]), heading("B"), list(&["z"]), list(&["w"])]
        );
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_filled_or_named(text in "([a-z{}#\\- \n]|\\{contact\\}|\\{processor\\}){0,40}") {
            if let Ok(said) = fill(&text, &values()) {
                blocks(&said);
            }
        }
    }
}
