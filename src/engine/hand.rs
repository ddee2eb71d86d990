//! A fresh link to a person's own page, for an operator to hand over by letter or mail: for whoever lost theirs, or has one too old to say
//! yes by. No message is sent; what is said behind it is the person's own word, and a yes still wants the code that goes to their number.

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::{Engine, mydata, requests, rights};
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
/// The number is no contact, was erased, or is closed: somebody else's, or given up for another; or there is no sender for the code of a yes.
pub async fn link(engine: &Engine, number: &PhoneNumber, by: &str) -> Result<Handed> {
    let keyed = engine.vault.keyed_all(number);
    let mut tx = engine.store.write().await?;
    let noes = suppressions::of(&mut tx, &engine.controller, &keyed).await?;
    let contact = contacts::by_number(&mut tx, &engine.controller, &keyed).await?;
    if contact.is_none() && suppressions::live(&noes).any(|no| no == Reason::Erased) {
        bail!(
            "the person of this number was erased, so there is no page to open; and nothing is sent to it any more; remedy: none here, since nobody comes back after an erasure"
        );
    }
    if let Some((_, closed)) = suppressions::live_at(&noes).find(|(no, _)| *no == Reason::WrongPerson) {
        let day = requests::day(closed);
        if rights::gave_way(&mut tx, engine, &keyed, &noes).await?.is_some() {
            bail!(
                "the number is closed: on {day} its person's new one took its place; remedy: give the person a link of that one, which `permesso contact explain` of this one names"
            );
        }
        let remedy = match contact {
            Some(_) => "give it the person's place by `permesso contact change`, and then give them a link of that one",
            None => "import that one, and then give them a link of it",
        };
        bail!(
            "the number is closed: on {day} whoever has it said that it is a wrong one, so its page is not the person's; remedy: ask the person which number they have now, {remedy}"
        );
    }
    let contact = contact.context(
        "the number is no contact, so there is no page to open; remedy: import it, or give the address of a form (`permesso link page`)",
    )?;
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
