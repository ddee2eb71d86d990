//! What a campaign manager and a privacy officer read: figures that add up to the people asked, who ended a consent and how, why a
//! reminder did not go, and one person's story with what an operator said in it. The same words on every door.

use std::time::Duration;

use permesso::engine::report::{self, Report};
use permesso::engine::{breakdown, expire, import, inbox};
use permesso::gateway::mock::faults::Faults;

use crate::app::{LINK, REPLY_NUMBER, TestApp};
use crate::between::DAY;
use crate::both;
use crate::desk::counters_are_right;
use crate::plans::said;

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

/// Everybody asked stands under one word, and whoever answered under one of their answers.
pub fn adds_up(r: &Report) {
    assert_eq!(r.asked, r.answered + r.silent + r.unknown + r.not_reached, "{r:#?}");
    let answers = r.confirmed + r.pending + r.unfinished + r.refused + r.stopped + r.wrong_person + r.number_changed + r.replied;
    assert_eq!(r.answered, answers, "{r:#?}");
    assert_eq!(r.withdrawn, r.withdrawn_by.values().sum::<u64>(), "{r:#?}");
    assert_eq!(r.stopped, r.stopped_by.values().sum::<u64>(), "{r:#?}");
    assert!(r.withdrawn <= r.confirmed && r.asked <= r.eligible, "{r:#?}");
    assert_eq!(r.targeted, r.eligible + r.skipped.values().sum::<u64>(), "{r:#?}");
}

async fn figures(app: &TestApp) -> Report {
    let report = report::campaign(&app.engine, LINK).await.expect("a report");
    adds_up(&report);
    report
}

async fn confirmed(app: &TestApp, number: &str) {
    assert_eq!(app.submit(&app.link(number), "chosen", &["sms.promotions"]).await, 303);
    app.advance(Duration::from_secs(60));
    app.reply(number, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(number).await, ["sms.promotions"]);
}

async fn unsubscribed(app: &TestApp, numbers: &[&String]) {
    let file = app.dir.path().join("unsubscribed.csv");
    let rows: String = numbers.iter().map(|n| format!("{n}\n")).collect();
    std::fs::write(&file, format!("number\n{rows}")).expect("written");
    import::suppressions(&app.engine, &file, |_| {}).await.expect("imported");
}

fn by(pairs: &[(&str, u64)]) -> std::collections::BTreeMap<String, u64> {
    pairs.iter().map(|(by, n)| ((*by).to_owned(), *n)).collect()
}

