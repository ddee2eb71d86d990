//! From a count of skipped people to one person, and from a number to its whole story. A URL holds the person's pseudonym, never the
//! number: URLs end up in histories and logs.

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures::stream;
use serde::Deserialize;

use super::campaign::find as find_campaign;
use super::{Frame, Page, back_to, filters, html, sheet};
use crate::domain::eligibility;
use crate::domain::phone::PhoneNumber;
use crate::engine::Engine;
use crate::engine::explain::{self, Story};
use crate::engine::skipped::{self, Skipped};
use crate::web::Web;
use crate::web::problem::{PageProblem, Problem};

/// People a page.
const PAGE: i64 = 50;
/// People read at a time for a file.
const CHUNK: i64 = 2000;

#[derive(Deserialize)]
pub struct From {
    #[serde(default)]
    after: i64,
}

#[derive(Template)]
#[template(path = "desk/skipped.html")]
struct SkippedPage {
    frame: Frame,
    campaign: String,
    code: String,
    sentence: &'static str,
    total: u64,
    people: Vec<Skipped>,
    first_page: bool,
    /// Where the next page begins, if there is one.
    next: Option<i64>,
}

/// A code of ours, known or not to this version: letters and underscores.
fn code_of(text: &str) -> Result<&str, Problem> {
    let fits = !text.is_empty() && text.len() <= 40 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    fits.then_some(text).ok_or_else(|| Problem::not_found("there is no such reason", "choose one on the campaign's page"))
}

pub async fn skipped(State(web): State<Web>, Path((name, code)): Path<(String, String)>, Query(from): Query<From>) -> Page {
    if let Some(code) = code.strip_suffix(".csv") {
        return file(&web, &name, code_of(code)?).await;
    }
    let (engine, code) = (&web.engine, code_of(&code)?);
    let report = find_campaign(engine, &name).await?;
    let mut people = skipped::skipped(engine, &name, code, from.after, PAGE + 1).await?;
    let more = people.len() > PAGE as usize;
    people.truncate(PAGE as usize);
    html(&SkippedPage {
        frame: Frame::new(engine, "overview").await?,
        sentence: eligibility::sentence(code).unwrap_or_default(),
        total: report.skipped.get(code).copied().unwrap_or(0),
        first_page: from.after == 0,
        next: people.last().map(|p| p.id).filter(|_| more),
        campaign: name,
        code: code.to_owned(),
        people,
    })
}

/// Everybody left out for one reason, written while it is read.
async fn file(web: &Web, name: &str, code: &str) -> Result<Response, PageProblem> {
    find_campaign(&web.engine, name).await?;
    let head = sheet::csv([["subject", "number", "country", "kind", "code", "stage", "at"]]);
    let (engine, campaign, reason) = (web.engine.clone(), name.to_owned(), code.to_owned());
    let rows = stream::try_unfold(Some(0), move |after: Option<i64>| {
        let (engine, campaign, code) = (engine.clone(), campaign.clone(), reason.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            let people = skipped::skipped(&engine, &campaign, &code, after, CHUNK).await?;
            let next = people.last().map(|p| p.id).filter(|_| people.len() == CHUNK as usize);
            let rows = people.into_iter().map(|p| {
                [p.subject, p.number, p.country.unwrap_or_default(), p.kind.unwrap_or_default(), code.clone(), p.stage, p.at]
            });
            anyhow::Ok(Some((sheet::csv(rows), next)))
        }
    });
    let all = stream::StreamExt::chain(stream::once(async { anyhow::Ok(head) }), rows);
    Ok(sheet::stream(&format!("{name}-{code}.csv"), all))
}

#[derive(Template)]
#[template(path = "desk/contacts.html")]
struct SearchPage {
    frame: Frame,
    /// Why the last search found nothing.
    note: Option<String>,
}

pub async fn search(State(web): State<Web>) -> Page {
    html(&SearchPage { frame: Frame::new(&web.engine, "people").await?, note: None })
}

#[derive(Deserialize)]
pub struct Search {
    number: String,
}

/// Reads a number an operator typed. The error does not repeat it.
pub fn number_of(engine: &Engine, text: &str) -> Result<PhoneNumber, Problem> {
    PhoneNumber::parse(text, engine.config.default_country.as_deref(), engine.fiction()).map_err(|error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("this is no number: {error}"), "write it as +39 300 123 4567")
    })
}

/// From the number, which comes in the body, to the pseudonym, which may stand in the address.
pub async fn find(State(web): State<Web>, Form(search): Form<Search>) -> Page {
    let engine = &web.engine;
    let note = match number_of(engine, &search.number) {
        Err(problem) => format!("{}; {}.", problem.what, problem.remedy),
        Ok(number) => match explain::subject_of(engine, &number).await? {
            Some(subject) => return back_to(&format!("/contacts/{subject}")),
            // What somebody never imported wrote: a no of theirs, or what waits to be read.
            None => explain::explain(engine, &number).await?.verdict,
        },
    };
    html(&SearchPage { frame: Frame::new(engine, "people").await?, note: Some(note) })
}

#[derive(Template)]
#[template(path = "desk/contact.html")]
struct ContactPage {
    frame: Frame,
    subject: String,
    story: Story,
}

impl ContactPage {
    fn parts(&self) -> [(&'static str, &[String]); 7] {
        let s = &self.story;
        [
            ("Preferences", &s.preferences),
            ("Consents by status", &s.consents),
            ("Suppressions", &s.suppressions),
            ("Requests", &s.requests),
            ("Opposition registers", &s.registers),
            ("Imported", &s.imported),
            ("Ledger", &s.ledger),
        ]
    }
}

pub async fn explain(State(web): State<Web>, Path(subject): Path<String>) -> Page {
    let story = explain::of_subject(&web.engine, &subject).await?;
    let story = story.ok_or_else(|| Problem::not_found("there is no such person", "look them up by their number"))?;
    html(&ContactPage { frame: Frame::new(&web.engine, "people").await?, subject, story })
}
