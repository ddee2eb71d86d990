//! Reads `campaigns/NAME.toml` into the value the engine freezes, or into everything that is wrong with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{NaiveDate, NaiveTime};
use chrono_tz::Tz;

use super::problem::{Problem, Problems};
use super::read::{File, Table, meant};
use super::{Config, accounts, approved, lint, prices, templates, values};
use crate::domain::campaign::{Ask, Campaign, Limits, Mode, NoticeShown, RegistrationState, Sender, StopIf};
use crate::domain::channel::{Channel, Permission, Purpose};
use crate::domain::contact::Kind;
use crate::domain::hours::{Hours, Opening, opening};
use crate::domain::money::Money;
use crate::domain::price::Price;
use crate::domain::wording::Values;

/// One ask a person in 24 months; a campaign may only wait longer.
const CAP_DAYS: i64 = 730;

/// What the page of a campaign, or of a form, lets people choose, as far as its file can be read.
pub fn offers(path: &Path) -> (Vec<Channel>, Vec<Purpose>) {
    let Ok(file) = File::open(path) else { return Default::default() };
    let tree = file.parse();
    let page = Table::root(&file, &tree).table("preferences");
    (page.each("channels", channel), page.each("purposes", purpose))
}

pub fn read(config: &Config, name: &str) -> Result<Campaign, Problems> {
    let (found, campaign) = read_what_can_be(config, name)?;
    Problems::or(found, campaign)
}

/// Everything that is wrong, and the campaign as far as it can be read in spite of it.
///
/// # Errors
/// There is no such file, or it cannot be opened.
pub fn read_what_can_be(config: &Config, name: &str) -> Result<(Vec<Problem>, Option<Campaign>), Problems> {
    let folder = config.dir.join("campaigns");
    let path = folder.join(format!("{name}.toml"));
    // A name that cannot be one might lead out of the folder.
    if values::name(name).is_err() || !path.exists() {
        let what = format!("there is no campaign `{name}`");
        return Err(Problems::one(folder.display().to_string(), what, config.campaign_meant(name)));
    }
    let file = File::open(&path)?;
    let mut found = Vec::new();
    let campaign = {
        let tree = file.parse();
        if file.is_sound() { campaign(&Table::root(&file, &tree), config, name, &mut found) } else { None }
    };
    found.extend(file.found());
    Ok((found, campaign))
}

/// What does not parse in any campaign's or form's file: all that can be said of them without the settings.
pub fn syntax(dir: &Path) -> Vec<Problem> {
    let folders = ["campaigns", "forms"].map(|folder| templates::files(&dir.join(folder), "toml").unwrap_or_default());
    let wrong = |path: &PathBuf| {
        File::open(path).map_or_else(
            |Problems(problems)| problems,
            |file| {
                let _ = file.parse();
                file.found()
            },
        )
    };
    folders.iter().flatten().flat_map(wrong).collect()
}

