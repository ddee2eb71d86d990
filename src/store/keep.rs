//! What a database hands on to an older copy of itself before that takes its place: who belongs together, every no that stands, whom was
//! asked and by which link, who answered, what consent has ended, and unclear replies that wait. Read by pages, since there may be millions, and written back by chunks.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Result, Tx, execute, fetch_all, fetch_optional, json};
use crate::vault::Keyed;

/// A keyed number, or an id that lost in a merge, and the human it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Tied {
    pub mac: String,
    pub key_id: i64,
    pub human: String,
}

/// A no that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct No {
    pub mac: String,
    pub key_id: i64,
    pub scope: String,
    pub reason: String,
    pub at: i64,
    /// The day on which it was said, as a list says.
    #[serde(default)]
    pub said_on: Option<String>,
    /// Microseconds; none in what an earlier version kept.
    #[serde(default)]
    pub learned_at: Option<i64>,
}

/// A no and its id, for the next page.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct NoRow {
    pub id: i64,
    #[sqlx(flatten)]
    pub no: No,
}

/// The mark of an ask or a reminder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Asked {
    pub mac: String,
    pub key_id: i64,
    pub family: String,
    pub kind: String,
    pub asked_at: i64,
    pub message_id: i64,
}

/// A keyed number whose person answered, and when last: of a yes the proof stays in the database kept aside, and it is no consent here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Answered {
    pub mac: String,
    pub key_id: i64,
    /// Microseconds.
    pub at: i64,
}

/// How the mark of somebody who answered since the copy is known among those of asks. It is of no message.
pub const ANSWERED: &str = "answered";

/// The link in a message that was sent, by the hash of its token, and the keyed number that got it: one for each key, since a copy may be
/// older than the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Link {
    pub token_hash: String,
    pub mac: String,
    pub key_id: i64,
    pub locale: String,
    pub claimed_at: i64,
}

/// A permission that was refused, or granted once and is no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Ended {
    pub subject: String,
    pub channel: String,
    pub purpose: String,
    /// Microseconds; none in what an earlier version kept.
    #[serde(default)]
    pub since: Option<i64>,
}

/// A first yes that waits for its second step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pending {
    pub subject: String,
    pub first_yes_at: i64,
    /// JSON of what it names.
    pub pending: String,
}

/// When somebody wants to be written to, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Chosen {
    pub subject: String,
    pub times: String,
}

/// A reply that waits for an operator's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Unclear {
    pub gateway: String,
    pub event_id: String,
    pub mac: String,
    pub key_id: i64,
    pub to_sender: String,
    pub channel: String,
    pub body_enc: String,
    pub intent: String,
    pub at: i64,
    pub received_at: i64,
}

/// An operator's word about a reply that had waited for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Resolved {
    pub gateway: String,
    pub event_id: String,
    /// `stop`, `nothing`
    pub verdict: String,
    pub resolved_by: String,
}

pub async fn tied_after(tx: &mut Tx, controller: &str, after: (&str, i64), limit: i64) -> Result<Vec<Tied>> {
    fetch_all!(
        tx,
        "SELECT w.mac, w.key_id, w.human FROM (
           SELECT n.mac, n.key_id, c.human FROM number_macs n JOIN contacts c ON c.id = n.contact_id
           WHERE n.controller = $1 AND n.mac >= $2 AND c.human IS NOT NULL
           UNION
           SELECT h.alias, 0, h.human FROM humans h WHERE h.controller = $1 AND h.alias >= $2 AND h.alias <> h.human) AS w
         WHERE w.mac > $2 OR w.key_id > $3 ORDER BY w.mac, w.key_id LIMIT $4",
        controller,
        after.0,
        after.1,
        limit
    )
}

pub async fn noes_after(tx: &mut Tx, controller: &str, after: i64, limit: i64) -> Result<Vec<NoRow>> {
    fetch_all!(
        tx,
        // In the order of their ids, not by an index of the controller's, which would be read and sorted whole for each page.
        "SELECT id, mac, key_id, scope, reason, at, said_on, learned_at FROM suppressions
         WHERE controller || '' = $1 AND id > $2 AND lifted_at IS NULL ORDER BY id LIMIT $3",
        controller,
        after,
        limit
    )
}

