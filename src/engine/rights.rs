//! Restriction, objection and rectification (Art. 16, 18 and 21 GDPR), by the person's page or by an operator who has their letter.

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::confirm::{self, Deed, Situation};
use super::requests::{self, Asked};
use super::{Engine, dossier, enroll, import, late, notify, retried};
use crate::domain::answer::{By, OBJECTION};
use crate::domain::ledger::{Entry, NUMBER_CHANGED};
use crate::domain::phone::PhoneNumber;
use crate::domain::rights::Right;
use crate::domain::suppression::Reason;
use crate::store::contacts::Contact;
use crate::store::humans::{self, Tie};
use crate::store::{self, Tx, contacts, suppressions};
use crate::vault::Keyed;

fn deed(engine: &Engine, action: &'static str, asked: &Asked) -> Deed {
    Deed { at: engine.now(), channel: asked.channel, action, evidence: asked.proof(), text_hash: None }
}

/// Restricts the use of a person's data, or lifts that. Answers how many numbers it changed.
///
/// # Errors
/// The number is no contact, and no list tied it to one; or it was forgotten, and may be somebody else's by now.
pub async fn restrict_number(engine: &Engine, number: &PhoneNumber, restricted: bool, asked: &Asked) -> Result<u64> {
    retried(|| async move {
        let mut tx = engine.store.write().await?;
        let changed = restrict(&mut tx, engine, number, restricted, asked).await?;
        tx.commit().await?;
        Ok(changed)
    })
    .await
}

/// As [`restrict_number`], in the caller's transaction.
pub(super) async fn restrict(tx: &mut Tx, engine: &Engine, number: &PhoneNumber, restricted: bool, asked: &Asked) -> Result<u64> {
    let keyed = engine.vault.keyed_all(number);
    let (reached, aliases) = dossier::named(tx, engine, &keyed).await?;
    if reached.is_empty() {
        bail!("this number is no contact, so nothing of it is used; remedy: `permesso contact explain` says what is known");
    }
    let right = if restricted { Right::Restriction } else { Right::Lifting };
    let action = right.code();
    let mut people = Vec::new();
    for id in reached {
        if let Some(contact) = contacts::lock(tx, id).await?.filter(|c| !c.is_erased()) {
            let own = engine.vault.keyed_of(&contact.number_enc)?;
            people.push((contact, own));
        }
    }
    // One letter, whichever of their numbers it names, also one that is tied to them and no contact.
    let theirs: Vec<Keyed> =
        keyed.into_iter().chain(aliases).chain(people.iter().flat_map(|(_, own)| own.iter().cloned())).collect();
    let asked = &requests::letter(tx, engine, right, &theirs, asked).await?;
    let mut changed = 0;
    for (contact, own) in people {
        if contacts::restrict(tx, &[contact.id], restricted).await?.is_empty() {
            // What stands already answers what was noted.
            requests::settle(tx, engine, right, &own, Some(&contact.subject)).await?;
            continue;
        }
        requests::add(tx, engine, right, &own, Some(&contact.subject), asked, &[]).await?;
        confirm::restricted(tx, engine, contact.id, restricted, &deed(engine, action, asked)).await?;
        changed += 1;
    }
    requests::settle(tx, engine, right, &theirs, None).await?;
    Ok(changed)
}

/// What a restored copy learns: the same for the contact with this pseudonym, if it is here.
pub(super) async fn restrict_subject(tx: &mut Tx, engine: &Engine, subject: &str, restricted: bool, deed: &Deed) -> Result<()> {
    let contact = contacts::by_subject(tx, &engine.controller, subject).await?.filter(|c| !c.is_erased());
    if let Some(contact) = contact
        && !contacts::restrict(tx, &[contact.id], restricted).await?.is_empty()
    {
        confirm::restricted(tx, engine, contact.id, restricted, deed).await?;
    }
    Ok(())
}

/// A contact that comes anew, or by a list to a copy older than its restriction, is restricted as its number was: the record of requests
/// says so, and nobody has lifted it. `keyed`: the numbers that come.
pub(super) async fn restrict_as_requested(tx: &mut Tx, engine: &Engine, keyed: &[Keyed]) -> Result<()> {
    let ids: Vec<i64> = store::requests::restricted(tx, &engine.controller, keyed).await?;
    let evidence = "the record of requests has a restriction of this number, and no end of it".to_owned();
    let deed = Deed { at: engine.now(), channel: "import", action: "restriction", evidence, text_hash: None };
    for id in contacts::restrict(tx, &ids, true).await? {
        confirm::restricted(tx, engine, id, true, &deed).await?;
    }
    Ok(())
}

