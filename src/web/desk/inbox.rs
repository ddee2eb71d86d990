//! The inbox of unclear replies, and the form to try how the machine reads. Texts come in bodies and go out on these pages alone; none
//! stands in a URL, and the inbox has no file to download.

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::guard::Operator;
use super::{Frame, Page, back_to, filters, html};
use crate::engine::inbox::{self, Reading, Waiting};
use crate::web::Web;
use crate::web::problem::Problem;

/// Replies a page.
const PAGE: i64 = 25;

#[derive(Deserialize)]
pub struct From {
    #[serde(default)]
    after: i64,
}

#[derive(Template)]
#[template(path = "desk/inbox.html")]
struct InboxPage {
    frame: Frame,
    replies: Vec<Waiting>,
    first_page: bool,
    next: Option<i64>,
}

pub async fn show(State(web): State<Web>, Query(from): Query<From>) -> Page {
    let mut replies = inbox::waiting(&web.engine, from.after, PAGE + 1).await?;
    let more = replies.len() > PAGE as usize;
    replies.truncate(PAGE as usize);
    let next = replies.last().map(|r| r.id).filter(|_| more);
    html(&InboxPage { frame: Frame::new(&web.engine, "inbox").await?, replies, first_page: from.after == 0, next })
}

#[derive(Deserialize)]
pub struct Verdict {
    verdict: String,
}

pub async fn resolve(State(web): State<Web>, Operator(by): Operator, Path(id): Path<i64>, Form(form): Form<Verdict>) -> Page {
    let stop = match form.verdict.as_str() {
        "stop" => true,
        "nothing" => false,
        _ => {
            let what = "an operator may say stop or nothing; a yes is the person's alone";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what, "use one of the two buttons").into());
        }
    };
    inbox::resolve(&web.engine, id, stop, &by).await?;
    back_to("/inbox")
}

#[derive(Template)]
#[template(path = "desk/replies.html")]
struct RepliesPage {
    frame: Frame,
    locales: Vec<String>,
    locale: String,
    text: String,
    reading: Option<Reading>,
}

pub async fn replies(State(web): State<Web>) -> Page {
    let engine = &web.engine;
    let locale = engine.config.default_locale.clone();
    html(&RepliesPage {
        frame: Frame::new(engine, "replies").await?,
        locales: locales(&web),
        locale,
        text: String::new(),
        reading: None,
    })
}

#[derive(Deserialize)]
pub struct Trial {
    locale: String,
    text: String,
}

pub async fn classify(State(web): State<Web>, Form(trial): Form<Trial>) -> Page {
    let engine = &web.engine;
    let reading = Some(inbox::read(engine, &trial.locale, &trial.text));
    let frame = Frame::new(engine, "replies").await?;
    html(&RepliesPage { frame, locales: locales(&web), locale: trial.locale, text: trial.text, reading })
}

/// Languages there are phrases for.
pub fn locales(web: &Web) -> Vec<String> {
    web.engine.config.phrases.iter().map(|p| p.locale.clone()).collect()
}
