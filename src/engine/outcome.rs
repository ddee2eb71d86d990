//! What became of a slice, stored in one transaction: states, retries, the gateway's health, receipts that came early.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::claim::PROBE_AFTER;
use super::deliver::BREAKER;
use super::{Engine, storable};
use crate::clock::{HOUR, SECOND};
use crate::crash;
use crate::domain::campaign::CampaignState;
use crate::domain::channel::Channel;
use crate::domain::message::{Kind, State};
use crate::gateway::{Refusal, Sent, words};
use crate::store::control::Health;
use crate::store::messages::{Batch, Due, Settled};
use crate::store::{self, Tx, campaigns, control, legs, messages};
use crate::vault;

/// Tries of a message that each time was proved not accepted.
const TRIES: i64 = 8;
/// As often an account may be refused over one message, each time after the operator went on.
const ACCOUNT_TRIES: i64 = 3;

/// A slice whose outcomes, or whose claim, the database cannot take or tell: while there is one, whichever it is, this process claims nothing.
#[derive(Debug)]
pub struct Unstored<'a>(&'a AtomicUsize);

impl<'a> Unstored<'a> {
    pub fn of(engine: &'a Engine) -> Unstored<'a> {
        engine.unstored.fetch_add(1, Ordering::SeqCst);
        Unstored(&engine.unstored)
    }

    pub fn any(engine: &Engine) -> bool {
        engine.unstored.load(Ordering::SeqCst) > 0
    }
}

impl Drop for Unstored<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Stores what became of a slice, again and again until it is stored; nothing is claimed meanwhile. Where the database refuses a slice for
/// what it says, each message is stored by itself, and one that is refused twice even so counts as of unknown outcome: none keeps the others.
pub async fn store_outcomes(engine: &Engine, batch: &Batch, sent: Vec<(Due, i64, Sent)>) {
    let mut unstored = None;
    let mut pause = Duration::from_millis(100);
    let mut slices = VecDeque::from([(sent, false)]);
    while let Some((mut sent, before)) = slices.pop_front() {
        let error = match try_store_outcomes(engine, batch, &sent).await {
            Ok(turn) => {
                turn.log(&batch.gateway);
                continue;
            }
            Err(error) => error,
        };
        unstored.get_or_insert_with(|| Unstored::of(engine));
        let refused = store::is_of_data(&error);
        let error = format!("{error:#}");
        match sent.as_mut_slice() {
            [_, _, ..] if refused => {
                tracing::error!(error, messages = sent.len(), "Outcomes were refused; each message is stored by itself");
                slices.extend(sent.into_iter().map(|one| (vec![one], false)));
                continue;
            }
            [(due, _, what)] if refused && before && may_be_given_up(what) => {
                tracing::error!(error, message.id = due.id, "An outcome was refused; the message is of unknown outcome");
                *what = Sent::Unknown { error: REFUSED.into() };
            }
            _ => {
                tracing::error!(error, messages = sent.len(), "Outcomes could not be stored; trying again, claiming nothing");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
        slices.push_back((sent, refused));
    }
}

/// What is told of a message whose outcome the database refuses.
const REFUSED: &str = "the database refused what the gateway answered";

/// A no that the gateway tells never is, and less than "unknown" cannot be said.
fn may_be_given_up(sent: &Sent) -> bool {
    match sent {
        Sent::Unknown { error } => error != REFUSED,
        Sent::NotAccepted { why, .. } => *why != Refusal::OptedOut,
        Sent::Accepted { .. } => true,
    }
}

async fn try_store_outcomes(engine: &Engine, batch: &Batch, sent: &[(Due, i64, Sent)]) -> Result<Turn> {
    let now = engine.now();
    let mut tx = engine.store.write().await?;
    // All well before and all accepted: its health stays as it is, and no claim waits for this transaction.
    let seen = control::health_seen(&mut tx, &engine.controller, &batch.gateway).await?;
    let stays = seen.is_some_and(|h| h.is_clean()) && sent.iter().all(|(_, _, s)| matches!(s, Sent::Accepted { .. }));
    let mut health = match stays {
        true => Health::default(),
        false => control::health(&mut tx, &engine.controller, &batch.gateway).await?,
    };
    let mut settled = Vec::with_capacity(sent.len());
    let mut opted_out = Vec::new();
    for (due, attempt, sent) in sent {
        let mut row = Settled {
            attempt: *attempt,
            message: due.id,
            outcome: "unknown",
            provider_id: None,
            error: None,
            reason: None,
            state: State::Unknown.code(),
            due_at: now,
            uncounted: 0,
        };
        match sent {
            Sent::Accepted { provider_id } => {
                (row.outcome, row.state) = ("accepted", State::Accepted.code());
                row.provider_id = provider_id.as_deref().map(storable::id);
            }
            Sent::Unknown { error } => row.error = Some(storable::text(error)),
            Sent::NotAccepted { why, error } => {
                row.error = Some(storable::text(error));
                (row.outcome, row.state) = ("not_accepted", State::Planned.code());
                match why {
                    // No try of the provider's: whatever its outage lasts, the message keeps its tries.
                    Refusal::NotTried => row.uncounted = 1,
                    Refusal::NotReached => {
                        row.uncounted = 1;
                        row.due_at = now + backoff(due.tries);
                    }
                    Refusal::Transient { retry_after } => {
                        let wait = retry_after.map_or(0, |after| i64::try_from(after.as_micros()).unwrap_or(HOUR));
                        row.due_at = now + wait.max(backoff(due.tries));
                    }
                    Refusal::Throttled { retry_after } => {
                        let until = now + i64::try_from(retry_after.as_micros()).unwrap_or(SECOND);
                        health.throttled_until = health.throttled_until.max(until);
                        // That we were too fast is no fault of the message's.
                        row.uncounted = 1;
                        row.due_at = until + jitter(SECOND);
                    }
                    Refusal::Recipient | Refusal::OptedOut | Refusal::NotOnChannel => {
                        (row.outcome, row.state) = ("refused", State::Failed.code())
                    }
                    Refusal::WindowClosed => {
                        (row.outcome, row.state) = ("refused", State::Failed.code());
                        row.reason = Some(messages::WINDOW_CLOSED);
                    }
                    Refusal::Account => {
                        // Whoever stops the account stands back when the operator goes on, so that one number cannot do it again and again.
                        row.due_at = now + backoff(due.tries);
                        health.paused_at = Some(now);
                        health.pause_reason = Some(words::told(&storable::text(error)));
                    }
                }
                let most = if *why == Refusal::Account { ACCOUNT_TRIES } else { TRIES };
                if due.tries + 1 >= most && row.state == State::Planned.code() && row.uncounted == 0 {
                    row.state = State::Failed.code();
                }
                if *why == Refusal::OptedOut {
                    opted_out.push(due.contact_id);
                }
            }
        }
        settled.push(row);
    }
    // All of it again: the answer to an earlier COMMIT was lost, and another process may have claimed since what was given back.
    let fresh = messages::settle(&mut tx, &settled, now).await?;
    settled.retain(|row| fresh.contains(&row.attempt));
    let sent: Vec<&(Due, i64, Sent)> = sent.iter().filter(|(_, attempt, _)| fresh.contains(attempt)).collect();
    // Nor does what was stored already count twice for the breaker, or end a probe that left since.
    let turn = match sent.is_empty() {
        true => Turn::Stays,
        false => turn(&mut health, sent.iter().map(|(_, _, sent)| sent), now),
    };
    if !stays && !sent.is_empty() {
        control::save_health(&mut tx, &engine.controller, &health).await?;
    }
    super::budget::release(&mut tx, &settled).await?;
    if let Some(campaign) = batch.campaign_id {
        // Whoever was not asked has used up nothing of the ramp-up.
        let again = |(row, (due, ..)): &(&Settled, &&(Due, i64, Sent))| {
            row.state == State::Planned.code() && due.kind().is_some_and(Kind::is_asking)
        };
        let unused = settled.iter().zip(&sent).filter(again).count();
        campaigns::return_allowance(&mut tx, campaign, i64::try_from(unused).unwrap_or(0)).await?;
    }
    let messages: Vec<i64> = settled.iter().map(|row| row.message).collect();
    let erased = messages::erased_among(&mut tx, &messages).await?;
    if !erased.is_empty() {
        let forgotten: Vec<i64> = erased.iter().copied().collect();
        messages::forget_names(&mut tx, &forgotten).await?;
        settled.retain(|row| !erased.contains(&row.message));
    }
    super::receipts::match_late(&mut tx, engine, &batch.gateway, &settled).await?;
    let mut stranded: Vec<i64> = sent.iter().filter(|(_, _, s)| not_on_channel(s)).map(|(due, _, _)| due.id).collect();
    // A receipt may have said so while the answer to the send was still on its way.
    let accepted: Vec<i64> = sent.iter().filter(|(due, _, s)| may_move(due, s)).map(|(due, _, _)| due.id).collect();
    if !accepted.is_empty() {
        stranded.extend(legs::proved_not_on_channel(&mut tx, &accepted).await?);
    }
    super::legs::fall_back(&mut tx, engine, &stranded).await?;
    for contact in opted_out {
        super::confirm::gateway_opt_out(&mut tx, engine, contact).await?;
    }
    if let Some(reason) = health.pause_reason.filter(|_| health.paused_at == Some(now)) {
        pause_campaign(&mut tx, &batch.gateway, batch.campaign_id, &reason).await?;
    }
    crash::point("before-outcome-commit");
    tx.commit().await?;
    Ok(turn)
}

/// What became of the breaker, to be logged once it is stored.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Stays,
    Opened(Option<String>),
    Closed,
}

impl Turn {
    fn log(&self, gateway: &str) {
        match self {
            Turn::Stays => {}
            Turn::Opened(None) => {
                tracing::warn!(gateway, "The breaker opened: five outcomes in a row are unknown; one probe every half minute")
            }
            Turn::Opened(Some(why)) => {
                tracing::warn!(
                    gateway,
                    why,
                    "The gateway is out of reach; one probe every half minute, and no message loses a try"
                )
            }
            Turn::Closed => tracing::info!(gateway, "The gateway answers again; sending goes on"),
        }
    }
}

/// Counts what a slice says of the gateway, and opens or closes its breaker by that. One probe that got an answer closes it; one that did
/// not keeps it open.
fn turn<'a>(health: &mut Health, sent: impl IntoIterator<Item = &'a Sent>, now: i64) -> Turn {
    let (mut answered, mut unknown, mut why) = (false, false, None);
    for sent in sent {
        match sent {
            Sent::Accepted { .. } => (answered, health.unknowns, health.unreached) = (true, 0, 0),
            Sent::Unknown { .. } => (unknown, health.unknowns, health.unreached) = (true, health.unknowns + 1, 0),
            Sent::NotAccepted { why: Refusal::NotTried, .. } => {}
            Sent::NotAccepted { why: Refusal::NotReached, error } => {
                (health.unreached, why) = (health.unreached + 1, Some(storable::text(error)));
            }
            Sent::NotAccepted { .. } => (answered, health.unreached) = (true, 0),
        }
    }
    let was_probe = std::mem::take(&mut health.probing) != 0;
    if was_probe && answered {
        (health.opened_at, health.open_reason, health.unknowns, health.unreached) = (None, None, 0, 0);
        return Turn::Closed;
    }
    let enough = |in_a_row: i64| was_probe || in_a_row >= i64::from(BREAKER);
    let cause = match why {
        // Where both are true, the dearer one: each probe may cost a person's ask.
        _ if unknown && enough(health.unknowns) => Some(None),
        Some(why) if enough(health.unreached) => Some(Some(why)),
        _ => None,
    };
    if was_probe || cause.is_some() {
        health.probe_at = now + PROBE_AFTER;
    }
    let Some(cause) = cause else { return Turn::Stays };
    // The same in other words is no news.
    let known = health.opened_at.is_some() && cause.is_some() == health.open_reason.is_some();
    health.open_reason.clone_from(&cause);
    if known {
        return Turn::Stays;
    }
    health.opened_at = Some(now);
    Turn::Opened(cause)
}

/// The session that a gateway sends by does not come about: the same as sends that found no connection.
///
/// # Errors
/// The database is gone.
pub async fn out_of_reach(engine: &Engine, gateway: &str, why: &str) -> Result<()> {
    let mut tx = engine.store.write().await?;
    let health = control::health(&mut tx, &engine.controller, gateway).await?;
    if health.out_of_reach().is_some_and(|(_, known)| known == why) {
        return Ok(());
    }
    // Open for unknown outcomes, it keeps its half minute: each probe may cost a person's ask.
    if health.opened_at.is_some() && health.open_reason.is_none() {
        return Ok(());
    }
    let opened_at = health.out_of_reach().map_or(engine.now(), |(since, _)| since);
    let turn = if health.out_of_reach().is_some() { Turn::Stays } else { Turn::Opened(Some(why.to_owned())) };
    let health = Health { opened_at: Some(opened_at), open_reason: Some(why.to_owned()), probe_at: 0, ..health };
    control::save_health(&mut tx, &engine.controller, &health).await?;
    tx.commit().await?;
    turn.log(gateway);
    Ok(())
}

/// A human has to mend something at this gateway: nothing more is claimed for it, and the campaign that met it says why it rests.
pub async fn pause(tx: &mut Tx, engine: &Engine, gateway: &str, campaign: Option<i64>, reason: &str) -> Result<()> {
    let (mut health, reason) = (control::health(tx, &engine.controller, gateway).await?, words::told(reason));
    (health.paused_at, health.pause_reason) = (Some(engine.now()), Some(reason.clone()));
    control::save_health(tx, &engine.controller, &health).await?;
    pause_campaign(tx, gateway, campaign, &reason).await
}

async fn pause_campaign(tx: &mut Tx, gateway: &str, campaign: Option<i64>, reason: &str) -> Result<()> {
    tracing::warn!(gateway, campaign.id = campaign, reason, "Paused: the gateway wants a human");
    let Some(campaign) = campaign else { return Ok(()) };
    let reason = format!("gateway {gateway}: {reason}; mend the account, then `permesso campaign resume`");
    // What is cancelled or over stays so, whatever is still heard of it.
    for state in [CampaignState::Running, CampaignState::Scheduled] {
        campaigns::move_state(tx, campaign, state, CampaignState::Paused, Some(&reason)).await?;
    }
    Ok(())
}

fn not_on_channel(sent: &Sent) -> bool {
    matches!(sent, Sent::NotAccepted { why: Refusal::NotOnChannel, .. })
}

/// Only WhatsApp knows numbers that are not on it.
fn may_move(due: &Due, sent: &Sent) -> bool {
    due.channel == Channel::WhatsApp.code() && matches!(sent, Sent::Accepted { .. })
}

/// Two seconds doubled a try, at most ten minutes, with jitter so that a thousand retries do not come at once.
fn backoff(tries: i64) -> i64 {
    let base = (2 * SECOND) << tries.clamp(0, 8);
    base.min(600 * SECOND) + jitter(base / 2)
}

fn jitter(up_to: i64) -> i64 {
    i64::from(u32::from_be_bytes(vault::random())) * up_to.max(1) / i64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five of a slice found no connection and five may have been taken: each probe may cost a person's ask, and that is said.
    #[test]
    fn where_the_breaker_has_two_causes_it_opens_for_the_dearer_one() {
        let mut health = Health::default();
        let unknown = Sent::Unknown { error: "no answer".into() };
        let lost = Sent::NotAccepted { why: Refusal::NotReached, error: "connection refused".into() };
        let sent: Vec<Sent> = (0..10).map(|n| if n < 5 { unknown.clone() } else { lost.clone() }).collect();
        assert!(matches!(turn(&mut health, &sent, 7), Turn::Opened(None)));
        assert_eq!((health.opened_at, health.open_reason), (Some(7), None));
        let mut health = Health::default();
        assert!(matches!(turn(&mut health, &sent[5..], 7), Turn::Opened(Some(why)) if why == "connection refused"));
    }
}
