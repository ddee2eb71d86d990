//! Twilio Programmable Messaging: SMS, and WhatsApp by Content templates. Pages meant below are those of twilio.com/docs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDateTime};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use url::form_urlencoded;

use super::driver::{Account, Can, Class, Driver, Key, Misfit, Take, Tools, id_of_content};
use super::http::{self, Answer};
use super::sign::Hash;
use super::{Callback, Event, Gateway, Handled, Heard, Outgoing, Sent, WebhookError, in_time, sign};
use crate::clock::{Clock, SECOND, instant};
use crate::domain::channel::Channel;
use crate::domain::eligibility::Cleared;
use crate::domain::message::Receipt;
use crate::domain::phone::{Fiction, PhoneNumber};

pub const DRIVER: Driver = Driver {
    name: "twilio",
    title: "Twilio",
    url: "https://api.twilio.com",
    schemes: &["https", "http"],
    keys: &[
        Key { name: "account_sid", take: Take::Text { needed: true }, means: "the account's SID, `AC…`" },
        Key {
            name: "auth_token",
            take: Take::Secret { needed: true },
            means: "the account's auth token: it signs every callback",
        },
        Key {
            name: "auth_token_previous",
            take: Take::Secret { needed: false },
            means: "the token before that one, while you change it: callbacks signed with either are taken",
        },
        Key {
            name: "api_key",
            take: Take::Text { needed: false },
            means: "an API key's SID, `SK…`, to send with in place of the auth token",
        },
        Key { name: "api_secret", take: Take::Secret { needed: false }, means: "that API key's secret" },
        Key {
            name: "messaging_service",
            take: Take::Text { needed: false },
            means: "a Messaging Service, `MG…`: its opt-out handling then holds for what is sent; the sender stays the one of the campaign",
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
        inbound_pull: true,
        templates: true,
    },
    fits: |account| match account.text("api_key").is_empty() == account.secret("api_secret").is_empty() {
        true => Ok(()),
        false => Misfit::at("api_key", "api_key and api_secret belong together", "give both, or neither"),
    },
    open: |account, tools| Arc::new(Twilio::new(account, tools)),
};

/// Pages read at most when a gap is listed, a thousand messages each. Twilio lists by day and cannot leave out what we sent ourselves.
const PAGES: usize = 1_000;

#[derive(Debug)]
pub struct Twilio {
    account: Account,
    http: reqwest::Client,
    clock: Clock,
}

impl Twilio {
    pub fn new(account: &Account, tools: &Tools) -> Twilio {
        Twilio { account: account.clone(), http: tools.http.clone(), clock: tools.clock.clone() }
    }

    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let account = &self.account;
        match account.text("api_key") {
            "" => request.basic_auth(account.text("account_sid"), Some(account.secret("auth_token"))),
            key => request.basic_auth(key, Some(account.secret("api_secret"))),
        }
    }

    fn resource(&self, name: &str) -> String {
        format!("{}/2010-04-01/Accounts/{}{name}.json", self.account.base(), self.account.text("account_sid"))
    }

    /// The form of "Create a Message resource".
    fn form(&self, message: &Outgoing) -> String {
        let callback = format!("{}?ref={}", self.account.callback(), message.reference);
        let address = |number: &str| match message.channel {
            Channel::WhatsApp => format!("whatsapp:{number}"),
            Channel::Sms | Channel::Call => number.to_owned(),
        };
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("To", &address(message.to.e164()));
        form.append_pair("From", &address(&message.from));
        if !self.account.text("messaging_service").is_empty() {
            form.append_pair("MessagingServiceSid", self.account.text("messaging_service"));
        }
        match &message.template {
            Some(template) => {
                let values = template.values.iter().chain(&template.link_suffix).enumerate();
                let variables: BTreeMap<String, &String> = values.map(|(i, value)| ((i + 1).to_string(), value)).collect();
                form.append_pair("ContentSid", &template.id);
                form.append_pair("ContentVariables", &serde_json::json!(variables).to_string());
            }
            None => {
                form.append_pair("Body", &message.text);
            }
        }
        form.append_pair("StatusCallback", &callback);
        // Seconds in Twilio's own queue, 1 to 36000.
        form.append_pair("ValidityPeriod", &message.validity_s.clamp(1, 36_000).to_string());
        form.finish()
    }

    async fn post(&self, message: &Outgoing) -> Sent {
        let request = self.authorized(self.http.post(self.resource("/Messages")));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(self.form(message));
        http::ask(request, self.account.timeout).await.map_or_else(|sent| sent, |answer| read_answer(&answer))
    }

    async fn inbound_since(&self, from: i64, to: i64) -> Result<Vec<Event>, String> {
        let failed = |_: Sent| "Twilio's list of messages cannot be read".to_owned();
        let mut page = format!("{}?PageSize=1000&DateSent%3E={}", self.resource("/Messages"), instant(from).format("%Y-%m-%d"));
        let mut events = Vec::new();
        for _ in 0..PAGES {
            let answer = http::ask(self.authorized(self.http.get(&page)), self.account.timeout).await.map_err(failed)?;
            let list: List = match answer.status {
                200 => {
                    serde_json::from_slice(&answer.body).map_err(|_| "Twilio's list of messages is not what it was".to_owned())?
                }
                status => return Err(format!("Twilio answers HTTP {status} when asked for its messages")),
            };
            for message in list.messages.into_iter().filter(|m| m.direction == "inbound") {
                let sent = message.date_sent.as_deref().and_then(|text| DateTime::parse_from_rfc2822(text).ok());
                let at = sent.map(|at| at.timestamp_micros());
                // Twilio's dates have seconds: the gap's edges may lie within one. What has none is taken too.
                if at.is_none_or(|at| (from - SECOND..=to).contains(&at)) {
                    // The list does not tell a tap on a button, of whatever message, from its text typed anew: the second step is neither.
                    let of_whatsapp = message.from.starts_with("whatsapp:");
                    let fields =
                        [("From", message.from), ("To", message.to), ("Body", message.body), ("MessageSid", message.sid)];
                    events.push(inbound(
                        &fields.map(|(k, v)| (k.to_owned(), v)).into(),
                        Some(at.filter(|_| !of_whatsapp).unwrap_or(super::SOMETIME)),
                    ));
                }
            }
            match list.next_page_uri {
                // Only a path of the same account: wherever else it points, our password does not go.
                Some(next) if next.starts_with("/2010-04-01/") => page = format!("{}{next}", self.account.base()),
                _ => return Ok(events),
            }
        }
        Err(format!("Twilio lists more than {} messages since that day", PAGES * 1_000))
    }
}

