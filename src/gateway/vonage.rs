//! Vonage: SMS and WhatsApp by its Messages API v1. Pages meant below are those of developer.vonage.com.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::driver::{Account, Can, Class, Driver, Key, Take, id_of_content};
use super::http::{self, Answer};
use super::sign::Hash;
use super::{Callback, Event, Gateway, Heard, Outgoing, Refusal, Sent, WebhookError, in_time, meta, number, own_number, sign};
use crate::clock::{Clock, SECOND};
use crate::domain::channel::Channel;
use crate::domain::eligibility::Cleared;
use crate::domain::message::Receipt;

pub const DRIVER: Driver = Driver {
    name: "vonage",
    title: "Vonage",
    url: "https://api.nexmo.com",
    schemes: &["https", "http"],
    keys: &[
        Key { name: "api_key", take: Take::Text { needed: true }, means: "the account's API key" },
        Key { name: "api_secret", take: Take::Secret { needed: true }, means: "its API secret, to send with" },
        Key {
            name: "signature_secret",
            take: Take::Secret { needed: true },
            means: "the account's signature secret: it signs every callback",
        },
        Key {
            name: "signature_secret_previous",
            take: Take::Secret { needed: false },
            means: "the secret before that one, while you change it: callbacks signed with either are taken",
        },
    ],
    can: Can {
        channels: &[Channel::Sms, Channel::WhatsApp],
        two_way: true,
        alphanumeric: true,
        own_reference: true,
        dedupes: false,
        look_up: false,
        signed_callbacks: true,
        inbound_pull: false,
        templates: true,
    },
    fits: |_| Ok(()),
    open: |account, tools| Arc::new(Vonage { account: account.clone(), http: tools.http.clone(), clock: tools.clock.clone() }),
};

/// Vonage calls again for 24 hours, and does not say whether it signs anew each time: an older signature is a replay. Within that time a
/// repeated call changes nothing, since its event is stored once.
const REPEATS: i64 = 25 * 3_600 * SECOND;
/// How far its clock may be ahead of ours.
const AHEAD: i64 = 300 * SECOND;

#[derive(Debug)]
struct Vonage {
    account: Account,
    http: reqwest::Client,
    clock: Clock,
}

impl Vonage {
    /// The request ("Messages API", v1). Receipts come to us whatever the application's settings say.
    fn body(&self, message: &Outgoing) -> Value {
        let mut body = json!({
            "to": message.to.e164().trim_start_matches('+'),
            "from": message.from.trim_start_matches('+'),
            "client_ref": message.reference,
            "webhook_url": self.account.callback(),
            "webhook_version": "v1",
        });
        let (kind, mut content) = meta::content(message);
        body["channel"] = message.channel.code().into();
        if message.channel != Channel::WhatsApp || kind == "text" {
            body["message_type"] = "text".into();
            body["text"] = message.text.as_str().into();
        } else {
            // "Custom objects": what Meta takes, handed on as it is; buttons can be sent no other way.
            if let Some(template) = &message.template {
                content["language"]["policy"] = "deterministic".into();
                if let Some((namespace, name)) = template.id.rsplit_once(':') {
                    content["namespace"] = namespace.into();
                    content["name"] = name.into();
                }
            }
            body["message_type"] = "custom".into();
            body["custom"] = json!({ "type": kind, kind: content });
        }
        if message.channel == Channel::Sms {
            // Seconds; of a WhatsApp message Meta's template says how long.
            body["ttl"] = message.validity_s.clamp(20, 604_800).into();
        }
        body
    }

    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.basic_auth(self.account.text("api_key"), Some(self.account.secret("api_secret")))
    }

    async fn post(&self, message: &Outgoing) -> Sent {
        let request = self.authorized(self.http.post(format!("{}/v1/messages", self.account.base())));
        let request = request.json(&self.body(message));
        http::ask(request, self.account.timeout).await.map_or_else(|sent| sent, |answer| read_answer(&answer))
    }

    /// What a call claims of itself, if it is signed with one of our secrets and over this body.
    fn authentic(&self, call: &Callback<'_>) -> Result<Claims, WebhookError> {
        // "In the rare case of an internal error … an unsigned callback. By returning an HTTP 5xx response, a retry will be triggered".
        let header = (call.header)("authorization").ok_or(WebhookError::SignAgain)?;
        let token = header.strip_prefix("Bearer ").ok_or(WebhookError::SignAgain)?.trim();
        let mut secrets = self.account.secrets("signature_secret", "signature_secret_previous");
        let read = secrets.find_map(|secret| claims(secret, token));
        read.filter(|claims| claims.cover(call.body)).ok_or(WebhookError::Forged)
    }
}

