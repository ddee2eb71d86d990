//! Quiet hours where a person lives, for many people: windows are parsed once a country and campaign, answers remembered
//! while they hold.

use std::collections::HashMap;
use std::str::FromStr;

use chrono_tz::Tz;

use crate::clock::instant;
use crate::domain::campaign::Campaign;
use crate::domain::country::CountryPack;
use crate::domain::hours::{Calendar, Hours, Opening};
use crate::domain::times::Times;
use crate::store::facts::Person;

#[derive(Debug, Default)]
pub struct Openings {
    calendar: Calendar,
    /// By country and the campaign's own hours; `None` where they cannot be read, which closes.
    windows: HashMap<(String, Option<String>), Option<Vec<Hours>>>,
    /// Hours that people chose, by their text; `None` where it cannot be read, which closes.
    chosen: HashMap<String, Option<Hours>>,
}

impl Openings {
    /// The campaign's window, the country's and the person's own, in the person's zone or, where it is not known, in every zone of the
    /// country.
    pub fn of(&mut self, campaign: &Campaign, person: &Person, now: i64) -> Opening {
        let Some(country) = &person.facts.country else { return Opening::Never };
        let own = person.facts.times.as_ref().and_then(Times::hours);
        self.within(campaign, country, person.zone.as_deref(), own.as_deref(), now)
    }

    /// As [`Openings::of`], for anybody of that country and stated zone.
    pub fn at(&mut self, campaign: &Campaign, country: &str, zone: Option<&str>, now: i64) -> Opening {
        self.within(campaign, country, zone, None, now)
    }

    fn within(&mut self, campaign: &Campaign, country: &str, zone: Option<&str>, own: Option<&str>, now: i64) -> Opening {
        let Some(pack) = campaign.packs.get(country) else { return Opening::Never };
        let key = (pack.code.clone(), campaign.hours.clone());
        let windows = self.windows.entry(key).or_insert_with(|| parse(pack, campaign.hours.as_deref()));
        let Some(windows) = windows else { return Opening::Never };
        let mut windows: Vec<&Hours> = windows.iter().collect();
        if let Some(own) = own {
            let read = self.chosen.entry(own.to_owned()).or_insert_with(|| Hours::parse(own, None).ok());
            let Some(hours) = read else { return Opening::Never };
            windows.push(hours);
        }
        let stated = zone.and_then(|z| Tz::from_str(z).ok());
        let zones = match stated {
            Some(zone) => vec![zone],
            None => pack.zones.iter().filter_map(|z| Tz::from_str(z).ok()).collect(),
        };
        self.calendar.opening(&windows, &zones, instant(now))
    }
}

fn parse(pack: &CountryPack, own: Option<&str>) -> Option<Vec<Hours>> {
    let of_country = pack.open_hours();
    [Some(of_country.as_str()), own].into_iter().flatten().map(|h| Hours::parse(h, Some(&pack.code)).ok()).collect()
}
