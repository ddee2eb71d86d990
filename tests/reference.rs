//! The README names every key the configuration takes, and no other. What the code takes is asked of the code: a key that cannot
//! exist is put into each table in turn, and the complaint names the keys known there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use permesso::config::{Config, Problems};
use toml::{Table, Value};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const NOBODYS: &str = "zzqqxxjjkkvvww";

/// A kind of file: its heading in the README, one of its files as shipped, and a campaign to check if it is one.
struct File {
    heading: &'static str,
    shipped: &'static str,
    campaign: Option<&'static str>,
}

const FILES: [File; 6] = [
    File { heading: "### `permesso.toml`", shipped: "permesso.toml", campaign: None },
    File { heading: "## A campaign file", shipped: "campaigns/rinnovo-consensi.toml", campaign: Some("rinnovo-consensi") },
    File { heading: "### `forms/NAME.toml`", shipped: "forms/newsletter.toml", campaign: None },
    File { heading: "### `prices.toml`", shipped: "prices.toml", campaign: None },
    File { heading: "### `countries/NAME.toml`", shipped: "countries/it.toml", campaign: None },
    File { heading: "### `replies/NAME.toml`", shipped: "replies/it.toml", campaign: None },
];

/// The shipped folder in a place of its own.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        copy(&Path::new(ROOT).join("config"), &folder.dir());
        // The folder is read some hundred times, and most of that would be five more languages' phrases.
        for entry in std::fs::read_dir(folder.dir().join("replies")).unwrap() {
            let path = entry.unwrap().path();
            if !path.ends_with("it.toml") {
                std::fs::remove_file(path).unwrap();
            }
        }
        folder
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("config")
    }

    /// The complaints about this content of a file, each as one line.
    fn complaints(&self, file: &File, content: &Table) -> Vec<String> {
        std::fs::write(self.dir().join(file.shipped), toml::to_string(content).unwrap()).unwrap();
        let read = Config::load_with(&self.dir(), &|_| None).and_then(|config| match file.campaign {
            Some(name) => config.campaign(name).map(drop),
            None => Err(Problems(config.unfit_forms)),
        });
        let Problems(found) = read.err().unwrap_or(Problems(Vec::new()));
        found.iter().map(|p| format!("{} {} {}", p.key, p.what, p.remedy)).collect()
    }

    /// The keys known in the table at `path`, if there can be such a table.
    fn known(&self, file: &File, content: &Table, path: &[String]) -> Option<BTreeSet<String>> {
        let mut content = content.clone();
        table_at(&mut content, path)?.insert(NOBODYS.into(), Value::Integer(1));
        let complaint = self.complaints(file, &content).into_iter().find(|c| c.contains(NOBODYS))?;
        // Ours say `known here: a, b`; serde's say `expected one of `a`, `b``.
        let names: BTreeSet<String> = match complaint.split_once("known here: ") {
            Some((_, names)) => names.split(", ").map(|n| n.trim().to_owned()).collect(),
            // A table whose keys are the writer's own.
            None if complaint.contains("of the wrong type") => BTreeSet::from(["*".to_owned()]),
            None => complaint
                .split_once("unknown field")?
                .1
                .split_once("expected ")?
                .1
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect(),
        };
        assert!(!names.is_empty(), "{complaint}");
        Some(names)
    }

    /// Every key that holds no table of its own, dotted.
    fn keys(&self, file: &File) -> BTreeSet<String> {
        let shipped: Table = std::fs::read_to_string(Path::new(ROOT).join("config").join(file.shipped)).unwrap().parse().unwrap();
        let mut content = shipped;
        let mut keys = BTreeSet::new();
        let mut to_do = vec![Vec::new()];
        while let Some(path) = to_do.pop() {
            let Some(known) = self.known(file, &content, &path) else {
                panic!("{}: the table {path:?} takes any key, so a misspelt one would go unnoticed", file.shipped)
            };
            for name in known {
                let inner: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
                let table = table_at(&mut content, &path).expect("it was there");
                let there = table.get(&name).cloned();
                let is_table = match &there {
                    Some(Value::Table(_)) => true,
                    Some(Value::Array(items)) => items.first().is_some_and(Value::is_table),
                    Some(_) => false,
                    // Not in the shipped file: whether it can be a table is tried, and whether it can be there at all.
                    None => {
                        let empty = [Value::Table(Table::new()), Value::Array(vec![Value::Table(Table::new())])];
                        let tried = empty.map(|empty| {
                            let mut tried = content.clone();
                            table_at(&mut tried, &path).expect("it was there").insert(name.clone(), empty);
                            tried
                        });
                        let refused = ["not available in this version", "nobody is asked by a call"]
                            .map(|what| format!("{} {what}", inner.join(".")));
                        if self.complaints(file, &tried[0]).iter().any(|c| refused.iter().any(|r| c.starts_with(r))) {
                            continue;
                        }
                        let fits = tried.into_iter().find(|tried| self.known(file, tried, &inner).is_some());
                        fits.map(|tried| content = tried).is_some()
                    }
                };
                if is_table {
                    to_do.push(inner);
                } else {
                    keys.insert(inner.join("."));
                }
            }
        }
        keys
    }
}

