//! A person's own data: the door with its code, what is behind it, the files to take along, and the way out for good. GET shows the door
//! alone and changes nothing; what is behind it is only ever the answer to a POST, and carries no cookie: the ticket stands in the page.

use std::net::SocketAddr;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::Web;
use super::desk::sheet;
use super::lang::Lang;
use super::mine::word;
use super::mytable;
use super::pages::{CodeView, StateKind};
use super::people::{checked, failed, no_such_link, nonce, nonce_is_valid, preferred, render, state_page};
use crate::clock::{SECOND, instant};
use crate::domain::channel::{Channel, Permission};
use crate::domain::times::Times;
use crate::engine::dossier::{Dossier, Former, NOT_KEPT};
use crate::engine::mydata::{self, Door, Typed};
use crate::engine::record;
use crate::engine::seen::Seen;

type Peer = ConnectInfo<SocketAddr>;

/// Behind `/p/{token}/data`. Posts `nonce`, `answer` = `another` | `object` | `code` | `json` | `csv` | `restrict` | `lift` | `erase`, `code`, `ticket` and `sure`.
#[derive(Debug, Template)]
#[template(path = "pages/mydata.html")]
struct DataPage {
    lang: Lang,
    lang_base: Option<String>,
    brand: String,
    masked_number: String,
    closed: bool,
    objected: bool,
    code: Option<CodeView>,
    /// Where START lifts a provider's own block.
    start_number: Option<String>,
    open: Option<Opened>,
    nonce: String,
    action: String,
    back: String,
    controller: String,
    privacy_contact: String,
}

/// What the right code opens.
#[derive(Debug)]
struct Opened {
    ticket: String,
    /// Of every time shown.
    zone: String,
    restricted: bool,
    sections: Vec<Section>,
}

#[derive(Debug)]
struct Section {
    title: String,
    how: Option<String>,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    text: String,
    /// Of a decision: what stood on record then. Folded, since it is long and stands at each.
    facts: Vec<String>,
}

impl From<String> for Line {
    fn from(text: String) -> Line {
        Line { text, facts: Vec::new() }
    }
}

impl Section {
    fn new(title: &str, how: Option<String>, lines: impl IntoIterator<Item = impl Into<Line>>) -> Section {
        Section { title: title.to_owned(), how, lines: lines.into_iter().map(Into::into).collect() }
    }
}

/// What stands in the place of a page that is gone.
#[derive(Debug, Template)]
#[template(path = "pages/erased.html")]
struct ErasedPage {
    lang: Lang,
    lang_base: Option<String>,
    brand: String,
    controller: String,
    privacy_contact: String,
}

pub async fn door(State(web): State<Web>, peer: Peer, Path(token): Path<String>, headers: HeaderMap) -> Response {
    shown(&web, &peer, &token, None, &headers).await
}