pub async fn asked_after(tx: &mut Tx, controller: &str, after: (i64, &str, &str), limit: i64) -> Result<Vec<Asked>> {
    fetch_all!(
        tx,
        // Not those of an ask between two legs: of the first it is proved that it reached nobody.
        "SELECT mac, key_id, family, kind, asked_at, message_id FROM asked_marks
         WHERE controller || '' = $1 AND (message_id, mac, kind) > ($2, $3, $4)
           AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.id = asked_marks.message_id AND m.state = 'planned')
         ORDER BY message_id, mac, kind LIMIT $5",
        controller,
        after.0,
        after.1,
        after.2,
        limit
    )
}

/// Of messages of this database, of those that were handed over, and of those that it knows from a restore of its own.
pub async fn links_after(tx: &mut Tx, controller: &str, after: (&str, &str), limit: i64) -> Result<Vec<Link>> {
    fetch_all!(
        tx,
        "SELECT w.token_hash, w.mac, w.key_id, w.locale, w.claimed_at FROM (
           SELECT * FROM (
             SELECT a.token_hash, n.mac, n.key_id, m.locale, a.claimed_at FROM attempts a
             THEN JOIN messages m ON m.id = a.message_id AND m.kind <> 'test'
             THEN JOIN number_macs n ON n.contact_id = m.contact_id
             WHERE a.controller = $1 AND a.token_hash >= $2 AND (a.token_hash > $2 OR n.mac > $3)
             ORDER BY a.token_hash, n.mac LIMIT $4) AS sent
           UNION ALL
           SELECT h.token_hash, n.mac, n.key_id, h.locale, h.at FROM handed_links h JOIN number_macs n ON n.contact_id = h.contact_id
           WHERE h.controller = $1 AND h.token_hash >= $2 AND (h.token_hash > $2 OR n.mac > $3)
           UNION ALL
           SELECT token_hash, mac, key_id, locale, claimed_at FROM links
           WHERE controller = $1 AND token_hash >= $2 AND (token_hash > $2 OR mac > $3)) AS w
         ORDER BY w.token_hash, w.mac LIMIT $4",
        controller,
        after.0,
        after.1,
        limit
    )
}

pub async fn ended_after(tx: &mut Tx, controller: &str, after: (&str, &str, &str), limit: i64) -> Result<Vec<Ended>> {
    fetch_all!(
        tx,
        "SELECT subject, channel, purpose, since FROM preferences
         WHERE controller = $1 AND state <> 'granted' AND (subject, channel, purpose) > ($2, $3, $4)
         ORDER BY subject, channel, purpose LIMIT $5",
        controller,
        after.0,
        after.1,
        after.2,
        limit
    )
}

pub async fn times_after(tx: &mut Tx, controller: &str, after: &str, limit: i64) -> Result<Vec<Chosen>> {
    fetch_all!(
        tx,
        "SELECT subject, times FROM contacts WHERE controller = $1 AND subject > $2 AND times IS NOT NULL ORDER BY subject LIMIT $3",
        controller,
        after,
        limit
    )
}

/// When the people `$1` (ids of contacts of controller `$2`) last said something of their own that is known here: a choice that stands or
/// stood, or the answer to an ask, also one written back by an earlier restore.
macro_rules! said {
    () => {
        "SELECT c.id, p.since AS at FROM EACH($1)
         THEN JOIN contacts c ON c.id = CAST(j.value AS BIGINT)
         THEN JOIN preferences p ON p.controller = $2 AND p.subject = c.subject AND p.state <> 'expired'
         UNION ALL
         SELECT m.contact_id, m.answered_at FROM EACH($1)
         THEN JOIN messages m ON m.contact_id = CAST(j.value AS BIGINT) AND m.controller = $2 AND m.kind = 'ask'
           AND m.answered_at IS NOT NULL AND COALESCE(m.answer_by, 'person') IN ('person', 'restore')"
    };
}

