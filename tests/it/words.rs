//! What a campaign manager reads: a name that is not there, a file that is, a time, a hint.

use permesso::engine::{plan, steer};
use permesso::store::{contacts, messages};

use crate::app::{Kind, LINK, TestApp};
use crate::both;
use crate::run::ask;

/// A command that is refused with exit code 1; what it says on stderr.
async fn refused(app: &TestApp, args: &[&str]) -> String {
    let (code, out, err) = ask(app.dir.path(), args).await;
    assert_eq!(code, 1, "{args:?}: {out}{err}");
    err
}

async fn said(app: &TestApp, args: &[&str]) -> String {
    let (code, out, err) = ask(app.dir.path(), args).await;
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    out
}

both!(a_campaign_that_is_not_there_is_answered_with_those_there_are, |app| {
    for args in [
        ["campaign", "check", "rinovo-consensi"],
        ["campaign", "plan", "rinovo-consensi"],
        ["campaign", "report", "Rinnovo-Consensi"],
    ] {
        let err = refused(app, &args).await;
        assert!(err.contains("there is no campaign `") && err.contains("did you mean `rinnovo-consensi`?"), "{err}");
        assert!(err.contains("there are einwilligung, renew-consents, rinnovo-consensi, whatsapp-first"), "{err}");
    }
    let err = refused(app, &["campaign", "check", "../permesso"]).await;
    assert!(err.contains("there is no campaign `../permesso`"), "{err}");
    // One that is there and was never started is not a wrong name.
    let err = refused(app, &["campaign", "report", LINK]).await;
    assert!(err.contains("was never started") && err.contains("campaign plan"), "{err}");
});

both!(an_export_says_how_much_went_where_and_overwrites_nothing_unasked, |app| {
    app.people(&[TestApp::it(1), TestApp::it(2)]).await;
    let stop = TestApp::good(&TestApp::it(3)).replace("unticked,", "unticked,yes");
    app.import(&stop).await;
    app.send(LINK).await;
    app.reply(&TestApp::it(1), crate::app::REPLY_NUMBER, "STOP").await;
    for (args, lines) in [(["consents", "export", "--out"], 2), (["ledger", "export", "--out"], 0)] {
        let file = app.dir.path().join(args[0]);
        let file = file.to_str().expect("text");
        let args = [args.as_slice(), &[file]].concat();
        let out = said(app, &args).await;
        let written = std::fs::read_to_string(file).expect("written");
        let counted = written.lines().count() - usize::from(args[0] == "consents");
        let word = if counted == 1 { "line" } else { "lines" };
        assert_eq!(out, format!("{counted} {word} written to {file}\n"));
        assert!(counted >= lines.max(1), "{written}");
        std::fs::write(file, "somebody's work").expect("written");
        let err = refused(app, &args).await;
        assert!(err.contains("exists already") && err.contains("--force"), "{err}");
        assert_eq!(std::fs::read_to_string(file).expect("read"), "somebody's work");
        std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("open to all");
        said(app, &[args.as_slice(), &["--force"]].concat()).await;
        assert_eq!(std::fs::read_to_string(file).expect("read"), written);
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).expect("there").permissions());
        assert_eq!(mode & 0o777, 0o600, "numbers in the clear are their owner's");
        let err = refused(app, &[args[0], "export", "--out", "/nowhere/to/be.found"]).await;
        assert!(err.contains("folder does not exist") && err.contains("remedy"), "{err}");
    }
});

both!(a_plan_says_whom_another_campaign_is_about_to_ask, |app| {
    app.people(&[TestApp::it(1), TestApp::it(2)]).await;
    let id = app.plan(LINK).await;
    app.import(&TestApp::good(&TestApp::it(3))).await;
    let file = app.dir.path().join("config/campaigns/second.toml");
    let text =
        std::fs::read_to_string(app.dir.path().join("config/campaigns").join(format!("{LINK}.toml"))).expect("the campaign");
    let own =
        text.replace(&format!("name = \"{LINK}\""), "name = \"second\"").replace("family = \"default\"", "family = \"other\"");
    std::fs::write(file, own).expect("written");
    let hint = format!("        2 of them are planned in campaign {LINK} too");
    let out = said(app, &["campaign", "plan", "second"]).await;
    assert!(out.contains("3 would be asked") && out.contains(&hint), "{out}");
    let json: serde_json::Value =
        serde_json::from_str(&said(app, &["--json", "campaign", "plan", "second"]).await).expect("JSON");
    assert_eq!(json["counts"]["elsewhere"], serde_json::json!({ LINK: 2 }));
    let mut tx = app.engine.store.read().await.expect("a transaction");
    let ids: Vec<i64> =
        contacts::ids_after(&mut tx, &app.engine.controller, 0, 10).await.expect("read").into_iter().map(|(id,)| id).collect();
    let found = messages::planned_elsewhere(&mut tx, &ids, "second").await.expect("read");
    assert_eq!((ids.len(), found.len()), (3, 2), "whoever is not planned is not named");
    assert!(found.iter().all(|(contact, name)| ids.contains(contact) && name == LINK), "{found:?}");
    assert_eq!(messages::planned_elsewhere(&mut tx, &ids, LINK).await.expect("read"), []);
    let texts = messages::planned_texts(&mut tx, id).await.expect("read");
    assert_eq!(texts, [("ask".into(), "sms".into(), "it".into(), "IT".into())]);
    tx.rollback().await.expect("read alone");
    // Its own plans are none of another campaign, nor are those of one that was cancelled.
    assert!(!said(app, &["campaign", "plan", LINK]).await.contains("planned in campaign"));
    plan::set_state(&app.engine, LINK, permesso::domain::campaign::CampaignState::Cancelled).await.expect("cancelled");
    assert!(!said(app, &["campaign", "plan", "second"]).await.contains("planned in campaign"));
});

