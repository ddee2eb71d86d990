//! Meta's WhatsApp Cloud API, as its pages show it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use permesso::domain::ledger::Entry;
use permesso::domain::message::Receipt;
use permesso::gateway::meta::{challenge, is_signed};
use permesso::gateway::{Callback, Event, Heard, sign};
use permesso::store::{contacts, ledger};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Call, Comes, Fake, Message, Play, Request, Stage};
use crate::app::{Kind, TestApp, field};

const TOKEN: &str = "system-user-token-of-the-test";
const SECRET: &str = "app-secret-of-the-test";
const NUMBER_ID: &str = "106540352242922";
const ASK: &str = "repermission_whatsapp";

pub struct Meta;

/// An id as Meta makes it: Base64 of some bytes, the person's number and some more.
fn wamid(digits: &str, end: &str) -> String {
    format!("wamid.{}", STANDARD.encode(format!("\x1c\x18\x0b{digits}\x15\x02{end}")))
}

fn signed(body: &Value) -> Call {
    signed_text(body.to_string())
}

fn signed_text(body: String) -> Call {
    let signature = format!("sha256={}", sign::hmac_sha256_hex(SECRET, body.as_bytes()));
    let headers = vec![("content-type", "application/json".to_owned()), ("x-hub-signature-256", signature)];
    Call { method: "POST", target: "/webhooks/meta".to_owned(), headers, body }
}

/// A call with one change.
fn change(field: &str, mut value: Value) -> Call {
    value["messaging_product"] = "whatsapp".into();
    value["metadata"] = json!({ "display_phone_number": "15550783881", "phone_number_id": NUMBER_ID });
    let entry = json!({ "id": "102290129340398", "time": 1_796_118_300, "changes": [{ "value": value, "field": field }] });
    signed(&json!({ "object": "whatsapp_business_account", "entry": [entry] }))
}

fn heard(message: Value) -> Call {
    change("messages", json!({ "contacts": [{ "profile": { "name": "Anna" } }], "messages": [message] }))
}

fn digits(number: &str) -> &str {
    number.trim_start_matches('+')
}

fn status(message: &Message, word: &str, error: Option<&str>) -> Value {
    let mut item = json!({
        "id": message.provider_id, "status": word, "timestamp": "1796118300", "recipient_id": digits(&message.to),
        "biz_opaque_callback_data": message.reference,
        "pricing": { "billable": true, "pricing_model": "PMP", "type": "regular", "category": "marketing" },
    });
    if let Some(code) = error {
        item["errors"] =
            json!([{ "code": code.parse::<i64>().unwrap(), "title": "as documented", "error_data": { "details": "…" } }]);
    }
    item
}

/// A quick reply under a template, or a reply button, tapped under the newest message to this number.
fn tap(stage: &Stage<Meta>, number: &str, nth: usize, title: &str, id: &str) -> Call {
    let (_, message) = newest(stage, number);
    Meta::said_at(Meta::tap(&message, nth, title, id).expect("the button"), stage.app.clock.now())
}

/// The newest request to this number, with the message it was read as.
fn newest(stage: &Stage<Meta>, number: &str) -> (Value, Message) {
    let world = stage.world.lock().unwrap();
    let message = world.messages.iter().rev().find(|m| m.to == number).expect("a message").clone();
    let bodies = world.requests.iter().rev().filter_map(|r| serde_json::from_slice::<Value>(&r.body).ok());
    (bodies.into_iter().find(|b| b["biz_opaque_callback_data"] == message.reference.as_str()).expect("its request"), message)
}

impl Fake for Meta {
    const DRIVER: &'static str = "meta";
    const CAMPAIGN: &'static str = "whatsapp-only";
    const SENDER: &'static str = NUMBER_ID;
    const TEMPLATED: bool = true;
    const CHANNELS: &'static str = "whatsapp";

    fn account() -> String {
        format!("access_token = \"{TOKEN}\"\napp_secret = \"{SECRET}\"\nverify_token = \"word-of-the-test\"")
    }

    /// WhatsApp alone goes through it; SMS stays where it was.
    fn route(url: &str, text: &str) -> String {
        super::route_whatsapp(Self::DRIVER, &Self::account(), url, NUMBER_ID, text)
    }

    fn files(folder: &std::path::Path) {
        super::whatsapp_only(folder);
    }

