//! What breaks around a campaign: the database, the web role, the disk, the clock, the gateway. Afterwards everything [`after`] says must hold.

use std::cell::Cell;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use permesso::clock::{Clock, HOUR};
use permesso::domain::campaign::CampaignState;
use permesso::engine::{deliver, plan, recover};
use permesso::gateway::mock::faults::Faults;
use permesso::gateway::mock::server::Stats;
use permesso::store::{Store, messages};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::after::{after, events};
use crate::app::{Kind, LINK, MORNING, REPLY_NUMBER, TestApp};
use crate::both;
use crate::crash::{closed, end, in_flight, kill, plan_more, run_to_the_end, turns_are_over};
use crate::postgres::Cluster;
use crate::run::{Process, permesso, spawn, started, until};

pub const PEOPLE: u32 = 160;

/// A gateway that takes its time, so that something is always under way.
pub fn leisurely(app: &TestApp) {
    app.gateway.set_faults(Faults { slow: 1.0, slow_ms: 5, spread_ms: 45, duplicate: 0.2, reordered: 0.2, ..Faults::default() });
}

pub async fn some_are_asked(app: &TestApp, some: u64) {
    until("some are asked", async || app.gateway.stats().requests >= some).await;
}

#[tokio::test]
async fn postgres_crashed_and_brought_back_in_the_middle_of_a_campaign_loses_nothing() {
    postgres_goes_down_and_comes_back(3, Cluster::crash).await;
}

#[tokio::test]
async fn postgres_without_room_goes_down_and_room_lets_it_go_on() {
    postgres_goes_down_and_comes_back(1, Cluster::goes_down_for_want_of_room).await;
}

async fn postgres_goes_down_and_comes_back(times: u32, goes_down: fn(&Cluster)) {
    let cluster = Arc::new(tokio::task::spawn_blocking(Cluster::alone).await.unwrap());
    let url = cluster.url("postgres");
    let clock = Clock::starting(MORNING.parse::<DateTime<Utc>>().unwrap());
    Store::migrate(&url).await.unwrap().close().await;
    let mut app = TestApp::on(Kind::Postgres, clock, tempfile::tempdir().unwrap(), &url).await;
    app.hang_up().await;
    leisurely(&app);
    // On one thread: whatever holds it, holds everything.
    let log = std::fs::File::create(app.dir.path().join("run.log")).unwrap();
    let mut run = permesso(app.dir.path());
    run.arg("run").env("PERMESSO_CLOCK", app.clock.date_time().to_rfc3339()).env("TOKIO_WORKER_THREADS", "1").stderr(log);
    let mut run = started(&mut run);
    let mut before = 0;
    for _ in 0..times {
        plan_more(&app, before, PEOPLE).await;
        some_are_asked(&app, u64::from(before) + 30).await;
        before += PEOPLE;
        // On another thread: the gateway answers on this one.
        let crashed = cluster.clone();
        tokio::task::spawn_blocking(move || goes_down(&crashed)).await.unwrap();
        // What is said meanwhile is not answered 2xx, since it is on no disk; but it is answered. The bound is for a broken build.
        let (stop, person) = ("STOP", TestApp::it(before - 1));
        let unheard = tokio::time::timeout(Duration::from_secs(15), app.gateway.reply(&person, REPLY_NUMBER, stop)).await;
        let unheard = unheard.expect("an answer while the database is away");
        assert!(!app.gateway.taken().contains(&unheard));
        let crashed = cluster.clone();
        tokio::task::spawn_blocking(move || crashed.start_again()).await.unwrap();
        until("the database answers", async || app.engine.store.read().await.is_ok()).await;
        // Nobody says it again, and it is not lost.
        until("what was said meanwhile is stored", async || events(&app).await.contains(&unheard)).await;
        run_to_the_end(&app).await;
        // The process lived, so it knows what became of all it sent.
        after(&app, before as usize, 0).await;
    }
    assert!(run.try_wait().unwrap().is_none(), "it goes on");
    kill(&app, run).await;
    end(app).await;
}

