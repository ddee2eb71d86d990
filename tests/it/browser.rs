//! The people's pages and the desk's in a real browser (`chromium.rs`): one process for all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fantoccini::Locator;
use fantoccini::key::Key;
use permesso::engine::{expire, requests, retention, rights, trial};
use permesso::gateway::mock::faults::Faults;
use permesso::store::keep::{self, Link};
use permesso::vault;
use permesso::web::lang::{Lang, Texts};

use crate::app::{Kind, LINK, REPLY_NUMBER, TestApp, too_many};
use crate::chromium::{Browser, Hand, Rules};
use crate::code::{CODE, codes, de, enter, newest};
use crate::shield::everything;

#[tokio::test]
async fn the_peoples_side_in_a_real_browser() {
    let browser = Browser::open().await;
    in_two_languages_a_phone_is_wide_enough_and_the_code_needs_no_mouse(&browser).await;
    a_person_ticks_confirms_and_takes_it_back(&browser).await;
    saying_no_needs_no_mouse(&browser).await;
    a_page_of_somebody_else_and_a_page_that_only_loads_can_do_nothing(&browser).await;
    each_state_in_six_languages_breaks_no_rule_of_axe(&browser).await;
    browser.close().await;
}

/// Looks at a page in every language: its status, its weight, every rule of axe, and that neither answer stands out; in Italian and Polish by
/// night as well, with pictures.
struct Tour<'a> {
    browser: &'a Browser,
    app: &'a TestApp,
    /// Bytes of what every page loads beside itself.
    assets: usize,
    /// Told together at the end.
    wrong: Vec<String>,
    /// Pairs of answers seen.
    answers: usize,
    undecided: BTreeSet<String>,
    weights: BTreeMap<String, usize>,
}

impl<'a> Tour<'a> {
    async fn of(browser: &'a Browser, app: &'a TestApp) -> Tour<'a> {
        let mut assets = 0;
        for asset in ["/style.css", "/brand.css", "/logo"] {
            let answer = app.http.get(format!("{}{asset}", app.base)).send().await.expect("an answer");
            assert_eq!(answer.status().as_u16(), 200, "{asset}");
            assets += answer.bytes().await.expect("bytes").len();
        }
        Tour { browser, app, assets, wrong: Vec::new(), answers: 0, undecided: BTreeSet::new(), weights: BTreeMap::new() }
    }

    /// `shown`: what only this state has.
    async fn see(&mut self, name: &str, page: &str, status: u16, shown: &str) {
        for lang in Lang::ALL.map(Lang::code) {
            let address = format!("{page}/{lang}");
            match status {
                429 => too_many(async || self.browser.open_page(&address).await).await,
                _ => assert_eq!(self.browser.open_page(&address).await, status, "{name} {lang}"),
            }
            self.look(name, lang, shown).await;
        }
    }

    /// As [`Tour::see`], of a state that differs in what it says alone from one that was seen: by day, on a phone, and without a picture.
    async fn read(&mut self, name: &str, page: &str, status: u16, says: fn(&Texts) -> &str) {
        self.browser.screen(320, false).await;
        for lang in Lang::ALL {
            let (lang, text) = (lang.code(), says(lang.t()));
            let address = format!("{page}/{lang}");
            let (got, html) = self.app.get(&address).await;
            // Between two things that the page fills in or escapes.
            let part = text.split(['{', '}', '\'', '"', '&', '<', '>']).max_by_key(|part| part.len()).expect("a part");
            assert!(got == status && html.contains(part), "{name} {lang}: {got} {html}");
            self.browser.client.goto(&address).await.expect("the page");
            let page = format!("{name} {lang}");
            self.weigh(&page).await;
            self.shows(&page, lang, "main p").await;
            self.fits(&page).await;
            self.axe(&page, Rules::All).await;
        }
    }

    /// The page that is open.
    async fn look(&mut self, name: &str, lang: &str, shown: &str) {
        let nights: &[bool] = if ["it", "pl"].contains(&lang) { &[false, true] } else { &[false] };
        let page = format!("{name} {lang}");
        self.weigh(&page).await;
        for dark in nights {
            self.browser.screen(320, *dark).await;
            self.shows(&page, lang, shown).await;
            self.fits(&page).await;
            self.axe(&page, if *dark { Rules::Colours } else { Rules::All }).await;
            if nights.len() > 1 {
                self.browser.long_picture(&format!("state-{name}-{lang}{}", if *dark { "-dark" } else { "" })).await;
            }
        }
        self.browser.screen(1280, false).await;
        if nights.len() > 1 {
            self.shows(&page, lang, shown).await;
            self.browser.long_picture(&format!("state-{name}-{lang}-wide")).await;
        }
    }

    /// The page that is open, with all that it loads.
    async fn weigh(&mut self, page: &str) {
        let bytes = self.browser.weight().await + self.assets;
        if bytes >= 30_000 {
            self.wrong.push(format!("{page}: {bytes} bytes in all"));
        }
        self.weights.insert(page.to_owned(), bytes);
    }

    /// A page of the desk's, which speaks English: by day and by night, and as narrow as a phone.
    async fn desk(&mut self, name: &str, path: &str, shown: &str) {
        self.browser.screen(1280, false).await;
        self.browser.client.goto(&format!("{}{path}", self.app.operator)).await.expect("the page");
        // One that is counted for longer than a look waits comes by itself.
        self.browser.client.wait().for_element(Locator::Css(shown)).await.expect(name);
        self.shows(name, "en", shown).await;
        self.axe(name, Rules::All).await;
        self.browser.long_picture(&format!("{name}-wide")).await;
        self.browser.screen(320, true).await;
        self.fits(name).await;
        self.axe(name, Rules::Colours).await;
        self.browser.long_picture(&format!("{name}-dark")).await;
    }

    /// That it is the page we mean, and that "yes to chosen" and "no to everything" are of one size and one weight.
    async fn shows(&mut self, page: &str, lang: &str, shown: &str) {
        let (speaks, shows, answers) = self.browser.shows(shown).await;
        if (speaks.as_str(), shows) != (lang, true) {
            self.wrong.push(format!("{page}: speaks {speaks}, and has {shown}: {shows}"));
        }
        let unlike = answers.iter().filter(|[yes, no]| yes != no);
        self.wrong.extend(unlike.map(|[yes, no]| format!("{page}: one answer stands out: {yes:?} {no:?}")));
        self.answers += answers.len();
    }

    async fn fits(&mut self, page: &str) {
        let over = self.browser.overflow(320).await;
        if over > 0.0 {
            self.wrong.push(format!("{page}: {over} px too wide for 320"));
        }
    }

    async fn axe(&mut self, page: &str, rules: Rules) {
        let (wrong, undecided) = self.browser.axe(rules).await;
        self.wrong.extend(wrong.iter().map(|what| format!("{page}, {rules:?}: {what}")));
        let state = page.split(' ').next().unwrap_or_default();
        self.undecided.extend(undecided.iter().map(|what| format!("{state}: {what}")));
    }
}

