//! What time alone does: a first yes without its second step expires, an unanswered ask closes, a message past its time
//! lapses, an unanswered ask gets its one reminder, a campaign with nothing left is finished. Silence never grants.

use std::time::Duration;

use anyhow::Result;

use super::Engine;
use super::confirm::{self, Deed, Situation};
use crate::clock::DAY;
use crate::domain::campaign::{Campaign, CampaignState};
use crate::domain::consent::Act;
use crate::domain::message::Kind;
use crate::store::messages::{New, Route};
use crate::store::queue::{self, Job};
use crate::store::{campaigns, conversations, facts, messages};

/// Conversations closed, messages lapsed and reminders planned a transaction: the others who write wait for it.
const CHUNK: i64 = 500;

/// Does what is due by now. Answers how many conversations expired.
pub async fn expire(engine: &Engine) -> Result<u64> {
    let mut expired = 0;
    loop {
        let mut tx = engine.store.write().await?;
        let due = conversations::expired(&mut tx, &engine.controller, engine.now(), CHUNK).await?;
        let count = due.len() as u64;
        for conversation in due {
            let mut situation = Situation::read(&mut tx, engine, conversation.contact_id).await?;
            // The person may have answered while we waited for their row.
            if !situation.conversation.as_ref().is_some_and(|c| c.id == conversation.id && c.expires_at <= engine.now()) {
                continue;
            }
            let deed = Deed {
                at: engine.now(),
                channel: "none",
                action: "time_out",
                evidence: format!("conversation {}", conversation.id),
                text_hash: None,
            };
            confirm::act(&mut tx, engine, &mut situation, Act::TimeOut, &deed, &[]).await?;
        }
        tx.commit().await?;
        expired += count;
        if count < CHUNK as u64 {
            break;
        }
    }
    loop {
        let mut tx = engine.store.write().await?;
        let lapsed = campaigns::lapse_planned(&mut tx, &engine.controller, engine.now(), CHUNK).await?;
        tx.commit().await?;
        if lapsed == 0 {
            break;
        }
    }
    let mut tx = engine.store.read().await?;
    let running = campaigns::all(&mut tx, &engine.controller).await?;
    tx.rollback().await?;
    for row in running.iter().filter(|r| r.state() == CampaignState::Running) {
        remind(engine, row).await?;
        finish(engine, row).await?;
    }
    Ok(expired)
}

/// Plans reminders of asks that were accepted long enough ago and never answered. At most one a person and family.
async fn remind(engine: &Engine, row: &campaigns::Row) -> Result<()> {
    let now = engine.now();
    // A look at the whole campaign may take seconds, and nobody waits for it.
    let mut tx = engine.store.read().await?;
    let campaign = engine.revision(&mut tx, row.revision_id).await?;
    let Some(days) = campaign.reminder_after_days.filter(|_| now < row.deadline) else { return Ok(()) };
    let mut revisions = Vec::new();
    for id in campaigns::revisions(&mut tx, &engine.controller, &row.name).await? {
        revisions.push((id, engine.revision(&mut tx, id).await?));
    }
    let mut due = Vec::new();
    for ask in &campaign.asks {
        // An answer is to the question as it was first asked; a reminder that asks for something else, or is answered another way, would be
        // another question.
        let alike = |earlier: &Campaign| {
            earlier.asks_for == campaign.asks_for && earlier.ask(ask.channel).is_some_and(|e| e.is_answered_as(ask))
        };
        let alike: Vec<i64> = revisions.iter().filter(|(_, earlier)| alike(earlier)).map(|(id, _)| *id).collect();
        let of = (row.revision_id, alike.as_slice());
        due.push((ask, campaigns::unanswered(&mut tx, row.id, of, ask.channel, now - days * DAY, CHUNK).await?));
    }
    tx.rollback().await?;
    due.retain(|(_, people)| !people.is_empty());
    if due.is_empty() {
        return Ok(());
    }

    let mut tx = engine.store.write().await?;
    // A start that came between would leave reminders of the revision that was.
    let as_seen = |now: &campaigns::Row| now.state() == CampaignState::Running && now.revision_id == row.revision_id;
    let Some(row) = campaigns::lock(&mut tx, row.id).await?.filter(as_seen) else { return Ok(()) };
    for (ask, asked) in due {
        let ids: Vec<i64> = asked.iter().map(|(contact, _)| *contact).collect();
        // Whoever answered meanwhile is not reminded.
        let ids = campaigns::still_asked(&mut tx, row.id, &ids).await?;
        let people = facts::people(&mut tx, &row.family, &ids, now).await?;
        let new: Vec<New> = asked
            .iter()
            .filter_map(|(contact, locale)| {
                Some(New {
                    contact: *contact,
                    family: row.family.clone(),
                    person: people.get(contact)?.person.clone(),
                    kind: Kind::Reminder.code(),
                    cause: format!("plan:{}:{}", row.id, row.revision_id),
                    channel: ask.channel.code(),
                    wording: None,
                    locale: locale.clone(),
                    due_at: now,
                    expires_at: row.deadline,
                })
            })
            .collect();
        let route = Route {
            campaign: Some(row.id),
            revision: Some(row.revision_id),
            gateway: &ask.sender.gateway,
            sender: &ask.sender.id,
        };
        if let Some((batch, _)) = messages::plan(&mut tx, &engine.controller, &route, &new, now).await? {
            queue::push(&mut tx, &Job::Deliver { batch }, Duration::ZERO).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// A campaign past its deadline, or with every ask answered or settled and no reminder to come, is finished.
async fn finish(engine: &Engine, row: &campaigns::Row) -> Result<()> {
    let mut tx = engine.store.write().await?;
    // A start, or a word of the operator, may have come between.
    let Some(row) = campaigns::lock(&mut tx, row.id).await?.filter(|row| row.state() == CampaignState::Running) else {
        return Ok(());
    };
    if row.planned_all == 0 && engine.now() < row.deadline {
        return Ok(());
    }
    let campaign = engine.revision(&mut tx, row.revision_id).await?;
    let waiting = (campaign.reminder_after_days.is_some() || row.repeat_at.is_some()) && engine.now() < row.deadline;
    if !waiting && !campaigns::is_unfinished(&mut tx, row.id).await? {
        campaigns::set_state(&mut tx, row.id, CampaignState::Finished, None).await?;
        tracing::info!(campaign.id = row.id, "Campaign finished");
    }
    tx.commit().await?;
    Ok(())
}
