//! Quiet hours: from which instant until which one we may write to somebody, by opening-hours strings, time zones and holidays.
//!
//! Holidays are the opening-hours crate's tables, 2000 to 2076. A regional holiday (all of the German states' and the Spanish
//! communities' it knows, Bolzano's, Scotland's) closes the whole country, as no region is known of a number. The tables lack what a
//! town alone keeps: Augsburg's 8 August, the two local days of every Spanish municipality, Italian patron saints; also
//! Alsace-Moselle's two and the overseas days of France, and community days Spain has not yet published (19 March).
//! A country pack closes such days by `[holidays] also`; `tests/packs.rs` holds the table to what the packs say of it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, Datelike, MappedLocalTime, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use opening_hours::localization::Country;
use opening_hours::{Context, OpeningHours, RuleKind};

/// How far ahead an opening is looked for, and the longest time an open window is promised.
const SEARCH: TimeDelta = TimeDelta::days(60);

/// Whether everything is open now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// All open; the first closes at `until`, or nothing does for 60 days.
    Open { until: DateTime<Utc> },
    /// Something is closed; `at` is the next instant at which all are open.
    Opens { at: DateTime<Utc> },
    /// There is no such instant within 60 days.
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    #[error("`{0}` cannot be read as opening hours")]
    Syntax(String),
    #[error("the hours name public holidays (PH), but there is no holiday table for {0}")]
    NoHolidays(String),
    #[error("school holidays (SH) cannot be used: there are no dependable tables of them")]
    SchoolHolidays,
}

/// One parsed opening-hours string with the holidays of its country. Clones share the parsed string.
#[derive(Debug, Clone)]
pub struct Hours {
    osm: Arc<str>,
    country: Option<Arc<str>>,
    rules: OpeningHours,
    /// Local times for which the holidays are known. All times where the string names none.
    known: Range<NaiveDateTime>,
}

impl PartialEq for Hours {
    fn eq(&self, other: &Hours) -> bool {
        (&self.osm, &self.country) == (&other.osm, &other.country)
    }
}

impl Eq for Hours {}

impl std::hash::Hash for Hours {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.osm, &self.country).hash(state);
    }
}

impl Hours {
    /// Parses an OSM opening-hours string; `country` (ISO 3166, `IT`) says whose holidays `PH` means. Years outside the country's
    /// table are closed. Times the string calls `unknown` are closed.
    pub fn parse(osm: &str, country: Option<&str>) -> Result<Hours, HoursError> {
        let rules: OpeningHours = osm.parse().map_err(|_| HoursError::Syntax(osm.to_owned()))?;
        // The normal form is asked, because `ph` parses too.
        let normal = rules.to_string();
        let names = |word: &str| normal.split(|c: char| !c.is_ascii_alphanumeric()).any(|found| found == word);
        if names("SH") {
            return Err(HoursError::SchoolHolidays);
        }
        let mut hours =
            Hours { osm: osm.into(), country: country.map(Arc::from), rules, known: NaiveDateTime::MIN..NaiveDateTime::MAX };
        if names("PH") {
            let unknown = || HoursError::NoHolidays(country.unwrap_or("an unknown country").to_owned());
            let table: Country = country.and_then(|code| code.parse().ok()).ok_or_else(unknown)?;
            let days: Vec<NaiveDate> = table.holidays().get_public().iter().collect();
            let (first, last) = days.first().zip(days.last()).ok_or_else(unknown)?;
            let new_year = |year| NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or_default().and_time(chrono::NaiveTime::MIN);
            hours.known = new_year(first.year())..new_year(last.year() + 1);
            let context = Context::default().with_holidays(table.holidays()).with_holidays_unknown(table.holidays_regional());
            hours.rules = hours.rules.with_context(context);
        }
        Ok(hours)
    }

