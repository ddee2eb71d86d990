//! The append-only ledger, its evidence, and the preferences derived from it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::contacts::of_human;
use super::{Error, Result, Tx, execute, fetch_all, fetch_optional, json, outbox};
use crate::crash;
use crate::domain::channel::{Channel, Permission, Purpose};
use crate::domain::ledger::{self, Body, GENESIS, Preference};
use crate::domain::webhook::News;
use crate::vault::Vault;

/// Appends one entry, brings the subject's preferences up to date, puts the change into the outbox of the webhooks that are to
/// be `told`, and answers the entry's sequence number. Row and chain are sealed with the vault's key.
pub async fn append(tx: &mut Tx, vault: &Vault, controller: &str, body: &Body, told: &[&str], now: i64) -> Result<i64> {
    let text = serde_json::to_string(body).map_err(|e| Error::Corrupt(e.to_string()))?;
    let body_hash = ledger::body_hash(&text);
    let head: Option<(String, i64)> = fetch_optional!(
        tx,
        "SELECT hash, (SELECT COUNT(*) FROM ledger WHERE controller = $1 AND subject = $2) FROM ledger
         WHERE controller = $1 AND subject = $2 ORDER BY seq DESC LIMIT 1",
        controller,
        &body.subject
    )?;
    let (prev, entries) = head.unwrap_or_else(|| (GENESIS.to_owned(), 0));
    let kind = body.entry.code();
    let hash = vault.row_seal(&ledger::row_hash(controller, &body.subject, kind, body.at, &body_hash, &prev));
    let seq: Option<(i64,)> = fetch_optional!(
        tx,
        "INSERT INTO ledger (controller, subject, kind, at, body_hash, prev, hash) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING seq",
        controller,
        &body.subject,
        kind,
        body.at,
        &body_hash,
        &prev,
        &hash
    )?;
    let (seq,) = seq.ok_or_else(|| Error::Corrupt("the ledger took no entry".into()))?;
    execute!(tx, "INSERT INTO evidence (seq, body) VALUES ($1, $2)", seq, &text)?;
    execute!(
        tx,
        "INSERT INTO ledger_heads (controller, subject, entries, seal) VALUES ($1, $2, $3, $4)
         ON CONFLICT (controller, subject) DO UPDATE SET entries = excluded.entries, seal = excluded.seal",
        controller,
        &body.subject,
        entries + 1,
        vault.head_seal(controller, &body.subject, entries + 1, &hash)
    )?;

    crash::point("between-ledger-and-preference");
    let before = preferences(tx, controller, &body.subject).await?;
    let mut after = before.clone();
    ledger::apply(&mut after, body);
    // A yes said anew is a new consent: from now on its time and its proof count.
    let anew = |p: &Permission| body.entry == ledger::Entry::Granted && body.permissions.contains(p);
    for (permission, state) in after.iter().filter(|(p, s)| before.get(*p) != Some(*s) || anew(p)) {
        execute!(
            tx,
            "INSERT INTO preferences (controller, subject, channel, purpose, state, since, seq, campaign_id, learned_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, (SELECT id FROM campaigns WHERE controller = $1 AND name = $8), $9)
             ON CONFLICT (controller, subject, channel, purpose) DO UPDATE SET state = excluded.state, since = excluded.since,
               seq = excluded.seq, campaign_id = excluded.campaign_id, learned_at = excluded.learned_at",
            controller,
            &body.subject,
            permission.channel.code(),
            permission.purpose.code(),
            state.code(),
            body.at,
            seq,
            body.campaign.as_deref(),
            now
        )?;
    }
    if matches!(body.entry, ledger::Entry::Restricted | ledger::Entry::Unrestricted | ledger::Entry::Times) {
        // What stands granted may be used otherwise from now on, and whoever takes home what changed has to learn of it.
        execute!(
            tx,
            "UPDATE preferences SET learned_at = $3 WHERE controller = $1 AND subject = $2 AND state = 'granted'",
            controller,
            &body.subject,
            now
        )?;
    }
    // A restriction that is lifted where nothing stands granted changes nothing for who writes to people.
    let nothing = body.entry == ledger::Entry::Unrestricted && body.permissions.is_empty();
    if let Some(news) = News::of_entry(body.entry).filter(|_| !nothing) {
        let concerned = after.iter().filter(|(p, s)| body.permissions.contains(p) || before.get(*p) != Some(*s));
        let permissions =
            json(concerned.map(|(p, s)| Stands { channel: p.channel, purpose: p.purpose, state: *s }).collect::<Vec<_>>());
        let new = outbox::New {
            kind: news.code(),
            subject: Some(&body.subject),
            seq: Some(seq),
            permissions: &permissions,
            number_enc: None,
            reason: None,
            at: body.at,
        };
        outbox::add(tx, controller, told, &new, now).await?;
    }
    Ok(seq)
}

