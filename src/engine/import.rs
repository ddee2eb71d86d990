//! Import contacts and suppressions from CSV: streaming, set-based, safe to run again. Every row is counted once; what is
//! rejected is named with its line, field and reason; a no in a row that is otherwise rejected is still taken.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chrono::NaiveDate;
use serde::Serialize;

use super::confirm::{self, Deed};
use super::ids::{self, Crowd};
use super::noes::{No, Taken, answered, hashes, not_of_erased, taken};
use super::table::{Broken, NotUtf8, Row, Table};
use super::{Engine, retried, rights};
use crate::clock::instant;
use crate::config::List;
use crate::crash;
use crate::domain::answer::By;
use crate::domain::channel::Channel;
use crate::domain::contact::{AskBasis, BoxDefault, Kind, SoftOptIn};
use crate::domain::country;
use crate::domain::day::{self, DayError};
use crate::domain::language;
use crate::domain::phone::{PhoneError, PhoneNumber};
use crate::domain::plural::{counted, word};
use crate::domain::suppression::Reason;
use crate::store::contacts::{self, Imported};
use crate::store::humans::{self, Tie};
use crate::store::{Tx, inbound, suppressions};
use crate::vault::{Keyed, token};

const CHUNK: usize = 2000;
/// By which a row of one kind of list is told from the same of the other.
const CONTACTS: &str = "contacts";
const SUPPRESSIONS: &str = "suppressions";
/// Sources that give no right to ask: bought lists, and lists of which nobody knows whence.
const QUARANTINED: [&str; 9] =
    ["", "purchased", "bought", "rented", "unknown", "acquistata", "comprata", "sconosciuta", "third_party"];

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    pub rows: u64,
    /// Numbers not known before; of a list of noes, those that were not left in peace before.
    pub new: u64,
    /// People not known before: the numbers of one human, tied by `external_id`, are one.
    pub new_people: u64,
    /// Further rows about a known number, merged to the strictest reading.
    pub merged: u64,
    /// Rows known already, from this file or an earlier import.
    pub repeated: u64,
    pub rejected: u64,
    /// Rows that say no, rejected ones too where the no was taken; counted within the others.
    pub unsubscribed: u64,
    /// Of these, rows without a number that can be read: the no was taken for everybody with the row's `external_id`. In a list of noes
    /// a row that has no number but an id is in order, and counted here alone.
    pub by_id: u64,
    /// Rows known already that say no, of numbers whose person has said yes since by their own act: that stands. Counted within the others;
    /// in a list of noes, here alone.
    pub answered: u64,
    /// Rows of somebody who was erased at their own request: nothing of them is kept.
    pub erased: u64,
    /// Rows from bought or unknown sources; counted within the others.
    pub quarantined: u64,
    /// People who lost a consent because a register lists them.
    pub withdrawn: u64,
    /// Rejected rows that say no, or may, and whose no was not taken, neither by number nor by `external_id`; of a register's answer every
    /// row without a number that can be read. While there is one, the command fails, and a screening frees nobody.
    pub unread: u64,
    pub rejected_by_reason: BTreeMap<String, u64>,
    /// External ids that stand on more than ten numbers since, those on most first: one may be a word for none.
    pub crowded_ids: Vec<Crowd>,
    /// Rows in another encoding than UTF-8, which are rejected.
    pub not_utf8: Option<NotUtf8>,
    /// Columns of the file that are not read: names and whatever else is not needed (data minimisation).
    pub ignored_columns: Vec<String>,
    /// Fields of ours for which the file has no column.
    pub missing_fields: Vec<String>,
    pub rejected_file: Option<PathBuf>,
}

impl Summary {
    pub fn reject(&mut self, rejected: &Rejected, line: u64, file: &mut RejectFile) -> Result<()> {
        self.rejected += 1;
        *self.rejected_by_reason.entry(format!("{}: {}", rejected.field, rejected.reason)).or_default() += 1;
        file.add(line, rejected)
    }
}

/// Why a row is rejected.
#[derive(Debug)]
pub struct Rejected {
    field: &'static str,
    reason: String,
}

impl Rejected {
    pub fn new(field: &'static str, reason: impl Into<String>) -> Rejected {
        Rejected { field, reason: reason.into() }
    }
}

