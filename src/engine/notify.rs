//! Tell the company's CRM what changed, at least once and in the order of the ledger for each person. The outbox was written with
//! the change itself; here it is emptied, by a loop of its own a webhook, so that a CRM that is slow or down delays no message.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::SecondsFormat;
use futures::StreamExt;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::clock::{DAY, SECOND, instant};
use crate::domain::ledger::Body;
use crate::domain::phone::PhoneNumber;
use crate::domain::suppression::Reason;
use crate::domain::webhook::{self, News};
use crate::gateway::crm::Answer;
use crate::store::outbox::{self, Claimed, Told};
use crate::store::{self, Tx};
use crate::vault;

/// Events a round claims, and requests of them under way at one moment: what a receiver can make us hold.
const ROUND: i64 = 32;
const AT_ONCE: usize = 8;

/// Microseconds of the database's clock: longer than a round of answers that all come at the last moment (32 / 8 × 20 s).
const LEASE_DB: i64 = 150_000_000;

/// Events told are kept so long, for whoever asks whether they were; and the number in one that cannot be told.
const KEPT: i64 = 30 * DAY;

/// What one round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    pub delivered: usize,
    /// To be tried again.
    pub failed: usize,
    pub dead: usize,
    /// The receiver said 410 Gone.
    pub closed: bool,
}

/// A no of a number that is no contact: neither contact nor ledger has it, so the event carries it, encrypted, until it is told.
pub async fn no_of_stranger(tx: &mut Tx, engine: &Engine, number: &PhoneNumber, reason: Reason) -> Result<()> {
    let news = News::of_suppression(reason);
    let told = engine.told(Some(news));
    if told.is_empty() {
        return Ok(());
    }
    let number_enc = engine.vault.encrypt_number(number)?;
    let new = outbox::New {
        kind: news.code(),
        subject: None,
        seq: None,
        permissions: "[]",
        number_enc: Some(&number_enc),
        reason: Some(reason.code()),
        at: engine.now(),
    };
    Ok(outbox::add(tx, &engine.controller, &told, &new, engine.now()).await?)
}

