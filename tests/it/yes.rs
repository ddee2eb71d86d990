//! What is no yes to the question it seems to answer, and what must not keep a no from being stored.

use std::time::Duration;

use permesso::domain::channel::Channel;
use permesso::domain::ledger::{GENESIS, row_hash};
use permesso::domain::message::Receipt;
use permesso::engine::{expire, inbox, receive, verify};
use permesso::gateway::{Event, Handled};
use permesso::store::ledger;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::app::{Kind, LINK, REPLY, REPLY_NUMBER, TestApp, WHATSAPP_FIRST};
use crate::between::{ASKS_FROM, DAY};
use crate::both;
use crate::code;
use crate::promises::inbound;
use crate::run::ask;

const SECOND: i64 = 1_000_000;

both!(a_yes_older_than_the_question_answers_nothing, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(REPLY).await;
    let (asked, from) = (app.clock.now(), app.inbox(&number)[0].from.clone());
    app.advance(Duration::from_secs(60));
    // Said five days before; and a moment before, by a clock that may run behind ours.
    for (id, at) in [("days", asked - 5 * 86_400 * SECOND), ("moment", asked - SECOND)] {
        assert!(app.gateway.deliver(vec![inbound(id, &number, &from, "YES", at)]).await);
        app.settle().await;
    }
    let story = app.story(&number).await;
    assert!(story.ledger.is_empty(), "{:?}", story.ledger);
    assert_eq!(app.inbox(&number).len(), 1, "no confirmation follows");
    let told = app.history(&number).await;
    let ignored = told.iter().filter(|line| line.ends_with("read as a yes: ignored: said before the question"));
    assert_eq!(ignored.count(), 2, "{told:#?}");
    // Said after it, it counts; and a no counts whenever it was said.
    app.reply(&number, &from, "YES").await;
    assert_eq!(app.story(&number).await.ledger.len(), 1);
    assert!(app.gateway.deliver(vec![inbound("no", &number, &from, "STOP", asked - 86_400 * SECOND)]).await);
    assert!(app.story(&number).await.verdict.contains("stopped"));
});

both!(a_consent_is_acknowledged_whatever_hint_went_before_it_that_day, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let link = app.link(&number);
    let kinds = |app: &TestApp| {
        app.inbox(&number).iter().filter_map(|m| m.reference.split('-').next().map(str::to_owned)).collect::<Vec<_>>()
    };
    // Before the page is submitted a yes grants nothing, and is told so; whoever asks for help then has had the day's answer.
    app.reply(&number, REPLY_NUMBER, "SI").await;
    app.reply(&number, REPLY_NUMBER, "INFO").await;
    assert_eq!(kinds(app), ["ask", "hlp"]);
    let complete = async || {
        app.advance(Duration::from_secs(60));
        assert_eq!(app.submit(&link, "chosen", &["sms.promotions"]).await, 303);
        app.advance(Duration::from_secs(60));
        app.reply(&number, REPLY_NUMBER, "SI").await;
        assert_eq!(app.granted(&number).await, ["sms.promotions"]);
    };
    complete().await;
    assert_eq!(kinds(app), ["ask", "hlp", "ack"]);
    // It has one a day: taken back and given again, it is not told twice, and nor is a call for help.
    app.advance(Duration::from_secs(300));
    app.reply(&number, REPLY_NUMBER, "STOP").await;
    assert_eq!(kinds(app), ["ask", "hlp", "ack", "ack"]);
    app.advance(Duration::from_secs(300));
    complete().await;
    app.reply(&number, REPLY_NUMBER, "INFO").await;
    assert_eq!(kinds(app), ["ask", "hlp", "ack", "ack"]);
});

