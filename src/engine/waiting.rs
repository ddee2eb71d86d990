//! A second yes said while an unclear reply of the same human, by whatever number, waits for an operator. It is kept and grants nothing: what
//! is doubtful may be a no, and nothing doubtful is ever a yes. Once the operator has read everything and said no stop, it counts as of when
//! it was said, and so does a one-time code typed meanwhile ([`code::go_on`]).

use anyhow::Result;

use super::confirm::{self, Deed, Situation};
use super::openings::Openings;
use super::receive::{ignored, is_late};
use super::{Engine, answer, code};
use crate::domain::campaign::Mode;
use crate::domain::channel::Channel;
use crate::domain::consent::{Act, State, counts_at};
use crate::domain::hours::Opening;
use crate::domain::message::Kind;
use crate::store::inbound::{self, TAP_WAITS, WaitingYes, YES_WAITS};
use crate::store::{Tx, contacts};

/// Whether this second yes by message must wait, and as what it is kept. One that cannot grant anyway need not.
pub(super) async fn must_wait(tx: &mut Tx, situation: &Situation, tapped: bool) -> Result<Option<&'static str>> {
    let would_grant = situation.state() == Some(State::Pending) && situation.mode() != Mode::LinkCode;
    let waits = would_grant && contacts::is_held(tx, situation.contact.id).await?;
    Ok(waits.then_some(if tapped { TAP_WAITS } else { YES_WAITS }))
}

/// As [`go_on`], where nothing of the human is unclear any more.
pub(super) async fn go_on_unless_held(tx: &mut Tx, engine: &Engine, contact: i64) -> Result<()> {
    match contacts::is_held(tx, contact).await? {
        true => Ok(()),
        false => go_on(tx, engine, contact).await,
    }
}

/// Whether a second yes of theirs waits that would complete what they chose last.
pub(super) async fn is_in(tx: &mut Tx, situation: &Situation) -> Result<bool> {
    if must_wait(tx, situation, false).await?.is_none() {
        return Ok(false);
    }
    Ok(inbound::waiting_yes(tx, situation.contact.id).await?.iter().any(|yes| counts(situation, yes).is_some()))
}

/// When this yes was said, where it is the second step of the first yes that is pending now: a choice submitted on the page since took the
/// place of the one that it answers. A tap may come within the same tick of the clock.
fn counts(situation: &Situation, yes: &WaitingYes) -> Option<i64> {
    let answers = situation.state() == Some(State::Pending) && situation.mode() != Mode::LinkCode;
    let first = situation.conversation.as_ref().and_then(|c| c.first_yes_at).filter(|_| answers)?;
    let at = counts_at(true, yes.at, yes.received_at)?;
    (first < at || (yes.effect == TAP_WAITS && first == at)).then_some(at)
}

/// Nothing of this person is unclear any more: what they said meanwhile counts, in its order. After a stop their question is closed,
/// and a yes finds none. One that completes something is acknowledged within minutes of the operator's word, as it would have been at once, but
/// not in quiet hours: an operator's hour is not the person's own.
pub(super) async fn go_on(tx: &mut Tx, engine: &Engine, contact: i64) -> Result<()> {
    for yes in inbound::waiting_yes(tx, contact).await? {
        let mut situation = Situation::read(tx, engine, contact).await?;
        let effect = grant(tx, engine, &mut situation, &yes).await?;
        inbound::set_effect(tx, yes.id, effect).await?;
    }
    code::go_on(tx, engine, contact).await
}

/// Whether the hours of their question are open where they live.
fn is_open(engine: &Engine, situation: &Situation) -> bool {
    let (contact, campaign) = (&situation.contact, situation.campaign.as_ref());
    let there = campaign.zip(contact.country.as_deref());
    there.is_some_and(|((_, campaign), country)| {
        let opening = Openings::default().at(campaign, country, contact.zone.as_deref(), engine.now());
        matches!(opening, Opening::Open { .. })
    })
}

async fn grant(tx: &mut Tx, engine: &Engine, situation: &mut Situation, yes: &WaitingYes) -> Result<&'static str> {
    let Some(at) = counts(situation, yes) else { return Ok("ignored: no open question") };
    let text = engine.vault.decrypt("inbound", &yes.body_enc)?;
    let channel = Channel::parse(&yes.channel).unwrap_or(Channel::Sms);
    let deed = Deed {
        at,
        channel: channel.code(),
        action: if yes.effect == TAP_WAITS { "button" } else { "reply" },
        evidence: yes.event_id.clone(),
        text_hash: Some(engine.vault.fingerprint("reply", &text)),
    };
    let outcome = confirm::act(tx, engine, situation, Act::SaidYes { second: true }, &deed, &[]).await?;
    if let Some(wording) = outcome.acknowledge.filter(|_| !is_late(engine, channel, Some(yes.at)) && is_open(engine, situation)) {
        let to = (yes.gateway.as_str(), yes.to_sender.as_str(), channel);
        let from = answer::From::heard(engine, to, situation.asked_by.as_ref(), &situation.contact);
        // The cause of a yes that is taken at once, so that one event is answered once.
        let cause = format!("event:{}:{}", yes.gateway, yes.event_id);
        answer::plan(tx, engine, &situation.contact, &from, Kind::Ack, wording, &cause).await?;
    }
    Ok(match (outcome.outdated, outcome.barred) {
        (true, _) => "ignored: a newer no stands",
        (false, Some(why)) => ignored(why),
        (false, None) => "applied",
    })
}
