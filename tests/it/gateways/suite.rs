//! What every driver must do, whatever its provider.

use permesso::domain::campaign::CampaignState;
use permesso::domain::message::Receipt;
use permesso::engine::{gateways, plan, verify};
use permesso::gateway::driver::OF_CONTENT;
use permesso::gateway::{Callback, Event, Heard};
use permesso::store::control;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::{Call, Comes, Fake, Message, Play, Stage};
use crate::app::{Kind, TestApp, field};

/// The whole suite for one provider.
#[macro_export]
macro_rules! conformance {
    ($fake:ty) => {
        mod conformance {
            use super::*;
            use $crate::app::Kind;
            use $crate::gateways::suite;

            #[tokio::test]
            async fn a_campaign_runs_from_the_ask_to_the_consent_sqlite() {
                suite::a_campaign_runs_from_the_ask_to_the_consent::<$fake>(Kind::Sqlite).await;
            }
            #[tokio::test]
            async fn a_campaign_runs_from_the_ask_to_the_consent_postgres() {
                suite::a_campaign_runs_from_the_ask_to_the_consent::<$fake>(Kind::Postgres).await;
            }
            #[tokio::test]
            async fn every_documented_error_means_what_the_table_says() {
                suite::every_documented_error_means_what_the_table_says::<$fake>().await;
            }
            #[tokio::test]
            async fn what_is_not_answered_is_unknown_and_never_sent_again() {
                suite::what_is_not_answered_is_unknown_and_never_sent_again::<$fake>().await;
            }
            #[tokio::test]
            async fn a_receipt_before_the_answer_counts() {
                suite::a_receipt_before_the_answer_counts::<$fake>().await;
            }
            #[tokio::test]
            async fn receipts_repeat_and_overtake_and_change_nothing() {
                suite::receipts_repeat_and_overtake_and_change_nothing::<$fake>().await;
            }
            #[tokio::test]
            async fn forged_and_broken_calls_are_refused_and_store_nothing() {
                suite::forged_and_broken_calls_are_refused_and_store_nothing::<$fake>().await;
            }
        }
    };
}

fn it(n: u32) -> String {
    TestApp::it(n)
}

/// The asks among what was sent: by our reference, or by the link where the provider carries none.
fn asks<F: Fake>(stage: &Stage<F>) -> Vec<Message> {
    let is_ask = |m: &Message| m.reference.starts_with("ask") || (m.reference.is_empty() && m.text.contains("/p/"));
    stage.messages().into_iter().filter(is_ask).collect()
}

/// The state of this person's ask.
async fn state<F: Fake>(stage: &Stage<F>, number: &str) -> String {
    stage.app.state_of(number).await
}

async fn paused<F: Fake>(stage: &Stage<F>) -> Option<String> {
    let report = gateways::gateways(&stage.app.engine).await.expect("a report");
    report.into_iter().find(|g| g.name == F::DRIVER).expect("the gateway").pause_reason
}

/// A human has mended the account; the campaign rests.
async fn mend<F: Fake>(stage: &Stage<F>) {
    let engine = &stage.app.engine;
    let mut tx = engine.store.write().await.expect("a transaction");
    let health = control::Health { name: F::DRIVER.to_owned(), ..control::Health::default() };
    control::save_health(&mut tx, &engine.controller, &health).await.expect("saved");
    tx.commit().await.expect("committed");
}

async fn suppressed<F: Fake>(stage: &Stage<F>) -> i64 {
    stage.app.count("SELECT COUNT(DISTINCT mac) FROM suppressions").await
}

