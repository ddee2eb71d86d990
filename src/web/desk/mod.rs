//! The operator's desk: plain pages, the same as JSON, and metrics. Figures come from `engine`, so that terminal, page and API
//! say the same; what acts is behind [`guard`].

pub mod api;
mod campaign;
mod chart;
pub mod consents;
mod gateways;
pub mod guard;
mod inbox;
mod metrics;
mod overview;
mod people;
mod preview;
mod requests;
pub mod sheet;
mod webhooks;

use std::sync::Arc;

use askama::Template;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};

use self::guard::Gate;
use super::Web;
use super::problem::{PageProblem, Problem};
use crate::engine::Engine;
use crate::store;

type Page = Result<Response, PageProblem>;

/// The pages; what is behind `/api/v1` documents itself.
pub fn router(gate: Gate) -> Router<Web> {
    let pages = Router::new()
        .route("/", get(overview::show))
        .route("/campaigns.csv", get(overview::sheet))
        .route("/halt", post(overview::halt))
        .route("/resume", post(overview::resume))
        .route("/campaigns/{name}", get(campaign::show))
        .route("/campaigns/{name}/timeline.csv", get(campaign::timeline_sheet))
        .route("/campaigns/{name}/preview", get(preview::show))
        .route("/campaigns/{name}/{by}", get(campaign::sheet))
        .route("/campaigns/{name}/pause", post(campaign::pause))
        .route("/campaigns/{name}/resume", post(campaign::resume))
        .route("/campaigns/{name}/cancel", post(campaign::cancel))
        .route("/campaigns/{name}/skipped/{code}", get(people::skipped))
        .route("/contacts", get(people::search).post(people::find))
        .route("/contacts/{subject}", get(people::explain))
        .route("/consents", get(consents::show))
        .route("/consents/list", get(consents::list))
        .route("/consents.csv", get(consents::csv))
        .route("/consents.jsonl", get(consents::jsonl))
        .route("/inbox", get(inbox::show))
        .route("/inbox/{id}", post(inbox::resolve))
        .route("/gateways", get(gateways::show))
        .route("/gateways.csv", get(gateways::sheet))
        .route("/webhooks", get(webhooks::show))
        .route("/webhooks/retry", post(webhooks::retry_all))
        .route("/webhooks/{which}/retry", post(webhooks::retry))
        .route("/webhooks/{which}/resume", post(webhooks::resume))
        .route("/requests", get(requests::show))
        .route("/replies", get(inbox::replies).post(inbox::classify))
        .route("/desk.css", get(style))
        .route("/metrics", get(metrics::metrics))
        .fallback(unknown);
    let guarded = pages.merge(api::router()).layer(middleware::from_fn_with_state(Arc::new(gate), guard::gate));
    Router::new().route("/readyz", get(metrics::ready)).merge(guarded)
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../../../templates/desk/desk.css")).into_response()
}

async fn unknown() -> PageProblem {
    PageProblem(Problem::not_found("there is no such page", "begin at the overview"))
}

/// What every page shows around its own.
struct Frame {
    /// Which entry of the menu is this page's.
    section: &'static str,
    waiting: u64,
    /// People's requests that are past their day.
    overdue: u64,
    halted: bool,
    /// Seconds after which a page with something under way loads itself anew.
    refresh: Option<u32>,
}

impl Frame {
    async fn new(engine: &Engine, section: &'static str) -> Result<Frame, Problem> {
        let mut tx = engine.store.read().await?;
        let waiting = store::report::waiting(&mut tx, &engine.controller).await?.unsigned_abs();
        let overdue = store::requests::overdue(&mut tx, &engine.controller, engine.now()).await?.unsigned_abs();
        let silence = store::control::silence(&mut tx, &engine.controller, crate::engine::LEASE_DB).await?;
        tx.rollback().await?;
        Ok(Frame { section, waiting, overdue, halted: silence == Some(store::control::Silence::Halted), refresh: None })
    }
}

fn html(page: &impl Template) -> Page {
    Ok(Html(page.render().map_err(anyhow::Error::from)?).into_response())
}

/// After an act the browser loads a page anew, so that loading again repeats nothing.
fn back_to(path: &str) -> Page {
    Ok(axum::response::Redirect::to(path).into_response())
}

/// How templates write figures and times.
mod filters {
    use crate::domain::eligibility;

    /// A number as people read it: `12 345`.
    #[askama::filter_fn]
    pub fn group(n: impl std::fmt::Display, _: &dyn askama::Values) -> askama::Result<String> {
        let digits = n.to_string();
        let mut out = String::new();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                out.push('\u{202f}');
            }
            out.push(digit);
        }
        Ok(out)
    }

    /// A code of ours as people say it; anything else as it is.
    #[askama::filter_fn]
    pub fn words(code: impl std::fmt::Display, _: &dyn askama::Values) -> askama::Result<String> {
        let code = code.to_string();
        Ok(match code.as_str() {
            "opt_in" => "yes",
            "opt_out" => "no, or STOP",
            "refuse" => "no",
            "stop" => "STOP",
            "wrong_person" => "wrong number",
            "help" => "a call for help",
            "sms" => "SMS",
            "whatsapp" => "WhatsApp",
            "call" => "phone call",
            "product_info" => "product information",
            "not_given" => "not given",
            other => other,
        }
        .to_owned())
    }

    /// A sentence in HTML, with the code of a rule that stands in brackets made small.
    #[askama::filter_fn]
    pub fn coded(sentence: impl std::fmt::Display, _: &dyn askama::Values) -> askama::Result<String> {
        let mut html = askama::filters::escape(sentence.to_string(), askama::filters::Html)?.to_string();
        for code in eligibility::Reason::ALL.into_iter().map(eligibility::Reason::code).chain(["ELIGIBLE"]) {
            html = html.replace(&format!(" ({code})."), &format!(". <small><code>{code}</code></small>"));
        }
        Ok(html)
    }

    /// An RFC 3339 time to the minute, in the zone it was written in.
    #[askama::filter_fn]
    pub fn when(time: impl std::fmt::Display, _: &dyn askama::Values) -> askama::Result<String> {
        Ok(super::minute(&time.to_string()))
    }
}

/// An RFC 3339 time to the minute.
pub fn minute(time: &str) -> String {
    let at = chrono::DateTime::parse_from_rfc3339(time);
    at.map_or_else(|_| time.to_owned(), |at| at.format("%Y-%m-%d %H:%M").to_string())
}
