//! Consent first: a form on which people choose, then give their number, then type the code that only its phone gets. And what must not come
//! of it, since anybody can type anybody's number.

use std::collections::BTreeSet;
use std::time::Duration;

use permesso::domain::rights::Right;
use permesso::domain::suppression::Reason;
use permesso::engine::{dossier, expire, inbox, intake, notice, receive, requests, rights, steer};
use permesso::store::{codes, contacts, intakes};

use crate::app::{LINK, REPLY_NUMBER, TestApp, field, too_many};
use crate::both;
use crate::code::codes;
use crate::erasure::{by_letter, erase, grants};
use crate::humans::{rejected, row};
use crate::promises::said;
use crate::run::ask;
use crate::shield::everything;

const PROMO: &[&str] = &["sms.promotions"];
const TOKEN: &str = "form-token-of-the-tests-1";

/// A folder with two forms, one of which may be framed and lets a chatbot in.
pub async fn forms(app: &mut TestApp) {
    let folder = app.engine.config.dir.join("forms");
    std::fs::create_dir_all(&folder).expect("a folder");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/forms/newsletter.toml");
    let text = std::fs::read_to_string(shipped).expect("the form that ships");
    std::fs::write(folder.join("newsletter.toml"), &text).expect("written");
    let other = text
        .replace("name = \"newsletter\"", "name = \"shop\"")
        .replace("Sign-up page", "Shop <b>")
        .replace("[preferences]", &format!("embed = [\"https://www.acme.example\"]\ntoken = \"{TOKEN}\"\n[preferences]"));
    std::fs::write(folder.join("shop.toml"), other.replace("per_day = 500", "per_day = 5")).expect("written");
    app.reconfigure("").await;
}

/// What a browser gets for a submission of this form: status, headers, page.
async fn post(app: &TestApp, form: &str, pairs: &[(&str, &str)]) -> (u16, Vec<String>, String) {
    let address = format!("{}/join/{form}/it", app.base);
    let nonce = field(&app.get(&address).await.1, "nonce");
    let pairs = [("nonce", nonce.as_str())].into_iter().chain(pairs.iter().copied());
    let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let request = app.http.post(&address).header("sec-fetch-site", "same-origin");
    let answer = request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.expect("an answer");
    let mut headers: Vec<String> = answer.headers().iter().map(|(k, v)| format!("{k}: {v:?}")).collect();
    headers.retain(|h| !h.starts_with("date"));
    (answer.status().as_u16(), headers, answer.text().await.expect("text"))
}

/// The first step: what the page carries to the second.
pub async fn choose(app: &TestApp, form: &str, grants: &[&str]) -> String {
    let pairs: Vec<(&str, &str)> = [("answer", "chosen")].into_iter().chain(grants.iter().map(|g| ("grant", *g))).collect();
    let (status, _, page) = post(app, form, &pairs).await;
    assert_eq!(status, 200, "{page}");
    field(&page, "token")
}

pub async fn give(app: &TestApp, form: &str, token: &str, number: &str) -> (u16, Vec<String>, String) {
    let (status, headers, page) = post(app, form, &[("answer", "number"), ("token", token), ("number", number)]).await;
    // What the page carries on is the only thing that differs from one visitor to the next.
    (status, headers, page.replace(token, "T"))
}

pub async fn enter(app: &TestApp, form: &str, token: &str, code: &str) -> (u16, Vec<String>, String) {
    let (status, headers, page) = post(app, form, &[("answer", "code"), ("token", token), ("code", code)]).await;
    (status, headers, page.replace(token, "T"))
}

/// Chooses, gives the number, types the code.
pub async fn joined(app: &TestApp, form: &str, number: &str) {
    let token = choose(app, form, PROMO).await;
    assert_eq!(give(app, form, &token, number).await.0, 200);
    app.settle().await;
    let code = codes(app, number).pop().expect("a code");
    assert_eq!(enter(app, form, &token, &code).await.0, 200);
}

async fn intakes_dump(app: &TestApp) -> String {
    app.dump("intakes").await
}

