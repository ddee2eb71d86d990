//! Reads `forms/NAME.toml`: the pages and chatbots on which people leave their number, the choice first.

use std::path::Path;

use url::Url;

use super::problem::{Problem, Problems};
use super::read::{File, Table, meant};
use super::templates::Wording;
use super::{Config, Form, accounts, campaign, lint, templates, values};
use crate::domain::channel::{Channel, Permission};
use crate::domain::wording::Values;

/// Shortest token that lets a chatbot in, characters.
const TOKEN: usize = 20;

impl Form {
    pub fn offers(&self, permission: Permission) -> bool {
        self.channels.contains(&permission.channel) && self.purposes.contains(&permission.purpose)
    }

    /// Its boxes, in the order of the page.
    pub fn offered(&self) -> Vec<Permission> {
        let of = |purpose| self.channels.iter().map(move |channel| Permission { channel: *channel, purpose });
        self.purposes.iter().flat_map(|purpose| of(*purpose)).collect()
    }
}

/// Every form that is in order, and what is wrong with the others.
pub fn read(config: &Config, env: &dyn Fn(&str) -> Option<String>) -> (Vec<Form>, Vec<Problem>) {
    let folder = config.dir.join("forms");
    let paths = if folder.is_dir() { templates::files(&folder, "toml") } else { Ok(Vec::new()) };
    let (mut forms, mut found): (Vec<Form>, Vec<Problem>) = Default::default();
    let paths = match paths {
        Ok(paths) => paths,
        Err(Problems(problems)) => return (forms, problems),
    };
    for path in &paths {
        let (problems, form) = one(config, env, path).unwrap_or_else(|Problems(problems)| (problems, None));
        found.extend(problems);
        let Some(form) = form else { continue };
        if config.speaks() {
            let texts = config.texts_of(templates::FORM);
            let lacks = campaign::required_texts(config, &form.countries, &form.sender, templates::FORM, &texts);
            if !lacks.is_empty() {
                found.extend(lacks);
                continue;
            }
        }
        let same = |other: &&Form| matches!((&form.token, &other.token), (Some(a), Some(b)) if a.expose() == b.expose());
        match forms.iter().find(same) {
            Some(other) => {
                let what = format!("its token is that of form `{}`, and says which of them is meant", other.name);
                found.extend(Problems::one(path.display().to_string(), what, "give each its own: openssl rand -hex 16").0);
            }
            None => forms.push(form),
        }
    }
    // The code's message goes out in the language of the page, whichever that is.
    if config.has_brand() && config.speaks() && !paths.is_empty() {
        let before = found.len();
        found.extend(texts(config).flat_map(|(name, text)| {
            lint::service(name, text, &Values { brand: &config.controller.brand, link: "", reply_number: "", code: "123456" })
        }));
        let needed = format!("{}.{}", templates::FORM, config.default_locale);
        if !config.wordings.contains_key(&needed) {
            let remedy = "add it to templates/messages: it carries the code that completes a choice";
            found.extend(Problems::one(folder.display().to_string(), format!("there is no text {needed}.txt"), remedy).0);
        }
        if found.len() > before {
            forms.clear();
        }
    }
    (forms, found)
}

fn texts(config: &Config) -> impl Iterator<Item = (&String, &Wording)> {
    config.wordings.iter().filter(|(name, _)| name.split('.').next() == Some(templates::FORM))
}

fn one(config: &Config, env: &dyn Fn(&str) -> Option<String>, path: &Path) -> Result<(Vec<Problem>, Option<Form>), Problems> {
    let file = File::open(path)?;
    let form = {
        let tree = file.parse();
        if file.is_sound() { form(&Table::root(&file, &tree), config, env, path) } else { None }
    };
    let found = file.found();
    let form = form.filter(|_| found.is_empty());
    Ok((found, form))
}

