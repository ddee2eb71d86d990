//! Screen against a public opposition register: take in what it answered, end the consents that a registration cancels, and say
//! which consents may leave the house.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, bail};
use chrono::NaiveDate;

use super::Engine;
use super::confirm::{self, Deed, Situation};
use super::import::{self, RejectFile, Rejected, Summary};
use super::table::{Row, Table};
use crate::clock::{DAY, instant};
use crate::config::List;
use crate::domain::channel::{Channel, Permission};
use crate::domain::country::{CountryPack, Register};
use crate::domain::ledger::{Body, Entry};
use crate::domain::phone::PhoneNumber;
use crate::domain::register::{Release, Screened};
use crate::store::screenings::{self, Listing};
use crate::store::{Tx, control, ledger};

const CHUNK: usize = 2000;

/// Takes in a register's answer as of `at`: the file lists the registered numbers, and whoever else was known by then counts as
/// screened and free. A number that cannot be read may be anybody's: with one such row nobody is freed, the listings are added to
/// the earlier ones and `Summary::unread` says so. `progress` is told the bytes read so far.
///
/// # Errors
/// No pack has such a register, `at` lies in the future or before the newest screening (one that ends meanwhile, too), the file cannot be read, or it lists
/// nobody and `nobody_listed` does not say that this is meant.
pub async fn import(
    engine: &Engine,
    file: &Path,
    register: &str,
    at: i64,
    nobody_listed: bool,
    mut progress: impl FnMut(u64),
) -> Result<Summary> {
    let packs = engine.config.packs.values();
    let pack = packs.clone().find(|pack| pack.register.name.as_deref() == Some(register)).with_context(|| {
        let known: Vec<&str> = packs.filter_map(|pack| pack.register.name.as_deref()).collect();
        format!("no country pack has a register `{register}`; remedy: --register with one of {}", known.join(", "))
    })?;
    if at > engine.now() {
        bail!("the screening lies in the future; remedy: --at with the time the register was asked");
    }
    let mut table = Table::open(file, engine.config.import.of(List::Screening))?;
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut tx = engine.store.write().await?;
    is_newest(&mut tx, engine, register, at).await?;
    let screening = screenings::begin(&mut tx, &engine.controller, register, at, &name).await?;
    tx.commit().await?;

    let mut summary = Summary { ignored_columns: table.ignored.clone(), ..Summary::default() };
    let mut rejects = RejectFile::beside(file);
    let mut listings: Vec<Listing> = Vec::new();
    loop {
        let row = table.record()?;
        let end = row.is_none();
        if let Some((line, row)) = row {
            summary.rows += 1;
            let read = match &row {
                Ok(row) => read_row(engine, pack, row, at),
                Err(broken) => {
                    let wrong = Rejected::new("row", broken.reason.clone());
                    match import::numbers_of(engine, broken, Some(&pack.code)).into_iter().next() {
                        Some(number) => Ok((number, at, Some(wrong))),
                        None => Err(wrong),
                    }
                }
            };
            match read {
                Ok((number, since, wrong)) => {
                    summary.new += 1;
                    listings.extend(engine.vault.keyed_all(&number).into_iter().map(|keyed| Listing { keyed, since }));
                    wrong.iter().try_for_each(|wrong| summary.reject(wrong, line, &mut rejects))?;
                }
                Err(rejected) => {
                    summary.unread += 1;
                    summary.reject(&rejected, line, &mut rejects)?;
                }
            }
        }
        if end && summary.rows == 0 && !nobody_listed {
            bail!(
                "{name} has no rows, which would free everybody; remedy: check the file, or --nobody-listed if {register} lists none of them"
            );
        }
        if listings.len() >= CHUNK || end {
            let mut tx = engine.store.write().await?;
            // Two at a time take turns, and one that was overtaken adds nothing to a newer word.
            control::take_turn(&mut tx, &engine.controller).await?;
            is_newest(&mut tx, engine, register, at).await?;
            screenings::list(&mut tx, &engine.controller, register, screening, &listings).await?;
            if pack.register.cancels_earlier {
                summary.withdrawn += cancel(&mut tx, engine, &pack.register, register, at, &listings).await?;
            }
            if end && summary.unread == 0 {
                screenings::finish(&mut tx, &engine.controller, register, screening, engine.now()).await?;
            }
            tx.commit().await?;
            listings.clear();
            rejects.stored(summary.rows);
            progress(table.position());
        }
        if end {
            break;
        }
    }
    summary.rejected_file = rejects.finish()?;
    summary.not_utf8 = table.not_utf8();
    import::record(engine, "screening", &name, &summary).await?;
    Ok(summary)
}

