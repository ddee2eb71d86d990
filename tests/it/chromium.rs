//! Headless Chromium, driven through chromedriver, for `browser.rs`. JavaScript is off but where axe-core looks at a page.

use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;

use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tokio::process::{Child, Command};

/// What axe-core may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    All,
    /// By night everything but the colours is what it was by day.
    Colours,
}

pub struct Browser {
    pub client: Client,
    driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub async fn open() -> Browser {
        let [port] = crate::app::ports();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver; remedy: apt-get install chromium chromium-driver (scripts/test does)");
        let profile = tempfile::tempdir().expect("a folder");
        let options = json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=390,1000",
                format!("--user-data-dir={}", profile.path().display())],
        });
        let capabilities = json!({ "goog:chromeOptions": options }).as_object().expect("an object").clone();
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities);
        let mut client = None;
        crate::run::until("chromedriver answers", async || {
            client = builder.connect(&format!("http://127.0.0.1:{port}")).await.ok();
            client.is_some()
        })
        .await;
        let browser = Browser { client: client.expect("there"), driver, _profile: profile };
        browser.scripts(false).await;
        browser
    }

    /// The status message of this kind, once the page that has it is there.
    pub async fn banner(&self, kind: &str) -> String {
        let css = format!(".banner.{kind}");
        self.client.wait().for_element(Locator::Css(&css)).await.expect("the banner").text().await.expect("text")
    }

    pub async fn picture(&self, name: &str) {
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(folder.join(format!("{name}.png")), self.client.screenshot().await.expect("a picture")).expect("written");
    }

    /// A command of the Chrome DevTools Protocol.
    pub async fn devtools(&self, cmd: &'static str, params: serde_json::Value) -> serde_json::Value {
        self.client.issue_cmd(DevTools { cmd, params }).await.expect(cmd)
    }

    /// Whether pages may run scripts of their own. What the driver itself runs always does.
    pub async fn scripts(&self, on: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": !on })).await;
    }

    /// Every rule that axe-core has over the page that is open, those too that it ships disabled (the size of targets, and colours and links
    /// as WCAG's AAA wants them) or calls experimental or deprecated, or those of colours alone: what is wrong, and what it cannot decide.
    pub async fn axe(&self, rules: Rules) -> (Vec<String>, Vec<String>) {
        static AXE: LazyLock<String> = LazyLock::new(|| {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/node/node_modules/axe-core/axe.min.js");
            std::fs::read_to_string(file).expect("axe-core; remedy: scripts/test installs it")
        });
        self.scripts(true).await;
        if rules == Rules::All {
            self.client.execute(&AXE, Vec::new()).await.expect("axe is loaded");
        }
        // What passes is not told, which is half the work.
        let run = "const [colours, done] = arguments;
            const told = found => found.flatMap(r => r.nodes.map(n => `${r.id}: ${n.target.join(' ')}`));
            const values = axe.getRules().map(r => r.ruleId).filter(id => !colours || ['color-contrast', 'color-contrast-enhanced', 'link-in-text-block'].includes(id));
            const options = { resultTypes: ['violations', 'incomplete'], runOnly: { type: 'rule', values } };
            axe.run(options).then(r => done([told(r.violations), told(r.incomplete)]), e => done([[String(e)], []]));";
        let found = self.client.execute_async(run, vec![json!(rules == Rules::Colours)]).await.expect("axe has run");
        self.scripts(false).await;
        serde_json::from_value(found).expect("two lists")
    }

    /// Of the page that is open: its language, whether it has what only this state has, and how "yes to chosen" and "no to everything" look
    /// wherever both are offered: size, colours, weight. What waits folded is opened.
    pub async fn shows(&self, css: &str) -> (String, bool, Vec<[Vec<String>; 2]>) {
        let look = "document.querySelectorAll('details').forEach(d => d.open = true);
            const looks = b => { const s = getComputedStyle(b), r = b.getBoundingClientRect();
                return [r.width, r.height, s.color, s.backgroundColor, s.border, s.borderRadius, s.font, s.opacity, s.boxShadow].map(String); };
            const pairs = [...document.querySelectorAll('main form')].map(f => ['chosen', 'none'].map(v => f.querySelector(`button[value=${v}]`)));
            const answers = pairs.filter(pair => pair.every(b => b)).map(pair => pair.map(looks));
            return [document.documentElement.lang, !!document.querySelector(arguments[0]), answers];";
        serde_json::from_value(self.client.execute(look, vec![json!(css)]).await.expect("looked")).expect("what it shows")
    }

    /// Goes to a page. Answers its status.
    pub async fn open_page(&self, address: &str) -> u16 {
        self.client.goto(address).await.expect("the page");
        let look = "return performance.getEntriesByType('navigation')[0].responseStatus;";
        let status = self.client.execute(look, Vec::new()).await.expect("looked").as_u64().expect("a number");
        u16::try_from(status).expect("a status")
    }

    /// Bytes of the page that is open, as they came; whether it was fetched or is the answer to a form.
    pub async fn weight(&self) -> usize {
        let look = "return performance.getEntriesByType('navigation')[0].decodedBodySize;";
        let bytes = self.client.execute(look, Vec::new()).await.expect("looked").as_u64().expect("a number");
        assert!(bytes > 500, "no page weighs {bytes} bytes");
        usize::try_from(bytes).expect("fits")
    }

    pub async fn screen(&self, width: u32, dark: bool) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = json!([{ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": scheme })).await;
    }

    /// Pixels by which the page is wider than the screen. (A phone's viewport grows with a page that is too wide, so it says nothing.)
    pub async fn overflow(&self, screen: u32) -> f64 {
        let metrics = self.devtools("Page.getLayoutMetrics", json!({})).await;
        metrics["cssContentSize"]["width"].as_f64().expect("a width") - f64::from(screen)
    }

    /// The whole page, below the screen too.
    pub async fn long_picture(&self, name: &str) {
        let shot =
            self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true, "optimizeForSpeed": true })).await;
        let png = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, shot["data"].as_str().expect("a picture"));
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(folder.join(format!("{name}.png")), png.expect("base64")).expect("written");
    }

    /// Presses Tab until this field has the focus, and shows that it has.
    pub async fn tab_to(&self, css: &str) -> Element {
        let wanted = self.client.find(Locator::Css(css)).await.expect(css);
        for _ in 0..40 {
            let active = self.client.active_element().await.expect("an element");
            if active.element_id() == wanted.element_id() {
                let look = "const s = getComputedStyle(document.activeElement); return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2";
                let shown = self.client.execute(look, Vec::new()).await.expect("looked");
                assert_eq!(shown, json!(true), "one does not see that {css} has the focus");
                return wanted;
            }
            active.send_keys(&String::from(char::from(Key::Tab))).await.expect("Tab");
        }
        panic!("no number of Tabs reaches {css}");
    }

    /// Files that pages give are kept here.
    pub async fn downloads(&self, folder: &Path) {
        let to = json!({ "behavior": "allow", "downloadPath": folder.display().to_string() });
        self.devtools("Browser.setDownloadBehavior", to).await;
    }

    pub async fn close(mut self) {
        self.client.close().await.expect("closed");
        self.driver.kill().await.expect("killed");
    }
}