pub async fn door_in(
    State(web): State<Web>,
    peer: Peer,
    Path((token, lang)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    match Lang::parse(&lang) {
        Some(lang) => shown(&web, &peer, &token, Some(lang), &headers).await,
        None => state_page(&web, preferred(&headers), StateKind::Unknown, StatusCode::NOT_FOUND, None),
    }
}

async fn shown(web: &Web, peer: &Peer, token: &str, lang: Option<Lang>, headers: &HeaderMap) -> Response {
    let door = match mydata::look(&web.engine, token).await {
        Ok(Some(door)) => door,
        Ok(None) => return no_such_link(web, peer, headers, lang.unwrap_or(preferred(headers))),
        Err(error) => return failed(web, lang.unwrap_or(preferred(headers)), &error),
    };
    let lang = lang.or_else(|| Lang::parse(&door.locale)).unwrap_or(Lang::EN);
    Html(render(&page(web, token, lang, &door))).into_response()
}

fn page(web: &Web, token: &str, lang: Lang, door: &Door) -> DataPage {
    let again_in = (door.step.again_at > door.now).then(|| (door.step.again_at - door.now + SECOND - 1) / SECOND);
    let controller = &web.engine.config.controller;
    DataPage {
        lang,
        lang_base: Some(format!("/p/{token}/data")),
        brand: controller.brand.clone(),
        masked_number: door.masked_number.clone(),
        closed: door.closed,
        objected: door.objected,
        code: Some(CodeView { standing: door.step.standing, again_in }),
        start_number: door.start_number.clone(),
        open: None,
        nonce: nonce(web, token, &controller.notice_version, ""),
        action: format!("/p/{token}/data/{}", lang.code()),
        back: format!("/p/{token}/{}", lang.code()),
        controller: controller.identity(),
        privacy_contact: controller.privacy_contact.clone(),
    }
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
    let engine = &web.engine;
    let to = lang.map_or_else(|| format!("/p/{token}/data"), |l| format!("/p/{token}/data/{}", l.code()));
    let shown = lang.unwrap_or(preferred(headers));
    let refused = |kind, status| state_page(web, shown, kind, status, Some(to.clone()));
    if let Some((kind, status)) = checked(web, headers, body) {
        return refused(kind, status);
    }
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
    if !nonce_is_valid(web, field("nonce"), token, &engine.config.controller.notice_version, "") {
        return refused(StateKind::NonceStale, StatusCode::CONFLICT);
    }
    let done = match field("answer") {
        "another" => match mydata::send(engine, token, lang.map(Lang::code)).await {
            Ok(true) => Ok(Some(Redirect::to(&to).into_response())),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        },
        "code" => match mydata::take(engine, token, field("code")).await {
            Ok(Typed::Open(dossier, ticket)) => opened(web, token, lang, &dossier, ticket).await,
            Ok(Typed::Wrong) => Ok(Some(Redirect::to(&to).into_response())),
            Ok(Typed::Unknown) => Ok(None),
            Err(error) => Err(error),
        },
        "json" | "csv" => match mydata::again(engine, token, field("ticket")).await {
            Ok(Some(dossier)) if field("answer") == "csv" => {
                Ok(Some(sheet::file("my-data.csv", sheet::csv(mytable::rows(shown, &engine.config.retention, &dossier)))))
            }
            Ok(Some(dossier)) => Ok(Some(json_file(record::json_ld(engine, &dossier)))),
            Ok(None) => Ok(Some(Redirect::to(&to).into_response())),
            Err(error) => Err(error),
        },
        // Objecting is as easy as a no: no code, no reason.
        "object" => match mydata::object(engine, token).await {
            Ok(true) => Ok(Some(Redirect::to(&to).into_response())),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        },
        answer @ ("restrict" | "lift") => match mydata::restrict(engine, token, field("ticket"), answer == "restrict").await {
            Ok(Some(dossier)) => opened(web, token, lang, &dossier, field("ticket").to_owned()).await,
            Ok(None) => Ok(Some(Redirect::to(&to).into_response())),
            Err(error) => Err(error),
        },
        // Whoever has not ticked that they know what it means sees the door again: nothing happened.
        "erase" if field("sure") != "yes" => Ok(Some(Redirect::to(&to).into_response())),
        "erase" => match mydata::erase(engine, token, field("ticket")).await {
            Ok(Some(_)) => Ok(Some(Redirect::to(&format!("/erased/{}", shown.code())).into_response())),
            Ok(None) => Ok(Some(Redirect::to(&to).into_response())),
            Err(error) => Err(error),
        },
        _ => return refused(StateKind::BadRequest, StatusCode::BAD_REQUEST),
    };
    match done {
        Ok(Some(response)) => response,
        Ok(None) => no_such_link(web, peer, headers, shown),
        Err(error) => failed(web, shown, &error),
    }
}

async fn opened(web: &Web, token: &str, lang: Option<Lang>, d: &Dossier, ticket: String) -> anyhow::Result<Option<Response>> {
    let Some(door) = mydata::look(&web.engine, token).await? else { return Ok(None) };
    let lang = lang.or_else(|| Lang::parse(&door.locale)).unwrap_or(Lang::EN);
    let open =
        Opened { ticket, zone: d.zone.to_string(), restricted: d.contact.restricted != 0, sections: sections(web, lang, d) };
    let page = DataPage { code: None, open: Some(open), ..page(web, token, lang, &door) };
    Ok(Some(Html(render(&page)).into_response()))
}

fn json_file(value: serde_json::Value) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "application/ld+json"), (header::CONTENT_DISPOSITION, "attachment; filename=\"my-data.jsonld\"")];
    (headers, format!("{value:#}\n")).into_response()
}

