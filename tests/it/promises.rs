//! The nine promises, each by the stories named after it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use permesso::domain::campaign::CampaignState;
use permesso::domain::message::State;
use permesso::engine::plan;
use permesso::gateway::mock::faults::Faults;
use permesso::gateway::mock::protocol::{self, Status};
use permesso::store::{contacts, messages};

use crate::app::{LINK, REPLY, REPLY_NUMBER, TestApp};
use crate::both;

const DAY: Duration = Duration::from_secs(86_400);

// 1. No ask without a right to ask.

both!(nobody_without_a_valid_ask_basis_is_asked, |app| {
    let n: Vec<String> = (0..8).map(TestApp::it).collect();
    let rows = [
        format!("{},,prospect,,web shop,,,,,,,\n", n[0]),
        format!("{},,prospect,,web shop,prior_consent,form 1,2025-01-10,pre_ticked,,,\n", n[1]),
        format!("{},,prospect,,web shop,prior_consent,form 1,2025-01-10,bundled,,,\n", n[2]),
        format!("{},,prospect,,purchased,prior_consent,form 1,2025-01-10,unticked,,,\n", n[3]),
        // Soft opt-in is for e-mail in Italy, never for SMS.
        format!("{},,prospect,,web shop,soft_opt_in,order 9,2025-01-10,,,,\n", n[4]),
        format!("{},,prospect,,,prior_consent,form 1,2025-01-10,unticked,,,\n", n[5]),
        format!("{},,customer,2026-11-01,web shop,prior_consent,form 1,2025-01-10,unticked,,,\n", n[6]),
        TestApp::good(&n[7]),
    ];
    let summary = app.import(&rows.concat()).await;
    assert_eq!((summary.rows, summary.new, summary.rejected), (8, 8, 0), "{summary:?}");
    app.send(LINK).await;
    let asked: Vec<usize> = n.iter().map(|n| app.asks(n)).collect();
    assert_eq!(asked, [0, 0, 0, 0, 0, 0, 0, 1]);
    let story = app.story(&n[1]).await;
    assert!(story.verdict.contains("LEGACY_INVALID"), "{}", story.verdict);
    let story = app.story(&n[4]).await;
    assert!(story.verdict.contains("NO_ASK_BASIS"), "{}", story.verdict);
});

// 2. No is final.

both!(a_stop_between_planning_and_claim_prevents_the_message, |app| {
    let (stops, stays) = (TestApp::it(1), TestApp::it(2));
    app.people(&[stops.clone(), stays.clone()]).await;
    app.plan(LINK).await;
    app.reply(&stops, REPLY_NUMBER, "STOP").await;
    app.deliver().await;
    assert_eq!((app.asks(&stops), app.asks(&stays)), (0, 1));
});

both!(the_claim_reads_the_suppressions_again, |app| {
    // A no that cancelled nothing, as if it had been written by an older version or another tool.
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.plan(LINK).await;
    app.execute(
        "INSERT INTO suppressions (controller, mac, key_id, scope, reason, at)
         SELECT controller, mac, key_id, 'marketing', 'stopped', 1 FROM number_macs",
    )
    .await
    .unwrap();
    app.deliver().await;
    assert_eq!(app.asks(&number), 0);
});

both!(a_reimport_revives_nobody, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.reply(&number, REPLY_NUMBER, "stop").await;
    app.import(&TestApp::good("300 000 0001")).await;
    app.send(LINK).await;
    assert_eq!(app.asks(&number), 0);
    assert!(app.story(&number).await.verdict.contains("stopped"));
});

both!(any_row_that_says_no_wins_in_any_order, |app| {
    let (first, last, broken) = (TestApp::it(1), TestApp::it(2), TestApp::it(3));
    let no = |n: &str| format!("{n},,prospect,,web shop,prior_consent,form 1,2025-01-10,unticked,yes,,\n");
    // The third no stands in a row that is rejected for its kind.
    let bad = format!("{broken},,nonsense,,web shop,,,,,unsubscribed,,\n");
    let rows = [no(&first), TestApp::good(&first), TestApp::good(&last), no(&last), TestApp::good(&broken), bad];
    let summary = app.import(&rows.concat()).await;
    assert_eq!(summary.rejected, 1);
    app.send(LINK).await;
    assert_eq!([app.asks(&first), app.asks(&last), app.asks(&broken)], [0, 0, 0]);
});

both!(a_stop_from_a_number_nobody_knows_is_kept, |app| {
    let stranger = TestApp::it(77);
    app.reply(&stranger, REPLY_NUMBER, "STOP").await;
    app.people(std::slice::from_ref(&stranger)).await;
    app.send(LINK).await;
    assert_eq!(app.asks(&stranger), 0);
});

both!(one_no_counts_for_all_numbers_of_a_human, |app| {
    let (a, b, late) = (TestApp::it(1), TestApp::it(2), TestApp::it(3));
    let row = |n: &str| format!("{n},,prospect,,web shop,prior_consent,form 1,2025-01-10,unticked,,CRM-7,\n");
    app.import(&(row(&a) + &row(&b))).await;
    app.plan(LINK).await;
    app.reply(&a, REPLY_NUMBER, "STOP").await;
    app.import(&row(&late)).await;
    app.deliver().await;
    app.plan_as(LINK, |c| c.name = "another-name".into()).await;
    app.deliver().await;
    assert_eq!([app.asks(&a), app.asks(&b), app.asks(&late)], [0, 0, 0]);
});

