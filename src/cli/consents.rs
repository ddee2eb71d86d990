//! `consents overview`, `consents list`, `consents export`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use chrono::NaiveDate;
use clap::Subcommand;
use futures::TryStreamExt;
use serde_json::json;

use super::{Context, word_of};
use crate::clock::{HOUR, instant};
use crate::domain::channel::{Channel, Purpose};
use crate::domain::eligibility::Reason;
use crate::domain::ledger::Body;
use crate::domain::plural::counted;
use crate::domain::register::Release;
use crate::domain::status::Status;
use crate::domain::times::Times;
use crate::engine::Engine;
use crate::engine::consents::{self, Filter};
use crate::engine::screening::Words;
use crate::store::{contacts, ledger, suppressions};
use crate::web::desk::consents::{Format, file};
use crate::web::desk::minute;
use crate::web::desk::sheet::defused;

const COLUMNS: [&str; 21] = [
    "number",
    "country",
    "locale",
    "channel",
    "purpose",
    "state",
    "since",
    "ledger_seq",
    "campaign",
    "ask_basis",
    "wording_hash",
    "notice_version",
    "first_yes_at",
    "evidence",
    "screened",
    "release",
    "hours",
    "at_most",
    "said_in",
    "page_hash",
    "form",
];

/// State of a granted permission that must not be used now: whoever takes in `granted` alone never sees it.
const NOT_RELEASABLE: &str = "not_releasable";

/// How long after it was learned a no may be committed: what an export of before could not see the next one brings, or brings again.
const LATE: i64 = HOUR;

/// Which contacts.
#[derive(Debug, clap::Args)]
pub struct Wanted {
    /// Under this status alone.
    #[arg(long, value_parser = word_of(Status::ALL, Status::code))]
    status: Option<Status>,
    /// On this channel alone.
    #[arg(long, value_parser = word_of(Channel::ALL, Channel::code))]
    channel: Option<Channel>,
    /// For this purpose alone.
    #[arg(long, value_parser = word_of(Purpose::ALL, Purpose::code))]
    purpose: Option<Purpose>,
    /// This folder's controller.id: refuses any other.
    #[arg(long)]
    controller: Option<String>,
}

impl Wanted {
    fn read(&self, engine: &Engine) -> Result<Filter> {
        // Whose people these are, the folder alone knows.
        Filter::read(engine, self.controller.as_deref(), None, None, None)?;
        Ok(Filter { status: self.status, channel: self.channel, purpose: self.purpose })
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// How many contacts consented and how many did not: by channel, purpose and status, the silent and the unknown too.
    #[command(after_help = "Example: permesso consents overview --channel sms")]
    Overview(Wanted),
    /// The contacts themselves, one line a channel and purpose: subject, last digits of the number, status and since when.
    #[command(
        after_help = "Example: permesso consents list --status silent --channel sms --purpose promotions\n         permesso consents list --status granted --format jsonl --out granted.jsonl"
    )]
    List {
        #[command(flatten)]
        wanted: Wanted,
        /// `csv`, whose first columns say as of when and whose, or `jsonl`, whose first line does.
        #[arg(long, value_enum, default_value = "csv")]
        format: Format,
        /// A new file; the terminal if left out.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Write over the file if it exists.
        #[arg(long, requires = "out")]
        force: bool,
    },
    /// Everybody who must be left in peace, every permission that changed since a day, with its proof, and everybody whose time for an answer ran
    /// out, as CSV.
    #[command(after_help = "Example: permesso consents export --since 2026-12-01 --out consents.csv")]
    Export {
        /// First day, UTC, as in 2026-12-01, and an hour before it; all if left out.
        #[arg(long, value_parser = day)]
        since: Option<NaiveDate>,
        /// A new file; the terminal if left out.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Write over the file if it exists.
        #[arg(long, requires = "out")]
        force: bool,
    },
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let engine = Arc::new(context.engine().await?);
    match command {
        Command::Overview(wanted) => overview(context, &engine, wanted).await,
        Command::List { wanted, format, out, force } => {
            let filter = wanted.read(&engine)?;
            // A file has the form that was asked for, and the object tells of it.
            if context.json && out.is_none() {
                return listed(engine, filter).await;
            }
            let mut target = super::out::open(out.as_deref(), *force)?;
            let mut parts = std::pin::pin!(file(engine, filter, *format));
            let mut lines = 0;
            while let Some((bytes, rows)) = parts.try_next().await? {
                target.write_all(&bytes)?;
                lines += rows;
            }
            target.done()?;
            super::out::report(context, out.as_deref(), lines);
            Ok(())
        }
        Command::Export { since, out, force } => export(context, &engine, *since, out.as_deref(), *force).await,
    }
}

