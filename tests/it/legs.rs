//! One ask over several channels, the buttons of WhatsApp, campaigns that look again and that pause by themselves, and what becomes
//! of sends of unknown outcome.

use std::time::Duration;

use chrono::{NaiveTime, TimeZone, Utc};
use permesso::clock::Clock;
use permesso::domain::campaign::{CampaignState, StopIf};
use permesso::domain::message::State;
use permesso::engine::{expire, plan, recover, settle};
use permesso::gateway::mock::book::Accepted;
use permesso::gateway::mock::faults::Faults;
use permesso::gateway::mock::protocol::{self, Channel, Status};

use permesso::store::report;

use crate::app::{Kind, LINK, MORNING, REPLY_NUMBER, TestApp, WHATSAPP_FIRST};
use crate::both;
use crate::plans::said;
use crate::run::until;

const DAY: Duration = Duration::from_secs(86_400);
const GB_NUMBER: &str = "+447700900123";

/// People whose evidence covers these channels.
async fn people(app: &TestApp, rows: &[(&str, &str)]) {
    let mut file =
        String::from("number,kind,source,ask_basis,basis_evidence,basis_date,box_default,basis_channels,country,time_zone\n");
    for (number, channels) in rows {
        file += &format!("{number},prospect,web shop,prior_consent,form 1,2025-01-10,unticked,{channels},,\n");
    }
    let summary = app.import_file(&file).await;
    assert_eq!(summary.rejected, 0, "{summary:?}");
}

fn channels(inbox: &[Accepted]) -> Vec<Channel> {
    inbox.iter().map(|m| m.channel).collect()
}

async fn tap(app: &TestApp, message: &Accepted, word: &str) {
    let button = message.buttons.iter().find(|b| b.id.starts_with(&format!("{word}."))).expect("the button").id.clone();
    app.gateway.tap(&message.id, &button).await.expect("a button of this message");
    app.deliver().await;
    app.gateway.idle().await;
}

both!(whatsapp_asks_whom_it_may_and_sms_the_others, |app| {
    let (both, sms_only, neither) = (TestApp::it(1), TestApp::it(2), TestApp::it(3));
    people(app, &[(&both, "sms whatsapp"), (&sms_only, "sms"), (&neither, "whatsapp")]).await;
    let campaign = app.engine.config.campaign(WHATSAPP_FIRST).unwrap();
    let counts = plan::preview(&app.engine, &campaign, |_| {}).await.unwrap();
    assert_eq!((counts.channels["whatsapp"], counts.channels["sms"]), (2, 1));
    app.send(WHATSAPP_FIRST).await;
    assert_eq!(channels(&app.inbox(&both)), [Channel::Whatsapp]);
    assert_eq!(channels(&app.inbox(&sms_only)), [Channel::Sms]);
    assert_eq!(channels(&app.inbox(&neither)), [Channel::Whatsapp]);
    assert!(app.inbox(&sms_only)[0].buttons.is_empty());
    // Why not WhatsApp stands in the decision.
    let decisions = app.decisions(&sms_only).await;
    assert!(decisions[0].contains("whatsapp: CHANNEL_NO_OPTIN"), "{decisions:?}");
});