fn reject<T>(field: &'static str, reason: impl Into<String>) -> std::result::Result<T, Rejected> {
    Err(Rejected::new(field, reason))
}

/// `FILE.rejected.csv`, made at the first rejected row: line, field, reason. No number is copied into it.
#[derive(Debug)]
pub struct RejectFile {
    path: PathBuf,
    out: Option<csv::Writer<std::fs::File>>,
    stored: u64,
}

impl RejectFile {
    pub fn beside(file: &Path) -> RejectFile {
        let mut name = file.as_os_str().to_owned();
        name.push(".rejected.csv");
        RejectFile { path: name.into(), out: None, stored: 0 }
    }

    /// So many rows of the file are stored, whatever becomes of the rest.
    pub fn stored(&mut self, rows: u64) {
        self.stored = rows;
    }

    /// What a failure to write it leaves.
    fn left(&self) -> String {
        match self.stored {
            0 => "nothing of the file was imported".to_owned(),
            rows => format!(
                "the first {} imported and the rest was not; imported again {} repeated",
                counted(rows, "row is", "rows are"),
                word(rows, "it is only", "they are only")
            ),
        }
    }

    fn add(&mut self, line: u64, rejected: &Rejected) -> Result<()> {
        if self.out.is_none() {
            let file = std::fs::File::create(&self.path).with_context(|| {
                let (left, shown) = (self.left(), self.path.display());
                format!("{left}: cannot write {shown}, which names rejected rows; remedy: make its folder writable, or move the list to one that is")
            })?;
            let mut out = csv::Writer::from_writer(file);
            out.write_record(["line", "field", "reason"])?;
            self.out = Some(out);
        }
        if let Some(out) = &mut self.out {
            out.write_record([&line.to_string(), rejected.field, &rejected.reason])?;
        }
        Ok(())
    }

    pub fn finish(self) -> Result<Option<PathBuf>> {
        let Some(mut out) = self.out else {
            // A file of an earlier run would speak of rows that are mended now.
            let _ = std::fs::remove_file(&self.path);
            return Ok(None);
        };
        out.flush()?;
        Ok(Some(self.path))
    }
}

/// A part of a list, read and not yet stored.
#[derive(Debug, Default)]
struct Chunk {
    rows: Vec<Imported>,
    noes: Vec<No>,
    /// When each was said, where the list says a day.
    days: Vec<(Keyed, String)>,
    ties: Vec<Tie>,
    /// Bytes of the file read so far.
    position: u64,
}

/// A list of contacts that is being read.
#[derive(Debug)]
struct Reading<'a> {
    engine: &'a Engine,
    table: Table,
    name: String,
    summary: Summary,
    rejects: RejectFile,
}

impl Reading<'_> {
    /// The next rows, with new pseudonyms for whoever turns out to be new; `None` at the end.
    async fn next(&mut self) -> Result<Option<Chunk>> {
        let Reading { engine, table, name, summary, rejects } = self;
        let mut chunk = Chunk { rows: Vec::with_capacity(CHUNK), ..Chunk::default() };
        let before = summary.rows;
        // The chunk before this one is stored by the time a failure here is told.
        rejects.stored(before);
        while chunk.rows.len() < CHUNK && chunk.ties.len() < CHUNK {
            let Some((line, row)) = table.record()? else { break };
            summary.rows += 1;
            read(engine, name, line, &row, &mut chunk, summary, rejects)?;
            // The chunk before this one is being stored meanwhile.
            if summary.rows % 32 == 0 {
                tokio::task::yield_now().await;
            }
        }
        chunk.position = table.position();
        // Pseudonyms of a chunk begin alike: they stand on a few pages of their index, and not each on a page of its own.
        let alike = &token()[..4];
        for row in &mut chunk.rows {
            row.subject = format!("s{alike}{}", token());
        }
        Ok((summary.rows > before).then_some(chunk))
    }
}

