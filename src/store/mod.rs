//! The two stores, SQLite and Postgres, behind one [`Store`] and one [`Tx`]. Each query is written once: SQLite takes
//! `$1`, three things that differ have a word of ours: `EACH($1)` (the rows of a JSON array, as `j.value`), `THEN JOIN`
//! (a join in this order: SQLite would rather begin with the whole controller) and `DBNOW()` (the database's own clock, for
//! leases alone), and `FOR UPDATE`, which SQLite with its one writer needs not, is left out there. One file per table's questions.

mod sql;

pub mod alone;
pub mod answers;
pub mod backup;
pub mod campaigns;
pub mod codes;
pub mod consents;
pub mod contacts;
pub mod control;
pub mod conversations;
pub mod erase;
pub mod facts;
pub mod handed;
pub mod humans;
pub mod inbound;
pub mod intakes;
pub mod keep;
pub mod keys;
pub mod ledger;
pub mod legs;
pub mod listed;
pub mod messages;
pub mod migrations;
pub mod notices;
pub mod outbox;
pub mod paces;
pub mod queue;
pub mod rates;
pub mod report;
pub mod requests;
pub mod retention;
pub mod screenings;
pub mod suppressions;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::str::FromStr;
use std::time::Duration;

pub(crate) use sql::{execute, fetch_all, fetch_one, fetch_optional, fetch_value, fetch_values, statement};
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, PgPool, Postgres, Sqlite, SqlitePool, Transaction};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database {0} does not exist; remedy: `permesso db migrate` creates it")]
    Missing(String),
    #[error("cannot make the folder {0}: {1}; remedy: let permesso write where it would be, or name another place")]
    Folder(String, std::io::Error),
    #[error("the database was made by a newer permesso (migration {0}); remedy: run that version, nothing was changed")]
    Newer(i64),
    #[error("the database is older than this permesso; remedy: stop every permesso that uses it, then `permesso db migrate`")]
    Older,
    #[error("the backup {0} cannot be made, so nothing was changed: {1}; remedy: {2}")]
    Backup(String, String, String),
    #[error("the copy {0} cannot be put back, so the database is as it was: {1}; remedy: {2}")]
    Restore(String, String, String),
    #[error(
        "a `db restore` was begun here and did not end, so this copy does not know yet who said no since; remedy: begin it again with \
         --kept FILE, the newest kept-….jsonl in `backups` (or with --nothing-kept, if nothing was kept)"
    )]
    Restoring,
    #[error("a `db restore` is under way; remedy: wait until it has ended, and do this again")]
    BeingRestored,
    #[error(
        "something has the database open (an import, another command, a tool), and what it writes the copy would not learn; remedy: stop it, \
         and restore again"
    )]
    InUse,
    #[error("another database has taken this one's place, so nothing was written; remedy: do this again")]
    Moved,
    #[error("the database is read-only; remedy: give the user that runs permesso the right to write the file and its folder")]
    ReadOnly,
    #[error(
        "the database is locked by another process; remedy: wait where that is `db restore`, else stop it, and do this again"
    )]
    Locked,
    #[error("`{0}` is neither sqlite:PATH nor postgres://…")]
    Url(String),
    #[error("the database holds something it should not: {0}")]
    Corrupt(String),
    #[error("migrating the database: {0}")]
    Migrate(MigrateError),
    #[error("database: {0}")]
    Sqlx(sqlx::Error),
}

impl From<MigrateError> for Error {
    fn from(error: MigrateError) -> Error {
        match error {
            MigrateError::Execute(error) => Error::from(error),
            error => Error::Migrate(error),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Error {
        let text = error.as_database_error().map(|e| e.message().to_owned()).unwrap_or_default();
        // SQLITE_READONLY_DBMOVED: whoever waited for a database that is no more under its name.
        let has_moved = error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "1032");
        match () {
            _ if has_moved => Error::Moved,
            _ if text.contains("readonly") || text.contains("read-only") => Error::ReadOnly,
            _ if text.contains("database is locked") => Error::Locked,
            _ => Error::Sqlx(error),
        }
    }
}

impl Error {
    /// Two transactions waited for each other and this one lost: doing it again is all it takes.
    pub fn is_deadlock(&self) -> bool {
        match self {
            Error::Sqlx(error) => {
                error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|c| c == "40P01" || c == "40001")
            }
            _ => false,
        }
    }

