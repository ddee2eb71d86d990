//! Kannel: a fake of its `sendsms` for the suite, and Debian's own Kannel with its fake SMSC for the whole way.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use permesso::clock::Clock;
use permesso::domain::message::Receipt;
use url::form_urlencoded::byte_serialize;

use super::{Call, Comes, Fake, Message, Play, Request, Stage, through};
use crate::app::{Kind, LINK, MORNING, REPLY_NUMBER, TestApp};
use crate::run::until;

const TOKEN: &str = "0123456789abcdef-kannel";
const GSM: &str = "a€ {é}@_$";

struct Kannel;

fn escaped(text: impl AsRef<[u8]>) -> String {
    byte_serialize(text.as_ref()).collect()
}

fn got(target: String) -> Call {
    Call { method: "GET", target, headers: Vec::new(), body: String::new() }
}

/// The `get-url` of the manual's page, filled in. `text`: the bytes as `%b` gives them.
fn said(from: &str, text: &[u8], coding: u8, id: &str) -> Call {
    // The suite's second yes is said two minutes after the first.
    let at = if id.starts_with("second") { 1_796_118_420 } else { 1_796_118_300 };
    let (from, to, text) = (escaped(from), escaped(REPLY_NUMBER), escaped(text));
    got(format!("/webhooks/kannel/{TOKEN}?from={from}&to={to}&text={text}&coding={coding}&id={id}&ts={at}"))
}

impl Fake for Kannel {
    const DRIVER: &'static str = "kannel";

    fn account() -> String {
        format!("username = \"permesso\"\npassword = \"foo bar&\"\ncallback_token = \"{TOKEN}\"")
    }

