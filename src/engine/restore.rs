//! What an old copy of the database must learn before it goes live: the noes, asks, answers, links, unclear replies and erasures since. A line of
//! JSON each, from the database of before to a file, and from there into the copy. `db keep` writes the same file while all is well, for the
//! day on which the database of before cannot be read.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::confirm::{self, Deed, Situation};
use super::{Engine, LEASE_DB, erase, import, receive, rights};
use crate::clock::{SECOND, instant};
use crate::domain::answer::By;
use crate::domain::channel::{Channel, Permission, Purpose};
use crate::domain::consent::Act;
use crate::domain::plural::counted;
use crate::domain::rights::Right;
use crate::domain::suppression::Reason;
use crate::store::humans::{self, Tie};
use crate::store::keep::{self, Answered, Asked, Chosen, Ended, Link, No, Pending, Resolved, Tied, Unclear};
use crate::store::requests::{self, Part, Request};
use crate::store::{self, Store, Tx, answers, consents, contacts, control, inbound, listed, migrations, suppressions};
use crate::vault::Keyed;

/// Rows read or written at once.
const PAGE: i64 = 2_000;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first one; a file of an earlier version has none.
    Written(Written),
    Tied(Tied),
    No(No),
    Asked(Asked),
    Answered(Answered),
    Link(Link),
    Ended(Ended),
    Pending(Pending),
    Times(Chosen),
    Unclear(Unclear),
    Resolved(Resolved),
    Request(Request, Vec<Part>),
    /// The last one: a file without it is cut off.
    End(u64),
}

/// When a file was written down, and of which database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Microseconds.
    pub at: i64,
    pub controller: String,
    /// When that database was made, microseconds, by which every copy of it is known. None in what a restore wrote down for itself: whatever
    /// database gives way to a copy, it learns from it.
    pub made_at: Option<i64>,
}

/// A file that somebody kept, whole.
#[derive(Debug, Clone)]
pub struct Kept {
    pub file: PathBuf,
    pub written: Option<Written>,
}

impl Kept {
    /// That it is of another database than this one, in words; none where it is not, or does not say.
    pub fn of_another(&self, controller: &str, made_at: i64) -> Option<String> {
        let Written { controller: of, made_at: Some(made), .. } = self.written.as_ref()? else { return None };
        (of != controller || *made != made_at).then(|| {
            format!(
                "{} is of another database (of `{of}`, made on {}; this one is of `{controller}`, made on {})",
                self.file.display(),
                moment(*made),
                moment(made_at)
            )
        })
    }
}

/// `2026-12-01 09:45:00 UTC`
pub fn moment(at: i64) -> String {
    instant(at).format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// What a copy had not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Numbers that said no since, or were listed.
    pub noes: u64,
    /// Marks of asks and reminders sent since.
    pub asked: u64,
    /// Contacts who answered since: they are asked and reminded no more, and what they said is not here.
    pub answered: u64,
    /// Links of messages sent since, behind which a no can still be said.
    pub links: u64,
    /// People of whom something granted has ended since.
    pub ended: u64,
    /// Replies since that wait for an operator.
    pub unclear: u64,
    /// People erased since, and erased here now.
    pub erased: u64,
}

/// Fails while a permesso uses the database, or did so within half a minute.
pub async fn nobody_runs(store: &Store, controller: &str) -> Result<()> {
    let mut tx = store.read().await?;
    let (web, worker) = (control::heard_ago(&mut tx, controller).await?, keep::worked_ago(&mut tx).await?);
    tx.rollback().await?;
    // One that was killed leaves its lease to run out, and looks like one that runs.
    let left = LEASE_DB - [web, worker].into_iter().flatten().min().unwrap_or(LEASE_DB);
    if left > 0 {
        let seconds = (left + SECOND - 1) / SECOND;
        bail!(
            "a permesso uses this database, or did within the last half minute; remedy: stop it if it runs, wait {}, and restore again",
            counted(seconds.unsigned_abs(), "second", "seconds")
        );
    }
    Ok(())
}

/// Of which database a file would be written down now.
pub async fn written(store: &Store, controller: &str, at: i64) -> Result<Written> {
    let mut tx = store.read().await?;
    let made_at = migrations::made_at(&mut tx).await?;
    tx.rollback().await?;
    Ok(Written { at, controller: controller.to_owned(), made_at: Some(made_at) })
}

