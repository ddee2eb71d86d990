//! What gateways told us: receipts and inbound messages, each stored once, before anything follows from it.

use std::collections::HashSet;

use super::{Result, Tx, execute, fetch_all, fetch_optional, fetch_values, json};
use crate::clock::MINUTE;
use crate::vault::{Keyed, USER};

#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct NewReceipt<'a> {
    pub event_id: &'a str,
    pub provider_id: &'a str,
    pub reference: Option<&'a str>,
    pub status: &'a str,
    pub error: Option<&'a str>,
    /// What the error means, by the driver's table.
    pub class: Option<&'a str>,
    pub at: i64,
}

/// A receipt with the attempt it is about.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Matched<'a> {
    #[serde(flatten)]
    pub receipt: NewReceipt<'a>,
    pub attempt: Option<i64>,
    /// The keyed hash under which the same event may have been stored before it was known what it is about.
    pub hashed: &'a str,
}

/// Stores receipts. Answers the event ids, as they are stored, that were not known yet.
pub async fn add_receipts(
    tx: &mut Tx,
    controller: &str,
    gateway: &str,
    receipts: &[Matched<'_>],
    now: i64,
) -> Result<HashSet<String>> {
    let rows: Vec<String> = fetch_values!(
        tx,
        "INSERT INTO receipts (controller, gateway, event_id, provider_id, reference, status, error, class, at, received_at, attempt_id)
         SELECT $2, $3, j.value->>'event_id', j.value->>'provider_id', j.value->>'reference', j.value->>'status', j.value->>'error',
           j.value->>'class', CAST(j.value->>'at' AS BIGINT), $4, CAST(j.value->>'attempt' AS BIGINT)
         FROM EACH($1) WHERE NOT EXISTS (SELECT 1 FROM receipts k
           WHERE k.controller = $2 AND k.gateway = $3 AND k.event_id = j.value->>'hashed')
         ON CONFLICT DO NOTHING RETURNING event_id",
        json(receipts),
        controller,
        gateway,
        now
    )?;
    Ok(rows.into_iter().collect())
}

/// Deletes receipts of no message that is known, received before `before`: what has not found its message by then never will.
pub async fn forget_unmatched(tx: &mut Tx, controller: &str, before: i64) -> Result<u64> {
    execute!(tx, "DELETE FROM receipts WHERE controller = $1 AND attempt_id IS NULL AND received_at < $2", controller, before)
}

/// A receipt that came early: its id, the provider's id, status, class and error.
pub type Early = (i64, String, String, Option<String>, Option<String>);

/// Clocks of two processes may differ by seconds, microseconds.
const SKEW: i64 = MINUTE;

/// Receipts that came before their attempt knew its provider id, in the provider's order. What came before the attempt itself is about
/// another message of the same id. `provider_ids`: each with the keyed hash under which a receipt of no known message is stored.
pub async fn unmatched(tx: &mut Tx, gateway: &str, provider_ids: &[(&str, String)]) -> Result<Vec<Early>> {
    // An earlier version stored the id itself.
    let ids = provider_ids.iter().flat_map(|(id, hashed)| [(id, *id), (id, hashed.as_str())]);
    let ids = json(ids.map(|(id, stored)| serde_json::json!({ "id": id, "stored": stored })).collect::<Vec<_>>());
    fetch_all!(
        tx,
        "SELECT r.id, j.value->>'id', r.status, r.class, r.error FROM EACH($1)
         THEN JOIN receipts r ON r.gateway = $2 AND r.attempt_id IS NULL AND r.provider_id = j.value->>'stored'
           AND r.received_at >= COALESCE((SELECT MAX(a.claimed_at) FROM attempts a
             WHERE a.gateway = $2 AND a.provider_id = j.value->>'id'), 0) - $3
         ORDER BY r.at, r.id",
        &ids,
        gateway,
        SKEW
    )
}

/// It is known now of which attempt a receipt is, and so what its error may be read as.
pub async fn match_receipt(tx: &mut Tx, receipt: i64, attempt: i64, error: Option<&str>) -> Result<()> {
    execute!(tx, "UPDATE receipts SET attempt_id = $2, error = $3 WHERE id = $1", receipt, attempt, error)?;
    Ok(())
}

/// What the provider calls these attempts, where its own answer has not taught us yet.
pub async fn learn_provider_ids(tx: &mut Tx, learned: &[(i64, &str)]) -> Result<()> {
    if learned.is_empty() {
        return Ok(());
    }
    execute!(
        tx,
        "UPDATE attempts SET provider_id = w.name
         FROM (SELECT CAST(j.value->>'id' AS BIGINT) AS id, j.value->>'name' AS name FROM EACH($1)) AS w
         WHERE attempts.id = w.id AND attempts.provider_id IS NULL
           -- An erased person's is not learned again from a late receipt.
           AND EXISTS (SELECT 1 FROM messages m JOIN contacts c ON c.id = m.contact_id
             WHERE m.id = attempts.message_id AND c.number_enc <> '')",
        json(learned.iter().map(|(id, name)| serde_json::json!({ "id": id, "name": name })).collect::<Vec<_>>())
    )?;
    Ok(())
}

/// A receipt that found its attempt.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ReceiptOf {
    pub attempt_id: i64,
    pub status: String,
    pub error: Option<String>,
    /// What the error means, by the driver's table.
    pub class: Option<String>,
    pub received_at: i64,
}

