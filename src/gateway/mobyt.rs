//! Mobyt's REST API 1.0, which Skebby, Trendoo, Aruba SMS and smsend speak too: SMS under an alias, receipts by an unsigned call, replies by
//! a call or a list. Its pages name no members of a reply, so the account's settings do.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::driver::{Account, Can, Class, Driver, Key, Misfit, Take, id_of_content};
use super::http::{self, Answer};
use super::{Callback, Event, Gateway, Heard, LookedUp, Outgoing, Sent, WebhookError, in_time};
use crate::clock::{Clock, instant};
use crate::domain::channel::Channel;
use crate::domain::eligibility::Cleared;
use crate::domain::message::Receipt;
use crate::domain::phone::{Fiction, PhoneNumber};
use crate::domain::sms;

pub const DRIVER: Driver = Driver {
    name: "mobyt",
    title: "Mobyt",
    url: "https://app.mobyt.it/API/v1.0/REST",
    schemes: &["https", "http"],
    keys: &[
        Key { name: "user_key", take: Take::Text { needed: true }, means: "the first half of what `GET token` answers" },
        Key { name: "access_token", take: Take::Secret { needed: true }, means: "its second half, which does not run out" },
        Key {
            name: "message_type",
            take: Take::OneOf(&["N", "L", "LL", "GP", "TI", "SI", "PRM", "MND"]),
            means: "the quality: `N` has receipts and an alias (Mobyt, Aruba, smsend); `GP` at Skebby and Trendoo",
        },
        Key { name: "reply_from", take: Take::Text { needed: false }, means: "how a reply's call names the sender" },
        Key { name: "reply_to", take: Take::Text { needed: false }, means: "how it names the number written to" },
        Key { name: "reply_text", take: Take::Text { needed: false }, means: "how it names the text" },
        Key { name: "reply_id", take: Take::Text { needed: false }, means: "how it names the message's id" },
    ],
    can: Can {
        channels: &[Channel::Sms],
        two_way: true,
        alphanumeric: true,
        own_reference: true,
        // Whether a second order_id is rejected is not documented.
        dedupes: false,
        look_up: true,
        signed_callbacks: false,
        inbound_pull: true,
        templates: false,
    },
    fits: |account| {
        let missing = REPLY.into_iter().find(|key| account.text(key).is_empty());
        match missing.filter(|_| REPLY.iter().any(|key| !account.text(key).is_empty())) {
            Some(key) => {
                Misfit::at(key, format!("a reply is read only by all of {}", REPLY.join(", ")), "give all four, or none")
            }
            None => Ok(()),
        }
    },
    open: |account, tools| Arc::new(Mobyt { account: account.clone(), http: tools.http.clone(), clock: tools.clock.clone() }),
};

const REPLY: [&str; 4] = ["reply_from", "reply_to", "reply_text", "reply_id"];
/// Replies a page of the list, and pages read at most.
const PAGE: usize = 100;
const PAGES: usize = 100;

#[derive(Debug)]
pub struct Mobyt {
    account: Account,
    http: reqwest::Client,
    clock: Clock,
}

impl Mobyt {
    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<Answer, Sent> {
        let request = request.header("user_key", self.account.text("user_key"));
        http::ask(request.header("Access_token", self.account.secret("access_token")), self.account.timeout).await
    }

    async fn post(&self, message: &Outgoing) -> Sent {
        let count = sms::parts(&message.text);
        let body = json!({
            "message_type": self.account.text("message_type"),
            "message": message.text,
            "recipient": [message.to.e164()],
            "sender": message.from,
            "order_id": message.reference,
            "encoding": if count.encoding == sms::Encoding::Gsm7 { "gsm" } else { "ucs2" },
            "max_fragments": count.parts,
            "validity_period_min": (message.validity_s / 60).max(1),
        });
        let request = self.http.post(format!("{}/sms", self.account.base())).json(&body);
        self.ask(request).await.map_or_else(|sent| sent, |answer| read_answer(&answer))
    }

