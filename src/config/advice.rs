//! What an ask had better not say or do : warnings, which stop nothing. What it must not is in `lint`.

use super::problem::Problem;
use super::templates::Wording;
use super::words::{Words, all_said, quoted};
use crate::domain::channel::Channel;
use crate::domain::plural::{counted, word};
use crate::domain::preview::{Size, forcing};
use crate::domain::sms::without_accents;
use crate::domain::wording::{self, Values};

/// Warnings about the text of an ask; `name` is `repermission.it`. None about a text that cannot be written with `values`.
pub fn ask(name: &str, text: &Wording, values: &Values, channel: Channel) -> Vec<Problem> {
    let Ok(shown) = wording::render(&text.text, values) else { return Vec::new() };
    let mut found = Vec::new();
    let mut say = |place: &str, what: String, remedy: String| {
        let line =
            text.text.lines().position(|line| line.to_lowercase().contains(&place.to_lowercase())).map_or(1, |line| line + 1);
        found.push(Problem { file: text.file.clone(), line, key: name.to_owned(), what, remedy });
    };
    if !shown.trim_start().starts_with(values.brand) {
        say("{{ brand", "the text does not begin with who writes".into(), "begin it with {{ brand }}".into());
    }
    let links = if values.link.is_empty() { 0 } else { shown.matches(values.link).count() };
    if links > 1 {
        say("link", format!("{{{{ link }}}} stands {links} times"), "keep one, at the end".into());
    }
    if let Some((before, after)) = shown.rsplit_once(values.link) {
        if !after.trim().is_empty() && after.trim() != "." {
            say("link", "the link is not the last word".into(), "end the text with {{ link }}".into());
        }
        if let Some(c) = after.chars().next().filter(|c| !c.is_whitespace()) {
            say("link", format!("a phone may take `{c}` into the link"), "put a space after {{ link }}, or nothing".into());
        }
        if let Some(c) = before.chars().next_back().filter(|c| !c.is_whitespace()) {
            say(
                "link",
                format!("`{c}` stands right before the link: some phones do not see where it begins"),
                "put a space there".into(),
            );
        }
    }
    let others = if values.link.is_empty() { shown.clone() } else { shown.replace(values.link, " ") };
    if let Some(other) = others.split_whitespace().find(|word| word.contains("://") || word.to_lowercase().starts_with("www.")) {
        say(other, format!("`{other}` is a second link"), "keep {{ link }} alone: the page can hold others".into());
    }
    if channel == Channel::Sms {
        ucs2(&shown, &mut say);
    }
    let locale = name.rsplit('.').next().unwrap_or_default();
    let pressing = Words::of(locale).map_or(Vec::new(), |words| all_said(&others, words.pressure));
    if let Some(first) = pressing.first() {
        let what = format!("{} {} the reader", quoted(&pressing), word(pressing.len(), "presses", "press"));
        say(first, what, "say it neutrally: yes and no must be equally easy".into());
    }
    found
}

/// One character outside GSM-7 makes every part less than half as long.
fn ucs2(shown: &str, say: &mut impl FnMut(&str, String, String)) {
    let characters = forcing(shown);
    let Some(first) = characters.first() else { return };
    let (size, plain) = (Size::of(shown), Size::of(&without_accents(shown)));
    let named: Vec<String> = characters
        .iter()
        .take(5)
        .map(|f| format!("`{}` ({}) at character {}: {}", f.character, f.code_point, f.at, f.remedy()))
        .collect();
    let more = if characters.len() > 5 { format!(", and {} more", characters.len() - 5) } else { String::new() };
    let what = format!(
        "UCS-2 fills {}; written plainly it is {} in {}",
        counted(size.parts, "part", "parts"),
        plain.parts,
        plain.encoding
    );
    say(&first.character.to_string(), what, format!("{}{more}", named.join(", ")));
}
