//! The keys a database was written with, and the controller under whom.

use super::{Result, Tx, execute, fetch_all, fetch_optional, fetch_value, json};

/// What each key has proved itself by.
pub async fn proofs(tx: &mut Tx) -> Result<Vec<(i64, String)>> {
    fetch_all!(tx, "SELECT key_id, proof FROM vault_keys ORDER BY key_id")
}

/// Keeps the proofs of keys that are new here; whoever was first stays.
pub async fn add_proofs(tx: &mut Tx, proofs: &[(i64, String)]) -> Result<()> {
    let rows: Vec<_> = proofs.iter().map(|(id, proof)| serde_json::json!({ "id": id, "proof": proof })).collect();
    execute!(
        tx,
        "INSERT INTO vault_keys (key_id, proof) SELECT CAST(j.value->>'id' AS BIGINT), j.value->>'proof' FROM EACH($1)
         WHERE true ON CONFLICT DO NOTHING",
        json(rows)
    )?;
    Ok(())
}

/// The first number and the last, encrypted: what an earlier version left that kept no proofs.
pub async fn some_numbers(tx: &mut Tx) -> Result<Vec<(String,)>> {
    fetch_all!(
        tx,
        "SELECT number_enc FROM contacts WHERE id IN (
           (SELECT MIN(id) FROM contacts WHERE number_enc <> ''), (SELECT MAX(id) FROM contacts WHERE number_enc <> ''))"
    )
}

/// Whether anything here can be found again by a key alone: people, noes, marks of asks.
pub async fn is_in_use(tx: &mut Tx) -> Result<bool> {
    let used: i64 = fetch_value!(
        tx,
        "SELECT CAST(CASE WHEN EXISTS (SELECT 1 FROM contacts) OR EXISTS (SELECT 1 FROM suppressions) OR EXISTS (SELECT 1 FROM asked_marks)
           THEN 1 ELSE 0 END AS BIGINT)"
    )?;
    Ok(used == 1)
}

/// Whose database it is: under whom its oldest row is kept that a person can be known again by. None where nobody is in it.
pub async fn owner(tx: &mut Tx) -> Result<Option<String>> {
    let row: Option<(String,)> = fetch_optional!(
        tx,
        "SELECT w.controller FROM (
           SELECT 1 AS step, controller FROM contacts WHERE id = (SELECT MIN(id) FROM contacts)
           UNION ALL SELECT 2, controller FROM suppressions WHERE id = (SELECT MIN(id) FROM suppressions)
           UNION ALL SELECT 3, controller FROM ledger WHERE seq = (SELECT MIN(seq) FROM ledger)
           UNION ALL SELECT 4, MIN(controller) FROM asked_marks) AS w
         WHERE w.controller IS NOT NULL ORDER BY w.step LIMIT 1"
    )?;
    Ok(row.map(|(controller,)| controller))
}
