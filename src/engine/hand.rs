//! A fresh link to a person's own page, for an operator to hand over by letter or mail: for whoever lost theirs, has one too old to say yes
//! by, or was erased and asks to come back. No message is sent; what is said behind it is the person's own word, and a yes still wants the
//! code that goes to their number.

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::{Engine, enroll, mydata, requests, rights};
use crate::clock::{DAY, instant};
use crate::domain::phone::PhoneNumber;
use crate::domain::suppression::Reason;
use crate::store::handed::{self, New};
use crate::store::{contacts, humans, intakes, suppressions};
use crate::vault;

#[derive(Debug, Clone, Serialize)]
pub struct Handed {
    pub address: String,
    /// The last digits of the number whose page it is.
    pub number: String,
    /// The last day (UTC) on which a yes can be said behind it; a no and one's rights have no end.
    pub yes_until: String,
}

/// Makes a link and records who handed it over. `asked_back`: how and when somebody who was erased asked to come back, as their page will
/// name it as the source of the number.
///
/// # Errors
/// The number is no contact, or is closed: somebody else's, or given up for another; its person was erased and nothing is said of their asking,
/// or was not and something is; or there is no sender for the code of a yes.
pub async fn link(engine: &Engine, number: &PhoneNumber, by: &str, asked_back: Option<&str>) -> Result<Handed> {
    let keyed = engine.vault.keyed_all(number);
    // Before anybody new is known: who was known before they came is not forgotten as one who came (`intakes::unfinished`).
    let now = engine.now();
    let mut tx = engine.store.write().await?;
    // Beside no import: a number is one contact.
    humans::take_turn(&mut tx, &engine.controller).await?;
    let noes = suppressions::of(&mut tx, &engine.controller, &keyed).await?;
    let known = contacts::by_number(&mut tx, &engine.controller, &keyed).await?;
    if let Some((_, closed)) = suppressions::live_at(&noes).find(|(no, _)| *no == Reason::WrongPerson) {
        let day = requests::day(closed);
        if rights::gave_way(&mut tx, engine, &keyed, &noes).await?.is_some() {
            bail!(
                "the number is closed: on {day} its person's new one took its place; remedy: give the person a link of that one, which `permesso contact explain` of this one names"
            );
        }
        let remedy = match known {
            Some(_) => "give it the person's place by `permesso contact change`, and then give them a link of that one",
            None => "import that one, and then give them a link of it",
        };
        bail!(
            "the number is closed: on {day} whoever has it said that it is a wrong one, so its page is not the person's; remedy: ask the person which number they have now, {remedy}"
        );
    }
    // Also where the no reached the number before anybody was known by it.
    let erased = suppressions::is_erased(&mut tx, &engine.controller, &keyed).await?;
    let contact = match (known, asked_back) {
        (_, None) if erased => bail!(
            "the person of this number was erased, and comes back by their own yes alone; remedy: where they asked for it, `permesso contact link NUMBER --asked-back \"letter of …\"`"
        ),
        (_, Some(_)) if !erased => {
            bail!("the person of this number was not erased, so nobody has to come back; remedy: leave out --asked-back")
        }
        (Some(contact), _) => contact,
        // Somebody new: nothing of before is theirs, they are on no list and in no campaign's audience, and left in peace as before until
        // their own yes lifts that. Whoever does not say it while the link can grant is forgotten again (`intake::tidy`).
        (None, Some(_)) => {
            let (id, _) = enroll::add(&mut tx, engine, number, number.country().unwrap_or_default(), &keyed).await?;
            contacts::by_id(&mut tx, id).await?.context("the contact is gone")?
        }
        (None, None) => bail!(
            "the number is no contact, so there is no page to open; remedy: import it, or give the address of a form (`permesso link page`)"
        ),
    };
    let first = engine.config.senders.first().map_or("", |sender| sender.id.as_str());
    let sender = mydata::code_sender(engine, first)
        .context("permesso.toml has no [[sender]], so no code could complete a yes; remedy: add one")?;
    let token = vault::token();
    if asked_back.is_some() {
        // Also where the number is known already, as a tester's: without it they would be nobody who came (`store::consents`).
        intakes::came(&mut tx, &engine.controller, "", &vault::token_hash(&vault::token()), contact.id, asked_back, now).await?;
    }
    let token_hash = vault::token_hash(&token);
    let (channel, sender) = (sender.channel.code(), sender.id.as_str());
    let by = asked_back.map_or_else(|| by.to_owned(), |how| format!("{by}, for somebody erased who asked for it: {how}"));
    let new = New { token_hash: &token_hash, contact: contact.id, channel, sender, locale: engine.locale_of(&contact), by: &by };
    handed::add(&mut tx, &engine.controller, &new, now).await?;
    tx.commit().await?;
    let last = now + engine.config.link_days * DAY - 1;
    Ok(Handed { address: engine.config.link(&token), number: number.masked(), yes_until: instant(last).date_naive().to_string() })
}
