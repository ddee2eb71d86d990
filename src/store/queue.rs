//! The queue's own tables: jobs pushed in the transaction of the rows they are about. apalis is the doorbell, our tables
//! are the truth; a job carries an id and never content.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apalis::prelude::TaskBuilder;
use serde::{Deserialize, Serialize};

use super::{Error, Result, Store, Tx, execute};

pub const QUEUE: &str = "permesso";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Work a batch of messages.
    Deliver { batch: i64 },
    /// Decide about the next contacts of a campaign that has started.
    Plan { campaign: i64 },
    /// Delete what has grown too old.
    Retain { run: i64 },
}

/// Pushes a job that runs after `delay`. It exists exactly if the transaction commits.
pub async fn push(tx: &mut Tx, job: &Job, delay: Duration) -> Result<()> {
    let args = serde_json::to_vec(job).map_err(|e| Error::Corrupt(e.to_string()))?;
    let at = (SystemTime::now() + delay).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let failed = |e: &dyn std::fmt::Display| Error::Corrupt(format!("the queue refused a job: {e}"));
    match tx {
        Tx::Sqlite(t) => {
            let task = TaskBuilder::new(args).run_at_timestamp(at).build();
            apalis_sqlite::queries::push_tasks(&mut **t, QUEUE, &[task]).await.map_err(|e| failed(&e))
        }
        Tx::Postgres(t) => {
            let task = TaskBuilder::new(args).run_at_timestamp(at).build();
            apalis_postgres::queries::push_tasks(&mut **t, QUEUE, vec![task]).await.map_err(|e| failed(&e))
        }
    }
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
