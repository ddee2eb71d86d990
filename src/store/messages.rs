//! Messages, their attempts and the batches a job carries: planned, claimed by compare-and-set, settled.

use std::collections::{HashMap, HashSet};

use super::{Result, Tx, conversations, execute, fetch_all, fetch_one, fetch_optional, fetch_value, handed, json};
use crate::clock::DAY;
use crate::domain::channel::Channel;
use crate::domain::message::{Kind, Outcome, State};
use crate::vault::{Keyed, USER};

/// Whether some attempt of a message (by the name it has in the statement) was accepted, or may have been.
macro_rules! may_have_left {
    ($m:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = ",
            $m,
            ".id AND COALESCE(a.outcome, 'unknown') NOT IN ('not_accepted', 'refused'))"
        )
    };
}
pub(super) use may_have_left;

/// Why a message failed that WhatsApp took no more, since its person has not written for a day.
pub const WINDOW_CLOSED: &str = "window closed";

/// A message to be planned.
#[derive(Debug, Clone, serde::Serialize)]
pub struct New {
    pub contact: i64,
    pub family: String,
    pub person: String,
    pub kind: &'static str,
    pub cause: String,
    pub channel: &'static str,
    pub wording: Option<String>,
    pub locale: String,
    pub due_at: i64,
    pub expires_at: i64,
}

#[derive(Debug, Clone)]
pub struct Route<'a> {
    pub campaign: Option<i64>,
    pub revision: Option<i64>,
    pub gateway: &'a str,
    pub sender: &'a str,
}

/// Plans these messages as one batch. What the unique keys refuse (asked already, the same act twice) is left out.
/// Answers the batch's id and that of its first message where at least one was planned.
pub async fn plan(tx: &mut Tx, controller: &str, route: &Route<'_>, new: &[New], now: i64) -> Result<Option<(i64, i64)>> {
    if new.is_empty() {
        return Ok(None);
    }
    let rows = json(new);
    // Answers to a person's own act do not wait for their campaign, so their batch is none of its.
    let paced = new.iter().all(|m| m.kind == Kind::Ask.code() || m.kind == Kind::Reminder.code());
    let batch: i64 = fetch_value!(
        tx,
        "INSERT INTO batches (controller, campaign_id, gateway, sender, lo, hi, next_due, open) VALUES ($1, $2, $3, $4, 0, 0, 0, 1) RETURNING id",
        controller,
        route.campaign.filter(|_| paced),
        route.gateway,
        route.sender
    )?;
    let planned = execute!(
        tx,
        "INSERT INTO messages (controller, campaign_id, revision_id, batch_id, contact_id, country, family, person, kind, cause, channel,
           gateway, sender, wording, locale, state, due_at, expires_at, created_at, changed_at)
         SELECT $2, $3, $4, $5, CAST(j.value->>'contact' AS BIGINT),
           (SELECT c.country FROM contacts c WHERE c.id = CAST(j.value->>'contact' AS BIGINT)), j.value->>'family', j.value->>'person',
           j.value->>'kind', j.value->>'cause', j.value->>'channel', $6, $7, j.value->>'wording', j.value->>'locale', 'planned',
           CAST(j.value->>'due_at' AS BIGINT), CAST(j.value->>'expires_at' AS BIGINT), $8, $8
         FROM EACH($1) WHERE true ON CONFLICT DO NOTHING",
        &rows,
        controller,
        route.campaign,
        route.revision,
        batch,
        route.gateway,
        route.sender,
        now
    )?;
    if planned == 0 {
        execute!(tx, "DELETE FROM batches WHERE id = $1", batch)?;
        return Ok(None);
    }
    let (lo,): (i64,) = fetch_one!(
        tx,
        "UPDATE batches SET (lo, hi, next_due) = (SELECT MIN(id), MAX(id) + 1, MIN(due_at) FROM messages WHERE batch_id = $1)
         WHERE id = $1 RETURNING lo",
        batch
    )?;
    Ok(Some((batch, lo)))
}

/// Whom of these [`plan`] left out of the batch that it made of them, if it made one.
pub async fn left_out(tx: &mut Tx, batch: Option<i64>, new: &[New]) -> Result<Vec<i64>> {
    let rows: Vec<(i64,)> = fetch_all!(tx, "SELECT contact_id FROM messages WHERE batch_id = $1", batch)?;
    let planned: HashSet<i64> = rows.into_iter().map(|(contact,)| contact).collect();
    Ok(new.iter().map(|message| message.contact).filter(|contact| !planned.contains(contact)).collect())
}

/// Which of these people have an ask of this family, planned or sent, and under which contact.
pub async fn asks_of(
    tx: &mut Tx,
    controller: &str,
    family: &str,
    people: impl Iterator<Item = &str>,
) -> Result<Vec<(String, i64)>> {
    // The first `kind` is said for SQLite, which takes a partial index (`messages_once`) where its condition stands in the statement as it is.
    fetch_all!(
        tx,
        "SELECT m.person, m.contact_id FROM EACH($1)
         THEN JOIN messages m ON m.controller = $2 AND m.family = $3 AND m.person = j.value->>'person'
           AND m.kind IN ('ask', 'reminder') AND m.kind = 'ask' AND m.state NOT IN ('cancelled', 'lapsed')",
        json(people.map(|person| serde_json::json!({ "person": person })).collect::<Vec<_>>()),
        controller,
        family
    )
}

