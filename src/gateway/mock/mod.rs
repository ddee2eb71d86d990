//! The driver for the mock gateway: all Permesso knows of it as a customer. The server beside it is what ships for tests
//! and the demo; `protocol` is the page both read.

pub mod book;
pub mod courier;
pub mod faults;
pub mod http;
pub mod phones;
pub mod protocol;
pub mod server;

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::StatusCode;

use super::{Event, Gateway, LookedUp, Outgoing, Refusal, Sent, WebhookError};
use crate::clock::{Clock, SECOND};
use crate::domain::channel::Channel;
use crate::domain::eligibility::Cleared;
use crate::domain::ledger;
use crate::domain::message::Receipt;
use crate::domain::phone::{Fiction, PhoneNumber};

/// Seconds a callback's signature stays good; repeats within it are caught by their event id.
const SIGNATURE_WINDOW_S: i64 = 300;

pub struct Mock {
    name: String,
    url: String,
    token: String,
    webhook_secret: String,
    dedupes: bool,
    clock: Clock,
    http: reqwest::Client,
}

impl std::fmt::Debug for Mock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mock({})", self.name)
    }
}

#[derive(Debug)]
pub struct Account<'a> {
    pub name: &'a str,
    pub url: &'a str,
    pub token: &'a str,
    pub webhook_secret: &'a str,
    pub dedupes: bool,
    /// Whole request, connection included. At most five seconds, so that nothing arrives ten seconds after its claim.
    pub timeout: Duration,
}

impl Mock {
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(account: &Account<'_>, clock: Clock) -> Result<Mock, reqwest::Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_idle_timeout(Duration::from_secs(5))
            .timeout(account.timeout.min(Duration::from_secs(5)))
            .no_proxy()
            .build()?;
        Ok(Mock {
            name: account.name.to_owned(),
            url: account.url.trim_end_matches('/').to_owned(),
            token: account.token.to_owned(),
            webhook_secret: account.webhook_secret.to_owned(),
            dedupes: account.dedupes,
            clock,
            http,
        })
    }

    async fn post(&self, message: &Outgoing) -> Sent {
        let request = protocol::SendRequest {
            reference: message.reference.clone(),
            from: message.from.clone(),
            to: message.to.e164().to_owned(),
            channel: match message.channel {
                Channel::WhatsApp => protocol::Channel::Whatsapp,
                Channel::Sms | Channel::Call => protocol::Channel::Sms,
            },
            text: message.text.clone(),
            buttons: message.buttons.iter().map(|b| protocol::Button { id: b.id.clone(), title: b.title.clone() }).collect(),
            validity_seconds: u64::try_from(message.validity_s).ok(),
        };
        let answer = self.http.post(format!("{}/v1/messages", self.url)).bearer_auth(&self.token).json(&request).send().await;
        let answer = match answer {
            Ok(answer) => answer,
            // Nothing was written before a connection stood.
            Err(e) if e.is_connect() => {
                return Sent::NotAccepted { why: Refusal::NotReached, error: "no connection to the gateway".into() };
            }
            Err(e) if e.is_timeout() => return Sent::Unknown { error: "no answer in time".into() },
            Err(_) => return Sent::Unknown { error: "the connection broke before the answer".into() },
        };
        let status = answer.status();
        let retry_after = answer
            .headers()
            .get("retry-after")
            .and_then(|v| v.to_str().ok()?.parse().ok())
            .map_or(Duration::from_secs(1), Duration::from_secs);
        let body = answer.bytes().await.unwrap_or_default();
        read_answer(status, retry_after, &body)
    }
}

/// What an answer proves. Only what the protocol's table names counts as not accepted.
fn read_answer(status: StatusCode, retry_after: Duration, body: &[u8]) -> Sent {
    if status == StatusCode::ACCEPTED {
        return match serde_json::from_slice::<protocol::SendAnswer>(body) {
            Ok(answer) => Sent::Accepted { provider_id: Some(answer.id) },
            Err(_) => Sent::Unknown { error: "accepted, but the answer cannot be read".into() },
        };
    }
    let Ok(body) = serde_json::from_slice::<protocol::ErrorBody>(body) else {
        return Sent::Unknown { error: format!("HTTP {} with a body that cannot be read", status.as_u16()) };
    };
    let code = body.error.code.as_str();
    let no = |why| Sent::NotAccepted { why, error: format!("HTTP {} {code}", status.as_u16()) };
    match (status.as_u16(), code) {
        (409, "duplicate_reference") => Sent::Accepted { provider_id: body.id },
        (422, "not_on_channel") => no(Refusal::NotOnChannel),
        (400, "bad_request") | (422, "recipient_refused") => no(Refusal::Recipient),
        (401, "unauthorized") | (402, "no_credit") | (403, "sender_refused") => no(Refusal::Account),
        (429, "throttled") => no(Refusal::Throttled { retry_after }),
        _ => Sent::Unknown { error: format!("HTTP {}", status.as_u16()) },
    }
}

