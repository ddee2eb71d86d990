//! One binary of black-box stories. Each runs on a real SQLite file and on a real Postgres that the suite starts by itself,
//! with the mock gateway over real HTTP and the clock in the test's hand.

mod after;
mod alike;
mod app;
mod back;
mod between;
mod browser;
mod chromium;
mod code;
mod consents;
mod contract;
mod crash;
mod crm;
mod decide;
mod desk;
mod durable;
mod entry;
mod erasure;
mod faults;
mod gateways;
mod handed;
mod humans;
mod intake;
mod keys;
mod legs;
mod lists;
mod model;
mod mydata;
mod noes;
mod notices;
mod outage;
mod packs;
mod page;
mod plans;
mod postgres;
mod preview;
mod promises;
mod proxy;
mod races;
mod replies;
mod reports;
mod restart;
mod restore;
mod retention;
mod rights;
mod run;
mod scans;
mod several;
mod shield;
mod stories;
mod times;
mod together;
mod turns;
mod undecided;
mod upgrade;
mod watched;
mod why;
mod words;
mod yes;

/// For `postgres.rs`: these clusters live no longer than their tests.
pub const FSYNC: &str = "off";

/// One story, on both stores.
#[macro_export]
macro_rules! both {
    ($(#[$meta:meta])* $name:ident, |$app:ident| $body:block) => {
        mod $name {
            use super::*;
            $(#[$meta])*
            async fn story($app: &mut TestApp) $body
            #[tokio::test]
            async fn sqlite() {
                let mut app = TestApp::new($crate::app::Kind::Sqlite).await;
                story(&mut app).await;
                app.end().await;
            }
            #[tokio::test]
            async fn postgres() {
                let mut app = TestApp::new($crate::app::Kind::Postgres).await;
                story(&mut app).await;
                app.end().await;
            }
        }
    };
}
