//! The phones, as web pages: what each person sees, and a way to answer as that person. For demos and browser tests.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::book::{Book, Entry, Phone};
use super::protocol::{Button, Channel};
use super::server::Shared;
use crate::domain::phone::{Fiction, PhoneNumber};
use crate::domain::plural::counted;

const PAGE: usize = 50;
const LONGEST_REPLY: usize = 1600;

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(newest).post(search))
        .route("/write", post(write))
        .route("/phones/{n}", get(phone))
        .route("/phones/{n}/reply", post(reply))
}

#[derive(Template)]
#[template(path = "pages/phones.html")]
struct PhonesPage {
    phones: Vec<Row>,
    /// `2 phones, 3 messages`
    total: String,
    /// Senders that are known to take a first message, and by which channel.
    writable: Vec<(String, &'static str)>,
    /// The digits searched for; empty on the plain list.
    digits: String,
    newer: Option<usize>,
    older: Option<usize>,
}

struct Row {
    index: usize,
    number: String,
    sender: String,
    preview: String,
    time: String,
    count: usize,
}

#[derive(Template)]
#[template(path = "pages/phone.html")]
struct PhonePage {
    index: usize,
    number: String,
    threads: Vec<Thread>,
}

/// All that one phone and one sender wrote to each other over one channel.
struct Thread {
    sender: String,
    channel: Channel,
    bubbles: Vec<Bubble>,
    /// Where a reply typed here can go; empty if nowhere.
    reply_to: Vec<String>,
    /// Whether `reply_to` holds numbers named in the text, because the sender itself is one-way.
    elsewhere: bool,
}

struct Bubble {
    /// Set on the first bubble of a day.
    day: Option<String>,
    time: String,
    own: bool,
    pieces: Vec<Piece>,
    buttons: Vec<Button>,
    message_id: String,
    /// What only the mock knows: that the phone never got it, or that the webhook did not take it.
    remark: Option<&'static str>,
}

#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Link(String),
}

impl Thread {
    fn initial(&self) -> char {
        self.sender.chars().find(|c| c.is_alphabetic()).map_or('#', |c| c.to_uppercase().next().unwrap_or(c))
    }

    fn is_whatsapp(&self) -> bool {
        self.channel == Channel::Whatsapp
    }

    fn channel_code(&self) -> &'static str {
        if self.is_whatsapp() { "whatsapp" } else { "sms" }
    }

    fn channel_name(&self) -> &'static str {
        if self.is_whatsapp() { "WhatsApp" } else { "SMS" }
    }
}

#[derive(Deserialize)]
struct PageQuery {
    #[serde(default)]
    page: usize,
}

async fn newest(State(shared): State<Arc<Shared>>, Query(query): Query<PageQuery>) -> Response {
    render(&list(&shared, String::new(), query.page.min(1_000_000)))
}

#[derive(Deserialize)]
struct Search {
    digits: String,
}

/// By POST, so that no number gets into a URL. Shows the first page of hits only: more digits find more exactly.
async fn search(State(shared): State<Arc<Shared>>, Form(search): Form<Search>) -> Response {
    let digits = search.digits.chars().filter(char::is_ascii_digit).take(15).collect();
    render(&list(&shared, digits, 0))
}

async fn phone(State(shared): State<Arc<Shared>>, Path(index): Path<usize>) -> Response {
    let page = {
        let book = shared.book();
        book.phones.get(index).map(|phone| PhonePage {
            index,
            number: phone.number.clone(),
            threads: threads(&book, phone, &shared.two_way),
        })
    };
    page.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |page| render(&page))
}

/// What somebody writes whom nobody has written to.
#[derive(Deserialize)]
struct First {
    number: String,
    to: String,
    text: String,
}