both!(a_report_tells_what_was_replaced_from_what_was_cancelled, |app| {
    app.people(&[TestApp::it(1), TestApp::it(2)]).await;
    app.plan(LINK).await;
    app.plan_as(LINK, |campaign| campaign.reminder_after_days = None).await;
    let asks = |out: &str| serde_json::from_str::<serde_json::Value>(out).expect("JSON")["asks"].clone();
    assert_eq!(
        asks(&said(app, &["--json", "campaign", "report", LINK]).await),
        serde_json::json!({ "planned": 2, "replaced": 2 })
    );
    let api = format!("{}/api/v1/campaigns/{LINK}", app.operator);
    assert_eq!(asks(&app.get(&api).await.1), serde_json::json!({ "planned": 2, "replaced": 2 }));
    said(app, &["campaign", "cancel", LINK, "--yes"]).await;
    assert_eq!(
        asks(&said(app, &["--json", "campaign", "report", LINK]).await),
        serde_json::json!({ "cancelled": 2, "replaced": 2 })
    );
    assert_eq!(asks(&app.get(&api).await.1), serde_json::json!({ "cancelled": 2, "replaced": 2 }));
});

both!(every_time_a_person_reads_names_its_zone, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.send(LINK).await;
    app.reply(&TestApp::it(1), crate::app::REPLY_NUMBER, "who is this about").await;
    let out = said(app, &["inbox", "list"]).await;
    assert!(out.lines().next().is_some_and(|line| line.contains(":00 UTC ") || line.contains(" UTC ")), "{out}");
    let page = app.get(&format!("{}/campaigns/{LINK}", app.operator)).await.1;
    for time in ["<dt>Start</dt><dd>", "<dt>Deadline</dt><dd>"] {
        let shown = page.split(time).nth(1).and_then(|rest| rest.split("</dd>").next()).expect("shown");
        assert!(shown.ends_with(" (Europe/Rome)"), "{time}{shown}");
    }
    assert!(page.contains("<a href=\"/api/v1/openapi.json\">"), "{page}");
    // The chart says from when to when its bars are, and names no time to come.
    assert!(page.contains("class=\"ends\"><span>2026-12-01 10:00 (Europe/Rome)</span></span>"), "{page}");
});

#[tokio::test]
async fn a_backup_that_cannot_be_made_says_what_to_do() {
    let mut app = TestApp::new(Kind::Sqlite).await;
    app.hang_up().await;
    let there = app.dir.path().join("there.db");
    std::fs::write(&there, "an earlier copy").expect("written");
    let err = refused(&app, &["db", "backup", "--to", there.to_str().expect("text")]).await;
    assert!(err.contains("it exists already; remedy: name a new file") && !err.contains("--no-backup"), "{err}");
    assert_eq!(std::fs::read_to_string(&there).expect("read"), "an earlier copy");
    let err = refused(&app, &["db", "backup", "--to", "/nowhere/to/be.found"]).await;
    assert!(err.contains("its folder does not exist; remedy: make the folder"), "{err}");
    app.engine.store.close().await;
}

#[tokio::test]
async fn without_pg_dump_a_backup_names_what_to_install() {
    let mut app = TestApp::new(Kind::Postgres).await;
    app.hang_up().await;
    let out = crate::run::permesso(app.dir.path()).args(["db", "backup"]).env("PATH", app.dir.path()).output().expect("permesso");
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && err.contains("there is no pg_dump; remedy: install postgresql-client"), "{err}");
    app.engine.store.close().await;
}