both!(everybody_asked_stands_under_one_word_whoever_ended_what_they_said, |app| {
    let n: Vec<String> = (0..20).map(TestApp::it).collect();
    app.people(&n[..18]).await;
    app.gateway.set_faults(Faults { refused_numbers: [n[16].clone()].into(), ..Faults::default() });
    app.send(LINK).await;
    // Two more, of whose asks nobody knows what became.
    app.people(&n[18..]).await;
    app.gateway.set_faults(Faults { accept_then_reset: 1.0, lost: 1.0, ..Faults::default() });
    app.send(LINK).await;
    app.gateway.set_faults(Faults::default());
    app.submit(&app.link(&n[15]), "chosen", &["sms.promotions"]).await;
    app.advance(DAY * 8);
    sweep(app).await;
    for number in &n[..5] {
        confirmed(app, number).await;
    }
    let before = figures(app).await;
    assert_eq!((before.asked, before.confirmed, before.withdrawn, before.unfinished), (20, 5, 0, 1));
    assert_eq!((before.silent, before.unknown, before.not_reached), (11, 2, 1));

    // What a person says of a consent that stands, and what others say for them.
    app.reply(&n[1], REPLY_NUMBER, "boh, chi siete?").await;
    app.reply(&n[8], REPLY_NUMBER, "boh, chi siete?").await;
    decide(app, true).await;
    unsubscribed(app, &[&n[2], &n[9]]).await;
    app.reply(&n[3], REPLY_NUMBER, "STOP").await;
    app.submit(&app.link(&n[4]), "chosen", &["call.promotions"]).await;
    app.submit(&app.link(&n[5]), "chosen", &["sms.promotions"]).await;
    app.reply(&n[6], REPLY_NUMBER, "no grazie").await;
    app.reply(&n[7], REPLY_NUMBER, "STOP").await;
    for (number, text) in [(10, "ok"), (11, "aiuto"), (12, "boh, chi siete?"), (13, "numero sbagliato"), (14, "boh, chi siete?")]
    {
        app.reply(&n[number], REPLY_NUMBER, text).await;
    }
    let waiting = inbox::waiting(&app.engine, 0, 9).await.unwrap();
    inbox::resolve(&app.engine, waiting[0].id, false, "A. Rossi").await.unwrap();

    let r = figures(app).await;
    assert_eq!((r.asked, r.answered), (20, 16));
    assert_eq!((r.confirmed, r.withdrawn), (5, 4));
    assert_eq!(r.withdrawn_by, by(&[("list", 1), ("operator", 1), ("person", 2)]));
    assert_eq!((r.pending, r.unfinished, r.refused, r.wrong_person), (1, 1, 1, 1));
    assert_eq!((r.stopped, &r.stopped_by), (3, &by(&[("list", 1), ("operator", 1), ("person", 1)])));
    assert_eq!((r.replied, r.silent, r.unknown, r.not_reached), (4, 1, 2, 1));
    counters_are_right(app, "everything was said").await;

    // Said again, or said otherwise by somebody else: the person's own word stays.
    unsubscribed(app, &[&n[3], &n[7], &n[8]]).await;
    assert_eq!(figures(app).await.stopped_by, r.stopped_by);
    assert_eq!(figures(app).await.withdrawn_by, r.withdrawn_by);

    // The same figures at every door.
    let out = said(app, &["campaign", "report", LINK]).await;
    for line in [
        "       20 asked, of whom answered 16\n",
        "        5   confirmed\n",
        "        4     of them withdrawn since: 1 by an imported list, 1 by an operator, 2 by the person\n",
        "        3   stopped all marketing: 1 by an imported list, 1 by an operator, 1 by the person\n",
        "        4   replied, no decision\n",
        "        1   silent\n",
    ] {
        assert!(out.contains(line), "{line}{out}");
    }
    let (_, json) = app.get(&format!("{}/api/v1/campaigns/{LINK}", app.operator)).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json, serde_json::to_value(&r).unwrap());
    let (_, page) = app.get(&format!("{}/campaigns/{LINK}", app.operator)).await;
    let cell = |label: &str| {
        let row = page.split(&format!("<th scope=\"row\">{label}<")).nth(1).unwrap_or_else(|| panic!("{label}: {page}"));
        row.split("class=\"n\">").nth(1).unwrap().split('<').next().unwrap().to_owned()
    };
    let shown = ["Asked", "Confirmed", "Of them withdrawn since", "Stopped all marketing", "Replied, no decision", "Silent"];
    assert_eq!(shown.map(cell), ["20", "5", "4", "3", "4", "1"]);
    let (_, overview) = app.get(&format!("{}/api/v1/overview", app.operator)).await;
    let overview: serde_json::Value = serde_json::from_str(&overview).unwrap();
    assert_eq!(overview["campaigns"][0], json);

    // Taken apart, it is the same.
    let parts = breakdown::breakdown(&app.engine, LINK).await.unwrap();
    for lines in [&parts.channels, &parts.countries] {
        let sum = |of: fn(&breakdown::Line) -> u64| lines.iter().map(of).sum::<u64>();
        assert_eq!((sum(|l| l.asked), sum(|l| l.confirmed), sum(|l| l.withdrawn)), (20, 5, 4));
        assert_eq!((sum(|l| l.stopped), sum(|l| l.replied), sum(|l| l.silent)), (3, 4, 1));
        assert_eq!(sum(|l| l.wrong_person), 1);
    }
    let hours = breakdown::timeline(&app.engine, LINK).await.unwrap().hours;
    let sum = |of: fn(&breakdown::Hour) -> u64| hours.iter().map(of).sum::<u64>();
    assert_eq!((sum(|h| h.confirmed), sum(|h| h.withdrawn), sum(|h| h.stopped)), (1, 4, 3));
    assert_eq!(sum(|h| h.wrong_person), 1);
    // An hour counts asks and reminders, and says so.
    let delivered = |states: &std::collections::BTreeMap<String, u64>| {
        ["delivered", "read"].map(|s| states.get(s).copied().unwrap_or(0)).iter().sum::<u64>()
    };
    assert_eq!(sum(|h| h.delivered), delivered(&r.asks) + delivered(&r.reminders));
    assert!(page.contains("Asks and reminders") && !page.contains(">Not delivered<"), "{page}");
    // The overview has the same columns, page and file.
    let (_, page) = app.get(&format!("{}/", app.operator)).await;
    assert!(page.contains(">Marketing stopped<") && page.contains(">Wrong person<"), "{page}");
    let row = page.split(&format!("/campaigns/{LINK}\"")).nth(1).unwrap().split("</tr>").next().unwrap();
    let cells: Vec<&str> = row.split("class=\"n\">").skip(1).filter_map(|cell| cell.split('<').next()).collect();
    assert_eq!(cells[5..], ["1", "3", "1", "4", "1"], "refused to silent: {row}");
    let (_, file) = app.get(&format!("{}/campaigns.csv", app.operator)).await;
    assert!(file.contains(",refused,stopped,wrong_person,replied,silent") && file.contains(",1,3,1,4,1"), "{file}");
});

