//! What happened to one person, as sentences: every attempt with its own outcome, receipts, replies (what was read in them, never their
//! text), consents, in order of time; and of each campaign whether they were asked, and what they answered.

use std::collections::HashMap;

use anyhow::Result;
use serde::Serialize;
use utoipa::ToSchema;

use super::entry;
use super::seen::{allowed, by};
use crate::clock::instant;
use crate::domain::answer::{Answer, By, OBJECTION};
use crate::domain::eligibility::{Reason, told};
use crate::domain::ledger::{Body, Entry, NUMBER_CHANGED};
use crate::domain::message::{Outcome, Receipt, State};
use crate::domain::reply::Intent;
use crate::gateway::driver::Class;
use crate::store::inbound::{Inbound, ReceiptOf};
use crate::store::messages::Story as Row;
use crate::store::{Tx, inbound, legs, messages};
use crate::vault::Keyed;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Moment {
    /// RFC 3339, in the story's time zone.
    pub at: String,
    /// `imported`, `decided`, `message`, `attempt`, `receipt`, `settled`, `reply`, `entry`, `operator`, `consent`
    pub kind: &'static str,
    pub campaign: Option<String>,
    /// A sentence. It holds no number and no reply's text.
    pub what: String,
}

impl Moment {
    /// `2026-12-01 09:31:05`, without the zone.
    pub fn when(&self) -> String {
        self.at.chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect()
    }
}

/// How times are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times(pub chrono_tz::Tz);

impl Times {
    pub fn minute(self, at: i64) -> String {
        format!("{} ({})", instant(at).with_timezone(&self.0).format("%Y-%m-%d %H:%M"), self.0)
    }

    fn stamp(self, at: i64) -> String {
        instant(at).with_timezone(&self.0).to_rfc3339_opts(chrono::SecondsFormat::Secs, false)
    }
}

/// Where an answer is that a restored copy knows only the time of.
pub(super) const SINCE_COPY: &str =
    "after the copy of the database was made that was restored; what they said is in the one kept aside";

/// What became of an attempt, as far as the person is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The gateway has it, or the phone.
    Out,
    Unknown,
    Missed,
}

/// One attempt to send a message: a leg.
struct Leg<'a> {
    row: &'a Row,
    at: i64,
    reach: Reach,
    became: String,
}

impl Leg<'_> {
    fn new<'a>(row: &'a Row, receipts: &[ReceiptOf], newest: bool) -> Option<Leg<'a>> {
        let (id, at) = (row.attempt?, row.claimed_at?);
        let own: Vec<&ReceiptOf> = receipts.iter().filter(|r| r.attempt_id == id).collect();
        let outcome = row.outcome.as_deref().and_then(Outcome::parse);
        let error = row.error.as_deref().map_or(String::new(), |error| format!(" ({error})"));
        let window = match row.reason.as_deref() == Some(messages::WINDOW_CLOSED) {
            true => ": WhatsApp takes free text for a day after a message of theirs alone",
            false => "",
        };
        let learned = own.iter().filter_map(|r| Receipt::parse(&r.status));
        let begun = if outcome == Some(Outcome::Accepted) { State::Accepted } else { State::Unknown };
        let told = learned.fold(begun, |state, receipt| state.on_receipt(receipt).unwrap_or(state));
        let message = State::parse(&row.state).unwrap_or(State::Unknown);
        // What a look-up, an operator's word or the person's own reply settled stands on the message alone.
        let settled =
            newest && !row.moved_on && !matches!(message, State::Planned | State::Sending | State::Cancelled | State::Lapsed);
        let arrived = matches!(told, State::Delivered | State::Read);
        let not_on_channel = (outcome == Some(Outcome::Refused) && row.moved_on) || own.iter().any(|r| not_on_channel_by(r));
        let (reach, became) = match outcome {
            _ if not_on_channel && !arrived => (Reach::Missed, "not on this channel".to_owned()),
            Some(Outcome::NotAccepted) if !arrived => (Reach::Missed, format!("not taken by the gateway{error}")),
            Some(Outcome::Refused) if !arrived => (Reach::Missed, format!("refused by the gateway{error}{window}")),
            None if own.is_empty() && !settled => (Reach::Out, "on its way".to_owned()),
            _ => {
                let state = if own.is_empty() && settled { message } else { told };
                match state {
                    State::Failed | State::Undelivered | State::Expired => (Reach::Missed, format!("{}{window}", state.code())),
                    State::Unknown => (Reach::Unknown, format!("outcome unknown{error}")),
                    State::Accepted => (Reach::Out, "accepted by the gateway".to_owned()),
                    state => (Reach::Out, state.code().to_owned()),
                }
            }
        };
        Some(Leg { row, at, reach, became })
    }
}

