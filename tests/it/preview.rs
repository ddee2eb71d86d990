//! What a campaign would say, cost and take; the budget that is never overspent; the test message.

use permesso::clock::SECOND;
use permesso::domain::answer::By;
use permesso::domain::campaign::{Campaign, CampaignState};
use permesso::domain::channel::Channel;
use permesso::domain::money::Money;
use permesso::domain::suppression::Reason;
use permesso::engine::{consents, expire, finish, hand, plan, report, trial};
use permesso::gateway::mock::faults::Faults;
use permesso::store::suppressions;

use crate::app::{LINK, TestApp};
use crate::both;
use crate::run::ask;

/// The Italian ask of the shipped campaign fills two parts of 0.052 EUR.
const ONE: &str = "0.104 EUR";

fn money(text: &str) -> Money {
    Money::parse(text).expect("an amount")
}

fn budget(max: &str) -> impl FnOnce(&mut Campaign) {
    let max = money(max);
    move |campaign| campaign.limits.max_cost = Some(max)
}

async fn spending(app: &TestApp) -> permesso::engine::budget::Spending {
    report::campaign(&app.engine, LINK).await.expect("a report").cost.expect("a price is known")
}

fn everybody(n: u32) -> Vec<String> {
    (1..=n).map(TestApp::it).collect()
}

/// What is reserved is what the attempts say, to the last millionth.
async fn books_agree(app: &TestApp) {
    let attempts = app.count("SELECT CAST(COALESCE(SUM(cost), 0) AS BIGINT) FROM attempts").await;
    assert_eq!(app.count("SELECT CAST(SUM(reserved) AS BIGINT) FROM campaigns").await, attempts);
}

// Budget

both!(a_budget_is_reserved_to_the_last_millionth_and_pauses_with_a_reason, |app| {
    app.people(&everybody(10)).await;
    // Ten asks cost 1.04; three and a half are covered.
    let id = app.plan_as(LINK, budget("0.364 EUR")).await;
    app.deliver().await;
    assert_eq!(app.gateway.stats().accepted, 3);
    let row = app.campaign(id).await;
    assert_eq!(row.state(), CampaignState::Paused);
    let reason = row.reason.unwrap();
    assert!(
        reason.starts_with("budget: 0.312 EUR of 0.364 EUR are reserved and the next message may cost 0.104 EUR"),
        "{reason}"
    );
    assert!(reason.contains("raise limits.max_cost"), "{reason}");
    assert_eq!(app.states().await.get("planned"), Some(&7));
    let cost = spending(app).await;
    assert_eq!((cost.reserved, cost.accepted, cost.open), (money("0.312 EUR"), money("0.312 EUR"), money("0 EUR")));
    books_agree(app).await;

    // A resume alone is refused, with the remedy, and changes nothing; raised, planned and started again, it goes on.
    let refused = plan::set_state(&app.engine, LINK, CampaignState::Running).await.unwrap_err().to_string();
    let why = "0.312 EUR of 0.364 EUR are reserved, and the cheapest message that waits may cost 0.104 EUR; remedy: raise limits.max_cost";
    assert!(refused.contains(why), "{refused}");
    assert_eq!(app.campaign(id).await.state(), CampaignState::Paused);
    app.deliver().await;
    assert_eq!(app.gateway.stats().accepted, 3);
    app.plan_as(LINK, budget("1.04 EUR")).await;
    app.deliver().await;
    assert_eq!(app.gateway.stats().accepted, 10);
    assert_eq!(app.campaign(id).await.state(), CampaignState::Running);
    assert_eq!(spending(app).await.reserved, money("1.04 EUR"));
    books_agree(app).await;
});

both!(what_is_proved_not_accepted_gives_its_reserve_back_and_what_is_unknown_keeps_it, |app| {
    app.people(&everybody(4)).await;
    app.gateway.set_faults(Faults { throttle: 1.0, ..Faults::default() });
    app.plan_as(LINK, budget("0.416 EUR")).await;
    app.deliver().await;
    assert_eq!((app.gateway.stats().accepted, spending(app).await.reserved), (0, money("0 EUR")));
    books_agree(app).await;
    // Throttled again and again, each try reserves anew and gives back: the budget is that of four messages all the same.
    for _ in 0..3 {
        app.clock.advance(120 * SECOND);
        app.deliver().await;
    }
    books_agree(app).await;
    app.gateway.set_faults(Faults { reset_before_accept: 1.0, ..Faults::default() });
    app.clock.advance(120 * SECOND);
    app.deliver().await;
    let cost = spending(app).await;
    let unknown = app.count("SELECT COUNT(*) FROM messages WHERE state = 'unknown'").await;
    assert!(unknown > 0);
    assert_eq!(cost.open, money(ONE).times(unknown.unsigned_abs()), "an unknown send may cost");
    assert_eq!((cost.reserved, cost.accepted), (cost.open, money("0 EUR")));
    books_agree(app).await;
});

