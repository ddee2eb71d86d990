//! Counts for people: the report, the operator's pages, the metrics.

use super::{Result, Tx, fetch_all, fetch_optional};

/// Decisions of a campaign by outcome and code, at the stage that decided last.
pub async fn decisions(tx: &mut Tx, campaign: i64) -> Result<Vec<(String, String, i64)>> {
    fetch_all!(
        tx,
        "SELECT d.outcome, d.code, COUNT(*) FROM decisions d
         WHERE d.campaign_id = $1 AND (d.stage = 'claim' OR NOT EXISTS (
           SELECT 1 FROM decisions k WHERE k.controller = d.controller AND k.campaign_id = d.campaign_id
             AND k.contact_id = d.contact_id AND k.stage = 'claim'))
         GROUP BY d.outcome, d.code ORDER BY d.outcome, d.code",
        campaign
    )
}

/// Messages of a campaign by kind and state.
pub async fn messages(tx: &mut Tx, campaign: i64) -> Result<Vec<(String, String, i64)>> {
    fetch_all!(
        tx,
        "SELECT kind, state, COUNT(*) FROM messages WHERE campaign_id = $1 GROUP BY kind, state ORDER BY kind, state",
        campaign
    )
}

/// Conversations of a campaign by state.
pub async fn conversations(tx: &mut Tx, campaign: i64) -> Result<Vec<(String, i64)>> {
    fetch_all!(tx, "SELECT state, COUNT(*) FROM conversations WHERE campaign_id = $1 GROUP BY state ORDER BY state", campaign)
}

/// What the attempts of a campaign may cost: in all, and of that for messages not known to have been taken.
pub async fn costs(tx: &mut Tx, campaign: i64) -> Result<(i64, i64)> {
    let row: Option<(i64, i64)> = fetch_optional!(
        tx,
        "SELECT CAST(COALESCE(SUM(a.cost), 0) AS BIGINT),
           CAST(COALESCE(SUM(CASE WHEN m.state IN ('sending', 'unknown') THEN a.cost ELSE 0 END), 0) AS BIGINT)
         FROM attempts a JOIN messages m ON m.id = a.message_id WHERE m.campaign_id = $1",
        campaign
    )?;
    Ok(row.unwrap_or_default())
}

/// Inbound messages by intent.
pub async fn inbound(tx: &mut Tx, controller: &str) -> Result<Vec<(String, i64)>> {
    fetch_all!(
        tx,
        "SELECT intent, COUNT(*) FROM inbound_events WHERE controller = $1 GROUP BY intent ORDER BY intent",
        controller
    )
}

/// Messages of every campaign and kind by state: for the metrics.
pub async fn all_messages(tx: &mut Tx, controller: &str) -> Result<Vec<(String, String, i64)>> {
    fetch_all!(
        tx,
        "SELECT kind, state, COUNT(*) FROM messages WHERE controller = $1 GROUP BY kind, state ORDER BY kind, state",
        controller
    )
}

/// Every permission ever changed by state.
pub async fn preferences(tx: &mut Tx, controller: &str) -> Result<Vec<(String, i64)>> {
    fetch_all!(tx, "SELECT state, COUNT(*) FROM preferences WHERE controller = $1 GROUP BY state ORDER BY state", controller)
}

/// Every person's verdict in every campaign: (contact, outcome, code).
pub async fn verdicts(tx: &mut Tx, controller: &str) -> Result<Vec<(i64, String, String)>> {
    fetch_all!(
        tx,
        "SELECT contact_id, outcome, code FROM decisions WHERE controller = $1 AND stage = 'plan' ORDER BY contact_id, campaign_id",
        controller
    )
}

/// When each reference was claimed.
pub async fn claims(tx: &mut Tx, controller: &str) -> Result<Vec<(String, i64)>> {
    fetch_all!(tx, "SELECT reference, claimed_at FROM attempts WHERE controller = $1 ORDER BY id", controller)
}

/// Attempts whose outcome was not known when they ended, settled since or not.
pub async fn unknown_outcomes(tx: &mut Tx, controller: &str) -> Result<i64> {
    let rows: Vec<(i64,)> =
        fetch_all!(tx, "SELECT COUNT(*) FROM attempts WHERE controller = $1 AND outcome = 'unknown'", controller)?;
    Ok(rows.first().map_or(0, |(n,)| *n))
}
