//! What comes between: a receipt between a send and its answer, a restart between two legs, a failure between a reminder's plan and
//! its claim, a button of some other message between ours.

use std::time::Duration;

use permesso::clock;
use permesso::domain::channel::Permission;
use permesso::engine::{expire, inbox, plan};
use permesso::gateway::mock::faults::Faults;
use permesso::gateway::mock::protocol::{self, Channel, Status};

use crate::app::{LINK, ON_CHANNELS, REPLY, TestApp, WHATSAPP_FIRST, field};
use crate::both;

pub const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);
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

// Between the two steps of a yes.

pub const ASKS_FROM: &str = "+447700900123";

async fn says_yes(app: &TestApp, number: &str) {
    app.advance(MINUTE);
    app.reply(number, ASKS_FROM, "YES").await;
    app.settle().await;
}

both!(what_is_taken_back_between_two_steps_is_not_granted_by_the_second, |app| {
    let numbers = [1, 2].map(TestApp::gb);
    app.people(&numbers).await;
    app.send(REPLY).await;
    let profiling = "sms.profiling";
    for number in &numbers {
        says_yes(app, number).await;
        says_yes(app, number).await;
    }
    // Asked again, by another family, for what stands already and one thing more.
    app.advance(DAY * 2);
    app.plan_as(REPLY, |c| {
        (c.name, c.family, c.cap_days) = ("another".into(), "other".into(), 1);
        c.asks_for.insert(0, Permission::parse(profiling).expect("one of ours"));
        c.asks_for.sort();
    })
    .await;
    app.settle().await;
    for (number, back) in numbers.iter().zip([&["sms.promotions"][..], &["sms.promotions", profiling]]) {
        says_yes(app, number).await;
        app.advance(MINUTE);
        for permission in back {
            let form = [("withdraw", (*permission).to_owned())];
            assert_eq!(app.post_form(&app.link(number), &form).await, 303);
        }
        says_yes(app, number).await;
    }
    assert_eq!(app.granted(&numbers[0]).await, [profiling], "{:#?}", app.history(&numbers[0]).await);
    assert!(app.granted(&numbers[1]).await.is_empty(), "{:#?}", app.history(&numbers[1]).await);
});

both!(the_confirmation_once_more_does_not_follow_a_no, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(REPLY).await;
    says_yes(app, &number).await;
    app.gateway.set_faults(Faults { throttle: 1.0, ..Faults::default() });
    app.advance(Duration::from_secs(3));
    app.reply(&number, ASKS_FROM, "YES").await;
    let waits = "SELECT COUNT(*) FROM messages WHERE kind = 'help' AND wording = 'confirm' AND state = 'planned'";
    assert_eq!(app.count(waits).await, 1);
    assert_eq!(app.submit(&app.link(&number), "none", &[]).await, 303);
    assert_eq!(app.count(waits).await, 0);
});

both!(what_comes_back_from_the_gateway_after_a_new_start_goes_out_under_it, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.plan(LINK).await;
    // On its way at the new start, passed by by its planner, and then proved not taken.
    app.execute("UPDATE messages SET state = 'sending'").await.unwrap();
    let id = app
        .plan_as(LINK, |c| {
            c.asks
                .iter_mut()
                .flat_map(|ask| ask.texts.values_mut())
                .for_each(|text| *text = text.replace("{{ brand }}:", "{{ brand }} SpA:"))
        })
        .await;
    assert_eq!(app.count("SELECT COUNT(*) FROM messages").await, 1);
    app.execute("UPDATE messages SET state = 'planned'").await.unwrap();
    for _ in 0..2 {
        app.settle().await;
        while plan::plan_next(&app.engine, id).await.unwrap() {}
    }
    let [got] = &app.inbox(&number)[..] else { panic!("{:?}", app.inbox(&number)) };
    assert!(got.text.starts_with("ACME SpA: "), "{}", got.text);
    assert_eq!(app.count("SELECT COUNT(*) FROM messages WHERE state = 'cancelled' AND reason = 'planned anew'").await, 1);
});

