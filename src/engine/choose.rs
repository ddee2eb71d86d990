//! The preference page's two verbs: [`look`] reads and changes nothing at all, [`submit`] is the person's own act.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use chrono::NaiveDate;

use super::answer;
use super::code::{self, Step};
use super::confirm::{self, Deed, Shown, Situation};
use super::{Engine, kept, mydata, notice, retried, rights, waiting};
use crate::clock::{DAY, instant};
use crate::domain::campaign::{Ask, Campaign, Mode};
use crate::domain::channel::{Channel, Permission, Purpose};
use crate::domain::consent::{Act, State};
use crate::domain::ledger::Entry;
use crate::domain::message::Kind;
use crate::domain::suppression::Reason;
use crate::domain::times::Times;
use crate::store::contacts::{Barred, Contact};
use crate::store::messages::Attempt;
use crate::store::{Tx, contacts, conversations, intakes, keep, ledger, messages, suppressions};
use crate::vault;

/// What the page shows. No number but its last three digits, no name (T7).
#[derive(Debug, Clone)]
pub struct View {
    /// Empty behind a link whose number is no contact here (`kept`).
    pub masked_number: String,
    pub locale: String,
    pub channels: Vec<Channel>,
    pub purposes: Vec<Purpose>,
    pub granted: BTreeSet<Permission>,
    /// When they want to be written to.
    pub times: Times,
    /// A first yes that waits for its second step.
    pub pending: Option<BTreeSet<Permission>>,
    pub reply_number: Option<String>,
    pub mode: Mode,
    /// Where the one-time code stands, while a first yes waits for it.
    pub code: Option<Step>,
    /// Now, microseconds: what the page reckons waiting times from.
    pub now: i64,
    /// Why nothing is sent to this person any more, if so.
    pub suppressed: Option<Reason>,
    /// The number is closed because its person has another one.
    pub number_changed: bool,
    /// And whether a no said again would end nothing, of the human's other numbers neither.
    pub no_is_said: bool,
    pub answered: Option<State>,
    /// The last entry of the ledger about this person: what it says, since when, and on which day where they live.
    pub last: Option<Last>,
    /// A first yes was said in the newest question, and its second step never came.
    pub lapsed: bool,
    /// The second yes is in, by message, and an operator reads something unclear first.
    pub yes_waits: bool,
    /// Where START is understood, for whoever said no in a way that the provider may know ([`Reason::may_be_blocked`]) and waits for a code.
    pub start_number: Option<String>,
    pub door: Door,
    pub source: Option<String>,
    pub brand: String,
    /// The version of the privacy notice that stands beside the choice.
    pub notice: String,
    /// The link of a test message: the page shows itself, and a submission changes nothing.
    pub test: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    pub entry: Entry,
    /// Microseconds.
    pub at: i64,
    pub day: NaiveDate,
}

/// What can still be said through a link. A no always can, unless nobody is left to say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Open,
    /// Too old to grant (T11).
    Expired,
    /// The use of this person's data is restricted (Art. 18 GDPR): nothing is granted until that is lifted.
    Restricted,
    /// They object, or want their data restricted or erased, and that is being seen to: nothing is granted meanwhile.
    Noted,
    /// No campaign sent the link, and the notice does not stand published as it reads now: nobody could consent beside it.
    Unready,
    /// The number turned out to be somebody else's (T16).
    Closed,
}

/// What a person submitted.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    Nothing,
    /// The boxes, and when they want to be written to; `None` where the form did not ask.
    Ticked(BTreeSet<Permission>, Option<Times>),
    /// The same from a page that is shown otherwise by now: no proof of what they said yes to, and a no all the same, to whatever of these
    /// `boxes` is not ticked. Pages of an earlier version do not say which they showed.
    Outdated {
        ticked: BTreeSet<Permission>,
        times: Option<Times>,
        boxes: BTreeSet<Permission>,
    },
    /// A one-time code, as it was typed.
    Code(String),
    /// The wish for another code.
    AnotherCode,
    /// Takes back one thing they allow.
    Withdraw(Permission),
    /// This number is not the person's we look for (T16).
    WrongNumber,
}