async fn each_state_in_six_languages_breaks_no_rule_of_axe(browser: &Browser) {
    let mut app = TestApp::new(Kind::Sqlite).await;
    let config = app.dir.path().join("config");
    let settings = std::fs::read_to_string(config.join("permesso.toml")).expect("the settings");
    let svg = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 10 10'><script>document.title='x'</script><circle cx='5' cy='5' r='5' fill='#1f4e79'/></svg>";
    std::fs::write(config.join("logo.svg"), svg).expect("written");
    std::fs::write(config.join("permesso.toml"), settings.replace("# logo = ", "logo = ")).expect("written");
    crate::intake::forms(&mut app).await;
    while_the_notice_is_not_published(browser, &mut app).await;
    let numbers: Vec<String> = (1..=7).map(TestApp::it).chain((1..=3).map(de)).collect();
    app.people(&numbers).await;
    app.people(&Lang::ALL.map(own)).await;
    app.people(&said()).await;
    let allows = TestApp::it(13);
    app.people(std::slice::from_ref(&allows)).await;
    app.send(LINK).await;
    app.send(CODE).await;
    crate::page::profiled(&mut app, &[&allows]).await;
    let links: Vec<String> = numbers.iter().map(|n| app.link(n)).collect();
    let [fresh, kept, refused, stopped, wrong, lapsed, limited, coded, blocked, _] = &links[..] else { unreachable!() };
    let promo: &[&str] = &["sms.promotions"];
    assert_eq!(app.submit(limited, "chosen", promo).await, 303);
    crate::page::restricts(&app, &numbers[6]).await;
    for link in [lapsed, coded] {
        assert_eq!(app.submit(link, "chosen", promo).await, 303);
    }
    // Of two, one is taken back below; the last one taken back is a no.
    assert_eq!(app.submit(kept, "chosen", &["sms.promotions", "sms.product_info"]).await, 303);
    app.submit(refused, "none", &[]).await;
    app.submit(wrong, "wrong_number", &[]).await;
    app.advance(Duration::from_secs(60));
    app.reply(&numbers[1], REPLY_NUMBER, "SI").await;
    app.reply(&numbers[3], REPLY_NUMBER, "STOP").await;
    app.reply(&numbers[8], REPLY_NUMBER, "STOP").await;
    app.settle().await;
    app.advance(Duration::from_secs(300));
    app.submit(blocked, "chosen", promo).await;
    app.settle().await;

    let mut tour = Tour::of(browser, &app).await;
    let tests = app.base.clone();
    tour.see("fresh", fresh, 200, "fieldset").await;
    tour.see("pending", lapsed, 200, ".banner.pending a.number").await;
    tour.see("code", coded, 200, "#code").await;
    tour.see("blocked", blocked, 200, ".blocked").await;
    tour.see("confirmed", kept, 200, ".banner.confirmed").await;
    tour.see("refused", refused, 200, ".banner.refused").await;
    tour.see("stopped", stopped, 200, ".banner.stopped").await;
    tour.see("wrong-number", wrong, 410, ".banner.wrong_number").await;
    tour.see("restricted", limited, 200, ".banner.restricted").await;
    tour.see("elsewhere", &app.link(&allows), 200, ".banner.confirmed ~ form .allowed button").await;
    tour.see("unknown", &format!("{tests}/p/AAAAAAAAAAAAAAAAAAAAAA"), 404, "h1").await;
    tour.see("home", &tests, 200, "main ul").await;
    tour.see("notice", &format!("{tests}/notice"), 200, "h1").await;

    tour.see("data", &format!("{fresh}/data"), 200, "button[value=object]").await;
    tour.see("data-objected", &format!("{stopped}/data"), 200, "form ~ p[role=status]").await;
    tour.see("data-closed", &format!("{wrong}/data"), 200, ".banner.stopped").await;
    tour.see("join-unknown", &format!("{tests}/join/nobody"), 404, "h1").await;

    what_differs_in_words_alone(&mut tour).await;
    each_step_of_a_form(&mut tour).await;
    ones_own_data_until_they_are_erased(&mut tour).await;
    the_desk(&mut tour).await;

    crate::code::enter(&app, coded, "000000").await;
    tour.see("code-wrong", coded, 200, "#code[aria-invalid=true]").await;
    app.advance(Duration::from_secs(660));
    tour.see("code-expired", coded, 200, ".answers button[value=another]").await;
    tour.read("data-expired", &format!("{}/data", app.link(&said()[0])), 200, |t| &t.code_expired).await;
    app.advance(Duration::from_secs(7200));
    tour.see("answered", kept, 200, ".banner.answered").await;
    // When, and not what: neither a yes nor a no.
    for lang in Lang::ALL.map(Lang::code) {
        let hand = Hand { browser, keys: false };
        browser.client.goto(&format!("{fresh}/{lang}")).await.expect("the page");
        browser.client.execute("document.querySelector('.when').open = true", Vec::new()).await.expect("unfolded");
        hand.tick("input[value=evening]").await;
        hand.press("chosen", ".banner.unchosen").await;
        tour.look("unchosen", lang, ".banner.unchosen").await;
    }

    // A form that was open for days, one that is not ours, one whose link expired meanwhile.
    let form = format!("{tests}/join/newsletter");
    for lang in Lang::ALL.map(Lang::code) {
        for (name, page, days, value, answer) in [
            ("stale", fresh, 2, "chosen", ".banner.unchosen"),
            ("bad", fresh, 0, "maybe", "main h1 + p + p .again"),
            ("join-stale", &form, 2, "chosen", "main h1 + p + p .again"),
            ("join-bad", &form, 0, "maybe", "main h1 + p + p .again"),
        ] {
            browser.client.goto(&format!("{page}/{lang}")).await.expect("the page");
            app.advance(Duration::from_secs(86_400 * days));
            let set = format!(
                "document.querySelector('input[name=grant]').checked = true; document.querySelector('button[value=chosen]').value = '{value}'"
            );
            browser.client.execute(&set, Vec::new()).await.expect("set");
            let button = browser.client.find(Locator::Css(&format!("button[value={value}]"))).await.expect("the button");
            button.click().await.expect("submitted");
            browser.client.wait().for_element(Locator::Css(answer)).await.expect("what to do");
            tour.look(name, lang, answer).await;
        }
    }
    expire::expire(&app.engine).await.expect("expired");
    tour.see("lapsed", lapsed, 200, ".banner.lapsed").await;
    app.advance(Duration::from_secs(86_400 * 31));
    tour.see("expired", fresh, 410, "button[value=none]").await;
    tour.see("expired-allows", kept, 410, "button[name=withdraw]").await;
    let body = [("withdraw", "sms.promotions".to_owned())];
    assert_eq!(app.post_form(kept, &body).await, 303);
    tour.see("taken-back", kept, 410, ".banner.taken_back").await;

    tour.see("too-many", &format!("{tests}/p/AAAAAAAAAAAAAAAAAAAAAA"), 429, "h1").await;
    app.gateway.idle().await;
    app.engine.store.close().await;
    tour.see("away", fresh, 503, "h1").await;
    tour.see("join-away", &form, 503, "h1").await;

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let list = |lines: Vec<String>| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    std::fs::write(folder.join("axe-undecided.txt"), list(tour.undecided.into_iter().collect())).expect("written");
    let weights = tour.weights.iter().map(|(page, bytes)| format!("{bytes} {page}")).collect();
    std::fs::write(folder.join("page-weights.txt"), list(weights)).expect("written");
    assert!(tour.wrong.is_empty() && tour.answers > 100, "{} pairs of answers seen; {:#?}", tour.answers, tour.wrong);
    app.end().await;
}

