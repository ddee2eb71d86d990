//! A whole Permesso for one test: temporary folder, database, mock gateway, clock in hand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use permesso::app;
use permesso::clock::Clock;
use permesso::config::Config;
use permesso::domain::phone::{Fiction, PhoneNumber};
use permesso::engine::{Engine, deliver, import, notice, plan};
use permesso::gateway::mock::book::Accepted;
use permesso::gateway::mock::faults::Faults;
use permesso::gateway::mock::server::{MockGateway, MockOptions, start};
use permesso::store::{Store, campaigns, contacts, messages};
use permesso::vault::Vault;
use permesso::web;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// Tuesday, 1 December 2026, 10:45 in Rome: open hours everywhere.
pub const MORNING: &str = "2026-12-01T09:45:00Z";
pub const LINK: &str = "rinnovo-consensi";
pub const REPLY: &str = "renew-consents";
pub const REPLY_NUMBER: &str = "+393001234567";
pub const HEADER: &str =
    "number,country,kind,last_action,source,ask_basis,basis_evidence,basis_date,box_default,unsubscribed,external_id,time_zone\n";

pub const WHATSAPP_FIRST: &str = "whatsapp-first";
/// Rows that say which channels the evidence covers.
pub const ON_CHANNELS: &str = "number,kind,source,ask_basis,basis_evidence,basis_date,box_default,basis_channels\n";

/// The value of a hidden field of a page.
pub fn field(page: &str, name: &str) -> String {
    page.split(&format!("name=\"{name}\" value=\"")).nth(1).and_then(|r| r.split('"').next()).unwrap_or("").to_owned()
}

/// Until it is told to wait: tries come back one by one meanwhile, so that no certain try is the one too many.
pub async fn too_many(mut a_try: impl AsyncFnMut() -> u16) {
    let mut tries = 0;
    while a_try().await != 429 {
        tries += 1;
        assert!(tries < 200, "tries are limited");
    }
}

pub struct TestApp {
    pub kind: Kind,
    pub dir: tempfile::TempDir,
    pub engine: Arc<Engine>,
    pub gateway: MockGateway,
    pub clock: Clock,
    pub base: String,
    pub operator: String,
    pub http: reqwest::Client,
    stop: CancellationToken,
    served: Option<tokio::task::JoinHandle<()>>,
}

/// Free ports below those that the system hands out to clients, and each to one test only: a port found by binding port 0 and
/// letting go is taken by somebody's outgoing connection now and then.
pub fn ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Two runs of the suite on one machine begin at different places.
    let first = std::process::id() % 190 * 100;
    std::array::from_fn(|_| {
        loop {
            let port = 10_000 + u16::try_from((first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000).expect("below 20,000");
            if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    })
}

/// The shipped configuration with other addresses, in a temporary folder.
pub fn write_config(dir: &std::path::Path, public: u16, operator: u16, gateway: u16, database: &str) -> PathBuf {
    let shipped = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config");
    let to = dir.join("config");
    for folder in ["", "campaigns", "countries", "replies"] {
        std::fs::create_dir_all(to.join(folder)).expect("a folder");
        for entry in std::fs::read_dir(shipped.join(folder)).expect("the shipped configuration") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|e| e == "toml") {
                let mut text = std::fs::read_to_string(&path).expect("text");
                text = text
                    .replace("127.0.0.1:8080", &format!("127.0.0.1:{public}"))
                    .replace("127.0.0.1:8081", &format!("127.0.0.1:{operator}"))
                    .replace("127.0.0.1:8082", &format!("127.0.0.1:{gateway}"));
                if path.file_name().is_some_and(|n| n == "permesso.toml") {
                    text = text
                        .lines()
                        .map(|l| match l {
                            l if l.starts_with("database") => format!("database = \"{database}\""),
                            l if l.starts_with("rate = \"") => "rate = \"10000/s\"".to_owned(),
                            l if l.starts_with("rate =") => "rate = 10000.0".to_owned(),
                            l => l.to_owned(),
                        })
                        .collect::<Vec<_>>()
                        .join("\n");
                } else {
                    text = text
                        .lines()
                        .filter(|l| !l.starts_with("first = "))
                        .map(|l| if l.starts_with("rate = ") { "rate = \"10000/s\"" } else { l })
                        .collect::<Vec<_>>()
                        .join("\n");
                }
                std::fs::write(to.join(folder).join(path.file_name().expect("named")), text).expect("written");
            }
        }
    }
    to
}

