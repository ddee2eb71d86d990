//! Counts for people: the report, the operator's pages, the metrics. They are read from `figures`, which the database's own
//! triggers keep (migrations 0004, 0015 and 0024), never by scanning what they count; what `a` to `d` hold for each topic stands there.

use super::{Result, Store, Tx, execute, fetch_all, fetch_one, fetch_optional, fetch_value};

/// Sums of one topic of one campaign by these columns.
macro_rules! of_campaign {
    ($tx:expr, $topic:literal, $by:literal, $campaign:expr) => {
        fetch_all!(
            $tx,
            concat!(
                "SELECT ",
                $by,
                ", CAST(SUM(n) AS BIGINT) FROM figures
                 WHERE controller = (SELECT controller FROM campaigns WHERE id = $1) AND topic = '",
                $topic,
                "' AND campaign_id = $1
                 GROUP BY ",
                $by,
                " HAVING SUM(n) <> 0 ORDER BY ",
                $by
            ),
            $campaign
        )
    };
}

/// Sums of one topic of a controller, whatever the campaign, by these columns.
macro_rules! of_all {
    ($tx:expr, $topic:literal, $by:literal, $controller:expr) => {
        fetch_all!(
            $tx,
            concat!(
                "SELECT ",
                $by,
                ", CAST(SUM(n) AS BIGINT) FROM figures WHERE controller = $1 AND topic = '",
                $topic,
                "' GROUP BY ",
                $by,
                " HAVING SUM(n) <> 0 ORDER BY ",
                $by
            ),
            $controller
        )
    };
}

/// Decisions of a campaign by outcome and code, at the stage that decided last.
pub async fn decisions(tx: &mut Tx, campaign: i64) -> Result<Vec<(String, String, i64)>> {
    of_campaign!(tx, "decision", "a, b", campaign)
}

/// Messages of a campaign by kind and state.
pub async fn messages(tx: &mut Tx, campaign: i64) -> Result<Vec<(String, String, i64)>> {
    of_campaign!(tx, "message", "a, b", campaign)
}

/// Conversations of a campaign by state.
pub async fn conversations(tx: &mut Tx, campaign: i64) -> Result<Vec<(String, i64)>> {
    of_campaign!(tx, "conversation", "a", campaign)
}

/// Decisions of a campaign by country and outcome.
pub async fn decisions_by_country(tx: &mut Tx, campaign: i64) -> Result<Vec<(String, String, i64)>> {
    of_campaign!(tx, "decision", "c, a", campaign)
}

/// Messages of a campaign by channel, country, kind and state.
pub async fn messages_by_place(tx: &mut Tx, campaign: i64) -> Result<Vec<(String, String, String, String, i64)>> {
    of_campaign!(tx, "message", "c, d, a, b", campaign)
}

/// People a campaign asked, by what became of it and who said so. Whoever said nothing stands under `silent`, `unknown` or `not_reached`.
pub async fn answers(tx: &mut Tx, campaign: i64) -> Result<Vec<(String, String, i64)>> {
    of_campaign!(tx, "answer", "a, b", campaign)
}

/// People a campaign asked, by channel, country, what became of it and who said so.
pub async fn answers_by_place(tx: &mut Tx, campaign: i64) -> Result<Vec<(String, String, String, String, i64)>> {
    of_campaign!(tx, "answer", "c, d, a, b", campaign)
}

/// People a campaign asked, by the hour of their last answer, what it was and who said so; those who said nothing stand under hour 0.
pub async fn answers_by_hour(tx: &mut Tx, campaign: i64) -> Result<Vec<(i64, String, String, i64)>> {
    of_campaign!(tx, "answer", "hour, a, b", campaign)
}

/// Asks and reminders that did not go, or wait: by kind, state and reason.
pub async fn unsent(tx: &mut Tx, campaign: i64) -> Result<Vec<(String, String, String, i64)>> {
    of_campaign!(tx, "unsent", "a, b, c", campaign)
}

