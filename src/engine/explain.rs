//! Tell a person's whole story: of each campaign a sentence and the facts its rule saw, then what happened in order of time.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;
use utoipa::ToSchema;

use super::history::{Moment, SINCE_COPY, Sent, Standing, Times, consent, moment, short};
use super::seen::{Seen, allowed};
use super::{Engine, consents, rights};
use crate::clock::instant;
use crate::domain::answer::By;
use crate::domain::campaign::Campaign;
use crate::domain::channel::Permission;
use crate::domain::eligibility;
use crate::domain::ledger::{Body, Preference};
use crate::domain::phone::PhoneNumber;
use crate::domain::suppression::Reason;
use crate::store::contacts::{Barred, Contact};
use crate::store::humans::{self, NoOfAnother};
use crate::store::{Tx, campaigns, contacts, handed, keep, ledger, requests, screenings, suppressions};

#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Story {
    /// The last digits alone.
    pub number: String,
    pub known: bool,
    /// What answers first: what forbids to write to them, or else to ask them; a reply that waits; a restriction, an answer given since a
    /// restored copy, or what they allow; the newest campaign that asked, and how the newest about them stands.
    pub verdict: String,
    /// Of every time in this story: the person's own as far as it is known (the one stated for them, else their country's first), or UTC.
    pub time_zone: String,
    /// One a campaign, in order of their first decision.
    pub campaigns: Vec<InCampaign>,
    /// In order of time.
    pub history: Vec<Moment>,
    pub imported: Vec<String>,
    pub suppressions: Vec<String>,
    /// What the person asked for about their data.
    pub requests: Vec<String>,
    /// What the public opposition registers say.
    pub registers: Vec<String>,
    pub preferences: Vec<String>,
    /// How each channel and purpose stands, a line a status: `silent: sms.product_info, sms.promotions`.
    pub consents: Vec<String>,
    pub ledger: Vec<String>,
    /// What the pages said on which they chose, word for word; of the boxes it showed those that its campaign or form offers: `page in it, 3f9c12ab04de, with the boxes …: “…”`.
    pub pages: Vec<String>,
}

/// One campaign and this person.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InCampaign {
    pub campaign: String,
    pub standing: Standing,
    /// The rule that keeps the person from being asked, or makes the ask wait: `NO_ASK_BASIS`.
    pub code: Option<String>,
    /// Asked when and how and what they answered, or why not.
    pub sentence: String,
    /// What was asked, word for word as it was published, a line a text: `SMS in it, wording 3f9c12ab04de: “…”`.
    pub wordings: Vec<String>,
    /// Oldest first: the plan's and, where the claim decided otherwise, the claim's.
    pub decisions: Vec<Decision>,
}

/// One recorded decision.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Decision {
    /// RFC 3339, in the story's time zone.
    pub at: String,
    /// `plan` or `claim`
    pub stage: String,
    /// `send`, `wait`, `skip`
    pub outcome: String,
    /// `ELIGIBLE`, or the rule that decided.
    pub code: String,
    pub sentence: String,
    /// The country pack it was made by and, where one of its rules decided, that rule with its source.
    pub by: Option<String>,
    /// What the rule saw; none where an earlier version kept nothing.
    pub facts: Option<Seen>,
}

impl Decision {
    /// `2026-12-01`
    pub fn day(&self) -> &str {
        self.at.split('T').next().unwrap_or_default()
    }

    /// Label and value, for people.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = self.facts.as_ref().map(Seen::lines).unwrap_or_default();
        lines.extend(self.by.clone().map(|by| ("Decided by", by)));
        lines
    }
}

/// The story of the person with this pseudonym; `None` where there is none. Pages go by it, since a URL must not hold a number.
pub async fn of_subject(engine: &Engine, subject: &str) -> Result<Option<Story>> {
    match number_of(engine, subject).await? {
        Some(number) => Ok(Some(explain(engine, &number).await?)),
        None => Ok(None),
    }
}

/// As [`of_subject`]; of somebody erased the proof that is left.
pub async fn by_pseudonym(engine: &Engine, subject: &str) -> Result<Option<Story>> {
    if let Some(story) = of_subject(engine, subject).await? {
        return Ok(Some(story));
    }
    let mut tx = engine.store.read().await?;
    let entries = ledger::entries_of(&mut tx, &engine.controller, subject).await?;
    tx.rollback().await?;
    if entries.is_empty() {
        return Ok(None);
    }
    let times = Times(engine.zone_of(None, None));
    Ok(Some(Story {
        number: "erased".into(),
        verdict: "Whoever had this pseudonym was erased: the proof is left, and nothing else of them.".into(),
        time_zone: times.0.to_string(),
        ledger: entries.iter().map(|entry| line(times, entry)).collect(),
        ..Story::default()
    }))
}

