//! Infobip, as its API descriptions show it.

use permesso::domain::message::Receipt;
use permesso::gateway::infobip::signature;
use serde_json::{Value, json};

use super::{Call, Comes, Fake, Message, Play, Request, Stage};
use crate::app::{Kind, REPLY_NUMBER, TestApp};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SECRET: &str = "secret-of-the-test";

const WHATSAPP_NUMBER: &str = "+393001234599";

struct Infobip;

fn call(body: &Value) -> Call {
    signed(body.to_string())
}

fn signed(body: String) -> Call {
    let signed = signature("HMAC_SHA_512", SECRET, body.as_bytes());
    let headers = vec![("content-type", "application/json;charset=UTF-8".to_owned()), ("x-acme-signature", signed)];
    Call { method: "POST", target: format!("/webhooks/infobip/{TOKEN}"), headers, body }
}

impl Fake for Infobip {
    const DRIVER: &'static str = "infobip";
    const REJECTS_REPEATS: bool = true;

    fn account() -> String {
        let hmac = format!("hmac_secret = \"{SECRET}\"\nhmac_header = \"X-Acme-Signature\"\nhmac_algorithm = \"HMAC_SHA_512\"");
        format!("api_key = \"key-of-the-test\"\ncallback_token = \"{TOKEN}\"\n{hmac}")
    }

    fn read(request: &Request) -> Option<Message> {
        assert_eq!((request.method.as_str(), request.path()), ("POST", "/sms/3/messages"));
        assert_eq!(request.header("authorization"), "App key-of-the-test");
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let [message] = body["messages"].as_array().expect("messages").as_slice() else { panic!("one message") };
        let [to] = message["destinations"].as_array().expect("destinations").as_slice() else { panic!("one destination") };
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned();
        assert!(text(&to["to"]).bytes().all(|b| b.is_ascii_digit()), "without +");
        assert_eq!(message["options"]["validityPeriod"]["timeUnit"], "MINUTES");
        assert!((1..=48 * 60).contains(&message["options"]["validityPeriod"]["amount"].as_i64().expect("minutes")));
        assert_eq!(to["messageId"], message["webhooks"]["callbackData"]);
        let from = text(&message["sender"]);
        Some(Message {
            to: format!("+{}", text(&to["to"])),
            from: if from.bytes().all(|b| b.is_ascii_digit()) { format!("+{from}") } else { from },
            text: text(&message["content"]["text"]),
            reference: text(&to["messageId"]),
            callback: text(&message["webhooks"]["delivery"]["url"]),
            provider_id: text(&to["messageId"]),
            buttons: Vec::new(),
        })
    }

