//! Infobip: SMS API v3 and WhatsApp. Pages meant below are those of infobip.com/docs/api.

use std::sync::Arc;

use chrono::DateTime;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::driver::{Account, Can, Class, Driver, Key, Misfit, Take, id_of_content};
use super::http::{self, Answer};
use super::sign::Hash;
use super::{Callback, Event, Gateway, Handled, Heard, Outgoing, Sent, WebhookError, in_time, sign};
use crate::clock::Clock;
use crate::domain::channel::Channel;
use crate::domain::eligibility::Cleared;
use crate::domain::message::Receipt;
use crate::domain::phone::{Fiction, PhoneNumber};

pub const DRIVER: Driver = Driver {
    name: "infobip",
    title: "Infobip",
    url: "",
    schemes: &["https", "http"],
    keys: &[
        Key {
            name: "api_key",
            take: Take::Secret { needed: true },
            means: "an API key with the scopes for sending SMS and WhatsApp",
        },
        Key {
            name: "hmac_secret",
            take: Take::Secret { needed: false },
            means: "the secret of the notification profile's HMAC security, checked beside the callback's token or password",
        },
        Key { name: "hmac_header", take: Take::Text { needed: false }, means: "the header you chose there for it" },
        Key {
            name: "hmac_algorithm",
            take: Take::OneOf(&["HMAC_SHA_256", "HMAC_SHA_512", "HMAC_SHA_384", "HMAC_SHA_224", "HMAC_SHA_1", "HMAC_MD5"]),
            means: "the algorithm you chose there",
        },
    ],
    can: Can {
        channels: &[Channel::Sms, Channel::WhatsApp],
        two_way: true,
        alphanumeric: true,
        own_reference: true,
        dedupes: true,
        look_up: false,
        signed_callbacks: false,
        // `/sms/1/inbox/reports` hands out each message once, and forgets it then: a no that it gave us would be lost if we died before it
        // is on disk, and there is no asking again. Nor does its page say whether it holds what was called in.
        inbound_pull: false,
        templates: true,
    },
    fits: |account| match account.secret("hmac_secret").is_empty() == account.text("hmac_header").is_empty() {
        true => Ok(()),
        false => Misfit::at("hmac_header", "hmac_secret and hmac_header belong together", "give both, or neither"),
    },
    open: |account, tools| Arc::new(Infobip { account: account.clone(), http: tools.http.clone(), clock: tools.clock.clone() }),
};

#[derive(Debug)]
pub struct Infobip {
    account: Account,
    http: reqwest::Client,
    clock: Clock,
}

/// Its numbers have no `+`.
fn bare(number: &str) -> &str {
    number.trim_start_matches('+')
}

/// A number of Infobip's as ours; a sender shown by name stays as it is.
fn ours(address: &str) -> String {
    match address.len() >= 8 && address.bytes().all(|b| b.is_ascii_digit()) {
        true => format!("+{address}"),
        false => address.to_owned(),
    }
}

impl Infobip {
    /// Path and body of a request to send.
    fn request(&self, message: &Outgoing) -> (&'static str, Value) {
        let (from, to, id) = (bare(&message.from), bare(message.to.e164()), message.reference.as_str());
        let notify = self.account.callback();
        if message.channel != Channel::WhatsApp {
            let body = json!({ "messages": [{
                "sender": from,
                "destinations": [{ "to": to, "messageId": id }],
                "content": { "text": message.text },
                "options": { "validityPeriod": { "amount": (message.validity_s / 60).max(1), "timeUnit": "MINUTES" } },
                "webhooks": { "delivery": { "url": notify }, "contentType": "application/json", "callbackData": id },
            }] });
            return ("/sms/3/messages", body);
        }
        let common = |content: Value| json!({ "from": from, "to": to, "messageId": id, "content": content, "callbackData": id, "notifyUrl": notify });
        if let Some(template) = &message.template {
            let replies = message.buttons.iter().map(|button| json!({ "type": "QUICK_REPLY", "parameter": button.id }));
            let link = template.link_suffix.iter().map(|suffix| json!({ "type": "URL", "parameter": suffix }));
            let buttons: Vec<Value> = replies.chain(link).collect();
            let data = json!({ "body": { "placeholders": template.values }, "buttons": buttons });
            let content = json!({ "templateName": template.id, "templateData": data, "language": template.language });
            return ("/whatsapp/1/message/template", json!({ "messages": [common(content)] }));
        }
        // Within 24 hours of the person's own message nothing needs approval ("Send WhatsApp text message", "… interactive buttons message").
        if message.buttons.is_empty() {
            return ("/whatsapp/1/message/text", common(json!({ "text": message.text })));
        }
        let buttons: Vec<Value> =
            message.buttons.iter().map(|button| json!({ "type": "REPLY", "id": button.id, "title": button.title })).collect();
        let content = json!({ "body": { "text": message.text }, "action": { "buttons": buttons } });
        ("/whatsapp/1/message/interactive/buttons", common(content))
    }

