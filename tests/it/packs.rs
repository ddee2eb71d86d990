//! The countries' rules at work: reviews that run out, bases that age, senders, trades, opposition registers.

use std::process::Command;
use std::time::Duration;

use permesso::domain::campaign::{Campaign, RegistrationState};
use permesso::domain::country::Source;
use permesso::engine::{import, report, screening};

use crate::app::{LINK, REPLY, REPLY_NUMBER, TestApp};
use crate::both;
use crate::promises::inbound;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);
const HEADER: &str = "number,kind,last_action,source,ask_basis,basis_evidence,basis_date,box_default,soft_opt_in_conditions\n";

/// A row of a prospect with this basis, its date, how the box stood and the conditions.
fn row(number: &str, basis: &str, date: &str, rest: &str) -> String {
    format!("{number},prospect,,web shop,{basis},form 1,{date},{rest}\n")
}

async fn import_rows(app: &TestApp, rows: &[String]) {
    let summary = app.import_file(&format!("{HEADER}{}", rows.concat())).await;
    assert_eq!(summary.rejected, 0, "{summary:?}");
}

/// The campaign as if written for the clock's day.
fn from_today(app: &TestApp, campaign: &mut Campaign) {
    campaign.start = app.clock.date_time();
    campaign.deadline = campaign.start + chrono::Duration::days(19);
}

/// Why the first campaign that decided about this person did (not) contact them.
async fn verdict(app: &TestApp, number: &str) -> String {
    let verdict = app.story(number).await.verdict;
    verdict.rsplit('(').next().and_then(|rest| rest.strip_suffix(").")).unwrap_or(&verdict).to_owned()
}

/// A command as a process of its own, on the test's clock and database: exit code and what it printed.
async fn permesso(app: &TestApp, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_permesso"));
    command.arg("--config").arg(app.dir.path().join("config")).args(args).env_remove("RUST_LOG");
    command.env("PERMESSO_CLOCK", app.clock.date_time().to_rfc3339());
    let done = tokio::process::Command::from(command).output().await.expect("permesso");
    let printed = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    (done.status.code().unwrap_or(-1), printed)
}

/// Takes in a register's answer: numbers with their day of registration.
pub async fn screen(app: &TestApp, register: &str, rows: &str) -> anyhow::Result<import::Summary> {
    let file = app.dir.path().join("screening.csv");
    std::fs::write(&file, format!("number,registered_since\n{rows}")).expect("written");
    screening::import(&app.engine, &file, register, app.engine.now(), rows.is_empty(), |_| {}).await
}

/// The person's own yes to calls, by page and reply.
async fn allow_calls(app: &TestApp, number: &str) {
    app.submit(&app.link(number), "chosen", &["call.promotions"]).await;
    app.advance(Duration::from_secs(60));
    app.reply(number, REPLY_NUMBER, "SI").await;
    assert!(app.granted(number).await.contains(&"call.promotions".to_owned()));
}

/// (state, screened, release) of this number's consents for calls, as exported.
async fn exported(app: &TestApp, number: &str, since: &str) -> Vec<(String, bool, String)> {
    let (code, csv) = permesso(app, &["consents", "export", "--since", since]).await;
    assert_eq!(code, 0, "{csv}");
    let mut csv = csv::Reader::from_reader(csv.as_bytes());
    let calls = csv.records().map(Result::unwrap).filter(|c| &c[0] == number && &c[3] == "call");
    calls.map(|c| (c[5].to_owned(), !c[14].is_empty(), c[15].to_owned())).collect()
}