/// Every provider with its region, as a notice wants it.
fn named(settings: &str) -> String {
    let line = |line: &str| match line.starts_with("driver = \"") && !line.contains("mock") {
        true => format!("{line}\nregion = \"EU\"\n"),
        false => format!("{line}\n"),
    };
    settings.lines().map(line).collect()
}

async fn mock(port: u16, base: &str, clock: &Clock) -> MockGateway {
    let now = clock.clone();
    let options = MockOptions {
        listen: ([127, 0, 0, 1], port).into(),
        token: "mock-token".into(),
        webhook_secret: "mock-webhook-secret".into(),
        webhook_url: Some(format!("{base}/webhooks/mock")),
        faults: Faults::default(),
        two_way: vec![REPLY_NUMBER.into()],
        whatsapp: vec!["acme-wa".into()],
        dedupe: false,
        now: Arc::new(move || now.now()),
    };
    start(options).await.expect("the mock gateway")
}

impl TestApp {
    pub async fn new(kind: Kind) -> TestApp {
        TestApp::with_clock(kind, Clock::manual(MORNING.parse::<DateTime<Utc>>().expect("a time"))).await
    }

    pub async fn with_clock(kind: Kind, clock: Clock) -> TestApp {
        TestApp::with_settings(kind, clock, |settings| settings).await
    }

    /// With other settings: another gateway than the mock.
    pub async fn with_settings(kind: Kind, clock: Clock, change: impl FnOnce(String) -> String) -> TestApp {
        let dir = tempfile::tempdir().expect("a folder");
        let database = match kind {
            Kind::Sqlite => format!("sqlite:{}", dir.path().join("permesso.db").display()),
            Kind::Postgres => crate::postgres::database().await,
        };
        TestApp::made(kind, clock, dir, &database, change).await
    }

    /// On a database, and in a folder that may hold its key already.
    pub async fn on(kind: Kind, clock: Clock, dir: tempfile::TempDir, database: &str) -> TestApp {
        TestApp::made(kind, clock, dir, database, |settings| settings).await
    }

    async fn made(
        kind: Kind,
        clock: Clock,
        dir: tempfile::TempDir,
        database: &str,
        change: impl FnOnce(String) -> String,
    ) -> TestApp {
        app::install_tls();
        crate::run::capture_logs();
        let [public, operator, port] = ports();
        let config_dir = write_config(dir.path(), public, operator, port, database);
        let settings = config_dir.join("permesso.toml");
        std::fs::write(&settings, named(&change(std::fs::read_to_string(&settings).expect("settings")))).expect("written");
        // Prices are of the mock's.
        let prices = config_dir.join("prices.toml");
        if !std::fs::read_to_string(&settings).expect("settings").contains("name = \"mock\"") {
            std::fs::remove_file(&prices).expect("removed");
        }
        let config = Config::load(&config_dir).unwrap_or_else(|e| panic!("{e}"));
        if !config.key_file.exists() {
            Vault::create(&config.key_file).expect("a key");
        }
        let store = Store::migrate(database).await.expect("migrated");
        let vault = Vault::open(&config.key_file).expect("the key");
        let engine = Arc::new(app::build(config, vault, store, clock.clone()).expect("built"));
        notice::publish(&engine).await.expect("a notice");
        let gateway = mock(port, &format!("http://127.0.0.1:{public}"), &clock).await;
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().expect("a client");
        let mut app = TestApp {
            kind,
            dir,
            engine,
            gateway,
            clock,
            base: format!("http://127.0.0.1:{public}"),
            operator: format!("http://127.0.0.1:{operator}"),
            http,
            stop: CancellationToken::new(),
            served: None,
        };
        app.listen().await;
        app
    }

    /// Closes the mock gateway's port: connections are refused from now on. Its log begins anew.
    pub async fn close_gateway(&mut self) -> u16 {
        let port = self.gateway.addr().port();
        let elsewhere = mock(0, &self.base, &self.clock).await;
        std::mem::replace(&mut self.gateway, elsewhere).stop().await;
        port
    }

    /// Opens it again.
    pub async fn open_gateway(&mut self, port: u16) {
        self.gateway = mock(port, &self.base, &self.clock).await;
    }

