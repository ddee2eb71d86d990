//! Deliver a batch, slice by slice: permits first, then a claim of no more than they let out, then the sends, then their
//! outcomes. Claim and outcomes are one transaction each; between them the database knows only "may have been sent".

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::claim::{Claimed, Letter, PROBE_AFTER, claim};
use super::limits::{self, Permits};
use super::openings::Openings;
use super::outcome::{self, store_outcomes};
use super::recover;
use crate::clock::SECOND;
use crate::crash;
use crate::domain::eligibility::Cleared;
use crate::domain::message::Kind;
use crate::domain::sms;
use crate::gateway::{Gateway, Outgoing, Refusal, Sent};
use crate::store::control::Silence;
use crate::store::messages::{Batch, Due};
use crate::store::queue::{self, Job};
use crate::store::{self, campaigns, messages};

/// At most so many messages of a process, of all its batches together, can be under way when a no commits (promise 2).
pub const SLICE: usize = 500;
/// Batches of one campaign that are worked at once, and share them: while the slice of one commits, another's is sent. No more, so that a
/// campaign that sends slowly leaves the worker to the others.
pub const SHARES: usize = 2;
/// Requests under way at once, of a slice: what a gateway's answer takes, 20 ms or 200, must not be what holds the rate down.
const IN_FLIGHT: usize = 128;
/// Unknown outcomes, or failures to connect, in a row that open a gateway's breaker.
pub const BREAKER: u32 = 5;

/// Microseconds until a gateway whose session is down is looked at again.
const DEAF: i64 = 5 * SECOND;

/// Why a delivery ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// Nothing is due now; the batch rests until then, or for good.
    Rested(Option<i64>),
    /// Nothing may be claimed now.
    Silent(Silence),
    /// The campaign does not run.
    NotRunning,
    /// The gateway is paused, throttled, or its breaker is open until then.
    Gateway(Option<i64>),
    Stopped,
}

/// Works a batch until nothing of it is due, the campaign or a gateway rests, or `stop` is pulled. Pause, halt and stop
/// take effect within a slice. One that is in work already, or whose campaign has its [`SHARES`] in work, is left to whoever is at those.
pub async fn deliver(engine: &Engine, batch_id: i64, stop: &CancellationToken) -> Result<Ended> {
    let mut tx = engine.store.read().await?;
    let batch = messages::batch(&mut tx, batch_id).await?;
    tx.rollback().await?;
    let Some(batch) = batch else { return Ok(Ended::Rested(None)) };
    let Some(_done) = InWork::begin(engine, &batch) else { return Ok(Ended::Rested(None)) };
    slices(engine, &batch, stop).await
}

/// Takes a batch off the list of those in work, also after a panic.
struct InWork<'a> {
    engine: &'a Engine,
    batch_id: i64,
}

impl InWork<'_> {
    fn begin<'a>(engine: &'a Engine, batch: &Batch) -> Option<InWork<'a>> {
        let mut in_work = engine.in_work.lock().expect("no panic while held");
        if in_work.contains_key(&batch.id) || batch.campaign_id.is_some_and(|id| full(&in_work).contains(&id)) {
            return None;
        }
        in_work.insert(batch.id, batch.campaign_id);
        Some(InWork { engine, batch_id: batch.id })
    }
}

impl Drop for InWork<'_> {
    fn drop(&mut self) {
        if let Ok(mut in_work) = self.engine.in_work.lock() {
            in_work.remove(&self.batch_id);
        }
    }
}

/// The campaigns that have their [`SHARES`] of the batches in work.
fn full(in_work: &HashMap<i64, Option<i64>>) -> HashSet<i64> {
    let mut shares: HashMap<i64, usize> = HashMap::new();
    in_work.values().flatten().for_each(|campaign| *shares.entry(*campaign).or_default() += 1);
    shares.into_iter().filter(|(_, n)| *n >= SHARES).map(|(campaign, _)| campaign).collect()
}

