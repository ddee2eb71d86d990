//! Contacts and their imported evidence. A person is a number under one controller: rows with one number merge to the
//! strictest reading, whatever their order, and every row is kept as evidence.

use std::collections::HashMap;

use super::humans::{self, Tie};
use super::requests::{has_open_request, is_noted};
use super::{Result, Tx, execute, fetch_all, fetch_optional, fetch_value, fetch_values, json, messages};
use crate::domain::times::Times;
use crate::vault::{Keyed, USER};

/// One valid row of an import; as JSON, what of it is kept as evidence.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Imported {
    pub mac: String,
    pub key_id: i64,
    /// The number's keyed hashes under older keys, so that an older row is found and not doubled.
    #[serde(skip)]
    pub other_macs: Vec<Keyed>,
    #[serde(skip)]
    pub number_enc: String,
    #[serde(skip)]
    pub subject: String,
    #[serde(skip)]
    pub country: Option<String>,
    #[serde(skip)]
    pub line: &'static str,
    #[serde(skip)]
    pub locale: Option<String>,
    #[serde(skip)]
    pub zone: Option<String>,
    pub kind: Option<&'static str>,
    pub last_action: Option<String>,
    #[serde(skip)]
    pub human: Option<String>,
    pub row_hash: String,
    pub import_line: i64,
    pub file: String,
    pub source: String,
    pub quarantined: i64,
    pub basis: Option<&'static str>,
    pub evidence: Option<String>,
    pub basis_date: Option<String>,
    pub box_default: Option<&'static str>,
    pub channels: String,
    pub approver: Option<String>,
    /// Conditions of a soft opt-in on record, separated by spaces.
    pub conditions: String,
    pub unsubscribed: i64,
}

impl serde::Serialize for Keyed {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = s.serialize_struct("Keyed", 2)?;
        out.serialize_field("mac", &self.mac)?;
        out.serialize_field("key", &self.key_id)?;
        out.end()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// Numbers not known before.
    pub new: u64,
    /// People not known before: new numbers of one human are one, and none where the human was known.
    pub people: u64,
    /// Evidence rows not known before, of known and new numbers together.
    pub evidence: u64,
    /// The humans these rows are about, known before or not.
    pub humans: Vec<String>,
}

/// What `last_action` holds where some row calls the person a customer and gives no date.
pub const UNDATED: &str = "9999-12-31";

/// What the rows of one number say together. The strictest reading: an active customer wins, the latest action wins.
#[derive(Debug, serde::Serialize)]
struct Person<'a> {
    mac: &'a str,
    key_id: i64,
    subject: &'a str,
    number_enc: &'a str,
    country: Option<&'a str>,
    line: &'static str,
    kind: Option<&'static str>,
    rank: u8,
    last_action: Option<&'a str>,
    locale: Option<&'a str>,
    zone: Option<&'a str>,
}

