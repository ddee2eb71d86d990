//! After a crash, and every half minute: what lost workers left becomes `unknown`, campaigns whose time has come start,
//! and every batch with something due has a job again. Recovery reads our tables and never waits for the queue.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{Engine, LEASE_DB, hidden, plan};
use crate::clock::SECOND;
use crate::domain::campaign::CampaignState;
use crate::domain::message::State;
use crate::store::queue::{self, Job};
use crate::store::{campaigns, control, messages, outbox, report};

/// What recovery found, for the log and for the operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Attempts whose worker is gone.
    pub abandoned: u64,
    pub batches: usize,
    pub started: usize,
}

/// At the start of a worker. On SQLite it is the only worker of the file (a lock holds that), so whatever is in flight
/// belongs to one that died.
pub async fn at_start(engine: &Engine) -> Result<Found> {
    let mut tx = engine.store.write().await?;
    let sole = engine.store.is_sqlite().then_some(engine.worker.as_str());
    let abandoned = messages::abandon(&mut tx, LEASE_DB, sole, engine.now()).await?;
    if sole.is_some() {
        outbox::release(&mut tx).await?;
    }
    tx.commit().await?;
    // What was put off, for a gateway that was away, is looked at now; what is not due stays.
    let mut found = sweep_until(engine, engine.now() + 60 * SECOND).await?;
    found.abandoned += abandoned;
    Ok(found)
}

/// What nobody knows the outcome of, by campaign: it counts as asked until somebody settles it.
pub async fn unsettled(engine: &Engine) -> Result<Vec<(String, i64)>> {
    let mut tx = engine.store.read().await?;
    let mut found = Vec::new();
    for row in campaigns::all(&mut tx, &engine.controller).await? {
        let messages = report::messages(&mut tx, row.id).await?;
        let unknown = messages.iter().filter(|(_, state, _)| state == State::Unknown.code()).map(|(_, _, count)| count).sum();
        if unknown > 0 {
            found.push((row.name, unknown));
        }
    }
    tx.rollback().await?;
    Ok(found)
}

/// Every half minute.
pub async fn sweep(engine: &Engine) -> Result<Found> {
    sweep_until(engine, engine.now()).await
}

/// Gives a job to every batch to be looked at by `until` that has none.
async fn sweep_until(engine: &Engine, until: i64) -> Result<Found> {
    for gateway in engine.gateways.keys() {
        hear_session(engine, gateway).await?;
    }
    hidden::sweep(engine).await;
    let now = engine.now();
    let mut found = Found::default();
    let mut tx = engine.store.write().await?;
    let standing = queue::standing(&mut tx).await?;
    found.abandoned = messages::abandon(&mut tx, LEASE_DB, None, now).await?;
    for row in campaigns::all(&mut tx, &engine.controller).await? {
        match row.state() {
            // A stale schedule never sends: past its deadline it is over.
            CampaignState::Scheduled if now >= row.deadline => {
                let why = Some("the deadline passed before the start");
                campaigns::move_state(&mut tx, row.id, CampaignState::Scheduled, CampaignState::Finished, why).await?;
            }
            CampaignState::Scheduled if now >= row.start_at => {
                let (from, to) = (CampaignState::Scheduled, CampaignState::Running);
                let started = campaigns::move_state(&mut tx, row.id, from, to, None).await?;
                if started {
                    queue::push(&mut tx, &Job::Plan { campaign: row.id }, Duration::ZERO).await?;
                }
                found.started += usize::from(started);
            }
            CampaignState::Running => {
                let again = match row.repeat_at.filter(|at| *at <= now && now < row.deadline) {
                    Some(due) => campaigns::begin_repeat(&mut tx, row.id, due).await?,
                    None => false,
                };
                found.started += usize::from(again);
                let job = Job::Plan { campaign: row.id };
                if (again || row.planned_all == 0) && !standing.contains(&job) {
                    queue::push(&mut tx, &job, Duration::ZERO).await?;
                }
            }
            _ => {}
        }
    }
    messages::reopen_batches(&mut tx, &engine.controller, now).await?;
    let due = messages::due_batches(&mut tx, &engine.controller, until, 10_000).await?;
    found.batches = due.len();
    for job in due.into_iter().map(|(batch,)| Job::Deliver { batch }).filter(|job| !standing.contains(job)) {
        queue::push(&mut tx, &job, Duration::ZERO).await?;
    }
    tx.commit().await?;
    queue::sweep(&engine.store).await?;
    report::fold(&engine.store).await?;
    plan::wind_up_all(engine).await?;
    Ok(found)
}

