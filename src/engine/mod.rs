//! The verbs, one story a file: import, plan, deliver (claim, outcome), receive, choose, code, confirm, expire, recover. Each takes what it needs
//! from [`Engine`] and writes through a transaction; none knows of HTTP, terminals or the queue's workers.

pub mod answer;
pub mod breakdown;
pub mod budget;
pub mod choose;
mod claim;
pub mod code;
pub mod confirm;
pub mod consents;
pub mod deliver;
pub mod dossier;
mod early;
mod enroll;
pub mod entry;
pub mod erase;
pub mod expire;
pub mod explain;
pub mod finish;
pub mod gateways;
pub mod group;
pub mod hand;
mod hidden;
pub mod history;
pub mod ids;
pub mod import;
pub mod inbox;
pub mod intake;
mod kept;
pub mod keys;
mod late;
mod legs;
pub mod limits;
pub mod mydata;
mod noes;
pub mod notice;
pub mod notify;
pub mod openings;
pub mod outcome;
mod pace;
pub mod plan;
pub mod receipts;
pub mod receive;
pub mod record;
pub mod recover;
pub mod report;
pub mod requests;
pub mod restore;
pub mod retention;
pub mod rights;
pub mod screening;
pub mod seen;
pub mod settle;
pub mod skipped;
pub mod steer;
mod storable;
pub mod table;
pub mod trial;
pub mod verify;
mod waiting;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock::Clock;
use crate::config::{Config, WebhookConfig};
use crate::domain::campaign::Campaign;
use crate::domain::ledger::Body;
use crate::domain::phone::Fiction;
use crate::domain::reply::Classifier;
use crate::domain::webhook::News;
use crate::gateway::Gateway;
use crate::gateway::crm::Receiver;
use crate::store::contacts::Contact;
use crate::store::{self, Store, Tx};
use crate::vault::Vault;

/// Microseconds of the database's clock after which a silent worker is lost and an unheard web role is deaf.
pub const LEASE_DB: i64 = 30_000_000;

/// What every verb may touch.
#[derive(Debug)]
pub struct Engine {
    pub config: Config,
    /// Short for `config.controller.id`: every key begins with it.
    pub controller: String,
    pub store: Store,
    pub vault: Vault,
    pub clock: Clock,
    pub gateways: BTreeMap<String, Arc<dyn Gateway>>,
    /// The company's CRM, once a webhook.
    pub receivers: BTreeMap<String, Receiver>,
    /// Made when the first reply is read: it takes thousands of phrases.
    classifier: OnceLock<Classifier>,
    pub limits: limits::Limits,
    /// Messages this process may have under way, 1 to [`deliver::SLICE`], and what is left of them.
    slice: usize,
    room: tokio::sync::Semaphore,
    /// This process in leases and attempts.
    pub worker: String,
    /// Slices whose outcomes could not be stored yet, see [`outcome::Unstored`].
    unstored: AtomicUsize,
    /// Callbacks that were not taken.
    pub refused: gateways::Refusals,
    /// What gateways told and waits for the next transaction.
    calls: group::Group,
    /// Batches this process is at, and whose they are.
    in_work: Mutex<HashMap<i64, Option<i64>>>,
    /// Revisions are immutable, so they are read once.
    revisions: Mutex<HashMap<i64, Arc<Campaign>>>,
    /// The notice of the settings is known to be published: it stands for good, since the database lets none go.
    notice_stands: AtomicBool,
    /// Hashes of what pages say about the choice, of those known to be published: for good, as well.
    words_published: Mutex<HashSet<String>>,
}

