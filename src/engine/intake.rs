//! Consent first: on a form people choose before anything is known of them, then give a number, and a one-time code to
//! that number, typed where they are, makes the choice count. What was chosen travels in a sealed token; only the second step stores
//! anything. Anybody can type anybody's number, so a number that said no gets nothing, and whoever typed it cannot tell.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use super::code::{Standing, standing};
use super::confirm::{self, Deed, Shown, Situation};
use super::{Engine, answer, enroll, notice, retention, retried};
use crate::clock::{DAY, MINUTE};
use crate::config::{Form, templates};
use crate::domain::campaign::Mode;
use crate::domain::channel::Permission;
use crate::domain::code::{VALID, typed};
use crate::domain::consent::{Act, State};
use crate::domain::country::CountryPack;
use crate::domain::eligibility::{Cause, Decision, Facts, decide};
use crate::domain::intake::{A_DAY, CODE_LIFE, Consent, LIFE};
use crate::domain::ledger::body_hash;
use crate::domain::message::{self, Kind};
use crate::domain::phone::PhoneNumber;
use crate::store::codes::Code;
use crate::store::consents::bits;
use crate::store::contacts::Contact;
use crate::store::conversations::Opening;
use crate::store::intakes::Intake;
use crate::store::{Tx, codes, contacts, conversations, facts, humans, intakes, ledger, messages, notices};
use crate::vault::{self, Keyed};

/// The wording that carries the code.
pub const WORDING: &str = templates::FORM;

/// The notice that the form shows in this language: its version and the hash of its text.
///
/// # Errors
/// The notice of the settings is not published as it reads, or not in this language; with the remedy.
pub async fn notice(engine: &Engine, locale: &str) -> Result<(String, String)> {
    let mut tx = engine.store.read().await?;
    notice::required(&mut tx, engine).await?;
    let version = &engine.config.controller.notice_version;
    let hash = notices::hash(&mut tx, &engine.controller, version, locale).await?;
    tx.rollback().await?;
    match hash {
        Some(hash) => Ok((version.clone(), hash)),
        None => bail!("there is no notice in `{locale}`; remedy: use a language in which `permesso notice list` has one"),
    }
}

/// The first step: what was ticked, as the token that the second step needs; `None` where that is a no. Stores nothing.
///
/// # Errors
/// As [`notice()`].
pub async fn choose(engine: &Engine, form: &Form, ticked: &BTreeSet<Permission>, shown: &Shown<'_>) -> Result<Option<String>> {
    // What the form does not offer cannot be granted by asking for it.
    let permissions: Vec<Permission> = ticked.iter().copied().filter(|p| form.offers(*p)).collect();
    if permissions.is_empty() {
        return Ok(None);
    }
    let (notice, notice_hash) = notice(engine, shown.locale).await?;
    let (form, locale, page_hash) =
        (form.name.clone(), shown.locale.to_owned(), shown.page.as_ref().map(|words| words.hash.clone()));
    let consent = Consent { form, permissions, notice, notice_hash, locale, page_hash, at: engine.now(), nonce: vault::token() };
    let text = consent.write();
    Ok(Some(format!("{text}.{}", engine.vault.intake_seal(&text))))
}

/// The choice behind a token: sealed by us, on this form, for what it offers still, and no older than `life`.
fn open(engine: &Engine, form: &Form, token: &str, life: i64) -> Option<Consent> {
    let (text, seal) = token.split_once('.')?;
    let consent = engine.vault.is_intake_seal(text, seal).then(|| Consent::read(text))??;
    let stands =
        consent.form == form.name && consent.permissions.iter().all(|p| form.offers(*p)) && consent.is_fresh(engine.now(), life);
    stands.then_some(consent)
}

/// What a token of this form chose, while a number can be given for it.
pub fn chosen(engine: &Engine, form: &Form, token: &str) -> Option<Vec<Permission>> {
    open(engine, form, token, LIFE).map(|consent| consent.permissions)
}

/// What became of the second step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// Taken. Whether a code is on its way is for the phone to say.
    Taken,
    /// No mobile number of the form's countries: of the number alone, whoever has it.
    UnfitNumber,
    /// No token of this form, too old, or completed already: nothing was stored.
    BadToken,
}

