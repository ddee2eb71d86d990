//! `db migrate`, `db backup`, `db keep`, `db restore`

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Subcommand;

use super::Context;
use crate::config::Config;
use crate::engine::{keys, restore};
use crate::store::{Store, backup, migrations};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create the database, or bring it to this version, after a backup. Refuses one that a newer permesso made.
    #[command(after_help = "Example: permesso db migrate")]
    Migrate {
        /// Make no backup: you have one of your own.
        #[arg(long)]
        no_backup: bool,
    },
    /// Copy the database while it is in use. Keep the copy apart from the key.
    #[command(after_help = "Example: permesso db backup\n         permesso db backup --to /mnt/backup/permesso.db")]
    Backup {
        /// A new file; a name with version and time in the folder `backups` beside the database if left out.
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Write down, while the database is in use, what an old copy of it must learn before it goes live: every no, who was asked, who answered
    /// and who was erased, by keyed hashes. Run it often, and keep the file on another disk: with it a database that is lost loses no no.
    #[command(after_help = "Example: permesso db keep --to /mnt/backup/kept.jsonl")]
    Keep {
        /// Made anew at each run, at one stroke.
        #[arg(long)]
        to: PathBuf,
    },
    /// Put a copy in the place of the database. First it learns every no, ask and unclear reply since; then all sending is halted
    /// until `permesso resume`. Stop every permesso before.
    #[command(after_help = "Example: permesso db restore backups/permesso-0015-20261201T094500Z.db")]
    Restore {
        /// What `db backup` made.
        copy: PathBuf,
        /// Learn from this file too, which `db keep` or an earlier try wrote; where the database of before cannot be read, from it alone.
        #[arg(long, conflicts_with = "nothing_kept")]
        kept: Vec<PathBuf>,
        /// The database of before is gone and nothing of it was kept: give every list of noes you have before you resume.
        #[arg(long)]
        nothing_kept: bool,
    },
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let config = crate::app::load(&context.dir)?;
    match command {
        Command::Migrate { no_backup } => {
            let done = migrations::upgrade(&config.database, (!no_backup).then(|| backups(&config)).as_deref()).await?;
            if context.json {
                println!("{}", serde_json::json!({ "from": done.from, "to": done.to, "backup": done.backup }));
                return Ok(());
            }
            if let Some(path) = &done.backup {
                println!("backed up to {}", path.display());
            }
            match done.from {
                None => println!("the database is made (migration {})", done.to),
                Some(from) if from == done.to && done.backup.is_none() => println!("the database is ready: nothing to migrate"),
                Some(from) => println!("the database is ready: from migration {from} to {}", done.to),
            }
        }
        Command::Backup { to } => {
            let path = match to {
                Some(path) => {
                    backup::copy_to(&config.database, path).await?;
                    path.clone()
                }
                None => {
                    let version = migrations::version(&config.database).await?;
                    backup::copy_into(&config.database, &backups(&config), version).await?
                }
            };
            match context.json {
                true => println!("{}", serde_json::json!({ "backup": path })),
                false => println!("backed up to {}", path.display()),
            }
        }
        Command::Keep { to } => {
            let store = Store::open(&config.database).await?;
            let kept = async {
                keys::belongs(&store, &config).await?;
                keep(&store, &config.controller.id, super::clock(&context.dir)?.now(), to).await
            };
            let kept = kept.await;
            store.close().await;
            kept?;
            match context.json {
                true => println!("{}", serde_json::json!({ "kept": to })),
                false => println!("written down in {}", to.display()),
            }
        }
        Command::Restore { copy, kept, nothing_kept } => {
            super::restore::run(context, config, copy, kept, *nothing_kept).await?;
        }
    }
    Ok(())
}

/// Writes what the database knows beside the file, and then puts it in its place.
async fn keep(store: &Store, controller: &str, now: i64, to: &Path) -> Result<()> {
    let written = restore::written(store, controller, now).await?;
    // What one that is lost knew may be all there is of it.
    if let Some(of) = written.made_at.and_then(|made_at| restore::begun(to).of_another(controller, made_at)) {
        bail!(
            "{of}, and stays as it is: it may be all that is left of that one; remedy: write to another file, or move this one away"
        );
    }
    // Of this process alone: two at a time write two files, and each is whole when it takes the place.
    let new = to.with_added_extension(format!("{}.new", std::process::id()));
    let kept = restore::keep(store, &written, &new).await;
    let done = match kept {
        Ok(true) => {
            backup::replace(&new, to).with_context(|| format!("cannot write {}; remedy: let permesso write there", to.display()))
        }
        Ok(false) => Err(anyhow!(
            "the database holds nobody and nothing, and {} stays as it is: what it knows may be all there is; remedy: `permesso db restore`, if \
             this database takes the place of one that was lost",
            to.display()
        )),
        Err(error) => Err(error),
    };
    if done.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    done
}

/// Beside the SQLite file; for Postgres in the folder where one would be.
pub fn backups(config: &Config) -> PathBuf {
    match config.database.strip_prefix("sqlite:") {
        Some(path) => Path::new(path).parent().unwrap_or(Path::new(".")).join("backups"),
        None => config.beside("data/backups"),
    }
}
