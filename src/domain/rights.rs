//! What a person may ask for about their data, and until when it has to be done.

use chrono::{Months, NaiveDate};

/// A right under Art. 15 to 21 GDPR, as the record of requests names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Art. 15 and 20: see the data and take them along.
    Access,
    /// Art. 16.
    Rectification,
    /// Art. 17.
    Erasure,
    /// Art. 18.
    Restriction,
    /// The end of a restriction, which the person hears of before (Art. 18(3)).
    Lifting,
    /// Art. 21(2): to direct marketing, absolute.
    Objection,
}

impl Right {
    pub const ALL: [Right; 6] =
        [Right::Access, Right::Rectification, Right::Erasure, Right::Restriction, Right::Lifting, Right::Objection];

    pub fn parse(code: &str) -> Option<Right> {
        Right::ALL.into_iter().find(|right| right.code() == code)
    }

    pub fn code(self) -> &'static str {
        match self {
            Right::Access => "access",
            Right::Rectification => "rectification",
            Right::Erasure => "erasure",
            Right::Restriction => "restriction",
            Right::Lifting => "restriction_lifted",
            Right::Objection => "objection",
        }
    }
}

/// The last day for an answer to a request received that day: one month (Art. 12(3) GDPR), which ends on the day of the same date,
/// or on the month's last where there is none (Regulation 1182/71, Art. 3(2)(c)).
pub fn due(received: NaiveDate) -> NaiveDate {
    received.checked_add_months(Months::new(1)).unwrap_or(received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_ends_on_the_same_date_or_on_the_last_day() {
        let on = |day: &str| due(day.parse().unwrap()).to_string();
        assert_eq!([on("2026-12-01"), on("2027-01-31"), on("2028-01-30")], ["2027-01-01", "2027-02-28", "2028-02-29"]);
    }
}
