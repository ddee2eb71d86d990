//! Noes of rows that make no contact: of a list of noes, and of a list of contacts where the rest of the row is wrong. Such a row said its no
//! when it first came, as one of a contact did: imported again it does not undo what the person has said yes to since.

use std::collections::HashSet;

use anyhow::Result;

use super::{Engine, import};
use crate::domain::phone::PhoneNumber;
use crate::store::humans::Tie;
use crate::store::{Tx, listed, suppressions};
use crate::vault::Keyed;

/// A no of a row that makes no contact.
#[derive(Debug, Default)]
pub(super) struct No {
    /// By what the row is known again.
    pub row: String,
    /// The numbers it names, under every key: a contact may be known by an older one alone.
    pub numbers: Vec<Keyed>,
    /// External ids, where the number cannot be read.
    pub ids: Vec<Keyed>,
    /// Whose number it is.
    pub tie: Option<Tie>,
}

impl No {
    /// Of a row of this kind of list, with these numbers and cells.
    pub fn new<'a>(engine: &Engine, list: &'a str, numbers: &'a [PhoneNumber], cells: impl Iterator<Item = &'a str>) -> No {
        // By its numbers, too: under another setting the same cells may be those of others.
        let row: Vec<&str> = [list].into_iter().chain(numbers.iter().map(PhoneNumber::e164)).chain(cells).collect();
        No {
            row: engine.vault.fingerprint("row that says no", &row.join("\u{1f}")),
            numbers: numbers.iter().flat_map(|number| engine.vault.keyed_all(number)).collect(),
            ..No::default()
        }
    }
}

/// What there is to take of some rows.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Numbers and ids of rows that were not known.
    pub noes: Vec<Keyed>,
    /// Whose numbers these rows say they are.
    pub said_no: Vec<Tie>,
    /// The rows that were known, each with its numbers.
    pub again: Vec<(String, Vec<Keyed>)>,
}

/// Under what a row's number and human are known.
pub(super) fn hashes(tie: &Tie) -> impl Iterator<Item = &str> {
    tie.number.iter().map(|k| k.mac.as_str()).chain(tie.id.as_deref())
}

/// Notes these rows, and tells those that come for the first time from the others. `erased` are the hashes of somebody erased among all they name.
pub(super) async fn taken(tx: &mut Tx, engine: &Engine, noes: &[No], erased: &HashSet<String>) -> Result<Taken> {
    let rows: Vec<&str> = noes.iter().map(|no| no.row.as_str()).collect();
    let fresh = listed::note(tx, &engine.controller, &rows).await?;
    let mut taken = Taken::default();
    for no in noes {
        if fresh.contains(&no.row) {
            taken.noes.extend(no.numbers.iter().chain(&no.ids).cloned());
            taken.said_no.extend(no.tie.clone());
        } else {
            taken.again.push((no.row.clone(), no.numbers.clone()));
        }
    }
    // Where the row's number is of somebody erased it is tied to nobody, and the no is its human's all the same.
    let of_humans = taken.said_no.iter().filter(|tie| tie.number.iter().any(|k| erased.contains(&k.mac)));
    let ids = of_humans.filter_map(|tie| tie.id.clone()).filter(|id| !erased.contains(id)).map(import::keyed_id);
    taken.noes.extend(ids);
    Ok(taken)
}

/// Of rows that say no and were known already, those whose number is left in peace no more.
pub(super) async fn answered(tx: &mut Tx, engine: &Engine, again: &[(String, Vec<Keyed>)]) -> Result<HashSet<String>> {
    let numbers: Vec<Keyed> = again.iter().flat_map(|(_, numbers)| numbers.iter().cloned()).collect();
    if numbers.is_empty() {
        return Ok(HashSet::new());
    }
    let live = suppressions::live_among(tx, &engine.controller, &numbers).await?;
    let answered = |numbers: &[Keyed]| !numbers.is_empty() && numbers.iter().all(|number| !live.contains(&number.mac));
    Ok(again.iter().filter(|(_, numbers)| answered(numbers)).map(|(row, _)| row.clone()).collect())
}

/// Those of the ties that are of nobody erased: a row that makes no contact brings no more of them than one that makes one. Whose number it
/// is besides is told by [`taken`].
pub(super) fn not_of_erased(ties: &[Tie], erased: &HashSet<String>) -> Vec<Tie> {
    ties.iter().filter(|tie| !hashes(tie).any(|hash| erased.contains(hash))).cloned().collect()
}
