//! A country pack: the rules by which people of one country may be asked and called. Data, each rule with its source, the day it
//! was last reviewed and how sure we are of it, read from `config/countries/*.toml`; no rule of a country stands in code.

use std::collections::BTreeMap;

use chrono::{Months, NaiveDate};
use serde::{Deserialize, Serialize};

use super::campaign::{Ask, Sender};
use super::channel::Channel;
use super::contact::{AskBasis, BasisEvidence};
use super::phone::is_country;
use super::plural::counted;

/// Where a rule comes from, when somebody last looked, and how sure we are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub text: String,
    pub reviewed: NaiveDate,
    pub confidence: Confidence,
}

/// How well a rule's source was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The official text was read.
    Primary,
    /// Somebody trustworthy reports it.
    Secondary,
    /// Practice or hearsay: a setting, to be confirmed.
    Unconfirmed,
}

impl Confidence {
    pub fn code(self) -> &'static str {
        match self {
            Confidence::Primary => "primary",
            Confidence::Secondary => "secondary",
            Confidence::Unconfirmed => "unconfirmed",
        }
    }
    pub fn parse(code: &str) -> Option<Confidence> {
        [Confidence::Primary, Confidence::Secondary, Confidence::Unconfirmed].into_iter().find(|c| c.code() == code)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CountryPack {
    /// ISO 3166 code, `IT`; the United Kingdom is `GB` (file `uk.toml`).
    pub code: String,
    /// IANA zones of the country; a person of unknown zone must be inside the hours in all of them.
    pub zones: Vec<String>,
    pub default_locale: String,
    pub version: String,
    pub reviewed_by: String,
    /// Who answers for asking there at all, and why: `+1` countries only, where damages are due for every single message.
    pub approved_by: Option<String>,
    pub hours: QuietHours,
    pub holidays: Holidays,
    pub sender: SenderRule,
    pub required_text: RequiredText,
    pub ask_basis: AskBases,
    pub basis_age: BasisAge,
    pub register: Register,
    pub sectors: Sectors,
}

/// When asks and reminders may go out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuietHours {
    /// OSM opening hours, `PH off` for public holidays.
    pub open: String,
    pub source: Source,
}

/// What the holiday table lacks, and which of that the pack closes by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Holidays {
    /// OSM days closed beside the table's, `Aug 08`, `easter -2 days`.
    pub also: Vec<String>,
    /// Days neither the table nor `also` knows.
    pub lacks: String,
    pub source: Source,
}

/// Whether a sender shown by name must be registered before use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SenderRule {
    pub registration: bool,
    /// From which day on, where a day is known.
    pub since: Option<NaiveDate>,
    pub source: Source,
}

/// Words an ask by SMS from a sender shown by name must carry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequiredText {
    /// `STOP au 36###`, a `#` for any digit, in any case.
    pub sms: Option<String>,
    pub source: Source,
}

/// Which ask basis counts for which channel. What is not listed is not allowed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AskBases {
    pub allowed: BTreeMap<AskBasis, Vec<Channel>>,
    pub source: Source,
}

/// How old a basis may be when we ask: a consent is refreshed while it is valid, never revived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BasisAge {
    /// Months by basis; what is not listed does not age.
    pub months: BTreeMap<AskBasis, u32>,
    /// Counted from the person's last action where that is later, as the CNIL counts prospects' data.
    pub from_last_action: bool,
    pub source: Source,
}

/// The public register in which people oppose marketing on some channels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Register {
    /// `RPO`; none where the country has none.
    pub name: Option<String>,
    pub applies_to: Vec<Channel>,
    /// Days a screening result may be relied on.
    pub valid_days: i64,
    /// Whether registration cancels consents given before it.
    pub cancels_earlier: bool,
    /// Courtesy: whoever a screening lists is not asked either, though the register is about calls.
    pub spares_asks: bool,
    /// Whether nobody is asked without a fresh screening.
    pub needed_for_asks: bool,
    pub source: Source,
}

/// Trades that may not market on some channels at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sectors {
    pub blocked: BTreeMap<String, Vec<Channel>>,
    pub source: Source,
}

