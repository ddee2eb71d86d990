//! Who is left in peace: keyed numbers with a reason and a time, nothing else.

use std::collections::{BTreeMap, HashSet};

use super::answers::{self, left, newest};
use super::{Result, Tx, execute, fetch_all, fetch_optional, fetch_values, json, ledger};
use crate::domain::answer::{Answer, By};
use crate::domain::suppression::Reason;
use crate::vault::Keyed;

/// The contacts a no reaches: those of the keyed numbers `$1` of controller `$2`, their humans' other numbers, and those of the
/// human that an external id, or a number that is no contact, belongs to. One that is marked `alone` reaches its own number only.
macro_rules! reached {
    () => {
        "SELECT n.contact_id FROM EACH($1)
         THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key' AS BIGINT)
         UNION
         SELECT o.id FROM EACH($1)
         THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key' AS BIGINT)
         THEN JOIN contacts c ON c.id = n.contact_id AND c.human IS NOT NULL
         THEN JOIN contacts o ON o.controller = c.controller AND o.human = c.human
         WHERE j.value->>'alone' IS NULL
         UNION
         SELECT o.id FROM EACH($1)
         THEN JOIN humans h ON h.controller = $2 AND h.alias = j.value->>'mac'
         THEN JOIN contacts o ON o.controller = h.controller AND o.human = h.human
         WHERE j.value->>'alone' IS NULL"
    };
}

/// Messages that invite to a yes. A confirmation's wording sent once more, and the link to a form, go as help.
macro_rules! invites {
    () => {
        "(kind IN ('ask', 'reminder', 'confirm', 'code', 'test')
           OR (kind = 'help' AND (wording = 'confirm' OR wording LIKE 'join_link:%')))"
    };
}

/// What the new noes `$1` of controller `$2` make of a contact's open question and of its ask: the strictest counts.
macro_rules! inherited {
    () => {
        "(SELECT n.contact_id AS id, CASE MIN(CASE j.value->>'reason' WHEN 'refused' THEN 2 ELSE 1 END)
             WHEN 2 THEN 'refused' ELSE 'stopped' END AS state FROM EACH($1)
           THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key' AS BIGINT)
           GROUP BY n.contact_id) AS w"
    };
}

/// As what the no `s` of the contact of the keyed number `n` is told: a number that gave way to its person's new one is nobody's wrong one;
/// as in `requests::number_changed_at`.
macro_rules! told_reason {
    () => {
        "CASE WHEN s.reason = 'wrong_person' AND EXISTS (
             SELECT 1 FROM number_macs o JOIN requests r ON r.controller = o.controller AND r.kind = 'rectification' AND r.mac = o.mac
               AND r.key_id = o.key_id AND r.subject IS NOT NULL AND r.done_at >= s.at
             WHERE o.contact_id = n.contact_id) THEN 'number_changed' ELSE s.reason END"
    };
}
pub(super) use told_reason;

/// The keyed numbers as `reached!` wants them.
fn rows(keyed: &[Keyed], alone: bool) -> String {
    let alone = alone.then_some(true);
    json(keyed.iter().map(|k| serde_json::json!({ "mac": k.mac, "key": k.key_id, "alone": alone })).collect::<Vec<_>>())
}

/// Whether a no of this kind is about the number and not the human: whoever holds the number now says nothing for the human who is
/// believed to have another one.
fn alone(reason: Reason) -> bool {
    reason == Reason::WrongPerson
}

/// Suppresses these keyed numbers, or external ids, and every number of the same humans (of a wrong number that number alone), and
/// cancels what is planned for them, all in the caller's transaction: an opt-out and a claim meet on the message row and one of them
/// loses. `by` is who said so. Answers (suppressed anew, messages cancelled).
pub async fn suppress(
    tx: &mut Tx,
    controller: &str,
    keyed: &[Keyed],
    reason: Reason,
    by: By,
    at: i64,
    now: i64,
) -> Result<(u64, u64)> {
    suppress_rows(tx, controller, rows(keyed, alone(reason)), reason, by, at, now).await
}