both!(a_choice_on_a_form_counts_with_the_code_alone_and_nothing_is_kept_before_the_number, |app| {
    forms(app).await;
    let [one, two] = [1, 2].map(TestApp::it);
    let (before, spent) = (everything(app).await, intakes_dump(app).await);
    let (status, page) = app.get(&format!("{}/join/newsletter/it", app.base)).await;
    assert!(status == 200 && page.contains("type=\"checkbox\"") && !page.contains(" checked"), "{page}");
    assert!(!page.contains("name=\"number\""), "first the choice");

    // A no, in either form, ends it: no cookie, no further question, nothing kept.
    for pairs in [
        &[("answer", "none"), ("grant", "sms.promotions")][..],
        &[("answer", "chosen")],
        &[("answer", "chosen"), ("grant", "sms.profiling")],
    ] {
        let (status, headers, page) = post(app, "newsletter", pairs).await;
        assert!(status == 200 && page.contains("banner declined") && !page.contains("<form"), "{page}");
        assert!(!headers.iter().any(|h| h.starts_with("set-cookie")), "{headers:?}");
    }
    // What the form does not offer is not chosen by asking for it.
    let many = ["sms.promotions", "sms.profiling", "call.promotions", "email.promotions", "*"];
    let token = choose(app, "newsletter", &many).await;
    for number in ["", "12", "hello", "+390612345678", "+33612345678", "+39300"] {
        let (status, _, page) = give(app, "newsletter", &token, number).await;
        assert!(status == 422 && page.contains("+39, +48, +34, +49"), "{number}: {page}");
    }
    assert_eq!((everything(app).await, intakes_dump(app).await), (before, spent), "nothing is stored before a number is given");

    assert_eq!(give(app, "newsletter", &token, &one).await.0, 200);
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger").await, 0);
    app.settle().await;
    let [code] = &codes(app, &one)[..] else { panic!("one code") };
    let text = format!(
        "ACME: {code} è il codice che conferma la tua scelta, valido 10 minuti. Scrivilo dove hai lasciato il numero. Se non sei stato tu, ignora il messaggio."
    );
    assert_eq!(app.inbox(&one)[0].text, text);
    // The same step again: one act.
    for _ in 0..3 {
        assert_eq!(give(app, "newsletter", &token, &one).await.0, 200);
    }
    app.settle().await;
    assert_eq!(app.inbox(&one).len(), 1);
    assert_eq!(app.count("SELECT COUNT(*) FROM contacts").await, 1);
    let wrong = if code == "000000" { "111111" } else { "000000" };
    for typed in [wrong, "", "12345", "abcdef"] {
        assert_eq!(enter(app, "newsletter", &token, typed).await.0, 422);
    }
    assert!(
        app.granted(&one).await.is_empty() && app.count("SELECT COUNT(*) FROM ledger").await == 0,
        "a number alone grants nothing"
    );

    let mut own = BTreeSet::new();
    for _ in 0..2 {
        let (status, _, page) = enter(app, "newsletter", &token, code).await;
        assert!(status == 200 && page.contains("banner confirmed") && page.contains("Promozioni e offerte: SMS"), "{page}");
        own.extend(
            page.split("href=\"").filter_map(|rest| rest.split('"').next()).filter(|a| a.contains("/p/")).map(str::to_owned),
        );
    }
    assert_eq!(app.granted(&one).await, PROMO);
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger").await, 2, "first yes and second act, once");
    // A box that was seen and left unticked is not given; what no form showed is unknown.
    let consents = app.story(&one).await.consents.join("\n");
    assert!(consents.contains("not_given: sms.product_info, whatsapp.product_info, whatsapp.promotions"), "{consents}");
    assert!(consents.contains("unknown: sms.profiling"), "{consents}");
    let proof = app.dump("evidence").await.replace("\\\"", "\"");
    for part in [
        "\"form\":\"newsletter\"",
        "\"notice_version\":\"2026-11\"",
        "\"notice_hash\":\"",
        "\"locale\":\"it\"",
        "\"channel\":\"form\"",
        "\"action\":\"typed_code\"",
    ] {
        assert!(proof.contains(part), "{part}: {proof}");
    }
    let history = app.history(&one).await.concat();
    assert!(
        history.contains("granted promotions by SMS on 2026-12-01 10:45 (Europe/Rome); through form newsletter, typed code"),
        "{history}"
    );
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());

    let (code, csv, _) = ask(app.dir.path(), &["consents", "export"]).await;
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    let row: std::collections::HashMap<String, String> = rows.deserialize().next().expect("a row").expect("readable");
    assert!(code == 0 && row["form"] == "newsletter" && row["said_in"] == "it" && row["state"] == "granted", "{row:?}");
    let [said] = &app.story(&one).await.pages[..] else { panic!("one page") };
    assert!(said.starts_with(&format!("form in it, {}: ", &row["page_hash"][..12])), "{said}");
    assert!(
        said.contains("[ ] Promozioni e offerte (SMS, WhatsApp)") && !said.contains("Telefonata"),
        "as the form offers it: {said}"
    );
    assert!(said.contains("Finché non lo lasci, di te non salviamo nulla."), "{said}");

    let published = app.dump("wordings").await;
    assert!(published.contains("è il codice che conferma la tua scelta"), "the text behind the hash in the proof: {published}");

    // Being on a form gives nobody a right to ask.
    app.people(std::slice::from_ref(&two)).await;
    app.send(LINK).await;
    assert_eq!(app.asks(&one), 0, "nobody was given a basis to ask them by it");

    // It is changed where the last page said, however often the code was typed: more by another code, and all of it taken back at once.
    let [own] = &own.into_iter().collect::<Vec<_>>()[..] else { panic!("one page of their own") };
    app.advance(Duration::from_secs(90));
    assert_eq!(app.submit(own, "chosen", &["sms.promotions", "sms.product_info"]).await, 303);
    assert_eq!(app.granted(&one).await, PROMO);
    app.settle().await;
    crate::code::enter(app, own, &codes(app, &one).pop().expect("a second code")).await;
    assert_eq!(app.granted(&one).await.len(), 2);
    assert_eq!(app.submit(own, "none", &[]).await, 303);
    assert!(app.granted(&one).await.is_empty());

    // Whom a campaign once asked in vain: what they say on the form and on its page is none of that campaign's.
    app.advance(Duration::from_secs(40 * 86_400));
    expire::expire(&app.engine).await.unwrap();
    let token = choose(app, "newsletter", PROMO).await;
    give(app, "newsletter", &token, &two).await;
    app.settle().await;
    let (_, _, page) = enter(app, "newsletter", &token, &codes(app, &two).pop().expect("a code")).await;
    let own = page.split("href=\"").filter_map(|rest| rest.split('"').next()).find(|a| a.contains("/p/")).expect("a page");
    app.advance(Duration::from_secs(90));
    assert_eq!(app.submit(own, "chosen", &["sms.promotions", "sms.product_info"]).await, 303);
    app.settle().await;
    crate::code::enter(app, own, &codes(app, &two).pop().expect("a second code")).await;
    assert_eq!(app.granted(&two).await.len(), 2);
    let of_a_campaign =
        "SELECT COUNT(*) FROM evidence WHERE body LIKE '%\"entry\":\"granted\"%' AND body NOT LIKE '%\"campaign\":null%'";
    assert_eq!(app.count(of_a_campaign).await, 0);
});

