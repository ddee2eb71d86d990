//! Plan: decide about everybody. The dry run counts and changes nothing; `start` freezes what it saw; the planner then
//! records a decision for every person and a message for those who may be asked, batch by batch.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::budget::{self, Cost, worst_case};
use super::openings::Openings;
use super::seen::Seen;
use super::{Engine, legs, notice};
use crate::clock::instant;
use crate::domain::campaign::{Ask, Campaign, CampaignState};
use crate::domain::channel::Channel;
use crate::domain::eligibility::{Cause, Decision, Reason, decide};
use crate::domain::ledger::body_hash;
use crate::domain::message::Kind;
use crate::store::campaigns::{Decided, Start};
use crate::store::facts::Person;
use crate::store::messages::{New, Route};
use crate::store::queue::{self, Job};
use crate::store::{Tx, campaigns, contacts, control, facts, humans, inbound, ledger, messages};
use crate::vault;

/// Contacts looked at by one statement.
const CHUNK: i64 = 2000;
/// Contacts decided, or messages cancelled, a transaction of the one writer that SQLite has: a yes or a no waits for no more than these.
const CHUNK_OF_ONE_WRITER: i64 = 500;
/// Messages a batch, so that several jobs share a campaign.
const BATCH: usize = 1000;
/// How far the counts may move between the plan and its start, in percent.
const MARGIN: f64 = 2.0;

/// What a dry run counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Numbers looked at.
    pub contacts: u64,
    /// People who would be asked, each by one number; their other numbers are skipped as `OTHER_NUMBER`.
    pub eligible: u64,
    pub skipped: BTreeMap<String, u64>,
    /// Eligible people whose message waits for quiet hours to end.
    pub waiting: u64,
    /// Eligible people whom another campaign under way is about to ask, by its name.
    #[serde(default)]
    pub elsewhere: BTreeMap<String, u64>,
    /// Eligible people by locale of their text.
    pub locales: BTreeMap<String, u64>,
    /// Eligible people by the channel they would be asked on.
    #[serde(default)]
    pub channels: BTreeMap<String, u64>,
    /// Eligible people by the text they would read: channel and locale, as [`text_key`] writes them.
    #[serde(default)]
    pub texts: BTreeMap<String, u64>,
    /// SMS parts of all asks together, with the longest link.
    pub parts: u64,
    /// Eligible people by country and, where it is stated, time zone: `IT`, `ES Atlantic/Canary`.
    #[serde(default)]
    pub places: BTreeMap<String, u64>,
    /// The worst case in money.
    #[serde(default)]
    pub cost: Cost,
}

/// `sms it`: a text of the ask, in [`Counts::texts`].
pub fn text_key(channel: Channel, locale: &str) -> String {
    format!("{} {locale}", channel.code())
}

/// One person's verdict.
struct Verdict<'a> {
    decision: Decision,
    ask: &'a Ask,
    locale: String,
    /// The channels before it that were impossible, and why.
    passed_over: Vec<(Channel, Reason)>,
}

/// The first channel that is possible decides; where none is, the last one does (design section 7).
fn judge<'a>(campaign: &'a Campaign, id: i64, person: &Person, openings: &mut Openings, now: i64) -> Option<Verdict<'a>> {
    // Before its start nothing is sent, so quiet hours are judged from there.
    let at = now.max(campaign.start.timestamp_micros());
    let opening = openings.of(campaign, person, at);
    let mut passed_over = Vec::new();
    let mut asks = campaign.asks.iter().peekable();
    let (ask, decision) = loop {
        let ask = asks.next()?;
        let cause = Cause::Plan {
            kind: Kind::Ask,
            campaign,
            campaign_id: id,
            ask,
            message: None,
            ask_arrived: false,
            opening: &opening,
            today: instant(at).date_naive(),
        };
        match decide(cause, &person.facts, at) {
            Decision::Skip(reason) if reason.is_of_channel() && asks.peek().is_some() => passed_over.push((ask.channel, reason)),
            decision => break (ask, decision),
        }
    };
    let locale = campaign.locale_for(ask, person.facts.country.as_deref(), person.locale.as_deref());
    Some(Verdict { decision, ask, locale: locale.to_owned(), passed_over })
}