    /// The database cannot be reached, goes down, comes up, gives way to another or has no room: what failed can be done later as it is.
    /// The classes are of Postgres' appendix A and of SQLite's result codes.
    pub fn is_away(&self) -> bool {
        let error = match self {
            Error::Locked | Error::ReadOnly => return true,
            Error::Sqlx(error) => error,
            _ => return false,
        };
        match error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(error) => error.code().is_some_and(|code| match (code.len(), code.parse::<u32>()) {
                // SQLITE_BUSY, IOERR, FULL, CANTOPEN, under all that is said beside.
                (..5, Ok(code)) => matches!(code & 0xff, 5 | 10 | 13 | 14),
                _ => ["08", "53", "57P", "58"].iter().any(|class| code.starts_with(class)),
            }),
            _ => false,
        }
    }

    /// The database is there and refuses what it was to store: done again as it is, it would be refused again.
    /// The classes as in [`Error::is_away`].
    pub fn is_of_data(&self) -> bool {
        match self {
            Error::Corrupt(_) => true,
            Error::Sqlx(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| match (code.len(), code.parse::<u32>()) {
                    // SQLITE_TOOBIG, CONSTRAINT, MISMATCH.
                    (..5, Ok(code)) => matches!(code & 0xff, 18..=20),
                    _ => ["22", "23", "P0001"].iter().any(|class| code.starts_with(class)),
                })
            }
            Error::Sqlx(error) => {
                matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_))
            }
            _ => false,
        }
    }
}

/// As [`Error::is_deadlock`], for an error that has gone through `anyhow`.
pub fn is_deadlock(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<Error>()).any(Error::is_deadlock)
}

/// As [`Error::is_away`], for an error that has gone through `anyhow`.
pub fn is_away(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<Error>()).any(Error::is_away)
}

/// As [`Error::is_of_data`], for an error that has gone through `anyhow`; what is none of the database's is of the data.
pub fn is_of_data(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<Error>()).all(Error::is_of_data)
}

pub type Result<T> = std::result::Result<T, Error>;

const BUSY_S: u64 = 15;
/// How long a Postgres that refuses connections is tried again before whoever waits is told that it is away: a visitor, a gateway.
const REACH: Duration = Duration::from_secs(10);
/// How long a connection that lay idle may take to say that it is alive.
const ALIVE: Duration = Duration::from_secs(3);
/// How long one statement may take on Postgres. None of ours comes near it, and a server that vanished while it had one never answers: sqlx
/// waits for ever then.
const LONGEST_STATEMENT: Duration = Duration::from_secs(300);

/// What a server that does not answer any more is told as.
fn hung() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database server does not answer"))
}

