//! What went wrong at the desk or in an intake's call, in one form: what, and the remedy. JSON for the APIs, a page for a browser. Nothing of a
//! number, token or text gets into one.

use askama::Template;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store;

/// The body of every answer of the APIs that is no success.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    #[serde(skip)]
    pub status: StatusCode,
    /// What is wrong, or what could not be done.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

#[derive(Template)]
#[template(path = "desk/problem.html")]
struct ProblemPage<'a> {
    problem: &'a Problem,
}

impl Problem {
    pub fn new(status: StatusCode, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem { status, what: what.into(), remedy: remedy.into() }
    }

    pub fn not_found(what: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, what, remedy)
    }

    pub fn answer(self, api: bool) -> Response {
        if api {
            return self.into_response();
        }
        let page = ProblemPage { problem: &self }.render().unwrap_or_else(|_| "Not possible.".into());
        (self.status, Html(page)).into_response()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

/// A refusal of the engine says its remedy; whatever does not is a fault of ours or of the database.
impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Problem {
        let fault = error.chain().any(|e| e.is::<store::Error>());
        match error.to_string().split_once("; remedy: ").filter(|_| !fault) {
            Some((what, remedy)) => Problem::new(StatusCode::CONFLICT, what, remedy),
            None => {
                tracing::error!(error = format!("{error:#}"), "A request failed");
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not possible just now", "try again; the log says why")
            }
        }
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Problem {
        Problem::from(anyhow::Error::from(error))
    }
}

/// The same, as a page of the desk.
#[derive(Debug)]
pub struct PageProblem(pub Problem);

impl<E: Into<Problem>> From<E> for PageProblem {
    fn from(error: E) -> PageProblem {
        PageProblem(error.into())
    }
}

impl IntoResponse for PageProblem {
    fn into_response(self) -> Response {
        self.0.answer(false)
    }
}
