//! Carry out what the double opt-in machine answers to an act: ledger, preferences, suppressions and what they cancel,
//! all in the caller's transaction. Every change of consent passes through here.

use anyhow::{Context, Result};

use super::{Engine, late, notice, waiting};
use crate::clock::{DAY, MINUTE};
use crate::domain::answer::{Answer, By};
use crate::domain::campaign::{Campaign, Mode};
use crate::domain::channel::{Channel, Permission};
use crate::domain::consent::{Act, Effect, State, next};
use crate::domain::intake::Consent;
use crate::domain::ledger::{Body, Entry, FirstYes};
use crate::domain::message::Kind;
use crate::domain::suppression::Reason;
use crate::domain::times::Times;
use crate::store::contacts::{Barred, Contact};
use crate::store::conversations::Conversation;
use crate::store::messages::Attempt;
use crate::store::{Tx, answers, campaigns, codes, contacts, conversations, humans, ledger, messages, notices, suppressions};
use crate::vault::Keyed;

/// How an act reached us: what the ledger keeps of it.
#[derive(Debug, Clone)]
pub struct Deed {
    /// When it counts.
    pub at: i64,
    pub channel: &'static str,
    pub action: &'static str,
    /// The gateway's event id, or the page's form hash.
    pub evidence: String,
    pub text_hash: Option<String>,
}

impl Deed {
    /// Who did it, as the report counts it.
    pub fn by(&self) -> By {
        By::of(self.channel, self.action).unwrap_or(By::Person)
    }

    /// Done on the page behind the link with this token hash.
    pub fn on_page(at: i64, action: &'static str, token_hash: &str) -> Deed {
        Deed { at, channel: "page", action, evidence: format!("token {}", &token_hash[..16]), text_hash: None }
    }
}

/// A page as it stood before whoever submitted it.
#[derive(Debug, Clone)]
pub struct Shown<'a> {
    /// The language it spoke.
    pub locale: &'a str,
    /// Its words about the choice; none where they are a chatbot's own.
    pub page: Option<Words>,
}

/// What a page says about the choice, with the boxes that it offers. Published like every wording, and named in the proof by its hash.
#[derive(Debug, Clone)]
pub struct Words {
    /// `page` or `form`.
    pub name: &'static str,
    pub text: String,
    pub hash: String,
}

impl Shown<'_> {
    /// As [`ledger::publish_wording`] takes it.
    pub fn wording(&self) -> Option<(String, String, String, String)> {
        let words = self.page.as_ref()?;
        Some((words.hash.clone(), words.name.to_owned(), self.locale.to_owned(), words.text.clone()))
    }
}

/// One person in the middle of an act.
#[derive(Debug)]
pub struct Situation {
    pub contact: Contact,
    pub conversation: Option<Conversation>,
    pub campaign: Option<(String, std::sync::Arc<Campaign>)>,
    pub asked_by: Option<Attempt>,
    /// The ask basis recorded when the ask was decided.
    pub basis: Option<String>,
    /// Language of the page that was submitted, where it was one.
    pub shown_in: Option<String>,
    /// Hash of its words about the choice.
    pub page: Option<String>,
    /// The version of the notice that was shown, and the hash of its text in the language it was shown in, if it was published.
    pub notice: (String, Option<String>),
    /// The form on which it was said, where it was one.
    pub form: Option<String>,
}

impl Situation {
    /// Reads where this person stands. The contact's row stays locked until the transaction ends.
    pub async fn read(tx: &mut Tx, engine: &Engine, contact: i64) -> Result<Situation> {
        let contact = contacts::lock(tx, contact).await?.context("the contact is gone")?;
        let mut situation = Situation::of(tx, engine, contact).await?;
        if let Some(attempt) = situation.asked_by.take() {
            let locale = attempt.locale.clone();
            situation.asked(tx, attempt).await?;
            situation.notice.1 = notices::hash(tx, &engine.controller, &situation.notice.0, &locale).await?;
        }
        Ok(situation)
    }

