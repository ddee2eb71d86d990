//! An old copy of the database in the place of the newer one: nobody who said no since, or was asked since, is written to.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use permesso::domain::ledger::Preference;
use permesso::engine::{breakdown, deliver, expire, explain, inbox, receive, report, restore, rights, steer};
use permesso::gateway::mock::faults::Faults;
use permesso::store::keep::{self, Answered, Asked, Ended, Link, No, Resolved, Tied, Unclear};
use permesso::store::{alone, answers, backup, control, inbound, ledger, listed, messages, migrations, suppressions};
use permesso::vault::Keyed;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::after::preferences_are_the_ledgers_replay;
use crate::app::{Kind, LINK, REPLY, REPLY_NUMBER, TestApp, WHATSAPP_FIRST, field};
use crate::between::ASKS_FROM;
use crate::both;
use crate::erasure::{by_letter, with_id};
use crate::promises::said;
use crate::run::{ask, spawn, until};

/// What `db backup` writes now, in a folder of the test's own.
pub async fn copy(app: &TestApp) -> PathBuf {
    let to = app.dir.path().join("copy");
    let (code, _, err) = ask(app.dir.path(), &["db", "backup", "--to", to.to_str().expect("text")]).await;
    assert_eq!(code, 0, "{err}");
    to
}

/// Stops everything that uses the database, half a minute ago.
pub async fn stop_all(app: &mut TestApp) {
    app.hang_up().await;
    app.execute("UPDATE listening SET heard_db = 0").await.unwrap();
    app.execute("UPDATE leases SET renewed_db = 0").await.unwrap();
    app.engine.store.close().await;
}

/// A disk that is gone, or a cluster that is new.
async fn lose(app: &TestApp) {
    let url = &app.engine.config.database;
    match url.strip_prefix("sqlite:") {
        Some(path) => std::fs::write(path, "gone").unwrap(),
        None => {
            let mut connection = PgConnection::connect(url).await.unwrap();
            sqlx::raw_sql("DROP SCHEMA public CASCADE; DROP SCHEMA IF EXISTS apalis CASCADE; CREATE SCHEMA public")
                .execute(&mut connection)
                .await
                .unwrap();
        }
    }
}

fn mode(file: &Path) -> u32 {
    std::fs::metadata(file).expect("a file").permissions().mode() & 0o777
}

/// What a field of a line of JSON has, a number.
fn field_of(line: &str, name: &str) -> String {
    let rest = line.split(&format!("\"{name}\":")).nth(1).expect("the field");
    rest.chars().take_while(char::is_ascii_digit).collect()
}

/// What lies in the folder of copies, and who may read it.
fn backups(app: &TestApp) -> Vec<(String, u32)> {
    let folder = match app.engine.config.database.strip_prefix("sqlite:") {
        Some(path) => Path::new(path).with_file_name("backups"),
        None => app.engine.config.beside("data/backups"),
    };
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    files.map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), mode(&path))).collect()
}

/// Opens the database anew, since another lies in its place.
pub async fn open(app: &mut TestApp) {
    app.engine = app.another().await;
}

async fn grants(app: &TestApp, number: &str) {
    app.submit(&app.link(number), "chosen", &["sms.promotions"]).await;
    app.advance(Duration::from_secs(60));
    app.reply(number, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(number).await, ["sms.promotions"]);
}

both!(after_an_old_copy_is_restored_nobody_who_said_no_or_was_asked_since_is_written_to, |app| {
    let [withdraws, stops, tied, unclear, listed, asked, later] = std::array::from_fn(|n| TestApp::it(n as u32));
    let stranger = TestApp::it(90);
    let id = |number: &str, id: &str| TestApp::good(number).replace(",,,\n", &format!(",,{id},\n"));
    app.people(&[withdraws.clone(), stops.clone()]).await;
    app.send(LINK).await;
    grants(app, &withdraws).await;
    grants(app, &stops).await;
    // The rest is planned, and nothing of it has left when the copy is made.
    app.people(&[tied.clone(), unclear.clone(), listed.clone(), asked.clone(), later.clone()]).await;
    app.plan(LINK).await;
    let copy = copy(app).await;

    // Everything that follows the copy does not know.
    let before = app.gateway.stats().accepted;
    app.submit(&app.link(&withdraws), "chosen", &["whatsapp.promotions"]).await;
    app.gateway.reply(&stops, REPLY_NUMBER, "STOP").await;
    app.gateway.reply(&stranger, REPLY_NUMBER, "STOP").await;
    let [one, two] = [id(&TestApp::it(80), "H1"), id(&tied, "H1")];
    app.import(&(one + &two)).await;
    app.gateway.reply(&TestApp::it(80), REPLY_NUMBER, "STOP").await;
    app.gateway.reply(&unclear, REPLY_NUMBER, "mah, vediamo un po").await;
    app.import(&TestApp::good(&listed).replace("unticked,", "unticked,yes")).await;
    assert_eq!(app.gateway.stats().accepted, before, "nothing of the plan has left");
    app.gateway.set_faults(Faults { refused_numbers: [later.clone()].into(), ..Faults::default() });
    app.settle().await;
    app.gateway.set_faults(Faults::default());
    assert_eq!((app.asks(&asked), app.asks(&later)), (1, 0), "one was asked since, one was not");

    let command = ["db", "restore", copy.to_str().expect("text")];
    // As if it had gone silent three seconds ago.
    app.hang_up().await;
    app.execute("UPDATE leases SET renewed_db = 0").await.unwrap();
    app.execute("UPDATE listening SET heard_db = heard_db - 3000000").await.unwrap();
    let (code, _, err) = ask(app.dir.path(), &command).await;
    let wait = err.split("wait ").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|seconds| seconds.parse().ok());
    assert!(code == 1 && err.contains("uses this database") && wait.is_some_and(|s: u32| (1..=27).contains(&s)), "{err}");
    stop_all(app).await;
    let database = app.engine.config.database.strip_prefix("sqlite:").map(PathBuf::from);
    if let Some(file) = &database {
        assert_eq!(mode(file), 0o600);
        // As earlier versions made it.
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let (code, out, err) = ask(app.dir.path(), &command).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("halted"), "{out}");
    // The database of before has the noes too, and nobody else reads it; what the copy learned from has served.
    let backups = backups(app);
    assert!(!backups.iter().any(|(name, _)| name.starts_with("kept-")), "{backups:?}");
    assert_eq!(backups.iter().map(|(_, mode)| *mode).collect::<Vec<_>>(), [0o600], "{backups:?}");
    assert!(database.is_none_or(|file| mode(&file) == 0o600));
    open(app).await;
    assert_eq!(app.granted(&withdraws).await, Vec::<String>::new(), "what was withdrawn since is withdrawn");
    assert_eq!(app.granted(&stops).await, Vec::<String>::new());
    assert_eq!(inbox::waiting(&app.engine, 0, 9).await.unwrap().len(), 1, "the unclear reply waits again");
    preferences_are_the_ledgers_replay(app).await;
    app.listen().await;
    // Behind a link that was sent since a no can be said, and nothing else.
    let link = app.link(&asked);
    let (status, page) = app.get(&link).await;
    assert!(status == 410 && page.contains("value=\"none\"") && !page.contains("value=\"chosen\""), "{status}: {page}");
    assert_eq!(app.submit(&link, "chosen", &["sms.promotions"]).await, 410);
    assert!(page.contains("/data/it\""), "{page}");
    for _ in 0..2 {
        assert_eq!(app.post(&link, "", "none", &[]).await, 303);
    }
    assert!(app.get(&link).await.1.contains("banner refused"));
    assert_eq!(app.story(&asked).await.ledger.concat().matches(" refused ").count(), 1);
    app.settle().await;
    // From the copy to its restoring, and from there until somebody listened.
    assert_eq!((app.asks(&later), app.count("SELECT COUNT(*) FROM gaps").await), (0, 2), "halted, and gaps to be vouched for");
    steer::resume(&app.engine, "test", Some("the provider's inbox was read")).await.unwrap();
    // Their rights are theirs behind it all the same, by a code to their number.
    let data = crate::mydata::open(app, &format!("{link}/data"), &asked).await;
    assert!(data.contains("value=\"restrict\"") && data.contains(&asked), "{data}");
    app.people(std::slice::from_ref(&stranger)).await;
    app.settle().await;
    // And by another campaign of another family, which would ask whoever may be asked.
    app.plan_as(LINK, |c| (c.name, c.family) = ("another".into(), "other".into())).await;
    app.settle().await;
    assert_eq!(app.asks(&later), 1, "who was not asked and said nothing is");
    for (number, asks) in [(&withdraws, 1), (&stops, 1), (&tied, 0), (&unclear, 0), (&listed, 0), (&asked, 1), (&stranger, 0)] {
        assert_eq!(app.asks(number), asks, "{:?}", app.decisions(number).await);
    }
    assert!(app.gateway.stats().max_per_reference <= 1);
});