    async fn post(&self, message: &Outgoing) -> Sent {
        let (path, body) = self.request(message);
        let request = self.http.post(format!("{}{path}", self.account.base())).json(&body);
        let request = request.header("authorization", format!("App {}", self.account.secret("api_key")));
        http::ask(request, self.account.timeout).await.map_or_else(|sent| sent, |answer| read_answer(&answer))
    }
}

/// What an answer proves: a 200 can hold a rejection of its one message.
fn read_answer(answer: &Answer) -> Sent {
    let class = match answer.status {
        200 => {
            let body = answer.json().unwrap_or_default();
            let message = body.get("messages").and_then(|messages| messages.get(0)).unwrap_or(&body);
            let (id, status) = (message["messageId"].as_str(), &message["status"]);
            return match (status["groupId"].as_i64(), status["id"].as_i64(), id) {
                (Some(1 | 3), _, Some(id)) => Sent::Accepted { provider_id: Some(id.to_owned()) },
                // It has the message already: under our own id.
                (_, Some(23), Some(id)) => Sent::Accepted { provider_id: Some(id.to_owned()) },
                (Some(_), Some(code), _) => {
                    of_status(code).unwrap_or(Class::Unknown).at_send(format!("Infobip status {code}"), answer.retry_after)
                }
                _ => Sent::Unknown { error: "accepted, but the answer cannot be read".into() },
            };
        }
        400 => Class::Config,
        401 | 403 => Class::Account,
        429 => Class::Throttled,
        _ => return answer.unknown(),
    };
    class.at_send(format!("HTTP {}", answer.status), answer.retry_after)
}

/// What a status means ("Response status and error codes"); `None` where the error beside it says.
fn of_status(id: i64) -> Option<Class> {
    Some(match id {
        8 | 52 => Class::Recipient,
        10 | 14 => Class::OptedOut,
        20 => Class::Throttled,
        21 | 100 => Class::Transient,
        23 => Class::Duplicate,
        11..=13 | 17..=19 | 87 => Class::Account,
        6 | 24 | 25 | 51 => Class::Config,
        _ => return None,
    })
}

/// What an error of a delivery report means (same page).
fn of_error(id: i64) -> Option<Class> {
    Some(match id {
        1 | 9 | 11 | 12 | 565 | 568 | 569 | 629 | 7025 => Class::Recipient,
        7002 => Class::NotOnChannel,
        7010 => Class::WindowClosed,
        6 | 13 | 27 | 31 | 256 | 581 | 7024 | 7032 => Class::RecipientTemporary,
        32..=34 | 500 | 502 | 630 | 2048 | 7036 | 7050 | 7051 | 7082 => Class::Transient,
        566 | 573 | 2050 | 7003 | 7030 | 7033 => Class::OptedOut,
        4104 | 7016 | 7017 => Class::Throttled,
        5492 => Class::Duplicate,
        7011 | 7019 | 7034 => Class::Account,
        7008 | 7009 => Class::Config,
        _ => return None,
    })
}

