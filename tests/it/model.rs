//! A model of the promises and a random life beside it: people are imported, asked, answer, change their minds and are erased, the gateway
//! has its moods, callbacks come again, the operator pauses and halts, and workers die at any of their steps. After every act the product must
//! agree with a model that is a page long. A failing life is shortened to its shortest form.
//!
//! `PERMESSO_LIVES` makes it more lives and `PERMESSO_LIVES_SEED` other ones.

use std::collections::BTreeSet;
use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use permesso::clock::DAY;
use permesso::domain::campaign::CampaignState;
use permesso::engine::{expire, plan, recover, steer};
use permesso::gateway::mock::faults::Faults;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::after::after_erasing;
use crate::app::{Kind, LINK, REPLY_NUMBER, TestApp, field};
use crate::crash::{done, in_flight};
use crate::erasure::erase;

const PEOPLE: usize = 10;
/// Two numbers of one human, as the lists say: what one of them says no to holds for the other, and one of them is asked.
const HUMAN: [usize; 2] = [1, 4];
/// Who is on a list and asked where a life begins; the others come later.
const FIRST: usize = 3;
const BOXES: [&str; 3] = ["sms.promotions", "whatsapp.promotions", "call.product_info"];
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
enum Act {
    /// A row of a list, perhaps with a no in it.
    Import {
        who: usize,
        no: bool,
    },
    /// Previewed, started and decided; again with a new revision.
    Plan,
    /// The next person whom nobody has on a list yet comes on one, and is planned.
    Comes,
    Deliver,
    /// Somebody says stop while messages leave.
    DeliverAndStop {
        who: usize,
    },
    /// Somebody comes, or chooses on the page; the worker is gone so many steps later, whatever it was at, and another one takes over.
    Die {
        who: usize,
        steps: u32,
    },
    /// The gateway's mood, and whoever comes next meets it.
    Weather {
        seed: u64,
        kind: usize,
    },
    Says {
        who: usize,
        what: &'static str,
    },
    /// Submits the page with these boxes ticked.
    Chooses {
        who: usize,
        boxes: usize,
    },
    /// Both acts of a consent, one after the other.
    Consents {
        who: usize,
        boxes: usize,
    },
    /// "No to everything" on the page.
    Refuses {
        who: usize,
    },
    /// The last submit of the page once more, as a browser's reload sends it.
    SubmitsAgain {
        who: usize,
    },
    /// Everything that the gateway ever told, once more and backwards.
    ToldAgain,
    /// Somebody comes, and before anything leaves for them the campaign pauses, or everything halts; the worker looks all the same.
    Quiet {
        halt: bool,
    },
    GoOn,
    Wait {
        minutes: u64,
    },
    Erase {
        who: usize,
    },
}

const STOPS: [&str; 3] = ["STOP", "basta, non scrivetemi più", "NO"];
const UNCLEAR: &str = "chi siete? mah";
const WEATHERS: [fn(&mut Faults); 7] = [
    |_| {},
    |f| f.refuse = 0.5,
    |f| f.accept_then_reset = 0.5,
    |f| f.reset_before_accept = 0.5,
    |f| f.server_error = 0.5,
    |f| f.throttle = 0.5,
    |f| (f.duplicate, f.reordered, f.lost) = (0.5, 0.5, 0.2),
];

fn act() -> impl Strategy<Value = Act> {
    let who = || 0..PEOPLE;
    prop_oneof![
        1 => (who(), prop::bool::weighted(0.3)).prop_map(|(who, no)| Act::Import { who, no }),
        1 => Just(Act::Plan),
        3 => Just(Act::Comes),
        5 => Just(Act::Deliver),
        1 => who().prop_map(|who| Act::DeliverAndStop { who }),
        4 => (who(), 1_u32..60).prop_map(|(who, steps)| Act::Die { who, steps }),
        2 => (any::<u64>(), 0..WEATHERS.len()).prop_map(|(seed, kind)| Act::Weather { seed, kind }),
        3 => (who(), select(&STOPS[..])).prop_map(|(who, what)| Act::Says { who, what }),
        2 => who().prop_map(|who| Act::Says { who, what: "SI" }),
        1 => who().prop_map(|who| Act::Says { who, what: UNCLEAR }),
        3 => (who(), 0_usize..8).prop_map(|(who, boxes)| Act::Chooses { who, boxes }),
        5 => (who(), 1_usize..8).prop_map(|(who, boxes)| Act::Consents { who, boxes }),
        1 => who().prop_map(|who| Act::Refuses { who }),
        2 => who().prop_map(|who| Act::SubmitsAgain { who }),
        1 => Just(Act::ToldAgain),
        2 => any::<bool>().prop_map(|halt| Act::Quiet { halt }),
        3 => Just(Act::GoOn),
        4 => select(&[1_u64, 5, 90, 600, 1_500][..]).prop_map(|minutes| Act::Wait { minutes }),
        // What of a human's other number is erased is the stories' to say.
        1 => (0..PEOPLE).prop_filter("one number", |who| !HUMAN.contains(who)).prop_map(|who| Act::Erase { who }),
    ]
}