fn table_at<'t>(content: &'t mut Table, path: &[String]) -> Option<&'t mut Table> {
    let mut table = content;
    for name in path {
        table = match table.get_mut(name)? {
            Value::Table(inner) => inner,
            Value::Array(items) => items.first_mut()?.as_table_mut()?,
            _ => return None,
        };
    }
    Some(table)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// The keys that stand in backquotes in the first column of the tables under a heading. `.key` is beside the key before it.
fn documented(readme: &str, heading: &str) -> BTreeMap<String, usize> {
    let mut keys = BTreeMap::new();
    let section = readme.lines().enumerate().skip_while(|(_, l)| *l != heading).skip(1).take_while(|(_, l)| !l.starts_with('#'));
    for (line, text) in section {
        let Some(cell) = text.strip_prefix("| ").and_then(|l| l.split(" | ").next()) else { continue };
        let mut parent = String::new();
        for name in cell.split('`').skip(1).step_by(2) {
            let full = match name.strip_prefix('.') {
                Some(name) => format!("{parent}.{name}"),
                None => name.to_owned(),
            };
            parent = full.rsplit_once('.').map(|(parent, _)| parent.to_owned()).unwrap_or_default();
            assert!(
                keys.insert(full.clone(), line + 1).is_none(),
                "README.md:{}: `{full}` stands twice under {heading}",
                line + 1
            );
        }
    }
    keys
}

#[test]
fn the_readme_names_every_key_of_the_configuration_and_no_other() {
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let mut wrong = Vec::new();
    for file in &FILES {
        let keys = Folder::new().keys(file);
        let named = documented(&readme, file.heading);
        assert!(
            keys.len() > 3 && !named.is_empty(),
            "{}: {} keys, {} named in the README",
            file.shipped,
            keys.len(),
            named.len()
        );
        for key in keys.iter().filter(|key| !named.contains_key(*key)) {
            wrong.push(format!("{} takes `{key}`: add a row to the table under {} in README.md", file.shipped, file.heading));
        }
        for (key, line) in named.iter().filter(|(key, _)| !keys.contains(*key)) {
            wrong.push(format!("README.md:{line}: {} takes no `{key}`: remove it, or look for the spelling", file.shipped));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_table_of_contents_leads_to_every_section_in_order() {
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let (_, rest) = readme.split_once("\n**Contents**\n").expect("a table of contents");
    let (contents, _) = rest.split_once("\n## ").expect("a section after it");
    let links: Vec<(&str, &str)> = contents
        .split('[')
        .skip(1)
        .map(|link| link.split_once("](#").and_then(|(title, to)| Some((title, to.split_once(')')?.0))).expect("a link"))
        .collect();
    let mut is_code = false;
    let prose = readme.lines().filter(|line| {
        is_code ^= line.trim_start().starts_with("```");
        !is_code
    });
    let headings = prose.filter_map(|line| line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")));
    // As GitHub makes anchors of headings.
    let anchor = |title: &str| -> String {
        let kept = title.to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    let wanted: Vec<(&str, String)> = headings.map(|title| (title, anchor(title))).collect();
    assert!(wanted.len() > 30, "{wanted:?}");
    assert_eq!(links, wanted.iter().map(|(title, anchor)| (*title, anchor.as_str())).collect::<Vec<_>>());
}

#[test]
fn the_settings_name_every_driver_and_the_manual_has_its_page() {
    let settings = std::fs::read_to_string(Path::new(ROOT).join("config/permesso.toml")).unwrap();
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let named: BTreeSet<&str> = settings.lines().filter_map(|line| line.strip_prefix("#   \"")?.split('"').next()).collect();
    assert_eq!(named, permesso::gateway::DRIVERS.iter().map(|driver| driver.name).collect());
    for driver in permesso::gateway::DRIVERS.iter().filter(|driver| driver.name != "mock") {
        assert!(readme.contains(&format!("\ndriver = \"{}\"\n", driver.name)), "{} has an example", driver.name);
    }
}
