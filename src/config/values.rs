//! How single values are written: numbers, addresses, durations, rates, times. Each answers what is wrong and the remedy.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;
use url::Url;

use crate::domain::language;
use crate::domain::money::Money;
use crate::domain::phone::{Fiction, PhoneError, PhoneNumber};
use crate::domain::span;

pub type Parsed<T> = Result<T, (String, String)>;

/// How opening hours are written.
pub const HOURS: &str =
    "days and hours as in \"Mo-Fr 09:00-18:00; Sa 10:00-13:00; PH off\" (Mo Tu We Th Fr Sa Su; PH: public holidays)";

fn wrong<T>(what: impl Into<String>, remedy: impl Into<String>) -> Parsed<T> {
    Err((what.into(), remedy.into()))
}

/// A path relative to the configuration folder. `../x` is what stands beside it, shown without the way in and out again.
pub fn path(dir: &Path, path: &str) -> PathBuf {
    match Path::new(path).strip_prefix("..") {
        // `.` and `..` themselves have no name to step out of.
        Ok(beside) if dir.file_name().is_some() && beside.file_name().is_some() => dir.with_file_name(beside),
        _ => dir.join(path),
    }
}

/// A name that stands in keys, paths and URLs: 1 to 64 of `a-z`, `0-9`, `-` and `_`.
pub fn name(text: &str) -> Parsed<String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    match (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => wrong(format!("`{text}` cannot be a name"), "write 1 to 64 of a-z, 0-9, - and _"),
    }
}

/// Whether people can use this to reach somebody: an e-mail address or a web address, which pages make a link of.
pub fn contact(text: &str) -> Parsed<()> {
    let mail = text.split_once('@').is_some_and(|(local, domain)| {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>\"(),:;\\".contains(c);
        !local.is_empty()
            && local.chars().all(plain)
            && domain.contains('.')
            && !domain.starts_with('.')
            && !domain.ends_with('.')
            && matches!(url::Host::parse(domain), Ok(url::Host::Domain(_)))
    });
    match mail || web_address(text, true).is_ok() {
        true => Ok(()),
        false => wrong(
            format!("`{text}` is neither an e-mail address nor a web address, so nobody can follow it"),
            "write where people reach whoever answers for their data, as in \"privacy@acme.example\" or \"https://acme.example/privacy\"",
        ),
    }
}

/// Whether this may be the version of a notice: it stands in every proof of consent and on pages.
pub fn version(text: &str) -> Parsed<()> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    match (1..=40).contains(&text.len()) && text.bytes().all(fits) {
        true => Ok(()),
        false => wrong(format!("`{text}` is no version"), "write 1 to 40 letters, digits, dots, - and _, as in \"2026-11\""),
    }
}

/// A host's name alone, as a browser sends it: `desk.acme.it`.
pub fn host(text: &str) -> Parsed<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    match (1..=253).contains(&text.len()) && text.bytes().all(fits) {
        true => Ok(text.to_ascii_lowercase()),
        false => wrong(format!("`{text}` is no host name"), "write the name alone, as in \"desk.example.com\""),
    }
}

/// The tag of a language, as texts are named by it.
pub fn locale(text: &str) -> Parsed<String> {
    match language::of(text) {
        Some(_) => Ok(text.to_owned()),
        None => wrong(format!("`{text}` names no language"), "write its two letters, as in \"it\" or \"it-CH\""),
    }
}

/// An E.164 number, as it goes over the wire. The error does not repeat it: it may be somebody's.
pub fn number(text: &str, fiction: Fiction) -> Parsed<String> {
    match PhoneNumber::parse(text, None, fiction) {
        Ok(number) => Ok(number.e164().to_owned()),
        Err(error @ PhoneError::Fiction) => {
            wrong(error.to_string(), "write a real number: a colleague's to test with, the account's own to send from")
        }
        Err(error) => wrong(error.to_string(), "write it with its country code, as in \"+393001234567\""),
    }
}

