//! The record of what people asked for about their data: by when it is due, whether it is done, and what each provider still has to do
//! (Art. 12(3), 19 and 28 GDPR).

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Engine, dossier};
use crate::clock::{DAY, instant};
use crate::domain::phone::PhoneNumber;
use crate::domain::plural::counted;
use crate::domain::rights::{Right, due};
use crate::store::requests::{self, Ended, Part, Request, Row};
use crate::store::{Tx, contacts, humans, suppressions};
use crate::vault::Keyed;

/// Requests read at once.
const PAGE: i64 = 500;

/// How a request came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `page`, `operator`
    pub channel: &'static str,
    pub by: String,
    /// For the ledger.
    pub evidence: String,
    /// Microseconds; the month runs from that day (UTC).
    pub received_at: i64,
}

impl Asked {
    /// What the ledger keeps: of a letter also the day it came, which is not the day it was carried out.
    pub fn proof(&self) -> String {
        match self.channel {
            "operator" => format!("{}; received {}", self.evidence, day(self.received_at)),
            _ => self.evidence.clone(),
        }
    }

    /// The end of the last day, microseconds.
    pub fn due_at(&self) -> i64 {
        let last = due(instant(self.received_at).date_naive());
        last.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros() + DAY
    }
}

/// A message that went through a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PassedMessage)]
pub struct Passed {
    /// Ours; the provider knows it too.
    pub reference: String,
    pub provider_id: Option<String>,
}

/// A request as an operator reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RightsRequest)]
pub struct Listed {
    pub id: i64,
    /// `access`, `rectification`, `erasure`, `restriction`, `restriction_lifted`, `objection`
    pub kind: String,
    /// Pseudonym; none where the number was no contact.
    pub subject: Option<String>,
    /// The number with its last digits alone; none where it is no contact, or erased.
    pub number: Option<String>,
    /// `page`, `operator`
    pub channel: String,
    /// Who asked, or carried it over from a letter.
    pub by: String,
    /// Days, UTC.
    pub received: String,
    pub due: String,
    pub done: Option<String>,
    pub overdue: bool,
    /// What carries it out, where it was only noted.
    pub left: Option<String>,
    /// What to do first, where that finds nobody by the number.
    pub hint: Option<String>,
    pub providers: Vec<Provider>,
}

impl Listed {
    /// Which way it came, in words.
    pub fn came(&self) -> String {
        match (self.channel.as_str(), self.by.as_str()) {
            ("page", _) => "from the person’s own page".to_owned(),
            (_, "import") => "with an imported list".to_owned(),
            (_, by) if by.starts_with("operator") => format!("noted by an {by}"),
            (_, by) => format!("noted by an operator ({by})"),
        }
    }
}

/// What a provider has to do, and whether it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProvidersPart)]
pub struct Provider {
    pub gateway: String,
    pub done: Option<String>,
    pub done_by: Option<String>,
    /// What to ask of it.
    pub ask: String,
    pub messages: Vec<Passed>,
}

/// Records a request. It is done at once unless a provider has a part in it.
pub(super) async fn add(
    tx: &mut Tx,
    engine: &Engine,
    right: Right,
    keyed: &[Keyed],
    subject: Option<&str>,
    asked: &Asked,
    parts: &[Part],
) -> Result<Option<i64>> {
    let Some(newest) = keyed.last() else { return Ok(None) };
    known_by_all(tx, engine, keyed).await?;
    let new = Request {
        kind: right.code().to_owned(),
        mac: newest.mac.clone(),
        key_id: newest.key_id,
        subject: subject.map(str::to_owned),
        channel: asked.channel.to_owned(),
        by_whom: asked.by.clone(),
        received_at: asked.received_at,
        due_at: asked.due_at(),
        done_at: parts.is_empty().then(|| engine.now()),
    };
    // Whatever was noted of it is carried out by this, and was due from its own day.
    let mut noted = requests::noted(tx, &engine.controller, right.code(), keyed).await?.into_iter();
    let new = match noted.next() {
        Some(first) => Request { subject: new.subject, done_at: new.done_at, ..first },
        None => new,
    };
    let id = requests::add(tx, &engine.controller, &new, parts).await?;
    settle(tx, engine, right, keyed, subject).await?;
    Ok(id)
}