/// Everything that was sent to a person, and what was told about it.
pub(super) struct Sent {
    rows: Vec<Row>,
    receipts: Vec<ReceiptOf>,
    replies: Vec<Inbound>,
}

/// How a campaign stands with a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The ask left us, or may have.
    Asked,
    Planned,
    /// Tried, and no try reached the person.
    NotReached,
    NotContacted,
}

impl Sent {
    pub async fn read(tx: &mut Tx, contact: i64) -> Result<Sent> {
        Ok(Sent {
            rows: messages::story_of(tx, contact).await?,
            receipts: inbound::receipts_of(tx, contact).await?,
            replies: inbound::of_contact(tx, contact).await?,
        })
    }

    /// Of a number that is no contact: what it wrote.
    pub async fn of_stranger(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<Sent> {
        let replies = inbound::of_strangers(tx, controller, keyed).await?;
        Ok(Sent { rows: Vec::new(), receipts: Vec::new(), replies })
    }

    /// Whether something that nobody could read waits for an operator.
    pub fn waits(&self) -> bool {
        self.replies.iter().any(|reply| reply.effect == "held" && reply.resolved_at.is_none())
    }

    fn legs(&self) -> Vec<Leg<'_>> {
        let newest: HashMap<i64, Option<i64>> = self.rows.iter().map(|row| (row.id, row.attempt)).collect();
        self.rows.iter().filter_map(|row| Leg::new(row, &self.receipts, newest.get(&row.id) == Some(&row.attempt))).collect()
    }

