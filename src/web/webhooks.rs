//! `/webhooks/{gateway}`: authentic or refused, stored before the 2xx, the same event twice stored once.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};

use super::Web;
use super::error::Error;
use crate::engine::receive;
use crate::gateway::WebhookError;

/// Largest body taken, bytes.
pub const LARGEST: usize = 1 << 20;

pub async fn receive(
    State(web): State<Web>,
    Path(gateway): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Error> {
    let engine = &web.engine;
    let Some(driver) = engine.gateways.get(&gateway) else {
        return Err(Error::new(StatusCode::NOT_FOUND, "no such gateway"));
    };
    let kind = headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("");
    if !kind.starts_with("application/json") {
        return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type is not application/json"));
    }
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let events = driver.read_webhook(&header, &body, engine.now()).map_err(|error| {
        tracing::warn!(gateway = %gateway, %error, "Refused a webhook");
        let status = match error {
            WebhookError::Unsigned => StatusCode::UNAUTHORIZED,
            WebhookError::Forged | WebhookError::Stale => StatusCode::FORBIDDEN,
            WebhookError::Body(_) => StatusCode::BAD_REQUEST,
        };
        Error::new(status, error.to_string())
    })?;
    // The 2xx says: it is on disk.
    receive::store(engine, &gateway, &events).await?;
    Ok(StatusCode::NO_CONTENT)
}