#[derive(Deserialize)]
struct List {
    messages: Vec<Listed>,
    next_page_uri: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    sid: String,
    direction: String,
    from: String,
    to: String,
    body: String,
    date_sent: Option<String>,
}

/// What an answer proves ("Create a Message resource": 201, else an error with its code). A 5xx proves nothing.
fn read_answer(answer: &Answer) -> Sent {
    #[derive(Deserialize)]
    struct Created {
        sid: String,
    }
    #[derive(Deserialize)]
    struct Failed {
        code: Option<i64>,
    }
    match answer.status {
        201 => match serde_json::from_slice::<Created>(&answer.body) {
            Ok(created) => Sent::Accepted { provider_id: Some(created.sid) },
            Err(_) => Sent::Unknown { error: "accepted, but the answer cannot be read".into() },
        },
        status @ 400..=499 => match serde_json::from_slice::<Failed>(&answer.body).ok().and_then(|failed| failed.code) {
            Some(code) => class(code).at_send(format!("Twilio {code}"), answer.retry_after),
            None if status == 429 => Class::Throttled.at_send("HTTP 429".into(), answer.retry_after),
            None => answer.unknown(),
        },
        _ => answer.unknown(),
    }
}

/// What an error code means ("Error and warning dictionary"; 63… map WhatsApp's own). A code in no list proves nothing.
fn class(code: i64) -> Class {
    match code {
        21211 | 21614 | 21635 | 30004..=30006 => Class::Recipient,
        63003 | 63024 => Class::NotOnChannel,
        21610 | 63014 | 63050 => Class::OptedOut,
        63016 => Class::WindowClosed,
        30003 | 63032 | 63049 => Class::RecipientTemporary,
        30008 | 63010 | 63012 => Class::Transient,
        20429 | 30001 | 30022 | 63018 => Class::Throttled,
        10001 | 20003 | 21212 | 21267 | 21408 | 21601 | 21606 | 21608 | 21703 | 30002 | 30034 | 63001 | 63020 | 63038 | 63062 => {
            Class::Account
        }
        11200 | 20404 | 21612 | 21617 | 30007 | 30042 | 57012 | 63005 | 63013 | 63021 | 63022 | 63027..=63030 => Class::Config,
        _ => Class::Unknown,
    }
}