/// A sender shown by name: 3 to 11 ASCII letters and digits, a letter first (the form that every country of a shipped pack takes).
pub fn alphanumeric(text: &str) -> Parsed<String> {
    let fits = (3..=11).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric());
    match fits {
        true => Ok(text.to_owned()),
        false => wrong(format!("`{text}` cannot be a sender name"), "write 3 to 11 ASCII letters and digits, a letter first"),
    }
}

/// `https://…`; plain `http://` where `plain` says so.
pub fn web_address(text: &str, plain: bool) -> Parsed<Url> {
    let form = if plain {
        "https://… or http://…"
    } else {
        "https://… (http:// serves only an installation with the mock gateway)"
    };
    let fits = |url: &Url| url.scheme() == "https" || (plain && url.scheme() == "http");
    match Url::parse(text) {
        Ok(url) if fits(&url) && url.has_host() && url.query().is_none() && url.fragment().is_none() => Ok(url),
        _ => wrong(format!("`{text}` is no usable web address"), format!("write {form}, without ? and #")),
    }
}

pub fn listen(text: &str) -> Parsed<SocketAddr> {
    text.parse().or_else(|_| {
        wrong(format!("`{text}` is no address to listen on"), "write an IP address and a port, as in \"127.0.0.1:8080\"")
    })
}

/// An address or a network, `10.0.0.0/8`.
pub fn network(text: &str) -> Parsed<String> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let most = address.parse::<IpAddr>().map(|ip| if ip.is_ipv4() { 32 } else { 128 });
    match most.is_ok_and(|most| bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))) {
        true => Ok(text.to_owned()),
        false => wrong(format!("`{text}` is no address or network"), "write \"10.0.0.1\" or \"10.0.0.0/8\""),
    }
}

/// `sqlite:` with a path, relative to `data` beside the configuration folder; or `postgres://…`, which may hold a password.
pub fn database(text: &str, dir: &Path) -> Parsed<String> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return Ok(text.to_owned());
    }
    let path = text
        .strip_prefix("sqlite:")
        .map(|path| path.trim_start_matches("//"))
        .filter(|path| !path.is_empty() && !path.starts_with(':'));
    let Some(path) = path else {
        return wrong(
            "the database is neither SQLite nor Postgres",
            "write \"sqlite:permesso.db\" or \"postgres://user@host/name\"",
        );
    };
    match std::path::absolute(dir) {
        Ok(dir) => Ok(format!("sqlite:{}", dir.parent().unwrap_or(&dir).join("data").join(path).display())),
        Err(error) => wrong(format!("the working directory is unknown: {error}"), "write an absolute path"),
    }
}

/// `#rrggbb` on which white text can be read: contrast at least 4.5:1 (WCAG 2.2, SC 1.4.3).
pub fn brand_color(text: &str) -> Parsed<String> {
    let hex = text.strip_prefix('#').filter(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    let Some(rgb) = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()) else {
        return wrong(format!("`{text}` is no color"), "write it as #rrggbb");
    };
    let light = |shift: u32| {
        let c = f64::from((rgb >> shift) & 0xff) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    let contrast = 1.05 / (0.2126 * light(16) + 0.7152 * light(8) + 0.0722 * light(0) + 0.05);
    match contrast >= 4.5 {
        true => Ok(text.to_lowercase()),
        false => wrong(format!("white text on {text} has a contrast of {contrast:.1}:1"), "write a darker color: at least 4.5:1"),
    }
}

/// Days in `12 months`: 365 a year, a month its twelfth, rounded up.
pub fn days(text: &str) -> Parsed<i64> {
    let parts = text
        .split_once(' ')
        .and_then(|(count, unit)| Some((count.parse::<i64>().ok().filter(|n| (1..=10_000).contains(n))?, unit.trim())));
    match parts {
        Some((n, "day" | "days")) => Ok(n),
        Some((n, "week" | "weeks")) => Ok(n * 7),
        Some((n, "month" | "months")) => Ok(span::days_of_months(n)),
        Some((n, "year" | "years")) => Ok(n * 365),
        _ => wrong(format!("`{text}` is no duration"), "write a number and days, weeks, months or years, as in \"12 months\""),
    }
}

/// A share in `5 %`: above 0, at most 1.
pub fn share(text: &str) -> Parsed<f64> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match percent.filter(|p| *p > 0.0 && *p <= 100.0) {
        Some(percent) => Ok(percent / 100.0),
        None => wrong(format!("`{text}` is no share"), "write a percentage above 0 and at most 100, as in \"5 %\""),
    }
}

