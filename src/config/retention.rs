//! Reads `[retention]`: how long what is kept, since nothing may be kept for ever (Art. 5(1)(e) GDPR).

use super::read::Table;
use super::values;

/// Days, each at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// After an erasure, the pseudonymous proof of what the person had said.
    pub proof_days: i64,
}

pub fn retention(table: &Table) -> Option<Retention> {
    // § 7a UWG: five years from the consent and from each use of it; others expect three (CNIL).
    let proof_days = table.read_or("proof", "5 years", values::days);
    table.end();
    Some(Retention { proof_days: proof_days? })
}
