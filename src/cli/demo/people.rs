//! Three thousand people who do not exist, in the forms in which lists really come: national and international numbers,
//! duplicates, landlines, typing errors, unsubscribed, bought, undocumented. Numbers come from ranges reserved for fiction
//! or left unassigned. The same seed makes the same list.

use std::collections::BTreeSet;
use std::fmt::Write;

/// What the rows are about, kept apart from the rows themselves: the truth the result is held against.
#[derive(Debug, Default)]
pub struct List {
    pub contacts_csv: String,
    pub suppressions_csv: String,
    /// Numbers (E.164) of people who had said no before anything began.
    pub said_no: BTreeSet<String>,
    /// Numbers that are in order and may be asked.
    pub good: Vec<String>,
}

/// A small deterministic generator (splitmix64): the demo needs repeatability, not randomness.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.below(words.len() as u64)).unwrap_or(0)]
    }
}

struct Country {
    code: &'static str,
    prefix: &'static str,
    /// National part before the counter, and how many digits the counter has.
    national: &'static str,
    digits: usize,
    /// Written before the national number at home.
    trunk: &'static str,
    locale: &'static str,
    zone: &'static str,
    share: u64,
    landline: &'static str,
}

const COUNTRIES: [Country; 6] = [
    Country {
        code: "IT",
        prefix: "39",
        national: "300",
        digits: 7,
        trunk: "",
        locale: "it",
        zone: "Europe/Rome",
        share: 40,
        landline: "",
    },
    Country {
        code: "PL",
        prefix: "48",
        national: "499",
        digits: 6,
        trunk: "",
        locale: "pl",
        zone: "Europe/Warsaw",
        share: 14,
        landline: "",
    },
    Country {
        code: "FR",
        prefix: "33",
        national: "63998",
        digits: 4,
        trunk: "0",
        locale: "fr",
        zone: "Europe/Paris",
        share: 14,
        landline: "+33199001",
    },
    Country {
        code: "ES",
        prefix: "34",
        national: "770",
        digits: 6,
        trunk: "",
        locale: "es",
        zone: "Europe/Madrid",
        share: 12,
        landline: "",
    },
    Country {
        code: "GB",
        prefix: "44",
        national: "7700900",
        digits: 3,
        trunk: "0",
        locale: "en",
        zone: "Europe/London",
        share: 16,
        landline: "+442079460",
    },
    Country {
        code: "DE",
        prefix: "49",
        national: "176040690",
        digits: 2,
        trunk: "0",
        locale: "de",
        zone: "Europe/Berlin",
        share: 4,
        landline: "+4930231250",
    },
];

const HEADER: &str = "number;country;kind;last_action;locale;time_zone;source;external_id;ask_basis;basis_evidence;basis_date;\
                      basis_channels;box_default;approver;unsubscribed;full name";

#[derive(Debug, Clone, Default)]
struct Line {
    number: String,
    country: &'static str,
    kind: &'static str,
    last_action: &'static str,
    locale: &'static str,
    zone: &'static str,
    source: &'static str,
    external_id: String,
    basis: &'static str,
    evidence: String,
    date: &'static str,
    channels: &'static str,
    boxed: &'static str,
    unsubscribed: &'static str,
}

impl Line {
    fn write(&self, out: &mut String) {
        let l = self;
        let _ = writeln!(
            out,
            "{};{};{};{};{};{};{};{};{};{};{};{};{};;{};\"Fictional; Person\"",
            l.number,
            l.country,
            l.kind,
            l.last_action,
            l.locale,
            l.zone,
            l.source,
            l.external_id,
            l.basis,
            l.evidence,
            l.date,
            l.channels,
            l.boxed,
            l.unsubscribed
        );
    }
}