/// What the token of a signed callback says ("Signed webhooks").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Claims {
    /// Seconds since 1970 when it was signed.
    iat: Option<i64>,
    /// Hex of SHA-256 over the body.
    payload_hash: Option<String>,
}

impl Claims {
    /// Whether the token was made for this body. Without a hash it would sign any.
    pub fn cover(&self, body: &[u8]) -> bool {
        self.payload_hash.as_ref().is_some_and(|hash| sign::same(&hash.to_ascii_lowercase(), &sign::sha256_hex(body)))
    }

    /// Whether it was signed lately enough to be Vonage's own call and no replay. `now`: microseconds UTC.
    pub fn is_fresh(&self, now: i64) -> bool {
        let signed = self.iat.and_then(|iat| iat.checked_mul(SECOND));
        signed.is_some_and(|signed| (now.saturating_sub(REPEATS)..=now.saturating_add(AHEAD)).contains(&signed))
    }
}

/// The claims of a token if it is signed with `secret`, by HS256 and nothing else: a token must not choose its own algorithm.
pub fn claims(secret: &str, token: &str) -> Option<Claims> {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let wanted = URL_SAFE_NO_PAD.encode(sign::hmac(Hash::Sha256, secret, signed.as_bytes()));
    if !sign::same(signature, &wanted) {
        return None;
    }
    let (header, claims) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok().filter(|_| header.alg == "HS256")
}

/// What an answer proves: 202 with an id, or one of the documented problems. A 5xx proves nothing, whatever it says.
fn read_answer(answer: &Answer) -> Sent {
    let read = answer.json().unwrap_or_default();
    let code = code(&read);
    let error = code.map_or_else(|| format!("HTTP {}", answer.status), |code| format!("Vonage {code}"));
    match answer.status {
        202 => match read["message_uuid"].as_str() {
            Some(id) => Sent::Accepted { provider_id: Some(id.to_owned()) },
            None => Sent::Unknown { error: "accepted, but the answer cannot be read".into() },
        },
        // Too often for this one person: nobody else has to wait.
        422 if code == Some(1241) => {
            let retry_after = Some(answer.retry_after.unwrap_or(Duration::from_secs(60)));
            Sent::NotAccepted { why: Refusal::Transient { retry_after }, error }
        }
        422 => code.map_or(Class::Config, class).at_send(error, answer.retry_after),
        429 => Class::Throttled.at_send(error, answer.retry_after),
        // Key, secret or sender; no credit.
        401..=403 => Class::Account.at_send(error, answer.retry_after),
        _ => answer.unknown(),
    }
}

/// The code of a problem: its title, or the end of its type's address.
fn code(problem: &Value) -> Option<i64> {
    let title = &problem["title"];
    let title = title.as_i64().or_else(|| title.as_str()?.parse().ok());
    title.or_else(|| problem["type"].as_str()?.rsplit_once('#')?.1.parse().ok())
}

/// What an error code means ("Messages API errors"). A code in no list proves nothing.
fn class(code: i64) -> Class {
    match code {
        1040 | 1050 | 1170 | 1190 | 1200 | 1260..=1280 | 1310 | 1330 => Class::Recipient,
        1300 => Class::NotOnChannel,
        1340 => Class::WindowClosed,
        1180 | 1220 | 1290 => Class::RecipientTemporary,
        1240 => Class::OptedOut,
        1030 | 1100 | 1230 => Class::Transient,
        1000 | 1241 => Class::Throttled,
        1060..=1080 | 1110 | 1120 | 1140 | 1160 | 1370 => Class::Account,
        1010..=1022 | 1090 | 1130 | 1150 | 1210 | 1250 | 1320 => Class::Config,
        _ => Class::Unknown,
    }
}

fn time(value: &Value) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(value.as_str()?).ok()?.timestamp_micros())
}

