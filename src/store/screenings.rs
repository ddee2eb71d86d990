//! Screenings against the public opposition registers: when a register was asked, and which numbers it lists, as keyed hashes.

use std::collections::HashMap;

use super::{Result, Tx, execute, fetch_all, fetch_optional, fetch_value, json};
use crate::domain::register::Screened;
use crate::vault::Keyed;

/// A listed number and the end of the day of its registration, microseconds UTC.
#[derive(Debug, Clone)]
pub struct Listing {
    pub keyed: Keyed,
    pub since: i64,
}

/// As of when the newest complete screening against this register was made.
pub async fn newest(tx: &mut Tx, controller: &str, register: &str) -> Result<Option<i64>> {
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "SELECT at FROM screenings WHERE controller = $1 AND register = $2 AND done_at IS NOT NULL ORDER BY at DESC LIMIT 1",
        controller,
        register
    )?;
    Ok(row.map(|(at,)| at))
}

/// Opens a screening, which covers nobody until [`finish`].
pub async fn begin(tx: &mut Tx, controller: &str, register: &str, at: i64, file: &str) -> Result<i64> {
    fetch_value!(
        tx,
        "INSERT INTO screenings (controller, register, at, file) VALUES ($1, $2, $3, $4) RETURNING id",
        controller,
        register,
        at,
        file
    )
}

/// Whether what is listed was so by a screening that came before that of `$4`: as of an earlier time, or begun earlier as of the same.
macro_rules! was_listed_earlier {
    () => {
        "EXISTS (SELECT 1 FROM screenings o JOIN screenings s ON s.id = $4
             WHERE o.id = register_listings.screening_id AND (o.at, o.id) < (s.at, s.id))"
    };
}

/// Adds numbers that a screening lists. Of one that comes twice the later registration counts. What another one lists that came later stays
/// its own, ended or not: two may run at a time, and the one that ends must not take with it what the other has said.
pub async fn list(tx: &mut Tx, controller: &str, register: &str, screening: i64, listings: &[Listing]) -> Result<()> {
    execute!(
        tx,
        concat!(
            "INSERT INTO register_listings (controller, register, mac, key_id, since, screening_id)
         SELECT $2, $3, j.value->>'mac', CAST(j.value->>'key' AS BIGINT), MAX(CAST(j.value->>'since' AS BIGINT)), $4 FROM EACH($1)
         WHERE true GROUP BY j.value->>'mac', CAST(j.value->>'key' AS BIGINT)
         ON CONFLICT (controller, mac, key_id, register) DO UPDATE SET
           since = CASE WHEN register_listings.since <= excluded.since OR ",
            was_listed_earlier!(),
            " THEN excluded.since ELSE register_listings.since END,
           screening_id = CASE WHEN ",
            was_listed_earlier!(),
            " THEN excluded.screening_id ELSE register_listings.screening_id END"
        ),
        &rows(listings),
        controller,
        register,
        screening
    )?;
    Ok(())
}

/// From now on this screening is the register's word; whom only an earlier one listed is listed no more. Whom a later one lists already that
/// has not ended is listed still, whatever becomes of it.
pub async fn finish(tx: &mut Tx, controller: &str, register: &str, screening: i64, now: i64) -> Result<()> {
    execute!(
        tx,
        "DELETE FROM register_listings WHERE controller = $1 AND register = $2 AND screening_id IN (
           SELECT o.id FROM screenings o JOIN screenings s ON s.id = $3
           WHERE o.controller = $1 AND o.register = $2 AND (o.at, o.id) < (s.at, s.id))",
        controller,
        register,
        screening
    )?;
    execute!(tx, "UPDATE screenings SET done_at = $2 WHERE id = $1", screening, now)?;
    Ok(())
}

/// Contacts among these numbers who have anything granted, with the end of the day of registration.
pub async fn granted_among(tx: &mut Tx, controller: &str, listings: &[Listing]) -> Result<Vec<(i64, i64)>> {
    fetch_all!(
        tx,
        "SELECT c.id, MAX(CAST(j.value->>'since' AS BIGINT)) FROM EACH($1)
         THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key' AS BIGINT)
         THEN JOIN contacts c ON c.id = n.contact_id
         WHERE EXISTS (SELECT 1 FROM preferences p WHERE p.controller = c.controller AND p.subject = c.subject AND p.state = 'granted')
         GROUP BY c.id ORDER BY c.id",
        &rows(listings),
        controller
    )
}

/// What the registers say of these contacts. A screening covers whoever was known when it was made.
pub async fn of(tx: &mut Tx, ids: &[i64]) -> Result<HashMap<i64, Vec<Screened>>> {
    let ids = json(ids);
    let mut all: HashMap<i64, Vec<Screened>> = HashMap::new();
    let covered: Vec<(i64, String, i64)> = fetch_all!(
        tx,
        "SELECT c.id, s.register, MAX(s.at) FROM EACH($1)
         THEN JOIN contacts c ON c.id = CAST(j.value AS BIGINT)
         THEN JOIN screenings s ON s.controller = c.controller AND s.done_at IS NOT NULL AND s.at >= c.created_at
         GROUP BY c.id, s.register",
        &ids
    )?;
    for (id, register, at) in covered {
        all.entry(id).or_default().push(Screened { register, at: Some(at), listed_since: None });
    }
    let listed: Vec<(i64, String, i64)> = fetch_all!(
        tx,
        "SELECT n.contact_id, l.register, MAX(l.since) FROM EACH($1)
         THEN JOIN number_macs n ON n.contact_id = CAST(j.value AS BIGINT)
         THEN JOIN register_listings l ON l.controller = n.controller AND l.mac = n.mac AND l.key_id = n.key_id
         GROUP BY n.contact_id, l.register",
        &ids
    )?;
    for (id, register, since) in listed {
        let known = all.entry(id).or_default();
        match known.iter_mut().find(|s| s.register == register) {
            Some(screened) => screened.listed_since = Some(since),
            None => known.push(Screened { register, at: None, listed_since: Some(since) }),
        }
    }
    Ok(all)
}

fn rows(listings: &[Listing]) -> String {
    let row = |l: &Listing| serde_json::json!({ "mac": l.keyed.mac, "key": l.keyed.key_id, "since": l.since });
    json(listings.iter().map(row).collect::<Vec<_>>())
}
