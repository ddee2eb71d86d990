//! When the last ask leaves: the slowest of the rates, through the windows of every place where people are asked. Windows are
//! walked, not messages, so a million people cost no more than ten. An estimate: retries, breakers and the ramp-up's pause are
//! not in it.

use std::collections::BTreeMap;
use std::ops::Range;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Engine;
use super::openings::Openings;
use crate::clock::{SECOND, instant};
use crate::domain::campaign::Campaign;
use crate::domain::hours::Opening;

/// Faster than any gateway: what would not be ready even so, no rate makes ready.
const FASTEST: f64 = 1_000_000.0;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finish {
    /// Messages a second: the lowest of gateway, sender and campaign.
    pub rate: f64,
    /// When the last ask leaves that leaves at all; none where nobody is asked.
    pub last_ask: Option<DateTime<Utc>>,
    pub time_zone: String,
    /// People for whom the deadline comes first.
    pub lapse: u64,
    /// Messages a second at which nobody's ask would lapse; none where that is so already, or no rate would do.
    pub rate_needed: Option<f64>,
}

/// People of one place, and when they may be written to.
struct Place {
    people: f64,
    windows: Vec<Range<i64>>,
}

/// `places` are people by country and, where it is stated, time zone: `ES Atlantic/Canary` (`plan::Counts`).
pub fn estimate(engine: &Engine, campaign: &Campaign, places: &BTreeMap<String, u64>) -> Finish {
    let mut openings = Openings::default();
    let from = engine.now().max(campaign.start.timestamp_micros());
    let places: Vec<Place> = places
        .iter()
        .map(|(place, people)| {
            let (country, zone) = place.split_once(' ').map_or((place.as_str(), None), |(country, zone)| (country, Some(zone)));
            Place { people: *people as f64, windows: windows(&mut openings, campaign, country, zone, from) }
        })
        .collect();
    let rate = rate(engine, campaign);
    let (last, lapse) = walk(&places, rate);
    let all_at = |rate: f64| walk(&places, rate).1 == 0;
    Finish {
        rate,
        last_ask: last.map(instant),
        time_zone: campaign.time_zone.clone(),
        lapse,
        rate_needed: (lapse > 0 && all_at(FASTEST)).then(|| lowest(rate, all_at)),
    }
}

/// The lowest of the rates that an ask has to pass.
fn rate(engine: &Engine, campaign: &Campaign) -> f64 {
    let of = |ask: &crate::domain::campaign::Ask| {
        let gateway = engine.config.gateways.iter().find(|g| g.name() == ask.sender.gateway).map_or(f64::MAX, |g| g.rate);
        ask.sender.rate.min(gateway)
    };
    campaign.asks.first().map_or(campaign.limits.rate, |ask| campaign.limits.rate.min(of(ask)))
}

fn windows(openings: &mut Openings, campaign: &Campaign, country: &str, zone: Option<&str>, from: i64) -> Vec<Range<i64>> {
    let deadline = campaign.deadline.timestamp_micros();
    let (mut windows, mut at) = (Vec::new(), from);
    while at < deadline {
        match openings.at(campaign, country, zone, at) {
            Opening::Open { until } => {
                let until = until.timestamp_micros();
                windows.push(at..until.min(deadline));
                at = until;
            }
            Opening::Opens { at: opens } => at = opens.timestamp_micros(),
            Opening::Never => break,
        }
    }
    windows
}

/// When the last message leaves at `rate` messages a second, and how many do not. What is open together shares the rate.
fn walk(places: &[Place], rate: f64) -> (Option<i64>, u64) {
    let mut edges: Vec<i64> = places.iter().flat_map(|p| p.windows.iter().flat_map(|w| [w.start, w.end])).collect();
    edges.sort_unstable();
    edges.dedup();
    let mut left: Vec<f64> = places.iter().map(|p| p.people).collect();
    let mut last = None;
    for (from, to) in edges.iter().zip(edges.iter().skip(1)) {
        let open: Vec<usize> =
            (0..places.len()).filter(|i| left[*i] > 0.0 && places[*i].windows.iter().any(|w| w.contains(from))).collect();
        let waiting: f64 = open.iter().map(|i| left[*i]).sum();
        if waiting <= 0.0 {
            continue;
        }
        let room = rate * (to - from) as f64 / SECOND as f64;
        #[expect(clippy::cast_possible_truncation, reason = "less than the window's own microseconds")]
        let taken = (waiting.min(room) / rate * 1000.0).round() as i64 * (SECOND / 1000);
        last = Some(from + taken);
        let stays = 1.0 - (room / waiting).min(1.0);
        open.iter().for_each(|i| left[*i] *= stays);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no more than the people there are")]
    let lapse = left.iter().sum::<f64>().round() as u64;
    (last, lapse)
}

/// The lowest rate above `from` at which `enough`, to a hundredth.
fn lowest(from: f64, enough: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (from, FASTEST);
    while high - low > 1e-6 {
        let middle = f64::midpoint(low, high);
        *(if enough(middle) { &mut high } else { &mut low }) = middle;
    }
    (high * 100.0).ceil() / 100.0
}
