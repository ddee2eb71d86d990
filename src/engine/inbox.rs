//! Replies nobody could read for sure, as an operator sees them. Deciding about one is `receive::resolve`.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use utoipa::ToSchema;

use super::receive::{self, Resolved};
use super::{Engine, retried};
use crate::clock::instant;
use crate::domain::phone::PhoneNumber;
use crate::store::inbound;

/// One reply that waits. The only place where a reply's text is shown.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Waiting {
    pub id: i64,
    /// When it was said, RFC 3339.
    pub at: String,
    pub channel: String,
    /// The account it came from.
    pub gateway: String,
    /// No reply that we know of, but a callback, authentic all the same, that names no number we can read: a stop reaches nobody.
    pub dead_letter: bool,
    /// The number with its last digits alone; none where the event names no number we can read, or a stranger's.
    pub number: Option<String>,
    /// It came from a number that is in no list of ours, of which only a keyed hash is kept.
    pub stranger: bool,
    /// The person's pseudonym, as in `/contacts/{subject}`.
    pub subject: Option<String>,
    /// The language it was read in: that of the ask.
    pub locale: String,
    /// What was said; of a dead letter why it could not be read, and then the callback itself.
    pub text: String,
    /// What the machine read in it when it came.
    pub read_as: String,
    /// How it would be read now, and why: the phrases may have been extended since.
    pub reading: Reading,
}

/// How the machine reads a text.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Reading {
    /// `opt_in`, `refuse`, `stop`, `wrong_person`, `help`, `unclear`
    pub read_as: String,
    /// A stable word for the reason: `says`, `not_only_yes`, `unknown`, …
    pub because: String,
    /// The reason as a sentence, which names the phrase that decided and its file.
    pub why: String,
}

/// Reads a text as a reply to an ask in this language. Nothing is stored.
pub fn read(engine: &Engine, locale: &str, text: &str) -> Reading {
    let (intent, why) = engine.classifier().explain(locale, text);
    Reading { read_as: intent.key().to_owned(), because: why.code().to_owned(), why: why.to_string() }
}

/// Up to `limit` of those after the id `after`, oldest first.
pub async fn waiting(engine: &Engine, after: i64, limit: i64) -> Result<Vec<Waiting>> {
    Ok(with_numbers(engine, after, limit).await?.into_iter().map(|(waiting, _)| waiting).collect())
}

/// The same, each with its number in full where it is a contact's: for the terminal of an operator who asked for it, and for nothing else.
pub async fn with_numbers(engine: &Engine, after: i64, limit: i64) -> Result<Vec<(Waiting, Option<PhoneNumber>)>> {
    let mut tx = engine.store.read().await?;
    let rows = inbound::held_after(&mut tx, &engine.controller, after, limit).await?;
    tx.rollback().await?;
    rows.into_iter()
        .map(|row| {
            let text = engine.vault.decrypt("inbound", &row.body_enc).context("reading a stored reply")?;
            let number = row.number_enc.as_deref().map(|n| engine.vault.decrypt_number(n)).transpose()?;
            let locale = row.locale.unwrap_or_else(|| engine.config.default_locale.clone());
            let waiting = Waiting {
                id: row.id,
                at: instant(row.at).to_rfc3339(),
                channel: row.channel,
                gateway: row.gateway,
                dead_letter: row.mac.is_empty(),
                number: number.as_ref().map(ToString::to_string),
                stranger: row.subject.is_none() && !row.mac.is_empty(),
                subject: row.subject,
                reading: read(engine, &locale, &text),
                locale,
                text,
                read_as: row.intent,
            };
            Ok((waiting, number))
        })
        .collect()
}

/// An operator's word about one reply: stop, or nothing. There is no yes. Answers whether it was somebody's whom it held.
///
/// # Errors
/// Nothing waits under this id, or a stop would reach nobody.
pub async fn resolve(engine: &Engine, id: i64, stop: bool, by: &str) -> Result<bool> {
    retried(|| try_resolve(engine, id, stop, by)).await
}

async fn try_resolve(engine: &Engine, id: i64, stop: bool, by: &str) -> Result<bool> {
    let mut tx = engine.store.write().await?;
    match receive::resolve(&mut tx, engine, id, stop, by).await? {
        Resolved::NotWaiting => bail!("no reply {id} waits; remedy: `permesso inbox list`"),
        Resolved::Nobody if stop => bail!(
            "event {id} names no number we can read, so a stop would reach nobody; remedy: `import suppressions` with the number, then --as nothing"
        ),
        of => {
            tx.commit().await?;
            Ok(matches!(of, Resolved::Done))
        }
    }
}