both!(a_stale_rule_warns_and_then_blocks, |app| {
    let (early, late) = (TestApp::it(1), TestApp::it(2));
    import_rows(
        app,
        &[row(&early, "prior_consent", "2026-11-30", "unticked,"), row(&late, "prior_consent", "2026-11-30", "unticked,")],
    )
    .await;
    assert_eq!(report::overview(&app.engine).await.unwrap().warnings, Vec::<String>::new());
    assert!(!permesso(app, &["config", "check"]).await.1.contains("warning"));

    // 59 days before the oldest review is a year old: it warns everywhere, and people are still asked.
    app.advance(DAY * 277);
    assert_eq!(app.clock.date_time().date_naive().to_string(), "2027-09-04");
    app.advance(DAY * 3);
    let warning = "last reviewed on 2026-11-02: in 56 days nobody there is asked any more";
    let warnings = report::overview(&app.engine).await.unwrap().warnings;
    assert!(warnings.iter().any(|w| w.contains(warning) && w.contains("IT [hours]")), "{warnings:#?}");
    assert!(app.get(&format!("{}/", app.operator)).await.1.contains(&warnings[0]), "the operator's page says it too");
    for args in [&["config", "check"][..], &["campaign", "check", LINK], &["campaign", "plan", LINK]] {
        let (code, said) = permesso(app, args).await;
        assert!(code == 0 && said.contains("warning: ") && said.contains(warning), "{args:?}: {said}");
    }
    let (_, json) = permesso(app, &["--json", "campaign", "plan", LINK]).await;
    let plan: serde_json::Value = serde_json::from_str(json.trim()).expect("JSON");
    assert!(plan["warnings"].as_array().unwrap().iter().any(|w| w.as_str().unwrap().contains(warning)), "{plan}");
    app.plan_as(LINK, |campaign| from_today(app, campaign)).await;
    app.deliver().await;
    assert_eq!((app.asks(&early), app.asks(&late)), (1, 1));

    // One younger rule does not save an old one.
    let third = TestApp::it(3);
    app.advance(DAY * 57);
    assert_eq!(app.clock.date_time().date_naive().to_string(), "2027-11-03");
    import_rows(app, &[row(&third, "prior_consent", "2027-10-30", "unticked,")]).await;
    app.plan_as(LINK, |campaign| from_today(app, campaign)).await;
    app.deliver().await;
    assert_eq!((app.asks(&third), verdict(app, &third).await), (0, "PACK_STALE".into()));
    let warnings = report::overview(&app.engine).await.unwrap().warnings;
    assert!(warnings.iter().any(|w| w.contains("too long ago: nobody there is asked")), "{warnings:#?}");
    assert!(warnings.iter().any(|w| w.starts_with(&format!("campaign {LINK}, as frozen: "))), "{warnings:#?}");
});

both!(a_pack_that_goes_stale_after_the_plan_stops_the_claim, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.plan_as(LINK, |campaign| {
        let italy = campaign.packs.get_mut("IT").unwrap();
        // The last day on which this review holds.
        italy.hours.source.reviewed = "2025-12-01".parse().unwrap();
    })
    .await;
    app.advance(DAY);
    app.deliver().await;
    assert_eq!((app.asks(&number), verdict(app, &number).await), (0, "PACK_STALE".into()));
});

both!(a_soft_opt_in_counts_with_all_four_conditions_and_only_where_the_law_knows_it, |app| {
    let n: Vec<String> = (1..6).map(TestApp::gb).collect();
    let all = "sale similar+opt_out_then|opt_out_since";
    import_rows(
        app,
        &[
            row(&n[0], "soft_opt_in", "2026-01-10", &format!(",{all}")),
            row(&n[1], "soft_opt_in", "2026-01-10", ",sale similar opt_out_then"),
            row(&n[2], "soft_opt_in", "2026-01-10", ","),
            row(&TestApp::it(1), "soft_opt_in", "2026-01-10", &format!(",{all}")),
        ],
    )
    .await;
    app.send(REPLY).await;
    assert_eq!([app.asks(&n[0]), app.asks(&n[1]), app.asks(&n[2])], [1, 0, 0]);
    assert_eq!(
        (verdict(app, &n[1]).await, verdict(app, &n[2]).await),
        ("CONDITIONS_MISSING".into(), "CONDITIONS_MISSING".into())
    );
    app.send(LINK).await;
    assert_eq!((app.asks(&TestApp::it(1)), verdict(app, &TestApp::it(1)).await), (0, "NO_ASK_BASIS".into()));
    let rejected = app.import_file(&format!("{HEADER}{}", row(&n[3], "soft_opt_in", "2026-01-10", ",sold"))).await;
    let reason = rejected.rejected_by_reason.keys().next().cloned().unwrap_or_default();
    assert_eq!(reason, "soft_opt_in_conditions: names something else than sale, similar, opt_out_then, opt_out_since");
});

