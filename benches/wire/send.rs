//! `send`: a campaign from planned to accepted through the mock gateway in another process, against a bare loop of reqwest to the
//! same gateway with the same body.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use permesso::app::{self, Roles};
use permesso::engine::plan;
use permesso::gateway::mock::protocol::{Channel, SendRequest};
use permesso::store::report;
use tokio_util::sync::CancellationToken;

use crate::Size;
use crate::house::{House, Kind};
use crate::measure::{Figure, cpu, peak};

pub async fn run(kind: Kind, size: &Size) -> Result<Vec<Figure>> {
    let seed = House::new(kind).await?;
    seed.people(size.messages, false).await?;
    let campaign = seed.start().await?;
    while plan::plan_next(&seed.engine, campaign).await? {}
    let mut figures = Vec::new();
    let mut normal: Vec<(Sent, Sent)> = Vec::new();
    for _ in 0..size.pairs {
        if let Some(statements) = &size.statements {
            statements.print(size.messages);
        }
        let ours = permesso(&seed, campaign, size.messages, None, 0).await?;
        if let Some(statements) = &size.statements {
            statements.print(size.messages);
        }
        normal.push((ours, best(&seed, size.messages, 0).await?));
    }
    let rates: Vec<(f64, f64)> = normal.iter().map(|(a, b)| (a.rate(), b.rate())).collect();
    let cpus: Vec<(f64, f64)> = normal.iter().map(|(a, b)| (a.cpu_us(), b.cpu_us())).collect();
    let sending = normal.iter().map(|(a, _)| a.sending).max().unwrap_or(0);
    let target = if kind == Kind::Sqlite { 0.50 } else { 0.40 };
    figures.push(
        Figure::of("send", kind, "messages/s", &rates)
            .target(target)
            .with("sending_max", sending)
            .with("in_flight_of_ceiling", normal[0].1.in_flight),
    );
    figures.push(Figure::of("send cpu", kind, "µs/message", &cpus).target(3.0));
    let mut sizes = Vec::new();
    for part in [20, 2] {
        let sent = some(kind, size.messages / part).await?;
        sizes.push((sent.messages, 1e6 / sent.rate(), sent.memory));
    }
    let largest = normal.iter().map(|(a, _)| a.memory).fold(0.0, f64::max);
    figures.push(Figure::growth(
        "send growth",
        kind,
        "µs/message",
        [sizes[0], sizes[1], (size.messages, 1e6 / figures[0].value, largest)],
    ));
    let small = permesso(&seed, campaign, size.messages, Some(64), 0).await?;
    figures.push(
        Figure::of("send slice 64", kind, "messages/s", &[(small.rate(), best(&seed, size.messages, 0).await?.rate())])
            .with("sending_max", small.sending),
    );
    let (slow, bare) = (permesso(&seed, campaign, size.messages, None, 20).await?, best(&seed, size.messages, 20).await?);
    figures.push(Figure::of("send 20 ms", kind, "messages/s", &[(slow.rate(), bare.rate())]).with("sending_max", slow.sending));
    Ok(figures)
}

/// So many messages, in a house of their own.
async fn some(kind: Kind, messages: u32) -> Result<Sent> {
    let seed = House::new(kind).await?;
    seed.people(messages, false).await?;
    let campaign = seed.start().await?;
    while plan::plan_next(&seed.engine, campaign).await? {}
    permesso(&seed, campaign, messages, None, 0).await
}

struct Sent {
    messages: u32,
    seconds: f64,
    cpu: f64,
    sending: i64,
    memory: f64,
    in_flight: usize,
}

impl Sent {
    fn rate(&self) -> f64 {
        f64::from(self.messages) / self.seconds
    }
    fn cpu_us(&self) -> f64 {
        self.cpu * 1e6 / f64::from(self.messages)
    }
}

