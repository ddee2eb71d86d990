//! Group commit: what gateways tell while one transaction reaches the disk shares the next, so that a callback costs a share of an
//! fsync in place of a whole one. Each call is answered when its own events are on disk, and one that cannot be stored takes no
//! neighbour with it.
//!
//! While the database is away each call is told so at once, so that the gateway repeats it; many never do, and it may be somebody's no.
//! So what they brought is kept besides, and stored when the database is back.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::oneshot;

use super::{Engine, receive};
use crate::gateway::Event;
use crate::store;

/// Events one transaction takes: it holds the only writer of a SQLite file meanwhile.
const TOGETHER: usize = 500;
/// Events kept while the database is away.
const KEPT: usize = 20_000;
/// Between two tries while the database is away, the first and the longest.
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(1);
/// A transaction that lasts longer than this hangs, and nobody is heard.
const HANGS: Duration = Duration::from_secs(20);

/// What one call of a gateway brought, and whom to tell that it is on disk; none who was told already that the database is away.
#[derive(Debug)]
struct Call {
    gateway: String,
    events: Vec<Event>,
    stored: Option<oneshot::Sender<Result<()>>>,
}

impl Call {
    /// A caller that has gone away hears nothing; its events are on disk all the same.
    fn answer(&mut self, done: Result<()>) {
        if let Some(stored) = self.stored.take() {
            let _ = stored.send(done);
        }
    }
}

/// The calls that wait for the next transaction.
#[derive(Debug, Default)]
pub struct Group(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    calls: Vec<Call>,
    events: usize,
    /// Somebody is at it, and will take these too.
    at_work: bool,
    /// When the transaction under way began.
    since: Option<Instant>,
    away: bool,
    /// When something was heard that there was no room to keep, microseconds.
    lost: Option<i64>,
}

impl Waiting {
    /// Answers whether somebody has to begin.
    fn add(&mut self, call: Call) -> bool {
        self.events += call.events.len();
        self.calls.push(call);
        !std::mem::replace(&mut self.at_work, true)
    }
}

impl Group {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().expect("no panic while held")
    }

    /// The calls of the next transaction; without any, whoever asks stops being at work.
    fn next(&self) -> Vec<Call> {
        let mut waiting = self.waiting();
        let mut events = 0;
        let fits = waiting.calls.iter().take_while(|call| {
            events += call.events.len();
            events <= TOGETHER
        });
        // A call larger than that goes by itself.
        let n = fits.count().max(1).min(waiting.calls.len());
        waiting.at_work = n > 0;
        waiting.since = waiting.at_work.then(Instant::now);
        let next: Vec<Call> = waiting.calls.drain(..n).collect();
        waiting.events -= next.iter().map(|call| call.events.len()).sum::<usize>();
        next
    }

    /// The database is away: everybody who waits is told, and what they brought is kept, in its order.
    fn keep(&self, calls: Vec<Call>, why: &anyhow::Error) {
        let mut waiting = self.waiting();
        waiting.since = None;
        let later = std::mem::replace(&mut waiting.calls, calls);
        waiting.calls.extend(later);
        waiting.events = waiting.calls.iter().map(|call| call.events.len()).sum();
        for call in &mut waiting.calls {
            call.answer(Err(anyhow!("{why:#}")));
        }
        if !std::mem::replace(&mut waiting.away, true) {
            tracing::error!(
                error = format!("{why:#}"),
                "The database is away; gateways are told to repeat what they tell, and it is kept here until it can be stored"
            );
        }
    }

    fn is_back(&self) {
        let mut waiting = self.waiting();
        if std::mem::replace(&mut waiting.away, false) {
            tracing::info!(events = waiting.events, "The database is back; what was kept meanwhile is stored");
        }
    }

    /// Whether what gateways tell waits for a transaction that does not end.
    pub fn hangs(&self) -> bool {
        self.waiting().since.is_some_and(|since| since.elapsed() > HANGS)
    }

    /// When something was heard that there was no room to keep. It counts as not heard (promise 4).
    pub fn lost(&self) -> Option<i64> {
        self.waiting().lost
    }

    /// That time is on record.
    pub fn noted(&self, lost: i64) {
        self.waiting().lost.take_if(|since| *since == lost);
    }
}

/// Stores what one authentic call brought, together with others that came meanwhile; done when it is on disk.
///
/// # Errors
/// These events could not be stored: not even by themselves, or not yet. The gateway has to be told so.
pub async fn store(engine: &Arc<Engine>, gateway: &str, events: Vec<Event>) -> Result<()> {
    let (stored, answer) = oneshot::channel();
    let starts = {
        let mut waiting = engine.calls.waiting();
        if waiting.away {
            if waiting.events + events.len() > KEPT {
                waiting.lost.get_or_insert(engine.now());
            } else {
                waiting.add(Call { gateway: gateway.to_owned(), events, stored: None });
            }
            bail!("the database is away");
        }
        waiting.add(Call { gateway: gateway.to_owned(), events, stored: Some(stored) })
    };
    if starts {
        // A task of its own: the request that began it may be dropped by its client, and others wait for it.
        tokio::spawn(work(engine.clone()));
    }
    answer.await.context("the events' transaction was given up")?
}

async fn work(engine: Arc<Engine>) {
    let mut pause = SOON;
    loop {
        let calls = engine.calls.next();
        if calls.is_empty() {
            return;
        }
        // A panic must leave no call without an answer and no queue without a worker.
        let (running, together) = (engine.clone(), calls);
        match tokio::spawn(async move { commit(&running, together).await }).await {
            Ok(None) => {
                engine.calls.is_back();
                pause = SOON;
            }
            Ok(Some((calls, why))) => {
                engine.calls.keep(calls, &why);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LATER);
            }
            Err(error) => {
                tracing::error!(%error, "Storing what gateways told panicked; they are told to repeat it");
                engine.calls.is_back();
            }
        }
    }
}

/// Answers the calls that have to wait, where the database is away.
async fn commit(engine: &Engine, calls: Vec<Call>) -> Option<(Vec<Call>, anyhow::Error)> {
    let slices: Vec<(&str, &[Event])> = calls.iter().map(|c| (c.gateway.as_str(), c.events.as_slice())).collect();
    let together = match receive::store_all(engine, &slices).await {
        Err(error) if store::is_away(&error) => return Some((calls, error)),
        together => together,
    };
    if let Err(error) = &together {
        tracing::warn!(
            error = format!("{error:#}"),
            calls = calls.len(),
            "What gateways told could not be stored together; each event is stored by itself"
        );
    }
    let mut calls = calls.into_iter();
    while let Some(mut call) = calls.next() {
        let done = match together {
            Ok(()) => Ok(()),
            Err(_) => apart(engine, &call).await,
        };
        match done {
            // What of it was stored already is known again by its ids.
            Err(error) if store::is_away(&error) => return Some((std::iter::once(call).chain(calls).collect(), error)),
            done => call.answer(done),
        }
    }
    None
}

/// Each event by itself, all of them whatever becomes of one, as long as the database is there.
async fn apart(engine: &Engine, call: &Call) -> Result<()> {
    let mut first = Ok(());
    for event in &call.events {
        match receive::store(engine, &call.gateway, std::slice::from_ref(event)).await {
            Err(error) if store::is_away(&error) => return Err(error),
            done => first = first.and(done),
        }
    }
    first
}