/// Whoever was tied to a human whose data are restricted, and has something granted: it is used no more, and the ledger and the company's
/// CRM are told.
pub(super) async fn restrict_tied(tx: &mut Tx, engine: &Engine, humans: &[String]) -> Result<()> {
    let ids = contacts::restricted_by_another(tx, &engine.controller, humans).await?;
    let evidence = "an imported list ties this number to one whose data are restricted".to_owned();
    // On record under each number, as where it is asked for: a restored copy learns it from there.
    let asked = Asked { channel: "operator", by: "import".into(), evidence: evidence.clone(), received_at: engine.now() };
    let deed = Deed { at: engine.now(), channel: "import", action: "tied", evidence, text_hash: None };
    for id in contacts::restrict(tx, &ids, true).await? {
        let Some(contact) = contacts::lock(tx, id).await?.filter(|c| !c.is_erased()) else { continue };
        let own = engine.vault.keyed_of(&contact.number_enc)?;
        requests::add(tx, engine, Right::Restriction, &own, Some(&contact.subject), &asked, &[]).await?;
        confirm::restricted(tx, engine, id, true, &deed).await?;
    }
    Ok(())
}

/// What an objection found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Objected {
    /// All marketing to a contact has ended by it.
    Ended,
    /// It had ended before: the ledger has that already.
    Already,
    /// The number is no contact, and its no is kept.
    Stranger,
    /// The person was erased, and nothing is ever sent to them.
    Erased,
}

/// Ends all marketing to a person who objects, whether their number is known or not.
pub async fn object(engine: &Engine, number: &PhoneNumber, asked: &Asked) -> Result<Objected> {
    retried(|| try_object(engine, number, asked)).await
}

async fn try_object(engine: &Engine, number: &PhoneNumber, asked: &Asked) -> Result<Objected> {
    let keyed = engine.vault.keyed_all(number);
    let mut tx = engine.store.write().await?;
    let known = contacts::by_number(&mut tx, &engine.controller, &keyed).await?;
    let noes = suppressions::of(&mut tx, &engine.controller, &keyed).await?;
    let erased = suppressions::live(&noes).any(|no| no == Reason::Erased);
    let said = confirm::is_said(&mut tx, engine, &keyed, Reason::Stopped).await?;
    let done = match &known {
        None if erased => {
            requests::settle(&mut tx, engine, Right::Objection, &keyed, None).await?;
            Objected::Erased
        }
        _ if said => {
            let subject = known.as_ref().map(|contact| contact.subject.as_str());
            let noted = requests::settle(&mut tx, engine, Right::Objection, &keyed, subject).await?;
            // A letter after a STOP by message is on record as what it is; said again by letter it is the same.
            if !noted && !requests::is_done(&mut tx, engine, Right::Objection, &keyed).await? {
                requests::add(&mut tx, engine, Right::Objection, &keyed, subject, asked, &[]).await?;
            }
            Objected::Already
        }
        Some(contact) => {
            object_of(&mut tx, engine, contact, OBJECTION, asked).await?;
            Objected::Ended
        }
        None => {
            confirm::no_of_number(&mut tx, engine, &keyed, Reason::Stopped, By::Person).await?;
            // The company's CRM may know the number all the same.
            notify::no_of_stranger(&mut tx, engine, number, Reason::Stopped).await?;
            requests::add(&mut tx, engine, Right::Objection, &keyed, None, asked, &[]).await?;
            Objected::Stranger
        }
    };
    tx.commit().await?;
    Ok(done)
}

/// A contact's objection: a stop in every respect, and the record of requests says so.
pub(super) async fn object_of(
    tx: &mut Tx,
    engine: &Engine,
    contact: &Contact,
    action: &'static str,
    asked: &Asked,
) -> Result<()> {
    let keyed = engine.vault.keyed_of(&contact.number_enc)?;
    let letter = requests::letter(tx, engine, Right::Objection, &keyed, asked).await?;
    confirm::object(tx, engine, contact.id, &deed(engine, action, &letter)).await?;
    requests::add(tx, engine, Right::Objection, &keyed, Some(&contact.subject), asked, &[]).await?;
    Ok(())
}

