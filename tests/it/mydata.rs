//! A person's own data: behind a fresh code to their phone and nothing else, as a page, as a table and as consent records.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use permesso::domain::channel::{Channel, Purpose};
use permesso::engine::requests as wishes;
use permesso::engine::{expire, hand, notice, verify};
use permesso::gateway::mock::faults::Faults;
use serde_json::Value;

use crate::app::{HEADER, LINK, REPLY_NUMBER, TestApp, field};
use crate::between::DAY;
use crate::both;
use crate::erasure::grants;
use crate::run::ask;

const MINUTE: Duration = Duration::from_secs(60);
const EVIL: &str = "=HYPERLINK(\"http://evil.example\";\"<b>boh</b>\")";

/// Posts to the page as its own form does. Answers status, headers as text, and body.
pub async fn post(app: &TestApp, page: &str, fields: &[(&str, &str)]) -> (u16, String, String) {
    send(app, page, fields, "same-origin").await
}

pub async fn send(app: &TestApp, page: &str, fields: &[(&str, &str)], site: &str) -> (u16, String, String) {
    let nonce = field(&app.get(page).await.1, "nonce");
    let pairs = [("nonce", nonce.as_str())].into_iter().chain(fields.iter().copied());
    let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let request = app.http.post(page).header("sec-fetch-site", site).body(body);
    let answer = request.header("content-type", "application/x-www-form-urlencoded").send().await.expect("an answer");
    let (status, headers) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
    (status, headers, answer.text().await.expect("text"))
}

/// The digits of the newest code that opens data.
fn digits(app: &TestApp, number: &str) -> String {
    let text = app.inbox(number).into_iter().rev().find(|m| m.reference.starts_with("otp")).expect("a code").text;
    assert!(text.contains("apre i tuoi dati"), "{text}");
    text.split(' ').find(|w| w.len() == 6 && w.bytes().all(|b| b.is_ascii_digit())).expect("six digits").to_owned()
}

fn other_than(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().expect("digits") + 1) % 1_000_000)
}

async fn another(app: &TestApp, page: &str) {
    assert_eq!(post(app, page, &[("answer", "another")]).await.0, 303);
    app.settle().await;
}

/// Asks for a code and types it. Answers the page.
pub async fn open(app: &TestApp, page: &str, number: &str) -> String {
    another(app, page).await;
    let (status, _, body) = post(app, page, &[("answer", "code"), ("code", &digits(app, number))]).await;
    assert_eq!(status, 200, "{body}");
    body
}

const CODES: &str = "SELECT COUNT(*) FROM messages WHERE kind = 'code'";

