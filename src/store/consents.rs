//! How each permission of each contact stands ([`Status`](crate::domain::status::Status)): one rule says it, whether contacts are
//! listed, counted or one of them is explained, so that no two of these can differ.

use super::answers::left;
use super::contacts::of_human;
use super::{Result, Tx, fetch_all, fetch_one, fetch_value, json};
use crate::domain::channel::Permission;
use crate::domain::status::permissions;

/// Permissions, as bits.
pub fn bits(of: impl IntoIterator<Item = Permission>) -> i64 {
    let all: Vec<Permission> = permissions().collect();
    of.into_iter().filter_map(|p| all.iter().position(|known| *known == p)).fold(0, |bits, i| bits | 1 << i)
}

/// Whom to look at, and which of their permissions.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub controller: &'a str,
    /// Bits of the permissions.
    pub permissions: i64,
    /// What each frozen revision asks for: its id, and bits.
    pub revisions: &'a [(i64, i64)],
    /// Contacts after the first id, up to the second.
    pub contacts: (i64, i64),
}

impl Wanted<'_> {
    fn permissions(&self) -> String {
        let wanted = permissions().enumerate().filter(|(i, _)| self.permissions & 1 << i != 0);
        json(
            wanted
                .map(|(i, p)| {
                    // How a pending yes holds it (`conversations.pending`).
                    let named = json(p);
                    serde_json::json!({ "i": i, "channel": p.channel, "purpose": p.purpose, "named": format!("%{named}%") })
                })
                .collect::<Vec<_>>(),
        )
    }

    fn revisions(&self) -> String {
        json(self.revisions.iter().map(|(id, bits)| serde_json::json!({ "id": id, "bits": bits })).collect::<Vec<_>>())
    }
}

/// The contacts that count: whoever is erased is nobody, and a tester (`campaign test`) who came in no other way is not asked for anything.
/// `$1` controller.
macro_rules! counted {
    () => {
        "c.controller || '' = $1 AND c.number_enc <> '' AND c.id NOT IN (
           SELECT m.contact_id FROM messages m WHERE m.controller = $1 AND m.kind = 'test'
             AND NOT EXISTS (SELECT 1 FROM consent_evidence e WHERE e.controller = m.controller AND e.contact_id = m.contact_id)
             AND NOT EXISTS (SELECT 1 FROM intakes i WHERE i.contact_id = m.contact_id))"
    };
}

