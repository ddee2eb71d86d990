//! Figures, and what a process costs.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result};

/// One line of the table.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Figure {
    pub bench: String,
    pub store: String,
    pub unit: &'static str,
    pub value: f64,
    pub ceiling: f64,
    pub ratio: f64,
    /// What the ratio should be: at least, or at most where less is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Figure {
    /// The median of pairs of value and ceiling, by their ratio.
    pub fn of(bench: &str, store: impl ToString, unit: &'static str, pairs: &[(f64, f64)]) -> Figure {
        let mut sorted = pairs.to_vec();
        sorted.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
        let (value, ceiling) = sorted[sorted.len() / 2];
        let ratio = value / ceiling;
        Figure {
            bench: bench.into(),
            store: store.to_string(),
            unit,
            value,
            ceiling,
            ratio,
            target: None,
            more: Default::default(),
        }
    }

    pub fn target(mut self, target: f64) -> Figure {
        self.target = Some(target);
        self
    }

    /// Cost a unit at the largest size against the middle one, with the most memory held at each of (size, cost, megabytes), smallest first.
    pub fn growth(bench: &str, store: impl ToString, unit: &'static str, sizes: [(u32, f64, f64); 3]) -> Figure {
        let [small, middle, large] = sizes;
        let memory: Vec<String> = sizes.iter().map(|(size, _, peak)| format!("{peak} at {size}")).collect();
        Figure::of(bench, store, unit, &[(large.1, middle.1)])
            .target(1.2)
            .with("at_the_smallest", (small.1 * 10.0).round() / 10.0)
            .with("peak_mb", memory.join(", "))
    }

    pub fn with(mut self, name: &str, value: impl serde::Serialize) -> Figure {
        self.more.insert(name.into(), serde_json::to_value(value).unwrap_or_default());
        self
    }
}

pub fn print(figures: &[Figure]) {
    println!("\n{:<16} {:<9} {:>12} {:>12} {:>7} {:>7}  unit", "bench", "store", "value", "ceiling", "ratio", "target");
    for f in figures {
        let target = f.target.map_or_else(|| "-".to_owned(), |t| format!("{t:.2}"));
        let more: String = f.more.iter().map(|(name, value)| format!("  {name} {value}")).collect();
        println!(
            "{:<16} {:<9} {:>12.1} {:>12.1} {:>7.3} {target:>7}  {}{more}",
            f.bench, f.store, f.value, f.ceiling, f.ratio, f.unit
        );
    }
    println!();
    for f in figures {
        println!("{}", serde_json::to_string(f).unwrap_or_default());
    }
}

/// Seconds it took.
pub async fn timed<T>(what: impl Future<Output = Result<T>>) -> Result<(f64, T)> {
    let begin = Instant::now();
    let done = what.await?;
    Ok((begin.elapsed().as_secs_f64(), done))
}

/// Processor seconds this process has used: user and system time, in hundredths as Linux counts them.
pub fn cpu() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit_once(')').context("an odd /proc/self/stat")?.1;
    let ticks: Vec<f64> = after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// The most memory this process has held since the last call, megabytes (proc(5): `clear_refs` 5 makes Linux count anew).
pub fn peak() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    std::fs::write("/proc/self/clear_refs", "5")?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).context("an odd /proc/self/status")?;
    let kilobytes: f64 = line.split_whitespace().nth(1).context("an odd VmHWM")?.parse()?;
    Ok((kilobytes / 1024.0).round())
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What each statement took, for `--statements`: where the time of a store goes.
#[derive(Debug, Clone, Default)]
pub struct Statements(Arc<Mutex<HashMap<String, Cost>>>);

#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    calls: u64,
    seconds: f64,
    rows: u64,
}

impl Statements {
    /// Prints the dearest since the last call and forgets them.
    pub fn print(&self, units: u32) {
        let all = std::mem::take(&mut *self.0.lock().expect("no panic while held"));
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
        let total: f64 = all.iter().map(|(_, cost)| cost.seconds).sum();
        eprintln!("  µs a unit, calls, rows, statement; {:.1} µs together", total * 1e6 / f64::from(units));
        for (sql, Cost { calls, seconds, rows }) in all.into_iter().take(30) {
            let sql: String = sql.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(110).collect();
            eprintln!("  {:8.2} {calls:7} {rows:8}  {sql}", seconds * 1e6 / f64::from(units));
        }
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Statements {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        let sql = if seen.sql.is_empty() { seen.summary } else { seen.sql };
        let mut all = self.0.lock().expect("no panic while held");
        let entry = all.entry(sql).or_default();
        entry.calls += 1;
        entry.seconds += seen.seconds;
        entry.rows += seen.rows;
    }
}

#[derive(Default)]
struct Seen {
    sql: String,
    summary: String,
    seconds: f64,
    rows: u64,
}

impl tracing::field::Visit for Seen {
    fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        match field.name() {
            "db.statement" => value.clone_into(&mut self.sql),
            "summary" => value.clone_into(&mut self.summary),
            _ => {}
        }
    }

    fn record_f64(&mut self, field: &tracing::field::Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.seconds = value;
        }
    }

    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        if matches!(field.name(), "rows_returned" | "rows_affected") {
            self.rows += value;
        }
    }
}