/// As [`suppress`], of one number alone, by all its hashes: what another number of the human granted since has answered this no.
pub async fn suppress_alone(
    tx: &mut Tx,
    controller: &str,
    keyed: &[Keyed],
    reason: Reason,
    by: By,
    at: i64,
    now: i64,
) -> Result<(u64, u64)> {
    suppress_rows(tx, controller, rows(keyed, true), reason, by, at, now).await
}

/// Whoever is completing a yes at this moment holds their contact's row: we wait for them, or they for us and read the no.
async fn lock(tx: &mut Tx, controller: &str, rows: &str) -> Result<()> {
    let _: Vec<(i64,)> = fetch_all!(
        tx,
        concat!("SELECT c.id FROM contacts c WHERE c.id IN (", reached!(), ") ORDER BY c.id FOR NO KEY UPDATE"),
        rows,
        controller
    )?;
    Ok(())
}

/// Waits for whoever, of those a no of this kind reaches, is in the middle of an act; from here on they wait for us.
pub async fn lock_reached(tx: &mut Tx, controller: &str, keyed: &[Keyed], reason: Reason) -> Result<()> {
    lock(tx, controller, &rows(keyed, alone(reason))).await
}

async fn suppress_rows(
    tx: &mut Tx,
    controller: &str,
    rows: String,
    reason: Reason,
    by: By,
    at: i64,
    now: i64,
) -> Result<(u64, u64)> {
    lock(tx, controller, &rows).await?;
    // Said again it is as new as its last time: a yes in between does not answer it. A list repeats what it always said, and what a restored copy learns has its time.
    if !matches!(by, By::List | By::Restore) {
        execute!(
            tx,
            concat!(
                "UPDATE suppressions SET at = $4 WHERE controller = $2 AND lifted_at IS NULL AND reason = $3 AND at < $4 AND mac IN (
                   SELECT j.value->>'mac' FROM EACH($1)
                   UNION
                   SELECT n2.mac FROM (",
                reached!(),
                ") AS r THEN JOIN number_macs n2 ON n2.contact_id = r.contact_id)"
            ),
            &rows,
            controller,
            reason.code(),
            at
        )?;
    }
    let added = execute!(
        tx,
        concat!(
            "INSERT INTO suppressions (controller, mac, key_id, scope, reason, at, learned_at)
             SELECT $2, w.mac, w.key_id, $3, $4, $5, $6 FROM (
               SELECT j.value->>'mac' AS mac, CAST(j.value->>'key' AS BIGINT) AS key_id FROM EACH($1)
               UNION
               SELECT n2.mac, n2.key_id FROM (",
            reached!(),
            ") AS r THEN JOIN number_macs n2 ON n2.contact_id = r.contact_id
             ) w WHERE true
             ON CONFLICT DO NOTHING"
        ),
        &rows,
        controller,
        reason.scope(),
        reason.code(),
        at,
        now
    )?;
    let cancelled = cancel_planned(tx, controller, &rows, reason.code(), now).await?;
    answered(tx, controller, &rows, answer(reason), by, now).await?;
    close(tx, controller, &rows, answer(reason), now).await?;
    Ok((added, cancelled))
}

/// Lifts each no under a user's id that this contact has answered since by their own full yes: it was not known then whose id that is.
/// A no said between the two steps of that yes stays.
pub async fn lift_answered(tx: &mut Tx, controller: &str, user: &Keyed, contact: i64, now: i64) -> Result<u64> {
    let answered = answered_noes(tx, controller, &[contact]).await?;
    execute!(
        tx,
        "UPDATE suppressions SET lifted_at = $5, lifted_by = (SELECT MAX(l.seq) FROM contacts c
           JOIN ledger l ON l.controller = c.controller AND l.subject = c.subject AND l.kind = 'granted' WHERE c.id = $4)
         WHERE controller = $1 AND mac = $2 AND key_id = $3 AND lifted_at IS NULL AND scope = 'marketing' AND (
           EXISTS (SELECT 1 FROM conversations v WHERE v.contact_id = $4 AND v.state = 'granted' AND v.opened_at > suppressions.at)
           OR EXISTS (SELECT 1 FROM EACH($6) WHERE j.value->>'reason' = suppressions.reason
             AND CAST(j.value->>'first_yes' AS BIGINT) > suppressions.at))",
        controller,
        &user.mac,
        user.key_id,
        contact,
        now,
        &answered
    )
}

/// Notes that what stands granted to this contact has answered a no of its human's that is learned of late: no later list that ties them
/// makes that no count here. Not twice.
pub async fn note_answered(tx: &mut Tx, controller: &str, contact: i64, reason: Reason, at: i64, now: i64) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO suppressions (controller, mac, key_id, scope, reason, at, learned_at, lifted_at, lifted_by)
         SELECT n.controller, n.mac, n.key_id, $3, $4, $5, $6, $6, (SELECT MAX(l.seq) FROM contacts c
           JOIN ledger l ON l.controller = c.controller AND l.subject = c.subject AND l.kind = 'granted' WHERE c.id = $1)
         FROM number_macs n WHERE n.contact_id = $1 AND NOT EXISTS (SELECT 1 FROM suppressions s
           WHERE s.controller = $2 AND s.mac = n.mac AND s.key_id = n.key_id AND s.reason = $4 AND s.lifted_at IS NOT NULL)",
        contact,
        controller,
        reason.scope(),
        reason.code(),
        at,
        now
    )?;
    Ok(())
}