both!(a_consent_is_refreshed_while_it_is_valid_and_never_revived, |app| {
    let (valid, expired) = (TestApp::it(1), TestApp::it(2));
    import_rows(
        app,
        &[row(&valid, "prior_consent", "2024-12-01", "unticked,"), row(&expired, "prior_consent", "2024-11-30", "unticked,")],
    )
    .await;
    app.send(LINK).await;
    assert_eq!((app.asks(&valid), app.asks(&expired)), (1, 0));
    assert_eq!(verdict(app, &expired).await, "BASIS_EXPIRED");
    // The reminder is an ask too.
    app.advance(DAY * 8);
    permesso::engine::expire::expire(&app.engine).await.unwrap();
    app.deliver().await;
    assert_eq!(app.inbox(&valid).len(), 1, "eight days later the consent is too old to be reminded of");
});

both!(nobody_is_asked_where_no_pack_governs_plus_one_least_of_all, |app| {
    let (american, canadian, german) = ("+12015550123", "+16135550123", "+491713920001");
    // Overseas France has codes of its own.
    let guadeloupean = "+590690123456";
    let rows: Vec<String> =
        [american, canadian, german, guadeloupean].map(|n| row(n, "prior_consent", "2026-01-10", "unticked,")).into();
    import_rows(app, &rows).await;
    app.send(LINK).await;
    assert_eq!(
        (verdict(app, american).await, verdict(app, canadian).await),
        ("COUNTRY_BLOCKED".into(), "COUNTRY_BLOCKED".into())
    );
    assert_eq!(verdict(app, german).await, "NOT_IN_SEGMENT");
    assert_eq!(verdict(app, guadeloupean).await, "COUNTRY_BLOCKED");
    assert_eq!(app.gateway.log().len(), 0);
});

both!(a_barred_trade_asks_nobody, |app| {
    let (italian, pole) = (TestApp::it(1), "+48499000001".to_owned());
    app.people(&[italian.clone(), pole.clone()]).await;
    app.plan_as(LINK, |campaign| campaign.sector = Some("energy".into())).await;
    app.deliver().await;
    assert_eq!((app.asks(&italian), app.asks(&pole)), (0, 1));
    assert_eq!(verdict(app, &italian).await, "SECTOR_BLOCKED");
});

both!(a_name_that_is_not_registered_yet_writes_to_nobody_there, |app| {
    let (italian, spaniard, pole) = (TestApp::it(1), "+34770000001".to_owned(), "+48499000001".to_owned());
    app.people(&[italian.clone(), spaniard.clone(), pole.clone()]).await;
    app.plan_as(LINK, |campaign| {
        let registrations = &mut campaign.asks[0].sender.registrations;
        registrations.iter_mut().find(|r| r.country == "IT").unwrap().state = RegistrationState::Pending;
        // Entered in the registry from tomorrow on.
        registrations.iter_mut().find(|r| r.country == "ES").unwrap().since = "2026-12-02".parse().unwrap();
    })
    .await;
    app.deliver().await;
    assert_eq!((app.asks(&italian), app.asks(&spaniard), app.asks(&pole)), (0, 0, 1));
    assert_eq!(verdict(app, &italian).await, "SENDER_UNREGISTERED");
    assert_eq!(verdict(app, &spaniard).await, "SENDER_UNREGISTERED");
});

