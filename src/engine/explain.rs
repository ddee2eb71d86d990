//! Tell a person's whole story: what was imported, what was decided and why, what was sent, said, granted and suppressed.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;
use utoipa::ToSchema;

use super::Engine;
use crate::clock::instant;
use crate::domain::campaign::Campaign;
use crate::domain::channel::Permission;
use crate::domain::eligibility::Reason;
use crate::domain::ledger::{Body, GENESIS, Preference, apply, body_hash, row_hash};
use crate::domain::phone::PhoneNumber;
use crate::store::{campaigns, contacts, inbound, ledger, messages, screenings, suppressions};

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Story {
    pub number: String,
    pub known: bool,
    /// The sentence that answers "may this person be asked?" first.
    pub verdict: String,
    pub imported: Vec<String>,
    pub suppressions: Vec<String>,
    /// What the public opposition registers say.
    pub registers: Vec<String>,
    pub decisions: Vec<String>,
    pub messages: Vec<String>,
    pub replies: Vec<String>,
    pub preferences: Vec<String>,
    pub ledger: Vec<String>,
}

fn when(micros: i64) -> String {
    instant(micros).format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The story of the person with this pseudonym; `None` where there is none. Pages go by it, since a URL must not hold a number.
pub async fn of_subject(engine: &Engine, subject: &str) -> Result<Option<Story>> {
    let mut tx = engine.store.read().await?;
    let number = contacts::number_of_subject(&mut tx, &engine.controller, subject).await?;
    tx.rollback().await?;
    match number {
        Some(number) => Ok(Some(explain(engine, &engine.vault.decrypt_number(&number)?).await?)),
        None => Ok(None),
    }
}

/// The pseudonym of a number's person, if it was ever imported.
pub async fn subject_of(engine: &Engine, number: &PhoneNumber) -> Result<Option<String>> {
    let mut tx = engine.store.read().await?;
    let contact = contacts::by_number(&mut tx, &engine.controller, &engine.vault.keyed_all(number)).await?;
    tx.rollback().await?;
    Ok(contact.map(|c| c.subject))
}

/// The country pack a decision was made by and, where one of its rules decided, that rule with its source.
fn rule_of(campaign: &Campaign, country: &str, code: &str) -> String {
    let Some(pack) = campaign.packs.get(country) else { return String::new() };
    let named = Reason::parse(code).and_then(Reason::pack_rule).and_then(|rule| Some((rule, pack.rule(rule)?)));
    let by = match named {
        Some((rule, source)) => format!("rule [{rule}] ({}; reviewed {}) of ", source.text, source.reviewed),
        None => String::new(),
    };
    format!(" By {by}country pack {} version {}.", pack.code, pack.version)
}

pub async fn explain(engine: &Engine, number: &PhoneNumber) -> Result<Story> {
    let keyed = engine.vault.keyed_all(number);
    let mut tx = engine.store.read().await?;
    let mut story = Story {
        number: number.masked(),
        known: false,
        verdict: "This number was never imported.".into(),
        imported: Vec::new(),
        suppressions: Vec::new(),
        registers: Vec::new(),
        decisions: Vec::new(),
        messages: Vec::new(),
        replies: Vec::new(),
        preferences: Vec::new(),
        ledger: Vec::new(),
    };
    for (reason, at, lifted) in suppressions::of(&mut tx, &engine.controller, &keyed).await? {
        let lifted = lifted.map_or(String::new(), |at| format!(", lifted {} by the person's own fresh opt-in", when(at)));
        story.suppressions.push(format!("{reason} since {}{lifted}", when(at)));
        if lifted.is_empty() {
            story.verdict = format!("Nobody may write to this number: {reason} since {}.", when(at));
        }
    }
    let Some(contact) = contacts::by_number(&mut tx, &engine.controller, &keyed).await? else { return Ok(story) };
    story.known = true;
    for e in contacts::evidence_of(&mut tx, contact.id).await? {
        let basis = match (&e.basis, &e.evidence, &e.basis_date) {
            (Some(basis), Some(evidence), Some(date)) => {
                let boxed = e.box_default.map_or(String::new(), |b| format!(", box {b}"));
                format!("ask basis {basis} for {} ({evidence}, {date}{boxed})", e.channels)
            }
            _ => "no ask basis".to_owned(),
        };
        let source =
            if e.quarantined != 0 { format!("source `{}`, quarantined", e.source) } else { format!("source `{}`", e.source) };
        let said_no = if e.unsubscribed != 0 { ", unsubscribed" } else { "" };
        let kind = e.kind.as_deref().unwrap_or("kind from dates");
        let action = e.last_action.map_or(String::new(), |d| format!(", last action {d}"));
        story.imported.push(format!("{}:{}: {kind}{action}, {source}, {basis}{said_no}", e.file, e.import_line));
    }
    for screened in screenings::of(&mut tx, &[contact.id]).await?.remove(&contact.id).unwrap_or_default() {
        let listed =
            screened.listed_since.map_or("not listed".to_owned(), |at| format!("listed since {}", instant(at).date_naive()));
        let at = screened.at.map_or("no screening covers this number".to_owned(), |at| format!("screened as of {}", when(at)));
        story.registers.push(format!("{}: {listed}; {at}", screened.register));
    }
    let decisions = campaigns::decisions_of(&mut tx, contact.id).await?;
    for (campaign, stage, outcome, code, facts, at, revision) in &decisions {
        let sentence = Reason::parse(code).map_or("Nothing speaks against asking.", Reason::sentence);
        let rule = match &contact.country {
            Some(country) => rule_of(&*engine.revision(&mut tx, *revision).await?, country, code),
            None => String::new(),
        };
        let facts = if facts == "{}" { String::new() } else { format!("; facts seen: {facts}") };
        story
            .decisions
            .push(format!("{} campaign {campaign}, at the {stage}: {outcome} {code}. {sentence}{rule}{facts}", when(*at)));
    }
    if let Some((campaign, _, outcome, code, ..)) = decisions.last()
        && story.suppressions.iter().all(|s| s.contains("lifted"))
    {
        let sentence = Reason::parse(code).map_or("Nothing speaks against asking.", Reason::sentence);
        let verb = if outcome == "skip" { "Not contacted" } else { "To be contacted" };
        story.verdict = format!("{verb} in campaign {campaign}: {code}. {sentence}");
    }
    for m in messages::story_of(&mut tx, contact.id).await? {
        let reason = m.reason.map_or(String::new(), |r| format!(" ({r})"));
        let reference = m.reference.map_or(String::new(), |r| format!(", reference {r}"));
        let campaign = m.campaign.map_or(String::new(), |c| format!(" of {c}"));
        story.messages.push(format!(
            "{} {}{campaign} by {} from {}: {}{reason}{reference}",
            when(m.created_at),
            m.kind,
            m.channel,
            m.sender,
            m.state
        ));
    }
    for i in inbound::of_contact(&mut tx, contact.id).await? {
        let text = engine.vault.decrypt("inbound", &i.body_enc).context("reading a stored reply")?;
        story.replies.push(format!("{} by {}: {text:?} read as {}, {}", when(i.at), i.channel, i.intent, i.effect));
    }
    for (permission, state) in ledger::preferences(&mut tx, &engine.controller, &contact.subject).await? {
        story.preferences.push(format!("{}: {}", permission.code(), state.code()));
    }
    for (seq, _, kind, at, _, _, hash, body) in ledger::entries_of(&mut tx, &engine.controller, &contact.subject).await? {
        let what = body.and_then(|b| serde_json::from_str::<Body>(&b).ok()).map_or("evidence deleted".to_owned(), |b| {
            let permissions = b.permissions.iter().map(|p| p.code()).collect::<Vec<_>>().join(" ");
            let evidence = b.evidence.unwrap_or_default();
            format!("by {} ({}) {permissions}; evidence {evidence}", b.channel, b.action)
        });
        story.ledger.push(format!("#{seq} {} {kind} {what}; hash {}", when(at), &hash[..12]));
    }
    if decisions.is_empty() && story.suppressions.is_empty() {
        story.verdict = "No campaign has decided about this person yet.".into();
    }
    tx.rollback().await?;
    Ok(story)
}

/// Checks every hash of the ledger, and that preferences follow from it. Answers how many entries there are, and what is wrong with which.
pub async fn verify_ledger(engine: &Engine) -> Result<(u64, Vec<String>)> {
    let mut heads: std::collections::HashMap<String, String> = std::collections::HashMap::new();
    let mut derived: BTreeMap<String, BTreeMap<Permission, Preference>> = BTreeMap::new();
    let mut missing: BTreeMap<String, i64> = BTreeMap::new();
    let (mut count, mut wrong, mut after) = (0, Vec::new(), 0);
    let mut tx = engine.store.read().await?;
    loop {
        let rows = ledger::entries_after(&mut tx, &engine.controller, after, 5000).await?;
        let Some(last) = rows.last() else { break };
        after = last.0;
        for (seq, subject, kind, at, stored_body_hash, prev, hash, body) in rows {
            count += 1;
            let expected = heads.get(&subject).map_or(GENESIS, String::as_str);
            if prev != expected {
                wrong.push(format!("entry {seq}: its predecessor is missing or changed"));
            }
            if row_hash(&engine.controller, &subject, &kind, at, &stored_body_hash, &prev) != hash {
                wrong.push(format!("entry {seq}: the row was changed"));
            }
            match body {
                Some(text) if body_hash(&text) != stored_body_hash => {
                    wrong.push(format!("entry {seq}: its evidence was changed"))
                }
                Some(text) => match serde_json::from_str::<Body>(&text) {
                    Ok(body) if body.entry.code() == kind => apply(derived.entry(subject.clone()).or_default(), &body),
                    _ => wrong.push(format!("entry {seq}: its evidence says something else than the entry")),
                },
                // Only erasure and retention delete evidence, and each leaves an entry after it.
                None => {
                    missing.insert(subject.clone(), seq);
                }
            }
            if matches!(kind.as_str(), "erased" | "retention") {
                missing.remove(&subject);
            }
            heads.insert(subject, hash);
        }
    }
    wrong.extend(missing.values().map(|seq| format!("entry {seq}: its evidence is gone, and no entry says why")));
    // What the company acts on must be what the entries say.
    let mut stored: BTreeMap<String, BTreeMap<Permission, Preference>> = BTreeMap::new();
    for (subject, channel, purpose, state) in ledger::all_preferences(&mut tx, &engine.controller).await? {
        let permission = Permission::parse(&format!("{channel}.{purpose}"));
        if let Some((permission, state)) = permission.zip(Preference::parse(&state)) {
            stored.entry(subject).or_default().insert(permission, state);
        }
    }
    derived.retain(|_, preferences| !preferences.is_empty());
    for subject in stored.keys().chain(derived.keys().filter(|s| !stored.contains_key(*s))) {
        if !missing.contains_key(subject) && stored.get(subject) != derived.get(subject) {
            wrong.push(format!("subject {subject}: the preferences are not what the entries say"));
        }
    }
    tx.rollback().await?;
    Ok((count, wrong))
}