both!(two_workers_never_overspend_one_budget, |app| {
    app.people(&everybody(60)).await;
    let id = app.plan_as(LINK, budget("3.12 EUR")).await;
    // Thirty of sixty are covered, in bad weather, by two workers at once.
    app.gateway.set_faults(Faults { throttle: 0.3, accept_then_reset: 0.05, seed: 5, ..Faults::default() });
    let second = app.another().await;
    for _ in 0..6 {
        tokio::join!(TestApp::deliver_by(&app.engine), TestApp::deliver_by(&second));
        app.clock.advance(60 * SECOND);
        if app.campaign(id).await.state() == CampaignState::Paused {
            app.gateway.set_faults(Faults::default());
            // Refused as long as nothing was given back.
            _ = plan::set_state(&app.engine, LINK, CampaignState::Running).await;
        }
    }
    app.gateway.idle().await;
    let cost = spending(app).await;
    assert!(cost.reserved.micros <= money("3.12 EUR").micros, "{cost:?}");
    let took = app.gateway.log().iter().filter(|m| m.reference.starts_with("ask")).count() as u64;
    assert!(money(ONE).times(took).micros <= cost.reserved.micros, "{took} taken, {cost:?}");
    assert!(took >= 25, "{took}: what is given back is spent on others");
    books_agree(app).await;
    second.store.close().await;
});

both!(answers_go_out_when_the_budget_is_used_up, |app| {
    app.people(&everybody(2)).await;
    app.plan_as(LINK, budget(ONE)).await;
    app.deliver().await;
    let asked = everybody(2).into_iter().find(|n| app.asks(n) == 1).unwrap();
    app.reply(&asked, crate::app::REPLY_NUMBER, "STOP").await;
    assert!(app.inbox(&asked).iter().any(|m| m.reference.starts_with("ack")), "a STOP is acknowledged");
    assert_eq!(spending(app).await.reserved, money(ONE));
});

both!(a_plan_reckons_the_worst_case_exactly, |app| {
    app.people(&everybody(3)).await;
    app.import(&TestApp::good("+48499000001")).await;
    let mut campaign = app.engine.config.campaign(LINK).unwrap();
    let counts = plan::preview(&app.engine, &campaign, |_| {}).await.unwrap();
    assert_eq!((counts.eligible, counts.parts), (4, 8));
    // Three Italians at 2 × 0.052 and a Pole at 2 × 0.023; the reminder is the same text again.
    let expected = Some(money("0.358 EUR"));
    assert_eq!((counts.cost.asks, counts.cost.reminders), (expected, expected));
    assert!(counts.cost.unpriced.is_empty());
    campaign.prices.retain(|p| p.country != "PL");
    let counts = plan::preview(&app.engine, &campaign, |_| {}).await.unwrap();
    assert_eq!(counts.cost.asks, Some(money("0.312 EUR")));
    assert_eq!(counts.cost.unpriced.get("PL"), Some(&1));
});

// Finish time

