//! A person's consents as records in the form of ISO/IEC TS 27560 with the terms of the Data Privacy Vocabulary 2.3
//! (<https://w3id.org/dpv>), profile `dpv-27560#record-eu-gdpr`: one record a channel and purpose, and beside them everything else that is
//! known, under terms of our own (`ev:`). The vocabulary has no channel and no text message.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Engine;
use super::dossier::{Dossier, Entry};
use crate::clock::instant;
use crate::domain::answer::By;
use crate::domain::channel::{Permission, Purpose};
use crate::domain::ledger::{self, Body, Preference, hex};

const FORM: &str = "https://w3id.org/dpv/schema/dpv-27560#record-eu-gdpr";

/// The whole as JSON-LD.
pub fn json_ld(engine: &Engine, d: &Dossier) -> Value {
    // Each number has a pseudonym of its own, and its consents are its own.
    let graph: Vec<Value> =
        [d].into_iter().chain(d.former.iter().map(|f| &f.dossier)).flat_map(|d| of_number(engine, d)).collect();
    json!({ "@context": context(), "@graph": graph })
}

fn of_number(engine: &Engine, d: &Dossier) -> Vec<Value> {
    let said: BTreeSet<Permission> =
        d.entries.iter().flat_map(|e| e.body.permissions.iter().copied()).chain(d.permissions.keys().copied()).collect();
    let about = if said.is_empty() { d.asked_for.iter().copied().collect() } else { said };
    let mut graph: Vec<Value> = about.into_iter().map(|permission| record(engine, d, permission)).collect();
    graph.push(rest(engine, d));
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

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        // Information that sells is direct marketing too (C-654/23).
        Purpose::Promotions | Purpose::ProductInfo => "dpv:DirectMarketing",
        Purpose::Profiling => "dpv:PersonalisedAdvertising",
    }
}

fn record(engine: &Engine, d: &Dossier, permission: Permission) -> Value {
    let config = &engine.config;
    let who = &config.controller;
    let id = uuid(&format!("{} {}", d.contact.subject, permission.code()));
    let statuses = statuses(engine, d, permission);
    let rights = ["A7-3", "A15", "A17", "A21"].map(|right| json!({ "@type": format!("eu-gdpr:{right}") }));
    let recipients: Vec<String> =
        [controller(engine)].into_iter().chain(config.gateways.iter().map(|g| processor(g.name()))).collect();
    let processors: Vec<Value> = config
        .gateways
        .iter()
        .map(|g| json!({ "@id": processor(g.name()), "@type": "dpv:DataProcessor", "dpv:hasName": g.processor.as_deref().unwrap_or(g.name()) }))
        .collect();
    let kind = if d.contact.kind.as_deref() == Some("prospect") {
        json!("dpv:DataSubject")
    } else {
        json!(["dpv:DataSubject", "dpv:Customer"])
    };
    let notice = d
        .entries
        .iter()
        .rev()
        .find_map(|e| Some((e.body.notice_version.clone()?, e.body.locale.clone(), e.body.notice_hash.clone())));
    let (version, locale, hash) = notice.unwrap_or((who.notice_version.clone(), None, None));
    let last = d.entries.iter().rev().find(|e| concerns(&e.body, permission));
    let mut record = json!({
        "@id": format!("urn:uuid:{id}"),
        "@type": "dpv:ConsentRecord",
        "dct:identifier": id,
        "dct:conformsTo": FORM,
        "dct:created": time(d.contact.created_at),
        "dpv:hasDataSubject": { "@id": subject(d), "@type": kind },
        "dpv:hasDataController": {
            "@id": controller(engine), "@type": "dpv:DataController", "dpv:hasName": who.name, "dpv:hasAddress": who.address,
            "dpv:hasContact": who.privacy_contact,
        },
        "dpv:hasDataProcessor": processors,
        "dpv:hasApplicableLaw": "legal-eu:law-GDPR",
        "dpv:hasProcess": [{
            "@type": "dpv:Process",
            "dpv:hasPurpose": purpose(permission.purpose),
            "dpv:hasLegalBasis": "eu-gdpr:A6-1-a",
            "dpv:hasPersonalData": "pd:TelephoneNumber",
            "dpv:hasRecipient": recipients,
            "dpv:hasStorageCondition": [{
                "@type": "dpv:StorageDuration",
                "dpv:hasDuration": { "@type": "dpv:TemporalDuration", "rdf:value": format!("P{}M", config.retention.months(permission.purpose)) },
            }],
            "ev:channel": permission.channel.code(),
            "ev:purposeKey": permission.purpose.code(),
        }],
        "dpv:hasConsentControl": {
            "@type": ["dpv:ProvideConsent", "dpv:WithdrawConsent"], "dpv:isExercisedAt": config.public_url.as_str(),
        },
        "dpv:hasRight": rights,
        "dpv:hasNotice": {
            "@id": format!("ev:notice/{version}"), "@type": "dpv:ConsentNotice", "dct:language": locale, "ev:version": version,
            "ev:sha256": hash, "ev:url": format!("{}/notice", config.public_url.as_str().trim_end_matches('/')),
        },
        "dpv:hasConsentStatus": statuses,
    });
    if let Some(country) = &d.contact.country {
        record["dpv:hasJurisdiction"] = json!(format!("loc:{country}"));
    }
    if let Some(Entry { seq, prev, hash, .. }) = last {
        record["ev:chain"] = json!({ "ev:seq": seq, "ev:prevSha256": prev, "ev:sha256": hash });
    }
    record
}

/// Whether an entry is about this permission: one that names none is about all of them.
fn concerns(body: &Body, permission: Permission) -> bool {
    body.permissions.is_empty() || body.permissions.contains(&permission)
}

