//! Everything that is known about one person, for their own eyes (Art. 15 GDPR): gathered once, told as a page, as a table and as
//! consent records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Result, bail};

use super::requests::{self, Asked, Listed};
use super::seen::Seen;
use super::{Engine, entry, notice, rights};
use crate::config::{Config, GatewayConfig};
use crate::domain::campaign::Campaign;
use crate::domain::channel::{Channel, Permission};
use crate::domain::ledger::{self as proof, Body, NUMBER_CHANGED, Preference};
use crate::domain::message::{self, Outcome};
use crate::domain::phone::PhoneNumber;
use crate::domain::register::Screened;
use crate::domain::reply::Intent;
use crate::domain::rights::Right;
use crate::domain::suppression;
use crate::domain::wording::{Values, render};
use crate::store::contacts::{Contact, Evidence};
use crate::store::conversations::{self, RanOut};
use crate::store::inbound::Inbound;
use crate::store::notices::{self, Published};
use crate::store::{
    self, Tx, campaigns, contacts, erase, handed, humans, inbound, intakes, ledger, messages, screenings, suppressions,
};
use crate::vault::Keyed;

/// Times are microseconds UTC.
#[derive(Debug, Clone)]
pub struct Dossier {
    pub number: PhoneNumber,
    pub contact: Contact,
    pub imported: Vec<Evidence>,
    /// Where they gave the number themselves, and when.
    pub joined: Vec<(String, i64)>,
    pub permissions: BTreeMap<Permission, Preference>,
    /// Of the ledger, oldest first, as far as their evidence is kept.
    pub entries: Vec<Entry>,
    /// What the pages said on which they chose: hash, `page` or `form`, language, text.
    pub pages: Vec<(String, String, String, String)>,
    pub sent: Vec<Sent>,
    /// Questions to them that they left without an answer.
    pub ran_out: Vec<RanOut>,
    /// When a link to their page was handed over to them.
    pub links: Vec<i64>,
    pub received: Vec<Received>,
    pub decisions: Vec<Decision>,
    pub noes: Vec<No>,
    /// The day on which they unsubscribed, as a list says.
    pub said_on: Option<String>,
    pub registers: Vec<Screened>,
    pub requests: Vec<Listed>,
    /// The frozen plans by which they were sent something.
    pub plans: BTreeMap<i64, Arc<Campaign>>,
    /// Who has data of theirs.
    pub recipients: Vec<Recipient>,
    /// The notice that is shown today, and every published text of it and of those that were shown to them.
    pub notice_version: String,
    pub notices: Vec<Published>,
    pub zone: chrono_tz::Tz,
    /// Their numbers before this one, newest first.
    pub former: Vec<Former>,
    /// The human's other numbers, for who asks for all by letter: a page is behind the code of one.
    pub others: Vec<Dossier>,
    /// Where the number is closed: what passed with it from then on is left out, since it is of whoever has it now.
    pub closed: Option<Closed>,
}

/// A no that stands under the number, or stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct No {
    /// Its code; `number_changed` of a number that gave way to a new one.
    pub reason: String,
    pub at: i64,
    pub lifted_at: Option<i64>,
    /// It was said by another number of the human's, and counts for this one until a yes of its own.
    pub of_another: bool,
}

/// From when on a number is not that of the person whose data these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    pub since: i64,
    /// They have another one; else whoever has it said so.
    pub changed: bool,
}

impl Closed {
    /// Why, as a no is called.
    pub fn code(self) -> &'static str {
        if self.changed { NUMBER_CHANGED } else { suppression::Reason::WrongPerson.code() }
    }
}

/// A number that gave way to the person's next one, with what is known of it while it was theirs.
#[derive(Debug, Clone)]
pub struct Former {
    /// When it gave way: it was somebody else's by then at the latest.
    pub until: i64,
    pub dossier: Dossier,
}

impl Dossier {
    /// This, and what is known of the human's numbers before it and beside it, each by itself.
    pub fn all(&self) -> Vec<&Dossier> {
        let mut all = vec![self];
        all.extend(self.former.iter().map(|former| &former.dossier));
        all.extend(self.others.iter().flat_map(Dossier::all));
        all
    }

    /// Whether the number is a contact. Of any other its noes and what it wrote are known, under keyed hashes.
    pub fn is_contact(&self) -> bool {
        self.contact.id != NOBODY
    }

