//! The privacy notice: published once under each version, named by every ask and every consent, and without it nobody is asked.

use std::time::Duration;

use permesso::domain::ledger::Body;
use permesso::engine::{notice, report};
use permesso::store::{campaigns, ledger, notices};

use crate::app::{LINK, REPLY_NUMBER, TestApp};
use crate::both;
use crate::run::ask;

const PROMO: &[&str] = &["sms.promotions"];

/// permesso.toml with something else in it.
pub fn edit(app: &TestApp, from: &str, to: &str) {
    let file = app.dir.path().join("config/permesso.toml");
    let text = std::fs::read_to_string(&file).expect("the settings");
    assert!(text.contains(from), "{from}");
    std::fs::write(&file, text.replace(from, to)).expect("written");
}

async fn refused(app: &TestApp, args: &[&str], expected: &str) {
    let (code, out, err) = ask(app.dir.path(), args).await;
    assert!(code == 1 && err.contains(expected) && err.contains("remedy: "), "{args:?}: {out}{err}");
}

async fn said(app: &TestApp, args: &[&str]) -> String {
    let (code, out, err) = ask(app.dir.path(), args).await;
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    out
}

/// Version and hash of the notice in each ledger entry, oldest first.
async fn named(app: &TestApp) -> Vec<(String, String)> {
    let mut tx = app.engine.store.read().await.expect("a transaction");
    let rows = ledger::entries_after(&mut tx, &app.engine.controller, 0, 100).await.expect("entries");
    tx.rollback().await.expect("rolled back");
    let body = |row: ledger::Row| serde_json::from_str::<Body>(&row.7.expect("evidence")).expect("a body");
    rows.into_iter().map(body).map(|b| (b.notice_version.expect("a version"), b.notice_hash.expect("a hash"))).collect()
}

pub async fn hash(app: &TestApp, version: &str, locale: &str) -> String {
    let mut tx = app.engine.store.read().await.expect("a transaction");
    let hash = notices::hash(&mut tx, &app.engine.controller, version, locale).await.expect("read");
    tx.rollback().await.expect("rolled back");
    hash.expect("published")
}

