//! Receive what gateways tell: inbound messages become acts, receipts move messages on (`receipts`). Stored first, once, and together
//! with everything that follows, so that a 2xx means it is on disk.

use anyhow::Result;

use super::confirm::{self, Deed, Situation};
use super::receipts::{self, Told};
use super::{Engine, answer, early, entry, hidden, late, legs, notify, outcome, retried, storable, waiting};
use crate::clock::HOUR;
use crate::domain::answer::By;
use crate::domain::button::Tap;
use crate::domain::campaign::Mode;
use crate::domain::channel::Channel;
use crate::domain::consent::{self, Act, counts_at, is_second_act};
use crate::domain::ledger::FirstYes;
use crate::domain::message::Kind;
use crate::domain::phone::PhoneNumber;
use crate::domain::reply::{Intent, Why};
use crate::domain::suppression::Reason;
use crate::gateway::driver::OF_CONTENT;
use crate::gateway::{self, Event, Handled};
use crate::store::contacts::Barred;
use crate::store::inbound::{ERASED, NewInbound};
use crate::store::messages::Attempt;
use crate::store::{Tx, answers, contacts, conversations, humans, inbound, keep, messages, suppressions};
use crate::vault::Keyed;

/// Begins the id of a message at WhatsApp.
const WAMID: &str = "wamid.";

/// For the fingerprint by which a message without an id is known again.
const AGAIN: &str = "said";

/// Effect of a yes that counts for nothing.
pub(super) fn ignored(why: Barred) -> &'static str {
    match why {
        Barred::Restricted => "ignored: the use of the data is restricted",
        Barred::Noted => "ignored: a request about the data is noted, and not carried out yet",
    }
}

/// After its person wrote, WhatsApp takes free text for 24 hours; an hour is left for the way to the provider. Whatever is answered later
/// goes as an approved template or not at all.
const FREE_TEXT: i64 = 23 * HOUR;

/// What the gateway and its event look like to the verbs below.
pub(super) struct Heard<'a> {
    pub(super) gateway: &'a str,
    pub(super) event_id: &'a str,
    pub(super) to: &'a str,
    pub(super) channel: Channel,
    pub(super) intent: Intent,
    /// The message whose button was tapped.
    pub(super) tapped: Option<i64>,
    pub(super) said_at: Option<i64>,
    /// When it reached us: one that waited under a hidden id is judged by that, not by when we learned whose it is.
    pub(super) received_at: i64,
    /// The provider has answered them already, or it is too late to.
    pub(super) answered: bool,
    pub(super) text_hash: String,
}

impl Heard<'_> {
    /// When what they said counts, microseconds; none where it is not believed at all.
    fn counts(&self) -> Option<i64> {
        match self.said_at {
            None if no_by(self.intent).is_some() => Some(self.received_at),
            // Read late, and nobody knows how late.
            Some(gateway::SOMETIME) => Some(self.received_at),
            said_at => counts_at(self.intent == Intent::OptIn, said_at.unwrap_or(self.received_at), self.received_at),
        }
    }
}

/// Takes in a slice of authentic events in a transaction of its own.
pub async fn store(engine: &Engine, gateway: &str, events: &[Event]) -> Result<()> {
    store_all(engine, &[(gateway, events)]).await
}

/// Takes in several calls' events in one transaction, again where it met another one head-on: most gateways do not repeat a
/// callback that failed.
pub async fn store_all(engine: &Engine, calls: &[(&str, &[Event])]) -> Result<()> {
    retried(|| async move {
        let mut tx = engine.store.write().await?;
        receive_all(&mut tx, engine, calls).await?;
        Ok(tx.commit().await?)
    })
    .await
}

/// Calls in the order they came, neighbours of one gateway together: what is unclear holds a yes that came after it.
async fn receive_all(tx: &mut Tx, engine: &Engine, calls: &[(&str, &[Event])]) -> Result<()> {
    for neighbours in calls.chunk_by(|(one, _), (next, _)| one == next) {
        let events: Vec<&Event> = neighbours.iter().flat_map(|(_, events)| *events).collect();
        receive(tx, engine, neighbours[0].0, &events).await?;
    }
    Ok(())
}