/// The dry run: decides about everybody and writes nothing.
pub async fn preview(engine: &Engine, campaign: &Campaign, mut progress: impl FnMut(u64)) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut openings = Openings::default();
    let (mut after, now) = (0, engine.now());
    engine.store.take_stock().await;
    let mut tx = engine.store.read().await?;
    let id = campaigns::by_name(&mut tx, &engine.controller, &campaign.name).await?.map_or(0, |c| c.id);
    let shown = engine.config.preview(campaign)?;
    let mut people_by_text: BTreeMap<(String, Channel, String), u64> = BTreeMap::new();
    let mut by_another = HashSet::new();
    loop {
        let ids: Vec<i64> =
            contacts::ids_after(&mut tx, &engine.controller, after, CHUNK).await?.into_iter().map(|(id,)| id).collect();
        let Some(last) = ids.last() else { break };
        after = *last;
        let people = facts::people(&mut tx, &campaign.family, &ids, now).await?;
        let elsewhere: HashMap<i64, String> =
            messages::planned_elsewhere(&mut tx, &ids, &campaign.name).await?.into_iter().collect();
        let shared = humans::of_several_numbers(&mut tx, &ids).await?;
        for person in ids.iter().filter_map(|id| people.get(id)) {
            counts.contacts += 1;
            let Some(verdict) = judge(campaign, id, person, &mut openings, now) else { continue };
            match verdict.decision {
                Decision::Skip(reason) => *counts.skipped.entry(reason.code().into()).or_default() += 1,
                // One ask a human (promise 3): the first of their numbers is asked, as `plan_next` does it.
                Decision::Send(_) | Decision::Wait { .. }
                    if shared.contains(&person.facts.contact) && !by_another.insert(person.person.clone()) =>
                {
                    *counts.skipped.entry(Reason::OtherNumber.code().into()).or_default() += 1;
                }
                Decision::Send(_) | Decision::Wait { .. } => {
                    counts.eligible += 1;
                    if let Some(other) = elsewhere.get(&person.facts.contact) {
                        *counts.elsewhere.entry(other.clone()).or_default() += 1;
                    }
                    counts.waiting += u64::from(matches!(verdict.decision, Decision::Wait { .. }));
                    let country = person.facts.country.clone().unwrap_or_default();
                    let place = person.zone.as_ref().map_or_else(|| country.clone(), |zone| format!("{country} {zone}"));
                    *counts.places.entry(place).or_default() += 1;
                    *people_by_text.entry((country, verdict.ask.channel, verdict.locale.clone())).or_default() += 1;
                    *counts.channels.entry(verdict.ask.channel.code().to_owned()).or_default() += 1;
                    *counts.texts.entry(text_key(verdict.ask.channel, &verdict.locale)).or_default() += 1;
                    *counts.locales.entry(verdict.locale).or_default() += 1;
                }
            }
        }
        progress(counts.contacts);
    }
    tx.rollback().await?;
    let parts = |channel: Channel, locale: &str| {
        let ask = shown.iter().find(|s| s.channel == channel && s.locale == locale && s.kinds.iter().any(|kind| kind == "ask"));
        ask.and_then(|s| s.sms.as_ref()).map_or(0, |sms| sms.size.parts as u64)
    };
    counts.parts = people_by_text.iter().map(|((_, channel, locale), people)| parts(*channel, locale) * people).sum();
    counts.cost = worst_case(campaign, &shown, &people_by_text);
    Ok(counts)
}

/// Saves a dry run under an id that `start` asks for.
///
/// # Errors
/// The privacy notice is not published (compliance S7).
pub async fn save(engine: &Engine, campaign: &Campaign, counts: &Counts) -> Result<String> {
    let id = format!("plan-{}", &vault::token()[..8]);
    let mut tx = engine.store.write().await?;
    notice::required(&mut tx, engine).await?;
    let plan = campaigns::Plan {
        id: id.clone(),
        campaign: campaign.name.clone(),
        revision: serde_json::to_string(campaign)?,
        counts: serde_json::to_string(counts)?,
        at: engine.now(),
    };
    campaigns::save_plan(&mut tx, &engine.controller, &plan).await?;
    tx.commit().await?;
    Ok(id)
}

