//! `campaign test`: the real ask to a colleague's number, before anybody is asked. It goes the way of every message (row, batch,
//! `decide`, claim, attempt), but belongs to no campaign's counts, pace or budget, marks nobody as asked and opens no question;
//! the page behind its link shows itself and takes nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::openings::Openings;
use super::{Engine, LEASE_DB, enroll, gateways};
use crate::clock::HOUR;
use crate::domain::campaign::Campaign;
use crate::domain::channel::Channel;
use crate::domain::eligibility::{Cause, Decision, decide};
use crate::domain::hours::Opening;
use crate::domain::ledger::body_hash;
use crate::domain::message::Kind;
use crate::domain::phone::PhoneNumber;
use crate::store::control::Silence;
use crate::store::facts::Person;
use crate::store::messages::{self, New, Route};
use crate::store::queue::{self, Job};
use crate::store::{campaigns, control, humans, keep, suppressions};
use crate::vault;

/// A test message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub message: i64,
    /// The gateway it leaves through.
    pub gateway: String,
    /// Quiet hours where the tester lives end then (microseconds UTC); none where they are open.
    pub waits_until: Option<i64>,
}

/// Plans one test message of the campaign as its file stands now; it need be neither planned nor started. A second call sends a second one.
///
/// # Errors
/// The number is not in `testers`, its person was erased and has not come back, its country has no pack or no open hour in 60 days, the campaign does not ask on that channel,
/// or it has no text in that language.
pub async fn plan(
    engine: &Engine,
    campaign: &Campaign,
    to: &PhoneNumber,
    channel: Option<Channel>,
    locale: Option<&str>,
) -> Result<Planned> {
    let now = engine.now();
    if !is_tester(engine, to) {
        bail!("only numbers in `testers` get test messages; remedy: add the number to `testers` in permesso.toml");
    }
    let Some(ask) = channel.map_or(campaign.asks.first(), |channel| campaign.ask(channel)) else {
        let asks: Vec<&str> = campaign.asks.iter().map(|ask| ask.channel.code()).collect();
        bail!("campaign `{}` does not ask there; remedy: write --channel {}", campaign.name, asks.join(" or "));
    };
    let country = to.country().unwrap_or_default().to_owned();
    let pack = engine.config.packs.get(&country).with_context(|| {
        format!("there is no country pack for the tester's number, so its quiet hours are not known; remedy: add countries/ for {country}")
    })?;
    let locale = locale.unwrap_or(if ask.texts.contains_key(&pack.default_locale) {
        &pack.default_locale
    } else {
        &campaign.default_locale
    });
    if !ask.texts.contains_key(locale) {
        let known: Vec<&str> = ask.texts.keys().map(String::as_str).collect();
        bail!("the ask has no text in `{locale}`; remedy: write --locale with one of {}", known.join(", "));
    }
    // A tester may live where the campaign asks nobody; their quiet hours hold all the same.
    let mut campaign = campaign.clone();
    campaign.packs.insert(country.clone(), pack.clone());
    let due_at = match Openings::default().at(&campaign, &country, None, now) {
        Opening::Open { .. } => now,
        Opening::Opens { at } => at.timestamp_micros(),
        Opening::Never => bail!("the allowed hours of {country} do not open in the next 60 days; remedy: look at schedule.hours"),
    };

    let mut tx = engine.store.write().await?;
    humans::take_turn(&mut tx, &engine.controller).await?;
    let keyed = engine.vault.keyed_all(to);
    if suppressions::is_erased(&mut tx, &engine.controller, &keyed).await? {
        bail!(
            "whoever has this number was erased, and a test would bring them back; remedy: test with another number of `testers`, and take this one out of permesso.toml"
        );
    }
    let contact = enroll::contact(&mut tx, engine, to, &country).await?;
    let body = serde_json::to_string(&campaign)?;
    let revision = campaigns::freeze(&mut tx, &engine.controller, &campaign.name, "test", &body, &body_hash(&body), now).await?;
    let route = Route { campaign: None, revision: Some(revision), gateway: &ask.sender.gateway, sender: &ask.sender.id };
    let new = New {
        contact,
        family: String::new(),
        person: String::new(),
        kind: Kind::Test.code(),
        cause: vault::reference("test"),
        channel: ask.channel.code(),
        wording: None,
        locale: locale.to_owned(),
        due_at,
        // A test is looked at while it is fresh.
        expires_at: due_at + HOUR,
    };
    let (batch, message) =
        messages::plan(&mut tx, &engine.controller, &route, &[new], now).await?.context("the test message was not planned")?;
    queue::push(&mut tx, &Job::Deliver { batch }, Duration::from_micros(u64::try_from(due_at - now).unwrap_or(0))).await?;
    tx.commit().await?;
    Ok(Planned { message, gateway: ask.sender.gateway.clone(), waits_until: (due_at > now).then_some(due_at) })
}

fn is_tester(engine: &Engine, number: &PhoneNumber) -> bool {
    engine.config.testers.iter().any(|tester| tester == number.e164())
}

/// Asks `decide` about a test message at its claim: whoever left `testers` meanwhile gets nothing.
pub(super) fn verdict(
    engine: &Engine,
    campaign: Option<&Campaign>,
    person: &Person,
    openings: &mut Openings,
    now: i64,
) -> Result<Decision> {
    let tester = is_tester(engine, &engine.vault.decrypt_number(&person.number_enc)?);
    let opening = campaign.map_or(Opening::Never, |campaign| openings.of(campaign, person, now));
    Ok(decide(Cause::Test { tester, opening: &opening }, &person.facts, now))
}

/// Why a test message stays where it is: nobody is there to send it.
pub const IDLE: &str = "no worker of a `permesso run` is at work";

/// Why no message leaves at the moment, test messages too; [`IDLE`] where it is for want of a worker.
pub async fn held_back(engine: &Engine) -> Result<Option<&'static str>> {
    let mut tx = engine.store.read().await?;
    let silence = control::silence(&mut tx, &engine.controller, LEASE_DB).await?;
    let works = keep::worked_ago(&mut tx).await?.is_some_and(|ago| ago < LEASE_DB);
    tx.rollback().await?;
    Ok(match silence {
        None | Some(Silence::Deaf) if !works => Some(IDLE),
        silence => silence.map(Silence::sentence),
    })
}

/// Since when and why its gateway is out of reach, if it is, and when the next probe may leave (microseconds UTC).
pub async fn out_of_reach(engine: &Engine, gateway: &str) -> Result<Option<(String, i64)>> {
    let mut tx = engine.store.read().await?;
    let known = control::all_health(&mut tx, &engine.controller).await?;
    tx.rollback().await?;
    let health = known.into_iter().find(|health| health.name == gateway);
    Ok(health.and_then(|health| Some((gateways::out_of_reach(&health, engine.now())?, health.probe_at))))
}

/// What became of a test message: its state, and the reason where it was not sent.
pub async fn outcome(engine: &Engine, message: i64) -> Result<(String, Option<String>)> {
    let mut tx = engine.store.read().await?;
    let found = messages::state_and_reason(&mut tx, message).await?.context("the test message is gone")?;
    tx.rollback().await?;
    Ok(found)
}
