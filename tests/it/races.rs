//! Two things said about one human at the same moment, at two processes: a no never ends beside a consent.

use std::time::Duration;

use permesso::domain::campaign::CampaignState;
use permesso::engine::{deliver, expire, import, limits, plan, receive};
use permesso::gateway::mock::faults::Faults;
use permesso::store::rates::{self, Lease, Rate};
use permesso::store::{Tx, campaigns, contacts, control, messages};
use tokio_util::sync::CancellationToken;

use crate::app::{Kind, LINK, REPLY, REPLY_NUMBER, TestApp, field};
use crate::both;
use crate::promises::said;

const MINUTE: Duration = Duration::from_secs(60);

fn row(number: &str, id: &str) -> String {
    format!("{number},,prospect,,web shop,prior_consent,form 1,2026-01-10,unticked,,{id},\n")
}

/// A human of two numbers, of whom one was asked and has ticked something; answers that one and the other.
async fn about_to_say_yes(app: &TestApp) -> (String, String) {
    let (a, b) = (TestApp::it(1), TestApp::it(2));
    app.import(&(row(&a, "EX1") + &row(&b, "EX1"))).await;
    app.send(LINK).await;
    let (a, b) = if app.asks(&a) == 1 { (a, b) } else { (b, a) };
    app.submit(&app.link(&a), "chosen", &["sms.promotions"]).await;
    app.advance(MINUTE);
    (a, b)
}

/// The second yes, granted and not committed.
async fn half_way(app: &TestApp, number: &str) -> Tx {
    let yes = said("yes", number, REPLY_NUMBER, "SI", app.clock.now());
    let mut tx = app.engine.store.write().await.unwrap();
    receive::receive(&mut tx, &app.engine, "mock", &[&yes]).await.unwrap();
    tx
}

/// Until so many at this database, which is a Postgres, wait for a lock.
async fn waiting(app: &TestApp, many: i64) {
    let waits = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    crate::run::until("they wait for a lock", async || app.count(waits).await == many).await;
}

async fn commit(tx: Tx) {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
    tx.commit().await.unwrap();
}

both!(a_no_of_another_number_meets_a_yes_half_way, |app| {
    let (a, b) = about_to_say_yes(app).await;
    let yes = half_way(app, &a).await;
    let no = [said("no", &b, REPLY_NUMBER, "STOP", app.clock.now())];
    let (stored, ()) = tokio::join!(receive::store(&app.engine, "mock", &no), commit(yes));
    stored.unwrap();
    assert_eq!(app.granted(&a).await, Vec::<String>::new(), "the no of the same human is newer");
});

both!(a_list_of_noes_meets_a_yes_half_way, |app| {
    let (a, b) = about_to_say_yes(app).await;
    let yes = half_way(app, &a).await;
    let file = app.dir.path().join("no.csv");
    std::fs::write(&file, format!("number\n{b}\n")).unwrap();
    let (imported, ()) = tokio::join!(import::suppressions(&app.engine, &file, |_| {}), commit(yes));
    imported.unwrap();
    assert_eq!(app.granted(&a).await, Vec::<String>::new(), "the list says no for the human");
});

both!(a_tie_to_somebody_who_said_no_meets_a_yes_half_way, |app| {
    let (a, b) = (TestApp::it(1), TestApp::it(2));
    app.import(&(row(&a, "") + &row(&b, "EX1"))).await;
    app.send(LINK).await;
    app.submit(&app.link(&a), "chosen", &["sms.promotions"]).await;
    app.reply(&b, REPLY_NUMBER, "STOP").await;
    app.advance(MINUTE);
    let yes = half_way(app, &a).await;
    // The rest of the row is rejected; what ties the two numbers is not.
    let rejected = format!("{a},,nonsense,,web shop,prior_consent,form 1,2026-01-10,unticked,,EX1,\n");
    let (_, ()) = tokio::join!(app.import(&rejected), commit(yes));
    assert_eq!(app.granted(&a).await, Vec::<String>::new(), "the human had said no");
});

/// The import holds the first number's row and waits for the second's; whoever holds that one wants the first. Postgres lets that one lose
/// which looks first: the import, which has waited for longer, but for a machine that stalled.
#[tokio::test]
async fn an_import_that_meets_an_answer_head_on_is_done_again_postgres() {
    let mut app = TestApp::new(Kind::Postgres).await;
    let mut tries = 0;
    while the_answer_loses(&app, [TestApp::it(tries), TestApp::it(tries + 1)]).await {
        tries += 2;
        assert!(tries < 10, "the import never loses");
    }
    app.end().await;
}

