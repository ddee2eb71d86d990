//! A person's own data behind a fresh one-time code to their phone: whoever has the link alone sees the last digits of the number and
//! nothing else. The code is one like that of `link_code`, with its tries, its life and its limits; the right one opens the data for a
//! quarter of an hour, to whoever holds the ticket that its page carries.

use anyhow::Result;

use super::choose;
use super::code::{self, Standing, Step};
use super::confirm::{self, Deed};
use super::dossier::{self, Dossier};
use super::erase::{self, Erased};
use super::requests::{self, Asked};
use super::{Engine, answer, kept, retried, rights};
use crate::clock::MINUTE;
use crate::domain::campaign::Sender;
use crate::domain::channel::Channel;
use crate::domain::code::typed;
use crate::domain::eligibility::Decision;
use crate::domain::message::{self, Kind};
use crate::domain::phone::PhoneNumber;
use crate::domain::rights::Right;
use crate::domain::suppression::Reason;
use crate::store::contacts::Contact;
use crate::store::{Tx, codes, contacts, messages, suppressions};
use crate::vault;

/// How long a typed code keeps the data open, microseconds.
const OPEN: i64 = 15 * MINUTE;

/// The wording that carries the code.
pub const WORDING: &str = "data_code";

/// What the page shows before a code is typed.
#[derive(Debug, Clone)]
pub struct Door {
    pub masked_number: String,
    pub locale: String,
    pub step: Step,
    pub now: i64,
    /// The number is another person's by now: a code to it would show them somebody else's data.
    pub closed: bool,
    /// All marketing has ended already.
    pub objected: bool,
    /// Where START is understood, for whoever said no in a way that the provider may know ([`Reason::may_be_blocked`]): it may swallow the
    /// code.
    pub start_number: Option<String>,
}

/// What became of a code.
#[derive(Debug)]
pub enum Typed {
    /// The data, and the ticket that keeps them open.
    Open(Box<Dossier>, String),
    /// Not that code, or none that counts: the page says where it stands.
    Wrong,
    Unknown,
}

/// The link, its person, and whether the data behind it are shut.
struct Inside {
    via: Via,
    contact: Contact,
    number: PhoneNumber,
    closed: bool,
    blocked: bool,
    objected: bool,
    token_hash: String,
}

/// The message whose link it is, as far as it is known here: of one sent since a copy that was restored, its language alone.
#[derive(Default)]
struct Via {
    locale: String,
    sender: String,
    campaign: Option<i64>,
    revision: Option<i64>,
    test: bool,
}

/// Whether the caller only looks, or writes and holds the person's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Look,
    Write,
}

async fn inside(tx: &mut Tx, engine: &Engine, token: &str, to: To) -> Result<Option<Inside>> {
    let token_hash = vault::token_hash(token);
    let (id, via) = match messages::attempt_by_token(tx, &engine.controller, &token_hash).await? {
        Some(a) => {
            let test = a.kind == Kind::Test.code();
            (a.contact_id, Via { locale: a.locale, sender: a.sender, campaign: a.campaign_id, revision: a.revision_id, test })
        }
        None => match kept::person(tx, engine, token).await? {
            Some((contact, locale)) => (contact.id, Via { locale, ..Via::default() }),
            None => return Ok(None),
        },
    };
    let contact = match to {
        To::Look => contacts::by_id(tx, id).await?,
        To::Write => contacts::lock(tx, id).await?,
    };
    let Some(contact) = contact.filter(|c| !c.is_erased()) else { return Ok(None) };
    let number = engine.vault.decrypt_number(&contact.number_enc)?;
    let keyed = engine.vault.keyed_all(&number);
    let noes = suppressions::of(tx, &engine.controller, &keyed).await?;
    // A yes begun since, also by another number of the human, is ended by an objection said again.
    let objected = match to {
        To::Look => confirm::stands(tx, engine, &keyed, Reason::Stopped).await?,
        To::Write => confirm::is_said(tx, engine, &keyed, Reason::Stopped).await?,
    };
    let closed = suppressions::live(&noes).any(|no| no == Reason::WrongPerson) || via.test;
    let blocked = !closed && suppressions::live(&noes).any(Reason::may_be_blocked);
    Ok(Some(Inside { via, contact, number, closed, blocked, objected, token_hash }))
}

/// Under what the code of a contact's data is kept. Codes that complete a yes are kept under their conversation, whose id is positive.
fn about(contact: &Contact) -> i64 {
    -contact.id
}

