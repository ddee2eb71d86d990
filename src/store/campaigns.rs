//! Plans, campaigns, their frozen revisions, and the decision recorded for every person.

use super::{Result, Tx, answers, execute, fetch_all, fetch_optional, fetch_value, json};
use crate::domain::campaign::CampaignState;
use crate::domain::channel::Channel;

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Plan {
    pub id: String,
    pub campaign: String,
    pub revision: String,
    pub counts: String,
    pub at: i64,
}

pub async fn save_plan(tx: &mut Tx, controller: &str, plan: &Plan) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO plans (id, controller, campaign, revision, counts, at) VALUES ($1, $2, $3, $4, $5, $6)",
        &plan.id,
        controller,
        &plan.campaign,
        &plan.revision,
        &plan.counts,
        plan.at
    )?;
    Ok(())
}

pub async fn plan(tx: &mut Tx, controller: &str, id: &str) -> Result<Option<Plan>> {
    fetch_optional!(tx, "SELECT id, campaign, revision, counts, at FROM plans WHERE controller = $1 AND id = $2", controller, id)
}

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Row {
    pub id: i64,
    pub name: String,
    pub family: String,
    pub state: String,
    pub reason: Option<String>,
    pub revision_id: i64,
    pub start_at: i64,
    pub deadline: i64,
    pub planned_to: i64,
    pub planned_all: i64,
    pub allowance: Option<i64>,
    /// Of what is reserved.
    pub currency: Option<String>,
    /// Millionths of the currency's unit.
    pub reserved: i64,
    /// When everybody is looked at again.
    pub repeat_at: Option<i64>,
    /// JSON of `domain::campaign::Tally`: what `stop_if` had counted when the manager last resumed.
    pub stop_base: Option<String>,
}

impl Row {
    pub fn state(&self) -> CampaignState {
        CampaignState::parse(&self.state).unwrap_or(CampaignState::Paused)
    }
}

macro_rules! campaign_where {
    ($fetch:ident, $tx:expr, $condition:literal, $($bind:expr),*) => {
        $fetch!(
            $tx,
            concat!(
                "SELECT id, name, family, state, reason, revision_id, start_at, deadline, planned_to, planned_all, allowance, currency,
                   reserved, repeat_at, stop_base FROM campaigns WHERE ", $condition
            ),
            $($bind),*
        )
    };
}

pub async fn by_name(tx: &mut Tx, controller: &str, name: &str) -> Result<Option<Row>> {
    campaign_where!(fetch_optional, tx, "controller = $1 AND name = $2", controller, name)
}

pub async fn by_id(tx: &mut Tx, id: i64) -> Result<Option<Row>> {
    campaign_where!(fetch_optional, tx, "id = $1", id)
}

/// Like [`by_id`], locked for the rest of the transaction: two planners of one campaign take turns.
pub async fn lock(tx: &mut Tx, id: i64) -> Result<Option<Row>> {
    campaign_where!(fetch_optional, tx, "id = $1 FOR UPDATE", id)
}

pub async fn all(tx: &mut Tx, controller: &str) -> Result<Vec<Row>> {
    campaign_where!(fetch_all, tx, "controller = $1 ORDER BY id", controller)
}

/// Freezes a revision and starts the campaign under it, or moves a campaign that already runs to it.
#[derive(Debug)]
pub struct Start<'a> {
    pub name: &'a str,
    pub family: &'a str,
    pub plan_id: &'a str,
    pub body: &'a str,
    pub hash: &'a str,
    pub start_at: i64,
    pub deadline: i64,
    pub allowance: Option<i64>,
    pub currency: Option<String>,
}

/// Keeps a revision as it is, for good. Answers its id.
pub async fn freeze(tx: &mut Tx, controller: &str, name: &str, plan_id: &str, body: &str, hash: &str, now: i64) -> Result<i64> {
    fetch_value!(
        tx,
        "INSERT INTO campaign_revisions (controller, campaign, plan_id, body, hash, at) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        controller,
        name,
        plan_id,
        body,
        hash,
        now
    )
}