both!(without_its_notice_a_campaign_is_blocked_and_what_was_published_stays, |app| {
    app.people(&[TestApp::it(1)]).await;
    // Another version than the one published: neither check nor plan lets it pass, nor does a start of what was planned before.
    let campaign = app.engine.config.campaign(LINK).unwrap();
    let counts = permesso::engine::plan::preview(&app.engine, &campaign, |_| {}).await.unwrap();
    let before = permesso::engine::plan::save(&app.engine, &campaign, &counts).await.unwrap();
    edit(app, "notice_version = \"2026-11\"", "notice_version = \"2026-12\"");
    app.reconfigure("").await;
    let missing = "permesso.toml: controller.notice_version: notice 2026-12 is not published";
    for args in [&["campaign", "check", LINK][..], &["campaign", "plan", LINK], &["campaign", "start", LINK, "--plan", &before]] {
        refused(app, args, missing).await;
    }
    assert!(permesso::engine::plan::save(&app.engine, &campaign, &counts).await.is_err());
    assert!(said(app, &["notice", "show", "--locale", "pl"]).await.contains("Administratorem danych jest ACME S.p.A."));
    for version in [None, Some("2026-11")] {
        let args = ["notice", "show"].into_iter().chain(version).chain(["--locale", "xx"]).collect::<Vec<_>>();
        refused(app, &args, "in `xx`; remedy: there are de, en, es, fr, it, pl; or ").await;
    }

    // The one that ships says who, for what, by whom, where, and it says that nobody of the company has written it; what it promises to
    // keep longer than usual has its reason.
    edit(app, "[retention]\n", "[retention]\njustification = \"beds last ten years\"\n");
    edit(app, "promotions = \"24 months\"", "promotions = \"36 months\"");
    app.reconfigure(crate::crm::WEBHOOK).await;
    assert!(said(app, &["config", "check"]).await.contains("retention, why longer than usual: beds last ten years"));
    let out = said(app, &["notice", "publish"]).await;
    assert!(
        out.contains("notice 2026-12 is published: de, en, es, fr, it, pl") && out.contains("warning: the notice that ships"),
        "{out}"
    );
    for warning in ["warning: webhook crm names no processor", "retention.justification says why: beds last ten years"] {
        assert!(out.contains(warning), "{warning}: {out}");
    }
    let (status, page) = app.get(&format!("{}/notice/it", app.base)).await;
    assert_eq!(status, 200);
    for what in [
        "ACME S.p.A., Via Esempio 1",
        "Promozioni e offerte",
        "<li>Mock gateway</li>",
        "Milano, Italia (UE)",
        "al massimo 36 mesi (12 per",
        "reclamo",
        "STOP con un SMS al numero +393001234567. Il tuo operatore può addebitare",
        "Che te lo chiediamo si fonda su altro",
        "senza il tuo numero, per altri 5 anni",
    ] {
        assert!(page.contains(what), "{what}: {page}");
    }
    said(app, &["campaign", "check", LINK]).await;
    assert!(said(app, &["notice", "publish"]).await.contains("was published already"));

    // Another text under a version that was published: refused, and people go on reading what was published.
    let own = app.dir.path().join("templates/messages/notice.it.txt");
    std::fs::create_dir_all(own.parent().unwrap()).unwrap();
    std::fs::write(&own, "# Chi siamo\n\n<b>{controller}</b>, {contact}, {storage}.\n").unwrap();
    app.reconfigure("").await;
    refused(app, &["notice", "publish"], "notice 2026-12 was published with another text (it)").await;
    refused(app, &["campaign", "plan", LINK], "was published with another text (it)").await;
    assert_eq!(app.get(&format!("{}/notice/it", app.base)).await.1, page);
    edit(app, "notice_version = \"2026-12\"", "notice_version = \"2027-01\"");
    app.reconfigure("").await;
    said(app, &["notice", "publish"]).await;
    let (_, page) = app.get(&format!("{}/notice/it", app.base)).await;
    assert!(page.contains("<h2>Chi siamo</h2>") && page.contains("&#60;b&#62;ACME S.p.A."), "{page}");
    assert!(said(app, &["notice", "show", "2026-12", "--locale", "it"]).await.contains("# Chi tratta i tuoi dati"));
    let list = said(app, &["notice", "list"]).await;
    assert_eq!((list.lines().count(), list.matches("current").count()), (18, 6), "{list}");
    for sql in ["UPDATE notices SET body = 'x'", "DELETE FROM notices"] {
        let error = app.execute(sql).await.unwrap_err().to_string();
        assert!(error.contains("a published notice is immutable"), "{sql}: {error}");
    }

    // What the notice has to say and nobody has told: named with its line.
    std::fs::write(&own, "{controller}\n{name}\n").unwrap();
    refused(app, &["notice", "publish"], "notice.it.txt:2: the placeholder {name} does not exist").await;
    std::fs::remove_file(&own).unwrap();
    edit(app, "storage = \"Milano, Italia (UE)\"\n", "");
    refused(app, &["notice", "publish"], "controller.storage: is missing").await;
});

