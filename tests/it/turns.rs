//! Whose turn it is: answers, planners and other campaigns beside campaigns that send slowly; bells that ring no more often than there is
//! reason; a worker that stops, and the queue that it cannot read meanwhile.

use std::process::Command;
use std::time::{Duration, Instant};

use permesso::domain::campaign::CampaignState;
use permesso::engine::deliver::{self, Ended};
use permesso::engine::{plan, recover};
use permesso::gateway::mock::faults::Faults;
use permesso::store::Store;
use permesso::store::queue::{self, Job};
use tokio_util::sync::CancellationToken;

use crate::app::{Kind, LINK, REPLY, TestApp};
use crate::between::{ASKS_FROM, DAY};
use crate::both;
use crate::crash::{closed, end};
use crate::run::{Process, spawn, until};

/// One message in twenty seconds.
const SLOWLY: f64 = 0.05;

async fn answers_and_planners_wait_for_no_campaign(kind: Kind) {
    let app = closed(kind).await;
    let (british, italian) = ((1..=30).map(TestApp::gb).collect::<Vec<_>>(), (1..=30).map(TestApp::it).collect::<Vec<_>>());
    app.people(&british).await;
    app.people(&italian).await;
    for (name, country) in [(REPLY, "GB"), (LINK, "IT")] {
        app.plan_as(name, |c| (c.limits.rate, c.countries) = (SLOWLY, vec![country.into()])).await;
    }
    let run = spawn(&app, &["run"], "");
    let asked = |of: &[String]| of.iter().filter(|number| app.asks(number) > 0).count();
    until("both have begun", async || asked(&british) > 0 && asked(&italian) > 0).await;

    let person = british.iter().find(|number| app.asks(number) > 0).expect("somebody asked");
    app.gateway.reply(person, ASKS_FROM, "YES").await;
    until("the yes has its confirmation", async || app.inbox(person).iter().any(|m| m.reference.starts_with("cfm"))).await;
    assert!(asked(&british) < british.len() && asked(&italian) < italian.len(), "beside the asks and not after them");

    // Nobody has decided about this one yet.
    let spanish = "+34770000001".to_owned();
    app.people(std::slice::from_ref(&spanish)).await;
    let mut third = app.engine.config.campaign(LINK).expect("a campaign");
    (third.name, third.family, third.countries) = ("third".into(), "third".into(), vec!["ES".into()]);
    let counts = plan::preview(&app.engine, &third, |_| {}).await.expect("previewed");
    let id = plan::save(&app.engine, &third, &counts).await.expect("saved");
    plan::start(&app.engine, "third", &id).await.expect("started");
    let started = Instant::now();
    until("the third has asked", async || app.asks(&spanish) == 1).await;
    // The queue is looked into ten times a second, and not when its worker's heart beats.
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert!(asked(&british) < british.len() && asked(&italian) < italian.len(), "in their midst");
    drop(run);
    end(app).await;
}

#[tokio::test]
async fn answers_and_planners_wait_for_no_campaign_sqlite() {
    answers_and_planners_wait_for_no_campaign(Kind::Sqlite).await;
}

#[tokio::test]
async fn answers_and_planners_wait_for_no_campaign_postgres() {
    answers_and_planners_wait_for_no_campaign(Kind::Postgres).await;
}

/// One campaign's ten people, in so many batches.
async fn in_batches(app: &TestApp, batches: usize, rate: f64) {
    app.people(&(0..10).map(TestApp::it).collect::<Vec<_>>()).await;
    app.plan_as(LINK, |c| c.limits.rate = rate).await;
    for _ in 1..batches {
        let another = "INSERT INTO batches (controller, campaign_id, gateway, sender, lo, hi, next_due, open)
            SELECT controller, campaign_id, gateway, sender, lo, hi, next_due, open FROM batches WHERE id = (SELECT MIN(id) FROM batches)";
        app.execute(another).await.expect("another batch");
    }
    let spread = "UPDATE messages SET batch_id = (SELECT MIN(b.id) + messages.id % COUNT(*) FROM batches b)";
    app.execute(spread).await.expect("spread");
}

both!(a_campaign_has_two_batches_in_work_and_leaves_the_rest_of_the_worker_to_others, |app| {
    in_batches(app, 3, SLOWLY).await;
    permesso::web::hear_once(&app.engine).await.unwrap();
    let first = app.count("SELECT MIN(id) FROM batches").await;
    let stop = CancellationToken::new();
    let [one, two] = [first, first + 1].map(|batch| deliver::deliver(&app.engine, batch, &stop));
    let third = async {
        until("one has begun", async || app.count("SELECT COUNT(*) FROM attempts").await > 0).await;
        // The other has looked at what it has meanwhile, and waits for its rate.
        tokio::time::sleep(Duration::from_millis(300)).await;
        // What is left to those two ends at once; the bound is for a broken build.
        let left = tokio::time::timeout(Duration::from_secs(10), deliver::deliver(&app.engine, first + 2, &stop)).await;
        stop.cancel();
        left
    };
    let (one, two, third) = tokio::join!(one, two, third);
    assert_eq!([one.unwrap(), two.unwrap()], [Ended::Stopped, Ended::Stopped]);
    assert_eq!(third.expect("at once").unwrap(), Ended::Rested(None));
});

