//! The desk as JSON under `/api/v1`. A handler is its own documentation: what is registered here stands in `openapi.json`, and a test
//! calls every operation of the document. Figures, lists and acts are those of the pages, from the same engine.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequest, FromRequestParts, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use serde::{Deserialize, Serialize};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoParams, Modify, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::campaign::{find, known};
use super::consents::Wanted;
use super::guard::Operator;
use super::people::number_of;
use super::preview;
use crate::domain::campaign::CampaignState;
use crate::domain::preview::Shown;
use crate::engine::breakdown::{self, Breakdown, Timeline};
use crate::engine::consents::{self, Matrix};
use crate::engine::explain::{self, Story};
use crate::engine::gateways::{self, GatewayReport};
use crate::engine::inbox::{self, Reading, Waiting};
use crate::engine::report::{self, Overview, Report};
use crate::engine::skipped::{self, Skipped};
use crate::engine::{plan, requests, retention, steer};
use crate::web::Web;
use crate::web::problem::Problem;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Permesso",
        description = "The operator's desk. Numbers are shown by their last digits and never stand in a URL. A POST carries \
            `Content-Type: application/json`, with `{}` where there is nothing to say. Without operator_token_file no credentials are needed."
    ),
    modifiers(&Credentials)
)]
struct Document;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        for (name, scheme) in [("bearer", HttpAuthScheme::Bearer), ("basic", HttpAuthScheme::Basic)] {
            components.add_security_scheme(name, SecurityScheme::Http(HttpBuilder::new().scheme(scheme).build()));
        }
    }
}

pub fn router() -> Router<Web> {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(overview))
        .routes(routes!(campaign))
        .routes(routes!(timeline))
        .routes(routes!(preview_texts))
        .routes(routes!(breakdowns))
        .routes(routes!(skipped_people))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(cancel))
        .routes(routes!(consent_counts))
        .routes(routes!(consent_list))
        .routes(routes!(explain_number))
        .routes(routes!(explain_subject))
        .routes(routes!(waiting))
        .routes(routes!(resolve))
        .routes(routes!(gateway_list))
        .routes(routes!(request_list))
        .routes(routes!(request_done))
        .routes(routes!(retention_runs))
        .routes(routes!(classify))
        .routes(routes!(halt_all))
        .routes(routes!(resume_all))
        .split_for_parts();
    let text: Arc<str> = document.to_json().unwrap_or_default().into();
    let shown = get(async move || ([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response());
    router.route("/api/v1/openapi.json", shown).route("/api/{*rest}", any(unknown))
}

async fn unknown() -> Problem {
    Problem::not_found("there is no such operation", "see /api/v1/openapi.json")
}

/// Bodies, paths and queries that cannot be read are refused in the one form too; what was sent is not repeated.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(Problem))]
struct Json<T>(T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> axum::response::Response {
        axum::Json(self.0).into_response()
    }
}

#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
struct Path<T>(T);

#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
struct Query<T>(T);

macro_rules! refused {
    ($($rejection:ty => $what:literal),*) => {
        $(impl From<$rejection> for Problem {
            fn from(rejection: $rejection) -> Problem {
                Problem::new(rejection.status(), $what, "see /api/v1/openapi.json")
            }
        })*
    };
}
refused! {
    axum::extract::rejection::JsonRejection => "the body is not the JSON this operation takes",
    axum::extract::rejection::PathRejection => "the path is not one of this operation",
    axum::extract::rejection::QueryRejection => "the query is not one of this operation"
}

type Answer<T> = Result<Json<T>, Problem>;

/// Where a list goes on, and how long it may be.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Slice {
    /// The `next` of the page before; the first page without it.
    #[serde(default)]
    after: i64,
    /// Rows a page, at most 500.
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 500)]
    limit: i64,
}

fn fifty() -> i64 {
    50
}

impl Slice {
    fn limit(&self) -> i64 {
        self.limit.clamp(1, 500)
    }
}

/// What runs, how each campaign stands, and what waits.
#[utoipa::path(get, path = "/api/v1/overview", responses((status = 200, body = Overview)))]
async fn overview(State(web): State<Web>) -> Answer<Overview> {
    Ok(Json(report::overview(&web.engine).await?))
}

/// One campaign in figures.
#[utoipa::path(get, path = "/api/v1/campaigns/{name}", params(("name" = String, Path,)),
    responses((status = 200, body = Report), (status = 404, body = Problem)))]
async fn campaign(State(web): State<Web>, Path(name): Path<String>) -> Answer<Report> {
    Ok(Json(find(&web.engine, &name).await?))
}