impl Gateway for Mock {
    fn name(&self) -> &str {
        &self.name
    }

    fn dedupes(&self) -> bool {
        self.dedupes
    }

    fn send<'a>(&'a self, cleared: Cleared, message: &'a Outgoing) -> BoxFuture<'a, Sent> {
        async move {
            if self.clock.now() > cleared.send_before() {
                return Sent::NotAccepted { why: Refusal::TooLate, error: "cleared too long ago".into() };
            }
            self.post(message).await
        }
        .boxed()
    }

    fn read_webhook(&self, header: &dyn Fn(&str) -> Option<String>, body: &[u8], now: i64) -> Result<Vec<Event>, WebhookError> {
        let signature = header(&protocol::SIGNATURE_HEADER.to_ascii_lowercase()).ok_or(WebhookError::Unsigned)?;
        protocol::verify(&self.webhook_secret, &signature, body, now / SECOND, SIGNATURE_WINDOW_S).map_err(|e| match e {
            protocol::SignatureError::Stale => WebhookError::Stale,
            protocol::SignatureError::Malformed | protocol::SignatureError::Mismatch => WebhookError::Forged,
        })?;
        let batch: Batch = serde_json::from_slice(body)
            // serde's message quotes the body; only the position may leave.
            .map_err(|e| WebhookError::Body(format!("line {}, column {}", e.line(), e.column())))?;
        Ok(batch.events.into_iter().map(event).collect())
    }

    fn list_inbound<'a>(&'a self, from: i64, to: i64) -> BoxFuture<'a, Option<Result<Vec<Event>, String>>> {
        async move {
            let listed = async {
                let answer = self
                    .http
                    .get(format!("{}/v1/inbound?since={from}&until={to}", self.url))
                    .bearer_auth(&self.token)
                    .send()
                    .await?
                    .error_for_status()?;
                answer.json::<Batch>().await
            };
            Some(match listed.await {
                Ok(list) => Ok(list.events.into_iter().map(event).collect()),
                Err(e) => Err(format!("the gateway's list of inbound messages cannot be read: {}", e.without_url())),
            })
        }
        .boxed()
    }

    fn look_up<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Option<Result<LookedUp, String>>> {
        async move {
            let asked = async {
                let request = self.http.get(format!("{}/v1/messages?reference={reference}", self.url));
                let answer = request.bearer_auth(&self.token).send().await?;
                if answer.status() == StatusCode::NOT_FOUND {
                    return Ok(LookedUp::Never);
                }
                let found: protocol::LookUp = answer.error_for_status()?.json().await?;
                Ok(match found.status {
                    protocol::Status::Accepted => LookedUp::Accepted,
                    status => LookedUp::Is(receipt_of(status)),
                })
            };
            let answer: Result<LookedUp, reqwest::Error> = asked.await;
            Some(answer.map_err(|e| format!("the gateway cannot be asked: {}", e.without_url())))
        }
        .boxed()
    }
}

fn receipt_of(status: protocol::Status) -> Receipt {
    match status {
        protocol::Status::Accepted | protocol::Status::Sent => Receipt::Sent,
        protocol::Status::Delivered => Receipt::Delivered,
        protocol::Status::Undelivered => Receipt::Undelivered,
        protocol::Status::Failed => Receipt::Failed,
        protocol::Status::Expired => Receipt::Expired,
        protocol::Status::Read => Receipt::Read,
    }
}

/// The events of a callback or a listing, each to be read by itself.
#[derive(serde::Deserialize)]
struct Batch {
    events: Vec<serde_json::Value>,
}

fn event(value: serde_json::Value) -> Event {
    let body = value.to_string();
    let id = value.get("event_id").and_then(|id| id.as_str()).map_or_else(|| ledger::body_hash(&body), str::to_owned);
    let Ok(event) = serde_json::from_value::<protocol::Event>(value) else { return Event::Unreadable { event_id: id, body } };
    match event {
        protocol::Event::Receipt(r) => Event::Receipt {
            event_id: r.event_id,
            provider_id: r.id,
            reference: Some(r.reference),
            status: receipt_of(r.status),
            not_on_channel: r.error.as_ref().is_some_and(|e| e.code == "not_on_channel"),
            error: r.error.map(|e| e.code),
            at: r.at,
        },
        protocol::Event::Inbound(i) => match PhoneNumber::parse(&i.from, None, Fiction::Allowed) {
            Ok(from) => Event::Inbound {
                event_id: i.event_id,
                from,
                to: i.to,
                channel: match i.channel {
                    protocol::Channel::Sms => Channel::Sms,
                    protocol::Channel::Whatsapp => Channel::WhatsApp,
                },
                text: i.text,
                button: i.button,
                at: Some(i.at),
                answered: false,
            },
            // A short code or a name wrote to us.
            Err(_) => Event::Unreadable { event_id: id, body },
        },
    }
}
