//! A provider nobody wrote a driver for: how to ask it, and how to read its answers and calls, stand in the settings. What they do not
//! name is unknown, or waits for an operator; nothing is guessed.

mod callback;
mod template;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use self::template::{Checked, Values};
use super::driver::{self, Account, Can, Class, Driver, Key, Misfit, Take};
use super::http::{self, Answer};
use super::{Callback, Gateway, Heard, Outgoing, Refusal, Sent, WebhookError, in_time};
use crate::clock::Clock;
use crate::domain::channel::Channel;
use crate::domain::eligibility::Cleared;
use crate::domain::message::Receipt;
use crate::domain::sms::{self, Encoding};

/// A JSON pointer, which may be left out or not.
const fn pointer(name: &'static str, needed: bool, means: &'static str) -> Key {
    Key { name, take: Take::Checked { needed, check: is_pointer }, means }
}

pub const DRIVER: Driver = Driver {
    name: "http",
    title: "HTTP",
    url: "",
    schemes: &["https", "http"],
    keys: &[
        Key { name: "method", take: Take::OneOf(&["POST", "GET", "PUT"]), means: "of the request that sends" },
        Key {
            name: "path",
            take: Take::Checked { needed: false, check: template::path },
            means: "a template of what follows `url`",
        },
        Key { name: "headers", take: Take::List { check: template::header }, means: "`Name: template`, each" },
        Key { name: "content_type", take: Take::Text { needed: false }, means: "of the body; `application/json` if left out" },
        Key { name: "body", take: Take::Checked { needed: false, check: template::body }, means: "a template of the body" },
        Key { name: "api_key", take: Take::Secret { needed: false }, means: "for the templates" },
        Key { name: "api_secret", take: Take::Secret { needed: false }, means: "for the templates" },
        Key {
            name: "accepted_status",
            take: Take::List { check: is_status },
            means: "HTTP statuses that mean: taken; 200, 201 and 202 if left out",
        },
        pointer("id_pointer", false, "the provider's id of the message in its answer; without it the answer means nothing"),
        pointer("error_pointer", false, "the error code in an answer"),
        Key {
            name: "errors",
            take: Take::List { check: is_error },
            means: "`CODE CLASS`, each; CODE from `error_pointer` or `receipt_error`, or `http-STATUS`",
        },
        pointer("events_pointer", false, "the list in a call that brings several"),
        pointer("receipt_status", true, "the status in a receipt"),
        pointer("receipt_id", false, "the provider's id of the message"),
        pointer("receipt_reference", false, "our reference"),
        pointer("receipt_error", false, "why it failed"),
        Key { name: "statuses", take: Take::List { check: is_receipt }, means: "`WORD OURS`, each" },
        pointer("inbound_text", true, "the text of a person's message"),
        pointer("inbound_from", true, "the person's number"),
        pointer("inbound_to", true, "the number written to"),
        pointer("inbound_id", false, "the provider's id of it"),
        pointer("inbound_time", false, "when it was said"),
        Key {
            name: "inbound_country",
            take: Take::Checked { needed: false, check: driver::country },
            means: "ISO code of people's numbers, where they come in their national form",
        },
        Key { name: "time_format", take: Take::OneOf(&["rfc3339", "unix", "unix_ms"]), means: "of `inbound_time`" },
        Key { name: "callback_hmac", take: Take::Secret { needed: false }, means: "signs the body of its calls" },
        Key { name: "callback_hmac_header", take: Take::Text { needed: false }, means: "where: `X-Signature` if left out" },
        Key { name: "callback_hmac_algorithm", take: Take::OneOf(&["sha256", "sha1", "sha512"]), means: "how" },
        Key { name: "callback_hmac_encoding", take: Take::OneOf(&["hex", "base64"]), means: "written how" },
        Key { name: "callback_hmac_prefix", take: Take::Text { needed: false }, means: "what stands before it, as in `sha256=`" },
        Key { name: "callback_bearer", take: Take::Secret { needed: false }, means: "the bearer token its calls carry" },
        Key {
            name: "callback_status",
            take: Take::Number { default: 204, least: 200, most: 299 },
            means: "what its calls are answered",
        },
        Key { name: "callback_answer", take: Take::Text { needed: false }, means: "and with which text" },
    ],
    can: Can {
        channels: &[Channel::Sms],
        two_way: true,
        alphanumeric: true,
        own_reference: true,
        dedupes: false,
        look_up: false,
        signed_callbacks: false,
        inbound_pull: false,
        templates: false,
    },
    fits: |account| {
        if account.text("id_pointer").is_empty() && account.list("accepted_status").is_empty() {
            let why = "nothing says what an accepted message is answered";
            return Misfit::at("id_pointer", why, "give id_pointer, accepted_status, or both");
        }
        let templates = [account.text("path"), account.text("body")].into_iter();
        let templates: Vec<&str> = templates.chain(account.list("headers").iter().map(String::as_str)).collect();
        if !["{{ to", "text"].iter().all(|name| templates.iter().any(|template| template.contains(name))) {
            return Misfit::at(
                "body",
                "the request says neither to whom nor what",
                "write {{ to }} and {{ text }} into body or path",
            );
        }
        for (name, given) in [("api_key", account.secret("api_key")), ("api_secret", account.secret("api_secret"))] {
            if given.is_empty() && templates.iter().any(|template| template.contains(name)) {
                let why = format!("the request speaks of {name}, and there is none");
                return Misfit::at(name, why, format!("give {name}_env or {name}_file"));
            }
        }
        let known = |name: &str| templates.iter().any(|template| template.contains(name));
        let comes_back = !account.text("receipt_id").is_empty() && !account.text("id_pointer").is_empty();
        let ours = known("callback") && !callback::signed(account)
            || known("reference") && !account.text("receipt_reference").is_empty();
        if !comes_back && !ours {
            let remedy = "give id_pointer and receipt_id; or {{ reference }} and receipt_reference; or {{ callback }}, unless its calls are signed";
            return Misfit::at("receipt_id", "nothing says which message a receipt is about", remedy);
        }
        if account.list("statuses").is_empty() {
            let remedy = "write `WORD OURS` for each word at receipt_status, as in [\"DELIVRD delivered\"]";
            return Misfit::at("statuses", "nothing says what the status in a receipt means", remedy);
        }
        Ok(())
    },
    open: |account, tools| Arc::new(Generic { account: account.clone(), http: tools.http.clone(), clock: tools.clock.clone() }),
};