/// Two processes, of which the one that hears dies.
async fn nobody_is_asked_while_the_web_role_is_dead(kind: Kind) {
    let app = closed(kind).await;
    leisurely(&app);
    let web = spawn(&app, &["run", "--roles", "web"], "");
    let worker = spawn(&app, &["run", "--roles", "worker"], "");
    plan_more(&app, 0, PEOPLE).await;
    some_are_asked(&app, 20).await;
    drop(web);
    // As if it had been dead for half a minute.
    app.execute("UPDATE listening SET heard_db = heard_db - 31000000").await.unwrap();
    // Whatever looked before is stored from here on.
    turns_are_over(&app).await;
    until("what was claimed before is out", async || in_flight(&app).await == 0).await;
    let asked = app.gateway.stats().requests;
    assert!(asked < u64::from(PEOPLE), "the campaign is not over");
    // Whoever says stop now is heard by nobody: the gateway alone knows.
    let not_asked: Vec<String> = (0..PEOPLE).map(TestApp::it).filter(|number| app.asks(number) == 0).collect();
    let unheard = app.gateway.reply(&not_asked[0], REPLY_NUMBER, "STOP").await;
    assert!(!app.gateway.taken().contains(&unheard));
    // Four slices' time, in each of which it may look and must not claim.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(app.gateway.stats().requests, asked, "nobody listens, and it speaks");
    let web = spawn(&app, &["run", "--roles", "web"], "");
    run_to_the_end(&app).await;
    assert_eq!(app.asks(&not_asked[0]), 0, "what was said meanwhile was read before anybody was asked");
    assert_eq!(app.count("SELECT COUNT(*) FROM gaps WHERE settled_at IS NOT NULL").await, 1);
    after(&app, PEOPLE as usize, 0).await;
    // Both at once, in the middle of the next part.
    plan_more(&app, PEOPLE, PEOPLE).await;
    some_are_asked(&app, u64::from(PEOPLE) + 20).await;
    drop(web);
    let unsettled = kill(&app, worker).await;
    let (web, worker) = (spawn(&app, &["run", "--roles", "web"], ""), spawn(&app, &["run", "--roles", "worker"], ""));
    run_to_the_end(&app).await;
    drop(web);
    kill(&app, worker).await;
    after(&app, 2 * PEOPLE as usize, unsettled).await;
    end(app).await;
}

#[tokio::test]
async fn nobody_is_asked_while_the_web_role_is_dead_sqlite() {
    nobody_is_asked_while_the_web_role_is_dead(Kind::Sqlite).await;
}

#[tokio::test]
async fn nobody_is_asked_while_the_web_role_is_dead_postgres() {
    nobody_is_asked_while_the_web_role_is_dead(Kind::Postgres).await;
}

/// No file may grow beyond so many bytes: a full disk for one process, on any machine and without a mount. `unlimited` makes room again.
fn limit_files(process: &Process, bytes: &str) {
    let limit = format!("--fsize={bytes}:unlimited");
    let done = Command::new("prlimit").args(["--pid", &process.id().to_string(), &limit]).status();
    assert!(done.expect("prlimit").success());
}

/// A small disk of its own for a database.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None` where nothing may be mounted, as where nobody is root.
    fn small() -> Option<Disk> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=96m,mode=755", "tmpfs"]).arg(dir.path()).output();
        mounted.is_ok_and(|told| told.status.success()).then(|| Disk(dir))
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            let zeros = vec![0; size];
            let full = loop {
                if let Err(error) = file.write_all(&zeros) {
                    break error;
                }
            };
            assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Once by a limit on files (EFBIG), and once by a disk that is full (ENOSPC), which SQLite tells by another code.
#[tokio::test]
async fn a_full_disk_stops_everything_and_room_lets_it_go_on() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::small());
    if disk.is_none() {
        println!("skipped: a disk that is full, since nothing can be mounted here; twice a limit on files instead");
    }
    let folder = disk.as_ref().map_or(dir.path(), |disk| disk.0.path());
    let database = format!("sqlite:{}", folder.join("permesso.db").display());
    let clock = Clock::starting(MORNING.parse::<DateTime<Utc>>().unwrap());
    let mut app = TestApp::on(Kind::Sqlite, clock, dir, &database).await;
    app.hang_up().await;
    leisurely(&app);
    let run = permesso(app.dir.path());
    // Without the signal that a shell's child would die of, a write beyond the limit is an error, as on a full disk.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(run.get_program()).args(run.get_args()).arg("run");
    shell.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let log = std::fs::File::create(app.dir.path().join("run.log")).unwrap();
    let mut run = started(shell.stderr(log));
    let mut before = 0;
    let mut unheard = String::new();
    for disk in [None, disk.as_ref()] {
        plan_more(&app, before, PEOPLE).await;
        some_are_asked(&app, u64::from(before) + 30).await;
        before += PEOPLE;
        match disk {
            Some(disk) => disk.fill(),
            None => limit_files(&run, "4096"),
        }
        until("nothing can be stored", async || {
            unheard = app.gateway.reply(&TestApp::it(9_999), REPLY_NUMBER, "mah").await;
            !app.gateway.taken().contains(&unheard)
        })
        .await;
        let asked = app.gateway.stats().requests;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(app.gateway.stats().requests <= asked + 100, "what could not be written down is not sent");
        match disk {
            Some(disk) => disk.make_room(),
            None => limit_files(&run, "unlimited"),
        }
        until("what was said meanwhile is stored", async || events(&app).await.contains(&unheard)).await;
        run_to_the_end(&app).await;
        after(&app, before as usize, 0).await;
    }
    assert!(run.try_wait().unwrap().is_none(), "it goes on");
    kill(&app, run).await;
    end(app).await;
}