impl CountryPack {
    /// Everything a privacy officer signs, in the order of the file: the rule's table and its source.
    pub fn rules(&self) -> [(&'static str, &Source); 8] {
        [
            ("hours", &self.hours.source),
            ("holidays", &self.holidays.source),
            ("sender", &self.sender.source),
            ("required_text", &self.required_text.source),
            ("ask_basis", &self.ask_basis.source),
            ("basis_age", &self.basis_age.source),
            ("register", &self.register.source),
            ("sectors", &self.sectors.source),
        ]
    }

    pub fn rule(&self, name: &str) -> Option<&Source> {
        self.rules().into_iter().find(|(rule, _)| *rule == name).map(|(_, source)| source)
    }

    /// Of the rules that apply to this ask, the one reviewed longest ago: it decides whether the pack is stale.
    pub fn oldest(&self, ask: &Ask, sector: Option<&str>) -> (&'static str, NaiveDate) {
        let by_name = ask.channel == Channel::Sms && !ask.sender.two_way;
        let register = self.register.name.is_some() && (self.register.spares_asks || self.register.needed_for_asks);
        let applies = |rule: &str| match rule {
            "sender" | "required_text" => by_name,
            "register" => register,
            "sectors" => sector.is_some(),
            _ => true,
        };
        let dated = self.rules().into_iter().filter(|(rule, _)| applies(rule)).map(|(rule, source)| (rule, source.reviewed));
        dated.min_by_key(|(_, reviewed)| *reviewed).unwrap_or(("hours", self.hours.source.reviewed))
    }

    /// The hours with the pack's own days closed, as `domain::hours` reads them.
    pub fn open_hours(&self) -> String {
        self.holidays.also.iter().fold(self.hours.open.clone(), |hours, day| format!("{hours}; {day} off"))
    }

    pub fn allows(&self, basis: AskBasis, channel: Channel) -> bool {
        self.ask_basis.allowed.get(&basis).is_some_and(|channels| channels.contains(&channel))
    }

    /// Whether this evidence is still young enough on `today`.
    pub fn in_time(&self, evidence: &BasisEvidence, last_action: Option<NaiveDate>, today: NaiveDate) -> bool {
        let Some(months) = self.basis_age.months.get(&evidence.basis) else { return true };
        let from = match last_action {
            Some(acted) if self.basis_age.from_last_action => evidence.date.max(acted),
            _ => evidence.date,
        };
        from.checked_add_months(Months::new(*months)).is_none_or(|end| today <= end)
    }

    pub fn blocks(&self, sector: Option<&str>, channel: Channel) -> bool {
        sector.and_then(|sector| self.sectors.blocked.get(sector)).is_some_and(|channels| channels.contains(&channel))
    }

    /// Whether this sender may be shown in this country on `today`. Numbers and WhatsApp accounts always may.
    pub fn takes_sender(&self, sender: &Sender, today: NaiveDate) -> bool {
        let must = self.sender.registration && self.sender.since.is_none_or(|since| today >= since);
        !must || sender.two_way || sender.is_registered(&self.code, today)
    }

    /// Whether this text, sent by this sender, says what messages to this country must say.
    pub fn takes_text(&self, sender: &Sender, text: &str) -> bool {
        match &self.required_text.sms {
            Some(words) if sender.channel == Channel::Sms && !sender.two_way => carries(text, words),
            _ => true,
        }
    }
}

/// Whether `text` has `words` somewhere, a `#` for any digit, in any case.
fn carries(text: &str, words: &str) -> bool {
    let fold = |text: &str| text.to_lowercase().chars().collect::<Vec<char>>();
    let (text, words) = (fold(text), fold(words));
    let same = |(a, b): (&char, &char)| if *b == '#' { a.is_ascii_digit() } else { a == b };
    words.is_empty() || text.windows(words.len()).any(|part| part.iter().zip(&words).all(same))
}

/// How long a rule may still be sent by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    /// Its review is due; it blocks after so many more days.
    Aging {
        days: i64,
    },
    Stale,
}

