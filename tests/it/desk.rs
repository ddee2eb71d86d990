//! The operator's desk: counters that equal a recount, pages to click through, acts from a browser, and forgeries.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use permesso::domain::campaign::CampaignState;
use permesso::domain::rights::Right;
use permesso::engine::{expire, plan, recover, requests, retention};
use permesso::gateway::mock::faults::Faults;
use permesso::store::{Store, campaigns, contacts, inbound, report};

use crate::app::{LINK, REPLY, TestApp};
use crate::both;

/// A figure counted from the rows themselves: the scans that the counters stand for. `key` and `n` a row.
const SCANS: [(&str, &str); 9] = [
    (
        "message",
        "SELECT CAST(campaign_id AS TEXT) || '|' || kind || '|' || state || '|' || channel || '|' || country AS k, COUNT(*) AS n
         FROM (SELECT COALESCE(m.campaign_id, 0) AS campaign_id, m.kind, m.state, m.channel, COALESCE(c.country, '') AS country
               FROM messages m JOIN contacts c ON c.id = m.contact_id) AS x GROUP BY campaign_id, kind, state, channel, country",
    ),
    (
        "decision",
        "SELECT CAST(d.campaign_id AS TEXT) || '|' || d.outcome || '|' || d.code AS k, COUNT(*) AS n FROM decisions d
         WHERE NOT EXISTS (SELECT 1 FROM decisions o WHERE o.campaign_id = d.campaign_id AND o.contact_id = d.contact_id
           AND o.stage <> d.stage AND (o.at > d.at OR (o.at = d.at AND o.stage = 'claim')))
         GROUP BY d.campaign_id, d.outcome, d.code",
    ),
    (
        "conversation",
        "SELECT CAST(campaign_id AS TEXT) || '|' || state || '|' || CAST(COALESCE(closed_at / 3600000000, 0) AS TEXT) AS k, COUNT(*) AS n
         FROM conversations GROUP BY campaign_id, state, COALESCE(closed_at / 3600000000, 0)",
    ),
    (
        "first_yes",
        "SELECT CAST(campaign_id AS TEXT) || '|' || CAST(first_yes_at / 3600000000 AS TEXT) AS k, COUNT(*) AS n
         FROM conversations WHERE first_yes_at IS NOT NULL GROUP BY campaign_id, first_yes_at / 3600000000",
    ),
    (
        "attempt",
        "SELECT CAST(COALESCE(m.campaign_id, 0) AS TEXT) || '|' || a.gateway || '|' || COALESCE(a.outcome, 'in flight') || '|'
           || COALESCE(a.error, '') || '|' || m.kind || '|' || CAST(a.claimed_at / 3600000000 AS TEXT) AS k, COUNT(*) AS n
         FROM attempts a JOIN messages m ON m.id = a.message_id
         GROUP BY COALESCE(m.campaign_id, 0), a.gateway, COALESCE(a.outcome, 'in flight'), COALESCE(a.error, ''), m.kind, a.claimed_at / 3600000000",
    ),
    (
        "answer",
        "SELECT CAST(campaign_id AS TEXT) || '|' || a || '|' || w || '|' || channel || '|' || CAST(h AS TEXT) AS k, COUNT(*) AS n
         FROM (SELECT campaign_id, channel, COALESCE(answer_by, '') AS w, COALESCE(answered_at / 3600000000, 0) AS h,
             CASE WHEN answer IS NOT NULL THEN answer WHEN state = 'unknown' THEN 'unknown'
               WHEN state IN ('failed', 'undelivered', 'expired') THEN 'not_reached' ELSE 'silent' END AS a
           FROM messages WHERE kind = 'ask' AND (state IN ('sending', 'accepted', 'sent', 'delivered', 'read', 'unknown', 'failed',
             'undelivered', 'expired') OR answer IS NOT NULL)) AS x GROUP BY campaign_id, a, w, channel, h",
    ),
    (
        "unsent",
        "SELECT CAST(campaign_id AS TEXT) || '|' || kind || '|' || state || '|' || reason AS k, COUNT(*) AS n FROM messages
         WHERE kind IN ('ask', 'reminder') AND state IN ('planned', 'cancelled', 'lapsed') AND reason IS NOT NULL
         GROUP BY campaign_id, kind, state, reason",
    ),
    (
        "permission",
        "SELECT state || '|' || purpose || '|' || channel AS k, COUNT(*) AS n FROM preferences GROUP BY state, purpose, channel",
    ),
    (
        "inbound",
        "SELECT intent || '|' || w AS k, COUNT(*) AS n FROM (SELECT intent,
           CASE WHEN effect = 'held' AND resolved_at IS NULL THEN 'waiting' ELSE '' END AS w FROM inbound_events) AS x GROUP BY intent, w",
    ),
];

/// The same figure from the counters.
const COUNTED: [(&str, &str); 9] = [
    ("message", "CAST(campaign_id AS TEXT) || '|' || a || '|' || b || '|' || c || '|' || d"),
    ("decision", "CAST(campaign_id AS TEXT) || '|' || a || '|' || b"),
    ("conversation", "CAST(campaign_id AS TEXT) || '|' || a || '|' || CAST(hour AS TEXT)"),
    ("first_yes", "CAST(campaign_id AS TEXT) || '|' || CAST(hour AS TEXT)"),
    ("attempt", "CAST(campaign_id AS TEXT) || '|' || a || '|' || b || '|' || c || '|' || d || '|' || CAST(hour AS TEXT)"),
    ("answer", "CAST(campaign_id AS TEXT) || '|' || a || '|' || b || '|' || c || '|' || CAST(hour AS TEXT)"),
    ("unsent", "CAST(campaign_id AS TEXT) || '|' || a || '|' || b || '|' || c"),
    ("permission", "a || '|' || b || '|' || c"),
    ("inbound", "a || '|' || b"),
];

async fn rows(app: &TestApp, sql: String) -> BTreeMap<String, i64> {
    let sql = sqlx::AssertSqlSafe(sql);
    let rows: Vec<(String, i64)> = match &app.engine.store {
        Store::Sqlite { read, .. } => sqlx::query_as(sql).fetch_all(read).await.expect("counted"),
        Store::Postgres { pool, .. } => sqlx::query_as(sql).fetch_all(pool).await.expect("counted"),
    };
    rows.into_iter().collect()
}