/// Permissions that an ask of this campaign led to, by purpose, channel and state.
pub async fn permissions(tx: &mut Tx, campaign: i64) -> Result<Vec<(String, String, String, i64)>> {
    of_campaign!(tx, "permission", "b, c, a", campaign)
}

/// Attempts of a campaign by hour of their claim (hours since 1970, UTC), kind and outcome.
pub async fn attempts_by_hour(tx: &mut Tx, campaign: i64) -> Result<Vec<(i64, String, String, i64)>> {
    of_campaign!(tx, "attempt", "hour, d, b", campaign)
}

/// Messages of a campaign that ended, by the hour of that, kind and state; those under way stand under hour 0.
pub async fn messages_by_hour(tx: &mut Tx, campaign: i64) -> Result<Vec<(i64, String, String, i64)>> {
    of_campaign!(tx, "message", "hour, a, b", campaign)
}

/// First yeses of a campaign by hour.
pub async fn first_yeses_by_hour(tx: &mut Tx, campaign: i64) -> Result<Vec<(i64, i64)>> {
    of_campaign!(tx, "first_yes", "hour", campaign)
}

/// What the attempts of a campaign may cost: in all, and of that for messages not known to have been taken.
pub async fn costs(tx: &mut Tx, campaign: i64) -> Result<(i64, i64)> {
    let row: Option<(i64, i64)> = fetch_optional!(
        tx,
        "SELECT c.reserved, (SELECT CAST(COALESCE(SUM(a.cost), 0) AS BIGINT) FROM messages m JOIN attempts a ON a.message_id = m.id
             WHERE m.campaign_id = c.id AND m.state IN ('sending', 'unknown'))
         FROM campaigns c WHERE c.id = $1",
        campaign
    )?;
    Ok(row.unwrap_or_default())
}

/// Inbound messages by intent.
pub async fn inbound(tx: &mut Tx, controller: &str) -> Result<Vec<(String, i64)>> {
    of_all!(tx, "inbound", "a", controller)
}

/// Unclear replies that wait for an operator.
pub async fn waiting(tx: &mut Tx, controller: &str) -> Result<i64> {
    let row: (i64,) = fetch_one!(
        tx,
        "SELECT CAST(COALESCE(SUM(n), 0) AS BIGINT) FROM figures WHERE controller = $1 AND topic = 'inbound' AND b = 'waiting'",
        controller
    )?;
    Ok(row.0)
}

/// Messages of every campaign and kind by state: for the metrics.
pub async fn all_messages(tx: &mut Tx, controller: &str) -> Result<Vec<(String, String, i64)>> {
    of_all!(tx, "message", "a, b", controller)
}

/// Every permission ever changed by state.
pub async fn preferences(tx: &mut Tx, controller: &str) -> Result<Vec<(String, i64)>> {
    of_all!(tx, "permission", "a", controller)
}

/// Attempts claimed in or after this hour (hours since 1970, UTC) by gateway, outcome and error.
pub async fn attempts_since(tx: &mut Tx, controller: &str, hour: i64) -> Result<Vec<(String, String, String, i64)>> {
    fetch_all!(
        tx,
        "SELECT a, b, c, CAST(SUM(n) AS BIGINT) FROM figures WHERE controller = $1 AND topic = 'attempt' AND hour >= $2
         GROUP BY a, b, c HAVING SUM(n) <> 0 ORDER BY a, b, c",
        controller,
        hour
    )
}

/// Adds to its counters what the triggers noted in this transaction, on SQLite; Postgres' triggers add by themselves.
pub(super) async fn add_up(tx: &mut Tx) -> Result<()> {
    if let Tx::Postgres(_) = tx {
        return Ok(());
    }
    let noted: Option<(i64,)> = fetch_optional!(tx, "SELECT 1 FROM counting LIMIT 1")?;
    if noted.is_some() {
        execute!(
            tx,
            "INSERT INTO counters (controller, topic, campaign_id, a, b, c, d, hour, n)
             SELECT controller, topic, campaign_id, a, b, c, d, hour, n FROM counted WHERE true
             ON CONFLICT DO UPDATE SET n = n + excluded.n"
        )?;
        execute!(tx, "DELETE FROM counting")?;
    }
    Ok(())
}

