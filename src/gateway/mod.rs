//! What the engine asks of a provider account, and nothing of any one provider: that stands in one file each.

pub mod crm;
pub mod driver;
pub mod generic;
pub mod http;
pub mod infobip;
pub mod kannel;
pub mod meta;
pub mod mobyt;
pub mod mock;
pub mod sign;
pub mod smpp;
pub mod twilio;
pub mod vonage;
pub mod words;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use self::driver::{Class, Driver};
use crate::clock::Clock;
use crate::domain::channel::Channel;
use crate::domain::eligibility::Cleared;
use crate::domain::message::Receipt;
use crate::domain::phone::{Fiction, PhoneNumber};

/// Every provider there is a driver for.
#[rustfmt::skip]
pub const DRIVERS: &[&Driver] = &[
    &mock::DRIVER,
    &twilio::DRIVER,
    &meta::DRIVER,
    &mobyt::DRIVER,
    &kannel::DRIVER,
    &generic::DRIVER,
    &smpp::DRIVER,
    &infobip::DRIVER,
    &vonage::DRIVER,
];

pub fn driver(name: &str) -> Option<&'static Driver> {
    DRIVERS.iter().copied().find(|driver| driver.name == name)
}

/// One message as it leaves.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Ours, carried back by receipts where the provider can.
    pub reference: String,
    pub from: String,
    pub to: PhoneNumber,
    pub channel: Channel,
    pub text: String,
    /// Quick replies under a WhatsApp message; empty elsewhere.
    pub buttons: Vec<Button>,
    /// The approved template that says `text`, where the provider wants one; without it the message goes as free text.
    pub template: Option<Template>,
    /// Seconds the provider may go on trying, so that nothing arrives at night or after the deadline.
    pub validity_s: i64,
}

/// An approved WhatsApp template with this message's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The provider's name or id of it.
    pub id: String,
    /// As the provider spells it: `it`, `en_GB`.
    pub language: String,
    /// What its variables stand for, in its order.
    pub values: Vec<String>,
    /// What its variables are called, in the same order, where they have names and not numbers; else empty.
    pub names: Vec<String>,
    /// What is appended to the address of its link button, if it has one.
    pub link_suffix: Option<String>,
}

/// A quick reply: the tap brings back its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Button {
    /// At most 256 characters, as Meta takes in a quick reply's payload.
    pub id: String,
    /// 1 to 20 characters.
    pub title: String,
}

/// What is known after a send.
#[derive(Debug, Clone, PartialEq)]
pub enum Sent {
    /// Taken; also a duplicate of our own reference.
    Accepted { provider_id: Option<String> },
    /// Proved not accepted: it failed before the first byte, or the provider's documented answer says so.
    NotAccepted { why: Refusal, error: String },
    /// Anything else, 5xx included. Never sent again, unless the gateway rejects duplicates by our reference.
    Unknown { error: String },
}

impl Sent {
    /// Cleared too long ago, and so not sent.
    fn too_late() -> Sent {
        Sent::NotAccepted { why: Refusal::NotTried, error: "cleared too long ago".into() }
    }

    /// Why there was no answer, where the request was no message.
    fn into_error(self) -> String {
        match self {
            Sent::NotAccepted { error, .. } | Sent::Unknown { error } => error,
            Sent::Accepted { .. } => "no answer".to_owned(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// The request never left: no connection came about.
    NotReached,
    /// Not even tried, by our own decision: cleared too long ago, or the gateway's breaker opened before its turn.
    NotTried,
    /// Too fast: nothing more to this gateway for so long.
    Throttled { retry_after: Duration },
    /// Not now, by the provider's own word; this message alone is tried again, after so long if it says.
    Transient { retry_after: Option<Duration> },
    /// This number will not work: final.
    Recipient,
    /// This number cannot be reached on this channel (it has no WhatsApp): the next channel may try.
    NotOnChannel,
    /// The provider holds an opt-out of this person.
    OptedOut,
    /// Free text to somebody who has not written for a day: final for an answer.
    WindowClosed,
    /// Credit, credentials, sender, settings: a human has to mend it, so sending pauses.
    Account,
}

/// What a webhook or a listing brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Receipt {
        event_id: String,
        provider_id: String,
        reference: Option<String>,
        status: Receipt,
        error: Option<String>,
        /// What that error means.
        class: Option<Class>,
        at: i64,
        /// The recipient's id, as [`Event::Inbound`] has the sender's.
        user: Option<String>,
    },
    /// Authentic, but not to be understood: kept for an operator, and its neighbours go on.
    Unreadable {
        event_id: String,
        body: String,
        /// Why, for whoever reads it.
        why: String,
    },
    /// About the account or a switch of the provider's own, not about a message: kept, and nobody has to answer it.
    Note {
        event_id: String,
        body: String,
        /// Why nothing more may be sent through this account, if that follows: a template was paused, the account restricted.
        pause: Option<String>,
    },
    Inbound {
        event_id: String,
        /// `None` where the provider hides it (a WhatsApp user with a user name): it is whoever got the message that `answers` names, or whose
        /// id `user` is.
        from: Option<PhoneNumber>,
        /// The id by which WhatsApp knows this user to the company. It lasts as long as their number (Meta, "Business-scoped user IDs").
        user: Option<String>,
        /// The provider's id of the message of ours that this one answers, where it says so.
        answers: Option<String>,
        /// What the provider knows our sender by.
        to: String,
        channel: Channel,
        text: String,
        /// The tapped [`Button`]'s id, where it was a tap.
        button: Option<String>,
        /// Microseconds UTC by the provider's clock; `None` where it gives none, [`SOMETIME`] where it may have lain there for long.
        at: Option<i64>,
        /// What the provider's own opt-out handling took it for, if anything; it has then answered the person already.
        handled: Option<Handled>,
        /// Where the provider gives messages no ids: what tells one from one that it delivers again.
        again: Option<Again>,
    },
    /// Our answer to what was heard as `said` has arrived: whatever is said alike after `at` (microseconds UTC) is another message.
    Answered { said: String, at: i64 },
}

/// Why an event is [`Event::Unreadable`]: its driver knows no such thing.
const NO_FORM: &str = "a status, or a kind of message, that this provider's driver does not know";
/// The time of a message that lay somewhere before it came, nobody knows how long: a no in it counts when it comes, and a yes is no more than a
/// first one, since it may be older than what it would be the second step of.
pub const SOMETIME: i64 = 0;

/// It cannot be told whose it is.
const NOBODYS: &str = "it names no number we can read, and no message of ours";

/// Of a message without an id of the provider's: whether it is one delivered again cannot be seen, so that `event_id` is new each
/// time. A yes counts once all the same; a no counts each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// The same for every delivery of a message, and for the same words of the same person.
    pub said: String,
    /// Microseconds for which a yes said alike is taken for the same one; 0 where it is known to be another.
    pub within: i64,
}

