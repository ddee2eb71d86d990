//! One report for the terminal, the operator's page and the API: the same figures under the same names.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::plan::known;
use super::{Engine, budget, notify};
use crate::clock::instant;
use crate::store::{control, inbound, report};

/// A campaign in figures. Every person decided about is in `eligible` or under one code of `skipped`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub name: String,
    pub state: String,
    pub reason: Option<String>,
    /// RFC 3339 in the campaign's time zone.
    pub start: String,
    pub deadline: String,
    pub time_zone: String,
    pub targeted: u64,
    pub eligible: u64,
    pub skipped: BTreeMap<String, u64>,
    /// Asks and reminders by state.
    pub asks: BTreeMap<String, u64>,
    /// Confirmations, acknowledgements and help by state.
    pub answers: BTreeMap<String, u64>,
    /// People: a first yes waits for its second step.
    pub pending: u64,
    pub confirmed: u64,
    pub refused: u64,
    pub stopped: u64,
    pub wrong_person: u64,
    /// Asked and nothing said, or a first yes that nothing followed.
    pub silent: u64,
    pub unknown: u64,
    /// Asks and reminders in money; none where no price was known.
    pub cost: Option<budget::Spending>,
}

impl Report {
    /// Asks that were accepted by the gateway, or may have been.
    pub fn asked(&self) -> u64 {
        self.asks.iter().filter(|(state, _)| !matches!(state.as_str(), "planned" | "cancelled" | "lapsed")).map(|(_, n)| n).sum()
    }
}

pub async fn campaign(engine: &Engine, name: &str) -> Result<Report> {
    let mut tx = engine.store.read().await?;
    let row = known(&mut tx, engine, name).await?;
    let revision = engine.revision(&mut tx, row.revision_id).await?;
    let zone: chrono_tz::Tz = revision.time_zone.parse().unwrap_or_default();
    let stamp = |at: i64| instant(at).with_timezone(&zone).to_rfc3339();
    let mut out = Report {
        name: row.name.clone(),
        state: row.state.clone(),
        reason: row.reason.clone(),
        start: stamp(row.start_at),
        deadline: stamp(row.deadline),
        time_zone: revision.time_zone.clone(),
        ..Report::default()
    };
    out.cost = budget::spending(&mut tx, &row, &revision).await?;
    for (outcome, code, count) in report::decisions(&mut tx, row.id).await? {
        let count = count.unsigned_abs();
        out.targeted += count;
        if outcome == "skip" { *out.skipped.entry(code).or_default() += count } else { out.eligible += count }
    }
    for (kind, state, count) in report::messages(&mut tx, row.id).await? {
        let count = count.unsigned_abs();
        let asking = matches!(kind.as_str(), "ask" | "reminder");
        out.unknown += if asking && state == "unknown" { count } else { 0 };
        let table = if asking { &mut out.asks } else { &mut out.answers };
        *table.entry(state).or_default() += count;
    }
    for (state, count) in report::conversations(&mut tx, row.id).await? {
        let count = count.unsigned_abs();
        match state.as_str() {
            "pending" => out.pending += count,
            "granted" => out.confirmed += count,
            "refused" => out.refused += count,
            "stopped" => out.stopped += count,
            "wrong_person" => out.wrong_person += count,
            _ => out.silent += count,
        }
    }
    tx.rollback().await?;
    Ok(out)
}

/// What the operator sees first.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Overview {
    pub halted: bool,
    /// Why nothing is sent at the moment, if so.
    pub silence: Option<String>,
    pub inbox_waiting: u64,
    pub campaigns: Vec<Report>,
    pub gateways: Vec<GatewayHealth>,
    pub inbound: BTreeMap<String, u64>,
    pub consents: BTreeMap<String, u64>,
    pub webhooks: Vec<notify::Standing>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct GatewayHealth {
    pub name: String,
    pub healthy: bool,
    pub note: String,
}

pub async fn overview(engine: &Engine) -> Result<Overview> {
    let mut tx = engine.store.read().await?;
    let silence = control::silence(&mut tx, &engine.controller, super::LEASE_DB).await?;
    let mut out = Overview {
        halted: silence == Some(control::Silence::Halted),
        silence: silence.map(|s| s.sentence().to_owned()),
        inbox_waiting: inbound::held(&mut tx, &engine.controller).await?.len() as u64,
        ..Overview::default()
    };
    for (intent, count) in report::inbound(&mut tx, &engine.controller).await? {
        out.inbound.insert(intent, count.unsigned_abs());
    }
    for (state, count) in report::preferences(&mut tx, &engine.controller).await? {
        out.consents.insert(state, count.unsigned_abs());
    }
    let known: BTreeMap<String, control::Health> =
        control::all_health(&mut tx, &engine.controller).await?.into_iter().map(|h| (h.name.clone(), h)).collect();
    for name in engine.gateways.keys() {
        let health = known.get(name).cloned().unwrap_or_default();
        let note = match &health {
            h if h.paused_at.is_some() => format!("paused: {}", h.pause_reason.clone().unwrap_or_default()),
            h if h.opened_at.is_some() => {
                "breaker open: five outcomes in a row were unknown; one probe every half minute".to_owned()
            }
            h if h.throttled_until > engine.now() => "throttled by the gateway".to_owned(),
            _ => "sending".to_owned(),
        };
        let healthy = health.paused_at.is_none() && health.opened_at.is_none();
        out.gateways.push(GatewayHealth { name: name.clone(), healthy, note });
    }
    out.webhooks = notify::standings(&mut tx, engine).await?;
    let names: Vec<String> =
        crate::store::campaigns::all(&mut tx, &engine.controller).await?.into_iter().map(|c| c.name).collect();
    tx.rollback().await?;
    for name in names {
        out.campaigns.push(campaign(engine, &name).await?);
    }
    Ok(out)
}