fn form(root: &Table, config: &Config, env: &dyn Fn(&str) -> Option<String>, path: &Path) -> Option<Form> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let name = root.read_needed("name", values::name);
    if let Some(name) = name.as_deref().filter(|name| *name != stem) {
        root.note("name", format!("the file is {stem}.toml, but the form is `{name}`"), "give both one name");
    }
    let source = root.need::<String>("source");
    if root.has("source") && source.trim().is_empty() {
        root.note("source", "is empty", "write where people leave their number: they read it as its source");
    }
    let countries = root.each("countries", accounts::country);
    campaign::some(root, "countries", "write the countries whose numbers are taken, as in [\"IT\", \"PL\"]");
    for code in countries.iter().filter(|code| !config.packs.contains_key(*code)) {
        let known: Vec<&str> = config.packs.keys().map(String::as_str).collect();
        let what = format!("{code} has no country pack, so no number there gets a message");
        root.note("countries", what, format!("there are {}", known.join(", ")));
    }
    let page = root.table("preferences");
    let (channels, purposes) = (page.each("channels", campaign::channel), page.each("purposes", campaign::purpose));
    campaign::some(&page, "channels", "write what the form offers, as in [\"sms\", \"call\"]");
    campaign::some(&page, "purposes", "write what the form offers, as in [\"product_info\", \"promotions\"]");
    for channel in &channels {
        let barred =
            |code: &&String| config.packs.get(*code).is_some_and(|p| p.blocks(config.controller.sector.as_deref(), *channel));
        // Some countries bar some trades from marketing.
        for code in countries.iter().filter(barred) {
            let what = format!("{code} bars your trade from marketing by {}", channel.code());
            page.note("channels", what, format!("take {} out here, or {code} out of countries", channel.code()));
        }
    }
    page.end();
    let sender = sender(root, config, &countries);
    let per_day = root.within("per_day", 500, 1..=1_000_000);
    let embed = root.each("embed", |text| origin(text, config.allows_fiction()));
    let written = ["token", "token_env", "token_file"].map(|key| root.has(key));
    let token = written.contains(&true).then(|| accounts::secret(root, "token", config.allows_fiction(), &config.dir, env));
    if let Some(token) = token.as_ref().filter(|token| (1..TOKEN).contains(&token.expose().len())) {
        let key = ["token", "token_env", "token_file"].into_iter().find(|key| root.has(key)).unwrap_or("token");
        root.note(
            key,
            format!("the token has {} characters, and could be guessed", token.expose().len()),
            "make one: openssl rand -hex 16",
        );
    }
    root.end();
    Some(Form {
        name: name?,
        source: source.trim().to_owned(),
        countries,
        channels,
        purposes,
        sender: sender?,
        per_day,
        embed,
        token,
    })
}

/// By which sender the code goes: by SMS, since WhatsApp takes free text for a day after a word of theirs alone.
fn sender(root: &Table, config: &Config, countries: &[String]) -> Option<crate::domain::campaign::Sender> {
    let id = root.need::<String>("sender");
    let known = || config.senders.iter().filter(|s| s.channel == Channel::Sms).map(|s| s.id.as_str());
    let sender = config.sender(&id);
    match sender {
        None if root.has("sender") => {
            root.note("sender", format!("permesso.toml has no sender `{id}`"), meant(&id, known(), "or add a [[sender]] there"));
        }
        Some(sender) if sender.channel != Channel::Sms => {
            let what = format!("`{id}` sends by {}, and the code goes by SMS", sender.channel.code());
            root.note("sender", what, meant("", known(), "or add a [[sender]] there"));
        }
        Some(sender) => campaign::registered(root, config, countries, None, sender),
        None => {}
    }
    sender.cloned()
}

/// Where a page may frame the form: `https://www.acme.example`, without path.
fn origin(text: &str, plain: bool) -> values::Parsed<String> {
    let fits = |url: &Url| url.scheme() == "https" || (plain && url.scheme() == "http");
    match Url::parse(text) {
        Ok(url) if fits(&url) && url.has_host() && url.origin().ascii_serialization() == text.trim_end_matches('/') => {
            Ok(url.origin().ascii_serialization())
        }
        _ => Err((
            format!("`{text}` is no origin of a page"),
            "write scheme and host alone, as in \"https://www.acme.example\"".into(),
        )),
    }
}
