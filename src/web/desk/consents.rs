//! Who consented and who did not: figures by channel, purpose and status, each with its people behind it, and the same as files.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::json;

use super::{Frame, Page, filters, html, sheet};
use crate::domain::channel::{Channel, Purpose};
use crate::domain::status::Status;
use crate::engine::Engine;
use crate::engine::consents::{self, Filter, Matrix, Standing};
use crate::web::Web;
use crate::web::problem::{PageProblem, Problem};

/// Rows a page.
const PAGE: i64 = 50;

/// Which people, as addresses and forms say it; what is empty is not said.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// `granted`, `pending`, `refused`, `withdrawn`, `expired`, `suppressed`, `restricted`, `silent`, `not_given` or `unknown`
    status: Option<String>,
    /// `sms`, `whatsapp` or `call`
    channel: Option<String>,
    /// `product_info`, `promotions` or `profiling`
    purpose: Option<String>,
    /// This installation's `controller.id`: a script that names it is refused by another's.
    controller: Option<String>,
}

impl Wanted {
    /// # Errors
    /// 400 with the field and what it may be.
    pub fn read(&self, engine: &Engine) -> Result<Filter, Problem> {
        let [controller, status, channel, purpose] =
            [&self.controller, &self.status, &self.channel, &self.purpose].map(Option::as_deref);
        Filter::read(engine, controller, status, channel, purpose).map_err(|unknown| {
            let remedy = format!("{}: {}", unknown.field, unknown.allowed.join(", "));
            Problem::new(StatusCode::BAD_REQUEST, format!("the filter `{}` has no such value", unknown.field), remedy)
        })
    }
}

#[derive(Template)]
#[template(path = "desk/consents.html")]
struct MatrixPage {
    frame: Frame,
    /// `None` while it is being counted.
    matrix: Option<Matrix>,
}

/// A count is one pass over everybody, ten seconds for a million people. One that took longer than this is shown for a minute (it says
/// as of when it is), and made anew, in the background, for whoever looks after that.
const SLOW: Duration = Duration::from_millis(250);
const STANDS: Duration = Duration::from_secs(60);
/// How long whoever looks first waits for the count, and how soon their page looks again by itself, seconds.
const PATIENCE: Duration = Duration::from_secs(1);
const AGAIN: u32 = 3;

/// The last count, if it took long.
#[derive(Debug, Default)]
pub struct Figures {
    last: Mutex<Option<(Instant, Matrix)>>,
    /// One count at a time, however many look.
    counting: tokio::sync::Mutex<()>,
}