both!(what_moved_on_since_the_copy_is_not_done_again, |app| {
    let [between, pending, chooser, yes, quiet, joins, stranger, wrote, replaces, still] =
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(TestApp::it);
    crate::intake::forms(app).await;
    // Asked by WhatsApp, which turns out not to have the number: between two legs.
    app.person(&between, "sms whatsapp").await;
    app.gateway.set_faults(Faults { not_on_whatsapp_late: [between.clone()].into(), ..Faults::default() });
    app.plan(WHATSAPP_FIRST).await;
    deliver_once(app, 0).await;
    assert_eq!((app.inbox(&between).len(), app.state_of(&between).await.as_str()), (1, "planned"));
    app.advance(Duration::from_secs(60));
    // Asked by SMS; one has a first yes to two things, which waits for its second step.
    app.people(&[&pending, &chooser, &yes, &quiet, &wrote, &replaces, &still].map(String::clone)).await;
    app.plan_as(LINK, |c| c.family = "other".into()).await;
    deliver_once(app, 1).await;
    app.people(std::slice::from_ref(&joins)).await;
    let (link, times) = (app.link(&pending), app.link(&chooser));
    app.submit(&link, "chosen", &["sms.promotions", "whatsapp.promotions"]).await;
    app.gateway.reply(&wrote, REPLY_NUMBER, "mah, vediamo un po").await;
    let replacing = app.link(&replaces);
    app.submit(&replacing, "chosen", &["sms.promotions", "whatsapp.promotions"]).await;
    app.submit(&app.link(&still), "chosen", &["sms.promotions"]).await;
    let copy = copy(app).await;
    let waits = inbox::waiting(&app.engine, 0, 9).await.unwrap();
    inbox::resolve(&app.engine, waits[0].id, false, "ann").await.unwrap();

    // Since then the second leg has left, the yes was completed and half of it taken back, and one has chosen their times.
    app.settle().await;
    assert_eq!(app.inbox(&between).len(), 2);
    app.advance(Duration::from_secs(60));
    app.reply(&pending, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&pending).await.len(), 2);
    app.advance(Duration::from_secs(60));
    app.submit(&link, "chosen", &["sms.promotions"]).await;
    assert_eq!(app.granted(&pending).await, ["sms.promotions"]);
    let nonce = field(&app.get(&times).await.1, "nonce");
    let form = [("nonce", nonce.as_str()), ("answer", "chosen"), ("grant", "sms.promotions"), ("when", "1"), ("part", "morning")];
    assert_eq!(app.post_form(&times, &form.map(|(k, v)| (k, v.to_owned()))).await, 303);
    app.submit(&replacing, "chosen", &["whatsapp.promotions"]).await;
    // One says yes by both steps; one on a form, whom no campaign has asked, and one of whom the copy knows nothing.
    grants(app, &yes).await;
    for number in [&joins, &stranger] {
        crate::intake::joined(app, "newsletter", number).await;
    }

    stop_all(app).await;
    let (code, out, err) = ask(app.dir.path(), &["db", "restore", copy.to_str().expect("text")]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(" 4 people who answered, ") && out.contains("keep it"), "{out}");
    open(app).await;
    app.listen().await;
    steer::resume(&app.engine, "test", Some("the provider's inbox was read")).await.unwrap();
    assert!(inbox::waiting(&app.engine, 0, 9).await.unwrap().is_empty(), "it was read, and is not read again");
    let wrote = app.story(&wrote).await;
    assert!(wrote.verdict.contains("an operator (ann) read it on ") && !wrote.verdict.contains("waits"), "{}", wrote.verdict);
    app.settle().await;
    assert_eq!(app.inbox(&between).len(), 2, "{:?}", app.decisions(&between).await);
    // The provider tells the second yes once more.
    app.reply(&pending, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&pending).await, Vec::<String>::new(), "{:?}", app.story(&pending).await.ledger);
    // What was chosen anew since is not completed as it was before; what waited then as now is.
    for number in [&replaces, &still] {
        app.reply(number, REPLY_NUMBER, "SI").await;
    }
    assert_eq!((app.granted(&replaces).await.len(), app.granted(&still).await.len()), (0, 1));
    let told = app.history(&replaces).await.concat();
    assert!(told.contains(", which did not wait any more when the copy took over; ended here on "), "{told}");
    assert_eq!(app.count("SELECT COUNT(*) FROM contacts WHERE times LIKE '%morning%'").await, 1);
    preferences_are_the_ledgers_replay(app).await;

    // Who said yes since is not silent, is reminded of nothing and asked for nothing again; and nothing is granted that cannot be proved.
    let story = app.story(&yes).await;
    let told = "after the copy of the database was made that was restored; what they said is in the one kept aside";
    let [at, asked] = ["answered on 2026-12-01 10:", &format!("{told}.")];
    assert!(
        story.verdict.contains(at) && story.verdict.contains(asked) && !story.verdict.contains("silent"),
        "{}",
        story.verdict
    );
    assert!(story.verdict.contains("; nobody asks them again.") && app.granted(&yes).await.is_empty(), "{}", story.verdict);
    assert!(app.history(&yes).await.concat().contains(&format!("reply Answered {told}")), "{story:?}");
    assert!(app.story(&quiet).await.verdict.contains("silent since"));
    let (_, silent, _) = ask(app.dir.path(), &["consents", "list", "--status", "silent", "--purpose", "promotions"]).await;
    let subject = explain::subject_of(&app.engine, &TestApp::number(&yes)).await.unwrap().unwrap();
    assert!(!silent.contains(&subject), "{silent}");
    let report = report::campaign(&app.engine, LINK).await.unwrap();
    crate::reports::adds_up(&report);
    assert_eq!((report.replied, report.answered_since, report.silent), (4, 3, 1), "{report:?}");
    app.people(&[joins.clone(), stranger.clone()]).await;
    app.plan_as(LINK, |c| (c.name, c.family) = ("another".into(), "third".into())).await;
    app.advance(Duration::from_secs(8 * 86_400));
    expire::expire(&app.engine).await.unwrap();
    app.settle().await;
    let reminded = |number: &String| app.inbox(number).iter().filter(|m| m.reference.starts_with("rem")).count();
    assert_eq!((reminded(&yes), reminded(&chooser), reminded(&quiet)), (0, 0, 1), "{:?}", app.history(&yes).await);
    for number in [&joins, &stranger] {
        let decided = app.decisions(number).await.concat();
        assert!(app.asks(number) == 0 && decided.contains("ANSWERED_SINCE"), "{decided}");
    }
});