    /// The language they read: as a list says, or else of what they chose last, or were sent last.
    pub fn locale(&self) -> Option<String> {
        let own = |d: &Dossier| {
            let chosen = || d.entries.iter().rev().find_map(|entry| entry.body.locale.clone());
            d.contact.locale.clone().or_else(chosen).or_else(|| d.sent.last().map(|sent| sent.locale.clone()))
        };
        self.all().into_iter().find_map(own)
    }

    /// The asks that a gateway took, as far as is known: whoever was sent nothing was asked nothing.
    pub fn asks(&self) -> impl DoubleEndedIterator<Item = &Sent> {
        self.sent.iter().filter(|s| matches!(s.kind.as_str(), "ask" | "reminder") && !s.was_refused)
    }

    /// Whether a question of this frozen plan was about the permission: asked for it, or offers it on its page (as in `consents`). One whose
    /// plan is not known was about all.
    pub fn was_about(&self, revision: Option<i64>, permission: Permission) -> bool {
        revision.and_then(|id| self.plans.get(&id)).is_none_or(|plan| plan.permissions().contains(&permission))
    }

    /// What was really asked for: nothing by a campaign that left them out.
    pub fn asked_for(&self) -> impl Iterator<Item = Permission> {
        self.asks().filter_map(|ask| self.plans.get(&ask.revision?)).flat_map(|plan| plan.asks_for.iter().copied())
    }
}

/// Somebody who works for the company and has data of this person (Art. 15(1)(c) GDPR: by name where it is known, C-154/21).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// `passed`: messages of theirs went through it. `keeps`: it is told what they decide, by webhook.
    pub what: &'static str,
    /// Of the gateway or the webhook, in permesso.toml.
    pub name: String,
    /// As people read it: who, and where.
    pub who: String,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub seq: i64,
    pub prev: String,
    pub hash: String,
    pub body: Body,
}

#[derive(Debug, Clone)]
pub struct Sent {
    pub at: i64,
    /// `ask`, `reminder`, …
    pub kind: String,
    pub channel: String,
    pub sender: String,
    pub campaign: Option<String>,
    /// Its plan as it was frozen.
    pub revision: Option<i64>,
    /// The gateway it went by.
    pub gateway: String,
    /// Of an ask: the recorded reason why the person could be asked.
    pub basis: Option<String>,
    pub wording_hash: Option<String>,
    /// The gateway proved not to have taken it.
    pub was_refused: bool,
    /// Of a campaign's: version of the notice it led to, and the hash of its text in the message's language.
    pub notice: Option<(String, Option<String>)>,
    pub locale: String,
    pub reference: String,
    /// What became of it: `delivered`, …
    pub state: String,
    /// As it was read, with [`NOT_KEPT`] for what only the message had; none where an earlier version did not keep the wording.
    pub text: Option<String>,
}

/// Stands for a link or a code of a message: both are kept as hashes alone.
pub const NOT_KEPT: &str = "[…]";

#[derive(Debug, Clone)]
pub struct Received {
    pub at: i64,
    pub channel: String,
    pub text: String,
    /// Where they wrote first by an entry's link or word, which is no consent: its form, empty where an earlier version did not keep it.
    pub entry: Option<String>,
}

/// The id of no contact.
const NOBODY: i64 = 0;

#[derive(Debug, Clone)]
pub struct Decision {
    pub at: i64,
    pub campaign: String,
    /// `send`, `wait`, `skip`
    pub outcome: String,
    /// The rule that decided.
    pub code: String,
    /// `plan`, `claim`, …
    pub stage: String,
    /// What it saw; none where an earlier version kept nothing.
    pub seen: Option<Seen>,
}

impl Decision {
    /// What it saw, label and value, as operators read it.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        self.seen.as_ref().map(Seen::lines).unwrap_or_default()
    }
}

