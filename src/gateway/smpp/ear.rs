//! What an SMSC delivers, made into events: texts decoded, parts joined, what may be delivered again marked. Nothing is answered before
//! it is on disk, so what this memory loses with its session comes again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::pdu::{self, Address, Deliver, Pdu};
use super::receipt::{self, Ids};
use crate::domain::channel::Channel;
use crate::domain::phone::{Fiction, PhoneNumber};
use crate::domain::sms;
use crate::gateway::driver::id_of_content;
use crate::gateway::{Again, Event, sign};
use crate::gateway::{number, own_number};

/// How long a part waits, unanswered, for the others of its message. SMSCs wait longer than that for an answer.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Parts that were told alone are remembered so long, for an SMSC that delivers the next one only after our answer.
const MEMORY: Duration = Duration::from_secs(600);
/// Messages remembered before old ones go.
const MOST: usize = 10_000;

/// The alphabet of data_coding 0, which is the SMSC's own choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    Gsm7,
    Latin1,
}

/// An event to store, and the PDUs that are answered once it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    pub event: Event,
    pub answers: Vec<u32>,
    /// By what a person's text is known; receipts are known by their own ids.
    pub said: Option<String>,
    /// When the first of its PDUs came.
    pub since: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Whole {
    from: String,
    to: String,
    reference: u16,
    of: u8,
}

#[derive(Debug)]
struct Parts {
    got: BTreeMap<u8, (u8, Vec<u8>)>,
    /// PDUs that wait for an answer, each with the part it brought.
    waiting: Vec<(u32, u8)>,
    from: Address,
    to: Address,
    since: Instant,
}

/// One account's ear, over all its sessions.
#[derive(Debug)]
pub struct Ear {
    alphabet: Alphabet,
    receipt_ids: Ids,
    /// Whose national numbers it hands over (ISO 3166), if it does.
    country: String,
    /// For how long the SMSC may deliver again what we answered in vain, microseconds.
    keeps: i64,
    /// The session and how many texts it brought, in event ids: what an SMSC counts its PDUs by may come again.
    session: String,
    /// Whether the session is past what the SMSC had kept for it: of that nobody knows when it was said.
    open: bool,
    heard: u64,
    parts: HashMap<Whole, Parts>,
    /// What this session answered in good time: the SMSC does not deliver it again over it.
    answered: HashSet<String>,
}

impl Ear {
    pub fn new(alphabet: Alphabet, receipt_ids: Ids, country: &str, keeps: i64) -> Ear {
        let (parts, answered) = (HashMap::new(), HashSet::new());
        Ear {
            alphabet,
            receipt_ids,
            country: country.to_owned(),
            keeps,
            session: String::new(),
            open: false,
            heard: 0,
            parts,
            answered,
        }
    }

    /// A session begins, under a name no other has. Its SMSC delivers again what the one before, of this process or another, did not
    /// answer, or answered in vain.
    pub fn begin(&mut self, session: String) {
        self.session = session;
        self.open = false;
        self.parts.clear();
        self.answered.clear();
    }

    /// What comes from now on was not kept for this session.
    pub fn open(&mut self) {
        self.open = true;
    }

    /// A deliver_sm: what is to be stored because of it, if it does not wait for other parts. `clock`: microseconds UTC.
    pub fn take(&mut self, pdu: &Pdu, clock: i64, now: Instant) -> Option<Due> {
        let Some(deliver) = Deliver::read(&pdu.body) else {
            let hex: String = pdu.body.iter().map(|octet| format!("{octet:02x}")).collect();
            let event_id = id_of_content(hex.as_bytes());
            let event = Event::Unreadable { event_id, body: format!("deliver_sm {hex}"), why: crate::gateway::NO_FORM.into() };
            return Some(Due { event, answers: vec![pdu.sequence], said: None, since: now });
        };
        if receipt::is_receipt(&deliver) {
            let event = receipt::event(&deliver, self.receipt_ids, clock);
            return Some(Due { event, answers: vec![pdu.sequence], said: None, since: now });
        }
        let (place, text) = place(&deliver);
        let Some((reference, of, n)) = place else {
            let text = decode(self.alphabet, deliver.coding, text);
            return Some(self.said(&deliver.from, &deliver.to, &text, vec![pdu.sequence], now));
        };
        if self.parts.len() >= MOST {
            self.parts.retain(|_, parts| !parts.waiting.is_empty());
        }
        let whole = Whole { from: deliver.from.text.clone(), to: deliver.to.text.clone(), reference, of };
        let (from, to) = (deliver.from.clone(), deliver.to.clone());
        let new = || Parts { got: BTreeMap::new(), waiting: Vec::new(), from, to, since: now };
        let parts = self.parts.entry(whole.clone()).or_insert_with(new);
        if now.duration_since(parts.since) > MEMORY || parts.got.get(&n).is_some_and(|(_, known)| known.as_slice() != text) {
            // References come round: this is another message.
            parts.got.clear();
        }
        if parts.waiting.is_empty() {
            parts.since = now;
        }
        parts.got.insert(n, (deliver.coding, text.to_vec()));
        parts.waiting.push((pdu.sequence, n));
        if parts.got.len() < usize::from(of) {
            return None;
        }
        let parts = self.parts.remove(&whole)?;
        let text = joined(self.alphabet, parts.got.values());
        let answers = parts.waiting.into_iter().map(|(sequence, _)| sequence).collect();
        Some(self.said(&parts.from, &parts.to, &text, answers, parts.since))
    }

