//! What happens around the promises: bad input, forged callbacks, expired links, faults of gateways, time running out.

use std::time::Duration;

use permesso::domain::campaign::{CampaignState, Mode};
use permesso::domain::consent;
use permesso::engine::{expire, import, plan, recover};
use permesso::gateway::mock::faults::Faults;
use permesso::gateway::mock::protocol;
use permesso::store::campaigns;
use permesso::web::lang::Lang;

use crate::app::{HEADER, LINK, REPLY, REPLY_NUMBER, TestApp, too_many};
use crate::both;
use crate::promises::inbound;

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn the_whole_table_of_the_double_opt_in() {
    use consent::Act;
    let mut table = String::new();
    let acts = [
        Act::Chose,
        Act::SaidYes { second: false },
        Act::SaidYes { second: true },
        Act::TypedCode,
        Act::SaidNo,
        Act::SaidStop,
        Act::WrongPerson,
        Act::AskedForHelp,
        Act::Unclear,
        Act::TimeOut,
    ];
    for mode in [Mode::LinkCode, Mode::LinkReply, Mode::Reply] {
        for state in consent::State::ALL {
            for act in acts {
                let (next, effects) = consent::next(mode, state, act);
                table += &format!("{:<10} {:<12} {act:<27?} -> {:<12} {effects:?}\n", mode.code(), state.code(), next.code());
            }
        }
    }
    insta::assert_snapshot!(table);
}

// Import

both!(a_messy_file_is_imported_row_by_row, |app| {
    let file = format!(
        "\u{feff}{}{}",
        HEADER.replace(',', ";"),
        "\"+39 300 000 0001\";;prospect;;web shop;prior_consent;form 1;10/01/2025;unticked;;;\n\
         0039 300-000.0002;;prospect;;web shop;prior_consent;form 1;2025-01-10;unticked;;;\n\
         300 0000003;it;Dormant;01.02.2024;web shop;prior_consent;form 1;2025-01-10;unticked;no;;Europe/Rome\n\
         07700 900004;UK;prospect;;web shop;prior_consent;form 1;2025-01-10;unticked;;;\n\
         3.93E+11;;prospect;;web shop;;;;;;;\n\
         \n\
         +393000000005;;prospect;;web shop;prior_consent;;2025-01-10;unticked;;;\n\
         +393000000006;;prospect;;web shop;prior_consent;form 1;2035-01-10;unticked;;;\n\
         +393000000007;;prospect;;\"web shop;prior_consent;form 1;2025-01-10;unticked;;;\n\
         +393000000008;;prospect;;web shop;prior_consent;form 1;2025-01-10;unticked;;;\n\
         too;few;fields\n\
         +39300\u{0}0000009;;prospect;;web shop;;;;;;;\n"
    );
    let summary = app.import_file(&file).await;
    assert_eq!((summary.rows, summary.new, summary.rejected), (11, 5, 6), "{summary:?}");
    let rejected = std::fs::read_to_string(summary.rejected_file.as_ref().unwrap()).unwrap();
    let lines: Vec<&str> = rejected.lines().skip(1).map(|l| l.split(',').next().unwrap()).collect();
    assert_eq!(lines, ["6", "8", "9", "10", "12", "13"], "{rejected}");
    assert!(!rejected.contains("393000000005"), "no number is copied");
    // Again: nothing new, every row counted once.
    let again = app.import_file(&file).await;
    assert_eq!((again.rows, again.new, again.merged, again.repeated, again.rejected), (11, 0, 0, 5, 6), "{again:?}");
});

