//! SMPP against an SMSC nobody here wrote: node-smpp, played by `smpp.js`. The promises of the suite, over a session instead of HTTP.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use permesso::clock::Clock;
use permesso::domain::campaign::CampaignState;
use permesso::engine::{gateways, plan, restore};
use permesso::gateway::driver::{Given, Secret};
use permesso::store::{Store, contacts, messages};
use permesso::web;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::app::{Kind, LINK, MORNING, TestApp, field};
use crate::run::{logs_hold_none_of, until};

const PASSWORD: &str = "secret1";
/// [`crate::app::REPLY_NUMBER`], as an SMSC writes it.
const OURS: &str = "393001234567";

/// The SMSC: a process that ends with this value.
struct Smsc {
    _child: Child,
    orders: ChildStdin,
    told: Arc<Mutex<Vec<Value>>>,
    news: Arc<Notify>,
    port: u16,
    orders_given: usize,
}

impl Smsc {
    /// `certificate`: a folder with key.pem and cert.pem, for TLS.
    async fn start(certificate: Option<&str>) -> Smsc {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        // It lets go of its port and comes back to it.
        let [port] = crate::app::ports();
        let modules = root.join("target/node/node_modules");
        assert!(modules.join("smpp").exists(), "the npm package smpp is missing; remedy: scripts/test installs it");
        let mut child = Command::new("node")
            .arg(root.join("tests/it/gateways/smpp.js"))
            .arg(PASSWORD)
            .arg(port.to_string())
            .args(certificate)
            .env("NODE_PATH", modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node; remedy: scripts/test installs it");
        let (told, news) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (heard, rung) = (told.clone(), news.clone());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                heard.lock().expect("whole").push(serde_json::from_str(&line).expect("a line of JSON"));
                rung.notify_waiters();
            }
        });
        let orders = child.stdin.take().expect("piped");
        let smsc = Smsc { _child: child, orders, told, news, port, orders_given: 0 };
        smsc.wait("listening", 1).await;
        smsc
    }

    /// What was told under this name so far.
    fn told(&self, on: &str) -> Vec<Value> {
        self.told.lock().expect("whole").iter().filter(|told| told["on"] == on).cloned().collect()
    }

    /// Waits until something was told so often; the bound is for a broken build.
    async fn wait(&self, on: &str, times: usize) -> Vec<Value> {
        let enough = async {
            loop {
                let rung = self.news.notified();
                let told = self.told(on);
                if told.len() >= times {
                    return told;
                }
                rung.await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), enough).await;
        waited.unwrap_or_else(|_| panic!("{on} did not come {times} times: {:?}", self.told.lock().expect("whole")))
    }

    /// Gives an order and waits until it was read.
    async fn order(&mut self, order: Value) {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.expect("written");
        self.orders_given += 1;
        self.wait("done", self.orders_given).await;
    }

    async fn play(&mut self, to: &str, play: &str) {
        self.order(json!({ "command": "play", "to": to.trim_start_matches('+'), "play": play })).await;
    }

    async fn status(&mut self, to: &str, play: &str, status: u32) {
        let to = to.trim_start_matches('+');
        self.order(json!({ "command": "play", "to": to, "play": play, "status": status })).await;
    }

    fn submits(&self, to: &str) -> Vec<Value> {
        let to = to.trim_start_matches('+');
        self.told("submit").into_iter().filter(|submit| submit["to"][2] == to).collect()
    }

    /// Texts to this number, their parts joined.
    fn texts(&self, to: &str) -> Vec<String> {
        let mut texts: Vec<String> = Vec::new();
        for submit in self.submits(to) {
            let text = submit["text"].as_str().expect("a text");
            match texts.last_mut() {
                Some(last) if submit["n"] != 1 => last.push_str(text),
                _ => texts.push(text.to_owned()),
            }
        }
        texts
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|b| format!("{b:02x}")).collect()
}

/// A whole Permesso with a session to an SMSC.
struct Stage {
    app: TestApp,
    smsc: Smsc,
    stop: CancellationToken,
    sessions: Option<tokio::task::JoinHandle<()>>,
    tags: usize,
}

impl Stage {
    async fn new(kind: Kind) -> Stage {
        Stage::with(kind, "").await
    }

    /// With more settings of the account; a key in it replaces the usual one.
    async fn with(kind: Kind, more: &str) -> Stage {
        let smsc = Smsc::start(None).await;
        let url = format!("smpp://127.0.0.1:{}", smsc.port);
        let mut stage = Stage::at(kind, smsc, &url, more).await;
        stage.bind().await;
        stage
    }

    async fn at(kind: Kind, smsc: Smsc, url: &str, more: &str) -> Stage {
        let clock = Clock::manual(MORNING.parse().expect("a time"));
        let mut account = format!("system_id = \"permesso\"\npassword = \"{PASSWORD}\"\nbacklog_s = 0\n");
        for line in more.lines() {
            let key = line.split('=').next().expect("a key");
            account = account.lines().filter(|l| !l.starts_with(key)).map(|l| format!("{l}\n")).collect();
        }
        account.push_str(more);
        let rate = if more.contains("rate =") { "" } else { "rate = 10000.0\n" };
        let app = TestApp::with_settings(kind, clock, |text| {
            super::through("smpp", &account, url, &text).replace("rate = 10000.0\nsimulator", &format!("{rate}simulator"))
        });
        let app = app.await;
        // A line in the log, so that its end can see whether it is captured.
        app.get(&format!("{}/healthz", app.base)).await;
        Stage { app, smsc, stop: CancellationToken::new(), sessions: None, tags: 0 }
    }

    /// Keeps the session from now on, and waits for it.
    async fn bind(&mut self) {
        self.keep();
        self.up().await;
    }

    fn keep(&mut self) {
        self.sessions = Some(tokio::spawn(permesso::app::sessions(self.app.engine.clone(), self.stop.clone())));
    }

    async fn up(&self) {
        until("the session is there", async || !self.app.engine.gateways["smpp"].is_deaf()).await;
    }

    async fn down(&self) {
        until("the session is gone", async || self.app.engine.gateways["smpp"].is_deaf()).await;
    }

    async fn ask(&self, people: &[String]) -> i64 {
        self.app.people(people).await;
        let campaign = self.app.plan(LINK).await;
        self.app.deliver().await;
        campaign
    }

    /// A deliver_sm, and with what status we answer it.
    async fn deliver(&mut self, octets: &str, fields: Value) -> u64 {
        let tag = self.send(octets, fields).await;
        self.answer(tag).await
    }