    fn read(request: &Request) -> Option<Message> {
        assert_eq!((request.method.as_str(), request.path()), ("GET", "/cgi-bin/sendsms"));
        let mut query = request.query();
        if !query.contains_key("to") {
            return None;
        }
        let mut take = |name: &str| query.remove(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!((take("username"), take("password")), ("permesso".into(), "foo bar&".into()));
        assert_eq!((take("charset"), take("dlr-mask"), take("coding")), ("UTF-8".into(), "31".into(), "0".into()));
        assert!(take("validity").parse::<u32>().expect("minutes") >= 1);
        let callback = take("dlr-url");
        let (address, parameters) = callback.split_once('?').expect("parameters");
        assert!(address.ends_with(&format!("/webhooks/kannel/{TOKEN}")), "{address}");
        let reference = parameters.strip_prefix("ref=").and_then(|rest| rest.split('&').next()).expect("ours").to_owned();
        let (to, from, text) = (take("to"), take("from"), take("text"));
        assert!(query.is_empty(), "{query:?}");
        Some(Message { to, from, text, callback, provider_id: reference.clone(), reference, buttons: Vec::new() })
    }

    fn answer(_message: &Message, play: &Play) -> (u16, Vec<(&'static str, String)>, String) {
        let (status, text) = match play {
            Play::Accept | Play::Silence => (202, "3: Queued for later delivery"),
            Play::Garbled => (202, "<html>"),
            Play::Broken => (500, "Sending failed."),
            Play::Error(text) if text.starts_with("Temporal") => (503, text.as_str()),
            Play::Error(text) if text.starts_with("Auth") || text.starts_with("Not r") => (403, text.as_str()),
            Play::Error(text) => (400, text.as_str()),
        };
        (status, Vec::new(), text.to_owned())
    }

    fn receipt(message: &Message, status: Receipt, error: Option<&str>) -> Option<Call> {
        let (stat, code) = error.map_or(("UNDELIV", "001"), |e| e.split_once(' ').unwrap_or((e, "000")));
        let carrier =
            format!("id:7 sub:001 dlvrd:000 submit date:2612011045 done date:2612011046 stat:{stat} err:{code} text:ACME");
        let refused = error.and_then(|error| error.strip_prefix("NACK "));
        let (dlr, answer) = match status {
            _ if refused.is_some() => ("16", format!("NACK/{}/as the carrier says it", refused.unwrap_or_default())),
            Receipt::Sent => ("8", "ACK/".to_owned()),
            Receipt::Delivered => ("1", String::new()),
            Receipt::Undelivered | Receipt::Expired => ("2", carrier),
            Receipt::Failed if error.is_some() => ("2", carrier),
            Receipt::Failed => ("16", "NACK/0x0000000b/Invalid Destination Address".to_owned()),
            Receipt::Accepted | Receipt::Read => return None,
        };
        let callback = match message.callback.split_once("ref=") {
            Some((before, rest)) => format!("{before}ref={}{}", message.reference, rest.find('&').map_or("", |at| &rest[at..])),
            None => panic!("no reference in the callback"),
        };
        let filled = callback.replace("%d", dlr).replace("%F", "7").replace("%T", "1796118400").replace("%A", &escaped(answer));
        Some(got(filled[filled.find("/webhooks").expect("ours")..].to_owned()))
    }

    fn inbound(from: &str, text: &str, id: &str) -> Call {
        said(from, text.as_bytes(), 0, &escaped(id))
    }

    fn forged(call: &Call) -> Vec<Call> {
        let nobody = call.target.replace(&format!("/{TOKEN}"), "");
        let guessed = call.target.replace(TOKEN, "0123456789abcdef-kannem");
        vec![got(nobody), got(guessed), Call { method: "POST", ..call.clone() }]
    }

    fn comes(code: &str, _class: &str) -> Comes {
        match code.split_once(' ').map_or(code, |(stat, _)| stat) {
            "UNDELIV" | "REJECTD" | "EXPIRED" | "NACK" => Comes::Receipt,
            _ => Comes::Answer,
        }
    }
}

crate::conformance!(Kannel);

#[tokio::test]
async fn kannel_is_answered_200_and_every_spelling_of_a_person_is_understood() {
    let mut stage = Stage::<Kannel>::new(Kind::Sqlite).await;
    let people: Vec<String> = (1..=4).map(TestApp::it).collect();
    stage.app.people(&people).await;
    stage.app.plan(LINK).await;
    stage.app.deliver().await;
    let ucs2 = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    // `č` is 01 0D and `†` 20 20: what a squeezed text would lose.
    for (call, number) in [
        (said(&people[0], b"STOP", 0, "1"), 1),
        (said(people[1].trim_start_matches('+'), b"STOP", 0, "2"), 2),
        (said(&people[2].replace('+', "00"), &ucs2("STOP † zatím č"), 2, "3"), 3),
    ] {
        // After a 204 smsbox calls again.
        assert_eq!(stage.call(&call).await, 200);
        assert_eq!(stage.app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await, number);
    }
    // Data for a handset, half a character, a name, no id: kept for an operator, never guessed at.
    let strange = [
        said(&people[3], b"STOP", 1, "4"),
        said(&people[3], &[0], 2, "5"),
        said("ACME", b"STOP", 0, "6"),
        said(&people[3], b"STOP", 0, ""),
    ];
    for call in &strange {
        assert_eq!(stage.call(call).await, 200);
    }
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events WHERE effect = 'held'").await, 4);
    stage.app.end().await;
}

#[tokio::test]
async fn whoever_signs_nothing_is_warned_of_at_the_start() {
    let mut stage = Stage::<Kannel>::new(Kind::Sqlite).await;
    stage.app.hang_up().await;
    let (stop, roles) = (tokio_util::sync::CancellationToken::new(), permesso::app::Roles { web: true, worker: false });
    let run = tokio::spawn(permesso::app::run(stage.app.engine.clone(), roles, None, stop.clone()));
    let warning = "Kannel signs no callbacks: those of gateway kannel are believed by the secret part of their address, from any address: \
                   `callback_addresses` would narrow that";
    until("the warning is in the log", async || crate::run::is_logged(warning)).await;
    stop.cancel();
    run.await.expect("no panic").expect("a graceful end");
    assert!(!crate::run::is_logged(TOKEN), "the secret itself is in no log");
    stage.app.end().await;
}

/// Debian's Kannel: its boxes and its fake SMSC, each a process, all of them gone with this.
struct Boxes {
    dir: tempfile::TempDir,
    ports: [u16; 4],
    running: Vec<Child>,
}

/// The whole kannel.conf of the manual's page, with other addresses.
fn conf(dir: &Path, [admin, boxes, smsc, sendsms]: [u16; 4], get_url: &str) -> String {
    let readme = include_str!("../../../README.md");
    let shown = readme.split("```ini\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a kannel.conf in the README");
    let shown = shown.split_once("group = smsc\n").expect("an smsc");
    let others = shown.1.split_once("\n\n").expect("more groups").1;
    let fake = format!("group = smsc\nsmsc = fake\nsmsc-id = FAKE\nport = {smsc}\nconnect-allow-ip = 127.0.0.1");
    let mut text = format!("{}{fake}\n\n{others}", shown.0);
    for (from, to) in [
        ("admin-port = 13000", format!("admin-port = {admin}")),
        ("box-port = 13001", format!("box-port = {boxes}")), // smsbox-port and bearerbox-port
        ("sendsms-port = 13013", format!("sendsms-port = {sendsms}")),
        ("/var/spool/kannel/store", dir.join("store").display().to_string()),
        ("http://127.0.0.1:8080/webhooks/kannel/TOKEN", get_url.to_owned()),
        ("SECRET1", "adm".to_owned()),
        ("SECRET2", "foo bar&".to_owned()),
    ] {
        assert!(text.contains(from), "the README's kannel.conf has no {from}");
        text = text.replace(from, &to);
    }
    text
}

impl Boxes {
    fn new() -> Boxes {
        Boxes { dir: tempfile::tempdir().expect("a folder"), ports: crate::app::ports(), running: Vec::new() }
    }

    fn start(&mut self, program: &str, arguments: &[&str], log: &str) {
        let log = File::create(self.dir.path().join(log)).expect("a log");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stderr(log.try_clone().expect("a log")).stdout(log);
        self.running.push(command.spawn().unwrap_or_else(|e| panic!("{program}: {e}; remedy: scripts/test installs it")));
    }

    fn log(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.path().join(name)).unwrap_or_default()).into_owned()
    }

