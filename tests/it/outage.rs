//! A gateway that no connection reaches: it is said, nothing but a probe is tried, and nobody loses anything by it but time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use permesso::clock::Clock;
use permesso::domain::campaign::CampaignState;
use permesso::domain::money::Money;
use permesso::engine::gateways::GatewayReport;
use permesso::engine::outcome::{self, Unstored};
use permesso::engine::{deliver, gateways, plan, report};
use permesso::gateway::mock::faults::Faults;
use permesso::gateway::{Refusal, Sent, http};
use permesso::store::messages;
use tokio_util::sync::CancellationToken;

use crate::app::{Kind, LINK, MORNING, TestApp};
use crate::both;
use crate::run::{ask, spawn_run, until};
use crate::together::refuse;

/// Between two probes, and a little more.
const HALF_A_MINUTE: Duration = Duration::from_secs(31);

async fn standing(app: &TestApp) -> GatewayReport {
    gateways::gateways(&app.engine).await.expect("a report").remove(0)
}

async fn attempts(app: &TestApp) -> i64 {
    app.count("SELECT COUNT(*) FROM attempts").await
}

async fn page(app: &TestApp, path: &str) -> String {
    let (status, text) = app.get(&format!("{}{path}", app.operator)).await;
    assert_eq!(status, 200, "{path}: {text}");
    text
}

both!(a_gateway_out_of_reach_is_probed_alone_and_costs_nothing_but_time, |app| {
    app.people(&(1..=20).map(TestApp::it).collect::<Vec<_>>()).await;
    let port = app.close_gateway().await;
    let id = app
        .plan_as(LINK, |campaign| {
            campaign.limits.first = Some(8);
            campaign.limits.max_cost = Some(Money::parse("2.08 EUR").expect("an amount"));
        })
        .await;
    app.deliver().await;

    let why = format!("127.0.0.1:{port}: connection refused");
    let said = format!("out of reach since 09:45 UTC: {why}; one probe every half minute");
    let gateway = standing(app).await;
    assert_eq!((gateway.note.as_str(), gateway.healthy), (said.as_str(), false));
    let mut tried = attempts(app).await;
    // Twelve probes, more than a message has tries: each is one message, and none leaves before its time.
    for _ in 0..12 {
        app.deliver().await;
        app.advance(Duration::from_secs(20));
        app.deliver().await;
        assert_eq!(attempts(app).await, tried, "nothing but a probe");
        app.advance(HALF_A_MINUTE);
        app.deliver().await;
        tried += 1;
        assert_eq!(attempts(app).await, tried, "one probe");
    }
    // Nobody was asked, and nothing is used up: tries, marks, open questions, budget, ramp-up.
    assert_eq!(app.states().await, [("planned".to_owned(), 20)].into());
    assert_eq!(app.count("SELECT CAST(SUM(tries) AS BIGINT) FROM messages").await, 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM asked_marks").await, 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations").await, 0);
    let row = app.campaign(id).await;
    assert_eq!((row.state(), row.reserved, row.allowance), (CampaignState::Running, 0, Some(8)));

    // It is said wherever somebody may look, and since when it has been so.
    let told = report::campaign(&app.engine, LINK).await.expect("a report").out_of_reach;
    assert_eq!(told, [format!("gateway mock: {said}")]);
    for path in ["/", "/gateways", &format!("/campaigns/{LINK}")] {
        assert!(page(app, path).await.contains(&said), "{path}");
    }
    let api: serde_json::Value = serde_json::from_str(&page(app, "/api/v1/gateways").await).expect("JSON");
    assert_eq!(api[0]["out_of_reach"], why);
    assert_eq!(api[0]["breaker_open_since"], "2026-12-01T09:45:00+00:00");
    let api: serde_json::Value = serde_json::from_str(&page(app, &format!("/api/v1/campaigns/{LINK}")).await).expect("JSON");
    assert_eq!(api["out_of_reach"], serde_json::json!(told));
    assert!(page(app, "/metrics").await.contains("permesso_gateway_reachable{gateway=\"mock\"} 0"));

    // The first success ends it.
    app.open_gateway(port).await;
    app.advance(HALF_A_MINUTE);
    app.settle().await;
    assert_eq!(standing(app).await.note, "nothing stands in its way");
    assert_eq!(app.gateway.stats().accepted, 8, "the ramp-up is whole");
    assert!(page(app, "/metrics").await.contains("permesso_gateway_reachable{gateway=\"mock\"} 1"));
    assert!(report::campaign(&app.engine, LINK).await.expect("a report").out_of_reach.is_empty());
    plan::set_state(&app.engine, LINK, CampaignState::Running).await.expect("resumed");
    app.settle().await;
    assert_eq!(app.states().await, [("delivered".to_owned(), 20)].into());
    assert_eq!((app.gateway.stats().duplicates, app.gateway.stats().max_per_reference), (0, 1));
});