/// The second step: the number. Said again it is the same act; another one corrects it, and takes the place of the one before.
pub async fn give(engine: &Engine, form: &Form, token: &str, number: &str) -> Result<Given> {
    let Some(consent) = open(engine, form, token, LIFE) else { return Ok(Given::BadToken) };
    let number = PhoneNumber::parse(number, form.countries.first().map(String::as_str), engine.fiction());
    let here = |n: &PhoneNumber| n.country().is_some_and(|country| form.countries.iter().any(|known| known == country));
    let Some(number) = number.ok().filter(|n| n.line().is_mobile() && here(n)) else { return Ok(Given::UnfitNumber) };
    // On disk before anything is decided: whatever becomes of this number, the one before can be completed no more, and whoever has that
    // phone learns nothing of this one.
    let token_hash = vault::token_hash(&consent.nonce);
    let mut tx = engine.store.write().await?;
    let intake = intakes::take_up(&mut tx, &engine.controller, &form.name, &token_hash, engine.now()).await?;
    tx.commit().await?;
    let Some(intake) = intake else { return Ok(Given::BadToken) };
    retried(|| try_give(engine, form, &consent, &number, intake)).await?;
    Ok(Given::Taken)
}

async fn try_give(engine: &Engine, form: &Form, consent: &Consent, number: &PhoneNumber, intake: i64) -> Result<()> {
    let mut tx = engine.store.write().await?;
    // One at a time, and none beside an import: a number is one contact, and what was sent is counted.
    humans::take_turn(&mut tx, &engine.controller).await?;
    // Whoever typed it cannot tell by the time it takes either what became of a number: a code is planned for each, and undone where none
    // may be sent, by as many statements and one commit.
    tx.savepoint().await?;
    let gets = send(&mut tx, engine, form, consent, number, intake).await?;
    let known = match gets {
        Gets::New(contact, message) => {
            tx.release().await?;
            Some((contact, message))
        }
        Gets::Earlier(contact, message) => {
            tx.rollback_to().await?;
            Some((contact, message))
        }
        // Of a number that gets nothing nothing is kept.
        Gets::Nothing => {
            tx.rollback_to().await?;
            None
        }
    };
    intakes::keep(&mut tx, intake, known, &form.source).await?;
    Ok(tx.commit().await?)
}

/// What a number gets: the contact and the message with its code.
#[derive(Debug, Clone, Copy)]
enum Gets {
    New(i64, i64),
    /// The one that this form sent a moment ago proves the number as well: the choice is in the token.
    Earlier(i64, i64),
    Nothing,
}

/// Plans a code for the number in any case, and answers what it gets: of all but a new one the caller undoes what this wrote. No question
/// is left out where its answer does not matter, since that would take less long.
async fn send(tx: &mut Tx, engine: &Engine, form: &Form, consent: &Consent, number: &PhoneNumber, intake: i64) -> Result<Gets> {
    let (controller, now) = (engine.controller.as_str(), engine.now());
    let id = enrolled(tx, engine, number).await?;
    // Erased at this very moment.
    let Some(contact) = contacts::lock(tx, id).await?.filter(|c| !c.is_erased()) else { return Ok(Gets::Nothing) };
    let decision = verdict_on(tx, engine, id).await?;
    let earlier = intakes::newest_message(tx, controller, &form.name, id).await?.unwrap_or_default();
    let code = codes::live(tx, controller, about(earlier)).await?;
    let sent_to_them = intakes::sent_to(tx, id, now - DAY).await?;
    let sent_by_form = intakes::sent_by(tx, controller, &form.name, now - DAY).await?;
    let message = plan(tx, engine, form, consent, number, &contact, intake).await?;

    let lives = |code: &Code| matches!(standing(code, now), Standing::Awaited { .. } | Standing::Dead);
    let waits_long = matches!(decision, Decision::Wait { until, .. } if until > now + MINUTE);
    Ok(match message {
        _ if matches!(decision, Decision::Skip(_)) => Gets::Nothing,
        _ if code.as_ref().is_some_and(lives) => Gets::Earlier(id, earlier),
        _ if waits_long || sent_to_them >= A_DAY => Gets::Nothing,
        _ if sent_by_form >= form.per_day => {
            tracing::warn!(form = form.name, "The form has sent its codes of the day; raise per_day if they were wanted");
            Gets::Nothing
        }
        Some(message) => Gets::New(id, message),
        None => Gets::Nothing,
    })
}

/// The contact of the number, known or new. For one that is known as much is written, under no number, and undone at once: nor does the
/// time tell who is known. The caller has begun a part of its transaction.
async fn enrolled(tx: &mut Tx, engine: &Engine, number: &PhoneNumber) -> Result<i64> {
    let keyed = engine.vault.keyed_all(number);
    let known = contacts::by_number(tx, &engine.controller, &keyed).await?;
    let own: &[Keyed] = if known.is_none() { &keyed } else { &[] };
    if known.is_none() {
        // Of nothing yet: the other way has this statement too.
        tx.rollback_to().await?;
    }
    let (new, _) = enroll::add(tx, engine, number, number.country().unwrap_or_default(), own).await?;
    let Some(known) = known else { return Ok(new) };
    tx.rollback_to().await?;
    Ok(known.id)
}