both!(a_number_that_said_no_gets_nothing_from_a_form_and_nobody_can_tell, |app| {
    forms(app).await;
    let numbers: Vec<String> = (1..=9).map(TestApp::it).collect();
    let [stopped, refused, wrong, restricted, erased, held, listed, stranger, fresh] = &numbers[..] else { unreachable!() };
    app.people(&numbers[..6]).await;
    app.send(LINK).await;
    app.reply(stopped, REPLY_NUMBER, "STOP").await;
    app.submit(&app.link(refused), "none", &[]).await;
    app.submit(&app.link(wrong), "wrong_number", &[]).await;
    assert_eq!(rights::restrict_number(&app.engine, &TestApp::number(restricted), true, &by_letter(app)).await.unwrap(), 1);
    erase(app, erased).await;
    app.reply(held, REPLY_NUMBER, "boh, chi siete e che volete da mia nonna").await;
    crate::packs::screen(app, "RPO", &format!("{listed},2026-01-01\n")).await.expect("screened");
    app.reply(stranger, REPLY_NUMBER, "STOP").await;
    app.advance(Duration::from_secs(2 * 86_400));
    // Whoever tries them has a phone, whose code is good until another number is given in place of its own.
    let mine = TestApp::it(11);
    let token = choose(app, "newsletter", PROMO).await;
    give(app, "newsletter", &token, &mine).await;
    app.settle().await;
    let proof = codes(app, &mine).pop().expect("a code");
    let sent = numbers.iter().map(|n| app.inbox(n).len()).collect::<Vec<_>>();
    let before = everything(app).await;

    let mut answers = Vec::new();
    for number in &numbers[..8] {
        let token = choose(app, "newsletter", PROMO).await;
        let own = give(app, "newsletter", &token, &mine).await;
        let given = give(app, "newsletter", &token, number).await;
        app.settle().await;
        answers.push((number, own, given, enter(app, "newsletter", &token, &proof).await));
    }
    assert_eq!(everything(app).await, before, "of such a number nothing changes, and nothing is kept");
    assert_eq!(
        app.count("SELECT COUNT(*) FROM intakes WHERE contact_id IS NULL AND message_id IS NULL AND source IS NULL").await,
        8
    );
    assert_eq!(numbers.iter().map(|n| app.inbox(n).len()).collect::<Vec<_>>(), sent, "no message to any of them");

    // Status, headers and page are those of a number that does get one.
    let token = choose(app, "newsletter", PROMO).await;
    let own = give(app, "newsletter", &token, &mine).await;
    let given = give(app, "newsletter", &token, fresh).await;
    assert_eq!(given.0, 200);
    app.settle().await;
    let code = codes(app, fresh).pop().expect("a code");
    let typed = enter(app, "newsletter", &token, &proof).await;
    assert_eq!(typed.0, 422, "the code of the number before");
    for (number, first, second, third) in answers {
        assert_eq!((first, second, third), (own.clone(), given.clone(), typed.clone()), "{number}");
    }

    // A no between the form and the claim: the claim reads it. One between the code and its typing: nothing is granted.
    let late = TestApp::it(10);
    let other = choose(app, "newsletter", PROMO).await;
    give(app, "newsletter", &other, &late).await;
    permesso::web::hear_once(&app.engine).await.expect("heard");
    let mut tx = app.engine.store.write().await.unwrap();
    let keyed = app.engine.vault.keyed_all(&TestApp::number(&late));
    let by = permesso::domain::answer::By::Person;
    let now = app.engine.now() - 1;
    let controller = &app.engine.controller;
    permesso::store::suppressions::suppress(&mut tx, controller, &keyed, Reason::Stopped, by, now, now).await.unwrap();
    // As if it had come between planning and claim.
    tx.commit().await.unwrap();
    app.execute("UPDATE messages SET state = 'planned' WHERE state = 'cancelled' AND wording = 'join_code'").await.expect("set");
    app.settle().await;
    assert!(app.inbox(&late).is_empty(), "the claim reads the noes again");

    app.advance(Duration::from_secs(5));
    app.reply(fresh, REPLY_NUMBER, "STOP").await;
    assert_eq!(enter(app, "newsletter", &token, &code).await.0, 422);
    assert!(app.granted(fresh).await.is_empty());
});

both!(a_stop_said_before_the_code_was_typed_beats_it_however_late_it_comes, |app| {
    forms(app).await;
    let number = TestApp::it(1);
    let token = choose(app, "newsletter", PROMO).await;
    give(app, "newsletter", &token, &number).await;
    app.settle().await;
    let code = codes(app, &number).pop().expect("a code");
    app.advance(Duration::from_secs(60));
    let stop = said("late", &number, REPLY_NUMBER, "STOP", app.clock.now());
    app.advance(Duration::from_secs(300));
    assert_eq!(enter(app, "newsletter", &token, &code).await.0, 200);
    assert_eq!(app.granted(&number).await, PROMO);
    receive::store(&app.engine, "mock", &[stop]).await.unwrap();
    assert_eq!(app.granted(&number).await, Vec::<String>::new());
    assert_eq!(app.count("SELECT COUNT(*) FROM suppressions WHERE lifted_at IS NULL AND reason = 'stopped'").await, 1);
});

both!(a_number_that_comes_by_a_form_belongs_to_the_human_that_a_rejected_row_named, |app| {
    forms(app).await;
    let [one, two, three, four] = [1, 2, 3, 4].map(TestApp::it);
    app.import(&(row(1, "H1") + &rejected(2, "H1", "") + &row(3, "H3") + &rejected(4, "H3", ""))).await;
    joined(app, "newsletter", &two).await;
    assert_eq!(app.granted(&two).await, PROMO);
    app.advance(Duration::from_secs(60));
    for number in [&one, &three] {
        app.reply(number, REPLY_NUMBER, "STOP").await;
    }
    assert!(app.granted(&two).await.is_empty(), "a no by any number of the human");
    let token = choose(app, "newsletter", PROMO).await;
    assert_eq!(give(app, "newsletter", &token, &four).await.0, 200);
    app.settle().await;
    assert!(app.inbox(&four).is_empty(), "a no said before counts as well");
});

both!(a_number_that_was_known_before_a_form_is_not_forgotten_with_it, |app| {
    forms(app).await;
    let [old, new] = [1, 2].map(TestApp::it);
    app.people(std::slice::from_ref(&old)).await;
    rights::change_number(&app.engine, &TestApp::number(&old), &TestApp::number(&new), &by_letter(app)).await.unwrap();
    app.advance(Duration::from_secs(60));
    let token = choose(app, "newsletter", PROMO).await;
    give(app, "newsletter", &token, &new).await;
    app.settle().await;
    app.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(intake::tidy(&app.engine).await.unwrap(), 0);
    let keyed = app.engine.vault.keyed_all(&TestApp::number(&new));
    let mut tx = app.engine.store.read().await.unwrap();
    assert!(contacts::by_number(&mut tx, &app.engine.controller, &keyed).await.unwrap().is_some());
    tx.rollback().await.unwrap();
});