/// A page that no campaign sent, on which nobody can say yes for the moment.
async fn while_the_notice_is_not_published(browser: &Browser, app: &mut TestApp) {
    let number = TestApp::it(93);
    app.people(std::slice::from_ref(&number)).await;
    let handed = permesso::engine::hand::link(&app.engine, &TestApp::number(&number), "ann", None).await.expect("a link").address;
    assert_eq!(app.submit(&handed, "chosen", &["sms.promotions"]).await, 303);
    app.settle().await;
    assert_eq!(enter(app, &handed, &newest(app, &number)).await, 303);
    crate::notices::edit(app, "notice_version = \"2026-11\"", "notice_version = \"2026-12\"");
    app.reconfigure("").await;
    let mut tour = Tour::of(browser, app).await;
    tour.see("unready", &handed, 200, ".allowed button[name=withdraw]").await;
    assert!(tour.wrong.is_empty(), "{:#?}", tour.wrong);
    crate::notices::edit(app, "notice_version = \"2026-12\"", "notice_version = \"2026-11\"");
    app.reconfigure("").await;
}

async fn in_two_languages_a_phone_is_wide_enough_and_the_code_needs_no_mouse(browser: &Browser) {
    let mut app = TestApp::new(Kind::Sqlite).await;
    let languages = ["it", "pl"];
    let numbers: Vec<String> = (1..=2).map(de).collect();
    app.people(&numbers).await;
    app.send(CODE).await;
    for (number, lang) in numbers.iter().zip(languages) {
        let link = format!("{}/{lang}", app.link(number));
        let look = async |name: &str| {
            for (width, dark) in [(320, false), (320, true), (1280, false), (1280, true)] {
                browser.screen(width, dark).await;
                let over = browser.overflow(width).await;
                assert!(over <= 0.0, "{lang} {name}: {over} px too wide for {width}");
                let scheme = if dark { "dark" } else { "light" };
                browser.long_picture(&format!("{name}-{lang}-{width}-{scheme}")).await;
            }
            browser.screen(320, false).await;
        };
        browser.client.goto(&link).await.expect("the page");
        let html = browser.client.find(Locator::Css("html")).await.expect("html");
        assert_eq!(html.attr("lang").await.expect("read").as_deref(), Some(lang));
        let offered = browser.client.find_all(Locator::Css("header nav a")).await.expect("links");
        assert_eq!(offered.len(), Lang::ALL.len(), "every language is offered");
        look("choose").await;
        browser.tab_to("input[type=checkbox][value='sms.promotions']").await.send_keys(" ").await.expect("ticked");
        browser.tab_to("button[value=chosen]").await.send_keys(&String::from(char::from(Key::Enter))).await.expect("submitted");
        browser.banner("pending").await;
        app.deliver().await;
        app.gateway.idle().await;
        look("code").await;

        let code = codes(&app, number).pop().expect("a code");
        let enter = async |typed: &str| {
            let field = browser.tab_to("#code").await;
            field.send_keys(&format!("{typed}{}", char::from(Key::Enter))).await.expect("typed");
        };
        // What is no code does not leave the browser; a wrong one is counted; the right one may be grouped as people do.
        enter("12").await;
        assert_eq!(app.count("SELECT COALESCE(SUM(CAST(wrong AS BIGINT)), 0) FROM codes WHERE ended_at IS NULL").await, 0);
        browser.client.find(Locator::Css("#code")).await.expect("the field").clear().await.expect("cleared");
        enter(if code == "000000" { "111111" } else { "000000" }).await;
        browser.client.wait().for_element(Locator::Css("#code[aria-invalid=true]")).await.expect("the wrong code is named");
        look("wrong").await;
        enter(&format!("{} {}", &code[..3], &code[3..])).await;
        browser.banner("confirmed").await;
        look("granted").await;
        for (name, path) in [("notice", format!("/notice/{lang}")), ("gone", format!("/p/AAAAAAAAAAAAAAAAAAAAAA/{lang}"))] {
            browser.client.goto(&format!("{}{path}", app.base)).await.expect("the page");
            look(name).await;
        }
    }
    app.end().await;
}

