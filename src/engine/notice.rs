//! The privacy notice: published once under each version, and without it no campaign is planned or started.

use std::sync::atomic::Ordering;

use anyhow::{Result, bail};
use serde::Serialize;

use super::Engine;
use crate::domain::notice::Notice;
use crate::store::{Tx, notices};

/// One language of what was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Text {
    pub locale: String,
    pub hash: String,
    pub file: String,
    pub is_built_in: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Published {
    pub version: String,
    pub texts: Vec<Text>,
    /// It was published before, and reads the same now.
    pub already: bool,
}

/// Publishes the notice of the settings under its version. Again is the same as once.
///
/// # Errors
/// A text lacks what a notice must say, or the version was published with another text: what people were shown is never changed.
pub async fn publish(engine: &Engine) -> Result<Published> {
    let (version, texts) = (&engine.config.controller.notice_version, engine.config.notices()?);
    let mut tx = engine.store.write().await?;
    let before = notices::of_version(&mut tx, &engine.controller, version).await?;
    if let Some(what) = differs(&before, &texts) {
        bail!(
            "notice {version} was published with another text ({what}), and what people were shown is never changed; remedy: write a new controller.notice_version into permesso.toml"
        );
    }
    let rows: Vec<(&str, String, &str)> = texts.iter().map(|t| (t.locale.as_str(), t.hash(), t.text.as_str())).collect();
    notices::publish(&mut tx, &engine.controller, version, &rows, engine.now()).await?;
    tx.commit().await?;
    let text = |t: &Notice| Text { locale: t.locale.clone(), hash: t.hash(), file: t.file.clone(), is_built_in: t.is_built_in };
    Ok(Published { version: version.clone(), texts: texts.iter().map(text).collect(), already: !before.is_empty() })
}

/// The languages in which what was published reads differently from the settings.
fn differs(published: &[notices::Published], texts: &[Notice]) -> Option<String> {
    let other = |t: &&Notice| published.iter().any(|p| p.locale == t.locale && p.hash != t.hash());
    let locales: Vec<&str> = texts.iter().filter(other).map(|t| t.locale.as_str()).collect();
    (!locales.is_empty()).then(|| locales.join(", "))
}

/// That the notice of the settings is published as it reads now.
///
/// # Errors
/// It is not; with the remedy.
pub async fn required(tx: &mut Tx, engine: &Engine) -> Result<()> {
    match unpublished(tx, engine, &engine.config.notices()?).await? {
        Some(problem) => bail!("{problem}"),
        None => Ok(()),
    }
}

/// What keeps [`required`] from holding, with the remedy. What pages without a campaign offer is what the settings offer, so until then nobody
/// can be told of it all beside their choice (Art. 13 GDPR).
pub async fn lacking(tx: &mut Tx, engine: &Engine) -> Result<Option<String>> {
    match engine.config.notices() {
        Ok(texts) => unpublished(tx, engine, &texts).await,
        Err(problems) => Ok(Some(problems.to_string())),
    }
}

async fn unpublished(tx: &mut Tx, engine: &Engine, texts: &[Notice]) -> Result<Option<String>> {
    let version = &engine.config.controller.notice_version;
    let published = notices::of_version(tx, &engine.controller, version).await?;
    let file = engine.config.dir.join("permesso.toml");
    let file = file.display();
    if let Some(what) = differs(&published, texts) {
        return Ok(Some(format!(
            "{file}: controller.notice_version: notice {version} was published with another text ({what}); remedy: write a new version, then `permesso notice publish`"
        )));
    }
    let lacks = texts.iter().any(|t| published.iter().all(|p| p.locale != t.locale));
    Ok(lacks.then(|| {
        format!(
            "{file}: controller.notice_version: notice {version} is not published; remedy: read it, then `permesso notice publish`"
        )
    }))
}

/// What to tell whoever answers for privacy about a notice: what nobody of the company has written, what stands behind its
/// times, and who may be missing among those it names.
///
/// # Errors
/// As [`required`]: a text lacks what a notice must say.
pub fn warnings(engine: &Engine) -> Result<Vec<String>> {
    let texts = engine.config.notices()?;
    let built_in: Vec<&str> = texts.iter().filter(|t| t.is_built_in).map(|t| t.locale.as_str()).collect();
    let built_in = (!built_in.is_empty()).then(|| {
        format!(
            "the notice that ships serves in {}; have it read by whoever answers for privacy, or write your own (`permesso config texts` writes it out)",
            built_in.join(", ")
        )
    });
    let unnamed = engine.config.webhooks.iter().filter(|w| w.processor.is_none()).map(|w| {
        format!(
            "webhook {} names no processor, so people read that nobody but you keeps what it is told; if somebody runs that system for you, write webhook.processor and webhook.region",
            w.name
        )
    });
    let longer = engine.config.retention.justification.as_ref();
    let longer = longer.map(|why| format!("it promises longer times than usual, and retention.justification says why: {why}"));
    Ok(built_in.into_iter().chain(unnamed).chain(longer).collect())
}

/// The version of what people are shown and consent to: that of the settings once it is published, and until then the one published
/// last, since nobody could prove what the text of another was (Art. 7(1) GDPR). Where nothing was published yet, that of the settings.
pub async fn standing(tx: &mut Tx, engine: &Engine) -> Result<String> {
    let wanted = &engine.config.controller.notice_version;
    if engine.notice_stands.load(Ordering::Relaxed) {
        return Ok(wanted.clone());
    }
    let standing = notices::standing(tx, &engine.controller, wanted).await?;
    if standing.as_ref() == Some(wanted) {
        engine.notice_stands.store(true, Ordering::Relaxed);
    }
    Ok(standing.unwrap_or_else(|| wanted.clone()))
}

/// What people read: version and text as published; as the settings have it where nothing was published yet.
///
/// # Errors
/// The database is away, or a text that is not published yet lacks what a notice must say.
pub async fn shown(engine: &Engine, locale: &str) -> Result<Option<(String, String)>> {
    let mut tx = engine.store.read().await?;
    let version = standing(&mut tx, engine).await?;
    let published = notices::of_version(&mut tx, &engine.controller, &version).await?;
    tx.rollback().await?;
    let text = match published.is_empty() {
        true => engine.config.notices()?.into_iter().find(|n| n.locale == locale).map(|n| n.text),
        false => published.into_iter().find(|p| p.locale == locale).map(|p| p.body),
    };
    Ok(text.map(|text| (version, text)))
}