both!(the_finish_is_reckoned_over_a_weekend_a_holiday_and_a_change_of_the_clocks, |app| {
    let at = |local: &str| {
        let local = chrono::NaiveDateTime::parse_from_str(local, "%Y-%m-%d %H:%M").unwrap();
        chrono::TimeZone::from_local_datetime(&chrono_tz::Europe::Rome, &local).unwrap().to_utc()
    };
    let mut campaign = app.engine.config.campaign(LINK).unwrap();
    campaign.limits.rate = 1.0;
    let mut ends = |start: &str, deadline: &str, places: &[(&str, u64)]| {
        (campaign.start, campaign.deadline) = (at(start), at(deadline));
        let places = places.iter().map(|(place, people)| ((*place).to_owned(), *people)).collect();
        finish::estimate(&app.engine, &campaign, &places)
    };
    // Monday to Friday 9 to 20 is 39,600 s, Saturday 10 to 19 is 32,400 s. Saturday, Sunday, Monday, then the Immaculate
    // Conception (Tuesday, 8 December 2026) is off.
    let found = ends("2026-12-05 10:00", "2026-12-20 20:00", &[("IT", 32_400 + 39_600 + 600)]);
    assert_eq!((found.last_ask, found.lapse, found.rate_needed), (Some(at("2026-12-09 09:10")), 0, None));
    // Over the night of 28 March 2027, when the clocks go forward; Easter Monday, 29 March, is off.
    let found = ends("2027-03-27 18:00", "2027-04-10 20:00", &[("IT", 3600 + 60)]);
    assert_eq!(found.last_ask, Some(at("2027-03-30 09:01")));
    // Known zones have their own hours: the Canaries open an hour later than Madrid, and close later too.
    let found = ends("2026-12-01 19:59", "2026-12-20 20:00", &[("ES Atlantic/Canary", 10)]);
    assert_eq!(found.last_ask.unwrap() - at("2026-12-01 19:59"), chrono::TimeDelta::seconds(10));
    // Two places share the rate while both are open.
    let found = ends("2026-12-02 09:00", "2026-12-20 20:00", &[("IT", 1800), ("PL", 1800)]);
    assert_eq!(found.last_ask, Some(at("2026-12-02 10:00")));
    // The deadline comes first: half of them lapse, and twice the rate would do.
    let found = ends("2026-12-02 09:00", "2026-12-02 10:00", &[("IT", 7200)]);
    assert_eq!((found.last_ask, found.lapse, found.rate_needed), (Some(at("2026-12-02 10:00")), 3600, Some(2.0)));
    let found = ends("2026-12-05 19:30", "2026-12-06 20:00", &[("IT", 5)]);
    assert_eq!(
        (found.last_ask, found.lapse, found.rate_needed),
        (None, 5, None),
        "Saturday evening and Sunday: no rate would do"
    );
    assert_eq!(ends("2026-12-02 09:00", "2026-12-20 20:00", &[]).last_ask, None);
});

// Test messages

const TESTER: &str = "+393001234500";

async fn test_to(app: &TestApp, number: &str) -> anyhow::Result<trial::Planned> {
    let campaign = app.engine.config.campaign(LINK).unwrap();
    trial::plan(&app.engine, &campaign, &TestApp::number(number), None, None).await
}

both!(a_tester_gets_the_real_ask_and_counts_nowhere, |app| {
    // Neither planned nor started, and nobody imported.
    let planned = test_to(app, TESTER).await.unwrap();
    assert_eq!(planned.waits_until, None);
    app.deliver().await;
    app.gateway.idle().await;
    let got = app.inbox(TESTER);
    assert_eq!(got.len(), 1);
    assert!(got[0].reference.starts_with("tst") && got[0].from == "ACME", "{got:?}");
    let real = app.engine.config.campaign(LINK).unwrap().asks[0].texts["it"].clone();
    let (before, after) = real.split_once("{{ link }}").unwrap();
    let opening = before.replace("{{ brand }}", "ACME").replace("{{ reply_number }}", crate::app::REPLY_NUMBER);
    assert!(got[0].text.starts_with(&opening) && got[0].text.ends_with(after), "{}", got[0].text);
    assert_eq!(trial::outcome(&app.engine, planned.message).await.unwrap().0, "delivered");
    assert_eq!(app.count("SELECT COUNT(*) FROM asked_marks").await, 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations").await, 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM campaigns").await, 0);

    // A second one is sent too; and the campaign that starts afterwards does not see the tester.
    test_to(app, TESTER).await.unwrap();
    app.people(&[TestApp::it(1)]).await;
    let id = app.plan(LINK).await;
    app.deliver().await;
    app.gateway.idle().await;
    assert_eq!((app.inbox(TESTER).len(), app.asks(TESTER), app.asks(&TestApp::it(1))), (2, 0, 1));
    let report = report::campaign(&app.engine, LINK).await.unwrap();
    assert_eq!((report.targeted, report.asked, report.answers.len()), (1, 1, 0));
    assert_eq!(app.campaign(id).await.reserved, money(ONE).micros, "a test costs no budget");
});

both!(a_tester_who_was_erased_comes_back_like_anybody, |app| {
    // An earlier version made them a contact by a test after the erasure.
    test_to(app, TESTER).await.unwrap();
    app.settle().await;
    let (keyed, now) = (app.engine.vault.keyed_all(&TestApp::number(TESTER)), app.engine.now());
    let mut tx = app.engine.store.write().await.unwrap();
    suppressions::suppress(&mut tx, &app.engine.controller, &keyed, Reason::Erased, By::Operator, now, now).await.unwrap();
    tx.commit().await.unwrap();
    assert!(test_to(app, TESTER).await.is_err());
    app.advance(std::time::Duration::from_secs(86_400));
    let page = crate::back::back(app, TESTER).await;
    assert!(app.get(&page).await.1.contains(crate::back::LETTER), "where the number comes from");
    crate::back::comes_back(app, TESTER).await;
    let matrix = consents::matrix(&app.engine, &consents::Filter::default()).await.unwrap();
    assert_eq!(matrix.contacts, 1, "they count from here on: {matrix:?}");
    test_to(app, TESTER).await.expect("and get a test again");
});