/// The people of [`what_differs_in_words_alone`].
fn said() -> [String; 8] {
    let [waits, changed, unticks, tried] = [8, 9, 10, 11].map(TestApp::it);
    let [dead, unsent, kept, late] = [4, 5, 6, 7].map(de);
    [late, tried, waits, changed, unticks, dead, unsent, kept]
}

/// Codes of which nothing will come, a yes that an operator reads something before, boxes unticked, a number given up, the page behind a test
/// message, and the one behind a link that a restored copy does not have.
async fn what_differs_in_words_alone(tour: &mut Tour<'_>) {
    const UNCLEAR: &str = "mah, vediamo un po";
    let app = tour.app;
    let [late, tried, waits, changed, unticks, dead, unsent, kept] = said();
    let (both, one): (&[&str], &[&str]) = (&["sms.promotions", "sms.product_info"], &["sms.promotions"]);
    let data = |number: &str| format!("{}/data", app.link(number));
    let wrong = |number: &str| if newest(app, number) == "000000" { "111111" } else { "000000" };
    for number in [&waits, &unticks, &dead, &kept] {
        assert_eq!(app.submit(&app.link(number), "chosen", both).await, 303);
    }
    for number in [&late, &tried] {
        assert_eq!(app.submit(&data(number), "another", &[]).await, 303);
    }
    app.settle().await;
    app.gateway.set_faults(Faults { refused_numbers: [unsent.clone()].into(), ..Faults::default() });
    assert_eq!(app.submit(&app.link(&unsent), "chosen", both).await, 303);
    app.settle().await;
    app.gateway.set_faults(Faults::default());
    for _ in 0..5 {
        assert_eq!(enter(app, &app.link(&dead), wrong(&dead)).await, 303);
        assert_eq!(enter(app, &data(&tried), wrong(&tried)).await, 303);
    }
    app.advance(Duration::from_secs(60));
    for (number, text) in [(&waits, UNCLEAR), (&kept, UNCLEAR), (&waits, "SI"), (&unticks, "SI")] {
        app.advance(Duration::from_secs(1));
        app.reply(number, REPLY_NUMBER, text).await;
    }
    assert_eq!(enter(app, &app.link(&kept), &newest(app, &kept)).await, 303);
    assert_eq!(app.submit(&app.link(&unticks), "chosen", one).await, 303);
    let [was, is] = [&changed, &TestApp::it(12)].map(|number| TestApp::number(number));
    rights::change_number(&app.engine, &was, &is, &crate::erasure::by_letter(app)).await.expect("changed");

    tour.read("code-dead", &app.link(&dead), 200, |t| &t.code_dead).await;
    tour.read("code-not-sent", &app.link(&unsent), 200, |t| &t.code_not_sent).await;
    app.execute("UPDATE messages SET reason = 'window closed' WHERE kind = 'code' AND state = 'failed'").await.expect("set");
    tour.read("code-window", &app.link(&unsent), 200, |t| &t.code_window).await;
    tour.read("code-waits", &app.link(&kept), 200, |t| &t.code_waits).await;
    tour.read("yes-waits", &app.link(&waits), 200, |t| &t.yes_waits).await;
    tour.read("unticked", &app.link(&unticks), 200, |t| &t.taken_back).await;
    tour.read("number-changed", &app.link(&changed), 410, |t| &t.number_changed).await;
    tour.read("data-dead", &data(&tried), 200, |t| &t.code_dead).await;

    let tester = "+393001234500";
    let campaign = app.engine.config.campaign(LINK).expect("the campaign");
    trial::plan(&app.engine, &campaign, &TestApp::number(tester), None, None).await.expect("a test");
    app.settle().await;
    tour.read("test", &app.link(tester), 200, |t| &t.test).await;

    let token = "AAAAAAAAAAAAAAAAAAAAAB";
    let keyed = app.engine.vault.keyed_all(&TestApp::number(&late)).remove(0);
    let (key_id, mac, locale) = (keyed.key_id, keyed.mac, "de".to_owned());
    let link = Link { token_hash: vault::token_hash(token), mac, key_id, locale, claimed_at: app.engine.now() };
    let mut tx = app.engine.store.write().await.expect("a transaction");
    assert_eq!(keep::add_links(&mut tx, &app.engine.controller, &[link]).await.expect("kept"), 1);
    tx.commit().await.expect("committed");
    tour.read("link-kept", &format!("{}/p/{token}", app.base), 410, |t| &t.expired_title).await;
}

