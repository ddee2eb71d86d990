//! One report for the terminal, the operator's page and the API: the same figures under the same names.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use utoipa::ToSchema;

use super::plan::known;
use super::{Engine, budget, gateways, notice, notify};
use crate::clock::instant;
use crate::domain::answer::{Answer, By};
use crate::domain::campaign::{CampaignState, Tally};
use crate::domain::eligibility;
use crate::domain::reply::Intent;
use crate::store::{Tx, campaigns, control, report, requests};

/// A campaign in figures. Every number decided about is in `eligible` or under one code of `skipped`; every person asked is in `answered`,
/// `silent`, `unknown` or `not_reached`; and whoever answered stands under one of `confirmed`, `pending`, `unfinished`, `refused`,
/// `stopped`, `wrong_person` and `replied`.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Report {
    pub name: String,
    pub state: String,
    pub reason: Option<String>,
    /// Everything is halted by the operator, this campaign with it.
    pub halted: bool,
    /// Gateways of its asks that are out of reach, since when and why.
    pub out_of_reach: Vec<String>,
    /// RFC 3339 in the campaign's time zone.
    pub start: String,
    pub deadline: String,
    pub time_zone: String,
    /// Numbers decided about: of a person with several, each.
    pub targeted: u64,
    /// People with a right to be asked, each by one number; their others are skipped as `OTHER_NUMBER`.
    pub eligible: u64,
    pub skipped: BTreeMap<String, u64>,
    /// Asks by state. `replaced` are those that a newer plan made anew: nobody's answer stopped them.
    pub asks: BTreeMap<String, u64>,
    /// Reminders by state.
    pub reminders: BTreeMap<String, u64>,
    /// Why asks and reminders did not go, or wait.
    pub unsent: Vec<Unsent>,
    /// Confirmations, acknowledgements and help by state.
    pub answers: BTreeMap<String, u64>,
    /// People whose ask left us: a gateway took it, may have taken it, or refused the number. Reminders do not count.
    pub asked: u64,
    pub delivered: u64,
    /// Said anything at all.
    pub answered: u64,
    /// Said yes and completed it by the second step.
    pub confirmed: u64,
    /// Of the confirmed: nothing of what they allowed stands any more.
    pub withdrawn: u64,
    /// Who ended it: `person`, `operator`, `gateway`, `list`.
    pub withdrawn_by: BTreeMap<String, u64>,
    /// A first yes waits for its second step.
    pub pending: u64,
    /// A first yes, whose second step never came.
    pub unfinished: u64,
    pub refused: u64,
    /// All marketing stopped, by whoever had confirmed nothing.
    pub stopped: u64,
    /// Who said so: `person`, `operator`, `gateway`, `list`.
    pub stopped_by: BTreeMap<String, u64>,
    pub wrong_person: u64,
    /// Had confirmed nothing, and their number gave way to a new one.
    pub number_changed: u64,
    /// Replied, no decision: "ok", a call for help, what nobody could read for sure.
    pub replied: u64,
    /// Of these: answered after the copy of the database was made that was restored; what they said is in the one kept aside.
    pub answered_since: u64,
    /// Asked, and nothing said.
    pub silent: u64,
    /// It cannot be said whether the gateway took the ask. Counts as asked; never sent again.
    pub unknown: u64,
    /// The ask was refused, undelivered or expired.
    pub not_reached: u64,
    /// Asks and reminders in money; none where no price was known.
    pub cost: Option<budget::Spending>,
}

/// Asks or reminders that did not go, for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Unsent {
    /// `ask`, `reminder`
    pub kind: String,
    /// `cancelled`, `lapsed`; `planned` where it only waits.
    pub state: String,
    /// `HELD_FOR_OPERATOR`, or what it is called where no rule decided.
    pub code: String,
    /// The same as a sentence.
    pub sentence: String,
    pub count: u64,
}

impl Unsent {
    /// As people read it: the sentence, or what it is called where there is none.
    pub fn why(&self) -> &str {
        if self.sentence.is_empty() { &self.code } else { &self.sentence }
    }

    /// Whether a rule of ours decided, so that its code says more than the sentence.
    pub fn is_rule(&self) -> bool {
        eligibility::Reason::parse(&self.code).is_some()
    }

    /// Made anew by a newer plan, so nothing of it is missing.
    fn is_replaced(&self) -> bool {
        self.state == "cancelled" && self.code == "planned anew"
    }
}

impl Report {
    /// Why reminders did not go, or wait.
    pub fn not_reminded(&self) -> impl Iterator<Item = &Unsent> {
        self.unsent.iter().filter(|u| u.kind == "reminder" && !u.is_replaced())
    }

    /// Why asks of the eligible did not go, or wait.
    pub fn not_asked(&self) -> impl Iterator<Item = &Unsent> {
        self.unsent.iter().filter(|u| u.kind == "ask" && !u.is_replaced())
    }

    /// Messages of which nobody knows whether a gateway took them: what `campaign settle` is about.
    pub fn in_doubt(&self) -> u64 {
        [&self.asks, &self.reminders, &self.answers].into_iter().filter_map(|states| states.get("unknown")).sum()
    }

