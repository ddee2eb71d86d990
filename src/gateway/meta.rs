//! WhatsApp through Meta's Cloud API. Pages meant below are those of developers.facebook.com/documentation/business-messaging/whatsapp.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::driver::{Account, Can, Class, Driver, Key, Take, id_of_content};
use super::http::{self, Answer};
use super::{Button, Callback, Event, Gateway, Handled, Heard, Outgoing, Refusal, Sent, Template, WebhookError, in_time, sign};
use crate::clock::{Clock, SECOND};
use crate::domain::channel::Channel;
use crate::domain::eligibility::Cleared;
use crate::domain::message::Receipt;
use crate::domain::phone::{Fiction, PhoneNumber};

pub const DRIVER: Driver = Driver {
    name: "meta",
    title: "Meta's WhatsApp Cloud API",
    url: "https://graph.facebook.com",
    schemes: &["https", "http"],
    keys: &[
        Key { name: "access_token", take: Take::Secret { needed: true }, means: "a system user's token, to send with" },
        Key { name: "app_secret", take: Take::Secret { needed: true }, means: "the app's secret: it signs every callback" },
        Key {
            name: "app_secret_previous",
            take: Take::Secret { needed: false },
            means: "the secret before that one, while you change it: callbacks signed with either are taken",
        },
        Key {
            name: "verify_token",
            take: Take::Secret { needed: true },
            means: "a word of your own, entered with the callback address: Meta says it back to prove the address is yours",
        },
        Key { name: "version", take: Take::Text { needed: false }, means: "version of the Graph API, `v25.0` unless said" },
    ],
    can: Can {
        channels: &[Channel::WhatsApp],
        two_way: true,
        alphanumeric: false,
        own_reference: true,
        dedupes: false,
        look_up: false,
        signed_callbacks: true,
        inbound_pull: false,
        templates: true,
    },
    fits: |_| Ok(()),
    open: |account, tools| Arc::new(Meta { account: account.clone(), http: tools.http.clone(), clock: tools.clock.clone() }),
};

/// The version these pages describe.
const VERSION: &str = "v25.0";

#[derive(Debug)]
struct Meta {
    account: Account,
    http: reqwest::Client,
    clock: Clock,
}

impl Meta {
    fn resource(&self, path: &str) -> String {
        let version = Some(self.account.text("version")).filter(|version| !version.is_empty()).unwrap_or(VERSION);
        format!("{}/{version}/{path}", self.account.base())
    }

    /// An id of Meta's as we keep it: a `wamid` holds the person's number in Base64, so only its keyed hash leaves this file.
    fn sealed(&self, id: &str) -> String {
        sign::hmac_sha256_hex(self.account.secret("app_secret"), id.as_bytes())[..32].to_owned()
    }

    async fn post(&self, message: &Outgoing) -> Sent {
        if !message.from.bytes().all(|b| b.is_ascii_digit()) {
            let error = "the sender's address is no phone number id of Meta's".to_owned();
            return Sent::NotAccepted { why: Refusal::Account, error };
        }
        let request = self.http.post(self.resource(&format!("{}/messages", message.from)));
        let request = request.bearer_auth(self.account.secret("access_token"));
        let request = request.header("content-type", "application/json").body(body(message).to_string());
        http::ask(request, self.account.timeout).await.map_or_else(|sent| sent, |answer| self.read_answer(&answer))
    }

    /// What an answer proves ("Error codes"): 200 with an id, or an error with its code. A 5xx proves nothing, whatever it says.
    fn read_answer(&self, answer: &Answer) -> Sent {
        let read = answer.json().unwrap_or_default();
        match answer.status {
            200 => match read["messages"][0]["id"].as_str() {
                Some(id) => Sent::Accepted { provider_id: Some(self.sealed(id)) },
                None => Sent::Unknown { error: "accepted, but the answer cannot be read".into() },
            },
            status @ 400..=499 => match read["error"]["code"].as_i64() {
                Some(code) => refused(code, answer.retry_after),
                None if status == 429 => Class::Throttled.at_send("HTTP 429".into(), answer.retry_after),
                None => answer.unknown(),
            },
            _ => answer.unknown(),
        }
    }

