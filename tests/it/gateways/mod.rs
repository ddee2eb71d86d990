//! Every driver against a faithful fake of its provider, over real HTTP: the fake reads our requests as the provider's pages say and
//! refuses what they do not, answers and calls back as they show. One suite for all; a provider's own stories stand in its file.

mod generic;
mod infobip;
mod kannel;
mod meta;
mod mobyt;
mod smpp;
pub mod suite;
mod twilio;
mod vonage;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use permesso::clock::Clock;
use permesso::domain::channel::Channel;
use permesso::domain::message::Receipt;

use crate::app::{Kind, MORNING, TestApp};

/// A provider, played.
pub trait Fake: Send + Sync + 'static {
    const DRIVER: &'static str;
    /// The campaign that is sent through it, and what the provider knows its sender by.
    const CAMPAIGN: &'static str = crate::app::LINK;
    const SENDER: &'static str = "ACME";
    /// Whether a second message with our reference is rejected, so that an unknown send may be asked about once more.
    const REJECTS_REPEATS: bool = false;
    /// Whether an ask is an approved template, of which only the variables are sent.
    const TEMPLATED: bool = false;

    /// The account's own keys, in TOML.
    fn account() -> String;

    /// The channels that people's evidence covers.
    const CHANNELS: &'static str = "sms";

    /// permesso.toml with this account in place of the mock's, or beside it.
    fn route(url: &str, text: &str) -> String {
        through(Self::DRIVER, &Self::account(), url, text)
    }

    /// Further files of the configuration folder.
    fn files(_folder: &std::path::Path) {}

    /// Further changes of permesso.toml: the address or the templates of a sender.
    fn settings(text: String) -> String {
        text
    }

    /// Reads a request to send as the provider's pages say; what they do not allow is a panic. `None`: it is some other request.
    fn read(request: &Request) -> Option<Message>;

    /// The answer to it. Codes are those of [`Fake::errors`].
    fn answer(message: &Message, play: &Play) -> (u16, Vec<(&'static str, String)>, String);

    /// The answer to any other request.
    fn other(_request: &Request) -> (u16, String) {
        (404, String::new())
    }

    /// A receipt as the provider calls it in; `None` where it has no such status.
    fn receipt(message: &Message, status: Receipt, error: Option<&str>) -> Option<Call>;

    /// A person's message as the provider calls it in. `id` tells one from another.
    fn inbound(from: &str, text: &str, id: &str) -> Call;

    /// A tap of whoever got this message on one of its buttons; `None` where it has none.
    fn tap(_under: &Message, _nth: usize, _title: &str, _id: &str) -> Option<Call> {
        None
    }

    /// This call, signed as the provider signs: what was changed in it comes from the provider itself.
    fn signed(call: Call) -> Call {
        call
    }

    /// That message as said at this time (microseconds UTC), where the provider tells it.
    fn said_at(call: Call, _at: i64) -> Call {
        call
    }

    /// The same call as somebody else would make it: each must be refused.
    fn forged(call: &Call) -> Vec<Call>;

    /// What of `tests/data/gateways/DRIVER.csv` comes as an answer to our request, and what as a receipt.
    fn comes(code: &str, class: &str) -> Comes;
}

/// How an error reaches us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comes {
    Answer,
    Receipt,
    Both,
    /// Not about a message at all.
    Neither,
}

/// What the provider does with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Play {
    Accept,
    Error(String),
    /// Takes it and never answers.
    Silence,
    /// Takes it and answers nonsense with a good status.
    Garbled,
    /// HTTP 500 with the provider's own page.
    Broken,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Counted from 1.
    pub n: usize,
    pub method: String,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// The fields of a form; none may come twice.
    pub fn form(&self) -> HashMap<String, String> {
        fields(&self.body)
    }

    pub fn query(&self) -> HashMap<String, String> {
        fields(self.target.split_once('?').map_or("", |(_, query)| query).as_bytes())
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

fn fields(text: &[u8]) -> HashMap<String, String> {
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(text).into_owned().collect();
    let fields: HashMap<String, String> = pairs.iter().cloned().collect();
    assert_eq!(fields.len(), pairs.len(), "a field came twice: {pairs:?}");
    fields
}

/// One message of ours, as the provider understands it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// With `+`.
    pub to: String,
    pub from: String,
    /// The text, or for a template its variables.
    pub text: String,
    /// Our reference, where the provider carries it.
    pub reference: String,
    /// Where it calls back, where a request says so.
    pub callback: String,
    pub provider_id: String,
    /// What a tap on each of its buttons brings back.
    pub buttons: Vec<String>,
}