/// The ramp-up pauses a campaign in its middle, where it has come so far.
async fn go_on(app: &TestApp) {
    _ = plan::set_state(&app.engine, LINK, CampaignState::Running).await;
}

both!(a_clock_that_is_stepped_asks_nobody_twice, |app| {
    let people: Vec<String> = (0..60).map(TestApp::it).collect();
    app.people(&people).await;
    app.plan_as(LINK, |campaign| campaign.limits.first = Some(20)).await;
    app.gateway.set_faults(Faults { slow: 1.0, slow_ms: 100, ..Faults::default() });
    let step = async |hours: i64| {
        // While a slice is out: what it finds out counts all the same, and a sweep meanwhile takes it for lost or not.
        let all_sent = Cell::new(false);
        let sent = async {
            app.deliver().await;
            all_sent.set(true);
        };
        let stepped = async {
            until("a slice is out", async || in_flight(app).await > 0 || all_sent.get()).await;
            app.clock.advance(hours * HOUR);
            recover::sweep(&app.engine).await.unwrap();
        };
        tokio::join!(sent, stepped);
        app.gateway.idle().await;
        go_on(app).await;
    };
    // Into the night, which forbids; back to where it was, and a day on.
    for hours in [1, -1, -12, 12, 24] {
        step(hours).await;
        let asked = app.gateway.stats().accepted;
        assert!(asked <= 60);
    }
    for _ in 0..4 {
        app.deliver().await;
        app.advance(Duration::from_secs(3600));
        go_on(app).await;
    }
    app.gateway.idle().await;
    after(app, 60, 0).await;
    assert_eq!(app.gateway.stats().accepted, 60);
});

