//! A no that we learn of later than it was said: on its way for long, or under an id of which nobody knew whose it is. What the person granted
//! meanwhile, by another number of theirs or in another question, has answered it.

use anyhow::Result;

use super::Engine;
use super::confirm::{self, Deed, Situation};
use crate::domain::answer::By;
use crate::domain::ledger::Entry;
use crate::domain::suppression::Reason;
use crate::store::{Tx, ledger, suppressions};
use crate::vault::Keyed;

/// A no that came late, after the person had said yes in a conversation opened since.
pub(super) async fn no(tx: &mut Tx, engine: &Engine, situation: &Situation, reason: Reason, deed: &Deed) -> Result<()> {
    let body = situation.body(Entry::LateNo, deed, Vec::new());
    engine.append(tx, &body).await?;
    end_older(tx, engine, &situation.keyed(engine)?, reason, deed.at, deed).await
}

/// A no of the person's, said at `at` and learned of later: of the number that has these hashes it ends everything, of the human's others
/// what they have not answered since.
pub(super) async fn learned(tx: &mut Tx, engine: &Engine, keyed: &[Keyed], reason: Reason, at: i64, deed: &Deed) -> Result<()> {
    let controller = engine.controller.as_str();
    suppressions::suppress_alone(tx, controller, keyed, reason, By::Person, at, engine.now()).await?;
    let granted = suppressions::granted_alone(tx, controller, keyed).await?;
    confirm::end_grants_of(tx, engine, &granted, deed).await?;
    match reason {
        Reason::WrongPerson => confirm::untie(tx, engine, keyed).await,
        _ => end_older(tx, engine, keyed, reason, at, deed).await,
    }
}

/// Consents whose first yes is newer than a no have answered it, each for its own number. It ends everything granted before it, and silences
/// every number of the human that has not answered it, as it would have if it had come in time.
async fn end_older(tx: &mut Tx, engine: &Engine, keyed: &[Keyed], reason: Reason, at: i64, deed: &Deed) -> Result<()> {
    let (controller, now) = (engine.controller.as_str(), engine.now());
    let (reached, _) = suppressions::reach(tx, controller, keyed).await?;
    for contact in reached {
        let one = Situation::read(tx, engine, contact).await?;
        if one.contact.is_erased() {
            continue;
        }
        let granted = ledger::first_yeses(tx, controller, &one.contact.subject).await?;
        let (newer, older): (Vec<_>, Vec<_>) =
            granted.into_iter().partition(|(_, first_yes_at)| (at + 1..=now).contains(first_yes_at));
        if !older.is_empty() {
            confirm::withdraw(tx, engine, &one, deed, older.into_iter().map(|(permission, _)| permission).collect()).await?;
        }
        if newer.is_empty() {
            suppressions::suppress_alone(tx, controller, &one.keyed(engine)?, reason, By::Person, at, now).await?;
        } else {
            suppressions::note_answered(tx, controller, contact, reason, at, now).await?;
        }
    }
    Ok(())
}
