//! The privacy notices of the settings: `notice.LOCALE.txt`, the ones that ship or one's own, with what they say of the company filled in.

use std::collections::BTreeSet;
use std::path::Path;

use super::problem::{Problem, Problems};
use super::{Config, campaign, templates};
use crate::domain::channel::{Channel, Purpose};
use crate::domain::notice::{Notice, PLACEHOLDERS, SPANS, Values, fill, offers};
use crate::domain::{language, span};

pub fn read(config: &Config) -> Result<Vec<Notice>, Problems> {
    let (mut found, mut notices) = (Vec::new(), Vec::new());
    let values = values(config);
    let texts = config.wordings.iter().filter_map(|(name, wording)| match name.rsplit_once('.') {
        Some((templates::NOTICE, locale)) => Some((name, locale, wording)),
        _ => None,
    });
    let (mut names_storage, mut names_processor) = (false, false);
    for (name, locale, wording) in texts {
        names_storage |= wording.text.contains("{storage}");
        names_processor |= wording.text.contains("{processor}");
        // Without words for them their whole line would be left out.
        let kept = &config.retention;
        let said = |days| language::of(locale).and_then(|language| span::words(language, days)).unwrap_or_default();
        let values = Values {
            silent: said(kept.silent_days),
            replies: said(kept.replies_days),
            proof: said(kept.proof_days),
            ..values.clone()
        };
        let names = |line: &str| SPANS.into_iter().find(|name| line.contains(&format!("{{{name}}}")));
        let unsaid = wording.text.lines().enumerate().find_map(|(at, line)| Some((at + 1, names(line)?)));
        if let Some((line, name)) = unsaid.filter(|_| values.silent.is_empty()) {
            found.push(Problem {
                file: wording.file.clone(),
                line,
                key: String::new(),
                what: format!("there are no words for {{{name}}} in `{locale}`"),
                remedy: "write the number: {silent_days}, {replies_days} or {proof_months}, with its unit".into(),
            });
            continue;
        }
        match fill(&wording.text, &values) {
            Ok(text) => notices.push(Notice {
                locale: locale.to_owned(),
                text,
                file: wording.file.clone(),
                is_built_in: templates::built_in().any(|(known, text)| known == name && text.trim_end() == wording.text),
            }),
            Err((line, unknown)) => found.push(Problem {
                file: wording.file.clone(),
                line,
                key: String::new(),
                what: format!("the placeholder {{{unknown}}} does not exist"),
                remedy: format!("write one of {{{}}}", PLACEHOLDERS.into_iter().chain(offers()).collect::<Vec<_>>().join("}, {")),
            }),
        }
    }
    let settings = |line, key: &str, what: String, remedy: &str| Problem {
        file: config.dir.join("permesso.toml").display().to_string(),
        line,
        key: key.to_owned(),
        what,
        remedy: remedy.to_owned(),
    };
    if names_storage && values.storage.is_empty() {
        let remedy = "say where the database is, as in \"Milan, Italy (EU)\": the notice names it";
        found.push(settings(config.controller.storage_line, "controller.storage", "is missing".into(), remedy));
    }
    // What is sent to a pretended phone is processed by nobody.
    for gateway in config.gateways.iter().filter(|g| names_processor && g.region.is_none() && !g.is_mock() && !g.simulator) {
        let what = format!("gateway {} says no region, and the notice names where each processor works", gateway.name());
        found.push(settings(
            gateway.region_line,
            "gateway.region",
            what,
            "write it, as in \"EU\" or \"US (standard contractual clauses)\"",
        ));
    }
    for webhook in config.webhooks.iter().filter(|w| names_processor && w.processor.is_some() && w.region.is_none()) {
        let what = format!("webhook {} says no region, and the notice names where each processor works", webhook.name);
        found.push(settings(webhook.region_line, "webhook.region", what, "write it, as in \"EU\""));
    }
    Problems::or(found, Some(notices))
}

fn values(config: &Config) -> Values {
    let keepers = config.webhooks.iter().filter_map(super::WebhookConfig::processor_and_region);
    let mut processors: Vec<String> = Vec::new();
    for who in config.gateways.iter().map(super::GatewayConfig::processor_and_region).chain(keepers) {
        if !processors.contains(&who) {
            processors.push(who);
        }
    }
    let kept = &config.retention;
    Values {
        controller: config.controller.identity(),
        contact: config.controller.privacy_contact.clone(),
        processors,
        storage: config.controller.storage.clone(),
        stop_number: config.stop_number().unwrap_or_default().to_owned(),
        consent_months: kept.marketing_months().to_string(),
        profiling_months: kept.months(Purpose::Profiling).to_string(),
        silent_days: kept.silent_days.to_string(),
        replies_days: kept.replies_days.to_string(),
        // Rounded up: whole years of 365 days are twelve months each.
        proof_months: ((kept.proof_days * 12 + 364) / 365).to_string(),
        offered: {
            let (channels, purposes) = config.offered();
            channels.iter().map(|c| c.code()).chain(purposes.iter().map(|p| p.code())).collect()
        },
        ..Values::default()
    }
}

/// Every channel and purpose that some campaign or form lets people choose, also one that something else is wrong with; all there are
/// where there is none yet. No page offers more, and the notice speaks of no less.
pub(super) fn offered(dir: &Path) -> (BTreeSet<Channel>, BTreeSet<Purpose>) {
    let (mut channels, mut purposes) = (BTreeSet::new(), BTreeSet::new());
    for path in ["campaigns", "forms"].iter().flat_map(|folder| templates::files(&dir.join(folder), "toml").unwrap_or_default()) {
        let of = campaign::offers(&path);
        channels.extend(of.0);
        purposes.extend(of.1);
    }
    if channels.is_empty() && purposes.is_empty() {
        return (Channel::ALL.into(), Purpose::ALL.into());
    }
    (channels, purposes)
}