/// A review holds for `stale_days`; the last `warn_days` of them warn.
pub fn freshness(reviewed: NaiveDate, today: NaiveDate, stale_days: i64, warn_days: i64) -> Freshness {
    match stale_days - (today - reviewed).num_days() {
        left if left < 0 => Freshness::Stale,
        left if left < warn_days => Freshness::Aging { days: left },
        _ => Freshness::Fresh,
    }
}

/// What to tell whoever is responsible about these rules, each with its pack's code: those of one day in one line. A review that lies
/// ahead is a slip that would keep a rule fresh for ever.
pub fn warnings<'a>(
    rules: impl IntoIterator<Item = (&'a str, &'static str, NaiveDate)>,
    today: NaiveDate,
    stale: i64,
    warn: i64,
) -> Vec<String> {
    let mut days: BTreeMap<NaiveDate, BTreeMap<&str, Vec<String>>> = BTreeMap::new();
    for (code, rule, reviewed) in rules {
        if freshness(reviewed, today, stale, warn) != Freshness::Fresh || reviewed > today {
            let named = days.entry(reviewed).or_default().entry(code).or_default();
            let rule = format!("[{rule}]");
            if !named.contains(&rule) {
                named.push(rule);
            }
        }
    }
    days.into_iter().map(|(reviewed, packs)| warning(&packs, reviewed, today, stale, warn)).collect()
}

fn warning(packs: &BTreeMap<&str, Vec<String>>, reviewed: NaiveDate, today: NaiveDate, stale: i64, warn: i64) -> String {
    let count: usize = packs.values().map(Vec::len).sum();
    let listed = packs.iter().map(|(code, rules)| format!("{code} {}", rules.join(" "))).collect::<Vec<_>>().join(", ");
    let (what, were, which, remedy) = match packs.first_key_value() {
        Some((code, rules)) if count == 1 => (
            format!("the rule {} of country pack {code}", rules.concat()),
            "was",
            String::new(),
            format!("review {} of the country pack {code} and write the day into it", rules.concat()),
        ),
        _ => (
            format!("{count} rules of country packs"),
            "were",
            format!("; they are {listed}"),
            "review each and write the day into its pack".to_owned(),
        ),
    };
    let what = match freshness(reviewed, today, stale, warn) {
        Freshness::Fresh => format!("the review of {what}, {reviewed}, lies in the future"),
        Freshness::Aging { days } => format!(
            "{what} {were} last reviewed on {reviewed}: in {} nobody there is asked any more",
            counted(days, "day", "days")
        ),
        Freshness::Stale => format!("{what} {were} last reviewed on {reviewed}, too long ago: nobody there is asked"),
    };
    format!("{what}{which}; remedy: {remedy}")
}

/// What the countries most lists are about are called in the six languages, in small letters. Every name here means one country alone.
#[rustfmt::skip]
const NAMES: [(&str, &[&str]); 8] = [
    ("IT", &["italia", "italy", "włochy", "wlochy", "italien", "italie", "ita"]),
    ("PL", &["polonia", "poland", "polska", "polen", "pologne", "pol"]),
    ("DE", &["germania", "germany", "niemcy", "deutschland", "allemagne", "alemania", "deu"]),
    ("FR", &["francia", "france", "francja", "frankreich", "fra"]),
    ("ES", &["spagna", "spain", "hiszpania", "spanien", "espagne", "españa", "espana", "esp"]),
    ("GB", &["regno unito", "united kingdom", "great britain", "gran bretagna", "wielka brytania", "vereinigtes königreich",
             "großbritannien", "grossbritannien", "royaume-uni", "grande-bretagne", "reino unido", "gran bretaña", "uk", "gbr",
             // Its parts: one country by ISO 3166, one numbering plan, one law of electronic marketing (PECR).
             "england", "inghilterra", "anglia", "angleterre", "inglaterra", "scotland", "scozia", "szkocja", "schottland", "écosse", "ecosse",
             "escocia", "wales", "galles", "walia", "pays de galles", "gales", "northern ireland", "irlanda del nord", "irlandia północna",
             "nordirland", "irlande du nord", "irlanda del norte"]),
    ("AT", &["austria", "österreich", "oesterreich", "autriche", "aut"]),
    ("CH", &["svizzera", "switzerland", "szwajcaria", "schweiz", "suisse", "suiza", "che"]),
];