/// Every counter equals a recount of the rows it stands for.
pub async fn counters_are_right(app: &TestApp, when: &str) {
    for ((topic, scan), (_, key)) in SCANS.into_iter().zip(COUNTED) {
        let scanned = rows(app, scan.to_owned()).await;
        let counted = format!(
            "SELECT {key} AS k, CAST(SUM(n) AS BIGINT) AS n FROM figures WHERE topic = '{topic}' GROUP BY {key} HAVING SUM(n) <> 0"
        );
        assert_eq!(rows(app, counted).await, scanned, "{topic}, {when}");
    }
}

/// The number the British are asked from.
const ASKS_FROM: &str = "+447700900123";

/// A story with everything in it: skips, faults, replies of every kind, cancel, replan, stop, re-import, a lost worker, time.
async fn long_story(app: &TestApp) {
    let bad = format!("{},,customer,2026-11-01,web shop,prior_consent,form 1,2025-01-10,unticked,,,\n", TestApp::gb(99));
    app.import(&bad).await;
    app.people(&(0..24).map(TestApp::gb).chain([TestApp::it(1), TestApp::it(2)]).collect::<Vec<_>>()).await;
    app.import(&TestApp::good("+442079460001")).await;
    counters_are_right(app, "after the import").await;
    app.plan(REPLY).await;
    counters_are_right(app, "planned").await;
    app.gateway.set_faults(Faults { seed: 7, refuse: 0.1, accept_then_reset: 0.1, failed: 0.2, ..Faults::default() });
    app.deliver().await;
    app.gateway.set_faults(Faults::default());
    app.gateway.idle().await;
    counters_are_right(app, "sent in bad weather").await;
    app.advance(Duration::from_secs(3600));
    app.deliver().await;
    app.gateway.idle().await;
    let got: Vec<String> = (0..24).map(TestApp::gb).filter(|n| app.asks(n) > 0).collect();
    for (n, text) in [(0, "YES"), (1, "NO"), (2, "STOP"), (3, "hmm"), (4, "wrong number"), (5, "HELP"), (6, "YES"), (7, "well")] {
        app.reply(&got[n], ASKS_FROM, text).await;
    }
    counters_are_right(app, "first replies").await;
    app.advance(Duration::from_secs(3700));
    app.reply(&got[0], ASKS_FROM, "YES").await;
    app.reply(&got[6], ASKS_FROM, "YES").await;
    assert_eq!(app.granted(&got[6]).await, ["sms.promotions"]);
    app.advance(Duration::from_secs(7200));
    app.reply(&got[6], ASKS_FROM, "STOP").await;
    counters_are_right(app, "granted, and one taken back").await;
    // Planned anew, paused, cancelled; imported again with a no.
    app.people(&(100..110).map(TestApp::gb).collect::<Vec<_>>()).await;
    app.plan(REPLY).await;
    app.import(&TestApp::good(&TestApp::gb(100)).replace(",unticked,,,", ",unticked,yes,,")).await;
    counters_are_right(app, "planned anew, one said no since").await;
    plan::set_state(&app.engine, REPLY, CampaignState::Paused).await.expect("paused");
    plan::set_state(&app.engine, REPLY, CampaignState::Cancelled).await.expect("cancelled");
    counters_are_right(app, "cancelled").await;
    app.people(&(200..210).map(TestApp::it).collect::<Vec<_>>()).await;
    app.plan(LINK).await;
    // A worker dies with a slice in flight.
    app.gateway.set_faults(Faults { seed: 1, accept_then_reset: 0.3, ..Faults::default() });
    app.deliver().await;
    app.gateway.set_faults(Faults::default());
    app.execute("UPDATE attempts SET outcome = NULL WHERE outcome = 'unknown'").await.expect("as if lost");
    app.execute("UPDATE messages SET state = 'sending' WHERE state = 'unknown'").await.expect("as if lost");
    app.advance(Duration::from_secs(300));
    recover::sweep(&app.engine).await.expect("swept");
    counters_are_right(app, "a worker was lost").await;
    let got: Vec<String> = (200..210).map(TestApp::it).filter(|n| app.asks(n) > 0).collect();
    app.submit(&app.link(&got[0]), "chosen", &["sms.promotions"]).await;
    app.submit(&app.link(&got[1]), "none", &[]).await;
    app.advance(Duration::from_secs(40 * 86_400));
    expire::expire(&app.engine).await.expect("expired");
    recover::sweep(&app.engine).await.expect("swept");
    counters_are_right(app, "everything ran out").await;
}

