//! A provider's calls, read by the pointers of the settings. Whatever they do not name waits for an operator.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use serde_json::Value;
use url::form_urlencoded;

use super::super::driver::{Account, Class, id_of_content};
use super::super::sign::Hash;
use super::super::{Again, Callback, Event, WebhookError, number, own_number, sign};
use super::word;
use crate::clock::{DAY, SECOND};
use crate::domain::channel::Channel;
use crate::domain::message::Receipt;

/// A call whose answer was lost is made again within a day, where a provider's page says how long (Vonage's: 24 h).
const REPEATED: i64 = DAY;

/// Whether the call is the provider's, by its own proof. A secret address or password was looked at before.
pub fn authenticate(account: &Account, call: &Callback<'_>) -> Result<(), WebhookError> {
    let header = |name: &str| (call.header)(&name.to_ascii_lowercase()).ok_or(WebhookError::Unsigned);
    let fits = |given: &str, wanted: &str| sign::same(given, wanted).then_some(()).ok_or(WebhookError::Forged);
    if !account.secret("callback_bearer").is_empty() {
        let given = header("authorization")?;
        fits(given.strip_prefix("Bearer ").unwrap_or_default(), account.secret("callback_bearer"))?;
    }
    if signed(account) {
        // The signature is over the body: of a GET it would prove nothing.
        if call.method != "POST" {
            return Err(WebhookError::Method("POST"));
        }
        let name = Some(account.text("callback_hmac_header")).filter(|name| !name.is_empty());
        let given = header(name.unwrap_or("x-signature"))?;
        let given = given.trim().strip_prefix(account.text("callback_hmac_prefix")).ok_or(WebhookError::Forged)?;
        let hash = match account.text("callback_hmac_algorithm") {
            "sha1" => Hash::Sha1,
            "sha512" => Hash::Sha512,
            _ => Hash::Sha256,
        };
        let mac = sign::hmac(hash, account.secret("callback_hmac"), call.body);
        match account.text("callback_hmac_encoding") {
            "base64" => fits(given, &STANDARD.encode(mac))?,
            _ => fits(&given.to_ascii_lowercase(), &sign::hex(&mac))?,
        }
    }
    Ok(())
}

pub fn signed(account: &Account) -> bool {
    !account.secret("callback_hmac").is_empty()
}

/// The events of an authentic call.
///
/// # Errors
/// Its body is neither a form nor JSON.
pub fn events(account: &Account, call: &Callback<'_>) -> Result<Vec<Event>, WebhookError> {
    let form = |text: &[u8]| {
        let fields = form_urlencoded::parse(text).into_owned();
        Value::Object(fields.map(|(name, value)| (name, Value::String(value))).collect())
    };
    let whole = match call.method {
        "GET" => form(call.query().as_bytes()),
        _ if call.is("application/x-www-form-urlencoded") => form(call.body),
        _ => call.json()?,
    };
    // Where the body alone is signed, the address is anybody's.
    let reference = form_urlencoded::parse(call.query().as_bytes()).find(|(name, _)| name == "ref");
    let reference = reference.filter(|_| !signed(account)).map(|(_, value)| value.into_owned());
    let list = match account.text("events_pointer") {
        "" => None,
        pointer => whole.pointer(pointer).and_then(Value::as_array),
    };
    let read = |event: &Value| {
        read(account, event, reference.as_deref(), call.now).unwrap_or_else(|| {
            let body = event.to_string();
            Event::Unreadable { event_id: id_of_content(body.as_bytes()), body, why: crate::gateway::NO_FORM.into() }
        })
    };
    Ok(match list {
        Some(list) => list.iter().map(read).collect(),
        None => vec![read(&whole)],
    })
}

