//! What a campaign manager and a privacy officer read: figures that add up to the people asked, who ended a consent and how, why a
//! reminder did not go, and one person's story with what an operator said in it. The same words on every door.

use std::time::Duration;

use permesso::engine::{expire, inbox};

use crate::app::{LINK, REPLY_NUMBER, TestApp};
use crate::between::DAY;
use crate::both;

const MINUTES_6: Duration = Duration::from_secs(360);

/// The desk's inbox: what waits there is decided about.
async fn decide(app: &TestApp, stop: bool) {
    for reply in inbox::waiting(&app.engine, 0, 100).await.expect("read") {
        inbox::resolve(&app.engine, reply.id, stop, "A. Rossi").await.expect("resolved");
    }
}

/// What time alone does, and what it sends.
async fn sweep(app: &TestApp) {
    expire::expire(&app.engine).await.expect("expired");
    app.settle().await;
}

fn reminders(app: &TestApp, number: &str) -> usize {
    app.inbox(number).iter().filter(|m| m.reference.starts_with("rem")).count()
}

fn reminders_of(app: &TestApp, numbers: &[String]) -> Vec<usize> {
    numbers.iter().map(|n| reminders(app, n)).collect()
}

both!(a_reminder_held_for_an_operator_goes_after_nothing_once_and_never_after_a_stop, |app| {
    let numbers: Vec<String> = (1..=4).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.send(LINK).await;
    app.reply(&numbers[0], REPLY_NUMBER, "boh, chi siete?").await;
    app.reply(&numbers[1], REPLY_NUMBER, "boh, chi siete?").await;
    // The seventh day is a holiday in Italy.
    app.advance(DAY * 8);
    sweep(app).await;
    assert_eq!(reminders_of(app, &numbers), [0, 0, 1, 1], "what is unclear is read first");
    app.advance(DAY);
    sweep(app).await;
    let waiting = inbox::waiting(&app.engine, 0, 9).await.unwrap();
    inbox::resolve(&app.engine, waiting[0].id, false, "A. Rossi").await.unwrap();
    inbox::resolve(&app.engine, waiting[1].id, true, "A. Rossi").await.unwrap();
    for _ in 0..3 {
        app.advance(MINUTES_6);
        sweep(app).await;
        assert_eq!(reminders_of(app, &numbers), [1, 0, 1, 1]);
    }
});

both!(a_reminder_whose_reply_nobody_read_before_the_deadline_never_goes, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    app.reply(&number, REPLY_NUMBER, "boh, chi siete?").await;
    app.advance(DAY * 8);
    sweep(app).await;
    // The deadline is on the 20th of December.
    app.advance(DAY * 12);
    decide(app, false).await;
    for _ in 0..2 {
        sweep(app).await;
        app.advance(MINUTES_6);
    }
    assert_eq!(reminders(app, &number), 0);
});