both!(an_imported_no_ends_what_was_granted_and_what_was_begun, |app| {
    let (granted, begun, sibling) = (TestApp::it(1), TestApp::it(2), TestApp::it(3));
    let row = |n: &str, id: &str| format!("{n},,prospect,,web shop,prior_consent,form 1,2025-01-10,unticked,,{id},\n");
    app.import(&(row(&granted, "A") + &row(&begun, "B"))).await;
    app.send(LINK).await;
    for number in [&granted, &begun] {
        app.submit(&app.link(number), "chosen", &["sms.promotions"]).await;
    }
    app.advance(Duration::from_secs(60));
    let said_at = app.clock.now();
    app.reply(&granted, REPLY_NUMBER, "SI").await;
    app.advance(Duration::from_secs(60));
    app.import(&(format!("{sibling},,,,web shop,,,,,yes,A,\n") + &format!("{begun},,,,web shop,,,,,yes,,\n"))).await;
    // The yes that was said before the list came, and arrives after it.
    assert!(app.gateway.deliver(vec![inbound("late yes", &begun, REPLY_NUMBER, "SI", said_at)]).await);
    assert!(app.granted(&granted).await.is_empty() && app.granted(&begun).await.is_empty());
    assert_eq!(app.count("SELECT COUNT(*) FROM suppressions WHERE lifted_at IS NOT NULL").await, 0);
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
});

both!(a_late_stop_is_not_lost_to_a_first_yes_alone, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    app.advance(DAY * 20);
    permesso::engine::expire::expire(&app.engine).await.unwrap();
    let link = app.link(&number);
    app.submit(&link, "none", &[]).await;
    let said_at = app.clock.now();
    app.advance(Duration::from_secs(300));
    app.submit(&link, "chosen", &["sms.promotions"]).await;
    assert!(app.gateway.deliver(vec![inbound("late", &number, REPLY_NUMBER, "STOP", said_at)]).await);
    assert!(app.story(&number).await.suppressions.iter().any(|s| s.starts_with("stopped")));
});

both!(pause_and_halt_stop_within_a_slice, |app| {
    use permesso::engine::deliver::{Ended, deliver};
    use permesso::store::control::{Silence, set_halt};
    app.people(&[TestApp::it(1)]).await;
    let id = app.plan(LINK).await;
    let mut tx = app.engine.store.read().await.unwrap();
    let batch = messages::due_batches(&mut tx, &app.engine.controller, app.engine.now(), 9).await.unwrap()[0].0;
    tx.rollback().await.unwrap();
    // The job was under way already when its campaign was paused.
    let stop = tokio_util::sync::CancellationToken::new();
    plan::set_state(&app.engine, LINK, CampaignState::Paused).await.unwrap();
    assert_eq!(deliver(&app.engine, batch, &stop).await.unwrap(), Ended::NotRunning);
    assert_eq!(app.campaign(id).await.state(), CampaignState::Paused);
    plan::set_state(&app.engine, LINK, CampaignState::Running).await.unwrap();
    for (halt, expected) in [(Some(1), Ended::Silent(Silence::Halted)), (None, Ended::Rested(None))] {
        let mut tx = app.engine.store.write().await.unwrap();
        set_halt(&mut tx, &app.engine.controller, halt, "test").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(app.asks(&TestApp::it(1)), 0);
        assert_eq!(deliver(&app.engine, batch, &stop).await.unwrap(), expected);
    }
    assert_eq!(app.asks(&TestApp::it(1)), 1);
});

// 3. Never twice.

both!(a_send_without_an_answer_is_unknown_and_never_repeated, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.gateway.set_faults(Faults { accept_then_reset: 1.0, lost: 1.0, ..Faults::default() });
    app.send(LINK).await;
    assert_eq!(app.states().await.get("unknown"), Some(&1));
    app.gateway.set_faults(Faults::default());
    app.advance(DAY);
    app.deliver().await;
    permesso::engine::recover::sweep(&app.engine).await.unwrap();
    app.deliver().await;
    assert_eq!(app.asks(&number), 1);
    assert_eq!(app.gateway.stats().requests, 1, "it was asked once and never again");
    // The person's own reply proves that it arrived.
    app.reply(&number, REPLY_NUMBER, "aiuto").await;
    assert_eq!(app.states().await.get("unknown"), None);
});

both!(what_is_proved_not_accepted_is_tried_again, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.gateway.set_faults(Faults { throttle: 1.0, ..Faults::default() });
    app.send(LINK).await;
    assert_eq!(app.states().await.get("planned"), Some(&1));
    app.gateway.set_faults(Faults::default());
    app.deliver().await;
    assert_eq!(app.asks(&number), 0, "the throttling is obeyed");
    app.advance(Duration::from_secs(3));
    app.deliver().await;
    app.gateway.idle().await;
    assert_eq!(app.asks(&number), 1);
    assert_eq!(app.states().await.get("delivered"), Some(&1));
});

both!(being_too_fast_costs_no_message_its_tries_and_the_rest_of_a_slice_waits, |app| {
    let people: Vec<String> = (0..300).map(TestApp::it).collect();
    app.people(&people).await;
    app.gateway.set_faults(Faults { throttle: 1.0, ..Faults::default() });
    app.plan(LINK).await;
    for _ in 0..10 {
        let before = app.gateway.stats().requests;
        app.deliver().await;
        // Those under way when the first was told to wait; the gateway hears of no other.
        assert!(app.gateway.stats().requests - before < 300);
        app.advance(Duration::from_secs(60));
    }
    assert_eq!(app.states().await.get("planned"), Some(&300));
    app.gateway.set_faults(Faults::default());
    app.settle().await;
    assert_eq!(app.states().await.get("delivered"), Some(&300));
});