async fn found(tx: &mut Tx, engine: &Engine, token: &str) -> Result<Option<Attempt>> {
    Ok(messages::attempt_by_token(tx, &engine.controller, &vault::token_hash(token)).await?)
}

/// The campaign that sent the link, as it stood then; none behind what no campaign sent.
async fn campaign_of(tx: &mut Tx, engine: &Engine, attempt: &Attempt) -> Result<Option<Arc<Campaign>>> {
    Ok(match attempt.revision_id {
        Some(id) => Some(engine.revision(tx, id).await?),
        None => None,
    })
}

/// What keeps a page from taking a yes beside its notice; a campaign's page stands beside the one that it was started with.
async fn lacking(tx: &mut Tx, engine: &Engine, campaign: Option<&Campaign>) -> Result<Option<String>> {
    if campaign.is_some() { Ok(None) } else { notice::lacking(tx, engine).await }
}

fn can_grant(engine: &Engine, attempt: &Attempt, campaign: Option<&Campaign>) -> bool {
    let days = campaign.map_or(engine.config.link_days, |c| c.link_days);
    engine.now() < attempt.claimed_at + days * DAY
}

/// The last change of consent, on the day it was where the person lives, as far as that is known.
async fn last(tx: &mut Tx, engine: &Engine, contact: &Contact) -> Result<Option<Last>> {
    let entries = ledger::entries_of(tx, &engine.controller, &contact.subject).await?;
    let Some((_, _, kind, at, ..)) = entries.last() else { return Ok(None) };
    let zone = engine.zone_of(contact.zone.as_deref(), contact.country.as_deref());
    let day = instant(*at).with_timezone(&zone).date_naive();
    Ok(Entry::parse(kind).map(|entry| Last { entry, at: *at, day }))
}

/// The number of this gateway's to which people can write.
pub(super) fn start_number(engine: &Engine, gateway: &str) -> Option<String> {
    let senders = || engine.config.senders.iter().filter(|s| s.gateway == gateway && s.channel == Channel::Sms);
    senders().find_map(|s| s.reply_number.clone()).or(senders().find(|s| s.two_way).map(|s| s.id.clone()))
}

/// What a yes behind a link is said to: what the page offers, and beside which notice.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The language of the message.
    pub locale: String,
    pub purposes: Vec<Purpose>,
    pub channels: Vec<Channel>,
    pub notice: String,
}

/// As [`look`] shows it; `None` where nothing can be allowed behind the token, or there is nothing. Reads only.
pub async fn offer(engine: &Engine, token: &str) -> Result<Option<Offer>> {
    let mut tx = engine.store.read().await?;
    let Some(attempt) = found(&mut tx, engine, token).await? else { return Ok(None) };
    let campaign = campaign_of(&mut tx, engine, &attempt).await?;
    let notice = notice::standing(&mut tx, engine).await?;
    tx.rollback().await?;
    let (purposes, channels) = offered(engine, campaign.as_deref());
    Ok(Some(Offer { locale: attempt.locale, purposes, channels, notice }))
}

