//! Somebody writes to us first, by a link or a QR code of ours (compliance S54): that is recorded, allows one answer in that conversation,
//! the link of the page on which consent comes first, and is no consent.

use anyhow::Result;

use super::receive::Heard;
use super::{Engine, answer, enroll};
use crate::config::{Entry, templates};
use crate::domain::answer::By;
use crate::domain::message::Kind;
use crate::domain::phone::PhoneNumber;
use crate::store::contacts::Contact;
use crate::store::inbound::ERASED;
use crate::store::{Tx, answers, contacts, humans, intakes, messages, suppressions};
use crate::vault::{self, Keyed};

/// The text of the answer; what follows the colon is the form whose page it links to.
pub const WORDING: &str = "join_link:";
/// Its name among the texts.
pub const TEXT: &str = templates::ENTRY;
/// Effect of an inbound message by which somebody came.
const ENTRY: &str = "entry";
const UNANSWERED: &str = "entry, not answered: a no stands";

/// What became of such a message, in words; `None` where `effect` is that of another one.
pub(super) fn became(effect: &str) -> Option<&str> {
    match effect {
        ENTRY => Some("the link of the form’s page is the answer"),
        other => other.strip_prefix("entry, "),
    }
}

/// What becomes of such a message, as a word for the record: the person is a contact only so that they can be answered, on no list and in
/// no campaign's audience; whoever said no, restricted their data or was erased is not answered.
pub(super) async fn come(
    tx: &mut Tx,
    engine: &Engine,
    contact: Option<Contact>,
    number: &PhoneNumber,
    keyed: &[Keyed],
    entry: &Entry,
    heard: &Heard<'_>,
) -> Result<&'static str> {
    if !suppressions::erased_among(tx, &engine.controller, keyed.iter().map(|k| k.mac.as_str())).await?.is_empty() {
        return Ok(ERASED);
    }
    let no = match &contact {
        Some(contact) => suppressions::newest_since(tx, contact.id, i64::MIN).await?.is_some(),
        None => !suppressions::live_among(tx, &engine.controller, keyed).await?.is_empty(),
    };
    if no {
        return Ok(UNANSWERED);
    }
    let country = number.country().unwrap_or_default();
    let contact = match contact {
        Some(contact) => {
            // Whatever we asked them has arrived, and they are not silent.
            messages::settle_by_person(tx, contact.id, engine.now()).await?;
            answers::replied(tx, contact.id, By::Person, engine.now()).await?;
            contact.id
        }
        None => {
            // Beside no import: a number is one contact.
            humans::take_turn(tx, &engine.controller).await?;
            let now = engine.now();
            let id = enroll::contact(tx, engine, number, country).await?;
            // So that they are forgotten like whoever does not finish on the form itself (`intake::tidy`).
            intakes::came(tx, &engine.controller, &entry.form, &vault::token_hash(&vault::token()), id, now).await?;
            if suppressions::newest_since(tx, id, i64::MIN).await?.is_some() {
                return Ok(UNANSWERED);
            }
            id
        }
    };
    let Some(contact) = contacts::lock(tx, contact).await?.filter(|c| c.restricted == 0 && !c.is_erased()) else {
        return Ok("entry, not answered: restricted");
    };
    if engine.config.form(&entry.form).is_none() {
        return Ok("entry, not answered: the form is closed");
    }
    if heard.answered {
        return Ok(ENTRY);
    }
    let pack = engine.config.packs.get(country).map(|pack| pack.default_locale.clone());
    let locale = contact.locale.clone().or(pack).unwrap_or_else(|| engine.config.default_locale.clone());
    let from = answer::From {
        gateway: heard.gateway,
        sender: heard.to,
        channel: heard.channel.code(),
        campaign: None,
        revision: None,
        locale: &locale,
    };
    let cause = format!("event:{}:{}", heard.gateway, heard.event_id);
    answer::plan(tx, engine, &contact, &from, Kind::Help, &format!("{WORDING}{}", entry.form), &cause).await?;
    Ok(ENTRY)
}
