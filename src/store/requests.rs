//! People's requests about their data, and what the providers have to do about each.

use serde::{Deserialize, Serialize};

use super::{Result, Tx, execute, fetch_all, fetch_optional, fetch_values, json};
use crate::vault::Keyed;

/// A request as it is recorded, and as it goes over to a restored copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Request {
    pub kind: String,
    pub mac: String,
    pub key_id: i64,
    /// Pseudonym of the proof; none where the number was no contact.
    pub subject: Option<String>,
    pub channel: String,
    pub by_whom: String,
    pub received_at: i64,
    pub due_at: i64,
    pub done_at: Option<i64>,
}

/// Stands in `by_whom` of what nobody asked for.
const MISTAKEN: &str = "; noted by mistake: ";

impl Request {
    /// Whether it was noted by mistake: of a wrong number, or of what no letter says.
    pub fn is_mistaken(&self) -> bool {
        self.by_whom.contains(MISTAKEN)
    }
}

/// How what was noted ends without being carried out; its words stand with who noted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended<'a> {
    Answered,
    /// How the person heard why not.
    Told(&'a str),
    /// Why nobody asked for it.
    Mistaken(&'a str),
}

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Row {
    pub id: i64,
    #[sqlx(flatten)]
    pub request: Request,
}

/// A provider's part in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Part {
    pub gateway: String,
    /// JSON: what the provider finds the person's messages by.
    pub messages: String,
    pub done_at: Option<i64>,
    pub done_by: Option<String>,
}

/// Records a request; `None` where it is recorded already. One that was only noted, and is neither done nor with a provider, becomes this
/// one; so does a restriction, or its end, of the same day that was done before: what was done last stands.
pub async fn add(tx: &mut Tx, controller: &str, new: &Request, parts: &[Part]) -> Result<Option<i64>> {
    let id: Option<(i64,)> = fetch_optional!(
        tx,
        "INSERT INTO requests (controller, kind, mac, key_id, subject, channel, by_whom, received_at, due_at, done_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (controller, kind, mac, received_at) DO UPDATE SET subject = excluded.subject, done_at = excluded.done_at
           WHERE (requests.done_at IS NULL AND (excluded.done_at IS NOT NULL OR $11 > 0)
             AND NOT EXISTS (SELECT 1 FROM request_gateways g WHERE g.controller = requests.controller AND g.request_id = requests.id))
             OR (requests.kind IN ('restriction', 'restriction_lifted') AND excluded.done_at > requests.done_at)
         RETURNING id",
        controller,
        &new.kind,
        &new.mac,
        new.key_id,
        new.subject.as_deref(),
        &new.channel,
        &new.by_whom,
        new.received_at,
        new.due_at,
        new.done_at,
        parts.len() as i64
    )?;
    let Some((id,)) = id else { return Ok(None) };
    execute!(
        tx,
        "INSERT INTO request_gateways (controller, request_id, gateway, messages, done_at, done_by)
         SELECT $2, $3, j.value->>'gateway', j.value->>'messages', CAST(j.value->>'done_at' AS BIGINT), j.value->>'done_by'
         FROM EACH($1) WHERE true",
        json(parts),
        controller,
        id
    )?;
    Ok(Some(id))
}

/// Whether a request of a contact (by the name it has in the statement) is open, by whatever number or id of the human; `$of` narrows down
/// which (`r`). One with a subject was carried out and waits for providers: it is of whoever was erased, not of whoever came back. Where
/// nothing is open, which is found once a statement, nobody's numbers are gone through.
macro_rules! has_open_request {
    ($contact:literal, $of:literal) => {
        concat!(
            "(EXISTS (SELECT 1 FROM requests w WHERE w.done_at IS NULL) AND (EXISTS (SELECT 1 FROM number_macs n
               THEN JOIN requests r ON r.controller = n.controller AND r.mac = n.mac AND r.done_at IS NULL AND r.subject IS NULL",
            $of,
            " WHERE n.contact_id = ",
            $contact,
            ".id) OR EXISTS (SELECT 1 FROM contacts o
               THEN JOIN number_macs n ON n.contact_id = o.id
               THEN JOIN requests r ON r.controller = n.controller AND r.mac = n.mac AND r.done_at IS NULL AND r.subject IS NULL",
            $of,
            " WHERE o.controller = ",
            $contact,
            ".controller AND o.human = ",
            $contact,
            ".human) OR EXISTS (SELECT 1 FROM humans h
               THEN JOIN requests r ON r.controller = h.controller AND r.mac = h.alias AND r.done_at IS NULL AND r.subject IS NULL",
            $of,
            " WHERE h.controller = ",
            $contact,
            ".controller AND h.human = ",
            $contact,
            ".human)))"
        )
    };
}
pub(super) use has_open_request;