/// Takes in a slice of authentic events in the caller's transaction. An event known already changes nothing. Receipts come first: they
/// and what people write overtake each other on the way here anyway, and mean the same in any order. Only a yes is ever taken for one
/// that is told again: a second yes would be the second act of one person who acted once, while a no does no harm twice and is lost if it
/// is taken for an earlier one (promises 2 and 5).
pub async fn receive(tx: &mut Tx, engine: &Engine, gateway: &str, events: &[&Event]) -> Result<()> {
    let events: Vec<Event> = events.iter().map(|event| keyed(engine, storable::event(event))).collect();
    let told: Vec<_> = events.iter().filter_map(Told::of).collect();
    if !told.is_empty() {
        receipts::receive(tx, engine, gateway, &told).await?;
    }
    for event in &events {
        match event {
            Event::Receipt { .. } => {}
            Event::Answered { said, at } => {
                inbound::answered(tx, &engine.controller, gateway, &engine.vault.fingerprint(AGAIN, said), *at).await?;
            }
            Event::Unreadable { event_id, body, why } => {
                // It waits in the operator's inbox.
                keep(tx, engine, gateway, event_id, &format!("{why}: {body}"), "held").await?;
            }
            Event::Note { event_id, body, pause } => {
                let new = keep(tx, engine, gateway, event_id, body, "noted").await?;
                if let (true, Some(reason)) = (new, pause) {
                    outcome::pause(tx, engine, gateway, None, reason).await?;
                }
            }
            Event::Inbound { event_id, from, user, answers, to, channel, text, button, at, handled, again } => {
                let tap = button.as_deref().and_then(Tap::parse);
                let tapped_under = match tap {
                    Some((_, reference)) => messages::attempt_by_reference(tx, &engine.controller, reference).await?,
                    None => None,
                };
                let answers = match answers {
                    Some(provider_id) => messages::attempt_by_provider_id(tx, gateway, provider_id).await?,
                    None => None,
                };
                let user = user.as_deref().map(|id| engine.vault.user(id));
                let from = match from {
                    Some(number) => Some(number.clone()),
                    // A tap says itself what it answers, also before we learned that message's id.
                    None => hidden::number(tx, engine, answers.as_ref().or(tapped_under.as_ref()), user.as_ref()).await?,
                };
                let to = engine.config.sender_at(gateway, *channel, to);
                let mut keyed = from.as_ref().map(|from| engine.vault.keyed_all(from)).unwrap_or_default();
                let Some(primary) = keyed.last().or(user.as_ref()).cloned() else {
                    let why = "a user who hides the number, without an id, and it answers no message of ours that we know";
                    keep(tx, engine, gateway, event_id, &format!("{why}: {text}"), "held").await?;
                    continue;
                };
                let contact = contacts::by_number(tx, &engine.controller, &keyed).await?;
                match (&contact, user) {
                    (Some(contact), Some(user)) => hidden::learn(tx, engine, &[(user, contact.id)]).await?,
                    // A stranger's no counts under the id, too, and one that stands there is the number's from now on.
                    (None, Some(user)) => {
                        if let Some(number) = &from {
                            hidden::carry_over(tx, engine, &user, number).await?;
                        }
                        keyed.push(user);
                    }
                    (_, None) => {}
                }
                // People answer in the language they were asked in.
                let asked = match &contact {
                    Some(contact) => messages::newest_ask(tx, contact.id).await?,
                    None => None,
                };
                let locale = asked.as_ref().map(|a| &a.locale).or(contact.as_ref().and_then(|c| c.locale.as_ref()));
                let locale = locale.unwrap_or(&engine.config.default_locale);
                let (intent, tapped) = match tap {
                    // A button without our mark: what its title says counts for the message it stands under, if this person got it. Under any
                    // other, only a no counts.
                    None if button.is_some() => {
                        let own = answers.filter(|a| Some(a.contact_id) == contact.as_ref().map(|c| c.id));
                        match engine.classifier().classify(locale, text) {
                            Intent::OptIn | Intent::Help if own.is_none() => (Intent::Unclear, None),
                            intent => (intent, own),
                        }
                    }
                    None => (read(tx, engine, contact.as_ref().map(|c| c.id), locale, text).await?, None),
                    Some((tap, _)) => {
                        let own = tapped_under.filter(|a| Some(a.contact_id) == contact.as_ref().map(|c| c.id));
                        match (tap, own) {
                            (tap, Some(attempt)) => (tap.intent(), Some(attempt)),
                            // A yes to a message this person never got is no yes; a no counts wherever it comes from.
                            (Tap::Yes, None) => (Intent::Unclear, None),
                            (tap, None) => (tap.intent(), None),
                        }
                    }
                };
                let intent = as_handled(*handled, intent);
                let said = again.as_ref().map(|again| engine.vault.fingerprint(AGAIN, &again.said));
                if let (Intent::OptIn, Some(again), Some(said), Some(contact)) = (intent, again, &said, &contact)
                    && again.within > 0
                {
                    // Another process may be storing the same at this moment.
                    contacts::lock(tx, contact.id).await?;
                    if inbound::said_since(tx, &engine.controller, gateway, said, engine.now() - again.within).await? {
                        continue;
                    }
                }
                let body_enc = engine.vault.encrypt("inbound", text)?;
                let new = NewInbound {
                    event_id,
                    mac: &primary.mac,
                    key_id: primary.key_id,
                    contact: contact.as_ref().map(|c| c.id),
                    to_sender: to,
                    channel: channel.code(),
                    body_enc: &body_enc,
                    intent: intent.key(),
                    at: at.filter(|at| *at != gateway::SOMETIME).unwrap_or_else(|| engine.now()),
                    said: said.as_deref(),
                };
                let Some(id) = inbound::add_inbound(tx, &engine.controller, gateway, &new, engine.now()).await? else { continue };
                let heard = Heard {
                    gateway,
                    event_id,
                    to,
                    channel: *channel,
                    intent,
                    tapped: tapped.as_ref().map(|attempt| attempt.message_id),
                    said_at: *at,
                    received_at: engine.now(),
                    answered: handled.is_some(),
                    text_hash: engine.vault.fingerprint("reply", text),
                };
                // A yes said where they were asked answers that, whether it is tapped or typed: a button says itself under which message it
                // stands, and words are of no ask that left after them.
                let said_since = |leg: &Attempt| heard.counts().is_some_and(|at| at >= leg.claimed_at);
                let typed =
                    asked.filter(|a| intent == Intent::OptIn && a.channel() == *channel && a.sender == to && said_since(a));
                if let Some(leg) = tapped.as_ref().or(typed.as_ref()) {
                    legs::was_answered(tx, engine, leg).await?;
                }
                // Words that say neither yes nor no, with one of ours in them: somebody comes by a link or a QR code.
                let neither = button.is_none() && matches!(intent, Intent::Unclear | Intent::Help);
                let unknown = contact.is_none();
                let (whose, effect) = match (&from, contact, engine.config.entry_of(text).filter(|_| neither)) {
                    (Some(from), contact, Some(entry)) => entry::come(tx, engine, contact, from, &keyed, entry, &heard).await?,
                    (Some(from), Some(contact), None) => {
                        (None, reply(tx, engine, contact.id, from, &keyed, &heard).await?.to_owned())
                    }
                    // Of a number that is hidden there is no contact, and nothing can be sent to it.
                    (from, _, _) => (None, reply_of_stranger(tx, engine, from.as_ref(), &keyed, &heard).await?.to_owned()),
                };
                // By which they came is theirs, too.
                if let Some(contact) = whose.filter(|_| unknown) {
                    inbound::give(tx, id, contact).await?;
                }
                inbound::set_effect(tx, id, &effect).await?;
                if effect == ERASED {
                    inbound::blank(tx, id).await?;
                }
            }
        }
    }
    Ok(())
}