/// Folds what the triggers added into one row a key. Figures are the same before, meanwhile and after.
pub async fn fold(store: &Store) -> Result<()> {
    let mut tx = store.write().await?;
    match &tx {
        // SQLite's one writer has added up already; only what has come to nothing is left over.
        Tx::Sqlite(_) => {
            execute!(&mut tx, "DELETE FROM counters WHERE n = 0")?;
        }
        Tx::Postgres(_) => {
            // Two workers that fold the same rows would wait for each other, so the second leaves it to the first.
            let mine: bool = fetch_value!(&mut tx, "SELECT pg_try_advisory_xact_lock(hashtext('permesso fold counters'))")?;
            if mine {
                execute!(
                    &mut tx,
                    "WITH many AS (
                       SELECT controller, topic, campaign_id, a, b, c, d, hour FROM counters
                       GROUP BY controller, topic, campaign_id, a, b, c, d, hour HAVING COUNT(*) > 1
                     ), gone AS (
                       DELETE FROM counters USING many WHERE (counters.controller, counters.topic, counters.campaign_id, counters.a,
                           counters.b, counters.c, counters.d, counters.hour)
                         = (many.controller, many.topic, many.campaign_id, many.a, many.b, many.c, many.d, many.hour)
                       RETURNING counters.*
                     )
                     INSERT INTO counters (controller, topic, campaign_id, a, b, c, d, hour, n)
                     SELECT controller, topic, campaign_id, a, b, c, d, hour, SUM(n) FROM gone
                     GROUP BY controller, topic, campaign_id, a, b, c, d, hour HAVING SUM(n) <> 0"
                )?;
            }
        }
    }
    tx.commit().await
}

/// What shows whether the promises hold at this moment. Times are microseconds of our clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Gauges {
    /// Authentic callbacks that nobody could read and no operator has looked at.
    pub dead_letters: i64,
    /// Receipts of messages that we do not know.
    pub unmatched_receipts: i64,
    pub in_flight: i64,
    /// When the oldest of those was claimed.
    pub in_flight_since: Option<i64>,
    /// When the oldest message of the oldest batch that waits was due.
    pub due_since: Option<i64>,
}

pub async fn gauges(tx: &mut Tx, controller: &str) -> Result<Gauges> {
    fetch_one!(
        tx,
        "SELECT
           (SELECT COUNT(*) FROM inbound_events WHERE controller = $1 AND effect = 'held' AND resolved_at IS NULL AND mac = '')
             AS dead_letters,
           (SELECT COUNT(*) FROM receipts WHERE attempt_id IS NULL) AS unmatched_receipts,
           (SELECT COUNT(*) FROM attempts WHERE outcome IS NULL) AS in_flight,
           (SELECT MIN(claimed_at) FROM attempts WHERE outcome IS NULL) AS in_flight_since,
           (SELECT MIN(due_at) FROM messages WHERE state = 'planned'
             AND batch_id = (SELECT MIN(id) FROM batches WHERE controller = $1 AND open = 1)) AS due_since",
        controller
    )
}

// What follows is for the demo and the tests alone.

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
    fetch_value!(tx, "SELECT COUNT(*) FROM attempts WHERE controller = $1 AND outcome = 'unknown'", controller)
}

/// Messages that took a second channel after the first proved not to have the number.
pub async fn fallbacks(tx: &mut Tx, controller: &str) -> Result<i64> {
    fetch_value!(
        tx,
        "SELECT COUNT(DISTINCT a.message_id) FROM attempts a JOIN messages m ON m.id = a.message_id
         WHERE a.controller = $1 AND a.channel <> m.channel",
        controller
    )
}