    /// As [`Situation::read`], of a contact that the caller holds, or only looks at, and without what a proof needs: ask basis and hash of the
    /// notice. [`Situation::on_page`] sets both.
    pub async fn of(tx: &mut Tx, engine: &Engine, contact: Contact) -> Result<Situation> {
        let conversation = conversations::open_of(tx, contact.id).await?;
        // A question that a form or a handed link opened has nothing to do with whatever campaign asked this person once.
        let asked_by = match &conversation {
            Some(question) if question.campaign_id.is_none() => None,
            _ => messages::newest_ask(tx, contact.id).await?,
        };
        let revision = conversation.as_ref().and_then(|c| c.revision_id).or(asked_by.as_ref().and_then(|a| a.revision_id));
        let campaign = match revision {
            Some(id) => {
                let campaign = engine.revision(tx, id).await?;
                Some((campaign.name.clone(), campaign))
            }
            None => None,
        };
        let notice = (engine.config.controller.notice_version.clone(), None);
        let mut situation =
            Situation { contact, conversation, campaign, asked_by, basis: None, shown_in: None, page: None, notice, form: None };
        // Whoever answers a message was shown the notice of its campaign.
        if let Some(frozen) = situation.campaign.as_ref().and_then(|(_, c)| c.notice.clone()) {
            situation.notice.0 = frozen.version;
        }
        Ok(situation)
    }

    /// Sets which ask this is about.
    pub async fn asked(&mut self, tx: &mut Tx, attempt: Attempt) -> Result<()> {
        self.basis = match attempt.campaign_id {
            // What the claim found; attempts of an earlier version have it from their plan.
            _ if attempt.basis.is_some() => attempt.basis.clone(),
            Some(id) => campaigns::basis_of(tx, id, self.contact.id).await?,
            None => None,
        };
        self.asked_by = Some(attempt);
        Ok(())
    }

    /// Sets that this is about the page behind the link of this attempt: the proof names the ask whose link was used, and what the page
    /// showed, as far as that is known. Its words are published with whatever the caller writes about them.
    pub async fn on_page(&mut self, tx: &mut Tx, engine: &Engine, attempt: &Attempt, shown: Option<Shown<'_>>) -> Result<()> {
        if let Some(id) = attempt.revision_id {
            let campaign = engine.revision(tx, id).await?;
            self.campaign = Some((campaign.name.clone(), campaign));
        } else if self.conversation.as_ref().is_none_or(|c| c.campaign_id.is_none()) {
            // A form's link: whatever campaign asked this person once has nothing to do with it.
            self.campaign = None;
        }
        let shown = shown.as_ref();
        if let Some(words) = shown.and_then(Shown::wording) {
            engine.publish_words(tx, words).await?;
        }
        self.shown_in = shown.map(|page| page.locale.to_owned());
        self.page = shown.and_then(|page| page.page.as_ref()).map(|words| words.hash.clone());
        // The page shows the notice of today.
        self.notice.0 = notice::standing(tx, engine).await?;
        let locale = shown.map_or(attempt.locale.as_str(), |page| page.locale);
        self.notice.1 = notices::hash(tx, &engine.controller, &self.notice.0, locale).await?;
        self.asked(tx, attempt.clone()).await
    }

    /// Sets that this is about a form: no campaign and no ask led to it, and the proof names what the form showed.
    pub fn on_form(&mut self, consent: &Consent) {
        (self.campaign, self.asked_by, self.basis) = (None, None, None);
        self.form = Some(consent.form.clone());
        (self.shown_in, self.page) = (Some(consent.locale.clone()), consent.page_hash.clone());
        self.notice = (consent.notice.clone(), Some(consent.notice_hash.clone()));
    }

    /// All hashes of the number, under which a no of this person is written; none where it is erased.
    pub fn keyed(&self, engine: &Engine) -> Result<Vec<Keyed>> {
        if self.contact.is_erased() {
            return Ok(Vec::new());
        }
        engine.vault.keyed_of(&self.contact.number_enc)
    }

    pub fn mode(&self) -> Mode {
        self.conversation.as_ref().and_then(|c| Mode::parse(&c.mode)).unwrap_or(Mode::Reply)
    }

    /// Whether this message is the open question's ask or its reminder.
    pub fn asked_in(&self, message: i64) -> bool {
        let by_ask = self.conversation.as_ref().is_some_and(|c| c.message_id == message);
        by_ask || self.asked_by.as_ref().is_some_and(|a| a.message_id == message && a.kind == Kind::Reminder.code())
    }