both!(one_s_data_open_by_a_fresh_code_alone_and_go_for_good, |app| {
    let [person, other] = [1, 2].map(TestApp::it);
    let row = format!("{person},,prospect,,\"=cmd|' /C calc'!A0\",prior_consent,form 1,2026-01-10,unticked,,,\n");
    app.import_file(&format!("{HEADER}{row}{}", TestApp::good(&other))).await;
    app.send(LINK).await;
    let link = grants(app, &person).await;
    crate::times::choose(app, &person, &[("when", "1"), ("part", "morning"), ("often", "week"), ("grant", "sms.promotions")])
        .await;
    app.reply(&person, REPLY_NUMBER, EVIL).await;
    let (page, others) = (format!("{link}/data"), format!("{}/data", app.link(&other)));
    assert!(app.get(&link).await.1.contains("/data/it\">Vedi, scarica o cancella i tuoi dati</a>"));

    // The door shows nothing, does nothing by itself, and obeys its own form alone.
    for lang in ["", "/it", "/pl", "/en", "/de", "/fr", "/es"] {
        let (status, door) = app.get(&format!("{page}{lang}")).await;
        assert!(status == 200 && !door.contains(&person[3..]) && !door.contains("web shop"), "{door}");
    }
    assert_eq!(app.http.head(&page).send().await.unwrap().status(), 200);
    assert_eq!(app.count(CODES).await, 0);
    assert_eq!(send(app, &page, &[("answer", "another")], "cross-site").await.0, 403);
    assert_eq!(post(app, &page, &[("answer", "json"), ("ticket", "0")]).await.0, 303);
    assert_eq!(post(app, &page, &[("answer", "erase"), ("sure", "yes"), ("ticket", "")]).await.0, 303);
    assert_eq!(post(app, &page, &[("answer", "everything")]).await.0, 400);
    assert_eq!(app.post_form(&page, &[("nonce", "0".into()), ("answer", "another".into())]).await, 409);
    assert_eq!(app.count(CODES).await, 0);

    // Guessing: five tries a code, however they come, one code a minute and five a day.
    another(app, &page).await;
    let right = digits(app, &person);
    another(app, &page).await;
    assert_eq!(app.count(CODES).await, 1, "one a minute");
    assert_eq!(post(app, &others, &[("answer", "code"), ("code", &right)]).await.0, 303, "it opens the page it was sent for");
    let wrong = other_than(&right);
    let guess = [("answer", "code"), ("code", wrong.as_str())];
    let app_ = &*app;
    futures::future::join_all((0..9).map(|_| post(app_, &page, &guess))).await;
    assert_eq!(app.count("SELECT wrong FROM codes").await, 5);
    assert_eq!(post(app, &page, &[("answer", "code"), ("code", &right)]).await.0, 303, "it is dead");
    assert!(app.get(&page).await.1.contains("Troppi tentativi"));
    app.advance(MINUTE);

    // The right one, once.
    another(app, &page).await;
    let right = digits(app, &person);
    let typed = [("answer", "code"), ("code", right.as_str())];
    let (status, headers, mine) = post(app, &page, &typed).await;
    assert_eq!(status, 200, "{mine}");
    assert!(headers.contains("no-store") && headers.contains("noindex") && !headers.contains("set-cookie"), "{headers}");
    for shown in [&person, "Non c’è nulla che vieti di chiedere.", "Promozioni e offerte (SMS): permesso", "sì, confermato"] {
        assert!(mine.contains(shown), "{shown}: {mine}");
    }
    assert!(mine.contains("Le ore sono quelle di Europe/Rome."), "{mine}");
    assert!(
        mine.contains("form 1, 10/01/2026") && mine.contains("<li>01/12/2026 10:45 SMS"),
        "days as the language writes them: {mine}"
    );
    assert!(!mine.contains("2026-12-"), "{mine}");
    // When they may be written to, and each text as they read it, but for what was theirs alone.
    assert!(mine.contains("Quando si può scriverti: Mattina (8–12); al massimo una volta a settimana"), "{mine}");
    let text = "ci hai lasciato il tuo numero e vorremmo chiederti se possiamo inviarti ancora informazioni e promozioni.";
    assert!(mine.contains(&format!("ACME: {text}")) && mine.contains("Per scegliere come e quando: […]"), "{mine}");
    assert!(mine.contains("al loro posto c’è […]") && !mine.contains(&right) && !mine.contains(&link), "{mine}");
    assert!(mine.contains("&#60;b&#62;boh") && !mine.contains("<b>boh"), "what people wrote stays text");
    assert_eq!(post(app, &page, &typed).await.0, 303, "the same form again opens nothing");
    assert!(!app.get(&page).await.1.contains(&person), "nor does the page by itself");
    let ticket = field(&mine, "ticket");

    // To take along.
    let (status, headers, file) = post(app, &format!("{page}/it"), &[("answer", "csv"), ("ticket", &ticket)]).await;
    assert!(status == 200 && headers.contains("attachment") && headers.contains("no-store"), "{headers}");
    let mut csv = csv::Reader::from_reader(file.as_bytes());
    let cells: Vec<String> = csv.records().flat_map(|r| r.unwrap().iter().map(str::to_owned).collect::<Vec<_>>()).collect();
    assert!(cells.iter().any(|c| c == "08:00-12:00, at most once a week") && cells.iter().any(|c| c.contains(text)), "{cells:?}");
    for words in ["Promozioni e offerte (SMS): permesso", "sì, confermato", "da chiedere. Non c’è nulla che vieti di chiedere."]
    {
        assert!(cells.iter().any(|c| c == words), "{words}: {cells:?}");
    }
    assert!(cells.iter().any(|c| c.contains("HYPERLINK")) && cells.iter().any(|c| c.contains("=cmd")), "{cells:?}");
    assert!(cells.iter().all(|c| !c.starts_with(['=', '+', '-', '@', '\t', '\r'])), "{cells:?}");
    let (status, headers, file) = post(app, &page, &[("answer", "json"), ("ticket", &ticket)]).await;
    assert!(status == 200 && headers.contains("application/ld+json"), "{headers}");
    let exported: Value = serde_json::from_str(&file).unwrap();
    is_of_the_vocabulary(&exported);
    let record = &exported["@graph"][0];
    assert_eq!((&record["@type"], &record["dpv:hasJurisdiction"]), (&"dpv:ConsentRecord".into(), &"loc:IT".into()));
    let states: Vec<String> = record["dpv:hasConsentStatus"].as_array().unwrap().iter().map(|s| s["@type"].to_string()).collect();
    let wanted = ["ConsentUnknown", "ConsentRequested", "ConsentRequested", "ConsentGiven"];
    assert!(states.len() == 4 && states.iter().zip(wanted).all(|(s, w)| s.contains(w)), "{states:?}");
    assert!(file.contains(&person) && file.contains("HYPERLINK") && file.contains("Nothing speaks against asking."), "{file}");
    assert!(file.contains("08:00-12:00, at most once a week") && file.contains(text), "{file}");
    assert_eq!(post(app, &page, &[("answer", "json"), ("ticket", "0")]).await.0, 303, "nor does another ticket open it");
    open(app, &others, &other).await;
    assert_eq!(post(app, &others, &[("answer", "json"), ("ticket", &ticket)]).await.0, 303, "a ticket is of one page");
    let (code, out, err) = ask(app.dir.path(), &["contact", "export", &person]).await;
    assert_eq!((code, serde_json::from_str::<Value>(&out).unwrap()["@graph"][0].clone()), (0, record.clone()), "{err}");
    let (code, out, _) = ask(app.dir.path(), &["contact", "export", &person, "--format", "csv"]).await;
    assert!(code == 0 && out.starts_with("kind,at,what,") && out.contains("'=HYPERLINK"), "{out}");
    assert!(out.contains("Promozioni e offerte (SMS): permesso"), "in their language: {out}");
    let (code, out, _) = ask(app.dir.path(), &["contact", "export", &person, "--format", "csv", "--locale", "de"]).await;
    assert!(code == 0 && out.contains(",Nummer\n") && !out.contains("Promozioni e offerte"), "{out}");
    // A file that cannot be written answers nobody: the request goes on waiting.
    let noted = wishes::list(&app.engine, false).await.unwrap().len();
    let there = app.dir.path().join("contacts.csv");
    let (code, _, err) = ask(app.dir.path(), &["contact", "export", &person, "--out", there.to_str().unwrap()]).await;
    assert!(code == 1 && err.contains("exists already") && err.contains("remedy"), "{err}");
    assert_eq!(wishes::list(&app.engine, false).await.unwrap().len(), noted);
    let (code, _, err) = ask(app.dir.path(), &["contact", "export", &TestApp::it(9)]).await;
    assert!(code == 1 && err.contains("remedy"), "{err}");
    let done = wishes::list(&app.engine, false).await.unwrap();
    assert!(done.iter().all(|r| r.kind == "access" && r.done.is_some()) && done.iter().any(|r| r.channel == "page"), "{done:?}");

    // A quarter of an hour later it is shut.
    app.advance(15 * MINUTE + Duration::from_secs(1));
    for answer in ["json", "csv"] {
        assert_eq!(post(app, &page, &[("answer", answer), ("ticket", &ticket)]).await.0, 303);
    }
    assert_eq!(post(app, &page, &[("answer", "erase"), ("sure", "yes"), ("ticket", &ticket)]).await.0, 303);
    assert!(app.story(&person).await.known);

    // Whoever said STOP has the same right, and as many codes.
    app.reply(&person, REPLY_NUMBER, "STOP").await;
    let ticket = field(&open(app, &page, &person).await, "ticket");
    // For good, if they know that it is.
    assert_eq!(post(app, &page, &[("answer", "erase"), ("ticket", &ticket)]).await.0, 303);
    assert!(app.story(&person).await.known, "not without the tick");
    let (status, headers, _) = post(app, &page, &[("answer", "erase"), ("sure", "yes"), ("ticket", &ticket)]).await;
    assert!(status == 303 && headers.contains("/erased/"), "{headers}");
    for lang in ["it", "pl", "en", "de", "fr", "es"] {
        assert_eq!(app.get(&format!("{}/erased/{lang}", app.base)).await.0, 200);
    }
    assert_eq!((app.get(&page).await.0, app.get(&link).await.0), (404, 404));
    let story = app.story(&person).await;
    assert!(!story.known && story.requests.iter().any(|r| r.contains("erasure")), "{story:?}");
    assert_eq!(verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());

    // Somebody else's number by now: a code to it would show them the data of whoever had it before.
    let nonce = field(&app.get(&others).await.1, "nonce");
    app.reply(&other, REPLY_NUMBER, "numero sbagliato").await;
    let (_, door) = app.get(&others).await;
    assert!(door.contains("non è, o non è più, della persona") && !door.contains("value=\"another\""), "{door}");
    let before = app.count(CODES).await;
    assert_eq!(app.post_form(&others, &[("nonce", nonce), ("answer", "another".into())]).await, 303);
    assert_eq!(app.count(CODES).await, before);
});

