//! Legs of one ask over several channels, and sends of unknown outcome: which messages may move on, and by whose word one was settled.

use super::messages::Route;
use super::{Result, Tx, execute, fetch_all, fetch_value, fetch_values, json};
use crate::domain::channel::Channel;
use crate::domain::message::State;

/// A failed ask that may try its campaign's next channel.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Stranded {
    pub id: i64,
    pub campaign_id: i64,
    pub revision_id: i64,
    pub channel: String,
    pub locale: String,
    pub country: Option<String>,
}

/// Of these messages, the failed asks of living campaigns whose person has said nothing yet, with the revision that holds now.
pub async fn stranded(tx: &mut Tx, ids: &[i64], now: i64) -> Result<Vec<Stranded>> {
    fetch_all!(
        tx,
        "SELECT m.id, c.id AS campaign_id, c.revision_id, m.channel, m.locale, p.country FROM EACH($1)
         THEN JOIN messages m ON m.id = CAST(j.value AS BIGINT) AND m.state = 'failed' AND m.kind = 'ask' AND m.revision_id IS NOT NULL
         THEN JOIN campaigns c ON c.id = m.campaign_id AND c.state IN ('scheduled', 'running', 'paused') AND c.deadline > $2
         THEN JOIN contacts p ON p.id = m.contact_id
         WHERE NOT EXISTS (SELECT 1 FROM conversations v WHERE v.message_id = m.id AND v.state <> 'asked') ORDER BY m.id",
        &json(ids),
        now
    )
}

/// Takes asks between two legs that are of an earlier revision than the campaign's back to the leg that failed, for the new one to say what
/// comes next. Answers which they are.
pub async fn take_back(tx: &mut Tx, campaign: i64, now: i64) -> Result<Vec<i64>> {
    fetch_values!(
        tx,
        "UPDATE messages SET state = 'failed', changed_at = $2, channel = a.channel, gateway = a.gateway, sender = a.sender
         FROM attempts a
         WHERE messages.campaign_id = $1 AND messages.state = 'planned' AND messages.kind = 'ask' AND a.id = (
           SELECT MAX(n.id) FROM attempts n WHERE n.message_id = messages.id AND n.channel <> messages.channel)
           AND messages.revision_id <> (SELECT c.revision_id FROM campaigns c WHERE c.id = $1)
         RETURNING messages.id",
        campaign,
        now
    )
}

/// Plans the next leg of failed asks: the same messages on another channel, in a batch of their own. The open question of the leg
/// that failed goes, since the next one asks in its own mode; that the person was asked stays marked.
pub async fn next_leg(
    tx: &mut Tx,
    controller: &str,
    route: &Route<'_>,
    channel: Channel,
    locale: &str,
    ids: &[i64],
    now: i64,
) -> Result<Option<i64>> {
    let (Some(lo), Some(hi)) = (ids.iter().min(), ids.iter().max()) else { return Ok(None) };
    let batch: i64 = fetch_value!(
        tx,
        "INSERT INTO batches (controller, campaign_id, gateway, sender, lo, hi, next_due, open) VALUES ($1, $2, $3, $4, $5, $6, $7, 1)
         RETURNING id",
        controller,
        route.campaign,
        route.gateway,
        route.sender,
        *lo,
        *hi + 1,
        now
    )?;
    let all = json(ids);
    execute!(
        tx,
        "UPDATE messages SET state = 'planned', reason = 'not on ' || channel, channel = $2, gateway = $3, sender = $4, batch_id = $5,
           locale = $7, revision_id = COALESCE($8, revision_id), due_at = $6, tries = 0, changed_at = $6,
           expires_at = COALESCE((SELECT c.deadline FROM campaigns c WHERE c.id = messages.campaign_id), expires_at)
         WHERE id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1)) AND state = 'failed'",
        &all,
        channel.code(),
        route.gateway,
        route.sender,
        batch,
        now,
        locale,
        route.revision
    )?;
    execute!(
        tx,
        "DELETE FROM conversations WHERE message_id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1)) AND state = 'asked' AND closed_at IS NULL",
        &all
    )?;
    Ok(Some(batch))
}

/// Of these messages, those that a receipt has proved not to be on their channel while their own answer was still out.
pub async fn proved_not_on_channel(tx: &mut Tx, ids: &[i64]) -> Result<Vec<i64>> {
    fetch_values!(
        tx,
        "SELECT DISTINCT m.id FROM EACH($1) THEN JOIN messages m ON m.id = CAST(j.value AS BIGINT) AND m.state = 'failed'
         THEN JOIN attempts a ON a.message_id = m.id AND a.channel = m.channel
         THEN JOIN receipts r ON r.attempt_id = a.id AND r.class = 'not-on-channel'",
        &json(ids)
    )
}

/// A message of a campaign whose outcome is unknown, by its newest attempt.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Unknown {
    pub message_id: i64,
    pub gateway: String,
    pub reference: String,
    pub claimed_at: i64,
}

pub async fn unknown_of(tx: &mut Tx, campaign: i64) -> Result<Vec<Unknown>> {
    fetch_all!(
        tx,
        "SELECT m.id AS message_id, a.gateway, a.reference, a.claimed_at FROM messages m
         JOIN attempts a ON a.id = (SELECT MAX(n.id) FROM attempts n WHERE n.message_id = m.id)
         WHERE m.campaign_id = $1 AND m.state = 'unknown' ORDER BY m.id",
        campaign
    )
}

/// By whose word an unknown send was settled.
pub async fn record_settlement(tx: &mut Tx, controller: &str, message: i64, to: State, by: &str, now: i64) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO settlements (controller, message_id, state, by_whom, at) VALUES ($1, $2, $3, $4, $5)",
        controller,
        message,
        to.code(),
        by,
        now
    )?;
    Ok(())
}

/// How sends of unknown outcome to this person were settled: (message, state, by whom, at).
pub async fn settlements_of(tx: &mut Tx, contact: i64) -> Result<Vec<(i64, String, String, i64)>> {
    fetch_all!(
        tx,
        "SELECT s.message_id, s.state, s.by_whom, s.at FROM settlements s JOIN messages m ON m.id = s.message_id
         WHERE m.contact_id = $1 ORDER BY s.id",
        contact
    )
}