/// The number behind a pseudonym; none where nobody has it, or has it any more.
pub async fn number_of(engine: &Engine, subject: &str) -> Result<Option<PhoneNumber>> {
    let mut tx = engine.store.read().await?;
    let number = contacts::number_of_subject(&mut tx, &engine.controller, subject).await?;
    tx.rollback().await?;
    number.map(|number| engine.vault.decrypt_number(&number)).transpose()
}

/// The pseudonym of a number's person, if it was ever imported.
pub async fn subject_of(engine: &Engine, number: &PhoneNumber) -> Result<Option<String>> {
    let mut tx = engine.store.read().await?;
    let contact = contacts::by_number(&mut tx, &engine.controller, &engine.vault.keyed_all(number)).await?;
    tx.rollback().await?;
    Ok(contact.map(|c| c.subject))
}

/// The country pack a decision was made by and, where one of its rules decided, that rule with its source.
fn rule_of(campaign: &Campaign, country: &str, code: &str) -> Option<String> {
    let pack = campaign.packs.get(country)?;
    let named =
        eligibility::Reason::parse(code).and_then(eligibility::Reason::pack_rule).and_then(|rule| Some((rule, pack.rule(rule)?)));
    let by = match named {
        Some((rule, source)) => format!("rule [{rule}] ({}; reviewed {}) of ", source.text, source.reviewed),
        None => String::new(),
    };
    Some(format!("{by}country pack {} version {}", pack.code, pack.version))
}

pub async fn explain(engine: &Engine, number: &PhoneNumber) -> Result<Story> {
    let keyed = engine.vault.keyed_all(number);
    let mut tx = engine.store.read().await?;
    let contact = contacts::by_number(&mut tx, &engine.controller, &keyed).await?;
    let decided = match &contact {
        Some(contact) => campaigns::decisions_of(&mut tx, contact.id).await?,
        None => Vec::new(),
    };
    let country = contact.as_ref().and_then(|c| c.country.as_deref()).or(number.country());
    let times = Times(engine.zone_of(contact.as_ref().and_then(|c| c.zone.as_deref()), country));
    let mut story = Story {
        number: number.masked(),
        known: contact.is_some(),
        verdict: "This number was never imported.".into(),
        time_zone: times.0.to_string(),
        ..Story::default()
    };
    let mut others = Vec::new();
    let mut waits = "";
    if let Some(contact) = &contact {
        tell(engine, &mut tx, &mut story, contact, &decided, times).await?;
        others = humans::noes_of_others(&mut tx, contact.id).await?;
    } else {
        let wrote = Sent::of_stranger(&mut tx, &engine.controller, &keyed).await?;
        story.history = in_order(wrote.heard(times));
        if wrote.waits() {
            waits = " An unclear reply from it waits for an operator, and nothing is sent until it is read.";
            story.verdict += waits;
        }
    }
    let own = suppressions::of(&mut tx, &engine.controller, &keyed).await?;
    let changed = rights::gave_way(&mut tx, engine, &keyed, &own).await?;
    let said_on = suppressions::said_on(&mut tx, &engine.controller, &keyed).await?;
    let told = noes(engine, times, &own, &others, changed, said_on.as_deref())?;
    if let Some(forbids) = told.forbids {
        story.verdict = format!("Nobody may write to this number: {forbids}.{waits}");
    } else if let Some(forbids) = told.forbids_asking {
        story.verdict = format!("No ask goes to this person: {forbids}. {}", story.verdict);
    }
    story.suppressions = told.lines;
    let mut proofs = BTreeSet::new();
    for row in requests::of_number(&mut tx, &engine.controller, &keyed).await? {
        let request = &row.request;
        let done = request.done_at.map_or_else(
            || format!("due {}", super::requests::day(request.due_at - 1)),
            |at| format!("{} {}", if request.is_mistaken() { "noted by mistake, ended" } else { "done" }, times.minute(at)),
        );
        story.requests.push(format!("#{} {}, received {}, {done}", row.id, request.kind, times.minute(request.received_at)));
        // Whoever was erased is no contact any more; their proof is found by the request alone.
        if let (None, Some(subject)) = (&contact, &request.subject)
            && proofs.insert(subject.clone())
        {
            for entry in ledger::entries_of(&mut tx, &engine.controller, subject).await? {
                story.ledger.push(line(times, &entry));
            }
        }
    }
    tx.rollback().await?;
    Ok(story)
}

