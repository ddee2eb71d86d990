//! Gateways and senders of `permesso.toml`, and where their secrets come from.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use url::{Host, Url};

use super::read::{self, Table};
use super::values::{self, alphanumeric};
use super::{GatewayConfig, Secret};
use crate::domain::campaign::{ApprovedTemplate, Registration, RegistrationState, Sender};
use crate::domain::channel::Channel;
use crate::domain::country::code_of;
use crate::domain::phone::Fiction;
use crate::domain::wording::PLACEHOLDERS;
use crate::gateway;
use crate::gateway::driver::{Account, Driver, Given, Key, Misfit, Take};

/// Where callbacks of a provider that signs nothing are guarded by a secret: its least length, characters.
const CALLBACK_SECRET: usize = 16;

/// Between two messages to one person, seconds ("Throughput": pair rate limits).
const PAIR_SECONDS: i64 = 6;

/// Whether no message of these accounts can reach a real phone.
pub fn pretended(gateways: &[GatewayConfig]) -> bool {
    gateways.iter().all(|gateway| gateway.is_mock() || gateway.simulator)
}

/// `public_url`: where callbacks reach us.
pub fn gateways(root: &Table, public_url: Option<&Url>, dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Vec<GatewayConfig> {
    if !root.has("gateway") {
        root.note("gateway", "there is none", "add a [[gateway]]; driver = \"mock\" sends to pretended phones");
    }
    let mut gateways: Vec<GatewayConfig> = Vec::new();
    for table in root.tables("gateway") {
        let before = table.file.noted();
        let name = table.need::<String>("name");
        if table.has("name") {
            table.parsed("name", &name, values::name);
        }
        if gateways.iter().any(|other| other.name() == name) {
            table.note("name", format!("there is another gateway `{name}`"), "give each its own name");
        }
        let known = || gateway::DRIVERS.iter().map(|driver| driver.name).collect::<Vec<_>>().join(", ");
        let driver = table.read_needed("driver", |text| {
            gateway::driver(text).ok_or_else(|| (format!("there is no driver `{text}`"), format!("write one of: {}", known())))
        });
        // Without a driver nobody knows which keys it has; the mock stands in, lest every sender be reported too.
        let Some(driver) = driver else {
            gateways.push(GatewayConfig {
                driver: &gateway::mock::DRIVER,
                account: account(name, placeholder(), public_url, None, BTreeMap::new(), 5_000),
                rate: 1.0,
                simulator: true,
                callback_password: None,
                callback_addresses: Vec::new(),
                processor: None,
                region: None,
                region_line: 0,
            });
            continue;
        };
        let mock = driver.name == "mock";
        let simulator = !mock && table.or("simulator", false);
        let rate = table.or("rate", 10.0);
        if !(0.001..=100_000.0).contains(&rate) {
            table.note("rate", format!("{rate} is out of range"), "write messages a second, 0.001 to 100000");
        }
        let url = match driver.url {
            "" => table.read_needed("url", |text| address(text, driver, mock || simulator)),
            url => table.read_or("url", url, |text| address(text, driver, mock || simulator)),
        };
        let timeout_ms = table.within("timeout_ms", 5_000, 100..=5_000);
        let given = driver.keys.iter().filter_map(|key| Some((key.name, give(&table, key, mock || simulator, dir, env)?)));
        let given: BTreeMap<&'static str, Given> = given.collect();
        for key in driver.keys {
            let written = match given.get(key.name) {
                Some(Given::Text(text)) if matches!(key.take, Take::Text { .. }) => text,
                Some(Given::Secret(secret)) => secret.expose(),
                _ => continue,
            };
            not_a_stand_in(&table, key.name, written);
        }
        let (mut token, mut password, mut addresses) = (None, None, Vec::new());
        if !driver.can.signed_callbacks {
            let guard = |key| guard(&table, key, simulator, dir, env);
            (token, password) = (guard("callback_token"), guard("callback_password"));
            addresses = table.each("callback_addresses", values::network);
            // A driver of many providers has further ways of its own.
            let own = |key: &Key| key.name.starts_with("callback_") && matches!(key.take, Take::Secret { .. });
            let own = driver.keys.iter().any(|key| own(key) && has_secret(&table, key.name));
            if !own && !has_secret(&table, "callback_token") && !has_secret(&table, "callback_password") {
                let what = format!("{} signs no callbacks, so anybody could send them", driver.title);
                let remedy = "callback_token_env or callback_token_file: it becomes the last part of the callback address (or callback_password_…: Basic)";
                table.note("callback_token", what, remedy);
            }
        }
        let said = |key: &str| table.get::<String>(key).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let (processor, region) = (said("processor"), said("region"));
        table.end();
        // Kept even so, lest every sender of it be reported too.
        let account = account(name, url.unwrap_or_else(placeholder), public_url, token, given, timeout_ms);
        // Only where each value is right by itself: what is missing fits nothing.
        if table.file.noted() == before
            && let Err(Misfit { key, what, remedy }) = (driver.fits)(&account)
        {
            let written = [key.to_owned(), format!("{key}_env"), format!("{key}_file")].into_iter().find(|key| table.has(key));
            table.note(written.as_deref().unwrap_or(key), what, remedy);
        }
        gateways.push(GatewayConfig {
            driver,
            account,
            rate,
            simulator,
            callback_password: password,
            callback_addresses: addresses,
            processor,
            region,
            region_line: table.line("region"),
        });
    }
    gateways
}

/// Stands in for an address that cannot be read.
pub fn placeholder() -> Url {
    Url::parse("https://missing.invalid").expect("it is an address")
}

fn account(
    name: String,
    url: Url,
    public_url: Option<&Url>,
    callback_token: Option<Secret>,
    given: BTreeMap<&'static str, Given>,
    timeout_ms: i64,
) -> Account {
    let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or_default());
    Account {
        name,
        url,
        timeout,
        public_url: public_url.cloned().unwrap_or_else(placeholder),
        callback_token,
        given,
        senders: Vec::new(),
    }
}

