//! The form of a ledger entry, its hashes, and how preferences follow from entries. Storing them is `store::ledger`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::channel::Permission;
use super::times::Times;

/// What a ledger entry says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// First yes: nothing is allowed yet.
    Pending,
    /// The second step completed the first yes.
    Granted,
    /// No to everything that was asked.
    Refused,
    /// Taken back by the person for these permissions.
    Withdrawn,
    /// STOP: all marketing of this controller.
    Stopped,
    WrongPerson,
    /// A first yes whose second step never came.
    Expired,
    /// A no that arrived after the person had opened a new conversation and said yes in it.
    LateNo,
    /// An operator ruled an unclear reply a stop.
    OperatorStop,
    /// When the person wants to be written to; nothing about whether.
    Times,
    Erased,
    Retention,
    /// Art. 18 GDPR: nothing but storing until it is lifted.
    Restricted,
    Unrestricted,
    /// A consent's time is over (EDPB 05/2020 ¶110–111: it is refreshed in time, or it ends).
    ConsentExpired,
}

impl Entry {
    pub const ALL: [Entry; 15] = [
        Entry::Pending,
        Entry::Granted,
        Entry::Refused,
        Entry::Withdrawn,
        Entry::Stopped,
        Entry::WrongPerson,
        Entry::Expired,
        Entry::LateNo,
        Entry::OperatorStop,
        Entry::Times,
        Entry::Erased,
        Entry::Retention,
        Entry::Restricted,
        Entry::Unrestricted,
        Entry::ConsentExpired,
    ];

    pub fn parse(code: &str) -> Option<Entry> {
        Entry::ALL.into_iter().find(|entry| entry.code() == code)
    }

    pub fn code(self) -> &'static str {
        match self {
            Entry::Pending => "pending",
            Entry::Granted => "granted",
            Entry::Refused => "refused",
            Entry::Withdrawn => "withdrawn",
            Entry::Stopped => "stopped",
            Entry::WrongPerson => "wrong_person",
            Entry::Expired => "expired",
            Entry::LateNo => "late_no",
            Entry::OperatorStop => "operator_stop",
            Entry::Times => "times",
            Entry::Erased => "erased",
            Entry::Retention => "retention",
            Entry::Restricted => "restricted",
            Entry::Unrestricted => "unrestricted",
            Entry::ConsentExpired => "consent_expired",
        }
    }
}

/// Everything that proves one change (Art. 7(1) GDPR): who, when, how, the exact wording, why we were allowed to ask.
/// It holds no number and no reply text. Field order is the hashed form: append, never reorder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    pub subject: String,
    pub entry: Entry,
    pub at: i64,
    /// `sms`, `whatsapp`, `page`, `operator`.
    pub channel: String,
    /// What the person did: `reply`, `form_post`, `none` for a time-out.
    pub action: String,
    pub permissions: Vec<Permission>,
    pub campaign: Option<String>,
    pub ask_basis: Option<String>,
    /// Our reference of the message that asked.
    pub ask_reference: Option<String>,
    pub wording_hash: Option<String>,
    pub locale: Option<String>,
    pub notice_version: Option<String>,
    /// The gateway's id of the inbound message, or the page's form hash.
    pub evidence: Option<String>,
    /// Keyed hash of what the person wrote; the text itself is deleted sooner.
    pub text_hash: Option<String>,
    /// `granted` only: how and when the first yes was said.
    pub first_yes: Option<FirstYes>,
    /// Hash of the notice's text that was published under that version in that language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice_hash: Option<String>,
    /// `times` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<Times>,
    /// The form on which it was said, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
    /// Hash of the page's words about the choice, where a page was where it was said: what a tick, a button and silence mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_hash: Option<String>,
}

/// The action of the entry that closes a number because its person has another one (Art. 16 GDPR).
pub const NUMBER_CHANGED: &str = "number_changed";

impl Body {
    /// Whether the number was closed because its person has another one: nobody said that it is a stranger's.
    pub fn is_number_change(&self) -> bool {
        self.entry == Entry::WrongPerson && self.action == NUMBER_CHANGED
    }