/// Fails where a newer screening against the register has ended.
async fn is_newest(tx: &mut Tx, engine: &Engine, register: &str, at: i64) -> Result<()> {
    if let Some(newest) = screenings::newest(tx, &engine.controller, register).await?.filter(|newest| *newest > at) {
        bail!("there is a newer screening against {register}, as of {}; remedy: import that one only", instant(newest));
    }
    Ok(())
}

/// A listed number and until when its registration cancels consents; beside it, what of the row could not be read: the listing
/// counts even so, from the screening on.
fn read_row(
    engine: &Engine,
    pack: &CountryPack,
    row: &Row<'_>,
    at: i64,
) -> std::result::Result<(PhoneNumber, i64, Option<Rejected>), Rejected> {
    let number = import::number_of(engine, row, Some(&pack.code))?;
    Ok(match import::date(row, "registered_since", instant(at).date_naive()) {
        Ok(Some(day)) => (number, end_of(day), None),
        Ok(None) => (number, at, None),
        Err(wrong) => (number, at, Some(wrong)),
    })
}

/// The registers give days and consents have times: of one day the no counts.
fn end_of(day: NaiveDate) -> i64 {
    day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros() + DAY - 1
}

/// Registration cancels consents for the register's channels that are not later than it. Answers how many people lost one.
async fn cancel(tx: &mut Tx, engine: &Engine, rule: &Register, register: &str, at: i64, listings: &[Listing]) -> Result<u64> {
    let mut ended = 0;
    for (contact, since) in screenings::granted_among(tx, &engine.controller, listings).await? {
        let situation = Situation::read(tx, engine, contact).await?;
        let subject = &situation.contact.subject;
        let mut granted = ledger::granted(tx, &engine.controller, subject).await?;
        granted.retain(|permission| rule.applies_to.contains(&permission.channel));
        if granted.is_empty() {
            continue;
        }
        let said = last_said(tx, engine, subject).await?;
        let gone: Vec<Permission> = granted.into_iter().filter(|p| said.get(p).is_none_or(|at| *at <= since)).collect();
        if gone.is_empty() {
            continue;
        }
        let (registered, screened) = (instant(since).date_naive(), instant(at).format("%Y-%m-%d %H:%M UTC"));
        let evidence = format!("{register}: registered by {registered}, screened as of {screened}");
        // It counts from now on, when we learn of it: whoever exports what changed must see it.
        let deed = Deed { at: engine.now(), channel: "import", action: "register", evidence, text_hash: None };
        confirm::withdraw(tx, engine, &situation, &deed, gone).await?;
        ended += 1;
    }
    Ok(ended)
}

/// When this person last completed a yes to each permission.
async fn last_said(tx: &mut Tx, engine: &Engine, subject: &str) -> Result<BTreeMap<Permission, i64>> {
    let mut said = BTreeMap::new();
    for (.., body) in ledger::entries_of(tx, &engine.controller, subject).await? {
        let Some(body) = body.and_then(|text| serde_json::from_str::<Body>(&text).ok()) else { continue };
        if body.entry == Entry::Granted {
            said.extend(body.permissions.iter().map(|permission| (*permission, body.at)));
        }
    }
    Ok(said)
}

/// Whether one granted permission may leave the house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub release: Release,
    /// As of when the person was last screened.
    pub screened: Option<i64>,
}

/// The registers' word on granted permissions, many people at once.
#[derive(Debug)]
pub struct Words {
    screened: HashMap<i64, Vec<Screened>>,
}

impl Words {
    pub async fn read(tx: &mut Tx, contacts: &[i64]) -> Result<Words> {
        Ok(Words { screened: screenings::of(tx, contacts).await? })
    }

    /// On a consent of `contact` in `country` for `channel`, given at `since`; none where no register is about it.
    pub fn on(&self, engine: &Engine, contact: i64, country: Option<&str>, channel: Channel, since: i64) -> Option<Word> {
        let rule = &engine.config.packs.get(country?)?.register;
        let name = rule.name.as_ref().filter(|_| rule.applies_to.contains(&channel))?;
        let screened = self.screened.get(&contact).and_then(|all| all.iter().find(|s| s.register == *name));
        Some(Word { release: rule.release(screened, since, engine.now()), screened: screened.and_then(|s| s.at) })
    }
}
