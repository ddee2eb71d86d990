//! SMPP 3.4 straight to a carrier's SMSC: one session, bound as a transceiver, by which we send and hear. While it is down this
//! account does neither; the SMSC keeps what people write and delivers it after the next bind.

mod ear;
mod pdu;
mod receipt;
mod session;

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use self::ear::{Alphabet, Ear};
use self::pdu::{Envelope, Login, Part};
use self::receipt::Ids;
use self::session::{Down, Link, Place, Unanswered};
use super::driver::{self, Account, Can, Class, Driver, Key, Misfit, Take, Tools};
use super::{Callback, Event, Gateway, Heard, LookedUp, Outgoing, Refusal, Sent, Sink, WebhookError, http};
use crate::clock::{Clock, HOUR, SECOND, instant};
use crate::domain::channel::Channel;
use crate::domain::eligibility::Cleared;

const IDS: &[&str] = &["text", "hex", "decimal"];

pub const DRIVER: Driver = Driver {
    name: "smpp",
    title: "SMPP",
    url: "",
    schemes: &["smpps", "smpp"],
    keys: &[
        Key { name: "system_id", take: Take::Text { needed: true }, means: "as whom to bind, at most 15 characters" },
        Key { name: "password", take: Take::Secret { needed: true }, means: "for the bind, at most 8 characters" },
        Key { name: "system_type", take: Take::Text { needed: false }, means: "only if the carrier names one" },
        Key {
            name: "ca",
            take: Take::Secret { needed: false },
            means: "the certificates (PEM) of the carrier's own authority, where `smpps://` is not signed by a public one",
        },
        Key {
            name: "window",
            take: Take::Number { default: 10, least: 1, most: 1_000 },
            means: "messages that may be unanswered at a time",
        },
        Key {
            name: "enquire_link_s",
            take: Take::Number { default: 30, least: 1, most: 60 },
            means: "seconds between two questions whether the SMSC is still there",
        },
        Key {
            name: "backlog_s",
            take: Take::Number { default: 5, least: 0, most: 60 },
            means: "seconds after a bind in which only heard is what the SMSC kept, and nothing sent",
        },
        Key {
            name: "keeps_hours",
            take: Take::Number { default: 24, least: 0, most: 720 },
            means: "how long the SMSC keeps what it cannot deliver to us",
        },
        Key {
            name: "inbound_country",
            take: Take::Checked { needed: false, check: driver::country },
            means: "ISO code of people's numbers, where the carrier hands them over in their national form; left out, a number called national is read by an operator",
        },
        Key {
            name: "joining",
            take: Take::OneOf(&["udh", "sar"]),
            means: "how parts of a long text are marked: user data header, or sar_… parameters",
        },
        Key { name: "alphabet", take: Take::OneOf(&["gsm7", "latin1"]), means: "what the SMSC takes data_coding 0 for" },
        Key {
            name: "validity",
            take: Take::OneOf(&["relative", "absolute", "none"]),
            means: "how validity_period is written; `none`: not at all",
        },
        Key { name: "answer_ids", take: Take::OneOf(IDS), means: "how message ids are written in submit_sm_resp" },
        Key { name: "receipt_ids", take: Take::OneOf(IDS), means: "how they are written in receipts" },
        Key {
            name: "short_code_ton",
            take: Take::Number { default: 3, least: 0, most: 6 },
            means: "type of number of a sender that is a short code",
        },
    ],
    can: Can {
        channels: &[Channel::Sms],
        two_way: true,
        alphanumeric: true,
        own_reference: false,
        dedupes: false,
        look_up: false,
        // There are none: whatever comes over the session is the SMSC's.
        signed_callbacks: true,
        // The SMSC keeps and delivers again.
        inbound_pull: true,
        templates: false,
    },
    fits: |account| {
        let fits = |key, text: &str, most: usize| match pdu::fits(text, most) {
            true => Ok(()),
            false => Misfit::at(key, format!("is longer than {most} plain characters"), "write it as the carrier gave it"),
        };
        fits("system_id", account.text("system_id"), 15)?;
        fits("password", account.secret("password"), 8)?;
        fits("system_type", account.text("system_type"), 12)?;
        if !account.secret("ca").is_empty() {
            let trusted = session::trust(account.secret("ca"));
            trusted.map_or_else(|why| Misfit::at("ca", why.to_string(), "give a file of PEM certificates"), |_| Ok(()))?;
        }
        Ok(())
    },
    open: |account, tools| Arc::new(Smpp::new(account, tools)),
};