both!(a_consent_that_comes_back_is_confirmed_again_and_a_no_stands_until_its_second_step, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    confirmed(app, &number).await;
    app.advance(Duration::from_secs(600));
    app.reply(&number, REPLY_NUMBER, "STOP").await;
    app.advance(Duration::from_secs(600));
    app.submit(&app.link(&number), "chosen", &["sms.promotions"]).await;
    let r = figures(app).await;
    assert_eq!((r.confirmed, r.withdrawn, r.pending), (1, 1, 0), "one person, one word");
    app.advance(Duration::from_secs(60));
    app.reply(&number, REPLY_NUMBER, "SI").await;
    let r = figures(app).await;
    assert_eq!((r.asked, r.confirmed, r.withdrawn, r.stopped), (1, 1, 0, 0));
});

both!(a_stop_before_the_ask_left_counts_as_nobody_asked, |app| {
    let numbers = [TestApp::it(1), TestApp::it(2)];
    app.people(&numbers).await;
    app.plan(LINK).await;
    app.gateway.reply(&numbers[0], REPLY_NUMBER, "STOP").await;
    app.settle().await;
    let r = figures(app).await;
    assert_eq!((r.eligible, r.asked, r.silent, r.stopped), (2, 1, 1, 0));
    let why: Vec<_> = r.not_asked().map(|u| (u.state.as_str(), u.sentence.as_str(), u.count)).collect();
    assert_eq!(why, [("cancelled", "The person said STOP: no marketing of any kind.", 1)]);
});

both!(asks_and_reminders_are_told_apart_and_the_report_says_why_fewer_reminders_went, |app| {
    let n: Vec<String> = (0..6).map(TestApp::it).collect();
    app.people(&n).await;
    app.send(LINK).await;
    for number in &n[..3] {
        app.reply(number, REPLY_NUMBER, "boh, chi siete?").await;
    }
    app.advance(DAY * 8);
    sweep(app).await;
    let r = figures(app).await;
    assert_eq!(
        (r.asks.get("delivered"), r.reminders.get("delivered"), r.reminders.get("planned")),
        (Some(&6), Some(&3), Some(&3))
    );
    let why = |r: &Report| r.not_reminded().map(|u| (u.state.clone(), u.code.clone(), u.count)).collect::<Vec<_>>();
    let row = |state: &str, code: &str, n| (state.to_owned(), code.to_owned(), n);
    assert_eq!(why(&r), [row("planned", "HELD_FOR_OPERATOR", 3)]);
    let waiting = inbox::waiting(&app.engine, 0, 9).await.unwrap();
    inbox::resolve(&app.engine, waiting[0].id, true, "A. Rossi").await.unwrap();
    inbox::resolve(&app.engine, waiting[1].id, false, "A. Rossi").await.unwrap();
    app.advance(MINUTES_6);
    sweep(app).await;
    let out = said(app, &["campaign", "report", LINK]).await;
    for line in [
        "        6   asks delivered\n",
        "        4   reminders delivered\n",
        "        1     reminder cancelled: The person said STOP: no marketing of any kind (SUPPRESSED_OBJECTION).\n",
        "        1     reminder waits: A reply was unclear; nothing is sent until an operator has read it (HELD_FOR_OPERATOR).\n",
    ] {
        assert!(out.contains(line), "{line}{out}");
    }
    let (_, page) = app.get(&format!("{}/campaigns/{LINK}", app.operator)).await;
    assert!(page.contains("Why some did not go, or wait") && page.contains("waits, <code>HELD_FOR_OPERATOR</code>"), "{page}");
    app.advance(DAY * 12);
    sweep(app).await;
    let r = figures(app).await;
    assert_eq!(why(&r), [row("cancelled", "SUPPRESSED_OBJECTION", 1), row("lapsed", "DEADLINE_PASSED", 1)]);
    counters_are_right(app, "past the deadline").await;
});