    /// The first window in `zone` that ends after `now`; it may have begun before.
    ///
    /// A local time that a clock change skips is the first instant after the gap. Of one that comes twice an opening takes the later
    /// and a closing the earlier, so that both readings of the clock must be open.
    fn window(&self, zone: Tz, now: DateTime<Utc>) -> Option<Range<DateTime<Utc>>> {
        let local = now.with_timezone(&zone).naive_local();
        // A day back, to see where a window began whose edge a clock change has moved.
        let from = (local - TimeDelta::days(1)).max(self.known.start);
        let to = (local + SEARCH + TimeDelta::days(2)).min(self.known.end);
        if from >= to {
            return None;
        }
        let mut found: Option<Range<DateTime<Utc>>> = None;
        for span in self.rules.iter_range(from, to).filter(|span| span.kind == RuleKind::Open) {
            let (Some(start), Some(end)) = (latest(zone, span.range.start), earliest(zone, span.range.end)) else { continue };
            match &mut found {
                _ if end <= now || end <= start => {}
                None => found = Some(start..end),
                // The crate cuts a span where its comment changes.
                Some(window) if window.end == start => window.end = end,
                Some(_) => break,
            }
        }
        found
    }
}

fn latest(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&local) {
        MappedLocalTime::None => after_gap(zone, local),
        known => known.latest().map(|at| at.to_utc()),
    }
}

/// The instant of a local time; the first of two, and the first after a gap.
pub fn earliest(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&local) {
        MappedLocalTime::None => after_gap(zone, local),
        known => known.earliest().map(|at| at.to_utc()),
    }
}