    /// A deliver_sm, its answer not waited for.
    async fn send(&mut self, octets: &str, fields: Value) -> usize {
        self.tags += 1;
        let mut order = json!({ "command": "deliver", "tag": self.tags, "octets": octets });
        let order_fields = order.as_object_mut().expect("an object");
        order_fields.extend(fields.as_object().expect("an object").clone());
        self.smsc.order(order).await;
        self.tags
    }

    async fn answer(&self, tag: usize) -> u64 {
        let mut answer = None;
        let answers = || self.smsc.told("delivered").into_iter().find(|d| d["tag"] == tag);
        until("the deliver_sm is answered", async || {
            answer = answers().and_then(|d| d["status"].as_u64());
            answer.is_some()
        })
        .await;
        answer.expect("answered")
    }

    async fn reply(&mut self, from: &str, text: &str) {
        let fields = json!({ "source_addr": from.trim_start_matches('+'), "destination_addr": OURS, "data_coding": 1 });
        assert_eq!(self.deliver(&hex(text), fields).await, 0);
        self.app.deliver().await;
    }

    /// Ticks and submits on the page behind this person's ask; a minute passes.
    async fn choose(&self, number: &str) {
        let link = format!("{}/p/{}", self.app.base, super::link(&self.smsc.texts(number)[0]));
        let (status, page) = self.app.get(&link).await;
        assert_eq!(status, 200);
        assert_eq!(self.app.post(&link, &field(&page, "nonce"), "chosen", &["sms.promotions"]).await, 303);
        self.app.advance(Duration::from_secs(60));
    }

    /// The process that kept the session goes and another one comes.
    async fn restart(&mut self) {
        self.app.reconfigure("").await;
        self.stop = CancellationToken::new();
        self.bind().await;
    }

    /// A receipt for the message that was submitted as this.
    async fn receipt(&mut self, submit: &Value, stat: &str) -> u64 {
        let id = submit["id"].as_str().expect("an id");
        let text = format!("id:{id} sub:001 dlvrd:001 submit date:2612011045 done date:2612011046 stat:{stat} err:000 text:");
        let fields = json!({ "esm_class": 4, "source_addr": submit["to"][2], "destination_addr": "ACME" });
        self.deliver(&hex(&text), fields).await
    }

    /// How often this number was asked; answers to what it wrote have links, too.
    fn asks(&self, number: &str) -> usize {
        self.smsc.texts(number).iter().filter(|text| text.contains("vorremmo chiederti")).count()
    }

    async fn state(&self, number: &str) -> String {
        self.app.state_of(number).await
    }

    async fn paused(&self) -> Option<String> {
        let report = gateways::gateways(&self.app.engine).await.expect("a report");
        report.into_iter().find(|g| g.name == "smpp").expect("the gateway").pause_reason
    }

    async fn suppressed(&self) -> i64 {
        self.app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await
    }

    async fn heard(&self) -> i64 {
        self.app.count("SELECT COUNT(*) FROM inbound_events").await
    }

    async fn end(&mut self) {
        self.stop.cancel();
        if let Some(sessions) = self.sessions.take() {
            sessions.await.expect("ended");
        }
        self.app.end().await;
        let numbers = self.smsc.told("submit").into_iter().map(|s| s["to"][2].as_str().expect("a number").to_owned());
        let mut private: Vec<String> = numbers.collect();
        private.push(PASSWORD.to_owned());
        logs_hold_none_of(&private);
    }
}

fn it(n: u32) -> String {
    TestApp::it(n)
}