    /// The replies of a time: a page a call, until one is not full.
    async fn replies(&self, from: i64, to: i64) -> Result<Vec<Event>, String> {
        let time = |at: i64| instant(at).format("%Y%m%d%H%M%S").to_string();
        let mut events = Vec::new();
        for page in 1..=PAGES {
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("from", time(from)), ("to", time(to)), ("timezone", "UTC".to_owned())])
                .extend_pairs([("pageNumber", page.to_string()), ("pageSize", PAGE.to_string())])
                .finish();
            let request = self.http.get(format!("{}/srsmshistory?{query}", self.account.base()));
            let answer = self.ask(request).await.map_err(|_| "Mobyt's list of replies cannot be read".to_owned())?;
            if answer.status != 200 {
                return Err(format!("Mobyt answers HTTP {} when asked for replies", answer.status));
            }
            let list = answer.json().ok_or_else(|| "Mobyt's list of replies is no JSON".to_owned())?;
            let before = events.len();
            if !self.find(&list, &mut events) {
                return Err(
                    "Mobyt lists replies by other names than reply_from, reply_to, reply_text and reply_id say".to_owned()
                );
            }
            // A page may hold fewer than we ask for; the one after the last holds nothing new.
            let (known, page) = events.split_at(before);
            if page.iter().all(|event| known.contains(event)) {
                events.truncate(before);
                return Ok(events);
            }
        }
        Err("Mobyt lists more replies than can be read at once".to_owned())
    }

    /// Every object in `value` that has the members of a reply. False where a list holds something else: it may be replies by other names,
    /// and a time in which nobody listened is not over because they could not be read (promise 4).
    fn find(&self, value: &Value, events: &mut Vec<Event>) -> bool {
        // All of it is looked through, whatever is found.
        let mut known = true;
        match value {
            Value::Array(items) => {
                for item in items {
                    let before = events.len();
                    known = self.find(item, events) && events.len() > before && known;
                }
            }
            Value::Object(members) if members.contains_key(self.account.text("reply_text")) => {
                let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let fields = members.iter().map(|(name, value)| (name.clone(), text(value))).collect();
                // A list does not say when.
                events.push(self.reply(&fields, Some(super::SOMETIME)));
            }
            Value::Object(members) => {
                for member in members.values() {
                    known &= self.find(member, events);
                }
            }
            _ => {}
        }
        known
    }

    /// A reply by the names that the settings give its parts; what lacks one waits for an operator.
    fn reply(&self, fields: &BTreeMap<String, String>, at: Option<i64>) -> Event {
        let [from, to, text, id] = REPLY.map(|key| fields.get(self.account.text(key)));
        let number = from.and_then(|from| PhoneNumber::parse(&international(from), None, Fiction::Allowed).ok());
        let (Some(from), Some(to), Some(text), Some(id)) = (number, to, text, id.filter(|id| !id.is_empty())) else {
            let body = json!(fields).to_string();
            return Event::Unreadable { event_id: id_of_content(body.as_bytes()), body, why: super::NOBODYS.into() };
        };
        Event::Inbound {
            event_id: format!("in:{id}"),
            from: Some(from),
            answers: None,
            to: international(to),
            channel: Channel::Sms,
            text: text.clone(),
            button: None,
            at,
            handled: None,
            again: None,
            user: None,
        }
    }
}

/// Its numbers come with `+`, with `00` or bare.
fn international(number: &str) -> String {
    let digits = number.trim().trim_start_matches('+');
    format!("+{}", digits.strip_prefix("00").unwrap_or(digits))
}

/// What an answer proves: 201 took it; 400, 401 and 404 are named as errors, "details in the body".
fn read_answer(answer: &Answer) -> Sent {
    let says = |word: &str| String::from_utf8_lossy(&answer.body).to_lowercase().contains(word);
    let class = match answer.status {
        201 => {
            let order = answer.json().and_then(|body| Some(body.get("order_id")?.as_str()?.to_owned()));
            return match order {
                Some(order) => Sent::Accepted { provider_id: Some(order) },
                None => Sent::Unknown { error: "accepted, but the answer cannot be read".into() },
            };
        }
        // The one thing that differs from message to message: all else that is wrong is wrong for everybody.
        400 if says("recipient") => Class::Recipient,
        400 => Class::Config,
        401 | 404 => Class::Account,
        429 => Class::Throttled,
        _ => return answer.unknown(),
    };
    class.at_send(format!("HTTP {}", answer.status), answer.retry_after)
}