/// What a provider's own opt-out handling took a message for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// It lets nothing more through to this person: a stop, whatever the text says.
    Stop,
    /// A question for help; a no in the text is one all the same.
    Help,
    /// Anything else, as a return: what it means to us stands in the text alone.
    Other,
}

/// A provider's call to us, as it came.
pub struct Callback<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Path and query, exactly as received: some signatures are over it.
    pub target: &'a str,
    /// Looks a header up by its lower-case name.
    pub header: &'a dyn Fn(&str) -> Option<String>,
    pub body: &'a [u8],
    /// Microseconds UTC.
    pub now: i64,
}

impl std::fmt::Debug for Callback<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Callback({}, {} bytes)", self.method, self.body.len())
    }
}

impl Callback<'_> {
    /// The body read as JSON.
    ///
    /// # Errors
    /// It is none of that form. The parser's own message quotes the body; only the position may leave.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, WebhookError> {
        serde_json::from_slice(self.body).or_else(|error| {
            // Half of a surrogate pair, as of an emoji that a provider cut in two, is no JSON and must not cost the whole call.
            let whole = std::str::from_utf8(self.body).ok().map(without_half_pairs);
            let read = whole.and_then(|whole| serde_json::from_str(&whole).ok());
            read.ok_or_else(|| WebhookError::Body(format!("line {}, column {}", error.line(), error.column())))
        })
    }

    /// What stands behind the `?`, still encoded.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Whether the body is of this type, whatever parameters follow it.
    pub fn is(&self, content_type: &str) -> bool {
        (self.header)("content-type").is_some_and(|kind| kind.to_ascii_lowercase().starts_with(content_type))
    }
}

/// JSON in which each `\uXXXX` that is half of a surrogate pair has become U+FFFD.
fn without_half_pairs(json: &str) -> String {
    let unit = |at: usize| {
        let escape = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(escape, 16).ok()
    };
    let mut out = String::with_capacity(json.len());
    let mut at = 0;
    while let Some(rest) = json.get(at..).filter(|rest| !rest.is_empty()) {
        let length = match (unit(at), unit(at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
            (Some(0xd800..0xe000), _) => {
                out.push_str("\\ufffd");
                at += 6;
                continue;
            }
            // Whatever a backslash stands before belongs to it, also another backslash.
            _ if rest.starts_with('\\') => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => rest.find('\\').unwrap_or(rest.len()),
        };
        out.push_str(&rest[..length]);
        at += length;
    }
    out
}

/// A person's number as carriers write it: with +, with 00, or bare, which is international unless `country` (ISO 3166) says whose
/// national form it is.
fn number(text: &str, country: &str) -> Option<PhoneNumber> {
    let text = match text.strip_prefix("00") {
        Some(rest) => format!("+{rest}"),
        None if country.is_empty() && text.starts_with(|c: char| c.is_ascii_digit()) => format!("+{text}"),
        None => text.to_owned(),
    };
    PhoneNumber::parse(&text, Some(country).filter(|country| !country.is_empty()), Fiction::Allowed).ok()
}

/// The number of ours that somebody wrote to, as the settings write it; a short code stays what it is.
fn own_number(text: String, country: &str) -> String {
    let long = number(&text, country).filter(|_| text.len() > 7);
    long.map_or(text, |number| number.e164().to_owned())
}

/// What a call brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// Answered with the gateway's [`Gateway::thanks`] once they are on disk.
    Events(Vec<Event>),
    /// The provider wants to know whether we are there: answered with this text.
    Challenge(String),
}

