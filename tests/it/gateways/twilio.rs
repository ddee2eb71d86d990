//! Twilio, as its pages and its own libraries' tests show it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use permesso::domain::campaign::CampaignState;
use permesso::domain::message::Receipt;
use permesso::engine::plan;
use permesso::gateway::twilio::is_signed;
use serde_json::json;

use super::{Call, Comes, Fake, Message, Play, Request, Stage, chooses};
use crate::app::{Kind, REPLY_NUMBER, TestApp};

const TOKEN: &str = "auth-token-of-the-test";

struct Twilio;

/// What `/webhooks/…` is called under: `public_url` of the settings. Ports differ from test to test, so the fake is told by the message.
fn signed(url: &str, mut fields: Vec<(&str, String)>) -> Vec<(&'static str, String)> {
    fields.sort();
    let text = fields.iter().fold(url.to_owned(), |text, (name, value)| text + name + value);
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(TOKEN.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    vec![
        ("content-type", "application/x-www-form-urlencoded; charset=UTF-8".to_owned()),
        ("x-twilio-signature", STANDARD.encode(mac.finalize().into_bytes())),
    ]
}

fn call(target: &str, fields: Vec<(&str, String)>) -> Call {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
    let headers = signed(&format!("https://permesso.example{target}"), fields);
    Call { method: "POST", target: target.to_owned(), headers, body }
}

impl Fake for Twilio {
    const DRIVER: &'static str = "twilio";

    fn account() -> String {
        format!("account_sid = \"AC0123456789\"\nauth_token = \"{TOKEN}\"")
    }

    /// People reach this installation through a proxy: Twilio signs the address it knows.
    fn settings(text: String) -> String {
        let line = |line: &str| {
            if line.starts_with("public_url") { "public_url = \"https://permesso.example\"".into() } else { line.to_owned() }
        };
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    fn read(request: &Request) -> Option<Message> {
        if request.method != "POST" {
            return None;
        }
        assert_eq!(request.path(), "/2010-04-01/Accounts/AC0123456789/Messages.json");
        assert_eq!(request.header("authorization"), format!("Basic {}", STANDARD.encode(format!("AC0123456789:{TOKEN}"))));
        let mut form = request.form();
        let mut take = |name: &str| form.remove(name).unwrap_or_else(|| panic!("no {name}"));
        let callback = take("StatusCallback");
        let reference = callback.strip_prefix("https://permesso.example/webhooks/twilio?ref=").expect("our callback").to_owned();
        let validity: i64 = take("ValidityPeriod").parse().expect("seconds");
        assert!((1..=36_000).contains(&validity));
        let (to, from) = (take("To"), take("From"));
        assert_eq!(to.starts_with("whatsapp:"), from.starts_with("whatsapp:"));
        let bare = |address: String| address.trim_start_matches("whatsapp:").to_owned();
        // A template is named by its SID, and has the variables it was approved with.
        let text = match form.remove("ContentSid") {
            Some(sid) => {
                assert!(
                    to.starts_with("whatsapp:") && ["HXask", "repermission_whatsapp_v1", "confirm_v1"].contains(&sid.as_str()),
                    "{sid}"
                );
                form.remove("ContentVariables").expect("the variables")
            }
            None => form.remove("Body").expect("a text"),
        };
        let message = Message {
            to: bare(to),
            from: bare(from),
            text,
            callback,
            reference,
            provider_id: format!("SM{:032}", request.n),
            buttons: Vec::new(),
        };
        assert!(form.is_empty(), "Twilio knows no {form:?}");
        Some(message)
    }

    fn answer(message: &Message, play: &Play) -> (u16, Vec<(&'static str, String)>, String) {
        match play {
            Play::Accept | Play::Silence => {
                let body = json!({ "sid": message.provider_id, "status": "queued", "error_code": null, "to": message.to });
                (201, Vec::new(), body.to_string())
            }
            Play::Garbled => (201, Vec::new(), "<html>".into()),
            Play::Broken => {
                (500, Vec::new(), json!({ "code": 20500, "message": "Internal Server Error", "status": 500 }).to_string())
            }
            Play::Error(code) => {
                let status = match code.as_str() {
                    "20003" => 401,
                    "20404" => 404,
                    "20429" => 429,
                    _ => 400,
                };
                let code: i64 = code.parse().unwrap();
                let more = format!("https://www.twilio.com/docs/api/errors/{code}");
                let body = json!({ "code": code, "message": "as documented", "more_info": more, "status": status });
                (status, Vec::new(), body.to_string())
            }
        }
    }

    fn other(request: &Request) -> (u16, String) {
        match request.path() {
            "/2010-04-01/Accounts/AC0123456789.json" => (200, json!({ "status": "active" }).to_string()),
            "/2010-04-01/Accounts/AC0123456789/Messages.json" if request.query().contains_key("Page") => {
                let stop = json!({ "sid": "SMgap2", "direction": "inbound", "from": TestApp::it(2), "to": REPLY_NUMBER, "body": "STOP",
                                   "date_sent": "Tue, 01 Dec 2026 09:50:00 +0000" });
                (200, json!({ "messages": [stop], "next_page_uri": null }).to_string())
            }
            "/2010-04-01/Accounts/AC0123456789/Messages.json" => {
                assert_eq!(request.query()["DateSent>"], "2026-12-01");
                let ours = json!({ "sid": "SMours", "direction": "outbound-api", "from": "ACME", "to": TestApp::it(1), "body": "ACME: …",
                                   "date_sent": "Tue, 01 Dec 2026 09:46:00 +0000" });
                let before = json!({ "sid": "SMold", "direction": "inbound", "from": TestApp::it(3), "to": REPLY_NUMBER, "body": "STOP",
                                     "date_sent": "Tue, 01 Dec 2026 02:00:00 +0000" });
                let undated = |sid: &str, n: u32, body: &str| {
                    json!({ "sid": sid, "direction": "inbound", "from": TestApp::it(n), "to": REPLY_NUMBER,
                                                                       "body": body, "date_sent": null })
                };
                let (stop, yes) = (undated("SMundated1", 4, "STOP"), undated("SMundated2", 5, "SI"));
                let next = "/2010-04-01/Accounts/AC0123456789/Messages.json?PageSize=1000&Page=1";
                (200, json!({ "messages": [ours, before, stop, yes], "next_page_uri": next }).to_string())
            }
            _ => (404, json!({ "code": 20404, "status": 404 }).to_string()),
        }
    }

    fn receipt(message: &Message, status: Receipt, error: Option<&str>) -> Option<Call> {
        let word = match status {
            Receipt::Accepted => "queued",
            Receipt::Sent => "sent",
            Receipt::Delivered => "delivered",
            Receipt::Read => "read",
            Receipt::Undelivered => "undelivered",
            Receipt::Failed | Receipt::Expired => "failed",
        };
        let mut fields = vec![
            ("AccountSid", "AC0123456789".to_owned()),
            ("From", message.from.clone()),
            ("To", message.to.clone()),
            ("MessageSid", message.provider_id.clone()),
            ("SmsSid", message.provider_id.clone()),
            ("MessageStatus", word.to_owned()),
            ("SmsStatus", word.to_owned()),
            ("ApiVersion", "2010-04-01".to_owned()),
        ];
        fields.extend(error.map(|code| ("ErrorCode", code.to_owned())));
        Some(call(&format!("/webhooks/twilio?ref={}", message.reference), fields))
    }

    fn inbound(from: &str, text: &str, id: &str) -> Call {
        call("/webhooks/twilio", said(from, text, id))
    }

    fn signed(other: Call) -> Call {
        let fields: Vec<(String, String)> = url::form_urlencoded::parse(other.body.as_bytes()).into_owned().collect();
        let headers = signed(
            &format!("https://permesso.example{}", other.target),
            fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect(),
        );
        Call { headers, ..other }
    }

    fn forged(call: &Call) -> Vec<Call> {
        let unsigned = Call { headers: call.headers[..1].to_vec(), ..call.clone() };
        let wrong =
            Call { headers: vec![call.headers[0].clone(), ("x-twilio-signature", STANDARD.encode([0; 20]))], ..call.clone() };
        let more = Call { body: format!("{}&OptOutType=STOP", call.body), ..call.clone() };
        let elsewhere = Call {
            target: format!("{}{}more=1", call.target, if call.target.contains('?') { "&" } else { "?" }),
            ..call.clone()
        };
        vec![unsigned, wrong, more, elsewhere, Call { method: "GET", ..call.clone() }]
    }

    fn comes(code: &str, class: &str) -> Comes {
        match (code, class) {
            // About our own server, in Twilio's debugger.
            ("11200" | "57012", _) => Comes::Neither,
            (_, "expired") => Comes::Receipt,
            (code, _) if code.starts_with('3') || code.starts_with('6') => Comes::Both,
            _ => Comes::Answer,
        }
    }
}

fn said<'a>(from: &str, text: &str, id: &str) -> Vec<(&'a str, String)> {
    vec![
        ("MessageSid", format!("SMin{id}")),
        ("SmsSid", format!("SMin{id}")),
        ("AccountSid", "AC0123456789".to_owned()),
        ("From", from.to_owned()),
        ("To", REPLY_NUMBER.to_owned()),
        ("Body", text.to_owned()),
        ("NumMedia", "0".to_owned()),
        ("SmsStatus", "received".to_owned()),
        ("ApiVersion", "2010-04-01".to_owned()),
    ]
}

mod sms {
    use super::*;
    crate::conformance!(Twilio);
}

/// The same account by Content templates.
struct WhatsApp;

impl Fake for WhatsApp {
    const DRIVER: &'static str = "twilio";
    const CAMPAIGN: &'static str = "whatsapp-only";
    const SENDER: &'static str = WHATSAPP_NUMBER;
    const TEMPLATED: bool = true;
    const CHANNELS: &'static str = "whatsapp";

    fn account() -> String {
        Twilio::account()
    }

    fn route(url: &str, text: &str) -> String {
        super::route_whatsapp(Self::DRIVER, &Self::account(), url, WHATSAPP_NUMBER, text)
    }

    fn settings(text: String) -> String {
        Twilio::settings(text)
    }

    fn files(folder: &std::path::Path) {
        super::whatsapp_only(folder);
    }

    fn read(request: &Request) -> Option<Message> {
        Twilio::read(request)
    }

    fn answer(message: &Message, play: &Play) -> (u16, Vec<(&'static str, String)>, String) {
        Twilio::answer(message, play)
    }

    fn receipt(message: &Message, status: Receipt, error: Option<&str>) -> Option<Call> {
        Twilio::receipt(message, status, error)
    }

    fn inbound(from: &str, text: &str, id: &str) -> Call {
        let mut fields = said(&format!("whatsapp:{from}"), text, id);
        fields[4].1 = format!("whatsapp:{WHATSAPP_NUMBER}");
        call("/webhooks/twilio", fields)
    }

    /// Free text within 24 hours has no buttons: a confirmation is answered in words.
    fn tap(under: &Message, _nth: usize, title: &str, id: &str) -> Option<Call> {
        under.reference.starts_with("ask").then(|| call("/webhooks/twilio", tapped(&under.to, title, under, id)))
    }

    fn signed(other: Call) -> Call {
        Twilio::signed(other)
    }

    fn forged(call: &Call) -> Vec<Call> {
        Twilio::forged(call)
    }

    fn comes(code: &str, class: &str) -> Comes {
        Twilio::comes(code, class)
    }
}

mod whatsapp {
    use super::*;
    crate::conformance!(WhatsApp);
}

#[test]
fn the_published_signatures_fit_and_the_others_do_not() {
    let text = include_str!("../../data/gateways/twilio.signatures.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    assert!(vectors.len() >= 20);
    for vector in vectors {
        let of = |name: &str| vector[name].as_str().unwrap_or_default();
        let params: Vec<(String, String)> = serde_json::from_value(vector["params"].clone()).unwrap();
        let body = vector["json"].as_str().map(str::as_bytes);
        let fits = is_signed(of("token"), of("url"), &params, body, of("signature"));
        assert_eq!(fits, vector["valid"].as_bool().unwrap(), "{}", of("name"));
    }
}

#[tokio::test]
async fn what_twilio_has_answered_is_not_answered_again() {
    let mut stage = Stage::<Twilio>::new(Kind::Sqlite).await;
    stage.app.people(&[TestApp::it(1), TestApp::it(2)]).await;
    stage.app.plan(crate::app::LINK).await;
    stage.app.deliver().await;
    for (n, handled) in [(1, false), (2, true)] {
        let mut fields = said(&TestApp::it(n), "STOP", &n.to_string());
        fields.extend(handled.then(|| ("OptOutType", "STOP".to_owned())));
        stage.hear(&call("/webhooks/twilio", fields)).await;
        assert_eq!(stage.to(&TestApp::it(n)).len(), if handled { 1 } else { 2 }, "one line back, unless Twilio has sent it");
    }
    stage.app.end().await;
}

async fn own_words(kind: Kind) {
    let mut stage = Stage::<Twilio>::new(kind).await;
    stage.app.people(&[TestApp::it(1), TestApp::it(2)]).await;
    stage.app.plan(crate::app::LINK).await;
    stage.app.deliver().await;
    // Words the account's owner gave to Twilio's handling; to us they would be unclear. The last two are strangers.
    for (n, word, taken_for) in [(1, "FINE", "STOP"), (2, "BOH", "HELP"), (3, "FINE", "STOP"), (4, "STOP BOH", "HELP")] {
        let mut fields = said(&TestApp::it(n), word, &n.to_string());
        fields.push(("OptOutType", taken_for.to_owned()));
        stage.hear(&call("/webhooks/twilio", fields)).await;
        stage.app.deliver().await;
    }
    assert!(stage.app.story(&TestApp::it(1)).await.verdict.contains("stopped"), "Twilio lets nothing through to them");
    assert!(!stage.app.story(&TestApp::it(2)).await.verdict.contains("stopped"));
    for n in [1, 2] {
        assert_eq!(stage.to(&TestApp::it(n)).len(), 1, "Twilio has answered them");
    }
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events WHERE effect = 'held'").await, 0, "nothing is unclear");
    assert_eq!(stage.app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await, 3, "a no in a question for help is a no");
    stage.app.end().await;
}

#[tokio::test]
async fn what_twilio_took_for_a_stop_is_one_whatever_it_says_sqlite() {
    own_words(Kind::Sqlite).await;
}

#[tokio::test]
async fn what_twilio_took_for_a_stop_is_one_whatever_it_says_postgres() {
    own_words(Kind::Postgres).await;
}

/// YES and START are Twilio's own words for coming back: it lifts its block by them and says so. Here they are what their text says.
async fn words_for_coming_back(kind: Kind) {
    let mut stage = Stage::<Twilio>::new(kind).await;
    let people = [1, 2, 3].map(TestApp::it);
    stage.app.people(&people).await;
    stage.app.plan(crate::app::LINK).await;
    stage.app.deliver().await;
    let hear = async |stage: &Stage<Twilio>, from: &str, text: &str, id: &str, taken_for: &str| {
        stage.app.advance(std::time::Duration::from_secs(60));
        let mut fields = said(from, text, id);
        fields.push(("OptOutType", taken_for.to_owned()));
        stage.hear(&call("/webhooks/twilio", fields)).await;
    };
    // Whoever said STOP is not asked again by a START, and a YES to nothing is no consent.
    hear(&stage, &people[0], "STOP", "1", "STOP").await;
    for (text, id) in [("START", "2"), ("YES", "3"), ("UNSTOP", "4"), ("SI", "5")] {
        hear(&stage, &people[0], text, id, "START").await;
        assert!(stage.app.story(&people[0]).await.verdict.contains("stopped"), "{text} lifts nothing");
    }
    assert!(stage.app.granted(&people[0]).await.is_empty());
    // A yes to our question is one, whatever Twilio took it for beside: the second step of whoever has chosen on the page. START is none: it gets help.
    for (number, said, id, granted) in [(&people[1], "SI", "6", true), (&people[2], "START", "7", false)] {
        let ask = stage.to(number)[0].clone();
        let token = ask.text.split("/p/").nth(1).expect("a link").split_whitespace().next().expect("a token");
        let link = format!("{}/p/{}", stage.app.base, token.trim_end_matches('.'));
        let (_, page) = stage.app.get(&link).await;
        assert_eq!(stage.app.post(&link, &crate::app::field(&page, "nonce"), "chosen", &["sms.promotions"]).await, 303);
        stage.app.deliver().await;
        hear(&stage, number, said, id, "START").await;
        assert_eq!(!stage.app.granted(number).await.is_empty(), granted, "{said}");
    }
    stage.app.end().await;
}

#[tokio::test]
async fn twilios_words_for_coming_back_lift_nothing_by_themselves_sqlite() {
    words_for_coming_back(Kind::Sqlite).await;
}

#[tokio::test]
async fn twilios_words_for_coming_back_lift_nothing_by_themselves_postgres() {
    words_for_coming_back(Kind::Postgres).await;
}

#[tokio::test]
async fn what_is_cancelled_stays_so_whatever_is_still_heard_of_it() {
    let mut stage = Stage::<Twilio>::new(Kind::Sqlite).await;
    stage.app.people(&[TestApp::it(1), TestApp::it(2)]).await;
    let campaign = stage.app.plan(crate::app::LINK).await;
    stage.app.deliver().await;
    let state = async |stage: &Stage<Twilio>| stage.app.campaign(campaign).await.state;
    plan::set_state(&stage.app.engine, crate::app::LINK, CampaignState::Cancelled).await.expect("cancelled");
    // The account is not what it was: our gateway waits for a human, and the campaign for nothing.
    let blocked = Twilio::receipt(&stage.to(&TestApp::it(1))[0], Receipt::Failed, Some("30007")).expect("a call");
    stage.hear(&blocked).await;
    assert_eq!(state(&stage).await, "cancelled");
    stage.app.end().await;
}

#[tokio::test]
async fn what_came_while_nobody_listened_is_read_from_twilios_list() {
    let mut stage = Stage::<Twilio>::new(Kind::Sqlite).await;
    let gateway = stage.app.engine.gateways["twilio"].clone();
    let from = stage.app.clock.now();
    let listed = gateway.list_inbound(from, from + 3600 * 1_000_000).await.expect("it lists").expect("read");
    assert_eq!(listed.len(), 3, "{listed:?}");
    stage.app.people(&[TestApp::it(4), TestApp::it(5)]).await;
    stage.app.plan(crate::app::LINK).await;
    stage.app.deliver().await;
    chooses(&stage, &TestApp::it(5)).await;
    permesso::engine::receive::store(&stage.app.engine, "twilio", &listed).await.expect("stored");
    // The callback, late after all, is the same event.
    stage
        .hear(&call("/webhooks/twilio", {
            let mut fields = said(&TestApp::it(2), "STOP", "");
            fields[0].1 = "SMgap2".into();
            fields
        }))
        .await;
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events").await, 3);
    // Of what has no date, the no counts; the yes may be older than the choice on the page, and does not complete it.
    assert!(stage.app.story(&TestApp::it(4)).await.verdict.contains("stopped"));
    let told = stage.app.history(&TestApp::it(5)).await;
    assert!(told.iter().any(|line| line.contains("it was said before the choice was sent")), "{told:#?}");
    assert!(stage.app.granted(&TestApp::it(5)).await.is_empty());
    assert_eq!(gateway.check().await, Some(Ok("the account is active".into())));
    stage.app.end().await;
}

const WHATSAPP_NUMBER: &str = "+393001234599";

/// A tap as Twilio brings it: its title, and the message it stands under.
fn tapped<'a>(from: &str, title: &str, under: &Message, id: &str) -> Vec<(&'a str, String)> {
    let mut fields = said(&format!("whatsapp:{from}"), title, id);
    fields[4].1 = format!("whatsapp:{WHATSAPP_NUMBER}");
    fields.push(("ButtonText", title.to_owned()));
    fields.push(("OriginalRepliedMessageSid", under.provider_id.clone()));
    fields
}

#[tokio::test]
async fn a_content_template_asks_and_a_tap_counts_for_the_message_it_stands_under() {
    let row = |text: &str, locale: &str, link: bool| {
        format!(
            "{{ text = \"{text}\", locale = \"{locale}\", id = \"HXask\", approved = \"2026-11-02\", values = [\"brand\"], link_button = {link} }},"
        )
    };
    let locales = ["de", "en", "es", "fr", "it", "pl"];
    let rows = locales.map(|l| row("repermission_whatsapp", l, true) + &row("confirm", l, false)).concat();
    let sender = format!("id = \"acme-wa\"\naddress = \"{WHATSAPP_NUMBER}\"\ntemplates = [{rows}]");
    let mut stage = Stage::<Twilio>::with(Kind::Sqlite, |text| text.replace("id = \"acme-wa\"", &sender)).await;
    let people = [TestApp::it(1), TestApp::it(2)];
    let rows: String =
        people.iter().map(|n| format!("{n},prospect,web shop,prior_consent,form 1,2026-01-10,unticked,whatsapp\n")).collect();
    stage.app.import_file(&format!("{}{rows}", crate::app::ON_CHANNELS)).await;
    stage.app.plan("whatsapp-first").await;
    stage.app.deliver().await;
    let (first, second) = (stage.to(&people[0])[0].clone(), stage.to(&people[1])[0].clone());
    assert_eq!(first.from, WHATSAPP_NUMBER);
    let variables: serde_json::Value = serde_json::from_str(&first.text).unwrap();
    assert_eq!(variables["1"], "ACME");
    assert!(variables["2"].as_str().is_some_and(|token| token.len() == 22), "the end of the link button's address: {variables}");

    stage.app.advance(std::time::Duration::from_secs(60));
    // Under somebody else's message a yes is none.
    stage.hear(&call("/webhooks/twilio", tapped(&people[1], "Sì", &first, "else"))).await;
    assert_eq!(stage.to(&people[1]).len(), 1);
    stage.hear(&call("/webhooks/twilio", tapped(&people[0], "Sì", &first, "yes"))).await;
    let confirmation = stage.to(&people[0])[1].clone();
    assert!(confirmation.text.starts_with("ACME: "), "the person has just written, so free text goes: {confirmation:?}");
    stage.app.advance(std::time::Duration::from_secs(60));
    stage.hear(&call("/webhooks/twilio", tapped(&people[0], "Sì", &first, "again"))).await;
    assert!(stage.app.granted(&people[0]).await.is_empty(), "the ask's button again is the same first yes");
    let mut typed = tapped(&people[0], "SI", &first, "second");
    typed.truncate(9);
    stage.hear(&call("/webhooks/twilio", typed)).await;
    assert_eq!(stage.app.granted(&people[0]).await, ["sms.promotions", "whatsapp.promotions"]);
    stage.hear(&call("/webhooks/twilio", tapped(&people[1], "STOP", &second, "stop"))).await;
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM suppressions WHERE reason = 'stopped'").await, 1);
    stage.app.end().await;
}
