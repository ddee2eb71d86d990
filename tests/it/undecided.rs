//! A yes said while an unclear reply of the same person waits for an operator: it is not lost, and it grants nothing before the operator
//! has read what may be a no.

use std::time::Duration;

use permesso::engine::{expire, inbox};

use crate::app::{LINK, REPLY_NUMBER, TestApp, WHATSAPP_FIRST};
use crate::between::DAY;
use crate::erasure::with_id;
use crate::{both, code};

const UNCLEAR: &str = "mah, vediamo un po";

/// Said yes, was asked to confirm, and then wrote something unclear and a second yes. Answers the unclear reply's id.
async fn yes_unclear_yes(app: &TestApp, number: &str) -> i64 {
    app.person(number, "whatsapp").await;
    app.send(WHATSAPP_FIRST).await;
    for text in ["SI", UNCLEAR, "SI"] {
        app.reply(number, "acme-wa", text).await;
        app.advance(Duration::from_secs(60));
    }
    assert!(app.granted(number).await.is_empty(), "what is unclear may be a no");
    let told = app.history(number).await;
    assert!(
        told.contains(&"reply Reply by WhatsApp, read as a yes: it waits until an operator has read what is unclear".to_owned()),
        "{told:#?}"
    );
    app.count("SELECT id FROM inbound_events WHERE effect = 'held'").await
}

both!(a_second_yes_grants_once_the_operator_has_read_nothing_in_the_unclear_reply_before_it, |app| {
    let number = TestApp::it(1);
    let unclear = yes_unclear_yes(app, &number).await;
    app.reply(&number, "acme-wa", UNCLEAR).await;
    let said = || app.inbox(&number).iter().filter(|m| m.text.contains("la tua scelta è registrata")).count();
    inbox::resolve(&app.engine, unclear, false, "op").await.unwrap();
    app.settle().await;
    assert!(app.granted(&number).await.is_empty() && said() == 0, "another one waits");
    let other = app.count("SELECT id FROM inbound_events WHERE effect = 'held' AND resolved_at IS NULL").await;
    inbox::resolve(&app.engine, other, false, "op").await.unwrap();
    assert_eq!(app.granted(&number).await.len(), 2);
    // Acknowledged as a yes that is read at once, and once.
    assert!(inbox::resolve(&app.engine, other, false, "op").await.is_err());
    for _ in 0..2 {
        app.settle().await;
        assert_eq!(said(), 1, "{:?}", app.inbox(&number));
    }
    let sentence = &app.story(&number).await.campaigns[0].sentence;
    assert!(sentence.ends_with("by SMS and WhatsApp on 2026-12-01 10:47 (Europe/Rome)."), "as of when it was said: {sentence}");
    assert!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1.is_empty());
});

both!(a_second_yes_grants_nothing_once_the_operator_has_read_a_stop, |app| {
    let number = TestApp::it(1);
    let unclear = yes_unclear_yes(app, &number).await;
    inbox::resolve(&app.engine, unclear, true, "op").await.unwrap();
    assert!(app.granted(&number).await.is_empty());
    assert!(app.story(&number).await.verdict.contains("stopped since"));
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events WHERE effect LIKE 'waits%'").await, 0);
});

both!(a_second_yes_that_waits_is_not_too_late_for_having_waited, |app| {
    let number = TestApp::it(1);
    let unclear = yes_unclear_yes(app, &number).await;
    app.advance(DAY * 60);
    expire::expire(&app.engine).await.unwrap();
    let before = app.inbox(&number).len();
    inbox::resolve(&app.engine, unclear, false, "op").await.unwrap();
    app.settle().await;
    assert_eq!(app.granted(&number).await.len(), 2);
    assert_eq!(app.inbox(&number).len(), before, "WhatsApp takes no free text so long after they wrote");
});

both!(a_yes_that_counts_since_an_operator_has_read_is_not_acknowledged_in_quiet_hours, |app| {
    let number = TestApp::it(1);
    let unclear = yes_unclear_yes(app, &number).await;
    let before = app.inbox(&number).len();
    // Half past ten in the evening.
    app.advance(Duration::from_secs(12 * 3600 - 15 * 60));
    permesso::web::hear_once(&app.engine).await.unwrap();
    inbox::resolve(&app.engine, unclear, false, "op").await.unwrap();
    for hours in [0, 12] {
        app.advance(Duration::from_secs(hours * 3600));
        app.settle().await;
        assert_eq!(app.granted(&number).await.len(), 2);
        assert_eq!(app.inbox(&number).len(), before, "within minutes of the word, or never");
    }
});

both!(a_yes_that_waits_does_not_answer_what_was_chosen_after_it, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let link = app.link(&number);
    assert_eq!(app.submit(&link, "chosen", &["sms.promotions"]).await, 303);
    for text in [UNCLEAR, "SI"] {
        app.advance(Duration::from_secs(60));
        app.reply(&number, REPLY_NUMBER, text).await;
    }
    let page = async || app.get(&format!("{link}/it")).await.1;
    assert!(page().await.contains("Il tuo SI è arrivato."));
    app.advance(Duration::from_secs(60));
    assert_eq!(app.submit(&link, "chosen", &["sms.promotions", "sms.product_info"]).await, 303);
    let anew = page().await;
    assert!(!anew.contains("Il tuo SI è arrivato.") && anew.contains("href=\"sms:+"), "that one does not count for it: {anew}");
    let unclear = app.count("SELECT id FROM inbound_events WHERE effect = 'held'").await;
    inbox::resolve(&app.engine, unclear, false, "op").await.unwrap();
    assert!(app.granted(&number).await.is_empty());
    app.advance(Duration::from_secs(60));
    app.reply(&number, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&number).await.len(), 2);
});