/// From the choice to the confirmed consent, without a script of the page's, in each language, in two by the keyboard alone; and a no.
async fn each_step_of_a_form(tour: &mut Tour<'_>) {
    let (app, client) = (tour.app, &tour.browser.client);
    let form = format!("{}/join/newsletter", app.base);
    tour.see("join", &form, 200, "fieldset").await;
    for (n, lang) in (20..).zip(Lang::ALL.map(Lang::code)) {
        let (number, hand) = (TestApp::it(n), Hand { browser: tour.browser, keys: ["it", "pl"].contains(&lang) });
        client.goto(&format!("{form}/{lang}")).await.expect("the page");
        hand.press("none", ".banner.declined").await;
        tour.look("join-declined", lang, ".banner.declined").await;
        client.goto(&format!("{form}/{lang}")).await.expect("the page");
        hand.tick("input[type=checkbox][value='sms.promotions']").await;
        hand.press("chosen", "#number").await;
        tour.look("join-number", lang, "#number").await;
        hand.fill("#number", "12").await;
        hand.press("number", "#number[aria-invalid=true]").await;
        tour.look("join-unfit", lang, "#number[aria-invalid=true]").await;
        hand.fill("#number", &number).await;
        hand.press("number", "#code").await;
        tour.look("join-code", lang, "#code").await;
        app.settle().await;
        let code = codes(app, &number).pop().expect("a code");
        hand.fill("#code", if code == "000000" { "111111" } else { "000000" }).await;
        hand.press("code", "#code[aria-invalid=true]").await;
        tour.look("join-wrong", lang, "#code[aria-invalid=true]").await;
        hand.fill("#code", &code).await;
        hand.press("code", ".banner.confirmed").await;
        tour.look("join-done", lang, ".banner.confirmed").await;
        assert_eq!(app.granted(&number).await, ["sms.promotions"], "{lang}");
    }
}

/// Whose data are shown in this language.
fn own(lang: Lang) -> String {
    TestApp::it(30 + Lang::ALL.iter().position(|known| *known == lang).expect("a language") as u32)
}