async fn a_campaign_runs_from_the_ask_to_the_consent(kind: Kind) {
    let mut stage = Stage::new(kind).await;
    let bound = &stage.smsc.wait("bound", 1).await[0];
    assert_eq!((&bound["command"], &bound["system_id"]), (&json!("bind_transceiver"), &json!("permesso")));
    assert_eq!(bound["interface_version"], 0x34);
    let people: Vec<String> = (1..=4).map(it).collect();
    stage.app.people(&people).await;
    stage.app.plan(LINK).await;
    // One says STOP between the plan and the claim.
    stage.reply(&people[3], "STOP").await;
    // It is heard over its session, and nobody else is heard in its name.
    let forged = stage.app.http.post(format!("{}/webhooks/smpp", stage.app.base)).body("STOP").send().await.unwrap();
    assert_eq!(forged.status(), 404);
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events").await, 1, "the STOP alone");
    stage.app.deliver().await;
    assert_eq!(stage.asks(&people[3]), 0, "nobody is asked after a no");
    for number in &people[..3] {
        let submits = stage.smsc.submits(number);
        assert_eq!(submits.len(), 2, "two parts: {submits:?}");
        for (n, submit) in (1..).zip(&submits) {
            assert_eq!(submit["from"], json!([5, 0, "ACME"]));
            assert_eq!(submit["to"], json!([1, 1, number.trim_start_matches('+')]));
            assert_eq!((&submit["n"], &submit["of"], &submit["reference"]), (&json!(n), &json!(2), &submits[0]["reference"]));
            assert_eq!((submit["esm_class"].as_u64(), submit["data_coding"].as_u64()), (Some(0x40), Some(0)));
            assert_eq!(submit["registered_delivery"], u64::from(n == 2), "one receipt a message");
            assert!(submit["validity"].as_i64().is_some_and(|s| (3_000..48 * 3_600).contains(&s)), "{submit}");
        }
        let text = &stage.smsc.texts(number)[0];
        assert!(text.starts_with("ACME: ci hai lasciato il tuo numero") && text.contains("/p/"), "{text}");
        assert_eq!(stage.state(number).await, "accepted");
        stage.receipt(&submits[1], "ACCEPTD").await;
        assert_eq!(stage.state(number).await, "sent");
        stage.receipt(&submits[1], "DELIVRD").await;
        assert_eq!(stage.state(number).await, "delivered");
    }
    stage.choose(&people[0]).await;
    stage.reply(&people[0], "SI").await;
    assert_eq!(stage.app.granted(&people[0]).await, ["sms.promotions"]);
    // Another number, in UCS-2, and what it says is a no.
    let utf16 = "No\u{a0}grazie".encode_utf16().flat_map(u16::to_be_bytes).map(|b| format!("{b:02x}")).collect::<String>();
    let from = json!({ "source_addr": people[2].trim_start_matches('+'), "destination_addr": OURS, "data_coding": 8 });
    assert_eq!(stage.deliver(&utf16, from).await, 0);
    stage.reply(&people[1], "STOP").await;
    assert_eq!(stage.suppressed().await, 3);
    for number in &people[..3] {
        assert_eq!(stage.asks(number), 1, "nobody is asked twice");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_campaign_runs_from_the_ask_to_the_consent_sqlite() {
    a_campaign_runs_from_the_ask_to_the_consent(Kind::Sqlite).await;
}

#[tokio::test]
async fn a_campaign_runs_from_the_ask_to_the_consent_postgres() {
    a_campaign_runs_from_the_ask_to_the_consent(Kind::Postgres).await;
}

#[tokio::test]
async fn every_documented_status_means_what_the_table_says() {
    let mut stage = Stage::new(Kind::Sqlite).await;
    let mut rows =
        csv::Reader::from_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/gateways/smpp.csv")).expect("the table");
    let rows: Vec<(String, String)> =
        rows.records().map(|row| row.map(|row| (row[0].to_owned(), row[1].to_owned())).expect("a row")).collect();
    assert_eq!(rows.len(), 32);
    let status = |code: &str| u32::from_str_radix(&code[2..], 16).expect("a status");
    let (alone, together): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|(_, class)| matches!(class.as_str(), "account" | "config"));
    let people: Vec<String> = (1..).map(it).take(together.len()).collect();
    for (number, (code, _)) in people.iter().zip(&together) {
        stage.smsc.status(number, "status", status(code)).await;
    }
    // One that no page names: a carrier's own.
    let own = it(900);
    stage.smsc.status(&own, "status", 0x0403).await;
    stage.ask(&[people.clone(), vec![own.clone()]].concat()).await;
    for (number, (code, class)) in people.iter().zip(&together) {
        let expected = match class.as_str() {
            "ok" => "accepted",
            "recipient-permanent" => "failed",
            "transient" | "throttled" => "planned",
            other => panic!("{code}: no answer is {other}"),
        };
        assert_eq!(stage.state(number).await, expected, "{code} is {class}");
    }
    assert_eq!(stage.state(&own).await, "unknown");
    assert_eq!(stage.paused().await, None, "nothing of this is the account's fault");
    for (n, (code, class)) in (500..).zip(alone) {
        let number = it(n);
        stage.app.advance(Duration::from_secs(10));
        stage.smsc.status(&number, "status", status(&code)).await;
        let campaign = stage.ask(std::slice::from_ref(&number)).await;
        assert_eq!(stage.state(&number).await, "planned", "{code} is {class}");
        assert!(stage.paused().await.is_some_and(|why| why.contains(&code)), "{code} is {class} and pauses");
        assert_eq!(stage.app.campaign(campaign).await.state, "paused", "{code}");
        stage.smsc.play(&number, "accept").await;
        plan::set_state(&stage.app.engine, LINK, CampaignState::Running).await.expect("resumed");
    }
    stage.end().await;
}

#[tokio::test]
async fn what_is_not_answered_is_unknown_and_never_sent_again() {
    let mut stage = Stage::new(Kind::Sqlite).await;
    let [silent, nonsense, half, broken] = [1, 2, 3, 4].map(it);
    stage.smsc.play(&silent, "silence").await;
    // An answer, but to nothing one could have asked.
    stage.smsc.play(&nonsense, "without id").await;
    // The second part is refused: half of it is with the SMSC.
    stage.smsc.status(&format!("{half}#2"), "status", 0x45).await;
    stage.ask(&[silent.clone(), nonsense.clone(), half.clone()]).await;
    assert_eq!(stage.state(&silent).await, "unknown");
    assert_eq!(stage.state(&nonsense).await, "accepted", "accepted, if without an id");
    assert_eq!(stage.state(&half).await, "unknown");
    assert_eq!((stage.smsc.submits(&silent).len(), stage.smsc.submits(&half).len()), (1, 2));
    // The connection breaks after the submit.
    stage.smsc.play(&broken, "destroy").await;
    stage.app.advance(Duration::from_secs(10));
    stage.ask(std::slice::from_ref(&broken)).await;
    assert_eq!(stage.state(&broken).await, "unknown");
    stage.smsc.wait("bound", 2).await;
    stage.up().await;
    for number in [&silent, &half, &broken] {
        stage.smsc.play(number, "accept").await;
    }
    stage.app.advance(Duration::from_secs(3_600));
    stage.app.deliver().await;
    let asked = [&silent, &half, &broken].map(|number| stage.smsc.submits(number).len());
    assert_eq!(asked, [1, 2, 1], "never again");
    // Who answers has it.
    stage.reply(&silent, "STOP").await;
    assert_eq!(stage.state(&silent).await, "delivered");
    stage.end().await;
}

#[tokio::test]
async fn too_fast_is_slower_and_sent_once() {
    let mut stage = Stage::new(Kind::Sqlite).await;
    let [throttled, full, second] = [1, 2, 3].map(it);
    stage.smsc.status(&throttled, "status once", 0x58).await;
    stage.smsc.status(&full, "status once", 0x14).await;
    stage.ask(&[throttled.clone(), full.clone()]).await;
    for number in [&throttled, &full] {
        assert_eq!(stage.state(number).await, "planned");
    }
    let before = stage.smsc.told("submit").len();
    stage.app.deliver().await;
    assert_eq!(stage.smsc.told("submit").len(), before, "nothing more for a second");
    stage.app.advance(Duration::from_secs(60));
    stage.app.deliver().await;
    for number in [&throttled, &full] {
        assert_eq!(stage.state(number).await, "accepted");
        assert_eq!(stage.smsc.submits(number).len(), 3, "the part that was too fast, then both");
    }
    // A second part that is too fast is sent again by itself: the first is there already.
    stage.smsc.status(&format!("{second}#2"), "status once", 0x58).await;
    stage.ask(std::slice::from_ref(&second)).await;
    assert_eq!(stage.state(&second).await, "accepted");
    let parts: Vec<Value> = stage.smsc.submits(&second).iter().map(|submit| submit["n"].clone()).collect();
    assert_eq!(parts, [1, 2, 2]);
    stage.end().await;
}

#[tokio::test]
async fn receipts_repeat_and_overtake_and_change_nothing() {
    let mut stage = Stage::with(Kind::Sqlite, "answer_ids = \"hex\"\nreceipt_ids = \"decimal\"").await;
    let [overtaken, normal] = [1, 2].map(it);
    stage.smsc.play(&format!("{overtaken}#2"), "receipt first").await;
    stage.ask(&[overtaken.clone(), normal.clone()]).await;
    // Its receipt was in hexadecimal, before the answer: both ids are of the same message only if read alike.
    let submit = stage.smsc.submits(&normal)[1].clone();
    let decimal = u64::from_str_radix(submit["id"].as_str().expect("an id"), 16).expect("hex").to_string();
    let mut receipt = submit.clone();
    receipt["id"] = json!(decimal);
    for (stat, state) in [("ENROUTE", "sent"), ("DELIVRD", "delivered"), ("DELIVRD", "delivered"), ("EXPIRED", "delivered")] {
        assert_eq!(stage.receipt(&receipt, stat).await, 0);
        assert_eq!(stage.state(&normal).await, state);
    }
    assert_eq!(
        stage.app.count("SELECT COUNT(*) FROM receipts WHERE attempt_id IS NOT NULL").await,
        3,
        "a repeated one is stored once"
    );
    // Of a message nobody knows: kept, and answered.
    receipt["id"] = json!("999999999");
    assert_eq!(stage.receipt(&receipt, "UNDELIV").await, 0);
    // In TLVs alone.
    let last = stage.smsc.submits(&overtaken)[1].clone();
    let id = u64::from_str_radix(last["id"].as_str().expect("an id"), 16).expect("hex").to_string();
    let fields = json!({ "esm_class": 4, "source_addr": last["to"][2], "destination_addr": "ACME",
        "receipted_message_id": id, "message_state": 2 });
    assert_eq!(stage.deliver("", fields).await, 0);
    assert_eq!(stage.state(&overtaken).await, "delivered");
    assert_eq!(stage.heard().await, 0, "a receipt is no message");
    stage.end().await;
}

/// An SMSC that counts its messages from the start again.
#[tokio::test]
async fn a_receipt_is_not_taken_for_one_of_an_old_message_with_the_same_id() {
    let mut stage = Stage::new(Kind::Sqlite).await;
    let [old, new] = [1, 2].map(it);
    stage.ask(std::slice::from_ref(&old)).await;
    let Store::Sqlite { read, write, .. } = &stage.app.engine.store else { panic!("SQLite") };
    let id: String = sqlx::query_scalar("SELECT provider_id FROM attempts").fetch_one(read).await.expect("an id");
    // What the second part of the next message will be called.
    let next = format!("{:X}", u64::from_str_radix(&id, 16).expect("hex") + 2);
    let aged = "UPDATE attempts SET provider_id = $1, claimed_at = claimed_at - $2";
    sqlx::query(aged).bind(&next).bind(messages::SMS_TOLD + 1).execute(write).await.expect("aged");
    stage.app.execute("UPDATE messages SET state = 'expired'").await.expect("expired");
    // Long before the new message somebody else's had that id, too.
    let stray = json!({ "id": next, "to": [1, 1, "393009999999"] });
    assert_eq!(stage.receipt(&stray, "UNDELIV").await, 0);
    stage.smsc.play(&format!("{new}#2"), "receipt first").await;
    stage.app.advance(Duration::from_secs(3_600));
    stage.ask(std::slice::from_ref(&new)).await;
    assert_eq!(stage.smsc.submits(&new)[1]["id"], json!(next));
    assert_eq!((stage.state(&old).await.as_str(), stage.state(&new).await.as_str()), ("expired", "delivered"));
    let matched = "SELECT COUNT(*) FROM receipts WHERE attempt_id IS NOT NULL";
    assert_eq!(stage.app.count(matched).await, 1, "the stray one is nobody's");
    stage.end().await;
}

#[tokio::test]
async fn a_receipt_before_the_answer_counts() {
    let mut stage = Stage::new(Kind::Postgres).await;
    let number = it(1);
    stage.smsc.play(&format!("{number}#2"), "receipt first").await;
    stage.ask(std::slice::from_ref(&number)).await;
    assert_eq!(stage.state(&number).await, "delivered");
    stage.end().await;
}

/// A carrier counts submit_sm. On Postgres the permits taken can be read off: the row says when the next one is free.
#[tokio::test]
async fn each_part_of_a_text_takes_a_permit_of_the_rate() {
    let mut stage = Stage::with(Kind::Postgres, "rate = 4").await;
    let people = [1, 2].map(it);
    stage.app.people(&people).await;
    stage.app.plan(LINK).await;
    let began = stage.app.count("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)").await;
    stage.app.deliver().await;
    for number in &people {
        assert_eq!(stage.smsc.submits(number).len(), 2, "two parts");
    }
    let free = stage.app.count("SELECT free_db FROM rates WHERE name = 'gateway smpp'").await;
    assert!(free - began >= 4 * 250_000, "four parts at four a second: {} µs", free - began);
    stage.end().await;
}

#[tokio::test]
async fn a_long_text_with_emoji_arrives_whole_by_either_way_of_joining() {
    for (joining, features, validity) in [("udh", 0x40, "none"), ("sar", 0, "absolute")] {
        let mut stage = Stage::with(Kind::Sqlite, &format!("joining = \"{joining}\"\nvalidity = \"{validity}\"")).await;
        let number = it(1);
        let text = format!("{{{{ brand }}}}: Zażółć gęślą jaźń {} {{{{ link }}}} STOP {{{{ reply_number }}}}", "😀".repeat(20));
        stage.app.people(std::slice::from_ref(&number)).await;
        stage.app.plan_as(LINK, |c| c.asks.iter_mut().for_each(|a| a.texts.values_mut().for_each(|t| t.clone_from(&text)))).await;
        stage.app.deliver().await;
        let submits = stage.smsc.submits(&number);
        assert!(submits.len() >= 2, "{submits:?}");
        for submit in &submits {
            assert_eq!((submit["data_coding"].as_u64(), submit["esm_class"].as_u64()), (Some(8), Some(features)));
            assert_eq!(submit["sar"] == json!(true), joining == "sar");
            // Seconds from the SMSC's clock, which is not the test's.
            let until =
                submit["validity"].as_i64().map(|s| s + chrono::Utc::now().timestamp() - stage.app.clock.now() / 1_000_000);
            assert_eq!(until.map(|s| (3_000..48 * 3_600).contains(&s)), (validity == "absolute").then_some(true), "{submit}");
        }
        let whole = &stage.smsc.texts(&number)[0];
        assert!(whole.contains(&format!("Zażółć gęślą jaźń {} ", "😀".repeat(20))), "{whole}");
        assert_eq!(stage.state(&number).await, "accepted");
        stage.end().await;
    }
}

#[tokio::test]
async fn what_a_person_writes_in_parts_is_one_message_and_a_stop_in_any_part_counts() {
    let mut stage = Stage::new(Kind::Sqlite).await;
    let [long, torn, half] = [1, 2, 3].map(it);
    stage.ask(&[long.clone(), torn.clone(), half.clone()]).await;
    let fields = |from: &str| json!({ "source_addr": from.trim_start_matches('+'), "destination_addr": OURS, "data_coding": 1, "esm_class": 0x40 });
    // The second comes first; neither says STOP.
    let second = stage.send(&format!("0500032a0202{}", hex("OP")), fields(&long)).await;
    assert_eq!((stage.smsc.told("delivered").len(), stage.heard().await), (0, 0), "a part alone is not stored, so not answered");
    let first = stage.send(&format!("0500032a0201{}", hex("ST")), fields(&long)).await;
    assert_eq!((stage.answer(first).await, stage.answer(second).await), (0, 0));
    assert_eq!((stage.heard().await, stage.suppressed().await), (1, 1), "one message");
    // A part whose other never comes: kept, and its STOP counts.
    let part = stage.send(&format!("0500032b0201{}", hex("STOP")), fields(&torn)).await;
    // And one that would be a yes if it were whole.
    let yes = stage.send(&format!("0500032c0202{}", hex("SI")), fields(&half)).await;
    assert_eq!((stage.answer(part).await, stage.answer(yes).await), (0, 0));
    assert_eq!((stage.heard().await, stage.suppressed().await), (3, 2));
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events WHERE intent = 'opt_in'").await, 0, "half a text is no yes");
    stage.end().await;
}

#[tokio::test]
async fn a_broken_deliver_sm_is_kept_and_ends_nothing() {
    let mut stage = Stage::new(Kind::Sqlite).await;
    let number = it(1);
    stage.ask(std::slice::from_ref(&number)).await;
    // deliver_sm that ends in the middle of an address; one of an address longer than any; submit_sm to us; an unknown command.
    let pdu = |id: &str, sequence: u8, body: &str| format!("{:08x}{id}00000000000000{sequence:02x}{body}", 16 + body.len() / 2);
    let endless = format!("000101{}00000100", "39".repeat(40));
    for octets in [
        pdu("00000005", 0x71, "000101333933"),
        pdu("00000005", 0x72, &endless),
        pdu("00000004", 0x73, ""),
        pdu("00000777", 0x74, ""),
    ] {
        stage.smsc.order(json!({ "command": "raw", "octets": octets })).await;
    }
    // In the same session.
    stage.reply(&number, "STOP").await;
    assert_eq!(stage.smsc.told("bound").len(), 1);
    assert_eq!((stage.heard().await, stage.suppressed().await), (3, 1));
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events WHERE effect = 'held'").await, 2, "an operator sees them");
    stage.end().await;
}

#[tokio::test]
async fn nothing_is_answered_before_it_is_on_disk() {
    let mut stage = Stage::new(Kind::Sqlite).await;
    let number = it(1);
    stage.ask(std::slice::from_ref(&number)).await;
    stage.app.execute("ALTER TABLE inbound_events RENAME TO elsewhere").await.expect("renamed");
    let fields = json!({ "source_addr": number.trim_start_matches('+'), "destination_addr": OURS, "data_coding": 1 });
    assert_eq!(stage.deliver(&hex("STOP"), fields.clone()).await, 0x64, "deliver it again");
    stage.app.execute("ALTER TABLE elsewhere RENAME TO inbound_events").await.expect("renamed");
    assert_eq!(stage.deliver(&hex("STOP"), fields).await, 0);
    assert_eq!((stage.heard().await, stage.suppressed().await), (1, 1));
    stage.end().await;
}

/// Each message is unknown then, and counts as asked for good.
#[tokio::test]
async fn an_smsc_that_breaks_the_session_at_every_message_is_probed_once_in_half_a_minute() {
    let mut stage = Stage::new(Kind::Sqlite).await;
    let people: Vec<String> = (1..=20).map(it).collect();
    for number in &people {
        stage.smsc.play(number, "destroy").await;
    }
    stage.ask(&people).await;
    let unknown = "SELECT COUNT(*) FROM messages WHERE state = 'unknown'";
    // A session that breaks early takes fewer than five messages with it, and the next one takes more; the others wait a moment.
    while stage.app.count("SELECT COUNT(*) FROM gateways WHERE opened_at IS NOT NULL AND open_reason IS NULL").await == 0 {
        stage.app.advance(Duration::from_secs(31));
        stage.up().await;
        stage.app.deliver().await;
    }
    let before = stage.app.count(unknown).await;
    stage.smsc.order(json!({ "command": "away" })).await;
    stage.down().await;
    stage.app.deliver().await;
    stage.smsc.order(json!({ "command": "back" })).await;
    stage.up().await;
    stage.app.deliver().await;
    assert_eq!(stage.app.count(unknown).await, before, "no time has passed since");
    stage.app.advance(Duration::from_secs(31));
    stage.app.deliver().await;
    assert_eq!(stage.app.count(unknown).await, before + 1);
    stage.end().await;
}

#[tokio::test]
async fn while_the_session_is_down_nothing_is_claimed_and_after_it_all_goes_on() {
    let mut stage = Stage::new(Kind::Sqlite).await;
    let [said, waits] = [1, 2].map(it);
    stage.ask(std::slice::from_ref(&said)).await;
    // The answer to this STOP is lost with the connection: the SMSC delivers it again.
    let fields = json!({ "source_addr": said.trim_start_matches('+'), "destination_addr": OURS, "data_coding": 1 });
    assert_eq!(stage.deliver(&hex("STOP"), fields.clone()).await, 0);
    stage.smsc.order(json!({ "command": "away" })).await;
    stage.down().await;
    stage.app.people(std::slice::from_ref(&waits)).await;
    stage.app.plan(LINK).await;
    stage.app.advance(Duration::from_secs(10));
    let ended = stage.app.deliver().await;
    assert!(ended.iter().all(|e| matches!(e, permesso::engine::deliver::Ended::Gateway(Some(_)))), "{ended:?}");
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM attempts").await, 1, "not even claimed");
    let report = permesso::engine::report::campaign(&stage.app.engine, LINK).await.expect("a report");
    assert!(report.out_of_reach[0].starts_with("gateway smpp: out of reach since 09:45 UTC: "), "{:?}", report.out_of_reach);
    stage.smsc.order(json!({ "command": "back" })).await;
    stage.smsc.wait("bound", 2).await;
    stage.up().await;
    assert_eq!(stage.deliver(&hex("STOP"), fields).await, 0);
    assert_eq!((stage.heard().await, stage.suppressed().await), (2, 1), "a no does no harm twice");
    stage.app.deliver().await;
    let report = permesso::engine::report::campaign(&stage.app.engine, LINK).await.expect("a report");
    assert!(report.out_of_reach.is_empty(), "{:?}", report.out_of_reach);
    assert_eq!(stage.state(&waits).await, "accepted");
    assert_eq!(stage.smsc.texts(&waits).len(), 1);
    // Imported and planned anew after all that: nobody is asked twice, and the ledger is whole.
    stage.app.advance(Duration::from_secs(3600));
    stage.ask(&[said.clone(), waits.clone()]).await;
    assert_eq!((stage.asks(&said), stage.asks(&waits)), (1, 1));
    let (entries, faults) = permesso::engine::verify::ledger(&stage.app.engine).await.expect("verified");
    assert!(entries >= 1 && faults.is_empty(), "{entries}: {faults:?}");
    stage.end().await;
}

/// One yes, told again to the process after the one that heard it, is one act; said again, it is two.
async fn a_yes_and_two_processes(kind: Kind) {
    let mut stage = Stage::with(kind, "enquire_link_s = 60").await;
    let [killed, stopped] = [1, 2].map(TestApp::gb);
    stage.app.people(&[killed.clone(), stopped.clone()]).await;
    stage.app.plan(crate::app::REPLY).await;
    stage.app.deliver().await;
    stage.app.advance(Duration::from_secs(60));
    let yes =
        |from: &str| json!({ "source_addr": from.trim_start_matches('+'), "destination_addr": "447700900123", "data_coding": 1 });
    assert_eq!(stage.deliver(&hex("YES"), yes(&killed)).await, 0);
    stage.app.deliver().await;
    assert_eq!(stage.smsc.texts(&killed).len(), 2, "a confirmation is asked for");
    // The process is gone at once, and nothing has proved that its answer arrived.
    let sessions = stage.sessions.take().expect("kept");
    sessions.abort();
    assert!(sessions.await.is_err_and(|ended| ended.is_cancelled()));
    stage.restart().await;
    stage.app.advance(Duration::from_secs(300));
    assert_eq!(stage.deliver(&hex("YES"), yes(&killed)).await, 0);
    assert_eq!(stage.heard().await, 1, "the same act, told again");
    assert!(stage.app.granted(&killed).await.is_empty(), "a consent by one act");
    // This process has answered: now it is another one.
    assert_eq!(stage.deliver(&hex("YES"), yes(&killed)).await, 0);
    assert_eq!(stage.app.granted(&killed).await, ["sms.promotions"]);
    // Somebody else writes while a yes comes, and the service is stopped: it is stored and answered before that.
    let keyed = stage.app.engine.vault.keyed_all(&TestApp::number(&stopped));
    let mut busy = stage.app.engine.store.write().await.expect("a transaction");
    let contact =
        contacts::by_number(&mut busy, &stage.app.engine.controller, &keyed).await.expect("read").expect("a contact").id;
    contacts::lock(&mut busy, contact).await.expect("locked");
    let tag = stage.send(&hex("YES"), yes(&stopped)).await;
    // What is answered here came after it.
    stage.smsc.order(json!({ "command": "enquire" })).await;
    stage.smsc.wait("there", 1).await;
    stage.stop.cancel();
    busy.rollback().await.expect("rolled back");
    stage.sessions.take().expect("kept").await.expect("ended");
    assert_eq!(stage.answer(tag).await, 0, "answered before the end");
    assert_eq!(stage.heard().await, 3);
    stage.restart().await;
    stage.app.deliver().await;
    stage.app.advance(Duration::from_secs(300));
    // The SMSC has answered our unbind since, so this is said by a person.
    assert_eq!(stage.deliver(&hex("YES"), yes(&stopped)).await, 0);
    assert_eq!(stage.app.granted(&stopped).await, ["sms.promotions"]);
    stage.end().await;
}

#[tokio::test]
async fn a_yes_told_to_two_processes_is_one_act_sqlite() {
    a_yes_and_two_processes(Kind::Sqlite).await;
}

#[tokio::test]
async fn a_yes_told_to_two_processes_is_one_act_postgres() {
    a_yes_and_two_processes(Kind::Postgres).await;
}

/// A no is never taken for an earlier one: not after a session that broke, and not within one.
#[tokio::test]
async fn a_second_no_counts_whatever_became_of_the_first() {
    let mut stage = Stage::with(Kind::Sqlite, "enquire_link_s = 60").await;
    let number = it(1);
    stage.ask(std::slice::from_ref(&number)).await;
    stage.reply(&number, "STOP").await;
    stage.smsc.order(json!({ "command": "destroy" })).await;
    stage.smsc.wait("bound", 2).await;
    stage.up().await;
    for n in 1..=2 {
        stage.app.advance(Duration::from_secs(600));
        stage.choose(&number).await;
        stage.reply(&number, "SI").await;
        assert_eq!(stage.app.granted(&number).await, ["sms.promotions"], "back by their own acts");
        stage.app.advance(Duration::from_secs(3_600));
        stage.reply(&number, "STOP").await;
        assert!(stage.app.granted(&number).await.is_empty(), "no number {n} after the first was answered 0 and is not there");
        assert!(stage.app.story(&number).await.verdict.contains("stopped"));
    }
    stage.end().await;
}

/// An answered question of ours proves that our answers before it have arrived, so that a process that dies later leaves no doubt.
#[tokio::test]
async fn what_arrived_before_an_answered_enquire_link_is_not_told_again() {
    let mut stage = Stage::with(Kind::Sqlite, "enquire_link_s = 5").await;
    let number = TestApp::gb(1);
    stage.app.people(std::slice::from_ref(&number)).await;
    stage.app.plan(crate::app::REPLY).await;
    stage.app.deliver().await;
    stage.app.advance(Duration::from_secs(60));
    let yes = json!({ "source_addr": number.trim_start_matches('+'), "destination_addr": "447700900123", "data_coding": 1 });
    assert_eq!(stage.deliver(&hex("YES"), yes.clone()).await, 0);
    let doubtful = "SELECT COUNT(*) FROM inbound_events WHERE said IS NOT NULL";
    until("its answer is known to have arrived", async || stage.app.count(doubtful).await == 0).await;
    stage.app.deliver().await;
    let sessions = stage.sessions.take().expect("kept");
    sessions.abort();
    assert!(sessions.await.is_err_and(|ended| ended.is_cancelled()));
    stage.restart().await;
    stage.app.advance(Duration::from_secs(300));
    assert_eq!(stage.deliver(&hex("YES"), yes).await, 0);
    assert_eq!(stage.app.granted(&number).await, ["sms.promotions"]);
    stage.end().await;
}

#[tokio::test]
async fn a_wrong_password_pauses_and_says_why() {
    let smsc = Smsc::start(None).await;
    let url = format!("smpp://127.0.0.1:{}", smsc.port);
    let mut stage = Stage::at(Kind::Sqlite, smsc, &url, "password = \"wrong\"").await;
    stage.keep();
    stage.smsc.wait("refused", 1).await;
    // Until then it was only not there yet.
    until("the refusal is known", async || !stage.app.engine.gateways["smpp"].is_deaf()).await;
    let campaign = stage.ask(&[it(1)]).await;
    assert_eq!(stage.state(&it(1)).await, "planned");
    assert_eq!(stage.paused().await.as_deref(), Some("authentication failed: check password (SMPP bind 0x0000000E)"));
    assert_eq!(stage.app.campaign(campaign).await.state, "paused");
    assert_eq!(stage.smsc.told("submit").len(), 0);
    let checked = stage.app.engine.gateways["smpp"].check().await;
    assert_eq!(checked, Some(Err("SMPP bind 0x0000000E".to_owned())));
    stage.end().await;
}

#[tokio::test]
async fn an_account_is_checked_without_hearing_anything() {
    let smsc = Smsc::start(None).await;
    let url = format!("smpp://127.0.0.1:{}", smsc.port);
    let mut stage = Stage::at(Kind::Sqlite, smsc, &url, "").await;
    let checked = stage.app.engine.gateways["smpp"].check().await;
    assert_eq!(checked, Some(Ok("the SMSC lets us bind".to_owned())));
    assert_eq!(stage.smsc.wait("bound", 1).await[0]["command"], "bind_transmitter");
    stage.smsc.wait("unbound", 1).await;
    // What is weaker about an account is said at every start.
    let mut config = stage.app.engine.config.gateways[0].clone();
    assert_eq!(config.warning(), None, "on this machine");
    config.account.url = "smpps://smsc.carrier.example:3550".parse().expect("an address");
    assert_eq!(config.warning(), None);
    config.account.url = "smpp://smsc.carrier.example".parse().expect("an address");
    assert!(config.warning().is_some_and(|warning| warning.contains("in the clear")));
    // A password that SMPP has no room for is no password at all.
    let secret = Given::Secret(Secret::new("ninechars"));
    config.account.given.insert("password", secret);
    let refused = (config.driver.fits)(&config.account).expect_err("refused");
    assert_eq!((refused.key, refused.what.as_str()), ("password", "is longer than 8 plain characters"));
    stage.end().await;
}

#[tokio::test]
async fn each_side_asks_whether_the_other_is_there() {
    let mut stage = Stage::with(Kind::Sqlite, "enquire_link_s = 1").await;
    // A machine that stalls for a second ends a session; whoever is asked again has had our answer.
    until("one session was asked twice", async || {
        let asked = stage.smsc.told("enquire_link");
        asked.iter().any(|one| asked.iter().filter(|other| other["session"] == one["session"]).count() > 1)
    })
    .await;
    until("the SMSC has our answer", async || {
        stage.smsc.order(json!({ "command": "enquire" })).await;
        !stage.smsc.told("there").is_empty()
    })
    .await;
    stage.end().await;
}

#[tokio::test]
async fn a_session_over_tls_trusts_whom_the_settings_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let done = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-keyout", &file("key.pem"), "-out", &file("cert.pem")])
        .stderr(Stdio::null())
        .status();
    assert!(done.expect("openssl; remedy: scripts/test installs it").success(), "a certificate");
    let smsc = Smsc::start(Some(&dir.path().display().to_string())).await;
    let url = format!("smpps://localhost:{}", smsc.port);
    let mut stage = Stage::at(Kind::Sqlite, smsc, &url, &format!("ca_file = \"{}\"", file("cert.pem"))).await;
    stage.bind().await;
    stage.ask(&[it(1)]).await;
    assert_eq!(stage.state(&it(1)).await, "accepted");
    stage.end().await;
    // Without it the certificate is nobody's, and nothing but that is said.
    let smsc = Smsc::start(Some(&dir.path().display().to_string())).await;
    let url = format!("smpps://localhost:{}", smsc.port);
    let mut stage = Stage::at(Kind::Sqlite, smsc, &url, "").await;
    let checked = stage.app.engine.gateways["smpp"].check().await;
    let says = ": the SMSC's certificate is not trusted, or it speaks no TLS";
    assert!(matches!(&checked, Some(Err(why)) if why.ends_with(says)), "{checked:?}");
    assert!(stage.smsc.told("bound").is_empty(), "no password has left");
    stage.end().await;
}

