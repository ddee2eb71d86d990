//! Consent changes told to the company's CRM: a receiver of the test's own, over real HTTP, that verifies, refuses, stalls and dies.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as B64;
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use permesso::clock::Clock;
use permesso::engine::notify::{self, Round};
use permesso::engine::rights::{self, Objected};
use permesso::engine::{receive, report};
use permesso::store::outbox;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::{Kind, LINK, MORNING, REPLY_NUMBER, TestApp};
use crate::both;
use crate::promises::said;
use crate::run::{ask, logs_hold_none_of, spawn_run, until};

const SECRET: &str = "whsec_bmV3IHNlY3JldCBvZiB0aGUgY3JtIHdpdGggMzIgYnl0ZXM=";
const OLD_SECRET: &str = "whsec_b2xkIHNlY3JldCBvZiB0aGUgY3JtIHdpdGggMzIgYnl0ZXM=";

/// A CRM that nobody answers for: what it is to be told waits.
pub const WEBHOOK: &str = "[[webhook]]\nname = \"crm\"\nurl = \"http://127.0.0.1:9/hooks\"\nsecret = \"whsec_bmV3IHNlY3JldCBvZiB0aGUgY3JtIHdpdGggMzIgYnl0ZXM=\"\n";

#[derive(Debug, Clone)]
struct Call {
    id: String,
    at: i64,
    signatures: String,
    body: Vec<u8>,
}

impl Call {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn kind(&self) -> String {
        self.json()["type"].as_str().expect("a type").to_owned()
    }

    /// As a receiver verifies it: one signature that fits is enough.
    fn is_signed_with(&self, secret: &str) -> bool {
        let key = B64.decode(secret.trim_start_matches("whsec_")).expect("base64");
        let mut mac = <Hmac<sha2::Sha256> as Mac>::new_from_slice(&key).expect("a key");
        mac.update(&[self.id.as_bytes(), b".", self.at.to_string().as_bytes(), b".", &self.body].concat());
        let wanted = format!("v1,{}", B64.encode(mac.finalize().into_bytes()));
        self.signatures.split(' ').any(|s| s == wanted)
    }
}

/// The company's CRM.
#[derive(Clone)]
struct Crm {
    port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
    answer: Arc<Mutex<(u16, Option<&'static str>)>>,
    /// Answers wait while this is true.
    stalled: watch::Sender<bool>,
}

impl Crm {
    async fn start() -> Crm {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let crm = Crm {
            port: listener.local_addr().expect("bound").port(),
            calls: Arc::default(),
            answer: Arc::new(Mutex::new((204, None))),
            stalled: watch::Sender::new(false),
        };
        let app = Router::new().route("/hooks/consent", post(take)).with_state(crm.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        crm
    }

    /// A CRM, and a Permesso that tells it.
    async fn of(app: &mut TestApp, more: &str) -> Crm {
        let crm = Crm::start().await;
        app.reconfigure(&crm.settings("crm", more)).await;
        crm
    }

    fn settings(&self, name: &str, more: &str) -> String {
        let port = self.port;
        format!(
            "[[webhook]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:{port}/hooks/consent\"\nsecret = \"{SECRET}\"\ntimeout_ms = 20000\n{more}\n"
        )
    }

    fn answers(&self, status: u16) {
        *self.answer.lock().expect("answer") = (status, None);
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("calls").clone()
    }
}

async fn take(State(crm): State<Crm>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).expect("a header").to_owned();
    assert_eq!(header("content-type"), "application/json");
    crm.calls.lock().expect("calls").push(Call {
        id: header("webhook-id"),
        at: header("webhook-timestamp").parse().expect("seconds"),
        signatures: header("webhook-signature"),
        body: body.to_vec(),
    });
    let mut stalled = crm.stalled.subscribe();
    stalled.wait_for(|stalled| !stalled).await.expect("the CRM lives");
    let (status, retry_after) = *crm.answer.lock().expect("answer");
    let mut answer = StatusCode::from_u16(status).expect("a status").into_response();
    if let Some(text) = retry_after {
        answer.headers_mut().insert("retry-after", text.parse().expect("a header"));
    }
    answer
}

async fn round(app: &TestApp) -> Round {
    notify::round(&app.engine, "crm", &CancellationToken::new()).await.expect("a round")
}

/// People who were asked, and say STOP; each is one event.
async fn stops(app: &mut TestApp, people: std::ops::Range<u32>) {
    let numbers: Vec<String> = people.map(TestApp::it).collect();
    app.people(&numbers).await;
    for number in numbers {
        app.gateway.reply(&number, REPLY_NUMBER, "STOP").await;
    }
}

async fn grant(app: &mut TestApp, number: &str) {
    app.people(&[number.to_owned()]).await;
    app.send(LINK).await;
    assert_eq!(app.submit(&app.link(number), "chosen", &["sms.promotions"]).await, 303);
    app.advance(Duration::from_secs(20));
    app.reply(number, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(number).await, ["sms.promotions"]);
}

both!(a_yes_by_both_steps_is_told_signed_and_with_its_proof, |app| {
    let crm = Crm::of(app, "").await;
    let number = TestApp::it(1);
    grant(app, &number).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM outbox").await, 1, "a first yes alone is nothing to tell");
    assert_eq!(round(app).await, Round { delivered: 1, ..Round::default() });
    assert_eq!(round(app).await, Round::default(), "what is told is told");
    let [call] = crm.calls().try_into().expect("one call");
    assert!(call.id.starts_with("evt_") && call.id.len() == 26, "{}", call.id);
    assert_eq!(call.at, app.clock.now() / 1_000_000);
    assert!(call.is_signed_with(SECRET) && !call.is_signed_with(OLD_SECRET));
    let event = call.json();
    let entry = app.story(&number).await.ledger.last().cloned().expect("an entry");
    assert_eq!(event["type"], "consent.granted");
    assert_eq!(
        event["timestamp"].as_str().and_then(|t| t.parse::<DateTime<Utc>>().ok()).map(|t| t.timestamp_micros()),
        Some(app.clock.now())
    );
    let data = &event["data"];
    assert_eq!(data["number"], number);
    assert_eq!(data["scope"], "permissions");
    assert_eq!(data["permissions"], json!([{ "channel": "sms", "purpose": "promotions", "state": "granted" }]));
    assert_eq!(data["campaign"], LINK);
    assert_eq!(data["ask_basis"], "prior_consent");
    assert_eq!(data["notice_version"], "2026-11");
    assert_eq!((&data["channel"], &data["action"], &data["locale"]), (&json!("sms"), &json!("reply"), &json!("it")));
    assert_eq!(data["wording_hash"].as_str().map(str::len), Some(64));
    assert!(data["first_yes_at"].is_string() && data["ledger_seq"].is_i64(), "{data}\n{entry:?}");

    // A STOP takes it back, and says that it reaches everything.
    app.reply(&number, REPLY_NUMBER, "STOP").await;
    round(app).await;
    let stop = crm.calls().pop().expect("a call").json();
    assert_eq!((&stop["type"], &stop["data"]["scope"]), (&json!("consent.stopped"), &json!("all")));
    assert_eq!((&data["reason"], &stop["data"]["reason"]), (&json!("granted"), &json!("stopped")));
    assert_eq!(stop["data"]["permissions"], json!([{ "channel": "sms", "purpose": "promotions", "state": "withdrawn" }]));
    assert!(stop["data"]["ledger_seq"].as_i64() > data["ledger_seq"].as_i64());
    logs_hold_none_of(&[SECRET.to_owned(), SECRET.trim_start_matches("whsec_").to_owned()]);
});

both!(without_a_webhook_nothing_is_written, |app| {
    stops(app, 1..3).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM outbox").await, 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'stopped'").await, 2);
});

