//! One report for the terminal, the operator's page and the API: the same figures under the same names.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use utoipa::ToSchema;

use super::plan::known;
use super::{Engine, budget, gateways, notify};
use crate::clock::instant;
use crate::domain::campaign::{CampaignState, Tally};
use crate::domain::reply::Intent;
use crate::store::{Tx, campaigns, control, report};

/// A campaign in figures. Every person decided about is in `eligible` or under one code of `skipped`.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Report {
    pub name: String,
    pub state: String,
    pub reason: Option<String>,
    /// Everything is halted by the operator, this campaign with it.
    pub halted: bool,
    /// RFC 3339 in the campaign's time zone.
    pub start: String,
    pub deadline: String,
    pub time_zone: String,
    pub targeted: u64,
    pub eligible: u64,
    pub skipped: BTreeMap<String, u64>,
    /// Asks and reminders by state. `replaced` are those that a newer plan made anew: nobody's answer stopped them. In the overview
    /// these count as `cancelled`.
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
    pub funnel: Funnel,
}

/// People, from the plan to their answer. Each was decided about once; reminders and repeats are not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Funnel {
    pub decided: u64,
    pub eligible: u64,
    /// The ask left us: a gateway took it, may have taken it, or refused the number.
    pub asked: u64,
    pub delivered: u64,
    /// Said anything that was understood: a first yes, a no, a STOP, "wrong number".
    pub answered: u64,
    /// A first yes waits for its second step.
    pub pending: u64,
    pub granted: u64,
    pub refused: u64,
    /// STOP, and "wrong number".
    pub stopped: u64,
}

impl Report {
    /// Asks that were accepted by the gateway, or may have been.
    pub fn asked(&self) -> u64 {
        self.asks.iter().filter(|(state, _)| was_asked(state)).map(|(_, n)| n).sum()
    }
}

/// Whether a message in this state left us, or may have.
pub(super) fn was_asked(state: &str) -> bool {
    !matches!(state, "planned" | "cancelled" | "replaced" | "lapsed")
}

pub(super) fn is_delivered(state: &str) -> bool {
    matches!(state, "delivered" | "read")
}

/// What `stop_if` looks at.
pub async fn tally(tx: &mut Tx, campaign: i64) -> Result<Tally> {
    let mut tally = Tally::default();
    for (kind, state, count) in report::messages(tx, campaign).await? {
        // What is on its way says nothing yet about how many fail.
        let left = was_asked(&state) && state != "sending";
        if matches!(kind.as_str(), "ask" | "reminder") && left {
            tally.left += count;
            tally.failed += if matches!(state.as_str(), "failed" | "undelivered" | "expired") { count } else { 0 };
        }
    }
    for (state, count) in report::conversations(tx, campaign).await? {
        tally.stops += if matches!(state.as_str(), "stopped" | "wrong_person") { count } else { 0 };
    }
    Ok(tally)
}

pub async fn campaign(engine: &Engine, name: &str) -> Result<Report> {
    let mut tx = engine.store.read().await?;
    let row = known(&mut tx, engine, name).await?;
    let mut out = figures(engine, &mut tx, &row).await?;
    if let Some(cancelled) = out.asks.get("cancelled").copied() {
        // Counted from the messages themselves, so only where somebody asks for one campaign.
        let replaced = campaigns::replaced(&mut tx, row.id).await?.unsigned_abs().min(cancelled);
        let parts = [("replaced", replaced), ("cancelled", cancelled - replaced)];
        out.asks.remove("cancelled");
        out.asks.extend(parts.into_iter().filter(|(_, n)| *n > 0).map(|(state, n)| (state.to_owned(), n)));
    }
    tx.rollback().await?;
    Ok(out)
}

