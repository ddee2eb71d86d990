//! What somebody tries who means harm, or only means to look: previews and scanners, guessed and foreign links, injected markup,
//! replayed and inflated forms. A page of another origin is tried in `browser.rs`.

use std::time::Duration;

use permesso::web::lang::Lang;

use crate::app::{LINK, REPLY_NUMBER, TestApp, field, too_many};
use crate::both;
use crate::code::{CODE, de};

const PROMO: &[&str] = &["sms.promotions"];

/// Everything that an act of a person could change.
pub async fn everything(app: &TestApp) -> String {
    let tables = [
        "ledger",
        "evidence",
        "preferences",
        "suppressions",
        "conversations",
        "contacts",
        "codes",
        "messages",
        "attempts",
        "inbound_events",
        "outbox",
        "asked_marks",
    ];
    let mut all = String::new();
    for table in tables {
        all += &format!("{table}\n{}\n", app.dump(table).await);
    }
    all
}

/// As link previews, scanners and browsers that fetch ahead introduce themselves.
const AGENTS: [&str; 7] = [
    "WhatsApp/2.24.6.77 A",
    "TelegramBot (like TwitterBot)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    // iMessage
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
    // Outlook SafeLinks
    "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 SafeLinks",
    "Signal-Desktop/6.9.0 WhatsApp/2",
];

both!(whoever_only_fetches_a_link_leaves_no_trace, |app| {
    let numbers = [TestApp::it(1), TestApp::it(2), de(1)];
    app.people(&numbers).await;
    app.send(LINK).await;
    app.send(CODE).await;
    let [asked, granted, coded] = numbers.map(|n| app.link(&n));
    app.submit(&granted, "chosen", PROMO).await;
    app.submit(&coded, "chosen", PROMO).await;
    app.settle().await;
    app.advance(Duration::from_secs(90));
    app.reply(&TestApp::it(2), REPLY_NUMBER, "SI").await;
    let before = everything(app).await;
    for link in [&asked, &granted, &coded] {
        for agent in AGENTS {
            for (method, ahead) in
                [("GET", ""), ("HEAD", ""), ("GET", "prefetch"), ("GET", "prefetch;prerender"), ("OPTIONS", "")]
            {
                let url = format!("{link}?answer=none&grant=sms.promotions");
                let request = app.http.request(method.parse().unwrap(), url).header("user-agent", agent);
                let request =
                    if ahead.is_empty() { request } else { request.header("sec-purpose", ahead).header("purpose", "prefetch") };
                let status = request.send().await.unwrap().status().as_u16();
                assert_eq!(status, if method == "OPTIONS" { 405 } else { 200 }, "{method} {agent}");
            }
        }
        for lang in Lang::ALL.map(Lang::code) {
            assert_eq!(app.get(&format!("{link}/{lang}")).await.0, 200);
        }
        for method in ["PUT", "PATCH", "DELETE"] {
            let status = app.http.request(method.parse().unwrap(), link.as_str()).send().await.unwrap().status().as_u16();
            assert_eq!(status, 405, "{method}");
        }
    }
    app.settle().await;
    assert_eq!(everything(app).await, before);
});

both!(a_guessed_link_learns_nothing_and_soon_gets_no_answer, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.send(LINK).await;
    let link = app.link(&TestApp::it(1));
    let token = link.rsplit('/').next().unwrap().to_owned();
    let near = format!("{}{}", &token[..21], if token.ends_with('A') { 'B' } else { 'A' });
    let guesses = [
        "AAAAAAAAAAAAAAAAAAAAAA",
        &near,
        &token[..21],
        "x",
        "%3Cscript%3Ealert(1)%3C/script%3E",
        "..%2f..%2f",
        "%00",
        // No text at all, and part of a letter.
        "%FF",
        "%E2%82",
        &"A".repeat(2000),
    ];
    let form = "nonce=0&answer=none";
    let tried = async |guess: &str, post: bool| {
        let url = format!("{}/{guess}", app.base);
        let request = match post {
            true => app.http.post(url).header("content-type", "application/x-www-form-urlencoded").body(form),
            false => app.http.get(url),
        };
        let answer = request.header("sec-fetch-site", "same-origin").header("accept-language", "it").send().await.unwrap();
        let mut headers: Vec<String> = answer.headers().iter().map(|(k, v)| format!("{k}: {v:?}")).collect();
        headers.retain(|h| !h.starts_with("date"));
        (answer.status().as_u16(), headers, answer.text().await.unwrap())
    };
    // Status, headers and body are the same, whether it is well formed, nearly right or nonsense; and nothing of it is given back.
    let first = tried(&format!("p/{}", guesses[0]), false).await;
    assert_eq!(first.0, 404);
    for guess in &guesses[1..] {
        assert_eq!(tried(&format!("p/{guess}"), false).await, first, "{guess}");
    }
    for guess in guesses {
        assert_eq!(tried(&format!("p/{guess}"), true).await, first, "POST {guess}");
    }
    // Nor does any other page answer what is no text otherwise than what nobody has.
    for path in
        ["p/%FF/it", "p/%FF/data", "p/x/%FF", "join/%FF", "join/%FF/it", "notice/%FF", "erased/%FF", "%FF", "elsewhere/%FF"]
    {
        assert_eq!(tried(path, false).await, first, "{path}");
    }
    for guess in ["%FF", "AAAAAAAAAAAAAAAAAAAAAA"] {
        for post in [false, true] {
            too_many(async || tried(&format!("p/{guess}"), post).await.0).await;
        }
    }
    // Whoever has a link from the same address is not in the way of that.
    assert_eq!(app.get(&link).await.0, 200);
    assert_eq!(app.submit(&link, "none", &[]).await, 303);
});