/// The parameters of a call, each once or more.
type Fields = BTreeMap<String, String>;

/// The text that is signed ("Validating signatures"): the address, then every parameter's name and distinct values, sorted.
fn signed_text(url: &str, fields: &[(String, String)]) -> String {
    let sorted: BTreeSet<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    sorted.into_iter().fold(url.to_owned(), |text, (name, value)| text + name + value)
}

/// The forms in which Twilio may have signed an address: with the port or without.
fn spellings(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else { return vec![url.to_owned()] };
    let (host, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    let (user, address) = host.rsplit_once('@').map_or(("", host), |(user, address)| (user, address));
    let user = if user.is_empty() { String::new() } else { format!("{user}@") };
    let bare =
        address.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(address, |(host, _)| host);
    let port = if scheme == "https" { 443 } else { 80 };
    vec![url.to_owned(), format!("{scheme}://{user}{bare}{path}"), format!("{scheme}://{user}{bare}:{port}{path}")]
}

/// Whether a call to `url` with these parameters or this JSON body was signed with `token`.
pub fn is_signed(token: &str, url: &str, fields: &[(String, String)], json: Option<&[u8]>, signature: &str) -> bool {
    if let Some(body) = json {
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let hash = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "bodySHA256");
        if !hash.is_some_and(|(_, hash)| sign::same(&hash.to_ascii_lowercase(), &sign::sha256_hex(body))) {
            return false;
        }
    }
    let fits = |url: &String| {
        sign::same(&STANDARD.encode(sign::hmac(Hash::Sha1, token, signed_text(url, fields).as_bytes())), signature)
    };
    spellings(url).iter().any(fits)
}

impl Gateway for Twilio {
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
        let signature = (call.header)("x-twilio-signature").ok_or(WebhookError::Unsigned)?;
        let json = call.is("application/json");
        let form: Vec<(String, String)> = match json {
            true => Vec::new(),
            false => form_urlencoded::parse(call.body).into_owned().collect(),
        };
        // Twilio signs the address it calls, which behind a proxy is the configured one, whatever `Host` says.
        let public = self.account.public_url.as_str().trim_end_matches('/');
        let path = self.account.public_url.path().trim_end_matches('/');
        let url = format!("{public}{}", call.target.strip_prefix(path).unwrap_or(call.target));
        let signed = |token: &str| is_signed(token, &url, &form, json.then_some(call.body), &signature);
        if !self.account.secrets("auth_token", "auth_token_previous").any(signed) {
            return Err(WebhookError::Forged);
        }
        let fields: Fields = match json {
            true => call
                .json::<BTreeMap<String, serde_json::Value>>()?
                .into_iter()
                .map(|(name, value)| (name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
                .collect(),
            false => form.into_iter().collect(),
        };
        let reference = form_urlencoded::parse(call.query().as_bytes()).find(|(name, _)| name == "ref");
        Ok(Heard::Events(vec![event(&fields, reference.map(|(_, value)| value.into_owned()), call.now)]))
    }

    fn list_inbound<'a>(&'a self, from: i64, to: i64) -> BoxFuture<'a, Option<Result<Vec<Event>, String>>> {
        async move { Some(self.inbound_since(from, to).await) }.boxed()
    }

    fn check<'a>(&'a self) -> BoxFuture<'a, Option<Result<String, String>>> {
        async move {
            let asked = http::ask(self.authorized(self.http.get(self.resource(""))), self.account.timeout).await;
            let says = |answer: &Answer| Some(answer.json()?.get("status")?.as_str()?.to_owned());
            Some(match asked {
                Ok(answer) if answer.status == 200 => match says(&answer) {
                    Some(status) if status == "active" => Ok("the account is active".to_owned()),
                    Some(status) => Err(format!("the account is {status}")),
                    None => Err("the answer is not that of Twilio".to_owned()),
                },
                Ok(answer) if answer.status == 401 => Err("account_sid and auth_token (or the API key) do not fit".to_owned()),
                Ok(answer) => Err(format!("HTTP {}", answer.status)),
                Err(sent) => Err(sent.into_error()),
            })
        }
        .boxed()
    }
}

