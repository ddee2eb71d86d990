//! What somebody chose on a form before anything was known of them. Nothing of it is stored: they carry it to the second step themselves,
//! written here and sealed with our key by `vault`: no contact data before the consent.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use super::channel::Permission;

const MINUTE: i64 = 60 * 1_000_000;

/// Microseconds from the choice in which a number can be given for it.
pub const LIFE: i64 = 30 * MINUTE;
/// Microseconds from the choice in which a code can be typed for it: as long again, and the code's own life is shorter.
pub const CODE_LIFE: i64 = 2 * LIFE;
/// Codes that all forms together send to one number in 24 hours at most: anybody can type anybody's number.
pub const A_DAY: i64 = 3;
/// Longest token read, bytes; ours are a fifth of that.
const LONGEST: usize = 4096;

/// One choice on one form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    pub form: String,
    pub permissions: Vec<Permission>,
    /// The version of the notice that was shown, and the hash of its text in the language it was shown in.
    pub notice: String,
    pub notice_hash: String,
    pub locale: String,
    /// Hash of what the form's page said about the choice; a chatbot has words of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_hash: Option<String>,
    /// Microseconds UTC.
    pub at: i64,
    /// Two choices are never the same token, and one token makes one act.
    pub nonce: String,
}

impl Consent {
    /// As it travels, before it is sealed: letters, digits, `-` and `_`.
    pub fn write(&self) -> String {
        BASE64.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads what [`Consent::write`] wrote; whether it is ours the seal says.
    pub fn read(text: &str) -> Option<Consent> {
        if text.len() > LONGEST {
            return None;
        }
        serde_json::from_slice(&BASE64.decode(text).ok()?).ok()
    }

    /// Whether it still counts `life` microseconds after it was said at the latest.
    pub fn is_fresh(&self, now: i64, life: i64) -> bool {
        (self.at..self.at.saturating_add(life)).contains(&now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::channel::{Channel, Purpose};

    #[test]
    fn a_choice_waits_half_an_hour_for_its_number_and_an_hour_for_its_code() {
        assert_eq!((LIFE, CODE_LIFE), (1_800_000_000, 3_600_000_000));
        assert_eq!(Consent::read(&"A".repeat(LONGEST + 1)), None);
    }

    fn consent() -> impl Strategy<Value = Consent> {
        let permission = (prop::sample::select(&Channel::ALL[..]), prop::sample::select(&Purpose::ALL[..]));
        let permissions = prop::collection::vec(permission.prop_map(|(channel, purpose)| Permission { channel, purpose }), 0..9);
        let texts = ("\\PC{0,20}", "\\PC{0,20}", "\\PC{0,20}", "\\PC{0,20}", "\\PC{0,20}");
        let page_hash = prop::option::of("\\PC{0,20}");
        (texts, page_hash, permissions, any::<i64>()).prop_map(
            |((form, notice, notice_hash, locale, nonce), page_hash, permissions, at)| Consent {
                form,
                permissions,
                notice,
                notice_hash,
                locale,
                page_hash,
                at,
                nonce,
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(consent in consent()) {
            let text = consent.write();
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(Consent::read(&text), Some(consent));
        }

        #[test]
        fn whatever_comes_is_read_or_not(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200), now in any::<i64>()) {
            for text in [text, BASE64.encode(bytes)] {
                if let Some(consent) = Consent::read(&text) {
                    consent.is_fresh(now, LIFE);
                }
            }
        }

        #[test]
        fn it_counts_from_when_it_was_said_until_its_life_is_over(consent in consent(), after in 0..LIFE) {
            if let Some(now) = consent.at.checked_add(after) {
                prop_assert!(consent.is_fresh(now, LIFE));
            }
            if let Some(late) = consent.at.checked_add(LIFE) {
                prop_assert!(!consent.is_fresh(late, LIFE));
            }
            prop_assert!(!consent.is_fresh(consent.at.saturating_sub(1), LIFE) || consent.at == i64::MIN);
        }
    }
}