/// Ticked, got a code, wrote something unclear, and typed the code. Answers the link and the unclear reply's id.
async fn typed_while_held(app: &TestApp, number: &str) -> (String, i64) {
    let link = code::submitted(app, number).await;
    app.advance(Duration::from_secs(60));
    app.reply(number, REPLY_NUMBER, "hmm, mal sehen was das wird").await;
    let unclear = app.count("SELECT id FROM inbound_events WHERE effect = 'held'").await;
    app.advance(Duration::from_secs(60));
    assert_eq!(code::enter(app, &link, &code::newest(app, number)).await, 303);
    assert!(app.granted(number).await.is_empty(), "what is unclear may be a no");
    (link, unclear)
}

both!(a_code_typed_while_an_unclear_reply_waits_counts_once_it_is_read, |app| {
    let number = code::de(1);
    let (link, unclear) = typed_while_held(app, &number).await;
    let (_, page) = app.get(&link).await;
    assert!(
        page.contains("Der Code stimmt.") && !page.contains("name=\"code\"") && !page.contains("value=\"another\""),
        "{page}"
    );
    // Neither another code, nor the same one again, nor time takes it away.
    code::another(app, &link).await;
    code::enter(app, &link, &code::newest(app, &number)).await;
    assert_eq!(code::codes(app, &number).len(), 1);
    app.advance(DAY * 60);
    expire::expire(&app.engine).await.unwrap();
    assert!(app.granted(&number).await.is_empty());
    inbox::resolve(&app.engine, unclear, false, "op").await.unwrap();
    assert_eq!(app.granted(&number).await, ["sms.promotions"]);
    let (_, page) = app.get(&link).await;
    assert!(
        page.contains("name=\"withdraw\" value=\"sms.promotions\""),
        "what stands, behind a link that is too old for more: {page}"
    );
    let ledger = app.story(&number).await.ledger;
    assert!(ledger[1].contains("by page (typed_code) sms.promotions") && ledger[1].contains(", code otp-"), "{ledger:?}");
    assert!(ledger[1].contains("2026-12-01"), "as of when it was typed: {ledger:?}");
    assert!(verify::ledger(&app.engine).await.unwrap().1.is_empty());
});

both!(a_code_typed_while_an_unclear_reply_waits_grants_nothing_once_a_stop_is_read, |app| {
    let number = code::de(1);
    let (_, unclear) = typed_while_held(app, &number).await;
    inbox::resolve(&app.engine, unclear, true, "op").await.unwrap();
    assert!(app.granted(&number).await.is_empty());
    assert!(app.story(&number).await.verdict.contains("stopped since"));
});

both!(a_code_that_waits_does_not_complete_what_was_chosen_after_it, |app| {
    let number = code::de(1);
    let (link, unclear) = typed_while_held(app, &number).await;
    assert_eq!(app.submit(&link, "chosen", &["sms.promotions", "sms.product_info"]).await, 303);
    inbox::resolve(&app.engine, unclear, false, "op").await.unwrap();
    assert!(app.granted(&number).await.is_empty());
    code::another(app, &link).await;
    code::enter(app, &link, &code::newest(app, &number)).await;
    assert_eq!(app.granted(&number).await.len(), 2);
});

both!(a_nul_in_one_event_keeps_no_stop_beside_it_from_being_stored, |app| {
    let (known, stranger) = (TestApp::it(1), TestApp::it(2));
    app.people(std::slice::from_ref(&known)).await;
    let now = app.clock.now();
    let mut batch = vec![
        inbound("a\0b", &TestApp::it(3), REPLY_NUMBER, "STOP", now),
        inbound("to", &TestApp::it(4), "+39\x00300", "ST\0OP", now),
        inbound(&"long".repeat(5_000), &known, REPLY_NUMBER, "STOP", now),
        inbound("stop", &stranger, REPLY_NUMBER, "STOP", now),
    ];
    assert!(app.gateway.deliver(batch.clone()).await, "it is on disk");
    assert_eq!(app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await, 4);
    // Come again, each is the event known already.
    batch.rotate_left(1);
    assert!(app.gateway.deliver(batch).await);
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events").await, 4);
    assert!(app.story(&known).await.verdict.contains("stopped"));
});