    fn answer(message: &Message, play: &Play) -> (u16, Vec<(&'static str, String)>, String) {
        let status = |group: i64, id: i64| {
            let status = json!({ "groupId": group, "groupName": "X", "id": id, "name": "X", "description": "as documented" });
            json!({ "bulkId": "b", "messages": [{ "messageId": message.provider_id, "status": status, "destination": message.to }] })
        };
        match play {
            Play::Accept | Play::Silence => (200, Vec::new(), status(1, 26).to_string()),
            Play::Garbled => (200, Vec::new(), "{}".into()),
            Play::Broken => (500, Vec::new(), json!({ "errorCode": "E500" }).to_string()),
            Play::Error(code) => (200, Vec::new(), status(5, code.trim_start_matches("status ").parse().unwrap()).to_string()),
        }
    }

    fn receipt(message: &Message, status: Receipt, error: Option<&str>) -> Option<Call> {
        let (group, id) = match status {
            Receipt::Accepted => (1, 26),
            Receipt::Sent => (1, 7),
            Receipt::Delivered => (3, 5),
            Receipt::Read => return None,
            Receipt::Undelivered => (2, 9),
            Receipt::Failed => (2, 4),
            Receipt::Expired => (4, 15),
        };
        let (mut group, mut id, mut code) = (group, id, 0);
        match error.and_then(|error| error.split_once(' ')) {
            Some(("status", status)) => {
                id = status.parse().unwrap();
                if !matches!(id, 4 | 9 | 15 | 29) {
                    group = 5;
                }
            }
            Some((_, error)) => code = error.parse().unwrap(),
            None => {}
        }
        Some(call(&json!({ "results": [{
            "bulkId": "b", "messageId": message.provider_id, "to": message.to.trim_start_matches('+'), "sender": message.from,
            "status": { "groupId": group, "groupName": "X", "id": id, "name": "X", "description": "" },
            "error": { "groupId": 0, "groupName": "X", "id": code, "name": "X", "description": "", "permanent": false },
            "sentAt": "2026-12-01T10:45:00.000+0100", "doneAt": "2026-12-01T10:45:01.000+0100", "messageCount": 1,
            "callbackData": message.reference, "price": { "pricePerMessage": 0.01, "currency": "EUR" },
        }] })))
    }

    fn inbound(from: &str, text: &str, id: &str) -> Call {
        call(&json!({ "results": [{
            "messageId": id, "from": from.trim_start_matches('+'), "to": REPLY_NUMBER.trim_start_matches('+'),
            "text": text, "cleanText": "", "keyword": text, "smsCount": 1, "callbackData": "x",
        }], "messageCount": 1, "pendingMessageCount": 0 }))
    }

    fn signed(call: Call) -> Call {
        Call { target: call.target, ..signed(call.body) }
    }

    fn forged(call: &Call) -> Vec<Call> {
        let elsewhere = Call { target: "/webhooks/infobip".into(), ..call.clone() };
        let guessed = Call { target: call.target.replace(TOKEN, "0123456789abcdef0123456789abcdee"), ..call.clone() };
        let unsigned = Call { headers: call.headers[..1].to_vec(), ..call.clone() };
        let changed = Call { body: call.body.replace("\"messageId\"", " \"messageId\""), ..call.clone() };
        vec![elsewhere, guessed, unsigned, changed]
    }

    fn comes(code: &str, class: &str) -> Comes {
        match (code.starts_with("status"), class) {
            (true, "expired" | "undelivered") => Comes::Receipt,
            (true, _) => Comes::Both,
            (false, _) => Comes::Receipt,
        }
    }
}

mod sms {
    use super::*;
    crate::conformance!(Infobip);
}

/// The same account by WhatsApp templates.
struct WhatsApp;

impl Fake for WhatsApp {
    const DRIVER: &'static str = "infobip";
    const CAMPAIGN: &'static str = "whatsapp-only";
    const SENDER: &'static str = WHATSAPP_NUMBER;
    const TEMPLATED: bool = true;
    const CHANNELS: &'static str = "whatsapp";

    fn account() -> String {
        Infobip::account()
    }

    fn route(url: &str, text: &str) -> String {
        super::route_whatsapp(Self::DRIVER, &Self::account(), url, WHATSAPP_NUMBER, text)
    }

    fn files(folder: &std::path::Path) {
        super::whatsapp_only(folder);
    }

    /// "Send WhatsApp template message", "… text message", "… interactive buttons message"; what they do not name is a panic.
    fn read(request: &Request) -> Option<Message> {
        assert_eq!((request.method.as_str(), request.header("authorization")), ("POST", "App key-of-the-test"));
        let mut body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned();
        let kind = request.path().strip_prefix("/whatsapp/1/message/").expect("its path");
        let message = if kind == "template" {
            let [message] = body["messages"].as_array_mut().expect("messages").as_mut_slice() else { panic!("one message") };
            message.take()
        } else {
            body
        };
        let known = ["from", "to", "messageId", "content", "callbackData", "notifyUrl"];
        assert!(message.as_object().expect("an object").keys().all(|key| known.contains(&key.as_str())), "{message}");
        let content = &message["content"];
        let ids = |buttons: &Value, kind: &str, id: &str| -> Vec<String> {
            let buttons = buttons.as_array().expect("buttons").iter();
            buttons.filter(|button| button["type"] == kind).map(|button| text(&button[id])).collect()
        };
        let (said, buttons) = match kind {
            "template" => {
                let (name, data) = (text(&content["templateName"]), &content["templateData"]);
                let replies = ids(&data["buttons"], "QUICK_REPLY", "parameter");
                let links = ids(&data["buttons"], "URL", "parameter");
                match name.as_str() {
                    "repermission_whatsapp_v1" => assert_eq!((replies.len(), links[0].len(), links.len()), (3, 22, 1)),
                    "confirm_v1" => assert_eq!((replies.len(), links.len()), (2, 0)),
                    other => panic!("there is no template {other}"),
                }
                assert!(["de", "en", "es", "fr", "it", "pl"].contains(&text(&content["language"]).as_str()));
                let [brand] = data["body"]["placeholders"].as_array().expect("values").as_slice() else { panic!("one value") };
                (text(brand), replies)
            }
            "text" => (text(&content["text"]), Vec::new()),
            "interactive/buttons" => {
                let titles = ids(&content["action"]["buttons"], "REPLY", "title");
                assert!((1..=3).contains(&titles.len()) && titles.iter().all(|title| title.chars().count() <= 20));
                (text(&content["body"]["text"]), ids(&content["action"]["buttons"], "REPLY", "id"))
            }
            other => panic!("{other}"),
        };
        assert_eq!(message["messageId"], message["callbackData"]);
        Some(Message {
            to: format!("+{}", text(&message["to"])),
            from: format!("+{}", text(&message["from"])),
            text: said,
            reference: text(&message["messageId"]),
            callback: text(&message["notifyUrl"]),
            provider_id: text(&message["messageId"]),
            buttons,
        })
    }