both!(whoever_waits_for_an_answer_is_not_forgotten_with_a_form, |app| {
    forms(app).await;
    let person = TestApp::it(1);
    let token = choose(app, "newsletter", PROMO).await;
    give(app, "newsletter", &token, &person).await;
    app.settle().await;
    let noted = requests::note(&app.engine, Right::Access, &TestApp::number(&person), &by_letter(app)).await.unwrap();
    app.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(intake::tidy(&app.engine).await.unwrap(), 0);
    requests::answered(&app.engine, noted, None).await.unwrap();
    assert_eq!(intake::tidy(&app.engine).await.unwrap(), 1);
    // What another number of theirs wrote, and nobody has read yet, may be a no of theirs.
    let [came, kin] = [2, 3].map(TestApp::it);
    app.import(&(crate::erasure::with_id(&kin, "H1") + &crate::humans::rejected(2, "H1", ""))).await;
    let token = choose(app, "newsletter", PROMO).await;
    give(app, "newsletter", &token, &came).await;
    app.settle().await;
    app.reply(&kin, crate::app::REPLY_NUMBER, "mah, vediamo un po").await;
    app.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(intake::tidy(&app.engine).await.unwrap(), 0);
    let waiting = permesso::engine::inbox::waiting(&app.engine, 0, 9).await.unwrap();
    permesso::engine::inbox::resolve(&app.engine, waiting[0].id, false, "op").await.unwrap();
    assert_eq!(intake::tidy(&app.engine).await.unwrap(), 1);
});

both!(a_number_that_was_mistyped_is_corrected_and_the_last_one_given_is_the_one_that_counts, |app| {
    forms(app).await;
    let [typo, own] = [1, 2].map(TestApp::it);
    let token = choose(app, "newsletter", PROMO).await;
    let (_, _, page) = give(app, "newsletter", &token, &typo).await;
    assert!(page.contains("value=\"correct\""), "the page lets them: {page}");
    app.settle().await;
    let first = codes(app, &typo).pop().expect("a code");
    let (status, _, page) = post(app, "newsletter", &[("answer", "correct"), ("token", &token)]).await;
    assert!(status == 200 && field(&page, "token") == token && page.contains("Promozioni e offerte: SMS"), "{page}");
    assert!(page.contains("name=\"number\"") && !page.contains(&typo[4..]), "{page}");
    assert_eq!(give(app, "newsletter", &token, &own).await.0, 200);
    app.settle().await;
    let code = codes(app, &own).pop().expect("the corrected number gets its code");
    assert_eq!(enter(app, "newsletter", &token, &first).await.0, 422, "the mistyped number's phone completes nothing");
    // To and fro: each has its code already.
    for number in [&typo, &own] {
        assert_eq!(give(app, "newsletter", &token, number).await.0, 200);
    }
    app.settle().await;
    assert_eq!((app.inbox(&typo).len(), app.inbox(&own).len()), (1, 1));
    assert_eq!(enter(app, "newsletter", &token, &code).await.0, 200);
    assert_eq!((app.granted(&own).await, app.granted(&typo).await), (vec!["sms.promotions".to_owned()], vec![]));
    assert_eq!(give(app, "newsletter", &token, &typo).await.0, 409, "completed: another number wants another choice");
    // A number is bombed no more by it: each code was sent to somebody, whoever's the token is now.
    for _ in 0..4 {
        app.advance(Duration::from_secs(1200));
        let token = choose(app, "newsletter", PROMO).await;
        for number in [&typo, &own] {
            give(app, "newsletter", &token, number).await;
            app.settle().await;
        }
    }
    assert_eq!((app.inbox(&typo).len(), app.inbox(&own).len()), (3, 3), "three a day");
});

both!(one_number_gets_one_code_at_a_time_and_few_a_day_whoever_types_it, |app| {
    forms(app).await;
    let number = TestApp::it(1);
    // Another's choice, and the person's own, while the first code lives: one message, and it completes the choice where it is typed.
    let anothers = choose(app, "newsletter", &["sms.promotions", "whatsapp.promotions"]).await;
    give(app, "newsletter", &anothers, &number).await;
    app.settle().await;
    app.advance(Duration::from_secs(120));
    let own = choose(app, "newsletter", &["sms.product_info"]).await;
    give(app, "newsletter", &own, &number).await;
    app.settle().await;
    let [code] = &codes(app, &number)[..] else { panic!("one message") };
    assert_eq!(enter(app, "newsletter", &own, code).await.0, 200);
    assert_eq!(app.granted(&number).await, ["sms.product_info"], "what stands in the page where the code was typed");
    assert_eq!(enter(app, "newsletter", &anothers, code).await.0, 422, "a code counts once");

    // A guesser has five tries whatever the number of pages they open.
    app.advance(Duration::from_secs(3600));
    let tokens = [choose(app, "newsletter", PROMO).await, choose(app, "newsletter", PROMO).await];
    for token in &tokens {
        give(app, "newsletter", token, &number).await;
    }
    app.settle().await;
    let code = codes(app, &number).pop().unwrap();
    let wrong = if code == "000000" { "111111" } else { "000000" };
    for n in 0..5 {
        assert_eq!(enter(app, "newsletter", &tokens[n % 2], wrong).await.0, 422);
    }
    for token in &tokens {
        assert_eq!(enter(app, "newsletter", token, &code).await.0, 422, "the code is dead");
    }
    assert_eq!(codes(app, &number).len(), 2);
    // Three a day, by whatever form.
    for form in ["shop", "newsletter", "shop", "newsletter"] {
        app.advance(Duration::from_secs(1200));
        let token = choose(app, form, PROMO).await;
        assert_eq!(give(app, form, &token, &number).await.0, 200);
        app.settle().await;
    }
    assert_eq!(codes(app, &number).len(), 3);
    // What a form may send in a day.
    for n in 2..=9 {
        let token = choose(app, "shop", PROMO).await;
        assert_eq!(give(app, "shop", &token, &TestApp::it(n)).await.0, 200);
    }
    app.settle().await;
    let got = (2..=9).filter(|n| !app.inbox(&TestApp::it(*n)).is_empty()).count();
    assert_eq!(got, 4, "five a day, and one went to the first number");
    assert_eq!(app.count("SELECT COUNT(*) FROM contacts").await, 5, "of the others nothing is kept");

    // Whoever has typed no code for a day is forgotten; who has confirmed stays.
    assert_eq!(intake::tidy(&app.engine).await.unwrap(), 0);
    app.advance(Duration::from_secs(86_401));
    assert_eq!(intake::tidy(&app.engine).await.unwrap(), 4);
    assert_eq!(app.count("SELECT COUNT(*) FROM contacts WHERE number_enc <> ''").await, 1);
    assert_eq!(app.count("SELECT COUNT(*) FROM intakes WHERE contact_id IS NULL").await, 0);
    assert_eq!(app.granted(&number).await, ["sms.product_info"]);
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());

    // And what an address may type in a minute, whatever the numbers.
    too_many(async || enter(app, "newsletter", "x", "123456").await.0).await;
});