both!(where_a_secret_address_and_a_password_are_given_both_are_asked_for, |app| {
    let account = "[[gateway]]\nname = \"guarded\"\ndriver = \"kannel\"\nurl = \"http://127.0.0.1:9\"\nsimulator = true\nusername = \"u\"\n\
                   password = \"p\"\ncallback_token = \"0123456789abcdef0\"\ncallback_password = \"the-password-of-it\"";
    app.reconfigure(account).await;
    let query = format!("from={}&to=123&text=STOP&coding=0&id=1&ts=1796118300", TestApp::it(1).replace('+', "%2B"));
    let call = async |token: &str, password: Option<&str>| {
        let request = app.http.get(format!("{}/webhooks/guarded{token}?{query}", app.base));
        let request = match password {
            Some(password) => request.basic_auth("any", Some(password)),
            None => request,
        };
        request.send().await.expect("an answer").status().as_u16()
    };
    let right = "/0123456789abcdef0";
    assert_eq!(call(right, None).await, 401);
    assert_eq!(call(right, Some("another")).await, 403);
    assert_eq!(call("", Some("the-password-of-it")).await, 403);
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events").await, 0);
    assert_eq!(call(right, Some("the-password-of-it")).await, 200);
    assert_eq!(app.count("SELECT COUNT(*) FROM suppressions").await, 1);
});

/// Asked, chose on the page, said yes, and what else they say.
async fn granted_and(app: &TestApp, number: &str, more: &[&str]) {
    app.submit(&app.link(number), "chosen", &["sms.promotions"]).await;
    for text in ["SI"].iter().chain(more) {
        app.advance(Duration::from_secs(60));
        app.reply(number, REPLY_NUMBER, text).await;
    }
}

/// Two people who granted, entries 1 to 4; the second one stopped, entry 5. Whoever owns the database has taken its guards away.
async fn without_guards(app: &TestApp) {
    let people = [TestApp::it(1), TestApp::it(2)];
    app.people(&people).await;
    app.send(LINK).await;
    granted_and(app, &people[0], &[]).await;
    granted_and(app, &people[1], &["STOP"]).await;
    assert_eq!(verify::ledger(&app.engine).await.unwrap(), (5, vec![]));
    let guards: &[&str] = match app.kind {
        Kind::Sqlite => {
            &["DROP TRIGGER ledger_no_update", "DROP TRIGGER ledger_no_delete", "DROP TRIGGER evidence_delete_with_reason"]
        }
        Kind::Postgres => &["DROP TRIGGER ledger_no_update ON ledger", "DROP TRIGGER evidence_delete_with_reason ON evidence"],
    };
    for sql in guards {
        app.execute(sql).await.unwrap();
    }
}

async fn wrong(app: &TestApp) -> Vec<String> {
    verify::ledger(&app.engine).await.unwrap().1
}

both!(a_no_that_no_suppression_keeps_any_more_is_missed, |app| {
    without_guards(app).await;
    let missing = |told: &[String]| {
        told.iter().any(|line| line.ends_with("entry 5 is a no, and nothing keeps their number from being written to"))
    };
    app.execute("UPDATE suppressions SET lifted_at = 1").await.unwrap();
    let told = wrong(app).await;
    assert!(missing(&told) && told.iter().any(|line| line.ends_with("it was lifted, and no consent says why")), "{told:?}");
    // By a consent, but of somebody else's: the no is their last word still.
    app.execute("UPDATE suppressions SET lifted_by = 2").await.unwrap();
    let told = wrong(app).await;
    assert!(told.len() == 1 && missing(&told), "{told:?}");
    app.execute("UPDATE suppressions SET lifted_at = NULL, lifted_by = NULL").await.unwrap();
    assert_eq!(wrong(app).await, Vec::<String>::new());
    app.execute("DELETE FROM suppressions").await.unwrap();
    let (code, out, err) = ask(app.dir.path(), &["ledger", "verify"]).await;
    assert!(code == 1 && out.contains("entry 5 is a no") && err.contains("1 of 5 entries do not hold"), "{out}{err}");
});