both!(what_was_taken_back_or_untied_since_the_copy_stays_so, |app| {
    let [takes_back, rechooses, waits, kin, wrong, moved, old, new, alone, stranger] =
        [1, 2, 3, 11, 12, 13, 14, 15, 16, 17].map(TestApp::it);
    let [took_back, asked] = [1, 2].map(TestApp::gb);
    app.people(&[&takes_back, &rechooses, &waits, &kin, &moved, &alone, &took_back, &asked].map(String::clone)).await;
    app.send(LINK).await;
    app.send(REPLY).await;
    for number in [&kin, &moved, &alone] {
        grants(app, number).await;
    }
    let ids = [(&kin, "X"), (&wrong, "X"), (&moved, "Y"), (&old, "Y"), (&alone, "Z")];
    app.import(&(ids.map(|(number, id)| with_id(number, id)).concat() + &crate::humans::rejected(17, "Z", ""))).await;
    // Each has a second yes that waits until an operator has read what is unclear.
    const UNCLEAR: &str = "mah, vediamo un po";
    for number in [&takes_back, &rechooses, &waits] {
        assert_eq!(app.submit(&app.link(number), "chosen", &["sms.promotions", "whatsapp.promotions"]).await, 303);
        for text in [UNCLEAR, "SI"] {
            app.advance(Duration::from_secs(60));
            app.reply(number, REPLY_NUMBER, text).await;
        }
    }
    app.advance(Duration::from_secs(60));
    let copy = copy(app).await;

    // The operator finds no no since; but one chooses anew before that, one writes once more, and one takes back what was granted by it.
    app.submit(&app.link(&rechooses), "chosen", &["sms.promotions"]).await;
    app.reply(&waits, REPLY_NUMBER, UNCLEAR).await;
    for held in &inbox::waiting(&app.engine, 0, 9).await.unwrap()[..3] {
        inbox::resolve(&app.engine, held.id, false, "ann").await.unwrap();
    }
    let take_back = async |number: &str, permissions: &[&str]| {
        assert_eq!(app.granted(number).await, permissions);
        for permission in permissions {
            assert_eq!(app.post_form(&app.link(number), &[("withdraw", (*permission).to_owned())]).await, 303);
        }
    };
    take_back(&takes_back, &["sms.promotions", "whatsapp.promotions"]).await;
    // Asked by a text that is answered by a reply: the same.
    for _ in 0..2 {
        app.advance(Duration::from_secs(60));
        app.reply(&took_back, ASKS_FROM, "YES").await;
    }
    take_back(&took_back, &["sms.promotions"]).await;
    // Three numbers turn out to be somebody else's.
    for number in [&wrong, &stranger] {
        app.reply(number, REPLY_NUMBER, "numero sbagliato").await;
    }
    rights::change_number(&app.engine, &TestApp::number(&old), &TestApp::number(&new), &by_letter(app)).await.unwrap();

    stop_all(app).await;
    let (code, _, err) = ask(app.dir.path(), &["db", "restore", copy.to_str().expect("text")]).await;
    assert_eq!(code, 0, "{err}");
    open(app).await;
    app.listen().await;
    steer::resume(&app.engine, "test", Some("the provider's inbox was read")).await.unwrap();
    for number in [&takes_back, &rechooses, &waits] {
        assert!(app.granted(number).await.is_empty(), "{:#?}", app.history(number).await);
    }
    // What waits still goes on as it would have.
    let waiting = inbox::waiting(&app.engine, 0, 9).await.unwrap();
    let [held] = &waiting[..] else { panic!("{waiting:?}") };
    inbox::resolve(&app.engine, held.id, false, "ann").await.unwrap();
    assert_eq!(app.granted(&waits).await.len(), 2, "{:#?}", app.history(&waits).await);
    // The provider tells the first yes once more; who has not answered is asked still.
    let sent = app.inbox(&took_back).len();
    for number in [&took_back, &asked] {
        app.reply(number, ASKS_FROM, "YES").await;
    }
    app.settle().await;
    assert_eq!((app.inbox(&took_back).len(), app.inbox(&asked).len()), (sent, 2), "{:#?}", app.history(&took_back).await);
    // Whoever has these numbers now speaks for nobody else.
    for number in [&wrong, &old, &stranger] {
        app.reply(number, REPLY_NUMBER, "STOP").await;
    }
    crate::erasure::erase(app, &wrong).await;
    for number in [&kin, &moved, &alone] {
        assert_eq!(app.granted(number).await, ["sms.promotions"], "{:#?}", app.history(number).await);
    }
    preferences_are_the_ledgers_replay(app).await;
    // Whose question the copy had open, and who had answered it by then, let no time pass.
    app.advance(Duration::from_secs(40 * 86_400));
    expire::expire(&app.engine).await.unwrap();
    let (code, csv, err) = ask(app.dir.path(), &["consents", "export"]).await;
    assert!(code == 0 && !csv.contains(",silent,"), "{csv}{err}");
});