/// A request stands under its number's newest hash alone: a contact, or a number that a row tied to one, that came under an older key is known by that one too from now on, so
/// that whatever looks for its requests finds this one.
async fn known_by_all(tx: &mut Tx, engine: &Engine, keyed: &[Keyed]) -> Result<()> {
    if keyed.len() > 1 {
        match contacts::by_number(tx, &engine.controller, keyed).await? {
            Some(contact) => {
                // Whoever was erased since has no hash any more.
                if let Some(contact) = contacts::lock(tx, contact.id).await?.filter(|c| !c.is_erased()) {
                    contacts::known_by(tx, &engine.controller, contact.id, keyed).await?;
                }
            }
            None => humans::known_by(tx, &engine.controller, keyed).await?,
        }
    }
    Ok(())
}

/// Whatever was noted of this right is done, since what was done already answers it. Says whether anything was.
pub(super) async fn settle(tx: &mut Tx, engine: &Engine, right: Right, keyed: &[Keyed], subject: Option<&str>) -> Result<bool> {
    let noted = requests::noted(tx, &engine.controller, right.code(), keyed).await?;
    for noted in &noted {
        let done = Request { subject: subject.map(str::to_owned), done_at: Some(engine.now()), ..noted.clone() };
        requests::add(tx, &engine.controller, &done, &[]).await?;
    }
    Ok(!noted.is_empty())
}

/// The letter that this carries out: where one of this kind is noted of these numbers and waits, it came on its own day, whatever day the
/// command was given.
pub(super) async fn letter(tx: &mut Tx, engine: &Engine, right: Right, keyed: &[Keyed], asked: &Asked) -> Result<Asked> {
    let noted = requests::noted(tx, &engine.controller, right.code(), keyed).await?;
    let received_at = noted.first().map_or(asked.received_at, |first| first.received_at);
    Ok(Asked { received_at, ..asked.clone() })
}

/// Whether a request of this kind stands on record for this number, done.
pub(super) async fn is_done(tx: &mut Tx, engine: &Engine, right: Right, keyed: &[Keyed]) -> Result<bool> {
    let all = requests::of_number(tx, &engine.controller, keyed).await?;
    Ok(all.iter().any(|row| row.request.kind == right.code() && row.request.done_at.is_some() && !row.request.is_mistaken()))
}

/// What is noted of this number, keeps its person from being asked, and is not carried out yet, the oldest: its id, its kind and the command
/// that carries it out.
pub(super) async fn holding(tx: &mut Tx, engine: &Engine, keyed: &[Keyed]) -> Result<Option<(i64, &'static str, String)>> {
    for row in requests::of_number(tx, &engine.controller, keyed).await? {
        // One with a subject was carried out, and waits for providers.
        let open = row.request.done_at.is_none() && row.request.subject.is_none();
        let right = Right::parse(&row.request.kind).filter(|_| open);
        if let Some(right) = right.filter(|right| matches!(right, Right::Objection | Right::Restriction | Right::Erasure)) {
            return Ok(Some((row.id, right.code(), left(right.code(), row.id, true))));
        }
    }
    Ok(None)
}