/// One permission as it stands after an entry, as receivers of webhooks read it.
#[derive(Serialize)]
struct Stands {
    channel: Channel,
    purpose: Purpose,
    state: Preference,
}

pub async fn preferences(tx: &mut Tx, controller: &str, subject: &str) -> Result<BTreeMap<Permission, Preference>> {
    let rows: Vec<(String, String, String)> = fetch_all!(
        tx,
        "SELECT channel, purpose, state FROM preferences WHERE controller = $1 AND subject = $2",
        controller,
        subject
    )?;
    rows.into_iter()
        .map(|(channel, purpose, state)| {
            let permission = Channel::parse(&channel).zip(Purpose::parse(&purpose));
            permission
                .zip(Preference::parse(&state))
                .map(|((channel, purpose), state)| (Permission { channel, purpose }, state))
                .ok_or_else(|| Error::Corrupt(format!("preference {channel}.{purpose} = {state}")))
        })
        .collect()
}

/// What stands granted to this subject.
pub async fn granted(tx: &mut Tx, controller: &str, subject: &str) -> Result<Vec<Permission>> {
    let preferences = preferences(tx, controller, subject).await?;
    Ok(preferences.into_iter().filter(|(_, state)| *state == Preference::Granted).map(|(permission, _)| permission).collect())
}

/// As [`granted`], and when the first yes to each was said; where its evidence is gone, when it was granted.
pub async fn first_yeses(tx: &mut Tx, controller: &str, subject: &str) -> Result<Vec<(Permission, i64)>> {
    let rows: Vec<(String, String, i64, Option<String>)> = fetch_all!(
        tx,
        "SELECT p.channel, p.purpose, p.since, e.body FROM preferences p LEFT JOIN evidence e ON e.seq = p.seq
         WHERE p.controller = $1 AND p.subject = $2 AND p.state = 'granted' ORDER BY p.channel, p.purpose",
        controller,
        subject
    )?;
    let mut granted = Vec::with_capacity(rows.len());
    for (channel, purpose, since, body) in rows {
        let first_yes_at = first_yes_at(since, body.as_deref());
        if let Some((channel, purpose)) = Channel::parse(&channel).zip(Purpose::parse(&purpose)) {
            granted.push((Permission { channel, purpose }, first_yes_at));
        }
    }
    Ok(granted)
}

/// When the first yes to what was granted at `since` was said, by its entry; where that evidence is gone, when it was granted.
pub(super) fn first_yes_at(since: i64, body: Option<&str>) -> i64 {
    let body: Option<Body> = body.and_then(|body| serde_json::from_str(body).ok());
    body.and_then(|body| body.first_yes).map_or(since, |first| first.at)
}

/// One entry as stored: (seq, subject, kind, at, body hash, prev, hash, body if evidence still holds it).
pub type Row = (i64, String, String, i64, String, String, String, Option<String>);

/// Up to `limit` entries after `after`, oldest first.
pub async fn entries_after(tx: &mut Tx, controller: &str, after: i64, limit: i64) -> Result<Vec<Row>> {
    fetch_all!(
        tx,
        "SELECT l.seq, l.subject, l.kind, l.at, l.body_hash, l.prev, l.hash, e.body FROM ledger l
         LEFT JOIN evidence e ON e.seq = l.seq WHERE l.controller = $1 AND l.seq > $2 ORDER BY l.seq LIMIT $3",
        controller,
        after,
        limit
    )
}

