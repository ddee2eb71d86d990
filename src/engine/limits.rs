//! How fast: a rate each of a gateway, a sender and a campaign. A message needs a permit of each before it is claimed, so what is claimed
//! can leave at once. One process works a SQLite file, and a governor keeps its rates; on Postgres any number of processes lease their
//! permits from rows that they share, so that together they are no faster than one may be.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::Engine;
use crate::config::Config;
use crate::store::rates::{self, Lease, Rate};

/// How long a slice may wait for permits before it takes what it has, and how long permits may wait for their slice. With the burst of
/// as long, no second sees more than its rate and a quarter of it.
const GATHER: Duration = Duration::from_millis(125);

/// Rates by their names, messages a second.
type Wanted = [(String, f64)];

#[derive(Debug)]
pub struct Limits {
    fixed: HashMap<String, f64>,
    clock: DefaultClock,
    governors: Mutex<HashMap<String, (u64, Arc<DefaultDirectRateLimiter>)>>,
}

impl Limits {
    pub fn new(config: &Config) -> Limits {
        let gateways = config.gateways.iter().map(|gateway| (format!("gateway {}", gateway.name()), gateway.rate));
        let senders = config.senders.iter().map(|sender| (format!("sender {}", sender.id), sender.rate));
        Limits { fixed: gateways.chain(senders).collect(), clock: DefaultClock::default(), governors: Mutex::default() }
    }

    fn governor(&self, name: &str, rate: f64) -> Arc<DefaultDirectRateLimiter> {
        let mut governors = self.governors.lock().expect("no panic while held");
        let entry = governors.entry(name.to_owned()).or_insert_with(|| (rate.to_bits(), governor(rate)));
        if entry.0 != rate.to_bits() {
            *entry = (rate.to_bits(), governor(rate));
        }
        entry.1.clone()
    }

    async fn governed(&self, rates: &Wanted, wanted: usize) -> usize {
        let governors: Vec<_> = rates.iter().map(|(name, rate)| self.governor(name, *rate)).collect();
        let until = Instant::now() + GATHER;
        let mut granted = 0;
        'next: while granted < wanted {
            for governor in &governors {
                while let Err(not_until) = governor.check() {
                    let wait = not_until.wait_time_from(self.clock.now());
                    if Instant::now() + wait > until {
                        // At a slow rate the caller asks again, but not all the time.
                        if granted == 0 {
                            tokio::time::sleep(until.saturating_duration_since(Instant::now())).await;
                        }
                        break 'next;
                    }
                    tokio::time::sleep(wait).await;
                }
            }
            granted += 1;
        }
        granted
    }
}

/// So many messages may leave, and soon.
#[derive(Debug)]
pub struct Permits {
    pub count: usize,
    at: Instant,
}

impl Permits {
    /// Those of before and these: as fresh as these.
    pub fn add(&mut self, more: Permits) {
        self.count += more.count;
        self.at = more.at;
    }

    /// Whether a claim took so long that they would leave together with the next ones.
    pub fn are_stale(&self) -> bool {
        self.at.elapsed() > GATHER
    }
}

/// Waits up to an eighth of a second for permits; there are at most `wanted` and may be none.
///
/// # Errors
/// The database is away.
pub async fn permits(
    engine: &Engine,
    gateway: &str,
    sender: &str,
    campaign: Option<(i64, f64)>,
    wanted: usize,
) -> Result<Permits> {
    let rates = rates_of(engine, gateway, sender, campaign);
    let count = match engine.store.is_sqlite() {
        true => engine.limits.governed(&rates, wanted).await,
        false => leased(engine, &rates, wanted).await?,
    };
    Ok(Permits { count, at: Instant::now() })
}

fn rates_of(engine: &Engine, gateway: &str, sender: &str, campaign: Option<(i64, f64)>) -> Vec<(String, f64)> {
    let fixed = [format!("gateway {gateway}"), format!("sender {sender}")];
    let fixed = fixed.into_iter().filter_map(|name| engine.limits.fixed.get(&name).map(|rate| (name.clone(), *rate)));
    fixed.chain(campaign.map(|(id, rate)| (format!("campaign {id}"), rate))).collect()
}

/// The most that one call of [`permits`] gets: a burst, and what becomes free while it waits.
pub fn at_once(engine: &Engine, gateway: &str, sender: &str, campaign: Option<(i64, f64)>) -> usize {
    let rates = rates_of(engine, gateway, sender, campaign);
    rates.into_iter().map(|(_, rate)| 2 * burst(rate).get() as usize).min().unwrap_or(usize::MAX)
}

/// A whole burst, if it comes within the time a slice may wait; else what there is then.
async fn leased(engine: &Engine, rates: &Wanted, wanted: usize) -> Result<usize> {
    let rates: Vec<Rate> = rates.iter().map(|(name, rate)| shared(name, *rate)).collect();
    let wanted = i64::try_from(wanted)?;
    let mut least = rates.iter().map(|rate| rate.burst).min().unwrap_or(wanted).min(wanted);
    loop {
        let mut tx = engine.store.write().await?;
        let free = rates::hold(&mut tx, &engine.controller, &rates).await?;
        // Not before they are held.
        let now = tx.db_now().await?;
        let lease = rates::lease(&mut tx, &engine.controller, &rates, &free, least, wanted, now).await?;
        tx.commit().await?;
        match lease {
            Lease::Permits(permits) => return Ok(usize::try_from(permits)?),
            Lease::NotFor(wait) => tokio::time::sleep(GATHER.min(Duration::from_micros(wait.unsigned_abs()))).await,
        }
        if least == 1 {
            return Ok(0);
        }
        least = 1;
    }
}

/// An eighth of a second's worth, at least one: so many may leave at once.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a u32 holds")]
fn burst(rate: f64) -> NonZeroU32 {
    NonZeroU32::new((rate / 8.0).clamp(1.0, 100_000.0) as u32).unwrap_or(NonZeroU32::MIN)
}

fn governor(rate: f64) -> Arc<DefaultDirectRateLimiter> {
    let period = Duration::from_secs_f64(1.0 / rate.clamp(0.001, 1_000_000.0));
    let quota = Quota::with_period(period).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN)).allow_burst(burst(rate));
    Arc::new(RateLimiter::direct(quota))
}

#[expect(clippy::cast_possible_truncation, reason = "at most 1,000 seconds in microseconds")]
fn shared(name: &str, rate: f64) -> Rate {
    // Rounded up: rather a little slower than a little too fast.
    let period = (1e6 / rate.clamp(0.001, 1_000_000.0)).ceil() as i64;
    Rate { name: name.to_owned(), period, burst: i64::from(burst(rate).get()) }
}
