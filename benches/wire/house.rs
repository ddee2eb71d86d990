//! A whole Permesso for one measurement: a folder on the real disk, a database with a list in it, the mock gateway in a process of
//! its own.

use std::fmt;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use permesso::app;
use permesso::clock::{Clock, instant};
use permesso::config::Config;
use permesso::engine::{Engine, deliver, import, notice, plan};
use permesso::gateway::mock::protocol::{SendAnswer, SendRequest};
use permesso::store::{Store, messages};
use permesso::vault::Vault;
use tokio_util::sync::CancellationToken;

use crate::postgres;

pub const CAMPAIGN: &str = "rinnovo-consensi";
/// Tuesday, 1 December 2026, 10:45 in Rome: open hours.
pub const MORNING: &str = "2026-12-01T09:45:00Z";
const HEADER: &str = "number,kind,source,ask_basis,basis_evidence,basis_date,box_default,external_id,unsubscribed\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Kind::Sqlite { "sqlite" } else { "postgres" })
    }
}

/// So high that it is never what is measured.
const NO_RATE: f64 = 100_000.0;

pub struct House {
    pub kind: Kind,
    /// Messages a second that gateway, sender and campaign allow.
    rate: f64,
    pub dir: tempfile::TempDir,
    pub engine: Arc<Engine>,
    pub public: u16,
    pub mock: u16,
    database: String,
}

fn ports() -> [u16; 3] {
    static NEXT: AtomicU16 = AtomicU16::new(21_000);
    std::array::from_fn(|_| {
        loop {
            let port = NEXT.fetch_add(1, Ordering::Relaxed);
            if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    })
}

impl House {
    pub async fn new(kind: Kind) -> Result<House> {
        House::with_rate(kind, NO_RATE).await
    }

    pub async fn with_rate(kind: Kind, rate: f64) -> Result<House> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let database = match kind {
            Kind::Sqlite => format!("sqlite:{}", dir.path().join("permesso.db").display()),
            Kind::Postgres => postgres::database().await,
        };
        Store::migrate(&database).await?.close().await;
        House::open(kind, rate, dir, database, MORNING.parse()?).await
    }

    async fn open(kind: Kind, rate: f64, dir: tempfile::TempDir, database: String, at: DateTime<Utc>) -> Result<House> {
        let [public, operator, mock] = ports();
        let config = configure(dir.path(), &database, rate, public, operator, mock)?;
        let config = Config::load(&config)?;
        if !config.key_file.exists() {
            Vault::create(&config.key_file)?;
        }
        let (vault, store) = (Vault::open(&config.key_file)?, Store::open(&database).await?);
        let engine = Arc::new(app::build(config, vault, store, Clock::starting(at))?);
        Ok(House { kind, rate, dir, engine, public, mock, database })
    }

    /// The same house again, with all that is in it; this one stays as it is.
    pub async fn again(&self) -> Result<House> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        self.engine.store.close().await;
        let database = match self.kind {
            Kind::Sqlite => {
                let to = dir.path().join("permesso.db");
                std::fs::copy(self.dir.path().join("permesso.db"), &to)?;
                std::fs::File::open(&to)?.sync_all()?;
                format!("sqlite:{}", to.display())
            }
            Kind::Postgres => {
                let name = self.database.split('?').next().and_then(|url| url.rsplit('/').next()).unwrap_or_default().to_owned();
                tokio::task::spawn_blocking(move || postgres::copy(&name)).await?
            }
        };
        std::fs::create_dir_all(dir.path().join("config"))?;
        std::fs::copy(&self.engine.config.key_file, dir.path().join("config").join("permesso.key"))?;
        // Later than anything in it is due.
        House::open(self.kind, self.rate, dir, database, instant(self.engine.now())).await
    }

    /// Imports so many people who may be asked, one of ten unsubscribed where `noes`.
    pub async fn people(&self, people: u32, noes: bool) -> Result<()> {
        let file = self.dir.path().join("people.csv");
        let mut out = BufWriter::new(std::fs::File::create(&file)?);
        out.write_all(HEADER.as_bytes())?;
        for n in 0..people {
            let no = if noes && n % 10 == 3 { "yes" } else { "" };
            writeln!(out, "+39300{n:07},prospect,web shop,prior_consent,form {n},2026-01-10,unticked,,{no}")?;
        }
        out.flush()?;
        let summary = import::contacts(&self.engine, &file, |_| {}).await?;
        std::fs::remove_file(&file)?;
        if summary.rejected > 0 {
            bail!("rows were rejected: {summary:?}");
        }
        Ok(())
    }

    /// Previews and starts the campaign; the planner has not begun.
    pub async fn start(&self) -> Result<i64> {
        let campaign = self.engine.config.campaign(CAMPAIGN)?;
        let counts = plan::preview(&self.engine, &campaign, |_| {}).await?;
        notice::publish(&self.engine).await?;
        let id = plan::save(&self.engine, &campaign, &counts).await?;
        Ok(plan::start(&self.engine, CAMPAIGN, &id).await?.campaign_id)
    }

    /// Plans and sends the campaign to everybody, through a gateway in this process that remembers what it took.
    pub async fn ask_everybody(&self) -> Result<Vec<Accepted>> {
        self.ask(usize::MAX).await
    }

    /// As [`ask_everybody`](House::ask_everybody), until so many have been asked, or some more.
    pub async fn ask(&self, enough: usize) -> Result<Vec<Accepted>> {
        let campaign = self.start().await?;
        while plan::plan_next(&self.engine, campaign).await? {}
        let stop = CancellationToken::new();
        let taken = Arc::new(Taken { messages: Mutex::default(), enough, stop: stop.clone() });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", self.mock)).await?;
        let router = Router::new().route("/v1/messages", post(remember)).with_state(taken.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        loop {
            permesso::web::hear_once(&self.engine).await?;
            let mut tx = self.engine.store.read().await?;
            let due = messages::due_batches(&mut tx, &self.engine.controller, self.engine.now(), 1).await?;
            tx.rollback().await?;
            let Some((batch,)) = due.first() else { break };
            deliver::deliver(&self.engine, *batch, &stop).await?;
            if stop.is_cancelled() {
                break;
            }
        }
        serving.abort();
        Ok(std::mem::take(&mut taken.messages.lock().expect("no panic while held")))
    }

    pub async fn count(&self, sql: &'static str) -> Result<i64> {
        Ok(match &self.engine.store {
            Store::Sqlite { read, .. } => sqlx::query_scalar(sql).fetch_one(read).await?,
            Store::Postgres { pool, .. } => sqlx::query_scalar(sql).fetch_one(pool).await?,
        })
    }

    pub async fn execute(&self, sql: &str) -> Result<u64> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        Ok(match &self.engine.store {
            Store::Sqlite { write, .. } => sqlx::query(sql).execute(write).await?.rows_affected(),
            Store::Postgres { pool, .. } => sqlx::query(sql).execute(pool).await?.rows_affected(),
        })
    }

    /// The mock gateway in a process of its own; it answers after so many milliseconds, and sends no receipts.
    pub async fn gateway(&self, latency_ms: u64) -> Result<Mock> {
        let child = Command::new(env!("CARGO_BIN_EXE_permesso"))
            .args(["--config"])
            .arg(&self.engine.config.dir)
            .args(["mock-gateway", "--listen", &format!("127.0.0.1:{}", self.mock)])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut mock = Mock(child);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(mock.0.stdout.take().context("piped")?), &mut line)?;
        let slow = if latency_ms > 0 { 1.0 } else { 0.0 };
        let faults = serde_json::json!({ "lost": 1.0, "slow": slow, "slow_ms": latency_ms });
        let set = reqwest::Client::new().put(format!("http://127.0.0.1:{}/control/faults", self.mock));
        set.bearer_auth("mock-token").json(&faults).send().await?.error_for_status()?;
        Ok(mock)
    }
}