    /// Opens both doors, and with them the ear.
    pub async fn listen(&mut self) {
        web::hear_once(&self.engine).await.expect("heard");
        let doors = web::Doors::bind(&self.engine).await.expect("bound");
        let (engine, stop) = (self.engine.clone(), self.stop.clone());
        self.served = Some(tokio::spawn(async move { doors.serve(engine, stop).await.expect("served") }));
    }

    /// Closes both doors: from now on nobody hears.
    pub async fn hang_up(&mut self) {
        self.stop.cancel();
        if let Some(served) = self.served.take() {
            served.await.expect("ended");
        }
        self.stop = CancellationToken::new();
    }

    /// Goes on with more settings at the end of permesso.toml, as after a restart.
    pub async fn reconfigure(&mut self, more: &str) {
        let dir = self.engine.config.dir.clone();
        let file = dir.join("permesso.toml");
        let text = std::fs::read_to_string(&file).expect("the settings");
        std::fs::write(&file, format!("{text}\n{more}\n")).expect("written");
        let config = Config::load(&dir).unwrap_or_else(|e| panic!("{e}"));
        let vault = Vault::open(&config.key_file).expect("the key");
        let engine = app::build(config, vault, self.engine.store.clone(), self.clock.clone()).expect("built");
        self.hang_up().await;
        self.engine = Arc::new(engine);
        self.listen().await;
    }

    /// Ends the test, and looks whether anything private was logged meanwhile (promise 9).
    pub async fn end(&mut self) {
        self.gateway.idle().await;
        self.hang_up().await;
        self.engine.store.close().await;
        crate::run::logs_hold_none_of(&self.private());
    }

    /// Every number and token that this test used.
    fn private(&self) -> Vec<String> {
        let log = self.gateway.log();
        let links = log.iter().flat_map(|m| m.text.split_whitespace().filter(|w| w.starts_with("http")));
        let tokens = links.filter_map(|l| l.rsplit('/').next()).map(str::to_owned);
        let numbers = log.iter().map(|m| m.to.trim_start_matches('+').to_owned());
        tokens.chain(numbers).collect()
    }

    pub fn number(text: &str) -> PhoneNumber {
        PhoneNumber::parse(text, None, Fiction::Allowed).expect("a number")
    }

    /// An Italian number reserved here for fiction.
    pub fn it(n: u32) -> String {
        format!("+39300{n:07}")
    }

    /// A British number reserved for fiction.
    pub fn gb(n: u32) -> String {
        format!("+447700900{n:03}")
    }

    /// A row of somebody who may be asked.
    pub fn good(number: &str) -> String {
        format!("{number},,prospect,,web shop,prior_consent,form 1,2026-01-10,unticked,,,\n")
    }

    pub async fn import(&self, rows: &str) -> import::Summary {
        self.import_file(&format!("{HEADER}{rows}")).await
    }

    pub async fn import_file(&self, text: &str) -> import::Summary {
        let file = self.dir.path().join("contacts.csv");
        std::fs::write(&file, text).expect("written");
        import::contacts(&self.engine, &file, |_| {}).await.expect("imported")
    }

    pub async fn people(&self, numbers: &[String]) {
        let rows: String = numbers.iter().map(|n| TestApp::good(n)).collect();
        let summary = self.import(&rows).await;
        assert_eq!(summary.rejected, 0, "{summary:?}");
    }

    /// Somebody whose evidence covers these channels.
    pub async fn person(&self, number: &str, channels: &str) {
        let row = format!("{ON_CHANNELS}{number},prospect,web shop,prior_consent,form 1,2026-01-10,unticked,{channels}\n");
        assert_eq!(self.import_file(&row).await.rejected, 0);
    }

    /// Somebody who is not on WhatsApp, asked there: accepted, and no receipt yet. Answers the reference of the ask.
    pub async fn asked_by_whatsapp(&self, number: &str) -> String {
        self.person(number, "sms whatsapp").await;
        self.gateway.set_faults(Faults { not_on_whatsapp_late: [number.to_owned()].into(), ..Faults::default() });
        self.plan(WHATSAPP_FIRST).await;
        self.deliver_unheard().await;
        self.inbox(number)[0].reference.clone()
    }

    /// Delivers what is due and hears what the gateway tells of it.
    pub async fn settle(&self) {
        self.deliver().await;
        self.gateway.idle().await;
    }

    /// Plans, starts, and decides about everybody; sends nothing yet.
    pub async fn plan(&self, name: &str) -> i64 {
        self.plan_as(name, |_| {}).await
    }