/// Of the contacts with an id above `after` and up to `to`, who answered.
pub async fn answered_between(tx: &mut Tx, controller: &str, (after, to): (i64, i64)) -> Result<Vec<Answered>> {
    let ids: Vec<(i64,)> = fetch_all!(
        tx,
        "SELECT id FROM contacts WHERE controller || '' = $1 AND id > $2 AND id <= $3 AND number_enc <> '' ORDER BY id",
        controller,
        after,
        to
    )?;
    fetch_all!(
        tx,
        concat!(
            "SELECT n.mac, n.key_id, MAX(w.at) AS at FROM (",
            said!(),
            ") AS w THEN JOIN number_macs n ON n.contact_id = w.id GROUP BY n.mac, n.key_id ORDER BY n.mac, n.key_id"
        ),
        json(ids.into_iter().map(|(id,)| id).collect::<Vec<_>>()),
        controller
    )
}

/// Marks those who answered later than is known here, also of a number that is no contact. Answers the contacts among them, and when each
/// answered.
pub async fn add_answered(tx: &mut Tx, controller: &str, answered: &[Answered]) -> Result<Vec<(i64, i64)>> {
    let known: Vec<(String, i64, i64)> = fetch_all!(
        tx,
        "SELECT n.mac, n.key_id, n.contact_id FROM EACH($1)
         THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key_id' AS BIGINT)",
        json(answered),
        controller
    )?;
    let here: HashMap<(&str, i64), i64> = known.iter().map(|(mac, key, id)| ((mac.as_str(), *key), *id)).collect();
    let ids: HashSet<i64> = here.values().copied().collect();
    let said: Vec<(i64, i64)> = fetch_all!(
        tx,
        concat!("SELECT w.id, MAX(w.at) FROM (", said!(), ") AS w GROUP BY w.id"),
        json(ids.into_iter().collect::<Vec<_>>()),
        controller
    )?;
    let said: HashMap<i64, i64> = said.into_iter().collect();
    let contact = |a: &Answered| here.get(&(a.mac.as_str(), a.key_id)).copied();
    let is_new = |a: &&Answered| contact(a).and_then(|id| said.get(&id)).is_none_or(|at| *at < a.at);
    let new: Vec<&Answered> = answered.iter().filter(is_new).collect();
    execute!(
        tx,
        "INSERT INTO asked_marks (controller, mac, key_id, family, kind, asked_at, message_id)
         SELECT $2, j.value->>'mac', CAST(j.value->>'key_id' AS BIGINT), '', $3, CAST(j.value->>'at' AS BIGINT), 0 FROM EACH($1) WHERE true
         ON CONFLICT (controller, mac, key_id, family, kind, message_id) DO UPDATE SET asked_at = excluded.asked_at
           WHERE asked_marks.asked_at < excluded.asked_at",
        json(&new),
        controller,
        ANSWERED
    )?;
    let contacts: BTreeMap<i64, i64> = new.into_iter().filter_map(|a| Some((contact(a)?, a.at))).collect();
    Ok(contacts.into_iter().collect())
}

/// When a contact last answered between a copy and its restoring, if they did.
pub async fn answered(tx: &mut Tx, contact: i64) -> Result<Option<i64>> {
    let row: Option<(Option<i64>,)> = fetch_optional!(
        tx,
        "SELECT MAX(a.asked_at) FROM number_macs n
         THEN JOIN asked_marks a ON a.controller = n.controller AND a.mac = n.mac AND a.key_id = n.key_id AND a.kind = $2
         WHERE n.contact_id = $1",
        contact,
        ANSWERED
    )?;
    Ok(row.and_then(|(at,)| at))
}