impl Figures {
    /// How many stand under which status: now, or not long ago. `None`: they are being counted, for longer than [`PATIENCE`].
    ///
    /// # Errors
    /// The database is gone.
    async fn show(self: &Arc<Figures>, engine: &Arc<Engine>) -> anyhow::Result<Option<Matrix>> {
        let last = self.last();
        if let Some((at, matrix)) = &last
            && at.elapsed() <= STANDS
        {
            return Ok(Some(matrix.clone()));
        }
        let (figures, engine) = (self.clone(), engine.clone());
        // Goes on whether or not anybody waits.
        let counted = tokio::spawn(async move {
            let counted = figures.count(&engine).await;
            counted.inspect_err(|error| tracing::error!(error = format!("{error:#}"), "Consents could not be counted"))
        });
        if let Some((_, matrix)) = last {
            return Ok(Some(matrix));
        }
        match tokio::time::timeout(PATIENCE, counted).await {
            Ok(counted) => counted?.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// How many stand under which status, for who waits as long as it takes.
    ///
    /// # Errors
    /// The database is gone.
    pub async fn whole(self: &Arc<Figures>, engine: &Arc<Engine>) -> anyhow::Result<Matrix> {
        match self.show(engine).await? {
            Some(matrix) => Ok(matrix),
            None => self.count(engine).await,
        }
    }

    fn last(&self) -> Option<(Instant, Matrix)> {
        self.last.lock().expect("no panic while held").clone()
    }

    async fn count(&self, engine: &Engine) -> anyhow::Result<Matrix> {
        let _turn = self.counting.lock().await;
        // Somebody else's, that this one has waited for.
        if let Some((at, matrix)) = self.last()
            && at.elapsed() <= STANDS
        {
            return Ok(matrix);
        }
        let began = Instant::now();
        let matrix = consents::matrix(engine, &Filter::default()).await?;
        self.keep(began.elapsed(), &matrix);
        Ok(matrix)
    }

    fn keep(&self, took: Duration, matrix: &Matrix) {
        let kept = (took > SLOW).then(|| (Instant::now(), matrix.clone()));
        *self.last.lock().expect("no panic while held") = kept;
    }
}

pub async fn show(State(web): State<Web>) -> Page {
    let matrix = web.figures.show(&web.engine).await?;
    let mut frame = Frame::new(&web.engine, "consents").await?;
    frame.refresh = matrix.is_none().then_some(AGAIN);
    html(&MatrixPage { frame, matrix })
}

#[derive(Debug, Deserialize)]
pub struct From {
    #[serde(default)]
    after: i64,
}

#[derive(Template)]
#[template(path = "desk/standing.html")]
struct ListPage {
    frame: Frame,
    filter: Filter,
    list: consents::Page,
    first_page: bool,
}

impl ListPage {
    fn choices(&self) -> [(&'static str, Vec<(&'static str, bool)>); 3] {
        let f = &self.filter;
        [
            ("status", Status::ALL.map(|s| (s.code(), f.status == Some(s))).to_vec()),
            ("channel", Channel::ALL.map(|c| (c.code(), f.channel == Some(c))).to_vec()),
            ("purpose", Purpose::ALL.map(|p| (p.code(), f.purpose == Some(p))).to_vec()),
        ]
    }
}

pub async fn list(State(web): State<Web>, Query(wanted): Query<Wanted>, Query(from): Query<From>) -> Page {
    let filter = wanted.read(&web.engine)?;
    let list = consents::page(&web.engine, &filter, from.after, PAGE, consents::LOOK).await?;
    html(&ListPage { frame: Frame::new(&web.engine, "consents").await?, filter, list, first_page: from.after == 0 })
}

pub async fn csv(State(web): State<Web>, Query(wanted): Query<Wanted>) -> Result<Response, PageProblem> {
    download(&web, &wanted, Format::Csv)
}

pub async fn jsonl(State(web): State<Web>, Query(wanted): Query<Wanted>) -> Result<Response, PageProblem> {
    download(&web, &wanted, Format::Jsonl)
}

fn download(web: &Web, wanted: &Wanted, format: Format) -> Result<Response, PageProblem> {
    let filter = wanted.read(&web.engine)?;
    let parts = file(web.engine.clone(), filter, format).map_ok(|(bytes, _)| bytes);
    Ok(match format {
        Format::Csv => sheet::stream("consents.csv", parts),
        Format::Jsonl => sheet::stream("consents.jsonl", parts),
    })
}

/// How a file says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table, whose first columns say as of when and whose.
    Csv,
    /// JSON lines, of which the first says what the others are, as of when and whose.
    Jsonl,
}

/// Everybody a filter finds, in parts, each with its number of rows.
pub fn file(
    engine: Arc<Engine>,
    filter: Filter,
    format: Format,
) -> impl Stream<Item = anyhow::Result<(Vec<u8>, usize)>> + Send + 'static {
    let as_of = consents::as_of(&engine);
    let head = match format {
        Format::Csv => {
            sheet::csv([["as_of", "controller", "subject", "number", "country", "channel", "purpose", "status", "since"]])
        }
        Format::Jsonl => {
            line(&json!({ "report": "consents", "as_of": as_of, "controller": engine.controller, "filter": filter.query() }))
        }
    };
    let parts = consents::pages(engine.clone(), filter).map_ok(move |rows| {
        let count = rows.len();
        let part = match format {
            Format::Csv => sheet::csv(rows.into_iter().map(|row| cells(&as_of, &engine.controller, row))),
            Format::Jsonl => rows.iter().flat_map(line).collect(),
        };
        (part, count)
    });
    stream::once(async { anyhow::Ok((head, 0)) }).chain(parts)
}

fn cells(as_of: &str, controller: &str, row: Standing) -> [String; 9] {
    let (country, since) = (row.country.unwrap_or_default(), row.since.unwrap_or_default());
    [as_of.to_owned(), controller.to_owned(), row.subject, row.number, country, row.channel, row.purpose, row.status, since]
}

fn line(value: &impl serde::Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("rows of text and numbers are JSON");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_kept_where_it_took_long_and_only_there() {
        let figures = Figures::default();
        let matrix = Matrix { controller: "c".into(), as_of: String::new(), contacts: 7, rows: Vec::new() };
        for (took, kept) in [(SLOW, false), (SLOW * 2, true), (SLOW, false)] {
            figures.keep(took, &matrix);
            assert_eq!(figures.last.lock().expect("no panic while held").is_some(), kept, "{took:?}");
        }
    }
}
