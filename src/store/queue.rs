//! The queue's own tables: jobs pushed in the transaction of the rows they are about. apalis is the doorbell, our tables
//! are the truth; a job carries an id and never content.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apalis::prelude::TaskBuilder;
use serde::{Deserialize, Serialize};

use super::{Error, Result, Store, Tx, execute, fetch_all, fetch_optional};

pub const QUEUE: &str = "permesso";

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Work a batch of messages.
    Deliver { batch: i64 },
    /// Decide about the next contacts of a campaign that has started.
    Plan { campaign: i64 },
    /// Delete what has grown too old.
    Retain { run: i64 },
}

/// What stands there to run no later than `$2`, seconds, and nobody has taken.
macro_rules! standing {
    (sqlite) => {
        "FROM Jobs WHERE job_type = $1 AND status = 'Pending' AND lock_by IS NULL AND run_at <= $2"
    };
    (postgres) => {
        "FROM apalis.jobs WHERE job_type = $1 AND status = 'Pending' AND run_at <= to_timestamp($2)"
    };
}

/// Pushes a job that runs after `delay`. It exists exactly if the transaction commits.
pub async fn push(tx: &mut Tx, job: &Job, delay: Duration) -> Result<()> {
    let (args, at) = (args(job)?, second(delay));
    // Who steers waits behind nobody who sends.
    let priority = usize::from(!matches!(job, Job::Deliver { .. }));
    let failed = |e: &dyn std::fmt::Display| Error::Corrupt(format!("the queue refused a job: {e}"));
    match tx {
        Tx::Sqlite(t) => {
            let task = TaskBuilder::new(args).run_at_timestamp(at).priority(priority).build();
            apalis_sqlite::queries::push_tasks(&mut **t, QUEUE, &[task]).await.map_err(|e| failed(&e))
        }
        Tx::Postgres(t) => {
            let task = TaskBuilder::new(args).run_at_timestamp(at).priority(priority).build();
            apalis_postgres::queries::push_tasks(&mut **t, QUEUE, vec![task]).await.map_err(|e| failed(&e))
        }
    }
}

/// As [`push`], unless the same job stands there to run no later: whoever rings for all that is so again and again adds nothing by it.
pub async fn ring(tx: &mut Tx, job: &Job, delay: Duration) -> Result<()> {
    let (at, args) = (second(delay), args(job)?);
    let there: Option<(i64,)> = match &tx {
        Tx::Sqlite(_) => fetch_optional!(
            &mut *tx,
            concat!("SELECT CAST(1 AS BIGINT) ", standing!(sqlite), " AND job = $3 LIMIT 1"),
            QUEUE,
            at as i64,
            args
        )?,
        Tx::Postgres(_) => fetch_optional!(
            &mut *tx,
            concat!("SELECT CAST(1 AS BIGINT) ", standing!(postgres), " AND job = $3 LIMIT 1"),
            QUEUE,
            at as f64,
            args
        )?,
    };
    if there.is_none() {
        push(tx, job, delay).await?;
    }
    Ok(())
}

/// The jobs that stand there and may run now.
pub async fn standing(tx: &mut Tx) -> Result<HashSet<Job>> {
    let now = second(Duration::ZERO);
    let rows: Vec<(Vec<u8>,)> = match &tx {
        Tx::Sqlite(_) => fetch_all!(&mut *tx, concat!("SELECT job ", standing!(sqlite)), QUEUE, now as i64)?,
        Tx::Postgres(_) => fetch_all!(&mut *tx, concat!("SELECT job ", standing!(postgres)), QUEUE, now as f64)?,
    };
    Ok(rows.into_iter().filter_map(|(args,)| serde_json::from_slice(&args).ok()).collect())
}

/// Whether the queue can be read.
///
/// # Errors
/// It cannot, and why.
pub async fn answers(store: &Store) -> Result<()> {
    match store {
        Store::Sqlite { queue, .. } => sqlx::query("SELECT 1 FROM Jobs LIMIT 1").execute(queue).await.map(drop)?,
        Store::Postgres { queue, .. } => sqlx::query("SELECT 1 FROM apalis.jobs LIMIT 1").execute(queue).await.map(drop)?,
    }
    Ok(())
}

fn args(job: &Job) -> Result<Vec<u8>> {
    serde_json::to_vec(job).map_err(|e| Error::Corrupt(e.to_string()))
}

/// The queue reckons in seconds. What is to run later runs no earlier than that.
fn second(delay: Duration) -> u64 {
    let at = (SystemTime::now() + delay).duration_since(UNIX_EPOCH).unwrap_or_default();
    at.as_secs() + u64::from(!delay.is_zero() && at.subsec_nanos() > 0)
}

/// Done jobs are of no use: apalis slows down with every one it keeps.
pub async fn sweep(store: &Store) -> Result<u64> {
    let mut tx = store.write().await?;
    let removed = match &tx {
        Tx::Sqlite(_) => {
            execute!(&mut tx, "DELETE FROM Jobs WHERE job_type = $1 AND status IN ('Done', 'Killed', 'Failed')", QUEUE)?
        }
        Tx::Postgres(_) => {
            execute!(&mut tx, "DELETE FROM apalis.jobs WHERE job_type = $1 AND status IN ('Done', 'Killed', 'Failed')", QUEUE)?
        }
    };
    tx.commit().await?;
    Ok(removed)
}