/// What an unread reply, a restart and an older copy in the middle of a form lead to.
#[tokio::test]
async fn a_form_goes_on_after_a_restart_and_neither_an_unread_reply_nor_an_old_copy_makes_a_yes() {
    let mut app = TestApp::new(crate::app::Kind::Sqlite).await;
    forms(&mut app).await;
    let [writes, stays, stops] = [1, 2, 3].map(TestApp::it);
    // Nothing of a choice is with us, so a restart loses none; then another between the number and the code.
    let token = choose(&app, "newsletter", PROMO).await;
    app.reconfigure("").await;
    assert_eq!(give(&app, "newsletter", &token, &writes).await.0, 200);
    app.reconfigure("").await;
    app.settle().await;
    let code = codes(&app, &writes).pop().expect("a code");
    // What nobody could read yet may be a no: it is read first, and the code then counts as long as it lives.
    app.reply(&writes, REPLY_NUMBER, "mah, vediamo un po").await;
    assert_eq!(enter(&app, "newsletter", &token, &code).await.0, 422);
    assert!(app.granted(&writes).await.is_empty());
    let waiting = inbox::waiting(&app.engine, 0, 9).await.unwrap();
    inbox::resolve(&app.engine, waiting[0].id, false, "ann").await.unwrap();
    assert_eq!(enter(&app, "newsletter", &token, &code).await.0, 200);
    assert_eq!(app.granted(&writes).await, PROMO);

    // A copy from before the numbers were given takes the database's place. One of the two said STOP since.
    let mut given = Vec::new();
    for number in [&stays, &stops] {
        given.push((number, choose(&app, "newsletter", PROMO).await));
    }
    let copy = crate::restore::copy(&app).await;
    for (number, token) in &given {
        assert_eq!(give(&app, "newsletter", token, number).await.0, 200);
    }
    app.settle().await;
    app.reply(&stops, REPLY_NUMBER, "STOP").await;
    crate::restore::stop_all(&mut app).await;
    let (code, _, err) = ask(app.dir.path(), &["db", "restore", copy.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{err}");
    crate::restore::open(&mut app).await;
    app.listen().await;
    steer::resume(&app.engine, "ann", Some("nobody wrote meanwhile")).await.unwrap();
    let mut then = Vec::new();
    for (number, token) in &given {
        let old = codes(&app, number).pop().expect("the code of before");
        assert_eq!(enter(&app, "newsletter", token, &old).await.0, 422, "the copy sent no such code");
        assert_eq!(give(&app, "newsletter", token, number).await.0, 200);
        app.settle().await;
        let new = codes(&app, number).pop().expect("a code");
        then.push((codes(&app, number).len(), enter(&app, "newsletter", token, &new).await.0));
    }
    assert_eq!(then, [(2, 200), (1, 422)], "who stays gets another and completes it; who said no gets nothing");
    assert!(app.granted(&stops).await.is_empty() && app.granted(&stays).await == PROMO);
    app.end().await;
}

both!(what_a_person_allows_already_is_not_touched_before_they_type_the_code, |app| {
    forms(app).await;
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    app.submit(&app.link(&number), "chosen", &["sms.promotions"]).await;
    grants(app, &number).await;
    app.submit(&app.link(&number), "chosen", &["sms.promotions", "whatsapp.product_info"]).await;
    // A question of the campaign's is open, with a first yes, and somebody types the number on a form.
    let tables = ["ledger", "preferences", "suppressions", "conversations", "contacts"];
    let mut before = Vec::new();
    for table in tables {
        before.push(app.dump(table).await);
    }
    app.advance(Duration::from_secs(120));
    let token = choose(app, "shop", &["whatsapp.promotions"]).await;
    let (_, _, page) = give(app, "shop", &token, &number).await;
    app.settle().await;
    let shown = page.replace(&field(&page, "nonce"), "");
    assert!(!shown.contains(&number[number.len() - 3..]), "nothing of a known number is shown: {shown}");
    let mut after = Vec::new();
    for table in tables {
        after.push(app.dump(table).await);
    }
    assert_eq!(after, before);
    assert_eq!(app.granted(&number).await, PROMO);
    let code = codes(app, &number).pop().expect("a code");
    assert_eq!(enter(app, "shop", &token, &code).await.0, 200);
    assert_eq!(app.granted(&number).await, ["sms.promotions", "whatsapp.promotions"], "added, and nothing taken away");
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations WHERE closed_at IS NULL").await, 0, "the open question gave way");
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
    let told = app.history(&number).await.concat();
    assert!(told.contains("a first yes to product information by WhatsApp, replaced by a choice on a form on "), "{told}");
    // A no ends it like any other consent.
    app.reply(&number, REPLY_NUMBER, "STOP").await;
    assert!(app.granted(&number).await.is_empty());
});

both!(an_ask_that_a_form_overtook_is_no_silence, |app| {
    forms(app).await;
    let [joins, pending, quiet] = [1, 2, 3].map(TestApp::it);
    app.people(&[joins.clone(), pending.clone(), quiet.clone()]).await;
    app.send(LINK).await;
    assert_eq!(app.submit(&app.link(&pending), "chosen", &["call.promotions"]).await, 303);
    // What the form offers is less than what was asked: the rest was not answered, and no time passed for it.
    for number in [&joins, &pending] {
        joined(app, "newsletter", number).await;
    }
    let silent = async || {
        let (code, csv, err) = ask(app.dir.path(), &["consents", "export"]).await;
        assert_eq!(code, 0, "{err}");
        csv.lines().filter(|line| line.contains(",silent,")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(silent().await, Vec::<String>::new());
    app.advance(Duration::from_secs(40 * 86_400));
    expire::expire(&app.engine).await.unwrap();
    let rows = silent().await;
    assert!(rows.len() == 6 && rows.iter().all(|row| row.starts_with(&quiet)), "{rows:?}");
    for (number, deferred) in [(&joins, false), (&quiet, true)] {
        let (_, file, _) = ask(app.dir.path(), &["contact", "export", number]).await;
        assert!(file.contains("dpv:ConsentRequested"), "{file}");
        assert_eq!(file.contains("dpv:ConsentRequestDeferred"), deferred, "{number}: {file}");
    }
});

/// A sender shown by name must name France's stop code to French phones, in whatever language the page was read (`required_text`).
#[tokio::test]
async fn a_code_says_what_its_country_wants_of_a_sender_shown_by_name() {
    let mut app = TestApp::new(crate::app::Kind::Sqlite).await;
    forms(&mut app).await;
    let file = app.engine.config.dir.join("forms/shop.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("countries = [\"IT\", \"PL\", \"ES\", \"DE\"", "countries = [\"FR\", \"IT\"")).unwrap();
    let texts = app.dir.path().join("templates/messages");
    std::fs::create_dir_all(&texts).unwrap();
    let own = "{{ brand }} : {{ code }} est votre code. STOP au 36111";
    std::fs::write(texts.join("join_code.fr.txt"), own).unwrap();
    app.reconfigure("").await;
    let [french, italian] = ["+33639980001".to_owned(), TestApp::it(1)];
    for (number, says) in [(&french, "STOP au 36111"), (&italian, "codice che conferma")] {
        let token = choose(&app, "shop", PROMO).await;
        assert_eq!(give(&app, "shop", &token, number).await.0, 200);
        app.settle().await;
        let [got] = &app.inbox(number)[..] else { panic!("one message") };
        assert!(got.from == "ACME" && got.text.contains(says), "{}", got.text);
        let code = codes(&app, number).pop().expect("a code");
        assert_eq!(enter(&app, "shop", &token, &code).await.0, 200);
    }
    app.end().await;
}

both!(a_token_is_of_one_form_and_one_half_hour_and_a_form_of_one_origin, |app| {
    forms(app).await;
    let number = TestApp::it(1);
    let token = choose(app, "newsletter", PROMO).await;
    let (text, seal) = token.split_once('.').unwrap();
    let consent = permesso::domain::intake::Consent::read(text).unwrap();
    let more = permesso::domain::intake::Consent { permissions: vec![], ..consent.clone() }.write();
    let forged = [format!("{more}.{seal}"), format!("{text}."), text.to_owned(), format!("{text}.{seal}x"), String::new()];
    for bad in &forged {
        assert_eq!(give(app, "newsletter", bad, &number).await.0, 409, "{bad}");
        assert_eq!(enter(app, "newsletter", bad, "123456").await.0, 409, "{bad}");
    }
    assert_eq!(give(app, "shop", &token, &number).await.0, 409, "the token of another form");
    app.advance(Duration::from_secs(30 * 60));
    assert_eq!(give(app, "newsletter", &token, &number).await.0, 409, "too old");
    assert_eq!((app.count("SELECT COUNT(*) FROM intakes").await, app.count("SELECT COUNT(*) FROM contacts").await), (0, 0));

    // From our own page alone, and by nobody's frame but those named.
    let address = format!("{}/join/shop/it", app.base);
    let nonce = field(&app.get(&address).await.1, "nonce");
    let body = format!("nonce={nonce}&answer=chosen&grant=sms.promotions");
    for (site, status) in [("cross-site", 403), ("same-site", 403), ("none", 403), ("same-origin", 200)] {
        let request = app.http.post(&address).header("sec-fetch-site", site).body(body.clone());
        let answer = request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{site}");
    }
    // A page that offered something else: its words are not those on record.
    let file = app.engine.config.dir.join("forms/shop.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let fewer = text.replace("purposes = [\"product_info\", \"promotions\"]", "purposes = [\"promotions\"]");
    assert_ne!(fewer, text);
    std::fs::write(&file, fewer).unwrap();
    app.reconfigure("").await;
    let address = format!("{}/join/shop/it", app.base);
    let request = app.http.post(&address).header("sec-fetch-site", "same-origin").body(body.clone());
    let answer = request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 409, "a page that offered something else");
    let body = body.replace(&nonce, "0");
    let request = app.http.post(&address).header("sec-fetch-site", "same-origin").body(body);
    let answer = request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 409, "a page that we did not serve");
    for (form, framed_by) in [("shop", "frame-ancestors https://www.acme.example;"), ("newsletter", "frame-ancestors 'none';")] {
        let answer = app.http.get(format!("{}/join/{form}", app.base)).send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        assert!(header("content-security-policy").contains(framed_by), "{form}");
        assert_eq!((header("cache-control"), header("set-cookie")), ("no-store".to_owned(), String::new()));
    }
    // What others typed stays text.
    let token = choose(app, "shop", PROMO).await;
    let (status, _, page) = give(app, "shop", &token, "\"><script>alert(1)</script>").await;
    assert!(status == 422 && !page.contains("<script") && page.contains("&#60;script"), "{page}");
    for path in ["/join/nobody", "/join/nobody/it", "/join/shop/xx", "/join/%3Cscript%3E"] {
        let (status, page) = app.get(&format!("{}{path}", app.base)).await;
        // It fits whatever led here, in the company's language where the visitor states none.
        let fits = page.contains("A questo indirizzo non c’è nulla") && !page.contains("dal messaggio");
        assert!(status == 404 && !page.contains("<script") && fits, "{path}: {page}");
    }
    // Where the number came from, on the person's own page.
    joined(app, "shop", &number).await;
    app.import(&TestApp::good(&TestApp::it(2))).await;
    let mut tx = app.engine.store.read().await.unwrap();
    let keyed = app.engine.vault.keyed_all(&TestApp::number(&number));
    let contact = permesso::store::contacts::by_number(&mut tx, &app.engine.controller, &keyed).await.unwrap().unwrap();
    assert_eq!(intakes::of_contact(&mut tx, contact.id).await.unwrap()[0].0, "Shop <b> of ACME");
    let known = dossier::gather(&mut tx, &app.engine, contact).await.unwrap();
    assert_eq!((known.joined.len(), known.entries.len()), (1, 2), "and in the copy of their data");
    assert_eq!((known.contact.locale.as_deref(), known.locale().as_deref()), (None, Some("it")), "in the form's language");
    let text = known.sent.iter().find_map(|sent| sent.text.clone()).expect("the text that the proof names by its hash");
    assert!(text.contains(dossier::NOT_KEPT) && text.contains("ACME"), "{text}");
    tx.rollback().await.unwrap();

    // Without a published notice nobody is asked for anything.
    let settings = app.engine.config.dir.join("permesso.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text.replace("notice_version = \"2026-11\"", "notice_version = \"2026-12\"")).unwrap();
    app.reconfigure("").await;
    assert_eq!(app.get(&format!("{}/join/shop/it", app.base)).await.0, 503);
    let (status, said) = call(app, TOKEN, &serde_json::json!({ "step": "offer", "locale": "it" })).await;
    assert!(status == 409 && said["remedy"].as_str().unwrap().contains("notice publish"), "{said}");
});

async fn call(app: &TestApp, token: &str, body: &serde_json::Value) -> (u16, serde_json::Value) {
    let request = app.http.post(format!("{}/api/v1/intake", app.base)).header("authorization", format!("Bearer {token}"));
    let answer = request.json(body).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

both!(a_chatbot_asks_for_the_choice_first_and_needs_its_token_for_the_number, |app| {
    forms(app).await;
    let number = TestApp::it(1);
    let before = everything(app).await;
    let ask = async |body: serde_json::Value| call(app, TOKEN, &body).await;
    let (status, offer) = ask(serde_json::json!({ "step": "offer", "locale": "it" })).await;
    assert_eq!((status, offer["choices"].as_array().unwrap().len()), (200, 4), "{offer}");
    let version = offer["notice"]["version"].as_str().unwrap().to_owned();
    assert!(offer["notice"]["url"].as_str().unwrap().ends_with("/notice/it"));
    let consent =
        |grant: &[&str], notice: &str| serde_json::json!({ "step": "consent", "locale": "it", "notice": notice, "grant": grant });
    assert_eq!(ask(consent(&[], &version)).await, (200, serde_json::json!({ "state": "declined" })));
    for (body, wanted) in [
        (consent(&["sms.profiling"], &version), 422),
        (consent(&["email.everything"], &version), 422),
        (consent(PROMO, "2025-01"), 409),
        (serde_json::json!({ "step": "contact", "token": "x.y", "number": number }), 409),
        (serde_json::json!({ "step": "contact", "number": number }), 400),
        (serde_json::json!({ "step": "contact", "token": "x", "number": number, "granted": true }), 400),
        (serde_json::json!({ "step": "grant", "number": number }), 400),
        (serde_json::json!([number]), 400),
    ] {
        let (status, said) = ask(body.clone()).await;
        assert_eq!(status, wanted, "{body}: {said}");
        assert!(said["what"].is_string() && said["remedy"].is_string(), "{said}");
        assert!(!said.to_string().contains(&number[3..]), "an error repeats no number: {said}");
    }
    for token in ["", "x", "form-token-of-the-tests-2"] {
        assert_eq!(call(app, token, &serde_json::json!({ "step": "offer", "locale": "it" })).await.0, 401);
    }
    let (status, chosen) = ask(consent(PROMO, &version)).await;
    assert_eq!((status, chosen["state"].as_str()), (200, Some("chosen")));
    assert_eq!(everything(app).await, before);
    assert_eq!(app.count("SELECT COUNT(*) FROM intakes").await, 0);

    let token = chosen["token"].as_str().unwrap().to_owned();
    let contact = serde_json::json!({ "step": "contact", "token": token, "number": "300 000 0001" });
    for _ in 0..2 {
        assert_eq!(ask(contact.clone()).await, (202, serde_json::json!({ "state": "pending" })));
    }
    app.settle().await;
    let [code] = &codes(app, &number)[..] else { panic!("one code") };
    let typed = |code: &str| serde_json::json!({ "step": "code", "token": token, "code": code });
    assert_eq!(ask(typed(if code == "000000" { "111111" } else { "000000" })).await.0, 422);
    assert!(app.granted(&number).await.is_empty());
    let (status, said) = ask(typed(code)).await;
    let granted = serde_json::json!({ "state": "confirmed", "granted": PROMO, "preferences": said["preferences"] });
    assert_eq!((status, &said), (200, &granted));
    assert_eq!(app.get(said["preferences"].as_str().unwrap()).await.0, 200);
    assert_eq!(app.granted(&number).await, PROMO);

    // A bot may speak a language that the pages do not, in which the company has a notice of its own: its address is a page.
    let own = app.dir.path().join("templates/messages/notice.pt.txt");
    std::fs::create_dir_all(own.parent().unwrap()).unwrap();
    std::fs::write(&own, "# Quem somos\n\n{controller}, {contact}, {storage}.\n").unwrap();
    crate::notices::edit(app, "notice_version = \"2026-11\"", "notice_version = \"2026-12\"");
    app.reconfigure("").await;
    notice::publish(&app.engine).await.unwrap();
    let ask = async |body: serde_json::Value| call(app, TOKEN, &body).await;
    let (status, offer) = ask(serde_json::json!({ "step": "offer", "locale": "pt" })).await;
    assert_eq!((status, &offer["notice"]["version"]), (200, &"2026-12".into()), "{offer}");
    let (status, page) = app.get(offer["notice"]["url"].as_str().unwrap()).await;
    assert!(status == 200 && page.contains("<html lang=\"it\">") && page.contains("<div lang=\"pt\">"), "{page}");
    assert!(page.contains("<h2>Quem somos</h2>") && page.contains("ACME S.p.A."), "{page}");
    // Its menu leads to the six that the pages speak, of which it is none.
    assert!(page.matches("<li><a href=\"/notice/").count() == 6 && !page.contains("aria-current"), "{page}");
    let (_, italian) = app.get(&format!("{}/notice/it", app.base)).await;
    assert!(
        italian.contains("hreflang=\"it\" aria-current=\"true\"") && italian.matches("aria-current").count() == 1,
        "{italian}"
    );
    let (status, said) = ask(serde_json::json!({ "step": "offer", "locale": "xx" })).await;
    assert!(status >= 400 && said["remedy"].is_string(), "{status}: {said}");
    assert_eq!(app.get(&format!("{}/notice/xx", app.base)).await.0, 404);

    too_many(async || call(app, "x", &serde_json::json!({})).await.0).await;
    assert_eq!(
        ask(serde_json::json!({ "step": "offer", "locale": "it" })).await.0,
        200,
        "who has the token is not in the way of that"
    );
});

both!(the_store_knows_one_number_a_token_and_counts_what_was_sent, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let c = app.engine.controller.clone();
    let mut tx = app.engine.store.write().await.unwrap();
    let keyed = app.engine.vault.keyed_all(&TestApp::number(&number));
    let contact = permesso::store::contacts::by_number(&mut tx, &c, &keyed).await.unwrap().unwrap().id;
    let mut take_up = async |form, token, at| intakes::take_up(&mut tx, &c, form, token, at).await.unwrap();
    let (Some(first), Some(second)) = (take_up("f", "t1", 10).await, take_up("f", "t2", 20).await) else { panic!("new ones") };
    assert!(take_up("g", "t3", 30).await.is_some());
    assert_eq!(intakes::newest_message(&mut tx, &c, "f", contact).await.unwrap(), None);
    for id in [first, second] {
        intakes::keep(&mut tx, id, Some((contact, 1)), "a page").await.unwrap();
    }
    let row = intakes::by_token(&mut tx, &c, "t2").await.unwrap().unwrap();
    assert_eq!(
        (row.form.as_str(), row.contact_id, row.message_id, row.confirmed_at, row.created_at),
        ("f", Some(contact), Some(1), None, 20)
    );
    intakes::touch(&mut tx, row.id).await.unwrap();
    intakes::confirm(&mut tx, row.id, 1, 40).await.unwrap();
    assert_eq!(intakes::by_token(&mut tx, &c, "t2").await.unwrap().unwrap().confirmed_at, Some(40));
    assert_eq!(intakes::take_up(&mut tx, &c, "f", "t2", 41).await.unwrap(), None, "completed");
    // A part of it undone, and one kept.
    tx.savepoint().await.unwrap();
    assert!(intakes::take_up(&mut tx, &c, "f", "t0", 4).await.unwrap().is_some());
    tx.rollback_to().await.unwrap();
    assert!(intakes::by_token(&mut tx, &c, "t0").await.unwrap().is_none());
    tx.savepoint().await.unwrap();
    let again = intakes::take_up(&mut tx, &c, "f", "t1", 4).await.unwrap();
    tx.release().await.unwrap();
    let row = intakes::by_token(&mut tx, &c, "t1").await.unwrap().unwrap();
    assert_eq!((Some(row.id), row.contact_id), (again, None), "a number of its own, and the one before is still counted");
    assert!(intakes::by_token(&mut tx, "another", "t2").await.unwrap().is_none());
    assert_eq!(intakes::newest_message(&mut tx, &c, "f", contact).await.unwrap(), Some(1));
    assert_eq!(intakes::newest_message(&mut tx, &c, "g", contact).await.unwrap(), None);
    assert_eq!(intakes::sent_to(&mut tx, contact, 5).await.unwrap(), 1, "two choices, one message");
    assert_eq!(intakes::sent_to(&mut tx, contact, 20).await.unwrap(), 0);
    assert_eq!(
        (intakes::sent_by(&mut tx, &c, "f", 5).await.unwrap(), intakes::sent_by(&mut tx, &c, "g", 5).await.unwrap()),
        (1, 0)
    );
    assert_eq!(intakes::of_contact(&mut tx, contact).await.unwrap(), [("a page".to_owned(), 20), ("a page".to_owned(), 10)]);
    intakes::came(&mut tx, &c, "f", "t4", contact, None, 50).await.unwrap();
    assert_eq!(intakes::of_contact(&mut tx, contact).await.unwrap().len(), 2, "no form has it from them");
    assert_eq!(intakes::unfinished(&mut tx, &c, 100, 100, 9).await.unwrap(), Vec::<(i64,)>::new(), "imported, and confirmed");
    assert_eq!(intakes::sweep(&mut tx, &c, 30).await.unwrap(), 1, "t1's second; t3 is younger");
    assert_eq!(intakes::sweep(&mut tx, &c, 31).await.unwrap(), 1);
    assert!(codes::live(&mut tx, &c, i64::MIN + 1).await.unwrap().is_none());
    tx.rollback().await.unwrap();
});