both!(what_others_wrote_stays_text_on_every_page, |app| {
    let file = app.dir.path().join("config/permesso.toml");
    let text = std::fs::read_to_string(&file).expect("the settings").replace("brand = \"ACME\"", "brand = \"A<b>&'C\"");
    std::fs::write(&file, text).expect("written");
    app.reconfigure("").await;
    let number = TestApp::it(1);
    let row = TestApp::good(&number).replace("web shop", "\"\"\"><script>alert(1)</script>\"");
    assert_eq!(app.import(&row).await.rejected, 0);
    app.send(LINK).await;
    let link = app.link(&number);
    let clean = |page: &str| {
        assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("onerror"), "{page}");
    };
    let (_, page) = app.get(&link).await;
    clean(&page);
    assert!(page.contains("A&#60;b&#62;&#38;&#39;C") && page.contains("&#62;&#60;script&#62;alert(1)"), "{page}");
    let nonce = field(&page, "nonce");
    let evil = "\"><script>alert(1)</script><img src=x onerror=alert(1)>";
    for (name, value) in [("answer", evil), ("code", evil), ("grant", evil), ("nonce", evil), (evil, evil)] {
        let mut pairs = vec![("nonce", nonce.clone()), ("answer", "code".to_owned()), ("code", "1".to_owned())];
        pairs.retain(|(known, _)| *known != name);
        pairs.push((name, value.to_owned()));
        let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        let request = app.http.post(&link).header("sec-fetch-site", "same-origin");
        let answer = request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.unwrap();
        assert!(matches!(answer.status().as_u16(), 303 | 400 | 409), "{name}");
        clean(&answer.text().await.unwrap());
    }
    let escaped = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    for path in [
        format!("/p/{escaped}"),
        format!("/p/{escaped}/it"),
        format!("{}/{escaped}", link.replace(&app.base, "")),
        format!("/notice/{escaped}"),
        format!("/{escaped}"),
    ] {
        let (status, page) = app.get(&format!("{}{path}", app.base)).await;
        assert_eq!(status, 404, "{path}");
        clean(&page);
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger").await, 0);
});

both!(a_form_replayed_or_inflated_gives_nothing_more, |app| {
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let link = app.link(&number);
    let nonce = field(&app.get(&link).await.1, "nonce");
    // Fields that nobody offered, purposes that this page does not have, another person's, a state.
    let form: Vec<(&str, String)> = [
        ("nonce", nonce.as_str()),
        ("answer", "chosen"),
        ("grant", "sms.promotions"),
        ("grant", "sms.profiling"),
        ("grant", "email.promotions"),
        ("grant", "sms.everything"),
        ("grant", "*"),
        ("state", "granted"),
        ("contact", "2"),
        ("subject", "s"),
        ("token", "AAAAAAAAAAAAAAAAAAAAAA"),
        ("restricted", "0"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into();
    for _ in 0..3 {
        assert_eq!(app.post_form(&link, &form).await, 303);
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger").await, 1, "said three times, heard once");
    app.advance(Duration::from_secs(60));
    app.reply(&number, REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&number).await, PROMO);
    assert_eq!(app.post_form(&link, &form).await, 303);
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger").await, 2, "what is granted already is no news");

    // The old form once more after a no, and the old SI: without a fresh second act nothing comes back.
    app.submit(&link, "none", &[]).await;
    app.reply(&number, REPLY_NUMBER, "SI").await;
    assert_eq!(app.post_form(&link, &form).await, 303);
    assert!(app.granted(&number).await.is_empty());
    // A day later it is no form any more.
    app.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(app.post_form(&link, &form).await, 409);
    let mut long = form.clone();
    long.push(("note", "x".repeat(20_000)));
    assert_eq!(app.post_form(&link, &long).await, 413);
});

both!(no_page_is_kept_framed_or_passed_on, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.send(LINK).await;
    let link = app.link(&TestApp::it(1)).replace(&app.base, "");
    let pages = [
        link.as_str(),
        "/p/AAAAAAAAAAAAAAAAAAAAAA",
        "/",
        "/it",
        "/notice/it",
        "/notice",
        "/style.css",
        "/brand.css",
        "/logo",
        "/elsewhere",
    ];
    for path in pages {
        let answer = app.http.get(format!("{}{path}", app.base)).send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        assert_eq!(header("cache-control"), "no-store", "{path}");
        assert_eq!(header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(header("x-robots-tag"), "noindex, nofollow, noarchive", "{path}");
        let policy = header("content-security-policy");
        for part in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(answer.headers().get("set-cookie").is_none(), "{path}");
        let page = answer.text().await.unwrap();
        // Everything a page names is ours, or a way to write to us.
        let named = ["href=\"", "src=\""].into_iter().flat_map(|mark| page.split(mark).skip(1));
        for to in named.filter_map(|rest| rest.split('"').next()) {
            assert!(["/", "mailto:", "sms:"].iter().any(|begin| to.starts_with(begin)), "{path}: {to}");
        }
    }
});