    /// As [`TestApp::plan`], with the campaign changed before it is frozen.
    pub async fn plan_as(&self, name: &str, change: impl FnOnce(&mut permesso::domain::campaign::Campaign)) -> i64 {
        let mut campaign = self.engine.config.campaign(name).unwrap_or_else(|e| panic!("{e}"));
        change(&mut campaign);
        let counts = plan::preview(&self.engine, &campaign, |_| {}).await.expect("previewed");
        let id = plan::save(&self.engine, &campaign, &counts).await.expect("saved");
        let row = plan::start(&self.engine, &campaign.name, &id).await.expect("started").campaign_id;
        while plan::plan_next(&self.engine, row).await.expect("planned") {}
        row
    }

    /// Delivers every due batch, as the worker's jobs do, until nothing is due.
    pub async fn deliver(&self) -> Vec<deliver::Ended> {
        TestApp::deliver_by(&self.engine).await
    }

    pub async fn deliver_by(engine: &Engine) -> Vec<deliver::Ended> {
        web::hear_once(engine).await.expect("heard");
        let mut ended = Vec::new();
        for _ in 0..5 {
            let mut tx = engine.store.read().await.expect("a transaction");
            let due = messages::due_batches(&mut tx, &engine.controller, engine.now(), 1000).await.expect("batches");
            tx.rollback().await.expect("rolled back");
            if due.is_empty() {
                break;
            }
            for (batch,) in due {
                ended.push(deliver::deliver(engine, batch, &CancellationToken::new()).await.expect("delivered"));
            }
        }
        ended
    }

    /// Delivers what is due; the gateway accepts it, and no receipt of it comes.
    pub async fn deliver_unheard(&self) {
        self.gateway.set_webhook_url("http://127.0.0.1:9/".into());
        self.settle().await;
        self.gateway.set_webhook_url(format!("{}/webhooks/mock", self.base));
    }

    pub async fn send(&self, name: &str) -> i64 {
        let id = self.plan(name).await;
        self.settle().await;
        id
    }

    pub fn advance(&self, duration: Duration) {
        self.clock.advance(i64::try_from(duration.as_micros()).expect("fits"));
    }

    /// What this phone got, oldest first.
    pub fn inbox(&self, number: &str) -> Vec<Accepted> {
        self.gateway.log().into_iter().filter(|m| m.to == number).collect()
    }

    pub fn asks(&self, number: &str) -> usize {
        self.inbox(number).iter().filter(|m| m.reference.starts_with("ask")).count()
    }

    pub fn link(&self, number: &str) -> String {
        let message = self.inbox(number).into_iter().rev().find(|m| m.text.contains("http")).expect("a message with a link");
        message.text.split_whitespace().find(|w| w.starts_with("http")).expect("a link").trim_end_matches('.').to_owned()
    }

    /// A reply typed on a phone; stored when this returns. What it causes is sent.
    pub async fn reply(&self, number: &str, to: &str, text: &str) {
        self.gateway.reply(number, to, text).await;
        self.deliver().await;
        self.gateway.idle().await;
    }

