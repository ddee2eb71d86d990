//! `contact explain`

use anyhow::{Context as _, Result};
use clap::Subcommand;

use super::Context;
use crate::domain::phone::PhoneNumber;
use crate::engine::explain;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// A person's whole story: imported, decided and why, sent, said, granted, suppressed.
    #[command(after_help = "Example: permesso contact explain \"+39 300 123 4567\"")]
    Explain { number: String },
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let Command::Explain { number } = command;
    let engine = context.engine().await?;
    let number = PhoneNumber::parse(number, engine.config.default_country.as_deref(), engine.fiction())
        .context("this is no number to explain; remedy: write it as +39 300 123 4567")?;
    let story = explain::explain(&engine, &number).await?;
    if context.json {
        println!("{}", serde_json::to_string(&story)?);
        return Ok(());
    }
    println!("{}\n{}", story.number, story.verdict);
    let parts = [
        ("Imported", &story.imported),
        ("Suppressions", &story.suppressions),
        ("Opposition registers", &story.registers),
        ("Decisions", &story.decisions),
        ("Messages", &story.messages),
        ("Replies", &story.replies),
        ("Preferences", &story.preferences),
        ("Ledger", &story.ledger),
    ];
    for (title, lines) in parts.into_iter().filter(|(_, lines)| !lines.is_empty()) {
        println!("\n{title}");
        for line in lines {
            println!("  {line}");
        }
    }
    Ok(())
}
