//! What erasing a person deletes, and what it leaves: rows that count in figures and prove what was done, about nobody who could be
//! named any more.

use super::inbound::{ERASED, TAP_WAITS, YES_WAITS};
use super::{Result, Tx, execute, fetch_all, fetch_values, json};
use crate::vault::{Keyed, USER};

/// What passed through gateways about a contact: gateway, our reference, the provider's id. A gateway that only brought messages of
/// theirs has neither.
pub async fn passed(tx: &mut Tx, contact: i64) -> Result<Vec<(String, Option<String>, Option<String>)>> {
    fetch_all!(
        tx,
        "SELECT a.gateway AS gateway, a.reference AS reference, a.provider_id AS provider_id
         FROM messages m JOIN attempts a ON a.message_id = m.id
         WHERE m.contact_id = $1 AND COALESCE(a.outcome, 'unknown') <> 'not_accepted'
         UNION
         SELECT i.gateway, CAST(NULL AS TEXT), CAST(NULL AS TEXT) FROM inbound_events i WHERE i.contact_id = $1 ORDER BY gateway, reference",
        contact
    )
}

/// What is left of a reply: that it came, and what it did.
macro_rules! blank {
    () => {
        "UPDATE inbound_events SET body_enc = '', mac = '', said = NULL,
           effect = CASE WHEN effect IN ('held', $1, $2) THEN $3 ELSE effect END"
    };
}

/// Blanks what these numbers wrote. The event's id stays, so that a gateway that repeats it brings nothing back.
pub async fn replies(tx: &mut Tx, controller: &str, keyed: &[Keyed], contacts: &[i64]) -> Result<u64> {
    // Two statements, each by its own index: of one with an OR SQLite reads every reply there is, as it does where contacts, which are of
    // one controller anyway, stand beside the controller.
    let theirs = execute!(
        tx,
        concat!(blank!(), " WHERE contact_id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($4))"),
        YES_WAITS,
        TAP_WAITS,
        ERASED,
        json(contacts)
    )?;
    let by_number = execute!(
        tx,
        concat!(blank!(), " WHERE controller = $5 AND mac IN (SELECT j.value->>'mac' FROM EACH($4))"),
        YES_WAITS,
        TAP_WAITS,
        ERASED,
        json(keyed),
        controller
    )?;
    Ok(theirs + by_number)
}

/// Deletes the marks of what a human who is erased was asked, and the links of messages that a restored copy does not have, under their
/// numbers and ids: the no under the same hashes keeps them out of
/// every list. (Of people forgotten by age the marks stay: they may come again, and are not asked twice.)
pub async fn marks(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<u64> {
    execute!(
        tx,
        "DELETE FROM links WHERE controller = $1 AND mac IN (SELECT j.value->>'mac' FROM EACH($2))",
        controller,
        json(keyed)
    )?;
    execute!(
        tx,
        "DELETE FROM asked_marks WHERE controller = $1 AND mac IN (SELECT j.value->>'mac' FROM EACH($2))",
        controller,
        json(keyed)
    )
}

/// Deletes what lists said of a human who is erased under numbers that turned out to be somebody else's, and what decisions saw of it: the
/// numbers stay, with what their holders said, and so does whose they were, which keeps out a next number of the erased. `keyed`: by what
/// the human is known. Answers how many imported rows went.
pub async fn under_wrong_numbers(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<u64> {
    let wrong: Vec<(i64,)> = fetch_all!(
        tx,
        "SELECT c.id FROM contacts c WHERE c.controller = $2 AND c.was_human IN (SELECT j.value->>'mac' FROM EACH($1))
         ORDER BY c.id FOR NO KEY UPDATE",
        json(keyed),
        controller
    )?;
    if wrong.is_empty() {
        return Ok(0);
    }
    let wrong = json(wrong.into_iter().map(|(id,)| id).collect::<Vec<_>>());
    execute!(
        tx,
        "UPDATE decisions SET facts = '{}', basis = NULL WHERE contact_id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1))",
        &wrong
    )?;
    execute!(
        tx,
        "UPDATE contacts SET kind = NULL, last_action = NULL, locale = NULL, zone = NULL, times = NULL
         WHERE id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1))",
        &wrong
    )?;
    execute!(tx, "DELETE FROM consent_evidence WHERE contact_id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1))", &wrong)
}