/// `2019-11-09T16:00:00.000+0100`: an offset without a colon.
fn time(value: &Value) -> Option<i64> {
    Some(DateTime::parse_from_str(value.as_str()?, "%Y-%m-%dT%H:%M:%S%.f%z").ok()?.timestamp_micros())
}

/// One result of a call: a delivery report, a "seen", or a message from a person.
fn result(value: &Value, now: i64) -> Event {
    let body = value.to_string();
    let Some(id) = value["messageId"].as_str().filter(|id| !id.is_empty()) else {
        return Event::Unreadable { event_id: id_of_content(body.as_bytes()), body, why: super::NO_FORM.into() };
    };
    if let Some(status) = value.get("status") {
        return report(value, status, id, now);
    }
    if value.get("seenAt").is_some() {
        return Event::Receipt {
            event_id: format!("{id}:seen"),
            provider_id: id.to_owned(),
            reference: Some(id.to_owned()),
            status: Receipt::Read,
            error: None,
            class: None,
            at: time(&value["seenAt"]).unwrap_or(now),
            user: None,
        };
    }
    let event_id = format!("in:{id}");
    let from = PhoneNumber::parse(&ours(value["from"].as_str().unwrap_or("")), None, Fiction::Allowed).ok();
    let message = &value["message"];
    let whatsapp = value["integrationType"] == "WHATSAPP" || message.is_object();
    let word = |value: &Value| value.as_str().map(str::to_owned);
    // `cleanText` lacks the keyword, which may be the STOP.
    let (text, button) = match message["type"].as_str() {
        None => (word(&value["text"]), None),
        Some("TEXT") => (word(&message["text"]), None),
        Some("BUTTON") => (word(&message["text"]), word(&message["payload"]).or_else(|| word(&message["text"]))),
        Some("INTERACTIVE_BUTTON_REPLY" | "INTERACTIVE_LIST_REPLY") => (word(&message["title"]), word(&message["id"])),
        // A picture may say STOP under it; what says nothing is unclear, and holds its sender until somebody has looked.
        Some(kind) => (Some(word(&message["caption"]).unwrap_or_else(|| format!("[{}]", kind.to_ascii_lowercase()))), None),
    };
    let answers = word(&message["context"]["id"]);
    let user = word(&value["contact"]["userId"]);
    let known_by = from.is_some() || answers.is_some() || button.is_some() || user.is_some();
    let Some(text) = text.filter(|_| known_by) else { return Event::Unreadable { event_id, body, why: super::NOBODYS.into() } };
    Event::Inbound {
        event_id,
        from,
        answers,
        to: ours(value["to"].as_str().unwrap_or("")),
        channel: if whatsapp { Channel::WhatsApp } else { Channel::Sms },
        text,
        button,
        at: time(&value["receivedAt"]),
        handled: None,
        again: None,
        user,
    }
}

fn report(value: &Value, status: &Value, id: &str, now: i64) -> Event {
    let (group, code) = (status["groupId"].as_i64(), status["id"].as_i64());
    let error = value["error"]["id"].as_i64().filter(|error| *error != 0);
    let event_id = format!("{id}:{}:{}", code.unwrap_or_default(), error.unwrap_or_default());
    let receipt = match (group, code) {
        // PENDING_ACCEPTED; the others of that group are on their way.
        (Some(1), Some(26)) => Receipt::Accepted,
        (Some(1), _) | (Some(3), Some(2)) => Receipt::Sent,
        (Some(3), _) => Receipt::Delivered,
        (Some(2), _) if error == Some(4098) => Receipt::Expired,
        (Some(2), _) => Receipt::Undelivered,
        (Some(4), _) => Receipt::Expired,
        (Some(5), _) => Receipt::Failed,
        _ => return Event::Unreadable { event_id, body: value.to_string(), why: super::NO_FORM.into() },
    };
    let failed = matches!(receipt, Receipt::Undelivered | Receipt::Expired | Receipt::Failed);
    let class = code.and_then(of_status).or_else(|| error.and_then(of_error)).filter(|_| failed);
    if class == Some(Class::Duplicate) {
        // A second request of ours was rejected: the first one stands.
        return Event::Note { event_id, body: value.to_string(), pause: None };
    }
    let words = match (error, code) {
        (Some(error), _) => format!("Infobip error {error}"),
        (None, code) => format!("Infobip status {}", code.unwrap_or_default()),
    };
    Event::Receipt {
        event_id,
        provider_id: id.to_owned(),
        reference: Some(value["callbackData"].as_str().unwrap_or(id).to_owned()),
        status: receipt,
        error: failed.then_some(words),
        class,
        at: time(&value["doneAt"]).or_else(|| time(&value["sentAt"])).unwrap_or(now),
        user: value["contact"]["userId"].as_str().map(str::to_owned),
    }
}

