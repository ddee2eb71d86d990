//! Erasing a person: the no first, then everything personal, and nothing that comes later brings them back.

use std::time::Duration;

use permesso::domain::message::Receipt;
use permesso::domain::phone::PhoneNumber;
use permesso::domain::rights::Right;
use permesso::engine::erase::{self, Erased};
use permesso::engine::requests::{self as wishes, Asked};
use permesso::engine::{explain, inbox, outcome, receipts, receive, report, rights, verify};
use permesso::gateway::driver::OF_CONTENT;
use permesso::gateway::{Again, Event, Sent};
use permesso::store::requests::{self, Ended, Part, Request};
use permesso::store::{Store, contacts, inbound, messages, suppressions};

use crate::after::preferences_are_the_ledgers_replay;
use crate::app::{LINK, REPLY_NUMBER, TestApp, field};
use crate::both;
use crate::promises::said;
use crate::retention::ask_then;
use crate::run::{ask, spawn, until};

/// What a letter to the company asks for.
pub fn by_letter(app: &TestApp) -> Asked {
    Asked { channel: "operator", by: "ann".into(), evidence: "letter 1".into(), received_at: app.clock.now() }
}

pub async fn erase(app: &TestApp, number: &str) -> Erased {
    erase::erase(&app.engine, &TestApp::number(number), &by_letter(app), false).await.expect("erased")
}

pub fn with_id(number: &str, id: &str) -> String {
    TestApp::good(number).replace(",,,\n", &format!(",,{id},\n"))
}

/// Says yes by both steps.
pub async fn grants(app: &TestApp, number: &str) -> String {
    let link = app.link(number);
    app.submit(&link, "chosen", &["sms.promotions"]).await;
    app.advance(Duration::from_secs(60));
    app.reply(number, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(number).await, ["sms.promotions"]);
    link
}

/// Rows by which anybody could be found or recognised.
async fn left(app: &TestApp) -> Vec<i64> {
    let mut left = Vec::new();
    for sql in [
        "SELECT COUNT(*) FROM contacts WHERE number_enc <> '' OR human IS NOT NULL OR last_action IS NOT NULL OR country IS NOT NULL",
        "SELECT COUNT(*) FROM number_macs",
        "SELECT COUNT(*) FROM consent_evidence",
        "SELECT COUNT(*) FROM inbound_events WHERE body_enc <> '' OR mac <> '' OR said IS NOT NULL",
        "SELECT COUNT(*) FROM attempts WHERE token_hash IS NOT NULL OR provider_id IS NOT NULL",
        "SELECT COUNT(*) FROM receipts WHERE attempt_id IS NOT NULL",
        "SELECT COUNT(*) FROM decisions WHERE facts <> '{}' OR basis IS NOT NULL",
        "SELECT COUNT(*) FROM conversations WHERE closed_at IS NULL OR first_yes IS NOT NULL",
        "SELECT COUNT(*) FROM messages WHERE state = 'planned' OR person NOT LIKE 'erased-%'",
        "SELECT COUNT(*) FROM asked_marks",
        // What a driver made of a number and a text, in the clear.
        "SELECT COUNT(*) FROM inbound_events WHERE event_id LIKE '%cdcdcdcd%'",
        "SELECT COUNT(*) FROM evidence WHERE body LIKE '%cdcdcdcd%'",
    ] {
        left.push(app.count(sql).await);
    }
    left
}

/// One ask whose answer is still out. Answers its batch, and the message as it was due.
async fn in_flight(app: &TestApp, number: &str) -> (messages::Batch, messages::Due) {
    app.people(&[number.to_owned()]).await;
    app.plan(LINK).await;
    let mut tx = app.engine.store.write().await.unwrap();
    let batch = messages::due_batches(&mut tx, &app.engine.controller, app.clock.now(), 1).await.unwrap()[0].0;
    let batch = messages::batch(&mut tx, batch).await.unwrap().unwrap();
    let due = messages::due(&mut tx, &batch, app.clock.now(), 9).await.unwrap().remove(0);
    tx.rollback().await.unwrap();
    app.settle().await;
    app.execute("UPDATE attempts SET outcome = NULL, outcome_at = NULL, provider_id = NULL").await.unwrap();
    app.execute("UPDATE messages SET state = 'sending'").await.unwrap();
    (batch, due)
}

fn told(app: &TestApp, event_id: &str, reference: Option<&String>, status: Receipt) -> Event {
    Event::Receipt {
        event_id: event_id.into(),
        provider_id: "P1".into(),
        reference: reference.cloned(),
        status,
        error: None,
        class: None,
        at: app.clock.now(),
        user: None,
    }
}

