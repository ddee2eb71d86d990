//! `rates`: three worker processes and one web process share a Postgres and one rate; a worker is killed on the way. What arrives at the
//! gateway must use the rate and may never exceed it.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use permesso::engine::plan;
use permesso::gateway::mock::protocol::{SendAnswer, SendRequest};

use crate::Size;
use crate::house::{House, Kind};
use crate::measure::Figure;

/// Messages a second.
const RATE: u32 = 200;
const WORKERS: usize = 3;

type Arrivals = Arc<Mutex<Vec<Instant>>>;

pub async fn run(kind: Kind, size: &Size) -> Result<Vec<Figure>> {
    if kind == Kind::Sqlite {
        // One process works a SQLite file.
        return Ok(Vec::new());
    }
    let messages = (size.messages / 40).max(RATE * 5);
    let house = House::with_rate(kind, RATE.into()).await?;
    house.people(messages, false).await?;
    let campaign = house.start().await?;
    while plan::plan_next(&house.engine, campaign).await? {}
    let arrivals: Arrivals = Arc::default();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", house.mock)).await?;
    let router = Router::new().route("/v1/messages", post(take)).with_state(arrivals.clone());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let _web = process(&house, "web")?;
    let mut workers = (0..WORKERS).map(|_| process(&house, "worker")).collect::<Result<Vec<_>>>()?;
    until(async || Ok(arrivals.lock().expect("no panic while held").len() >= messages as usize / 2)).await?;
    // What it had claimed stays unknown; what it had leased comes back by itself.
    let mut dead = workers.remove(0);
    dead.0.kill()?;
    dead.0.wait()?;
    until(async || Ok(house.count("SELECT COUNT(*) FROM messages WHERE state = 'planned'").await? == 0)).await?;
    // The last claims are on their way.
    tokio::time::sleep(Duration::from_secs(3)).await;
    serving.abort();
    let times = arrivals.lock().expect("no panic while held").clone();
    let (first, last) = (times.first().context("something arrived")?, times.last().context("something arrived")?);
    let rate = (times.len() - 1) as f64 / last.duration_since(*first).as_secs_f64();
    let busiest =
        (0..times.len()).map(|n| times[n..].iter().take_while(|t| t.duration_since(times[n]).as_secs_f64() < 1.0).count());
    let longest = times.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs_f64()).fold(0.0, f64::max);
    let figure = Figure::of("rates", kind, "messages/s", &[(rate, RATE.into())]).target(0.9);
    Ok(vec![
        figure
            .with("workers", WORKERS)
            .with("busiest_second", busiest.max())
            .with("allowed_in_a_second", RATE + RATE / 4)
            .with("longest_pause_s", longest),
    ])
}

async fn until(done: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while !done().await? {
        ensure!(begin.elapsed() < Duration::from_secs(300), "the workers do not get through");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn take(State(arrivals): State<Arrivals>, Json(request): Json<SendRequest>) -> (StatusCode, Json<SendAnswer>) {
    arrivals.lock().expect("no panic while held").push(Instant::now());
    (StatusCode::ACCEPTED, Json(SendAnswer { id: format!("m-{}", request.reference), reference: request.reference }))
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn process(house: &House, role: &str) -> Result<Process> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_permesso"));
    command.arg("--config").arg(&house.engine.config.dir).args(["run", "--roles", role]);
    // A few minutes after everything was planned.
    let at = permesso::clock::instant(house.engine.now() + permesso::clock::MINUTE);
    command.env("PERMESSO_CLOCK", at.to_rfc3339()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Process(command.spawn()?))
}
