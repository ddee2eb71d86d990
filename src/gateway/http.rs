//! Requests to providers: one pool of connections for all accounts, no redirect followed, nothing repeated, and what a failure proves.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::{Refusal, Sent};
use crate::clock::SECOND;

/// Largest answer read, bytes.
const LARGEST: usize = 1 << 20;
/// Nobody waits longer than this because an answer says so.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(3);

/// The one pool. Idle connections are dropped after 5 s: a provider that closes them at that moment would make a send's outcome unknown.
///
/// # Errors
/// The client cannot be built.
pub fn pool() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_idle_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(5))
        // Below the time-out of a request: to whom no connection stands nothing was written, and that is no unknown outcome.
        .connect_timeout(CONNECT)
        .no_proxy()
        .user_agent(concat!("permesso/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// A provider's answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// `Retry-After`, where there is one.
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// An answer that is in nobody's table: it proves nothing.
    pub fn unknown(&self) -> Sent {
        Sent::Unknown { error: format!("HTTP {}", self.status) }
    }
}

/// Of an address what an operator may read: host and port. Path and query may hold a secret.
pub fn host(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// How long an answer wants us to wait: seconds, or until a date (RFC 9110, 10.2.3). `now`: microseconds UTC.
pub fn retry_after(text: &str, now: i64) -> Option<Duration> {
    let seconds = text.trim().parse::<u64>().ok().or_else(|| {
        let at = chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?;
        u64::try_from(at.timestamp() - now / SECOND).ok()
    })?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

/// Why no connection came about, in words without address or secret.
pub fn unreached(error: &(dyn Error + 'static)) -> &'static str {
    let mut next = Some(error);
    while let Some(error) = next {
        next = error.source();
        if error.is::<rustls::Error>() {
            return "its certificate is not trusted, or it speaks no TLS";
        }
        let text = error.to_string();
        if text.starts_with("dns error") || text.starts_with("failed to lookup address") {
            return "its host name cannot be resolved";
        }
        let Some(error) = error.downcast_ref::<io::Error>() else { continue };
        // Its `source` would pass over what it wraps.
        next = error.get_ref().map(|inner| inner as &(dyn Error + 'static)).or(next);
        match error.kind() {
            io::ErrorKind::ConnectionRefused => return "connection refused",
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => return "no route to its host",
            io::ErrorKind::TimedOut => return "no connection in time",
            io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => return "it closes the connection at once",
            _ => {}
        }
    }
    "no connection"
}

/// What to do about an account of which a try said this: where nobody was reached its keys are not in doubt.
pub fn remedy(error: &str) -> &'static str {
    const NOBODY: [&str; 8] = [
        "its host name cannot be resolved",
        "connection refused",
        "no route to its host",
        "no connection in time",
        "it closes the connection at once",
        "no connection",
        "no answer in time",
        "the connection broke before the answer",
    ];
    match error {
        _ if NOBODY.iter().any(|words| error.ends_with(words)) => {
            "look whether this machine reaches that host (network, DNS, firewall), then at the account's address in permesso.toml; \
             nothing is said of its keys"
        }
        _ if error.ends_with("it speaks no TLS") => {
            "look at the account's address in permesso.toml, and at this machine's clock and certificates"
        }
        _ => "look at the account's keys in permesso.toml",
    }
}

/// The same, and which host it is about.
fn unreached_at(error: &reqwest::Error) -> String {
    error.url().map_or_else(|| unreached(error).to_owned(), |url| format!("{}: {}", host(url), unreached(error)))
}

/// Sends a request. Where there is no answer, what that proves about a message in it: before a connection stood, nothing was written.
///
/// # Errors
/// No whole answer came.
pub async fn ask(request: reqwest::RequestBuilder, timeout: Duration) -> Result<Answer, Sent> {
    let broken = || Sent::Unknown { error: "the connection broke before the answer".into() };
    let mut answer = request.timeout(timeout.min(Duration::from_secs(5))).send().await.map_err(|e| match e {
        e if e.is_connect() => Sent::NotAccepted { why: Refusal::NotReached, error: unreached_at(&e) },
        e if e.is_builder() => Sent::NotAccepted { why: Refusal::Account, error: "the request cannot be built".into() },
        e if e.is_timeout() => Sent::Unknown { error: "no answer in time".into() },
        _ => broken(),
    })?;
    let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok());
    // A date is one of the provider's clock, which its own answer tells.
    let theirs = header("date").and_then(|date| chrono::DateTime::parse_from_rfc2822(date.trim()).ok());
    let now = theirs.map_or_else(chrono::Utc::now, |date| date.to_utc()).timestamp_micros();
    let (status, retry_after) = (answer.status().as_u16(), header("retry-after").and_then(|text| retry_after(text, now)));
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| broken())? {
        if body.len() + chunk.len() > LARGEST {
            return Err(Sent::Unknown { error: format!("HTTP {status} with an endless body") });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, retry_after, body })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_a_day_at_most() {
        let now = chrono::DateTime::parse_from_rfc3339("2026-12-01T09:45:00Z").unwrap().timestamp_micros();
        let s = |text| retry_after(text, now).map(|d| d.as_secs());
        assert_eq!(s("120"), Some(120));
        assert_eq!(s("Tue, 01 Dec 2026 09:46:30 GMT"), Some(90));
        assert_eq!(s("Tue, 01 Dec 2026 09:40:00 GMT"), None);
        assert_eq!(s("99999999999"), Some(24 * 3600));
        assert_eq!((s("-1"), s("soon"), s("")), (None, None, None));
    }

    #[tokio::test]
    async fn who_is_not_reached_is_named_and_its_keys_are_not_in_doubt() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let _ = rustls::crypto::ring::default_provider().install_default();
        for (url, says) in [
            ("http://nobody.invalid/", "nobody.invalid: its host name cannot be resolved"),
            ("http://127.0.0.1:9/", "127.0.0.1:9: connection refused"),
        ] {
            let error = ask(pool().unwrap().get(url), CONNECT).await.unwrap_err().into_error();
            assert!(error == says && remedy(&error).contains("network, DNS, firewall"), "{error}; {}", remedy(&error));
        }
        assert!(remedy("api_key and api_secret do not fit").contains("keys"));
    }

    proptest! {
        #[test]
        fn no_header_breaks_the_reading(text in ".{0,60}", now in any::<i64>()) {
            prop_assert!(retry_after(&text, now).is_none_or(|w| w <= LONGEST_RETRY_AFTER));
        }
    }
}
