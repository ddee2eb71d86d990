//! All we know of the company's CRM as a receiver of webhooks: a signed POST, and what its answer means (Standard Webhooks).

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use url::Url;

use super::http::retry_after;
use crate::clock::{Clock, SECOND};
use crate::domain::webhook;

/// Bytes of an answer that `webhooks test` shows.
const SHOWN: usize = 300;

pub struct Receiver {
    url: Url,
    keys: Vec<Vec<u8>>,
    clock: Clock,
    http: reqwest::Client,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receiver")
    }
}

/// What an answer means for the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 2xx.
    Taken,
    /// 410: the receiver wants nothing more, ever.
    Gone,
    /// Everything else, silence too. Holds neither the address nor anything the receiver wrote.
    Failed { error: String, retry_after: Option<Duration> },
}

impl Receiver {
    /// `keys`: the newest first. `timeout` is that of the whole request.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(url: Url, keys: Vec<Vec<u8>>, timeout: Duration, clock: Clock) -> Result<Receiver, reqwest::Error> {
        let http = reqwest::Client::builder()
            // A redirect would carry a number to an address that nobody configured.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_idle_timeout(Duration::from_secs(5))
            .timeout(timeout)
            .no_proxy()
            .build()?;
        Ok(Receiver { url, keys, clock, http })
    }

    /// Tells one event. The body is sent as it is signed, byte for byte.
    pub async fn post(&self, id: &str, body: String) -> Answer {
        match self.request(id, body).await {
            Ok(answer) => read_answer(answer.status(), answer.headers(), &self.clock),
            Err(error) => Answer::Failed { error, retry_after: None },
        }
    }

    /// Tells a test event; answers what came back, for whoever sets the receiver up.
    ///
    /// # Errors
    /// No answer came; the text says how.
    pub async fn probe(&self, id: &str, body: String) -> Result<(u16, String), String> {
        let mut answer = self.request(id, body).await?;
        let mut shown = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            shown.extend_from_slice(&chunk);
            if shown.len() >= SHOWN {
                break;
            }
        }
        shown.truncate(SHOWN);
        Ok((answer.status().as_u16(), String::from_utf8_lossy(&shown).into_owned()))
    }

    async fn request(&self, id: &str, body: String) -> Result<reqwest::Response, String> {
        let at = self.clock.now() / SECOND;
        let signature = webhook::signature(&self.keys, id, at, body.as_bytes());
        let request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("permesso/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", at)
            .header("webhook-signature", signature)
            .body(body);
        request.send().await.map_err(|error| match error {
            // reqwest's own words name the address, which may hold a secret.
            e if e.is_connect() => "no connection".to_owned(),
            e if e.is_timeout() => "no answer in time".to_owned(),
            _ => "the connection broke before the answer".to_owned(),
        })
    }
}

fn read_answer(status: StatusCode, headers: &HeaderMap, clock: &Clock) -> Answer {
    match status.as_u16() {
        200..=299 => Answer::Taken,
        410 => Answer::Gone,
        code => {
            let retry_after = headers.get(RETRY_AFTER).and_then(|v| retry_after(v.to_str().ok()?, clock.now()));
            Answer::Failed { error: format!("HTTP {code}"), retry_after }
        }
    }
}
