//! How each permission of each contact stands ([`Status`](crate::domain::status::Status)): one statement says it, whether contacts are
//! listed, counted or one of them is explained, so that no two of these can differ.

use super::answers::left;
use super::{Result, Tx, fetch_all, fetch_one, json};
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

/// One row a contact and permission: `id`, `i` (the permission's place), `status`, and since when it stands so, where that is known.
/// `$1` controller, `$2` permissions, `$3` revisions, `$4` and `$5` the contacts' ids.
///
/// A no of the person comes first, then whatever forbids to write to them, and only then a yes. A no of any number of a human is everybody's
/// of that human, as in `facts::people`. An ask counts for what its revision asks for, one without a revision for everything; an
/// ask that reached nobody and was never answered is none. `controller || ''` keeps the planner from an index that begins with the
/// controller and so from everybody.
macro_rules! standing {
    () => {
        concat!(
            "WITH wanted AS MATERIALIZED (
               SELECT CAST(j.value->>'i' AS BIGINT) AS i, CAST(1 AS BIGINT) << CAST(j.value->>'i' AS INTEGER) AS bit, j.value->>'channel' AS channel,
                 j.value->>'purpose' AS purpose, j.value->>'named' AS named FROM EACH($2)),
             revisions AS MATERIALIZED (
               SELECT CAST(j.value->>'id' AS BIGINT) AS id, CAST(j.value->>'bits' AS BIGINT) AS bits FROM EACH($3)),
             people AS MATERIALIZED (
               SELECT c.id, c.subject, c.human, CASE WHEN c.restricted <> 0 OR EXISTS (SELECT 1 FROM contacts o
                   WHERE o.controller = c.controller AND o.human = c.human AND o.restricted <> 0) THEN 1 ELSE 0 END AS restricted
               FROM contacts c WHERE c.controller || '' = $1 AND c.number_enc <> '' AND c.id > $4 AND c.id <= $5),
             asks AS (
               SELECT m.contact_id, COALESCE(r.bits, 511) AS bits, CASE WHEN m.answer IS NULL THEN 0 ELSE COALESCE(r.bits, 511) END AS said
               FROM messages m LEFT JOIN revisions r ON r.id = m.revision_id
               WHERE m.controller = $1 AND m.contact_id > $4 AND m.contact_id <= $5 AND ",
            left!("m"),
            "    AND (m.answer IS NOT NULL OR m.state NOT IN ('failed', 'undelivered', 'expired'))),
             asked AS MATERIALIZED (
               SELECT contact_id,
                 MAX(bits & 1) + MAX(bits & 2) + MAX(bits & 4) + MAX(bits & 8) + MAX(bits & 16) + MAX(bits & 32) + MAX(bits & 64)
                   + MAX(bits & 128) + MAX(bits & 256) AS bits,
                 MAX(said & 1) + MAX(said & 2) + MAX(said & 4) + MAX(said & 8) + MAX(said & 16) + MAX(said & 32) + MAX(said & 64)
                   + MAX(said & 128) + MAX(said & 256) AS said
               FROM asks GROUP BY contact_id),
             suppressed AS MATERIALIZED (
               SELECT contact_id, MIN(at) AS at FROM (
                 SELECT c.id AS contact_id, s.at FROM people c
                 THEN JOIN number_macs n ON n.contact_id = c.id
                 THEN JOIN suppressions s ON s.controller = n.controller AND s.mac = n.mac AND s.key_id = n.key_id AND s.lifted_at IS NULL
                 UNION ALL
                 SELECT c.id, s.at FROM people c
                 THEN JOIN contacts o ON o.controller = $1 AND o.human = c.human AND o.id <> c.id
                 THEN JOIN number_macs n ON n.contact_id = o.id
                 THEN JOIN suppressions s ON s.controller = n.controller AND s.mac = n.mac AND s.key_id = n.key_id AND s.lifted_at IS NULL
                 UNION ALL
                 SELECT c.id, s.at FROM people c
                 THEN JOIN humans h ON h.controller = $1 AND h.human = c.human
                 THEN JOIN suppressions s ON s.controller = h.controller AND s.mac = h.alias AND s.lifted_at IS NULL) AS every_no
               GROUP BY contact_id),
             standing AS (
               SELECT c.id, w.i, s.at AS suppressed_at, v.first_yes_at, p.since, CASE
                   WHEN p.state IN ('refused', 'withdrawn') THEN p.state
                   WHEN s.contact_id IS NOT NULL THEN 'suppressed'
                   WHEN c.restricted <> 0 THEN 'restricted'
                   WHEN p.state = 'granted' THEN 'granted'
                   WHEN v.state = 'pending' AND v.pending LIKE w.named THEN 'pending'
                   WHEN p.state = 'expired' THEN 'expired'
                   WHEN a.bits & w.bit & ~a.said <> 0 THEN 'silent'
                   WHEN a.bits & w.bit <> 0 THEN 'not_given'
                   ELSE 'unknown' END AS status
               FROM people c
               LEFT JOIN suppressed s ON s.contact_id = c.id
               LEFT JOIN asked a ON a.contact_id = c.id
               LEFT JOIN conversations v ON v.controller = $1 AND v.contact_id = c.id AND v.closed_at IS NULL
               THEN JOIN wanted w ON true
               LEFT JOIN preferences p ON p.controller = $1 AND p.subject = c.subject AND p.channel = w.channel AND p.purpose = w.purpose) "
        )
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
            standing!(),
            "SELECT t.id AS contact, t.i, c.subject, c.number_enc, c.country, t.status,
               CASE WHEN t.status IN ('granted', 'refused', 'withdrawn', 'expired') THEN t.since WHEN t.status = 'suppressed' THEN t.suppressed_at
                 WHEN t.status = 'pending' THEN t.first_yes_at END AS since
             FROM standing t JOIN contacts c ON c.id = t.id
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

/// How many of what is wanted stand under which status: (permission's place, status, contacts).
pub async fn count(tx: &mut Tx, wanted: &Wanted<'_>) -> Result<Vec<(i64, String, i64)>> {
    let (permissions, revisions) = (wanted.permissions(), wanted.revisions());
    fetch_all!(
        tx,
        concat!(standing!(), "SELECT i, status, COUNT(*) FROM standing GROUP BY i, status ORDER BY i, status"),
        wanted.controller,
        &permissions,
        &revisions,
        wanted.contacts.0,
        wanted.contacts.1
    )
}

/// Contacts that are not erased.
pub async fn contacts(tx: &mut Tx, controller: &str) -> Result<i64> {
    let (n,): (i64,) = fetch_one!(tx, "SELECT COUNT(*) FROM contacts WHERE controller = $1 AND number_enc <> ''", controller)?;
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