both!(a_year_without_a_calendar_sends_nothing, |app| {
    let number = TestApp::it(1);
    // Where the holidays of a year are not known, no day of it is known to be open.
    let years = DAY * 18_298;
    app.advance(years);
    assert_eq!(app.clock.date_time().date_naive().to_string(), "2077-01-05");
    import_rows(app, &[row(&number, "prior_consent", "2076-06-01", "unticked,")]).await;
    app.plan_as(LINK, |campaign| {
        from_today(app, campaign);
        campaign.pack_stale_days = 100_000;
    })
    .await;
    app.deliver().await;
    assert_eq!((app.asks(&number), verdict(app, &number).await), (0, "CALENDAR_MISSING".into()));
});

both!(registration_cancels_earlier_consents_to_calls_and_a_later_one_survives, |app| {
    let (listed, free) = (TestApp::it(1), TestApp::it(2));
    app.people(&[listed.clone(), free.clone()]).await;
    app.send(LINK).await;
    allow_calls(app, &listed).await;
    allow_calls(app, &free).await;
    app.submit(&app.link(&free), "chosen", &["call.promotions", "sms.promotions"]).await;

    // Registered a week later, found out another week later.
    app.advance(DAY * 14);
    let summary = screen(app, "RPO", &format!("{listed},2026-12-08\n3000000009,\n")).await.unwrap();
    assert_eq!((summary.rows, summary.new, summary.withdrawn, summary.rejected), (2, 2, 1, 0), "{summary:?}");
    assert!(app.granted(&listed).await.is_empty());
    assert!(app.granted(&free).await.contains(&"call.promotions".to_owned()));
    let story = app.story(&listed).await;
    assert!(story.ledger.last().unwrap().contains("withdrawn by import (register) call.promotions"), "{:#?}", story.ledger);
    assert!(
        story.ledger.last().unwrap().contains("RPO: registered by 2026-12-08, screened as of 2026-12-15"),
        "{:#?}",
        story.ledger
    );
    assert!(story.registers[0].starts_with("RPO: listed since 2026-12-08; screened as of 2026-12-15"), "{:?}", story.registers);
    assert!(story.suppressions.is_empty(), "the register is about calls: it suppresses nothing else");
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());

    // The page lets a listed person allow calls again, and that later word survives every further screening.
    allow_calls(app, &listed).await;
    app.advance(DAY);
    let summary = screen(app, "RPO", &format!("{listed},2026-12-08\n")).await.unwrap();
    assert_eq!(summary.withdrawn, 0);
    assert!(app.granted(&listed).await.contains(&"call.promotions".to_owned()));
    assert_eq!(exported(app, &listed, "2026-12-01").await, [("granted".into(), true, "free".into())]);
    // Unless the register was told once more, after it.
    app.advance(DAY);
    let summary = screen(app, "RPO", &format!("{listed},2026-12-16\n")).await.unwrap();
    assert_eq!(summary.withdrawn, 1);
    assert_eq!(exported(app, &listed, "2026-12-01").await, [("withdrawn".into(), false, String::new())]);
});

both!(calls_are_released_only_while_a_screening_is_fresh, |app| {
    let (number, later, british) = (TestApp::it(1), TestApp::it(2), TestApp::gb(1));
    app.people(&[number.clone(), british.clone()]).await;
    app.send(LINK).await;
    allow_calls(app, &number).await;
    let stale = [("not_releasable".to_owned(), false, "RPO_STALE".to_owned())];
    assert_eq!(exported(app, &number, "2026-12-01").await, stale, "never screened");

    screen(app, "RPO", "").await.unwrap();
    app.advance(DAY * 15 - HOUR);
    assert_eq!(exported(app, &number, "2026-12-01").await, [("granted".into(), true, "free".into())]);
    // Nothing changed in the ledger since, and yet the export says so.
    app.advance(HOUR * 2);
    assert_eq!(exported(app, &number, "2026-12-10").await, [("not_releasable".into(), true, "RPO_STALE".into())]);

    // A screening covers whoever was known when it was made, and another register's says nothing about this one.
    app.people(std::slice::from_ref(&later)).await;
    screen(app, "TPS", "").await.unwrap();
    assert_eq!(exported(app, &number, "2026-12-10").await, [("not_releasable".into(), true, "RPO_STALE".into())]);
    screen(app, "RPO", "").await.unwrap();
    assert_eq!(exported(app, &number, "2026-12-10").await, [("granted".into(), true, "free".into())]);
});

