//! What the mock gateway does wrong on demand. Every decision is a pure function of the seed, the message's reference and the
//! fault's name, so a run repeats itself whatever the timing.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::protocol::{Channel, SendRequest, Status};

/// Probabilities are per reference, 0 to 1. Below 1, all but `refuse` and the receipts' faults strike only the first try of a
/// reference, so that trying again can succeed; at 1 they strike always. The default does nothing wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    pub seed: u64,
    /// 422: the recipient is refused, on every try.
    pub refuse: f64,
    /// 429 with `Retry-After: 1`.
    pub throttle: f64,
    /// Accepted, then silence for `timeout_ms`, then the connection closes.
    pub accept_then_timeout: f64,
    /// Accepted, then the connection closes without an answer.
    pub accept_then_reset: f64,
    /// Not accepted, and the connection closes without an answer.
    pub reset_before_accept: f64,
    /// Accepted, and the answer breaks off in the middle of its body.
    pub cut: f64,
    /// Accepted, answered by a 200 nobody can read.
    pub garbage: f64,
    /// 500; half of these messages are accepted all the same.
    pub server_error: f64,
    /// The answer takes `slow_ms` longer, and up to `spread_ms` more.
    pub slow: f64,
    /// Receipts come `late_ms` later.
    pub late: f64,
    /// Each receipt comes twice, with one event id.
    pub duplicate: f64,
    /// The last receipt comes before the first.
    pub reordered: f64,
    /// No receipt comes at all; the look-up still knows.
    pub lost: f64,
    /// Ends as `undelivered` instead of `delivered`.
    pub failed: f64,
    /// The share of numbers that are not on WhatsApp. Half of them are refused by 422, the other half by a failed receipt.
    pub no_whatsapp: f64,
    pub slow_ms: u64,
    pub spread_ms: u64,
    pub late_ms: u64,
    pub timeout_ms: u64,
    /// 402 to every message.
    pub no_credit: bool,
    /// Senders answered by 403.
    pub refused_senders: BTreeSet<String>,
    /// Numbers answered by 422.
    pub refused_numbers: BTreeSet<String>,
    /// Numbers whose messages are accepted and sent, and then expire (at once: nobody waits two days for a mock).
    pub unreachable: BTreeSet<String>,
    /// Numbers not on WhatsApp, refused by 422.
    pub not_on_whatsapp: BTreeSet<String>,
    /// Numbers not on WhatsApp, accepted and then failed by a receipt.
    pub not_on_whatsapp_late: BTreeSet<String>,
}

/// How a gateway tells that a number is not on WhatsApp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOnWhatsApp {
    Refused,
    ByReceipt,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            seed: 0,
            refuse: 0.0,
            throttle: 0.0,
            accept_then_timeout: 0.0,
            accept_then_reset: 0.0,
            reset_before_accept: 0.0,
            cut: 0.0,
            garbage: 0.0,
            server_error: 0.0,
            slow: 0.0,
            late: 0.0,
            duplicate: 0.0,
            reordered: 0.0,
            lost: 0.0,
            failed: 0.0,
            no_whatsapp: 0.0,
            slow_ms: 300,
            spread_ms: 0,
            late_ms: 500,
            timeout_ms: 30_000,
            no_credit: false,
            refused_senders: BTreeSet::new(),
            refused_numbers: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            not_on_whatsapp: BTreeSet::new(),
            not_on_whatsapp_late: BTreeSet::new(),
        }
    }
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    NoCredit,
    RefuseSender,
    RefuseRecipient,
    NotOnChannel,
    Throttle,
    ResetBefore,
    ServerError { accepted: bool },
    AcceptThenTimeout,
    AcceptThenReset,
    AcceptThenCut,
    Garbage,
    Accept,
}

impl Fate {
    pub fn accepts(self) -> bool {
        use Fate::*;
        matches!(self, Accept | Garbage | AcceptThenReset | AcceptThenCut | AcceptThenTimeout | ServerError { accepted: true })
    }
}

/// What becomes of the receipts of one accepted message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptFate {
    pub last: Status,
    pub lost: bool,
    pub reordered: bool,
    pub duplicate: bool,
    pub late: Option<Duration>,
}

impl Faults {
    /// A bit of everything, as on a bad day at a real gateway: for the demo and the endurance test.
    pub fn bad_weather(seed: u64) -> Self {
        Self {
            seed,
            refuse: 0.01,
            throttle: 0.05,
            accept_then_timeout: 0.005,
            accept_then_reset: 0.01,
            reset_before_accept: 0.01,
            garbage: 0.005,
            server_error: 0.01,
            slow: 0.02,
            late: 0.05,
            duplicate: 0.05,
            reordered: 0.05,
            lost: 0.02,
            failed: 0.03,
            timeout_ms: 5_000,
            ..Self::default()
        }
    }

