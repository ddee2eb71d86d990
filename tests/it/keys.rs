//! Another key file than the database's own opens nothing, nor does another `controller.id`: with it everybody would be a stranger, and who said
//! no would be asked.

use std::path::Path;

use permesso::store::{Store, keys};

use crate::app::{HEADER, Kind, LINK, TestApp, write_config};
use crate::run::ask;

const COPY: &str = "; remedy: put the copy of permesso.key";

/// A folder with a database in which one person may be asked and one said no.
async fn folder(kind: Kind) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let database = match kind {
        Kind::Sqlite => format!("sqlite:{}", dir.path().join("permesso.db").display()),
        Kind::Postgres => crate::postgres::empty().await,
    };
    write_config(dir.path(), 1, 2, 3, &database);
    done(dir.path(), &["init"]).await;
    let list = dir.path().join("list.csv");
    std::fs::write(&list, format!("{HEADER}{}{}", TestApp::good(&TestApp::it(1)), TestApp::good(&TestApp::it(2))))
        .expect("written");
    done(dir.path(), &["import", "contacts", list.to_str().expect("text")]).await;
    std::fs::write(&list, format!("number\n{}\n", TestApp::it(2))).expect("written");
    done(dir.path(), &["import", "suppressions", list.to_str().expect("text")]).await;
    (dir, database)
}

async fn done(dir: &Path, args: &[&str]) {
    let (code, out, err) = ask(dir, args).await;
    assert_eq!(code, 0, "{args:?}: {out}{err}");
}

/// Every command that opens the database says so, and what the remedy is.
async fn refused(dir: &Path, what: &str, remedy: &str) {
    let list = dir.join("list.csv");
    let list = list.to_str().expect("text");
    for args in [
        &["import", "contacts", list][..],
        &["import", "suppressions", list],
        &["campaign", "plan", LINK],
        &["campaign", "report", LINK],
        &["ledger", "verify"],
        &["run"],
    ] {
        let (code, out, err) = ask(dir, args).await;
        assert!(code == 1 && err.contains(what) && err.contains(remedy), "{args:?}: {out}{err}");
    }
}

async fn only_the_own_key_opens(kind: Kind) {
    let (dir, database) = folder(kind).await;
    let dir = dir.path();
    let key = dir.join("config").join("permesso.key");
    let own = std::fs::read_to_string(&key).expect("the key");

    // It is gone, and nothing makes another one over people.
    std::fs::remove_file(&key).expect("removed");
    let (code, _, err) = ask(dir, &["init"]).await;
    assert!(code == 1 && err.contains("not here") && !key.exists(), "{err}");

    // Somebody makes one all the same.
    permesso::vault::Vault::create(&key).expect("made");
    let other = std::fs::read_to_string(&key).expect("the other key");
    refused(dir, "key 1 is another one", COPY).await;

    // An earlier version kept no proofs; what it encrypted is one.
    let store = Store::open(&database).await.expect("opened");
    let forget = "DELETE FROM vault_keys";
    match &store {
        Store::Sqlite { write, .. } => sqlx::query(forget).execute(write).await.map(drop).expect("forgotten"),
        Store::Postgres { pool, .. } => sqlx::query(forget).execute(pool).await.map(drop).expect("forgotten"),
    }
    refused(dir, "cannot be read with it", COPY).await;

    // The own key beside a new one: a rotation, which is remembered.
    let line = other.lines().last().expect("a line").replacen("1:", "2:", 1);
    std::fs::write(&key, format!("{own}{line}\n")).expect("written");
    done(dir, &["notice", "publish"]).await;
    done(dir, &["campaign", "plan", LINK]).await;
    let mut tx = store.read().await.expect("a transaction");
    assert_eq!(keys::proofs(&mut tx).await.expect("read").iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2]);
    tx.rollback().await.expect("rolled back");
    store.close().await;
    std::fs::write(&key, &own).expect("written");
    refused(dir, "key 2 is missing from it", COPY).await;
}

#[tokio::test]
async fn only_the_own_key_opens_a_database_sqlite() {
    only_the_own_key_opens(Kind::Sqlite).await;
}

#[tokio::test]
async fn only_the_own_key_opens_a_database_postgres() {
    only_the_own_key_opens(Kind::Postgres).await;
}

async fn only_the_own_controller_opens(kind: Kind) {
    let (dir, _) = folder(kind).await;
    let dir = dir.path();
    let settings = dir.join("config").join("permesso.toml");
    let own = std::fs::read_to_string(&settings).expect("the settings");
    let copy = dir.join("copy");
    let copy = copy.to_str().expect("text");
    done(dir, &["db", "backup", "--to", copy]).await;
    std::fs::write(&settings, own.replace("id = \"default\"", "id = \"renamed\"")).expect("written");
    let what = "permesso.toml: controller.id is \"renamed\", and the database was written under \"default\"";
    let remedy = "; remedy: write controller.id = \"default\" again";
    refused(dir, what, remedy).await;
    let kept = dir.join("kept");
    for args in [&["db", "keep", "--to", kept.to_str().expect("text")][..], &["db", "restore", copy]] {
        let (code, out, err) = ask(dir, args).await;
        assert!(code == 1 && err.contains(what) && err.contains(remedy) && !kept.exists(), "{args:?}: {out}{err}");
    }
    std::fs::write(&settings, own).expect("written");
    done(dir, &["notice", "publish"]).await;
    done(dir, &["campaign", "plan", LINK]).await;
}

#[tokio::test]
async fn only_the_own_controller_opens_a_database_sqlite() {
    only_the_own_controller_opens(Kind::Sqlite).await;
}

#[tokio::test]
async fn only_the_own_controller_opens_a_database_postgres() {
    only_the_own_controller_opens(Kind::Postgres).await;
}