/// The jobs in the queue, each taken out of it.
async fn take_jobs(app: &TestApp) -> Vec<Job> {
    let args: Vec<Vec<u8>> = match &app.engine.store {
        Store::Sqlite { write, .. } => sqlx::query_scalar("DELETE FROM Jobs RETURNING job").fetch_all(write).await.unwrap(),
        Store::Postgres { pool, .. } => {
            sqlx::query_scalar("DELETE FROM apalis.jobs RETURNING job").fetch_all(pool).await.unwrap()
        }
    };
    args.iter().map(|args| serde_json::from_slice(args).expect("a job")).collect()
}

async fn jobs(app: &TestApp) -> i64 {
    app.count(match app.kind {
        Kind::Sqlite => "SELECT COUNT(*) FROM Jobs",
        Kind::Postgres => "SELECT COUNT(*) FROM apalis.jobs",
    })
    .await
}

/// So many rounds of everything that rings: each job in the queue, and the sweep twice. Answers how many jobs stand there after each.
async fn rounds(app: &TestApp, rounds: usize) -> Vec<i64> {
    let mut stood = Vec::new();
    for _ in 0..rounds {
        permesso::web::hear_once(&app.engine).await.unwrap();
        for job in take_jobs(app).await {
            if let Job::Deliver { batch } = job {
                deliver::drain(&app.engine, batch, &CancellationToken::new()).await.unwrap();
            }
        }
        stood.push(jobs(app).await);
        app.advance(Duration::from_secs(31));
        for _ in 0..2 {
            recover::sweep(&app.engine).await.unwrap();
        }
        // One that waits for its time, and one that may run now.
        assert!(jobs(app).await <= 8, "{stood:?}");
    }
    stood
}

both!(bells_ring_for_what_waits_and_not_ever_more_often, |app| {
    let port = app.close_gateway().await;
    in_batches(app, 4, 10_000.0).await;
    let stood = rounds(app, 8).await;
    assert!(stood[1..].iter().all(|jobs| *jobs == 4), "one a batch while the gateway is away: {stood:?}");
    plan::set_state(&app.engine, LINK, CampaignState::Paused).await.unwrap();
    let stood = rounds(app, 4).await;
    assert!(stood.iter().all(|jobs| *jobs <= 4), "nor while the campaign is paused: {stood:?}");
    app.open_gateway(port).await;
    plan::set_state(&app.engine, LINK, CampaignState::Running).await.unwrap();
    let stood = rounds(app, 3).await;
    assert_eq!(stood.last(), Some(&0), "nothing is left to ring for: {stood:?}");
    assert_eq!(app.states().await.values().sum::<i64>(), 10);
    assert!(!app.states().await.contains_key("planned"), "{:?}", app.states().await);
});

async fn rename_the_queue(app: &TestApp, away: bool) {
    let sql = match (app.kind, away) {
        (Kind::Sqlite, true) => "ALTER TABLE Jobs RENAME TO elsewhere",
        (Kind::Sqlite, false) => "ALTER TABLE elsewhere RENAME TO Jobs",
        (Kind::Postgres, true) => {
            "DO $$ BEGIN ALTER TABLE apalis.jobs RENAME TO elsewhere;
               ALTER FUNCTION apalis.get_jobs(TEXT, TEXT, INTEGER) RENAME TO get_elsewhere; END $$"
        }
        (Kind::Postgres, false) => {
            "DO $$ BEGIN ALTER TABLE apalis.elsewhere RENAME TO jobs;
               ALTER FUNCTION apalis.get_elsewhere(TEXT, TEXT, INTEGER) RENAME TO get_jobs; END $$"
        }
    };
    app.execute(sql).await.expect("renamed");
}

fn log(app: &TestApp) -> String {
    std::fs::read_to_string(app.dir.path().join("run.log")).expect("the log")
}

async fn ends(mut run: Process) -> Option<i32> {
    Command::new("kill").arg(run.id().to_string()).status().expect("kill");
    let mut code = None;
    until("it has ended", async || {
        code = run.try_wait().expect("asked");
        code.is_some()
    })
    .await;
    code.and_then(|code| code.code())
}

/// Messages whose answer is not stored; a receipt may be here before it.
async fn unanswered(app: &TestApp) -> i64 {
    app.count("SELECT COUNT(*) FROM attempts WHERE outcome IS NULL").await
}