fn word(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// What a call tells: of a message of ours, or a message from a person.
fn event(call: &Value, now: i64) -> Event {
    let id = call["message_uuid"].as_str().filter(|id| !id.is_empty());
    let read = id.and_then(|id| match call.get("status") {
        Some(_) => status(call, id, now),
        None => inbound(call, id),
    });
    read.unwrap_or_else(|| {
        let body = call.to_string();
        Event::Unreadable { event_id: id_of_content(body.as_bytes()), body, why: super::NO_FORM.into() }
    })
}

/// "Message status webhook".
fn status(call: &Value, id: &str, now: i64) -> Option<Event> {
    let said = call["status"].as_str()?;
    let code = code(&call["error"]);
    let status = match said {
        "submitted" => Receipt::Sent,
        "delivered" => Receipt::Delivered,
        "read" => Receipt::Read,
        // 1360: the time it was given ran out.
        "rejected" | "undeliverable" if code == Some(1360) => Receipt::Expired,
        "rejected" => Receipt::Failed,
        "undeliverable" => Receipt::Undelivered,
        _ => return None,
    };
    Some(Event::Receipt {
        event_id: format!("{id}:{said}"),
        provider_id: id.to_owned(),
        reference: call["client_ref"].as_str().map(str::to_owned),
        status,
        error: code.map(|code| format!("Vonage {code}")),
        class: code.map(class).filter(|class| *class != Class::Unknown),
        at: time(&call["timestamp"]).unwrap_or(now),
        user: word(&call["whatsapp"]["recipient"]["user_id"]),
    })
}

/// "Inbound message webhook". A tap comes as the quick reply's payload under a template, as the button's id under other messages. What else
/// a person sends is no answer that could be read, and so waits for an operator with its caption.
fn inbound(call: &Value, id: &str) -> Option<Event> {
    let kind = call["message_type"].as_str()?;
    let channel = match call["channel"].as_str()? {
        "sms" | "mms" => Channel::Sms,
        "whatsapp" => Channel::WhatsApp,
        _ => return None,
    };
    let content = &call[kind];
    let (text, button) = match kind {
        "text" => (Some(word(content)?), None),
        // A tap without a payload is a tap all the same.
        "button" => (Some(word(&content["text"])?), word(&content["payload"]).or_else(|| word(&content["text"]))),
        "reply" => (Some(word(&content["title"])?), word(&content["id"]).or_else(|| word(&content["title"]))),
        _ => (word(&content["caption"]), None),
    };
    let from = call["from"].as_str().and_then(|from| number(from, ""));
    let answers = word(&call["context"]["message_uuid"]);
    // A WhatsApp user who hides the number is whoever got the message that is answered, or is known by an id.
    let user = word(&call["whatsapp"]["sender"]["user_id"]);
    if from.is_none() && answers.is_none() && user.is_none() {
        return None;
    }
    Some(Event::Inbound {
        event_id: format!("in:{id}"),
        from,
        answers,
        to: own_number(word(&call["to"]).unwrap_or_default(), ""),
        channel,
        text: text.unwrap_or_else(|| format!("[{kind}]")),
        button,
        at: time(&call["timestamp"]),
        handled: None,
        again: None,
        user,
    })
}

impl Gateway for Vonage {
    fn name(&self) -> &str {
        &self.account.name
    }

    fn send<'a>(&'a self, cleared: Cleared, message: &'a Outgoing) -> BoxFuture<'a, Sent> {
        in_time(&self.clock, cleared, self.post(message)).boxed()
    }

    fn read_webhook(&self, call: &Callback<'_>) -> Result<Heard, WebhookError> {
        if call.method != "POST" {
            return Err(WebhookError::Method("POST"));
        }
        if !self.authentic(call)?.is_fresh(call.now) {
            return Err(WebhookError::Stale);
        }
        Ok(Heard::Events(vec![event(&call.json()?, call.now)]))
    }

    /// Its list of applications answers to the same key and secret ("Application API").
    fn check<'a>(&'a self) -> BoxFuture<'a, Option<Result<String, String>>> {
        async move {
            let request = self.http.get(format!("{}/v2/applications?page_size=1", self.account.base()));
            Some(match http::ask(self.authorized(request), self.account.timeout).await {
                Ok(answer) if answer.status == 200 => match answer.json().is_some_and(|read| read["total_items"].is_i64()) {
                    true => Ok("key and secret fit".to_owned()),
                    false => Err("the answer is not that of Vonage".to_owned()),
                },
                Ok(answer) if answer.status == 401 => Err("api_key and api_secret do not fit".to_owned()),
                // The sandbox has messages only.
                Ok(answer) if answer.status == 404 => return None,
                Ok(answer) => Err(format!("HTTP {}", answer.status)),
                Err(sent) => Err(sent.into_error()),
            })
        }
        .boxed()
    }
}