/// The person's data for an operator who hands them over, noted as a request that is done once they are written: a file that cannot be
/// written answers nobody.
///
/// They are the human's, under every number of theirs, as far as an erasure goes; of a number that is no contact its noes, and what it wrote.
///
/// # Errors
/// Nothing is known of the number, or `write` failed; then nothing is noted.
pub async fn hand_over(
    engine: &Engine,
    number: &PhoneNumber,
    asked: &Asked,
    write: impl FnOnce(&Dossier) -> Result<()>,
) -> Result<()> {
    let keyed = engine.vault.keyed_all(number);
    let mut tx = engine.store.write().await?;
    // They hold this request too, and whoever reads them page by page keeps nobody waiting.
    note(&mut tx, engine, number, asked).await?;
    let dossier = of_human(&mut tx, engine, number, &keyed).await?;
    tx.rollback().await?;
    write(&dossier)?;
    let mut tx = engine.store.write().await?;
    note(&mut tx, engine, number, asked).await?;
    Ok(tx.commit().await?)
}

/// Puts the request for the data on record, of this number; a letter that names another one of the human is answered by it, too.
async fn note(tx: &mut Tx, engine: &Engine, number: &PhoneNumber, asked: &Asked) -> Result<()> {
    let keyed = engine.vault.keyed_all(number);
    let contact = contacts::by_number(tx, &engine.controller, &keyed).await?;
    let (others, _) = named(tx, engine, &keyed).await?;
    let subject = contact.map(|contact| contact.subject);
    requests::add(tx, engine, Right::Access, &keyed, subject.as_deref(), asked, &[]).await?;
    for id in others {
        if let Some(other) = contacts::by_id(tx, id).await?.filter(|c| !c.is_erased()) {
            let own = engine.vault.keyed_of(&other.number_enc)?;
            requests::settle(tx, engine, Right::Access, &own, Some(&other.subject)).await?;
        }
    }
    Ok(())
}

/// Whom a letter is of that names this number: what belongs to its human, as [`suppressions::reach`] answers. Nothing does to one that was
/// forgotten, as long as no list brings it again: whoever has it now may be somebody else, and neither sees nor decides anything of the others.
pub(super) async fn named(tx: &mut Tx, engine: &Engine, keyed: &[Keyed]) -> Result<(Vec<i64>, Vec<Keyed>)> {
    let controller = engine.controller.as_str();
    if humans::is_forgotten(tx, controller, keyed).await? && contacts::by_number(tx, controller, keyed).await?.is_none() {
        return Ok(Default::default());
    }
    Ok(suppressions::reach(tx, controller, keyed).await?)
}

/// What is known of the human with this number.
async fn of_human(tx: &mut Tx, engine: &Engine, number: &PhoneNumber, keyed: &[Keyed]) -> Result<Dossier> {
    let controller = engine.controller.as_str();
    let contact = contacts::by_number(tx, controller, keyed).await?;
    let (reached, aliases) = named(tx, engine, keyed).await?;
    let own = contact.as_ref().map(|contact| contact.id);
    let mut all = match contact {
        Some(contact) => gather(tx, engine, contact).await?,
        None => of_stranger(tx, engine, number, keyed).await?,
    };
    let mut known = keyed.to_vec();
    for id in reached.into_iter().filter(|id| Some(*id) != own) {
        let Some(contact) = contacts::by_id(tx, id).await?.filter(|c| !c.is_erased()) else { continue };
        let other = gather(tx, engine, contact).await?;
        known.extend(engine.vault.keyed_all(&other.number));
        // Whoever has a wrong number now wrote for themselves.
        if other.closed.is_none() {
            all.others.push(other);
        }
    }
    // Of a number that a list's row tied to them, and that is no contact, there are hashes alone.
    let tied: Vec<Keyed> = aliases.into_iter().filter(|alias| known.iter().all(|own| own.mac != alias.mac)).collect();
    // Whoever writes by one that was forgotten may have it anew, and gets it by their own letter.
    let tied = humans::not_forgotten(tx, controller, &tied).await?;
    all.received.extend(received(engine, inbound::of_strangers(tx, controller, &tied).await?)?);
    let nothing = !all.is_contact() && all.others.is_empty() && all.noes.is_empty() && all.received.is_empty();
    if nothing && all.requests.iter().all(|request| request.kind == Right::Access.code()) {
        bail!(
            "nothing is known of this number; remedy: tell them so, then `permesso contact requests done ID` ends a noted request"
        );
    }
    Ok(all)
}