/// What a start froze.
#[derive(Debug)]
pub struct Started {
    pub campaign_id: i64,
    /// As planned, which the campaign's file need no longer be.
    pub revision: Campaign,
    /// The campaign's file, its texts, prices or country packs read differently now, or cannot be read.
    pub file_changed: bool,
    /// The state it was in under this very plan; then nothing was changed.
    pub already: Option<CampaignState>,
}

/// Whether the file still reads as it was planned. Both sides are compared as they come out of JSON, as revisions are kept.
fn reads_differently(engine: &Engine, planned: &Campaign) -> bool {
    let now = engine.config.campaign(&planned.name).ok().and_then(|campaign| serde_json::to_string(&campaign).ok());
    now.and_then(|body| serde_json::from_str::<Campaign>(&body).ok()).as_ref() != Some(planned)
}

/// Freezes a planned revision for its start time. Refuses a plan of another campaign, one past its deadline, and one whose
/// counts have moved by more than two percent since. Under the plan that it already has a campaign is left as it is.
pub async fn start(engine: &Engine, name: &str, plan_id: &str) -> Result<Started> {
    let now = engine.now();
    let mut tx = engine.store.read().await?;
    let plan = campaigns::plan(&mut tx, &engine.controller, plan_id).await?.with_context(|| {
        format!("there is no plan {plan_id}; remedy: `permesso campaign plan {name}` makes one and prints its id")
    })?;
    let existing = campaigns::by_name(&mut tx, &engine.controller, name).await?;
    let current = match &existing {
        Some(row) => campaigns::plan_of(&mut tx, row.revision_id).await?,
        None => None,
    };
    tx.rollback().await?;
    if plan.campaign != name {
        bail!("plan {plan_id} is of campaign `{}`, not of `{name}`; remedy: `permesso campaign plan {name}`", plan.campaign);
    }
    let alive = |row: Option<&campaigns::Row>| match row.map(campaigns::Row::state) {
        Some(CampaignState::Cancelled) => {
            Err(anyhow::anyhow!("campaign `{name}` was cancelled, which is final; remedy: give the campaign a new name"))
        }
        _ => Ok(()),
    };
    alive(existing.as_ref())?;
    let campaign: Campaign = serde_json::from_str(&plan.revision)
        .with_context(|| format!("the plan was made by another version; remedy: `permesso campaign plan {name}` again"))?;
    let file_changed = reads_differently(engine, &campaign);
    if let Some(row) = existing.as_ref().filter(|_| current.as_deref() == Some(plan_id))
        && matches!(row.state(), CampaignState::Scheduled | CampaignState::Running | CampaignState::Paused)
    {
        return Ok(Started { campaign_id: row.id, revision: campaign, file_changed, already: Some(row.state()) });
    }
    if now >= campaign.deadline.timestamp_micros() {
        bail!("the campaign's deadline has passed; remedy: set a later `schedule.deadline` and plan again");
    }
    if let (Some(row), Some(currency)) = (existing.as_ref().filter(|c| c.reserved > 0), campaign.currency())
        && row.currency.as_ref().is_some_and(|spent| *spent != currency.to_string())
    {
        let spent = row.currency.as_deref().unwrap_or_default();
        bail!("campaign `{name}` has spent {spent} and its prices are now in {currency}; remedy: keep one currency");
    }
    let mut tx = engine.store.read().await?;
    notice::required(&mut tx, engine).await?;
    tx.rollback().await?;
    wind_up_all(engine).await?;
    let before: Counts = serde_json::from_str(&plan.counts)?;
    let after = preview(engine, &campaign, |_| {}).await?;
    moved(&before, &after).map_err(|what| {
        anyhow::anyhow!(
            "the counts moved by more than {MARGIN} % since the plan ({what}); remedy: `permesso campaign plan {name}` again"
        )
    })?;

    let mut tx = engine.store.write().await?;
    // Claims lock messages before their campaign, and here it is the other way; no claim is under way meanwhile.
    control::take_turn(&mut tx, &engine.controller).await?;
    // Counting takes its time, and somebody may have started it meanwhile, and cancelled it.
    if let Some(row) = campaigns::by_name(&mut tx, &engine.controller, name).await? {
        alive(campaigns::lock(&mut tx, row.id).await?.as_ref())?;
    }
    let mut texts: Vec<(String, String, String, String)> = Vec::new();
    let buttons = campaign.asks.iter().any(Ask::has_buttons);
    // A message with buttons is published as it is seen, buttons and all.
    let with_buttons =
        |kind, locale: &str, body: &str| campaign.titles(locale).map_or_else(|| body.to_owned(), |t| t.under(kind, body));
    for ask in &campaign.asks {
        for (locale, body) in &ask.texts {
            let shown = if ask.has_buttons() { with_buttons(Kind::Ask, locale, body) } else { body.clone() };
            texts.push((body_hash(&shown), ask.template.clone(), locale.clone(), shown));
        }
    }
    for (name, body) in &campaign.texts {
        let (name, locale) = name.split_once('.').unwrap_or((name, ""));
        texts.push((body_hash(body), name.to_owned(), locale.to_owned(), body.clone()));
        if buttons && name == "confirm" {
            let shown = with_buttons(Kind::Confirm, locale, body);
            texts.push((body_hash(&shown), name.to_owned(), locale.to_owned(), shown));
        }
    }
    ledger::publish_wording(&mut tx, &engine.controller, &texts, now).await?;
    let start_at = campaign.start.timestamp_micros();
    let start = Start {
        name,
        family: &campaign.family,
        plan_id,
        body: &plan.revision,
        hash: &body_hash(&plan.revision),
        start_at,
        deadline: campaign.deadline.timestamp_micros(),
        allowance: campaign.limits.first.and_then(|n| i64::try_from(n).ok()),
        currency: campaign.currency().map(|c| c.to_string()),
    };
    let id = campaigns::start(&mut tx, &engine.controller, &start, now).await?;
    legs::carry_over(&mut tx, engine, id).await?;
    let delay = Duration::from_micros(u64::try_from(start_at - now).unwrap_or(0));
    queue::push(&mut tx, &Job::Plan { campaign: id }, delay).await?;
    tx.commit().await?;
    Ok(Started { campaign_id: id, revision: campaign, file_changed, already: None })
}

