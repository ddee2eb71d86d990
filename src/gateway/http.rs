//! Requests to providers: one pool of connections for all accounts, no redirect followed, nothing repeated, and what a failure proves.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::{Refusal, Sent};

/// Largest answer read, bytes.
const LARGEST: usize = 1 << 20;
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
    /// `Retry-After` in seconds, where there is one.
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

/// Sends a request. Where there is no answer, what that proves about a message in it: before a connection stood, nothing was written.
///
/// # Errors
/// No whole answer came.
pub async fn ask(request: reqwest::RequestBuilder, timeout: Duration) -> Result<Answer, Sent> {
    let broken = || Sent::Unknown { error: "the connection broke before the answer".into() };
    let mut answer = request.timeout(timeout.min(Duration::from_secs(5))).send().await.map_err(|e| match e {
        e if e.is_connect() => Sent::NotAccepted { why: Refusal::NotReached, error: unreached(&e).into() },
        e if e.is_builder() => Sent::NotAccepted { why: Refusal::Account, error: "the request cannot be built".into() },
        e if e.is_timeout() => Sent::Unknown { error: "no answer in time".into() },
        _ => broken(),
    })?;
    let seconds = answer.headers().get("retry-after").and_then(|v| v.to_str().ok()?.trim().parse().ok());
    let (status, retry_after) = (answer.status().as_u16(), seconds.map(Duration::from_secs));
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| broken())? {
        if body.len() + chunk.len() > LARGEST {
            return Err(Sent::Unknown { error: format!("HTTP {status} with an endless body") });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, retry_after, body })
}