/// Tells one webhook what is due, up to 32 events. Once `stop` is pulled no further request begins.
pub async fn round(engine: &Engine, webhook: &str, stop: &CancellationToken) -> Result<Round> {
    let receiver = engine.receivers.get(webhook).with_context(|| format!("there is no webhook `{webhook}`"))?;
    let mut tx = engine.store.read().await?;
    let due = outbox::is_due(&mut tx, &engine.controller, webhook, engine.now()).await?;
    tx.rollback().await?;
    if !due {
        return Ok(Round::default());
    }
    let mut tx = engine.store.write().await?;
    let claimed = outbox::claim(&mut tx, &engine.controller, webhook, LEASE_DB, ROUND, engine.now()).await?;
    tx.commit().await?;

    let answers = futures::stream::iter(claimed)
        .map(async |event| {
            let answer = match stop.is_cancelled() {
                true => None,
                false => Some(match body(engine, &event) {
                    Ok(body) => receiver.post(&event.event_id, body).await,
                    Err(error) => Answer::Failed { error: format!("{error:#}"), retry_after: None },
                }),
            };
            (event, answer)
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;

    let mut done = Round::default();
    let told: Vec<Told> = answers.into_iter().map(|(event, answer)| settled(engine, webhook, event, answer, &mut done)).collect();
    let mut tx = engine.store.write().await?;
    if done.closed {
        outbox::close(&mut tx, &engine.controller, webhook, engine.now()).await?;
        tracing::warn!(webhook.name = webhook, "The receiver answered 410 Gone; `permesso webhooks resume` takes it up again");
    }
    outbox::settle(&mut tx, &told, engine.now()).await?;
    tx.commit().await?;
    Ok(done)
}

/// What an answer makes of an event.
fn settled(engine: &Engine, webhook: &str, event: Claimed, answer: Option<Answer>, done: &mut Round) -> Told {
    let now = engine.now();
    let mut told = Told { id: event.id, lease_db: event.lease_db, state: "pending", tries: 1, next_at: now, error: None };
    match answer {
        None => told.tries = 0,
        Some(Answer::Taken) => {
            told.state = "delivered";
            done.delivered += 1;
        }
        Some(Answer::Gone) => {
            told.error = Some("HTTP 410".to_owned());
            done.closed = true;
        }
        Some(Answer::Failed { error, retry_after }) => {
            match webhook::pause_s(event.tries + 1) {
                Some(seconds) => {
                    let pause = Duration::from_secs(seconds.unsigned_abs()).max(retry_after.unwrap_or_default());
                    told.next_at = now + i64::try_from(jittered(pause).as_micros()).unwrap_or(DAY);
                    done.failed += 1;
                    tracing::info!(webhook.name = webhook, event.id = %event.event_id, error, "An event was not taken; it is tried again");
                }
                None => {
                    told.state = "dead";
                    done.dead += 1;
                    tracing::warn!(webhook.name = webhook, event.id = %event.event_id, error,
                        "An event was refused ten times over three days and is a dead letter; `permesso webhooks retry` tries it again");
                }
            }
            told.error = Some(error);
        }
    }
    told
}

/// Up to a tenth longer, so that what failed together does not come back together.
fn jittered(pause: Duration) -> Duration {
    let [byte] = vault::random::<1>();
    pause + pause.mul_f64(f64::from(byte) / 2560.0)
}

/// The body as receivers read it; the field list of README.
#[derive(Serialize)]
struct Event<'a> {
    r#type: &'a str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    /// `null`: a stranger's, or that of somebody erased, which could not be told for so long that it is forgotten.
    number: Option<&'a str>,
    scope: &'a str,
    permissions: serde_json::Value,
    /// What happened, in one word of [`webhook::reason`].
    reason: &'a str,
    ledger_seq: Option<i64>,
    channel: Option<&'a str>,
    action: Option<&'a str>,
    campaign: Option<&'a str>,
    ask_basis: Option<&'a str>,
    ask_reference: Option<&'a str>,
    wording_hash: Option<&'a str>,
    page_hash: Option<&'a str>,
    form: Option<&'a str>,
    locale: Option<&'a str>,
    notice_version: Option<&'a str>,
    first_yes_at: Option<String>,
    evidence: Option<&'a str>,
}

/// Made of what cannot change, so that every try sends the same, but for a number that is forgotten between two of them.
fn body(engine: &Engine, event: &Claimed) -> Result<String> {
    let entry: Option<Body> = match (&event.evidence, event.seq) {
        (Some(text), _) => Some(serde_json::from_str(text).context("the ledger entry cannot be read")?),
        (None, Some(_)) => bail!("the ledger entry's evidence is gone"),
        (None, None) => None,
    };
    let number = event.number_enc.as_ref().map(|stored| engine.vault.decrypt_number(stored)).transpose()?;
    let news = News::parse(&event.kind).context("an unknown kind of event")?;
    let entry = entry.as_ref();
    let of = |field: fn(&Body) -> &Option<String>| entry.and_then(|e| field(e).as_deref());
    let data = Data {
        number: number.as_ref().map(PhoneNumber::e164),
        scope: news.scope(),
        permissions: serde_json::from_str(&event.permissions)?,
        reason: event.reason.as_deref().unwrap_or_else(|| webhook::reason(news, entry)),
        ledger_seq: event.seq,
        channel: entry.map(|e| e.channel.as_str()),
        action: entry.map(|e| e.action.as_str()),
        campaign: of(|e| &e.campaign),
        ask_basis: of(|e| &e.ask_basis),
        ask_reference: of(|e| &e.ask_reference),
        wording_hash: of(|e| &e.wording_hash),
        page_hash: of(|e| &e.page_hash),
        form: of(|e| &e.form),
        locale: of(|e| &e.locale),
        notice_version: of(|e| &e.notice_version),
        first_yes_at: entry.and_then(|e| e.first_yes.as_ref()).map(|f| time(f.at)),
        evidence: of(|e| &e.evidence),
    };
    Ok(serde_json::to_string(&Event { r#type: news.code(), timestamp: time(event.at), data })?)
}

fn time(at: i64) -> String {
    instant(at).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Sends `webhook.test` at once, past the outbox: status and the beginning of the answer.
///
/// # Errors
/// There is no such webhook, or no answer came.
pub async fn test(engine: &Engine, webhook: &str) -> Result<(u16, String)> {
    let known: Vec<&str> = engine.receivers.keys().map(String::as_str).collect();
    let receiver = engine.receivers.get(webhook).with_context(|| match known.is_empty() {
        true => {
            let how = "add a [[webhook]] with name, url and secret (README.md, Telling your CRM)";
            format!("there is no [[webhook]] in permesso.toml, so nobody is told anything; remedy: {how}")
        }
        false => format!("there is no [[webhook]] `{webhook}` in permesso.toml; there are: {}", known.join(", ")),
    })?;
    let id = vault::reference("evt").replace('-', "_");
    let data = serde_json::json!({ "webhook": webhook });
    let body = serde_json::json!({ "type": "webhook.test", "timestamp": time(engine.now()), "data": data });
    receiver
        .probe(&id, body.to_string())
        .await
        .map_err(|error| anyhow::anyhow!("{error}; remedy: look at the url and at the receiver"))
}

/// How one webhook stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Standing {
    pub name: String,
    /// Events to be told, and those that were refused to the end.
    pub pending: u64,
    pub dead: u64,
    /// Seconds since the oldest pending event.
    pub oldest_s: u64,
    /// The receiver answered 410 Gone, then.
    pub closed_since: Option<String>,
    /// Whether permesso.toml still has it.
    pub configured: bool,
}

/// Every webhook of the configuration, and those that are no more there and left something.
pub async fn standings(tx: &mut Tx, engine: &Engine) -> store::Result<Vec<Standing>> {
    let mut all: Vec<Standing> = Vec::new();
    for webhook in &engine.config.webhooks {
        let closed_since = outbox::closed_since(tx, &engine.controller, &webhook.name).await?.map(time);
        all.push(Standing { name: webhook.name.clone(), closed_since, configured: true, ..Standing::default() });
    }
    for (name, state, count, oldest) in outbox::waiting(tx, &engine.controller).await? {
        let at = all.iter().position(|s| s.name == name).unwrap_or_else(|| {
            all.push(Standing { name, ..Standing::default() });
            all.len() - 1
        });
        let count = count.unsigned_abs();
        if state == "dead" {
            all[at].dead = count;
        } else {
            all[at].pending = count;
            all[at].oldest_s = u64::try_from((engine.now() - oldest) / SECOND).unwrap_or(0);
        }
    }
    Ok(all)
}

/// Forgets what was told long ago, and the numbers in what could not be for as long.
pub async fn sweep(engine: &Engine) -> Result<u64> {
    let configured: Vec<&str> = engine.config.webhooks.iter().map(|webhook| webhook.name.as_str()).collect();
    let mut tx = engine.store.write().await?;
    let gone = outbox::sweep(&mut tx, &engine.controller, &configured, engine.now() - KEPT).await?;
    tx.commit().await?;
    Ok(gone)
}
