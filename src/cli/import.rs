//! `import contacts`, `import suppressions`

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, NaiveDate, Utc};
use clap::Subcommand;

use super::{Context, bar};
use crate::engine::import::{self, Summary};
use crate::engine::screening;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Contacts with their ask basis and its evidence. Safe to run again; nobody who said no is revived.
    #[command(after_help = "Example: permesso import contacts list.csv\n\nRejected rows go to list.csv.rejected.csv.")]
    Contacts {
        /// The list, as CSV.
        file: PathBuf,
    },
    /// Numbers that must be left in peace. They are hashed on the way in and not kept.
    #[command(after_help = "Example: permesso import suppressions unsubscribed.csv")]
    Suppressions {
        /// The list, as CSV with a column `number`.
        file: PathBuf,
    },
    /// The answer of a public opposition register: the file lists the numbers registered there, everybody else known by then is
    /// free. Registration ends earlier consents for calls.
    #[command(after_help = "Example: permesso import screening rpo.csv --register RPO --at 2026-11-20")]
    Screening {
        /// The register's answer, as CSV with a column `number`.
        file: PathBuf,
        /// The register's name in the country pack: RPO, TPS, ROBINSON.
        #[arg(long)]
        register: String,
        /// When the register was asked: a day, which counts from its first moment (UTC), or a time, 2026-11-20T09:30:00Z.
        #[arg(long, value_parser = moment)]
        at: DateTime<Utc>,
        /// Take a file without rows: the register lists nobody, everybody is free.
        #[arg(long)]
        nobody_listed: bool,
    },
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let engine = context.engine().await?;
    let (Command::Contacts { file } | Command::Suppressions { file } | Command::Screening { file, .. }) = command;
    let size = std::fs::metadata(file).with_context(|| format!("cannot open {}; remedy: check the path", file.display()))?.len();
    let bar = bar(size, "bytes").with_message("importing");
    let summary = match command {
        Command::Contacts { .. } => import::contacts(&engine, file, |at| bar.set_position(at)).await,
        Command::Suppressions { .. } => import::suppressions(&engine, file, |at| bar.set_position(at)).await,
        Command::Screening { register, at, nobody_listed, .. } => {
            let at = at.timestamp_micros();
            screening::import(&engine, file, register, at, *nobody_listed, |at| bar.set_position(at)).await
        }
    };
    bar.finish_and_clear();
    let summary = summary?;
    match command {
        Command::Screening { register, .. } if !context.json => print_screening(&summary, register),
        _ => print(&summary, context.json)?,
    }
    if summary.unread > 0 {
        bail!(unread(command, &summary));
    }
    Ok(())
}

/// What rows that could not be read mean: whoever goes on to send must have read this, and a script must stop.
fn unread(command: &Command, summary: &Summary) -> String {
    let rows = summary.unread;
    let mend = summary
        .rejected_file
        .as_ref()
        .map_or_else(String::new, |file| format!(" mend the lines that {} names and", file.display()));
    match command {
        Command::Suppressions { .. } => {
            format!(
                "{rows} rows could not be read: these noes were NOT taken; all others were; remedy:{mend} import the file again"
            )
        }
        Command::Contacts { .. } => format!(
            "{rows} rows say no, or are cut before the column that says so, and could not be read: these noes were NOT taken; every other row \
             was imported; remedy:{mend} import the file again before anything is sent"
        ),
        Command::Screening { .. } => format!(
            "{rows} rows have no number that can be read, and they may be anybody's: this screening frees nobody. Those it lists were added, \
             earlier listings stay; remedy:{mend} import the whole file again"
        ),
    }
}

fn moment(text: &str) -> std::result::Result<DateTime<Utc>, String> {
    let day = |text: &str| Some(text.parse::<NaiveDate>().ok()?.and_time(chrono::NaiveTime::MIN).and_utc());
    text.parse()
        .ok()
        .or_else(|| day(text))
        .ok_or_else(|| "not a day or time such as 2026-11-20 or 2026-11-20T09:30:00Z".to_owned())
}

fn print_screening(summary: &Summary, register: &str) {
    println!("{:>9} rows", summary.rows);
    println!("{:>9} numbers listed in {register}, kept as hashes", summary.new);
    println!("{:>9} people lost a consent that the registration cancels", summary.withdrawn);
    println!("{:>9} rows with something that cannot be read", summary.rejected);
    for (reason, count) in &summary.rejected_by_reason {
        println!("{count:>13}  {reason}");
    }
    if let Some(file) = &summary.rejected_file {
        println!("          by line and field: {}", file.display());
    }
}

pub fn print(summary: &Summary, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(summary)?);
        return Ok(());
    }
    println!("{:>9} rows", summary.rows);
    println!("{:>9} new people", summary.new);
    println!("{:>9} merged into a person known already (the strictest reading wins)", summary.merged);
    println!("{:>9} repeated rows, nothing new", summary.repeated);
    println!("{:>9} rejected", summary.rejected);
    for (reason, count) in &summary.rejected_by_reason {
        println!("{count:>13}  {reason}");
    }
    if summary.unsubscribed > 0 {
        println!("{:>9} of them say no: suppressed", summary.unsubscribed);
    }
    if summary.quarantined > 0 {
        println!("{:>9} of them come from a bought or unknown source: never asked", summary.quarantined);
    }
    if !summary.ignored_columns.is_empty() {
        println!("          columns not read: {}", summary.ignored_columns.join(", "));
    }
    if summary.missing_fields.iter().any(|f| f == "unsubscribed") {
        println!(
            "WARNING: no column `unsubscribed`: nobody of this file counts as unsubscribed. If another column says who did, map it under \
             [import.contacts.columns] in permesso.toml and import again before anything is sent"
        );
    }
    if let Some(file) = &summary.rejected_file {
        println!("          rejected rows, by line and field: {}", file.display());
    }
    Ok(())
}
