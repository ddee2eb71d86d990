//! A fresh link to a person's own page, for an operator to hand over by letter or mail: for whoever lost theirs, or has one too old to say
//! yes by. No message is sent; what is said behind it is the person's own word, and a yes still wants the code that goes to their number.

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::{Engine, mydata};
use crate::clock::{DAY, instant};
use crate::domain::phone::PhoneNumber;
use crate::domain::suppression::Reason;
use crate::store::handed::{self, New};
use crate::store::{contacts, suppressions};
use crate::vault;

#[derive(Debug, Clone, Serialize)]
pub struct Handed {
    pub address: String,
    /// The last digits of the number whose page it is.
    pub number: String,
    /// The last day (UTC) on which a yes can be said behind it; a no and one's rights have no end.
    pub yes_until: String,
}

/// Makes a link and records who handed it over.
///
/// # Errors
/// The number is no contact, was erased, or is somebody else's by now; or there is no sender for the code of a yes.
pub async fn link(engine: &Engine, number: &PhoneNumber, by: &str) -> Result<Handed> {
    let keyed = engine.vault.keyed_all(number);
    let mut tx = engine.store.write().await?;
    let noes = suppressions::of(&mut tx, &engine.controller, &keyed).await?;
    let stands = |reason| suppressions::live(&noes).any(|no| no == reason);
    let contact = contacts::by_number(&mut tx, &engine.controller, &keyed).await?;
    let Some(contact) = contact else {
        if stands(Reason::Erased) {
            bail!(
                "the person of this number was erased, so there is no page to open; and nothing is sent to it any more; remedy: none here, since nobody comes back after an erasure"
            );
        }
        bail!(
            "the number is no contact, so there is no page to open; remedy: import it, or give the address of a form (`permesso link page`)"
        );
    };
    if stands(Reason::WrongPerson) {
        bail!(
            "the number is closed: it is not the person's, or not any more; remedy: `permesso contact explain` says why, and a link of their new number is theirs"
        );
    }
    let first = engine.config.senders.first().map_or("", |sender| sender.id.as_str());
    let sender = mydata::code_sender(engine, first)
        .context("permesso.toml has no [[sender]], so no code could complete a yes; remedy: add one")?;
    let pack = contact.country.as_ref().and_then(|code| engine.config.packs.get(code));
    let locale = contact.locale.as_deref().or(pack.map(|pack| pack.default_locale.as_str())).unwrap_or("en");
    let (token, now) = (vault::token(), engine.now());
    let token_hash = vault::token_hash(&token);
    let (channel, sender) = (sender.channel.code(), sender.id.as_str());
    let new = New { token_hash: &token_hash, contact: contact.id, channel, sender, locale, by };
    handed::add(&mut tx, &engine.controller, &new, now).await?;
    tx.commit().await?;
    let last = now + engine.config.link_days * DAY - 1;
    Ok(Handed { address: engine.config.link(&token), number: number.masked(), yes_until: instant(last).date_naive().to_string() })
}