both!(a_receiver_that_was_down_gets_the_same_event_under_the_same_id, |app| {
    let crm = Crm::of(app, "").await;
    crm.answers(503);
    stops(app, 1..2).await;
    assert_eq!(round(app).await, Round { failed: 1, ..Round::default() });
    assert_eq!(round(app).await, Round::default(), "not before its time");
    app.advance(Duration::from_secs(6));
    assert_eq!(round(app).await.failed, 1);
    app.advance(Duration::from_secs(6));
    assert_eq!(round(app).await, Round::default(), "the second pause is five minutes");
    app.advance(Duration::from_secs(6 * 60));
    crm.answers(200);
    assert_eq!(round(app).await.delivered, 1);
    let calls = crm.calls();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls.iter().map(|c| (&c.id, &c.body)).collect::<BTreeSet<_>>().len(), 1, "one event, one id, one body");
    assert_eq!(calls.iter().map(|c| c.at).collect::<BTreeSet<_>>().len(), 3, "each try is signed with its own time");
    assert!(calls.iter().all(|c| c.is_signed_with(SECRET)));
});

both!(the_receivers_wish_to_wait_is_respected, |app| {
    let crm = Crm::of(app, "").await;
    *crm.answer.lock().expect("answer") = (429, Some("120"));
    stops(app, 1..2).await;
    assert_eq!(round(app).await.failed, 1);
    app.advance(Duration::from_secs(60));
    assert_eq!(round(app).await, Round::default());
    app.advance(Duration::from_secs(75));
    crm.answers(200);
    assert_eq!(round(app).await.delivered, 1);
});