/// Takes a row into the chunk, or rejects it; its no is taken even then.
fn read(
    engine: &Engine,
    name: &str,
    line: u64,
    row: &std::result::Result<Row<'_>, Broken<'_>>,
    chunk: &mut Chunk,
    summary: &mut Summary,
    rejects: &mut RejectFile,
) -> Result<()> {
    let read = match row {
        Ok(row) => {
            if let Ok(number) = number_of(engine, row, engine.config.default_country.as_deref()) {
                chunk.days.extend(days_of(engine, row, &number));
            }
            read_row(engine, row, line, name)
        }
        Err(broken) => {
            match noes_of(engine, broken) {
                Some(taken) if taken.is_empty() => {}
                Some(taken) => {
                    summary.unsubscribed += 1;
                    let no = No::new(engine, CONTACTS, &taken, broken.all());
                    chunk.noes.push(No { ids: ids_of(engine, broken), ..no });
                }
                None => summary.unread += 1,
            }
            reject("row", broken.reason.clone())
        }
    };
    let rejected = match read {
        Ok(imported) => {
            summary.unsubscribed += imported.unsubscribed.unsigned_abs();
            summary.quarantined += imported.quarantined.unsigned_abs();
            chunk.rows.push(imported);
            return Ok(());
        }
        Err(rejected) => rejected,
    };
    if let Ok(row) = row {
        let says_no = is_no(row);
        let number = number_of(engine, row, engine.config.default_country.as_deref()).ok();
        let mut no = No::new(engine, CONTACTS, number.as_slice(), row.all());
        match tie_of(engine, row) {
            Some(tie) if !tie.number.is_empty() => {
                no.tie = Some(tie.clone());
                chunk.ties.push(tie);
            }
            // Nobody knows of which number, but of which human.
            Some(tie) if says_no => {
                summary.by_id += 1;
                no.ids.extend(tie.id.map(keyed_id));
            }
            _ => {}
        }
        let taken = says_no && !(no.numbers.is_empty() && no.ids.is_empty());
        summary.unread += u64::from(says_no && !taken);
        summary.unsubscribed += u64::from(taken);
        if taken {
            chunk.noes.push(no);
        }
    }
    summary.reject(&rejected, line, rejects)
}

/// Imports contacts: while one chunk is stored the next is read. `progress` is told the bytes stored so far.
pub async fn contacts(engine: &Engine, file: &Path, mut progress: impl FnMut(u64)) -> Result<Summary> {
    let table = Table::open(file, engine.config.import.of(List::Contacts))?;
    let missing = table.missing.iter().map(|f| (*f).to_owned()).collect();
    let summary = Summary { ignored_columns: table.ignored.clone(), missing_fields: missing, ..Summary::default() };
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut reading = Reading { engine, table, name, summary, rejects: RejectFile::beside(file) };
    let mut crowds: BTreeMap<String, Crowd> = BTreeMap::new();
    let mut next = reading.next().await?;
    while let Some(chunk) = next {
        let (stored, read) = tokio::join!(retried(|| store(engine, &chunk)), reading.next());
        let Stored { merged, erased, answered, crowded } = stored?;
        for (id, numbers) in &crowded {
            let line = chunk.rows.iter().find(|row| row.human.as_ref() == Some(id)).map_or(0, |row| row.import_line);
            crowds.entry(id.clone()).or_insert(Crowd { line, numbers: 0 }).numbers = *numbers;
        }
        let summary = &mut reading.summary;
        summary.answered += answered;
        summary.new += merged.new;
        summary.new_people += merged.people;
        summary.merged += merged.evidence - merged.new;
        summary.erased += erased;
        summary.repeated += chunk.rows.len() as u64 - erased - merged.evidence;
        progress(chunk.position);
        next = read?;
    }
    let Reading { table, name, mut summary, rejects, .. } = reading;
    summary.crowded_ids = crowds.into_values().collect();
    summary.crowded_ids.sort_by_key(|crowd| (std::cmp::Reverse(crowd.numbers), crowd.line));
    summary.rejected_file = rejects.finish()?;
    summary.not_utf8 = table.not_utf8();
    record(engine, CONTACTS, &name, &summary).await?;
    Ok(summary)
}

pub async fn record(engine: &Engine, kind: &str, name: &str, summary: &Summary) -> Result<()> {
    let mut tx = engine.store.write().await?;
    contacts::save_import(&mut tx, &engine.controller, kind, name, &serde_json::to_string(summary)?, engine.now()).await?;
    Ok(tx.commit().await?)
}

