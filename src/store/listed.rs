//! Rows that said no and made no contact: of lists of noes, and of contacts where the rest of the row is wrong. Kept as keyed hashes, by which
//! the same row is known when it is imported again.

use std::collections::HashSet;

use super::{Result, Tx, fetch_all, json};

/// Notes these rows. Answers those that were not known.
pub async fn note(tx: &mut Tx, controller: &str, rows: &[&str]) -> Result<HashSet<String>> {
    let fresh: Vec<(String,)> = fetch_all!(
        tx,
        "INSERT INTO listed (controller, row_hash) SELECT $2, j.value->>'row' FROM EACH($1) WHERE true
         ON CONFLICT DO NOTHING RETURNING row_hash",
        json(rows.iter().map(|row| serde_json::json!({ "row": row })).collect::<Vec<_>>()),
        controller
    )?;
    Ok(fresh.into_iter().map(|(row,)| row).collect())
}
