//! What age alone ends and deletes: consents whose time is over, people of whom nothing was heard, the words of replies, the record of
//! requests, and the proof of people erased or forgotten (Art. 5(1)(e) GDPR). Once a day by a job, whose result stands in a table; and by hand.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::Months;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::confirm::{self, Deed};
use super::{Engine, retried};
use crate::clock::{DAY, HOUR, MINUTE, instant};
use crate::domain::channel::{Channel, Permission, Purpose};
use crate::domain::ledger::Entry;
use crate::domain::plural::counted;
use crate::store::contacts::Contact;
use crate::store::humans::Tie;
use crate::store::queue::{self, Job};
use crate::store::{Tx, contacts, control, erase, humans, messages, retention, suppressions};

/// People a transaction.
const CHUNK: i64 = 200;
/// How long a process has a run for itself from one chunk to the next, microseconds: a chunk takes a second or two.
const LEASE_DB: i64 = MINUTE;

/// What was found, and done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RetentionFound)]
pub struct Found {
    /// People of whom some consent is too old.
    pub expired: u64,
    /// People of whom nothing was heard.
    pub forgotten: u64,
    /// Replies whose words are too old.
    pub replies: u64,
    /// People erased or forgotten whose proof is too old.
    pub proofs: u64,
    /// Requests that were done as long ago.
    #[serde(default)]
    pub requests: u64,
}

impl Found {
    /// In plain words for an operator.
    pub fn words(&self) -> String {
        let person = |n: u64| counted(n, "person", "people");
        format!(
            "consents of {} expired, {} forgotten, words of {} deleted, proof of {} deleted, {} deleted",
            person(self.expired),
            person(self.forgotten),
            counted(self.replies, "reply", "replies"),
            person(self.proofs),
            counted(self.requests, "old request", "old requests")
        )
    }
}

/// A run this process is at, and until when it holds it, by the database's clock. A rehearsal has none, and changes nothing.
#[derive(Debug, Clone, Copy)]
struct Held {
    run: i64,
    until_db: i64,
}

/// What a run would do now.
pub async fn rehearse(engine: &Engine) -> Result<Found> {
    go_through(engine, None).await
}

async fn go_through(engine: &Engine, mut held: Option<Held>) -> Result<Found> {
    let mut found = Found::default();
    // First, since whoever is forgotten takes their words along, and a proof that goes its requests: a rehearsal, in which none is, counts the
    // same.
    each(engine, &mut held, &mut found.replies, Due::Words).await?;
    each(engine, &mut held, &mut found.requests, Due::Requests).await?;
    for purpose in Purpose::ALL {
        each(engine, &mut held, &mut found.expired, Due::Consents(purpose)).await?;
    }
    each(engine, &mut held, &mut found.forgotten, Due::Silent).await?;
    each(engine, &mut held, &mut found.proofs, Due::Proofs).await?;
    Ok(found)
}

#[derive(Debug, Clone, Copy)]
enum Due {
    /// Of replies, whose ids are gone through as people's are.
    Words,
    /// So are theirs.
    Requests,
    Consents(Purpose),
    Silent,
    Proofs,
}

/// Goes through the people of whom something is due, a chunk a transaction, in order of their ids: whoever stays due is not met twice.
async fn each(engine: &Engine, held: &mut Option<Held>, count: &mut u64, due: Due) -> Result<()> {
    let mut after = 0;
    loop {
        let before = *held;
        let chunk = || async move {
            let mut own = before;
            let (done, last) = chunk(engine, &mut own, due, after).await?;
            Ok((own, done, last))
        };
        let (own, done, last) = retried(chunk).await?;
        *held = own;
        *count += done;
        let Some(last) = last else { return Ok(()) };
        after = last;
    }
}

