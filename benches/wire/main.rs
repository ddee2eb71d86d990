//! How near Permesso comes to what the wire and the disk allow. Each figure stands beside a ceiling taken in the same run: the median
//! of three pairs, measured in turns. `benches/README.md` says how to run it and what was learned.

mod bulk;
mod house;
mod measure;
mod page;
#[allow(dead_code, reason = "shared with the tests, which use other parts")]
#[path = "../../tests/it/postgres.rs"]
mod postgres;
mod rates;
mod report;
mod send;
mod webhooks;

use std::process::ExitCode;

use futures::future::LocalBoxFuture;

use crate::house::Kind;
use crate::measure::{Figure, Statements, print};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// For `postgres.rs`: durable, since that is what is measured.
pub const FSYNC: &str = "on";

/// How much of everything; `--scale` divides it.
#[derive(Debug, Clone)]
pub struct Size {
    pub people: u32,
    pub messages: u32,
    pub calls: u32,
    pub pages: u32,
    pub pairs: usize,
    pub statements: Option<Statements>,
}

type Bench = for<'a> fn(Kind, &'a Size) -> LocalBoxFuture<'a, anyhow::Result<Vec<Figure>>>;

const BENCHES: [(&str, Bench); 7] = [
    ("send", |kind, size| Box::pin(send::run(kind, size))),
    ("import", |kind, size| Box::pin(bulk::import(kind, size))),
    ("plan", |kind, size| Box::pin(bulk::plan(kind, size))),
    ("webhooks", |kind, size| Box::pin(webhooks::run(kind, size))),
    ("page", |kind, size| Box::pin(page::run(kind, size))),
    ("report", |kind, size| Box::pin(report::run(kind, size))),
    ("rates", |kind, size| Box::pin(rates::run(kind, size))),
];

const HELP: &str = "cargo bench --bench wire -- [NAME…] [--store sqlite|postgres] [--scale N] [--pairs N] [--statements]

NAME: send, import, plan, webhooks, page, report, rates; without one, all.
--scale N divides the sizes: 1,000,000 people, 200,000 messages.
--statements prints what each statement took (and slows the rest a little).";

fn main() -> ExitCode {
    let mut names = Vec::new();
    let (mut kinds, mut scale, mut pairs) = (vec![Kind::Sqlite, Kind::Postgres], 1, 3);
    let mut statements = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_default();
        match arg.as_str() {
            // What cargo itself adds.
            "--bench" => {}
            "--store" => match value().as_str() {
                "sqlite" => kinds = vec![Kind::Sqlite],
                "postgres" => kinds = vec![Kind::Postgres],
                _ => return usage(),
            },
            "--scale" => scale = value().parse().unwrap_or(1).max(1),
            "--pairs" => pairs = value().parse().unwrap_or(3),
            "--statements" => statements = Some(Statements::default()),
            name if BENCHES.iter().any(|(known, _)| *known == name) => names.push(name.to_owned()),
            _ => return usage(),
        }
    }
    let size = Size {
        people: 1_000_000 / scale,
        messages: 200_000 / scale,
        calls: 60_000 / scale,
        pages: 60_000 / scale,
        pairs,
        statements,
    };
    permesso::app::install_tls();
    let timed = size.statements.clone().map(|statements| {
        statements.with_filter(tracing_subscriber::filter::Targets::new().with_target("sqlx::query", tracing::Level::DEBUG))
    });
    // What the product has to say of a run that went wrong.
    let said = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_filter(tracing_subscriber::filter::Targets::new().with_target("permesso", tracing::Level::WARN));
    tracing_subscriber::registry().with(timed).with(said).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut failed = false;
    let mut figures = Vec::new();
    for (name, bench) in BENCHES.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|n| n == name)) {
        for kind in &kinds {
            eprintln!("{name}, {kind} …");
            match runtime.block_on(bench(*kind, &size)) {
                Ok(new) => figures.extend(new),
                Err(error) => {
                    eprintln!("{name}, {kind}: {error:#}");
                    failed = true;
                }
            }
        }
    }
    print(&figures);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn usage() -> ExitCode {
    eprintln!("{HELP}");
    ExitCode::from(2)
}