impl Engine {
    pub fn new(
        config: Config,
        store: Store,
        vault: Vault,
        clock: Clock,
        gateways: BTreeMap<String, Arc<dyn Gateway>>,
        receivers: BTreeMap<String, Receiver>,
    ) -> Engine {
        let limits = limits::Limits::new(&config);
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "host".into());
        let worker = format!("{host}-{}-{}", std::process::id(), &crate::vault::token()[..8]);
        Engine {
            controller: config.controller.id.clone(),
            config,
            store,
            vault,
            clock,
            gateways,
            receivers,
            classifier: OnceLock::new(),
            limits,
            slice: deliver::SLICE,
            room: tokio::sync::Semaphore::new(deliver::SLICE),
            worker,
            unstored: AtomicUsize::new(0),
            refused: gateways::Refusals::default(),
            calls: group::Group::default(),
            in_work: Mutex::default(),
            revisions: Mutex::default(),
            notice_stands: AtomicBool::new(false),
            words_published: Mutex::default(),
        }
    }

    /// Lets no more than so many messages be under way, 1 to [`deliver::SLICE`].
    pub fn set_slice(&mut self, messages: usize) {
        self.slice = messages.clamp(1, deliver::SLICE);
        self.room = tokio::sync::Semaphore::new(self.slice);
    }

    /// Waits until what this process has sent is stored, and lets nothing more be sent. Answers how many messages may be unstored still,
    /// after so long.
    pub async fn all_stored(&self, within: Duration) -> usize {
        let Ok(all) = u32::try_from(self.slice) else { return self.slice };
        match tokio::time::timeout(within, self.room.acquire_many(all)).await {
            Ok(Ok(room)) => {
                room.forget();
                0
            }
            _ => self.slice - self.room.available_permits(),
        }
    }

    pub fn classifier(&self) -> &Classifier {
        self.classifier.get_or_init(|| Classifier::new(self.config.phrases.clone()))
    }

    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// The time zone that somebody of this country lives in, as far as it is known: the one stated for them, else the country's first; UTC
    /// where neither is known.
    pub fn zone_of(&self, stated: Option<&str>, country: Option<&str>) -> chrono_tz::Tz {
        let first = || self.config.packs.get(country?)?.zones.first().map(String::as_str);
        stated.or_else(first).and_then(|name| name.parse().ok()).unwrap_or(chrono_tz::Tz::UTC)
    }

    /// Numbers reserved for fiction are let in only where no message can reach a real phone.
    pub fn fiction(&self) -> Fiction {
        self.config.fiction()
    }

    /// The names of the webhooks that want to hear this.
    pub fn told(&self, news: Option<News>) -> Vec<&str> {
        let wants = |w: &&WebhookConfig| news.is_some_and(|news| w.events.contains(&news));
        self.config.webhooks.iter().filter(wants).map(|w| w.name.as_str()).collect()
    }

    /// Appends to the ledger, and tells whoever wants to know.
    async fn append(&self, tx: &mut Tx, body: &Body) -> store::Result<i64> {
        let told = self.told(News::of_entry(body.entry));
        store::ledger::append(tx, &self.vault, &self.controller, body, &told, self.now()).await
    }

    /// The language of texts for this contact: their own, else their country pack's, else ours.
    fn locale_of<'a>(&'a self, contact: &'a Contact) -> &'a str {
        let pack = || Some(self.config.packs.get(contact.country.as_deref()?)?.default_locale.as_str());
        contact.locale.as_deref().or_else(pack).unwrap_or(&self.config.default_locale)
    }

    /// Publishes what a page says about the choice: (hash, name, locale, body), unless it is known to stand there.
    async fn publish_words(&self, tx: &mut Tx, words: (String, String, String, String)) -> Result<()> {
        if self.words_published.lock().expect("no panic while held").contains(&words.0) {
            return Ok(());
        }
        let hash = words.0.clone();
        // What is new may yet be rolled back; what stood there may not.
        if store::ledger::publish_wording(tx, &self.controller, &[words], self.now()).await? == 0 {
            self.words_published.lock().expect("no panic while held").insert(hash);
        }
        Ok(())
    }

    /// The frozen campaign of a revision.
    pub async fn revision(&self, tx: &mut Tx, id: i64) -> Result<Arc<Campaign>> {
        if let Some(known) = self.revisions.lock().expect("no panic while held").get(&id) {
            return Ok(known.clone());
        }
        let body = store::campaigns::revision(tx, id).await?.with_context(|| format!("revision {id} is missing"))?;
        let campaign: Arc<Campaign> = Arc::new(serde_json::from_str(&body).context("a frozen revision cannot be read")?);
        self.revisions.lock().expect("no panic while held").insert(id, campaign.clone());
        Ok(campaign)
    }
}

/// Does a transaction, and again where it met another one head-on: that is all it takes, at most five times.
async fn retried<T, F: Future<Output = Result<T>>>(mut transaction: impl FnMut() -> F) -> Result<T> {
    let mut tries = 0;
    loop {
        let done = transaction().await;
        tries += 1;
        if tries == 6 || !done.as_ref().is_err_and(store::is_deadlock) {
            return done;
        }
    }
}
