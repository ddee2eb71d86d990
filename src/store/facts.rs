//! What `decide` needs to know, for many people at once: nine set-based reads, whatever the number of people.

use std::collections::HashMap;

use chrono::NaiveDate;

use super::contacts::{human_is_held, of_human};
use super::keep::ANSWERED;
use super::requests::{has_open_request, is_noted};
use super::suppressions::told_reason;
use super::{Error, Result, Tx, fetch_all, json, screenings};
use crate::clock::DAY;
use crate::domain::channel::{Channel, Permission, Purpose};
use crate::domain::contact::{AskBasis, BasisEvidence, BoxDefault, Kind, SoftOptIn};
use crate::domain::eligibility::{Conversation, Facts};
use crate::domain::ledger::NUMBER_CHANGED;
use crate::domain::suppression::Reason;
use crate::vault::USER;

/// A person as delivery needs it beside the facts.
#[derive(Debug, Clone)]
pub struct Person {
    pub facts: Facts,
    pub subject: String,
    pub number_enc: String,
    pub locale: Option<String>,
    pub zone: Option<String>,
    /// The unit of "never twice": the human's keyed hash, else the number's.
    pub person: String,
    /// Both keyed hashes under which an ask of this person is marked, with their key ids.
    pub marks: Vec<(String, i64)>,
}

type ContactRow = (
    i64,
    String,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    i64,
    i64,
    i64,
    Option<String>,
    Option<String>,
);
type EvidenceRow = (i64, i64, Option<String>, Option<String>, Option<String>, Option<String>, String, Option<String>, String);