/// What became of a chunk.
struct Stored {
    merged: contacts::Merged,
    /// Rows about somebody erased, which were passed over.
    erased: u64,
    /// Rows that say a no that was answered by a yes since.
    answered: u64,
    /// Ids that stand on many numbers, and on how many.
    crowded: Vec<(String, i64)>,
}

/// A chunk is one transaction: contacts, evidence, ties and every no of them together.
async fn store(engine: &Engine, chunk: &Chunk) -> Result<Stored> {
    let Chunk { rows: chunk, noes, days, ties, .. } = chunk;
    let mut tx = engine.store.write().await?;
    humans::take_turn(&mut tx, &engine.controller).await?;
    let now = engine.now();
    let all = chunk.iter().flat_map(named_by).chain(ties.iter().flat_map(hashes));
    let erased = suppressions::erased_among(&mut tx, &engine.controller, all).await?;
    let (gone, kept): (Vec<Imported>, Vec<Imported>) =
        chunk.iter().cloned().partition(|row| named_by(row).any(|hash| erased.contains(hash)));
    let chunk = kept.as_slice();
    // A row known already said its no when it first came; since then the person may have said yes by their own act.
    let known = contacts::known_rows(&mut tx, &engine.controller, chunk).await?;
    let mut merged = contacts::merge(&mut tx, &engine.controller, chunk, now).await?;
    let ties = not_of_erased(ties, &erased);
    if !ties.is_empty() {
        merged.humans.extend(humans::tie(&mut tx, &engine.controller, &ties).await?);
    }
    let Taken { mut noes, mut said_no, mut again } = taken(&mut tx, engine, noes, &erased).await?;
    for row in chunk.iter().filter(|r| r.unsubscribed != 0) {
        let number: Vec<Keyed> = hashes_of(row).collect();
        if known.contains(&row.row_hash) {
            again.push((row.row_hash.clone(), number));
            continue;
        }
        noes.extend(number.iter().cloned());
        said_no.push(Tie { number, id: row.human.clone() });
    }
    let answered = answered(&mut tx, engine, &again).await?.len() as u64;
    noes.extend(humans_of_wrong(&mut tx, engine, &said_no).await?);
    end(&mut tx, engine, &noes, days).await?;
    let numbers: Vec<Keyed> = chunk.iter().flat_map(hashes_of).collect();
    rights::restrict_as_requested(&mut tx, engine, &numbers).await?;
    spread(&mut tx, engine, &merged.humans, now).await?;
    inbound::adopt(&mut tx, &engine.controller, now).await?;
    // Where every new number is a new human's no crowd has grown; a list that is imported again is looked at again.
    let crowded = match merged.new > 0 && merged.new == merged.people {
        true => Vec::new(),
        false => humans::crowded(&mut tx, &engine.controller, chunk, ids::MANY).await?,
    };
    crash::point("mid-import");
    tx.commit().await?;
    Ok(Stored { merged, erased: gone.len() as u64, answered, crowded })
}

/// Takes the noes of a list, and the days that it gives for them.
async fn end(tx: &mut Tx, engine: &Engine, noes: &[Keyed], days: &[(Keyed, String)]) -> Result<()> {
    let now = engine.now();
    if !noes.is_empty() {
        suppressions::suppress(tx, &engine.controller, noes, Reason::UnsubscribedBefore, By::List, now, now).await?;
        confirm::end_grants(tx, engine, noes, Reason::UnsubscribedBefore, &by_list(now)).await?;
    }
    if !days.is_empty() {
        suppressions::date(tx, &engine.controller, days).await?;
    }
    Ok(())
}

/// Under what the number and the human of a row are known.
fn named_by(row: &Imported) -> impl Iterator<Item = &str> {
    row.other_macs.iter().map(|k| &k.mac).chain([&row.mac]).chain(&row.human).map(String::as_str)
}

/// Under what the number of a row is known, by every key.
fn hashes_of(row: &Imported) -> impl Iterator<Item = Keyed> {
    [Keyed { key_id: row.key_id, mac: row.mac.clone() }].into_iter().chain(row.other_macs.iter().cloned())
}

