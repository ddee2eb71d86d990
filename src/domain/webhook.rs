//! What a company's CRM is told of a change of consent: which ledger entries are told, under which name, how a call is signed
//! (Standard Webhooks, <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>) and when
//! one that failed is tried again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as B64;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::answer::OBJECTION;
use super::ledger::{Body, Entry};
use super::suppression::Reason;

/// A change of consent as a receiver sees it. A first yes, its expiry and a no overtaken by a newer yes change nothing that may
/// be sent, so they are not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum News {
    Granted,
    /// No to everything that was asked, and to any further ask.
    Refused,
    /// Taken back for the permissions named.
    Withdrawn,
    /// All marketing of this controller ends, whoever wrote the stop down.
    Stopped,
    WrongPerson,
}

impl News {
    pub const ALL: [News; 5] = [News::Granted, News::Refused, News::Withdrawn, News::Stopped, News::WrongPerson];

    pub fn code(self) -> &'static str {
        match self {
            News::Granted => "consent.granted",
            News::Refused => "consent.refused",
            News::Withdrawn => "consent.withdrawn",
            News::Stopped => "consent.stopped",
            News::WrongPerson => "consent.wrong_person",
        }
    }

    pub fn parse(code: &str) -> Option<News> {
        News::ALL.into_iter().find(|n| n.code() == code)
    }

    pub fn of_entry(entry: Entry) -> Option<News> {
        match entry {
            Entry::Granted => Some(News::Granted),
            Entry::Refused => Some(News::Refused),
            Entry::Withdrawn | Entry::ConsentExpired => Some(News::Withdrawn),
            // Whose data are restricted may be sent nothing; once they are not, what stands granted may be used again.
            Entry::Stopped | Entry::OperatorStop | Entry::Erased | Entry::Restricted => Some(News::Stopped),
            Entry::Unrestricted => Some(News::Granted),
            Entry::WrongPerson => Some(News::WrongPerson),
            Entry::Pending | Entry::Expired | Entry::LateNo | Entry::Times | Entry::Retention => None,
        }
    }

    /// What a no said by a number that is no contact is told as.
    pub fn of_suppression(reason: Reason) -> News {
        match reason {
            Reason::Refused => News::Refused,
            Reason::WrongPerson => News::WrongPerson,
            Reason::Stopped | Reason::UnsubscribedBefore | Reason::Erased => News::Stopped,
        }
    }

    /// `all`: nothing more may be sent to this number. `permissions`: what the event lists, and nothing else, has changed.
    pub fn scope(self) -> &'static str {
        match self {
            News::Granted | News::Withdrawn => "permissions",
            News::Refused | News::Stopped | News::WrongPerson => "all",
        }
    }
}

/// What made the change, in one word: the ledger's, `objection` where the person objected to all marketing by that name (Art. 21 GDPR),
/// and that of the event itself for a number that is no contact. An erasure is no STOP: the receiver has to erase too (Art. 19 GDPR).
pub fn reason(news: News, entry: Option<&Body>) -> &'static str {
    match entry {
        Some(body) if body.entry == Entry::Stopped && body.action == OBJECTION => OBJECTION,
        Some(body) => body.word(),
        None => news.code().trim_start_matches("consent."),
    }
}

/// The key inside `whsec_…`: 24 to 64 bytes in base64.
pub fn key(secret: &str) -> Option<Vec<u8>> {
    let key = B64.decode(secret.strip_prefix("whsec_")?).ok()?;
    (24..=64).contains(&key.len()).then_some(key)
}

/// The value of `webhook-signature`: one signature a key, the newest first, so that a secret can be changed without a gap.
/// `at` in seconds since 1970. `body` are the very bytes that are sent.
pub fn signature(keys: &[Vec<u8>], id: &str, at: i64, body: &[u8]) -> String {
    let sign = |key: &Vec<u8>| {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes any key length");
        mac.update(format!("{id}.{at}.").as_bytes());
        mac.update(body);
        format!("v1,{}", B64.encode(mac.finalize().into_bytes()))
    };
    keys.iter().map(sign).collect::<Vec<_>>().join(" ")
}