fn campaign(root: &Table, config: &Config, name: &str, found: &mut Vec<Problem>) -> Option<Campaign> {
    let written = root.need::<String>("name");
    if root.has("name") && written != name {
        root.note("name", format!("the file is {name}.toml, but the campaign is `{written}`"), "give both one name");
    }
    let family = root.read_or("family", "default", values::name);

    let audience = root.table("audience");
    let kinds = audience.each("kinds", |text| match Kind::parse(text) {
        Some(Kind::Customer) => Err(("active customers are never asked".into(), "write prospect, dormant or both".into())),
        Some(kind) => Ok(kind),
        None => Err((format!("there is no kind `{text}`"), "write prospect, dormant or both".into())),
    });
    some(&audience, "kinds", "write prospect, dormant or both");
    let dormant_after_days = audience.read_or("dormant_after", "12 months", values::days);
    let countries = audience.each("countries", accounts::country);
    some(&audience, "countries", "write the codes of the countries asked, as in [\"IT\", \"PL\"]");
    for code in countries.iter().filter(|code| !config.packs.contains_key(*code)) {
        let known: Vec<&str> = config.packs.keys().map(String::as_str).collect();
        audience.note(
            "countries",
            format!("{code} has no country pack, so nobody there may be asked"),
            format!("there are {}", known.join(", ")),
        );
    }
    audience.end();

    let schedule = schedule(root.table("schedule"), &countries);
    if let Some(schedule) = &schedule {
        never_open(&root.table("schedule"), config, &countries, schedule);
    }
    let page = root.table("preferences");
    let page_channels = page.each("channels", channel);
    let page_purposes = page.each("purposes", purpose);
    some(&page, "channels", "write what the page offers, as in [\"sms\", \"call\"]");
    some(&page, "purposes", "write what the page offers, as in [\"product_info\", \"promotions\"]");
    page.end();
    let page = (page_channels.as_slice(), page_purposes.as_slice());
    let there = There { countries: &countries, on: schedule.as_ref().map(|s| s.start.date_naive()) };
    let (asks_for, asks) = asks(root.table("ask"), config, &there, page, found);
    for ask in &asks {
        let barred =
            |code: &&String| config.packs.get(*code).is_some_and(|p| p.blocks(config.controller.sector.as_deref(), ask.channel));
        // Some countries bar some trades from marketing.
        for code in countries.iter().filter(barred) {
            let what = format!("{code} bars your trade from marketing by {}", ask.channel.code());
            root.table("audience").note("countries", what, format!("take {code} out; the rule is [sectors] of its pack"));
        }
    }

    let limits = root.table("limits");
    let stop_if = stop_if(&limits);
    let sender_rate = asks.first().map_or(1.0, |ask| ask.sender.rate);
    let rate = if limits.has("rate") { limits.read("rate", values::rate) } else { Some(sender_rate) };
    let first = limits.has("first").then(|| limits.within("first", 1, 1..=i64::MAX)).and_then(|n| u64::try_from(n).ok());
    let cap_days = limits.read_or("cap", "24 months", |text| match values::days(text)? {
        days if days < CAP_DAYS => {
            Err((format!("{text} is too short: one ask a person in 24 months"), "write at least \"24 months\"".into()))
        }
        days => Ok(days),
    });
    let max_cost = limits.read("max_cost", values::money);
    let prices = prices((&audience, &limits), config, &countries, &asks, max_cost);
    limits.end();
    root.end();

    let texts =
        config.wordings.iter().filter(|(name, _)| templates::SERVICE.contains(&name.split('.').next().unwrap_or_default()));
    let packs = config.packs.iter().filter(|(code, _)| countries.contains(code));
    let packs = packs.map(|(code, pack)| (code.clone(), pack.clone())).collect();
    let Schedule { start, deadline, time_zone, hours, reminder_after_days, repeat_at } = schedule?;
    Some(Campaign {
        name: name.to_owned(),
        family: family?,
        kinds,
        dormant_after_days: dormant_after_days?,
        countries,
        start,
        deadline,
        time_zone,
        hours,
        reminder_after_days,
        repeat_at,
        asks_for,
        asks,
        page_channels,
        page_purposes,
        limits: Limits { rate: rate?, first, max_cost, stop_if },
        brand: config.controller.brand.clone(),
        pending_days: config.pending_days,
        link_days: config.link_days,
        cap_days: cap_days?,
        default_locale: config.default_locale.clone(),
        texts: texts.map(|(name, wording)| (name.clone(), wording.text.clone())).collect(),
        packs,
        pack_stale_days: config.pack_stale_days,
        prices,
        pack_warn_days: config.pack_warn_days,
        governed: config.packs.keys().cloned().collect(),
        sector: config.controller.sector.clone(),
        notice: config.notices().ok().map(|notices| NoticeShown {
            version: config.controller.notice_version.clone(),
            hashes: notices.iter().map(|n| (n.locale.clone(), n.hash())).collect(),
        }),
    })
}