pub async fn start(tx: &mut Tx, controller: &str, start: &Start<'_>, now: i64) -> Result<i64> {
    let revision = freeze(tx, controller, start.name, start.plan_id, start.body, start.hash, now).await?;
    let id: i64 = fetch_value!(
        tx,
        "INSERT INTO campaigns (controller, name, family, state, revision_id, start_at, deadline, allowance, created_at, currency)
         VALUES ($1, $2, $3, 'scheduled', $4, $5, $6, $7, $8, $9)
         ON CONFLICT (controller, name) DO UPDATE SET revision_id = excluded.revision_id, deadline = excluded.deadline,
           start_at = excluded.start_at, state = 'scheduled', reason = NULL, planned_to = 0, planned_all = 0,
           allowance = excluded.allowance, repeat_at = NULL, stop_base = NULL,
           currency = CASE WHEN campaigns.reserved = 0 THEN excluded.currency ELSE campaigns.currency END
         RETURNING id",
        controller,
        start.name,
        start.family,
        revision,
        start.start_at,
        start.deadline,
        start.allowance,
        now,
        start.currency.as_deref()
    )?;
    // A new revision applies to messages not yet claimed: they are cancelled, and the planner makes them anew under it, with
    // its own sender, times and texts. An ask between two legs is no new one: it goes on, by `legs::take_back`.
    execute!(
        tx,
        "UPDATE messages SET state = 'cancelled', reason = 'planned anew', changed_at = $2
         WHERE campaign_id = $1 AND state = 'planned' AND kind IN ('ask', 'reminder')
           AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = messages.id AND a.channel <> messages.channel)",
        id,
        now
    )?;
    Ok(id)
}

pub async fn revision(tx: &mut Tx, id: i64) -> Result<Option<String>> {
    let row: Option<(String,)> = fetch_optional!(tx, "SELECT body FROM campaign_revisions WHERE id = $1", id)?;
    Ok(row.map(|(body,)| body))
}

/// The plan a revision was frozen from.
pub async fn plan_of(tx: &mut Tx, revision: i64) -> Result<Option<String>> {
    let row: Option<(String,)> = fetch_optional!(tx, "SELECT plan_id FROM campaign_revisions WHERE id = $1", revision)?;
    Ok(row.map(|(plan,)| plan))
}

pub async fn set_state(tx: &mut Tx, id: i64, state: CampaignState, reason: Option<&str>) -> Result<()> {
    execute!(tx, "UPDATE campaigns SET state = $2, reason = $3 WHERE id = $1", id, state.code(), reason)?;
    Ok(())
}

/// As [`set_state`], of a campaign that was read in this state without its lock: whatever somebody made of it since stands.
pub async fn move_state(tx: &mut Tx, id: i64, from: CampaignState, to: CampaignState, reason: Option<&str>) -> Result<bool> {
    let moved = execute!(
        tx,
        "UPDATE campaigns SET state = $3, reason = $4 WHERE id = $1 AND state = $2",
        id,
        from.code(),
        to.code(),
        reason
    )?;
    Ok(moved == 1)
}

pub async fn set_progress(tx: &mut Tx, id: i64, planned_to: i64, all: bool) -> Result<()> {
    execute!(tx, "UPDATE campaigns SET planned_to = $2, planned_all = $3 WHERE id = $1", id, planned_to, i64::from(all))?;
    Ok(())
}

/// When everybody is to be looked at again; `None` is never.
pub async fn set_repeat(tx: &mut Tx, id: i64, at: Option<i64>) -> Result<()> {
    execute!(tx, "UPDATE campaigns SET repeat_at = $2 WHERE id = $1", id, at)?;
    Ok(())
}

/// Starts the look at everybody anew. Compare-and-set: of two sweeps one does it.
pub async fn begin_repeat(tx: &mut Tx, id: i64, due: i64) -> Result<bool> {
    Ok(execute!(
        tx,
        "UPDATE campaigns SET planned_to = 0, planned_all = 0, repeat_at = NULL WHERE id = $1 AND repeat_at = $2 AND planned_all = 1",
        id,
        due
    )? == 1)
}