both!(a_broken_file_says_what_to_do, |app| {
    let path = app.dir.path().join("bad.csv");
    for (bytes, expected) in [
        (b"".to_vec(), "is empty"),
        (b"name;mail\nx;y\n".to_vec(), "no column `number`"),
        (b"\xff\xfen\0u\0m\0".to_vec(), "UTF-16"),
        (b"number,number\n1,2\n".to_vec(), "two columns"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = import::contacts(&app.engine, &path, |_| {}).await.unwrap_err().to_string();
        assert!(error.contains(expected) && (error.contains("remedy")), "{error}");
    }
    // Latin-1 in one row costs that row; a field of ten megabytes costs that row and no memory.
    let mut bytes = HEADER.as_bytes().to_vec();
    bytes.extend(b"+393000000001,,prospect,,caff\xe9,,,,,,,\n");
    bytes.extend(b"+393000000002,,prospect,,");
    bytes.extend(std::iter::repeat_n(b'x', 10 << 20));
    bytes.extend(b",,,,,,,\n");
    bytes.extend(TestApp::good(&TestApp::it(3)).as_bytes());
    std::fs::write(&path, bytes).unwrap();
    let summary = import::contacts(&app.engine, &path, |_| {}).await.unwrap();
    assert_eq!((summary.rows, summary.new, summary.rejected), (3, 1, 2), "{summary:?}");
});

both!(suppressions_are_hashed_and_not_kept, |app| {
    let path = app.dir.path().join("no.csv");
    std::fs::write(&path, format!("number\n{}\n+39 300 000 0002\nnonsense\n", TestApp::it(1))).unwrap();
    let summary = import::suppressions(&app.engine, &path, |_| {}).await.unwrap();
    assert_eq!((summary.rows, summary.new, summary.rejected), (3, 2, 1), "{summary:?}");
    assert_eq!(app.count("SELECT COUNT(*) FROM contacts").await, 0);
    app.people(&[TestApp::it(1), TestApp::it(2), TestApp::it(3)]).await;
    app.send(LINK).await;
    assert_eq!([1, 2, 3].map(|n| app.asks(&TestApp::it(n))), [0, 0, 1]);
});

// Campaigns

both!(a_plan_that_the_facts_left_behind_is_refused, |app| {
    app.people(&(0..10).map(TestApp::it).collect::<Vec<_>>()).await;
    let campaign = app.engine.config.campaign(LINK).unwrap();
    let counts = plan::preview(&app.engine, &campaign, |_| {}).await.unwrap();
    assert_eq!((counts.contacts, counts.eligible), (10, 10));
    let id = plan::save(&app.engine, &campaign, &counts).await.unwrap();
    app.people(&[TestApp::it(99)]).await;
    let error = plan::start(&app.engine, LINK, &id).await.unwrap_err().to_string();
    assert!(error.contains("moved by more than 2"), "{error}");
    let error = plan::start(&app.engine, REPLY, &id).await.unwrap_err().to_string();
    assert!(error.contains("not of"), "{error}");
    assert_eq!(app.count("SELECT COUNT(*) FROM messages").await, 0);
});

both!(a_new_plan_replaces_what_the_old_one_had_not_sent, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.plan(LINK).await;
    app.plan_as(LINK, |c| c.asks[0].sender.id = REPLY_NUMBER.into()).await;
    app.deliver().await;
    let inbox = app.inbox(&TestApp::it(1));
    assert_eq!((inbox.len(), inbox[0].from.as_str()), (1, REPLY_NUMBER));
});

both!(the_ramp_up_pauses_and_goes_on, |app| {
    app.people(&(0..5).map(TestApp::it).collect::<Vec<_>>()).await;
    let id = app.plan_as(LINK, |c| c.limits.first = Some(2)).await;
    app.deliver().await;
    assert_eq!(app.gateway.stats().accepted, 2);
    let row = app.campaign(id).await;
    assert_eq!(row.state(), CampaignState::Paused);
    assert!(row.reason.unwrap().contains("ramp-up"));
    plan::set_state(&app.engine, LINK, CampaignState::Running).await.unwrap();
    app.deliver().await;
    assert_eq!(app.gateway.stats().accepted, 5);
});

both!(a_cancelled_campaign_sends_nothing_more, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.plan(LINK).await;
    assert_eq!(plan::set_state(&app.engine, LINK, CampaignState::Cancelled).await.unwrap(), 1);
    app.deliver().await;
    assert_eq!(app.gateway.stats().requests, 0);
    assert!(plan::set_state(&app.engine, LINK, CampaignState::Running).await.is_err());
});

