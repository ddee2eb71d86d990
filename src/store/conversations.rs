//! Open asks and confirmations: at most one open conversation a person.

use super::inbound::{TAP_WAITS, YES_WAITS};
use super::{Result, Tx, execute, fetch_all, fetch_optional, json};

/// The wording of a confirmation, which goes once more, as help, to whoever answered it too soon.
pub const CONFIRM: &str = "confirm";

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Conversation {
    pub id: i64,
    pub contact_id: i64,
    pub campaign_id: Option<i64>,
    pub revision_id: Option<i64>,
    pub message_id: i64,
    pub mode: String,
    pub state: String,
    /// JSON list of permissions the first yes named.
    pub pending: Option<String>,
    pub first_yes_at: Option<i64>,
    /// JSON of `ledger::FirstYes`.
    pub first_yes: Option<String>,
    pub confirm_message_id: Option<i64>,
    pub confirm_accepted_at: Option<i64>,
    pub opened_at: i64,
    pub expires_at: i64,
    pub closed_at: Option<i64>,
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct Opening {
    pub contact: i64,
    pub message: i64,
    pub expires_at: i64,
}

/// Opens a conversation for each, in the transaction that claims the ask: a reply may come before the send's answer.
pub async fn open(
    tx: &mut Tx,
    controller: &str,
    campaign: Option<i64>,
    revision: Option<i64>,
    mode: &str,
    rows: &[Opening],
    now: i64,
) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO conversations (controller, contact_id, campaign_id, revision_id, message_id, channel, country, mode, state, opened_at, expires_at)
         SELECT $2, CAST(j.value->>'contact' AS BIGINT), $3, $4, CAST(j.value->>'message' AS BIGINT), m.channel, m.country, $5, 'asked', $6,
           CAST(j.value->>'expires_at' AS BIGINT)
         FROM EACH($1) LEFT JOIN messages m ON m.id = CAST(j.value->>'message' AS BIGINT) WHERE true ON CONFLICT DO NOTHING",
        &json(rows),
        controller,
        campaign,
        revision,
        mode,
        now
    )?;
    Ok(())
}

pub async fn open_of(tx: &mut Tx, contact: i64) -> Result<Option<Conversation>> {
    fetch_optional!(
        tx,
        "SELECT id, contact_id, campaign_id, revision_id, message_id, mode, state, pending, first_yes_at, first_yes, confirm_message_id,
           confirm_accepted_at, opened_at, expires_at, closed_at FROM conversations WHERE contact_id = $1 AND closed_at IS NULL",
        contact
    )
}

/// The newest conversation, open or not: what the page shows and a late no is held against.
pub async fn newest_of(tx: &mut Tx, contact: i64) -> Result<Option<Conversation>> {
    fetch_optional!(
        tx,
        "SELECT id, contact_id, campaign_id, revision_id, message_id, mode, state, pending, first_yes_at, first_yes, confirm_message_id,
           confirm_accepted_at, opened_at, expires_at, closed_at FROM conversations WHERE contact_id = $1 ORDER BY id DESC LIMIT 1",
        contact
    )
}

/// Writes everything the machine may change.
pub async fn save(tx: &mut Tx, c: &Conversation) -> Result<()> {
    execute!(
        tx,
        "UPDATE conversations SET state = $2, pending = $3, first_yes_at = $4, first_yes = $5, confirm_message_id = $6,
           confirm_accepted_at = $7, expires_at = $8, closed_at = $9 WHERE id = $1",
        c.id,
        &c.state,
        c.pending.as_deref(),
        c.first_yes_at,
        c.first_yes.as_deref(),
        c.confirm_message_id,
        c.confirm_accepted_at,
        c.expires_at,
        c.closed_at
    )?;
    Ok(())
}