both!(a_stop_cut_off_the_end_of_a_chain_is_missed, |app| {
    without_guards(app).await;
    for sql in [
        "DELETE FROM evidence WHERE seq = 5",
        "DELETE FROM ledger WHERE seq = 5",
        "DELETE FROM suppressions",
        "UPDATE preferences SET state = 'granted'",
    ] {
        app.execute(sql).await.unwrap();
    }
    let told = wrong(app).await;
    assert!(told.len() == 1 && told[0].ends_with("is not as it was sealed (2 of 3 are here)"), "{told:?}");
    // A count without its seal, and no seal at all, show just so.
    app.execute("UPDATE ledger_heads SET entries = 2").await.unwrap();
    let told = wrong(app).await;
    assert!(told.len() == 1 && told[0].ends_with("is not as it was sealed (2 of 2 are here)"), "{told:?}");
    app.execute("DELETE FROM ledger_heads").await.unwrap();
    let told = wrong(app).await;
    assert!(
        told.len() == 2 && told.iter().all(|line| line.ends_with("the seal over the end of its entries is gone")),
        "{told:?}"
    );
});

both!(a_chain_built_anew_without_the_key_shows, |app| {
    without_guards(app).await;
    let mut tx = app.engine.store.read().await.unwrap();
    let rows = ledger::entries_after(&mut tx, &app.engine.controller, 2, 100).await.unwrap();
    tx.rollback().await.unwrap();
    // The stop never was, and the two entries before it are hashed as they were before there were seals.
    let mut before = GENESIS.to_owned();
    for (seq, subject, kind, at, body_hash, ..) in &rows[..2] {
        let hash = row_hash(&app.engine.controller, subject, kind, *at, body_hash, &before);
        let sql = format!("UPDATE ledger SET prev = '{before}', hash = '{hash}' WHERE seq = {seq}");
        app.execute(Box::leak(sql.into_boxed_str())).await.unwrap();
        before = hash;
    }
    let subject = &rows[0].1;
    for sql in [
        "DELETE FROM evidence WHERE seq = 5",
        "DELETE FROM ledger WHERE seq = 5",
        "UPDATE preferences SET state = 'granted'",
        Box::leak(format!("DELETE FROM ledger_heads WHERE subject = '{subject}'").into_boxed_str()),
    ] {
        app.execute(sql).await.unwrap();
    }
    assert_eq!(wrong(app).await, ["entry 3: the row was changed", "entry 4: the row was changed"]);
});

/// Text with everything in it that a store, an index or JSON may not like.
fn any_text() -> BoxedStrategy<String> {
    prop_oneof![
        "[a-z0-9:]{0,12}",
        any::<String>(),
        "[\\x00-\\x1f\"'\\\\]{0,8}",
        "(a\0){0,3}",
        ("[a-zé]", 0..9_000_usize).prop_map(|(c, n)| c.repeat(n))
    ]
    .boxed()
}

fn any_time() -> BoxedStrategy<i64> {
    prop_oneof![Just(i64::MIN), Just(i64::MAX), any::<i64>(), 1_700_000_000_000_000..1_900_000_000_000_000_i64].boxed()
}

fn any_event() -> BoxedStrategy<Event> {
    let some = || prop::option::of(any_text());
    let receipt = (any_text(), any_text(), some(), some(), any_time(), some()).prop_map(
        |(event_id, provider_id, reference, error, at, user)| Event::Receipt {
            event_id,
            provider_id,
            reference,
            status: Receipt::Delivered,
            error,
            class: None,
            at,
            user,
        },
    );
    let unreadable =
        (any_text(), any_text(), any_text()).prop_map(|(event_id, body, why)| Event::Unreadable { event_id, body, why });
    let note = (any_text(), any_text(), some()).prop_map(|(event_id, body, pause)| Event::Note { event_id, body, pause });
    let said =
        (any_text(), 1..3_u32, any::<bool>(), some(), any_text(), any_text(), some(), prop::option::of(any_time()), some());
    let said = said.prop_map(|(event_id, n, shown, answers, to, text, button, at, user)| Event::Inbound {
        event_id,
        from: shown.then(|| TestApp::number(&TestApp::it(n))),
        user,
        answers,
        to,
        channel: Channel::WhatsApp,
        text,
        button,
        at,
        handled: (n == 2).then_some(Handled::Other),
        again: None,
    });
    let answered = (any_text(), any_time()).prop_map(|(said, at)| Event::Answered { said, at });
    prop_oneof![receipt, unreadable, note, said, answered].boxed()
}

