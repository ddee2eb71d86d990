//! A person's consents as records in the form of ISO/IEC TS 27560 with the terms of the Data Privacy Vocabulary 2.3
//! (<https://w3id.org/dpv>), profile `dpv-27560#record-eu-gdpr`: one record a channel and purpose, and beside them everything else that is
//! known, under terms of our own (`ev:`). The vocabulary has no channel and no text message.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Engine;
use super::dossier::{Decision, Dossier, Entry, Recipient};
use crate::clock::instant;
use crate::domain::answer::By;
use crate::domain::channel::{Permission, Purpose};
use crate::domain::ledger::{self, Body, Preference, hex};

const FORM: &str = "https://w3id.org/dpv/schema/dpv-27560#record-eu-gdpr";

/// The whole as JSON-LD.
pub fn json_ld(engine: &Engine, d: &Dossier) -> Value {
    // Each number has a pseudonym of its own, and its consents are its own.
    let graph: Vec<Value> = d.all().into_iter().flat_map(|d| of_number(engine, d)).collect();
    json!({ "@context": context(), "@graph": graph })
}

fn of_number(engine: &Engine, d: &Dossier) -> Vec<Value> {
    let said = d.entries.iter().flat_map(|e| e.body.permissions.iter().copied()).chain(d.permissions.keys().copied());
    let about: BTreeSet<Permission> = said.chain(d.asked_for()).collect();
    let mut graph: Vec<Value> = about.into_iter().map(|permission| record(engine, d, permission)).collect();
    graph.extend([keeping(engine, d), rest(engine, d)]);
    graph
}

fn context() -> Value {
    let mut context = json!({
        "dpv": "https://w3id.org/dpv#", "pd": "https://w3id.org/dpv/pd#", "loc": "https://w3id.org/dpv/loc#",
        "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#", "legal-eu": "https://w3id.org/dpv/legal/eu#",
        "dct": "http://purl.org/dc/terms/", "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "xsd": "http://www.w3.org/2001/XMLSchema#", "ev": "urn:permesso:evidence#",
    });
    for key in [
        "dct:conformsTo",
        "dpv:hasPurpose",
        "dpv:hasLegalBasis",
        "dpv:hasPersonalData",
        "dpv:hasJurisdiction",
        "dpv:hasApplicableLaw",
        "dpv:hasRecipient",
        "dpv:isIndicatedBy",
        "dpv:isImplementedByEntity",
        "dpv:isExercisedAt",
    ] {
        context[key] = json!({ "@type": "@id" });
    }
    for key in ["dpv:isIndicatedAtTime", "dct:created"] {
        context[key] = json!({ "@type": "xsd:dateTime" });
    }
    context
}

/// A UUID that is the same in every export (RFC 9562, version 8).
fn uuid(what: &str) -> String {
    let hash = hex(&Sha256::digest(what.as_bytes()));
    format!("{}-{}-8{}-a{}-{}", &hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..32])
}

fn time(at: i64) -> String {
    instant(at).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

fn subject(d: &Dossier) -> String {
    format!("urn:uuid:{}", uuid(&d.contact.subject))
}

fn controller(engine: &Engine) -> String {
    format!("ev:controller/{}", engine.controller)
}

fn processor(gateway: &str) -> String {
    format!("ev:processor/{gateway}")
}

fn decision_ref(d: &Dossier, decision: &Decision) -> String {
    let of = format!("{} {} {} {}", d.contact.subject, decision.campaign, decision.stage, decision.at);
    format!("urn:uuid:{}", uuid(&of))
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        // Information that sells is direct marketing too (C-654/23).
        Purpose::Promotions | Purpose::ProductInfo => "dpv:DirectMarketing",
        Purpose::Profiling => "dpv:PersonalisedAdvertising",
    }
}

fn months(months: u32) -> Value {
    json!({ "@type": "dpv:TemporalDuration", "rdf:value": format!("P{months}M") })
}