/// Every no that counts for a person, as lines, and what it forbids.
#[derive(Default)]
struct Noes {
    lines: Vec<String>,
    forbids: Option<String>,
    /// A no of another number alone, which what this one granted since has answered: it stands, and no campaign asks them.
    forbids_asking: Option<String>,
}

/// `changed`: when the number was closed because its person has another one; `said_on`: the day on which a list says that it unsubscribed.
fn noes(
    engine: &Engine,
    times: Times,
    own: &[(String, i64, Option<i64>)],
    others: &[NoOfAnother],
    changed: Option<i64>,
    said_on: Option<&str>,
) -> Result<Noes> {
    let mut told = Noes::default();
    let another = |no: &NoOfAnother| -> Result<String> {
        Ok(match &no.number_enc {
            Some(number) => format!("another number of the same human ({})", engine.vault.decrypt_number(number)?.masked()),
            None => "another number or id of the same human, which is no contact".to_owned(),
        })
    };
    let mut erased = false;
    for (reason, at, lifted) in own {
        let mut line = match changed {
            Some(changed) if changed == *at && *reason == Reason::WrongPerson.code() => {
                format!("number changed on {}, and the person has another one", times.minute(*at))
            }
            _ if *reason == Reason::UnsubscribedBefore.code() => {
                let day = said_on.map_or(String::new(), |day| format!(" on {day}"));
                format!("unsubscribed{day}, as a list says that was imported on {}", times.minute(*at))
            }
            _ => format!("{} since {}", reason.replace('_', " "), times.minute(*at)),
        };
        // A no reaches every number of a human, and stands under each as if it were its own, until that one takes it back.
        if let Some(no) = others.iter().find(|no| no.is_whose(reason, *at)) {
            line += &format!(", said by {}", another(no)?);
            if let Some(back) = no.lifted_at {
                line += &format!(", which took it back for itself alone on {}", times.minute(back));
            }
        }
        match lifted {
            // Of whoever was erased nothing is here; what they said before, or since, matters less.
            None if !erased => (told.forbids, erased) = (Some(line.clone()), *reason == Reason::Erased.code()),
            None => {}
            Some(at) => line += &format!(", lifted {} by the person's own fresh opt-in", times.minute(*at)),
        }
        told.lines.push(line);
    }
    let stands =
        |no: &NoOfAnother| own.iter().any(|(reason, at, lifted)| *reason == no.reason && *at == no.at && lifted.is_none());
    let mut seen = BTreeSet::new();
    for no in others.iter().filter(|no| no.lifted_at.is_none() && !stands(no)) {
        if seen.insert((&no.reason, no.at)) {
            let what = match Reason::parse(&no.reason) {
                Some(Reason::UnsubscribedBefore) => "unsubscribed, by a list imported on".to_owned(),
                _ => format!("{} since", no.reason.replace('_', " ")),
            };
            let (by, at) = (another(no)?, times.minute(no.at));
            let line = match no.said_here != 0 && no.said_there == 0 {
                true => format!("{what} {at}, taken back by this number for itself alone: it stands for {by}"),
                false => format!("{by}: {what} {at}"),
            };
            told.forbids_asking = Some(line.clone());
            told.lines.push(line);
        }
    }
    Ok(told)
}

fn in_order(mut moments: Vec<(i64, Moment)>) -> Vec<Moment> {
    moments.sort_by_key(|(at, _)| *at);
    moments.into_iter().map(|(_, moment)| moment).collect()
}

/// A ledger entry on one line.
fn line(times: Times, (seq, _, kind, at, _, _, hash, body): &ledger::Row) -> String {
    let body = body.as_ref().and_then(|b| serde_json::from_str::<Body>(b).ok());
    let kind = body.as_ref().map_or(kind.as_str(), |body| body.word());
    let what = body.map_or("evidence deleted".to_owned(), |b| {
        let permissions = b.permissions.iter().map(|p| p.code()).collect::<Vec<_>>().join(" ");
        let evidence = b.evidence.as_deref().unwrap_or_default();
        let shown = b.notice_version.as_ref().map_or(String::new(), |version| {
            format!("; notice {version}{}", b.locale.as_ref().map_or(String::new(), |locale| format!(" in {locale}")))
        });
        let asked = b.wording_hash.as_ref().map_or(String::new(), |hash| format!("; answers wording {}", short(hash)));
        let page = b.page_hash.as_ref().map_or(String::new(), |hash| format!("; page {}", short(hash)));
        format!("by {} ({}) {permissions}{asked}{page}{shown}; evidence {evidence}", b.channel, b.action)
    });
    format!("#{seq} {} {kind} {what}; hash {}", times.minute(*at), short(hash))
}