    pub async fn get(&self, url: &str) -> (u16, String) {
        let answer = self.http.get(url).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    /// Opens the page as a browser and submits it.
    pub async fn submit(&self, link: &str, answer: &str, grants: &[&str]) -> u16 {
        let (_, page) = self.get(link).await;
        self.post(link, &field(&page, "nonce"), answer, grants).await
    }

    pub async fn post(&self, link: &str, nonce: &str, answer: &str, grants: &[&str]) -> u16 {
        let pairs = [("nonce", nonce), ("answer", answer)].into_iter().chain(grants.iter().map(|g| ("grant", *g)));
        self.post_form(link, &pairs.map(|(name, value)| (name, value.to_owned())).collect::<Vec<_>>()).await
    }

    pub async fn post_form(&self, link: &str, pairs: &[(&str, String)]) -> u16 {
        self.answer_to(link, pairs).await.0
    }

    /// As [`TestApp::post_form`], with the page that is the answer.
    pub async fn answer_to(&self, link: &str, pairs: &[(&str, String)]) -> (u16, String) {
        let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let request = self.http.post(link).header("sec-fetch-site", "same-origin");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    /// Messages by state, of everything.
    pub async fn states(&self) -> BTreeMap<String, i64> {
        let mut tx = self.engine.store.read().await.expect("a transaction");
        let rows = permesso::store::report::all_messages(&mut tx, &self.engine.controller).await.expect("counted");
        tx.rollback().await.expect("rolled back");
        let mut out = BTreeMap::new();
        for (kind, state, count) in rows {
            if kind == "ask" {
                *out.entry(state).or_default() += count;
            }
        }
        out
    }

    pub async fn granted(&self, number: &str) -> Vec<String> {
        self.story(number).await.preferences.into_iter().filter_map(|p| p.strip_suffix(": granted").map(str::to_owned)).collect()
    }

    pub async fn story(&self, number: &str) -> permesso::engine::explain::Story {
        permesso::engine::explain::explain(&self.engine, &TestApp::number(number)).await.expect("explained")
    }

    /// What was decided about a person, a line each: outcome, code, sentence, rule, and the facts it saw as JSON.
    pub async fn decisions(&self, number: &str) -> Vec<String> {
        let decisions = self.story(number).await.campaigns.into_iter().flat_map(|c| c.decisions);
        let line = |d: permesso::engine::explain::Decision| {
            let facts = serde_json::to_string(&d.facts).expect("JSON");
            format!("{} {}. {} By {}. {facts}", d.outcome, d.code, d.sentence, d.by.unwrap_or_default())
        };
        decisions.map(line).collect()
    }

    /// What happened to a person, a line each, in order of time.
    pub async fn history(&self, number: &str) -> Vec<String> {
        self.story(number).await.history.into_iter().map(|m| format!("{} {}", m.kind, m.what)).collect()
    }

    /// One number from a query, for what no door shows.
    pub async fn count(&self, sql: &'static str) -> i64 {
        match &self.engine.store {
            Store::Sqlite { read, .. } => sqlx::query_scalar(sql).fetch_one(read).await.expect("counted"),
            Store::Postgres { pool, .. } => sqlx::query_scalar(sql).fetch_one(pool).await.expect("counted"),
        }
    }

    /// The state of this person's newest ask.
    pub async fn state_of(&self, number: &str) -> String {
        let mut tx = self.engine.store.read().await.expect("a transaction");
        let keyed = self.engine.vault.keyed_all(&TestApp::number(number));
        let contact = contacts::by_number(&mut tx, &self.engine.controller, &keyed).await.expect("read").expect("a contact").id;
        tx.rollback().await.expect("rolled back");
        let sql = "SELECT state FROM messages WHERE contact_id = $1 AND kind = 'ask' ORDER BY id DESC LIMIT 1";
        match &self.engine.store {
            Store::Sqlite { read, .. } => sqlx::query_scalar(sql).bind(contact).fetch_one(read).await.expect("an ask"),
            Store::Postgres { pool, .. } => sqlx::query_scalar(sql).bind(contact).fetch_one(pool).await.expect("an ask"),
        }
    }

    /// Everything a table holds, as JSON, for what must not be in it.
    pub async fn dump(&self, table: &str) -> String {
        match &self.engine.store {
            Store::Sqlite { read, .. } => {
                let names: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info($1)")
                    .bind(table)
                    .fetch_all(read)
                    .await
                    .expect("columns");
                let columns = names.iter().map(|c| format!("COALESCE({c}, '')")).collect::<Vec<_>>().join(" || '|' || ");
                let sql = format!("SELECT COALESCE(group_concat({columns}, char(10)), '') FROM {table}");
                sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(read).await.expect("dumped")
            }
            Store::Postgres { pool, .. } => {
                let sql = format!("SELECT COALESCE(json_agg(t)::text, '') FROM {table} t");
                sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(pool).await.expect("dumped")
            }
        }
    }

    pub async fn execute(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        match &self.engine.store {
            Store::Sqlite { write, .. } => sqlx::query(sql).execute(write).await.map(drop),
            Store::Postgres { pool, .. } => sqlx::query(sql).execute(pool).await.map(drop),
        }
    }

    pub async fn campaign(&self, id: i64) -> campaigns::Row {
        let mut tx = self.engine.store.read().await.expect("a transaction");
        let row = campaigns::by_id(&mut tx, id).await.expect("read").expect("there");
        tx.rollback().await.expect("rolled back");
        row
    }

    /// A second engine on the same database: another worker process, as far as the database can tell.
    pub async fn another(&self) -> Arc<Engine> {
        let config = self.engine.config.clone();
        let vault = Vault::open(&config.key_file).expect("the key");
        let store = Store::open(&config.database).await.expect("opened");
        Arc::new(app::build(config, vault, store, self.clock.clone()).expect("built"))
    }
}
