//! Reads `[retention]`: how long what is kept, since nothing may be kept for ever (Art. 5(1)(e) GDPR).

use std::collections::BTreeMap;

use super::read::Table;
use super::values;
use crate::domain::channel::Purpose;

/// Each at least 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Months a consent holds.
    consent: BTreeMap<Purpose, u32>,
    /// Days after which somebody is forgotten of whom nothing was heard, and nothing stands granted.
    pub silent_days: i64,
    /// Days the words of a reply are kept: no longer than the silent, so that what is longer than usual there has its reason here too.
    pub replies_days: i64,
    /// After an erasure, the pseudonymous proof of what the person had said.
    pub proof_days: i64,
    /// Why something is kept longer than usual: 24 months, 12 for profiling, 5 years for proof. Always there where it is.
    pub justification: Option<String>,
}

impl Retention {
    /// Months a consent to this purpose holds.
    pub fn months(&self, purpose: Purpose) -> u32 {
        self.consent.get(&purpose).copied().unwrap_or(1)
    }

    /// How long a consent to marketing holds at most, as people are told.
    pub fn marketing_months(&self) -> u32 {
        self.months(Purpose::ProductInfo).max(self.months(Purpose::Promotions))
    }
}

/// Nothing is kept longer, whatever the reason: ten years is the ordinary time in which a claim may come (Art. 2946 of the Italian civil code).
const LONGEST_MONTHS: u32 = 120;
const LONGEST_DAYS: i64 = 10 * 365;

fn at_most<T: PartialOrd>(text: &str, value: T, longest: &T) -> values::Parsed<T> {
    match value <= *longest {
        true => Ok(value),
        false => {
            Err((format!("{text} is too long: nothing is kept for ever (Art. 5(1)(e) GDPR)"), "write 10 years at most".into()))
        }
    }
}

pub fn retention(table: &Table) -> Retention {
    let months = |text: &str| values::months(text).and_then(|months| at_most(text, months, &LONGEST_MONTHS));
    let days = |text: &str| values::days(text).and_then(|days| at_most(text, days, &LONGEST_DAYS));
    let justification = table.get::<String>("justification").map(|text| text.trim().to_owned());
    let is_justified = justification.as_deref().is_some_and(|text| !text.is_empty());
    // Italy's tradition, 24 months for marketing and 12 for profiling (Garante, 24 February 2005); since the GDPR the controller decides, and
    // says why where it is longer (Garante, decision 181/2020).
    let consents = table.table("consent");
    let mut longer: Vec<(bool, &str, &str)> = Vec::new();
    let consent = Purpose::ALL.map(|purpose| {
        let (usual, text) = if purpose == Purpose::Profiling { (12, "12 months") } else { (24, "24 months") };
        let read = consents.read_or(purpose.code(), text, months)?;
        if read > usual {
            longer.push((true, purpose.code(), text));
        }
        Some((purpose, read))
    });
    let silent_days = table.read_or("silent", "24 months", days);
    if silent_days.is_some_and(|days| days > 730) {
        longer.push((false, "silent", "24 months"));
    }
    // § 7a UWG: five years from the consent and from each use of it; others expect three (CNIL).
    let proof_days = table.read_or("proof", "5 years", days);
    if proof_days.is_some_and(|days| days > 5 * 365) {
        longer.push((false, "proof", "5 years"));
    }
    for (of_consent, key, usual) in longer.into_iter().filter(|_| !is_justified) {
        let what = format!("is longer than the usual {usual}, and nothing says why");
        let remedy =
            "write the reason as retention.justification, for whoever asks you to account for it (Art. 5(2) GDPR), or write less";
        let of = if of_consent { &consents } else { table };
        of.note(key, what, remedy);
    }
    consents.end();
    let replies_days = table.read_or("replies", "90 days", days);
    // What somebody wrote in their own words says more than that they were asked, and goes no later.
    if replies_days.zip(silent_days).is_some_and(|(replies, silent)| replies > silent) {
        table.note("replies", "is longer than retention.silent", "write as much as there or less: the words of a reply go first");
    }
    table.end();
    Retention {
        consent: consent.into_iter().flatten().collect(),
        silent_days: silent_days.unwrap_or(1),
        replies_days: replies_days.unwrap_or(1),
        proof_days: proof_days.unwrap_or(1),
        justification: justification.filter(|text| !text.is_empty()),
    }
}
