//! Who consented and who did not: every contact under one word a channel and purpose, the same wherever it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use permesso::domain::channel::{Channel, Permission, Purpose};
use permesso::domain::status::{Status, permissions};
use permesso::engine::consents::{self as overview, Filter, Standing};
use permesso::engine::{retention, rights, trial};
use permesso::gateway::mock::faults::Faults;
use permesso::store::Store;
use permesso::store::consents::{self, Wanted};
use serde_json::Value;

use crate::app::{Kind, LINK, REPLY_NUMBER, TestApp};
use crate::both;
use crate::erasure::{by_letter, erase, grants, with_id};
use crate::run::{ask, until};

/// Every page of a list, of so many rows, each having looked at so many contacts.
async fn all(app: &TestApp, filter: &Filter, limit: i64, look: i64) -> Vec<Standing> {
    let (mut rows, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        let page = overview::page(&app.engine, filter, from, limit, look).await.expect("a page");
        assert!(page.rows.len() as i64 <= limit && page.next.is_none_or(|next| next > from), "{page:?}");
        rows.extend(page.rows);
        after = page.next;
    }
    rows
}

fn keys(rows: &[Standing]) -> Vec<String> {
    rows.iter().map(|r| format!("{} {}.{} {}", r.subject, r.channel, r.purpose, r.status)).collect()
}

