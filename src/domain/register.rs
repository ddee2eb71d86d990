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

    /// A consent given after the registration survives it, by the person's own later word; a tie is a no.
    pub fn release(&self, screened: Option<&Screened>, consent_at: i64, now: i64) -> Release {
        let listed = screened.and_then(|s| s.listed_since);
        match () {
            _ if listed.is_some_and(|since| consent_at <= since) => Release::Listed,
            _ if !self.is_fresh(screened, now) => Release::Stale,
            _ => Release::Free,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;
    use crate::domain::country::{Confidence, Source};

    #[test]
    fn days_are_days() {
        assert_eq!(DAY, 86_400_000_000);
    }

    #[test]
    fn a_consent_leaves_the_house_where_it_is_later_than_the_registration_and_the_screening_is_fresh() {
        let source = Source { text: "a test".into(), reviewed: NaiveDate::MIN, confidence: Confidence::Primary };
        let register = Register {
            name: Some("RPO".into()),
            applies_to: Vec::new(),
            valid_days: 15,
            cancels_earlier: true,
            spares_asks: false,
            needed_for_asks: false,
            source,
        };
        let screened = |at, listed_since| Screened { register: "rpo".into(), at, listed_since };
        let now = 100 * DAY;
        for (screened, release) in [
            (None, Release::Stale),
            (Some(screened(None, None)), Release::Stale),
            (Some(screened(Some(now - 15 * DAY), None)), Release::Free),
            (Some(screened(Some(now - 15 * DAY - 1), None)), Release::Stale),
            (Some(screened(Some(now), Some(49))), Release::Free),
            (Some(screened(Some(now), Some(50))), Release::Listed),
            // Listed once is listed, however long ago somebody looked.
            (Some(screened(Some(0), Some(51))), Release::Listed),
        ] {
            assert_eq!(register.release(screened.as_ref(), 50, now), release, "{screened:?}");
        }
    }
}