pub async fn erased(State(web): State<Web>, Path(lang): Path<String>, headers: HeaderMap) -> Response {
    let Some(lang) = Lang::parse(&lang) else {
        return state_page(&web, preferred(&headers), StateKind::Unknown, StatusCode::NOT_FOUND, None);
    };
    let controller = &web.engine.config.controller;
    let page = ErasedPage {
        lang,
        lang_base: Some("/erased".into()),
        brand: controller.brand.clone(),
        controller: controller.identity(),
        privacy_contact: controller.privacy_contact.clone(),
    };
    Html(render(&page)).into_response()
}

/// The whole dossier in the person's language: what is known, of the numbers before this one too, who has it, and for how long.
fn sections(web: &Web, lang: Lang, d: &Dossier) -> Vec<Section> {
    let m = lang.mine();
    let mut all = known(lang, d);
    for former in &d.former {
        let until = instant(former.until).with_timezone(&d.zone).date_naive();
        let title = format!("{}{}", m.former.replace("{date}", &lang.date(until)), lang.t().colon);
        let own = known(lang, &former.dossier).into_iter();
        all.extend(own.map(|section| Section { title: format!("{title} {}", section.title), ..section }));
    }
    // Two accounts at one provider are one company to people.
    let mut recipients: Vec<String> = Vec::new();
    for recipient in [d].into_iter().chain(d.former.iter().map(|f| &f.dossier)).flat_map(|d| &d.recipients) {
        let line = m.recipient(recipient.what, &recipient.who);
        if !recipients.contains(&line) {
            recipients.push(line);
        }
    }
    let kept = lang.kept(&web.engine.config.retention).map(|(_, _, sentence)| sentence).to_vec();
    all.push(Section::new(&m.recipients, Some(m.recipients_how.clone()), recipients));
    all.push(Section::new(&m.kept, None, kept));
    all
}

/// A day that is stored as one, as the language writes it.
fn written(lang: Lang, day: &str) -> String {
    day.parse().map_or_else(|_| day.to_owned(), |day| lang.date(day))
}

fn channel(lang: Lang, code: &str) -> String {
    Channel::parse(code).map_or_else(|| code.to_owned(), |c| lang.channel(c).to_owned())
}

fn permission(lang: Lang, p: Permission) -> String {
    format!("{} ({})", lang.purpose(p.purpose), lang.channel(p.channel))
}

