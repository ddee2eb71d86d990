//! The facts a decision saw, stored beside it (promise 8) and shown as people read them. No number, no name.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::instant;
use crate::domain::channel::{Channel, Permission};
use crate::domain::contact::{AskBasis, Kind};
use crate::domain::eligibility::{Reason, told};
use crate::domain::ledger::NUMBER_CHANGED;
use crate::domain::suppression;
use crate::domain::times::Times;
use crate::store::facts::Person;

/// What stood on record about a person when a rule decided.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Seen {
    pub mobile: bool,
    pub country: Option<String>,
    /// `prospect`, `dormant` or `customer`; none where only the dates say it.
    pub kind: Option<String>,
    #[schema(value_type = Option<String>)]
    pub last_action: Option<NaiveDate>,
    /// `prior_consent of 2026-01-10 (unticked)`, one entry an imported row.
    pub evidence: Vec<String>,
    pub only_quarantined: bool,
    pub restricted: bool,
    /// An objection, a restriction or an erasure is noted, and not carried out yet.
    pub noted: bool,
    /// An unclear reply waits for an operator.
    pub held: bool,
    /// When the person wants to be written to: `Mo,Fr 08:00-12:00, at most once a week`.
    pub times: Option<String>,
    /// `stopped since 2026-12-01`
    pub suppressed: Vec<String>,
    /// The day of the newest ask of this human, whatever the campaign.
    #[schema(value_type = Option<String>)]
    pub asked: Option<NaiveDate>,
    /// `sms.promotions`
    pub granted: Vec<String>,
    pub in_conversation: bool,
    /// `listed in RPO since 2026-12-08`
    pub registers: Vec<String>,
    /// Channels that were impossible, and why: `whatsapp: CHANNEL_NO_OPTIN`.
    pub not_by: Vec<String>,
}

impl Seen {
    pub fn of(person: &Person, passed_over: &[(Channel, Reason)]) -> Seen {
        let f = &person.facts;
        let day = |at: i64| instant(at).date_naive();
        let word = |no: suppression::Reason| match no {
            suppression::Reason::WrongPerson if f.number_changed => NUMBER_CHANGED,
            no => no.code(),
        };
        Seen {
            mobile: f.mobile,
            country: f.country.clone(),
            kind: f.kind.map(|kind| kind.code().to_owned()),
            last_action: f.last_action,
            evidence: f
                .evidence
                .iter()
                .map(|e| match e.basis {
                    AskBasis::PriorConsent => format!("{} of {} ({})", e.basis.code(), e.date, e.box_default.code()),
                    // Only a consent is collected by a box.
                    other => format!("{} of {}", other.code(), e.date),
                })
                .collect(),
            only_quarantined: f.only_quarantined,
            restricted: f.restricted,
            noted: f.noted,
            held: f.held,
            times: f.times.as_ref().map(Times::words),
            suppressed: f.suppressions.iter().map(|(no, at)| format!("{} since {}", word(*no), day(*at))).collect(),
            asked: f.asked.iter().map(|(at, _)| *at).max().map(day),
            granted: f.granted.iter().map(|p| p.code()).collect(),
            in_conversation: f.conversation.is_some(),
            registers: f
                .screened
                .iter()
                .filter_map(|s| Some(format!("listed in {} since {}", s.register, day(s.listed_since?))))
                .collect(),
            not_by: passed_over.iter().map(|(channel, reason)| format!("{}: {}", channel.code(), reason.code())).collect(),
        }
    }

