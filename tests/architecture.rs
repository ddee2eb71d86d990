//! The house as drawn: arrows between modules point one way. Finds every `crate::module` path.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What each module may name. Leaves first; `app` and `cli` are on top.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("clock", &[]),
    ("crash", &[]),
    ("domain", &[]),
    ("vault", &["domain"]),
    ("gateway", &["clock", "domain"]),
    // Only to know which drivers there are, what their accounts need and what they can do.
    ("config", &["domain", "gateway"]),
    ("store", &["clock", "crash", "domain", "vault"]),
    ("engine", &["clock", "config", "crash", "domain", "gateway", "store", "vault"]),
    ("worker", &["engine", "store", "vault"]),
    ("web", &["clock", "config", "domain", "engine", "gateway", "store", "vault"]),
    ("app", &["clock", "config", "engine", "gateway", "store", "vault", "web", "worker"]),
    ("cli", &["app", "clock", "config", "domain", "engine", "gateway", "store", "vault", "web"]),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn module_of(root: &Path, file: &Path) -> String {
    let relative = file.strip_prefix(root).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// Every module named after `crate::`, in lists too: `use crate::{web, worker};`.
fn named(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in text.split("crate::").skip(1) {
        if let Some(list) = rest.strip_prefix('{') {
            let list = list.split('}').next().unwrap_or("");
            found.extend(list.split(',').map(|item| item.trim().split("::").next().unwrap_or("").to_owned()));
        } else {
            found.push(rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

#[test]
fn arrows_point_one_way() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let module = module_of(&root, &file);
        let Some(may) = allowed.get(module.as_str()) else { continue };
        let text = std::fs::read_to_string(&file).unwrap();
        for name in named(&text) {
            if allowed.contains_key(name.as_str()) && name != module && !may.contains(&name.as_str()) {
                wrong.push(format!("{}: {module} names {name}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point up:\n{}", wrong.join("\n"));
}

#[test]
fn the_domain_has_no_io_no_clock_no_database() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/domain");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for forbidden in ["sqlx", "tokio", "async fn", "std::fs", "std::env", "std::net", "Utc::now", "Local::now", "SystemTime"]
        {
            assert!(!text.contains(forbidden), "{} names {forbidden}", file.display());
        }
    }
}