/// Seconds after each failed try, as Standard Webhooks proposes them: 76 hours in all, so that a CRM that is down over a weekend
/// misses nothing.
const PAUSES_S: [i64; 9] = [5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600];

/// Seconds to wait after so many failed tries (1 is the first); `None` once there have been enough.
pub fn pause_s(tries: i64) -> Option<i64> {
    PAUSES_S.get(usize::try_from(tries - 1).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::Digest;

    use super::*;

    /// HMAC by its definition (RFC 2104), beside the crate's.
    fn by_hand(key: &[u8], message: &[u8]) -> Vec<u8> {
        let block = |pad: u8| (0..64).map(|i| key.get(i).copied().unwrap_or(0) ^ pad).collect::<Vec<u8>>();
        let inner = Sha256::digest([block(0x36), message.to_vec()].concat());
        Sha256::digest([block(0x5c), inner.to_vec()].concat()).to_vec()
    }

    /// The example of the specification's reference libraries, and of openssl:
    /// `printf 'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}' | openssl dgst -sha256 -mac HMAC -macopt
    /// hexkey:$(printf MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw | base64 -d | xxd -p -c 99) -binary | base64`
    #[test]
    fn the_known_answer_is_given() {
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// Receivers are written by these words.
    #[test]
    fn each_change_has_its_word_and_its_scope() {
        let told = News::ALL.map(|news| (news.code(), news.scope()));
        let expected = [
            ("consent.granted", "permissions"),
            ("consent.refused", "all"),
            ("consent.withdrawn", "permissions"),
            ("consent.stopped", "all"),
            ("consent.wrong_person", "all"),
        ];
        assert_eq!(told, expected);
        assert_eq!(expected.map(|(code, _)| News::parse(code)), News::ALL.map(Some));
        assert_eq!(News::of_entry(Entry::ConsentExpired), Some(News::Withdrawn));
        assert_eq!([Entry::Pending, Entry::Times, Entry::Retention].map(News::of_entry), [None; 3]);
        assert_eq!(reason(News::Stopped, None), "stopped");
        assert_eq!([0, 1, 2, 9, 10].map(pause_s), [None, Some(5), Some(300), Some(86_400), None]);
        assert_eq!(PAUSES_S.iter().sum::<i64>(), 75 * 3600 + 35 * 60 + 5, "a weekend");
    }

    #[test]
    fn a_secret_is_base64_of_24_to_64_bytes_behind_its_prefix() {
        let of = |n: usize| format!("whsec_{}", B64.encode(vec![7; n]));
        assert!([24, 32, 64].into_iter().all(|n| key(&of(n)).is_some_and(|k| k.len() == n)));
        for wrong in [of(23), of(65), of(32).replace("whsec_", ""), "whsec_".into(), "whsec_*".into(), String::new()] {
            assert_eq!(key(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_call_is_tried_ten_times_over_three_days() {
        let all: Vec<i64> = (1..).map_while(pause_s).collect();
        assert_eq!((all.len(), all[0]), (9, 5));
        assert!(all.is_sorted() && all.iter().sum::<i64>() > 3 * 24 * 3600 && *all.last().unwrap() <= 24 * 3600);
        assert_eq!((pause_s(0), pause_s(10), pause_s(-3)), (None, None, None));
    }

    proptest! {
        #[test]
        fn every_body_is_signed_as_it_is(body in prop::collection::vec(any::<u8>(), 0..200), id in "evt_[1-9a-z]{1,22}",
            at in 0..5_000_000_000_i64, keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 24..=64), 1..3)) {
            let message = [format!("{id}.{at}.").into_bytes(), body.clone()].concat();
            let wanted: Vec<String> = keys.iter().map(|k| format!("v1,{}", B64.encode(by_hand(k, &message)))).collect();
            prop_assert_eq!(signature(&keys, &id, at, &body), wanted.join(" "));
        }

        #[test]
        fn no_text_breaks_the_reading_of_a_secret(text in ".{0,80}") {
            prop_assert!(key(&text).is_none_or(|k| (24..=64).contains(&k.len())));
        }
    }
}
