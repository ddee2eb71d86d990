//! Kannel's smsbox: `sendsms` out, receipts by `dlr-url`, people's messages by `get-url`. Names are those of its user guide; what
//! version 1.4.5 was seen to do is said where it matters. Nothing it calls is signed.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use url::form_urlencoded;

use super::driver::{self, Account, Can, Class, Driver, Key, Misfit, Take, Tools, id_of_content};
use super::http::{self, Answer};
use super::{Callback, Event, Gateway, Heard, Outgoing, Sent, WebhookError, in_time, number, own_number, smpp};
use crate::clock::{Clock, SECOND};
use crate::domain::channel::Channel;
use crate::domain::eligibility::Cleared;
use crate::domain::message::Receipt;
use crate::domain::sms::{self, Encoding};

pub const DRIVER: Driver = Driver {
    name: "kannel",
    title: "Kannel",
    url: "",
    schemes: &["https", "http"],
    keys: &[
        Key { name: "username", take: Take::Text { needed: true }, means: "that of its `sendsms-user`" },
        Key { name: "password", take: Take::Secret { needed: true }, means: "that user's password" },
        Key {
            name: "smsc",
            take: Take::Text { needed: false },
            means: "the `smsc-id` to send by, where Kannel shall not choose",
        },
        Key {
            name: "inbound_country",
            take: Take::Checked { needed: false, check: driver::country },
            means: "ISO code of people's numbers, where the carrier hands them over in their national form; left out, a number without + is international",
        },
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
    fits: |account| match account.callback_token {
        Some(_) => Ok(()),
        None => Misfit::at(
            "callback_token",
            "Kannel carries no password to the address of its receipts",
            "give callback_token_env or callback_token_file",
        ),
    },
    open: |account, tools| Arc::new(Kannel::new(account, tools)),
};

#[derive(Debug)]
pub struct Kannel {
    account: Account,
    http: reqwest::Client,
    clock: Clock,
}

impl Kannel {
    pub fn new(account: &Account, tools: &Tools) -> Kannel {
        Kannel { account: account.clone(), http: tools.http.clone(), clock: tools.clock.clone() }
    }

    /// Its `sendsms-url`: the usual one, unless the settings' address has a path.
    fn sendsms(&self) -> String {
        match self.account.url.path() {
            "/" => format!("{}/cgi-bin/sendsms", self.account.base()),
            _ => self.account.base().to_owned(),
        }
    }

    fn login(&self) -> form_urlencoded::Serializer<'static, String> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("username", self.account.text("username"));
        query.append_pair("password", self.account.secret("password"));
        query
    }

    /// The parameters of "Using the HTTP interface to send SMS messages". A POST it takes only with the parameters as headers.
    fn query(&self, message: &Outgoing) -> String {
        let mut query = self.login();
        query.append_pair("from", &message.from);
        query.append_pair("to", message.to.e164());
        query.append_pair("text", &message.text);
        // Unsaid, it is UTF-8 for 7-bit text and UTF-16BE for UCS-2.
        query.append_pair("charset", "UTF-8");
        let coding = match sms::parts(&message.text).encoding {
            Encoding::Gsm7 => "0",
            Encoding::Ucs2 => "2",
        };
        query.append_pair("coding", coding);
        // Whole minutes, never more than it has.
        query.append_pair("validity", &(message.validity_s / 60).max(1).to_string());
        if !self.account.text("smsc").is_empty() {
            query.append_pair("smsc", self.account.text("smsc"));
        }
        // Delivered, failed, buffered, taken and refused by the carrier: 1, 2, 4, 8, 16.
        query.append_pair("dlr-mask", "31");
        let callback = self.account.callback();
        query.append_pair("dlr-url", &format!("{callback}?ref={}&dlr=%d&smsc_id=%F&ts=%T&answer=%A", message.reference));
        query.finish()
    }

    async fn get(&self, query: &str) -> Result<Answer, Sent> {
        http::ask(self.http.get(format!("{}?{query}", self.sendsms())), self.account.timeout).await
    }

    async fn post(&self, message: &Outgoing) -> Sent {
        match self.get(&self.query(message)).await.map(|answer| read_answer(&answer)) {
            Ok(Sent::Accepted { .. }) => Sent::Accepted { provider_id: Some(message.reference.clone()) },
            Ok(sent) | Err(sent) => sent,
        }
    }

    /// A message from a person, as the `get-url` of the manual's page brings it.
    fn inbound(&self, fields: &Fields) -> Option<Event> {
        let text = match fields.text("coding").as_deref() {
            // Bytes as they were on the air. (`%a` would put a space for every 0x0D in them: `č` is 01 0D.)
            Some("2") => utf16(fields.0.get("text")?)?,
            Some("0" | "") | None => fields.text("text")?,
            // Data for a handset, not text.
            Some(_) => return None,
        };
        let (to, country) = (fields.text("to")?, self.account.text("inbound_country"));
        let id = fields.text("id").filter(|id| !id.is_empty())?;
        Some(Event::Inbound {
            event_id: format!("in:{id}"),
            from: Some(number(&fields.text("from")?, country)?),
            answers: None,
            to: own_number(to, country),
            channel: Channel::Sms,
            text,
            button: None,
            at: fields.time(),
            handled: None,
            again: None,
            user: None,
        })
    }
}