    /// `tries` counts this request too: 1 is the first with its reference.
    pub fn fate(&self, request: &SendRequest, tries: u32) -> Fate {
        let strikes = |name, p: f64| (tries == 1 || p >= 1.0) && self.strikes(name, &request.reference, p);
        if self.no_credit {
            Fate::NoCredit
        } else if self.refused_senders.contains(&request.from) {
            Fate::RefuseSender
        } else if self.refused_numbers.contains(&request.to) || self.strikes("refuse", &request.reference, self.refuse) {
            Fate::RefuseRecipient
        } else if self.not_on_channel(request.channel, &request.to) == Some(NotOnWhatsApp::Refused) {
            Fate::NotOnChannel
        } else if strikes("throttle", self.throttle) {
            Fate::Throttle
        } else if strikes("reset_before_accept", self.reset_before_accept) {
            Fate::ResetBefore
        } else if strikes("server_error", self.server_error) {
            Fate::ServerError { accepted: self.strikes("server_error_accepts", &request.reference, 0.5) }
        } else if strikes("accept_then_timeout", self.accept_then_timeout) {
            Fate::AcceptThenTimeout
        } else if strikes("accept_then_reset", self.accept_then_reset) {
            Fate::AcceptThenReset
        } else if strikes("cut", self.cut) {
            Fate::AcceptThenCut
        } else if strikes("garbage", self.garbage) {
            Fate::Garbage
        } else {
            Fate::Accept
        }
    }

    /// How much longer the answer takes.
    pub fn slowness(&self, reference: &str, tries: u32) -> Option<Duration> {
        let strikes = (tries == 1 || self.slow >= 1.0) && self.strikes("slow", reference, self.slow);
        let more = self.share("spread", reference) * self.spread_ms as f64;
        strikes.then(|| Duration::from_millis(self.slow_ms + more as u64))
    }

    /// Whether this number is missing on this channel. A property of the number, so it is the same for every message.
    pub fn not_on_channel(&self, channel: Channel, number: &str) -> Option<NotOnWhatsApp> {
        if channel != Channel::Whatsapp {
            return None;
        }
        let told = if self.strikes("no_whatsapp_late", number, 0.5) { NotOnWhatsApp::ByReceipt } else { NotOnWhatsApp::Refused };
        match () {
            _ if self.not_on_whatsapp.contains(number) => Some(NotOnWhatsApp::Refused),
            _ if self.not_on_whatsapp_late.contains(number) => Some(NotOnWhatsApp::ByReceipt),
            _ => self.strikes("no_whatsapp", number, self.no_whatsapp).then_some(told),
        }
    }

    pub fn receipts(&self, request: &SendRequest) -> ReceiptFate {
        let SendRequest { reference, to, .. } = request;
        let strikes = |name, p| self.strikes(name, reference, p);
        ReceiptFate {
            last: if self.not_on_channel(request.channel, to).is_some() {
                Status::Failed
            } else if self.unreachable.contains(to) {
                Status::Expired
            } else if strikes("failed", self.failed) {
                Status::Undelivered
            } else {
                Status::Delivered
            },
            lost: strikes("lost", self.lost),
            reordered: strikes("reordered", self.reordered),
            duplicate: strikes("duplicate", self.duplicate),
            late: strikes("late", self.late).then(|| Duration::from_millis(self.late_ms)),
        }
    }

    fn strikes(&self, name: &str, reference: &str, probability: f64) -> bool {
        self.share(name, reference) < probability
    }

    /// 0 to 1, evenly spread over references.
    fn share(&self, name: &str, reference: &str) -> f64 {
        // FNV-1a over both names, then the finalizer of SplitMix64 to spread the bits. The standard library's hasher may
        // change between releases, and a seed has to mean the same run for good.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ self.seed;
        for byte in name.bytes().chain([0]).chain(reference.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
        (hash >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Channel;
    use super::*;

    fn request(reference: &str) -> SendRequest {
        SendRequest {
            reference: reference.into(),
            from: "ACME".into(),
            to: "+15005550006".into(),
            channel: Channel::Sms,
            text: "Hello".into(),
            buttons: vec![],
            validity_seconds: None,
        }
    }

    fn fates(faults: &Faults, tries: u32) -> Vec<Fate> {
        (0..10_000).map(|n| faults.fate(&request(&format!("ask_{n}")), tries)).collect()
    }

    #[test]
    fn one_seed_is_one_run_and_another_seed_another() {
        let (one, two) = (Faults::bad_weather(1), Faults::bad_weather(2));
        assert_eq!(fates(&one, 1), fates(&one, 1));
        assert_ne!(fates(&one, 1), fates(&two, 1));
    }

    #[test]
    fn a_fault_strikes_about_as_often_as_its_probability_says() {
        let faults = Faults { throttle: 0.2, ..Faults::default() };
        let struck = fates(&faults, 1).into_iter().filter(|fate| *fate == Fate::Throttle).count();
        assert!((1_800..2_200).contains(&struck), "{struck}");
    }

    #[test]
    fn the_second_try_meets_only_refusals_and_certain_faults() {
        let second = fates(&Faults::bad_weather(7), 2);
        assert!(second.iter().all(|fate| matches!(fate, Fate::Accept | Fate::RefuseRecipient)));
        let always = Faults { throttle: 1.0, ..Faults::default() };
        assert!(fates(&always, 2).iter().all(|fate| *fate == Fate::Throttle));
    }

    #[test]
    fn the_default_does_nothing_wrong() {
        assert!(fates(&Faults::default(), 1).iter().all(|fate| *fate == Fate::Accept));
        assert_eq!(Faults::default().slowness("ask_1", 1), None);
        let request = SendRequest {
            reference: "ask_1".into(),
            from: "ACME".into(),
            to: "+15005550006".into(),
            channel: Channel::Whatsapp,
            text: "Hello".into(),
            buttons: Vec::new(),
            validity_seconds: None,
        };
        let fate = Faults::default().receipts(&request);
        assert_eq!(fate, ReceiptFate { last: Status::Delivered, lost: false, reordered: false, duplicate: false, late: None });
    }
}