/// The event with a keyed id where its driver made the id of what it says: ids outlive an erasure, and a plain hash of a number and a few
/// words can be guessed back. The key is the oldest, which never goes, so that an event told again after a rotation is known.
fn keyed(engine: &Engine, mut event: Event) -> Event {
    if let Event::Receipt { event_id, .. }
    | Event::Unreadable { event_id, .. }
    | Event::Note { event_id, .. }
    | Event::Inbound { event_id, .. } = &mut event
        // A `wamid`, by whatever provider it comes, holds the person's number in Base64.
        && let Some(content) = event_id.strip_prefix(OF_CONTENT).or_else(|| event_id.contains(WAMID).then_some(event_id.as_str()))
    {
        *event_id = format!("{OF_CONTENT}{}", engine.vault.fingerprint("event", content));
    }
    event
}

/// What a message says, to an ask in `locale`. The step that completes a choice may be said, too, in the language of the page on which the
/// choice was made: that is the one in which the page asks for it.
async fn read(tx: &mut Tx, engine: &Engine, contact: Option<i64>, locale: &str, text: &str) -> Result<Intent> {
    let (intent, why) = engine.classifier().explain(locale, text);
    // A word that the ask's own language doubts is doubtful.
    let (Some(contact), Intent::Unclear, Why::Unknown) = (contact, intent, why) else { return Ok(intent) };
    let first = conversations::open_of(tx, contact).await?.filter(|c| c.state == consent::State::Pending.code());
    let first = first.and_then(|c| serde_json::from_str::<FirstYes>(c.first_yes.as_deref()?).ok());
    let shown_in = first.filter(|first| first.channel == "page").and_then(|first| first.locale);
    Ok(match shown_in.map(|locale| engine.classifier().classify(&locale, text)) {
        Some(Intent::OptIn) => Intent::OptIn,
        _ => intent,
    })
}

