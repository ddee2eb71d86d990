//! Any order of what can happen to a few people, against a model that knows the promises and nothing else: whom it lets be asked, whose no
//! it has heard, what only the person's own two acts may grant. In process, on SQLite; `PERMESSO_MODEL_CASES` makes it more.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use permesso::clock::{DAY, MINUTE};
use permesso::domain::campaign::CampaignState;
use permesso::engine::{deliver, expire, plan, recover};
use permesso::gateway::mock::faults::Faults;
use permesso::gateway::mock::protocol::Status;
use permesso::store::messages;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio_util::sync::CancellationToken;

use crate::after::{after, preferences_are_the_ledgers_replay};
use crate::app::{Kind, LINK, MORNING, REPLY_NUMBER, TestApp, field};

const PEOPLE: u32 = 6;

#[derive(Debug, Clone, Copy)]
enum Step {
    Import(u32),
    Plan,
    Deliver,
    /// A send that is under way when the process dies; the next start follows at once.
    Crash,
    /// An orderly end, and a start.
    Restart,
    Pause,
    Resume,
    /// Minutes.
    Wait(u32),
    Says(u32, &'static str),
    /// The page, submitted with a tick or without any.
    Posts(u32, bool),
    Receipt(u32, Status),
    /// Everything the gateway ever told, once more and backwards.
    Storm,
}

fn step() -> impl Strategy<Value = Step> {
    let person = 0..PEOPLE;
    prop_oneof![
        3 => person.clone().prop_map(Step::Import),
        3 => Just(Step::Plan),
        5 => Just(Step::Deliver),
        2 => Just(Step::Crash),
        1 => Just(Step::Restart),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        2 => prop_oneof![Just(1), Just(20), Just(24 * 60), Just(8 * 24 * 60)].prop_map(Step::Wait),
        4 => (person.clone(), prop_oneof![2 => Just("SI"), 1 => Just("STOP"), 1 => Just("no grazie"), 1 => Just("mah, vediamo un po")])
            .prop_map(|(n, text)| Step::Says(n, text)),
        4 => (person.clone(), prop::bool::weighted(0.8)).prop_map(|(n, ticked)| Step::Posts(n, ticked)),
        2 => (person, prop_oneof![Just(Status::Sent), Just(Status::Delivered), Just(Status::Undelivered), Just(Status::Read)])
            .prop_map(|(n, status)| Step::Receipt(n, status)),
        1 => Just(Step::Storm),
    ]
}

/// What the model knows of one person.
#[derive(Debug, Default, Clone)]
struct Person {
    imported: bool,
    /// A first yes that nothing has taken back.
    ticked: bool,
    /// Both acts, and no no since.
    may_be_granted: bool,
    /// A no was heard while no ask had reached the phone: none ever may.
    never: bool,
    /// Said something that is no yes and no no: an operator would have to decide.
    unclear: bool,
    said_no: bool,
}

/// The system beside the model.
struct World {
    app: TestApp,
    people: BTreeMap<u32, Person>,
    paused: bool,
    started: bool,
    /// Sends under way when a process died.
    in_flight: u64,
}

impl World {
    async fn new() -> World {
        let app = TestApp::new(Kind::Sqlite).await;
        let people = (0..PEOPLE).map(|n| (n, Person::default())).collect();
        World { app, people, paused: false, started: false, in_flight: 0 }
    }

    async fn take(&mut self, step: Step) {
        let asks_before = self.asks();
        match step {
            Step::Import(n) => {
                self.app.people(&[TestApp::it(n)]).await;
                self.person(n).imported = true;
            }
            Step::Plan => {
                self.app.plan(LINK).await;
                (self.started, self.paused) = (true, false);
            }
            Step::Deliver => {
                self.app.settle().await;
                if self.paused {
                    assert_eq!(self.asks(), asks_before, "it is paused");
                }
            }
            Step::Crash => self.crash().await,
            Step::Restart => self.restart().await,
            Step::Pause if self.started && !self.paused => {
                plan::set_state(&self.app.engine, LINK, CampaignState::Paused).await.expect("paused");
                self.paused = true;
            }
            Step::Resume if self.paused => {
                plan::set_state(&self.app.engine, LINK, CampaignState::Running).await.expect("resumed");
                self.paused = false;
            }
            // Well before the deadline, after which nobody is asked.
            Step::Wait(minutes) if self.passed() + i64::from(minutes) * MINUTE > 14 * DAY => {}
            Step::Wait(minutes) => {
                self.app.advance(Duration::from_secs(u64::from(minutes) * 60));
                expire::expire(&self.app.engine).await.expect("expired");
            }
            Step::Says(n, text) => {
                let asked = self.app.asks(&TestApp::it(n)) > 0;
                self.app.gateway.reply(&TestApp::it(n), REPLY_NUMBER, text).await;
                let person = self.person(n);
                match text {
                    "SI" => person.may_be_granted |= std::mem::take(&mut person.ticked),
                    "STOP" | "no grazie" => person.says_no(asked),
                    _ => person.unclear = true,
                }
            }
            Step::Posts(n, ticked) => self.posts(n, ticked).await,
            Step::Receipt(n, status) => {
                if let Some(message) = self.app.inbox(&TestApp::it(n)).last() {
                    self.app.gateway.receipt(&message.reference, status).await;
                }
            }
            Step::Storm => {
                let told = self.app.gateway.told_since(0).into_iter().rev().collect::<Vec<_>>();
                assert!(told.is_empty() || self.app.gateway.deliver(told).await);
            }
            Step::Pause | Step::Resume => {}
        }
        self.holds().await;
    }