/// Where and from which day on a campaign asks.
struct There<'a> {
    countries: &'a [String],
    on: Option<NaiveDate>,
}

/// The rows of the price table this campaign can need. With a budget none may be missing: what cannot be reckoned cannot be reserved.
fn prices(
    (audience, limits): (&Table, &Table),
    config: &Config,
    countries: &[String],
    asks: &[Ask],
    max_cost: Option<Money>,
) -> Vec<Price> {
    let needed = |price: &&Price| {
        let pays = |ask: &Ask| ask.sender.gateway == price.gateway && ask.channel == price.channel;
        countries.contains(&price.country) && asks.iter().any(pays)
    };
    let prices: Vec<Price> = config.prices.iter().filter(needed).cloned().collect();
    let file = config.dir.join(prices::FILE).display().to_string();
    if let Some(max_cost) = max_cost {
        for (ask, country) in asks.iter().flat_map(|ask| countries.iter().map(move |country| (ask, country))) {
            let (gateway, channel) = (&ask.sender.gateway, ask.channel.code());
            if !prices.iter().any(|p| p.channel == ask.channel && p.gateway == *gateway && p.country == *country) {
                let what =
                    format!("the price of {channel} to {country} by gateway {gateway} is not known, so no budget can hold");
                limits.note("max_cost", what, format!("add it to {file} as a [[price]], or remove max_cost"));
            }
        }
        if let Some(other) = prices.iter().find(|p| p.price.currency != max_cost.currency) {
            let what =
                format!("{max_cost} is the budget, but {} to {} costs {}", other.channel.code(), other.country, other.price);
            limits.note("max_cost", what, format!("write the budget and the prices in {file} in one currency"));
        }
    } else if let Some((first, other)) =
        prices.first().and_then(|first| Some((first, prices.iter().find(|p| p.price.currency != first.price.currency)?)))
    {
        let what = format!(
            "one campaign has one currency, but {} costs {} and {} {}",
            first.country, first.price, other.country, other.price
        );
        audience.note("countries", what, format!("write the prices in {file} in one currency, or make two campaigns"));
    }
    prices
}

struct Schedule {
    start: chrono::DateTime<chrono::Utc>,
    deadline: chrono::DateTime<chrono::Utc>,
    time_zone: String,
    hours: Option<String>,
    reminder_after_days: Option<i64>,
    repeat_at: Option<NaiveTime>,
}

/// Hours of the campaign's own that never meet those of a country: nobody there would ever be asked.
fn never_open(table: &Table, config: &Config, countries: &[String], schedule: &Schedule) {
    let Some(own) = &schedule.hours else { return };
    for pack in countries.iter().filter_map(|code| config.packs.get(code)) {
        let written = [pack.open_hours(), own.clone()];
        let windows: Vec<Hours> = written.iter().filter_map(|hours| Hours::parse(hours, Some(&pack.code)).ok()).collect();
        let zones: Vec<Tz> = pack.zones.iter().filter_map(|zone| zone.parse().ok()).collect();
        if windows.len() == written.len()
            && opening(&windows.iter().collect::<Vec<_>>(), &zones, schedule.start) == Opening::Never
        {
            let what = format!("no hour in 60 days is both within these and within those of {}: {}", pack.code, pack.hours.open);
            table.note("hours", what, "write hours that meet the country's, or \"country\"");
        }
    }
}

