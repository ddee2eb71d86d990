//! Turns a queued job into a call of an engine verb, and nothing more. A handler always answers Ok: what could not be done
//! stands in our tables, and the sweep comes back to it; the queue's own retries would only repeat it at once.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use apalis::prelude::*;
use futures::{FutureExt, StreamExt, TryFutureExt};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, deliver, expire, intake, notify, plan, receipts, recover, retention};
use crate::store::queue::{self, Job, QUEUE};
use crate::store::{Store, control};

const POLL: Duration = Duration::from_millis(100);
/// Jobs at once: more than there are campaigns under way, each of which has [`deliver::SHARES`] at most, and planners. Most of them wait for
/// the rate of their campaign.
const SLOTS: usize = 64;
/// Between the end of apalis' worker and a look whether there can be another, doubled each time.
const AGAIN: Duration = Duration::from_millis(200);
const AGAIN_AT_MOST: Duration = Duration::from_secs(2);
/// What is sent has its answer in seconds; what the database cannot take until then is left to the next worker, as unknown.
const STORED: Duration = Duration::from_secs(40);
/// How often answers to people's own acts are looked for, whatever the queue is at, and how many are worked at once.
const ANSWERS: Duration = Duration::from_millis(500);
const ANSWERS_AT_ONCE: usize = 8;
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
/// Another worker has this SQLite file, the clocks differ by more than two seconds, the database is gone, or it could not take in time what
/// became of messages.
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
    // They end by themselves; what they, and handlers that apalis has lost sight of, have sent is waited for as a whole.
    tokio::spawn(help(desk.clone()));
    tokio::spawn(answer(desk.clone()));
    work_the_queue(&desk).await;
    let unstored = engine.all_stored(STORED).await;
    if unstored > 0 {
        bail!(
            "what became of up to {unstored} messages could not be stored; remedy: start again once the database answers: they are `unknown` then, and `permesso campaign settle` asks the gateway"
        );
    }
    let _ = (keeper.await, sweeper.await);
    futures::future::join_all(told).await;
    let mut tx = engine.store.write().await?;
    control::unregister(&mut tx, &engine.worker).await?;
    tx.commit().await?;
    tracing::info!("Worker stopped; everything it had sent is stored");
    Ok(())
}

/// Takes jobs until `stop` is pulled. Any error of the database ends apalis' worker; another comes, under a fresh name, once the queue can be
/// read. Not by apalis' own restart: it begins anew within one poll, and with a database that refuses at once this holds the thread, and with
/// it every webhook. That it cannot be read is said once.
async fn work_the_queue(desk: &Desk) {
    // While the queue is away: how long the next pause is.
    let mut away = None;
    loop {
        let signal = desk.stop.clone();
        let running = monitor(desk).shutdown_timeout(Duration::from_secs(20)).run_with_signal(async move {
            signal.cancelled().await;
            Ok(())
        });
        let mut running = std::pin::pin!(running);
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = tokio::time::sleep(AGAIN_AT_MOST), if away.is_some() => {
                away = None;
                tracing::info!("The queue is read again");
                running.await
            }
        };
        if desk.stop.is_cancelled() {
            return;
        }
        let why = ended.err().map(|error| error.to_string());
        if desk.stop.run_until_cancelled(readable(&desk.engine.store, &mut away, why)).await.is_none() {
            return;
        }
    }
}

/// Waits until the queue can be read.
async fn readable(store: &Store, away: &mut Option<Duration>, mut why: Option<String>) {
    loop {
        let pause = away.unwrap_or(AGAIN);
        tokio::time::sleep(pause).await;
        let read = queue::answers(store).await;
        why = read.as_ref().err().map(ToString::to_string).or(why);
        if away.replace((pause * 2).min(AGAIN_AT_MOST)).is_none() {
            tracing::warn!(error = why, "The queue could not be read; trying again");
        }
        if read.is_ok() {
            return;
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
                    .backend(
                        apalis_sqlite::SqliteStorage::<Job>::new(&queue).with_config(config).poll_with_strategy(Every::new(POLL)),
                    )
                    .concurrency(SLOTS)
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
                    .backend(
                        apalis_postgres::PostgresStorage::<Job>::new(&queue)
                            .with_config(config)
                            .poll_with_strategy(Every::new(POLL)),
                    )
                    .concurrency(SLOTS)
                    .parallelize(tokio::spawn)
                    .data(desk.clone())
                    .build(work)
            })
        }
    }
}