    /// Whether answers to the open question go to this number on this channel.
    pub fn was_asked_by(&self, to: &str, channel: Channel) -> bool {
        let ask = self.campaign.as_ref().and_then(|(_, c)| c.ask(channel));
        ask.is_some_and(|a| if a.sender.two_way { a.sender.id == to } else { a.sender.reply_number.as_deref() == Some(to) })
    }

    pub fn state(&self) -> Option<State> {
        self.conversation.as_ref().and_then(|c| State::parse(&c.state))
    }

    /// Everything this person was asked for or could have chosen: what a no refuses.
    fn all_asked(&self) -> Vec<Permission> {
        self.campaign.as_ref().map(|(_, campaign)| campaign.permissions()).unwrap_or_default()
    }

    pub(super) fn body(&self, entry: Entry, deed: &Deed, permissions: Vec<Permission>) -> Body {
        Body {
            subject: self.contact.subject.clone(),
            entry,
            at: deed.at,
            channel: deed.channel.to_owned(),
            action: deed.action.to_owned(),
            permissions,
            campaign: self.campaign.as_ref().map(|(name, _)| name.clone()),
            ask_basis: self.basis.clone(),
            ask_reference: self.asked_by.as_ref().map(|a| a.reference.clone()),
            wording_hash: self.asked_by.as_ref().and_then(|a| a.wording_hash.clone()),
            locale: self
                .shown_in
                .clone()
                .or_else(|| self.asked_by.as_ref().map(|a| a.locale.clone()))
                .or_else(|| self.contact.locale.clone()),
            notice_version: Some(self.notice.0.clone()),
            evidence: Some(deed.evidence.clone()),
            text_hash: deed.text_hash.clone(),
            first_yes: None,
            notice_hash: self.notice.1.clone(),
            times: None,
            form: self.form.clone(),
            page_hash: self.page.clone(),
        }
    }
}

/// What followed, for whoever answers the person.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    pub send_confirmation: bool,
    pub send_code: bool,
    /// Wording of the acknowledgement, where one is due.
    pub acknowledge: Option<&'static str>,
    pub help: bool,
    pub held: bool,
    /// A no newer than the first yes stands: nothing was granted.
    pub outdated: bool,
    /// The yes, first or second, changed nothing, and why.
    pub barred: Option<Barred>,
}

/// Runs one act through the machine and carries out its effects. `chosen` is what the first yes names.
pub async fn act(
    tx: &mut Tx,
    engine: &Engine,
    situation: &mut Situation,
    act: Act,
    deed: &Deed,
    chosen: &[Permission],
) -> Result<Outcome> {
    let now = engine.now();
    // Without an open conversation a yes has nothing to answer; a no stands by itself.
    let before = situation.state().unwrap_or(State::Expired);
    let (mut after, mut effects) = next(situation.mode(), before, act);
    let mut outcome = Outcome::default();
    if effects.contains(&Effect::Grant)
        && let Some(no) = newer_no(tx, situation).await?
    {
        // No is final: one that this human said since, by whatever number, ends the question that the first yes answered.
        (after, effects) = (no, Vec::new());
        outcome.outdated = true;
    }
    let yes = [Effect::Remember, Effect::SendConfirmation, Effect::SendCode, Effect::Grant];
    if effects.iter().any(|effect| yes.contains(effect)) {
        outcome.barred = contacts::barred(tx, situation.contact.id).await?;
    }
    if outcome.barred.is_some() {
        // Art. 18(2) GDPR: the data are stored and nothing else; a no counts all the same, since it uses them for nothing.
        (after, effects) = (before, Vec::new());
    }
    for effect in effects {
        match effect {
            Effect::Remember => {
                remember(tx, engine, situation, deed, chosen).await?;
                answer(tx, situation, Answer::Pending, now).await?;
            }
            Effect::SendConfirmation => outcome.send_confirmation = true,
            Effect::SendCode => outcome.send_code = true,
            Effect::Grant => {
                grant(tx, engine, situation, deed).await?;
                answer(tx, situation, Answer::Confirmed, now).await?;
            }
            Effect::Refuse => {
                let body = situation.body(Entry::Refused, deed, situation.all_asked());
                engine.append(tx, &body).await?;
                suppress(tx, engine, situation, Reason::Refused, deed).await?;
            }
            Effect::Stop => {
                let body = situation.body(Entry::Stopped, deed, Vec::new());
                engine.append(tx, &body).await?;
                suppress(tx, engine, situation, Reason::Stopped, deed).await?;
            }
            Effect::CloseContactPoint => {
                let body = situation.body(Entry::WrongPerson, deed, Vec::new());
                engine.append(tx, &body).await?;
                suppress(tx, engine, situation, Reason::WrongPerson, deed).await?;
                untie(tx, engine, &situation.keyed(engine)?).await?;
            }
            Effect::Expire => {
                let pending = pending_of(situation);
                let body = situation.body(Entry::Expired, deed, pending);
                engine.append(tx, &body).await?;
                answer(tx, situation, Answer::Unfinished, now).await?;
            }
            Effect::Acknowledge => {
                outcome.acknowledge = match after {
                    State::Stopped => Some("ack_stop"),
                    State::Refused => Some("ack_no"),
                    State::Granted => Some("ack_yes"),
                    State::WrongPerson => Some("ack_wrong_person"),
                    State::Asked | State::Pending | State::Expired => None,
                }
            }
            Effect::Help => outcome.help = true,
            Effect::Hold => {
                contacts::hold(tx, situation.contact.id, Some(now)).await?;
                outcome.held = true;
            }
        }
    }
    if let Some(conversation) = &mut situation.conversation {
        conversation.state = after.code().to_owned();
        if !after.is_open() {
            conversation.closed_at = Some(now);
        }
        conversations::save(tx, conversation).await?;
    } else if matches!(after, State::Refused | State::Stopped | State::WrongPerson)
        && let Some(mut closed) = conversations::newest_of(tx, situation.contact.id).await?
    {
        // The person's last word is what the report counts, and when it was said.
        closed.state = after.code().to_owned();
        closed.closed_at = Some(now);
        conversations::save(tx, &closed).await?;
    }
    Ok(outcome)
}

