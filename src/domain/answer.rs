//! What became of an ask: the one word under which a report counts the person, and who said it. Every person asked stands under one, or
//! under none as long as nothing was said.

use std::collections::BTreeMap;

use super::rights::Right;

/// The person's last word on an ask, or what stands in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// Something that decides nothing: "ok", a call for help, what nobody could read for sure.
    Replied,
    /// A first yes waits for its second step.
    Pending,
    /// A first yes, whose second step never came.
    Unfinished,
    /// Completed by the second step.
    Confirmed,
    /// Was confirmed, and nothing of what the person allowed stands any more.
    Withdrawn,
    Refused,
    Stopped,
    WrongPerson,
}

impl Answer {
    pub const ALL: [Answer; 8] = [
        Answer::Replied,
        Answer::Pending,
        Answer::Unfinished,
        Answer::Confirmed,
        Answer::Withdrawn,
        Answer::Refused,
        Answer::Stopped,
        Answer::WrongPerson,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Answer::Replied => "replied",
            Answer::Pending => "pending",
            Answer::Unfinished => "unfinished",
            Answer::Confirmed => "confirmed",
            Answer::Withdrawn => "withdrawn",
            Answer::Refused => "refused",
            Answer::Stopped => "stopped",
            Answer::WrongPerson => "wrong_person",
        }
    }

    pub fn parse(code: &str) -> Option<Answer> {
        Answer::ALL.into_iter().find(|a| a.code() == code)
    }

    /// What it takes the place of; `None` is silence. A no stands until the second step of a new yes, and so does a consent that ended;
    /// a no of somebody else's leaves the person's own.
    pub fn replaces(self, by: By) -> &'static [Option<Answer>] {
        use Answer::{Confirmed, Pending, Refused, Replied, Stopped, Unfinished, Withdrawn, WrongPerson};
        match (self, by) {
            // What the copy could not see was the second step, or a choice of another kind.
            (Replied, By::Restore) => &[None, Some(Unfinished)],
            (Replied, _) => &[None],
            (Pending, _) => &[None, Some(Replied), Some(Unfinished)],
            (Unfinished, _) => &[Some(Pending)],
            (Confirmed, _) => &[
                None,
                Some(Replied),
                Some(Pending),
                Some(Unfinished),
                Some(Withdrawn),
                Some(Refused),
                Some(Stopped),
                Some(WrongPerson),
            ],
            (Withdrawn, _) => &[Some(Confirmed)],
            (Refused | Stopped | WrongPerson, By::Person) => {
                &[None, Some(Replied), Some(Pending), Some(Unfinished), Some(Refused), Some(Stopped), Some(WrongPerson)]
            }
            (Refused | Stopped | WrongPerson, _) => &[None, Some(Replied), Some(Pending), Some(Unfinished)],
        }
    }
}

/// The action of an entry by which a person objected to all marketing (Art. 21 GDPR).
pub const OBJECTION: &str = "objection";

/// Who gave an answer. A yes is the person's alone (promise 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum By {
    /// By any of their numbers.
    Person,
    /// Who read an unclear reply as a stop.
    Operator,
    /// The provider holds an opt-out.
    Gateway,
    /// A row of an imported list: unsubscribed, or listed in a register of those who oppose.
    List,
    /// Said since a copy was made that was restored: by whom stands in the database kept aside.
    Restore,
}

impl By {
    pub const ALL: [By; 5] = [By::Person, By::Operator, By::Gateway, By::List, By::Restore];

    pub fn code(self) -> &'static str {
        match self {
            By::Person => "person",
            By::Operator => "operator",
            By::Gateway => "gateway",
            By::List => "list",
            By::Restore => "restore",
        }
    }

    /// By whom what came on this channel of a ledger entry by this action was said; `None` where time alone said it. What a person asked for
    /// by letter is theirs, whoever carries it out.
    pub fn of(channel: &str, action: &str) -> Option<By> {
        match channel {
            "operator" if matches!(Right::parse(action), Some(Right::Objection | Right::Restriction | Right::Erasure)) => {
                Some(By::Person)
            }
            "operator" => Some(By::Operator),
            "gateway" => Some(By::Gateway),
            "import" => Some(By::List),
            "restore" => Some(By::Restore),
            "none" => None,
            _ => Some(By::Person),
        }
    }

    /// As one says it: `by an operator`.
    pub fn words(self) -> &'static str {
        match self {
            By::Person => "by the person",
            By::Operator => "by an operator",
            By::Gateway => "by the gateway's own opt-out",
            By::List => "by an imported list",
            By::Restore => "between the copy that was restored and its restoring",
        }
    }

    pub fn parse(code: &str) -> Option<By> {
        By::ALL.into_iter().find(|by| by.code() == code)
    }

    /// How many by whom: `3 by the person, 1 by an operator`.
    pub fn told(counts: &BTreeMap<String, u64>) -> String {
        let one = |(by, n): (&String, &u64)| format!("{n} {}", By::parse(by).unwrap_or(By::Person).words());
        counts.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}
