//! Country packs (`countries/*.toml`), each rule with its source; and phrase sets (`replies/*.toml`), whose form is their
//! domain type.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::accounts::country;
use super::problem::{Problem, Problems};
use super::read::{File, Table};
use super::templates::files;
use super::values::{self, Parsed};
use crate::domain::channel::Channel;
use crate::domain::contact::AskBasis;
use crate::domain::country::{
    AskBases, BasisAge, Confidence, CountryPack, Holidays, QuietHours, Register, RequiredText, Sectors, SenderRule, Source,
};
use crate::domain::hours::{Hours, HoursError};
use crate::domain::phone::is_north_american;
use crate::domain::reply::{Classifier, Misread, PhraseSet};

pub fn countries(dir: &Path, found: &mut Vec<Problem>) -> BTreeMap<String, CountryPack> {
    let mut packs = BTreeMap::new();
    for path in paths(&dir.join("countries"), found) {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(problems) => {
                found.extend(problems.0);
                continue;
            }
        };
        let pack = {
            let tree = file.parse();
            // What follows from half a file would only confuse.
            if file.is_sound() { pack(&Table::root(&file, &tree), &packs) } else { None }
        };
        packs.extend(pack.map(|pack| (pack.code.clone(), pack)));
        found.extend(file.found());
    }
    packs
}

fn pack(root: &Table, others: &BTreeMap<String, CountryPack>) -> Option<CountryPack> {
    let code = root.read_needed("code", country);
    if let Some(code) = code.as_ref().filter(|code| others.contains_key(*code)) {
        root.note("code", format!("there is another pack of {code}"), "keep one");
    }
    let approved_by = root.get::<String>("approved_by").filter(|text| !text.trim().is_empty());
    if code.as_ref().is_some_and(|code| is_north_american(code)) && approved_by.is_none() {
        // In the US damages are due for every single message.
        root.note("code", "numbers in +1 are blocked unless somebody answers for it", "add approved_by = \"who, and why\"");
    }
    let zones = root.each("zones", |text| match text.parse::<chrono_tz::Tz>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err((format!("there is no time zone `{text}`"), "write IANA names, as in \"Europe/Rome\"".into())),
    });
    if !root.has("zones") || root.get::<Vec<String>>("zones").is_some_and(|zones| zones.is_empty()) {
        root.note("zones", "the list is empty", "write every zone of the country");
    }
    let default_locale = root.read_needed("default_locale", values::locale);
    let [version, reviewed_by] = ["version", "reviewed_by"].map(|key| root.need::<String>(key));
    let hours = hours(root.table("hours"));
    let holidays = holidays(root.table("holidays"));
    let sender = sender(root.table("sender"));
    let required_text = required_text(root.table("required_text"));
    let ask_basis = ask_basis(root.table("ask_basis"));
    let basis_age = basis_age(root.table("basis_age"));
    let register = register(root.table("register"));
    let sectors = sectors(root.table("sectors"));
    root.end();
    let pack = CountryPack {
        code: code?,
        zones,
        default_locale: default_locale?,
        version,
        reviewed_by,
        approved_by,
        hours: hours?,
        holidays: holidays?,
        sender: sender?,
        required_text: required_text?,
        ask_basis: ask_basis?,
        basis_age: basis_age?,
        register: register?,
        sectors: sectors?,
    };
    if let Err(error) = Hours::parse(&pack.hours.open, Some(&pack.code)) {
        root.table("hours").note("open", error.to_string(), format!("write {}", values::HOURS));
    } else if let Err(error) = Hours::parse(&pack.open_hours(), Some(&pack.code)) {
        let what = match error {
            HoursError::Syntax(_) => format!("`{}` cannot be read as days", pack.holidays.also.join("`, `")),
            other => other.to_string(),
        };
        root.table("holidays").note("also", what, "write them as in \"Aug 08\" or \"easter -2 days\"");
    }
    Some(pack)
}

/// What every rule says of itself; reports the table's unknown keys too.
fn source(table: &Table) -> Option<Source> {
    let text = table.need::<String>("source");
    if table.has("source") && text.trim().is_empty() {
        table.note("source", "is empty", "write where the rule comes from, or that none was found");
    }
    let reviewed = table.read_needed("reviewed", values::day);
    let confidence = table.read_needed("confidence", |text| {
        let unknown = || (format!("there is no confidence `{text}`"), "write primary, secondary or unconfirmed".into());
        Confidence::parse(text).ok_or_else(unknown)
    });
    table.end();
    Some(Source { text, reviewed: reviewed?, confidence: confidence? })
}

fn hours(table: Table) -> Option<QuietHours> {
    let open = table.need::<String>("open");
    Some(QuietHours { open, source: source(&table)? })
}

fn holidays(table: Table) -> Option<Holidays> {
    let (also, lacks) = (table.or("also", Vec::new()), table.need::<String>("lacks"));
    Some(Holidays { also, lacks, source: source(&table)? })
}

fn sender(table: Table) -> Option<SenderRule> {
    let registration = table.need("registration");
    let since = table.read("since", values::day);
    Some(SenderRule { registration, since, source: source(&table)? })
}

fn required_text(table: Table) -> Option<RequiredText> {
    let sms = table.get::<String>("sms").filter(|text| !text.trim().is_empty());
    Some(RequiredText { sms, source: source(&table)? })
}