/// The sealed end of every chain: subject, entries, seal.
pub async fn heads(tx: &mut Tx, controller: &str) -> Result<Vec<(String, i64, String)>> {
    fetch_all!(tx, "SELECT subject, entries, seal FROM ledger_heads WHERE controller = $1 ORDER BY subject", controller)
}

pub async fn entries_of(tx: &mut Tx, controller: &str, subject: &str) -> Result<Vec<Row>> {
    fetch_all!(
        tx,
        "SELECT l.seq, l.subject, l.kind, l.at, l.body_hash, l.prev, l.hash, e.body FROM ledger l
         LEFT JOIN evidence e ON e.seq = l.seq WHERE l.controller = $1 AND l.subject = $2 ORDER BY l.seq",
        controller,
        subject
    )
}

/// Every stored preference: subject, channel, purpose, state.
pub async fn all_preferences(tx: &mut Tx, controller: &str) -> Result<Vec<(String, String, String, String)>> {
    fetch_all!(
        tx,
        "SELECT subject, channel, purpose, state FROM preferences WHERE controller = $1 ORDER BY subject, channel, purpose",
        controller
    )
}

/// Publishes texts people may be shown: (hash, name, locale, body). A text already published stays as it is. Answers how many were new.
pub async fn publish_wording(tx: &mut Tx, controller: &str, texts: &[(String, String, String, String)], now: i64) -> Result<u64> {
    let rows = json(
        texts
            .iter()
            .map(|(hash, name, locale, body)| serde_json::json!({"hash": hash, "name": name, "locale": locale, "body": body}))
            .collect::<Vec<_>>(),
    );
    execute!(
        tx,
        "INSERT INTO wordings (controller, hash, name, locale, body, published_at)
         SELECT $2, j.value->>'hash', j.value->>'name', j.value->>'locale', j.value->>'body', $3 FROM EACH($1) WHERE true
         ON CONFLICT DO NOTHING",
        &rows,
        controller,
        now
    )
}

/// Texts by their hashes: (hash, name, locale, body), those of them that were published.
pub async fn wordings(tx: &mut Tx, controller: &str, hashes: &[&str]) -> Result<Vec<(String, String, String, String)>> {
    let wanted = json(hashes.iter().map(|hash| serde_json::json!({ "hash": hash })).collect::<Vec<_>>());
    fetch_all!(
        tx,
        "SELECT w.hash, w.name, w.locale, w.body FROM wordings w
         WHERE w.controller = $1 AND w.hash IN (SELECT j.value->>'hash' FROM EACH($2)) ORDER BY w.published_at, w.hash",
        controller,
        &wanted
    )
}

/// One permission as the manager takes it home.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Consent {
    pub contact: i64,
    pub number_enc: String,
    pub country: Option<String>,
    pub locale: Option<String>,
    pub channel: String,
    pub purpose: String,
    pub state: String,
    pub since: i64,
    pub seq: i64,
    /// Not 0 where the use of the data of any number of the human is restricted.
    pub restricted: i64,
    pub body: Option<String>,
    /// JSON of `domain::times::Times`.
    pub times: Option<String>,
}

/// Every permission whose change was learned of at or after `since` (a gateway may bring a no days after it was said; a restriction and
/// the person's times change what is granted), and every granted one on the channels `always`, in ledger order.
pub async fn consents_since(tx: &mut Tx, controller: &str, since: i64, always: &[&str]) -> Result<Vec<Consent>> {
    let always = json(always.iter().map(|channel| serde_json::json!({ "channel": channel })).collect::<Vec<_>>());
    fetch_all!(
        tx,
        concat!(
            "SELECT c.id AS contact, c.number_enc, c.country, c.locale, p.channel, p.purpose, p.state, p.since, p.seq, ",
            of_human!("c", "restricted <> 0"),
            " AS restricted, e.body, c.times
         FROM preferences p JOIN contacts c ON c.controller = p.controller AND c.subject = p.subject
         LEFT JOIN evidence e ON e.seq = p.seq
         WHERE p.controller = $1 AND c.number_enc <> ''
           AND (p.learned_at >= $2 OR (p.state = 'granted' AND p.channel IN (SELECT j.value->>'channel' FROM EACH($3))))
         ORDER BY p.seq, p.channel, p.purpose"
        ),
        controller,
        since,
        &always
    )
}