/// What ends apalis' worker leaves its handlers on their own.
async fn what_is_in_flight_is_waited_for_also_after_an_error_of_the_queue(kind: Kind) {
    const AWAY: &str = "The queue could not be read; trying again";
    let app = closed(kind).await;
    let run = spawn(&app, &["run"], "");
    until("it runs", async || log(&app).contains("Worker started")).await;
    rename_the_queue(&app, true).await;
    until("the queue is missed", async || log(&app).contains(AWAY)).await;
    // As long as several tries.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(log(&app).matches(AWAY).count(), 1, "{}", log(&app));
    rename_the_queue(&app, false).await;
    until("the queue is read again", async || log(&app).contains("The queue is read again")).await;

    app.people(&(0..20).map(TestApp::it).collect::<Vec<_>>()).await;
    app.gateway.set_faults(Faults { slow: 1.0, slow_ms: 4_000, ..Faults::default() });
    app.plan(LINK).await;
    until("some are under way", async || app.gateway.stats().requests > 0).await;
    rename_the_queue(&app, true).await;
    until("the queue is missed again", async || log(&app).matches(AWAY).count() == 2).await;
    assert!(unanswered(&app).await > 0, "while they are under way: {}", log(&app));
    let code = ends(run).await;
    assert_eq!(unanswered(&app).await, 0, "{}", log(&app));
    assert_eq!(code, Some(0), "{}", log(&app));
    assert!(log(&app).contains("everything it had sent is stored") && !log(&app).contains("WorkerError"), "{}", log(&app));
    rename_the_queue(&app, false).await;
    end(app).await;
}

#[tokio::test]
async fn what_is_in_flight_is_waited_for_also_after_an_error_of_the_queue_sqlite() {
    what_is_in_flight_is_waited_for_also_after_an_error_of_the_queue(Kind::Sqlite).await;
}

#[tokio::test]
async fn what_is_in_flight_is_waited_for_also_after_an_error_of_the_queue_postgres() {
    what_is_in_flight_is_waited_for_also_after_an_error_of_the_queue(Kind::Postgres).await;
}

both!(a_worker_that_stops_knows_whether_all_is_stored_and_sends_nothing_more, |app| {
    app.people(&(0..4).map(TestApp::it).collect::<Vec<_>>()).await;
    app.gateway.set_faults(Faults { slow: 1.0, slow_ms: 1_000, ..Faults::default() });
    app.plan(LINK).await;
    let stored = async {
        until("some are under way", async || unanswered(app).await > 0).await;
        let unstored = app.engine.all_stored(Duration::from_millis(1)).await;
        assert!(unstored > 0, "it is not told what is not so");
        let unstored = app.engine.all_stored(Duration::from_secs(60)).await;
        (unstored, unanswered(app).await)
    };
    let (_, left) = tokio::join!(app.deliver(), stored);
    assert_eq!(left, (0, 0));
    // No room is left for another.
    app.people(&[TestApp::it(4)]).await;
    app.plan_as(LINK, |c| c.name = "quinta".into()).await;
    let (asked, stop) = (app.gateway.stats().requests, CancellationToken::new());
    let batch = app.count("SELECT MAX(id) FROM batches").await;
    let soon = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(deliver::deliver(&app.engine, batch, &stop), soon);
    assert_eq!((ended.unwrap(), app.gateway.stats().requests), (Ended::Stopped, asked));
});

both!(what_fails_in_the_upkeep_keeps_nothing_else_from_its_turn, |app| {
    app.people(&[TestApp::it(1)]).await;
    let id = app.send(LINK).await;
    rename_the_queue(app, true).await;
    app.advance(DAY * 60);
    permesso::worker::tidy(&app.engine).await;
    assert_eq!(app.campaign(id).await.state(), CampaignState::Finished, "its deadline has passed all the same");
    assert!(crate::run::is_logged("Upkeep (recovery) failed"));
    rename_the_queue(app, false).await;
});

both!(a_job_that_stands_there_is_not_rung_for_again, |app| {
    let (now, later) = (Duration::ZERO, Duration::from_secs(60));
    let [one, two] = [1, 2].map(|batch| Job::Deliver { batch });
    let mut tx = app.engine.store.write().await.unwrap();
    for delay in [later, later, now, now, later] {
        queue::ring(&mut tx, &one, delay).await.unwrap();
    }
    queue::ring(&mut tx, &two, later).await.unwrap();
    assert_eq!(queue::standing(&mut tx).await.unwrap(), [one].into());
    tx.commit().await.unwrap();
    assert_eq!(jobs(app).await, 3, "one now, one later, and one of the other");
    // No earlier than it was to be, though the queue reckons in seconds.
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap() + Duration::from_millis(1_500);
    let mut tx = app.engine.store.write().await.unwrap();
    queue::ring(&mut tx, &two, Duration::from_millis(1_500)).await.unwrap();
    tx.commit().await.unwrap();
    let first = match app.kind {
        Kind::Sqlite => "SELECT run_at * 1000000 FROM Jobs ORDER BY run_at LIMIT 1 OFFSET 1",
        Kind::Postgres => {
            "SELECT CAST(EXTRACT(EPOCH FROM run_at) * 1000000 AS BIGINT) FROM apalis.jobs ORDER BY run_at OFFSET 1 LIMIT 1"
        }
    };
    assert!(app.count(first).await >= i64::try_from(at.as_micros()).unwrap());
    assert!(queue::answers(&app.engine.store).await.is_ok());
    rename_the_queue(app, true).await;
    assert!(queue::answers(&app.engine.store).await.is_err());
    rename_the_queue(app, false).await;
});
