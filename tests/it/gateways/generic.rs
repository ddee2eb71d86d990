//! A provider nobody wrote a driver for, by settings alone: an invented one that speaks JSON and signs, exactly as the manual's example
//! sets it up, and another that speaks forms and signs nothing.

use hmac::{Hmac, Mac};
use permesso::config::{Config, Problems};
use permesso::domain::message::Receipt;
use serde_json::{Value, json};

use super::{Call, Comes, Fake, Message, Play, Request, Stage};
use crate::app::{Kind, LINK, REPLY_NUMBER, TestApp};

const SECRET: &str = "what-postino-signs-with";

/// `[[gateway]]` of the manual's page, without what the stage says itself and with the secrets in place.
fn example() -> String {
    let readme = include_str!("../../../README.md");
    let page = readme.split_once("### Any other provider over HTTP\n").expect("the page").1;
    let toml = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("its example");
    let ours =
        |line: &&str| !["[[gateway]]", "name =", "driver =", "url =", "rate ="].iter().any(|start| line.starts_with(start));
    let lines = toml.lines().filter(ours).collect::<Vec<_>>().join("\n");
    let lines = lines.replace("api_key_file = \"postino.key\"", "api_key = \"key of the test\"");
    lines.replace("callback_hmac_file = \"postino.secret\"", &format!("callback_hmac = \"{SECRET}\""))
}

struct Postino;

fn call(events: &[Value]) -> Call {
    signed(json!({ "events": events }).to_string())
}

fn signed(body: String) -> Call {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let headers = vec![("content-type", "application/json".to_owned()), ("x-postino-signature", format!("sha256={signature}"))];
    Call { method: "POST", target: "/webhooks/http".into(), headers, body }
}

fn state(id: &str, reference: &str, state: &str, reason: Option<&str>) -> Value {
    json!({ "id": id, "client_ref": reference, "state": state, "reason": reason })
}

fn reply(from: &str, text: &str, id: &str) -> Value {
    let at = if id.starts_with("second") { "2026-12-01T09:47:00Z" } else { "2026-12-01T09:45:00Z" };
    json!({ "reply": { "id": id, "from": from.trim_start_matches('+'), "to": REPLY_NUMBER, "body": text, "at": at } })
}

impl Fake for Postino {
    const DRIVER: &'static str = "http";

    fn account() -> String {
        example()
    }

    fn read(request: &Request) -> Option<Message> {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v2/sms"));
        assert_eq!(request.header("authorization"), "Bearer key of the test");
        assert_eq!(request.header("content-type"), "application/json");
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let of = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned();
        assert!(body["ttl"].as_i64().is_some_and(|ttl| ttl >= 60) && body.as_object().expect("an object").len() == 6, "{body}");
        assert!(of("notify").ends_with("/webhooks/http"));
        let provider_id = format!("p-{}", request.n);
        let (to, from, text, reference) = (of("recipient"), of("sender"), of("content"), of("client_ref"));
        Some(Message { to, from, text, reference, callback: of("notify"), provider_id, buttons: Vec::new() })
    }