/// How many it did, and the last one; none where that was all.
async fn chunk(engine: &Engine, held: &mut Option<Held>, due: Due, after: i64) -> Result<(u64, Option<i64>)> {
    let (controller, now, keep) = (engine.controller.as_str(), engine.now(), &engine.config.retention);
    let mut tx = engine.store.write().await?;
    if let Some(held) = held {
        let kept = retention::take(&mut tx, controller, held.run, held.until_db, LEASE_DB).await?;
        held.until_db = kept.context("this run stood still for so long that another process may be at one")?;
    }
    if matches!(due, Due::Silent) {
        humans::take_turn(&mut tx, controller).await?;
    }
    let ids: Vec<(i64,)> = match due {
        Due::Words => {
            let old = retention::old_replies(&mut tx, controller, now - keep.replies_days * DAY, after, CHUNK).await?;
            if held.is_some() {
                retention::blank_replies(&mut tx, &old).await?;
                tx.commit().await?;
            }
            return Ok((old.len() as u64, old.last().copied().filter(|_| old.len() as i64 == CHUNK)));
        }
        Due::Requests => {
            let old = retention::old_requests(&mut tx, controller, now - keep.proof_days * DAY, after, CHUNK).await?;
            if held.is_some() {
                retention::delete_requests(&mut tx, &old).await?;
                tx.commit().await?;
            }
            return Ok((old.len() as u64, old.last().copied().filter(|_| old.len() as i64 == CHUNK)));
        }
        Due::Consents(purpose) => {
            let before = too_old(engine, purpose);
            retention::expired(&mut tx, controller, purpose, before, after, CHUNK).await?
        }
        Due::Silent => {
            let before = now - keep.silent_days * DAY;
            let day = instant(before).date_naive().to_string();
            retention::silent(&mut tx, controller, before, &day, after, CHUNK).await?
        }
        Due::Proofs => retention::old_proofs(&mut tx, controller, now - keep.proof_days * DAY, after, CHUNK).await?,
    };
    let last = ids.last().map(|(id,)| *id).filter(|_| ids.len() as i64 == CHUNK);
    let mut done = 0;
    for (id,) in ids {
        let Some(contact) = contacts::lock(&mut tx, id).await? else { continue };
        // Another run, or the person, came first.
        if contact.is_erased() != matches!(due, Due::Proofs) {
            continue;
        }
        done += 1;
        if held.is_some() {
            match due {
                Due::Words | Due::Requests => {}
                Due::Consents(purpose) => expire(&mut tx, engine, &contact, purpose).await?,
                Due::Silent => forget(&mut tx, engine, &contact, &deed(engine, "silent", keep.silent_days)).await?,
                Due::Proofs => {
                    let deed = deed(engine, "proof", keep.proof_days);
                    confirm::note(&mut tx, engine, id, Entry::Retention, Vec::new(), &deed).await?;
                    retention::delete_proof(&mut tx, controller, &contact.subject).await?;
                }
            }
        }
    }
    match held {
        None => tx.rollback().await?,
        Some(_) => tx.commit().await?,
    }
    Ok((done, last))
}

/// What was granted before this is over by now.
fn too_old(engine: &Engine, purpose: Purpose) -> i64 {
    let months = Months::new(engine.config.retention.months(purpose));
    instant(engine.now()).checked_sub_months(months).map_or(i64::MIN, |at| at.timestamp_micros())
}

async fn expire(tx: &mut Tx, engine: &Engine, contact: &Contact, purpose: Purpose) -> Result<()> {
    let before = too_old(engine, purpose);
    let gone: Vec<Permission> = retention::granted_since(tx, &engine.controller, &contact.subject)
        .await?
        .into_iter()
        .filter(|(_, of, since)| of == purpose.code() && *since < before)
        .filter_map(|(channel, ..)| Some(Permission { channel: Channel::parse(&channel)?, purpose }))
        .collect();
    if gone.is_empty() {
        return Ok(());
    }
    let months = engine.config.retention.months(purpose);
    let deed = Deed { evidence: format!("kept for {months} months"), ..deed(engine, "consent", 0) };
    confirm::note(tx, engine, contact.id, Entry::ConsentExpired, gone, &deed).await
}