both!(what_is_refused_to_the_end_is_a_dead_letter_that_shows_and_can_be_retried, |app| {
    let crm = Crm::of(app, "").await;
    crm.answers(500);
    stops(app, 1..2).await;
    let mut tries = 0;
    while round(app).await.dead == 0 {
        tries += 1;
        assert!(tries < 10, "it ends");
        app.advance(Duration::from_secs(27 * 3600));
    }
    assert_eq!((tries, crm.calls().len()), (9, 10));
    app.advance(Duration::from_secs(365 * 24 * 3600));
    assert_eq!(round(app).await, Round::default(), "and is not tried by itself again");
    assert_eq!(notify::sweep(&app.engine).await.expect("swept"), 0, "but never forgotten");

    let overview = report::overview(&app.engine).await.expect("an overview");
    assert_eq!((overview.webhooks[0].pending, overview.webhooks[0].dead), (0, 1));
    let (_, metrics) = app.get(&format!("{}/metrics", app.operator)).await;
    assert!(metrics.contains("permesso_webhook_events{webhook=\"crm\",state=\"dead\"} 1"), "{metrics}");
    let (code, out, err) = ask(app.dir.path(), &["webhooks", "list", "--dead"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("1 dead") && out.contains("consent.stopped") && out.contains("HTTP 500"), "{out}");
    assert!(!out.contains(&TestApp::it(1)[1..]), "no number in a list");
    let (code, _, err) = ask(app.dir.path(), &["webhooks", "retry", "999"]).await;
    assert!(code == 1 && err.contains("remedy"), "{err}");
    let (_, out, _) = ask(app.dir.path(), &["--json", "webhooks", "list"]).await;
    let id = serde_json::from_str::<Value>(&out).expect("JSON")["events"][0]["id"].to_string();
    let (code, _, err) = ask(app.dir.path(), &["webhooks", "retry", &id]).await;
    assert_eq!(code, 0, "{err}");
    crm.answers(200);
    assert_eq!(round(app).await.delivered, 1);
    let calls = crm.calls();
    assert_eq!(calls.iter().map(|c| &c.id).collect::<BTreeSet<_>>().len(), 1, "under its old id");
    assert_eq!(ask(app.dir.path(), &["webhooks", "retry", "--all"]).await.1, "0 events are tried again by the next worker\n");
});

both!(the_desk_shows_dead_letters_and_tries_them_again, |app| {
    let crm = Crm::of(app, "").await;
    crm.answers(500);
    stops(app, 1..3).await;
    while round(app).await.dead == 0 {
        app.advance(Duration::from_secs(27 * 3600));
    }
    let press = async |path: String| {
        let button = app.http.post(format!("{}{path}", app.operator)).header("sec-fetch-site", "same-origin");
        button.send().await.expect("an answer").status().as_u16()
    };
    let (code, page) = app.get(&format!("{}/webhooks", app.operator)).await;
    assert!(code == 200 && page.contains("consent.stopped") && page.contains("HTTP 500"), "{page}");
    assert!(!page.contains(&TestApp::it(1)[1..]), "no number on the page");
    let one =
        page.split("action=\"/webhooks/").filter_map(|rest| rest.split_once("/retry\"")).next().expect("a button").0.to_owned();
    let forged = app.http.post(format!("{}/webhooks/{one}/retry", app.operator)).header("sec-fetch-site", "cross-site");
    assert_eq!(forged.send().await.expect("an answer").status().as_u16(), 403);
    crm.answers(200);
    assert_eq!(press(format!("/webhooks/{one}/retry")).await, 303);
    assert_eq!(press(format!("/webhooks/{one}/retry")).await, 409, "it is no dead letter any more");
    assert_eq!(round(app).await.delivered, 1);
    assert_eq!(press("/webhooks/retry".into()).await, 303);
    round(app).await;
    let (_, page) = app.get(&format!("{}/webhooks", app.operator)).await;
    assert!(!page.contains("Dead letters"), "{page}");
    assert_eq!(press("/webhooks/crm/resume".into()).await, 409, "it was never closed");
});

both!(a_receiver_that_is_gone_is_closed_until_an_operator_resumes_it, |app| {
    let crm = Crm::of(app, "").await;
    crm.answers(410);
    stops(app, 1..3).await;
    assert!(round(app).await.closed);
    let calls = crm.calls().len();
    crm.answers(200);
    app.advance(Duration::from_secs(24 * 3600));
    assert_eq!(round(app).await, Round::default());
    assert_eq!(crm.calls().len(), calls);
    let overview = report::overview(&app.engine).await.expect("an overview");
    assert!(overview.webhooks[0].closed_since.is_some() && overview.webhooks[0].pending == 2);
    let (code, out, err) = ask(app.dir.path(), &["--json", "webhooks", "resume", "crm"]).await;
    assert_eq!(
        (code, serde_json::from_str::<Value>(&out).ok()),
        (0, Some(json!({ "webhook": "crm", "resumed": true }))),
        "{out}{err}"
    );
    assert_eq!(ask(app.dir.path(), &["webhooks", "resume", "crm"]).await.0, 1);
    assert_eq!(round(app).await.delivered, 2);
});

both!(a_number_that_cannot_be_told_is_forgotten_after_thirty_days, |app| {
    const NUMBERS: &str = "SELECT COUNT(*) FROM outbox WHERE number_enc IS NOT NULL";
    let crm = Crm::of(app, "").await;
    let [erased, late, fresh, waits] = [1, 77, 78, 79].map(TestApp::it);
    let day = Duration::from_secs(24 * 3600);
    let sweep = async |app: &TestApp| notify::sweep(&app.engine).await.expect("swept");
    let tell = async |app: &TestApp| {
        while round(app).await.delivered > 0 {}
    };
    // Nobody was there to tell it, which is no reason to forget it while there is somebody to be told.
    app.gateway.reply(&waits, REPLY_NUMBER, "STOP").await;
    app.advance(40 * day);
    sweep(app).await;
    assert_eq!(app.count(NUMBERS).await, 1);
    tell(app).await;
    assert_eq!((app.count(NUMBERS).await, crm.calls().len()), (0, 1));

    stops(app, 1..2).await;
    app.gateway.reply(&late, REPLY_NUMBER, "STOP").await;
    crate::erasure::erase(app, &erased).await;
    app.advance(40 * day);
    crm.answers(410);
    assert!(round(app).await.closed);
    let before = crm.calls().len();
    app.advance(29 * day);
    sweep(app).await;
    assert_eq!(app.count(NUMBERS).await, 3, "it was closed for 29 days: a stranger's, and two of whoever was erased");
    app.gateway.reply(&fresh, REPLY_NUMBER, "STOP").await;
    app.advance(2 * day);
    sweep(app).await;
    assert_eq!(app.count(NUMBERS).await, 1, "what came since");
    // Taken up again it is told what there is to tell.
    assert_eq!(ask(app.dir.path(), &["webhooks", "resume", "crm"]).await.0, 0);
    crm.answers(200);
    tell(app).await;
    let calls: Vec<Value> = crm.calls()[before..].iter().map(Call::json).collect();
    assert_eq!(calls.len(), 4, "{calls:?}");
    let known: Vec<&Value> = calls.iter().map(|call| &call["data"]["number"]).filter(|number| !number.is_null()).collect();
    assert_eq!(known, [&json!(fresh)]);
    assert_eq!(calls.iter().filter(|call| call["data"]["reason"] == "erased" && call["data"]["ledger_seq"].is_i64()).count(), 1);

    // So it is once the settings name nobody any more.
    app.gateway.reply(&waits, REPLY_NUMBER, "NO").await;
    let file = app.engine.config.dir.join("permesso.toml");
    let settings = std::fs::read_to_string(&file).expect("the settings");
    std::fs::write(&file, settings.replace(&crm.settings("crm", ""), "")).expect("written");
    app.reconfigure("").await;
    assert!(app.engine.receivers.is_empty());
    app.advance(29 * day);
    sweep(app).await;
    assert_eq!(app.count(NUMBERS).await, 1);
    app.advance(2 * day);
    sweep(app).await;
    assert_eq!(app.count(NUMBERS).await, 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM outbox WHERE state = 'pending'").await, 1, "the event stays");
});

both!(what_is_rolled_back_is_not_told, |app| {
    let crm = Crm::of(app, "").await;
    app.people(&[TestApp::it(1)]).await;
    let stop = [said("one", &TestApp::it(1), REPLY_NUMBER, "STOP", app.clock.now())];
    let mut tx = app.engine.store.write().await.expect("a transaction");
    receive::receive(&mut tx, &app.engine, "mock", &[&stop[0]]).await.expect("received");
    tx.rollback().await.expect("rolled back");
    assert_eq!(round(app).await, Round::default());
    receive::store(&app.engine, "mock", &stop).await.expect("stored");
    receive::store(&app.engine, "mock", &stop).await.expect("stored again");
    assert_eq!(round(app).await.delivered, 1, "once, however often the gateway repeats itself");
    assert_eq!(crm.calls().len(), 1);
});

both!(two_workers_do_not_tell_the_same_event, |app| {
    let crm = Crm::of(app, "").await;
    stops(app, 1..60).await;
    let other = app.another().await;
    let stop = CancellationToken::new();
    let mut delivered = 0;
    while delivered < 59 {
        let (a, b) = tokio::join!(notify::round(&app.engine, "crm", &stop), notify::round(&other, "crm", &stop));
        let sum = a.expect("a round").delivered + b.expect("a round").delivered;
        assert!(sum > 0, "stuck at {delivered}");
        delivered += sum;
    }
    let ids: Vec<String> = crm.calls().into_iter().map(|c| c.id).collect();
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (59, 59));
    other.store.close().await;
});

both!(a_lease_that_ran_out_is_claimed_again_and_a_late_answer_still_counts, |app| {
    let crm = Crm::of(app, "").await;
    stops(app, 1..2).await;
    crm.stalled.send_replace(true);
    let engine = app.engine.clone();
    let slow = tokio::spawn(async move { notify::round(&engine, "crm", &CancellationToken::new()).await.expect("a round") });
    until("the first request is under way", async || crm.calls().len() == 1).await;
    assert_eq!(round(app).await, Round::default(), "leased");
    app.execute("UPDATE outbox SET lease_db = 1").await.expect("the lease is over");
    let engine = app.engine.clone();
    let second = tokio::spawn(async move { notify::round(&engine, "crm", &CancellationToken::new()).await.expect("a round") });
    until("the second request is under way", async || crm.calls().len() == 2).await;
    crm.stalled.send_replace(false);
    assert_eq!((slow.await.expect("ended").delivered, second.await.expect("ended").delivered), (1, 1));
    let calls = crm.calls();
    assert_eq!(calls[0].id, calls[1].id, "told twice under one id");
    assert_eq!(app.count("SELECT COUNT(*) FROM outbox WHERE state = 'delivered' AND tries = 1").await, 1);
});

both!(a_crm_that_never_answers_delays_no_message, |app| {
    let crm = Crm::of(app, "").await;
    stops(app, 1..4).await;
    crm.stalled.send_replace(true);
    let engine = app.engine.clone();
    let stuck = tokio::spawn(async move { notify::round(&engine, "crm", &CancellationToken::new()).await.expect("a round") });
    until("all its requests hang", async || crm.calls().len() == 3).await;
    app.people(&[TestApp::it(50)]).await;
    app.send(LINK).await;
    assert_eq!(app.asks(&TestApp::it(50)), 1);
    app.reply(&TestApp::it(50), REPLY_NUMBER, "STOP").await;
    assert!(!stuck.is_finished());
    crm.stalled.send_replace(false);
    assert_eq!(stuck.await.expect("ended").delivered, 3);
    assert_eq!(round(app).await.delivered, 1);
});

both!(a_worker_that_stops_sends_nothing_more_and_hands_back_what_it_had_claimed, |app| {
    let crm = Crm::of(app, "").await;
    stops(app, 1..4).await;
    let stop = CancellationToken::new();
    stop.cancel();
    assert_eq!(notify::round(&app.engine, "crm", &stop).await.expect("a round"), Round::default());
    assert_eq!(crm.calls().len(), 0);
    assert_eq!(round(app).await.delivered, 3);
    assert_eq!(app.count("SELECT COUNT(*) FROM outbox WHERE tries = 1").await, 3);
});

both!(a_secret_is_changed_without_a_gap, |app| {
    let crm = Crm::of(app, &format!("secret_previous = \"{OLD_SECRET}\"")).await;
    stops(app, 1..2).await;
    round(app).await;
    let [call] = crm.calls().try_into().expect("one call");
    assert_eq!(call.signatures.split(' ').count(), 2);
    assert!(call.is_signed_with(SECRET) && call.is_signed_with(OLD_SECRET));
    assert!(!call.is_signed_with("whsec_c29tZSBvdGhlciBzZWNyZXQgd2l0aCAzMiBieXRlcyE="));
});

both!(one_persons_events_are_told_in_the_order_of_the_ledger, |app| {
    let crm = Crm::of(app, "").await;
    let number = TestApp::it(1);
    grant(app, &number).await;
    app.reply(&number, REPLY_NUMBER, "STOP").await;
    stops(app, 2..3).await;
    crm.answers(500);
    assert_eq!(round(app).await.failed, 2, "the grant, and somebody else's stop");
    assert_eq!(round(app).await, Round::default(), "the stop waits behind the grant");
    app.advance(Duration::from_secs(6));
    crm.answers(200);
    assert_eq!((round(app).await.delivered, round(app).await.delivered), (2, 1));
    let told: Vec<String> =
        crm.calls().iter().filter(|c| c.json()["data"]["number"] == number.as_str()).map(Call::kind).collect();
    assert_eq!(told, ["consent.granted", "consent.granted", "consent.stopped"]);
});

both!(only_the_events_asked_for_are_told_and_each_webhook_goes_its_own_way, |app| {
    let noes = Crm::of(app, "events = [\"consent.stopped\", \"consent.wrong_person\"]").await;
    let other = Crm::start().await;
    app.reconfigure(&other.settings("other", "")).await;
    other.answers(500);
    app.people(&[TestApp::it(1), TestApp::it(2)]).await;
    app.gateway.reply(&TestApp::it(1), REPLY_NUMBER, "NO").await;
    app.gateway.reply(&TestApp::it(2), REPLY_NUMBER, "numero sbagliato").await;
    assert_eq!(round(app).await.delivered, 1);
    assert_eq!(notify::round(&app.engine, "other", &CancellationToken::new()).await.expect("a round").failed, 2);
    assert_eq!(noes.calls().iter().map(Call::kind).collect::<Vec<_>>(), ["consent.wrong_person"]);
    let at_other: BTreeSet<(String, String)> = other.calls().iter().map(|c| (c.kind(), c.id.clone())).collect();
    assert_eq!(at_other.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), ["consent.refused", "consent.wrong_person"]);
    assert!(at_other.iter().any(|(_, id)| *id == noes.calls()[0].id), "one event has one id everywhere");
});