    /// When the next part has waited long enough.
    pub fn overdue_at(&self) -> Option<Instant> {
        self.parts.values().filter(|parts| !parts.waiting.is_empty()).map(|parts| parts.since + PATIENCE).min()
    }

    /// Parts whose others did not come: each is kept as it is, marked so that half a sentence is never taken for a yes. A no in it
    /// counts. Should the others come yet, the whole is a message, too.
    pub fn overdue(&mut self, now: Instant) -> Vec<Due> {
        let mut told = Vec::new();
        for (whole, parts) in &mut self.parts {
            if parts.since + PATIENCE > now {
                continue;
            }
            let (from, to) = (parts.from.clone(), parts.to.clone());
            let mut waiting: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
            for (sequence, n) in parts.waiting.drain(..) {
                waiting.entry(n).or_default().push(sequence);
            }
            for (n, answers) in waiting {
                let text = joined(self.alphabet, parts.got.get(&n).into_iter());
                told.push((from.clone(), to.clone(), format!("{text} [part {n}/{}]", whole.of), answers));
            }
        }
        told.into_iter().map(|(from, to, text, answers)| self.said(&from, &to, &text, answers, now)).collect()
    }

    /// A person's text. SMPP gives a message from a person no id, and the same text twice may be a first yes and a second one. So the
    /// same text is another message where this session answered the one before in good time; else it may be that one.
    fn said(&mut self, from: &Address, to: &Address, text: &str, answers: Vec<u32>, since: Instant) -> Due {
        let said = sign::sha256_hex(format!("{}\n{}\n{text}", from.text, to.text).as_bytes());
        self.heard += 1;
        let event_id = format!("{}:{}", self.session, self.heard);
        // In doubt, in its turn, until it is answered.
        let another = self.answered.remove(&said);
        let again = Some(Again { said: said.clone(), within: if another { 0 } else { self.keeps } });
        let event = match person(from, &self.country) {
            Some(person) => Event::Inbound {
                event_id,
                from: Some(person),
                answers: None,
                to: ours(to, &self.country),
                channel: Channel::Sms,
                text: text.to_owned(),
                button: None,
                at: (!self.open).then_some(crate::gateway::SOMETIME),
                handled: None,
                again,
                user: None,
            },
            None => Event::Unreadable { event_id, body: format!("{}: {text}", from.text), why: crate::gateway::NOBODYS.into() },
        };
        Due { event, answers, said: Some(said), since }
    }

    /// Stored and answered; `since`: when it came. Answers whether in good time: an SMSC that waited too long delivers again, in the
    /// same session too, whether our answer arrives or not.
    pub fn answered(&mut self, said: &str, since: Instant, now: Instant) -> bool {
        let in_time = now.duration_since(since) <= PATIENCE;
        if in_time {
            if self.answered.len() >= MOST {
                self.answered.clear();
            }
            self.answered.insert(said.to_owned());
        }
        in_time
    }
}

/// Type of number (SMPP 3.4, 5.2.5).
const INTERNATIONAL: u8 = 1;
const NATIONAL: u8 = 2;

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// An international number with its `+`, which SMSCs leave out.
fn international(address: &Address) -> Option<String> {
    let digits = address.text.trim_start_matches('+').trim_start_matches("00");
    (address.ton == INTERNATIONAL && is_digits(digits)).then(|| format!("+{digits}"))
}

/// Who wrote. What is called national is nobody's number without `country`: a `+` before it would make it somebody else's.
fn person(address: &Address, country: &str) -> Option<PhoneNumber> {
    match international(address) {
        Some(text) => PhoneNumber::parse(&text, None, Fiction::Allowed).ok(),
        None if address.ton == NATIONAL && country.is_empty() => None,
        None => number(&address.text, country),
    }
}