/// One contact in each status, and what each is in (`sms.promotions`, `sms.product_info`, `sms.profiling`): all are asked for the first two.
async fn one_in_each(app: &TestApp) -> Vec<(String, [&'static str; 3])> {
    let n = TestApp::it;
    app.people(&(1..=9).filter(|i| *i != 4).map(n).collect::<Vec<_>>()).await;
    app.import(&with_id(&n(4), "H4")).await;
    app.send(LINK).await;
    grants(app, &n(5)).await;
    app.execute("UPDATE preferences SET since = 0").await.expect("long ago");
    assert_eq!(retention::by_hand(&app.engine).await.expect("run").expired, 1);
    grants(app, &n(1)).await;
    app.submit(&app.link(&n(2)), "chosen", &["sms.promotions"]).await;
    app.submit(&app.link(&n(3)), "none", &[]).await;
    grants(app, &n(4)).await;
    app.advance(Duration::from_secs(300));
    app.reply(&n(4), REPLY_NUMBER, "STOP").await;
    app.reply(&n(6), REPLY_NUMBER, "STOP").await;
    rights::restrict_number(&app.engine, &TestApp::number(&n(7)), true, &by_letter(app)).await.expect("restricted");
    app.reply(&n(9), REPLY_NUMBER, "mah, vediamo un po").await;
    // Never asked: without a right to, by a list's no, and by the no of another number of theirs.
    app.import(&format!("{},,prospect,,web shop,,,,,,,\n", n(10))).await;
    app.import(&TestApp::good(&n(11)).replace(",unticked,,", ",unticked,yes,")).await;
    app.import(&with_id(&n(12), "H4")).await;
    // Asked by a message that reached nobody.
    app.people(&[n(13)]).await;
    app.gateway.set_faults(Faults { failed: 1.0, ..Faults::default() });
    app.send(LINK).await;
    app.gateway.set_faults(Faults::default());
    assert_eq!(app.state_of(&n(13)).await, "undelivered");
    // A colleague who got a test message alone is nobody who could consent; who came otherwise too is.
    let campaign = app.engine.config.campaign(LINK).unwrap();
    let tester = TestApp::number("+393001234500");
    trial::plan(&app.engine, &campaign, &tester, None, None).await.expect("a test");
    app.settle().await;
    // No contact any more; and somebody else's.
    app.people(&[n(14)]).await;
    erase(app, &n(14)).await;
    let other = "INSERT INTO contacts (controller, subject, number_enc, key_id, line, created_at)
        SELECT 'other', 'x', number_enc, key_id, line, created_at FROM contacts WHERE number_enc <> '' ORDER BY id LIMIT 1";
    app.execute(other).await.expect("another controller's");
    [
        (1, ["granted", "not_given", "unknown"]),
        (2, ["pending", "not_given", "unknown"]),
        (3, ["refused", "refused", "suppressed"]),
        (4, ["withdrawn", "suppressed", "suppressed"]),
        (5, ["expired", "not_given", "unknown"]),
        (6, ["suppressed", "suppressed", "suppressed"]),
        (7, ["restricted", "restricted", "restricted"]),
        (8, ["silent", "silent", "unknown"]),
        (9, ["not_given", "not_given", "unknown"]),
        (10, ["unknown", "unknown", "unknown"]),
        (11, ["suppressed", "suppressed", "suppressed"]),
        (12, ["suppressed", "suppressed", "suppressed"]),
        (13, ["unknown", "unknown", "unknown"]),
    ]
    .map(|(i, words)| (n(i), words))
    .to_vec()
}

both!(what_a_number_grants_anew_answers_the_older_no_of_another_and_says_so_everywhere, |app| {
    let numbers = [1, 2].map(TestApp::it);
    app.import(&numbers.iter().map(|n| with_id(n, "H1")).collect::<String>()).await;
    app.send(LINK).await;
    let (one, two) = if app.asks(&numbers[0]) == 1 { (&numbers[0], &numbers[1]) } else { (&numbers[1], &numbers[0]) };
    let stands = async || {
        let mut words = Vec::new();
        for number in [one, two] {
            let consents = app.story(number).await.consents;
            words.extend(
                consents.iter().find(|l| l.contains("sms.promotions")).and_then(|l| l.split(':').next()).map(str::to_owned),
            );
        }
        let (code, csv, err) = ask(app.dir.path(), &["consents", "export"]).await;
        assert_eq!(code, 0, "{err}");
        (words, csv.contains(&format!("{one},IT,,sms,promotions,granted,")))
    };
    grants(app, one).await;
    app.advance(Duration::from_secs(300));
    app.reply(two, REPLY_NUMBER, "STOP").await;
    assert_eq!(stands().await, (vec!["withdrawn".to_owned(), "suppressed".to_owned()], false));
    app.advance(Duration::from_secs(300));
    grants(app, one).await;
    assert_eq!(stands().await, (vec!["granted".to_owned(), "suppressed".to_owned()], true));
    // It is asked nothing more all the same, and its story says whose no that is.
    let verdict = app.story(one).await.verdict;
    let by = format!(
        "No ask goes to this person: another number of the same human ({}): stopped since",
        TestApp::number(two).masked()
    );
    assert!(verdict.starts_with(&by) && verdict.contains("They allow promotions by SMS."), "{verdict}");
    app.advance(Duration::from_secs(300));
    app.reply(two, REPLY_NUMBER, "STOP").await;
    assert_eq!(stands().await, (vec!["withdrawn".to_owned(), "suppressed".to_owned()], false), "a newer one counts");
});

both!(a_no_that_one_number_took_back_is_told_as_what_it_is_wherever_it_stands_still, |app| {
    let numbers = [1, 2].map(TestApp::it);
    app.import(&numbers.iter().map(|n| with_id(n, "H1")).collect::<String>()).await;
    app.send(LINK).await;
    let (one, two) = if app.asks(&numbers[0]) == 1 { (&numbers[0], &numbers[1]) } else { (&numbers[1], &numbers[0]) };
    let masked = |number: &str| format!("another number of the same human ({})", TestApp::number(number).masked());
    assert_eq!(app.submit(&app.link(one), "none", &[]).await, 303);
    let said = format!(", said by {}.", masked(one));
    assert!(app.story(two).await.verdict.ends_with(&said), "{}", app.story(two).await.verdict);
    app.advance(Duration::from_secs(300));
    grants(app, one).await;

    // Whoever said it took it back for that number: the other, which said nothing, is left in peace until its own yes.
    let (own, other) = (app.story(one).await, app.story(two).await);
    let back = format!(", said by {}, which took it back for itself alone on 2026-12-01", masked(one));
    assert!(
        other.verdict.starts_with("Nobody may write to this number: refused since") && other.verdict.contains(&back),
        "{other:?}"
    );
    let stands = format!(", taken back by this number for itself alone: it stands for {}.", masked(two));
    assert!(own.verdict.starts_with("No ask goes to this person: refused since") && own.verdict.contains(&stands), "{own:?}");
    assert!(own.consents.iter().any(|line| line.starts_with("granted: ")), "{own:?}");
    assert!(other.consents.len() == 1 && other.consents[0].starts_with("suppressed: "), "{other:?}");
    // That is what the rules do.
    app.plan_as(LINK, |c| (c.name, c.family) = ("another".into(), "other".into())).await;
    for number in [one, two] {
        assert!(app.decisions(number).await.last().unwrap().contains("ALREADY_REFUSED"), "{:?}", app.decisions(number).await);
    }
    // The person of the other number is told that they said it by another one.
    let page = permesso::engine::hand::link(&app.engine, &TestApp::number(two), "ann", None).await.unwrap().address;
    let mine = crate::mydata::open(app, &format!("{page}/data"), two).await;
    assert!(mine.contains("(detto con un altro tuo numero; per questo vale finché qui non scegli altro)"), "{mine}");
    for (format, told) in
        [("csv", ",refused,,,,said by another number,"), ("jsonld", "\"ev:saidBy\": \"another number of the same person\"")]
    {
        let (code, file, err) = ask(app.dir.path(), &["contact", "export", two, "--format", format]).await;
        assert!(code == 0 && file.matches(told).count() == 1, "{file}{err}");
    }

    // Their own yes by that one takes it back there, and then it is nobody's any more.
    app.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(app.submit(&page, "chosen", &["sms.promotions"]).await, 303);
    app.settle().await;
    assert_eq!(crate::code::enter(app, &page, &crate::code::newest(app, two)).await, 303);
    assert_eq!(app.granted(two).await, ["sms.promotions"], "{:?}", app.history(two).await);
    for number in [one, two] {
        let story = app.story(number).await;
        assert!(story.verdict.contains("They allow promotions by SMS.") && !story.verdict.contains("No ask goes"), "{story:?}");
        assert!(story.suppressions.iter().all(|line| line.contains("lifted")), "{story:?}");
    }
});

both!(every_contact_stands_under_one_word_the_same_in_figures_lists_files_and_stories, |app| {
    let expected = one_in_each(app).await;
    let total = expected.len() as u64;
    let mut subjects = BTreeMap::new();
    for (number, words) in &expected {
        let story = app.story(number).await;
        for (permission, word) in ["sms.promotions", "sms.product_info", "sms.profiling"].into_iter().zip(words) {
            let line = story.consents.iter().find(|line| line.starts_with(&format!("{word}: ")));
            assert!(
                line.is_some_and(|l| l.split(": ").nth(1).unwrap().split(", ").any(|p| p == permission)),
                "{number} {permission} is {word}: {:?}",
                story.consents
            );
        }
        let subject = permesso::engine::explain::subject_of(&app.engine, &TestApp::number(number)).await.unwrap().unwrap();
        subjects.insert(subject, story.consents);
    }

    // The figures: each row adds up to the contacts, and each figure is the length of its list, whose people's stories say the same.
    let matrix = overview::matrix(&app.engine, &Filter::default()).await.unwrap();
    assert_eq!((matrix.contacts, matrix.rows.len()), (total, 9));
    let mut found = BTreeSet::new();
    let every = all(app, &Filter::default(), 500, overview::LOOK).await;
    assert_eq!(every.len() as u64, total * 9);
    for row in &matrix.rows {
        assert_eq!(row.contacts.iter().map(|c| c.contacts).sum::<u64>(), total, "{row:?}");
        for count in &row.contacts {
            let filter = Filter::read(&app.engine, None, Some(&count.status), Some(&row.channel), Some(&row.purpose)).unwrap();
            let list = all(app, &filter, 500, overview::LOOK).await;
            assert_eq!(list.len() as u64, count.contacts, "{} {row:?}", count.status);
            for one in &list {
                let says = format!("{}: ", count.status);
                let named = format!("{}.{}", row.channel, row.purpose);
                let story = &subjects[&one.subject];
                assert!(story.iter().any(|l| l.starts_with(&says) && l.contains(&named)), "{one:?} {story:?}");
            }
            if !list.is_empty() {
                found.insert(count.status.clone());
            }
        }
    }
    assert_eq!(found.len(), Status::ALL.len(), "one in each status: {found:?}");

    // A page goes on where the one before ended, however long it is and wherever it stopped looking.
    for (limit, look) in [(1, i64::MAX), (4, 1), (9, 2), (500, 1), (7, 3), (10, 5)] {
        assert_eq!(keys(&all(app, &Filter::default(), limit, look).await), keys(&every), "{limit} rows, {look} contacts");
    }

    // As files, from the terminal and from the desk.
    let dir = app.dir.path().to_owned();
    let file = dir.join("silent.jsonl");
    let path = file.to_str().unwrap();
    let (code, out, err) = ask(&dir, &["consents", "list", "--status", "silent", "--format", "jsonl", "--out", path]).await;
    assert_eq!((code, out.contains("lines written to")), (0, true), "{err}");
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((lines[0]["report"].as_str(), lines[0]["filter"].as_str()), (Some("consents"), Some("status=silent")));
    assert!(lines[0]["as_of"].as_str().is_some_and(|at| at.starts_with("2026-12-01T")), "{}", lines[0]);
    let silent: Vec<String> = keys(&every).into_iter().filter(|k| k.ends_with(" silent")).collect();
    let of = |v: &Value| ["subject", "channel", "purpose", "status"].map(|k| v[k].as_str().unwrap_or_default().to_owned());
    let told = |[subject, channel, purpose, status]: [String; 4]| format!("{subject} {channel}.{purpose} {status}");
    assert_eq!(lines[1..].iter().map(|l| told(of(l))).collect::<Vec<_>>(), silent);
    let (_, out, _) = ask(&dir, &["--json", "consents", "list", "--status", "silent"]).await;
    let one: Value = serde_json::from_str(&out).expect("one object");
    let rows = one["rows"].as_array().expect("rows");
    assert_eq!(
        (rows.iter().map(|r| told(of(r))).collect::<Vec<_>>(), one["filter"].as_str()),
        (silent.clone(), Some("status=silent"))
    );
    let (code, _, err) = ask(&dir, &["consents", "list", "--out", path]).await;
    assert!(code == 1 && err.contains("exists already; remedy:"), "{err}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "nothing is written over silently");
    let (_, csv) = app.get(&format!("{}/consents.csv?status=silent", app.operator)).await;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<BTreeMap<String, String>> = reader.deserialize().map(Result::unwrap).collect();
    assert_eq!(
        rows.iter().map(|r| told(["subject", "channel", "purpose", "status"].map(|k| r[k].clone()))).collect::<Vec<_>>(),
        silent
    );
    assert!(rows.iter().all(|r| r["as_of"].starts_with("2026-12-01T") && r["controller"] == "default"), "{csv}");
    let (_, jsonl) = app.get(&format!("{}/consents.jsonl?status=silent", app.operator)).await;
    assert_eq!(jsonl.lines().skip(1).collect::<Vec<_>>(), text.lines().skip(1).collect::<Vec<_>>());
    let (_, out, _) = ask(&dir, &["consents", "overview", "--channel", "sms", "--purpose", "promotions"]).await;
    assert!(out.lines().next().unwrap().ends_with(" UTC") && !out.contains("+00:00"), "{out}");
    let figures: Vec<&str> = out.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(figures, ["sms.promotions", "1", "1", "1", "1", "1", "3", "1", "1", "1", "2"], "{out}");
    // The page shows the same figures, and each leads to its list.
    let page = counted(app).await;
    let link = "/consents/list?status=suppressed&amp;channel=sms&amp;purpose=promotions";
    assert!(page.contains(&format!("<a href=\"{link}\">3</a>")), "{page}");
    let (_, list) = app.get(&format!("{}{}", app.operator, link.replace("&amp;", "&"))).await;
    assert_eq!(list.matches("href=\"/contacts/").count(), 3, "{list}");

    // What no filter knows is named, with what it may be.
    for (name, value, may) in [
        ("status", "consented", "granted, pending, refused"),
        ("channel", "email", "sms, whatsapp, call"),
        ("purpose", "promo", "product_info, promotions, profiling"),
        ("controller", "other", "default"),
    ] {
        let (code, _, err) = ask(&dir, &["consents", "list", &format!("--{name}"), value]).await;
        // A word that no option has is a wrong command; whose installation this is, only its settings say.
        let (exit, said) = match name {
            "controller" => (1, format!("{name}: `{value}` is not one of {may}")),
            _ => (2, format!("[possible values: {may}")),
        };
        assert!(code == exit && err.contains(&said), "{err}");
        for door in ["/api/v1/consents", "/api/v1/consents/list", "/consents/list", "/consents.csv"] {
            let (status, body) = app.get(&format!("{}{door}?{name}={value}", app.operator)).await;
            assert!(status == 400 && body.contains(may) && body.contains(name), "{door} {body}");
        }
    }
});

/// The page of all figures. A slow machine counts for longer than a look waits.
async fn counted(app: &TestApp) -> String {
    let mut page = String::new();
    until("everybody is counted", async || {
        let (status, shown) = app.get(&format!("{}/consents", app.operator)).await;
        assert_eq!(status, 200, "{shown}");
        page = shown;
        !page.contains("being counted")
    })
    .await;
    page
}

/// A count that waits: here for a lock, with a million people for itself.
#[tokio::test]
async fn whoever_looks_while_everybody_is_counted_is_told_so_postgres() {
    let mut app = TestApp::new(Kind::Postgres).await;
    app.people(&[TestApp::it(1)]).await;
    let Store::Postgres { pool, .. } = &app.engine.store else { unreachable!("asked for") };
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE preferences").execute(&mut *lock).await.unwrap();
    let door = format!("{}/consents", app.operator);
    for _ in 0..2 {
        let (status, page) = app.get(&door).await;
        assert!(status == 200 && page.contains("being counted") && page.contains("http-equiv=\"refresh\""), "{page}");
    }
    lock.rollback().await.unwrap();
    let page = counted(&app).await;
    assert!(page.contains("<p>1 contacts of") && !page.contains("http-equiv=\"refresh\""), "{page}");
    app.end().await;
}

both!(a_statement_about_consents_sees_one_controller_and_its_window, |app| {
    one_in_each(app).await;
    let controller = app.engine.controller.clone();
    let mut tx = app.engine.store.read().await.unwrap();
    let revisions = consents::revisions(&mut tx, &controller).await.unwrap();
    assert_eq!((revisions.is_empty(), consents::revisions(&mut tx, "other").await.unwrap().len()), (false, 0));
    assert_eq!(consents::contacts(&mut tx, &controller).await.unwrap(), 13);
    assert_eq!(consents::contacts(&mut tx, "other").await.unwrap(), 1);
    let first = consents::window(&mut tx, &controller, 0, 1).await.unwrap().unwrap();
    let fourth = consents::window(&mut tx, &controller, 0, 4).await.unwrap().unwrap();
    let last = consents::window(&mut tx, &controller, fourth, 500).await.unwrap().unwrap();
    assert!(first < fourth && fourth < last && consents::window(&mut tx, &controller, last, 1).await.unwrap().is_none());
    let permission = Permission { channel: Channel::Call, purpose: Purpose::Promotions };
    let bits = consents::bits([permission]);
    assert_eq!((bits, permissions().count()), (1 << 7, 9));
    // An ask whose revision nobody knows asked for everything.
    let wanted = Wanted { controller: &controller, permissions: bits, revisions: &[], contacts: (first, fourth) };
    let rows = consents::list(&mut tx, &wanted, "", (0, 0), 9).await.unwrap();
    assert_eq!(rows.iter().map(|r| r.i).collect::<Vec<_>>(), [7, 7, 7]);
    assert!(rows.iter().all(|r| r.contact > first && r.contact <= fourth && r.status != "unknown"), "{rows:?}");
    // A tester who is imported counts.
    app.people(&["+393001234500".to_owned()]).await;
    assert_eq!(consents::contacts(&mut tx, &controller).await.unwrap(), 13, "in the picture of before");
    let counted: i64 = consents::count(&mut tx, &wanted).await.unwrap().into_iter().map(|(_, _, n)| n).sum();
    assert_eq!(counted, 3);
    tx.rollback().await.unwrap();
    assert_eq!(overview::matrix(&app.engine, &Filter::default()).await.unwrap().contacts, 14);
});

both!(an_export_brings_what_was_committed_late_noes_first_and_whole_or_not_at_all, |app| {
    let [granted, early, late] = [1, 2, 3].map(TestApp::it);
    let no = |number: &str| TestApp::good(number).replace("unticked,", "unticked,yes");
    app.people(std::slice::from_ref(&granted)).await;
    app.send(LINK).await;
    grants(app, &granted).await;
    // The first of December: a no is learned at half past ten in the evening, and one in the last half hour, which is not stored before midnight.
    app.advance(
        Duration::from_secs(22 * 3_600 + 1_800) - (app.clock.date_time().time() - chrono::NaiveTime::MIN).to_std().unwrap(),
    );
    app.import(&no(&early)).await;
    app.advance(Duration::from_secs(3_600 + 900));
    app.import(&no(&late)).await;
    let dir = app.dir.path().to_owned();
    let (code, csv, err) = ask(&dir, &["consents", "export", "--since", "2026-12-02"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(csv.contains(&format!("{late},IT,,all,all,unsubscribed_before,")) && !csv.contains(&early), "{csv}");
    let (_, csv, _) = ask(&dir, &["consents", "export"]).await;
    let is_no: Vec<bool> = csv.lines().skip(1).map(|line| line.contains(",all,all,")).collect();
    assert!(is_no.starts_with(&[true, true, false]) && is_no[2..].iter().all(|no| !no), "{csv}");
    // Through what is no file.
    let (code, out, err) = ask(&dir, &["consents", "export", "--out", "/dev/stdout", "--force"]).await;
    assert!(code == 0 && out.starts_with(&csv) && out.ends_with(" written to /dev/stdout\n"), "{out}{err}");

    // A number that cannot be read ends it, after the noes and before the end.
    app.execute("UPDATE contacts SET number_enc = '?' WHERE id = (SELECT MIN(id) FROM contacts)").await.unwrap();
    let file = dir.join("out").join("consents.csv");
    std::fs::create_dir(dir.join("out")).unwrap();
    let files = || std::fs::read_dir(dir.join("out")).unwrap().count();
    let args = ["consents", "export", "--out", file.to_str().unwrap()];
    let (code, _, err) = ask(&dir, &args).await;
    assert!(code == 1 && files() == 0, "{err}");
    std::fs::write(&file, "the last one").unwrap();
    let (code, _, err) = ask(&dir, &[&args[..], &["--force"]].concat()).await;
    assert_eq!((code, files(), std::fs::read_to_string(&file).unwrap().as_str()), (1, 1, "the last one"), "{err}");
});