/// Plans a message with a code.
async fn plan(
    tx: &mut Tx,
    engine: &Engine,
    form: &Form,
    consent: &Consent,
    number: &PhoneNumber,
    contact: &Contact,
    intake: i64,
) -> Result<Option<i64>> {
    let (controller, now) = (engine.controller.as_str(), engine.now());
    let from = answer::From {
        gateway: &form.sender.gateway,
        sender: &form.sender.id,
        channel: form.sender.channel.code(),
        campaign: None,
        revision: None,
        locale: locale_for(engine, form, number, &consent.locale),
    };
    let cause = format!("form:{intake}");
    let message = answer::plan(tx, engine, contact, &from, Kind::Code, WORDING, &cause).await?;
    if let Some(message) = message {
        // What the hash in the proof stands for.
        if let Some(text) = engine.config.text(WORDING, from.locale) {
            let wording = (body_hash(text), WORDING.to_owned(), from.locale.to_owned(), text.to_owned());
            ledger::publish_wording(tx, controller, &[wording], now).await?;
        }
        codes::add(tx, controller, message, about(message), &vault::token_hash(&consent.nonce), now).await?;
    }
    Ok(message)
}

/// The language of the message: that of the page, unless its text lacks what messages to that country must say.
fn locale_for<'a>(engine: &'a Engine, form: &Form, number: &PhoneNumber, shown: &'a str) -> &'a str {
    let pack = number.country().and_then(|country| engine.config.packs.get(country));
    let says = |pack: &CountryPack| engine.config.text(WORDING, shown).is_some_and(|text| pack.takes_text(&form.sender, text));
    pack.filter(|pack| !says(pack)).map_or(shown, |pack| &pack.default_locale)
}

/// Under what a form's code is kept: beside those of conversations, which are positive, and of contacts, a little below zero.
fn about(message: i64) -> i64 {
    i64::MIN + message
}

async fn verdict_on(tx: &mut Tx, engine: &Engine, contact: i64) -> Result<Decision> {
    let now = engine.now();
    let people = facts::people(tx, "", &[contact], now).await?;
    let person = people.get(&contact).context("the contact is gone")?;
    Ok(verdict(engine, &person.facts, now, now))
}

/// Whether a code asked for then may leave now; asked again by the claim.
pub(super) fn verdict(engine: &Engine, facts: &Facts, asked_at: i64, now: i64) -> Decision {
    let pack = facts.country.as_ref().and_then(|code| engine.config.packs.get(code));
    decide(Cause::Form { asked_at, pack }, facts, now)
}

/// What became of a typed code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// It counts, from now on, and can be changed on the page behind `link`.
    Confirmed {
        granted: Vec<Permission>,
        link: String,
    },
    /// Not that code, or none that counts any more, or none was sent: one answer for all.
    Wrong,
    BadToken,
}

/// The last step: the code that only the number's phone has. Said again it changes nothing.
pub async fn complete(engine: &Engine, form: &Form, token: &str, text: &str) -> Result<Typed> {
    let Some(consent) = open(engine, form, token, CODE_LIFE) else { return Ok(Typed::BadToken) };
    let confirmed = retried(|| try_complete(engine, form, &consent, text)).await?;
    let link = engine.config.link(&engine.vault.intake_page(&consent.nonce));
    Ok(if confirmed { Typed::Confirmed { granted: consent.permissions, link } } else { Typed::Wrong })
}

async fn try_complete(engine: &Engine, form: &Form, consent: &Consent, text: &str) -> Result<bool> {
    let (controller, now) = (engine.controller.as_str(), engine.now());
    let token_hash = vault::token_hash(&consent.nonce);
    let mut tx = engine.store.write().await?;
    let Some(known) = intakes::by_token(&mut tx, controller, &token_hash).await? else { return Ok(false) };
    // A wrong code of a number that got one is looked for and counted on disk; what takes less long would tell of a number that got none.
    let (contact, message) = (known.contact_id.unwrap_or_default(), known.message_id.unwrap_or_default());
    // Their row is held, so that tries come one by one.
    let contact = contacts::lock(&mut tx, contact).await?.filter(|c| !c.is_erased());
    // Completed, or another number given, at this very moment.
    let stands = |now: &Intake| now.id == known.id && now.confirmed_at.is_none();
    if !intakes::by_token(&mut tx, controller, &token_hash).await?.as_ref().is_some_and(stands) {
        return Ok(known.confirmed_at.is_some());
    }
    let code = codes::live(&mut tx, controller, about(message)).await?;
    let awaited = code.filter(|code| matches!(standing(code, now), Standing::Awaited { .. }));
    let with_mac = awaited.and_then(|code| Some((code.mac.clone()?, code)));
    let (Some(contact), Some((mac, code)), Some(text)) = (contact, with_mac, typed(text)) else {
        intakes::touch(&mut tx, known.id).await?;
        tx.commit().await?;
        return Ok(false);
    };
    if !engine.vault.is_code(message, &text, &mac) {
        codes::count_wrong(&mut tx, controller, message).await?;
        tx.commit().await?;
        return Ok(false);
    }
    // They may have said no since it was sent, or have written what nobody could read yet.
    if matches!(verdict_on(&mut tx, engine, contact.id).await?, Decision::Skip(_)) {
        return Ok(false);
    }
    let reason = Some("the person typed it");
    messages::set_state(&mut tx, message, message::State::Unknown, message::State::Delivered, reason, now).await?;
    codes::end(&mut tx, controller, about(message), now).await?;
    let granted = grant(&mut tx, engine, &contact, consent, &code).await?;
    if granted {
        intakes::confirm(&mut tx, known.id, bits(form.offered()), now).await?;
        tx.commit().await?;
    }
    Ok(granted)
}