both!(a_second_leg_that_comes_back_after_a_new_start_goes_on_under_it, |app| {
    let number = TestApp::it(1);
    let first = app.asked_by_whatsapp(&number).await;
    assert_eq!(app.gateway.receipt(&first, Status::Failed).await, Some(true));
    // The second leg is on its way at the new start, and then proved not taken.
    app.execute("UPDATE messages SET state = 'sending'").await.unwrap();
    app.plan_as(WHATSAPP_FIRST, |c| {
        c.asks
            .iter_mut()
            .flat_map(|ask| ask.texts.values_mut())
            .for_each(|text| *text = text.replace("{{ brand }}:", "{{ brand }} SpA:"))
    })
    .await;
    app.execute("UPDATE messages SET state = 'planned'").await.unwrap();
    app.settle().await;
    app.settle().await;
    assert_eq!(channels(app, &number), [Channel::Whatsapp, Channel::Sms]);
    assert!(app.inbox(&number)[1].text.starts_with("ACME SpA: "), "{}", app.inbox(&number)[1].text);
    assert_eq!(app.states().await, [("delivered".to_owned(), 1)].into());
});

both!(a_second_leg_that_is_not_taken_is_tried_again, |app| {
    let number = TestApp::it(1);
    let first = app.asked_by_whatsapp(&number).await;
    // Taken there, and proved not to be there: another leg's.
    assert_eq!(app.gateway.receipt(&first, Status::Failed).await, Some(true));
    app.gateway.set_faults(Faults { throttle: 1.0, ..Faults::default() });
    app.settle().await;
    assert_eq!(app.states().await, [("planned".to_owned(), 1)].into());
    app.gateway.set_faults(Faults::default());
    app.advance(MINUTE);
    app.settle().await;
    assert_eq!(channels(app, &number), [Channel::Whatsapp, Channel::Sms]);
    assert_eq!(app.states().await, [("delivered".to_owned(), 1)].into());
});

both!(a_reminder_asks_for_what_the_ask_asked_for, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.plan_as(REPLY, |c| c.reminder_after_days = Some(1)).await;
    app.settle().await;
    let reminded = async || {
        app.advance(DAY);
        expire::expire(&app.engine).await.unwrap();
        app.settle().await;
        app.inbox(&number).len() - 1
    };
    // The campaign asks for something else by now.
    app.plan_as(REPLY, |c| {
        c.reminder_after_days = Some(1);
        c.asks_for = vec![Permission::parse("sms.profiling").expect("one of ours")];
    })
    .await;
    assert_eq!((reminded().await, reminded().await), (0, 0));
    app.plan_as(REPLY, |c| c.reminder_after_days = Some(1)).await;
    assert_eq!(reminded().await, 1);
});

both!(a_stop_counts_also_where_our_clock_was_ahead_and_is_set_right, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.clock.advance(clock::HOUR);
    app.send(REPLY).await;
    says_yes(app, &number).await;
    says_yes(app, &number).await;
    app.clock.advance(-clock::HOUR);
    app.reply(&number, ASKS_FROM, "STOP").await;
    assert!(app.granted(&number).await.is_empty(), "{:#?}", app.history(&number).await);
    assert!(app.story(&number).await.verdict.contains("stopped"));
});

both!(a_choice_behind_a_link_of_no_campaign_is_completed_by_a_code, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.reply(&number, ASKS_FROM, "HELP").await;
    let link = app.link(&number);
    assert_eq!(app.submit(&link, "chosen", &["sms.promotions"]).await, 303);
    app.settle().await;
    let code = app.inbox(&number)[1].text.split(|c: char| !c.is_ascii_digit()).find(|w| w.len() == 6).expect("a code").to_owned();
    let nonce = field(&app.get(&link).await.1, "nonce");
    assert_eq!(app.post_form(&link, &[("nonce", nonce), ("answer", "code".into()), ("code", code)]).await, 303);
    assert_eq!(app.granted(&number).await, ["sms.promotions"], "{:#?}", app.history(&number).await);
});