/// What a message means whose words the provider's own opt-out handling may know better than we do. That handling says no yes.
fn as_handled(handled: Option<Handled>, read: Intent) -> Intent {
    match (handled, read) {
        (Some(Handled::Stop), _) => Intent::Stop,
        (Some(Handled::Help), Intent::OptIn | Intent::Unclear) => Intent::Help,
        (Some(Handled::Help | Handled::Other) | None, read) => read,
    }
}

/// Stores an event that belongs to no person we can name; false where it is known already.
async fn keep(tx: &mut Tx, engine: &Engine, gateway: &str, event_id: &str, body: &str, effect: &str) -> Result<bool> {
    let body_enc = engine.vault.encrypt("inbound", body)?;
    let new = NewInbound {
        event_id,
        mac: "",
        key_id: 0,
        contact: None,
        to_sender: "",
        channel: "",
        body_enc: &body_enc,
        intent: Intent::Unclear.key(),
        at: engine.now(),
        said: None,
    };
    let Some(id) = inbound::add_inbound(tx, &engine.controller, gateway, &new, engine.now()).await? else { return Ok(false) };
    inbound::set_effect(tx, id, effect).await?;
    Ok(true)
}

/// A person we know said something. Answers what became of it, as a word for the record.
pub(super) async fn reply(
    tx: &mut Tx,
    engine: &Engine,
    contact: i64,
    from: &PhoneNumber,
    keyed: &[Keyed],
    heard: &Heard<'_>,
) -> Result<&'static str> {
    let now = engine.now();
    let mut situation = Situation::read(tx, engine, contact).await?;
    // Erased since we looked; or erased before, and handed a link to come back by, on whose page nothing was said yet: still nobody.
    let nobody = situation.contact.is_erased()
        || (situation.conversation.is_none() && suppressions::is_erased(tx, &engine.controller, keyed).await?);
    if nobody {
        return reply_of_stranger(tx, engine, Some(from), keyed, heard).await;
    }
    messages::settle_by_person(tx, contact, now).await?;
    answers::replied(tx, contact, By::Person, now).await?;
    let negative = no_by(heard.intent).is_some();
    // What was read late is no more than a first yes, since it may be older than what it would be the second step of.
    let sometime = heard.said_at == Some(gateway::SOMETIME);
    let Some(at) = heard.counts() else { return Ok("not believed: its time is impossible") };
    // What a restored copy has read to it once more of somebody who answered since it was made: they were answered then. A no is taken again.
    if matches!(heard.intent, Intent::OptIn | Intent::Help)
        && let Some(said_at) = heard.said_at
        && keep::answered(tx, contact).await?.is_some_and(|answered| said_at <= answered)
    {
        return Ok("ignored: answered before the copy was restored");
    }
    let mut deed = Deed {
        at,
        channel: heard.channel.code(),
        action: if heard.tapped.is_some() { "button" } else { "reply" },
        evidence: heard.event_id.to_owned(),
        text_hash: Some(heard.text_hash.clone()),
    };
    let act = match heard.intent {
        Intent::OptIn => {
            let Some(conversation) = &situation.conversation else { return Ok("ignored: no open question") };
            // It answers something else. The provider's clock may run behind ours, and a quick yes then looks older than its question; it is
            // given no time for that all the same, since two clocks that disagree speak for the no (promise 6), and a yes can be said again.
            if at < conversation.opened_at {
                return Ok("ignored: said before the question");
            }
            // A yes to some other number of ours answers some other question. A no counts wherever it is said. In link_code
            // no number takes answers and no reply grants, but whoever writes SI to one of ours gets help.
            if situation.mode() != Mode::LinkCode && !situation.was_asked_by(heard.to, heard.channel) {
                return Ok("ignored: said to another sender");
            }
            let first = conversation.first_yes_at.unwrap_or(i64::MAX);
            let second = match heard.tapped {
                None => !sometime && is_second_act(situation.mode(), first, conversation.confirm_accepted_at, at),
                // A tap says itself which question it answers: the confirmation's own button is the second act.
                Some(message) if conversation.confirm_message_id == Some(message) => true,
                Some(message) if situation.asked_in(message) => false,
                Some(_) => return Ok("ignored: answers another question"),
            };
            if second && let Some(kept) = waiting::must_wait(tx, &situation, heard.tapped.is_some()).await? {
                return Ok(kept);
            }
            Act::SaidYes { second }
        }
        Intent::Refuse => Act::SaidNo,
        Intent::Stop => Act::SaidStop,
        Intent::WrongPerson => Act::WrongPerson,
        Intent::Help => Act::AskedForHelp,
        Intent::Unclear => Act::Unclear,
    };
    if negative {
        // A person who opened a new conversation after this no counted, and completed a yes in it, has answered it already. What our clock,
        // once ahead and set back since, put into the future answers nothing.
        let newest = conversations::newest_of(tx, contact).await?;
        let answered = newest.is_some_and(|c| (at + 1..=now).contains(&c.opened_at) && c.state == consent::State::Granted.code());
        if answered && heard.intent != Intent::WrongPerson {
            let reason = if heard.intent == Intent::Refuse { Reason::Refused } else { Reason::Stopped };
            late::no(tx, engine, &situation, reason, &deed).await?;
            return Ok("a later yes stands, and what was granted before it ends");
        }
        // The entry stands when it was learned; when it counts decides above.
        deed.at = at.min(now);
    }
    let early = match act {
        Act::SaidYes { second } => early::of(tx, &situation, second, heard.tapped.is_some(), at).await?,
        _ => None,
    };
    let new_no = match no_by(heard.intent) {
        Some(reason) => !confirm::is_said(tx, engine, keyed, reason).await?,
        None => false,
    };
    let chosen = situation.campaign.as_ref().map(|(_, c)| c.asks_for.clone()).unwrap_or_default();
    let outcome = confirm::act(tx, engine, &mut situation, act, &deed, &chosen).await?;
    respond(tx, engine, &mut situation, heard, &outcome, new_no, early.as_ref().is_some_and(|early| early.tell)).await?;
    if outcome.outdated {
        return Ok("ignored: a newer no stands");
    }
    if let Some(why) = outcome.barred {
        return Ok(ignored(why));
    }
    if let Some(early) = early {
        return Ok(early.effect);
    }
    Ok(match (heard.intent, outcome.held) {
        (_, true) => "held",
        (Intent::OptIn, _) if outcome.send_confirmation => "first yes",
        _ => "applied",
    })
}