/// The first instant whose local time is past a skipped one. Gaps end on a whole minute and are at most a day long.
fn after_gap(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Utc>> {
    let minute = local - TimeDelta::nanoseconds(local.and_utc().timestamp_nanos_opt()?.rem_euclid(60_000_000_000));
    let later = (1..=24 * 60).map(|minutes| zone.from_local_datetime(&(minute + TimeDelta::minutes(minutes))));
    later.filter_map(|mapped| mapped.earliest()).map(|at| at.to_utc()).next()
}

/// Whether all `hours` are open in all `zones` at `now`, until when, or from when. No hours are no limit; no zone is never.
pub fn opening(hours: &[&Hours], zones: &[Tz], now: DateTime<Utc>) -> Opening {
    if zones.is_empty() {
        return Opening::Never;
    }
    let horizon = now + SEARCH;
    let mut at = now;
    while at <= horizon {
        let mut until = horizon.max(at + TimeDelta::minutes(1));
        let mut opens = at;
        for (hours, zone) in hours.iter().flat_map(|hours| zones.iter().map(move |zone| (hours, *zone))) {
            let Some(window) = hours.window(zone, at) else { return Opening::Never };
            opens = opens.max(window.start);
            until = until.min(window.end);
        }
        if opens > at {
            at = opens;
        } else if at == now {
            return Opening::Open { until };
        } else {
            return Opening::Opens { at };
        }
    }
    Opening::Never
}

/// Remembers answers of [`opening`] while they hold, for asking it about a million people: few of them differ in hours and zones.
#[derive(Debug, Default)]
pub struct Calendar {
    answers: HashMap<(Vec<Hours>, Vec<Tz>), Answer>,
}

#[derive(Debug)]
struct Answer {
    since: DateTime<Utc>,
    opening: Opening,
}

impl Calendar {
    /// As [`opening`]. A remembered `until` of something that does not close within 60 days is early by what has passed since, never late.
    pub fn opening(&mut self, hours: &[&Hours], zones: &[Tz], now: DateTime<Utc>) -> Opening {
        let key = (hours.iter().map(|hours| (*hours).clone()).collect(), zones.to_vec());
        if let Some(Answer { since, opening }) = self.answers.get(&key) {
            let holds_until = match opening {
                Opening::Open { until } => *until,
                Opening::Opens { at } => *at,
                Opening::Never => *since + TimeDelta::minutes(1),
            };
            if (*since..holds_until).contains(&now) {
                return *opening;
            }
        }
        let opening = opening(hours, zones, now);
        self.answers.insert(key, Answer { since: now, opening });
        opening
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::Atlantic::Canary;
    use chrono_tz::Europe::{London, Madrid, Rome};
    use proptest::prelude::*;

    use super::*;

    fn at(zone: Tz, local: &str) -> DateTime<Utc> {
        let local = NaiveDateTime::parse_from_str(local, "%Y-%m-%d %H:%M").unwrap();
        zone.from_local_datetime(&local).single().unwrap().to_utc()
    }

    fn utc(text: &str) -> DateTime<Utc> {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap().and_utc()
    }

    fn italy(osm: &str, now: DateTime<Utc>) -> Opening {
        opening(&[&Hours::parse(osm, Some("IT")).unwrap()], &[Rome], now)
    }

    const WEEK: &str = "Mo-Sa 09:00-20:00; PH off";

    #[test]
    fn sundays_and_holidays_are_closed() {
        for (now, opens) in [
            ("2026-12-08 12:00", "2026-12-09 09:00"), // Immaculate Conception, a Tuesday
            ("2027-03-27 20:00", "2027-03-30 09:00"), // Easter Saturday evening: Sunday and Easter Monday follow
            ("2026-11-29 10:00", "2026-11-30 09:00"), // Sunday
            ("2026-12-25 10:00", "2026-12-28 09:00"), // Christmas, St Stephen, Sunday
            ("2027-05-17 10:00", "2027-05-18 09:00"), // Whit Monday of Bolzano closes all of Italy
            ("2028-02-29 23:59", "2028-03-01 09:00"), // leap day
        ] {
            assert_eq!(italy(WEEK, at(Rome, now)), Opening::Opens { at: at(Rome, opens) }, "{now}");
        }
        assert_eq!(italy(WEEK, at(Rome, "2028-02-29 09:00")), Opening::Open { until: at(Rome, "2028-02-29 20:00") });
        assert_eq!(italy("Mo-Su 00:00-23:59", at(Rome, "2026-11-30 23:59")), Opening::Opens { at: at(Rome, "2026-12-01 00:00") });
    }

    #[test]
    fn a_skipped_local_time_is_the_first_instant_after_the_gap() {
        let (before, after) = (utc("2027-03-28 00:30"), utc("2027-03-28 01:00"));
        assert_eq!(italy("02:30-05:00", before), Opening::Opens { at: after });
        assert_eq!(italy("01:00-02:30", before), Opening::Open { until: after });
        assert_eq!(italy("02:10-02:50", before), Opening::Opens { at: utc("2027-03-29 00:10") });
        let half_past = NaiveDateTime::parse_from_str("2027-03-28 02:30:30", "%Y-%m-%d %H:%M:%S").unwrap();
        assert_eq!(earliest(Rome, half_past), Some(after), "to the second");
    }

    #[test]
    fn a_local_time_that_comes_twice_must_be_open_both_times() {
        // 02:00 to 03:00 comes at 00:00 and again at 01:00 UTC.
        assert_eq!(italy("02:30-05:00", utc("2026-10-25 00:45")), Opening::Opens { at: utc("2026-10-25 01:30") });
        assert_eq!(italy("01:00-02:30", utc("2026-10-25 00:00")), Opening::Open { until: utc("2026-10-25 00:30") });
        assert_eq!(italy("01:00-02:30", utc("2026-10-25 01:15")), Opening::Opens { at: utc("2026-10-26 00:00") });
        assert_eq!(italy("02:10-02:50", utc("2026-10-25 00:15")), Opening::Opens { at: utc("2026-10-26 01:10") });
        assert_eq!(italy("00:00-06:00", utc("2026-10-25 00:30")), Opening::Open { until: utc("2026-10-25 05:00") });
    }

    #[test]
    fn a_country_of_two_zones_is_open_while_both_are() {
        let spain = Hours::parse("Mo-Fr 09:00-21:00; PH off", Some("ES")).unwrap();
        let ask = |now| opening(&[&spain], &[Madrid, Canary], now);
        assert_eq!(ask(at(Madrid, "2026-11-24 09:30")), Opening::Opens { at: at(Canary, "2026-11-24 09:00") });
        assert_eq!(ask(at(Madrid, "2026-11-24 10:00")), Opening::Open { until: at(Madrid, "2026-11-24 21:00") });
        let own = Hours::parse("Tu 18:00-24:00", None).unwrap();
        let both = opening(&[&spain, &own], &[Madrid, Canary], at(Madrid, "2026-11-23 12:00"));
        assert_eq!(both, Opening::Opens { at: at(Canary, "2026-11-24 18:00") });
    }

    #[test]
    fn what_never_opens_says_so_and_what_never_closes_is_capped() {
        let now = utc("2026-11-23 12:00");
        assert_eq!(italy("24/7", now), Opening::Open { until: now + SEARCH });
        assert_eq!(italy("off", now), Opening::Never);
        assert_eq!(italy("Mar 01-10 09:00-20:00", now), Opening::Never);
        assert_eq!(italy("Mo-Fr 09:00-18:00 unknown", now), Opening::Never);
        assert_eq!(opening(&[], &[], now), Opening::Never);
        let (days, nights) = (Hours::parse("09:00-20:00", None).unwrap(), Hours::parse("20:00-24:00", None).unwrap());
        assert_eq!(opening(&[&days, &nights], &[London], now), Opening::Never);
        assert_eq!(italy("24/7 \"all of it\"", now), italy("24/7", now));
        assert_eq!(italy("09:00-12:00 \"desk\", 12:00-18:00 \"post\"", now), Opening::Open { until: utc("2026-11-23 17:00") });
        assert_eq!(italy("22:00-02:00", at(Rome, "2026-11-24 01:00")), Opening::Open { until: at(Rome, "2026-11-24 02:00") });
    }

    #[test]
    fn a_year_without_a_holiday_table_is_closed() {
        assert_eq!(italy(WEEK, at(Rome, "2077-01-04 10:00")), Opening::Never);
        assert_eq!(italy("24/7; PH off", at(Rome, "2076-12-30 10:00")), Opening::Open { until: at(Rome, "2077-01-01 00:00") });
        assert!(matches!(italy("Mo-Sa 09:00-20:00", at(Rome, "2077-01-04 10:00")), Opening::Open { .. }));
        assert_eq!(Hours::parse(WEEK, Some("IN")), Err(HoursError::NoHolidays("IN".into())));
        assert!(matches!(Hours::parse(WEEK, None), Err(HoursError::NoHolidays(_))));
        assert_eq!(Hours::parse("Mo-Fr 09:00-18:00; SH off", Some("IT")), Err(HoursError::SchoolHolidays));
        assert!(matches!(Hours::parse("nine to five", None), Err(HoursError::Syntax(_))));
        let hours = |osm: &str, country| Hours::parse(osm, Some(country)).unwrap();
        assert_eq!(hours(WEEK, "IT"), hours(WEEK, "IT"));
        assert_ne!(hours(WEEK, "IT"), hours("09:00-20:00", "IT"));
    }

    #[test]
    fn a_million_people_are_asked_for_in_seconds() {
        let italy = Hours::parse(WEEK, Some("IT")).unwrap();
        let (mut calendar, now) = (Calendar::default(), utc("2026-11-24 12:00"));
        let all = (0..1_000_000).filter(|person| {
            let now = now + TimeDelta::milliseconds(*person);
            calendar.opening(&[&italy], &[Rome], now) == Opening::Open { until: utc("2026-11-24 19:00") }
        });
        assert_eq!(all.count(), 1_000_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_parses_or_fails_without_a_panic(text in "([A-Za-z0-9:;,/ \"+-]|PH|Mo|off|09:00-20:00){0,12}") {
            if let Ok(hours) = Hours::parse(&text, Some("DE")) {
                opening(&[&hours], &[Rome], utc("2026-11-23 12:00"));
            }
        }

        #[test]
        fn the_calendar_answers_as_a_fresh_look_does(start in 0i64..500_000, steps in proptest::collection::vec(1i64..3_000, 1..30)) {
            let (mut calendar, mut now) = (Calendar::default(), utc("2026-10-01 00:00") + TimeDelta::minutes(start));
            let hours = Hours::parse(WEEK, Some("ES")).unwrap();
            for step in steps {
                let expected = opening(&[&hours], &[Madrid, Canary], now);
                prop_assert_eq!(calendar.opening(&[&hours], &[Madrid, Canary], now), expected);
                if let Opening::Opens { at } = expected {
                    let opened = matches!(opening(&[&hours], &[Madrid, Canary], at), Opening::Open { .. });
                    prop_assert!(opened);
                }
                now += TimeDelta::minutes(step);
            }
        }
    }
}