/// What the promises say about one person.
#[derive(Debug, Default)]
struct Person {
    number: String,
    listed: bool,
    /// Asks and reminders they may have in all, since they answered or said no.
    no_more_than: Option<usize>,
    /// Submits that a confirmation may answer.
    choices: usize,
    /// The first yes, and when it was said.
    chosen: Option<(BTreeSet<&'static str>, i64)>,
    /// Said something that only an operator can read: from then on a yes may have to wait.
    unclear: bool,
    granted: BTreeSet<&'static str>,
    erased: bool,
    /// Link and form of the last submit.
    submitted: Option<(String, Vec<(&'static str, String)>)>,
}

impl Person {
    fn answered(&mut self, asked: usize) {
        self.no_more_than.get_or_insert(asked);
    }

    fn said_no(&mut self, asked: usize) {
        self.answered(asked);
        self.chosen = None;
        self.granted.clear();
    }
}

/// Every number of the human who has this one.
fn selves(who: usize) -> Vec<usize> {
    if HUMAN.contains(&who) { HUMAN.to_vec() } else { vec![who] }
}

struct Life {
    app: TestApp,
    people: Vec<Person>,
    /// Sends whose outcome a dead worker took along.
    in_doubt: u64,
    /// Nothing may be asked now.
    silent: bool,
    campaign: Option<i64>,
}

impl Life {
    async fn new(kind: Kind) -> Life {
        let people = (0..PEOPLE as u32).map(|n| Person { number: TestApp::it(n), ..Person::default() }).collect();
        Life { app: TestApp::new(kind).await, people, in_doubt: 0, silent: false, campaign: None }
    }

    fn with_prefix(&self, who: usize, prefixes: &[&str]) -> usize {
        let inbox = self.app.inbox(&self.people[who].number);
        inbox.iter().filter(|m| prefixes.iter().any(|prefix| m.reference.starts_with(prefix))).count()
    }

    fn asked(&self, who: usize) -> usize {
        self.with_prefix(who, &["ask", "rem"])
    }

    fn said_no(&mut self, who: usize) {
        for who in selves(who) {
            let asked = self.asked(who);
            self.people[who].said_no(asked);
        }
    }

    /// Somebody whom we wrote to, as long as there is one: the others have little to say.
    fn met(&self, who: usize) -> usize {
        let met: Vec<usize> = (0..PEOPLE).filter(|who| self.asked(*who) > 0).collect();
        if met.is_empty() { who } else { met[who % met.len()] }
    }

    fn all_asked(&self) -> usize {
        (0..PEOPLE).map(|who| self.asked(who)).sum()
    }

    /// One act, after which product and model say the same.
    async fn live(&mut self, act: &Act) {
        // Of a no and a yes in one second the no counts; here the later one does.
        self.app.advance(Duration::from_secs(1));
        self.does(act).await;
        self.agree().await;
    }

    async fn does(&mut self, act: &Act) {
        let before = self.all_asked();
        let mut was_silent = self.silent;
        match *act {
            Act::Import { who, no } => self.import(who, no).await,
            Act::Comes => drop(self.comes().await),
            Act::Plan => self.plan().await,
            Act::Deliver => drop(self.app.deliver().await),
            Act::DeliverAndStop { who } => {
                let number = self.people[who].number.clone();
                tokio::join!(self.app.deliver(), self.app.gateway.reply(&number, REPLY_NUMBER, "STOP"));
                self.said_no(who);
            }
            Act::Die { who, steps } => {
                if !self.comes().await {
                    self.chooses(who, 1).await;
                }
                self.die(steps).await;
            }
            Act::Weather { seed, kind } => {
                let mut faults = Faults { seed, ..Faults::default() };
                WEATHERS[kind](&mut faults);
                self.app.gateway.set_faults(faults);
                if self.comes().await {
                    self.app.deliver().await;
                }
            }
            Act::Says { who, what } => self.says(self.met(who), what).await,
            Act::Chooses { who, boxes } => self.chooses(self.met(who), boxes).await,
            Act::Consents { who, boxes } => {
                let who = self.met(who);
                self.chooses(who, boxes).await;
                self.app.advance(MINUTE);
                self.says(who, "SI").await;
            }
            Act::Refuses { who } => {
                let who = self.met(who);
                if self.submits(who, "none", &[]).await {
                    self.said_no(who);
                }
            }
            Act::SubmitsAgain { who } => {
                if let Some((link, form)) = self.people[who].submitted.clone() {
                    self.app.post_form(&link, &form).await;
                }
            }
            Act::ToldAgain => {
                let told = self.app.gateway.told_since(0);
                assert!(told.is_empty() || self.app.gateway.deliver(told.into_iter().rev().collect()).await);
            }
            Act::Quiet { halt } => {
                self.comes().await;
                if halt {
                    steer::halt(&self.app.engine, "ann").await.unwrap();
                    self.silent = true;
                } else {
                    self.silent |= plan::set_state(&self.app.engine, LINK, CampaignState::Paused).await.is_ok();
                }
                self.app.deliver().await;
                was_silent = self.silent;
            }
            Act::GoOn => {
                steer::resume(&self.app.engine, "ann", None).await.unwrap();
                _ = plan::set_state(&self.app.engine, LINK, CampaignState::Running).await;
                self.silent = false;
            }
            Act::Wait { minutes } => {
                self.app.advance(MINUTE * u32::try_from(minutes).unwrap());
                recover::sweep(&self.app.engine).await.unwrap();
                expire::expire(&self.app.engine).await.unwrap();
            }
            Act::Erase { who } => {
                erase(&self.app, &self.people[who].number.clone()).await;
                self.said_no(who);
                self.people[who].erased = true;
            }
        }
        self.app.gateway.idle().await;
        if was_silent && self.silent {
            assert_eq!(self.all_asked(), before, "asked while paused or halted");
        }
    }

    async fn import(&mut self, who: usize, no: bool) {
        let said = if no { "sì" } else { "" };
        let human = if HUMAN.contains(&who) { "H1" } else { "" };
        let row =
            format!("{},,prospect,,web shop,prior_consent,form 1,2026-01-10,unticked,{said},{human},\n", self.people[who].number);
        self.app.import(&row).await;
        self.people[who].listed = true;
        if no {
            self.said_no(who);
        }
    }

    async fn comes(&mut self) -> bool {
        let Some(who) = self.people.iter().position(|p| !p.listed) else { return false };
        self.import(who, false).await;
        self.plan().await;
        true
    }

    async fn plan(&mut self) {
        let mut campaign = self.app.engine.config.campaign(LINK).unwrap();
        campaign.reminder_after_days = Some(1);
        let counts = plan::preview(&self.app.engine, &campaign, |_| {}).await.unwrap();
        let id = plan::save(&self.app.engine, &campaign, &counts).await.unwrap();
        // One that is over does not start again.
        let Ok(started) = plan::start(&self.app.engine, LINK, &id).await else { return };
        self.campaign = Some(started.campaign_id);
        // A new start is the operator's word that it runs.
        if self.app.campaign(started.campaign_id).await.state() != CampaignState::Paused {
            self.silent = false;
        }
        while plan::plan_next(&self.app.engine, started.campaign_id).await.unwrap() {}
    }

    /// The worker is polled so often and then no more: what it had begun is cut where it stood.
    async fn die(&mut self, steps: u32) {
        let dying = self.app.engine.clone();
        {
            let mut working = std::pin::pin!(TestApp::deliver_by(&dying));
            let mut left = steps;
            std::future::poll_fn(|context| {
                if left == 0 {
                    return Poll::Ready(());
                }
                left -= 1;
                working.as_mut().poll(context).map(drop)
            })
            .await;
        }
        self.app.gateway.idle().await;
        self.in_doubt += in_flight(&self.app).await;
        let next = self.app.another().await;
        self.app.hang_up().await;
        self.app.engine = next;
        dying.store.close().await;
        recover::at_start(&self.app.engine).await.unwrap();
        self.app.listen().await;
    }

    async fn says(&mut self, who: usize, what: &'static str) {
        let number = self.people[who].number.clone();
        let before: BTreeSet<String> = self.granted(who).await;
        self.app.gateway.reply(&number, REPLY_NUMBER, what).await;
        if STOPS.contains(&what) {
            return self.said_no(who);
        }
        if what == UNCLEAR {
            for who in selves(who) {
                self.people[who].unclear = true;
            }
        }
        if what != "SI" {
            return;
        }
        let (counted, now) = (self.granted(who).await != before, self.app.clock.now());
        let person = &mut self.people[who];
        // A yes completes what was chosen on the page, and nothing else. It does for certain within a day; when it comes too early or too late
        // is the stories' to say.
        let Some((chosen, at)) = person.chosen.clone() else { return };
        let certain = !person.unclear && (at + 1..at + DAY).contains(&now);
        if counted || certain {
            person.granted = chosen;
            person.chosen = None;
        }
    }

    async fn submits(&mut self, who: usize, answer: &'static str, boxes: &[&'static str]) -> bool {
        let number = self.people[who].number.clone();
        if !self.app.inbox(&number).iter().any(|m| m.text.contains("http")) {
            return false;
        }
        let link = self.app.link(&number);
        let (_, page) = self.app.get(&link).await;
        let mut form = vec![("nonce", field(&page, "nonce")), ("answer", answer.to_owned())];
        form.extend(boxes.iter().map(|b| ("grant", (*b).to_owned())));
        let taken = self.app.post_form(&link, &form).await == 303;
        if taken {
            self.people[who].submitted = Some((link, form));
        }
        taken
    }

    async fn chooses(&mut self, who: usize, boxes: usize) {
        let boxes: Vec<&'static str> = BOXES.iter().enumerate().filter(|(n, _)| boxes & (1 << n) != 0).map(|(_, b)| *b).collect();
        if !self.submits(who, "chosen", &boxes).await {
            return;
        }
        let (asked, now) = (self.asked(who), self.app.clock.now());
        let person = &mut self.people[who];
        person.answered(asked);
        let chosen: BTreeSet<&str> = boxes.into_iter().collect();
        // What is no longer ticked is taken back at once; what is new waits for the second step.
        person.granted.retain(|g| chosen.contains(g));
        if chosen == person.granted {
            person.chosen = None;
        } else {
            person.choices += 1;
            person.chosen = Some((chosen, now));
        }
    }

    async fn granted(&self, who: usize) -> BTreeSet<String> {
        self.app.granted(&self.people[who].number).await.into_iter().collect()
    }

    /// Product and model say the same.
    async fn agree(&self) {
        let stats = self.app.gateway.stats();
        assert_eq!((stats.duplicates, stats.max_per_reference.max(1)), (0, 1), "something left twice");
        for (who, person) in self.people.iter().enumerate() {
            assert!(self.with_prefix(who, &["ask"]) <= 1, "{person:?} was asked twice");
            assert!(self.with_prefix(who, &["rem"]) <= 1, "{person:?} was reminded twice");
            let asked = self.asked(who);
            assert!(person.no_more_than.is_none_or(|most| asked <= most), "{person:?} had answered, and was asked on");
            let human: usize = selves(who).into_iter().map(|who| self.with_prefix(who, &["ask"])).sum();
            assert!(human <= 1, "{person:?} was asked under two numbers");
            let confirmations = self.with_prefix(who, &["cfm"]);
            assert!(confirmations <= person.choices, "{person:?} got a confirmation of nothing");
            let granted: BTreeSet<String> = person.granted.iter().map(|g| (*g).to_owned()).collect();
            assert_eq!(self.granted(who).await, granted, "{person:?}");
        }
    }

    /// The sky clears, the operator goes on, and time passes until nothing is left to do.
    async fn end(mut self) {
        self.app.gateway.set_faults(Faults::default());
        for round in 0..60 {
            self.does(&Act::GoOn).await;
            self.does(&Act::Wait { minutes: if round < 8 { 60 } else { 1_500 } }).await;
            self.does(&Act::Deliver).await;
            if round > 2 && done(&self.app).await {
                break;
            }
        }
        self.agree().await;
        let asks = self.app.count("SELECT COUNT(*) FROM messages WHERE kind = 'ask'").await;
        let stats = self.app.gateway.stats();
        let doubtful = self.in_doubt + stats.accepted_unanswered + stats.dropped_unanswered;
        let erased = self.people.iter().filter(|p| p.erased).map(|p| p.number.clone()).collect();
        after_erasing(&self.app, usize::try_from(asks).unwrap(), doubtful, &erased).await;
        self.app.end().await;
    }
}

fn lives(kind: Kind, by_default: u32) {
    let setting = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u32>().expect("a number"));
    let cases = setting("PERMESSO_LIVES").unwrap_or(by_default);
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&setting("PERMESSO_LIVES_SEED").unwrap_or(1).to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let run = runner.run(&prop::collection::vec(act(), 30..60), |acts| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut life = Life::new(kind).await;
            for who in 0..FIRST {
                life.live(&Act::Import { who, no: false }).await;
            }
            life.live(&Act::Plan).await;
            for act in &acts {
                life.live(act).await;
            }
            life.end().await;
        });
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
}

#[test]
fn any_life_agrees_with_the_model_sqlite() {
    lives(Kind::Sqlite, 8);
}

#[test]
fn any_life_agrees_with_the_model_postgres() {
    lives(Kind::Postgres, 4);
}