/// Port of SMPP, where the address names none (IANA).
const PORT: u16 = 2775;
/// Between two tries to bind: doubled each time from the shortest on.
const BACKOFF: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);
/// After a refused bind: SMSCs lock out who tries a wrong password often.
const REFUSED: Duration = Duration::from_secs(30);
/// A session that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(30);

pub struct Smpp {
    account: Account,
    clock: Clock,
    alphabet: Alphabet,
    answer_ids: Ids,
    up: Mutex<Result<Arc<Link>, Down>>,
    /// Of long texts: messages of one sender to one phone must differ.
    reference: AtomicU16,
}

impl std::fmt::Debug for Smpp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Smpp({})", self.account.name)
    }
}

impl Smpp {
    pub fn new(account: &Account, tools: &Tools) -> Smpp {
        let mut first = [0; 2];
        getrandom::fill(&mut first).expect("the operating system's generator works");
        Smpp {
            account: account.clone(),
            clock: tools.clock.clone(),
            alphabet: if account.text("alphabet") == "latin1" { Alphabet::Latin1 } else { Alphabet::Gsm7 },
            answer_ids: Ids::parse(account.text("answer_ids")),
            up: Mutex::new(Err(Down::NotYet)),
            reference: AtomicU16::new(u16::from_be_bytes(first)),
        }
    }