both!(what_a_receipt_proves_to_be_taken_is_not_sent_again, |app| {
    let numbers: Vec<String> = (1..=7).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.gateway.set_faults(Faults { throttle: 1.0, ..Faults::default() });
    app.plan(LINK).await;
    app.settle().await;
    assert_eq!(app.states().await.get("planned"), Some(&7), "the gateway's answer says that it took none");
    app.gateway.set_faults(Faults::default());
    let mut ids = Vec::new();
    let mut tx = app.engine.store.read().await.unwrap();
    for number in &numbers {
        let keyed = app.engine.vault.keyed_all(&TestApp::number(number));
        let contact = contacts::by_number(&mut tx, &app.engine.controller, &keyed).await.unwrap().unwrap().id;
        let told = messages::story_of(&mut tx, contact).await.unwrap().remove(0);
        ids.push((told.id, told.reference.unwrap()));
    }
    tx.rollback().await.unwrap();
    // Another try of four is on its way when their first ones are told about.
    let now = app.clock.now();
    let again = ids[3..].iter().map(|(message, reference)| messages::Claim {
        message: *message,
        contact: 0,
        reference: format!("{reference}-again"),
        token_hash: None,
        wording_hash: None,
        send_before: now,
        marks: Vec::new(),
        cost: 0,
        basis: None,
    });
    let who = messages::Claimant { slice: "again", worker: &app.engine.worker, gateway: "mock" };
    let mut tx = app.engine.store.write().await.unwrap();
    let tries = messages::claim(&mut tx, &app.engine.controller, &who, &again.collect::<Vec<_>>(), now).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(tries.len(), 4);
    let told = [
        Status::Delivered,
        Status::Undelivered,
        Status::Failed,
        Status::Sent,
        Status::Failed,
        Status::Undelivered,
        Status::Expired,
    ];
    let receipts = std::iter::zip(&ids, told).map(|((_, reference), status)| {
        let (event_id, id) = (format!("r-{reference}"), format!("p-{reference}"));
        protocol::Event::Receipt(protocol::Receipt {
            event_id,
            id,
            reference: reference.clone(),
            status,
            at: app.clock.now(),
            error: None,
        })
    });
    assert!(app.gateway.deliver(receipts.collect()).await);
    let states = async || futures::future::join_all(numbers.iter().map(|number| app.state_of(number))).await;
    // A failure may be the refusal told once more: it proves nothing, least of all about a later try.
    assert_eq!(states().await, ["delivered", "undelivered", "planned", "sent", "sending", "sending", "sending"]);
    // The answers to the tries under way: not taken, again.
    let mut tx = app.engine.store.write().await.unwrap();
    let settled = tries.iter().map(|(message, attempt)| messages::Settled {
        attempt: *attempt,
        message: *message,
        outcome: "not_accepted",
        provider_id: None,
        error: None,
        reason: None,
        state: State::Planned.code(),
        due_at: app.clock.now(),
        uncounted: 0,
    });
    messages::settle(&mut tx, &settled.collect::<Vec<_>>(), app.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    app.advance(Duration::from_secs(300));
    app.settle().await;
    assert_eq!(
        numbers.iter().map(|number| app.asks(number)).collect::<Vec<_>>(),
        [0, 0, 1, 0, 1, 0, 0],
        "who may have it is not asked again"
    );
    // They were asked: by a campaign of another name too.
    app.plan_as(LINK, |c| (c.name, c.family) = ("nuovo-nome".into(), "another family".into())).await;
    app.settle().await;
    assert_eq!([0, 1, 3, 5, 6].map(|n| app.asks(&numbers[n])), [0; 5]);
    assert_eq!(
        app.count("SELECT COUNT(*) FROM conversations WHERE state = 'asked' AND closed_at IS NULL").await,
        4,
        "and may answer"
    );
    let story = app.history(&numbers[0]).await;
    assert!(story.iter().any(|line| line.contains("delivered")), "{story:#?}");
});

both!(renaming_the_campaign_asks_nobody_again, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    // A Monday six weeks later: the first ask's conversation is long closed.
    app.advance(DAY * 41);
    permesso::engine::expire::expire(&app.engine).await.unwrap();
    app.plan_as(LINK, |c| {
        c.name = "nuovo-nome".into();
        c.family = "another family".into();
        c.deadline += chrono::TimeDelta::days(90);
    })
    .await;
    app.deliver().await;
    assert_eq!(app.asks(&number), 1);
    let story = app.story(&number).await;
    assert!(story.verdict.contains("nuovo-nome: The person was already asked (ASK_CAP)."), "{}", story.verdict);
});

