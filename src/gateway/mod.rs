//! What the engine asks of a provider account, and nothing of any one provider: that stands in one file each.

pub mod crm;
pub mod mock;

use std::time::Duration;

use futures::future::BoxFuture;

use crate::domain::channel::Channel;
use crate::domain::eligibility::Cleared;
use crate::domain::message::Receipt;
use crate::domain::phone::PhoneNumber;

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
    /// Seconds the provider may go on trying, so that nothing arrives at night or after the deadline.
    pub validity_s: i64,
}

/// A quick reply: the tap brings back its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Button {
    /// At most 256 characters (providers.md, Meta: quick-reply payload).
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

#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// The request never left.
    NotReached,
    /// Cleared too long ago.
    TooLate,
    /// Too fast: nothing more to this gateway for so long.
    Throttled { retry_after: Duration },
    /// This number will not work: final.
    Recipient,
    /// This number cannot be reached on this channel (it has no WhatsApp): the next channel may try.
    NotOnChannel,
    /// The provider holds an opt-out of this person (T19).
    OptedOut,
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
        /// A failure that proves the number is not on this channel at all: nothing was or will be delivered.
        not_on_channel: bool,
        at: i64,
    },
    /// Authentic, but not to be understood: kept for an operator, and its neighbours go on.
    Unreadable { event_id: String, body: String },
    Inbound {
        event_id: String,
        from: PhoneNumber,
        to: String,
        channel: Channel,
        text: String,
        /// The tapped [`Button`]'s id, where it was a tap.
        button: Option<String>,
        /// Microseconds UTC by the provider's clock; `None` where it gives none.
        at: Option<i64>,
        /// The provider has answered the person already (opt-out handling of its own).
        answered: bool,
    },
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
    #[error("the signature does not match the body")]
    Forged,
    #[error("the signature's time is outside the window")]
    Stale,
    #[error("the body is not what this gateway sends: {0}")]
    Body(String),
}

pub trait Gateway: Send + Sync + std::fmt::Debug {
    fn name(&self) -> &str;

    /// Whether the provider rejects a second message with our reference, so that an unknown send may be repeated.
    fn dedupes(&self) -> bool;

    /// Sends one cleared message. The clearance is used up; after its time the message is refused unsent.
    fn send<'a>(&'a self, cleared: Cleared, message: &'a Outgoing) -> BoxFuture<'a, Sent>;

    /// Authenticates a callback over its raw body and reads it. `header` looks a header up by its lower-case name.
    ///
    /// # Errors
    /// The signature is missing, wrong or too old, or the body is not in the provider's form.
    fn read_webhook(&self, header: &dyn Fn(&str) -> Option<String>, body: &[u8], now: i64) -> Result<Vec<Event>, WebhookError>;

    /// Inbound messages of a time in which nobody listened, where the provider can list them.
    fn list_inbound<'a>(&'a self, from: i64, to: i64) -> BoxFuture<'a, Option<Result<Vec<Event>, String>>>;

    /// What became of the message with this reference of ours; `None` where the provider cannot tell.
    fn look_up<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Option<Result<LookedUp, String>>>;
}
