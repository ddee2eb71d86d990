//! A campaign taken apart: hour by hour, by country, by channel, by purpose. Everything comes from counters.

use std::collections::BTreeMap;

use anyhow::Result;
use chrono_tz::Tz;
use serde::Serialize;
use utoipa::ToSchema;

use super::Engine;
use super::plan::known;
use super::report::{gave_way, is_delivered};
use crate::clock::{HOUR, instant};
use crate::domain::answer::Answer;
use crate::store::{Tx, campaigns, report};

/// What happened in one hour. Asks and reminders stand in the hour they were claimed, deliveries and failures in the hour
/// of the latest receipt, answers in the hour they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Hour {
    /// Its beginning, RFC 3339, in the campaign's time zone.
    pub start: String,
    /// Asks and reminders that a gateway took, or may have taken.
    pub asked: u64,
    /// Of asks and reminders.
    pub delivered: u64,
    /// Of asks and reminders: refused, undelivered or expired.
    pub failed: u64,
    pub first_yes: u64,
    /// Completed then, and standing still.
    pub confirmed: u64,
    /// Ended then, after it was confirmed.
    pub withdrawn: u64,
    pub refused: u64,
    /// All marketing stopped.
    pub stopped: u64,
    /// Somebody else has the number; where its person has another one, that is none.
    pub wrong_person: u64,
}

/// The hours in which something happened, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Timeline {
    pub time_zone: String,
    pub hours: Vec<Hour>,
}

/// One country or one channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Line {
    /// ISO 3166 code of the country, or the channel's code; `unknown` where none is recorded.
    pub name: String,
    /// People decided about; countries only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided: Option<u64>,
    /// Of these the eligible; countries only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eligible: Option<u64>,
    /// People whose ask left us: a gateway took it, may have taken it, or refused the number.
    pub asked: u64,
    pub delivered: u64,
    pub pending: u64,
    pub confirmed: u64,
    /// Of the confirmed.
    pub withdrawn: u64,
    pub refused: u64,
    /// All marketing stopped.
    pub stopped: u64,
    /// Somebody else has the number; where its person has another one, that is none.
    pub wrong_person: u64,
    /// Replied, no decision.
    pub replied: u64,
    pub silent: u64,
}

/// What became of one permission.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct PurposeLine {
    pub purpose: String,
    pub channel: String,
    /// People by the permission's state now: `granted`, `refused`, `withdrawn`, …
    pub states: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Breakdown {
    pub countries: Vec<Line>,
    /// The channel of the ask, not that of the answer.
    pub channels: Vec<Line>,
    pub purposes: Vec<PurposeLine>,
}

/// # Errors
/// No campaign of this name was ever started.
pub async fn timeline(engine: &Engine, name: &str) -> Result<Timeline> {
    let mut tx = engine.store.read().await?;
    let row = known(&mut tx, engine, name).await?;
    let zone = engine.revision(&mut tx, row.revision_id).await?.time_zone.clone();
    let hours = hours(&mut tx, &row).await?;
    tx.rollback().await?;
    let tz: Tz = zone.parse().unwrap_or(Tz::UTC);
    let start = |hour: i64| instant(hour * HOUR).with_timezone(&tz).to_rfc3339();
    let hours = hours.into_iter().map(|(hour, counted)| Hour { start: start(hour), ..counted }).collect();
    Ok(Timeline { time_zone: zone, hours })
}

