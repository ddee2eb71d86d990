//! Plan the answers to a person's own act: a confirmation, a one-time code, one neutral acknowledgement, help. They are messages like all
//! others, in a batch of their own, and pass through the same door.

use std::time::Duration;

use anyhow::Result;

use super::Engine;
use crate::clock::{DAY, MINUTE};
use crate::domain::channel::Channel;
use crate::domain::code;
use crate::domain::message::Kind;
use crate::store::contacts::Contact;
use crate::store::messages::{Attempt, New, Route};
use crate::store::queue::{self, Job};
use crate::store::{Tx, messages};

/// Where an answer goes out: the sender the person wrote to, or the one that asked.
#[derive(Debug, Clone)]
pub struct From<'a> {
    pub gateway: &'a str,
    pub sender: &'a str,
    pub channel: &'static str,
    pub campaign: Option<i64>,
    pub revision: Option<i64>,
    pub locale: &'a str,
}

impl<'a> From<'a> {
    /// The way back to whoever wrote to this sender, in the language of the ask that they answer, if any.
    pub fn heard(
        engine: &'a Engine,
        (gateway, sender, channel): (&'a str, &'a str, Channel),
        asked: Option<&'a Attempt>,
        contact: &'a Contact,
    ) -> From<'a> {
        From {
            gateway,
            sender,
            channel: channel.code(),
            campaign: asked.and_then(|a| a.campaign_id),
            revision: asked.and_then(|a| a.revision_id),
            locale: asked.map_or_else(|| engine.locale_of(contact), |a| &a.locale),
        }
    }
}

/// Plans one answer, caused by `cause`: the same act again plans nothing. Answers the message's id.
pub async fn plan(
    tx: &mut Tx,
    engine: &Engine,
    contact: &Contact,
    from: &From<'_>,
    kind: Kind,
    wording: &str,
    cause: &str,
) -> Result<Option<i64>> {
    let now = engine.now();
    let new = New {
        contact: contact.id,
        family: String::new(),
        person: String::new(),
        kind: kind.code(),
        cause: cause.to_owned(),
        channel: from.channel,
        wording: Some(wording.to_owned()),
        locale: from.locale.to_owned(),
        due_at: now,
        expires_at: now
            + match kind {
                Kind::Confirm => DAY,
                Kind::Code => code::VALID,
                _ => 5 * MINUTE,
            },
    };
    let route = Route { campaign: from.campaign, revision: from.revision, gateway: from.gateway, sender: from.sender };
    let Some((batch, message)) = messages::plan(tx, &engine.controller, &route, &[new], now).await? else { return Ok(None) };
    queue::push(tx, &Job::Deliver { batch }, Duration::ZERO).await?;
    Ok(Some(message))
}
