//! The people's pages. GET and HEAD change nothing at all: previews and scanners fetch every link.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::lang::Lang;
use super::pages::{Again, Banner, CodeView, NoticePage, PendingView, PreferencesPage, STYLE_CSS, StateKind, StatePage};
use super::{Web, address, may_try};
use crate::clock::{DAY, HOUR, SECOND};
use crate::domain::campaign::Mode;
use crate::domain::channel::{Channel, Permission, Purpose};
use crate::domain::consent;
use crate::domain::ledger::Entry;
use crate::domain::notice::blocks;
use crate::domain::suppression::Reason;
use crate::domain::times::{Day, Often, Part, Times};
use crate::engine::choose::{self, Choice, Door, Submitted, View};
use crate::engine::notice;

/// Largest form taken, bytes.
const FORM: usize = 16 * 1024;

type Peer = ConnectInfo<SocketAddr>;

pub async fn show(state: State<Web>, peer: Peer, Path(token): Path<String>, headers: HeaderMap) -> Response {
    page(&state, &peer, &token, None, &headers).await
}

pub async fn show_in(state: State<Web>, peer: Peer, Path((token, lang)): Path<(String, String)>, headers: HeaderMap) -> Response {
    match Lang::parse(&lang) {
        Some(lang) => page(&state, &peer, &token, Some(lang), &headers).await,
        None => state_page(&state, preferred(&headers), StateKind::Unknown, StatusCode::NOT_FOUND, None),
    }
}

async fn page(web: &Web, peer: &Peer, token: &str, lang: Option<Lang>, headers: &HeaderMap) -> Response {
    let view = match choose::look(&web.engine, token).await {
        Ok(Some(view)) => view,
        Ok(None) => return no_such_link(web, peer, headers, lang.unwrap_or(preferred(headers))),
        Err(error) => return failed(web, lang.unwrap_or(preferred(headers)), &error),
    };
    let lang = Lang::of_page(lang, &view.locale);
    let status = match view.door {
        Door::Open | Door::Restricted | Door::Noted | Door::Unready => StatusCode::OK,
        Door::Expired | Door::Closed => StatusCode::GONE,
    };
    (status, Html(render(&preferences(web, token, lang, view, None)))).into_response()
}

/// The page once more, with the times as they were ticked, and why.
async fn once_more(
    web: &Web,
    token: &str,
    lang: Option<Lang>,
    times: Option<Times>,
    again: Again,
) -> anyhow::Result<Option<Response>> {
    let Some(view) = choose::look(&web.engine, token).await? else { return Ok(None) };
    let lang = Lang::of_page(lang, &view.locale);
    let view = View { times: times.unwrap_or_else(|| view.times.clone()), ..view };
    let page = preferences(web, token, lang, view, Some(again));
    Ok(Some((again.status(), Html(render(&page))).into_response()))
}

fn preferences(web: &Web, token: &str, lang: Lang, view: View, again: Option<Again>) -> PreferencesPage {
    let config = &web.engine.config;
    // What was chosen is completed as long as a new choice could be taken, or could but for the notice. A code cannot be typed behind a link
    // too old to grant; a reply that completes the choice can still be sent.
    let types = matches!(view.door, Door::Open | Door::Unready);
    let completes = types || (view.door == Door::Expired && view.mode != Mode::LinkCode);
    let nonce = nonce(web, token, &view.notice, &words(lang, &view.purposes, &view.channels));
    let view = View { pending: view.pending.filter(|_| completes), ..view };
    let state_banner = banner(&view);
    PreferencesPage {
        lang,
        lang_base: Some(format!("/p/{token}")),
        brand: view.brand,
        masked_number: view.masked_number,
        channels: view.channels,
        purposes: view.purposes,
        granted: view.granted,
        no_is_said: view.no_is_said,
        times: view.times,
        pending: view.pending.map(|permissions| PendingView {
            permissions: permissions.into_iter().collect(),
            reply_number: view.reply_number.filter(|_| view.mode == Mode::LinkReply),
            yes_waits: view.yes_waits,
            word: &Lang::parse(&view.locale).unwrap_or(Lang::EN).t().yes_word,
            code: view.code.filter(|_| types).map(|step| CodeView {
                standing: step.standing,
                again_in: (step.again_at > view.now).then(|| (step.again_at - view.now + SECOND - 1) / SECOND),
            }),
        }),
        state_banner,
        nonce,
        action: format!("/p/{token}/{}", lang.code()),
        notice_url: format!("/notice/{}", lang.code()),
        notice_version: view.notice,
        source: view.source.filter(|s| !s.is_empty()),
        controller: config.controller.identity(),
        privacy_contact: config.controller.privacy_contact.clone(),
        start_number: view.start_number,
        door: view.door,
        again,
    }
}