both!(a_strangers_stop_is_told_with_its_number_which_is_then_forgotten, |app| {
    let crm = Crm::of(app, "").await;
    let stranger = TestApp::it(77);
    app.gateway.reply(&stranger, REPLY_NUMBER, "STOP").await;
    assert_eq!(app.count("SELECT COUNT(*) FROM outbox WHERE number_enc IS NOT NULL").await, 1);
    assert_eq!(round(app).await.delivered, 1);
    let event = crm.calls()[0].json();
    assert_eq!((&event["type"], &event["data"]["number"]), (&json!("consent.stopped"), &json!(stranger)));
    assert_eq!((&event["data"]["scope"], &event["data"]["ledger_seq"]), (&json!("all"), &Value::Null));
    assert_eq!(event["data"]["reason"], "stopped");
    // Whoever writes a letter instead is told as well, and once.
    let objector = TestApp::it(78);
    for (found, told) in [(Objected::Stranger, 1), (Objected::Already, 0)] {
        let letter = crate::erasure::by_letter(app);
        assert_eq!(rights::object(&app.engine, &TestApp::number(&objector), &letter).await.expect("noted"), found);
        assert_eq!(round(app).await.delivered, told);
    }
    let event = crm.calls()[1].json();
    assert_eq!((&event["type"], &event["data"]["number"]), (&json!("consent.stopped"), &json!(objector)));
    // So is whoever asks to be erased, by that reason: what the company has of them elsewhere has to go, too.
    let eraser = TestApp::it(79);
    for told in [1, 0] {
        crate::erasure::erase(app, &eraser).await;
        assert_eq!(round(app).await.delivered, told);
    }
    let event = crm.calls()[2].json();
    assert_eq!((&event["type"], &event["data"]["number"]), (&json!("consent.stopped"), &json!(eraser)));
    assert_eq!((&event["data"]["reason"], &event["data"]["ledger_seq"]), (&json!("erased"), &Value::Null));
    assert_eq!(app.count("SELECT COUNT(*) FROM outbox WHERE number_enc IS NOT NULL").await, 0);
    logs_hold_none_of(&[stranger, objector, eraser].map(|number| number.trim_start_matches('+').to_owned()));
});