/// A text or a number where this setting points, if it points anywhere.
pub fn at(account: &Account, key: &str, event: &Value) -> Option<String> {
    let pointer = Some(account.text(key)).filter(|pointer| !pointer.is_empty())?;
    match event.pointer(pointer)? {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn read(account: &Account, event: &Value, reference: Option<&str>, now: i64) -> Option<Event> {
    let at = |key: &str| at(account, key, event);
    if let Some(said) = at("receipt_status") {
        let reference = at("receipt_reference").or_else(|| reference.map(str::to_owned));
        let provider_id = at("receipt_id").or_else(|| reference.clone())?;
        // Only a code of the table is shown: who knows what else a provider writes there.
        let code = at("receipt_error").filter(|code| word(account.list("errors"), code).is_some_and(|class| class != "ok"));
        return Some(Event::Receipt {
            event_id: format!("{provider_id}:{said}"),
            status: Receipt::parse(word(account.list("statuses"), &said)?)?,
            class: code.as_deref().and_then(|code| Class::parse(word(account.list("errors"), code)?)),
            error: code,
            provider_id,
            reference,
            at: now,
            user: None,
        });
    }
    let text = at("inbound_text")?;
    let from = number(&at("inbound_from")?, account.text("inbound_country"))?;
    let content = id_of_content(event.to_string().as_bytes());
    let (event_id, again) = match (at("inbound_id"), at("inbound_time")) {
        (Some(id), _) => (format!("in:{id}"), None),
        (None, Some(_)) => (content, None),
        // Nothing tells a call made again from the same words said again.
        (None, None) => (format!("{content}:{now}"), Some(Again { said: content, within: REPEATED })),
    };
    Some(Event::Inbound {
        event_id,
        from: Some(from),
        answers: None,
        to: own_number(at("inbound_to")?, account.text("inbound_country")),
        channel: Channel::Sms,
        text,
        button: None,
        at: at("inbound_time").and_then(|text| time(account.text("time_format"), &text)),
        handled: None,
        again,
        user: None,
    })
}

fn time(format: &str, text: &str) -> Option<i64> {
    match format {
        "unix" => text.parse::<i64>().ok()?.checked_mul(SECOND),
        "unix_ms" => text.parse::<i64>().ok()?.checked_mul(1000),
        _ => Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;
    use url::Url;

    use super::{events, time};
    use crate::domain::message::Receipt;
    use crate::gateway::driver::{Account, Given};
    use crate::gateway::{Callback, Event};

    fn account() -> Account {
        let text = |text: &str| Given::Text(text.to_owned());
        let list = |lines: &[&str]| Given::List(lines.iter().map(|line| (*line).to_owned()).collect());
        let given = BTreeMap::from([
            ("events_pointer", text("/events")),
            ("receipt_status", text("/state")),
            ("receipt_id", text("/id")),
            ("receipt_error", text("/reason")),
            ("statuses", list(&["DELIVERED delivered", "not there undelivered"])),
            ("errors", list(&["E20 opted-out"])),
            ("inbound_text", text("/body")),
            ("inbound_from", text("/from")),
            ("inbound_to", text("/to")),
        ]);
        let url = Url::parse("https://permesso.example").unwrap();
        let timeout = Duration::from_secs(5);
        Account {
            name: "http".into(),
            url: url.clone(),
            timeout,
            public_url: url,
            callback_token: None,
            senders: Vec::new(),
            given,
        }
    }

    fn read(body: &str) -> Vec<Event> {
        let header = |_: &str| None;
        let call = Callback { method: "POST", target: "/webhooks/http", header: &header, body: body.as_bytes(), now: 7 };
        events(&account(), &call).unwrap_or_default()
    }

    proptest! {
        #[test]
        fn a_receipt_says_what_the_table_says_and_any_other_word_waits(
            state in "(DELIVERED|not there|delivered|DELIVERED |.*)", id in ".+", reason in "(E20|.*)",
        ) {
            let body = json!({ "events": [{ "state": state, "id": id, "reason": reason, "body": "STOP" }] }).to_string();
            let wanted = match state.as_str() {
                "DELIVERED" => Some(Receipt::Delivered),
                "not there" => Some(Receipt::Undelivered),
                _ => None,
            };
            let read = read(&body);
            prop_assert_eq!(read.len(), 1);
            match &read[0] {
                Event::Receipt { status, provider_id, error, .. } => {
                    prop_assert_eq!((Some(*status), provider_id), (wanted, &id));
                    prop_assert_eq!(error.as_deref(), Some(reason.as_str()).filter(|code| *code == "E20"));
                }
                Event::Unreadable { .. } => prop_assert_eq!(wanted, None),
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn a_message_is_somebodys_or_waits(from in "(\\+39300[0-9]{7}|.*)", to in ".+", text in ".+") {
            let body = json!({ "events": [{ "from": from, "to": to, "body": text }, 1] }).to_string();
            let read = read(&body);
            prop_assert_eq!(read.len(), 2);
            match &read[0] {
                Event::Inbound { from, text: said, .. } => prop_assert!(from.is_some() && *said == text),
                Event::Unreadable { body, .. } => prop_assert!(body.contains("from")),
                other => prop_assert!(false, "{:?}", other),
            }
            prop_assert!(matches!(read[1], Event::Unreadable { .. }), "{:?}", read[1]);
        }

        #[test]
        fn no_body_and_no_time_makes_it_fall_over(body in ".*", text in "-?[0-9]{0,20}") {
            let _ = (read(&body), time("unix", &text), time("unix_ms", &text), time("rfc3339", &body));
        }
    }
}
