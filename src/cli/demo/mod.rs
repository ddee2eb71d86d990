//! `demo`: the whole story on a fresh machine, in one process, over real HTTP: list, dry run, sending through a gateway in
//! bad weather, people who answer, the report, and everything to look at in a browser.

mod crowd;
pub mod people;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, Utc};
use clap::Args as ClapArgs;
use tokio_util::sync::CancellationToken;

use super::{Context, bar, campaign, import, init, stop_signal};
use crate::app::{self, Roles};
use crate::clock::{Clock, DAY};
use crate::domain::eligibility::Reason;
use crate::domain::reply::Intent;
use crate::engine::{Engine, expire, import as import_verb, notice, plan, report};
use crate::gateway::mock::faults::Faults;
use crate::gateway::mock::server::{MockGateway, MockOptions, start};
use crate::store::{self, Store};
use crate::vault::Vault;
use crate::web::Doors;
use crowd::{Crowd, Noes};

/// A Tuesday morning, when everybody may be written to: the demo's clock starts here, at any hour of the real one.
const MORNING: &str = "2026-12-01T09:45:00Z";
const SEED: u64 = 2026;
const ROWS: usize = 2000;
/// Italy, Poland and Spain by link and reply; the United Kingdom by WhatsApp or SMS; Germany by link and code; France by reply.
const CAMPAIGNS: [&str; 4] = ["rinnovo-consensi", "whatsapp-first", "einwilligung", "renew-consents"];
/// From Tuesday to the Wednesday after next, past the week after which the silent are reminded and a holiday on Tuesday.
const DAYS_LATER: i64 = 8;
const REPLY_NUMBER: &str = "+393001234567";

#[derive(Debug, ClapArgs)]
pub struct Args {
    /// End after the report, in place of staying up for a browser.
    #[arg(long)]
    exit: bool,
    /// Where to put the demo's files; a new folder under the system's temporary folder if left out.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// The one object `--json` prints.
#[derive(Debug, serde::Serialize)]
struct Outcome {
    contacts: u64,
    eligible: u64,
    skipped: BTreeMap<String, u64>,
    messages: BTreeMap<String, u64>,
    /// People who got more than one accepted ask, by the gateway's own count.
    duplicates: u64,
    /// Accepted asks to people who had said no before the claim, by the gateway's log against the list and the replies.
    sent_to_suppressed: u64,
    /// Sends of which it could not be said whether the gateway took them.
    unknown: u64,
    /// Asks that went by SMS because WhatsApp proved not to have the number.
    fallbacks: u64,
    /// Reminders that left.
    reminders: u64,
    consents: BTreeMap<String, u64>,
    inbound: BTreeMap<String, u64>,
    seconds: f64,
}

pub async fn run(context: &Context, args: &Args) -> Result<()> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("permesso-demo-{}", std::process::id())),
    };
    let played = tell(context, args, &dir).await;
    if args.dir.is_none() && dir.exists() {
        // Nothing of the demo stays behind; a folder that was named does.
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    played
}

