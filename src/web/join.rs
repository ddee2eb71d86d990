//! `/join/{form}`: the choice, then the number, then the code. Nothing is kept between the steps but what the page
//! itself carries: no cookie, no address, no row. GET changes nothing, as on every page of the people's.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::lang::Lang;
use super::pages::{JoinPage, StateKind, Step};
use super::people::{checked, failed, preferred, render, state_page};
use super::{Web, address, may_try, people_policy};
use crate::clock::DAY;
use crate::config::Form;
use crate::domain::channel::Permission;
use crate::domain::phone::prefix;
use crate::engine::intake::{self, Given, Typed};

type Peer = ConnectInfo<SocketAddr>;

pub async fn show(State(web): State<Web>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    first(&web, &name, Some(preferred(&headers)), &headers).await
}

pub async fn show_in(State(web): State<Web>, Path((name, lang)): Path<(String, String)>, headers: HeaderMap) -> Response {
    first(&web, &name, Lang::parse(&lang), &headers).await
}

async fn first(web: &Web, name: &str, lang: Option<Lang>, headers: &HeaderMap) -> Response {
    let Some(lang) = lang else { return nowhere(web, preferred(headers)) };
    let Some(form) = web.engine.config.form(name) else { return nowhere(web, lang) };
    // Without a published notice nobody can consent (Art. 13 GDPR), so nobody is asked to.
    match intake::notice(&web.engine, lang.code()).await {
        Ok(_) => page(web, form, lang, Step::Choose, Vec::new(), StatusCode::OK),
        Err(error) => failed(web, lang, &error),
    }
}

fn nowhere(web: &Web, lang: Lang) -> Response {
    state_page(web, lang, StateKind::Unknown, StatusCode::NOT_FOUND, None)
}

fn nonce_of(form: &Form) -> String {
    format!("join/{}", form.name)
}

/// The hash of what the form's page says: the settings may offer something else by the time it comes back.
fn words(form: &Form, lang: Lang) -> String {
    lang.form(form).page.map(|words| words.hash).unwrap_or_default()
}

fn page(web: &Web, form: &Form, lang: Lang, step: Step, chosen: Vec<Permission>, status: StatusCode) -> Response {
    let (engine, config) = (&web.engine, &web.engine.config);
    let version = &config.controller.notice_version;
    let prefixes: Vec<String> = form.countries.iter().filter_map(|country| prefix(country)).collect();
    let base = format!("/join/{}", form.name);
    let page = JoinPage {
        lang,
        action: format!("{base}/{}", lang.code()),
        // Further on the other languages would begin anew.
        lang_base: (step == Step::Choose).then_some(base),
        brand: config.controller.brand.clone(),
        step,
        channels: form.channels.clone(),
        purposes: form.purposes.clone(),
        chosen,
        prefixes: prefixes.join(", "),
        nonce: engine.vault.nonce(&nonce_of(form), (version, &words(form, lang)), engine.now().div_euclid(DAY)),
        notice_url: format!("/notice/{}", lang.code()),
        notice_version: version.clone(),
        controller: config.controller.identity(),
        privacy_contact: config.controller.privacy_contact.clone(),
        reply_number: config.stop_number().map(str::to_owned),
    };
    framed(form, (status, Html(render(&page))).into_response())
}

/// Only the pages that the form names may show it in a frame.
fn framed(form: &Form, mut response: Response) -> Response {
    if !form.embed.is_empty()
        && let Ok(policy) = HeaderValue::from_str(&people_policy(&form.embed.join(" ")))
    {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

pub async fn submit(state: State<Web>, peer: Peer, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    take(&state, &peer, &name, preferred(&headers), &headers, &body).await
}

pub async fn submit_in(
    state: State<Web>,
    peer: Peer,
    Path((name, lang)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match Lang::parse(&lang) {
        Some(lang) => take(&state, &peer, &name, lang, &headers, &body).await,
        None => nowhere(&state, preferred(&headers)),
    }
}

async fn take(web: &Web, peer: &Peer, name: &str, lang: Lang, headers: &HeaderMap, body: &Bytes) -> Response {
    let engine = &web.engine;
    let Some(form) = engine.config.form(name) else { return nowhere(web, lang) };
    let back = format!("/join/{name}/{}", lang.code());
    let refused = |kind, status| framed(form, state_page(web, lang, kind, status, Some(back.clone())));
    if let Some((kind, status)) = checked(web, headers, body) {
        return refused(kind, status);
    }
    let (mut given, mut answer, mut ticked) = (String::new(), String::new(), BTreeSet::new());
    let (mut token, mut number, mut code) = (String::new(), String::new(), String::new());
    for (name, value) in url::form_urlencoded::parse(body) {
        match name.as_ref() {
            "nonce" => given = value.into_owned(),
            "answer" => answer = value.into_owned(),
            "token" => token = value.into_owned(),
            "number" => number = value.into_owned(),
            "code" => code = value.into_owned(),
            // A box we do not know is no box of ours: it grants nothing.
            "grant" => ticked.extend(Permission::parse(&value)),
            _ => {}
        }
    }
    if answer == "none" {
        return page(web, form, lang, Step::Declined, Vec::new(), StatusCode::OK);
    }
    let (version, day) = (&engine.config.controller.notice_version, engine.now().div_euclid(DAY));
    if !engine.vault.nonce_is_valid(&given, &nonce_of(form), (version, &words(form, lang)), day) {
        return refused(StateKind::NonceStale, StatusCode::CONFLICT);
    }
    // A number or a code of somebody's is no guess at a link, but as many of them come from one address.
    if answer != "chosen" && !may_try(&web.joins, address(web, peer, headers)) {
        return refused(StateKind::TooMany, StatusCode::TOO_MANY_REQUESTS);
    }
    let stale = || refused(StateKind::NonceStale, StatusCode::CONFLICT);
    let number_page = |token: String, typed: String, unfit: bool, status| match intake::chosen(engine, form, &token) {
        Some(chosen) => page(web, form, lang, Step::Number { token, typed, unfit }, chosen, status),
        None => stale(),
    };
    match answer.as_str() {
        "chosen" => match intake::choose(engine, form, &ticked, &lang.form(form)).await {
            Ok(Some(token)) => number_page(token, String::new(), false, StatusCode::OK),
            Ok(None) => page(web, form, lang, Step::Declined, Vec::new(), StatusCode::OK),
            Err(error) => failed(web, lang, &error),
        },
        // It was mistyped: the same choice, for another number.
        "correct" => number_page(token, String::new(), false, StatusCode::OK),
        "number" => match intake::give(engine, form, &token, &number).await {
            Ok(Given::Taken) => page(web, form, lang, Step::Code { token, wrong: false }, Vec::new(), StatusCode::OK),
            Ok(Given::UnfitNumber) => number_page(token, number, true, StatusCode::UNPROCESSABLE_ENTITY),
            Ok(Given::BadToken) => stale(),
            Err(error) => failed(web, lang, &error),
        },
        "code" => match intake::complete(engine, form, &token, &code).await {
            Ok(Typed::Confirmed { granted, link }) => {
                let link = format!("{link}/{}", lang.code());
                page(web, form, lang, Step::Done { link }, granted, StatusCode::OK)
            }
            Ok(Typed::Wrong) => {
                let step = Step::Code { token, wrong: true };
                page(web, form, lang, step, Vec::new(), StatusCode::UNPROCESSABLE_ENTITY)
            }
            Ok(Typed::BadToken) => stale(),
            Err(error) => failed(web, lang, &error),
        },
        _ => refused(StateKind::BadRequest, StatusCode::BAD_REQUEST),
    }
}
