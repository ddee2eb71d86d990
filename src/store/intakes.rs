//! How people came by themselves. Choices made on forms whose second step was taken: one row a number given, of which the newest is the
//! token's, so that each makes one act; of a number that gets no code there is the token and nothing else. And who wrote first by an
//! entry's word, or asked to come back after an erasure: a row without a message.

use super::contacts::{human_is_held, of_human};
use super::requests::has_open_request;
use super::{Result, Tx, execute, fetch_all, fetch_optional};

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Intake {
    pub id: i64,
    pub form: String,
    /// `None`: nothing was sent, and nothing is known of whom it would have been sent to.
    pub contact_id: Option<i64>,
    /// The message with the code that completes it; an earlier try's, while that one lives.
    pub message_id: Option<i64>,
    pub confirmed_at: Option<i64>,
    /// When the number was given.
    pub created_at: i64,
}

/// A row for the number that is given with this token now: its id, or `None` where the token was completed. What was given with it before
/// is nobody's any more and cannot be completed; it stays, since what was sent is counted.
pub async fn take_up(tx: &mut Tx, controller: &str, form: &str, token_hash: &str, now: i64) -> Result<Option<i64>> {
    execute!(
        tx,
        "UPDATE intakes SET token_hash = token_hash || '/' || CAST(id AS TEXT)
         WHERE controller = $1 AND token_hash = $2 AND confirmed_at IS NULL",
        controller,
        token_hash
    )?;
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "INSERT INTO intakes (controller, form, token_hash, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING id",
        controller,
        form,
        token_hash,
        now
    )?;
    Ok(row.map(|(id,)| id))
}

/// Whose choice this is, by which message it is completed, and where the number came from, as people read it. Of a number that gets no
/// code nothing of that is kept, by the same statement.
pub async fn keep(tx: &mut Tx, id: i64, known: Option<(i64, i64)>, source: &str) -> Result<()> {
    let ((contact, message), source) = (known.unzip(), known.map(|_| source));
    execute!(tx, "UPDATE intakes SET contact_id = $2, message_id = $3, source = $4 WHERE id = $1", id, contact, message, source)?;
    Ok(())
}

/// Somebody unknown came: wrote first, and the page of this form is the answer; or asked to come back, by no form, and `source` says how.
/// `token_hash` is nobody's token.
pub async fn came(
    tx: &mut Tx,
    controller: &str,
    form: &str,
    token_hash: &str,
    contact: i64,
    source: Option<&str>,
    now: i64,
) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO intakes (controller, form, token_hash, contact_id, source, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        controller,
        form,
        token_hash,
        contact,
        source,
        now
    )?;
    Ok(())
}

pub async fn by_token(tx: &mut Tx, controller: &str, token_hash: &str) -> Result<Option<Intake>> {
    fetch_optional!(
        tx,
        "SELECT id, form, contact_id, message_id, confirmed_at, created_at FROM intakes WHERE controller = $1 AND token_hash = $2",
        controller,
        token_hash
    )
}

/// The choice is completed; `offered` are bits of all the permissions that the form asked for ([`bits`](super::consents::bits)).
pub async fn confirm(tx: &mut Tx, id: i64, offered: i64, now: i64) -> Result<()> {
    execute!(tx, "UPDATE intakes SET confirmed_at = $2, offered = $3 WHERE id = $1", id, now, offered)?;
    Ok(())
}

/// The newest message with a code that this form sent to this contact.
pub async fn newest_message(tx: &mut Tx, controller: &str, form: &str, contact: i64) -> Result<Option<i64>> {
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "SELECT message_id FROM intakes WHERE controller = $1 AND form = $2 AND contact_id = $3 AND message_id IS NOT NULL
         ORDER BY message_id DESC LIMIT 1",
        controller,
        form,
        contact
    )?;
    Ok(row.map(|(message,)| message))
}

