//! What comes between: a receipt between a send and its answer, a restart between two legs, a failure between a reminder's plan and
//! its claim, a button of some other message between ours.

use std::time::Duration;

use permesso::engine::{expire, inbox};
use permesso::gateway::mock::faults::Faults;
use permesso::gateway::mock::protocol::{self, Channel, Status};

use crate::app::{LINK, ON_CHANNELS, TestApp, WHATSAPP_FIRST};
use crate::both;

pub const DAY: Duration = Duration::from_secs(86_400);
pub const HOURS_12: Duration = Duration::from_secs(12 * 3600);

pub fn channels(app: &TestApp, number: &str) -> Vec<Channel> {
    app.inbox(number).iter().map(|m| m.channel).collect()
}

both!(an_ask_that_arrived_late_still_counts_when_its_second_leg_was_refused, |app| {
    let number = TestApp::it(1);
    let first = app.asked_by_whatsapp(&number).await;
    assert_eq!(app.gateway.receipt(&first, Status::Failed).await, Some(true));
    app.gateway.set_faults(Faults { refused_numbers: [number.clone()].into(), ..Faults::default() });
    app.settle().await;
    assert_eq!(app.gateway.receipt(&first, Status::Delivered).await, Some(true));
    app.gateway.set_faults(Faults::default());
    app.plan_as(LINK, |c| (c.name, c.family) = ("another".into(), "other".into())).await;
    app.settle().await;
    assert_eq!(app.asks(&number), 1);
});

both!(an_ask_that_was_refused_and_arrives_all_the_same_counts, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    // The gateway's answer said no, and the phone has it.
    app.execute("DELETE FROM asked_marks").await.unwrap();
    app.execute("UPDATE messages SET state = 'failed'").await.unwrap();
    app.execute("UPDATE attempts SET outcome = 'refused'").await.unwrap();
    let reference = app.inbox(&number)[0].reference.clone();
    assert_eq!(app.gateway.receipt(&reference, Status::Delivered).await, Some(true));
    app.plan_as(LINK, |c| (c.name, c.family) = ("another".into(), "other".into())).await;
    app.settle().await;
    assert_eq!(app.asks(&number), 1);
});

both!(receipts_before_the_sends_own_answer_start_no_second_leg, |app| {
    let number = TestApp::it(1);
    let first = app.asked_by_whatsapp(&number).await;
    // As it stands while the other sends of the slice are still out.
    app.execute("UPDATE attempts SET outcome = NULL, outcome_at = NULL").await.unwrap();
    app.execute("UPDATE messages SET state = 'sending'").await.unwrap();
    for status in [Status::Sent, Status::Failed] {
        assert_eq!(app.gateway.receipt(&first, status).await, Some(true));
    }
    app.settle().await;
    assert_eq!((channels(app, &number), app.states().await), (vec![Channel::Whatsapp], [("failed".to_owned(), 1)].into()));
});

both!(a_restart_without_the_second_channel_takes_it_from_asks_that_are_out, |app| {
    let number = TestApp::it(1);
    let first = app.asked_by_whatsapp(&number).await;
    app.plan_as(WHATSAPP_FIRST, |c| c.asks.truncate(1)).await;
    assert_eq!(app.gateway.receipt(&first, Status::Failed).await, Some(true));
    app.settle().await;
    assert_eq!((channels(app, &number), app.states().await), (vec![Channel::Whatsapp], [("failed".to_owned(), 1)].into()));
});

both!(a_restart_leaves_the_decisions_about_those_already_asked, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    app.plan(LINK).await;
    let decisions = app.decisions(&number).await;
    assert!(decisions.iter().all(|d| d.contains("send ELIGIBLE")), "{decisions:?}");
});

both!(a_reminder_of_an_ask_that_failed_meanwhile_is_not_sent, |app| {
    let number = TestApp::it(1);
    app.person(&number, "whatsapp").await;
    app.plan(WHATSAPP_FIRST).await;
    app.deliver_unheard().await;
    // The reminder is planned at night; before the morning the ask proves to be undelivered.
    app.advance(DAY * 7 + HOURS_12);
    expire::expire(&app.engine).await.unwrap();
    app.settle().await;
    assert_eq!(app.count("SELECT COUNT(*) FROM messages WHERE kind = 'reminder' AND state = 'planned'").await, 1);
    let ask = app.inbox(&number)[0].reference.clone();
    assert_eq!(app.gateway.receipt(&ask, Status::Undelivered).await, Some(true));
    app.advance(DAY);
    app.settle().await;
    assert_eq!(app.inbox(&number).len(), 1);
    assert_eq!(app.count("SELECT COUNT(*) FROM messages WHERE kind = 'reminder' AND reason = 'ASK_NOT_ARRIVED'").await, 1);
});

