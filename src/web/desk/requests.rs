//! What people asked for about their data and is not done yet, with its due dates; and what age alone deleted lately.

use askama::Template;
use axum::extract::State;

use super::{Frame, Page, filters, html};
use crate::engine::requests::{self, Listed};
use crate::engine::retention::{self, Run};
use crate::web::Web;

/// Retention runs shown.
const NEWEST: i64 = 7;

#[derive(Template)]
#[template(path = "desk/requests.html")]
struct RequestsPage {
    frame: Frame,
    open: Vec<Listed>,
    runs: Vec<Run>,
}

pub async fn show(State(web): State<Web>) -> Page {
    let mut open = requests::list(&web.engine, true).await?;
    // What is due first comes first.
    open.sort_by(|one, other| (&one.due, one.id).cmp(&(&other.due, other.id)));
    let runs = retention::runs(&web.engine, NEWEST).await?;
    html(&RequestsPage { frame: Frame::new(&web.engine, "requests").await?, open, runs })
}
