//! Mobyt, as its help pages show it. How a reply's call names its parts they do not say: the settings do, with names of ours.

use permesso::domain::message::Receipt;
use permesso::gateway::LookedUp;
use serde_json::json;

use super::{Call, Comes, Fake, Message, Play, Request, Stage, chooses};
use crate::app::{Kind, REPLY_NUMBER, TestApp};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Mobyt;

fn get(pairs: &[(&str, &str)]) -> Call {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    Call { method: "GET", target: format!("/webhooks/mobyt/{TOKEN}?{query}"), headers: Vec::new(), body: String::new() }
}

impl Fake for Mobyt {
    const DRIVER: &'static str = "mobyt";

    fn account() -> String {
        let names = "reply_from = \"mittente\"\nreply_to = \"sim\"\nreply_text = \"testo\"\nreply_id = \"id_msg\"";
        format!("user_key = \"key\"\naccess_token = \"token-of-the-test\"\ncallback_token = \"{TOKEN}\"\n{names}")
    }

    fn read(request: &Request) -> Option<Message> {
        if request.method != "POST" {
            return None;
        }
        assert_eq!((request.path(), request.header("content-type")), ("/sms", "application/json"));
        assert_eq!((request.header("user_key"), request.header("access_token")), ("key", "token-of-the-test"));
        let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        let mut members = body.as_object().expect("an object").clone();
        let mut take = |name: &str| members.remove(name).unwrap_or_else(|| panic!("no {name}"));
        let text = |value: serde_json::Value| value.as_str().expect("text").to_owned();
        let recipients = take("recipient");
        let [to] = recipients.as_array().expect("a list").as_slice() else { panic!("one recipient") };
        let message = Message {
            to: text(to.clone()),
            from: text(take("sender")),
            text: text(take("message")),
            reference: text(take("order_id")),
            ..Message::default()
        };
        assert!(
            message.reference.len() <= 32 && message.reference.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        );
        assert_eq!(take("message_type"), "N");
        assert_eq!(take("encoding"), if message.text.contains('ł') { "ucs2" } else { "gsm" });
        assert!((1..=3).contains(&take("max_fragments").as_i64().expect("a number")));
        assert!(take("validity_period_min").as_i64().expect("a number") >= 1);
        assert!(members.is_empty(), "Mobyt knows no {members:?}");
        Some(Message { provider_id: message.reference.clone(), ..message })
    }

