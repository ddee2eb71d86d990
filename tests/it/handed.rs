//! A link that an operator hands over opens the person's own page, and is nobody's yes.

use std::time::Duration;

use permesso::engine::{expire, hand, rights};
use permesso::gateway::mock::protocol::Channel;
use permesso::store::{handed, keep};
use permesso::vault;

use crate::app::{Kind, LINK, REPLY_NUMBER, TestApp, WHATSAPP_FIRST};
use crate::both;
use crate::erasure::{by_letter, erase};
use crate::run::ask;

const PENDING: &str = "SELECT COUNT(*) FROM conversations WHERE state = 'pending'";

async fn link(app: &TestApp, number: &str) -> String {
    hand::link(&app.engine, &TestApp::number(number), "ann", None).await.expect("a link").address
}

both!(a_link_handed_over_opens_the_page_sends_nothing_and_a_yes_wants_its_code, |app| {
    let [person, restricted, stops, gone, moves, new] = [1, 2, 3, 4, 5, 6].map(TestApp::it);
    app.people(&[person.clone(), restricted.clone(), stops.clone(), gone.clone(), moves.clone()]).await;
    app.send(LINK).await;
    app.reply(&stops, REPLY_NUMBER, "STOP").await;
    // While the campaign's question is open, it is completed in the campaign's way.
    let open = link(app, &moves).await;
    assert_eq!(app.submit(&open, "chosen", &["sms.promotions"]).await, 303);
    app.advance(Duration::from_secs(60));
    assert!(app.get(&open).await.1.contains(&format!("href=\"sms:{REPLY_NUMBER}?body=SI\"")));
    app.reply(&moves, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&moves).await, ["sms.promotions"]);
    let old = app.link(&person);
    app.advance(Duration::from_secs(40 * 86_400));
    permesso::web::hear_once(&app.engine).await.unwrap();
    expire::expire(&app.engine).await.unwrap();
    let (status, page) = app.get(&old).await;
    assert!(status == 410 && page.contains("chiedi un nuovo link"), "{page}");
    assert_eq!(app.submit(&old, "chosen", &["sms.profiling"]).await, 410, "nor does what is not offered get another answer");
    let sent = app.gateway.stats().accepted;
    let fresh = link(app, &person).await;
    let (status, page) = app.get(&fresh).await;
    assert!(status == 200 && page.contains("value=\"chosen\"") && page.contains("web shop"), "{page}");
    // What no campaign and no form offers, and the notice does not name, is not to be had here either.
    assert!(page.contains("value=\"call.promotions\"") && !page.contains("profiling"), "{page}");
    assert_eq!(app.submit(&fresh, "chosen", &["sms.profiling"]).await, 422);
    // It is what the files said when the process began, as with all other settings.
    let (campaigns, aside) = (app.engine.config.dir.join("campaigns"), app.dir.path().join("aside"));
    std::fs::rename(&campaigns, &aside).unwrap();
    assert_eq!(app.get(&fresh).await.1.matches("type=\"checkbox\"").count(), page.matches("type=\"checkbox\"").count());
    std::fs::rename(&aside, &campaigns).unwrap();
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'refused'").await, 0, "nor is it a no to ask for that");
    app.settle().await;
    assert_eq!(app.gateway.stats().accepted, sent, "handed over by somebody, and sent by nobody");
    assert!(app.granted(&person).await.is_empty());

    // What is said behind it is the person's own, and the second step goes to their number.
    assert_eq!(app.submit(&fresh, "chosen", &["sms.promotions"]).await, 303);
    app.settle().await;
    assert!(app.granted(&person).await.is_empty(), "a tick alone grants nothing");
    assert_eq!(crate::code::enter(app, &fresh, &crate::code::newest(app, &person)).await, 303);
    assert_eq!(app.granted(&person).await, ["sms.promotions"]);
    // Whoever unticks it beside what is not to be had takes it back, and refuses nothing.
    assert_eq!(app.submit(&fresh, "chosen", &["sms.profiling"]).await, 303);
    assert!(app.granted(&person).await.is_empty());
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'refused'").await, 0);
    let (_, page) = app.get(&fresh).await;
    assert!(page.contains("banner taken_back") && !page.contains("caselle spuntate"), "nothing is ticked: {page}");
    app.advance(Duration::from_secs(120));
    let data = crate::mydata::open(app, &format!("{fresh}/data"), &person).await;
    assert!(data.contains(&person), "{data}");
    let made = "operator A link to the person's own page was made to be handed over, by ann";
    assert!(app.history(&person).await.contains(&made.to_owned()), "{:?}", app.history(&person).await);
    let proof =
        "SELECT COUNT(*) FROM evidence WHERE body LIKE '%\"entry\":\"granted\"%' AND body LIKE '%\"ask_reference\":\"link-2\"%'";
    assert_eq!(app.count(proof).await, 1);
    let (code, csv, err) = ask(app.dir.path(), &["contact", "export", &person, "--format", "csv"]).await;
    assert!(code == 0 && csv.contains("\nlink,2027-01-10T"), "{csv}{err}");

    // Whoever is restricted may still say no, and whoever stopped come back by their own act.
    assert_eq!(rights::restrict_number(&app.engine, &TestApp::number(&restricted), true, &by_letter(app)).await.unwrap(), 1);
    let page = link(app, &restricted).await;
    let (status, body) = app.get(&page).await;
    assert!(status == 200 && body.contains("banner restricted") && !body.contains("value=\"chosen\""), "{body}");
    assert_eq!(app.submit(&page, "none", &[]).await, 303);
    assert!(app.story(&restricted).await.verdict.contains("refused since"));
    let page = link(app, &stops).await;
    let (status, body) = app.get(&page).await;
    assert!(status == 200 && body.contains("banner stopped") && body.contains("value=\"chosen\""), "{body}");

    // Nobody's page has no link, and each refusal says why.
    let ends = link(app, &gone).await;
    erase(app, &gone).await;
    assert_eq!(app.get(&ends).await.0, 404, "it ended with the person's data");
    rights::change_number(&app.engine, &TestApp::number(&moves), &TestApp::number(&new), &by_letter(app)).await.unwrap();
    let (wrong, strange) = (TestApp::it(7), TestApp::it(8));
    app.people(std::slice::from_ref(&wrong)).await;
    for number in [&wrong, &strange] {
        app.reply(number, REPLY_NUMBER, "numero sbagliato").await;
    }
    for (number, why) in [
        (&gone, "was erased"),
        (&moves, "is closed: on 2027-01-10 its person's new one took its place; remedy: give the person a link of that one"),
        (&wrong, "is closed: on 2027-01-10 whoever has it said that it is a wrong one"),
        (&wrong, "`permesso contact change`"),
        (&strange, "remedy: ask the person which number they have now, import that one"),
        (&TestApp::it(9), "is no contact"),
    ] {
        let (code, out, err) = ask(app.dir.path(), &["contact", "link", number]).await;
        assert!(code == 1 && out.is_empty() && err.contains(why) && err.contains("remedy: "), "{out}{err}");
    }
    let (code, out, err) = ask(app.dir.path(), &["contact", "link", &new]).await;
    assert_eq!(code, 0, "{err}");
    let address = out.lines().next().unwrap();
    assert!(app.get(address).await.0 != 404 && out.contains("for ••• ••• 006, and nobody else"), "{out}");

    // A copy older than the link learns of it.
    let token_hash = vault::token_hash(fresh.rsplit('/').next().unwrap());
    let mut tx = app.engine.store.write().await.unwrap();
    let kept = keep::links_after(&mut tx, &app.engine.controller, ("", ""), 99).await.unwrap();
    let kept: Vec<_> = kept.into_iter().filter(|link| link.token_hash == token_hash).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(keep::add_links(&mut tx, &app.engine.controller, &kept).await.unwrap(), 0, "this one knows it");
    let attempt = handed::by_token(&mut tx, &app.engine.controller, &token_hash).await.unwrap().unwrap();
    assert_eq!((attempt.reference.as_str(), attempt.campaign_id, attempt.message_id), ("link-2", None, 0));
    assert_eq!(handed::of_contact(&mut tx, attempt.contact_id).await.unwrap(), [(attempt.claimed_at, "ann".to_owned())]);
    let more =
        handed::New { token_hash: "t", contact: attempt.contact_id, channel: "sms", sender: "ACME", locale: "it", by: "bob" };
    handed::add(&mut tx, &app.engine.controller, &more, 7).await.unwrap();
    assert_eq!(handed::of_contact(&mut tx, attempt.contact_id).await.unwrap().len(), 2);
    tx.rollback().await.unwrap();
});