both!(a_number_that_is_not_on_whatsapp_is_asked_by_sms_once, |app| {
    let (refused, late, fine) = (TestApp::it(1), TestApp::it(2), TestApp::it(3));
    people(app, &[(&refused, "sms whatsapp"), (&late, "sms whatsapp"), (&fine, "sms whatsapp")]).await;
    app.gateway.set_faults(Faults {
        not_on_whatsapp: [refused.clone()].into(),
        not_on_whatsapp_late: [late.clone()].into(),
        ..Faults::default()
    });
    app.send(WHATSAPP_FIRST).await;
    app.deliver().await;
    app.gateway.idle().await;
    assert_eq!(channels(&app.inbox(&refused)), [Channel::Sms]);
    assert_eq!(channels(&app.inbox(&late)), [Channel::Whatsapp, Channel::Sms], "accepted, failed, then the other way");
    assert_eq!(channels(&app.inbox(&fine)), [Channel::Whatsapp]);
    assert_eq!(app.states().await, [("delivered".to_owned(), 3)].into());
    // It is one ask: one message, one question, answered where it arrived.
    assert_eq!(app.count("SELECT COUNT(*) FROM messages WHERE kind = 'ask'").await, 3);
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations").await, 3);
    crate::desk::counters_are_right(app, "two took another channel").await;
    let mut tx = app.engine.store.read().await.unwrap();
    assert_eq!(report::fallbacks(&mut tx, &app.engine.controller).await.unwrap(), 2);
    tx.rollback().await.unwrap();
    app.reply(&late, GB_NUMBER, "SI").await;
    app.advance(Duration::from_secs(60));
    app.reply(&late, GB_NUMBER, "SI").await;
    assert_eq!(app.granted(&late).await, ["sms.promotions", "whatsapp.promotions"]);
    // A repeated receipt of the leg that failed starts nothing.
    let first = app.inbox(&late)[0].reference.clone();
    assert_eq!(app.gateway.receipt(&first, Status::Failed).await, Some(true));
    app.deliver().await;
    assert_eq!(app.asks(&late), 2);
});

both!(nobody_is_asked_another_way_who_may_have_the_ask, |app| {
    let n: Vec<String> = (1..=5).map(TestApp::it).collect();
    let rows: Vec<(&str, &str)> = n.iter().map(|n| (n.as_str(), "sms whatsapp")).collect();
    people(app, &rows).await;
    // Unknown, refused for good, expired, and accepted without any receipt.
    app.gateway.set_faults(Faults {
        refused_numbers: [n[1].clone()].into(),
        unreachable: [n[2].clone()].into(),
        not_on_whatsapp_late: [n[4].clone()].into(),
        ..Faults::default()
    });
    app.plan(WHATSAPP_FIRST).await;
    // The fifth said no before the gateway told that its number is not there.
    app.deliver_unheard().await;
    app.reply(&n[4], GB_NUMBER, "NO").await;
    let lost = app.inbox(&n[4])[0].reference.clone();
    assert_eq!(app.gateway.receipt(&lost, Status::Failed).await, Some(true));
    let expired = app.inbox(&n[2])[0].reference.clone();
    assert_eq!(app.gateway.receipt(&expired, Status::Expired).await, Some(true));
    app.deliver().await;
    for number in &n {
        assert!(app.inbox(number).iter().all(|m| m.channel == Channel::Whatsapp || !m.reference.starts_with("ask")), "{number}");
    }
    // And never after an unknown outcome, even where a receipt then says that the number is not there.
    let unknown = TestApp::it(9);
    people(app, &[(&unknown, "sms whatsapp")]).await;
    app.gateway.set_faults(Faults { garbage: 1.0, not_on_whatsapp_late: [unknown.clone()].into(), ..Faults::default() });
    app.plan(WHATSAPP_FIRST).await;
    app.deliver_unheard().await;
    let reference = app.inbox(&unknown)[0].reference.clone();
    assert_eq!(app.gateway.receipt(&reference, Status::Failed).await, Some(true));
    app.deliver().await;
    assert_eq!(channels(&app.inbox(&unknown)), [Channel::Whatsapp]);
});

both!(the_second_leg_says_what_the_country_wants_of_its_channel, |app| {
    // An Italian speaker with a French number: WhatsApp may speak Italian, an SMS from a name must carry the French stop code.
    let number = "+33639980001";
    let header = "number,locale,kind,source,ask_basis,basis_evidence,basis_date,box_default,basis_channels\n";
    let row = format!("{number},it,prospect,web shop,prior_consent,form 1,2026-01-10,unticked,sms whatsapp\n");
    app.import_file(&format!("{header}{row}")).await;
    app.gateway.set_faults(Faults { not_on_whatsapp: [number.to_owned()].into(), ..Faults::default() });
    let (acme, france) = (app.engine.config.senders[0].clone(), app.engine.config.packs["FR"].clone());
    app.plan_as(WHATSAPP_FIRST, |c| {
        c.countries = vec!["FR".into()];
        c.packs = [("FR".to_owned(), france)].into();
        c.asks[1].sender = acme;
        c.asks[1].mode = permesso::domain::campaign::Mode::LinkReply;
        let french = "{{ brand }} : vos choix, STOP au 36123 : {{ link }}";
        c.asks[1].texts =
            [("it", "{{ brand }}: le tue scelte: {{ link }}"), ("fr", french)].map(|(l, t)| (l.into(), t.into())).into();
    })
    .await;
    app.deliver().await;
    let inbox = app.inbox(number);
    assert_eq!((channels(&inbox), inbox[0].text.contains("STOP au 36123")), (vec![Channel::Sms], true), "{}", inbox[0].text);
});