both!(counters_equal_a_recount_through_a_whole_story, |app| {
    long_story(app).await;
    // Folding changes no figure, and leaves one row a key.
    report::fold(&app.engine.store).await.unwrap();
    counters_are_right(app, "folded").await;
    let doubled = "SELECT COUNT(*) FROM (SELECT 1 FROM counters GROUP BY controller, topic, campaign_id, a, b, c, d, hour HAVING COUNT(*) > 1) AS x";
    assert_eq!(app.count(doubled).await, 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM counters WHERE n <= 0").await, 0);
    // Also a row that goes takes its figure with it.
    app.execute("DELETE FROM receipts").await.unwrap();
    app.execute("DELETE FROM inbound_events").await.unwrap();
    app.execute("DELETE FROM attempts").await.unwrap();
    app.execute("DELETE FROM conversations").await.unwrap();
    app.execute("DELETE FROM messages").await.unwrap();
    app.execute("DELETE FROM decisions").await.unwrap();
    app.execute("DELETE FROM preferences").await.unwrap();
    counters_are_right(app, "deleted").await;
    // Those went past the store, whose transactions add up what SQLite's triggers noted.
    report::fold(&app.engine.store).await.unwrap();
    assert!(!app.engine.store.is_sqlite() || app.count("SELECT COUNT(*) FROM counting").await == 0);
    counters_are_right(app, "added up").await;
});

#[tokio::test]
async fn a_database_of_before_is_counted_when_it_is_migrated() {
    for (folder, url) in [
        ("sqlite", format!("sqlite:{}", tempfile::tempdir().unwrap().keep().join("old.db").display())),
        ("postgres", crate::postgres::empty().await),
    ] {
        let all =
            sqlx::migrate::Migrator::new(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder)).await;
        let mut before = all.unwrap();
        before.migrations.to_mut().retain(|m| m.version < 4);
        let rows = [
            "INSERT INTO contacts (id, controller, subject, number_enc, key_id, country, line, created_at) VALUES (1, 'c', 's1', 'x', 1, 'IT', 'mobile', 1), (2, 'c', 's2', 'x', 1, NULL, 'mobile', 1)",
            "INSERT INTO campaigns (id, controller, name, family, state, revision_id, start_at, deadline, created_at) VALUES (7, 'c', 'spring', 'default', 'running', 1, 1, 2, 1)",
            "INSERT INTO messages (id, controller, campaign_id, contact_id, family, person, kind, cause, channel, gateway, sender, locale, state, due_at, expires_at, created_at, changed_at) VALUES (1, 'c', 7, 1, 'default', 'p1', 'ask', 'plan', 'sms', 'g', 's', 'it', 'delivered', 1, 9, 1, 7200000001), (2, 'c', NULL, 2, '', '', 'help', 'e', 'sms', 'g', 's', 'it', 'planned', 1, 9, 1, 1)",
            "INSERT INTO attempts (id, controller, message_id, slice, worker, gateway, reference, outcome, claimed_at, send_before) VALUES (1, 'c', 1, 'a', 'w', 'g', 'r1', 'accepted', 3600000000, 1)",
            "INSERT INTO decisions (controller, campaign_id, contact_id, stage, revision_id, outcome, code, facts, at) VALUES ('c', 7, 1, 'plan', 1, 'send', 'ELIGIBLE', '{}', 1), ('c', 7, 2, 'plan', 1, 'send', 'ELIGIBLE', '{}', 1), ('c', 7, 2, 'claim', 1, 'skip', 'HELD_FOR_OPERATOR', '{}', 2)",
            "INSERT INTO conversations (id, controller, contact_id, campaign_id, message_id, mode, state, first_yes_at, opened_at, expires_at, closed_at) VALUES (1, 'c', 1, 7, 1, 'reply', 'granted', 3600000000, 1, 9, 7200000000)",
            "INSERT INTO ledger (seq, controller, subject, kind, at, body_hash, prev, hash) VALUES (1, 'c', 's1', 'granted', 1, 'h', 'p', 'h1')",
            "INSERT INTO evidence (seq, body) VALUES (1, '{\"campaign\":\"spring\"}')",
            "INSERT INTO preferences (controller, subject, channel, purpose, state, since, seq) VALUES ('c', 's1', 'sms', 'promotions', 'granted', 1, 1)",
            "INSERT INTO inbound_events (id, controller, gateway, event_id, mac, key_id, contact_id, to_sender, channel, body_enc, intent, effect, at, received_at) VALUES (1, 'c', 'g', 'e', 'm', 1, 1, 't', 'sms', 'x', 'unclear', 'held', 1, 1)",
        ];
        if folder == "sqlite" {
            let options: sqlx::sqlite::SqliteConnectOptions = url.parse().unwrap();
            let pool = sqlx::SqlitePool::connect_with(options.create_if_missing(true)).await.unwrap();
            before.run(&pool).await.unwrap();
            for row in rows {
                sqlx::query(row).execute(&pool).await.unwrap();
            }
            pool.close().await;
        } else {
            let pool = sqlx::PgPool::connect(&url).await.unwrap();
            before.run(&pool).await.unwrap();
            for row in rows {
                sqlx::query(row).execute(&pool).await.unwrap();
            }
            pool.close().await;
        }
        let store = Store::migrate(&url).await.unwrap();
        let mut tx = store.read().await.unwrap();
        let row = |parts: &[&str]| parts.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        let messages = report::messages_by_place(&mut tx, 7).await.unwrap();
        assert_eq!(
            messages.iter().map(|m| (row(&[&m.0, &m.1, &m.2, &m.3]), m.4)).collect::<Vec<_>>(),
            [(row(&["sms", "IT", "ask", "delivered"]), 1)]
        );
        assert_eq!(report::messages_by_hour(&mut tx, 7).await.unwrap(), [(2, "ask".into(), "delivered".into(), 1)]);
        assert_eq!(report::attempts_by_hour(&mut tx, 7).await.unwrap(), [(1, "ask".into(), "accepted".into(), 1)]);
        assert_eq!(report::attempts_since(&mut tx, "c", 1).await.unwrap(), [("g".into(), "accepted".into(), String::new(), 1)]);
        assert!(report::attempts_since(&mut tx, "c", 2).await.unwrap().is_empty());
        let decided = report::decisions(&mut tx, 7).await.unwrap();
        assert_eq!(decided, [("send".into(), "ELIGIBLE".into(), 1), ("skip".into(), "HELD_FOR_OPERATOR".into(), 1)]);
        assert_eq!(
            report::decisions_by_country(&mut tx, 7).await.unwrap(),
            [(String::new(), "skip".into(), 1), ("IT".into(), "send".into(), 1)]
        );
        assert_eq!(report::conversations(&mut tx, 7).await.unwrap(), [("granted".into(), 1)]);
        assert_eq!(report::answers(&mut tx, 7).await.unwrap(), [("confirmed".into(), "person".into(), 1)]);
        assert_eq!(report::answers_by_hour(&mut tx, 7).await.unwrap(), [(2, "confirmed".into(), "person".into(), 1)]);
        let by_place = report::answers_by_place(&mut tx, 7).await.unwrap();
        assert_eq!(by_place, [("sms".into(), "IT".into(), "confirmed".into(), "person".into(), 1)]);
        assert_eq!(report::first_yeses_by_hour(&mut tx, 7).await.unwrap(), [(1, 1)]);
        assert_eq!(report::permissions(&mut tx, 7).await.unwrap(), [("promotions".into(), "sms".into(), "granted".into(), 1)]);
        assert_eq!(report::waiting(&mut tx, "c").await.unwrap(), 1);
        tx.rollback().await.unwrap();
        store.close().await;
    }
}

/// A page as a browser gets it, at the operator's door.
async fn page(app: &TestApp, path: &str) -> String {
    let (status, text) = app.get(&format!("{}{path}", app.operator)).await;
    assert_eq!(status, 200, "{path}: {text}");
    text
}