both!(whom_a_register_lists_is_not_asked_either, |app| {
    let (listed, free, unlisted) = (TestApp::it(1), TestApp::it(2), TestApp::it(3));
    app.people(&[listed.clone(), free.clone()]).await;
    // Planned, then listed: the claim looks again.
    app.plan(LINK).await;
    screen(app, "RPO", &format!("{listed},not a day\n")).await.unwrap();
    app.deliver().await;
    assert_eq!((app.asks(&listed), app.asks(&free)), (0, 1));
    assert_eq!(verdict(app, &listed).await, "RPO_LISTED");
    // A year later still; and where the pack wants a fresh screening, nobody is asked without one.
    app.advance(DAY);
    app.people(std::slice::from_ref(&unlisted)).await;
    let needed = |campaign: &mut Campaign| {
        campaign.name = "second".into();
        campaign.packs.get_mut("IT").unwrap().register.needed_for_asks = true;
    };
    app.plan_as(LINK, needed).await;
    assert_eq!((verdict(app, &listed).await, verdict(app, &unlisted).await), ("RPO_LISTED".into(), "RPO_STALE".into()));
    let third = |campaign: &mut Campaign| {
        needed(campaign);
        campaign.name = "third".into();
    };
    // Taken off the register: the next screening says so.
    screen(app, "RPO", "").await.unwrap();
    app.plan_as(LINK, third).await;
    app.deliver().await;
    assert_eq!((app.asks(&listed), app.asks(&unlisted)), (1, 1));
});

