//! `consents export`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use chrono::NaiveDate;
use clap::Subcommand;

use super::Context;
use crate::clock::instant;
use crate::domain::ledger::Body;
use crate::store::ledger;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Every permission that changed since a day, as CSV: number, channel, purpose, state, since when, and its proof.
    #[command(after_help = "Example: permesso consents export --since 2026-12-01 --out consents.csv")]
    Export {
        /// First day, UTC; all if left out.
        #[arg(long)]
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
        Some(path) => Box::new(std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?),
        None => Box::new(std::io::stdout()),
    };
    let mut csv = csv::Writer::from_writer(target);
    csv.write_record([
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
    ])?;
    let mut tx = engine.store.read().await?;
    for row in ledger::consents_since(&mut tx, &engine.controller, since).await? {
        let number = engine.vault.decrypt_number(&row.number_enc)?;
        let body: Option<Body> = row.body.and_then(|b| serde_json::from_str(&b).ok());
        let of = |f: &dyn Fn(&Body) -> Option<String>| body.as_ref().and_then(f).map(|t| safe(&t)).unwrap_or_default();
        csv.write_record([
            // Plus and digits only: no formula can hide in it.
            number.e164().to_owned(),
            row.country.unwrap_or_default(),
            row.locale.unwrap_or_default(),
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
    tx.rollback().await?;
    csv.flush()?;
    Ok(())
}

/// No cell may start a formula in a spreadsheet.
fn safe(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}
