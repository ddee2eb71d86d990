//! `campaign preview`: every text drawn as a phone shows it, with what it costs and which characters make it dear.

use std::collections::BTreeMap;

use unicode_width::UnicodeWidthStr;

use crate::domain::money::Money;
use crate::domain::plural::counted;
use crate::domain::preview::{InParts, Shown, Size};

/// Columns of the drawn screen.
const WIDTH: usize = 40;

/// Draws the messages, each under a line that says what it is.
pub fn print(messages: &[Shown]) {
    for shown in messages {
        let kinds = shown.kinds.join(" and ");
        println!("\n  {kinds} in `{}` by {}, text {}{}", shown.locale, shown.channel.code(), shown.template, costs(&shown.cost));
        print_one(shown);
    }
}

/// The phone, its parts, and the characters that force UCS-2 with their remedies.
pub fn print_one(shown: &Shown) {
    for line in phone(&shown.sender, &shown.text, &shown.buttons) {
        println!("  {line}");
    }
    if let Some(sms) = &shown.sms {
        notes(sms).iter().for_each(|note| println!("  {note}"));
    }
}

fn notes(sms: &InParts) -> Vec<String> {
    let mut notes = vec![size(&sms.size)];
    if !sms.doubled.is_empty() && sms.forcing.is_empty() {
        let doubled: String = sms.doubled.iter().collect();
        notes.push(format!("counted twice each, as GSM-7 writes them with an escape: {doubled}"));
    }
    for forcing in &sms.forcing {
        let (at, code, remedy) = (forcing.at, &forcing.code_point, forcing.remedy());
        // What cannot be seen is named by its code alone.
        let character = if forcing.character.is_control() || forcing.character.is_whitespace() { ' ' } else { forcing.character };
        notes.push(format!("`{character}` ({code}) at character {at} forces UCS-2: {remedy}"));
    }
    if let Some(plain) = &sms.plain {
        notes.push(format!("written plainly: {}{}", size(&plain.size), costs(&plain.cost)));
        notes.push(format!("  {}", plain.text.replace('\n', " / ")));
    }
    notes
}

pub fn size(size: &Size) -> String {
    let (parts, units) = (counted(size.parts, "part", "parts"), counted(size.units, "character", "characters"));
    let over = match size.over {
        0 => String::new(),
        over => format!("; TOO LONG by {}", counted(over, "character", "characters")),
    };
    format!("{parts}: {units} in {}, {} a part{over}", size.encoding, size.per_part)
}

/// `, IT 0.104 EUR, PL 0.046 EUR each`; nothing where no price is known.
fn costs(costs: &BTreeMap<String, Money>) -> String {
    if costs.is_empty() {
        return String::new();
    }
    let each: Vec<String> = costs.iter().map(|(country, cost)| format!("{country} {cost}")).collect();
    format!("; one costs: {}", each.join(", "))
}

/// The screen: sender, text, buttons, in lines of one width. Emoji and East Asian characters are two columns wide.
fn phone(sender: &str, text: &str, buttons: &[String]) -> Vec<String> {
    let line = |text: &str| format!("| {text}{} |", " ".repeat(WIDTH.saturating_sub(text.width())));
    let mut lines = vec![format!(".-{}-.", "-".repeat(WIDTH))];
    lines.extend(wrap(sender).iter().map(|sender| line(sender)));
    lines.push(format!("|-{}-|", "-".repeat(WIDTH)));
    lines.extend(text.lines().flat_map(wrap).map(|text| line(&text)));
    for button in buttons {
        lines.push(line(""));
        lines.extend(wrap(&format!("[ {button} ]")).iter().map(|button| line(button)));
    }
    lines.push(format!("'-{}-'", "-".repeat(WIDTH)));
    lines
}

/// One line of text in rows of at most `WIDTH` columns, broken between words where it can be.
fn wrap(text: &str) -> Vec<String> {
    let mut rows = vec![String::new()];
    for word in text.split_whitespace() {
        let row = rows.last_mut().expect("there is always a row");
        if row.is_empty() || row.width() + 1 + word.width() <= WIDTH {
            if !row.is_empty() {
                row.push(' ');
            }
        } else {
            rows.push(String::new());
        }
        for c in word.chars() {
            let row = rows.last_mut().expect("there is always a row");
            if row.width() + c.to_string().width() > WIDTH {
                rows.push(String::new());
            }
            rows.last_mut().expect("there is always a row").push(c);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_phone_keeps_lines_and_links_whole_where_it_can() {
        let drawn = phone("ACME", "Ciao! 👋 よろしく\nhttps://a.example/p/7Yk2mXq9PfWcT4vHsB8nRd0123456789", &["Sì".into()]);
        let expected = [
            ".------------------------------------------.",
            "| ACME                                     |",
            "|------------------------------------------|",
            "| Ciao! 👋 よろしく                        |",
            "| https://a.example/p/7Yk2mXq9PfWcT4vHsB8n |",
            "| Rd0123456789                             |",
            "|                                          |",
            "| [ Sì ]                                   |",
            "'------------------------------------------'",
        ];
        assert_eq!(drawn, expected);
    }

    proptest! {
        #[test]
        fn every_line_is_as_wide_as_the_screen(text in "(\\PC| |\n|[a-z]{1,60}|😀|漢){0,40}") {
            for line in phone("ACME", &text, &[]) {
                prop_assert_eq!(line.width(), WIDTH + 4);
            }
        }
    }
}
