//! Receipts, looked up, stored and moved on by the hundred: a handful of statements whatever their number. What has a consequence
//! beyond a message's state goes one by one.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;

use super::{Engine, confirm, hidden, legs, outcome};
use crate::clock::DAY;
use crate::domain::message::{Kind, Outcome, Receipt, State};
use crate::gateway::Event;
use crate::gateway::driver::Class;
use crate::store::inbound::{Matched, NewReceipt};
use crate::store::messages::{Attempt, Move, Settled};
use crate::store::{Tx, conversations, inbound, messages};

/// What a receipt says.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    status: Receipt,
    class: Option<Class>,
    error: Option<&'a str>,
    /// The recipient's id.
    user: Option<&'a str>,
}

impl<'a> Told<'a> {
    /// The receipt in an event, as it is stored and as it is read.
    pub fn of(event: &'a Event) -> Option<(NewReceipt<'a>, Told<'a>)> {
        let Event::Receipt { event_id, provider_id, reference, status, error, class, at, user } = event else { return None };
        let (reference, error) = (reference.as_deref(), error.as_deref());
        let stored =
            NewReceipt { event_id, provider_id, reference, status: status.code(), error, class: class.map(Class::code), at: *at };
        Some((stored, Told { status: *status, class: *class, error, user: user.as_deref() }))
    }
}

/// A receipt and the attempt it is about.
type Of<'a> = (Told<'a>, Attempt);

/// Takes in the receipts of one gateway, in the order they came. One known already changes nothing.
pub async fn receive(tx: &mut Tx, engine: &Engine, gateway: &str, told: &[(NewReceipt<'_>, Told<'_>)]) -> Result<()> {
    let attempts = attempts(tx, engine, gateway, told).await?;
    let messages: Vec<i64> = attempts.iter().flatten().map(|attempt| attempt.message_id).collect();
    let erased = messages::erased_among(tx, &messages).await?;
    let is_erased = |attempt: &Option<Attempt>| attempt.as_ref().is_some_and(|a| erased.contains(&a.message_id));
    let events: Vec<String> = told.iter().map(|(new, _)| hashed(engine, new.event_id)).collect();
    // It came before the answer that teaches its id, or that id went with whoever was erased: nobody knows.
    let hidden = |new, attempt: &Option<Attempt>| attempt.is_none().then(|| Hidden::of(engine, new)).transpose();
    let hidden: Vec<Option<Hidden>> =
        std::iter::zip(told, &attempts).map(|((new, _), attempt)| hidden(new, attempt)).collect::<Result<_>>()?;
    let stored: Vec<Matched<'_>> = std::iter::zip(std::iter::zip(told, &events), std::iter::zip(&attempts, &hidden))
        .map(|(((new, _), event), (attempt, hidden))| {
            let (receipt, attempt) = match hidden {
                Some(hidden) => (hidden.receipt(event, new), None),
                // Of somebody erased a keyed hash of the event is kept, so that it counts once, and nothing that leads back to them.
                None if is_erased(attempt) => {
                    (NewReceipt { event_id: event, provider_id: event, reference: None, error: None, ..*new }, None)
                }
                None => (*new, attempt.as_ref().map(|attempt| attempt.id)),
            };
            Matched { receipt, attempt, hashed: event }
        })
        .collect();
    let mut fresh = inbound::add_receipts(tx, &engine.controller, gateway, &stored, engine.now()).await?;
    let (mut learned, mut users) = (Vec::new(), Vec::new());
    let mut by_message: BTreeMap<i64, Vec<Of<'_>>> = BTreeMap::new();
    for ((new, told), (attempt, stored)) in std::iter::zip(told, std::iter::zip(attempts, &stored)) {
        // One event twice in one slice is one event.
        if let (true, Some(attempt)) = (fresh.remove(stored.receipt.event_id), attempt) {
            learned.push((attempt.id, new.provider_id));
            users.extend(told.user.map(|id| (engine.vault.user(id), attempt.contact_id)));
            by_message.entry(attempt.message_id).or_default().push((*told, attempt));
        }
    }
    inbound::learn_provider_ids(tx, &learned).await?;
    hidden::learn(tx, engine, &users).await?;

    by_message.retain(|_, of| !says_nothing_new(of));
    let moves: Vec<Move> = by_message.iter().filter_map(|(message, of)| plain(*message, of)).collect();
    let moved: HashSet<i64> = messages::move_on(tx, &moves, engine.now()).await?.into_iter().collect();
    by_message.retain(|message, _| !moved.contains(message));
    for (told, attempt) in by_message.into_values().flatten() {
        // An earlier one of this slice may have moved it on.
        let attempt = messages::attempt_by_reference(tx, &engine.controller, &attempt.reference).await?.unwrap_or(attempt);
        apply(tx, engine, gateway, &attempt, told).await?;
    }
    Ok(())
}

/// What a receipt names, as it is stored while nobody knows of which message it is: ids as keyed hashes, the error encrypted.
#[derive(Debug)]
struct Hidden {
    provider_id: String,
    error: Option<String>,
}

