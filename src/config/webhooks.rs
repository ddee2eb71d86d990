//! The `[[webhook]]` tables of `permesso.toml`: where consent changes are told, and the secrets that sign them.

use std::path::Path;

use url::{Host, Url};

use super::WebhookConfig;
use super::accounts::secret;
use super::read::Table;
use super::values::{self, Parsed};
use crate::domain::webhook::{self, News};

/// `mock`: every gateway is the mock, so that secrets may stand in the file and the receiver may be anywhere.
pub fn webhooks(root: &Table, mock: bool, dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Vec<WebhookConfig> {
    let mut webhooks: Vec<WebhookConfig> = Vec::new();
    for table in root.tables("webhook") {
        let name = table.read_needed("name", values::name).unwrap_or_default();
        if webhooks.iter().any(|other| other.name == name) {
            table.note("name", format!("there is another webhook `{name}`"), "give each its own name");
        }
        let url = table.read_needed("url", |text| address(text, mock));
        let key = |key: &str| {
            let text = secret(&table, key, mock, dir, env);
            let read = webhook::key(text.expose());
            if read.is_none() && !text.expose().is_empty() {
                let remedy = "write whsec_ and 24 to 64 random bytes in base64: echo whsec_$(openssl rand -base64 32)";
                table.note(key, "is no secret of Standard Webhooks", remedy);
            }
            read
        };
        let mut keys = Vec::from_iter(key("secret"));
        // All three names are asked for, so that each is known.
        let previous = ["secret_previous", "secret_previous_env", "secret_previous_file"].map(|key| table.has(key));
        if previous.contains(&true) {
            keys.extend(key("secret_previous"));
        }
        let events = events(&table);
        let timeout_ms = u64::try_from(table.within("timeout_ms", 15_000, 100..=20_000)).unwrap_or_default();
        let [processor, region] = ["processor", "region"].map(|key| {
            let text = table.get::<String>(key).map(|text| text.trim().to_owned());
            if text.as_deref() == Some("") {
                table.note(key, "is empty", "write what people should read in the notice, or remove the key");
            }
            text.filter(|text| !text.is_empty())
        });
        let region_line = table.line("region");
        table.end();
        if let Some(url) = url {
            webhooks.push(WebhookConfig { name, url, keys, events, timeout_ms, processor, region, region_line });
        }
    }
    webhooks
}

/// All, or those named. Who is told of a yes is told of every no.
fn events(table: &Table) -> Vec<News> {
    let known = News::ALL.map(News::code).join(", ");
    let events = table.each("events", |text| {
        News::parse(text).ok_or_else(|| (format!("there is no event `{text}`"), format!("write some of: {known}")))
    });
    if !table.has("events") {
        return News::ALL.to_vec();
    }
    if events.contains(&News::Granted) && News::ALL.iter().any(|news| !events.contains(news)) {
        let what = "a receiver that hears of a yes must hear of every no, or it goes on writing to people who took it back";
        table.note("events", what, format!("remove the key, or write all: {known}"));
    }
    if table.get::<Vec<String>>("events").is_some_and(|written| written.is_empty()) {
        table.note("events", "names nothing", "remove the key: all events are told then");
    }
    events
}

/// `https://…`; `http://` on this machine, or where nothing can reach a real phone.
fn address(text: &str, mock: bool) -> Parsed<Url> {
    let form = "write https://…, without user, password and # (http:// serves only this machine, or with the mock gateway alone)";
    let local = |url: &Url| match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let fits = |url: &Url| url.scheme() == "https" || (url.scheme() == "http" && (mock || local(url)));
    match Url::parse(text) {
        Ok(url)
            if fits(&url)
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.fragment().is_none() =>
        {
            Ok(url)
        }
        // It may hold a secret, so it is not repeated.
        _ => Err(("is no usable web address".into(), form.into())),
    }
}