/// `wanted`: the permissions asked about; `known`: one row a contact, all that its statuses follow from.
/// `$1` controller, `$2` permissions, `$3` revisions, `$4` and `$5` the contacts' ids.
///
/// A no of any number of a human is everybody's of that human, but for a wrong number, as in `facts::people`. What a number granted since has
/// answered the older no of another, since only a fresh yes of both steps grants past it (`confirm::act`), and then it is shown, exported
/// and told as a consent; an own no is lifted by such a yes, or counts. So `suppressed` is bits, of the permissions for which it counts. An
/// ask counts for what its revision asks for, one without a revision for everything, and a form's boxes as soon as the code was typed; an
/// ask that reached nobody and was never answered is none. `controller || ''` keeps the planner from an index that begins with the controller and so from everybody.
macro_rules! known {
    () => {
        concat!(
            "WITH wanted AS MATERIALIZED (
               SELECT CAST(j.value->>'i' AS BIGINT) AS i, CAST(1 AS BIGINT) << CAST(j.value->>'i' AS INTEGER) AS bit, j.value->>'channel' AS channel,
                 j.value->>'purpose' AS purpose, j.value->>'named' AS named FROM EACH($2)),
             revisions AS MATERIALIZED (
               SELECT CAST(j.value->>'id' AS BIGINT) AS id, CAST(j.value->>'bits' AS BIGINT) AS bits FROM EACH($3)),
             people AS MATERIALIZED (
               SELECT c.id, c.subject, c.human, ",
            of_human!("c", "restricted <> 0"),
            " AS restricted FROM contacts c WHERE c.id > $4 AND c.id <= $5 AND ",
            counted!(),
            "),
             asks AS (
               SELECT m.contact_id, COALESCE(r.bits, 511) AS bits, CASE WHEN m.answer IS NULL THEN 0 ELSE COALESCE(r.bits, 511) END AS said
               FROM messages m LEFT JOIN revisions r ON r.id = m.revision_id
               WHERE m.controller = $1 AND m.contact_id > $4 AND m.contact_id <= $5 AND ",
            left!("m"),
            "    AND (m.answer IS NOT NULL OR m.state NOT IN ('failed', 'undelivered', 'expired'))
               UNION ALL
               SELECT i.contact_id, i.offered, i.offered FROM intakes i
               WHERE i.contact_id > $4 AND i.contact_id <= $5 AND i.controller || '' = $1 AND i.offered IS NOT NULL),
             asked AS MATERIALIZED (
               SELECT contact_id,
                 MAX(bits & 1) + MAX(bits & 2) + MAX(bits & 4) + MAX(bits & 8) + MAX(bits & 16) + MAX(bits & 32) + MAX(bits & 64)
                   + MAX(bits & 128) + MAX(bits & 256) AS bits,
                 MAX(said & 1) + MAX(said & 2) + MAX(said & 4) + MAX(said & 8) + MAX(said & 16) + MAX(said & 32) + MAX(said & 64)
                   + MAX(said & 128) + MAX(said & 256) AS said
               FROM asks GROUP BY contact_id),
             suppressed AS MATERIALIZED (
               SELECT contact_id, MIN(at) AS at, MAX(answered_after) AS answered_after FROM (
                 SELECT c.id AS contact_id, s.at, 9223372036854775807 AS answered_after FROM people c
                 THEN JOIN number_macs n ON n.contact_id = c.id
                 THEN JOIN suppressions s ON s.controller = n.controller AND s.mac = n.mac AND s.key_id = n.key_id AND s.lifted_at IS NULL
                 UNION ALL
                 SELECT c.id, s.at, s.at FROM people c
                 THEN JOIN contacts o ON o.controller = $1 AND o.human = c.human AND o.id <> c.id
                 THEN JOIN number_macs n ON n.contact_id = o.id
                 THEN JOIN suppressions s ON s.controller = n.controller AND s.mac = n.mac AND s.key_id = n.key_id AND s.lifted_at IS NULL
                   AND s.reason <> 'wrong_person'
                 UNION ALL
                 SELECT c.id, s.at, s.at FROM people c
                 THEN JOIN humans h ON h.controller = $1 AND h.human = c.human
                 THEN JOIN suppressions s ON s.controller = h.controller AND s.mac = h.alias AND s.lifted_at IS NULL
                   AND s.reason <> 'wrong_person') AS every_no
               GROUP BY contact_id),
             stated AS MATERIALIZED (
               SELECT c.id AS contact_id, CAST(SUM(CASE p.state WHEN 'refused' THEN w.bit ELSE 0 END) AS BIGINT) AS refused,
                 CAST(SUM(CASE p.state WHEN 'withdrawn' THEN w.bit ELSE 0 END) AS BIGINT) AS withdrawn,
                 CAST(SUM(CASE p.state WHEN 'granted' THEN w.bit ELSE 0 END) AS BIGINT) AS granted,
                 CAST(SUM(CASE p.state WHEN 'expired' THEN w.bit ELSE 0 END) AS BIGINT) AS expired,
                 CAST(SUM(CASE WHEN p.state = 'granted' AND p.since > s.answered_after THEN w.bit ELSE 0 END) AS BIGINT) AS answers
               FROM people c THEN JOIN preferences p ON p.controller = $1 AND p.subject = c.subject
               THEN JOIN wanted w ON w.channel = p.channel AND w.purpose = p.purpose
               LEFT JOIN suppressed s ON s.contact_id = c.id GROUP BY c.id),
             known AS (
               SELECT c.id, CASE WHEN s.contact_id IS NULL THEN 0 ELSE 511 & ~COALESCE(p.answers, 0) END AS suppressed, c.restricted, COALESCE(a.bits, 0) AS bits,
                 COALESCE(a.said, 0) AS said, COALESCE(p.refused, 0) AS refused, COALESCE(p.withdrawn, 0) AS withdrawn,
                 COALESCE(p.granted, 0) AS granted, COALESCE(p.expired, 0) AS expired,
                 CASE WHEN v.state = 'pending' THEN v.pending END AS pending, s.at AS suppressed_at, v.first_yes_at
               FROM people c
               LEFT JOIN suppressed s ON s.contact_id = c.id
               LEFT JOIN asked a ON a.contact_id = c.id
               LEFT JOIN stated p ON p.contact_id = c.id
               LEFT JOIN conversations v ON v.controller = $1 AND v.contact_id = c.id AND v.closed_at IS NULL) "
        )
    };
}