/// Keeps what became of the open question with the ask of its campaign.
pub async fn answer(tx: &mut Tx, situation: &Situation, answer: Answer, now: i64) -> Result<()> {
    if let Some(campaign) = situation.conversation.as_ref().and_then(|c| c.campaign_id) {
        answers::give(tx, situation.contact.id, campaign, answer, now).await?;
    }
    Ok(())
}

/// What the first yes that waits for its second step names.
pub(super) fn pending_of(situation: &Situation) -> Vec<Permission> {
    let pending = situation.conversation.as_ref().and_then(|c| c.pending.as_deref());
    pending.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

async fn remember(tx: &mut Tx, engine: &Engine, situation: &mut Situation, deed: &Deed, chosen: &[Permission]) -> Result<()> {
    let body = situation.body(Entry::Pending, deed, chosen.to_vec());
    engine.append(tx, &body).await?;
    let first = FirstYes {
        at: deed.at,
        channel: body.channel,
        action: body.action,
        evidence: deed.evidence.clone(),
        notice_version: body.notice_version,
        notice_hash: body.notice_hash,
        locale: body.locale,
        page_hash: body.page_hash,
    };
    let pending_days = situation.campaign.as_ref().map_or(engine.config.pending_days, |(_, c)| c.pending_days);
    let Some(conversation) = &mut situation.conversation else { return Ok(()) };
    conversation.pending = Some(serde_json::to_string(chosen)?);
    conversation.first_yes_at = Some(deed.at);
    conversation.first_yes = Some(serde_json::to_string(&first)?);
    conversation.confirm_message_id = None;
    conversation.confirm_accepted_at = None;
    conversation.expires_at = engine.now() + pending_days * DAY;
    Ok(())
}

/// Keeps when the person wants to be written to, with a ledger entry, where they chose otherwise than before.
pub async fn set_times(tx: &mut Tx, engine: &Engine, situation: &mut Situation, deed: &Deed, times: &Times) -> Result<()> {
    if *times == situation.contact.times() {
        return Ok(());
    }
    let mut body = situation.body(Entry::Times, deed, Vec::new());
    body.times = Some(times.clone());
    engine.append(tx, &body).await?;
    situation.contact.times = if times.is_any() { None } else { Some(serde_json::to_string(times)?) };
    contacts::set_times(tx, situation.contact.id, situation.contact.times.as_deref()).await?;
    Ok(())
}

/// What a no as new as the first yes, or newer, makes of the conversation.
async fn newer_no(tx: &mut Tx, situation: &Situation) -> Result<Option<State>> {
    let Some(first) = situation.conversation.as_ref().and_then(|c| c.first_yes_at) else { return Ok(None) };
    let reason = suppressions::newest_since(tx, situation.contact.id, first).await?;
    Ok(reason.map(|reason| match Reason::parse(&reason) {
        Some(Reason::Refused) => State::Refused,
        Some(Reason::WrongPerson) => State::WrongPerson,
        _ => State::Stopped,
    }))
}

async fn grant(tx: &mut Tx, engine: &Engine, situation: &Situation, deed: &Deed) -> Result<()> {
    let conversation = situation.conversation.as_ref().context("a grant without a conversation")?;
    let first: FirstYes = serde_json::from_str(conversation.first_yes.as_deref().context("a grant without a first yes")?)?;
    let first_yes_at = first.at;
    let mut body = situation.body(Entry::Granted, deed, pending_of(situation));
    // A second step by message shows no notice: the consent is to the one that stood beside the choice.
    if deed.channel != "page" && first.notice_version.is_some() {
        body.notice_version.clone_from(&first.notice_version);
        body.notice_hash.clone_from(&first.notice_hash);
        body.locale.clone_from(&first.locale);
    }
    if first.page_hash.is_some() {
        body.page_hash.clone_from(&first.page_hash);
    }
    body.first_yes = Some(first);
    let seq = engine.append(tx, &body).await?;
    suppressions::lift(tx, &engine.controller, situation.contact.id, seq, first_yes_at, engine.now()).await?;
    Ok(())
}

async fn suppress(tx: &mut Tx, engine: &Engine, situation: &Situation, reason: Reason, deed: &Deed) -> Result<()> {
    let (keyed, now) = (&situation.keyed(engine)?, engine.now());
    // It was under way for longer than it takes to store one.
    if deed.at + MINUTE < now {
        return late::learned(tx, engine, keyed, reason, deed.at, deed).await;
    }
    suppressions::suppress(tx, &engine.controller, keyed, reason, deed.by(), deed.at, now).await?;
    end_grants(tx, engine, keyed, reason, deed).await
}

/// A no of a number that is no contact, said now: it counts for the human to whom a list's row tied it, unless it is a wrong number.
pub async fn no_of_number(tx: &mut Tx, engine: &Engine, keyed: &[Keyed], reason: Reason, by: By) -> Result<()> {
    let now = engine.now();
    suppressions::suppress(tx, &engine.controller, keyed, reason, by, now, now).await?;
    end_grants(tx, engine, keyed, reason, &inherited(now)).await?;
    if reason == Reason::WrongPerson {
        untie(tx, engine, keyed).await?;
    }
    Ok(())
}

/// Takes a wrong number out of the human it was believed to be of: whoever holds it now says nothing for them. What was said by it before stays
/// theirs, under their ids, for whatever number comes under one.
pub(super) async fn untie(tx: &mut Tx, engine: &Engine, keyed: &[Keyed]) -> Result<()> {
    let (controller, now) = (engine.controller.as_str(), engine.now());
    let (reached, mut ids) = suppressions::reach(tx, controller, keyed).await?;
    ids.retain(|id| keyed.iter().all(|own| own.mac != id.mac));
    let noes = suppressions::of(tx, controller, keyed).await?;
    for (reason, at) in suppressions::live_at(&noes).filter(|(reason, _)| *reason != Reason::WrongPerson) {
        suppressions::suppress_alone(tx, controller, &ids, reason, By::List, at, now).await?;
    }
    // What it wrote, and nobody could read yet, holds the others no more.
    let held = match contacts::by_number(tx, controller, keyed).await? {
        Some(contact) if contact.held_at.is_some() => contacts::lock_human(tx, contact.id).await?,
        Some(_) => Vec::new(),
        None => reached,
    };
    humans::untie(tx, controller, keyed).await?;
    for number in held {
        Box::pin(waiting::go_on_unless_held(tx, engine, number)).await?;
    }
    Ok(())
}

/// A no of the human's other number, which an import tied to this one.
pub fn inherited(now: i64) -> Deed {
    let evidence = "an imported list ties this number to one that said no".into();
    Deed { at: now, channel: "import", action: "tied", evidence, text_hash: None }
}

/// How the ledger tells of a grant that ends by a no said while the number was hidden, once it is known whose that was.
pub fn said_hidden(now: i64) -> Deed {
    let evidence = "said under a user id of WhatsApp, which a receipt or a reply shows to be this number's".into();
    Deed { at: now, channel: "reply", action: "hidden", evidence, text_hash: None }
}

/// Whether this no stands already and saying it again ends nothing, of the human's other numbers neither: what such a number granted since
/// has answered the no of before.
pub async fn is_said(tx: &mut Tx, engine: &Engine, keyed: &[Keyed], reason: Reason) -> Result<bool> {
    suppressions::lock_reached(tx, &engine.controller, keyed, reason).await?;
    stands(tx, engine, keyed, reason).await
}

/// As [`is_said`], for whoever only looks.
pub async fn stands(tx: &mut Tx, engine: &Engine, keyed: &[Keyed], reason: Reason) -> Result<bool> {
    let noes = suppressions::of(tx, &engine.controller, keyed).await?;
    let stands = suppressions::live(&noes).find(|no| *no == reason);
    ends_nothing(tx, engine, keyed, stands).await
}

/// Whether a no stands, and said again it would end nothing.
pub async fn ends_nothing(tx: &mut Tx, engine: &Engine, keyed: &[Keyed], stands: Option<Reason>) -> Result<bool> {
    match stands {
        Some(reason) => Ok(!suppressions::ends_something(tx, &engine.controller, keyed, reason).await?),
        None => Ok(false),
    }
}

/// A no ends what was granted to any number it reaches: the human's other numbers, and those of an imported list.
pub async fn end_grants(tx: &mut Tx, engine: &Engine, keyed: &[Keyed], reason: Reason, deed: &Deed) -> Result<()> {
    let contacts = suppressions::granted_among(tx, &engine.controller, keyed, reason).await?;
    end_grants_of(tx, engine, &contacts, deed).await
}

/// Ends everything granted to these contacts.
pub async fn end_grants_of(tx: &mut Tx, engine: &Engine, contacts: &[i64], deed: &Deed) -> Result<()> {
    for &contact in contacts {
        let situation = Situation::read(tx, engine, contact).await?;
        let granted = ledger::granted(tx, &engine.controller, &situation.contact.subject).await?;
        withdraw(tx, engine, &situation, deed, granted).await?;
    }
    Ok(())
}

/// Withdraws some permissions and leaves the rest: an unticked box beside a ticked one.
pub async fn withdraw(tx: &mut Tx, engine: &Engine, situation: &Situation, deed: &Deed, gone: Vec<Permission>) -> Result<()> {
    let body = situation.body(Entry::Withdrawn, deed, gone);
    engine.append(tx, &body).await?;
    answers::ended(tx, situation.contact.id, deed.by(), engine.now()).await?;
    Ok(())
}

/// As [`withdraw`], by the person, now, of what they name and allow, or are about to: a first yes that waits for its second step names these
/// no more. What is neither changes nothing.
pub async fn take_back(
    tx: &mut Tx,
    engine: &Engine,
    situation: &mut Situation,
    deed: &Deed,
    mut gone: Vec<Permission>,
) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let granted = ledger::granted(tx, &engine.controller, &situation.contact.subject).await?;
    let mut waits = pending_of(situation);
    gone.retain(|permission| granted.contains(permission) || waits.contains(permission));
    if gone.is_empty() {
        return Ok(());
    }
    let before = waits.len();
    waits.retain(|permission| !gone.contains(permission));
    withdraw(tx, engine, situation, deed, gone).await?;
    match &mut situation.conversation {
        Some(_) if waits.is_empty() && before > 0 => drop_pending(tx, engine, situation).await,
        Some(conversation) if waits.len() < before => {
            conversation.pending = Some(serde_json::to_string(&waits)?);
            Ok(conversations::save(tx, conversation).await?)
        }
        _ => Ok(()),
    }
}

