//! Erase a person (Art. 17 GDPR): first the no that keeps them out whatever comes later, then everything personal, in one transaction.
//! What stays is that no as keyed hashes, and the pseudonymous proof in the ledger for as long as the configuration says.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::confirm::{self, Deed};
use super::requests::{self, Asked};
use super::{Engine, notify, retried};
use crate::clock::DAY;
use crate::crash;
use crate::domain::answer::By;
use crate::domain::ledger::Entry;
use crate::domain::phone::PhoneNumber;
use crate::domain::rights::Right;
use crate::domain::suppression::Reason;
use crate::store::contacts::Contact;
use crate::store::requests::Part;
use crate::store::{self, Tx, contacts, erase, humans, messages, suppressions};
use crate::vault::Keyed;

/// What an erasure did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// Numbers of the person that were here: their own, and those tied to it by an `external_id`.
    pub numbers: u64,
    /// Nothing of them was here, and they were erased before.
    pub already: bool,
    /// Imported rows deleted, and replies blanked.
    pub rows: u64,
    pub replies: u64,
    /// The requests recorded, one a number.
    pub requests: Vec<i64>,
    /// Those of them in which a provider has a part to do yet.
    pub open: Vec<i64>,
    /// The providers that have to do their part, with how many messages each has had.
    pub gateways: BTreeMap<String, u64>,
    /// The day by which all that has to be done.
    pub due: String,
    /// Until when the pseudonymous proof is kept.
    pub proof_until: String,
    /// The number is its person's no more, as far as is known: what they have beside it was left as it is.
    pub left: Option<Left>,
}

/// Why whoever names a number may be somebody else than whose it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// Nothing was heard from it for so long that it was forgotten.
    Forgotten,
    /// It gave way to this one, of which the last digits stand here.
    Changed(String),
    /// Whoever has it said that it is a wrong one.
    WrongPerson,
}

/// Erases the person with this number, and with every number tied to it. `rehearsal` changes nothing and answers what would go.
pub async fn erase(engine: &Engine, number: &PhoneNumber, asked: &Asked, rehearsal: bool) -> Result<Erased> {
    retried(|| async move {
        let mut tx = engine.store.write().await?;
        let erased = within(&mut tx, engine, number, asked).await?;
        match rehearsal {
            true => tx.rollback().await?,
            false => tx.commit().await?,
        }
        Ok(erased)
    })
    .await
}

/// As [`erase()`], in the caller's transaction, which must have locked nothing yet.
pub async fn within(tx: &mut Tx, engine: &Engine, number: &PhoneNumber, asked: &Asked) -> Result<Erased> {
    let (controller, now) = (engine.controller.as_str(), engine.now());
    // No import may bring in a row of theirs meanwhile.
    humans::take_turn(tx, controller).await?;
    let mut keyed = engine.vault.keyed_all(number);
    let before = suppressions::erased_among(tx, controller, keyed.iter().map(|k| k.mac.as_str())).await?;
    let known = contacts::by_number(tx, controller, &keyed).await?;
    let left = match &known {
        Some(contact) => left(tx, engine, contact).await?,
        None if before.is_empty() && humans::is_forgotten(tx, controller, &keyed).await? => {
            let_go(tx, engine, &keyed).await?;
            Some(Left::Forgotten)
        }
        None => None,
    };
    if known.is_none() && before.is_empty() {
        // The company's CRM may know the number all the same.
        notify::no_of_stranger(tx, engine, number, Reason::Erased).await?;
    }
    let (reached, aliases) = suppressions::reach(tx, controller, &keyed).await?;
    keyed.extend(aliases);
    let mut deed =
        Deed { at: now, channel: asked.channel, action: Right::Erasure.code(), evidence: asked.proof(), text_hash: None };
    suppressions::suppress(tx, controller, &keyed, Reason::Erased, deed.by(), now, now).await?;
    crash::point("between-no-and-erasure");
    let mut erased = Erased {
        already: reached.is_empty() && !before.is_empty(),
        due: requests::due_on(asked),
        proof_until: requests::day(now + engine.config.retention.proof_days * DAY),
        left,
        ..Erased::default()
    };
    // The numbers that gave way to these are of the same person, though no human ties them any more.
    let mut all = reached.clone();
    for &id in &reached {
        let mut newer = id;
        while let Some(change) = store::requests::number_changes(tx, newer).await?.into_iter().find(|change| change.went == 0) {
            newer = change.other;
            all.push(newer);
        }
    }
    let mut people = Vec::new();
    for &id in &all {
        let Some(contact) = contacts::lock(tx, id).await?.filter(|c| !c.is_erased()) else { continue };
        let own = engine.vault.keyed_of(&contact.number_enc)?;
        keyed.extend(own.iter().cloned());
        people.push((contact, own));
    }
    // One letter, whichever of their numbers it names.
    let asked = &requests::letter(tx, engine, Right::Erasure, &keyed, asked).await?;
    deed.evidence = asked.proof();
    erased.due = requests::due_on(asked);
    for (contact, own) in people {
        let id = contact.id;
        if !reached.contains(&id) {
            // No human ties it to them any more, and no list may bring it back either. It is no answer: what its asks came to stays.
            suppressions::suppress_alone(tx, controller, &own, Reason::Erased, By::Operator, now, now).await?;
        }
        let parts = parts(tx, id, &mut erased.gateways).await?;
        if let Some(request) = requests::add(tx, engine, Right::Erasure, &own, Some(&contact.subject), asked, &parts).await? {
            erased.requests.push(request);
            erased.open.extend((!parts.is_empty()).then_some(request));
        }
        erased.rows += one(tx, engine, &contact, &deed).await?;
        erased.numbers += 1;
    }
    if reached.is_empty() && before.is_empty() {
        // The number was no contact: the no is all there is to keep.
        let own: Vec<Keyed> = engine.vault.keyed_all(number);
        erased.requests.extend(requests::add(tx, engine, Right::Erasure, &own, None, asked, &[]).await?);
    }
    // Whoever is erased has objected to nothing more than is ended, and a letter that names a number that is no contact, or no more, is
    // answered as well.
    for right in [Right::Objection, Right::Erasure] {
        requests::settle(tx, engine, right, &keyed, None).await?;
    }
    erased.rows += erase::under_wrong_numbers(tx, controller, &keyed).await?;
    erased.replies = erase::replies(tx, controller, &keyed, &all).await?;
    erase::marks(tx, controller, &keyed).await?;
    Ok(erased)
}