/// A row that says whose number this is.
fn of_human(number: &str) -> String {
    format!("{number},,prospect,,web shop,prior_consent,form 1,2026-01-10,unticked,,CRM-7,\n")
}

both!(a_no_of_a_number_tied_later_ends_the_others_consent_and_is_told, |app| {
    let crm = Crm::of(app, "").await;
    let (said_no, said_yes) = (TestApp::it(1), TestApp::it(2));
    grant(app, &said_yes).await;
    app.advance(Duration::from_secs(60));
    app.reply(&said_no, REPLY_NUMBER, "STOP").await;
    round(app).await;
    let told = crm.calls().len();
    app.advance(Duration::from_secs(60));
    app.import(&(of_human(&said_no) + &of_human(&said_yes))).await;
    assert!(app.granted(&said_yes).await.is_empty());
    assert_eq!(app.count("SELECT COUNT(*) FROM suppressions WHERE lifted_at IS NULL AND reason = 'stopped'").await, 2);
    round(app).await;
    let calls = crm.calls();
    assert_eq!(calls.len(), told + 1);
    let event: Value = serde_json::from_slice(&calls[told].body).unwrap();
    assert_eq!((&event["type"], &event["data"]["number"]), (&json!("consent.withdrawn"), &json!(said_yes)));
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
    // The way back is the person's own: both acts, after the no. A list read again does not close it.
    app.advance(Duration::from_secs(60));
    assert_eq!(app.submit(&app.link(&said_yes), "chosen", &["sms.promotions"]).await, 303);
    app.import(&(of_human(&said_no) + &of_human(&said_yes))).await;
    app.advance(Duration::from_secs(60));
    app.reply(&said_yes, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&said_yes).await, ["sms.promotions"]);
});