impl<'a> Person<'a> {
    fn of(row: &'a Imported) -> Person<'a> {
        Person {
            mac: &row.mac,
            key_id: row.key_id,
            subject: &row.subject,
            number_enc: &row.number_enc,
            country: row.country.as_deref(),
            line: row.line,
            kind: row.kind,
            rank: match row.kind {
                Some("customer") => 3,
                Some("dormant") => 2,
                Some("prospect") => 1,
                _ => 0,
            },
            last_action: row.last_action.as_deref().or((row.kind == Some("customer")).then_some(UNDATED)),
            locale: row.locale.as_deref(),
            zone: row.zone.as_deref(),
        }
    }

    fn add(&mut self, more: Person<'a>) {
        let first = |one: Option<&'a str>, other: Option<&'a str>| one.into_iter().chain(other).min();
        if more.rank > self.rank {
            (self.kind, self.rank) = (more.kind, more.rank);
        }
        self.last_action = self.last_action.max(more.last_action);
        self.locale = first(self.locale, more.locale);
        self.zone = first(self.zone, more.zone);
    }

    /// One a number.
    fn all(rows: &'a [Imported]) -> Vec<Person<'a>> {
        let mut people: Vec<Person<'a>> = Vec::with_capacity(rows.len());
        let mut place: HashMap<&str, usize> = HashMap::with_capacity(rows.len());
        for row in rows {
            match place.get(row.mac.as_str()) {
                Some(at) => people[*at].add(Person::of(row)),
                None => {
                    place.insert(&row.mac, people.len());
                    people.push(Person::of(row));
                }
            }
        }
        people
    }
}

/// Merges a chunk of rows, in whatever order.
pub async fn merge(tx: &mut Tx, controller: &str, rows: &[Imported], now: i64) -> Result<Merged> {
    let people = json(Person::all(rows));
    // Numbers known under an older key get their newest hash too, so that everything below finds them.
    let older: Vec<_> = rows
        .iter()
        .flat_map(|r| {
            r.other_macs
                .iter()
                .map(move |o| serde_json::json!({"mac": r.mac, "key": r.key_id, "old": o.mac, "old_key": o.key_id}))
        })
        .collect();
    let older = (!older.is_empty()).then(|| json(older));
    if let Some(older) = &older {
        execute!(
            tx,
            "INSERT INTO number_macs (controller, mac, key_id, contact_id)
             SELECT DISTINCT n.controller, j.value->>'mac', CAST(j.value->>'key' AS BIGINT), n.contact_id FROM EACH($1)
             THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'old' AND n.key_id = CAST(j.value->>'old_key' AS BIGINT)
             WHERE true ON CONFLICT DO NOTHING",
            older,
            controller
        )?;
    }
    // Its subject is how the mac row below finds it again.
    let new = execute!(
        tx,
        "INSERT INTO contacts (controller, subject, number_enc, key_id, country, line, kind, last_action, locale, zone, created_at)
         SELECT $2, j.value->>'subject', j.value->>'number_enc', CAST(j.value->>'key_id' AS BIGINT), j.value->>'country', j.value->>'line',
           j.value->>'kind', j.value->>'last_action', j.value->>'locale', j.value->>'zone', $3
         FROM EACH($1)
         LEFT JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key_id' AS BIGINT)
         WHERE n.mac IS NULL",
        &people,
        controller,
        now
    )?;
    execute!(
        tx,
        "INSERT INTO number_macs (controller, mac, key_id, contact_id)
         SELECT c.controller, j.value->>'mac', CAST(j.value->>'key_id' AS BIGINT), c.id
         FROM EACH($1) THEN JOIN contacts c ON c.controller = $2 AND c.subject = j.value->>'subject'
         WHERE true ON CONFLICT DO NOTHING",
        &people,
        controller
    )?;
    // A number that was suppressed under an older key is suppressed, so a new contact is known by those hashes too.
    if let Some(older) = &older {
        execute!(
            tx,
            "INSERT INTO number_macs (controller, mac, key_id, contact_id)
             SELECT DISTINCT n.controller, j.value->>'old', CAST(j.value->>'old_key' AS BIGINT), n.contact_id FROM EACH($1)
             THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key' AS BIGINT)
             WHERE true ON CONFLICT DO NOTHING",
            older,
            controller
        )?;
    }
    // Of a number known before. A row that is new, or says nothing stricter, is not written again. Materialized: SQLite would begin with every
    // contact there is.
    execute!(
        tx,
        "WITH w AS MATERIALIZED (SELECT n.contact_id AS id, j.value->>'kind' AS kind, CAST(j.value->>'rank' AS BIGINT) AS rank,
           j.value->>'last_action' AS last_action, j.value->>'locale' AS locale, j.value->>'zone' AS zone
         FROM EACH($1)
         THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key_id' AS BIGINT))
         UPDATE contacts SET
           kind = CASE WHEN w.rank > (CASE contacts.kind WHEN 'customer' THEN 3 WHEN 'dormant' THEN 2 WHEN 'prospect' THEN 1 ELSE 0 END)
             THEN w.kind ELSE contacts.kind END,
           last_action = CASE WHEN contacts.last_action IS NULL OR w.last_action > contacts.last_action THEN w.last_action ELSE contacts.last_action END,
           locale = CASE WHEN contacts.locale IS NULL OR w.locale < contacts.locale THEN w.locale ELSE contacts.locale END,
           zone = CASE WHEN contacts.zone IS NULL OR w.zone < contacts.zone THEN w.zone ELSE contacts.zone END
         FROM w
         WHERE contacts.id = w.id AND (
           w.rank > (CASE contacts.kind WHEN 'customer' THEN 3 WHEN 'dormant' THEN 2 WHEN 'prospect' THEN 1 ELSE 0 END)
           OR (w.last_action IS NOT NULL AND (contacts.last_action IS NULL OR w.last_action > contacts.last_action))
           OR (w.locale IS NOT NULL AND (contacts.locale IS NULL OR w.locale < contacts.locale))
           OR (w.zone IS NOT NULL AND (contacts.zone IS NULL OR w.zone < contacts.zone)))",
        &people,
        controller
    )?;
    let humans = humans::tie(tx, controller, &rows.iter().map(tie_of).collect::<Vec<_>>()).await?;
    let new_people = if new == 0 { 0 } else { new_people(tx, controller, &people).await? };
    let evidence = execute!(
        tx,
        "INSERT INTO consent_evidence (controller, contact_id, row_hash, import_line, file, kind, last_action, source, quarantined, basis,
           evidence, basis_date, box_default, channels, approver, conditions, unsubscribed, at)
         SELECT $2, n.contact_id, j.value->>'row_hash', CAST(j.value->>'import_line' AS BIGINT), j.value->>'file', j.value->>'kind',
           j.value->>'last_action', j.value->>'source', CAST(j.value->>'quarantined' AS BIGINT), j.value->>'basis', j.value->>'evidence',
           j.value->>'basis_date', j.value->>'box_default', j.value->>'channels', j.value->>'approver',
           j.value->>'conditions',
           CAST(j.value->>'unsubscribed' AS BIGINT), $3
         FROM EACH($1)
         THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key_id' AS BIGINT)
         WHERE true ON CONFLICT DO NOTHING",
        json(rows),
        controller,
        now
    )?;
    Ok(Merged { new, people: new_people, evidence, humans })
}

/// How many people the contacts are that these rows made.
async fn new_people(tx: &mut Tx, controller: &str, rows: &str) -> Result<u64> {
    let counted: Option<(i64,)> = fetch_optional!(
        tx,
        "WITH made AS (
           SELECT c.id, c.human FROM EACH($1) THEN JOIN contacts c ON c.controller = $2 AND c.subject = j.value->>'subject')
         SELECT COUNT(DISTINCT COALESCE(human, CAST(id AS TEXT))) FROM made WHERE human IS NULL OR NOT EXISTS (
           SELECT 1 FROM contacts o WHERE o.controller = $2 AND o.human = made.human AND o.id NOT IN (SELECT id FROM made))",
        rows,
        controller
    )?;
    Ok(counted.map_or(0, |(people,)| people.unsigned_abs()))
}

