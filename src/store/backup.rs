//! A copy of the whole database beside it, while others go on reading and writing: SQLite makes its own, Postgres' is made by
//! `pg_dump`. It holds whatever the database holds, so that only its owner may read it. And the way back: a copy in place of the database.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, PgExecutor};
use tokio::process::Command;
use url::Url;

use super::{Error, Result, migrations};
use crate::crash;

/// Copies the database into a folder under a name that says its version and the moment.
///
/// # Errors
/// The copy cannot be made or does not hold together; what was begun of it is removed.
pub async fn copy_into(url: &str, folder: &Path, version: i64) -> Result<PathBuf> {
    let kind = if url.starts_with("sqlite:") { "db" } else { "dump" };
    let name = format!("permesso-{version:04}-{}.{kind}", Utc::now().format("%Y%m%dT%H%M%S%3fZ"));
    make(folder)?;
    let path = folder.join(name);
    copy_to(url, &path).await?;
    Ok(path)
}

/// The version that the name of a copy says, where it has the name that [`copy_into`] gave it.
pub fn version_of(copy: &Path) -> Option<i64> {
    let name = copy.file_name()?.to_str()?.strip_prefix("permesso-")?;
    name.split_once('-')?.0.parse().ok()
}

/// When the database was made of which this is a copy, as [`migrations::made_at`] answers it.
///
/// # Errors
/// It is no such copy.
pub async fn made_at(url: &str, copy: &Path) -> Result<i64> {
    let at = match url.strip_prefix("sqlite:") {
        Some(_) => of_sqlite(copy).await.map_err(|error| (error.to_string(), WHOLE)),
        None => of_dump(copy).await,
    };
    let failed = |(why, remedy): Failure| Error::Restore(copy.display().to_string(), why, remedy.to_owned());
    Ok(at.map_err(failed)?.timestamp_micros())
}

async fn of_sqlite(copy: &Path) -> sqlx::Result<DateTime<Utc>> {
    let mut copy = SqliteConnectOptions::new().filename(copy).read_only(true).connect().await?;
    let at = sqlx::query_scalar(migrations::MADE_AT).fetch_one(&mut copy).await?;
    copy.close().await?;
    Ok(at)
}

async fn of_dump(copy: &Path) -> std::result::Result<DateTime<Utc>, Failure> {
    let mut read = Command::new("pg_restore");
    read.args(["--data-only", "--table=_sqlx_migrations", "--file=-"]).arg(copy);
    let rows = finished("pg_restore", read).await?;
    // Version, description and time, as COPY has them.
    let made = |row: &str| {
        let mut columns = row.split('\t');
        let version: i64 = columns.next()?.parse().ok()?;
        Some((version, DateTime::parse_from_str(columns.nth(1)?, "%Y-%m-%d %H:%M:%S%.f%#z").ok()?.to_utc()))
    };
    let first = rows.lines().filter_map(made).min();
    Ok(first.ok_or(("nothing in it says when its database was made".to_owned(), WHOLE))?.1)
}

/// Makes a folder for copies, which its owner alone may look into, where there is none.
pub fn make(folder: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|e| Error::Folder(folder.display().to_string(), e))
}

/// Copies the database into a new file, mode 0600.
///
/// # Errors
/// There is such a file, or as [`copy_into`].
pub async fn copy_to(url: &str, path: &Path) -> Result<()> {
    let failed = |(why, remedy): Failure| Error::Backup(path.display().to_string(), why, remedy.to_owned());
    // Made here, so that nobody else can read it at any moment; both ways of copying take an empty file.
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|e| failed(unopened(&e)))?;
    let copied = match url.strip_prefix("sqlite:") {
        Some(from) => sqlite(from.trim_start_matches("//"), path).await,
        None => postgres(url, path).await,
    };
    let stored = copied.and_then(|()| new.sync_all().map_err(|e| (e.to_string(), ROOM)));
    if stored.is_err() {
        let _ = fs::remove_file(path);
    }
    stored.map_err(failed)
}

/// Why there is no copy, and the remedy.
type Failure = (String, &'static str);

const ROOM: &str = "make room for it, or name another place";
const WHOLE: &str = "name a whole copy that `permesso db backup` made, and make room for it";

fn unopened(error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::AlreadyExists => ("it exists already".to_owned(), "name a new file; an earlier copy is never overwritten"),
        ErrorKind::NotFound => ("its folder does not exist".to_owned(), "make the folder, or name another place"),
        ErrorKind::PermissionDenied => (error.to_string(), "let permesso write there, or name another place"),
        _ => (error.to_string(), ROOM),
    }
}

