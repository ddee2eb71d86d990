//! Rows that said no and made no contact: of lists of noes, and of contacts where the rest of the row is wrong. Kept as keyed hashes, by which
//! the same row is known when it is imported again.

use std::collections::HashSet;

use super::{Result, Tx, execute, fetch_values, json};

/// Notes these rows. Answers those that were not known.
pub async fn note(tx: &mut Tx, controller: &str, rows: &[&str]) -> Result<HashSet<String>> {
    let fresh: Vec<String> = fetch_values!(
        tx,
        "INSERT INTO listed (controller, row_hash) SELECT $2, j.value->>'row' FROM EACH($1) WHERE true
         ON CONFLICT DO NOTHING RETURNING row_hash",
        json(rows.iter().map(|row| serde_json::json!({ "row": row })).collect::<Vec<_>>()),
        controller
    )?;
    Ok(fresh.into_iter().collect())
}

/// Knows no row any more, of contacts' lists neither: of a restored copy nobody can say that a yes is newer than a row that says no, so it counts
/// when it is imported again.
pub async fn forget(tx: &mut Tx, controller: &str) -> Result<()> {
    execute!(tx, "DELETE FROM listed WHERE controller = $1", controller)?;
    execute!(
        tx,
        "UPDATE consent_evidence SET row_hash = row_hash || ' restored' WHERE controller = $1 AND unsubscribed = 1",
        controller
    )?;
    Ok(())
}