both!(what_was_said_since_the_copy_stands_in_its_own_hour_and_under_its_own_word, |app| {
    let [grants_and_stops, takes_back, stops, refuses, wrong, moves] = [1, 2, 3, 4, 5, 6].map(TestApp::it);
    app.people(&[&grants_and_stops, &takes_back, &stops, &refuses, &wrong, &moves].map(String::clone)).await;
    app.send(LINK).await;
    for number in [&grants_and_stops, &takes_back] {
        grants(app, number).await;
    }
    let copy = copy(app).await;

    for (number, text) in [(&grants_and_stops, "STOP"), (&stops, "STOP"), (&refuses, "no grazie"), (&wrong, "numero sbagliato")] {
        app.advance(Duration::from_secs(3600));
        app.reply(number, REPLY_NUMBER, text).await;
    }
    app.advance(Duration::from_secs(3600));
    app.submit(&app.link(&takes_back), "chosen", &["whatsapp.promotions"]).await;
    app.advance(Duration::from_secs(3600));
    rights::change_number(&app.engine, &TestApp::number(&moves), &TestApp::number(&TestApp::it(7)), &by_letter(app))
        .await
        .unwrap();
    let figures = async |app: &TestApp| {
        let r = report::campaign(&app.engine, LINK).await.unwrap();
        crate::reports::adds_up(&r);
        let hours = breakdown::timeline(&app.engine, LINK).await.unwrap().hours;
        let said: Vec<_> = hours
            .into_iter()
            .map(|h| (h.start, h.withdrawn, h.refused, h.stopped, h.wrong_person))
            .filter(|h| h.1 + h.2 + h.3 + h.4 > 0)
            .collect();
        let learned = "SELECT CAST(SUM(learned_at) AS BIGINT) FROM suppressions";
        (
            (r.confirmed, r.withdrawn, r.refused, r.stopped, r.wrong_person, r.number_changed),
            said,
            (app.count(learned).await, app.count("SELECT COUNT(*) FROM suppressions").await),
        )
    };
    let before = figures(app).await;
    assert_eq!((before.0, before.1.len()), ((2, 2, 1, 1, 1, 1), 5), "{before:?}");
    let lines = breakdown::breakdown(&app.engine, LINK).await.unwrap();
    assert!(lines.channels.iter().chain(&lines.countries).all(|line| line.wrong_person == 1), "{lines:?}");

    stop_all(app).await;
    let (code, _, err) = ask(app.dir.path(), &["db", "restore", copy.to_str().expect("text")]).await;
    assert_eq!(code, 0, "{err}");
    open(app).await;
    assert_eq!(figures(app).await, before);
    let mut tx = app.engine.store.write().await.unwrap();
    // Nothing but what a restore has said is dated by it, or said by an operator after it.
    let keyed = app.engine.vault.keyed_all(&TestApp::number(&stops)).remove(0);
    answers::date(&mut tx, &app.engine.controller, &[], &[], 1).await.unwrap();
    answers::number_changed(&mut tx, &app.engine.controller, &keyed).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(figures(app).await, before);
    app.listen().await;
});

/// Delivers what is due now, and not what comes of it; without the oldest `but` batches.
async fn deliver_once(app: &TestApp, but: usize) {
    permesso::web::hear_once(&app.engine).await.unwrap();
    let mut tx = app.engine.store.read().await.unwrap();
    let due = messages::due_batches(&mut tx, &app.engine.controller, app.engine.now(), 99).await.unwrap();
    tx.rollback().await.unwrap();
    for (batch,) in due.into_iter().skip(but) {
        deliver::deliver(&app.engine, batch, &CancellationToken::new()).await.unwrap();
    }
    app.gateway.idle().await;
}

both!(a_copy_that_cannot_be_made_ready_leaves_the_database_as_it_was, |app| {
    app.people(&[TestApp::it(1)]).await;
    let copy = copy(app).await;
    app.people(&[TestApp::it(2)]).await;
    app.reply(&TestApp::it(3), REPLY_NUMBER, "STOP").await;
    let (dir, letter) = (app.dir.path().to_owned(), app.dir.path().join("letter"));
    std::fs::write(&letter, "this is no database at all, but a letter to my aunt").unwrap();
    let kept = app.dir.path().join("kept");
    let written = restore::written(&app.engine.store, &app.engine.controller, app.clock.now()).await.unwrap();
    assert!(restore::keep(&app.engine.store, &written, &kept).await.unwrap());
    stop_all(app).await;
    let restore = async |args: &[&str]| ask(&dir, &[&["db", "restore"], args].concat()).await;
    let (code, _, err) = restore(&[letter.to_str().unwrap()]).await;
    assert!(code == 1 && err.contains("as it was") && err.contains("remedy"), "{err}");
    let (code, _, err) = restore(&["no-such-copy"]).await;
    assert!(code == 1 && err.contains("no copy no-such-copy"), "{err}");
    // Where it changes at one stroke it is as it was, and what was kept for the try is of no use.
    let kept_of_tries = backups(app).iter().filter(|(name, _)| name.starts_with("kept-")).count();
    assert_eq!(kept_of_tries, usize::from(app.kind == Kind::Postgres));
    // It can be read, so it is learned from.
    let (code, _, err) = restore(&[copy.to_str().unwrap(), "--nothing-kept"]).await;
    assert!(code == 1 && err.contains("leave --nothing-kept away"), "{err}");
    if app.kind == Kind::Postgres {
        let older = dir.join("permesso-0001-20261201T094500000Z.dump");
        std::fs::copy(&copy, &older).unwrap();
        let (code, _, err) = restore(&[older.to_str().unwrap()]).await;
        assert!(code == 1 && err.contains("before migration 2"), "{err}");
    }
    open(app).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM contacts").await, 2);
    app.listen().await;
});

both!(a_restore_that_dies_leaves_nothing_that_could_send, |app| {
    let [stops, later] = [TestApp::it(1), TestApp::it(2)];
    app.people(&[stops.clone(), later.clone()]).await;
    app.plan(LINK).await;
    let copy = copy(app).await;
    app.reply(&stops, REPLY_NUMBER, "STOP").await;
    stop_all(app).await;
    let copy = copy.to_str().unwrap();
    let mut dying = spawn(app, &["db", "restore", copy], "between-copy-and-replay");
    until("it has died", async || dying.try_wait().unwrap().is_some()).await;
    let dir = app.dir.path().to_owned();
    let kept = backups(app).into_iter().map(|(name, _)| name).find(|name| name.starts_with("kept-"));
    let url = app.engine.config.database.clone();
    match (app.kind, kept) {
        // There is no such moment: the copy took the place at one stroke, ready.
        (Kind::Sqlite, kept) => assert_eq!(kept, None),
        (Kind::Postgres, kept) => {
            let kept = dir.join("data/backups").join(kept.expect("it is kept for the next try"));
            assert!(backup::is_restoring(&url).await.unwrap());
            // The old copy is in place, and nothing opens it, to send or to let it go on.
            for command in [&["run"][..], &["resume"], &["db", "keep", "--to", kept.to_str().unwrap()], &["db", "restore", copy]]
            {
                let (code, _, err) = ask(&dir, command).await;
                assert!(code == 1 && err.contains("--kept"), "{command:?}: {err}");
            }
            let whole = std::fs::read_to_string(&kept).unwrap();
            assert!(
                whole.lines().next().unwrap().contains("\"made_at\":null"),
                "whatever gave way to the copy, it learns from it"
            );
            let (cut, _) = whole.trim_end().rsplit_once('\n').unwrap();
            let part = dir.join("cut");
            std::fs::write(&part, cut).unwrap();
            let (code, _, err) = ask(&dir, &["db", "restore", copy, "--kept", part.to_str().unwrap()]).await;
            assert!(code == 1 && err.contains("is cut off"), "{err}");
            let (code, out, err) = ask(&dir, &["db", "restore", copy, "--kept", kept.to_str().unwrap()]).await;
            assert!(code == 0 && out.contains("1 no,"), "{out}{err}");
            assert!(!backup::is_restoring(&url).await.unwrap());
            backup::ready(&url).await.unwrap();
        }
    }
    open(app).await;
    app.listen().await;
    steer::resume(&app.engine, "test", Some("the provider's inbox was read")).await.unwrap();
    app.settle().await;
    assert_eq!((app.asks(&stops), app.asks(&later)), (0, 1));
});