/// Writes what the database knows into a new file, mode 0600: hashes and times, and encrypted replies; no number in the clear. Answers whether
/// there is anything in the database at all.
pub async fn keep(store: &Store, written: &Written, file: &Path) -> Result<bool> {
    let controller = written.controller.as_str();
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let new = new.with_context(|| format!("cannot write {}; remedy: let permesso write there", file.display()))?;
    let mut out = BufWriter::new(new);
    let mut lines = 0;
    let mut tx = store.read().await?;
    let mut write = |line: Line| -> Result<()> {
        serde_json::to_writer(&mut out, &line)?;
        lines += 1;
        Ok(out.write_all(b"\n")?)
    };
    write(Line::Written(written.clone()))?;
    // Whose data are restricted, or no more, before who is tied to whom: a tie hands on what stands.
    // In the order in which they were done, which is not that of their ids: one may have been noted long before.
    let mut restrictions = Vec::new();
    requested(&mut tx, controller, is_about_restriction, &mut |line| {
        restrictions.push(line);
        Ok(())
    })
    .await?;
    restrictions.sort_by_key(|line| if let Line::Request(request, _) = line { request.done_at } else { None });
    restrictions.into_iter().try_for_each(&mut write)?;
    let mut after = (String::new(), 0);
    loop {
        let page = keep::tied_after(&mut tx, controller, (&after.0, after.1), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = (last.mac.clone(), last.key_id);
        page.into_iter().try_for_each(|row| write(Line::Tied(row)))?;
    }
    let mut after = 0;
    loop {
        let page = keep::noes_after(&mut tx, controller, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        page.into_iter().try_for_each(|row| write(Line::No(row.no)))?;
    }
    // After the noes, which end whatever is open; before all else that was said and sent since, which under the number of somebody erased is
    // of whoever came back.
    requested(&mut tx, controller, is_erasure, &mut write).await?;
    let mut after = (i64::MIN, String::new(), String::new());
    loop {
        let page = keep::asked_after(&mut tx, controller, (after.0, &after.1, &after.2), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = (last.message_id, last.mac.clone(), last.kind.clone());
        page.into_iter().try_for_each(|row| write(Line::Asked(row)))?;
    }
    let mut after = 0;
    while let Some(to) = consents::window(&mut tx, controller, after, PAGE).await? {
        let page = keep::answered_between(&mut tx, controller, (after, to)).await?;
        page.into_iter().try_for_each(|row| write(Line::Answered(row)))?;
        after = to;
    }
    let mut after = (String::new(), String::new());
    loop {
        let page = keep::links_after(&mut tx, controller, (&after.0, &after.1), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = (last.token_hash.clone(), last.mac.clone());
        page.into_iter().try_for_each(|row| write(Line::Link(row)))?;
    }
    let mut after = (String::new(), String::new(), String::new());
    loop {
        let page = keep::ended_after(&mut tx, controller, (&after.0, &after.1, &after.2), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = (last.subject.clone(), last.channel.clone(), last.purpose.clone());
        page.into_iter().try_for_each(|row| write(Line::Ended(row)))?;
    }
    let mut after = String::new();
    loop {
        let page = keep::times_after(&mut tx, controller, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.subject.clone();
        page.into_iter().try_for_each(|row| write(Line::Times(row)))?;
    }
    keep::pending(&mut tx, controller).await?.into_iter().try_for_each(|(_, row)| write(Line::Pending(row)))?;
    keep::unclear(&mut tx, controller).await?.into_iter().try_for_each(|row| write(Line::Unclear(row)))?;
    keep::resolved(&mut tx, controller).await?.into_iter().try_for_each(|row| write(Line::Resolved(row)))?;
    requested(&mut tx, controller, |request| !is_about_restriction(request) && !is_erasure(request), &mut write).await?;
    let anybody = keep::a_number(&mut tx, controller).await?.is_some();
    tx.rollback().await?;
    let all = lines;
    serde_json::to_writer(&mut out, &Line::End(all))?;
    out.flush()?;
    out.get_ref().sync_all()?;
    Ok(anybody || all > 1)
}

/// The lines of a file that [`keep()`] wrote; the last of them is an error where the file is cut off or none of ours.
fn lines_of(file: &Path) -> Result<impl Iterator<Item = Result<Line>>> {
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let shown = file.display().to_string();
    let mut numbered = BufReader::new(opened).lines().enumerate();
    let (mut lines, mut ended) = (0, false);
    Ok(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let line = match numbered.next() {
            None => Err(anyhow!("{shown} is cut off: its last line is missing; remedy: give a whole one by --kept")),
            Some((n, line)) => line
                .map_err(anyhow::Error::from)
                .and_then(|line| Ok(serde_json::from_str(&line)?))
                .with_context(|| format!("{shown}, line {}: nothing that permesso wrote down", n + 1)),
        };
        ended = line.is_err();
        match line {
            Ok(Line::End(all)) => {
                ended = true;
                (all != lines).then(|| {
                    Err(anyhow!("{shown} is cut off: it has {lines} lines of {all}; remedy: give a whole one by --kept"))
                })
            }
            line => {
                lines += 1;
                Some(line)
            }
        }
    }))
}

/// A file that somebody kept.
///
/// # Errors
/// It is not what [`keep()`] wrote, or not all of it.
pub fn kept(file: &Path) -> Result<Kept> {
    let mut written = None;
    for line in lines_of(file)? {
        if let Line::Written(of) = line? {
            written = Some(of);
        }
    }
    Ok(Kept { file: file.to_owned(), written })
}

/// As [`kept()`], by its first line alone: nothing where it has none, or another.
pub fn begun(file: &Path) -> Kept {
    let first = lines_of(file).ok().and_then(|mut lines| lines.next());
    let written = if let Some(Ok(Line::Written(written))) = first { Some(written) } else { None };
    Kept { file: file.to_owned(), written }
}

fn is_about_restriction(request: &Request) -> bool {
    request.kind == Right::Restriction.code() || request.kind == Right::Lifting.code()
}

fn is_erasure(request: &Request) -> bool {
    request.kind == Right::Erasure.code()
}

/// Those of the requests, in their order.
async fn requested(
    tx: &mut Tx,
    controller: &str,
    wanted: impl Fn(&Request) -> bool,
    write: &mut impl FnMut(Line) -> Result<()>,
) -> Result<()> {
    let mut after = 0;
    loop {
        let page = requests::after(tx, controller, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        for row in page.into_iter().filter(|row| wanted(&row.request)) {
            let parts = requests::parts(tx, controller, row.id).await?;
            write(Line::Request(row.request, parts))?;
        }
    }
}

/// Brings a copy up to date with what was kept, by however many, in one transaction, and halts all sending until an operator resumes it.
///
/// # Errors
/// The key does not fit the copy, or the file is cut off or none of ours; then the copy is as it was.
pub async fn replay(engine: &Engine, files: &[PathBuf], by: &str) -> Result<Replayed> {
    let now = engine.now();
    let mut done = Replayed::default();
    let mut tx = engine.store.write().await?;
    if let Some(number) = keep::a_number(&mut tx, &engine.controller).await? {
        engine.vault.decrypt_number(&number).context(
            "this copy's numbers cannot be read with this key; remedy: put the key file of that time back, its lines before those of today",
        )?;
    }
    humans::take_turn(&mut tx, &engine.controller).await?;
    control::take_turn(&mut tx, &engine.controller).await?;
    // A first yes waits on where it waited by all of them.
    let mut waits: Option<HashSet<Pending>> = None;
    let mut resolved: Vec<Resolved> = Vec::new();
    for file in files {
        let mut chunk: Vec<Line> = Vec::new();
        let mut waiting: HashSet<Pending> = HashSet::new();
        for line in lines_of(file)? {
            let line = match line? {
                Line::Pending(row) => {
                    waiting.insert(row);
                    continue;
                }
                Line::Resolved(row) => {
                    resolved.push(row);
                    continue;
                }
                Line::Written(_) => continue,
                line => line,
            };
            let other = chunk.last().is_some_and(|last| std::mem::discriminant(last) != std::mem::discriminant(&line));
            if other || chunk.len() as i64 == PAGE {
                write_back(&mut tx, engine, std::mem::take(&mut chunk), &mut done).await?;
            }
            chunk.push(line);
        }
        write_back(&mut tx, engine, chunk, &mut done).await?;
        waits = Some(match waits {
            Some(others) => others.intersection(&waiting).cloned().collect(),
            None => waiting,
        });
    }
    if let Some(waits) = waits {
        close_questions(&mut tx, engine, &waits).await?;
        // After that: a second yes that waits in the copy for such a word must not complete what was completed, replaced or taken back since.
        for row in resolved {
            // What an operator has read since is read; a stop that a later yes answered is a stop here, where that yes cannot be proved.
            if let Some(id) = keep::waits(&mut tx, &engine.controller, &row).await? {
                receive::resolve(&mut tx, engine, id, row.verdict == "stop", &row.resolved_by).await?;
            }
        }
        inbound::adopt(&mut tx, &engine.controller, now).await?;
        // By their noes, and last: the copy may have whoever was erased under a wrong number alone, which may be one since.
        let erased = store::erase::of_wrong_numbers(&mut tx, &engine.controller).await?;
        store::erase::under_wrong_numbers(&mut tx, &engine.controller, &erased).await?;
    }
    listed::forget(&mut tx, &engine.controller).await?;
    control::forget_hearing(&mut tx, &engine.controller, now).await?;
    control::set_halt(&mut tx, &engine.controller, Some(now), &format!("{by}: db restore")).await?;
    tx.commit().await?;
    Ok(done)
}

/// Lines of one kind.
async fn write_back(tx: &mut Tx, engine: &Engine, chunk: Vec<Line>, done: &mut Replayed) -> Result<()> {
    let (controller, now) = (engine.controller.as_str(), engine.now());
    let (mut ties, mut noes, mut asked, mut links) = (vec![], vec![], vec![], vec![]);
    let (mut answered, mut ended, mut times, mut unclear, mut wishes) = (vec![], vec![], vec![], vec![], vec![]);
    for line in chunk {
        match line {
            Line::Tied(row) => {
                ties.push(Tie { number: vec![Keyed { key_id: row.key_id, mac: row.mac }], id: Some(row.human) });
            }
            Line::No(row) => noes.push(row),
            Line::Asked(row) => asked.push(row),
            Line::Answered(row) => answered.push(row),
            Line::Link(row) => links.push(row),
            Line::Ended(row) => ended.push(row),
            Line::Times(row) => times.push(row),
            Line::Unclear(row) => unclear.push(row),
            Line::Request(request, parts) => wishes.push((request, parts)),
            Line::Written(_) | Line::Pending(_) | Line::Resolved(_) | Line::End(_) => {}
        }
    }
    if !ties.is_empty() {
        let humans = humans::tie(tx, controller, &ties).await?;
        import::spread(tx, engine, &humans, now).await?;
    }
    let mut by_reason: BTreeMap<String, Vec<Keyed>> = BTreeMap::new();
    for (keyed, reason) in keep::add_noes(tx, controller, &noes, now).await? {
        done.noes += 1;
        by_reason.entry(reason).or_default().push(keyed);
    }
    for (reason, keyed) in by_reason {
        let reason = Reason::parse(&reason).with_context(|| format!("`{reason}` is no reason for a no"))?;
        // Each number's own: of a human's others one may have answered since what this one inherited.
        suppressions::suppress_alone(tx, controller, &keyed, reason, By::Restore, now, now).await?;
        let granted = suppressions::granted_alone(tx, controller, &keyed).await?;
        confirm::end_grants_of(tx, engine, &granted, &restored(now)).await?;
        done.ended += granted.len() as u64;
        if reason == Reason::WrongPerson {
            // What was said by it before is the human's, and has lines of its own.
            humans::untie(tx, controller, &keyed).await?;
        }
    }
    done.asked += keep::add_asked(tx, controller, &asked).await?;
    for (contact, at) in keep::add_answered(tx, controller, &answered).await? {
        answers::replied(tx, contact, By::Restore, at).await?;
        done.answered += 1;
    }
    done.links += keep::add_links(tx, controller, &links).await?;
    for (contact, gone) in by_contact(keep::still_granted(tx, controller, &ended).await?) {
        let situation = Situation::read(tx, engine, contact).await?;
        confirm::withdraw(tx, engine, &situation, &restored(now), gone).await?;
        done.ended += 1;
    }
    for (contact, gone) in by_contact(keep::still_asked(tx, controller, &ended).await?) {
        // Who took back what the question asks for has answered it since, and a yes of before that comes late must not answer it once more.
        let mut situation = Situation::read(tx, engine, contact).await?;
        let asked = situation.campaign.as_ref().is_some_and(|(_, c)| c.asks_for.iter().any(|p| gone.contains(p)));
        if asked {
            confirm::act(tx, engine, &mut situation, Act::TimeOut, &restored(now), &[]).await?;
        }
    }
    answers::date(tx, controller, &noes, &ended, now).await?;
    for row in times {
        let Some(contact) = contacts::by_subject(tx, controller, &row.subject).await?.filter(|c| !c.is_erased()) else {
            continue;
        };
        let chosen = serde_json::from_str(&row.times).context("times that cannot be read")?;
        let mut situation = Situation::read(tx, engine, contact.id).await?;
        let deed = Deed { evidence: "chosen since the copy was made".into(), ..restored(now) };
        confirm::set_times(tx, engine, &mut situation, &deed, &chosen).await?;
    }
    done.unclear += keep::add_unclear(tx, controller, &unclear).await?;
    for (request, parts) in wishes {
        let new = requests::add(tx, controller, &request, &parts).await?.is_some();
        if new && is_erasure(&request) {
            done.erased += erase_again(tx, engine, &request).await?;
        }
        if new && request.kind == Right::Rectification.code() && request.subject.is_some() {
            answers::number_changed(tx, controller, &Keyed { key_id: request.key_id, mac: request.mac.clone() }).await?;
        }
        let (restriction, lifting) = (request.kind == Right::Restriction.code(), request.kind == Right::Lifting.code());
        if let (true, Some(subject)) = (new && (restriction || lifting), &request.subject) {
            rights::restrict_subject(tx, engine, subject, restriction, &restored(now)).await?;
        }
    }
    Ok(())
}

/// The permissions of each contact.
fn by_contact(rows: Vec<(i64, String, String)>) -> BTreeMap<i64, Vec<Permission>> {
    let mut all: BTreeMap<i64, Vec<Permission>> = BTreeMap::new();
    for (contact, channel, purpose) in rows {
        if let Some((channel, purpose)) = Channel::parse(&channel).zip(Purpose::parse(&purpose)) {
            all.entry(contact).or_default().push(Permission { channel, purpose });
        }
    }
    all
}

/// A first yes of the copy waits on only where the same waited still when the copy took over: any other was completed, replaced or taken back
/// since, and its second step must not complete it as it was.
async fn close_questions(tx: &mut Tx, engine: &Engine, waiting: &HashSet<Pending>) -> Result<()> {
    for (contact, pending) in keep::pending(tx, &engine.controller).await? {
        if !waiting.contains(&pending) {
            let mut situation = Situation::read(tx, engine, contact).await?;
            confirm::act(tx, engine, &mut situation, Act::TimeOut, &restored(engine.now()), &[]).await?;
            // Unfinished is what it is called here, and not what it was.
            if let Some(at) = keep::answered(tx, contact).await? {
                answers::replied(tx, contact, By::Restore, at).await?;
            }
        }
    }
    Ok(())
}

/// Erases whom the copy still has. Found by pseudonym: the same number may have come back since by the person's own act, under another, and
/// then no no of it is left that would have closed a question of before.
async fn erase_again(tx: &mut Tx, engine: &Engine, request: &Request) -> Result<u64> {
    let Some(subject) = &request.subject else { return Ok(0) };
    let Some(contact) = contacts::by_subject(tx, &engine.controller, subject).await?.filter(|c| !c.is_erased()) else {
        return Ok(0);
    };
    let mut keyed = engine.vault.keyed_of(&contact.number_enc)?;
    keyed.extend(suppressions::reach(tx, &engine.controller, &keyed).await?.1);
    let mut situation = Situation::read(tx, engine, contact.id).await?;
    confirm::act(tx, engine, &mut situation, Act::TimeOut, &restored(engine.now()), &[]).await?;
    erase::one(tx, engine, &contact, &restored(engine.now())).await?;
    store::erase::replies(tx, &engine.controller, &keyed, &[contact.id]).await?;
    store::erase::marks(tx, &engine.controller, &keyed).await?;
    Ok(1)
}

/// How the ledger tells it: the entry of that time is in the database of before, which is kept aside.
fn restored(now: i64) -> Deed {
    let evidence = "ended since the copy was made; the entry is in the database kept aside".into();
    Deed { at: now, channel: "restore", action: "restored", evidence, text_hash: None }
}