both!(a_stop_between_two_legs_prevents_the_second, |app| {
    let (number, held) = (TestApp::it(1), TestApp::it(2));
    people(app, &[(&number, "sms whatsapp"), (&held, "sms whatsapp")]).await;
    app.gateway.set_faults(Faults { not_on_whatsapp_late: [number.clone(), held.clone()].into(), ..Faults::default() });
    app.plan(WHATSAPP_FIRST).await;
    permesso::engine::plan::set_state(&app.engine, WHATSAPP_FIRST, CampaignState::Paused).await.unwrap();
    permesso::engine::plan::set_state(&app.engine, WHATSAPP_FIRST, CampaignState::Running).await.unwrap();
    app.deliver_unheard().await;
    for number in [&number, &held] {
        let reference = app.inbox(number)[0].reference.clone();
        assert_eq!(app.gateway.receipt(&reference, Status::Failed).await, Some(true));
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM messages WHERE state = 'planned' AND channel = 'sms'").await, 2);
    app.gateway.reply(&number, REPLY_NUMBER, "STOP").await;
    app.gateway.reply(&held, REPLY_NUMBER, "mah, vediamo un po").await;
    app.deliver().await;
    assert_eq!((app.asks(&number), app.asks(&held)), (1, 1));
    assert_eq!(app.states().await, [("cancelled".to_owned(), 2)].into());
    // Both were asked by the first leg, so neither is told as left out, whatever keeps them from the second.
    assert!(app.decisions(&held).await.concat().contains("HELD_FOR_OPERATOR"), "{:?}", app.decisions(&held).await);
    let figures = permesso::engine::report::campaign(&app.engine, WHATSAPP_FIRST).await.unwrap();
    crate::reports::adds_up(&figures);
    assert_eq!((figures.asked, figures.eligible, figures.skipped.len()), (2, 2, 0), "{figures:?}");
});

both!(an_ask_that_arrived_after_all_is_not_sent_another_way, |app| {
    let number = TestApp::it(1);
    let reference = app.asked_by_whatsapp(&number).await;
    assert_eq!(app.gateway.receipt(&reference, Status::Failed).await, Some(true));
    assert_eq!(app.gateway.receipt(&reference, Status::Delivered).await, Some(true));
    app.deliver().await;
    assert_eq!(channels(&app.inbox(&number)), [Channel::Whatsapp]);
    assert_eq!(app.states().await, [("delivered".to_owned(), 1)].into());
});

both!(who_answered_on_the_page_of_the_first_leg_gets_no_second, |app| {
    let number = TestApp::it(1);
    let first = app.asked_by_whatsapp(&number).await;
    assert_eq!(app.gateway.receipt(&first, Status::Failed).await, Some(true));
    assert_eq!(app.submit(&app.link(&number), "chosen", &["sms.promotions"]).await, 303);
    app.deliver().await;
    assert_eq!(app.asks(&number), 1);
    assert!(app.decisions(&number).await.iter().any(|d| d.contains("ALREADY_ANSWERED")));
});

both!(who_answers_the_first_leg_gets_no_second_whatever_the_gateway_told_of_it, |app| {
    let [taps, writes] = [1, 2].map(TestApp::it);
    people(app, &[(&taps, "sms whatsapp"), (&writes, "sms whatsapp")]).await;
    app.gateway.set_faults(Faults { not_on_whatsapp_late: [taps.clone(), writes.clone()].into(), ..Faults::default() });
    app.plan(WHATSAPP_FIRST).await;
    app.deliver_unheard().await;
    // Said while the receipt was on its way.
    let said = app.clock.now() + 1_000_000;
    app.advance(Duration::from_secs(30));
    for number in [&taps, &writes] {
        assert_eq!(app.gateway.receipt(&app.inbox(number)[0].reference, Status::Failed).await, Some(true));
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM messages WHERE state = 'planned' AND channel = 'sms'").await, 2);
    app.gateway.set_faults(Faults::default());
    let yes = |number: &String, button: Option<String>| {
        protocol::Event::Inbound(protocol::Inbound {
            event_id: format!("yes of {number}"),
            from: number.clone(),
            to: "acme-wa".into(),
            channel: Channel::Whatsapp,
            text: "Sì".into(),
            button,
            at: said,
            in_reply_to: None,
        })
    };
    let button = app.inbox(&taps)[0].buttons[0].id.clone();
    assert!(app.gateway.deliver(vec![yes(&taps, Some(button)), yes(&writes, None)]).await);
    app.settle().await;
    for number in [&taps, &writes] {
        assert_eq!(channels(&app.inbox(number)), [Channel::Whatsapp, Channel::Whatsapp], "the ask and its confirmation");
        let confirm = app.inbox(number)[1].clone();
        app.advance(Duration::from_secs(60));
        tap(app, &confirm, "yes").await;
        assert_eq!(app.granted(number).await, ["sms.promotions", "whatsapp.promotions"]);
    }
    assert_eq!(app.states().await, [("delivered".to_owned(), 2)].into());
    crate::desk::counters_are_right(app, "two answered the first leg").await;
});

both!(a_yes_written_before_the_ask_left_ends_none_of_its_legs, |app| {
    let [yes, old, stop] = [1, 2, 3].map(TestApp::it);
    let numbers = [&yes, &old, &stop];
    people(app, &numbers.map(|number| (number.as_str(), "sms whatsapp"))).await;
    app.gateway.set_faults(Faults { not_on_whatsapp_late: numbers.map(String::clone).into(), ..Faults::default() });
    app.plan(WHATSAPP_FIRST).await;
    let before = app.clock.now() - 1_000_000;
    app.deliver_unheard().await;
    for number in numbers {
        assert_eq!(app.gateway.receipt(&app.inbox(number)[0].reference, Status::Failed).await, Some(true));
    }
    app.gateway.set_faults(Faults::default());
    let writes = |number: &String, text: &str, at: i64| {
        protocol::Event::Inbound(protocol::Inbound {
            event_id: format!("{text} of {number}"),
            from: number.clone(),
            to: "acme-wa".into(),
            channel: Channel::Whatsapp,
            text: text.into(),
            button: None,
            at,
            in_reply_to: None,
        })
    };
    // What they wrote a moment before, or longer ago than is believed, is of no ask that left after it; a no counts whenever it was said.
    let (days, late) = (8 * 86_400_000_000, 5 * 86_400_000_000);
    let events = vec![writes(&yes, "Sì", before), writes(&old, "Sì", before - days), writes(&stop, "STOP", before - late)];
    assert!(app.gateway.deliver(events).await);
    app.settle().await;
    for number in [&yes, &old] {
        assert_eq!(channels(&app.inbox(number)), [Channel::Whatsapp, Channel::Sms], "{:?}", app.history(number).await);
    }
    assert!(!channels(&app.inbox(&stop)).contains(&Channel::Sms), "{:?}", app.history(&stop).await);
    assert!(app.story(&stop).await.verdict.contains("stopped since"));
});

// Buttons.

both!(two_taps_on_two_messages_grant_and_one_does_not, |app| {
    let number = TestApp::it(1);
    people(app, &[(&number, "whatsapp")]).await;
    app.send(WHATSAPP_FIRST).await;
    let ask = app.inbox(&number)[0].clone();
    assert_eq!(ask.buttons.iter().map(|b| b.title.as_str()).collect::<Vec<_>>(), ["Sì", "No", "STOP"]);
    tap(app, &ask, "yes").await;
    let confirm = app.inbox(&number)[1].clone();
    assert!(confirm.reference.starts_with("cfm") && confirm.channel == Channel::Whatsapp);
    assert_eq!(confirm.buttons.iter().map(|b| b.title.as_str()).collect::<Vec<_>>(), ["Sì, confermo", "STOP"]);
    // The first button again, however late, is the first yes again.
    app.advance(Duration::from_secs(3600));
    tap(app, &ask, "yes").await;
    assert!(app.granted(&number).await.is_empty());
    // The confirmation's own button is another act, however soon.
    tap(app, &confirm, "yes").await;
    assert_eq!(app.granted(&number).await, ["sms.promotions", "whatsapp.promotions"]);
    // What the person saw, buttons and all, is published under the hash the proof names.
    let hash = app.count(
        "SELECT COUNT(*) FROM attempts a JOIN wordings w ON w.hash = a.wording_hash WHERE w.body LIKE '%[No] [STOP]' OR w.body LIKE '%[STOP]'",
    );
    assert_eq!(hash.await, 2);
});

both!(the_stop_button_stops_everything_and_old_buttons_grant_nothing, |app| {
    let number = TestApp::it(1);
    people(app, &[(&number, "whatsapp")]).await;
    app.send(WHATSAPP_FIRST).await;
    let ask = app.inbox(&number)[0].clone();
    tap(app, &ask, "yes").await;
    let confirm = app.inbox(&number)[1].clone();
    tap(app, &ask, "stop").await;
    tap(app, &confirm, "yes").await;
    tap(app, &ask, "yes").await;
    assert!(app.granted(&number).await.is_empty());
    assert!(app.story(&number).await.verdict.contains("stopped"));
});

both!(a_tap_of_somebody_else_is_no_yes, |app| {
    let (one, other) = (TestApp::it(1), TestApp::it(2));
    people(app, &[(&one, "whatsapp"), (&other, "whatsapp")]).await;
    app.send(WHATSAPP_FIRST).await;
    let foreign = app.inbox(&one)[0].clone();
    let button = foreign.buttons[0].clone();
    let event = protocol::Event::Inbound(protocol::Inbound {
        event_id: "foreign".into(),
        from: other.clone(),
        to: "acme-wa".into(),
        channel: Channel::Whatsapp,
        text: button.title,
        button: Some(button.id),
        at: app.clock.now(),
        in_reply_to: None,
    });
    assert!(app.gateway.deliver(vec![event]).await);
    app.deliver().await;
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations WHERE state = 'pending'").await, 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events WHERE effect = 'held'").await, 1, "an operator looks at it");
});

