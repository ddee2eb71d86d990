//! Settle messages of unknown outcome: the gateway is asked what became of them, and for what it cannot say an operator may give a
//! word, which is recorded. Nothing is ever sent again by it (promise 3).

use anyhow::{Context, Result};

use super::Engine;
use super::plan::known;
use crate::domain::message::State;
use crate::gateway::LookedUp;
use crate::store::legs::{self, Unknown};
use crate::store::messages;

/// What a look at the gateways did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Settled {
    /// Messages settled, by their new state.
    pub settled: std::collections::BTreeMap<String, u64>,
    /// Left unknown: the gateway cannot tell, or could not be asked.
    pub left: Vec<Left>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Left {
    pub reference: String,
    pub gateway: String,
    pub claimed_at: i64,
    pub why: String,
}

/// Asks the gateways about every message of the campaign whose outcome is unknown.
pub async fn look_up(engine: &Engine, name: &str) -> Result<Settled> {
    let mut out = Settled::default();
    for unknown in unknown(engine, name).await? {
        let Unknown { gateway, reference, claimed_at, .. } = &unknown;
        let left = |why: &str| Left {
            reference: reference.clone(),
            gateway: gateway.clone(),
            claimed_at: *claimed_at,
            why: why.to_owned(),
        };
        let answer = match engine.gateways.get(gateway) {
            Some(driver) => driver.look_up(reference).await,
            None => None,
        };
        let to = match answer {
            None => {
                out.left.push(left("this gateway cannot be asked"));
                continue;
            }
            Some(Err(error)) => {
                out.left.push(left(&error));
                continue;
            }
            // Not taken is as final as refused: what counted as asked is not asked again.
            Some(Ok(LookedUp::Never)) => State::Failed,
            Some(Ok(LookedUp::Accepted)) => State::Accepted,
            Some(Ok(LookedUp::Is(receipt))) => State::Unknown.on_receipt(receipt).unwrap_or(State::Accepted),
        };
        if write(engine, &unknown, to, "looked up at the gateway").await? {
            *out.settled.entry(to.code().to_owned()).or_default() += 1;
        }
    }
    Ok(out)
}

/// An operator's word about what the gateways cannot tell: all of the campaign's unknown sends, or the one of this reference.
/// Answers how many it settled.
///
/// # Errors
/// The campaign is not known, or no unknown send has this reference.
pub async fn by_word(engine: &Engine, name: &str, reference: Option<&str>, to: State, by: &str) -> Result<u64> {
    let mut waiting = unknown(engine, name).await?;
    if let Some(reference) = reference {
        waiting.retain(|u| u.reference == reference);
        waiting.first().with_context(|| {
            format!(
                "no unknown send of `{name}` has the reference {reference}; remedy: `permesso campaign settle {name}` lists them"
            )
        })?;
    }
    let mut settled = 0;
    for unknown in &waiting {
        settled += u64::from(write(engine, unknown, to, by).await?);
    }
    Ok(settled)
}

async fn unknown(engine: &Engine, name: &str) -> Result<Vec<Unknown>> {
    let mut tx = engine.store.read().await?;
    let row = known(&mut tx, engine, name).await?;
    let unknown = legs::unknown_of(&mut tx, row.id).await?;
    tx.rollback().await?;
    Ok(unknown)
}

/// One compare-and-set and its record; a receipt or reply that settled it meanwhile wins.
async fn write(engine: &Engine, unknown: &Unknown, to: State, by: &str) -> Result<bool> {
    let now = engine.now();
    let mut tx = engine.store.write().await?;
    let reason = format!("settled: {by}");
    let won = messages::set_state(&mut tx, unknown.message_id, State::Unknown, to, Some(&reason), now).await?;
    if won {
        legs::record_settlement(&mut tx, &engine.controller, unknown.message_id, to, by, now).await?;
    }
    tx.commit().await?;
    Ok(won)
}