    /// A template is answered with a list, any other message by itself.
    fn answer(message: &Message, play: &Play) -> (u16, Vec<(&'static str, String)>, String) {
        let (status, headers, body) = Infobip::answer(message, play);
        if message.text.contains(' ') && status == 200 {
            let body: Value = serde_json::from_str(&body).unwrap();
            return (status, headers, body["messages"][0].to_string());
        }
        (status, headers, body)
    }

    fn receipt(message: &Message, status: Receipt, error: Option<&str>) -> Option<Call> {
        if status == Receipt::Read {
            let seen = json!({ "messageId": message.provider_id, "from": "393001234599", "to": message.to.trim_start_matches('+'),
                               "sentAt": "2026-12-01T10:45:00.000+0100", "seenAt": "2026-12-01T10:46:00.000+0100" });
            return Some(call(&json!({ "results": [seen] })));
        }
        Infobip::receipt(message, status, error)
    }

    fn inbound(from: &str, text: &str, id: &str) -> Call {
        whatsapp(from, id, &json!({ "type": "TEXT", "text": text }))
    }

    fn tap(under: &Message, nth: usize, title: &str, id: &str) -> Option<Call> {
        let button = under.buttons.get(nth)?;
        let context = json!({ "from": "393001234599", "id": under.provider_id });
        let message = match under.text.contains(' ') {
            true => json!({ "type": "INTERACTIVE_BUTTON_REPLY", "id": button, "title": title, "context": context }),
            false => json!({ "type": "BUTTON", "text": title, "payload": button, "context": context }),
        };
        Some(whatsapp(&under.to, id, &message))
    }

    fn said_at(call: Call, at: i64) -> Call {
        let mut body: Value = serde_json::from_str(&call.body).unwrap();
        let at = chrono::DateTime::from_timestamp_micros(at).unwrap();
        body["results"][0]["receivedAt"] = at.format("%Y-%m-%dT%H:%M:%S.000+0000").to_string().into();
        signed(body.to_string())
    }

    fn signed(call: Call) -> Call {
        Infobip::signed(call)
    }

    fn forged(call: &Call) -> Vec<Call> {
        Infobip::forged(call)
    }

    fn comes(code: &str, class: &str) -> Comes {
        Infobip::comes(code, class)
    }
}

/// A person's message ("Receive WhatsApp messages").
fn whatsapp(from: &str, id: &str, message: &Value) -> Call {
    call(&json!({ "results": [{
        "from": from.trim_start_matches('+'), "to": "393001234599", "integrationType": "WHATSAPP",
        "receivedAt": "2026-12-01T09:45:00.000+0000", "messageId": id, "pairedMessageId": null, "callbackData": null,
        "message": message, "contact": { "name": "Anna" }, "price": { "pricePerMessage": 0, "currency": "EUR" },
    }], "messageCount": 1, "pendingMessageCount": 0 }))
}

mod by_whatsapp {
    use super::*;
    crate::conformance!(WhatsApp);
}

#[test]
fn a_body_is_signed_by_every_algorithm_a_profile_can_choose() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../data/gateways/infobip.signatures.json")).unwrap();
    assert_eq!(vectors.len(), 6);
    for vector in vectors {
        let of = |name: &str| vector[name].as_str().unwrap();
        assert_eq!(signature(of("algorithm"), of("secret"), of("body").as_bytes()), of("signature"), "{}", of("algorithm"));
    }
}

#[tokio::test]
async fn whatsapps_own_switch_is_a_stop_and_never_a_yes() {
    let mut stage = Stage::<Infobip>::new(Kind::Sqlite).await;
    assert_eq!(stage.app.engine.config.gateways[0].warning(), None, "its calls are signed");
    stage.app.people(&[TestApp::it(1)]).await;
    let switched = |to: &str, at: &str| {
        let content = json!({ "sender": "393001234567", "from": TestApp::it(1).trim_start_matches('+'), "notificationMessagesStatus": to,
                              "description": "User requested to change marketing messages" });
        call(&json!({ "from": "393001234567", "content": content, "createdAt": at }))
    };
    stage.hear(&switched("stop", "2026-12-01T09:44:00.000+0000")).await;
    assert_eq!(stage.app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await, 1);
    stage.hear(&switched("resume", "2026-12-01T09:45:00.000+0000")).await;
    assert_eq!(stage.app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await, 1);
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events WHERE effect = 'noted'").await, 1);
    assert!(stage.messages().is_empty(), "WhatsApp has answered it");
    stage.app.end().await;
}

#[tokio::test]
async fn what_infobip_has_already_is_known_by_our_id() {
    let mut stage = Stage::<Infobip>::new(Kind::Sqlite).await;
    stage.people(&[TestApp::it(1)]).await;
    stage.play(&TestApp::it(1), Play::Error("status 23".into()));
    stage.app.plan(Infobip::CAMPAIGN).await;
    stage.app.deliver().await;
    assert_eq!(stage.app.state_of(&TestApp::it(1)).await, "accepted");
    let report = Infobip::receipt(&stage.to(&TestApp::it(1))[0], Receipt::Delivered, None).unwrap();
    let mut report: Value = serde_json::from_str(&report.body).unwrap();
    // Its report names the message, and nothing else of ours.
    report["results"][0].as_object_mut().unwrap().remove("callbackData");
    stage.hear(&call(&report)).await;
    assert_eq!(stage.app.state_of(&TestApp::it(1)).await, "delivered");
    stage.app.end().await;
}

#[tokio::test]
async fn a_picture_that_says_stop_is_one_and_what_says_nothing_holds_its_sender() {
    let mut stage = Stage::<WhatsApp>::new(Kind::Sqlite).await;
    let [pictures, speaks, hides, unseen] = [1, 2, 3, 4].map(TestApp::it);
    stage.people(&[pictures.clone(), speaks.clone(), hides.clone(), unseen.clone()]).await;
    stage.app.plan(WhatsApp::CAMPAIGN).await;
    stage.app.deliver().await;
    let picture = json!({ "type": "IMAGE", "url": "https://example.com/a.jpg", "caption": "STOP" });
    stage.hear(&whatsapp(&pictures, "wamid.HBgMMzkzMDAwMDAwMDAx", &picture)).await;
    assert_eq!(stage.app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await, 1);
    // That id holds the number in Base64.
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events WHERE event_id LIKE '%wamid%'").await, 0);
    stage.hear(&whatsapp(&speaks, "2", &json!({ "type": "VOICE", "url": "https://example.com/a.ogg" }))).await;
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM contacts WHERE held_at IS NOT NULL").await, 1);
    // Whoever hides the number is known by the mark of the button, before the provider's id of the ask is.
    let reference = stage.to(&hides)[0].reference.clone();
    let tap = json!({ "type": "INTERACTIVE_LIST_REPLY", "title": "STOP", "id": format!("stop.{reference}") });
    stage.hear(&whatsapp("", "3", &tap)).await;
    assert_eq!(stage.app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await, 2);
    // And who answers nothing, by the id that the receipt told.
    let ask = stage.to(&unseen)[0].clone();
    let told = WhatsApp::receipt(&ask, Receipt::Delivered, None).unwrap();
    for of_them in [told, whatsapp("", "4", &json!({ "type": "TEXT", "text": "STOP" }))] {
        let mut body: Value = serde_json::from_str(&of_them.body).unwrap();
        body["results"][0]["contact"] = json!({ "userId": "IT.1" });
        stage.hear(&call(&body)).await;
    }
    assert_eq!(stage.app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await, 4);
    stage.app.end().await;
}
