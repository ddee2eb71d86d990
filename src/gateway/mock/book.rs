//! What the mock gateway remembers: accepted messages, the phones they went to, what the phones wrote back, and counts.
//! All in memory behind one lock; every operation on the sending path takes constant or logarithmic time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::faults::{Fate, Faults};
use super::protocol::{Button, Channel, Event, Inbound, LookUp, Receipt, ReceiptError, SendRequest, Status};

/// A message the gateway took responsibility for, whatever its answer said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Microseconds UTC.
    pub at: i64,
    pub reference: String,
    pub from: String,
    pub to: String,
    pub channel: Channel,
    pub text: String,
    pub buttons: Vec<Button>,
    pub validity_seconds: Option<u64>,
    pub id: String,
    /// The newest status a receipt or a look-up would tell.
    pub status: Status,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Well-formed, authorized sends.
    pub requests: u64,
    pub accepted: u64,
    /// Answered 402, 403 or 422.
    pub refused: u64,
    pub throttled: u64,
    /// Answered later than at once.
    pub slowed: u64,
    /// Answered 409.
    pub duplicate_references: u64,
    /// Accepted but without a readable answer that says so: the sender cannot know.
    pub accepted_unanswered: u64,
    /// Not accepted, and the sender cannot know.
    pub dropped_unanswered: u64,
    /// The most messages accepted under one reference. Above 1 a message was sent twice.
    pub max_per_reference: u32,
    /// Phones that got more than one message whose reference starts with `ask`.
    pub duplicates: u64,
    pub phones: u64,
    pub inbound: u64,
    /// Events the webhook answered 2xx, and events dropped after the last try.
    pub events_delivered: u64,
    pub events_failed: u64,
    pub accepted_by_reference: BTreeMap<String, u32>,
}

#[derive(Default)]
struct Reference {
    tries: u32,
    accepted: u32,
    newest: Option<usize>,
}

pub(super) struct Phone {
    pub number: String,
    pub thread: Vec<Entry>,
    pub last_at: i64,
    asks: u32,
    /// Position in `by_activity`.
    activity: u64,
}

#[derive(Clone, Copy)]
pub(super) enum Entry {
    Message(usize),
    Inbound(usize),
}

pub(super) struct Written {
    pub event: Inbound,
    /// Whether the webhook took it; `None` while that is open.
    pub taken: Option<bool>,
}

pub(super) struct Book {
    pub faults: Faults,
    /// Makes ids differ between runs: a store that outlives the mock must not mistake a new event for an old one.
    run: String,
    pub messages: Vec<Accepted>,
    references: HashMap<String, Reference>,
    pub phones: Vec<Phone>,
    by_number: HashMap<String, usize>,
    /// Phones by their last message, for the newest-first page.
    by_activity: BTreeSet<(u64, usize)>,
    pub inbound: Vec<Written>,
    next_event: u64,
    next_activity: u64,
    counts: Stats,
}

impl Book {
    pub fn new(faults: Faults, run: String) -> Self {
        Self {
            faults,
            run,
            messages: Vec::new(),
            references: HashMap::new(),
            phones: Vec::new(),
            by_number: HashMap::new(),
            by_activity: BTreeSet::new(),
            inbound: Vec::new(),
            next_event: 0,
            next_activity: 0,
            counts: Stats::default(),
        }
    }

    /// Counts one more try of the reference and decides it. `Err` is the id of the message that holds the reference already.
    pub fn decide(&mut self, request: &SendRequest, dedupe: bool) -> Result<(Fate, u32), String> {
        self.counts.requests += 1;
        let reference = self.references.entry(request.reference.clone()).or_default();
        reference.tries += 1;
        if let (true, Some(newest)) = (dedupe, reference.newest) {
            self.counts.duplicate_references += 1;
            return Err(self.messages[newest].id.clone());
        }
        let fate = self.faults.fate(request, reference.tries);
        self.counts.slowed += u64::from(self.faults.slowness(&request.reference, reference.tries).is_some());
        match fate {
            Fate::NoCredit | Fate::RefuseSender | Fate::RefuseRecipient | Fate::NotOnChannel => self.counts.refused += 1,
            Fate::Throttle => self.counts.throttled += 1,
            Fate::ResetBefore | Fate::ServerError { accepted: false } => self.counts.dropped_unanswered += 1,
            Fate::Accept => {}
            _ => self.counts.accepted_unanswered += 1,
        }
        Ok((fate, reference.tries))
    }

