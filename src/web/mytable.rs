//! A person's own data as a table to take along, a line a thing known.

use super::lang::Lang;
use super::mine::word;
use crate::clock::instant;
use crate::config::Retention;
use crate::domain::channel::Permission;
use crate::engine::dossier::Dossier;

/// What a message was by which somebody came by an entry; its form follows.
const ENTRY: &str = "entry";

/// The dossier as a table: what kind of thing, when, and what it is; in codes, which programs read in any language, and in words.
pub fn rows(lang: Lang, keep: &Retention, d: &Dossier) -> Vec<[String; 8]> {
    let said = |row: [String; 7]| {
        let words = in_words(lang, &row);
        let [kind, at, what, channel, purpose, campaign, detail] = row;
        [kind, at, what, channel, purpose, campaign, detail, words]
    };
    let mut rows: Vec<_> = codes(d).into_iter().map(said).collect();
    if let Some(head) = rows.first_mut() {
        head[7] = "in_words".to_owned();
    }
    rows.extend(lang.kept(keep).map(|(what, time, sentence)| {
        let mut row = <[String; 8]>::default();
        (row[0], row[2], row[6], row[7]) = ("retention".to_owned(), what.to_owned(), time, sentence);
        row
    }));
    rows
}

/// What the codes of a row mean; empty where they are none, as of a text.
fn in_words(lang: Lang, [kind, _, what, channel, purpose, _, detail]: &[String; 7]) -> String {
    let (m, colon) = (lang.mine(), &lang.t().colon);
    match kind.trim_start_matches("other_").trim_start_matches("former_") {
        "known" => match what.as_str() {
            "number" => m.number.clone(),
            "country" => m.country.clone(),
            "language" => m.language.clone(),
            "time_zone" => m.zone.clone(),
            "relation" => format!("{}{colon} {}", m.kind, word(&m.kinds, detail)),
            "last_action" => m.last_action.clone(),
            "times" => m.times.clone(),
            _ => word(&m.reasons, "RESTRICTED").to_owned(),
        },
        "imported" => m.bases.get(what).unwrap_or(&m.reasons["NO_ASK_BASIS"]).clone(),
        "given" => m.number.clone(),
        "permission" => match Permission::parse(&format!("{channel}.{purpose}")) {
            Some(p) => format!("{} ({}){colon} {}", lang.purpose(p.purpose), lang.channel(p.channel), word(&m.states, what)),
            None => String::new(),
        },
        "said" => word(&m.entries, what).to_owned(),
        "sent" => word(&m.messages, what).to_owned(),
        "link" => m.links.clone(),
        "received" if what.starts_with(ENTRY) => m.entered.clone(),
        "received" => m.received.clone(),
        "decision" => {
            let code = detail.split(':').next().unwrap_or_default();
            format!("{}. {}", word(&m.outcomes, what), word(&m.reasons, code))
        }
        "suppression" => m.no(what).to_owned(),
        "left_out" => m.left_out.clone(),
        "recipient" => m.recipient(what, detail),
        "another_number" => m.number.clone(),
        "number_changed" => word(&m.entries, "number_changed").to_owned(),
        "register" => m.registers.clone(),
        "request" => word(&m.rights, what).to_owned(),
        _ => String::new(),
    }
}