/// Whose no a row tells of a number that is somebody else's by now: it ties that number to nobody, and was said by its human all the same.
async fn humans_of_wrong(tx: &mut Tx, engine: &Engine, said_no: &[Tie]) -> Result<Vec<Keyed>> {
    let numbers: Vec<Keyed> = said_no.iter().flat_map(|tie| tie.number.iter().cloned()).collect();
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let wrong = suppressions::wrong_among(tx, &engine.controller, &numbers).await?;
    let of_wrong = said_no.iter().filter(|tie| tie.number.iter().any(|number| wrong.contains(&number.mac)));
    Ok(of_wrong.filter_map(|tie| tie.id.clone().map(keyed_id)).collect())
}

/// Every no of these humans for all their numbers, and every restriction.
pub(super) async fn spread(tx: &mut Tx, engine: &Engine, humans: &[String], now: i64) -> Result<()> {
    if !humans.is_empty() {
        let granted = suppressions::spread_over_humans(tx, &engine.controller, humans, now).await?;
        confirm::end_grants_of(tx, engine, &granted, &confirm::inherited(now)).await?;
        rights::restrict_tied(tx, engine, humans).await?;
    }
    Ok(())
}

/// A no that stands in a list.
fn by_list(now: i64) -> Deed {
    Deed { at: now, channel: "import", action: "listed", evidence: "a row of an imported list".into(), text_hash: None }
}

fn read_row(engine: &Engine, row: &Row<'_>, line: u64, file: &str) -> std::result::Result<Imported, Rejected> {
    let today = instant(engine.now()).date_naive();
    let number = number_of(engine, row, engine.config.default_country.as_deref())?;
    let mut keyed = engine.vault.keyed_all(&number);
    let unsubscribed = is_no(row);

    let kind = match row.get("kind").map(str::to_lowercase) {
        None => None,
        Some(word) => match Kind::parse(&word) {
            Some(kind) => Some(kind),
            None => return reject("kind", "is not prospect, dormant or customer"),
        },
    };
    let last_action = date(row, "last_action", today)?;
    let basis = match row.get("ask_basis").map(str::to_lowercase) {
        None => None,
        Some(word) if word == "none" => None,
        Some(word) => match AskBasis::parse(&word) {
            Some(basis) => Some(basis),
            None => return reject("ask_basis", format!("is not one of {}", AskBasis::ALL.map(AskBasis::code).join(", "))),
        },
    };
    let basis_date = date(row, "basis_date", today)?;
    let evidence = row.get("basis_evidence").map(str::to_owned);
    if basis.is_some() && evidence.is_none() {
        return reject("basis_evidence", "is empty: an ask basis without what proves it is none");
    }
    if basis.is_some() && basis_date.is_none() {
        return reject("basis_date", "is empty: an ask basis needs its date");
    }
    let approver = row.get("approver").map(str::to_owned);
    if basis == Some(AskBasis::OtherApproved) && approver.is_none() {
        return reject("approver", "is empty: `other_approved` needs the name of who approved it and why");
    }
    let mut conditions = Vec::new();
    for word in words(row, "soft_opt_in_conditions") {
        match SoftOptIn::parse(&word.to_lowercase()) {
            Some(condition) => conditions.push(condition.code()),
            None => {
                let known = SoftOptIn::ALL.map(SoftOptIn::code).join(", ");
                return reject("soft_opt_in_conditions", format!("names something else than {known}"));
            }
        }
    }
    let box_default = match row.get("box_default").map(str::to_lowercase) {
        None => None,
        Some(word) => match BoxDefault::parse(&word) {
            Some(value) => Some(value),
            None => return reject("box_default", "is not unticked, pre_ticked or bundled"),
        },
    };
    if basis == Some(AskBasis::PriorConsent) && box_default.is_none() {
        return reject("box_default", "is empty: an earlier consent counts only if its box is known to have been unticked");
    }
    let mut channels = Vec::new();
    for word in words(row, "basis_channels") {
        match Channel::parse(&word.to_lowercase()) {
            Some(channel) => channels.push(channel.code()),
            None => return reject("basis_channels", "names a channel that is not sms, whatsapp or call"),
        }
    }
    let zone = match row.get("time_zone") {
        None => None,
        Some(name) => match name.parse::<chrono_tz::Tz>() {
            Ok(zone) => Some(zone.name().to_owned()),
            Err(_) => return reject("time_zone", "is not an IANA zone such as Europe/Rome"),
        },
    };
    let locale = match row.get("locale") {
        None => None,
        Some(text) => match language::of(text) {
            Some(language) => Some(language.to_owned()),
            None => return reject("locale", "is not a language such as it or it-IT"),
        },
    };
    let source = row.get("source").unwrap_or("").to_owned();
    let quarantined = QUARANTINED.contains(&source.to_lowercase().as_str());
    let line_type = number.line().code();
    let all: Vec<&str> = row.all().collect();
    let seal = engine.vault.encrypt_number(&number).map_err(|e| Rejected { field: "number", reason: e.to_string() })?;
    let Some(newest) = keyed.pop() else { return reject("number", "has no key") };
    Ok(Imported {
        mac: newest.mac,
        key_id: newest.key_id,
        other_macs: keyed,
        number_enc: seal,
        subject: String::new(),
        country: number.country().map(str::to_owned),
        line: line_type,
        locale,
        zone,
        kind: kind.map(Kind::code),
        last_action: last_action.map(|d| d.to_string()),
        human: ids::of(row).map(|id| engine.vault.human(id)),
        row_hash: engine.vault.fingerprint("row", &all.join("\u{1f}")),
        import_line: i64::try_from(line).unwrap_or(0),
        file: file.to_owned(),
        source,
        quarantined: i64::from(quarantined),
        basis: basis.map(AskBasis::code),
        evidence,
        basis_date: basis_date.map(|d| d.to_string()),
        box_default: box_default.map(BoxDefault::code),
        channels: if channels.is_empty() { "sms".to_owned() } else { channels.join(" ") },
        approver,
        conditions: conditions.join(" "),
        unsubscribed: i64::from(unsubscribed),
    })
}

