//! How fast: one governor a gateway, a sender and a campaign, inside this process. A message needs a permit of each
//! before it is claimed, so what is claimed can leave at once.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::Config;

/// How long a slice may wait for permits before it takes what it has.
const GATHER: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub struct Limits {
    clock: DefaultClock,
    fixed: HashMap<String, Arc<DefaultDirectRateLimiter>>,
    campaigns: Mutex<HashMap<i64, (u64, Arc<DefaultDirectRateLimiter>)>>,
}

impl Limits {
    pub fn new(config: &Config) -> Limits {
        let mut fixed = HashMap::new();
        for gateway in &config.gateways {
            fixed.insert(format!("gateway {}", gateway.name()), limiter(gateway.rate));
        }
        for sender in &config.senders {
            fixed.insert(format!("sender {}", sender.id), limiter(sender.rate));
        }
        Limits { clock: DefaultClock::default(), fixed, campaigns: Mutex::default() }
    }

    /// Waits up to a quarter of a second for permits and answers how many there are, at most `wanted`.
    pub async fn permits(&self, gateway: &str, sender: &str, campaign: Option<(i64, f64)>, wanted: usize) -> usize {
        let mut limiters: Vec<Arc<DefaultDirectRateLimiter>> = Vec::with_capacity(3);
        limiters.extend(self.fixed.get(&format!("gateway {gateway}")).cloned());
        limiters.extend(self.fixed.get(&format!("sender {sender}")).cloned());
        if let Some((id, rate)) = campaign {
            let mut campaigns = self.campaigns.lock().expect("no panic while held");
            let entry = campaigns.entry(id).or_insert_with(|| (rate.to_bits(), limiter(rate)));
            if entry.0 != rate.to_bits() {
                *entry = (rate.to_bits(), limiter(rate));
            }
            limiters.push(entry.1.clone());
        }
        let until = Instant::now() + GATHER;
        let mut granted = 0;
        'next: while granted < wanted {
            for limiter in &limiters {
                while let Err(not_until) = limiter.check() {
                    let wait = not_until.wait_time_from(self.clock.now());
                    if Instant::now() + wait > until {
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

/// `rate` messages a second, at most a quarter of a second's worth at once.
fn limiter(rate: f64) -> Arc<DefaultDirectRateLimiter> {
    let period = Duration::from_secs_f64(1.0 / rate.clamp(0.001, 1_000_000.0));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a u32 holds")]
    let burst = NonZeroU32::new((rate / 4.0).clamp(1.0, 100_000.0) as u32).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::with_period(period).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN)).allow_burst(burst);
    Arc::new(RateLimiter::direct(quota))
}