/// A transaction begun to its end, whoever has gone away meanwhile: dropped within BEGIN, sqlx 0.9 gives the connection to the next one with
/// the transaction open, and what is read-only takes no write.
async fn begun(pool: &PgPool, statement: &'static str) -> std::result::Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { bounded(pool.begin_with(statement)).await });
    begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// Waits for Postgres as long as it can be there.
async fn bounded<T>(statement: impl Future<Output = std::result::Result<T, sqlx::Error>>) -> std::result::Result<T, sqlx::Error> {
    tokio::time::timeout(LONGEST_STATEMENT, statement).await.unwrap_or_else(|_| Err(hung()))
}

#[derive(Debug, Clone)]
pub enum Store {
    /// One writing connection (SQLite has one writer anyway), several reading ones.
    Sqlite {
        write: SqlitePool,
        read: SqlitePool,
        queue: SqlitePool,
    },
    Postgres {
        pool: PgPool,
        queue: PgPool,
    },
}

/// A transaction. Every write takes one, so that the caller decides what commits together.
#[derive(Debug)]
pub enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Store {
    async fn connect(url: &str, create: bool) -> Result<Store> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.trim_start_matches("//");
            if !create && !std::path::Path::new(path).exists() {
                return Err(Error::Missing(path.to_owned()));
            }
            if let Some(folder) = std::path::Path::new(path).parent().filter(|_| create) {
                std::fs::create_dir_all(folder).map_err(|e| Error::Folder(folder.display().to_string(), e))?;
            }
            if create {
                // Its owner's alone, like every copy of it; SQLite gives its log the same mode. An empty file is an empty database, and why
                // none can be made SQLite says.
                let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            }
            let options = SqliteConnectOptions::new()
                .filename(path)
                .create_if_missing(create)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(Duration::from_secs(BUSY_S))
                // More than there are statements: preparing one again costs more than running it.
                .statement_cache_capacity(1_000)
                // A slice's rows come from SQLite's thread in one go, not fifty at a time.
                .row_buffer_size(1_000)
                .pragma("temp_store", "memory");
            // A full disk makes SQLite roll back by itself. sqlx believes then for good that the transaction is open and lets none begin:
            // such a connection is closed and another opened. None needs to be asked whether it is alive: its other end is a thread of ours.
            let pool = |n| {
                let pool = SqlitePoolOptions::new()
                    .max_connections(n)
                    .acquire_timeout(Duration::from_secs(60))
                    .test_before_acquire(false);
                pool.before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            };
            // Negative: kilobytes. A campaign's indexes do not fit into the 2 MB that SQLite has by itself, and a checkpoint every 4 MB writes
            // the same pages again and again.
            let writing = options.clone().pragma("cache_size", "-32768").pragma("wal_autocheckpoint", "8000");
            let write = pool(1).connect_with(writing).await?;
            let read = pool(4).connect_lazy_with(options.clone());
            let queue = pool(4).connect_lazy_with(options);
            Ok(Store::Sqlite { write, read, queue })
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options = PgConnectOptions::from_str(url).map_err(|_| Error::Url("postgres://…".into()))?;
            // To compile a statement costs more than any of ours takes, and a plan over thousands of people looks dear enough to Postgres.
            let options = options.options([("synchronous_commit", "on"), ("jit", "off")]);
            // The server finds a client whose machine is gone, and lets go of the rows it held, in half a minute and not in two hours.
            let options = options.options([
                ("tcp_keepalives_idle", "20"),
                ("tcp_keepalives_interval", "5"),
                ("tcp_keepalives_count", "3"),
                ("tcp_user_timeout", "30000"),
            ]);
            // A dead connection ends apalis' worker, and holds up whoever gets it, unless it is tested first.
            let pool = |n| {
                let pool = PgPoolOptions::new().max_connections(n).acquire_timeout(REACH).test_before_acquire(false);
                let pool = pool.after_connect(|connection, _| Box::pin(alone::enter(connection)));
                pool.before_acquire(|connection, _| {
                    Box::pin(async move {
                        let alive = tokio::time::timeout(ALIVE, connection.ping()).await;
                        alive.unwrap_or_else(|_| Err(hung())).map(|()| true)
                    })
                })
            };
            let opened = match pool(12).connect_with(options.clone()).await {
                Err(sqlx::Error::PoolTimedOut) if alone::is_taken(&options).await => return Err(Error::BeingRestored),
                opened => opened?,
            };
            Ok(Store::Postgres { pool: opened, queue: pool(4).connect_lazy_with(options) })
        } else {
            Err(Error::Url(url.split(':').next().unwrap_or_default().to_owned()))
        }
    }

    /// A writing transaction. On SQLite it holds the one writer from its first moment, so it never fails half-way on a lock.
    pub async fn write(&self) -> Result<Tx> {
        Ok(match self {
            Store::Sqlite { write, .. } => Tx::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Store::Postgres { pool, .. } => Tx::Postgres(begun(pool, "BEGIN").await?),
        })
    }

    /// A transaction for reading: one consistent picture, whatever is written meanwhile. It can neither write nor hold a row; Postgres
    /// refuses both in it.
    pub async fn read(&self) -> Result<Tx> {
        Ok(match self {
            Store::Sqlite { read, .. } => Tx::Sqlite(read.begin().await?),
            Store::Postgres { pool, .. } => Tx::Postgres(begun(pool, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?),
        })
    }

    /// Lets Postgres count its tables anew. After an import or a planning its figures are up to a minute old (autovacuum's nap), and
    /// with "nine suppressions" in its books it reads all hundred thousand for every two thousand people. A table that is being counted
    /// already is passed over. Nothing depends on it but speed, so a role without the right to do it goes on.
    pub async fn take_stock(&self) {
        let Store::Postgres { pool, .. } = self else { return };
        let count = "ANALYZE (SKIP_LOCKED) contacts, number_macs, suppressions, consent_evidence, messages, decisions";
        if let Err(error) = sqlx::raw_sql(count).execute(pool).await {
            tracing::warn!(error = %Error::from(error), "The tables could not be counted anew");
        }
    }

    /// Whether what is committed outlives the machine. A Postgres server may be told to sync nothing, and a pooler between may keep back what
    /// we ask of a connection.
    pub async fn is_durable(&self) -> Result<bool> {
        let Store::Postgres { pool, .. } = self else { return Ok(true) };
        let synced = "SELECT current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off'";
        Ok(sqlx::query_scalar(synced).fetch_one(pool).await?)
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self, Store::Sqlite { .. })
    }

    pub async fn close(&self) {
        match self {
            Store::Sqlite { write, read, queue } => {
                read.close().await;
                queue.close().await;
                write.close().await;
            }
            Store::Postgres { pool, queue } => {
                queue.close().await;
                pool.close().await;
            }
        }
    }
}