#[derive(Debug)]
pub struct Generic {
    account: Account,
    http: reqwest::Client,
    clock: Clock,
}

/// What a list of `WORD MEANING` says of a word.
fn word<'a>(list: &'a [String], word: &str) -> Option<&'a str> {
    list.iter().filter_map(|line| line.rsplit_once(' ')).find(|(known, _)| *known == word).map(|(_, meaning)| meaning)
}

fn is_pointer(text: &str) -> Checked {
    match text.starts_with('/') {
        true => Ok(()),
        false => {
            let remedy = format!("write a JSON pointer, as in \"/data/id\"; a form's field is \"/{text}\"");
            Err((format!("`{text}` points nowhere"), remedy))
        }
    }
}

fn is_status(text: &str) -> Checked {
    match text.parse::<u16>() {
        Ok(200..=299) => Ok(()),
        _ => Err((format!("`{text}` accepts nothing"), "write statuses of 200 to 299, as in [\"200\", \"202\"]".to_owned())),
    }
}

fn is_error(line: &str) -> Checked {
    match line.rsplit_once(' ') {
        Some((_, "ok")) => Ok(()),
        Some((_, class)) if Class::parse(class).is_some_and(|class| class != Class::Duplicate) => Ok(()),
        _ => {
            let classes = Class::ALL.into_iter().filter(|class| *class != Class::Duplicate).map(Class::code);
            let classes = classes.collect::<Vec<_>>().join(", ");
            Err((format!("`{line}` gives no class"), format!("write \"CODE CLASS\", with one of: ok, {classes}")))
        }
    }
}

fn is_receipt(line: &str) -> Checked {
    match line.rsplit_once(' ') {
        Some((_, ours)) if Receipt::parse(ours).is_some() => Ok(()),
        _ => {
            let ours = "accepted, sent, delivered, read, undelivered, failed, expired";
            Err((format!("`{line}` is no status"), format!("write \"WORD OURS\", with one of: {ours}")))
        }
    }
}