/// Of the contacts with these ids and between, those whom this revision of the campaign has decided to ask already, and those whose ask
/// has left under an earlier one, by its first leg at least: what was decided about them stays. A range, since Postgres joins a list
/// with a table that has grown since its last ANALYZE row by row.
/// And `+`, since SQLite would rather read everything that was planned so far.
pub async fn planned_already(tx: &mut Tx, campaign: i64, revision: i64, contacts: &[i64]) -> Result<Vec<i64>> {
    let (Some(first), Some(last)) = (contacts.iter().min(), contacts.iter().max()) else { return Ok(Vec::new()) };
    let rows: Vec<(i64,)> = fetch_all!(
        tx,
        "SELECT d.contact_id FROM decisions d
         WHERE d.controller = (SELECT c.controller FROM campaigns c WHERE c.id = $1) AND d.campaign_id = $1
           AND d.contact_id BETWEEN $3 AND $4 AND d.revision_id = $2 AND d.stage = 'plan' AND d.outcome <> 'skip'
         UNION
         SELECT m.contact_id FROM messages m
         WHERE m.contact_id BETWEEN $3 AND $4 AND +m.campaign_id = $1 AND m.kind = 'ask' AND m.state NOT IN ('cancelled', 'lapsed')
           AND (m.state <> 'planned' OR EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = m.id AND a.channel <> m.channel))",
        campaign,
        revision,
        *first,
        *last
    )?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// What `stop_if` counts from now on begins here.
pub async fn set_stop_base(tx: &mut Tx, id: i64, tally: &str) -> Result<()> {
    execute!(tx, "UPDATE campaigns SET stop_base = $2 WHERE id = $1", id, tally)?;
    Ok(())
}

/// Takes up to `wanted` asks from the ramp-up's allowance. Answers how many may go.
pub async fn take_allowance(tx: &mut Tx, id: i64, wanted: i64) -> Result<i64> {
    let row: Option<(Option<i64>,)> = fetch_optional!(tx, "SELECT allowance FROM campaigns WHERE id = $1 FOR UPDATE", id)?;
    let Some((Some(left),)) = row else { return Ok(wanted) };
    let granted = wanted.min(left.max(0));
    execute!(tx, "UPDATE campaigns SET allowance = allowance - $2 WHERE id = $1", id, granted)?;
    Ok(granted)
}

pub async fn return_allowance(tx: &mut Tx, id: i64, unused: i64) -> Result<()> {
    execute!(tx, "UPDATE campaigns SET allowance = allowance + $2 WHERE id = $1 AND allowance IS NOT NULL", id, unused)?;
    Ok(())
}

/// The manager's resume after the ramp-up: no more holding back.
pub async fn lift_allowance(tx: &mut Tx, id: i64) -> Result<()> {
    execute!(tx, "UPDATE campaigns SET allowance = NULL WHERE id = $1", id)?;
    Ok(())
}

/// What is reserved, locked until the transaction ends: two workers reserve one after the other.
pub async fn reserved(tx: &mut Tx, id: i64) -> Result<i64> {
    let row: Option<(i64,)> = fetch_optional!(tx, "SELECT reserved FROM campaigns WHERE id = $1 FOR UPDATE", id)?;
    Ok(row.map_or(0, |(reserved,)| reserved))
}

pub async fn reserve(tx: &mut Tx, id: i64, cost: i64) -> Result<()> {
    execute!(tx, "UPDATE campaigns SET reserved = reserved + $2 WHERE id = $1", id, cost)?;
    Ok(())
}

/// Cancels up to `limit` of what a campaign has not sent yet. Answers how many.
pub async fn cancel_planned(tx: &mut Tx, id: i64, now: i64, limit: i64) -> Result<u64> {
    execute!(
        tx,
        "UPDATE messages SET state = 'cancelled', reason = 'campaign cancelled', changed_at = $2
         WHERE state = 'planned' AND id IN (SELECT m.id FROM messages m
           WHERE m.campaign_id = $1 AND m.state = 'planned' AND m.kind IN ('ask', 'reminder') LIMIT $3)",
        id,
        now,
        limit
    )
}