/// Reads the people with these ids, in one consistent picture with the caller's transaction.
pub async fn people(tx: &mut Tx, family: &str, ids: &[i64], now: i64) -> Result<HashMap<i64, Person>> {
    let mut screened = screenings::of(tx, ids).await?;
    let ids = json(ids);
    let rows: Vec<ContactRow> = fetch_all!(
        tx,
        concat!(
            "SELECT id, subject, number_enc, line, country, locale, zone, kind, last_action, ",
            of_human!("contacts", "restricted <> 0"),
            ", ",
            is_noted!("contacts"),
            ", CAST(",
            // What is doubtful may be a no, and a no is the whole human's.
            human_is_held!("contacts"),
            " AS BIGINT), human, times FROM contacts WHERE id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1))"
        ),
        &ids
    )?;
    let mut people: HashMap<i64, Person> = HashMap::with_capacity(rows.len());
    for (id, subject, number_enc, line, country, locale, zone, kind, last_action, restricted, noted, held, human, times) in rows {
        let facts = Facts {
            contact: id,
            mobile: line == "mobile",
            country,
            kind: kind.as_deref().and_then(Kind::parse),
            // The last of all days stands for a customer's unknown action: an active one, whatever dates other rows have.
            last_action: last_action.filter(|day| day != super::contacts::UNDATED).and_then(|d| d.parse::<NaiveDate>().ok()),
            restricted: restricted != 0,
            noted: noted != 0,
            screened: screened.remove(&id).unwrap_or_default(),
            held: held != 0,
            // What cannot be read was chosen all the same: nothing is sent by guess.
            times: times
                .map(|json| serde_json::from_str(&json).map_err(|e| Error::Corrupt(format!("times: {e}"))))
                .transpose()?,
            ..Facts::default()
        };
        let marks = human.iter().map(|h| (h.clone(), 0)).collect();
        people.insert(id, Person { facts, subject, number_enc, locale, zone, person: human.unwrap_or_default(), marks });
    }

    // `USER`, spelled out: of a parameter in its place Postgres believes that it leaves no row, and begins with the whole table.
    const { assert!(USER == -1) };
    let macs: Vec<(i64, String, i64)> = fetch_all!(
        tx,
        "SELECT contact_id, mac, key_id FROM number_macs
         WHERE contact_id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1)) AND key_id <> -1 ORDER BY contact_id, key_id",
        &ids
    )?;
    for (id, mac, key_id) in macs {
        if let Some(person) = people.get_mut(&id) {
            if person.person.is_empty() {
                person.person.clone_from(&mac);
            }
            person.marks.push((mac, key_id));
        }
    }

    evidence(tx, &ids, &mut people).await?;

    // Every no for all the numbers of one human. A wrong number is wrong by itself.
    let suppressed: Vec<(i64, String, i64)> = fetch_all!(
        tx,
        concat!(
            "SELECT n.contact_id, ",
            told_reason!(),
            ", s.at FROM EACH($1)
         THEN JOIN number_macs n ON n.contact_id = CAST(j.value AS BIGINT)
         THEN JOIN suppressions s ON s.controller = n.controller AND s.mac = n.mac AND s.key_id = n.key_id AND s.lifted_at IS NULL
         UNION
         SELECT c.id, s.reason, s.at FROM EACH($1)
         THEN JOIN contacts c ON c.id = CAST(j.value AS BIGINT) AND c.human IS NOT NULL
         THEN JOIN contacts o ON o.controller = c.controller AND o.human = c.human
         THEN JOIN number_macs n ON n.contact_id = o.id
         THEN JOIN suppressions s ON s.controller = n.controller AND s.mac = n.mac AND s.key_id = n.key_id AND s.lifted_at IS NULL
           AND s.reason <> 'wrong_person'
         UNION
         SELECT c.id, s.reason, s.at FROM EACH($1)
         THEN JOIN contacts c ON c.id = CAST(j.value AS BIGINT) AND c.human IS NOT NULL
         THEN JOIN humans h ON h.controller = c.controller AND h.human = c.human
         THEN JOIN suppressions s ON s.controller = h.controller AND s.mac = h.alias AND s.lifted_at IS NULL
           AND s.reason <> 'wrong_person'"
        ),
        &ids
    )?;
    for (id, reason, at) in suppressed {
        let Some(person) = people.get_mut(&id) else { continue };
        let changed = reason == NUMBER_CHANGED;
        person.facts.number_changed |= changed;
        let reason = if changed { Some(Reason::WrongPerson) } else { Reason::parse(&reason) };
        person.facts.suppressions.extend(reason.map(|reason| (reason, at)));
    }

    let marks: Vec<(i64, String, String, i64, i64)> = fetch_all!(
        tx,
        "SELECT n.contact_id, a.family, a.kind, a.asked_at, a.message_id FROM EACH($1)
         THEN JOIN number_macs n ON n.contact_id = CAST(j.value AS BIGINT)
         THEN JOIN asked_marks a ON a.controller = n.controller AND a.mac = n.mac
         UNION
         SELECT c.id, a.family, a.kind, a.asked_at, a.message_id FROM EACH($1)
         THEN JOIN contacts c ON c.id = CAST(j.value AS BIGINT) AND c.human IS NOT NULL
         THEN JOIN humans h ON h.controller = c.controller AND h.human = c.human
         THEN JOIN asked_marks a ON a.controller = h.controller AND a.mac = h.alias
         UNION
         SELECT c.id, a.family, a.kind, a.asked_at, a.message_id FROM EACH($1)
         THEN JOIN contacts c ON c.id = CAST(j.value AS BIGINT) AND c.human IS NOT NULL
         THEN JOIN contacts o ON o.controller = c.controller AND o.human = c.human
         THEN JOIN number_macs n ON n.contact_id = o.id
         THEN JOIN asked_marks a ON a.controller = n.controller AND a.mac = n.mac",
        &ids
    )?;
    for (id, marked_family, kind, at, message) in marks {
        let Some(person) = people.get_mut(&id) else { continue };
        let facts = &mut person.facts;
        if kind == ANSWERED {
            facts.answered_since = facts.answered_since.max(Some(at));
            continue;
        }
        if kind == "reminder" {
            if marked_family == family {
                facts.reminded_in_family.push(message);
            }
            continue;
        }
        facts.asked.push((at, message));
        if marked_family == family {
            facts.asked_in_family.push(message);
        }
    }

    let preferences: Vec<(i64, String, String)> = fetch_all!(
        tx,
        "SELECT c.id, p.channel, p.purpose FROM contacts c
         JOIN preferences p ON p.controller = c.controller AND p.subject = c.subject AND p.state = 'granted'
         WHERE c.id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1))",
        &ids
    )?;
    for (id, channel, purpose) in preferences {
        if let (Some(person), Some(channel), Some(purpose)) =
            (people.get_mut(&id), Channel::parse(&channel), Purpose::parse(&purpose))
        {
            person.facts.granted.push(Permission { channel, purpose });
        }
    }

    let open: Vec<(i64, Option<i64>, String, Option<i64>)> = fetch_all!(
        tx,
        "SELECT contact_id, campaign_id, state, first_yes_at FROM conversations
         WHERE contact_id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1)) AND closed_at IS NULL",
        &ids
    )?;
    for (id, campaign, state, first_yes_at) in open {
        if let Some(person) = people.get_mut(&id) {
            person.facts.conversation = Some(Conversation { campaign, answered: state != "asked", first_yes_at });
        }
    }

    let made: Vec<(i64, String, i64, i64, i64, i64)> = fetch_all!(
        tx,
        "SELECT contact_id, kind, COUNT(*), MIN(created_at), MAX(due_at),
           CAST(SUM(CASE WHEN wording = 'ack_yes' THEN 1 ELSE 0 END) AS BIGINT) FROM messages
         WHERE contact_id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1))
           AND kind IN ('confirm', 'code', 'ack', 'help') AND created_at > $2 AND state NOT IN ('cancelled', 'lapsed')
           AND (kind <> 'code' OR state <> 'planned')
         GROUP BY contact_id, kind",
        &ids,
        now - DAY
    )?;
    for (id, kind, count, oldest, newest, grants) in made {
        let Some(person) = people.get_mut(&id) else { continue };
        match kind.as_str() {
            "confirm" => person.facts.confirms_today = count,
            "code" => {
                (person.facts.codes_today, person.facts.first_code, person.facts.last_code) = (count, Some(oldest), Some(newest));
            }
            _ => {
                person.facts.answers_today += count;
                person.facts.grants_told_today += grants;
            }
        }
    }
    Ok(people)
}

