//! Restriction, objection and a number that changed: nobody is asked who may not be, and a new number begins without the old consents.

use std::time::Duration;

use permesso::domain::rights::Right;
use permesso::engine::requests::Asked;
use permesso::engine::rights::{self, Objected};
use permesso::engine::{self, explain, report, verify};
use permesso::store::contacts::Barred;
use permesso::store::{contacts, humans, inbound, requests, suppressions};
use serde_json::Value;

use crate::after::preferences_are_the_ledgers_replay;
use crate::app::{Kind, LINK, REPLY, REPLY_NUMBER, TestApp, field};
use crate::both;
use crate::erasure::{by_letter, grants, with_id};
use crate::promises::inbound;
use crate::run::ask;

fn another_family(c: &mut permesso::domain::campaign::Campaign) {
    (c.name, c.family) = ("another".into(), "other".into());
}

async fn restrict(app: &TestApp, number: &str, restricted: bool) -> u64 {
    rights::restrict_number(&app.engine, &TestApp::number(number), restricted, &by_letter(app)).await.expect("restricted")
}

async fn exported(app: &TestApp) -> String {
    let (code, out, err) = ask(app.dir.path(), &["consents", "export"]).await;
    assert_eq!(code, 0, "{err}");
    out
}

async fn audited(app: &TestApp) {
    assert_eq!(verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
    preferences_are_the_ledgers_replay(app).await;
}

both!(whoever_has_restricted_the_use_of_their_data_is_sent_nothing_until_it_is_lifted, |app| {
    let [one, two, three, late] = [1, 2, 3, 4].map(TestApp::it);
    app.import(&format!("{}{}{}", with_id(&one, "H1"), with_id(&two, "H1"), TestApp::good(&three))).await;
    app.plan(LINK).await;
    assert_eq!(restrict(app, &one, true).await, 2, "every number of the human");
    let letter = Asked { received_at: app.clock.now() - 86_400_000_000, ..by_letter(app) };
    engine::requests::note(&app.engine, Right::Restriction, &TestApp::number(&two), &letter).await.unwrap();
    assert_eq!(restrict(app, &two, true).await, 0, "said again");
    assert!(engine::requests::list(&app.engine, true).await.unwrap().is_empty(), "what stands answers the letter");
    app.settle().await;
    assert_eq!((app.asks(&one), app.asks(&two), app.asks(&three)), (0, 0, 1));
    let asked = if app.decisions(&one).await.concat().contains("RESTRICTED") { &one } else { &two };
    let story = app.story(asked).await;
    assert!(story.verdict.contains("restricted (Art. 18 GDPR)"), "{story:?}");
    assert!(story.history.iter().any(|m| m.what.contains("the use of the data restricted")), "{story:?}");
    // A number that an import ties to them later, and the same rows again.
    app.import(&format!("{}{}", with_id(&late, "H1"), with_id(&one, "H1"))).await;
    app.plan_as(LINK, another_family).await;
    app.settle().await;
    assert_eq!((app.asks(&one), app.asks(&two), app.asks(&late)), (0, 0, 0));
    assert!(app.decisions(&late).await.concat().contains("RESTRICTED"), "{:?}", app.decisions(&late).await);

    // What was granted stays and is not to be used.
    let link = grants(app, &three).await;
    let page = format!("{link}/data");
    let body = crate::mydata::open(app, &page, &three).await;
    let ticket = field(&body, "ticket");
    let (status, _, body) = crate::mydata::post(app, &page, &[("answer", "restrict"), ("ticket", &ticket)]).await;
    assert!(status == 200 && body.contains("value=\"lift\"") && body.contains("uso limitato"), "{body}");
    assert_eq!(crate::mydata::post(app, &page, &[("answer", "lift"), ("ticket", "0")]).await.0, 303, "by its ticket alone");
    let csv = exported(app).await;
    assert!(csv.contains(",not_releasable,") && csv.contains("RESTRICTED") && !csv.contains(",granted,"), "{csv}");
    let (_, page) = app.get(&link).await;
    assert!(
        page.contains("banner restricted") && page.contains("apri «Vedi, scarica o cancella i tuoi dati» qui sotto"),
        "{page}"
    );
    assert!(
        body.contains("al massimo 24 mesi (12 per") && body.contains("per altri 5 anni") && body.contains("dopo 90 giorni"),
        "{body}"
    );
    assert_eq!(app.submit(&link, "chosen", &["sms.promotions", "whatsapp.promotions"]).await, 303);
    assert_eq!(app.granted(&three).await, ["sms.promotions"]);

    // Another copy learns of it.
    let copy = {
        restrict(app, &three, false).await;
        app.advance(Duration::from_secs(60));
        let copy = crate::restore::copy(app).await;
        assert_eq!(restrict(app, &three, true).await, 1);
        copy
    };
    crate::restore::stop_all(app).await;
    let (code, _, err) = ask(app.dir.path(), &["db", "restore", copy.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{err}");
    crate::restore::open(app).await;
    assert!(!exported(app).await.contains(",granted,"));

    // Lifted after the person was told.
    let (code, _, err) = ask(app.dir.path(), &["contact", "unrestrict", &three]).await;
    assert!(code == 2 && err.contains("--told"), "{err}");
    let (code, out, err) = ask(app.dir.path(), &["contact", "unrestrict", &three, "--told", "letter of today"]).await;
    assert!(code == 0 && out.contains("1 number"), "{err}");
    assert!(exported(app).await.contains(",granted,"));
    let ledger = app.story(&three).await.ledger.concat();
    assert!(ledger.contains(" restricted ") && ledger.contains("the person was told: letter of today"), "{ledger}");
    let (code, _, err) = ask(app.dir.path(), &["contact", "restrict", &TestApp::it(9)]).await;
    assert!(code == 1 && err.contains("remedy"), "{err}");
    audited(app).await;
    app.listen().await;
});

both!(an_old_link_says_that_the_use_is_restricted, |app| {
    let one = TestApp::it(1);
    app.people(std::slice::from_ref(&one)).await;
    app.send(LINK).await;
    let link = grants(app, &one).await;
    restrict(app, &one, true).await;
    app.advance(Duration::from_secs(40 * 86_400));
    let (status, page) = app.get(&link).await;
    assert!(status == 200 && page.contains("banner restricted") && page.contains("value=\"none\""), "{status}: {page}");
    assert!(!page.contains("value=\"chosen\""), "{page}");
});

both!(a_restriction_is_in_the_next_export_of_changes_whatever_number_it_was_said_for, |app| {
    let [one, two, three] = [1, 2, 3].map(TestApp::it);
    app.people(&[two.clone(), three.clone()]).await;
    app.send(LINK).await;
    for number in [&two, &three] {
        grants(app, number).await;
    }
    app.import(&with_id(&one, "H1")).await;
    assert_eq!(restrict(app, &one, true).await, 1);
    let since = async |day: &str| {
        let (code, out, err) = ask(app.dir.path(), &["consents", "export", "--since", day]).await;
        assert_eq!(code, 0, "{err}");
        out
    };
    // Restricted days after it was granted; and whoever granted nothing is in every export, while it stands.
    app.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(restrict(app, &three, true).await, 1);
    let csv = since("2026-12-03").await;
    assert!(csv.contains(&three) && csv.contains(",not_releasable,") && !csv.contains(&two), "{csv}");
    let alone = format!("{one},IT,,all,all,restricted,2026-12-01T");
    assert!(csv.contains(&alone), "{csv}");
    // Tied days later to a number that is restricted.
    app.advance(Duration::from_secs(86_400));
    app.import(&with_id(&two, "H1")).await;
    let csv = since("2026-12-04").await;
    assert!(csv.contains(&two) && csv.contains(",not_releasable,") && csv.contains("RESTRICTED"), "{csv}");
    assert!(csv.contains(&alone) && csv.contains(&format!("{two},IT,,all,all,restricted,")), "{csv}");
    assert!(app.story(&two).await.ledger.concat().contains(" restricted "));
    // Lifted, and wished for at other times.
    app.advance(Duration::from_secs(86_400));
    assert_eq!(restrict(app, &one, false).await, 2);
    let csv = since("2026-12-05").await;
    assert!(csv.contains(&two) && csv.contains(",granted,") && !csv.contains(",not_releasable,"), "{csv}");
    let restricted: Vec<&str> = csv.lines().filter(|line| line.contains(",restricted,")).collect();
    assert!(restricted.len() == 1 && restricted[0].starts_with(&three), "{csv}");
    app.advance(Duration::from_secs(86_400));
    crate::times::choose(app, &two, &[("when", "1"), ("part", "morning"), ("grant", "sms.promotions")]).await;
    assert!(since("2026-12-06").await.contains(&two));
    audited(app).await;
});

both!(a_restriction_outlives_a_copy_older_than_its_person, |app| {
    let [before, person, tied, gone, late, lost, freed, glad] = [1, 2, 3, 4, 5, 6, 7, 8].map(TestApp::it);
    let [joins, kin, writes, moves] = [9, 10, 11, 12].map(TestApp::it);
    let [again, noted] = [13, 14].map(TestApp::it);
    crate::entry::with_entry(app).await;
    app.people(&[again.clone(), before.clone(), tied.clone(), late.clone(), freed.clone(), glad.clone(), kin.clone()]).await;
    app.send(LINK).await;
    for number in [&tied, &late, &glad, &kin] {
        grants(app, number).await;
    }
    assert_eq!(restrict(app, &freed, true).await, 1);
    let copy = crate::restore::copy(app).await;
    let after = [&person, &gone, &lost, &joins, &writes, &moves];
    app.people(&after.map(Clone::clone)).await;
    for number in after {
        assert_eq!(restrict(app, number, true).await, 1);
    }
    // Restricted, lifted and restricted again, all by letters of one day; and one restricted again by what was noted before it was lifted.
    app.people(std::slice::from_ref(&noted)).await;
    let letter = by_letter(app);
    for (number, restricted) in [(&again, true), (&again, false), (&noted, true), (&noted, false)] {
        if (number, restricted) == (&noted, false) {
            let received = Asked { received_at: letter.received_at - 86_400_000_000, ..letter.clone() };
            engine::requests::note(&app.engine, Right::Restriction, &TestApp::number(number), &received).await.unwrap();
        }
        app.advance(Duration::from_secs(60));
        assert_eq!(rights::restrict_number(&app.engine, &TestApp::number(number), restricted, &letter).await.unwrap(), 1);
    }
    for number in [&again, &noted] {
        app.advance(Duration::from_secs(60));
        assert_eq!(rights::restrict_number(&app.engine, &TestApp::number(number), true, &letter).await.unwrap(), 1);
    }
    // Restricted by a tie alone; and tied to one that is restricted no more.
    app.import(&(with_id(&gone, "H1") + &with_id(&tied, "H1"))).await;
    assert_eq!(restrict(app, &freed, false).await, 1);
    app.import(&(with_id(&freed, "H3") + &with_id(&glad, "H3"))).await;
    crate::restore::stop_all(app).await;
    let (code, _, err) = ask(app.dir.path(), &["db", "restore", copy.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{err}");
    crate::restore::open(app).await;
    assert!(!app.story(&person).await.known);
    assert!(app.story(&tied).await.ledger.concat().contains(" restricted "));
    assert!(!app.story(&glad).await.ledger.concat().contains(" restricted "), "lifted before it was tied");
    app.listen().await;
    // One list brings the restricted number back and ties another to it.
    app.import(&(with_id(&lost, "H2") + &with_id(&late, "H2"))).await;
    assert!(app.story(&late).await.ledger.concat().contains(" restricted "));

    // So is it by a form, by a first message and as somebody's new number; and whoever a list ties to it meanwhile is restricted with it.
    let answers = "SELECT COUNT(*) FROM messages WHERE kind IN ('code', 'help')";
    let answered = app.count(answers).await;
    let token = crate::intake::choose(app, "newsletter", &["sms.promotions"]).await;
    assert_eq!(crate::intake::give(app, "newsletter", &token, &joins).await.0, 200);
    let codes = app.count(answers).await - answered;
    app.import(&(with_id(&kin, "H4") + &crate::humans::rejected(11, "H4", ""))).await;
    app.reply(&writes, REPLY_NUMBER, "NEWSLETTER").await;
    let links = app.count(answers).await - answered - codes;
    rights::change_number(&app.engine, &TestApp::number(&before), &TestApp::number(&moves), &by_letter(app)).await.unwrap();
    let mut restricted = Vec::new();
    for number in [&writes, &moves, &kin] {
        restricted.push(app.story(number).await.ledger.concat().contains(" restricted "));
    }
    assert_eq!((codes, links, restricted), (0, 0, vec![true; 3]));

    // The next list brings them again, and the ledger says why they are left alone.
    app.people(&[person.clone(), noted.clone()]).await;
    for number in [&again, &noted] {
        assert!(app.story(number).await.verdict.contains("so they are sent nothing"), "restricted last");
    }
    app.plan_as(LINK, another_family).await;
    assert!(app.decisions(&person).await.concat().contains("RESTRICTED"), "{:?}", app.decisions(&person).await);
    assert!(app.story(&person).await.ledger.concat().contains(" restricted "));
    audited(app).await;
    // Once it is lifted, no list brings it back.
    assert_eq!(restrict(app, &person, false).await, 1);
    app.people(&[person.clone(), before]).await;
    let verdict = app.story(&person).await.verdict;
    assert!(!verdict.contains("so they are sent nothing"), "{verdict}");
});

both!(whoever_is_restricted_completes_no_yes_by_reply_and_is_sent_nothing_while_a_stop_counts, |app| {
    let [chose, helped, stops] = [1, 2, 3].map(TestApp::it);
    let british = TestApp::gb(1);
    app.people(&[chose.clone(), helped.clone(), stops.clone()]).await;
    app.import(&TestApp::good(&british)).await;
    app.send(LINK).await;
    app.send(REPLY).await;
    app.submit(&app.link(&chose), "chosen", &["sms.promotions"]).await;
    app.advance(Duration::from_secs(60));
    for number in [&chose, &helped, &stops, &british] {
        assert_eq!(restrict(app, number, true).await, 1);
    }
    let sent = app.gateway.stats().accepted;
    for (number, word) in [(&chose, "SI"), (&helped, "AIUTO"), (&stops, "STOP"), (&british, "YES")] {
        let from = if number == &british { app.inbox(number)[0].from.clone() } else { REPLY_NUMBER.to_owned() };
        app.reply(number, &from, word).await;
    }
    assert_eq!(app.gateway.stats().accepted, sent, "the page says that nothing is sent");
    for number in [&chose, &british] {
        assert!(app.granted(number).await.is_empty());
        let told = app.history(number).await.join("\n");
        assert!(told.contains("read as a yes: ignored: the use of the data is restricted"), "{told}");
    }
    assert!(app.story(&stops).await.verdict.contains("stopped"), "a no counts");
    // Lifted in time, the same yes completes the choice, which stands.
    assert_eq!(restrict(app, &chose, false).await, 1);
    app.advance(Duration::from_secs(60));
    app.reply(&chose, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&chose).await, ["sms.promotions"]);
    audited(app).await;
});

both!(an_objection_ends_all_marketing_for_every_number_channel_and_purpose, |app| {
    let [one, two, stranger, writes] = [1, 2, 9, 10].map(TestApp::it);
    app.import(&format!("{}{}{}", with_id(&one, "H1"), with_id(&two, "H1"), TestApp::good(&writes))).await;
    app.send(LINK).await;
    let (asked, other) = if app.asks(&one) == 1 { (&one, &two) } else { (&two, &one) };
    let link = app.link(asked);
    app.submit(&link, "chosen", &["sms.promotions", "whatsapp.product_info", "call.profiling"]).await;
    grants(app, asked).await;
    // By the link alone, like any no; from our own page alone.
    let page = format!("{link}/data");
    assert_eq!(crate::mydata::send(app, &page, &[("answer", "object")], "cross-site").await.0, 403);
    assert_eq!(app.granted(asked).await.len(), 1);
    for _ in 0..2 {
        assert_eq!(crate::mydata::post(app, &page, &[("answer", "object")]).await.0, 303);
    }
    assert!(app.get(&page).await.1.contains("Tutti i messaggi commerciali sono fermati"));
    assert!(app.granted(asked).await.is_empty());
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'stopped'").await, 1, "said twice, it is one");
    // Whoever begins to come back and then objects again has objected: the second step grants nothing.
    app.advance(Duration::from_secs(600));
    assert_eq!(app.submit(&link, "chosen", &["sms.promotions"]).await, 303);
    app.advance(Duration::from_secs(600));
    assert_eq!(crate::mydata::post(app, &page, &[("answer", "object")]).await.0, 303);
    app.reply(asked, REPLY_NUMBER, "SI").await;
    assert!(app.granted(asked).await.is_empty());
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'stopped'").await, 2);
    for (right, number, says) in [
        ("object", &stranger, &["no contact, so nothing was sent to it or planned; kept: its no, as a keyed hash"][..]),
        ("erase", &TestApp::it(8), &["nothing to erase; kept: its no, as a keyed hash", "\ndone; on record as request "]),
    ] {
        let (code, out, err) = ask(app.dir.path(), &["contact", right, number]).await;
        assert!(code == 0 && says.iter().all(|said| out.contains(said)) && !out.contains("left to do"), "{out}{err}");
    }
    app.people(std::slice::from_ref(&stranger)).await;
    app.plan_as(LINK, another_family).await;
    app.settle().await;
    assert_eq!((app.asks(&one) + app.asks(&two), app.asks(&stranger)), (1, 0));
    for number in [&one, &two, &stranger] {
        let decided = app.decisions(number).await.concat();
        assert!(decided.contains("SUPPRESSED_OBJECTION"), "{decided}");
    }
    assert!(app.story(asked).await.requests.concat().contains("objection"));
    // Whose no it is that closes the other number.
    let (own, reached) = (app.story(asked).await.verdict, app.story(other).await.verdict);
    let by = format!(", said by another number of the same human ({}).", TestApp::number(asked).masked());
    assert!(own.contains("stopped since") && !own.contains("another number"), "{own}");
    assert!(reached.contains("stopped since") && reached.ends_with(&by), "{reached}");

    // By letter it is the person's word all the same, of the day it came; and the story quotes what they were asked.
    let letter = Asked { received_at: app.clock.now() - 11 * 86_400_000_000, ..by_letter(app) };
    rights::object(&app.engine, &TestApp::number(&writes), &letter).await.unwrap();
    let story = app.story(&writes).await;
    let told = &story.campaigns[0].sentence;
    assert!(told.contains("; answered: objected to all marketing on 2026-12-01 "), "{told}");
    assert!(told.contains(", carried out by an operator (letter 1; received 2026-11-20)."), "{told}");
    let figures = report::campaign(&app.engine, LINK).await.unwrap();
    assert_eq!(figures.stopped_by, [("person".to_owned(), figures.stopped)].into(), "{figures:?}");
    let asked = &story.campaigns[0].wordings;
    assert!(matches!(&asked[..], [text] if text.contains("ci hai lasciato il tuo numero")), "{asked:?}");
    let (begins, _) = asked[0].split_once(": “").unwrap();
    let hash = begins.strip_prefix("Ask by SMS in it, wording ").unwrap();
    let entry = story.ledger.concat();
    assert!(
        entry.contains(&format!("; answers wording {hash}; notice 2026-11 in it; evidence letter 1; received 2026-11-20")),
        "{entry}"
    );
    // Said again it changes nothing, and says so.
    let said = async |number: &str| rights::object(&app.engine, &TestApp::number(number), &by_letter(app)).await.unwrap();
    let rows = async || {
        (
            app.count("SELECT COUNT(*) FROM ledger").await,
            app.count("SELECT COUNT(*) FROM requests WHERE kind = 'objection'").await,
        )
    };
    let before = rows().await;
    app.advance(Duration::from_secs(60));
    assert_eq!((said(&writes).await, said(&TestApp::it(9)).await), (Objected::Already, Objected::Already));
    assert_eq!(rows().await, before);
    // An erasure answers an objection that was noted; what can only be told is ended by telling it.
    for right in [Right::Objection, Right::Access] {
        permesso::engine::requests::note(&app.engine, right, &TestApp::number(&writes), &by_letter(app)).await.unwrap();
    }
    crate::erasure::erase(app, &writes).await;
    let open = permesso::engine::requests::list(&app.engine, true).await.unwrap();
    let left: Vec<(&str, Option<String>)> =
        open.iter().filter(|r| r.providers.is_empty()).map(|r| (r.kind.as_str(), r.left.clone())).collect();
    let access = open.iter().find(|r| r.kind == "access").unwrap().id;
    assert_eq!(left, [("access", Some(format!("permesso contact requests done {access}")))]);
    assert_eq!(said(&writes).await, Objected::Erased);
    let verdict = app.story(&writes).await.verdict;
    assert!(verdict.starts_with("Nobody may write to this number: erased since"), "{verdict}");
    let (code, _, err) = ask(app.dir.path(), &["contact", "export", &writes]).await;
    assert!(code == 1 && err.contains("this person was erased") && err.contains("requests done"), "{err}");
    audited(app).await;
});

both!(a_new_number_has_every_no_of_the_old_and_none_of_its_consents, |app| {
    let [old, new, stopped, next, known, alone] = [1, 2, 3, 4, 5, 6].map(TestApp::it);
    let [moves, said_no, kin] = [11, 12, 13].map(TestApp::it);
    // A rejected row tied the old number before it was a contact.
    app.import(&(crate::humans::rejected(1, "H1", "") + &crate::humans::rejected(4, "H4", ""))).await;
    let same = TestApp::it(10);
    let with_ids = with_id(&old, "H1") + &with_id(&same, "H4") + &with_id(&kin, "H5");
    app.import(&(with_ids + &TestApp::good(&stopped) + &TestApp::good(&known))).await;
    app.send(LINK).await;
    let link = grants(app, &old).await;
    for number in [&same, &kin] {
        grants(app, number).await;
    }
    app.reply(&stopped, REPLY_NUMBER, "STOP").await;
    let mornings = [("when", "1"), ("part", "morning"), ("grant", "sms.promotions")];
    crate::times::choose(app, &known, &mornings).await;
    assert_eq!(restrict(app, &known, true).await, 1);
    let change = async |from: &str, to: &str| {
        let asked: Asked = by_letter(app);
        rights::change_number(&app.engine, &TestApp::number(from), &TestApp::number(to), &asked).await
    };
    assert!(change(&old, &known).await.unwrap_err().to_string().contains("remedy"));
    assert!(change(&TestApp::it(8), &new).await.unwrap_err().to_string().contains("remedy"));
    // No message reaches a landline; and a number that is somebody else's, or of somebody erased, is not theirs.
    let [strange, erased] = [14, 15].map(TestApp::it);
    app.reply(&strange, REPLY_NUMBER, "numero sbagliato").await;
    crate::erasure::erase(app, &erased).await;
    let written = async || (app.dump("contacts").await, app.dump("requests").await, app.dump("suppressions").await);
    let before = written().await;
    for (to, says) in [
        (old.as_str(), "the old and the new number are the same"),
        ("+442079460001", "the new number is not a mobile number"),
        (&strange, "the new number is closed: on 2026-12-01 whoever has it said"),
        (&erased, "whoever had the new number was erased on 2026-12-01"),
    ] {
        let refused = change(&old, to).await.unwrap_err().to_string();
        assert!(refused.contains(says) && refused.contains("; remedy: "), "{refused}");
    }
    assert_eq!(written().await, before, "nothing is written");
    // What waits to be read may be a no.
    app.reply(&old, REPLY_NUMBER, "mah, vediamo un po").await;
    assert!(change(&old, &new).await.unwrap_err().to_string().contains("remedy: `permesso inbox resolve`"));
    app.execute("UPDATE contacts SET held_at = NULL").await.unwrap();
    change(&old, &new).await.unwrap();
    let again = change(&old, &TestApp::it(16)).await.unwrap_err().to_string();
    assert!(again.contains("gave way to another one on 2026-12-01 already; remedy: change that one"), "{again}");
    // Carried out after the change, a letter would reach the old number alone.
    engine::requests::note(&app.engine, Right::Objection, &TestApp::number(&stopped), &by_letter(app)).await.unwrap();
    let refused = change(&stopped, &next).await.unwrap_err().to_string();
    assert!(refused.contains("(objection) is noted") && refused.contains("`permesso contact object NUMBER`"), "{refused}");
    rights::object(&app.engine, &TestApp::number(&stopped), &by_letter(app)).await.unwrap();
    change(&stopped, &next).await.unwrap();
    assert!(app.granted(&same).await.is_empty(), "a rejected row tied the new number to it");
    // What a new number said before anybody knew whose it is counts for the person's others.
    app.import(&with_id(&moves, "H5")).await;
    app.reply(&said_no, REPLY_NUMBER, "STOP").await;
    assert_eq!(app.granted(&kin).await.len(), 1);
    change(&moves, &said_no).await.unwrap();
    assert!(app.granted(&kin).await.is_empty());
    // A second letter was refused: the use is restricted by the first one all the same.
    let letter = Asked { by: "bob".into(), received_at: app.clock.now() - 5 * 86_400_000_000, ..by_letter(app) };
    let refused = engine::requests::note(&app.engine, Right::Restriction, &TestApp::number(&known), &letter).await.unwrap();
    engine::requests::answered(&app.engine, refused, Some("letter of today")).await.unwrap();
    // Of somebody without an `external_id`, which would remember the ask by itself. What they chose and asked for goes along.
    change(&known, &alone).await.unwrap();
    let moved = app.story(&alone).await;
    assert!(moved.verdict.contains("restricted") && moved.requests.concat().contains("restrict"), "{moved:?}");
    let carried = "is restricted as that of the old number was (by letter; received 2026-12-01), carried over on 2026-12-01";
    assert!(app.history(&alone).await.concat().contains(carried), "{moved:?}");
    assert!(moved.ledger.concat().contains(" restricted ") && moved.ledger.concat().contains(" times "), "{moved:?}");
    assert!(app.history(&alone).await.concat().contains("wants to be written to"), "{moved:?}");
    assert_eq!(restrict(app, &alone, false).await, 1);
    // Each of the two says when it was, what the other is, and who did it.
    let (was, is) = (app.story(&stopped).await, app.story(&next).await);
    let told =
        |story: &explain::Story, what: &str| story.history.iter().any(|m| m.what == what && m.at.starts_with("2026-12-01T"));
    assert!(told(&was, "The person's number is ••• ••• 004 from now on, and this one is closed. Changed by ann"), "{was:?}");
    assert!(told(&is, "This is the new number of a person; before it was ••• ••• 003. Changed by ann"), "{is:?}");
    // Whoever looks at the new one first reads that.
    let moved = app.story(&alone).await;
    let replaced = "This number took the place of ••• ••• 005 on 2026-12-01 10:";
    let whose = ", whose story has what was asked there. No campaign has decided about this person yet.";
    assert!(moved.verdict.contains(replaced) && moved.verdict.ends_with(whose), "{}", moved.verdict);
    assert!(app.granted(&new).await.is_empty() && app.granted(&old).await.is_empty());
    // The old number changed: nobody said that it is a stranger's, wherever it is told.
    let closed = app.story(&old).await;
    let changed = "number changed on 2026-12-01 10:";
    assert!(closed.verdict.contains(changed), "{closed:?}");
    let told = serde_json::to_string(&closed).unwrap();
    let since = "; since then: the person has another number since 2026-12-01 10:";
    assert!(told.contains(since) && told.contains(" number_changed by operator") && !told.contains("wrong"), "{told}");
    let (status, page) = app.get(&link).await;
    assert!(status == 410 && page.contains("ha un altro numero: questo per noi è chiuso"), "{page}");
    let csv = exported(app).await;
    let row = csv.lines().find(|line| line.starts_with(&old) && line.contains(",all,")).unwrap();
    assert!(row.contains(",all,all,number_changed,"), "{row}");
    assert!(csv.lines().any(|line| line.starts_with(&old) && line.contains(",withdrawn,")), "{csv}");
    let figures = report::campaign(&app.engine, LINK).await.unwrap();
    crate::reports::adds_up(&figures);
    assert_eq!(
        (figures.wrong_person, figures.number_changed),
        (0, 1),
        "who had chosen times alone, and not whoever confirmed or stopped"
    );

    // What the person gets of the new number is what is known of them, under each number what was said by it.
    let export = async |number: &str, format: &str| {
        let (code, out, err) = ask(app.dir.path(), &["contact", "export", number, "--format", format]).await;
        assert_eq!(code, 0, "{err}");
        out
    };
    let file: Value = serde_json::from_str(&export(&new, "jsonld").await).unwrap();
    crate::mydata::is_of_the_vocabulary(&file);
    let graph = file["@graph"].as_array().unwrap();
    let [about, old_about] =
        [&new, &old].map(|number| graph.iter().find(|o| o["ev:telephoneNumber"] == number.as_str()).unwrap());
    assert_eq!((&about["ev:formerNumbers"][0]["@id"], about["ev:messages"].as_array().unwrap().len()), (&old_about["@id"], 0));
    assert_eq!(old_about["ev:imported"][0]["ev:source"], "web shop");
    assert_eq!(old_about["ev:suppressions"][0]["ev:reason"], "number_changed");
    let records: Vec<&Value> = graph.iter().filter(|o| o["@type"] == "dpv:ConsentRecord").collect();
    assert!(!records.is_empty() && records.iter().all(|r| r["dpv:hasDataSubject"]["@id"] == old_about["@id"]), "{file:#}");
    assert!(records.iter().any(|r| {
        let states = r["dpv:hasConsentStatus"].as_array().unwrap();
        states.last().unwrap()["@type"] == "dpv:ConsentRevoked" && r.to_string().contains("ConsentGiven")
    }));
    let csv = export(&new, "csv").await;
    for told in ["\nnumber_changed,2026-12-01T", "\nformer_said,", ",number_changed,operator,", "\nformer_sent,", "; web shop; "]
    {
        assert!(csv.contains(told), "{told}: {csv}");
    }
    assert!(app.story(&new).await.suppressions.is_empty(), "what closes the old number closes that alone");
    assert!(app.story(&next).await.verdict.contains("stopped"), "a no goes along");
    // Nothing gives the right to ask it, and where a list does, the ask of the old number counts.
    app.plan_as(LINK, another_family).await;
    app.settle().await;
    assert!(app.decisions(&new).await.is_empty(), "{:?}", app.decisions(&new).await);
    let closed = app.decisions(&old).await.concat();
    assert!(
        closed.contains("NUMBER_CHANGED") && closed.contains("number_changed since ") && !closed.contains("rong"),
        "{closed}"
    );
    let told = &app.story(&old).await.campaigns[1].sentence;
    assert!(told.ends_with("The person has another number, and this one is closed (NUMBER_CHANGED)."), "{told}");
    app.people(&[new.clone(), next.clone(), alone.clone()]).await;
    app.plan_as(LINK, |c| (c.name, c.family) = ("third".into(), "third".into())).await;
    app.advance(Duration::from_secs(3600));
    app.settle().await;
    assert_eq!((app.asks(&old), app.asks(&new), app.asks(&next), app.asks(&alone)), (1, 0, 0, 0));
    for number in [&new, &alone] {
        assert!(app.decisions(number).await.concat().contains("ASK_CAP"), "{:?}", app.decisions(number).await);
    }
    // The next list has the old number still: it is somebody else's, whatever the row says.
    crate::intake::forms(app).await;
    crate::intake::joined(app, "newsletter", &new).await;
    app.import(&format!("{}{}", with_id(&old, "H1"), with_id(&TestApp::it(9), "H1"))).await;
    app.reply(&old, REPLY_NUMBER, "STOP").await;
    assert_eq!(app.granted(&new).await, ["sms.promotions"]);
    assert!(app.story(&new).await.suppressions.is_empty());
    // Who goes for good goes with the number of before, which stays closed.
    crate::erasure::erase(app, &new).await;
    assert!(!app.story(&old).await.known && !app.story(&new).await.known);
    assert!(app.story(&old).await.suppressions.concat().contains("number changed on"));
    let again = app.import(&TestApp::good(&old)).await;
    assert_eq!((again.new, again.erased), (0, 1), "nor does a list bring it back: {again:?}");
    audited(app).await;
});

#[tokio::test]
async fn what_the_new_holder_of_a_number_wrote_is_not_handed_to_whoever_gave_it_up() {
    let mut app = TestApp::new(Kind::Sqlite).await;
    let [old, new] = [1, 2].map(TestApp::it);
    app.people(std::slice::from_ref(&old)).await;
    app.send(LINK).await;
    app.reply(&old, REPLY_NUMBER, "AIUTO").await;
    app.advance(Duration::from_secs(3600));
    // Somebody else has it by now, and says so; what they say is a few seconds on the way.
    let said_at = app.clock.now();
    app.advance(Duration::from_secs(5));
    let theirs = inbound("theirs", &old, REPLY_NUMBER, "numero sbagliato, sono Mario Rossi", said_at);
    assert!(app.gateway.deliver(vec![theirs]).await);
    app.settle().await;
    assert!(app.story(&old).await.verdict.contains("wrong person"), "{:?}", app.story(&old).await);
    app.advance(Duration::from_secs(60));
    app.import(&TestApp::good(&old).replace("web shop", "their shop")).await;
    // The letter of our customer comes later.
    app.advance(Duration::from_secs(86_400));
    rights::change_number(&app.engine, &TestApp::number(&old), &TestApp::number(&new), &by_letter(&app)).await.unwrap();
    // What closed the old number is what its holder said; that its person has another one stands beside it.
    let closed = app.story(&old).await;
    assert!(closed.verdict.contains("wrong person since 2026-12-01") && !closed.verdict.contains("number changed"), "{closed:?}");
    assert!(closed.history.iter().any(|m| m.what.contains("the person has another number since 2026-12-02")), "{closed:?}");
    for format in ["csv", "jsonld"] {
        let (code, file, err) = ask(app.dir.path(), &["contact", "export", &new, "--format", format]).await;
        assert_eq!(code, 0, "{err}");
        assert!(!file.contains("Mario") && !file.contains("their shop") && !file.contains("ack-"), "{file}");
        for own in ["AIUTO", "web shop", "rectification", "2026-12-02T"] {
            assert!(file.contains(own), "{own}: {file}");
        }
    }
    // Nor is it handed to anybody by the closed number itself: its file is for the person that it was imported about, and says so.
    for format in ["csv", "jsonld"] {
        let (code, file, err) = ask(app.dir.path(), &["contact", "export", &old, "--format", format]).await;
        assert!(code == 0 && !file.contains("Mario") && !file.contains("ack-"), "{file}{err}");
        let says =
            "the number is closed since 2026-12-01: whoever has it said that it is not that person's. The file is for the person";
        assert!(err.contains(says) && err.contains("; remedy: hand it to nobody else"), "{err}");
        let left_out = if format == "csv" { "\nleft_out,2026-12-01T" } else { "\"ev:because\": \"wrong_person\"" };
        for own in ["AIUTO", "web shop", "their shop", left_out] {
            assert!(file.contains(own), "{own}: {file}");
        }
        if format == "csv" {
            assert_eq!(file.matches("\nsaid,").count(), 2, "what closed it, and that its person has another one: {file}");
            assert!(file.contains("\nsuppression,2026-12-01T10:") && file.contains("Z,wrong_person,"), "{file}");
        }
    }
    // Somebody who had said no before: said again by whoever has the number now, it is theirs as they said it.
    let said_no = TestApp::it(5);
    app.people(std::slice::from_ref(&said_no)).await;
    for text in ["STOP", "numero sbagliato, sono Mario Rossi", "numero sbagliato", "STOP"] {
        app.reply(&said_no, REPLY_NUMBER, text).await;
        app.advance(Duration::from_secs(3600));
    }
    let (code, file, err) = ask(app.dir.path(), &["contact", "export", &said_no, "--format", "csv"]).await;
    assert!(code == 0 && !file.contains("Mario"), "{file}{err}");
    assert_eq!((file.matches(",stopped,sms,").count(), file.matches(",wrong_person,sms,").count()), (1, 1), "{file}");
    let stops: Vec<&str> = file.lines().filter(|line| line.starts_with("suppression,") && line.contains(",stopped,")).collect();
    assert!(stops.len() == 1 && stops[0].starts_with("suppression,2026-12-02T10:"), "{stops:?}");
    // What was planned for a number that changes is told as that, too.
    let [planned, next] = [3, 4].map(TestApp::it);
    app.people(std::slice::from_ref(&planned)).await;
    app.plan_as(LINK, another_family).await;
    rights::change_number(&app.engine, &TestApp::number(&planned), &TestApp::number(&next), &by_letter(&app)).await.unwrap();
    let told = app.history(&planned).await.join("\n");
    let cancelled = "Ask by SMS cancelled: The person has another number, and this one is closed (NUMBER_CHANGED).";
    assert!(told.contains(cancelled), "{told}");
    app.advance(Duration::from_secs(60));
    app.reply(&planned, REPLY_NUMBER, "buongiorno, sono Mario Rossi").await;
    let (code, file, err) = ask(app.dir.path(), &["contact", "export", &planned, "--format", "csv"]).await;
    assert!(code == 0 && !file.contains("Mario") && file.contains("\nleft_out,2026-12-02T"), "{file}{err}");
    assert!(err.contains("its person has another one") && err.contains("`contact export` of that one"), "{err}");
    app.end().await;
}

both!(what_the_store_does_for_a_restriction_and_a_new_number, |app| {
    app.import(&format!("{}{}", with_id(&TestApp::it(1), "H1"), TestApp::good(&TestApp::it(2)))).await;
    let ours = app.engine.controller.clone();
    let keyed = |n: u32| app.engine.vault.keyed_all(&TestApp::number(&TestApp::it(n)));
    let mut tx = app.engine.store.write().await.unwrap();
    let one = contacts::by_number(&mut tx, &ours, &keyed(1)).await.unwrap().unwrap().id;
    let two = contacts::by_number(&mut tx, &ours, &keyed(2)).await.unwrap().unwrap().id;
    assert_eq!(contacts::restrict(&mut tx, &[one, two, 9], true).await.unwrap().len(), 2);
    assert!(contacts::restrict(&mut tx, &[one], true).await.unwrap().is_empty(), "it is already");
    assert_eq!(contacts::restrict(&mut tx, &[one], false).await.unwrap(), [one]);
    assert!(humans::of_contact(&mut tx, one).await.unwrap().is_some());
    let human = humans::of_contact(&mut tx, one).await.unwrap();
    // A number that is no contact, under an older key and a newer one.
    let [older, newer] = [3, 4].map(|key_id| permesso::vault::Keyed { key_id, mac: format!("of key {key_id}") });
    humans::tie(&mut tx, &ours, &[humans::Tie { number: vec![older.clone()], id: human }]).await.unwrap();
    assert!(suppressions::reach(&mut tx, &ours, std::slice::from_ref(&newer)).await.unwrap().0.is_empty());
    humans::known_by(&mut tx, &ours, &[older, newer.clone()]).await.unwrap();
    assert_eq!(suppressions::reach(&mut tx, &ours, &[newer]).await.unwrap().0, [one]);
    humans::known_by(&mut tx, &ours, &keyed(9)).await.unwrap();
    assert!(suppressions::reach(&mut tx, &ours, &keyed(9)).await.unwrap().0.is_empty(), "nobody tied it");
    assert_eq!(suppressions::cancel(&mut tx, &ours, &keyed(1), "number_changed", 7).await.unwrap(), 0, "nothing is planned");
    assert!(inbound::of_strangers(&mut tx, &ours, &keyed(1)).await.unwrap().is_empty(), "it wrote nothing");
    humans::untie(&mut tx, &ours, &keyed(1)).await.unwrap();
    assert_eq!(humans::of_contact(&mut tx, one).await.unwrap(), None);
    contacts::describe_as(&mut tx, one, two).await.unwrap();
    let described = contacts::lock(&mut tx, two).await.unwrap().unwrap();
    assert_eq!((described.kind.as_deref(), described.restricted), (Some("prospect"), 1), "a restriction is nobody else's word");
    let barred = [contacts::barred(&mut tx, one).await.unwrap(), contacts::barred(&mut tx, two).await.unwrap()];
    assert_eq!(barred, [None, Some(Barred::Restricted)]);
    contacts::hold(&mut tx, two, Some(7)).await.unwrap();
    assert!(contacts::is_held(&mut tx, two).await.unwrap() && !contacts::is_held(&mut tx, one).await.unwrap());
    assert_eq!(contacts::lock_human(&mut tx, one).await.unwrap(), [one], "it was untied");
    let more = permesso::vault::Keyed { key_id: 7, mac: "of a newer key".into() };
    contacts::known_by(&mut tx, &ours, one, &[keyed(1), vec![more.clone()]].concat()).await.unwrap();
    assert_eq!(contacts::by_number(&mut tx, &ours, &[more]).await.unwrap().unwrap().id, one);
    let people = contacts::restricted_people(&mut tx, &ours).await.unwrap();
    assert_eq!(people.iter().map(|(.., at)| *at).collect::<Vec<_>>(), [described.created_at], "no entry says when");
    assert!(requests::restricted(&mut tx, &ours, &keyed(1)).await.unwrap().is_empty(), "nobody asked for any");
    let number = keyed(1).pop().unwrap();
    let wish = requests::Request {
        kind: "restriction".into(),
        mac: number.mac,
        key_id: number.key_id,
        subject: Some("s".into()),
        channel: "operator".into(),
        by_whom: "ann".into(),
        received_at: 1,
        due_at: 2,
        done_at: Some(1),
    };
    requests::add(&mut tx, &ours, &wish, &[]).await.unwrap().unwrap();
    let open = requests::Request { received_at: 2, due_at: 9, done_at: None, ..wish };
    requests::add(&mut tx, &ours, &open, &[]).await.unwrap().unwrap();
    let late = [requests::overdue(&mut tx, &ours, 8).await.unwrap(), requests::overdue(&mut tx, &ours, 9).await.unwrap()];
    assert_eq!(late, [0, 1], "from the end of its last day on");
    assert_eq!(requests::restricted(&mut tx, &ours, &[keyed(2), keyed(1)].concat()).await.unwrap(), [one]);
    assert!(requests::restricted(&mut tx, &ours, &keyed(2)).await.unwrap().is_empty(), "of these numbers alone");
    // What was noted before a lifting and carried out after it stands.
    let lifted = requests::Request { kind: "restriction_lifted".into(), received_at: 3, done_at: Some(5), ..open.clone() };
    requests::add(&mut tx, &ours, &lifted, &[]).await.unwrap().unwrap();
    assert!(requests::restricted(&mut tx, &ours, &keyed(1)).await.unwrap().is_empty());
    let carried_out = requests::Request { done_at: Some(6), ..open.clone() };
    requests::add(&mut tx, &ours, &carried_out, &[]).await.unwrap().unwrap();
    assert_eq!(requests::restricted(&mut tx, &ours, &keyed(1)).await.unwrap(), [one]);
    let refused = requests::Request { received_at: 4, subject: None, done_at: Some(9), ..lifted.clone() };
    requests::add(&mut tx, &ours, &refused, &[]).await.unwrap().unwrap();
    assert_eq!(requests::restricted(&mut tx, &ours, &keyed(1)).await.unwrap(), [one], "a wish that was refused lifts nothing");
    assert!(requests::add(&mut tx, &ours, &carried_out, &[]).await.unwrap().is_none(), "on record already");
    assert!(contacts::restricted_by_another(&mut tx, &ours, &["H1".into()]).await.unwrap().is_empty(), "nothing is granted");
    requests::number_changed(&mut tx, &ours, one, two, "ann", 7).await.unwrap();
    assert_eq!(requests::number_changed_at(&mut tx, &ours, &keyed(1)).await.unwrap(), None, "by the record of requests");
    let moved = requests::Request { kind: "rectification".into(), done_at: Some(7), ..open };
    requests::add(&mut tx, &ours, &moved, &[]).await.unwrap().unwrap();
    assert_eq!(requests::number_changed_at(&mut tx, &ours, &keyed(1)).await.unwrap(), Some(7));
    for (contact, went) in [(one, 1), (two, 0)] {
        let changes = requests::number_changes(&mut tx, contact).await.unwrap();
        assert!(matches!(&changes[..], [c] if c.at == 7 && c.by_whom == "ann" && c.went == went), "{changes:?}");
    }
    contacts::carry_marks(&mut tx, &ours, one, &keyed(2)).await.unwrap();
    tx.rollback().await.unwrap();
});

both!(whoever_objects_by_letter_is_asked_nothing_from_the_day_it_is_noted, |app| {
    let people = [1, 2, 3, 4].map(TestApp::it);
    app.people(&people).await;
    // Of one human the letter names the number that is not to be asked, of another the one that is no contact.
    let [one, two, kin] = [5, 6, 7].map(TestApp::it);
    let tied = with_id(&one, "H1") + &with_id(&two, "H1") + &with_id(&kin, "H2");
    app.import(&(tied + &crate::humans::rejected(8, "H2", ""))).await;
    app.plan(LINK).await;
    let requests = async |words: &[&str]| {
        let all = [&["contact", "requests"], words].concat();
        let (code, out, err) = crate::run::ask(app.dir.path(), &all).await;
        assert_eq!(code, 0, "{err}");
        out
    };
    for (number, right) in people.iter().zip(["objection", "restriction", "erasure", "access"]) {
        requests(&["note", number, "--right", right, "--received", "2026-11-20"]).await;
    }
    let note = async |number: &str| {
        let number = TestApp::number(number);
        engine::requests::note(&app.engine, Right::Restriction, &number, &by_letter(app)).await.unwrap()
    };
    let named = if app.decisions(&one).await.concat().contains("OTHER_NUMBER") { &one } else { &two };
    let (named, _) = (note(named).await, note(&TestApp::it(8)).await);
    let asked = || people.each_ref().map(|n| app.asks(n));
    app.settle().await;
    assert_eq!(asked(), [0, 0, 0, 1], "{:?}", app.decisions(&people[0]).await);
    assert_eq!((app.asks(&one) + app.asks(&two), app.asks(&kin)), (0, 0), "every no for all");
    for number in [&people[0], &kin] {
        let decided = app.decisions(number).await.concat();
        assert!(decided.contains("RESTRICTED") && decided.contains("\"noted\":true"), "{decided}");
    }
    // Three were answered in another way, of which the person heard; an objection never is.
    for id in ["2", "3"] {
        requests(&["done", id, "--told", "letter of 2026-12-01"]).await;
    }
    let absolute = engine::requests::answered(&app.engine, 1, Some("a letter")).await.unwrap_err().to_string();
    assert!(absolute.contains("absolute") && absolute.contains("remedy: `permesso contact object NUMBER`"), "{absolute}");
    engine::requests::answered(&app.engine, named, Some("a letter")).await.unwrap();
    app.plan_as(LINK, another_family).await;
    app.settle().await;
    assert_eq!((asked(), app.asks(&one) + app.asks(&two), app.asks(&kin)), ([0, 1, 1, 1], 1, 0));

    // Noted between the two steps of a yes: the second counts for nothing, the page says why, and a no is acknowledged as anybody's.
    let (chose, typed) = (&people[3], crate::code::de(1));
    assert_eq!(app.submit(&app.link(chose), "chosen", &["sms.promotions"]).await, 303);
    let link = crate::code::submitted(app, &typed).await;
    let noted = [note(chose).await, note(&typed).await];
    app.advance(Duration::from_secs(60));
    app.reply(chose, REPLY_NUMBER, "SI").await;
    crate::code::enter(app, &link, &crate::code::newest(app, &typed)).await;
    assert!(app.granted(chose).await.is_empty() && app.granted(&typed).await.is_empty());
    let told = app.history(chose).await.concat();
    assert!(told.contains("read as a yes: ignored: a request about the data is noted, and not carried out yet"), "{told}");
    assert!(app.story(&typed).await.verdict.contains("is noted and not carried out yet"));
    let (status, page) = app.get(&link).await;
    assert!(status == 200 && page.contains("banner restricted") && page.contains("Uns liegt ein Wunsch von Ihnen"), "{page}");
    let left = ["name=\"code\"", "value=\"another\"", "value=\"chosen\"", "value=\"none\""].map(|what| page.contains(what));
    assert_eq!(left, [false, false, false, true], "{page}");
    let got = [chose, &typed].map(|number| app.inbox(number).len());
    app.reply(chose, REPLY_NUMBER, "AIUTO").await;
    app.reply(&typed, REPLY_NUMBER, "STOP").await;
    assert_eq!([chose, &typed].map(|number| app.inbox(number).len()), [got[0], got[1] + 1]);
    // Answered in another way in time, the same yes completes the choice.
    engine::requests::answered(&app.engine, noted[0], Some("a letter")).await.unwrap();
    app.advance(Duration::from_secs(60));
    app.reply(chose, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(chose).await, ["sms.promotions"]);
    // Carried out, each is the letter of the day it came, and the person's own wish.
    requests(&["note", chose, "--right", "restriction", "--received", "2026-11-21"]).await;
    for (right, number, received) in [("object", &people[0], "2026-11-20"), ("restrict", chose, "2026-11-21")] {
        let (code, _, err) = ask(app.dir.path(), &["contact", right, number]).await;
        assert_eq!(code, 0, "{err}");
        let ledger = app.story(number).await.ledger.concat();
        assert!(
            ledger.contains(&format!("evidence contact {right}, by ")) && ledger.contains(&format!("; received {received};")),
            "{ledger}"
        );
    }
    let told = &app.story(chose).await.campaigns[0].sentence;
    let restricted = "the use of the data restricted at the person's request on 2026-12-01 ";
    assert!(told.contains(restricted) && told.contains(", carried out by an operator (contact restrict, by "), "{told}");
    audited(app).await;
});

both!(what_was_noted_ends_by_whichever_number_it_names_and_what_nobody_asked_for_ends_as_a_mistake, |app| {
    let [one, tied, nobody, mistyped] = [1, 2, 3, 4].map(TestApp::it);
    app.import(&(with_id(&one, "H1") + &crate::humans::rejected(2, "H1", "") + &TestApp::good(&mistyped))).await;
    let note = async |number: &str, right: Right, days: i64| {
        let letter = Asked { received_at: app.clock.now() - days * 86_400_000_000, ..by_letter(app) };
        engine::requests::note(&app.engine, right, &TestApp::number(number), &letter).await.unwrap()
    };
    let open = async || {
        let open = engine::requests::list(&app.engine, true).await.unwrap();
        let noted = open.into_iter().filter(|r| r.providers.is_empty());
        noted.map(|r| (r.id, r.left.unwrap().replace("permesso contact ", ""))).collect::<Vec<_>>()
    };
    // What the list says of a number that is no contact can be done, and ends what it is said of.
    let (letter, wish) = (note(&tied, Right::Restriction, 10).await, note(&nobody, Right::Access, 10).await);
    let wish = (wish, "export NUMBER".to_owned());
    assert_eq!(open().await, [(letter, "restrict NUMBER".to_owned()), wish.clone()]);
    // Of somebody of whom nothing is known it says what to do first, and that can be done.
    let unknown = note(&nobody, Right::Restriction, 9).await;
    let list = engine::requests::list(&app.engine, true).await.unwrap();
    let hints: Vec<Option<&str>> = list.iter().map(|r| r.hint.as_deref()).collect();
    let says =
        |hint: &Option<&str>, what: &str| hint.is_some_and(|hint| hint.starts_with("nobody is known") && hint.ends_with(what));
    assert!(hints[0].is_none() && says(&hints[1], &format!("`permesso contact requests done {}`", wish.0)), "{hints:?}");
    assert!(
        says(&hints[2], "else tell them so") && list[2].left.as_ref().unwrap().ends_with(&format!("done {unknown}")),
        "{list:?}"
    );
    let (_, out, _) = ask(app.dir.path(), &["contact", "requests", "list", "--open"]).await;
    let (_, page) = app.get(&format!("{}/requests", app.operator)).await;
    let mistaken = format!("`permesso contact requests done {unknown} --mistaken WORDS`");
    assert!(out.contains(&mistaken) && page.contains(&mistaken), "{out}{page}");
    engine::requests::answered(&app.engine, unknown, None).await.unwrap();
    let refused = engine::requests::answered(&app.engine, letter, None).await.unwrap_err().to_string();
    assert!(refused.contains("is not carried out; remedy: `permesso contact restrict NUMBER`"), "{refused}");
    assert_eq!(restrict(app, &tied, true).await, 1);
    assert_eq!(open().await, std::slice::from_ref(&wish));
    let ledger = app.story(&one).await.ledger.concat();
    assert!(ledger.contains("evidence letter 1; received 2026-11-21"), "of the day it came: {ledger}");
    assert_eq!(restrict(app, &tied, false).await, 1);

    // An objection that is nobody's holds whoever has that number until it is ended as the mistake it was.
    let objection = note(&mistyped, Right::Objection, 10).await;
    app.send(LINK).await;
    assert_eq!([&one, &mistyped].map(|number| app.asks(number)), [1, 0]);
    let absolute = engine::requests::answered(&app.engine, objection, Some("a letter")).await.unwrap_err().to_string();
    assert!(absolute.contains("absolute") && absolute.contains(&format!("done {objection} --mistaken")), "{absolute}");
    let done = async |why: &str| {
        let id = objection.to_string();
        ask(app.dir.path(), &["contact", "requests", "done", &id, "--mistaken", why]).await
    };
    let (code, _, err) = done(" ").await;
    assert!(code == 1 && err.contains("--mistaken: is empty; remedy: "), "{err}");
    let (code, out, err) = done("the letter names another number").await;
    assert!(code == 0 && out.contains("noted by mistake"), "{out}{err}");
    assert!(done("again").await.2.contains("is done already; remedy: "));
    app.plan_as(LINK, another_family).await;
    app.settle().await;
    assert_eq!(app.asks(&mistyped), 1, "{:?}", app.decisions(&mistyped).await);
    let story = app.story(&mistyped).await;
    assert!(story.suppressions.is_empty() && story.requests.concat().contains("objection, received 2026-11-21"), "{story:?}");
    assert!(story.requests.concat().contains(", noted by mistake, ended 2026-12-01"), "{story:?}");
    let all = engine::requests::list(&app.engine, false).await.unwrap();
    let told = all.iter().find(|r| r.id == objection).unwrap().came();
    assert_eq!(told, "noted by an operator (ann; noted by mistake: the letter names another number)");
    let (code, csv, err) = ask(app.dir.path(), &["contact", "export", &mistyped, "--format", "csv"]).await;
    assert!(code == 0 && !csv.contains("\nrequest,2026-11-21") && !csv.contains("another number"), "{csv}{err}");
    // Their own, when it comes, is on record as theirs.
    app.reply(&mistyped, REPLY_NUMBER, "STOP").await;
    let objected = rights::object(&app.engine, &TestApp::number(&mistyped), &by_letter(app)).await.unwrap();
    let recorded = app.count("SELECT COUNT(*) FROM requests WHERE kind = 'objection'").await;
    assert_eq!((objected, recorded), (Objected::Already, 2));

    // Erased by that number too; and whoever is erased and writes once more is answered.
    note(&tied, Right::Erasure, 9).await;
    assert_eq!(crate::erasure::erase(app, &tied).await.numbers, 1);
    assert_eq!(open().await, std::slice::from_ref(&wish));
    note(&one, Right::Erasure, 3).await;
    assert!(crate::erasure::erase(app, &one).await.already);
    assert_eq!(open().await, [wish]);
    audited(app).await;
});

both!(a_letter_under_a_newer_key_is_found_for_whoever_came_under_an_older_one, |app| {
    let [objects, moves, asked, next, kin, tied] = [1, 2, 3, 4, 5, 6].map(TestApp::it);
    app.people(&[objects.clone(), moves.clone(), asked.clone()]).await;
    app.import(&(with_id(&kin, "H1") + &crate::humans::rejected(6, "H1", ""))).await;
    let mut keys = std::fs::read_to_string(&app.engine.config.key_file).unwrap();
    keys.push_str(&format!("2:{}A\n", "B".repeat(42)));
    std::fs::write(&app.engine.config.key_file, keys).unwrap();
    app.reconfigure("").await;
    assert_eq!(app.engine.vault.key_id(), 2);
    engine::requests::note(&app.engine, Right::Objection, &TestApp::number(&objects), &by_letter(app)).await.unwrap();
    rights::change_number(&app.engine, &TestApp::number(&moves), &TestApp::number(&next), &by_letter(app)).await.unwrap();
    let open = engine::requests::list(&app.engine, true).await.unwrap();
    assert!(matches!(&open[..], [objection] if objection.subject.is_some()), "{open:?}");
    engine::requests::note(&app.engine, Right::Objection, &TestApp::number(&tied), &by_letter(app)).await.unwrap();
    app.send(LINK).await;
    assert_eq!([&objects, &asked, &kin].map(|number| app.asks(number)), [0, 1, 0]);
    let csv = exported(app).await;
    assert!(csv.contains(&format!("{moves},IT,,all,all,number_changed,")), "{csv}");
});

both!(who_asks_by_letter_gets_what_is_known_of_all_their_numbers_and_what_a_tied_number_wrote_holds_them_all, |app| {
    let [one, two, tied, wrong] = [1, 2, 3, 4].map(TestApp::it);
    let rows = with_id(&one, "H1") + &with_id(&two, "H1") + &crate::humans::rejected(3, "H1", "") + &with_id(&wrong, "H1");
    app.import(&rows).await;
    app.reply(&wrong, REPLY_NUMBER, "numero sbagliato, sono Mario Rossi").await;
    // Of a number that is no contact there is a hash, and what it wrote may be a no of theirs.
    app.reply(&tied, REPLY_NUMBER, "mah, vediamo un po").await;
    app.send(LINK).await;
    assert_eq!((app.asks(&one), app.asks(&two)), (0, 0));
    let decided = app.decisions(&one).await.concat() + &app.decisions(&two).await.concat();
    assert!(decided.contains("HELD_FOR_OPERATOR") && decided.contains("\"held\":true"), "{decided}");
    assert!(app.story(&one).await.verdict.contains("An unclear reply by another number of the same human waits"));
    let read = async |stop: bool| {
        let waiting = engine::inbox::waiting(&app.engine, 0, 9).await.unwrap();
        assert_eq!(waiting.len(), 1, "{waiting:?}");
        engine::inbox::resolve(&app.engine, waiting[0].id, stop, "op").await.unwrap();
    };
    read(false).await;
    app.plan_as(LINK, another_family).await;
    app.settle().await;
    assert_eq!(app.asks(&one) + app.asks(&two), 1);
    // Between the two steps of a yes, too: it waits until that is read.
    let (asked, other) = if app.asks(&one) == 1 { (&one, &two) } else { (&two, &one) };
    assert_eq!(app.submit(&app.link(asked), "chosen", &["sms.promotions"]).await, 303);
    app.advance(Duration::from_secs(60));
    app.reply(&tied, REPLY_NUMBER, "ma chi siete voi").await;
    app.reply(asked, REPLY_NUMBER, "SI").await;
    assert!(app.granted(asked).await.is_empty(), "what is unclear may be a no");
    read(false).await;
    assert_eq!(app.granted(asked).await, ["sms.promotions"]);

    // All of it, by whichever of their numbers the letter comes, and nothing of what a stranger wrote.
    engine::requests::note(&app.engine, Right::Access, &TestApp::number(other), &by_letter(app)).await.unwrap();
    for number in [asked, &tied] {
        let export = async |format: &str| {
            let (code, out, err) = ask(app.dir.path(), &["contact", "export", number, "--format", format]).await;
            assert!(code == 0 && !out.contains("Mario") && !out.contains(&wrong), "{out}{err}");
            out
        };
        let file: Value = serde_json::from_str(&export("jsonld").await).unwrap();
        crate::mydata::is_of_the_vocabulary(&file);
        let graph = file["@graph"].as_array().unwrap();
        let of = |number: &str| graph.iter().find(|part| part["ev:telephoneNumber"] == number).expect("its own part");
        let others: Vec<&Value> = of(number)["ev:otherNumbers"].as_array().unwrap().iter().map(|o| &o["@id"]).collect();
        assert!(others.contains(&&of(other)["@id"]), "{file:#}");
        assert_eq!(of(other)["ev:imported"][0]["ev:source"], "web shop");
        assert!(of(number)["ev:replies"].to_string().contains("ma chi siete voi"), "what their tied number wrote: {file:#}");
        let csv = export("csv").await;
        for told in [&format!("another_number,,,,,,'{other},"), "\nother_imported,", "ma chi siete voi", "mah, vediamo un po"] {
            assert!(csv.contains(told), "{told}: {csv}");
        }
    }
    assert!(engine::requests::list(&app.engine, true).await.unwrap().is_empty(), "one answer to who asked by another number");
    // What a provider has to do is open, and nothing else.
    let (code, out, err) = ask(app.dir.path(), &["contact", "erase", other]).await;
    assert!(code == 0, "{err}");
    let open = engine::requests::list(&app.engine, true).await.unwrap();
    let done = engine::requests::list(&app.engine, false).await.unwrap();
    let done = done.iter().find(|r| r.kind == "erasure" && r.done.is_some()).expect("of the number that got nothing");
    let says = format!("done here; on record as request {}; request {} is open until", done.id, open[0].id);
    assert!(open.len() == 1 && out.contains(&says), "{says}: {out}");
    audited(app).await;
});