/// Which kinds of no each of these contacts carried and has answered, by whatever number and hash they carried it (a contact is known by
/// more of them as keys and ids come), and when the first yes to the oldest of what stands granted was said: a no since then is unanswered.
async fn answered_noes(tx: &mut Tx, controller: &str, contacts: &[i64]) -> Result<String> {
    let back: Vec<(i64, String, String, i64, Option<String>)> = fetch_all!(
        tx,
        "SELECT DISTINCT c.id, l.reason, p.channel || '.' || p.purpose, p.since, e.body FROM EACH($1)
         THEN JOIN contacts c ON c.controller = $2 AND c.id = CAST(j.value AS BIGINT)
         THEN JOIN number_macs n ON n.contact_id = c.id
         THEN JOIN suppressions l ON l.controller = n.controller AND l.mac = n.mac AND l.key_id = n.key_id AND l.lifted_at IS NOT NULL
         THEN JOIN preferences p ON p.controller = c.controller AND p.subject = c.subject AND p.state = 'granted'
         LEFT JOIN evidence e ON e.seq = p.seq",
        json(contacts),
        controller
    )?;
    let mut answered: BTreeMap<(i64, String), i64> = BTreeMap::new();
    for (contact, reason, _, since, body) in back {
        let first_yes = ledger::first_yes_at(since, body.as_deref());
        answered.entry((contact, reason)).and_modify(|oldest| *oldest = first_yes.min(*oldest)).or_insert(first_yes);
    }
    let row =
        |((contact, reason), first_yes)| serde_json::json!({ "contact": contact, "reason": reason, "first_yes": first_yes });
    Ok(json(answered.into_iter().map(row).collect::<Vec<_>>()))
}