    fn place(&self) -> Place<'_> {
        let account = &self.account;
        let seconds = |key| Duration::from_secs(account.number(key).unsigned_abs());
        Place {
            host: account.url.host_str().unwrap_or_default().trim_matches(['[', ']']),
            port: account.url.port().unwrap_or(PORT),
            tls: account.url.scheme() == "smpps",
            ca: account.secret("ca"),
            login: Login {
                system_id: account.text("system_id"),
                password: account.secret("password"),
                system_type: account.text("system_type"),
            },
            window: usize::try_from(account.number("window")).unwrap_or(1),
            enquire_every: seconds("enquire_link_s"),
            backlog: seconds("backlog_s"),
        }
    }

    /// Why there is no session, and with whom.
    fn says(&self, down: &Down) -> String {
        match down {
            Down::Lost(why) => format!("{}: {why}", http::host(&self.account.url)),
            down => down.to_string(),
        }
    }

    fn set(&self, up: Result<Arc<Link>, Down>) {
        *self.up.lock().expect("no panic while held") = up;
    }

    /// TON, NPI and address of a sender: international, a short code, or a name.
    fn from(&self, from: &str) -> (u8, u8, String) {
        match from.strip_prefix('+') {
            Some(digits) => (1, 1, digits.to_owned()),
            None if from.bytes().all(|b| b.is_ascii_digit()) => {
                (u8::try_from(self.account.number("short_code_ton")).unwrap_or(3), 0, from.to_owned())
            }
            None => (5, 0, from.to_owned()),
        }
    }

    /// SMPP 3.4, 7.1.1: `YYMMDDhhmmsstnnp`, a span or a moment in UTC. A month has no fixed length, so a span stays below one.
    fn validity(&self, seconds: i64) -> String {
        let seconds = seconds.clamp(1, 27 * 86_400);
        match self.account.text("validity") {
            "none" => String::new(),
            "absolute" => instant(self.clock.now() + seconds * SECOND).format("%y%m%d%H%M%S000+").to_string(),
            _ => {
                let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
                format!("0000{days:02}{hours:02}{minutes:02}{:02}000R", seconds % 60)
            }
        }
    }

    async fn submit(&self, cleared: &Cleared, message: &Outgoing) -> Sent {
        let deadline = Instant::now() + self.account.timeout.min(Duration::from_secs(5));
        let link = match self.up.lock().expect("no panic while held").clone() {
            Ok(link) => link,
            Err(down) => {
                let why = if is_locked_out(&down) { Refusal::Account } else { Refusal::NotReached };
                return Sent::NotAccepted { why, error: self.says(&down) };
            }
        };
        let from = self.from(&message.from);
        if !pdu::fits(&from.2, 20) {
            return Sent::NotAccepted { why: Refusal::Account, error: "the sender is no address for SMPP".into() };
        }
        // One command at a time for each message, so this is the window of commands, too.
        let Ok(Ok(_turn)) = timeout_at(deadline, link.window.acquire()).await else { return Sent::too_late() };
        if self.clock.now() > cleared.send_before() {
            return Sent::too_late();
        }
        let (coding, texts) = ear::encode(self.alphabet, &message.text);
        let to = message.to.e164().trim_start_matches('+').to_owned();
        let envelope = Envelope { from, to, validity: self.validity(message.validity_s), coding };
        let of = u8::try_from(texts.len()).unwrap_or(u8::MAX);
        let reference = self.reference.fetch_add(1, Ordering::Relaxed);
        let mut sent = Sent::Unknown { error: "nothing to send".into() };
        for (n, octets) in (1..=of).zip(texts) {
            let part = Part { octets, reference, n, of, sar: self.account.text("joining") == "sar" };
            sent = self.submit_part(&link, &envelope, &part, deadline).await;
            match sent {
                Sent::Accepted { .. } => {}
                // The first part says it all: no other has left.
                _ if n == 1 => break,
                // Half of it is with the SMSC, and the phone may show it. It must not be asked again (promise 3), and it is not known to
                // have been asked either, so no reminder follows: unknown, until the person says something.
                Sent::NotAccepted { error, .. } | Sent::Unknown { error } => {
                    return Sent::Unknown { error: format!("part {n} of {of}: {error}") };
                }
            }
        }
        sent
    }

    async fn submit_part(&self, link: &Link, envelope: &Envelope, part: &Part, deadline: Instant) -> Sent {
        loop {
            let asked = link.ask(|sequence| pdu::submit_sm(envelope, part, sequence), deadline).await;
            let sent = match asked {
                Ok(answer) if answer.status != 0 => class(answer.status).at_send(code(answer.status), None),
                Ok(answer) if answer.id == pdu::SUBMIT_SM | pdu::ANSWER => {
                    Sent::Accepted { provider_id: self.answer_ids.normal(&answer.text()) }
                }
                Ok(_) => Sent::Unknown { error: "the answer is none to submit_sm".into() },
                Err(Unanswered::NotSent) => {
                    Sent::NotAccepted { why: Refusal::NotReached, error: "the session ended before it".into() }
                }
                Err(Unanswered::Broken) => Sent::Unknown { error: "the session broke before the answer".into() },
                Err(Unanswered::Late) => Sent::Unknown { error: "no answer in time".into() },
            };
            match sent {
                // A later part that was too fast was not taken: this very part may follow, while there is time.
                Sent::NotAccepted { why: Refusal::Throttled { retry_after }, .. }
                    if part.n > 1 && Instant::now() + retry_after < deadline =>
                {
                    sleep(retry_after).await;
                }
                sent => return sent,
            }
        }
    }
}

fn code(status: u32) -> String {
    format!("SMPP 0x{status:08X}")
}

/// What a command_status means, whoever tells it (SMPP 3.4, 5.1.3; the last two are of 5.0). One in no list, as carriers' own from 0x400 on, proves nothing.
pub fn class(status: u32) -> Class {
    match status {
        0x0b | 0x65 | 0x66 => Class::Recipient,
        0x08 | 0x45 | 0x64 | 0xfe | 0xff => Class::Transient,
        0x14 | 0x58 => Class::Throttled,
        0x04 | 0x05 | 0x0a | 0x0d | 0x0e | 0x0f | 0x48 | 0x49 | 0x53 | 0x101 => Class::Account,
        0x01 | 0x02 | 0x03 | 0x15 | 0x33 | 0x43 | 0x50 | 0x51 | 0x61 | 0x62 | 0x104 => Class::Config,
        _ => Class::Unknown,
    }
}