both!(two_numbers_of_one_human_get_one_ask, |app| {
    let row =
        |n: u32, id: &str| format!("{},,prospect,,web shop,prior_consent,form 1,2025-01-10,unticked,,{id},\n", TestApp::it(n));
    // One whose other number comes while the first one's ask waits, and one who comes with both.
    app.import(&row(1, "CRM-7")).await;
    let id = app.plan(LINK).await;
    app.import(&(row(2, "CRM-7") + &row(3, "CRM-8") + &row(4, "CRM-8"))).await;
    // Plan, report and story count two people, and say of the other numbers why they are not asked.
    let campaign = app.engine.config.campaign(LINK).unwrap();
    let counts = permesso::engine::plan::preview(&app.engine, &campaign, |_| {}).await.unwrap();
    assert_eq!((counts.contacts, counts.eligible), (4, 2), "{counts:?}");
    app.execute("UPDATE campaigns SET planned_to = 0, planned_all = 0").await.expect("looked at again");
    while permesso::engine::plan::plan_next(&app.engine, id).await.unwrap() {}
    app.settle().await;
    let asks = [1, 2, 3, 4].map(|n| app.asks(&TestApp::it(n)));
    assert!(asks[..2] == [1, 0] && asks[2] + asks[3] == 1, "{asks:?}");
    let report = permesso::engine::report::campaign(&app.engine, LINK).await.unwrap();
    assert_eq!((report.targeted, report.eligible, report.asked), (4, 2, 2), "{report:?}");
    for skipped in [&counts.skipped, &report.skipped] {
        assert_eq!(skipped, &[("OTHER_NUMBER".to_owned(), 2)].into());
    }
    let verdict = app.story(&TestApp::it(2)).await.verdict;
    assert!(verdict.contains("Another number of the same human is to be asked"), "{verdict}");
});

both!(two_numbers_tied_after_the_plan_get_one_ask, |app| {
    let row =
        |n: u32, id: &str| format!("{},,prospect,,web shop,prior_consent,form 1,2025-01-10,unticked,,{id},\n", TestApp::it(n));
    app.import(&(row(1, "") + &row(2, ""))).await;
    app.plan(LINK).await;
    app.import(&(row(1, "SAME") + &row(2, "SAME"))).await;
    app.deliver().await;
    app.advance(Duration::from_secs(5));
    app.deliver().await;
    assert_eq!(app.asks(&TestApp::it(1)) + app.asks(&TestApp::it(2)), 1);
});

both!(two_workers_share_a_campaign_and_nobody_gets_two, |app| {
    let numbers: Vec<String> = (0..300).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.plan(LINK).await;
    let second = app.another().await;
    let (one, two) = (app.engine.clone(), second.clone());
    let (a, b) = tokio::join!(
        tokio::spawn(async move { TestApp::deliver_by(&one).await }),
        tokio::spawn(async move { TestApp::deliver_by(&two).await })
    );
    a.unwrap();
    b.unwrap();
    app.deliver().await;
    app.gateway.idle().await;
    assert_eq!(app.gateway.stats().duplicates, 0);
    assert_eq!(app.gateway.stats().accepted, 300);
    second.store.close().await;
});

both!(a_claim_is_won_by_one, |app| {
    // The very same slice, claimed twice at the same instant of a standing clock.
    app.people(&[TestApp::it(1)]).await;
    app.plan(LINK).await;
    let claim = |reference: &str| messages::Claim {
        message: 1,
        contact: 1,
        reference: reference.into(),
        token_hash: Some(reference.into()),
        wording_hash: None,
        send_before: i64::MAX,
        marks: Vec::new(),
        cost: 0,
        basis: None,
    };
    let who = |slice| messages::Claimant { slice, worker: "w", gateway: "mock" };
    let mut won = Vec::new();
    for name in ["first", "second"] {
        let mut tx = app.engine.store.write().await.unwrap();
        let now = app.engine.now();
        won.push(messages::claim(&mut tx, &app.engine.controller, &who(name), &[claim(name)], now).await.unwrap().len());
        tx.commit().await.unwrap();
    }
    assert_eq!(won, [1, 0]);
});

// 4. Nothing lost, and never speak while deaf.

both!(nothing_is_sent_while_nobody_listens, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.plan(LINK).await;
    app.hang_up().await;
    app.execute("UPDATE listening SET heard_db = heard_db - 31000000").await.unwrap();
    let mut tx = app.engine.store.read().await.unwrap();
    let due = messages::due_batches(&mut tx, &app.engine.controller, app.engine.now(), 1000).await.unwrap();
    tx.rollback().await.unwrap();
    let ended =
        permesso::engine::deliver::deliver(&app.engine, due[0].0, &tokio_util::sync::CancellationToken::new()).await.unwrap();
    assert_eq!(ended, permesso::engine::deliver::Ended::Silent(permesso::store::control::Silence::Deaf));
    assert_eq!(app.asks(&TestApp::it(1)), 0);
});

both!(what_came_in_during_deafness_is_read_before_anything_is_sent, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.plan(LINK).await;
    // The callback of this STOP never reaches us.
    app.gateway.set_webhook_url("http://127.0.0.1:1/nowhere".into());
    app.gateway.reply(&number, REPLY_NUMBER, "STOP").await;
    app.execute("UPDATE listening SET heard_db = heard_db - 31000000").await.unwrap();
    app.deliver().await;
    assert_eq!(app.asks(&number), 0);
    assert!(app.story(&number).await.verdict.contains("stopped"));
});

both!(a_receipt_that_overtakes_the_answer_counts, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    // The answer to our send never comes, the receipts do.
    app.gateway.set_faults(Faults { accept_then_reset: 1.0, ..Faults::default() });
    app.send(LINK).await;
    assert_eq!(app.states().await.get("delivered"), Some(&1));
});

