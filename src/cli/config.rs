//! `config check`

use anyhow::Result;
use clap::Subcommand;

use super::Context;
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find every error in permesso.toml, the country packs, the phrases and the campaigns. Needs no database.
    #[command(after_help = "Example: permesso config check")]
    Check,
}

pub fn run(context: &Context, command: &Command) -> Result<()> {
    let Command::Check = command;
    let config = Config::check_all(&context.dir)?;
    let campaigns = config.campaign_names()?;
    if context.json {
        println!(
            "{}",
            serde_json::json!({ "ok": true, "campaigns": campaigns, "countries": config.packs.keys().collect::<Vec<_>>() })
        );
    } else {
        let packs = config.packs.keys().cloned().collect::<Vec<_>>().join(" ");
        println!("{} is in order: {} campaigns, country packs {packs}", context.dir.display(), campaigns.len());
    }
    Ok(())
}
