//! Kinds and states of a message. Every message ends in a named state (promise 4).

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Ask,
    Reminder,
    /// Second step of the double opt-in.
    Confirm,
    /// One-time code typed on the page.
    Code,
    /// Neutral acknowledgement of an inbound message.
    Ack,
    Help,
    /// To a number in `[testers]`.
    Test,
}

impl Kind {
    pub const ALL: [Kind; 7] = [Kind::Ask, Kind::Reminder, Kind::Confirm, Kind::Code, Kind::Ack, Kind::Help, Kind::Test];

    pub fn code(self) -> &'static str {
        match self {
            Kind::Ask => "ask",
            Kind::Reminder => "reminder",
            Kind::Confirm => "confirm",
            Kind::Code => "code",
            Kind::Ack => "ack",
            Kind::Help => "help",
            Kind::Test => "test",
        }
    }
    pub fn parse(code: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|k| k.code() == code)
    }
    /// Asks and reminders are marketing; the rest answers an act of the person (or tests).
    pub fn is_asking(self) -> bool {
        matches!(self, Kind::Ask | Kind::Reminder)
    }
    /// Prefix of the reference that leaves the process, so that a gateway's own log can be counted by kind.
    pub fn reference_prefix(self) -> &'static str {
        match self {
            Kind::Ask => "ask",
            Kind::Reminder => "rem",
            Kind::Confirm => "cfm",
            Kind::Code => "otp",
            Kind::Ack => "ack",
            Kind::Help => "hlp",
            Kind::Test => "tst",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    Planned,
    /// Claimed: the request may have left.
    Sending,
    Accepted,
    Sent,
    Delivered,
    Read,
    /// Not known whether the gateway took it: counts as asked and is never sent again (promise 3).
    Unknown,
    Failed,
    Undelivered,
    Expired,
    Cancelled,
    /// Its time passed before it could be sent.
    Lapsed,
}

impl State {
    pub const ALL: [State; 12] = [
        State::Planned,
        State::Sending,
        State::Accepted,
        State::Sent,
        State::Delivered,
        State::Read,
        State::Unknown,
        State::Failed,
        State::Undelivered,
        State::Expired,
        State::Cancelled,
        State::Lapsed,
    ];

    pub fn code(self) -> &'static str {
        match self {
            State::Planned => "planned",
            State::Sending => "sending",
            State::Accepted => "accepted",
            State::Sent => "sent",
            State::Delivered => "delivered",
            State::Read => "read",
            State::Unknown => "unknown",
            State::Failed => "failed",
            State::Undelivered => "undelivered",
            State::Expired => "expired",
            State::Cancelled => "cancelled",
            State::Lapsed => "lapsed",
        }
    }
    pub fn parse(code: &str) -> Option<State> {
        State::ALL.into_iter().find(|s| s.code() == code)
    }

    /// What the person's phone or the gateway tells us makes of a message in this state, or `None` where nothing changes.
    /// Receipts repeat, skip and overtake each other, so a lower rank never overwrites a higher one; only delivery
    /// proved true overrules a failure.
    pub fn on_receipt(self, receipt: Receipt) -> Option<State> {
        use State::*;
        let next = match receipt {
            Receipt::Accepted => Accepted,
            Receipt::Sent => Sent,
            Receipt::Delivered => Delivered,
            Receipt::Read => Read,
            Receipt::Undelivered => Undelivered,
            Receipt::Failed => Failed,
            Receipt::Expired => Expired,
        };
        let allowed = match self {
            // A receipt may overtake the answer to our own send.
            Sending | Unknown => true,
            Accepted => next != Accepted,
            Sent => !matches!(next, Accepted | Sent),
            Delivered => next == Read,
            Undelivered | Expired | Failed => matches!(next, Delivered | Read),
            Read | Planned | Cancelled | Lapsed => false,
        };
        allowed.then_some(next)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What the gateway's answer to one attempt said of it; none while that is out. In a statement these are the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Accepted,
    /// Proved not to have been taken, for a reason that may pass: the message is tried again.
    NotAccepted,
    /// Not taken, and no try of it would be: the number does not work, or is not on this channel.
    Refused,
    /// No answer, or one that proves nothing.
    Unknown,
}

impl Outcome {
    pub const ALL: [Outcome; 4] = [Outcome::Accepted, Outcome::NotAccepted, Outcome::Refused, Outcome::Unknown];

    pub fn code(self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::NotAccepted => "not_accepted",
            Outcome::Refused => "refused",
            Outcome::Unknown => "unknown",
        }
    }

    pub fn parse(code: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|outcome| outcome.code() == code)
    }

    /// Whether by this, as it is stored, the gateway did not take it.
    pub fn turned_down(code: Option<&str>) -> bool {
        matches!(code.and_then(Outcome::parse), Some(Outcome::NotAccepted | Outcome::Refused))
    }
}

/// A delivery receipt's canonical status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Receipt {
    /// The provider has it and has handed it to nobody yet.
    Accepted,
    /// A carrier, or WhatsApp, has it.
    Sent,
    Delivered,
    Read,
    Undelivered,
    Failed,
    Expired,
}

impl Receipt {
    pub const ALL: [Receipt; 7] = [
        Receipt::Accepted,
        Receipt::Sent,
        Receipt::Delivered,
        Receipt::Read,
        Receipt::Undelivered,
        Receipt::Failed,
        Receipt::Expired,
    ];
    pub fn code(self) -> &'static str {
        match self {
            Receipt::Accepted => "accepted",
            Receipt::Sent => "sent",
            Receipt::Delivered => "delivered",
            Receipt::Read => "read",
            Receipt::Undelivered => "undelivered",
            Receipt::Failed => "failed",
            Receipt::Expired => "expired",
        }
    }
    pub fn parse(code: &str) -> Option<Receipt> {
        Receipt::ALL.into_iter().find(|r| r.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_in_any_order_end_in_the_same_state() {
        let orders = [
            vec![Receipt::Sent, Receipt::Delivered],
            vec![Receipt::Delivered, Receipt::Sent],
            vec![Receipt::Sent, Receipt::Accepted, Receipt::Delivered, Receipt::Accepted],
            vec![Receipt::Delivered, Receipt::Delivered, Receipt::Sent],
            vec![Receipt::Undelivered, Receipt::Delivered],
        ];
        for order in orders {
            let end = order.iter().fold(State::Accepted, |state, r| state.on_receipt(*r).unwrap_or(state));
            assert_eq!(end, State::Delivered, "{order:?}");
        }
    }

    #[test]
    fn no_receipt_ever_brings_a_message_back_to_planned() {
        for state in State::ALL {
            for receipt in Receipt::ALL {
                assert!(!matches!(state.on_receipt(receipt), Some(State::Planned | State::Sending)));
            }
        }
    }
}