/// Of these contacts, those whom a campaign under way other than `campaign` is about to ask, and its name.
pub async fn planned_elsewhere(tx: &mut Tx, contacts: &[i64], campaign: &str) -> Result<Vec<(i64, String)>> {
    fetch_all!(
        tx,
        "SELECT m.contact_id, c.name FROM messages m JOIN campaigns c ON c.id = m.campaign_id
         WHERE m.contact_id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1)) AND m.kind = 'ask' AND m.state = 'planned'
           AND c.state IN ('scheduled', 'running', 'paused') AND c.name <> $2",
        json(contacts),
        campaign
    )
}

/// What a campaign's planned asks and reminders are: each kind, channel, locale and country once.
pub async fn planned_texts(tx: &mut Tx, campaign: i64) -> Result<Vec<(String, String, String, String)>> {
    fetch_all!(
        tx,
        "SELECT DISTINCT m.kind, m.channel, m.locale, COALESCE(c.country, '') FROM messages m JOIN contacts c ON c.id = m.contact_id
         WHERE m.campaign_id = $1 AND m.state = 'planned' AND m.kind IN ('ask', 'reminder')",
        campaign
    )
}

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Batch {
    pub id: i64,
    pub campaign_id: Option<i64>,
    pub gateway: String,
    pub sender: String,
    pub lo: i64,
    pub hi: i64,
}

pub async fn batch(tx: &mut Tx, id: i64) -> Result<Option<Batch>> {
    fetch_optional!(tx, "SELECT id, campaign_id, gateway, sender, lo, hi FROM batches WHERE id = $1 AND open = 1", id)
}

/// Open batches with something due by `now`: what a crash, a retry or quiet hours left behind.
pub async fn due_batches(tx: &mut Tx, controller: &str, now: i64, limit: i64) -> Result<Vec<(i64,)>> {
    due_beside(tx, controller, &[], now, limit).await
}

/// As [`due_batches`], but of these campaigns none.
pub async fn due_beside(tx: &mut Tx, controller: &str, campaigns: &[i64], now: i64, limit: i64) -> Result<Vec<(i64,)>> {
    fetch_all!(
        tx,
        "SELECT b.id FROM batches b LEFT JOIN campaigns c ON c.id = b.campaign_id
         WHERE b.controller = $1 AND b.open = 1 AND b.next_due <= $2
           AND (c.id IS NULL OR (c.state = 'running' AND c.id NOT IN (SELECT CAST(j.value AS BIGINT) FROM EACH($4))))
         ORDER BY b.next_due LIMIT $3",
        controller,
        now,
        limit,
        json(campaigns)
    )
}

/// Of these the ones that are no campaign's: answers to what people did themselves, and test messages.
pub async fn due_answers(tx: &mut Tx, controller: &str, now: i64, limit: i64) -> Result<Vec<(i64,)>> {
    fetch_all!(
        tx,
        "SELECT id FROM batches WHERE controller = $1 AND open = 1 AND next_due <= $2 AND campaign_id IS NULL ORDER BY next_due LIMIT $3",
        controller,
        now,
        limit
    )
}

/// Sets when a batch is worth looking at again, or closes it. Answers the time, if there is one.
pub async fn rest_batch(tx: &mut Tx, id: i64) -> Result<Option<i64>> {
    // Whoever settles a message of this batch back to planned waits for us, or we for them.
    let _: Option<(i64,)> = fetch_optional!(tx, "SELECT id FROM batches WHERE id = $1 FOR UPDATE", id)?;
    let next: Option<(Option<i64>,)> =
        fetch_optional!(tx, "SELECT MIN(due_at) FROM messages WHERE batch_id = $1 AND state = 'planned'", id)?;
    let next = next.and_then(|(due,)| due);
    match next {
        Some(due) => execute!(tx, "UPDATE batches SET next_due = $2 WHERE id = $1", id, due)?,
        // A message in flight may come back to planned, which opens the batch again.
        None => execute!(tx, "UPDATE batches SET open = 0 WHERE id = $1", id)?,
    };
    Ok(next)
}

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Due {
    pub id: i64,
    pub contact_id: i64,
    pub campaign_id: Option<i64>,
    pub revision_id: Option<i64>,
    pub family: String,
    pub kind: String,
    pub cause: String,
    pub channel: String,
    pub wording: Option<String>,
    pub locale: String,
    pub tries: i64,
    pub created_at: i64,
    pub expires_at: i64,
}

/// How the cause of an acknowledgement begins that answers a no which was not said before. No gateway's name has a slash.
pub const NEW_NO: &str = "event:no/";

impl Due {
    pub fn kind(&self) -> Option<Kind> {
        Kind::parse(&self.kind)
    }

