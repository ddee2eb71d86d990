//! The mock gateway's HTTP side: the answers `protocol` documents, spoiled as `faults` decides. Connections are served by hand,
//! because only then can a request be accepted and its connection closed without an answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::book::Stats;
use super::faults::{Fate, Faults};
use super::phones;
use super::protocol::{ErrorBody, ErrorDetail, InboundList, SendRequest};
use super::server::Shared;

/// Put on a response that must never reach the client: the connection closes instead.
#[derive(Clone)]
struct HangUp;

pub(super) async fn serve(listener: TcpListener, router: Router) {
    // Dropped with this task, which closes every connection.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely; others will be closed soon.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = service_fn(move |request| {
            let router = router.clone();
            async move {
                let Ok(response) = router.oneshot(request).await;
                let hang_up = response.extensions().get::<HangUp>().is_some();
                if hang_up { Err(std::io::Error::other("hanging up on purpose")) } else { Ok(response) }
            }
        });
        let http = hyper::server::conn::http1::Builder::new();
        connections.spawn(async move { _ = http.serve_connection(TokioIo::new(stream), service).await });
    }
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/messages", post(submit).get(look_up))
        .route("/v1/inbound", get(inbound))
        .route("/v1/stats", get(stats))
        .route("/control/faults", put(set_faults))
        .route_layer(from_fn_with_state(shared.clone(), authorize))
        .merge(phones::router())
        .with_state(shared)
}

async fn authorize(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(token) if token == shared.token => next.run(request).await,
        _ => refusal(StatusCode::UNAUTHORIZED, "unauthorized", "the token is wrong"),
    }
}

async fn submit(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let request: SendRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, "bad_request", &error.to_string()),
    };
    if let Some(flaw) = request.flaw() {
        return refusal(StatusCode::BAD_REQUEST, "bad_request", flaw);
    }
    // One guard spans deciding and accepting: of two simultaneous tries of a reference a deduping gateway lets in one.
    let (fate, slowness, timeout, answer) = {
        let mut book = shared.book();
        let (fate, tries) = match book.decide(&request, shared.dedupe) {
            Ok(decided) => decided,
            Err(id) => return duplicate(id),
        };
        let slowness = book.faults.slowness(&request.reference, tries);
        let timeout = Duration::from_millis(book.faults.timeout_ms);
        let answer = fate.accepts().then(|| shared.accept(&mut book, request));
        (fate, slowness, timeout, answer)
    };
    if let Some(slowness) = slowness {
        tokio::time::sleep(slowness).await;
    }
    match fate {
        Fate::Accept => (StatusCode::ACCEPTED, Json(answer)).into_response(),
        Fate::Garbage => (StatusCode::OK, "<html><body>502 Bad Gateway").into_response(),
        Fate::ServerError { .. } => refusal(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "something broke"),
        Fate::AcceptThenTimeout => {
            tokio::time::sleep(timeout).await;
            hang_up()
        }
        Fate::AcceptThenCut => {
            let half = futures::stream::iter([Ok("{\"id\":\""), Err(std::io::Error::other("breaking off on purpose"))]);
            (StatusCode::ACCEPTED, Body::from_stream(half)).into_response()
        }
        Fate::AcceptThenReset | Fate::ResetBefore => hang_up(),
        Fate::NoCredit => refusal(StatusCode::PAYMENT_REQUIRED, "no_credit", "the account is out of credit"),
        Fate::RefuseSender => refusal(StatusCode::FORBIDDEN, "sender_refused", "this sender is not yours"),
        Fate::RefuseRecipient => refusal(StatusCode::UNPROCESSABLE_ENTITY, "recipient_refused", "this number takes no messages"),
        Fate::NotOnChannel => refusal(StatusCode::UNPROCESSABLE_ENTITY, "not_on_channel", "this number is not on WhatsApp"),
        Fate::Throttle => {
            let answer = refusal(StatusCode::TOO_MANY_REQUESTS, "throttled", "too many requests");
            ([(header::RETRY_AFTER, "1")], answer).into_response()
        }
    }
}

async fn look_up(State(shared): State<Arc<Shared>>, Query(query): Query<HashMap<String, String>>) -> Response {
    let found = query.get("reference").and_then(|reference| shared.book().look_up(reference));
    match found {
        Some(found) => Json(found).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "not_found", "no message was accepted under this reference"),
    }
}

#[derive(serde::Deserialize)]
struct Span {
    since: i64,
    until: Option<i64>,
}

async fn inbound(State(shared): State<Arc<Shared>>, Query(span): Query<Span>) -> Json<InboundList> {
    Json(InboundList { events: shared.book().inbound_between(span.since, span.until.unwrap_or(i64::MAX)) })
}

async fn stats(State(shared): State<Arc<Shared>>) -> Json<Stats> {
    Json(shared.stats())
}

async fn set_faults(State(shared): State<Arc<Shared>>, Json(faults): Json<Faults>) -> StatusCode {
    shared.book().faults = faults;
    StatusCode::NO_CONTENT
}

fn hang_up() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.extensions_mut().insert(HangUp);
    response
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    let error = ErrorDetail { code: code.to_owned(), message: message.to_owned() };
    (status, Json(ErrorBody { error, id: None })).into_response()
}

fn duplicate(id: String) -> Response {
    let error = ErrorDetail { code: "duplicate_reference".to_owned(), message: "this reference was accepted before".to_owned() };
    (StatusCode::CONFLICT, Json(ErrorBody { error, id: Some(id) })).into_response()
}
