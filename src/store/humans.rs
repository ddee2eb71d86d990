//! Who belongs to one human: the external ids they came with, and the numbers that came with one in a row that made no contact.
//! A tie is for good and goes on through all of them: who says A is X, A is Y and B is Y has said that B is X.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::contacts::Imported;
use super::{Result, Tx, execute, fetch_all, fetch_optional, fetch_values, json, suppressions};
use crate::vault::Keyed;

/// A number as a row named it, known by these keyed hashes, and the keyed hash of the row's external id.
#[derive(Debug, Clone)]
pub struct Tie {
    pub number: Vec<Keyed>,
    pub id: Option<String>,
}

/// Imports of one controller take turns: two of them must not tie the same human to two others at the same moment. To be taken
/// before anything else is locked.
pub async fn take_turn(tx: &mut Tx, controller: &str) -> Result<()> {
    execute!(tx, "INSERT INTO humans (controller, alias, human) VALUES ($1, '', '') ON CONFLICT DO NOTHING", controller)?;
    let _: Option<(String,)> =
        fetch_optional!(tx, "SELECT alias FROM humans WHERE controller = $1 AND alias = '' FOR UPDATE", controller)?;
    Ok(())
}

/// Ids of these rows whose human has more than so many numbers, and how many.
pub async fn crowded(tx: &mut Tx, controller: &str, rows: &[Imported], many: i64) -> Result<Vec<(String, i64)>> {
    let ids: BTreeSet<&str> = rows.iter().filter_map(|row| row.human.as_deref()).collect();
    fetch_all!(
        tx,
        "SELECT h.alias, COUNT(*) FROM EACH($1)
         THEN JOIN humans h ON h.controller = $2 AND h.alias = j.value->>'id'
         THEN JOIN contacts c ON c.controller = h.controller AND c.human = h.human
         GROUP BY h.alias HAVING COUNT(*) > $3 ORDER BY h.alias",
        json(ids.iter().map(|id| serde_json::json!({ "id": id })).collect::<Vec<_>>()),
        controller,
        many
    )
}