impl Generic {
    async fn post(&self, message: &Outgoing) -> Sent {
        let request = match self.request(message) {
            Ok(request) => request,
            Err(error) => return Sent::NotAccepted { why: Refusal::Account, error },
        };
        match http::ask(request, self.account.timeout).await.map(|answer| self.read_answer(&answer)) {
            // A receipt without the provider's id brings our reference in its place.
            Ok(Sent::Accepted { provider_id: None }) => Sent::Accepted { provider_id: Some(message.reference.clone()) },
            Ok(sent) | Err(sent) => sent,
        }
    }

    /// The request, filled in.
    fn request(&self, message: &Outgoing) -> Result<reqwest::RequestBuilder, String> {
        let account = &self.account;
        // Where the body alone of a call is signed, nothing in its address is believed.
        let callback = match callback::signed(account) {
            true => account.callback(),
            false => format!("{}?ref={}", account.callback(), message.reference),
        };
        let values = Values {
            to: message.to.e164(),
            to_digits: message.to.e164().trim_start_matches('+'),
            from: &message.from,
            text: &message.text,
            reference: &message.reference,
            callback: &callback,
            validity_seconds: message.validity_s,
            validity_minutes: (message.validity_s / 60).max(1),
            encoding: match sms::parts(&message.text).encoding {
                Encoding::Gsm7 => "gsm7",
                Encoding::Ucs2 => "ucs2",
            },
            api_key: account.secret("api_key"),
            api_secret: account.secret("api_secret"),
        };
        let url = format!("{}{}", account.base(), template::fill(account.text("path"), &values)?);
        let mut request = match account.text("method") {
            "GET" => self.http.get(url),
            "PUT" => self.http.put(url),
            _ => self.http.post(url),
        };
        for line in account.list("headers") {
            let Some((name, value)) = line.split_once(": ") else { continue };
            request = request.header(name, template::fill(value, &values)?);
        }
        if !account.text("body").is_empty() {
            let kind = Some(account.text("content_type")).filter(|kind| !kind.is_empty()).unwrap_or("application/json");
            request = request.header("content-type", kind).body(template::fill(account.text("body"), &values)?);
        }
        Ok(request)
    }

    /// What an answer proves: what the settings name, and nothing else.
    fn read_answer(&self, answer: &Answer) -> Sent {
        let account = &self.account;
        let json = answer.json().unwrap_or_default();
        let status = answer.status.to_string();
        let http = format!("http-{status}");
        let meaning = |code: &str| word(account.list("errors"), code);
        let named = callback::at(account, "error_pointer", &json);
        // A code of its own that is in no list says nothing, and its status may still say that nothing was taken.
        let by_status = meaning(&http).filter(|class| named.is_none() || *class != "ok").map(|_| http);
        let code = named.clone().filter(|code| meaning(code).is_some()).or(by_status).or(named);
        if let Some(code) = code {
            match meaning(&code) {
                Some("ok") => {}
                Some(class) => {
                    let class = Class::parse(class).unwrap_or(Class::Unknown);
                    return class.at_send(format!("{} {code}", account.name), answer.retry_after);
                }
                None => return answer.unknown(),
            }
        }
        let id = callback::at(account, "id_pointer", &json);
        let statuses = account.list("accepted_status");
        let taken = match statuses.is_empty() {
            true => matches!(answer.status, 200..=202),
            false => statuses.contains(&status),
        };
        match taken && (id.is_some() || account.text("id_pointer").is_empty()) {
            true => Sent::Accepted { provider_id: id },
            false => answer.unknown(),
        }
    }
}

impl Gateway for Generic {
    fn name(&self) -> &str {
        &self.account.name
    }

    fn send<'a>(&'a self, cleared: Cleared, message: &'a Outgoing) -> BoxFuture<'a, Sent> {
        in_time(&self.clock, cleared, self.post(message)).boxed()
    }

    fn read_webhook(&self, call: &Callback<'_>) -> Result<Heard, WebhookError> {
        callback::authenticate(&self.account, call)?;
        callback::events(&self.account, call).map(Heard::Events)
    }

    fn thanks(&self) -> (u16, &str) {
        (u16::try_from(self.account.number("callback_status")).unwrap_or(204), self.account.text("callback_answer"))
    }
}