    /// What one of the sender's own numbers looks like to Meta, or why it cannot be used.
    async fn number_works(&self, id: &str) -> Result<(), String> {
        let request = self.http.get(self.resource(id)).bearer_auth(self.account.secret("access_token"));
        match http::ask(request, self.account.timeout).await {
            Ok(answer) if answer.status == 200 => match answer.json().is_some_and(|read| read["id"] == id) {
                true => Ok(()),
                false => Err("the answer is not that of Meta".to_owned()),
            },
            Ok(answer) => Err(match answer.json().unwrap_or_default()["error"]["code"].as_i64() {
                Some(190 | 0) => "access_token does not fit, or has expired".to_owned(),
                Some(code) => format!("phone number id {id}: Meta {code}"),
                None => format!("HTTP {}", answer.status),
            }),
            Err(sent) => Err(sent.into_error()),
        }
    }
}

/// What is sent and its type: an approved template, or within 24 hours of the person's own message free text.
pub(super) fn content(message: &Outgoing) -> (&'static str, Value) {
    match &message.template {
        Some(filled) => ("template", template(filled, &message.buttons)),
        None if message.buttons.is_empty() => ("text", json!({ "preview_url": false, "body": message.text })),
        None => {
            let reply = |b: &Button| json!({ "type": "reply", "reply": { "id": b.id, "title": b.title } });
            let buttons: Vec<Value> = message.buttons.iter().map(reply).collect();
            ("interactive", json!({ "type": "button", "body": { "text": message.text }, "action": { "buttons": buttons } }))
        }
    }
}

/// The request ("Send messages").
fn body(message: &Outgoing) -> Value {
    let (kind, content) = content(message);
    json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": message.to.e164(),
        "type": kind,
        kind: content,
        "biz_opaque_callback_data": message.reference,
    })
}

/// Quick replies come first, the link button last: so are the template's buttons counted.
fn template(filled: &Template, buttons: &[Button]) -> Value {
    let variable = |(i, text): (usize, &String)| match filled.names.get(i) {
        Some(name) => json!({ "type": "text", "parameter_name": name, "text": text }),
        None => json!({ "type": "text", "text": text }),
    };
    let variables: Vec<Value> = filled.values.iter().enumerate().map(variable).collect();
    let mut components = Vec::new();
    if !variables.is_empty() {
        components.push(json!({ "type": "body", "parameters": variables }));
    }
    let button = |kind: &str, index: usize, parameter: Value| json!({ "type": "button", "sub_type": kind, "index": index.to_string(), "parameters": [parameter] });
    for (i, reply) in buttons.iter().enumerate() {
        components.push(button("quick_reply", i, json!({ "type": "payload", "payload": reply.id })));
    }
    if let Some(suffix) = &filled.link_suffix {
        components.push(button("url", buttons.len(), json!({ "type": "text", "text": suffix })));
    }
    json!({ "name": filled.id, "language": { "code": filled.language }, "components": components })
}

/// A refusal with its code. What Meta wants left alone for a while waits so long.
fn refused(code: i64, retry_after: Option<Duration>) -> Sent {
    let error = format!("Meta {code}");
    let wait = |seconds| Some(retry_after.unwrap_or(Duration::from_secs(seconds)));
    match code {
        // Too fast for this one person: nobody else has to wait.
        131_056 => Sent::NotAccepted { why: Refusal::Transient { retry_after: wait(6) }, error },
        // Marketing of all businesses to this person, counted together: not before a day has passed.
        131_049 => Sent::NotAccepted { why: Refusal::Transient { retry_after: wait(86_400) }, error },
        // An experiment of Meta's spares this person the message for good.
        130_472 => Sent::NotAccepted { why: Refusal::Recipient, error },
        4 | 80_007 | 131_057 => class(code).at_send(error, wait(60)),
        131_048 | 133_016 => class(code).at_send(error, wait(3_600)),
        _ => class(code).at_send(error, retry_after),
    }
}