/// The day of a row's no, where its cell is one, for every key of its number.
fn days_of(engine: &Engine, row: &Row<'_>, number: &PhoneNumber) -> Vec<(Keyed, String)> {
    let today = instant(engine.now()).date_naive();
    let Ok(Some(day)) = date(row, "unsubscribed", today) else { return Vec::new() };
    engine.vault.keyed_all(number).into_iter().map(|keyed| (keyed, day.to_string())).collect()
}

fn is_no(row: &Row<'_>) -> bool {
    row.get("unsubscribed").is_some_and(says_no) || row.get("no_contact_reason").is_some()
}

/// Any word but a clear "still subscribed" is a no: better one contact fewer than one no lost.
fn says_no(unsubscribed: &str) -> bool {
    !matches!(unsubscribed.to_lowercase().as_str(), "" | "no" | "n" | "0" | "false" | "falso" | "f")
}

/// The no of a row that cannot be read otherwise: every cell that may be its number. `None`: it says no and nobody knows of whom, or
/// it breaks off before it could say so.
fn noes_of(engine: &Engine, broken: &Broken<'_>) -> Option<Vec<PhoneNumber>> {
    // In a cell of another column, only a clear word is about this.
    let clear = |cell: &str| {
        matches!(
            cell.to_lowercase().as_str(),
            "yes" | "y" | "1" | "true" | "t" | "si" | "sì" | "s" | "vero" | "tak" | "ja" | "oui" | "sí"
        )
    };
    let no = broken.own("unsubscribed").is_some_and(says_no)
        || broken.cells("unsubscribed").any(clear)
        || broken.own("no_contact_reason").is_some_and(|cell| !cell.is_empty());
    if !no {
        // In a row with a cell missing nobody knows which one that is.
        let may = broken.is_short() && (broken.has_column("unsubscribed") || broken.has_column("no_contact_reason"));
        return (!may).then(Vec::new);
    }
    let numbers = numbers_of(engine, broken, engine.config.default_country.as_deref());
    (!numbers.is_empty()).then_some(numbers)
}

/// Whose number a row names that makes no contact, by its external id: a no of the one counts for the other. Without a number where
/// it cannot be read.
fn tie_of(engine: &Engine, row: &Row<'_>) -> Option<Tie> {
    let id = ids::of(row).map(|id| engine.vault.human(id))?;
    let number = number_of(engine, row, engine.config.default_country.as_deref()).ok();
    Some(Tie { number: number.map(|number| engine.vault.keyed_all(&number)).unwrap_or_default(), id: Some(id) })
}

