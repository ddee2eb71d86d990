//! `/webhooks/{gateway}`: authentic or refused, stored before the 2xx, the same event twice stored once. Where a provider signs nothing,
//! a secret last part of the address or a password guards it, and the addresses its calls may come from.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, OriginalUri, Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Web, address, contains};
use crate::config::{GatewayConfig, Secret};
use crate::engine::group;
use crate::gateway::driver::id_of_content;
use crate::gateway::{Callback, Event, Heard, WebhookError};
use crate::vault;

/// Largest body taken, bytes: Meta's go up to 3 MB (its webhook reference).
pub const LARGEST: usize = 3 << 20;

/// Why a call was not taken: a status and a line, with nothing of a number, token or text in it.
#[derive(Debug)]
pub struct Refused(StatusCode, String);

impl Refused {
    fn new(status: StatusCode, line: impl Into<String>) -> Refused {
        Refused(status, line.into())
    }
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Refused {
        tracing::error!(error = format!("{error:#}"), "A callback could not be stored");
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "not possible just now; try again")
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

pub async fn receive(
    State(web): State<Web>,
    Path(gateway): Path<String>,
    peer: ConnectInfo<SocketAddr>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let call = Call { gateway, token: String::new(), peer, method, target: uri.to_string(), headers, body };
    take(&web, &call).await
}

/// The same under an address whose last part is secret.
pub async fn receive_at(
    State(web): State<Web>,
    Path((gateway, token)): Path<(String, String)>,
    peer: ConnectInfo<SocketAddr>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let call = Call { gateway, token, peer, method, target: uri.to_string(), headers, body };
    take(&web, &call).await
}

struct Call {
    gateway: String,
    token: String,
    peer: ConnectInfo<SocketAddr>,
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

async fn take(web: &Web, call: &Call) -> Result<Response, Refused> {
    let (engine, name) = (&web.engine, call.gateway.as_str());
    let configured = engine.config.gateways.iter().find(|gateway| gateway.name() == name);
    let (Some(driver), Some(configured)) = (engine.gateways.get(name), configured) else {
        engine.refused.add("", "unknown gateway");
        return Err(Refused::new(StatusCode::NOT_FOUND, "no such gateway"));
    };
    if !configured.driver.calls_back() {
        return Err(Refused::new(StatusCode::NOT_FOUND, "this gateway is heard over its own session"));
    }
    let header = |name: &str| call.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let heard = guard(web, configured, call).and_then(|()| {
        let callback =
            Callback { method: call.method.as_str(), target: &call.target, header: &header, body: &call.body, now: engine.now() };
        driver.read_webhook(&callback).map_err(|error| (word(&error), error))
    });
    if let Err((_, error @ WebhookError::Body(_))) = &heard {
        // Past the guard and the signature: it may be somebody's no, so an operator has to see it, whatever the provider does next.
        group::store(engine, name, vec![unread(call, error)]).await?;
    }
    let heard = heard.map_err(|(why, error)| {
        engine.refused.add(name, why);
        tracing::warn!(gateway = %name, why, %error, "Refused a webhook");
        let status = match error {
            WebhookError::Unsigned => StatusCode::UNAUTHORIZED,
            WebhookError::SignAgain => StatusCode::SERVICE_UNAVAILABLE,
            WebhookError::Forged | WebhookError::Stale => StatusCode::FORBIDDEN,
            WebhookError::ContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            WebhookError::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            WebhookError::Body(_) => StatusCode::BAD_REQUEST,
        };
        Refused::new(status, error.to_string())
    })?;
    match heard {
        Heard::Events(events) => {
            // The 2xx says: it is on disk.
            group::store(engine, name, events).await?;
            let (status, text) = driver.thanks();
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::NO_CONTENT);
            Ok((status, text.to_owned()).into_response())
        }
        Heard::Challenge(text) => Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()),
    }
}

/// The reason under which a refusal is counted.
fn word(error: &WebhookError) -> &'static str {
    match error {
        WebhookError::Unsigned | WebhookError::SignAgain => "unsigned",
        WebhookError::Forged => "signature",
        WebhookError::Stale => "stale",
        WebhookError::ContentType(_) | WebhookError::Method(_) | WebhookError::Body(_) => "form",
    }
}

/// Characters kept of a callback that cannot be read.
const UNREAD: usize = 20_000;

/// A callback that is none of its provider's known forms, for the operator's inbox; the same one again is the same event.
fn unread(call: &Call, error: &WebhookError) -> Event {
    let text = match call.body.is_empty() {
        true => call.target.split_once('?').map_or("", |(_, query)| query).to_owned(),
        false => String::from_utf8_lossy(&call.body).chars().take(UNREAD).collect(),
    };
    Event::Unreadable { event_id: id_of_content(text.as_bytes()), body: text, why: error.to_string() }
}

/// Whether a call may be a provider's that signs nothing. For one that signs, the signature alone speaks.
fn guard(web: &Web, gateway: &GatewayConfig, call: &Call) -> Result<(), (&'static str, WebhookError)> {
    let (token, password) = (gateway.account.callback_token.as_ref(), gateway.callback_password.as_ref());
    let same = |given: &str, secret: &Secret| vault::same(given, secret.expose());
    match token {
        Some(token) if !same(&call.token, token) => return Err(("token", WebhookError::Forged)),
        None if !call.token.is_empty() => return Err(("token", WebhookError::Forged)),
        _ => {}
    }
    if let Some(password) = password {
        let given = call.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let given = given.and_then(|v| STANDARD.decode(v.strip_prefix("Basic ")?.trim()).ok());
        let given = given.and_then(|pair| Some(String::from_utf8(pair).ok()?.split_once(':')?.1.to_owned()));
        if !same(&given.ok_or(("password", WebhookError::Unsigned))?, password) {
            return Err(("password", WebhookError::Forged));
        }
    }
    let from = address(web, &call.peer, &call.headers);
    let allowed = &gateway.callback_addresses;
    match allowed.is_empty() || allowed.iter().any(|network| contains(network, from)) {
        true => Ok(()),
        false => Err(("address", WebhookError::Forged)),
    }
}