/// Begins a restore and holds it up when it has written down what the database knows, and before the copy is in its place. Whatever is
/// done `meanwhile` is done then; it answers what the restore said.
async fn held_up(app: &TestApp, copy: &str, meanwhile: impl AsyncFnOnce()) -> (i32, String, String) {
    let dir = app.dir.path().to_owned();
    let Some(_) = app.engine.config.database.strip_prefix("sqlite:") else {
        // It reads the links last.
        let mut other = PgConnection::connect(&app.engine.config.database).await.unwrap();
        sqlx::raw_sql("BEGIN; LOCK TABLE links IN ACCESS EXCLUSIVE MODE").execute(&mut other).await.unwrap();
        let copy = copy.to_owned();
        let restored = tokio::spawn(async move { ask(&dir, &["db", "restore", &copy]).await });
        until("it waits for the links", async || {
            let waiting = "SELECT COUNT(*) FROM pg_locks WHERE relation = CAST('links' AS regclass) AND NOT granted";
            sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut other).await.unwrap() > 0
        })
        .await;
        meanwhile().await;
        other.close().await.unwrap();
        return restored.await.unwrap();
    };
    // It reads what somebody else kept twice: at first whether it is whole, and then when the copy learns from it.
    let (fifo, copy) = (dir.join("kept.fifo"), copy.to_owned());
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (ready, kept) = (dir.join("permesso.restoring"), fifo.display().to_string());
    let _ = std::fs::remove_file(&ready);
    let restored = tokio::spawn(async move { ask(&dir, &["db", "restore", &copy, "--kept", &kept]).await });
    // Opened when somebody reads.
    let read = async || {
        let fifo = fifo.clone();
        let open = move || std::fs::OpenOptions::new().write(true).open(fifo).unwrap();
        tokio::task::spawn_blocking(open).await.unwrap()
    };
    let end = b"{\"end\":0}\n";
    read().await.write_all(end).unwrap();
    until("the copy is unpacked", async || ready.exists()).await;
    let mut again = read().await;
    meanwhile().await;
    again.write_all(end).unwrap();
    drop(again);
    restored.await.unwrap()
}

both!(a_no_said_in_the_middle_of_a_restore_is_refused_or_learned, |app| {
    let [stops, objects, later] = [1, 2, 3].map(TestApp::it);
    app.people(&[stops.clone(), objects.clone(), later.clone()]).await;
    app.plan(LINK).await;
    let copy = copy(app).await;
    let (dir, copy) = (app.dir.path().to_owned(), copy.to_str().unwrap());
    let list = dir.join("noes.csv");
    std::fs::write(&list, format!("number\n{stops}\n")).unwrap();
    let import = ["import", "suppressions", list.to_str().unwrap()];
    // Whoever has the database open may be about to write to it.
    app.hang_up().await;
    app.execute("UPDATE listening SET heard_db = 0").await.unwrap();
    let (code, _, err) = ask(&dir, &["db", "restore", copy]).await;
    assert!(code == 1 && err.contains("something has the database open") && err.contains("; remedy: stop it"), "{err}");
    stop_all(app).await;
    // It dies when it has written down what it knows: whatever is said then is learned the next time.
    let mut dying = spawn(app, &["db", "restore", copy], "between-keep-and-copy");
    until("it has died", async || dying.try_wait().unwrap().is_some()).await;
    let (code, out, err) = ask(&dir, &["contact", "object", &objects]).await;
    assert_eq!(code, 0, "{out}{err}");
    // Meanwhile nobody is told that a no is stored.
    let (mut refused, mut waits) = (None, None);
    let (code, out, err) = held_up(app, copy, async || {
        refused = Some(ask(&dir, &import).await);
        if let Some(database) = app.engine.config.database.strip_prefix("sqlite:") {
            let mut open = SqliteConnectOptions::new().filename(database).connect().await.unwrap();
            sqlx::raw_sql("SELECT COUNT(*) FROM suppressions").execute(&mut open).await.unwrap();
            waits = Some(open);
        }
    })
    .await;
    assert!(code == 0 && out.contains("1 no,"), "{out}{err}");
    let why = match app.kind {
        Kind::Sqlite => "the database is locked by another process; remedy: wait where that is `db restore`",
        Kind::Postgres => "a `db restore` is under way; remedy: wait until it has ended, and do this again",
    };
    let (code, out, err) = refused.expect("tried");
    assert!(code == 1 && err.contains(why), "{out}{err}");
    // Whoever had opened the database of before writes into nothing that is put aside.
    if let Some(mut open) = waits {
        let error = sqlx::raw_sql("DELETE FROM suppressions").execute(&mut open).await.unwrap_err();
        let error = permesso::store::Error::from(error).to_string();
        assert!(error.contains("another database has taken this one's place, so nothing was written; remedy:"), "{error}");
        open.close().await.unwrap();
    }
    open(app).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM suppressions").await, 1, "what was said before");
    let (code, _, err) = ask(&dir, &import).await;
    assert_eq!(code, 0, "{err}");
    app.listen().await;
    steer::resume(&app.engine, "test", Some("the provider's inbox was read")).await.unwrap();
    app.settle().await;
    assert_eq!([&stops, &objects, &later].map(|number| app.asks(number)), [0, 0, 1]);
});