/// What a gateway knows of a message it may have taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookedUp {
    /// It never took a message with this reference.
    Never,
    /// It took it, and nothing more is known.
    Accepted,
    Is(Receipt),
}

#[derive(Debug, thiserror::Error, PartialEq)]
pub enum WebhookError {
    #[error("the signature is missing")]
    Unsigned,
    /// The provider forgets it now and then, and signs when it is asked to call again.
    #[error("the signature is missing, so this has to come again with one")]
    SignAgain,
    #[error(
        "it is none of this gateway's by its settings: the signature over address and body, the secret part of the address, the password or the address it comes from does not fit"
    )]
    Forged,
    #[error("the signature's time is outside the window")]
    Stale,
    #[error("the content type is not {0}")]
    ContentType(&'static str),
    #[error("the method is not {0}")]
    Method(&'static str),
    /// Only where the call is authentic: it is kept for the operator.
    #[error("the body is not what this gateway sends: {0}")]
    Body(String),
}

/// Where a gateway that hears over a session of its own puts what it heard. It may tell the provider so once this says yes: the events
/// are on disk then.
pub type Sink = Arc<dyn Fn(Vec<Event>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Sends, or refuses what was cleared too long ago without sending it: what was allowed then may not be now.
async fn in_time(clock: &Clock, cleared: Cleared, send: impl Future<Output = Sent>) -> Sent {
    if clock.now() > cleared.send_before() { Sent::too_late() } else { send.await }
}

pub trait Gateway: Send + Sync + std::fmt::Debug {
    fn name(&self) -> &str;

    /// Whether the provider rejects a second message with our reference on this channel, so that an unknown send may be repeated.
    fn dedupes_on(&self, _channel: Channel) -> bool {
        false
    }

    /// Sends one cleared message. The clearance is used up; after its time the message is refused unsent.
    fn send<'a>(&'a self, cleared: Cleared, message: &'a Outgoing) -> BoxFuture<'a, Sent>;

    /// As how many messages of the account's rate a text counts; `None` where it is one whatever its length.
    fn parts(&self, _text: &str) -> Option<usize> {
        None
    }

    /// Authenticates a callback as it was received and reads it. Where the provider signs nothing, the secret address was
    /// checked before.
    ///
    /// # Errors
    /// The signature is missing, wrong or too old, or the body is not in the provider's form.
    fn read_webhook(&self, call: &Callback<'_>) -> Result<Heard, WebhookError>;

    /// Status and text of the answer once what a call brought is on disk: what the provider takes for "do not call again".
    fn thanks(&self) -> (u16, &str) {
        (204, "")
    }

    /// Inbound messages of a time in which nobody listened; `None` where the provider cannot list them.
    fn list_inbound<'a>(&'a self, _from: i64, _to: i64) -> BoxFuture<'a, Option<Result<Vec<Event>, String>>> {
        Box::pin(async { None })
    }

    /// What became of the message with this reference of ours; `None` where the provider cannot tell.
    fn look_up<'a>(&'a self, _reference: &'a str) -> BoxFuture<'a, Option<Result<LookedUp, String>>> {
        Box::pin(async { None })
    }

    /// Asks the provider whether the account works, and answers what it says of it, in a line; `None` where it cannot be asked
    /// without sending.
    fn check<'a>(&'a self) -> BoxFuture<'a, Option<Result<String, String>>> {
        Box::pin(async { None })
    }

    /// Keeps a session over which the provider tells us what it would else call in, until `stop`; `None` where webhooks do. It lives in
    /// the process that sends, and without it nothing is sent either.
    fn listen<'a>(&'a self, _sink: Sink, _stop: CancellationToken) -> Option<BoxFuture<'a, ()>> {
        None
    }

    /// Whether the session of [`Gateway::listen`] is down: nothing is claimed for it meanwhile.
    fn is_deaf(&self) -> bool {
        false
    }

    /// Why that session does not come about, once a try has failed; nothing secret.
    fn out_of_reach(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::without_half_pairs;

    #[test]
    fn half_a_pair_is_replaced_and_nothing_else() {
        for (said, read) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\ud83d\ude00 \ude00 \ud83d.""#, r#""\ud83d\ude00 \ufffd \ufffd.""#),
            (r#""\\ud83d è""#, r#""\\ud83d è""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
        ] {
            assert_eq!(without_half_pairs(said), read);
            assert!(serde_json::from_str::<String>(&without_half_pairs(said)).is_ok());
        }
    }

    proptest! {
        #[test]
        fn what_is_json_stays_as_it_is(text in ".{0,40}") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(without_half_pairs(&json), json);
        }

        #[test]
        fn any_escapes_between_quotes_become_json(units in proptest::collection::vec(any::<u16>(), 0..12), any_text in ".{0,40}") {
            let json = format!("\"{}\"", units.iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>());
            prop_assert!(serde_json::from_str::<String>(&without_half_pairs(&json)).is_ok(), "{}", json);
            without_half_pairs(&any_text);
        }
    }
}
