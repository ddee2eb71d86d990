//! Turns a queued job into a call of an engine verb, and nothing more. A handler always answers Ok: what could not be done
//! stands in our tables, and the sweep comes back to it; the queue's own retries would only repeat it at once.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use apalis::prelude::*;
use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, deliver, expire, intake, notify, plan, receipts, recover, retention};
use crate::store::queue::{Job, QUEUE};
use crate::store::{Store, control};

const POLL: Duration = Duration::from_millis(100);
/// Between the end of apalis' worker and its next.
const AGAIN: Duration = Duration::from_millis(200);
const LEASE: Duration = Duration::from_secs(5);
const SWEEP: Duration = Duration::from_secs(30);
/// How often a worker with nothing to do looks whether another's batch has work: that one may be slow, or dead.
const LOOK: Duration = Duration::from_secs(2);
/// Between two looks into a webhook's outbox; the longest wait after rounds that failed altogether.
const OUTBOX: Duration = Duration::from_secs(1);
const OUTBOX_DOWN: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
struct Desk {
    engine: Arc<Engine>,
    stop: CancellationToken,
}

/// Works until `stop` is pulled; what is in flight is finished and stored first.
///
/// # Errors
/// Another worker has this SQLite file, the clocks differ by more than two seconds, or the database is gone.
pub async fn run(engine: Arc<Engine>, stop: CancellationToken) -> Result<()> {
    let _lock = lock_file(&engine)?;
    same_clock(&engine).await?;
    let mut tx = engine.store.write().await?;
    control::register(&mut tx, &engine.worker, "worker").await?;
    tx.commit().await?;
    let found = recover::at_start(&engine).await?;
    tracing::info!(
        attempts.unknown = found.abandoned,
        batches.due = found.batches,
        campaigns.started = found.started,
        "Worker started; {} sends of a lost worker are now unknown, {} batches have work",
        found.abandoned,
        found.batches
    );

    for (campaign, unknown) in recover::unsettled(&engine).await? {
        tracing::warn!(
            campaign.name = campaign,
            messages.unknown = unknown,
            "{unknown} sends of campaign {campaign} are of unknown outcome and never sent again; `permesso campaign settle {campaign}` asks the gateway"
        );
    }

    let keeper = tokio::spawn(keep(engine.clone(), stop.clone()));
    let sweeper = tokio::spawn(sweep(engine.clone(), stop.clone()));
    // Tasks of their own: a CRM that is slow or down delays no message.
    let told: Vec<_> =
        engine.receivers.keys().map(|name| tokio::spawn(tell(engine.clone(), name.clone(), stop.clone()))).collect();
    let desk = Desk { engine: engine.clone(), stop: stop.clone() };
    let helper = tokio::spawn(help(desk.clone()));
    work_the_queue(&desk).await;
    let _ = (keeper.await, sweeper.await);
    let _ = helper.await;
    futures::future::join_all(told).await;
    let mut tx = engine.store.write().await?;
    control::unregister(&mut tx, &engine.worker).await?;
    tx.commit().await?;
    tracing::info!("Worker stopped; everything it had sent is stored");
    Ok(())
}