    /// What bearerbox says of itself and its SMSC.
    async fn status(&self, http: &reqwest::Client) -> String {
        let url = format!("http://127.0.0.1:{}/status.txt?password=adm", self.ports[0]);
        match http.get(url).send().await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// A handset at the fake SMSC, in place of the one before: the SMSC takes one at a time. It says `message` once, and hears.
    async fn handset(&mut self, http: &reqwest::Client, message: Option<&str>, log: &str) {
        if self.running.len() > 2 {
            let mut before = self.running.pop().expect("a handset");
            before.kill().expect("killed");
            before.wait().expect("gone");
            until("the SMSC is free", async || !self.status(http).await.contains("(online")).await;
        }
        let port = self.ports[2].to_string();
        let (most, message) = message.map_or(("0", "1 2 text nothing"), |message| ("1", message));
        self.start("/usr/lib/kannel/test/fakesmsc", &["-H", "127.0.0.1", "-r", &port, "-m", most, message], log);
    }
}

impl Drop for Boxes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in ["bearerbox", "smsbox", "heard", "said"] {
                println!("{log}: {}", self.log(log));
            }
        }
        for child in self.running.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What the fake SMSC got for a number, put together: `udh %05%00%03%07%02%01 data …` is a part, its text in UTF-8 or UTF-16BE. A line that
/// it is still writing has no end.
fn arrived(log: &str, to: &str) -> Vec<u8> {
    let start = format!("<ACME {to} udh ");
    let parts = log.lines().filter_map(|line| line.split_once(&start)?.1.strip_suffix('>')?.split_once(" data "));
    let mut parts: Vec<(&str, &str)> = parts.collect();
    parts.sort_unstable();
    let pair = |(_, text): &(&str, &str)| form_urlencoded_bytes(text);
    parts.iter().flat_map(pair).collect()
}