fn ask_basis(table: Table) -> Option<AskBases> {
    let mut allowed = BTreeMap::new();
    for basis in AskBasis::ALL {
        if !table.has(basis.code()) {
            table.note(basis.code(), "is missing", "write the channels it counts for, [] for none");
        }
        let channels = table.each(basis.code(), |text| match Channel::parse(text) {
            Some(Channel::Call) => Err(("nobody is asked by a call".into(), "write sms, whatsapp or nothing".into())),
            Some(channel) => Ok(channel),
            None => Err((format!("there is no channel `{text}`"), "write sms or whatsapp".into())),
        });
        if basis == AskBasis::EndOfRetentionFr && !channels.is_empty() {
            // CNIL: without an explicit yes the prospect must then be erased.
            let what = "whoever stays silent must then be erased at once, and this version waits for `retention.silent`";
            table.note(basis.code(), what, "write []");
        }
        allowed.insert(basis, channels);
    }
    Some(AskBases { allowed, source: source(&table)? })
}

fn basis_age(table: Table) -> Option<BasisAge> {
    let aged = AskBasis::ALL.into_iter().filter(|basis| table.has(basis.code()));
    let months = aged.filter_map(|basis| Some((basis, table.read(basis.code(), values::months)?))).collect();
    let from_last_action = table.or("from_last_action", false);
    Some(BasisAge { months, from_last_action, source: source(&table)? })
}

fn register(table: Table) -> Option<Register> {
    let name = table.get::<String>("name").filter(|name| !name.trim().is_empty());
    let applies_to = table.each("applies_to", channel);
    let valid_days = table.within("valid_days", 1, 1..=365);
    if name.is_some() {
        for key in ["applies_to", "valid_days"].into_iter().filter(|key| !table.has(key)) {
            table.note(key, "is missing", "say which channels the register is about, and how many days a screening holds");
        }
    }
    let [cancels_earlier, spares_asks, needed_for_asks] =
        [("cancels_earlier", true), ("spares_asks", true), ("needed_for_asks", false)]
            .map(|(key, default)| table.or(key, default));
    let source = source(&table)?;
    Some(Register { name, applies_to, valid_days, cancels_earlier, spares_asks, needed_for_asks, source })
}

fn sectors(table: Table) -> Option<Sectors> {
    let written = table.table("blocked");
    let blocked = written.keys().into_iter().map(|trade| (trade.clone(), written.each(&trade, channel))).collect();
    Some(Sectors { blocked, source: source(&table)? })
}

fn channel(text: &str) -> Parsed<Channel> {
    Channel::parse(text).ok_or_else(|| (format!("there is no channel `{text}`"), "write sms, whatsapp or call".into()))
}

pub fn phrases(dir: &Path, found: &mut Vec<Problem>) -> Vec<PhraseSet> {
    let mut sets = Vec::new();
    for (set, file) in phrase_files(dir, found) {
        if let Err((what, remedy)) = values::locale(&set.locale) {
            file.note(line_of(&file, "locale", &set.locale), "locale", what, remedy);
        }
        for rule in &set.rule {
            if let Some(what) = rule.too_broad() {
                let remedy = "name whole words, or stems of three letters and more, in every list";
                file.note(line_of(&file, "says", &rule.says), "rule.words", what, remedy);
            }
        }
        found.extend(file.found());
        sets.push(set);
    }
    sets
}

/// The phrases that some other list, rule or negation of the folder overrules.
pub fn misread(dir: &Path) -> Vec<Problem> {
    let files = phrase_files(dir, &mut Vec::new());
    let classifier = Classifier::new(files.iter().map(|(set, _)| set.clone()).collect());
    let mut found = Vec::new();
    for (set, file) in files {
        for Misread { list, phrase, read_as, why } in classifier.misread(&set) {
            let what = format!("\"{phrase}\" is read as {}: {why}", read_as.key());
            file.note(line_of(&file, list, &phrase), list, what, "take it out of one of the two, or word it otherwise");
        }
        found.extend(file.found());
    }
    found
}

fn phrase_files(dir: &Path, found: &mut Vec<Problem>) -> Vec<(PhraseSet, File)> {
    let named = |(file, set): (File, PhraseSet)| (PhraseSet { file: file.name.clone(), ..set }, file);
    every(&dir.join("replies"), found).into_iter().map(named).collect()
}

/// The line from `key` on in which the phrase stands in quotes.
fn line_of(file: &File, key: &str, phrase: &str) -> usize {
    let quoted = [format!("\"{phrase}\""), format!("'{phrase}'")];
    let begins = |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
    let mut lines = file.text().lines().enumerate().skip_while(|(_, line)| key != "says" && !begins(line));
    lines.find(|(_, line)| quoted.iter().any(|q| line.contains(q))).map_or(0, |(at, _)| at + 1)
}

/// Every TOML file of a folder, read as a `T`.
fn every<T: DeserializeOwned>(folder: &Path, found: &mut Vec<Problem>) -> Vec<(File, T)> {
    let mut read = Vec::new();
    for path in paths(folder, found) {
        match File::open(&path).and_then(|file| parse(file)) {
            Ok(pair) => read.push(pair),
            Err(problems) => found.extend(problems.0),
        }
    }
    read
}

fn paths(folder: &Path, found: &mut Vec<Problem>) -> Vec<PathBuf> {
    files(folder, "toml").unwrap_or_else(|problems| {
        found.extend(problems.0);
        Vec::new()
    })
}

fn parse<T: DeserializeOwned>(file: File) -> Result<(File, T), Problems> {
    match toml::from_str(file.text()) {
        Ok(value) => Ok((file, value)),
        Err(error) => {
            let line = error.span().map_or(0, |span| file.line(span));
            file.note(line, "", error.message().replace('\n', "; "), "compare with the file of another country or language");
            Err(Problems(file.found()))
        }
    }
}