pub async fn a_campaign_runs_from_the_ask_to_the_consent<F: Fake>(kind: Kind) {
    let mut stage = Stage::<F>::new(kind).await;
    let people: Vec<String> = (1..=4).map(it).collect();
    stage.people(&people).await;
    stage.app.plan(F::CAMPAIGN).await;
    // One says STOP between the plan and the claim.
    stage.reply(&people[3], "STOP", "early").await;
    stage.app.deliver().await;
    let asked = asks(&stage);
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked.iter().all(|message| message.to != people[3]), "nobody is asked after a no");
    for message in &asked {
        assert_eq!(message.from, F::SENDER);
        assert!(F::TEMPLATED || message.text.contains("/p/"), "{message:?}");
        stage.receipt(message, Receipt::Sent).await;
        stage.receipt(message, Receipt::Delivered).await;
    }
    assert_eq!(state(&stage, &people[0]).await, "delivered");

    // Yes, in two steps; no; stop.
    let ask = stage.to(&people[0])[0].clone();
    if let Some((_, token)) = ask.text.split_once("/p/") {
        // Through the proxy, as it were.
        let token = token.split_whitespace().next().expect("a token").trim_end_matches('.');
        let link = format!("{}/p/{token}", stage.app.base);
        let (status, page) = stage.app.get(&link).await;
        assert_eq!(status, 200);
        assert_eq!(stage.app.post(&link, &field(&page, "nonce"), "chosen", &["sms.promotions"]).await, 303);
    } else {
        stage.answer(&ask, 0, ["Sì", "SI"], "first yes").await;
    }
    stage.app.advance(std::time::Duration::from_secs(60));
    // What had to keep a distance from the message before it goes out now.
    stage.app.deliver().await;
    for message in stage.to(&people[0]).iter().skip(1) {
        stage.receipt(message, Receipt::Delivered).await;
    }
    stage.app.advance(std::time::Duration::from_secs(60));
    assert!(stage.app.granted(&people[0]).await.is_empty(), "one yes grants nothing");
    let newest = stage.to(&people[0]).last().expect("a message").clone();
    stage.answer(&newest, 0, ["Sì, confermo", "SI"], "second yes").await;
    assert!(!stage.app.granted(&people[0]).await.is_empty(), "the second yes grants");
    stage.reply(&people[1], "STOP", "stop").await;
    let heard = stage.app.count("SELECT COUNT(*) FROM inbound_events").await;
    stage.reply(&people[1], "STOP", "stop").await;
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events").await, heard, "one event is stored once");
    let ask = stage.to(&people[2])[0].clone();
    stage.answer(&ask, 1, ["No", "NO"], "no").await;
    assert_eq!(suppressed(&stage).await, 3);

    // Imported anew and planned anew: nobody is asked a second time.
    stage.app.advance(std::time::Duration::from_secs(3600));
    stage.people(&people).await;
    stage.app.plan(F::CAMPAIGN).await;
    stage.app.deliver().await;
    assert_eq!(asks(&stage).len(), 3, "nobody is asked twice");
    // And all of it stands in the ledger, whole.
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'granted'").await, 1);
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'stopped'").await, 2);
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'refused'").await, 1);
    let (entries, faults) = verify::ledger(&stage.app.engine).await.expect("verified");
    assert!(entries >= 4 && faults.is_empty(), "{entries}: {faults:?}");
    stage.app.end().await;
    if F::TEMPLATED && kind == Kind::Sqlite {
        without_approval::<F>().await;
    }
}

/// Where WhatsApp wants a template nothing is planned without one.
async fn without_approval<F: Fake>() {
    let unapproved = |text: String| {
        text.replace("{ text = \"repermission_whatsapp\", locale = \"it\"", "{ text = \"another\", locale = \"it\"")
    };
    let mut stage = Stage::<F>::with(Kind::Sqlite, unapproved).await;
    let found = stage.app.engine.config.campaign(F::CAMPAIGN).err().map(|problems| problems.to_string()).unwrap_or_default();
    assert!(found.contains("has no approved template that says repermission_whatsapp.it"), "{found}");
    stage.app.end().await;
}