fn form_urlencoded_bytes(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.bytes().next() {
        let (byte, length) = match first {
            b'%' => (u8::from_str_radix(&rest[1..3], 16).expect("hex"), 3),
            b'+' => (b' ', 1),
            plain => (plain, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

#[tokio::test]
async fn an_ask_goes_out_through_debians_kannel_and_the_receipt_and_a_stop_come_back() {
    let mut boxes = Boxes::new();
    let texts = boxes.dir.path().join("messages");
    std::fs::create_dir(&texts).expect("a folder");
    let short = "{{ brand }}: pytamy, bo mamy Twój numer: możemy przesyłać informacje i promocje? Jeśli nie, STOP na {{ reply_number }}. Wybór: {{ link }}";
    std::fs::write(texts.join("repermission.pl.txt"), short).expect("written");
    let url = format!("http://127.0.0.1:{}", boxes.ports[3]);
    let clock = Clock::starting(MORNING.parse().expect("a time"));
    let mut app = TestApp::with_settings(Kind::Sqlite, clock, |text| {
        let text = through("kannel", &Kannel::account(), &url, &text);
        let text = text.replace("# templates = \"../templates/messages\"", &format!("templates = \"{}\"", texts.display()));
        assert!(text.contains("brand = \"ACME\""));
        text.replace("brand = \"ACME\"", &format!("brand = \"{GSM}\""))
    })
    .await;

    let get_url = format!("{}/webhooks/kannel/{TOKEN}", app.base);
    let file = boxes.dir.path().join("kannel.conf");
    std::fs::write(&file, conf(boxes.dir.path(), boxes.ports, &get_url)).expect("written");
    let file = file.display().to_string();
    boxes.start("/usr/sbin/bearerbox", &[&file], "bearerbox");
    until("bearerbox is there", async || boxes.status(&app.http).await.contains("FAKE")).await;
    boxes.start("/usr/sbin/smsbox", &[&file], "smsbox");
    let gateway = app.engine.gateways["kannel"].clone();
    until("smsbox is there", async || gateway.check().await == Some(Ok("Kannel knows the user".into()))).await;
    boxes.handset(&app.http, None, "heard").await;
    until("the SMSC is there", async || boxes.status(&app.http).await.contains("(online")).await;

    // Out, by name, in both alphabets; and the receipts.
    let (plain, polish, bare) = (TestApp::it(1), TestApp::it(2), TestApp::it(3));
    let header = "number,locale,kind,source,ask_basis,basis_evidence,basis_date,box_default\n";
    let row =
        |number: &str, locale: &str| format!("{number},{locale},prospect,web shop,prior_consent,form 1,2026-01-10,unticked\n");
    let rows = [row(&plain, "it"), row(&polish, "pl"), row(&bare, "it")].concat();
    assert_eq!(app.import_file(&format!("{header}{rows}")).await.rejected, 0);
    app.plan(LINK).await;
    app.deliver().await;
    for number in [&plain, &polish, &bare] {
        until("the receipt is here", async || app.state_of(number).await == "delivered").await;
    }
    // It writes down what it got when it has a moment, which may be after the receipt.
    let is_whole = |text: &str, begins: &str| text.starts_with(&format!("{GSM}: {begins}")) && text.contains("/p/");
    until("a text in 7 bit is heard", async || {
        let text = String::from_utf8(arrived(&boxes.log("heard"), &plain)).expect("text");
        is_whole(&text, "ci hai lasciato")
    })
    .await;
    until("a text in UCS-2 is heard", async || {
        let octets = arrived(&boxes.log("heard"), &polish);
        let units: Vec<u16> = octets.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        is_whole(&String::from_utf16(&units).expect("text"), "pytamy, bo mamy Twój numer: możemy przesyłać")
    })
    .await;

    // Back: a STOP in 7-bit text, one in UCS-2, one from a number without its +.
    let says = |number: &str, text: &str| format!("{number} {REPLY_NUMBER} {text}");
    let stops = [
        says(&plain, "text STOP now please"),
        says(&polish, "ucs2 %00%53%00%54%00%4F%00%50%00%20%01%0D"),
        says(bare.trim_start_matches('+'), "text Stop"),
    ];
    for (n, stop) in (1..).zip(&stops) {
        boxes.handset(&app.http, Some(stop), "said").await;
        until("the stop counts", async || app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await == n).await;
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations WHERE state = 'stopped'").await, 3);
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events WHERE effect = 'held'").await, 0);
    app.end().await;
}