both!(a_tap_that_waits_is_proved_as_a_tap, |app| {
    let number = TestApp::it(1);
    app.person(&number, "whatsapp").await;
    app.send(WHATSAPP_FIRST).await;
    app.reply(&number, "acme-wa", "SI").await;
    let confirmation = app.inbox(&number).pop().unwrap();
    app.reply(&number, "acme-wa", UNCLEAR).await;
    app.gateway.tap(&confirmation.id, &confirmation.buttons[0].id).await.unwrap();
    app.gateway.idle().await;
    assert!(app.granted(&number).await.is_empty());
    let unclear = app.count("SELECT id FROM inbound_events WHERE effect = 'held'").await;
    inbox::resolve(&app.engine, unclear, false, "op").await.unwrap();
    assert_eq!(app.granted(&number).await.len(), 2);
    assert!(app.story(&number).await.ledger.last().unwrap().contains("by whatsapp (button)"));
});

both!(what_one_number_wrote_and_nobody_could_read_holds_the_whole_human, |app| {
    let minute = Duration::from_secs(60);
    let rows = [(TestApp::it(1), "H1"), (TestApp::it(2), "H1"), (TestApp::it(3), "H2"), (TestApp::it(4), "H2")];
    let german = [(code::de(1), "H3"), (code::de(2), "H3")];
    app.import(&rows.iter().chain(&german).map(|(number, id)| with_id(number, id)).collect::<String>()).await;
    let [(one, _), (two, _), (three, _), (four, _)] = &rows;
    let [(five, _), (six, _)] = &german;
    // Before anybody is asked: the other number is not asked in its place.
    app.reply(one, REPLY_NUMBER, UNCLEAR).await;
    app.send(LINK).await;
    app.send(code::CODE).await;
    assert_eq!([app.asks(one), app.asks(two)], [0, 0]);
    let decided = app.decisions(two).await.concat();
    assert!(decided.contains("HELD_FOR_OPERATOR") && decided.contains("\"held\":true"), "{decided}");
    assert!(app.story(two).await.verdict.contains("An unclear reply by another number of the same human waits"));
    // Between the two steps of a yes by the other number, by reply or by code: that waits, and the page says so.
    let (chose, kin) = if app.asks(three) == 1 { (three, four) } else { (four, three) };
    let (typed, other) = if app.asks(five) == 1 { (five, six) } else { (six, five) };
    let links = [chose, typed].map(|number| app.link(number));
    for link in &links {
        assert_eq!(app.submit(link, "chosen", &["sms.promotions"]).await, 303);
    }
    app.settle().await;
    app.advance(minute);
    for number in [kin, other] {
        app.reply(number, REPLY_NUMBER, UNCLEAR).await;
    }
    // A yes that completes nothing is not answered with the words that invite to another one.
    assert_eq!(app.submit(&links[0], "chosen", &["sms.promotions", "sms.product_info"]).await, 303);
    let received = app.inbox(chose).len();
    app.reply(chose, REPLY_NUMBER, "SI").await;
    assert!(app.history(chose).await.concat().contains("before the choice was sent from the page"));
    assert_eq!(app.inbox(chose).len(), received, "{:?}", app.inbox(chose));
    assert_eq!(app.count("SELECT COUNT(*) FROM messages WHERE kind = 'help' AND wording = 'confirm'").await, 0, "nor planned");
    assert_eq!(app.submit(&links[0], "chosen", &["sms.promotions"]).await, 303);
    app.advance(minute);
    app.reply(chose, REPLY_NUMBER, "SI").await;
    code::enter(app, &links[1], &code::newest(app, typed)).await;
    assert!(app.granted(chose).await.is_empty() && app.granted(typed).await.is_empty());
    assert!(
        app.get(&links[0]).await.1.contains("Il tuo SI è arrivato") && app.get(&links[1]).await.1.contains("Der Code stimmt")
    );

    let waiting = inbox::waiting(&app.engine, 0, 9).await.unwrap();
    let [first, _, last] = &waiting[..] else { panic!("{waiting:?}") };
    inbox::resolve(&app.engine, first.id, false, "op").await.unwrap();
    app.plan_as(LINK, |c| c.name = "another".into()).await;
    app.settle().await;
    assert_eq!(app.asks(one) + app.asks(two), 1);
    assert!(app.granted(chose).await.is_empty(), "nobody has read what holds them");
    inbox::resolve(&app.engine, last.id, false, "op").await.unwrap();
    assert_eq!(app.granted(typed).await, ["sms.promotions"]);
    // Whoever has the number now speaks for nobody else.
    app.reply(kin, REPLY_NUMBER, "numero sbagliato").await;
    assert_eq!(app.granted(chose).await, ["sms.promotions"]);
    assert!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1.is_empty());
});