fn schedule(table: Table, countries: &[String]) -> Option<Schedule> {
    let repeat_at = table.read("repeat", values::daily);
    let time_zone = table.need::<String>("time_zone");
    let zone: Option<Tz> = time_zone.parse().ok();
    if zone.is_none() && table.has("time_zone") {
        table.note("time_zone", format!("there is no time zone `{time_zone}`"), "write an IANA name, as in \"Europe/Rome\"");
    }
    // Without a zone the form can still be checked.
    let instant = |text: &str| values::instant(text, zone.unwrap_or(Tz::UTC));
    let [start, deadline] = ["start", "deadline"].map(|key| table.read_needed(key, instant));
    // In the hour that a clock change repeats, the later start and the earlier deadline: never longer than written.
    let (start, deadline) = (start.map(|(_, latest)| latest), deadline.map(|(earliest, _)| earliest));
    if let (Some(start), Some(deadline)) = (start, deadline)
        && deadline <= start
    {
        table.note("deadline", "the deadline is not after the start", "write a later deadline or an earlier start");
    }
    let reminder = table.read("reminder_after", values::days);
    if let (Some(days), Some(start), Some(deadline)) = (reminder, start, deadline)
        && deadline > start
        && start + chrono::Duration::days(days) >= deadline
    {
        table.note("reminder_after", "the deadline comes before any reminder", "write a shorter time, or remove it");
    }
    let hours = Some(table.or("hours", "country".to_owned())).filter(|hours| hours != "country");
    let countries = countries.iter().map(|code| Some(code.as_str()));
    let error = hours.as_ref().and_then(|hours| countries.map(|country| Hours::parse(hours, country)).find_map(Result::err));
    if let Some(error) = error {
        let remedy = format!("write \"country\" for the country's hours, or {}", values::HOURS);
        table.note("hours", error.to_string(), remedy);
    }
    table.end();
    Some(Schedule { start: start?, deadline: deadline?, time_zone, hours, reminder_after_days: reminder, repeat_at })
}

fn asks(
    table: Table,
    config: &Config,
    there: &There,
    page: (&[Channel], &[Purpose]),
    found: &mut Vec<Problem>,
) -> (Vec<Permission>, Vec<Ask>) {
    if !table.has("asks_for") {
        table.note(
            "asks_for",
            "is missing",
            "add { purposes = [\"promotions\"], channels = [\"sms\"] }: what a yes by reply grants",
        );
    }
    let wanted = table.table("asks_for");
    let (purposes, channels) = (wanted.each("purposes", purpose), wanted.each("channels", channel));
    if table.has("asks_for") {
        some(&wanted, "purposes", "write what a yes by reply grants");
        some(&wanted, "channels", "write what a yes by reply grants");
    }
    for (key, missing) in
        [("channels", channels.iter().any(|c| !page.0.contains(c))), ("purposes", purposes.iter().any(|p| !page.1.contains(p)))]
    {
        if missing {
            wanted.note(
                key,
                format!("a yes would grant what the page does not show ([preferences] {key})"),
                "offer it there too",
            );
        }
    }
    wanted.end();
    let asks_for: Vec<Permission> =
        channels.iter().flat_map(|&channel| purposes.iter().map(move |&purpose| Permission { channel, purpose })).collect();

    let mut written: Vec<Channel> = Channel::ALL.into_iter().filter(|channel| table.has(channel.code())).collect();
    written.sort_by_key(|channel| table.line(channel.code()));
    if written.is_empty() {
        table.note("sms", "no channel asks", "add [ask.sms] with mode, sender and template");
    }
    let mut asks = Vec::new();
    for channel in written {
        let one = table.table(channel.code());
        if channel == Channel::Call {
            table.note("call", "nobody is asked by a call", "ask by sms or whatsapp");
        }
        asks.extend(ask(one, config, there, channel, &asks_for, found));
    }
    table.end();
    (asks_for, asks)
}

