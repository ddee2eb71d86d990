//! What nobody may tell by the time an answer takes: the database is given the same statements, whatever is true. A stopwatch on a machine
//! that others use would say nothing; on Postgres each statement is a journey there and back.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use permesso::engine::rights;
use permesso::web::{self, Web};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::app::{Kind, LINK, REPLY_NUMBER, TestApp};
use crate::code::codes;
use crate::erasure::{by_letter, erase};
use crate::intake::{choose, enter, forms, give};

/// The first words of every statement that this thread gives to Postgres.
#[derive(Debug, Clone, Default)]
struct Statements(Arc<Mutex<Vec<String>>>);

impl Visit for Statements {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" {
            self.0.lock().expect("not poisoned").push(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S: Subscriber> Layer<S> for Statements {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut self.clone());
    }
}

/// What the database is asked while this goes on: all of a test, its server too, is one thread.
async fn asked(act: impl Future) -> Vec<String> {
    let all = Statements::default();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(all.clone()));
    act.await;
    drop(guard);
    let mut all = all.0.lock().expect("not poisoned").clone();
    // What sqlx itself asks, once a connection.
    all.retain(|statement| !statement.starts_with("SELECT pg_type"));
    assert!(!all.is_empty(), "the statements were told");
    all
}

/// As [`asked`], of a form, in the order of the alphabet: kept and undone are one word, and so are the two rows of which one is written for a
/// code that is wrong.
async fn asked_by_a_form(act: impl Future) -> Vec<String> {
    let same = |statement: String| match statement.as_str() {
        "ROLLBACK TO SAVEPOINT part" => "RELEASE SAVEPOINT part".to_owned(),
        "UPDATE codes SET wrong …" => "UPDATE intakes SET created_at …".to_owned(),
        _ => statement,
    };
    let mut all: Vec<String> = asked(act).await.into_iter().map(same).collect();
    all.sort();
    all
}

#[tokio::test]
async fn the_time_that_an_answer_takes_tells_neither_who_is_known_or_said_no_nor_how_near_a_guess_came() {
    let mut app = TestApp::new(Kind::Postgres).await;
    forms(&mut app).await;
    let known = [1, 2, 3, 4, 5, 9, 10].map(TestApp::it);
    let [fresh, erased, stranger, elsewhere] = [6, 7, 8, 11].map(TestApp::it);
    let [asks, stopped, refused, restricted, held, wrong, listed] = &known;
    app.people(&known).await;
    app.people(std::slice::from_ref(&erased)).await;
    app.send(LINK).await;
    app.reply(stopped, REPLY_NUMBER, "STOP").await;
    app.submit(&app.link(refused), "none", &[]).await;
    assert_eq!(rights::restrict_number(&app.engine, &TestApp::number(restricted), true, &by_letter(&app)).await.unwrap(), 1);
    app.reply(held, REPLY_NUMBER, "boh, chi siete e che volete da mia nonna").await;
    erase(&app, &erased).await;
    app.reply(&stranger, REPLY_NUMBER, "STOP").await;
    for number in [wrong, &elsewhere] {
        app.reply(number, REPLY_NUMBER, "numero sbagliato").await;
    }
    crate::packs::screen(&app, "RPO", &format!("{listed},2026-01-01\n")).await.expect("screened");
    app.advance(Duration::from_secs(2 * 86_400));
    // The same pages without the heartbeat, which would come between now and then.
    app.hang_up().await;
    let listener = tokio::net::TcpListener::bind(app.engine.config.public_listen).await.expect("the port is free again");
    let pages = web::public(Web::new(app.engine.clone())).into_make_service_with_connect_info::<SocketAddr>();
    let served = tokio::spawn(async move { axum::serve(listener, pages).await });

    // A contact that gets a code, the same once more while that lives, and those that get none; and numbers that are no contact.
    let mut given = Vec::new();
    for number in [asks, asks, stopped, refused, restricted, held, wrong, listed, &fresh, &stranger, &erased, &elsewhere] {
        let token = choose(&app, "newsletter", &["sms.promotions"]).await;
        given.push((number, token.clone(), asked_by_a_form(give(&app, "newsletter", &token, number)).await));
    }
    for (number, _, statements) in &given {
        assert_eq!(*statements, given[0].2, "{number}");
        assert_eq!(
            statements.iter().filter(|s| *s == "COMMIT").count(),
            2,
            "the token is taken up, and once more: {statements:#?}"
        );
    }
    app.settle().await;
    assert_eq!((codes(&app, asks).len(), codes(&app, &fresh).len()), (1, 1));
    assert_eq!(
        app.count("SELECT COUNT(*) FROM messages WHERE wording = 'join_code'").await,
        2,
        "what was planned for the others is undone"
    );
    let mut typed = Vec::new();
    for (number, token, _) in &given[1..] {
        typed.push((number, asked_by_a_form(enter(&app, "newsletter", token, "12 34 56")).await));
    }
    for (number, statements) in &typed {
        assert_eq!(*statements, typed[0].1, "{number}");
        assert_eq!(statements.iter().filter(|s| *s == "COMMIT").count(), 1, "{statements:#?}");
    }
    assert_eq!(app.count("SELECT CAST(SUM(wrong) AS BIGINT) FROM codes").await, 2, "and each that there was is tried");

    // A link: one that nobody has, one that is nearly right, and what is none.
    let link = app.link(asks);
    let token = link.rsplit('/').next().expect("a token");
    let near = format!("{}{}", &token[..21], if token.ends_with('A') { 'B' } else { 'A' });
    let guesses = ["AAAAAAAAAAAAAAAAAAAAAA", &near, &token[..21], "x", "%00", "%FF", "..%2f..%2f", &"A".repeat(2000)];
    for (path, post) in [("", false), ("/it", false), ("/data", false), ("", true)] {
        let mut all = Vec::new();
        for guess in guesses {
            let url = format!("{}/p/{guess}{path}", app.base);
            let form = [("nonce", "0".to_owned()), ("answer", "none".to_owned())];
            let statements = match post {
                true => asked(app.post_form(&url, &form)).await,
                false => asked(app.get(&url)).await,
            };
            all.push((guess, statements));
        }
        for (guess, statements) in &all {
            assert_eq!(*statements, all[0].1, "{path} {guess}");
        }
    }
    served.abort();
    assert!(served.await.is_err_and(|e| e.is_cancelled()));
    app.end().await;
}