/// What a campaign's file would say to people.
#[derive(Serialize, ToSchema)]
struct Preview {
    campaign: String,
    /// What is wrong in its file or its texts: until that is mended, it cannot be planned.
    errors: Vec<String>,
    warnings: Vec<String>,
    /// Every text with its parts, its cost by country, and what forces UCS-2: as `permesso campaign preview --all --json` prints it.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<Shown>,
}

/// The texts of the campaign's file as it stands now, as a phone shows them.
#[utoipa::path(get, path = "/api/v1/campaigns/{name}/preview", params(("name" = String, Path,)),
    responses((status = 200, body = Preview), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn preview_texts(State(web): State<Web>, Path(name): Path<String>) -> Answer<Preview> {
    let (errors, warnings, messages) = preview::preview(&web.engine, &name).await?;
    Ok(Json(Preview { campaign: name, errors, warnings, messages }))
}

/// What happened, hour by hour.
#[utoipa::path(get, path = "/api/v1/campaigns/{name}/timeline", params(("name" = String, Path,)),
    responses((status = 200, body = Timeline), (status = 404, body = Problem)))]
async fn timeline(State(web): State<Web>, Path(name): Path<String>) -> Answer<Timeline> {
    known(&web.engine, &name).await?;
    Ok(Json(breakdown::timeline(&web.engine, &name).await?))
}

/// By country, by channel, by purpose.
#[utoipa::path(get, path = "/api/v1/campaigns/{name}/breakdown", params(("name" = String, Path,)),
    responses((status = 200, body = Breakdown), (status = 404, body = Problem)))]
async fn breakdowns(State(web): State<Web>, Path(name): Path<String>) -> Answer<Breakdown> {
    known(&web.engine, &name).await?;
    Ok(Json(breakdown::breakdown(&web.engine, &name).await?))
}

#[derive(Serialize, ToSchema)]
struct SkippedPeople {
    people: Vec<Skipped>,
    /// `after` of the next page, if there is one.
    next: Option<i64>,
}

/// People a campaign leaves out for one reason, a page at a time.
#[utoipa::path(get, path = "/api/v1/campaigns/{name}/skipped/{code}",
    params(("name" = String, Path,), ("code" = String, Path, description = "As in the report: `NO_ASK_BASIS`"), Slice),
    responses((status = 200, body = SkippedPeople), (status = 404, body = Problem), (status = 400, body = Problem)))]
async fn skipped_people(
    State(web): State<Web>,
    Path((name, code)): Path<(String, String)>,
    Query(from): Query<Slice>,
) -> Answer<SkippedPeople> {
    known(&web.engine, &name).await?;
    let people = skipped::skipped(&web.engine, &name, &code, from.after, from.limit()).await?;
    let next = people.last().map(|p| p.id).filter(|_| people.len() as i64 == from.limit());
    Ok(Json(SkippedPeople { people, next }))
}

/// Nothing to say.
#[derive(Deserialize, ToSchema)]
struct Nothing {}

#[derive(Serialize, ToSchema)]
struct Steered {
    /// The campaign's state now.
    state: String,
    /// Planned messages that were cancelled by this.
    cancelled: u64,
}

async fn steered(web: &Web, name: &str, to: CampaignState) -> Answer<Steered> {
    known(&web.engine, name).await?;
    let cancelled = plan::set_state(&web.engine, name, to).await?;
    Ok(Json(Steered { state: report::campaign(&web.engine, name).await?.state, cancelled }))
}

/// Stops claiming messages, within a slice.
#[utoipa::path(post, path = "/api/v1/campaigns/{name}/pause", params(("name" = String, Path,)), request_body = Nothing,
    responses((status = 200, body = Steered), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn pause(State(web): State<Web>, Path(name): Path<String>, Json(Nothing {}): Json<Nothing>) -> Answer<Steered> {
    steered(&web, &name, CampaignState::Paused).await
}

/// Goes on after a pause, a ramp-up or an account fault.
#[utoipa::path(post, path = "/api/v1/campaigns/{name}/resume", params(("name" = String, Path,)), request_body = Nothing,
    responses((status = 200, body = Steered), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn resume(State(web): State<Web>, Path(name): Path<String>, Json(Nothing {}): Json<Nothing>) -> Answer<Steered> {
    steered(&web, &name, CampaignState::Running).await
}

/// Cancels what is planned, for good.
#[utoipa::path(post, path = "/api/v1/campaigns/{name}/cancel", params(("name" = String, Path,)), request_body = Nothing,
    responses((status = 200, body = Steered), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn cancel(State(web): State<Web>, Path(name): Path<String>, Json(Nothing {}): Json<Nothing>) -> Answer<Steered> {
    steered(&web, &name, CampaignState::Cancelled).await
}

/// How many contacts stand under which status, for each channel and purpose. One pass over all contacts: seconds where there are a million.
#[utoipa::path(get, path = "/api/v1/consents", params(Wanted),
    responses((status = 200, body = Matrix), (status = 400, body = Problem)))]
async fn consent_counts(State(web): State<Web>, Query(wanted): Query<Wanted>) -> Answer<Matrix> {
    let filter = wanted.read(&web.engine)?;
    Ok(Json(web.figures.whole(&web.engine).await?.only(&filter)))
}

/// Contacts by status, channel and purpose, a page at a time. A page looks at 20,000 contacts at most, so it costs the same however many
/// there are; it may hold fewer rows than asked for, or none, and still have a `next`.
#[utoipa::path(get, path = "/api/v1/consents/list", params(Wanted, Slice),
    responses((status = 200, body = consents::Page), (status = 400, body = Problem)))]
