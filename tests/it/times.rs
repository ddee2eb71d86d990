//! When a person wants to be written to: chosen on the page, kept with proof, and obeyed by every later ask and reminder.

use std::time::Duration;

use permesso::domain::channel::{Channel, Permission, Purpose};
use permesso::engine::{expire, verify};

use crate::app::{LINK, REPLY_NUMBER, TestApp, field};
use crate::both;
use crate::run::ask;
use crate::shield::everything;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const PROMO: (&str, &str) = ("grant", "sms.promotions");

/// Submits the page with these fields, as a browser does.
pub async fn choose(app: &TestApp, number: &str, fields: &[(&str, &str)]) {
    let link = app.link(number);
    let nonce = field(&app.get(&link).await.1, "nonce");
    let mut form = vec![("nonce", nonce), ("answer", "chosen".to_owned())];
    form.extend(fields.iter().map(|(name, value)| (*name, (*value).to_owned())));
    assert_eq!(app.post_form(&link, &form).await, 303);
}

/// Another campaign, for something else: one ask a person in 24 months would hide whose times decide.
async fn asked_again(app: &TestApp, name: &str) {
    app.plan_as(LINK, |c| {
        c.name = name.into();
        c.family = name.into();
        c.cap_days = 0;
        c.asks_for = vec![Permission { channel: Channel::Sms, purpose: Purpose::ProductInfo }];
        c.deadline += chrono::TimeDelta::days(60);
    })
    .await;
    app.settle().await;
}

both!(whoever_allows_only_weekday_mornings_is_asked_only_then, |app| {
    // Tuesday, 1 December 2026, 10:45 in Rome.
    let (own, any) = (TestApp::it(1), TestApp::it(2));
    app.people(&[own.clone(), any.clone()]).await;
    app.send(LINK).await;
    let when: Vec<(&str, &str)> = [PROMO, ("when", "1"), ("part", "morning")]
        .into_iter()
        .chain(["Mo", "Tu", "We", "Th", "Fr"].map(|d| ("day", d)))
        .collect();
    // What nobody offered is nothing; what is sent twice is said once.
    let inflated: Vec<(&str, &str)> =
        when.iter().copied().chain([("part", "midnight"), ("day", "Xx"), ("often", "hour")]).collect();
    choose(app, &own, &inflated).await;
    choose(app, &own, &when).await;
    choose(app, &any, &[PROMO, ("when", "1"), ("often", "any")]).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'times'").await, 1);
    app.advance(Duration::from_secs(60));
    for number in [&own, &any] {
        app.reply(number, REPLY_NUMBER, "SI").await;
    }
    let (_, page) = app.get(&app.link(&own)).await;
    assert!(
        page.contains("name=\"part\" value=\"morning\" checked") && page.contains("name=\"day\" value=\"Fr\" checked"),
        "{page}"
    );
    assert!(!page.contains("value=\"evening\" checked") && !page.contains("value=\"Sa\" checked"), "{page}");
    assert!(app.get(&app.link(&any)).await.1.contains("name=\"often\" value=\"any\" checked"));

    // Friday afternoon: whoever set no times is asked, the other one on Monday morning and no sooner.
    app.advance(DAY * 3 + HOUR * 4);
    asked_again(app, "again").await;
    assert_eq!((app.asks(&own), app.asks(&any)), (1, 2));
    let decided = app.decisions(&own).await.concat();
    assert!(decided.contains("OWN_TIMES") && decided.contains("Mo,Tu,We,Th,Fr 08:00-12:00"), "{decided}");
    for _ in 0..16 {
        app.advance(HOUR * 4);
        app.settle().await;
    }
    // Monday, 6:46.
    assert_eq!(app.asks(&own), 1);
    app.advance(HOUR * 2 + Duration::from_secs(20 * 60));
    app.settle().await;
    assert_eq!(app.asks(&own), 2, "Monday, 9:06: the morning, and past the country's quiet hours");

    // A form without the question leaves the answer; one with it and nothing chosen takes it back.
    choose(app, &own, &[PROMO]).await;
    assert!(app.get(&app.link(&own)).await.1.contains("value=\"morning\" checked"));
    let out = app.dir.path().join("consents.csv");
    let (code, _, err) = ask(app.dir.path(), &["consents", "export", "--out", out.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{err}");
    let exported = std::fs::read_to_string(&out).unwrap();
    let mut rows = csv::Reader::from_reader(exported.as_bytes());
    let at = rows.headers().unwrap().iter().position(|h| h == "hours").expect("a column");
    let hours: Vec<String> = rows.records().map(|r| r.unwrap()[at].to_owned()).collect();
    assert_eq!(hours.iter().filter(|h| *h == "Mo,Tu,We,Th,Fr 08:00-12:00").count(), 1, "{exported}");
    choose(app, &own, &[PROMO, ("when", "1"), ("often", "any")]).await;
    assert!(!app.get(&app.link(&own)).await.1.contains("value=\"morning\" checked"));
    let history = app.history(&own).await.join("\n");
    assert!(
        history.contains("wants to be written to Mo,Tu,We,Th,Fr 08:00-12:00") && history.contains("at any time"),
        "{history}"
    );
    assert_eq!(verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
    // Whoever unticks all that they allow has said no, whatever the times.
    choose(app, &own, &[("when", "1"), ("part", "morning")]).await;
    assert!(app.granted(&own).await.is_empty() && app.story(&own).await.suppressions.len() == 1);
});

both!(nobody_is_written_to_more_often_than_they_chose, |app| {
    let (monthly, sundays) = (TestApp::it(1), TestApp::it(2));
    app.people(&[monthly.clone(), sundays.clone()]).await;
    app.send(LINK).await;
    choose(app, &monthly, &[PROMO, ("when", "1"), ("often", "month")]).await;
    choose(app, &sundays, &[PROMO, ("when", "1"), ("day", "Su")]).await;
    // When, and not what: no yes and no no. The yes that waits goes on waiting, and they are asked for a choice.
    let (before, link) = (everything(app).await, app.link(&monthly));
    let nonce = field(&app.get(&link).await.1, "nonce");
    let body = format!("nonce={nonce}&answer=chosen&when=1&part=evening&often=any");
    let request = app.http.post(&link).header("sec-fetch-site", "same-origin");
    let answer = request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 422);
    let page = answer.text().await.unwrap();
    assert!(page.contains("role=\"alert\"") && page.contains("banner pending"), "{page}");
    assert!(page.contains("value=\"evening\" checked") && !page.contains("<details><summary>"), "as they ticked it: {page}");
    assert_eq!(everything(app).await, before);
    app.advance(DAY * 8);
    expire::expire(&app.engine).await.unwrap();
    // A second step that never came is no yes; the times stand all the same.
    asked_again(app, "again").await;
    assert_eq!((app.asks(&monthly), app.asks(&sundays)), (1, 1));
    app.advance(DAY * 21);
    app.settle().await;
    assert_eq!(app.asks(&monthly), 1, "29 days after the first");
    app.advance(DAY);
    app.settle().await;
    assert_eq!(app.asks(&monthly), 2);
    // In Italy no ask leaves on a Sunday, and this person allows no other day.
    assert_eq!(app.asks(&sundays), 1);
    assert!(app.decisions(&sundays).await.concat().contains("skip OWN_TIMES"));
});