/// What is behind the link before a code is typed; `None` where there is nothing. Reads only.
pub async fn look(engine: &Engine, token: &str) -> Result<Option<Door>> {
    let mut tx = engine.store.read().await?;
    let Some(inside) = inside(&mut tx, engine, token, To::Look).await? else { return Ok(None) };
    let live = codes::live(&mut tx, &engine.controller, about(&inside.contact)).await?;
    let own = live.filter(|code| code.token_hash == inside.token_hash);
    let standing = own.map_or(Standing::None, |code| code::standing(&code, engine.now()));
    let again_at = match code::may_send(&mut tx, engine, inside.contact.id, false).await? {
        Decision::Wait { until, .. } => until,
        Decision::Send(_) | Decision::Skip(_) => engine.now(),
    };
    let sender = if inside.blocked { sender(&mut tx, engine, &inside.via).await? } else { None };
    tx.rollback().await?;
    Ok(Some(Door {
        masked_number: inside.number.masked(),
        locale: inside.via.locale,
        step: Step { standing, again_at },
        now: engine.now(),
        closed: inside.closed,
        objected: inside.objected,
        start_number: sender.and_then(|sender| choose::start_number(engine, &sender.gateway)),
    }))
}

/// Sends a code to the number, unless one is on its way or there were too many. False where there is no such link.
pub async fn send(engine: &Engine, token: &str, locale: Option<&str>) -> Result<bool> {
    retried(|| try_send(engine, token, locale)).await
}

async fn try_send(engine: &Engine, token: &str, locale: Option<&str>) -> Result<bool> {
    let (mut tx, now) = (engine.store.write().await?, engine.now());
    let Some(inside) = inside(&mut tx, engine, token, To::Write).await? else { return Ok(false) };
    if inside.closed {
        return Ok(true);
    }
    let about = about(&inside.contact);
    let live = codes::live(&mut tx, &engine.controller, about).await?;
    let own = live.filter(|c| c.token_hash == inside.token_hash);
    let may = match &own {
        Some(code) if code.state == message::State::Planned.code() => false,
        Some(_) => matches!(code::may_send(&mut tx, engine, inside.contact.id, false).await?, Decision::Send(_)),
        None => code::may_come_soon(&mut tx, engine, inside.contact.id, false).await?,
    };
    if !may {
        return Ok(true);
    }
    let Some(sender) = sender(&mut tx, engine, &inside.via).await? else { return Ok(true) };
    codes::end(&mut tx, &engine.controller, about, now).await?;
    let from = answer::From {
        gateway: &sender.gateway,
        sender: &sender.id,
        channel: sender.channel.code(),
        campaign: inside.via.campaign,
        revision: inside.via.revision,
        locale: locale.unwrap_or(&inside.via.locale),
    };
    let cause = format!("data:{}", vault::token());
    if let Some(message) = answer::plan(&mut tx, engine, &inside.contact, &from, Kind::Code, WORDING, &cause).await? {
        codes::add(&mut tx, &engine.controller, message, about, &inside.token_hash, now).await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// By which sender the code goes: SMS wherever there is one, since WhatsApp takes free text for a day alone.
async fn sender(tx: &mut Tx, engine: &Engine, via: &Via) -> Result<Option<Sender>> {
    let campaign = match via.revision {
        Some(id) => Some(engine.revision(tx, id).await?),
        None => None,
    };
    let asked = campaign.as_deref().and_then(|c| c.ask(Channel::Sms)).map(|ask| ask.sender.clone());
    Ok(asked.or_else(|| code_sender(engine, &via.sender).cloned()))
}

/// The sender of a code that no campaign has one for: this one if it sends SMS, else any that does, else this one.
pub(super) fn code_sender<'a>(engine: &'a Engine, own: &str) -> Option<&'a Sender> {
    let all = &engine.config.senders;
    let sms = all.iter().find(|s| s.id == own && s.channel == Channel::Sms);
    sms.or_else(|| all.iter().find(|s| s.channel == Channel::Sms)).or_else(|| all.iter().find(|s| s.id == own))
}

/// Takes a code. The right one, in time, once, on the page it was sent for, opens the data, and the record of requests says so.
pub async fn take(engine: &Engine, token: &str, text: &str) -> Result<Typed> {
    retried(|| try_take(engine, token, text)).await
}