    fn answer(message: &Message, play: &Play) -> (u16, Vec<(&'static str, String)>, String) {
        match play {
            Play::Accept | Play::Silence => (201, Vec::new(), json!({ "message": { "id": message.provider_id } }).to_string()),
            Play::Garbled => (201, Vec::new(), json!({ "message": {} }).to_string()),
            Play::Broken => (500, Vec::new(), json!({ "error": { "code": "E99" } }).to_string()),
            // With a code of its own that no list has.
            Play::Error(code) if code == "http-401" => (401, Vec::new(), json!({ "error": { "code": "E99" } }).to_string()),
            Play::Error(code) => (422, Vec::new(), json!({ "error": { "code": code } }).to_string()),
        }
    }

    fn receipt(message: &Message, status: Receipt, error: Option<&str>) -> Option<Call> {
        let word = match status {
            Receipt::Accepted => "QUEUED",
            Receipt::Sent => "SENT",
            Receipt::Delivered => "DELIVERED",
            Receipt::Undelivered => "UNREACHABLE",
            Receipt::Failed => "REJECTED",
            Receipt::Expired => "EXPIRED",
            Receipt::Read => return None,
        };
        Some(call(&[state(&message.provider_id, &message.reference, word, error)]))
    }

    fn inbound(from: &str, text: &str, id: &str) -> Call {
        call(&[reply(from, text, id)])
    }

    fn signed(call: Call) -> Call {
        Call { target: call.target, ..signed(call.body) }
    }

    fn forged(call: &Call) -> Vec<Call> {
        let unsigned = Call { headers: call.headers[..1].to_vec(), ..call.clone() };
        let wrong = ("x-postino-signature", format!("sha256={}", "0".repeat(64)));
        let bare = (call.headers[1].0, call.headers[1].1.replace("sha256=", ""));
        let with = |header| Call { headers: vec![call.headers[0].clone(), header], ..call.clone() };
        let more = Call { body: call.body.replace("]}", ",{}]}"), ..call.clone() };
        vec![unsigned, with(wrong), with(bare), more, Call { method: "GET", ..call.clone() }]
    }

    fn comes(code: &str, class: &str) -> Comes {
        match (code, class) {
            ("http-401", _) => Comes::Answer,
            (_, "expired") => Comes::Receipt,
            _ => Comes::Both,
        }
    }
}

crate::conformance!(Postino);

#[tokio::test]
async fn what_the_settings_do_not_name_waits_and_its_neighbours_go_on() {
    let mut stage = Stage::<Postino>::new(Kind::Sqlite).await;
    let people = [TestApp::it(1), TestApp::it(2)];
    stage.app.people(&people).await;
    stage.app.plan(LINK).await;
    stage.app.deliver().await;
    let first = stage.to(&people[0])[0].clone();
    let events = [
        json!({ "balance": 12 }),
        state(&first.provider_id, &first.reference, "TELEPORTED", None),
        reply("nobody", "STOP", "nobody"),
        state(&first.provider_id, &first.reference, "DELIVERED", None),
        reply(&people[1], "STOP", "stop"),
    ];
    stage.hear(&call(&events)).await;
    assert_eq!(stage.app.state_of(&people[0]).await, "delivered");
    assert_eq!(stage.app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await, 1);
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events WHERE effect = 'held'").await, 3);
    // A reference in the address is not signed: nobody's receipt is moved to another message by it.
    let second = stage.to(&people[1])[0].clone();
    let mut moved = call(&[state("p-other", "", "DELIVERED", None)]);
    moved.target = format!("{}?ref={}", moved.target, second.reference);
    stage.hear(&moved).await;
    assert_ne!(stage.app.state_of(&people[1]).await, "delivered");
    stage.app.end().await;
}

const TOKEN: &str = "0123456789abcdef-form";

/// Sends by GET with everything in the address, answers nothing but a status, calls back with forms.
struct Forms;

fn form(target: String, fields: &[(&str, &str)]) -> Call {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    Call { method: "POST", target, headers: vec![("content-type", "application/x-www-form-urlencoded".into())], body }
}

impl Fake for Forms {
    const DRIVER: &'static str = "http";

    fn account() -> String {
        let path = "/send?key={{ api_key|url }}&n={{ to_digits }}&s={{ from|url }}&t={{ text|url }}&cb={{ callback|url }}&min={{ validity_minutes }}";
        format!(
            "method = \"GET\"\npath = \"{path}\"\napi_key = \"a&b\"\naccepted_status = [\"202\"]\nreceipt_status = \"/dlr\"\n\
             statuses = [\"ok delivered\", \"ko failed\"]\ninbound_text = \"/msg\"\ninbound_from = \"/who\"\ninbound_to = \"/our\"\n\
             callback_token = \"{TOKEN}\"\ncallback_status = 200\ncallback_answer = \"ACK\""
        )
    }