/// What an error code means ("Error codes"). A code in no list proves nothing.
fn class(code: i64) -> Class {
    match code {
        130_403 => Class::Recipient,
        131_026 => Class::NotOnChannel,
        131_050 => Class::OptedOut,
        131_047 => Class::WindowClosed,
        130_472 | 131_049 => Class::RecipientTemporary,
        1 | 2 | 131_000 | 131_016 | 131_057 => Class::Transient,
        4 | 80_007 | 130_429 | 131_048 | 131_056 | 133_016 => Class::Throttled,
        0
        | 3
        | 10
        | 33
        | 190
        | 200..=299
        | 368
        | 130_497
        | 131_005
        | 131_031
        | 131_037
        | 131_042
        | 131_045
        | 131_063
        | 131_064
        // The number is not registered for sending, or no more.
        | 133_010 => Class::Account,
        100
        | 131_008
        | 131_009
        | 131_021
        | 131_051..=131_053
        | 132_000
        | 132_001
        | 132_005
        | 132_007
        | 132_012
        | 132_015
        | 132_016 => Class::Config,
        _ => Class::Unknown,
    }
}

/// Whether a body, byte for byte as it came, was signed with `secret` ("X-Hub-Signature-256: sha256=…").
pub fn is_signed(secret: &str, body: &[u8], header: &str) -> bool {
    header.strip_prefix("sha256=").is_some_and(|signature| sign::same(&sign::hmac_sha256_hex(secret, body), signature))
}

/// What a subscription wants to hear back ("Create a webhook endpoint"), if it says the word agreed on.
pub fn challenge(verify_token: &str, query: &str) -> Option<String> {
    let of = |name: &str| form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value);
    let ours = of("hub.mode")? == "subscribe" && sign::same(&of("hub.verify_token")?, verify_token);
    Some(of("hub.challenge")?.into_owned()).filter(|_| ours)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Seconds since 1970, as a number or as its digits, in microseconds.
fn time(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())?.checked_mul(SECOND)
}

/// WhatsApp writes numbers without the plus; a user who hides the number has an id that is none.
fn number(value: &Value) -> Option<PhoneNumber> {
    let digits = value.as_str()?.trim_start_matches('+');
    PhoneNumber::parse(&format!("+{digits}"), None, Fiction::Allowed).ok()
}

/// The id by which WhatsApp knows this user to the company ("Business-scoped user IDs"): in the item itself, or with the contact of the same
/// call that it is about.
fn user(item: &Value, key: &str, number: &str, contacts: &Value) -> Option<String> {
    let contacts = list(contacts);
    let same = |contact: &&Value| match (contact["wa_id"].as_str(), item[number].as_str()) {
        (Some(theirs), Some(number)) => theirs == number,
        (None, None) => contacts.len() == 1,
        _ => false,
    };
    let told = item[key].as_str().or_else(|| contacts.iter().find(same)?["user_id"].as_str());
    told.filter(|id| !id.is_empty()).map(str::to_owned)
}

impl Meta {
    /// Everything a call holds ("Webhooks"): entries of changes of items. Each is read for itself, so that one which cannot be read takes
    /// none with it.
    fn events(&self, call: &Value, now: i64) -> Vec<Event> {
        let mut events = Vec::new();
        for entry in list(&call["entry"]) {
            for change in list(&entry["changes"]) {
                let (value, field) = (&change["value"], change["field"].as_str().unwrap_or_default());
                let to = value["metadata"]["phone_number_id"].as_str().unwrap_or_default();
                let mut each = |key: &str, read: &dyn Fn(&Value) -> Option<Event>| {
                    let read = list(&value[key]).iter().map(|item| read(item).unwrap_or_else(|| self.unreadable(item)));
                    events.extend(read);
                };
                match field {
                    "messages" => {
                        each("statuses", &|item| {
                            let user = user(item, "recipient_user_id", "recipient_id", &value["contacts"]);
                            self.status(item, user, now)
                        });
                        each("messages", &|item| self.inbound(item, user(item, "from_user_id", "from", &value["contacts"]), to));
                        each("errors", &|item| Some(self.trouble(item, &entry["time"])));
                    }
                    "user_preferences" => each("user_preferences", &|item| {
                        self.preference(item, user(item, "user_id", "wa_id", &value["contacts"]), to)
                    }),
                    _ => {
                        let pause = match field {
                            "message_template_status_update" => self.template_is_lost(value),
                            "account_update" => restriction(value),
                            _ => None,
                        };
                        events.push(self.note(pause, &format!("{} {change}", entry["time"])));
                    }
                }
            }
        }
        if events.is_empty() {
            events.push(self.unreadable(call));
        }
        events
    }