async fn exported(app: &TestApp, number: &str) -> Value {
    let (code, out, err) = ask(app.dir.path(), &["contact", "export", number]).await;
    assert_eq!(code, 0, "{err}");
    let file = serde_json::from_str(&out).expect("JSON");
    is_of_the_vocabulary(&file);
    file
}

/// The part of an export that fits.
fn part(file: &Value, fits: impl Fn(&Value) -> bool) -> Value {
    let all = file["@graph"].as_array().expect("a graph");
    all.iter().find(|part| fits(part)).unwrap_or_else(|| panic!("{file:#}")).clone()
}

fn about(file: &Value, purpose: &str) -> Value {
    part(file, |r| r["@type"] == "dpv:ConsentRecord" && r["dpv:hasProcess"][0]["ev:purposeKey"] == purpose)
}

fn states(record: &Value) -> Vec<String> {
    record["dpv:hasConsentStatus"].as_array().expect("states").iter().map(|s| s["@type"].to_string()).collect()
}

both!(what_a_person_takes_along_is_true_of_them, |app| {
    let [person, stranger, silent, refused, listed, late, quiet] = [1, 2, 3, 4, 5, 6, 7].map(TestApp::it);
    app.gateway.set_faults(Faults { refused_numbers: [refused.clone()].into(), ..Faults::default() });
    app.people(&[person.clone(), stranger.clone(), silent.clone(), refused.clone(), quiet.clone()]).await;
    app.import(&TestApp::good(&listed).replace("unticked,", "unticked,2025-05-01")).await;
    app.send(LINK).await;
    let link = grants(app, &person).await;
    grants(app, &stranger).await;
    app.people(std::slice::from_ref(&late)).await;

    // The notice is raised, and names the CRM that somebody runs: what was allowed before rests on the notice of before.
    crate::notices::edit(app, "notice_version = \"2026-11\"", "notice_version = \"2026-12\"");
    app.reconfigure(&format!("{}processor = \"CRM S.p.A.\"\nregion = \"EU\"\n", crate::crm::WEBHOOK)).await;
    notice::publish(&app.engine).await.unwrap();
    assert_eq!(app.submit(&link, "chosen", &["sms.promotions", "sms.product_info"]).await, 303);
    app.advance(MINUTE);
    app.reply(&person, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&person).await.len(), 2, "{:?}", app.history(&person).await);
    // A provider by which asks went then, and nothing goes any more.
    app.execute("UPDATE attempts SET gateway = 'before' WHERE kind = 'ask'").await.unwrap();
    let file = exported(app, &person).await;
    for (purpose, version) in [("promotions", "2026-11"), ("product_info", "2026-12")] {
        let notice = &about(&file, purpose)["dpv:hasNotice"];
        let hash = crate::notices::hash(app, version, "it").await;
        assert_eq!((&notice["ev:version"], &notice["ev:sha256"]), (&version.into(), &hash.into()), "{purpose}");
        assert_eq!((&notice["dct:language"], &notice["dct:date"]), (&"it".into(), &"2026-12-01".into()), "{purpose}");
    }

    // The keys of a record as ISO/IEC TS 27560 wants it, those of the sample.
    let record = about(&file, "promotions");
    // Where it says that consent is withdrawn, whoever has nothing but that address reads how.
    let (status, how) = app.get(record["dpv:hasConsentControl"]["dpv:isExercisedAt"].as_str().unwrap()).await;
    assert!(status == 200 && !how.contains("<form"), "{how}");
    for way in ["Il link del messaggio che te lo chiede", "<strong>STOP</strong>", REPLY_NUMBER, "Scrivi a privacy@acme.example"]
    {
        assert!(how.contains(way), "{way}: {how}");
    }
    assert!(app.get(&format!("{}/en", app.base)).await.1.contains("How to stop the messages"));
    let process = &record["dpv:hasProcess"][0];
    let stored = &process["dpv:hasStorageCondition"];
    assert_eq!(stored[0]["@type"], "dpv:StorageLocation");
    assert_eq!(stored[0]["dpv:hasLocation"]["ev:place"], "Milano, Italia (UE)");
    assert_eq!(stored[1]["dpv:hasDuration"]["rdf:value"], "P24M");
    let [unknown, asked, first, given] = [0_usize, 1, 2, 3].map(|n| &record["dpv:hasConsentStatus"][n]);
    assert_eq!((&unknown["@type"], &first["@type"]), (&"dpv:ConsentUnknown".into(), &"dpv:ConsentRequested".into()));
    assert_eq!(
        (&asked["@type"], &asked["ev:askBasis"], &asked["dpv:isImplementedByEntity"]),
        (&"dpv:ConsentRequested".into(), &"prior_consent".into(), &"ev:processor/before".into())
    );
    assert_eq!((asked["ev:bodySha256"].as_str().map(str::len), &asked["ev:noticeVersion"]), (Some(64), &"2026-11".into()));
    let known = part(&file, |p| p["@type"] == "dpv:DataSubject");
    let decisions = known["ev:decisions"].as_array().unwrap();
    assert!(decisions.iter().any(|d| d["@id"] == asked["ev:decisionRef"]), "{known:#}");
    assert!(decisions.iter().all(|d| d["ev:facts"][0] == "Number: mobile, IT"), "{known:#}");
    assert_eq!(given["dpv:hasDuration"]["rdf:value"], "P24M");
    let who = |recipients: &Value| -> Vec<String> {
        recipients.as_array().unwrap().iter().skip(1).map(|r| r.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(who(&process["dpv:hasRecipient"]), ["ev:processor/before", "ev:processor/mock", "ev:webhook/crm"]);
    let names = record["dpv:hasDataProcessor"].to_string();
    assert!(["Mock gateway", "\"before\"", "CRM S.p.A., EU"].iter().all(|name| names.contains(name)), "{names}");

    // Whom a gateway refused, and who was never planned, was asked nothing; who answers for their data and what they may ask for stands
    // all the same.
    for (number, has) in [(&refused, "ev:processor/before"), (&late, "ev:webhook/crm")] {
        let file = exported(app, number).await;
        assert!(!file.to_string().contains("ConsentRequested"), "{file:#}");
        let keeping = part(&file, |p| p["@type"] == "dpv:Process");
        assert_eq!(keeping["dpv:hasDataController"]["dpv:hasName"], "ACME S.p.A.");
        assert_eq!((keeping["dpv:hasRight"].as_array().map(Vec::len), &who(&keeping["dpv:hasRecipient"])[0][..]), (Some(5), has));
        assert_eq!(
            (&keeping["dpv:hasNotice"]["ev:version"], &keeping["dpv:hasNotice"]["dct:date"]),
            (&"2026-12".into(), &"2026-12-01".into())
        );
    }
    let asked = about(&exported(app, &silent).await, "promotions");
    assert_eq!((states(&asked).len(), &asked["dpv:hasNotice"]["ev:version"]), (2, &"2026-11".into()), "{asked:#}");

    // Whoever has the number now ends what was given for it, and says nothing for the person who gave it.
    for number in [&stranger, &silent] {
        app.reply(number, REPLY_NUMBER, "numero sbagliato").await;
        let record = about(&exported(app, number).await, "promotions");
        let states = states(&record);
        assert!(!states.iter().any(|s| s.contains("Withdrawn") || s.contains("Refused")), "{record:#}");
        let revoked = states.iter().position(|s| s.contains("ConsentRevoked"));
        assert_eq!(revoked, (number == &stranger).then(|| states.len() - 1), "{record:#}");
        if let Some(at) = revoked {
            let by = &record["dpv:hasConsentStatus"][at]["dpv:isIndicatedBy"];
            assert_eq!(by, &record["dpv:hasDataController"]["@id"]);
        }
    }

    // On the page too: what keeps us from writing and since when, the links handed over, who has what.
    let handed = hand::link(&app.engine, &TestApp::number(&listed), "ann", None).await.unwrap();
    let page = format!("{}/data", handed.address);
    let mine = open(app, &page, &listed).await;
    for shown in [
        "Che cosa ci vieta di scriverti",
        "01/12/2026: Ti eri già disiscritto o disiscritta (detto il 01/05/2025)",
        // What the decision about them saw, in their words.
        "<summary>Che cosa risultava</summary>",
        "<li>Motivo per chiedertelo: un consenso precedente, 10/01/2026, casella non spuntata</li>",
        "<li>Che cosa ci vieta di scriverti: Ti eri già disiscritto o disiscritta, 01/12/2026</li>",
        "<li>Domanda precedente: nessuna</li>",
        "<li>I tuoi permessi: Niente</li>",
        "Link alla tua pagina consegnati su tua richiesta",
        "Mock gateway: ha trasmesso",
        "CRM S.p.A., EU: gestisce il nostro archivio clienti",
    ] {
        assert!(mine.contains(shown), "{shown}: {mine}");
    }
    // Each line of the table in the words of each language.
    let ticket = field(&mine, "ticket");
    for lang in ["it", "pl", "en", "de", "fr", "es"] {
        let (_, _, file) = post(app, &format!("{page}/{lang}"), &[("answer", "csv"), ("ticket", &ticket)]).await;
        let mut csv = csv::Reader::from_reader(file.as_bytes());
        let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
        let kinds: BTreeSet<&str> = rows.iter().map(|row| &row[0]).collect();
        let wanted = ["decision", "imported", "known", "link", "recipient", "request", "retention", "sent", "suppression"];
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), wanted, "{lang}: {file}");
        assert!(rows.iter().all(|row| !row[7].is_empty()), "{lang}: {file}");
        let of = |kind: &str| rows.iter().filter(|row| &row[0] == kind).map(|row| (&row[2], &row[6])).collect::<Vec<_>>();
        assert_eq!(of("recipient"), [("passed", "Mock gateway"), ("keeps", "CRM S.p.A., EU")]);
        assert_eq!(of("retention")[..2], [("consent", "24 months; profiling 12 months"), ("silent", "2 years")]);
        assert!(of("decision")[0].1.contains("A no on record: unsubscribed, by a list imported on 2026-12-01."), "{file}");
    }

    // Whoever says nothing is asked no more once the time is over, and both files say so, of nobody else.
    let export = async |since: &str| {
        let (code, csv, err) = ask(app.dir.path(), &["consents", "export", "--since", since]).await;
        assert_eq!(code, 0, "{err}");
        csv
    };
    assert_eq!(export("2026-01-01").await.matches(",silent,").count(), 0, "their questions are open");
    app.advance(31 * DAY);
    expire::expire(&app.engine).await.unwrap();
    let csv = export("2027-01-01").await;
    let silent: Vec<&str> = csv.lines().filter(|line| line.contains(",silent,")).collect();
    let first = format!("{quiet},IT,,sms,product_info,silent,2027-01-01T");
    assert!(silent.len() == 6 && silent[0].starts_with(&first), "what the campaign offers, each by each: {csv}");
    assert!(silent.iter().all(|line| line.contains(&format!(",{LINK},prior_consent,")) && line.contains(",ask-")), "{csv}");
    assert_eq!(export("2027-01-02").await.matches(",silent,").count(), 0);
    let record = about(&exported(app, &quiet).await, "promotions");
    assert_eq!(states(&record).last().map(String::as_str), Some("\"dpv:ConsentRequestDeferred\""), "{record:#}");
    let whoever_answered = about(&exported(app, &person).await, "promotions");
    assert!(!states(&whoever_answered).iter().any(|state| state.contains("Deferred")), "{whoever_answered:#}");

    // A permission's record tells of the questions about it alone, and there is none of what a campaign asked that left them out.
    let asks = async |app: &TestApp, name: &str, purpose, cap_days| {
        app.plan_as(LINK, |c| {
            (c.name, c.family, c.cap_days) = (name.into(), name.into(), cap_days);
            (c.page_purposes, c.page_channels) = (vec![purpose], vec![Channel::Sms]);
            c.asks_for = c.permissions().into_iter().filter(|p| p.purpose == purpose && p.channel == Channel::Sms).collect();
            c.deadline += chrono::TimeDelta::days(90);
        })
        .await;
        app.settle().await;
    };
    let told = async |app: &TestApp| {
        let file = exported(app, &late).await;
        let records = file["@graph"].as_array().unwrap().iter().filter(|r| r["@type"] == "dpv:ConsentRecord");
        let of = |record: &Value| format!("{} {}", record["dpv:hasProcess"][0]["ev:purposeKey"], states(record).join(" "));
        records.map(|record| of(record).replace(['"', '\\'], "").replace("dpv:Consent", "")).collect::<Vec<_>>()
    };
    app.advance(3 * DAY);
    asks(app, "offers", Purpose::Promotions, 720).await;
    assert_eq!(told(app).await, ["promotions Unknown Requested"]);
    app.advance(31 * DAY);
    expire::expire(&app.engine).await.unwrap();
    asks(app, "profiles", Purpose::Profiling, 720).await;
    assert_eq!(told(app).await, ["promotions Unknown Requested RequestDeferred"]);
    asks(app, "profiles again", Purpose::Profiling, 0).await;
    assert_eq!(told(app).await, ["promotions Unknown Requested RequestDeferred", "profiling Unknown Requested"]);
});

