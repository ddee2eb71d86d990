//! The operator's desk: counters that equal a recount, pages to click through, acts from a browser, and forgeries.

use std::collections::BTreeMap;
use std::time::Duration;

use permesso::domain::campaign::CampaignState;
use permesso::engine::{expire, plan, recover};
use permesso::gateway::mock::faults::Faults;
use permesso::store::{Store, report};

use crate::app::{LINK, REPLY, REPLY_NUMBER, TestApp};
use crate::both;

/// A figure counted from the rows themselves: the scans that the counters stand for. `key` and `n` a row.
const SCANS: [(&str, &str); 7] = [
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
const COUNTED: [(&str, &str); 7] = [
    ("message", "CAST(campaign_id AS TEXT) || '|' || a || '|' || b || '|' || c || '|' || d"),
    ("decision", "CAST(campaign_id AS TEXT) || '|' || a || '|' || b"),
    ("conversation", "CAST(campaign_id AS TEXT) || '|' || a || '|' || CAST(hour AS TEXT)"),
    ("first_yes", "CAST(campaign_id AS TEXT) || '|' || CAST(hour AS TEXT)"),
    ("attempt", "CAST(campaign_id AS TEXT) || '|' || a || '|' || b || '|' || c || '|' || d || '|' || CAST(hour AS TEXT)"),
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
async fn counters_are_right(app: &TestApp, when: &str) {
    for ((topic, scan), (_, key)) in SCANS.into_iter().zip(COUNTED) {
        let scanned = rows(app, scan.to_owned()).await;
        let counted = format!(
            "SELECT {key} AS k, CAST(SUM(n) AS BIGINT) AS n FROM counters WHERE topic = '{topic}' GROUP BY {key} HAVING SUM(n) <> 0"
        );
        assert_eq!(rows(app, counted).await, scanned, "{topic}, {when}");
    }
}

/// A story with everything in it: skips, faults, replies of every kind, cancel, replan, stop, re-import, a lost worker, time.
async fn long_story(app: &TestApp) {
    let bad = "+393009999999,,customer,2026-11-01,web shop,prior_consent,form 1,2025-01-10,unticked,,,\n";
    app.import(bad).await;
    app.people(&(0..24).map(TestApp::it).chain([TestApp::gb(1), TestApp::gb(2)]).collect::<Vec<_>>()).await;
    app.import(&TestApp::good("+390612345678")).await;
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
    for (n, text) in [(0, "SI"), (1, "NO"), (2, "STOP"), (3, "boh"), (4, "numero sbagliato"), (5, "AIUTO"), (6, "SI"), (7, "mah")] {
        app.reply(&TestApp::it(n), REPLY_NUMBER, text).await;
    }
    counters_are_right(app, "first replies").await;
    app.advance(Duration::from_secs(3700));
    app.reply(&TestApp::it(0), REPLY_NUMBER, "SI").await;
    app.reply(&TestApp::it(6), REPLY_NUMBER, "SI").await;
    app.advance(Duration::from_secs(7200));
    app.reply(&TestApp::it(6), REPLY_NUMBER, "STOP").await;
    counters_are_right(app, "granted, and one taken back").await;
    // Planned anew, paused, cancelled; imported again with a no.
    app.people(&(100..110).map(TestApp::it).collect::<Vec<_>>()).await;
    app.plan(REPLY).await;
    app.import(&TestApp::good(&TestApp::it(100)).replace(",unticked,,,", ",unticked,yes,,")).await;
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
});

#[tokio::test]
async fn a_database_of_before_is_counted_when_it_is_migrated() {
    for (folder, url) in [
        ("sqlite", format!("sqlite:{}", tempfile::tempdir().unwrap().keep().join("old.db").display())),
        ("postgres", crate::postgres::empty().await),
    ] {
        let all = sqlx::migrate::Migrator::new(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder)).await;
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
        assert_eq!(messages.iter().map(|m| (row(&[&m.0, &m.1, &m.2, &m.3]), m.4)).collect::<Vec<_>>(), [(row(&["sms", "IT", "ask", "delivered"]), 1)]);
        assert_eq!(report::messages_by_hour(&mut tx, 7).await.unwrap(), [(2, "ask".into(), "delivered".into(), 1)]);
        assert_eq!(report::attempts_by_hour(&mut tx, 7).await.unwrap(), [(1, "ask".into(), "accepted".into(), 1)]);
        assert_eq!(report::attempts_since(&mut tx, "c", 1).await.unwrap(), [("g".into(), "accepted".into(), String::new(), 1)]);
        assert!(report::attempts_since(&mut tx, "c", 2).await.unwrap().is_empty());
        let decided = report::decisions(&mut tx, 7).await.unwrap();
        assert_eq!(decided, [("send".into(), "ELIGIBLE".into(), 1), ("skip".into(), "HELD_FOR_OPERATOR".into(), 1)]);
        assert_eq!(report::decisions_by_country(&mut tx, 7).await.unwrap(), [(String::new(), "skip".into(), 1), ("IT".into(), "send".into(), 1)]);
        assert_eq!(report::conversations_by_hour(&mut tx, 7).await.unwrap(), [(2, "granted".into(), 1)]);
        assert_eq!(report::conversations_by_place(&mut tx, 7).await.unwrap(), [("sms".into(), "IT".into(), "granted".into(), 1)]);
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
        app.reply(&TestApp::gb(n), REPLY_NUMBER, text).await;
    }
    app.advance(Duration::from_secs(120));
    app.reply(&TestApp::gb(4), REPLY_NUMBER, "YES").await;
    let rows = [
        row(10, ",prospect,,web shop,prior_consent,form 1,2025-01-10,unticked,yes,,"),
        format!("+442079460001,{good}\n"),
        format!("{},{good}\n", TestApp::it(1)),
        row(11, ",customer,2026-11-01,web shop,prior_consent,form 1,2025-01-10,unticked,,,"),
        row(12, ",prospect,,purchased,prior_consent,form 1,2025-01-10,unticked,,,"),
        row(13, ",prospect,,web shop,prior_consent,form 1,2025-01-10,preticked,,,"),
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
                assert!(story.contains(&format!("skip {code}. ")), "{code}: {story}");
                *found.entry(code.clone()).or_default() += 1;
            }
        }
    }
    let expected = [
        "ACTIVE_CUSTOMER", "ALREADY_GRANTED", "ALREADY_REFUSED", "ASK_CAP", "BAD_NUMBER", "HELD_FOR_OPERATOR", "LEGACY_INVALID",
        "NOT_IN_SEGMENT", "NO_ASK_BASIS", "SOURCE_QUARANTINED", "SUPPRESSED_OBJECTION", "SUPPRESSED_UNSUB", "WRONG_PERSON",
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
