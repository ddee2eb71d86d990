//! Asking by `link_code`: the yes on the page is completed by a one-time code that only the person's own phone gets.

use std::time::Duration;

use permesso::domain::suppression::Reason;
use permesso::engine::{confirm, expire};
use permesso::gateway::mock::faults::Faults;

use crate::app::{TestApp, field};
use crate::both;

pub const CODE: &str = "einwilligung";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const PROMO: &[&str] = &["sms.promotions"];

/// A German number reserved here for fiction.
pub fn de(n: u32) -> String {
    format!("+49176040690{n:02}")
}

/// Asked, ticked and submitted; the code is on the phone. Answers the link.
pub async fn submitted(app: &TestApp, number: &str) -> String {
    app.people(&[number.to_owned()]).await;
    app.send(CODE).await;
    let link = app.link(number);
    assert_eq!(app.submit(&link, "chosen", PROMO).await, 303);
    settle(app).await;
    link
}

async fn settle(app: &TestApp) {
    app.deliver().await;
    app.gateway.idle().await;
}

/// The texts of the codes this phone got, oldest first.
fn code_texts(app: &TestApp, number: &str) -> Vec<String> {
    app.inbox(number).into_iter().filter(|m| m.reference.starts_with("otp")).map(|m| m.text).collect()
}

pub fn codes(app: &TestApp, number: &str) -> Vec<String> {
    let digits =
        |text: &String| text.split(' ').find(|w| w.len() == 6 && w.bytes().all(|b| b.is_ascii_digit())).map(str::to_owned);
    code_texts(app, number).iter().map(|text| digits(text).expect("six digits")).collect()
}

pub fn newest(app: &TestApp, number: &str) -> String {
    codes(app, number).pop().expect("a code")
}

/// A code that is not this one.
fn other_than(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().expect("digits") + 1) % 1_000_000)
}

/// Types a code on the page and submits it, as a browser does.
pub async fn enter(app: &TestApp, link: &str, code: &str) -> u16 {
    let (_, page) = app.get(link).await;
    let form = [("nonce", field(&page, "nonce").as_str()), ("answer", "code"), ("code", code)].map(|(k, v)| (k, v.to_owned()));
    app.post_form(link, &form).await
}

pub async fn another(app: &TestApp, link: &str) -> u16 {
    let status = app.submit(link, "another", &[]).await;
    settle(app).await;
    status
}

both!(the_right_code_in_time_is_the_second_step, |app| {
    let number = de(1);
    let link = submitted(app, &number).await;
    assert!(app.granted(&number).await.is_empty(), "a tick alone grants nothing");
    let text = code_texts(app, &number).pop().unwrap();
    let code = newest(app, &number);
    assert_eq!(
        text,
        format!(
            "ACME: {code} ist Ihr Code, 10 Minuten gültig. Geben Sie ihn auf der Seite ein, um Ihre Wahl zu bestätigen. Nicht angefordert? Dann bitte ignorieren."
        )
    );
    assert_eq!(app.inbox(&number).last().unwrap().from, "ACMEinfo", "the sender that asked");
    let (_, page) = app.get(&link).await;
    assert!(page.contains("autocomplete=\"one-time-code\"") && page.contains("inputmode=\"numeric\""), "{page}");
    assert!(!page.contains(&code));
    app.advance(Duration::from_secs(599));
    // As phones group it.
    assert_eq!(enter(app, &link, &format!(" {}-{} ", &code[..3], &code[3..])).await, 303);
    assert_eq!(app.granted(&number).await, PROMO);
    assert!(app.get(&link).await.1.contains("banner confirmed"));
    let ledger = app.story(&number).await.ledger;
    assert_eq!(ledger.len(), 2, "{ledger:?}");
    assert!(ledger[1].contains("by page (typed_code) sms.promotions") && ledger[1].contains(", code otp-"), "{ledger:?}");
    assert!(!ledger.concat().contains(&code));
    settle(app).await;
    assert_eq!(app.inbox(&number).len(), 2, "the ask and the code; the page itself acknowledges");
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap(), (2, vec![]));
});

both!(the_digits_stand_nowhere_in_the_database, |app| {
    let number = de(1);
    let link = submitted(app, &number).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM codes WHERE mac IS NOT NULL").await, 1);
    let mut suspects =
        vec!["codes", "messages", "attempts", "conversations", "evidence", "batches", "wordings", "inbound_events", "receipts"];
    // Now and then a time or a hash holds six digits by chance, and not those of the next code as well.
    for again in [true, false] {
        let code = newest(app, &number);
        let mut found = Vec::new();
        for table in suspects {
            if app.dump(table).await.contains(&code) {
                found.push(table);
            }
        }
        if found.is_empty() {
            break;
        }
        assert!(again, "{found:?}");
        app.advance(MINUTE);
        another(app, &link).await;
        suspects = found;
    }
});

