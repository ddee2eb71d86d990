//! Delivery receipts in their usual dialects: TLVs first, then the text of appendix B of SMPP 3.4 as SMSCs really write it.

use super::pdu::{self, Deliver};
use crate::clock::DAY;
use crate::domain::message::Receipt;
use crate::gateway::Event;
use crate::gateway::driver::id_of_content;

/// How an SMSC writes its message ids: the same id may be hexadecimal in its answer and decimal in its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    Text,
    Hex,
    Decimal,
}

impl Ids {
    pub fn parse(text: &str) -> Ids {
        match text {
            "hex" => Ids::Hex,
            "decimal" => Ids::Decimal,
            _ => Ids::Text,
        }
    }

    /// The id in the one form both can be compared in; none where it is not written this way.
    fn read(self, id: &str) -> Option<String> {
        let id = id.trim();
        match self {
            Ids::Text => Some(id.to_owned()).filter(|id| !id.is_empty()),
            Ids::Hex => u128::from_str_radix(id.trim_start_matches("0x"), 16).ok().map(|n| n.to_string()),
            Ids::Decimal => id.parse::<u128>().ok().map(|n| n.to_string()),
        }
    }

    /// As [`Ids::read`], and the id as it stands where it is written some other way.
    pub fn normal(self, id: &str) -> Option<String> {
        self.read(id).or_else(|| Ids::Text.read(id))
    }
}

/// Whether this deliver_sm is a receipt, final or intermediate, or the acknowledgement of a handset: by its type, or, where an SMSC
/// forgets that, by the TLVs that no person's message has. By its text alone it is none: anybody could write it.
pub fn is_receipt(deliver: &Deliver) -> bool {
    let has = |tag| deliver.tlv(tag).is_some();
    matches!(deliver.esm_class & 0x3c, 0x04 | 0x08 | 0x20) || (has(pdu::RECEIPTED_MESSAGE_ID) && has(pdu::MESSAGE_STATE))
}

/// The receipt as an event. `now`: an SMSC gives its time to the minute and without a zone, so that of the receipt's arrival counts.
pub fn event(deliver: &Deliver, ids: Ids, now: i64) -> Event {
    let text = String::from_utf8_lossy(&deliver.message).into_owned();
    let said = Said::read(&text);
    let tlv = |tag| deliver.tlv(tag).map(|value| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
    let (by_tlv, by_text) = (tlv(pdu::RECEIPTED_MESSAGE_ID), said.id.map(str::to_owned));
    // The TLV repeats the id of the answer, the text may write it in another way, of which the setting speaks.
    let candidates = match ids {
        Ids::Text => [by_tlv, by_text],
        Ids::Hex | Ids::Decimal => [by_text, by_tlv],
    };
    let mut written = candidates.iter().flatten();
    let id = written.find_map(|id| ids.read(id)).or_else(|| candidates.iter().flatten().find_map(|id| Ids::Text.read(id)));
    let state = deliver.tlv(pdu::MESSAGE_STATE).and_then(|value| value.last()).and_then(|state| by_state(*state));
    let status = state.or_else(|| said.stat.and_then(by_word));
    // A handset's acknowledgement says nothing else.
    let status = status.or((deliver.esm_class & 0x3c == 0x08).then_some(Receipt::Delivered));
    let (Some(provider_id), Some(status)) = (id, status) else {
        let hex: String = deliver.message.iter().map(|octet| format!("{octet:02x}")).collect();
        return Event::Unreadable { event_id: id_of_content(hex.as_bytes()), body: text, why: crate::gateway::NO_FORM.into() };
    };
    let code = said.err.map(str::to_owned).or_else(|| {
        let code = deliver.tlv(pdu::NETWORK_ERROR_CODE)?;
        Some(code.iter().skip(1).fold(0, |sum: u32, octet| (sum << 8) | u32::from(*octet)).to_string())
    });
    let failed = matches!(status, Receipt::Undelivered | Receipt::Failed | Receipt::Expired);
    Event::Receipt {
        // Ids come round, and the time of what they are about with them.
        event_id: match said.done {
            Some(done) => format!("{provider_id}:{}:{done}", status.code()),
            None => format!("{provider_id}:{}:day {}", status.code(), now / DAY),
        },
        provider_id,
        reference: None,
        status,
        // Each carrier has codes of its own.
        error: code.filter(|_| failed).map(|code| format!("SMPP receipt {code}")),
        class: None,
        at: now,
        user: None,
    }
}

/// message_state (SMPP 3.4, 5.2.28; 0 and 9 are of 5.0). "Unknown" is no end while the message may still arrive.
fn by_state(state: u8) -> Option<Receipt> {
    Some(match state {
        0 | 1 | 6 | 7 => Receipt::Sent,
        2 => Receipt::Delivered,
        3 => Receipt::Expired,
        4 | 5 => Receipt::Undelivered,
        8 | 9 => Receipt::Failed,
        _ => return None,
    })
}

fn by_word(word: &str) -> Option<Receipt> {
    let word = word.to_ascii_uppercase();
    let is = |stems: &[&str]| stems.iter().any(|stem| word.starts_with(stem));
    Some(match () {
        () if is(&["DELIV"]) => Receipt::Delivered,
        () if is(&["EXPIR"]) => Receipt::Expired,
        () if is(&["UNDEL", "DELET"]) => Receipt::Undelivered,
        () if is(&["REJEC", "SKIP"]) => Receipt::Failed,
        () if is(&["ACCEP", "ENROU", "ACK", "BUFF", "SCHED", "UNKNOWN"]) => Receipt::Sent,
        () => return None,
    })
}

/// The fields of a receipt's text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said<'a> {
    pub id: Option<&'a str>,
    pub stat: Option<&'a str>,
    pub err: Option<&'a str>,
    /// "done date", in the SMSC's own zone.
    pub done: Option<&'a str>,
}