/// Where the data are kept, as the company says it, and for how long.
fn storage(engine: &Engine, duration: Value) -> Value {
    let place = &engine.config.controller.storage;
    let kept = json!({ "@type": "dpv:StorageDuration", "dpv:hasDuration": duration });
    if place.is_empty() {
        return json!([kept]);
    }
    let at = json!({ "@type": "dpv:Location", "ev:place": place });
    json!([{ "@type": "dpv:StorageLocation", "dpv:hasLocation": at }, kept])
}

/// What every record says of the two sides, whatever the person has said: who is responsible, who works for them, where it may be asked,
/// which rights there are.
fn parties(engine: &Engine, d: &Dossier, kind: &str, id: &str, rights: &[&str]) -> Value {
    let who = &engine.config.controller;
    let configured = engine.config.gateways.iter().map(|g| {
        let name = g.processor.as_deref().unwrap_or(g.driver.title);
        json!({ "@id": processor(g.name()), "@type": "dpv:DataProcessor", "dpv:hasName": name, "ev:region": g.region })
    });
    // Those that serve no more, and whoever keeps what is told by webhook.
    let is_other = |r: &&Recipient| r.what != "passed" || engine.config.gateways.iter().all(|g| g.name() != r.name);
    let others = d.recipients.iter().filter(is_other);
    let others = others.map(|r| json!({ "@id": recipient(r), "@type": "dpv:DataProcessor", "dpv:hasName": r.who }));
    let subject_is = if d.contact.kind.as_deref() == Some("prospect") || !d.is_contact() {
        json!("dpv:DataSubject")
    } else {
        json!(["dpv:DataSubject", "dpv:Customer"])
    };
    let mut record = json!({
        "@id": format!("urn:uuid:{id}"),
        "@type": kind,
        "dct:identifier": id,
        "dct:created": time(d.contact.created_at),
        "dpv:hasDataSubject": { "@id": subject(d), "@type": subject_is },
        "dpv:hasDataController": {
            "@id": controller(engine), "@type": "dpv:DataController", "dpv:hasName": who.name, "dpv:hasAddress": who.address,
            "dpv:hasContact": who.privacy_contact,
        },
        "dpv:hasDataProcessor": configured.chain(others).collect::<Vec<_>>(),
        "dpv:hasApplicableLaw": "legal-eu:law-GDPR",
        "dpv:hasRight": rights.iter().map(|right| json!({ "@type": format!("eu-gdpr:{right}") })).collect::<Vec<_>>(),
    });
    if let Some(country) = &d.contact.country {
        record["dpv:hasJurisdiction"] = json!(format!("loc:{country}"));
    }
    record
}

/// The company, and by name everybody who really had data of this person.
fn recipients(engine: &Engine, d: &Dossier) -> Vec<String> {
    [controller(engine)].into_iter().chain(d.recipients.iter().map(recipient)).collect()
}

fn recipient(r: &Recipient) -> String {
    if r.what == "passed" { processor(&r.name) } else { format!("ev:webhook/{}", r.name) }
}

fn record(engine: &Engine, d: &Dossier, permission: Permission) -> Value {
    let config = &engine.config;
    let id = uuid(&format!("{} {}", d.contact.subject, permission.code()));
    let mut record = parties(engine, d, "dpv:ConsentRecord", &id, &["A7-3", "A15", "A17", "A21"]);
    let more = json!({
        "dct:conformsTo": FORM,
        "dpv:hasProcess": [{
            "@type": "dpv:Process",
            "dpv:hasPurpose": purpose(permission.purpose),
            "dpv:hasLegalBasis": "eu-gdpr:A6-1-a",
            "dpv:hasPersonalData": "pd:TelephoneNumber",
            "dpv:hasRecipient": recipients(engine, d),
            "dpv:hasStorageCondition": storage(engine, months(config.retention.months(permission.purpose))),
            "ev:channel": permission.channel.code(),
            "ev:purposeKey": permission.purpose.code(),
        }],
        "dpv:hasConsentControl": {
            // The page that says how, since the person's own has a token, which is a key to it and has no place in a file.
            "@type": ["dpv:ProvideConsent", "dpv:WithdrawConsent"], "dpv:isExercisedAt": config.public_url.as_str(),
        },
        "dpv:hasNotice": notice_of(engine, d, Some(permission)),
        "dpv:hasConsentStatus": statuses(engine, d, permission),
    });
    merge(&mut record, more);
    if let Some(Entry { seq, prev, hash, .. }) = d.entries.iter().rev().find(|e| concerns(&e.body, permission)) {
        record["ev:chain"] = json!({ "ev:seq": seq, "ev:prevSha256": prev, "ev:sha256": hash });
    }
    record
}

