//! `permesso run` killed by SIGKILL at a random moment of a campaign, while people answer and receipts repeat and overtake each other, and
//! at places with a name. Afterwards everything [`after`] says must hold.
//!
//! `PERMESSO_TRIALS`, `PERMESSO_TRIAL_PEOPLE` and `PERMESSO_TRIAL_SEED` make it more, larger, and the same again; `scripts/endurance` does.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use permesso::clock::Clock;
use permesso::gateway::mock::faults::Faults;
use permesso::store::control;

use crate::after::{Left, after};
use crate::app::{HEADER, Kind, LINK, MORNING, REPLY_NUMBER, TestApp, field};
use crate::run::{Process, ask, spawn, until};

/// SplitMix64: one seed is one trial, as far as two processes allow.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }
}

/// Says on failure how to have the same trials again.
struct Trial {
    kind: Kind,
    seed: u64,
    trials: u64,
    people: u32,
}

impl Drop for Trial {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Trial { kind, seed, trials, people } = self;
            eprintln!("again: PERMESSO_TRIALS={trials} PERMESSO_TRIAL_SEED={seed} PERMESSO_TRIAL_PEOPLE={people}, on {kind:?}");
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// With the doors closed: who listens and sends is up to a process.
pub async fn closed(kind: Kind) -> TestApp {
    let mut app = TestApp::with_clock(kind, Clock::starting(MORNING.parse::<DateTime<Utc>>().expect("a time"))).await;
    app.hang_up().await;
    app
}

/// So many people more, planned and frozen, at eight slices a second for about a second.
pub async fn plan_more(app: &TestApp, before: u32, people: u32) {
    let numbers: Vec<String> = (before..before + people).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.plan_as(LINK, |campaign| campaign.limits.rate = f64::from(people)).await;
    // A worker may be planning as well.
    let all = i64::from(before + people);
    until("everybody is planned", async || app.count("SELECT COUNT(*) FROM messages WHERE kind = 'ask'").await == all).await;
}

/// Until the campaign has run to its end, and everything said in it is answered.
pub async fn run_to_the_end(app: &TestApp) {
    for _ in 0..2 {
        until("everything is out", async || done(app).await).await;
        app.gateway.idle().await;
    }
}

pub async fn in_flight(app: &TestApp) -> u64 {
    u64::try_from(app.count("SELECT COUNT(*) FROM messages WHERE state = 'sending'").await).expect("a count")
}

/// Nothing is planned and nothing under way.
pub async fn done(app: &TestApp) -> bool {
    app.count("SELECT COUNT(*) FROM messages WHERE state IN ('planned', 'sending')").await == 0
}

/// Until every claim that had its turn is stored or given up. On Postgres a COMMIT may outlive the process that sent it, and a claim that
/// found all well may be stored after what it looked at was changed.
pub async fn turns_are_over(app: &TestApp) {
    let mut tx = app.engine.store.write().await.expect("a transaction");
    control::take_turn(&mut tx, &app.engine.controller).await.expect("a turn");
    tx.commit().await.expect("committed");
}

/// SIGKILL. Answers how much was in flight. On Postgres another worker may live, so recovery would wait for the lease of the dead one to
/// run out; here it has.
pub async fn kill(app: &TestApp, mut run: Process) -> u64 {
    run.kill().expect("killed");
    run.wait().expect("gone");
    turns_are_over(app).await;
    app.execute("UPDATE leases SET renewed_db = 0").await.expect("the lease is over");
    in_flight(app).await
}

/// What one person does on the page; false where nobody was there to answer.
async fn ticks_and_submits(app: &TestApp, link: &str) -> bool {
    let page = async { app.http.get(link).send().await?.text().await };
    let Ok(page) = page.await else { return false };
    let pairs = [("nonce", field(&page, "nonce").as_str()), ("answer", "chosen"), ("grant", "sms.promotions")]
        .map(|(name, value)| (name, value.to_owned()));
    let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let request = app.http.post(link).header("sec-fetch-site", "same-origin");
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
    request.send().await.is_ok_and(|answer| answer.status() == 303)
}

/// People answer as their asks arrive, and some say stop before: every fifth of those after `before`, until what it runs beside is over and
/// all of them have spoken. It is never dropped in the middle of a reply, which would cause something nobody waits for.
async fn answers(app: &TestApp, before: u32, people: u32, mut heard: usize, over: &Cell<bool>) {
    loop {
        let news = app.gateway.log().split_off(heard);
        if news.is_empty() && over.get() {
            return;
        }
        heard += news.len();
        for message in news.into_iter().filter(|m| m.reference.starts_with("ask")) {
            let n = message.to[6..].parse::<u32>().expect("a number of ours") - before;
            match n % 20 {
                0 => _ = app.gateway.reply(&message.to, REPLY_NUMBER, "basta, non scrivetemi più").await,
                5 => _ = app.gateway.reply(&message.to, REPLY_NUMBER, "chi siete?").await,
                10 => {
                    let link = message.text.split_whitespace().find(|w| w.starts_with("http")).expect("a link");
                    if ticks_and_submits(app, link.trim_end_matches('.')).await {
                        _ = app.gateway.reply(&message.to, REPLY_NUMBER, "SI").await;
                    }
                }
                // Somebody whose turn comes later, perhaps.
                15 => {
                    let other = TestApp::it(before + (n + people / 40 * 20 + 1) % people);
                    _ = app.gateway.reply(&other, REPLY_NUMBER, "STOP").await;
                }
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Trials one after another on one database. In each, more people are asked, and the process is killed once or twice between the first
/// claim and the last outcome.
async fn trials_of(kind: Kind, seed: u64, trials: u64, people: u32) -> (u64, Left) {
    let _trial = Trial { kind, seed, trials, people };
    let mut dice = Dice(seed);
    let app = closed(kind).await;
    let weather = Faults { seed, duplicate: 0.2, reordered: 0.2, late: 0.1, late_ms: 100, ..Faults::default() };
    app.gateway.set_faults(Faults { slow: 1.0, slow_ms: 5, spread_ms: 45, ..weather });
    let (mut kills, mut unsettled, mut before, mut left) = (0, 0, 0, Left::default());
    let mut run = spawn(&app, &["run"], "");
    for _ in 0..trials {
        let (requests, heard) = (app.gateway.stats().requests, app.gateway.log().len());
        plan_more(&app, before, people).await;
        let over = Cell::new(false);
        let story = async {
            for _ in 0..1 + dice.below(4) / 3 {
                let moment = requests + 1 + dice.below(u64::from(people));
                until("the moment of the kill", async || app.gateway.stats().requests >= moment || done(&app).await).await;
                tokio::time::sleep(Duration::from_millis(dice.below(30))).await;
                unsettled += kill(&app, run).await;
                // One that comes when all is done proves nothing.
                kills += u64::from(!done(&app).await);
                run = spawn(&app, &["run"], "");
            }
            until("everything is out", async || done(&app).await).await;
            over.set(true);
            run
        };
        (run, ()) = tokio::join!(story, answers(&app, before, people, heard, &over));
        run_to_the_end(&app).await;
        before += people;
        left = after(&app, before as usize, unsettled).await;
        every_stop_stands(&app).await;
    }
    kill(&app, run).await;
    end(app).await;
    (kills, left)
}

/// Whoever said stop, and was told 2xx, is in peace.
async fn every_stop_stands(app: &TestApp) {
    let held = "SELECT COUNT(*) FROM inbound_events i WHERE i.intent = 'stop' AND NOT EXISTS (SELECT 1 FROM suppressions s
        WHERE s.controller = i.controller AND s.mac = i.mac AND s.key_id = i.key_id AND s.lifted_at IS NULL)";
    assert_eq!(app.count(held).await, 0, "a stop was answered 2xx and does not stand");
}

/// Trials on one database, before the next begins with an empty one. What holds of all its people is looked at after each.
const BLOCK: u64 = 5;
/// Databases at a time: a trial waits as long as it reckons.
const AT_ONCE: usize = 2;
/// Trials a store where nothing else is asked for.
const TRIALS: u64 = 15;

async fn trials(kind: Kind) {
    let people = u32::try_from(setting("PERMESSO_TRIAL_PEOPLE", 60)).expect("not so many");
    let first = setting("PERMESSO_TRIAL_SEED", Utc::now().timestamp_micros().unsigned_abs());
    let trials = setting("PERMESSO_TRIALS", TRIALS);
    let (mut kills, mut all) = (0, Left::default());
    let block = |block| trials_of(kind, first.wrapping_add(block), BLOCK.min(trials - block * BLOCK), people);
    let mut blocks = stream::iter((0..trials.div_ceil(BLOCK)).map(block)).buffer_unordered(AT_ONCE);
    while let Some((n, left)) = blocks.next().await {
        kills += n;
        all.duplicates += left.duplicates;
        all.lost += left.lost;
        all.unknown += left.unknown;
    }
    assert!(kills * 2 >= trials, "in {trials} trials only {kills} kills came while anything was planned or under way");
    let Left { duplicates, lost, unknown } = all;
    println!(
        "{kind:?}: {trials} trials of {people} people, {kills} kills, {duplicates} duplicates, {lost} lost, {unknown} unknown (seed {first})"
    );
}

#[tokio::test]
async fn sigkill_at_any_moment_asks_nobody_twice_and_loses_nothing_sqlite() {
    trials(Kind::Sqlite).await;
}

#[tokio::test]
async fn sigkill_at_any_moment_asks_nobody_twice_and_loses_nothing_postgres() {
    trials(Kind::Postgres).await;
}

/// The log of every process of the trial is searched, too (promise 9).
pub async fn end(app: TestApp) {
    let log = std::fs::read(app.dir.path().join("run.log")).expect("the log");
    let sent: Vec<String> = app.gateway.log().into_iter().map(|message| message.to.trim_start_matches('+').to_owned()).collect();
    let numbers: HashSet<&[u8]> = sent.iter().map(String::as_bytes).collect();
    // Once through the log, and not once a number: after many trials there are tens of thousands, and megabytes.
    for digits in log.split(|byte| !byte.is_ascii_digit()).filter(|digits| digits.len() >= 10) {
        let found = digits.windows(TestApp::it(0).len() - 1).any(|window| numbers.contains(window));
        assert!(!found, "the log holds a number");
    }
    app.engine.store.close().await;
}

/// Dies at places with a name while it sends, one after another; starts again, and runs to its end.
async fn dies_while_sending(kind: Kind, places: &[String]) {
    const PEOPLE: u32 = 40;
    let app = closed(kind).await;
    app.gateway.set_faults(Faults { slow: 1.0, slow_ms: 5, spread_ms: 45, ..Faults::default() });
    let (mut unsettled, mut before) = (0, 0);
    for place in places {
        plan_more(&app, before, PEOPLE).await;
        before += PEOPLE;
        let mut run = spawn(&app, &["run"], place);
        until(&format!("it has died at {place}"), async || run.try_wait().expect("asked").is_some()).await;
        unsettled += kill(&app, run).await;
        let run = spawn(&app, &["run"], "");
        run_to_the_end(&app).await;
        kill(&app, run).await;
        after(&app, before as usize, unsettled).await;
    }
    end(app).await;
}

/// The answers are held back until the process is dead: the gateway has the message, the sender has sent its last byte.
async fn dies_after_the_last_byte(kind: Kind) {
    const PEOPLE: u32 = 40;
    let app = closed(kind).await;
    plan_more(&app, 0, PEOPLE).await;
    app.gateway.set_faults(Faults { slow: 1.0, slow_ms: 60_000, ..Faults::default() });
    let run = spawn(&app, &["run"], "");
    until("the gateway has one", async || app.gateway.stats().accepted > 0).await;
    let unsettled = kill(&app, run).await;
    assert!(unsettled > 0);
    app.gateway.set_faults(Faults::default());
    let run = spawn(&app, &["run"], "");
    run_to_the_end(&app).await;
    kill(&app, run).await;
    after(&app, PEOPLE as usize, unsettled).await;
    end(app).await;
}

/// A list of which the first chunk is stored and the second is not; the same list again makes it whole.
async fn dies_in_the_middle_of_an_import(kind: Kind) {
    const PEOPLE: i64 = 4_500;
    let app = closed(kind).await;
    let list = app.dir.path().join("list.csv");
    let no = TestApp::good(&TestApp::it(7)).replace("unticked,", "unticked,yes");
    let rows: String = (0..PEOPLE as u32).map(|n| if n == 7 { no.clone() } else { TestApp::good(&TestApp::it(n)) }).collect();
    std::fs::write(&list, format!("{HEADER}{rows}")).expect("written");
    let command = ["import", "contacts", list.to_str().expect("text")];
    let mut import = spawn(&app, &command, "mid-import 2");
    until("it has died", async || import.try_wait().expect("asked").is_some()).await;
    let (contacts, noes) = ("SELECT COUNT(*) FROM contacts", "SELECT COUNT(*) FROM suppressions");
    assert_eq!((app.count(contacts).await, app.count(noes).await), (2_000, 1), "a chunk is whole, its no with it, or not there");
    for _ in 0..2 {
        let (code, _, err) = ask(app.dir.path(), &command).await;
        assert_eq!((code, err.as_str()), (0, ""));
        assert_eq!((app.count(contacts).await, app.count(noes).await), (PEOPLE, 1));
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM consent_evidence").await, PEOPLE, "every row is kept once");
    app.engine.store.close().await;
}

/// Dies with the ledger's entry written and the preference not: neither stands, nobody was told that it does, and the same act again does
/// the whole of it.
async fn dies_between_ledger_and_preference(kind: Kind) {
    let mut app = closed(kind).await;
    plan_more(&app, 0, 1).await;
    let person = TestApp::it(0);
    app.listen().await;
    app.settle().await;
    app.hang_up().await;
    let link = app.link(&person);
    let entries = "SELECT COUNT(*) FROM ledger";
    for (place, entries_before, entries_after) in
        [("between-ledger-and-preference", 0, 1), ("between-ledger-and-preference 1", 1, 2)]
    {
        let mut run = spawn(&app, &["run", "--roles", "web"], place);
        let act = async || match entries_before {
            0 => ticks_and_submits(&app, &link).await,
            _ => {
                let reply = app.gateway.reply(&person, REPLY_NUMBER, "SI").await;
                app.gateway.taken().contains(&reply)
            }
        };
        until("it has died", async || {
            assert!(!act().await, "nobody may say that it is done");
            run.try_wait().expect("asked").is_some()
        })
        .await;
        kill(&app, run).await;
        assert_eq!(app.count(entries).await, entries_before);
        after(&app, 1, 0).await;
        let run = spawn(&app, &["run", "--roles", "web"], "");
        until("it is done", async || act().await).await;
        kill(&app, run).await;
        assert_eq!(app.count(entries).await, entries_after);
    }
    assert_eq!(app.granted(&person).await, ["sms.promotions"]);
    let run = spawn(&app, &["run"], "");
    run_to_the_end(&app).await;
    kill(&app, run).await;
    after(&app, 1, 0).await;
    end(app).await;
}

/// Every place, so many times: the place's first passing, and then later ones.
async fn places(kind: Kind) {
    for n in 1..=setting("PERMESSO_TRIAL_PLACES", 1) {
        // Of a slice's ten messages, and of the four slices.
        let (of_messages, of_slices) = (1 + n * 7 % 20, 1 + n % 3);
        dies_while_sending(
            kind,
            &[
                format!("after-claim {of_slices}"),
                format!("before-first-byte {of_messages}"),
                format!("after-answer {of_messages}"),
                format!("before-outcome-commit {of_slices}"),
            ],
        )
        .await;
        dies_after_the_last_byte(kind).await;
        dies_in_the_middle_of_an_import(kind).await;
        dies_between_ledger_and_preference(kind).await;
    }
}

#[tokio::test]
async fn dying_at_any_named_place_leaves_nothing_half_done_sqlite() {
    places(Kind::Sqlite).await;
}

#[tokio::test]
async fn dying_at_any_named_place_leaves_nothing_half_done_postgres() {
    places(Kind::Postgres).await;
}