both!(the_proof_names_the_basis_that_the_claim_found, |app| {
    let number = TestApp::it(1);
    let row = |basis: &str, boxed: &str| {
        format!("{ON_CHANNELS}{number},prospect,web shop,{basis},form 1,2026-01-10,{boxed},sms whatsapp\n")
    };
    app.import_file(&row("inbound_request", "unticked")).await;
    app.import_file(&row("prior_consent", "pre_ticked")).await;
    // Planned at night, when nobody is cleared yet.
    app.advance(HOURS_12);
    app.plan(WHATSAPP_FIRST).await;
    app.advance(HOURS_12);
    app.settle().await;
    app.reply(&number, "acme-wa", "SI").await;
    app.advance(Duration::from_secs(60));
    app.reply(&number, "acme-wa", "SI").await;
    assert_eq!(app.granted(&number).await.len(), 2);
    assert_eq!(app.count("SELECT COUNT(*) FROM evidence WHERE body LIKE '%\"ask_basis\":\"inbound_request\"%'").await, 2);
});

both!(a_button_of_some_other_message_is_no_yes, |app| {
    let number = TestApp::it(1);
    app.person(&number, "whatsapp").await;
    app.send(WHATSAPP_FIRST).await;
    for event in ["one", "two"] {
        let tapped = protocol::Event::Inbound(protocol::Inbound {
            event_id: event.into(),
            from: number.clone(),
            to: "acme-wa".into(),
            channel: Channel::Whatsapp,
            text: "Sì".into(),
            button: Some("appointment-77-confirm".into()),
            at: app.clock.now(),
            in_reply_to: None,
        });
        assert!(app.gateway.deliver(vec![tapped]).await);
        app.settle().await;
        app.advance(Duration::from_secs(60));
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations WHERE state <> 'asked'").await, 0);
    assert!(app.granted(&number).await.is_empty());
});

both!(a_tap_on_an_ask_that_arrived_after_all_is_a_first_yes, |app| {
    let number = TestApp::it(1);
    let first = app.asked_by_whatsapp(&number).await;
    let ask = app.inbox(&number)[0].clone();
    for status in [Status::Failed, Status::Delivered] {
        assert_eq!(app.gateway.receipt(&first, status).await, Some(true));
    }
    app.gateway.tap(&ask.id, &ask.buttons[0].id).await.unwrap();
    app.settle().await;
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations WHERE state = 'pending'").await, 1);
    assert_eq!(app.asks(&number), 1);
});

both!(a_yes_goes_on_after_the_operator_has_read_an_unclear_reply, |app| {
    let number = TestApp::it(1);
    app.person(&number, "whatsapp").await;
    app.send(WHATSAPP_FIRST).await;
    app.reply(&number, "acme-wa", "mah, vediamo un po").await;
    app.reply(&number, "acme-wa", "SI").await;
    assert_eq!(app.inbox(&number).len(), 1, "nothing more is sent until somebody has read it");
    let held = app.count("SELECT MIN(id) FROM inbound_events").await;
    inbox::resolve(&app.engine, held, false, "op").await.unwrap();
    app.advance(Duration::from_secs(600));
    app.settle().await;
    app.advance(Duration::from_secs(60));
    app.reply(&number, "acme-wa", "SI").await;
    assert_eq!(app.granted(&number).await.len(), 2);
});

both!(a_confirmation_of_unknown_outcome_that_arrived_can_be_answered, |app| {
    let number = TestApp::it(1);
    app.person(&number, "whatsapp").await;
    app.send(WHATSAPP_FIRST).await;
    app.gateway.set_faults(Faults { garbage: 1.0, ..Faults::default() });
    app.reply(&number, "acme-wa", "SI").await;
    app.gateway.set_faults(Faults::default());
    app.gateway.idle().await;
    app.advance(Duration::from_secs(3600));
    app.reply(&number, "acme-wa", "SI").await;
    assert_eq!(app.granted(&number).await.len(), 2);
});