/// 1 where an objection, a restriction or an erasure is noted of a contact and not carried out yet, else 0: whoever objected is not asked
/// meanwhile (Art. 21(3) GDPR), nor while it is looked into (Art. 18(1)(d)).
macro_rules! is_noted {
    ($contact:literal) => {
        concat!(
            "CAST(CASE WHEN ",
            has_open_request!($contact, " AND r.kind IN ('objection', 'restriction', 'erasure')"),
            " THEN 1 ELSE 0 END AS BIGINT)"
        )
    };
}
pub(super) use is_noted;

/// What was noted of these numbers and not carried out yet, oldest first.
pub async fn noted(tx: &mut Tx, controller: &str, kind: &str, keyed: &[Keyed]) -> Result<Vec<Request>> {
    fetch_all!(
        tx,
        "SELECT kind, mac, key_id, subject, channel, by_whom, received_at, due_at, done_at FROM requests
         WHERE controller = $1 AND kind = $2 AND done_at IS NULL AND mac IN (SELECT j.value->>'mac' FROM EACH($3))
           AND NOT EXISTS (SELECT 1 FROM request_gateways g WHERE g.controller = requests.controller AND g.request_id = requests.id)
         ORDER BY id",
        controller,
        kind,
        json(keyed)
    )
}

/// What was noted is answered, in whatever other way. False where it is done, or with a provider, or nowhere.
pub async fn answered(tx: &mut Tx, controller: &str, request: i64, ended: Ended<'_>, now: i64) -> Result<bool> {
    let words = match ended {
        Ended::Answered => String::new(),
        Ended::Told(how) => format!("; the person was told: {how}"),
        Ended::Mistaken(why) => format!("{MISTAKEN}{why}"),
    };
    let done = execute!(
        tx,
        "UPDATE requests SET done_at = $3, by_whom = by_whom || $4
         WHERE controller = $1 AND id = $2 AND done_at IS NULL AND NOT EXISTS (
           SELECT 1 FROM request_gateways g WHERE g.controller = $1 AND g.request_id = $2)",
        controller,
        request,
        now,
        &words
    )?;
    Ok(done > 0)
}

/// Requests with an id above `after`, oldest first.
pub async fn after(tx: &mut Tx, controller: &str, after: i64, limit: i64) -> Result<Vec<Row>> {
    fetch_all!(
        tx,
        "SELECT id, kind, mac, key_id, subject, channel, by_whom, received_at, due_at, done_at FROM requests
         WHERE controller = $1 AND id > $2 ORDER BY id LIMIT $3",
        controller,
        after,
        limit
    )
}

/// How many requests are not done, and were due by `now`.
pub async fn overdue(tx: &mut Tx, controller: &str, now: i64) -> Result<i64> {
    let sql = "SELECT COUNT(*) FROM requests WHERE controller = $1 AND done_at IS NULL AND due_at <= $2";
    let row: Option<(i64,)> = fetch_optional!(tx, sql, controller, now)?;
    Ok(row.map_or(0, |(n,)| n))
}