/// Whether people may still answer a question that left by this gateway.
pub async fn are_open_at(tx: &mut Tx, controller: &str, gateway: &str) -> Result<bool> {
    let open: Option<(i64,)> = fetch_optional!(
        tx,
        "SELECT v.id FROM conversations v JOIN messages m ON m.id = v.message_id
         WHERE v.controller = $1 AND v.closed_at IS NULL AND m.gateway = $2 LIMIT 1",
        controller,
        gateway
    )?;
    Ok(open.is_some())
}

/// Conversations whose time ran out. Where a second yes or a typed code waits for an operator to read what the person wrote before it, it
/// was said in time.
pub async fn expired(tx: &mut Tx, controller: &str, now: i64, limit: i64) -> Result<Vec<Conversation>> {
    fetch_all!(
        tx,
        "SELECT id, contact_id, campaign_id, revision_id, message_id, mode, state, pending, first_yes_at, first_yes, confirm_message_id,
           confirm_accepted_at, opened_at, expires_at, closed_at FROM conversations
         WHERE controller = $1 AND closed_at IS NULL AND expires_at <= $2 AND NOT (state = 'pending' AND (
           EXISTS (SELECT 1 FROM inbound_events i WHERE i.contact_id = conversations.contact_id AND i.effect IN ($4, $5))
           OR EXISTS (SELECT 1 FROM codes k WHERE k.controller = $1 AND k.conversation_id = conversations.id
             AND k.ended_at IS NULL AND k.typed_at IS NOT NULL)))
         ORDER BY id LIMIT $3",
        controller,
        now,
        limit,
        YES_WAITS,
        TAP_WAITS
    )
}

/// A question that was left without any answer until its time was over.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct RanOut {
    pub contact_id: i64,
    pub revision_id: Option<i64>,
    pub closed_at: i64,
    pub campaign: Option<String>,
    /// The contact's language.
    pub locale: Option<String>,
    /// Of the ask, by the newest way it went.
    pub reference: Option<String>,
    pub basis: Option<String>,
    pub wording_hash: Option<String>,
}

/// Those of these contacts, oldest first. An ask that reached nobody is none (as in `consents`), nor is one that was closed before its time
/// was over, to give way to a choice on a form.
pub async fn ran_out(tx: &mut Tx, contacts: &[i64]) -> Result<Vec<RanOut>> {
    fetch_all!(
        tx,
        "SELECT v.contact_id, v.revision_id, v.closed_at, c.name AS campaign, p.locale, a.reference, a.basis, a.wording_hash
         FROM EACH($1) THEN JOIN conversations v ON v.contact_id = CAST(j.value AS BIGINT) AND v.state = 'expired' AND v.first_yes_at IS NULL
           AND v.closed_at >= v.expires_at
         THEN JOIN messages m ON m.id = v.message_id AND m.answer IS NULL AND m.state NOT IN ('failed', 'undelivered', 'expired')
         THEN JOIN contacts p ON p.id = v.contact_id
         LEFT JOIN campaigns c ON c.id = v.campaign_id
         LEFT JOIN attempts a ON a.id = (SELECT MAX(n.id) FROM attempts n WHERE n.message_id = m.id)
         ORDER BY v.id",
        &json(contacts)
    )
}

/// The confirmation is known to have been taken: a yes counts as the second step from `now` on, if no earlier time stands there. Where its
/// wording went once more, to the same first yes, it is counted from that.
pub async fn confirmation_arrived(tx: &mut Tx, message: i64, now: i64) -> Result<()> {
    execute!(
        tx,
        "UPDATE conversations SET confirm_accepted_at = $2
         WHERE closed_at IS NULL AND contact_id = (SELECT m.contact_id FROM messages m WHERE m.id = $1) AND (
           (confirm_message_id = $1 AND confirm_accepted_at IS NULL)
           OR EXISTS (SELECT 1 FROM messages m WHERE m.id = $1 AND m.kind = 'help' AND m.wording = $3
             AND m.created_at >= conversations.first_yes_at
             AND (conversations.confirm_accepted_at IS NULL OR conversations.confirm_accepted_at < m.created_at)))",
        message,
        now,
        CONFIRM
    )?;
    Ok(())
}
