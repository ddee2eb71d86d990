//! What became of a slice, stored in one transaction: states, retries, the gateway's health, receipts that came early.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;

use super::deliver::BREAKER;
use super::{Engine, storable};
use crate::clock::{HOUR, SECOND};
use crate::domain::campaign::CampaignState;
use crate::domain::channel::Channel;
use crate::domain::message::State;
use crate::gateway::{Refusal, Sent};
use crate::store::messages::{Batch, Due, Settled};
use crate::store::{Tx, campaigns, control, legs, messages};
use crate::vault;

/// Tries of a message that each time was proved not accepted.
const TRIES: i64 = 8;

/// Stores what became of a slice, again and again until it is stored; nothing is claimed meanwhile.
pub async fn store_outcomes(engine: &Engine, batch: &Batch, sent: Vec<(Due, i64, Sent)>) {
    let unreached = |(_, _, sent): &&(Due, i64, Sent)| matches!(sent, Sent::NotAccepted { why: Refusal::NotReached, .. });
    let messages = sent.iter().filter(unreached).count();
    if messages > 0 {
        tracing::warn!(gateway = %batch.gateway, messages, "The gateway cannot be reached; its messages are tried again later");
    }
    let mut pause = Duration::from_millis(100);
    loop {
        match try_store_outcomes(engine, batch, &sent).await {
            Ok(()) => break,
            Err(error) => {
                engine.storing.store(true, Ordering::SeqCst);
                tracing::error!(%error, messages = sent.len(), "Outcomes could not be stored; trying again, claiming nothing");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
    engine.storing.store(false, Ordering::SeqCst);
}

async fn try_store_outcomes(engine: &Engine, batch: &Batch, sent: &[(Due, i64, Sent)]) -> Result<()> {
    let now = engine.now();
    let mut tx = engine.store.write().await?;
    let mut health = control::health(&mut tx, &engine.controller, &batch.gateway).await?;
    let mut settled = Vec::with_capacity(sent.len());
    let mut opted_out = Vec::new();
    for (due, attempt, sent) in sent {
        let mut row = Settled {
            attempt: *attempt,
            message: due.id,
            outcome: "unknown",
            provider_id: None,
            error: None,
            state: State::Unknown.code(),
            due_at: now,
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
                    Refusal::TooLate => {}
                    Refusal::NotReached => row.due_at = now + backoff(due.tries),
                    Refusal::Transient { retry_after } => {
                        let wait = retry_after.map_or(0, |after| i64::try_from(after.as_micros()).unwrap_or(HOUR));
                        row.due_at = now + wait.max(backoff(due.tries));
                    }
                    Refusal::Throttled { retry_after } => {
                        let until = now + i64::try_from(retry_after.as_micros()).unwrap_or(SECOND);
                        health.throttled_until = health.throttled_until.max(until);
                        row.due_at = until + jitter(SECOND);
                    }
                    Refusal::Recipient | Refusal::OptedOut | Refusal::NotOnChannel => {
                        (row.outcome, row.state) = ("refused", State::Failed.code())
                    }
                    Refusal::Account => {
                        health.paused_at = Some(now);
                        health.pause_reason = Some(storable::text(error));
                    }
                }
                if due.tries + 1 >= TRIES
                    && row.state == State::Planned.code()
                    && !matches!(why, Refusal::Account | Refusal::TooLate)
                {
                    row.state = State::Failed.code();
                }
                if *why == Refusal::OptedOut {
                    opted_out.push(due.contact_id);
                }
            }
        }
        match sent {
            Sent::Unknown { .. } => health.unknowns += 1,
            Sent::Accepted { .. } => health.unknowns = 0,
            Sent::NotAccepted { .. } => {}
        }
        settled.push(row);
    }
    let answered = sent.iter().any(|(_, _, s)| matches!(s, Sent::Accepted { .. }));
    if health.unknowns >= i64::from(BREAKER) {
        tracing::warn!(gateway = %batch.gateway, "The breaker opened: five outcomes in a row are unknown");
        (health.opened_at, health.probing) = (Some(now), 0);
    } else if health.probing != 0 {
        // One probe that got an answer closes the breaker; one that did not keeps it open.
        health.opened_at = if answered { None } else { Some(now) };
        health.probing = 0;
    }
    control::save_health(&mut tx, &engine.controller, &health).await?;
    messages::settle(&mut tx, &settled, now).await?;
    super::budget::release(&mut tx, &settled).await?;
    super::receive::match_late(&mut tx, engine, &batch.gateway, &settled).await?;
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
    tx.commit().await?;
    Ok(())
}

/// A human has to mend something at this gateway: nothing more is claimed for it, and the campaign that met it says why it rests.
pub async fn pause(tx: &mut Tx, engine: &Engine, gateway: &str, campaign: Option<i64>, reason: &str) -> Result<()> {
    let mut health = control::health(tx, &engine.controller, gateway).await?;
    (health.paused_at, health.pause_reason) = (Some(engine.now()), Some(reason.to_owned()));
    control::save_health(tx, &engine.controller, &health).await?;
    pause_campaign(tx, gateway, campaign, reason).await
}

async fn pause_campaign(tx: &mut Tx, gateway: &str, campaign: Option<i64>, reason: &str) -> Result<()> {
    tracing::warn!(gateway, campaign.id = campaign, reason, "Paused: the gateway wants a human");
    let Some(campaign) = campaign else { return Ok(()) };
    let reason = format!("gateway {gateway}: {reason}; mend the account, then `permesso campaign resume`");
    Ok(campaigns::set_state(tx, campaign, CampaignState::Paused, Some(&reason)).await?)
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