/// The role that sends keeps the session, and lets it go when everything it sent is stored.
#[tokio::test]
async fn the_worker_role_keeps_the_session() {
    let smsc = Smsc::start(None).await;
    let url = format!("smpp://127.0.0.1:{}", smsc.port);
    let mut stage = Stage::at(Kind::Sqlite, smsc, &url, "").await;
    stage.app.people(&[it(1)]).await;
    stage.app.plan(LINK).await;
    stage.app.hang_up().await;
    let stop = CancellationToken::new();
    let roles = permesso::app::Roles { web: true, worker: true };
    let doors = web::Doors::bind(&stage.app.engine).await.expect("bound");
    let run = tokio::spawn(permesso::app::run(stage.app.engine.clone(), roles, Some(doors), stop.clone()));
    stage.smsc.wait("submit", 2).await;
    let number = it(1);
    let fields = json!({ "source_addr": number.trim_start_matches('+'), "destination_addr": OURS, "data_coding": 1 });
    assert_eq!(stage.deliver(&hex("STOP"), fields).await, 0);
    stop.cancel();
    run.await.expect("no panic").expect("a graceful end");
    stage.smsc.wait("unbound", 1).await;
    assert_eq!(stage.suppressed().await, 1);
    stage.end().await;
}

async fn longer_than_it_keeps(kind: Kind) {
    let mut stage = Stage::with(kind, "keeps_hours = 2").await;
    let [asked, in_time, after] = [1, 2, 3].map(it);
    stage.ask(&[asked]).await;
    // Down for an hour: whatever was written meanwhile comes by itself.
    for (hours, number, claimed) in [(1, &in_time, true), (3, &after, false)] {
        let bound = stage.smsc.told("bound").len();
        stage.smsc.order(json!({ "command": "away" })).await;
        stage.down().await;
        stage.app.advance(Duration::from_secs(hours * 3_600));
        stage.smsc.order(json!({ "command": "back" })).await;
        stage.smsc.wait("bound", bound + 1).await;
        stage.up().await;
        stage.ask(std::slice::from_ref(number)).await;
        assert_eq!(stage.state(number).await, if claimed { "accepted" } else { "planned" }, "after {hours} h");
    }
    // Down for three: some of it may be lost, and nobody speaks until an operator vouches.
    let overview = permesso::engine::report::overview(&stage.app.engine).await.expect("an overview");
    assert!(overview.unheard && overview.silence.expect("said").contains("a session was down longer"));
    assert!(crate::run::is_logged("The session was down longer than the carrier keeps replies"));
    let open = permesso::engine::steer::resume(&stage.app.engine, "A. Rossi", None).await.expect("resumed");
    assert_eq!(open.gaps, 1, "a resume alone does not settle it");
    permesso::engine::steer::resume(&stage.app.engine, "A. Rossi", Some("asked the carrier")).await.expect("resumed");
    stage.app.deliver().await;
    assert_eq!(stage.state(&after).await, "accepted");
    stage.end().await;
}