both!(what_was_written_down_in_time_saves_the_noes_of_a_database_that_is_lost, |app| {
    let [stops, later] = [TestApp::it(1), TestApp::it(2)];
    app.people(&[stops.clone(), later.clone()]).await;
    app.plan(LINK).await;
    let copy = copy(app).await;
    let (dir, kept) = (app.dir.path().to_owned(), app.dir.path().join("kept.jsonl"));
    let keep = ["db", "keep", "--to", kept.to_str().unwrap()];
    let (code, out, err) = ask(&dir, &keep).await;
    assert!(code == 0 && out.contains("kept.jsonl"), "{err}");
    app.reply(&stops, REPLY_NUMBER, "STOP").await;
    let (code, _, err) = ask(&dir, &keep).await;
    assert_eq!((code, mode(&kept)), (0, 0o600), "{err}");
    let text = std::fs::read_to_string(&kept).unwrap();
    assert!(!text.contains(&stops[1..]), "a number stands in it");
    stop_all(app).await;
    lose(app).await;
    let copy = copy.to_str().unwrap();
    let (code, _, err) = ask(&dir, &["db", "restore", copy]).await;
    assert!(code == 1 && err.contains("db keep") && err.contains("--nothing-kept"), "{err}");
    // One that another database wrote would teach it nothing, though it can be read.
    let other = dir.join("other.jsonl");
    let made = field_of(&text, "made_at");
    let earlier = (made.parse::<i64>().unwrap() - 1_000_000).to_string();
    std::fs::write(&other, text.replacen(&made, &earlier, 1)).unwrap();
    let (code, out, err) = ask(&dir, &["db", "restore", copy, "--kept", other.to_str().unwrap()]).await;
    assert!(code == 1 && err.contains("other.jsonl is of another database (of `default`, made on 20"), "{out}{err}");
    assert!(err.contains("the database is as it was") && err.contains("remedy: --kept FILE"), "{err}");
    let (code, out, err) = ask(&dir, &["db", "restore", copy, "--kept", kept.to_str().unwrap()]).await;
    assert!(code == 0 && out.contains("1 no,"), "{out}{err}");
    assert!(
        out.contains("kept.jsonl, which was written on 2026-12-01 09:45:0") && out.contains(" UTC, 0 minutes before now"),
        "{out}"
    );
    open(app).await;
    app.listen().await;
    steer::resume(&app.engine, "test", Some("the provider's inbox was read")).await.unwrap();
    app.settle().await;
    assert_eq!((app.asks(&stops), app.asks(&later)), (0, 1));
    // What is left of another one is not written over, and an earlier version's file says nothing of itself.
    let (code, _, err) = ask(&dir, &["db", "keep", "--to", other.to_str().unwrap()]).await;
    assert!(code == 1 && err.contains("is of another database") && err.contains("move this one away"), "{err}");
    let (_, earlier) = text.split_once('\n').unwrap();
    let (rest, _) = earlier.trim_end().rsplit_once('\n').unwrap();
    std::fs::write(&other, format!("{rest}\n{{\"end\":{}}}", rest.lines().count())).unwrap();
    stop_all(app).await;
    let (code, out, err) = ask(&dir, &["--json", "db", "restore", copy, "--kept", other.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{err}");
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["kept_written"], serde_json::json!([null]), "{told}");
    lose(app).await;
    // A new one in its place knows nothing, and takes no file's place.
    let (code, _, err) = ask(&dir, &["db", "migrate"]).await;
    if code == 0 {
        let (code, _, err) = ask(&dir, &keep).await;
        assert!(code == 1 && err.contains("stays as it is"), "{err}");
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), text);
        let (code, _, err) = ask(&dir, &["db", "keep", "--to", dir.join("nothing.jsonl").to_str().unwrap()]).await;
        assert!(code == 1 && err.contains("the database holds nobody and nothing"), "{err}");
    } else {
        assert_eq!(app.kind, Kind::Sqlite, "{err}");
    }
    // What a lost database knew nobody can say.
    let (code, out, err) = ask(&dir, &["db", "restore", copy, "--nothing-kept"]).await;
    assert!(code == 0 && out.contains("import suppressions"), "{err}");
    open(app).await;
    app.listen().await;
});