/// A provider's address: over TLS, or in the clear on this machine and where nothing reaches a real phone. A session to a carrier often
/// runs in the clear inside a VPN, which nobody can see from here: that is warned of at every start.
fn address(text: &str, driver: &Driver, pretended: bool) -> values::Parsed<Url> {
    let tls = driver.schemes.first().copied().unwrap_or("https");
    let clear = |url: &Url| pretended || is_local(url) || !driver.calls_back();
    let fits = |url: &Url| driver.schemes.contains(&url.scheme()) && (url.scheme() == tls || clear(url));
    match Url::parse(text) {
        // As in this project's own README: it resolves to nobody's account.
        Ok(url) if url.host_str().is_some_and(|host| host.to_lowercase().contains("xxxxx")) => {
            Err((format!("`{text}` is a stand-in for an address"), "write the one your provider gave the account".into()))
        }
        Ok(url) if fits(&url) && url.has_host() && url.fragment().is_none() && url.password().is_none() => Ok(url),
        _ => {
            let serves = if driver.calls_back() { "serves this machine alone" } else { "only inside a VPN" };
            let plain = driver.schemes.get(1).map_or(String::new(), |plain| format!(" ({plain}:// {serves})"));
            Err((format!("`{text}` is no usable address"), format!("write {tls}://…{plain}, without password and #")))
        }
    }
}

/// Whether what is sent there stays on this machine.
pub fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name == "127.0.0.1" || name == "[::1]",
        None => false,
    }
}

