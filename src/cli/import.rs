//! `import contacts`, `import suppressions`

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use super::{Context, bar};
use crate::engine::import::{self, Summary};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Contacts with their ask basis and its evidence. Safe to run again; nobody who said no is revived.
    #[command(after_help = "Example: permesso import contacts list.csv\n\nRejected rows go to list.csv.rejected.csv.")]
    Contacts { file: PathBuf },
    /// Numbers that must be left in peace. They are hashed on the way in and not kept.
    #[command(after_help = "Example: permesso import suppressions unsubscribed.csv")]
    Suppressions { file: PathBuf },
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let engine = context.engine().await?;
    let (Command::Contacts { file } | Command::Suppressions { file }) = command;
    let size = std::fs::metadata(file).with_context(|| format!("cannot open {}", file.display()))?.len();
    let bar = bar(size, "bytes").with_message("importing");
    let summary = match command {
        Command::Contacts { .. } => import::contacts(&engine, file, |at| bar.set_position(at)).await,
        Command::Suppressions { .. } => import::suppressions(&engine, file, |at| bar.set_position(at)).await,
    };
    bar.finish_and_clear();
    print(&summary?, context.json)
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
            "          no column `unsubscribed`: if another one says who unsubscribed, map it under [import.columns] and import again"
        );
    }
    if let Some(file) = &summary.rejected_file {
        println!("          rejected rows, by line and field: {}", file.display());
    }
    Ok(())
}