fn merge(record: &mut Value, more: Value) {
    if let (Some(record), Value::Object(more)) = (record.as_object_mut(), more) {
        record.extend(more);
    }
}

/// That the number is kept at all, which whoever was never asked, or never answered, has the same right to know of.
fn keeping(engine: &Engine, d: &Dossier) -> Value {
    let id = uuid(&format!("{} keeping", d.contact.subject));
    let mut process = parties(engine, d, "dpv:Process", &id, &["A15", "A16", "A17", "A18", "A21"]);
    let silent = json!({ "@type": "dpv:TemporalDuration", "rdf:value": format!("P{}D", engine.config.retention.silent_days) });
    let more = json!({
        "dpv:hasPurpose": "dpv:DirectMarketing",
        // That a person may be asked at all, and that a no and its proof are kept (as the notice says it).
        "dpv:hasLegalBasis": ["eu-gdpr:A6-1-f", "eu-gdpr:A6-1-c"],
        "dpv:hasPersonalData": "pd:TelephoneNumber",
        "dpv:hasRecipient": recipients(engine, d),
        "dpv:hasStorageCondition": storage(engine, silent),
        "dpv:hasNotice": notice_of(engine, d, None),
    });
    merge(&mut process, more);
    process
}

/// The notice that was beside the choice on which this permission rests, or waits; else the one of the newest thing said or asked about
/// it; else the one that is shown today.
fn notice_of(engine: &Engine, d: &Dossier, permission: Option<Permission>) -> Value {
    use ledger::Entry::{Granted, Pending};
    let stands = permission.is_some_and(|p| d.permissions.get(&p) == Some(&Preference::Granted));
    let newest = |fits: &dyn Fn(&Body) -> bool| {
        let about = |body: &Body| permission.is_some_and(|p| concerns(body, p)) && fits(body);
        d.entries.iter().rev().map(|e| &e.body).filter(|body| about(body)).find_map(shown_with)
    };
    let chosen = newest(&|body| body.entry == Granted || (!stands && body.entry == Pending));
    let said = || newest(&|body| !is_aside(body.entry));
    let asked = || {
        let ask = d.asks().rfind(|ask| permission.is_some_and(|p| d.was_about(ask.revision, p)))?;
        Some((ask.notice.clone()?, Some(ask.locale.clone())))
    };
    let today = || ((d.notice_version.clone(), None), d.contact.locale.clone());
    let ((version, hash), locale) = chosen.or_else(said).or_else(asked).unwrap_or_else(today);
    let of_version: Vec<_> = d.notices.iter().filter(|text| text.version == version).collect();
    // By its hash, which proves it; where none was kept, as it was published in that language.
    let text = of_version.iter().find(|text| hash.as_ref() == Some(&text.hash));
    let text = text.or_else(|| of_version.iter().find(|text| hash.is_none() && Some(&text.locale) == locale.as_ref()));
    let published = text.or(of_version.first()).map(|text| instant(text.published_at).date_naive().to_string());
    let mut notice = json!({
        "@id": format!("ev:notice/{version}"), "@type": "dpv:ConsentNotice", "ev:version": version,
        "dct:language": text.map(|text| text.locale.clone()).or(locale),
        "ev:sha256": hash.or(text.map(|text| text.hash.clone())),
        "ev:url": engine.config.at("/notice"),
    });
    if let Some(day) = published {
        notice["dct:date"] = json!(day);
    }
    notice
}