    fn person(&mut self, n: u32) -> &mut Person {
        self.people.get_mut(&n).expect("one of them")
    }

    /// Microseconds since the beginning.
    fn passed(&self) -> i64 {
        self.app.clock.now() - MORNING.parse::<DateTime<Utc>>().expect("a time").timestamp_micros()
    }

    fn asks(&self) -> usize {
        (0..PEOPLE).map(|n| self.app.asks(&TestApp::it(n))).sum()
    }

    async fn posts(&mut self, n: u32, ticked: bool) {
        let Some(message) = self.app.inbox(&TestApp::it(n)).into_iter().rev().find(|m| m.text.contains("http")) else { return };
        let link =
            message.text.split_whitespace().find(|w| w.starts_with("http")).expect("a link").trim_end_matches('.').to_owned();
        let (_, page) = self.app.get(&link).await;
        let (answer, grants): (_, &[&str]) = if ticked { ("chosen", &["sms.promotions"]) } else { ("none", &[]) };
        if self.app.post(&link, &field(&page, "nonce"), answer, grants).await == 303 {
            match ticked {
                true => self.person(n).ticked = true,
                false => self.person(n).says_no(true),
            }
        }
    }

    /// Dies while its first slice is out, and starts again.
    async fn crash(&mut self) {
        let slow = Faults { slow: 1.0, slow_ms: 400, ..Faults::default() };
        self.app.gateway.set_faults(slow);
        permesso::web::hear_once(&self.app.engine).await.expect("heard");
        let mut tx = self.app.engine.store.read().await.expect("a transaction");
        let due = messages::due_batches(&mut tx, &self.app.engine.controller, self.app.engine.now(), 9).await.expect("batches");
        tx.rollback().await.expect("rolled back");
        if let Some((batch,)) = due.first() {
            let requests = self.app.gateway.stats().requests;
            let stop = CancellationToken::new();
            let sends = deliver::deliver(&self.app.engine, *batch, &stop);
            let dies = async {
                while self.app.gateway.stats().requests == requests {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            // Dropped where it stands.
            tokio::select! {
                _ = sends => {}
                () = dies => {}
            }
            let under_way = self.app.count("SELECT COUNT(*) FROM messages WHERE state = 'sending'").await;
            self.in_flight += u64::try_from(under_way).expect("a count");
        }
        self.app.gateway.set_faults(Faults::default());
        self.restart().await;
    }

    async fn restart(&mut self) {
        self.app.gateway.idle().await;
        self.app.hang_up().await;
        let store = self.app.engine.store.clone();
        self.app.engine = self.app.another().await;
        store.close().await;
        recover::at_start(&self.app.engine).await.expect("recovered");
        self.app.listen().await;
    }

    /// What holds after each step.
    async fn holds(&self) {
        for (n, person) in &self.people {
            let number = TestApp::it(*n);
            let messages = self.app.inbox(&number);
            let of = |kind: &str| messages.iter().filter(|m| m.reference.starts_with(kind)).count();
            assert!(of("ask") <= 1 && of("rem") <= 1, "{n} was asked {} times and reminded {}", of("ask"), of("rem"));
            assert!(of("ask") == 0 || person.imported, "{n} is in no list");
            assert!(of("ask") == 0 || !person.never, "{n} had said no");
            if person.imported {
                let granted = self.app.granted(&number).await;
                assert!(granted.is_empty() || person.may_be_granted, "{n} never said yes twice, and {granted:?} stands");
            }
        }
        preferences_are_the_ledgers_replay(&self.app).await;
    }

    /// Everybody who may be asked is asked in the end, once.
    async fn ends(&mut self) {
        if self.paused {
            self.take(Step::Resume).await;
        }
        for n in 0..PEOPLE {
            self.take(Step::Import(n)).await;
        }
        self.take(Step::Plan).await;
        // In open hours.
        self.app.clock.advance(DAY - self.passed() % DAY);
        for _ in 0..4 {
            self.take(Step::Deliver).await;
            self.take(Step::Wait(20)).await;
        }
        let asks = self.app.count("SELECT COUNT(*) FROM messages WHERE kind = 'ask'").await;
        after(&self.app, usize::try_from(asks).expect("a count"), self.in_flight).await;
        let unknown = self.app.states().await.get("unknown").copied().unwrap_or(0);
        let asked = (0..PEOPLE).filter(|n| self.app.asks(&TestApp::it(*n)) == 1).count();
        let free = self.people.values().filter(|p| !p.said_no && !p.unclear).count();
        assert!(asked as i64 + unknown >= free as i64, "{asked} asked, {unknown} unknown, of {free} who said nothing against it");
        self.app.end().await;
    }
}

impl Person {
    fn says_no(&mut self, asked: bool) {
        (self.ticked, self.may_be_granted, self.said_no) = (false, false, true);
        self.never |= !asked;
    }
}

#[test]
fn whatever_happens_in_whatever_order_the_promises_hold() {
    let cases = std::env::var("PERMESSO_MODEL_CASES").map_or(8, |text| text.parse().expect("a number"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20, ..Config::default() };
    let outcome = TestRunner::new(config).run(&prop::collection::vec(step(), 20..40), |steps| {
        runtime.block_on(async move {
            let mut world = World::new().await;
            for step in steps {
                world.take(step).await;
            }
            world.ends().await;
        });
        Ok::<(), TestCaseError>(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
