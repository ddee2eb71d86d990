//! The overview: what runs, what waits for the operator, and the two levers over everything.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::guard::Operator;
use super::{Frame, Page, back_to, chart, filters, html, sheet};
use crate::engine::report::{self, Overview};
use crate::engine::steer;
use crate::web::Web;
use crate::web::problem::PageProblem;

#[derive(Template)]
#[template(path = "desk/overview.html")]
struct OverviewPage {
    frame: Frame,
    overview: Overview,
}

pub async fn show(State(web): State<Web>) -> Page {
    let overview = report::overview(&web.engine).await?;
    let mut frame = Frame::new(&web.engine, "overview").await?;
    if overview.campaigns.iter().any(|c| c.state == "running") {
        frame.refresh = Some(15);
    }
    html(&OverviewPage { frame, overview })
}

pub async fn sheet(State(web): State<Web>) -> Result<Response, PageProblem> {
    let overview = report::overview(&web.engine).await?;
    let head = ["campaign", "state"].into_iter().chain(sheet::FIGURES).map(String::from).collect();
    let rows = overview.campaigns.iter().map(|c| {
        let figures = [
            c.targeted,
            c.eligible,
            c.asked,
            c.delivered,
            c.confirmed,
            c.withdrawn,
            c.pending,
            c.refused,
            c.stopped,
            c.wrong_person,
            c.replied,
            c.silent,
        ];
        [c.name.clone(), c.state.clone()].into_iter().chain(figures.map(|n| n.to_string())).collect::<Vec<_>>()
    });
    Ok(sheet::file("campaigns.csv", sheet::csv(std::iter::once(head).chain(rows))))
}

pub async fn halt(State(web): State<Web>, Operator(by): Operator) -> Page {
    steer::halt(&web.engine, &by).await?;
    back_to("/")
}

#[derive(Deserialize)]
pub struct Resume {
    /// The operator's word that no reply was lost, and how they know.
    #[serde(default)]
    heard: String,
}

pub async fn resume(State(web): State<Web>, Operator(by): Operator, Form(form): Form<Resume>) -> Page {
    let heard = Some(form.heard.trim()).filter(|words| !words.is_empty());
    steer::resume(&web.engine, &by, heard).await?;
    back_to("/")
}