/// What is kept of a number that is no contact: noes, which stand under its keyed hashes, what it wrote, and what was asked for.
async fn of_stranger(tx: &mut Tx, engine: &Engine, number: &PhoneNumber, keyed: &[Keyed]) -> Result<Dossier> {
    let noes = suppressions::of(tx, &engine.controller, keyed).await?;
    if suppressions::live(&noes).any(|no| no == suppression::Reason::Erased) {
        bail!(
            "this person was erased: what is left is the no, and the proof and the requests that `permesso contact explain` shows; remedy: tell them so, then `permesso contact requests done ID`"
        );
    }
    let wrote = inbound::of_strangers(tx, &engine.controller, keyed).await?;
    let since = wrote.iter().map(|row| row.received_at).chain(noes.iter().map(|(_, at, _)| *at)).min();
    let nobody = Contact {
        id: NOBODY,
        // Of the oldest key, which never goes, so that two exports name them alike.
        subject: keyed.first().map(|k| k.mac.clone()).unwrap_or_default(),
        number_enc: engine.vault.encrypt_number(number)?,
        country: number.country().map(str::to_owned),
        line: number.line().code().to_owned(),
        locale: None,
        zone: None,
        kind: None,
        last_action: None,
        restricted: 0,
        held_at: None,
        created_at: since.unwrap_or(engine.now()),
        times: None,
    };
    of_number(tx, engine, nobody, i64::MAX, i64::MAX).await
}

/// What people wrote, as far as its words are kept.
fn received(engine: &Engine, rows: Vec<Inbound>) -> Result<Vec<Received>> {
    let kept = rows.into_iter().filter(|row| !row.body_enc.is_empty());
    let read = kept.map(|row| {
        let text = engine.vault.decrypt("inbound", &row.body_enc)?;
        let entry = entry::became(&row.effect).map(|(form, _)| form.to_owned());
        Ok(Received { at: row.at, channel: row.channel, text, entry })
    });
    read.collect()
}

/// All that is known of a contact, in one picture; `None` of somebody erased.
pub async fn of(engine: &Engine, contact: i64) -> Result<Option<Dossier>> {
    let mut tx = engine.store.read().await?;
    let Some(contact) = contacts::by_id(&mut tx, contact).await?.filter(|c| !c.is_erased()) else { return Ok(None) };
    let dossier = gather(&mut tx, engine, contact).await?;
    tx.rollback().await?;
    Ok(Some(dossier))
}

/// The gateways through which something of this person went, also one that serves no more, and whoever keeps what webhooks tell.
fn recipients(config: &Config, gateways: BTreeSet<String>) -> Vec<Recipient> {
    let passed = gateways.into_iter().map(|name| {
        let known = config.gateways.iter().find(|g| g.name() == name);
        Recipient { what: "passed", who: known.map_or_else(|| name.clone(), GatewayConfig::processor_and_region), name }
    });
    let keeps = config
        .webhooks
        .iter()
        .filter_map(|w| Some(Recipient { what: "keeps", name: w.name.clone(), who: w.processor_and_region()? }));
    passed.chain(keeps).collect()
}

/// A published wording as its message said it.
async fn read(tx: &mut Tx, engine: &Engine, wording: &str, revision: Option<i64>, channel: &str) -> Result<String> {
    let campaign = match revision {
        Some(id) => Some(engine.revision(tx, id).await?),
        None => None,
    };
    let ask = campaign.as_deref().zip(Channel::parse(channel)).and_then(|(campaign, channel)| campaign.ask(channel));
    let brand = campaign.as_deref().map_or(engine.config.controller.brand.as_str(), |campaign| campaign.brand.as_str());
    let reply_number = ask.and_then(|ask| ask.sender.reply_number.as_deref()).unwrap_or(NOT_KEPT);
    let values = Values { brand, link: NOT_KEPT, reply_number, code: NOT_KEPT };
    Ok(render(wording, &values).unwrap_or_else(|_| wording.to_owned()))
}

