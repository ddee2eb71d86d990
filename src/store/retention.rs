//! What has grown too old, and when it was looked for.

use super::contacts::{human_is_held, of_human};
use super::requests::has_open_request;
use super::{Result, Tx, execute, fetch_all, fetch_optional, fetch_value, fetch_values, json};
use crate::domain::channel::Purpose;

/// Contacts with a consent to this purpose that is older than `before`, after this one.
pub async fn expired(
    tx: &mut Tx,
    controller: &str,
    purpose: Purpose,
    before: i64,
    after: i64,
    limit: i64,
) -> Result<Vec<(i64,)>> {
    fetch_all!(
        tx,
        "SELECT DISTINCT c.id FROM preferences p JOIN contacts c ON c.controller = p.controller AND c.subject = p.subject
         WHERE p.controller = $1 AND p.purpose = $2 AND p.state = 'granted' AND p.since < $3 AND c.id > $4 ORDER BY c.id LIMIT $5",
        controller,
        purpose.code(),
        before,
        after,
        limit
    )
}

/// Of one contact's consents, since when each stands: channel, purpose, time.
pub async fn granted_since(tx: &mut Tx, controller: &str, subject: &str) -> Result<Vec<(String, String, i64)>> {
    fetch_all!(
        tx,
        "SELECT channel, purpose, since FROM preferences WHERE controller = $1 AND subject = $2 AND state = 'granted'
         ORDER BY channel, purpose",
        controller,
        subject
    )
}

/// Contacts of whom nothing was heard since `before` (microseconds, and the same as a day), nothing is under way and nothing stands
/// granted, after this one. Whoever has restricted the use of their data may need them, and so does whoever waits for an answer about them,
/// whichever number of theirs the letter names; and what any number of theirs wrote, and nobody has read yet, may be a no of all.
pub async fn silent(tx: &mut Tx, controller: &str, before: i64, day: &str, after: i64, limit: i64) -> Result<Vec<(i64,)>> {
    fetch_all!(
        tx,
        concat!(
            "SELECT c.id FROM contacts c
             WHERE c.controller = $1 AND c.number_enc <> '' AND c.restricted = 0 AND c.created_at < $2 AND c.id > $4
               AND (c.last_action IS NULL OR c.last_action = '9999-12-31' OR c.last_action < $3)
               AND NOT EXISTS (SELECT 1 FROM preferences p
                 WHERE p.controller = c.controller AND p.subject = c.subject AND p.state = 'granted')
               AND NOT EXISTS (SELECT 1 FROM consent_evidence e WHERE e.controller = c.controller AND e.contact_id = c.id AND e.at >= $2)
               AND NOT EXISTS (SELECT 1 FROM messages m
                 WHERE m.contact_id = c.id AND (m.changed_at >= $2 OR m.state IN ('planned', 'sending')))
               AND NOT EXISTS (SELECT 1 FROM inbound_events i WHERE i.contact_id = c.id AND i.received_at >= $2)
               AND NOT EXISTS (SELECT 1 FROM ledger l WHERE l.controller = c.controller AND l.subject = c.subject AND l.at >= $2)
               AND NOT EXISTS (SELECT 1 FROM conversations v WHERE v.contact_id = c.id AND v.closed_at IS NULL)
               AND NOT EXISTS (SELECT 1 FROM handed_links h WHERE h.contact_id = c.id AND h.at >= $2)
               AND NOT ",
            has_open_request!("c", ""),
            " AND 0 = ",
            human_is_held!("c"),
            " ORDER BY c.id LIMIT $5"
        ),
        controller,
        before,
        day,
        after,
        limit
    )
}

/// Replies after this one that still have their words, and are older than `before`. What waits for an operator, or for one's word, is
/// kept.
pub async fn old_replies(tx: &mut Tx, controller: &str, before: i64, after: i64, limit: i64) -> Result<Vec<i64>> {
    // Written so that ids lead: by an index on controllers SQLite would read and sort all of them for each chunk.
    fetch_values!(
        tx,
        "SELECT id FROM inbound_events WHERE NOT (controller <> $1) AND body_enc <> '' AND received_at < $2
           AND NOT (effect = 'held' AND resolved_at IS NULL) AND effect NOT IN ($3, $4) AND id > $5 ORDER BY id LIMIT $6",
        controller,
        before,
        super::inbound::YES_WAITS,
        super::inbound::TAP_WAITS,
        after,
        limit
    )
}

/// Deletes the words of these replies, and by whom they were where it was nobody we know; what was read in them stays.
pub async fn blank_replies(tx: &mut Tx, ids: &[i64]) -> Result<u64> {
    execute!(
        tx,
        "UPDATE inbound_events SET body_enc = '', said = NULL, mac = CASE WHEN contact_id IS NULL THEN '' ELSE mac END
         WHERE id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1))",
        json(ids)
    )
}