fn ask(
    table: Table,
    config: &Config,
    there: &There,
    channel: Channel,
    asks_for: &[Permission],
    found: &mut Vec<Problem>,
) -> Option<Ask> {
    let mode = table.read_needed("mode", |text| match Mode::parse(text) {
        Some(mode) => Ok(mode),
        None => Err((format!("there is no mode `{text}`"), "write link_code, link_reply or reply".into())),
    });
    let id = table.need::<String>("sender");
    let sender = config.sender(&id);
    if sender.is_none() && table.has("sender") {
        let known = || config.senders.iter().map(|sender| sender.id.as_str());
        let (what, remedy) = match known().find(|known| known.eq_ignore_ascii_case(&id)) {
            Some(known) => (
                format!("permesso.toml has `{known}`, not `{id}`; networks and registries tell capitals from small letters"),
                format!("write \"{known}\""),
            ),
            None => (format!("permesso.toml has no sender `{id}`"), meant(&id, known(), "or add a [[sender]] there")),
        };
        table.note("sender", what, remedy);
    }
    let fits = sender.is_some_and(|sender| {
        registered(&table, config, there.countries, there.on, sender);
        fits(&table, config, channel, mode, sender)
    });
    let template = table.need::<String>("template");
    let of_template = |name: &str| name.rsplit_once('.').is_some_and(|(stem, _)| stem == template);
    let wordings: Vec<_> = config.wordings.iter().filter(|(name, _)| of_template(name)).collect();
    if table.has("template") && config.speaks() && !config.wordings.contains_key(&format!("{template}.{}", config.default_locale))
    {
        // The one it is like may have every language but this one.
        let of_asks = |name: &&str| {
            !templates::SERVICE.contains(name)
                && ![template.as_str(), templates::NOTICE, templates::FORM, templates::ENTRY].contains(name)
        };
        let names = config.wordings.keys().filter_map(|name| Some(name.rsplit_once('.')?.0)).filter(of_asks);
        let folder = templates::folder(&config.dir, config.templates.as_deref());
        let or = format!("or add the file to {}", folder.display());
        table.note(
            "template",
            format!("there is no text {template}.{}.txt", config.default_locale),
            meant(&template, names, &or),
        );
    }
    table.end();
    let (mode, sender) = (mode?, sender?);
    let (link, reply_number) = (config.sample_link(), sender.reply_number.as_deref().unwrap_or_default());
    let values = Values { brand: &config.controller.brand, link: &link, reply_number, code: "" };
    let asking = lint::Asking { channel, mode, asks_for };
    // What a text must say depends on mode and sender: where these do not go together, every text would seem wrong.
    if fits && config.has_brand() {
        found.extend(wordings.iter().flat_map(|(name, wording)| lint::ask(name, wording, &values, &asking)));
    }
    let texts = config.texts_of(&template);
    let driver = config.gateways.iter().find(|gateway| gateway.name() == sender.gateway).map(|gateway| gateway.driver);
    if channel == Channel::WhatsApp && driver.is_some_and(|driver| driver.can.templates) {
        approved::check(&table, sender, &template, &texts, &config.texts_of("confirm"), there.on);
    }
    let ask = Ask { channel, mode, sender: sender.clone(), template, texts };
    if fits {
        found.extend(required_texts(config, there.countries, &ask.sender, &ask.template, &ask.texts));
    }
    Some(ask)
}

/// The words a country wants in messages from a sender shown by name must stand in the text people there get, that of its own language.
pub(super) fn required_texts(
    config: &Config,
    countries: &[String],
    sender: &Sender,
    template: &str,
    texts: &BTreeMap<String, String>,
) -> Vec<Problem> {
    let mut found = Vec::new();
    for pack in countries.iter().filter_map(|code| config.packs.get(code)) {
        if texts.get(&pack.default_locale).is_some_and(|text| pack.takes_text(sender, text)) {
            continue;
        }
        let Some(words) = pack.required_text.sms.as_ref().filter(|_| !pack.takes_text(sender, "")) else { continue };
        let name = format!("{template}.{}", pack.default_locale);
        let file = config.wordings.get(&name).map_or(format!("{name}.txt"), |wording| wording.file.clone());
        let what = format!("the text lacks what {} wants of a sender shown by name: \"{words}\"", pack.code);
        let remedy = "add it with the digits your provider gives you, or send it from a number";
        found.push(Problem { file, line: 1, key: name, what, remedy: remedy.into() });
    }
    found
}