/// The no that a reply says, if it says one.
fn no_by(intent: Intent) -> Option<Reason> {
    match intent {
        Intent::Stop => Some(Reason::Stopped),
        Intent::Refuse => Some(Reason::Refused),
        Intent::WrongPerson => Some(Reason::WrongPerson),
        Intent::OptIn | Intent::Help | Intent::Unclear => None,
    }
}

/// Plans what is said back: a confirmation, or at most one neutral line.
async fn respond(
    tx: &mut Tx,
    engine: &Engine,
    situation: &mut Situation,
    heard: &Heard<'_>,
    outcome: &confirm::Outcome,
    new_no: bool,
    confirm_again: bool,
) -> Result<()> {
    let contact = &situation.contact;
    let from = answer::From::heard(engine, (heard.gateway, heard.to, heard.channel), situation.asked_by.as_ref(), contact);
    let late = is_late(engine, heard.channel, heard.said_at);
    let cause = format!("{}:{}:{}", if late { "late" } else { "event" }, heard.gateway, heard.event_id);
    if outcome.send_confirmation {
        let message = answer::plan(tx, engine, contact, &from, Kind::Confirm, conversations::CONFIRM, &cause).await?;
        if let Some(conversation) = &mut situation.conversation {
            conversation.confirm_message_id = message;
            conversations::save(tx, conversation).await?;
        }
    }
    if heard.answered || late {
        return Ok(());
    }
    if let Some(wording) = outcome.acknowledge {
        // Told apart from a no said again, which shares the one answer a day.
        let new = new_no.then(|| format!("{}{}:{}", messages::NEW_NO, heard.gateway, heard.event_id));
        answer::plan(tx, engine, contact, &from, Kind::Ack, wording, new.as_ref().unwrap_or(&cause)).await?;
    }
    if confirm_again {
        answer::plan(tx, engine, contact, &from, Kind::Help, conversations::CONFIRM, &cause).await?;
    }
    if outcome.help {
        // Who said yes and is answered with help may believe to have consented.
        let wording = if heard.intent == Intent::OptIn { "early_yes" } else { "help" };
        answer::plan(tx, engine, contact, &from, Kind::Help, wording, &cause).await?;
    }
    Ok(())
}