async fn hours(tx: &mut Tx, row: &campaigns::Row) -> Result<BTreeMap<i64, Hour>> {
    let mut hours: BTreeMap<i64, Hour> = BTreeMap::new();
    for (hour, kind, outcome, n) in report::attempts_by_hour(tx, row.id).await? {
        if matches!(kind.as_str(), "ask" | "reminder") && matches!(outcome.as_str(), "accepted" | "unknown" | "in flight") {
            hours.entry(hour).or_default().asked += n.unsigned_abs();
        }
    }
    for (hour, kind, state, n) in report::messages_by_hour(tx, row.id).await? {
        if hour == 0 || !matches!(kind.as_str(), "ask" | "reminder") {
            continue;
        }
        let entry = hours.entry(hour).or_default();
        *(if is_delivered(&state) { &mut entry.delivered } else { &mut entry.failed }) += n.unsigned_abs();
    }
    for (hour, n) in report::first_yeses_by_hour(tx, row.id).await? {
        hours.entry(hour).or_default().first_yes += n.unsigned_abs();
    }
    for (hour, answer, by, n) in report::answers_by_hour(tx, row.id).await? {
        let decided = |a: &Answer| !matches!(a, Answer::Replied | Answer::Pending | Answer::Unfinished);
        let Some(answer) = Answer::parse(&answer).filter(decided).filter(|answer| !gave_way(*answer, &by)) else { continue };
        let entry = hours.entry(hour).or_default();
        let field = match answer {
            Answer::Confirmed => &mut entry.confirmed,
            Answer::Withdrawn => &mut entry.withdrawn,
            Answer::Refused => &mut entry.refused,
            Answer::WrongPerson => &mut entry.wrong_person,
            _ => &mut entry.stopped,
        };
        *field += n.unsigned_abs();
    }
    Ok(hours)
}

/// # Errors
/// No campaign of this name was ever started.
pub async fn breakdown(engine: &Engine, name: &str) -> Result<Breakdown> {
    let mut tx = engine.store.read().await?;
    let row = known(&mut tx, engine, name).await?;
    let (mut countries, mut channels) = (Lines::default(), Lines::default());
    for (country, outcome, n) in report::decisions_by_country(&mut tx, row.id).await? {
        let line = countries.of(&country);
        *line.decided.get_or_insert(0) += n.unsigned_abs();
        *line.eligible.get_or_insert(0) += if outcome == "skip" { 0 } else { n.unsigned_abs() };
    }
    for (channel, country, kind, state, n) in report::messages_by_place(&mut tx, row.id).await? {
        if kind != "ask" {
            continue;
        }
        for line in [channels.of(&channel), countries.of(&country)] {
            line.delivered += if is_delivered(&state) { n.unsigned_abs() } else { 0 };
        }
    }
    for (channel, country, answer, by, n) in report::answers_by_place(&mut tx, row.id).await? {
        let n = n.unsigned_abs();
        for line in [channels.of(&channel), countries.of(&country)] {
            line.asked += n;
            let field = match Answer::parse(&answer) {
                Some(Answer::Pending) => &mut line.pending,
                Some(Answer::Confirmed) => &mut line.confirmed,
                Some(Answer::Withdrawn) => {
                    line.confirmed += n;
                    &mut line.withdrawn
                }
                Some(Answer::Refused) => &mut line.refused,
                Some(Answer::Stopped) => &mut line.stopped,
                Some(said) if gave_way(said, &by) => continue,
                Some(Answer::WrongPerson) => &mut line.wrong_person,
                Some(Answer::Replied) => &mut line.replied,
                None if answer == "silent" => &mut line.silent,
                Some(Answer::Unfinished) | None => continue,
            };
            *field += n;
        }
    }
    let mut purposes: BTreeMap<(String, String), BTreeMap<String, u64>> = BTreeMap::new();
    for (purpose, channel, state, n) in report::permissions(&mut tx, row.id).await? {
        *purposes.entry((purpose, channel)).or_default().entry(state).or_default() += n.unsigned_abs();
    }
    tx.rollback().await?;
    let purposes = purposes.into_iter().map(|((purpose, channel), states)| PurposeLine { purpose, channel, states }).collect();
    Ok(Breakdown { countries: countries.sorted(), channels: channels.sorted(), purposes })
}

/// Lines by name, made when first asked for.
#[derive(Default)]
struct Lines(BTreeMap<String, Line>);

impl Lines {
    fn of(&mut self, name: &str) -> &mut Line {
        let name = if name.is_empty() { "unknown" } else { name };
        self.0.entry(name.to_owned()).or_insert_with(|| Line { name: name.to_owned(), ..Line::default() })
    }

    fn sorted(self) -> Vec<Line> {
        self.0.into_values().collect()
    }
}
