//! `init`: a configuration folder that works with the mock gateway, a key, a database.

use anyhow::{Context as _, Result};

use super::Context;
use crate::domain::plural::counted;
use crate::engine::keys;
use crate::store::{Store, migrations};
use crate::vault::Vault;

/// The files that ship, as they are in the repository.
pub const FILES: [(&str, &str); 20] = [
    ("permesso.toml", include_str!("../../config/permesso.toml")),
    ("prices.toml", include_str!("../../config/prices.toml")),
    ("sample-list.csv", include_str!("../../config/sample-list.csv")),
    ("campaigns/rinnovo-consensi.toml", include_str!("../../config/campaigns/rinnovo-consensi.toml")),
    ("campaigns/renew-consents.toml", include_str!("../../config/campaigns/renew-consents.toml")),
    ("campaigns/einwilligung.toml", include_str!("../../config/campaigns/einwilligung.toml")),
    ("campaigns/whatsapp-first.toml", include_str!("../../config/campaigns/whatsapp-first.toml")),
    ("forms/newsletter.toml", include_str!("../../config/forms/newsletter.toml")),
    ("countries/it.toml", include_str!("../../config/countries/it.toml")),
    ("countries/pl.toml", include_str!("../../config/countries/pl.toml")),
    ("countries/de.toml", include_str!("../../config/countries/de.toml")),
    ("countries/fr.toml", include_str!("../../config/countries/fr.toml")),
    ("countries/es.toml", include_str!("../../config/countries/es.toml")),
    ("countries/uk.toml", include_str!("../../config/countries/uk.toml")),
    ("replies/it.toml", include_str!("../../config/replies/it.toml")),
    ("replies/en.toml", include_str!("../../config/replies/en.toml")),
    ("replies/pl.toml", include_str!("../../config/replies/pl.toml")),
    ("replies/de.toml", include_str!("../../config/replies/de.toml")),
    ("replies/fr.toml", include_str!("../../config/replies/fr.toml")),
    ("replies/es.toml", include_str!("../../config/replies/es.toml")),
];

const ELSEWHERE: &str = "choose a folder that you may write, as in `permesso --config acme init`";

pub async fn run(context: &Context) -> Result<()> {
    let dir = &context.dir;
    let mut written = 0;
    for (name, text) in FILES {
        let path = dir.join(name);
        // What is there was written by somebody.
        if path.exists() || (name != "permesso.toml" && dir.join("permesso.toml").exists() && written == 0) {
            continue;
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}; remedy: {ELSEWHERE}", folder.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}; remedy: {ELSEWHERE}", path.display()))?;
        written += 1;
    }
    let config = crate::app::load(dir)?;
    // Somebody's older database may be there.
    migrations::upgrade(&config.database, Some(&super::database::backups(&config))).await?;
    if config.key_file.exists() {
        println!("kept the key {}", config.key_file.display());
    } else {
        let store = Store::open(&config.database).await?;
        keys::may_be_made(&store).await?;
        store.close().await;
        Vault::create(&config.key_file)?;
        println!("made the key {} (back it up apart from the database)", config.key_file.display());
    }
    println!("{} written to {}, database ready", counted(written, "file", "files"), dir.display());
    println!(
        "next: your names in {}, or first an afternoon with the sample list: README.md, \"Your first afternoon\"",
        dir.join("permesso.toml").display()
    );
    Ok(())
}
