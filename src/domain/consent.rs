//! The double opt-in as a state machine: what an act of the person does to a conversation. The whole table is one
//! snapshot (`tests/it`), so that no change of it goes unseen.

use super::campaign::Mode;

/// Seconds after the confirmation was accepted before a further yes is a second act rather than the first one repeated.
pub const SECOND_ACT_AFTER_S: i64 = 10;

/// State of a conversation: an open ask or a confirmation. At most one is open a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Asked, or come by a link, and nothing said yet.
    Asked,
    /// A first yes waits for its second step.
    Pending,
    Granted,
    Refused,
    Stopped,
    WrongPerson,
    Expired,
}

impl State {
    pub const ALL: [State; 7] =
        [State::Asked, State::Pending, State::Granted, State::Refused, State::Stopped, State::WrongPerson, State::Expired];
    pub fn code(self) -> &'static str {
        match self {
            State::Asked => "asked",
            State::Pending => "pending",
            State::Granted => "granted",
            State::Refused => "refused",
            State::Stopped => "stopped",
            State::WrongPerson => "wrong_person",
            State::Expired => "expired",
        }
    }
    pub fn parse(code: &str) -> Option<State> {
        State::ALL.into_iter().find(|s| s.code() == code)
    }
    pub fn is_open(self) -> bool {
        matches!(self, State::Asked | State::Pending)
    }
}

/// An act of the person, or the passing of time. No operator, import or GET has a variant here (promise 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Ticked at least one box that was not granted yet and submitted the page.
    Chose,
    /// A reply that says yes. `second` = late enough to be another act than the first yes (see [`is_second_act`]).
    SaidYes {
        second: bool,
    },
    /// Typed the right one-time code in time, on the page of the first yes.
    TypedCode,
    /// No to everything asked: by reply, or on the page.
    SaidNo,
    SaidStop,
    WrongPerson,
    AskedForHelp,
    Unclear,
    /// The time for the second step, or for an answer, ran out.
    TimeOut,
}

/// What follows from an act, in the same transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Keep the first yes (ledger `pending`).
    Remember,
    /// Send the confirmation whose answer is the second step.
    SendConfirmation,
    /// Send the one-time code whose typing is the second step.
    SendCode,
    /// The permissions of the first yes are granted (ledger `granted`).
    Grant,
    Refuse,
    Stop,
    CloseContactPoint,
    /// One neutral acknowledgement at most.
    Acknowledge,
    Help,
    /// No further message to this person until an operator decides.
    Hold,
    Expire,
}

/// The machine. Total: every mode, state and act has an answer.
pub fn next(mode: Mode, state: State, act: Act) -> (State, Vec<Effect>) {
    use Effect::*;
    match (state, act) {
        // A no is taken in every state, open or not, and is never asked twice about (promise 2).
        (_, Act::SaidStop) => (State::Stopped, vec![Stop, Acknowledge]),
        (_, Act::SaidNo) => (State::Refused, vec![Refuse, Acknowledge]),
        (_, Act::WrongPerson) => (State::WrongPerson, vec![CloseContactPoint, Acknowledge]),
        (_, Act::AskedForHelp) => (state, vec![Help]),
        (_, Act::Unclear) => (state, vec![Hold]),

        // The page: a later submission replaces an earlier pending one.
        (State::Asked | State::Pending, Act::Chose) => match mode {
            Mode::Reply => (State::Pending, vec![Remember, SendConfirmation]),
            Mode::LinkReply => (State::Pending, vec![Remember]),
            Mode::LinkCode => (State::Pending, vec![Remember, SendCode]),
        },

        (State::Asked, Act::SaidYes { .. }) => match mode {
            Mode::Reply => (State::Pending, vec![Remember, SendConfirmation]),
            // The text offers choices on the page; a bare yes names none of them.
            Mode::LinkReply | Mode::LinkCode => (State::Asked, vec![Help]),
        },
        (State::Pending, Act::SaidYes { second }) => match (mode, second) {
            (Mode::Reply | Mode::LinkReply, true) => (State::Granted, vec![Grant, Acknowledge]),
            // The first yes said again.
            (Mode::Reply | Mode::LinkReply, false) => (State::Pending, vec![]),
            // Only the code completes this one.
            (Mode::LinkCode, _) => (State::Pending, vec![Help]),
        },
        // The page itself says so: no message acknowledges it.
        (State::Pending, Act::TypedCode) if mode == Mode::LinkCode => (State::Granted, vec![Grant]),
        (State::Asked | State::Pending, Act::TypedCode) => (state, vec![]),

        (State::Asked, Act::TimeOut) => (State::Expired, vec![]),
        (State::Pending, Act::TimeOut) => (State::Expired, vec![Expire]),

        // Closed conversations know no yes: a yes counts only in one opened after the last no. A person who comes back
        // by the link opens a new one (`Asked`) first.
        (
            State::Granted | State::Refused | State::Stopped | State::WrongPerson | State::Expired,
            Act::Chose | Act::SaidYes { .. } | Act::TypedCode | Act::TimeOut,
        ) => (state, vec![]),
    }
}

