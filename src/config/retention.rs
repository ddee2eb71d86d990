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
    /// Days the words of a reply are kept.
    pub replies_days: i64,
    /// After an erasure, the pseudonymous proof of what the person had said.
    pub proof_days: i64,
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

pub fn retention(table: &Table) -> Option<Retention> {
    // Italy's tradition, 24 months for marketing and 12 for profiling (Garante, 24 February 2005); since the GDPR the controller decides.
    let consents = table.table("consent");
    let consent = Purpose::ALL.map(|purpose| {
        let months = if purpose == Purpose::Profiling { "12 months" } else { "24 months" };
        Some((purpose, consents.read_or(purpose.code(), months, values::months)?))
    });
    consents.end();
    let silent_days = table.read_or("silent", "24 months", values::days);
    let replies_days = table.read_or("replies", "90 days", values::days);
    // § 7a UWG: five years from the consent and from each use of it; others expect three (CNIL).
    let proof_days = table.read_or("proof", "5 years", values::days);
    table.end();
    Some(Retention {
        consent: consent.into_iter().collect::<Option<_>>()?,
        silent_days: silent_days?,
        replies_days: replies_days?,
        proof_days: proof_days?,
    })
}