both!(each_ask_and_each_consent_names_the_notice_that_was_shown, |app| {
    let numbers = [1, 2, 3, 4].map(TestApp::it);
    app.people(&numbers).await;
    let id = app.send(LINK).await;
    // The ask: by its campaign as it was frozen.
    let row = app.campaign(id).await;
    let mut tx = app.engine.store.read().await.unwrap();
    let frozen = campaigns::revision(&mut tx, row.revision_id).await.unwrap().expect("a revision");
    tx.rollback().await.unwrap();
    let frozen: permesso::domain::campaign::Campaign = serde_json::from_str(&frozen).unwrap();
    let shown = frozen.notice.expect("a notice");
    assert_eq!(shown.version, "2026-11");
    for locale in ["it", "pl", "en", "de", "fr", "es"] {
        assert_eq!(shown.hashes[locale], hash(app, "2026-11", locale).await);
    }

    // Chosen on the Polish page, confirmed by a reply to the Italian message.
    let link = app.link(&numbers[0]);
    let (_, page) = app.get(&format!("{link}/pl")).await;
    assert!(page.contains("href=\"/notice/pl\"") && page.contains("2026-11"), "{page}");
    app.submit(&format!("{link}/pl"), "chosen", PROMO).await;
    app.advance(Duration::from_secs(60));
    app.reply(&numbers[0], REPLY_NUMBER, "SI").await;
    let (polish, italian) = (hash(app, "2026-11", "pl").await, hash(app, "2026-11", "it").await);
    assert_ne!(polish, italian);
    let old = |hash: &str| ("2026-11".to_owned(), hash.to_owned());
    // The reply shows no notice: the consent is to the one beside the choice.
    assert_eq!(named(app).await, [old(&polish), old(&polish)]);

    // The notice is raised while the campaign goes on: the page shows the new one, the message already sent had the old one.
    edit(app, "notice_version = \"2026-11\"", "notice_version = \"2026-12\"");
    edit(app, "Milano, Italia (UE)", "Torino, Italia (UE)");
    app.reconfigure("").await;
    // Until it is published the one before is shown and consented to, and the responsible hear of it.
    let link = app.link(&numbers[3]);
    let (_, page) = app.get(&link).await;
    assert!(page.contains("2026-11") && !page.contains("2026-12"), "{page}");
    let (_, text) = app.get(&format!("{}/notice/it", app.base)).await;
    assert!(text.contains("2026-11") && text.contains("Milano"), "{text}");
    let warnings = report::overview(&app.engine).await.unwrap().warnings.concat();
    assert!(warnings.contains("notice 2026-12 is not published; remedy: "), "{warnings}");
    assert_eq!(app.submit(&link, "chosen", PROMO).await, 303);
    assert_eq!(named(app).await[2..], [old(&italian)]);
    notice::publish(&app.engine).await.unwrap();
    let nonce = crate::app::field(&page, "nonce");
    assert_eq!(app.post(&link, &nonce, "chosen", &["sms.product_info"]).await, 409, "a yes beside the old one comes too late");
    // Nor a page whose words another build said otherwise.
    let token = link.rsplit('/').next().unwrap();
    let nonce = app.engine.vault.nonce(token, ("2026-12", "other words"), app.engine.now().div_euclid(86_400_000_000));
    assert_eq!(app.post(&link, &nonce, "chosen", &["sms.product_info"]).await, 409);
    assert_eq!(app.post(&link, &nonce, "none", &[]).await, 303, "a no does not");
    assert!(report::overview(&app.engine).await.unwrap().warnings.is_empty());
    app.submit(&app.link(&numbers[1]), "chosen", PROMO).await;
    app.reply(&numbers[1], REPLY_NUMBER, "STOP").await;
    let new = hash(app, "2026-12", "it").await;
    assert_ne!(new, italian);
    let raised = ("2026-12".to_owned(), new);
    assert_eq!(named(app).await[3..], [raised.clone(), raised.clone(), old(&italian)]);
    app.submit(&app.link(&numbers[2]), "chosen", PROMO).await;
    app.advance(Duration::from_secs(60));
    app.reply(&numbers[2], REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&numbers[2]).await.len(), 1);
    assert_eq!(named(app).await[6..], [raised.clone(), raised], "the ask had the old one, and the page the new one");
    // Nobody can consent beside a notice that is not published in their language; what they untick is withdrawn all the same.
    edit(app, "notice_version = \"2026-12\"", "notice_version = \"2027-01\"");
    app.reconfigure("").await;
    let mut tx = app.engine.store.write().await.unwrap();
    let polish = [("pl", "2027".to_owned(), "nota")];
    permesso::store::notices::publish(&mut tx, &app.engine.controller, "2027-01", &polish, app.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(app.submit(&app.link(&numbers[2]), "chosen", &["sms.product_info"]).await, 503);
    assert!(app.granted(&numbers[2]).await.is_empty());
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap(), (9, vec![]));
});
