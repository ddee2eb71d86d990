//! Whether the proof holds: every hash of the ledger, the end of each chain, and that preferences and suppressions are what the entries say.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::Engine;
use crate::domain::channel::Permission;
use crate::domain::ledger::{Body, Entry, GENESIS, Preference, apply, body_hash, row_hash};
use crate::store::{Tx, ledger, suppressions};
use crate::vault::SEALED;

/// The end of a subject's chain as its entries stand.
struct End {
    hash: String,
    entries: i64,
    sealed: bool,
}

/// Checks every hash of the ledger, and that what is acted on follows from it: preferences, and who is left in peace. Answers how many
/// entries there are, and what is wrong with which.
pub async fn ledger(engine: &Engine) -> Result<(u64, Vec<String>)> {
    let mut ends: BTreeMap<String, End> = BTreeMap::new();
    let mut sealed_since = None;
    let mut derived: BTreeMap<String, BTreeMap<Permission, Preference>> = BTreeMap::new();
    let mut noes: BTreeMap<String, i64> = BTreeMap::new();
    let mut missing: BTreeMap<String, i64> = BTreeMap::new();
    let (mut count, mut wrong, mut after) = (0, Vec::new(), 0);
    let mut tx = engine.store.read().await?;
    loop {
        let rows = ledger::entries_after(&mut tx, &engine.controller, after, 5000).await?;
        let Some(last) = rows.last() else { break };
        after = last.0;
        for (seq, subject, kind, at, stored_body_hash, prev, hash, body) in rows {
            count += 1;
            let end = ends.entry(subject.clone()).or_insert_with(|| End { hash: GENESIS.to_owned(), entries: 0, sealed: false });
            if prev != end.hash {
                wrong.push(format!("entry {seq}: its predecessor is missing or changed"));
            }
            let plain = row_hash(&engine.controller, &subject, &kind, at, &stored_body_hash, &prev);
            let sealed = hash.starts_with(SEALED);
            // Once rows are sealed, every later one is: an unsealed one was not written by us.
            if hash != if sealed { engine.vault.row_seal(&plain) } else { plain } || (!sealed && sealed_since.is_some()) {
                wrong.push(format!("entry {seq}: the row was changed"));
            }
            sealed_since = sealed_since.or_else(|| sealed.then_some(seq));
            (end.entries, end.sealed) = (end.entries + 1, end.sealed || sealed);
            end.hash = hash;
            match body {
                Some(text) if body_hash(&text) != stored_body_hash => {
                    wrong.push(format!("entry {seq}: its evidence was changed"))
                }
                Some(text) => match serde_json::from_str::<Body>(&text) {
                    Ok(body) if body.entry.code() == kind => apply(derived.entry(subject.clone()).or_default(), &body),
                    _ => wrong.push(format!("entry {seq}: its evidence says something else than the entry")),
                },
                // Only erasure and retention delete evidence, and each leaves an entry after it.
                None => {
                    missing.insert(subject.clone(), seq);
                }
            }
            match Entry::parse(&kind) {
                Some(Entry::Erased | Entry::Retention) => {
                    missing.remove(&subject);
                }
                Some(Entry::Refused | Entry::Stopped | Entry::OperatorStop | Entry::WrongPerson) => {
                    noes.insert(subject, seq);
                }
                Some(Entry::Granted) => {
                    noes.remove(&subject);
                }
                _ => {}
            }
        }
    }
    wrong.extend(missing.values().map(|seq| format!("entry {seq}: its evidence is gone, and no entry says why")));
    // The end of each chain as it was sealed: entries that were cut off are missing from nothing else.
    let heads = ledger::heads(&mut tx, &engine.controller).await?;
    for (subject, entries, seal) in &heads {
        let here = ends.get(subject);
        if !here.is_some_and(|e| {
            *entries == e.entries && *seal == engine.vault.head_seal(&engine.controller, subject, *entries, &e.hash)
        }) {
            let here = here.map_or(0, |e| e.entries);
            wrong.push(format!(
                "subject {subject}: the end of its entries is not as it was sealed ({here} of {entries} are here)"
            ));
        }
    }
    let known: BTreeSet<&String> = heads.iter().map(|(subject, ..)| subject).collect();
    for (subject, _) in ends.iter().filter(|(subject, end)| end.sealed && !known.contains(subject)) {
        wrong.push(format!("subject {subject}: the seal over the end of its entries is gone"));
    }
    // What the company acts on must be what the entries say.
    let mut stored: BTreeMap<String, BTreeMap<Permission, Preference>> = BTreeMap::new();
    for (subject, channel, purpose, state) in ledger::all_preferences(&mut tx, &engine.controller).await? {
        let permission = Permission::parse(&format!("{channel}.{purpose}"));
        if let Some((permission, state)) = permission.zip(Preference::parse(&state)) {
            stored.entry(subject).or_default().insert(permission, state);
        }
    }
    derived.retain(|_, preferences| !preferences.is_empty());
    for subject in stored.keys().chain(derived.keys().filter(|s| !stored.contains_key(*s))) {
        if !missing.contains_key(subject) && stored.get(subject) != derived.get(subject) {
            wrong.push(format!("subject {subject}: the preferences are not what the entries say"));
        }
    }
    for (subject, seq) in unkept(&mut tx, engine, noes).await? {
        wrong.push(format!("subject {subject}: entry {seq} is a no, and nothing keeps their number from being written to"));
    }
    for (id,) in suppressions::lifted_by_nothing(&mut tx, &engine.controller).await? {
        wrong.push(format!("suppression {id}: it was lifted, and no consent says why"));
    }
    tx.rollback().await?;
    Ok((count, wrong))
}

/// Those of these noes, the last word of their subjects, that no suppression keeps: somebody took it away. Whoever is no contact any more,
/// erased or forgotten, is kept by hashes that no subject leads to.
async fn unkept(tx: &mut Tx, engine: &Engine, noes: BTreeMap<String, i64>) -> Result<BTreeMap<String, i64>> {
    let (mut unkept, all) = (BTreeMap::new(), noes.into_iter().collect::<Vec<_>>());
    for slice in all.chunks(5000) {
        let subjects: Vec<&str> = slice.iter().map(|(subject, _)| subject.as_str()).collect();
        let free = suppressions::free_among(tx, &engine.controller, &subjects).await?;
        unkept.extend(slice.iter().filter(|(subject, _)| free.contains(subject)).cloned());
    }
    Ok(unkept)
}