/// How the newest request of this kind that was carried out for this number came, for a number that takes its place: one that was refused or
/// answered in another way names no subject.
pub(super) async fn carried(tx: &mut Tx, engine: &Engine, right: Right, keyed: &[Keyed]) -> Result<Option<Asked>> {
    let all = requests::of_number(tx, &engine.controller, keyed).await?;
    let newest = all
        .into_iter()
        .map(|row| row.request)
        .rev()
        .find(|r| r.kind == right.code() && r.done_at.is_some() && r.subject.is_some());
    Ok(newest.map(|r| {
        // Of a letter the ledger says by itself when it came.
        let (channel, evidence) = match r.channel.as_str() {
            "page" => ("page", format!("by the person on their own page, on {}", day(r.received_at))),
            _ => ("operator", "by letter".to_owned()),
        };
        Asked { channel, by: r.by_whom, evidence, received_at: r.received_at }
    }))
}

/// Notes a request that came and is not carried out yet, so that its due date is seen. Whatever carries it out ends it.
///
/// # Errors
/// It is noted, or carried out, already.
pub async fn note(engine: &Engine, right: Right, number: &PhoneNumber, asked: &Asked) -> Result<i64> {
    let newest = engine.vault.keyed(number);
    let new = Request {
        kind: right.code().to_owned(),
        mac: newest.mac,
        key_id: newest.key_id,
        subject: None,
        channel: asked.channel.to_owned(),
        by_whom: asked.by.clone(),
        received_at: asked.received_at,
        due_at: asked.due_at(),
        done_at: None,
    };
    let mut tx = engine.store.write().await?;
    known_by_all(&mut tx, engine, &engine.vault.keyed_all(number)).await?;
    let id = requests::add(&mut tx, &engine.controller, &new, &[]).await?;
    let id = id.context("this request of that day is recorded already; remedy: `permesso contact requests list` shows it")?;
    tx.commit().await?;
    Ok(id)
}

/// Every request, or those not done yet, oldest first.
pub async fn list(engine: &Engine, open_only: bool) -> Result<Vec<Listed>> {
    page(engine, open_only, 0, usize::MAX).await
}