/// A status word, and what it means where it is an error.
fn status(word: &str) -> Option<(Receipt, Option<Class>)> {
    Some(match word {
        "SCHEDULED" | "WAITING" => (Receipt::Accepted, None),
        "SENT" | "WAIT4DLVR" => (Receipt::Sent, None),
        "DLVRD" => (Receipt::Delivered, None),
        "ERROR" => (Receipt::Undelivered, None),
        "KO" => (Receipt::Failed, None),
        "TIMEOUT" => (Receipt::Expired, None),
        "TOOM4NUM" | "TOOM4USER" => (Receipt::Failed, Some(Class::Throttled)),
        "UNKNPFX" | "UNKNRCPT" | "INVALIDDST" => (Receipt::Failed, Some(Class::Recipient)),
        "INVALIDCONTENTS" => (Receipt::Failed, Some(Class::Config)),
        "BLACKLISTED" => (Receipt::Failed, Some(Class::OptedOut)),
        "DEMO" => (Receipt::Failed, Some(Class::Account)),
        _ => return None,
    })
}

impl Gateway for Mobyt {
    fn name(&self) -> &str {
        &self.account.name
    }

    fn send<'a>(&'a self, cleared: Cleared, message: &'a Outgoing) -> BoxFuture<'a, Sent> {
        in_time(&self.clock, cleared, self.post(message)).boxed()
    }

    fn read_webhook(&self, call: &Callback<'_>) -> Result<Heard, WebhookError> {
        // GET or POST, as the panel was told.
        let pairs = match call.method {
            "POST" => form_urlencoded::parse(call.body),
            _ => form_urlencoded::parse(call.query().as_bytes()),
        };
        let fields: BTreeMap<String, String> = pairs.into_owned().collect();
        if fields.is_empty() {
            return Err(WebhookError::Body("it has no parameters".to_owned()));
        }
        let of = |name: &str| fields.get(name).map_or("", String::as_str);
        if of("order_id").is_empty() || of("status").is_empty() {
            return Ok(Heard::Events(vec![self.reply(&fields, None)]));
        }
        let (order, word) = (of("order_id"), of("status"));
        let event_id = format!("{order}:{word}");
        let Some((receipt, class)) = status(word) else {
            return Ok(Heard::Events(vec![Event::Unreadable {
                event_id,
                body: json!(fields).to_string(),
                why: super::NO_FORM.into(),
            }]));
        };
        let failed = matches!(receipt, Receipt::Failed | Receipt::Undelivered | Receipt::Expired);
        Ok(Heard::Events(vec![Event::Receipt {
            event_id,
            provider_id: order.to_owned(),
            reference: Some(order.to_owned()),
            status: receipt,
            error: failed.then(|| word.to_owned()),
            class,
            // delivery_date has no zone.
            at: call.now,
            user: None,
        }]))
    }

    fn list_inbound<'a>(&'a self, from: i64, to: i64) -> BoxFuture<'a, Option<Result<Vec<Event>, String>>> {
        async move {
            // Without the names of its parts no reply can be told in the list.
            if self.account.text("reply_text").is_empty() {
                return None;
            }
            Some(self.replies(from, to).await)
        }
        .boxed()
    }

    fn look_up<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Option<Result<LookedUp, String>>> {
        async move {
            let asked = self.ask(self.http.get(format!("{}/sms/{reference}", self.account.base()))).await;
            let word = |answer: &Answer| {
                let body = answer.json()?;
                Some(body.get("recipients")?.get(0)?.get("status")?.as_str()?.to_owned())
            };
            Some(match asked {
                Ok(answer) if answer.status == 200 => match word(&answer).as_deref().map(|word| (word, status(word))) {
                    Some(("SCHEDULED" | "WAITING", _)) => Ok(LookedUp::Accepted),
                    Some((_, Some((receipt, _)))) => Ok(LookedUp::Is(receipt)),
                    _ => Err("Mobyt's answer cannot be read".to_owned()),
                },
                // A 404 says "unknown user_key" as well: it does not prove that the order never was.
                Ok(answer) => Err(format!("Mobyt answers HTTP {}", answer.status)),
                Err(_) => Err("Mobyt cannot be asked".to_owned()),
            })
        }
        .boxed()
    }
}