async fn try_take(engine: &Engine, token: &str, text: &str) -> Result<Typed> {
    let (mut tx, now) = (engine.store.write().await?, engine.now());
    let Some(inside) = inside(&mut tx, engine, token, To::Write).await? else { return Ok(Typed::Unknown) };
    let about = about(&inside.contact);
    let live = codes::live(&mut tx, &engine.controller, about).await?;
    let open = live.filter(|c| {
        !inside.closed && c.token_hash == inside.token_hash && matches!(code::standing(c, now), Standing::Awaited { .. })
    });
    let (Some(code), Some(text)) = (open, typed(text)) else { return Ok(Typed::Wrong) };
    let Some(mac) = &code.mac else { return Ok(Typed::Wrong) };
    if !engine.vault.is_code(code.message_id, &text, mac) {
        codes::count_wrong(&mut tx, &engine.controller, code.message_id).await?;
        tx.commit().await?;
        return Ok(Typed::Wrong);
    }
    let reason = Some("the person typed it");
    messages::set_state(&mut tx, code.message_id, message::State::Unknown, message::State::Delivered, reason, now).await?;
    codes::keep_typed(&mut tx, &engine.controller, code.message_id, None, now).await?;
    codes::end(&mut tx, &engine.controller, about, now).await?;
    let keyed = engine.vault.keyed_all(&inside.number);
    requests::add(
        &mut tx,
        engine,
        Right::Access,
        &keyed,
        Some(&inside.contact.subject),
        &on_page(engine, &inside.token_hash),
        &[],
    )
    .await?;
    let ticket = engine.vault.ticket(&inside.token_hash, code.message_id);
    tx.commit().await?;
    Ok(dossier::of(engine, inside.contact.id).await?.map_or(Typed::Unknown, |dossier| Typed::Open(Box::new(dossier), ticket)))
}

/// The person's own request on their page.
fn on_page(engine: &Engine, token_hash: &str) -> Asked {
    let evidence = Deed::on_page(engine.now(), "typed_code", token_hash).evidence;
    Asked { channel: "page", by: "the person".into(), evidence, received_at: engine.now() }
}

/// Whoever holds a ticket of a code typed on this page a moment ago.
async fn admitted(tx: &mut Tx, engine: &Engine, token: &str, ticket: &str, to: To) -> Result<Option<Inside>> {
    let Some(inside) = inside(tx, engine, token, to).await?.filter(|inside| !inside.closed) else { return Ok(None) };
    let since = engine.now() - OPEN;
    let opened = codes::opened(tx, &engine.controller, about(&inside.contact), &inside.token_hash, since).await?;
    let holds = opened.is_some_and(|message| engine.vault.is_ticket(&inside.token_hash, message, ticket));
    Ok(holds.then_some(inside))
}

/// The data again, for a download; `None` where the ticket does not hold, or no more.
pub async fn again(engine: &Engine, token: &str, ticket: &str) -> Result<Option<Dossier>> {
    let mut tx = engine.store.read().await?;
    let Some(inside) = admitted(&mut tx, engine, token, ticket, To::Look).await? else { return Ok(None) };
    let dossier = dossier::gather(&mut tx, engine, inside.contact).await?;
    tx.rollback().await?;
    Ok(Some(dossier))
}

/// Erases the person; `None` where the ticket does not hold.
pub async fn erase(engine: &Engine, token: &str, ticket: &str) -> Result<Option<Erased>> {
    let mut tx = engine.store.read().await?;
    let admitted = admitted(&mut tx, engine, token, ticket, To::Look).await?;
    tx.rollback().await?;
    let Some(inside) = admitted else { return Ok(None) };
    Ok(Some(erase::erase(engine, &inside.number, &on_page(engine, &inside.token_hash), false).await?))
}

/// The person objects to all marketing, by the link alone: ending it is never harder than beginning it (Art. 7(3), 21(2) GDPR). False
/// where there is no such link. Said again it changes nothing.
pub async fn object(engine: &Engine, token: &str) -> Result<bool> {
    retried(|| try_object(engine, token)).await
}

async fn try_object(engine: &Engine, token: &str) -> Result<bool> {
    let mut tx = engine.store.write().await?;
    let Some(inside) = inside(&mut tx, engine, token, To::Write).await? else { return Ok(false) };
    if !inside.closed && !inside.objected {
        rights::object_of(&mut tx, engine, &inside.contact, "objection", &on_page(engine, &inside.token_hash)).await?;
        tx.commit().await?;
    }
    Ok(true)
}

/// Restricts the use of the person's data, or lifts that, and answers the data as they stand then; `None` where the ticket does not hold.
pub async fn restrict(engine: &Engine, token: &str, ticket: &str, restricted: bool) -> Result<Option<Dossier>> {
    let mut tx = engine.store.write().await?;
    let Some(inside) = admitted(&mut tx, engine, token, ticket, To::Write).await? else { return Ok(None) };
    rights::restrict(&mut tx, engine, &inside.number, restricted, &on_page(engine, &inside.token_hash)).await?;
    tx.commit().await?;
    dossier::of(engine, inside.contact.id).await
}