// Reminders.

both!(a_reminder_goes_the_way_the_ask_arrived_and_never_after_an_unknown_one, |app| {
    let n: Vec<String> = (1..=5).map(TestApp::it).collect();
    // The first contact is the fourth person.
    people(app, &[(&n[3], "sms whatsapp")]).await;
    let both = "sms whatsapp";
    people(app, &[(&n[0], both), (&n[1], "sms"), (&n[2], both), (&n[4], both)]).await;
    app.gateway.set_faults(Faults { not_on_whatsapp: [n[2].clone()].into(), ..Faults::default() });
    app.send(WHATSAPP_FIRST).await;
    app.deliver().await;
    app.gateway.idle().await;
    app.execute("UPDATE messages SET state = 'unknown' WHERE contact_id = 1").await.unwrap();
    app.reply(&n[4], "acme-wa", "NO").await;
    app.advance(DAY * 8);
    expire::expire(&app.engine).await.unwrap();
    app.deliver().await;
    app.gateway.idle().await;
    expire::expire(&app.engine).await.unwrap();
    app.deliver().await;
    let reminders = |n: &str| {
        let inbox = app.inbox(n);
        inbox.into_iter().filter(|m| m.reference.starts_with("rem")).map(|m| m.channel).collect::<Vec<_>>()
    };
    assert_eq!(reminders(&n[0]), [Channel::Whatsapp]);
    assert_eq!(reminders(&n[1]), [Channel::Sms]);
    assert_eq!(reminders(&n[2]), [Channel::Sms], "it was asked by SMS in the end");
    assert_eq!(reminders(&n[3]), [], "nobody knows whether the ask arrived");
    assert_eq!(reminders(&n[4]), [], "answered");
});