/// Whether a yes is another act than the first yes. Times are microseconds. By `reply` the confirmation must have been
/// accepted [`SECOND_ACT_AFTER_S`] before; after a page submission the reply must simply be later, and a tie is a no.
pub fn is_second_act(mode: Mode, first_yes_at: i64, confirm_accepted_at: Option<i64>, yes_at: i64) -> bool {
    match mode {
        Mode::Reply => confirm_accepted_at.is_some_and(|at| yes_at >= at + SECOND_ACT_AFTER_S * 1_000_000),
        Mode::LinkReply | Mode::LinkCode => yes_at > first_yes_at,
    }
}

/// When an inbound act counts, microseconds. `None`: it is not believed at all.
///
/// Two clocks disagree, so a no counts two minutes after its time and a yes at the earlier of its time and receipt. A time
/// in the future or over seven days old is not believed: a no then counts at receipt, a yes not at all.
pub fn counts_at(yes: bool, said_at: i64, received_at: i64) -> Option<i64> {
    const MINUTE: i64 = 60_000_000;
    let believable = said_at <= received_at + 2 * MINUTE && said_at >= received_at - 7 * 24 * 60 * MINUTE;
    match (yes, believable) {
        (true, true) => Some(said_at.min(received_at)),
        (true, false) => None,
        (false, true) => Some(said_at + 2 * MINUTE),
        (false, false) => Some(received_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_act_of_one_step_grants() {
        for mode in [Mode::LinkCode, Mode::LinkReply, Mode::Reply] {
            for act in [Act::Chose, Act::SaidYes { second: true }, Act::SaidYes { second: false }, Act::TypedCode] {
                let (state, effects) = next(mode, State::Asked, act);
                assert_ne!(state, State::Granted);
                assert!(!effects.contains(&Effect::Grant));
            }
        }
    }

    #[test]
    fn a_second_yes_counts_ten_seconds_after_the_confirmation_or_after_the_page() {
        let (first, accepted, ten) = (7, 5_000_000, 10_000_000);
        let by_reply = |accepted, yes| is_second_act(Mode::Reply, first, accepted, yes);
        assert!(!by_reply(None, accepted + ten));
        assert!(!by_reply(Some(accepted), accepted + ten - 1));
        assert!(by_reply(Some(accepted), accepted + ten));
        for mode in [Mode::LinkReply, Mode::LinkCode] {
            assert!([first - 1, first].iter().all(|yes| !is_second_act(mode, first, Some(accepted), *yes)));
            assert!(is_second_act(mode, first, None, first + 1));
        }
    }

    #[test]
    fn every_state_is_read_back_and_two_are_open() {
        for state in State::ALL {
            assert_eq!(State::parse(state.code()), Some(state));
            assert_eq!(state.is_open(), [State::Asked, State::Pending].contains(&state));
        }
        assert_eq!(State::parse("no such state"), None);
    }

    #[test]
    fn a_time_in_the_future_makes_no_yes() {
        assert_eq!(counts_at(true, 10_000_000_000, 0), None);
        assert_eq!(counts_at(false, 10_000_000_000, 0), Some(0));
        assert_eq!(counts_at(true, 50, 100), Some(50));
    }
}