    /// Whether a campaign asked this person, as a sentence, by what was decided last, what the person said since, and what others or time
    /// made of it. `entries` are those of the ledger about this campaign, oldest first.
    pub fn account(
        &self,
        times: Times,
        campaign: &str,
        (outcome, code): (&str, &str),
        entries: &[&Body],
    ) -> (Standing, Option<String>, String) {
        let legs = self.legs();
        let of = |kind: &'static str| {
            legs.iter().filter(move |l| l.row.kind == kind && l.row.campaign.as_deref() == Some(campaign)).rev()
        };
        let place = entries.iter().rposition(|body| is_answer(body));
        // What was taken back says little without what was given.
        let given = entries.iter().rposition(|body| body.entry == Entry::Granted);
        let begins = place.map(|at| match entries[at].entry {
            Entry::Withdrawn => given.filter(|given| *given < at).unwrap_or(at),
            _ => at,
        });
        let theirs = begins.zip(place).map(|(begins, at)| {
            let theirs = entries[begins..=at].iter().filter(|body| is_answer(body));
            theirs.filter_map(|body| said(body, times)).collect::<Vec<_>>().join(", then ")
        });
        let answered = theirs.filter(|theirs| !theirs.is_empty()).map(|theirs| format!("; answered: {theirs}"));
        let others = entries[place.map_or(0, |at| at + 1)..].iter().rev().find(|body| is_of_others(body, place.is_some()));
        let since = others.and_then(|body| said(body, times)).map_or(String::new(), |what| format!("; since then: {what}"));
        let planned =
            self.rows.iter().rev().find(|r| r.kind == "ask" && r.state == "planned" && r.campaign.as_deref() == Some(campaign));
        if let Some(ask) = of("ask").find(|l| l.reach != Reach::Missed) {
            let doubt = if ask.reach == Reach::Unknown { ", though it is not known whether it arrived" } else { "" };
            let reminded = of("reminder").find(|l| l.reach != Reach::Missed);
            let again = reminded.map_or(String::new(), |r| format!(", reminded on {}", times.minute(r.at)));
            let on = times.minute(ask.at);
            let answered = answered.unwrap_or_else(|| self.undecided(times, ask, &legs));
            let channel = by(&ask.row.channel);
            let sentence = format!("Asked on {on} by {channel} in campaign {campaign}{doubt}{again}{answered}{since}.");
            return (Standing::Asked, None, sentence);
        }
        let tried = of("ask").next().map(|l| format!("tried on {} by {}: {}", times.minute(l.at), by(&l.row.channel), l.became));
        if let Some(row) = planned {
            let because = match (outcome, Reason::parse(code)) {
                ("wait", Some(_)) => format!(" It waits: {}", told(code)),
                _ => String::new(),
            };
            let tried = tried.map_or(String::new(), |tried| format!("; {tried}"));
            let on = times.minute(row.due_at.max(row.created_at));
            let next = by(&row.planned_channel);
            let sentence = format!("To be asked in campaign {campaign} by {next}, not before {on}{tried}.{because}");
            return (Standing::Planned, (outcome == "wait").then(|| code.to_owned()), sentence);
        }
        if let Some(tried) = tried {
            let answered = answered.unwrap_or_default();
            return (Standing::NotReached, None, format!("Not reached in campaign {campaign}, {tried}{answered}{since}."));
        }
        let last = self.rows.iter().rev().find(|r| r.kind == "ask" && r.campaign.as_deref() == Some(campaign));
        let why = match (outcome, last.and_then(|row| row.reason.as_deref())) {
            ("skip", _) => told(code),
            (_, Some(reason)) => told(reason),
            // The unique keys of the plan let no second one in (promise 3).
            _ => "no message was planned, since this person or the same human has one of this family.".to_owned(),
        };
        let code = (outcome == "skip").then(|| code.to_owned());
        (Standing::NotContacted, code, format!("Not contacted in campaign {campaign}: {why}"))
    }

    /// What stands where the person's own word would: a no by somebody else, a reply that decided nothing, or silence.
    fn undecided(&self, times: Times, ask: &Leg<'_>, legs: &[Leg<'_>]) -> String {
        let row = ask.row;
        let said = row.answer.as_deref().and_then(Answer::parse);
        if let (Some(Answer::Stopped | Answer::Refused | Answer::WrongPerson), Some(at)) = (said, row.answered_at) {
            let by = row.answer_by.as_deref().and_then(By::parse).unwrap_or(By::Person);
            // An operator says it of nobody but whoever has told us their new one.
            if (said, by) == (Some(Answer::WrongPerson), By::Operator) {
                return format!("; the number changed on {}", times.minute(at));
            }
            let said = match said {
                Some(Answer::Refused) => "refused",
                Some(Answer::WrongPerson) => "the number said to be somebody else's",
                _ => "stopped",
            };
            return format!("; {said} {} on {}", by.words(), times.minute(at));
        }
        if let (Some(Answer::Replied), Some(By::Restore), Some(at)) =
            (said, row.answer_by.as_deref().and_then(By::parse), row.answered_at)
        {
            return format!("; answered on {}, {SINCE_COPY}", times.minute(at));
        }
        // A reply belongs to the newest ask before it.
        let asked_before = |at: i64| legs.iter().filter(|l| l.row.kind == "ask" && l.at <= at).max_by_key(|l| l.at);
        let own = |at: i64| asked_before(at).is_some_and(|l| l.row.campaign == row.campaign);
        let Some(reply) = self.replies.iter().rev().find(|r| own(r.received_at)) else { return "; silent since".to_owned() };
        let (on, read) = (times.minute(reply.received_at), read_as(&reply.intent));
        if entry::became(&reply.effect).is_some() {
            return format!("; came on {on} by an entry’s link or word, which decides nothing by itself");
        }
        match verdict(times, reply) {
            Some(verdict) => format!("; replied on {on}, read as {read}; {verdict}"),
            None if reply.effect == "held" => format!("; replied on {on}, read as {read}, which waits for an operator"),
            None => format!("; replied on {on}, read as {read}, which decides nothing by itself"),
        }
    }

    /// The published texts by which a campaign asked, each once, with the hash that the ledger names.
    pub fn wordings(&self, campaign: &str) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for row in self.rows.iter().filter(|row| row.campaign.as_deref() == Some(campaign) && row.attempt.is_some()) {
            if let (Some(text), Some(hash), "ask" | "reminder" | "confirm") = (&row.wording, &row.wording_hash, row.kind.as_str())
            {
                let kind = named(&row.kind);
                let line = format!("{kind} by {} in {}, wording {}: “{text}”", by(&row.channel), row.locale, short(hash));
                if !all.contains(&line) {
                    all.push(line);
                }
            }
        }
        all
    }

    /// What people wrote: what was read in it and what followed, never the text; and what an operator said of it.
    pub fn heard(&self, times: Times) -> Vec<(i64, Moment)> {
        let mut out = Vec::new();
        for reply in &self.replies {
            let followed = match reply.effect.as_str() {
                "held" if reply.resolved_at.is_some() => "it waited for an operator",
                "held" => "it waits for an operator",
                "applied" => "it was taken as that",
                "first yes" => "it was taken as the first yes",
                inbound::YES_WAITS | inbound::TAP_WAITS => "it waits until an operator has read what is unclear",
                other => other,
            };
            let channel = by(&reply.channel);
            let (kind, what) = match entry::became(&reply.effect) {
                Some((form, became)) => {
                    let form = if form.is_empty() { String::new() } else { format!(" of form {form}") };
                    ("entry", format!("Came by an entry’s link or word{form}, by {channel}, which is no consent: {became}"))
                }
                None => ("reply", format!("Reply by {channel}, read as {}: {followed}", read_as(&reply.intent))),
            };
            out.push(moment(times, reply.received_at, kind, None, what));
            if let (Some(verdict), Some(at)) = (verdict(times, reply), reply.resolved_at) {
                let of = times.minute(reply.received_at);
                out.push(moment(times, at, "operator", None, format!("The reply of {of}: {verdict}")));
            }
        }
        out
    }

    /// Attempts and receipts, and the messages that never left.
    pub async fn moments(&self, tx: &mut Tx, times: Times, contact: i64) -> Result<Vec<(i64, Moment)>> {
        let mut out = Vec::new();
        let mut push = |at: i64, kind, campaign: &Option<String>, what: String| {
            out.push((at, Moment { at: times.stamp(at), kind, campaign: campaign.clone(), what }));
        };
        let legs = self.legs();
        for leg in &legs {
            let Row { kind, channel, sender, reference, campaign, .. } = leg.row;
            let reference = reference.as_deref().unwrap_or_default();
            let what = format!("{} by {} from {sender}: {}; reference {reference}", named(kind), by(channel), leg.became);
            push(leg.at, "attempt", campaign, what);
        }
        for receipt in &self.receipts {
            let Some(row) = self.rows.iter().find(|row| row.attempt == Some(receipt.attempt_id)) else { continue };
            let why = match not_on_channel_by(receipt) {
                false => receipt.error.as_deref().map_or(String::new(), |error| format!(" ({error})")),
                true => ": not on this channel".to_owned(),
            };
            let what = format!("Receipt of the {} by {}: {}{why}", row.kind, by(&row.channel), receipt.status);
            push(receipt.received_at, "receipt", &row.campaign, what);
        }
        let mut seen = std::collections::HashSet::new();
        for row in self.rows.iter().filter(|row| seen.insert(row.id)) {
            let reason = row.reason.as_deref().map_or(String::new(), |reason| format!(": {}", told(reason)));
            let (kind, channel) = (named(&row.kind), by(&row.planned_channel));
            match row.state.as_str() {
                "planned" => {
                    let on = times.minute(row.due_at.max(row.created_at));
                    push(
                        row.changed_at,
                        "message",
                        &row.campaign,
                        format!("{kind} by {channel} planned, not before {on}{reason}"),
                    );
                }
                "cancelled" | "lapsed" => {
                    push(row.changed_at, "message", &row.campaign, format!("{kind} by {channel} {}{reason}", row.state));
                }
                _ => {}
            }
        }
        for (message, state, by_whom, at) in legs::settlements_of(tx, contact).await? {
            let row = self.rows.iter().find(|row| row.id == message);
            let kind = row.map_or("message", |row| row.kind.as_str());
            let campaign = row.and_then(|row| row.campaign.clone());
            push(at, "settled", &campaign, format!("The {kind} of unknown outcome was settled as {state}: {by_whom}"));
        }
        Ok(out)
    }
}