/// What was told about the messages of a person, in the order it came.
pub async fn receipts_of(tx: &mut Tx, contact: i64) -> Result<Vec<ReceiptOf>> {
    fetch_all!(
        tx,
        "SELECT r.attempt_id, r.status, r.error, r.class, r.received_at FROM messages m
         JOIN attempts a ON a.message_id = m.id JOIN receipts r ON r.attempt_id = a.id WHERE m.contact_id = $1 ORDER BY r.id",
        contact
    )
}

#[derive(Debug, Clone)]
pub struct NewInbound<'a> {
    pub event_id: &'a str,
    pub mac: &'a str,
    pub key_id: i64,
    pub contact: Option<i64>,
    pub to_sender: &'a str,
    pub channel: &'a str,
    pub body_enc: &'a str,
    pub intent: &'a str,
    pub at: i64,
    /// By what a message without an id of the provider's is known again, hashed.
    pub said: Option<&'a str>,
}

/// Stores an inbound message; `None` where this event is known already.
pub async fn add_inbound(tx: &mut Tx, controller: &str, gateway: &str, i: &NewInbound<'_>, now: i64) -> Result<Option<i64>> {
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "INSERT INTO inbound_events (controller, gateway, event_id, mac, key_id, contact_id, to_sender, channel, body_enc, intent, effect, at, received_at,
           said)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'received', $11, $12, $13) ON CONFLICT DO NOTHING RETURNING id",
        controller,
        gateway,
        i.event_id,
        i.mac,
        i.key_id,
        i.contact,
        i.to_sender,
        i.channel,
        i.body_enc,
        i.intent,
        i.at,
        now,
        i.said
    )?;
    Ok(row.map(|(id,)| id))
}

/// Whether the same was heard from this time on, and it is not known that our answer to it has arrived.
pub async fn said_since(tx: &mut Tx, controller: &str, gateway: &str, said: &str, since: i64) -> Result<bool> {
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "SELECT id FROM inbound_events WHERE controller = $1 AND gateway = $2 AND said = $3 AND received_at >= $4 LIMIT 1",
        controller,
        gateway,
        said,
        since
    )?;
    Ok(row.is_some())
}

/// Our answer to what was heard until `at` has arrived: the same words are another message from now on.
pub async fn answered(tx: &mut Tx, controller: &str, gateway: &str, said: &str, at: i64) -> Result<()> {
    execute!(
        tx,
        "UPDATE inbound_events SET said = NULL WHERE controller = $1 AND gateway = $2 AND said = $3 AND received_at <= $4",
        controller,
        gateway,
        said,
        at
    )?;
    Ok(())
}