/// Takes jobs until `stop` is pulled. Any error of the database ends apalis' worker; another comes, under a fresh name. Not by apalis' own
/// restart: it begins anew within one poll, and with a database that refuses at once this holds the thread, and with it every webhook.
async fn work_the_queue(desk: &Desk) {
    while !desk.stop.is_cancelled() {
        let signal = desk.stop.clone();
        let ended = monitor(desk).shutdown_timeout(Duration::from_secs(20)).run_with_signal(async move {
            signal.cancelled().await;
            Ok(())
        });
        if let Err(error) = ended.await {
            tracing::warn!(%error, "The queue's monitor ended");
        }
        tokio::select! {
            () = desk.stop.cancelled() => {}
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

fn monitor(desk: &Desk) -> Monitor {
    let desk = desk.clone();
    match &desk.engine.store {
        Store::Sqlite { queue, .. } => {
            let queue = queue.clone();
            Monitor::new().register(move |_| {
                let config =
                    apalis_sqlite::Config::default().queue(QUEUE).batch_size(1).heartbeat_interval(Duration::from_secs(10));
                WorkerBuilder::new(name())
                    .backend(apalis_sqlite::SqliteStorage::<Job>::new(&queue).with_config(config).poll_with_interval(POLL))
                    .concurrency(deliver::SHARES)
                    .parallelize(tokio::spawn)
                    .data(desk.clone())
                    .build(work)
            })
        }
        Store::Postgres { queue, .. } => {
            let queue = queue.clone();
            Monitor::new().register(move |_| {
                let config =
                    apalis_postgres::Config::default().queue(QUEUE).batch_size(1).heartbeat_interval(Duration::from_secs(10));
                WorkerBuilder::new(name())
                    .backend(apalis_postgres::PostgresStorage::<Job>::new(&queue).with_config(config).poll_with_interval(POLL))
                    .concurrency(deliver::SHARES)
                    .parallelize(tokio::spawn)
                    .data(desk.clone())
                    .build(work)
            })
        }
    }
}

/// Fresh on every start: apalis refuses a name it has seen within a heartbeat.
fn name() -> String {
    format!("permesso-{}-{}", std::process::id(), crate::vault::token())
}

async fn work(job: Job, desk: Data<Desk>) -> std::result::Result<(), BoxDynError> {
    handle(job, &desk).await;
    Ok(())
}

/// A batch is anybody's: where this process works none, it takes part in one that has work due.
async fn help(desk: Desk) {
    while !desk.stop.is_cancelled() {
        tokio::select! {
            () = desk.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        match deliver::due_while_idle(&desk.engine).await {
            Ok(Some(batch)) => handle(Job::Deliver { batch }, &desk).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(error = format!("{error:#}"), "Looking for due batches failed; trying again"),
        }
    }
}

async fn handle(job: Job, desk: &Desk) {
    let (engine, stop) = (&desk.engine, &desk.stop);
    let done = AssertUnwindSafe(async {
        match job {
            Job::Deliver { batch } => {
                deliver::drain(engine, batch, stop).await?;
            }
            Job::Retain { run } => drop(retention::work(engine, run).await?),
            Job::Plan { campaign } => while !stop.is_cancelled() && plan::plan_next(engine, campaign).await? {},
        }
        anyhow::Ok(())
    })
    .catch_unwind()
    .await;
    match done {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(error = format!("{error:#}"), "A job failed; the sweep comes back to it"),
        Err(_) => tracing::error!("A job panicked; the sweep comes back to it"),
    }
}

/// Renews the lease. Nothing else is done here: whatever a sweep waits for, others must not take us for dead.
async fn keep(engine: Arc<Engine>, stop: CancellationToken) {
    let mut lease = tokio::time::interval(LEASE);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = lease.tick() => {}
        }
        if let Err(error) = renew(&engine).await {
            tracing::error!(error = format!("{error:#}"), "The lease could not be renewed; trying again");
        }
    }
}

/// Sweeps, and does what time alone does.
async fn sweep(engine: Arc<Engine>, stop: CancellationToken) {
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.reset();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = sweep.tick() => {}
        }
        if let Err(error) = tidy(&engine).await {
            tracing::error!(error = format!("{error:#}"), "Upkeep failed; trying again");
        }
    }
}

async fn renew(engine: &Engine) -> Result<()> {
    let mut tx = engine.store.write().await?;
    if !control::renew(&mut tx, &engine.worker).await? {
        control::register(&mut tx, &engine.worker, "worker").await?;
    }
    Ok(tx.commit().await?)
}

async fn tidy(engine: &Engine) -> Result<()> {
    let found = recover::sweep(engine).await?;
    if found.abandoned > 0 {
        tracing::warn!(attempts.unknown = found.abandoned, "Sends of a lost worker are now unknown");
    }
    expire::expire(engine).await?;
    intake::tidy(engine).await?;
    retention::schedule(engine).await?;
    notify::sweep(engine).await?;
    receipts::sweep(engine).await?;
    Ok(())
}

/// Empties one webhook's outbox as it fills. While the receiver is down the looks become rarer.
async fn tell(engine: Arc<Engine>, webhook: String, stop: CancellationToken) {
    let mut pause = OUTBOX;
    while !stop.is_cancelled() {
        pause = match notify::round(&engine, &webhook, &stop).await {
            Ok(done) if done.delivered > 0 => {
                pause = OUTBOX;
                continue;
            }
            Ok(done) if done.failed + done.dead > 0 => (pause * 2).min(OUTBOX_DOWN),
            Ok(_) => OUTBOX,
            Err(error) => {
                tracing::error!(webhook.name = %webhook, error = format!("{error:#}"), "Telling a webhook failed; trying again");
                OUTBOX_DOWN
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One worker process a SQLite file: the lock goes with the process, however it ends.
fn lock_file(engine: &Engine) -> Result<Option<std::fs::File>> {
    if !engine.store.is_sqlite() {
        return Ok(None);
    }
    let path = format!("{}.worker.lock", engine.config.database.trim_start_matches("sqlite:"));
    let file = std::fs::File::create(&path).with_context(|| format!("cannot write {path}; remedy: make its folder writable"))?;
    if file.try_lock().is_err() {
        bail!("another worker process has this database; remedy: stop it, or move to Postgres, where many can share the work");
    }
    Ok(Some(file))
}

/// Leases are by the database's clock and everything else by ours, so they must agree.
async fn same_clock(engine: &Engine) -> Result<()> {
    let ours = || chrono::Utc::now().timestamp_micros();
    let mut tx = engine.store.read().await?;
    let (before, db, after) = (ours(), tx.db_now().await?, ours());
    tx.rollback().await?;
    // What the asking takes is no difference.
    let off = db - db.clamp(before, after.max(before));
    if off.abs() > 2_000_000 {
        bail!("this machine's clock is {:.1} s off the database's; remedy: set it by NTP", off as f64 / 1e6);
    }
    Ok(())
}