both!(receipts_repeated_and_reordered_change_nothing, |app| {
    let numbers: Vec<String> = (0..20).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.gateway.set_faults(Faults { duplicate: 1.0, reordered: 1.0, ..Faults::default() });
    app.send(LINK).await;
    assert_eq!(app.states().await.get("delivered"), Some(&20));
});

both!(a_reply_before_the_sends_answer_counts, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.plan(LINK).await;
    app.gateway.set_faults(Faults { slow: 1.0, slow_ms: 400, ..Faults::default() });
    let (_, ()) = tokio::join!(app.deliver(), async {
        while app.inbox(&number).is_empty() {
            tokio::task::yield_now().await;
        }
        app.gateway.reply(&number, REPLY_NUMBER, "STOP").await;
    });
    app.gateway.idle().await;
    assert!(app.story(&number).await.verdict.contains("stopped"));
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations WHERE state = 'stopped'").await, 1);
});

// 5. Only the person says yes.

both!(a_hundred_previews_leave_no_row, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let link = app.link(&number);
    let before = app.count("SELECT (SELECT COUNT(*) FROM ledger) + (SELECT COUNT(*) FROM inbound_events) + (SELECT COUNT(*) FROM suppressions) + (SELECT COUNT(*) FROM preferences) + (SELECT COUNT(*) FROM messages)").await;
    for agent in
        ["WhatsApp/2.23.20", "TelegramBot (like TwitterBot)", "facebookexternalhit/1.1", "Mozilla/5.0 SafeLinks", "curl/8"]
    {
        for _ in 0..10 {
            assert_eq!(app.http.get(&link).header("user-agent", agent).send().await.unwrap().status(), 200);
            assert_eq!(app.http.head(&link).header("user-agent", agent).send().await.unwrap().status(), 200);
        }
    }
    let after = app.count("SELECT (SELECT COUNT(*) FROM ledger) + (SELECT COUNT(*) FROM inbound_events) + (SELECT COUNT(*) FROM suppressions) + (SELECT COUNT(*) FROM preferences) + (SELECT COUNT(*) FROM messages)").await;
    assert_eq!(before, after);
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations WHERE state = 'asked'").await, 1);
});

both!(a_tick_alone_grants_nothing, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    assert_eq!(app.submit(&app.link(&number), "chosen", &["sms.promotions"]).await, 303);
    assert!(app.granted(&number).await.is_empty());
    app.advance(Duration::from_secs(60));
    app.reply(&number, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&number).await, ["sms.promotions"]);
});

both!(a_yes_before_the_submission_grants_nothing, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    app.reply(&number, REPLY_NUMBER, "SI").await;
    assert!(app.granted(&number).await.is_empty());
    let told = app.history(&number).await.concat();
    assert!(told.contains("read as a yes: not taken as a yes: nothing was chosen on the page yet"), "{told}");
    let answer = app.inbox(&number).pop().unwrap().text;
    assert!(answer.contains("il tuo SI non vale ancora") && answer.contains("/p/"), "they are told: {answer}");
    app.submit(&app.link(&number), "chosen", &["sms.promotions"]).await;
    assert!(app.granted(&number).await.is_empty());
    // At the moment of the choice it is no later act either, and whoever may believe to have confirmed hears how to.
    app.advance(Duration::from_secs(86_400));
    app.submit(&app.link(&number), "chosen", &["sms.product_info"]).await;
    app.reply(&number, REPLY_NUMBER, "SI").await;
    assert!(app.granted(&number).await.is_empty());
    let told = app.history(&number).await.concat();
    assert!(told.contains("it was said before the choice was sent from the page"), "{told}");
    assert!(app.inbox(&number).pop().unwrap().text.contains("Per confermare rispondi di nuovo SI"), "{:?}", app.inbox(&number));
    app.advance(Duration::from_secs(1));
    app.reply(&number, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&number).await, ["sms.product_info"]);
});

both!(the_same_yes_twice_is_one_yes, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(REPLY).await;
    let from = app.inbox(&number)[0].from.clone();
    app.reply(&number, &from, "YES").await;
    app.advance(Duration::from_secs(5));
    app.reply(&number, &from, "YES").await;
    assert!(app.granted(&number).await.is_empty(), "five seconds after the confirmation it is the same yes");
    let told = app.history(&number).await.concat();
    assert!(
        told.contains("read as a yes: taken as the first yes said again: it came before the confirmation had been"),
        "{told}"
    );
    // They are told once how to confirm, and whatever answers every message by itself within seconds gains nothing by it.
    let received = app.inbox(&number);
    assert_eq!((received.len(), &received[1].text), (3, &received[2].text));
    app.advance(Duration::from_secs(6));
    app.reply(&number, &from, "YES").await;
    assert_eq!((app.inbox(&number).len(), app.granted(&number).await.len()), (3, 0), "once a day, and counted from the last");
    app.advance(Duration::from_secs(20));
    app.reply(&number, &from, "yes please").await;
    assert_eq!(app.granted(&number).await, ["sms.promotions"]);
});

both!(a_yes_to_another_number_of_ours_answers_nothing, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(REPLY).await;
    for _ in 0..3 {
        app.reply(&number, REPLY_NUMBER, "YES").await;
        app.advance(Duration::from_secs(30));
    }
    assert!(app.granted(&number).await.is_empty());
    // A no counts wherever it is said.
    app.reply(&number, REPLY_NUMBER, "STOP").await;
    assert!(app.story(&number).await.verdict.contains("stopped"));
});

