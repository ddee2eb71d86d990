//! `notice publish|list|show`

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;

use super::Context;
use crate::clock::instant;
use crate::config::meant;
use crate::engine::notice;
use crate::store::notices;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish the notice as it reads now, in every language, under controller.notice_version. What is published is never changed.
    #[command(after_help = "Example: permesso notice publish")]
    Publish,
    /// Every version that was published, with the hash of each language's text.
    #[command(after_help = "Example: permesso notice list")]
    List,
    /// A published text as people read it, or, before it is published, as they would.
    #[command(after_help = "Example: permesso notice show --locale pl\n         permesso notice show 2026-11 --locale it")]
    Show {
        /// Its version; the one of permesso.toml if left out.
        version: Option<String>,
        /// Its language; `default_locale` if left out.
        #[arg(long)]
        locale: Option<String>,
    },
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let engine = context.engine().await?;
    let current = &engine.config.controller.notice_version;
    match command {
        Command::Publish => {
            let done = notice::publish(&engine).await?;
            if context.json {
                println!("{}", serde_json::to_string(&done)?);
                return Ok(());
            }
            let locales: Vec<&str> = done.texts.iter().map(|t| t.locale.as_str()).collect();
            let was = if done.already { "was published already, and reads the same" } else { "is published" };
            println!("notice {} {was}: {}", done.version, locales.join(", "));
            for text in &done.texts {
                println!("  {}  {}  {}", text.locale, &text.hash[..16], text.file);
            }
            for warning in notice::warnings(&engine)? {
                println!("warning: {warning}");
            }
        }
        Command::List => {
            let mut tx = engine.store.read().await?;
            let all = notices::all(&mut tx, &engine.controller).await?;
            tx.rollback().await?;
            if context.json {
                println!("{}", serde_json::to_string(&all)?);
                return Ok(());
            }
            if all.is_empty() {
                println!("no notice was published yet: `permesso notice publish`");
            }
            for text in &all {
                let at = instant(text.published_at).format("%Y-%m-%d %H:%M UTC");
                let now = if text.version == *current { "  current" } else { "" };
                println!("{}  {}  {}  {at}{now}", text.version, text.locale, &text.hash[..16]);
            }
        }
        Command::Show { version, locale } => {
            let locale = locale.as_deref().unwrap_or(&engine.config.default_locale);
            let wanted = version.as_deref().unwrap_or(current);
            let mut tx = engine.store.read().await?;
            let published = notices::of_version(&mut tx, &engine.controller, wanted).await?;
            tx.rollback().await?;
            if let Some(text) = published.iter().find(|p| p.locale == locale) {
                println!("{}", text.body);
                return Ok(());
            }
            if wanted != current {
                let there = published.iter().map(|p| p.locale.as_str());
                let remedy = meant(locale, there, "or take another version: `permesso notice list` names all");
                bail!("no notice {wanted} was published in `{locale}`; remedy: {remedy}");
            }
            let notices = engine.config.notices()?;
            let text = notices.iter().find(|n| n.locale == locale);
            let text = text.with_context(|| {
                let or = format!("or write notice.{locale}.txt into the folder of texts");
                let remedy = meant(locale, notices.iter().map(|n| n.locale.as_str()), &or);
                format!("there is no notice in `{locale}`; remedy: {remedy}")
            })?;
            println!("{}", text.text);
            eprintln!("not published yet");
        }
    }
    Ok(())
}