    fn unreadable(&self, item: &Value) -> Event {
        let body = item.to_string();
        Event::Unreadable { event_id: id_of_content(body.as_bytes()), body, why: super::NO_FORM.into() }
    }

    /// An error of the account's own, about no message.
    fn trouble(&self, item: &Value, time: &Value) -> Event {
        let code = item["code"].as_i64().filter(|code| class(*code).pauses());
        self.note(code.map(|code| format!("Meta {code}")), &format!("{time} {item}"))
    }

    fn note(&self, pause: Option<String>, body: &str) -> Event {
        Event::Note { event_id: id_of_content(body.as_bytes()), body: body.to_owned(), pause }
    }

    /// "message_template_status_update": whether one of our templates can be used no more, in words.
    fn template_is_lost(&self, value: &Value) -> Option<String> {
        let event = value["event"].as_str().filter(|event| matches!(*event, "PAUSED" | "DISABLED" | "REJECTED"))?;
        let name = value["message_template_name"].as_str()?;
        let language = value["message_template_language"].as_str()?;
        let ours = self.account.senders.iter().flat_map(|sender| &sender.templates);
        let ours = ours.filter(|t| t.id == name).any(|t| t.language.replace('-', "_") == language.replace('-', "_"));
        ours.then(|| format!("the template {name} ({language}) is {event}"))
    }

    /// "Status messages webhook reference".
    fn status(&self, item: &Value, user: Option<String>, now: i64) -> Option<Event> {
        let (id, word) = (item["id"].as_str()?, item["status"].as_str()?);
        let code = item["errors"][0]["code"].as_i64();
        let class = code.map(class);
        let status = match word {
            "sent" => Receipt::Sent,
            "delivered" => Receipt::Delivered,
            // A voice message that was heard.
            "read" | "played" => Receipt::Read,
            "failed" if matches!(class, Some(Class::Recipient | Class::RecipientTemporary)) => Receipt::Undelivered,
            "failed" => Receipt::Failed,
            _ => return None,
        };
        Some(Event::Receipt {
            event_id: format!("{}:{word}", self.sealed(id)),
            provider_id: self.sealed(id),
            reference: item["biz_opaque_callback_data"].as_str().map(str::to_owned),
            status,
            error: code.map(|code| format!("Meta {code}")),
            class: class.filter(|class| *class != Class::Unknown),
            at: time(&item["timestamp"]).unwrap_or(now),
            user,
        })
    }

