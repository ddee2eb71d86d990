//! What whoever watches sees: callbacks that nobody could read, and a gauge for each promise.

use permesso::engine::{deliver, inbox, recover};
use permesso::gateway::mock::faults::Faults;
use permesso::gateway::mock::protocol::{SIGNATURE_HEADER, sign};
use permesso::store::report;

use crate::app::{LINK, TestApp};
use crate::both;
use crate::plans::said;
use crate::run::until;

/// A callback that carries this body, signed with this secret.
async fn calls_back(app: &TestApp, secret: &str, body: &str) -> u16 {
    let signature = sign(secret, app.clock.now() / 1_000_000, body.as_bytes());
    let call = app.http.post(format!("{}/webhooks/mock", app.base)).header(SIGNATURE_HEADER, signature);
    let call = call.header("content-type", "application/json").body(body.to_owned());
    call.send().await.unwrap().status().as_u16()
}

async fn gauge(app: &TestApp, name: &str) -> Vec<String> {
    let (_, metrics) = app.get(&format!("{}/metrics", app.operator)).await;
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with(&format!("permesso_{name}{{")) || line.starts_with(&format!("permesso_{name} ")));
    lines.map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned()).collect()
}

both!(a_callback_that_is_authentic_and_cannot_be_read_waits_for_the_operator, |app| {
    const SECRET: &str = "mock-webhook-secret";
    let news = r#"{"events":[{"type":"something new","event_id":"n1","words":"please no more"}]}"#;
    assert_eq!(calls_back(app, SECRET, news).await, 204);
    // No JSON at all: it is refused, and kept all the same; once, however often it comes.
    for _ in 0..3 {
        assert_eq!(calls_back(app, SECRET, "basta <a href=x>").await, 400);
    }
    assert_eq!(calls_back(app, "somebody else's", "forged").await, 403);
    let waiting = inbox::waiting(&app.engine, 0, 9).await.unwrap();
    let texts: Vec<(&str, bool, &str)> = waiting.iter().map(|w| (w.gateway.as_str(), w.dead_letter, w.text.as_str())).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    // Each with the reason.
    assert!(texts[0].2.starts_with("a status, or a kind of message, that") && texts[0].2.contains("please no more"), "{texts:?}");
    let why = "the body is not what this gateway sends: line 1, column 1: basta <a href=x>";
    assert_eq!(texts[1], ("mock", true, why));
    // What was refused is counted, by reason, where whoever set the account up looks.
    assert_eq!(app.http.post(format!("{}/webhooks/nobody", app.base)).send().await.unwrap().status(), 404);
    assert_eq!(app.http.post(format!("{}/webhooks/mock/guessed", app.base)).send().await.unwrap().status(), 403);
    assert_eq!(gauge(app, "callbacks_refused_total").await, ["1", "3", "1", "1"], "no gateway; form, signature, token");
    let (_, page) = app.get(&format!("{}/gateways", app.operator)).await;
    assert!(page.contains("form 3, signature 1, token 1"), "{page}");
    assert_eq!(gauge(app, "dead_letters").await, ["2"]);
    // Beside a reply that a person wrote.
    app.people(&[TestApp::it(1)]).await;
    app.gateway.reply(&TestApp::it(1), crate::app::REPLY_NUMBER, "mah, vediamo un po").await;
    let listed = said(app, &["inbox", "list", "--dead-letters"]).await;
    assert!(listed.contains("a callback of mock that could not be read") && !listed.contains("vediamo"), "{listed}");
    // Their number stands in full where an operator asked for it, at the terminal and nowhere else.
    let listed = said(app, &["inbox", "list"]).await;
    assert!(listed.contains("vediamo") && !listed.contains(&TestApp::it(1)), "{listed}");
    let listed = said(app, &["inbox", "list", "--numbers"]).await;
    assert!(listed.contains(&TestApp::it(1)), "{listed}");
    let json: serde_json::Value = serde_json::from_str(&said(app, &["--json", "inbox", "list"]).await).expect("one object");
    assert_eq!(json["replies"].as_array().map(Vec::len), Some(3), "{json}");
    let (_, page) = app.get(&format!("{}/inbox", app.operator)).await;
    assert!(page.contains("I have looked") && page.contains("basta &#60;a href=x&#62;"), "{page}");
    let (_, json) = app.get(&format!("{}/api/v1/inbox", app.operator)).await;
    assert!(json.contains("\"dead_letter\":true") && json.contains("\"dead_letter\":false"), "{json}");
    for letter in waiting {
        let told = said(app, &["--json", "inbox", "resolve", &letter.id.to_string(), "--as", "nothing"]).await;
        let told: serde_json::Value = serde_json::from_str(&told).expect("one object");
        assert_eq!(told, serde_json::json!({ "reply": letter.id, "as": "nothing", "held_somebody": false }));
    }
    assert_eq!(gauge(app, "dead_letters").await, ["0"]);
    assert_eq!(said(app, &["inbox", "list", "--dead-letters"]).await, "nothing waits\n");
});