both!(an_operator_can_say_stop_and_never_yes, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(REPLY).await;
    let from = app.inbox(&number)[0].from.clone();
    app.reply(&number, &from, "yes if it is free").await;
    let mut tx = app.engine.store.write().await.unwrap();
    let held = permesso::store::inbound::held_after(&mut tx, &app.engine.controller, 0, 9).await.unwrap();
    assert_eq!(held.len(), 1);
    let resolved = permesso::engine::receive::resolve(&mut tx, &app.engine, held[0].id, true, "op").await.unwrap();
    assert_eq!(resolved, permesso::engine::receive::Resolved::Done);
    tx.commit().await.unwrap();
    assert!(app.granted(&number).await.is_empty());
    assert!(app.story(&number).await.verdict.contains("stopped"));
});

// 6. A no beats a yes.

both!(stop_and_yes_in_one_message_is_a_stop, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(REPLY).await;
    let from = app.inbox(&number)[0].from.clone();
    app.reply(&number, &from, "STOP YES").await;
    app.advance(Duration::from_secs(60));
    app.reply(&number, &from, "YES").await;
    app.advance(Duration::from_secs(60));
    app.reply(&number, &from, "YES").await;
    assert!(app.granted(&number).await.is_empty(), "a yes counts only in a conversation opened after the last no");
});

both!(a_late_no_beats_the_yes_it_was_said_before, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(REPLY).await;
    let from = app.inbox(&number)[0].from.clone();
    let said_at = app.clock.now();
    app.advance(Duration::from_secs(60));
    app.reply(&number, &from, "YES").await;
    app.advance(Duration::from_secs(60));
    app.reply(&number, &from, "YES").await;
    assert_eq!(app.granted(&number).await, ["sms.promotions"]);
    app.advance(Duration::from_secs(600));
    assert!(app.gateway.deliver(vec![inbound("late", &number, &from, "STOP", said_at)]).await);
    assert!(app.granted(&number).await.is_empty());
});

both!(a_late_no_ends_what_was_granted_before_it_to_any_number_and_leaves_what_was_granted_since, |app| {
    let [one, two, quiet] = [1, 2, 3].map(TestApp::it);
    app.people(&[one.clone(), two.clone(), quiet.clone()]).await;
    app.send(LINK).await;
    for number in [&one, &two] {
        crate::erasure::grants(app, number).await;
    }
    // They turn out to be one human, with a third number.
    let tied = |n| format!("{n},,prospect,,web shop,prior_consent,form 1,2026-01-10,unticked,,H1,\n");
    app.import(&[&one, &two, &quiet].map(tied).concat()).await;
    app.advance(Duration::from_secs(3600));
    let stop = said("late", &one, REPLY_NUMBER, "STOP", app.clock.now());
    app.advance(Duration::from_secs(300));
    app.submit(&app.link(&one), "chosen", &["sms.promotions", "sms.product_info"]).await;
    app.advance(Duration::from_secs(60));
    app.reply(&one, REPLY_NUMBER, "SI").await;
    assert_eq!((app.granted(&one).await.len(), app.granted(&two).await.len()), (2, 1));
    app.advance(Duration::from_secs(600));
    permesso::engine::receive::store(&app.engine, "mock", &[stop]).await.unwrap();
    assert_eq!(app.granted(&one).await, ["sms.product_info"], "what was said after the no has answered it");
    assert!(app.granted(&two).await.is_empty(), "nothing else has");
    let mut noes = Vec::new();
    for number in [&one, &two, &quiet] {
        let own = |line: &&String| !line.contains("taken back by this number") && !line.contains("lifted");
        noes.push(app.story(number).await.suppressions.iter().filter(own).count());
    }
    assert_eq!(noes, [0, 1, 1]);
    // Late to another number, too, and the next list that names all of them changes nothing.
    let no = said("later", &two, REPLY_NUMBER, "NO", app.clock.now());
    app.advance(Duration::from_secs(300));
    app.submit(&app.link(&one), "chosen", &["sms.product_info", "call.product_info"]).await;
    app.advance(Duration::from_secs(60));
    app.reply(&one, REPLY_NUMBER, "SI").await;
    permesso::engine::receive::store(&app.engine, "mock", &[no]).await.unwrap();
    assert_eq!(app.granted(&one).await, ["call.product_info"], "the other was granted before it");
    app.import(&[&one, &two, &quiet].map(|n| tied(n).replace("web shop", "fair")).concat()).await;
    assert_eq!(app.granted(&one).await, ["call.product_info"], "{:?}", app.story(&one).await);
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
});

both!(a_yes_from_the_future_is_not_believed, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(REPLY).await;
    let from = app.inbox(&number)[0].from.clone();
    let tomorrow = app.clock.now() + 86_400_000_000;
    assert!(app.gateway.deliver(vec![inbound("f1", &number, &from, "YES", tomorrow)]).await);
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations WHERE state = 'pending'").await, 0);
    assert!(app.gateway.deliver(vec![inbound("f2", &number, &from, "STOP", tomorrow)]).await);
    assert!(app.story(&number).await.verdict.contains("stopped"));
});

both!(an_unreadable_event_takes_no_neighbour_with_it, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.plan(LINK).await;
    let now = app.clock.now();
    let batch = vec![inbound("short", "12345", REPLY_NUMBER, "hello", now), inbound("stop", &number, REPLY_NUMBER, "STOP", now)];
    assert!(app.gateway.deliver(batch).await);
    app.deliver().await;
    assert_eq!(app.asks(&number), 0);
    let mut tx = app.engine.store.read().await.unwrap();
    assert_eq!(permesso::store::inbound::held_after(&mut tx, &app.engine.controller, 0, 9).await.unwrap().len(), 1);
    tx.rollback().await.unwrap();
});