/// A code, a wrong one and the right one, a file taken along, the use restricted, and everything erased, in each language, in two by the
/// keyboard alone.
async fn ones_own_data_until_they_are_erased(tour: &mut Tour<'_>) {
    let (app, client) = (tour.app, &tour.browser.client);
    let file = app.dir.path().join("my-data.jsonld");
    tour.browser.downloads(app.dir.path()).await;
    for lang in Lang::ALL {
        let (number, lang) = (own(lang), lang.code());
        let hand = Hand { browser: tour.browser, keys: ["it", "pl"].contains(&lang) };
        client.goto(&format!("{}/data/{lang}", app.link(&number))).await.expect("the page");
        hand.press("another", "#code").await;
        app.settle().await;
        client.refresh().await.expect("again");
        tour.look("data-code", lang, "#code").await;
        let code = codes(app, &number).pop().expect("a code");
        hand.fill("#code", if code == "000000" { "111111" } else { "000000" }).await;
        hand.press("code", "#code[aria-invalid=true]").await;
        tour.look("data-wrong", lang, "#code[aria-invalid=true]").await;
        hand.fill("#code", &code).await;
        hand.press("code", "button[value=json]").await;
        tour.look("data-open", lang, "button[value=restrict]").await;
        if hand.keys {
            hand.press("json", "button[value=json]").await;
            crate::run::until("the file is there", async || file.exists()).await;
            assert!(std::fs::read_to_string(&file).expect("the file").contains(&number));
            std::fs::remove_file(&file).expect("removed");
        }
        hand.press("restrict", "button[value=lift]").await;
        tour.look("data-restricted", lang, "button[value=lift]").await;
        hand.tick("input[name=sure]").await;
        hand.press("erase", "h1 + p[role=status]").await;
        assert!(client.current_url().await.expect("an address").path().ends_with(&format!("/erased/{lang}")));
        tour.look("erased", lang, "h1 + p[role=status]").await;
        assert!(!app.story(&number).await.known, "{lang}");
    }
}

/// The desk, but for its two pages that load themselves anew while a campaign runs: axe wants no page to do that.
async fn the_desk(tour: &mut Tour<'_>) {
    let app = tour.app;
    requests::note(
        &app.engine,
        permesso::domain::rights::Right::Access,
        &TestApp::number(&TestApp::it(1)),
        &crate::erasure::by_letter(app),
    )
    .await
    .expect("noted");
    retention::by_hand(&app.engine).await.expect("a run");
    let story = tour.app.get(&format!("{}/consents/list", app.operator)).await.1;
    let person = story.split("href=\"/contacts/").nth(1).and_then(|r| r.split('"').next()).expect("a person").to_owned();
    for (name, path, shown) in [
        ("desk-consents", "/consents", "td a[href^='/consents/list']"),
        ("desk-standing", "/consents/list?status=granted", "td"),
        ("desk-requests", "/requests", "article code"),
        ("desk-preview", &format!("/campaigns/{LINK}/preview"), "h1"),
        ("desk-people", "/contacts", "form"),
        ("desk-person", &format!("/contacts/{person}"), "h1"),
        ("desk-inbox", "/inbox", "h1"),
        ("desk-gateways", "/gateways", "h1"),
        ("desk-webhooks", "/webhooks", "h1"),
        ("desk-replies", "/replies", "form"),
    ] {
        tour.desk(name, path, shown).await;
    }
    // Of a campaign no column is cut off on a common screen.
    tour.browser.screen(1100, false).await;
    tour.browser.client.goto(&format!("{}/campaigns/{LINK}", app.operator)).await.expect("the page");
    let look = "return [...document.querySelectorAll('.wide')].map(w => w.scrollWidth - w.clientWidth)";
    let over = tour.browser.client.execute(look, Vec::new()).await.expect("looked");
    if over.as_array().is_none_or(|over| over.len() < 3 || over.iter().any(|px| px.as_f64() != Some(0.0))) {
        tour.wrong.push(format!("a campaign's tables at 1100: {over} px cut off"));
    }
}

/// A site of somebody else's, on this machine too, so that browsers call it the same site and another origin: the hardest case. It shows
/// the link in a frame, and the form. Answers its address, and what it was told of where its visitors came from.
async fn another_site(link: &str, form: &str) -> (String, Arc<Mutex<Vec<Option<String>>>>) {
    let seen: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let page = |body: String| axum::response::Html(format!("<!doctype html><html lang=en><title>x</title><body>{body}"));
    let forged = page(format!(
        "<form method=post action='{link}'><input name=answer value=none><input name=nonce value=0></form><script>document.forms[0].submit()</script>"
    ));
    let frame = |of: &str| page(format!("<iframe src='{of}' width=400 height=900></iframe><p id=done>x</p>"));
    let (framed, embedded) = (frame(link), frame(form));
    let told = seen.clone();
    let visited = async move |headers: axum::http::HeaderMap| {
        let from = headers.get("referer").map(|v| v.to_str().expect("text").to_owned());
        told.lock().expect("not poisoned").push(from);
        "seen"
    };
    let router = axum::Router::new()
        .route("/forged", axum::routing::get(async move || forged))
        .route("/framed", axum::routing::get(async move || framed))
        .route("/embedded", axum::routing::get(async move || embedded))
        .route("/seen", axum::routing::get(visited));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, seen)
}

