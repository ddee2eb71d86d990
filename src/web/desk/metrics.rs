//! For machines that watch: `/readyz` and `/metrics`.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::clock::SECOND;
use crate::engine::report;
use crate::store::{self, control};
use crate::web::Web;
use crate::web::problem::Problem;

/// Ready = the database answers. Whether anything is sent is another question, answered by the overview.
pub async fn ready(State(web): State<Web>) -> Result<&'static str, Problem> {
    let mut tx = web.engine.store.read().await?;
    tx.db_now().await?;
    tx.rollback().await?;
    Ok("ready\n")
}

/// Prometheus' text format. Labels are kinds, states and names of gateways, never anything about a person.
pub async fn metrics(State(web): State<Web>) -> Result<Response, Problem> {
    let overview = report::overview(&web.engine).await?;
    let mut tx = web.engine.store.read().await?;
    let messages = store::report::all_messages(&mut tx, &web.engine.controller).await?;
    let gauges = store::report::gauges(&mut tx, &web.engine.controller).await?;
    let heard_ago = control::heard_ago(&mut tx, &web.engine.controller).await?;
    let gaps = control::open_gaps(&mut tx, &web.engine.controller).await?.len();
    let health = control::all_health(&mut tx, &web.engine.controller).await?;
    tx.rollback().await?;
    let mut out = String::from("# HELP permesso_messages Messages by kind and state.\n# TYPE permesso_messages gauge\n");
    for (kind, state, count) in &messages {
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
    out.push_str("# HELP permesso_gateway_reachable Whether connections to a gateway come about.\n# TYPE permesso_gateway_reachable gauge\n");
    for gateway in &overview.gateways {
        let _ = writeln!(out, "permesso_gateway_reachable{{gateway=\"{}\"}} {}", gateway.name, u8::from(gateway.reachable));
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
    let _ = writeln!(
        out,
        "# HELP permesso_requests_overdue People's requests about their data that are past their day.\n# TYPE permesso_requests_overdue gauge\npermesso_requests_overdue {}",
        overview.requests_overdue
    );
    let now = web.engine.now();
    let age = |since: Option<i64>| since.map_or(0, |since| (now - since).max(0) / SECOND);
    let unknown: i64 = messages.iter().filter(|(_, state, _)| state == "unknown").map(|(_, _, count)| count).sum();
    // A gauge for each promise that can be seen to fail.
    for (name, help, value) in [
        (
            "unknown",
            "Messages of which nobody knows whether they were taken; `campaign settle` asks about a campaign's.",
            unknown,
        ),
        ("in_flight", "Messages claimed whose outcome is not stored yet.", gauges.in_flight),
        ("in_flight_oldest_seconds", "Age of the oldest of them; over 120 it is given up.", age(gauges.in_flight_since)),
        ("due_oldest_seconds", "How long the oldest message that waits has been due.", age(gauges.due_since)),
        (
            "heard_seconds",
            "Since a web role gave a sign of life; over 30 nothing is sent. -1: never.",
            heard_ago.map_or(-1, |ago| ago / SECOND),
        ),
        ("gaps_open", "Times in which nobody listened, neither read from the gateways nor vouched for.", gaps as i64),
        ("dead_letters", "Authentic callbacks that could not be read and wait for an operator.", gauges.dead_letters),
        ("unmatched_receipts", "Receipts of the last week of messages that are not known.", gauges.unmatched_receipts),
    ] {
        let _ = writeln!(out, "# HELP permesso_{name} {help}\n# TYPE permesso_{name} gauge\npermesso_{name} {value}");
    }
    out.push_str("# HELP permesso_gateway_breaker_open Whether a breaker lets nothing but probes through.\n# TYPE permesso_gateway_breaker_open gauge\n");
    for gateway in web.engine.gateways.keys() {
        let open = health.iter().any(|health| health.name == *gateway && health.opened_at.is_some());
        let _ = writeln!(out, "permesso_gateway_breaker_open{{gateway=\"{gateway}\"}} {}", u8::from(open));
    }
    out.push_str("# HELP permesso_callbacks_refused_total Callbacks refused since this process began, by reason; without a gateway: the address names none.\n# TYPE permesso_callbacks_refused_total counter\n");
    for (gateway, why, count) in web.engine.refused.all() {
        let _ = writeln!(out, "permesso_callbacks_refused_total{{gateway=\"{gateway}\",why=\"{why}\"}} {count}");
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], out).into_response())
}