/// Microseconds that a session may seem silent between two looks at it while it stands.
const UNHEARD: i64 = 90 * SECOND;

fn is_heard_over_session(engine: &Engine, name: &str) -> bool {
    engine.config.gateways.iter().any(|g| g.name() == name && !g.driver.calls_back())
}

/// A gateway that hears over a session of its own has it just now. Where it had none for longer than the SMSC keeps what people wrote, a gap
/// is recorded, as after a silence of the web role.
pub async fn hear_session(engine: &Engine, name: &str) -> Result<()> {
    let Some(gateway) = engine.gateways.get(name).filter(|gateway| is_heard_over_session(engine, name) && !gateway.is_deaf())
    else {
        return Ok(());
    };
    let now = engine.now();
    let mut tx = engine.store.write().await?;
    let last = control::hear_session(&mut tx, &engine.controller, name, now).await?;
    if let Some(last) = last.filter(|last| now - last > UNHEARD)
        && !matches!(gateway.list_inbound(last, now).await, Some(Ok(_)))
    {
        control::add_gap(&mut tx, &engine.controller, last, now).await?;
        tracing::warn!(
            gateway = name,
            "The session was down longer than the carrier keeps replies; nothing is sent until somebody says they were heard"
        );
    }
    tx.commit().await?;
    Ok(())
}

/// One heartbeat, which says that what gateways tell reaches the disk.
///
/// # Errors
/// It does not, or the database is away.
pub async fn beat(engine: &Engine) -> Result<()> {
    if engine.calls.hangs() {
        bail!("what gateways tell waits for a transaction that does not end");
    }
    let lost = engine.calls.lost();
    let mut tx = engine.store.write().await?;
    let gap = control::hear(&mut tx, &engine.controller, LEASE_DB, engine.now()).await?;
    if let Some(lost) = lost {
        control::add_gap(&mut tx, &engine.controller, lost, engine.now()).await?;
    }
    tx.commit().await?;
    if let Some(lost) = lost {
        engine.calls.noted(lost);
    }
    if gap.is_some() || lost.is_some() {
        tracing::warn!("Nobody listened for a while; reading what came in before anything is sent");
    }
    Ok(())
}

/// Reads what gateways list of a time in which no web role listened. A gap that every gateway could list is settled by it;
/// otherwise it stays until an operator says so. Answers whether none stays. Before a restore a session brought what it will not bring again:
/// it was acknowledged, and stored in a database that may be lost.
pub async fn read_gaps(engine: &Engine) -> Result<bool> {
    let mut tx = engine.store.read().await?;
    let gaps = control::open_gaps(&mut tx, &engine.controller).await?;
    tx.rollback().await?;
    let mut all = true;
    for gap in gaps {
        let mut complete = true;
        for (name, gateway) in &engine.gateways {
            if gap.restored != 0 && is_heard_over_session(engine, name) {
                complete = false;
                continue;
            }
            // A minute on both sides: two clocks.
            match gateway.list_inbound(gap.from_at - 60 * SECOND, gap.to_at + 60 * SECOND).await {
                Some(Ok(events)) => {
                    super::receive::store(engine, name, &events).await?;
                    tracing::info!(gateway = %name, events = events.len(), "Read what came in while nobody listened");
                }
                Some(Err(error)) => {
                    tracing::warn!(gateway = %name, %error, "Cannot read what came in while nobody listened; sending stays off");
                    complete = false;
                }
                None => complete = false,
            }
        }
        if complete {
            let mut tx = engine.store.write().await?;
            control::settle_gap(&mut tx, gap.id, "read from the gateways", engine.now()).await?;
            tx.commit().await?;
        }
        all &= complete;
    }
    Ok(all)
}