// Looking again.

both!(a_repeated_campaign_asks_the_newly_imported_and_the_newly_dormant_once, |app| {
    let (first, dormant, new) = (TestApp::it(1), TestApp::it(2), TestApp::it(3));
    people(app, &[(&first, "sms")]).await;
    // Bought a year ago, less three days: an active customer until then.
    let row = "number,kind,last_action,source,ask_basis,basis_evidence,basis_date,box_default\n";
    let row = format!("{row}{dormant},customer,2025-12-04,web shop,prior_consent,form 1,2025-01-10,unticked\n");
    app.import_file(&row).await;
    let id = app.send(WHATSAPP_FIRST).await;
    assert_eq!([&first, &dormant].map(|n| app.asks(n)), [1, 0]);
    let row = app.campaign(id).await;
    // Tuesday, 10:45 in Rome: the next look is on Wednesday at eight.
    assert_eq!(row.repeat_at, Some(Utc.with_ymd_and_hms(2026, 12, 2, 7, 0, 0).unwrap().timestamp_micros()));
    people(app, &[(&new, "sms")]).await;
    recover::sweep(&app.engine).await.unwrap();
    assert!(!plan::plan_next(&app.engine, id).await.unwrap(), "not before its time");
    for _ in 0..6 {
        app.advance(DAY);
        recover::sweep(&app.engine).await.unwrap();
        recover::sweep(&app.engine).await.unwrap();
        while plan::plan_next(&app.engine, id).await.unwrap() {}
        app.deliver().await;
        app.gateway.idle().await;
        expire::expire(&app.engine).await.unwrap();
    }
    assert_eq!([&first, &dormant, &new].map(|n| app.asks(n)), [1, 1, 1]);
    assert_eq!(app.campaign(id).await.state(), CampaignState::Running, "it goes on until its deadline");
    // What was decided about the one who was asked is not overwritten by the later looks.
    assert!(app.decisions(&first).await[0].contains("ELIGIBLE"), "{:?}", app.decisions(&first).await);
    app.advance(DAY * 20);
    people(app, &[(&TestApp::it(4), "sms")]).await;
    recover::sweep(&app.engine).await.unwrap();
    while plan::plan_next(&app.engine, id).await.unwrap() {}
    expire::expire(&app.engine).await.unwrap();
    app.deliver().await;
    assert_eq!(app.asks(&TestApp::it(4)), 0, "nothing after the deadline");
    assert_eq!(app.campaign(id).await.state(), CampaignState::Finished);
});