/// What is joined. In this order the smallest of a group is the hash of an external id, wherever there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Node<'a> {
    Human(&'a str),
    Contact(i64),
    /// A number that is no contact.
    Number(&'a str),
}

/// Disjoint sets: from each member to another of its set, until the smallest.
#[derive(Default)]
struct Groups<'a>(HashMap<Node<'a>, Node<'a>>);

impl<'a> Groups<'a> {
    fn smallest(&self, mut node: Node<'a>) -> Node<'a> {
        while let Some(next) = self.0.get(&node) {
            node = *next;
        }
        node
    }

    fn join(&mut self, one: Node<'a>, other: Node<'a>) {
        let (one, other) = (self.smallest(one), self.smallest(other));
        if one != other {
            self.0.insert(one.max(other), one.min(other));
        }
    }

    fn human(&self, node: Node<'a>) -> Option<&'a str> {
        match self.smallest(node) {
            Node::Human(human) => Some(human),
            _ => None,
        }
    }
}

/// Key's hash of a number, its contact, that contact's human, the human of the row's id, and the human this number was tied to.
type Known = (String, Option<i64>, Option<String>, Option<String>, Option<String>);

/// Ties numbers and external ids into humans. A number of which somebody said that it is a wrong one is tied no more: it is another
/// human's by now, whatever an old row says; whose it was, such a row says still, for the number that its person has now. Answers the humans
/// that these rows are about.
pub async fn tie(tx: &mut Tx, controller: &str, ties: &[Tie]) -> Result<Vec<String>> {
    let ids: BTreeSet<&str> = ties.iter().filter_map(|t| t.id.as_deref()).collect();
    execute!(
        tx,
        "INSERT INTO humans (controller, alias, human) SELECT $2, j.value->>'id', j.value->>'id' FROM EACH($1) WHERE true
         ON CONFLICT DO NOTHING",
        &json(ids.iter().map(|id| serde_json::json!({ "id": id })).collect::<Vec<_>>()),
        controller
    )?;
    // A number has a hash a key, and the one under which it was said to be wrong may be an older one.
    let numbers: Vec<Keyed> = ties.iter().flat_map(|t| t.number.iter().cloned()).collect();
    let wrong = suppressions::wrong_among(tx, controller, &numbers).await?;
    let (wrong, ties): (Vec<&Tie>, Vec<&Tie>) = ties.iter().partition(|t| t.number.iter().any(|n| wrong.contains(&n.mac)));
    were(tx, controller, &wrong).await?;
    let numbers =
        ties.iter().flat_map(|t| t.number.iter().map(|n| serde_json::json!({ "mac": n.mac, "key": n.key_id, "id": t.id })));
    let known: Vec<Known> = fetch_all!(
        tx,
        "SELECT j.value->>'mac', n.contact_id, c.human, i.human, a.human FROM EACH($1)
         LEFT JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key' AS BIGINT)
         LEFT JOIN contacts c ON c.id = n.contact_id
         LEFT JOIN humans i ON i.controller = $2 AND i.alias = j.value->>'id'
         LEFT JOIN humans a ON a.controller = $2 AND a.alias = j.value->>'mac'
         WHERE i.human IS NOT NULL OR a.human IS NOT NULL",
        &json(numbers.collect::<Vec<_>>()),
        controller
    )?;

    let mut groups = Groups::default();
    for (mac, contact, of_contact, by_id, by_number) in &known {
        let number = contact.map_or(Node::Number(mac), Node::Contact);
        for human in [of_contact, by_id, by_number].into_iter().flatten() {
            groups.join(number, Node::Human(human));
        }
    }
    let (mut moved, mut new_contacts, mut new_numbers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut humans = BTreeSet::new();
    for (mac, contact, of_contact, by_id, by_number) in &known {
        let Some(kept) = groups.human(contact.map_or(Node::Number(mac), Node::Contact)) else { continue };
        humans.insert(kept);
        moved.extend(
            [of_contact, by_id, by_number].into_iter().flatten().filter(|h| *h != kept).map(|gone| (gone.as_str(), kept)),
        );
        match contact {
            Some(id) if of_contact.is_none() => _ = new_contacts.insert((*id, kept)),
            None if by_number.is_none() => _ = new_numbers.insert((mac, kept)),
            _ => {}
        }
    }

    if !moved.is_empty() {
        let moved = json(moved.iter().map(|(gone, kept)| serde_json::json!({ "gone": gone, "kept": kept })).collect::<Vec<_>>());
        execute!(
            tx,
            "WITH w AS MATERIALIZED (SELECT j.value->>'gone' AS gone, j.value->>'kept' AS kept FROM EACH($1))
             UPDATE humans SET human = (SELECT kept FROM w WHERE gone = humans.human) WHERE controller = $2 AND human IN (SELECT gone FROM w)",
            &moved,
            controller
        )?;
        execute!(
            tx,
            "WITH w AS MATERIALIZED (SELECT j.value->>'gone' AS gone, j.value->>'kept' AS kept FROM EACH($1))
             UPDATE contacts SET human = (SELECT kept FROM w WHERE gone = contacts.human) WHERE controller = $2 AND human IN (SELECT gone FROM w)",
            &moved,
            controller
        )?;
    }
    if !new_contacts.is_empty() {
        execute!(
            tx,
            "UPDATE contacts SET human = w.kept
             FROM (SELECT CAST(j.value->>'id' AS BIGINT) AS id, j.value->>'kept' AS kept FROM EACH($1)) AS w WHERE contacts.id = w.id",
            &json(new_contacts.iter().map(|(id, kept)| serde_json::json!({ "id": id, "kept": kept })).collect::<Vec<_>>())
        )?;
    }
    if !new_numbers.is_empty() {
        execute!(
            tx,
            "INSERT INTO humans (controller, alias, human) SELECT $2, j.value->>'mac', j.value->>'kept' FROM EACH($1) WHERE true
             ON CONFLICT DO NOTHING",
            &json(new_numbers.iter().map(|(mac, kept)| serde_json::json!({ "mac": mac, "kept": kept })).collect::<Vec<_>>()),
            controller
        )?;
    }
    Ok(humans.into_iter().map(str::to_owned).collect())
}

/// Notes whose these wrong numbers were, where nothing says so yet: one that is called wrong before a list brings it belonged to nobody then.
async fn were(tx: &mut Tx, controller: &str, wrong: &[&Tie]) -> Result<()> {
    let numbers = wrong.iter().filter(|t| t.id.is_some());
    let numbers = numbers.flat_map(|t| t.number.iter().map(|n| serde_json::json!({ "mac": n.mac, "key": n.key_id, "id": t.id })));
    let numbers: Vec<serde_json::Value> = numbers.collect();
    if numbers.is_empty() {
        return Ok(());
    }
    execute!(
        tx,
        "UPDATE contacts SET was_human = w.human FROM (
           SELECT n.contact_id AS id, MIN(h.human) AS human FROM EACH($1)
           THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key' AS BIGINT)
           THEN JOIN humans h ON h.controller = $2 AND h.alias = j.value->>'id'
           GROUP BY n.contact_id) AS w
         WHERE contacts.id = w.id AND contacts.human IS NULL AND contacts.was_human IS NULL",
        json(numbers),
        controller
    )?;
    Ok(())
}

/// Takes these numbers out of their humans, whether they are contacts or a row alone tied them: they are somebody else's by now, and say
/// nothing about the others. Whose a contact was stays on its row, for the number that its person has now.
pub async fn untie(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<()> {
    let keyed = json(keyed);
    execute!(
        tx,
        "DELETE FROM humans WHERE controller = $2 AND alias IN (
           SELECT j.value->>'mac' FROM EACH($1)
           UNION
           SELECT o.mac FROM EACH($1)
           THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key' AS BIGINT)
           THEN JOIN number_macs o ON o.contact_id = n.contact_id)",
        &keyed,
        controller
    )?;
    execute!(
        tx,
        "UPDATE contacts SET human = NULL, was_human = human WHERE human IS NOT NULL AND id IN (
           SELECT n.contact_id FROM EACH($1)
           THEN JOIN number_macs n ON n.controller = $2 AND n.mac = j.value->>'mac' AND n.key_id = CAST(j.value->>'key' AS BIGINT))",
        &keyed,
        controller
    )?;
    Ok(())
}

/// A number that is no contact, and that a row under an older key tied to a human, is known there by these hashes too; where it was forgotten,
/// as that.
pub async fn known_by(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO humans (controller, alias, human, forgotten_at)
         SELECT $2, j.value->>'mac', w.human, w.forgotten_at FROM EACH($1)
         JOIN (SELECT MIN(h.human) AS human, MAX(h.forgotten_at) AS forgotten_at FROM humans h
           WHERE h.controller = $2 AND h.alias IN (SELECT j.value->>'mac' FROM EACH($1))) AS w ON w.human IS NOT NULL
         WHERE true ON CONFLICT DO NOTHING",
        json(keyed),
        controller
    )?;
    Ok(())
}

/// Their person's data by these numbers are forgotten: what is tied on is noes and marks of asks.
pub async fn forget(tx: &mut Tx, controller: &str, keyed: &[Keyed], now: i64) -> Result<()> {
    execute!(
        tx,
        "UPDATE humans SET forgotten_at = $3 WHERE controller = $2 AND alias IN (SELECT j.value->>'mac' FROM EACH($1))",
        json(keyed),
        controller,
        now
    )?;
    Ok(())
}

/// Whether a number, by any of these hashes, is one that was forgotten.
pub async fn is_forgotten(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<bool> {
    let row: Option<(String,)> = fetch_optional!(
        tx,
        "SELECT alias FROM humans WHERE controller = $2 AND forgotten_at IS NOT NULL
           AND alias IN (SELECT j.value->>'mac' FROM EACH($1)) LIMIT 1",
        json(keyed),
        controller
    )?;
    Ok(row.is_some())
}

/// Of these ids and numbers, those that were not forgotten.
pub async fn not_forgotten(tx: &mut Tx, controller: &str, keyed: &[Keyed]) -> Result<Vec<Keyed>> {
    let rows: Vec<String> = fetch_values!(
        tx,
        "SELECT alias FROM humans WHERE controller = $2 AND forgotten_at IS NULL
           AND alias IN (SELECT j.value->>'mac' FROM EACH($1)) ORDER BY alias",
        json(keyed),
        controller
    )?;
    Ok(rows.into_iter().map(|mac| Keyed { key_id: 0, mac }).collect())
}

/// The human a contact belongs to.
pub async fn of_contact(tx: &mut Tx, id: i64) -> Result<Option<String>> {
    let row: Option<(Option<String>,)> = fetch_optional!(tx, "SELECT human FROM contacts WHERE id = $1", id)?;
    Ok(row.and_then(|(human,)| human))
}

/// The human a contact belongs to, or belonged to until its number turned out to be somebody else's.
pub async fn ever_of_contact(tx: &mut Tx, id: i64) -> Result<Option<String>> {
    let row: Option<(Option<String>,)> =
        fetch_optional!(tx, "SELECT COALESCE(human, was_human) FROM contacts WHERE id = $1", id)?;
    Ok(row.and_then(|(human,)| human))
}

/// Of these contacts, those whose human has other numbers too.
pub async fn of_several_numbers(tx: &mut Tx, contacts: &[i64]) -> Result<HashSet<i64>> {
    let ids: Vec<i64> = fetch_values!(
        tx,
        "SELECT c.id FROM contacts c WHERE c.id IN (SELECT CAST(j.value AS BIGINT) FROM EACH($1)) AND c.human IS NOT NULL
           AND EXISTS (SELECT 1 FROM contacts o WHERE o.controller = c.controller AND o.human = c.human AND o.id <> c.id)",
        json(contacts)
    )?;
    Ok(ids.into_iter().collect())
}

/// A no that stands under another number of a human, or an id of theirs.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct NoOfAnother {
    pub reason: String,
    /// Microseconds.
    pub at: i64,
    /// None where it is no contact.
    pub number_enc: Option<String>,
    /// Not 0 where it was said by, or listed for, that very number; else it stands there because of a third.
    pub said_there: i64,
    /// The same of the number that is asked about.
    pub said_here: i64,
    /// When that number took it back, for itself alone.
    pub lifted_at: Option<i64>,
}

impl NoOfAnother {
    /// Whether this is who said a no that stands under the number asked about.
    pub fn is_whose(&self, reason: &str, at: i64) -> bool {
        self.said_there != 0 && self.said_here == 0 && self.reason == reason && self.at == at
    }
}

/// Whether the no `s` was said by, or listed for, this contact itself: its ledger or an imported row of its own has it.
macro_rules! said_by {
    ($contact:literal) => {
        concat!(
            "CAST(CASE WHEN EXISTS (SELECT 1 FROM ledger l WHERE l.controller = ",
            $contact,
            ".controller AND l.subject = ",
            $contact,
            ".subject AND l.at = s.at AND l.kind IN ('refused', 'stopped', 'operator_stop', 'late_no'))
               OR (s.reason = 'unsubscribed_before' AND EXISTS (SELECT 1 FROM consent_evidence e WHERE e.contact_id = ",
            $contact,
            ".id AND e.unsubscribed <> 0)) THEN 1 ELSE 0 END AS BIGINT)"
        )
    };
}

/// Every no that stands under the other numbers and ids of a contact's human, and every one that one of these numbers has taken back, oldest
/// first, those said there before those that reached it. That another number is a wrong one is none.
pub async fn noes_of_others(tx: &mut Tx, contact: i64) -> Result<Vec<NoOfAnother>> {
    fetch_all!(
        tx,
        concat!(
            "SELECT DISTINCT s.reason, s.at, o.number_enc, ",
            said_by!("o"),
            " AS said_there, ",
            said_by!("c"),
            " AS said_here, s.lifted_at FROM contacts c
             THEN JOIN contacts o ON o.controller = c.controller AND o.human = c.human AND o.id <> c.id AND o.number_enc <> ''
             THEN JOIN number_macs n ON n.contact_id = o.id
             THEN JOIN suppressions s ON s.controller = n.controller AND s.mac = n.mac AND s.key_id = n.key_id AND s.reason <> 'wrong_person'
             WHERE c.id = $1
             UNION
             SELECT s.reason, s.at, NULL, 1, ",
            said_by!("c"),
            ", CAST(NULL AS BIGINT) FROM contacts c
             THEN JOIN humans h ON h.controller = c.controller AND h.human = c.human
             THEN JOIN suppressions s ON s.controller = h.controller AND s.mac = h.alias AND s.lifted_at IS NULL AND s.reason <> 'wrong_person'
             WHERE c.id = $1 AND NOT EXISTS (SELECT 1 FROM number_macs n WHERE n.controller = h.controller AND n.mac = h.alias)
             ORDER BY 2, 4 DESC, 3"
        ),
        contact
    )
}
