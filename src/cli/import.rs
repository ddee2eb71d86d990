//! `import contacts`, `import suppressions`

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, NaiveDate, Utc};
use clap::Subcommand;

use super::{Context, bar};
use crate::domain::plural::{counted, word};
use crate::engine::import::{self, Summary};
use crate::engine::screening;
use crate::engine::table::{NotUtf8, to_utf8};

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
        _ if context.json => println!("{}", serde_json::to_string(&summary)?),
        Command::Contacts { .. } => print_contacts(&summary, file),
        Command::Suppressions { .. } => print_suppressions(&summary, file),
        Command::Screening { register, .. } => print_screening(&summary, register, file),
    }
    if summary.unread > 0 {
        bail!(unread(command, &summary));
    }
    Ok(())
}

/// What rows that could not be read mean: whoever goes on to send must have read this, and a script must stop.
fn unread(command: &Command, summary: &Summary) -> String {
    let (rows, were) = (counted(summary.unread, "row", "rows"), word(summary.unread, "was", "were"));
    let mend = summary
        .rejected_file
        .as_ref()
        .map_or_else(String::new, |file| format!(" mend the lines that {} names and", file.display()));
    match command {
        Command::Suppressions { .. } => {
            format!("{rows} could not be read: {} NOT taken; all others were; remedy:{mend} import the file again", noes(summary))
        }
        Command::Contacts { .. } => format!(
            "{rows} that {} no, or {were} cut before the column that says so, could not be read: {} NOT taken; every other row was imported; \
             remedy:{mend} import the file again before anything is sent",
            word(summary.unread, "says", "say"),
            noes(summary)
        ),
        Command::Screening { .. } => format!(
            "{rows} {} no number that can be read, and may be anybody's: this screening frees nobody. Those it lists were added, earlier \
             listings stay; remedy:{mend} import the whole file again",
            word(summary.unread, "has", "have")
        ),
    }
}

fn noes(summary: &Summary) -> &'static str {
    word(summary.unread, "this no was", "these noes were")
}

fn moment(text: &str) -> std::result::Result<DateTime<Utc>, String> {
    let day = |text: &str| Some(text.parse::<NaiveDate>().ok()?.and_time(chrono::NaiveTime::MIN).and_utc());
    text.parse()
        .ok()
        .or_else(|| day(text))
        .ok_or_else(|| "not a day or time such as 2026-11-20 or 2026-11-20T09:30:00Z".to_owned())
}

/// One line of a summary: the count and what is counted.
fn line(count: u64, one: &str, many: &str) {
    println!("{count:>9} {}", word(count, one, many));
}

/// A line that stands there only where there is something to count.
fn line_of_any(count: u64, one: &str, many: &str) {
    if count > 0 {
        line(count, one, many);
    }
}

/// Of the rows that say no, those taken by their external id alone, and those that change nothing any more.
fn print_noes(summary: &Summary) {
    line_of_any(
        summary.by_id,
        "row without a number that can be read: its no was taken for everybody with its external_id",
        "rows without a number that can be read: their noes were taken for everybody with their external_id",
    );
    line_of_any(
        summary.answered,
        "row known already says a no that its person has answered by a yes since, which stands; remedy for a no said anew: `permesso contact object`",
        "rows known already say noes that their people have answered by a yes since, which stands; remedy for a no said anew: `permesso contact object`",
    );
}

/// Under a summary's counts: the rejected rows by reason, and where they stand.
fn print_rejected(summary: &Summary, file: &Path) {
    for (reason, count) in &summary.rejected_by_reason {
        println!("{count:>13}  {reason}");
    }
    if let Some(rejected) = &summary.rejected_file {
        println!("          {}, by line and field: {}", word(summary.rejected, "the row", "the rows"), rejected.display());
    }
    if let Some(NotUtf8 { line, rows, encoding }) = summary.not_utf8 {
        println!(
            "WARNING: {} not UTF-8, the first in line {line}: the file is probably {encoding}. Remedy: {}",
            counted(rows, "row is", "rows are"),
            to_utf8(encoding, &file.display().to_string())
        );
    }
}

fn print_screening(summary: &Summary, register: &str, file: &Path) {
    line(summary.rows, "row", "rows");
    println!("{:>9} {} listed in {register}, kept as hashes", summary.new, word(summary.new, "number", "numbers"));
    let people = word(summary.withdrawn, "person", "people");
    println!("{:>9} {people} lost a consent that the registration cancels", summary.withdrawn);
    line(summary.rejected, "row with something that cannot be read", "rows with something that cannot be read");
    print_rejected(summary, file);
}

pub fn print_suppressions(summary: &Summary, file: &Path) {
    line(summary.rows, "row", "rows");
    line(summary.new, "row with a number left in peace from now on", "rows with a number left in peace from now on");
    line(summary.repeated, "row with a number left in peace already", "rows with a number left in peace already");
    print_noes(summary);
    line(summary.rejected, "row rejected", "rows rejected");
    print_rejected(summary, file);
    print_ignored(summary);
}

/// Ids that may be a word for none, by which strangers would be one human. The ids themselves are no terminal's business.
fn print_crowds(summary: &Summary) {
    if summary.crowded_ids.is_empty() {
        return;
    }
    println!("WARNING: an external_id that stands on more than ten numbers is probably no one person's:");
    for crowd in summary.crowded_ids.iter().take(20) {
        println!("{:>13}  numbers have the one of line {}", crowd.numbers, crowd.line);
    }
    println!(
        "          all numbers of one id count as one human for good: one ask among them, and the no of one for all. Remedy: where it is no \
         person's id, go back to a database without this import (a backup, or a new one) and import the list with these cells empty"
    );
}

fn print_ignored(summary: &Summary) {
    if !summary.ignored_columns.is_empty() {
        println!("          columns not read: {}", summary.ignored_columns.join(", "));
    }
}

pub fn print_contacts(summary: &Summary, file: &Path) {
    line(summary.rows, "row", "rows");
    let by = match summary.new > summary.new_people {
        true => format!(", by {}", counted(summary.new, "new number", "new numbers")),
        false => String::new(),
    };
    println!("{:>9} new {}{by}", summary.new_people, word(summary.new_people, "person", "people"));
    line(
        summary.merged,
        "row about a number known already, merged into it (the strictest reading wins)",
        "rows about numbers known already, merged into them (the strictest reading wins)",
    );
    line(summary.repeated, "row repeated, nothing new", "rows repeated, nothing new");
    line(summary.rejected, "row rejected", "rows rejected");
    print_rejected(summary, file);
    line_of_any(summary.unsubscribed, "of the rows says no: suppressed", "of the rows say no: suppressed");
    print_noes(summary);
    line_of_any(
        summary.erased,
        "row about somebody who was erased at their request: nothing of it was kept",
        "rows about people who were erased at their request: nothing of them was kept",
    );
    line_of_any(
        summary.quarantined,
        "of the rows comes from a bought or unknown source: never asked",
        "of the rows come from a bought or unknown source: never asked",
    );
    print_crowds(summary);
    print_ignored(summary);
    if summary.missing_fields.iter().any(|f| f == "unsubscribed") {
        println!(
            "WARNING: no column `unsubscribed`: nobody of this file counts as unsubscribed. If another column says who did, map it under \
             [import.contacts.columns] in permesso.toml and import again before anything is sent"
        );
    }
}