/// Its name, what makes it, and by what count of the gateway's it has struck.
type Weather = (&'static str, fn(&mut Faults), fn(&Stats) -> u64);

/// Every kind of bad weather, each for the first half of a campaign, and then the sky clears. Of fifteen messages each strikes some, but for
/// once in 70 million times.
const WEATHERS: [Weather; 9] = [
    ("a storm of 5xx", |f| f.server_error = 1.0, |s| s.accepted_unanswered + s.dropped_unanswered),
    ("throttling", |f| f.throttle = 0.7, |s| s.throttled),
    ("answers cut in their middle", |f| f.cut = 0.7, |s| s.accepted_unanswered),
    ("answers nobody can read", |f| f.garbage = 0.7, |s| s.accepted_unanswered),
    ("taken, and hung up", |f| f.accept_then_reset = 0.7, |s| s.accepted_unanswered),
    ("hung up before", |f| f.reset_before_accept = 0.7, |s| s.dropped_unanswered),
    ("taken, and silence", |f| f.accept_then_timeout = 0.7, |s| s.accepted_unanswered),
    ("slow", |f| (f.slow, f.slow_ms) = (0.7, 200), |s| s.slowed),
    ("refusals", |f| f.refuse = 0.7, |s| s.refused),
];

both!(in_any_weather_nobody_is_asked_twice_and_what_is_unknown_was_in_doubt, |app| {
    let (mut people, mut told) = (0, 0);
    for (weather, change, struck) in WEATHERS {
        let numbers: Vec<String> = (people..people + 30).map(TestApp::it).collect();
        people += 30;
        app.people(&numbers).await;
        app.plan_as(LINK, |campaign| campaign.limits.first = Some(15)).await;
        let mut faults = Faults { seed: u64::from(people), duplicate: 0.3, reordered: 0.3, ..Faults::default() };
        change(&mut faults);
        app.gateway.set_faults(faults);
        let before = struck(&app.gateway.stats());
        app.deliver().await;
        assert!(struck(&app.gateway.stats()) > before, "{weather} has struck nobody");
        // A storm of what was told before, while the gateway is in trouble: whole callbacks again, in any order.
        let again = app.gateway.told_since(told);
        assert!(again.is_empty() || app.gateway.deliver(again.into_iter().rev().collect()).await);
        app.gateway.set_faults(Faults::default());
        for _ in 0..12 {
            go_on(app).await;
            app.advance(Duration::from_secs(60));
            app.deliver().await;
        }
        app.gateway.idle().await;
        println!("after {weather}");
        told = app.gateway.taken().len();
        let stats = app.gateway.stats();
        after(app, people as usize, stats.accepted_unanswered + stats.dropped_unanswered).await;
    }
});

/// A claim that takes longer than permits last needs new ones, and these need the database: what was claimed is given back, not left as
/// "sending" until nobody knows.
#[tokio::test]
async fn a_slice_that_gets_no_permits_after_its_claim_is_as_if_never_claimed() {
    let app = TestApp::new(Kind::Postgres).await;
    let numbers: Vec<String> = (0..3).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.plan(LINK).await;
    // The claim itself is stored; the rates are gone when it is.
    let Store::Postgres { pool, .. } = &app.engine.store else { unreachable!() };
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                  PERFORM pg_sleep(0.3); ALTER TABLE rates RENAME TO elsewhere; RETURN NULL; END $$;
                CREATE TRIGGER slow AFTER INSERT ON attempts FOR EACH STATEMENT EXECUTE FUNCTION slow()";
    sqlx::raw_sql(slow).execute(pool).await.unwrap();
    permesso::web::hear_once(&app.engine).await.unwrap();
    let mut tx = app.engine.store.read().await.unwrap();
    let due = messages::due_batches(&mut tx, &app.engine.controller, app.clock.now(), 1).await.unwrap();
    tx.rollback().await.unwrap();
    let failed = deliver::deliver(&app.engine, due[0].0, &CancellationToken::new()).await;
    assert!(failed.is_err_and(|error| format!("{error:#}").contains("rates")), "and the log says why");
    assert_eq!(app.count("SELECT COUNT(*) FROM attempts WHERE outcome = 'not_accepted'").await, 3);
    assert_eq!(app.states().await, [("planned".to_owned(), 3)].into());

    sqlx::raw_sql("DROP TRIGGER slow ON attempts; ALTER TABLE elsewhere RENAME TO rates").execute(pool).await.unwrap();
    app.settle().await;
    assert!(numbers.iter().all(|number| app.asks(number) == 1));
}

both!(two_planners_at_once_decide_about_everybody_once, |app| {
    let people: Vec<String> = (0..500).map(TestApp::it).collect();
    app.people(&people).await;
    let campaign = app.engine.config.campaign(LINK).unwrap();
    let counts = plan::preview(&app.engine, &campaign, |_| {}).await.unwrap();
    let plan_id = plan::save(&app.engine, &campaign, &counts).await.unwrap();
    let id = plan::start(&app.engine, LINK, &plan_id).await.unwrap().campaign_id;
    let second = app.another().await;
    let plans = [app.engine.clone(), second.clone()]
        .map(|engine| tokio::spawn(async move { while plan::plan_next(&engine, id).await.expect("planned") {} }));
    for planner in plans {
        planner.await.unwrap();
    }
    second.store.close().await;
    assert_eq!(app.count("SELECT COUNT(*) FROM messages").await, 500);
    assert_eq!(app.count("SELECT COUNT(DISTINCT contact_id) FROM messages").await, 500);
    assert_eq!(app.count("SELECT COUNT(*) FROM decisions").await, 500);
    app.settle().await;
    after(app, 500, 0).await;
    assert_eq!(app.gateway.stats().accepted, 500);
});

/// Reads one request whole. False where none comes any more.
async fn read_whole(socket: &mut tokio::net::TcpStream) -> bool {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) {
                return true;
            }
        }
        if socket.read_buf(&mut read).await.expect("read") == 0 {
            return false;
        }
    }
}

both!(a_gateway_that_hangs_up_halfway_leaves_unknown_what_it_read_and_gets_nothing_twice, |app| {
    const PEOPLE: usize = 3;
    app.people(&(0..3).map(TestApp::it).collect::<Vec<_>>()).await;
    app.plan(LINK).await;
    let port = app.close_gateway().await;
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let read = Arc::new(AtomicUsize::new(0));
    let counted = read.clone();
    // It reads, says nothing more, and keeps its ear open.
    let half_closing = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            counted.fetch_add(usize::from(read_whole(&mut socket).await), Ordering::SeqCst);
            socket.shutdown().await.expect("its own half is closed");
            kept.push(socket);
        }
    });
    app.deliver().await;
    half_closing.abort();
    assert!(half_closing.await.is_err_and(|e| e.is_cancelled()));
    app.open_gateway(port).await;
    assert_eq!(read.load(Ordering::SeqCst), PEOPLE, "each was read once");
    assert_eq!(app.states().await.get("unknown"), Some(&3));
    app.advance(Duration::from_secs(3600));
    recover::sweep(&app.engine).await.unwrap();
    app.settle().await;
    assert_eq!(app.gateway.stats().requests, 0);
    after(app, PEOPLE, PEOPLE as u64).await;
});