fn tie_of(row: &Imported) -> Tie {
    let newest = Keyed { key_id: row.key_id, mac: row.mac.clone() };
    Tie { number: row.other_macs.iter().cloned().chain([newest]).collect(), id: row.human.clone() }
}

/// Which of these rows are known from an earlier import, by their hashes, whatever key their number came under.
pub async fn known_rows(tx: &mut Tx, controller: &str, rows: &[Imported]) -> Result<Vec<String>> {
    let all = json(
        rows.iter()
            .flat_map(|r| {
                let newest = (&r.mac, r.key_id);
                r.other_macs
                    .iter()
                    .map(|o| (&o.mac, o.key_id))
                    .chain([newest])
                    .map(|(mac, key)| serde_json::json!({"mac": mac, "key_id": key, "row_hash": r.row_hash}))
            })
            .collect::<Vec<_>>(),
    );
    fetch_values!(
        tx,
        "SELECT DISTINCT e.row_hash FROM EACH($1)
         THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key_id' AS BIGINT)
         THEN JOIN consent_evidence e ON e.controller = n.controller AND e.contact_id = n.contact_id AND e.row_hash = j.value->>'row_hash'",
        &all,
        controller
    )
}

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Contact {
    pub id: i64,
    pub subject: String,
    pub number_enc: String,
    pub country: Option<String>,
    pub line: String,
    pub locale: Option<String>,
    pub zone: Option<String>,
    pub kind: Option<String>,
    pub last_action: Option<String>,
    pub restricted: i64,
    pub held_at: Option<i64>,
    pub created_at: i64,
    /// JSON of `domain::times::Times`; none: at any time.
    pub times: Option<String>,
}