/// A person used WhatsApp's own switch for marketing messages. Off is a STOP; on is no consent of ours.
fn switched(value: &Value) -> Option<Event> {
    let content = &value["content"];
    let (said, body) = (content["notificationMessagesStatus"].as_str()?, value.to_string());
    let event_id = id_of_content(body.as_bytes());
    let from = PhoneNumber::parse(&ours(content["from"].as_str().unwrap_or("")), None, Fiction::Allowed).ok();
    Some(match (said, from) {
        ("stop", Some(from)) => Event::Inbound {
            event_id,
            from: Some(from),
            answers: None,
            to: ours(content["sender"].as_str().unwrap_or("")),
            channel: Channel::WhatsApp,
            text: "STOP".to_owned(),
            button: None,
            at: time(&value["createdAt"]),
            handled: Some(Handled::Stop),
            again: None,
            user: None,
        },
        // Of whom it tells is nobody's business here.
        ("resume", _) => {
            let body = json!({ "resume": value["createdAt"] }).to_string();
            Event::Note { event_id: id_of_content(body.as_bytes()), body, pause: None }
        }
        _ => Event::Unreadable { event_id, body, why: super::NO_FORM.into() },
    })
}

impl Gateway for Infobip {
    fn name(&self) -> &str {
        &self.account.name
    }

    /// `messageId` is ours, and a second SMS with it is rejected (status 23); that WhatsApp messages are rejected alike is not documented.
    fn dedupes_on(&self, channel: Channel) -> bool {
        channel == Channel::Sms
    }

    fn send<'a>(&'a self, cleared: Cleared, message: &'a Outgoing) -> BoxFuture<'a, Sent> {
        in_time(&self.clock, cleared, self.post(message)).boxed()
    }

    fn read_webhook(&self, call: &Callback<'_>) -> Result<Heard, WebhookError> {
        if call.method != "POST" {
            return Err(WebhookError::Method("POST"));
        }
        if !call.is("application/json") {
            return Err(WebhookError::ContentType("application/json"));
        }
        let secret = self.account.secret("hmac_secret");
        if !secret.is_empty() {
            let header = self.account.text("hmac_header").to_ascii_lowercase();
            let given = (call.header)(&header).ok_or(WebhookError::Unsigned)?;
            let wanted = signature(self.account.text("hmac_algorithm"), secret, call.body);
            if !sign::same(&given.trim().to_ascii_lowercase(), &wanted) {
                return Err(WebhookError::Forged);
            }
        }
        let body: Value = call.json()?;
        let events = match body["results"].as_array() {
            Some(results) => results.iter().map(|value| result(value, call.now)).collect(),
            None => match switched(&body) {
                Some(event) => vec![event],
                None => return Err(WebhookError::Body("there are no results".to_owned())),
            },
        };
        Ok(Heard::Events(events))
    }
}

/// The signature of a body, lower-case hex (the encoding is not documented; hex is what its samples of other products have).
pub fn signature(algorithm: &str, secret: &str, body: &[u8]) -> String {
    let hash = match algorithm {
        "HMAC_SHA_512" => Hash::Sha512,
        "HMAC_SHA_384" => Hash::Sha384,
        "HMAC_SHA_224" => Hash::Sha224,
        "HMAC_SHA_1" => Hash::Sha1,
        "HMAC_MD5" => Hash::Md5,
        _ => Hash::Sha256,
    };
    sign::hex(&sign::hmac(hash, secret, body))
}