/// What a decision saw: the same as operators read.
fn facts(lang: Lang, seen: &Seen) -> Vec<String> {
    let (m, colon) = (lang.mine(), &lang.t().colon);
    let day = |day: &str| written(lang, day);
    let pair = |label: &str, value: &str| format!("{label}{colon} {value}");
    let list = |label: &str, values: Vec<String>| match values.is_empty() {
        true => pair(label, m.nothing.trim_end_matches('.')),
        false => pair(label, &values.join("; ")),
    };
    let rule = |holds: bool, code: &'static str| holds.then(|| word(&m.reasons, code).to_owned());
    let right = |(basis, on, ticked): (&str, &str, Option<&str>)| {
        let ticked = ticked.map_or(String::new(), |ticked| format!(", {}", word(&m.boxes, ticked)));
        format!("{}, {}{ticked}", word(&m.bases, basis), day(on))
    };
    let no = |(code, on): (&str, &str)| format!("{}, {}", m.no(code).trim_end_matches('.'), day(on));
    let granted = seen.granted.iter().filter_map(|code| Some(permission(lang, Permission::parse(code)?)));
    let mut lines: Vec<String> = Vec::new();
    lines.extend(seen.country.as_deref().map(|country| pair(&m.country, country)));
    lines.extend(rule(!seen.mobile, "BAD_NUMBER"));
    lines.extend(seen.kind.as_deref().map(|kind| pair(&m.kind, word(&m.kinds, kind))));
    lines.extend(seen.last_action.map(|on| pair(&m.last_action, &lang.date(on))));
    lines.push(list(&m.facts_right, seen.rights().map(right).collect()));
    lines.extend(rule(seen.only_quarantined, "SOURCE_QUARANTINED"));
    lines.push(list(&m.noes, seen.noes().map(no).collect()));
    lines.push(pair(&m.facts_asked, &seen.asked.map_or_else(|| m.facts_never.clone(), |on| lang.date(on))));
    lines.push(list(&m.consents, granted.collect()));
    lines.extend(rule(seen.in_conversation, "IN_CONVERSATION"));
    lines.extend(rule(seen.held, "HELD_FOR_OPERATOR"));
    lines.extend(seen.times.as_deref().and_then(|times| lang.times(&Times::read(times))).map(|times| pair(&m.times, &times)));
    lines.extend(rule(seen.restricted, "RESTRICTED"));
    lines.extend(seen.noted.then(|| m.facts_noted.clone()));
    lines.extend(seen.listed().map(|(register, since)| m.listed(register, &day(since))));
    lines.extend(seen.impossible().map(|(code, rule)| pair(&channel(lang, code), word(&m.reasons, rule))));
    lines
}

