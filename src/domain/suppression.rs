//! Why a number is left in peace, and how far that reaches.

/// The reason code is all a suppression keeps beside the keyed number and the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The person said no to everything asked (refusals are never asked again).
    Refused,
    /// The imported list says the person unsubscribed, refused or objected.
    UnsubscribedBefore,
    /// STOP: objection to all marketing of this controller (Art. 21(2)–(3) GDPR).
    Stopped,
    /// Erased at the person's request; the number stays out.
    Erased,
    /// "Wrong person": the contact point is closed.
    WrongPerson,
}

impl Reason {
    pub const ALL: [Reason; 5] =
        [Reason::Refused, Reason::UnsubscribedBefore, Reason::Stopped, Reason::Erased, Reason::WrongPerson];

    pub fn code(self) -> &'static str {
        match self {
            Reason::Refused => "refused",
            Reason::UnsubscribedBefore => "unsubscribed_before",
            Reason::Stopped => "stopped",
            Reason::Erased => "erased",
            Reason::WrongPerson => "wrong_person",
        }
    }

    pub fn parse(code: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|r| r.code() == code)
    }

    /// Whether the provider may block our messages as well, one-time codes among them: of a STOP sent to us or, for all a list or an erasure
    /// leaves to know, to whoever wrote before, it keeps a list of its own that only its own word lifts. A no on a page never went
    /// through it, and to a wrong number no code is sent.
    pub fn may_be_blocked(self) -> bool {
        match self {
            Reason::UnsubscribedBefore | Reason::Stopped | Reason::Erased => true,
            Reason::Refused | Reason::WrongPerson => false,
        }
    }

    /// `marketing` can be lifted by the person's own fresh opt-in; `number` closes the contact point whoever writes.
    pub fn scope(self) -> &'static str {
        match self {
            Reason::WrongPerson => "number",
            _ => "marketing",
        }
    }
}