/// A call of the provider to us.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: &'static str,
    /// Behind the public address: `/webhooks/…`.
    pub target: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

struct World {
    requests: Vec<Request>,
    messages: Vec<Message>,
    /// By recipient.
    plays: HashMap<String, Play>,
    /// Where a receipt is called in before the request is answered, if it shall be.
    receipts_first: Option<String>,
}

type Shared = Arc<Mutex<World>>;

/// A whole Permesso whose gateway is this provider.
pub struct Stage<F> {
    pub app: TestApp,
    world: Shared,
    fake: std::marker::PhantomData<F>,
}

impl<F: Fake> Stage<F> {
    pub async fn new(kind: Kind) -> Stage<F> {
        Stage::with(kind, |text| text).await
    }

    /// With yet other settings.
    pub async fn with(kind: Kind, change: impl FnOnce(String) -> String) -> Stage<F> {
        let world: Shared = Arc::new(Mutex::new(World {
            requests: Vec::new(),
            messages: Vec::new(),
            plays: HashMap::new(),
            receipts_first: None,
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let router = axum::Router::new().fallback(serve::<F>).with_state(world.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.expect("served") });
        let clock = Clock::manual(MORNING.parse().expect("a time"));
        let app = TestApp::with_settings(kind, clock, |text| change(F::settings(F::route(&url, &text)))).await;
        F::files(&app.engine.config.dir);
        Stage { app, world, fake: std::marker::PhantomData }
    }

    /// People who may be asked, on the channels of this provider.
    pub async fn people(&self, numbers: &[String]) {
        let header = "number,kind,source,ask_basis,basis_evidence,basis_date,box_default,basis_channels,country,time_zone\n";
        let row = |n: &String| format!("{n},prospect,web shop,prior_consent,form 1,2026-01-10,unticked,{},,\n", F::CHANNELS);
        let file: String = std::iter::once(header.to_owned()).chain(numbers.iter().map(row)).collect();
        let summary = self.app.import_file(&file).await;
        assert_eq!(summary.rejected, 0, "{summary:?}");
    }

    /// What happens to messages to this number from now on.
    pub fn play(&self, to: &str, play: Play) {
        self.world.lock().expect("whole").plays.insert(to.to_owned(), play);
    }

    /// From now on each message is told as delivered before our request is answered.
    pub fn receipts_first(&self) {
        self.world.lock().expect("whole").receipts_first = Some(self.app.base.clone());
    }

    /// Every message the provider took in, in order, refused ones too.
    pub fn messages(&self) -> Vec<Message> {
        self.world.lock().expect("whole").messages.clone()
    }

    pub fn to(&self, number: &str) -> Vec<Message> {
        self.messages().into_iter().filter(|message| message.to == number).collect()
    }

    /// The provider calls us; answers our status.
    pub async fn call(&self, call: &Call) -> u16 {
        ring(&self.app.http, &self.app.base, call).await
    }

    /// Calls in what must be taken, and sends what follows from it.
    pub async fn hear(&self, call: &Call) {
        let status = self.call(call).await;
        assert!((200..300).contains(&status), "{status} to {} {}", call.method, call.target);
        self.app.deliver().await;
    }

    pub async fn reply(&self, from: &str, text: &str, id: &str) {
        self.hear(&F::said_at(F::inbound(from, text, id), self.app.clock.now())).await;
    }

    /// An answer to this message: a tap on its button of this number and title, or where it has none, in words.
    pub async fn answer(&self, message: &Message, nth: usize, [title, words]: [&str; 2], id: &str) {
        match F::tap(message, nth, title, id) {
            Some(call) => self.hear(&F::said_at(call, self.app.clock.now())).await,
            None => self.reply(&message.to, words, id).await,
        }
    }

    pub async fn receipt(&self, message: &Message, status: Receipt) {
        if let Some(call) = F::receipt(message, status, None) {
            self.hear(&call).await;
        }
    }
}

/// A first yes on the page.
pub async fn chooses<F: Fake>(stage: &Stage<F>, number: &str) {
    let link = format!("{}/p/{}", stage.app.base, link(&stage.to(number)[0].text));
    assert_eq!(stage.app.submit(&link, "chosen", &["sms.promotions"]).await, 303);
    stage.app.advance(std::time::Duration::from_secs(60));
}

/// The token of the link in a text.
fn link(text: &str) -> String {
    let token = text.split("/p/").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a link");
    token.trim_end_matches('.').to_owned()
}

/// A call to us; our status.
async fn ring(http: &reqwest::Client, base: &str, call: &Call) -> u16 {
    let method = reqwest::Method::from_bytes(call.method.as_bytes()).expect("a method");
    let request = http.request(method, format!("{base}{}", call.target)).body(call.body.clone());
    let request = call.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
    request.send().await.expect("an answer").status().as_u16()
}

/// The shipped settings with this account in place of the mock gateway.
fn through(driver: &str, account: &str, url: &str, text: &str) -> String {
    let (before, rest) = text.split_once("[[gateway]]").expect("a gateway");
    let after = rest.split_once("[[sender]]").expect("a sender").1;
    let after = after.replace("gateway = \"mock\"", &format!("gateway = \"{driver}\""));
    let can = permesso::gateway::driver(driver).expect("the driver").can;
    // The shipped WhatsApp account is no account of a provider that has none.
    let whatsapp = "[[sender]]\nid = \"acme-wa\"\nchannel = \"whatsapp\"\n";
    let after = match after.split_once(whatsapp) {
        Some((before, rest)) if !can.channels.contains(&Channel::WhatsApp) => {
            format!("{before}{}", rest.split_once("\n\n").map_or("", |(_, others)| others))
        }
        _ => after,
    };
    format!("{before}{}\n[[sender]]{after}", gateway(driver, account, url))
}

/// The shipped settings with WhatsApp through this account; SMS stays with the mock.
fn route_whatsapp(driver: &str, account: &str, url: &str, address: &str, text: &str) -> String {
    let text = text.replacen("[[gateway]]", &format!("{}\n[[gateway]]", gateway(driver, account, url)), 1);
    let row = |text: &str, locale: &str, named: bool, link: bool| {
        format!(
            "  {{ text = \"{text}\", locale = \"{locale}\", id = \"{text}_v1\", language = \"{locale}\", approved = \"2026-11-02\", values = [\"brand\"], named = {named}, link_button = {link} }},\n"
        )
    };
    let locales = ["de", "en", "es", "fr", "it", "pl"];
    let rows = locales.map(|l| row("repermission_whatsapp", l, false, true) + &row("confirm", l, true, false)).concat();
    let sender = format!("gateway = \"{driver}\"\naddress = \"{address}\"\ntemplates = [\n{rows}]\n");
    let whatsapp = "id = \"acme-wa\"\nchannel = \"whatsapp\"\ngateway = \"mock\"\n";
    assert!(text.contains(whatsapp));
    text.replacen(whatsapp, &whatsapp.replace("gateway = \"mock\"\n", &sender), 1)
}

/// The shipped campaign that asks by WhatsApp first, without its second leg.
fn whatsapp_only(folder: &std::path::Path) {
    let text = std::fs::read_to_string(folder.join("campaigns/whatsapp-first.toml")).expect("the campaign");
    let (before, rest) = text.split_once("[ask.sms]").expect("a second leg");
    let text = format!("{before}[preferences]{}", rest.split_once("[preferences]").expect("preferences").1);
    let text = text.replace("name = \"whatsapp-first\"", "name = \"whatsapp-only\"");
    std::fs::write(folder.join("campaigns/whatsapp-only.toml"), text).expect("written");
}

fn gateway(driver: &str, account: &str, url: &str) -> String {
    format!(
        "[[gateway]]\nname = \"{driver}\"\ndriver = \"{driver}\"\nurl = \"{url}\"\nrate = 10000.0\nsimulator = true\n{account}\n"
    )
}

async fn serve<F: Fake>(
    State(world): State<Shared>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (message, play, request, receipts_first) = {
        let mut world = world.lock().expect("whole");
        let n = world.requests.len() + 1;
        let request = Request { n, method: method.to_string(), target: uri.to_string(), headers, body: body.to_vec() };
        world.requests.push(request.clone());
        let message = F::read(&request);
        world.messages.extend(message.clone());
        let play = message.as_ref().and_then(|m| world.plays.get(&m.to)).cloned().unwrap_or(Play::Accept);
        (message, play, request, world.receipts_first.clone())
    };
    let Some(message) = message else {
        let (status, body) = F::other(&request);
        return (StatusCode::from_u16(status).expect("a status"), body).into_response();
    };
    if play == Play::Silence {
        std::future::pending::<()>().await;
    }
    if let Some(base) = receipts_first {
        let receipt = F::receipt(&message, Receipt::Delivered, None).expect("it tells what is delivered");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        assert_eq!(ring(&http, &base, &receipt).await / 100, 2);
    }
    let (status, headers, body) = F::answer(&message, &play);
    let mut response = (StatusCode::from_u16(status).expect("a status"), body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().expect("a header"));
    }
    response
}
