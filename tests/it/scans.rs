//! No question about one person, one slice or what is due reads a whole table: what takes a millisecond with a thousand people in the list
//! takes seconds with a million, and nobody would see it in a test.

use std::collections::BTreeSet;
use std::time::Duration;

use permesso::engine::{erase, expire, inbox};
use permesso::store::{self, Store};

use crate::app::{Kind, LINK, REPLY, REPLY_NUMBER, TestApp};
use crate::code;
use crate::erasure::by_letter;

/// Tables that grow with the people.
const GROWING: [&str; 20] = [
    "asked_marks",
    "attempts",
    "batches",
    "codes",
    "consent_evidence",
    "contacts",
    "conversations",
    "decisions",
    "evidence",
    "humans",
    "inbound_events",
    "intakes",
    "ledger",
    "links",
    "messages",
    "number_macs",
    "outbox",
    "preferences",
    "receipts",
    "suppressions",
];

/// What may read them, and why: by how the statement begins.
const MAY: [(&str, &str); 4] = [
    ("SELECT id FROM contacts WHERE controller || '' = $1", "goes on from an id, in the order of ids"),
    ("WITH wanted AS MATERIALIZED", "a page of the list of consents goes on from an id, too"),
    ("SELECT CAST(CASE WHEN EXISTS (SELECT 1 FROM contacts)", "the first row answers"),
    ("SELECT COUNT(*) FROM contacts c WHERE c.controller || '' = $1", "counted beside the page, at most once a minute"),
];

/// By what names a statement calls the growing tables.
fn names(sql: &str) -> BTreeSet<&str> {
    let words: Vec<&str> = sql.split_whitespace().map(|w| w.trim_matches(['(', ')', ','])).collect();
    let mut names = BTreeSet::new();
    for at in 1..words.len() {
        if GROWING.contains(&words[at]) && matches!(words[at - 1], "FROM" | "JOIN" | "UPDATE" | "INTO") {
            let alias = words[at + 1..].iter().find(|w| **w != "AS").copied().unwrap_or("");
            let is_alias = !alias.is_empty() && alias.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            names.insert(if is_alias { alias } else { words[at] });
        }
    }
    names
}

/// Steps of a plan that read a growing table from its beginning, or all of one controller's or campaign's rows.
async fn whole_reads(app: &TestApp, sql: &str) -> Vec<String> {
    let Store::Sqlite { read, .. } = &app.engine.store else { unreachable!("the statements are SQLite's") };
    let plan: Vec<(i64, i64, i64, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(read).await.expect("a plan");
    let names = names(sql);
    let whole = |step: &String| {
        let mut words = step.split(' ');
        let (how, name) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        // Indexes of what is under way alone, of which there is little.
        let little = ["attempts_flight", "inbound_events_waiting", "outbox_order", "receipts_unmatched", "batches_oldest"];
        let little = little.iter().any(|index| step.contains(index));
        names.contains(name)
            && !little
            && (how == "SCAN" || ["(controller=?)", "(campaign_id=?)", "(open=?)"].iter().any(|all| step.ends_with(all)))
    };
    plan.into_iter().map(|(.., step)| step).filter(whole).collect()
}

/// What an operator and their machines look at.
async fn look_at_all(app: &TestApp) {
    let mut left = [
        "/metrics",
        "/api/v1/overview",
        "/",
        "/campaigns.csv",
        "/inbox",
        "/gateways",
        "/consents",
        "/consents/list",
        "/requests",
        "/webhooks",
    ]
    .map(str::to_owned)
    .to_vec();
    let of_campaign = ["/countries.csv", "/timeline.csv", "/skipped/SUPPRESSED_UNSUB.csv", "/skipped/SUPPRESSED_UNSUB", ""];
    left.extend(of_campaign.map(|page| format!("/campaigns/{LINK}{page}")));
    let mut person = None;
    while let Some(path) = left.pop() {
        let (status, text) = app.get(&format!("{}{path}", app.operator)).await;
        assert_eq!(status, 200, "{path}: {text}");
        if let (None, Some(subject)) = (&person, text.split("\"/contacts/").nth(1).and_then(|rest| rest.split('"').next())) {
            left.push(format!("/contacts/{subject}"));
            person = Some(subject.to_owned());
        }
    }
    assert!(person.is_some(), "nobody was looked at");
}

/// A life in which most things happen once.
async fn a_life(app: &TestApp) {
    let [stopper, eraser, replier] = [2, 3, 4].map(TestApp::it);
    app.people(&[stopper.clone(), eraser.clone()]).await;
    let row = |n, no| format!("{},,prospect,,web shop,prior_consent,form 1,2026-01-10,unticked,{no},c1,\n", TestApp::it(n));
    app.import(&format!("{}{}", row(5, "yes"), row(6, ""))).await;
    app.send(LINK).await;
    let chooser = code::de(1);
    let link = code::submitted(app, &chooser).await;
    code::enter(app, &link, &code::newest(app, &chooser)).await;
    assert_eq!(app.granted(&chooser).await.len(), 1);
    assert_eq!(app.submit(&link, "none", &[]).await, 303);
    app.people(std::slice::from_ref(&replier)).await;
    app.send(REPLY).await;
    app.reply(&replier, REPLY_NUMBER, "YES").await;
    app.reply(&replier, REPLY_NUMBER, "mah, vediamo un po").await;
    let waiting = inbox::waiting(&app.engine, 0, 1).await.expect("listed");
    inbox::resolve(&app.engine, waiting[0].id, false, "op").await.expect("resolved");
    app.reply(&stopper, REPLY_NUMBER, "STOP").await;
    erase::erase(&app.engine, &TestApp::number(&eraser), &by_letter(app), false).await.expect("erased");
    app.story(&chooser).await;
    look_at_all(app).await;
    app.advance(Duration::from_secs(40 * 86_400));
    expire::expire(&app.engine).await.expect("expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_question_about_one_person_reads_a_whole_table() {
    // In a process of its own, so that the statements are those of this life and of no other story.
    if std::env::var_os("PERMESSO_ONE_LIFE").is_none() {
        let me = std::env::current_exe().expect("this program");
        let own = tokio::process::Command::new(me)
            .args(["--exact", "scans::no_question_about_one_person_reads_a_whole_table", "--nocapture"])
            .env("PERMESSO_ONE_LIFE", "1")
            .output();
        let own = own.await.expect("run");
        assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stderr));
        return;
    }
    let app = TestApp::new(Kind::Sqlite).await;
    a_life(&app).await;
    let all = store::STATEMENTS.lock().expect("no panic while held").clone();
    assert!(all.len() > 150, "{}", all.len());
    let mut bad = String::new();
    for sql in all {
        let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        if MAY.iter().any(|(begins, _)| sql.starts_with(begins)) {
            continue;
        }
        for step in whole_reads(&app, &sql).await {
            bad += &format!("{step}: {sql}\n\n");
        }
    }
    assert!(bad.is_empty(), "{bad}");
}