/// Takes back one thing by its name. Where it was the last one they allow, or are about to, nothing is left ticked, and that is a no to
/// everything here as it is on a form: nobody asks them again.
pub async fn take_back_one(
    tx: &mut Tx,
    engine: &Engine,
    situation: &mut Situation,
    deed: &Deed,
    permission: Permission,
) -> Result<()> {
    let mut all = ledger::granted(tx, &engine.controller, &situation.contact.subject).await?;
    all.extend(pending_of(situation));
    if all.contains(&permission) && all.iter().all(|p| *p == permission) {
        act(tx, engine, situation, Act::SaidNo, deed, &[]).await?;
        return Ok(());
    }
    take_back(tx, engine, situation, deed, vec![permission]).await
}

/// What waits for its second step waits no more: all of it was replaced, or taken back.
pub async fn drop_pending(tx: &mut Tx, engine: &Engine, situation: &mut Situation) -> Result<()> {
    if situation.state() == Some(State::Pending) {
        answer(tx, situation, Answer::Unfinished, engine.now()).await?;
    }
    if let Some(conversation) = situation.conversation.as_mut().filter(|c| c.state == State::Pending.code()) {
        codes::end(tx, &engine.controller, conversation.id, engine.now()).await?;
        conversation.state = State::Expired.code().to_owned();
        conversation.closed_at = Some(engine.now());
        conversation.pending = None;
        conversations::save(tx, conversation).await?;
    }
    Ok(())
}