#[tokio::test]
async fn a_session_down_longer_than_the_smsc_keeps_replies_silences_until_an_operator_vouches_sqlite() {
    longer_than_it_keeps(Kind::Sqlite).await;
}

#[tokio::test]
async fn a_session_down_longer_than_the_smsc_keeps_replies_silences_until_an_operator_vouches_postgres() {
    longer_than_it_keeps(Kind::Postgres).await;
}

async fn only_an_operator_vouches_after_a_restore(kind: Kind) {
    let mut stage = Stage::new(kind).await;
    let asked = it(1);
    stage.app.people(std::slice::from_ref(&asked)).await;
    stage.app.plan(LINK).await;
    // The copy of this moment takes over four hours later: what came over the session meanwhile was answered, and stored in what was lost.
    stage.app.advance(Duration::from_secs(4 * 3_600));
    restore::replay(&stage.app.engine, &[], "A. Rossi").await.expect("restored");
    stage.app.advance(Duration::from_secs(60));
    stage.app.deliver().await;
    // What was written since, while nobody listened, the SMSC has still.
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM gaps WHERE settled_by = 'read from the gateways'").await, 1);
    let open = permesso::engine::steer::resume(&stage.app.engine, "A. Rossi", None).await.expect("resumed");
    assert_eq!(open.gaps, 1, "nobody has read what was lost");
    stage.app.deliver().await;
    assert_eq!(stage.state(&asked).await, "planned");
    let overview = permesso::engine::report::overview(&stage.app.engine).await.expect("an overview");
    assert!(overview.silence.expect("said").contains("a copy was restored"));
    permesso::engine::steer::resume(&stage.app.engine, "A. Rossi", Some("asked the carrier")).await.expect("resumed");
    stage.app.deliver().await;
    assert_eq!(stage.state(&asked).await, "accepted");
    stage.end().await;
}