both!(five_wrong_tries_kill_a_code, |app| {
    let number = de(1);
    let link = submitted(app, &number).await;
    let right = newest(app, &number);
    for left in (0..5).rev() {
        // What is no code is no try.
        enter(app, &link, "12345").await;
        assert_eq!(enter(app, &link, &other_than(&right)).await, 303);
        let (_, page) = app.get(&link).await;
        assert_eq!(page.contains(&format!("Verbleibende Versuche: {left}")), left > 0, "{page}");
        assert_eq!(page.contains("Zu viele Versuche"), left == 0, "{page}");
    }
    enter(app, &link, &right).await;
    assert!(app.granted(&number).await.is_empty(), "it is dead");
    let (_, page) = app.get(&link).await;
    assert!(!page.contains("name=\"code\"") && page.contains("value=\"another\""), "{page}");
    // The person asks for another, and that one counts.
    app.advance(MINUTE);
    another(app, &link).await;
    enter(app, &link, &newest(app, &number)).await;
    assert_eq!(app.granted(&number).await, PROMO);
});

both!(racing_submits_get_no_sixth_try, |app| {
    let number = de(1);
    let link = submitted(app, &number).await;
    let right = newest(app, &number);
    let wrong = other_than(&right);
    let (_, page) = app.get(&link).await;
    let form = |code: &str| [("nonce", field(&page, "nonce")), ("answer", "code".into()), ("code", code.to_owned())];
    let tries = (0..12).map(|_| form(&wrong)).collect::<Vec<_>>();
    let app = &*app;
    futures::future::join_all(tries.iter().map(|f| app.post_form(&link, f))).await;
    assert_eq!(app.count("SELECT wrong FROM codes").await, 5, "every try is counted, and none after the fifth");
    enter(app, &link, &right).await;
    assert!(app.granted(&number).await.is_empty());
});

both!(two_racing_posts_of_the_right_code_grant_once, |app| {
    let number = de(1);
    let link = submitted(app, &number).await;
    let (_, page) = app.get(&link).await;
    let form = [("nonce", field(&page, "nonce")), ("answer", "code".into()), ("code", newest(app, &number))];
    let (first, second) = futures::join!(app.post_form(&link, &form), app.post_form(&link, &form));
    assert_eq!((first, second), (303, 303));
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'granted'").await, 1);
});

both!(an_expired_code_grants_nothing_and_leaves_the_first_yes_pending, |app| {
    let number = de(1);
    let link = submitted(app, &number).await;
    let old = newest(app, &number);
    app.advance(Duration::from_secs(600));
    enter(app, &link, &old).await;
    assert!(app.granted(&number).await.is_empty());
    let (_, page) = app.get(&link).await;
    assert!(page.contains("Der Code ist abgelaufen") && page.contains("banner pending"), "{page}");
    another(app, &link).await;
    assert_eq!(codes(app, &number).len(), 2);
    enter(app, &link, &old).await;
    assert!(app.granted(&number).await.is_empty(), "the newer code has replaced it");
    enter(app, &link, &newest(app, &number)).await;
    assert_eq!(app.granted(&number).await, PROMO);
});

both!(a_code_counts_once, |app| {
    let number = de(1);
    let link = submitted(app, &number).await;
    let code = newest(app, &number);
    enter(app, &link, &code).await;
    assert_eq!(app.granted(&number).await, PROMO);
    // Taken back, and chosen again: the old code is spent.
    app.submit(&link, "none", &[]).await;
    assert!(app.granted(&number).await.is_empty());
    app.advance(MINUTE);
    app.submit(&link, "chosen", PROMO).await;
    enter(app, &link, &code).await;
    assert!(app.granted(&number).await.is_empty());
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'granted'").await, 1);
});

