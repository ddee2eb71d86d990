//! The outbox of consent changes: written in the transaction of what it tells of, claimed by lease, told at least once.

use super::{Result, Tx, execute, fetch_all, fetch_optional, fetch_value, json};
use crate::vault;

/// One change of consent to be told.
#[derive(Debug)]
pub struct New<'a> {
    pub kind: &'a str,
    /// Pseudonym and ledger entry; a stranger's no has neither.
    pub subject: Option<&'a str>,
    pub seq: Option<i64>,
    /// JSON: `[{"channel", "purpose", "state"}]`.
    pub permissions: &'a str,
    /// The number of somebody who is no contact, and why their no is told, which no ledger entry says.
    pub number_enc: Option<&'a str>,
    pub reason: Option<&'a str>,
    pub at: i64,
}

/// Writes one row a webhook, under one event id. Nothing where there is no webhook.
pub async fn add(tx: &mut Tx, controller: &str, webhooks: &[&str], new: &New<'_>, now: i64) -> Result<()> {
    if webhooks.is_empty() {
        return Ok(());
    }
    execute!(
        tx,
        "INSERT INTO outbox (controller, webhook, event_id, kind, subject, seq, permissions, number_enc, at, state, next_at, changed_at,
           reason)
         SELECT $2, j.value->>'name', $3, $4, $5, $6, $7, $8, $9, 'pending', $10, $10, $11 FROM EACH($1)",
        json(webhooks.iter().map(|name| serde_json::json!({ "name": name })).collect::<Vec<_>>()),
        controller,
        vault::reference("evt").replace('-', "_"),
        new.kind,
        new.subject,
        new.seq,
        new.permissions,
        new.number_enc,
        new.at,
        now,
        new.reason
    )?;
    Ok(())
}

/// Whether this webhook has anything to be told by `now`, as far as a look without a lock can tell.
pub async fn is_due(tx: &mut Tx, controller: &str, webhook: &str, now: i64) -> Result<bool> {
    let found: i64 = fetch_value!(
        tx,
        "SELECT COUNT(*) FROM (
           SELECT 1 FROM outbox WHERE controller = $1 AND webhook = $2 AND state = 'pending' AND next_at <= $3 AND lease_db < DBNOW()
           AND NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.controller = $1 AND w.name = $2) LIMIT 1) AS due",
        controller,
        webhook,
        now
    )?;
    Ok(found > 0)
}

/// One event to be told, with what its body is made of.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Claimed {
    pub id: i64,
    pub event_id: String,
    pub kind: String,
    pub seq: Option<i64>,
    pub permissions: String,
    pub at: i64,
    pub tries: i64,
    pub lease_db: i64,
    /// Of the contact, else of the row: a stranger's, or that of somebody erased since. None where it could not be told for too long.
    pub number_enc: Option<String>,
    /// The ledger entry's body, as long as it is kept.
    pub evidence: Option<String>,
    /// Of what no ledger entry says; none where an earlier version did not keep it.
    pub reason: Option<String>,
}

/// Claims up to `limit` due events of a webhook for `lease_db` microseconds, oldest due first; those another worker is at are
/// passed over. Of one person only the oldest event not yet told is claimed: people's events are told in the order of the ledger.
pub async fn claim(tx: &mut Tx, controller: &str, webhook: &str, lease_db: i64, limit: i64, now: i64) -> Result<Vec<Claimed>> {
    let ids: Vec<(i64,)> = fetch_all!(
        tx,
        "SELECT o.id FROM outbox o WHERE o.controller = $1 AND o.webhook = $2 AND o.state = 'pending' AND o.next_at <= $3
           AND o.lease_db < DBNOW()
           AND NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.controller = $1 AND w.name = $2)
           AND NOT EXISTS (SELECT 1 FROM outbox e WHERE e.controller = $1 AND e.webhook = $2 AND e.subject = o.subject
                             AND e.state = 'pending' AND e.id < o.id)
         ORDER BY o.next_at, o.id LIMIT $4 FOR UPDATE SKIP LOCKED",
        controller,
        webhook,
        now,
        limit
    )?;
    let ids = json(ids.iter().map(|(id,)| serde_json::json!({ "id": id })).collect::<Vec<_>>());
    execute!(
        tx,
        "UPDATE outbox SET lease_db = DBNOW() + $2 WHERE id IN (SELECT CAST(j.value->>'id' AS BIGINT) FROM EACH($1))",
        &ids,
        lease_db
    )?;
    fetch_all!(
        tx,
        "SELECT o.id, o.event_id, o.kind, o.seq, o.permissions, o.at, o.tries, o.lease_db,
           COALESCE(NULLIF(c.number_enc, ''), o.number_enc) AS number_enc, e.body AS evidence, o.reason FROM EACH($1)
         THEN JOIN outbox o ON o.id = CAST(j.value->>'id' AS BIGINT)
         LEFT JOIN contacts c ON c.controller = o.controller AND c.subject = o.subject
         LEFT JOIN evidence e ON e.seq = o.seq ORDER BY o.id",
        &ids
    )
}

/// What became of one try.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Told {
    pub id: i64,
    pub lease_db: i64,
    /// `delivered`, `dead`, or `pending` again at `next_at`.
    pub state: &'static str,
    /// Tries that this adds: none for an event that was claimed and not sent.
    pub tries: i64,
    pub next_at: i64,
    pub error: Option<String>,
}

