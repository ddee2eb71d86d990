//! A database that nobody else has open: from the moment at which it is written down what a copy must learn, until the copy is in its place.
//! Whoever came between would be told that a no was stored, and it would be in neither.

use std::str::FromStr;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::{ALIVE, BUSY_S, Error, Result, Store, Tx};

/// Every connection of a Postgres store holds this lock together with all others, as long as it lasts; whoever wants the database alone holds
/// it by himself. It belongs to one database of the server.
const LOCK: i64 = i64::from_be_bytes(*b"permesso");
/// SQLite does not wait for whoever has to go before its journal changes.
const AGAIN: Duration = Duration::from_millis(100);

/// A database that nobody else can write to.
#[derive(Debug)]
pub struct Alone {
    /// To read it by; none where it cannot be read.
    pub store: Option<Store>,
    /// On SQLite, whose readers need no more than that nobody writes.
    held: Option<Tx>,
    lock: Option<PgConnection>,
}

/// Keeps everybody else out of the database, whether it is a readable one or not. Of what is none SQLite has nothing to hold, and nobody can
/// write to it.
///
/// # Errors
/// Somebody has it open, for 15 seconds.
pub async fn take(url: &str, readable: bool) -> Result<Alone> {
    match url.strip_prefix("sqlite:") {
        Some(_) if !readable => Ok(Alone { store: None, held: None, lock: None }),
        Some(path) => sqlite(path.trim_start_matches("//")).await,
        None => postgres(url, readable).await,
    }
}

/// Lets others in again.
pub async fn end(alone: Alone) -> Result<()> {
    if let Some(tx) = alone.held {
        tx.rollback().await?;
    }
    if let Some(store) = &alone.store {
        store.close().await;
    }
    if let Some(lock) = alone.lock {
        lock.close().await?;
    }
    Ok(())
}

/// Without a write-ahead log the file is all there is: it is left only when nobody else has the database open, and whoever waits to open it
/// finds that it is no more under its name once a copy is. With one they would share the log of the copy.
async fn sqlite(path: &str) -> Result<Alone> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(AGAIN);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(BUSY_S) {
        // One connection, which never ends by itself.
        let one = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        match one.connect_with(options.clone().journal_mode(SqliteJournalMode::Delete)).await.map_err(Error::from) {
            Ok(write) => {
                let read = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options.clone());
                let store = Store::Sqlite { write, read: read.clone(), queue: read };
                match hold(&store).await {
                    Ok(Some(tx)) => return Ok(Alone { store: Some(store), held: Some(tx), lock: None }),
                    Ok(None) | Err(Error::Locked) => store.close().await,
                    Err(error) => return Err(error),
                }
            }
            Err(Error::Locked) => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(AGAIN).await;
    }
    Err(Error::InUse)
}

/// From now on nobody else writes; none where somebody came first, and has a log again.
async fn hold(store: &Store) -> Result<Option<Tx>> {
    let mut tx = store.write().await?;
    let Tx::Sqlite(t) = &mut tx else { return Ok(None) };
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut **t).await?;
    if mode == "delete" {
        return Ok(Some(tx));
    }
    tx.rollback().await?;
    Ok(None)
}

async fn postgres(url: &str, readable: bool) -> Result<Alone> {
    let options = PgConnectOptions::from_str(url).map_err(|_| Error::Url("postgres://…".into()))?;
    let mut lock = options.connect().await?;
    // What a server may think of a session that is silent for hours; one before Postgres 14 thinks nothing.
    let _ = sqlx::raw_sql("SET idle_session_timeout = 0").execute(&mut lock).await;
    // Whoever comes from now on waits behind us.
    let patience = format!("{BUSY_S}s");
    sqlx::query("SELECT set_config('lock_timeout', $1, false)").bind(patience).execute(&mut lock).await?;
    if let Err(error) = sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut lock).await {
        // lock_not_available
        let in_use = error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "55P03");
        return Err(if in_use { Error::InUse } else { error.into() });
    }
    let store = match readable {
        true => {
            let pool = PgPoolOptions::new().max_connections(2).connect_with(options).await?;
            Some(Store::Postgres { queue: pool.clone(), pool })
        }
        false => None,
    };
    Ok(Alone { store, held: None, lock: Some(lock) })
}

/// For each new connection of a Postgres store: waits while somebody has the database alone.
pub(super) async fn enter(connection: &mut PgConnection) -> std::result::Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_lock_shared($1)").bind(LOCK).execute(connection).await.map(drop)
}

/// Whether somebody has the database alone.
pub(super) async fn is_taken(options: &PgConnectOptions) -> bool {
    let free = async {
        let mut connection = options.connect().await?;
        let free = sqlx::query_scalar("SELECT pg_try_advisory_lock_shared($1)").bind(LOCK).fetch_one(&mut connection).await;
        connection.close().await?;
        free
    };
    matches!(tokio::time::timeout(ALIVE, free).await, Ok(Ok(false)))
}