/// Whether the sender can do what the channel and the mode need.
fn fits(table: &Table, config: &Config, channel: Channel, mode: Option<Mode>, sender: &Sender) -> bool {
    let id = &sender.id;
    if sender.channel != channel {
        let remedy = format!("name a sender of channel {}", channel.code());
        table.note("sender", format!("`{id}` sends by {}", sender.channel.code()), remedy);
        return false;
    }
    let account = config.gateways.iter().find(|account| account.name() == sender.gateway);
    let (key, what, remedy) = match mode {
        Some(Mode::Reply) if !sender.two_way => (
            "mode",
            format!("nobody can reply to `{id}`"),
            "write link_code or link_reply with a text for it (`repermission_code`, `repermission`), or name a sender that is a number",
        ),
        // The second step says the same words as the first.
        Some(Mode::Reply) if account.is_some_and(|account| !account.tells_replies_apart()) => (
            "mode",
            format!("gateway {} does not tell a second yes from the first one told again", sender.gateway),
            "name its inbound_id or inbound_time in permesso.toml, or ask from a name with link_reply or link_code",
        ),
        Some(Mode::LinkReply) if sender.reply_number.is_none() && !sender.two_way => (
            "sender",
            format!("`{id}` has no number to reply to"),
            "give it a reply_number in permesso.toml, or write mode = \"link_code\"",
        ),
        Some(Mode::LinkReply | Mode::LinkCode) if sender.two_way => {
            ("mode", format!("`{id}` takes answers itself"), "write reply")
        }
        _ => return true,
    };
    table.note(key, what, remedy);
    false
}

/// Whether the countries take the sender's name, from this day on.
pub fn registered(table: &Table, config: &Config, countries: &[String], on: Option<NaiveDate>, sender: &Sender) {
    if sender.channel != Channel::Sms {
        return;
    }
    let id = &sender.id;
    let on = on.unwrap_or(NaiveDate::MAX);
    let refuses = |code: &&String| config.packs.get(*code).is_some_and(|pack| !pack.takes_sender(sender, on));
    for code in countries.iter().filter(refuses) {
        let known = sender.registrations.iter().find(|r| r.country == *code);
        let (why, remedy) = match known {
            Some(r) if r.state == RegistrationState::Pending => (
                format!("is only applied for, since {}", r.since),
                "wait for the registry's word, then write state = \"registered\"",
            ),
            Some(r) => (format!("is registered only from {} on", r.since), "start the campaign later"),
            None => ("is not".to_owned(), "register it with your provider, then add the country to its `registrations`"),
        };
        let what = format!("{code} takes only registered sender names, and `{id}` {why}");
        table.note("sender", what, format!("{remedy}; or ask from a number people can reply to"));
    }
}

/// `stop_if = { stops = "5 %", failed = "20 %", after = 100 }`
fn stop_if(limits: &Table) -> Option<StopIf> {
    if !limits.has("stop_if") {
        return None;
    }
    let table = limits.table("stop_if");
    let (stops, failed) = (table.read("stops", values::share), table.read("failed", values::share));
    if !table.has("stops") && !table.has("failed") {
        limits.note("stop_if", "names no limit", "write { stops = \"5 %\", failed = \"20 %\", after = 100 }");
    }
    let after = table.within("after", 100, 1..=1_000_000);
    table.end();
    Some(StopIf { stops, failed, after })
}

/// Notes a list that is missing or empty.
pub fn some(table: &Table, key: &str, remedy: &str) {
    if !table.has(key) || table.get::<Vec<String>>(key).is_some_and(|list| list.is_empty()) {
        table.note(key, "nothing is listed", remedy);
    }
}

pub fn channel(text: &str) -> values::Parsed<Channel> {
    Channel::parse(text).ok_or_else(|| (format!("there is no channel `{text}`"), "write sms, whatsapp or call".into()))
}

pub fn purpose(text: &str) -> values::Parsed<Purpose> {
    Purpose::parse(text)
        .ok_or_else(|| (format!("there is no purpose `{text}`"), "write product_info, promotions or profiling".into()))
}