/// As much of a hash as people compare.
pub(super) fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// What a stored intent is called.
fn read_as(intent: &str) -> &'static str {
    match Intent::parse(intent) {
        // Earlier versions stored refusal and STOP under one code; the ledger's line beside it says which it was.
        None if intent == Intent::Stop.code() => "a no",
        Some(Intent::OptIn) => "a yes",
        Some(Intent::Refuse) => "a no",
        Some(Intent::Stop) => "a STOP",
        Some(Intent::WrongPerson) => "“wrong number”",
        Some(Intent::Help) => "a call for help",
        Some(Intent::Unclear) | None => "unclear",
    }
}

/// What an operator said of a reply, when, and who it was.
fn verdict(times: Times, reply: &Inbound) -> Option<String> {
    let (at, who) = (times.minute(reply.resolved_at?), reply.resolved_by.as_deref()?);
    let who =
        if who.starts_with("operator") { who.replacen("operator", "an operator", 1) } else { format!("an operator ({who})") };
    Some(match &reply.verdict {
        Some(verdict) => format!("{who} read it on {at} and said: {verdict}"),
        None => format!("{who} decided about it on {at}"),
    })
}

pub(super) fn consent(times: Times, body: &Body) -> (i64, Moment) {
    let through = match body.channel.as_str() {
        "none" => String::new(),
        channel if body.form.is_some() => {
            format!("; through {channel} {}, {}", body.form.as_deref().unwrap_or_default(), body.action.replace('_', " "))
        }
        channel => format!("; through {}, {}", by(channel), body.action.replace('_', " ")),
    };
    let what = said(body, times).unwrap_or_else(|| body.entry.code().replace('_', " "));
    moment(times, body.at, "consent", body.campaign.as_deref(), format!("Ledger: {what}{through}"))
}