both!(whoever_has_no_language_of_their_own_reads_that_of_their_country_else_ours, |app| {
    // Ours is Italian, and no pack governs +1.
    let (american, briton) = ("+12015550123".to_owned(), TestApp::gb(1));
    app.people(&[american.clone(), briton.clone()]).await;
    for (number, language, stopped) in
        [(&american, "<html lang=\"it\"", "richiesta registrata"), (&briton, "<html lang=\"en\"", "your request is recorded")]
    {
        let (status, page) = app.get(&link(app, number).await).await;
        assert!(status == 200 && page.contains(language), "{page}");
        // Nobody has asked them anything yet.
        app.reply(number, REPLY_NUMBER, "STOP").await;
        assert!(app.inbox(number)[0].text.contains(stopped), "{:?}", app.inbox(number));
    }
});

/// Chosen behind a link of no campaign's, and completed by the code. Answers what they allow then.
async fn allows(app: &TestApp, page: &str, number: &str, grants: &[&str]) -> Vec<String> {
    assert_eq!(app.submit(page, "chosen", grants).await, 303);
    app.settle().await;
    assert_eq!(crate::code::enter(app, page, &crate::code::newest(app, number)).await, 303);
    app.granted(number).await
}

/// A file of a campaign whose page offers something else.
fn offers(app: &TestApp, from: &str, to: &str) {
    let file = app.engine.config.dir.join("campaigns").join(format!("{LINK}.toml"));
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, page) = text.split_once("[preferences]").unwrap();
    assert!(page.contains(from));
    std::fs::write(&file, format!("{before}[preferences]{}", page.replacen(from, to, 1))).unwrap();
}