/// Reads one setting of an account by what its driver says of it.
fn give(table: &Table, key: &Key, inline: bool, dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Option<Given> {
    Some(match key.take {
        Take::Text { needed: true } => Given::Text(table.need(key.name)),
        Take::Text { needed: false } => Given::Text(table.or(key.name, String::new())),
        Take::Checked { needed, check } => {
            let read = |text: &str| check(text).map(|()| text.to_owned());
            let text = if needed { table.read_needed(key.name, read) } else { table.read(key.name, read) };
            Given::Text(text.unwrap_or_default())
        }
        Take::List { check } => Given::List(table.each(key.name, |text| check(text).map(|()| text.to_owned()))),
        Take::Secret { needed } if needed || has_secret(table, key.name) => {
            Given::Secret(secret(table, key.name, inline, dir, env))
        }
        Take::Secret { .. } => return None,
        Take::Number { default, least, most } => Given::Number(table.within(key.name, default, least..=most)),
        Take::Flag(default) => Given::Flag(table.or(key.name, default)),
        Take::OneOf(choices) => {
            let remedy = || format!("write one of: {}", choices.join(", "));
            let read =
                table.read_or(key.name, choices.first().copied().unwrap_or_default(), |text| match choices.contains(&text) {
                    true => Ok(text.to_owned()),
                    false => Err((format!("`{text}` is not possible here"), remedy())),
                });
            Given::Text(read.unwrap_or_default())
        }
    })
}

/// Whoever copies an example keeps its dots: `AC…`, `HX…`, `+39…`.
fn not_a_stand_in(table: &Table, key: &str, written: &str) {
    if written.contains('…') || written.contains("...") {
        let there = [key.to_owned(), format!("{key}_env"), format!("{key}_file")].into_iter().find(|key| table.has(key));
        table.note(
            there.as_deref().unwrap_or(key),
            "is a stand-in with dots",
            "write the whole value, as your provider shows it",
        );
    }
}

/// Whether a secret is given in one of its three ways; all three names count as known then.
fn has_secret(table: &Table, key: &str) -> bool {
    [key.to_owned(), format!("{key}_env"), format!("{key}_file")].map(|key| table.has(&key)).contains(&true)
}

/// A secret that guards callbacks, if it is given: long enough not to be guessed, and fit for an address.
fn guard(table: &Table, key: &str, inline: bool, dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Option<Secret> {
    let secret = has_secret(table, key).then(|| secret(table, key, inline, dir, env))?;
    let fits =
        |text: &str| text.len() >= CALLBACK_SECRET && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if !secret.expose().is_empty() && !fits(secret.expose()) {
        let what = format!("is not at least {CALLBACK_SECRET} of A-Z, a-z, 0-9, - and _");
        table.note(key, what, "make one: openssl rand -hex 16");
    }
    Some(secret)
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
        let account = gateways.iter().find(|g| g.name() == gateway);
        let gateway_rate = account.map(|g| g.rate);
        if table.has("gateway") && gateway_rate.is_none() {
            let known: Vec<&str> = gateways.iter().map(GatewayConfig::name).collect();
            table.note(
                "gateway",
                format!("there is no usable gateway `{gateway}`"),
                read::one_of(known, "add it as a [[gateway]]"),
            );
        }
        if let Some(driver) = account.map(|g| g.driver) {
            if !driver.can.channels.contains(&channel) {
                let can = driver.can.channels.iter().map(|c| c.code()).collect::<Vec<_>>().join(" or ");
                table.note("channel", format!("{} does not send by {}", driver.title, channel.code()), format!("write {can}"));
            }
            if !driver.can.alphanumeric && !is_number && channel == Channel::Sms {
                table.note("id", format!("{} shows no name as a sender", driver.title), "write a number of the account's");
            }
        }
        let hears = account.is_none_or(|g| g.driver.can.two_way);
        let two_way = hears && (is_number || channel == Channel::WhatsApp);
        let templates = templates(&table);
        let reply_number = table.read("reply_number", |text| values::number(text, fiction));
        if two_way && table.has("reply_number") {
            table.note("reply_number", "this sender takes answers itself", "remove it");
        }
        reply_numbers.extend(reply_number.clone().map(|number| (table.line("reply_number"), number)));
        // One that was refused stands in, or every campaign would be told that there is none.
        let reply_number = reply_number.or_else(|| table.get("reply_number"));
        let registered = table.each("registered", country);
        let registrations = registrations(&table, &registered);
        let rate = table.read("rate", values::rate);
        let rate = rate.or(gateway_rate).unwrap_or(1.0);
        let address: Option<String> = table.get("address");
        not_a_stand_in(&table, "address", address.as_deref().unwrap_or_default());
        // Only where it is WhatsApp itself; the mock takes whatever comes.
        let whatsapp = channel == Channel::WhatsApp && account.is_some_and(|g| g.driver.can.templates);
        let daily_recipients = table.has("daily_recipients").then(|| table.within("daily_recipients", 250, 1..=100_000_000));
        let pair_seconds = table.within("pair_seconds", if whatsapp { PAIR_SECONDS } else { 0 }, 0..=3_600);
        for key in ["daily_recipients", "pair_seconds"] {
            if channel != Channel::WhatsApp && table.has(key) {
                table.note(key, "is a limit of WhatsApp, and this sender sends by sms", "remove it");
            }
        }
        table.end();
        senders.push(Sender {
            id,
            gateway,
            channel,
            address,
            two_way,
            reply_number,
            rate,
            registered,
            registrations,
            templates,
            daily_recipients,
            pair_seconds,
        });
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

/// `templates = [{ text = "repermission", locale = "it", id = "…", approved = "2026-11-02", values = ["brand"], link_button = true }]`.
fn templates(sender: &Table) -> Vec<ApprovedTemplate> {
    if !sender.has("templates") {
        return Vec::new();
    }
    let mut read: Vec<ApprovedTemplate> = Vec::new();
    for table in sender.tables("templates") {
        let (text, id) = (table.need::<String>("text"), table.need::<String>("id"));
        let locale = table.read_needed("locale", values::locale);
        not_a_stand_in(&table, "id", &id);
        let language = table.or("language", locale.clone().unwrap_or_default());
        let approved = table.read_needed("approved", values::day);
        let link_button = table.or("link_button", false);
        let named = table.or("named", false);
        let values = table.each("values", |text| match PLACEHOLDERS.contains(&text) {
            true => Ok(text.to_owned()),
            false => Err((format!("there is no value `{text}`"), format!("write some of: {}", PLACEHOLDERS.join(", ")))),
        });
        table.end();
        let (Some(approved), Some(locale)) = (approved, locale) else { continue };
        if read.iter().any(|other| (&other.text, &other.locale) == (&text, &locale)) {
            table.note("text", format!("{text}.{locale} has a template already"), "keep one");
        }
        read.push(ApprovedTemplate { text, locale, id, language, values, named, link_button, approved });
    }
    read
}

/// An ISO 3166 code.
pub fn country(text: &str) -> values::Parsed<String> {
    // `UK` is of the form, and means Great Britain to everybody but the standard.
    if let Some(code) = code_of(text).filter(|code| code != text) {
        return Err((format!("`{text}` is no ISO 3166 code"), format!("write {code}")));
    }
    match text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) {
        true => Ok(text.to_owned()),
        false => Err((format!("`{text}` is no country code"), "write ISO 3166 codes, as in [\"IT\", \"PL\"]".into())),
    }
}
