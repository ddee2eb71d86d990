//! Links of messages sent since the copy of the database that was restored (`restore`): the message is not in the copy, but whoever got it
//! must still be able to say no (promise 5: in `link_code` it is the only way), and, where their number is a contact of the copy, take back
//! what they allow and use their rights (`mydata`). They grant nothing.

use std::collections::BTreeSet;

use anyhow::Result;

use super::choose::{Choice, Door, Submitted, View};
use super::confirm::{self, Deed, Situation};
use super::{Engine, notice, rights};
use crate::domain::answer::By;
use crate::domain::campaign::Mode;
use crate::domain::consent::Act;
use crate::domain::suppression::Reason;
use crate::domain::times::Times;
use crate::store::contacts::Contact;
use crate::store::keep::Link;
use crate::store::{Tx, contacts, keep, ledger, notices, suppressions};
use crate::vault::{self, Keyed};

/// The link, and all under which its number was known when it was sent.
async fn found(tx: &mut Tx, engine: &Engine, token: &str) -> Result<Option<(Link, Vec<Keyed>)>> {
    let links = keep::link(tx, &engine.controller, &vault::token_hash(token)).await?;
    let keyed = links.iter().map(|link| Keyed { key_id: link.key_id, mac: link.mac.clone() }).collect();
    Ok(links.into_iter().next().map(|link| (link, keyed)))
}

/// Whose link it is, where the number is a contact here, and the language of the message.
pub(super) async fn person(tx: &mut Tx, engine: &Engine, token: &str) -> Result<Option<(Contact, String)>> {
    let Some((link, keyed)) = found(tx, engine, token).await? else { return Ok(None) };
    let contact = contacts::by_number(tx, &engine.controller, &keyed).await?.filter(|c| !c.is_erased());
    Ok(contact.map(|contact| (contact, link.locale)))
}

/// What is behind such a link: a page like that of one too old to grant. Reads only.
pub(super) async fn look(tx: &mut Tx, engine: &Engine, token: &str) -> Result<Option<View>> {
    let Some((link, keyed)) = found(tx, engine, token).await? else { return Ok(None) };
    let noes = suppressions::of(tx, &engine.controller, &keyed).await?;
    let suppressed = suppressions::live(&noes).max();
    let no_is_said = confirm::ends_nothing(tx, engine, &keyed, suppressed).await?;
    let (mut masked_number, mut granted) = (String::new(), BTreeSet::new());
    if let Some((contact, _)) = person(tx, engine, token).await? {
        masked_number = engine.vault.decrypt_number(&contact.number_enc)?.masked();
        granted = ledger::granted(tx, &engine.controller, &contact.subject).await?.into_iter().collect();
    }
    Ok(Some(View {
        masked_number,
        locale: link.locale,
        channels: Vec::new(),
        purposes: Vec::new(),
        granted,
        times: Times::default(),
        pending: None,
        reply_number: None,
        mode: Mode::LinkCode,
        code: None,
        now: engine.now(),
        suppressed,
        number_changed: rights::gave_way(tx, engine, &keyed, &noes).await?.is_some(),
        no_is_said,
        answered: None,
        last: None,
        lapsed: false,
        yes_waits: false,
        start_number: None,
        door: if suppressed == Some(Reason::WrongPerson) { Door::Closed } else { Door::Expired },
        source: None,
        brand: engine.config.controller.brand.clone(),
        notice: notice::standing(tx, engine).await?,
        test: false,
    }))
}

/// The person behind the link. Without a question open, the ask that it answers is not here, and any other is none of its proof.
async fn situation(tx: &mut Tx, engine: &Engine, contact: i64, locale: String) -> Result<Situation> {
    let mut situation = Situation::read(tx, engine, contact).await?;
    if situation.conversation.is_none() {
        (situation.campaign, situation.asked_by, situation.basis) = (None, None, None);
        let version = notice::standing(tx, engine).await?;
        let hash = notices::hash(tx, &engine.controller, &version, &locale).await?;
        situation.notice = (version, hash);
        situation.shown_in = Some(locale);
    }
    Ok(situation)
}

/// Takes a no. Of a number that is a contact here too it is the person's act like any other.
pub(super) async fn submit(mut tx: Tx, engine: &Engine, token: &str, choice: &Choice) -> Result<Submitted> {
    let Some((link, keyed)) = found(&mut tx, engine, token).await? else { return Ok(Submitted::Unknown) };
    let (controller, now) = (engine.controller.as_str(), engine.now());
    let deed = Deed::on_page(now, "form_post", &vault::token_hash(token));
    let (act, reason) = match choice {
        Choice::Withdraw(permission) => {
            if let Some((contact, _)) = person(&mut tx, engine, token).await? {
                let mut situation = situation(&mut tx, engine, contact.id, link.locale).await?;
                confirm::take_back_one(&mut tx, engine, &mut situation, &deed, *permission).await?;
            }
            tx.commit().await?;
            return Ok(Submitted::Done);
        }
        Choice::Nothing => (Act::SaidNo, Reason::Refused),
        Choice::WrongNumber => (Act::WrongPerson, Reason::WrongPerson),
        Choice::Ticked(..) | Choice::Outdated { .. } | Choice::Code(_) | Choice::AnotherCode => return Ok(Submitted::TooOld),
    };
    match contacts::by_number(&mut tx, controller, &keyed).await?.filter(|c| !c.is_erased()) {
        Some(contact) => {
            let mut situation = situation(&mut tx, engine, contact.id, link.locale).await?;
            if !confirm::is_said(&mut tx, engine, &situation.keyed(engine)?, reason).await? {
                confirm::act(&mut tx, engine, &mut situation, act, &deed, &[]).await?;
            }
        }
        None => confirm::no_of_number(&mut tx, engine, &keyed, reason, By::Person).await?,
    }
    tx.commit().await?;
    Ok(Submitted::Done)
}