async fn consent_list(State(web): State<Web>, Query(wanted): Query<Wanted>, Query(from): Query<Slice>) -> Answer<consents::Page> {
    let filter = wanted.read(&web.engine)?;
    Ok(Json(consents::page(&web.engine, &filter, from.after, from.limit(), consents::LOOK).await?))
}

#[derive(Deserialize, ToSchema)]
struct Number {
    /// As people write it; without country code it is one of `default_country`.
    #[schema(example = "+39 300 123 4567")]
    number: String,
}

/// One person's whole story, by number. A number never imported has one too.
#[utoipa::path(post, path = "/api/v1/contacts/explain", request_body = Number,
    responses((status = 200, body = Story), (status = 422, body = Problem)))]
async fn explain_number(State(web): State<Web>, Json(asked): Json<Number>) -> Answer<Story> {
    let number = number_of(&web.engine, &asked.number)?;
    Ok(Json(explain::explain(&web.engine, &number).await?))
}

/// One person's whole story, by pseudonym.
#[utoipa::path(get, path = "/api/v1/contacts/{subject}", params(("subject" = String, Path,)),
    responses((status = 200, body = Story), (status = 404, body = Problem)))]
async fn explain_subject(State(web): State<Web>, Path(subject): Path<String>) -> Answer<Story> {
    let story = explain::of_subject(&web.engine, &subject).await?;
    story
        .map(Json)
        .ok_or_else(|| Problem::not_found("there is no such person", "look them up by number: /api/v1/contacts/explain"))
}

#[derive(Serialize, ToSchema)]
struct Inbox {
    replies: Vec<Waiting>,
    /// `after` of the next page, if there is one.
    next: Option<i64>,
}

/// Unclear replies that wait for an operator, oldest first.
#[utoipa::path(get, path = "/api/v1/inbox", params(Slice), responses((status = 200, body = Inbox), (status = 400, body = Problem)))]
async fn waiting(State(web): State<Web>, Query(from): Query<Slice>) -> Answer<Inbox> {
    let replies = inbox::waiting(&web.engine, from.after, from.limit()).await?;
    let next = replies.last().map(|r| r.id).filter(|_| replies.len() as i64 == from.limit());
    Ok(Json(Inbox { replies, next }))
}

/// What an operator may say of a reply. There is no yes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Word {
    Stop,
    Nothing,
}

#[derive(Deserialize, ToSchema)]
struct Verdict {
    verdict: Word,
}

#[derive(Serialize, ToSchema)]
struct Resolved {
    /// Who is recorded as having decided.
    by: String,
}