/// A call: a status ("Track the Message Status of Outbound Messages") or a message from a person.
fn event(fields: &Fields, reference: Option<String>, now: i64) -> Event {
    let of = |name: &str| fields.get(name).map_or("", String::as_str);
    let sid = of("MessageSid");
    let status = match of("MessageStatus") {
        "" if !of("From").is_empty() && fields.contains_key("Body") && !sid.is_empty() => return inbound(fields, None),
        status => status,
    };
    let code = of("ErrorCode").parse().ok();
    let receipt = match status {
        "accepted" | "scheduled" | "queued" | "sending" => Some(Receipt::Accepted),
        "sent" => Some(Receipt::Sent),
        "delivered" | "partially_delivered" => Some(Receipt::Delivered),
        "read" => Some(Receipt::Read),
        "undelivered" => Some(Receipt::Undelivered),
        // 30036: its validity ran out in Twilio's queue.
        "failed" if code == Some(30036) => Some(Receipt::Expired),
        "failed" | "canceled" => Some(Receipt::Failed),
        _ => None,
    };
    let Some(receipt) = receipt.filter(|_| !sid.is_empty()) else {
        let body = serde_json::json!(fields).to_string();
        return Event::Unreadable { event_id: id_of_content(body.as_bytes()), body, why: super::NO_FORM.into() };
    };
    let done = NaiveDateTime::parse_from_str(of("RawDlrDoneDate"), "%y%m%d%H%M").ok();
    Event::Receipt {
        event_id: format!("{sid}:{status}"),
        provider_id: sid.to_owned(),
        reference,
        status: receipt,
        error: code.map(|code: i64| format!("Twilio {code}")),
        class: code.map(class).filter(|class| *class != Class::Unknown),
        at: done.map_or(now, |at| at.and_utc().timestamp_micros()),
        user: None,
    }
}

/// A message from a person. `at`: only a list of messages says when; a callback does not.
fn inbound(fields: &Fields, at: Option<i64>) -> Event {
    let of = |name: &str| fields.get(name).map_or("", String::as_str);
    let filled = |name: &str| Some(of(name)).filter(|text| !text.is_empty()).map(str::to_owned);
    let whatsapp = of("From").starts_with("whatsapp:") || of("To").starts_with("whatsapp:");
    let bare = |name: &str| of(name).trim_start_matches("whatsapp:").to_owned();
    let event_id = format!("in:{}", of("MessageSid"));
    // A user who hides the number is told by an id of WhatsApp's; a short code or a name may write to us, too.
    let from = PhoneNumber::parse(&bare("From"), None, Fiction::Allowed).ok();
    let answers = filled("OriginalRepliedMessageSid");
    let user = filled("ExternalUserId").map(|id| id.trim_start_matches("whatsapp:").to_owned());
    if from.is_none() && answers.is_none() && user.is_none() {
        return Event::Unreadable { event_id, body: serde_json::json!(fields).to_string(), why: super::NOBODYS.into() };
    }
    Event::Inbound {
        event_id,
        from,
        answers,
        to: bare("To"),
        channel: if whatsapp { Channel::WhatsApp } else { Channel::Sms },
        text: filled("ButtonText").unwrap_or_else(|| of("Body").to_owned()),
        // A tap without a payload is a tap all the same.
        button: filled("ButtonPayload").or_else(|| filled("ButtonText")),
        at,
        // Its opt-out handling knows words of the account's own, and has answered the person already ("Advanced Opt-Out").
        handled: match of("OptOutType") {
            "" => None,
            "STOP" => Some(Handled::Stop),
            "HELP" => Some(Handled::Help),
            _ => Some(Handled::Other),
        },
        again: None,
        user,
    }
}