#[tokio::test]
async fn a_configuration_folder_that_is_not_there_says_how_to_make_one() {
    let dir = tempfile::tempdir().expect("a folder");
    for args in [["config", "check"].as_slice(), &["campaign", "plan", LINK], &["import", "contacts", "list.csv"]] {
        let (code, _, err) = ask(dir.path(), args).await;
        assert_eq!(code, 1);
        assert!(err.contains("there is no such folder") && err.contains(" init` makes one") && err.contains("--config"), "{err}");
    }
    std::fs::create_dir(dir.path().join("config")).expect("a folder");
    let (_, _, err) = ask(dir.path(), &["config", "check"]).await;
    assert!(err.contains("there is no permesso.toml in it"), "{err}");
}

#[tokio::test]
async fn a_new_folder_has_a_list_to_try_everything_with() {
    let dir = tempfile::tempdir().expect("a folder");
    assert_eq!(ask(dir.path(), &["init"]).await.0, 0);
    let list = dir.path().join("config/sample-list.csv");
    let (code, out, err) = ask(dir.path(), &["import", "contacts", list.to_str().expect("text")]).await;
    assert!(code == 0 && out.contains("        0 rows rejected"), "{out}{err}");
    assert_eq!(ask(dir.path(), &["notice", "publish"]).await.0, 0);
    let (code, out, _) = ask(dir.path(), &["campaign", "plan", LINK]).await;
    assert!(code == 0 && out.contains("        5 would be asked"), "{out}");
    for reason in ["ACTIVE_CUSTOMER", "BAD_NUMBER", "LEGACY_INVALID", "SOURCE_QUARANTINED", "SUPPRESSED_UNSUB"] {
        assert!(out.lines().any(|line| line.starts_with("        1 not: ") && line.ends_with(&format!(" ({reason})."))), "{out}");
    }
    // What most people read comes first.
    let texts: Vec<&str> = out.lines().filter(|line| line.contains("; by sms:")).map(str::trim).collect();
    assert_eq!(texts.first(), Some(&"3 people read `it`; by sms:"), "{out}");
    let (_, out, _) = ask(dir.path(), &["campaign", "preview", LINK]).await;
    let order: Vec<&str> = out.lines().filter_map(|line| line.split("reminder in `").nth(1)?.split('`').next()).collect();
    assert_eq!(order, ["it", "pl", "es", "de", "en", "fr"], "{out}");
}

both!(a_test_message_that_cannot_leave_says_why_at_once, |app| {
    let test = ["--json", "campaign", "test", LINK, "--to", "+39 300 123 4500", "--wait"];
    steer::halt(&app.engine, "a test").await.expect("halted");
    let (code, out, err) = ask(app.dir.path(), &test).await;
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, json["state"].as_str()), (1, Some("planned")), "it waited for what did not come");
    assert!(json["held_back"].as_str().is_some_and(|why| why.contains("permesso resume")), "{json}");
    assert!(err.contains("the message was not sent: halted by the operator; `permesso resume`"), "{err}");
    // Whoever did not want to wait for it is told, and that is all.
    let out = said(app, &test[1..6]).await;
    assert!(out.contains("nothing leaves at the moment: halted") && out.contains("lapses"), "{out}");
});

both!(a_test_message_that_nobody_is_there_to_send_fails_at_once, |app| {
    // The web role was heard a moment ago, and no worker is at work.
    let test = ["campaign", "test", LINK, "--to", "+39 300 123 4500", "--wait"];
    for args in [&test[..], &["gateway", "test", "mock", "--to", "+39 300 123 4500"]] {
        let err = refused(app, args).await;
        assert!(
            err.contains("no worker of a `permesso run` is at work") && err.contains("remedy: start `permesso run`"),
            "{err}"
        );
    }
    let out = said(app, &test[..5]).await;
    assert!(out.contains("nothing leaves at the moment: no worker of a `permesso run` is at work"), "{out}");
    // Nor is one whose lease has run out; where one works, that is not the reason.
    let mut tx = app.engine.store.write().await.expect("a transaction");
    permesso::store::control::register(&mut tx, "w", "worker").await.expect("registered");
    tx.commit().await.expect("committed");
    let why = async |app: &TestApp| permesso::engine::trial::held_back(&app.engine).await.expect("read");
    assert_eq!(why(app).await, None);
    app.execute("UPDATE leases SET renewed_db = renewed_db - 31000000").await.expect("run out");
    assert_eq!(why(app).await, Some(permesso::engine::trial::IDLE));
});

both!(a_first_yes_in_the_history_does_not_contradict_the_grant_below_it, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.send(LINK).await;
    app.submit(&app.link(&TestApp::it(1)), "chosen", &["sms.promotions"]).await;
    app.advance(std::time::Duration::from_secs(60));
    app.reply(&TestApp::it(1), crate::app::REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&TestApp::it(1)).await.len(), 1);
    let out = said(app, &["contact", "explain", &TestApp::it(1)]).await;
    assert!(out.contains("a first yes to") && out.contains("to be confirmed by a second step"), "{out}");
    assert!(out.contains("granted") && !out.contains("has not come"), "{out}");
});