both!(one_code_a_minute_and_five_a_day, |app| {
    let number = de(1);
    let link = submitted(app, &number).await;
    another(app, &link).await;
    assert_eq!(codes(app, &number).len(), 1, "not within the minute");
    let (_, page) = app.get(&link).await;
    assert!(page.contains("Ein neuer Code kann in 60\u{a0}s angefordert werden"), "{page}");
    for sent in 2..=5 {
        app.advance(MINUTE);
        another(app, &link).await;
        assert_eq!(codes(app, &number).len(), sent);
    }
    app.advance(MINUTE);
    another(app, &link).await;
    assert_eq!(codes(app, &number).len(), 5, "not a sixth a day");
    // Where no newer one may be sent, the last one still counts.
    enter(app, &link, &newest(app, &number)).await;
    assert_eq!(app.granted(&number).await, PROMO);
    app.submit(&link, "none", &[]).await;
    app.advance(DAY);
    app.submit(&link, "chosen", PROMO).await;
    settle(app).await;
    assert_eq!(codes(app, &number).len(), 6);
});

both!(a_new_submission_kills_the_code_of_the_old_one, |app| {
    let number = de(1);
    let link = submitted(app, &number).await;
    let old = newest(app, &number);
    // The same boxes once more are the same submission.
    app.submit(&link, "chosen", PROMO).await;
    app.submit(&link, "chosen", &["sms.promotions", "call.promotions"]).await;
    settle(app).await;
    assert_eq!(codes(app, &number).len(), 1, "a minute has not passed");
    enter(app, &link, &old).await;
    assert!(app.granted(&number).await.is_empty(), "the code was for other boxes");
    assert!(app.get(&link).await.1.contains("name=\"code\""), "theirs comes when the minute has passed");
    app.advance(MINUTE);
    settle(app).await;
    assert_eq!(codes(app, &number).len(), 2);
    enter(app, &link, &newest(app, &number)).await;
    assert_eq!(app.granted(&number).await, ["sms.promotions", "call.promotions"]);
    // So does the one that opens their data, asked for at once.
    let data = format!("{link}/data");
    assert_eq!(app.submit(&data, "another", &[]).await, 303);
    settle(app).await;
    assert!(codes(app, &number).len() == 2 && app.get(&data).await.1.contains("name=\"code\""));
    app.advance(MINUTE);
    settle(app).await;
    assert_eq!(codes(app, &number).len(), 3);
});

both!(a_no_between_code_and_typing_beats_it, |app| {
    for (n, say) in ["STOP", "none"].into_iter().enumerate() {
        let number = de(n as u32);
        app.people(std::slice::from_ref(&number)).await;
        app.plan_as(CODE, |c| c.name = format!("{CODE}-{n}")).await;
        settle(app).await;
        let link = app.link(&number);
        app.submit(&link, "chosen", PROMO).await;
        settle(app).await;
        let code = newest(app, &number);
        match say {
            "none" => assert_eq!(app.submit(&link, "none", &[]).await, 303),
            stop => app.reply(&number, crate::app::REPLY_NUMBER, stop).await,
        }
        enter(app, &link, &code).await;
        assert!(app.granted(&number).await.is_empty(), "{say}");
        assert_eq!(app.story(&number).await.suppressions.len(), 1, "{say}");
    }
});