/// Whether what was said then is too old for free text to answer it.
pub(super) fn is_late(engine: &Engine, channel: Channel, said_at: Option<i64>) -> bool {
    channel == Channel::WhatsApp && said_at.is_some_and(|at| engine.now() > at + FREE_TEXT)
}

/// A number we do not know: a no needs no contact and no open ask, and its number is kept only as a keyed hash. The company's CRM
/// may know it all the same, so it is told. What nobody could read waits for an operator, and holds the number if it is imported
/// meanwhile, or the human to whom a list's row tied it: it may be a no. Where the number is hidden a no stands under the user's id, and
/// what they said waits until we learn whose that is (`hidden::adopt`), or an operator knows.
async fn reply_of_stranger(
    tx: &mut Tx,
    engine: &Engine,
    number: Option<&PhoneNumber>,
    keyed: &[Keyed],
    heard: &Heard<'_>,
) -> Result<&'static str> {
    let erased = suppressions::is_erased(tx, &engine.controller, keyed).await?;
    let reason = match (no_by(heard.intent), heard.intent) {
        (Some(reason), _) => reason,
        // They are written to by nobody, whatever they say: there is nothing for an operator to decide.
        _ if erased => return Ok(ERASED),
        (None, Intent::Unclear) => {
            // It holds the human to whom a list's row tied the number, whatever key that was under.
            humans::known_by(tx, &engine.controller, keyed).await?;
            return Ok("held");
        }
        (None, Intent::OptIn) if number.is_none() => return Ok("held"),
        (None, _) => return Ok("ignored: unknown number"),
    };
    confirm::no_of_number(tx, engine, keyed, reason, By::Person).await?;
    if let Some(number) = number {
        notify::no_of_stranger(tx, engine, number, reason).await?;
    }
    Ok(match number {
        _ if erased => ERASED,
        Some(_) => "applied",
        None => "held",
    })
}

/// What an operator's word did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    Done,
    /// The event names no number, so a stop would reach nobody.
    Nobody,
    /// Nothing waits under this id.
    NotWaiting,
}

/// An operator's word about an unclear reply: stop, or nothing. Never yes.
pub async fn resolve(tx: &mut Tx, engine: &Engine, inbound_id: i64, stop: bool, by: &str) -> Result<Resolved> {
    let now = engine.now();
    inbound::adopt(tx, &engine.controller, now).await?;
    let verdict = if stop { "stop" } else { "nothing" };
    let contact = match inbound::resolve(tx, &engine.controller, inbound_id, verdict, by, now).await? {
        None => return Ok(Resolved::NotWaiting),
        Some((Some(contact), _)) => contact,
        Some((None, keyed)) if keyed.mac.is_empty() => return Ok(Resolved::Nobody),
        Some((None, keyed)) => {
            // Whoever a list's row ties it to waited for this, too.
            let (held, _) = suppressions::reach(tx, &engine.controller, std::slice::from_ref(&keyed)).await?;
            for &number in &held {
                contacts::lock(tx, number).await?;
            }
            if stop {
                confirm::no_of_number(tx, engine, &[keyed], Reason::Stopped, By::Operator).await?;
            }
            for number in held {
                waiting::go_on_unless_held(tx, engine, number).await?;
            }
            return Ok(Resolved::Done);
        }
    };
    // A new unclear reply, or a yes that has to wait for this one, may be coming in at this moment, by whatever number.
    let numbers = contacts::lock_human(tx, contact).await?;
    if stop {
        confirm::operator_stop(tx, engine, contact, &format!("inbound {inbound_id}, resolved by {by}")).await?;
    }
    if inbound::still_held(tx, contact).await? == 0 {
        contacts::hold(tx, contact, None).await?;
    }
    for number in numbers {
        waiting::go_on_unless_held(tx, engine, number).await?;
    }
    Ok(Resolved::Done)
}
