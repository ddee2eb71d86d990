//! A day as CRMs and spreadsheets write it, with or without a time behind it: the day counts.

use chrono::{NaiveDate, NaiveTime};

/// Why a text is no day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DayError {
    /// Nobody can be sure which century `25` is of, or which of three such figures is the year.
    #[error("write the year in four digits, as in 31/03/2026")]
    ShortYear,
    #[error("is not a date such as 2026-03-31 or 31/03/2026")]
    Unreadable,
}

/// Reads `2026-03-31`, `2026/03/31`, `31/03/2026`, `31.03.2026` or `31-03-2026`; a time may follow, as in `2026-03-31T10:30:00Z`.
///
/// # Errors
/// It is no day, or one whose year has two digits.
pub fn read(text: &str) -> Result<NaiveDate, DayError> {
    let Some(colon) = text.find(':') else { return day(text) };
    let between = |c: char| c.is_whitespace() || matches!(c, 'T' | 't');
    let at = text[..colon].rfind(between).ok_or(DayError::Unreadable)?;
    if !is_time(text[at..].trim_start_matches(between)) {
        return Err(DayError::Unreadable);
    }
    day(&text[..at])
}

fn day(text: &str) -> Result<NaiveDate, DayError> {
    let mark = text.chars().find(|c| matches!(c, '-' | '/' | '.')).ok_or(DayError::Unreadable)?;
    // `31. 3. 2026` is common where dates have dots.
    let parts: Vec<&str> = text.split(mark).map(str::trim).collect();
    let figures = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then_some(part.len());
    let [one, two, three] = parts[..] else { return Err(DayError::Unreadable) };
    let (year, month, day) = match [figures(one), figures(two), figures(three)] {
        [Some(4), Some(1 | 2), Some(1 | 2)] => (one, two, three),
        [Some(1 | 2), Some(1 | 2), Some(4)] => (three, two, one),
        [Some(1 | 2), Some(1 | 2), Some(1 | 2)] => return Err(DayError::ShortYear),
        _ => return Err(DayError::Unreadable),
    };
    let number = |part: &str| part.parse().unwrap_or_default();
    NaiveDate::from_ymd_opt(year.parse().unwrap_or_default(), number(month), number(day)).ok_or(DayError::Unreadable)
}

/// `10:30`, `10:30:00.000`, `10:30 PM`, and behind that a zone: `Z`, `+02:00`.
fn is_time(text: &str) -> bool {
    let zone = text.rfind(['+', '-']).unwrap_or(text.len());
    let is_zone = |zone: &str| matches!(zone.len(), 2..=5) && zone.bytes().all(|b| b.is_ascii_digit() || b == b':');
    if text.get(zone + 1..).is_some_and(|zone| !is_zone(zone)) {
        return false;
    }
    let time = text[..zone].trim_end_matches(['Z', 'z']).trim_end();
    ["%H:%M", "%H:%M:%S%.f", "%I:%M %p", "%I:%M:%S %p"].iter().any(|form| NaiveTime::parse_from_str(time, form).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_day_is_read_in_every_common_form_and_a_short_year_is_asked_back() {
        let june = NaiveDate::from_ymd_opt(2025, 6, 1).unwrap();
        for text in [
            "2025-06-01",
            "2025/06/01",
            "01/06/2025",
            "1.6.2025",
            "1. 6. 2025",
            "01-06-2025",
            "2025-06-01 00:00:00",
            "2025-06-01T10:30:00Z",
            "2025-06-01T23:59:59.999999+02:00",
            "01/06/2025 10:30",
            "01/06/2025 10:30:00 PM",
        ] {
            assert_eq!(read(text), Ok(june), "{text}");
        }
        for text in ["17/05/25", "1.6.25", "25-06-01", "17/05/25 10:30"] {
            assert_eq!(read(text), Err(DayError::ShortYear), "{text}");
        }
        for text in [
            "",
            "0",
            "45809",
            "31/02/2025",
            "2025-13-01",
            "2025-06-01 25:00",
            "2025-06-01 later",
            "10:30",
            "1/6/2025/7",
            "+1/6/2025",
            "2025-06",
        ] {
            assert_eq!(read(text), Err(DayError::Unreadable), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn whatever_time_follows_the_day_counts(days in 726_000i32..767_000, second in 0u32..86_400, form in 0usize..6, time in 0usize..6) {
            let day = NaiveDate::from_num_days_from_ce_opt(days).unwrap();
            let clock = NaiveTime::from_num_seconds_from_midnight_opt(second, 0).unwrap();
            let form = ["%Y-%m-%d", "%Y/%m/%d", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%-d.%-m.%Y"][form];
            let time = ["", " %H:%M", " %H:%M:%S", "T%H:%M:%SZ", "T%H:%M:%S%.3f+01:00", " %I:%M %p"][time];
            let text = day.and_time(clock).format(&format!("{form}{time}")).to_string();
            prop_assert_eq!(read(&text), Ok(day), "{}", text);
        }

        #[test]
        fn no_text_makes_it_fail(text in "(\\PC|[0-9]{1,4}|[-/.:T Z+]){0,12}") {
            _ = read(&text);
        }
    }
}