/// Whether only a human can mend what a bind was refused for: name, password, system type, contract. An SMSC that still holds our last
/// session (ESME_RALYBND) or is overloaded lets us in by itself.
fn is_locked_out(down: &Down) -> bool {
    matches!(down, Down::Refused(0x0d | 0x0e | 0x0f | 0x53 | 0x101))
}

impl Gateway for Smpp {
    fn name(&self) -> &str {
        &self.account.name
    }

    /// Locked out it is not: the next message is refused and pauses the campaign, which says why.
    fn is_deaf(&self) -> bool {
        self.up.lock().expect("no panic while held").as_ref().is_err_and(|down| !is_locked_out(down))
    }

    fn out_of_reach(&self) -> Option<String> {
        let down = self.up.lock().expect("no panic while held").as_ref().err().cloned();
        down.filter(|down| *down != Down::NotYet && !is_locked_out(down)).map(|down| self.says(&down))
    }

    fn send<'a>(&'a self, cleared: Cleared, message: &'a Outgoing) -> BoxFuture<'a, Sent> {
        async move { self.submit(&cleared, message).await }.boxed()
    }

    /// A carrier's rate is one of submit_sm, and each part is one.
    fn parts(&self, text: &str) -> Option<usize> {
        Some(ear::encode(self.alphabet, text).1.len())
    }

    fn read_webhook(&self, _call: &Callback<'_>) -> Result<Heard, WebhookError> {
        Err(WebhookError::Body("this gateway is heard over its session".into()))
    }

    /// There is nothing to list: of what was written meanwhile each message comes by itself after the bind, if the SMSC still has it.
    fn list_inbound<'a>(&'a self, from: i64, to: i64) -> BoxFuture<'a, Option<Result<Vec<Event>, String>>> {
        let kept = to - from <= self.account.number("keeps_hours") * HOUR;
        async move { kept.then(|| Ok(Vec::new())) }.boxed()
    }

    fn look_up<'a>(&'a self, _reference: &'a str) -> BoxFuture<'a, Option<Result<LookedUp, String>>> {
        // query_sm wants the id of the SMSC's answer, which an unknown send has not got.
        async { None }.boxed()
    }

    fn check<'a>(&'a self) -> BoxFuture<'a, Option<Result<String, String>>> {
        async move {
            let bound = session::probe(&self.place()).await;
            Some(bound.map(|()| "the SMSC lets us bind".to_owned()).map_err(|down| self.says(&down)))
        }
        .boxed()
    }

    fn listen<'a>(&'a self, sink: Sink, stop: CancellationToken) -> Option<BoxFuture<'a, ()>> {
        let listening = async move {
            let name = self.account.name.as_str();
            let keeps = self.account.number("keeps_hours").max(24) * HOUR;
            let mut ear = Ear::new(
                self.alphabet,
                Ids::parse(self.account.text("receipt_ids")),
                self.account.text("inbound_country"),
                keeps,
            );
            let mut wait = BACKOFF;
            while !stop.is_cancelled() {
                let began = Instant::now();
                let up = |link: Option<Arc<Link>>| {
                    if link.is_some() {
                        tracing::info!(gateway = name, "Bound; sending and hearing");
                    }
                    self.set(link.ok_or(Down::NotYet));
                };
                let down = session::hold(&self.place(), &mut ear, &self.clock, &sink, &up, &stop).await;
                self.set(Err(down.clone()));
                if stop.is_cancelled() {
                    return;
                }
                if began.elapsed() > GOOD {
                    wait = BACKOFF;
                }
                let pause = if matches!(down, Down::Refused(_)) { wait.max(REFUSED) } else { wait };
                tracing::warn!(gateway = name, why = %down, again_in_ms = pause.as_millis(), "No session: neither sending nor hearing");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(pause) => {}
                }
                wait = (wait * 2).min(LONGEST);
            }
        };
        Some(listening.boxed())
    }
}