#[tokio::test]
async fn what_was_acknowledged_before_a_restore_is_vouched_for_by_an_operator_alone_sqlite() {
    only_an_operator_vouches_after_a_restore(Kind::Sqlite).await;
}

#[tokio::test]
async fn what_was_acknowledged_before_a_restore_is_vouched_for_by_an_operator_alone_postgres() {
    only_an_operator_vouches_after_a_restore(Kind::Postgres).await;
}

#[tokio::test]
async fn a_gap_of_hearing_is_settled_while_the_smsc_still_has_what_was_written() {
    let mut stage = Stage::with(Kind::Sqlite, "keeps_hours = 2").await;
    let gateway = &stage.app.engine.gateways["smpp"];
    let hours = |n: i64| n * 3_600_000_000;
    assert_eq!(gateway.list_inbound(0, hours(2)).await, Some(Ok(Vec::new())));
    assert_eq!(gateway.list_inbound(0, hours(3)).await, None, "an operator has to say so");
    stage.end().await;
}

/// Asks leave over HTTP, and what people answer comes over a session.
async fn asked_elsewhere(kind: Kind) {
    let smsc = Smsc::start(None).await;
    let url = format!("smpp://127.0.0.1:{}", smsc.port);
    let account = format!("system_id = \"permesso\"\npassword = \"{PASSWORD}\"\nbacklog_s = 0\n");
    let app = TestApp::with_settings(kind, Clock::manual(MORNING.parse().expect("a time")), |text| {
        let number = "id = \"+393001234567\"\ngateway = \"mock\"";
        assert!(text.contains(number));
        let text = text.replace(number, &number.replace("mock", "smpp"));
        text.replacen("[[gateway]]", &format!("{}\n[[gateway]]", super::gateway("smpp", &account, &url)), 1)
    });
    let mut stage = Stage { app: app.await, smsc, stop: CancellationToken::new(), sessions: None, tags: 0 };
    stage.app.people(&[it(1), it(2)]).await;
    stage.app.plan(LINK).await;
    stage.app.deliver().await;
    assert_eq!((stage.app.asks(&it(1)), stage.app.asks(&it(2))), (0, 0), "a STOP could not be heard");
    stage.bind().await;
    stage.reply(&it(2), "STOP").await;
    stage.app.advance(Duration::from_secs(6));
    stage.app.deliver().await;
    assert_eq!((stage.app.asks(&it(1)), stage.app.asks(&it(2))), (1, 0));
    stage.end().await;
}

#[tokio::test]
async fn nobody_is_asked_through_one_gateway_while_the_session_that_hears_their_stop_is_down_sqlite() {
    asked_elsewhere(Kind::Sqlite).await;
}

#[tokio::test]
async fn nobody_is_asked_through_one_gateway_while_the_session_that_hears_their_stop_is_down_postgres() {
    asked_elsewhere(Kind::Postgres).await;
}
