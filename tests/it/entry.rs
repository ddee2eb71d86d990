//! People who come to us by themselves: links and QR codes that phones can read, and what a first message is and is not.

use std::time::Duration;

use permesso::engine::{intake, receive, report};

use crate::app::{LINK, REPLY_NUMBER, TestApp};
use crate::both;
use crate::promises::said;
use crate::run::ask;

const ENTRY: &str = "[[entry]]\nword = \"NEWSLETTER\"\ntext = \"Ciao, sono Zoë & co. NEWSLETTER\"\nform = \"newsletter\"";

/// The form that ships, and the entry that leads to it.
pub async fn with_entry(app: &mut TestApp) {
    let forms = app.engine.config.dir.join("forms");
    std::fs::create_dir_all(&forms).unwrap();
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/config/forms/newsletter.toml"), forms.join("newsletter.toml")).unwrap();
    app.reconfigure(ENTRY).await;
}

/// What the QR code in this drawing says. Its squares are drawn here by hand: `M12 34h5v6H12V34` a piece.
fn decoded(svg: &str) -> String {
    let size: usize = svg.split("viewBox=\"0 0 ").nth(1).and_then(|r| r.split(' ').next()).unwrap().parse().unwrap();
    let path = svg.split(" d=\"").nth(1).and_then(|r| r.split('"').next()).unwrap();
    let mut dark = vec![false; size * size];
    for piece in path.split('M').filter(|piece| !piece.is_empty()) {
        let numbers: Vec<usize> =
            piece.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect();
        let [left, top, width, height, ..] = numbers[..] else { panic!("{piece}") };
        for y in top..top + height {
            dark[y * size + left..y * size + left + width].fill(true);
        }
    }
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(size, size, |x, y| if dark[y * size + x] { 0 } else { 255 });
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "one code");
    grids[0].decode().unwrap().1
}

