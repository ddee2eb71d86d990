//! `inbox list`, `inbox resolve`

use anyhow::Result;
use clap::{Subcommand, ValueEnum};

use super::Context;
use crate::clock::instant;
use crate::engine::inbox;
use crate::store::inbound;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replies nobody could read for sure; their senders get nothing more until an operator decides.
    #[command(after_help = "Example: permesso inbox list")]
    List,
    /// Decide about one: a stop, or nothing at all. Nobody but the person can say yes.
    #[command(after_help = "Example: permesso inbox resolve 17 --as stop")]
    Resolve {
        id: i64,
        #[arg(long = "as")]
        verdict: Verdict,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Verdict {
    Stop,
    Nothing,
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let engine = context.engine().await?;
    match command {
        Command::List => {
            let mut tx = engine.store.read().await?;
            let waiting = inbound::held(&mut tx, &engine.controller).await?;
            tx.rollback().await?;
            for row in &waiting {
                let text = engine.vault.decrypt("inbound", &row.body_enc)?;
                if context.json {
                    println!(
                        "{}",
                        serde_json::json!({ "id": row.id, "at": instant(row.at).to_rfc3339(), "channel": row.channel, "text": text })
                    );
                } else {
                    // Debug form: a control character in a reply must not reach the terminal.
                    println!("{:>6}  {}  {:<8}  {text:?}", row.id, instant(row.at).format("%Y-%m-%d %H:%M"), row.channel);
                }
            }
            if waiting.is_empty() && !context.json {
                println!("nothing waits");
            }
        }
        Command::Resolve { id, verdict } => {
            let stop = matches!(verdict, Verdict::Stop);
            inbox::resolve(&engine, *id, stop, &super::run::operator()).await?;
            println!("reply {id}: {}", if stop { "taken as a stop" } else { "nothing; the person can be written to again" });
        }
    }
    Ok(())
}