/// The one state that the page reports, the strictest first.
fn banner(view: &View) -> Option<Banner> {
    let unanswered = matches!(view.answered, Some(consent::State::Asked | consent::State::Pending));
    match (view.suppressed, view.last) {
        _ if view.test => Some(Banner::Test),
        (Some(Reason::WrongPerson), _) if view.number_changed => Some(Banner::NumberChanged),
        (Some(Reason::WrongPerson), _) => Some(Banner::WrongNumber),
        _ if view.door == Door::Restricted => Some(Banner::Restricted),
        _ if view.door == Door::Noted => Some(Banner::Noted),
        _ if view.pending.is_some() => None,
        (Some(Reason::Erased), _) if view.door == Door::Open => Some(Banner::Erased),
        (Some(Reason::Stopped | Reason::Erased | Reason::UnsubscribedBefore), _) => Some(Banner::Stopped),
        (Some(Reason::Refused), _) => Some(Banner::Refused),
        // What stands is listed there, and nothing of it can be changed for more; or nothing stands.
        (None, Some(last))
            if (view.door != Door::Open || view.granted.is_empty())
                && last.entry == Entry::Withdrawn
                && view.now < last.at + HOUR =>
        {
            Some(Banner::TakenBack)
        }
        _ if view.door != Door::Open => None,
        // Asked for more than they allow already.
        (None, Some(last)) if !view.granted.is_empty() && !unanswered => match last.entry {
            Entry::Granted if view.now < last.at + HOUR => Some(Banner::Confirmed),
            Entry::Withdrawn if view.now < last.at + HOUR => Some(Banner::TakenBack),
            _ => Some(Banner::Answered(last.day)),
        },
        _ if view.lapsed => Some(Banner::Lapsed),
        _ => None,
    }
}

/// The hash of what the page says about the choice, with the boxes that it offers: another build, or other settings, may say and offer
/// something else by the time it comes back.
fn words(lang: Lang, purposes: &[Purpose], channels: &[Channel]) -> String {
    lang.page(purposes, channels).page.map(|words| words.hash).unwrap_or_default()
}

pub(super) fn nonce(web: &Web, token: &str, notice: &str, words: &str) -> String {
    web.engine.vault.nonce(token, (notice, words), web.engine.now().div_euclid(DAY))
}

pub(super) fn nonce_is_valid(web: &Web, given: &str, token: &str, notice: &str, words: &str) -> bool {
    web.engine.vault.nonce_is_valid(given, token, (notice, words), web.engine.now().div_euclid(DAY))
}

/// Whether what was given stands on the page as it is shown now; where nothing can be allowed, no page needs to.
async fn stands(web: &Web, token: &str, lang: Option<Lang>, given: &str) -> anyhow::Result<bool> {
    let Some(offer) = choose::offer(&web.engine, token).await? else { return Ok(true) };
    let lang = Lang::of_page(lang, &offer.locale);
    Ok(nonce_is_valid(web, given, token, &offer.notice, &words(lang, &offer.purposes, &offer.channels)))
}

pub async fn submit(state: State<Web>, peer: Peer, Path(token): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    take(&state, &peer, &token, None, &headers, &body).await
}