impl Contact {
    /// Everything personal is gone, and the row is about nobody.
    pub fn is_erased(&self) -> bool {
        self.number_enc.is_empty()
    }

    /// When they want to be written to, for whoever shows or changes it.
    pub fn times(&self) -> Times {
        self.times.as_deref().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }
}

/// The contact of a number, whatever key it was stored under.
pub async fn by_number(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<Option<Contact>> {
    fetch_optional!(
        tx,
        "SELECT c.id, c.subject, c.number_enc, c.country, c.line, c.locale, c.zone, c.kind, c.last_action, c.restricted, c.held_at, c.created_at, c.times
         FROM EACH($1)
         THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key' AS BIGINT)
         THEN JOIN contacts c ON c.id = n.contact_id LIMIT 1",
        &json(keyed),
        controller
    )
}

pub async fn by_subject(tx: &mut Tx, controller: &str, subject: &str) -> Result<Option<Contact>> {
    fetch_optional!(
        tx,
        "SELECT id, subject, number_enc, country, line, locale, zone, kind, last_action, restricted, held_at, created_at, times
         FROM contacts WHERE controller = $1 AND subject = $2",
        controller,
        subject
    )
}

/// The encrypted number of a pseudonym; none of somebody erased.
pub async fn number_of_subject(tx: &mut Tx, controller: &str, subject: &str) -> Result<Option<String>> {
    let row: Option<(String,)> = fetch_optional!(
        tx,
        "SELECT number_enc FROM contacts WHERE controller = $1 AND subject = $2 AND number_enc <> ''",
        controller,
        subject
    )?;
    Ok(row.map(|(number,)| number))
}

macro_rules! contact_of_id {
    () => {
        "SELECT id, subject, number_enc, country, line, locale, zone, kind, last_action, restricted, held_at, created_at, times
         FROM contacts WHERE id = $1"
    };
}

/// For whoever only looks.
pub async fn by_id(tx: &mut Tx, id: i64) -> Result<Option<Contact>> {
    fetch_optional!(tx, contact_of_id!(), id)
}

/// Reads a contact and holds its row: whoever changes this person's consent takes turns. `NO KEY`, so that a claim may still
/// point at the row; otherwise the two would wait for each other.
pub async fn lock(tx: &mut Tx, id: i64) -> Result<Option<Contact>> {
    fetch_optional!(tx, concat!(contact_of_id!(), " FOR NO KEY UPDATE"), id)
}

/// As [`lock`], with every other number of the human, in the order of their ids. Answers those.
pub async fn lock_human(tx: &mut Tx, id: i64) -> Result<Vec<i64>> {
    fetch_values!(
        tx,
        "SELECT c.id FROM contacts c WHERE c.id IN (
           SELECT CAST($1 AS BIGINT)
           UNION
           SELECT o.id FROM contacts s THEN JOIN contacts o ON o.controller = s.controller AND o.human = s.human WHERE s.id = $1)
         ORDER BY c.id FOR NO KEY UPDATE",
        id
    )
}

/// Restricts the use of these contacts' data, or lifts that. Answers those it changed.
pub async fn restrict(tx: &mut Tx, ids: &[i64], restricted: bool) -> Result<Vec<i64>> {
    fetch_values!(
        tx,
        "UPDATE contacts SET restricted = $2 WHERE id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1)) AND restricted <> $2
           AND number_enc <> '' RETURNING id",
        json(ids),
        i64::from(restricted)
    )
}

