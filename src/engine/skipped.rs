//! People a campaign leaves out, by reason: from the count to the person.

use anyhow::Result;
use serde::Serialize;
use utoipa::ToSchema;

use super::Engine;
use super::plan::known;
use crate::clock::instant;
use crate::store::campaigns;

/// One person left out. No number but its last digits.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Skipped {
    /// Where the next page goes on.
    pub id: i64,
    /// The person's pseudonym, as in `/contacts/{subject}`.
    pub subject: String,
    pub number: String,
    pub country: Option<String>,
    pub kind: Option<String>,
    /// `plan` or `claim`: where it was decided.
    pub stage: String,
    /// When, RFC 3339.
    pub at: String,
}

/// Up to `limit` people left out for this reason, after the one with id `after`. Each costs one look into an index.
///
/// # Errors
/// No campaign of this name was ever started.
pub async fn skipped(engine: &Engine, name: &str, code: &str, after: i64, limit: i64) -> Result<Vec<Skipped>> {
    let mut tx = engine.store.read().await?;
    let row = known(&mut tx, engine, name).await?;
    let rows = campaigns::skipped(&mut tx, row.id, code, after, limit).await?;
    tx.rollback().await?;
    rows.into_iter()
        .map(|row| {
            Ok(Skipped {
                id: row.contact_id,
                subject: row.subject,
                number: engine.vault.decrypt_number(&row.number_enc)?.to_string(),
                country: row.country,
                kind: row.kind,
                stage: row.stage,
                at: instant(row.at).to_rfc3339(),
            })
        })
        .collect()
}