/// Stores what became of a claim. An event told by another worker meanwhile stays told.
pub async fn settle(tx: &mut Tx, told: &[Told], now: i64) -> Result<u64> {
    execute!(
        tx,
        "UPDATE outbox SET state = n.state, tries = outbox.tries + n.tries, next_at = n.next_at, error = n.error, lease_db = 0,
           changed_at = $2, number_enc = CASE WHEN n.state = 'delivered' THEN NULL ELSE outbox.number_enc END
         FROM (SELECT CAST(j.value->>'id' AS BIGINT) AS id, CAST(j.value->>'lease_db' AS BIGINT) AS lease_db,
                 j.value->>'state' AS state, CAST(j.value->>'tries' AS BIGINT) AS tries,
                 CAST(j.value->>'next_at' AS BIGINT) AS next_at, j.value->>'error' AS error FROM EACH($1)) n
         WHERE outbox.id = n.id AND outbox.state = 'pending' AND (n.state = 'delivered' OR outbox.lease_db = n.lease_db)",
        json(told),
        now
    )
}

/// What a worker that died was at may be told again at once: on SQLite, where a new worker is the only one.
pub async fn release(tx: &mut Tx) -> Result<u64> {
    execute!(tx, "UPDATE outbox SET lease_db = 0 WHERE state = 'pending' AND lease_db > 0")
}

/// The receiver wants nothing more.
pub async fn close(tx: &mut Tx, controller: &str, webhook: &str, now: i64) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO webhooks (controller, name, closed_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        controller,
        webhook,
        now
    )?;
    Ok(())
}

/// Takes a closed webhook up again; false where it was open.
pub async fn reopen(tx: &mut Tx, controller: &str, webhook: &str) -> Result<bool> {
    Ok(execute!(tx, "DELETE FROM webhooks WHERE controller = $1 AND name = $2", controller, webhook)? > 0)
}

pub async fn closed_since(tx: &mut Tx, controller: &str, webhook: &str) -> Result<Option<i64>> {
    let row: Option<(i64,)> =
        fetch_optional!(tx, "SELECT closed_at FROM webhooks WHERE controller = $1 AND name = $2", controller, webhook)?;
    Ok(row.map(|(at,)| at))
}

/// Gives a dead letter all its tries again; false where no dead letter has this id.
pub async fn retry(tx: &mut Tx, controller: &str, id: i64, now: i64) -> Result<bool> {
    let revived = execute!(
        tx,
        "UPDATE outbox SET state = 'pending', tries = 0, next_at = $3, changed_at = $3 WHERE controller = $1 AND id = $2 AND state = 'dead'",
        controller,
        id,
        now
    )?;
    Ok(revived == 1)
}

pub async fn retry_all(tx: &mut Tx, controller: &str, now: i64) -> Result<u64> {
    execute!(
        tx,
        "UPDATE outbox SET state = 'pending', tries = 0, next_at = $2, changed_at = $2 WHERE controller = $1 AND state = 'dead'",
        controller,
        now
    )
}

/// An event not told, as the operator sees it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Row {
    pub id: i64,
    pub webhook: String,
    pub event_id: String,
    pub kind: String,
    pub seq: Option<i64>,
    pub at: i64,
    pub state: String,
    pub tries: i64,
    pub next_at: i64,
    pub error: Option<String>,
}

/// Events not told, the oldest first: those in `state`, `pending` or `dead`.
pub async fn untold(tx: &mut Tx, controller: &str, state: &str, limit: i64) -> Result<Vec<Row>> {
    fetch_all!(
        tx,
        "SELECT id, webhook, event_id, kind, seq, at, state, tries, next_at, error FROM outbox
         WHERE controller = $1 AND state = $2 ORDER BY id LIMIT $3",
        controller,
        state,
        limit
    )
}

/// (webhook, state, events, time of the oldest) of everything not told.
pub async fn waiting(tx: &mut Tx, controller: &str) -> Result<Vec<(String, String, i64, i64)>> {
    fetch_all!(
        tx,
        "SELECT webhook, state, COUNT(*), MIN(at) FROM outbox WHERE controller || '' = $1 AND state IN ('pending', 'dead')
         GROUP BY webhook, state ORDER BY webhook, state",
        controller
    )
}

/// Forgets events told before `before`, and the numbers in those that could not be told since: dead letters, and what waits for a webhook
/// that is closed, or that is none of the `configured` any more.
pub async fn sweep(tx: &mut Tx, controller: &str, configured: &[&str], before: i64) -> Result<u64> {
    execute!(
        tx,
        "UPDATE outbox SET number_enc = NULL
         WHERE state IN ('dead', 'pending') AND controller = $1 AND changed_at < $2 AND number_enc IS NOT NULL AND (state = 'dead'
           OR webhook NOT IN (SELECT j.value->>'name' FROM EACH($3))
           OR EXISTS (SELECT 1 FROM webhooks w WHERE w.controller = $1 AND w.name = outbox.webhook AND w.closed_at < $2))",
        controller,
        before,
        json(configured.iter().map(|name| serde_json::json!({ "name": name })).collect::<Vec<_>>())
    )?;
    execute!(tx, "DELETE FROM outbox WHERE state = 'delivered' AND controller = $1 AND changed_at < $2", controller, before)
}
