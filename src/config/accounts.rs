//! Gateways and senders of `permesso.toml`, and where their secrets come from.

use std::path::Path;

use url::Url;

use super::read::Table;
use super::values::{self, alphanumeric, web_address};
use super::{GatewayConfig, Secret};
use crate::domain::campaign::{Registration, RegistrationState, Sender};
use crate::domain::channel::Channel;
use crate::domain::phone::Fiction;

/// Gateway drivers there are.
const DRIVERS: [&str; 1] = ["mock"];

pub fn gateways(root: &Table, dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Vec<GatewayConfig> {
    if !root.has("gateway") {
        root.note("gateway", "there is none", "add a [[gateway]]; driver = \"mock\" sends to pretended phones");
    }
    let mut gateways: Vec<GatewayConfig> = Vec::new();
    for table in root.tables("gateway") {
        let name = table.need::<String>("name");
        let driver = table.need::<String>("driver");
        if table.has("name") {
            table.parsed("name", &name, values::name);
        }
        if gateways.iter().any(|other| other.name == name) {
            table.note("name", format!("there is another gateway `{name}`"), "give each its own name");
        }
        if table.has("driver") && !DRIVERS.contains(&driver.as_str()) {
            table.note("driver", format!("there is no driver `{driver}`"), format!("write one of: {}", DRIVERS.join(", ")));
        }
        let rate = table.or("rate", 10.0);
        if !(0.001..=100_000.0).contains(&rate) {
            table.note("rate", format!("{rate} is out of range"), "write messages a second, 0.001 to 100000");
        }
        let url = table.read_needed("url", |text| web_address(text, driver == "mock"));
        let timeout_ms = table.within("timeout_ms", 5_000, 100..=5_000);
        let secret = |key| secret(&table, key, driver == "mock", dir, env);
        let (token, webhook_secret) = (secret("token"), secret("webhook_secret"));
        let dedupes = table.or("dedupes", false);
        table.end();
        // Kept even so, lest every sender of it be reported too.
        let url = url.unwrap_or_else(|| Url::parse("https://missing.invalid").expect("it is an address"));
        let timeout_ms = u64::try_from(timeout_ms).unwrap_or_default();
        gateways.push(GatewayConfig { name, driver, url, token, webhook_secret, rate, timeout_ms, dedupes });
    }
    gateways
}

/// A secret from exactly one of `key_env`, `key_file` or, where `inline`, `key` itself: files are copied and shown around.
pub fn secret(table: &Table, key: &str, inline: bool, dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Secret {
    let (env_key, file_key) = (format!("{key}_env"), format!("{key}_file"));
    let (plain, variable, file) = (table.get::<String>(key), table.get::<String>(&env_key), table.get::<String>(&file_key));
    let remedy = format!("write {env_key} = \"NAME\" or {file_key} = \"path\"");
    let read = match (plain, variable, file) {
        (Some(text), None, None) if inline => Ok(text),
        (Some(_), None, None) => Err((key, "a secret must not stand in this file".to_owned(), remedy)),
        (None, Some(name), None) => {
            env(&name).ok_or_else(|| (env_key.as_str(), format!("the environment has no {name}"), "set it".to_owned()))
        }
        (None, None, Some(path)) => std::fs::read_to_string(dir.join(&path))
            .map_err(|error| (file_key.as_str(), format!("`{path}` cannot be read: {error}"), "put the secret there".to_owned())),
        (None, None, None) => Err((key, "is missing".to_owned(), remedy)),
        _ => Err((key, "is given more than once".to_owned(), "keep one".to_owned())),
    };
    match read {
        Ok(text) if text.trim().is_empty() => table.note(key, "is empty", "put the secret there"),
        Ok(text) => return Secret::new(text.trim()),
        Err((key, what, remedy)) => table.note(key, what, remedy),
    }
    Secret::default()
}

pub fn senders(root: &Table, gateways: &[GatewayConfig], fiction: Fiction) -> Vec<Sender> {
    if !root.has("sender") {
        root.note("sender", "there is none", "add a [[sender]]");
    }
    let mut senders: Vec<Sender> = Vec::new();
    let mut reply_numbers = Vec::new();
    for table in root.tables("sender") {
        let id = table.need::<String>("id");
        let channel = table.read_or("channel", "sms", |text| match Channel::parse(text) {
            Some(channel @ (Channel::Sms | Channel::WhatsApp)) => Ok(channel),
            _ => Err((format!("`{text}` is no channel to send on"), "write sms or whatsapp".into())),
        });
        let channel = channel.unwrap_or(Channel::Sms);
        let is_number = id.starts_with('+');
        if table.has("id") {
            table.parsed("id", &id, |text| match (is_number, channel) {
                (true, _) => match values::number(text, fiction)? {
                    normal if normal == text => Ok(normal),
                    normal => Err(("the number is not in its normal form".into(), format!("write \"{normal}\""))),
                },
                (false, Channel::WhatsApp) => values::name(text),
                (false, _) => alphanumeric(text),
            });
        }
        if senders.iter().any(|other| other.id == id) {
            table.note("id", format!("there is another sender `{id}`"), "give each its own id");
        }
        let gateway = table.need::<String>("gateway");
        let gateway_rate = gateways.iter().find(|g| g.name == gateway).map(|g| g.rate);
        if table.has("gateway") && gateway_rate.is_none() {
            let known: Vec<&str> = gateways.iter().map(|g| g.name.as_str()).collect();
            table.note(
                "gateway",
                format!("there is no usable gateway `{gateway}`"),
                format!("write one of: {}", known.join(", ")),
            );
        }
        let two_way = is_number || channel == Channel::WhatsApp;
        let reply_number = table.read("reply_number", |text| values::number(text, fiction));
        if two_way && table.has("reply_number") {
            table.note("reply_number", "this sender takes answers itself", "remove it");
        }
        reply_numbers.extend(reply_number.clone().map(|number| (table.line("reply_number"), number)));
        let registered = table.each("registered", country);
        let registrations = registrations(&table, &registered);
        let rate = table.read("rate", values::rate);
        table.end();
        let rate = rate.or(gateway_rate).unwrap_or(1.0);
        senders.push(Sender { id, gateway, channel, two_way, reply_number, rate, registered, registrations });
    }
    for (line, number) in reply_numbers {
        if !senders.iter().any(|sender| sender.two_way && sender.id == number) {
            let remedy = "add a [[sender]] whose id is this number: acknowledgements go out from it";
            root.file.note(line, "sender.reply_number", "the number is no sender of its own", remedy);
        }
    }
    senders
}

/// `registrations = [{ country = "IT", state = "registered", since = "2026-05-01", reference = "…" }]`.
fn registrations(sender: &Table, short: &[String]) -> Vec<Registration> {
    if !sender.has("registrations") {
        return Vec::new();
    }
    let mut read: Vec<Registration> = Vec::new();
    for table in sender.tables("registrations") {
        let code = table.read_needed("country", country);
        let state = table.read_needed("state", |text| {
            let unknown = || (format!("there is no state `{text}`"), "write registered or pending".into());
            RegistrationState::parse(text).ok_or_else(unknown)
        });
        let since = table.read_needed("since", values::day);
        let reference = table.get("reference");
        table.end();
        let (Some(country), Some(state), Some(since)) = (code, state, since) else { continue };
        if short.contains(&country) || read.iter().any(|other| other.country == country) {
            table.note("country", format!("{country} is named twice"), "keep one: here, or in `registered`");
        }
        read.push(Registration { country, state, since, reference });
    }
    read
}

/// An ISO 3166 code.
pub fn country(text: &str) -> values::Parsed<String> {
    match text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) {
        true => Ok(text.to_owned()),
        false => Err((format!("`{text}` is no country code"), "write ISO 3166 codes, as in [\"IT\", \"PL\"]".into())),
    }
}