/// Reads it all. The caller reads in one picture ([`Store::read`](crate::store::Store::read)).
pub async fn gather(tx: &mut Tx, engine: &Engine, contact: Contact) -> Result<Dossier> {
    let keyed = engine.vault.keyed_of(&contact.number_enc)?;
    let noes = suppressions::of(tx, &engine.controller, &keyed).await?;
    let theirs = match suppressions::live_at(&noes).find(|(no, _)| *no == suppression::Reason::WrongPerson) {
        // Said again, or learned by a restored copy, the no may be newer than what closed the number, or all there is.
        Some((_, at)) => theirs_until(tx, engine, &contact, at + 1).await?.min(at - 1),
        None => i64::MAX,
    };
    let mut all = of_number(tx, engine, contact, i64::MAX, theirs).await?;
    let mut id = all.contact.id;
    // Whoever has a new number is the same person, whose data those of the old one are (Art. 15 GDPR).
    while let Some(change) = store::requests::number_changes(tx, id).await?.into_iter().find(|change| change.went == 0) {
        id = change.other;
        let Some(contact) = contacts::by_id(tx, id).await?.filter(|c| !c.is_erased()) else { break };
        let theirs = theirs_until(tx, engine, &contact, change.at).await?;
        all.former.push(Former { until: change.at, dossier: of_number(tx, engine, contact, theirs, theirs).await? });
    }
    Ok(all)
}

/// Until when what is known of a number that was given up is of the person who had it. Whoever has it now may have told us so before they did:
/// that message is theirs, and what came after it. Its entry stands up to two minutes later than it was said.
pub(super) async fn theirs_until(tx: &mut Tx, engine: &Engine, contact: &Contact, changed: i64) -> Result<i64> {
    let entries = ledger::entries_of(tx, &engine.controller, &contact.subject).await?;
    let closed = entries.iter().filter(|(_, _, kind, ..)| kind == proof::Entry::WrongPerson.code()).map(|entry| entry.3);
    let replies = inbound::of_contact(tx, contact.id).await?;
    let wrong = replies.iter().filter(|row| row.intent == Intent::WrongPerson.key()).map(|row| row.at.min(row.received_at));
    Ok(closed.chain(wrong).filter(|at| *at < changed).map(|at| at - 1).min().unwrap_or(changed))
}