    /// Whether a message the person sent on this channel made it: WhatsApp takes free text then, for 24 hours.
    pub fn answers_a_message(&self) -> bool {
        self.cause.starts_with("event:")
    }

    /// Whether it tells somebody that their consent is complete.
    pub fn acknowledges_a_grant(&self) -> bool {
        self.wording.as_deref() == Some("ack_yes")
    }

    /// Whether it tells somebody that their no was heard, and that no was not said before.
    pub fn acknowledges_a_new_no(&self) -> bool {
        self.cause.starts_with(NEW_NO)
    }
}

/// Up to `limit` due messages of a batch, locked for this transaction; rows another worker is at are passed over.
pub async fn due(tx: &mut Tx, batch: &Batch, now: i64, limit: i64) -> Result<Vec<Due>> {
    fetch_all!(
        tx,
        "SELECT id, contact_id, campaign_id, revision_id, family, kind, cause, channel, wording, locale, tries, created_at, expires_at
         FROM messages WHERE id >= $1 AND id < $2 AND batch_id = $3 AND state = 'planned' AND due_at <= $4 ORDER BY id LIMIT $5
         FOR UPDATE SKIP LOCKED",
        batch.lo,
        batch.hi,
        batch.id,
        now,
        limit
    )
}

/// Cancels those of these asks and reminders that are of an earlier revision than the campaign's: they were on their way when the new one
/// started, and came back. An ask between two legs goes on. Answers which they are.
pub async fn replaced(tx: &mut Tx, revision: i64, due: &[i64], now: i64) -> Result<Vec<i64>> {
    let rows: Vec<(i64,)> = fetch_all!(
        tx,
        "UPDATE messages SET state = 'cancelled', reason = 'planned anew', changed_at = $3
         WHERE id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1)) AND revision_id <> $2
           AND state = 'planned' AND kind IN ('ask', 'reminder')
           AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = messages.id AND a.channel <> messages.channel)
         RETURNING id",
        json(due),
        revision,
        now
    )?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// One message about to be sent.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Claim {
    pub message: i64,
    pub contact: i64,
    pub reference: String,
    pub token_hash: Option<String>,
    pub wording_hash: Option<String>,
    pub send_before: i64,
    /// Asks and reminders: what marks the person as asked.
    pub marks: Vec<(String, i64)>,
    /// What it may cost, in millionths of the campaign's currency; 0 where it is no ask or no price is known.
    pub cost: i64,
    /// Asks and reminders: the basis the decision found, for the proof.
    pub basis: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub struct Claimant<'a> {
    pub slice: &'a str,
    pub worker: &'a str,
    pub gateway: &'a str,
}

/// `planned → sending` by compare-and-set, with the attempt row. Answers (message, attempt) of those it won; nobody else
/// may send them.
pub async fn claim(tx: &mut Tx, controller: &str, who: &Claimant<'_>, claims: &[Claim], now: i64) -> Result<Vec<(i64, i64)>> {
    let rows = json(claims);
    execute!(
        tx,
        "UPDATE messages SET state = 'sending', tries = tries + 1, changed_at = $2
         WHERE state = 'planned' AND id IN (SELECT CAST(j.value->>'message' AS BIGINT) FROM EACH($1))
           AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = messages.id AND a.outcome IS NULL)",
        &rows,
        now
    )?;
    fetch_all!(
        tx,
        "INSERT INTO attempts (controller, message_id, campaign_id, kind, slice, worker, gateway, sender, channel, reference, token_hash,
           wording_hash, claimed_at, send_before, cost, basis)
         SELECT $2, m.id, m.campaign_id, m.kind, $3, $4, $5, m.sender, m.channel, j.value->>'reference', j.value->>'token_hash',
           j.value->>'wording_hash', $6, CAST(j.value->>'send_before' AS BIGINT), CAST(j.value->>'cost' AS BIGINT),
           j.value->>'basis'
         FROM EACH($1) THEN JOIN messages m ON m.id = CAST(j.value->>'message' AS BIGINT) AND m.state = 'sending' AND m.changed_at = $6
         WHERE NOT EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = m.id AND a.outcome IS NULL)
         RETURNING message_id, id",
        &rows,
        controller,
        who.slice,
        who.worker,
        who.gateway,
        now
    )
}

/// Marks these people as asked, under every keyed hash they are known by; the mark outlives their being forgotten by age.
pub async fn mark_asked(tx: &mut Tx, controller: &str, family: &str, kind: Kind, claims: &[&Claim], now: i64) -> Result<()> {
    let rows = json(
        claims
            .iter()
            .flat_map(|c| c.marks.iter().map(move |(mac, key)| serde_json::json!({"mac": mac, "key": key, "message": c.message})))
            .collect::<Vec<_>>(),
    );
    execute!(
        tx,
        "INSERT INTO asked_marks (controller, mac, key_id, family, kind, asked_at, message_id)
         SELECT $2, j.value->>'mac', CAST(j.value->>'key' AS BIGINT), $3, $4, $5, CAST(j.value->>'message' AS BIGINT)
         FROM EACH($1) WHERE true ON CONFLICT DO NOTHING",
        &rows,
        controller,
        family,
        kind.code(),
        now
    )?;
    Ok(())
}

