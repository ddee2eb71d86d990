//! Gateways: breaker, pause, rate, and what they answered in the last day by class.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::{Frame, Page, filters, html, sheet};
use crate::engine::gateways::{self, GatewayReport, LOOK_BACK_H};
use crate::web::Web;
use crate::web::problem::PageProblem;

#[derive(Template)]
#[template(path = "desk/gateways.html")]
struct GatewaysPage {
    frame: Frame,
    gateways: Vec<GatewayReport>,
    hours: i64,
}

pub async fn show(State(web): State<Web>) -> Page {
    let gateways = gateways::gateways(&web.engine).await?;
    html(&GatewaysPage { frame: Frame::new(&web.engine, "gateways").await?, gateways, hours: LOOK_BACK_H })
}

pub async fn sheet(State(web): State<Web>) -> Result<Response, PageProblem> {
    let gateways = gateways::gateways(&web.engine).await?;
    let rows = gateways
        .iter()
        .flat_map(|g| g.attempts.iter().map(|c| [g.name.clone(), c.outcome.clone(), c.error.clone(), c.count.to_string()]));
    Ok(sheet::file(
        "gateways.csv",
        sheet::csv(std::iter::once(["gateway", "outcome", "error", "attempts"].map(String::from)).chain(rows)),
    ))
}
