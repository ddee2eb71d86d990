//! `retention run`, `retention list`

use anyhow::Result;
use clap::Subcommand;

use super::Context;
use crate::engine::retention::{self, Found};
use crate::web::desk::minute;

/// Runs shown.
const NEWEST: i64 = 30;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// End and delete what is too old by `[retention]` of permesso.toml, now. `permesso run` does it once a day.
    #[command(after_help = "Example: permesso retention run --dry-run")]
    Run {
        /// Change nothing, and say what would be done.
        #[arg(long)]
        dry_run: bool,
    },
    /// What was done on which day, the newest first.
    #[command(after_help = "Example: permesso retention list")]
    List,
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let engine = context.engine().await?;
    match command {
        Command::Run { dry_run } => {
            let found = if *dry_run { retention::rehearse(&engine).await? } else { retention::by_hand(&engine).await? };
            match context.json {
                true => println!("{}", serde_json::to_string(&found)?),
                false => println!("{}{}", if *dry_run { "nothing was changed; due: " } else { "done: " }, found.words()),
            }
        }
        Command::List => {
            let runs = retention::runs(&engine, NEWEST).await?;
            if context.json {
                println!("{}", serde_json::to_string(&runs)?);
                return Ok(());
            }
            for run in &runs {
                println!(
                    "{} UTC  {}",
                    minute(&run.at),
                    run.found.as_ref().map_or("under way, or broken off".to_owned(), Found::words)
                );
            }
            if runs.is_empty() {
                println!("nothing was done yet");
            }
        }
    }
    Ok(())
}