both!(a_question_begun_before_the_no_of_a_number_tied_later_grants_nothing, |app| {
    let (said_no, begun) = (TestApp::it(1), TestApp::it(2));
    app.people(std::slice::from_ref(&begun)).await;
    app.send(LINK).await;
    app.submit(&app.link(&begun), "chosen", &["sms.promotions"]).await;
    app.advance(Duration::from_secs(60));
    app.reply(&said_no, REPLY_NUMBER, "STOP").await;
    app.advance(Duration::from_secs(60));
    app.import(&(of_human(&said_no) + &of_human(&begun))).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations WHERE closed_at IS NULL").await, 0);
    app.reply(&begun, REPLY_NUMBER, "SI").await;
    assert!(app.granted(&begun).await.is_empty());
    assert_eq!(app.count("SELECT COUNT(*) FROM suppressions WHERE lifted_at IS NOT NULL").await, 0);
});

both!(who_was_on_the_way_back_does_not_come_back_past_a_newer_no_of_their_other_number, |app| {
    let (said_no, back) = (TestApp::it(1), TestApp::it(2));
    app.people(std::slice::from_ref(&back)).await;
    app.send(LINK).await;
    app.reply(&back, REPLY_NUMBER, "STOP").await;
    app.advance(Duration::from_secs(60));
    assert_eq!(app.submit(&app.link(&back), "chosen", &["sms.promotions"]).await, 303);
    app.advance(Duration::from_secs(60));
    app.reply(&said_no, REPLY_NUMBER, "STOP").await;
    app.import(&(of_human(&said_no) + &of_human(&back))).await;
    // It carries a stop already, so the import brings none and leaves the conversation open.
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations WHERE closed_at IS NULL").await, 1);
    app.advance(Duration::from_secs(60));
    app.reply(&back, REPLY_NUMBER, "SI").await;
    assert!(app.granted(&back).await.is_empty());
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations WHERE closed_at IS NULL OR state <> 'stopped'").await, 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM suppressions WHERE lifted_at IS NOT NULL").await, 0);
});

both!(what_was_told_is_forgotten_after_thirty_days, |app| {
    let _crm = Crm::of(app, "").await;
    stops(app, 1..3).await;
    round(app).await;
    app.advance(Duration::from_secs(29 * 24 * 3600));
    assert_eq!(notify::sweep(&app.engine).await.expect("swept"), 0);
    app.advance(Duration::from_secs(2 * 24 * 3600));
    assert_eq!(notify::sweep(&app.engine).await.expect("swept"), 2);
});

