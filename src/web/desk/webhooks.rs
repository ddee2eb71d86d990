//! Webhooks to the CRM: how each stands, and the dead letters with a button to try them again.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::{Frame, Page, back_to, filters, html};
use crate::clock::instant;
use crate::engine::notify::{self, Standing};
use crate::store::outbox;
use crate::web::Web;
use crate::web::problem::Problem;

/// Dead letters shown, the oldest first.
const SHOWN: i64 = 100;

#[derive(Template)]
#[template(path = "desk/webhooks.html")]
struct WebhooksPage {
    frame: Frame,
    webhooks: Vec<Standing>,
    dead: Vec<Letter>,
    shown: i64,
}

/// A dead letter. Whom it is about stands in the ledger entry alone.
struct Letter {
    id: i64,
    webhook: String,
    event_id: String,
    kind: String,
    seq: Option<i64>,
    at: String,
    tries: i64,
    error: String,
}

pub async fn show(State(web): State<Web>) -> Page {
    let engine = &web.engine;
    let mut tx = engine.store.read().await?;
    let webhooks = notify::standings(&mut tx, engine).await?;
    let dead = outbox::untold(&mut tx, &engine.controller, "dead", SHOWN).await?;
    tx.rollback().await?;
    let letter = |row: outbox::Row| Letter {
        id: row.id,
        webhook: row.webhook,
        event_id: row.event_id,
        kind: row.kind,
        seq: row.seq,
        at: instant(row.at).to_rfc3339(),
        tries: row.tries,
        error: row.error.unwrap_or_default(),
    };
    let dead = dead.into_iter().map(letter).collect();
    html(&WebhooksPage { frame: Frame::new(engine, "webhooks").await?, webhooks, dead, shown: SHOWN })
}

/// Gives one dead letter all its tries again.
pub async fn retry(State(web): State<Web>, Path(id): Path<i64>) -> Page {
    let mut tx = web.engine.store.write().await?;
    if !outbox::retry(&mut tx, &web.engine.controller, id, web.engine.now()).await? {
        return Err(
            Problem::new(StatusCode::CONFLICT, "this is no dead letter any more", "load the page of webhooks again").into()
        );
    }
    tx.commit().await?;
    back_to("/webhooks")
}

pub async fn retry_all(State(web): State<Web>) -> Page {
    let mut tx = web.engine.store.write().await?;
    outbox::retry_all(&mut tx, &web.engine.controller, web.engine.now()).await?;
    tx.commit().await?;
    back_to("/webhooks")
}

/// Takes up again what answered 410 Gone.
pub async fn resume(State(web): State<Web>, Path(name): Path<String>) -> Page {
    let mut tx = web.engine.store.write().await?;
    if !outbox::reopen(&mut tx, &web.engine.controller, &name).await? {
        return Err(Problem::new(StatusCode::CONFLICT, "this webhook is not closed", "load the page of webhooks again").into());
    }
    tx.commit().await?;
    back_to("/webhooks")
}