#[tokio::test]
async fn a_link_opens_a_chat_and_its_code_says_the_same() {
    let mut app = TestApp::new(crate::app::Kind::Sqlite).await;
    with_entry(&mut app).await;
    let dir = app.dir.path().to_owned();
    let file = dir.join("code.svg");
    let path = file.to_str().unwrap();
    for (args, address) in [
        (
            vec!["sms", "--sender", REPLY_NUMBER, "--form", "newsletter"],
            "sms:+393001234567?&body=Ciao%2C%20sono%20Zo%C3%AB%20%26%20co.%20NEWSLETTER",
        ),
        (
            vec!["whatsapp", "--number", "+39 300 1234567", "--text", "1+1 = 2?"],
            "https://wa.me/393001234567?text=1%2B1%20%3D%202%3F",
        ),
        (vec!["whatsapp", "--number", "+39 300 1234567"], "https://wa.me/393001234567"),
        (vec!["page", "--form", "newsletter"], "/join/newsletter"),
    ] {
        let args = [vec!["link"], args, vec!["--qr", path, "--force"]].concat();
        let (code, out, err) = ask(&dir, &args).await;
        assert!(code == 0 && out.trim_end().ends_with(address), "{out}{err}");
        assert_eq!(decoded(&std::fs::read_to_string(&file).unwrap()), out.trim_end());
    }
    let before = std::fs::read(&file).unwrap();
    for (args, says) in [
        (vec!["page", "--form", "newsletter", "--qr", path], "exists already; remedy:"),
        (vec!["page", "--form", "nothing"], "there is no form `nothing`, or something is wrong with it; remedy:"),
        (vec!["sms"], "several sms senders take answers; remedy: after --sender write one of: +393001234567"),
        (vec!["sms", "--sender", "ACME"], "sender `ACME` takes no answers, so nobody can write to it; remedy:"),
        (vec!["sms", "--sender", "acme-wa"], "no sms sender `acme-wa`; remedy:"),
        (vec!["whatsapp"], "knows sender `acme-wa` by a name; remedy: write its number"),
    ] {
        let (code, _, err) = ask(&dir, &[vec!["link"], args].concat()).await;
        assert!(code == 1 && err.contains(says), "{says}: {err}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), before, "nothing is written over silently");
    app.end().await;
}

#[tokio::test]
async fn a_word_that_would_be_an_answer_is_refused_with_its_remedy() {
    let mut app = TestApp::new(crate::app::Kind::Sqlite).await;
    let file = app.engine.config.dir.join("permesso.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    for (word, says) in [
        ("BASTA", "entry.word: `BASTA` is an answer by replies/"),
        ("ALTRO\"\ntext = \"ciao", "entry.text: `ALTRO` does not stand in it"),
        ("ALTRO\"\ntext = \"ALTRO, STOP", "entry.text: `ALTRO, STOP` is an answer by replies/"),
        ("ciao a tutti", "entry.word: `ciao a tutti` is no word to know people by; remedy: write 4 to 20 letters and digits"),
        ("newsletter", "entry.word: there is another entry `NEWSLETTER`; remedy: give each its own word"),
    ] {
        std::fs::write(&file, format!("{settings}\n{ENTRY}\n[[entry]]\nword = \"{word}\"\nform = \"other\"\n")).unwrap();
        let problems = permesso::config::Config::load(&app.engine.config.dir).unwrap_err().to_string();
        assert!(problems.contains(says) && problems.contains("permesso.toml:"), "{problems}");
    }
    app.end().await;
}

/// Links of the form's page that this phone got.
fn links(app: &TestApp, number: &str) -> usize {
    app.inbox(number).iter().filter(|m| m.text.contains("/join/newsletter")).count()
}

async fn nothing_consented(app: &TestApp) {
    for table in ["preferences", "ledger", "conversations"] {
        assert_eq!(app.dump(table).await, "", "{table}");
    }
}

both!(whoever_writes_first_is_answered_once_and_has_consented_to_nothing, |app| {
    with_entry(app).await;
    let [stranger, known, refuser, erased] = [1, 2, 3, 4].map(TestApp::it);
    app.import(&format!("{known},,prospect,,web shop,,,,,,,\n")).await;
    // The same event of a provider that tells it again, and the same words again.
    let first = said("hello-1", &stranger, REPLY_NUMBER, "Ciao! newsletter", app.clock.now());
    for _ in 0..3 {
        receive::store(&app.engine, "mock", std::slice::from_ref(&first)).await.unwrap();
        app.settle().await;
    }
    // Tried out on the page of the pretended phones.
    let wrote = |text: &str| [("number", known.as_str()), ("to", REPLY_NUMBER), ("text", text)].map(|(k, v)| (k, v.to_owned()));
    assert_eq!(app.post_form(&format!("{}/write", app.gateway.url()), &wrote("NEWSLETTER")).await, 303);
    app.deliver().await;
    app.gateway.idle().await;
    let phones = app.get(&app.gateway.url()).await.1;
    assert!(phones.contains("2 phones, 3 messages"), "somebody who was never written to");
    assert!(phones.contains("<option value=\"acme-wa\">WhatsApp</option>"), "{phones}");
    app.reply(&known, REPLY_NUMBER, "NEWSLETTER?").await;
    for number in [&stranger, &known] {
        assert_eq!((links(app, number), app.inbox(number).len()), (1, 1), "answered once");
        assert!(app.story(number).await.consents.iter().all(|line| line.starts_with("unknown: ")), "no consent");
    }
    let told = app.history(&known).await.concat();
    let came = "entry Came by an entry’s link or word of form newsletter, by SMS, which is no consent: the link of the form’s page is the answer";
    assert!(told.contains(came) && !told.contains("unclear"), "{told}");
    // By which somebody new came is theirs as well: in their story, and in what they get of themselves.
    assert_eq!(app.history(&stranger).await.iter().filter(|line| *line == came).count(), 1, "{:?}", app.history(&stranger).await);
    let export = async |number: &str, more: &[&str]| {
        let (code, out, err) = ask(app.dir.path(), &[&["contact", "export", number], more].concat()).await;
        assert_eq!(code, 0, "{err}");
        out
    };
    let csv = export(&stranger, &["--format", "csv"]).await;
    assert!(csv.contains(",entry newsletter,sms,,,Ciao! newsletter,\"un tuo messaggio, da un nostro link"), "{csv}");
    let file: serde_json::Value = serde_json::from_str(&export(&stranger, &[]).await).unwrap();
    crate::mydata::is_of_the_vocabulary(&file);
    let about = file["@graph"].as_array().unwrap().iter().find(|part| part["ev:replies"].is_array()).unwrap();
    assert_eq!(about["ev:replies"][0]["ev:entry"], serde_json::json!({ "ev:form": "newsletter", "ev:isConsent": false }));
    let handed = permesso::engine::hand::link(&app.engine, &TestApp::number(&stranger), "ann", None).await.unwrap();
    let mine = crate::mydata::open(app, &format!("{}/data", handed.address), &stranger).await;
    let came = "un nostro link o codice; non è un consenso (newsletter)";
    assert!(mine.contains(&format!("Ciao! newsletter (un tuo messaggio, da {came})")), "{mine}");
    assert!(mine.contains(&format!("fonte: un tuo messaggio, da {came}")), "where the number is from: {mine}");
    nothing_consented(app).await;
    let entries = "SELECT COUNT(*) FROM inbound_events WHERE effect = 'entry newsletter' AND body_enc <> ''";
    assert_eq!(app.count(entries).await, 3, "each is on record");
    assert_eq!(report::overview(&app.engine).await.unwrap().inbox_waiting, 0, "and none waits for an operator");
    // What else people write may be a no: it waits for an operator, as from anybody.
    app.reply(&TestApp::it(5), REPLY_NUMBER, "NEWSLETTER? mah, non so").await;
    let unclear = TestApp::it(5);
    assert_eq!((app.inbox(&unclear).len(), report::overview(&app.engine).await.unwrap().inbox_waiting), (0, 1));
    // In no list, and yet something is held: whoever asks hears of it.
    let waits = app.story(&unclear).await;
    assert!(!waits.known && waits.verdict.contains("An unclear reply from it waits for an operator"), "{waits:?}");
    assert!(waits.history[0].what.contains("it waits for an operator"), "{waits:?}");
    for format in ["csv", "jsonld"] {
        let file = export(&unclear, &["--format", format]).await;
        assert!(file.contains("NEWSLETTER? mah, non so") && file.contains("Mock gateway"), "{file}");
    }
    assert!(app.story(&unclear).await.requests.concat().contains("access"), "on record as any other");
    // No right to ask comes of it.
    app.advance(Duration::from_secs(3600));
    app.send(LINK).await;
    assert_eq!((app.asks(&stranger), app.asks(&known)), (0, 0));
    // A no as the first message is a no as ever, and then nobody is answered, whatever they scan.
    app.reply(&refuser, REPLY_NUMBER, "STOP").await;
    app.reply(&refuser, REPLY_NUMBER, "NEWSLETTER").await;
    let kept: serde_json::Value = serde_json::from_str(&export(&refuser, &[]).await).unwrap();
    crate::mydata::is_of_the_vocabulary(&kept);
    let kept = kept["@graph"].as_array().unwrap().iter().find(|part| part["ev:suppressions"].is_array()).unwrap();
    let no = &kept["ev:suppressions"][0];
    assert!(no["ev:reason"] == "stopped" && no["ev:at"].as_str().unwrap().starts_with("2026-12-01T10:"), "{kept:#}");
    assert_eq!((kept["ev:keptAs"].as_str(), kept["@type"].as_str()), (Some("keyed hash of the number"), Some("dpv:DataSubject")));
    app.reply(&known, REPLY_NUMBER, "NEWSLETTER STOP").await;
    assert!(app.story(&known).await.verdict.contains("stopped"));
    app.advance(Duration::from_secs(2 * 86_400));
    app.reply(&known, REPLY_NUMBER, "NEWSLETTER").await;
    assert_eq!((links(app, &refuser), links(app, &known)), (0, 1));
    // Nobody erased becomes somebody again.
    app.reply(&erased, REPLY_NUMBER, "NEWSLETTER").await;
    crate::erasure::erase(app, &erased).await;
    app.advance(Duration::from_secs(2 * 86_400));
    receive::store(&app.engine, "mock", std::slice::from_ref(&first)).await.unwrap();
    app.settle().await;
    assert_eq!(links(app, &stranger), 1, "told again days later it is the same event");
    let contacts = app.count("SELECT COUNT(*) FROM contacts WHERE number_enc <> ''").await;
    app.reply(&erased, REPLY_NUMBER, "NEWSLETTER").await;
    assert_eq!((links(app, &erased), app.count("SELECT COUNT(*) FROM contacts WHERE number_enc <> ''").await), (1, contacts));
    let blank = "SELECT COUNT(*) FROM inbound_events WHERE effect = 'erased' AND body_enc = '' AND mac = ''";
    assert_eq!(app.count(blank).await, 1, "and nothing of what they wrote is kept");
});

both!(whoever_tries_it_out_writes_first_by_whatsapp_too, |app| {
    let form = |to: &str| [("number", TestApp::it(1)), ("to", to.to_owned()), ("text", "Ciao".to_owned())];
    for (to, status) in [("acme-wa", 303), (REPLY_NUMBER, 303), ("nobody", 403)] {
        assert_eq!(app.post_form(&format!("{}/write", app.gateway.url()), &form(to)).await, status, "{to}");
    }
    let again = [("to", "acme-wa"), ("channel", "whatsapp"), ("text", "Ciao ancora")].map(|(k, v)| (k, v.to_owned()));
    assert_eq!(app.post_form(&format!("{}/phones/0/reply", app.gateway.url()), &again).await, 303);
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events WHERE channel = 'whatsapp'").await, 2);
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events WHERE channel = 'sms'").await, 1);
});

both!(whoever_wrote_first_and_consented_to_nothing_is_kept_no_longer_than_an_unfinished_form, |app| {
    with_entry(app).await;
    let [quiet, refuses, joins, unclear, known, asks] = [1, 2, 3, 4, 5, 6].map(TestApp::it);
    app.import(&format!("{known},,prospect,,web shop,,,,,,,\n")).await;
    for number in [&quiet, &refuses, &joins, &unclear, &known, &asks] {
        app.reply(number, REPLY_NUMBER, "NEWSLETTER").await;
        assert_eq!(links(app, number), 1);
    }
    app.reply(&refuses, REPLY_NUMBER, "STOP").await;
    app.reply(&unclear, REPLY_NUMBER, "mah, vediamo un po").await;
    crate::intake::joined(app, "newsletter", &joins).await;
    let forget = async || intake::tidy(&app.engine).await.unwrap();
    app.advance(Duration::from_secs(86_399));
    assert_eq!(forget().await, 0, "a day is not over");
    app.reply(&asks, REPLY_NUMBER, "AIUTO").await;
    app.advance(Duration::from_secs(2));
    assert_eq!(forget().await, 2);
    let mut stay = Vec::new();
    for number in [&quiet, &refuses, &joins, &unclear, &known, &asks] {
        stay.push(app.story(number).await.known);
    }
    assert_eq!(
        stay,
        [false, false, true, true, true, true],
        "who consented, whose words wait to be read, who was known before, who wrote since"
    );
    app.advance(Duration::from_secs(86_400));
    assert_eq!(forget().await, 1);
    let words = "SELECT COUNT(*) FROM inbound_events WHERE body_enc <> ''";
    assert_eq!(app.count(words).await, 4, "their words are gone too");
    // The no outlives them, whatever list brings the number.
    assert!(app.story(&refuses).await.suppressions.concat().contains("stopped"));
    app.people(std::slice::from_ref(&refuses)).await;
    app.send(LINK).await;
    assert_eq!(app.asks(&refuses), 0);
    // Whoever is erased leaves nothing of how they came.
    let came = "SELECT COUNT(*) FROM intakes WHERE contact_id IS NOT NULL";
    assert_eq!(app.count(came).await, 3, "two rows of who came and joined, and one of whose words wait");
    crate::erasure::erase(app, &joins).await;
    assert_eq!(app.count(came).await, 1);
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
});