/// What an error is encrypted as.
const ERROR: &str = "receipt error";

impl Hidden {
    fn of(engine: &Engine, new: &NewReceipt<'_>) -> Result<Hidden> {
        let error = new.error.map(|error| engine.vault.encrypt(ERROR, error)).transpose()?;
        Ok(Hidden { provider_id: hashed(engine, new.provider_id), error })
    }

    fn receipt<'a>(&'a self, event_id: &'a str, new: &NewReceipt<'a>) -> NewReceipt<'a> {
        NewReceipt { event_id, provider_id: &self.provider_id, reference: None, error: self.error.as_deref(), ..*new }
    }
}

fn hashed(engine: &Engine, id: &str) -> String {
    engine.vault.fingerprint("receipt", id)
}

/// The attempt each receipt is about: by the provider's id, or by our own reference, which finds it even before the send's answer
/// taught us that id.
async fn attempts(
    tx: &mut Tx,
    engine: &Engine,
    gateway: &str,
    told: &[(NewReceipt<'_>, Told<'_>)],
) -> Result<Vec<Option<Attempt>>> {
    let ids: Vec<&str> = told.iter().map(|(new, _)| new.provider_id).collect();
    let known = messages::attempts_by_provider_id(tx, gateway, &ids, engine.now()).await?;
    let unknown = told.iter().filter(|(new, _)| !known.contains_key(new.provider_id));
    let references: Vec<&str> = unknown.filter_map(|(new, _)| new.reference).collect();
    let ours: HashMap<String, Attempt> = match references.is_empty() {
        true => HashMap::new(),
        false => messages::attempts_by_reference(tx, &engine.controller, &references).await?,
    };
    let attempt = |new: &NewReceipt<'_>| known.get(new.provider_id).or_else(|| ours.get(new.reference?)).cloned();
    Ok(told.iter().map(|(new, _)| attempt(new)).collect())
}