/// 1 where something is so of a contact (by the name it has in the statement), or of another number of the human, else 0.
macro_rules! of_human {
    ($contact:literal, $is:literal) => {
        concat!(
            "CAST(CASE WHEN ",
            $contact,
            ".",
            $is,
            " OR EXISTS (SELECT 1 FROM contacts o WHERE o.controller = ",
            $contact,
            ".controller AND o.human = ",
            $contact,
            ".human AND o.",
            $is,
            ") THEN 1 ELSE 0 END AS BIGINT)"
        )
    };
}
pub(super) use of_human;

/// 1 where an unclear reply waits for an operator that came from a contact (by the name it has in the statement), from another number of the
/// human, or from one that is no contact and that a list's row tied to them; else 0. Where no reply waits nobody's numbers are gone through.
macro_rules! human_is_held {
    ($contact:literal) => {
        concat!(
            "CASE WHEN EXISTS (SELECT 1 FROM inbound_events u WHERE u.controller = ",
            $contact,
            ".controller AND u.effect = 'held' AND u.resolved_at IS NULL) AND EXISTS (SELECT 1 FROM humans h
               THEN JOIN inbound_events i ON i.controller = h.controller AND i.mac = h.alias AND i.contact_id IS NULL
                 AND i.effect = 'held' AND i.resolved_at IS NULL
               WHERE h.controller = ",
            $contact,
            ".controller AND h.human = ",
            $contact,
            ".human) THEN 1 ELSE ",
            of_human!($contact, "held_at IS NOT NULL"),
            " END"
        )
    };
}
pub(super) use human_is_held;

/// Why no yes of a person counts, and nothing invites them to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    /// The use of their data is restricted (Art. 18 GDPR).
    Restricted,
    /// An objection, a restriction or an erasure is noted, and not carried out yet.
    Noted,
}

/// Whether, and why, a contact is barred, by whatever number of the human.
pub async fn barred(tx: &mut Tx, id: i64) -> Result<Option<Barred>> {
    let row: Option<(i64, i64)> = fetch_optional!(
        tx,
        concat!("SELECT ", of_human!("c", "restricted <> 0"), ", ", is_noted!("c"), " FROM contacts c WHERE c.id = $1"),
        id
    )?;
    Ok(match row {
        Some((restricted, _)) if restricted != 0 => Some(Barred::Restricted),
        Some((_, noted)) if noted != 0 => Some(Barred::Noted),
        _ => None,
    })
}

/// Whether an unclear reply of this contact, or of another number of the human, waits for an operator.
pub async fn is_held(tx: &mut Tx, id: i64) -> Result<bool> {
    let row: Option<(i64,)> =
        fetch_optional!(tx, concat!("SELECT CAST(", human_is_held!("c"), " AS BIGINT) FROM contacts c WHERE c.id = $1"), id)?;
    Ok(row.is_some_and(|(held,)| held != 0))
}

/// Everybody the use of whose data is restricted, by whatever number of theirs: (number_enc, country, locale, when the ledger has it of this
/// number, or else of another of theirs; when they came to us where no entry says so).
pub async fn restricted_people(tx: &mut Tx, controller: &str) -> Result<Vec<(String, Option<String>, Option<String>, i64)>> {
    fetch_all!(
        tx,
        concat!(
            "SELECT c.number_enc, c.country, c.locale, COALESCE(
               (SELECT MAX(l.at) FROM ledger l WHERE l.controller = c.controller AND l.subject = c.subject AND l.kind = 'restricted'),
               (SELECT MAX(l.at) FROM contacts o
                JOIN ledger l ON l.controller = o.controller AND l.subject = o.subject AND l.kind = 'restricted'
                WHERE o.controller = c.controller AND o.human = c.human AND o.restricted <> 0),
               c.created_at)
             FROM contacts c WHERE c.controller = $1 AND c.number_enc <> '' AND ",
            of_human!("c", "restricted <> 0"),
            " <> 0 ORDER BY c.id"
        ),
        controller
    )
}

