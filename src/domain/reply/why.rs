//! Why a reply was read as it was, for operators and for whoever writes phrase sets.

use std::fmt;
use std::sync::Arc;

use super::Origin;

/// The reason of a reading. It names what the files say and never quotes the reply: it may be shown and stored anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A phrase is there, or a rule fits.
    Says(Arc<Origin>),
    /// A stop word with a slip of the finger, or spelled out.
    Almost(Arc<Origin>),
    /// The only stop is negated: unclear.
    Negated(Arc<Origin>),
    /// A yes is negated: a no.
    Denied(Arc<Origin>),
    /// A no, and this yes after it: unclear.
    Contradicts(Arc<Origin>),
    /// A yes is there, with other words, a question mark or another sign of doubt: unclear.
    NotOnlyYes(Arc<Origin>),
    /// A word nobody can be sure of in this language: unclear.
    Doubtful(Arc<Origin>),
    /// Nothing known fits: unclear.
    Unknown,
}

impl Why {
    /// A stable word for the reason.
    pub fn code(&self) -> &'static str {
        match self {
            Why::Says(_) => "says",
            Why::Almost(_) => "almost_says",
            Why::Negated(_) => "negated_stop",
            Why::Denied(_) => "negated_yes",
            Why::Contradicts(_) => "no_and_yes",
            Why::NotOnlyYes(_) => "not_only_yes",
            Why::Doubtful(_) => "doubtful",
            Why::Unknown => "unknown",
        }
    }

    /// The phrase or rule that decided.
    pub fn origin(&self) -> Option<&Arc<Origin>> {
        match self {
            Why::Says(origin)
            | Why::Almost(origin)
            | Why::Negated(origin)
            | Why::Denied(origin)
            | Why::Contradicts(origin)
            | Why::NotOnlyYes(origin)
            | Why::Doubtful(origin) => Some(origin),
            Why::Unknown => None,
        }
    }

    pub(super) fn origin_mut(&mut self) -> Option<&mut Arc<Origin>> {
        match self {
            Why::Says(origin)
            | Why::Almost(origin)
            | Why::Negated(origin)
            | Why::Denied(origin)
            | Why::Contradicts(origin)
            | Why::NotOnlyYes(origin)
            | Why::Doubtful(origin) => Some(origin),
            Why::Unknown => None,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Says(origin) => write!(f, "it says {origin}"),
            Why::Almost(origin) => write!(f, "it says {origin} with a slip, or spelled out"),
            Why::Negated(origin) => write!(f, "it negates {origin}"),
            Why::Denied(origin) => write!(f, "it negates {origin}"),
            Why::Contradicts(origin) => write!(f, "it says no and then {origin}"),
            Why::NotOnlyYes(origin) => write!(f, "it says {origin}, but not alone or not without doubt"),
            Why::Doubtful(origin) => write!(f, "nobody can be sure what {origin} means"),
            Why::Unknown => f.write_str("no phrase and no rule fits it"),
        }
    }
}
