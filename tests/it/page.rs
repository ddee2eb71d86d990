//! What the law wants on every page of a person, in each language, and what each state of theirs has on it.

use std::time::Duration;

use permesso::engine::{expire, hand, notice};

use crate::app::{LINK, REPLY_NUMBER, TestApp, field};
use crate::both;
use crate::code::codes;
use crate::{intake, mydata};

/// Who asks, in the six languages of the pages.
const LABELS: [(&str, &str); 6] = [
    ("it", "Titolare del trattamento"),
    ("en", "Data controller"),
    ("pl", "Administrator danych"),
    ("de", "Verantwortlicher"),
    ("fr", "Responsable du traitement"),
    ("es", "Responsable del tratamiento"),
];

both!(every_page_names_who_asks_with_the_postal_address, |app| {
    let file = app.dir.path().join("config/permesso.toml");
    let text = std::fs::read_to_string(&file).expect("the settings");
    let text = text.replace("Via Esempio 1, 20100 Milano", "Via Rossi & Figli <1>, 20100 Milano");
    std::fs::write(&file, text.replace("notice_version = \"2026-11\"", "notice_version = \"2026-12\"")).expect("written");
    app.reconfigure("").await;
    notice::publish(&app.engine).await.expect("published");
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let link = app.link(&number);
    let escaped = "ACME S.p.A., Via Rossi &#38; Figli &#60;1&#62;, 20100 Milano";
    for (lang, label) in LABELS {
        let unknown = format!("{}/p/1111111111111111111111/{lang}", app.base);
        for address in [format!("{link}/{lang}"), format!("{}/notice/{lang}", app.base), unknown] {
            let (_, page) = app.get(&address).await;
            let footer = page.split("<footer>").nth(1).unwrap_or_default();
            let colon = if lang == "fr" { "\u{a0}:" } else { ":" };
            assert!(footer.contains(&format!("{label}{colon} {escaped}")), "{address}: {footer}");
        }
    }
});

/// Restricts the use of their data, behind the code on the page of them.
pub async fn restricts(app: &TestApp, number: &str) {
    let page = format!("{}/data", app.link(number));
    let ticket = field(&mydata::open(app, &page, number).await, "ticket");
    let (status, _, body) = mydata::post(app, &page, &[("answer", "restrict"), ("ticket", &ticket)]).await;
    assert!(status == 200 && body.contains("value=\"lift\""), "{status}: {body}");
}