both!(outcomes_stored_again_after_a_lost_answer_count_once_for_the_breaker, |app| {
    app.people(&(1..=4).map(TestApp::it).collect::<Vec<_>>()).await;
    app.gateway.set_faults(Faults { accept_then_reset: 1.0, lost: 1.0, ..Faults::default() });
    app.plan(LINK).await;
    let mut tx = app.engine.store.write().await.unwrap();
    let batch = messages::due_batches(&mut tx, &app.engine.controller, app.clock.now(), 1).await.unwrap()[0].0;
    let batch = messages::batch(&mut tx, batch).await.unwrap().unwrap();
    let due = messages::due(&mut tx, &batch, app.clock.now(), 9).await.unwrap();
    tx.rollback().await.unwrap();
    app.deliver().await;
    assert_eq!((due.len(), app.states().await["unknown"]), (4, 4));
    let mut slice = Vec::new();
    let mut tx = app.engine.store.read().await.unwrap();
    for due in due {
        let attempt = messages::story_of(&mut tx, due.contact_id).await.unwrap()[0].attempt.unwrap();
        slice.push((due, attempt, Sent::Unknown { error: "connection reset".into() }));
    }
    tx.rollback().await.unwrap();
    outcome::store_outcomes(&app.engine, &batch, slice).await;
    assert_eq!(standing(app).await.breaker_open_since, None, "four in a row, said twice");
    // The fifth.
    app.people(&[TestApp::it(5)]).await;
    app.plan_as(LINK, |c| c.name = "quinta".into()).await;
    app.deliver().await;
    assert_eq!(app.states().await["unknown"], 5);
    assert!(standing(app).await.breaker_open_since.is_some());
});

both!(while_any_slice_is_not_stored_nothing_is_claimed, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.plan(LINK).await;
    let (one, other) = (Unstored::of(&app.engine), Unstored::of(&app.engine));
    // What became of one says nothing of the other.
    drop(one);
    permesso::web::hear_once(&app.engine).await.unwrap();
    let (batch, stop) = (app.count("SELECT id FROM batches").await, CancellationToken::new());
    let looks = async {
        for _ in 0..50 {
            assert_eq!(attempts(app).await, 0);
        }
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(deliver::deliver(&app.engine, batch, &stop), looks);
    assert!(matches!(ended.unwrap(), deliver::Ended::Stopped));
    assert_eq!(attempts(app).await, 0);
    drop(other);
    app.deliver().await;
    assert_eq!(attempts(app).await, 1);
});

