//! The two levers over everything: halt, and resume. Each is recorded with who pulled it.

use anyhow::Result;

use super::Engine;
use crate::store::control;

/// Stops all sending: at most one slice a worker is under way.
pub async fn halt(engine: &Engine, by: &str) -> Result<()> {
    let mut tx = engine.store.write().await?;
    control::set_halt(&mut tx, &engine.controller, Some(engine.now()), by).await?;
    Ok(tx.commit().await?)
}

/// Lets sending go on. `heard`: the operator's word that no reply was lost while nobody listened, and how they know. Answers how
/// many such times are still not settled; while there is one, nothing is sent.
pub async fn resume(engine: &Engine, by: &str, heard: Option<&str>) -> Result<usize> {
    let mut tx = engine.store.write().await?;
    control::set_halt(&mut tx, &engine.controller, None, by).await?;
    let gaps = control::open_gaps(&mut tx, &engine.controller).await?;
    if let Some(words) = heard {
        for (gap, ..) in &gaps {
            control::settle_gap(&mut tx, *gap, &format!("{by}: {words}"), engine.now()).await?;
        }
    }
    tx.commit().await?;
    Ok(if heard.is_some() { 0 } else { gaps.len() })
}