type Shown = ((String, Option<String>), Option<String>);

/// Version and hash of the notice that was shown with an act, and the language: of a grant, with its first yes.
fn shown_with(body: &Body) -> Option<Shown> {
    let first = body.first_yes.as_ref().filter(|first| first.notice_version.is_some());
    match first {
        Some(first) => Some(((first.notice_version.clone()?, first.notice_hash.clone()), first.locale.clone())),
        None => Some(((body.notice_version.clone()?, body.notice_hash.clone()), body.locale.clone())),
    }
}

/// Whether an entry is about this permission: one that names none is about all of them.
fn concerns(body: &Body, permission: Permission) -> bool {
    body.permissions.is_empty() || body.permissions.contains(&permission)
}

/// Every state this permission had, oldest first: from the imported rows, the questions and the ledger.
fn statuses(engine: &Engine, d: &Dossier, permission: Permission) -> Vec<Value> {
    let us = controller(engine);
    let valid_for = months(engine.config.retention.months(permission.purpose));
    let mut all: Vec<(i64, Value)> = Vec::new();
    for row in &d.imported {
        let how = format!("import {} row {}", row.file, row.import_line);
        all.push((row.at, status(&["dpv:ConsentUnknown"], &us, row.at, &how, [("ev:source", json!(row.source))])));
    }
    for sent in d.asks().filter(|sent| d.was_about(sent.revision, permission)) {
        let how = format!("outbound {}", sent.channel);
        let decision = d.decisions.iter().rev().find(|x| Some(&x.campaign) == sent.campaign.as_ref() && x.at <= sent.at);
        let more = [
            ("dpv:isImplementedByEntity", json!(processor(&sent.gateway))),
            ("ev:askBasis", json!(sent.basis)),
            ("ev:senderId", json!(sent.sender)),
            ("ev:messageRef", json!(sent.reference)),
            ("ev:bodySha256", json!(sent.wording_hash)),
            ("ev:noticeVersion", json!(sent.notice.as_ref().map(|(version, _)| version))),
            ("ev:noticeSha256", json!(sent.notice.as_ref().and_then(|(_, hash)| hash.as_ref()))),
            ("ev:decisionRef", json!(decision.map(|x| decision_ref(d, x)))),
        ];
        all.push((sent.at, status(&["dpv:ConsentRequested"], &us, sent.at, &how, more)));
    }
    for ask in d.ran_out.iter().filter(|ask| d.was_about(ask.revision_id, permission)) {
        let more = [("ev:campaign", json!(ask.campaign)), ("ev:messageRef", json!(ask.reference))];
        let how = "no answer in time";
        all.push((ask.closed_at, status(&["dpv:ConsentRequestDeferred"], &us, ask.closed_at, how, more)));
    }
    let mut before = std::collections::BTreeMap::new();
    for Entry { body, .. } in &d.entries {
        let was = before.get(&permission).copied();
        ledger::apply(&mut before, body);
        let now = before.get(&permission).copied();
        if concerns(body, permission)
            && let Some(kinds) = kinds(body, was, now)
        {
            let mut status = of_entry(&us, body, kinds);
            if body.entry == ledger::Entry::Granted {
                status["dpv:hasDuration"] = valid_for.clone();
            }
            all.push((body.at, status));
        }
    }
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, status)| status).collect()
}

/// Whether an entry leaves every consent as it is.
fn is_aside(entry: ledger::Entry) -> bool {
    use ledger::Entry::{LateNo, Restricted, Retention, Times, Unrestricted};
    matches!(entry, LateNo | Retention | Times | Restricted | Unrestricted)
}

const REVOKED: &[&str] = &["dpv:ConsentRevoked"];