/// What is behind a token; `None` where there is nothing. Reads only.
pub async fn look(engine: &Engine, token: &str) -> Result<Option<View>> {
    let mut tx = engine.store.read().await?;
    let Some(attempt) = found(&mut tx, engine, token).await? else { return kept::look(&mut tx, engine, token).await };
    let contact = contacts::by_id(&mut tx, attempt.contact_id).await?.context("the contact is gone")?;
    let situation = Situation::of(&mut tx, engine, contact).await?;
    let number = engine.vault.decrypt_number(&situation.contact.number_enc)?;
    let campaign = campaign_of(&mut tx, engine, &attempt).await?;
    let granted = ledger::granted(&mut tx, &engine.controller, &situation.contact.subject).await?;
    let keyed = engine.vault.keyed_all(&number);
    let live = suppressions::of(&mut tx, &engine.controller, &keyed).await?;
    let suppressed = suppressions::live(&live).max();
    let no_is_said = confirm::ends_nothing(&mut tx, engine, &keyed, suppressed).await?;
    let number_changed = rights::gave_way(&mut tx, engine, &keyed, &live).await?.is_some();
    let evidence = contacts::evidence_of(&mut tx, situation.contact.id).await?;
    let source = match evidence.first() {
        Some(imported) => Some(imported.source.clone()),
        None => intakes::of_contact(&mut tx, situation.contact.id).await?.into_iter().next().map(|(source, _)| source),
    };
    // None is opened beside one that is open.
    let newest = match &situation.conversation {
        Some(open) => Some(open.clone()),
        None => conversations::newest_of(&mut tx, situation.contact.id).await?,
    };
    let code = code::look(&mut tx, engine, &situation, &vault::token_hash(token)).await?;
    let yes_waits = waiting::is_in(&mut tx, &situation).await?;
    let last = last(&mut tx, engine, &situation.contact).await?;
    let barred = contacts::barred(&mut tx, attempt.contact_id).await?;
    let lapsed = newest.as_ref().filter(|c| c.state == State::Expired.code() && c.pending.is_some()).and_then(|c| c.first_yes_at);
    // Whether a second step came a restored copy cannot say of whoever answered since it was made.
    let lapsed = match lapsed {
        Some(first) => keep::answered(&mut tx, situation.contact.id).await?.is_none_or(|answered| answered <= first),
        None => false,
    };
    let notice = notice::standing(&mut tx, engine).await?;
    let lacking = lacking(&mut tx, engine, campaign.as_deref()).await?;
    tx.rollback().await?;
    if let Some(problem) = &lacking {
        tracing::error!(problem, "A page that no campaign sent takes no yes");
    }
    let state = newest.as_ref().and_then(|c| State::parse(&c.state));
    let pending =
        (situation.state() == Some(State::Pending)).then(|| confirm::pending_of(&situation).into_iter().collect::<BTreeSet<_>>());
    let ask = match &campaign {
        Some(campaign) => campaign.ask(attempt.channel()).cloned(),
        None => ask_of(engine, &situation, &attempt),
    };
    let (purposes, channels) = offered(engine, campaign.as_deref());
    let mut view = View {
        masked_number: number.masked(),
        locale: attempt.locale.clone(),
        channels,
        purposes,
        granted: granted.into_iter().collect(),
        times: situation.contact.times(),
        pending,
        reply_number: ask
            .as_ref()
            .and_then(|a| if a.sender.two_way { Some(a.sender.id.clone()) } else { a.sender.reply_number.clone() }),
        mode: ask.as_ref().map_or(Mode::Reply, |a| a.mode),
        code,
        now: engine.now(),
        suppressed,
        number_changed,
        no_is_said,
        answered: state,
        last,
        yes_waits,
        lapsed,
        start_number: ask
            .as_ref()
            .filter(|a| a.mode == Mode::LinkCode && suppressed.is_some_and(Reason::may_be_blocked))
            .and_then(|a| start_number(engine, &a.sender.gateway)),
        door: match () {
            _ if suppressed == Some(Reason::WrongPerson) => Door::Closed,
            // However old the link is: what stands and is not used is no permission to list.
            _ if barred == Some(Barred::Restricted) => Door::Restricted,
            _ if barred == Some(Barred::Noted) => Door::Noted,
            _ if !can_grant(engine, &attempt, campaign.as_deref()) => Door::Expired,
            _ if lacking.is_some() => Door::Unready,
            _ => Door::Open,
        },
        source,
        brand: campaign.as_deref().map_or_else(|| engine.config.controller.brand.clone(), |c| c.brand.clone()),
        notice,
        test: attempt.kind == Kind::Test.code(),
    };
    if view.test {
        // As somebody sees it who has just been asked.
        view = View {
            granted: BTreeSet::new(),
            times: Times::default(),
            pending: None,
            code: None,
            suppressed: None,
            number_changed: false,
            no_is_said: false,
            answered: None,
            last: None,
            lapsed: false,
            yes_waits: false,
            start_number: None,
            door: Door::Open,
            ..view
        };
    }
    Ok(Some(view))
}

