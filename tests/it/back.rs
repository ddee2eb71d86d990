//! Whoever was erased comes back by their own act alone, as somebody new.

use std::time::Duration;

use permesso::engine::{inbox, intake, requests, rights, verify};

use crate::after::preferences_are_the_ledgers_replay;
use crate::app::{LINK, REPLY_NUMBER, TestApp};
use crate::both;
use crate::code::{another, codes, enter, newest};
use crate::erasure::{by_letter, erase, grants, with_id};
use crate::retention::ask_then;
use crate::run::ask;

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);
const KNOWN: &str = "SELECT COUNT(*) FROM contacts WHERE number_enc <> ''";
pub const LETTER: &str = "letter of 2026-12-03";

/// The link that an operator hands over to somebody erased who asked for it.
pub async fn back(app: &TestApp, number: &str) -> String {
    let (code, out, err) = ask_then(app, &["contact", "link", number, "--asked-back", LETTER]).await;
    assert!(code == 0 && out.contains("nothing is sent before they choose there"), "{out}{err}");
    out.lines().next().expect("an address").to_owned()
}

/// Comes back by both steps.
pub async fn comes_back(app: &TestApp, number: &str) -> String {
    let page = back(app, number).await;
    assert_eq!(app.submit(&page, "chosen", &["sms.promotions"]).await, 303);
    app.settle().await;
    assert_eq!(enter(app, &page, &newest(app, number)).await, 303);
    assert_eq!(app.granted(number).await, ["sms.promotions"], "{:?}", app.history(number).await);
    page
}