/// Says in the ledger what becomes of this contact by no act of theirs now, and writes nothing else: what the entry ends ends with it, and no
/// number is silenced.
pub async fn note(
    tx: &mut Tx,
    engine: &Engine,
    contact: i64,
    entry: Entry,
    permissions: Vec<Permission>,
    deed: &Deed,
) -> Result<()> {
    let situation = Situation::read(tx, engine, contact).await?;
    let body = situation.body(entry, deed, permissions);
    engine.append(tx, &body).await?;
    Ok(())
}

/// Says in the ledger that the use of this contact's data is restricted, or no more; then what stands granted may be used again.
pub async fn restricted(tx: &mut Tx, engine: &Engine, contact: i64, restricted: bool, deed: &Deed) -> Result<()> {
    let situation = Situation::read(tx, engine, contact).await?;
    let (entry, permissions) = match restricted {
        true => (Entry::Restricted, Vec::new()),
        false => (Entry::Unrestricted, ledger::granted(tx, &engine.controller, &situation.contact.subject).await?),
    };
    let body = situation.body(entry, deed, permissions);
    engine.append(tx, &body).await?;
    Ok(())
}

/// The person objects to all marketing (Art. 21(2)–(3) GDPR), on whatever way it came: every channel, every purpose, every number.
pub async fn object(tx: &mut Tx, engine: &Engine, contact: i64, deed: &Deed) -> Result<()> {
    close_by(tx, engine, contact, Act::SaidStop, deed).await
}