both!(an_outcome_that_the_database_refuses_keeps_no_other_and_no_no_is_given_up_for_it, |app| {
    let numbers: Vec<String> = (1..=4).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.plan(LINK).await;
    let mut tx = app.engine.store.write().await.unwrap();
    let (batch,) = messages::due_batches(&mut tx, &app.engine.controller, app.clock.now(), 1).await.unwrap()[0];
    let batch = messages::batch(&mut tx, batch).await.unwrap().unwrap();
    let due = messages::due(&mut tx, &batch, app.clock.now(), 9).await.unwrap();
    let claims = due.iter().map(|due| messages::Claim {
        message: due.id,
        contact: due.contact_id,
        reference: format!("r{}", due.id),
        token_hash: None,
        wording_hash: None,
        send_before: i64::MAX,
        marks: Vec::new(),
        cost: 0,
        basis: None,
    });
    let who = messages::Claimant { slice: "s", worker: &app.engine.worker, gateway: "mock" };
    let claimed =
        messages::claim(&mut tx, &app.engine.controller, &who, &claims.collect::<Vec<_>>(), app.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    let accepted = |id: &str| Sent::Accepted { provider_id: Some(id.into()) };
    let opted_out = Sent::NotAccepted { why: Refusal::OptedOut, error: "they said no to the provider".into() };
    let said = [accepted("a"), accepted("poison"), opted_out, accepted("d")];
    let slice = due.into_iter().zip(said).map(|(due, sent)| {
        let (_, attempt) = claimed.iter().find(|(message, _)| *message == due.id).expect("claimed");
        (due, *attempt, sent)
    });
    refuse(app, "UPDATE ON attempts", "NEW.provider_id = 'poison' OR NEW.outcome = 'refused'").await;

    let states = async || futures::future::join_all(numbers.iter().map(|number| app.state_of(number))).await;
    let lift = async {
        until("the others are stored", async || states().await == ["accepted", "unknown", "sending", "accepted"]).await;
        assert!(Unstored::any(&app.engine), "nothing is claimed while a no waits");
        let on = if app.engine.store.is_sqlite() { "DROP TRIGGER poison" } else { "DROP TRIGGER poison ON attempts" };
        app.execute(on).await.unwrap();
    };
    tokio::join!(outcome::store_outcomes(&app.engine, &batch, slice.collect()), lift);
    assert_eq!(states().await, ["accepted", "unknown", "failed", "accepted"]);
    assert!(!Unstored::any(&app.engine));
    assert_eq!(app.count("SELECT COUNT(*) FROM suppressions").await, 1, "a no to the provider is one to us");
});

both!(a_gateway_that_people_may_still_answer_has_to_be_in_the_settings, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.send(LINK).await;
    let (dir, settings) = (app.dir.path().to_owned(), app.engine.config.dir.join("permesso.toml"));
    let text = std::fs::read_to_string(&settings)
        .unwrap()
        .replace("\"mock\"", "\"new\"")
        .replace("driver = \"new\"", "driver = \"mock\"");
    std::fs::write(&settings, text).unwrap();
    std::fs::remove_file(app.engine.config.dir.join("prices.toml")).unwrap();
    let (code, _, err) = ask(&dir, &["run"]).await;
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("no gateway `mock`") && err.contains("remedy: put its [[gateway]] back"), "{err}");
    app.reconfigure("").await;
    assert!(gateways::all_are_heard(&app.engine).await.is_err());
    app.advance(Duration::from_secs(31 * 24 * 3600));
    permesso::engine::expire::expire(&app.engine).await.unwrap();
    gateways::all_are_heard(&app.engine).await.expect("nobody is waited for");
});

both!(a_single_message_opens_the_breaker_too_and_what_stays_unknown_is_another_thing, |app| {
    app.people(&[TestApp::it(1)]).await;
    let port = app.close_gateway().await;
    app.plan(LINK).await;
    for n in 1..=4 {
        app.deliver().await;
        app.advance(Duration::from_secs(4));
        assert_eq!((standing(app).await.unreached_in_a_row, standing(app).await.healthy), (n, true));
    }
    app.deliver().await;
    assert_eq!(standing(app).await.out_of_reach, Some(format!("127.0.0.1:{port}: connection refused")));
    // Somebody answers the connection and breaks it: that message may have been taken, and the breaker stays open for that.
    app.open_gateway(port).await;
    app.gateway.set_faults(permesso::gateway::mock::faults::Faults { reset_before_accept: 1.0, ..Default::default() });
    app.advance(HALF_A_MINUTE);
    app.deliver().await;
    let gateway = standing(app).await;
    assert!(gateway.note.starts_with("breaker open: ") && gateway.out_of_reach.is_none(), "{}", gateway.note);
    assert_eq!(app.states().await, [("unknown".to_owned(), 1)].into());
});