async fn figures(engine: &Engine, tx: &mut Tx, row: &campaigns::Row) -> Result<Report> {
    let revision = engine.revision(tx, row.revision_id).await?;
    let zone: chrono_tz::Tz = revision.time_zone.parse().unwrap_or_default();
    let stamp = |at: i64| instant(at).with_timezone(&zone).to_rfc3339();
    let mut out = Report {
        name: row.name.clone(),
        state: row.state.clone(),
        reason: row.reason.clone(),
        halted: control::silence(tx, &engine.controller, super::LEASE_DB).await? == Some(control::Silence::Halted),
        start: stamp(row.start_at),
        deadline: stamp(row.deadline),
        time_zone: revision.time_zone.clone(),
        ..Report::default()
    };
    out.cost = budget::spending(tx, row, &revision).await?;
    for (outcome, code, count) in report::decisions(tx, row.id).await? {
        let count = count.unsigned_abs();
        out.targeted += count;
        if outcome == "skip" { *out.skipped.entry(code).or_default() += count } else { out.eligible += count }
    }
    for (kind, state, count) in report::messages(tx, row.id).await? {
        let count = count.unsigned_abs();
        let asking = matches!(kind.as_str(), "ask" | "reminder");
        out.unknown += if asking && state == "unknown" { count } else { 0 };
        if kind == "ask" {
            out.funnel.asked += if was_asked(&state) { count } else { 0 };
            out.funnel.delivered += if is_delivered(&state) { count } else { 0 };
        }
        let table = if asking { &mut out.asks } else { &mut out.answers };
        *table.entry(state).or_default() += count;
    }
    for (state, count) in report::conversations(tx, row.id).await? {
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
    let stopped = out.stopped + out.wrong_person;
    out.funnel = Funnel {
        decided: out.targeted,
        eligible: out.eligible,
        answered: out.pending + out.confirmed + out.refused + stopped,
        pending: out.pending,
        granted: out.confirmed,
        refused: out.refused,
        stopped,
        ..out.funnel
    };
    Ok(out)
}

/// What the operator sees first.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Overview {
    pub halted: bool,
    /// Why nothing is sent at the moment, if so.
    pub silence: Option<String>,
    /// A time in which nobody listened is not settled; `resume` with the operator's word does it.
    pub unheard: bool,
    pub inbox_waiting: u64,
    /// Rules of country packs that nobody has reviewed for long: what will stop, or has stopped, and the remedy.
    pub warnings: Vec<String>,
    pub campaigns: Vec<Report>,
    pub gateways: Vec<GatewayHealth>,
    pub inbound: BTreeMap<String, u64>,
    pub consents: BTreeMap<String, u64>,
    pub webhooks: Vec<notify::Standing>,
}

#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct GatewayHealth {
    pub name: String,
    pub healthy: bool,
    pub note: String,
}

/// What the responsible should hear about the country packs: of those in the folder, and of those under way campaigns were frozen with.
pub async fn warnings(engine: &Engine, tx: &mut Tx) -> Result<Vec<String>> {
    let today = instant(engine.now()).date_naive();
    let mut warnings = engine.config.pack_warnings(today);
    for row in campaigns::all(tx, &engine.controller).await? {
        if matches!(row.state(), CampaignState::Finished | CampaignState::Cancelled) {
            continue;
        }
        let frozen = engine.revision(tx, row.revision_id).await?.pack_warnings(today);
        warnings.extend(
            frozen
                .into_iter()
                .map(|warning| format!("campaign {}, as frozen: {warning}, then plan and start the campaign again", row.name)),
        );
    }
    Ok(warnings)
}

pub async fn overview(engine: &Engine) -> Result<Overview> {
    let mut tx = engine.store.read().await?;
    let silence = control::silence(&mut tx, &engine.controller, super::LEASE_DB).await?;
    let mut out = Overview {
        halted: silence == Some(control::Silence::Halted),
        unheard: silence == Some(control::Silence::Gap),
        silence: silence.map(|s| s.sentence().to_owned()),
        inbox_waiting: report::waiting(&mut tx, &engine.controller).await?.unsigned_abs(),
        ..Overview::default()
    };
    for (intent, count) in report::inbound(&mut tx, &engine.controller).await? {
        *out.inbound.entry(Intent::coarse(&intent).to_owned()).or_default() += count.unsigned_abs();
    }
    for (state, count) in report::preferences(&mut tx, &engine.controller).await? {
        out.consents.insert(state, count.unsigned_abs());
    }
    let known: BTreeMap<String, control::Health> =
        control::all_health(&mut tx, &engine.controller).await?.into_iter().map(|h| (h.name.clone(), h)).collect();
    for name in engine.gateways.keys() {
        let health = known.get(name).cloned().unwrap_or_default();
        let healthy = health.paused_at.is_none() && health.opened_at.is_none();
        out.gateways.push(GatewayHealth { name: name.clone(), healthy, note: gateways::note(&health, engine.now()) });
    }
    out.webhooks = notify::standings(&mut tx, engine).await?;
    out.warnings = warnings(engine, &mut tx).await?;
    for row in campaigns::all(&mut tx, &engine.controller).await? {
        out.campaigns.push(figures(engine, &mut tx, &row).await?);
    }
    tx.rollback().await?;
    Ok(out)
}