both!(there_is_a_gauge_for_each_promise, |app| {
    app.people(&(0..8).map(TestApp::it).collect::<Vec<_>>()).await;
    app.plan(LINK).await;
    app.advance(std::time::Duration::from_secs(90));
    assert_eq!(gauge(app, "due_oldest_seconds").await, ["90"]);
    app.gateway.set_faults(Faults { server_error: 1.0, ..Faults::default() });
    app.gateway.set_webhook_url("http://127.0.0.1:9/".into());
    app.settle().await;
    assert_eq!(gauge(app, "unknown").await, ["8"]);
    assert_eq!(gauge(app, "gateway_breaker_open").await, ["1"]);
    assert_eq!(recover::unsettled(&app.engine).await.unwrap(), [(LINK.to_owned(), 8)]);
    let settle = format!("permesso campaign settle {LINK}");
    assert!(said(app, &["campaign", "report", LINK]).await.contains(&settle));
    assert!(app.get(&format!("{}/campaigns/{LINK}", app.operator)).await.1.contains(&settle));
    // As it stands while a slice is out.
    app.execute("UPDATE attempts SET outcome = NULL").await.unwrap();
    app.advance(std::time::Duration::from_secs(7));
    assert_eq!(
        (gauge(app, "in_flight").await, gauge(app, "in_flight_oldest_seconds").await),
        (vec!["8".into()], vec!["7".into()])
    );
    // The ear says every five seconds that it hears, and reads what is open.
    until("nobody hears", async || {
        app.execute("UPDATE listening SET heard_db = heard_db - 3600000000").await.unwrap();
        let heard = gauge(app, "heard_seconds").await[0].parse::<i64>().unwrap();
        heard >= 3600 && gauge(app, "silent").await == ["1"]
    })
    .await;
    until("a gap is open", async || {
        app.execute("DELETE FROM gaps").await.unwrap();
        app.execute("INSERT INTO gaps (controller, from_at, to_at) SELECT controller, 1, 2 FROM listening").await.unwrap();
        gauge(app, "gaps_open").await == ["1"]
    })
    .await;
    let unknown = r#"{"events":[{"type":"receipt","event_id":"r1","id":"nobody's","reference":"ask_nobodys","status":"sent","at":1,"error":null}]}"#;
    assert_eq!(calls_back(app, "mock-webhook-secret", unknown).await, 204);
    assert_eq!(gauge(app, "unmatched_receipts").await, ["1"]);
    let mut tx = app.engine.store.read().await.unwrap();
    assert_eq!(report::gauges(&mut tx, &app.engine.controller).await.unwrap().in_flight, 8);
    tx.rollback().await.unwrap();
    assert_eq!(deliver::BREAKER, 5);
});
