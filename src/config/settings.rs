//! Reads `permesso.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::problem::{Problem, Problems};
use super::read::{self, File, Table};
use super::templates::Wording;
use super::values::{self, web_address};
use super::{
    Config, Controller, Logo, accounts, columns, entries, forms, lint, notices, packs, prices, retention, templates, webhooks,
};
use crate::domain::country::CountryPack;
use crate::domain::phone::Fiction;
use crate::domain::plural::counted;
use crate::domain::sms;
use crate::domain::wording::Values;

/// The form of permesso.toml and of the files beside it. It is raised when a file written for the form before would be read wrongly;
/// `config check` then says what to change.
const CONFIG_VERSION: i64 = 1;

pub fn read(dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Problems> {
    let (found, config) = read_what_can_be(dir, env)?;
    Problems::or(found, config)
}

/// Everything that is wrong, and the settings as far as they can be read in spite of it: a value that cannot be is as if nothing were
/// written, so that what stands in other files is checked all the same.
///
/// # Errors
/// The file itself cannot be opened.
pub fn read_what_can_be(dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<(Vec<Problem>, Option<Config>), Problems> {
    let path = dir.join("permesso.toml");
    if !path.exists() {
        let shown = dir.display();
        let what = if dir.is_dir() { "there is no permesso.toml in it" } else { "there is no such folder" };
        let remedy =
            format!("name the folder that has your permesso.toml with --config, or `permesso --config {shown} init` makes one");
        return Err(Problems::one(shown.to_string(), what, remedy));
    }
    let file = File::open(&path)?;
    let mut found = Vec::new();
    let config = {
        let tree = file.parse();
        // What follows from half a file would only confuse; what stands beside it does not follow from it.
        if file.is_sound() {
            settings(&Table::root(&file, &tree), dir, env, &mut found)
        } else {
            packs::countries(dir, &mut found);
            packs::phrases(dir, &mut found);
            None
        }
    };
    // Without a name to write under, every text would seem wrong.
    if let Some(config) = config.as_ref().filter(|config| config.has_brand()) {
        found.extend(service(config, &config.controller.brand, |_| true));
    }
    found.extend(file.found());
    Ok((found, config))
}

fn settings(root: &Table, dir: &Path, env: &dyn Fn(&str) -> Option<String>, found: &mut Vec<Problem>) -> Option<Config> {
    // Files of 0.1's first days have no such key, and are of the first form.
    let version = root.or("config_version", 1);
    if version != CONFIG_VERSION {
        let what = match version {
            2.. => format!("the files are written for a newer permesso: this one knows version {CONFIG_VERSION}"),
            _ => format!("there is no version {version}"),
        };
        root.note("config_version", what, format!("run the permesso they were written for, or write {CONFIG_VERSION} and compare with what `permesso init` makes in an empty folder"));
        // The rest may mean something else there.
        return None;
    }
    let before = found.len();
    let packs = packs::countries(dir, found);
    // Whatever a pack that cannot be read would have said seems to be missing.
    let all_packs = found.len() == before;
    let phrases = packs::phrases(dir, found);
    let controller = controller(root.table("controller"), dir, &packs, all_packs);
    let written_url = root.get::<String>("public_url").and_then(|text| url::Url::parse(&text).ok());
    let mut gateways = accounts::gateways(root, written_url.as_ref(), dir, env);
    let mock = accounts::pretended(&gateways);
    let fiction = if mock { Fiction::Allowed } else { Fiction::Refused };
    let prices = prices::read(dir, &gateways, found);
    let senders = accounts::senders(root, &gateways, fiction);
    for gateway in &mut gateways {
        gateway.account.senders = senders.iter().filter(|sender| sender.gateway == gateway.account.name).cloned().collect();
    }
    let webhooks = webhooks::webhooks(root, mock, dir, env);
    let entries = entries::entries(root, dir, &phrases);

    let written = root.or("database", "sqlite:permesso.db".to_owned());
    let database = root.parsed("database", &env("PERMESSO_DATABASE").unwrap_or(written), |text| values::database(text, dir));
    let public_url = root.read_needed("public_url", |text| web_address(text, mock));
    let public_listen = root.read_or("public_listen", "127.0.0.1:8080", values::listen);
    let operator_listen = root.read_or("operator_listen", "127.0.0.1:8081", values::listen);
    let operator_token_file = root.get::<String>("operator_token_file").map(|path| values::path(dir, &path));
    if operator_listen.is_some_and(|address| !address.ip().is_loopback()) && operator_token_file.is_none() {
        let remedy = "set operator_token_file, or listen on 127.0.0.1";
        root.note("operator_listen", "any machine that reaches this address could operate this installation", remedy);
    }
    let operator_hosts = root.each("operator_hosts", values::host);

    let default_country = root.get::<String>("default_country");
    if let Some(code) = default_country.as_ref().filter(|code| all_packs && !packs.contains_key(*code)) {
        root.note("default_country", format!("`{code}` has no country pack"), "write the code of a file in countries/");
    }
    let templates = templates_folder(root, dir);
    let (wordings, unread) =
        templates::load(templates.as_deref()).unwrap_or_else(|Problems(problems)| (templates::Wordings::new(), problems));
    // Whatever a text that cannot be read is seems to be missing.
    let all_texts = unread.is_empty();
    found.extend(unread);
    let default_locale = root.need::<String>("default_locale");
    let service = templates::SERVICE.iter().map(|name| format!("{name}.{default_locale}"));
    let lacking: Vec<String> = service.filter(|name| !wordings.contains_key(name)).collect();
    if root.has("default_locale") && all_texts && !lacking.is_empty() {
        let texts = lacking.iter().map(|name| format!("{name}.txt")).collect::<Vec<_>>().join(", ");
        let remedy = "add them to templates/messages, or write it, en, pl, de, fr or es";
        root.note("default_locale", format!("there is no text {texts}"), remedy);
    }

    let key_file = dir.join(root.or("key_file", "permesso.key".to_owned()));
    let trusted_proxies = root.each("trusted_proxies", values::network);
    let testers = root.each("testers", |text| values::number(text, fiction));
    let pack_stale_days = root.within("pack_stale_days", 365, 1..=3650);
    let pack_warn_days = root.within("pack_warn_days", 60, 0..=365);
    let pending_days = root.within("pending_days", 7, 1..=30);
    let link_days = root.within("link_days", 30, 1..=365);
    let import = columns::import(&root.table("import"));
    let retention = retention::retention(&root.table("retention"));
    root.end();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config {
        dir: dir.to_owned(),
        controller,
        database: database.unwrap_or_default(),
        key_file,
        public_url: public_url.unwrap_or_else(accounts::placeholder),
        public_listen: public_listen.unwrap_or(nowhere),
        operator_listen: operator_listen.unwrap_or(nowhere),
        operator_token_file,
        operator_hosts,
        trusted_proxies,
        default_country,
        default_locale,
        gateways,
        senders,
        webhooks,
        forms: Vec::new(),
        unfit_forms: Vec::new(),
        entries,
        testers,
        import,
        packs,
        prices,
        phrases,
        templates,
        pack_stale_days,
        pack_warn_days,
        pending_days,
        link_days,
        retention,
        wordings,
        offered: notices::offered(dir),
        is_whole: all_packs && all_texts,
    };
    if let Some((what, remedy)) = unfit_brand(&config) {
        root.table("controller").note("brand", what, remedy);
        // Under it every text would seem wrong.
        config.controller.brand.clear();
    }
    // Senders, packs and texts that cannot be read would seem wrong in every form.
    if config.is_whole {
        (config.forms, config.unfit_forms) = forms::read(&config, env);
    }
    Some(config)
}

/// What is wrong with the messages that belong to no campaign, under this brand.
fn service(config: &Config, brand: &str, which: impl Fn(&Wording) -> bool) -> Vec<Problem> {
    // These texts go out from the sender that was written to, so they need no number to answer to.
    let link = config.sample_link();
    let is_service = |name: &str| templates::SERVICE.contains(&name.split('.').next().unwrap_or_default());
    let texts = config.wordings.iter().filter(|(name, text)| is_service(name) && which(text));
    let check = |(name, text): (&String, &Wording)| {
        // A code's message names no link: whoever has it asked for it on the page.
        let (link, code) =
            if name.starts_with("code.") || name.starts_with("data_code.") { ("", "123456") } else { (link.as_str(), "") };
        lint::service(name, text, &Values { brand, link, reply_number: "", code })
    };
    texts.flat_map(check).collect()
}

/// Why the texts that ship cannot be sent under this brand, where they could under a short and plain one, and the remedy.
fn unfit_brand(config: &Config) -> Option<(String, String)> {
    let brand = config.controller.brand.trim();
    let unfit = if config.has_brand() { service(config, brand, Wording::is_built_in).len() } else { 0 };
    if unfit == 0 || !service(config, "ACME", Wording::is_built_in).is_empty() {
        return None;
    }
    let texts = counted(unfit, "text that ships is", "texts that ship are");
    let own = "texts of your own (`permesso config texts`) may be shorter";
    Some(match sms::forcing_ucs2(brand).first() {
        Some((at, c)) => {
            let plain = sms::without_accents(brand);
            let so = if sms::forcing_ucs2(&plain).is_empty() { format!(", as in \"{}\"", plain.trim()) } else { String::new() };
            let what = format!("`{c}` at character {} halves what an SMS holds (it forces UCS-2), so {texts} too long", at + 1);
            (what, format!("write it without{so}; {own}"))
        }
        None => {
            (format!("is so long ({} characters) that {texts} too long", brand.chars().count()), format!("shorten it; {own}"))
        }
    })
}

fn controller(table: Table, dir: &Path, packs: &BTreeMap<String, CountryPack>, all_packs: bool) -> Controller {
    let text = |key: &str| {
        let text = table.need::<String>(key);
        if table.has(key) && text.trim().is_empty() {
            table.note(key, "is empty", "write what people should read");
        }
        text
    };
    let [name, address, privacy_contact, brand, notice_version] =
        ["name", "address", "privacy_contact", "brand", "notice_version"].map(text);
    for (key, value, read) in [
        ("privacy_contact", &privacy_contact, values::contact as fn(&str) -> values::Parsed<()>),
        ("notice_version", &notice_version, values::version),
    ] {
        if let Err((what, remedy)) = read(value.trim())
            && !value.trim().is_empty()
        {
            table.note(key, what, remedy);
        }
    }
    let id = table.read_or("id", "default", values::name);
    let sector = table.read("sector", |text| {
        let known: BTreeSet<&str> = packs.values().flat_map(|pack| pack.sectors.blocked.keys()).map(String::as_str).collect();
        match known.contains(text) || !all_packs {
            true => Ok(text.to_owned()),
            // A misspelt trade would be a ban that bans nothing.
            false => Err((
                format!("no country pack has a rule for the trade `{text}`"),
                match known.is_empty() {
                    true => "remove the key".to_owned(),
                    false => format!("{}; or remove the key", read::one_of(known, "")),
                },
            )),
        }
    });
    let brand_color = table.read_or("brand_color", "#1f4e79", values::brand_color);
    let logo = table.read("logo", |name| logo(&dir.join(name)));
    let notice_url = table.read("notice_url", |text| web_address(text, true));
    let storage = table.or("storage", String::new());
    let storage_line = table.line("storage");
    if table.has("storage") && storage.trim().is_empty() {
        table.note("storage", "is empty", "say where the database is, as in \"Milan, Italy (EU)\": the notice names it");
    }
    table.end();
    Controller {
        id: id.unwrap_or_default(),
        name,
        address,
        privacy_contact,
        brand,
        sector,
        brand_color: brand_color.unwrap_or_default(),
        logo,
        notice_url,
        notice_version,
        storage: storage.trim().to_owned(),
        storage_line,
    }
}

/// A picture for every page, small enough that a page stays light on an old phone. What it is its content says, whatever its name.
fn logo(path: &Path) -> values::Parsed<Logo> {
    const LARGEST: usize = 10_000;
    let shown = path.display();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return Err((format!("{shown} cannot be read: {error}"), "name a file beside permesso.toml".into())),
    };
    let kind = match &bytes[..] {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        text if String::from_utf8_lossy(text).contains("<svg") => "image/svg+xml",
        _ => return Err((format!("{shown} is neither SVG nor PNG nor WebP"), "save it as one of these".into())),
    };
    if bytes.len() > LARGEST {
        let what = format!("{shown} has {} bytes, and a page with it would be slow on an old phone", bytes.len());
        return Err((what, format!("make it smaller: {LARGEST} bytes at most")));
    }
    Ok(Logo { kind, bytes: bytes.into() })
}

/// The folder of our own texts: the one named, else `templates/messages` beside the configuration folder if there is one.
fn templates_folder(root: &Table, dir: &Path) -> Option<PathBuf> {
    let named = root.get::<String>("templates").map(|path| values::path(dir, &path));
    if let Some(folder) = named.as_ref().filter(|folder| !folder.is_dir()) {
        root.note(
            "templates",
            format!("{} is no folder", folder.display()),
            "create it, or remove the key: the built-in texts then serve",
        );
        return None;
    }
    named.or_else(|| Some(templates::folder(dir, None)).filter(|folder| folder.is_dir()))
}
