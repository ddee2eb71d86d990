//! Whether the key file is the one that the database was written with, and the controller the one under whom. Numbers are known by keyed
//! hashes, and every key in the database begins with `controller.id`: with another of either everybody would be a stranger, and people who
//! said no would be asked.

use anyhow::{Context, Result, bail};

use crate::config::Config;
use crate::store::{Store, keys};
use crate::vault::Vault;

/// What to do about a key that is not there.
pub const REMEDY: &str = "put the copy of permesso.key back that belongs to this database, or name the right database";

/// Lets only the database's own keys open it, and remembers new ones.
///
/// # Errors
/// A key is missing or another one than the database was written with.
pub async fn fit(store: &Store, vault: &Vault) -> Result<()> {
    let ours = vault.proofs();
    let mut tx = store.read().await?;
    let mut known = keys::proofs(&mut tx).await?;
    if known.is_empty() {
        // An earlier version kept no proofs, but what it encrypted is one.
        for (number,) in keys::some_numbers(&mut tx).await? {
            vault.decrypt_number(&number).with_context(|| other("a number in the database cannot be read with it"))?;
        }
    }
    tx.rollback().await?;
    if ours.iter().any(|(id, _)| !known.iter().any(|(k, _)| k == id)) {
        let mut tx = store.write().await?;
        keys::add_proofs(&mut tx, &ours).await?;
        known = keys::proofs(&mut tx).await?;
        if let Err(error) = compare(&known, &ours) {
            tx.rollback().await?;
            return Err(error);
        }
        tx.commit().await?;
    }
    compare(&known, &ours)
}

/// Lets only the controller open a database under whom it was written.
///
/// # Errors
/// It holds somebody, under another id than the settings name.
pub async fn belongs(store: &Store, config: &Config) -> Result<()> {
    let mut tx = store.read().await?;
    let owner = keys::owner(&mut tx).await?;
    tx.rollback().await?;
    let own = &config.controller.id;
    match owner.filter(|owner| owner != own) {
        None => Ok(()),
        Some(owner) => bail!(
            "{}: controller.id is \"{own}\", and the database was written under \"{owner}\": nobody in it would be known again; remedy: write \
             controller.id = \"{owner}\" again, or name the right database",
            config.dir.join("permesso.toml").display()
        ),
    }
}

fn compare(known: &[(i64, String)], ours: &[(i64, String)]) -> Result<()> {
    for (id, proof) in known {
        match ours.iter().find(|(k, _)| k == id) {
            Some((_, own)) if own == proof => {}
            Some(_) => bail!("{}", other(&format!("key {id} is another one"))),
            None => bail!("{}", other(&format!("key {id} is missing from it"))),
        }
    }
    Ok(())
}

fn other(what: &str) -> String {
    format!(
        "this is not the key file that the database was written with ({what}): nobody in it would be known again; remedy: {REMEDY}"
    )
}

/// Whether a database may be given a new key: nobody is in it.
///
/// # Errors
/// Somebody is, and their key is gone.
pub async fn may_be_made(store: &Store) -> Result<()> {
    let mut tx = store.read().await?;
    let used = keys::is_in_use(&mut tx).await? || !keys::proofs(&mut tx).await?.is_empty();
    tx.rollback().await?;
    if used {
        bail!("the database holds people or noes, and the key file they were written with is not here; remedy: {REMEDY}");
    }
    Ok(())
}