/// The product: both roles in this process, from the first claim to the last outcome on disk.
async fn permesso(seed: &House, campaign: i64, messages: u32, slice: Option<usize>, latency_ms: u64) -> Result<Sent> {
    let mut house = seed.again().await?;
    if let Some(slice) = slice {
        Arc::get_mut(&mut house.engine).context("one owner")?.set_slice(slice);
    }
    let mock = house.gateway(latency_ms).await?;
    let stop = CancellationToken::new();
    let (before, begin) = (cpu()?, Instant::now());
    let running = tokio::spawn(app::run(house.engine.clone(), Roles { web: true, worker: true }, None, stop.clone()));
    let mut sending = 0;
    peak()?;
    let (seconds, used) = loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        sending = sending.max(house.count("SELECT COUNT(*) FROM attempts WHERE outcome IS NULL").await?);
        let mut tx = house.engine.store.read().await?;
        let states = report::messages(&mut tx, campaign).await?;
        tx.rollback().await?;
        let accepted: i64 = states.iter().filter(|(_, state, _)| state == "accepted").map(|(_, _, n)| n).sum();
        if accepted >= i64::from(messages) {
            break (begin.elapsed().as_secs_f64(), cpu()? - before);
        }
        if running.is_finished() || begin.elapsed() > Duration::from_secs(900) {
            bail!("only {accepted} of {messages} were accepted: {states:?}");
        }
    };
    let memory = peak()?;
    stop.cancel();
    running.await??;
    house.engine.store.close().await;
    drop(mock);
    Ok(Sent { messages, seconds, cpu: used, sending, memory, in_flight: 0 })
}

/// The bare loop with the number in flight that suits it best.
async fn best(seed: &House, messages: u32, latency_ms: u64) -> Result<Sent> {
    let mock = seed.gateway(latency_ms).await?;
    let mut best = (0.0, 64);
    for in_flight in [16, 32, 64, 128, 256] {
        let tried = bare(seed, messages / 20, in_flight).await?;
        if tried.rate() > best.0 {
            best = (tried.rate(), in_flight);
        }
    }
    drop(mock);
    let mock = seed.gateway(latency_ms).await?;
    let sent = bare(seed, messages, best.1).await?;
    drop(mock);
    Ok(sent)
}

async fn bare(house: &House, messages: u32, in_flight: usize) -> Result<Sent> {
    static RUN: AtomicU32 = AtomicU32::new(0);
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    let text = house.engine.config.text("repermission", "it").context("the shipped text")?.replace("{link}", &"x".repeat(46));
    let http = permesso::gateway::http::pool()?;
    let url = format!("http://127.0.0.1:{}/v1/messages", house.mock);
    let refused = Arc::new(AtomicU64::new(0));
    let (before, begin) = (cpu()?, Instant::now());
    let tasks = (0..in_flight as u32).map(|task| {
        let (http, url, text, refused) = (http.clone(), url.clone(), text.clone(), refused.clone());
        tokio::spawn(async move {
            for n in (task..messages).step_by(in_flight) {
                let request = SendRequest {
                    reference: format!("bare-{run}-{n}"),
                    from: "ACME".into(),
                    to: format!("+39300{n:07}"),
                    channel: Channel::Sms,
                    text: text.clone(),
                    buttons: Vec::new(),
                    validity_seconds: Some(3600),
                };
                let answer = http.post(&url).bearer_auth("mock-token").json(&request).send().await;
                let taken = match answer {
                    Ok(answer) => answer.status().is_success() && answer.bytes().await.is_ok(),
                    Err(_) => false,
                };
                refused.fetch_add(u64::from(!taken), Ordering::Relaxed);
            }
        })
    });
    let mut tasks: futures::stream::FuturesUnordered<_> = tasks.collect();
    while let Some(done) = tasks.next().await {
        done?;
    }
    if refused.load(Ordering::Relaxed) > 0 {
        bail!("the bare loop was refused {} times", refused.load(Ordering::Relaxed));
    }
    Ok(Sent { messages, seconds: begin.elapsed().as_secs_f64(), cpu: cpu()? - before, sending: 0, memory: 0.0, in_flight })
}
