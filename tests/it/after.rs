//! What must hold after a fault, whatever it was. The gateway's book is the witness: it counts what phones got, and keeps the id of every
//! event that was answered 2xx.

use std::collections::{BTreeMap, BTreeSet};

use permesso::domain::ledger::{Body, apply};
use permesso::domain::message::State;
use permesso::engine::verify;
use permesso::gateway::mock::protocol::Event;
use permesso::store::{Store, ledger};

use crate::app::TestApp;

/// What a fault left, for a summary of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Phones with more than one ask.
    pub duplicates: u64,
    /// Events answered 2xx that are nowhere.
    pub lost: u64,
    pub unknown: u64,
}

/// Two columns of text of every row.
async fn pairs(app: &TestApp, sql: &'static str) -> Vec<(String, String)> {
    match &app.engine.store {
        Store::Sqlite { read, .. } => sqlx::query_as(sql).fetch_all(read).await.expect("read"),
        Store::Postgres { pool, .. } => sqlx::query_as(sql).fetch_all(pool).await.expect("read"),
    }
}

/// Every event that is on disk.
pub async fn events(app: &TestApp) -> BTreeSet<String> {
    let events = "SELECT event_id, gateway FROM receipts UNION ALL SELECT event_id, gateway FROM inbound_events";
    pairs(app, events).await.into_iter().map(|(event, _)| event).collect()
}

/// Everything that holds after any fault: each of `people` got at most one accepted ask, by the gateway's count; every message stands in a
/// named state that agrees with the gateway's book; every event answered 2xx is on disk; preferences follow from a whole ledger; and
/// no more is unknown than was `in_flight`. For when the campaign has run to its end and no callback is on its way.
pub async fn after(app: &TestApp, people: usize, in_flight: u64) -> Left {
    after_erasing(app, people, in_flight, &BTreeSet::new()).await
}

/// As [`after`], where these numbers were erased: what was told of them may be gone.
pub async fn after_erasing(app: &TestApp, people: usize, in_flight: u64, erased: &BTreeSet<String>) -> Left {
    let stats = app.gateway.stats();
    assert_eq!(stats.duplicates, 0, "somebody was asked twice");
    assert!(stats.max_per_reference <= 1, "a message was sent twice");

    let states = app.states().await;
    assert_eq!(states.values().sum::<i64>(), people as i64, "each has one ask: {states:?}");
    // A person's own answer settles what is unknown, whatever the gateway knows.
    let sql = "SELECT m.id || ' ' || m.state || CASE WHEN m.reason = 'the person answered' THEN ' by word' ELSE '' END,
        COALESCE(a.reference, '') FROM messages m LEFT JOIN attempts a ON a.message_id = m.id";
    let mut messages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (message, reference) in pairs(app, sql).await {
        messages.entry(message).or_default().push(reference);
    }
    let accepted: BTreeSet<String> = app.gateway.log().into_iter().map(|m| m.reference).collect();
    let known: BTreeSet<&String> = messages.values().flatten().collect();
    let strangers: Vec<_> = accepted.iter().filter(|reference| !known.contains(reference)).collect();
    assert!(strangers.is_empty(), "sent before it was written down: {strangers:?}");
    for (message, references) in &messages {
        let mut words = message.splitn(3, ' ').skip(1);
        let state = words.next().and_then(State::parse).unwrap_or_else(|| panic!("{message} has no named state"));
        let taken = references.iter().any(|reference| accepted.contains(reference));
        let agrees = match state {
            State::Planned | State::Sending => panic!("{message} was not run to its end: {states:?}"),
            State::Cancelled | State::Lapsed => !taken,
            State::Unknown | State::Failed => true,
            _ => taken || words.next().is_some(),
        };
        assert!(agrees, "{message} {references:?}: the gateway {} it", if taken { "took" } else { "never took" });
    }

    let stored = events(app).await;
    let theirs: BTreeSet<String> =
        app.gateway.log().into_iter().filter(|m| erased.contains(&m.to)).map(|m| m.reference).collect();
    let may_be_gone = |event: &Event| match event {
        Event::Receipt(receipt) => theirs.contains(&receipt.reference),
        Event::Inbound(inbound) => erased.contains(&inbound.from),
    };
    let told = app.gateway.told_since(0);
    let gone: BTreeSet<&str> = told.iter().filter(|event| may_be_gone(event)).map(Event::id).collect();
    let lost: Vec<String> =
        app.gateway.taken().into_iter().filter(|event| !stored.contains(event) && !gone.contains(event.as_str())).collect();
    assert!(lost.is_empty(), "answered 2xx and not on disk: {lost:?}");

    preferences_are_the_ledgers_replay(app).await;
    let (_, wrong) = verify::ledger(&app.engine).await.expect("verified");
    assert!(wrong.is_empty(), "{wrong:?}");

    let unknown = u64::try_from(states.get("unknown").copied().unwrap_or(0)).expect("a count");
    assert!(unknown <= in_flight, "{unknown} are unknown, and {in_flight} were in flight");
    Left { duplicates: stats.duplicates, lost: lost.len() as u64, unknown }
}

/// Replays the ledger by itself and compares with what is stored, which it answers: subject, channel, purpose, state.
pub async fn preferences_are_the_ledgers_replay(app: &TestApp) -> Vec<(String, String, String, String)> {
    let mut tx = app.engine.store.read().await.expect("a transaction");
    let stored = ledger::all_preferences(&mut tx, &app.engine.controller).await.expect("read");
    let entries = ledger::entries_after(&mut tx, &app.engine.controller, 0, 1_000_000).await.expect("read");
    tx.rollback().await.expect("rolled back");
    let mut rebuilt: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
    for (_, subject, _, _, _, _, _, body) in entries {
        // What was deleted by age took its preferences along; that an entry says so is `verify_ledger`'s to see.
        let Some(body) = body else { continue };
        let body: Body = serde_json::from_str(&body).expect("an entry");
        apply(rebuilt.entry(subject).or_default(), &body);
    }
    let mut rebuilt: Vec<_> = rebuilt
        .into_iter()
        .flat_map(|(subject, map)| {
            map.into_iter().map(move |(p, s)| {
                (subject.clone(), p.channel.code().to_owned(), p.purpose.code().to_owned(), s.code().to_owned())
            })
        })
        .collect();
    rebuilt.sort();
    assert_eq!(stored, rebuilt);
    stored
}
