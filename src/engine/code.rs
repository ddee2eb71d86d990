//! The second step of `link_code`: a one-time code, sent to the number itself and typed on the page of the first yes. The
//! digits are made in the claim that sends them (`claim`) and stand nowhere but in that message; only their keyed hash is kept.

use anyhow::{Context, Result};

use super::confirm::{self, Deed, Shown, Situation};
use super::{Engine, answer};
use crate::clock::MINUTE;
use crate::domain::campaign::{Ask, Mode};
use crate::domain::code::{TRIES, typed};
use crate::domain::consent::{Act, State};
use crate::domain::eligibility::{Cause, Decision, decide};
use crate::domain::message::{self, Kind};
use crate::store::codes::Code;
use crate::store::messages::Attempt;
use crate::store::{Tx, codes, contacts, facts, messages};

/// Where the code stands for the page it was asked for on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Sent, or about to be, and tried so often in vain.
    Awaited {
        wrong: i64,
    },
    /// Tried in vain too often.
    Dead,
    Expired,
    /// The gateway would not take it.
    NotSent,
    /// Nor would WhatsApp, before the person writes to us there.
    WindowClosed,
    /// Typed, and kept until an operator has read what the person wrote before.
    Waits,
    /// None was asked for on this page.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub standing: Standing,
    /// When another code may be asked for, microseconds.
    pub again_at: i64,
}

/// Reads where the second step stands. A conversation without a pending first yes by `link_code` has none.
pub async fn look(tx: &mut Tx, engine: &Engine, situation: &Situation, token_hash: &str) -> Result<Option<Step>> {
    let Some(conversation) = awaiting(situation) else { return Ok(None) };
    let code = codes::live(tx, &engine.controller, conversation).await?;
    let standing = code.filter(|c| c.token_hash == token_hash).map_or(Standing::None, |c| standing(&c, engine.now()));
    let again_at = match may_send(tx, engine, situation.contact.id, true).await? {
        Decision::Wait { until, .. } => until,
        Decision::Send(_) | Decision::Skip(_) => engine.now(),
    };
    Ok(Some(Step { standing, again_at }))
}

/// The open conversation whose first yes waits for a code.
fn awaiting(situation: &Situation) -> Option<i64> {
    let pending = situation.state() == Some(State::Pending) && situation.mode() == Mode::LinkCode;
    situation.conversation.as_ref().filter(|_| pending).map(|c| c.id)
}

pub(super) fn standing(code: &Code, now: i64) -> Standing {
    use message::State::{Cancelled, Failed, Lapsed, Undelivered};
    match message::State::parse(&code.state) {
        _ if code.typed_at.is_some() => Standing::Waits,
        _ if code.wrong >= TRIES => Standing::Dead,
        _ if code.expires_at.is_some_and(|at| now >= at) => Standing::Expired,
        Some(Failed | Undelivered) if code.reason.as_deref() == Some(messages::WINDOW_CLOSED) => Standing::WindowClosed,
        Some(Failed | Undelivered | Cancelled | Lapsed) => Standing::NotSent,
        _ => Standing::Awaited { wrong: code.wrong },
    }
}

/// Whether a code may leave now: for a yes, or for the person's own data.
pub(super) async fn may_send(tx: &mut Tx, engine: &Engine, contact: i64, for_a_yes: bool) -> Result<Decision> {
    let now = engine.now();
    let people = facts::people(tx, "", &[contact], now).await?;
    let person = people.get(&contact).context("the contact is gone")?;
    Ok(decide(Cause::Code { asked_at: now, for_a_yes }, &person.facts, now))
}

/// Whether the first code of a page may be planned: one asked for less than a minute after another page's waits at the claim until it may
/// leave.
pub(super) async fn may_come_soon(tx: &mut Tx, engine: &Engine, contact: i64, for_a_yes: bool) -> Result<bool> {
    Ok(match may_send(tx, engine, contact, for_a_yes).await? {
        Decision::Send(_) => true,
        Decision::Wait { until, .. } => until <= engine.now() + MINUTE,
        Decision::Skip(_) => false,
    })
}

/// Ends the code there was and plans a new one, unless there were too many today: the page then says when there may be another.
pub async fn plan(
    tx: &mut Tx,
    engine: &Engine,
    situation: &Situation,
    ask: &Ask,
    attempt: &Attempt,
    token_hash: &str,
) -> Result<()> {
    let Some(conversation) = awaiting(situation) else { return Ok(()) };
    codes::end(tx, &engine.controller, conversation, engine.now()).await?;
    if !may_come_soon(tx, engine, situation.contact.id, true).await? {
        return Ok(());
    }
    let locale = situation.shown_in.clone().unwrap_or_else(|| attempt.locale.clone());
    let from = answer::From {
        gateway: &ask.sender.gateway,
        sender: &ask.sender.id,
        channel: ask.channel.code(),
        campaign: attempt.campaign_id,
        revision: attempt.revision_id,
        locale: &locale,
    };
    let cause = format!("page:{conversation}:{}", crate::vault::token());
    if let Some(message) = answer::plan(tx, engine, &situation.contact, &from, Kind::Code, "code", &cause).await? {
        codes::add(tx, &engine.controller, message, conversation, token_hash, engine.now()).await?;
    }
    Ok(())
}