/// Everything about a person who was imported.
async fn tell(
    engine: &Engine,
    tx: &mut Tx,
    story: &mut Story,
    contact: &Contact,
    decided: &[campaigns::DecisionOf],
    times: Times,
) -> Result<()> {
    let mut moments = Vec::new();
    for e in contacts::evidence_of(tx, contact.id).await? {
        let basis = match (&e.basis, &e.evidence, &e.basis_date) {
            (Some(basis), Some(evidence), Some(date)) => {
                let boxed = e.box_default.as_ref().map_or(String::new(), |b| format!(", box {b}"));
                format!("ask basis {basis} for {} ({evidence}, {date}{boxed})", e.channels)
            }
            _ => "no ask basis".to_owned(),
        };
        let source =
            if e.quarantined != 0 { format!("source `{}`, quarantined", e.source) } else { format!("source `{}`", e.source) };
        let said_no = if e.unsubscribed != 0 { ", unsubscribed" } else { "" };
        let kind = e.kind.as_deref().unwrap_or("kind from dates");
        let action = e.last_action.as_ref().map_or(String::new(), |d| format!(", last action {d}"));
        story.imported.push(format!("{}:{}: {kind}{action}, {source}, {basis}{said_no}", e.file, e.import_line));
        moments.push(moment(times, e.at, "imported", None, format!("Imported: {}, line {}", e.file, e.import_line)));
    }
    let mut replaced = None;
    for change in requests::number_changes(tx, contact.id).await? {
        let other = match change.number_enc.as_str() {
            "" => "one that was erased since".to_owned(),
            number => engine.vault.decrypt_number(number)?.masked(),
        };
        if change.went == 0 {
            let story = if change.number_enc.is_empty() { "" } else { ", whose story has what was asked there" };
            replaced = Some(format!("This number took the place of {other} on {}{story}.", times.minute(change.at)));
        }
        let what = match change.went {
            0 => format!("This is the new number of a person; before it was {other}. Changed by {}", change.by_whom),
            _ => format!("The person's number is {other} from now on, and this one is closed. Changed by {}", change.by_whom),
        };
        moments.push(moment(times, change.at, "operator", None, what));
    }
    for (at, by) in handed::of_contact(tx, contact.id).await? {
        let what = format!("A link to the person's own page was made to be handed over, by {by}");
        moments.push(moment(times, at, "operator", None, what));
    }
    for screened in screenings::of(tx, &[contact.id]).await?.remove(&contact.id).unwrap_or_default() {
        let listed =
            screened.listed_since.map_or("not listed".to_owned(), |at| format!("listed since {}", instant(at).date_naive()));
        let at =
            screened.at.map_or("no screening covers this number".to_owned(), |at| format!("screened as of {}", times.minute(at)));
        story.registers.push(format!("{}: {listed}; {at}", screened.register));
    }
    let mut bodies = Vec::new();
    for entry in ledger::entries_of(tx, &engine.controller, &contact.subject).await? {
        story.ledger.push(line(times, &entry));
        let (_, _, kind, at, _, _, _, body) = entry;
        let body = body.and_then(|b| serde_json::from_str::<Body>(&b).ok());
        moments.push(match &body {
            Some(body) => consent(times, body),
            None => moment(times, at, "consent", None, format!("Ledger: {}; evidence deleted", kind.replace('_', " "))),
        });
        bodies.extend(body);
    }
    let hashes: BTreeSet<&str> = bodies.iter().filter_map(|b| b.page_hash.as_deref()).collect();
    let said = ledger::wordings(tx, &engine.controller, &hashes.into_iter().collect::<Vec<_>>()).await?;
    story.pages =
        said.iter().map(|(hash, name, locale, text)| format!("{name} in {locale}, {}: “{text}”", short(hash))).collect();
    for (campaign, stage, outcome, code, facts, at, revision) in decided {
        let sentence = eligibility::sentence(code).unwrap_or_default();
        let by = match &contact.country {
            Some(country) => rule_of(&*engine.revision(tx, *revision).await?, country, code),
            None => None,
        };
        let word = match outcome.as_str() {
            "skip" => "left out",
            "wait" => "to be asked later",
            _ => "to be asked",
        };
        let told = moment(
            times,
            *at,
            "decided",
            Some(campaign),
            format!("At the {stage} of {campaign}, {word}: {}", eligibility::told(code)),
        );
        let decision = Decision {
            at: told.1.at.clone(),
            stage: stage.clone(),
            outcome: outcome.clone(),
            code: code.clone(),
            sentence: sentence.to_owned(),
            by,
            facts: Seen::read(facts),
        };
        moments.push(told);
        match story.campaigns.iter_mut().find(|c| c.campaign == *campaign) {
            Some(known) => known.decisions.push(decision),
            None => story.campaigns.push(InCampaign {
                campaign: campaign.clone(),
                standing: Standing::NotContacted,
                code: None,
                sentence: String::new(),
                wordings: Vec::new(),
                decisions: vec![decision],
            }),
        }
    }
    let sent = Sent::read(tx, contact.id).await?;
    for known in &mut story.campaigns {
        let Some(last) = known.decisions.last() else { continue };
        let words: Vec<&Body> = bodies.iter().filter(|b| b.campaign.as_deref() == Some(&known.campaign)).collect();
        known.wordings = sent.wordings(&known.campaign);
        (known.standing, known.code, known.sentence) = sent.account(times, &known.campaign, (&last.outcome, &last.code), &words);
    }
    moments.extend(sent.moments(tx, times, contact.id).await?);
    moments.extend(sent.heard(times));
    let answered = keep::answered(tx, contact.id).await?;
    moments.extend(answered.map(|at| moment(times, at, "reply", None, format!("Answered {SINCE_COPY}"))));
    story.history = in_order(moments);
    let preferences = ledger::preferences(tx, &engine.controller, &contact.subject).await?;
    let granted: Vec<Permission> = preferences.iter().filter(|(_, s)| **s == Preference::Granted).map(|(p, _)| *p).collect();
    for (permission, state) in preferences {
        story.preferences.push(format!("{}: {}", permission.code(), state.code()));
    }
    story.consents = consents::of(engine, tx, contact.id).await?;
    let mut first = Vec::new();
    let held = match (contact.held_at, contacts::is_held(tx, contact.id).await?) {
        (Some(_), _) => Some("An unclear reply waits"),
        (None, true) => Some("An unclear reply by another number of the same human waits"),
        (None, false) => None,
    };
    first.extend(held.map(|held| format!("{held} for an operator, and nothing is sent until it is read.")));
    match contacts::barred(tx, contact.id).await? {
        Some(Barred::Restricted) if contact.restricted == 0 => first.push(
            "The use of the data of another number of the same human is restricted (Art. 18 GDPR), so this one is sent nothing either."
                .to_owned(),
        ),
        Some(Barred::Restricted) => {
            first.push("The use of this person's data is restricted (Art. 18 GDPR), so they are sent nothing.".to_owned());
        }
        Some(Barred::Noted) => first.push(
            "An objection, a restriction or an erasure is noted and not carried out yet, so they are asked nothing until it is."
                .to_owned(),
        ),
        // What they said here since is newer.
        None if bodies.iter().rev().find(|body| body.channel != By::Restore.code()).map(|body| body.at) < answered => first.extend(
            answered.map(|at| format!("They answered on {}, {SINCE_COPY}; nobody asks them again.", times.minute(at))),
        ),
        None if !granted.is_empty() => first.push(format!("They allow {}.", allowed(&granted))),
        None => {}
    }
    first.extend(replaced);
    let newest = decided.last().and_then(|(name, ..)| story.campaigns.iter().find(|c| c.campaign == *name));
    let asked = story.campaigns.iter().rfind(|c| c.standing == Standing::Asked);
    // A campaign that left them out says nothing of the one that asked, which comes first.
    if let (Some(newest), Some(asked)) = (newest.filter(|known| known.standing != Standing::Asked), asked)
        && newest.campaign != asked.campaign
    {
        first.push(asked.sentence.clone());
    }
    first.push(newest.map_or("No campaign has decided about this person yet.".to_owned(), |known| known.sentence.clone()));
    story.verdict = first.join(" ");
    Ok(())
}