/// Every address a page links to on this door.
fn links(html: &str) -> Vec<String> {
    let found = html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    found.filter(|link| link.starts_with('/')).map(|link| link.replace("&#38;", "&").replace("&amp;", "&")).collect()
}

/// A form posted by our own page.
async fn press(app: &TestApp, path: &str, pairs: &[(&str, &str)]) -> (u16, String) {
    let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let request = app.http.post(format!("{}{path}", app.operator)).header("sec-fetch-site", "same-origin");
    let answer = request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.expect("an answer");
    let to = answer.headers().get("location").map(|l| l.to_str().expect("text").to_owned()).unwrap_or_default();
    (answer.status().as_u16(), to)
}

/// One person for each reason that a list can hold, and those that replies make.
async fn a_person_for_each_reason(app: &TestApp) {
    let good = ",prospect,,web shop,prior_consent,form 1,2025-01-10,unticked,,,";
    let row = |n: u32, rest: &str| format!("{},{rest}\n", TestApp::gb(n));
    app.import(&(0..6).map(|n| row(n, good)).collect::<String>()).await;
    app.send(REPLY).await;
    app.advance(Duration::from_secs(60));
    for (n, text) in [(0, "STOP"), (1, "NO"), (2, "wrong number"), (3, "hmm, maybe"), (4, "YES")] {
        app.reply(&TestApp::gb(n), ASKS_FROM, text).await;
    }
    app.advance(Duration::from_secs(120));
    app.reply(&TestApp::gb(4), ASKS_FROM, "YES").await;
    let rows = [
        row(10, ",prospect,,web shop,prior_consent,form 1,2025-01-10,unticked,yes,,"),
        format!("+442079460001,{good}\n"),
        format!("{},{good}\n", TestApp::it(1)),
        row(11, ",customer,2026-11-01,web shop,prior_consent,form 1,2025-01-10,unticked,,,"),
        row(12, ",prospect,,purchased,prior_consent,form 1,2025-01-10,unticked,,,"),
        row(13, ",prospect,,web shop,prior_consent,form 1,2025-01-10,pre_ticked,,,"),
        row(14, ",prospect,,web shop,,,,,,,"),
    ];
    app.import(&rows.concat()).await;
    app.plan_as(REPLY, |campaign| campaign.name = "again".into()).await;
}

both!(whoever_was_left_out_is_found_by_clicking_from_the_overview, |app| {
    a_person_for_each_reason(app).await;
    let overview = page(app, "/").await;
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for campaign in links(&overview).into_iter().filter(|l| l.starts_with("/campaigns/")) {
        let shown = page(app, &campaign).await;
        for reason in links(&shown).into_iter().filter(|l| l.contains("/skipped/")) {
            let code = reason.rsplit('/').next().unwrap().to_owned();
            let list = page(app, &reason).await;
            let people: Vec<_> = links(&list).into_iter().filter(|l| l.starts_with("/contacts/")).collect();
            assert!(!people.is_empty(), "{code} has its people");
            for person in people {
                let story = page(app, &person).await;
                assert!(
                    story.contains("left out: ") && story.contains(&format!(" <small><code>{code}</code></small>")),
                    "{code}: {story}"
                );
                *found.entry(code.clone()).or_default() += 1;
            }
        }
    }
    let expected = [
        "ACTIVE_CUSTOMER",
        "ALREADY_GRANTED",
        "ALREADY_REFUSED",
        "ASK_CAP",
        "BAD_NUMBER",
        "HELD_FOR_OPERATOR",
        "LEGACY_INVALID",
        "NOT_IN_SEGMENT",
        "NO_ASK_BASIS",
        "SOURCE_QUARANTINED",
        "SUPPRESSED_OBJECTION",
        "SUPPRESSED_UNSUB",
        "WRONG_PERSON",
    ];
    assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    // And the number leads there too, without standing in an address.
    let (status, to) = press(app, "/contacts", &[("number", "+44 7700 900000")]).await;
    assert_eq!(status, 303);
    assert!(to.starts_with("/contacts/") && !to.contains("7700"), "{to}");
    assert!(page(app, &to).await.contains("said STOP"));
    assert_eq!(press(app, "/contacts", &[("number", "+44 7700 900099")]).await.0, 200);
    assert_eq!(app.get(&format!("{}/contacts/nobody", app.operator)).await.0, 404);
});

both!(a_list_of_people_goes_on_where_the_page_before_ended, |app| {
    let rows: String = (0..120).map(|n| format!("{},,customer,2026-11-01,web shop,,,,,,,\n", TestApp::it(n))).collect();
    app.import(&rows).await;
    let id = app.plan(LINK).await;
    let first = format!("/campaigns/{LINK}/skipped/ACTIVE_CUSTOMER");
    let (mut next, mut people, mut pages) = (Some(first.clone()), Vec::new(), 0);
    while let Some(path) = next.take() {
        let html = page(app, &path).await;
        people.extend(links(&html).into_iter().filter(|l| l.starts_with("/contacts/")));
        next = links(&html).into_iter().find(|l| l.contains("?after="));
        pages += 1;
    }
    let all = people.len();
    people.sort();
    people.dedup();
    assert_eq!((pages, all, people.len()), (3, 120, 120));
    let csv = page(app, &format!("{first}.csv")).await;
    assert_eq!(csv.lines().count(), 121);
    assert!(people.iter().all(|p| csv.contains(p.trim_start_matches("/contacts/"))));
    let mut tx = app.engine.store.read().await.unwrap();
    assert_eq!(campaigns::skipped(&mut tx, id, "ACTIVE_CUSTOMER", 0, 7).await.unwrap().len(), 7);
    assert!(campaigns::skipped(&mut tx, id, "ACTIVE_CUSTOMER", i64::MAX, 7).await.unwrap().is_empty());
    assert!(contacts::number_of_subject(&mut tx, "another", people[0].trim_start_matches("/contacts/")).await.unwrap().is_none());
    tx.rollback().await.unwrap();
});