    fn read(request: &Request) -> Option<Message> {
        assert_eq!((request.method.as_str(), request.path()), ("GET", "/send"));
        let query = request.query();
        assert_eq!(query["key"], "a&b");
        let callback = query["cb"].clone();
        let reference = callback.split_once("?ref=").expect("ours").1.to_owned();
        let to = format!("+{}", query["n"]);
        Some(Message {
            to,
            from: query["s"].clone(),
            text: query["t"].clone(),
            reference,
            callback,
            provider_id: String::new(),
            buttons: Vec::new(),
        })
    }

    fn answer(_message: &Message, _play: &Play) -> (u16, Vec<(&'static str, String)>, String) {
        (202, Vec::new(), "queued".into())
    }

    fn receipt(message: &Message, status: Receipt, _error: Option<&str>) -> Option<Call> {
        let word = if status == Receipt::Delivered { "ok" } else { "ko" };
        let at = message.callback.find("/webhooks").expect("ours");
        Some(form(message.callback[at..].to_owned(), &[("dlr", word)]))
    }

    fn inbound(from: &str, text: &str, _id: &str) -> Call {
        form(format!("/webhooks/http/{TOKEN}"), &[("who", from), ("our", REPLY_NUMBER), ("msg", text)])
    }

    fn forged(_call: &Call) -> Vec<Call> {
        Vec::new()
    }

    fn comes(_code: &str, _class: &str) -> Comes {
        Comes::Neither
    }
}

#[tokio::test]
async fn a_provider_of_forms_that_names_no_message_is_understood_too() {
    let mut stage = Stage::<Forms>::new(Kind::Sqlite).await;
    let people = [TestApp::it(1), TestApp::it(2)];
    stage.app.people(&people).await;
    stage.app.plan(LINK).await;
    stage.app.deliver().await;
    let message = stage.to(&people[0])[0].clone();
    assert!(message.from == "ACME" && message.text.contains("/p/"), "{message:?}");
    stage.receipt(&message, Receipt::Delivered).await;
    assert_eq!(stage.app.state_of(&people[0]).await, "delivered");
    let stop = Forms::inbound(&people[1], "STOP", "");
    assert_eq!(stage.call(&stop).await, 200, "as the settings want it");
    assert_eq!(stage.app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await, 1);
    let elsewhere = Call { target: "/webhooks/http".into(), ..stop };
    assert_eq!(stage.call(&elsewhere).await, 403);
    stage.app.end().await;
}

/// Its calls carry neither an id nor a time: one made again looks like the same words said again.
async fn calls_without_ids(kind: Kind) {
    let mut stage = Stage::<Forms>::new(kind).await;
    let number = TestApp::it(1);
    stage.app.people(std::slice::from_ref(&number)).await;
    stage.app.plan(LINK).await;
    stage.app.deliver().await;
    let link = crate::gateways::link(&stage.to(&number)[0].text);
    let link = format!("{}/p/{link}", stage.app.base);
    let hours = |n: u64| stage.app.advance(std::time::Duration::from_secs(n * 3_600));
    let back = async || {
        let (_, page) = stage.app.get(&link).await;
        assert_eq!(stage.app.post(&link, &crate::app::field(&page, "nonce"), "chosen", &["sms.promotions"]).await, 303);
        hours(1);
        stage.hear(&Forms::inbound(&number, "SI", "")).await;
        assert_eq!(stage.app.granted(&number).await, ["sms.promotions"], "back by their own acts");
    };
    stage.hear(&Forms::inbound(&number, "STOP", "")).await;
    hours(1);
    back().await;
    // The call is made again: the same yes.
    let heard = stage.app.count("SELECT COUNT(*) FROM inbound_events").await;
    hours(1);
    stage.hear(&Forms::inbound(&number, "SI", "")).await;
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events").await, heard);
    hours(1);
    stage.hear(&Forms::inbound(&number, "STOP", "")).await;
    assert!(stage.app.granted(&number).await.is_empty(), "a second no was thanked for and is not there");
    // Days later no call is made again any more.
    hours(72);
    back().await;
    hours(1);
    stage.hear(&Forms::inbound(&number, "STOP", "")).await;
    assert!(stage.app.granted(&number).await.is_empty());
    assert!(stage.app.count("SELECT COUNT(*) FROM suppressions WHERE lifted_at IS NULL").await > 0);
    let marked = stage.app.count("SELECT COUNT(*) FROM inbound_events WHERE event_id LIKE 'content:%'").await;
    assert_eq!(
        marked,
        stage.app.count("SELECT COUNT(*) FROM inbound_events").await,
        "what was said is told apart by keyed hashes"
    );
    stage.app.end().await;
}

#[tokio::test]
async fn of_calls_without_ids_each_no_counts_and_a_yes_once_sqlite() {
    calls_without_ids(Kind::Sqlite).await;
}

#[tokio::test]
async fn of_calls_without_ids_each_no_counts_and_a_yes_once_postgres() {
    calls_without_ids(Kind::Postgres).await;
}

/// One guard in place of the usual, a call it lets through and calls it does not.
async fn guarded_by(guard: &str, good: &[(&'static str, &str)], bad: &[&[(&'static str, &str)]]) {
    let secret = format!("callback_token = \"{TOKEN}\"");
    let mut stage = Stage::<Forms>::with(Kind::Sqlite, |text| {
        text.replace(&secret, guard).replace("trusted_proxies = []", "trusted_proxies = [\"127.0.0.1\"]")
    })
    .await;
    let target = if guard.contains(&secret) { format!("/webhooks/http/{TOKEN}") } else { "/webhooks/http".to_owned() };
    let with = |headers: &[(&'static str, &str)]| {
        let mut call = Call { target: target.clone(), ..Forms::inbound(&TestApp::it(1), "STOP", "") };
        call.headers.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        call
    };
    for headers in bad {
        let status = stage.call(&with(headers)).await;
        assert!(matches!(status, 401 | 403), "{status} under {guard} to {headers:?}");
    }
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events").await, 0);
    assert_eq!(stage.call(&with(good)).await, 200, "{guard}");
    assert_eq!(stage.app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await, 1);
    stage.app.end().await;
}

#[tokio::test]
async fn each_guard_lets_the_provider_in_and_nobody_else() {
    use base64::Engine as _;
    let basic = |pair: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    guarded_by(
        "callback_bearer = \"bearer-of-the-test-1\"",
        &[("authorization", "Bearer bearer-of-the-test-1")],
        &[&[], &[("authorization", "Bearer bearer-of-the-test-2")], &[("authorization", "bearer-of-the-test-1")]],
    )
    .await;
    let (right, wrong, name) =
        (basic("any:password-of-the-test"), basic("any:password-of-the-tesT"), basic("password-of-the-test:"));
    guarded_by(
        "callback_password = \"password-of-the-test\"",
        &[("authorization", &right)],
        &[&[], &[("authorization", &wrong)], &[("authorization", &name)]],
    )
    .await;
    guarded_by(
        &format!("callback_token = \"{TOKEN}\"\ncallback_addresses = [\"203.0.113.0/24\"]"),
        &[("x-forwarded-for", "203.0.113.9")],
        &[&[], &[("x-forwarded-for", "198.51.100.7")], &[("x-forwarded-for", "203.0.113.9, 198.51.100.7")]],
    )
    .await;
    let signature = |secret: &str, body: &str| {
        let mut mac = Hmac::<sha2::Sha512>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes())
    };
    let body = Forms::inbound(&TestApp::it(1), "STOP", "").body;
    let (right, wrong, other) = (signature(SECRET, &body), signature("another", &body), signature(SECRET, "other"));
    guarded_by(
        &format!("callback_hmac = \"{SECRET}\"\ncallback_hmac_algorithm = \"sha512\"\ncallback_hmac_encoding = \"base64\"\nid_pointer = \"/id\"\nreceipt_id = \"/id\""),
        &[("x-signature", &right)],
        &[&[], &[("x-signature", &wrong)], &[("x-signature", &other)]],
    )
    .await;
}

#[test]
fn an_account_that_cannot_tell_a_second_yes_asks_for_none() {
    let dir = tempfile::tempdir().unwrap();
    let config = crate::app::write_config(dir.path(), 1, 2, 3, "sqlite:permesso.db");
    let file = config.join("permesso.toml");
    let shipped = std::fs::read_to_string(&file).unwrap();
    for (more, refused) in [("", true), ("inbound_id = \"/no\"", false), ("inbound_time = \"/at\"", false)] {
        let account = format!("{}\n{more}", Forms::account());
        std::fs::write(&file, super::through("http", &account, "http://127.0.0.1:9", &shipped)).unwrap();
        let _ = std::fs::remove_file(config.join("prices.toml"));
        let config = Config::load(&config).unwrap_or_else(|problems| panic!("{problems}"));
        let told = config.campaign(crate::app::REPLY).err().map(|problems| problems.to_string()).unwrap_or_default();
        let says =
            "ask.sms.mode: gateway http does not tell a second yes from the first one told again; remedy: name its inbound_id";
        assert_eq!(told.contains(says), refused, "{more}: {told}");
        assert!(config.campaign(LINK).is_ok(), "the page and one reply will do");
    }
}

#[test]
fn a_mistake_in_the_templates_is_named_with_its_line_and_the_remedy() {
    for (from, to, says) in [
        ("", "", ""), // The example as it stands has none.
        (
            "{{ text|json }}",
            "\"{{ text }}\"",
            "body: a value could break out of its place; remedy: write each value with its filter",
        ),
        ("{{ text|json }}", "{{ txt|json }}", "body: it speaks of something there is not; remedy: write {{ to }}"),
        ("Bearer {{ api_key }}", "Bearer abcdef", "headers: a secret must not stand in this file"),
        ("\"/message/id\"", "\"message.id\"", "id_pointer: `message.id` points nowhere; remedy: write a JSON pointer"),
        ("\"E10 account\"", "\"E10 acount\"", "errors: `E10 acount` gives no class; remedy: write \"CODE CLASS\""),
        ("\"SENT sent\"", "\"SENT\"", "statuses: `SENT` is no status; remedy: write \"WORD OURS\""),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = crate::app::write_config(dir.path(), 1, 2, 3, "sqlite:permesso.db");
        let file = config.join("permesso.toml");
        let account =
            super::through("http", &example().replace(from, to), "http://127.0.0.1:9", &std::fs::read_to_string(&file).unwrap());
        std::fs::write(&file, &account).unwrap();
        std::fs::remove_file(config.join("prices.toml")).unwrap();
        let Problems(found) = Config::load(&config).err().unwrap_or(Problems(Vec::new()));
        let key = says.split(':').next().unwrap();
        let line = 1 + account.lines().position(|line| line.starts_with(&format!("{key} = "))).unwrap_or_default();
        let told: Vec<String> = found.iter().map(|problem| problem.to_string()).collect();
        match says {
            "" => assert!(told.is_empty(), "{told:?}"),
            _ => {
                assert!(told.len() == 1 && told[0].contains(&format!(":{line}: gateway.{says}")), "line {line}, {says}: {told:?}")
            }
        }
    }
}

#[test]
fn a_request_that_speaks_of_a_key_there_is_not_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = crate::app::write_config(dir.path(), 1, 2, 3, "sqlite:permesso.db");
    let file = config.join("permesso.toml");
    let account = example().replace("api_key = \"key of the test\"", "");
    std::fs::write(&file, super::through("http", &account, "http://127.0.0.1:9", &std::fs::read_to_string(&file).unwrap()))
        .unwrap();
    std::fs::remove_file(config.join("prices.toml")).unwrap();
    let told = Config::load(&config).err().map(|problems| problems.to_string()).unwrap_or_default();
    assert!(
        told.contains("the request speaks of api_key, and there is none; remedy: give api_key_env or api_key_file"),
        "{told}"
    );
}
