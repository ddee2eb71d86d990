//! One-time codes, by the message that carries each: at most one of a conversation can be typed.

use super::{Result, Tx, execute, fetch_optional, fetch_values, json};

/// `conversation` in these questions is what a code is about: the conversation whose yes it completes or, below zero, the contact whose
/// data it opens.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Code {
    pub message_id: i64,
    pub token_hash: String,
    /// `None` until the claim that sends it.
    pub mac: Option<String>,
    pub expires_at: Option<i64>,
    pub wrong: i64,
    /// When it was rightly typed, and in which language the page spoke, while it waits for an operator.
    pub typed_at: Option<i64>,
    pub typed_locale: Option<String>,
    /// State of the message, and why it is in it.
    pub state: String,
    pub reason: Option<String>,
}

/// The code of this conversation that can still be typed, or could until its time or its tries ran out.
pub async fn live(tx: &mut Tx, controller: &str, conversation: i64) -> Result<Option<Code>> {
    fetch_optional!(
        tx,
        "SELECT c.message_id, c.token_hash, c.mac, c.expires_at, c.wrong, c.typed_at, c.typed_locale, m.state, m.reason
         FROM codes c JOIN messages m ON m.id = c.message_id
         WHERE c.controller = $1 AND c.conversation_id = $2 AND c.ended_at IS NULL",
        controller,
        conversation
    )
}

/// Ends the code of this conversation, and its message where that has not left: it was used, or a newer one takes its place.
pub async fn end(tx: &mut Tx, controller: &str, conversation: i64, now: i64) -> Result<()> {
    // The message first, in the order of a claim that is sending it.
    execute!(
        tx,
        "UPDATE messages SET state = 'cancelled', reason = 'replaced', changed_at = $3 WHERE state = 'planned' AND id IN (
           SELECT message_id FROM codes WHERE controller = $1 AND conversation_id = $2 AND ended_at IS NULL)",
        controller,
        conversation,
        now
    )?;
    execute!(
        tx,
        "UPDATE codes SET ended_at = $3 WHERE controller = $1 AND conversation_id = $2 AND ended_at IS NULL",
        controller,
        conversation,
        now
    )?;
    Ok(())
}

/// Those of these messages whose code was used or replaced, be it while they were on their way.
pub async fn ended(tx: &mut Tx, controller: &str, messages: &[i64]) -> Result<Vec<i64>> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    fetch_values!(
        tx,
        "SELECT message_id FROM codes WHERE controller = $1 AND ended_at IS NOT NULL
           AND message_id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($2))",
        controller,
        &json(messages)
    )
}

/// A code to come: its message is planned, its digits do not exist yet.
pub async fn add(tx: &mut Tx, controller: &str, message: i64, conversation: i64, token_hash: &str, now: i64) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO codes (controller, message_id, conversation_id, token_hash, created_at) VALUES ($1, $2, $3, $4, $5)",
        controller,
        message,
        conversation,
        token_hash,
        now
    )?;
    Ok(())
}

/// The keyed hash of the digits that a claim puts into its message.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Made {
    pub message: i64,
    pub mac: String,
}

/// A message that was proved not accepted is claimed again with digits of its own: the earlier ones reached nobody.
pub async fn made(tx: &mut Tx, controller: &str, made: &[Made], expires_at: i64) -> Result<()> {
    if made.is_empty() {
        return Ok(());
    }
    execute!(
        tx,
        "WITH w AS MATERIALIZED (SELECT CAST(j.value->>'message' AS BIGINT) AS message, j.value->>'mac' AS mac FROM EACH($1))
         UPDATE codes SET mac = (SELECT w.mac FROM w WHERE w.message = codes.message_id), expires_at = $3
         WHERE controller = $2 AND message_id IN (SELECT message FROM w)",
        &json(made),
        controller,
        expires_at
    )?;
    Ok(())
}

pub async fn count_wrong(tx: &mut Tx, controller: &str, message: i64) -> Result<()> {
    execute!(tx, "UPDATE codes SET wrong = wrong + 1 WHERE controller = $1 AND message_id = $2", controller, message)?;
    Ok(())
}

/// Keeps that the right code was typed: it completes the first yes once nothing of this person is unclear.
pub async fn keep_typed(tx: &mut Tx, controller: &str, message: i64, locale: Option<&str>, now: i64) -> Result<()> {
    execute!(
        tx,
        "UPDATE codes SET typed_at = $3, typed_locale = $4 WHERE controller = $1 AND message_id = $2 AND typed_at IS NULL",
        controller,
        message,
        now,
        locale
    )?;
    Ok(())
}

/// The newest code about this that was rightly typed on this page at or after `since`.
pub async fn opened(tx: &mut Tx, controller: &str, conversation: i64, token_hash: &str, since: i64) -> Result<Option<i64>> {
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "SELECT message_id FROM codes WHERE controller = $1 AND conversation_id = $2 AND token_hash = $3 AND typed_at >= $4
         ORDER BY message_id DESC LIMIT 1",
        controller,
        conversation,
        token_hash,
        since
    )?;
    Ok(row.map(|(message,)| message))
}