pub async fn submit_in(
    state: State<Web>,
    peer: Peer,
    Path((token, lang)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    take(&state, &peer, &token, Lang::parse(&lang), &headers, &body).await
}

async fn take(web: &Web, peer: &Peer, token: &str, lang: Option<Lang>, headers: &HeaderMap, body: &Bytes) -> Response {
    let shown = lang.unwrap_or(preferred(headers));
    let refused = |kind, status| state_page(web, shown, kind, status, Some(format!("/p/{token}")));
    if let Some((kind, status)) = checked(web, headers, body) {
        return refused(kind, status);
    }
    let (mut given, mut answer, mut ticked, mut code) = (String::new(), String::new(), BTreeSet::new(), String::new());
    let (mut withdrawn, mut boxes) = (None, BTreeSet::new());
    let (mut asked_when, mut times) = (false, Times::default());
    for (name, value) in url::form_urlencoded::parse(body) {
        match name.as_ref() {
            "nonce" => given = value.into_owned(),
            "answer" => answer = value.into_owned(),
            "code" => code = value.into_owned(),
            // A box we do not know is no box of ours: it grants nothing.
            "grant" => ticked.extend(Permission::parse(&value)),
            "box" => boxes.extend(Permission::parse(&value)),
            "withdraw" => withdrawn = Permission::parse(&value),
            "when" => asked_when = true,
            "part" => times.parts.extend(Part::parse(&value)),
            "day" => times.days.extend(Day::parse(&value)),
            "often" => times.at_most = Often::parse(&value),
            _ => {}
        }
    }
    let engine = &web.engine;
    let choice = match (answer.as_str(), withdrawn) {
        ("", Some(permission)) => Choice::Withdraw(permission),
        ("none", _) => Choice::Nothing,
        ("wrong_number", _) => Choice::WrongNumber,
        ("chosen", _) => Choice::Ticked(ticked, asked_when.then_some(times)),
        ("code", _) => Choice::Code(code),
        ("another", _) => Choice::AnotherCode,
        _ => return refused(StateKind::BadRequest, StatusCode::BAD_REQUEST),
    };
    // Saying no must work whatever happened to the form; only a yes needs a fresh one, with the notice, the words and the boxes that were shown.
    let needs_fresh = !matches!(choice, Choice::Nothing | Choice::Withdraw(_) | Choice::WrongNumber);
    let stands = match needs_fresh {
        true => stands(web, token, lang, &given).await,
        false => Ok(true),
    };
    let choice = match (stands, choice) {
        (Ok(true), choice) => choice,
        (Ok(false), Choice::Ticked(ticked, times)) => Choice::Outdated { ticked, times, boxes },
        (Ok(false), _) => return refused(StateKind::NonceStale, StatusCode::CONFLICT),
        (Err(error), _) => return failed(web, shown, &error),
    };
    let spoken =
        |message: &str, purposes: &[Purpose], channels: &[Channel]| Lang::of_page(lang, message).page(purposes, channels);
    match choose::submit(engine, token, &choice, &spoken).await {
        Ok(Submitted::Done) => {
            let to = lang.map_or_else(|| format!("/p/{token}"), |l| format!("/p/{token}/{}", l.code()));
            Redirect::to(&to).into_response()
        }
        Ok(became @ (Submitted::NothingChosen | Submitted::Outdated)) => {
            let times = if let Choice::Ticked(_, times) | Choice::Outdated { times, .. } = choice { times } else { None };
            let again = if became == Submitted::Outdated { Again::Outdated } else { Again::Unchosen };
            match once_more(web, token, lang, times, again).await {
                Ok(Some(page)) => page,
                Ok(None) => no_such_link(web, peer, headers, shown),
                Err(error) => failed(web, shown, &error),
            }
        }
        Ok(Submitted::TooOld) => refused(StateKind::Expired, StatusCode::GONE),
        Ok(Submitted::Unknown) => no_such_link(web, peer, headers, shown),
        Err(error) => failed(web, shown, &error),
    }
}

/// What is wrong with a submission before its fields are read.
pub(super) fn checked(web: &Web, headers: &HeaderMap, body: &Bytes) -> Option<(StateKind, StatusCode)> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    match () {
        () if !same_origin(web, headers) => Some((StateKind::Elsewhere, StatusCode::FORBIDDEN)),
        () if body.len() > FORM => Some((StateKind::BadRequest, StatusCode::PAYLOAD_TOO_LARGE)),
        () if !kind.starts_with("application/x-www-form-urlencoded") => {
            Some((StateKind::BadRequest, StatusCode::UNSUPPORTED_MEDIA_TYPE))
        }
        () => None,
    }
}

/// Our own form says `Sec-Fetch-Site: same-origin`. Browsers that do not say it send their origin with a POST, and older ones still, which
/// send neither, the page that the form stood on (OWASP, CSRF prevention, "verifying origin with standard headers"). Another site can keep
/// all three back, and then nothing is taken.
fn same_origin(web: &Web, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let own = || web.engine.config.public_url.origin();
    match (text("sec-fetch-site"), text("origin"), text("referer")) {
        (Some(site), ..) => site == "same-origin",
        (None, Some(origin), _) => origin == own().ascii_serialization(),
        (None, None, Some(page)) => url::Url::parse(page).is_ok_and(|page| page.origin() == own()),
        (None, None, None) => false,
    }
}

/// The same answer for an unknown, a foreign and a malformed token; by address only these are limited.
pub(super) fn no_such_link(web: &Web, peer: &Peer, headers: &HeaderMap, lang: Lang) -> Response {
    if !may_try(&web.unknown_tokens, address(web, peer, headers)) {
        return state_page(web, lang, StateKind::TooMany, StatusCode::TOO_MANY_REQUESTS, None);
    }
    state_page(web, lang, StateKind::Unknown, StatusCode::NOT_FOUND, None)
}