/// Receipts that repeat what the message's state says already, and mean nothing more.
fn says_nothing_new(of: &[Of<'_>]) -> bool {
    of.iter().all(|(told, attempt)| {
        let counts = attempt.moved_on || proves_taken(attempt, told.status);
        told.class.is_none() && !counts && attempt.state().on_receipt(told.status).is_none()
    })
}

/// The move of a message whose receipts change its state and nothing else: no error with a meaning, no leg left behind, nothing that
/// failed and arrived after all, no second step.
fn plain(message: i64, of: &[Of<'_>]) -> Option<Move> {
    let from = of.first()?.1.state();
    let way = matches!(from, State::Sending | State::Unknown | State::Accepted | State::Sent | State::Delivered);
    let plain = |(told, attempt): &Of<'_>| {
        let arrives = matches!(told.status, Receipt::Accepted | Receipt::Sent | Receipt::Delivered | Receipt::Read);
        let simple = !attempt.moved_on && !attempt.was_turned_down() && !may_confirm(attempt);
        told.class.is_none() && arrives && simple
    };
    let to = of.iter().fold(from, |state, (told, _)| state.on_receipt(told.status).unwrap_or(state));
    (way && to != from && of.iter().all(plain)).then_some(Move { message, from: from.code(), to: to.code() })
}

/// What a receipt makes of its message, and everything that follows from it.
async fn apply(tx: &mut Tx, engine: &Engine, gateway: &str, attempt: &Attempt, told: Told<'_>) -> Result<()> {
    let (status, class) = (told.status, told.class);
    let not_on_channel = class == Some(Class::NotOnChannel);
    if class == Some(Class::OptedOut) {
        confirm::gateway_opt_out(tx, engine, attempt.contact_id).await?;
    }
    let is_asking = Kind::parse(&attempt.kind).is_some_and(Kind::is_asking);
    if class.is_some_and(Class::pauses) || (class == Some(Class::WindowClosed) && is_asking) {
        outcome::pause(tx, engine, gateway, attempt.campaign_id, told.error.unwrap_or("a receipt says so")).await?;
    }
    let mut attempt = attempt.clone();
    loop {
        let state = attempt.state();
        let taken = proves_taken(&attempt, status);
        if attempt.was_turned_down() && !taken {
            return Ok(());
        }
        if taken {
            messages::prove_taken(tx, attempt.id).await?;
            messages::mark_arrived(tx, attempt.message_id).await?;
            if state == State::Sending {
                // It cannot be called back: what left a moment ago may arrive as well.
                tracing::warn!(
                    gateway,
                    message.id = attempt.message_id,
                    "The gateway took what it said it had not, and it was being sent again"
                );
            }
        }
        if attempt.moved_on {
            // The next channel has the message now; of the leg that failed only the proof that it arrived after all still counts.
            if !matches!(status, Receipt::Delivered | Receipt::Read) {
                return Ok(());
            }
            let reason = Some("arrived on the first channel after all");
            if messages::set_state(tx, attempt.message_id, State::Planned, State::Delivered, reason, engine.now()).await? {
                return legs::arrived_after_all(tx, engine, &attempt).await;
            }
        }
        let next = match state {
            // It waits for its next try, and there is none any more.
            State::Planned if taken => Some(State::Accepted.on_receipt(status).unwrap_or(State::Accepted)),
            // Of a later try that is under way only better news of the earlier one says something.
            _ if taken && matches!(status, Receipt::Undelivered | Receipt::Expired) => None,
            _ => state.on_receipt(status),
        };
        let Some(next) = next else { return Ok(()) };
        let reason = match class {
            _ if state == State::Planned => Some("the gateway took it after all"),
            Some(Class::WindowClosed) if !is_asking => Some(messages::WINDOW_CLOSED),
            _ => None,
        };
        if messages::set_state(tx, attempt.message_id, state, next, reason, engine.now()).await? {
            return moved(tx, engine, &attempt, next, not_on_channel).await;
        }
        // The answer to our own send was stored between our look and our write: look again.
        match messages::attempt_by_reference(tx, &engine.controller, &attempt.reference).await? {
            Some(newer) if newer.state() != state => attempt = newer,
            _ => return Ok(()),
        }
    }
}

/// Whether this may be what a second step is counted from: a confirmation, or its wording once more.
fn may_confirm(attempt: &Attempt) -> bool {
    attempt.kind == Kind::Confirm.code() || attempt.kind == Kind::Help.code()
}

/// Whether this receipt is of a message that the gateway took, whatever its answer said: the person may have it, and it is not sent
/// again (promise 3). `Failed` may be that very answer, told once more.
fn proves_taken(attempt: &Attempt, status: Receipt) -> bool {
    match attempt.outcome.as_deref().and_then(Outcome::parse) {
        Some(Outcome::NotAccepted) => status != Receipt::Failed,
        // A number that does not work stays one, however often that is told.
        Some(Outcome::Refused) => matches!(status, Receipt::Accepted | Receipt::Sent | Receipt::Delivered | Receipt::Read),
        Some(Outcome::Accepted | Outcome::Unknown) | None => false,
    }
}

/// What follows from a message's move from the state that the attempt was read with.
async fn moved(tx: &mut Tx, engine: &Engine, attempt: &Attempt, next: State, not_on_channel: bool) -> Result<()> {
    let state = attempt.state();
    // While its own answer is out the message waits for it, and an unknown one stays where it is: the person may have the ask.
    let may_move = matches!(state, State::Accepted | State::Sent) && next == State::Failed;
    if not_on_channel && may_move && answered(tx, engine, attempt).await? {
        legs::fall_back(tx, engine, &[attempt.message_id]).await?;
    }
    let arrived = matches!(next, State::Delivered | State::Read);
    if state == State::Planned {
        legs::arrived_after_all(tx, engine, attempt).await?;
    } else if arrived && matches!(state, State::Failed | State::Undelivered | State::Expired) {
        messages::mark_arrived(tx, attempt.message_id).await?;
    }
    if may_confirm(attempt) && (arrived || matches!(next, State::Accepted | State::Sent)) {
        // It was taken, whatever its own answer said: the second step may count from now on.
        conversations::confirmation_arrived(tx, attempt.message_id, engine.now()).await?;
    }
    Ok(())
}

/// Whether the gateway's own answer to this attempt stands as accepted; read anew, since it may have been stored meanwhile.
async fn answered(tx: &mut Tx, engine: &Engine, attempt: &Attempt) -> Result<bool> {
    let attempt = messages::attempt_by_reference(tx, &engine.controller, &attempt.reference).await?;
    Ok(attempt.is_some_and(|a| a.outcome.as_deref() == Some(Outcome::Accepted.code())))
}

/// Receipts that came before their attempt knew its provider id, tried again now that it does.
pub async fn match_late(tx: &mut Tx, engine: &Engine, gateway: &str, settled: &[Settled]) -> Result<()> {
    let learned = settled.iter().filter_map(|s| s.provider_id.as_deref());
    let learned: Vec<(&str, String)> = learned.map(|id| (id, hashed(engine, id))).collect();
    for (receipt, provider_id, status, class, error) in inbound::unmatched(tx, gateway, &learned).await? {
        let Some(attempt) = messages::attempt_by_provider_id(tx, gateway, &provider_id).await? else { continue };
        // An earlier version stored it in the clear.
        let error = error.map(|stored| engine.vault.decrypt(ERROR, &stored).unwrap_or(stored));
        inbound::match_receipt(tx, receipt, attempt.id, error.as_deref()).await?;
        if let Some(status) = Receipt::parse(&status) {
            let told = Told { status, class: class.as_deref().and_then(Class::parse), error: error.as_deref(), user: None };
            apply(tx, engine, gateway, &attempt, told).await?;
        }
    }
    Ok(())
}

/// Forgets receipts that found no message in a week: answers to sends are out for minutes, and no provider repeats an event for longer.
pub async fn sweep(engine: &Engine) -> Result<u64> {
    let mut tx = engine.store.write().await?;
    let gone = inbound::forget_unmatched(&mut tx, &engine.controller, engine.now() - 7 * DAY).await?;
    tx.commit().await?;
    Ok(gone)
}