/// What the page offers behind a link of this campaign's, each purpose by each channel; where no campaign sent it, all that the company
/// offers, as its notice says.
fn offered(engine: &Engine, campaign: Option<&Campaign>) -> (Vec<Purpose>, Vec<Channel>) {
    match campaign {
        Some(campaign) => (campaign.page_purposes.clone(), campaign.page_channels.clone()),
        None => {
            let (channels, purposes) = engine.config.offered();
            (purposes.iter().copied().collect(), channels.iter().copied().collect())
        }
    }
}

/// How the page behind the link of a message in that language was shown, which offered these purposes by these channels.
pub type Spoken<'a> = dyn Fn(&str, &[Purpose], &[Channel]) -> Shown<'a> + Sync + 'a;

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    Done,
    /// It ticks only what is not offered, or says when they want to be written to and ticks nothing, and unticks nothing that they allow:
    /// neither a yes nor a no. Nothing is kept.
    NothingChosen,
    /// What it newly ticks was shown otherwise, and is not taken; what it unticks is.
    Outdated,
    /// The link is too old to grant; a no would have been taken.
    TooOld,
    Unknown,
}

/// Takes a submission: idempotent, since phones and people send forms twice. Only *nothing ticked* or *no to everything* is a
/// refusal; an unticked box beside a ticked one is "not given", or a withdrawal where it was granted, and suppresses nobody. Times alone
/// refuse nothing.
///
/// `spoken` says how the page behind the link was shown, for the proof.
pub async fn submit(engine: &Engine, token: &str, choice: &Choice, spoken: &Spoken<'_>) -> Result<Submitted> {
    retried(|| try_submit(engine, token, choice, spoken)).await
}

