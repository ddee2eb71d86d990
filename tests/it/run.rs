//! Real processes: what SIGKILL leaves behind, what the command line says, what is logged.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use permesso::clock::Clock;
use permesso::gateway::mock::faults::Faults;
use sqlx::ConnectOptions;

use crate::app::{Kind, LINK, MORNING, REPLY_NUMBER, TestApp};
use crate::crash::kill;

static LOGS: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// What the captured log begins with, so that a story that logs nothing knows all the same that it is captured.
const BEGINS: &str = "The log is captured";

struct Captured;

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGS.lock().expect("logs").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps everything the suite logs, down to the finest level of our own code.
pub fn capture_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt().with_env_filter("warn,permesso=trace").with_ansi(false).with_writer(|| Captured).init();
        tracing::trace!(target: "permesso", "{BEGINS}");
    });
}

pub fn logs_hold_none_of(private: &[String]) {
    let logs = String::from_utf8_lossy(&LOGS.lock().expect("logs")).into_owned();
    assert!(logs.contains(BEGINS), "the log was captured");
    for text in private {
        // The line is shown, since these numbers are fictional: whoever sees this fail has to find it.
        let line = logs.lines().find(|line| line.contains(text.as_str()));
        assert!(line.is_none(), "the log holds something private: {line:?}");
    }
}

pub fn is_logged(text: &str) -> bool {
    String::from_utf8_lossy(&LOGS.lock().expect("logs")).contains(text)
}

/// `permesso` as a process of its own; another build of it where `PERMESSO_BIN` names one.
pub fn permesso(dir: &Path) -> Command {
    let built = || env!("CARGO_BIN_EXE_permesso").into();
    let mut command = Command::new(std::env::var_os("PERMESSO_BIN").unwrap_or_else(built));
    command.arg("--config").arg(dir.join("config")).env("PERMESSO_CLOCK", MORNING).env_remove("RUST_LOG");
    command
}

/// A process that ends with the test that started it, also where that fails.
pub struct Process(Child);

impl std::ops::Deref for Process {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

pub fn spawn_run(app: &TestApp) -> Process {
    spawn(app, &["run"], "")
}

/// A long command whose clock goes on with the test's; `crash` names the place at which it dies, if any.
pub fn spawn(app: &TestApp, args: &[&str], crash: &str) -> Process {
    spawn_in(app, app.dir.path(), args, crash)
}

/// As [`spawn`], with the settings in this folder.
pub fn spawn_in(app: &TestApp, dir: &Path, args: &[&str], crash: &str) -> Process {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(app.dir.path().join("run.log")).expect("a log");
    let mut command = permesso(dir);
    command.args(args).env("PERMESSO_CLOCK", app.clock.date_time().to_rfc3339()).env("PERMESSO_CRASH", crash);
    started(command.stderr(log))
}

/// Starts a long command.
pub fn started(command: &mut Command) -> Process {
    Process(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("a process"))
}

/// Waits for something another process does; the bound is for a broken build, not for speed.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < Duration::from_secs(90), "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn sigkill_in_the_middle_of_a_slice_asks_nobody_twice(kind: Kind) {
    let mut app = TestApp::with_clock(kind, Clock::starting(MORNING.parse::<DateTime<Utc>>().expect("a time"))).await;
    const PEOPLE: usize = 400;
    let numbers: Vec<String> = (0..PEOPLE as u32).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.gateway.set_faults(Faults { slow: 1.0, slow_ms: 60, ..Faults::default() });
    app.plan(LINK).await;
    app.hang_up().await;

    let first = spawn_run(&app);
    until("a slice is under way", async || app.gateway.stats().accepted > 60).await;
    let in_flight = kill(&app, first).await;
    assert!(in_flight > 0, "the kill came in the middle of a slice");

    let mut second = spawn_run(&app);
    until("everything planned is out", async || {
        let states = app.states().await;
        !states.contains_key("planned") && !states.contains_key("sending")
    })
    .await;
    app.gateway.idle().await;
    let stats = app.gateway.stats();
    assert_eq!(stats.duplicates, 0);
    assert!(stats.max_per_reference <= 1);
    let states = app.states().await;
    assert_eq!(states.values().sum::<i64>(), PEOPLE as i64, "{states:?}");
    let not_sent = PEOPLE as u64 - stats.accepted;
    assert!(not_sent <= in_flight, "{not_sent} were never sent, {in_flight} were in flight");
    if kind == Kind::Sqlite {
        let mut third = spawn(&app, &["run", "--roles", "worker"], "");
        until("a second worker on the file has ended", async || third.try_wait().expect("asked").is_some()).await;
        assert_eq!(third.wait().expect("ended").code(), Some(1));
        let log = std::fs::read_to_string(app.dir.path().join("run.log")).expect("the log");
        assert!(log.contains("another worker process has this database; remedy: stop it, or move to Postgres"), "{log}");
    }
    // SIGTERM: a graceful end, exit code 0.
    Command::new("kill").arg(second.id().to_string()).status().expect("kill");
    assert!(second.wait().expect("ended").success());
    let log = std::fs::read_to_string(app.dir.path().join("run.log")).expect("the log");
    assert!(log.contains("sends of a lost worker are now unknown"), "recovery is visible:\n{log}");
    assert!(log.contains("`permesso campaign settle rinnovo-consensi` asks the gateway"), "and what to do about it:\n{log}");
    for number in &numbers {
        assert!(!log.contains(number.trim_start_matches('+')), "the log holds a number");
    }
    app.engine.store.close().await;
}

