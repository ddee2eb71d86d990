//! A copy of the whole database beside it, while others go on reading and writing: SQLite makes its own, Postgres' is made by
//! `pg_dump`. It holds whatever the database holds, so that only its owner may read it.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chrono::Utc;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::process::Command;
use url::Url;

use super::{Error, Result};

/// Copies the database into a folder under a name that says its version and the moment.
///
/// # Errors
/// The copy cannot be made or does not hold together; what was begun of it is removed.
pub async fn copy_into(url: &str, folder: &Path, version: i64) -> Result<PathBuf> {
    let kind = if url.starts_with("sqlite:") { "db" } else { "dump" };
    let name = format!("permesso-{version:04}-{}.{kind}", Utc::now().format("%Y%m%dT%H%M%SZ"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| Error::Folder(folder.display().to_string(), e))?;
    let path = folder.join(name);
    copy_to(url, &path).await?;
    Ok(path)
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
        let mut copy = SqliteConnectOptions::new().filename(to).read_only(true).connect().await?;
        let sound: String = sqlx::query_scalar("PRAGMA quick_check").fetch_one(&mut copy).await?;
        copy.close().await?;
        Ok::<String, sqlx::Error>(sound)
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

async fn postgres(url: &str, to: &Path) -> std::result::Result<(), Failure> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| ("the database's address cannot be read".to_owned(), "write postgres://user@host/name"))?;
    let host = options.get_socket().map_or_else(|| options.get_host().into(), |socket| socket.as_os_str().to_owned());
    let mut dump = Command::new("pg_dump");
    dump.args(["--format=custom", "--no-password", "--file"]).arg(to);
    // By the environment: the command line is everybody's to read.
    dump.env("PGHOST", host).env("PGPORT", options.get_port().to_string()).env("PGUSER", options.get_username());
    dump.env("PGDATABASE", options.get_database().unwrap_or(options.get_username()));
    dump.env(
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
            dump.env("PGPASSWORD", password);
        }
        for (key, value) in url.query_pairs().filter(|(key, _)| key == "sslrootcert") {
            dump.env(key.to_uppercase().replacen("SSL", "PGSSL", 1), value.as_ref());
        }
    }
    let done = dump.output().await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => (
            "there is no pg_dump".to_owned(),
            "install postgresql-client of the server's version, and put its pg_dump on the PATH",
        ),
        _ => (error.to_string(), ROOM),
    })?;
    match done.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&done.stderr).trim().replace('\n', "; ");
            Err((format!("pg_dump: {said}"), "mend what pg_dump names; it must be of the server's version or newer"))
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
