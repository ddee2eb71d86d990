//! The record of what people asked for about their data: by when it is due, whether it is done, and what each provider still has to do
//! (Art. 12(3), 19 and 28 GDPR).

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::Engine;
use crate::clock::{DAY, instant};
use crate::domain::rights::{Right, due};
use crate::store::Tx;
use crate::store::requests::{self, Part, Request, Row};
use crate::vault::Keyed;

/// Requests read at once.
const PAGE: i64 = 500;

/// How a request came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `page`, `operator`
    pub channel: &'static str,
    pub by: String,
    /// For the ledger.
    pub evidence: String,
    /// Microseconds; the month runs from that day (UTC).
    pub received_at: i64,
}

impl Asked {
    /// The end of the last day, microseconds.
    pub fn due_at(&self) -> i64 {
        let last = due(instant(self.received_at).date_naive());
        last.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros() + DAY
    }
}

/// A message that went through a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    pub reference: String,
    pub provider_id: Option<String>,
}

/// A request as an operator reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    pub id: i64,
    pub kind: String,
    /// Pseudonym; none where the number was no contact.
    pub subject: Option<String>,
    pub channel: String,
    pub by: String,
    /// Days, UTC.
    pub received: String,
    pub due: String,
    pub done: Option<String>,
    pub overdue: bool,
    pub providers: Vec<Provider>,
}

/// What a provider has to do, and whether it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Provider {
    pub gateway: String,
    pub done: Option<String>,
    pub done_by: Option<String>,
    /// What to ask of it.
    pub ask: String,
    pub messages: Vec<Passed>,
}

/// Records a request. It is done at once unless a provider has a part in it.
pub(super) async fn add(
    tx: &mut Tx,
    engine: &Engine,
    right: Right,
    keyed: &[Keyed],
    subject: Option<&str>,
    asked: &Asked,
    parts: &[Part],
) -> Result<Option<i64>> {
    let Some(newest) = keyed.last() else { return Ok(None) };
    let new = Request {
        kind: right.code().to_owned(),
        mac: newest.mac.clone(),
        key_id: newest.key_id,
        subject: subject.map(str::to_owned),
        channel: asked.channel.to_owned(),
        by_whom: asked.by.clone(),
        received_at: asked.received_at,
        due_at: asked.due_at(),
        done_at: parts.is_empty().then(|| engine.now()),
    };
    Ok(requests::add(tx, &engine.controller, &new, parts).await?)
}

/// Every request, or those not done yet, oldest first.
pub async fn list(engine: &Engine, open_only: bool) -> Result<Vec<Listed>> {
    let mut tx = engine.store.read().await?;
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = requests::after(&mut tx, &engine.controller, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for row in page.into_iter().filter(|row| !open_only || row.request.done_at.is_none()) {
            all.push(listed(&mut tx, engine, row).await?);
        }
    }
    tx.rollback().await?;
    Ok(all)
}

/// A provider has done its part.
///
/// # Errors
/// There is no such request, or the provider has no open part in it.
pub async fn done(engine: &Engine, request: i64, gateway: &str, by: &str) -> Result<()> {
    let mut tx = engine.store.write().await?;
    if !requests::part_done(&mut tx, &engine.controller, request, gateway, by, engine.now()).await? {
        bail!("request {request} waits for nothing of `{gateway}`; remedy: `permesso contact requests list` shows what is open");
    }
    Ok(tx.commit().await?)
}

/// `2026-12-01`, UTC.
pub(super) fn day(at: i64) -> String {
    instant(at).date_naive().to_string()
}

pub(super) async fn listed(tx: &mut Tx, engine: &Engine, row: Row) -> Result<Listed> {
    let providers = requests::parts(tx, &engine.controller, row.id).await?.into_iter().map(provider).collect::<Result<_>>()?;
    let request = row.request;
    Ok(Listed {
        id: row.id,
        kind: request.kind,
        subject: request.subject,
        channel: request.channel,
        by: request.by_whom,
        received: day(request.received_at),
        due: day(request.due_at - 1),
        overdue: request.done_at.is_none() && engine.now() >= request.due_at,
        done: request.done_at.map(day),
        providers,
    })
}

fn provider(part: Part) -> Result<Provider> {
    let messages: Vec<Passed> = serde_json::from_str(&part.messages)?;
    let ask = match (part.done_at, messages.is_empty()) {
        (Some(_), _) => "nothing more".to_owned(),
        (None, true) => "delete the messages that this person wrote to your numbers".to_owned(),
        (None, false) => format!("delete {} messages by the ids here, with what the person answered to them", messages.len()),
    };
    Ok(Provider { gateway: part.gateway, done: part.done_at.map(day), done_by: part.done_by, ask, messages })
}