pub async fn set_effect(tx: &mut Tx, id: i64, effect: &str) -> Result<()> {
    execute!(tx, "UPDATE inbound_events SET effect = $2 WHERE id = $1", id, effect)?;
    Ok(())
}

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Inbound {
    pub id: i64,
    pub contact_id: Option<i64>,
    /// The account it came by.
    pub gateway: String,
    pub channel: String,
    pub to_sender: String,
    pub body_enc: String,
    pub intent: String,
    pub effect: String,
    pub at: i64,
    pub received_at: i64,
    pub resolved_at: Option<i64>,
    pub resolved_by: Option<String>,
    /// `stop`, `nothing`; none where an earlier version did not keep it.
    pub verdict: Option<String>,
}

pub async fn of_contact(tx: &mut Tx, contact: i64) -> Result<Vec<Inbound>> {
    fetch_all!(
        tx,
        "SELECT id, contact_id, gateway, channel, to_sender, body_enc, intent, effect, at, received_at, resolved_at, resolved_by, verdict
         FROM inbound_events WHERE contact_id = $1 ORDER BY id",
        contact
    )
}

/// What these numbers wrote without being a contact, or before they were one, in the order it came.
pub async fn of_strangers(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<Vec<Inbound>> {
    fetch_all!(
        tx,
        "SELECT i.id, i.contact_id, i.gateway, i.channel, i.to_sender, i.body_enc, i.intent, i.effect, i.at, i.received_at, i.resolved_at,
           i.resolved_by, i.verdict
         FROM EACH($1) THEN JOIN inbound_events i ON i.controller = $2 AND i.mac = j.value->>'mac' AND i.contact_id IS NULL ORDER BY i.id",
        json(keyed),
        controller
    )
}

/// An unclear reply that holds its person back until an operator decides, with what they need beside it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Held {
    pub id: i64,
    pub gateway: String,
    pub subject: Option<String>,
    pub number_enc: Option<String>,
    /// Empty where the event names no number.
    pub mac: String,
    pub channel: String,
    pub body_enc: String,
    pub intent: String,
    pub at: i64,
    /// The language it was read in.
    pub locale: Option<String>,
}

/// Up to `limit` held replies after this id, oldest first.
pub async fn held_after(tx: &mut Tx, controller: &str, after: i64, limit: i64) -> Result<Vec<Held>> {
    fetch_all!(
        tx,
        "SELECT i.id, i.gateway, c.subject, c.number_enc, i.mac, i.channel, i.body_enc, i.intent, i.at,
           COALESCE((SELECT m.locale FROM messages m WHERE m.contact_id = i.contact_id AND m.kind IN ('ask', 'reminder')
             ORDER BY m.id DESC LIMIT 1), c.locale) AS locale
         FROM inbound_events i LEFT JOIN contacts c ON c.id = i.contact_id
         WHERE i.controller = $1 AND i.id > $2 AND i.effect = 'held' AND i.resolved_at IS NULL ORDER BY i.id LIMIT $3",
        controller,
        after,
        limit
    )
}

/// Gives held replies of strangers to the contacts that have their numbers by now, and holds those back.
pub async fn adopt(tx: &mut Tx, controller: &str, now: i64) -> Result<()> {
    let adopted: Vec<(i64,)> = fetch_all!(
        tx,
        "UPDATE inbound_events SET contact_id = (SELECT n.contact_id FROM number_macs n
           WHERE n.controller = inbound_events.controller AND n.mac = inbound_events.mac AND n.key_id = inbound_events.key_id)
         WHERE controller = $1 AND effect = 'held' AND resolved_at IS NULL AND contact_id IS NULL AND key_id <> $2
           AND EXISTS (SELECT 1 FROM number_macs n
             WHERE n.controller = inbound_events.controller AND n.mac = inbound_events.mac AND n.key_id = inbound_events.key_id)
         RETURNING contact_id",
        controller,
        USER
    )?;
    for (contact,) in adopted {
        super::contacts::hold(tx, contact, Some(now)).await?;
    }
    Ok(())
}

