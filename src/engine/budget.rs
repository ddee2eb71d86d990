//! What a campaign may cost. Each ask and reminder reserves its worst case in the transaction that claims it, under the lock of
//! the campaign's row, so two workers cannot overspend; what is proved not accepted gives its reserve back. An `unknown` send
//! keeps it: it may cost. Answers to a person's own act and tests are not counted: they must go out whatever is left.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::Engine;
use super::claim::Letter;
use crate::domain::campaign::{Campaign, CampaignState};
use crate::domain::channel::Channel;
use crate::domain::message::Outcome;
use crate::domain::money::{Currency, Money};
use crate::domain::preview::Shown;
use crate::domain::price::charged;
use crate::store::campaigns::Row;
use crate::store::messages::{Claim, Settled};
use crate::store::{Tx, campaigns, messages, report};

/// What one ask or reminder may cost, in millionths of the campaign's currency; 0 where no price is known.
///
/// # Errors
/// The campaign has a budget and no price for this country, which `campaign check` refuses.
pub fn cost(campaign: &Campaign, gateway: &str, channel: Channel, country: Option<&str>, text: &str) -> Result<i64> {
    let price = country.and_then(|country| campaign.price(gateway, channel, country));
    if campaign.limits.max_cost.is_some() {
        let country = country.unwrap_or("an unknown country");
        price.with_context(|| {
            format!("campaign {} has a budget and no price of {} to {country}", campaign.name, channel.code())
        })?;
    }
    Ok(price.map_or(0, |price| price.times(charged(channel, text)).micros))
}

/// Keeps of a slice what the budget covers, in order. Where it does not cover the next message, the rest stays planned and the
/// campaign pauses.
pub(super) async fn cover(
    tx: &mut Tx,
    engine: &Engine,
    row: Option<&Row>,
    letters: &mut Vec<Letter>,
    claims: &mut Vec<Claim>,
) -> Result<()> {
    let Some(row) = row else { return Ok(()) };
    let campaign = engine.revision(tx, row.revision_id).await?;
    let Some(max) = campaign.limits.max_cost else { return Ok(()) };
    let reserved = campaigns::reserved(tx, row.id).await?;
    let mut left = max.micros - reserved;
    let covered = claims.iter().take_while(|claim| {
        left -= claim.cost;
        left >= 0
    });
    let covered = covered.count();
    let Some(next) = claims.get(covered).map(|claim| claim.cost) else { return Ok(()) };
    claims.truncate(covered);
    letters.truncate(covered);
    let reserved: i64 = reserved + claims.iter().map(|claim| claim.cost).sum::<i64>();
    let [reserved, next] = [reserved, next].map(|micros| Money::new(micros, max.currency));
    let reason = format!(
        "budget: {reserved} of {max} are reserved and the next message may cost {next}; raise limits.max_cost, then \
         `permesso campaign plan {name}` and start that plan",
        name = row.name
    );
    campaigns::set_state(tx, row.id, CampaignState::Paused, Some(&reason)).await?;
    tracing::info!(campaign.id = row.id, "Paused: the budget is used up");
    Ok(())
}

/// Whether the budget covers some message that waits; a campaign of which it covers none would pause again at once.
///
/// # Errors
/// It covers none.
pub(super) async fn goes_on(engine: &Engine, row: &Row) -> Result<()> {
    let mut tx = engine.store.read().await?;
    let campaign = engine.revision(&mut tx, row.revision_id).await?;
    let Some(max) = campaign.limits.max_cost else { return Ok(tx.rollback().await?) };
    let waiting = messages::planned_texts(&mut tx, row.id).await?;
    tx.rollback().await?;
    let shown = engine.config.preview(&campaign)?;
    let costs = waiting.iter().flat_map(|(kind, channel, locale, country)| {
        let is_it = move |s: &&Shown| s.channel.code() == channel && s.locale == *locale && s.kinds.contains(kind);
        shown.iter().filter(is_it).filter_map(move |s| s.cost.get(country))
    });
    let Some(next) = costs.map(|cost| cost.micros).min().filter(|next| row.reserved + next > max.micros) else { return Ok(()) };
    let [reserved, next] = [row.reserved, next].map(|micros| Money::new(micros, max.currency));
    bail!(
        "campaign `{name}` would pause again at once: {reserved} of {max} are reserved, and the cheapest message that waits may cost {next}; \
         remedy: raise limits.max_cost, then `permesso campaign plan {name}` and start that plan",
        name = row.name
    )
}