/// Contacts of people erased or forgotten before `before` whose proof is still here, after this one.
pub async fn old_proofs(tx: &mut Tx, controller: &str, before: i64, after: i64, limit: i64) -> Result<Vec<(i64,)>> {
    fetch_all!(
        tx,
        "SELECT DISTINCT c.id FROM contacts c JOIN ledger l ON l.controller = c.controller AND l.subject = c.subject
         WHERE c.controller = $1 AND c.number_enc = '' AND l.kind IN ('erased', 'retention') AND l.at < $2 AND c.id > $3
           AND EXISTS (SELECT 1 FROM ledger x JOIN evidence e ON e.seq = x.seq
             WHERE x.controller = l.controller AND x.subject = l.subject AND x.seq < l.seq)
         ORDER BY c.id LIMIT $4",
        controller,
        before,
        after,
        limit
    )
}

/// Deletes a subject's proof, after its newest entry has said why; and what led to it.
pub async fn delete_proof(tx: &mut Tx, controller: &str, subject: &str) -> Result<()> {
    execute!(
        tx,
        "DELETE FROM evidence WHERE seq IN (SELECT seq FROM ledger WHERE controller = $1 AND subject = $2)
           AND seq < (SELECT MAX(seq) FROM ledger WHERE controller = $1 AND subject = $2)",
        controller,
        subject
    )?;
    execute!(tx, "DELETE FROM preferences WHERE controller = $1 AND subject = $2", controller, subject)?;
    execute!(tx, "UPDATE requests SET subject = NULL WHERE controller = $1 AND subject = $2", controller, subject)?;
    Ok(())
}

/// Requests done before `before`, after this one. A restriction, its end and a change of number say how somebody stands, for as long as there
/// is a proof of theirs.
pub async fn old_requests(tx: &mut Tx, controller: &str, before: i64, after: i64, limit: i64) -> Result<Vec<i64>> {
    fetch_values!(
        tx,
        "SELECT id FROM requests WHERE controller = $1 AND done_at < $2 AND (kind IN ('access', 'erasure', 'objection') OR subject IS NULL)
           AND id > $3 ORDER BY id LIMIT $4",
        controller,
        before,
        after,
        limit
    )
}

/// Deletes these requests, with the providers' parts in them.
pub async fn delete_requests(tx: &mut Tx, ids: &[i64]) -> Result<u64> {
    let ids = json(ids);
    execute!(tx, "DELETE FROM request_gateways WHERE request_id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1))", &ids)?;
    execute!(tx, "DELETE FROM requests WHERE id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1))", &ids)
}

/// A time at which it was looked for.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Run {
    pub id: i64,
    pub at: i64,
    pub done_at: Option<i64>,
    /// JSON; none while it is under way.
    pub found: Option<String>,
}

pub async fn begin(tx: &mut Tx, controller: &str, now: i64) -> Result<i64> {
    fetch_value!(tx, "INSERT INTO retention_runs (controller, at) VALUES ($1, $2) RETURNING id", controller, now)
}

/// Takes a run for `lease_db` microseconds of the database's clock, or keeps the one whose lease ends at `held` (0: none is held).
/// Answers when it ends now; `None` where the run is done, or some process is at it or at another run: one at a time.
pub async fn take(tx: &mut Tx, controller: &str, id: i64, held: i64, lease_db: i64) -> Result<Option<i64>> {
    let _: Vec<(i64,)> = fetch_all!(
        tx,
        "SELECT id FROM retention_runs WHERE controller = $1 AND done_at IS NULL ORDER BY id FOR UPDATE",
        controller
    )?;
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "UPDATE retention_runs SET lease_db = DBNOW() + $4
         WHERE controller = $1 AND id = $2 AND done_at IS NULL AND (lease_db = $3 OR ($3 = 0 AND lease_db < DBNOW()))
           AND NOT EXISTS (SELECT 1 FROM retention_runs o
             WHERE o.controller = $1 AND o.id <> $2 AND o.done_at IS NULL AND o.lease_db >= DBNOW())
         RETURNING lease_db",
        controller,
        id,
        held,
        lease_db
    )?;
    Ok(row.map(|(until,)| until))
}

/// Whether some process is at a run.
pub async fn under_way(tx: &mut Tx, controller: &str) -> Result<bool> {
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "SELECT id FROM retention_runs WHERE controller = $1 AND done_at IS NULL AND lease_db >= DBNOW() LIMIT 1",
        controller
    )?;
    Ok(row.is_some())
}

pub async fn end(tx: &mut Tx, id: i64, found: &str, now: i64) -> Result<()> {
    execute!(tx, "UPDATE retention_runs SET done_at = $3, found = $2 WHERE id = $1 AND done_at IS NULL", id, found, now)?;
    Ok(())
}

/// The newest first.
pub async fn runs(tx: &mut Tx, controller: &str, limit: i64) -> Result<Vec<Run>> {
    fetch_all!(
        tx,
        "SELECT id, at, done_at, found FROM retention_runs WHERE controller = $1 ORDER BY id DESC LIMIT $2",
        controller,
        limit
    )
}
