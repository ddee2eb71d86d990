//! Whether the templates WhatsApp has approved for a sender say what a campaign asks: nothing else may begin a conversation there
//! (Meta, "Messaging limits and customer service window").

use std::collections::BTreeMap;

use chrono::NaiveDate;

use super::read::Table;
use crate::domain::campaign::{ApprovedTemplate, Sender};
use crate::domain::wording;

/// What confirms a choice made on the page: the person has not written, so that needs a template, too.
const CONFIRM: &str = "confirm";

/// Notes at `template` of the ask whatever its messages lack: `texts` are those of the ask by locale, `confirms` the same for its
/// confirmations, `start` the day it may begin.
pub fn check(
    table: &Table,
    sender: &Sender,
    template: &str,
    texts: &BTreeMap<String, String>,
    confirms: &BTreeMap<String, String>,
    start: Option<NaiveDate>,
) {
    let id = &sender.id;
    if !sender.id.starts_with('+') && sender.address.is_none() {
        table.note(
            "sender",
            format!("the provider knows no `{id}`"),
            "give the sender its address in permesso.toml: its number or number id",
        );
    }
    let confirms =
        confirms.iter().filter(|(locale, _)| texts.contains_key(*locale)).map(|(locale, text)| (CONFIRM, locale, text));
    let asks = texts.iter().map(|(locale, text)| (template, locale, text));
    for (name, locale, text) in asks.chain(confirms) {
        let Some(approved) = sender.template(name, locale) else {
            let what = format!("`{id}` has no approved template that says {name}.{locale}, and WhatsApp takes nothing else");
            let remedy = match name {
                CONFIRM => "add it to `templates` of the sender: whoever chooses on the page is sent it to confirm",
                _ => "add it to `templates` of the sender, or name a text that exists in the languages you have templates for",
            };
            table.note("template", what, remedy);
            continue;
        };
        if let Some(start) = start.filter(|start| approved.approved > *start) {
            let what =
                format!("the template of {name}.{locale} is approved on {}, after the start on {start}", approved.approved);
            table.note("template", what, "wait for the approval, then write its day; or start later");
        }
        if let Ok(used) = wording::placeholders(text) {
            for (what, remedy) in differs(approved, &used) {
                let what = format!("the template `{}` of {name}.{locale} {what}", approved.id);
                table.note("template", what, remedy);
            }
        }
    }
}

/// How a template's variables differ from the placeholders `used` in the text it says. `brand` and `reply_number` are the same in every
/// message, so a template may spell them out; it must where the text begins with one, since Meta takes no body that does (2388299).
fn differs(approved: &ApprovedTemplate, used: &[String]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for name in used.iter().filter(|name| matches!(name.as_str(), "link" | "code")) {
        let in_values = approved.values.contains(name);
        match (in_values, name == "link" && approved.link_button) {
            (false, false) => {
                let or = if name == "link" { ", or set link_button = true" } else { "" };
                found.push((format!("leaves out {{{{ {name} }}}}"), format!("add \"{name}\" to its values{or}")));
            }
            (true, true) => found.push((
                "has the link twice: as a value and as its button".to_owned(),
                "take \"link\" out of its values, or remove link_button".to_owned(),
            )),
            _ => {}
        }
    }
    for name in approved.values.iter().filter(|name| !used.contains(name)) {
        found.push((format!("has the value {name}, which the text does not"), "take it out of its values".to_owned()));
    }
    if approved.link_button && !used.iter().any(|name| name == "link") {
        found.push(("has a link button, but the text no {{ link }}".to_owned(), "remove link_button".to_owned()));
    }
    found
}