#[tokio::test]
async fn a_test_message_to_a_gateway_out_of_reach_fails_and_the_log_says_why_once() {
    let clock = Clock::starting(MORNING.parse::<DateTime<Utc>>().expect("a time"));
    let mut app = TestApp::with_clock(Kind::Sqlite, clock).await;
    let dir = app.dir.path().to_owned();
    app.people(&(1..=40).map(TestApp::it).collect::<Vec<_>>()).await;
    let port = app.close_gateway().await;
    app.plan(LINK).await;
    app.hang_up().await;
    let mut run = spawn_run(&app);
    let down = async || app.count("SELECT COUNT(*) FROM gateways WHERE open_reason IS NOT NULL").await == 1;
    until("the breaker is open", down).await;
    app.execute("UPDATE gateways SET probe_at = 0").await.expect("the next probe may leave");
    let (code, out, err) = ask(&dir, &["campaign", "test", LINK, "--to", "+393001234500", "--wait"]).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("test message") && err.contains("out of reach since 09:4"), "{out}{err}");
    assert!(err.contains("connection refused") && err.contains("remedy"), "{err}");
    let (_, out, _) = ask(&dir, &["campaign", "report", LINK]).await;
    assert!(out.contains("gateway mock: out of reach since 09:4"), "{out}");
    let (_, out, _) = ask(&dir, &["gateway", "list"]).await;
    assert!(out.contains("out of reach since 09:4"), "{out}");
    app.open_gateway(port).await;
    app.execute("UPDATE gateways SET probe_at = 0").await.expect("the next probe may leave");
    // Work that comes now is the probe.
    let (_, _, err) = ask(&dir, &["campaign", "test", LINK, "--to", "+393001234500"]).await;
    assert_eq!(err, "");
    let up = async || app.count("SELECT COUNT(*) FROM gateways WHERE opened_at IS NULL").await == 1;
    until("the breaker is closed", up).await;
    // It is said after it is stored.
    let told = async || std::fs::read_to_string(dir.join("run.log")).is_ok_and(|log| log.contains("answers again"));
    until("the log says so", told).await;
    run.kill().expect("killed");
    run.wait().expect("gone");
    let log = std::fs::read_to_string(dir.join("run.log")).expect("the log");
    assert_eq!(log.matches("out of reach").count(), 1, "{log}");
    assert_eq!(log.matches("answers again").count(), 1, "{log}");
    assert!(log.contains(&format!("127.0.0.1:{port}: connection refused")), "{log}");
    app.end().await;
}

#[tokio::test]
async fn why_no_connection_comes_about_is_told_with_the_host_alone() {
    permesso::app::install_tls();
    let pool = http::pool().expect("a pool");
    let why = async |url: &str| {
        for _ in 0..5 {
            match http::ask(pool.get(url), Duration::from_secs(5)).await.expect_err("no answer") {
                Sent::NotAccepted { why: Refusal::NotReached, error } => return error,
                // A machine that stalled: the time for the whole was over, too, when it looked.
                Sent::Unknown { error } if error == "no answer in time" => {}
                sent => panic!("proved not accepted, {sent:?}"),
            }
        }
        panic!("five times no answer in time");
    };
    let [closed] = crate::app::ports();
    assert_eq!(why(&format!("http://127.0.0.1:{closed}/?token=secret")).await, format!("127.0.0.1:{closed}: connection refused"));
    assert_eq!(why("https://gateway.invalid/?token=secret").await, "gateway.invalid: its host name cannot be resolved");
    // Whoever takes the connection and speaks no TLS.
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = plain.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    assert_eq!(
        why(&format!("https://127.0.0.1:{port}/?token=secret")).await,
        format!("127.0.0.1:{port}: its certificate is not trusted, or it speaks no TLS")
    );
    // A full queue: Linux leaves the connection unanswered, as a host behind a closed wall does.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let full = socket.listen(1).expect("listening");
    let address = full.local_addr().expect("an address");
    let mut queue = Vec::new();
    for _ in 0..8 {
        let waiting = tokio::spawn(tokio::net::TcpStream::connect(address));
        tokio::task::yield_now().await;
        queue.push(waiting);
    }
    assert_eq!(why(&format!("http://{address}/?token=secret")).await, format!("{address}: no connection in time"));
    queue.iter().for_each(tokio::task::JoinHandle::abort);
}