/// Wakes apalis at intervals. Its own strategy leaves the next timer unarmed where a look into the queue is answered within the poll that the
/// last one caused, as by a Postgres nearby, and then nothing wakes it before its heartbeat.
struct Every(tokio::time::Interval);

impl Every {
    fn new(pause: Duration) -> Every {
        let mut interval = tokio::time::interval(pause);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Every(interval)
    }
}

impl PollStrategy for Every {
    fn poll_drive(&mut self, cx: &mut task::Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut due = Poll::Pending;
        // Until it is pending: that arms it.
        while self.0.poll_tick(cx).is_ready() {
            due = Poll::Ready(Some(()));
        }
        due
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

/// Whoever did something themselves waits behind nobody who is asked: their answers go out beside the queue, however many campaigns are at it.
async fn answer(desk: Desk) {
    while !desk.stop.is_cancelled() {
        tokio::select! {
            () = desk.stop.cancelled() => return,
            () = tokio::time::sleep(ANSWERS) => {}
        }
        match deliver::due_answers(&desk.engine, 50).await {
            Ok(due) => {
                let work = |batch| finished("A job", deliver::work(&desk.engine, batch, &desk.stop).map_ok(drop));
                futures::stream::iter(due).for_each_concurrent(ANSWERS_AT_ONCE, work).await;
            }
            Err(error) => tracing::warn!(error = format!("{error:#}"), "Looking for answers that are due failed; trying again"),
        }
    }
}

async fn handle(job: Job, desk: &Desk) {
    let (engine, stop) = (&desk.engine, &desk.stop);
    let done = async {
        match job {
            Job::Deliver { batch } => deliver::drain(engine, batch, stop).await?,
            Job::Retain { run } => drop(retention::work(engine, run).await?),
            Job::Plan { campaign } => while !stop.is_cancelled() && plan::plan_next(engine, campaign).await? {},
        }
        Ok(())
    };
    finished("A job", done).await;
}

/// Logs what failed: the sweep comes back to it.
async fn finished(what: &str, work: impl Future<Output = Result<()>>) {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(error = format!("{error:#}"), "{what} failed; the sweep comes back to it"),
        Err(_) => tracing::error!("{what} panicked; the sweep comes back to it"),
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
        tidy(&engine).await;
    }
}

async fn renew(engine: &Engine) -> Result<()> {
    let mut tx = engine.store.write().await?;
    if !control::renew(&mut tx, &engine.worker).await? {
        control::register(&mut tx, &engine.worker, "worker").await?;
    }
    Ok(tx.commit().await?)
}

/// What time alone does, each by itself: where one fails the others go on.
pub async fn tidy(engine: &Engine) {
    let recovery = async {
        let found = recover::sweep(engine).await?;
        if found.abandoned > 0 {
            tracing::warn!(attempts.unknown = found.abandoned, "Sends of a lost worker are now unknown");
        }
        Ok(())
    };
    finished("Upkeep (recovery)", recovery).await;
    finished("Upkeep (expiry)", expire::expire(engine).map_ok(drop)).await;
    finished("Upkeep (forms)", intake::tidy(engine).map_ok(drop)).await;
    finished("Upkeep (retention)", retention::schedule(engine).map_ok(drop)).await;
    finished("Upkeep (webhooks)", notify::sweep(engine).map_ok(drop)).await;
    finished("Upkeep (receipts)", receipts::sweep(engine).map_ok(drop)).await;
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