    fn count(&mut self, answer: &str, by: &str, n: u64) {
        let by = || if By::parse(by).is_some() { by.to_owned() } else { By::Person.code().to_owned() };
        match answer {
            "silent" => self.silent += n,
            "unknown" => self.unknown += n,
            "not_reached" => self.not_reached += n,
            said => {
                self.answered += n;
                match Answer::parse(said) {
                    Some(Answer::Confirmed) => self.confirmed += n,
                    Some(Answer::Withdrawn) => {
                        self.confirmed += n;
                        self.withdrawn += n;
                        *self.withdrawn_by.entry(by()).or_default() += n;
                    }
                    Some(Answer::Pending) => self.pending += n,
                    Some(Answer::Unfinished) => self.unfinished += n,
                    Some(Answer::Refused) => self.refused += n,
                    Some(Answer::Stopped) => {
                        self.stopped += n;
                        *self.stopped_by.entry(by()).or_default() += n;
                    }
                    Some(said) if gave_way(said, &by()) => self.number_changed += n,
                    Some(Answer::WrongPerson) => self.wrong_person += n,
                    Some(Answer::Replied) | None => {
                        self.replied += n;
                        self.answered_since += if by() == By::Restore.code() { n } else { 0 };
                    }
                }
            }
        }
        self.asked += n;
    }
}

/// Whether a message in this state left us, or may have.
pub(super) fn was_asked(state: &str) -> bool {
    !matches!(state, "planned" | "cancelled" | "replaced" | "lapsed")
}

/// Whether this answer, said by whom, is that the number gave way to its person's new one: an operator's word, by a letter.
pub(super) fn gave_way(answer: Answer, by: &str) -> bool {
    answer == Answer::WrongPerson && by == By::Operator.code()
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
    let out = figures(engine, &mut tx, &row).await?;
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
    if !matches!(row.state(), CampaignState::Finished | CampaignState::Cancelled) {
        let down = |h: control::Health| Some(format!("gateway {}: {}", h.name, gateways::out_of_reach(&h, engine.now())?));
        let known = control::all_health(tx, &engine.controller).await?.into_iter();
        out.out_of_reach = known.filter(|h| revision.asks.iter().any(|a| a.sender.gateway == h.name)).filter_map(down).collect();
    }
    out.cost = budget::spending(tx, row, &revision).await?;
    for (outcome, code, count) in report::decisions(tx, row.id).await? {
        let count = count.unsigned_abs();
        out.targeted += count;
        if outcome == "skip" { *out.skipped.entry(code).or_default() += count } else { out.eligible += count }
    }
    for (kind, state, count) in report::messages(tx, row.id).await? {
        let count = count.unsigned_abs();
        let table = match kind.as_str() {
            "ask" => {
                out.delivered += if is_delivered(&state) { count } else { 0 };
                &mut out.asks
            }
            "reminder" => &mut out.reminders,
            _ => &mut out.answers,
        };
        *table.entry(state).or_default() += count;
    }
    for (kind, state, code, count) in report::unsent(tx, row.id).await? {
        let sentence = eligibility::sentence(&code).unwrap_or_default().to_owned();
        let code = eligibility::rule(&code).map_or(code, |rule| rule.code().to_owned());
        let same = |u: &&mut Unsent| u.kind == kind && u.state == state && u.code == code;
        match out.unsent.iter_mut().find(same) {
            Some(known) => known.count += count.unsigned_abs(),
            None => out.unsent.push(Unsent { kind, state, code, sentence, count: count.unsigned_abs() }),
        }
    }
    for unsent in out.unsent.iter().filter(|u| u.is_replaced()) {
        let states = if unsent.kind == "ask" { &mut out.asks } else { &mut out.reminders };
        if let Some(cancelled) = states.get_mut("cancelled") {
            *cancelled = cancelled.saturating_sub(unsent.count);
        }
        states.retain(|_, n| *n > 0);
        *states.entry("replaced".to_owned()).or_default() += unsent.count;
    }
    for (answer, by, count) in report::answers(tx, row.id).await? {
        out.count(&answer, &by, count.unsigned_abs());
    }
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
    /// People's requests about their data that are past their day and not done.
    pub requests_overdue: u64,
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
    /// False while no connection to it comes about.
    pub reachable: bool,
    pub note: String,
}

/// What the responsible should hear about the country packs, of those in the folder and of those under way campaigns were frozen with;
/// about forms that are closed, and about a notice that is not published as it reads.
pub async fn warnings(engine: &Engine, tx: &mut Tx) -> Result<Vec<String>> {
    let today = instant(engine.now()).date_naive();
    let mut warnings = engine.config.pack_warnings(today);
    let closed = |problem| format!("a form is closed until this is mended: {problem}");
    warnings.extend(engine.config.unfit_forms.iter().map(closed));
    if let Err(problem) = notice::required(tx, engine).await {
        warnings
            .push(format!("{problem:#}; until then people see and consent to the notice published last, and forms and pages that no campaign sent take no yes"));
    }
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
        requests_overdue: requests::overdue(&mut tx, &engine.controller, engine.now()).await?.unsigned_abs(),
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
        let note = gateways::note(&health, engine.now());
        let (healthy, reachable) = (health.is_working(), health.out_of_reach().is_none());
        out.gateways.push(GatewayHealth { name: name.clone(), healthy, reachable, note });
    }
    out.webhooks = notify::standings(&mut tx, engine).await?;
    out.warnings = warnings(engine, &mut tx).await?;
    for row in campaigns::all(&mut tx, &engine.controller).await? {
        out.campaigns.push(figures(engine, &mut tx, &row).await?);
    }
    tx.rollback().await?;
    Ok(out)
}