/// By the provider's own clock, which its answer tells: ours may be minutes off.
#[tokio::test]
async fn a_date_to_wait_for_is_read_by_the_clock_of_whoever_names_it() {
    let busy = || async {
        let headers = [("date", "Tue, 01 Dec 2026 09:45:00 GMT"), ("retry-after", "Tue, 01 Dec 2026 09:46:30 GMT")];
        (axum::http::StatusCode::TOO_MANY_REQUESTS, headers)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(busy)).await });
    let answer = http::ask(http::pool().expect("a pool").get(&url), Duration::from_secs(5)).await.expect("an answer");
    assert_eq!((answer.status, answer.retry_after), (429, Some(Duration::from_secs(90))));
}

#[tokio::test]
async fn an_account_is_listed_and_tried_from_the_command_line() {
    let clock = Clock::starting(MORNING.parse::<DateTime<Utc>>().expect("a time"));
    let mut app = TestApp::with_clock(Kind::Sqlite, clock).await;
    let dir = app.dir.path().to_owned();
    let (code, out, _) = ask(&dir, &["gateway", "list"]).await;
    assert_eq!(code, 0);
    for line in [
        "mock (Mock gateway), 10000 a second: nothing stands in its way",
        "a simulator: nothing it takes reaches a real phone",
        "callbacks come to ",
        "yes SMS",
        "yes signs its callbacks",
        "no  rejects",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let (_, out, _) = ask(&dir, &["--json", "gateway", "list"]).await;
    let listed: serde_json::Value = serde_json::from_str(&out).expect("one JSON object a line");
    assert_eq!(
        (&listed["name"], &listed["can"]["two_way"], &listed["can"]["dedupes"]),
        (&"mock".into(), &true.into(), &false.into())
    );

    let (code, _, err) = ask(&dir, &["gateway", "test", "nobody"]).await;
    assert!(code == 1 && err.contains("there is no gateway `nobody`; remedy: write one of: mock"), "{err}");
    let (code, _, err) = ask(&dir, &["gateway", "test", "mock", "--to", &TestApp::it(7)]).await;
    assert!(code == 1 && err.contains("only numbers in `testers`") && !err.contains("0000007"), "{err}");
    // Nobody can ask the mock: nothing was tested, and no script takes that for a success.
    for json in [None, Some("--json")] {
        let args: Vec<&str> = ["gateway", "test", "mock"].into_iter().chain(json).collect();
        let (code, _, err) = ask(&dir, &args).await;
        assert_eq!(code, 1);
        assert!(err.contains("gateway mock was not tested") && err.contains("remedy: --to with a number of `testers`"), "{err}");
    }
    app.hang_up().await;
    let mut run = spawn_run(&app);
    until("the worker has begun", async || app.count("SELECT COUNT(*) FROM leases").await == 1).await;
    let (code, out, err) = ask(&dir, &["gateway", "test", "mock", "--to", "+393001234500"]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains(": delivered"), "{out}");
    assert!(!out.contains("1234500"), "no number is shown: {out}");
    assert_eq!(app.inbox("+393001234500").len(), 1);
    run.kill().expect("killed");
    run.wait().expect("gone");
    app.end().await;
}
