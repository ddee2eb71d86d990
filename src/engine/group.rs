//! Group commit: what gateways tell while one transaction reaches the disk shares the next, so that a callback costs a share of an
//! fsync in place of a whole one. Each call is answered when its own events are on disk, and one that cannot be stored takes no
//! neighbour with it.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use tokio::sync::oneshot;

use super::{Engine, receive};
use crate::gateway::Event;

/// Events one transaction takes: it holds the only writer of a SQLite file meanwhile.
const TOGETHER: usize = 500;

/// What one call of a gateway brought, and whom to tell that it is on disk.
#[derive(Debug)]
struct Call {
    gateway: String,
    events: Vec<Event>,
    stored: oneshot::Sender<Result<()>>,
}

/// The calls that wait for the next transaction.
#[derive(Debug, Default)]
pub struct Group(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    calls: Vec<Call>,
    /// Somebody is at it, and will take these too.
    at_work: bool,
}

impl Group {
    /// The calls of the next transaction; without any, whoever asks stops being at work.
    fn next(&self) -> Vec<Call> {
        let mut waiting = self.0.lock().expect("no panic while held");
        let mut events = 0;
        let fits = waiting.calls.iter().take_while(|call| {
            events += call.events.len();
            events <= TOGETHER
        });
        // A call larger than that goes by itself.
        let n = fits.count().max(1).min(waiting.calls.len());
        waiting.at_work = n > 0;
        waiting.calls.drain(..n).collect()
    }
}

/// Stores what one authentic call brought, together with others that came meanwhile; done when it is on disk.
///
/// # Errors
/// These events could not be stored: not even by themselves. The gateway has to be told so.
pub async fn store(engine: &Arc<Engine>, gateway: &str, events: Vec<Event>) -> Result<()> {
    let (stored, answer) = oneshot::channel();
    let starts = {
        let mut waiting = engine.calls.0.lock().expect("no panic while held");
        waiting.calls.push(Call { gateway: gateway.to_owned(), events, stored });
        !std::mem::replace(&mut waiting.at_work, true)
    };
    if starts {
        // A task of its own: the request that began it may be dropped by its client, and others wait for it.
        tokio::spawn(work(engine.clone()));
    }
    answer.await.context("the events' transaction was given up")?
}

async fn work(engine: Arc<Engine>) {
    loop {
        let calls = engine.calls.next();
        if calls.is_empty() {
            return;
        }
        // A panic must leave no call without an answer and no queue without a worker.
        let (running, together) = (engine.clone(), calls);
        let done = tokio::spawn(async move { commit(&running, together).await }).await;
        if let Err(error) = done {
            tracing::error!(%error, "Storing what gateways told panicked; they are told to repeat it");
        }
    }
}

async fn commit(engine: &Engine, calls: Vec<Call>) {
    let slices: Vec<(&str, &[Event])> = calls.iter().map(|c| (c.gateway.as_str(), c.events.as_slice())).collect();
    let together = receive::store_all(engine, &slices).await;
    if let Err(error) = &together {
        tracing::warn!(
            error = format!("{error:#}"),
            calls = calls.len(),
            "What gateways told could not be stored together; each event is stored by itself"
        );
    }
    for call in calls {
        let done = match together {
            Ok(()) => Ok(()),
            Err(_) => apart(engine, &call).await,
        };
        // A caller that has gone away hears nothing; its events are on disk all the same.
        let _ = call.stored.send(done);
    }
}

/// Each event by itself, all of them whatever becomes of one.
async fn apart(engine: &Engine, call: &Call) -> Result<()> {
    let mut first = Ok(());
    for event in &call.events {
        let done = receive::store(engine, &call.gateway, std::slice::from_ref(event)).await;
        first = first.and(done);
    }
    first
}