both!(whom_another_campaign_is_about_to_ask_is_left_out_and_asked_when_that_one_is_cancelled, |app| {
    app.people(&[TestApp::it(1)]).await;
    let first = app.plan(LINK).await;
    let second = async || app.plan_as(LINK, |c| c.name = "seconda".into()).await;
    second().await;
    let left_out = "SELECT COUNT(*) FROM decisions WHERE outcome = 'skip' AND code = 'PLANNED_ELSEWHERE'";
    assert_eq!((app.count(left_out).await, app.states().await["planned"]), (1, 1));
    // Whoever cancels the first is killed before its messages are.
    let mut tx = app.engine.store.write().await.unwrap();
    campaigns::set_state(&mut tx, first, CampaignState::Cancelled, None).await.unwrap();
    tx.commit().await.unwrap();
    second().await;
    assert_eq!(app.count(left_out).await, 0);
    app.deliver().await;
    assert_eq!(app.asks(&TestApp::it(1)), 1);
});

both!(what_is_too_late_is_not_sent_by_a_worker_that_comes_back_before_the_sweep, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(REPLY).await;
    app.gateway.set_faults(Faults { throttle: 1.0, ..Faults::default() });
    app.reply(&number, "+447700900123", "YES").await;
    let confirm = "SELECT COUNT(*) FROM messages WHERE kind = 'confirm' AND state = 'planned'";
    assert_eq!(app.count(confirm).await, 1, "what asks for the second yes waits");
    app.gateway.set_faults(Faults::default());
    app.advance(DAY * 3);
    app.deliver().await;
    assert_eq!(app.inbox(&number).len(), 1, "the ask alone");
    assert_eq!(app.count("SELECT COUNT(*) FROM messages WHERE kind = 'confirm' AND state = 'lapsed'").await, 1);
});

both!(in_the_last_minute_of_the_allowed_hours_nobody_is_asked, |app| {
    // Gateways count a message's validity in minutes.
    app.people(&[TestApp::it(1)]).await;
    app.plan(LINK).await;
    // From 10:45 in Rome to 19:59:30.
    app.advance(Duration::from_secs(9 * 3600 + 14 * 60 + 30));
    app.deliver().await;
    assert_eq!((app.asks(&TestApp::it(1)), app.states().await.get("planned")), (0, Some(&1)));
    app.advance(Duration::from_secs(14 * 3600));
    app.deliver().await;
    assert_eq!(app.asks(&TestApp::it(1)), 1);
});

both!(what_a_sender_had_planned_rests_while_the_settings_do_not_know_it, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.plan(LINK).await;
    let file = app.engine.config.dir.join("permesso.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let campaigns = app.engine.config.dir.join("campaigns");
    std::fs::rename(&campaigns, app.engine.config.dir.join("put-aside")).unwrap();
    std::fs::write(&file, settings.replace("id = \"ACME\"", "id = \"ACME2\"")).unwrap();
    app.reconfigure("").await;
    let (batch, stop) = (app.count("SELECT id FROM batches").await, tokio_util::sync::CancellationToken::new());
    let error = permesso::engine::deliver::deliver(&app.engine, batch, &stop).await.unwrap_err().to_string();
    assert!(error.contains("sender `ACME`") && error.contains("remedy: put it back"), "{error}");
    assert_eq!(app.asks(&TestApp::it(1)), 0);
});

both!(of_a_large_campaign_all_is_cancelled_or_lapses_though_not_at_once, |app| {
    // More than one transaction takes.
    app.people(&(0..1100).map(TestApp::it).collect::<Vec<_>>()).await;
    let id = app.plan(LINK).await;
    assert_eq!(app.states().await, [("planned".to_owned(), 1100)].into());
    // Whoever cancels is killed before a single message is.
    let mut tx = app.engine.store.write().await.unwrap();
    campaigns::set_state(&mut tx, id, CampaignState::Cancelled, None).await.unwrap();
    tx.commit().await.unwrap();
    app.deliver().await;
    recover::sweep(&app.engine).await.unwrap();
    assert_eq!(app.states().await, [("cancelled".to_owned(), 1100)].into());

    app.plan_as(LINK, |c| c.name = "seconda".into()).await;
    assert_eq!(plan::set_state(&app.engine, "seconda", CampaignState::Cancelled).await.unwrap(), 1100);
    assert_eq!(app.states().await, [("cancelled".to_owned(), 2200)].into());

    app.plan_as(LINK, |c| c.name = "terza".into()).await;
    app.advance(DAY * 300);
    expire::expire(&app.engine).await.unwrap();
    assert_eq!(app.states().await, [("cancelled".to_owned(), 2200), ("lapsed".to_owned(), 1100)].into());
    app.deliver().await;
    assert_eq!(app.gateway.stats().requests, 0);
});