/// What an entry makes of the consent (compliance of the terms: DPV 2.3, status of consent).
fn kinds(body: &Body, was: Option<Preference>, now: Option<Preference>) -> Option<&'static [&'static str]> {
    use ledger::Entry::{ConsentExpired, Expired, Granted, Pending, WrongPerson};
    // Ended by us for a reason that is nobody's no: a consent given for one number is none for the next (L33), and who says that the number
    // is theirs now speaks for themselves, not for the person who consented (T16).
    if body.entry == WrongPerson {
        return (was == Some(Preference::Granted)).then_some(REVOKED);
    }
    match (body.entry, was, now) {
        (Pending, ..) => Some(&["dpv:ConsentRequested"]),
        (ConsentExpired, ..) => Some(&["dpv:ConsentExpired"]),
        (Expired, ..) => Some(&["dpv:ConsentRequestDeferred"]),
        (Granted, Some(Preference::Granted), _) => Some(&["dpv:RenewedConsentGiven", "dpv:ExpressedConsent"]),
        (Granted, ..) => Some(&["dpv:ConsentGiven", "dpv:ExpressedConsent"]),
        (entry, ..) if is_aside(entry) => None,
        (_, _, Some(Preference::Withdrawn)) => Some(&["dpv:ConsentWithdrawn"]),
        _ => Some(&["dpv:ConsentRefused"]),
    }
}

fn of_entry(us: &str, body: &Body, kinds: &[&str]) -> Value {
    let person = kinds != REVOKED && By::of(&body.channel, &body.action) == Some(By::Person);
    let by = if person { "dpv:DataSubject" } else { us };
    let how = format!("{}: {}", body.channel, body.action.replace('_', " "));
    let mut more = vec![
        ("ev:askBasis", json!(body.ask_basis)),
        ("ev:messageRef", json!(body.ask_reference)),
        ("ev:bodySha256", json!(body.wording_hash)),
        ("ev:pageSha256", json!(body.page_hash)),
        ("ev:language", json!(body.locale)),
        ("ev:campaign", json!(body.campaign)),
        ("ev:form", json!(body.form)),
        ("ev:providerRef", json!(body.evidence)),
        ("ev:noticeVersion", json!(body.notice_version)),
        ("ev:noticeSha256", json!(body.notice_hash)),
    ];
    if let Some(first) = &body.first_yes {
        // The first yes, and this act, which confirmed it.
        more.push(("ev:boxDefault", json!("unticked")));
        more.push((
            "ev:firstYes",
            json!({ "ev:kind": format!("{}: {}", first.channel, first.action.replace('_', " ")), "ev:at": time(first.at) }),
        ));
        more.push(("ev:confirmation", json!({ "ev:kind": how, "ev:at": time(body.at), "ev:textSha256": body.text_hash })));
    }
    status(kinds, by, body.at, &how, more)
}

fn status(kinds: &[&str], by: &str, at: i64, how: &str, more: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let kind = if let [one] = kinds { json!(one) } else { json!(kinds) };
    let mut status = json!({
        "@type": kind, "dpv:isIndicatedBy": by, "dpv:isIndicatedAtTime": time(at), "dpv:hasIndicationMethod": how,
    });
    for (key, value) in more.into_iter().filter(|(_, value)| !value.is_null()) {
        status[key] = value;
    }
    status
}