/// Contacts of these humans that have something granted and are restricted by another number alone.
pub async fn restricted_by_another(tx: &mut Tx, controller: &str, humans: &[String]) -> Result<Vec<i64>> {
    fetch_values!(
        tx,
        "SELECT DISTINCT c.id FROM EACH($1)
         THEN JOIN contacts o ON o.controller = $2 AND o.human = j.value->>'human' AND o.restricted <> 0
         THEN JOIN contacts c ON c.controller = o.controller AND c.human = o.human AND c.restricted = 0
         THEN JOIN preferences p ON p.controller = c.controller AND p.subject = c.subject AND p.state = 'granted' ORDER BY c.id",
        json(humans.iter().map(|human| serde_json::json!({ "human": human })).collect::<Vec<_>>()),
        controller
    )
}

pub async fn hold(tx: &mut Tx, id: i64, at: Option<i64>) -> Result<()> {
    execute!(tx, "UPDATE contacts SET held_at = $2 WHERE id = $1", id, at)?;
    Ok(())
}

/// Keeps when this person wants to be written to; the ledger has said so in the same transaction.
pub async fn set_times(tx: &mut Tx, id: i64, times: Option<&str>) -> Result<()> {
    execute!(tx, "UPDATE contacts SET times = $2 WHERE id = $1", id, times)?;
    Ok(())
}

/// Ids above `after`, for planning in batches. Whoever was never imported, as a tester, is nobody a campaign is about.
pub async fn ids_after(tx: &mut Tx, controller: &str, after: i64, limit: i64) -> Result<Vec<(i64,)>> {
    fetch_all!(
        tx,
        // In the order of their ids, not by an index of the controller's, which would be read and sorted whole for each batch.
        "SELECT id FROM contacts WHERE controller || '' = $1 AND id > $2
           AND EXISTS (SELECT 1 FROM consent_evidence e WHERE e.contact_id = contacts.id)
         ORDER BY id LIMIT $3",
        controller,
        after,
        limit
    )
}

/// A number that gets a message without ever having been imported.
#[derive(Debug, Clone)]
pub struct Enrolled {
    pub subject: String,
    pub number_enc: String,
    pub key_id: i64,
    pub country: String,
    pub line: &'static str,
}

/// Adds a contact without any imported row, known by these hashes. Answers its id.
pub async fn enroll(tx: &mut Tx, controller: &str, new: &Enrolled, keyed: &[Keyed], now: i64) -> Result<i64> {
    let id = fetch_value!(
        tx,
        "INSERT INTO contacts (controller, subject, number_enc, key_id, country, line, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
         RETURNING id",
        controller,
        &new.subject,
        &new.number_enc,
        new.key_id,
        &new.country,
        new.line,
        now
    )?;
    execute!(
        tx,
        "INSERT INTO number_macs (controller, mac, key_id, contact_id)
         SELECT $2, j.value->>'mac', CAST(j.value->>'key' AS BIGINT), $3 FROM EACH($1) WHERE true",
        &json(keyed),
        controller,
        id
    )?;
    Ok(id)
}

/// A contact is known by these hashes of its number too: a newer key than the one it came under has made one more.
pub async fn known_by(tx: &mut Tx, controller: &str, id: i64, keyed: &[Keyed]) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO number_macs (controller, mac, key_id, contact_id)
         SELECT $2, j.value->>'mac', CAST(j.value->>'key' AS BIGINT), $3 FROM EACH($1) WHERE true ON CONFLICT DO NOTHING",
        &json(keyed),
        controller,
        id
    )?;
    Ok(())
}