both!(one_reminder_and_only_to_the_silent, |app| {
    let (silent, answered) = (TestApp::it(1), TestApp::it(2));
    app.people(&[silent.clone(), answered.clone()]).await;
    app.plan_as(LINK, |c| c.reminder_after_days = Some(3)).await;
    app.deliver().await;
    app.gateway.idle().await;
    app.submit(&app.link(&answered), "chosen", &["sms.promotions"]).await;
    for _ in 0..3 {
        app.advance(DAY * 3);
        expire::expire(&app.engine).await.unwrap();
        app.deliver().await;
        app.gateway.idle().await;
    }
    let reminders = |n: &str| app.inbox(n).iter().filter(|m| m.reference.starts_with("rem")).count();
    assert_eq!((reminders(&silent), reminders(&answered)), (1, 0));
});

// Gateways

both!(five_unknowns_open_the_breaker_and_a_probe_closes_it, |app| {
    app.people(&(0..200).map(TestApp::it).collect::<Vec<_>>()).await;
    app.gateway.set_faults(Faults { accept_then_reset: 1.0, lost: 1.0, ..Faults::default() });
    app.send(LINK).await;
    let unknown = app.states().await["unknown"];
    assert!((5..140).contains(&unknown), "{unknown}");
    app.gateway.set_faults(Faults::default());
    let before = app.gateway.stats().requests;
    app.deliver().await;
    assert_eq!(app.gateway.stats().requests, before, "the breaker is open");
    app.advance(Duration::from_secs(40));
    app.deliver().await;
    app.deliver().await;
    app.gateway.idle().await;
    assert_eq!(app.states().await.get("delivered"), Some(&(200 - unknown)));
    assert_eq!(app.gateway.stats().duplicates, 0);
});

both!(an_account_fault_pauses_with_its_reason, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.gateway.set_faults(Faults { no_credit: true, ..Faults::default() });
    let id = app.send(LINK).await;
    let row = app.campaign(id).await;
    assert_eq!(row.state(), CampaignState::Paused);
    assert!(row.reason.as_deref().unwrap().contains("402"), "{:?}", row.reason);
    app.gateway.set_faults(Faults::default());
    app.deliver().await;
    assert_eq!(app.gateway.stats().accepted, 0);
    plan::set_state(&app.engine, LINK, CampaignState::Running).await.unwrap();
    // Whoever stopped the account stands back for seconds.
    app.advance(Duration::from_secs(60));
    app.deliver().await;
    assert_eq!(app.gateway.stats().accepted, 1);
});

both!(a_gateway_that_is_down_costs_time_and_nothing_else, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.plan(LINK).await;
    let config = app.engine.config.clone();
    let mut elsewhere = config.clone();
    elsewhere.gateways[0].account.url = "http://127.0.0.1:1/".parse().unwrap();
    let store = permesso::store::Store::open(&config.database).await.unwrap();
    let vault = permesso::vault::Vault::open(&config.key_file).unwrap();
    let down = permesso::app::build(elsewhere, vault, store, app.clock.clone()).unwrap();
    TestApp::deliver_by(&down).await;
    assert_eq!(app.states().await.get("planned"), Some(&1));
    app.advance(Duration::from_secs(60));
    app.deliver().await;
    assert_eq!(app.asks(&TestApp::it(1)), 1);
    down.store.close().await;
});

both!(a_refused_number_fails_and_is_not_tried_again, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.gateway.set_faults(Faults { refused_numbers: [number.clone()].into(), ..Faults::default() });
    app.send(LINK).await;
    app.advance(DAY);
    app.deliver().await;
    assert_eq!(app.states().await.get("failed"), Some(&1));
    assert_eq!(app.gateway.stats().requests, 1);
});

// Webhooks