/// Reserves what the claims that were won may cost. In the transaction of [`cover`], whose lock still holds.
pub(super) async fn reserve(tx: &mut Tx, row: Option<&Row>, won: impl Iterator<Item = &Claim>) -> Result<()> {
    let cost: i64 = won.map(|claim| claim.cost).sum();
    if let Some(row) = row.filter(|_| cost > 0) {
        campaigns::reserve(tx, row.id, cost).await?;
    }
    Ok(())
}

/// Gives back what was reserved for attempts proved not accepted.
pub(super) async fn release(tx: &mut Tx, settled: &[Settled]) -> Result<()> {
    let refused = settled.iter().filter(|s| Outcome::turned_down(Some(s.outcome)));
    Ok(messages::release(tx, &refused.map(|s| s.attempt).collect::<Vec<_>>()).await?)
}

/// What a campaign costs if everything comes at its dearest. None where no price is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub asks: Option<Money>,
    /// If nobody answers; none without a reminder.
    pub reminders: Option<Money>,
    /// An estimate beside the budget: everybody's confirmation and dearest acknowledgement, if everybody answers.
    pub answers: Option<Money>,
    /// Eligible people in countries without a known price: not in any of the above.
    pub unpriced: BTreeMap<String, u64>,
}

/// `people` are the eligible by country, channel and locale of their text.
pub fn worst_case(campaign: &Campaign, shown: &[Shown], people: &BTreeMap<(String, Channel, String), u64>) -> Cost {
    let mut cost = Cost::default();
    for ((country, channel, locale), count) in people {
        let of = |channel: Channel, fits: &dyn Fn(&Shown) -> bool| {
            let here = |s: &&Shown, locale: &str| s.channel == channel && s.locale == locale && fits(s);
            let mut mine: Vec<&Shown> = shown.iter().filter(|s| here(s, locale)).collect();
            if mine.is_empty() {
                mine = shown.iter().filter(|s| here(s, &campaign.default_locale)).collect();
            }
            mine.into_iter().filter_map(|s| s.cost.get(country).copied()).max_by_key(|cost| cost.micros)
        };
        // A leg that fails may have cost, and then the next one is tried.
        let legs = campaign.asks.iter().skip_while(|ask| ask.channel != *channel);
        let legs: Option<Vec<Money>> = legs.map(|leg| of(leg.channel, &|s| s.kinds.iter().any(|kind| kind == "ask"))).collect();
        let Some(legs) = legs.filter(|legs| !legs.is_empty()) else {
            *cost.unpriced.entry(country.clone()).or_default() += count;
            continue;
        };
        for leg in &legs {
            add(&mut cost.asks, leg.times(*count));
        }
        if let Some(dearest) = legs.iter().max_by_key(|leg| leg.micros).filter(|_| campaign.reminder_after_days.is_some()) {
            add(&mut cost.reminders, dearest.times(*count));
        }
        let first = campaign.asks.first().map_or(*channel, |ask| ask.channel);
        let confirm = of(first, &|s| s.template == "confirm");
        let answer = of(first, &|s| {
            s.template.starts_with("ack_") || matches!(s.template.as_str(), "help" | "early_yes" | "code" | "confirm")
        });
        for answer in [confirm, answer].into_iter().flatten() {
            add(&mut cost.answers, answer.times(*count));
        }
    }
    cost
}

fn add(sum: &mut Option<Money>, more: Money) {
    *sum = Some(sum.map_or(more, |sum| sum.plus(more)));
}

/// A campaign's money as the report shows it. Asks and reminders; answers are not in it.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Spending {
    #[schema(value_type = Option<String>, example = "250.00 EUR")]
    pub max_cost: Option<Money>,
    /// Everything below together.
    #[schema(value_type = String)]
    pub reserved: Money,
    /// The gateway took them.
    #[schema(value_type = String)]
    pub accepted: Money,
    /// It is not known whether the gateway took them, or they are on their way.
    #[schema(value_type = String)]
    pub open: Money,
}

/// None where no price was known.
pub async fn spending(tx: &mut Tx, row: &Row, campaign: &Campaign) -> Result<Option<Spending>> {
    let Some(currency) = row.currency.as_deref().and_then(Currency::parse) else { return Ok(None) };
    let money = |micros| Money::new(micros, currency);
    let (all, open) = report::costs(tx, row.id).await?;
    let max_cost = campaign.limits.max_cost;
    Ok(Some(Spending { max_cost, reserved: money(row.reserved), accepted: money(all - open), open: money(open) }))
}