/// Keeps that these ids are those by which WhatsApp knows these contacts; an id that is known as another's was told anew. Answers the ids
/// that are new. Locks the contacts: whoever is erased has none any more.
pub async fn learn_users(tx: &mut Tx, controller: &str, told: &[(Keyed, i64)]) -> Result<Vec<(Keyed, i64)>> {
    let latest: HashMap<&str, i64> = told.iter().map(|(user, contact)| (user.mac.as_str(), *contact)).collect();
    let told =
        json(latest.iter().map(|(mac, contact)| serde_json::json!({ "mac": mac, "contact": contact })).collect::<Vec<_>>());
    let new: Vec<(String, i64)> = fetch_all!(
        tx,
        "SELECT j.value->>'mac', CAST(j.value->>'contact' AS BIGINT) FROM EACH($1)
         LEFT JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = $3
           AND n.contact_id = CAST(j.value->>'contact' AS BIGINT)
         WHERE n.mac IS NULL",
        &told,
        controller,
        USER
    )?;
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let new = json(new.iter().map(|(mac, contact)| serde_json::json!({ "mac": mac, "contact": contact })).collect::<Vec<_>>());
    let _: Vec<(i64,)> = fetch_all!(
        tx,
        "SELECT id FROM contacts WHERE id IN (SELECT CAST(j.value->>'contact' AS BIGINT) FROM EACH($1)) ORDER BY id FOR NO KEY UPDATE",
        &new
    )?;
    let known: Vec<(String, i64)> = fetch_all!(
        tx,
        "INSERT INTO number_macs (controller, mac, key_id, contact_id)
         SELECT c.controller, j.value->>'mac', $3, c.id FROM EACH($1)
         THEN JOIN contacts c ON c.id = CAST(j.value->>'contact' AS BIGINT) AND c.controller = $2 AND c.number_enc <> ''
         WHERE true ON CONFLICT (controller, mac, key_id) DO UPDATE SET contact_id = excluded.contact_id RETURNING mac, contact_id",
        &new,
        controller,
        USER
    )?;
    Ok(known.into_iter().map(|(mac, contact)| (Keyed { key_id: USER, mac }, contact)).collect())
}

/// A further number of a person: what was asked of the old one counts for it, too.
pub async fn carry_marks(tx: &mut Tx, controller: &str, from: i64, to: &[Keyed]) -> Result<()> {
    let was: Vec<(i64, String)> =
        fetch_all!(tx, "SELECT key_id, mac FROM number_macs WHERE controller = $1 AND contact_id = $2", controller, from)?;
    let was: Vec<Keyed> = was.into_iter().map(|(key_id, mac)| Keyed { key_id, mac }).collect();
    messages::hand_on_marks(tx, controller, &was, to).await
}

/// What the person said of themselves goes over to a new contact of theirs.
pub async fn describe_as(tx: &mut Tx, from: i64, to: i64) -> Result<()> {
    execute!(
        tx,
        "UPDATE contacts SET locale = w.locale, zone = w.zone, kind = w.kind, last_action = w.last_action
         FROM (SELECT locale, zone, kind, last_action FROM contacts WHERE id = $1) AS w WHERE contacts.id = $2",
        from,
        to
    )?;
    Ok(())
}

/// One imported row of a person, as what it says can prove or forbid something.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Evidence {
    pub file: String,
    pub import_line: i64,
    pub kind: Option<String>,
    pub last_action: Option<String>,
    pub source: String,
    pub quarantined: i64,
    pub basis: Option<String>,
    pub evidence: Option<String>,
    pub basis_date: Option<String>,
    pub box_default: Option<String>,
    pub channels: String,
    pub unsubscribed: i64,
    pub at: i64,
}

pub async fn evidence_of(tx: &mut Tx, id: i64) -> Result<Vec<Evidence>> {
    fetch_all!(
        tx,
        "SELECT file, import_line, kind, last_action, source, quarantined, basis, evidence, basis_date, box_default, channels, unsubscribed, at
         FROM consent_evidence WHERE contact_id = $1 ORDER BY id",
        id
    )
}

pub async fn save_import(tx: &mut Tx, controller: &str, kind: &str, file: &str, summary: &str, now: i64) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO imports (controller, kind, file, summary, at) VALUES ($1, $2, $3, $4, $5)",
        controller,
        kind,
        file,
        summary,
        now
    )?;
    Ok(())
}