both!(only_authentic_callbacks_are_taken, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let now = app.clock.now() / 1_000_000;
    let url = format!("{}/webhooks/mock", app.base);
    let body =
        serde_json::to_vec(&protocol::EventBatch { events: vec![inbound("e1", &number, REPLY_NUMBER, "STOP", app.clock.now())] })
            .unwrap();
    let good = protocol::sign("mock-webhook-secret", now, &body);
    let post = async |url: &str, signature: Option<&str>, kind: &str, body: &[u8]| {
        let mut request = app.http.post(url).header("content-type", kind).body(body.to_vec());
        if let Some(signature) = signature {
            request = request.header(protocol::SIGNATURE_HEADER, signature);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let json = "application/json";
    assert_eq!(post(&url, None, json, &body).await, 401);
    assert_eq!(post(&url, Some("t=1,v1=00"), json, &body).await, 403);
    assert_eq!(post(&url, Some(&protocol::sign("another secret", now, &body)), json, &body).await, 403);
    assert_eq!(post(&url, Some(&protocol::sign("mock-webhook-secret", now - 3600, &body)), json, &body).await, 403);
    assert_eq!(post(&url, Some(&good), json, &body[..body.len() - 1]).await, 403);
    assert_eq!(post(&url, Some(&good), "text/plain", &body).await, 415);
    assert_eq!(post(&format!("{}/webhooks/nobody", app.base), Some(&good), json, &body).await, 404);
    let huge = vec![b' '; 4 << 20];
    assert_eq!(post(&url, Some(&protocol::sign("mock-webhook-secret", now, &huge)), json, &huge).await, 413);
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events").await, 0);
    // Authentic, and nobody can read it: refused, and kept for the operator.
    let nonsense = b"{\"party\":true}";
    assert_eq!(post(&url, Some(&protocol::sign("mock-webhook-secret", now, nonsense)), json, nonsense).await, 400);
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events WHERE effect = 'held'").await, 1);
    for _ in 0..3 {
        assert_eq!(post(&url, Some(&good), json, &body).await, 204);
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events WHERE effect <> 'held'").await, 1);
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger").await, 1, "the same event twice is one event");
});

both!(one_neutral_acknowledgement_at_most, |app| {
    let (number, other) = (TestApp::it(1), TestApp::it(2));
    app.people(&[number.clone(), other.clone()]).await;
    app.send(LINK).await;
    for _ in 0..3 {
        app.reply(&number, REPLY_NUMBER, "STOP").await;
    }
    let acks = |number| app.inbox(number).iter().filter(|m| m.reference.starts_with("ack")).count();
    assert_eq!(acks(&number), 1);

    // A no has its own, whatever else was answered that day; the same no said again has none.
    app.submit(&app.link(&other), "chosen", &["sms.promotions"]).await;
    app.advance(Duration::from_secs(60));
    for (said, heard) in [("SI", 1), ("INFO", 1), ("NO", 2), ("NO", 2), ("STOP", 3), ("NO", 3), ("STOP", 3)] {
        app.reply(&other, REPLY_NUMBER, said).await;
        app.advance(Duration::from_secs(480));
        assert_eq!(acks(&other), heard, "{said}");
    }
});

both!(an_unclear_reply_holds_everything_until_an_operator_decides, |app| {
    let (asked, other) = (TestApp::gb(1), TestApp::gb(2));
    app.people(&[asked.clone(), other.clone()]).await;
    app.plan(REPLY).await;
    app.reply(&asked, "+447700900999", "what is this about?").await;
    app.deliver().await;
    assert_eq!((app.asks(&asked), app.asks(&other)), (0, 1));
});

both!(wrong_person_closes_the_contact_point, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(REPLY).await;
    let (from, link) = (app.inbox(&number)[0].from.clone(), app.link(&number));
    let nonce = crate::app::field(&app.get(&link).await.1, "nonce");
    app.reply(&number, &from, "wrong number").await;
    assert_eq!(app.get(&link).await.0, 410);
    assert_eq!(app.post(&link, &nonce, "chosen", &["sms.promotions"]).await, 410);
    assert!(app.granted(&number).await.is_empty());
});

// The page

both!(the_page_asks_honestly_and_keeps_its_headers, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let answer = app.http.get(app.link(&number)).send().await.unwrap();
    let header = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    assert_eq!(header("referrer-policy"), "same-origin");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("x-robots-tag"), "noindex, nofollow, noarchive");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert!(header("content-security-policy").starts_with("default-src 'none'; style-src 'self'"));
    assert!(header("strict-transport-security").starts_with("max-age="));
    let page = answer.text().await.unwrap();
    assert!(page.contains("Se non fai nulla, non permetti nulla"), "what comes of silence");
    let boxes: Vec<&str> = page.split("<input").filter(|input| input.contains("name=\"grant\"")).collect();
    let ticked = |input: &&str| input.split('>').next().is_some_and(|tag| tag.contains("checked"));
    assert!(!boxes.is_empty() && !boxes.iter().any(ticked), "nothing is ticked that was not granted");
    assert!(page.contains("lang=\"it\"") && page.contains("No a tutto"), "{page}");
    assert!(!page.contains("300000000"), "the number is masked");
    assert!(!page.contains("<script") && !page.contains("og:"));
    let (status, english) = app.get(&format!("{}/en", app.link(&number))).await;
    assert_eq!(status, 200);
    assert!(english.contains("lang=\"en\"") && english.contains("No to everything"));
});

