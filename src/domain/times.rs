//! When a person wants to be written to: parts of the day, days of the week, at most how often. It narrows what
//! is allowed and never widens it: quiet hours of the country and of the campaign hold beside it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A part of the day, in the person's own time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Morning,
    Afternoon,
    Evening,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Morning, Part::Afternoon, Part::Evening];

    pub fn code(self) -> &'static str {
        match self {
            Part::Morning => "morning",
            Part::Afternoon => "afternoon",
            Part::Evening => "evening",
        }
    }

    pub fn parse(code: &str) -> Option<Part> {
        Part::ALL.into_iter().find(|part| part.code() == code)
    }

    /// As a page shows it, and as opening hours are written.
    pub fn hours(self) -> &'static str {
        match self {
            Part::Morning => "08:00-12:00",
            Part::Afternoon => "12:00-18:00",
            Part::Evening => "18:00-22:00",
        }
    }
}

/// A day of the week, under its name in opening hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Day {
    Mo,
    Tu,
    We,
    Th,
    Fr,
    Sa,
    Su,
}

impl Day {
    pub const ALL: [Day; 7] = [Day::Mo, Day::Tu, Day::We, Day::Th, Day::Fr, Day::Sa, Day::Su];

    pub fn code(self) -> &'static str {
        match self {
            Day::Mo => "Mo",
            Day::Tu => "Tu",
            Day::We => "We",
            Day::Th => "Th",
            Day::Fr => "Fr",
            Day::Sa => "Sa",
            Day::Su => "Su",
        }
    }

    pub fn parse(code: &str) -> Option<Day> {
        Day::ALL.into_iter().find(|day| day.code() == code)
    }
}

/// At most so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Often {
    Week,
    Month,
}

impl Often {
    pub const ALL: [Often; 2] = [Often::Week, Often::Month];

    pub fn code(self) -> &'static str {
        match self {
            Often::Week => "week",
            Often::Month => "month",
        }
    }

    pub fn parse(code: &str) -> Option<Often> {
        Often::ALL.into_iter().find(|often| often.code() == code)
    }

    /// Days between two messages, at least.
    pub fn days(self) -> i64 {
        match self {
            Often::Week => 7,
            Often::Month => 30,
        }
    }
}

/// What a person chose. Nothing chosen of a kind is no limit of that kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    pub parts: BTreeSet<Part>,
    pub days: BTreeSet<Day>,
    pub at_most: Option<Often>,
}

impl Times {
    pub fn is_any(&self) -> bool {
        *self == Times::default()
    }

    /// As OSM opening hours: `Mo,Tu 08:00-12:00,18:00-22:00`; `None` where every hour of every day will do.
    pub fn hours(&self) -> Option<String> {
        let join = |items: Vec<&str>| items.join(",");
        let parts = join(self.parts.iter().map(|part| part.hours()).collect());
        let days = join(self.days.iter().map(|day| day.code()).collect());
        match (days.is_empty(), parts.is_empty()) {
            (true, true) => None,
            (true, false) => Some(parts),
            (false, true) => Some(format!("{days} 00:00-24:00")),
            (false, false) => Some(format!("{days} {parts}")),
        }
    }

    /// In plain words for an operator: `Mo,Fr 08:00-12:00, at most once a week`.
    pub fn words(&self) -> String {
        let hours = self.hours().unwrap_or_else(|| "at any hour".to_owned());
        self.at_most.map_or_else(|| hours.clone(), |often| format!("{hours}, at most once a {}", often.code()))
    }

    /// Reads [`Times::words`] back.
    pub fn read(words: &str) -> Times {
        let said: Vec<&str> = words.split([' ', ',']).collect();
        Times {
            parts: Part::ALL.into_iter().filter(|part| said.contains(&part.hours())).collect(),
            days: Day::ALL.into_iter().filter(|day| said.contains(&day.code())).collect(),
            at_most: said.last().and_then(|last| Often::parse(last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::hours::Hours;

    /// Pages post these words and the database holds them.
    #[test]
    fn each_word_is_read_as_what_it_says() {
        assert_eq!(Part::ALL.map(Part::code), ["morning", "afternoon", "evening"]);
        assert_eq!(Part::ALL.map(|part| Part::parse(part.code())), Part::ALL.map(Some));
        assert_eq!(Day::ALL.map(|day| Day::parse(day.code())), Day::ALL.map(Some));
        assert_eq!(
            Often::ALL.map(|often| (Often::parse(often.code()), often.days())),
            [(Some(Often::Week), 7), (Some(Often::Month), 30)]
        );
        assert_eq!((Part::parse("night"), Day::parse("mo"), Often::parse("")), (None, None, None));
    }

    #[test]
    fn what_is_chosen_reads_as_opening_hours() {
        let times = |parts: &[Part], days: &[Day]| Times {
            parts: parts.iter().copied().collect(),
            days: days.iter().copied().collect(),
            at_most: None,
        };
        assert_eq!(times(&[], &[]).hours(), None);
        assert_eq!(times(&[Part::Evening, Part::Morning], &[]).hours().as_deref(), Some("08:00-12:00,18:00-22:00"));
        assert_eq!(times(&[], &[Day::Su]).hours().as_deref(), Some("Su 00:00-24:00"));
        let both = Times { at_most: Some(Often::Week), ..times(&[Part::Morning], &[Day::Tu, Day::Mo]) };
        assert_eq!(both.words(), "Mo,Tu 08:00-12:00, at most once a week");
        assert!(!both.is_any() && Times::default().is_any());
    }

    proptest! {
        #[test]
        fn whatever_is_chosen_can_be_kept_and_read(
            parts in proptest::collection::btree_set(proptest::sample::select(Part::ALL.to_vec()), 0..4),
            days in proptest::collection::btree_set(proptest::sample::select(Day::ALL.to_vec()), 0..8),
            at_most in proptest::option::of(proptest::sample::select(Often::ALL.to_vec())),
        ) {
            let times = Times { parts, days, at_most };
            let kept = serde_json::to_string(&times).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Times>(&kept).unwrap(), &times);
            prop_assert_eq!(&Times::read(&times.words()), &times);
            if let Some(hours) = times.hours() {
                prop_assert!(Hours::parse(&hours, None).is_ok(), "{}", hours);
            }
        }
    }
}