/// Whether the import went on at once.
async fn the_answer_loses(app: &TestApp, numbers: [String; 2]) -> bool {
    app.people(&numbers).await;
    let file = app.dir.path().join("no.csv");
    std::fs::write(&file, format!("number\n{}\n", numbers.join("\n"))).unwrap();
    let mut answer = app.engine.store.write().await.unwrap();
    let mut ids = Vec::new();
    for number in &numbers {
        let keyed = app.engine.vault.keyed_all(&TestApp::number(number));
        ids.push(contacts::by_number(&mut answer, &app.engine.controller, &keyed).await.unwrap().unwrap().id);
    }
    ids.sort_unstable();
    contacts::lock(&mut answer, ids[1]).await.unwrap();
    let (imported, locked) = tokio::join!(import::suppressions(&app.engine, &file, |_| {}), async {
        waiting(app, 1).await;
        let locked = contacts::lock(&mut answer, ids[0]).await;
        match &locked {
            Ok(_) => answer.commit().await.unwrap(),
            Err(_) => answer.rollback().await.unwrap(),
        }
        locked
    });
    assert_eq!(imported.unwrap().new, 2);
    locked.is_err_and(|error| {
        assert!(error.is_deadlock(), "{error}");
        true
    })
}

/// One process holds the rate while another asks for it: what the first took meanwhile is no clock that was set back.
#[tokio::test]
async fn whoever_waits_for_a_rate_gets_what_is_left_of_it_postgres() {
    let mut app = TestApp::new(Kind::Postgres).await;
    let rates = [Rate { name: "campaign 7".into(), period: 100_000_000, burst: 1 }];
    let mut one = app.engine.store.write().await.unwrap();
    let free = rates::hold(&mut one, &app.engine.controller, &rates).await.unwrap();
    let (second, ()) = tokio::join!(limits::permits(&app.engine, "none", "none", Some((7, 0.01)), 1), async {
        waiting(&app, 1).await;
        let now = one.db_now().await.unwrap();
        let first = rates::lease(&mut one, &app.engine.controller, &rates, &free, 1, 1, now).await.unwrap();
        assert_eq!(first, Lease::Permits(1));
        one.commit().await.unwrap();
    });
    assert_eq!(second.unwrap().count, 0, "one in a hundred seconds");
    app.end().await;
}

/// Somebody cancels a campaign while a start of it, which has counted its people, waits for its turn.
#[tokio::test]
async fn a_campaign_cancelled_while_it_is_started_anew_stays_cancelled_postgres() {
    let mut app = TestApp::new(Kind::Postgres).await;
    app.people(&[TestApp::it(1)]).await;
    let id = app.plan(LINK).await;
    let campaign = app.engine.config.campaign(LINK).unwrap();
    let counts = plan::preview(&app.engine, &campaign, |_| {}).await.unwrap();
    let again = plan::save(&app.engine, &campaign, &counts).await.unwrap();
    let mut cancel = app.engine.store.write().await.unwrap();
    control::take_turn(&mut cancel, &app.engine.controller).await.unwrap();
    let (started, ()) = tokio::join!(plan::start(&app.engine, LINK, &again), async {
        waiting(&app, 1).await;
        campaigns::set_state(&mut cancel, id, CampaignState::Cancelled, None).await.unwrap();
        cancel.commit().await.unwrap();
    });
    assert!(started.unwrap_err().to_string().contains("was cancelled, which is final"));
    assert_eq!(app.count("SELECT COUNT(*) FROM campaigns WHERE state = 'cancelled'").await, 1);
    app.end().await;
}

/// A start of a campaign that nobody has started yet counts its people; meanwhile somebody else starts and cancels it.
#[tokio::test]
async fn a_campaign_started_and_cancelled_while_it_is_started_stays_cancelled_postgres() {
    let mut app = TestApp::new(Kind::Postgres).await;
    app.people(&[TestApp::it(1)]).await;
    let campaign = app.engine.config.campaign(LINK).unwrap();
    let counts = plan::preview(&app.engine, &campaign, |_| {}).await.unwrap();
    let (one, another) =
        (plan::save(&app.engine, &campaign, &counts).await.unwrap(), plan::save(&app.engine, &campaign, &counts).await.unwrap());
    let mut turn = app.engine.store.write().await.unwrap();
    control::take_turn(&mut turn, &app.engine.controller).await.unwrap();
    let (started, ()) = tokio::join!(plan::start(&app.engine, LINK, &one), async {
        waiting(&app, 1).await;
        let body = campaigns::plan(&mut turn, &app.engine.controller, &another).await.unwrap().unwrap().revision;
        let start = campaigns::Start {
            name: LINK,
            family: &campaign.family,
            plan_id: &another,
            body: &body,
            hash: "h",
            start_at: app.engine.now(),
            deadline: campaign.deadline.timestamp_micros(),
            allowance: None,
            currency: None,
        };
        let id = campaigns::start(&mut turn, &app.engine.controller, &start, app.engine.now()).await.unwrap();
        campaigns::set_state(&mut turn, id, CampaignState::Cancelled, None).await.unwrap();
        turn.commit().await.unwrap();
    });
    assert!(started.unwrap_err().to_string().contains("was cancelled, which is final"));
    app.end().await;
}