/// The list as one object, written while it is read.
async fn listed(engine: Arc<Engine>, filter: Filter) -> Result<()> {
    let head =
        json!({ "as_of": consents::as_of(&engine), "controller": engine.controller, "filter": filter.query() }).to_string();
    let mut target = super::out::open(None, false)?;
    write!(target, "{},\"rows\":[", head.trim_end_matches('}'))?;
    let mut pages = std::pin::pin!(consents::pages(engine, filter));
    let mut comma = "";
    while let Some(rows) = pages.try_next().await? {
        for row in rows {
            write!(target, "{comma}{}", serde_json::to_string(&row)?)?;
            comma = ",";
        }
    }
    writeln!(target, "]}}")?;
    target.done()
}

async fn overview(context: &Context, engine: &Engine, wanted: &Wanted) -> Result<()> {
    let matrix = consents::matrix(engine, &wanted.read(engine)?).await?;
    if context.json {
        println!("{}", serde_json::to_string(&matrix)?);
        return Ok(());
    }
    println!("{} of {}, {} UTC", counted(matrix.contacts, "contact", "contacts"), matrix.controller, minute(&matrix.as_of));
    let Some(first) = matrix.rows.first() else { return Ok(()) };
    let head: String = first.contacts.iter().map(|c| format!("  {}", c.status)).collect();
    println!("\n{:<21}{head}", "");
    for row in &matrix.rows {
        let figures: String = row.contacts.iter().map(|c| format!("  {:>1$}", c.contacts, c.status.len())).collect();
        println!("{:<21}{figures}", format!("{}.{}", row.channel, row.purpose));
    }
    Ok(())
}

