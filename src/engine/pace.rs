//! What WhatsApp lets one sender do beside its throughput (Meta, "Throughput" and "Messaging limits"): one message in a few seconds to one
//! person, and so many people in any 24 hours whom it writes to first. Looked at in the claim, whose turn is its controller's alone.

use std::collections::HashMap;

use anyhow::Result;

use super::Engine;
use crate::clock::{DAY, SECOND};
use crate::domain::eligibility::Reason;
use crate::domain::message::Kind;
use crate::store::messages::{Batch, Due};
use crate::store::{Tx, paces};

/// Where one sender stands at one claim.
#[derive(Debug, Default)]
pub struct Pace {
    pair: i64,
    /// Contact to the time it was last written to.
    last: HashMap<i64, i64>,
    /// `None`: places enough for everybody who is due.
    places: Option<Places>,
}

#[derive(Debug)]
struct Places {
    limit: usize,
    /// Contact to the time it was last written to first, within 24 hours.
    taken: HashMap<i64, i64>,
}

impl Pace {
    pub async fn of(tx: &mut Tx, engine: &Engine, batch: &Batch, due: &[Due], now: i64) -> Result<Pace> {
        let Some(sender) = engine.config.sender(&batch.sender) else { return Ok(Pace::default()) };
        let mut pace = Pace { pair: sender.pair_seconds * SECOND, ..Pace::default() };
        if pace.pair > 0 {
            let contacts: Vec<i64> = due.iter().map(|due| due.contact_id).collect();
            pace.last = paces::last_to(tx, &sender.id, &contacts, now - pace.pair).await?.into_iter().collect();
        }
        let first = due.iter().filter(|due| counts(due)).count();
        if let Some(limit) = sender.daily_recipients.filter(|_| first > 0) {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let tries = paces::tries_since(tx, &engine.controller, &sender.id, now - DAY).await?;
            // Only near the limit is it worth while to tell who they were.
            if usize::try_from(tries).unwrap_or(usize::MAX).saturating_add(first) > limit {
                let taken = paces::written_to_first(tx, &engine.controller, &sender.id, now - DAY).await?;
                pace.places = Some(Places { limit, taken: taken.into_iter().collect() });
            }
        }
        Ok(pace)
    }

    /// Until when and why a message that may go has to wait; where it need not, it counts as sent from now on.
    pub fn holds(&mut self, due: &Due, now: i64) -> Option<(i64, Reason)> {
        let who = due.contact_id;
        if let Some(last) = self.last.get(&who).filter(|_| self.pair > 0) {
            return Some((last + self.pair, Reason::PairRate));
        }
        if let Some(places) = self.places.as_mut().filter(|_| counts(due)) {
            if let Some(free) = places.free_at().filter(|_| !places.taken.contains_key(&who)) {
                return Some((free, Reason::SenderFull));
            }
            places.taken.insert(who, now);
        }
        self.last.insert(who, now);
        None
    }
}

impl Places {
    /// When the next place is free; `None` while there is one.
    fn free_at(&self) -> Option<i64> {
        let over = self.taken.len().checked_sub(self.limit)?;
        let mut times: Vec<i64> = self.taken.values().copied().collect();
        times.sort_unstable();
        times.get(over).map(|at| at + DAY)
    }
}

/// Whether this message begins a conversation, as far as WhatsApp counts people. What somebody chose on the page is confirmed whatever the limit.
fn counts(due: &Due) -> bool {
    matches!(due.kind(), Some(Kind::Ask | Kind::Reminder | Kind::Test))
}