    fn read(request: &Request) -> Option<Message> {
        if request.method != "POST" {
            return None;
        }
        assert_eq!(request.path(), format!("/v25.0/{NUMBER_ID}/messages"));
        assert_eq!(request.header("authorization"), format!("Bearer {TOKEN}"));
        assert_eq!(request.header("content-type"), "application/json");
        let mut body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let fields = body.as_object_mut().expect("an object");
        let mut take = |name: &str| fields.remove(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(take("messaging_product"), "whatsapp");
        assert_eq!(take("recipient_type"), "individual");
        let to = take("to").as_str().expect("a number").to_owned();
        assert!(to.starts_with('+'), "without the plus the business number's country code may be prepended");
        let reference = take("biz_opaque_callback_data").as_str().expect("a text").to_owned();
        let kind = take("type");
        let content = take(kind.as_str().expect("a kind"));
        assert!(fields.is_empty(), "Meta knows no {fields:?}");
        let (text, buttons) = match kind.as_str().unwrap() {
            "template" => read_template(&content),
            "text" => (content["body"].as_str().expect("a text").to_owned(), Vec::new()),
            "interactive" => read_interactive(&content),
            other => panic!("{other}"),
        };
        let provider_id = wamid(digits(&to), &request.n.to_string());
        Some(Message { from: NUMBER_ID.to_owned(), text, reference, callback: String::new(), provider_id, to, buttons })
    }

    fn answer(message: &Message, play: &Play) -> (u16, Vec<(&'static str, String)>, String) {
        match play {
            Play::Accept | Play::Silence => {
                let body = json!({
                    "messaging_product": "whatsapp",
                    "contacts": [{ "input": message.to, "wa_id": digits(&message.to) }],
                    "messages": [{ "id": message.provider_id, "message_status": "accepted" }],
                });
                (200, Vec::new(), body.to_string())
            }
            Play::Garbled => (200, Vec::new(), "<html>".into()),
            Play::Broken => (500, Vec::new(), failed(131_000).to_string()),
            Play::Error(code) => {
                let code: i64 = code.parse().unwrap();
                let status = match code {
                    0 | 190 => 401,
                    10 | 200..=299 => 403,
                    4 | 80_007 | 130_429 => 429,
                    _ => 400,
                };
                (status, Vec::new(), failed(code).to_string())
            }
        }
    }

    fn other(request: &Request) -> (u16, String) {
        match (request.header("authorization") == format!("Bearer {TOKEN}"), request.path()) {
            (false, _) => (401, failed(190).to_string()),
            (true, path) if path == format!("/v25.0/{NUMBER_ID}") => (200, json!({ "id": NUMBER_ID }).to_string()),
            (true, _) => (400, failed(100).to_string()),
        }
    }

    fn receipt(message: &Message, receipt: Receipt, error: Option<&str>) -> Option<Call> {
        let word = match receipt {
            Receipt::Sent => "sent",
            Receipt::Delivered => "delivered",
            Receipt::Read => "read",
            Receipt::Failed => "failed",
            Receipt::Accepted | Receipt::Undelivered | Receipt::Expired => return None,
        };
        Some(change("messages", json!({ "statuses": [status(message, word, error)] })))
    }

    fn inbound(from: &str, text: &str, id: &str) -> Call {
        heard(
            json!({ "from": digits(from), "id": wamid(digits(from), id), "timestamp": "1796118300", "type": "text", "text": { "body": text } }),
        )
    }

    fn tap(under: &Message, nth: usize, title: &str, id: &str) -> Option<Call> {
        let (button, number) = (under.buttons.get(nth)?, digits(&under.to));
        let context = json!({ "from": "15550783881", "id": under.provider_id });
        let mut item = json!({ "context": context, "from": number, "id": wamid(number, id), "timestamp": "1796118300" });
        // Templates carry our variables alone, other messages their text.
        if under.text.contains(' ') {
            item["type"] = "interactive".into();
            item["interactive"] = json!({ "type": "button_reply", "button_reply": { "id": button, "title": title } });
        } else {
            item["type"] = "button".into();
            item["button"] = json!({ "payload": button, "text": title });
        }
        Some(heard(item))
    }

    fn signed(call: Call) -> Call {
        signed_text(call.body)
    }

    fn said_at(call: Call, at: i64) -> Call {
        let mut body: Value = serde_json::from_str(&call.body).unwrap();
        body["entry"][0]["changes"][0]["value"]["messages"][0]["timestamp"] = (at / 1_000_000).to_string().into();
        signed(&body)
    }

    fn forged(call: &Call) -> Vec<Call> {
        let header =
            |value: String| Call { headers: vec![call.headers[0].clone(), ("x-hub-signature-256", value)], ..call.clone() };
        let genuine = &call.headers[1].1;
        vec![
            Call { headers: call.headers[..1].to_vec(), ..call.clone() },
            header(format!("sha256={}", sign::hmac_sha256_hex("another secret", call.body.as_bytes()))),
            header(genuine.trim_start_matches("sha256=").to_owned()),
            Call { body: format!("{} ", call.body), ..call.clone() },
            Call { method: "GET", ..call.clone() },
            Call { method: "PUT", ..call.clone() },
        ]
    }

    fn comes(code: &str, _class: &str) -> Comes {
        match code {
            // "This message was not delivered": told by a status.
            "131049" | "130472" => Comes::Receipt,
            _ => Comes::Both,
        }
    }
}

fn failed(code: i64) -> Value {
    json!({ "error": { "message": format!("(#{code}) as documented"), "type": "OAuthException", "code": code,
                       "error_data": { "messaging_product": "whatsapp", "details": "…" }, "fbtrace_id": "Az8or2yhqkZfEZ-_4Qn_Bam" } })
}

/// Reads a template as it was approved: the ask counts its variable, has three quick replies and then the link; the confirmation names its
/// variable and has two. Answers its variable and the payloads of the quick replies.
pub fn read_template(content: &Value) -> (String, Vec<String>) {
    let name = content["name"].as_str().expect("a name");
    assert!(["de", "en", "es", "fr", "it", "pl"].contains(&content["language"]["code"].as_str().expect("a language")));
    let (mut replies, mut links, mut text, mut payloads) = (Vec::new(), Vec::new(), String::new(), Vec::new());
    for component in content["components"].as_array().expect("components") {
        let parameter = &component["parameters"][0];
        assert_eq!(component["parameters"].as_array().map(Vec::len), Some(1));
        match (component["type"].as_str().unwrap(), component["sub_type"].as_str()) {
            ("body", None) => {
                assert_eq!(parameter["type"], "text");
                assert_eq!(parameter["parameter_name"].as_str(), (name == "confirm_v1").then_some("brand"), "{name}");
                text = parameter["text"].as_str().expect("a text").to_owned();
            }
            ("button", Some("quick_reply")) => {
                assert_eq!(parameter["type"], "payload");
                payloads.push(parameter["payload"].as_str().filter(|payload| !payload.is_empty()).expect("a payload").to_owned());
                replies.push(component["index"].as_str().expect("a text").to_owned());
            }
            ("button", Some("url")) => {
                let suffix = parameter["text"].as_str().expect("a text");
                assert!(suffix.len() == 22 && suffix.bytes().all(|b| b.is_ascii_alphanumeric()), "the token alone: {suffix}");
                links.push(component["index"].as_str().expect("a text").to_owned());
            }
            other => panic!("{other:?}"),
        }
    }
    match name {
        "repermission_whatsapp_v1" => assert_eq!((replies, links), (vec!["0".into(), "1".into(), "2".into()], vec!["3".into()])),
        "confirm_v1" => assert_eq!((replies, links), (vec!["0".into(), "1".into()], Vec::<String>::new())),
        other => panic!("there is no template {other}"),
    }
    (text, payloads)
}

/// Reads a message with reply buttons; answers its text and their ids.
pub fn read_interactive(content: &Value) -> (String, Vec<String>) {
    assert_eq!(content["type"], "button");
    let buttons = content["action"]["buttons"].as_array().expect("buttons");
    assert!((1..=3).contains(&buttons.len()));
    let id = |button: &Value| {
        assert_eq!(button["type"], "reply");
        assert!(button["reply"]["title"].as_str().is_some_and(|t| (1..=20).contains(&t.chars().count())));
        button["reply"]["id"].as_str().filter(|id| id.len() <= 256).expect("an id").to_owned()
    };
    (content["body"]["text"].as_str().expect("a text").to_owned(), buttons.iter().map(id).collect())
}

crate::conformance!(Meta);

/// So many people asked.
async fn asked(kind: Kind, n: u32) -> Stage<Meta> {
    let stage = Stage::<Meta>::new(kind).await;
    stage.people(&(1..=n).map(TestApp::it).collect::<Vec<_>>()).await;
    stage.app.plan(Meta::CAMPAIGN).await;
    stage.app.deliver().await;
    stage
}

/// One story on both stores.
macro_rules! both_stores {
    ($name:ident, $story:path) => {
        mod $name {
            #[tokio::test]
            async fn sqlite() {
                $story(crate::app::Kind::Sqlite).await;
            }
            #[tokio::test]
            async fn postgres() {
                $story(crate::app::Kind::Postgres).await;
            }
        }
    };
}

#[test]
fn the_published_signatures_fit_and_the_others_do_not() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../data/gateways/meta.signatures.json")).unwrap();
    assert_eq!(vectors.len(), 10);
    for vector in vectors {
        let of = |name: &str| vector[name].as_str().unwrap_or_default();
        match vector.get("query") {
            Some(_) => {
                assert_eq!(challenge(of("verify_token"), of("query")).as_deref(), vector["answer"].as_str(), "{}", of("name"))
            }
            None => {
                let fits = is_signed(of("secret"), of("body").as_bytes(), of("header"));
                assert_eq!(fits, vector["valid"].as_bool().unwrap(), "{}", of("name"));
            }
        }
    }
}

both_stores!(a_tap_and_a_tap_on_the_confirmation_are_a_consent, super::two_taps);
async fn two_taps(kind: Kind) {
    let mut stage = asked(kind, 2).await;
    let (yes, stop) = (TestApp::it(1), TestApp::it(2));
    stage.hear(&tap(&stage, &yes, 0, "Sì", "a")).await;
    stage.app.advance(Duration::from_secs(10));
    stage.app.deliver().await;
    let (request, _) = newest(&stage, &yes);
    assert_eq!(request["type"], "interactive", "within 24 hours of the tap no template is needed");
    stage.hear(&tap(&stage, &yes, 0, "Sì, confermo", "b")).await;
    assert_eq!(stage.app.granted(&yes).await, ["sms.promotions", "whatsapp.promotions"]);
    stage.hear(&tap(&stage, &stop, 2, "STOP", "c")).await;
    assert!(stage.app.story(&stop).await.suppressions.iter().any(|s| s.contains("stop")), "{:?}", stage.app.story(&stop).await);
    // The ids of Meta's hold numbers: none of them is kept.
    let kept = stage.app.dump("attempts").await + &stage.app.dump("inbound_events").await + &stage.app.dump("receipts").await;
    assert!(!kept.contains("wamid") && !kept.contains(digits(&yes)), "{kept}");
    stage.app.end().await;
}

#[tokio::test]
async fn a_choice_on_the_page_is_confirmed_by_a_template() {
    let mut stage = asked(Kind::Sqlite, 1).await;
    let (request, _) = newest(&stage, &TestApp::it(1));
    let buttons = request["template"]["components"].as_array().unwrap();
    let token = buttons.iter().find(|b| b["sub_type"] == "url").unwrap()["parameters"][0]["text"].as_str().unwrap();
    let link = format!("{}/p/{token}", stage.app.base);
    let (_, page) = stage.app.get(&link).await;
    assert_eq!(stage.app.post(&link, &field(&page, "nonce"), "chosen", &["whatsapp.promotions"]).await, 303);
    stage.app.advance(Duration::from_secs(10));
    stage.app.deliver().await;
    assert_eq!(
        newest(&stage, &TestApp::it(1)).0["template"]["name"],
        "confirm_v1",
        "the person has not written, so nothing else is taken"
    );
    stage.hear(&tap(&stage, &TestApp::it(1), 0, "Sì, confermo", "b")).await;
    assert_eq!(stage.app.granted(&TestApp::it(1)).await, ["whatsapp.promotions"]);
    stage.app.end().await;
}

fn preference(value: &str, number: &str) -> Call {
    let item = json!({ "wa_id": digits(number), "detail": "…", "category": "marketing_messages", "value": value, "timestamp": 1_796_118_300 });
    change("user_preferences", json!({ "contacts": [{ "wa_id": digits(number) }], "user_preferences": [item] }))
}

#[tokio::test]
async fn whatsapps_own_switch_is_a_stop_and_no_consent() {
    let mut stage = asked(Kind::Sqlite, 1).await;
    stage.hear(&preference("stop", &TestApp::it(1))).await;
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM suppressions WHERE reason = 'stopped'").await, 1);
    assert_eq!(stage.messages().len(), 1, "WhatsApp has told the person itself");
    stage.hear(&preference("resume", &TestApp::it(1))).await;
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM suppressions WHERE lifted_at IS NULL").await, 1);
    assert!(stage.app.granted(&TestApp::it(1)).await.is_empty());
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events WHERE effect = 'held'").await, 0, "nobody has to look at it");
    stage.app.end().await;
}

async fn pause_reason(stage: &Stage<Meta>) -> Option<String> {
    let report = permesso::engine::gateways::gateways(&stage.app.engine).await.unwrap();
    report.into_iter().find(|gateway| gateway.name == "meta").unwrap().pause_reason
}

#[tokio::test]
async fn a_lost_template_of_ours_or_a_restricted_account_ends_the_sending() {
    let template = |name: &str, event: &str| {
        let value = json!({ "event": event, "message_template_id": 594425479261596_i64, "message_template_name": name,
                            "message_template_language": "it", "reason": "NONE" });
        change("message_template_status_update", value)
    };
    let calls = [
        (template("repermission_whatsapp_v1", "APPROVED"), None),
        (template("of_somebody_else", "PAUSED"), None),
        (change("phone_number_quality_update", json!({ "event": "DOWNGRADE" })), None),
        (template("repermission_whatsapp_v1", "PAUSED"), Some("the template repermission_whatsapp_v1 (it) is PAUSED")),
        (
            change("account_update", json!({ "event": "ACCOUNT_RESTRICTION" })),
            Some("Meta says of the account: ACCOUNT_RESTRICTION"),
        ),
    ];
    for (call, reason) in calls {
        let mut stage = Stage::<Meta>::new(Kind::Sqlite).await;
        stage.people(&[TestApp::it(1)]).await;
        stage.app.plan(Meta::CAMPAIGN).await;
        stage.hear(&call).await;
        assert_eq!(pause_reason(&stage).await.as_deref(), reason, "{call:?}");
        assert_eq!(stage.messages().len(), usize::from(reason.is_none()));
        stage.app.end().await;
    }
}

both_stores!(whoever_hides_the_number_is_heard_all_the_same, super::hidden);
/// A plain text counts at once for whoever's id a receipt or a reply has told, and as soon as one tells it for whoever's it has not.
async fn hidden(kind: Kind) {
    let user = |n: u32| format!("IT.1349120865530274191{n}");
    let says = |n: u32, text: &str, id: &str, context: Value| {
        heard(json!({ "from_user_id": user(n), "id": format!("wamid.{id}"), "timestamp": "1796118300", "type": "text",
                      "text": { "body": text }, "context": context }))
    };
    let delivered = |stage: &Stage<Meta>, n: u32, contacts: Value| {
        let mut item = status(&newest(stage, &TestApp::it(n)).1, "delivered", None);
        if contacts.is_null() {
            item["recipient_user_id"] = user(n).into();
        }
        change("messages", json!({ "contacts": contacts, "statuses": [item] }))
    };
    let at = |stage: &Stage<Meta>, call: Call| Meta::said_at(call, stage.app.clock.now());
    let mut stage = asked(kind, 7).await;
    let noes = "SELECT COUNT(*) FROM suppressions WHERE lifted_at IS NULL";
    let waiting = "SELECT COUNT(*) FROM inbound_events WHERE effect = 'held' AND resolved_at IS NULL";
    let stands = async |stage: &Stage<Meta>| (stage.app.count(noes).await, stage.app.count(waiting).await);

    // Known by a receipt: the STOP counts at once, under number and id, and is acknowledged like any other.
    stage.hear(&delivered(&stage, 1, Value::Null)).await;
    stage.app.advance(Duration::from_secs(10));
    stage.hear(&at(&stage, says(1, "STOP", "one", Value::Null))).await;
    assert_eq!(stands(&stage).await, (2, 0));
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'stopped'").await, 1);
    assert_eq!(stage.to(&TestApp::it(1)).len(), 2, "the acknowledgement");

    // Not known yet: it stands under the id and shows in the inbox, and the receipt that names its person makes it theirs.
    stage.hear(&at(&stage, says(2, "STOP", "two", Value::Null))).await;
    assert_eq!(stands(&stage).await, (3, 1));
    stage
        .hear(&delivered(
            &stage,
            2,
            json!([{ "profile": { "name": "Anna" }, "wa_id": digits(&TestApp::it(2)), "user_id": user(2) }]),
        ))
        .await;
    assert_eq!(stands(&stage).await, (4, 0));
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'stopped'").await, 2);

    // Known by the message that an unclear reply answers; the next one names nothing.
    let ask = newest(&stage, &TestApp::it(3)).1.provider_id;
    stage.hear(&at(&stage, says(3, "Chi siete?", "three", json!({ "id": ask })))).await;
    assert_eq!(stands(&stage).await, (4, 1), "it holds its person");
    stage.hear(&at(&stage, says(3, "basta, non scrivetemi", "three-b", Value::Null))).await;
    assert_eq!(stands(&stage).await, (6, 1));

    // An operator's word about a stranger, too.
    stage.hear(&at(&stage, says(7, "???", "seven", Value::Null))).await;
    let strangers = permesso::engine::inbox::waiting(&stage.app.engine, 0, 100).await.unwrap();
    let [unclear] = strangers.iter().filter(|w| w.stranger && !w.dead_letter).collect::<Vec<_>>()[..] else {
        panic!("{strangers:?}")
    };
    permesso::engine::inbox::resolve(&stage.app.engine, unclear.id, true, "ann").await.unwrap();
    assert_eq!(stands(&stage).await, (7, 1));
    stage.hear(&delivered(&stage, 7, Value::Null)).await;
    assert_eq!(stands(&stage).await, (8, 1));

    // Erased: the no under the id stays, later words under it are kept by nobody, and nothing brings them back.
    stage.hear(&at(&stage, says(4, "AIUTO", "four-help", Value::Null))).await;
    stage.hear(&delivered(&stage, 4, Value::Null)).await;
    crate::erasure::erase(&stage.app, &TestApp::it(4)).await;
    assert_eq!(stands(&stage).await, (10, 1));
    for (text, id) in [("STOP", "four"), ("Chi siete?", "four-b"), ("SI", "four-c")] {
        stage.hear(&at(&stage, says(4, text, id, Value::Null))).await;
    }
    assert_eq!(stands(&stage).await, (11, 1), "stopped beside erased, and nothing waits");
    stage.hear(&delivered(&stage, 4, Value::Null)).await;
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events WHERE body_enc = '' AND mac = ''").await, 4);
    let ids = "SELECT COUNT(*) FROM number_macs WHERE key_id = -1";
    assert_eq!(stage.app.count(ids).await, 4, "a late receipt teaches nothing of the erased");

    // WhatsApp's own switch names them by the same id, and so does a reply with the number.
    stage
        .hear(&at(
            &stage,
            heard(json!({ "from": digits(&TestApp::it(5)), "from_user_id": user(5), "id": "wamid.five",
        "timestamp": "1796118300", "type": "text", "text": { "body": "AIUTO" } })),
        ))
        .await;
    let off = json!([{ "user_id": user(5), "category": "marketing_messages", "value": "stop", "timestamp": stage.app.clock.now() / 1_000_000 }]);
    stage.hear(&change("user_preferences", json!({ "contacts": [], "user_preferences": off }))).await;
    assert_eq!(stands(&stage).await, (13, 1));

    // A reply stored at the same moment as the receipt saw nobody: the sweep reads it again.
    stage.hear(&at(&stage, says(6, "SI", "six", Value::Null))).await;
    assert_eq!(stands(&stage).await, (13, 2), "a yes waits as well");
    stage.app.execute("INSERT INTO number_macs (controller, mac, key_id, contact_id) SELECT i.controller, i.mac, -1, c.id
        FROM inbound_events i, contacts c WHERE i.effect = 'held' AND i.resolved_at IS NULL AND i.contact_id IS NULL AND c.id = (SELECT contact_id FROM conversations WHERE closed_at IS NULL)").await.unwrap();
    permesso::engine::recover::sweep(&stage.app.engine).await.unwrap();
    assert_eq!(stands(&stage).await, (13, 1));
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM conversations WHERE state = 'pending' AND closed_at IS NULL").await, 1);

    // Nobody's number yet: once both are told together the no under the id is the number's, whatever its person says then, the company's
    // CRM is told, and no list brings them in.
    stage.app.reconfigure(crate::crm::WEBHOOK).await;
    let told = "SELECT COUNT(*) FROM outbox WHERE kind = 'consent.stopped' AND number_enc IS NOT NULL";
    let stranger = TestApp::it(70);
    stage.hear(&at(&stage, says(8, "STOP", "eight", Value::Null))).await;
    let noes_before = stands(&stage).await.0;
    let shown = json!({ "from": digits(&stranger), "from_user_id": user(8), "id": "wamid.eight-b", "timestamp": "1796118300", "type": "text",
                        "text": { "body": "SI" } });
    assert_eq!(stage.app.count(told).await, 0, "nobody's number is known");
    stage.hear(&at(&stage, heard(shown))).await;
    assert_eq!((stands(&stage).await.0, stage.app.count(told).await), (noes_before + 1, 1));
    stage.people(std::slice::from_ref(&stranger)).await;
    stage.app.plan(Meta::CAMPAIGN).await;
    stage.app.deliver().await;
    assert!(stage.to(&stranger).is_empty());

    // Nor is anything granted any more to the human to whom a rejected row tied that number.
    let granted = TestApp::it(6);
    let engine = &stage.app.engine;
    let mut tx = engine.store.write().await.unwrap();
    let keyed = engine.vault.keyed_all(&TestApp::number(&granted));
    let subject = contacts::by_number(&mut tx, &engine.controller, &keyed).await.unwrap().unwrap().subject;
    let yes = crate::contract::body(&subject, Entry::Granted, stage.app.clock.now(), &["whatsapp.promotions"]);
    ledger::append(&mut tx, &engine.vault, &engine.controller, &yes, &[], stage.app.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    stage.app.import(&(crate::humans::row(6, "EX6") + &crate::humans::rejected(71, "EX6", ""))).await;
    stage.hear(&at(&stage, says(9, "STOP", "nine", Value::Null))).await;
    assert_eq!(stage.app.granted(&granted).await.len(), 1, "nobody knows whose that is");
    for id in ["nine-b", "nine-c"] {
        let shown = json!({ "from": digits(&TestApp::it(71)), "from_user_id": user(9), "id": format!("wamid.{id}"), "timestamp": "1796118300",
                            "type": "text", "text": { "body": "AIUTO" } });
        stage.hear(&at(&stage, heard(shown))).await;
        assert!(stage.app.granted(&granted).await.is_empty());
    }
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'withdrawn'").await, 1);
    stage.app.end().await;
}

both_stores!(a_no_said_under_a_hidden_id_ends_no_newer_consent_of_the_humans_other_number, super::hidden_and_answered);
async fn hidden_and_answered(kind: Kind) {
    let mut stage = asked(kind, 3).await;
    let [one, newer, older] = [1, 2, 3].map(TestApp::it);
    let human: String = (1..=3).map(|n| crate::humans::row(n, "EX1")).collect();
    stage.app.import(&human).await;
    let consents = async |stage: &Stage<Meta>, number: &str, id: &str| {
        for (step, title) in ["Sì", "Sì, confermo"].into_iter().enumerate() {
            stage.hear(&tap(stage, number, 0, title, &format!("{id}{step}"))).await;
            stage.app.advance(Duration::from_secs(60));
            stage.app.deliver().await;
        }
        assert_eq!(stage.app.granted(number).await.len(), 2);
    };
    consents(&stage, &older, "older").await;
    let no =
        json!({ "from_user_id": "IT.1", "id": "wamid.no", "timestamp": "1796118300", "type": "text", "text": { "body": "NO" } });
    stage.hear(&Meta::said_at(heard(no), stage.app.clock.now())).await;
    stage.app.advance(Duration::from_secs(600));
    consents(&stage, &newer, "newer").await;
    // A receipt says whose id it is.
    let mut item = status(&newest(&stage, &one).1, "delivered", None);
    item["recipient_user_id"] = "IT.1".into();
    stage.hear(&change("messages", json!({ "statuses": [item] }))).await;
    for list in ["fair", "market"] {
        assert!(stage.app.story(&one).await.verdict.contains("refused"), "{:?}", stage.app.story(&one).await);
        assert_eq!(stage.app.granted(&newer).await.len(), 2, "said after the no: {:?}", stage.app.story(&newer).await);
        assert!(stage.app.granted(&older).await.is_empty(), "{:?}", stage.app.story(&older).await);
        // Nor does the next list that names all of them.
        stage.app.import(&human.replace("web shop", list)).await;
    }
    assert_eq!(permesso::engine::verify::ledger(&stage.app.engine).await.unwrap().1, Vec::<String>::new());
    stage.app.end().await;
}

/// WhatsApp takes free text for a day after its person wrote: what is answered later goes as an approved template or not at all, and words
/// that waited under a hidden id count when they reached us.
#[tokio::test]
async fn what_comes_late_is_answered_by_templates_alone() {
    let mut stage = asked(Kind::Sqlite, 2).await;
    let hour = Duration::from_secs(3600);
    let says = |n: u32, text: &str, id: &str| json!({ "from": digits(&TestApp::it(n)), "id": format!("wamid.{id}"), "timestamp": "1796118300", "type": "text", "text": { "body": text } });
    stage.app.advance(hour);
    let written = stage.app.clock.now();
    stage.app.advance(hour * 29);
    stage.hear(&Meta::said_at(heard(says(1, "AIUTO", "help")), written)).await;
    assert_eq!(stage.to(&TestApp::it(1)).len(), 1, "no help after a day");
    stage.hear(&Meta::said_at(heard(says(1, "SI", "yes")), written)).await;
    assert_eq!(stage.to(&TestApp::it(1)).len(), 2);
    assert_eq!(newest(&stage, &TestApp::it(1)).0["template"]["name"], "confirm_v1");
    stage.hear(&Meta::said_at(heard(says(2, "AIUTO", "in-time")), stage.app.clock.now())).await;
    assert_eq!(stage.to(&TestApp::it(2)).len(), 2);
    assert_eq!(newest(&stage, &TestApp::it(2)).0["type"], "text");
    stage.app.end().await;
}

/// permesso.toml of a company that has WhatsApp alone.
fn whatsapp_alone(text: String) -> String {
    let (before, senders) = text.split_once("[[sender]]").expect("a sender");
    let whatsapp = senders.split("[[sender]]").find(|one| one.contains("id = \"acme-wa\"")).expect("WhatsApp's");
    format!("{before}[[sender]]{whatsapp}")
}

#[tokio::test]
async fn a_code_that_whatsapp_takes_no_more_says_what_to_do_and_pauses_nothing() {
    let mut stage = Stage::<Meta>::with(Kind::Sqlite, whatsapp_alone).await;
    let [at_once, later] = [1, 2].map(TestApp::it);
    stage.people(&[at_once.clone(), later.clone()]).await;
    let handed = async |number: &str| {
        permesso::engine::hand::link(&stage.app.engine, &TestApp::number(number), "ann", None).await.expect("a link").address
    };
    // Behind a link that no campaign sent a code completes the choice, and there is no SMS for it to go by.
    for number in [&at_once, &later] {
        let page = handed(number).await;
        if number == &at_once {
            stage.play(number, Play::Error("131047".into()));
        }
        assert_eq!(stage.app.submit(&page, "chosen", &["whatsapp.promotions"]).await, 303);
        stage.app.deliver().await;
        let code = stage.to(number).pop().expect("a code");
        if number == &later {
            stage.hear(&Meta::receipt(&code, Receipt::Failed, Some("131047")).unwrap()).await;
        }
        let failed = "SELECT COUNT(*) FROM messages WHERE kind = 'code' AND state = 'failed' AND reason = 'window closed'";
        assert_eq!(stage.app.count(failed).await, if number == &at_once { 1 } else { 2 });
        assert_eq!(pause_reason(&stage).await, None, "it is said of this person alone");
        let shown = stage.app.get(&page).await.1;
        assert!(shown.contains("Scrivici lì la parola INFO") && shown.contains("value=\"another\""), "{shown}");
        let told = stage.app.history(number).await.concat();
        assert!(told.contains("WhatsApp takes free text for a day after a message of theirs alone"), "{told}");

        // They write, and the next code comes.
        stage.play(number, Play::Accept);
        stage.app.advance(Duration::from_secs(61));
        stage.reply(number, "INFO", &format!("info of {number}")).await;
        stage.app.advance(Duration::from_secs(61));
        assert_eq!(stage.app.submit(&page, "another", &[]).await, 303);
        stage.app.advance(Duration::from_secs(10));
        stage.app.deliver().await;
        let text = stage.to(number).pop().expect("a code").text;
        let code = text.split(' ').find(|word| word.len() == 6 && word.bytes().all(|b| b.is_ascii_digit())).expect("six digits");
        assert_eq!(crate::code::enter(&stage.app, &page, code).await, 303);
        assert_eq!(stage.app.granted(number).await, ["whatsapp.promotions"]);
    }
    stage.app.end().await;
}

#[tokio::test]
async fn one_item_that_cannot_be_read_takes_no_other_with_it() {
    let mut stage = asked(Kind::Sqlite, 2).await;
    let (_, first) = newest(&stage, &TestApp::it(1));
    let (_, second) = newest(&stage, &TestApp::it(2));
    let statuses = json!([status(&first, "delivered", None), { "id": 7 }, "?", status(&second, "imagined", None), status(&second, "read", None)]);
    let stop = json!({ "from": digits(&TestApp::it(1)), "id": "wamid.stop", "timestamp": 1_796_118_300, "type": "text", "text": { "body": "STOP" } });
    let mut call: Value =
        serde_json::from_str(&change("messages", json!({ "statuses": statuses, "messages": [{ "type": "text" }, stop] })).body)
            .unwrap();
    let entries = call["entry"].as_array_mut().unwrap();
    entries.insert(0, json!({ "changes": [{ "field": "messages" }, 3] }));
    stage.hear(&signed(&call)).await;
    assert_eq!(stage.app.state_of(&TestApp::it(1)).await, "delivered");
    assert_eq!(stage.app.state_of(&TestApp::it(2)).await, "read");
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM suppressions").await, 1);
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events WHERE effect = 'held'").await, 4);
    stage.app.end().await;
}

#[tokio::test]
async fn the_callback_address_is_proved_by_the_word_agreed_on() {
    let mut stage = Stage::<Meta>::new(Kind::Sqlite).await;
    let url = |word: &str| {
        format!("{}/webhooks/meta?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={word}", stage.app.base)
    };
    assert_eq!(stage.app.get(&url("word-of-the-test")).await, (200, "1158201444".to_owned()));
    assert_eq!(stage.app.get(&url("another")).await.0, 403);
    let gateway = stage.app.engine.gateways["meta"].clone();
    assert_eq!(gateway.check().await, Some(Ok("the token works for the number of every sender".into())));
    stage.app.end().await;
}

both_stores!(only_so_many_people_are_written_to_first_in_24_hours, super::daily_places);
async fn daily_places(kind: Kind) {
    let mut stage =
        Stage::<Meta>::with(kind, |text| text.replace("id = \"acme-wa\"", "id = \"acme-wa\"\ndaily_recipients = 2")).await;
    let people: Vec<String> = (1..=5).map(TestApp::it).collect();
    stage.people(&people[..1]).await;
    stage.app.plan(Meta::CAMPAIGN).await;
    stage.app.deliver().await;
    stage.app.advance(Duration::from_secs(3600));
    stage.people(&people[1..]).await;
    stage.app.plan(Meta::CAMPAIGN).await;
    stage.app.deliver().await;
    let asks = |stage: &Stage<Meta>| stage.messages().iter().filter(|m| m.reference.starts_with("ask")).count();
    assert_eq!(asks(&stage), 2, "the second place is taken, three wait");
    let waiting = "SELECT COUNT(*) FROM messages WHERE kind = 'ask' AND state = 'planned' AND reason = 'SENDER_FULL'";
    assert_eq!(stage.app.count(waiting).await, 3);
    // An answer to somebody's own message needs no place.
    let asked = stage.messages()[1].to.clone();
    stage.app.advance(Duration::from_secs(10));
    stage.reply(&asked, "SI", "yes").await;
    assert_eq!(stage.to(&asked).len(), 2);
    // The first place is free a day after the first ask, the second one an hour later.
    stage.app.advance(Duration::from_secs(23 * 3600 - 60));
    stage.app.deliver().await;
    assert_eq!(asks(&stage), 2);
    stage.app.advance(Duration::from_secs(60));
    stage.app.deliver().await;
    assert_eq!(asks(&stage), 3);
    stage.app.advance(Duration::from_secs(3600));
    stage.app.deliver().await;
    assert_eq!(asks(&stage), 4);
    stage.app.end().await;
}

both_stores!(one_person_gets_one_message_in_six_seconds, super::pair_rate);
async fn pair_rate(kind: Kind) {
    let mut stage = asked(kind, 2).await;
    stage.app.advance(Duration::from_secs(2));
    stage.reply(&TestApp::it(1), "SI", "yes").await;
    assert_eq!(stage.to(&TestApp::it(1)).len(), 1, "the confirmation keeps its distance from the ask");
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM messages WHERE kind = 'confirm' AND reason = 'PAIR_RATE'").await, 1);
    stage.app.advance(Duration::from_secs(4));
    stage.app.deliver().await;
    assert_eq!(stage.to(&TestApp::it(1)).len(), 2);
    stage.reply(&TestApp::it(2), "AIUTO", "help").await;
    assert_eq!(stage.to(&TestApp::it(2)).len(), 2, "nobody else has to wait");
    stage.app.end().await;
}

#[tokio::test]
async fn too_fast_for_one_person_delays_nobody_else() {
    let mut stage = Stage::<Meta>::new(Kind::Sqlite).await;
    stage.people(&[TestApp::it(1), TestApp::it(2)]).await;
    stage.play(&TestApp::it(1), Play::Error("131056".into()));
    stage.app.plan(Meta::CAMPAIGN).await;
    stage.app.deliver().await;
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM gateways WHERE throttled_until > 0").await, 0);
    stage.app.advance(Duration::from_secs(5));
    stage.app.deliver().await;
    assert_eq!(stage.to(&TestApp::it(1)).len(), 1, "not within six seconds");
    assert_eq!(stage.app.state_of(&TestApp::it(2)).await, "accepted");
    stage.play(&TestApp::it(1), Play::Accept);
    stage.app.advance(Duration::from_secs(60));
    stage.app.deliver().await;
    assert_eq!(stage.app.state_of(&TestApp::it(1)).await, "accepted");
    stage.app.end().await;
}

#[tokio::test]
async fn who_is_not_on_whatsapp_is_asked_by_sms() {
    let mut stage = Stage::<Meta>::new(Kind::Sqlite).await;
    let file = "number,kind,source,ask_basis,basis_evidence,basis_date,box_default,basis_channels,country,time_zone\n";
    let row = |n: u32| format!("{},prospect,web shop,prior_consent,form 1,2026-01-10,unticked,sms whatsapp,,\n", TestApp::it(n));
    stage.app.import_file(&format!("{file}{}{}", row(1), row(2))).await;
    stage.play(&TestApp::it(1), Play::Error("131026".into()));
    stage.app.plan("whatsapp-first").await;
    stage.app.deliver().await;
    let ask = stage.to(&TestApp::it(2))[0].clone();
    stage.hear(&Meta::receipt(&ask, Receipt::Failed, Some("131026")).unwrap()).await;
    stage.app.gateway.idle().await;
    for n in [1, 2] {
        assert_eq!(stage.app.asks(&TestApp::it(n)), 1, "by SMS");
        assert_eq!(stage.to(&TestApp::it(n)).len(), 1);
    }
    stage.app.end().await;
}

/// What `campaign check` says of these settings.
async fn found(change: impl FnOnce(String) -> String) -> String {
    let mut stage = Stage::<Meta>::with(Kind::Sqlite, change).await;
    let found = stage.app.engine.config.campaign(Meta::CAMPAIGN).map_or_else(|problems| problems.to_string(), |_| String::new());
    stage.app.end().await;
    found
}

#[tokio::test]
async fn an_ask_whose_templates_do_not_fit_is_no_campaign() {
    let without = |text: &str, locale: &str| {
        let start = format!("  {{ text = \"{text}\", locale = \"{locale}\"");
        move |settings: String| settings.lines().filter(|line| !line.starts_with(&start)).collect::<Vec<_>>().join("\n")
    };
    let at = "whatsapp-only.toml:";
    for (problems, what) in [
        (found(without(ASK, "pl")).await, "no approved template that says repermission_whatsapp.pl"),
        (found(without("confirm", "it")).await, "no approved template that says confirm.it"),
        (found(|t| t.replacen("2026-11-02", "2026-12-02", 1)).await, "approved on 2026-12-02, after the start on 2026-12-01"),
        (found(|t| t.replacen("link_button = true", "link_button = false", 1)).await, "leaves out {{ link }}"),
        (found(|t| t.replacen("values = [\"brand\"]", "values = [\"brand\", \"link\"]", 1)).await, "has the link twice"),
        (found(|t| t.replacen("values = [\"brand\"]", "values = [\"brand\", \"code\"]", 1)).await, "has the value code"),
        (found(|t| t.replace(&format!("address = \"{NUMBER_ID}\"\n"), "")).await, "the provider knows no `acme-wa`"),
    ] {
        assert!(problems.contains(what) && problems.contains(at), "{what}:\n{problems}");
        assert_eq!(problems.lines().filter(|line| line.contains(at)).count(), 1, "{problems}");
    }
    // A template may spell the brand out: Meta takes no body that begins with a variable.
    assert_eq!(found(|t| t.replacen("values = [\"brand\"]", "values = []", 1)).await, "");
}

#[tokio::test]
async fn no_signed_body_makes_it_fall_over() {
    let mut stage = asked(Kind::Sqlite, 1).await;
    let (_, ask) = newest(&stage, &TestApp::it(1));
    let bodies = [
        Meta::receipt(&ask, Receipt::Failed, Some("131026")).unwrap().body,
        tap(&stage, &TestApp::it(1), 0, "Sì", "a").body,
        preference("stop", &TestApp::it(1)).body,
    ];
    let gateway = stage.app.engine.gateways["meta"].clone();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 500, ..ProptestConfig::default() });
    let places = ["null", "[]", "{}", "7", "-9223372036854775808", "\"\"", "[[]]"];
    let cases = (0..bodies.len(), any::<prop::sample::Index>(), prop::sample::select(places.to_vec()), any::<u8>());
    runner
        .run(&cases, |(which, at, put, byte)| {
            // Another value where a value begins, or another byte.
            let body = &bodies[which];
            let colons: Vec<usize> = body.match_indices(':').map(|(i, _)| i).collect();
            let mut body = match body[colons[at.index(colons.len())]..].find([',', '}', ']']) {
                Some(end) if byte < 128 => {
                    let start = colons[at.index(colons.len())];
                    format!("{}:{put}{}", &body[..start], &body[start + end..]).into_bytes()
                }
                _ => body.clone().into_bytes(),
            };
            if byte >= 128 {
                let at = at.index(body.len());
                body[at] = byte;
            }
            let signature = format!("sha256={}", sign::hmac_sha256_hex(SECRET, &body));
            let header = |name: &str| (name == "x-hub-signature-256").then(|| signature.clone());
            let call = Callback { method: "POST", target: "/webhooks/meta", header: &header, body: &body, now: 0 };
            if let Ok(Heard::Events(events)) = gateway.read_webhook(&call) {
                prop_assert!(!events.is_empty(), "what was authentic is kept");
                let named = |e: &Event| match e {
                    Event::Receipt { event_id, .. }
                    | Event::Unreadable { event_id, .. }
                    | Event::Note { event_id, .. }
                    | Event::Inbound { event_id, .. } => !event_id.is_empty(),
                    Event::Answered { .. } => false,
                };
                prop_assert!(events.iter().all(named));
            }
            Ok(())
        })
        .unwrap();
    stage.app.end().await;
}
