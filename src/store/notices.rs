//! Privacy notices as they were published: what people could read under each version, in each language, never changed again.

use super::{Result, Tx, execute, fetch_all, fetch_optional, json};

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct Published {
    pub version: String,
    pub locale: String,
    pub hash: String,
    pub body: String,
    pub published_at: i64,
}

/// Publishes texts of one version: (locale, hash, body). What was published under it already stays as it is.
pub async fn publish(tx: &mut Tx, controller: &str, version: &str, texts: &[(&str, String, &str)], now: i64) -> Result<()> {
    let rows = texts.iter().map(|(locale, hash, body)| serde_json::json!({"locale": locale, "hash": hash, "body": body}));
    execute!(
        tx,
        "INSERT INTO notices (controller, version, locale, hash, body, published_at)
         SELECT $2, $3, j.value->>'locale', j.value->>'hash', j.value->>'body', $4 FROM EACH($1) WHERE true ON CONFLICT DO NOTHING",
        &json(rows.collect::<Vec<_>>()),
        controller,
        version,
        now
    )?;
    Ok(())
}

/// Every text of one version.
pub async fn of_version(tx: &mut Tx, controller: &str, version: &str) -> Result<Vec<Published>> {
    fetch_all!(
        tx,
        "SELECT version, locale, hash, body, published_at FROM notices WHERE controller = $1 AND version = $2 ORDER BY locale",
        controller,
        version
    )
}

/// This version if it was published, else the one published last; none where nothing was published yet.
pub async fn standing(tx: &mut Tx, controller: &str, version: &str) -> Result<Option<String>> {
    let row: Option<(String,)> = fetch_optional!(
        tx,
        "SELECT version FROM notices WHERE controller = $1
         ORDER BY CASE WHEN version = $2 THEN 0 ELSE 1 END, published_at DESC, version DESC LIMIT 1",
        controller,
        version
    )?;
    Ok(row.map(|(version,)| version))
}

/// Every text of every version, the newest first.
pub async fn all(tx: &mut Tx, controller: &str) -> Result<Vec<Published>> {
    fetch_all!(
        tx,
        "SELECT version, locale, hash, body, published_at FROM notices WHERE controller = $1
         ORDER BY published_at DESC, version DESC, locale",
        controller
    )
}

/// The hash of what was published under this version in this language.
pub async fn hash(tx: &mut Tx, controller: &str, version: &str, locale: &str) -> Result<Option<String>> {
    let row: Option<(String,)> = fetch_optional!(
        tx,
        "SELECT hash FROM notices WHERE controller = $1 AND version = $2 AND locale = $3",
        controller,
        version,
        locale
    )?;
    Ok(row.map(|(hash,)| hash))
}
