//! The country packs we ship: every rule has its source, the hours and zones exist, the holidays are what we say they are, and none
//! is laxer than the law it names. And the files people write: what is wrong in one is named with its line and remedy.

use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use chrono_tz::Tz;
use permesso::config::Config;
use permesso::domain::campaign::{Campaign, RegistrationState};
use permesso::domain::channel::Channel;
use permesso::domain::contact::{AskBasis, BasisEvidence, BoxDefault};
use permesso::domain::country::{Confidence, CountryPack, Freshness, freshness};
use permesso::domain::hours::{Calendar, Hours, Opening};
use permesso::domain::register::{Release, Screened};
use proptest::prelude::*;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config");

fn packs() -> Vec<CountryPack> {
    Config::load(Path::new(SHIPPED)).unwrap_or_else(|problems| panic!("{problems}")).packs.into_values().collect()
}

fn pack(code: &str) -> CountryPack {
    packs().into_iter().find(|pack| pack.code == code).unwrap()
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

#[test]
fn every_pack_reads_and_opens_on_a_working_day_in_all_its_zones() {
    let packs = packs();
    assert_eq!(packs.iter().map(|pack| &*pack.code).collect::<Vec<_>>(), ["DE", "ES", "FR", "GB", "IT", "PL"]);
    let mut calendar = Calendar::default();
    for pack in packs {
        let zones: Vec<Tz> = pack.zones.iter().map(|zone| zone.parse().unwrap()).collect();
        let hours = Hours::parse(&pack.open_hours(), Some(&pack.code)).unwrap();
        let mut ask = |now: &str| calendar.opening(&[&hours], &zones, now.parse().unwrap());
        assert!(matches!(ask("2026-11-24T12:00:00Z"), Opening::Open { .. }), "{} Tuesday noon", pack.code);
        for closed in [
            "2026-11-24T06:30:00Z",
            "2026-11-24T21:30:00Z",
            "2026-11-29T12:00:00Z",
            "2027-12-25T12:00:00Z",
            "2028-01-01T12:00:00Z",
        ] {
            assert!(matches!(ask(closed), Opening::Opens { .. }), "{} {closed}", pack.code);
        }
        // A year the table does not know.
        assert_eq!(ask("2077-01-05T12:00:00Z"), Opening::Never, "{}", pack.code);
    }
}

#[test]
fn every_rule_says_where_it_comes_from_and_when_it_was_last_read() {
    for pack in packs() {
        for (rule, source) in pack.rules() {
            assert!(source.text.len() > 3, "{} {rule}", pack.code);
            assert!(source.reviewed >= day("2026-11-01"), "{} {rule}", pack.code);
        }
        // What nobody could confirm says so.
        assert_eq!(
            pack.hours.source.confidence == Confidence::Unconfirmed,
            ["DE", "IT", "PL"].contains(&&*pack.code),
            "{}",
            pack.code
        );
    }
}

#[test]
fn no_pack_allows_more_than_its_law() {
    for pack in packs() {
        let code = &*pack.code;
        for channel in [Channel::Sms, Channel::WhatsApp] {
            assert!(pack.allows(AskBasis::PriorConsent, channel) && pack.allows(AskBasis::InboundRequest, channel), "{code}");
            assert!(!pack.allows(AskBasis::EndOfRetentionFr, channel), "{code}");
        }
        assert!(AskBasis::ALL.iter().all(|basis| !pack.allows(*basis, Channel::Call)), "{code}");
        assert_eq!(pack.allows(AskBasis::SoftOptIn, Channel::Sms), code == "GB");
        assert_eq!(pack.allows(AskBasis::OtherApproved, Channel::Sms), ["ES", "FR"].contains(&code));
        assert!(!pack.allows(AskBasis::SoftOptIn, Channel::WhatsApp) && !pack.allows(AskBasis::OtherApproved, Channel::WhatsApp));
        assert_eq!(pack.sender.registration, ["ES", "IT"].contains(&code));
        assert_eq!(pack.basis_age.months[&AskBasis::PriorConsent], if code == "FR" { 36 } else { 24 });
        assert_eq!(pack.basis_age.from_last_action, code == "FR");
        let register = (pack.register.name.as_deref(), pack.register.valid_days, pack.register.cancels_earlier);
        match code {
            "IT" => assert_eq!(register, (Some("RPO"), 15, true)),
            "GB" => assert_eq!(register, (Some("TPS"), 28, false)),
            "ES" => assert_eq!(register, (Some("ROBINSON"), 30, false)),
            _ => assert_eq!(register.0, None, "{code}"),
        }
        assert_eq!(pack.blocks(Some("energy"), Channel::Sms), code == "IT");
        assert_eq!(pack.blocks(Some("renovation"), Channel::Sms), code == "FR");
        assert!(!pack.blocks(None, Channel::Sms));
    }
}

/// Noon of a day in the pack's first zone, its week-day and night rules taken away.
fn is_holiday(pack: &CountryPack, date: &str) -> bool {
    let also: String = pack.holidays.also.iter().map(|day| format!("; {day} off")).collect();
    let hours = Hours::parse(&format!("24/7; PH off{also}"), Some(&pack.code)).unwrap();
    let zone: Tz = pack.zones[0].parse().unwrap();
    let noon = day(date).and_hms_opt(12, 0, 0).unwrap().and_local_timezone(zone).unwrap().to_utc();
    !matches!(permesso::domain::hours::opening(&[&hours], &[zone], noon), Opening::Open { .. })
}

#[test]
fn the_holidays_are_what_the_packs_say_regional_ones_too() {
    for (code, dates) in [
        // 4 October since 2026 (legge 151/2025); Bolzano's Whit Monday.
        ("IT", &["2026-10-04", "2027-10-04", "2027-05-17", "2026-12-08", "2027-03-29"][..]),
        // 24 December since 2025.
        ("PL", &["2026-12-24", "2027-05-27", "2026-11-11"]),
        // Corpus Christi, Assumption, Reformation, All Saints', Repentance Day by state; Augsburg by the pack.
        ("DE", &["2027-05-27", "2027-08-15", "2026-10-31", "2026-11-01", "2026-11-18", "2027-03-08", "2027-08-08"]),
        // Good Friday and 26 December of Alsace-Moselle, by the pack.
        ("FR", &["2027-03-26", "2026-12-26", "2027-07-14"]),
        // Communities: Andalusia, Aragon, Catalonia, Valencia, Galicia; 19 March by the pack.
        ("ES", &["2027-02-28", "2027-04-23", "2027-09-11", "2027-10-09", "2027-07-25", "2027-03-19", "2026-12-08"]),
        // 2 January and St Andrew's of Scotland, St Patrick's and the Boyne of Northern Ireland; days and their substitutes.
        ("GB", &["2027-01-02", "2026-11-30", "2027-03-17", "2027-07-12", "2027-12-25", "2027-12-27", "2027-12-28"]),
    ] {
        for date in dates {
            assert!(is_holiday(&pack(code), date), "{code} {date}");
        }
    }
    for (code, date) in
        [("IT", "2025-10-03"), ("PL", "2024-12-24"), ("DE", "2027-08-09"), ("FR", "2026-12-28"), ("GB", "2026-12-24")]
    {
        assert!(!is_holiday(&pack(code), date), "{code} {date}");
    }
    // What the table lacks, and the packs say so: Rome's and Madrid's own days.
    assert!(!is_holiday(&pack("IT"), "2027-06-29") && pack("IT").holidays.lacks.contains("Rome 29 June"));
    assert!(!is_holiday(&pack("ES"), "2027-05-14") && pack("ES").holidays.lacks.contains("municipality"));
    // The library itself lacks what the packs name.
    for (code, date) in [("DE", "2027-08-08"), ("FR", "2026-12-26"), ("ES", "2027-03-19"), ("GB", "2027-12-25")] {
        let mut bare = pack(code);
        bare.holidays.also.clear();
        assert!(!is_holiday(&bare, date), "{code} {date} is in the table now: take it out of the pack");
    }
}

#[test]
fn a_basis_ages_by_whole_months_and_in_france_from_the_last_action() {
    let evidence = |date: &str| BasisEvidence {
        basis: AskBasis::PriorConsent,
        evidence: "form 1".into(),
        date: day(date),
        box_default: BoxDefault::Unticked,
        channels: vec![Channel::Sms],
        approver: None,
        conditions: Vec::new(),
    };
    let (italy, france, today) = (pack("IT"), pack("FR"), day("2026-12-01"));
    assert!(italy.in_time(&evidence("2024-12-01"), None, today));
    assert!(!italy.in_time(&evidence("2024-11-30"), None, today));
    assert!(!italy.in_time(&evidence("2024-11-30"), Some(day("2026-01-01")), today));
    assert!(!france.in_time(&evidence("2023-11-30"), None, today));
    assert!(france.in_time(&evidence("2019-01-01"), Some(day("2023-12-01")), today));
    // 24 months before a leap day's end.
    assert!(italy.in_time(&evidence("2026-02-28"), None, day("2028-02-28")));
    assert!(!italy.in_time(&evidence("2026-02-28"), None, day("2028-02-29")));
    assert!(italy.in_time(&evidence("2028-02-29"), None, day("2030-02-28")));
}

#[test]
fn a_consent_is_released_by_a_fresh_screening_and_survives_an_earlier_registration() {
    const DAY: i64 = 86_400_000_000;
    let rule = pack("IT").register;
    let screened = |at: Option<i64>, listed_since| Screened { register: "RPO".into(), at, listed_since };
    let now = 100 * DAY;
    assert_eq!(rule.release(None, 0, now), Release::Stale, "never screened");
    assert_eq!(rule.release(Some(&screened(Some(85 * DAY), None)), 0, now), Release::Free, "on the 15th day");
    assert_eq!(rule.release(Some(&screened(Some(85 * DAY - 1), None)), 0, now), Release::Stale);
    let listed = screened(Some(99 * DAY), Some(50 * DAY));
    assert_eq!(rule.release(Some(&listed), 50 * DAY, now), Release::Listed, "a tie is a no");
    assert_eq!(rule.release(Some(&listed), 50 * DAY + 1, now), Release::Free);
    assert_eq!(rule.release(Some(&screened(Some(80 * DAY), Some(50 * DAY))), 60 * DAY, now), Release::Stale);
    assert_eq!(rule.release(Some(&screened(None, Some(50 * DAY))), 40 * DAY, now), Release::Listed);
}

#[test]
fn a_review_holds_a_year_and_its_last_sixty_days_warn() {
    let reviewed = day("2026-11-02");
    let on = |date: &str| freshness(reviewed, day(date), 365, 60);
    assert_eq!(on("2027-09-03"), Freshness::Fresh);
    assert_eq!(on("2027-09-04"), Freshness::Aging { days: 59 });
    assert_eq!(on("2027-11-02"), Freshness::Aging { days: 0 });
    assert_eq!(on("2027-11-03"), Freshness::Stale);
    let config = Config::load(Path::new(SHIPPED)).unwrap();
    assert_eq!(config.pack_warnings(day("2026-12-01")), Vec::<String>::new());
    let due = config.pack_warnings(day("2027-09-10"));
    assert!(
        due[0].contains("rules of country packs were last reviewed on 2026-11-02: in 53 days") && due[0].contains(", IT [hours]"),
        "{due:#?}"
    );
    assert_eq!(due.len(), 1, "those of one day in one line: {due:#?}");
    assert!(!due.iter().any(|w| w.contains("[holidays]")), "its review is younger: {due:#?}");
    assert!(config.pack_warnings(day("2026-11-03")).iter().any(|w| w.contains("lies in the future")));
}

#[test]
fn the_rule_reviewed_longest_ago_decides_if_it_applies() {
    let campaign = Config::load(Path::new(SHIPPED)).unwrap().campaign("rinnovo-consensi").unwrap();
    let (mut italy, by_name) = (pack("IT"), &campaign.asks[0]);
    italy.sectors.source.reviewed = day("2020-01-01");
    assert_ne!(italy.oldest(by_name, None).0, "sectors");
    assert_eq!(italy.oldest(by_name, Some("energy")), ("sectors", day("2020-01-01")));
    italy.sender.source.reviewed = day("2021-01-01");
    assert_eq!(italy.oldest(by_name, None).0, "sender");
    let mut by_number = by_name.clone();
    by_number.sender.two_way = true;
    assert_ne!(italy.oldest(&by_number, None).0, "sender");
}

#[test]
fn a_sender_counts_from_the_day_the_registry_entered_it() {
    let mut sender = Config::load(Path::new(SHIPPED)).unwrap().senders[0].clone();
    let (italy, spain, poland) = (pack("IT"), pack("ES"), pack("PL"));
    assert!(italy.takes_sender(&sender, day("2026-05-04")) && !italy.takes_sender(&sender, day("2026-05-03")));
    sender.registrations[0].state = RegistrationState::Pending;
    assert!(!italy.takes_sender(&sender, day("2026-12-01")));
    sender.registrations.clear();
    // Spain's registry binds from 7 June 2026.
    assert!(spain.takes_sender(&sender, day("2026-06-06")) && !spain.takes_sender(&sender, day("2026-06-07")));
    assert!(poland.takes_sender(&sender, day("2026-12-01")));
    sender.two_way = true;
    assert!(italy.takes_sender(&sender, day("2026-12-01")));
}

/// A campaign as the first version froze it.
#[test]
fn a_revision_frozen_with_packs_of_the_first_form_still_reads() {
    let campaign = Config::load(Path::new(SHIPPED)).unwrap().campaign("rinnovo-consensi").unwrap();
    let mut old = serde_json::to_value(&campaign).unwrap();
    for key in ["pack_warn_days", "governed", "sector"] {
        old.as_object_mut().unwrap().remove(key);
    }
    let sender = old["asks"][0]["sender"].as_object_mut().unwrap();
    sender.remove("registrations");
    sender["registered"] = serde_json::json!(["IT", "ES"]);
    old["packs"] = serde_json::json!({ "IT": {
        "code": "IT", "zones": ["Europe/Rome"], "default_locale": "it",
        "hours": "Mo-Fr 09:00-20:00; PH off", "hours_source": "a code of conduct",
        "sender_registration": true, "sender_source": "AGCOM",
        "ask_basis": { "prior_consent": ["sms", "whatsapp"], "soft_opt_in": [] }, "ask_basis_source": "art. 130",
        "version": "2026-11-1", "reviewed": "2026-11-02", "reviewed_by": "counsel"
    }});
    let read: Campaign = serde_json::from_value(old).unwrap();
    let italy = &read.packs["IT"];
    assert_eq!((italy.version.as_str(), italy.open_hours().as_str()), ("2026-11-1", "Mo-Fr 09:00-20:00; PH off"));
    assert!(italy.allows(AskBasis::PriorConsent, Channel::WhatsApp) && !italy.allows(AskBasis::SoftOptIn, Channel::Sms));
    assert!(italy.takes_sender(&read.asks[0].sender, day("2026-12-01")));
    assert_eq!(italy.oldest(&read.asks[0], None).1, day("2026-11-02"));
    assert_eq!((read.pack_warn_days, read.sector.as_deref()), (60, None));
    // And what is frozen today reads as it is.
    let today: Campaign = serde_json::from_str(&serde_json::to_string(&campaign).unwrap()).unwrap();
    assert_eq!(today, campaign);
}

struct Folder(tempfile::TempDir);

impl Folder {
    /// The shipped folder, one file changed.
    fn with(file: &str, from: &str, to: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        copy(Path::new(SHIPPED), &folder.dir());
        let path = folder.dir().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
        folder
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("config")
    }

    fn problems(&self) -> Vec<String> {
        let problems = Config::load(&self.dir()).err().map(|problems| problems.0).unwrap_or_default();
        problems.iter().map(|p| p.to_string().replace(&format!("{}/", self.dir().display()), "")).collect()
    }
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

#[test]
fn what_is_wrong_in_a_pack_is_named_with_its_line_and_remedy() {
    let text = std::fs::read_to_string(Path::new(SHIPPED).join("countries/it.toml")).unwrap();
    let line = |begin: &str| 1 + text.lines().position(|l| l.starts_with(begin)).unwrap();
    for (from, to, at, expected) in [
        ("open = ", "opens = ", line("open = "), "hours.opens: there is no such key; remedy: did you mean `open`?"),
        ("Sa 10:00-19:00", "Sat 10-19", line("open = "), "cannot be read as opening hours; remedy: write days and hours"),
        ("also = []", "also = [\"Augst 08\"]", line("also"), "holidays.also: `Augst 08` cannot be read as days"),
        (
            "2026-11-02",
            "2 Nov 2026",
            line("reviewed ="),
            "hours.reviewed: `2 Nov 2026` is no day; remedy: write it as in \"2026-05-01\"",
        ),
        (
            "\"unconfirmed\"",
            "\"sure\"",
            line("confidence"),
            "hours.confidence: there is no confidence `sure`; remedy: write primary",
        ),
        (
            "end_of_retention_fr = []",
            "end_of_retention_fr = [\"sms\"]",
            line("end_of"),
            "whoever stays silent must then be erased",
        ),
        (
            "soft_opt_in = []",
            "soft_opt_in = [\"call\"]",
            line("soft_opt_in = []"),
            "ask_basis.soft_opt_in: nobody is asked by a call",
        ),
        ("24 months", "24", line("prior_consent = \"24"), "basis_age.prior_consent: `24` is no number of months"),
        ("valid_days = 15", "valid_days = 0", line("valid_days"), "register.valid_days: 0 is out of range"),
        (
            "blocked = { energy = [\"sms\"",
            "blocked = { energy = [\"fax\"",
            line("blocked"),
            "sectors.blocked.energy: there is no channel `fax`",
        ),
    ] {
        let problems = Folder::with("countries/it.toml", from, to).problems();
        let begin = format!("countries/it.toml:{at}: ");
        assert!(problems.iter().any(|p| p.starts_with(&begin) && p.contains(expected)), "{begin}{expected}: {problems:#?}");
    }
    let problems = Folder::with("countries/it.toml", "source = ", "sauce = ").problems();
    assert!(problems.iter().any(|p| p.contains("hours.source: is missing; remedy: add it")), "{problems:#?}");
    let problems = Folder::with("countries/pl.toml", "code = \"PL\"", "code = \"IT\"").problems();
    assert!(problems.iter().any(|p| p.contains("there is another pack of IT; remedy: keep one")), "{problems:#?}");
}

#[test]
fn a_country_in_plus_one_needs_somebody_who_answers_for_it() {
    for code in ["US", "CA", "JM"] {
        let problems = Folder::with("countries/uk.toml", "code = \"GB\"", &format!("code = \"{code}\"")).problems();
        let expected = "numbers in +1 are blocked unless somebody answers for it; remedy: add approved_by";
        assert!(problems.iter().any(|p| p.contains(expected)), "{problems:#?}");
    }
    let approved = "code = \"US\"\napproved_by = \"J. Doe: written consents only\"";
    assert_eq!(Folder::with("countries/uk.toml", "code = \"GB\"", approved).problems(), Vec::<String>::new());
}

#[test]
fn a_trade_that_no_pack_knows_is_a_slip_and_a_barred_one_stops_the_campaign() {
    let sector = |trade: &str| Folder::with("permesso.toml", "# sector = \"energy\"", &format!("sector = \"{trade}\""));
    let problems = sector("enery").problems();
    assert!(problems[0].contains("controller.sector: no country pack has a rule for the trade `enery`"), "{problems:#?}");
    assert!(problems[0].contains("remedy: write one of: energy, renovation"), "{problems:#?}");
    let folder = sector("energy");
    let config = Config::load(&folder.dir()).unwrap();
    let problems = config.campaign("rinnovo-consensi").unwrap_err().to_string();
    assert!(problems.contains("audience.countries: IT bars your trade from marketing by sms; remedy: take IT out"), "{problems}");
    assert!(config.campaign("renew-consents").is_ok());
}

#[test]
fn a_french_sms_from_a_name_carries_its_operators_stop_code() {
    let folder = Folder::with("campaigns/rinnovo-consensi.toml", "\"IT\", \"PL\", \"ES\"", "\"IT\", \"FR\"");
    let config = Config::load(&folder.dir()).unwrap();
    let problems = config.campaign("rinnovo-consensi").unwrap_err().to_string();
    assert!(
        problems.contains("repermission.fr") && problems.contains("wants of a sender shown by name: \"STOP au 36###\""),
        "{problems}"
    );
    let texts = folder.0.path().join("templates/messages");
    std::fs::create_dir_all(&texts).unwrap();
    let text = "{{ brand }} : vous nous avez laissé votre numéro. Pouvons-nous vous envoyer des promotions ? Répondre au {{ reply_number }}, stop AU 36180. {{ link }}";
    std::fs::write(texts.join("repermission.fr.txt"), text).unwrap();
    let campaign =
        Config::load(&folder.dir()).unwrap().campaign("rinnovo-consensi").unwrap_or_else(|problems| panic!("{problems}"));
    let ask = &campaign.asks[0];
    // Whoever has a French number gets a text with the code, whatever their language.
    assert_eq!(campaign.locale_for(ask, Some("FR"), Some("it")), "fr");
    assert_eq!(campaign.locale_for(ask, Some("IT"), Some("pl")), "pl");
    assert_eq!(campaign.locale_for(ask, Some("IT"), None), "it");
    assert_eq!(campaign.locale_for(ask, Some("IT"), Some("pt")), "it");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_pack_text_is_read_or_refused_without_a_panic(at in 0usize..6000, text in "[\\[\\]={}\"a-zA-Z0-9 .,;:#-]{0,12}") {
        let shipped = std::fs::read_to_string(Path::new(SHIPPED).join("countries/it.toml")).unwrap();
        let at = (0..=at.min(shipped.len())).rev().find(|at| shipped.is_char_boundary(*at)).unwrap_or(0);
        let spoilt = format!("{}{text}{}", &shipped[..at], &shipped[at..]);
        let folder = Folder::with("countries/it.toml", &shipped, &spoilt);
        let _ = Config::load(&folder.dir());
    }
}
