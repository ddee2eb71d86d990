//! The program's clock. Everything that is not a lease takes its time from here, so that a test holds it in its hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeZone, Utc};

#[derive(Debug, Clone)]
pub enum Clock {
    System,
    /// The system's clock moved by so many microseconds: the demo's day always begins in the morning, and its week passes at once.
    Shifted(Arc<AtomicI64>),
    /// Stands still until a test moves it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    pub fn manual(at: DateTime<Utc>) -> Clock {
        Clock::Manual(Arc::new(AtomicI64::new(at.timestamp_micros())))
    }

    /// A running clock that shows `at` now.
    pub fn starting(at: DateTime<Utc>) -> Clock {
        Clock::Shifted(Arc::new(AtomicI64::new(at.timestamp_micros() - Utc::now().timestamp_micros())))
    }

    /// Microseconds UTC.
    pub fn now(&self) -> i64 {
        match self {
            Clock::System => Utc::now().timestamp_micros(),
            Clock::Shifted(by) => Utc::now().timestamp_micros() + by.load(Ordering::SeqCst),
            Clock::Manual(at) => at.load(Ordering::SeqCst),
        }
    }

    pub fn date_time(&self) -> DateTime<Utc> {
        instant(self.now())
    }

    /// Moves a manual or a shifted clock; the system's goes by itself.
    pub fn advance(&self, micros: i64) {
        if let Clock::Manual(at) | Clock::Shifted(at) = self {
            at.fetch_add(micros, Ordering::SeqCst);
        }
    }
}

pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

pub fn instant(micros: i64) -> DateTime<Utc> {
    Utc.timestamp_micros(micros).single().unwrap_or_default()
}