both!(whoever_was_erased_comes_back_by_their_own_yes_of_both_steps_and_by_nothing_else, |app| {
    crate::intake::forms(app).await;
    let [person, kin, idle, stays] = [1, 2, 3, 4].map(TestApp::it);
    app.import(&(with_id(&person, "H1") + &with_id(&kin, "H1") + &TestApp::good(&idle) + &TestApp::good(&stays))).await;
    app.send(LINK).await;
    let person = if app.asks(&person) == 1 { person } else { kin };
    grants(app, &person).await;
    rights::restrict_number(&app.engine, &TestApp::number(&idle), true, &by_letter(app)).await.unwrap();
    for number in [&person, &idle] {
        erase(app, number).await;
    }
    app.advance(2 * DAY);
    let open = requests::list(&app.engine, true).await.unwrap();
    assert!(!open.is_empty(), "providers have their part to do yet");
    let (sent, noes) = (app.gateway.stats().accepted, app.dump("suppressions").await);

    // Only where the operator says that they asked for it, and how.
    for (number, more, says) in [
        (&person, &[][..], "comes back by their own yes alone; remedy: where they asked for it"),
        (&person, &["--asked-back", " "], "--asked-back: is empty; remedy: "),
        (&stays, &["--asked-back", LETTER], "was not erased, so nobody has to come back; remedy: leave out --asked-back"),
        (&TestApp::it(9), &["--asked-back", LETTER], "was not erased"),
    ] {
        let (code, out, err) = ask(app.dir.path(), &[&["contact", "link", number.as_str()], more].concat()).await;
        assert!(code == 1 && out.is_empty() && err.contains(says), "{out}{err}");
    }
    assert_eq!(app.count(KNOWN).await, 1);
    let [page, unused] = [back(app, &person).await, back(app, &idle).await];
    let (code, _, err) = ask_then(app, &["contact", "link", &person]).await;
    assert!(code == 1 && err.contains("comes back by their own yes alone"), "as long as they have not: {err}");
    // Somebody new, of whom nothing of before is known, a restriction neither, and left in peace as before.
    assert_eq!((app.count(KNOWN).await, app.dump("suppressions").await), (3, noes.clone()));
    for number in [&person, &idle] {
        let story = app.story(number).await;
        assert!(story.known && story.verdict.starts_with("Nobody may write to this number: erased since"), "{story:?}");
        let of_before = (story.ledger.len(), story.preferences.len(), story.imported.len(), story.campaigns.len());
        assert_eq!(of_before, (0, 0, 0, 0), "{story:?}");
        let made = format!(", for somebody erased who asked for it: {LETTER}");
        assert!(story.history.len() == 1 && story.history[0].what.ends_with(&made), "{story:?}");
        let (status, page) = app.get(if number == &idle { &unused } else { &page }).await;
        assert!(status == 200 && page.contains("value=\"chosen\""), "{page}");
        assert!(!page.lines().any(|line| line.contains("name=\"grant\"") && line.contains("checked")), "{page}");
        assert!(page.contains("sono stati cancellati su tua richiesta") && page.contains(LETTER), "{page}");
    }

    // Nothing but that page brings them back: no list, no form, no word by message, and nobody is answered.
    let again = app.import(&(TestApp::good(&person) + &with_id(&idle, "H9"))).await;
    assert_eq!((again.erased, again.merged, again.repeated), (2, 0, 0), "{again:?}");
    let token = crate::intake::choose(app, "newsletter", &["sms.promotions"]).await;
    assert_eq!(crate::intake::give(app, "newsletter", &token, &person).await.0, 200);
    for text in ["SI", "AIUTO", "mah, vediamo un po", "STOP"] {
        app.reply(&person, REPLY_NUMBER, text).await;
    }
    app.plan_as(LINK, |c| (c.name, c.family) = ("another".into(), "other".into())).await;
    app.settle().await;
    let words = "SELECT COUNT(*) FROM inbound_events WHERE body_enc <> ''";
    assert_eq!((app.count(words).await, inbox::waiting(&app.engine, 0, 9).await.unwrap().len()), (0, 0));
    assert!(app.decisions(&person).await.is_empty() && app.granted(&person).await.is_empty());
    let [old, new] = [&person, &TestApp::it(8)].map(|number| TestApp::number(number));
    let moved = rights::change_number(&app.engine, &old, &new, &by_letter(app)).await.unwrap_err().to_string();
    assert!(moved.contains("has not come back by a yes of their own; remedy: "), "{moved}");
    let exported = async || ask(app.dir.path(), &["consents", "export"]).await.1;
    assert!(!exported().await.contains(&person), "and no file names them");
    assert_eq!(app.gateway.stats().accepted, sent, "nobody was answered");
    app.advance(MINUTE);

    // Their own POST brings one code a day, and the code is the yes.
    assert_eq!(app.submit(&page, "chosen", &["sms.promotions"]).await, 303);
    app.settle().await;
    app.advance(5 * MINUTE);
    assert_eq!((another(app, &page).await, codes(app, &person).len()), (303, 1));
    assert!(app.granted(&person).await.is_empty() && app.story(&person).await.verdict.contains("erased since"));
    assert_eq!(enter(app, &page, &newest(app, &person)).await, 303);
    assert_eq!(app.granted(&person).await, ["sms.promotions"], "{:?}", app.history(&person).await);
    let told = app.story(&person).await.suppressions;
    assert!(told.len() == 2 && told.iter().all(|no| no.contains("lifted") && no.contains("fresh opt-in")), "{told:?}");
    let proof =
        "SELECT COUNT(*) FROM evidence WHERE body LIKE '%\"entry\":\"granted\"%' AND body LIKE '%\"ask_reference\":\"link-%'";
    assert_eq!(app.count(proof).await, 1);
    assert!(app.get(&page).await.1.contains("banner confirmed"));
    assert!(exported().await.contains(&format!("{person},IT,,sms,promotions,granted,")));
    assert_eq!(verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
    preferences_are_the_ledgers_replay(app).await;
    // From here on they are anybody: a list may name them, though not under the id of the human that was erased.
    let listed = app.import(&(with_id(&person, "H1") + &with_id(&person, "H2"))).await;
    assert_eq!((listed.erased, listed.merged), (1, 1), "{listed:?}");
    assert_eq!(app.granted(&person).await, ["sms.promotions"]);
    app.advance(5 * MINUTE);
    app.reply(&person, REPLY_NUMBER, "STOP").await;
    assert!(app.granted(&person).await.is_empty() && app.get(&page).await.1.contains("Hai fermato tutto"));
    assert_eq!(app.inbox(&person).last().map(|m| m.reference.starts_with("ack")), Some(true), "it is acknowledged");

    // Who does nothing is forgotten once the link can grant no more, and is left in peace throughout.
    app.advance(27 * DAY);
    assert_eq!(intake::tidy(&app.engine).await.unwrap(), 0);
    assert_eq!(app.get(&unused).await.0, 200);
    app.advance(4 * DAY);
    assert_eq!(intake::tidy(&app.engine).await.unwrap(), 1);
    assert_eq!(app.get(&unused).await.0, 404);
    let story = app.story(&idle).await;
    assert!(!story.known && story.verdict.contains("erased since"), "{story:?}");
    assert_eq!(app.import(&TestApp::good(&idle)).await.erased, 1);
    assert!(app.inbox(&idle).iter().all(|m| m.reference.starts_with("ask")), "nothing was sent");

    // And whoever came back is erased like anybody, once more.
    let erased = erase(app, &person).await;
    assert_eq!((erased.numbers, erased.already), (1, false), "{erased:?}");
    assert!(!app.story(&person).await.known && app.get(&page).await.0 == 404);
    assert_eq!(app.import(&TestApp::good(&person)).await.erased, 1);
    app.advance(MINUTE);
    comes_back(app, &person).await;
    assert_eq!(verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
});

both!(a_copy_older_than_an_erasure_erases_whom_it_has_and_nobody_who_came_back, |app| {
    let [came, asked, gone, twice] = [1, 2, 3, 4].map(TestApp::it);
    let all = [&came, &asked, &gone, &twice].map(Clone::clone);
    app.people(&all).await;
    app.send(LINK).await;
    grants(app, &came).await;
    app.reply(&asked, REPLY_NUMBER, "AIUTO").await;
    let copy = crate::restore::copy(app).await;
    for number in &all {
        erase(app, number).await;
    }
    app.advance(DAY);
    let page = comes_back(app, &came).await;
    comes_back(app, &asked).await;
    comes_back(app, &twice).await;
    app.advance(MINUTE);
    app.reply(&came, REPLY_NUMBER, "mah, vediamo un po").await;
    app.advance(MINUTE);
    erase(app, &twice).await;
    crate::restore::stop_all(app).await;
    let (code, out, err) = ask(app.dir.path(), &["db", "restore", copy.to_str().unwrap()]).await;
    assert!(code == 0 && out.contains("4 people erased"), "{out}{err}");
    crate::restore::open(app).await;
    app.listen().await;

    // Of those whom the copy had nothing is left, and no question of theirs is open.
    assert_eq!((app.count(KNOWN).await, app.count("SELECT COUNT(*) FROM consent_evidence").await), (0, 0));
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations WHERE closed_at IS NULL").await, 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM asked_marks WHERE kind <> 'answered'").await, 0);
    // What whoever came back has said and got since stands: their link takes a no, their words wait, and they are not asked again.
    assert_eq!(app.get(&page).await.0, 410);
    let words = "SELECT COUNT(*) FROM inbound_events WHERE body_enc <> ''";
    assert_eq!((app.count(words).await, inbox::waiting(&app.engine, 0, 9).await.unwrap().len()), (1, 1));
    for number in [&gone, &twice] {
        assert!(app.story(number).await.verdict.contains("erased since"), "{:?}", app.story(number).await);
    }
    for number in [&came, &asked] {
        let story = app.story(number).await;
        assert!(!story.known && story.suppressions.is_empty(), "{story:?}");
    }
    let listed = app.import(&all.map(|number| TestApp::good(&number)).concat()).await;
    assert_eq!((listed.erased, listed.new), (2, 2), "{listed:?}");
    app.plan(LINK).await;
    assert!(app.decisions(&asked).await.concat().contains("ANSWERED_SINCE"), "{:?}", app.decisions(&asked).await);
    assert_eq!(verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
    preferences_are_the_ledgers_replay(app).await;
});

both!(what_was_erased_stays_so_under_a_newer_key, |app| {
    let [restricted, erased] = [1, 2].map(TestApp::it);
    app.people(&[restricted.clone(), erased.clone()]).await;
    rights::restrict_number(&app.engine, &TestApp::number(&restricted), true, &by_letter(app)).await.unwrap();
    erase(app, &erased).await;
    crate::restore::stop_all(app).await;
    let mut keys = std::fs::read_to_string(&app.engine.config.key_file).unwrap();
    keys.push_str(&format!("2:{}A\n", "B".repeat(42)));
    std::fs::write(&app.engine.config.key_file, keys).unwrap();
    crate::restore::open(app).await;
    app.listen().await;
    erase(app, &restricted).await;
    app.advance(DAY);
    // The restriction, under the older key, ended with the data that it was about.
    comes_back(app, &restricted).await;
    assert!(!app.story(&restricted).await.verdict.contains("so they are sent nothing"), "{:?}", app.story(&restricted).await);
    // A no of whoever was erased under the older key stands under both, and is in no file.
    let page = back(app, &erased).await;
    assert_eq!(app.submit(&page, "none", &[]).await, 303);
    let (code, csv, err) = ask(app.dir.path(), &["consents", "export"]).await;
    assert!(code == 0 && csv.contains(&restricted) && !csv.contains(&erased), "{csv}{err}");
});

both!(whoever_came_back_gives_their_place_to_a_new_number_like_anybody, |app| {
    let [kin, person, new] = [1, 2, 3].map(TestApp::it);
    // A rejected row had tied the number to somebody who is erased.
    app.import(&(with_id(&kin, "H1") + &crate::humans::rejected(2, "H1", ""))).await;
    erase(app, &kin).await;
    app.advance(DAY);
    comes_back(app, &person).await;
    app.advance(MINUTE);
    let [was, is] = [&person, &new].map(|number| TestApp::number(number));
    rights::change_number(&app.engine, &was, &is, &by_letter(app)).await.unwrap();
    let story = app.story(&new).await;
    assert!(story.known && !story.verdict.contains("erased"), "{story:?}");
});