/// The ISO 3166 code of the country that a cell of a list names: by its code, by `UK`, or in words. None where that is not certain.
pub fn code_of(cell: &str) -> Option<String> {
    let cell = cell.trim().to_lowercase();
    if let Some((code, _)) = NAMES.iter().find(|(_, names)| names.contains(&cell.as_str())) {
        return Some((*code).to_owned());
    }
    Some(cell.to_uppercase()).filter(|code| code.len() == 2 && is_country(code))
}

/// Revisions frozen before every rule had a source of its own are still read.
pub mod frozen {
    use serde::Deserializer;

    use super::*;

    /// The pack as it was: one review date, and rules that nobody had written down yet.
    #[derive(Deserialize)]
    struct First {
        code: String,
        zones: Vec<String>,
        default_locale: String,
        hours: String,
        hours_source: String,
        sender_registration: bool,
        sender_source: String,
        ask_basis: BTreeMap<AskBasis, Vec<Channel>>,
        ask_basis_source: String,
        version: String,
        reviewed: NaiveDate,
        reviewed_by: String,
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Now(Box<CountryPack>),
        First(Box<First>),
    }

    impl From<First> for CountryPack {
        fn from(first: First) -> CountryPack {
            let source = |text: String| Source { text, reviewed: first.reviewed, confidence: Confidence::Unconfirmed };
            let unwritten = || source("this pack was frozen before it had the rule".into());
            CountryPack {
                hours: QuietHours { open: first.hours, source: source(first.hours_source) },
                holidays: Holidays { also: Vec::new(), lacks: String::new(), source: unwritten() },
                sender: SenderRule { registration: first.sender_registration, since: None, source: source(first.sender_source) },
                required_text: RequiredText { sms: None, source: unwritten() },
                ask_basis: AskBases { allowed: first.ask_basis, source: source(first.ask_basis_source) },
                basis_age: BasisAge { months: BTreeMap::new(), from_last_action: false, source: unwritten() },
                register: Register {
                    name: None,
                    applies_to: Vec::new(),
                    valid_days: 0,
                    cancels_earlier: false,
                    spares_asks: false,
                    needed_for_asks: false,
                    source: unwritten(),
                },
                sectors: Sectors { blocked: BTreeMap::new(), source: unwritten() },
                code: first.code,
                zones: first.zones,
                default_locale: first.default_locale,
                version: first.version,
                reviewed_by: first.reviewed_by,
                approved_by: None,
            }
        }
    }

    /// For `#[serde(deserialize_with)]`.
    pub fn packs<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, CountryPack>, D::Error> {
        let read = BTreeMap::<String, Either>::deserialize(from)?;
        let pack = |either| match either {
            Either::Now(pack) => *pack,
            Either::First(first) => (*first).into(),
        };
        Ok(read.into_iter().map(|(code, either)| (code, pack(either))).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_name_is_one_countrys_and_in_small_letters() {
        let all: Vec<&str> = NAMES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        for (code, names) in NAMES {
            for name in names {
                assert_eq!(code_of(&format!(" {} ", name.to_uppercase())).as_deref(), Some(code), "{name}");
                assert_eq!(all.iter().filter(|other| *other == name).count(), 1, "{name}");
            }
        }
        assert_eq!(
            ["it", "GB", "Spagna", "Inghilterra", "SCOTLAND", "EU", "XX", "Iberia", "Ireland", ""]
                .map(|cell| code_of(cell).unwrap_or_default()),
            ["IT", "GB", "ES", "GB", "GB", "", "", "", "", ""]
        );
    }

    proptest! {
        #[test]
        fn whatever_a_cell_holds_a_country_is_one(cell in "\\PC{0,20}") {
            prop_assert!(code_of(&cell).is_none_or(|code| is_country(&code)));
        }
    }
}