/// A time of day in `daily 08:00`.
pub fn daily(text: &str) -> Parsed<NaiveTime> {
    let time = text.strip_prefix("daily ").and_then(|time| NaiveTime::parse_from_str(time.trim(), "%H:%M").ok());
    match time {
        Some(time) => Ok(time),
        None => wrong(format!("`{text}` is no repetition"), "write \"daily\" and a local time, as in \"daily 08:00\""),
    }
}

/// Whole calendar months in `24 months` or `2 years`.
pub fn months(text: &str) -> Parsed<u32> {
    let parts = text.split_once(' ').and_then(|(count, unit)| Some((count.parse::<u32>().ok()?, unit.trim())));
    match parts {
        Some((n @ 1..=1200, "month" | "months")) => Ok(n),
        Some((n @ 1..=100, "year" | "years")) => Ok(n * 12),
        _ => wrong(format!("`{text}` is no number of months"), "write months or years, as in \"24 months\""),
    }
}

/// A day, `2026-05-01`.
pub fn day(text: &str) -> Parsed<NaiveDate> {
    text.parse().or_else(|_| wrong(format!("`{text}` is no day"), "write it as in \"2026-05-01\""))
}

/// Messages a second in `50/s` or `600/min`.
pub fn rate(text: &str) -> Parsed<f64> {
    let read = |count: &str, seconds: f64| count.trim().parse::<f64>().ok().map(|n| n / seconds);
    let rate = match text.split_once('/') {
        Some((count, "s")) => read(count, 1.0),
        Some((count, "min")) => read(count, 60.0),
        _ => None,
    };
    match rate.filter(|rate| (0.001..=100_000.0).contains(rate)) {
        Some(rate) => Ok(rate),
        None => wrong(format!("`{text}` is no rate"), "write messages a second or a minute, as in \"50/s\" or \"600/min\""),
    }
}

/// An amount and its currency in `0.0520 EUR`.
pub fn money(text: &str) -> Parsed<Money> {
    match Money::parse(text) {
        Some(money) => Ok(money),
        None => wrong(
            format!("`{text}` is no amount of money"),
            "write it with a point, at most six decimals, and its currency, as in \"0.0520 EUR\"",
        ),
    }
}

/// An instant from a local time, `2026-12-01T09:30`: `earliest` and `latest` differ only in the hour a clock change repeats.
pub fn instant(text: &str, zone: Tz) -> Parsed<(DateTime<Utc>, DateTime<Utc>)> {
    let read = |form: &str| NaiveDateTime::parse_from_str(text, form);
    let Ok(local) = read("%Y-%m-%dT%H:%M").or_else(|_| read("%Y-%m-%dT%H:%M:%S")) else {
        return wrong(format!("`{text}` is no date and time"), "write a local time in quotes, as in \"2026-12-01T09:30\"");
    };
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) => Ok((at.to_utc(), at.to_utc())),
        LocalResult::Ambiguous(first, second) => Ok((first.to_utc(), second.to_utc())),
        LocalResult::None => {
            wrong(format!("{text} does not exist in {zone}: the clocks are put forward over it"), "write a time an hour later")
        }
    }
}