both!(a_yes_of_before_that_is_read_once_more_is_not_answered_once_more, |app| {
    let [pending, asked] = [1, 2].map(TestApp::it);
    app.people(&[pending.clone(), asked.clone()]).await;
    app.send(LINK).await;
    let link = app.link(&pending);
    app.submit(&link, "chosen", &["sms.promotions"]).await;
    let copy = copy(app).await;
    app.advance(Duration::from_secs(60));
    app.reply(&pending, REPLY_NUMBER, "SI").await;
    let mut said_at = vec![app.engine.now()];
    app.advance(Duration::from_secs(60));
    grants(app, &asked).await;
    said_at.push(app.engine.now());
    assert_eq!(app.granted(&pending).await, ["sms.promotions"]);
    app.advance(Duration::from_secs(60));
    let got = [&pending, &asked].map(|number| app.inbox(number).len());
    stop_all(app).await;
    let (code, _, err) = ask(app.dir.path(), &["db", "restore", copy.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{err}");
    open(app).await;
    app.listen().await;
    steer::resume(&app.engine, "test", Some("the provider's inbox was read")).await.unwrap();
    // From the gateway's list.
    for (n, number) in [&pending, &asked].into_iter().enumerate() {
        for text in ["SI", "INFO"] {
            let event = said(&format!("{text} {n}"), number, REPLY_NUMBER, text, said_at[n]);
            receive::store(&app.engine, "mock", &[event]).await.unwrap();
        }
    }
    app.settle().await;
    assert_eq!([&pending, &asked].map(|number| app.inbox(number).len()), got, "nothing contradicts what they were told");
    assert_eq!(app.granted(&pending).await, Vec::<String>::new());
    let story = app.story(&pending).await;
    assert!(story.verdict.contains("They answered on ") && story.verdict.contains("nobody asks them again"), "{}", story.verdict);
    // Behind the ask's own link, which the copy knows.
    let (_, page) = app.get(&link).await;
    assert!(page.contains("value=\"chosen\"") && !page.contains("banner lapsed"), "{page}");
    let report = report::campaign(&app.engine, LINK).await.unwrap();
    crate::reports::adds_up(&report);
    assert_eq!((report.answered_since, report.unfinished), (2, 0), "{report:?}");
    // What they say now is.
    app.reply(&asked, REPLY_NUMBER, "SI").await;
    assert_eq!(app.inbox(&asked).len(), got[1] + 1);
    // What they choose from now on, and never complete, is told as that, and not as what the copy cannot know.
    let link = app.link(&asked);
    assert!(!app.get(&link).await.1.contains("banner lapsed"));
    app.submit(&link, "chosen", &["sms.promotions"]).await;
    app.advance(Duration::from_secs(8 * 86_400));
    expire::expire(&app.engine).await.unwrap();
    let (_, page) = app.get(&link).await;
    assert!(page.contains("banner lapsed"), "{page}");
    // A no of that time is taken once more.
    let event = said("STOP", &pending, REPLY_NUMBER, "STOP", said_at[0]);
    receive::store(&app.engine, "mock", &[event]).await.unwrap();
    assert_eq!(app.count("SELECT COUNT(*) FROM suppressions WHERE lifted_at IS NULL").await, 1);
});

both!(a_database_that_was_set_back_and_what_was_kept_are_learned_from_both, |app| {
    let [stops, says, later] = [1, 2, 3].map(TestApp::it);
    let row = TestApp::good(&says).replace("unticked,", "unticked,yes");
    app.import(&row).await;
    app.people(&[stops.clone(), later.clone()]).await;
    app.plan(LINK).await;
    let copy = copy(app).await;
    app.reply(&stops, REPLY_NUMBER, "STOP").await;
    let (dir, kept) = (app.dir.path().to_owned(), app.dir.path().join("kept.jsonl"));
    let (code, _, err) = ask(&dir, &["db", "keep", "--to", kept.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{err}");
    // As it was before the stop.
    app.execute("DELETE FROM suppressions WHERE reason = 'stopped'").await.unwrap();
    stop_all(app).await;
    let (code, out, err) = ask(&dir, &["db", "restore", copy.to_str().unwrap(), "--kept", kept.to_str().unwrap()]).await;
    assert!(code == 0 && out.contains("1 no,"), "{out}{err}");
    assert!(kept.is_file(), "it is the operator's");
    open(app).await;
    app.listen().await;
    steer::resume(&app.engine, "test", Some("the provider's inbox was read")).await.unwrap();
    app.settle().await;
    assert_eq!((app.asks(&stops), app.asks(&later)), (0, 1));
    // What lists said is said anew: whether a yes since was answered by a no the copy does not know.
    app.execute("UPDATE suppressions SET lifted_at = 1 WHERE reason = 'unsubscribed_before'").await.unwrap();
    app.import(&row).await;
    assert_eq!(
        app.count("SELECT COUNT(*) FROM suppressions WHERE reason = 'unsubscribed_before' AND lifted_at IS NULL").await,
        1
    );
    let mut tx = app.engine.store.write().await.unwrap();
    assert_eq!(listed::note(&mut tx, &app.engine.controller, &["a"]).await.unwrap().len(), 1);
    listed::forget(&mut tx, &app.engine.controller).await.unwrap();
    assert_eq!(listed::note(&mut tx, &app.engine.controller, &["a"]).await.unwrap().len(), 1);
    tx.rollback().await.unwrap();
});

const C: &str = "contract";

both!(what_is_kept_is_read_by_pages_and_written_back_once, |app| {
    let mut tx = app.engine.store.write().await.unwrap();
    let no = |n: i64| No {
        mac: format!("m{n}"),
        key_id: 1,
        scope: "marketing".into(),
        reason: "stopped".into(),
        at: n,
        said_on: None,
        learned_at: None,
    };
    assert_eq!(keep::add_noes(&mut tx, C, &[no(1), no(2), no(1)], 9).await.unwrap().len(), 2);
    assert!(keep::add_noes(&mut tx, C, &[no(2)], 9).await.unwrap().is_empty(), "it stands already");
    assert!(keep::add_noes(&mut tx, C, &[No { at: 7, ..no(2) }], 9).await.unwrap().is_empty());
    let said = suppressions::of(&mut tx, C, &[Keyed { key_id: 1, mac: "m2".into() }]).await.unwrap();
    assert_eq!(said, [("stopped".to_owned(), 7, None)], "said again since");
    let made_at = migrations::made_at(&mut tx).await.unwrap();
    let copy = copy(app).await;
    assert_eq!(backup::made_at(&app.engine.config.database, &copy).await.unwrap(), made_at, "a copy is of its database");
    let page = keep::noes_after(&mut tx, C, 0, 1).await.unwrap();
    assert_eq!(
        (page.len(), &page[0].no),
        (1, &No { learned_at: Some(9), ..no(1) }),
        "learned when an earlier version's line is read"
    );
    assert_eq!(keep::noes_after(&mut tx, C, page[0].id, 9).await.unwrap().len(), 1);
    keep::add_noes(&mut tx, C, &[No { learned_at: Some(5), ..no(3) }], 9).await.unwrap();
    let third = keep::noes_after(&mut tx, C, page[0].id, 9).await.unwrap().pop().expect("it stands");
    assert_eq!(third.no.learned_at, Some(5), "learned when it was");
    let mark = |n: i64, kind: &str| Asked {
        mac: format!("m{n}"),
        key_id: 1,
        family: "f".into(),
        kind: kind.into(),
        asked_at: 5,
        message_id: n,
    };
    assert_eq!(keep::add_asked(&mut tx, C, &[mark(1, "ask"), mark(1, "reminder"), mark(2, "ask")]).await.unwrap(), 3);
    assert_eq!(keep::add_asked(&mut tx, C, &[mark(2, "ask")]).await.unwrap(), 0, "written back once");
    let all = keep::asked_after(&mut tx, C, (i64::MIN, "", ""), 9).await.unwrap();
    assert_eq!(all.iter().map(|m| m.message_id).collect::<Vec<_>>(), [-2, -1, -1], "of no message that is here");
    let rest = keep::asked_after(&mut tx, C, (-1, "m1", "ask"), 9).await.unwrap();
    assert_eq!(rest.iter().map(|m| m.kind.as_str()).collect::<Vec<_>>(), ["reminder"]);
    let unclear = Unclear {
        gateway: "mock".into(),
        event_id: "e1".into(),
        mac: "m1".into(),
        key_id: 1,
        to_sender: "ACME".into(),
        channel: "sms".into(),
        body_enc: "?".into(),
        intent: "unclear".into(),
        at: 1,
        received_at: 2,
    };
    assert_eq!(keep::add_unclear(&mut tx, C, std::slice::from_ref(&unclear)).await.unwrap(), 1);
    assert_eq!(keep::add_unclear(&mut tx, C, std::slice::from_ref(&unclear)).await.unwrap(), 0);
    assert_eq!(keep::unclear(&mut tx, C).await.unwrap(), [unclear]);
    let read = Resolved { gateway: "mock".into(), event_id: "e1".into(), verdict: "nothing".into(), resolved_by: "ann".into() };
    let id = keep::waits(&mut tx, C, &read).await.unwrap().expect("it waits");
    assert!(keep::resolved(&mut tx, C).await.unwrap().is_empty());
    inbound::resolve(&mut tx, C, id, "nothing", "ann", 3).await.unwrap().expect("resolved");
    assert_eq!(keep::resolved(&mut tx, C).await.unwrap(), std::slice::from_ref(&read));
    assert_eq!(keep::waits(&mut tx, C, &read).await.unwrap(), None);
    assert!(keep::tied_after(&mut tx, C, ("", 0), 9).await.unwrap().is_empty());
    assert!(keep::ended_after(&mut tx, C, ("", "", ""), 9).await.unwrap().is_empty());
    assert!(keep::still_asked(&mut tx, C, &[]).await.unwrap().is_empty());
    assert_eq!(keep::a_number(&mut tx, C).await.unwrap(), None);
    assert_eq!(control::heard_ago(&mut tx, C).await.unwrap(), None);
    tx.rollback().await.unwrap();

    let person = TestApp::it(1);
    app.import(&TestApp::good(&person).replace(",,,\n", ",,H1,\n")).await;
    app.send(LINK).await;
    grants(app, &person).await;
    let ours = app.engine.controller.clone();
    let mut tx = app.engine.store.write().await.unwrap();
    let tied: Vec<Tied> = keep::tied_after(&mut tx, &ours, ("", 0), 9).await.unwrap();
    assert_eq!(tied.len(), 1);
    assert!(keep::tied_after(&mut tx, &ours, (&tied[0].mac, tied[0].key_id), 9).await.unwrap().is_empty());
    // Who answered, and that the copy knows it: the mark is for whoever answered later.
    let said = keep::answered_between(&mut tx, &ours, (0, i64::MAX)).await.unwrap();
    assert_eq!(said.iter().map(|a| &a.mac).collect::<Vec<_>>(), [&tied[0].mac]);
    assert!(keep::answered_between(&mut tx, &ours, (i64::MAX - 1, i64::MAX)).await.unwrap().is_empty());
    assert!(keep::add_answered(&mut tx, &ours, &said).await.unwrap().is_empty());
    let later = Answered { at: said[0].at + 1, ..said[0].clone() };
    let [(contact, at)] = keep::add_answered(&mut tx, &ours, std::slice::from_ref(&later)).await.unwrap()[..] else { panic!() };
    assert_eq!((at, keep::answered(&mut tx, contact).await.unwrap()), (later.at, Some(later.at)));
    let (subject, channel, purpose, state) = ledger::all_preferences(&mut tx, &ours).await.unwrap().remove(0);
    assert_eq!(state, Preference::Granted.code());
    let ended = Ended { subject: subject.clone(), channel, purpose, since: None };
    assert!(keep::pending(&mut tx, &ours).await.unwrap().is_empty(), "nothing waits");
    assert!(keep::times_after(&mut tx, &ours, "", 9).await.unwrap().is_empty());
    assert_eq!(keep::still_granted(&mut tx, &ours, std::slice::from_ref(&ended)).await.unwrap().len(), 1);
    assert!(keep::a_number(&mut tx, &ours).await.unwrap().is_some());
    assert!(control::heard_ago(&mut tx, &ours).await.unwrap().is_some_and(|ago| ago < 60_000_000));
    control::forget_hearing(&mut tx, &ours, app.engine.now()).await.unwrap();
    assert!(control::heard_ago(&mut tx, &ours).await.unwrap().is_some_and(|ago| ago > 60_000_000));
    let _: Option<i64> = keep::worked_ago(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();
    app.submit(&app.link(&person), "none", &[]).await;
    let mut tx = app.engine.store.read().await.unwrap();
    let ended_now = keep::ended_after(&mut tx, &ours, ("", "", ""), 99).await.unwrap();
    assert!(ended_now.into_iter().any(|e| Ended { since: None, ..e } == ended));
    assert!(keep::still_granted(&mut tx, &ours, &[ended]).await.unwrap().is_empty());
    let keyed = app.engine.vault.keyed_all(&TestApp::number(&person));
    assert_eq!(suppressions::of(&mut tx, &ours, &keyed).await.unwrap().len(), 1);
    let sent = keep::links_after(&mut tx, &ours, ("", ""), 9).await.unwrap();
    assert_eq!((sent.is_empty(), sent.iter().all(|link| link.mac == keyed[0].mac)), (false, true));
    tx.rollback().await.unwrap();
    // The link of somebody who is no contact here.
    let (token, stranger) = ("1".repeat(22), app.engine.vault.keyed_all(&TestApp::number(&TestApp::it(9))).remove(0));
    let (mac, key_id) = (stranger.mac.clone(), stranger.key_id);
    let link = Link { token_hash: permesso::vault::token_hash(&token), mac, key_id, locale: "it".into(), claimed_at: 1 };
    let mut tx = app.engine.store.write().await.unwrap();
    assert_eq!(keep::add_links(&mut tx, &ours, &[link.clone(), sent[0].clone()]).await.unwrap(), 1, "the other is here");
    assert_eq!(keep::add_links(&mut tx, &ours, std::slice::from_ref(&link)).await.unwrap(), 0);
    assert_eq!(keep::link(&mut tx, &ours, &link.token_hash).await.unwrap(), std::slice::from_ref(&link));
    assert!(keep::links_after(&mut tx, &ours, ("", ""), 9).await.unwrap().contains(&link), "and goes on to the next copy");
    // Of a contact, who is known by the older of two keys here and was asked something else before.
    let theirs = "2".repeat(22);
    let token_hash = permesso::vault::token_hash(&theirs);
    let newer = Link { token_hash: token_hash.clone(), mac: "!".into(), key_id: 2, ..link.clone() };
    let older = Link { mac: keyed[0].mac.clone(), key_id: keyed[0].key_id, ..newer.clone() };
    assert_eq!(keep::add_links(&mut tx, &ours, &[newer.clone(), older.clone()]).await.unwrap(), 1, "one link");
    let next = keep::links_after(&mut tx, &ours, (&token_hash, &newer.mac), 1).await.unwrap();
    assert_eq!(next, [older], "the next page goes on within a link");
    tx.commit().await.unwrap();
    assert_eq!(app.post(&format!("{}/p/{theirs}", app.base), "", "wrong_number", &[]).await, 303);
    assert!(app.story(&person).await.verdict.contains("wrong person"));
    let of_no_ask =
        "SELECT COUNT(*) FROM evidence WHERE body LIKE '%\"entry\":\"wrong_person\"%' AND body LIKE '%\"campaign\":null%'
        AND body LIKE '%\"ask_reference\":null%'";
    assert_eq!(app.count(of_no_ask).await, 1, "it answers no ask that is here");
    assert_eq!(app.post(&format!("{}/p/{token}", app.base), "", "wrong_number", &[]).await, 303);
    let mut tx = app.engine.store.write().await.unwrap();
    assert_eq!(suppressions::of(&mut tx, &ours, std::slice::from_ref(&stranger)).await.unwrap()[0].0, "wrong_person");
    permesso::store::erase::marks(&mut tx, &ours, &[stranger]).await.unwrap();
    assert!(keep::link(&mut tx, &ours, &link.token_hash).await.unwrap().is_empty());
    tx.rollback().await.unwrap();
});

both!(a_database_can_be_had_alone_when_everybody_has_left, |app| {
    app.people(&[TestApp::it(1)]).await;
    stop_all(app).await;
    let url = app.engine.config.database.clone();
    let taken = alone::take(&url, true).await.unwrap();
    let mut tx = taken.store.as_ref().expect("readable").read().await.unwrap();
    assert!(keep::a_number(&mut tx, &app.engine.controller).await.unwrap().is_some());
    tx.rollback().await.unwrap();
    alone::end(taken).await.unwrap();
    let unread = alone::take(&url, false).await.unwrap();
    assert!(unread.store.is_none());
    alone::end(unread).await.unwrap();
    open(app).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM contacts").await, 1);
    app.listen().await;
});

#[tokio::test]
async fn what_is_no_copy_is_neither_unpacked_nor_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let (letter, to) = (dir.path().join("letter"), dir.path().join("to"));
    std::fs::write(&letter, "to my aunt").unwrap();
    assert!(backup::unpack(&letter, &to).await.unwrap_err().to_string().contains("as it was"));
    let url = crate::postgres::database().await;
    assert!(backup::put_back(&url, &letter).await.unwrap_err().to_string().contains("pg_restore"));
}