#[tokio::test]
async fn a_repetition_falls_on_the_local_time_also_where_the_clocks_change() {
    let app = TestApp::new(crate::app::Kind::Sqlite).await;
    let mut campaign = app.engine.config.campaign(WHATSAPP_FIRST).unwrap();
    campaign.repeat_at = NaiveTime::from_hms_opt(2, 30, 0);
    campaign.deadline = Utc.with_ymd_and_hms(2028, 1, 1, 0, 0, 0).unwrap();
    let next = |at: &str| campaign.next_repeat(at.parse().unwrap()).unwrap().to_rfc3339();
    assert_eq!(next("2027-03-27T12:00:00Z"), "2027-03-28T01:00:00+00:00", "half past two does not exist: three o'clock");
    assert_eq!(next("2027-10-30T12:00:00Z"), "2027-10-31T00:30:00+00:00", "the first of two");
    assert_eq!(next("2027-10-31T00:30:00Z"), "2027-11-01T01:30:00+00:00");
    assert_eq!(campaign.next_repeat(Utc.with_ymd_and_hms(2027, 12, 31, 12, 0, 0).unwrap()), None, "the deadline comes first");
}

// Pausing by itself.

both!(too_many_stops_pause_the_campaign_and_resume_counts_anew, |app| {
    let numbers: Vec<String> = (0..30).map(TestApp::it).collect();
    app.people(&numbers).await;
    let id = app
        .plan_as(LINK, |c| {
            c.limits.first = Some(10);
            c.limits.stop_if = Some(StopIf { stops: Some(0.15), failed: None, after: 10 });
        })
        .await;
    app.deliver().await;
    plan::set_state(&app.engine, LINK, CampaignState::Running).await.unwrap();
    let asked: Vec<&String> = numbers.iter().filter(|n| app.asks(n) == 1).collect();
    assert_eq!(asked.len(), 10);
    for number in &asked[..2] {
        app.gateway.reply(number, REPLY_NUMBER, "STOP").await;
    }
    app.deliver().await;
    let left = numbers.iter().filter(|n| app.asks(n) == 1).count();
    assert_eq!(left, 30, "fewer than ten had left since the manager looked");
    for number in numbers.iter().filter(|n| !asked.contains(n)).take(4) {
        app.gateway.reply(number, REPLY_NUMBER, "STOP").await;
    }
    // Now twenty have left and six said STOP; the next to be sent is not.
    let late = TestApp::it(99);
    app.people(std::slice::from_ref(&late)).await;
    app.execute("UPDATE campaigns SET planned_to = 0, planned_all = 0").await.unwrap();
    while plan::plan_next(&app.engine, id).await.unwrap() {}
    app.deliver().await;
    let row = app.campaign(id).await;
    assert_eq!(row.state(), CampaignState::Paused);
    assert!(row.reason.as_deref().unwrap().contains("6 of 20 asked said STOP (30.0 %, limit 15.0 %)"), "{:?}", row.reason);
    assert_eq!(app.asks(&late), 0);
    plan::set_state(&app.engine, LINK, CampaignState::Running).await.unwrap();
    app.deliver().await;
    assert_eq!(app.asks(&late), 1);
});

