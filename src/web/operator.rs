//! The operator's door: what runs, how each campaign stands, and the same as JSON.

use std::fmt::Write;
use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::Web;
use super::error::Error;
use super::pages::{CampaignPage, CampaignRow, Figure, GatewayRow, OPERATOR_CSS, OverviewPage, SkipRow};
use crate::domain::eligibility::Reason;
use crate::domain::message;
use crate::engine::report::{self, Report};
use crate::store;

/// Lets in who knows the token, where there is one.
pub async fn bearer(State(token): State<Option<Arc<str>>>, request: Request, next: Next) -> Response {
    if let Some(token) = token {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
        if !given.is_some_and(|g| g.as_bytes().ct_eq(token.as_bytes()).into()) {
            let mut refused = Error::new(StatusCode::UNAUTHORIZED, "a bearer token is needed").into_response();
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return refused;
        }
    }
    next.run(request).await
}

pub async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], OPERATOR_CSS).into_response()
}

fn html(page: &impl Template) -> Result<Response, Error> {
    Ok(Html(page.render().map_err(anyhow::Error::from)?).into_response())
}

pub async fn overview(State(web): State<Web>) -> Result<Response, Error> {
    let overview = report::overview(&web.engine).await?;
    let (halted, deaf) = if overview.halted { (overview.silence, None) } else { (None, overview.silence) };
    html(&OverviewPage {
        halted,
        deaf,
        inbox_waiting: overview.inbox_waiting,
        campaigns: overview.campaigns.iter().map(row).collect(),
        gateways: overview.gateways.into_iter().map(|g| GatewayRow { name: g.name, healthy: g.healthy, note: g.note }).collect(),
    })
}

fn row(report: &Report) -> CampaignRow {
    CampaignRow {
        name: report.name.clone(),
        url: format!("/campaigns/{}", report.name),
        state: report.state.clone(),
        pause_reason: report.reason.clone(),
        targeted: report.targeted,
        asked: report.asked(),
        pending: report.pending,
        confirmed: report.confirmed,
        refused: report.refused,
        stopped: report.stopped,
    }
}

/// The report of a campaign that exists, else 404.
async fn find(web: &Web, name: &str) -> Result<Report, Error> {
    let mut tx = web.engine.store.read().await?;
    let known = store::campaigns::by_name(&mut tx, &web.engine.controller, name).await?.is_some();
    tx.rollback().await?;
    if !known {
        return Err(Error::new(StatusCode::NOT_FOUND, "no such campaign"));
    }
    Ok(report::campaign(&web.engine, name).await?)
}

pub async fn campaign(State(web): State<Web>, Path(name): Path<String>) -> Result<Response, Error> {
    let report = find(&web, &name).await?;
    html(&page(report))
}

fn page(report: Report) -> CampaignPage {
    let sentence = |code: &str| Reason::parse(code).map_or("", Reason::sentence).to_owned();
    CampaignPage {
        asked: report.asked(),
        skipped: report
            .skipped
            .iter()
            .map(|(code, count)| SkipRow { code: code.clone(), sentence: sentence(code), count: *count })
            .collect(),
        messages: message::State::ALL
            .into_iter()
            .filter_map(|s| report.asks.get(s.code()).map(|n| Figure { label: s.code().to_owned(), count: *n }))
            .collect(),
        facts: vec![
            ("Start".to_owned(), report.start),
            ("Deadline".to_owned(), report.deadline),
            ("Eligible".to_owned(), report.eligible.to_string()),
            ("Wrong person".to_owned(), report.wrong_person.to_string()),
        ],
        name: report.name,
        state: report.state,
        pause_reason: report.reason,
        targeted: report.targeted,
        pending: report.pending,
        confirmed: report.confirmed,
        refused: report.refused,
        stopped: report.stopped,
        silent: report.silent,
    }
}

pub async fn overview_json(State(web): State<Web>) -> Result<Json<report::Overview>, Error> {
    Ok(Json(report::overview(&web.engine).await?))
}

pub async fn campaign_json(State(web): State<Web>, Path(name): Path<String>) -> Result<Json<Report>, Error> {
    Ok(Json(find(&web, &name).await?))
}

/// Ready = the database answers. Whether anything is sent is another question, answered by the overview.
pub async fn ready(State(web): State<Web>) -> Result<&'static str, Error> {
    let mut tx = web.engine.store.read().await?;
    tx.db_now().await?;
    tx.rollback().await?;
    Ok("ready\n")
}

/// Prometheus' text format. Labels are kinds, states and names of gateways, never anything about a person.
pub async fn metrics(State(web): State<Web>) -> Result<Response, Error> {
    let overview = report::overview(&web.engine).await?;
    let mut tx = web.engine.store.read().await?;
    let messages = store::report::all_messages(&mut tx, &web.engine.controller).await?;
    tx.rollback().await?;
    let mut out = String::from("# HELP permesso_messages Messages by kind and state.\n# TYPE permesso_messages gauge\n");
    for (kind, state, count) in messages {
        let _ = writeln!(out, "permesso_messages{{kind=\"{kind}\",state=\"{state}\"}} {count}");
    }
    out.push_str("# HELP permesso_inbound Inbound messages by intent.\n# TYPE permesso_inbound gauge\n");
    for (intent, count) in &overview.inbound {
        let _ = writeln!(out, "permesso_inbound{{intent=\"{intent}\"}} {count}");
    }
    out.push_str("# HELP permesso_permissions Permissions by state.\n# TYPE permesso_permissions gauge\n");
    for (state, count) in &overview.consents {
        let _ = writeln!(out, "permesso_permissions{{state=\"{state}\"}} {count}");
    }
    out.push_str("# HELP permesso_gateway_healthy Whether a gateway takes messages.\n# TYPE permesso_gateway_healthy gauge\n");
    for gateway in &overview.gateways {
        let _ = writeln!(out, "permesso_gateway_healthy{{gateway=\"{}\"}} {}", gateway.name, u8::from(gateway.healthy));
    }
    out.push_str("# HELP permesso_webhook_events Consent changes not yet told.\n# TYPE permesso_webhook_events gauge\n");
    for webhook in &overview.webhooks {
        let _ = writeln!(out, "permesso_webhook_events{{webhook=\"{}\",state=\"pending\"}} {}", webhook.name, webhook.pending);
        let _ = writeln!(out, "permesso_webhook_events{{webhook=\"{}\",state=\"dead\"}} {}", webhook.name, webhook.dead);
    }
    out.push_str(
        "# HELP permesso_webhook_oldest_seconds Age of the oldest pending event.\n# TYPE permesso_webhook_oldest_seconds gauge\n",
    );
    for webhook in &overview.webhooks {
        let _ = writeln!(out, "permesso_webhook_oldest_seconds{{webhook=\"{}\"}} {}", webhook.name, webhook.oldest_s);
    }
    let _ = writeln!(
        out,
        "# HELP permesso_silent Whether nothing may be sent: halted, deaf, or replies unread.\n# TYPE permesso_silent gauge\npermesso_silent {}",
        u8::from(overview.silence.is_some())
    );
    let _ = writeln!(
        out,
        "# HELP permesso_inbox_waiting Unclear replies that wait for an operator.\n# TYPE permesso_inbox_waiting gauge\npermesso_inbox_waiting {}",
        overview.inbox_waiting
    );
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], out).into_response())
}