fn codes(d: &Dossier) -> Vec<[String; 7]> {
    let c = &d.contact;
    let time = |at: i64| instant(at).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let row = |kind: &str, at: String, what: &str, channel: &str, purpose: &str, campaign: &str, detail: String| {
        [kind.to_owned(), at, what.to_owned(), channel.to_owned(), purpose.to_owned(), campaign.to_owned(), detail]
    };
    let mut rows = vec![["kind", "at", "what", "channel", "purpose", "campaign", "detail"].map(str::to_owned)];
    let facts = [
        ("number", Some(d.number.e164().to_owned())),
        ("country", c.country.clone()),
        ("language", c.locale.clone()),
        ("time_zone", c.zone.clone()),
        ("relation", c.kind.clone()),
        ("last_action", c.last_action.clone().filter(|day| day != crate::store::contacts::UNDATED)),
        ("times", (!c.times().is_any()).then(|| c.times().words())),
        ("restricted", (c.restricted != 0).then(|| "yes".to_owned())),
    ];
    rows.extend(facts.into_iter().filter_map(|(what, value)| Some(row("known", time(c.created_at), what, "", "", "", value?))));
    for e in &d.imported {
        let basis = e.basis.as_deref().unwrap_or("no ask basis");
        let detail = format!("{}:{}; {}; {}", e.file, e.import_line, e.source, e.evidence.as_deref().unwrap_or_default());
        rows.push(row("imported", time(e.at), basis, &e.channels, "", "", detail));
    }
    for (source, at) in &d.joined {
        rows.push(row("given", time(*at), "number", "", "", "", source.clone()));
    }
    for (p, state) in &d.permissions {
        rows.push(row("permission", String::new(), state.code(), p.channel.code(), p.purpose.code(), "", String::new()));
    }
    for e in &d.entries {
        let campaign = e.body.campaign.as_deref().unwrap_or_default();
        let codes: Vec<String> = e.body.permissions.iter().map(|p| p.code()).collect();
        let detail = format!("{} {}", e.body.action, codes.join(" "));
        rows.push(row("said", time(e.body.at), e.body.word(), &e.body.channel, "", campaign, detail));
    }
    for s in &d.sent {
        let campaign = s.campaign.as_deref().unwrap_or_default();
        rows.push(row(
            "sent",
            time(s.at),
            &s.kind,
            &s.channel,
            "",
            campaign,
            format!("{} {} {} {}", s.sender, s.state, s.reference, s.text.as_deref().unwrap_or_default()).trim_end().to_owned(),
        ));
    }
    for at in &d.links {
        rows.push(row("link", time(*at), "handed over", "", "", "", String::new()));
    }
    for r in &d.received {
        let what = r.entry.as_ref().map_or(String::new(), |form| format!("{ENTRY} {form}"));
        rows.push(row("received", time(r.at), what.trim_end(), &r.channel, "", "", r.text.clone()));
    }
    for x in &d.decisions {
        let because = crate::domain::eligibility::sentence(&x.code).unwrap_or_default();
        let facts: String = x.facts().iter().map(|(label, value)| format!(" {label}: {value}.")).collect();
        rows.push(row("decision", time(x.at), &x.outcome, "", "", &x.campaign, format!("{}: {because}{facts}", x.code)));
    }
    for no in &d.noes {
        let detail = match (no.lifted_at, &d.said_on) {
            (Some(at), _) => format!("lifted {}", time(at)),
            (None, _) if no.of_another => "said by another number".to_owned(),
            (None, Some(day)) if no.reason == "unsubscribed_before" => format!("said on {day}"),
            (None, _) => String::new(),
        };
        rows.push(row("suppression", time(no.at), &no.reason, "", "", "", detail));
    }
    if let Some(closed) = d.closed {
        rows.push(row("left_out", time(closed.since), closed.code(), "", "", "", String::new()));
    }
    for r in d.registers.iter().filter(|r| r.listed_since.is_some()) {
        rows.push(row("register", r.listed_since.map(time).unwrap_or_default(), &r.register, "call", "", "", String::new()));
    }
    for r in &d.requests {
        rows.push(row("request", r.received.clone(), &r.kind, &r.channel, "", "", r.done.clone().unwrap_or_default()));
    }
    for r in &d.recipients {
        rows.push(row("recipient", String::new(), r.what, "", "", "", r.who.clone()));
    }
    // What was known of the numbers before this one, and is of the human's others, under kinds of its own.
    for former in &d.former {
        rows.push(row("number_changed", time(former.until), "", "", "", "", former.dossier.number.e164().to_owned()));
        rows.extend(under("former_", &former.dossier));
    }
    for other in &d.others {
        rows.push(row("another_number", String::new(), "", "", "", "", other.number.e164().to_owned()));
        rows.extend(under("other_", other));
    }
    rows
}

fn under<'a>(heading: &'a str, d: &Dossier) -> impl Iterator<Item = [String; 7]> + use<'a> {
    codes(d).into_iter().skip(1).map(move |[kind, at, what, channel, purpose, campaign, detail]| {
        [format!("{heading}{kind}"), at, what, channel, purpose, campaign, detail]
    })
}