async fn evidence(tx: &mut Tx, ids: &str, people: &mut HashMap<i64, Person>) -> Result<()> {
    let rows: Vec<EvidenceRow> = fetch_all!(
        tx,
        "SELECT contact_id, quarantined, basis, evidence, basis_date, box_default, channels, approver, conditions FROM consent_evidence
         WHERE contact_id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1)) ORDER BY id",
        ids
    )?;
    let mut clean: HashMap<i64, bool> = HashMap::new();
    for (id, quarantined, basis, evidence, date, box_default, channels, approver, conditions) in rows {
        *clean.entry(id).or_default() |= quarantined == 0;
        if quarantined != 0 {
            continue;
        }
        let parsed = (|| {
            Some(BasisEvidence {
                basis: AskBasis::parse(&basis?)?,
                evidence: evidence?,
                date: date?.parse().ok()?,
                box_default: box_default.as_deref().and_then(BoxDefault::parse).unwrap_or(BoxDefault::Unticked),
                channels: channels.split(' ').filter_map(Channel::parse).collect(),
                approver,
                conditions: conditions.split(' ').filter_map(SoftOptIn::parse).collect(),
            })
        })();
        if let (Some(person), Some(evidence)) = (people.get_mut(&id), parsed) {
            person.facts.evidence.push(evidence);
        }
    }
    for (id, clean) in clean {
        if let Some(person) = people.get_mut(&id) {
            person.facts.only_quarantined = !clean;
        }
    }
    Ok(())
}