both!(a_test_event_shows_the_answer_and_leaves_no_trace, |app| {
    let crm = Crm::of(app, "").await;
    let (code, out, err) = ask_meanwhile(app, &["webhooks", "test", "crm"]).await;
    assert_eq!((code, out.as_str()), (0, "webhook crm: HTTP 204 \"\"\n"), "{err}");
    assert_eq!(crm.calls()[0].kind(), "webhook.test");
    assert!(crm.calls()[0].is_signed_with(SECRET));
    crm.answers(401);
    let (code, _, err) = ask_meanwhile(app, &["webhooks", "test", "crm"]).await;
    assert!(code == 1 && err.contains("remedy"), "{err}");
    let (code, _, err) = ask_meanwhile(app, &["webhooks", "test", "nobody"]).await;
    assert!(code == 1 && err.contains("there are: crm"), "{err}");
    let mut tx = app.engine.store.read().await.expect("a transaction");
    assert!(outbox::untold(&mut tx, &app.engine.controller, "pending", 10).await.expect("read").is_empty());
    tx.rollback().await.expect("rolled back");
});

/// A command beside a receiver that lives in this process.
async fn ask_meanwhile(app: &TestApp, args: &'static [&'static str]) -> (i32, String, String) {
    let dir = app.dir.path().to_owned();
    ask(&dir, args).await
}

/// SIGKILL after the request and before its answer is stored: the event is told again, never lost.
async fn a_worker_killed_between_telling_and_noting_it_tells_again(kind: Kind) {
    let mut app = TestApp::with_clock(kind, Clock::starting(MORNING.parse::<DateTime<Utc>>().expect("a time"))).await;
    let crm = Crm::of(&mut app, "").await;
    stops(&mut app, 1..3).await;
    app.hang_up().await;
    crm.stalled.send_replace(true);
    let mut first = spawn_run(&app);
    until("both events are told and not answered", async || crm.calls().len() == 2).await;
    first.kill().expect("killed"); // SIGKILL
    first.wait().expect("gone");
    assert_eq!(app.count("SELECT COUNT(*) FROM outbox WHERE state = 'pending'").await, 2);
    // On Postgres another worker may still live, so the events wait for their lease to run out; here it has.
    if kind == Kind::Postgres {
        app.execute("UPDATE outbox SET lease_db = 1").await.expect("the lease is over");
    }
    crm.stalled.send_replace(false);
    let mut second = spawn_run(&app);
    until("both are noted as told", async || app.count("SELECT COUNT(*) FROM outbox WHERE state = 'delivered'").await == 2).await;
    second.kill().expect("killed");
    second.wait().expect("gone");
    let ids: BTreeSet<String> = crm.calls().into_iter().map(|c| c.id).collect();
    assert_eq!((crm.calls().len(), ids.len()), (4, 2), "twice under one id each");
    let log = std::fs::read_to_string(app.dir.path().join("run.log")).expect("the log");
    assert!(!log.contains(&TestApp::it(1)[1..]) && !log.contains(&SECRET[6..]), "{log}");
    app.engine.store.close().await;
}

#[tokio::test]
async fn a_worker_killed_between_telling_and_noting_it_tells_again_sqlite() {
    a_worker_killed_between_telling_and_noting_it_tells_again(Kind::Sqlite).await;
}

#[tokio::test]
async fn a_worker_killed_between_telling_and_noting_it_tells_again_postgres() {
    a_worker_killed_between_telling_and_noting_it_tells_again(Kind::Postgres).await;
}

