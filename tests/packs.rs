//! The country packs we ship: every one reads, its hours and zones exist, and it is no laxer than the law it names.

use std::fs;
use std::path::Path;

use chrono_tz::Tz;
use permesso::domain::channel::Channel;
use permesso::domain::contact::AskBasis;
use permesso::domain::country::CountryPack;
use permesso::domain::hours::{Calendar, Hours, Opening};

fn packs() -> Vec<CountryPack> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/countries");
    let mut packs: Vec<CountryPack> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| toml::from_str(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{path:?}: {error}")))
        .collect();
    packs.sort_by(|a, b| a.code.cmp(&b.code));
    packs
}

#[test]
fn every_pack_reads_and_opens_on_a_working_day_in_all_its_zones() {
    let packs = packs();
    assert_eq!(packs.iter().map(|pack| &*pack.code).collect::<Vec<_>>(), ["DE", "ES", "FR", "GB", "IT", "PL"]);
    let mut calendar = Calendar::default();
    for pack in packs {
        let zones: Vec<Tz> = pack.zones.iter().map(|zone| zone.parse().unwrap()).collect();
        let hours = Hours::parse(&pack.hours, Some(&pack.code)).unwrap();
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
        assert_eq!(pack.sender_registration, ["ES", "IT"].contains(&code));
    }
}
