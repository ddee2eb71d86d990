//! `consents export`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use chrono::NaiveDate;
use clap::Subcommand;

use super::Context;
use crate::clock::instant;
use crate::domain::ledger::Body;
use crate::store::{ledger, suppressions};
use crate::web::desk::sheet::defused;

const COLUMNS: [&str; 14] = [
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
];

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Every permission that changed since a day, with its proof, and everybody who must be left in peace, as CSV.
    #[command(after_help = "Example: permesso consents export --since 2026-12-01 --out consents.csv")]
    Export {
        /// First day, UTC, as in 2026-12-01; all if left out.
        #[arg(long, value_parser = day)]
        since: Option<NaiveDate>,
        /// Where to; the terminal if left out.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let Command::Export { since, out } = command;
    let engine = context.engine().await?;
    let since = since.map_or(0, |d| d.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros());
    let target: Box<dyn Write> = match out {
        Some(path) => {
            // Numbers in the clear: for their owner's eyes.
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true);
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            Box::new(options.open(path).with_context(|| format!("cannot write {}", path.display()))?)
        }
        None => Box::new(std::io::stdout()),
    };
    let mut csv = csv::Writer::from_writer(target);
    csv.write_record(COLUMNS)?;
    let mut tx = engine.store.read().await?;
    for row in ledger::consents_since(&mut tx, &engine.controller, since).await? {
        let number = engine.vault.decrypt_number(&row.number_enc)?;
        let body: Option<Body> = row.body.and_then(|b| serde_json::from_str(&b).ok());
        let of = |f: &dyn Fn(&Body) -> Option<String>| body.as_ref().and_then(f).map(|t| defused(&t)).unwrap_or_default();
        csv.write_record([
            // Plus and digits only: no formula can hide in it, and an apostrophe would make it another number to a CRM.
            number.e164().to_owned(),
            defused(&row.country.unwrap_or_default()),
            defused(&row.locale.unwrap_or_default()),
            row.channel,
            row.purpose,
            row.state,
            instant(row.since).to_rfc3339(),
            row.seq.to_string(),
            of(&|b| b.campaign.clone()),
            of(&|b| b.ask_basis.clone()),
            of(&|b| b.wording_hash.clone()),
            of(&|b| b.notice_version.clone()),
            of(&|b| b.first_yes.as_ref().map(|f| instant(f.at).to_rfc3339())),
            of(&|b| b.evidence.clone()),
        ])?;
    }
    // Whoever must be left in peace altogether: the CRM has to learn of these first of all.
    for (number, country, locale, reason, at) in suppressions::known_since(&mut tx, &engine.controller, since).await? {
        let number = engine.vault.decrypt_number(&number)?;
        let (country, locale) = (defused(&country.unwrap_or_default()), defused(&locale.unwrap_or_default()));
        let mut record = vec![number.e164().to_owned(), country, locale, "all".into(), "all".into(), reason];
        record.push(instant(at).to_rfc3339());
        record.resize(COLUMNS.len(), String::new());
        csv.write_record(record)?;
    }
    tx.rollback().await?;
    csv.flush()?;
    Ok(())
}

fn day(text: &str) -> std::result::Result<NaiveDate, String> {
    text.parse().map_err(|_| "not a day such as 2026-12-01".to_owned())
}