async fn sqlite(from: &str, to: &Path) -> std::result::Result<(), Failure> {
    let to = to.to_str().ok_or(("its name is not UTF-8".to_owned(), "give it another name"))?;
    let copied = async {
        let mut source = SqliteConnectOptions::new().filename(from).connect().await?;
        sqlx::query("VACUUM INTO $1").bind(to).execute(&mut source).await?;
        source.close().await?;
        check(to).await
    };
    match copied.await {
        Ok(sound) if sound == "ok" => Ok(()),
        Ok(found) => Err((
            format!("the copy does not hold together: {found}"),
            "make it again; if that fails too, the disk or the database is damaged",
        )),
        Err(error) => Err((error.to_string(), ROOM)),
    }
}

async fn check(file: &str) -> sqlx::Result<String> {
    let mut copy = SqliteConnectOptions::new().filename(file).read_only(true).connect().await?;
    let sound: String = sqlx::query_scalar("PRAGMA quick_check").fetch_one(&mut copy).await?;
    copy.close().await?;
    Ok(sound)
}

/// Writes a copy into a new SQLite file, to be made ready there before it takes the database's place. What an earlier try left is removed.
///
/// # Errors
/// The copy is no whole SQLite database, or there is no room.
pub async fn unpack(copy: &Path, to: &Path) -> Result<()> {
    let failed = |why: String| Error::Restore(copy.display().to_string(), why, WHOLE.to_owned());
    for left in [to.to_owned(), beside(to, "-wal"), beside(to, "-shm")] {
        let _ = fs::remove_file(left);
    }
    let written = || -> std::io::Result<()> {
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        std::io::copy(&mut fs::File::open(copy)?, &mut new)?;
        new.sync_all()
    };
    written().map_err(|error| failed(error.to_string()))?;
    match check(&to.display().to_string()).await {
        Ok(sound) if sound == "ok" => Ok(()),
        Ok(found) => Err(failed(found)),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Puts a file that is ready in the place of the database, and leaves that one under the name `aside`, mode 0600. There is no moment without
/// one.
///
/// # Errors
/// Something still writes to the database, or the files lie on two disks; then nothing has changed.
pub fn swap(ready: &Path, database: &Path, aside: &Path) -> Result<()> {
    crash::point("between-keep-and-copy");
    let failed = |why: String, remedy: &str| Error::Restore(ready.display().to_string(), why, remedy.to_owned());
    // What stands in either would be written into the copy.
    if ["-wal", "-journal"].iter().any(|end| fs::metadata(beside(database, end)).is_ok_and(|log| log.len() > 0)) {
        return Err(failed("something still uses the database".into(), "stop whatever has it open, and restore again"));
    }
    let swapped = || -> std::io::Result<()> {
        if database.exists() {
            fs::set_permissions(database, fs::Permissions::from_mode(0o600))?;
            fs::hard_link(database, aside)?;
        }
        replace(ready, database)
    };
    swapped().map_err(|error| failed(error.to_string(), "let permesso write in the database's folder and in `backups` beside it"))
}

/// Puts a file that is on disk in the place of another, for good.
pub fn replace(new: &Path, old: &Path) -> std::io::Result<()> {
    fs::rename(new, old)?;
    let folder = old.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Puts a copy that `pg_dump` made in the place of everything in a Postgres database, in one transaction. Until [`ready`] says that the copy
/// has learned what it must, the database opens for nobody: the mark is a table that no copy has, so it outlives the old tables.
///
/// # Errors
/// `pg_restore` is missing or says why it cannot; then nothing has changed.
pub async fn put_back(url: &str, copy: &Path) -> Result<()> {
    crash::point("between-keep-and-copy");
    let failed = |(why, remedy): Failure| Error::Restore(copy.display().to_string(), why, remedy.to_owned());
    let (mut restore, database) = tool("pg_restore", url).map_err(failed)?;
    restore.args(["--clean", "--if-exists", "--no-owner", "--single-transaction", "--no-password", "--dbname"]);
    restore.arg(database).arg(copy);
    // An earlier try may have left the mark, and the copy of that try is in place then.
    let first = !is_restoring(url).await?;
    if first {
        statement(url, "CREATE TABLE restoring ()").await?;
    }
    let before = tables(url).await?;
    let done = finished("pg_restore", restore).await.map(drop).map_err(failed);
    // Whether a COMMIT that was in doubt was one the tables say: the copy's are new ones.
    if first && done.is_err() && tables(url).await? == before {
        ready(url).await?;
    }
    crash::point("between-copy-and-replay");
    done
}

/// The copy in a Postgres database has learned what it must.
pub async fn ready(url: &str) -> Result<()> {
    statement(url, "DROP TABLE IF EXISTS restoring").await
}

/// Whether a restore was begun in this Postgres database and did not end.
pub async fn is_restoring(url: &str) -> Result<bool> {
    let mut connection = connect(url).await?;
    let marked = is_marked(&mut connection).await?;
    connection.close().await?;
    Ok(marked)
}

pub(super) async fn is_marked<'e>(at: impl PgExecutor<'e>) -> Result<bool> {
    Ok(sqlx::query_scalar("SELECT to_regclass('restoring') IS NOT NULL").fetch_one(at).await?)
}

/// Tells the tables of a database from those that take their place.
async fn tables(url: &str) -> Result<Option<i64>> {
    let mut connection = connect(url).await?;
    let contacts =
        sqlx::query_scalar("SELECT CAST(CAST(to_regclass('contacts') AS oid) AS BIGINT)").fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(contacts)
}

async fn statement(url: &str, statement: &'static str) -> Result<()> {
    let mut connection = connect(url).await?;
    sqlx::raw_sql(statement).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

async fn connect(url: &str) -> Result<PgConnection> {
    let options = PgConnectOptions::from_str(url).map_err(|_| Error::Url("postgres://…".into()))?;
    Ok(options.connect().await?)
}

async fn postgres(url: &str, to: &Path) -> std::result::Result<(), Failure> {
    let (mut dump, database) = tool("pg_dump", url)?;
    dump.args(["--format=custom", "--no-password", "--file"]).arg(to).env("PGDATABASE", database);
    finished("pg_dump", dump).await.map(drop)
}

/// A program of Postgres' own that knows the way to the database, and the database's name.
fn tool(program: &str, url: &str) -> std::result::Result<(Command, String), Failure> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| ("the database's address cannot be read".to_owned(), "write postgres://user@host/name"))?;
    let host = options.get_socket().map_or_else(|| options.get_host().into(), |socket| socket.as_os_str().to_owned());
    let mut command = Command::new(program);
    // By the environment: the command line is everybody's to read.
    command.env("PGHOST", host).env("PGPORT", options.get_port().to_string()).env("PGUSER", options.get_username());
    command.env(
        "PGSSLMODE",
        match options.get_ssl_mode() {
            PgSslMode::Disable => "disable",
            PgSslMode::Allow => "allow",
            PgSslMode::Prefer => "prefer",
            PgSslMode::Require => "require",
            PgSslMode::VerifyCa => "verify-ca",
            PgSslMode::VerifyFull => "verify-full",
        },
    );
    if let Ok(url) = Url::parse(url) {
        if let Some(password) = password(&url) {
            command.env("PGPASSWORD", password);
        }
        for (key, value) in url.query_pairs().filter(|(key, _)| key == "sslrootcert") {
            command.env(key.to_uppercase().replacen("SSL", "PGSSL", 1), value.as_ref());
        }
    }
    Ok((command, options.get_database().unwrap_or(options.get_username()).to_owned()))
}

/// What it says on its standard output.
async fn finished(program: &str, mut command: Command) -> std::result::Result<String, Failure> {
    let done = command.output().await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => (
            format!("there is no {program}"),
            "install postgresql-client of the server's version, and put its programs on the PATH",
        ),
        _ => (error.to_string(), ROOM),
    })?;
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        false => {
            let said = String::from_utf8_lossy(&done.stderr).trim().replace('\n', "; ");
            Err((format!("{program}: {said}"), "mend what it names; it must be of the server's version or newer"))
        }
    }
}

/// The password in an address, its percent signs resolved.
fn password(url: &Url) -> Option<String> {
    let written = url.password()?.replace('+', "%2B").replace('&', "%26");
    url::form_urlencoded::parse(format!("p={written}").as_bytes()).next().map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_as_it_was_meant() {
        let of = |text: &str| password(&Url::parse(text).unwrap());
        assert_eq!(of("postgres://u:a%40b+c%26d&e%25@h/d").as_deref(), Some("a@b+c&d&e%"));
        assert_eq!(of("postgres://u@h/d"), None);
    }
}