    fn answer(message: &Message, play: &Play) -> (u16, Vec<(&'static str, String)>, String) {
        match play {
            Play::Accept | Play::Silence => {
                (201, Vec::new(), json!({ "result": "OK", "order_id": message.reference, "total_sent": 1 }).to_string())
            }
            Play::Garbled => (201, Vec::new(), "OK".into()),
            Play::Broken => (500, Vec::new(), "Internal Server Error".into()),
            Play::Error(code) => (code.parse().expect("a status"), Vec::new(), json!({ "result": "error" }).to_string()),
        }
    }

    fn other(request: &Request) -> (u16, String) {
        match request.path() {
            "/srsmshistory" => {
                let query = request.query();
                if query["from"] == "20261203000000" {
                    let reply = json!({ "id_msg": 18, "sender": "00393000000003", "recipient": REPLY_NUMBER, "text": "STOP" });
                    return (200, json!({ "page": 1, "messages": [reply] }).to_string());
                }
                assert_eq!(
                    (query["from"].as_str(), query["to"].as_str(), query["timezone"].as_str()),
                    ("20261201094500", "20261201104500", "UTC")
                );
                let reply =
                    json!({ "id_msg": 17, "mittente": TestApp::it(2).replace('+', "00"), "sim": REPLY_NUMBER, "testo": "STOP" });
                let yes = json!({ "id_msg": 19, "mittente": TestApp::it(1), "sim": REPLY_NUMBER, "testo": "SI" });
                (200, json!({ "page": 1, "messages": [reply, yes] }).to_string())
            }
            "/sms/ask-known" => {
                let recipient = json!({ "destination": TestApp::it(1), "status": "DLVRD", "delivery_date": "20261201094600" });
                (200, json!({ "recipient_number": 1, "result": "OK", "recipients": [recipient] }).to_string())
            }
            _ => (404, String::new()),
        }
    }

    fn receipt(message: &Message, status: Receipt, error: Option<&str>) -> Option<Call> {
        let word = match status {
            Receipt::Accepted => "SCHEDULED",
            Receipt::Sent => "SENT",
            Receipt::Delivered => "DLVRD",
            Receipt::Read => return None,
            Receipt::Undelivered => "ERROR",
            Receipt::Failed => "KO",
            Receipt::Expired => "TIMEOUT",
        };
        let word = error.unwrap_or(word);
        Some(get(&[
            ("order_id", &message.provider_id),
            ("status", word),
            ("recipient", &message.to),
            ("delivery_date", "20261201104600"),
        ]))
    }

    fn inbound(from: &str, text: &str, id: &str) -> Call {
        get(&[("id_msg", id), ("mittente", from), ("sim", REPLY_NUMBER), ("testo", text)])
    }

    fn forged(call: &Call) -> Vec<Call> {
        let at = |token: &str| Call { target: call.target.replace(TOKEN, token), ..call.clone() };
        vec![
            at("0123456789abcdef0123456789abcdee"),
            Call { target: call.target.replace(&format!("/{TOKEN}"), ""), ..call.clone() },
        ]
    }

    fn comes(_code: &str, _class: &str) -> Comes {
        Comes::Receipt
    }
}

crate::conformance!(Mobyt);

#[tokio::test]
async fn what_mobyt_refuses_at_once_is_told_apart() {
    let mut stage = Stage::<Mobyt>::new(Kind::Sqlite).await;
    stage.app.people(&[TestApp::it(1)]).await;
    stage.play(&TestApp::it(1), Play::Error("401".into()));
    let campaign = stage.app.plan(crate::app::LINK).await;
    stage.app.deliver().await;
    assert_eq!(stage.app.state_of(&TestApp::it(1)).await, "planned");
    assert_eq!(stage.app.campaign(campaign).await.state, "paused", "the token is wrong: a human has to look");
    stage.app.end().await;
}

#[tokio::test]
async fn a_gap_is_read_from_mobyts_list_and_an_unknown_send_is_looked_up() {
    let mut stage = Stage::<Mobyt>::new(Kind::Sqlite).await;
    let gateway = stage.app.engine.gateways["mobyt"].clone();
    let from = stage.app.clock.now();
    stage.app.people(&[TestApp::it(1)]).await;
    stage.app.plan(crate::app::LINK).await;
    stage.app.deliver().await;
    chooses(&stage, &TestApp::it(1)).await;
    let listed = gateway.list_inbound(from, from + 3600 * 1_000_000).await.expect("it lists").expect("read");
    assert_eq!(listed.len(), 2);
    permesso::engine::receive::store(&stage.app.engine, "mobyt", &listed).await.expect("stored");
    // A list of who knows what is not a time in which nobody said anything.
    let third = "2026-12-03T00:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_micros();
    let unread = gateway.list_inbound(third, third + 3600 * 1_000_000).await.expect("it lists");
    assert!(unread.is_err_and(|error| error.contains("reply_text")));
    // The list does not say when: this yes may be older than the choice on the page.
    assert!(stage.app.granted(&TestApp::it(1)).await.is_empty(), "{:#?}", stage.app.history(&TestApp::it(1)).await);
    // Its call, late after all, is the same event.
    stage.reply(&TestApp::it(2), "STOP", "17").await;
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events").await, 2);
    assert_eq!(stage.app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await, 1);
    let delivered = LookedUp::Is(Receipt::Delivered);
    assert_eq!(gateway.look_up("ask-known").await, Some(Ok(delivered)));
    assert!(gateway.look_up("ask-unknown").await.is_some_and(|answer| answer.is_err()), "a 404 proves nothing");
    stage.app.end().await;
}

#[tokio::test]
async fn a_reply_whose_parts_have_other_names_waits_for_an_operator() {
    let mut stage = Stage::<Mobyt>::new(Kind::Sqlite).await;
    stage.hear(&get(&[("sender", &TestApp::it(1)), ("text", "STOP")])).await;
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events WHERE effect = 'held'").await, 1);
    stage.app.end().await;
}