/// What was asked under some ids and numbers counts under others of the same human, too.
pub async fn hand_on_marks(tx: &mut Tx, controller: &str, from: &[Keyed], to: &[Keyed]) -> Result<()> {
    let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (from, to)));
    execute!(
        tx,
        "INSERT INTO asked_marks (controller, mac, key_id, family, kind, asked_at, message_id)
         SELECT a.controller, j.value->>'to', CAST(j.value->>'to_key' AS BIGINT), a.family, a.kind, a.asked_at, a.message_id FROM EACH($1)
         THEN JOIN asked_marks a ON a.controller = $2 AND a.mac = j.value->>'mac' AND a.key_id = CAST(j.value->>'key' AS BIGINT)
         WHERE true ON CONFLICT DO NOTHING",
        json(
            pairs
                .map(|(from, to)| serde_json::json!({ "mac": from.mac, "key": from.key_id, "to": to.mac, "to_key": to.key_id }))
                .collect::<Vec<_>>()
        ),
        controller
    )?;
    Ok(())
}

/// The messages whose attempts carry this slice id: read back after a COMMIT in doubt.
pub async fn claimed_by_slice(tx: &mut Tx, slice: &str) -> Result<Vec<(i64, i64)>> {
    fetch_all!(tx, "SELECT message_id, id FROM attempts WHERE slice = $1", slice)
}

/// A message that will not be sent now: skipped for good, or waiting.
#[derive(Debug, Clone, serde::Serialize)]
pub struct NotNow {
    pub message: i64,
    /// `None`: stays planned until `due_at`.
    pub state: Option<&'static str>,
    pub reason: &'static str,
    pub due_at: i64,
}

pub async fn put_off(tx: &mut Tx, rows: &[NotNow], now: i64) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    execute!(
        tx,
        "UPDATE messages SET state = COALESCE(w.state, messages.state), reason = w.reason, due_at = w.due_at, changed_at = $2
         FROM (SELECT CAST(j.value->>'message' AS BIGINT) AS id, j.value->>'state' AS state, j.value->>'reason' AS reason,
                 CAST(j.value->>'due_at' AS BIGINT) AS due_at FROM EACH($1)) AS w
         WHERE messages.id = w.id AND messages.state = 'planned'",
        &json(rows),
        now
    )?;
    Ok(())
}

/// What became of one attempt.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Settled {
    pub attempt: i64,
    pub message: i64,
    /// The code of an [`Outcome`].
    pub outcome: &'static str,
    pub provider_id: Option<String>,
    pub error: Option<String>,
    /// Why the message is in that state, where the error is not enough.
    pub reason: Option<&'static str>,
    pub state: &'static str,
    /// For `planned`: when to try again.
    pub due_at: i64,
    /// 1 where the try did not reach the gateway, and so is none.
    pub uncounted: i64,
}