/// What somebody said who hides their number, and whose it is by now.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Hidden {
    pub id: i64,
    /// Of the user's id.
    pub mac: String,
    pub gateway: String,
    pub event_id: String,
    pub to_sender: String,
    pub channel: String,
    pub body_enc: String,
    pub intent: String,
    pub at: i64,
    pub received_at: i64,
    pub contact_id: i64,
}

/// What waits under the id of a user who is known by now, in the order it came.
pub async fn hidden(tx: &mut Tx, controller: &str) -> Result<Vec<Hidden>> {
    fetch_all!(
        tx,
        "SELECT i.id, i.mac, i.gateway, i.event_id, i.to_sender, i.channel, i.body_enc, i.intent, i.at, i.received_at, n.contact_id
         FROM inbound_events i
         JOIN number_macs n ON n.controller = i.controller AND n.mac = i.mac AND n.key_id = i.key_id
         WHERE i.controller = $1 AND i.effect = 'held' AND i.resolved_at IS NULL AND i.contact_id IS NULL AND i.key_id = $2
         ORDER BY i.id",
        controller,
        USER
    )
}

/// Gives a reply to the contact who said it.
pub async fn give(tx: &mut Tx, id: i64, contact: i64) -> Result<()> {
    execute!(tx, "UPDATE inbound_events SET contact_id = $2 WHERE id = $1", id, contact)?;
    Ok(())
}

/// Effect of what somebody erased wrote: nothing of it is kept but that it came.
pub const ERASED: &str = "erased";

/// Forgets what an event says and by whom.
pub async fn blank(tx: &mut Tx, id: i64) -> Result<()> {
    execute!(tx, "UPDATE inbound_events SET body_enc = '', mac = '', said = NULL WHERE id = $1", id)?;
    Ok(())
}

/// Effects of a second yes that waits until the person's unclear replies are read.
pub const YES_WAITS: &str = "waits";
pub const TAP_WAITS: &str = "waits, tapped";

/// A second yes that waits.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct WaitingYes {
    pub id: i64,
    pub gateway: String,
    pub event_id: String,
    pub to_sender: String,
    pub channel: String,
    pub body_enc: String,
    pub effect: String,
    pub at: i64,
    pub received_at: i64,
}

pub async fn waiting_yes(tx: &mut Tx, contact: i64) -> Result<Vec<WaitingYes>> {
    fetch_all!(
        tx,
        "SELECT id, gateway, event_id, to_sender, channel, body_enc, effect, at, received_at FROM inbound_events
         WHERE contact_id = $1 AND effect IN ($2, $3) ORDER BY id",
        contact,
        YES_WAITS,
        TAP_WAITS
    )
}

/// Resolves a held event; `None` where none waits under this id. The contact is missing where the number is a stranger's, and the
/// keyed number is empty where the event names none.
pub async fn resolve(
    tx: &mut Tx,
    controller: &str,
    id: i64,
    verdict: &str,
    by: &str,
    now: i64,
) -> Result<Option<(Option<i64>, Keyed)>> {
    let row: Option<(Option<i64>, String, i64)> = fetch_optional!(
        tx,
        "UPDATE inbound_events SET resolved_at = $4, resolved_by = $3, verdict = $5
         WHERE controller = $1 AND id = $2 AND effect = 'held' AND resolved_at IS NULL RETURNING contact_id, mac, key_id",
        controller,
        id,
        by,
        now,
        verdict
    )?;
    Ok(row.map(|(contact, mac, key_id)| (contact, Keyed { key_id, mac })))
}

/// Unclear replies of this contact still waiting.
pub async fn still_held(tx: &mut Tx, contact: i64) -> Result<i64> {
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "SELECT COUNT(*) FROM inbound_events WHERE contact_id = $1 AND effect = 'held' AND resolved_at IS NULL",
        contact
    )?;
    Ok(row.map_or(0, |(n,)| n))
}