/// All of them: an operator reads each, so there are never many. Of somebody known by the oldest of their hashes: the copy may have no other, and
/// what was said under a hidden id may have become theirs since.
pub async fn unclear(tx: &mut Tx, controller: &str) -> Result<Vec<Unclear>> {
    fetch_all!(
        tx,
        "SELECT i.gateway, i.event_id, COALESCE(n.mac, i.mac) AS mac, COALESCE(n.key_id, i.key_id) AS key_id, i.to_sender, i.channel,
           i.body_enc, i.intent, i.at, i.received_at FROM inbound_events i
         LEFT JOIN number_macs n ON n.contact_id = i.contact_id
           AND n.key_id = (SELECT MIN(o.key_id) FROM number_macs o WHERE o.contact_id = i.contact_id AND o.key_id >= 0)
         WHERE i.controller = $1 AND i.effect = 'held' AND i.resolved_at IS NULL ORDER BY i.id",
        controller
    )
}

/// Each word that an operator ever said of a reply: never many either.
pub async fn resolved(tx: &mut Tx, controller: &str) -> Result<Vec<Resolved>> {
    fetch_all!(
        tx,
        "SELECT gateway, event_id, verdict, resolved_by FROM inbound_events
         WHERE controller = $1 AND effect = 'held' AND verdict IS NOT NULL AND resolved_by IS NOT NULL ORDER BY id",
        controller
    )
}

/// The reply that is meant, where it still waits here.
pub async fn waits(tx: &mut Tx, controller: &str, resolved: &Resolved) -> Result<Option<i64>> {
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "SELECT id FROM inbound_events
         WHERE controller = $1 AND gateway = $2 AND event_id = $3 AND effect = 'held' AND resolved_at IS NULL",
        controller,
        &resolved.gateway,
        &resolved.event_id
    )?;
    Ok(row.map(|(id,)| id))
}

/// Writes back noes that do not stand here, each with its own times, under every hash of its number that is known here. Answers those; what
/// follows from a no is up to `suppressions::suppress`.
pub async fn add_noes(tx: &mut Tx, controller: &str, noes: &[No], now: i64) -> Result<Vec<(Keyed, String)>> {
    // What was said again since is as new as its last time.
    execute!(
        tx,
        "WITH k AS MATERIALIZED (
           SELECT j.value->>'mac' AS mac, CAST(j.value->>'key_id' AS BIGINT) AS key_id, j.value->>'reason' AS reason,
             CAST(j.value->>'at' AS BIGINT) AS at FROM EACH($1))
         UPDATE suppressions SET at = k.at FROM k
         WHERE suppressions.controller = $2 AND suppressions.mac = k.mac AND suppressions.key_id = k.key_id
           AND suppressions.reason = k.reason AND suppressions.lifted_at IS NULL AND suppressions.at < k.at",
        &json(noes),
        controller
    )?;
    let added: Vec<(String, i64, String)> = fetch_all!(
        tx,
        // Its own rows first: another hash of the number may have a no of another time.
        "INSERT INTO suppressions (controller, mac, key_id, scope, reason, at, learned_at, said_on)
         SELECT $2, w.mac, w.key_id, w.scope, w.reason, w.at, w.learned_at, w.said_on FROM (
           SELECT 0 AS step, j.value->>'mac' AS mac, CAST(j.value->>'key_id' AS BIGINT) AS key_id, j.value->>'scope' AS scope,
             j.value->>'reason' AS reason, CAST(j.value->>'at' AS BIGINT) AS at,
             COALESCE(CAST(j.value->>'learned_at' AS BIGINT), $3) AS learned_at, j.value->>'said_on' AS said_on FROM EACH($1)
           UNION ALL
           SELECT 1, o.mac, o.key_id, j.value->>'scope', j.value->>'reason', CAST(j.value->>'at' AS BIGINT),
             COALESCE(CAST(j.value->>'learned_at' AS BIGINT), $3), j.value->>'said_on' FROM EACH($1)
           THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key_id' AS BIGINT)
           THEN JOIN number_macs o ON o.contact_id = n.contact_id) AS w
         WHERE true ORDER BY w.step ON CONFLICT DO NOTHING RETURNING mac, key_id, reason",
        &json(noes),
        controller,
        now
    )?;
    let kept: HashSet<(&str, i64)> = noes.iter().map(|no| (no.mac.as_str(), no.key_id)).collect();
    let added = added.into_iter().filter(|(mac, key_id, _)| kept.contains(&(mac.as_str(), *key_id)));
    Ok(added.map(|(mac, key_id, reason)| (Keyed { key_id, mac }, reason)).collect())
}