/// An external id as something to suppress: its human, whatever the numbers.
pub(super) fn keyed_id(human: String) -> Keyed {
    Keyed { key_id: 0, mac: human }
}

/// Every cell of a broken row that may be its external id. Good enough to leave somebody in peace, not to tie anybody to anybody.
fn ids_of(engine: &Engine, broken: &Broken<'_>) -> Vec<Keyed> {
    ids::of_broken(broken).map(|cell| keyed_id(engine.vault.human(cell))).collect()
}

/// Every cell of a broken row that may be its number and is one. Which country a national one is of is told by its own cell.
pub fn numbers_of(engine: &Engine, broken: &Broken<'_>, default: Option<&str>) -> Vec<PhoneNumber> {
    let country = broken.own("country").filter(|cell| !cell.is_empty()).map(country::code_of);
    let default = country.as_ref().map_or(default, Option::as_deref);
    broken.cells("number").filter_map(|cell| PhoneNumber::parse(cell, default, engine.fiction()).ok()).collect()
}

/// A row's number. One in national form is of the country its own cell names, else of `default`.
pub fn number_of(engine: &Engine, row: &Row<'_>, default: Option<&str>) -> std::result::Result<PhoneNumber, Rejected> {
    let Some(text) = row.get("number") else { return reject("number", "is empty") };
    let country = row.get("country").map(country::code_of);
    let default = country.as_ref().map_or(default, Option::as_deref);
    match PhoneNumber::parse(text, default, engine.fiction()) {
        // The default's number might be somebody else's.
        Err(PhoneError::NoCountry) if country == Some(None) => reject(
            "country",
            "names no country we know, and the number has no country code; remedy: write the country's ISO code, as in IT, PL, DE, FR, ES, GB",
        ),
        number => number.or_else(|error| reject("number", error.to_string())),
    }
}

/// The words of a cell that lists several.
fn words<'a>(row: &'a Row<'_>, field: &str) -> impl Iterator<Item = &'a str> {
    row.get(field).unwrap_or("").split([' ', ',', ';', '+', '|', '/']).filter(|word| !word.is_empty())
}

/// A day in a column, not in the future and not before 1990.
pub fn date(row: &Row<'_>, field: &'static str, today: NaiveDate) -> std::result::Result<Option<NaiveDate>, Rejected> {
    let Some(text) = row.get(field) else { return Ok(None) };
    match day::read(text) {
        Err(error @ DayError::ShortYear) => reject(field, format!("cannot be read for sure: {error}")),
        Err(error @ DayError::Unreadable) => reject(field, error.to_string()),
        Ok(date) if date > today => reject(field, "lies in the future"),
        Ok(date) if date < NaiveDate::from_ymd_opt(1990, 1, 1).unwrap_or_default() => reject(field, "lies before 1990"),
        Ok(date) => Ok(Some(date)),
    }
}

