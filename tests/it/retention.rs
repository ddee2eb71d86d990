//! What age alone ends and deletes, and what it leaves.

use std::time::Duration;

use permesso::domain::channel::Purpose;
use permesso::domain::ledger::Body;
use permesso::domain::rights::Right;
use permesso::engine::retention::{self as by_age, Found};
use permesso::engine::{erase, inbox, report, requests, rights, verify};
use permesso::store::retention;

use crate::after::preferences_are_the_ledgers_replay;
use crate::app::{Kind, LINK, REPLY_NUMBER, TestApp};
use crate::both;
use crate::erasure::{by_letter, grants, with_id};
use crate::run::ask;

const DAY: Duration = Duration::from_secs(86_400);

async fn due(app: &TestApp) -> Found {
    by_age::rehearse(&app.engine).await.expect("looked")
}

async fn run(app: &TestApp) -> Found {
    let due = due(app).await;
    let done = by_age::by_hand(&app.engine).await.expect("done");
    assert_eq!(due, done, "a rehearsal says what will be done");
    assert_eq!(verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
    preferences_are_the_ledgers_replay(app).await;
    done
}

/// Until so many connections of this database wait for a row that another holds.
async fn waits(app: &TestApp) {
    let sql = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    crate::run::until("it waits for the row", async || app.count(sql).await > 0).await;
}

#[tokio::test]
async fn whoever_is_erased_while_a_run_looks_at_them_is_left_alone_postgres() {
    let mut app = TestApp::new(Kind::Postgres).await;
    let person = TestApp::it(1);
    app.people(std::slice::from_ref(&person)).await;
    app.send(LINK).await;
    grants(&app, &person).await;
    app.advance(100 * DAY);
    assert_eq!(run(&app).await.replies, 1);
    app.advance(700 * DAY);
    let mut tx = app.engine.store.write().await.unwrap();
    erase::within(&mut tx, &app.engine, &TestApp::number(&person), &by_letter(&app)).await.unwrap();
    // It has found the consent that is too old, and waits for the person's row.
    let (found, ()) = tokio::join!(by_age::by_hand(&app.engine), async {
        waits(&app).await;
        tx.commit().await.unwrap();
    });
    assert_eq!(found.unwrap(), Found::default());
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'consent_expired'").await, 0);
    app.end().await;
}

both!(whoever_waits_for_an_answer_is_not_forgotten, |app| {
    app.people(&[TestApp::it(2)]).await;
    // One human has two numbers, of which the letter names one.
    app.import(&[1, 3].map(|n| with_id(&TestApp::it(n), "H1")).concat()).await;
    let stranger = TestApp::it(9);
    app.reply(&stranger, REPLY_NUMBER, "STOP").await;
    let number = TestApp::number(&TestApp::it(1));
    let noted = requests::note(&app.engine, Right::Access, &number, &by_letter(app)).await.unwrap();
    app.advance(1_000 * DAY);
    assert_eq!(run(app).await.forgotten, 1);
    let open = requests::list(&app.engine, true).await.unwrap();
    assert!(open[0].id == noted && open[0].subject.is_some(), "it says whose it is: {open:?}");
    requests::answered(&app.engine, noted, None).await.unwrap();
    assert_eq!(run(app).await.forgotten, 2);
    // Of a stranger the no alone is kept; and of what was asked for nothing, once the proof would be too old.
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events WHERE mac <> ''").await, 0);
    assert!(app.story(&stranger).await.verdict.contains("stopped"));
    app.advance(1_825 * DAY);
    assert_eq!(run(app).await.requests, 0);
    app.advance(DAY);
    assert_eq!(run(app).await.requests, 1);
    assert!(requests::list(&app.engine, false).await.unwrap().is_empty());
});

both!(what_any_number_wrote_and_nobody_has_read_keeps_the_whole_human, |app| {
    let [wrote, kin, stranger] = [1, 2, 9].map(TestApp::it);
    // One human has three numbers, of which a rejected row names the last.
    app.import(&(with_id(&wrote, "H1") + &with_id(&kin, "H1") + &crate::humans::rejected(9, "H1", ""))).await;
    for (number, forgotten) in [(&wrote, 0), (&stranger, 2)] {
        app.reply(number, REPLY_NUMBER, "mah, vediamo un po").await;
        app.advance(1_000 * DAY);
        assert_eq!(run(app).await.forgotten, 0);
        let waiting = inbox::waiting(&app.engine, 0, 9).await.unwrap();
        inbox::resolve(&app.engine, waiting[0].id, false, "op").await.unwrap();
        app.advance(1_000 * DAY);
        assert_eq!(due(app).await.forgotten, 2, "nothing waits any more");
        if forgotten > 0 {
            assert_eq!(run(app).await.forgotten, forgotten);
        }
    }
});

both!(an_erasure_by_a_number_that_was_forgotten_takes_that_number_alone, |app| {
    let [old, new, late, silent, next] = [1, 2, 3, 4, 5].map(TestApp::it);
    app.import(&(with_id(&old, "H1") + &TestApp::good(&silent))).await;
    app.send(LINK).await;
    // Nothing said whose number this is when it was asked.
    app.import(&with_id(&silent, "H2")).await;
    app.reply(&old, REPLY_NUMBER, "STOP").await;
    app.advance(60 * DAY);
    permesso::engine::expire::expire(&app.engine).await.unwrap();
    app.advance(831 * DAY);
    assert_eq!(run(app).await.forgotten, 2);
    let later = |number: &str, id: &str| with_id(number, id).replace("2026-01-10", "2028-11-10");
    app.import(&(later(&new, "H1") + &later(&next, "H2"))).await;
    app.reply(&old, REPLY_NUMBER, "chi siete?").await;
    for number in [&old, &silent] {
        let (code, out, err) = ask_then(app, &["contact", "erase", number]).await;
        let left = "it was forgotten, so who asks may be somebody else; remedy: where it is that person, erase their number, too";
        assert!(code == 0 && out.contains("the number is no contact") && out.contains(left), "{out}{err}");
        assert_eq!(app.import(&later(number, "")).await.erased, 1);
        assert!(app.story(number).await.verdict.contains("erased"));
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events WHERE mac <> ''").await, 0, "what was written by it goes");
    // The others are as they were: known, and under the no and the ask of before.
    let again = app.import(&(later(&new, "H1") + &later(&late, "H1") + &later(&next, "H2"))).await;
    assert_eq!((again.erased, again.new), (0, 1), "{again:?}");
    for number in [&new, &late] {
        let story = app.story(number).await;
        assert!(story.known && story.verdict.contains("stopped since") && !story.verdict.contains("erased"), "{story:?}");
    }
    app.plan_as(LINK, |c| {
        c.name = "later".into();
        c.start += chrono::Duration::days(891);
        c.deadline += chrono::Duration::days(920);
        c.pack_stale_days = 3650;
    })
    .await;
    app.settle().await;
    assert!(app.decisions(&next).await.concat().contains("ASK_CAP"), "{:?}", app.decisions(&next).await);
    assert_eq!(app.asks(&next), 0);
    let (_, out, _) = ask_then(app, &["contact", "erase", &old]).await;
    assert!(out.contains("was erased before"), "{out}");
});

both!(a_letter_about_a_number_that_was_forgotten_restricts_nobody_else, |app| {
    let [old, new] = [1, 2].map(TestApp::it);
    app.import(&with_id(&old, "H1")).await;
    app.send(LINK).await;
    app.advance(60 * DAY);
    permesso::engine::expire::expire(&app.engine).await.unwrap();
    app.advance(831 * DAY);
    assert_eq!(run(app).await.forgotten, 1);
    let later = |number: &str| with_id(number, "H1").replace("2026-01-10", "2028-11-10");
    app.import(&later(&new)).await;
    let restrict = async |number: &str, restricted: bool| {
        rights::restrict_number(&app.engine, &TestApp::number(number), restricted, &by_letter(app)).await
    };
    // Whoever has it now may be who asks: nothing of theirs is here, and the others are not theirs to restrict, or to free.
    let refused = restrict(&old, true).await.unwrap_err().to_string();
    assert!(refused.contains("this number is no contact") && refused.contains("; remedy: "), "{refused}");
    assert_eq!(restrict(&new, true).await.unwrap(), 1);
    assert!(restrict(&old, false).await.is_err());
    assert!(app.story(&new).await.verdict.contains("restricted"), "{:?}", app.story(&new).await);
    assert_eq!(restrict(&new, false).await.unwrap(), 1);
    let noted = requests::note(&app.engine, Right::Restriction, &TestApp::number(&old), &by_letter(app)).await.unwrap();
    let open = requests::list(&app.engine, true).await.unwrap();
    assert_eq!(open[0].left, Some(format!("permesso contact requests done {noted}")), "{open:?}");
    assert!(open[0].hint.as_deref().is_some_and(|hint| hint.starts_with("nobody is known by this number")), "{open:?}");
    requests::answered(&app.engine, noted, None).await.unwrap();
    // A list that brings it again says that it is theirs; whoever is erased has nothing to restrict.
    app.import(&later(&old)).await;
    assert_eq!(restrict(&old, true).await.unwrap(), 2);
    crate::erasure::erase(app, &new).await;
    for number in [&old, &new] {
        assert!(restrict(number, true).await.unwrap_err().to_string().contains("this number is no contact"));
    }
});

const WORDS: &str = "SELECT COUNT(*) FROM inbound_events WHERE body_enc <> ''";
const KNOWN: &str = "SELECT COUNT(*) FROM contacts WHERE number_enc <> ''";

both!(consents_end_the_silent_are_forgotten_and_words_and_proof_go_in_time, |app| {
    let [granted, silent, stopped, unclear, restricted, customer, handed] = [1, 2, 3, 4, 5, 6, 7].map(TestApp::it);
    let known = [&granted, &silent, &stopped, &unclear, &restricted, &handed].map(Clone::clone);
    app.people(&known).await;
    app.import(&TestApp::good(&customer).replace(",prospect,,", ",customer,2026-11-20,")).await;
    app.send(LINK).await;
    let link = grants(app, &granted).await;
    app.reply(&stopped, REPLY_NUMBER, "STOP").await;
    app.reply(&unclear, REPLY_NUMBER, "mah, vediamo un po").await;
    rights::restrict_number(&app.engine, &TestApp::number(&restricted), true, &by_letter(app)).await.unwrap();
    assert_eq!(run(app).await, Found::default(), "nothing is old");
    for lang in ["it", "pl", "en", "de", "fr", "es"] {
        let (_, notice) = app.get(&format!("{}/notice/{lang}", app.base)).await;
        let [silent, replies] = [730, 90].map(|days| permesso::domain::span::words(lang, days).expect("words"));
        assert!(["24", "12", &silent, &replies].iter().all(|n| notice.contains(n)), "the notice says so: {notice}");
    }

    // The words of replies go first, but for what somebody still has to read.
    app.advance(91 * DAY);
    permesso::engine::expire::expire(&app.engine).await.unwrap();
    assert_eq!(app.count(WORDS).await, 3);
    let (code, out, err) = ask_then(app, &["retention", "run", "--dry-run"]).await;
    assert!(code == 0 && out.contains("nothing was changed") && out.contains("words of 2 replies"), "{out}{err}");
    assert_eq!(run(app).await, Found { replies: 2, ..Found::default() });
    assert_eq!((app.count(WORDS).await, inbox::waiting(&app.engine, 0, 9).await.unwrap().len()), (1, 1));
    assert!(app.history(&stopped).await.concat().contains("read as a STOP"), "what was read in them stays");

    // A day before its time a consent holds, and the day after it is over.
    let before = report::campaign(&app.engine, LINK).await.unwrap();
    app.advance(638 * DAY);
    let lost = permesso::engine::hand::link(&app.engine, &TestApp::number(&handed), "ann", None).await.unwrap().address;
    assert_eq!(due(app).await, Found::default());
    app.advance(4 * DAY);
    assert_eq!(run(app).await, Found { expired: 1, forgotten: 3, ..Found::default() });
    assert!(app.granted(&granted).await.is_empty());
    let story = app.story(&granted).await;
    assert!(story.preferences.contains(&"sms.promotions: expired".to_owned()), "{story:?}");
    assert!(story.ledger.concat().contains(" consent_expired "), "{story:?}");
    assert_eq!(app.get(&link).await.0, 410);
    assert_eq!(app.count(KNOWN).await, 4, "who was granted, who is waited for, who restricted the use, who was handed a link");
    assert_eq!(app.get(&lost).await.0, 200);
    for gone in [&silent, &stopped, &customer] {
        assert!(!app.story(gone).await.known);
    }
    let after = report::campaign(&app.engine, LINK).await.unwrap();
    crate::reports::adds_up(&after);
    assert_eq!((after.targeted, after.asked), (before.targeted, before.asked), "the figures stand");
    assert_eq!(run(app).await, Found::default(), "once");

    // Whoever comes again is new, but no no and no ask is forgotten.
    let again = [silent.clone(), stopped.clone()].map(|n| TestApp::good(&n).replace("2026-01-10", "2028-11-10")).concat();
    assert_eq!(app.import(&again).await.new, 2);
    assert!(app.story(&stopped).await.verdict.contains("stopped"));
    app.plan_as(LINK, |c| {
        c.name = "later".into();
        c.start += chrono::Duration::days(733);
        c.deadline += chrono::Duration::days(760);
        c.pack_stale_days = 3650;
    })
    .await;
    app.settle().await;
    assert!(app.decisions(&silent).await.concat().contains("ASK_CAP"), "{:?}", app.decisions(&silent).await);
    assert_eq!((app.asks(&silent), app.asks(&stopped)), (1, 1));

    // The proof of those who are gone goes last. Nobody else's does.
    let proofs = "SELECT COUNT(*) FROM evidence";
    let kept = app.count(proofs).await;
    app.advance(1_826 * DAY);
    let found = run(app).await;
    assert_eq!(found.proofs, 1, "of the one who had said something: {found:?}");
    assert_eq!(
        app.count(proofs).await,
        kept + 3,
        "two entries of theirs gone, one that says so; and one of each of four forgotten since"
    );
    assert_eq!(run(app).await, Found::default());
});

both!(a_no_outlives_the_forgetting_of_its_number_for_the_whole_human, |app| {
    let [old, new] = [1, 2].map(TestApp::it);
    app.import(&with_id(&old, "H1")).await;
    app.reply(&old, REPLY_NUMBER, "STOP").await;
    app.advance(891 * DAY);
    // Nothing was done meanwhile: the words are counted once, by the rehearsal too.
    assert_eq!(run(app).await, Found { replies: 1, forgotten: 1, ..Found::default() });
    // People change their phones.
    app.import(&with_id(&new, "H1").replace("2026-01-10", "2028-11-10")).await;
    assert!(app.story(&new).await.verdict.contains("stopped"), "{}", app.story(&new).await.verdict);
    // And others get their numbers: what these write is nobody's to read but theirs.
    app.reply(&old, REPLY_NUMBER, "chi siete? sono Mario Rossi").await;
    for (number, theirs) in [(&new, false), (&old, true)] {
        let (code, out, err) = ask_then(app, &["contact", "export", number]).await;
        assert!(code == 0 && out.contains("web shop") != theirs && out.contains("Mario") == theirs, "{number}: {out}{err}");
    }
    // Nor does the letter of whoever has the number now answer that of the person who had it.
    requests::note(&app.engine, Right::Access, &TestApp::number(&new), &by_letter(app)).await.unwrap();
    assert_eq!(ask_then(app, &["contact", "export", &old]).await.0, 0);
    assert_eq!(requests::list(&app.engine, true).await.unwrap().len(), 1);
});

/// A command at the test's own time.
pub async fn ask_then(app: &TestApp, args: &[&str]) -> (i32, String, String) {
    let mut command = crate::run::permesso(app.dir.path());
    command.args(args).env("PERMESSO_CLOCK", app.clock.date_time().to_rfc3339());
    let out = tokio::process::Command::from(command).output().await.expect("permesso");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
}

both!(a_run_is_called_for_once_a_day_and_again_where_it_broke_off, |app| {
    // However many workers look at the same moment.
    let called = futures::future::join_all((0..8).map(|_| by_age::schedule(&app.engine))).await;
    assert_eq!(called.into_iter().filter(|called| *called.as_ref().unwrap()).count(), 1);
    assert_eq!(by_age::runs(&app.engine, 9).await.unwrap()[0].found, None);
    app.advance(Duration::from_secs(3_601));
    // A process is at it still: nobody else begins one, in whatever way.
    let mut tx = app.engine.store.write().await.unwrap();
    assert!(retention::take(&mut tx, &app.engine.controller, 1, 0, 60_000_000).await.unwrap().is_some());
    tx.commit().await.unwrap();
    assert!(!by_age::schedule(&app.engine).await.unwrap());
    assert_eq!(by_age::work(&app.engine, 1).await.unwrap(), None, "rung for twice");
    assert!(by_age::by_hand(&app.engine).await.unwrap_err().to_string().contains("remedy: wait for it"));
    // It died.
    app.execute("UPDATE retention_runs SET lease_db = 1").await.unwrap();
    assert!(by_age::schedule(&app.engine).await.unwrap(), "the first never came to its end");
    let both = tokio::join!(by_age::work(&app.engine, 2), by_age::work(&app.engine, 2));
    assert_eq!([both.0.unwrap(), both.1.unwrap()].iter().flatten().count(), 1, "two slots took the same job");
    assert_eq!(by_age::runs(&app.engine, 9).await.unwrap()[0].found, Some(Found::default()));
    assert!(!by_age::schedule(&app.engine).await.unwrap());
    let (code, out, err) = ask(app.dir.path(), &["retention", "list"]).await;
    assert!(
        code == 0
            && out.contains("0 people forgotten")
            && out.contains("broken off")
            && out.starts_with("2026-12-01 ")
            && out.contains(" UTC  "),
        "{out}{err}"
    );
    let (_, desk) = app.get(&format!("{}/requests", app.operator)).await;
    assert!(desk.contains("Last run, 2026-12-01") && desk.contains("consents of 0 people expired, 0 people forgotten"), "{desk}");
    app.advance(DAY);
    assert!(by_age::schedule(&app.engine).await.unwrap());
    // The worker does it by the job.
    app.hang_up().await;
    let mut worker = crate::run::spawn_run(app);
    let done = "SELECT COUNT(*) FROM retention_runs WHERE done_at IS NOT NULL";
    crate::run::until("the job is done", async || app.count(done).await >= 2).await;
    worker.kill().unwrap();
    worker.wait().unwrap();
});

both!(what_the_store_finds_too_old, |app| {
    let person = TestApp::it(1);
    app.people(std::slice::from_ref(&person)).await;
    app.send(LINK).await;
    grants(app, &person).await;
    let (ours, now) = (app.engine.controller.clone(), app.clock.now());
    let mut tx = app.engine.store.write().await.unwrap();
    let promo = Purpose::Promotions;
    assert_eq!(retention::expired(&mut tx, &ours, promo, now + 1, 0, 9).await.unwrap(), [(1,)]);
    assert!(retention::expired(&mut tx, &ours, promo, now + 1, 1, 9).await.unwrap().is_empty());
    assert!(retention::expired(&mut tx, &ours, Purpose::Profiling, now + 1, 0, 9).await.unwrap().is_empty());
    let subject = app.story(&person).await.preferences;
    assert_eq!(subject, ["sms.promotions: granted"]);
    assert!(retention::silent(&mut tx, &ours, now + 1, "2030-01-01", 0, 9).await.unwrap().is_empty(), "something stands granted");
    let replies = retention::old_replies(&mut tx, &ours, now + 1, 0, 9).await.unwrap();
    assert_eq!(replies.len(), 1);
    assert!(retention::old_replies(&mut tx, &ours, now + 1, replies[0], 9).await.unwrap().is_empty());
    assert_eq!(retention::blank_replies(&mut tx, &replies).await.unwrap(), 1);
    assert!(retention::old_replies(&mut tx, &ours, now + 1, 0, 9).await.unwrap().is_empty());
    assert!(retention::old_proofs(&mut tx, &ours, now + 1, 0, 9).await.unwrap().is_empty(), "they are here");
    assert!(retention::old_requests(&mut tx, &ours, now + 1, 0, 9).await.unwrap().is_empty(), "nobody asked for anything");
    assert_eq!(retention::delete_requests(&mut tx, &[9]).await.unwrap(), 0);
    let run = retention::begin(&mut tx, &ours, 1).await.unwrap();
    // By lease: one run at a time, kept by who has it, taken again once nobody keeps it.
    let other = retention::begin(&mut tx, "another", 1).await.unwrap();
    let second = retention::begin(&mut tx, &ours, 1).await.unwrap();
    assert!(!retention::under_way(&mut tx, &ours).await.unwrap());
    let until = retention::take(&mut tx, &ours, run, 0, 60_000_000).await.unwrap().expect("taken");
    assert!(retention::under_way(&mut tx, &ours).await.unwrap());
    assert_eq!(retention::take(&mut tx, &ours, run, 0, 60_000_000).await.unwrap(), None);
    assert_eq!(retention::take(&mut tx, &ours, second, 0, 60_000_000).await.unwrap(), None);
    assert!(retention::take(&mut tx, "another", other, 0, 60_000_000).await.unwrap().is_some(), "each controller for itself");
    let gone = retention::take(&mut tx, &ours, run, until, -1_000_000).await.unwrap().expect("kept");
    assert_eq!(retention::take(&mut tx, &ours, run, until, 60_000_000).await.unwrap(), None, "another lease than its own");
    assert!(retention::take(&mut tx, &ours, second, 0, 60_000_000).await.unwrap().is_some());
    assert_eq!(retention::take(&mut tx, &ours, run, gone, 60_000_000).await.unwrap(), None, "somebody is at another one");
    retention::end(&mut tx, second, "{}", 2).await.unwrap();
    retention::end(&mut tx, run, "{}", 2).await.unwrap();
    retention::end(&mut tx, run, "{1}", 3).await.unwrap();
    let [_, one] = retention::runs(&mut tx, &ours, 9).await.unwrap().try_into().unwrap();
    assert_eq!((one.done_at, one.found.as_deref()), (Some(2), Some("{}")));
    let contact = permesso::store::contacts::lock(&mut tx, 1).await.unwrap().unwrap();
    let since = retention::granted_since(&mut tx, &ours, &contact.subject).await.unwrap();
    assert!(since.len() == 1 && since[0].2 <= now, "{since:?}");
    // The same yes said anew is a new consent: it holds from then.
    let entries = permesso::store::ledger::entries_of(&mut tx, &ours, &contact.subject).await.unwrap();
    let granted = entries.into_iter().filter_map(|row| row.7).find(|body| body.contains("\"granted\"")).expect("a consent");
    let mut anew: Body = serde_json::from_str(&granted).unwrap();
    anew.at = now + 5;
    permesso::store::ledger::append(&mut tx, &app.engine.vault, &ours, &anew, &[], now + 5).await.unwrap();
    assert_eq!(retention::granted_since(&mut tx, &ours, &contact.subject).await.unwrap()[0].2, now + 5);
    assert!(retention::expired(&mut tx, &ours, promo, now + 1, 0, 9).await.unwrap().is_empty());
    assert!(retention::delete_proof(&mut tx, &ours, &contact.subject).await.is_err(), "not before the ledger says why");
    tx.rollback().await.unwrap();
});