/// Decides about one reply: a stop, or nothing.
#[utoipa::path(post, path = "/api/v1/inbox/{id}/resolve", params(("id" = i64, Path,)), request_body = Verdict,
    responses((status = 200, body = Resolved), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn resolve(
    State(web): State<Web>,
    Operator(by): Operator,
    Path(id): Path<i64>,
    Json(said): Json<Verdict>,
) -> Answer<Resolved> {
    inbox::resolve(&web.engine, id, matches!(said.verdict, Word::Stop), &by).await?;
    Ok(Json(Resolved { by }))
}

/// Every gateway: breaker, pause, rate, and its answers of the last day by class.
#[utoipa::path(get, path = "/api/v1/gateways", responses((status = 200, body = Vec<GatewayReport>)))]
async fn gateway_list(State(web): State<Web>) -> Answer<Vec<GatewayReport>> {
    Ok(Json(gateways::gateways(&web.engine).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Those alone that are not done yet.
    #[serde(default)]
    open: bool,
}

#[derive(Serialize, ToSchema)]
struct Requests {
    requests: Vec<requests::Listed>,
    /// `after` of the next page, if there is one.
    next: Option<i64>,
}

/// What people asked for about their data (Art. 15 to 21 GDPR), with due dates and the providers' parts, oldest first.
#[utoipa::path(get, path = "/api/v1/requests", params(Which, Slice),
    responses((status = 200, body = Requests), (status = 400, body = Problem)))]
async fn request_list(State(web): State<Web>, Query(which): Query<Which>, Query(from): Query<Slice>) -> Answer<Requests> {
    let limit = from.limit() as usize;
    let requests = requests::page(&web.engine, which.open, from.after, limit).await?;
    let next = requests.last().map(|request| request.id).filter(|_| requests.len() == limit);
    Ok(Json(Requests { requests, next }))
}

#[derive(Deserialize, ToSchema)]
struct Done {
    /// The provider that has done its part; without it, a request that was only noted is answered.
    gateway: Option<String>,
    /// How and when the person was told why a restriction or an erasure that was only noted is not carried out.
    told: Option<String>,
    /// Why nobody asked for what was noted: it ends, an objection too.
    mistaken: Option<String>,
}

/// A provider has done its part in a request, or what was only noted is answered in another way than by a command; an objection never is.
#[utoipa::path(post, path = "/api/v1/requests/{id}/done", params(("id" = i64, Path,)), request_body = Done,
    responses((status = 200, body = Resolved), (status = 409, body = Problem)))]
async fn request_done(
    State(web): State<Web>,
    Operator(by): Operator,
    Path(id): Path<i64>,
    Json(done): Json<Done>,
) -> Answer<Resolved> {
    let [told, mistaken] = [&done.told, &done.mistaken].map(|words| words.as_deref().map(str::trim).filter(|w| !w.is_empty()));
    match (done.gateway, mistaken) {
        (Some(gateway), _) => requests::done(&web.engine, id, &gateway, &by).await?,
        (None, Some(why)) => requests::mistaken(&web.engine, id, why).await?,
        (None, None) => requests::answered(&web.engine, id, told).await?,
    }
    Ok(Json(Resolved { by }))
}

/// What age alone ended and deleted: the newest runs, the newest first.
#[utoipa::path(get, path = "/api/v1/retention", responses((status = 200, body = Vec<retention::Run>)))]
async fn retention_runs(State(web): State<Web>) -> Answer<Vec<retention::Run>> {
    Ok(Json(retention::runs(&web.engine, 50).await?))
}

#[derive(Deserialize, ToSchema)]
struct Trial {
    /// The language of the ask.
    #[schema(example = "it")]
    locale: String,
    #[schema(example = "sì grazie")]
    text: String,
}

/// How the machine reads a reply. Nothing is stored.
#[utoipa::path(post, path = "/api/v1/replies/classify", request_body = Trial,
    responses((status = 200, body = Reading), (status = 422, body = Problem)))]
async fn classify(State(web): State<Web>, Json(trial): Json<Trial>) -> Answer<Reading> {
    let known = super::inbox::locales(&web);
    if !known.contains(&trial.locale) {
        let remedy = format!("there are: {}", known.join(", "));
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "there is no phrase set for this language", remedy));
    }
    Ok(Json(inbox::read(&web.engine, &trial.locale, &trial.text)))
}

#[derive(Serialize, ToSchema)]
struct Steering {
    halted: bool,
    /// Times in which nobody listened and that are not settled: nothing is sent while there is one.
    gaps: u64,
    /// Who is recorded.
    by: String,
}

/// Stops all sending, answers included, within a slice.
#[utoipa::path(post, path = "/api/v1/halt", request_body = Nothing, responses((status = 200, body = Steering)))]
async fn halt_all(State(web): State<Web>, Operator(by): Operator, Json(Nothing {}): Json<Nothing>) -> Answer<Steering> {
    steer::halt(&web.engine, &by).await?;
    Ok(Json(Steering { halted: true, gaps: 0, by }))
}

#[derive(Deserialize, ToSchema)]
struct Resume {
    /// Your word that no reply was lost while nobody listened, and how you know.
    heard: Option<String>,
}

/// Sends again after a halt, or after a time in which nobody listened.
#[utoipa::path(post, path = "/api/v1/resume", request_body = Resume, responses((status = 200, body = Steering)))]
async fn resume_all(State(web): State<Web>, Operator(by): Operator, Json(said): Json<Resume>) -> Answer<Steering> {
    let heard = said.heard.as_deref().map(str::trim).filter(|words| !words.is_empty());
    let gaps = steer::resume(&web.engine, &by, heard).await?.gaps as u64;
    Ok(Json(Steering { halted: false, gaps, by }))
}