pub fn inbound(id: &str, from: &str, to: &str, text: &str, at: i64) -> protocol::Event {
    protocol::Event::Inbound(protocol::Inbound {
        event_id: id.into(),
        from: from.into(),
        to: to.into(),
        channel: protocol::Channel::Sms,
        text: text.into(),
        button: None,
        at,
        in_reply_to: None,
    })
}

/// The same as a driver reads it.
pub fn said(id: &str, from: &str, to: &str, text: &str, at: i64) -> permesso::gateway::Event {
    permesso::gateway::Event::Inbound {
        event_id: id.into(),
        from: Some(TestApp::number(from)),
        user: None,
        answers: None,
        to: to.into(),
        channel: permesso::domain::channel::Channel::Sms,
        text: text.into(),
        button: None,
        at: Some(at),
        handled: None,
        again: None,
    }
}

// 7. Proof.

both!(the_ledger_cannot_be_changed_and_tampering_shows, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    app.submit(&app.link(&number), "chosen", &["sms.promotions"]).await;
    app.advance(Duration::from_secs(60));
    app.reply(&number, REPLY_NUMBER, "SI").await;
    let (count, wrong) = permesso::engine::verify::ledger(&app.engine).await.unwrap();
    assert_eq!((count, wrong), (2, vec![]));
    for sql in [
        "UPDATE ledger SET at = 1",
        "DELETE FROM ledger",
        "UPDATE evidence SET body = 'x'",
        "DELETE FROM evidence",
        "UPDATE wordings SET body = 'x'",
        "DELETE FROM wordings",
    ] {
        assert!(app.execute(sql).await.is_err(), "{sql}");
    }
    // Somebody who owns the database takes the guards away first.
    match app.kind {
        crate::app::Kind::Sqlite => app.execute("DROP TRIGGER evidence_no_update").await.unwrap(),
        crate::app::Kind::Postgres => app.execute("DROP TRIGGER evidence_no_update ON evidence").await.unwrap(),
    }
    app.execute("UPDATE evidence SET body = REPLACE(body, 'promotions', 'profiling') WHERE seq = 2").await.unwrap();
    let (_, wrong) = permesso::engine::verify::ledger(&app.engine).await.unwrap();
    assert_eq!(wrong[0], "entry 2: its evidence was changed");
    app.execute("UPDATE evidence SET body = REPLACE(body, 'profiling', 'promotions') WHERE seq = 2").await.unwrap();
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
    // Preferences are only a cache of the entries, and a forged one shows.
    app.execute("UPDATE preferences SET state = 'withdrawn'").await.unwrap();
    let (_, wrong) = permesso::engine::verify::ledger(&app.engine).await.unwrap();
    assert!(wrong[0].contains("not what the entries say"), "{wrong:?}");
    if app.kind == crate::app::Kind::Sqlite {
        let replace =
            "REPLACE INTO ledger SELECT seq, controller, subject, 'late_no', at, body_hash, prev, hash FROM ledger WHERE seq = 1";
        assert!(app.execute(replace).await.is_err());
    }
});

both!(a_grant_carries_its_whole_proof, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    // When and not what is no choice, and leaves nothing behind: what the page said is published with the one that is kept.
    let link = app.link(&number);
    let nonce = crate::app::field(&app.get(&link).await.1, "nonce");
    let when = [("nonce", nonce), ("answer", "chosen".to_owned()), ("when", "1".to_owned()), ("part", "morning".to_owned())];
    assert_eq!(app.post_form(&link, &when).await, 422);
    app.submit(&link, "chosen", &["sms.promotions", "call.profiling", "sms.nonsense"]).await;
    app.advance(Duration::from_secs(60));
    app.reply(&number, REPLY_NUMBER, "sì, grazie").await;
    let mut tx = app.engine.store.read().await.unwrap();
    let rows = permesso::store::ledger::consents_since(&mut tx, &app.engine.controller, 0, &[]).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(rows.len(), 1, "only what the page offers can be granted");
    let body: permesso::domain::ledger::Body = serde_json::from_str(rows[0].body.as_deref().unwrap()).unwrap();
    assert_eq!(body.ask_basis.as_deref(), Some("prior_consent"));
    assert_eq!(body.campaign.as_deref(), Some(LINK));
    assert!(body.ask_reference.as_deref().unwrap().starts_with("ask-"));
    assert_eq!(body.first_yes.as_ref().unwrap().channel, "page");
    assert!(body.notice_version.is_some() && body.evidence.is_some() && body.locale.is_some());
    // What was read, word for word, behind both hashes: the message that asked, and the page on which the boxes stood.
    let page = body.page_hash.clone().expect("the page's words");
    assert_eq!(body.first_yes.as_ref().unwrap().page_hash.as_ref(), Some(&page));
    let mut tx = app.engine.store.read().await.unwrap();
    let hash = body.wording_hash.unwrap();
    let texts = permesso::store::ledger::wordings(&mut tx, &app.engine.controller, &[&hash, &page]).await.unwrap();
    tx.rollback().await.unwrap();
    let text = |hash: &str| texts.iter().find(|(h, ..)| h == hash).expect("published");
    let (_, name, locale, words) = text(&page);
    assert_eq!((name.as_str(), locale.as_str()), ("page", "it"));
    let (_, shown) = app.get(&app.link(&number)).await;
    for part in ["Sconti, offerte e iniziative commerciali.", "No a tutto"] {
        assert!(words.contains(part) && shown.contains(part), "{part}: {words}");
    }
    // Each box that stood there, and no other.
    let boxes: Vec<&str> = words.lines().filter(|line| line.starts_with("[ ]")).collect();
    assert!(boxes.len() == 2 && boxes[1].starts_with("[ ] Promozioni e offerte (SMS, WhatsApp, Telefonata):"), "{words}");
    assert_eq!(shown.matches("name=\"grant\"").count(), 6);
    assert_ne!(text(&hash).3, *words);
    let story = app.story(&number).await;
    assert!(story.pages.len() == 1 && story.pages[0].contains(words) && story.ledger[1].contains(&page[..12]), "{story:?}");
});

