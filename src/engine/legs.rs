//! One ask over several channels. The next channel is tried only where the first is impossible at planning, or
//! ended `failed` because the number is not on it at all; never after an ask that is unknown, accepted, sent or expired, since there
//! the person may have it. It stays one message: a leg is an attempt.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::Engine;
use crate::clock::DAY;
use crate::domain::campaign::Campaign;
use crate::domain::channel::Channel;
use crate::domain::message::{Kind, State};
use crate::store::messages::{Attempt, Route};
use crate::store::queue::{self, Job};
use crate::store::{Tx, conversations, legs, messages};

/// Gives each of these failed asks to the next channel of its campaign, if there is one and the person has said nothing. The claim
/// decides anew whether they may be asked there.
pub async fn fall_back(tx: &mut Tx, engine: &Engine, failed: &[i64]) -> Result<()> {
    // A channel that the campaign has given up since comes before all it has.
    let after = |campaign: &Campaign, channel| match campaign.ask(channel) {
        Some(_) => campaign.ask_after(channel).map(|ask| ask.channel),
        None => campaign.asks.first().map(|ask| ask.channel),
    };
    move_on(tx, engine, failed, after).await
}

/// A new start finds asks between two legs, and a claim finds those that were at the gateway then: they never arrived and go on, by the first
/// channel of the new revision that is another. Where it has none, they stay with the leg that failed.
pub async fn carry_over(tx: &mut Tx, engine: &Engine, campaign: i64) -> Result<()> {
    let open = legs::take_back(tx, campaign, engine.now()).await?;
    let other = |campaign: &Campaign, failed| campaign.asks.iter().map(|ask| ask.channel).find(|channel| *channel != failed);
    move_on(tx, engine, &open, other).await
}

async fn move_on(
    tx: &mut Tx,
    engine: &Engine,
    failed: &[i64],
    next_channel: impl Fn(&Campaign, Channel) -> Option<Channel>,
) -> Result<()> {
    if failed.is_empty() {
        return Ok(());
    }
    let now = engine.now();
    let mut next: BTreeMap<(i64, i64, Channel, String), Vec<i64>> = BTreeMap::new();
    for ask in legs::stranded(tx, failed, now).await? {
        let Some(channel) = Channel::parse(&ask.channel) else { continue };
        let campaign = engine.revision(tx, ask.revision_id).await?;
        if let Some(other) = next_channel(&campaign, channel).and_then(|channel| campaign.ask(channel)) {
            // A text that serves on one channel may lack what the country's law wants on the other.
            let locale = campaign.locale_for(other, ask.country.as_deref(), Some(&ask.locale)).to_owned();
            next.entry((ask.campaign_id, ask.revision_id, other.channel, locale)).or_default().push(ask.id);
        }
    }
    for ((campaign_id, revision_id, channel, locale), ids) in next {
        let campaign = engine.revision(tx, revision_id).await?;
        let Some(ask) = campaign.ask(channel) else { continue };
        let (gateway, sender) = (ask.sender.gateway.as_str(), ask.sender.id.as_str());
        let route = Route { campaign: Some(campaign_id), revision: Some(revision_id), gateway, sender };
        if let Some(batch) = legs::next_leg(tx, &engine.controller, &route, channel, &locale, &ids, now).await? {
            queue::push(tx, &Job::Deliver { batch }, Duration::ZERO).await?;
        }
    }
    Ok(())
}

/// The person answered this leg of their ask: whatever was told of it, it arrived, and no other one leaves any more.
pub async fn was_answered(tx: &mut Tx, engine: &Engine, leg: &Attempt) -> Result<()> {
    let answered = Some("the person answered");
    if leg.moved_on && messages::set_state(tx, leg.message_id, State::Planned, State::Delivered, answered, engine.now()).await? {
        messages::prove_taken(tx, leg.id).await?;
        arrived_after_all(tx, engine, leg).await?;
    }
    Ok(())
}

/// What had failed was taken after all, before the next leg or try left: the person was asked there, and may answer there.
pub async fn arrived_after_all(tx: &mut Tx, engine: &Engine, attempt: &Attempt) -> Result<()> {
    messages::mark_arrived(tx, attempt.message_id).await?;
    if attempt.kind != Kind::Ask.code() {
        return Ok(());
    }
    let (Some(campaign_id), Some(revision_id)) = (attempt.campaign_id, attempt.revision_id) else { return Ok(()) };
    let campaign = engine.revision(tx, revision_id).await?;
    let Some(ask) = campaign.ask(attempt.channel()) else { return Ok(()) };
    let expires_at = attempt.claimed_at + campaign.link_days * DAY;
    let opening = conversations::Opening { contact: attempt.contact_id, message: attempt.message_id, expires_at };
    // Since it left: its answer may have been said before we learned that it arrived.
    let since = attempt.claimed_at;
    conversations::open(tx, &engine.controller, Some(campaign_id), Some(revision_id), ask.mode.code(), &[opening], since).await?;
    Ok(())
}
