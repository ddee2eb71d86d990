//! Whom a WhatsApp sender has written to lately: what its pair rate and its messaging limit are counted by.

use super::{Result, Tx, fetch_all, fetch_optional, json};

/// When this sender last wrote to each of these contacts, where that was after `since`. What was proved not accepted does not count.
pub async fn last_to(tx: &mut Tx, sender: &str, contacts: &[i64], since: i64) -> Result<Vec<(i64, i64)>> {
    fetch_all!(
        tx,
        "SELECT m.contact_id, MAX(a.claimed_at) FROM EACH($1)
         THEN JOIN messages m ON m.contact_id = CAST(j.value AS BIGINT)
         THEN JOIN attempts a ON a.message_id = m.id AND a.sender = $2 AND a.channel = 'whatsapp' AND a.claimed_at > $3
           AND COALESCE(a.outcome, '') NOT IN ('not_accepted', 'refused')
         GROUP BY m.contact_id",
        &json(contacts),
        sender,
        since
    )
}

/// How often this sender tried to write to anybody after `since`: at least as many as it wrote to first.
pub async fn tries_since(tx: &mut Tx, controller: &str, sender: &str, since: i64) -> Result<i64> {
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "SELECT COUNT(*) FROM attempts WHERE controller = $1 AND sender = $2 AND channel = 'whatsapp' AND claimed_at > $3",
        controller,
        sender,
        since
    )?;
    Ok(row.map_or(0, |(count,)| count))
}

/// Whom this sender wrote to first after `since`, and when last so: by an ask, a reminder, a test, or the confirmation of what somebody
/// chose on the page. An answer to a person's own message is none of these.
pub async fn written_to_first(tx: &mut Tx, controller: &str, sender: &str, since: i64) -> Result<Vec<(i64, i64)>> {
    fetch_all!(
        tx,
        "SELECT m.contact_id, MAX(a.claimed_at) FROM attempts a JOIN messages m ON m.id = a.message_id
         WHERE a.controller = $1 AND a.sender = $2 AND a.channel = 'whatsapp' AND a.claimed_at > $3
           AND COALESCE(a.outcome, '') NOT IN ('not_accepted', 'refused')
           AND (a.kind IN ('ask', 'reminder', 'test') OR (a.kind IN ('confirm', 'code') AND m.cause LIKE 'page:%'))
         GROUP BY m.contact_id",
        controller,
        sender,
        since
    )
}