/// `rows` rows, deterministic for a seed.
pub fn generate(seed: u64, rows: usize) -> List {
    let mut dice = Dice::new(seed);
    let mut list = List { contacts_csv: format!("\u{feff}{HEADER}\n"), suppressions_csv: "number\n".into(), ..List::default() };
    let mut counters = [0_u64; COUNTRIES.len()];
    let mut earlier: Vec<(usize, String, Line)> = Vec::new();
    let mut written = 0;
    while written < rows {
        written += 1;
        let roll = dice.below(100);
        if roll < 6 && !earlier.is_empty() {
            again(&mut dice, &mut list, &earlier);
            continue;
        }
        let Some((at, local)) = fresh(&mut dice, &mut counters) else { continue };
        let country = &COUNTRIES[at];
        let e164 = format!("+{}{}{local}", country.prefix, country.national);
        let mut line = Line {
            number: messy(&mut dice, country, &local),
            country: country.code,
            kind: dice.of(&["prospect", "prospect", "dormant", "Prospect"]),
            locale: country.locale,
            zone: if dice.below(3) == 0 { country.zone } else { "" },
            source: dice.of(&["shop form 2023", "trade fair 2024", "web shop"]),
            basis: dice.of(&["prior_consent", "prior_consent", "inbound_request"]),
            evidence: format!("form v3 no {}", dice.below(100_000)),
            date: dice.of(&["2025-03-14", "14/11/2025", "02.06.2026"]),
            // Every other Briton once opted in to WhatsApp as well.
            channels: if country.code == "GB" { dice.of(&["sms", "sms,whatsapp"]) } else { "sms" },
            boxed: "unticked",
            ..Line::default()
        };
        if line.kind == "dormant" {
            line.last_action = dice.of(&["2024-05-01", "30/09/2025", "2023-12-24"]);
        }
        match roll {
            6..=10 => line.unsubscribed = dice.of(&["yes", "si", "1", "STOP", "2025-02-01"]),
            11..=15 => (line.basis, line.evidence, line.date, line.boxed) = ("", String::new(), "", ""),
            16..=19 if line.basis == "prior_consent" => line.boxed = dice.of(&["pre_ticked", "bundled"]),
            20..=22 => line.source = dice.of(&["purchased", "", "unknown"]),
            23..=26 => (line.kind, line.last_action) = ("customer", "2026-10-20"),
            27..=28 => {
                line.number = dice.of(&["3.93E+11", "call me", "12345", "+39 300 123 45 67 int. 4", "349-123;"]).replace(';', "")
            }
            29..=30 if !country.landline.is_empty() => line.number = format!("{}{:03}", country.landline, dice.below(1000)),
            31 => line.evidence = String::new(),
            32 => line.date = "2031-01-01",
            33 => line.external_id = format!("CRM-{}", dice.below(40)),
            34..=35 => line.zone = "Europe/Roma",
            _ => {}
        }
        line.write(&mut list.contacts_csv);
        if !line.unsubscribed.is_empty() {
            list.said_no.insert(e164.clone());
        }
        if roll >= 36 {
            if dice.below(40) == 0 {
                let _ = writeln!(list.suppressions_csv, "{e164}");
                list.said_no.insert(e164);
            } else {
                list.good.push(e164.clone());
                earlier.push((at, local, line));
            }
        }
    }
    list
}

/// A person of an earlier row once more, written otherwise; now and then this row is the one that says no.
fn again(dice: &mut Dice, list: &mut List, earlier: &[(usize, String, Line)]) {
    let (at, local, line) = &earlier[usize::try_from(dice.below(earlier.len() as u64)).unwrap_or(0)];
    let country = &COUNTRIES[*at];
    let mut line = Line { number: messy(dice, country, local), ..line.clone() };
    if dice.below(4) == 0 {
        line.unsubscribed = "yes";
        let e164 = format!("+{}{}{local}", country.prefix, country.national);
        list.good.retain(|n| *n != e164);
        list.said_no.insert(e164);
    }
    line.write(&mut list.contacts_csv);
}

/// A number nobody else in the list has, as long as the reserved range lasts.
fn fresh(dice: &mut Dice, counters: &mut [u64; COUNTRIES.len()]) -> Option<(usize, String)> {
    let mut roll = dice.below(COUNTRIES.iter().map(|c| c.share).sum());
    let mut at = 0;
    for (index, country) in COUNTRIES.iter().enumerate() {
        at = index;
        if roll < country.share {
            break;
        }
        roll -= country.share;
    }
    if counters[at] >= 10_u64.pow(u32::try_from(COUNTRIES[at].digits).unwrap_or(2)) {
        at = 0;
    }
    let counter = counters[at];
    counters[at] += 1;
    Some((at, format!("{counter:0width$}", width = COUNTRIES[at].digits)))
}

/// The number as people type it.
fn messy(dice: &mut Dice, country: &Country, local: &str) -> String {
    let digits = format!("{}{local}", country.national);
    let (head, tail) = digits.split_at(digits.len() / 2);
    match dice.below(7) {
        0 => format!("+{} {head} {tail}", country.prefix),
        1 => format!("00{}{digits}", country.prefix),
        2 => format!("+{}{digits}", country.prefix),
        3 => format!("{}{head} {tail}", country.trunk),
        4 => format!("{}{head}-{tail}", country.trunk),
        5 => format!("\"+{} {head}.{tail} \"", country.prefix),
        _ => format!("{}{digits}", country.trunk),
    }
}