both!(behind_a_link_that_no_campaign_sent_a_yes_is_taken_as_it_was_shown_and_beside_a_notice_that_speaks_of_it, |app| {
    let person = TestApp::it(1);
    app.people(std::slice::from_ref(&person)).await;
    let fresh = link(app, &person).await;
    assert_eq!(allows(app, &fresh, &person, &["sms.promotions", "call.promotions"]).await, ["sms.promotions", "call.promotions"]);
    let (_, before) = app.get(&fresh).await;
    let nonce = crate::app::field(&before, "nonce");
    let form = |grants: &[&'static str]| {
        let pairs = [("nonce", nonce.clone()), ("answer", "chosen".to_owned())];
        pairs.into_iter().chain(grants.iter().map(|grant| ("grant", (*grant).to_owned()))).collect::<Vec<_>>()
    };

    // The settings come to offer more, which no published notice speaks of.
    offers(app, "\"promotions\"]", "\"promotions\", \"profiling\"]");
    app.reconfigure("").await;
    let (status, page) = app.get(&fresh).await;
    assert!(status == 200 && page.contains("Per il momento non si può permettere nulla di nuovo"), "{page}");
    assert!(!page.contains("type=\"checkbox\"") && !page.contains("value=\"chosen\""), "{page}");
    assert!(page.contains("name=\"withdraw\" value=\"call.promotions\"") && page.contains("value=\"none\""), "{page}");
    assert!(crate::run::is_logged("A page that no campaign sent takes no yes"));
    let warnings = permesso::engine::report::overview(&app.engine).await.unwrap().warnings.concat();
    assert!(warnings.contains("forms and pages that no campaign sent take no yes"), "{warnings}");
    assert_eq!(app.submit(&fresh, "chosen", &["sms.promotions", "call.promotions", "sms.product_info"]).await, 303);
    assert_eq!((app.count(PENDING).await, app.granted(&person).await.len()), (0, 2), "nothing to consent beside");
    // The page that was opened before offered something else: no proof, but what it unticks is taken back.
    let (status, page) = app.answer_to(&fresh, &form(&["sms.promotions", "sms.product_info"])).await;
    assert!(status == 409 && page.contains("Nel frattempo la pagina è cambiata"), "{status}: {page}");
    assert_eq!((app.count(PENDING).await, app.granted(&person).await), (0, vec!["sms.promotions".to_owned()]));

    // Published under a new version, it can be chosen, on a page that is shown as it is now.
    crate::notices::edit(app, "notice_version = \"2026-11\"", "notice_version = \"2027-01\"");
    app.reconfigure("").await;
    permesso::engine::notice::publish(&app.engine).await.unwrap();
    let (status, page) = app.answer_to(&fresh, &form(&["sms.promotions", "sms.product_info"])).await;
    assert!(status == 409 && page.contains("value=\"sms.profiling\"") && page.contains("è cambiata"), "{status}: {page}");
    assert_eq!(app.count(PENDING).await, 0);
    app.advance(Duration::from_secs(120));
    assert_eq!(allows(app, &fresh, &person, &["sms.promotions", "sms.profiling"]).await, ["sms.promotions", "sms.profiling"]);
    // A page on which nothing is ticked any more says no, however old it is.
    assert_eq!(app.post_form(&fresh, &form(&[])).await, 303);
    assert!(app.granted(&person).await.is_empty() && app.story(&person).await.verdict.contains("refused since"));
});