both!(nobody_but_a_tester_gets_a_test_message, |app| {
    let refused = test_to(app, &TestApp::it(1)).await.unwrap_err().to_string();
    assert!(refused.contains("only numbers in `testers`") && !refused.contains("0000001"), "{refused}");
    // Taken off the list after the message was planned: the claim asks again.
    let planned = test_to(app, TESTER).await.unwrap();
    let mut config = app.engine.config.clone();
    config.testers.clear();
    let vault = permesso::vault::Vault::open(&config.key_file).unwrap();
    let store = permesso::store::Store::open(&config.database).await.unwrap();
    let other = permesso::app::build(config, vault, store, app.clock.clone()).unwrap();
    TestApp::deliver_by(&other).await;
    assert_eq!(app.inbox(TESTER).len(), 0);
    let outcome = trial::outcome(&app.engine, planned.message).await.unwrap();
    assert_eq!(outcome, ("cancelled".to_owned(), Some("NOT_A_TESTER".to_owned())));
    other.store.close().await;
});

both!(a_test_message_keeps_quiet_hours_and_grows_stale, |app| {
    // Saturday, 5 December 2026, 19:30: shut until Monday at nine.
    app.advance(std::time::Duration::from_secs(4 * 86_400 + 8 * 3600 + 45 * 60));
    let planned = test_to(app, TESTER).await.unwrap();
    let opens = planned.waits_until.unwrap();
    assert_eq!(permesso::clock::instant(opens).to_rfc3339(), "2026-12-07T08:00:00+00:00");
    app.deliver().await;
    assert_eq!(app.inbox(TESTER).len(), 0);
    app.clock.advance(opens - app.engine.now());
    app.deliver().await;
    assert_eq!(app.inbox(TESTER).len(), 1);
    // One that no worker took within the hour lapses.
    let planned = test_to(app, TESTER).await.unwrap();
    app.advance(std::time::Duration::from_secs(3601));
    expire::expire(&app.engine).await.unwrap();
    app.deliver().await;
    assert_eq!(app.inbox(TESTER).len(), 1);
    assert_eq!(trial::outcome(&app.engine, planned.message).await.unwrap().0, "lapsed");
});

both!(the_page_behind_a_test_message_shows_itself_and_takes_nothing, |app| {
    // The tester is in the list too, was asked, and has said no.
    app.people(&[TESTER.to_owned()]).await;
    app.send(LINK).await;
    app.reply(TESTER, crate::app::REPLY_NUMBER, "NO").await;
    let before = app.story(TESTER).await;
    // Only numbers in [testers]: an unsubscribed colleague still gets what they test.
    test_to(app, TESTER).await.unwrap();
    app.deliver().await;
    app.gateway.idle().await;
    let message = app.inbox(TESTER).into_iter().find(|m| m.reference.starts_with("tst")).unwrap();
    let link = message.text.split_whitespace().find(|w| w.starts_with("http")).unwrap().trim_end_matches('.').to_owned();
    let (status, page) = app.get(&link).await;
    assert_eq!(status, 200);
    assert!(page.contains("Messaggio di prova") && page.contains("class=\"banner test\""), "{page}");
    assert_eq!(app.submit(&link, "chosen", &["sms.promotions"]).await, 303);
    assert_eq!(app.submit(&link, "none", &[]).await, 303);
    app.reply(TESTER, crate::app::REPLY_NUMBER, "SI").await;
    let after = app.story(TESTER).await;
    assert_eq!(
        (&after.ledger, &after.suppressions, &after.preferences),
        (&before.ledger, &before.suppressions, &before.preferences)
    );
    assert_eq!(app.granted(TESTER).await, Vec::<String>::new());

    // A STOP from the tester's phone is a STOP all the same.
    app.reply(TESTER, crate::app::REPLY_NUMBER, "STOP").await;
    assert!(app.story(TESTER).await.suppressions.len() > before.suppressions.len());
});

both!(a_test_brings_nobody_back_who_was_erased, |app| {
    test_to(app, TESTER).await.unwrap();
    crate::erasure::erase(app, TESTER).await;
    let known = "SELECT COUNT(*) FROM contacts WHERE number_enc <> ''";
    for asked_back in [None, Some("letter of 2026-12-01")] {
        if asked_back.is_some() {
            // Nor does one go out before they have chosen on the page that was handed over.
            hand::link(&app.engine, &TestApp::number(TESTER), "ann", asked_back).await.unwrap();
        }
        let refused = test_to(app, TESTER).await.unwrap_err().to_string();
        assert!(refused.contains("was erased") && refused.contains("remedy: test with another number of `testers`"), "{refused}");
        assert_eq!(app.count(known).await, i64::from(asked_back.is_some()));
    }
    app.settle().await;
    assert!(app.inbox(TESTER).is_empty(), "what was planned before the erasure went with it");
});