async fn slices(engine: &Engine, batch: &Batch, stop: &CancellationToken) -> Result<Ended> {
    let mut openings = Openings::default();
    // Permits of the gateway's rate that a message of this batch takes, as far as is known.
    let mut each = None;
    loop {
        if stop.is_cancelled() {
            return Ok(Ended::Stopped);
        }
        let mut tx = engine.store.read().await?;
        let campaign = match batch.campaign_id {
            Some(id) => campaigns::by_id(&mut tx, id).await?,
            None => None,
        };
        let rate = match &campaign {
            Some(row) => Some((row.id, engine.revision(&mut tx, row.revision_id).await?.limits.rate)),
            None => None,
        };
        // No more room than permits can come for: what is slow keeps none from others.
        let share = engine.slice.div_ceil(SHARES).min(limits::at_once(engine, &batch.gateway, &batch.sender, rate));
        let wanted = messages::count_due(&mut tx, batch, engine.now(), share as i64).await?;
        tx.rollback().await?;
        if wanted == 0 {
            return rest(engine, batch.id).await;
        }
        // Held until the outcomes are stored, so that claims of all batches together find no more room than a slice.
        let room = u32::try_from(wanted).unwrap_or(1);
        let _room = tokio::select! {
            room = engine.room.acquire_many(room) => room?,
            () = stop.cancelled() => return Ok(Ended::Stopped),
        };
        let gateway = engine.gateways.get(&batch.gateway).with_context(|| {
            format!("gateway `{}` of batch {} is not configured; remedy: put it back into permesso.toml", batch.gateway, batch.id)
        })?;
        if engine.config.sender(&batch.sender).is_none() {
            bail!(
                "sender `{}` of batch {} is not configured, so its limits are not known; remedy: put it back into permesso.toml",
                batch.sender,
                batch.id
            );
        }
        let wanted = usize::try_from(wanted).unwrap_or(1);
        let most = *each.get_or_insert_with(|| gateway.parts("").map_or(1, |_| sms::MAX_PARTS_UCS2));
        let rates = Rates { engine, gateway: &batch.gateway, sender: &batch.sender, campaign: rate };
        let mut got = rates.permits(wanted * most).await?;
        if got.count == 0 {
            continue;
        }
        while got.count < most && !stop.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            got.add(rates.permits(most - got.count).await?);
        }
        if outcome::Unstored::any(engine) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        for name in engine.config.heard_by(&batch.gateway, &batch.sender) {
            // It hears over a session, and that is down (promise 4).
            if let Some(ear) = engine.gateways.get(name).filter(|ear| ear.is_deaf()) {
                if let Some(why) = ear.out_of_reach() {
                    outcome::out_of_reach(engine, name, &why).await?;
                }
                return Ok(Ended::Gateway(Some(engine.now() + DEAF)));
            }
            recover::hear_session(engine, name).await?;
        }
        let letters = match claim(engine, batch, (got.count / most).max(1), &mut openings).await? {
            Claimed::Letters(letters) => letters,
            Claimed::Not(ended) => return Ok(ended),
        };
        if letters.is_empty() {
            continue;
        }
        let parts = letters.iter().map(|letter| gateway.parts(&letter.outgoing.text).unwrap_or(1));
        let needed: usize = parts.clone().sum();
        each = parts.max();
        // Permits that are stale count no more, and texts may be longer than those before.
        let lacking = if got.are_stale() { needed } else { needed.saturating_sub(got.count) };
        let permitted = rates.take(lacking, i64::MAX).await;
        crash::point("after-claim");
        // What is claimed has its outcome whatever happens: without permits none of it is sent, and that is known.
        let settled = match &permitted {
            Ok(_) => send(gateway.as_ref(), &rates, letters).await,
            Err(_) => letters.into_iter().map(|letter| letter.unsent("there were no permits")).collect(),
        };
        store_outcomes(engine, batch, settled).await;
        permitted?;
    }
}

/// The rates that a batch's messages leave at.
struct Rates<'a> {
    engine: &'a Engine,
    gateway: &'a str,
    sender: &'a str,
    campaign: Option<(i64, f64)>,
}

impl Rates<'_> {
    async fn permits(&self, wanted: usize) -> Result<Permits> {
        limits::permits(self.engine, self.gateway, self.sender, self.campaign, wanted).await
    }

    /// Takes so many, however long it lasts; false where it lasted beyond `until`.
    async fn take(&self, mut lacking: usize, until: i64) -> Result<bool> {
        while lacking > 0 && self.engine.now() < until {
            lacking -= self.permits(lacking).await?.count;
        }
        Ok(self.engine.now() < until)
    }
}

async fn rest(engine: &Engine, batch_id: i64) -> Result<Ended> {
    let mut tx = engine.store.write().await?;
    let next = messages::rest_batch(&mut tx, batch_id).await?;
    if let Some(due) = next {
        let delay = Duration::from_micros(u64::try_from(due - engine.now()).unwrap_or(0));
        queue::ring(&mut tx, &Job::Deliver { batch: batch_id }, delay).await?;
    }
    tx.commit().await?;
    Ok(Ended::Rested(next))
}

