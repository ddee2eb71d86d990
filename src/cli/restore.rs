//! `db restore`: what the database knows is kept aside, the copy takes its place, and learns it before anything can be sent.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use chrono::Utc;

use super::{Context, clock, database, run};
use crate::app;
use crate::clock::{DAY, HOUR, MINUTE, instant};
use crate::config::Config;
use crate::domain::plural::counted;
use crate::engine::keys;
use crate::engine::restore::{self, Kept, Replayed, Written};
use crate::store::alone::{self, Alone};
use crate::store::{self, Store, backup, migrations};
use crate::vault::Vault;

pub async fn run(context: &Context, config: Config, copy: &Path, kept: &[PathBuf], nothing_kept: bool) -> Result<()> {
    if !copy.is_file() {
        bail!("there is no copy {}; remedy: name a file that `permesso db backup` made", copy.display());
    }
    let folder = database::backups(&config);
    backup::make(&folder)?;
    let given = kept.iter().map(|file| restore::kept(file)).collect::<Result<Vec<_>>>()?;
    let now = clock(&context.dir)?.now();
    let stamp = Utc::now().format("%Y%m%dT%H%M%S%3fZ");
    let own = folder.join(format!("kept-{stamp}.jsonl"));
    let at_one_stroke = config.database.strip_prefix("sqlite:");
    let version = match at_one_stroke {
        Some(_) => 0,
        None => of_postgres(&config, copy, &given).await?,
    };
    let (alone, known) = known(&config, &own, now, kept, nothing_kept).await?;
    let done = match at_one_stroke {
        Some(path) => {
            let path = PathBuf::from(path.trim_start_matches("//"));
            let aside = folder.join(format!("aside-{stamp}.db"));
            let was_there = path.exists();
            let done = sqlite(context, &config, copy, &path, &aside, (&known, &given), alone).await;
            done.map(|done| (was_there.then_some(aside), done))
        }
        None => postgres(context, &config, copy, version, &folder, &known, alone).await,
    };
    // What we wrote down has served: the copy knows it now, or the database is as it was. On Postgres alone a try that failed may need it.
    if known.contains(&own) && (done.is_ok() || at_one_stroke.is_some()) {
        std::fs::remove_file(&own).with_context(|| format!("cannot remove {}", own.display()))?;
    }
    let (aside, done) = done?;
    if context.json {
        let written = given.iter().map(|kept| kept.written.as_ref().map(|written| instant(written.at).to_rfc3339()));
        let written: Vec<_> = written.collect();
        let told = serde_json::json!({
            "restored": copy, "aside": aside, "kept": kept, "kept_written": written, "replayed": done
        });
        println!("{told}");
        return Ok(());
    }
    match &aside {
        Some(aside) => println!("restored {}; the database of before is {}", copy.display(), aside.display()),
        None => println!("restored {}; of the database of before nothing was put aside now", copy.display()),
    }
    let since = [
        counted(done.noes, "no", "noes"),
        counted(done.asked, "mark of an ask", "marks of asks"),
        counted(done.answered, "person who answered", "people who answered"),
        counted(done.links, "link", "links"),
        counted(done.ended, "person whose consents ended", "people whose consents ended"),
        counted(done.unclear, "unclear reply", "unclear replies"),
        counted(done.erased, "person erased", "people erased"),
    ];
    println!("learned of since: {}", since.join(", "));
    for kept in &given {
        let file = kept.file.display();
        match &kept.written {
            Some(written) => println!(
                "learned from {file}, which was written on {}, {} before now, and knows of nothing later",
                restore::moment(written.at),
                ago(now - written.at)
            ),
            None => println!("learned from {file}, which does not say when it was written: an earlier version wrote it"),
        }
    }
    if known.is_empty() {
        println!("nothing was kept: import every list of noes you have (`permesso import suppressions`), now");
    }
    if done.answered > 0 {
        println!(
            "who answered since is asked no more; what they said, also a yes, is proved by the database of before alone: keep it"
        );
    }
    println!("sending is halted: import what was imported since, look at the campaigns, then `permesso resume`");
    Ok(())
}

/// What the copy has to learn: what the database knows, written down now, and what somebody kept. It may know less than that, as one does
/// whose disk was set back. From the moment at which it is written down nobody else writes to the database.
async fn known(config: &Config, own: &Path, now: i64, kept: &[PathBuf], nothing_kept: bool) -> Result<(Alone, Vec<PathBuf>)> {
    let unread = match Store::open(&config.database).await {
        Ok(store) => {
            let free = free(&store, config).await;
            store.close().await;
            free?;
            None
        }
        // Whoever has it knows what we would not learn.
        Err(error @ (store::Error::Locked | store::Error::BeingRestored)) => return Err(error.into()),
        Err(error) => Some(anyhow::Error::from(error)),
    };
    let alone = alone::take(&config.database, unread.is_none()).await?;
    let cannot = match &alone.store {
        Some(store) => {
            let written = Written { at: now, controller: config.controller.id.clone(), made_at: None };
            let anything = restore::keep(store, &written, own).await;
            match anything {
                Ok(true) if !nothing_kept => {
                    return Ok((alone, [own.to_owned()].into_iter().chain(kept.iter().cloned()).collect()));
                }
                Ok(true) => {
                    std::fs::remove_file(own)?;
                    bail!("the database can be read, and an old copy would know less; remedy: leave --nothing-kept away");
                }
                done => {
                    let _ = std::fs::remove_file(own);
                    done?;
                    anyhow!("the database holds nobody and nothing")
                }
            }
        }
        None => unread.unwrap_or_else(|| anyhow!("the database cannot be read")),
    };
    match kept.is_empty() && !nothing_kept {
        false => Ok((alone, kept.to_vec())),
        true => Err(cannot.context(
            "nothing can be learned from the database of before, and an old copy alone knows no no since; remedy: --kept FILE with what \
             `permesso db keep` or an earlier try wrote, or --nothing-kept",
        )),
    }
}