both!(a_screening_that_cannot_be_is_refused, |app| {
    let file = app.dir.path().join("screening.csv");
    std::fs::write(&file, "number\n+393000000001\n").unwrap();
    let now = app.engine.now();
    let refused = async |register: &str, at: i64| {
        screening::import(&app.engine, &file, register, at, false, |_| {}).await.err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(
        refused("BLOCTEL", now)
            .await
            .contains("no country pack has a register `BLOCTEL`; remedy: --register with one of ROBINSON, TPS, RPO")
    );
    assert!(refused("RPO", now + 1).await.contains("lies in the future"));
    let summary = screening::import(&app.engine, &file, "RPO", now, false, |_| {}).await.unwrap();
    assert_eq!((summary.new, summary.rejected), (1, 0));
    assert!(refused("RPO", now - 1).await.contains("there is a newer screening against RPO"));
    // The same answer again changes nothing.
    screening::import(&app.engine, &file, "RPO", now, false, |_| {}).await.unwrap();
    assert_eq!(app.count("SELECT COUNT(*) FROM register_listings").await, 1);
    assert_eq!(app.count("SELECT COUNT(*) FROM contacts").await, 0, "nobody is made a contact by it");
    let (code, said) =
        permesso(app, &["import", "screening", file.to_str().unwrap(), "--register", "RPO", "--at", "2026-12-01"]).await;
    assert!(code == 1 && said.contains("newer screening"), "{said}");
    let at = app.clock.date_time().to_rfc3339();
    let (code, said) = permesso(app, &["import", "screening", file.to_str().unwrap(), "--register", "RPO", "--at", &at]).await;
    assert!(code == 0 && said.contains("1 number listed in RPO, kept as hashes"), "{said}");
});

both!(two_screenings_at_a_time_free_nobody_whom_either_lists, |app| {
    let [listed, free] = [1, 9_001].map(TestApp::it);
    app.people(&[listed.clone(), free.clone()]).await;
    let (all, newer) = (app.dir.path().join("rpo.csv"), app.dir.path().join("newer.csv"));
    // Two chunks.
    let numbers: String = (1..=2_001).map(|n| format!("{}\n", TestApp::it(n))).collect();
    std::fs::write(&all, format!("number\n{numbers}")).unwrap();
    std::fs::write(&newer, format!("number\n{free}\n")).unwrap();
    // A whole import of somebody else's between the two chunks of ours.
    let other = |file: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_permesso"));
        let at = app.clock.date_time().to_rfc3339();
        command.arg("--config").arg(app.dir.path().join("config")).args(["import", "screening"]).arg(file);
        command.args(["--register", "RPO", "--at", &at]).env_remove("RUST_LOG").env("PERMESSO_CLOCK", &at);
        let out = command.output().expect("permesso");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    let listings = "SELECT COUNT(*) FROM register_listings";
    let complete = "SELECT COUNT(*) FROM screenings WHERE done_at IS NOT NULL";
    let mut chunks = 0;
    let between = |_| {
        chunks += 1;
        if chunks == 1 {
            other(&all);
        }
    };
    screening::import(&app.engine, &all, "RPO", app.engine.now(), false, between).await.unwrap();
    assert_eq!((app.count(listings).await, app.count(complete).await), (2_001, 2));
    assert!(app.story(&listed).await.registers[0].starts_with("RPO: listed since"), "{:?}", app.story(&listed).await.registers);
    // Ours is as of an earlier time than the one that ends meanwhile, and adds nothing to it.
    app.advance(DAY);
    let mut chunks = 0;
    let between = |_| {
        chunks += 1;
        if chunks == 1 {
            other(&newer);
        }
    };
    let earlier = app.engine.now() - 3_600_000_000;
    let error = screening::import(&app.engine, &all, "RPO", earlier, false, between).await.unwrap_err().to_string();
    assert!(error.contains("there is a newer screening against RPO") && error.contains("; remedy: import that one"), "{error}");
    assert_eq!((app.count(listings).await, app.count(complete).await), (1, 3));
    assert!(app.story(&free).await.registers[0].starts_with("RPO: listed since"), "{:?}", app.story(&free).await.registers);
});

both!(a_screening_with_a_row_nobody_can_read_frees_nobody, |app| {
    let (listed, other) = (TestApp::it(1), TestApp::it(2));
    app.people(&[listed.clone(), other.clone()]).await;
    screen(app, "RPO", &format!("{listed},\n")).await.unwrap();
    app.advance(DAY * 20);

    // The spreadsheet made the listed number 3.9300E+11.
    let file = app.dir.path().join("rpo.csv");
    let at = app.clock.date_time().to_rfc3339();
    let arguments = ["import", "screening", file.to_str().unwrap(), "--register", "RPO", "--at", &at];
    let listings = "SELECT COUNT(*) FROM register_listings";
    let complete = "SELECT COUNT(*) FROM screenings WHERE done_at IS NOT NULL";
    std::fs::write(&file, format!("number\n3.9300E+11\n{other}\n")).unwrap();
    let (code, said) = permesso(app, &arguments).await;
    assert!(code == 1 && said.contains("this screening frees nobody") && said.contains("rpo.csv.rejected.csv"), "{said}");
    assert_eq!((app.count(listings).await, app.count(complete).await), (2, 1), "the earlier listing stays, the new one is added");
    let registers = app.story(&listed).await.registers;
    assert!(registers[0].starts_with("RPO: listed since") && registers[0].contains("as of 2026-12-01"), "{registers:?}");

    // A file of a header alone would free everybody.
    std::fs::write(&file, "number\n").unwrap();
    let (code, said) = permesso(app, &arguments).await;
    assert!(code == 1 && said.contains("rpo.csv has no rows") && said.contains("--nobody-listed"), "{said}");
    assert_eq!((app.count(listings).await, app.count(complete).await), (2, 1));
    let (code, said) = permesso(app, &[&arguments[..], &["--nobody-listed"]].concat()).await;
    assert_eq!((code, app.count(listings).await, app.count(complete).await), (0, 0, 2), "{said}");
});

both!(a_no_that_comes_days_late_is_in_the_next_export, |app| {
    let (number, other) = (TestApp::it(1), TestApp::it(2));
    app.people(&[number.clone(), other.clone()]).await;
    app.send(LINK).await;
    allow_calls(app, &number).await;
    allow_calls(app, &other).await;
    app.advance(Duration::from_secs(60));
    let said_at = app.clock.now();
    app.advance(DAY * 3);
    assert!(app.gateway.deliver(vec![inbound("late", &number, REPLY_NUMBER, "STOP", said_at)]).await);

    // The company exports every day what changed since the day before.
    let (code, csv) = permesso(app, &["consents", "export", "--since", "2026-12-03"]).await;
    assert_eq!(code, 0, "{csv}");
    let mut csv = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    let rows_of = |number: &str, channel: &str| {
        let own = rows.iter().filter(|r| &r[0] == number && &r[3] == channel);
        own.map(|r| (r[5].to_owned(), r[6][..10].to_owned())).collect::<Vec<_>>()
    };
    let on_that_day = |state: &str| vec![(state.to_owned(), "2026-12-01".to_owned())];
    assert_eq!(rows_of(&number, "call"), on_that_day("withdrawn"), "since when it was said");
    assert_eq!(rows_of(&number, "all"), on_that_day("stopped"));
    assert_eq!(rows_of(&other, "all"), []);
});

both!(explain_names_the_rule_and_the_pack_it_came_from, |app| {
    let number = TestApp::it(1);
    import_rows(app, &[row(&number, "prior_consent", "2020-01-01", "unticked,")]).await;
    app.plan(LINK).await;
    let source: Source = app.engine.config.packs["IT"].basis_age.source.clone();
    let decisions = app.decisions(&number).await.join("\n");
    let expected =
        format!("By rule [basis_age] ({}; reviewed {}) of country pack IT version 2026-11-2.", source.text, source.reviewed);
    assert!(decisions.contains(&expected), "{decisions}");
    let other = TestApp::it(2);
    app.people(std::slice::from_ref(&other)).await;
    app.plan_as(LINK, |campaign| campaign.name = "second".into()).await;
    let decisions = app.decisions(&other).await.join("\n");
    assert!(decisions.contains("Nothing speaks against asking. By country pack IT version 2026-11-2."), "{decisions}");
});

both!(a_privacy_officer_reads_every_rule_before_signing, |app| {
    let (code, table) = permesso(app, &["config", "packs", "IT"]).await;
    assert_eq!(code, 0, "{table}");
    for expected in [
        "IT version 2026-11-2, reviewed by: ",
        "[hours] open Mo-Fr 09:00-20:00; Sa 10:00-19:00; PH off (Europe/Rome)",
        "reviewed 2026-11-02, holds until 2027-11-02: fresh",
        "[register] RPO for call, a screening holds 15 days, the listed are not asked",
        "[sectors] energy barred from sms whatsapp call",
        "source: DPR 26/2022 art. 7",
    ] {
        assert!(table.contains(expected), "{expected} is not in {table}");
    }
    assert!(!table.contains("DE version"));
    let (_, json) = permesso(app, &["--json", "config", "packs"]).await;
    let json: serde_json::Value = serde_json::from_str(json.trim()).expect("JSON");
    assert_eq!(json["rules"].as_array().unwrap().len(), 6 * 8);
    assert_eq!(permesso(app, &["config", "packs", "US"]).await.0, 1);
});