#[tokio::test]
async fn a_page_says_yes_to_the_boxes_that_stood_on_it() {
    let mut app = TestApp::new(Kind::Sqlite).await;
    // A notice of the company's own that names no purpose: it reads the same, whatever is offered.
    let folder = app.dir.path().join("templates/messages");
    std::fs::create_dir_all(&folder).unwrap();
    for locale in ["it", "pl", "en", "de", "fr", "es"] {
        std::fs::write(folder.join(format!("notice.{locale}.txt")), "{controller}\n{contact}\n").unwrap();
    }
    crate::notices::edit(&app, "notice_version = \"2026-11\"", "notice_version = \"2026-12\"");
    app.reconfigure("").await;
    permesso::engine::notice::publish(&app.engine).await.unwrap();
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    let page = link(&app, &number).await;
    let nonce = crate::app::field(&app.get(&page).await.1, "nonce");
    // Another process, whose settings offer more, gets the answer.
    offers(&app, "\"promotions\"]", "\"promotions\", \"profiling\"]");
    app.reconfigure("").await;
    assert_eq!(app.post(&page, &nonce, "chosen", &["sms.promotions"]).await, 409);
    assert_eq!(app.count(PENDING).await, 0, "its proof would name boxes that nobody saw");
    assert_eq!(app.submit(&page, "chosen", &["sms.promotions"]).await, 303);
    assert_eq!(app.count(PENDING).await, 1);
    assert_eq!(app.post(&page, &nonce, "none", &[]).await, 303);
    app.end().await;
}

#[tokio::test]
async fn a_choice_behind_a_link_handed_over_is_completed_where_the_open_question_was_asked() {
    let mut app = TestApp::new(Kind::Sqlite).await;
    let number = TestApp::it(1);
    app.person(&number, "whatsapp").await;
    // The link itself is of a sender of SMS, by which this campaign does not ask.
    app.plan_as(WHATSAPP_FIRST, |c| c.asks.truncate(1)).await;
    app.settle().await;
    let page = link(&app, &number).await;
    assert_eq!(app.submit(&page, "chosen", &["whatsapp.promotions"]).await, 303);
    app.settle().await;
    let got = app.inbox(&number);
    let [_, confirmation] = &got[..] else { panic!("{got:?}") };
    assert_eq!(confirmation.channel, Channel::Whatsapp);
    app.advance(Duration::from_secs(60));
    app.gateway.tap(&confirmation.id, &confirmation.buttons[0].id).await.unwrap();
    app.settle().await;
    assert_eq!(app.granted(&number).await, ["whatsapp.promotions"], "{:#?}", app.history(&number).await);
    app.end().await;
}