/// The story from the import to Ctrl-C.
async fn tell(context: &Context, args: &Args, dir: &Path) -> Result<()> {
    let started = Instant::now();
    let stop = stop_signal()?;
    let say = |text: String| {
        if !context.json {
            println!("{text}");
        }
    };
    let clock = Clock::starting(MORNING.parse::<DateTime<Utc>>()?);

    let mut ports = Ports::find().await?;
    let config_dir = dir.join("config");
    write_config(&config_dir, &ports)?;
    let config = app::load(&config_dir)?;
    Vault::create(&config.key_file)?;
    let store = Store::migrate(&config.database).await?;
    let engine = Arc::new(app::build(config.clone(), Vault::open(&config.key_file)?, store, clock.clone())?);
    say(format!("A demo of Permesso in {}; its clock says Tuesday, 1 December 2026, 10:45 in Rome.\n", dir.display()));

    say("1. Two lists are imported: contacts as they come from a CRM, and numbers that unsubscribed.".into());
    let list = people::generate(SEED, ROWS);
    let (contacts, unsubscribed) = (dir.join("contacts.csv"), dir.join("unsubscribed.csv"));
    std::fs::write(&contacts, &list.contacts_csv)?;
    std::fs::write(&unsubscribed, &list.suppressions_csv)?;
    let noes = import_verb::suppressions(&engine, &unsubscribed, |_| {}).await?;
    let summary = import_verb::contacts(&engine, &contacts, |_| {}).await?;
    if !context.json {
        println!("   The numbers that unsubscribed, first:");
        import::print_suppressions(&noes, &unsubscribed);
        println!(
            "   The contacts, some of whom stand in that list and some of whose own rows say no; the plans below count both as SUPPRESSED_UNSUB:"
        );
        import::print_contacts(&summary, &contacts);
    }

    say("\n2. The dry run: who would be asked, who not, and why. Nothing is sent.".into());
    for name in CAMPAIGNS {
        let campaign = engine.config.campaign(name)?;
        let counts = plan::preview(&engine, &campaign, |_| {}).await?;
        notice::publish(&engine).await?;
        let id = plan::save(&engine, &campaign, &counts).await?;
        if !context.json {
            campaign::print_plan(&engine, &campaign, &counts)?;
        }
        plan::start(&engine, name, &id).await?;
        say(format!("\n   started with plan id {id}\n"));
    }

    say("3. The worker sends through the mock gateway, which refuses, throttles, hangs up, garbles and delays.".into());
    ports.held.clear();
    let gateway = Arc::new(mock(&ports, &clock).await?);
    let doors = Doors::bind(&engine).await?;
    let work = tokio::spawn(app::run(engine.clone(), Roles { web: true, worker: true }, Some(doors), stop.clone()));
    let crowd = crowd(&gateway, &clock)?;
    // Some say STOP before they were ever asked, and one is a number nobody knows.
    for person in list.good.iter().rev().take(12).map(String::as_str).chain(["+393009999999"]) {
        crowd.no(person, REPLY_NUMBER, "STOP").await;
    }
    let seen = play(&engine, &crowd, 0, &stop).await?;
    if !stop.is_cancelled() {
        say(format!("   {DAYS_LATER} days later those who were asked and said nothing are reminded, once."));
        clock.advance(DAYS_LATER * DAY);
        remind(&engine).await?;
        play(&engine, &crowd, seen, &stop).await?;
    }
    let noes = crowd.noes;

    let outcome = outcome(&engine, &gateway, &list, &noes, started).await?;
    if context.json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        println!("\n4. The report.");
        for name in CAMPAIGNS {
            campaign::print_report(&report::campaign(&engine, name).await?);
            println!();
        }
        println!("   people asked twice, by the gateway's own count:       {}", outcome.duplicates);
        println!("   asks sent to people who had said no before they left: {}", outcome.sent_to_suppressed);
        println!("   sends whose outcome was not known at first:           {}", outcome.unknown);
        println!("   asked by SMS, as WhatsApp had not the number:         {}", outcome.fallbacks);
        println!("   reminders:                                            {}", outcome.reminders);
        println!("   {:.1} seconds\n", outcome.seconds);
    }
    if !args.exit && !stop.is_cancelled() {
        show_addresses(&engine, &ports, &gateway, dir);
        stop.cancelled().await;
    }
    stop.cancel();
    work.await??;
    engine.store.close().await;
    if outcome.duplicates > 0 || outcome.sent_to_suppressed > 0 {
        bail!("a promise was broken: somebody was asked twice, or after a no");
    }
    Ok(())
}

fn show_addresses(engine: &Engine, ports: &Ports, gateway: &MockGateway, dir: &Path) {
    println!("Open in a browser:");
    println!("   the phones           {}", gateway.url());
    println!("   operator's report    http://{}/", ports.operator);
    let log = gateway.log();
    let asked = log.iter().find(|m| m.reference.starts_with("ask"));
    let person = asked.map_or_else(String::new, |m| m.to.clone());
    let link = asked.and_then(|m| m.text.split_whitespace().find(|w| w.starts_with("http")).map(str::to_owned));
    println!("   a preference page    {}", link.unwrap_or_else(|| engine.config.public_url.to_string()));
    for form in &engine.config.forms {
        println!("   a sign-up form       {}", engine.config.form_link(&form.name));
    }
    println!("Try in another terminal:");
    println!("   permesso --config {}/config contact explain {person}", dir.display());
    println!("   permesso --config {}/config consents export", dir.display());
    println!("Ctrl-C ends the demo.");
}

/// Where the demo listens: the usual ports if they are free, else any.
struct Ports {
    public: SocketAddr,
    operator: SocketAddr,
    gateway: SocketAddr,
    /// Held until the last moment, so that nobody else takes them.
    held: Vec<tokio::net::TcpListener>,
}

impl Ports {
    async fn find() -> Result<Ports> {
        let mut held = Vec::new();
        let mut found = Vec::new();
        for port in [8080, 8081, 8082] {
            let listener = match tokio::net::TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => listener,
                Err(_) => tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?,
            };
            found.push(listener.local_addr()?);
            // All are held until all are found, so that no two get the same.
            held.push(listener);
        }
        Ok(Ports { public: found[0], operator: found[1], gateway: found[2], held })
    }
}

