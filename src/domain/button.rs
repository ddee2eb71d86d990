//! The quick replies under a WhatsApp message: what they say, and what a tap brings back. A tap names the message it answers,
//! so it can never be taken for an answer to another one.

use super::message::Kind;
use super::plural::counted;
use super::reply::Intent;

/// Longest title of a quick reply, as Meta takes it.
pub const LONGEST_TITLE: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tap {
    Yes,
    No,
    Stop,
}

impl Tap {
    const ALL: [Tap; 3] = [Tap::Yes, Tap::No, Tap::Stop];

    fn word(self) -> &'static str {
        match self {
            Tap::Yes => "yes",
            Tap::No => "no",
            Tap::Stop => "stop",
        }
    }

    pub fn intent(self) -> Intent {
        match self {
            Tap::Yes => Intent::OptIn,
            Tap::No => Intent::Refuse,
            Tap::Stop => Intent::Stop,
        }
    }

    /// What the gateway brings back when this button of the message `reference` is tapped.
    pub fn id(self, reference: &str) -> String {
        format!("{}.{reference}", self.word())
    }

    /// The tap and the reference in an id of ours; `None` for any other.
    pub fn parse(id: &str) -> Option<(Tap, &str)> {
        let (word, reference) = id.split_once('.')?;
        Some((Tap::ALL.into_iter().find(|t| t.word() == word)?, reference))
    }
}

/// The titles of one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Titles {
    yes: String,
    no: String,
    stop: String,
    /// Under the confirmation: the second yes.
    confirm: String,
}

impl Titles {
    /// Four lines: yes, no, stop, and the yes under a confirmation; each different from the others beside it.
    ///
    /// # Errors
    /// What is wrong with which line.
    pub fn parse(text: &str) -> Result<Titles, String> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let [yes, no, stop, confirm] = lines[..] else {
            return Err(format!(
                "has {}, not four: yes, no, stop, and the yes that confirms",
                counted(lines.len(), "line", "lines")
            ));
        };
        for title in [yes, no, stop, confirm] {
            if !(1..=LONGEST_TITLE).contains(&title.chars().count()) {
                return Err(format!("has the title `{title}`, but a button has 1 to {LONGEST_TITLE} characters"));
            }
            if title.contains("{{") {
                return Err(format!("has the title `{title}`, but a button has no placeholder"));
            }
        }
        if yes == no || yes == stop || no == stop || confirm == stop {
            return Err("has two buttons of one title".to_owned());
        }
        let [yes, no, stop, confirm] = [yes, no, stop, confirm].map(str::to_owned);
        Ok(Titles { yes, no, stop, confirm })
    }

    /// The buttons under a message of this kind, in order.
    pub fn of(&self, kind: Kind) -> Vec<(Tap, &str)> {
        match kind {
            Kind::Ask | Kind::Reminder | Kind::Test => {
                vec![(Tap::Yes, &self.yes), (Tap::No, &self.no), (Tap::Stop, &self.stop)]
            }
            Kind::Confirm => vec![(Tap::Yes, &self.confirm), (Tap::Stop, &self.stop)],
            Kind::Code | Kind::Ack | Kind::Help => Vec::new(),
        }
    }

    /// A wording together with its buttons: what the person saw, for its hash.
    pub fn under(&self, kind: Kind, text: &str) -> String {
        let titles: Vec<String> = self.of(kind).into_iter().map(|(_, title)| format!("[{title}]")).collect();
        if titles.is_empty() { text.to_owned() } else { format!("{text}\n\n{}", titles.join(" ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_names_its_message() {
        let id = Tap::Stop.id("ask-7Yk2.mX");
        assert_eq!(Tap::parse(&id), Some((Tap::Stop, "ask-7Yk2.mX")));
        for other in ["yes", "", "maybe.ask-1", "YES.ask-1"] {
            assert_eq!(Tap::parse(other), None);
        }
    }

    #[test]
    fn titles_are_four_short_and_different_lines() {
        let titles = Titles::parse("Sì\nNo\nSTOP\nConfermo\n").unwrap();
        assert_eq!(titles.under(Kind::Ask, "Possiamo?"), "Possiamo?\n\n[Sì] [No] [STOP]");
        assert_eq!(titles.under(Kind::Confirm, "Confermi?"), "Confermi?\n\n[Confermo] [STOP]");
        for bad in [
            "Sì\nNo\nSTOP",
            "Sì\nSì\nSTOP\nOk",
            "STOP\nNo\nSTOP\nOk",
            "Sì\nSTOP\nSTOP\nOk",
            "Sì\nNo\nSTOP\nSTOP",
            "Sì\nNo\nSTOP\n",
            "Sì\nNo\nSTOP\nun titolo molto, molto lungo",
            "{{ brand }}\nNo\nSTOP\nOk",
        ] {
            assert!(Titles::parse(bad).is_err(), "{bad:?}");
        }
    }
}
