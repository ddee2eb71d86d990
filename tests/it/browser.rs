//! The people's page in a real browser: headless Chromium, driven through chromedriver, with JavaScript off.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::process::{Child, Command};

use crate::app::{Kind, LINK, REPLY_NUMBER, TestApp};

struct Browser {
    client: Client,
    driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    async fn open() -> Browser {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
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

    async fn close(mut self) {
        self.client.close().await.expect("closed");
        self.driver.kill().await.expect("killed");
    }
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
