//! What people write in their own words, from the phone to what follows.

use permesso::engine::inbox;

use crate::app::{REPLY, REPLY_NUMBER, TestApp};
use crate::both;

both!(a_stop_in_anybodys_own_words_ends_it, |app| {
    let said = [
        "levatemi da questo elenco",
        "nie piszcie do mnie",
        "lose my number",
        "lasst mich in Ruhe",
        "désabonnez-moi",
        "quítame de la lista",
    ];
    let numbers: Vec<String> = (1..=7).map(TestApp::gb).collect();
    app.people(&numbers).await;
    for (number, text) in numbers.iter().zip(said) {
        app.reply(number, REPLY_NUMBER, text).await;
    }
    app.plan(REPLY).await;
    app.deliver().await;
    assert_eq!(numbers.iter().map(|n| app.asks(n)).collect::<Vec<_>>(), [0, 0, 0, 0, 0, 0, 1]);
    assert!(inbox::waiting(&app.engine, 0, 10).await.unwrap().is_empty());
});

both!(an_unclear_reply_waits_with_its_reason_until_an_operator_says_stop_or_nothing, |app| {
    let numbers = [TestApp::gb(1), TestApp::gb(2)];
    app.people(&numbers).await;
    app.plan(REPLY).await;
    app.reply(&numbers[0], REPLY_NUMBER, "yes if it is free").await;
    app.reply(&numbers[1], REPLY_NUMBER, "who is this?").await;
    let waiting = inbox::waiting(&app.engine, 0, 10).await.unwrap();
    let [first, second] = &waiting[..] else { panic!("{waiting:?}") };
    assert_eq!((first.read_as.as_str(), first.locale.as_str(), first.text.as_str()), ("unclear", "en", "yes if it is free"));
    assert!(
        first.reading.why.starts_with("it says \"yes\" (yes in ") && first.reading.why.contains("not alone"),
        "{}",
        first.reading.why
    );
    let shown = first.number.clone().unwrap();
    assert!(numbers[0].ends_with(&shown[shown.len() - 2..]) && !shown.contains(&numbers[0][3..9]), "{shown}");
    assert_eq!(second.reading.why, "no phrase and no rule fits it");
    inbox::resolve(&app.engine, first.id, true, "ann").await.unwrap();
    inbox::resolve(&app.engine, second.id, false, "ann").await.unwrap();
    assert!(inbox::resolve(&app.engine, second.id, true, "ann").await.is_err());
    app.deliver().await;
    assert_eq!(numbers.each_ref().map(|n| app.asks(n)), [0, 1]);
});

both!(an_unclear_reply_of_a_stranger_holds_the_number_whenever_it_is_imported, |app| {
    let numbers: Vec<String> = (1..=4).map(TestApp::gb).collect();
    for number in &numbers {
        app.reply(number, REPLY_NUMBER, "per favore non ne posso proprio").await;
    }
    let waiting = inbox::waiting(&app.engine, 0, 10).await.unwrap();
    assert_eq!(waiting.len(), 4);
    assert!(waiting.iter().all(|w| w.stranger && w.number.is_none() && w.subject.is_none()), "{waiting:?}");
    let page = app.get(&format!("{}/inbox", app.operator)).await.1;
    assert!(page.contains("from a number in no list of ours") && page.contains("per favore non ne posso proprio"), "{page}");
    // Two are decided before anybody knows the numbers, two after.
    inbox::resolve(&app.engine, waiting[0].id, true, "ann").await.unwrap();
    inbox::resolve(&app.engine, waiting[1].id, false, "ann").await.unwrap();
    app.people(&numbers).await;
    let left = inbox::waiting(&app.engine, 0, 10).await.unwrap();
    assert!(left.len() == 2 && left.iter().all(|w| !w.stranger && w.subject.is_some()), "{left:?}");
    app.send(REPLY).await;
    assert_eq!(numbers.iter().map(|n| app.asks(n)).collect::<Vec<_>>(), [0, 1, 0, 0]);
    assert_eq!(app.count("SELECT COUNT(*) FROM decisions WHERE outcome = 'skip' AND code = 'HELD_FOR_OPERATOR'").await, 2);
    inbox::resolve(&app.engine, left[0].id, true, "ann").await.unwrap();
    inbox::resolve(&app.engine, left[1].id, false, "ann").await.unwrap();
    app.plan_as(REPLY, |c| c.name = "another-name".into()).await;
    app.deliver().await;
    assert_eq!(numbers.iter().map(|n| app.asks(n)).collect::<Vec<_>>(), [0, 1, 0, 1]);
    assert_eq!(app.count("SELECT COUNT(*) FROM suppressions WHERE reason = 'stopped'").await, 2);
});

both!(somebody_else_at_that_number_closes_it_whatever_the_language, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(REPLY).await;
    let from = app.inbox(&number)[0].from.clone();
    app.reply(&number, &from, "Falsche Nummer, ich bin nicht Herr Weber").await;
    assert_eq!(app.get(&app.link(&number)).await.0, 410);
    // A yes of whoever has the number now answers nothing.
    app.reply(&number, &from, "YES").await;
    app.deliver().await;
    assert!(app.granted(&number).await.is_empty());
    assert!(inbox::waiting(&app.engine, 0, 10).await.unwrap().is_empty());
});
