//! The people's page in a real browser: headless Chromium, driven through chromedriver, with JavaScript off.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::key::Key;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::process::{Child, Command};

use permesso::web::lang::Lang;

use crate::app::{Kind, LINK, REPLY_NUMBER, TestApp};
use crate::code::{CODE, codes, de};

struct Browser {
    client: Client,
    driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    async fn open() -> Browser {
        let [port] = crate::app::ports();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver; remedy: apt-get install chromium chromium-driver (scripts/test does)");
        let profile = tempfile::tempdir().expect("a folder");
        let options = serde_json::json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=390,1000",
                format!("--user-data-dir={}", profile.path().display())],
            "prefs": { "profile.managed_default_content_settings.javascript": 2 },
        });
        let capabilities = serde_json::json!({ "goog:chromeOptions": options }).as_object().expect("an object").clone();
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities);
        for _ in 0..200 {
            if let Ok(client) = builder.connect(&format!("http://127.0.0.1:{port}")).await {
                return Browser { client, driver, _profile: profile };
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("chromedriver does not answer");
    }

    /// The status message of this kind, once the page that has it is there.
    async fn banner(&self, kind: &str) -> String {
        let css = format!(".banner.{kind}");
        self.client.wait().for_element(Locator::Css(&css)).await.expect("the banner").text().await.expect("text")
    }

    async fn picture(&self, name: &str) {
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(folder.join(format!("{name}.png")), self.client.screenshot().await.expect("a picture")).expect("written");
    }

    /// A command of the Chrome DevTools Protocol.
    async fn devtools(&self, cmd: &'static str, params: serde_json::Value) -> serde_json::Value {
        self.client.issue_cmd(DevTools { cmd, params }).await.expect(cmd)
    }

    async fn screen(&self, width: u32, dark: bool) {
        let size = serde_json::json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = serde_json::json!([{ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } }]);
        self.devtools("Emulation.setEmulatedMedia", serde_json::json!({ "features": scheme })).await;
    }

    /// Pixels by which the page is wider than the screen.
    async fn overflow(&self) -> f64 {
        let metrics = self.devtools("Page.getLayoutMetrics", serde_json::json!({})).await;
        let width = |of: &str, key: &str| metrics[of][key].as_f64().expect("a width");
        width("cssContentSize", "width") - width("cssLayoutViewport", "clientWidth")
    }

    /// The whole page, below the screen too.
    async fn long_picture(&self, name: &str) {
        let shot = self.devtools("Page.captureScreenshot", serde_json::json!({ "captureBeyondViewport": true })).await;
        let png = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, shot["data"].as_str().expect("a picture"));
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(folder.join(format!("{name}.png")), png.expect("base64")).expect("written");
    }

    /// Presses Tab until this field has the focus.
    async fn tab_to(&self, css: &str) -> fantoccini::elements::Element {
        let wanted = self.client.find(Locator::Css(css)).await.expect(css);
        for _ in 0..40 {
            let active = self.client.active_element().await.expect("an element");
            if active.element_id() == wanted.element_id() {
                return wanted;
            }
            active.send_keys(&String::from(char::from(Key::Tab))).await.expect("Tab");
        }
        panic!("no number of Tabs reaches {css}");
    }

    async fn close(mut self) {
        self.client.close().await.expect("closed");
        self.driver.kill().await.expect("killed");
    }
}

#[derive(Debug)]
struct DevTools {
    cmd: &'static str,
    params: serde_json::Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (hyper::Method, Option<String>) {
        (hyper::Method::POST, Some(serde_json::json!({ "cmd": self.cmd, "params": self.params }).to_string()))
    }
}

#[tokio::test]
async fn in_six_languages_a_phone_is_wide_enough_and_the_code_needs_no_mouse() {
    let mut app = TestApp::new(Kind::Sqlite).await;
    let languages = Lang::ALL.map(Lang::code);
    let numbers: Vec<String> = (1..=6).map(de).collect();
    app.people(&numbers).await;
    app.send(CODE).await;
    let browser = Browser::open().await;
    for (number, lang) in numbers.iter().zip(languages) {
        let link = format!("{}/{lang}", app.link(number));
        let look = async |name: &str| {
            for (width, dark) in [(320, false), (320, true), (1280, false), (1280, true)] {
                browser.screen(width, dark).await;
                let over = browser.overflow().await;
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
        assert_eq!(offered.len(), languages.len(), "every language is offered");
        look("choose").await;
        browser.tab_to("input[value='sms.promotions']").await.send_keys(" ").await.expect("ticked");
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
    browser.close().await;
    app.end().await;
}

#[tokio::test]
async fn a_person_ticks_confirms_and_takes_it_back_in_a_browser() {
    let mut app = TestApp::new(Kind::Sqlite).await;
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let browser = Browser::open().await;
    browser.client.goto(&app.link(&number)).await.expect("the page");
    browser.picture("fresh").await;
    let boxes = browser.client.find_all(Locator::Css("input[name=grant]")).await.expect("boxes");
    assert_eq!(boxes.len(), 6);
    for tick in &boxes {
        assert!(!tick.is_selected().await.expect("a state"), "nothing is ticked that was not granted");
    }
    let sms = browser.client.find(Locator::Css("input[value='sms.promotions']")).await.expect("the box");
    sms.click().await.expect("ticked");
    browser.client.find(Locator::Css("button[value=chosen]")).await.expect("the button").click().await.expect("submitted");
    let text = browser.banner("pending").await;
    assert!(text.contains(REPLY_NUMBER), "the last step is named: {text}");
    browser.picture("pending").await;
    assert!(app.granted(&number).await.is_empty());

    app.advance(Duration::from_secs(60));
    app.reply(&number, REPLY_NUMBER, "SI").await;
    browser.client.refresh().await.expect("again");
    let sms = browser.client.find(Locator::Css("input[value='sms.promotions']")).await.expect("the box");
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
    browser.close().await;
    app.end().await;
}
