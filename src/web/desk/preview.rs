//! What a campaign's file would say to people as it stands now: every text as a phone shows it, its cost, and what makes it dear.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::{Frame, Page, html};
use crate::domain::money::Money;
use crate::domain::preview::Shown;
use crate::engine::Engine;
use crate::store;
use crate::web::Web;
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "desk/preview.html")]
struct PreviewPage {
    frame: Frame,
    campaign: String,
    errors: Vec<String>,
    warnings: Vec<String>,
    messages: Vec<Shown>,
}

impl PreviewPage {
    /// `IT 0.104 EUR, PL 0.046 EUR`
    fn costs(&self, cost: &BTreeMap<String, Money>) -> String {
        cost.iter().map(|(country, cost)| format!("{country} {cost}")).collect::<Vec<_>>().join(", ")
    }
}

pub async fn show(State(web): State<Web>, Path(name): Path<String>) -> Page {
    let (errors, warnings, messages) = preview(&web.engine, &name).await?;
    html(&PreviewPage { frame: Frame::new(&web.engine, "overview").await?, campaign: name, errors, warnings, messages })
}

/// What is wrong in the campaign's file, what could be better in its texts, and these; where the file is gone, those it was started with.
pub async fn preview(engine: &Engine, name: &str) -> Result<(Vec<String>, Vec<String>, Vec<Shown>), Problem> {
    let wrong = |what: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what, format!("permesso campaign check {name}"));
    let known = engine.config.campaign_names().unwrap_or_default();
    let campaign = if known.iter().any(|known| known == name) {
        let (campaign, messages, errors) = engine.config.draft(name).map_err(|problems| wrong(problems.to_string()))?;
        let warnings = engine.config.warnings(&campaign);
        return Ok((told(&errors), told(&warnings), messages));
    } else {
        let mut tx = engine.store.read().await?;
        let row = store::campaigns::by_name(&mut tx, &engine.controller, name).await?;
        let row =
            row.ok_or_else(|| Problem::not_found(format!("there is no campaign `{name}`"), engine.config.campaign_meant(name)))?;
        let frozen = engine.revision(&mut tx, row.revision_id).await?;
        tx.rollback().await?;
        frozen.as_ref().clone()
    };
    let messages = engine.config.preview(&campaign).map_err(|error| wrong(error.to_string()))?;
    Ok((Vec::new(), told(&engine.config.warnings(&campaign)), messages))
}

fn told(problems: &[crate::config::Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