/// Up to `limit` of them after the id `after`.
pub async fn page(engine: &Engine, open_only: bool, mut after: i64, limit: usize) -> Result<Vec<Listed>> {
    let mut tx = engine.store.read().await?;
    let mut all = Vec::new();
    loop {
        let page = requests::after(&mut tx, &engine.controller, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for row in page.into_iter().filter(|row| !open_only || row.request.done_at.is_none()) {
            if all.len() == limit {
                break;
            }
            all.push(listed(&mut tx, engine, row).await?);
        }
        if all.len() == limit {
            break;
        }
    }
    tx.rollback().await?;
    Ok(all)
}

/// One of them.
///
/// # Errors
/// There is no such request.
pub async fn one(engine: &Engine, request: i64) -> Result<Listed> {
    let mut tx = engine.store.read().await?;
    let row = existing(&mut tx, engine, request).await?;
    let listed = listed(&mut tx, engine, row).await?;
    tx.rollback().await?;
    Ok(listed)
}

/// What was only noted is answered, in another way than by a command of ours. `told`: how and when the person heard why their wish is not
/// carried out, which the list shows from then on.
///
/// # Errors
/// There is no such request, or it is done, or it waits for a provider. An objection to marketing is absolute (Art. 21(3) GDPR), so nothing
/// but carrying it out ends it; nor does anything else end a restriction or an erasure, unless the person was told why not (Art. 12(4)).
pub async fn answered(engine: &Engine, request: i64, told: Option<&str>) -> Result<()> {
    let mut tx = engine.store.write().await?;
    let row = existing(&mut tx, engine, request).await?;
    let (kind, open) = (row.request.kind.clone(), row.request.done_at.is_none());
    let keyed = [Keyed { key_id: row.request.key_id, mac: row.request.mac.clone() }];
    let listed = listed(&mut tx, engine, row).await?;
    if let (Some(command), Some(right), true) = (&listed.left, Right::parse(&kind), open) {
        // Where nobody is to be restricted they are told so.
        let holds = right == Right::Erasure || (right == Right::Restriction && is_known(&mut tx, engine, &kind, &keyed).await?);
        match right {
            Right::Objection => bail!(
                "request {request} is an objection, which is absolute (Art. 21(3) GDPR): it ends by being carried out; remedy: `{command}`, or `permesso contact requests done {request} --mistaken \"the letter names another number\"` where nobody objected"
            ),
            _ if holds && told.is_none() => bail!(
                "request {request} ({kind}) is not carried out; remedy: `{command}`, or `permesso contact requests done {request} --told \"letter of …\"` once the person was told why not (Art. 12(4) GDPR)"
            ),
            _ => {}
        }
    }
    end(&mut tx, engine, request, told.map_or(Ended::Answered, Ended::Told)).await?;
    Ok(tx.commit().await?)
}

/// What was noted, and nobody asked for: of a mistyped number, or of what the letter does not say. `why` stands in the record from then on;
/// it holds nobody any more, and is told to nobody as a wish of theirs.
///
/// # Errors
/// There is no such request, or it is done, or it waits for a provider.
pub async fn mistaken(engine: &Engine, request: i64, why: &str) -> Result<()> {
    let mut tx = engine.store.write().await?;
    end(&mut tx, engine, request, Ended::Mistaken(why)).await?;
    Ok(tx.commit().await?)
}

async fn end(tx: &mut Tx, engine: &Engine, request: i64, ended: Ended<'_>) -> Result<()> {
    let open = existing(tx, engine, request).await?.request.done_at.is_none();
    if !requests::answered(tx, &engine.controller, request, ended, engine.now()).await? {
        match open {
            true => bail!(
                "request {request} waits for a provider; remedy: `permesso contact requests list` shows for which, and `--gateway` names it"
            ),
            false => bail!("request {request} is done already; remedy: `permesso contact requests list` shows since when"),
        }
    }
    Ok(())
}

async fn existing(tx: &mut Tx, engine: &Engine, request: i64) -> Result<Row> {
    let row = requests::after(tx, &engine.controller, request.saturating_sub(1), 1).await?.pop().filter(|row| row.id == request);
    row.with_context(|| format!("there is no request {request}; remedy: `permesso contact requests list` shows those there are"))
}

/// A provider has done its part.
///
/// # Errors
/// There is no such request, or the provider has no open part in it.
pub async fn done(engine: &Engine, request: i64, gateway: &str, by: &str) -> Result<()> {
    let mut tx = engine.store.write().await?;
    existing(&mut tx, engine, request).await?;
    if !requests::part_done(&mut tx, &engine.controller, request, gateway, by, engine.now()).await? {
        bail!("request {request} waits for nothing of `{gateway}`; remedy: `permesso contact requests list` shows what is open");
    }
    Ok(tx.commit().await?)
}

/// The last day for a request, UTC.
pub fn due_on(asked: &Asked) -> String {
    day(asked.due_at() - 1)
}

/// `2026-12-01`, UTC.
pub(super) fn day(at: i64) -> String {
    instant(at).date_naive().to_string()
}

pub(super) async fn listed(tx: &mut Tx, engine: &Engine, row: Row) -> Result<Listed> {
    let providers =
        requests::parts(tx, &engine.controller, row.id).await?.into_iter().map(provider).collect::<Result<Vec<_>>>()?;
    let request = row.request;
    // One that was only noted is nobody's yet, so that no restore carries it out; whose it is can be said all the same.
    let keyed = [Keyed { key_id: request.key_id, mac: request.mac }];
    let subject = match request.subject {
        Some(subject) => Some(subject),
        None => contacts::by_number(tx, &engine.controller, &keyed).await?.map(|contact| contact.subject),
    };
    let number = match &subject {
        Some(subject) => contacts::number_of_subject(tx, &engine.controller, subject).await?,
        None => None,
    };
    let (left, hint) = match request.done_at.is_none() && providers.is_empty() {
        true => (
            Some(left(&request.kind, row.id, is_known(tx, engine, &request.kind, &keyed).await?)),
            hint(tx, engine, &request.kind, row.id, &keyed).await?,
        ),
        false => (None, None),
    };
    Ok(Listed {
        id: row.id,
        number: number.map(|n| engine.vault.decrypt_number(&n)).transpose()?.map(|n| n.to_string()),
        channel: request.channel,
        by: request.by_whom,
        received: day(request.received_at),
        due: day(request.due_at - 1),
        overdue: request.done_at.is_none() && engine.now() >= request.due_at,
        left,
        hint,
        subject,
        done: request.done_at.map(day),
        kind: request.kind,
        providers,
    })
}

/// Whether the command that carries out a request of this kind finds anybody by this number.
async fn is_known(tx: &mut Tx, engine: &Engine, kind: &str, keyed: &[Keyed]) -> Result<bool> {
    let controller = engine.controller.as_str();
    Ok(match Right::parse(kind) {
        // What is kept of a number in no list is handed over, too.
        Some(Right::Access) => !suppressions::is_erased(tx, controller, keyed).await?,
        // Whoever a list's row ties to the number is restricted by it.
        Some(Right::Restriction | Right::Lifting) => !dossier::named(tx, engine, keyed).await?.0.is_empty(),
        _ => contacts::by_number(tx, controller, keyed).await?.is_some(),
    })
}

/// What carries out a request of this kind; its number stands in the letter alone. Where nobody is known by it, or they are erased, there is
/// nothing to hand over, to change or to restrict: you tell them so.
fn left(kind: &str, id: i64, known: bool) -> String {
    let command = match Right::parse(kind) {
        Some(Right::Access | Right::Rectification | Right::Restriction | Right::Lifting) if !known => {
            &format!("requests done {id}")
        }
        Some(Right::Access) => "export NUMBER",
        Some(Right::Rectification) => "change OLD NEW",
        Some(Right::Erasure) => "erase NUMBER",
        Some(Right::Restriction) => "restrict NUMBER",
        Some(Right::Lifting) => "unrestrict NUMBER --told WORDS",
        Some(Right::Objection) => "object NUMBER",
        None => "explain NUMBER",
    };
    format!("permesso contact {command}")
}

/// Of a request by somebody of whom no list and no form knows: the letter may name another number, and who writes is owed an answer all the
/// same (Art. 12(3) and 15(1) GDPR).
async fn hint(tx: &mut Tx, engine: &Engine, kind: &str, id: i64, keyed: &[Keyed]) -> Result<Option<String>> {
    let controller = engine.controller.as_str();
    if !dossier::named(tx, engine, keyed).await?.0.is_empty() {
        return Ok(None);
    }
    if suppressions::is_erased(tx, controller, keyed).await? {
        return Ok(Some("whoever had this number was erased: tell them so".to_owned()));
    }
    let then = match Right::parse(kind) {
        Some(Right::Access) => &format!(
            "else hand over what is kept of it; where that is nothing tell them so, then `permesso contact requests done {id}`"
        ),
        Some(Right::Erasure | Right::Objection) => "else the command keeps its no, so that no list brings it",
        _ => "else tell them so",
    };
    let another = format!("`permesso contact requests done {id} --mistaken WORDS`, and note that");
    Ok(Some(format!("nobody is known by this number; where the letter names another one: {another}; {then}")))
}

fn provider(part: Part) -> Result<Provider> {
    let messages: Vec<Passed> = serde_json::from_str(&part.messages)?;
    let ask = match (part.done_at, messages.is_empty()) {
        (Some(_), _) => "nothing more".to_owned(),
        (None, true) => "delete the messages that this person wrote to your numbers".to_owned(),
        (None, false) => {
            let count = counted(messages.len() as u64, "message by its id", "messages by their ids");
            format!("delete {count} here, with what the person answered")
        }
    };
    Ok(Provider { gateway: part.gateway, done: part.done_at.map(day), done_by: part.done_by, ask, messages })
}