both!(the_outbox_claims_settles_and_forgets, |app| {
    const C: &str = "contract";
    const LEASE: i64 = 60_000_000;
    let new = |subject: Option<&'static str>| outbox::New {
        kind: "consent.stopped",
        subject,
        seq: None,
        permissions: "[]",
        number_enc: subject.is_none().then_some("1:x"),
        reason: subject.is_none().then_some("erased"),
        at: 5,
    };
    let told = |id, lease_db, state| outbox::Told { id, lease_db, state, tries: 1, next_at: 100, error: Some("HTTP 500".into()) };
    let mut tx = app.engine.store.write().await.expect("a transaction");
    assert!(!outbox::is_due(&mut tx, C, "a", 10).await.expect("looked"));
    outbox::add(&mut tx, C, &[], &new(None), 10).await.expect("nothing to add");
    outbox::add(&mut tx, C, &["a", "b"], &new(Some("s")), 10).await.expect("added");
    outbox::add(&mut tx, C, &["a"], &new(Some("s")), 11).await.expect("added");
    outbox::add(&mut tx, C, &["a"], &new(None), 11).await.expect("added");
    assert!(!outbox::is_due(&mut tx, C, "a", 9).await.expect("looked"));
    assert!(outbox::is_due(&mut tx, C, "a", 10).await.expect("looked"));
    let waiting = outbox::waiting(&mut tx, C).await.expect("counted");
    assert_eq!(waiting, [("a".into(), "pending".into(), 3, 5), ("b".into(), "pending".into(), 1, 5)]);

    // The first of the person, and the stranger's; not the person's second.
    let claimed = outbox::claim(&mut tx, C, "a", LEASE, 10, 11).await.expect("claimed");
    let [first, stranger] = <[_; 2]>::try_from(claimed).expect("two");
    assert!(first.number_enc.is_none() && stranger.number_enc.as_deref() == Some("1:x"));
    assert_eq!((first.reason.as_deref(), stranger.reason.as_deref()), (None, Some("erased")));
    assert!(first.evidence.is_none() && first.tries == 0 && first.id < stranger.id);
    assert!(outbox::claim(&mut tx, C, "a", LEASE, 10, 11).await.expect("claimed").is_empty(), "leased");
    assert!(!outbox::is_due(&mut tx, C, "a", 9).await.expect("looked"));
    let stale = [told(first.id, first.lease_db - 1, "dead")];
    assert_eq!(outbox::settle(&mut tx, &stale, 12).await.expect("settled"), 0, "another worker has it by now");
    let done = [told(first.id, first.lease_db, "pending"), told(stranger.id, 0, "delivered")];
    assert_eq!(outbox::settle(&mut tx, &done, 12).await.expect("settled"), 2);
    assert_eq!(
        outbox::settle(&mut tx, &[told(stranger.id, stranger.lease_db, "dead")], 12).await.expect("settled"),
        0,
        "told is told"
    );
    assert!(outbox::claim(&mut tx, C, "a", LEASE, 10, 99).await.expect("claimed").is_empty(), "the second waits for the first");
    let [again] = <[_; 1]>::try_from(outbox::claim(&mut tx, C, "a", LEASE, 10, 100).await.expect("claimed")).expect("one");
    assert_eq!((again.id, again.tries, &again.event_id), (first.id, 1, &first.event_id));
    assert_eq!(outbox::release(&mut tx).await.expect("released"), 1);
    let [again] = <[_; 1]>::try_from(outbox::claim(&mut tx, C, "a", LEASE, 10, 100).await.expect("claimed")).expect("one");
    assert_eq!(outbox::settle(&mut tx, &[told(again.id, again.lease_db, "dead")], 12).await.expect("settled"), 1);
    let second = outbox::claim(&mut tx, C, "a", LEASE, 10, 100).await.expect("claimed");
    assert_eq!(second.len(), 1, "a dead letter holds up nothing");

    assert_eq!(outbox::closed_since(&mut tx, C, "b").await.expect("looked"), None);
    outbox::close(&mut tx, C, "b", 20).await.expect("closed");
    outbox::close(&mut tx, C, "b", 21).await.expect("closed already");
    assert_eq!(outbox::closed_since(&mut tx, C, "b").await.expect("looked"), Some(20));
    assert!(!outbox::is_due(&mut tx, C, "b", 100).await.expect("looked"));
    assert!(outbox::claim(&mut tx, C, "b", LEASE, 10, 100).await.expect("claimed").is_empty());
    assert!(outbox::reopen(&mut tx, C, "b").await.expect("reopened"));
    assert!(!outbox::reopen(&mut tx, C, "b").await.expect("open already"));
    assert!(outbox::is_due(&mut tx, C, "b", 100).await.expect("looked"));

    let dead = outbox::untold(&mut tx, C, "dead", 10).await.expect("listed");
    assert_eq!((dead.len(), dead[0].id, dead[0].tries, dead[0].error.as_deref()), (1, first.id, 2, Some("HTTP 500")));
    assert_eq!(outbox::sweep(&mut tx, C, &["a", "b"], 12).await.expect("swept"), 0);
    assert_eq!(outbox::sweep(&mut tx, C, &["a", "b"], 13).await.expect("swept"), 1, "what was told; never a dead letter");
    assert!(!outbox::retry(&mut tx, C, second[0].id, 30).await.expect("retried"), "it is not dead");
    assert!(!outbox::retry(&mut tx, "another", first.id, 30).await.expect("retried"));
    assert!(outbox::retry(&mut tx, C, first.id, 30).await.expect("retried"));
    assert_eq!(outbox::retry_all(&mut tx, C, 30).await.expect("retried"), 0);
    assert_eq!(outbox::untold(&mut tx, C, "pending", 10).await.expect("listed").len(), 3);
    tx.rollback().await.expect("rolled back");
});

both!(whoever_is_erased_is_told_as_a_stop_after_everything_before, |app| {
    let crm = Crm::of(app, "").await;
    let [number, objector] = [1, 2].map(TestApp::it);
    grant(app, &number).await;
    assert_eq!(crate::erasure::erase(app, &number).await.numbers, 1);
    while round(app).await.delivered > 0 {}
    app.people(std::slice::from_ref(&objector)).await;
    let letter = crate::erasure::by_letter(app);
    permesso::engine::rights::object(&app.engine, &TestApp::number(&objector), &letter).await.expect("noted");
    round(app).await;
    // Each by its own reason: what is erased here has to go there too.
    let told = |call: &Call| (call.kind(), call.json()["data"]["reason"].clone(), call.json()["data"]["number"].clone());
    let wanted = [("granted", "granted", &number), ("stopped", "erased", &number), ("stopped", "objection", &objector)];
    let wanted = wanted.map(|(kind, reason, number)| (format!("consent.{kind}"), json!(reason), json!(number)));
    assert_eq!(crm.calls().iter().map(told).collect::<Vec<_>>(), wanted);
    assert_eq!(app.count("SELECT COUNT(*) FROM outbox WHERE number_enc IS NOT NULL").await, 0, "forgotten once it is told");
});