async fn a_page_of_somebody_else_and_a_page_that_only_loads_can_do_nothing(browser: &Browser) {
    let mut app = TestApp::new(Kind::Sqlite).await;
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let link = app.link(&number);
    crate::intake::forms(&mut app).await;
    let (elsewhere, seen) = another_site(&link, &format!("{}/join/shop/it", app.base)).await;
    let shop = app.dir.path().join("config/forms/shop.toml");
    let text = std::fs::read_to_string(&shop).expect("the form");
    std::fs::write(&shop, text.replace("https://www.acme.example", &elsewhere)).expect("written");
    let settings = app.dir.path().join("config/permesso.toml");
    let text = std::fs::read_to_string(&settings).expect("the settings");
    let named = text.replace("# notice_url = \"https://acme.example/privacy\"", &format!("notice_url = \"{elsewhere}/seen\""));
    assert_ne!(text, named);
    std::fs::write(&settings, named).expect("written");
    app.reconfigure("").await;
    let before = everything(&app).await;
    browser.scripts(true).await;

    // Its form is not ours: it can neither say yes nor no for anybody.
    browser.client.goto(&format!("{elsewhere}/forged")).await.expect("the page");
    let heading = browser.client.wait().for_element(Locator::Css("main h1")).await.expect("our answer");
    assert!(browser.client.current_url().await.expect("an address").as_str().starts_with(&link), "the form was sent");
    let bad = [Lang::EN.t().bad_title.as_str()];
    assert!(bad.contains(&heading.text().await.expect("text").as_str()), "refused, in the browser's language");
    browser.screen(320, false).await;
    let why = browser.client.find(Locator::Css("main h1 + p")).await.expect("why").text().await.expect("text");
    assert!(why == Lang::EN.t().bad_origin && browser.overflow(320).await <= 0.0, "{why}");
    browser.long_picture("elsewhere").await;
    // It cannot show our page in a frame and lead a finger over it.
    browser.client.goto(&format!("{elsewhere}/framed")).await.expect("the page");
    browser.client.wait().for_element(Locator::Css("#done")).await.expect("loaded");
    browser.client.enter_frame(0).await.expect("the frame");
    assert!(browser.client.find(Locator::Css("fieldset")).await.is_err(), "our page is in somebody else's frame");
    browser.client.enter_parent_frame().await.expect("out of it");

    // A scanner that runs what loads, and fetches all that a page names, but presses nothing.
    for page in [link.clone(), format!("{link}/pl"), format!("{}/notice/it", app.base)] {
        browser.client.goto(&page).await.expect("the page");
        let all = "const done = arguments[0]; window.dispatchEvent(new Event('load')); document.querySelectorAll('details').forEach(d => d.open = true);
            const all = [...document.querySelectorAll('a[href^=\"/\"], link[href]')].map(e => e.href);
            Promise.allSettled(all.map(url => fetch(url))).then(r => done(r.length));";
        let fetched = browser.client.execute_async(all, Vec::new()).await.expect("run");
        assert!(fetched.as_u64().is_some_and(|n| n > 6), "{fetched}");
    }
    assert_eq!(everything(&app).await, before);

    // Whoever goes on to another site from here does not tell it the link they came by.
    browser.client.goto(&format!("{link}/it")).await.expect("the page");
    browser.client.find(Locator::Css("footer a[href^='/notice']")).await.expect("the notice").click().await.expect("followed");
    let away = browser.client.wait().for_element(Locator::Css("a[href$='/seen']")).await.expect("the other notice");
    away.click().await.expect("followed");
    crate::run::until("the other site is visited", async || !seen.lock().expect("not poisoned").is_empty()).await;
    assert_eq!(*seen.lock().expect("not poisoned"), [None]);
    browser.scripts(false).await;

    // In a frame on a site that the form names, from the choice to the consent.
    let (number, hand) = (TestApp::it(2), Hand { browser, keys: false });
    browser.client.goto(&format!("{elsewhere}/embedded")).await.expect("the page");
    browser.client.wait().for_element(Locator::Css("#done")).await.expect("loaded");
    browser.client.enter_frame(0).await.expect("the frame");
    hand.tick("input[type=checkbox][value='sms.promotions']").await;
    hand.press("chosen", "#number").await;
    hand.fill("#number", &number).await;
    hand.press("number", "#code").await;
    app.settle().await;
    hand.fill("#code", &newest(&app, &number)).await;
    hand.press("code", ".banner.confirmed").await;
    browser.client.enter_parent_frame().await.expect("out of it");
    assert_eq!(app.granted(&number).await, ["sms.promotions"]);
    app.end().await;
}