/// Stores outcomes. A state that a receipt or reply has moved on meanwhile stays; a late answer still settles an `unknown`, and where it proves
/// that nothing of the message was ever accepted, the message is planned again; one whose earlier try by the same channel a receipt proved to be taken
/// meanwhile is accepted, whatever became of this one (what another channel took and proved not to reach is another leg). Answers the attempts that had no outcome until now: of any other
/// this is said again, after a COMMIT whose answer was lost, and what its message is doing meanwhile is another attempt's.
pub async fn settle(tx: &mut Tx, rows: &[Settled], now: i64) -> Result<HashSet<i64>> {
    let settled: Vec<(i64,)> = fetch_all!(
        tx,
        "UPDATE attempts SET outcome = w.outcome, provider_id = COALESCE(w.provider_id, attempts.provider_id), error = w.error, outcome_at = $2
         FROM (SELECT CAST(j.value->>'attempt' AS BIGINT) AS attempt, j.value->>'outcome' AS outcome, j.value->>'provider_id' AS provider_id,
                 j.value->>'error' AS error FROM EACH($1)) AS w
         WHERE attempts.id = w.attempt AND (attempts.outcome IS NULL OR (attempts.outcome = 'unknown' AND w.outcome <> 'unknown')) RETURNING id",
        json(rows),
        now
    )?;
    let settled: HashSet<i64> = settled.into_iter().map(|(attempt,)| attempt).collect();
    let rows: Vec<&Settled> = rows.iter().filter(|row| settled.contains(&row.attempt)).collect();
    execute!(
        tx,
        concat!(
            "UPDATE messages SET state = CASE WHEN w.taken THEN 'accepted' ELSE w.state END,
           reason = CASE WHEN w.taken THEN 'the gateway took an earlier try after all' ELSE COALESCE(w.reason, w.error) END,
           changed_at = $2, tries = messages.tries - w.uncounted,
           due_at = CASE WHEN w.state = 'planned' THEN w.due_at ELSE messages.due_at END
         FROM (SELECT CAST(j.value->>'message' AS BIGINT) AS id, CAST(j.value->>'attempt' AS BIGINT) AS attempt,
                 j.value->>'state' AS state, j.value->>'error' AS error, j.value->>'reason' AS reason, CAST(j.value->>'uncounted' AS BIGINT) AS uncounted,
                 CAST(j.value->>'due_at' AS BIGINT) AS due_at, j.value->>'outcome' IN ('not_accepted', 'refused') AND EXISTS (
                   SELECT 1 FROM attempts own JOIN attempts a ON a.message_id = own.message_id AND a.channel = own.channel AND a.outcome = 'accepted'
                   WHERE own.id = CAST(j.value->>'attempt' AS BIGINT)) AS taken
               FROM EACH($1)) AS w
         WHERE messages.id = w.id AND w.attempt = (SELECT MAX(a.id) FROM attempts a WHERE a.message_id = messages.id)
           AND (messages.state = 'sending' OR (messages.state = 'unknown' AND (w.state <> 'planned' OR NOT ",
            may_have_left!("messages"),
            ")))"
        ),
        json(&rows),
        now
    )?;
    // Proved not accepted: the person was not asked. Marks and the conversation that the claim opened go with it.
    let undone: Vec<i64> = rows.iter().filter(|r| Outcome::turned_down(Some(r.outcome))).map(|r| r.message).collect();
    if !undone.is_empty() {
        undo(tx, &json(undone)).await?;
    }
    // A first yes may count its second step from now on.
    let confirms: Vec<(i64,)> = fetch_all!(
        tx,
        "SELECT id FROM messages WHERE kind IN ('confirm', 'help') AND id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1))",
        json(rows.iter().filter(|r| r.outcome == "accepted").map(|r| r.message).collect::<Vec<_>>())
    )?;
    for (confirm,) in confirms {
        conversations::confirmation_arrived(tx, confirm, now).await?;
    }
    Ok(settled)
}

/// Of these messages, those of people who were erased since.
pub async fn erased_among(tx: &mut Tx, messages: &[i64]) -> Result<HashSet<i64>> {
    let rows: Vec<(i64,)> = fetch_all!(
        tx,
        "SELECT m.id FROM EACH($1) THEN JOIN messages m ON m.id = CAST(j.value AS BIGINT) AND m.person LIKE 'erased-%'",
        json(messages)
    )?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// What a provider calls these messages, learned by the answer to a send that an erasure overtook, goes again.
pub async fn forget_names(tx: &mut Tx, messages: &[i64]) -> Result<()> {
    execute!(
        tx,
        "UPDATE attempts SET provider_id = NULL WHERE message_id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1))",
        json(messages)
    )?;
    Ok(())
}

/// Nobody was asked by these messages.
async fn undo(tx: &mut Tx, undone: &str) -> Result<()> {
    execute!(
        tx,
        concat!(
            "DELETE FROM asked_marks WHERE message_id IN (
           SELECT m.id FROM messages m WHERE m.id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1)) AND m.state IN ('planned', 'failed')
             AND NOT ",
            may_have_left!("m"),
            ")"
        ),
        undone
    )?;
    execute!(
        tx,
        "DELETE FROM conversations WHERE state = 'asked' AND closed_at IS NULL AND message_id IN (
           SELECT m.id FROM messages m WHERE m.id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1)) AND m.state IN ('planned', 'failed'))",
        undone
    )?;
    execute!(
        tx,
        "UPDATE batches SET open = 1 WHERE id IN (
           SELECT m.batch_id FROM messages m WHERE m.id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1)) AND m.state = 'planned')",
        undone
    )?;
    Ok(())
}

/// Gives back to its campaign what was reserved for attempts proved not accepted. Not for `unknown` ones: they may cost.
pub async fn release(tx: &mut Tx, attempts: &[i64]) -> Result<()> {
    let attempts = json(attempts);
    let free: Vec<(i64, i64)> = fetch_all!(
        tx,
        "SELECT m.campaign_id, CAST(SUM(a.cost) AS BIGINT) FROM attempts a JOIN messages m ON m.id = a.message_id
         WHERE a.id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1)) AND a.outcome IN ('not_accepted', 'refused') AND a.cost > 0
           AND m.campaign_id IS NOT NULL
         GROUP BY m.campaign_id",
        &attempts
    )?;
    for (campaign, cost) in free {
        execute!(tx, "UPDATE campaigns SET reserved = reserved - $2 WHERE id = $1", campaign, cost)?;
    }
    execute!(
        tx,
        "UPDATE attempts SET cost = 0 WHERE id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1)) AND outcome IN ('not_accepted', 'refused')",
        &attempts
    )?;
    Ok(())
}

/// Microseconds after which an attempt of a living worker is lost too: a request takes seconds, so its outcome is gone. A late
/// answer still lands.
const LONGEST_FLIGHT: i64 = 120_000_000;

