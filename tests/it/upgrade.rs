//! A database of permesso 0.1 (migration 0001), in the middle of a campaign, is backed up, migrated and goes on. Its rows stand in
//! tests/data/0.1, written by that version; the key beside them opens nothing else.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use permesso::clock::Clock;
use permesso::domain::campaign::CampaignState;
use permesso::engine::{notify, plan, recover, report, verify};
use permesso::store::{Store, backup, migrations};
use sqlx::migrate::Migrator;
use sqlx::{PgPool, SqlitePool};

use crate::app::{Kind, LINK, REPLY_NUMBER, TestApp, write_config};
use crate::run::{ask, permesso};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/0.1");

/// One hour and a minute after the morning on which the fixture's asks went out.
const THEN: &str = "2026-12-01T10:46:00Z";

/// A folder with configuration, key and database as 0.1 left them.
async fn left_by_0_1(kind: Kind) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let database = match kind {
        Kind::Sqlite => format!("sqlite:{}", dir.path().join("permesso.db").display()),
        Kind::Postgres => crate::postgres::empty().await,
    };
    let config = write_config(dir.path(), 1, 2, 3, &database);
    let key = config.join("permesso.key");
    std::fs::copy(format!("{DATA}/permesso.key"), &key).expect("the key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("private");

    let (dialect, first) = match kind {
        Kind::Sqlite => ("sqlite", dir.path().join("first")),
        Kind::Postgres => ("postgres", dir.path().join("first")),
    };
    std::fs::create_dir(&first).expect("a folder");
    let migration = format!("{}/migrations/{dialect}/0001_first.sql", env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(migration, first.join("0001_first.sql")).expect("the first migration");
    let migrator = Migrator::new(first).await.expect("read");
    let rows = std::fs::read_to_string(format!("{DATA}/rows.sql")).expect("the rows");
    match kind {
        Kind::Sqlite => {
            let options =
                sqlx::sqlite::SqliteConnectOptions::new().filename(&database["sqlite:".len()..]).create_if_missing(true);
            let pool = SqlitePool::connect_with(options).await.expect("opened");
            migrator.run(&pool).await.expect("migrated");
            sqlx::raw_sql(sqlx::AssertSqlSafe(rows)).execute(&pool).await.expect("filled");
            pool.close().await;
        }
        Kind::Postgres => {
            let pool = PgPool::connect(&database).await.expect("opened");
            migrator.run(&pool).await.expect("migrated");
            sqlx::raw_sql(sqlx::AssertSqlSafe(rows)).execute(&pool).await.expect("filled");
            // The rows brought their ids along.
            let sequences =
                "DO $$ DECLARE t RECORD; BEGIN FOR t IN SELECT table_name, column_name FROM information_schema.columns
                WHERE table_schema = 'public' AND is_identity = 'YES' LOOP
                EXECUTE format('SELECT setval(pg_get_serial_sequence(%L, %L), (SELECT COALESCE(MAX(%I), 0) + 1 FROM %I), false)',
                t.table_name, t.column_name, t.column_name, t.table_name); END LOOP; END $$";
            sqlx::raw_sql(sequences).execute(&pool).await.expect("counted on");
            pool.close().await;
        }
    }
    (dir, database)
}

/// The one file in the folder of backups.
fn only_backup(kind: Kind, dir: &Path) -> PathBuf {
    let folder = if kind == Kind::Sqlite { dir.join("backups") } else { dir.join("data/backups") };
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).expect("read").map(|f| f.expect("an entry").path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(mode(&files[0]), 0o600);
    files.pop().expect("one")
}

async fn a_database_of_the_earlier_schema_is_backed_up_migrated_and_goes_on(kind: Kind) {
    let (dir, database) = left_by_0_1(kind).await;
    let asked_before = [1, 2, 3, 5, 7, 9, 12, 14, 15, 16, 19, 20, 21];
    for command in [["campaign", "report", LINK].as_slice(), &["run"]] {
        let (code, _, err) = ask(dir.path(), command).await;
        assert!(code == 1 && err.contains("older than this permesso") && err.contains("`permesso db migrate`"), "{err}");
    }
    let (code, out, err) = ask(dir.path(), &["db", "migrate"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("backed up to") && out.contains("permesso-0001-") && out.contains("from migration 1 to"), "{out}");
    let copy = only_backup(kind, dir.path());
    let (code, out, _) = ask(dir.path(), &["--json", "db", "migrate"]).await;
    let again: serde_json::Value = serde_json::from_str(&out).expect("one JSON object");
    assert_eq!((code, &again["backup"], again["from"] == again["to"]), (0, &serde_json::Value::Null, true));
    assert_eq!(only_backup(kind, dir.path()), copy, "nothing to migrate, nothing to back up");

    let clock = Clock::manual(THEN.parse().expect("a time"));
    let mut app = TestApp::on(kind, clock, dir, &database).await;
    let app = &mut app;
    assert_eq!(verify::ledger(&app.engine).await.expect("verified").1, Vec::<String>::new());
    let before = report::campaign(&app.engine, LINK).await.expect("a report");
    assert_eq!((before.targeted, before.eligible, before.unknown), (24, 21, 1));
    assert_eq!(
        (before.confirmed, before.pending, before.refused, before.stopped, before.wrong_person),
        (1, 1, 1, 1, 1),
        "{before:?}"
    );
    crate::reports::adds_up(&before);
    let states = ["accepted", "cancelled", "delivered", "expired", "failed", "lapsed", "planned", "read", "sending", "sent"];
    assert!(states.iter().all(|s| before.asks.contains_key(*s)), "{:?}", before.asks);

    // Whatever was in flight when the old worker died is unknown now.
    let found = recover::at_start(&app.engine).await.expect("recovered");
    assert_eq!(found.abandoned, 1);
    // The pending person completes the second step; the reply of a stopped one changes nothing.
    assert!(app.granted(&TestApp::it(2)).await.is_empty());
    app.reply(&TestApp::it(2), REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&TestApp::it(2)).await, ["sms.product_info", "sms.promotions"]);
    app.reply(&TestApp::it(3), REPLY_NUMBER, "SI").await;
    assert!(app.granted(&TestApp::it(3)).await.is_empty());
    // The ramp-up ends: what was planned goes out, to whoever is left.
    plan::set_state(&app.engine, LINK, CampaignState::Running).await.expect("resumed");
    app.deliver().await;
    app.gateway.idle().await;
    let now_asked: Vec<u32> = (1..=60).filter(|n| app.asks(&TestApp::it(*n)) > 0).collect();
    assert_eq!(now_asked, [8, 11, 17, 18], "those planned, and nobody asked before");
    assert!(now_asked.iter().all(|n| app.asks(&TestApp::it(*n)) == 1 && !asked_before.contains(n)));
    // Nor by a new campaign, nor those who said no on a list.
    app.people(&(1..=21).chain([30, 40, 41, 50]).map(TestApp::it).collect::<Vec<_>>()).await;
    app.plan_as(LINK, |c| c.name = "again".into()).await;
    app.deliver().await;
    app.gateway.idle().await;
    let twice: Vec<u32> = (1..=60).filter(|n| app.asks(&TestApp::it(*n)) > usize::from(now_asked.contains(n))).collect();
    assert_eq!(twice, [4], "the lapsed ask was never sent, so this person alone may be asked");
    let after = report::campaign(&app.engine, LINK).await.expect("a report");
    crate::reports::adds_up(&after);
    assert_eq!((after.targeted, after.confirmed, after.pending, after.unknown), (24, 2, 0, 2), "{after:?}");
    assert_eq!(verify::ledger(&app.engine).await.expect("verified").1, Vec::<String>::new());
    assert!(notify::sweep(&app.engine).await.is_ok(), "the tables that came later are there");
    app.end().await;
}

#[tokio::test]
async fn a_database_of_the_earlier_schema_goes_on_sqlite() {
    a_database_of_the_earlier_schema_is_backed_up_migrated_and_goes_on(Kind::Sqlite).await;
}

#[tokio::test]
async fn a_database_of_the_earlier_schema_goes_on_postgres() {
    a_database_of_the_earlier_schema_is_backed_up_migrated_and_goes_on(Kind::Postgres).await;
}

#[tokio::test]
async fn the_backup_is_the_whole_database_and_can_be_gone_back_to() {
    let (dir, database) = left_by_0_1(Kind::Sqlite).await;
    let copy = backup::copy_into(&database, &dir.path().join("copies"), 1).await.expect("copied");
    assert_eq!(migrations::version(&format!("sqlite:{}", copy.display())).await.expect("a version"), 1);
    let pool = SqlitePool::connect(&format!("sqlite:{}", copy.display())).await.expect("opened");
    for (table, rows) in [("ledger", 7), ("messages", 26), ("suppressions", 8), ("evidence", 7)] {
        let count: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"))).fetch_one(&pool).await.unwrap();
        assert_eq!(count, rows, "{table}");
    }
    let refused = sqlx::query("UPDATE ledger SET at = 1").execute(&pool).await.expect_err("triggers are copied too");
    assert!(refused.to_string().contains("append-only"));
    pool.close().await;
    let error = backup::copy_to(&database, &copy).await.expect_err("a file that is there is not written over").to_string();
    assert!(error.contains("exists") && error.contains("nothing was changed"), "{error}");

    let (code, out, err) =
        ask(dir.path(), &["db", "backup", "--to", dir.path().join("by-hand.db").to_str().expect("text")]).await;
    assert!(code == 0 && out.contains("by-hand.db"), "{err}");
    assert_eq!(ask(dir.path(), &["db", "backup"]).await.0, 0);
    only_backup(Kind::Sqlite, dir.path());
}

#[tokio::test]
async fn without_a_backup_nothing_is_migrated() {
    let (dir, database) = left_by_0_1(Kind::Sqlite).await;
    // Where the folder of backups should be there is a file.
    std::fs::write(dir.path().join("backups"), "in the way").expect("written");
    let (code, _, err) = ask(dir.path(), &["db", "migrate"]).await;
    assert!(code == 1 && err.contains("backups"), "{err}");
    assert_eq!(migrations::version(&database).await.expect("a version"), 1);
    assert_eq!(ask(dir.path(), &["init"]).await.0, 1, "init neither");
    let (code, out, err) = ask(dir.path(), &["db", "migrate", "--no-backup"]).await;
    assert!(code == 0 && !out.contains("backed up"), "{err}");
    Store::open(&database).await.expect("migrated").close().await;
    let again = migrations::upgrade(&database, None).await.expect("nothing to do");
    assert!(again.from == Some(again.to) && again.to > 1 && again.backup.is_none(), "{again:?}");
}

#[tokio::test]
async fn postgres_is_backed_up_by_pg_dump_which_gets_the_password_unseen() {
    let (dir, database) = left_by_0_1(Kind::Postgres).await;
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    let with_password = database.replace("app@", "app:s%2Bcret@");
    let migrate = |path: &str| {
        let out = permesso(dir.path())
            .args(["db", "migrate"])
            .env("PERMESSO_DATABASE", &with_password)
            .env("PATH", path)
            .output()
            .expect("permesso");
        (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, err) = migrate(bin.to_str().expect("text"));
    assert!(code == 1 && err.contains("there is no pg_dump") && err.contains("--no-backup"), "{err}");
    let fake = |script: &str| {
        std::fs::write(bin.join("pg_dump"), format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(bin.join("pg_dump"), std::fs::Permissions::from_mode(0o755)).expect("executable");
    };
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    fake("echo 'server version mismatch' >&2; exit 1");
    let (code, err) = migrate(&path);
    assert!(code == 1 && err.contains("server version mismatch") && err.contains("nothing was changed"), "{err}");
    assert_eq!(migrations::version(&database).await.expect("a version"), 1);
    let folder = dir.path().join("data/backups");
    assert_eq!(std::fs::read_dir(&folder).expect("read").count(), 0, "no half of a backup stays");

    let seen = dir.path().join("seen");
    fake(&format!(
        "echo \"$@\" >'{0}'; echo \"$PGPASSWORD\" >>'{0}'; PATH='{1}' exec pg_dump \"$@\"",
        seen.display(),
        std::env::var("PATH").unwrap_or_default()
    ));
    let (code, err) = migrate(&path);
    assert_eq!(code, 0, "{err}");
    let seen = std::fs::read_to_string(seen).expect("seen");
    let (arguments, password) = seen.trim().split_once('\n').expect("two lines");
    assert!(!arguments.contains("cret") && !arguments.contains("postgres://"), "{arguments}");
    assert_eq!(password, "s+cret");
    let copy = only_backup(Kind::Postgres, dir.path());
    let listed = std::process::Command::new("pg_restore").arg("--list").arg(&copy).output().expect("pg_restore");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("TABLE DATA public ledger"), "it can be restored from");
}
