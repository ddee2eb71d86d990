//! Rates that every process at one database shares: from when on each is free again, by the database's clock. The arithmetic is the
//! generic cell rate algorithm (ITU-T I.371), as the governor inside a process reckons too.

use super::{Result, Tx, execute, fetch_all, json};

/// A rate of the house.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Rate {
    pub name: String,
    /// Microseconds between two messages.
    pub period: i64,
    /// Messages that may leave at once, at least 1: no second sees more than its rate and these.
    pub burst: i64,
}

/// What may leave now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    Permits(i64),
    /// Not even `least`; microseconds until there are so many.
    NotFor(i64),
}

/// From when on a rate's next permit is free, by the database's clock, microseconds.
pub type Free = (String, i64);

/// Holds these rates until the transaction ends, and tells how they stand. Always in one order, so that two processes never wait for one
/// another.
pub async fn hold(tx: &mut Tx, controller: &str, rates: &[Rate]) -> Result<Vec<Free>> {
    let free = locked(tx, controller, rates).await?;
    if free.len() == rates.len() {
        return Ok(free);
    }
    execute!(
        tx,
        "INSERT INTO rates (controller, name, free_db) SELECT $2, j.value->>'name', 0 FROM EACH($1) WHERE true ON CONFLICT DO NOTHING",
        &json(rates),
        controller
    )?;
    locked(tx, controller, rates).await
}

/// Takes permits of all these rates, which are [held](hold), at most `wanted` and at least `least`, or none. `now_db` is the database's clock
/// since they are held: to whoever looked at it and then waited for them, what another took meanwhile is a clock that was set back. Nothing
/// has to be given back: what a process that died had taken is a burst of messages that do not leave.
pub async fn lease(
    tx: &mut Tx,
    controller: &str,
    rates: &[Rate],
    free: &[Free],
    least: i64,
    wanted: i64,
    now_db: i64,
) -> Result<Lease> {
    // Farther ahead than a burst it was never written: the database's clock was set back, or the rate was slower.
    let believed = |rate: &Rate, free: i64| if free > now_db + rate.burst * rate.period { now_db } else { free.max(now_db) };
    let free_of =
        |rate: &Rate| free.iter().find(|(name, _)| *name == rate.name).map_or(now_db, |(_, free)| believed(rate, *free));
    // So many may leave that the last of them is due no later than a burst from now.
    let within = |rate: &Rate| (now_db + (rate.burst - 1) * rate.period - free_of(rate)).div_euclid(rate.period) + 1;
    let permits = rates.iter().map(within).min().unwrap_or(wanted).min(wanted);
    if permits < least {
        let wait = |rate: &Rate| free_of(rate) + (least - 1) * rate.period - (rate.burst - 1) * rate.period - now_db;
        return Ok(Lease::NotFor(rates.iter().map(wait).max().unwrap_or(0).max(1)));
    }
    let taken: Vec<_> = rates
        .iter()
        .map(|rate| serde_json::json!({ "name": rate.name, "free": free_of(rate) + permits * rate.period }))
        .collect();
    execute!(
        tx,
        "UPDATE rates SET free_db = w.free
         FROM (SELECT j.value->>'name' AS name, CAST(j.value->>'free' AS BIGINT) AS free FROM EACH($1)) AS w
         WHERE rates.controller = $2 AND rates.name = w.name",
        json(taken),
        controller
    )?;
    Ok(Lease::Permits(permits))
}

async fn locked(tx: &mut Tx, controller: &str, rates: &[Rate]) -> Result<Vec<(String, i64)>> {
    fetch_all!(
        tx,
        "SELECT name, free_db FROM rates WHERE controller = $2 AND name IN (SELECT j.value->>'name' FROM EACH($1)) ORDER BY name FOR UPDATE",
        &json(rates),
        controller
    )
}