/// Attempts still in flight of workers that are gone: their outcome is not known and never will be by sending again.
/// `sole`: `None` takes every worker without a live lease, `Some` all attempts but that worker's (a new start on SQLite).
pub async fn abandon(tx: &mut Tx, lease_db: i64, sole: Option<&str>, now: i64) -> Result<u64> {
    let lost = match sole {
        Some(me) => execute!(
            tx,
            "UPDATE attempts SET outcome = 'unknown', error = 'worker lost', outcome_at = $1 WHERE outcome IS NULL AND worker <> $2",
            now,
            me
        )?,
        None => execute!(
            tx,
            "UPDATE attempts SET outcome = 'unknown', error = 'worker lost', outcome_at = $1 WHERE outcome IS NULL
               AND (claimed_at < $1 - $3
                 OR NOT EXISTS (SELECT 1 FROM leases w WHERE w.id = attempts.worker AND w.renewed_db > DBNOW() - $2))",
            now,
            lease_db,
            LONGEST_FLIGHT
        )?,
    };
    execute!(
        tx,
        "UPDATE messages SET state = 'unknown', reason = 'worker lost', changed_at = $1 WHERE state = 'sending'
           AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = messages.id AND a.outcome IS NULL)",
        now
    )?;
    Ok(lost)
}

/// An attempt as a receipt or a visitor of the page finds it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Attempt {
    pub id: i64,
    pub message_id: i64,
    pub reference: String,
    pub wording_hash: Option<String>,
    pub claimed_at: i64,
    pub outcome: Option<String>,
    pub contact_id: i64,
    pub campaign_id: Option<i64>,
    pub revision_id: Option<i64>,
    pub kind: String,
    pub locale: String,
    pub state: String,
    /// The channel and the sender of this leg; the message itself may have moved on to another.
    pub channel: String,
    pub sender: String,
    /// The message went to another channel after this leg failed.
    pub moved_on: bool,
    pub basis: Option<String>,
}

impl Attempt {
    pub fn channel(&self) -> Channel {
        Channel::parse(&self.channel).unwrap_or(Channel::Sms)
    }

    pub fn state(&self) -> State {
        State::parse(&self.state).unwrap_or(State::Unknown)
    }

    /// Whether the gateway's answer said that it did not take it.
    pub fn was_turned_down(&self) -> bool {
        Outcome::turned_down(self.outcome.as_deref())
    }
}

macro_rules! attempts {
    ($before:literal, $($after:expr),+) => {
        concat!(
            "SELECT ",
            $before,
            "a.id, a.message_id, a.reference, a.wording_hash, a.claimed_at, a.outcome, m.contact_id, m.campaign_id, m.revision_id, m.kind,
               m.locale, m.state, a.channel, a.sender, a.channel <> m.channel AS moved_on, a.basis FROM ",
            $($after),+
        )
    };
}

macro_rules! attempt_where {
    ($tx:expr, $condition:literal, $($bind:expr),*) => {
        fetch_optional!(
            $tx,
            attempts!("", "attempts a JOIN messages m ON m.id = a.message_id WHERE ", $condition, " ORDER BY a.id DESC LIMIT 1"),
            $($bind),*
        )
    };
}

/// An attempt under the name it was asked for by.
#[derive(Debug, sqlx::FromRow)]
struct Named {
    name: String,
    #[sqlx(flatten)]
    attempt: Attempt,
}

/// The newest of each name.
fn newest_by_name(rows: Vec<Named>) -> HashMap<String, Attempt> {
    rows.into_iter().map(|row| (row.name, row.attempt)).collect()
}

/// The message whose link it is; of one that an operator handed over, what stands in its place.
pub async fn attempt_by_token(tx: &mut Tx, controller: &str, token_hash: &str) -> Result<Option<Attempt>> {
    match attempt_where!(tx, "a.controller = $1 AND a.token_hash = $2", controller, token_hash)? {
        Some(attempt) => Ok(Some(attempt)),
        None => handed::by_token(tx, controller, token_hash).await,
    }
}

pub async fn attempt_by_reference(tx: &mut Tx, controller: &str, reference: &str) -> Result<Option<Attempt>> {
    attempt_where!(tx, "a.controller = $1 AND a.reference = $2", controller, reference)
}

pub async fn attempt_by_provider_id(tx: &mut Tx, gateway: &str, provider_id: &str) -> Result<Option<Attempt>> {
    attempt_where!(tx, "a.gateway = $1 AND a.provider_id = $2", gateway, provider_id)
}

/// As [`attempt_by_reference`], of many.
pub async fn attempts_by_reference(tx: &mut Tx, controller: &str, references: &[&str]) -> Result<HashMap<String, Attempt>> {
    let rows: Vec<Named> = fetch_all!(
        tx,
        attempts!(
            "a.reference AS name, ",
            "EACH($1) THEN JOIN attempts a ON a.controller = $2 AND a.reference = j.value->>'name'
             JOIN messages m ON m.id = a.message_id ORDER BY a.id"
        ),
        names(references),
        controller
    )?;
    Ok(newest_by_name(rows))
}

/// Until when a receipt can be about a message, microseconds after its claim. Short ids come round (an SMSC may count in 16 bits, or from
/// the start again), and then the receipt is about a message whose answer has not taught us its id yet. An SMS is valid for two days at
/// most, or for a week by the usual default of an SMSC that takes no validity, and then its receipt may wait for us for some days.
pub const SMS_TOLD: i64 = 10 * DAY;
/// WhatsApp keeps for 30 days what it cannot deliver.
pub const WHATSAPP_TOLD: i64 = 35 * DAY;