#[tokio::test]
async fn sigkill_in_the_middle_of_a_slice_asks_nobody_twice_sqlite() {
    sigkill_in_the_middle_of_a_slice_asks_nobody_twice(Kind::Sqlite).await;
}

#[tokio::test]
async fn sigkill_in_the_middle_of_a_slice_asks_nobody_twice_postgres() {
    sigkill_in_the_middle_of_a_slice_asks_nobody_twice(Kind::Postgres).await;
}

/// Runs a command to its end: exit code, stdout, stderr. The test's own listeners go on meanwhile, lest one of them hold a lock the
/// command waits for.
pub async fn ask(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = permesso(dir);
    command.args(args);
    let out = tokio::process::Command::from(command).output().await.expect("permesso");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
}

#[tokio::test]
async fn the_command_line_goes_from_a_list_to_consents() {
    let mut app = TestApp::with_clock(Kind::Sqlite, Clock::starting(MORNING.parse::<DateTime<Utc>>().expect("a time"))).await;
    let dir = app.dir.path().to_owned();
    let list = dir.join("list.csv");
    std::fs::write(&list, format!("{}{}", crate::app::HEADER, TestApp::good(&TestApp::it(1)))).expect("written");
    let (code, out, err) = ask(&dir, &["import", "contacts", list.to_str().expect("text")]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("1 new person\n"), "{out}");
    let (code, out, _) = ask(&dir, &["campaign", "plan", LINK]).await;
    assert_eq!(code, 0);
    let plan = out.split("plan id: ").nth(1).and_then(|r| r.split_whitespace().next()).expect("a plan id").to_owned();
    let (code, _, err) = ask(&dir, &["campaign", "start", LINK, "--plan", "plan-unknown"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("remedy"), "{err}");
    assert_eq!(ask(&dir, &["campaign", "start", LINK, "--plan", &plan]).await.0, 0);
    app.hang_up().await;
    let mut run = spawn_run(&app);
    until("the ask is delivered", async || app.asks(&TestApp::it(1)) == 1).await;
    app.gateway.idle().await;
    let link = app.link(&TestApp::it(1));
    assert_eq!(app.submit(&link, "chosen", &["sms.promotions"]).await, 303);
    app.gateway.reply(&TestApp::it(1), REPLY_NUMBER, "SI").await;
    run.kill().expect("killed");
    run.wait().expect("gone");
    let (code, out, _) = ask(&dir, &["consents", "export"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("sms,promotions,granted"), "{out}");
    // A STOP is the first thing a CRM has to learn of.
    let stop = TestApp::good(&TestApp::it(2)).replace("unticked,", "unticked,yes");
    std::fs::write(&list, format!("{}{stop}", crate::app::HEADER)).expect("written");
    assert_eq!(ask(&dir, &["import", "contacts", list.to_str().expect("text")]).await.0, 0);
    let (_, out, _) = ask(&dir, &["consents", "export"]).await;
    assert!(out.contains("+393000000002,IT,,all,all,unsubscribed_before"), "{out}");
    let (_, out, _) = ask(&dir, &["contact", "explain", "300 000 0001"]).await;
    assert!(out.contains("Ledger") && out.contains("granted"), "{out}");
    let (_, out, _) = ask(&dir, &["--json", "campaign", "report", LINK]).await;
    let report: serde_json::Value = serde_json::from_str(&out).expect("one JSON object");
    assert_eq!(report["confirmed"], 1);
    assert_eq!(ask(&dir, &["ledger", "verify"]).await.0, 0);
    assert_eq!(ask(&dir, &["no-such-command"]).await.0, 2);
    // A word that no list has makes the command a wrong one, and all the list has is named.
    for (command, all) in [
        (["consents", "list", "--status", "silly"].as_slice(), "granted, pending, refused, withdrawn, expired, suppressed"),
        (&["consents", "overview", "--channel", "post"], "sms, whatsapp, call"),
        (&["consents", "overview", "--purpose", "gain"], "product_info, promotions, profiling"),
        (&["campaign", "test", LINK, "--to", "+393001234500", "--channel", "call"], "sms, whatsapp"),
        (&["contact", "export", "300 000 0001", "--locale", "xx"], "it, "),
        (&["contact", "requests", "note", "300 000 0001", "--right", "silence"], "access, rectification, erasure"),
        (&["run", "--roles", "cook"], "web, worker"),
    ] {
        let (code, _, err) = ask(&dir, command).await;
        assert!(code == 2 && err.contains(&format!("[possible values: {all}")), "{command:?}: {code} {err}");
    }
    let (code, out, _) = ask(&dir, &["consents", "overview", "--status", "granted", "--channel", "sms"]).await;
    assert!(code == 0 && out.contains("sms.promotions") && !out.contains("call.promotions"), "{out}");
    app.engine.store.close().await;
}

/// Every command that prints much, or prints by a way of its own, into a pipe whose reader has gone, as `head` does.
#[tokio::test]
async fn an_empty_clock_is_the_systems() {
    let mut app = TestApp::new(Kind::Sqlite).await;
    let year = async |clock: &str| {
        let mut command = permesso(app.dir.path());
        command.args(["consents", "overview"]).env("PERMESSO_CLOCK", clock);
        let out = tokio::process::Command::from(command).output().await.expect("permesso");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let this_year = chrono::Utc::now().format("%Y-").to_string();
    assert!(year("").await.contains(&this_year));
    assert!(year("2031-05-01T09:45:00Z").await.contains("2031-"));
    app.end().await;
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let mut app = TestApp::with_clock(Kind::Sqlite, Clock::starting(MORNING.parse::<DateTime<Utc>>().expect("a time"))).await;
    app.people(&[TestApp::it(1), TestApp::it(2)]).await;
    app.send(LINK).await;
    app.reply(&TestApp::it(1), REPLY_NUMBER, "STOP").await;
    app.hang_up().await;
    let commands: [&[&str]; 12] = [
        &["consents", "export"],
        &["ledger", "export"],
        &["ledger", "verify"],
        &["reply", "classify", "--locale", "it", "--explain"],
        &["config", "packs"],
        &["config", "check"],
        &["campaign", "preview", LINK, "--all"],
        &["campaign", "plan", LINK],
        &["campaign", "report", LINK],
        &["contact", "explain", "+393000000001"],
        &["--json", "contact", "explain", "+393000000001"],
        &["inbox", "list"],
    ];
    for args in commands {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = permesso(app.dir.path());
        command.args(args).stdin(Stdio::piped()).stdout(writer).stderr(Stdio::piped());
        let mut child = command.spawn().expect("permesso");
        // The command may be gone before it has read its line.
        let _ = child.stdin.take().expect("a pipe").write_all("basta\n".repeat(2000).as_bytes());
        drop(command);
        let out = child.wait_with_output().expect("ended");
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!((out.status.code(), err.as_ref()), (Some(0), ""), "{args:?}");
    }
    app.engine.store.close().await;
}

#[tokio::test]
async fn the_texts_that_ship_are_written_out_to_be_edited_and_over_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    crate::app::write_config(dir.path(), 1, 2, 3, "sqlite:permesso.db");
    let (code, _, err) = ask(dir.path(), &["config", "texts", "confrim"]).await;
    assert!(code == 2 && err.contains("[possible values: ack_no, ack_stop") && err.contains("'confirm'"), "{err}");
    assert_eq!(ask(dir.path(), &["config", "texts", "--locale", "xx"]).await.0, 2);
    let (code, out, err) = ask(dir.path(), &["config", "texts", "confirm", "repermission", "--locale", "it"]).await;
    let folder = dir.path().join("templates/messages");
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with(&format!("2 texts written to {}\n", folder.display())), "{out}");
    let files = || {
        let files = std::fs::read_dir(&folder).expect("the folder");
        files.map(|f| f.expect("an entry").file_name().into_string().expect("text")).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(files(), ["confirm.it.txt", "repermission.it.txt"].map(str::to_owned).into());

    // What is written here is what people read, and nothing else has changed.
    let mine = folder.join("repermission.it.txt");
    let text = std::fs::read_to_string(&mine).expect("the text").replace("{{ brand }}", "{{ brand }} Milano");
    std::fs::write(&mine, &text).expect("written");
    let (code, out, _) = ask(dir.path(), &["campaign", "preview", LINK, "--all"]).await;
    assert!(code == 0 && out.contains("ACME Milano"), "{out}");
    let (code, out, _) = ask(dir.path(), &["--json", "config", "texts"]).await;
    let told: serde_json::Value = serde_json::from_str(&out).expect("one JSON object");
    assert_eq!((code, told["written"].as_array().map(Vec::len), told["kept"].as_array().map(Vec::len)), (0, Some(100), Some(2)));
    assert_eq!((std::fs::read_to_string(&mine).expect("the text"), files().len()), (text, 102));
    let (code, out, err) = ask(dir.path(), &["config", "check"]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");

    let other = dir.path().join("elsewhere");
    let (code, ..) = ask(dir.path(), &["config", "texts", "help", "--out", other.to_str().expect("text")]).await;
    assert_eq!((code, std::fs::read_dir(other).expect("the folder").count()), (0, 6));
}

#[tokio::test]
async fn a_database_that_is_missing_newer_or_no_database_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let (code, _, err) = ask(dir.path(), &["campaign", "report", LINK]).await;
    assert!(code == 1 && err.contains(" init` makes one"), "{err}");
    let database = dir.path().join("permesso.db");
    crate::app::write_config(dir.path(), 1, 2, 3, &format!("sqlite:{}", database.display()));
    let (code, _, err) = ask(dir.path(), &["campaign", "report", LINK]).await;
    assert!(code == 1 && err.contains("key file"), "{err}");
    assert_eq!(ask(dir.path(), &["init"]).await.0, 0);
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", database.display())).await.expect("opened");
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', 1, x'00', 1)";
    sqlx::query(newer).execute(&pool).await.expect("inserted");
    pool.close().await;
    for command in [["campaign", "report", LINK].as_slice(), &["db", "migrate"]] {
        let (code, _, err) = ask(dir.path(), command).await;
        assert!(code == 1 && err.contains("newer permesso (migration 9999)"), "{err}");
    }
    std::fs::remove_file(&database).expect("removed");
    let (code, _, err) = ask(dir.path(), &["campaign", "report", LINK]).await;
    assert!(code == 1 && err.contains("db migrate"), "{err}");
    std::fs::write(&database, "this is no database at all, but a letter to my aunt").expect("written");
    let (code, _, err) = ask(dir.path(), &["db", "migrate"]).await;
    assert_eq!(code, 1, "{err}");
    assert_eq!(std::fs::read(&database).expect("read")[..4], *b"this", "and it was left as it was");
}

#[tokio::test]
async fn a_locked_database_says_so_and_loses_nothing() {
    let mut app = TestApp::new(Kind::Sqlite).await;
    app.hang_up().await;
    let path = app.dir.path().join("permesso.db");
    let mut other = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.expect("opened");
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.expect("locked");
    let dir = app.dir.path().to_owned();
    let (code, _, err) = ask(&dir, &["halt"]).await;
    assert!(code == 1 && err.contains("locked by another process") && err.contains("remedy"), "{err}");
    sqlx::query("ROLLBACK").execute(&mut other).await.expect("free again");
    assert_eq!(ask(app.dir.path(), &["halt"]).await.0, 0);
    app.engine.store.close().await;
}

#[tokio::test]
async fn a_read_only_database_says_so() {
    let mut app = TestApp::new(Kind::Postgres).await;
    app.hang_up().await;
    app.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$",
    )
    .await
    .expect("set");
    let (code, _, err) = ask(app.dir.path(), &["halt"]).await;
    assert!(code == 1 && err.contains("the database is read-only") && err.contains("remedy"), "{err}");
    app.engine.store.close().await;
}

/// A terminal held by Ctrl-S, or a pipe that is full.
#[tokio::test]
async fn a_log_that_nobody_reads_holds_nobody_up() {
    let mut app = TestApp::with_clock(Kind::Sqlite, Clock::starting(MORNING.parse::<DateTime<Utc>>().expect("a time"))).await;
    app.people(&[TestApp::it(1)]).await;
    app.plan(LINK).await;
    app.hang_up().await;
    let mut run = started(permesso(app.dir.path()).arg("run").env("RUST_LOG", "trace").stderr(Stdio::piped()));
    let asked = until("the ask is delivered", async || app.asks(&TestApp::it(1)) == 1);
    tokio::time::timeout(Duration::from_secs(60), asked).await.expect("the worker works");
    let link = app.link(&TestApp::it(1));
    for _ in 0..100 {
        let page = tokio::time::timeout(Duration::from_secs(60), app.get(&link)).await;
        assert_eq!(page.expect("the page comes").0, 200);
    }
    // The pipe holds 64 KiB, and is full.
    let mut full = vec![0; 64 * 1024];
    run.stderr.take().expect("a pipe").read_exact(&mut full).expect("more was logged than it holds");
    run.kill().expect("killed");
    run.wait().expect("gone");
    app.end().await;
}