both!(pausing_from_the_page_stops_within_a_slice, |app| {
    app.people(&(0..20).map(TestApp::it).collect::<Vec<_>>()).await;
    app.plan(LINK).await;
    let shown = page(app, &format!("/campaigns/{LINK}")).await;
    assert!(shown.contains(">Pause<") && !shown.contains(">Resume<"));
    assert_eq!(press(app, &format!("/campaigns/{LINK}/pause"), &[]).await, (303, format!("/campaigns/{LINK}")));
    app.deliver().await;
    assert_eq!(app.gateway.log().len(), 0);
    assert!(page(app, &format!("/campaigns/{LINK}")).await.contains(">Resume<"));
    assert_eq!(press(app, &format!("/campaigns/{LINK}/resume"), &[]).await.0, 303);
    assert_eq!(press(app, "/halt", &[]).await.0, 303);
    app.deliver().await;
    assert_eq!(app.gateway.log().len(), 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM controls WHERE halted_at IS NOT NULL AND halted_by = 'operator (web)'").await, 1);
    assert!(page(app, "/").await.contains("Everything is halted."));
    assert_eq!(press(app, "/resume", &[]).await.0, 303);
    // A cancelled campaign stays cancelled, so the box must be ticked.
    assert_eq!(press(app, &format!("/campaigns/{LINK}/cancel"), &[]).await.0, 409);
    app.deliver().await;
    assert_eq!(app.gateway.log().len(), 20);
    app.people(&(30..40).map(TestApp::it).collect::<Vec<_>>()).await;
    app.plan(LINK).await;
    assert_eq!(press(app, &format!("/campaigns/{LINK}/cancel"), &[("sure", "yes")]).await.0, 303);
    app.deliver().await;
    assert_eq!(app.gateway.log().len(), 20);
    assert_eq!(press(app, &format!("/campaigns/{LINK}/pause"), &[]).await.0, 409, "what cannot be done says so");
    assert_eq!(press(app, "/campaigns/nothing/pause", &[]).await.0, 404);
});

both!(a_forged_request_is_refused_and_changes_nothing, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.plan(LINK).await;
    let own = app.operator.clone();
    let host = own.trim_start_matches("http://").to_owned();
    let port = host.rsplit(':').next().unwrap().to_owned();
    // (headers, what a page's POST answers, what the API's does)
    let form = ("content-type", "application/x-www-form-urlencoded");
    type Case = (Vec<(&'static str, String)>, u16, u16);
    let cases: Vec<Case> = vec![
        (vec![("sec-fetch-site", "same-origin".into())], 303, 200),
        (vec![("origin", own.clone())], 303, 200),
        // Behind a proxy that speaks TLS, or through a tunnel with a port of its own.
        (vec![("host", "localhost:9999".into()), ("origin", "https://localhost:9999".into())], 303, 200),
        (vec![("sec-fetch-site", "cross-site".into())], 403, 403),
        (vec![("sec-fetch-site", "same-site".into())], 403, 403),
        (vec![("sec-fetch-site", "none".into())], 403, 403),
        (vec![("sec-fetch-site", "cross-site".into()), ("origin", own.clone())], 403, 403),
        (vec![("origin", "https://evil.example".into())], 403, 403),
        (vec![("origin", "null".into())], 403, 403),
        (vec![("origin", format!("http://127.0.0.1:{}", port.parse::<u16>().unwrap() ^ 1))], 403, 403),
        // An old browser names the page alone.
        (vec![("referer", format!("{own}/"))], 303, 200),
        (vec![("referer", "https://evil.example/".into())], 403, 403),
        (vec![("referer", format!("https://evil.example/{own}"))], 403, 403),
        (vec![("origin", "null".into()), ("referer", format!("{own}/"))], 403, 403),
        // No browser leaves all out; a form is not taken so, a script's JSON is.
        (vec![], 403, 200),
        // A name of somebody else's that points here.
        (vec![("host", format!("evil.example:{port}")), ("sec-fetch-site", "same-origin".into())], 421, 421),
        (vec![("host", format!("127.0.0.1.evil.example:{port}")), ("sec-fetch-site", "same-origin".into())], 421, 421),
        (vec![("host", "10.1.2.3".into()), ("sec-fetch-site", "same-origin".into())], 421, 421),
    ];
    let halted = "SELECT COUNT(*) FROM controls WHERE halted_at IS NOT NULL";
    for (headers, by_form, by_json) in cases {
        for (path, body, kind, expected) in [("/halt", "", form.1, by_form), ("/api/v1/halt", "{}", "application/json", by_json)]
        {
            let mut request = app.http.post(format!("{own}{path}")).header("content-type", kind).body(body);
            for (name, value) in &headers {
                request = request.header(*name, value);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status().as_u16(), expected, "{path} {headers:?}");
            assert_eq!(app.count(halted).await, i64::from(expected < 400), "{path} {headers:?}");
            app.execute("UPDATE controls SET halted_at = NULL").await.unwrap();
        }
    }
    // A form's content type cannot reach the API: that is what a page of somebody else can send unasked.
    for kind in ["text/plain", form.1, "multipart/form-data; boundary=x"] {
        let answer = app.http.post(format!("{own}/api/v1/halt")).header("content-type", kind).body("{}").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 415, "{kind}");
    }
    assert_eq!(app.count(halted).await, 0);
    // Reading is guarded against such names too: the inbox holds what people wrote.
    for path in ["/", "/inbox", "/api/v1/inbox", "/metrics", "/desk.css"] {
        let answer = app.http.get(format!("{own}{path}")).header("host", "evil.example").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 421, "{path}");
    }
    // GET changes nothing, whatever the path.
    for path in ["/halt", &format!("/campaigns/{LINK}/pause"), &format!("/campaigns/{LINK}/cancel"), "/api/v1/halt"] {
        assert_eq!(app.get(&format!("{own}{path}")).await.0, 405, "{path}");
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM campaigns WHERE state = 'running'").await, 1);
});

#[tokio::test]
async fn the_token_opens_the_door_to_a_browser_and_to_a_script() {
    use base64::Engine as _;
    let mut app = TestApp::new(crate::app::Kind::Sqlite).await;
    app.hang_up().await;
    let file = app.engine.config.dir.join("operator.token");
    std::fs::write(&file, "a-token-of-sufficient-length\n").unwrap();
    let mut config = app.engine.config.clone();
    (config.operator_token_file, config.operator_hosts) = (Some(file), vec!["desk.acme.it".into()]);
    let vault = permesso::vault::Vault::open(&config.key_file).unwrap();
    let store = Store::open(&config.database).await.unwrap();
    app.engine = std::sync::Arc::new(permesso::app::build(config, vault, store, app.clock.clone()).unwrap());
    app.listen().await;
    let basic = |pair: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    for (authorization, expected) in [
        (None, 401),
        (Some("Bearer a-token-of-sufficient-lengtH".to_owned()), 401),
        (Some("Bearer ".to_owned()), 401),
        (Some(basic("anna:wrong")), 401),
        (Some(basic("a-token-of-sufficient-length:")), 401),
        (Some("Basic !!!".to_owned()), 401),
        (Some("Bearer a-token-of-sufficient-length".to_owned()), 200),
        (Some(basic("anna:a-token-of-sufficient-length")), 200),
        (Some(basic(":a-token-of-sufficient-length")), 200),
    ] {
        for path in ["/", "/metrics", "/api/v1/overview", "/api/v1/openapi.json"] {
            let mut request = app.http.get(format!("{}{path}", app.operator));
            if let Some(value) = &authorization {
                request = request.header("authorization", value);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status().as_u16(), expected, "{path} {authorization:?}");
            let asked: Vec<_> =
                answer.headers().get_all("www-authenticate").iter().map(|v| v.to_str().unwrap().to_owned()).collect();
            assert_eq!(asked.iter().any(|a| a.starts_with("Basic")), expected == 401, "{path}");
        }
    }
    assert_eq!(app.get(&format!("{}/readyz", app.operator)).await.0, 200, "readiness needs no token");
    // A browser sends Basic by itself, so its POST is still looked at; the name it gave is recorded.
    let halt = |site: &'static str, host: &'static str| {
        let request = app
            .http
            .post(format!("{}/halt", app.operator))
            .header("authorization", basic("Anna Rossi:a-token-of-sufficient-length"));
        let request = request.header("sec-fetch-site", site).header("host", host);
        request.header("content-type", "application/x-www-form-urlencoded").send()
    };
    let halted = "SELECT COUNT(*) FROM controls WHERE halted_by = 'Anna Rossi'";
    assert_eq!(halt("cross-site", "localhost").await.unwrap().status().as_u16(), 403);
    assert_eq!(halt("same-origin", "other.acme.it").await.unwrap().status().as_u16(), 421);
    assert_eq!(app.count(halted).await, 0);
    assert_eq!(halt("same-origin", "Desk.acme.it:443").await.unwrap().status().as_u16(), 303);
    assert_eq!(app.count(halted).await, 1);
    app.end().await;
}

both!(what_people_and_files_wrote_stays_text, |app| {
    let script = "<script>alert(1)</script>";
    let number = TestApp::gb(1);
    app.import(&format!("{number},,prospect,,{script},prior_consent,\"<b onclick=x>\",2025-01-10,unticked,,,\n")).await;
    app.send(REPLY).await;
    app.reply(&number, ASKS_FROM, "<img src=x onerror=alert(2)> well\u{202e}").await;
    app.execute("UPDATE attempts SET error = '=HYPERLINK(1)<i>', outcome = 'unknown'").await.unwrap();
    app.execute("UPDATE campaigns SET reason = '<u>why</u>'").await.unwrap();
    let inbox = page(app, "/inbox").await;
    assert!(inbox.contains("onerror=alert(2)"), "the text is shown: {inbox}");
    let person = links(&inbox).into_iter().find(|l| l.starts_with("/contacts/")).unwrap();
    for path in ["/", "/inbox", "/gateways", "/replies", "/contacts", &format!("/campaigns/{REPLY}"), &person] {
        let html = page(app, path).await;
        for tag in ["<script", "<img", "<b ", "<i>", "<u>"] {
            assert!(!html.contains(tag), "{path} holds {tag}");
        }
    }
    assert!(page(app, &person).await.contains("&#60;script&#62;"), "the source is shown as it was written");
    let trial = [("locale", "en"), ("text", "</textarea><script>alert(3)</script> yes")];
    let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(trial).finish();
    let request = app.http.post(format!("{}/replies", app.operator)).header("sec-fetch-site", "same-origin");
    let answer = request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("form-action 'self'") && !policy.contains("unsafe"),
        "{policy}"
    );
    let html = answer.text().await.unwrap();
    assert!(html.contains("Read as") && !html.contains("<script"), "{html}");
    // A spreadsheet would run it.
    let csv = page(app, "/gateways.csv").await;
    assert!(csv.contains("'=HYPERLINK(1)"), "{csv}");
});