impl Said<'_> {
    /// `id:… sub:… dlvrd:… submit date:… done date:… stat:… err:… text:…`, each optional and in any case. What stands behind `text:` is
    /// the message's own and may say anything.
    pub fn read(text: &str) -> Said<'_> {
        let lower = text.to_ascii_lowercase();
        let end = lower.find("text:").unwrap_or(text.len());
        let (text, lower) = (&text[..end], &lower[..end]);
        let value = |key: &str| {
            // Not the end of some other key: `id:` stands in `valid:`.
            let starts = |at: &usize| *at == 0 || !lower.as_bytes()[at - 1].is_ascii_alphanumeric();
            let at = lower.match_indices(key).map(|(at, _)| at).find(starts)? + key.len();
            text[at..].split_whitespace().next().filter(|value| !value.contains(':'))
        };
        Said { id: value("id:"), stat: value("stat:"), err: value("err:"), done: value("done date:") }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn receipt(text: &str) -> Deliver {
        let address = || pdu::Address { ton: 1, text: "447700900001".into() };
        let message = text.as_bytes().to_vec();
        Deliver { from: address(), to: address(), esm_class: 4, coding: 0, message, tlvs: Vec::new() }
    }

    /// Texts as SMSCs write them: which message, which state, which code.
    #[test]
    fn dialects() {
        let dates = "submit date:2611221530 done date:2611221531";
        for (text, id, status, error) in [
            (
                format!("id:1715004 sub:001 dlvrd:001 {dates} stat:DELIVRD err:000 text:Reply STOP"),
                "1715004",
                Receipt::Delivered,
                None,
            ),
            (
                "id:0195-ab12 sub:001 dlvrd:000 submit date:261122153000 done date:261123153000 stat:EXPIRED err:001 text:"
                    .into(),
                "0195-ab12",
                Receipt::Expired,
                Some("001"),
            ),
            (format!("id:77 sub:1 dlvrd:0 {dates} stat:UNDELIV err:27 Text:hello"), "77", Receipt::Undelivered, Some("27")),
            (format!("id:78 sub:001 dlvrd:000 {dates} stat:REJECTD err:99A text:x"), "78", Receipt::Failed, Some("99A")),
            ("id:79 stat:ACCEPTD err:000".into(), "79", Receipt::Sent, None),
            (format!("id:80 sub:001 dlvrd:000 {dates} stat:ENROUTE err:000 text:stat:DELIVRD"), "80", Receipt::Sent, None),
            (format!("id:81 sub:001 dlvrd:000 {dates} stat:DELETED err:000 text:"), "81", Receipt::Undelivered, Some("000")),
            (format!("id:82 sub:001 dlvrd:000 {dates} stat:UNKNOWN err:000 text:"), "82", Receipt::Sent, None),
            ("ID:83 STAT:delivered".into(), "83", Receipt::Delivered, None),
            ("id: 84 stat: BUFFRED".into(), "84", Receipt::Sent, None),
        ] {
            let Event::Receipt { provider_id, status: found, error: code, .. } = event(&receipt(&text), Ids::Text, 7) else {
                panic!("{text}")
            };
            assert_eq!((provider_id.as_str(), found), (id, status), "{text}");
            assert_eq!(code, error.map(|code| format!("SMPP receipt {code}")), "{text}");
        }
    }

    /// An id that came round another day is another message's; told again the same day, the receipt is the same one. One that says when
    /// says it better.
    #[test]
    fn a_receipt_is_known_by_its_day_where_it_names_no_time() {
        let id = |text: &str, at: i64| match event(&receipt(text), Ids::Text, at) {
            Event::Receipt { event_id, .. } => event_id,
            other => panic!("{other:?}"),
        };
        let without = "id:1715004 stat:DELIVRD err:000";
        assert_eq!(id(without, 7), id(without, DAY - 1));
        assert_ne!(id(without, 7), id(without, DAY));
        let with = "id:1715004 done date:2611221531 stat:DELIVRD err:000";
        assert_eq!(id(with, 7), id(with, DAY));
        assert_ne!(id(with, 7), id(without, 7));
    }

    #[test]
    fn tlvs_speak_first_and_ids_compare_in_any_form() {
        let mut deliver = receipt("id:1715004 stat:UNDELIV err:1");
        deliver.tlvs = vec![(pdu::RECEIPTED_MESSAGE_ID, b"1A2B3C\0".to_vec()), (pdu::MESSAGE_STATE, vec![2])];
        for (ids, id) in [(Ids::Text, "1A2B3C"), (Ids::Decimal, "1715004")] {
            let Event::Receipt { provider_id, status, .. } = event(&deliver, ids, 7) else { panic!("no receipt") };
            assert_eq!((provider_id.as_str(), status), (id, Receipt::Delivered));
        }
        assert_eq!(Ids::Hex.normal("1A2B3C").as_deref(), Some("1715004"));
        assert_eq!(Ids::Hex.normal("0195-ab12").as_deref(), Some("0195-ab12"));
        assert_eq!(Ids::Decimal.normal("0001715004").as_deref(), Some("1715004"));
        assert_eq!(Ids::Text.normal(" "), None);
        deliver.esm_class = 0;
        assert!(is_receipt(&deliver));
        deliver.tlvs.clear();
        assert!(!is_receipt(&deliver), "a person may write this");
    }

    proptest! {
        #[test]
        fn nothing_in_a_receipt_is_beyond_reading(
            text in "(id:|stat:|err:|text:|done date:|DELIVRD|[ 0-9a-z:]|\\PC){0,40}",
            class in any::<u8>(),
            tlvs in prop::collection::vec((prop::sample::select(vec![0x1eu16, 0x427, 0x423, 0x424, 9]), prop::collection::vec(any::<u8>(), 0..9)), 0..5),
        ) {
            let deliver = Deliver { esm_class: class, tlvs, ..receipt(&text) };
            for ids in [Ids::Text, Ids::Hex, Ids::Decimal] {
                let read = event(&deliver, ids, 7);
                let named = matches!(&read, Event::Receipt { provider_id, .. } if !provider_id.is_empty());
                let kept = matches!(read, Event::Unreadable { .. });
                prop_assert!(named || kept);
            }
        }
    }
}