/// Gives a person their new number. It is a new contact point (Art. 5(1)(d) GDPR): it takes over what is known of the person, every no
/// and the mark of every ask, and no consent and no right to ask. The old number is closed, since it may be somebody else's by now.
///
/// # Errors
/// The old number is no contact, is or was of somebody erased who has not come back, or gave way already; the new one is the same, a contact
/// already, no mobile number, or known to be somebody else's or of somebody erased; or what came from the old one, a reply or a letter, waits
/// to be read or carried out.
pub async fn change_number(engine: &Engine, old: &PhoneNumber, new: &PhoneNumber, asked: &Asked) -> Result<()> {
    retried(|| try_change(engine, old, new, asked)).await
}

/// When a number that is closed was closed because its person has another one; none where it was said to be somebody else's. `noes`: those
/// of the number, as [`suppressions::of`] answers them.
pub(super) async fn gave_way(
    tx: &mut Tx,
    engine: &Engine,
    keyed: &[Keyed],
    noes: &[(String, i64, Option<i64>)],
) -> Result<Option<i64>> {
    let Some((_, closed)) = suppressions::live_at(noes).find(|(reason, _)| *reason == Reason::WrongPerson) else {
        return Ok(None);
    };
    let changed = store::requests::number_changed_at(tx, &engine.controller, keyed).await?;
    // Whoever has the number now may have said so since.
    Ok(changed.filter(|at| closed <= *at).map(|_| closed))
}