both!(a_no_before_the_code_has_left_keeps_it_from_leaving, |app| {
    let number = de(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(CODE).await;
    let link = app.link(&number);
    app.submit(&link, "chosen", PROMO).await;
    app.submit(&link, "none", &[]).await;
    settle(app).await;
    assert!(codes(app, &number).is_empty());
});

both!(looking_never_sends_and_never_burns_a_code, |app| {
    let number = de(1);
    let link = submitted(app, &number).await;
    let code = newest(app, &number);
    app.advance(MINUTE);
    let rows = "SELECT COUNT(*) FROM messages";
    let before = (app.count(rows).await, app.dump("codes").await);
    for n in 0..25 {
        for url in [format!("{link}?answer=another"), format!("{link}?answer=code&code={code}"), format!("{link}/de")] {
            let request = if n % 2 == 0 { app.http.get(&url) } else { app.http.head(&url) };
            assert_eq!(request.header("user-agent", "WhatsApp/2.24").send().await.unwrap().status().as_u16(), 200);
        }
    }
    settle(app).await;
    assert_eq!((app.count(rows).await, app.dump("codes").await), before);
    enter(app, &link, &code).await;
    assert_eq!(app.granted(&number).await, PROMO);
});

both!(a_code_counts_for_its_own_person_and_its_own_page, |app| {
    let (mine, yours) = (de(1), de(2));
    app.people(&[mine.clone(), yours.clone()]).await;
    app.plan_as(CODE, |c| c.reminder_after_days = Some(3)).await;
    settle(app).await;
    let (first, their_link) = (app.link(&mine), app.link(&yours));
    app.advance(DAY * 4);
    expire::expire(&app.engine).await.unwrap();
    settle(app).await;
    let second = app.link(&mine);
    assert_ne!(first, second, "the reminder's link");
    app.submit(&first, "chosen", PROMO).await;
    app.submit(&their_link, "chosen", PROMO).await;
    settle(app).await;
    let (code, their_code) = (newest(app, &mine), newest(app, &yours));
    assert_ne!(code, their_code);
    enter(app, &first, &their_code).await;
    enter(app, &second, &code).await;
    assert!(app.granted(&mine).await.is_empty());
    assert!(app.get(&second).await.1.contains("keinen Code zum Eingeben"));
    assert_eq!(app.count("SELECT COUNT(*) FROM codes WHERE wrong = 1").await, 1, "the other person's code was a wrong try");
    enter(app, &first, &code).await;
    assert_eq!(app.granted(&mine).await, PROMO);
    assert!(app.granted(&yours).await.is_empty());
});

both!(an_old_link_takes_no_code, |app| {
    let number = de(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(CODE).await;
    let link = app.link(&number);
    app.advance(DAY * 30 - MINUTE);
    app.submit(&link, "chosen", PROMO).await;
    settle(app).await;
    let code = newest(app, &number);
    app.advance(MINUTE);
    assert_eq!(app.get(&link).await.0, 410);
    assert_eq!(enter(app, &link, &code).await, 410);
    assert_eq!(another(app, &link).await, 410);
    assert!(app.granted(&number).await.is_empty());
    assert_eq!(codes(app, &number).len(), 1);
    assert_eq!(app.submit(&link, "none", &[]).await, 303, "saying no works with it all the same");
});

both!(who_comes_back_after_a_stop_has_one_code_a_day, |app| {
    let number = de(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(CODE).await;
    let link = app.link(&number);
    app.reply(&number, crate::app::REPLY_NUMBER, "STOP").await;
    app.advance(MINUTE * 10);
    app.submit(&link, "chosen", PROMO).await;
    settle(app).await;
    assert_eq!(codes(app, &number).len(), 1, "the person's own act: a suppression does not hold it");
    app.advance(MINUTE * 10);
    another(app, &link).await;
    assert_eq!(codes(app, &number).len(), 1);
    assert!(app.get(&link).await.1.contains("Ein neuer Code kann in 24\u{a0}h angefordert werden"));
    app.advance(DAY);
    another(app, &link).await;
    enter(app, &link, &newest(app, &number)).await;
    assert_eq!(app.granted(&number).await, PROMO);
    let story = app.story(&number).await;
    assert!(story.suppressions[0].starts_with(Reason::Stopped.code()) && story.suppressions[0].contains("lifted"), "{story:?}");
});

both!(a_block_list_of_the_providers_is_named_with_the_way_out, |app| {
    let number = de(1);
    let link = submitted(app, &number).await;
    assert!(!app.get(&link).await.1.contains("START"));
    // The provider holds an opt-out and swallows the code: that is a no, and the page says how to lift it.
    let contact = app.count("SELECT MIN(id) FROM contacts").await;
    let mut tx = app.engine.store.write().await.unwrap();
    confirm::gateway_opt_out(&mut tx, &app.engine, contact).await.unwrap();
    tx.commit().await.unwrap();
    let way_out = format!("senden Sie START per SMS an {}", crate::app::REPLY_NUMBER);
    let (_, page) = app.get(&link).await;
    assert!(page.contains("banner stopped") && page.contains(&way_out), "{page}");
    // Where their data open by a code as well, which goes the same way.
    let door = async |link: &str| app.get(&format!("{link}/data")).await.1;
    assert!(door(&link).await.contains(&way_out));
    // Whoever chooses again reads it beside the field for the code too; a yes by message is not the code.
    app.advance(DAY);
    app.submit(&link, "chosen", PROMO).await;
    app.reply(&number, crate::app::REPLY_NUMBER, "START").await;
    assert!(app.granted(&number).await.is_empty());
    settle(app).await;
    let (_, page) = app.get(&link).await;
    assert!(page.contains("id=\"code\"") && page.contains(&way_out), "{page}");
    enter(app, &link, &newest(app, &number)).await;
    assert_eq!(app.granted(&number).await, PROMO);
    assert!(!app.get(&link).await.1.contains("START") && !door(&link).await.contains("START"));

    // A list does not say how somebody unsubscribed; whoever said no on the page sent no STOP.
    let [listed, refused] = [2, 3].map(de);
    let links = [submitted(app, &listed).await, submitted(app, &refused).await];
    app.import(&TestApp::good(&listed).replace("unticked,", "unticked,yes")).await;
    assert_eq!(app.submit(&links[1], "none", &[]).await, 303);
    for (link, told) in links.iter().zip([true, false]) {
        let (_, page) = app.get(link).await;
        assert_eq!((page.contains(&way_out), door(link).await.contains(&way_out)), (told, told), "{page}");
    }
});

both!(a_code_of_unknown_outcome_is_never_sent_again, |app| {
    let number = de(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(CODE).await;
    let link = app.link(&number);
    app.gateway.set_faults(Faults { accept_then_reset: 1.0, ..Faults::default() });
    app.submit(&link, "chosen", PROMO).await;
    app.deliver().await;
    app.gateway.set_faults(Faults::default());
    app.advance(MINUTE);
    settle(app).await;
    assert_eq!(codes(app, &number).len(), 1, "it arrived, though nobody said so");
    assert_eq!(app.count("SELECT COUNT(*) FROM messages WHERE kind = 'code'").await, 1);
    // The person may ask for a new one, or type the one that came.
    enter(app, &link, &newest(app, &number)).await;
    assert_eq!(app.granted(&number).await, PROMO);
    assert_eq!(app.count("SELECT COUNT(*) FROM messages WHERE kind = 'code' AND state = 'delivered'").await, 1);
});

both!(a_code_that_was_not_taken_is_made_anew, |app| {
    let number = de(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(CODE).await;
    let link = app.link(&number);
    app.gateway.set_faults(Faults { refused_numbers: [number.clone()].into(), ..Faults::default() });
    app.submit(&link, "chosen", PROMO).await;
    settle(app).await;
    assert!(app.get(&link).await.1.contains("Wir konnten Ihnen den Code nicht senden"));
    app.gateway.set_faults(Faults::default());
    app.advance(MINUTE);
    another(app, &link).await;
    enter(app, &link, &newest(app, &number)).await;
    assert_eq!(app.granted(&number).await, PROMO);
});

both!(a_code_that_comes_back_after_it_was_replaced_does_not_leave, |app| {
    let number = de(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(CODE).await;
    let link = app.link(&number);
    app.submit(&link, "chosen", PROMO).await;
    // On its way while other boxes are ticked, and then the gateway has not taken it.
    app.execute("UPDATE messages SET state = 'sending' WHERE kind = 'code'").await.unwrap();
    app.submit(&link, "chosen", &["sms.promotions", "call.promotions"]).await;
    app.execute("UPDATE messages SET state = 'planned' WHERE kind = 'code'").await.unwrap();
    for _ in 0..2 {
        settle(app).await;
        app.advance(MINUTE);
    }
    assert_eq!(codes(app, &number).len(), 1, "the newest on the phone is the one that counts");
    enter(app, &link, &newest(app, &number)).await;
    assert_eq!(app.granted(&number).await, ["sms.promotions", "call.promotions"]);
});

both!(a_code_that_nobody_waits_for_any_more_does_not_leave, |app| {
    let number = de(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(CODE).await;
    app.submit(&app.link(&number), "chosen", PROMO).await;
    app.advance(Duration::from_secs(601));
    settle(app).await;
    assert!(codes(app, &number).is_empty());
});

both!(a_yes_by_reply_gets_help_where_only_a_code_confirms, |app| {
    let number = de(1);
    let link = submitted(app, &number).await;
    app.advance(MINUTE);
    app.reply(&number, crate::app::REPLY_NUMBER, "JA").await;
    assert!(app.granted(&number).await.is_empty());
    let told = app.inbox(&number).pop().unwrap();
    assert!(told.reference.starts_with("hlp") && told.text.contains("Ihr JA gilt noch nicht"), "{}", told.text);
    enter(app, &link, &newest(app, &number)).await;
    assert_eq!(app.granted(&number).await, PROMO);
});

both!(forged_code_forms_are_refused, |app| {
    let number = de(1);
    let link = submitted(app, &number).await;
    let code = newest(app, &number);
    let form = [("nonce", "0".repeat(64)), ("answer", "code".into()), ("code", code.clone())];
    assert_eq!(app.post_form(&link, &form).await, 409);
    assert_eq!(app.post(&link, "", "another", &[]).await, 409);
    let (_, page) = app.get(&link).await;
    let body = format!("nonce={}&answer=code&code={code}", field(&page, "nonce"));
    let request = app.http.post(&link).header("sec-fetch-site", "cross-site");
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
    assert_eq!(request.send().await.unwrap().status().as_u16(), 403);
    assert!(app.granted(&number).await.is_empty());
});