async fn export(context: &Context, engine: &Engine, since: Option<NaiveDate>, out: Option<&Path>, force: bool) -> Result<()> {
    let since = since.map_or(0, |d| d.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros() - LATE);
    // Numbers in the clear: for their owner's eyes.
    let target = super::out::open(out, force)?;
    let mut csv = csv::Writer::from_writer(target);
    csv.write_record(COLUMNS)?;
    let mut tx = engine.store.read().await?;
    let mut counted = 0;
    // Whoever must be left in peace altogether: the CRM has to learn of these first of all, also where the rest is cut off. A restriction comes in
    // every export while it stands, so that its absence says that it is lifted: where nothing was granted, nothing else would.
    let noes = suppressions::known_since(&mut tx, &engine.controller, since).await?;
    let restricted = contacts::restricted_people(&mut tx, &engine.controller).await?;
    let restricted = restricted
        .into_iter()
        .map(|(number, country, locale, at)| (number, country, locale, Status::Restricted.code().to_owned(), at));
    for (number, country, locale, state, at) in noes.into_iter().chain(restricted) {
        let number = engine.vault.decrypt_number(&number)?;
        let (country, locale) = (defused(&country.unwrap_or_default()), defused(&locale.unwrap_or_default()));
        let mut record = vec![number.e164().to_owned(), country, locale, "all".into(), "all".into(), state];
        record.push(instant(at).to_rfc3339());
        record.resize(COLUMNS.len(), String::new());
        csv.write_record(record)?;
        counted += 1;
    }
    // Whether these may be used changes with every screening, and by time alone: they come in every export.
    let screened_channels =
        Channel::ALL.into_iter().filter(|c| engine.config.packs.values().any(|p| p.register.applies_to.contains(c)));
    let always: Vec<&str> = screened_channels.map(Channel::code).collect();
    let rows = ledger::consents_since(&mut tx, &engine.controller, since, &always).await?;
    let contacts: Vec<i64> = rows.iter().map(|row| row.contact).collect();
    let words = Words::read(&mut tx, &contacts).await?;
    counted += rows.len();
    for row in rows {
        let channel = Channel::parse(&row.channel).filter(|_| row.state == "granted");
        let word = channel.and_then(|c| words.on(engine, row.contact, row.country.as_deref(), c, row.since));
        let (state, release) = match word.as_ref().map(|word| word.release) {
            _ if row.restricted != 0 && row.state == "granted" => (NOT_RELEASABLE.to_owned(), Reason::Restricted.code()),
            None => (row.state, ""),
            Some(Release::Free) => (row.state, "free"),
            Some(Release::Listed) => (NOT_RELEASABLE.to_owned(), Reason::RpoListed.code()),
            Some(Release::Stale) => (NOT_RELEASABLE.to_owned(), Reason::RpoStale.code()),
        };
        let number = engine.vault.decrypt_number(&row.number_enc)?;
        let times: Times = row.times.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        let body: Option<Body> = row.body.and_then(|b| serde_json::from_str(&b).ok());
        let of = |f: &dyn Fn(&Body) -> Option<String>| body.as_ref().and_then(f).map(|t| defused(&t)).unwrap_or_default();
        csv.write_record([
            // Plus and digits only: no formula can hide in it, and an apostrophe would make it another number to a CRM.
            number.e164().to_owned(),
            defused(&row.country.unwrap_or_default()),
            defused(&row.locale.unwrap_or_default()),
            row.channel,
            row.purpose,
            state,
            instant(row.since).to_rfc3339(),
            row.seq.to_string(),
            of(&|b| b.campaign.clone()),
            of(&|b| b.ask_basis.clone()),
            of(&|b| b.wording_hash.clone()),
            of(&|b| b.notice_version.clone()),
            of(&|b| b.first_yes.as_ref().map(|f| instant(f.at).to_rfc3339())),
            of(&|b| b.evidence.clone()),
            word.and_then(|word| word.screened).map(|at| instant(at).to_rfc3339()).unwrap_or_default(),
            release.to_owned(),
            times.hours().unwrap_or_default(),
            times.at_most.map(|often| often.code().to_owned()).unwrap_or_default(),
            of(&|b| b.locale.clone()),
            of(&|b| b.page_hash.clone()),
            of(&|b| b.form.clone()),
        ])?;
    }
    // Whoever was asked and let the time for an answer pass: nothing of theirs changed, so that the ledger has no entry.
    let mut from = 0;
    while let Some((to, silent)) = consents::silent_after(engine, &mut tx, from).await? {
        for row in silent.into_iter().filter(|row| row.ask.closed_at >= since) {
            let number = engine.vault.decrypt_number(&row.number_enc)?;
            let text = |text: Option<String>| text.map(|text| defused(&text)).unwrap_or_default();
            let (channel, purpose) = (row.permission.channel.code().to_owned(), row.permission.purpose.code().to_owned());
            let mut record = vec![number.e164().to_owned(), text(row.country), text(row.ask.locale), channel, purpose];
            record.extend([Status::Silent.code().to_owned(), instant(row.ask.closed_at).to_rfc3339(), String::new()]);
            record.extend([row.ask.campaign, row.ask.basis, row.ask.wording_hash, None, None, row.ask.reference].map(text));
            record.resize(COLUMNS.len(), String::new());
            csv.write_record(record)?;
            counted += 1;
        }
        from = to;
    }
    tx.rollback().await?;
    let target = csv.into_inner().map_err(|error| anyhow!("the last rows cannot be written: {}", error.error()))?;
    target.done()?;
    super::out::report(context, out, counted);
    Ok(())
}

fn day(text: &str) -> std::result::Result<NaiveDate, String> {
    text.parse().map_err(|_| "not a day such as 2026-12-01".to_owned())
}