both!(no_to_everything_needs_one_step_and_works_with_an_old_link, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let link = app.link(&number);
    app.advance(DAY * 40);
    assert_eq!(app.get(&link).await.0, 410);
    assert_eq!(app.submit(&link, "chosen", &["sms.promotions"]).await, 410);
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger").await, 0);
    // Not even a fresh form is needed.
    assert_eq!(app.post(&link, "", "none", &[]).await, 303);
    assert_eq!(app.post(&link, "", "none", &[]).await, 303);
    let story = app.story(&number).await;
    assert!(story.verdict.contains("refused"));
    assert!(story.pages.is_empty(), "no box stood on that page: {story:?}");
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger").await, 1, "sent twice, said once");
});

both!(an_unticked_box_beside_a_ticked_one_suppresses_nobody, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let link = app.link(&number);
    app.submit(&link, "chosen", &["sms.promotions", "call.promotions"]).await;
    app.advance(Duration::from_secs(60));
    app.reply(&number, REPLY_NUMBER, "si").await;
    assert_eq!(app.granted(&number).await, ["sms.promotions", "call.promotions"]);
    app.submit(&link, "chosen", &["sms.promotions"]).await;
    assert_eq!(app.granted(&number).await, ["sms.promotions"]);
    assert!(app.story(&number).await.suppressions.is_empty());
    assert!(
        app.get(&link).await.1.contains("Fatto: ciò che hai revocato non vale più, da subito. Le caselle"),
        "the page says what was done"
    );
    // Nothing ticked at all is a no, and the report does not count the consent as one that stands.
    app.submit(&link, "chosen", &[]).await;
    assert!(app.granted(&number).await.is_empty());
    let report = permesso::engine::report::campaign(&app.engine, LINK).await.unwrap();
    assert_eq!((report.confirmed, report.withdrawn, report.refused), (1, 1, 0));
    assert_eq!(report.withdrawn_by, [("person".to_owned(), 1)].into());
    assert_eq!(app.story(&number).await.suppressions.len(), 1);
});

both!(a_stopped_person_who_comes_back_by_their_own_act_is_welcome, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    app.reply(&number, REPLY_NUMBER, "STOP").await;
    app.advance(Duration::from_secs(600));
    app.submit(&app.link(&number), "chosen", &["sms.promotions"]).await;
    app.advance(Duration::from_secs(60));
    app.reply(&number, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&number).await, ["sms.promotions"]);
    let story = app.story(&number).await;
    assert!(story.suppressions[0].contains("lifted"), "{:?}", story.suppressions);
    // The STOP's callback comes once more, and another STOP said before the new yes arrives late: both were answered.
    assert_eq!(app.granted(&number).await, ["sms.promotions"]);
});