/// A message that was taken.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub id: String,
    pub reference: String,
    pub to: String,
    text: String,
}

impl Accepted {
    /// The link in it, at another address.
    pub fn link(&self, base: &str) -> Option<String> {
        let link = self.text.split_whitespace().find(|word| word.starts_with("http"))?;
        Some(format!("{base}/p/{}", link.rsplit_once("/p/")?.1))
    }
}

/// What was accepted; with so many no more is claimed.
struct Taken {
    messages: Mutex<Vec<Accepted>>,
    enough: usize,
    stop: CancellationToken,
}

async fn remember(State(taken): State<Arc<Taken>>, Json(request): Json<SendRequest>) -> (StatusCode, Json<SendAnswer>) {
    let SendRequest { reference, to, text, .. } = request;
    let id = format!("m-{reference}");
    let mut messages = taken.messages.lock().expect("no panic while held");
    messages.push(Accepted { id: id.clone(), reference: reference.clone(), to, text });
    if messages.len() >= taken.enough {
        taken.stop.cancel();
    }
    drop(messages);
    (StatusCode::ACCEPTED, Json(SendAnswer { id, reference }))
}

/// Killed when it is dropped.
pub struct Mock(Child);

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The shipped configuration at another rate.
fn configure(dir: &Path, database: &str, rate: f64, public: u16, operator: u16, mock: u16) -> Result<PathBuf> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let to = dir.join("config");
    for folder in ["", "campaigns", "countries", "replies"] {
        std::fs::create_dir_all(to.join(folder))?;
        for entry in std::fs::read_dir(shipped.join(folder))? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "toml") {
                continue;
            }
            let line = |line: &str| match line {
                l if l.starts_with("database") => format!("database = \"{database}\""),
                l if l.starts_with("rate = \"") => format!("rate = \"{rate}/s\""),
                l if l.starts_with("rate =") => format!("rate = {rate:.1}"),
                l if l.starts_with("first = ") => String::new(),
                l => l
                    .replace("127.0.0.1:8080", &format!("127.0.0.1:{public}"))
                    .replace("127.0.0.1:8081", &format!("127.0.0.1:{operator}"))
                    .replace("127.0.0.1:8082", &format!("127.0.0.1:{mock}")),
            };
            let text: Vec<String> = std::fs::read_to_string(&path)?.lines().map(line).collect();
            std::fs::write(to.join(folder).join(path.file_name().context("named")?), text.join("\n"))?;
        }
    }
    Ok(to)
}