pub(super) fn failed(web: &Web, lang: Lang, error: &anyhow::Error) -> Response {
    tracing::error!(error = format!("{error:#}"), "A page could not be served");
    state_page(web, lang, StateKind::Error, StatusCode::SERVICE_UNAVAILABLE, None)
}

pub(super) fn state_page(web: &Web, lang: Lang, kind: StateKind, status: StatusCode, back_url: Option<String>) -> Response {
    let config = &web.engine.config;
    let page = StatePage {
        lang,
        lang_base: (kind == StateKind::Home).then(String::new),
        brand: config.controller.brand.clone(),
        kind,
        back_url,
        reply_number: config.stop_number().map(str::to_owned),
        controller: config.controller.identity(),
        privacy_contact: config.controller.privacy_contact.clone(),
    };
    let mut response = (status, Html(render(&page))).into_response();
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    }
    response
}

pub(super) fn render(page: &impl Template) -> String {
    page.render().unwrap_or_else(|error| {
        tracing::error!(%error, "A template failed");
        "Service unavailable".to_owned()
    })
}

pub(super) fn preferred(headers: &HeaderMap) -> Lang {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).unwrap_or("");
    Lang::accepted(accepted).unwrap_or(Lang::EN)
}

/// Where consent is withdrawn by whoever has no link at hand: the address that consent records name, since it gives away nobody's.
pub async fn home(State(web): State<Web>, headers: HeaderMap) -> Response {
    state_page(&web, preferred(&headers), StateKind::Home, StatusCode::OK, None)
}

pub async fn home_in(State(web): State<Web>, Path(lang): Path<String>, headers: HeaderMap) -> Response {
    match Lang::parse(&lang) {
        Some(lang) => state_page(&web, lang, StateKind::Home, StatusCode::OK, None),
        None => state_page(&web, preferred(&headers), StateKind::Unknown, StatusCode::NOT_FOUND, None),
    }
}

pub async fn notice(State(web): State<Web>, headers: HeaderMap) -> Response {
    let lang = preferred(&headers);
    notice_page(&web, lang, lang.code()).await
}

/// In any language in which there is one: a chatbot may speak others than these pages, which then speak the browser's around it.
pub async fn notice_in(State(web): State<Web>, Path(locale): Path<String>, headers: HeaderMap) -> Response {
    notice_page(&web, Lang::parse(&locale).unwrap_or(preferred(&headers)), &locale).await
}

async fn notice_page(web: &Web, lang: Lang, locale: &str) -> Response {
    let config = &web.engine.config;
    let (version, text) = match notice::shown(&web.engine, locale).await {
        Ok(Some(shown)) => shown,
        Ok(None) => return state_page(web, lang, StateKind::Unknown, StatusCode::NOT_FOUND, None),
        Err(error) => return failed(web, lang, &error),
    };
    let page = NoticePage {
        lang,
        lang_base: Some("/notice".into()),
        brand: config.controller.brand.clone(),
        version,
        locale: locale.to_owned(),
        controller: config.controller.identity(),
        privacy_contact: config.controller.privacy_contact.clone(),
        blocks: blocks(&text),
        elsewhere: config.controller.notice_url.as_ref().map(ToString::to_string),
    };
    Html(render(&page)).into_response()
}

pub async fn unknown(State(web): State<Web>, headers: HeaderMap) -> Response {
    state_page(&web, preferred(&headers), StateKind::Unknown, StatusCode::NOT_FOUND, None)
}

pub async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE_CSS).into_response()
}

pub async fn brand(State(web): State<Web>) -> Response {
    let controller = &web.engine.config.controller;
    let mut css = format!(":root{{--brand:{}}}\n", controller.brand_color);
    if controller.logo.is_some() {
        css += ".brand::before{content:\"\";display:inline-block;width:2.5rem;height:2.5rem;margin-right:.5rem;vertical-align:middle;background:url(/logo) center/contain no-repeat}\n";
    }
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], css).into_response()
}

pub async fn logo(State(web): State<Web>, headers: HeaderMap) -> Response {
    match &web.engine.config.controller.logo {
        Some(logo) => ([(header::CONTENT_TYPE, logo.kind)], logo.bytes.to_vec()).into_response(),
        None => state_page(&web, preferred(&headers), StateKind::Unknown, StatusCode::NOT_FOUND, None),
    }
}
