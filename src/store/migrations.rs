//! The schema's version: which migrations a database has, which this program knows, and the way from one to the other, after a
//! backup.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use sqlx::migrate::{Migrate, MigrateError, Migrator};

use super::{Error, Result, Store, Tx, backup, fetch_one};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
/// apalis would use the table of our own migrations; it gets one of its own.
const QUEUE_MIGRATIONS: &str = "_queue_migrations";

/// What an upgrade found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgraded {
    /// The newest migration before; `None` where there was nothing.
    pub from: Option<i64>,
    pub to: i64,
    /// The copy made before anything was changed.
    pub backup: Option<PathBuf>,
}

impl Store {
    /// Opens an existing database of exactly this schema.
    pub async fn open(url: &str) -> Result<Store> {
        let store = Store::connect(url, false).await?;
        let (has, known) = (store.has().await?, known());
        match has.difference(&known).max() {
            Some(newer) => Err(Error::Newer(*newer)),
            None if has != known => Err(Error::Older),
            None => match &store {
                Store::Postgres { pool, .. } if backup::is_marked(pool).await? => Err(Error::Restoring),
                _ => Ok(store),
            },
        }
    }

    /// Creates the database where there is none and brings it to this schema. Refuses a newer one. No backup is made: whoever holds
    /// somebody's data wants [`upgrade`].
    pub async fn migrate(url: &str) -> Result<Store> {
        let store = Store::connect(url, true).await?;
        if let Some(newer) = store.has().await?.difference(&known()).max() {
            return Err(Error::Newer(*newer));
        }
        match &store {
            Store::Sqlite { write, queue, .. } => {
                SQLITE.run(write).await?;
                let mut migrator = apalis_sqlite::SqliteStorage::<()>::migrations();
                migrator.dangerous_set_table_name(QUEUE_MIGRATIONS).run(queue).await?;
            }
            Store::Postgres { pool, queue } => {
                POSTGRES.run(pool).await?;
                let mut migrator = apalis_postgres::PostgresStorage::<()>::migrations();
                migrator.dangerous_set_table_name(QUEUE_MIGRATIONS).run(queue).await?;
            }
        }
        Ok(store)
    }

    /// The migrations this database has.
    async fn has(&self) -> Result<BTreeSet<i64>> {
        async fn applied<C: Migrate>(connection: &mut C, table: &str) -> std::result::Result<BTreeSet<i64>, MigrateError> {
            connection.ensure_migrations_table(table).await?;
            Ok(connection.list_applied_migrations(table).await?.iter().map(|m| m.version).collect())
        }
        Ok(match self {
            Store::Sqlite { write, .. } => applied(&mut *write.acquire().await?, "_sqlx_migrations").await?,
            Store::Postgres { pool, .. } => applied(&mut *pool.acquire().await?, "_sqlx_migrations").await?,
        })
    }
}

/// By what a database and every copy of it are told from others.
pub(super) const MADE_AT: &str = "SELECT installed_on FROM _sqlx_migrations ORDER BY version LIMIT 1";

/// When the database was made, microseconds: that of its first migration, which every copy has.
pub async fn made_at(tx: &mut Tx) -> Result<i64> {
    let (at,): (DateTime<Utc>,) = fetch_one!(tx, MADE_AT)?;
    Ok(at.timestamp_micros())
}

fn known() -> BTreeSet<i64> {
    SQLITE.iter().map(|m| m.version).collect()
}

/// Whether a database of this version is of this program's.
pub fn is_newest(version: i64) -> bool {
    known().last() == Some(&version)
}

/// Brings a database to this schema. One that holds anything is copied into `backups` first, unless there is no such folder
/// (somebody has a copy of their own); if that fails nothing is changed. Where there is nothing to do, nothing is copied.
///
/// # Errors
/// The database is newer, the copy cannot be made, or a migration fails, which leaves the database as it was.
pub async fn upgrade(url: &str, backups: Option<&Path>) -> Result<Upgraded> {
    let store = Store::connect(url, true).await?;
    let (has, known) = (store.has().await?, known());
    store.close().await;
    if let Some(newer) = has.difference(&known).max() {
        return Err(Error::Newer(*newer));
    }
    let from = has.last().copied();
    let backup = match (from, backups) {
        (Some(from), Some(folder)) if has != known => {
            Some(backup::copy_into(url, folder, from).await.map_err(|error| match error {
                Error::Backup(path, why, remedy) => {
                    Error::Backup(path, why, format!("{remedy}, or `--no-backup` if you have one of your own"))
                }
                other => other,
            })?)
        }
        _ => None,
    };
    Store::migrate(url).await?.close().await;
    Ok(Upgraded { from, to: known.last().copied().unwrap_or_default(), backup })
}

/// The version of a database that exists, for the name of its backup.
pub async fn version(url: &str) -> Result<i64> {
    let store = Store::connect(url, false).await?;
    let newest = store.has().await?.last().copied();
    store.close().await;
    Ok(newest.unwrap_or_default())
}
