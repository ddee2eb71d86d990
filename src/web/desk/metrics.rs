//! For machines that watch: `/readyz` and `/metrics`.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::engine::report;
use crate::store;
use crate::web::Web;

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
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], out).into_response())
}
