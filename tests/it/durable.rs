//! What is answered is on the disk. A killed process proves nothing of that, since the system writes out what it left; so the
//! connections are asked, and the system calls are looked at.

use std::path::Path;
use std::process::{Command, Stdio};

use chrono::{DateTime, Utc};
use permesso::app::{self, Roles};
use permesso::clock::Clock;
use permesso::store::Store;
use tokio_util::sync::CancellationToken;

use crate::app::{Kind, LINK, MORNING, REPLY_NUMBER, TestApp};
use crate::crash::kill;
use crate::postgres::Cluster;
use crate::run::{permesso, spawn, until};

/// Every connection that a pool can have, held at once: how durable is its commit?
macro_rules! every_connection {
    ($pool:expr, $question:literal) => {{
        let mut held = Vec::new();
        for _ in 0..$pool.options().get_max_connections() {
            let mut connection = $pool.acquire().await.expect("a connection");
            held.push((sqlx::query_scalar($question).fetch_one(&mut *connection).await.expect("asked"), connection));
        }
        held.into_iter().map(|(answer, _)| answer).collect::<Vec<_>>()
    }};
}

/// After a campaign sent by a worker: the queue has used its connections, and set what it likes.
async fn every_connection_commits_to_the_disk(kind: Kind) {
    let mut app = TestApp::new(kind).await;
    if kind == Kind::Postgres {
        // A database whose own word is another: it is ours that counts.
        let weak = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$";
        app.execute(weak).await.unwrap();
        app.hang_up().await;
        app.engine = app.another().await;
        app.listen().await;
    }
    app.people(&[TestApp::it(1)]).await;
    app.plan(LINK).await;
    let stop = CancellationToken::new();
    let worker = Roles { web: false, worker: true };
    let running = tokio::spawn(app::run(app.engine.clone(), worker, None, stop.clone()));
    until("a worker has sent", async || app.asks(&TestApp::it(1)) == 1).await;
    match &app.engine.store {
        Store::Sqlite { write, read, queue } => {
            // 2 is FULL (sqlite.org/pragma.html#pragma_synchronous): each commit is synced, in the journal mode WAL too.
            let mut answers: Vec<i64> = every_connection!(read, "PRAGMA synchronous");
            answers.extend::<Vec<i64>>(every_connection!(write, "PRAGMA synchronous"));
            answers.extend::<Vec<i64>>(every_connection!(queue, "PRAGMA synchronous"));
            assert_eq!(answers, [2; 9]);
        }
        Store::Postgres { pool, queue } => {
            let mut answers: Vec<String> = every_connection!(pool, "SHOW synchronous_commit");
            answers.extend::<Vec<String>>(every_connection!(queue, "SHOW synchronous_commit"));
            assert_eq!(answers, ["on"; 16]);
        }
    }
    stop.cancel();
    running.await.expect("no panic").expect("stopped");
    app.end().await;
}

#[tokio::test]
async fn every_connection_commits_to_the_disk_sqlite() {
    every_connection_commits_to_the_disk(Kind::Sqlite).await;
}

#[tokio::test]
async fn every_connection_commits_to_the_disk_postgres() {
    every_connection_commits_to_the_disk(Kind::Postgres).await;
}

/// The system calls of a process and its threads, in the order in which they ended.
fn traced(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("calls")).unwrap_or_default()
}

#[tokio::test]
async fn between_a_webhook_and_its_answer_the_disk_is_synced_sqlite() {
    let mut app = TestApp::new(Kind::Sqlite).await;
    assert!(app.engine.store.is_durable().await.unwrap());
    every_answer_comes_after_a_sync(&mut app, &[]).await;
}

#[tokio::test]
async fn between_a_webhook_and_its_answer_the_disk_is_synced_postgres() {
    let cluster = tokio::task::spawn_blocking(Cluster::durable).await.unwrap();
    let url = cluster.url("postgres");
    let clock = Clock::starting(MORNING.parse::<DateTime<Utc>>().unwrap());
    Store::migrate(&url).await.unwrap().close().await;
    let mut app = TestApp::on(Kind::Postgres, clock, tempfile::tempdir().unwrap(), &url).await;
    assert!(app.engine.store.is_durable().await.unwrap());
    // What a connection commits its own process of the server's writes.
    every_answer_comes_after_a_sync(&mut app, &["-p", &cluster.postmaster()]).await;
}

#[tokio::test]
async fn a_server_that_syncs_nothing_is_told_of() {
    let app = TestApp::new(Kind::Postgres).await;
    assert!(!app.engine.store.is_durable().await.unwrap(), "the tests' own cluster");
    let run = spawn(&app, &["run"], "");
    until("it says so", async || {
        std::fs::read_to_string(app.dir.path().join("run.log")).is_ok_and(|log| log.contains("fsync = off"))
    })
    .await;
    kill(&app, run).await;
}

async fn every_answer_comes_after_a_sync(app: &mut TestApp, others: &[&str]) {
    app.people(&[TestApp::it(1)]).await;
    app.send(LINK).await;
    app.hang_up().await;
    let web = permesso(app.dir.path());
    let mut strace = Command::new("strace");
    strace.args(["-f", "-s", "40", "-e", "trace=fsync,fdatasync,read,recvfrom,write,writev,sendto", "-o"]);
    strace
        .arg(app.dir.path().join("calls"))
        .args(others)
        .arg(web.get_program())
        .args(web.get_args())
        .args(["run", "--roles", "web"]);
    strace.envs(web.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let strace = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut strace = strace.spawn().expect("strace; remedy: apt-get install strace (scripts/test does)");
    let health = format!("{}/healthz", app.base);
    until("it listens", async || app.http.get(&health).send().await.is_ok()).await;
    const WEBHOOKS: usize = 5;
    for _ in 0..WEBHOOKS {
        let reply = app.gateway.reply(&TestApp::it(1), REPLY_NUMBER, "mah, vediamo un po").await;
        assert!(app.gateway.taken().contains(&reply));
    }
    let traced_one = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", strace.id())).expect("its child");
    Command::new("kill").args(["-KILL", traced_one.trim()]).status().expect("kill");
    if !others.is_empty() {
        // The server's processes live on: its end alone lets go of them.
        strace.kill().expect("killed");
    }
    strace.wait().expect("ended");

    let calls = traced(app.dir.path());
    let (mut answered, mut waiting, mut synced) = (0, false, false);
    for call in calls.lines() {
        if call.contains("POST /webhooks/mock") {
            (waiting, synced) = (true, false);
        } else if call.contains("sync(") || call.contains("sync resumed") {
            synced |= call.ends_with("= 0");
        } else if waiting && call.contains("HTTP/1.1 204") {
            assert!(synced, "call {} was answered before anything was synced", answered + 1);
            (answered, waiting) = (answered + 1, false);
        }
    }
    assert_eq!(answered, WEBHOOKS, "the trace shows every webhook and its answer");
    app.engine.store.close().await;
}