/// Forgets somebody of whom nothing was heard. Whatever no they said stays; a later list may bring them again, and then the marks of what
/// they were asked count.
pub(super) async fn forget(tx: &mut Tx, engine: &Engine, contact: &Contact, deed: &Deed) -> Result<()> {
    let keyed = engine.vault.keyed_of(&contact.number_enc)?;
    confirm::note(tx, engine, contact.id, Entry::Retention, Vec::new(), deed).await?;
    let (controller, now) = (engine.controller.as_str(), engine.now());
    let human = humans::of_contact(tx, contact.id).await?;
    erase::contact(tx, controller, contact.id, &contact.subject, &contact.number_enc, now).await?;
    erase::replies(tx, controller, &keyed, &[contact.id]).await?;
    // A no of this number stays a no of its human, and that it was asked stays theirs, whatever number comes under the same id.
    if let Some(human) = human
        && (!suppressions::live_among(tx, controller, &keyed).await?.is_empty()
            || messages::is_marked(tx, controller, &keyed).await?)
    {
        humans::tie(tx, controller, &[Tie { number: keyed.clone(), id: Some(human) }]).await?;
        humans::forget(tx, controller, &keyed, now).await?;
    }
    Ok(())
}

fn deed(engine: &Engine, action: &'static str, days: i64) -> Deed {
    Deed { at: engine.now(), channel: "none", action, evidence: format!("kept for {days} days"), text_hash: None }
}

/// Calls for a run where the last one is a day old, or was called for an hour ago and nobody is at it any more.
pub async fn schedule(engine: &Engine) -> Result<bool> {
    let mut tx = engine.store.write().await?;
    let now = engine.now();
    // Another worker may be looking at this moment.
    control::take_turn(&mut tx, &engine.controller).await?;
    let newest = retention::runs(&mut tx, &engine.controller, 1).await?.pop();
    let due = newest.is_none_or(|run| now >= run.at + if run.done_at.is_some() { DAY } else { HOUR });
    let due = due && !retention::under_way(&mut tx, &engine.controller).await?;
    if due {
        let run = retention::begin(&mut tx, &engine.controller, now).await?;
        queue::push(&mut tx, &Job::Retain { run }, Duration::ZERO).await?;
    }
    tx.commit().await?;
    Ok(due)
}

/// What a job does: a run, and its result in the table. `None`: it is done, or some process is at it or at another one.
pub async fn work(engine: &Engine, run: i64) -> Result<Option<Found>> {
    let mut tx = engine.store.write().await?;
    let taken = retention::take(&mut tx, &engine.controller, run, 0, LEASE_DB).await?;
    tx.commit().await?;
    let Some(until_db) = taken else { return Ok(None) };
    let found = go_through(engine, Some(Held { run, until_db })).await?;
    let mut tx = engine.store.write().await?;
    retention::end(&mut tx, run, &serde_json::to_string(&found)?, engine.now()).await?;
    tx.commit().await?;
    tracing::info!(
        consents.expired = found.expired,
        people.forgotten = found.forgotten,
        replies.blanked = found.replies,
        proofs.deleted = found.proofs,
        requests.deleted = found.requests,
        "Retention: {} people with expired consents, {} forgotten",
        found.expired,
        found.forgotten
    );
    Ok(Some(found))
}

/// A run by hand, recorded like the job's.
///
/// # Errors
/// Another one is under way.
pub async fn by_hand(engine: &Engine) -> Result<Found> {
    let mut tx = engine.store.write().await?;
    control::take_turn(&mut tx, &engine.controller).await?;
    const BUSY: &str = "another run is under way; remedy: wait for it, `permesso retention list` says when it is done";
    if retention::under_way(&mut tx, &engine.controller).await? {
        bail!(BUSY);
    }
    let run = retention::begin(&mut tx, &engine.controller, engine.now()).await?;
    tx.commit().await?;
    work(engine, run).await?.context(BUSY)
}

/// A run as people read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RetentionRun)]
pub struct Run {
    /// RFC 3339.
    pub at: String,
    /// None while it is under way, or broke off.
    pub found: Option<Found>,
}

/// The newest runs, the newest first.
pub async fn runs(engine: &Engine, limit: i64) -> Result<Vec<Run>> {
    let mut tx = engine.store.read().await?;
    let rows = retention::runs(&mut tx, &engine.controller, limit).await?;
    tx.rollback().await?;
    let read = |found: Option<String>| found.and_then(|json| serde_json::from_str(&json).ok());
    Ok(rows.into_iter().map(|run| Run { at: instant(run.at).to_rfc3339(), found: read(run.found) }).collect())
}