both!(too_many_failures_pause_the_campaign, |app| {
    let numbers: Vec<String> = (0..12).map(TestApp::it).collect();
    app.people(&numbers[..11]).await;
    app.gateway.set_faults(Faults { refused_numbers: numbers[..4].iter().cloned().collect(), ..Faults::default() });
    let id = app.plan_as(LINK, |c| c.limits.stop_if = Some(StopIf { stops: None, failed: Some(0.3), after: 5 })).await;
    app.deliver().await;
    app.people(&numbers[11..]).await;
    app.execute("UPDATE campaigns SET planned_to = 0, planned_all = 0").await.unwrap();
    while plan::plan_next(&app.engine, id).await.unwrap() {}
    app.deliver().await;
    let row = app.campaign(id).await;
    assert_eq!((row.state(), app.asks(&numbers[11])), (CampaignState::Paused, 0));
    assert!(row.reason.as_deref().unwrap().contains("4 of 11 messages failed"), "{:?}", row.reason);
});

// What became of them.

both!(unknown_sends_are_settled_by_look_up_and_by_a_recorded_word, |app| {
    let (taken, dropped, mute) = (TestApp::it(1), TestApp::it(2), TestApp::it(3));
    app.people(std::slice::from_ref(&taken)).await;
    app.gateway.set_faults(Faults { accept_then_reset: 1.0, lost: 1.0, ..Faults::default() });
    app.plan(LINK).await;
    app.deliver().await;
    app.people(std::slice::from_ref(&dropped)).await;
    app.gateway.set_faults(Faults { reset_before_accept: 1.0, ..Faults::default() });
    app.execute("UPDATE campaigns SET planned_to = 0, planned_all = 0").await.unwrap();
    while plan::plan_next(&app.engine, 1).await.unwrap() {}
    app.deliver().await;
    assert_eq!(app.states().await, [("unknown".to_owned(), 2)].into());
    let done = settle::look_up(&app.engine, LINK).await.unwrap();
    assert_eq!(done.settled, [("delivered".to_owned(), 1), ("failed".to_owned(), 1)].into());
    assert!(done.left.is_empty());
    assert_eq!(app.states().await, [("delivered".to_owned(), 1), ("failed".to_owned(), 1)].into());
    // A gateway that cannot be asked leaves it to the operator, whose word is kept.
    app.people(std::slice::from_ref(&mute)).await;
    app.gateway.set_faults(Faults { garbage: 1.0, lost: 1.0, ..Faults::default() });
    app.execute("UPDATE campaigns SET planned_to = 0, planned_all = 0").await.unwrap();
    while plan::plan_next(&app.engine, 1).await.unwrap() {}
    app.deliver().await;
    app.execute("UPDATE attempts SET gateway = 'gone' WHERE outcome = 'unknown'").await.unwrap();
    let done = settle::look_up(&app.engine, LINK).await.unwrap();
    assert_eq!((done.settled.len(), done.left.len()), (0, 1));
    let reference = done.left[0].reference.clone();
    assert!(settle::by_word(&app.engine, LINK, Some("ask-none"), State::Failed, "A. Rossi").await.is_err());
    let settled = settle::by_word(&app.engine, LINK, Some(&reference), State::Failed, "A. Rossi: provider's log").await.unwrap();
    assert_eq!(settled, 1);
    assert_eq!(app.count("SELECT COUNT(*) FROM settlements WHERE by_whom LIKE 'A. Rossi%' AND state = 'failed'").await, 1);
    assert!(
        app.history(&mute).await.iter().any(|h| h.starts_with("settled") && h.contains("failed: A. Rossi")),
        "{:?}",
        app.history(&mute).await
    );
    // Whatever it was, nobody is asked again for it.
    app.gateway.set_faults(Faults::default());
    app.plan_as(LINK, |c| c.name = "another".into()).await;
    app.deliver().await;
    assert_eq!([&taken, &dropped, &mute].map(|n| app.asks(n)), [1, 0, 1]);
});