/// By what the humans are known to whom numbers belonged that turned out to be somebody else's, where these humans are erased.
pub async fn of_wrong_numbers(tx: &mut Tx, controller: &str) -> Result<Vec<Keyed>> {
    let humans: Vec<String> = fetch_values!(
        tx,
        "SELECT DISTINCT c.was_human FROM contacts c
         JOIN suppressions s ON s.controller = c.controller AND s.mac = c.was_human AND s.reason = 'erased' AND s.lifted_at IS NULL
         WHERE c.controller = $1 AND c.was_human IS NOT NULL ORDER BY c.was_human",
        controller
    )?;
    Ok(humans.into_iter().map(|mac| Keyed { key_id: 0, mac }).collect())
}

/// Deletes everything personal of a contact. The row stays, of nobody, because messages and decisions that were counted point at it;
/// nothing selects it any more. Events that the company's CRM was not told yet carry `number_enc` until it is, or until [`sweep`] forgets
/// what cannot be told. Answers how many imported rows went.
///
/// [`sweep`]: super::outbox::sweep
pub async fn contact(tx: &mut Tx, controller: &str, contact: i64, subject: &str, number_enc: &str, now: i64) -> Result<u64> {
    execute!(
        tx,
        "UPDATE outbox SET number_enc = $3 WHERE controller = $1 AND subject = $2 AND state = 'pending'",
        controller,
        subject,
        number_enc
    )?;
    execute!(tx, "DELETE FROM outbox WHERE controller = $1 AND subject = $2 AND state = 'dead'", controller, subject)?;
    execute!(
        tx,
        "UPDATE messages SET state = 'cancelled', reason = 'erased', changed_at = $2 WHERE contact_id = $1 AND state = 'planned'",
        contact,
        now
    )?;
    execute!(
        tx,
        "UPDATE messages SET person = 'erased-' || CAST(id AS TEXT), cause = 'erased-' || CAST(id AS TEXT) WHERE contact_id = $1",
        contact
    )?;
    execute!(
        tx,
        "DELETE FROM receipts WHERE attempt_id IN (
           SELECT a.id FROM messages m JOIN attempts a ON a.message_id = m.id WHERE m.contact_id = $1)",
        contact
    )?;
    // The links in messages sent, or handed over, end here.
    execute!(
        tx,
        "DELETE FROM links WHERE (controller, mac) IN (SELECT n.controller, n.mac FROM number_macs n WHERE n.contact_id = $1)",
        contact
    )?;
    execute!(tx, "DELETE FROM handed_links WHERE contact_id = $1", contact)?;
    execute!(
        tx,
        "UPDATE attempts SET token_hash = NULL, provider_id = NULL WHERE message_id IN (SELECT id FROM messages WHERE contact_id = $1)",
        contact
    )?;
    execute!(
        tx,
        "DELETE FROM codes WHERE (controller, message_id) IN (SELECT controller, id FROM messages WHERE contact_id = $1)",
        contact
    )?;
    execute!(tx, "DELETE FROM intakes WHERE contact_id = $1", contact)?;
    execute!(tx, "UPDATE conversations SET pending = NULL, first_yes = NULL WHERE contact_id = $1", contact)?;
    execute!(tx, "UPDATE decisions SET facts = '{}', basis = NULL WHERE contact_id = $1", contact)?;
    let rows = execute!(tx, "DELETE FROM consent_evidence WHERE contact_id = $1", contact)?;
    // What they wrote hiding their number and is tied to nobody.
    execute!(
        tx,
        concat!(
            blank!(),
            " WHERE controller = $4 AND mac IN (SELECT mac FROM number_macs WHERE contact_id = $5 AND key_id = $6)"
        ),
        YES_WAITS,
        TAP_WAITS,
        ERASED,
        controller,
        contact,
        USER
    )?;
    execute!(tx, "DELETE FROM number_macs WHERE contact_id = $1", contact)?;
    execute!(
        tx,
        "UPDATE contacts SET number_enc = '', country = NULL, line = 'other', locale = NULL, zone = NULL, times = NULL, kind = NULL,
           last_action = NULL, human = NULL, was_human = NULL, restricted = 1, held_at = NULL WHERE id = $1",
        contact
    )?;
    Ok(rows)
}