/// Every count that matters: the eligible, and those left out for each reason.
fn moved(before: &Counts, after: &Counts) -> std::result::Result<(), String> {
    let margin = |n: u64| (n as f64 * MARGIN / 100.0).max(0.0);
    let check = |what: &str, b: u64, a: u64| {
        if b.abs_diff(a) as f64 > margin(b) { Err(format!("{what}: {b} then, {a} now")) } else { Ok(()) }
    };
    check("eligible", before.eligible, after.eligible)?;
    check("contacts", before.contacts, after.contacts)
}

/// Decides about the next contacts of a running campaign, in one transaction. Answers whether anybody is left.
pub async fn plan_next(engine: &Engine, campaign_id: i64) -> Result<bool> {
    let mut tx = engine.store.write().await?;
    let now = engine.now();
    let Some(mut row) = campaigns::lock(&mut tx, campaign_id).await? else { return Ok(false) };
    if row.state() == CampaignState::Scheduled && now >= row.start_at && now < row.deadline {
        campaigns::set_state(&mut tx, row.id, CampaignState::Running, None).await?;
        row.state = CampaignState::Running.code().to_owned();
    }
    if row.state() != CampaignState::Running || row.planned_all != 0 {
        tx.commit().await?;
        return Ok(false);
    }
    let campaign = engine.revision(&mut tx, row.revision_id).await?;
    // Whoever wrote while the import that brought them was not yet committed was a stranger then.
    inbound::adopt(&mut tx, &engine.controller, now).await?;
    let chunk = if engine.store.is_sqlite() { CHUNK_OF_ONE_WRITER } else { CHUNK };
    let ids: Vec<i64> =
        contacts::ids_after(&mut tx, &engine.controller, row.planned_to, chunk).await?.into_iter().map(|(id,)| id).collect();
    let Some(last) = ids.last().copied() else {
        campaigns::set_progress(&mut tx, row.id, row.planned_to, true).await?;
        let again = campaign.next_repeat(instant(now)).map(|at| at.timestamp_micros());
        campaigns::set_repeat(&mut tx, row.id, again).await?;
        tx.commit().await?;
        engine.store.take_stock().await;
        return Ok(false);
    };
    // In a repeated look whoever was to be asked already keeps that decision.
    let planned = campaigns::planned_already(&mut tx, row.id, row.revision_id, &ids).await?;
    let planned: HashSet<i64> = planned.into_iter().collect();
    let ids: Vec<i64> = ids.into_iter().filter(|id| !planned.contains(id)).collect();
    let people = facts::people(&mut tx, &row.family, &ids, now).await?;
    let shared = humans::of_several_numbers(&mut tx, &ids).await?;
    let humans = shared.iter().filter_map(|id| Some(people.get(id)?.person.as_str()));
    let mut by_number: HashMap<String, i64> =
        messages::asks_of(&mut tx, &engine.controller, &row.family, humans).await?.into_iter().collect();
    let mut openings = Openings::default();
    let mut decided = Vec::with_capacity(ids.len());
    let mut new: BTreeMap<(String, String), Vec<New>> = BTreeMap::new();
    for person in ids.iter().filter_map(|id| people.get(id)) {
        let Some(verdict) = judge(&campaign, row.id, person, &mut openings, now) else { continue };
        let may_ask = !matches!(verdict.decision, Decision::Skip(_));
        let by_another = may_ask
            && shared.contains(&person.facts.contact)
            && *by_number.entry(person.person.clone()).or_insert(person.facts.contact) != person.facts.contact;
        let (outcome, code, due_at, basis) = match &verdict.decision {
            _ if by_another => ("skip", Reason::OtherNumber.code(), 0, None),
            Decision::Send(cleared) => ("send", "ELIGIBLE", now, cleared.basis()),
            Decision::Wait { until, because } => ("wait", because.code(), *until, None),
            Decision::Skip(reason) => ("skip", reason.code(), 0, None),
        };
        // While waiting, the basis is that of the evidence; the claim decides anew.
        let basis = basis.or_else(|| person.facts.evidence.iter().map(|e| e.basis).min()).map(|b| b.code());
        decided.push(Decided {
            contact: person.facts.contact,
            outcome,
            code,
            basis,
            facts: Seen::of(person, &verdict.passed_over).json(),
        });
        if outcome == "skip" {
            continue;
        }
        let sender = &verdict.ask.sender;
        new.entry((sender.gateway.clone(), sender.id.clone())).or_default().push(New {
            contact: person.facts.contact,
            family: row.family.clone(),
            person: person.person.clone(),
            kind: Kind::Ask.code(),
            cause: format!("plan:{}:{}", row.id, row.revision_id),
            channel: verdict.ask.channel.code(),
            wording: None,
            locale: verdict.locale,
            due_at,
            expires_at: row.deadline,
        });
    }
    let mut left_out = HashSet::new();
    for ((gateway, sender), new) in &new {
        let route = Route { campaign: Some(row.id), revision: Some(row.revision_id), gateway, sender };
        for chunk in new.chunks(BATCH) {
            let batch = messages::plan(&mut tx, &engine.controller, &route, chunk, now).await?.map(|(batch, _)| batch);
            if let Some(batch) = batch {
                let due = chunk.iter().map(|m| m.due_at).min().unwrap_or(now);
                let delay = Duration::from_micros(u64::try_from(due - now).unwrap_or(0));
                queue::push(&mut tx, &Job::Deliver { batch }, delay).await?;
            }
            left_out.extend(messages::left_out(&mut tx, batch, chunk).await?);
        }
    }
    for of in decided.iter_mut().filter(|of| left_out.contains(&of.contact)) {
        (of.outcome, of.code) = ("skip", Reason::PlannedElsewhere.code());
    }
    campaigns::record(&mut tx, &engine.controller, row.id, row.revision_id, "plan", &decided, now).await?;
    campaigns::set_progress(&mut tx, row.id, last, false).await?;
    tx.commit().await?;
    Ok(true)
}