async fn try_submit(engine: &Engine, token: &str, choice: &Choice, spoken: &Spoken<'_>) -> Result<Submitted> {
    let mut tx = engine.store.write().await?;
    let now = engine.now();
    let Some(attempt) = found(&mut tx, engine, token).await? else { return kept::submit(tx, engine, token, choice).await };
    // A colleague's tick on a test message is nobody's answer.
    if attempt.kind == Kind::Test.code() {
        return Ok(Submitted::Done);
    }
    let Some(contact) = contacts::lock(&mut tx, attempt.contact_id).await? else { return Ok(Submitted::Unknown) };
    let mut situation = Situation::of(&mut tx, engine, contact).await?;
    let campaign = campaign_of(&mut tx, engine, &attempt).await?;
    let barred = contacts::barred(&mut tx, attempt.contact_id).await?.is_some();
    let can_grant = can_grant(engine, &attempt, campaign.as_deref());
    let (purposes, channels) = offered(engine, campaign.as_deref());
    let mut shown = spoken(&attempt.locale, &purposes, &channels);
    if barred || !can_grant || matches!(choice, Choice::Outdated { .. }) {
        // The boxes do not stand on it then, or stood on it otherwise.
        shown.page = None;
    }
    situation.on_page(&mut tx, engine, &attempt, Some(shown)).await?;
    messages::settle_by_person(&mut tx, attempt.contact_id, now).await?;
    let granted = ledger::granted(&mut tx, &engine.controller, &situation.contact.subject).await?;
    let granted: BTreeSet<Permission> = granted.into_iter().collect();
    let offered = |p: &Permission| channels.contains(&p.channel) && purposes.contains(&p.purpose);
    let (wanted, times) = match choice {
        Choice::Ticked(wanted, times) | Choice::Outdated { ticked: wanted, times, .. } => (wanted.clone(), times.as_ref()),
        Choice::Nothing | Choice::Withdraw(_) | Choice::WrongNumber | Choice::Code(_) | Choice::AnotherCode => Default::default(),
    };
    // What the page does not offer cannot be granted by asking for it.
    let ticked: BTreeSet<Permission> = wanted.iter().copied().filter(offered).collect();
    // Nor is what they had no box for taken back: it was allowed elsewhere while the page stood open.
    let had_box = |p: &Permission| match choice {
        Choice::Outdated { boxes, .. } => boxes.is_empty() || boxes.contains(p),
        _ => offered(p),
    };
    let unticked: Vec<Permission> = granted.iter().copied().filter(|p| offered(p) && had_box(p) && !ticked.contains(p)).collect();
    let token_hash = vault::token_hash(token);
    let deed = Deed::on_page(now, "form_post", &token_hash);

    if let Choice::Code(_) | Choice::AnotherCode = choice {
        if !can_grant {
            return Ok(Submitted::TooOld);
        }
        if barred {
            return Ok(Submitted::Done);
        }
        match (choice, ask_of(engine, &situation, &attempt)) {
            (Choice::Code(text), _) => code::take(&mut tx, engine, &mut situation, text, &token_hash).await?,
            (_, Some(ask)) => {
                code::again(&mut tx, engine, &situation, &ask, &completing(&situation, &attempt), &token_hash).await?
            }
            (_, None) => {}
        }
        tx.commit().await?;
        return Ok(Submitted::Done);
    }

    if *choice == Choice::WrongNumber {
        if !is_closed(&mut tx, engine, &situation).await? {
            confirm::act(&mut tx, engine, &mut situation, Act::WrongPerson, &deed, &[]).await?;
        }
        tx.commit().await?;
        return Ok(Submitted::Done);
    }

    // One thing alone, by name: as a no it is taken by any link, and an empty form says no to everything.
    if let Choice::Withdraw(permission) = choice {
        confirm::take_back_one(&mut tx, engine, &mut situation, &deed, *permission).await?;
        tx.commit().await?;
        return Ok(Submitted::Done);
    }

    // Whoever wants only what is not to be had has said yes to nothing, and no to nothing either. Nor has whoever says when said no, and a yes
    // of theirs that waits goes on waiting; but whoever unticks what they allow has said no.
    let says_when = times.is_some_and(|times| !times.is_any());
    if ticked.is_empty() && unticked.is_empty() && (!wanted.is_empty() || says_when) {
        return Ok(if can_grant { Submitted::NothingChosen } else { Submitted::TooOld });
    }

    if wanted.is_empty() {
        if !confirm::is_said(&mut tx, engine, &situation.keyed(engine)?, Reason::Refused).await? {
            confirm::act(&mut tx, engine, &mut situation, Act::SaidNo, &deed, &[]).await?;
        }
        tx.commit().await?;
        return Ok(Submitted::Done);
    }

    // It narrows what is sent and grants nothing, so it counts at once.
    if let Some(times) = times
        && !is_closed(&mut tx, engine, &situation).await?
    {
        confirm::set_times(&mut tx, engine, &mut situation, &deed, times).await?;
    }
    confirm::take_back(&mut tx, engine, &mut situation, &deed, unticked).await?;
    let new: Vec<Permission> = ticked.difference(&granted).copied().collect();
    if new.is_empty() {
        // A later submission replaces an earlier pending one, also when it asks for nothing new.
        confirm::drop_pending(&mut tx, engine, &mut situation).await?;
        tx.commit().await?;
        return Ok(Submitted::Done);
    }
    if barred {
        tx.commit().await?;
        return Ok(Submitted::Done);
    }
    if is_closed(&mut tx, engine, &situation).await? || !can_grant {
        tx.commit().await?;
        return Ok(Submitted::TooOld);
    }
    if matches!(choice, Choice::Outdated { .. }) {
        tx.commit().await?;
        return Ok(Submitted::Outdated);
    }
    if let Some(problem) = lacking(&mut tx, engine, campaign.as_deref()).await? {
        // The page says so, as it did when it was shown.
        tracing::error!(problem, "A yes on a page that no campaign sent was not taken");
        tx.commit().await?;
        return Ok(Submitted::Done);
    }
    if situation.notice.1.is_none() {
        let (version, shown) = (&situation.notice.0, situation.shown_in.as_ref().unwrap_or(&attempt.locale));
        // What was unticked and when to write stand all the same.
        tx.commit().await?;
        bail!(
            "notice {version} is not published in `{shown}`, so nobody can consent beside it; remedy: `permesso notice publish`"
        );
    }
    if situation.state() != Some(State::Pending) || confirm::pending_of(&situation) != new {
        choose(&mut tx, engine, &mut situation, &attempt, &deed, &new, &token_hash).await?;
    }
    tx.commit().await?;
    Ok(Submitted::Done)
}