/// Sends a slice concurrently. After five unknown outcomes or failures to connect in a row the rest of it stays unsent.
async fn send(gateway: &dyn Gateway, rates: &Rates<'_>, letters: Vec<Letter>) -> Vec<(Due, i64, Sent)> {
    let in_a_row = Arc::new(AtomicU32::new(0));
    // The gateway wants nothing more for a while, or not until a human has been there.
    let closed = Arc::new(AtomicBool::new(false));
    futures::stream::iter(letters)
        .map(|letter| {
            let (in_a_row, closed) = (in_a_row.clone(), closed.clone());
            async move {
                if in_a_row.load(Ordering::SeqCst) >= BREAKER {
                    return letter.unsent("the gateway's breaker opened");
                }
                if closed.load(Ordering::SeqCst) {
                    return letter.unsent("the gateway wants no more for now");
                }
                let Letter { attempt, due, cleared, outgoing } = letter;
                let sent = match send_one(gateway, rates, cleared, &outgoing).await {
                    // What begins a conversation is a template there, so this is said of the account and not of one person.
                    Sent::NotAccepted { why: Refusal::WindowClosed, error } if due.kind().is_some_and(Kind::is_asking) => {
                        Sent::NotAccepted { why: Refusal::Account, error }
                    }
                    sent => sent,
                };
                if let Sent::NotAccepted { why: Refusal::Throttled { .. } | Refusal::Account, .. } = &sent {
                    closed.store(true, Ordering::SeqCst);
                }
                match &sent {
                    Sent::Unknown { .. } | Sent::NotAccepted { why: Refusal::NotReached, .. } => {
                        in_a_row.fetch_add(1, Ordering::SeqCst)
                    }
                    Sent::NotAccepted { .. } if in_a_row.load(Ordering::SeqCst) >= BREAKER => 0,
                    _ => in_a_row.swap(0, Ordering::SeqCst),
                };
                (due, attempt, sent)
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .collect()
        .await
}

async fn send_one(gateway: &dyn Gateway, rates: &Rates<'_>, cleared: Cleared, outgoing: &Outgoing) -> Sent {
    crash::point("before-first-byte");
    let sent = gateway.send(cleared.clone(), outgoing).await;
    crash::point("after-answer");
    // The gateway itself rejects a second message with our reference, so asking again finds out what the first one did. It is a request
    // like any other to the gateway, and takes its permits.
    let may_ask = async || {
        let parts = gateway.parts(&outgoing.text).unwrap_or(1);
        rates.take(parts, cleared.send_before()).await.unwrap_or(false)
    };
    if matches!(sent, Sent::Unknown { .. }) && gateway.dedupes_on(outgoing.channel) && may_ask().await {
        return match gateway.send(cleared, outgoing).await {
            // "Not accepted" speaks of the second request, not of the first.
            Sent::NotAccepted { error, .. } => Sent::Unknown { error },
            other => other,
        };
    }
    sent
}

/// Works a batch, and then whatever else is due: a ring of the doorbell is a reason to look, not a list of what to do.
pub async fn drain(engine: &Engine, first: i64, stop: &CancellationToken) -> Result<()> {
    let mut next = Some(first);
    while let Some(batch) = next {
        if !work(engine, batch, stop).await? {
            return Ok(());
        }
        let (at_work, full) = in_work(engine);
        let mut tx = engine.store.read().await?;
        let due = messages::due_beside(&mut tx, &engine.controller, &full, engine.now(), at_work.len() as i64 + 1).await?;
        tx.rollback().await?;
        next = due.into_iter().map(|(id,)| id).find(|id| !at_work.contains(id));
    }
    Ok(())
}

/// The batches in work, and the campaigns that are [`full`].
fn in_work(engine: &Engine) -> (HashSet<i64>, Vec<i64>) {
    let in_work = engine.in_work.lock().expect("no panic while held");
    (in_work.keys().copied().collect(), full(&in_work).into_iter().collect())
}

/// Works a batch; where something else than the end of its work ended it, its bell rings again. False where nothing else is worth a try now.
pub async fn work(engine: &Engine, batch: i64, stop: &CancellationToken) -> Result<bool> {
    match deliver(engine, batch, stop).await? {
        Ended::Stopped | Ended::Silent(_) => return Ok(false),
        Ended::Gateway(until) => rest_until(engine, batch, until.unwrap_or_else(|| engine.now() + PROBE_AFTER)).await?,
        Ended::NotRunning => rest_until(engine, batch, engine.now() + PROBE_AFTER).await?,
        Ended::Rested(_) => {}
    }
    Ok(true)
}

/// Answers to people's own acts that are due and nobody here is at, the oldest first.
///
/// # Errors
/// The database is away.
pub async fn due_answers(engine: &Engine, limit: i64) -> Result<Vec<i64>> {
    let mut tx = engine.store.read().await?;
    let due = messages::due_answers(&mut tx, &engine.controller, engine.now(), limit).await?;
    tx.rollback().await?;
    let (at_work, _) = in_work(engine);
    Ok(due.into_iter().map(|(id,)| id).filter(|id| !at_work.contains(id)).collect())
}

/// A batch with work due, while this process works none.
///
/// # Errors
/// The database is away.
pub async fn due_while_idle(engine: &Engine) -> Result<Option<i64>> {
    if !engine.in_work.lock().expect("no panic while held").is_empty() {
        return Ok(None);
    }
    let mut tx = engine.store.read().await?;
    let due = messages::due_batches(&mut tx, &engine.controller, engine.now(), 1).await?;
    tx.rollback().await?;
    Ok(due.first().map(|(batch,)| *batch))
}

async fn rest_until(engine: &Engine, batch: i64, until: i64) -> store::Result<()> {
    let mut tx = engine.store.write().await?;
    messages::postpone_batch(&mut tx, batch, until).await?;
    let delay = Duration::from_micros(u64::try_from(until - engine.now()).unwrap_or(0));
    queue::ring(&mut tx, &Job::Deliver { batch }, delay).await?;
    tx.commit().await
}
