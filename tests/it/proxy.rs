//! deploy/nginx.conf as it ships, with other addresses and a certificate of the test's own, in front of a whole Permesso; and the
//! health check of deploy/Dockerfile.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::app::{Kind, LINK, TestApp};
use crate::run::until;

/// One process, in the foreground, with everything it writes in `dir`.
struct Nginx(Child);

impl Nginx {
    fn start(dir: &Path, port: u16, plain: u16, public: &str) -> Nginx {
        let file = |name: &str| dir.join(name).display().to_string();
        let done = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-keyout", &file("key.pem"), "-out", &file("cert.pem")])
            .stderr(Stdio::null())
            .status()
            .expect("openssl; remedy: scripts/test installs it");
        assert!(done.success(), "a certificate");
        let shipped =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/nginx.conf")).expect("deploy/nginx.conf");
        let mut site = shipped.lines().filter(|l| !l.contains("listen [::]")).collect::<Vec<_>>().join("\n");
        for (from, to) in [
            ("listen 80;", format!("listen 127.0.0.1:{plain};")),
            ("listen 443 ssl;", format!("listen 127.0.0.1:{port} ssl;")),
            ("http://127.0.0.1:8080;", format!("http://{public};")),
            ("/etc/letsencrypt/live/permesso.acme.example/fullchain.pem", file("cert.pem")),
            ("/etc/letsencrypt/live/permesso.acme.example/privkey.pem", file("key.pem")),
            ("permesso.acme.example", "localhost".into()),
            ("/var/log/nginx/", format!("{}/", dir.display())),
        ] {
            assert!(site.contains(from), "deploy/nginx.conf has no {from}");
            site = site.replace(from, &to);
        }
        std::fs::write(dir.join("site.conf"), site).expect("written");
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}; ", file(kind)))
            .concat();
        let main = format!(
            "daemon off; master_process off; pid {}; error_log {} emerg; events {{}}\nhttp {{ {temporary} access_log off; include {}; }}\n",
            file("nginx.pid"),
            file("nginx.log"),
            file("site.conf"),
        );
        std::fs::write(dir.join("nginx.conf"), main).expect("written");
        let nginx = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
        let child = Command::new(nginx).args(["-p", &dir.display().to_string(), "-c", &file("nginx.conf")]).spawn();
        Nginx(child.expect("nginx; remedy: scripts/test installs it"))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn visitor(address: [u8; 4]) -> reqwest::Client {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    client.tls_danger_accept_invalid_certs(true).local_address(IpAddr::from(address)).build().expect("a client")
}

#[tokio::test]
async fn the_shipped_proxy_serves_the_page_and_its_log_tells_nobodys_link() {
    let mut app = TestApp::new(Kind::Sqlite).await;
    let [port, plain] = crate::app::ports();
    let settings = app.engine.config.dir.join("permesso.toml");
    let text = std::fs::read_to_string(&settings).expect("the settings");
    let text = text
        .replace(&format!("public_url = \"{}\"", app.base), &format!("public_url = \"https://localhost:{port}\""))
        .replace("trusted_proxies = []", "trusted_proxies = [\"127.0.0.1\"]");
    std::fs::write(&settings, text).expect("written");
    app.reconfigure("").await;
    let _nginx = Nginx::start(app.dir.path(), port, plain, app.base.trim_start_matches("http://"));
    let person = visitor([127, 0, 0, 2]);
    let health = format!("https://localhost:{port}/healthz");
    until("nginx answers", async || person.get(&health).send().await.is_ok_and(|a| a.status() == 200)).await;

    // The whole way of a yes' first step, over TLS.
    app.people(&[TestApp::it(1)]).await;
    app.send(LINK).await;
    let link = app.link(&TestApp::it(1));
    assert!(link.starts_with(&format!("https://localhost:{port}/p/")), "{link}");
    let page = person.get(&link).send().await.expect("a page");
    assert_eq!(page.status(), 200);
    assert_eq!(page.headers()["referrer-policy"], "same-origin");
    assert!(page.headers().contains_key("strict-transport-security") && page.headers()["server"] == "nginx");
    let page = page.text().await.expect("text");
    let nonce = page.split("name=\"nonce\" value=\"").nth(1).and_then(|r| r.split('"').next()).expect("a form");
    let form = format!("nonce={nonce}&answer=chosen&grant=sms.promotions");
    let post = person.post(&link).header("origin", format!("https://localhost:{port}"));
    let post = post.header("content-type", "application/x-www-form-urlencoded").body(form);
    assert_eq!(post.send().await.expect("an answer").status(), 303);
    let plain = person.get(format!("http://localhost:{plain}/p/abc")).send().await.expect("a redirect");
    assert_eq!((plain.status().as_u16(), plain.headers()["location"].to_str().ok()), (301, Some("https://localhost/p/abc")));
    assert_eq!(person.post(&health).body(vec![0; 4 << 20]).send().await.expect("an answer").status(), 413);

    // Visitors are told apart by the address nginx saw, whatever they claim.
    let guess = format!("https://localhost:{port}/p/11111111111111111111ab?q=secretquery");
    let mut guesses = 0;
    while person.get(&guess).header("x-forwarded-for", format!("10.0.0.{guesses}")).send().await.expect("an answer").status()
        != 429
    {
        guesses += 1;
        assert!(guesses < 200, "guessing is limited");
    }
    assert!(guesses > 0);
    assert_eq!(visitor([127, 0, 0, 3]).get(&guess).send().await.expect("an answer").status(), 404, "another visitor is not");

    // With the application down, the error log stays silent too.
    app.hang_up().await;
    assert_eq!(person.get(&link).send().await.expect("an answer").status(), 502);
    let token = link.rsplit('/').next().expect("a token");
    let mut lines = 0;
    for name in ["permesso.access.log", "permesso.error.log", "nginx.log"] {
        let log = std::fs::read_to_string(app.dir.path().join(name)).unwrap_or_default();
        lines += log.lines().count();
        for private in [token, "11111111111111111111ab", "secretquery", "127.0.0.2", &TestApp::it(1)[1..]] {
            assert!(!log.contains(private), "{name} holds {private}:\n{log}");
        }
        assert!(name != "permesso.access.log" || log.contains("GET /p/{token} 200 "), "routes are logged:\n{log}");
    }
    assert!(lines > 5, "the log was written");
    app.engine.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_containers_health_check_tells_up_from_down() {
    let mut app = TestApp::new(Kind::Sqlite).await;
    let dockerfile =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/Dockerfile")).expect("deploy/Dockerfile");
    let check =
        dockerfile.lines().find(|l| l.starts_with("HEALTHCHECK")).and_then(|l| l.split_once("CMD ")).expect("a health check").1;
    let check: Vec<String> = serde_json::from_str(check).expect("a list of words");
    let port = app.base.rsplit(":").next().expect("a port").to_owned();
    let run = |check: &[String]| {
        let words: Vec<String> = check.iter().map(|w| w.replace("/8080", &format!("/{port}"))).collect();
        Command::new(&words[0]).args(&words[1..]).stderr(Stdio::null()).status().expect("bash").success()
    };
    let check = &check;
    assert!(tokio::task::block_in_place(|| run(check)));
    app.hang_up().await;
    assert!(!tokio::task::block_in_place(|| run(check)));
    app.engine.store.close().await;
}