/// How somebody goes through pages: with a finger or a mouse, or by the keyboard alone.
#[derive(Clone, Copy)]
pub struct Hand<'a> {
    pub browser: &'a Browser,
    pub keys: bool,
}

impl Hand<'_> {
    async fn on(&self, css: &str, key: &str) {
        match self.keys {
            true => self.browser.tab_to(css).await.send_keys(key).await.expect(css),
            false => self.browser.client.find(Locator::Css(css)).await.expect(css).click().await.expect(css),
        }
    }

    pub async fn tick(&self, css: &str) {
        self.on(css, " ").await;
    }

    /// Follows or presses this, and waits for what the next page has.
    pub async fn go(&self, css: &str, then: &str) {
        self.on(css, &String::from(char::from(Key::Enter))).await;
        self.browser.client.wait().for_element(Locator::Css(then)).await.expect(then);
    }

    /// Presses the button with this answer.
    pub async fn press(&self, answer: &str, then: &str) {
        self.go(&format!("button[value={answer}]"), then).await;
    }

    /// Writes this over what stands in a field.
    pub async fn fill(&self, css: &str, text: &str) {
        let keys = match self.keys {
            true => format!("{}a{}{text}", char::from(Key::Control), char::from(Key::Null)),
            false => text.to_owned(),
        };
        let field = match self.keys {
            true => self.browser.tab_to(css).await,
            false => self.browser.client.find(Locator::Css(css)).await.expect(css),
        };
        if !self.keys {
            field.clear().await.expect("cleared");
        }
        field.send_keys(&keys).await.expect("typed");
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
        (hyper::Method::POST, Some(json!({ "cmd": self.cmd, "params": self.params }).to_string()))
    }
}
