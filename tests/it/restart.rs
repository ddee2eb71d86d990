//! `campaign start` again, in the middle: what is between two legs, what was to be reminded, and whoever claims at that moment.

use std::time::Duration;

use permesso::domain::campaign::CampaignState;
use permesso::domain::channel::Channel as Way;
use permesso::engine::{expire, plan};
use permesso::gateway::mock::protocol::{Channel, Status};
use permesso::store::{campaigns, control, messages};

use crate::app::{Kind, LINK, TestApp, WHATSAPP_FIRST};
use crate::between::{DAY, HOURS_12, channels};
use crate::both;

/// The first leg proved not to be on WhatsApp, and the second is planned.
async fn between_two_legs(app: &TestApp, number: &str) {
    let first = app.asked_by_whatsapp(number).await;
    assert_eq!(app.gateway.receipt(&first, Status::Failed).await, Some(true));
    assert_eq!(app.states().await, [("planned".to_owned(), 1)].into());
}

both!(an_ask_between_two_legs_goes_on_after_a_restart_and_once, |app| {
    let number = TestApp::it(1);
    between_two_legs(app, &number).await;
    for _ in 0..2 {
        app.plan_as(WHATSAPP_FIRST, |c| c.deadline += chrono::TimeDelta::days(5)).await;
    }
    let moved = "SELECT COUNT(*) FROM messages m JOIN campaigns c ON c.revision_id = m.revision_id AND c.deadline = m.expires_at";
    assert_eq!(app.count(moved).await, 1, "the leg is one of the new plan");
    for _ in 0..2 {
        app.settle().await;
        assert_eq!(channels(app, &number), [Channel::Whatsapp, Channel::Sms]);
        app.plan(WHATSAPP_FIRST).await;
    }
    let decisions = app.decisions(&number).await;
    assert!(decisions.iter().all(|d| d.contains("send ELIGIBLE")), "{decisions:?}");
});

both!(a_restart_that_gives_up_the_first_channel_asks_by_the_one_that_is_left, |app| {
    let numbers = [TestApp::it(1), TestApp::it(2)];
    between_two_legs(app, &numbers[0]).await;
    // Somebody whose first leg is still out when the plan changes.
    let first = app.asked_by_whatsapp(&numbers[1]).await;
    app.plan_as(WHATSAPP_FIRST, |c| c.asks.retain(|ask| ask.channel == Way::Sms)).await;
    assert_eq!(app.gateway.receipt(&first, Status::Failed).await, Some(true));
    app.settle().await;
    for number in &numbers {
        assert_eq!(channels(app, number), [Channel::Whatsapp, Channel::Sms]);
    }
});

both!(a_restart_without_the_second_channel_leaves_an_ask_between_two_legs_as_failed, |app| {
    let number = TestApp::it(1);
    between_two_legs(app, &number).await;
    app.plan_as(WHATSAPP_FIRST, |c| c.asks.truncate(1)).await;
    app.settle().await;
    assert_eq!((channels(app, &number), app.states().await), (vec![Channel::Whatsapp], [("failed".to_owned(), 1)].into()));
});

both!(a_reminder_that_a_restart_cancelled_is_planned_again_and_sent_once, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let reminders = |app: &TestApp| app.inbox(&number).iter().filter(|m| m.reference.starts_with("rem")).count();
    // Planned at night, and cancelled by a start before the morning.
    app.advance(DAY * 7 + HOURS_12);
    expire::expire(&app.engine).await.unwrap();
    app.settle().await;
    assert_eq!(app.count("SELECT COUNT(*) FROM messages WHERE kind = 'reminder' AND state = 'planned'").await, 1);
    app.plan(LINK).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM messages WHERE kind = 'reminder' AND state = 'cancelled'").await, 1);
    app.advance(HOURS_12);
    for _ in 0..3 {
        expire::expire(&app.engine).await.unwrap();
        app.settle().await;
        assert_eq!(reminders(app), 1);
        app.plan(LINK).await;
        app.advance(Duration::from_secs(3600));
    }
});

/// Until something of this database waits for a lock, or `work` is done.
async fn someone_waits<T>(app: &TestApp, work: &tokio::task::JoinHandle<T>) {
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while !work.is_finished() && app.count(waiting).await == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_start_and_a_claim_at_the_same_moment_do_not_stop_each_other() {
    let mut app = TestApp::new(Kind::Postgres).await;
    app.people(&[TestApp::it(1), TestApp::it(2)]).await;
    let id = app.plan(LINK).await;
    let campaign = app.engine.config.campaign(LINK).unwrap();
    let counts = plan::preview(&app.engine, &campaign, |_| {}).await.unwrap();
    let again = plan::save(&app.engine, &campaign, &counts).await.unwrap();
    // The claim, as far as its messages.
    let mut tx = app.engine.store.write().await.unwrap();
    control::take_turn(&mut tx, &app.engine.controller).await.unwrap();
    let (batch,) = messages::due_batches(&mut tx, &app.engine.controller, app.engine.now(), 1).await.unwrap()[0];
    let batch = messages::batch(&mut tx, batch).await.unwrap().unwrap();
    assert_eq!(messages::due(&mut tx, &batch, app.engine.now(), 9).await.unwrap().len(), 2);
    let engine = app.engine.clone();
    let started = tokio::spawn(async move { plan::start(&engine, LINK, &again).await });
    someone_waits(&app, &started).await;
    assert_eq!(campaigns::take_allowance(&mut tx, id, 2).await.unwrap(), 2);
    tx.commit().await.unwrap();
    started.await.unwrap().unwrap();
    app.end().await;
}

#[tokio::test]
async fn a_resume_and_the_outcomes_of_a_slice_at_the_same_moment_do_not_stop_each_other() {
    let mut app = TestApp::new(Kind::Postgres).await;
    app.people(&[TestApp::it(1)]).await;
    let id = app.send(LINK).await;
    plan::set_state(&app.engine, LINK, CampaignState::Paused).await.unwrap();
    // The outcomes, as far as the gateway's health.
    let mut tx = app.engine.store.write().await.unwrap();
    control::health(&mut tx, &app.engine.controller, "mock").await.unwrap();
    let engine = app.engine.clone();
    let resumed = tokio::spawn(async move { plan::set_state(&engine, LINK, CampaignState::Running).await });
    someone_waits(&app, &resumed).await;
    campaigns::set_state(&mut tx, id, CampaignState::Paused, Some("the account is closed")).await.unwrap();
    tx.commit().await.unwrap();
    resumed.await.unwrap().unwrap();
    app.end().await;
}