/// Which of these keyed numbers are left in peace already, by their hashes.
pub async fn live_among(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<HashSet<String>> {
    let known: Vec<String> = fetch_values!(
        tx,
        "SELECT DISTINCT s.mac FROM EACH($1)
         THEN JOIN suppressions s ON s.controller = $2 AND s.mac = j.value->>'mac' AND s.key_id = CAST(j.value->>'key' AS BIGINT)
           AND s.lifted_at IS NULL",
        &json(keyed),
        controller
    )?;
    Ok(known.into_iter().collect())
}

/// Whom a no by these keyed numbers reaches: the contacts, and by what else their humans are known (external ids, numbers that are no
/// contact).
pub async fn reach(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<(Vec<i64>, Vec<Keyed>)> {
    let rows = json(keyed);
    let contacts: Vec<(i64,)> =
        fetch_all!(tx, concat!("SELECT r.contact_id FROM (", reached!(), ") AS r ORDER BY r.contact_id"), &rows, controller)?;
    let aliases: Vec<(String,)> = fetch_all!(
        tx,
        concat!(
            "SELECT h.alias FROM humans h WHERE h.controller = $2 AND h.human IN (
               SELECT c.human FROM contacts c WHERE c.human IS NOT NULL AND c.id IN (",
            reached!(),
            ") UNION SELECT a.human FROM EACH($1) THEN JOIN humans a ON a.controller = $2 AND a.alias = j.value->>'mac')"
        ),
        &rows,
        controller
    )?;
    let ids = contacts.into_iter().map(|(id,)| id).collect();
    Ok((ids, aliases.into_iter().map(|(mac,)| Keyed { key_id: 0, mac }).collect()))
}

/// Which of these hashes, of numbers or of external ids, are of somebody erased.
pub async fn erased_among<'a>(tx: &mut Tx, controller: &str, macs: impl IntoIterator<Item = &'a str>) -> Result<HashSet<String>> {
    let macs = json(macs.into_iter().map(|mac| serde_json::json!({ "mac": mac })).collect::<Vec<_>>());
    let known: Vec<String> = fetch_values!(
        tx,
        "SELECT DISTINCT s.mac FROM EACH($1)
         THEN JOIN suppressions s ON s.controller = $2 AND s.mac = j.value->>'mac' AND s.reason = 'erased' AND s.lifted_at IS NULL",
        &macs,
        controller
    )?;
    Ok(known.into_iter().collect())
}

/// Whether one of these hashes is of somebody erased.
pub async fn is_erased(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<bool> {
    Ok(!erased_among(tx, controller, keyed.iter().map(|k| k.mac.as_str())).await?.is_empty())
}

/// What a no of this kind is as an answer, and as the state of a question that it closes.
fn answer(reason: Reason) -> Answer {
    match reason {
        Reason::Refused => Answer::Refused,
        Reason::WrongPerson => Answer::WrongPerson,
        Reason::Stopped | Reason::UnsubscribedBefore | Reason::Erased => Answer::Stopped,
    }
}

/// The no stands with the newest ask of everybody it reaches, and whatever they had confirmed is withdrawn.
async fn answered(tx: &mut Tx, controller: &str, rows: &str, answer: Answer, by: By, now: i64) -> Result<()> {
    execute!(
        tx,
        concat!(
            "UPDATE messages SET answer = CASE WHEN answer = 'confirmed' THEN 'withdrawn' ELSE $4 END, answer_by = $5, answered_at = $6
             WHERE contact_id IN (",
            reached!(),
            ") AND ",
            left!(),
            " AND (answer = 'confirmed' OR (COALESCE(answer, '') IN (SELECT j.value->>'code' FROM EACH($3)) AND ",
            newest!(),
            "))"
        ),
        rows,
        controller,
        &answers::replaced(answer, by),
        answer.code(),
        by.code(),
        now
    )?;
    Ok(())
}

/// Cancels everything planned that invites to a yes of these numbers and their humans.
async fn cancel_planned(tx: &mut Tx, controller: &str, rows: &str, reason: &str, now: i64) -> Result<u64> {
    execute!(
        tx,
        concat!(
            "UPDATE messages SET state = 'cancelled', reason = $3, changed_at = $4 WHERE state = 'planned' AND ",
            invites!(),
            " AND contact_id IN (",
            reached!(),
            ")"
        ),
        rows,
        controller,
        reason,
        now
    )
}

/// As [`suppress_alone`] cancels, for a reason that is no suppression of its own.
pub async fn cancel(tx: &mut Tx, controller: &str, keyed: &[Keyed], reason: &str, now: i64) -> Result<u64> {
    cancel_planned(tx, controller, &rows(keyed, true), reason, now).await
}

/// Closes the open conversations of these numbers and their humans: a yes counts only in one opened after the last no. After their
/// messages, since a claim that wins the message opens the conversation.
async fn close(tx: &mut Tx, controller: &str, rows: &str, answer: Answer, now: i64) -> Result<()> {
    execute!(
        tx,
        concat!(
            "UPDATE conversations SET state = $3, closed_at = $4 WHERE closed_at IS NULL AND contact_id IN (",
            reached!(),
            ")"
        ),
        rows,
        controller,
        answer.code(),
        now
    )?;
    Ok(())
}

/// Whoever a no of this kind by these numbers reaches and has anything granted: their grants end with it, and the ledger must say so.
pub async fn granted_among(tx: &mut Tx, controller: &str, keyed: &[Keyed], reason: Reason) -> Result<Vec<i64>> {
    granted_by(tx, controller, &rows(keyed, alone(reason))).await
}

/// Which of these numbers, each by itself, have anything granted.
pub async fn granted_alone(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<Vec<i64>> {
    granted_by(tx, controller, &rows(keyed, true)).await
}

async fn granted_by(tx: &mut Tx, controller: &str, rows: &str) -> Result<Vec<i64>> {
    fetch_values!(
        tx,
        concat!(
            "SELECT DISTINCT c.id FROM (",
            reached!(),
            ") AS r
             THEN JOIN contacts c ON c.id = r.contact_id
             THEN JOIN preferences p ON p.controller = c.controller AND p.subject = c.subject AND p.state = 'granted'
             ORDER BY c.id"
        ),
        rows,
        controller
    )
}

/// Whether a no of this kind by these numbers reaches anybody with something granted or a question open: then it is more than said again.
pub async fn ends_something(tx: &mut Tx, controller: &str, keyed: &[Keyed], reason: Reason) -> Result<bool> {
    let rows = rows(keyed, alone(reason));
    let one: Option<(i64,)> = fetch_optional!(
        tx,
        concat!(
            "SELECT r.contact_id FROM (",
            reached!(),
            ") AS r WHERE EXISTS (SELECT 1 FROM conversations v WHERE v.contact_id = r.contact_id AND v.closed_at IS NULL)
               OR EXISTS (SELECT 1 FROM contacts c
                 JOIN preferences p ON p.controller = c.controller AND p.subject = c.subject AND p.state = 'granted'
                 WHERE c.id = r.contact_id) LIMIT 1"
        ),
        &rows,
        controller
    )?;
    Ok(one.is_some())
}

/// Every number of a human inherits every no of the others (after an import tied them together), but not that one of them is a wrong
/// number: what is planned for it is cancelled and its open conversation closed. Answers the contacts that newly carry a no beside something
/// granted. Whoever carried it already is left alone: they may be on their way back by their own act, or are back, and the first yes to all
/// that stands granted is newer than the no.
pub async fn spread_over_humans(tx: &mut Tx, controller: &str, humans: &[String], now: i64) -> Result<Vec<i64>> {
    let humans = json(humans.iter().map(|human| serde_json::json!({ "human": human })).collect::<Vec<_>>());
    // As in `suppress`.
    let locked: Vec<(i64,)> = fetch_all!(
        tx,
        "SELECT c.id FROM contacts c WHERE c.controller = $2 AND c.human IN (SELECT j.value->>'human' FROM EACH($1))
         ORDER BY c.id FOR NO KEY UPDATE",
        &humans,
        controller
    )?;
    let answered = answered_noes(tx, controller, &locked.into_iter().map(|(id,)| id).collect::<Vec<_>>()).await?;
    let new: Vec<(String, i64, String)> = fetch_all!(
        tx,
        "INSERT INTO suppressions (controller, mac, key_id, scope, reason, at, learned_at)
         SELECT DISTINCT $2, n2.mac, n2.key_id, w.scope, w.reason, w.at, CAST($3 AS BIGINT) FROM (
           SELECT o.human, s.scope, s.reason, s.at FROM EACH($1)
           THEN JOIN contacts o ON o.controller = $2 AND o.human = j.value->>'human'
           THEN JOIN number_macs n ON n.contact_id = o.id
           THEN JOIN suppressions s ON s.controller = n.controller AND s.mac = n.mac AND s.key_id = n.key_id AND s.lifted_at IS NULL
             AND s.reason <> 'wrong_person'
           UNION
           SELECT h.human, s.scope, s.reason, s.at FROM EACH($1)
           THEN JOIN humans h ON h.controller = $2 AND h.human = j.value->>'human'
           THEN JOIN suppressions s ON s.controller = h.controller AND s.mac = h.alias AND s.lifted_at IS NULL
             AND s.reason <> 'wrong_person') AS w
         THEN JOIN contacts o2 ON o2.controller = $2 AND o2.human = w.human
         THEN JOIN number_macs n2 ON n2.contact_id = o2.id
         WHERE NOT EXISTS (SELECT 1 FROM EACH($4) WHERE CAST(j.value->>'contact' AS BIGINT) = o2.id AND j.value->>'reason' = w.reason
           AND CAST(j.value->>'first_yes' AS BIGINT) > w.at) ON CONFLICT DO NOTHING RETURNING mac, key_id, reason",
        &humans,
        controller,
        now,
        &answered
    )?;
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let rows = json(
        new.iter().map(|(mac, key, reason)| serde_json::json!({ "mac": mac, "key": key, "reason": reason })).collect::<Vec<_>>(),
    );
    execute!(
        tx,
        concat!(
            "UPDATE messages SET state = 'cancelled', reason = 'suppressed', changed_at = $3 WHERE state = 'planned' AND ",
            invites!(),
            " AND contact_id IN (SELECT n.contact_id FROM EACH($1)
               THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key' AS BIGINT))"
        ),
        &rows,
        controller,
        now
    )?;
    execute!(
        tx,
        concat!(
            "UPDATE messages SET answer = CASE WHEN answer = 'confirmed' THEN 'withdrawn' ELSE w.state END, answer_by = $5, answered_at = $3
             FROM ",
            inherited!(),
            " WHERE messages.contact_id = w.id AND ",
            left!(),
            " AND (answer = 'confirmed' OR (COALESCE(answer, '') IN (SELECT j.value->>'code' FROM EACH($4)) AND ",
            newest!(),
            "))"
        ),
        &rows,
        controller,
        now,
        &answers::replaced(Answer::Stopped, By::List),
        By::List.code()
    )?;
    execute!(
        tx,
        concat!(
            "UPDATE conversations SET state = w.state, closed_at = $3 FROM ",
            inherited!(),
            " WHERE conversations.contact_id = w.id AND conversations.closed_at IS NULL"
        ),
        &rows,
        controller,
        now
    )?;
    fetch_values!(
        tx,
        "SELECT DISTINCT c.id FROM EACH($1)
         THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key' AS BIGINT)
         THEN JOIN contacts c ON c.id = n.contact_id
         THEN JOIN preferences p ON p.controller = c.controller AND p.subject = c.subject AND p.state = 'granted'
         ORDER BY c.id",
        &rows,
        controller
    )
}

/// The newest live no of this contact's human at or after `since`: a yes begun before it does not count. That another number of the
/// human is a wrong one is none.
pub async fn newest_since(tx: &mut Tx, contact: i64, since: i64) -> Result<Option<String>> {
    let row: Option<(String, i64)> = fetch_optional!(
        tx,
        "SELECT w.reason, w.at FROM (
           SELECT s.reason, s.at FROM number_macs n
           JOIN suppressions s ON s.controller = n.controller AND s.mac = n.mac AND s.key_id = n.key_id AND s.lifted_at IS NULL
           WHERE n.contact_id = $1
           UNION
           SELECT s.reason, s.at FROM contacts c
           JOIN contacts o ON o.controller = c.controller AND o.human = c.human
           JOIN number_macs n ON n.contact_id = o.id
           JOIN suppressions s ON s.controller = n.controller AND s.mac = n.mac AND s.key_id = n.key_id AND s.lifted_at IS NULL
           WHERE c.id = $1 AND c.human IS NOT NULL AND s.reason <> 'wrong_person'
           UNION
           SELECT s.reason, s.at FROM contacts c
           THEN JOIN humans h ON h.controller = c.controller AND h.human = c.human
           THEN JOIN suppressions s ON s.controller = h.controller AND s.mac = h.alias AND s.lifted_at IS NULL
           WHERE c.id = $1 AND c.human IS NOT NULL AND s.reason <> 'wrong_person') AS w
         WHERE w.at >= $2 ORDER BY w.at DESC LIMIT 1",
        contact,
        since
    )?;
    Ok(row.map(|(reason, _)| reason))
}

/// The person's own fresh opt-in, completed by the second step, lifts what is in scope `marketing`; the entry names it.
/// A no as new as the first yes, or newer, stays.
pub async fn lift(tx: &mut Tx, controller: &str, contact: i64, seq: i64, first_yes_at: i64, now: i64) -> Result<u64> {
    execute!(
        tx,
        "UPDATE suppressions SET lifted_at = $3, lifted_by = $4
         WHERE controller = $2 AND lifted_at IS NULL AND scope = 'marketing' AND at < $5
           AND mac IN (SELECT mac FROM number_macs WHERE contact_id = $1)",
        contact,
        controller,
        now,
        seq,
        first_yes_at
    )
}

/// Which of these keyed numbers are somebody else's by now, by their hashes: said to be wrong, or given up for another one.
pub async fn wrong_among(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<HashSet<String>> {
    let wrong: Vec<String> = fetch_values!(
        tx,
        "SELECT DISTINCT s.mac FROM EACH($1)
         THEN JOIN suppressions s ON s.controller = $2 AND s.mac = j.value->>'mac' AND s.key_id = CAST(j.value->>'key' AS BIGINT)
           AND s.reason = 'wrong_person' AND s.lifted_at IS NULL",
        &json(keyed),
        controller
    )?;
    Ok(wrong.into_iter().collect())
}

/// Which of these subjects are contacts that no live suppression keeps from being written to.
pub async fn free_among(tx: &mut Tx, controller: &str, subjects: &[&str]) -> Result<HashSet<String>> {
    let wanted = json(subjects.iter().map(|subject| serde_json::json!({ "subject": subject })).collect::<Vec<_>>());
    let free: Vec<String> = fetch_values!(
        tx,
        "SELECT c.subject FROM EACH($1)
         THEN JOIN contacts c ON c.controller = $2 AND c.subject = j.value->>'subject' AND c.number_enc <> ''
         WHERE NOT EXISTS (SELECT 1 FROM number_macs n
           JOIN suppressions s ON s.controller = n.controller AND s.mac = n.mac AND s.key_id = n.key_id AND s.lifted_at IS NULL
           WHERE n.contact_id = c.id)",
        &wanted,
        controller
    )?;
    Ok(free.into_iter().collect())
}

/// Suppressions that were lifted, though no consent of the ledger says so.
pub async fn lifted_by_nothing(tx: &mut Tx, controller: &str) -> Result<Vec<(i64,)>> {
    fetch_all!(
        tx,
        "SELECT s.id FROM suppressions s WHERE s.controller = $1 AND s.lifted_at IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM ledger l WHERE l.seq = s.lifted_by AND l.controller = s.controller AND l.kind = 'granted')
         ORDER BY s.id",
        controller
    )
}

/// Reason, time and lifting time of every suppression of these keyed numbers, oldest first.
pub async fn of(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<Vec<(String, i64, Option<i64>)>> {
    let macs = json(keyed.iter().map(|k| serde_json::json!({ "mac": k.mac, "key": k.key_id })).collect::<Vec<_>>());
    fetch_all!(
        tx,
        "SELECT w.reason, w.at, w.lifted_at FROM (
           SELECT s.id, s.reason, s.at, s.lifted_at FROM EACH($1)
           THEN JOIN suppressions s ON s.controller = $2 AND s.mac = j.value->>'mac' AND s.key_id = CAST(j.value->>'key' AS BIGINT)
             AND s.lifted_at IS NULL
           UNION ALL
           SELECT s.id, s.reason, s.at, s.lifted_at FROM EACH($1)
           THEN JOIN suppressions s ON s.controller = $2 AND s.mac = j.value->>'mac' AND s.key_id = CAST(j.value->>'key' AS BIGINT)
             AND s.lifted_at IS NOT NULL) AS w
         ORDER BY w.id",
        &macs,
        controller
    )
}

/// Every live no of these keyed numbers that stood by `until`, and when it was said: one said again since is as old as it was known by then.
/// That a number is a wrong one is none.
pub async fn said_by(tx: &mut Tx, controller: &str, keyed: &[Keyed], until: i64) -> Result<Vec<(String, i64)>> {
    fetch_all!(
        tx,
        "SELECT s.reason, MIN(CASE WHEN s.at <= $3 THEN s.at ELSE s.learned_at END) FROM EACH($1)
         THEN JOIN suppressions s ON s.controller = $2 AND s.mac = j.value->>'mac' AND s.key_id = CAST(j.value->>'key' AS BIGINT)
           AND s.lifted_at IS NULL AND s.reason <> 'wrong_person' AND (s.at <= $3 OR s.learned_at <= $3)
         GROUP BY s.reason ORDER BY 2, 1",
        json(keyed),
        controller,
        until
    )
}

/// The days on which lists say that these noes were said, each for its keyed number; the earliest stays.
pub async fn date(tx: &mut Tx, controller: &str, days: &[(Keyed, String)]) -> Result<()> {
    let rows =
        json(days.iter().map(|(k, day)| serde_json::json!({ "mac": k.mac, "key": k.key_id, "day": day })).collect::<Vec<_>>());
    execute!(
        tx,
        "WITH k AS MATERIALIZED (
           SELECT j.value->>'mac' AS mac, CAST(j.value->>'key' AS BIGINT) AS key_id, MIN(j.value->>'day') AS day FROM EACH($1)
           GROUP BY 1, 2)
         UPDATE suppressions SET said_on = k.day FROM k
         WHERE suppressions.controller = $2 AND suppressions.mac = k.mac AND suppressions.key_id = k.key_id
           AND suppressions.reason = 'unsubscribed_before' AND suppressions.lifted_at IS NULL
           AND (suppressions.said_on IS NULL OR suppressions.said_on > k.day)",
        &rows,
        controller
    )?;
    Ok(())
}

/// The day on which these keyed numbers unsubscribed, as a list says: `2025-10-01`.
pub async fn said_on(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<Option<String>> {
    let row: Option<(Option<String>,)> = fetch_optional!(
        tx,
        "SELECT MIN(s.said_on) FROM EACH($1)
         THEN JOIN suppressions s ON s.controller = $2 AND s.mac = j.value->>'mac' AND s.key_id = CAST(j.value->>'key' AS BIGINT)
           AND s.lifted_at IS NULL",
        &rows(keyed, false),
        controller
    )?;
    Ok(row.and_then(|(day,)| day))
}

/// Of what [`of`] answered, the reasons that still count.
pub fn live(all: &[(String, i64, Option<i64>)]) -> impl Iterator<Item = Reason> {
    live_at(all).map(|(reason, _)| reason)
}

/// As [`live`], with when each was said.
pub fn live_at(all: &[(String, i64, Option<i64>)]) -> impl Iterator<Item = (Reason, i64)> {
    all.iter().filter(|(_, _, lifted)| lifted.is_none()).filter_map(|(reason, at, _)| Some((Reason::parse(reason)?, *at)))
}

/// Live suppressions of numbers that are known, learned of at or after `since`, the no or the number: (number_enc, country, locale, reason, at).
/// Numbers that were never imported are kept as hashes alone and cannot be listed. Nor is whoever was erased, and was handed a link to come back by: the
/// company has deleted them too.
pub async fn known_since(
    tx: &mut Tx,
    controller: &str,
    since: i64,
) -> Result<Vec<(String, Option<String>, Option<String>, String, i64)>> {
    fetch_all!(
        tx,
        concat!(
            "SELECT DISTINCT c.number_enc, c.country, c.locale, ",
            told_reason!(),
            ", s.at FROM suppressions s
         JOIN number_macs n ON n.controller = s.controller AND n.mac = s.mac AND n.key_id = s.key_id
         JOIN contacts c ON c.id = n.contact_id
         WHERE s.controller = $1 AND (s.learned_at >= $2 OR c.created_at >= $2) AND s.lifted_at IS NULL
           AND NOT EXISTS (SELECT 1 FROM number_macs o
             JOIN suppressions e ON e.controller = o.controller AND e.mac = o.mac AND e.reason = 'erased' AND e.lifted_at IS NULL
             WHERE o.contact_id = c.id)
         ORDER BY s.at, c.number_enc"
        ),
        controller,
        since
    )
}