/// What is known of one number.
fn known(lang: Lang, d: &Dossier) -> Vec<Section> {
    let (m, t, c) = (lang.mine(), lang.t(), &d.contact);
    let colon = &t.colon;
    let local = |at: i64| instant(at).with_timezone(&d.zone);
    let day = |at: i64| lang.date(local(at).date_naive());
    let time = |at: i64| format!("{} {}", day(at), local(at).format("%H:%M"));
    let written = |day: &str| written(lang, day);
    let channel = |code: &str| channel(lang, code);
    let section = |title: &str, how: Option<String>, mut lines: Vec<String>| {
        if lines.is_empty() {
            lines.push(m.nothing.clone());
        }
        Section::new(title, how, lines)
    };
    let pair = |label: &str, value: String| format!("{label}{colon} {value}");

    let mut about = vec![pair(&m.number, d.number.e164().to_owned()), pair(&m.since, day(c.created_at))];
    about.extend(c.country.clone().map(|v| pair(&m.country, v)));
    about.extend(c.locale.clone().map(|v| pair(&m.language, v)));
    about.extend(c.zone.clone().map(|v| pair(&m.zone, v)));
    about.extend(c.kind.as_deref().map(|v| pair(&m.kind, word(&m.kinds, v).to_owned())));
    about.extend(
        c.last_action.clone().filter(|d| d != crate::store::contacts::UNDATED).map(|v| pair(&m.last_action, written(&v))),
    );
    about.extend(lang.times(&c.times()).map(|v| pair(&m.times, v)));
    if c.restricted != 0 {
        about.push(word(&m.reasons, "RESTRICTED").to_owned());
    }
    let came = |form: &str| if form.is_empty() { m.entered.clone() } else { format!("{} ({form})", m.entered) };
    let given = |(source, at): &(String, i64)| m.imported.replace("{date}", &day(*at)).replace("{source}", source);
    let moved = |f: &Former| m.moved.replace("{date}", &day(f.until)).replace("{number}", f.dossier.number.e164());
    let mut sources: Vec<String> = d.former.iter().take(1).map(moved).chain(d.joined.iter().map(given)).collect();
    // Nothing else says where the number of somebody is from who came by an entry.
    if sources.is_empty() && d.imported.is_empty() {
        let first = d.received.iter().find_map(|r| Some((came(r.entry.as_deref()?), r.at)));
        sources.extend(first.as_ref().map(given));
    }
    for row in &d.imported {
        let source = if row.source.is_empty() { "-" } else { &row.source };
        let mut line = m.imported.replace("{date}", &day(row.at)).replace("{source}", source);
        if let (Some(basis), Some(evidence), Some(date)) = (&row.basis, &row.evidence, &row.basis_date) {
            let basis = m.basis.replace("{basis}", word(&m.bases, basis)).replace("{evidence}", evidence);
            let basis = basis.replace("{date}", &written(date));
            line = format!("{line}; {basis}");
        }
        sources.push(line);
    }
    let permission = |p: Permission| permission(lang, p);
    let mut permissions: Vec<String> =
        d.permissions.iter().map(|(p, state)| pair(&permission(*p), word(&m.states, state.code()).to_owned())).collect();
    if permissions.is_empty() {
        permissions.push(m.no_consents.clone());
    }
    let history = d.entries.iter().map(|e| {
        let of: Vec<String> = e.body.permissions.iter().map(|p| permission(*p)).collect();
        let of = if of.is_empty() { String::new() } else { format!("{colon} {}", of.join(", ")) };
        format!("{} {}{of}", time(e.body.at), word(&m.entries, e.body.word()))
    });
    let noes = d.noes.iter().map(|no| {
        let mut line = pair(&day(no.at), m.no(&no.reason).trim_end_matches('.').to_owned());
        if let Some(said) = d.said_on.as_ref().filter(|_| no.reason == "unsubscribed_before") {
            line = format!("{line} ({})", m.no_said.replace("{date}", &written(said)));
        }
        if no.of_another {
            line = format!("{line} ({})", m.no_of_another);
        }
        if let Some(at) = no.lifted_at {
            line = format!("{line} ({})", m.no_lifted.replace("{date}", &day(at)));
        }
        line
    });
    let sent = d.sent.iter().map(|s| {
        let line = format!("{} {} {}", time(s.at), channel(&s.channel), word(&m.messages, &s.kind));
        s.text.clone().map_or_else(|| line.clone(), |text| pair(&line, text))
    });
    let received = d.received.iter().map(|r| {
        let came = r.entry.as_deref().map_or(String::new(), |form| format!(" ({})", came(form)));
        format!("{} {}{colon} {}{came}", time(r.at), channel(&r.channel), r.text)
    });
    let decisions = d.decisions.iter().map(|x| {
        format!("{} {}{colon} {}. {}", time(x.at), x.campaign, word(&m.outcomes, &x.outcome), word(&m.reasons, &x.code))
    });
    let mut decided = section(&m.decisions, Some(m.decisions_how.clone()), decisions.collect());
    for (line, x) in decided.lines.iter_mut().zip(&d.decisions) {
        line.facts = x.seen.as_ref().map(|seen| facts(lang, seen)).unwrap_or_default();
    }
    let listed = d.registers.iter().filter_map(|r| Some(m.listed(&r.register, &day(r.listed_since?))));
    let requests = d.requests.iter().map(|r| {
        let due = || m.due.replace("{date}", &written(&r.due));
        let state = r.done.as_ref().map_or_else(due, |day| m.done.replace("{date}", &written(day)));
        format!("{} {}, {state}", written(&r.received), word(&m.rights, &r.kind))
    });
    vec![
        section(&m.about, None, about),
        section(&m.sources, None, sources),
        section(&m.registers, None, listed.collect()),
        section(&m.consents, None, permissions),
        section(&m.history, None, history.collect()),
        section(&m.noes, None, noes.collect()),
        section(&m.sent, Some(m.sent_how.replace("{left_out}", NOT_KEPT)), sent.collect()),
        section(&m.links, None, d.links.iter().map(|at| time(*at)).collect()),
        section(&m.received, None, received.collect()),
        decided,
        section(&m.requests, None, requests.collect()),
    ]
}