/// Whom to remind is looked for without a lock.
#[tokio::test]
async fn a_start_and_a_stop_between_the_look_for_reminders_and_their_plan_count_postgres() {
    let mut app = TestApp::new(Kind::Postgres).await;
    let (a, b) = (TestApp::it(1), TestApp::it(2));
    app.people(&[a.clone(), b]).await;
    let id = app.plan_as(LINK, |c| c.reminder_after_days = Some(1)).await;
    app.settle().await;
    app.advance(24 * 60 * MINUTE);
    let mut campaign = app.engine.config.campaign(LINK).unwrap();
    (campaign.reminder_after_days, campaign.limits.rate) = (Some(1), 1.0);
    let counts = plan::preview(&app.engine, &campaign, |_| {}).await.unwrap();
    let again = plan::save(&app.engine, &campaign, &counts).await.unwrap();
    let held = async || {
        let mut tx = app.engine.store.write().await.unwrap();
        campaigns::lock(&mut tx, id).await.unwrap();
        tx
    };
    let reminders = "SELECT COUNT(*) FROM messages WHERE kind = 'reminder' AND state = 'planned'";

    let first = held().await;
    let (started, expired, ()) = tokio::join!(
        plan::start(&app.engine, LINK, &again),
        async {
            waiting(&app, 1).await;
            expire::expire(&app.engine).await
        },
        async {
            waiting(&app, 2).await;
            first.rollback().await.unwrap();
        }
    );
    assert_eq!((started.unwrap().campaign_id, expired.unwrap()), (id, 0));
    assert_eq!(app.count(reminders).await, 0, "they would be of the revision that was");
    while plan::plan_next(&app.engine, id).await.unwrap() {}

    let second = held().await;
    let (expired, ()) = tokio::join!(expire::expire(&app.engine), async {
        waiting(&app, 1).await;
        let no = said("no", &a, REPLY_NUMBER, "STOP", app.clock.now());
        receive::store(&app.engine, "mock", &[no]).await.unwrap();
        second.rollback().await.unwrap();
    });
    assert_eq!((expired.unwrap(), app.count(reminders).await), (0, 1), "of the other alone");
    app.end().await;
}