both!(any_event_can_be_stored_beside_a_stop, |app| {
    app.person(&TestApp::it(1), "whatsapp").await;
    app.send(WHATSAPP_FIRST).await;
    let mut runner = TestRunner::deterministic();
    for n in 0..150 {
        let odd = any_event().new_tree(&mut runner).expect("an event").current();
        let stop = Event::Inbound {
            event_id: format!("the stop {n}"),
            from: Some(TestApp::number(&TestApp::it(1_000 + n))),
            user: None,
            answers: None,
            to: REPLY_NUMBER.into(),
            channel: Channel::Sms,
            text: "STOP".into(),
            button: None,
            at: None,
            handled: None,
            again: None,
        };
        let told = receive::store(&app.engine, "mock", &[odd.clone(), stop]).await;
        told.unwrap_or_else(|error| panic!("{error:#}\n{odd:?}"));
    }
    assert_eq!(
        app.count("SELECT COUNT(*) FROM inbound_events WHERE event_id LIKE 'the stop %' AND effect = 'applied'").await,
        150
    );
    // What was stored can be shown.
    app.history(&TestApp::it(1)).await;
    permesso::engine::inbox::waiting(&app.engine, 0, 1_000).await.expect("listed");
});

both!(the_step_that_completes_a_choice_may_be_said_in_the_language_of_its_page, |app| {
    let [german, french, italian, early] = [1, 2, 3, 4].map(TestApp::it);
    app.people(&[&german, &french, &italian, &early].map(String::clone)).await;
    app.send(LINK).await;
    for (number, lang, text, granted) in
        [(&german, "de", "Ja, gerne!", 1), (&french, "fr", "oui, mais quand ?", 0), (&italian, "it", "Ja", 0)]
    {
        assert_eq!(app.submit(&format!("{}/{lang}", app.link(number)), "chosen", &["sms.promotions"]).await, 303);
        app.advance(Duration::from_secs(60));
        app.reply(number, REPLY_NUMBER, text).await;
        assert_eq!(app.granted(number).await.len(), granted, "{lang}: {:?}", app.history(number).await);
    }
    // Where nothing was chosen it says nothing that a machine should read; the word of the ask counts on whatever page.
    app.reply(&early, REPLY_NUMBER, "Ja").await;
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events WHERE effect = 'held'").await, 3);
    let waiting = inbox::waiting(&app.engine, 0, 9).await.unwrap();
    inbox::resolve(&app.engine, waiting[0].id, false, "op").await.unwrap();
    app.advance(Duration::from_secs(60));
    app.reply(&french, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&french).await.len(), 1, "{:?}", app.history(&french).await);
    // What the language of the ask doubts is doubtful: "si" in French.
    let asked_in_french = "+33639980001".to_owned();
    app.people(std::slice::from_ref(&asked_in_french)).await;
    app.send(REPLY).await;
    assert_eq!(app.submit(&format!("{}/it", app.link(&asked_in_french)), "chosen", &["sms.promotions"]).await, 303);
    app.settle().await;
    app.advance(Duration::from_secs(60));
    app.reply(&asked_in_french, ASKS_FROM, "si").await;
    assert!(app.granted(&asked_in_french).await.is_empty(), "{:?}", app.history(&asked_in_french).await);
});