/// The shipped configuration with the demo's addresses and rates.
fn write_config(dir: &Path, ports: &Ports) -> Result<()> {
    if dir.join("permesso.toml").exists() {
        bail!("{} holds a configuration already; remedy: name a new folder", dir.display());
    }
    for (name, text) in init::FILES {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().context("a file in a folder")?)?;
        let text = text
            .replace("127.0.0.1:8080", &ports.public.to_string())
            .replace("127.0.0.1:8081", &ports.operator.to_string())
            .replace("127.0.0.1:8082", &ports.gateway.to_string());
        // Each person of the demo is in one campaign's audience.
        let text = text.replace("countries = [\"IT\", \"GB\", \"DE\"]", "countries = [\"GB\"]");
        let text = text.replace("countries = [\"GB\", \"DE\", \"FR\"]", "countries = [\"FR\"]");
        let text = if name.starts_with("countries") || name.starts_with("replies") { text } else { faster(&text) };
        std::fs::write(&path, text)?;
    }
    Ok(())
}

/// A demo need not take an hour: every rate becomes 400 a second, no ramp-up or `stop_if` waits for its manager, and a gateway that hangs is
/// given up after a second.
fn faster(text: &str) -> String {
    let line = |line: &str| match line.trim_start() {
        l if l.starts_with("rate = \"") => "rate = \"400/s\"".to_owned(),
        l if l.starts_with("rate =") => "rate = 400.0".to_owned(),
        l if l.starts_with("timeout_ms") => "timeout_ms = 1000".to_owned(),
        // The demo's people say STOP far more often than real ones.
        l if l.starts_with("first =") || l.starts_with("stop_if =") => String::new(),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
}

async fn mock(ports: &Ports, clock: &Clock) -> Result<MockGateway> {
    let now = clock.clone();
    start(MockOptions {
        listen: ports.gateway,
        token: "mock-token".into(),
        webhook_secret: "mock-webhook-secret".into(),
        webhook_url: Some(format!("http://{}/webhooks/mock", ports.public)),
        // Every throttled send silences the gateway for a second, so there are few.
        faults: Faults { throttle: 0.004, no_whatsapp: 0.2, ..Faults::bad_weather(SEED) },
        two_way: vec![REPLY_NUMBER.into()],
        whatsapp: vec!["acme-wa".into()],
        dedupe: false,
        now: Arc::new(move || now.now()),
    })
    .await
}

fn crowd(gateway: &Arc<MockGateway>, clock: &Clock) -> Result<Crowd> {
    let now = clock.clone();
    Ok(Crowd {
        gateway: gateway.clone(),
        http: reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?,
        noes: Noes::default(),
        now: Arc::new(move || now.now()),
        seed: SEED,
        reply_number: REPLY_NUMBER.to_owned(),
        pages: Arc::default(),
    })
}

/// What the worker's own timer does every half minute, done at once: the demo does not wait for it.
async fn remind(engine: &Engine) -> Result<()> {
    loop {
        expire::expire(engine).await?;
        let mut tx = engine.store.read().await?;
        let mut left = 0;
        for row in store::campaigns::all(&mut tx, &engine.controller).await? {
            let campaign = engine.revision(&mut tx, row.revision_id).await?;
            let Some(days) = campaign.reminder_after_days else { continue };
            for ask in &campaign.asks {
                let before = engine.now() - days * DAY;
                left +=
                    store::campaigns::unanswered(&mut tx, row.id, (row.revision_id, &[row.revision_id]), ask.channel, before, 1)
                        .await?
                        .len();
            }
        }
        tx.rollback().await?;
        if left == 0 {
            return Ok(());
        }
    }
}

/// Lets the crowd react to what its phones got after the first `seen` messages, until everything planned is out and everybody has done
/// what they do. Answers how many messages there are then.
async fn play(engine: &Arc<Engine>, crowd: &Crowd, seen: usize, stop: &CancellationToken) -> Result<usize> {
    let gateway = &crowd.gateway;
    let bar = bar(0, "messages").with_message("sending");
    let mut reactions = tokio::task::JoinSet::new();
    let (mut seen, mut quiet_since) = (seen, Instant::now());
    let began = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let log = gateway.log();
        for message in log.iter().skip(seen) {
            let (crowd, message) = (crowd.clone(), message.clone());
            reactions.spawn(async move { crowd.react(&message).await });
            quiet_since = Instant::now();
        }
        seen = log.len();
        while let Some(done) = reactions.try_join_next() {
            if let Err(error) = done.context("a person of the demo panicked").and_then(|r| r) {
                tracing::warn!(error = format!("{error:#}"), "A person of the demo could not do what they wanted");
            }
            quiet_since = Instant::now();
        }
        let mut tx = engine.store.read().await?;
        let messages = store::report::all_messages(&mut tx, &engine.controller).await?;
        let mut held = 0;
        for row in store::campaigns::all(&mut tx, &engine.controller).await? {
            // Nobody reads the inbox in a demo, so a reminder that waits for that waits in vain.
            let unsent = store::report::unsent(&mut tx, row.id).await?.into_iter();
            let waits = unsent.filter(|(_, state, reason, _)| state == "planned" && reason == Reason::HeldForOperator.code());
            held += waits.map(|(.., n)| n).sum::<i64>();
        }
        tx.rollback().await?;
        let waiting: i64 = messages.iter().filter(|(_, s, _)| s == "planned" || s == "sending").map(|(_, _, n)| n).sum();
        let all: i64 = messages.iter().map(|(_, _, n)| n).sum();
        bar.set_length(all.unsigned_abs());
        bar.set_position((all - waiting).unsigned_abs());
        let still = reactions.is_empty() && waiting <= held && quiet_since.elapsed() > Duration::from_millis(1500);
        if still || stop.is_cancelled() || began.elapsed() > Duration::from_secs(240) {
            break;
        }
    }
    gateway.idle().await;
    bar.finish_and_clear();
    Ok(seen)
}