    /// Takes the message in and returns its index.
    pub fn accept(&mut self, request: SendRequest, at: i64) -> usize {
        let index = self.messages.len();
        let reference = self.references.entry(request.reference.clone()).or_default();
        reference.accepted += 1;
        reference.newest = Some(index);
        self.counts.max_per_reference = self.counts.max_per_reference.max(reference.accepted);
        let phone = self.touch(&request.to, at, Entry::Message(index));
        // What can never reach the phone is not one of the asks it got.
        if request.reference.starts_with("ask") && self.faults.not_on_channel(request.channel, &request.to).is_none() {
            let phone = &mut self.phones[phone];
            phone.asks += 1;
            self.counts.duplicates += u64::from(phone.asks == 2);
        }
        self.messages.push(Accepted {
            at,
            reference: request.reference,
            from: request.from,
            to: request.to,
            channel: request.channel,
            text: request.text,
            buttons: request.buttons,
            validity_seconds: request.validity_seconds,
            id: format!("{}-m{index}", self.run),
            status: Status::Accepted,
        });
        index
    }

    /// Moves a message to `status` and words the receipt of it.
    pub fn receipt(&mut self, message: usize, status: Status, at: i64) -> Receipt {
        let event_id = self.event_id();
        let message = &mut self.messages[message];
        message.status = status;
        let code = match status {
            Status::Expired => Some("absent"),
            Status::Undelivered => Some("rejected"),
            Status::Failed if self.faults.not_on_channel(message.channel, &message.to).is_some() => Some("not_on_channel"),
            Status::Failed => Some("failed"),
            _ => None,
        };
        let error = code.map(|code| ReceiptError { code: code.into() });
        Receipt { event_id, id: message.id.clone(), reference: message.reference.clone(), status, at, error }
    }

    /// Writes down what a phone wrote and returns its index in `inbound`. The event id is filled in here.
    pub fn write(&mut self, mut event: Inbound) -> usize {
        event.event_id = self.event_id();
        let index = self.inbound.len();
        self.touch(&event.from, event.at, Entry::Inbound(index));
        self.inbound.push(Written { event, taken: None });
        index
    }

    pub fn newest(&self, reference: &str) -> Option<usize> {
        self.references.get(reference)?.newest
    }

    pub fn by_id(&self, id: &str) -> Option<&Accepted> {
        let index: usize = id.strip_prefix(&self.run)?.strip_prefix("-m")?.parse().ok()?;
        self.messages.get(index)
    }

    pub fn look_up(&self, reference: &str) -> Option<LookUp> {
        let message = &self.messages[self.newest(reference)?];
        Some(LookUp { id: message.id.clone(), reference: message.reference.clone(), status: message.status })
    }

    /// Inbound messages with `since <= at < until`.
    pub fn inbound_between(&self, since: i64, until: i64) -> Vec<Event> {
        let within = self.inbound.iter().filter(|written| (since..until).contains(&written.event.at));
        within.map(|written| Event::Inbound(written.event.clone())).collect()
    }

    /// The channel over which this sender wrote to this phone last.
    pub fn channel_between(&self, phone: &str, sender: &str) -> Option<Channel> {
        let phone = &self.phones[*self.by_number.get(phone)?];
        phone.thread.iter().rev().find_map(|entry| match entry {
            Entry::Message(index) if self.messages[*index].from == sender => Some(self.messages[*index].channel),
            _ => None,
        })
    }

    /// Phones whose number contains `digits`, the last written to first.
    pub fn newest_phones<'a>(&'a self, digits: &'a str) -> impl Iterator<Item = (usize, &'a Phone)> {
        let newest = self.by_activity.iter().rev().map(|(_, index)| (*index, &self.phones[*index]));
        newest.filter(move |(_, phone)| phone.number.contains(digits))
    }

    pub fn stats(&self) -> Stats {
        let accepted_by_reference =
            self.references.iter().filter(|(_, r)| r.accepted > 0).map(|(name, r)| (name.clone(), r.accepted));
        Stats {
            accepted: self.messages.len() as u64,
            phones: self.phones.len() as u64,
            inbound: self.inbound.len() as u64,
            accepted_by_reference: accepted_by_reference.collect(),
            ..self.counts.clone()
        }
    }

    fn touch(&mut self, number: &str, at: i64, entry: Entry) -> usize {
        let index = *self.by_number.entry(number.to_owned()).or_insert_with(|| {
            self.phones.push(Phone { number: number.to_owned(), thread: Vec::new(), last_at: at, asks: 0, activity: 0 });
            self.phones.len() - 1
        });
        let phone = &mut self.phones[index];
        self.by_activity.remove(&(phone.activity, index));
        self.next_activity += 1;
        phone.activity = self.next_activity;
        phone.last_at = at;
        phone.thread.push(entry);
        self.by_activity.insert((phone.activity, index));
        index
    }

    fn event_id(&mut self) -> String {
        self.next_event += 1;
        format!("{}-e{}", self.run, self.next_event)
    }
}
