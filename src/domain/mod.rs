//! The rules, without I/O, clock or database: who may be asked, what a reply means, what a yes needs, what a no does.

pub mod answer;
pub mod button;
pub mod campaign;
pub mod channel;
pub mod code;
pub mod consent;
pub mod contact;
pub mod country;
pub mod day;
pub mod eligibility;
pub mod hours;
pub mod intake;
pub mod language;
pub mod ledger;
pub mod link;
pub mod message;
pub mod money;
pub mod notice;
pub mod phone;
pub mod plural;
pub mod preview;
pub mod price;
pub mod register;
pub mod reply;
pub mod rights;
pub mod sms;
pub mod span;
pub mod status;
pub mod suppression;
pub mod times;
pub mod webhook;
pub mod wording;

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::{consent, ledger, message, rights, status, suppression};

    fn is<T: Copy + PartialEq + Debug>(all: &[T], code: fn(T) -> &'static str, parse: fn(&str) -> Option<T>, codes: &str) {
        assert_eq!(all.iter().map(|one| code(*one)).collect::<Vec<_>>().join(" "), codes);
        all.iter().for_each(|one| assert_eq!(parse(code(*one)), Some(*one)));
        assert_eq!(parse("none of ours"), None);
    }

    /// They stand in databases, in hashes of the ledger and in what other programs read.
    #[test]
    fn codes_are_what_they_always_were() {
        use ledger::{Entry, Preference};
        let entries = "pending granted refused withdrawn stopped wrong_person expired late_no operator_stop times erased retention restricted \
                       unrestricted consent_expired";
        is(&Entry::ALL, Entry::code, Entry::parse, entries);
        let preferences = [Preference::Granted, Preference::Refused, Preference::Withdrawn, Preference::Expired];
        is(&preferences, Preference::code, Preference::parse, "granted refused withdrawn expired");
        use message::{Kind, Outcome, Receipt, State};
        is(&Kind::ALL, Kind::code, Kind::parse, "ask reminder confirm code ack help test");
        assert_eq!(Kind::ALL.map(Kind::reference_prefix).join(" "), "ask rem cfm otp ack hlp tst");
        assert_eq!(Kind::ALL.into_iter().filter(|kind| kind.is_asking()).collect::<Vec<_>>(), [Kind::Ask, Kind::Reminder]);
        let states = "planned sending accepted sent delivered read unknown failed undelivered expired cancelled lapsed";
        is(&State::ALL, State::code, State::parse, states);
        assert_eq!(State::ALL.map(|state| state.to_string()).join(" "), states);
        is(&Receipt::ALL, Receipt::code, Receipt::parse, "accepted sent delivered read undelivered failed expired");
        is(&Outcome::ALL, Outcome::code, Outcome::parse, "accepted not_accepted refused unknown");
        let turned_down = Outcome::ALL.map(|outcome| Outcome::turned_down(Some(outcome.code())));
        assert_eq!((turned_down, Outcome::turned_down(None)), ([false, true, true, false], false));
        let states = "asked pending granted refused stopped wrong_person expired";
        is(&consent::State::ALL, consent::State::code, consent::State::parse, states);
        use rights::Right;
        is(&Right::ALL, Right::code, Right::parse, "access rectification erasure restriction restriction_lifted objection");
        use status::Status;
        let statuses = "granted pending refused withdrawn expired suppressed restricted silent not_given unknown";
        is(&Status::ALL, Status::code, Status::parse, statuses);
        assert_eq!(status::permissions().count(), 9);
        use suppression::Reason;
        is(&Reason::ALL, Reason::code, Reason::parse, "refused unsubscribed_before stopped erased wrong_person");
        assert_eq!(Reason::ALL.map(Reason::scope), ["marketing", "marketing", "marketing", "marketing", "number"]);
    }
}