both!(a_test_names_what_it_cannot_send, |app| {
    let campaign = app.engine.config.campaign(LINK).unwrap();
    let tester = TestApp::number(TESTER);
    for (channel, locale, expected) in [
        (Some(Channel::WhatsApp), None, "does not ask there; remedy: write --channel sms"),
        (None, Some("pt"), "no text in `pt`; remedy: write --locale with one of de, en, es, fr, it, pl"),
    ] {
        let refused = trial::plan(&app.engine, &campaign, &tester, channel, locale).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    // Where the campaign asks nobody, a tester still can be written to, in the hours of their country.
    let mut elsewhere = campaign.clone();
    elsewhere.packs.remove("IT");
    elsewhere.countries.retain(|country| country != "IT");
    trial::plan(&app.engine, &elsewhere, &tester, Some(Channel::Sms), Some("pl")).await.unwrap();
    app.deliver().await;
    assert!(app.inbox(TESTER)[0].text.contains("czy mozemy"));
});

both!(the_desk_shows_what_a_campaign_says_and_what_is_wrong_with_it, |app| {
    let (status, page) = app.get(&format!("{}/campaigns/{LINK}/preview", app.operator)).await;
    assert_eq!(status, 200);
    assert!(page.contains("hai lasciato il tuo numero") && page.contains("2 parts") && page.contains("IT 0.104 EUR"), "{page}");
    let (status, json) = app.get(&format!("{}/api/v1/campaigns/{LINK}/preview", app.operator)).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let ask = json["messages"].as_array().unwrap().iter().find(|m| m["kinds"][0] == "ask" && m["locale"] == "it").unwrap();
    assert_eq!((status, &ask["cost"]["IT"], &ask["sms"]["parts"]), (200, &"0.104 EUR".into(), &2.into()));
    // The file as it stands now, and what is wrong with it.
    let file = app.engine.config.dir.join("campaigns").join(format!("{LINK}.toml"));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("deadline = ", "dead_line = ")).unwrap();
    let (status, page) = app.get(&format!("{}/campaigns/{LINK}/preview", app.operator)).await;
    assert!(status == 422 && page.contains("did you mean `deadline`?"), "{page}");
    assert_eq!(app.get(&format!("{}/campaigns/none/preview", app.operator)).await.0, 404);
});

// What is wrong

#[tokio::test]
async fn what_is_wrong_with_the_settings_hides_nothing_that_is_wrong_with_a_campaign() {
    let mut app = TestApp::new(crate::app::Kind::Sqlite).await;
    let dir = app.dir.path().to_owned();
    let (brand, storage) = ("brand_color = \"#1f4e79\"", "storage = \"Milano, Italia (UE)\"\n");
    let test = ["campaign", "test", LINK, "--to", "+393001234500"];
    // The notice lacks something: nobody is asked so, and a colleague may look all the same.
    crate::notices::edit(&app, storage, "");
    let (code, _, err) = ask(&dir, &test).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(ask(&dir, &["campaign", "preview", LINK]).await.0, 0);
    crate::notices::edit(&app, brand, "brand_color = \"#ffff00\"");
    let file = dir.join(format!("config/campaigns/{LINK}.toml"));
    let text = std::fs::read_to_string(&file).expect("the campaign");
    std::fs::write(&file, text.replace("reminder_after = \"7 days\"", "reminder_after = \"30 days\"")).expect("written");
    for args in [&["campaign", "preview", LINK][..], &["campaign", "plan", LINK], &test] {
        let (code, out, err) = ask(&dir, args).await;
        assert_eq!((code, err.lines().count()), (1, 3), "{args:?}: {err}");
        for what in ["controller.brand_color: ", "controller.storage: is missing", "schedule.reminder_after: the deadline"] {
            assert!(err.contains(what), "{args:?}: {err}");
        }
        assert_eq!(out.contains("ACME"), args[1] == "preview", "{out}");
        let (_, out, _) = ask(&dir, &[&["--json"], args].concat()).await;
        let told: serde_json::Value = serde_json::from_str(&out).expect("one JSON object");
        assert_eq!(told["errors"].as_array().map(Vec::len), Some(3), "{out}");
    }
    app.end().await;
}