async fn try_change(engine: &Engine, old: &PhoneNumber, new: &PhoneNumber, asked: &Asked) -> Result<()> {
    let (controller, now) = (engine.controller.as_str(), engine.now());
    let (was, is) = (engine.vault.keyed_all(old), engine.vault.keyed_all(new));
    if old.e164() == new.e164() {
        bail!("the old and the new number are the same, so nothing changes; remedy: give the number that the person has now");
    }
    let mut tx = engine.store.write().await?;
    humans::take_turn(&mut tx, controller).await?;
    let contact = contacts::by_number(&mut tx, controller, &was).await?;
    let contact = contact.context("the old number is no contact; remedy: look at it by `permesso contact explain`")?;
    let noes = suppressions::of(&mut tx, controller, &was).await?;
    if let Some(at) = gave_way(&mut tx, engine, &was, &noes).await? {
        let day = requests::day(at);
        bail!(
            "the old number gave way to another one on {day} already; remedy: change that one, which `permesso contact explain` of this names"
        );
    }
    if suppressions::live(&noes).any(|no| no == Reason::Erased) {
        bail!(
            "whoever had the old number was erased, and has not come back by a yes of their own; remedy: change it once they have, or give them the address of a form (`permesso link page`)"
        );
    }
    let human = humans::ever_of_contact(&mut tx, contact.id).await?;
    let erased = !suppressions::erased_among(&mut tx, controller, human.as_deref()).await?.is_empty();
    // What whoever was erased has next is not kept, though the number that lists had for them was somebody else's.
    if erased && humans::of_contact(&mut tx, contact.id).await?.is_none() {
        bail!(
            "whoever the old number was believed to be of was erased, and the new one would bring them back; remedy: where they ask to come back, hand over a link by a number they were erased under (`permesso contact link NUMBER --asked-back \"letter of …\"`), or give them the address of a form (`permesso link page`)"
        );
    }
    if contacts::by_number(&mut tx, controller, &is).await?.is_some() {
        bail!(
            "the new number is a contact already; remedy: `permesso contact object` or `erase` ends what is known of the old one"
        );
    }
    // As for a row of a list: such a number is never asked (`BAD_NUMBER`).
    if !new.line().is_mobile() {
        bail!(
            "the new number is not a mobile number, and takes no message; remedy: give one that does, or end what is known of the old one by `permesso contact object` or `erase`"
        );
    }
    for (no, at) in suppressions::live_at(&suppressions::of(&mut tx, controller, &is).await?) {
        let day = requests::day(at);
        match no {
            Reason::WrongPerson => bail!(
                "the new number is closed: on {day} whoever has it said that it is a wrong one; remedy: ask the person for the number again"
            ),
            Reason::Erased => bail!(
                "whoever had the new number was erased on {day}, and nobody is written to there; remedy: ask the person for another number"
            ),
            Reason::Refused | Reason::UnsubscribedBefore | Reason::Stopped => {}
        }
    }
    let contact = contacts::lock(&mut tx, contact.id).await?.context("the contact is gone")?;
    if contact.held_at.is_some() {
        bail!(
            "a reply from the old number waits to be read and may be a no; remedy: `permesso inbox resolve` it, then change the number"
        );
    }
    // Carried out after the change it would reach the old number alone.
    if let Some((request, kind, command)) = requests::holding(&mut tx, engine, &was).await? {
        bail!(
            "request {request} of the old number ({kind}) is noted and not carried out; remedy: `{command}`, or `permesso contact requests done {request}` where it was answered in another way; then change the number"
        );
    }
    let (id, subject) = enroll::add(&mut tx, engine, new, new.country().unwrap_or_default(), &is).await?;
    contacts::describe_as(&mut tx, contact.id, id).await?;
    // What the person has chosen and asked for goes along, with a proof of its own under the new pseudonym.
    let letter = requests::letter(&mut tx, engine, Right::Rectification, &was, asked).await?;
    let changed = Deed { at: now, ..deed(engine, NUMBER_CHANGED, &letter) };
    let mut new = Situation::read(&mut tx, engine, id).await?;
    confirm::set_times(&mut tx, engine, &mut new, &changed, &contact.times()).await?;
    if contact.restricted != 0 && !contacts::restrict(&mut tx, &[id], true).await?.is_empty() {
        // It is the same request, of whoever made it on its day.
        let carried = requests::carried(&mut tx, engine, Right::Restriction, &was).await?;
        let asked = carried.as_ref().unwrap_or(asked);
        requests::add(&mut tx, engine, Right::Restriction, &is, Some(&subject), asked, &[]).await?;
        let carried = Deed { at: now, channel: asked.channel, ..deed(engine, NUMBER_CHANGED, asked) };
        confirm::restricted(&mut tx, engine, id, true, &carried).await?;
    }
    // Whoever has the old number may have said so before this letter came: that is what closed it.
    let wrong = suppressions::live(&noes).any(|no| no == Reason::WrongPerson);
    // A number that is closed says nothing about the person's next one, nor does what its new holder said since.
    let theirs = if wrong { dossier::theirs_until(&mut tx, engine, &contact, now).await? } else { now };
    for (reason, at) in suppressions::said_by(&mut tx, controller, &was, theirs).await? {
        if let Some(reason) = Reason::parse(&reason) {
            late::learned(&mut tx, engine, &is, reason, at, &confirm::inherited(now)).await?;
        }
    }
    // The new number takes the old one's place in the human, which the old one may have left as a wrong one; what closes it closes that alone.
    // Whoever was erased and came back is that human no more.
    if let Some(human) = human.filter(|_| !erased) {
        humans::untie(&mut tx, controller, &was).await?;
        let tied = humans::tie(&mut tx, controller, &[Tie { number: is.clone(), id: Some(human) }]).await?;
        import::spread(&mut tx, engine, &tied, now).await?;
    }
    if wrong {
        // Whoever has it closed it by their word, which stays on record as what did.
        confirm::note(&mut tx, engine, contact.id, Entry::WrongPerson, Vec::new(), &changed).await?;
    } else {
        suppressions::cancel(&mut tx, controller, &was, NUMBER_CHANGED, now).await?;
        confirm::number_changed(&mut tx, engine, contact.id, &changed).await?;
    }
    // Last: a claim on the old number, which that waited for, has left its mark by now.
    contacts::carry_marks(&mut tx, controller, contact.id, &is).await?;
    store::requests::number_changed(&mut tx, controller, contact.id, id, &asked.by, now).await?;
    if wrong {
        // On record of the new number alone: by that of the old one it would be told as the reason why that is closed.
        requests::settle(&mut tx, engine, Right::Rectification, &was, None).await?;
        requests::add(&mut tx, engine, Right::Rectification, &is, Some(&subject), &letter, &[]).await?;
    } else {
        requests::add(&mut tx, engine, Right::Rectification, &was, Some(&contact.subject), asked, &[]).await?;
    }
    Ok(tx.commit().await?)
}
