//! Each gateway's health, and what it answered lately by class of error.

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::{Result, bail};
use serde::Serialize;
use utoipa::ToSchema;

use super::Engine;
use crate::clock::{HOUR, instant};
use crate::store::{control, conversations, report};

/// Callbacks that this process has refused since its start, by gateway and reason: for whoever set one up and hears nothing, and for
/// whoever watches for forgeries. Counted in memory, so that whoever forges costs no writing.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<(String, &'static str), u64>>);

impl Refusals {
    pub fn add(&self, gateway: &str, why: &'static str) {
        *self.0.lock().expect("no panic while held").entry((gateway.to_owned(), why)).or_default() += 1;
    }

    /// Gateway, reason, count. The gateway is empty where the address names none that is configured.
    pub fn all(&self) -> Vec<(String, &'static str, u64)> {
        let counts = self.0.lock().expect("no panic while held");
        counts.iter().map(|((gateway, why), count)| (gateway.clone(), *why, *count)).collect()
    }
}

/// A gateway that questions left by has to be there until they are closed: a STOP that it tells would find nobody.
///
/// # Errors
/// One of them is not configured, and which; or the database is away.
pub async fn all_are_heard(engine: &Engine) -> Result<()> {
    let mut tx = engine.store.read().await?;
    for control::Health { name, .. } in control::all_health(&mut tx, &engine.controller).await? {
        if !engine.gateways.contains_key(&name) && conversations::are_open_at(&mut tx, &engine.controller, &name).await? {
            bail!(
                "permesso.toml has no gateway `{name}`, and people may still answer what left by it: their STOP would reach nobody; \
                 remedy: put its [[gateway]] back under that name, without a sender if nothing is to leave by it, until those questions are closed"
            );
        }
    }
    tx.rollback().await?;
    Ok(())
}

/// Hours looked back on.
pub const LOOK_BACK_H: i64 = 24;

#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct GatewayReport {
    pub name: String,
    pub driver: String,
    /// False while it is paused or its breaker is open.
    pub healthy: bool,
    /// Its state as a sentence.
    pub note: String,
    /// Why it is paused, in the gateway's own words.
    pub pause_reason: Option<String>,
    /// Since when its breaker is open, RFC 3339.
    pub breaker_open_since: Option<String>,
    /// Unknown outcomes in a row; five open the breaker.
    pub unknowns_in_a_row: u64,
    /// Sends in a row for which no connection came about; five open the breaker.
    pub unreached_in_a_row: u64,
    /// Why no connection to it comes about, where the breaker is open for that.
    pub out_of_reach: Option<String>,
    /// Callbacks refused by this process since its start, by reason.
    pub refused: Vec<Refused>,
    /// Highest rate, messages a second.
    pub rate: f64,
    /// Attempts of the last 24 hours, by outcome and error.
    pub attempts: Vec<Class>,
}

/// Callbacks refused for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Refused {
    /// `unsigned`, `signature` (or bearer token), `token` (of the address), `password`, `address` (none of `callback_addresses`), `stale`,
    /// `form` (method, content type or body)
    pub why: String,
    pub count: u64,
}

/// Attempts that ended alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Class {
    /// `accepted`, `not_accepted`, `refused`, `unknown`, `in flight`
    pub outcome: String,
    /// The gateway's code or ours; empty where there was no error.
    pub error: String,
    pub count: u64,
}

impl GatewayReport {
    pub fn total(&self) -> u64 {
        self.attempts.iter().map(|c| c.count).sum()
    }

    pub fn with(&self, outcome: &str) -> u64 {
        self.attempts.iter().filter(|c| c.outcome == outcome).map(|c| c.count).sum()
    }
}

pub async fn gateways(engine: &Engine) -> Result<Vec<GatewayReport>> {
    let now = engine.now();
    let mut tx = engine.store.read().await?;
    let known: BTreeMap<String, control::Health> =
        control::all_health(&mut tx, &engine.controller).await?.into_iter().map(|h| (h.name.clone(), h)).collect();
    let mut classes: BTreeMap<String, Vec<Class>> = BTreeMap::new();
    for (gateway, outcome, error, n) in report::attempts_since(&mut tx, &engine.controller, now / HOUR - LOOK_BACK_H).await? {
        classes.entry(gateway).or_default().push(Class { outcome, error, count: n.unsigned_abs() });
    }
    tx.rollback().await?;
    let refused = engine.refused.all();
    let mut out = Vec::new();
    for config in &engine.config.gateways {
        let health = known.get(config.name()).cloned().unwrap_or_default();
        let mut attempts = classes.remove(config.name()).unwrap_or_default();
        attempts.sort_by_key(|c| std::cmp::Reverse(c.count));
        out.push(GatewayReport {
            name: config.name().to_owned(),
            driver: config.driver.name.to_owned(),
            healthy: health.is_working(),
            note: note(&health, now),
            breaker_open_since: health.opened_at.map(|at| instant(at).to_rfc3339()),
            unknowns_in_a_row: health.unknowns.unsigned_abs(),
            unreached_in_a_row: health.unreached.unsigned_abs(),
            out_of_reach: health.open_reason.filter(|_| health.opened_at.is_some()),
            pause_reason: health.pause_reason.filter(|_| health.paused_at.is_some()),
            refused: refused
                .iter()
                .filter(|(gateway, ..)| gateway == config.name())
                .map(|(_, why, count)| Refused { why: (*why).to_owned(), count: *count })
                .collect(),
            rate: config.rate,
            attempts,
        });
    }
    Ok(out)
}

/// A gateway's state as a sentence.
pub(super) fn note(health: &control::Health, now: i64) -> String {
    match health {
        h if h.paused_at.is_some() => format!("paused: {}", h.pause_reason.as_deref().unwrap_or_default()),
        h if h.out_of_reach().is_some() => out_of_reach(h, now).unwrap_or_default(),
        h if h.opened_at.is_some() => "breaker open: five outcomes in a row were unknown; one probe every half minute".to_owned(),
        h if h.throttled_until > now => "throttled by the gateway".to_owned(),
        // Whether it works only a message shows; `gateway test` sends one.
        _ => "nothing stands in its way".to_owned(),
    }
}

/// Since when and why a gateway is out of reach, as a sentence, if it is.
pub(super) fn out_of_reach(health: &control::Health, now: i64) -> Option<String> {
    let (since, why) = health.out_of_reach()?;
    let (since, now) = (instant(since), instant(now));
    let form = if since.date_naive() == now.date_naive() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    Some(format!("out of reach since {} UTC: {why}; one probe every half minute", since.format(form)))
}