/// Asks and reminders whose campaign is past its deadline lapse, up to `limit` of them; they are never sent late. Answers how many.
pub async fn lapse_planned(tx: &mut Tx, controller: &str, now: i64, limit: i64) -> Result<u64> {
    execute!(
        tx,
        "UPDATE messages SET state = 'lapsed', reason = 'DEADLINE_PASSED', changed_at = $2
         WHERE state = 'planned' AND id IN (SELECT m.id FROM messages m
           WHERE m.controller = $1 AND m.state = 'planned' AND m.expires_at <= $2 LIMIT $3)",
        controller,
        now,
        limit
    )
}

/// One recorded verdict about one person.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Decided {
    pub contact: i64,
    /// send, wait, skip
    pub outcome: &'static str,
    pub code: &'static str,
    pub basis: Option<&'static str>,
    pub facts: String,
}

pub async fn record(
    tx: &mut Tx,
    controller: &str,
    campaign: i64,
    revision: i64,
    stage: &str,
    rows: &[Decided],
    now: i64,
) -> Result<()> {
    let rows = json(rows);
    // Of plan and claim the newest word stands: a person cancelled at the claim and planned anew is to be asked again. Whoever was asked by
    // one leg was not left out, whatever the claim of the next says.
    execute!(
        tx,
        concat!(
            "INSERT INTO decisions (controller, campaign_id, contact_id, stage, revision_id, outcome, code, basis, facts, country, at, standing)
             SELECT $2, $3, CAST(j.value->>'contact' AS BIGINT), $4, $5, j.value->>'outcome', j.value->>'code', j.value->>'basis',
               j.value->>'facts', (SELECT c.country FROM contacts c WHERE c.id = CAST(j.value->>'contact' AS BIGINT)), $6,
               CASE WHEN $4 = 'claim' AND EXISTS (SELECT 1 FROM messages m WHERE m.contact_id = CAST(j.value->>'contact' AS BIGINT)
                 AND m.campaign_id = $3 AND ",
            answers::left!("m"),
            ") THEN 0 ELSE 1 END
             FROM EACH($1) WHERE true
             ON CONFLICT (controller, campaign_id, contact_id, stage) DO UPDATE SET revision_id = excluded.revision_id,
               outcome = excluded.outcome, code = excluded.code, basis = excluded.basis, facts = excluded.facts, at = excluded.at,
               standing = excluded.standing"
        ),
        &rows,
        controller,
        campaign,
        stage,
        revision,
        now
    )?;
    execute!(
        tx,
        "UPDATE decisions SET standing = 1 - standing WHERE controller = $2 AND campaign_id = $3 AND stage <> $4
           AND contact_id IN (SELECT CAST(j.value->>'contact' AS BIGINT) FROM EACH($1))
           AND standing = (SELECT n.standing FROM decisions n WHERE n.controller = $2 AND n.campaign_id = $3
             AND n.contact_id = decisions.contact_id AND n.stage = $4)",
        &rows,
        controller,
        campaign,
        stage
    )?;
    Ok(())
}

/// A person whose standing decision leaves them out.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Skipped {
    pub contact_id: i64,
    pub subject: String,
    pub number_enc: String,
    pub country: Option<String>,
    pub kind: Option<String>,
    pub stage: String,
    pub at: i64,
}

/// Up to `limit` people left out of a campaign for this reason, after this contact; whoever was erased since can be shown no more.
pub async fn skipped(tx: &mut Tx, campaign: i64, code: &str, after: i64, limit: i64) -> Result<Vec<Skipped>> {
    fetch_all!(
        tx,
        "SELECT d.contact_id, c.subject, c.number_enc, c.country, c.kind, d.stage, d.at
         FROM decisions d JOIN contacts c ON c.id = d.contact_id
         WHERE d.campaign_id = $1 AND d.code = $2 AND d.standing = 1 AND d.outcome = 'skip' AND d.contact_id > $3 AND c.number_enc <> ''
         ORDER BY d.contact_id LIMIT $4",
        campaign,
        code,
        after,
        limit
    )
}

/// (campaign, stage, outcome, code, facts, at, revision)
pub type DecisionOf = (String, String, String, String, String, i64, i64);