/// What is known beside the consents.
fn rest(engine: &Engine, d: &Dossier) -> Value {
    let c = &d.contact;
    json!({
        "@id": subject(d),
        "@type": "dpv:DataSubject",
        "ev:telephoneNumber": d.number.e164(),
        "ev:knownSince": time(c.created_at),
        "ev:keptAs": (!d.is_contact()).then_some("keyed hash of the number"),
        "ev:country": c.country,
        "ev:language": c.locale,
        "ev:timeZone": c.zone,
        "ev:relation": c.kind,
        "ev:lastAction": c.last_action.as_ref().filter(|day| *day != crate::store::contacts::UNDATED),
        "ev:times": (!c.times().is_any()).then(|| c.times().words()),
        "ev:restricted": c.restricted != 0,
        "ev:imported": d.imported.iter().map(|row| json!({
            "ev:file": row.file, "ev:row": row.import_line, "ev:at": time(row.at), "ev:source": row.source, "ev:relation": row.kind,
            "ev:askBasis": row.basis, "ev:evidence": row.evidence, "ev:date": row.basis_date, "ev:boxDefault": row.box_default,
            "ev:channels": row.channels, "ev:unsubscribed": row.unsubscribed != 0,
        })).collect::<Vec<_>>(),
        "ev:formerNumbers": d.former.iter().map(|f| json!({
            "@id": subject(&f.dossier), "ev:telephoneNumber": f.dossier.number.e164(), "ev:until": time(f.until),
        })).collect::<Vec<_>>(),
        "ev:otherNumbers": d.others.iter().map(|other| json!({
            "@id": subject(other), "ev:telephoneNumber": other.number.e164(),
        })).collect::<Vec<_>>(),
        "ev:given": d.joined.iter().map(|(source, at)| json!({ "ev:at": time(*at), "ev:source": source })).collect::<Vec<_>>(),
        "ev:messages": d.sent.iter().map(|sent| json!({
            "ev:at": time(sent.at), "ev:kind": sent.kind, "ev:channel": sent.channel, "ev:senderId": sent.sender,
            "ev:campaign": sent.campaign, "ev:gateway": sent.gateway, "ev:messageRef": sent.reference, "ev:state": sent.state,
            "ev:text": sent.text,
        })).collect::<Vec<_>>(),
        "ev:pages": d.pages.iter().map(|(hash, name, locale, text)| json!({
            "ev:sha256": hash, "ev:kind": name, "ev:language": locale, "ev:text": text,
        })).collect::<Vec<_>>(),
        "ev:links": d.links.iter().map(|at| time(*at)).collect::<Vec<_>>(),
        "ev:replies": d.received.iter().map(|reply| json!({
            "ev:at": time(reply.at), "ev:channel": reply.channel, "ev:text": reply.text,
            "ev:entry": reply.entry.as_ref().map(|form| json!({ "ev:form": form, "ev:isConsent": false })),
        })).collect::<Vec<_>>(),
        "ev:decisions": d.decisions.iter().map(|decision| json!({
            "@id": decision_ref(d, decision),
            "ev:at": time(decision.at), "ev:campaign": decision.campaign, "ev:outcome": decision.outcome, "ev:rule": decision.code,
            "ev:because": crate::domain::eligibility::sentence(&decision.code),
            "ev:facts": decision.facts().iter().map(|(label, value)| format!("{label}: {value}")).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "ev:suppressions": d.noes.iter().map(|no| json!({
            "ev:reason": no.reason, "ev:at": time(no.at), "ev:liftedAt": no.lifted_at.map(time),
            "ev:saidOn": d.said_on.as_ref().filter(|_| no.reason == "unsubscribed_before"),
            "ev:saidBy": no.of_another.then_some("another number of the same person"),
        })).collect::<Vec<_>>(),
        "ev:leftOut": d.closed.map(|closed| json!({ "ev:since": time(closed.since), "ev:because": closed.code() })),
        "ev:registers": d.registers.iter().filter_map(|r| Some(json!({
            "ev:register": r.register, "ev:listedSince": time(r.listed_since?),
        }))).collect::<Vec<_>>(),
        "ev:requests": d.requests.iter().map(|r| json!({
            "ev:kind": r.kind, "ev:received": r.received, "ev:due": r.due, "ev:done": r.done,
        })).collect::<Vec<_>>(),
        "ev:repliesKeptDays": engine.config.retention.replies_days,
        "ev:proofKeptDays": engine.config.retention.proof_days,
    })
}