/// Both acts at once, through the machine that every consent passes: what was chosen then, and the code now. Until here nothing of what
/// the person had said before was touched; an open question of a campaign gives way, as it does to a choice on the person's own page.
async fn grant(tx: &mut Tx, engine: &Engine, contact: &Contact, consent: &Consent, code: &Code) -> Result<bool> {
    let (controller, now) = (engine.controller.as_str(), engine.now());
    let mut before = Situation::read(tx, engine, contact.id).await?;
    if let Some(question) = &before.conversation {
        codes::end(tx, controller, question.id, now).await?;
        let evidence = format!("chosen on form {} since", consent.form);
        let deed = Deed { at: now, channel: "none", action: "replaced", evidence, text_hash: None };
        confirm::act(tx, engine, &mut before, Act::TimeOut, &deed, &[]).await?;
    }
    let opening = Opening { contact: contact.id, message: code.message_id, expires_at: now + VALID };
    // Since the choice: a STOP said before the code was typed beats it, however late it comes (promise 6).
    conversations::open(tx, controller, None, None, Mode::LinkCode.code(), &[opening], consent.at).await?;
    let mut situation = Situation::read(tx, engine, contact.id).await?;
    if situation.conversation.as_ref().is_none_or(|c| c.message_id != code.message_id) {
        // A claim opened a question of its campaign at this very moment; typed again, the code finds it and it gives way.
        return Ok(false);
    }
    situation.on_form(consent);
    let sent = messages::newest_attempt(tx, code.message_id).await?.context("a code that was never sent")?;
    let wording = sent.wording_hash.as_deref().unwrap_or_default();
    let evidence = format!("token {}", &vault::token_hash(&consent.nonce)[..16]);
    let first = Deed { at: consent.at, channel: "form", action: "form_post", evidence: evidence.clone(), text_hash: None };
    let evidence = format!("{evidence}, code {}, wording {wording}", sent.reference);
    let second = Deed { at: now, action: "typed_code", evidence, ..first.clone() };
    confirm::act(tx, engine, &mut situation, Act::Chose, &first, &consent.permissions).await?;
    confirm::act(tx, engine, &mut situation, Act::TypedCode, &second, &[]).await?;
    // Withdrawing is as easy as consenting (Art. 7(3) GDPR): from here on they have a page of their own.
    messages::relink(tx, sent.id, &vault::token_hash(&engine.vault.intake_page(&consent.nonce))).await?;
    Ok(situation.state() == Some(State::Granted))
}

/// People a transaction.
const CHUNK: i64 = 200;

/// Forgets numbers that were given on a form and whose code nobody typed for a day, since whoever typed them may have been anybody, and
/// people who wrote first and consented to nothing for as long; whoever was handed a link, as everybody who asks to come back after an
/// erasure, once it can grant no more. A no of theirs stays.
pub async fn tidy(engine: &Engine) -> Result<u64> {
    let (before, links_before) = (engine.now() - DAY, engine.now() - engine.config.link_days * DAY);
    let mut tx = engine.store.write().await?;
    humans::take_turn(&mut tx, &engine.controller).await?;
    let due = intakes::unfinished(&mut tx, &engine.controller, before, links_before, CHUNK).await?;
    let mut forgotten = 0;
    for (id,) in due {
        let Some(contact) = contacts::lock(&mut tx, id).await?.filter(|c| !c.is_erased()) else { continue };
        let evidence = "came by themselves, and completed no consent in time".into();
        let deed = Deed { at: engine.now(), channel: "none", action: "unfinished", evidence, text_hash: None };
        retention::forget(&mut tx, engine, &contact, &deed).await?;
        forgotten += 1;
    }
    intakes::sweep(&mut tx, &engine.controller, before).await?;
    tx.commit().await?;
    Ok(forgotten)
}
