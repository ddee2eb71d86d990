//! Country packs (`countries/*.toml`) and phrase sets (`replies/*.toml`): data files whose form is their domain type.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::problem::{Problem, Problems};
use super::read::File;
use super::templates::files;
use crate::domain::country::CountryPack;
use crate::domain::hours::Hours;
use crate::domain::reply::PhraseSet;

pub fn countries(dir: &Path, found: &mut Vec<Problem>) -> BTreeMap<String, CountryPack> {
    let mut packs = BTreeMap::new();
    for (file, pack) in every::<CountryPack>(&dir.join("countries"), found) {
        let note = |key: &str, what: String, remedy: &str| {
            let line = file.text().lines().position(|line| line.starts_with(key)).map_or(0, |line| line + 1);
            file.note(line, key, what, remedy);
        };
        if pack.code.len() != 2 || !pack.code.bytes().all(|b| b.is_ascii_uppercase()) {
            note("code", format!("`{}` is no country code", pack.code), "write the ISO 3166 code, as in \"IT\"");
        }
        if packs.contains_key(&pack.code) {
            note("code", format!("there is another pack of {}", pack.code), "keep one");
        }
        for zone in pack.zones.iter().filter(|zone| zone.parse::<chrono_tz::Tz>().is_err()) {
            note("zones", format!("there is no time zone `{zone}`"), "write IANA names, as in \"Europe/Rome\"");
        }
        if pack.zones.is_empty() {
            note("zones", "the list is empty".into(), "write every zone of the country");
        }
        if let Err(error) = Hours::parse(&pack.hours, Some(&pack.code)) {
            note("hours", error.to_string(), "write OSM opening hours, as in \"Mo-Fr 09:00-20:00; PH off\"");
        }
        packs.insert(pack.code.clone(), pack);
        found.extend(file.found());
    }
    packs
}

pub fn phrases(dir: &Path, found: &mut Vec<Problem>) -> Vec<PhraseSet> {
    let named = |(file, set): (File, PhraseSet)| PhraseSet { file: file.name, ..set };
    every(&dir.join("replies"), found).into_iter().map(named).collect()
}

/// Every TOML file of a folder, read as a `T`.
fn every<T: DeserializeOwned>(folder: &Path, found: &mut Vec<Problem>) -> Vec<(File, T)> {
    let mut read = Vec::new();
    let paths = files(folder, "toml").unwrap_or_else(|problems| {
        found.extend(problems.0);
        Vec::new()
    });
    for path in paths {
        match File::open(&path).and_then(|file| parse(file)) {
            Ok(pair) => read.push(pair),
            Err(problems) => found.extend(problems.0),
        }
    }
    read
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
