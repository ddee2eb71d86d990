//! Somebody writes to us first, by a link or a QR code of ours: that is recorded, allows one answer in that conversation,
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
/// Begins the effect of an inbound message by which somebody came; its form follows, and why it was not answered.
const ENTRY: &str = "entry";
const UNANSWERED: &str = "not answered: a no stands";

/// By which form's entry somebody came with such a message (empty where an earlier version did not keep it), and what became of it, in
/// words; `None` where `effect` is that of another one.
pub(super) fn became(effect: &str) -> Option<(&str, &str)> {
    let rest = effect.strip_prefix(ENTRY).filter(|rest| rest.is_empty() || rest.starts_with([' ', ',']))?;
    let (form, became) = rest.split_once(", ").unwrap_or((rest, "the link of the form’s page is the answer"));
    Some((form.trim_start(), became))
}

/// What becomes of such a message, as a word for the record, and whose it is where that was nobody's before: the person is a contact only so
/// that they can be answered, on no list and in no campaign's audience; whoever said no, restricted their data or was erased is not answered.
pub(super) async fn come(
    tx: &mut Tx,
    engine: &Engine,
    contact: Option<Contact>,
    number: &PhoneNumber,
    keyed: &[Keyed],
    entry: &Entry,
    heard: &Heard<'_>,
) -> Result<(Option<i64>, String)> {
    let unanswered = |why: &str| format!("{ENTRY} {}, {why}", entry.form);
    if suppressions::is_erased(tx, &engine.controller, keyed).await? {
        return Ok((None, ERASED.to_owned()));
    }
    let no = match &contact {
        Some(contact) => suppressions::newest_since(tx, contact.id, i64::MIN).await?.is_some(),
        None => !suppressions::live_among(tx, &engine.controller, keyed).await?.is_empty(),
    };
    if no {
        return Ok((None, unanswered(UNANSWERED)));
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
            intakes::came(tx, &engine.controller, &entry.form, &vault::token_hash(&vault::token()), id, None, now).await?;
            if suppressions::newest_since(tx, id, i64::MIN).await?.is_some() {
                return Ok((Some(id), unanswered(UNANSWERED)));
            }
            id
        }
    };
    let whose = Some(contact);
    let Some(contact) = contacts::lock(tx, contact).await?.filter(|c| c.restricted == 0 && !c.is_erased()) else {
        return Ok((whose, unanswered("not answered: restricted")));
    };
    if engine.config.form(&entry.form).is_none() {
        return Ok((whose, unanswered("not answered: the form is closed")));
    }
    if heard.answered {
        return Ok((whose, format!("{ENTRY} {}", entry.form)));
    }
    let from = answer::From {
        gateway: heard.gateway,
        sender: heard.to,
        channel: heard.channel.code(),
        campaign: None,
        revision: None,
        locale: engine.locale_of(&contact),
    };
    let cause = format!("event:{}:{}", heard.gateway, heard.event_id);
    answer::plan(tx, engine, &contact, &from, Kind::Help, &format!("{WORDING}{}", entry.form), &cause).await?;
    Ok((whose, format!("{ENTRY} {}", entry.form)))
}