/// What this number ever asked for.
pub async fn of_number(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<Vec<Row>> {
    fetch_all!(
        tx,
        "SELECT r.id, r.kind, r.mac, r.key_id, r.subject, r.channel, r.by_whom, r.received_at, r.due_at, r.done_at FROM EACH($1)
         THEN JOIN requests r ON r.controller = $2 AND r.mac = j.value->>'mac' AND r.key_id = CAST(j.value->>'key' AS BIGINT)
         ORDER BY r.id",
        json(keyed),
        controller
    )
}

/// Contacts of these numbers that are not restricted, though their number's newest word about that in the record that was carried out is a
/// restriction: what was noted and answered in another way names no subject. That of somebody erased ended with the data.
pub async fn restricted(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<Vec<i64>> {
    fetch_values!(
        tx,
        "SELECT DISTINCT c.id FROM EACH($2)
         THEN JOIN requests r ON r.controller = $1 AND r.kind = 'restriction' AND r.mac = j.value->>'mac'
           AND r.key_id = CAST(j.value->>'key' AS BIGINT)
         JOIN number_macs n ON n.controller = r.controller AND n.mac = r.mac AND n.key_id = r.key_id
         JOIN contacts c ON c.id = n.contact_id AND c.restricted = 0 AND c.number_enc <> ''
         WHERE r.done_at IS NOT NULL AND r.subject IS NOT NULL AND NOT EXISTS (
           SELECT 1 FROM number_macs o JOIN requests l ON l.controller = o.controller AND l.mac = o.mac AND l.key_id = o.key_id
           WHERE o.contact_id = c.id AND l.kind = 'restriction_lifted' AND l.subject IS NOT NULL
             AND (l.done_at > r.done_at OR (l.done_at = r.done_at AND l.id > r.id)))
           AND NOT EXISTS (SELECT 1 FROM number_macs o JOIN requests e ON e.controller = o.controller AND e.mac = o.mac
             WHERE o.contact_id = c.id AND e.kind = 'erasure' AND e.subject = r.subject)
         ORDER BY c.id",
        controller,
        json(keyed)
    )
}

/// The providers' parts in a request.
pub async fn parts(tx: &mut Tx, controller: &str, request: i64) -> Result<Vec<Part>> {
    fetch_all!(
        tx,
        "SELECT gateway, messages, done_at, done_by FROM request_gateways WHERE controller = $1 AND request_id = $2 ORDER BY gateway",
        controller,
        request
    )
}

/// A provider has done its part: what it was found by is deleted, and with the last part the request is done. False where no such part
/// was open.
pub async fn part_done(tx: &mut Tx, controller: &str, request: i64, gateway: &str, by: &str, now: i64) -> Result<bool> {
    let done = execute!(
        tx,
        "UPDATE request_gateways SET done_at = $5, done_by = $4, messages = '[]'
         WHERE controller = $1 AND request_id = $2 AND gateway = $3 AND done_at IS NULL",
        controller,
        request,
        gateway,
        by,
        now
    )?;
    execute!(
        tx,
        "UPDATE requests SET done_at = $3 WHERE controller = $1 AND id = $2 AND done_at IS NULL AND NOT EXISTS (
           SELECT 1 FROM request_gateways g WHERE g.controller = $1 AND g.request_id = $2 AND g.done_at IS NULL)",
        controller,
        request,
        now
    )?;
    Ok(done > 0)
}

/// One number that took another's place, as the contact asked about sees it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct NumberChange {
    /// Microseconds.
    pub at: i64,
    pub by_whom: String,
    /// The other number; empty where its person was erased since.
    pub number_enc: String,
    /// Not 0 where the other one is the new one.
    pub went: i64,
    /// The other contact.
    pub other: i64,
}

/// Notes that a person's number changed.
pub async fn number_changed(tx: &mut Tx, controller: &str, old: i64, new: i64, by: &str, now: i64) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO number_changes (controller, old_contact, new_contact, by_whom, at) VALUES ($1, $2, $3, $4, $5)",
        controller,
        old,
        new,
        by,
        now
    )?;
    Ok(())
}

/// The changes of a contact's number, to it and from it, oldest first.
pub async fn number_changes(tx: &mut Tx, contact: i64) -> Result<Vec<NumberChange>> {
    fetch_all!(
        tx,
        "SELECT w.at, w.by_whom, c.number_enc, w.went, w.other FROM (
           SELECT id, at, by_whom, new_contact AS other, CAST(1 AS BIGINT) AS went FROM number_changes WHERE old_contact = $1
           UNION ALL
           SELECT id, at, by_whom, old_contact, CAST(0 AS BIGINT) FROM number_changes WHERE new_contact = $1) AS w
         JOIN contacts c ON c.id = w.other ORDER BY w.id",
        contact
    )
}

/// When this number gave way to its person's new one, by the record of requests, which outlives a restored copy; none where it did not.
pub async fn number_changed_at(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<Option<i64>> {
    let row: Option<(Option<i64>,)> = fetch_optional!(
        tx,
        "SELECT MAX(r.done_at) FROM EACH($1)
         THEN JOIN requests r ON r.controller = $2 AND r.kind = 'rectification' AND r.mac = j.value->>'mac'
           AND r.key_id = CAST(j.value->>'key' AS BIGINT) AND r.subject IS NOT NULL",
        json(keyed),
        controller
    )?;
    Ok(row.and_then(|(at,)| at))
}