both!(an_operator_decides_from_the_inbox_page, |app| {
    let numbers: Vec<String> = (1..=3).map(TestApp::gb).collect();
    app.people(&numbers).await;
    app.send(REPLY).await;
    for number in &numbers {
        app.reply(number, ASKS_FROM, "what is this about").await;
    }
    assert!(page(app, "/").await.contains("Unclear replies: 3"));
    let inbox = page(app, "/inbox").await;
    assert!(inbox.contains("what is this about") && inbox.contains("<code>en</code>"), "{inbox}");
    let forms: Vec<String> = inbox.split("action=\"").skip(1).map(|r| r.split('"').next().unwrap().to_owned()).collect();
    assert_eq!(forms.len(), 3);
    assert_eq!(press(app, &forms[0], &[("verdict", "yes")]).await.0, 422, "nobody but the person says yes");
    assert_eq!(press(app, &forms[0], &[("verdict", "stop")]).await, (303, "/inbox".into()));
    assert_eq!(press(app, &forms[0], &[("verdict", "nothing")]).await.0, 409, "decided already");
    assert_eq!(press(app, &forms[1], &[("verdict", "nothing")]).await.0, 303);
    assert!(app.story(&numbers[0]).await.verdict.contains("stopped"));
    assert!(page(app, "/").await.contains("Unclear replies: 1"));
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events WHERE resolved_by = 'operator (web)'").await, 2);
    let mut tx = app.engine.store.read().await.unwrap();
    let left = inbound::held_after(&mut tx, &app.engine.controller, 0, 9).await.unwrap();
    assert_eq!((left.len(), left[0].locale.as_deref()), (1, Some("en")));
    assert!(inbound::held_after(&mut tx, &app.engine.controller, left[0].id, 9).await.unwrap().is_empty());
    tx.rollback().await.unwrap();
});