impl Tx {
    pub async fn commit(mut self) -> Result<()> {
        report::add_up(&mut self).await?;
        match self {
            Tx::Sqlite(t) => t.commit().await?,
            Tx::Postgres(t) => bounded(t.commit()).await?,
        }
        Ok(())
    }

    pub async fn rollback(self) -> Result<()> {
        match self {
            Tx::Sqlite(t) => t.rollback().await?,
            Tx::Postgres(t) => bounded(t.rollback()).await?,
        }
        Ok(())
    }

    /// Begins a part of the transaction that can be undone by itself.
    pub async fn savepoint(&mut self) -> Result<()> {
        execute!(self, "SAVEPOINT part")?;
        Ok(())
    }

    /// Keeps what was written since [`Tx::savepoint`].
    pub async fn release(&mut self) -> Result<()> {
        execute!(self, "RELEASE SAVEPOINT part")?;
        Ok(())
    }

    /// Undoes what was written since [`Tx::savepoint`].
    pub async fn rollback_to(&mut self) -> Result<()> {
        execute!(self, "ROLLBACK TO SAVEPOINT part")?;
        Ok(())
    }

    /// The database's own clock, microseconds; for leases and heartbeats alone.
    pub async fn db_now(&mut self) -> Result<i64> {
        let now: i64 = fetch_value!(self, "SELECT DBNOW()")?;
        Ok(now)
    }
}

/// Every statement SQLite was given so far, for the test that asks it how it finds their rows.
#[cfg(debug_assertions)]
pub static STATEMENTS: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());

pub(crate) fn sqlite_text(sql: &str) -> String {
    let text = each(sql, |n| format!("json_each(${n}) AS j"))
        .replace("THEN JOIN", "CROSS JOIN")
        .replace("DBNOW()", "CAST(unixepoch('subsec') * 1000000 AS BIGINT)")
        .replace("FOR NO KEY UPDATE", "")
        .replace("FOR UPDATE SKIP LOCKED", "")
        .replace("FOR UPDATE", "");
    #[cfg(debug_assertions)]
    if let Ok(mut all) = STATEMENTS.lock() {
        all.push(text.clone());
    }
    text
}

pub(crate) fn postgres_text(sql: &str) -> String {
    each(sql, |n| format!("jsonb_array_elements(CAST(${n} AS jsonb)) AS j(value)"))
        .replace("THEN JOIN", "JOIN")
        .replace("DBNOW()", "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)")
}

fn each(sql: &str, table: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(sql.len() + 64);
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once("EACH($") {
        let (n, after) = after.split_once(')').unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(&table(n));
        rest = after;
    }
    out + rest
}

/// The JSON array `EACH` takes.
pub(crate) fn json(rows: impl serde::Serialize) -> String {
    serde_json::to_string(&rows).expect("rows of text and numbers are JSON")
}