both!(what_is_under_way_is_one_slice_whatever_the_batches, |app| {
    for name in ["one", "two", "three"] {
        let first = app.count("SELECT COUNT(*) FROM contacts").await as u32;
        app.people(&(first..first + 8).map(TestApp::it).collect::<Vec<_>>()).await;
        app.plan_as(LINK, |c| (c.name, c.family) = (name.into(), name.into())).await;
    }
    app.gateway.set_faults(Faults { slow: 1.0, slow_ms: 150, ..Faults::default() });
    let mut engine = app.another().await;
    std::sync::Arc::get_mut(&mut engine).expect("one owner").set_slice(6);
    permesso::web::hear_once(&engine).await.unwrap();
    let mut tx = engine.store.read().await.unwrap();
    let due = messages::due_batches(&mut tx, &engine.controller, engine.now(), 9).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(due.len(), 3);
    let (stop, mut most) = (CancellationToken::new(), 0);
    let all = futures::future::try_join_all(due.iter().map(|(batch,)| deliver::deliver(&engine, *batch, &stop)));
    let look = async {
        loop {
            most = most.max(app.count("SELECT COUNT(*) FROM attempts WHERE outcome IS NULL").await);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = all => drop(done.unwrap()),
        () = look => {}
    }
    assert_eq!(app.gateway.stats().accepted, 24);
    assert!((1..=6).contains(&most), "{most} were under way at once");
    engine.store.close().await;
});

/// A person's data are read by many statements, and in the middle of them a STOP is stored: they show the moment before it.
#[tokio::test]
async fn what_is_read_of_a_person_is_one_picture_postgres() {
    let mut app = TestApp::new(Kind::Postgres).await;
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let link = crate::erasure::grants(&app, &number).await;
    let page = format!("{link}/data");
    let ticket = field(&crate::mydata::open(&app, &page, &number).await, "ticket");
    let nonce = field(&app.get(&page).await.1, "nonce");
    let mut stop = app.engine.store.write().await.unwrap();
    // The ledger is read before these, the noes after them.
    let Tx::Postgres(held) = &mut stop else { panic!("Postgres") };
    sqlx::query("LOCK TABLE preferences IN ACCESS EXCLUSIVE MODE").execute(&mut **held).await.unwrap();
    let data = async || {
        let request = app.http.post(&page).header("sec-fetch-site", "same-origin");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let body = format!("nonce={nonce}&answer=json&ticket={ticket}");
        request.body(body).send().await.unwrap().text().await.unwrap()
    };
    let (before, ()) = tokio::join!(data(), async {
        waiting(&app, 1).await;
        let no = said("stop", &number, REPLY_NUMBER, "STOP", app.clock.now());
        receive::receive(&mut stop, &app.engine, "mock", &[&no]).await.unwrap();
        stop.commit().await.unwrap();
    });
    let says = |data: &str| ["dpv:ConsentGiven", "dpv:ConsentWithdrawn", "ev:liftedAt"].map(|what| data.contains(what));
    assert_eq!(says(&before), [true, false, false], "{before}");
    let after = data().await;
    assert_eq!(says(&after), [true, true, true], "{after}");
    // What reads can neither write nor hold a row.
    let mut tx = app.engine.store.read().await.unwrap();
    assert!(contacts::by_id(&mut tx, 1).await.unwrap().is_some());
    assert!(contacts::lock(&mut tx, 1).await.unwrap_err().to_string().contains("read-only"));
    drop(tx);
    app.end().await;
}

both!(what_is_unclear_holds_a_yes_that_came_after_it_at_another_gateway, |app| {
    let number = TestApp::gb(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(REPLY).await;
    let from = app.inbox(&number)[0].from.clone();
    app.advance(MINUTE);
    app.reply(&number, &from, "YES").await;
    app.advance(MINUTE);
    let now = app.clock.now();
    let first = [said("unclear", &number, "+447700900999", "hmm what is this about", now - 1_000_000)];
    let second = [said("second", &number, &from, "YES", now)];
    receive::store_all(&app.engine, &[("zulu", &first), ("mock", &second)]).await.unwrap();
    assert_eq!(app.granted(&number).await, Vec::<String>::new());
});

both!(a_heartbeat_from_before_the_clock_was_set_back_is_none, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.plan(LINK).await;
    permesso::web::hear_once(&app.engine).await.unwrap();
    app.hang_up().await;
    // What was written an hour ago now lies 58 minutes ahead.
    let ahead = "UPDATE listening SET heard_db = heard_db + 3480000000";
    app.execute(ahead).await.unwrap();
    app.advance(2 * MINUTE);
    let mut tx = app.engine.store.read().await.unwrap();
    let due = messages::due_batches(&mut tx, &app.engine.controller, app.engine.now(), 10).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(due.len(), 1);
    deliver::deliver(&app.engine, due[0].0, &CancellationToken::new()).await.unwrap();
    assert_eq!(app.asks(&TestApp::it(1)), 0, "nobody listens");
    app.listen().await;
    assert_eq!(app.count("SELECT COUNT(*) FROM gaps").await, 1);
});

both!(whoever_goes_away_while_their_transaction_begins_leaves_none_open, |app| {
    app.hang_up().await;
    for polls in 0..20 {
        let mut reading = Box::pin(app.engine.store.read());
        for _ in 0..polls {
            if futures::poll!(&mut reading).is_ready() {
                break;
            }
            // So often that the runtime looks for what the database answered.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        drop(reading);
        // Every connection there is, so also the one that was given up.
        let mut all = Vec::new();
        for _ in 0..if app.kind == Kind::Sqlite { 1 } else { 12 } {
            all.push(app.engine.store.write().await.unwrap());
        }
        for (n, mut tx) in all.into_iter().enumerate() {
            let written = control::register(&mut tx, &format!("worker {n}"), "worker").await;
            written.unwrap_or_else(|error| panic!("after {polls} polls: {error}"));
            tx.commit().await.unwrap();
        }
    }
});
