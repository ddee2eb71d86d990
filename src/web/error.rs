//! The one place where what went wrong becomes an HTTP answer. Nothing of a number, token or text gets into one.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// An error of the operator's door or of a webhook: a status and a line.
#[derive(Debug)]
pub struct Error {
    pub status: StatusCode,
    pub message: String,
}

impl Error {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Error {
        Error { status, message: message.into() }
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Error {
        tracing::error!(error = format!("{error:#}"), "A request failed");
        Error::new(StatusCode::SERVICE_UNAVAILABLE, "not possible just now; try again")
    }
}

impl From<crate::store::Error> for Error {
    fn from(error: crate::store::Error) -> Error {
        Error::from(anyhow::Error::from(error))
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        (self.status, format!("{}\n", self.message)).into_response()
    }
}
