//! `config check`, `config texts`, `config packs`

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use chrono::{Days, NaiveDate};
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde::Serialize;

use super::Context;
use crate::config::{Config, Problem, Problems, templates};
use crate::domain::channel::Channel;
use crate::domain::country::{CountryPack, Freshness, freshness};
use crate::domain::plural::counted;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find every error in permesso.toml, the country packs, the phrases, the forms and the campaigns. Needs no database.
    #[command(after_help = "Example: permesso config check")]
    Check,
    /// Write the texts that ship as files, to be edited: asks, confirmations, acknowledgements, help, button titles. A file that is there
    /// stays as it is.
    #[command(after_help = "Example: permesso config texts\n         permesso config texts confirm ack_yes --locale it")]
    Texts {
        /// Names without language, as in `confirm`; every text if left out.
        #[arg(value_parser = shipped(|(name, _)| name))]
        names: Vec<String>,
        /// In this language alone.
        #[arg(long, value_parser = shipped(|(_, locale)| locale))]
        locale: Option<String>,
        /// The folder; without it the one whose texts go before those that ship.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// The countries' rules for whoever answers for them: what each says, its source, and the last day of its review.
    #[command(after_help = "Example: permesso config packs\n         permesso config packs IT --json")]
    Packs {
        /// ISO codes; every country if left out.
        countries: Vec<String>,
    },
}

pub fn run(context: &Context, command: &Command) -> Result<()> {
    match command {
        Command::Check => check(context),
        Command::Packs { countries } => packs(context, countries),
        Command::Texts { names, locale, out } => texts(context, names, locale.as_deref(), out.as_deref()),
    }
}

/// What the texts that ship are named, each once: by name or by language.
fn shipped(part: fn((&'static str, &'static str)) -> &'static str) -> PossibleValuesParser {
    let all: BTreeSet<&str> = templates::built_in().filter_map(|(full, _)| full.split_once('.')).map(part).collect();
    PossibleValuesParser::new(all)
}

fn texts(context: &Context, names: &[String], locale: Option<&str>, out: Option<&Path>) -> Result<()> {
    let config = crate::app::load(&context.dir)?;
    let (folder, texts) = config.built_in_texts();
    let texts: Vec<(&str, &str, &str)> =
        texts.filter_map(|(full, text)| full.split_once('.').map(|(name, locale)| (name, locale, text))).collect();
    let folder = out.map_or(folder, Path::to_owned);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}; remedy: name another with --out", folder.display()))?;
    let (mut written, mut kept) = (Vec::new(), Vec::new());
    for (name, locale, text) in texts
        .into_iter()
        .filter(|(name, of, _)| (names.is_empty() || names.iter().any(|n| n == name)) && locale.is_none_or(|l| l == *of))
    {
        let path = folder.join(format!("{name}.{locale}.txt"));
        // What is there was written by somebody.
        match File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes())) {
            Ok(()) => written.push(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => kept.push(path),
            Err(error) => bail!("cannot write {}: {error}; remedy: name another folder with --out", path.display()),
        }
    }
    if context.json {
        println!("{}", serde_json::json!({ "folder": folder, "written": written, "kept": kept }));
        return Ok(());
    }
    println!("{} written to {}", counted(written.len(), "text", "texts"), folder.display());
    if !kept.is_empty() {
        println!("{} there already: not touched", counted(kept.len(), "file is", "files are"));
    }
    println!(
        "next: edit them, then `permesso config check`. A text that you leave as it is can go: the one that ships then serves"
    );
    Ok(())
}

fn check(context: &Context) -> Result<()> {
    let (config, text_warnings) = shown(context, Config::check_all(&context.dir))?;
    let campaigns = config.campaign_names()?;
    let warnings = config.pack_warnings(context.today()?);
    if context.json {
        println!(
            "{}",
            serde_json::json!({
                "ok": true,
                "campaigns": campaigns,
                "forms": config.forms.iter().map(|form| config.form_link(&form.name)).collect::<Vec<_>>(),
                "countries": config.packs.keys().collect::<Vec<_>>(),
                "retention_justification": config.retention.justification,
                "warnings": warnings,
                "text_warnings": text_warnings,
            })
        );
    } else {
        warn(&text_warnings);
        let packs = config.packs.keys().cloned().collect::<Vec<_>>().join(" ");
        let campaigns = counted(campaigns.len(), "campaign", "campaigns");
        let forms = counted(config.forms.len(), "form", "forms");
        println!("{} is in order: {campaigns}, {forms}, country packs {packs}", context.dir.display());
        for form in &config.forms {
            println!("form {}: {}", form.name, config.form_link(&form.name));
        }
        if let Some(why) = &config.retention.justification {
            println!("retention, why longer than usual: {why}");
        }
        for warning in warnings {
            println!("warning: {warning}");
        }
    }
    Ok(())
}

/// One rule as a privacy officer signs it.
#[derive(Debug, Serialize)]
struct Line {
    country: String,
    version: String,
    rule: &'static str,
    says: String,
    source: String,
    confidence: &'static str,
    reviewed: NaiveDate,
    reviewed_by: String,
    /// The last day on which anybody is asked by it.
    holds_until: NaiveDate,
    /// `fresh`, `review due`, `stale`.
    state: &'static str,
}