/// Writes back marks that are not here, as those of no message: the copy may have that message still planned, and a message does not
/// stand in its own way. Answers how many. So, too, of an ask that is marked here and might move on to another channel, as it has since.
pub async fn add_asked(tx: &mut Tx, controller: &str, asked: &[Asked]) -> Result<u64> {
    let asked = json(asked);
    let new = execute!(
        tx,
        "INSERT INTO asked_marks (controller, mac, key_id, family, kind, asked_at, message_id)
         SELECT $2, j.value->>'mac', CAST(j.value->>'key_id' AS BIGINT), j.value->>'family', j.value->>'kind',
           CAST(j.value->>'asked_at' AS BIGINT), -ABS(CAST(j.value->>'message_id' AS BIGINT)) FROM EACH($1)
         WHERE NOT EXISTS (SELECT 1 FROM asked_marks a WHERE a.controller = $2 AND a.mac = j.value->>'mac'
           AND a.key_id = CAST(j.value->>'key_id' AS BIGINT) AND a.family = j.value->>'family' AND a.kind = j.value->>'kind'
           AND a.message_id = CAST(j.value->>'message_id' AS BIGINT))
         ON CONFLICT DO NOTHING",
        &asked,
        controller
    )?;
    execute!(
        tx,
        "INSERT INTO asked_marks (controller, mac, key_id, family, kind, asked_at, message_id)
         SELECT $2, j.value->>'mac', CAST(j.value->>'key_id' AS BIGINT), j.value->>'family', j.value->>'kind',
           CAST(j.value->>'asked_at' AS BIGINT), -m.id FROM EACH($1)
         THEN JOIN messages m ON m.id = CAST(j.value->>'message_id' AS BIGINT) AND m.controller = $2 AND m.kind = 'ask'
           AND m.state IN ('planned', 'sending', 'accepted', 'sent', 'unknown', 'failed')
         WHERE true ON CONFLICT DO NOTHING",
        &asked,
        controller
    )?;
    Ok(new)
}

/// Writes back links of messages that are not here. Answers how many.
pub async fn add_links(tx: &mut Tx, controller: &str, links: &[Link]) -> Result<u64> {
    let added: Vec<(String,)> = fetch_all!(
        tx,
        "INSERT INTO links (controller, token_hash, mac, key_id, locale, claimed_at)
         SELECT $2, j.value->>'token_hash', j.value->>'mac', CAST(j.value->>'key_id' AS BIGINT), j.value->>'locale',
           CAST(j.value->>'claimed_at' AS BIGINT) FROM EACH($1)
         WHERE NOT EXISTS (SELECT 1 FROM attempts a WHERE a.controller = $2 AND a.token_hash = j.value->>'token_hash')
           AND NOT EXISTS (SELECT 1 FROM handed_links h WHERE h.controller = $2 AND h.token_hash = j.value->>'token_hash')
         ON CONFLICT DO NOTHING RETURNING token_hash",
        &json(links),
        controller
    )?;
    Ok(added.into_iter().map(|(token,)| token).collect::<HashSet<_>>().len() as u64)
}

/// A link that was written back, under each key.
pub async fn link(tx: &mut Tx, controller: &str, token_hash: &str) -> Result<Vec<Link>> {
    fetch_all!(
        tx,
        "SELECT token_hash, mac, key_id, locale, claimed_at FROM links WHERE controller = $1 AND token_hash = $2 ORDER BY mac",
        controller,
        token_hash
    )
}