/// Whether the number turned out to be somebody else's: nothing can be granted for it any more.
async fn is_closed(tx: &mut Tx, engine: &Engine, situation: &Situation) -> Result<bool> {
    let live = suppressions::of(tx, &engine.controller, &situation.keyed(engine)?).await?;
    Ok(suppressions::live(&live).any(|reason| reason == Reason::WrongPerson))
}

/// How the campaign asks whose link was used. It may not ask by the channel of one that was handed over.
fn ask_of(engine: &Engine, situation: &Situation, attempt: &Attempt) -> Option<Ask> {
    by_code(engine, situation, attempt).or_else(|| {
        let (_, campaign) = situation.campaign.as_ref()?;
        campaign.ask(attempt.channel()).or(campaign.asks.first()).cloned()
    })
}

/// The link that was used, as that of the campaign whose open question is answered behind it, where no campaign sent it: what completes the
/// answer has that one's texts, buttons and templates.
fn completing(situation: &Situation, attempt: &Attempt) -> Attempt {
    let question = situation.conversation.as_ref().filter(|_| attempt.revision_id.is_none());
    let (campaign_id, revision_id) =
        question.map_or((attempt.campaign_id, attempt.revision_id), |c| (c.campaign_id, c.revision_id));
    Attempt { campaign_id, revision_id, ..attempt.clone() }
}

/// Behind a link that no campaign sent (it came on a form, or with an answer to somebody whom none has asked) no campaign asks. What they add
/// there is completed by a code, by SMS wherever there is a sender of it: from that of the link, if it is one. A question of a campaign that is
/// open is completed its own way.
fn by_code(engine: &Engine, situation: &Situation, attempt: &Attempt) -> Option<Ask> {
    let asked = situation.conversation.as_ref().is_some_and(|c| c.campaign_id.is_some());
    let sender = mydata::code_sender(engine, &attempt.sender).filter(|_| attempt.revision_id.is_none() && !asked)?.clone();
    Some(Ask { channel: sender.channel, mode: Mode::LinkCode, sender, template: String::new(), texts: Default::default() })
}

/// A first yes on the page, in the open conversation or in a new one that the person opens by it.
async fn choose(
    tx: &mut Tx,
    engine: &Engine,
    situation: &mut Situation,
    attempt: &Attempt,
    deed: &Deed,
    new: &[Permission],
    token_hash: &str,
) -> Result<()> {
    let ask = ask_of(engine, situation, attempt);
    if situation.conversation.is_none() {
        let mode = ask.as_ref().map_or(Mode::Reply, |a| a.mode);
        let opening =
            conversations::Opening { contact: situation.contact.id, message: attempt.message_id, expires_at: engine.now() + DAY };
        let (campaign, revision) = (attempt.campaign_id, attempt.revision_id);
        conversations::open(tx, &engine.controller, campaign, revision, mode.code(), &[opening], engine.now()).await?;
        situation.conversation = conversations::open_of(tx, situation.contact.id).await?;
    }
    let outcome = confirm::act(tx, engine, situation, Act::Chose, deed, new).await?;
    let attempt = &completing(situation, attempt);
    if outcome.send_code
        && let Some(ask) = &ask
    {
        code::plan(tx, engine, situation, ask, attempt, token_hash).await?;
    }
    if outcome.send_confirmation
        && let Some(ask) = ask
    {
        let locale = attempt.locale.clone();
        let from = answer::From {
            gateway: &ask.sender.gateway,
            sender: &ask.sender.id,
            channel: ask.channel.code(),
            campaign: attempt.campaign_id,
            revision: attempt.revision_id,
            locale: &locale,
        };
        let conversation = situation.conversation.as_ref().map_or(0, |c| c.id);
        let cause = format!("page:{conversation}:{}", deed.at);
        let message = answer::plan(tx, engine, &situation.contact, &from, Kind::Confirm, conversations::CONFIRM, &cause).await?;
        if let Some(conversation) = &mut situation.conversation {
            conversation.confirm_message_id = message;
            conversations::save(tx, conversation).await?;
        }
    }
    Ok(())
}
