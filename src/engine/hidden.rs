//! People whose number the provider hides (WhatsApp users with a user name). It tells an id of theirs instead, as it does beside the numbers
//! of the others; its keyed hash is one more by which a contact is known, learned from receipts and replies, so that every no stands under it
//! too and outlives an erasure.

use anyhow::{Context, Result};

use super::Engine;
use super::receive::{self, Heard};
use super::{confirm, late, notify};
use crate::domain::channel::Channel;
use crate::domain::phone::PhoneNumber;
use crate::domain::reply::Intent;
use crate::domain::suppression::Reason;
use crate::store::messages::Attempt;
use crate::store::{Tx, contacts, inbound, suppressions};
use crate::vault::{Keyed, USER};

/// The number of whoever got this message of ours, or is known by this id.
pub(super) async fn number(
    tx: &mut Tx,
    engine: &Engine,
    answered: Option<&Attempt>,
    user: Option<&Keyed>,
) -> Result<Option<PhoneNumber>> {
    let mut contact = match answered {
        Some(attempt) => contacts::lock(tx, attempt.contact_id).await?.filter(|c| !c.is_erased()),
        None => None,
    };
    if let (None, Some(user)) = (&contact, user) {
        contact = contacts::by_number(tx, &engine.controller, std::slice::from_ref(user)).await?;
    }
    contact.map(|contact| engine.vault.decrypt_number(&contact.number_enc)).transpose()
}

/// Learns by which ids these contacts are known. What was said under such an id is heard, and whatever no stands under it is theirs from
/// now on.
pub(super) async fn learn(tx: &mut Tx, engine: &Engine, told: &[(Keyed, i64)]) -> Result<()> {
    let new = match told.is_empty() {
        true => Vec::new(),
        false => contacts::learn_users(tx, &engine.controller, told).await?,
    };
    if new.is_empty() {
        return Ok(());
    }
    adopt(tx, engine).await?;
    let users: Vec<Keyed> = new.iter().map(|(user, _)| user.clone()).collect();
    let noes = suppressions::live_among(tx, &engine.controller, &users).await?;
    for (user, contact) in new.iter().filter(|(user, _)| noes.contains(&user.mac)) {
        inherit(tx, engine, user, *contact).await?;
    }
    Ok(())
}

/// The noes that stand under a stranger's id are the number's, now that we know of whom it is: whoever imports it finds them, what they
/// reach is granted no more, and the company's CRM is told. What the number carries already was carried over before.
pub(super) async fn carry_over(tx: &mut Tx, engine: &Engine, user: &Keyed, number: &PhoneNumber) -> Result<()> {
    let (controller, now) = (engine.controller.as_str(), engine.now());
    let noes = suppressions::of(tx, controller, std::slice::from_ref(user)).await?;
    if noes.is_empty() {
        return Ok(());
    }
    let keyed = engine.vault.keyed_all(number);
    let carried = suppressions::of(tx, controller, &keyed).await?;
    let carried: Vec<Reason> = suppressions::live(&carried).collect();
    for (reason, at) in suppressions::live_at(&noes).filter(|(reason, _)| !carried.contains(reason)) {
        late::learned(tx, engine, &keyed, reason, at, &confirm::said_hidden(now)).await?;
        if reason != Reason::Erased {
            notify::no_of_stranger(tx, engine, number, reason).await?;
        }
    }
    Ok(())
}

/// [`adopt`] again: a reply may have been stored at the same moment as the receipt that says whose it is, and neither saw the other. What
/// fails stays where the operator sees it, and holds up nothing else.
pub(super) async fn sweep(engine: &Engine) {
    let done: Result<()> = async {
        let mut tx = engine.store.write().await?;
        adopt(&mut tx, engine).await?;
        Ok(tx.commit().await?)
    }
    .await;
    if let Err(error) = done {
        tracing::error!(%error, "Replies of people who hide their number could not be read again; the next sweep tries");
    }
}

/// Hears what waits under the ids of users who are known by now, as said when it came.
async fn adopt(tx: &mut Tx, engine: &Engine) -> Result<()> {
    for said in inbound::hidden(tx, &engine.controller).await? {
        let contact = contacts::lock(tx, said.contact_id).await?.filter(|c| !c.is_erased());
        let Some((contact, channel)) = contact.zip(Channel::parse(&said.channel)) else { continue };
        let number = engine.vault.decrypt_number(&contact.number_enc)?;
        let text = engine.vault.decrypt("inbound", &said.body_enc).context("reading a stored reply")?;
        let heard = Heard {
            gateway: &said.gateway,
            event_id: &said.event_id,
            to: &said.to_sender,
            channel,
            intent: Intent::parse(&said.intent).unwrap_or(Intent::Unclear),
            tapped: None,
            said_at: Some(said.at),
            received_at: said.received_at,
            // It is late for an acknowledgement, and the provider may have given one.
            answered: true,
            text_hash: engine.vault.fingerprint("reply", &text),
        };
        inbound::give(tx, said.id, contact.id).await?;
        let effect = receive::reply(tx, engine, contact.id, &number, &engine.vault.keyed_all(&number), &heard).await?;
        inbound::set_effect(tx, said.id, effect).await?;
        inherit(tx, engine, &Keyed { key_id: USER, mac: said.mac }, contact.id).await?;
    }
    Ok(())
}

/// Each no under the id counts for the contact, and reaches whom their own late noes reach.
async fn inherit(tx: &mut Tx, engine: &Engine, user: &Keyed, contact: i64) -> Result<()> {
    let (controller, now) = (engine.controller.as_str(), engine.now());
    let Some(contact) = contacts::by_id(tx, contact).await?.filter(|c| !c.is_erased()) else { return Ok(()) };
    suppressions::lift_answered(tx, controller, user, contact.id, now).await?;
    let noes = suppressions::of(tx, controller, std::slice::from_ref(user)).await?;
    let mut keyed = engine.vault.keyed_of(&contact.number_enc)?;
    keyed.push(user.clone());
    for (reason, at) in suppressions::live_at(&noes) {
        late::learned(tx, engine, &keyed, reason, at, &confirm::said_hidden(now)).await?;
    }
    Ok(())
}