both!(no_page_table_or_file_shows_a_number, |app| {
    a_person_for_each_reason(app).await;
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut left = vec!["/".to_owned(), "/metrics".to_owned()];
    while let Some(path) = left.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let text = page(app, path.split('#').next().unwrap()).await;
        // Digits of a number stand together or in groups; our figures never are eight or more of the same subscriber.
        let digits: String = text.chars().filter(|c| !" -.\u{202f}".contains(*c)).collect();
        for n in (0..16).map(TestApp::gb).chain([TestApp::it(1)]) {
            assert!(!digits.contains(n.trim_start_matches("+44").trim_start_matches("+39")), "{path} shows a whole number");
        }
        left.extend(links(&text).into_iter().filter(|l| !l.ends_with(".css")));
    }
    for needed in ["/inbox", "/gateways", "/requests", "/contacts", "/replies", "/campaigns.csv", "/api/v1/openapi.json"] {
        assert!(seen.contains(needed), "{needed} was looked at");
    }
    assert!(
        seen.iter().any(|p| p.ends_with("NOT_IN_SEGMENT.csv")) && seen.iter().any(|p| p.starts_with("/contacts/")),
        "{seen:?}"
    );
});

/// A body against its schema in the document, taken strictly: a field the schema does not name is an error.
fn fits(document: &serde_json::Value, schema: &serde_json::Value, body: &serde_json::Value, what: &str) {
    let mut root = document.clone();
    for component in root["components"]["schemas"].as_object_mut().expect("schemas").values_mut() {
        if component.get("properties").is_some() {
            component["additionalProperties"] = false.into();
        }
    }
    root.as_object_mut().expect("an object").extend(schema.as_object().expect("a schema").clone());
    let validator = jsonschema::validator_for(&root).unwrap_or_else(|e| panic!("{what}: {e}"));
    let errors: Vec<String> = validator.iter_errors(body).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:?}\n{body:#}");
}