/// Pauses, resumes or cancels. Answers how many planned messages were cancelled.
///
/// # Errors
/// It cannot go from the state it is in to that one, or a resume would end in the same pause: the budget covers nothing that waits.
pub async fn set_state(engine: &Engine, name: &str, to: CampaignState) -> Result<u64> {
    if to == CampaignState::Running {
        let mut tx = engine.store.read().await?;
        let row = known(&mut tx, engine, name).await?;
        tx.rollback().await?;
        // Before any lock is held: it looks at all that is planned.
        if row.state() == CampaignState::Paused {
            budget::goes_on(engine, &row).await?;
        }
    }
    let mut tx = engine.store.write().await?;
    // As in `start`: no claim is under way meanwhile.
    control::take_turn(&mut tx, &engine.controller).await?;
    let row = known(&mut tx, engine, name).await?;
    match (row.state(), to) {
        (CampaignState::Scheduled | CampaignState::Running, CampaignState::Paused) => {
            campaigns::set_state(&mut tx, row.id, to, Some("paused by the operator")).await?;
        }
        (CampaignState::Paused, CampaignState::Running) => {
            let campaign = engine.revision(&mut tx, row.revision_id).await?;
            // The operator's word that the account works again. Before the campaign's row, as `outcome` locks them.
            for ask in &campaign.asks {
                let health = control::health(&mut tx, &engine.controller, &ask.sender.gateway).await?;
                let mended =
                    control::Health { throttled_until: health.throttled_until, name: health.name, ..control::Health::default() };
                control::save_health(&mut tx, &engine.controller, &mended).await?;
            }
            campaigns::lift_allowance(&mut tx, row.id).await?;
            // The manager has seen the counts: `stop_if` counts anew from here.
            let tally = super::report::tally(&mut tx, row.id).await?;
            campaigns::set_stop_base(&mut tx, row.id, &serde_json::to_string(&tally)?).await?;
            let state = if engine.now() < row.start_at { CampaignState::Scheduled } else { CampaignState::Running };
            campaigns::set_state(&mut tx, row.id, state, None).await?;
            queue::push(&mut tx, &Job::Plan { campaign: row.id }, Duration::ZERO).await?;
            for batch in messages::open_batches(&mut tx, row.id).await? {
                queue::push(&mut tx, &Job::Deliver { batch }, Duration::ZERO).await?;
            }
        }
        (CampaignState::Scheduled | CampaignState::Running | CampaignState::Paused, CampaignState::Cancelled) => {
            // A planner at work ends first, and what it planned goes too. From here on nothing of it is claimed.
            campaigns::lock(&mut tx, row.id).await?;
            campaigns::set_state(&mut tx, row.id, to, None).await?;
        }
        (from, to) => bail!(
            "campaign `{name}` is {}, so it cannot become {}; remedy: `permesso campaign report {name}` shows where it stands",
            from.code(),
            to.code()
        ),
    }
    tx.commit().await?;
    if to == CampaignState::Cancelled { wind_up(engine, row.id).await } else { Ok(0) }
}

