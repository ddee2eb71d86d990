//! How a permission of a contact stands, in one word: each contact stands under exactly one for each channel and purpose, so that the
//! figures of a channel and purpose add up to the contacts. Which word it is, `store::consents` says, for one contact or a million.

use serde::Serialize;

use super::channel::{Channel, Permission, Purpose};

/// In the order in which people read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Both steps are there: marketing may be sent.
    Granted,
    /// A first yes waits for its second step.
    Pending,
    Refused,
    /// Was granted, and taken back or ended by a no.
    Withdrawn,
    /// Was granted, and its time is over.
    Expired,
    /// To be left in peace altogether, without having been granted or refused this: STOP, an imported no, a wrong number.
    Suppressed,
    /// Art. 18 GDPR: nothing but storing, whatever else stands.
    Restricted,
    /// Asked for this, and never answered.
    Silent,
    /// Asked for this and answered, without giving or refusing it: the box beside a ticked one, a reply that decides nothing, a first yes
    /// without its second step.
    NotGiven,
    /// Nothing on record: never asked for this, or by an ask that reached nobody.
    Unknown,
}

impl Status {
    pub const ALL: [Status; 10] = [
        Status::Granted,
        Status::Pending,
        Status::Refused,
        Status::Withdrawn,
        Status::Expired,
        Status::Suppressed,
        Status::Restricted,
        Status::Silent,
        Status::NotGiven,
        Status::Unknown,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Status::Granted => "granted",
            Status::Pending => "pending",
            Status::Refused => "refused",
            Status::Withdrawn => "withdrawn",
            Status::Expired => "expired",
            Status::Suppressed => "suppressed",
            Status::Restricted => "restricted",
            Status::Silent => "silent",
            Status::NotGiven => "not_given",
            Status::Unknown => "unknown",
        }
    }

    pub fn parse(code: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|s| s.code() == code)
    }

    /// What the word says of somebody, for whoever reads the figures.
    pub fn meaning(self) -> &'static str {
        match self {
            Status::Granted => "said yes in both steps",
            Status::Pending => "said yes once; the second step is missing",
            Status::Refused => "said no to it",
            Status::Withdrawn => "had said yes, and no since",
            Status::Expired => "had said yes, and its time is over",
            Status::Suppressed => "to be left in peace altogether",
            Status::Restricted => "the use of their data is restricted (Art. 18 GDPR)",
            Status::Silent => "asked, and never answered",
            Status::NotGiven => "asked and answered, without giving or refusing it",
            Status::Unknown => "nothing on record",
        }
    }
}

/// What can be permitted, in order: a permission's place here is its bit in a set of them.
pub fn permissions() -> impl Iterator<Item = Permission> {
    Channel::ALL.into_iter().flat_map(|channel| Purpose::ALL.into_iter().map(move |purpose| Permission { channel, purpose }))
}