/// What is known of one number until then, and what its person said by it and was told until `theirs`: of a number that is closed, what the
/// company knows of its person goes on.
async fn of_number(tx: &mut Tx, engine: &Engine, contact: Contact, until: i64, theirs: i64) -> Result<Dossier> {
    let controller = engine.controller.as_str();
    let number = engine.vault.decrypt_number(&contact.number_enc)?;
    let keyed = engine.vault.keyed_all(&number);
    let mut entries = Vec::new();
    // What closed the number ended what was granted for it.
    let mut closing = theirs < until;
    for (seq, _, _, _, _, prev, hash, body) in ledger::entries_of(tx, controller, &contact.subject).await? {
        let mut closes = |b: &Body| b.entry == proof::Entry::WrongPerson && std::mem::take(&mut closing);
        let body = body.and_then(|b| serde_json::from_str::<Body>(&b).ok());
        let body = body.filter(|b| closes(b) || b.at <= theirs || b.is_number_change());
        entries.extend(body.map(|body| Entry { seq, prev, hash, body }));
    }
    let hashes: BTreeSet<&str> = entries.iter().filter_map(|e| e.body.page_hash.as_deref()).collect();
    let pages = ledger::wordings(tx, controller, &hashes.into_iter().collect::<Vec<_>>()).await?;
    let (mut sent, mut plans) = (Vec::new(), BTreeMap::new());
    for row in messages::story_of(tx, contact.id).await? {
        if let (Some(at), Some(reference)) = (row.claimed_at.filter(|at| *at <= theirs), row.reference) {
            let text = match &row.wording {
                Some(wording) => Some(read(tx, engine, wording, row.revision, &row.channel).await?),
                None => None,
            };
            let campaign = match row.revision {
                Some(id) => {
                    let campaign = engine.revision(tx, id).await?;
                    plans.insert(id, campaign.clone());
                    Some(campaign)
                }
                None => None,
            };
            let notice = campaign.as_deref().and_then(|c| c.notice.as_ref());
            sent.push(Sent {
                at,
                kind: row.kind,
                channel: row.channel,
                sender: row.sender,
                campaign: row.campaign,
                revision: row.revision,
                gateway: row.gateway.unwrap_or_default(),
                basis: row.basis,
                wording_hash: row.wording_hash,
                was_refused: Outcome::turned_down(row.outcome.as_deref())
                    || (row.outcome.as_deref() != Some(Outcome::Accepted.code()) && row.state == message::State::Failed.code()),
                notice: notice.map(|n| (n.version.clone(), n.hashes.get(&row.locale).cloned())),
                locale: row.locale,
                reference,
                state: row.state,
                text,
            });
        }
    }
    let mut wrote = inbound::of_strangers(tx, controller, &keyed).await?;
    wrote.extend(inbound::of_contact(tx, contact.id).await?);
    wrote.retain(|row| row.at <= theirs);
    let brought: Vec<String> = wrote.iter().map(|row| row.gateway.clone()).collect();
    let received = received(engine, wrote)?;
    let mut decisions = Vec::new();
    for (campaign, stage, outcome, code, facts, at, _) in campaigns::decisions_of(tx, contact.id).await? {
        if at > until {
            continue;
        }
        decisions.push(Decision { at, campaign, outcome, code, stage, seen: Seen::read(&facts) });
    }
    let mut asked = Vec::new();
    for row in store::requests::of_number(tx, controller, &keyed).await? {
        // The request that gave the number up is of the person who did.
        let own = row.request.received_at <= until || row.request.kind == Right::Rectification.code();
        // Nor did they ask for what was noted by mistake, whose words may be about somebody else.
        if own && !row.request.is_mistaken() {
            asked.push(requests::listed(tx, engine, row).await?);
        }
    }
    let live = suppressions::of(tx, controller, &keyed).await?;
    let changed = rights::gave_way(tx, engine, &keyed, &live).await?;
    let said = suppressions::said_by(tx, controller, &keyed, theirs).await?;
    let others = humans::noes_of_others(tx, contact.id).await?;
    let noes = live.into_iter().filter_map(|(reason, at, lifted_at)| {
        let of_another = lifted_at.is_none() && others.iter().any(|no| no.is_whose(&reason, at));
        let no = |reason: String, at| No { reason, at, lifted_at, of_another };
        match suppression::Reason::parse(&reason)? {
            suppression::Reason::WrongPerson if changed == Some(at) => Some(no(NUMBER_CHANGED.to_owned(), at)),
            // Said again by whoever has the number now, it was said before all the same.
            suppression::Reason::Refused | suppression::Reason::Stopped if at > theirs => {
                let (_, before) = said.iter().find(|(before, _)| *before == reason)?;
                Some(no(reason, *before))
            }
            _ => (at <= until).then(|| no(reason, at)),
        }
    });
    let noes = noes.collect();
    let mut ran_out = conversations::ran_out(tx, &[contact.id]).await?;
    ran_out.retain(|ask| ask.closed_at <= until);
    let notice_version = notice::standing(tx, engine).await?;
    let shown = entries.iter().filter_map(|e| e.body.notice_version.as_ref());
    let shown = shown.chain(sent.iter().filter_map(|s| s.notice.as_ref().map(|(version, _)| version))).chain([&notice_version]);
    let mut texts = Vec::new();
    for version in shown.collect::<BTreeSet<_>>() {
        texts.extend(notices::of_version(tx, controller, version).await?);
    }
    let passed = erase::passed(tx, contact.id).await?.into_iter().map(|(gateway, ..)| gateway).chain(brought).collect();
    Ok(Dossier {
        recipients: recipients(&engine.config, passed),
        notice_version,
        notices: texts,
        imported: contacts::evidence_of(tx, contact.id).await?.into_iter().filter(|row| row.at <= until).collect(),
        joined: intakes::of_contact(tx, contact.id).await?.into_iter().filter(|(_, at)| *at <= theirs).collect(),
        permissions: ledger::preferences(tx, controller, &contact.subject).await?,
        noes,
        said_on: suppressions::said_on(tx, controller, &keyed).await?,
        ran_out,
        links: handed::of_contact(tx, contact.id).await?.into_iter().map(|(at, _)| at).filter(|at| *at <= until).collect(),
        registers: screenings::of(tx, &[contact.id]).await?.remove(&contact.id).unwrap_or_default(),
        zone: engine.zone_of(contact.zone.as_deref(), contact.country.as_deref()),
        number,
        contact,
        entries,
        pages,
        sent,
        received,
        decisions,
        requests: asked,
        plans,
        former: Vec::new(),
        others: Vec::new(),
        closed: (theirs < until).then(|| Closed { since: theirs + 1, changed: changed.is_some() }),
    })
}
