//! `webhooks`: signed receipts and replies over HTTP, on disk before the 2xx, against the same handler that only verifies and answers.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use futures::StreamExt;
use permesso::engine::Engine;
use permesso::gateway::Callback;
use permesso::gateway::mock::protocol::{self, Event, EventBatch, SIGNATURE_HEADER, Status, sign};
use permesso::web;
use tokio_util::sync::CancellationToken;

use crate::Size;
use crate::house::{Accepted, House, Kind};
use crate::measure::Figure;

const IN_FLIGHT: usize = 128;
/// One of so many calls is a person's reply.
const REPLIES: usize = 20;

pub async fn run(kind: Kind, size: &Size) -> Result<Vec<Figure>> {
    let seed = House::new(kind).await?;
    seed.people(size.calls / 2, false).await?;
    let asked = seed.ask_everybody().await?;
    let mut pairs = Vec::new();
    for _ in 0..size.pairs {
        let house = seed.again().await?;
        let bodies = bodies(&house.engine, &asked);
        let stop = CancellationToken::new();
        let doors = web::Doors::bind(&house.engine).await?;
        let serving = tokio::spawn(doors.serve(house.engine.clone(), stop.clone()));
        let stored = post_all(house.public, &bodies).await?;
        stop.cancel();
        serving.await??;
        let kept = house.count("SELECT (SELECT COUNT(*) FROM receipts) + (SELECT COUNT(*) FROM inbound_events)").await?;
        ensure!(kept == bodies.len() as i64, "{kept} of {} are on disk", bodies.len());
        let answered = verify_alone(&house, &bodies).await?;
        pairs.push((bodies.len() as f64 / stored, bodies.len() as f64 / answered));
        house.engine.store.close().await;
    }
    let target = if kind == Kind::Sqlite { 0.5 } else { 0.35 };
    Ok(vec![Figure::of("webhooks", kind, "calls/s", &pairs).target(target).with("in_flight", IN_FLIGHT)])
}

/// Two receipts of every message, and now and then what its person wrote; each a call of its own, signed.
pub fn bodies(engine: &Engine, asked: &[Accepted]) -> Vec<(String, Vec<u8>)> {
    let now = engine.now();
    let events = asked.iter().enumerate().flat_map(|(n, message)| {
        let receipt = |status: Status| {
            let event_id = format!("{status:?}-{}", message.reference);
            let (id, reference) = (message.id.clone(), message.reference.clone());
            Event::Receipt(protocol::Receipt { event_id, id, reference, status, at: now, error: None })
        };
        let reply = Event::Inbound(protocol::Inbound {
            event_id: format!("reply-{}", message.reference),
            from: message.to.clone(),
            to: "+393001234567".into(),
            channel: protocol::Channel::Sms,
            text: ["STOP", "forse domani", "no grazie"][n % 3].into(),
            button: None,
            at: now,
            in_reply_to: None,
        });
        [Some(receipt(Status::Sent)), Some(receipt(Status::Delivered)), (n % (REPLIES / 2) == 0).then_some(reply)]
            .into_iter()
            .flatten()
    });
    let signed = |event| {
        let body = serde_json::to_vec(&EventBatch { events: vec![event] }).expect("plain JSON");
        (sign("mock-webhook-secret", now / 1_000_000, &body), body)
    };
    events.map(signed).collect()
}

/// Posts every body; seconds until the last 2xx.
pub async fn post_all(port: u16, bodies: &[(String, Vec<u8>)]) -> Result<f64> {
    let http = permesso::gateway::http::pool()?;
    let url = format!("http://127.0.0.1:{port}/webhooks/mock");
    let begin = Instant::now();
    let refused = futures::stream::iter(bodies)
        .map(|(signature, body)| {
            let call =
                http.post(&url).header(SIGNATURE_HEADER, signature).header("content-type", "application/json").body(body.clone());
            async move { call.send().await.map(|answer| answer.status()) }
        })
        .buffer_unordered(IN_FLIGHT)
        .filter(|answer| std::future::ready(!answer.as_ref().is_ok_and(StatusCode::is_success)))
        .count()
        .await;
    ensure!(refused == 0, "{refused} calls were not taken");
    Ok(begin.elapsed().as_secs_f64())
}

async fn verify_alone(house: &House, bodies: &[(String, Vec<u8>)]) -> Result<f64> {
    let router = axum::Router::new().route("/webhooks/mock", post(verify)).with_state(house.engine.clone());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", house.public)).await?;
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let seconds = post_all(house.public, bodies).await;
    serving.abort();
    seconds
}

async fn verify(State(engine): State<Arc<Engine>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let call = Callback { method: "POST", target: "/webhooks/mock", header: &header, body: &body, now: engine.now() };
    match engine.gateways["mock"].read_webhook(&call) {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::FORBIDDEN,
    }
}