both!(what_a_gateway_says_after_an_erasure_leads_back_to_nobody, |app| {
    let number = TestApp::it(1);
    let (batch, due) = in_flight(app, &number).await;
    let reference = app.inbox(&number)[0].reference.clone();
    let told = |event_id: &str, reference: Option<&String>, status| told(app, event_id, reference, status);
    // A receipt has come before the answer, by the provider's id alone.
    receive::store(&app.engine, "mock", &[told("early", None, Receipt::Sent)]).await.unwrap();
    erase(app, &number).await;
    let attempt = app.count("SELECT id FROM attempts").await;
    let accepted = Sent::Accepted { provider_id: Some("P1".into()) };
    outcome::store_outcomes(&app.engine, &batch, vec![(due, attempt, accepted)]).await;
    assert_eq!(left(app).await, [0; 12]);
    assert_eq!(app.states().await, [("accepted".to_owned(), 1)].into());
    // It still counts, once.
    let late = told("late", Some(&reference), Receipt::Delivered);
    for _ in 0..2 {
        receive::store(&app.engine, "mock", std::slice::from_ref(&late)).await.unwrap();
    }
    assert_eq!(left(app).await, [0; 12]);
    assert_eq!(app.states().await, [("delivered".to_owned(), 1)].into());
    // By the provider's id alone nobody knows whose it is, or was.
    receive::store(&app.engine, "mock", &[told("later", None, Receipt::Read)]).await.unwrap();
    let named = "SELECT COUNT(*) FROM receipts WHERE provider_id = 'P1' OR event_id IN ('early', 'late', 'later') OR reference IS NOT NULL";
    assert_eq!(app.count(named).await, 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM receipts WHERE status = 'delivered'").await, 1);
});

both!(a_receipt_of_no_known_message_names_nothing_counts_once_it_is_known_and_goes_after_a_week, |app| {
    let number = TestApp::it(1);
    let (batch, due) = in_flight(app, &number).await;
    app.execute("DELETE FROM receipts").await.unwrap();
    let mut early = told(app, "early", None, Receipt::Delivered);
    if let Event::Receipt { error, .. } = &mut early {
        *error = Some("late for P1".into());
    }
    for _ in 0..2 {
        receive::store(&app.engine, "mock", std::slice::from_ref(&early)).await.unwrap();
    }
    let kept = app.dump("receipts").await;
    assert!(!kept.contains("early") && !kept.contains("P1"), "{kept}");
    let attempt = app.count("SELECT id FROM attempts").await;
    let accepted = Sent::Accepted { provider_id: Some("P1".into()) };
    outcome::store_outcomes(&app.engine, &batch, vec![(due, attempt, accepted)]).await;
    assert_eq!(app.states().await, [("delivered".to_owned(), 1)].into());
    assert_eq!(app.count("SELECT COUNT(*) FROM receipts WHERE error = 'late for P1'").await, 1, "it is theirs");
    // Told once more, now that everybody knows what it is about.
    receive::store(&app.engine, "mock", &[early]).await.unwrap();
    assert_eq!(app.count("SELECT COUNT(*) FROM receipts WHERE attempt_id IS NOT NULL").await, 1);
    receive::store(
        &app.engine,
        "mock",
        &[Event::Receipt {
            event_id: "another".into(),
            provider_id: "P2".into(),
            reference: None,
            status: Receipt::Sent,
            error: None,
            class: None,
            at: app.clock.now(),
            user: None,
        }],
    )
    .await
    .unwrap();
    app.advance(Duration::from_secs(7 * 86_400));
    assert_eq!(receipts::sweep(&app.engine).await.unwrap(), 0);
    app.advance(Duration::from_secs(1));
    assert_eq!(receipts::sweep(&app.engine).await.unwrap(), 1, "the other has its message");
});

both!(who_is_erased_is_gone_stays_out_and_the_proof_still_holds, |app| {
    let [person, other, new] = [1, 2, 3].map(TestApp::it);
    app.import(&format!("{}{}", with_id(&person, "H1"), with_id(&other, "H1"))).await;
    app.send(LINK).await;
    let asked = if app.asks(&person) == 1 { person.clone() } else { other.clone() };
    let link = grants(app, &asked).await;
    let mut unclear =
        said(&format!("{OF_CONTENT}{}", "cd".repeat(32)), &asked, REPLY_NUMBER, "mah, vediamo un po", app.clock.now());
    if let Event::Inbound { again, .. } = &mut unclear {
        // As of a gateway that gives no ids.
        *again = Some(Again { said: format!("{asked} mah"), within: 1 });
    }
    receive::store(&app.engine, "mock", std::slice::from_ref(&unclear)).await.unwrap();
    assert_eq!(inbox::waiting(&app.engine, 0, 9).await.unwrap().len(), 1);
    let nonce = field(&app.get(&link).await.1, "nonce");
    let before = report::campaign(&app.engine, LINK).await.unwrap();

    let rehearsed = erase::erase(&app.engine, &TestApp::number(&person), &by_letter(app), true).await.unwrap();
    assert_eq!((rehearsed.numbers, rehearsed.rows), (2, 2), "{rehearsed:?}");
    assert_eq!(app.count("SELECT COUNT(*) FROM number_macs").await, 2, "a rehearsal changes nothing");
    assert!(app.story(&person).await.suppressions.is_empty());

    permesso::engine::dossier::hand_over(&app.engine, &TestApp::number(&asked), &by_letter(app), |_| Ok(())).await.unwrap();
    // By the one number or the other: they are one human.
    let erased = erase(app, &person).await;
    assert_eq!((erased.numbers, erased.rows, erased.requests.len()), (2, 2, 2), "{erased:?}");
    let open: Vec<i64> = wishes::list(&app.engine, true).await.unwrap().iter().map(|request| request.id).collect();
    assert!(open.len() == 1 && erased.open == open, "of a number that was never written to it is done: {erased:?}");
    assert!(erased.replies >= 2 && erased.gateways["mock"] >= 2 && !erased.already, "{erased:?}");
    assert_eq!((erased.due.as_str(), erased.proof_until.as_str()), ("2027-01-01", "2031-11-30"));
    assert_eq!(left(app).await, [0; 12]);

    // Their link is as any link that never was.
    let (status, page) = app.get(&link).await;
    assert_eq!((status, page), app.get(&format!("{}/p/{}", app.base, "1".repeat(22))).await);
    assert_eq!(app.post(&link, &nonce, "chosen", &["sms.promotions"]).await, 404, "a form sent again");
    assert!(inbox::waiting(&app.engine, 0, 9).await.unwrap().is_empty(), "nobody has to read it any more");

    // The figures stand, the chain holds, and what was said can still be proved.
    let report = report::campaign(&app.engine, LINK).await.unwrap();
    crate::reports::adds_up(&report);
    assert_eq!((report.targeted, report.asked, report.confirmed), (before.targeted, before.asked, before.confirmed));
    assert_eq!(verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
    preferences_are_the_ledgers_replay(app).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM preferences WHERE state = 'granted'").await, 0);
    let story = app.story(&asked).await;
    assert!(!story.known && story.verdict.contains("erased"), "{story:?}");
    assert!(story.ledger.concat().contains(" granted ") && story.ledger.concat().contains(" erased "), "{:?}", story.ledger);
    let entries: std::collections::BTreeSet<&String> = story.ledger.iter().collect();
    assert_eq!((story.requests.len(), entries.len()), (2, story.ledger.len()), "each entry once, however much they asked for");
    for command in [["consents", "export"], ["ledger", "export"], ["ledger", "verify"]] {
        let (code, out, err) = ask(app.dir.path(), &command).await;
        assert!(code == 0 && !out.contains(&person), "{command:?}: {err}");
    }

    // Nothing brings them back: the same rows, a new number under their id, a list of noes, an event told again, or a word of theirs.
    let again = app.import(&format!("{}{}{}", with_id(&person, "H1"), with_id(&other, "x"), with_id(&new, "H1"))).await;
    assert_eq!((again.erased, again.new, again.repeated), (3, 0, 0), "{again:?}");
    let list = app.dir.path().join("noes.csv");
    std::fs::write(&list, format!("number,external_id\n{person},H1\n")).unwrap();
    permesso::engine::import::suppressions(&app.engine, &list, |_| {}).await.unwrap();
    receive::store(&app.engine, "mock", &[unclear]).await.unwrap();
    app.reply(&person, REPLY_NUMBER, "ma insomma che cosa volete").await;
    app.reply(&person, REPLY_NUMBER, "SI").await;
    app.reply(&other, REPLY_NUMBER, "STOP").await;
    app.plan_as(LINK, |c| (c.name, c.family) = ("another".into(), "other".into())).await;
    app.settle().await;
    assert_eq!(left(app).await, [0; 12]);
    assert_eq!((app.asks(&person) + app.asks(&other), app.asks(&new)), (1, 0));
    assert!(inbox::waiting(&app.engine, 0, 9).await.unwrap().is_empty());
    assert!(erase(app, &person).await.already);
    let later = app.story(&other).await.verdict;
    assert!(later.contains("erased") && !later.contains("stopped"), "what they say after it matters less: {later}");

    // The request is open until the provider has done its part.
    let open = wishes::list(&app.engine, true).await.unwrap();
    assert!(open.iter().all(|r| r.kind == "erasure" && !r.overdue && r.due == "2027-01-01"), "{open:?}");
    let with = open.iter().find(|r| !r.providers.is_empty()).expect("one that was written to");
    assert!(with.providers[0].messages.iter().all(|m| m.provider_id.is_some()), "by which the provider finds them: {with:?}");
    app.advance(Duration::from_secs(32 * 86_400));
    assert!(wishes::list(&app.engine, true).await.unwrap()[0].overdue);
    let [overview, metrics] = ["/", "/metrics"].map(|path| format!("{}{path}", app.operator));
    let (overview, metrics) = (app.get(&overview).await.1, app.get(&metrics).await.1);
    let late = wishes::list(&app.engine, true).await.unwrap().iter().filter(|r| r.overdue).count();
    for said in [format!("requests overdue: {late}<"), format!("Requests <span class=\"count\">{late} overdue<")] {
        assert!(overview.contains(&said), "{said}: {overview}");
    }
    assert!(metrics.contains(&format!("\npermesso_requests_overdue {late}\n")), "{metrics}");
    let (code, out, _) = ask(app.dir.path(), &["requests", "list", "--open"]).await;
    assert!(code == 0 && out.contains("erasure") && out.contains("mock: delete"), "{out}");
    for request in &open {
        let id = request.id.to_string();
        let (code, _, err) = ask(app.dir.path(), &["contact", "requests", "done", &id, "--gateway", "mock"]).await;
        assert_eq!(code, 0, "{err}");
        let (code, _, err) = ask(app.dir.path(), &["contact", "requests", "done", &id, "--gateway", "mock"]).await;
        assert!(code == 1 && err.contains("remedy"), "{err}");
    }
    assert!(wishes::list(&app.engine, true).await.unwrap().is_empty());
    assert!(wishes::list(&app.engine, false).await.unwrap().iter().all(|r| r.providers.iter().all(|p| p.messages.is_empty())));

    // A number that was nobody's is kept out all the same.
    let stranger = TestApp::it(9);
    assert_eq!(erase(app, &stranger).await.numbers, 0);
    assert_eq!(app.import(&TestApp::good(&stranger)).await.erased, 1);
});

both!(what_lists_said_of_the_erased_goes_under_a_number_that_was_never_theirs_too, |app| {
    let [wrong, own, next] = [1, 2, 3].map(TestApp::it);
    app.import(&format!("{}{}", with_id(&wrong, "H1"), with_id(&own, "H1"))).await;
    app.send(LINK).await;
    app.reply(&wrong, REPLY_NUMBER, "numero sbagliato").await;
    let erased = erase(app, &own).await;
    assert_eq!((erased.numbers, erased.rows), (1, 2), "{erased:?}");
    for said in [
        "SELECT COUNT(*) FROM consent_evidence",
        "SELECT COUNT(*) FROM decisions WHERE facts <> '{}' OR basis IS NOT NULL",
        "SELECT COUNT(*) FROM contacts WHERE kind IS NOT NULL",
    ] {
        assert_eq!(app.count(said).await, 0, "{said}");
    }
    // Its holder was not erased: what they said stands.
    let story = app.story(&wrong).await;
    assert!(story.known && story.ledger.concat().contains(" wrong_person "), "{story:?}");
    assert_eq!(verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
    let again = app.import(&format!("{}{}", with_id(&wrong, "H1"), TestApp::good(&wrong))).await;
    assert_eq!((again.erased, again.merged), (1, 1), "{again:?}");
    let asked = app.asks(&wrong);
    app.plan_as(LINK, |c| (c.name, c.family) = ("another".into(), "other".into())).await;
    app.settle().await;
    assert_eq!(app.asks(&wrong), asked, "closed for good");
    // An old letter that names it does not bring back whoever was erased.
    let [was, is] = [&wrong, &next].map(|number| TestApp::number(number));
    let refused = rights::change_number(&app.engine, &was, &is, &by_letter(app)).await.unwrap_err().to_string();
    assert!(refused.contains("was erased, and the new one would bring them back; remedy: "), "{refused}");
    assert!(!app.story(&next).await.known);
});

/// What lists said of anybody, and what decisions saw of it.
async fn said_of_anybody(app: &TestApp) -> [i64; 3] {
    [
        app.count("SELECT COUNT(*) FROM consent_evidence").await,
        app.count("SELECT COUNT(*) FROM decisions WHERE facts <> '{}' OR basis IS NOT NULL").await,
        app.count("SELECT COUNT(*) FROM contacts WHERE kind IS NOT NULL").await,
    ]
}

both!(an_old_copy_has_nothing_of_the_erased_under_a_number_that_was_somebody_elses, |app| {
    let [wrong, own, other, late] = [1, 2, 3, 4].map(TestApp::it);
    app.import(&[(&wrong, "H1"), (&own, "H1"), (&other, "H2")].map(|(number, id)| with_id(number, id)).concat()).await;
    app.send(LINK).await;
    let copy = crate::restore::copy(app).await;
    for number in [&wrong, &other] {
        app.reply(number, REPLY_NUMBER, "numero sbagliato").await;
    }
    // Of this one the copy has the wrong number alone.
    app.import(&with_id(&late, "H2")).await;
    for number in [&own, &late] {
        erase(app, number).await;
    }
    assert_eq!(said_of_anybody(app).await, [0; 3]);
    crate::restore::stop_all(app).await;
    let (code, out, err) = ask(app.dir.path(), &["db", "restore", copy.to_str().unwrap()]).await;
    assert!(code == 0 && out.contains("1 person erased"), "{out}{err}");
    crate::restore::open(app).await;
    assert_eq!(said_of_anybody(app).await, [0; 3]);
    assert_eq!(app.count("SELECT COUNT(*) FROM contacts WHERE number_enc <> ''").await, 2, "closed as they were");
    app.listen().await;
});

both!(what_an_earlier_version_left_of_the_erased_under_wrong_numbers_goes_by_the_migration, |app| {
    let [wrong, own, stays, kin] = [1, 2, 3, 4].map(TestApp::it);
    app.import(&[(&wrong, "H1"), (&own, "H1"), (&stays, "H2"), (&kin, "H2")].map(|(number, id)| with_id(number, id)).concat())
        .await;
    app.send(LINK).await;
    for number in [&wrong, &kin] {
        app.reply(number, REPLY_NUMBER, "numero sbagliato").await;
    }
    erase(app, &own).await;
    let theirs = said_of_anybody(app).await;
    // As it was left: what the list said stands under the other number again.
    for sql in [
        "INSERT INTO consent_evidence (controller, contact_id, row_hash, import_line, file, source, quarantined, channels, unsubscribed, at)
         SELECT controller, id, 'left', 1, 'f', 's', 0, 'sms', 0, 1 FROM contacts WHERE kind IS NULL AND number_enc <> ''",
        "UPDATE decisions SET basis = 'x' WHERE contact_id IN (SELECT id FROM contacts WHERE kind IS NULL AND number_enc <> '')",
        "UPDATE contacts SET kind = 'prospect' WHERE kind IS NULL AND number_enc <> ''",
    ] {
        app.execute(sql).await.unwrap();
    }
    assert_ne!(said_of_anybody(app).await, theirs);
    let migration = match &app.engine.store {
        Store::Sqlite { .. } => include_str!("../../migrations/sqlite/0039_after_an_erasure.sql"),
        Store::Postgres { .. } => include_str!("../../migrations/postgres/0039_after_an_erasure.sql"),
    };
    let (rows, _) = migration.split_once("\n\n").unwrap();
    match &app.engine.store {
        Store::Sqlite { write, .. } => drop(sqlx::raw_sql(rows).execute(write).await.unwrap()),
        Store::Postgres { pool, .. } => drop(sqlx::raw_sql(rows).execute(pool).await.unwrap()),
    }
    assert_eq!(said_of_anybody(app).await, theirs, "and of nobody else");
});

both!(a_row_that_makes_no_contact_ties_nobody_to_whoever_was_erased, |app| {
    let [gone, listed, rejected, fourth] = [1, 2, 3, 4].map(TestApp::it);
    app.import(&(with_id(&gone, "H1") + &TestApp::good(&listed) + &TestApp::good(&rejected) + &with_id(&fourth, "H2"))).await;
    erase(app, &gone).await;
    let list = app.dir.path().join("noes.csv");
    // The last row gives the number of whoever was erased to somebody else.
    std::fs::write(&list, format!("number,external_id\n{listed},H1\n{gone},H2\n")).unwrap();
    permesso::engine::import::suppressions(&app.engine, &list, |_| {}).await.unwrap();
    app.import(&(crate::humans::rejected(3, "H1", "yes") + &crate::humans::rejected(1, "H2", ""))).await;
    let (code, csv, err) = ask(app.dir.path(), &["consents", "export"]).await;
    assert_eq!(code, 0, "{err}");
    for number in [&listed, &rejected] {
        assert!(csv.contains(&format!("{number},IT,,all,all,unsubscribed_before,")), "{csv}");
        assert!(!app.story(number).await.verdict.contains("erased"), "{:?}", app.story(number).await);
    }
    assert!(!app.story(&fourth).await.verdict.contains("erased"), "{:?}", app.story(&fourth).await);
});

both!(an_erasure_by_a_number_that_is_its_persons_no_more_says_whom_it_leaves, |app| {
    let [old, new, wrong, own] = [1, 2, 3, 4].map(TestApp::it);
    app.import(&(TestApp::good(&old) + &with_id(&wrong, "H1") + &with_id(&own, "H1"))).await;
    app.reply(&wrong, REPLY_NUMBER, "numero sbagliato").await;
    rights::change_number(&app.engine, &TestApp::number(&old), &TestApp::number(&new), &by_letter(app)).await.unwrap();
    for (number, why) in [
        (
            &old,
            "this number's person has another one, so who asks may be somebody else; remedy: where it is that person, erase ••• ••• 002, too",
        ),
        (&wrong, "whoever has this number said that it is a wrong one, so who asks may be somebody else"),
    ] {
        for rehearsal in [&["--dry-run"][..], &[]] {
            let (code, out, err) = ask_then(app, &[&["contact", "erase", number.as_str()], rehearsal].concat()).await;
            assert!(code == 0 && out.contains("erased: 1 number") && out.contains(why), "{out}{err}");
        }
    }
    for number in [&new, &own] {
        let story = app.story(number).await;
        assert!(story.known && !story.verdict.contains("asked to be erased"), "{story:?}");
        let (code, out, err) = ask_then(app, &["contact", "erase", number]).await;
        assert!(code == 0 && out.contains("erased: 1 number") && !out.contains("left as it is"), "{out}{err}");
    }
});

both!(no_id_made_of_what_a_person_wrote_can_be_guessed_back, |app| {
    let person = TestApp::it(1);
    app.people(std::slice::from_ref(&person)).await;
    app.send(LINK).await;
    let content = "cd".repeat(32);
    let stop = said(&format!("{OF_CONTENT}{content}"), &person, REPLY_NUMBER, "STOP", app.clock.now());
    let unreadable =
        Event::Unreadable { event_id: format!("{OF_CONTENT}{content}"), body: person.clone(), why: "no form".into() };
    receive::store(&app.engine, "mock", &[stop.clone(), stop.clone()]).await.unwrap();
    receive::store(&app.engine, "other", std::slice::from_ref(&unreadable)).await.unwrap();
    // Told again after the keys were rotated it is known all the same.
    let mut keys = std::fs::read_to_string(&app.engine.config.key_file).unwrap();
    keys.push_str(&format!("2:{}A\n", "B".repeat(42)));
    std::fs::write(&app.engine.config.key_file, keys).unwrap();
    let rotated = app.another().await;
    assert_eq!(rotated.vault.key_id(), 2);
    receive::store(&rotated, "mock", &[stop]).await.unwrap();
    receive::store(&rotated, "other", &[unreadable]).await.unwrap();
    rotated.store.close().await;
    // WhatsApp's own id holds the number in Base64, whatever provider hands it on.
    let wamid = format!("wamid.{content}");
    receive::store(&app.engine, "mock", &[said(&format!("in:{wamid}"), &person, REPLY_NUMBER, "mah", app.clock.now())])
        .await
        .unwrap();
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events").await, 3);
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'stopped'").await, 1);
    for table in ["inbound_events", "evidence", "messages", "conversations", "outbox"] {
        assert!(!app.dump(table).await.contains(&content), "{table}");
    }
    erase(app, &person).await;
    assert_eq!(left(app).await[..2], [0, 0]);
    assert_eq!(left(app).await[9..], [0, 0, 0]);
});

both!(an_old_copy_learns_of_every_erasure_since, |app| {
    let [person, stays] = [1, 2].map(TestApp::it);
    app.people(&[person.clone(), stays.clone()]).await;
    app.send(LINK).await;
    grants(app, &person).await;
    let copy = crate::restore::copy(app).await;
    erase(app, &person).await;
    crate::restore::stop_all(app).await;
    let (code, out, err) = ask(app.dir.path(), &["db", "restore", copy.to_str().unwrap()]).await;
    assert!(code == 0 && out.contains("1 person erased"), "{out}{err}");
    crate::restore::open(app).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM contacts WHERE number_enc <> ''").await, 1, "the other alone");
    assert_eq!(app.count("SELECT COUNT(*) FROM consent_evidence").await, 1);
    assert_eq!(app.count("SELECT COUNT(DISTINCT mac) FROM asked_marks").await, 1, "of who stays");
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events WHERE body_enc <> ''").await, 0);
    assert_eq!(app.import(&TestApp::good(&person)).await.erased, 1);
    assert_eq!(wishes::list(&app.engine, true).await.unwrap().len(), 1, "what the provider has to do is remembered");
    assert_eq!(verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
    preferences_are_the_ledgers_replay(app).await;
    app.listen().await;
});

both!(a_letter_is_due_from_its_day_until_it_is_carried_out_also_in_an_old_copy, |app| {
    let [person, other] = [1, 2].map(TestApp::it);
    app.people(&[person.clone(), other.clone()]).await;
    app.send(LINK).await;
    let note = ["contact", "requests", "note", person.as_str(), "--right", "erasure", "--received", "2026-11-20"];
    let (code, out, err) = ask_then(app, &note).await;
    assert!(code == 0 && out.contains("due 2026-12-20"), "{out}{err}");
    let (code, _, err) = ask(app.dir.path(), &["contact", "requests", "note", &person, "--right", "forgetting"]).await;
    assert!(code == 2 && err.contains("access, rectification, erasure"), "{err}");
    let (number, asked) = (TestApp::number(&other), by_letter(app));
    wishes::note(&app.engine, Right::Restriction, &number, &asked).await.unwrap();
    let again = wishes::note(&app.engine, Right::Restriction, &number, &asked).await.unwrap_err().to_string();
    assert!(again.contains("remedy"), "the same one: {again}");
    // It is a note alone: nothing was done, and a list that brings them again changes nothing.
    app.people(std::slice::from_ref(&other)).await;
    assert!(app.story(&person).await.known && !app.story(&other).await.verdict.contains("so they are sent nothing"));
    let (_, page) = app.get(&format!("{}/requests", app.operator)).await;
    assert!(
        page.contains("2026-12-20") && page.contains("permesso contact restrict NUMBER") && !page.contains("overdue"),
        "{page}"
    );
    // Whose it is, as everywhere on the desk.
    for number in [&person, &other] {
        let subject = explain::subject_of(&app.engine, &TestApp::number(number)).await.unwrap().unwrap();
        let of = format!("Of <a href=\"/contacts/{subject}\">{}</a>", TestApp::number(number));
        assert!(page.contains(&of) && !page.contains(number.as_str()), "{of}: {page}");
    }
    assert!(!page.contains("operator, operator"), "{page}");
    app.advance(Duration::from_secs(20 * 86_400));
    let (_, page) = app.get(&format!("{}/requests", app.operator)).await;
    assert!(page.contains("1 overdue"), "{page}");
    let (_, out, _) = ask_then(app, &["contact", "requests", "list", "--open"]).await;
    assert!(out.contains("not carried out yet: permesso contact erase NUMBER"), "{out}");
    let open = wishes::list(&app.engine, true).await.unwrap();
    assert!(open[0].overdue && !open[1].overdue && open[0].due == "2026-12-20", "{open:?}");
    let copy = crate::restore::copy(app).await;

    // Carried out, it keeps its own due date, and waits for the provider.
    assert_eq!(erase(app, &person).await.requests, [open[0].id]);
    let open = wishes::list(&app.engine, true).await.unwrap();
    assert_eq!((open.len(), open[0].due.as_str(), open[0].left.as_deref()), (2, "2026-12-20", None), "{open:?}");
    assert_eq!(open[0].providers.len(), 1);
    let with_provider = wishes::answered(&app.engine, open[0].id, None).await.unwrap_err().to_string();
    assert!(with_provider.contains("waits for a provider"), "{with_provider}");
    let restriction = open[1].id.to_string();
    let (code, _, err) = ask(app.dir.path(), &["contact", "requests", "done", &restriction]).await;
    assert!(code == 1 && err.contains("remedy: `permesso contact restrict NUMBER`") && err.contains("--told"), "{err}");
    let (code, _, err) = ask(app.dir.path(), &["contact", "requests", "done", &restriction, "--told", " "]).await;
    assert!(code == 1 && err.contains("--told: is empty"), "{err}");
    let (code, _, err) = ask(app.dir.path(), &["contact", "requests", "done", &restriction, "--told", "letter of today"]).await;
    assert_eq!(code, 0, "{err}");
    let (_, out, _) = ask(app.dir.path(), &["contact", "requests", "list"]).await;
    assert!(out.contains("; the person was told: letter of today"), "{out}");
    app.people(std::slice::from_ref(&other)).await;
    assert!(!app.story(&other).await.verdict.contains("so they are sent nothing"), "answered is not carried out");
    assert!(wishes::answered(&app.engine, open[1].id, None).await.unwrap_err().to_string().contains("is done already"), "once");
    for (id, more) in [("99", &[][..]), ("0", &[]), ("0", &["--gateway", "mock"])] {
        let (code, _, err) = ask(app.dir.path(), &[&["contact", "requests", "done", id], more].concat()).await;
        let says = format!("there is no request {id}; remedy: `permesso contact requests list`");
        assert!(code == 1 && err.contains(&says), "{err}");
    }
    let ledger = app.story(&person).await.ledger.concat();
    assert!(ledger.contains(" erased by operator (erasure)") && ledger.contains("letter 1; received 2026-11-20"), "{ledger}");
    crate::restore::stop_all(app).await;
    let (code, out, err) = ask(app.dir.path(), &["db", "restore", copy.to_str().unwrap()]).await;
    assert!(code == 0 && out.contains("1 person erased"), "{out}{err}");
    crate::restore::open(app).await;
    assert!(!app.story(&person).await.known);
    let open = wishes::list(&app.engine, true).await.unwrap();
    assert_eq!((open.len(), open[0].providers.len()), (1, 1), "the copy knows who has to do what: {open:?}");
    app.listen().await;
});

both!(dying_in_the_middle_of_an_erasure_leaves_nothing_half_done, |app| {
    let person = TestApp::it(1);
    app.people(std::slice::from_ref(&person)).await;
    let command = ["contact", "erase", person.as_str()];
    let mut dying = spawn(app, &command, "between-no-and-erasure");
    until("it has died", async || dying.try_wait().expect("asked").is_some()).await;
    let counts = ["SELECT COUNT(*) FROM number_macs", "SELECT COUNT(*) FROM suppressions", "SELECT COUNT(*) FROM requests"];
    let mut found = Vec::new();
    for sql in counts {
        found.push(app.count(sql).await);
    }
    assert_eq!(found, [1, 0, 0], "as if it had not been asked for");
    let (code, out, err) = ask(app.dir.path(), &command).await;
    assert!(code == 0 && out.contains("erased: 1 number"), "{out}{err}");
    assert_eq!((app.count(counts[0]).await, app.count(counts[1]).await), (0, 1));
});

const C: &str = "contract";

both!(what_the_store_keeps_of_a_request, |app| {
    let number: PhoneNumber = TestApp::number(&TestApp::it(1));
    let keyed = app.engine.vault.keyed_all(&number);
    let request = Request {
        kind: "erasure".into(),
        mac: keyed[0].mac.clone(),
        key_id: keyed[0].key_id,
        subject: Some("s1".into()),
        channel: "page".into(),
        by_whom: "the person".into(),
        received_at: 1,
        due_at: 2,
        done_at: None,
    };
    let part = |gateway: &str| Part { gateway: gateway.into(), messages: "[1]".into(), done_at: None, done_by: None };
    let mut tx = app.engine.store.write().await.unwrap();
    let id = requests::add(&mut tx, C, &request, &[part("one"), part("two")]).await.unwrap().unwrap();
    assert_eq!(requests::add(&mut tx, C, &request, &[]).await.unwrap(), None, "the same one");
    assert_eq!(requests::after(&mut tx, C, 0, 9).await.unwrap()[0].request, request);
    assert!(requests::after(&mut tx, C, id, 9).await.unwrap().is_empty());
    assert_eq!(requests::of_number(&mut tx, C, &keyed).await.unwrap()[0].id, id);
    assert!(requests::part_done(&mut tx, C, id, "one", "ann", 5).await.unwrap());
    assert!(!requests::part_done(&mut tx, C, id, "one", "ann", 6).await.unwrap(), "once");
    assert_eq!(requests::parts(&mut tx, C, id).await.unwrap()[0].messages, "[]");
    assert_eq!(requests::after(&mut tx, C, 0, 9).await.unwrap()[0].request.done_at, None);
    assert!(requests::part_done(&mut tx, C, id, "two", "ann", 7).await.unwrap());
    assert_eq!(requests::after(&mut tx, C, 0, 9).await.unwrap()[0].request.done_at, Some(7));
    // What is only noted is due until it is carried out, or answered; what is done or with a provider is neither.
    assert!(requests::noted(&mut tx, C, "erasure", &keyed).await.unwrap().is_empty());
    let note = Request { received_at: 9, ..request.clone() };
    let noted = requests::add(&mut tx, C, &note, &[]).await.unwrap().unwrap();
    assert_eq!(requests::add(&mut tx, C, &note, &[]).await.unwrap(), None, "noted already");
    assert_eq!(requests::noted(&mut tx, C, "erasure", &keyed).await.unwrap(), std::slice::from_ref(&note));
    assert_eq!(requests::add(&mut tx, C, &note, &[part("one")]).await.unwrap(), Some(noted), "carried out");
    assert!(requests::noted(&mut tx, C, "erasure", &keyed).await.unwrap().is_empty());
    assert!(!requests::answered(&mut tx, C, noted, Ended::Answered, 9).await.unwrap(), "with a provider");
    let other = requests::add(&mut tx, C, &Request { received_at: 10, ..note }, &[]).await.unwrap().unwrap();
    let told = Ended::Told("a letter");
    assert!(requests::answered(&mut tx, C, other, told, 9).await.unwrap());
    assert!(!requests::answered(&mut tx, C, other, told, 9).await.unwrap(), "once");
    let noted_by = requests::after(&mut tx, C, other - 1, 1).await.unwrap()[0].request.by_whom.clone();
    assert_eq!(noted_by, "the person; the person was told: a letter");
    assert!(!Request { by_whom: noted_by, ..request }.is_mistaken());
    tx.rollback().await.unwrap();

    // One that other stories do not meet: a claim that took the message before, and a reply that came between.
    app.people(&[TestApp::it(1)]).await;
    app.send(LINK).await;
    let ours = app.engine.controller.clone();
    let mut tx = app.engine.store.write().await.unwrap();
    let contact = contacts::by_number(&mut tx, &ours, &keyed).await.unwrap().unwrap();
    assert_eq!(suppressions::reach(&mut tx, &ours, &keyed).await.unwrap(), (vec![contact.id], vec![]));
    assert!(suppressions::erased_among(&mut tx, &ours, [keyed[0].mac.as_str()]).await.unwrap().is_empty());
    let passed = permesso::store::erase::passed(&mut tx, contact.id).await.unwrap();
    assert!(
        passed.len() == 1 && passed[0].0 == "mock" && passed[0].1.as_deref().is_some_and(|r| r.starts_with("ask-")),
        "{passed:?}"
    );
    let rows =
        permesso::store::erase::contact(&mut tx, &ours, contact.id, &contact.subject, &contact.number_enc, 9).await.unwrap();
    assert_eq!(rows, 1);
    assert_eq!(permesso::store::erase::replies(&mut tx, &ours, &keyed, &[contact.id]).await.unwrap(), 0);
    assert_eq!(permesso::store::erase::marks(&mut tx, &ours, &keyed).await.unwrap(), 1);
    assert_eq!(permesso::store::erase::under_wrong_numbers(&mut tx, &ours, &keyed).await.unwrap(), 0);
    assert!(permesso::store::erase::of_wrong_numbers(&mut tx, &ours).await.unwrap().is_empty());
    let gone = contacts::by_subject(&mut tx, &ours, &contact.subject).await.unwrap().unwrap();
    assert!(gone.is_erased() && gone.restricted == 1, "{gone:?}");
    assert!(!suppressions::is_erased(&mut tx, &ours, &keyed).await.unwrap());
    let (erased, by) = (permesso::domain::suppression::Reason::Erased, permesso::domain::answer::By::Operator);
    suppressions::suppress_alone(&mut tx, &ours, &keyed, erased, by, 9, 9).await.unwrap();
    assert!(suppressions::is_erased(&mut tx, &ours, &keyed).await.unwrap());
    inbound::blank(&mut tx, 1).await.unwrap();
    tx.rollback().await.unwrap();
});