/// As [`attempt_by_provider_id`], of many, as far as a receipt that comes now can be about them.
pub async fn attempts_by_provider_id(
    tx: &mut Tx,
    gateway: &str,
    provider_ids: &[&str],
    now: i64,
) -> Result<HashMap<String, Attempt>> {
    let rows: Vec<Named> = fetch_all!(
        tx,
        attempts!(
            "a.provider_id AS name, ",
            "EACH($1) THEN JOIN attempts a ON a.gateway = $2 AND a.provider_id = j.value->>'name'
               AND a.claimed_at >= CASE a.channel WHEN 'whatsapp' THEN $4 ELSE $3 END
             JOIN messages m ON m.id = a.message_id ORDER BY a.id"
        ),
        names(provider_ids),
        gateway,
        now - SMS_TOLD,
        now - WHATSAPP_TOLD
    )?;
    Ok(newest_by_name(rows))
}

fn names(names: &[&str]) -> String {
    json(names.iter().map(|name| serde_json::json!({ "name": name })).collect::<Vec<_>>())
}

/// The newest attempt that asked this person: what a reply answers.
pub async fn newest_ask(tx: &mut Tx, contact: i64) -> Result<Option<Attempt>> {
    attempt_where!(
        tx,
        "m.contact_id = $1 AND m.kind IN ('ask', 'reminder') AND COALESCE(a.outcome, '') NOT IN ('not_accepted', 'refused')",
        contact
    )
}

/// The newest attempt to send this message.
pub async fn newest_attempt(tx: &mut Tx, message: i64) -> Result<Option<Attempt>> {
    attempt_where!(tx, "a.message_id = $1", message)
}

/// Gives an attempt the link behind this token's hash in place of its own, which its text did not carry.
pub async fn relink(tx: &mut Tx, attempt: i64, token_hash: &str) -> Result<()> {
    execute!(tx, "UPDATE attempts SET token_hash = $2 WHERE id = $1", attempt, token_hash)?;
    Ok(())
}

/// A message's state and, where it has one, the reason for it.
pub async fn state_and_reason(tx: &mut Tx, message: i64) -> Result<Option<(String, Option<String>)>> {
    fetch_optional!(tx, "SELECT state, reason FROM messages WHERE id = $1", message)
}

/// Compare-and-set; false where the message has moved on meanwhile.
pub async fn set_state(tx: &mut Tx, message: i64, from: State, to: State, reason: Option<&str>, now: i64) -> Result<bool> {
    Ok(execute!(
        tx,
        "UPDATE messages SET state = $3, reason = COALESCE($4, reason), changed_at = $5 WHERE id = $1 AND state = $2",
        message,
        from.code(),
        to.code(),
        reason,
        now
    )? == 1)
}

/// A message's way from one state to the next.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Move {
    pub message: i64,
    pub from: &'static str,
    pub to: &'static str,
}

/// As [`set_state`], of many: compare-and-set. Answers which were moved.
pub async fn move_on(tx: &mut Tx, moves: &[Move], now: i64) -> Result<Vec<i64>> {
    if moves.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(i64,)> = fetch_all!(
        tx,
        "UPDATE messages SET state = w.next, changed_at = $2
         FROM (SELECT CAST(j.value->>'message' AS BIGINT) AS id, j.value->>'from' AS prior, j.value->>'to' AS next FROM EACH($1)) AS w
         WHERE messages.id = w.id AND messages.state = w.prior RETURNING messages.id",
        json(moves),
        now
    )?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// The person's own act proves that the ask arrived: an `unknown` one is settled by it, never by sending again.
pub async fn settle_by_person(tx: &mut Tx, contact: i64, now: i64) -> Result<u64> {
    execute!(
        tx,
        "UPDATE messages SET state = 'delivered', reason = 'the person answered', changed_at = $2
         WHERE contact_id = $1 AND state = 'unknown' AND kind IN ('ask', 'reminder')",
        contact,
        now
    )
}

/// A message planned for a person, with one attempt to send it where there was one.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Story {
    pub id: i64,
    pub campaign: Option<String>,
    pub kind: String,
    /// Of the attempt; the message itself may have moved on to another.
    pub channel: String,
    pub planned_channel: String,
    pub sender: String,
    pub state: String,
    pub reason: Option<String>,
    pub due_at: i64,
    pub created_at: i64,
    pub changed_at: i64,
    pub attempt: Option<i64>,
    pub gateway: Option<String>,
    pub reference: Option<String>,
    pub outcome: Option<String>,
    pub error: Option<String>,
    pub claimed_at: Option<i64>,
    /// The basis that the claim found; none of what is no ask, and of attempts of an earlier version.
    pub basis: Option<String>,
    pub moved_on: bool,
    /// Of an ask: what the person answered, who said so, when.
    pub answer: Option<String>,
    pub answer_by: Option<String>,
    pub answered_at: Option<i64>,
    pub revision: Option<i64>,
    /// The published text of the attempt, with its placeholders, and its hash.
    pub wording: Option<String>,
    pub wording_hash: Option<String>,
    pub locale: String,
}

