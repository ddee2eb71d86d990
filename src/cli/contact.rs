//! `contact explain`

use anyhow::{Context as _, Result};
use clap::Subcommand;

use super::Context;
use crate::domain::phone::PhoneNumber;
use crate::engine::explain;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Whether each campaign asked this person and what they answered, or which rule kept it from asking; then the whole story.
    #[command(after_help = "Example: permesso contact explain \"+39 300 123 4567\"")]
    Explain {
        /// With its country code, in any spelling.
        number: String,
    },
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
    for campaign in &story.campaigns {
        println!("\nCampaign {}", campaign.campaign);
        // The verdict at the top is the newest campaign's own sentence.
        if campaign.sentence != story.verdict {
            println!("  {}", campaign.sentence);
        }
        if let Some(decision) = campaign.decisions.last() {
            println!("  What was on record at the {} of {}:", decision.stage, decision.day());
            for (label, value) in decision.lines() {
                println!("    {:<22}{value}", format!("{label}:"));
            }
        }
    }
    if !story.history.is_empty() {
        println!("\nWhat happened ({})", story.time_zone);
        for moment in &story.history {
            println!("  {}  {}", moment.when(), moment.what);
        }
    }
    let parts = [
        ("Preferences", &story.preferences),
        ("Suppressions", &story.suppressions),
        ("Opposition registers", &story.registers),
        ("Imported", &story.imported),
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
