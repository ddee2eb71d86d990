//! `db migrate`

use anyhow::Result;
use clap::Subcommand;

use super::Context;
use crate::store::Store;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create the database, or bring it to this version. Refuses one that a newer permesso made.
    #[command(after_help = "Example: permesso db migrate")]
    Migrate,
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let Command::Migrate = command;
    let config = crate::app::load(&context.dir)?;
    Store::migrate(&config.database).await?.close().await;
    println!("the database is ready");
    Ok(())
}