/// Everything ever planned for a person, every attempt by itself, for the explanation.
pub async fn story_of(tx: &mut Tx, contact: i64) -> Result<Vec<Story>> {
    fetch_all!(
        tx,
        "SELECT m.id, c.name AS campaign, m.kind, COALESCE(a.channel, m.channel) AS channel, m.channel AS planned_channel,
           COALESCE(a.sender, m.sender) AS sender, m.state, m.reason, m.due_at, m.created_at, m.changed_at, a.id AS attempt,
           a.gateway, a.reference, a.outcome, a.error, a.claimed_at, a.basis, COALESCE(a.channel <> m.channel, FALSE) AS moved_on, m.answer, m.answer_by, m.answered_at,
           m.revision_id AS revision, w.body AS wording, a.wording_hash, m.locale
         FROM messages m LEFT JOIN campaigns c ON c.id = m.campaign_id LEFT JOIN attempts a ON a.message_id = m.id
         LEFT JOIN wordings w ON w.controller = m.controller AND w.hash = a.wording_hash
         WHERE m.contact_id = $1 ORDER BY m.id, a.id",
        contact
    )
}

/// How many messages of a batch are due, counted up to `limit`.
pub async fn count_due(tx: &mut Tx, batch: &Batch, now: i64, limit: i64) -> Result<i64> {
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "SELECT COUNT(*) FROM (SELECT 1 FROM messages WHERE id >= $1 AND id < $2 AND batch_id = $3 AND state = 'planned' AND due_at <= $4
           LIMIT $5) AS d",
        batch.lo,
        batch.hi,
        batch.id,
        now,
        limit
    )?;
    Ok(row.map_or(0, |(n,)| n))
}

/// Opens every closed batch that has something planned after all.
pub async fn reopen_batches(tx: &mut Tx, controller: &str, now: i64) -> Result<u64> {
    execute!(
        tx,
        "UPDATE batches SET open = 1, next_due = $2 WHERE controller = $1 AND open = 0
           AND id IN (SELECT m.batch_id FROM messages m WHERE m.state = 'planned')",
        controller,
        now
    )
}

pub async fn postpone_batch(tx: &mut Tx, id: i64, until: i64) -> Result<()> {
    execute!(tx, "UPDATE batches SET next_due = $2 WHERE id = $1", id, until)?;
    Ok(())
}

pub async fn open_batches(tx: &mut Tx, campaign: i64) -> Result<Vec<i64>> {
    let rows: Vec<(i64,)> = fetch_all!(tx, "SELECT id FROM batches WHERE campaign_id = $1 AND open = 1 ORDER BY id", campaign)?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Of these contacts, who has an ask of the family that is known to have arrived, and on which channel: whom a reminder may remind.
pub async fn arrived_asks(tx: &mut Tx, family: &str, contacts: &[i64]) -> Result<Vec<(i64, String)>> {
    fetch_all!(
        tx,
        "SELECT m.contact_id, m.channel FROM EACH($1)
         THEN JOIN messages m ON m.contact_id = CAST(j.value AS BIGINT) AND m.kind = 'ask' AND m.family = $2
           AND m.state IN ('accepted', 'sent', 'delivered', 'read')",
        &json(contacts),
        family
    )
}

/// A receipt proves that the gateway took what its answer said it did not. What was reserved for it is not known any more.
pub async fn prove_taken(tx: &mut Tx, attempt: i64) -> Result<()> {
    execute!(tx, "UPDATE attempts SET outcome = 'accepted' WHERE id = $1 AND outcome IN ('not_accepted', 'refused')", attempt)?;
    Ok(())
}

/// Whether one of these keyed numbers bears the mark of an ask.
pub async fn is_marked(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<bool> {
    let one: Option<(i64,)> = fetch_optional!(
        tx,
        "SELECT a.message_id FROM EACH($1) THEN JOIN asked_marks a ON a.controller = $2 AND a.mac = j.value->>'mac'
           AND a.key_id = CAST(j.value->>'key' AS BIGINT) LIMIT 1",
        &json(keyed),
        controller
    )?;
    Ok(one.is_some())
}

/// Marks a person as asked again: a message that counted as refused has arrived after all.
pub async fn mark_arrived(tx: &mut Tx, message: i64) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO asked_marks (controller, mac, key_id, family, kind, asked_at, message_id)
         SELECT m.controller, n.mac, n.key_id, m.family, m.kind, m.created_at, m.id
         FROM messages m JOIN number_macs n ON n.contact_id = m.contact_id AND n.key_id <> $2
         WHERE m.id = $1 AND m.kind IN ('ask', 'reminder')
         UNION
         SELECT m.controller, c.human, 0, m.family, m.kind, m.created_at, m.id
         FROM messages m JOIN contacts c ON c.id = m.contact_id AND c.human IS NOT NULL WHERE m.id = $1 AND m.kind IN ('ask', 'reminder')
         ON CONFLICT DO NOTHING",
        message,
        USER
    )?;
    Ok(())
}
