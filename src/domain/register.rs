//! Opposition registers (RPO, TPS, Lista Robinson): what a screening says about one number, and whether its consents may leave
//! the house. Which country has which register stands in its pack; the register's own data come by `import screening`.

use super::country::Register;

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// One register's answer about one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screened {
    pub register: String,
    /// When the screening was made that covered this person, microseconds UTC; none, if none did.
    pub at: Option<i64>,
    /// Since when the register lists the number, if it does: the end of the day of registration.
    pub listed_since: Option<i64>,
}

/// Whether a consent on a channel of the register may be handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    Free,
    /// Listed, and the consent is not later than the registration.
    Listed,
    /// No screening covers the person, or it is too old.
    Stale,
}

impl Register {
    pub fn is_fresh(&self, screened: Option<&Screened>, now: i64) -> bool {
        screened.and_then(|s| s.at).is_some_and(|at| now <= at + self.valid_days * DAY)
    }

    /// A consent given after the registration survives it, by the person's own later word (L45); a tie is a no.
    pub fn release(&self, screened: Option<&Screened>, consent_at: i64, now: i64) -> Release {
        let listed = screened.and_then(|s| s.listed_since);
        match () {
            _ if listed.is_some_and(|since| consent_at <= since) => Release::Listed,
            _ if !self.is_fresh(screened, now) => Release::Stale,
            _ => Release::Free,
        }
    }
}