both!(importing_an_old_no_again_does_not_undo_a_fresh_yes, |app| {
    let number = TestApp::it(1);
    let no = format!("{number},,prospect,,web shop,prior_consent,form 1,2025-01-10,unticked,,CRM-1,\n");
    app.import(&no).await;
    app.send(LINK).await;
    let said = format!("{number},,prospect,,newsletter,,,,,yes,CRM-1,\n");
    app.import(&said).await;
    app.advance(Duration::from_secs(600));
    app.submit(&app.link(&number), "chosen", &["sms.promotions"]).await;
    app.advance(Duration::from_secs(60));
    app.reply(&number, REPLY_NUMBER, "SI").await;
    let live = "SELECT COUNT(*) FROM suppressions WHERE lifted_at IS NULL";
    assert_eq!((app.granted(&number).await.len(), app.count(live).await), (1, 0));
    app.import(&said).await;
    assert_eq!(app.count(live).await, 0, "the same old row");
    // It is the same under a newer key, too.
    let mut keys = std::fs::read_to_string(&app.engine.config.key_file).unwrap();
    keys.push_str(&format!("2:{}A\n", "B".repeat(42)));
    std::fs::write(&app.engine.config.key_file, keys).unwrap();
    let rotated = app.another().await;
    let again = import::contacts(&rotated, &app.dir.path().join("contacts.csv"), |_| {}).await.unwrap();
    assert_eq!((again.new, again.repeated), (0, 1), "{again:?}");
    assert_eq!((app.granted(&number).await.len(), app.count(live).await), (1, 0));
    rotated.store.close().await;
    app.import(&said.replace("newsletter", "call centre")).await;
    assert_eq!(app.count(live).await, 2, "a new row is a new no, by both hashes");
});

both!(a_list_of_noes_or_a_rejected_row_imported_again_undoes_no_fresh_yes, |app| {
    let [listed, rejected] = [1, 2].map(TestApp::it);
    app.people(&[listed.clone(), rejected.clone()]).await;
    app.send(LINK).await;
    let list = app.dir.path().join("noes.csv");
    let noes = async |engine: &permesso::engine::Engine, text: &str| {
        std::fs::write(&list, text).unwrap();
        import::suppressions(engine, &list, |_| {}).await.unwrap()
    };
    let (old, wrong) = (format!("number,unsubscribed\n{listed},\n"), crate::humans::rejected(2, "", "yes"));
    assert_eq!(noes(&app.engine, &old).await.new, 1);
    assert_eq!(app.import(&wrong).await.unsubscribed, 1);
    for number in [&listed, &rejected] {
        app.advance(Duration::from_secs(600));
        app.submit(&app.link(number), "chosen", &["sms.promotions"]).await;
        app.advance(Duration::from_secs(60));
        app.reply(number, REPLY_NUMBER, "SI").await;
        assert_eq!(app.granted(number).await, ["sms.promotions"]);
    }
    let live = "SELECT COUNT(*) FROM suppressions WHERE lifted_at IS NULL";
    // The same again, under a newer key too, and it is said what stands.
    let mut keys = std::fs::read_to_string(&app.engine.config.key_file).unwrap();
    keys.push_str(&format!("2:{}A\n", "B".repeat(42)));
    std::fs::write(&app.engine.config.key_file, keys).unwrap();
    let rotated = app.another().await;
    for engine in [&app.engine, &rotated] {
        let again = noes(engine, &old).await;
        assert_eq!((again.rows, again.new, again.repeated, again.answered), (1, 0, 0, 1), "{again:?}");
        let again = import::contacts(engine, &app.dir.path().join("contacts.csv"), |_| {}).await.unwrap();
        assert_eq!((again.rejected, again.unsubscribed, again.answered), (1, 1, 1), "{again:?}");
        assert_eq!(app.count(live).await, 0);
    }
    rotated.store.close().await;
    let (code, out, err) = crate::run::ask(app.dir.path(), &["import", "suppressions", list.to_str().unwrap()]).await;
    assert!(code == 0 && out.contains("1 row known already says a no that its person has answered by a yes since"), "{out}{err}");
    for number in [&listed, &rejected] {
        assert_eq!(app.granted(number).await, ["sms.promotions"]);
    }
    // With a day it is another row, and so is whatever else differs: a new no.
    assert_eq!(noes(&app.engine, &old.replace(",\n", ",2026-11-30\n")).await.new, 1);
    app.import(&wrong.replace("web shop", "call centre")).await;
    for number in [&listed, &rejected] {
        assert!(app.granted(number).await.is_empty(), "{number}");
    }
});

both!(a_first_yes_without_its_second_step_expires, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    app.submit(&app.link(&number), "chosen", &["sms.promotions"]).await;
    app.advance(DAY * 8);
    assert_eq!(expire::expire(&app.engine).await.unwrap(), 1);
    app.reply(&number, REPLY_NUMBER, "SI").await;
    assert!(app.granted(&number).await.is_empty());
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'expired'").await, 1);
});