/// Every term of an export is in the vocabulary, and used as what it is there.
pub fn is_of_the_vocabulary(exported: &Value) {
    let terms: BTreeMap<&str, &str> = include_str!("../data/dpv-2.3.tsv").lines().filter_map(|l| l.split_once('\t')).collect();
    let context = exported["@context"].as_object().expect("a context");
    let prefixes: Vec<&String> = context.keys().filter(|k| !k.contains(':')).collect();
    let known = |term: &str, is: &[&str]| {
        let (prefix, _) = term.split_once(':').unwrap_or_else(|| panic!("`{term}` has no prefix"));
        assert!(prefixes.iter().any(|p| *p == prefix) || prefix == "urn", "`{term}`: the context has no such prefix");
        let ours = matches!(prefix, "ev" | "urn");
        assert!(ours || terms.get(term).is_some_and(|t| is.contains(t)), "`{term}` is no {is:?} of the vocabulary");
    };
    let mut to_do = vec![&exported["@graph"]];
    let mut seen = 0;
    while let Some(value) = to_do.pop() {
        match value {
            Value::Array(items) => to_do.extend(items),
            Value::Object(fields) => {
                for (key, value) in fields {
                    match key.as_str() {
                        "@id" => {}
                        "@type" => {
                            let kinds = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                            kinds.iter().for_each(|kind| known(kind.as_str().expect("a term"), &["class"]));
                        }
                        key => {
                            known(key, &["property"]);
                            seen += 1;
                            let is_id = context.get(key).is_some_and(|c| c["@type"] == "@id");
                            if let Some(text) = value.as_str().filter(|text| is_id && !text.starts_with("http")) {
                                known(text, &["class", "instance"]);
                            }
                            to_do.push(value);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    assert!(seen > 40, "{seen} properties");
    // What ISO/IEC TS 27560 wants of a record, and the GDPR beside it.
    for record in exported["@graph"].as_array().unwrap().iter().filter(|r| r["@type"] == "dpv:ConsentRecord") {
        for key in [
            "dct:identifier",
            "dct:conformsTo",
            "dpv:hasDataSubject",
            "dpv:hasDataController",
            "dpv:hasDataProcessor",
            "dpv:hasJurisdiction",
            "dpv:hasApplicableLaw",
            "dpv:hasConsentControl",
            "dpv:hasRight",
            "dpv:hasNotice",
            "dpv:hasConsentStatus",
        ] {
            assert!(!record[key].is_null(), "{key} is missing");
        }
        for key in ["dpv:hasPurpose", "dpv:hasLegalBasis", "dpv:hasPersonalData", "dpv:hasRecipient"] {
            assert!(!record["dpv:hasProcess"][0][key].is_null(), "{key} is missing");
        }
    }
}

both!(the_store_knows_the_code_that_opened_a_page, |app| {
    use permesso::store::codes;
    let person = TestApp::it(1);
    app.people(std::slice::from_ref(&person)).await;
    app.send(LINK).await;
    let page = format!("{}/data", app.link(&person));
    open(app, &page, &person).await;
    let token = permesso::vault::token_hash(page.rsplit('/').nth(1).expect("a token"));
    let mut tx = app.engine.store.read().await.unwrap();
    let ours = &app.engine.controller;
    let now = app.clock.now();
    assert!(codes::opened(&mut tx, ours, -1, &token, now).await.unwrap().is_some());
    assert_eq!(codes::opened(&mut tx, ours, -1, &token, now + 1).await.unwrap(), None);
    assert_eq!(codes::opened(&mut tx, ours, -2, &token, now).await.unwrap(), None);
    assert_eq!(codes::opened(&mut tx, ours, -1, "another", now).await.unwrap(), None);
    tx.rollback().await.unwrap();
});