pub(super) fn moment(times: Times, at: i64, kind: &'static str, campaign: Option<&str>, what: String) -> (i64, Moment) {
    (at, Moment { at: times.stamp(at), kind, campaign: campaign.map(str::to_owned), what })
}

/// Whether it is what the person answered; that a first yes was never completed tells of one.
fn is_answer(body: &Body) -> bool {
    match body.entry {
        Entry::Pending | Entry::Granted | Entry::Expired => true,
        Entry::Refused | Entry::Withdrawn | Entry::Stopped | Entry::WrongPerson => {
            By::of(&body.channel, &body.action) == Some(By::Person)
        }
        _ => false,
    }
}

/// Whether somebody else, or time, changed what stands. A no by somebody else in the place of an answer is told as that
/// (`Sent::undecided`).
fn is_of_others(body: &Body, answered: bool) -> bool {
    match body.entry {
        Entry::Restricted | Entry::Unrestricted | Entry::ConsentExpired | Entry::Erased => true,
        Entry::Refused | Entry::Withdrawn | Entry::Stopped | Entry::WrongPerson | Entry::OperatorStop => answered,
        _ => false,
    }
}

/// What the person said, or somebody else or time said for them; none for what changes nothing.
pub(super) fn said(body: &Body, times: Times) -> Option<String> {
    let (on, what) = (times.minute(body.at), allowed(&body.permissions));
    let by = match By::of(&body.channel, &body.action) {
        None | Some(By::Person) => String::new(),
        Some(by) => format!(" {}", by.words()),
    };
    // What they asked for about their data, not what a list or a restored copy made of it.
    let asked = match By::of(&body.channel, &body.action) {
        Some(By::Person) => " at the person's request",
        _ => by.as_str(),
    };
    // What came by letter: whose hand it was, and when it came.
    let hand = match (body.channel.as_str(), &body.evidence) {
        ("operator", Some(evidence)) => format!(", carried out by an operator ({evidence})"),
        _ => String::new(),
    };
    Some(match body.entry {
        Entry::Pending => format!("a first yes to {what} on {on}, to be confirmed by a second step"),
        Entry::Granted => format!("granted {what} on {on}"),
        Entry::Refused => format!("refused{by} on {on}"),
        Entry::Withdrawn => format!("{what} withdrawn{by} on {on}"),
        Entry::Stopped if body.action == OBJECTION => format!("objected to all marketing on {on}{hand}"),
        Entry::Stopped => format!("stopped all marketing{by} on {on}"),
        Entry::WrongPerson if body.is_number_change() => format!("the person has another number since {on}"),
        Entry::WrongPerson => format!("wrong person, said{by} on {on}"),
        Entry::Expired if body.channel == "restore" => {
            format!("a first yes to {what}, which did not wait any more when the copy took over; ended here on {on}")
        }
        Entry::Expired if body.action == "replaced" => format!("a first yes to {what}, replaced by a choice on a form on {on}"),
        Entry::Expired => format!("a first yes to {what}, whose second step never came; expired on {on}"),
        Entry::OperatorStop => format!("in a reply of which an operator said: stop, on {on}"),
        Entry::Erased => format!("erased{asked} on {on}{hand}"),
        Entry::Restricted if body.action == NUMBER_CHANGED => {
            let since = body.evidence.as_deref().unwrap_or_default();
            format!("the use of the data is restricted as that of the old number was ({since}), carried over on {on}")
        }
        Entry::Restricted => format!("the use of the data restricted{asked} on {on}{hand}"),
        Entry::Unrestricted => format!("the restriction lifted{by} on {on}"),
        Entry::ConsentExpired => format!("{what} expired on {on}, since nothing is allowed for ever"),
        Entry::Times => {
            let times = body.times.clone().unwrap_or_default();
            format!(
                "wants to be written to {} (said on {on})",
                if times.is_any() { "at any time".to_owned() } else { times.words() }
            )
        }
        Entry::LateNo | Entry::Retention => return None,
    })
}

fn not_on_channel_by(receipt: &ReceiptOf) -> bool {
    receipt.class.as_deref().and_then(Class::parse) == Some(Class::NotOnChannel)
}

fn named(kind: &str) -> &'static str {
    match kind {
        "ask" => "Ask",
        "reminder" => "Reminder",
        "confirm" => "Confirmation",
        "code" => "One-time code",
        "ack" => "Acknowledgement",
        "help" => "Help",
        _ => "Test message",
    }
}