both!(every_operation_of_the_document_answers_as_it_says, |app| {
    use serde_json::{Value, json};
    std::fs::write(app.engine.config.dir.join("campaigns/broken.toml"), "name = \"broken\"\n").unwrap();
    a_person_for_each_reason(app).await;
    let document: Value = serde_json::from_str(&page(app, "/api/v1/openapi.json").await).unwrap();
    let (_, text) = app.get(&format!("{}/api/v1/inbox", app.operator)).await;
    let waiting: Value = serde_json::from_str(&text).unwrap();
    let (id, subject) = (&waiting["replies"][0]["id"], waiting["replies"][0]["subject"].as_str().unwrap());
    let resolve = format!("/api/v1/inbox/{id}/resolve");
    let campaign = "/api/v1/campaigns/again";
    // A letter that is not carried out yet; somebody erased, of whom a provider still knows; and a run by age.
    let asked = crate::erasure::by_letter(app);
    let noted = requests::note(&app.engine, Right::Access, &TestApp::number(&TestApp::it(7)), &asked).await.unwrap();
    let erased = crate::erasure::erase(app, &TestApp::gb(0)).await.requests[0];
    retention::by_hand(&app.engine).await.unwrap();
    let open = async || {
        let (_, text) = app.get(&format!("{}/api/v1/requests?open=true", app.operator)).await;
        let body: Value = serde_json::from_str(&text).unwrap();
        body["requests"].as_array().unwrap().iter().map(|r| r["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(open().await, [noted, erased]);
    let (_, text) = app.get(&format!("{}/api/v1/requests?after={noted}", app.operator)).await;
    assert!(text.contains(&format!("\"id\":{erased},")) && !text.contains(&format!("\"id\":{noted},")), "{text}");
    // (operation, address, body, status): every operation once at least, and what it refuses.
    let calls: Vec<(&str, &str, String, Value, u16)> = vec![
        ("get", "/api/v1/overview", "/api/v1/overview".into(), Value::Null, 200),
        ("get", "/api/v1/campaigns/{name}", campaign.into(), Value::Null, 200),
        ("get", "/api/v1/campaigns/{name}", "/api/v1/campaigns/none".into(), Value::Null, 404),
        ("get", "/api/v1/consents", "/api/v1/consents".into(), Value::Null, 200),
        ("get", "/api/v1/consents", "/api/v1/consents?status=yes".into(), Value::Null, 400),
        ("get", "/api/v1/consents/list", "/api/v1/consents/list?status=granted&limit=2".into(), Value::Null, 200),
        ("get", "/api/v1/consents/list", "/api/v1/consents/list?channel=fax".into(), Value::Null, 400),
        ("get", "/api/v1/campaigns/{name}/preview", format!("/api/v1/campaigns/{REPLY}/preview"), Value::Null, 200),
        ("get", "/api/v1/campaigns/{name}/preview", "/api/v1/campaigns/none/preview".into(), Value::Null, 404),
        ("get", "/api/v1/campaigns/{name}/preview", "/api/v1/campaigns/broken/preview".into(), Value::Null, 422),
        ("get", "/api/v1/campaigns/{name}/timeline", format!("/api/v1/campaigns/{REPLY}/timeline"), Value::Null, 200),
        ("get", "/api/v1/campaigns/{name}/timeline", "/api/v1/campaigns/none/timeline".into(), Value::Null, 404),
        ("get", "/api/v1/campaigns/{name}/breakdown", format!("/api/v1/campaigns/{REPLY}/breakdown"), Value::Null, 200),
        ("get", "/api/v1/campaigns/{name}/breakdown", "/api/v1/campaigns/none/breakdown".into(), Value::Null, 404),
        ("get", "/api/v1/campaigns/{name}/skipped/{code}", format!("{campaign}/skipped/ASK_CAP?limit=1"), Value::Null, 200),
        ("get", "/api/v1/campaigns/{name}/skipped/{code}", "/api/v1/campaigns/none/skipped/ASK_CAP".into(), Value::Null, 404),
        ("get", "/api/v1/campaigns/{name}/skipped/{code}", format!("{campaign}/skipped/ASK_CAP?limit=x"), Value::Null, 400),
        ("get", "/api/v1/contacts/{subject}", format!("/api/v1/contacts/{subject}"), Value::Null, 200),
        ("get", "/api/v1/contacts/{subject}", "/api/v1/contacts/nobody".into(), Value::Null, 404),
        ("post", "/api/v1/contacts/explain", "/api/v1/contacts/explain".into(), json!({"number": TestApp::gb(0)}), 200),
        ("post", "/api/v1/contacts/explain", "/api/v1/contacts/explain".into(), json!({"number": "twelve"}), 422),
        ("post", "/api/v1/contacts/explain", "/api/v1/contacts/explain".into(), json!({"nummer": "1"}), 422),
        ("get", "/api/v1/inbox", "/api/v1/inbox".into(), Value::Null, 200),
        ("get", "/api/v1/inbox", "/api/v1/inbox?after=x".into(), Value::Null, 400),
        ("post", "/api/v1/inbox/{id}/resolve", resolve.clone(), json!({"verdict": "yes"}), 422),
        ("post", "/api/v1/inbox/{id}/resolve", resolve.clone(), json!({"verdict": "stop"}), 200),
        ("post", "/api/v1/inbox/{id}/resolve", resolve, json!({"verdict": "nothing"}), 409),
        ("get", "/api/v1/gateways", "/api/v1/gateways".into(), Value::Null, 200),
        ("get", "/api/v1/requests", "/api/v1/requests?open=true&limit=1".into(), Value::Null, 200),
        ("get", "/api/v1/requests", "/api/v1/requests?open=perhaps".into(), Value::Null, 400),
        ("post", "/api/v1/requests/{id}/done", format!("/api/v1/requests/{noted}/done"), json!({"gateway": "none"}), 409),
        ("post", "/api/v1/requests/{id}/done", format!("/api/v1/requests/{noted}/done"), json!({}), 200),
        ("post", "/api/v1/requests/{id}/done", format!("/api/v1/requests/{erased}/done"), json!({"gateway": "mock"}), 200),
        ("get", "/api/v1/retention", "/api/v1/retention".into(), Value::Null, 200),
        (
            "post",
            "/api/v1/replies/classify",
            "/api/v1/replies/classify".into(),
            json!({"locale": "it", "text": "sì grazie"}),
            200,
        ),
        ("post", "/api/v1/replies/classify", "/api/v1/replies/classify".into(), json!({"locale": "xx", "text": "sì"}), 422),
        ("post", "/api/v1/campaigns/{name}/pause", format!("{campaign}/pause"), json!({}), 200),
        ("post", "/api/v1/campaigns/{name}/pause", format!("{campaign}/pause"), json!({}), 409),
        ("post", "/api/v1/campaigns/{name}/pause", "/api/v1/campaigns/none/pause".into(), json!({}), 404),
        ("post", "/api/v1/campaigns/{name}/resume", format!("{campaign}/resume"), json!({}), 200),
        ("post", "/api/v1/campaigns/{name}/resume", format!("{campaign}/resume"), json!({}), 409),
        ("post", "/api/v1/campaigns/{name}/resume", "/api/v1/campaigns/none/resume".into(), json!({}), 404),
        ("post", "/api/v1/campaigns/{name}/cancel", format!("{campaign}/cancel"), json!({}), 200),
        ("post", "/api/v1/campaigns/{name}/cancel", format!("{campaign}/cancel"), json!({}), 409),
        ("post", "/api/v1/campaigns/{name}/cancel", "/api/v1/campaigns/none/cancel".into(), json!({}), 404),
        ("post", "/api/v1/halt", "/api/v1/halt".into(), json!({}), 200),
        ("post", "/api/v1/resume", "/api/v1/resume".into(), json!({"heard": null}), 200),
    ];
    let mut left: BTreeSet<(String, String, String)> = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            left.extend(operation["responses"].as_object().unwrap().keys().map(|s| (method.clone(), path.clone(), s.clone())));
        }
    }
    for (method, template, address, body, expected) in calls {
        let what = format!("{method} {address} {body}");
        let operation = &document["paths"][template][method];
        assert!(operation.is_object(), "{what}: not in the document");
        let url = format!("{}{address}", app.operator);
        let request = if method == "get" { app.http.get(url) } else { app.http.post(url).json(&body) };
        if expected < 300 && method == "post" {
            fits(&document, &operation["requestBody"]["content"]["application/json"]["schema"], &body, &what);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let said = answer.json::<Value>().await.unwrap_or_else(|e| panic!("{what}: no JSON, {e}"));
        assert_eq!(status, expected, "{what}: {said}");
        let response = &operation["responses"][status.to_string()];
        assert!(response.is_object(), "{what}: {status} is not in the document");
        fits(&document, &response["content"]["application/json"]["schema"], &said, &what);
        left.remove(&(method.to_owned(), template.to_owned(), status.to_string()));
    }
    assert!(left.is_empty(), "documented and never seen: {left:?}");
    assert_eq!(open().await, Vec::<i64>::new(), "both are done");
    let (status, text) = app.get(&format!("{}/api/v1/nothing", app.operator)).await;
    fits(
        &document,
        &json!({"$ref": "#/components/schemas/Problem"}),
        &serde_json::from_str(&text).unwrap(),
        "an unknown operation",
    );
    assert_eq!(status, 404);
});

#[test]
fn no_operation_is_served_undocumented() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web");
    let files = [folder.clone(), folder.join("desk")].into_iter().flat_map(|f| std::fs::read_dir(f).unwrap());
    let texts = files.filter_map(|f| std::fs::read_to_string(f.unwrap().path()).ok()).collect::<Vec<_>>();
    // What is routed by hand under /api: the document itself, the answer to everything unknown, and what chatbots call on the people's side,
    // which the manual describes.
    let mut by_hand: Vec<&str> =
        texts.iter().flat_map(|t| t.split(".route(\"/api").skip(1)).filter_map(|r| r.split('"').next()).collect();
    by_hand.sort_unstable();
    assert_eq!(by_hand, ["/v1/intake", "/v1/openapi.json", "/{*rest}"]);
    // What is documented is routed: `routes!` does both at once.
    let count = |what: &str| texts.iter().map(|t| t.matches(what).count()).sum::<usize>();
    assert_eq!(count("#[utoipa::path("), count(".routes(routes!("));
}