/// Imports a list of numbers that must be left in peace, and whatever other numbers their external ids name, now or in later
/// imports. Numbers and ids are hashed on the way in and not kept.
pub async fn suppressions(engine: &Engine, file: &Path, mut progress: impl FnMut(u64)) -> Result<Summary> {
    let mut table = Table::open(file, engine.config.import.of(List::Suppressions))?;
    let mut summary = Summary { ignored_columns: table.ignored.clone(), ..Summary::default() };
    let mut rejects = RejectFile::beside(file);
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut chunk: Vec<No> = Vec::new();
    let mut days: Vec<(Keyed, String)> = Vec::new();
    loop {
        let row = table.record()?;
        let end = row.is_none();
        if let Some((line, row)) = row {
            summary.rows += 1;
            let configured = engine.config.default_country.as_deref();
            let numbers = match &row {
                Ok(row) => number_of(engine, row, configured).map(|number| vec![number]),
                // Its place in such a list is the no: all that a broken row needs is a number.
                Err(broken) => {
                    let numbers = numbers_of(engine, broken, configured);
                    if numbers.is_empty() { reject("row", broken.reason.clone()) } else { Ok(numbers) }
                }
            };
            if let (Ok(row), Ok([number])) = (&row, numbers.as_deref()) {
                days.extend(days_of(engine, row, number));
            }
            let mut by_id = false;
            let named = numbers.as_deref().unwrap_or_default();
            let mut no = match &row {
                Ok(row) => No::new(engine, SUPPRESSIONS, named, row.all()),
                Err(broken) => No::new(engine, SUPPRESSIONS, named, broken.all()),
            };
            match &row {
                Ok(row) => match tie_of(engine, row) {
                    Some(tie) if !tie.number.is_empty() => no.tie = Some(tie),
                    Some(tie) => {
                        by_id = true;
                        no.ids.extend(tie.id.map(keyed_id));
                    }
                    None => {}
                },
                // Which of its cells is the id is a guess: that takes a no, and vouches for none.
                Err(broken) => no.ids.extend(ids_of(engine, broken)),
            }
            summary.by_id += u64::from(by_id);
            if !(no.numbers.is_empty() && no.ids.is_empty()) {
                chunk.push(no);
            }
            match numbers {
                Ok(_) => {}
                Err(_) if by_id && row.as_ref().is_ok_and(|row| row.get("number").is_none()) => summary.unsubscribed += 1,
                Err(rejected) => {
                    summary.unsubscribed += u64::from(by_id);
                    summary.unread += u64::from(!by_id);
                    summary.reject(&rejected, line, &mut rejects)?;
                }
            }
        }
        if chunk.len() >= CHUNK || (end && !chunk.is_empty()) {
            // Counted by the rows: a no reaches the human's other numbers too, and these stand in no list.
            let (mut left, answered) = retried(|| leave_in_peace(engine, &chunk, &days)).await?;
            for row in chunk.drain(..).filter(|row| !row.numbers.is_empty()) {
                summary.unsubscribed += 1;
                match row.numbers.iter().any(|keyed| left.contains(&keyed.mac)) {
                    _ if answered.contains(&row.row) => {
                        summary.answered += 1;
                        continue;
                    }
                    true => summary.repeated += 1,
                    false => summary.new += 1,
                }
                left.extend(row.numbers.into_iter().map(|keyed| keyed.mac));
            }
            days.clear();
            rejects.stored(summary.rows);
            progress(table.position());
        }
        if end {
            break;
        }
    }
    summary.rejected_file = rejects.finish()?;
    if summary.rows == 0 {
        bail!("{} has a header and no rows; remedy: check that it is the list you mean", file.display());
    }
    summary.not_utf8 = table.not_utf8();
    record(engine, SUPPRESSIONS, &name, &summary).await?;
    Ok(summary)
}

/// A chunk of a list of noes is one transaction. Answers whose no was known before, by their hashes, and which rows say one that was
/// answered by a yes since.
async fn leave_in_peace(engine: &Engine, rows: &[No], days: &[(Keyed, String)]) -> Result<(HashSet<String>, HashSet<String>)> {
    let mut tx = engine.store.write().await?;
    humans::take_turn(&mut tx, &engine.controller).await?;
    let now = engine.now();
    let ties: Vec<Tie> = rows.iter().filter_map(|row| row.tie.clone()).collect();
    let erased = suppressions::erased_among(&mut tx, &engine.controller, ties.iter().flat_map(hashes)).await?;
    let ties = not_of_erased(&ties, &erased);
    let tied = match ties.is_empty() {
        true => Vec::new(),
        false => humans::tie(&mut tx, &engine.controller, &ties).await?,
    };
    let numbers: Vec<Keyed> = rows.iter().flat_map(|row| row.numbers.iter().cloned()).collect();
    let known = suppressions::live_among(&mut tx, &engine.controller, &numbers).await?;
    let Taken { mut noes, said_no, again } = taken(&mut tx, engine, rows, &erased).await?;
    let answered = answered(&mut tx, engine, &again).await?;
    noes.extend(humans_of_wrong(&mut tx, engine, &said_no).await?);
    end(&mut tx, engine, &noes, days).await?;
    spread(&mut tx, engine, &tied, now).await?;
    tx.commit().await?;
    Ok((known, answered))
}