/// Whether the person that a number was of has others, though it is theirs no more.
async fn left(tx: &mut Tx, engine: &Engine, contact: &Contact) -> Result<Option<Left>> {
    let (mut newest, mut number_enc) = (contact.id, None);
    while let Some(change) = store::requests::number_changes(tx, newest).await?.into_iter().rev().find(|change| change.went != 0)
    {
        (newest, number_enc) = (change.other, Some(change.number_enc));
    }
    if let Some(number_enc) = number_enc {
        return Ok(match number_enc.as_str() {
            "" => None,
            number_enc => Some(Left::Changed(engine.vault.decrypt_number(number_enc)?.masked())),
        });
    }
    let was = match humans::of_contact(tx, contact.id).await? {
        Some(_) => None,
        None => humans::ever_of_contact(tx, contact.id).await?,
    };
    let Some(was) = was.map(|mac| Keyed { key_id: 0, mac }) else { return Ok(None) };
    let (others, _) = suppressions::reach(tx, &engine.controller, &[was]).await?;
    Ok((!others.is_empty()).then_some(Left::WrongPerson))
}

/// Takes a number that was forgotten out of its human: whoever has it now may be somebody else, whose erasure is not theirs. Its noes and what
/// was asked by it stay the human's.
async fn let_go(tx: &mut Tx, engine: &Engine, keyed: &[Keyed]) -> Result<()> {
    let (_, mut ids) = suppressions::reach(tx, &engine.controller, keyed).await?;
    ids.retain(|id| keyed.iter().all(|own| own.mac != id.mac));
    messages::hand_on_marks(tx, &engine.controller, keyed, &ids).await?;
    confirm::untie(tx, engine, keyed).await
}

/// Deletes everything personal of one contact, after the ledger has said so. Whoever was told of them by webhook hears of a stop.
pub(super) async fn one(tx: &mut Tx, engine: &Engine, contact: &Contact, deed: &Deed) -> Result<u64> {
    confirm::note(tx, engine, contact.id, Entry::Erased, Vec::new(), deed).await?;
    let now = engine.now();
    Ok(erase::contact(tx, &engine.controller, contact.id, &contact.subject, &contact.number_enc, now).await?)
}

/// What each provider has of this contact, by which it can delete it too.
async fn parts(tx: &mut Tx, contact: i64, counted: &mut BTreeMap<String, u64>) -> Result<Vec<Part>> {
    let mut by_gateway: BTreeMap<String, Vec<requests::Passed>> = BTreeMap::new();
    for (gateway, reference, provider_id) in erase::passed(tx, contact).await? {
        let passed = by_gateway.entry(gateway).or_default();
        passed.extend(reference.map(|reference| requests::Passed { reference, provider_id }));
    }
    let mut parts = Vec::new();
    for (gateway, messages) in by_gateway {
        *counted.entry(gateway.clone()).or_default() += messages.len() as u64;
        parts.push(Part { gateway, messages: serde_json::to_string(&messages)?, done_at: None, done_by: None });
    }
    Ok(parts)
}