async fn a_person_ticks_confirms_and_takes_it_back(browser: &Browser) {
    let mut app = TestApp::new(Kind::Sqlite).await;
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    browser.screen(390, false).await;
    browser.client.goto(&app.link(&number)).await.expect("the page");
    browser.picture("fresh").await;
    let boxes = browser.client.find_all(Locator::Css("input[name=grant]")).await.expect("boxes");
    assert_eq!(boxes.len(), 6);
    for tick in &boxes {
        assert!(!tick.is_selected().await.expect("a state"), "nothing is ticked that was not granted");
    }
    let sms = browser.client.find(Locator::Css("input[type=checkbox][value='sms.promotions']")).await.expect("the box");
    sms.click().await.expect("ticked");
    browser.client.find(Locator::Css("button[value=chosen]")).await.expect("the button").click().await.expect("submitted");
    let text = browser.banner("pending").await;
    assert!(text.contains(REPLY_NUMBER), "the last step is named: {text}");
    browser.picture("pending").await;
    assert!(app.granted(&number).await.is_empty());

    app.advance(Duration::from_secs(60));
    app.reply(&number, REPLY_NUMBER, "SI").await;
    browser.client.refresh().await.expect("again");
    let sms = browser.client.find(Locator::Css("input[type=checkbox][value='sms.promotions']")).await.expect("the box");
    assert!(sms.is_selected().await.expect("a state"), "what was granted is ticked");
    browser.picture("confirmed").await;

    browser.client.find(Locator::Css("button[value=none]")).await.expect("the button").click().await.expect("submitted");
    browser.banner("refused").await;
    assert!(app.granted(&number).await.is_empty(), "one step takes it back");
    browser.picture("refused").await;
    browser.client.goto(&format!("{}/p/AAAAAAAAAAAAAAAAAAAAAA", app.base)).await.expect("the page");
    browser.picture("unknown").await;
    browser.client.goto(&format!("{}/campaigns/{LINK}", app.operator)).await.expect("the page");
    browser.picture("report").await;
    browser.client.goto(&app.gateway.url()).await.expect("the phones");
    browser.picture("phones").await;
    an_operator_needs_no_mouse(browser, &mut app).await;
    app.end().await;
}

/// To everything, to one thing behind a link too old to grant and then to the rest, and where the number is somebody else's.
async fn saying_no_needs_no_mouse(browser: &Browser) {
    let mut app = TestApp::new(Kind::Sqlite).await;
    let numbers: Vec<String> = (1..=4).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.send(LINK).await;
    let [no, wrong, kept, old] = &numbers[..] else { unreachable!() };
    assert_eq!(app.submit(&app.link(kept), "chosen", &["sms.promotions", "sms.product_info"]).await, 303);
    app.advance(Duration::from_secs(60));
    app.reply(kept, REPLY_NUMBER, "SI").await;
    browser.screen(390, false).await;
    let (client, hand) = (&browser.client, Hand { browser, keys: true });
    client.goto(&app.link(no)).await.expect("the page");
    hand.press("none", ".banner.refused").await;
    client.goto(&app.link(wrong)).await.expect("the page");
    hand.go(".wrong summary", ".wrong[open]").await;
    hand.press("wrong_number", ".banner.wrong_number").await;
    app.advance(Duration::from_secs(40 * 86_400));
    client.goto(&app.link(kept)).await.expect("the page");
    hand.go("button[name=withdraw]", ".banner.taken_back").await;
    assert_eq!(app.granted(kept).await.len(), 1);
    hand.press("none", ".banner.refused").await;
    assert!(app.granted(kept).await.is_empty());
    client.goto(&app.link(old)).await.expect("the page");
    hand.press("none", ".banner.refused").await;
    let kinds = "SELECT COUNT(*) FROM ledger WHERE kind IN ('refused', 'wrong_person')";
    assert_eq!(app.count(kinds).await, 4, "each is on record");
    app.end().await;
}

/// Logs in, goes to a list, narrows it down and decides about a reply.
async fn an_operator_needs_no_mouse(browser: &Browser, app: &mut TestApp) {
    const TOKEN: &str = "0123456789abcdef";
    std::fs::write(app.dir.path().join("token"), TOKEN).expect("written");
    let settings = app.dir.path().join("config/permesso.toml");
    let text = std::fs::read_to_string(&settings).expect("the settings");
    let file = app.dir.path().join("token");
    std::fs::write(&settings, format!("operator_token_file = \"{}\"\n{text}", file.display())).expect("written");
    app.reconfigure("").await;
    app.reply(&TestApp::it(2), REPLY_NUMBER, "mah, vediamo un po").await;
    browser.screen(1280, false).await;
    let (client, hand) = (&browser.client, Hand { browser, keys: true });
    client.goto(&app.operator.replace("//", &format!("//ann:{TOKEN}@"))).await.expect("the page");
    hand.go("nav a[href='/consents']", "a[href='/consents/list']").await;
    hand.go("a[href='/consents/list']", "#channel").await;
    browser.tab_to("#channel").await.send_keys("W").await.expect("chosen");
    hand.go("form button", "#channel option[value=whatsapp][selected]").await;
    let rows = client.find_all(Locator::Css("tbody tr td:nth-child(3)")).await.expect("rows");
    for row in &rows {
        assert_eq!(row.text().await.expect("text"), "WhatsApp");
    }
    assert_eq!(rows.len(), 3, "one person");
    hand.go("nav a[href='/inbox']", "button[value=nothing]").await;
    hand.press("nothing", "main:not(:has(article))").await;
    assert_eq!(app.count("SELECT COUNT(*) FROM inbound_events WHERE resolved_by = 'ann'").await, 1);
}