async fn write(State(shared): State<Arc<Shared>>, Form(first): Form<First>) -> Response {
    let Ok(number) = PhoneNumber::parse(&first.number, None, Fiction::Allowed) else {
        return (StatusCode::BAD_REQUEST, "Write the phone's number with its country code, as in +39 300 123 4567.")
            .into_response();
    };
    let text = first.text.trim();
    if text.is_empty() || text.chars().count() > LONGEST_REPLY {
        return (StatusCode::BAD_REQUEST, "A message has 1 to 1600 characters.").into_response();
    }
    let named = first.to.trim().to_owned();
    let (to, channel) = match PhoneNumber::parse(&named, None, Fiction::Allowed) {
        _ if shared.whatsapp.contains(&named) => (named, Channel::Whatsapp),
        Ok(number) => (number.e164().to_owned(), Channel::Sms),
        Err(_) if shared.two_way.contains(&named) => (named, Channel::Sms),
        Err(_) => {
            let known: Vec<String> = writable(&shared).into_iter().map(|(sender, _)| sender).collect();
            let known = if known.is_empty() { String::new() } else { format!(", or to one of {}", known.join(", ")) };
            let what = format!("This sender cannot receive messages. Write to a number with its country code{known}.");
            return (StatusCode::FORBIDDEN, what).into_response();
        }
    };
    shared.write(number.e164(), &to, channel, text, None).await;
    let index = shared.book().phones.iter().position(|phone| phone.number == number.e164());
    Redirect::to(&index.map_or("/".to_owned(), |index| format!("/phones/{index}"))).into_response()
}

/// Either `text` with `to` and `channel`, or `button` with `message`.
#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    to: String,
    channel: Option<Channel>,
    #[serde(default)]
    text: String,
    message: Option<String>,
    button: Option<String>,
}

