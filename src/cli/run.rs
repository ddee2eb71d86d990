//! `run`, `halt`, `resume`

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::{Args as ClapArgs, ValueEnum};
use serde_json::json;

use super::{Context, stop_signal};
use crate::app::{self, Roles};
use crate::domain::plural::counted;
use crate::engine::{gateways, report, steer};

#[derive(Debug, ClapArgs)]
pub struct Args {
    /// What this process does.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "web,worker")]
    roles: Vec<Role>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Web,
    Worker,
}

#[derive(Debug, ClapArgs)]
pub struct Resume {
    /// Settle a time in which nobody listened by your word that no reply was lost; say who you are and what you did.
    #[arg(long, value_name = "WORDS")]
    heard: Option<String>,
}

pub async fn run(context: &Context, args: &Args) -> Result<()> {
    let roles = Roles { web: args.roles.contains(&Role::Web), worker: args.roles.contains(&Role::Worker) };
    let engine = Arc::new(context.engine().await?);
    gateways::all_are_heard(&engine).await?;
    let mut tx = engine.store.read().await?;
    for warning in report::warnings(&engine, &mut tx).await? {
        tracing::warn!("{warning}");
    }
    tx.rollback().await?;
    let stop = stop_signal()?;
    app::run(engine.clone(), roles, None, stop).await?;
    // What had to be stored is stored; a connection to a server that vanished never comes back to be closed.
    let _ = tokio::time::timeout(Duration::from_secs(5), engine.store.close()).await;
    Ok(())
}

pub async fn halt(context: &Context) -> Result<()> {
    let engine = context.engine().await?;
    steer::halt(&engine, &operator()).await?;
    match context.json {
        true => println!("{}", json!({ "halted": true })),
        false => {
            println!(
                "halted: nothing more is sent until `permesso resume`; at most 500 messages a worker are still on their way"
            );
        }
    }
    Ok(())
}

pub async fn resume(context: &Context, args: &Resume) -> Result<()> {
    let engine = context.engine().await?;
    let resumed = steer::resume(&engine, &operator(), args.heard.as_deref()).await?;
    if context.json {
        println!("{}", json!({ "halted": false, "was_halted": resumed.was_halted, "gaps": resumed.gaps }));
        return Ok(());
    }
    match resumed.gaps {
        0 if !resumed.was_halted && resumed.gaps_before == 0 => {
            println!("nothing was halted; a campaign that is paused goes on by `permesso campaign resume NAME`");
        }
        0 => println!("resumed"),
        n => println!(
            "resumed, but {} not settled; `permesso resume --heard WORDS` does",
            counted(n, "time of deafness is", "times of deafness are")
        ),
    }
    Ok(())
}

/// Who does this, for the record.
pub fn operator() -> String {
    std::env::var("USER").unwrap_or_else(|_| "operator".into())
}