both!(an_answer_of_unknown_outcome_is_told_and_settled_as_an_ask_is, |app| {
    let person = TestApp::it(1);
    app.people(std::slice::from_ref(&person)).await;
    app.send(LINK).await;
    app.gateway.set_faults(Faults { accept_then_reset: 1.0, lost: 1.0, ..Faults::default() });
    app.reply(&person, REPLY_NUMBER, "INFO").await;
    assert_eq!(app.count("SELECT COUNT(*) FROM messages WHERE state = 'unknown' AND kind <> 'ask'").await, 1);
    assert_eq!(recover::unsettled(&app.engine).await.unwrap(), [(LINK.to_owned(), 1)]);
    let report = said(app, &["campaign", "report", LINK]).await;
    assert!(report.contains("campaign settle"), "{report}");
    let settled = said(app, &["campaign", "settle", LINK]).await;
    assert!(settled.contains("1 was delivered") && settled.contains("0 are left unknown"), "{settled}");
    assert!(recover::unsettled(&app.engine).await.unwrap().is_empty());
    assert!(!said(app, &["campaign", "report", LINK]).await.contains("campaign settle"));
});

/// A gateway that rejects a second message with our reference is asked again what became of the first: at its rate.
async fn a_question_asked_again_takes_its_turn(kind: Kind) {
    let clock = Clock::manual(MORNING.parse().unwrap());
    let dedupes = |settings: String| settings.replace("dedupes = false", "dedupes = true");
    let mut app = TestApp::with_settings(kind, clock, dedupes).await;
    app.gateway.set_faults(Faults { accept_then_reset: 1.0, lost: 1.0, ..Faults::default() });
    app.people(&[TestApp::it(1)]).await;
    app.plan_as(LINK, |c| c.limits.rate = 100.0).await;
    app.deliver().await;
    assert_eq!(app.gateway.stats().requests, 2, "asked again");
    // Its next permit comes in twenty seconds, when nothing may leave any more.
    app.people(&[TestApp::it(2)]).await;
    app.plan_as(LINK, |c| (c.name, c.limits.rate) = ("slow".into(), 0.05)).await;
    let passing = async {
        until("it has left", async || app.gateway.stats().requests == 3).await;
        app.advance(Duration::from_secs(300));
    };
    tokio::join!(app.deliver(), passing);
    assert_eq!((app.gateway.stats().requests, app.state_of(&TestApp::it(2)).await.as_str()), (3, "unknown"));
    app.end().await;
}

#[tokio::test]
async fn a_question_asked_again_takes_its_turn_sqlite() {
    a_question_asked_again_takes_its_turn(Kind::Sqlite).await;
}

#[tokio::test]
async fn a_question_asked_again_takes_its_turn_postgres() {
    a_question_asked_again_takes_its_turn(Kind::Postgres).await;
}