async fn reply(State(shared): State<Arc<Shared>>, Path(index): Path<usize>, Form(reply): Form<Reply>) -> Response {
    let Some(number) = shared.book().phones.get(index).map(|phone| phone.number.clone()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if let (Some(message), Some(button)) = (&reply.message, &reply.button) {
        let own = shared.book().by_id(message).is_some_and(|message| message.to == number);
        if !own || shared.tap(message, button).await.is_none() {
            return (StatusCode::NOT_FOUND, "There is no such button on this phone.").into_response();
        }
    } else {
        let channel = reply.channel.unwrap_or(Channel::Sms);
        let text = reply.text.trim();
        if text.is_empty() || text.chars().count() > LONGEST_REPLY {
            return (StatusCode::BAD_REQUEST, "A reply has 1 to 1600 characters.").into_response();
        }
        if !shared.can_reply(index, &reply.to, channel) {
            return (StatusCode::FORBIDDEN, "This sender cannot receive replies.").into_response();
        }
        shared.write(&number, &reply.to, channel, text, None).await;
    }
    Redirect::to(&format!("/phones/{index}")).into_response()
}

/// By SMS first, since every number there takes messages.
fn writable(shared: &Shared) -> Vec<(String, &'static str)> {
    let on = |senders: &[String], channel| senders.iter().map(|sender| (sender.clone(), channel)).collect::<Vec<_>>();
    [on(&shared.two_way, "SMS"), on(&shared.whatsapp, "WhatsApp")].concat()
}

fn list(shared: &Shared, digits: String, page: usize) -> PhonesPage {
    let book = &shared.book();
    let mut phones: Vec<Row> =
        book.newest_phones(&digits).skip(page * PAGE).take(PAGE + 1).map(|(index, phone)| row(book, index, phone)).collect();
    let more = phones.len() > PAGE;
    phones.truncate(PAGE);
    PhonesPage {
        phones,
        total: format!(
            "{}, {}",
            counted(book.phones.len(), "phone", "phones"),
            counted(book.messages.len() + book.inbound.len(), "message", "messages")
        ),
        writable: writable(shared),
        newer: page.checked_sub(1),
        older: (more && digits.is_empty()).then_some(page + 1),
        digits,
    }
}

fn row(book: &Book, index: usize, phone: &Phone) -> Row {
    let (sender, text) = match phone.thread.last() {
        Some(Entry::Message(m)) => (book.messages[*m].from.as_str(), book.messages[*m].text.as_str()),
        Some(Entry::Inbound(i)) => ("You", book.inbound[*i].event.text.as_str()),
        None => ("", ""),
    };
    Row {
        index,
        number: phone.number.clone(),
        sender: sender.to_owned(),
        preview: text.chars().take(140).collect(),
        time: moment(phone.last_at).format("%-d %b, %H:%M").to_string(),
        count: phone.thread.len(),
    }
}

fn threads(book: &Book, phone: &Phone, two_way: &[String]) -> Vec<Thread> {
    let mut threads: Vec<Thread> = Vec::new();
    for entry in &phone.thread {
        let (sender, channel, at, text) = match entry {
            Entry::Message(m) => {
                (&book.messages[*m].from, book.messages[*m].channel, book.messages[*m].at, &book.messages[*m].text)
            }
            Entry::Inbound(i) => (
                &book.inbound[*i].event.to,
                book.inbound[*i].event.channel,
                book.inbound[*i].event.at,
                &book.inbound[*i].event.text,
            ),
        };
        let place =
            threads.iter().position(|thread| thread.sender == *sender && thread.channel == channel).unwrap_or_else(|| {
                let can_reply = channel == Channel::Whatsapp || sender.starts_with('+') || two_way.contains(sender);
                let reply_to = if can_reply { vec![sender.clone()] } else { Vec::new() };
                threads.push(Thread { sender: sender.clone(), channel, bubbles: Vec::new(), reply_to, elsewhere: !can_reply });
                threads.len() - 1
            });
        let thread = &mut threads[place];
        if thread.elsewhere {
            let known = two_way.iter().filter(|number| names(text, number)).cloned();
            for number in known.chain(international(text)) {
                if !thread.reply_to.contains(&number) {
                    thread.reply_to.push(number);
                }
            }
        }
        let day = moment(at).format("%A %-d %B %Y").to_string();
        let new_day = thread.bubbles.iter().rev().find_map(|bubble| bubble.day.as_ref()) != Some(&day);
        let (own, buttons, message_id, remark) = match entry {
            Entry::Message(m) => {
                let message = &book.messages[*m];
                let missed = message.status.missed_the_phone();
                let buttons = if missed { Vec::new() } else { message.buttons.clone() };
                (false, buttons, message.id.clone(), missed.then_some("Never reached this phone"))
            }
            Entry::Inbound(i) => {
                let failed = book.inbound[*i].taken == Some(false);
                (true, Vec::new(), String::new(), failed.then_some("The webhook did not take it"))
            }
        };
        thread.bubbles.push(Bubble {
            day: new_day.then_some(day),
            time: moment(at).format("%H:%M").to_string(),
            own,
            pieces: pieces(text),
            buttons,
            message_id,
            remark,
        });
    }
    threads
}

/// Whether `text` names this number, however it is spaced, with or without its country code.
fn names(text: &str, number: &str) -> bool {
    let digits = |s: &str| -> String { s.chars().filter(char::is_ascii_digit).collect() };
    let number = digits(number);
    let runs = text.split(|c: char| !(c.is_ascii_digit() || " +-./()".contains(c))).map(digits);
    // Eight digits cannot be a price, a date or a short code, so a tail that long is the number in its national form.
    runs.filter(|run| run.len() >= 3).any(|run| {
        let tail = run.trim_start_matches('0');
        run == number || (tail.len() >= 8 && number.ends_with(tail))
    })
}

/// The numbers that `text` names in full: `+` and 8 to 15 digits, as a phone would make tappable (E.164).
fn international(text: &str) -> impl Iterator<Item = String> {
    let runs = text.split('+').skip(1).map(|run| run.split(|c: char| !c.is_ascii_digit()).next().unwrap_or(""));
    runs.filter(|digits| (8..=15).contains(&digits.len())).map(|digits| format!("+{digits}"))
}

/// Splits out what a phone would make tappable, which here is http and https only.
fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = [rest.find("https://"), rest.find("http://")].into_iter().flatten().min() {
        let (before, from_link) = rest.split_at(start);
        let end = from_link.find(|c: char| c.is_whitespace() || "<>\"".contains(c)).unwrap_or(from_link.len());
        let link = from_link[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', '\'', '»', '”']);
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(Piece::Link(link.to_owned()));
        rest = &from_link[link.len()..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    pieces
}

fn moment(at: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at).unwrap_or_default()
}

/// The pages show text that campaigns wrote, so the policy allows no script whatever slips through.
fn render(page: &impl Template) -> Response {
    const POLICY: &str =
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let headers: [(HeaderName, &str); 2] = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-store")];
    match page.render() {
        Ok(html) => (headers, Html(html)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