async fn outcome(engine: &Engine, gateway: &MockGateway, list: &people::List, noes: &Noes, started: Instant) -> Result<Outcome> {
    let mut tx = engine.store.read().await?;
    let mut people: BTreeMap<i64, (bool, String)> = BTreeMap::new();
    for (contact, outcome, code) in store::report::verdicts(&mut tx, &engine.controller).await? {
        let best = people.entry(contact).or_insert((false, code.clone()));
        if outcome != "skip" {
            *best = (true, code);
        } else if !best.0 && best.1 == "NOT_IN_SEGMENT" {
            // The two campaigns share the countries out; the reason of the one whose country it is counts.
            best.1 = code;
        }
    }
    let claims: BTreeMap<String, i64> = store::report::claims(&mut tx, &engine.controller).await?.into_iter().collect();
    let unknown = store::report::unknown_outcomes(&mut tx, &engine.controller).await?;
    let mut out = Outcome {
        contacts: people.len() as u64,
        eligible: people.values().filter(|(eligible, _)| *eligible).count() as u64,
        skipped: BTreeMap::new(),
        messages: BTreeMap::new(),
        duplicates: gateway.stats().duplicates,
        sent_to_suppressed: 0,
        unknown: unknown.unsigned_abs(),
        fallbacks: 0,
        reminders: 0,
        consents: BTreeMap::new(),
        inbound: BTreeMap::new(),
        seconds: 0.0,
    };
    for (_, code) in people.values().filter(|(eligible, _)| !eligible) {
        *out.skipped.entry(code.clone()).or_default() += 1;
    }
    for (_, state, count) in store::report::all_messages(&mut tx, &engine.controller).await? {
        *out.messages.entry(state).or_default() += count.unsigned_abs();
    }
    for (kind, state, count) in store::report::all_messages(&mut tx, &engine.controller).await? {
        let left = kind == "reminder" && !matches!(state.as_str(), "planned" | "sending" | "cancelled" | "lapsed");
        out.reminders += if left { count.unsigned_abs() } else { 0 };
    }
    out.fallbacks = store::report::fallbacks(&mut tx, &engine.controller).await?.unsigned_abs();
    for (state, count) in store::report::preferences(&mut tx, &engine.controller).await? {
        out.consents.insert(state, count.unsigned_abs());
    }
    for (intent, count) in store::report::inbound(&mut tx, &engine.controller).await? {
        *out.inbound.entry(Intent::coarse(&intent).to_owned()).or_default() += count.unsigned_abs();
    }
    tx.rollback().await?;
    let noes = noes.lock().expect("no panic while held").clone();
    for message in gateway.log().iter().filter(|m| m.reference.starts_with("ask") || m.reference.starts_with("rem")) {
        let claimed = claims.get(&message.reference).copied().unwrap_or(i64::MAX);
        let said_no = noes.get(&message.to).is_some_and(|at| *at < claimed);
        out.sent_to_suppressed += u64::from(said_no || list.said_no.contains(&message.to));
    }
    out.seconds = (started.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    Ok(out)
}