/// Of these, what stands as granted here: the contact and the permission.
pub async fn still_granted(tx: &mut Tx, controller: &str, ended: &[Ended]) -> Result<Vec<(i64, String, String)>> {
    fetch_all!(
        tx,
        "SELECT c.id, p.channel, p.purpose FROM EACH($1)
         THEN JOIN preferences p ON p.controller = $2 AND p.subject = j.value->>'subject' AND p.channel = j.value->>'channel'
           AND p.purpose = j.value->>'purpose' AND p.state = 'granted'
         THEN JOIN contacts c ON c.controller = p.controller AND c.subject = p.subject
         ORDER BY c.id, p.channel, p.purpose",
        &json(ended),
        controller
    )
}

/// Of these, what ended after the question was put that waits for its first yes here: the contact and the permission.
pub async fn still_asked(tx: &mut Tx, controller: &str, ended: &[Ended]) -> Result<Vec<(i64, String, String)>> {
    fetch_all!(
        tx,
        "SELECT c.id, j.value->>'channel', j.value->>'purpose' FROM EACH($1)
         THEN JOIN contacts c ON c.controller = $2 AND c.subject = j.value->>'subject'
         THEN JOIN conversations v ON v.controller = c.controller AND v.contact_id = c.id AND v.closed_at IS NULL AND v.state = 'asked'
           AND v.opened_at < CAST(j.value->>'since' AS BIGINT)
         ORDER BY c.id",
        &json(ended),
        controller
    )
}

/// First yeses that wait for their second step, each with its contact. All of them: they wait for days at most.
pub async fn pending(tx: &mut Tx, controller: &str) -> Result<Vec<(i64, Pending)>> {
    let rows: Vec<(i64, String, i64, String)> = fetch_all!(
        tx,
        "SELECT c.id, c.subject, v.first_yes_at, v.pending FROM conversations v JOIN contacts c ON c.id = v.contact_id
         WHERE v.controller = $1 AND v.closed_at IS NULL AND v.state = 'pending' AND v.first_yes_at IS NOT NULL
           AND v.pending IS NOT NULL ORDER BY c.id",
        controller
    )?;
    let row = |(contact, subject, first_yes_at, pending)| (contact, Pending { subject, first_yes_at, pending });
    Ok(rows.into_iter().map(row).collect())
}

/// Writes back replies that are not here; `inbound::adopt` gives them to their people.
pub async fn add_unclear(tx: &mut Tx, controller: &str, unclear: &[Unclear]) -> Result<u64> {
    execute!(
        tx,
        "INSERT INTO inbound_events (controller, gateway, event_id, mac, key_id, contact_id, to_sender, channel, body_enc, intent, effect, at,
           received_at)
         SELECT $2, j.value->>'gateway', j.value->>'event_id', j.value->>'mac', CAST(j.value->>'key_id' AS BIGINT), NULL,
           j.value->>'to_sender', j.value->>'channel', j.value->>'body_enc', j.value->>'intent', 'held',
           CAST(j.value->>'at' AS BIGINT), CAST(j.value->>'received_at' AS BIGINT) FROM EACH($1) WHERE true
         ON CONFLICT DO NOTHING",
        &json(unclear),
        controller
    )
}

/// Microseconds since a worker renewed its lease, by the database's clock; none where there is none.
pub async fn worked_ago(tx: &mut Tx) -> Result<Option<i64>> {
    let row: Option<(Option<i64>,)> = fetch_optional!(tx, "SELECT CAST(DBNOW() - MAX(renewed_db) AS BIGINT) FROM leases")?;
    Ok(row.and_then(|(ago,)| ago))
}

/// Some number, encrypted, to see whether the key fits.
pub async fn a_number(tx: &mut Tx, controller: &str) -> Result<Option<String>> {
    let row: Option<(String,)> = fetch_optional!(
        tx,
        "SELECT number_enc FROM contacts WHERE controller = $1 AND number_enc <> '' ORDER BY id DESC LIMIT 1",
        controller
    )?;
    Ok(row.map(|(number,)| number))
}
