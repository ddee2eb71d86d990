//! `ledger verify`, `ledger export`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Subcommand;

use super::Context;
use crate::clock::instant;
use crate::domain::plural::counted;
use crate::engine::verify;
use crate::store::ledger;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check that no entry was changed, moved or taken out.
    #[command(after_help = "Example: permesso ledger verify")]
    Verify,
    /// Every entry with its evidence, one JSON object a line. Pseudonymous: no number is in it.
    #[command(after_help = "Example: permesso ledger export --out ledger.jsonl")]
    Export {
        /// A new file; the terminal if left out.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Write over the file if it exists.
        #[arg(long, requires = "out")]
        force: bool,
    },
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let engine = context.engine().await?;
    match command {
        Command::Verify => {
            let (count, wrong) = verify::ledger(&engine).await?;
            if context.json {
                println!("{}", serde_json::json!({ "entries": count, "wrong": wrong }));
            } else {
                for line in &wrong {
                    println!("{line}");
                }
            }
            if !wrong.is_empty() {
                bail!("{} of {count} entries do not hold", wrong.len());
            }
            if !context.json {
                match count {
                    0 => println!("0 entries: nobody has given, refused or taken back anything yet"),
                    _ => println!(
                        "{}, all in order; preferences and suppressions are what they say",
                        counted(count, "entry", "entries")
                    ),
                }
            }
        }
        Command::Export { out, force } => {
            let mut target = super::out::open(out.as_deref(), *force)?;
            let (mut after, mut counted) = (0, 0);
            let mut tx = engine.store.read().await?;
            loop {
                let rows = ledger::entries_after(&mut tx, &engine.controller, after, 5000).await?;
                let Some(last) = rows.last() else { break };
                after = last.0;
                counted += rows.len();
                for (seq, subject, kind, at, body_hash, prev, hash, body) in rows {
                    let body: Option<serde_json::Value> = body.and_then(|b| serde_json::from_str(&b).ok());
                    let row = serde_json::json!({
                        "seq": seq, "subject": subject, "kind": kind, "at": instant(at).to_rfc3339(), "body_sha256": body_hash,
                        "prev_sha256": prev, "sha256": hash, "body": body,
                    });
                    writeln!(target, "{row}")?;
                }
            }
            target.done()?;
            super::out::report(context, out.as_deref(), counted);
        }
    }
    Ok(())
}