both!(the_story_names_what_an_operator_said_and_when, |app| {
    let n: Vec<String> = (1..=4).map(TestApp::it).collect();
    app.people(&n).await;
    app.send(LINK).await;
    app.reply(&n[0], REPLY_NUMBER, "boh, chi siete?").await;
    app.reply(&n[1], REPLY_NUMBER, "boh, chi siete?").await;
    app.reply(&n[2], REPLY_NUMBER, "si").await;
    app.advance(Duration::from_secs(600));
    let waiting = inbox::waiting(&app.engine, 0, 9).await.unwrap();
    inbox::resolve(&app.engine, waiting[0].id, false, "A. Rossi").await.unwrap();
    inbox::resolve(&app.engine, waiting[1].id, true, "operator (web)").await.unwrap();
    unsubscribed(app, &[&n[3]]).await;
    let asked = "Asked on 2026-12-01 10:45 (Europe/Rome) by SMS in campaign rinnovo-consensi";
    let expected = [
        "; replied on 2026-12-01 10:45 (Europe/Rome), read as unclear; an operator (A. Rossi) read it on 2026-12-01 10:55 \
         (Europe/Rome) and said: nothing.",
        "; stopped by an operator on 2026-12-01 10:55 (Europe/Rome).",
        "; replied on 2026-12-01 10:45 (Europe/Rome), read as a yes, which decides nothing by itself.",
        "; stopped by an imported list on 2026-12-01 10:55 (Europe/Rome).",
    ];
    for (number, expected) in n.iter().zip(expected) {
        let story = app.story(number).await;
        assert_eq!(story.campaigns[0].sentence, format!("{asked}{expected}"));
    }
    let told = app.history(&n[0]).await;
    let nothing = "operator The reply of 2026-12-01 10:45 (Europe/Rome): an operator (A. Rossi) read it on 2026-12-01 10:55 \
                   (Europe/Rome) and said: nothing";
    assert!(told.iter().any(|line| line == nothing), "{told:#?}");
    let told = app.history(&n[1]).await;
    assert!(
        told.iter().any(|line| line.starts_with("operator ")
            && line.ends_with("an operator (web) read it on 2026-12-01 10:55 (Europe/Rome) and said: stop")),
        "{told:#?}"
    );
    assert!(!told.iter().any(|line| line.contains("boh")), "what was read in a reply, never its text");
});

both!(each_campaign_of_a_story_has_a_heading_and_its_own_facts_under_it, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    app.advance(Duration::from_secs(60));
    app.plan_as(LINK, |campaign| campaign.name = "again".into()).await;
    let out = said(app, &["contact", "explain", &number]).await;
    let place = |what: &str| out.find(what).unwrap_or_else(|| panic!("{what} is not in {out}"));
    let order = [
        place("silent since. Not contacted in campaign again"),
        place("\nCampaign rinnovo-consensi\n"),
        place("Asked before:         never"),
        place("\nCampaign again\n"),
        place("Asked before:         2026-12-01"),
        place("\nWhat happened"),
    ];
    assert!(order.is_sorted(), "{out}");
    assert!(out.contains("The person was already asked (ASK_CAP)."), "{out}");
});

both!(a_no_and_a_stop_are_stored_apart_and_counted_together, |app| {
    let n: Vec<String> = (1..=3).map(TestApp::it).collect();
    app.people(&n).await;
    app.send(LINK).await;
    for (number, text) in n.iter().zip(["no grazie", "STOP", "STOP"]) {
        app.reply(number, REPLY_NUMBER, text).await;
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events WHERE intent = 'stop'").await, 2);
    let told = app.history(&n[0]).await;
    assert!(told.iter().any(|line| line == "reply Reply by SMS, read as a no: it was taken as that"), "{told:#?}");
    // As an earlier version stored it.
    app.execute("DELETE FROM inbound_events WHERE id = (SELECT MAX(id) FROM inbound_events)").await.unwrap();
    app.execute(
        "INSERT INTO inbound_events (controller, gateway, event_id, mac, key_id, contact_id, to_sender, channel, body_enc, intent,
           effect, at, received_at)
         SELECT controller, gateway, 'old', mac, key_id, contact_id, to_sender, channel, body_enc, 'opt_out', effect, at, received_at
         FROM inbound_events WHERE intent = 'stop'",
    )
    .await
    .unwrap();
    let overview = report::overview(&app.engine).await.unwrap();
    assert_eq!(overview.inbound, by(&[("opt_out", 3)]));
    let (_, metrics) = app.get(&format!("{}/metrics", app.operator)).await;
    assert!(metrics.contains("permesso_inbound{intent=\"opt_out\"} 3"), "{metrics}");
    let told = app.history(&n[1]).await;
    assert_eq!(told.iter().filter(|line| line.contains("read as a STOP")).count(), 1, "{told:#?}");
    assert_eq!(told.iter().filter(|line| line.contains("read as a no")).count(), 1, "the older row still reads: {told:#?}");
});
