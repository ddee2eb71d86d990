//! The two levers over everything: halt, and resume. Each is recorded with who pulled it.

use anyhow::Result;

use super::{Engine, LEASE_DB};
use crate::store::control;

/// Stops all sending: at most one slice a worker is under way.
pub async fn halt(engine: &Engine, by: &str) -> Result<()> {
    let mut tx = engine.store.write().await?;
    control::set_halt(&mut tx, &engine.controller, Some(engine.now()), by).await?;
    Ok(tx.commit().await?)
}

/// What a resume found and left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    pub was_halted: bool,
    /// Times in which nobody listened, before it, and those not settled still: while there is one, nothing is sent.
    pub gaps_before: usize,
    pub gaps: usize,
}

/// Lets sending go on. `heard`: the operator's word that no reply was lost while nobody listened, and how they know.
pub async fn resume(engine: &Engine, by: &str, heard: Option<&str>) -> Result<Resumed> {
    let mut tx = engine.store.write().await?;
    let was_halted = control::silence(&mut tx, &engine.controller, LEASE_DB).await? == Some(control::Silence::Halted);
    control::set_halt(&mut tx, &engine.controller, None, by).await?;
    let gaps = control::open_gaps(&mut tx, &engine.controller).await?;
    if let Some(words) = heard {
        for gap in &gaps {
            control::settle_gap(&mut tx, gap.id, &format!("{by}: {words}"), engine.now()).await?;
        }
    }
    tx.commit().await?;
    Ok(Resumed { was_halted, gaps_before: gaps.len(), gaps: if heard.is_some() { 0 } else { gaps.len() } })
}