/// Every state this permission had, oldest first: from the imported rows, the questions and the ledger.
fn statuses(engine: &Engine, d: &Dossier, permission: Permission) -> Vec<Value> {
    let us = controller(engine);
    let mut all: Vec<(i64, Value)> = Vec::new();
    for row in &d.imported {
        let how = format!("import {} row {}", row.file, row.import_line);
        all.push((row.at, status(&["dpv:ConsentUnknown"], &us, row.at, &how, [("ev:source", json!(row.source))])));
    }
    for sent in d.sent.iter().filter(|s| matches!(s.kind.as_str(), "ask" | "reminder")) {
        let gateway = engine.config.senders.iter().find(|s| s.id == sent.sender).map(|s| processor(&s.gateway));
        let how = format!("outbound {}", sent.channel);
        let more = [
            ("dpv:isImplementedByEntity", json!(gateway)),
            ("ev:senderId", json!(sent.sender)),
            ("ev:messageRef", json!(sent.reference)),
        ];
        all.push((sent.at, status(&["dpv:ConsentRequested"], &us, sent.at, &how, more)));
    }
    let mut before = std::collections::BTreeMap::new();
    for Entry { body, .. } in &d.entries {
        let was = before.get(&permission).copied();
        ledger::apply(&mut before, body);
        let now = before.get(&permission).copied();
        if concerns(body, permission)
            && let Some(kinds) = kinds(body, was, now)
        {
            all.push((body.at, of_entry(&us, body, kinds)));
        }
    }
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, status)| status).collect()
}

/// What an entry makes of the consent (compliance of the terms: DPV 2.3, status of consent).
fn kinds(body: &Body, was: Option<Preference>, now: Option<Preference>) -> Option<&'static [&'static str]> {
    use ledger::Entry::{ConsentExpired, Expired, Granted, LateNo, Pending, Restricted, Retention, Times, Unrestricted};
    // Ended by us for a reason that is nobody's no: a consent given for one number is none for the next (L33).
    if body.is_number_change() {
        return (was == Some(Preference::Granted)).then_some(&["dpv:ConsentRevoked"]);
    }
    match (body.entry, was, now) {
        (Pending, ..) => Some(&["dpv:ConsentRequested"]),
        (ConsentExpired, ..) => Some(&["dpv:ConsentExpired"]),
        (Expired, ..) => Some(&["dpv:ConsentRequestDeferred"]),
        (Granted, Some(Preference::Granted), _) => Some(&["dpv:RenewedConsentGiven", "dpv:ExpressedConsent"]),
        (Granted, ..) => Some(&["dpv:ConsentGiven", "dpv:ExpressedConsent"]),
        (LateNo | Retention | Times | Restricted | Unrestricted, ..) => None,
        (_, _, Some(Preference::Withdrawn)) => Some(&["dpv:ConsentWithdrawn"]),
        _ => Some(&["dpv:ConsentRefused"]),
    }
}

fn of_entry(us: &str, body: &Body, kinds: &[&str]) -> Value {
    let person = By::of(&body.channel, &body.action) == Some(By::Person);
    let by = if person { "dpv:DataSubject" } else { us };
    let how = format!("{}: {}", body.channel, body.action.replace('_', " "));
    let mut more = vec![
        ("ev:askBasis", json!(body.ask_basis)),
        ("ev:messageRef", json!(body.ask_reference)),
        ("ev:bodySha256", json!(body.wording_hash)),
        ("ev:campaign", json!(body.campaign)),
        ("ev:providerRef", json!(body.evidence)),
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
        "ev:given": d.joined.iter().map(|(source, at)| json!({ "ev:at": time(*at), "ev:source": source })).collect::<Vec<_>>(),
        "ev:messages": d.sent.iter().map(|sent| json!({
            "ev:at": time(sent.at), "ev:kind": sent.kind, "ev:channel": sent.channel, "ev:senderId": sent.sender,
            "ev:campaign": sent.campaign, "ev:messageRef": sent.reference, "ev:state": sent.state,
            "ev:text": sent.text,
        })).collect::<Vec<_>>(),
        "ev:links": d.links.iter().map(|at| time(*at)).collect::<Vec<_>>(),
        "ev:replies": d.received.iter().map(|reply| json!({
            "ev:at": time(reply.at), "ev:channel": reply.channel, "ev:text": reply.text,
        })).collect::<Vec<_>>(),
        "ev:decisions": d.decisions.iter().map(|decision| json!({
            "ev:at": time(decision.at), "ev:campaign": decision.campaign, "ev:outcome": decision.outcome, "ev:rule": decision.code,
            "ev:because": crate::domain::eligibility::sentence(&decision.code),
        })).collect::<Vec<_>>(),
        "ev:suppressions": d.noes.iter().map(|(reason, at, lifted)| json!({
            "ev:reason": reason, "ev:at": time(*at), "ev:liftedAt": lifted.map(time),
            "ev:saidOn": d.said_on.as_ref().filter(|_| reason == "unsubscribed_before"),
        })).collect::<Vec<_>>(),
        "ev:registers": d.registers.iter().filter_map(|r| Some(json!({
            "ev:register": r.register, "ev:listedSince": time(r.listed_since?),
        }))).collect::<Vec<_>>(),
        "ev:requests": d.requests.iter().map(|r| json!({
            "ev:kind": r.kind, "ev:received": r.received, "ev:due": r.due, "ev:done": r.done,
        })).collect::<Vec<_>>(),
        "ev:proofKeptDays": engine.config.retention.proof_days,
    })
}
