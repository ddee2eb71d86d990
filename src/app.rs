//! Puts the house together: from a configuration folder to an engine, and from an engine to the roles that run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::engine::{Engine, group, keys, recover};
use crate::gateway::crm::Receiver;
use crate::gateway::driver::Tools;
use crate::gateway::{Gateway, Sink, http};
use crate::store::Store;
use crate::vault::Vault;
use crate::{web, worker};

/// The ring provider serves every TLS connection; two providers in one binary would quarrel.
pub fn install_tls() {
    // Already installed is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Opens everything a configuration names.
pub async fn open(dir: &Path, clock: Clock) -> Result<Engine> {
    let config = load(dir)?;
    let vault = Vault::open(&config.key_file)?;
    let store = Store::open(&config.database).await?;
    keys::belongs(&store, &config).await?;
    keys::fit(&store, &vault).await?;
    build(config, vault, store, clock)
}

pub fn load(dir: &Path) -> Result<Config> {
    Ok(Config::load(dir)?)
}

pub fn build(config: Config, vault: Vault, store: Store, clock: Clock) -> Result<Engine> {
    let mut gateways: BTreeMap<String, Arc<dyn Gateway>> = BTreeMap::new();
    let tools = Tools { http: http::pool()?, clock: clock.clone() };
    for gateway in &config.gateways {
        gateways.insert(gateway.name().to_owned(), (gateway.driver.open)(&gateway.account, &tools));
    }
    let mut receivers = BTreeMap::new();
    for webhook in &config.webhooks {
        let timeout = Duration::from_millis(webhook.timeout_ms);
        let receiver = Receiver::new(webhook.url.clone(), webhook.keys.clone(), timeout, clock.clone())?;
        receivers.insert(webhook.name.clone(), receiver);
    }
    Ok(Engine::new(config, store, vault, clock, gateways, receivers))
}

/// What one process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    pub web: bool,
    pub worker: bool,
}

/// Runs the roles until `stop`; the web role hears before the worker role speaks.
pub async fn run(engine: Arc<Engine>, roles: Roles, doors: Option<web::Doors>, stop: CancellationToken) -> Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    if !engine.store.is_durable().await? {
        tracing::warn!(
            "The database commits without syncing (fsync = off, or synchronous_commit = off): what is said, a no too, can be lost with its machine; remedy: both on"
        );
    }
    if roles.web {
        engine.config.check_phrases()?;
        for warning in engine.config.gateways.iter().filter_map(|gateway| gateway.warning()) {
            tracing::warn!("{warning}");
        }
        let doors = match doors {
            Some(doors) => doors,
            None => web::Doors::bind(&engine).await?,
        };
        tracing::info!(public = %doors.public_address()?, operator = %doors.operator_address()?, "Listening");
        recover::beat(&engine).await?;
        tasks.spawn(doors.serve(engine.clone(), stop.clone()));
    }
    if roles.worker {
        // Sessions outlive the worker: what it has sent is answered over them.
        let hung_up = CancellationToken::new();
        tasks.spawn(sessions(engine.clone(), hung_up.clone()).map(Ok));
        tasks.spawn(worker::run(engine.clone(), stop.clone()).inspect(move |_| hung_up.cancel()));
    }
    let mut first = Ok(());
    while let Some(ended) = tasks.join_next().await {
        // One role down takes the process down: half a service would be silent about it.
        stop.cancel();
        let ended = ended.context("a role panicked").and_then(|r| r);
        if first.is_ok() {
            first = ended;
        }
    }
    first
}

/// Keeps the sessions of gateways that are heard over one, until `stop`. They belong to the role that sends: what cannot be heard there
/// cannot be sent either.
pub async fn sessions(engine: Arc<Engine>, stop: CancellationToken) {
    let listening = engine.gateways.iter().filter_map(|(name, gateway)| {
        let (engine, name) = (engine.clone(), name.clone());
        let sink: Sink = Arc::new(move |events| {
            let (engine, name) = (engine.clone(), name.clone());
            async move { group::store(&engine, &name, events).await.map_err(|error| format!("{error:#}")) }.boxed()
        });
        gateway.listen(sink, stop.clone())
    });
    // Where no gateway has one there is nothing to keep, and that ends no process.
    tokio::join!(futures::future::join_all(listening), stop.cancelled());
}