/// The address of ours that was written to, as the settings write it. Short codes and names stay.
fn ours(address: &Address, country: &str) -> String {
    match international(address) {
        Some(text) => text,
        None if address.ton == NATIONAL && country.is_empty() => address.text.clone(),
        None => own_number(address.text.clone(), country),
    }
}

/// Which part of which message this is (reference, of how many, which), by SAR TLVs or user data header; and its text without that.
fn place(deliver: &Deliver) -> (Option<(u16, u8, u8)>, &[u8]) {
    let sound = |(reference, of, n): (u16, u8, u8)| (of > 1 && (1..=of).contains(&n)).then_some((reference, of, n));
    let tlv = |tag| deliver.number(tag);
    let small = |n: u16| u8::try_from(n).ok();
    let sar = || Some((tlv(pdu::SAR_REFERENCE)?, small(tlv(pdu::SAR_TOTAL)?)?, small(tlv(pdu::SAR_PART)?)?));
    if deliver.esm_class & 0x40 == 0 {
        return (sar().and_then(sound), &deliver.message);
    }
    let length = deliver.message.first().map_or(0, |n| usize::from(*n));
    let Some((header, text)) = deliver.message.get(1..).and_then(|rest| rest.split_at_checked(length)) else {
        // No header after all: better a letter too many than a text lost.
        return (None, &deliver.message);
    };
    let mut rest = header;
    let mut found = None;
    while let [kind, length, more @ ..] = rest {
        let Some((value, after)) = more.split_at_checked(usize::from(*length)) else { break };
        found = found.or(match (kind, value) {
            (0x00, [reference, of, n]) => Some((u16::from(*reference), *of, *n)),
            (0x08, [high, low, of, n]) => Some((u16::from_be_bytes([*high, *low]), *of, *n)),
            _ => None,
        });
        rest = after;
    }
    (found.or_else(sar).and_then(sound), text)
}

/// Parts as one text. Of one coding they are joined before they are read: a character may stand half in one, half in the other.
fn joined<'a>(alphabet: Alphabet, parts: impl Iterator<Item = &'a (u8, Vec<u8>)> + Clone) -> String {
    let mut codings = parts.clone().map(|(coding, _)| *coding);
    let first = codings.next().unwrap_or_default();
    match codings.all(|coding| coding == first) {
        true => decode(alphabet, first, &parts.flat_map(|(_, octets)| octets.iter().copied()).collect::<Vec<u8>>()),
        false => parts.map(|(coding, octets)| decode(alphabet, *coding, octets)).collect(),
    }
}

/// A text in whatever coding (3GPP TS 23.038, 4; SMPP 3.4, 5.2.19). What is no text at all is read octet by octet, so that a human may see it.
pub fn decode(alphabet: Alphabet, coding: u8, octets: &[u8]) -> String {
    let latin1 = || octets.iter().map(|octet| char::from(*octet)).collect::<String>();
    match coding {
        // General data coding and message classes: bits 3 and 2 say which alphabet.
        0x00 | 0x10..=0x13 | 0xf0..=0xf3 => match alphabet {
            Alphabet::Gsm7 => sms::from_gsm7(octets),
            Alphabet::Latin1 => latin1(),
        },
        0x08 | 0x18..=0x1b | 0xe0..=0xef => {
            let units: Vec<u16> =
                octets.chunks(2).map(|pair| pair.iter().fold(0, |unit, octet| (unit << 8) | u16::from(*octet))).collect();
            String::from_utf16_lossy(&units)
        }
        _ => latin1(),
    }
}

/// A text as it is sent: data_coding, and the octets of each part.
pub fn encode(alphabet: Alphabet, text: &str) -> (u8, Vec<Vec<u8>>) {
    let single = |piece: &str| match alphabet {
        Alphabet::Gsm7 => sms::to_gsm7(piece),
        // What costs no more than GSM 7-bit does, and stands in both.
        Alphabet::Latin1 => {
            let octets: Option<Vec<u8>> = piece.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
            octets.filter(|_| sms::to_gsm7(piece).is_some())
        }
    };
    match sms::split(text, sms::Encoding::Gsm7).into_iter().map(single).collect::<Option<Vec<_>>>() {
        Some(parts) => (0, parts),
        None => {
            let wide = |piece: &str| piece.encode_utf16().flat_map(u16::to_be_bytes).collect();
            (8, sms::split(text, sms::Encoding::Ucs2).into_iter().map(wide).collect())
        }
    }
}

#[cfg(test)]
mod tests;