fn packs(context: &Context, countries: &[String]) -> Result<()> {
    let config = crate::app::load(&context.dir)?;
    let today = context.today()?;
    if let Some(unknown) = countries.iter().find(|code| !config.packs.contains_key(*code)) {
        let known = config.packs.keys().cloned().collect::<Vec<_>>().join(" ");
        anyhow::bail!("there is no country pack {unknown}; remedy: write codes of {known}");
    }
    let wanted = config.packs.values().filter(|pack| countries.is_empty() || countries.contains(&pack.code));
    let lines: Vec<Line> = wanted.flat_map(|pack| lines(&config, pack, today)).collect();
    if context.json {
        println!("{}", serde_json::json!({ "rules": lines, "warnings": config.pack_warnings(today) }));
        return Ok(());
    }
    let mut country = "";
    for line in &lines {
        if line.country != country {
            country = &line.country;
            println!("{country} version {}, reviewed by: {}", line.version, line.reviewed_by);
        }
        println!("  [{}] {}", line.rule, line.says);
        println!("      source: {} ({})", line.source, line.confidence);
        println!("      reviewed {}, holds until {}: {}", line.reviewed, line.holds_until, line.state);
    }
    Ok(())
}

fn lines<'a>(config: &'a Config, pack: &'a CountryPack, today: NaiveDate) -> impl Iterator<Item = Line> + 'a {
    let stale = config.pack_stale_days;
    pack.rules().into_iter().map(move |(rule, source)| Line {
        country: pack.code.clone(),
        version: pack.version.clone(),
        rule,
        says: says(pack, rule),
        source: source.text.clone(),
        confidence: source.confidence.code(),
        reviewed: source.reviewed,
        reviewed_by: pack.reviewed_by.clone(),
        holds_until: source.reviewed + Days::new(stale.unsigned_abs()),
        state: match freshness(source.reviewed, today, stale, config.pack_warn_days) {
            Freshness::Fresh => "fresh",
            Freshness::Aging { .. } => "review due",
            Freshness::Stale => "stale",
        },
    })
}

/// What a rule says, in one line.
fn says(pack: &CountryPack, rule: &str) -> String {
    let channels = |channels: &[Channel]| channels.iter().map(|c| c.code()).collect::<Vec<_>>().join(" ");
    let each = |parts: Vec<String>| if parts.is_empty() { "none".to_owned() } else { parts.join("; ") };
    match rule {
        "hours" => format!("open {} ({})", pack.hours.open, pack.zones.join(", ")),
        "holidays" => {
            let also = if pack.holidays.also.is_empty() { "nothing".to_owned() } else { pack.holidays.also.join(", ") };
            format!("the library's table, and {also}; not known: {}", pack.holidays.lacks)
        }
        "sender" => match (pack.sender.registration, pack.sender.since) {
            (false, _) => "a sender shown by name needs no registration".into(),
            (true, None) => "a sender shown by name must be registered".into(),
            (true, Some(since)) => format!("a sender shown by name must be registered, from {since} on"),
        },
        "required_text" => pack.required_text.sms.as_ref().map_or("none".into(), |text| format!("SMS by name: \"{text}\"")),
        "ask_basis" => {
            let allowed = pack.ask_basis.allowed.iter().filter(|(_, on)| !on.is_empty());
            each(allowed.map(|(basis, on)| format!("{}: {}", basis.code(), channels(on))).collect())
        }
        "basis_age" => {
            let ages = pack
                .basis_age
                .months
                .iter()
                .map(|(basis, months)| format!("{}: {}", basis.code(), counted(*months, "month", "months")));
            let from = if pack.basis_age.from_last_action { ", from the last action" } else { "" };
            format!("{}{from}", each(ages.collect()))
        }
        "register" => {
            let register = &pack.register;
            let spares = match (register.needed_for_asks, register.spares_asks) {
                (true, _) => ", nobody is asked without a fresh one",
                (false, true) => ", the listed are not asked",
                (false, false) => "",
            };
            let name = register.name.as_ref();
            name.map_or("none".into(), |name| {
                format!(
                    "{name} for {}, a screening holds {}{spares}",
                    channels(&register.applies_to),
                    counted(register.valid_days, "day", "days")
                )
            })
        }
        _ => each(pack.sectors.blocked.iter().map(|(trade, on)| format!("{trade} barred from {}", channels(on))).collect()),
    }
}

/// Warnings stop nothing; they stand before the verdict.
pub fn warn(warnings: &[Problem]) {
    for warning in warnings {
        println!("warning: {warning}");
    }
}

/// With `--json` what is wrong goes to stdout as JSON too.
pub fn shown<T>(context: &Context, checked: Result<T, Problems>) -> Result<T, Problems> {
    if let (true, Err(Problems(errors))) = (context.json, &checked) {
        println!("{}", serde_json::json!({ "ok": false, "errors": errors }));
    }
    checked
}
