//! Vonage's Messages API, as its pages show it: SMS, and WhatsApp by what Meta takes.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use permesso::domain::message::Receipt;
use permesso::gateway::vonage::claims;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Call, Comes, Fake, Message, Play, Request, Stage, meta};
use crate::app::{Kind, LINK, REPLY_NUMBER, TestApp};

const SECRET: &str = "signature-secret-of-the-test";
const WHATSAPP_NUMBER: &str = "+393001234599";
/// [`crate::app::MORNING`] in seconds.
const MORNING: i64 = 1_796_118_300;

struct Sms;
struct WhatsApp;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn token(secret: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "typ": "JWT", "alg": "HS256" })), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// A call with the claims that Vonage's page shows, and these besides or instead.
fn signed_as(secret: &str, body: String, more: &Value) -> Call {
    let mut claims = json!({
        "iat": MORNING, "jti": "c5ba8f24-1a14-4c10-bfdf-3fbe8ce511b5", "iss": "Vonage", "api_key": "a1b2c3d4",
        "payload_hash": hex(&Sha256::digest(&body)), "application_id": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab",
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let headers =
        vec![("content-type", "application/json".to_owned()), ("authorization", format!("Bearer {}", token(secret, &claims)))];
    Call { method: "POST", target: "/webhooks/vonage".to_owned(), headers, body }
}

fn call(body: &Value) -> Call {
    signed_as(SECRET, body.to_string(), &json!({}))
}

fn digits(number: &str) -> &str {
    number.trim_start_matches('+')
}

fn uuid(n: usize) -> String {
    format!("aaaaaaaa-bbbb-4ccc-8ddd-{n:012}")
}

fn account() -> String {
    format!("api_key = \"a1b2c3d4\"\napi_secret = \"secret of the test\"\nsignature_secret = \"{SECRET}\"")
}

/// A message as Vonage reads it; what its page does not name is a panic.
fn read(request: &Request, channel: &str) -> Option<Message> {
    if request.method != "POST" {
        return None;
    }
    assert_eq!((request.path(), request.header("content-type")), ("/v1/messages", "application/json"));
    assert_eq!(request.header("authorization"), format!("Basic {}", STANDARD.encode("a1b2c3d4:secret of the test")));
    let mut body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let fields = body.as_object_mut().expect("an object");
    let mut take = |name: &str| fields.remove(name).unwrap_or_else(|| panic!("no {name}"));
    let text = |value: Value| value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned();
    assert_eq!(take("channel"), channel);
    let (to, from) = (text(take("to")), text(take("from")));
    assert!(to.bytes().all(|b| b.is_ascii_digit()), "without + or 00: {to}");
    assert!(from.len() <= 15 && from.bytes().all(|b| b.is_ascii_alphanumeric()), "digits, or a name of 11: {from}");
    let (reference, callback) = (text(take("client_ref")), text(take("webhook_url")));
    assert!(reference.len() <= 100 && callback.ends_with("/webhooks/vonage"));
    assert_eq!(take("webhook_version"), "v1");
    if channel == "sms" {
        assert!((20..=604_800).contains(&take("ttl").as_i64().expect("seconds")));
    }
    let (text, buttons) = match text(take("message_type")).as_str() {
        "text" => (text(take("text")), Vec::new()),
        "custom" => {
            assert_eq!(channel, "whatsapp");
            let custom = take("custom");
            let kind = custom["type"].as_str().expect("a type");
            assert_eq!(custom.as_object().map(serde_json::Map::len), Some(2));
            match kind {
                "template" => {
                    assert_eq!(custom[kind]["language"]["policy"], "deterministic");
                    meta::read_template(&custom[kind])
                }
                _ => meta::read_interactive(&custom[kind]),
            }
        }
        other => panic!("{other}"),
    };
    assert!(fields.is_empty(), "Vonage knows no {fields:?}");
    let from = if from.bytes().all(|b| b.is_ascii_digit()) { format!("+{from}") } else { from };
    Some(Message { to: format!("+{to}"), from, text, reference, callback, provider_id: uuid(request.n), buttons })
}

fn answer(message: &Message, play: &Play) -> (u16, Vec<(&'static str, String)>, String) {
    let problem = |code: &str, title: &str| {
        let kind = format!("https://developer.vonage.com/api-errors/messages#{code}");
        json!({ "type": kind, "title": title, "detail": "as documented", "instance": "bf0ca0bf927b3b52e3cb03217e1a1ddf" })
            .to_string()
    };
    match play {
        Play::Accept | Play::Silence => (202, Vec::new(), json!({ "message_uuid": message.provider_id }).to_string()),
        Play::Garbled => (202, Vec::new(), "{}".into()),
        Play::Broken => (500, Vec::new(), problem("1030", "Internal error")),
        Play::Error(code) => {
            let (status, headers) = match code.as_str() {
                "1000" => (429, vec![("retry-after", "30".to_owned())]),
                "1070" => (402, Vec::new()),
                "1110" => (401, Vec::new()),
                _ => (422, Vec::new()),
            };
            (status, headers, problem(code, "as documented"))
        }
    }
}

fn receipt(message: &Message, status: Receipt, error: Option<&str>, channel: &str) -> Call {
    let word = match status {
        Receipt::Accepted | Receipt::Sent => "submitted",
        Receipt::Delivered => "delivered",
        Receipt::Read => "read",
        Receipt::Undelivered => "undeliverable",
        Receipt::Failed | Receipt::Expired => "rejected",
    };
    let mut body = json!({
        "message_uuid": message.provider_id, "to": digits(&message.to), "from": digits(&message.from),
        "timestamp": "2026-12-01T09:45:00Z", "status": word, "usage": { "currency": "EUR", "price": "0.0333" },
        "client_ref": message.reference, "channel": channel, "destination": { "network_code": "22210" },
    });
    if let Some(code) = error {
        let code: i64 = code.parse().unwrap();
        body["error"] = json!({ "type": format!("https://developer.nexmo.com/api-errors/messages-olympus#{code}"), "title": code,
                                "detail": "as documented", "instance": "bf0ca0bf927b3b52e3cb03217e1a1ddf" });
    }
    call(&body)
}

/// What everything that people send has in common.
fn said(from: &str, channel: &str, id: &str) -> Value {
    let to = if channel == "sms" { REPLY_NUMBER } else { WHATSAPP_NUMBER };
    json!({ "message_uuid": format!("in-{id}"), "to": digits(to), "from": digits(from), "timestamp": "2026-12-01T09:45:00Z",
            "channel": channel })
}

fn with(mut body: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn said_at(call: Call, at: i64) -> Call {
    let mut body: Value = serde_json::from_str(&call.body).unwrap();
    let at = chrono::DateTime::from_timestamp_micros(at).unwrap();
    body["timestamp"] = at.format("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    signed_as(SECRET, body.to_string(), &json!({ "iat": at.timestamp() }))
}

fn forged(call: &Call) -> Vec<Call> {
    let other = |secret: &str, more: &Value| signed_as(secret, call.body.clone(), more);
    let mut none = token(SECRET, &json!({ "iat": MORNING, "payload_hash": hex(&Sha256::digest(&call.body)) }));
    none.replace_range(..none.find('.').unwrap(), &URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
    none.truncate(none.rfind('.').unwrap() + 1);
    vec![
        other("another secret", &json!({})),
        Call { body: format!("{} ", call.body), ..call.clone() },
        // A token that covers no body would sign every one.
        other(SECRET, &json!({ "payload_hash": null })),
        other(SECRET, &json!({ "payload_hash": "" })),
        // Older than the last repetition, from the future, without a time.
        other(SECRET, &json!({ "iat": MORNING - 26 * 3_600 })),
        other(SECRET, &json!({ "iat": MORNING + 3_600 })),
        other(SECRET, &json!({ "iat": null })),
        Call { headers: vec![call.headers[0].clone(), ("authorization", format!("Bearer {none}"))], ..call.clone() },
        Call { method: "GET", ..call.clone() },
    ]
}

impl Fake for Sms {
    const DRIVER: &'static str = "vonage";

    fn account() -> String {
        account()
    }

    fn read(request: &Request) -> Option<Message> {
        read(request, "sms")
    }

    fn answer(message: &Message, play: &Play) -> (u16, Vec<(&'static str, String)>, String) {
        answer(message, play)
    }

    fn other(request: &Request) -> (u16, String) {
        let key = format!("Basic {}", STANDARD.encode("a1b2c3d4:secret of the test"));
        match (request.target.as_str(), request.header("authorization") == key) {
            ("/v2/applications?page_size=1", true) => (200, json!({ "page_size": 1, "page": 1, "total_items": 1 }).to_string()),
            ("/v2/applications?page_size=1", false) => (401, String::new()),
            _ => (404, String::new()),
        }
    }

    fn receipt(message: &Message, status: Receipt, error: Option<&str>) -> Option<Call> {
        (status != Receipt::Accepted).then(|| receipt(message, status, error, "sms"))
    }

    fn inbound(from: &str, text: &str, id: &str) -> Call {
        let sms = json!({ "num_messages": "1", "keyword": text.to_uppercase() });
        call(&with(said(from, "sms", id), &json!({ "message_type": "text", "text": text, "sms": sms })))
    }

    fn said_at(call: Call, at: i64) -> Call {
        said_at(call, at)
    }

    fn signed(other: Call) -> Call {
        signed_as(SECRET, other.body, &json!({}))
    }

    fn forged(call: &Call) -> Vec<Call> {
        forged(call)
    }

    fn comes(_code: &str, class: &str) -> Comes {
        if class == "expired" { Comes::Receipt } else { Comes::Both }
    }
}

impl Fake for WhatsApp {
    const DRIVER: &'static str = "vonage";
    const CAMPAIGN: &'static str = "whatsapp-only";
    const SENDER: &'static str = WHATSAPP_NUMBER;
    const TEMPLATED: bool = true;
    const CHANNELS: &'static str = "whatsapp";

    fn account() -> String {
        account()
    }

    fn route(url: &str, text: &str) -> String {
        super::route_whatsapp(Self::DRIVER, &account(), url, WHATSAPP_NUMBER, text)
    }

    fn files(folder: &std::path::Path) {
        super::whatsapp_only(folder);
    }

    fn read(request: &Request) -> Option<Message> {
        read(request, "whatsapp")
    }

    fn answer(message: &Message, play: &Play) -> (u16, Vec<(&'static str, String)>, String) {
        answer(message, play)
    }

    fn receipt(message: &Message, status: Receipt, error: Option<&str>) -> Option<Call> {
        (status != Receipt::Accepted).then(|| receipt(message, status, error, "whatsapp"))
    }

    fn inbound(from: &str, text: &str, id: &str) -> Call {
        let profile = json!({ "name": "Anna" });
        call(&with(said(from, "whatsapp", id), &json!({ "message_type": "text", "text": text, "profile": profile })))
    }

    fn tap(under: &Message, nth: usize, title: &str, id: &str) -> Option<Call> {
        let button = under.buttons.get(nth)?;
        let tapped = match under.reference.starts_with("ask") {
            true => json!({ "message_type": "button", "button": { "payload": button, "text": title } }),
            false => json!({ "message_type": "reply", "reply": { "id": button, "title": title } }),
        };
        let context = json!({ "context": { "message_uuid": under.provider_id, "message_from": digits(WHATSAPP_NUMBER) } });
        Some(call(&with(with(said(&under.to, "whatsapp", id), &tapped), &context)))
    }

    fn said_at(call: Call, at: i64) -> Call {
        said_at(call, at)
    }

    fn signed(other: Call) -> Call {
        signed_as(SECRET, other.body, &json!({}))
    }

    fn forged(call: &Call) -> Vec<Call> {
        forged(call)
    }

    fn comes(_code: &str, class: &str) -> Comes {
        if class == "expired" { Comes::Receipt } else { Comes::Both }
    }
}

mod sms {
    use super::*;
    crate::conformance!(Sms);
}

mod whatsapp {
    use super::*;
    crate::conformance!(WhatsApp);
}

#[test]
fn the_published_signatures_fit_and_the_others_do_not() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../data/gateways/vonage.signatures.json")).unwrap();
    assert_eq!(vectors.len(), 6);
    for vector in vectors {
        let of = |name: &str| vector[name].as_str().unwrap();
        // The published tokens cover no body: of them the signature alone is looked at.
        let body = vector["body"].as_str();
        let fits = claims(of("secret"), of("token")).filter(|claims| body.is_none_or(|body| claims.cover(body.as_bytes())));
        assert_eq!(fits.is_some(), vector["valid"].as_bool().unwrap(), "{}", of("name"));
    }
}

#[tokio::test]
async fn what_vonage_forgot_to_sign_is_asked_for_again() {
    let mut stage = Stage::<Sms>::new(Kind::Sqlite).await;
    let stop = Sms::inbound(&TestApp::it(1), "STOP", "1");
    assert_eq!(stage.call(&Call { headers: stop.headers[..1].to_vec(), ..stop.clone() }).await, 503);
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events").await, 0);
    // Signed, and once more a day later, as Vonage calls until it is answered; then no more.
    stage.hear(&stop).await;
    stage.app.advance(std::time::Duration::from_secs(24 * 3_600));
    stage.hear(&stop).await;
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events").await, 1);
    stage.app.advance(std::time::Duration::from_secs(2 * 3_600));
    assert_eq!(stage.call(&stop).await, 403);
    stage.app.end().await;
}

#[tokio::test]
async fn both_secrets_are_taken_while_one_is_changed() {
    let both = "signature_secret = \"the new one\"\nsignature_secret_previous";
    let mut stage = Stage::<Sms>::with(Kind::Sqlite, |text| text.replace("signature_secret", both)).await;
    let body = |id: &str| Sms::inbound(&TestApp::it(1), "STOP", id).body;
    assert_eq!(stage.call(&signed_as(SECRET, body("1"), &json!({}))).await, 204);
    assert_eq!(stage.call(&signed_as("the new one", body("2"), &json!({}))).await, 204);
    assert_eq!(stage.call(&signed_as("", body("3"), &json!({}))).await, 403);
    let gateway = stage.app.engine.gateways["vonage"].clone();
    assert_eq!(gateway.check().await, Some(Ok("key and secret fit".into())));
    stage.app.end().await;
}

#[tokio::test]
async fn too_often_for_one_person_delays_nobody_else() {
    let mut stage = Stage::<Sms>::new(Kind::Sqlite).await;
    stage.app.people(&[TestApp::it(1), TestApp::it(2)]).await;
    stage.play(&TestApp::it(1), Play::Error("1241".into()));
    stage.app.plan(LINK).await;
    stage.app.deliver().await;
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM gateways WHERE throttled_until > 0").await, 0);
    assert_eq!(stage.app.state_of(&TestApp::it(1)).await, "planned");
    assert_eq!(stage.app.state_of(&TestApp::it(2)).await, "accepted");
    stage.app.end().await;
}

#[tokio::test]
async fn vonage_is_left_alone_as_long_as_it_says() {
    let mut stage = Stage::<Sms>::new(Kind::Sqlite).await;
    stage.app.people(&[TestApp::it(1), TestApp::it(2)]).await;
    stage.play(&TestApp::it(1), Play::Error("1000".into()));
    stage.app.plan(LINK).await;
    stage.app.deliver().await;
    stage.play(&TestApp::it(1), Play::Accept);
    stage.app.advance(std::time::Duration::from_secs(29));
    stage.app.people(&[TestApp::it(3)]).await;
    stage.app.plan(LINK).await;
    stage.app.deliver().await;
    assert_eq!((stage.to(&TestApp::it(1)).len(), stage.to(&TestApp::it(3)).len()), (1, 0), "30 seconds, for everybody");
    stage.app.advance(std::time::Duration::from_secs(3));
    stage.app.deliver().await;
    assert_eq!((stage.to(&TestApp::it(1)).len(), stage.to(&TestApp::it(3)).len()), (2, 1));
    stage.app.end().await;
}

#[tokio::test]
async fn whoever_hides_the_number_is_known_by_the_message_they_answer_or_by_their_id() {
    let mut stage = Stage::<WhatsApp>::new(Kind::Sqlite).await;
    stage.people(&[TestApp::it(1), TestApp::it(2)]).await;
    stage.app.plan(WhatsApp::CAMPAIGN).await;
    stage.app.deliver().await;
    let [ask, other] = [1, 2].map(|n| stage.to(&TestApp::it(n))[0].clone());
    let hidden = |user: &str, id: &str, more: Value| {
        let said_by =
            json!({ "from": null, "message_type": "text", "text": "STOP", "whatsapp": { "sender": { "user_id": user } } });
        call(&with(with(said("", "whatsapp", id), &said_by), &more))
    };
    let noes = async |stage: &Stage<WhatsApp>| {
        let held = stage.app.count("SELECT COUNT(*) FROM inbound_events WHERE effect = 'held'").await;
        (stage.app.count("SELECT COUNT(*) FROM suppressions").await, held)
    };
    stage.hear(&hidden("IT.1", "nobody", json!({}))).await;
    assert_eq!(noes(&stage).await, (1, 1), "it stands under the id, and waits");
    stage.hear(&hidden("IT.1", "answering", json!({ "context": { "message_uuid": ask.provider_id } }))).await;
    assert_eq!(noes(&stage).await, (2, 0));
    // A receipt tells the id, too.
    let told = receipt(&other, Receipt::Delivered, None, "whatsapp");
    let told: Value = serde_json::from_str(&told.body).unwrap();
    stage.hear(&call(&with(told, &json!({ "whatsapp": { "recipient": { "user_id": "IT.2" } } })))).await;
    stage.hear(&hidden("IT.2", "known", json!({}))).await;
    assert_eq!(noes(&stage).await, (4, 0));
    stage.app.end().await;
}

#[tokio::test]
async fn what_is_neither_text_nor_tap_waits_for_an_operator() {
    let mut stage = Stage::<WhatsApp>::new(Kind::Sqlite).await;
    stage.people(&[TestApp::it(1)]).await;
    let image = json!({ "message_type": "image", "image": { "url": "https://example.com/a.jpg", "caption": "STOP" } });
    let strange = [
        with(
            said(&TestApp::it(1), "whatsapp", "1"),
            &json!({ "message_type": "audio", "audio": { "url": "https://example.com/a.ogg" } }),
        ),
        with(said(&TestApp::it(1), "viber_service", "2"), &json!({ "message_type": "text", "text": "SI" })),
        json!({ "message_uuid": "x", "status": "teleported", "client_ref": "ask_1" }),
        json!([]),
    ];
    for body in &strange {
        stage.hear(&call(body)).await;
    }
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events WHERE effect = 'held'").await, 4);
    stage.hear(&call(&with(said(&TestApp::it(1), "whatsapp", "3"), &image))).await;
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM suppressions").await, 1, "a STOP under a picture is one");
    stage.app.end().await;
}
