//! The driver for the mock gateway: all Permesso knows of it as a customer. The server beside it is what ships for tests
//! and the demo; `protocol` is the page both read.

pub mod book;
pub mod courier;
pub mod faults;
pub mod http;
pub mod phones;
pub mod protocol;
pub mod server;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::driver::{Account, Can, Class, Driver, Key, Take, Tools, id_of_content};
use super::http::{self as wire, Answer};
use super::{Callback, Event, Gateway, Heard, LookedUp, Outgoing, Sent, WebhookError, in_time};
use crate::clock::{Clock, SECOND};
use crate::domain::channel::Channel;
use crate::domain::eligibility::Cleared;
use crate::domain::message::Receipt;
use crate::domain::phone::{Fiction, PhoneNumber};

/// Seconds a callback's signature stays good; repeats within it are caught by their event id.
const SIGNATURE_WINDOW_S: i64 = 300;

pub const DRIVER: Driver = Driver {
    name: "mock",
    title: "Mock gateway",
    url: "",
    schemes: &["https", "http"],
    keys: &[
        Key { name: "token", take: Take::Secret { needed: true }, means: "for its API" },
        Key { name: "webhook_secret", take: Take::Secret { needed: true }, means: "signs its callbacks" },
        Key { name: "dedupes", take: Take::Flag(false), means: "it rejects a second message with our reference" },
    ],
    can: Can {
        channels: &[Channel::Sms, Channel::WhatsApp],
        two_way: true,
        alphanumeric: true,
        own_reference: true,
        dedupes: false,
        look_up: true,
        signed_callbacks: true,
        inbound_pull: true,
        templates: false,
    },
    fits: |_| Ok(()),
    open: |account, tools| Arc::new(Mock::new(account, tools)),
};

pub struct Mock {
    name: String,
    url: String,
    token: String,
    webhook_secret: String,
    dedupes: bool,
    timeout: Duration,
    clock: Clock,
    http: reqwest::Client,
}

impl std::fmt::Debug for Mock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mock({})", self.name)
    }
}

impl Mock {
    pub fn new(account: &Account, tools: &Tools) -> Mock {
        Mock {
            name: account.name.clone(),
            url: account.base().to_owned(),
            token: account.secret("token").to_owned(),
            webhook_secret: account.secret("webhook_secret").to_owned(),
            dedupes: account.flag("dedupes"),
            timeout: account.timeout,
            clock: tools.clock.clone(),
            http: tools.http.clone(),
        }
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
        let request = self.http.post(format!("{}/v1/messages", self.url)).bearer_auth(&self.token).json(&request);
        wire::ask(request, self.timeout).await.map_or_else(|sent| sent, |answer| read_answer(&answer))
    }
}

/// What an answer proves. Only what the protocol's table names counts as not accepted.
fn read_answer(answer: &Answer) -> Sent {
    if answer.status == 202 {
        return match serde_json::from_slice::<protocol::SendAnswer>(&answer.body) {
            Ok(answer) => Sent::Accepted { provider_id: Some(answer.id) },
            Err(_) => Sent::Unknown { error: "accepted, but the answer cannot be read".into() },
        };
    }
    let Ok(body) = serde_json::from_slice::<protocol::ErrorBody>(&answer.body) else {
        return Sent::Unknown { error: format!("HTTP {} with a body that cannot be read", answer.status) };
    };
    let code = body.error.code.as_str();
    let class = match (answer.status, code) {
        (409, "duplicate_reference") => return Sent::Accepted { provider_id: body.id },
        (422, "not_on_channel") => Class::NotOnChannel,
        (400, "bad_request") | (422, "recipient_refused") => Class::Recipient,
        (401, "unauthorized") | (402, "no_credit") | (403, "sender_refused") => Class::Account,
        (429, "throttled") => Class::Throttled,
        _ => return answer.unknown(),
    };
    class.at_send(format!("HTTP {} {code}", answer.status), answer.retry_after)
}

impl Gateway for Mock {
    fn name(&self) -> &str {
        &self.name
    }

    fn dedupes_on(&self, _channel: Channel) -> bool {
        self.dedupes
    }

    fn send<'a>(&'a self, cleared: Cleared, message: &'a Outgoing) -> BoxFuture<'a, Sent> {
        in_time(&self.clock, cleared, self.post(message)).boxed()
    }

    fn read_webhook(&self, call: &Callback<'_>) -> Result<Heard, WebhookError> {
        if !call.is("application/json") {
            return Err(WebhookError::ContentType("application/json"));
        }
        let signature = (call.header)(&protocol::SIGNATURE_HEADER.to_ascii_lowercase()).ok_or(WebhookError::Unsigned)?;
        protocol::verify(&self.webhook_secret, &signature, call.body, call.now / SECOND, SIGNATURE_WINDOW_S).map_err(
            |e| match e {
                protocol::SignatureError::Stale => WebhookError::Stale,
                protocol::SignatureError::Malformed | protocol::SignatureError::Mismatch => WebhookError::Forged,
            },
        )?;
        let batch: Batch = call.json()?;
        Ok(Heard::Events(batch.events.into_iter().map(event).collect()))
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
                if answer.status() == reqwest::StatusCode::NOT_FOUND {
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
        protocol::Status::Accepted => Receipt::Accepted,
        protocol::Status::Sent => Receipt::Sent,
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
    let id = value.get("event_id").and_then(|id| id.as_str()).map_or_else(|| id_of_content(body.as_bytes()), str::to_owned);
    let Ok(event) = serde_json::from_value::<protocol::Event>(value) else {
        return Event::Unreadable { event_id: id, body, why: crate::gateway::NO_FORM.into() };
    };
    match event {
        protocol::Event::Receipt(r) => Event::Receipt {
            event_id: r.event_id,
            provider_id: r.id,
            reference: Some(r.reference),
            status: receipt_of(r.status),
            class: r.error.as_ref().filter(|e| e.code == "not_on_channel").map(|_| Class::NotOnChannel),
            error: r.error.map(|e| e.code),
            at: r.at,
            user: None,
        },
        protocol::Event::Inbound(i) => match PhoneNumber::parse(&i.from, None, Fiction::Allowed) {
            Ok(from) => Event::Inbound {
                event_id: i.event_id,
                from: Some(from),
                answers: None,
                to: i.to,
                channel: match i.channel {
                    protocol::Channel::Sms => Channel::Sms,
                    protocol::Channel::Whatsapp => Channel::WhatsApp,
                },
                text: i.text,
                button: i.button,
                at: Some(i.at),
                handled: None,
                again: None,
                user: None,
            },
            // A short code or a name wrote to us.
            Err(_) => Event::Unreadable { event_id: id, body, why: crate::gateway::NOBODYS.into() },
        },
    }
}