/// The status of permission `w` by what is `k`nown. A no of the person comes first, then whatever forbids to write to them, and only then a
/// yes.
macro_rules! status {
    () => {
        "CASE WHEN k.refused & w.bit <> 0 THEN 'refused'
           WHEN k.withdrawn & w.bit <> 0 THEN 'withdrawn'
           WHEN k.suppressed & w.bit <> 0 THEN 'suppressed'
           WHEN k.restricted <> 0 THEN 'restricted'
           WHEN k.granted & w.bit <> 0 THEN 'granted'
           WHEN k.pending LIKE w.named THEN 'pending'
           WHEN k.expired & w.bit <> 0 THEN 'expired'
           WHEN k.bits & w.bit & ~k.said <> 0 THEN 'silent'
           WHEN k.bits & w.bit <> 0 THEN 'not_given'
           ELSE 'unknown' END"
    };
}

/// How one permission of one contact stands.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Standing {
    pub contact: i64,
    /// The permission's place among [`permissions`].
    pub i: i64,
    pub subject: String,
    pub number_enc: String,
    pub country: Option<String>,
    pub status: String,
    /// Since when it is granted, refused, withdrawn, expired, pending or suppressed; none of anything else.
    pub since: Option<i64>,
}

/// Up to `limit` of what is wanted under this status (any if empty), in order of contact and permission, after this place of one contact.
pub async fn list(tx: &mut Tx, wanted: &Wanted<'_>, status: &str, after: (i64, i64), limit: i64) -> Result<Vec<Standing>> {
    let (permissions, revisions) = (wanted.permissions(), wanted.revisions());
    fetch_all!(
        tx,
        concat!(
            known!(),
            ", standing AS (
               SELECT k.id, w.i, w.channel, w.purpose, k.suppressed_at, k.first_yes_at, ",
            status!(),
            " AS status FROM known k THEN JOIN wanted w ON true)
             SELECT t.id AS contact, t.i, c.subject, c.number_enc, c.country, t.status,
               CASE WHEN t.status IN ('granted', 'refused', 'withdrawn', 'expired') THEN p.since WHEN t.status = 'suppressed' THEN t.suppressed_at
                 WHEN t.status = 'pending' THEN t.first_yes_at END AS since
             FROM standing t JOIN contacts c ON c.id = t.id
             LEFT JOIN preferences p ON p.controller = $1 AND p.subject = c.subject AND p.channel = t.channel AND p.purpose = t.purpose
             WHERE ($6 = '' OR t.status = $6) AND (t.id > $7 OR (t.id = $7 AND t.i > $8)) ORDER BY t.id, t.i LIMIT $9"
        ),
        wanted.controller,
        &permissions,
        &revisions,
        wanted.contacts.0,
        wanted.contacts.1,
        status,
        after.0,
        after.1,
        limit
    )
}

/// How many of what is wanted stand under which status: (permission's place, status, contacts). People of whom the same is known, a handful
/// of classes however many they are, are looked at once.
pub async fn count(tx: &mut Tx, wanted: &Wanted<'_>) -> Result<Vec<(i64, String, i64)>> {
    let (permissions, revisions) = (wanted.permissions(), wanted.revisions());
    fetch_all!(
        tx,
        concat!(
            known!(),
            ", classes AS MATERIALIZED (
               SELECT suppressed, restricted, bits, said, refused, withdrawn, granted, expired, pending, COUNT(*) AS n
               FROM known GROUP BY suppressed, restricted, bits, said, refused, withdrawn, granted, expired, pending),
             standing AS (SELECT w.i, k.n, ",
            status!(),
            " AS status FROM classes k THEN JOIN wanted w ON true)
             SELECT i, status, CAST(SUM(n) AS BIGINT) FROM standing GROUP BY i, status ORDER BY i, status"
        ),
        wanted.controller,
        &permissions,
        &revisions,
        wanted.contacts.0,
        wanted.contacts.1
    )
}

/// How many contacts count.
pub async fn contacts(tx: &mut Tx, controller: &str) -> Result<i64> {
    let n: i64 = fetch_value!(tx, concat!("SELECT COUNT(*) FROM contacts c WHERE ", counted!()), controller)?;
    Ok(n)
}

/// The id up to which there are `size` contacts after this one, or all that are left; none where there are no more.
pub async fn window(tx: &mut Tx, controller: &str, after: i64, size: i64) -> Result<Option<i64>> {
    let (last,): (Option<i64>,) = fetch_one!(
        tx,
        "SELECT MAX(id) FROM (SELECT id FROM contacts WHERE controller || '' = $1 AND id > $2 ORDER BY id LIMIT $3) AS slice",
        controller,
        after,
        size
    )?;
    Ok(last)
}

/// Every frozen revision of this controller.
pub async fn revisions(tx: &mut Tx, controller: &str) -> Result<Vec<(i64,)>> {
    fetch_all!(tx, "SELECT id FROM campaign_revisions WHERE controller = $1 ORDER BY id", controller)
}