both!(preferences_are_what_the_ledger_says, |app| {
    for n in 0..6 {
        app.people(&[TestApp::it(n)]).await;
    }
    app.send(LINK).await;
    for n in 0..6 {
        app.submit(&app.link(&TestApp::it(n)), "chosen", &["sms.promotions", "whatsapp.promotions"]).await;
    }
    app.advance(Duration::from_secs(60));
    for n in 0..5 {
        app.reply(&TestApp::it(n), REPLY_NUMBER, "SI").await;
    }
    app.submit(&app.link(&TestApp::it(0)), "chosen", &["sms.promotions"]).await;
    app.submit(&app.link(&TestApp::it(1)), "none", &[]).await;
    app.reply(&TestApp::it(2), REPLY_NUMBER, "basta").await;
    let stored = crate::after::preferences_are_the_ledgers_replay(app).await;
    assert_eq!(stored.iter().filter(|r| r.3 == "granted").count(), 5);
});

// 8. Explainable.

both!(everybody_has_a_decision_with_the_facts_it_saw, |app| {
    let numbers: Vec<String> = (0..5).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.import(&format!(
        "{},,prospect,,web shop,,,,,,,\n{},,customer,2026-11-11,web shop,,,,,,,\n",
        TestApp::it(10),
        TestApp::it(11)
    ))
    .await;
    app.send(LINK).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM decisions WHERE stage = 'plan'").await, 7);
    let story = app.story(&TestApp::it(11)).await;
    assert!(story.verdict.contains("ACTIVE_CUSTOMER"), "{}", story.verdict);
    let decisions = app.decisions(&TestApp::it(11)).await;
    assert!(decisions[0].contains("2026-11-11"), "{decisions:?}");
    let report = permesso::engine::report::campaign(&app.engine, LINK).await.unwrap();
    assert_eq!((report.targeted, report.eligible), (7, 5));
    assert_eq!(report.skipped.values().sum::<u64>(), 2);
});

// 9. Private: what is stored. What is logged is looked through at the end of the suite (`run`).

both!(no_number_stands_in_the_clear_in_the_database, |app| {
    let number = TestApp::it(4_242_424);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    app.reply(&number, REPLY_NUMBER, "una risposta molto particolare").await;
    let token = app.link(&number).rsplit('/').next().unwrap().to_owned();
    let dump = match app.kind {
        crate::app::Kind::Sqlite => {
            let mut all = Vec::new();
            for file in std::fs::read_dir(app.dir.path()).unwrap() {
                let path = file.unwrap().path();
                if path.to_string_lossy().contains("permesso.db") {
                    all.extend(std::fs::read(path).unwrap());
                }
            }
            String::from_utf8_lossy(&all).into_owned()
        }
        crate::app::Kind::Postgres => {
            let out = std::process::Command::new("pg_dump").arg(&app.engine.config.database).output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            String::from_utf8_lossy(&out.stdout).into_owned()
        }
    };
    assert!(dump.contains("prior_consent"), "the dump is of this database");
    for secret in [number.trim_start_matches('+'), "4242424", "molto particolare", token.as_str()] {
        assert!(!dump.contains(secret), "`{secret}` stands in the database");
    }
});

// Quiet hours belong to promise 1's country rules.

both!(quiet_hours_hold_across_a_change_of_the_clocks, |app| {
    // Italy goes to summer time in the night to Sunday, 28 March 2027; Monday is Easter Monday; Tuesday 09:00 is 07:00 UTC.
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    let saturday_evening: DateTime<Utc> = "2027-03-27T19:30:00Z".parse().unwrap();
    app.clock.advance(saturday_evening.timestamp_micros() - app.clock.now());
    app.plan_as(LINK, |c| {
        c.start = saturday_evening;
        c.deadline = "2027-04-20T20:00:00Z".parse().unwrap();
        c.hours = None;
    })
    .await;
    app.deliver().await;
    assert_eq!(app.asks(&number), 0);
    let due: DateTime<Utc> = "2027-03-30T07:00:00Z".parse().unwrap();
    assert_eq!(app.count("SELECT due_at FROM messages").await, due.timestamp_micros());
    app.clock.advance(due.timestamp_micros() - app.clock.now() - 1);
    app.deliver().await;
    assert_eq!(app.asks(&number), 0);
    app.clock.advance(1);
    app.deliver().await;
    assert_eq!(app.asks(&number), 1);
    // Nothing arrives after the window either: the gateway is told until when to try.
    assert_eq!(app.inbox(&number)[0].validity_seconds, Some(11 * 3600));
});