/// Cancels what a cancelled campaign has not sent, some a transaction: a million at once would keep everybody's answers waiting. Answers how
/// many. What a crash leaves of it the sweep takes up.
///
/// # Errors
/// The database is away.
pub async fn wind_up(engine: &Engine, cancelled: i64) -> Result<u64> {
    let mut all = 0;
    loop {
        let mut tx = engine.store.write().await?;
        let some = campaigns::cancel_planned(&mut tx, cancelled, engine.now(), CHUNK_OF_ONE_WRITER).await?;
        tx.commit().await?;
        if some == 0 {
            return Ok(all);
        }
        all += some;
    }
}

/// As [`wind_up`], of every cancelled campaign: what one of them still had planned would keep its people from being asked by another.
///
/// # Errors
/// The database is away.
pub async fn wind_up_all(engine: &Engine) -> Result<()> {
    let mut tx = engine.store.read().await?;
    let all = campaigns::all(&mut tx, &engine.controller).await?;
    tx.rollback().await?;
    for row in all.iter().filter(|row| row.state() == CampaignState::Cancelled) {
        wind_up(engine, row.id).await?;
    }
    Ok(())
}

pub async fn known(tx: &mut Tx, engine: &Engine, name: &str) -> Result<campaigns::Row> {
    let found = campaigns::by_name(tx, &engine.controller, name).await?;
    found.with_context(|| match engine.config.campaign_names().is_ok_and(|names| names.iter().any(|known| known == name)) {
        true => format!(
            "campaign `{name}` was never started; remedy: `permesso campaign plan {name}`, then `campaign start {name} --plan ID`"
        ),
        false => format!("there is no campaign `{name}`; remedy: {}", engine.config.campaign_meant(name)),
    })
}