/// Fails where a permesso runs, or where what the database knows is not under our id.
async fn free(store: &Store, config: &Config) -> Result<()> {
    keys::belongs(store, config).await?;
    restore::nobody_runs(store, &config.controller.id).await
}

/// How long that is, in its largest unit.
fn ago(micros: i64) -> String {
    match micros {
        at if at >= 2 * DAY => counted((at / DAY).unsigned_abs(), "day", "days"),
        at if at >= 2 * HOUR => counted((at / HOUR).unsigned_abs(), "hour", "hours"),
        at => counted((at.max(0) / MINUTE).unsigned_abs(), "minute", "minutes"),
    }
}

/// # Errors
/// Something that was given by --kept is of another database than the copy: it would teach it nothing, and the noes since would be lost.
async fn of_one_database(config: &Config, copy: &Path, given: &[Kept]) -> Result<()> {
    if given.is_empty() {
        return Ok(());
    }
    let made_at = backup::made_at(&config.database, copy).await?;
    match given.iter().find_map(|kept| kept.of_another(&config.controller.id, made_at)) {
        Some(of) => bail!(
            "{of}; the database is as it was: a copy learns nothing from what another one knew; remedy: --kept FILE with what `permesso db keep` \
             wrote of the copy's own, or a copy of the file's"
        ),
        None => Ok(()),
    }
}

/// The copy becomes ready under another name, and then takes the place of the database at one stroke.
async fn sqlite(
    context: &Context,
    config: &Config,
    copy: &Path,
    database: &Path,
    aside: &Path,
    (kept, given): (&[PathBuf], &[Kept]),
    alone: Alone,
) -> Result<Replayed> {
    let ready = database.with_extension("restoring");
    backup::unpack(copy, &ready).await?;
    of_one_database(config, &ready, given).await?;
    let done = make_ready(context, config, format!("sqlite:{}", ready.display()), kept).await?;
    backup::swap(&ready, database, aside)?;
    alone::end(alone).await?;
    Ok(done)
}

/// The version of the database of before, where its copy can be put back at all.
async fn of_postgres(config: &Config, copy: &Path, given: &[Kept]) -> Result<i64> {
    if let Some(version) = backup::version_of(copy).filter(|version| !migrations::is_newest(*version)) {
        bail!(
            "{} was made before migration {}, and this program's tables would stand beside its; remedy: restore it by the version that made \
             it, into an empty database, and then `permesso db migrate`",
            copy.display(),
            version + 1
        );
    }
    of_one_database(config, copy, given).await?;
    Ok(migrations::version(&config.database).await?)
}

/// Everything in the database gives way to the copy, which opens for nobody until it has learned what was kept. Whoever stops this in between
/// does it again with `--kept`.
async fn postgres(
    context: &Context,
    config: &Config,
    copy: &Path,
    version: i64,
    folder: &Path,
    kept: &[PathBuf],
    alone: Alone,
) -> Result<(Option<PathBuf>, Replayed)> {
    // What an earlier try left is no database of before: that one was put aside then.
    let aside = match backup::is_restoring(&config.database).await? {
        true => None,
        false => Some(backup::copy_into(&config.database, folder, version).await?),
    };
    backup::put_back(&config.database, copy).await?;
    // From now on the mark keeps others out.
    alone::end(alone).await?;
    let done = make_ready(context, config, config.database.clone(), kept).await.with_context(|| {
        let again = match kept {
            [] => " --nothing-kept".to_owned(),
            files => files.iter().map(|file| format!(" --kept {}", file.display())).collect(),
        };
        format!("the copy is in place and does not open yet; remedy: restore again with{again}")
    })?;
    backup::ready(&config.database).await?;
    Ok((aside, done))
}

async fn make_ready(context: &Context, config: &Config, database: String, kept: &[PathBuf]) -> Result<Replayed> {
    let store = Store::migrate(&database).await?;
    keys::belongs(&store, config).await?;
    let mut config = config.clone();
    config.database = database;
    let vault = Vault::open(&config.key_file)?;
    let engine = app::build(config, vault, store, clock(&context.dir)?)?;
    let done = restore::replay(&engine, kept, &run::operator()).await;
    engine.store.close().await;
    done
}