/// What was decided about a person, oldest first.
pub async fn decisions_of(tx: &mut Tx, contact: i64) -> Result<Vec<DecisionOf>> {
    fetch_all!(
        tx,
        "SELECT c.name, d.stage, d.outcome, d.code, d.facts, d.at, d.revision_id FROM decisions d JOIN campaigns c ON c.id = d.campaign_id
         WHERE d.contact_id = $1 ORDER BY d.at, d.stage DESC",
        contact
    )
}

/// Asks of running campaigns that were accepted before `before` and never answered: candidates for their reminder.
/// (contact, locale). The reminder goes the way the ask arrived by, and the ask was of one of the revisions `alike`. One that was planned under
/// an earlier revision and never left does not count, since a new start cancels it.
pub async fn unanswered(
    tx: &mut Tx,
    campaign: i64,
    (revision, alike): (i64, &[i64]),
    channel: Channel,
    before: i64,
    limit: i64,
) -> Result<Vec<(i64, String)>> {
    fetch_all!(
        tx,
        // Postgres would join them the other way round on a day on which it has counted neither, and compare every row with every row.
        "WITH old AS MATERIALIZED (
           SELECT message_id FROM conversations WHERE campaign_id = $1 AND state = 'asked' AND closed_at IS NULL AND opened_at <= $2
         )
         SELECT m.contact_id, m.locale FROM old THEN JOIN messages m ON m.id = old.message_id
         WHERE m.campaign_id = $1 AND m.kind = 'ask' AND m.state IN ('accepted', 'sent', 'delivered', 'read')
           AND m.channel = $4 AND m.revision_id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($6))
           AND NOT EXISTS (SELECT 1 FROM messages r WHERE r.contact_id = m.contact_id AND r.kind = 'reminder' AND r.family = m.family
             AND (r.state NOT IN ('cancelled', 'lapsed') OR r.revision_id = $5))
         ORDER BY m.id LIMIT $3",
        campaign,
        before,
        limit,
        channel.code(),
        revision,
        &json(alike)
    )
}

/// Every revision of a campaign that was ever frozen.
pub async fn revisions(tx: &mut Tx, controller: &str, name: &str) -> Result<Vec<i64>> {
    let ids: Vec<(i64,)> = fetch_all!(
        tx,
        "SELECT id FROM campaign_revisions WHERE controller = $1 AND campaign = $2 ORDER BY id",
        controller,
        name
    )?;
    Ok(ids.into_iter().map(|(id,)| id).collect())
}

/// Whether asks or reminders of a campaign are planned, or in flight.
pub async fn is_unfinished(tx: &mut Tx, campaign: i64) -> Result<bool> {
    let row: Option<(i64,)> = fetch_optional!(
        tx,
        "SELECT id FROM messages WHERE campaign_id = $1 AND kind IN ('ask', 'reminder') AND state IN ('planned', 'sending') LIMIT 1",
        campaign
    )?;
    Ok(row.is_some())
}

/// Who of these was asked by the campaign and has not answered by now.
pub async fn still_asked(tx: &mut Tx, campaign: i64, contacts: &[i64]) -> Result<Vec<i64>> {
    let rows: Vec<(i64,)> = fetch_all!(
        tx,
        "SELECT v.contact_id FROM EACH($1) THEN JOIN conversations v ON v.contact_id = CAST(j.value AS BIGINT)
         WHERE v.campaign_id = $2 AND v.state = 'asked' AND v.closed_at IS NULL",
        json(contacts),
        campaign
    )?;
    Ok(rows.into_iter().map(|(contact,)| contact).collect())
}

/// The ask basis that the plan recorded for a person.
pub async fn basis_of(tx: &mut Tx, campaign: i64, contact: i64) -> Result<Option<String>> {
    let row: Option<(Option<String>,)> = fetch_optional!(
        tx,
        "SELECT basis FROM decisions WHERE campaign_id = $1 AND contact_id = $2 AND stage = 'plan'",
        campaign,
        contact
    )?;
    Ok(row.and_then(|(basis,)| basis))
}