    /// As it is stored.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("facts of text and numbers are JSON")
    }

    /// Reads what is stored; none where an earlier version kept nothing.
    pub fn read(json: &str) -> Option<Seen> {
        serde_json::from_str(json).ok().filter(|_| json != "{}")
    }

    /// Each right to ask in its parts: basis, day, and the box of a consent.
    pub fn rights(&self) -> impl Iterator<Item = (&str, &str, Option<&str>)> {
        self.evidence.iter().map(|row| {
            let (basis, rest) = row.split_once(" of ").unwrap_or((row, ""));
            match rest.split_once(" (") {
                Some((day, ticked)) => (basis, day, Some(ticked.trim_end_matches(')'))),
                None => (basis, rest, None),
            }
        })
    }

    /// Each no in its parts: reason and day.
    pub fn noes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.suppressed.iter().map(|no| no.split_once(" since ").unwrap_or((no, "")))
    }

    /// Each register that lists the number, and since when.
    pub fn listed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.registers.iter().map(|line| line.trim_start_matches("listed in ").rsplit_once(" since ").unwrap_or((line, "")))
    }

    /// Each channel that was impossible, and the rule.
    pub fn impossible(&self) -> impl Iterator<Item = (&str, &str)> {
        self.not_by.iter().map(|line| line.split_once(": ").unwrap_or((line, "")))
    }

    /// Label and value, a line each.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let country = self.country.as_deref().unwrap_or("an unknown country");
        let number = if self.mobile { format!("mobile, {country}") } else { format!("not a mobile number, {country}") };
        let known_as = match self.kind.as_deref().and_then(Kind::parse) {
            Some(Kind::Prospect) => "prospect",
            Some(Kind::Dormant) => "dormant customer",
            Some(Kind::Customer) => "customer",
            None => "as the last activity says",
        };
        let none = |list: String, word: &str| if list.is_empty() { word.to_owned() } else { list };
        let day = |day: Option<NaiveDate>, word: &str| day.map_or(word.to_owned(), |day| day.to_string());
        let boxes = [
            ("(unticked)", "(box left unticked)"),
            ("(pre_ticked)", "(box ticked beforehand)"),
            ("(bundled)", "(box for several things at once)"),
        ];
        let rights =
            boxes.iter().fold(self.evidence.join("; "), |text, (code, words)| text.replace(code, words)).replace('_', " ");
        let rights = match self.only_quarantined {
            true => "none: every row comes from a bought or unknown source".to_owned(),
            false => none(rights, "none on record"),
        };
        let mut lines = vec![
            ("Number", number),
            ("Known as", known_as.to_owned()),
            ("Last activity", day(self.last_action, "none on record")),
            ("Right to ask", rights),
            (
                "A no on record",
                none(
                    self.suppressed
                        .join("; ")
                        .replace("unsubscribed_before since", "unsubscribed, by a list imported on")
                        .replace('_', " "),
                    "none",
                ),
            ),
            ("Asked before", day(self.asked, "never")),
            ("Allowed already", none(granted_words(&self.granted), "nothing")),
            ("Open question", if self.in_conversation { "yes" } else { "none" }.to_owned()),
        ];
        if self.held {
            lines.push(("Unclear reply", "waits for an operator".to_owned()));
        }
        if let Some(times) = &self.times {
            lines.push(("Own times", times.clone()));
        }
        if self.restricted {
            lines.push(("Processing", "restricted (Art. 18 GDPR)".to_owned()));
        }
        if self.noted {
            lines.push(("Request", "an objection, a restriction or an erasure is noted, and not carried out yet".to_owned()));
        }
        if !self.registers.is_empty() {
            lines.push(("Opposition registers", self.registers.join("; ")));
        }
        for (channel, code) in self.impossible() {
            lines.push(("Not possible", format!("by {}: {}", by(channel), told(code))));
        }
        lines
    }
}

fn granted_words(codes: &[String]) -> String {
    allowed(&codes.iter().filter_map(|code| Permission::parse(code)).collect::<Vec<_>>())
}

/// A channel as one says it.
pub(super) fn by(channel: &str) -> &str {
    match Channel::parse(channel) {
        Some(Channel::Sms) => "SMS",
        Some(Channel::WhatsApp) => "WhatsApp",
        Some(Channel::Call) => "phone call",
        None => channel,
    }
}

/// `promotions by SMS and WhatsApp, product information by SMS`
pub(super) fn allowed(permissions: &[Permission]) -> String {
    let mut purposes: Vec<_> = permissions.iter().map(|p| p.purpose).collect();
    purposes.sort_unstable();
    purposes.dedup();
    let one = |purpose| {
        let mut channels: Vec<_> = permissions.iter().filter(|p| p.purpose == purpose).map(|p| p.channel).collect();
        channels.sort_unstable();
        channels.dedup();
        let channels = channels.iter().map(|c| by(c.code())).collect::<Vec<_>>().join(" and ");
        format!("{} by {channels}", purpose.code().replace("info", "information").replace('_', " "))
    };
    purposes.into_iter().map(one).collect::<Vec<_>>().join(", ")
}