/// The person asks for another code. One that has not left yet is still on its way, and one that was typed needs no other.
pub async fn again(
    tx: &mut Tx,
    engine: &Engine,
    situation: &Situation,
    ask: &Ask,
    attempt: &Attempt,
    token_hash: &str,
) -> Result<()> {
    let Some(conversation) = awaiting(situation) else { return Ok(()) };
    let code = codes::live(tx, &engine.controller, conversation).await?;
    let planned = |c: &Code| c.token_hash == token_hash && c.state == message::State::Planned.code();
    let kept = |c: &Code| c.typed_at.is_some();
    if code.as_ref().is_some_and(|c| planned(c) || kept(c))
        || !matches!(may_send(tx, engine, situation.contact.id, true).await?, Decision::Send(_))
    {
        return Ok(());
    }
    plan(tx, engine, situation, ask, attempt, token_hash).await
}

/// The person typed a code. The right one, in time and on its own page, is the second act; a wrong one is counted, and the
/// caller's commit keeps the count whatever else happens. The contact's row is locked, so tries come one by one.
///
/// While an unclear reply of theirs, by whatever number, waits for an operator, so does the right code, like any second yes
/// (`engine/waiting.rs`): what is unclear may be a no, and after a no the code would complete nothing.
pub async fn take(tx: &mut Tx, engine: &Engine, situation: &mut Situation, text: &str, token_hash: &str) -> Result<()> {
    let now = engine.now();
    let Some(conversation) = awaiting(situation) else { return Ok(()) };
    let Some(code) = codes::live(tx, &engine.controller, conversation).await? else { return Ok(()) };
    let open = code.token_hash == token_hash && matches!(standing(&code, now), Standing::Awaited { .. });
    let (Some(mac), Some(text), true) = (&code.mac, typed(text), open) else { return Ok(()) };
    if !engine.vault.is_code(code.message_id, &text, mac) {
        return Ok(codes::count_wrong(tx, &engine.controller, code.message_id).await?);
    }
    // Whoever typed it got it.
    let reason = Some("the person typed it");
    messages::set_state(tx, code.message_id, message::State::Unknown, message::State::Delivered, reason, now).await?;
    if contacts::is_held(tx, situation.contact.id).await? {
        return Ok(codes::keep_typed(tx, &engine.controller, code.message_id, situation.shown_in.as_deref(), now).await?);
    }
    complete(tx, engine, situation, conversation, &code, now).await
}

/// Nothing of this person is unclear any more: the right code they typed meanwhile counts as of when they typed it. After a stop their
/// question is closed, and a choice submitted since has ended the code.
pub(super) async fn go_on(tx: &mut Tx, engine: &Engine, contact: i64) -> Result<()> {
    let mut situation = Situation::read(tx, engine, contact).await?;
    let Some(conversation) = awaiting(&situation) else { return Ok(()) };
    let Some(code) = codes::live(tx, &engine.controller, conversation).await? else { return Ok(()) };
    let Some(typed_at) = code.typed_at else { return Ok(()) };
    let attempt =
        messages::attempt_by_token(tx, &engine.controller, &code.token_hash).await?.context("a page without its link")?;
    let shown = code.typed_locale.as_deref().map(|locale| Shown { locale, page: None });
    situation.on_page(tx, engine, &attempt, shown).await?;
    complete(tx, engine, &mut situation, conversation, &code, typed_at).await
}

async fn complete(
    tx: &mut Tx,
    engine: &Engine,
    situation: &mut Situation,
    conversation: i64,
    code: &Code,
    typed_at: i64,
) -> Result<()> {
    let sent = messages::newest_attempt(tx, code.message_id).await?.context("a code that was never sent")?;
    let mut deed = Deed::on_page(typed_at, "typed_code", &code.token_hash);
    let wording = sent.wording_hash.as_deref().unwrap_or_default();
    deed.evidence = format!("{}, code {}, wording {wording}", deed.evidence, sent.reference);
    codes::end(tx, &engine.controller, conversation, engine.now()).await?;
    confirm::act(tx, engine, situation, Act::TypedCode, &deed, &[]).await?;
    Ok(())
}