/// How many messages all forms sent to this contact since.
pub async fn sent_to(tx: &mut Tx, contact: i64, since: i64) -> Result<i64> {
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "SELECT COUNT(DISTINCT message_id) FROM intakes WHERE contact_id = $1 AND created_at > $2",
        contact,
        since
    )?;
    Ok(row.map_or(0, |(n,)| n))
}

/// How many messages this form sent since.
pub async fn sent_by(tx: &mut Tx, controller: &str, form: &str, since: i64) -> Result<i64> {
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "SELECT COUNT(DISTINCT message_id) FROM intakes WHERE controller = $1 AND form = $2 AND created_at > $3",
        controller,
        form,
        since
    )?;
    Ok(row.map_or(0, |(n,)| n))
}

/// Where this contact gave the number, on a form or by asking to come back, and when; the confirmed first, then the oldest.
pub async fn of_contact(tx: &mut Tx, contact: i64) -> Result<Vec<(String, i64)>> {
    fetch_all!(
        tx,
        "SELECT source, created_at FROM intakes WHERE contact_id = $1 AND source IS NOT NULL
         ORDER BY CASE WHEN confirmed_at IS NULL THEN 1 ELSE 0 END, id",
        contact
    )
}

/// Contacts that came by themselves alone, who never completed a consent, all of it before `before`, and were handed no link since
/// `links_before`. Whoever was imported or restricted their data stays, and whoever's reply waits to be read, or letter to be answered,
/// whichever number of theirs it is of; a no lives on without its contact.
pub async fn unfinished(tx: &mut Tx, controller: &str, before: i64, links_before: i64, limit: i64) -> Result<Vec<(i64,)>> {
    fetch_all!(
        tx,
        concat!(
            "SELECT c.id FROM contacts c
             WHERE c.controller = $1 AND c.number_enc <> '' AND c.restricted = 0
               AND c.id IN (SELECT i.contact_id FROM intakes i WHERE i.controller = $1 AND i.confirmed_at IS NULL AND i.created_at < $2)
               AND c.created_at >= (SELECT MIN(i.created_at) FROM intakes i WHERE i.contact_id = c.id)
               AND NOT EXISTS (SELECT 1 FROM intakes i WHERE i.contact_id = c.id AND (i.confirmed_at IS NOT NULL OR i.created_at >= $2))
               AND NOT EXISTS (SELECT 1 FROM consent_evidence e WHERE e.controller = $1 AND e.contact_id = c.id)
               AND NOT EXISTS (SELECT 1 FROM ledger l WHERE l.controller = $1 AND l.subject = c.subject AND (l.kind = 'granted' OR l.at >= $2))
               AND NOT EXISTS (SELECT 1 FROM conversations v WHERE v.contact_id = c.id AND v.closed_at IS NULL)
               AND NOT EXISTS (SELECT 1 FROM handed_links h WHERE h.contact_id = c.id AND h.at >= $3)
               AND NOT EXISTS (SELECT 1 FROM inbound_events n WHERE n.contact_id = c.id AND n.received_at >= $2)
               AND NOT EXISTS (SELECT 1 FROM messages m
                 WHERE m.contact_id = c.id AND (m.kind IN ('ask', 'reminder', 'test') OR m.state IN ('planned', 'sending')))
               AND NOT ",
            has_open_request!("c", ""),
            " AND 0 = ",
            human_is_held!("c"),
            " ORDER BY c.id LIMIT $4"
        ),
        controller,
        before,
        links_before,
        limit
    )
}

/// Writes what is there, for as long as a wrong code takes to be counted.
pub async fn touch(tx: &mut Tx, id: i64) -> Result<()> {
    execute!(tx, "UPDATE intakes SET created_at = created_at WHERE id = $1", id)?;
    Ok(())
}

/// Deletes spent tokens that nobody could use any more, of numbers that got nothing.
pub async fn sweep(tx: &mut Tx, controller: &str, before: i64) -> Result<u64> {
    execute!(tx, "DELETE FROM intakes WHERE controller = $1 AND contact_id IS NULL AND created_at < $2", controller, before)
}