/// A form that offers what no campaign does, profiling, and somebody who allows it there, by SMS.
pub async fn profiled(app: &mut TestApp, numbers: &[&String]) {
    let form = app.engine.config.dir.join("forms/shop.toml");
    let text = std::fs::read_to_string(&form).expect("the form");
    std::fs::write(&form, text.replace("\"promotions\"]", "\"promotions\", \"profiling\"]")).expect("written");
    // What is offered stands in the notice.
    crate::notices::edit(app, "notice_version = \"2026-11\"", "notice_version = \"2026-12\"");
    app.reconfigure("").await;
    notice::publish(&app.engine).await.expect("published");
    for number in numbers {
        let token = intake::choose(app, "shop", &["sms.profiling"]).await;
        assert_eq!(intake::give(app, "shop", &token, number).await.0, 200);
        app.settle().await;
        let code = codes(app, number).pop().expect("a code");
        assert_eq!(intake::enter(app, "shop", &token, &code).await.0, 200);
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const PROMO: &[&str] = &["sms.promotions"];

/// Ticks, submits and says SI a minute later.
async fn grant(app: &TestApp, number: &str) {
    assert_eq!(app.submit(&app.link(number), "chosen", PROMO).await, 303);
    app.advance(Duration::from_secs(60));
    app.reply(number, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(number).await, PROMO);
}

both!(each_state_has_its_page_and_its_status, |app| {
    let numbers: Vec<String> = (1..=6).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.send(LINK).await;
    let [kept, wrong, lapsed, limited, again, silent] = &numbers[..] else { unreachable!() };
    let shows = async |number: &String, status: u16, banner: &str| {
        let (got, page) = app.get(&app.link(number)).await;
        let is = page.split("class=\"banner ").nth(1).and_then(|r| r.split('"').next()).unwrap_or_default();
        assert_eq!((got, is), (status, banner), "{page}");
        page
    };
    // Just confirmed, and what was confirmed before: with the day on which it was.
    grant(app, kept).await;
    shows(kept, 200, "confirmed").await;
    app.advance(HOUR * 14);
    let page = shows(kept, 200, "answered").await;
    assert!(page.contains("01/12/2026"), "the day where the person lives: {page}");
    assert_eq!(app.submit(&app.link(kept), "chosen", &["sms.promotions", "sms.product_info"]).await, 303);
    app.advance(HOUR);
    app.reply(kept, REPLY_NUMBER, "SI").await;

    // The wrong number: one button, taken without a fresh form, ends what was granted and lets nobody grant again.
    grant(app, wrong).await;
    let link = app.link(wrong);
    let nonce = field(&app.get(&link).await.1, "nonce");
    assert_eq!(app.post(&link, "", "wrong_number", &[]).await, 303);
    assert_eq!(app.post(&link, "", "wrong_number", &[]).await, 303);
    assert!(app.granted(wrong).await.is_empty());
    let page = shows(wrong, 410, "wrong_number").await;
    assert!(!page.contains("<form"), "nobody is left to say anything: {page}");
    assert_eq!(app.post(&link, &nonce, "chosen", PROMO).await, 410);
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'wrong_person'").await, 1, "sent twice, said once");

    // A first yes whose second step never came may be said again.
    app.submit(&app.link(lapsed), "chosen", PROMO).await;
    app.advance(DAY * 8);
    expire::expire(&app.engine).await.unwrap();
    shows(lapsed, 200, "lapsed").await;
    grant(app, lapsed).await;

    // Restricted: no yes is taken, neither the first step nor the second; a no is.
    app.submit(&app.link(limited), "chosen", PROMO).await;
    restricts(app, limited).await;
    let before = app.count("SELECT COUNT(*) FROM ledger").await;
    shows(limited, 200, "restricted").await;
    assert_eq!(app.submit(&app.link(limited), "chosen", &["call.promotions"]).await, 303);
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger").await, before);
    assert_eq!(app.submit(&app.link(limited), "none", &[]).await, 303);
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'refused'").await, 1);

    // Whoever said no undoes it by a fresh yes of both steps, and by nothing less.
    app.submit(&app.link(again), "none", &[]).await;
    let page = shows(again, 200, "refused").await;
    assert!(page.contains("<details><summary>Cambiare scelta"), "it is offered folded, not asked again: {page}");
    app.reply(again, REPLY_NUMBER, "SI").await;
    assert!(app.granted(again).await.is_empty());
    app.advance(HOUR);
    grant(app, again).await;
    shows(again, 200, "confirmed").await;

    // Taking back takes no more requests than giving: one form, and no message.
    app.submit(&app.link(again), "none", &[]).await;
    assert!(app.granted(again).await.is_empty());
    shows(again, 200, "refused").await;

    app.advance(DAY * 40);
    let (status, page) = app.get(&app.link(silent)).await;
    assert!(status == 410 && page.contains("Questo link è scaduto") && page.contains("No a tutto"), "{page}");

    // Whoever allows something reads what, and takes back one thing after the other without a fresh form; nothing new is granted.
    let link = app.link(kept);
    let takes_back = async |permission: &str| crate::mydata::send(app, &link, &[("withdraw", permission)], "same-origin").await.0;
    let page = shows(kept, 410, "").await;
    assert!(page.contains(" ha il tuo permesso per:") && page.contains("No a tutto") && !page.contains("checkbox"), "{page}");
    assert_eq!(app.submit(&link, "chosen", &["sms.promotions", "sms.product_info", "call.promotions"]).await, 410);
    assert_eq!(app.granted(kept).await, ["sms.product_info", "sms.promotions"]);
    for permission in ["sms.promotions", "sms.promotions", "call.promotions"] {
        assert_eq!(takes_back(permission).await, 303);
    }
    assert_eq!(app.granted(kept).await, ["sms.product_info"]);
    assert!(shows(kept, 410, "taken_back").await.contains("Informazioni sui prodotti: SMS"), "it says that it is done");
    let told = app.story(kept).await.campaigns.remove(0).sentence;
    // What was given stands before what was taken back.
    assert!(
        told.contains("; answered: granted ") && told.matches(", then ").count() == 1 && told.contains(" withdrawn on "),
        "{told}"
    );
    assert_eq!(takes_back("sms.product_info").await, 303);
    // With the last of it they have said no, as whoever empties the boxes of a fresh page: nobody asks them again.
    shows(kept, 410, "refused").await;
    let story = app.story(kept).await;
    assert!(story.campaigns[0].sentence.contains("; answered: refused on "), "{}", story.campaigns[0].sentence);
    let ledger = story.ledger.concat();
    assert!(ledger.matches(" withdrawn ").count() == 1 && ledger.matches(" refused ").count() == 1, "{story:?}");
    assert_eq!(story.suppressions.len(), 1, "{story:?}");

    // Too many tries, and the database away: whoever comes is told when to come again.
    let asked = async |url: String| {
        let answer = app.http.get(url).header("accept-language", "pl").send().await.unwrap();
        let retry = answer.headers().get("retry-after").map(|v| v.to_str().unwrap().to_owned());
        (answer.status().as_u16(), retry, answer.text().await.unwrap())
    };
    let mut last = (0, None, String::new());
    for n in 0..200 {
        last = asked(format!("{}/p/111111111111111111{n:04}", app.base)).await;
        if last.0 == 429 {
            break;
        }
    }
    assert!(last.0 == 429 && last.1.is_some() && last.2.contains("Zbyt wiele żądań"), "{last:?}");
    let (link, _) = (app.link(silent), app.gateway.idle().await);
    let nonce = field(&page, "nonce");
    app.engine.store.close().await;
    let away = asked(format!("{link}/pl")).await;
    assert!(away.0 == 503 && away.1.is_some() && away.2.contains("Coś nie zadziałało"), "{away:?}");
    assert_eq!(app.post(&link, &nonce, "none", &[]).await, 503, "a no that is not on the disk is not said to be taken");
});

both!(a_yes_that_waits_for_an_operator_is_not_asked_for_again, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let link = app.link(&number);
    app.reply(&number, REPLY_NUMBER, "chi siete?").await;
    app.submit(&link, "chosen", &["sms.promotions"]).await;
    assert!(app.get(&link).await.1.contains("SI"), "the last step");
    app.advance(Duration::from_secs(60));
    app.reply(&number, REPLY_NUMBER, "SI").await;
    let (status, page) = app.get(&format!("{link}/it")).await;
    assert!(status == 200 && page.contains("Il tuo SI è arrivato.") && !page.contains("sms:+"), "{page}");
});

both!(what_was_allowed_elsewhere_is_on_the_page_and_taken_back_there_by_its_name, |app| {
    intake::forms(app).await;
    let [one, two] = [1, 2].map(TestApp::it);
    app.people(&[one.clone(), two.clone()]).await;
    app.send(LINK).await;
    profiled(app, &[&one, &two]).await;
    let takes_back = async |number: &String, permission: &str| {
        assert_eq!(app.post_form(&app.link(number), &[("withdraw", permission.to_owned())]).await, 303);
    };
    // What the banner says of this page, and what the page lists.
    let shows = async |number: &String, lang: &str, banner: &str| {
        let (status, page) = app.get(&format!("{}/{lang}", app.link(number))).await;
        let of = |mark: &str, end: &str| {
            page.split(mark).nth(1).and_then(|rest| rest.split(end).next()).unwrap_or_default().to_owned()
        };
        assert_eq!((status, of("class=\"banner ", "\"").as_str()), (200, banner), "{page}");
        let boxes = page.split("name=\"grant\"").skip(1);
        let ticked = boxes.filter(|rest| rest.split('>').next().is_some_and(|tick| tick.ends_with(" checked"))).count();
        (of("class=\"banner ", "</p>"), of("<ul class=\"allowed\">", "</ul>"), ticked, page)
    };
    // No box of the ask's page is what was allowed on the form: the page says neither that one shows it nor that nothing stands.
    for (lang, ticked, line) in [
        ("it", "caselle spuntate", "permesso a ACME altrove"),
        ("pl", "Zaznaczone pola", "wyrażona gdzie indziej"),
        ("en", "ticked boxes", "allowed ACME this elsewhere"),
        ("de", "angekreuzten", "an anderer Stelle erlaubt"),
        ("fr", "cases cochées", "donné cet accord à ACME ailleurs"),
        ("es", "casillas marcadas", "permitido a ACME en otro lugar"),
    ] {
        let (said, listed, _, page) = shows(&one, lang, "confirmed").await;
        assert!(!said.contains(ticked) && page.contains(line), "{said}: {page}");
        assert!(listed.contains("value=\"sms.profiling\"") && listed.matches("<li>").count() == 1, "{listed}");
    }
    app.advance(HOUR * 2);
    let (said, listed, _, page) = shows(&one, "en", "answered").await;
    assert!(said.ends_with("Your last choice is of 2026-12-01.") && !listed.is_empty(), "{said}: {page}");

    // With something ticked beside it, the page tells them apart, and unticking leaves what has no box as it is.
    assert_eq!(app.submit(&app.link(&one), "chosen", &["sms.promotions", "sms.product_info"]).await, 303);
    app.advance(Duration::from_secs(60));
    app.reply(&one, REPLY_NUMBER, "SI").await;
    let (said, listed, ticked, _) = shows(&one, "en", "confirmed").await;
    assert!(!said.contains("ticked boxes") && ticked == 2 && !listed.contains("promotions"), "{said}: {listed}");
    assert_eq!(app.submit(&app.link(&one), "chosen", PROMO).await, 303);
    let (said, _, ticked, _) = shows(&one, "en", "taken_back").await;
    assert!(said.ends_with("from now on.") && ticked == 1, "{said}");
    assert_eq!(app.granted(&one).await, ["sms.promotions", "sms.profiling"]);
    // Taken back by its name, all that stands has its box, and the page says so.
    takes_back(&one, "sms.profiling").await;
    assert_eq!(app.granted(&one).await, PROMO);
    let (said, listed, ..) = shows(&one, "en", "taken_back").await;
    assert!(said.contains("The ticked boxes show what you allow now") && listed.is_empty(), "{said}");
    app.advance(HOUR * 2);
    let (said, ..) = shows(&one, "en", "answered").await;
    assert!(said.contains("The ticked boxes show what you allow now"), "{said}");

    // It was the last thing they allowed: a no to everything, as everywhere.
    takes_back(&two, "sms.profiling").await;
    assert!(app.granted(&two).await.is_empty());
    let (_, listed, ..) = shows(&two, "it", "refused").await;
    assert!(listed.is_empty(), "{listed}");
});

/// The boxes that a page says it shows.
fn boxes(page: &str) -> Vec<String> {
    page.split("name=\"box\" value=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

both!(a_page_that_stood_open_takes_back_nothing_that_it_had_no_box_for, |app| {
    intake::forms(app).await;
    let number = TestApp::it(1);
    intake::joined(app, "newsletter", &number).await;
    let link = hand::link(&app.engine, &TestApp::number(&number), "ann", None).await.unwrap().address;
    let (_, page) = app.get(&link).await;
    let shown = boxes(&page);
    assert!(
        shown.iter().any(|code| code == "sms.promotions") && !shown.iter().any(|code| code.ends_with("profiling")),
        "{shown:?}"
    );
    // While it stands open a form begins to offer profiling, and they allow it there.
    app.advance(HOUR);
    profiled(app, &[&number]).await;
    let posts = async |shown: &[String], ticked: &[&str]| {
        let mut form = vec![("nonce", field(&page, "nonce")), ("answer", "chosen".to_owned())];
        form.extend(shown.iter().map(|code| ("box", code.clone())));
        form.extend(ticked.iter().map(|code| ("grant", (*code).to_owned())));
        app.post_form(&link, &form).await
    };
    let both = ["sms.promotions", "sms.profiling"];
    assert_eq!(app.granted(&number).await, both);
    assert_eq!(posts(&shown, PROMO).await, 303, "it has nothing to say against that");
    assert_eq!(app.granted(&number).await, both);
    // A yes to more is not taken, and nothing is taken back for it.
    assert_eq!(posts(&shown, &["sms.promotions", "call.promotions"]).await, 409);
    assert_eq!(app.granted(&number).await, both);
    // What had its box there, and is not ticked, is.
    assert_eq!(posts(&shown, &["call.promotions"]).await, 409);
    assert_eq!(app.granted(&number).await, ["sms.profiling"]);
    // As it is now the page has that box, too; and of what an earlier version showed nobody knows, so that its no counts.
    let (_, now) = app.get(&link).await;
    assert!(boxes(&now).contains(&"sms.profiling".to_owned()), "{now}");
    assert_eq!(posts(&[], &["call.promotions"]).await, 409);
    assert!(app.granted(&number).await.is_empty());
});
