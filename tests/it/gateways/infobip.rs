//! Infobip, as its API descriptions show it.

use permesso::domain::message::Receipt;
use permesso::gateway::infobip::signature;
use serde_json::{Value, json};

use super::{Call, Comes, Fake, Message, Play, Request, Stage};
use crate::app::{Kind, REPLY_NUMBER, TestApp};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SECRET: &str = "secret-of-the-test";

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

crate::conformance!(Infobip);

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