    /// What the entry is called where people read it.
    pub fn word(&self) -> &'static str {
        if self.is_number_change() { NUMBER_CHANGED } else { self.entry.code() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstYes {
    pub at: i64,
    pub channel: String,
    pub action: String,
    pub evidence: String,
    /// What was shown with the choice: the notice's version, the hash of its text, and the language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// The page's words, as in [`Body`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_hash: Option<String>,
}

pub const GENESIS: &str = "genesis";

pub fn body_hash(body: &str) -> String {
    hex(&Sha256::digest(body.as_bytes()))
}

/// Hash of a row, over everything it holds and its predecessor's hash, so that a changed, missing or moved row shows.
pub fn row_hash(controller: &str, subject: &str, kind: &str, at: i64, body_hash: &str, prev: &str) -> String {
    let mut hash = Sha256::new();
    for field in [controller, subject, kind, &at.to_string(), body_hash, prev] {
        // Length first: no two rows share a byte string.
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field.as_bytes());
    }
    hex(&hash.finalize())
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// State of one permission. `granted` is the only one that lets marketing be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    Granted,
    Refused,
    Withdrawn,
    /// Was granted, and its time is over.
    Expired,
}

impl Preference {
    pub fn code(self) -> &'static str {
        match self {
            Preference::Granted => "granted",
            Preference::Refused => "refused",
            Preference::Withdrawn => "withdrawn",
            Preference::Expired => "expired",
        }
    }
    pub fn parse(code: &str) -> Option<Preference> {
        [Preference::Granted, Preference::Refused, Preference::Withdrawn, Preference::Expired]
            .into_iter()
            .find(|p| p.code() == code)
    }
}

/// The current state of one subject, derived from its entries in order. The stored table is this function's cache.
pub fn apply(preferences: &mut BTreeMap<Permission, Preference>, body: &Body) {
    match body.entry {
        Entry::Granted => {
            preferences.extend(body.permissions.iter().map(|p| (*p, Preference::Granted)));
        }
        Entry::Refused => {
            for permission in &body.permissions {
                let state = match preferences.get(permission) {
                    Some(Preference::Granted | Preference::Withdrawn) => Preference::Withdrawn,
                    _ => Preference::Refused,
                };
                preferences.insert(*permission, state);
            }
        }
        Entry::Withdrawn => preferences.extend(body.permissions.iter().map(|p| (*p, Preference::Withdrawn))),
        Entry::ConsentExpired => preferences.extend(body.permissions.iter().map(|p| (*p, Preference::Expired))),
        Entry::Stopped | Entry::OperatorStop | Entry::WrongPerson | Entry::Erased => {
            for state in preferences.values_mut() {
                if *state == Preference::Granted {
                    *state = Preference::Withdrawn;
                }
            }
        }
        Entry::Pending
        | Entry::Expired
        | Entry::LateNo
        | Entry::Times
        | Entry::Retention
        | Entry::Restricted
        | Entry::Unrestricted => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(entry: Entry, permissions: &[Permission]) -> Body {
        let none = || None;
        Body {
            subject: "s".into(),
            entry,
            at: 1,
            channel: "page".into(),
            action: "form_post".into(),
            permissions: permissions.to_vec(),
            campaign: none(),
            ask_basis: none(),
            ask_reference: none(),
            wording_hash: none(),
            locale: none(),
            notice_version: none(),
            evidence: none(),
            text_hash: none(),
            first_yes: None,
            notice_hash: none(),
            times: None,
            form: none(),
            page_hash: none(),
        }
    }

    #[test]
    fn what_each_entry_makes_of_what_was_granted_and_of_what_was_not() {
        let [had, new] = ["sms.promotions", "sms.profiling"].map(|text| Permission::parse(text).expect("one of ours"));
        use Preference::{Expired, Granted, Refused, Withdrawn};
        for entry in Entry::ALL {
            let mut preferences = BTreeMap::from([(had, Granted)]);
            apply(&mut preferences, &body(entry, &[had, new]));
            let after = (preferences[&had], preferences.get(&new).copied());
            let expected = match entry {
                Entry::Granted => (Granted, Some(Granted)),
                Entry::Refused => (Withdrawn, Some(Refused)),
                Entry::Withdrawn => (Withdrawn, Some(Withdrawn)),
                Entry::ConsentExpired => (Expired, Some(Expired)),
                Entry::Stopped | Entry::OperatorStop | Entry::WrongPerson | Entry::Erased => (Withdrawn, None),
                _ => (Granted, None),
            };
            assert_eq!(after, expected, "{entry:?}");
        }
        // Said again it stays what it was; what was never granted is not taken back by a STOP.
        let mut preferences = BTreeMap::from([(had, Withdrawn), (new, Refused)]);
        apply(&mut preferences, &body(Entry::Refused, &[had, new]));
        apply(&mut preferences, &body(Entry::Stopped, &[]));
        assert_eq!(preferences, BTreeMap::from([(had, Withdrawn), (new, Refused)]));
    }

    #[test]
    fn hashes_are_those_of_sha_256() {
        // FIPS 180-2, example B.1.
        assert_eq!(body_hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let row = |prev: &str| row_hash("acme", "s", "granted", 1, "b", prev);
        assert_eq!(row(GENESIS).len(), 64);
        assert_ne!(row(GENESIS), row("other"));
        assert_ne!(row_hash("ac", "mes", "granted", 1, "b", GENESIS), row_hash("acme", "s", "granted", 1, "b", GENESIS));
    }
}