/// The number is not the person's any more.
pub async fn number_changed(tx: &mut Tx, engine: &Engine, contact: i64, deed: &Deed) -> Result<()> {
    close_by(tx, engine, contact, Act::WrongPerson, deed).await
}

async fn close_by(tx: &mut Tx, engine: &Engine, contact: i64, said: Act, deed: &Deed) -> Result<()> {
    let mut situation = Situation::read(tx, engine, contact).await?;
    act(tx, engine, &mut situation, said, deed, &[]).await?;
    Ok(())
}

/// The provider holds an opt-out of this person: ours from now on, too.
pub async fn gateway_opt_out(tx: &mut Tx, engine: &Engine, contact: i64) -> Result<()> {
    let now = engine.now();
    stop_by_other(tx, engine, contact, Entry::Stopped, "gateway", &format!("opted out at the gateway, {now}")).await
}

/// An operator read an unclear reply as a stop. An operator may say stop or nothing, never yes.
pub async fn operator_stop(tx: &mut Tx, engine: &Engine, contact: i64, evidence: &str) -> Result<()> {
    stop_by_other(tx, engine, contact, Entry::OperatorStop, "operator", evidence).await
}

async fn stop_by_other(
    tx: &mut Tx,
    engine: &Engine,
    contact: i64,
    entry: Entry,
    channel: &'static str,
    evidence: &str,
) -> Result<()> {
    let now = engine.now();
    let mut situation = Situation::read(tx, engine, contact).await?;
    if situation.contact.is_erased() {
        return Ok(());
    }
    let deed = Deed { at: now, channel, action: "stop", evidence: evidence.to_owned(), text_hash: None };
    let body = situation.body(entry, &deed, Vec::new());
    engine.append(tx, &body).await?;
    suppress(tx, engine, &situation, Reason::Stopped, &deed).await?;
    if let Some(conversation) = &mut situation.conversation {
        conversation.state = State::Stopped.code().to_owned();
        conversation.closed_at = Some(now);
        conversations::save(tx, conversation).await?;
    }
    Ok(())
}