    /// "Text", "Button" and "Interactive messages webhook reference". Whatever else a person sends is no answer that could be read, and so
    /// waits for an operator with its caption.
    fn inbound(&self, item: &Value, user: Option<String>, to: &str) -> Option<Event> {
        let (id, kind) = (item["id"].as_str()?, item["type"].as_str()?);
        let content = &item[kind];
        let mut answers = &item["context"]["id"];
        let (text, button) = match kind {
            "text" => (Some(content["body"].as_str()?), None),
            "button" => {
                let title = content["text"].as_str()?;
                // A tap without a payload is a tap all the same.
                (Some(title), content["payload"].as_str().or(Some(title)))
            }
            "interactive" => {
                let reply = [&content["button_reply"], &content["list_reply"]].into_iter().find(|reply| reply.is_object());
                (reply.and_then(|reply| reply["title"].as_str()), reply.and_then(|reply| reply["id"].as_str()))
            }
            "reaction" => {
                answers = &content["message_id"];
                (content["emoji"].as_str(), None)
            }
            // News of WhatsApp's own, such as a changed number, with name and number in it.
            "system" => return Some(self.note(None, &json!({ "id": self.sealed(id), "system": content["type"] }).to_string())),
            _ => (content["caption"].as_str(), None),
        };
        Some(Event::Inbound {
            event_id: format!("in:{}", self.sealed(id)),
            from: number(&item["from"]),
            answers: answers.as_str().map(|id| self.sealed(id)),
            to: to.to_owned(),
            channel: Channel::WhatsApp,
            text: text.map_or_else(|| format!("[{kind}]"), str::to_owned),
            button: button.map(str::to_owned),
            at: time(&item["timestamp"]),
            handled: None,
            again: None,
            user,
        })
    }

    /// "user_preferences webhook reference": WhatsApp's own switch for marketing of this business. Off is a STOP, of which WhatsApp has
    /// told the person already; on again is no consent of ours.
    fn preference(&self, item: &Value, user: Option<String>, to: &str) -> Option<Event> {
        match item["value"].as_str()? {
            "stop" => Some(Event::Inbound {
                event_id: id_of_content(item.to_string().as_bytes()),
                from: number(&item["wa_id"]),
                answers: None,
                to: to.to_owned(),
                channel: Channel::WhatsApp,
                text: "STOP".to_owned(),
                button: None,
                at: time(&item["timestamp"]),
                handled: Some(Handled::Stop),
                again: None,
                user,
            }),
            // Of whom it tells is nobody's business here.
            "resume" => Some(self.note(None, &json!({ "value": "resume", "timestamp": item["timestamp"] }).to_string())),
            _ => None,
        }
    }
}

/// "account_update": whether the account may not send as before, in words. The names of these events are not confirmed by its reference;
/// one that has another name is kept as a note, and the next send says what is wrong.
fn restriction(value: &Value) -> Option<String> {
    let event = value["event"].as_str()?;
    let ban = value["ban_info"]["waba_ban_state"].as_str().unwrap_or_default();
    let restricted =
        matches!(event, "ACCOUNT_RESTRICTION" | "ACCOUNT_DELETED") || (event == "DISABLED_UPDATE" && ban != "REINSTATE");
    restricted.then(|| format!("Meta says of the account: {event}"))
}

impl Gateway for Meta {
    fn name(&self) -> &str {
        &self.account.name
    }

    fn send<'a>(&'a self, cleared: Cleared, message: &'a Outgoing) -> BoxFuture<'a, Sent> {
        in_time(&self.clock, cleared, self.post(message)).boxed()
    }

    fn read_webhook(&self, call: &Callback<'_>) -> Result<Heard, WebhookError> {
        if call.method == "GET" {
            let answer = challenge(self.account.secret("verify_token"), call.query());
            return answer.map(Heard::Challenge).ok_or(WebhookError::Forged);
        }
        if call.method != "POST" {
            return Err(WebhookError::Method("POST"));
        }
        let signature = (call.header)("x-hub-signature-256").ok_or(WebhookError::Unsigned)?;
        let mut secrets = self.account.secrets("app_secret", "app_secret_previous");
        if !secrets.any(|secret| is_signed(secret, call.body, &signature)) {
            return Err(WebhookError::Forged);
        }
        Ok(Heard::Events(self.events(&call.json()?, call.now)))
    }

    fn check<'a>(&'a self) -> BoxFuture<'a, Option<Result<String, String>>> {
        async move {
            if self.account.senders.is_empty() {
                return Some(Err("no [[sender]] sends through it, so there is no number to ask about".to_owned()));
            }
            for sender in &self.account.senders {
                if let Err(error) = self.number_works(sender.address()).await {
                    return Some(Err(error));
                }
            }
            Some(Ok("the token works for the number of every sender".to_owned()))
        }
        .boxed()
    }
}