/// What an answer proves (`sendsms`: 202 taken or queued, 400 and 403 rejected, 503 bearerbox had no room). Any other text proves nothing.
fn read_answer(answer: &Answer) -> Sent {
    let said = String::from_utf8_lossy(&answer.body);
    let said = said.trim();
    let class = match (answer.status, said) {
        // It names no message: receipts come with our reference.
        (202, said) if said.starts_with("0:") || said.starts_with("3:") => return Sent::Accepted { provider_id: None },
        (403, "Authorization failed for sendsms") => Class::Account,
        (403, "Not routable. Do not try again.") => Class::Config,
        (400, "Number(s) has/have been denied by white- and/or black-lists.") => Class::Recipient,
        (400, said) if REJECTED.contains(&said) => Class::Config,
        (503, "Temporal failure, try again later.") => Class::Transient,
        _ => return answer.unknown(),
    };
    class.at_send(format!("Kannel: {said}"), answer.retry_after)
}

/// What smsbox says of a request it cannot use.
const REJECTED: [&str; 7] = [
    "Sender missing and no global set, rejected",
    "Charset or body misformed, rejected",
    "Coding field misformed, rejected",
    "Validity field misformed, rejected",
    "DLR-URL field misformed, rejected",
    "DLR-Mask field misformed, rejected",
    "Missing receiver number, rejected",
];

/// The parameters of a call, as bytes: Kannel passes on what the carrier sent.
struct Fields(BTreeMap<String, Vec<u8>>);

impl Fields {
    fn read(query: &str) -> Fields {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        // `form_urlencoded::parse` would put U+FFFD for bytes that are no UTF-8.
        Fields(pairs.map(|(name, value)| (name.to_owned(), bytes(value))).collect())
    }

    fn text(&self, name: &str) -> Option<String> {
        String::from_utf8(self.0.get(name)?.clone()).ok()
    }

    /// `%T`, microseconds.
    fn time(&self) -> Option<i64> {
        self.text("ts")?.parse::<i64>().ok()?.checked_mul(SECOND).filter(|at| *at > 0)
    }
}

/// The bytes behind `%XX` and `+`.
fn bytes(value: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        let byte = hex.filter(|two| !two.starts_with('+')).and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(byte.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    bytes
}

fn utf16(bytes: &[u8]) -> Option<String> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().copied().map(u16::from_be_bytes).collect();
    String::from_utf16(&units).ok().filter(|_| odd.is_empty())
}

/// What a receipt's `%d` says (user guide, "Delivery reports"), with the carrier's own words, `%A`.
fn status(dlr: &str, answer: &str) -> Option<Receipt> {
    Some(match dlr {
        "1" => Receipt::Delivered,
        // Kannel has one word for both; over SMPP the carrier's receipt tells them apart.
        "2" if word(answer, "stat:") == Some("EXPIRED") => Receipt::Expired,
        "2" => Receipt::Undelivered,
        "4" | "8" | "32" => Receipt::Sent,
        "16" => Receipt::Failed,
        _ => return None,
    })
}

/// Why, by the carrier's code alone: its words may repeat the text that was sent.
fn reason(dlr: &str, answer: &str) -> Option<String> {
    let code = match dlr {
        "2" => word(answer, "stat:").map(|stat| match word(answer, "err:") {
            Some(code) => format!("{stat} {code}"),
            None => stat.to_owned(),
        }),
        "16" => refusal(answer).map(str::to_owned),
        _ => return None,
    };
    Some(code.map_or_else(|| format!("Kannel dlr {dlr}"), |code| format!("Kannel dlr {dlr}: {code}")))
}

/// What the carrier refused it by: over SMPP its command_status (`NACK/0x0000000b/Invalid Destination Address`).
fn refusal(answer: &str) -> Option<&str> {
    answer.strip_prefix("NACK/").and_then(|why| why.split('/').next()).filter(|code| plain(code))
}

/// What that means, where it is of the standard's table.
fn class(dlr: &str, answer: &str) -> Option<Class> {
    let status = refusal(answer).filter(|_| dlr == "16")?.strip_prefix("0x")?;
    Some(smpp::class(u32::from_str_radix(status, 16).ok()?)).filter(|class| *class != Class::Unknown)
}

fn word<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    // The quoted text comes last: nothing behind its name is the carrier's.
    let own = text.split("text:").next().unwrap_or_default();
    own.split_whitespace().find_map(|word| word.strip_prefix(name)).filter(|value| plain(value))
}