/// `tests/data/gateways/DRIVER.csv`: code, class.
fn table<F: Fake>() -> Vec<(String, String)> {
    let path = format!("{}/tests/data/gateways/{}.csv", env!("CARGO_MANIFEST_DIR"), F::DRIVER);
    let mut rows = csv::Reader::from_path(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    rows.records().map(|row| row.map(|row| (row[0].to_owned(), row[1].to_owned())).expect("a row")).collect()
}

pub async fn every_documented_error_means_what_the_table_says<F: Fake>() {
    let mut stage = Stage::<F>::new(Kind::Sqlite).await;
    let rows = table::<F>();
    assert!(rows.len() > 3, "the table is there");
    let pauses = |class: &str| matches!(class, "account" | "config" | "window-closed");
    // As answers to our request. Those that pause the gateway come one at a time, the others in one slice.
    let answers = rows.iter().filter(|(code, class)| matches!(F::comes(code, class), Comes::Answer | Comes::Both));
    let (alone, together): (Vec<_>, Vec<_>) = answers.partition(|(_, class)| pauses(class));
    let mut n = 0;
    let mut next = || {
        n += 1;
        it(n)
    };
    let people: Vec<(String, &(String, String))> = together.into_iter().map(|row| (next(), row)).collect();
    for (number, (code, _)) in &people {
        stage.play(number, Play::Error(code.clone()));
    }
    stage.people(&people.iter().map(|(number, _)| number.clone()).collect::<Vec<_>>()).await;
    stage.app.plan(F::CAMPAIGN).await;
    stage.app.deliver().await;
    for (number, (code, class)) in &people {
        let expected = match class.as_str() {
            "recipient-permanent" | "not-on-channel" | "opted-out" => "failed",
            "recipient-temporary" | "transient" | "throttled" => "planned",
            "duplicate" => "accepted",
            other => panic!("{code}: no answer is {other}"),
        };
        assert_eq!(state(&stage, number).await, expected, "{code} is {class}");
    }
    let opted_out = people.iter().filter(|(_, (_, class))| class == "opted-out").count();
    assert_eq!(suppressed(&stage).await, i64::try_from(opted_out).expect("few"), "an opt-out at the provider is ours, too");
    assert_eq!(paused(&stage).await, None, "nothing of this is the account's fault");
    // Whatever the provider wanted left alone is over, and what was put off is taken.
    for (number, _) in &people {
        stage.play(number, Play::Accept);
    }
    stage.app.advance(std::time::Duration::from_secs(2 * 3600));
    stage.app.deliver().await;
    for (code, class) in &alone {
        let number = next();
        stage.app.advance(std::time::Duration::from_secs(10));
        stage.play(&number, Play::Error(code.clone()));
        stage.people(std::slice::from_ref(&number)).await;
        let campaign = stage.app.plan(F::CAMPAIGN).await;
        stage.app.deliver().await;
        assert_eq!(stage.to(&number).len(), 1, "{code}: {:?}", stage.app.campaign(campaign).await);
        assert_eq!(state(&stage, &number).await, "planned", "{code} is {class}");
        assert!(paused(&stage).await.is_some_and(|why| why.contains(code)), "{code} is {class} and pauses");
        assert_eq!(stage.app.campaign(campaign).await.state, "paused", "{code}");
        // The account is mended.
        stage.play(&number, Play::Accept);
        plan::set_state(&stage.app.engine, F::CAMPAIGN, CampaignState::Running).await.expect("resumed");
    }
    // One message that stops the account whenever the operator goes on is given up, and keeps nobody behind it waiting for ever.
    if let Some((code, _)) = alone.first() {
        let number = next();
        stage.people(std::slice::from_ref(&number)).await;
        stage.app.plan(F::CAMPAIGN).await;
        for expected in ["planned", "planned", "failed"] {
            stage.play(&number, Play::Error(code.clone()));
            stage.app.advance(std::time::Duration::from_secs(15 * 60));
            stage.app.deliver().await;
            assert_eq!(state(&stage, &number).await, expected, "{code}");
            plan::set_state(&stage.app.engine, F::CAMPAIGN, CampaignState::Running).await.expect("resumed");
        }
    }
    stage.app.end().await;

    // As receipts.
    let mut stage = Stage::<F>::new(Kind::Sqlite).await;
    let receipts = rows.iter().filter(|(code, class)| matches!(F::comes(code, class), Comes::Receipt | Comes::Both));
    let people: Vec<(String, &(String, String))> = receipts.zip(1..).map(|(row, n)| (it(n), row)).collect();
    stage.people(&people.iter().map(|(number, _)| number.clone()).collect::<Vec<_>>()).await;
    stage.app.plan(F::CAMPAIGN).await;
    stage.app.deliver().await;
    let mut opted_out = 0;
    for (number, (code, class)) in &people {
        mend(&stage).await;
        let message = stage.to(number)[0].clone();
        let status = if class == "expired" { Receipt::Expired } else { Receipt::Failed };
        let call = F::receipt(&message, status, Some(code)).unwrap_or_else(|| panic!("{code} comes as a receipt"));
        stage.hear(&call).await;
        let state = state(&stage, number).await;
        match class.as_str() {
            "expired" => assert_eq!(state, "expired", "{code}"),
            // A second message with our reference was rejected: the first one stands.
            "ok" | "duplicate" => assert_ne!(state, "failed", "{code}"),
            _ => assert!(matches!(state.as_str(), "failed" | "undelivered"), "{code} is {class}, the message {state}"),
        }
        assert_eq!(paused(&stage).await.is_some(), pauses(class), "{code} is {class}");
        opted_out += i64::from(class == "opted-out");
        assert_eq!(suppressed(&stage).await, opted_out, "{code} is {class}");
    }
    stage.app.end().await;
}

pub async fn what_is_not_answered_is_unknown_and_never_sent_again<F: Fake>() {
    let mut stage = Stage::<F>::new(Kind::Sqlite).await;
    let people: Vec<String> = (1..=3).map(it).collect();
    for (number, play) in people.iter().zip([Play::Silence, Play::Garbled, Play::Broken]) {
        stage.play(number, play);
    }
    stage.people(&people).await;
    stage.app.plan(F::CAMPAIGN).await;
    stage.app.deliver().await;
    for number in &people {
        assert_eq!(state(&stage, number).await, "unknown");
        stage.play(number, Play::Accept);
    }
    stage.app.advance(std::time::Duration::from_secs(3600));
    stage.app.deliver().await;
    for number in &people {
        let sent = stage.to(number);
        // Where the provider rejects a second message with our reference, the same reference is asked once more.
        assert_eq!(sent.len(), if F::REJECTS_REPEATS { 2 } else { 1 }, "{sent:?}");
        assert!(sent.iter().all(|message| message.reference == sent[0].reference));
    }
    // A receipt says what became of it, where it carries our reference or the answer to it came; else the person does.
    let own_reference = permesso::gateway::driver(F::DRIVER).expect("the driver").can.own_reference;
    let first = stage.to(&people[0])[0].clone();
    if let Some(call) = F::receipt(&first, Receipt::Accepted, None).filter(|_| own_reference) {
        stage.hear(&call).await;
        assert_eq!(state(&stage, &people[0]).await, "accepted");
    }
    stage.receipt(&first, Receipt::Delivered).await;
    stage.reply(&people[1], "STOP", "settles").await;
    assert_eq!(state(&stage, &people[1]).await, "delivered");
    if own_reference {
        assert_eq!(state(&stage, &people[0]).await, "delivered");
    }
    stage.app.end().await;
}

pub async fn a_receipt_before_the_answer_counts<F: Fake>() {
    let mut stage = Stage::<F>::new(Kind::Sqlite).await;
    stage.people(&[it(1)]).await;
    stage.app.plan(F::CAMPAIGN).await;
    stage.receipts_first();
    stage.app.deliver().await;
    assert_eq!(stage.to(&it(1)).len(), 1);
    assert_eq!(state(&stage, &it(1)).await, "delivered");
    stage.app.end().await;
}

pub async fn receipts_repeat_and_overtake_and_change_nothing<F: Fake>() {
    let mut stage = Stage::<F>::new(Kind::Sqlite).await;
    stage.people(&[it(1)]).await;
    stage.app.plan(F::CAMPAIGN).await;
    stage.app.deliver().await;
    let message = stage.to(&it(1))[0].clone();
    stage.receipt(&message, Receipt::Accepted).await;
    assert_eq!(state(&stage, &message.to).await, "accepted", "handed to nobody yet");
    stage.receipt(&message, Receipt::Delivered).await;
    stage.receipt(&message, Receipt::Delivered).await;
    stage.receipt(&message, Receipt::Accepted).await;
    stage.receipt(&message, Receipt::Sent).await;
    stage.receipt(&message, Receipt::Failed).await;
    assert_eq!(state(&stage, &it(1)).await, "delivered");
    assert_eq!(
        stage
            .app
            .count("SELECT COUNT(*) FROM (SELECT event_id FROM receipts GROUP BY event_id HAVING COUNT(*) > 1) AS twice")
            .await,
        0
    );
    // Of a message nobody knows: kept, and nothing follows.
    let stranger = Message { provider_id: "unknown-to-us".into(), reference: "ask_nobodys".into(), ..message };
    if let Some(call) = F::receipt(&stranger, Receipt::Delivered, None) {
        assert_eq!(stage.call(&call).await / 100, 2);
    }
    stage.app.end().await;
}

pub async fn forged_and_broken_calls_are_refused_and_store_nothing<F: Fake>() {
    let mut stage = Stage::<F>::new(Kind::Sqlite).await;
    stage.people(&[it(1)]).await;
    stage.app.plan(F::CAMPAIGN).await;
    stage.app.deliver().await;
    let message = stage.to(&it(1))[0].clone();
    let genuine = [Some(F::inbound(&it(1), "STOP", "forged")), F::receipt(&message, Receipt::Delivered, None)];
    let genuine: Vec<_> = genuine.into_iter().flatten().collect();
    for call in &genuine {
        let forged = F::forged(call);
        assert!(!forged.is_empty());
        for forged in forged {
            let status = stage.call(&forged).await;
            assert!((400..500).contains(&status), "{status} to {forged:?}");
        }
    }
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events").await, 0);
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM receipts").await, 0);
    assert_eq!(suppressed(&stage).await, 0);

    // And the genuine ones are taken, once.
    for call in &genuine {
        for _ in 0..2 {
            assert_eq!(stage.call(call).await / 100, 2, "{call:?}");
        }
    }
    assert_eq!(suppressed(&stage).await, 1);
    assert_eq!(stage.app.count("SELECT COUNT(*) FROM inbound_events").await, 1);
    no_call_makes_us_fall_over(&stage, &genuine).await;
    stage.app.end().await;
}

/// A call spoiled: another value in its JSON, another character somewhere, an end that is missing; signed as its provider signs, so that
/// whoever looks at the signature first looks at the rest, too.
fn spoiled<F: Fake>(genuine: Vec<Call>) -> impl Strategy<Value = Call> {
    let values = ["null", "[]", "{}", "7", "-9223372036854775808", "1e400", "\"\"", "\"\\u0000\"", "[[]]", "\"x\""];
    let how = prop_oneof![Just(0), Just(1), Just(2), Just(3)];
    let parts =
        (prop::sample::select(genuine), how, any::<prop::sample::Index>(), any::<char>(), prop::sample::select(values.to_vec()));
    parts.prop_map(|(mut call, how, at, char, value)| {
        // Whoever has no body says everything in the address.
        let text = if call.body.is_empty() || how == 3 && call.target.contains('?') { &mut call.target } else { &mut call.body };
        let colons: Vec<usize> = text.match_indices(':').map(|(i, _)| i).collect();
        let start = text.find('?').unwrap_or(0);
        let place = (0..=start + at.index(text.len() - start)).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        match how {
            0 if !colons.is_empty() => {
                let start = colons[at.index(colons.len())] + 1;
                if let Some(length) = text[start..].find([',', '}', ']']) {
                    text.replace_range(start..start + length, value);
                }
            }
            1 => text.truncate(place),
            _ => {
                let written = if text.starts_with('/') { urlencoded(char) } else { char.to_string() };
                text.insert_str(place, &written);
            }
        }
        F::signed(call)
    })
}

fn urlencoded(char: char) -> String {
    url::form_urlencoded::byte_serialize(char.to_string().as_bytes()).collect()
}

/// No call, however broken, makes us fall over: none panics, and none is answered as a fault of our own.
async fn no_call_makes_us_fall_over<F: Fake>(stage: &Stage<F>, genuine: &[Call]) {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 300, ..ProptestConfig::default() });
    let calls = spoiled::<F>(genuine.to_vec());
    let gateway = stage.app.engine.gateways.get(F::DRIVER).expect("the gateway").clone();
    let now = stage.app.clock.now();
    let done = runner.run(&calls, |call| {
        let header = |name: &str| call.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone());
        let callback = Callback { method: call.method, target: &call.target, header: &header, body: call.body.as_bytes(), now };
        if let Ok(Heard::Events(events)) = gateway.read_webhook(&callback) {
            prop_assert!(events.len() < 100);
            for event in &events {
                // What is made of what was said is keyed before it is stored, and told by its mark.
                let Event::Unreadable { event_id, .. } = event else { continue };
                let hash = event_id.split(':').any(|part| part.len() >= 32 && part.bytes().all(|b| b.is_ascii_hexdigit()));
                prop_assert!(!hash || event_id.starts_with(OF_CONTENT), "{event_id}");
            }
        }
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..60 {
        let call = calls.new_tree(&mut runner).expect("a call").current();
        let status = stage.call(&call).await;
        assert!(status < 500, "{status} to {call:?}");
    }
}