both!(forged_and_foreign_forms_are_refused, |app| {
    let (mine, yours) = (TestApp::it(1), TestApp::it(2));
    app.people(&[mine.clone(), yours.clone()]).await;
    app.send(LINK).await;
    let (link, other) = (app.link(&mine), app.link(&yours));
    let (_, page) = app.get(&link).await;
    let nonce = page.split("name=\"nonce\" value=\"").nth(1).and_then(|r| r.split('"').next()).unwrap().to_owned();
    assert_eq!(app.post(&other, &nonce, "chosen", &["sms.promotions"]).await, 409, "the nonce belongs to its token");
    assert_eq!(app.post(&link, &nonce, "maybe", &[]).await, 400);
    let form = format!("nonce={nonce}&answer=chosen&grant=sms.promotions");
    let send = async |headers: &[(&str, &str)]| {
        let mut request = app.http.post(&link).header("content-type", "application/x-www-form-urlencoded").body(form.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let (base, evil) = (app.base.as_str(), "https://evil.example");
    let longer = format!("{base}.evil.example/p/x");
    for foreign in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "cross-site"), ("origin", base), ("referer", &link)],
        &[("origin", evil)],
        &[("origin", "null"), ("referer", &link)],
        &[("referer", "https://evil.example/form")],
        &[("referer", &longer)],
        &[("referer", "/p/x")],
        &[],
    ] {
        assert_eq!(send(foreign).await, 403, "{foreign:?}");
    }
    // Whoever is refused learns why, and what to do, in the language of the page.
    for lang in Lang::ALL {
        let request =
            app.http.post(format!("{link}/{}", lang.code())).header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(form.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 403);
        let page = answer.text().await.unwrap();
        for part in
            [lang.t().bad_origin.as_str(), REPLY_NUMBER, "STOP", &format!("href=\"/p/{}\"", link.rsplit('/').next().unwrap())]
        {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger").await, 0);
    assert_eq!(send(&[("origin", base)]).await, 303);
    // An old phone's browser names only the page.
    assert_eq!(send(&[("referer", &link)]).await, 303);
    // Unknown and malformed tokens get the same answer, and are limited by address; known ones never are.
    let (status, unknown) = app.get(&format!("{}/p/AAAAAAAAAAAAAAAAAAAAAA", app.base)).await;
    let (same, malformed) = app.get(&format!("{}/p/%00..%2f", app.base)).await;
    assert_eq!((status, same), (404, 404));
    assert_eq!(unknown, malformed);
    too_many(async || app.get(&format!("{}/p/AAAAAAAAAAAAAAAAAAAAAA", app.base)).await.0).await;
    assert_eq!(app.get(&link).await.0, 200);
});

// The operator's door

both!(the_operator_sees_the_campaign, |app| {
    app.people(&[TestApp::it(1), TestApp::it(2)]).await;
    app.import(&format!("{},,prospect,,web shop,,,,,,,\n", TestApp::it(3))).await;
    app.send(LINK).await;
    let (status, page) = app.get(&format!("{}/campaigns/{LINK}", app.operator)).await;
    assert_eq!(status, 200);
    assert!(page.contains("<svg") && page.contains("NO_ASK_BASIS"), "{page}");
    assert_eq!(app.get(&format!("{}/", app.operator)).await.0, 200);
    let (_, json) = app.get(&format!("{}/api/v1/campaigns/{LINK}", app.operator)).await;
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["targeted"], &report["eligible"]), (&3.into(), &2.into()));
    let (status, metrics) = app.get(&format!("{}/metrics", app.operator)).await;
    assert_eq!(status, 200);
    assert!(metrics.contains("permesso_messages{kind=\"ask\",state=\"delivered\"} 2"), "{metrics}");
    assert_eq!(app.get(&format!("{}/readyz", app.operator)).await.0, 200);
    assert_eq!(app.get(&format!("{}/healthz", app.base)).await.0, 200);
    // The public door knows nothing of it.
    for path in ["/readyz", "/metrics", "/api/v1/overview"] {
        assert_eq!(app.get(&format!("{}{path}", app.base)).await.0, 404);
    }
});