fn plain(code: &str) -> bool {
    (1..=10).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// A receipt: our own reference stands in its address. The carrier's id of the message stays in the event's id, since that is what a
/// carrier is asked by; it is no key, as two carriers may give the same one.
fn receipt(fields: &Fields, now: i64) -> Option<Event> {
    let (reference, dlr) = (fields.text("ref").filter(|text| !text.is_empty())?, fields.text("dlr")?);
    let answer = fields.0.get("answer").map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
    let carrier = fields.text("smsc_id").unwrap_or_default();
    Some(Event::Receipt {
        event_id: format!("{reference}:{dlr}:{carrier}"),
        provider_id: reference.clone(),
        status: status(&dlr, &answer)?,
        error: reason(&dlr, &answer),
        class: class(&dlr, &answer),
        at: fields.time().unwrap_or(now),
        reference: Some(reference),
        user: None,
    })
}

impl Gateway for Kannel {
    fn name(&self) -> &str {
        &self.account.name
    }

    fn send<'a>(&'a self, cleared: Cleared, message: &'a Outgoing) -> BoxFuture<'a, Sent> {
        in_time(&self.clock, cleared, self.post(message)).boxed()
    }

    fn read_webhook(&self, call: &Callback<'_>) -> Result<Heard, WebhookError> {
        if call.method != "GET" {
            return Err(WebhookError::Method("GET"));
        }
        let fields = Fields::read(call.query());
        let event = match fields.0.contains_key("dlr") {
            true => receipt(&fields, call.now),
            false if !fields.0.contains_key("from") => {
                return Err(WebhookError::Body("neither a receipt nor a message".to_owned()));
            }
            false => self.inbound(&fields),
        };
        let unreadable = || {
            let shown: BTreeMap<&String, _> = fields.0.iter().map(|(k, v)| (k, String::from_utf8_lossy(v))).collect();
            Event::Unreadable {
                event_id: id_of_content(call.query().as_bytes()),
                body: serde_json::json!(shown).to_string(),
                why: super::NO_FORM.into(),
            }
        };
        Ok(Heard::Events(vec![event.unwrap_or_else(unreadable)]))
    }

    /// smsbox takes 200 and 202 alone for an answer: after a 204 it calls again, as often as `http-request-retry` says (1.4.5).
    fn thanks(&self) -> (u16, &str) {
        (200, "")
    }

    fn check<'a>(&'a self) -> BoxFuture<'a, Option<Result<String, String>>> {
        async move {
            // It looks at the password first, and then misses the number: nothing is sent.
            let login = self.login().finish();
            Some(match self.get(&login).await {
                Ok(answer) if answer.status == 400 && answer.body == b"Missing receiver number, rejected" => {
                    Ok("Kannel knows the user".to_owned())
                }
                Ok(answer) if answer.status == 403 => Err("username and password do not fit".to_owned()),
                Ok(answer) => Err(format!("HTTP {}", answer.status)),
                Err(sent) => Err(sent.into_error()),
            })
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::form_urlencoded::byte_serialize;

    use super::{bytes, reason, status, utf16, word};
    use crate::domain::message::Receipt;

    proptest! {
        #[test]
        fn what_was_escaped_comes_back(given in any::<Vec<u8>>()) {
            prop_assert_eq!(bytes(&byte_serialize(&given).collect::<String>()), given);
        }

        #[test]
        fn no_value_and_no_carriers_words_make_it_fall_over(value in ".*", answer in ".*", dlr in "[0-9]{0,3}") {
            let _ = (utf16(&bytes(&value)), status(&dlr, &answer));
            prop_assert!(reason(&dlr, &answer).is_none_or(|why| why.len() < 45));
        }

        #[test]
        fn a_text_in_ucs2_is_read_as_it_was_written(text in ".*") {
            let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            prop_assert_eq!(utf16(&units), Some(text));
        }
    }

    #[test]
    fn a_carriers_receipt_gives_its_code_and_never_the_text() {
        let answer =
            "id:7 sub:001 dlvrd:000 submit date:2612011045 done date:2612011046 stat:EXPIRED err:045 text:stat:DELIVRD ciao";
        assert_eq!(status("2", answer), Some(Receipt::Expired));
        assert_eq!(status("2", ""), Some(Receipt::Undelivered));
        assert_eq!(reason("2", answer).as_deref(), Some("Kannel dlr 2: EXPIRED 045"));
        assert_eq!(reason("16", "NACK/0x0000000b/Invalid").as_deref(), Some("Kannel dlr 16: 0x0000000b"));
        assert_eq!(reason("16", "NACK/no such user +39300").as_deref(), Some("Kannel dlr 16"));
        assert_eq!(word("text:stat:DELIVRD", "stat:"), None);
    }
}
