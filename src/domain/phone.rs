//! Phone numbers: how messy text becomes one E.164 number, and which numbers exist only in stories.
//! A number shows its last digits only, has no `Serialize`, and no error here repeats what was read.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use rlibphonenumber::{PHONE_NUMBER_UTIL as UTIL, ParseError, PhoneNumberFormat, PhoneNumberType, Region};

/// A telephone number as `+` and 7 to 15 digits (ITU-T E.164), significant zeros kept.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumber(String);

/// Whether [`PhoneNumber::parse`] takes numbers that ring at nobody's. Only an installation whose every gateway is the mock does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fiction {
    Refused,
    Allowed,
}

/// What the numbering plan uses a number for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    Mobile,
    Landline,
    /// The plan does not tell the two apart, as in North America.
    MobileOrLandline,
    /// Premium rate, toll free, pager, voice over IP, unknown.
    Other,
}

impl Line {
    /// Whether it may be a mobile number: any other takes no message.
    pub fn is_mobile(self) -> bool {
        matches!(self, Line::Mobile | Line::MobileOrLandline)
    }

    /// As a contact keeps it: whatever may be a mobile number counts as one.
    pub fn code(self) -> &'static str {
        match self {
            Line::Mobile | Line::MobileOrLandline => "mobile",
            Line::Landline => "landline",
            Line::Other => "other",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    #[error("the number is empty")]
    Empty,
    #[error("a spreadsheet has changed the number (as in 3.93E+11 or 393.0): export the column again as text")]
    Spreadsheet,
    #[error("there are letters in the number")]
    Letters,
    #[error("the number has an extension, which cannot receive messages")]
    Extension,
    #[error("there is more than one number: give each its own row")]
    Several,
    #[error("there are characters in the number that no number has")]
    Characters,
    #[error(
        "the number has no country code, and no country is known for it: write +…, an ISO code such as ES in `country`, or default_country"
    )]
    NoCountry,
    #[error("no country has this country code")]
    UnknownCountryCode,
    #[error("the number is too short")]
    TooShort,
    #[error("the number is too long: a digit too many, or two numbers")]
    TooLong,
    #[error("the country's numbering plan has no such number")]
    NotInPlan,
    #[error(
        "the number is reserved for fiction; only an installation takes it whose every gateway is the mock or says `simulator = true`"
    )]
    Fiction,
}

/// Numbers that reach nobody: prefix, how many digits follow it, country, kind of line.
///
/// Reserved for fiction by the regulator: GB, Ofcom "Numbers for use in TV and radio drama programmes"; FR, Arcep decision
/// 2018-0881 as amended; DE, Bundesnetzagentur Mitteilung 148/2021 (Amtsblatt 7/2021), landlines by the agency, mobile ranges
/// by the operators. IT, PL and ES reserve none: there stand ranges their plans leave unassigned, which libphonenumber
/// therefore calls invalid (a test says so; should one be assigned some day, it must leave this table).
const FICTION: &[(&str, usize, &str, Line)] = &[
    ("+447700900", 3, "GB", Line::Mobile),
    ("+442079460", 3, "GB", Line::Landline),
    ("+3363998", 4, "FR", Line::Mobile),
    ("+3319900", 4, "FR", Line::Landline),
    ("+3326191", 4, "FR", Line::Landline),
    ("+3335301", 4, "FR", Line::Landline),
    ("+3346571", 4, "FR", Line::Landline),
    ("+3353649", 4, "FR", Line::Landline),
    ("+4917139200", 2, "DE", Line::Mobile),
    ("+49176040690", 2, "DE", Line::Mobile),
    ("+493023125", 3, "DE", Line::Landline),
    ("+496990009", 3, "DE", Line::Landline),
    ("+494066969", 3, "DE", Line::Landline),
    ("+492214710", 3, "DE", Line::Landline),
    ("+498999998", 3, "DE", Line::Landline),
    ("+39300", 7, "IT", Line::Mobile),
    ("+48499", 6, "PL", Line::Mobile),
    ("+34770", 6, "ES", Line::Mobile),
];

/// ISO codes of every region libphonenumber knows, so that [`PhoneNumber::country`] can lend one.
static COUNTRIES: LazyLock<HashMap<Region, String>> =
    LazyLock::new(|| UTIL.get_supported_regions().map(|region| (region, region.to_string())).collect());

/// Whether this is the ISO 3166 code of a country that has numbers.
pub fn is_country(code: &str) -> bool {
    Region::from_code(code).is_ok_and(|region| COUNTRIES.contains_key(&region))
}

/// Whether a country's numbers begin with +1: the United States, Canada and a score of islands.
pub fn is_north_american(country: &str) -> bool {
    Region::from_code(country).is_ok_and(|region| UTIL.is_nanpa_country(region))
}

/// The prefix of a country's numbers, `+39`.
pub fn prefix(country: &str) -> Option<String> {
    let code = UTIL.get_country_code_for_region(Region::from_code(country).ok()?)?;
    Some(format!("+{code}"))
}

impl PhoneNumber {
    /// Reads one number as people and spreadsheets write it: with spaces, dots, dashes, slashes, brackets, quotes, `tel:`, `00` for
    /// `+`, `(0)`. `default_country` (ISO 3166, `IT`) reads numbers without a country code. The number must exist in its
    /// country's plan; landlines do, see [`PhoneNumber::line`].
    pub fn parse(text: &str, default_country: Option<&str>, fiction: Fiction) -> Result<PhoneNumber, PhoneError> {
        let Dialable { digits, trunk_zero } = Dialable::read(text)?;
        let first = PhoneNumber::in_plan(&digits, default_country, fiction);
        match (first, trunk_zero) {
            // `+39 (0)6…` keeps its zero, `+48 (0)22…` does not: the plan decides, and the written form comes first.
            (Err(PhoneError::NotInPlan | PhoneError::TooLong), Some(at)) => {
                let without = format!("{}{}", &digits[..at], &digits[at + 1..]);
                PhoneNumber::in_plan(&without, default_country, fiction)
            }
            (result, _) => result,
        }
    }

    /// A number that [`PhoneNumber::parse`] once gave out, back from our own store.
    pub fn from_e164_trusted(e164: String) -> PhoneNumber {
        PhoneNumber(e164)
    }

    fn in_plan(digits: &str, default_country: Option<&str>, fiction: Fiction) -> Result<PhoneNumber, PhoneError> {
        let international = digits.starts_with('+');
        let region = default_country.and_then(|code| Region::from_code(&code.to_ascii_uppercase()).ok());
        let parsed = UTIL.parse(digits, region).map_err(|error| match error {
            ParseError::InvalidCountryCode if international => PhoneError::UnknownCountryCode,
            ParseError::InvalidCountryCode => PhoneError::NoCountry,
            ParseError::NotANumber(_) | ParseError::TooShortAfterIdd | ParseError::TooShortNsn => PhoneError::TooShort,
            ParseError::TooLongNsn => PhoneError::TooLong,
        })?;
        let number = PhoneNumber(UTIL.format(&parsed, PhoneNumberFormat::E164).into_owned());
        match number.is_fiction() {
            true if fiction == Fiction::Refused => Err(PhoneError::Fiction),
            true => Ok(number),
            false if number.0.len() > 16 => Err(PhoneError::TooLong),
            false if UTIL.is_valid_number(&parsed) => Ok(number),
            false => Err(PhoneError::NotInPlan),
        }
    }

    /// `+393…`: for the gateway and the vault, never for a log.
    pub fn e164(&self) -> &str {
        &self.0
    }

    pub fn last_two(&self) -> &str {
        self.last(2)
    }

    /// As the person's own page shows it: `••• ••• 342`.
    pub fn masked(&self) -> String {
        format!("••• ••• {}", self.last(3))
    }

    /// ISO 3166 code of the country, `IT`; none for numbers of no country (`+800`). Vatican landlines (`+39 06 698…`) are `VA`.
    pub fn country(&self) -> Option<&str> {
        if let Some((_, _, country, _)) = self.fiction() {
            return Some(country);
        }
        let region = UTIL.get_region_for_number(&UTIL.parse(&self.0, None).ok()?)?;
        COUNTRIES.get(&region).map(String::as_str)
    }

    pub fn line(&self) -> Line {
        if let Some((_, _, _, line)) = self.fiction() {
            return *line;
        }
        match UTIL.parse(&self.0, None).map(|number| UTIL.get_number_type(&number)) {
            Ok(PhoneNumberType::Mobile) => Line::Mobile,
            Ok(PhoneNumberType::FixedLine) => Line::Landline,
            Ok(PhoneNumberType::FixedLineOrMobile) => Line::MobileOrLandline,
            _ => Line::Other,
        }
    }

    /// Whether the number reaches nobody by design: reserved for fiction, or of a range its country leaves unassigned.
    pub fn is_fiction(&self) -> bool {
        self.fiction().is_some()
    }

    fn fiction(&self) -> Option<&'static (&'static str, usize, &'static str, Line)> {
        FICTION.iter().find(|(prefix, more, ..)| self.0.len() == prefix.len() + more && self.0.starts_with(prefix))
    }

    fn last(&self, count: usize) -> &str {
        self.0.get(self.0.len().saturating_sub(count)..).unwrap_or("")
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhoneNumber(…{})", self.last_two())
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…{}", self.last_two())
    }
}

/// The digits of a text, with `+` where it is international, and where a bracketed `(0)` stood.
struct Dialable {
    digits: String,
    trunk_zero: Option<usize>,
}

impl Dialable {
    fn read(text: &str) -> Result<Dialable, PhoneError> {
        let plain: String = text.chars().filter(|c| !is_invisible(*c)).map(to_ascii).collect();
        let quote = |c: char| c.is_whitespace() || "'\"‘’“”„«»".contains(c);
        let mut plain = plain.trim_matches(quote);
        if plain.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("tel:")) {
            plain = plain[4..].trim_matches(quote);
        }
        if plain.is_empty() {
            return Err(PhoneError::Empty);
        }
        refuse_what_is_no_number(plain)?;

        let mut digits = String::with_capacity(plain.len());
        let mut trunk_zero = None;
        let compact: String = plain.chars().filter(|c| *c != ' ').collect();
        for (at, c) in compact.char_indices() {
            match c {
                '+' if digits.is_empty() => digits.push('+'),
                '+' => return Err(PhoneError::Several),
                '0'..='9' => {
                    if c == '0' && compact[..at].ends_with('(') && compact[at + 1..].starts_with(')') && !digits.is_empty() {
                        trunk_zero = Some(digits.len());
                    }
                    digits.push(c);
                }
                _ => {}
            }
        }
        if let Some(rest) = digits.strip_prefix("00") {
            digits = format!("+{rest}");
            trunk_zero = trunk_zero.map(|at| at - 1).filter(|at| *at > 0);
        }
        Ok(Dialable { digits, trunk_zero })
    }
}

/// Everything that must not be read as a number though its digits could be.
fn refuse_what_is_no_number(plain: &str) -> Result<(), PhoneError> {
    let significant = |part: &str| part.chars().filter(char::is_ascii_digit).count();
    if is_spreadsheet(plain) {
        return Err(PhoneError::Spreadsheet);
    }
    if plain.contains([',', ';', '|', '&', '\n', '\r', '\t'])
        || plain.split('/').filter(|part| significant(part) >= 8).count() > 1
    {
        return Err(if plain.to_ascii_lowercase().contains("ext=") { PhoneError::Extension } else { PhoneError::Several });
    }
    if let Some(at) = plain.find(|c: char| c.is_alphabetic() || c == '#' || c == '*') {
        let tail = plain[at..].to_lowercase();
        let is_extension = ["x", "ext", "int", "wew", "dw", "poste", "#", "*"].iter().any(|word| tail.starts_with(word));
        let more_follows = tail.contains(|c: char| c.is_ascii_digit());
        return Err(if is_extension && more_follows && significant(&plain[..at]) >= 5 {
            PhoneError::Extension
        } else {
            PhoneError::Letters
        });
    }
    if plain.contains(|c: char| !(c.is_ascii_digit() || " +.-/()[]".contains(c))) {
        return Err(PhoneError::Characters);
    }
    if significant(plain) == 0 { Err(PhoneError::TooShort) } else { Ok(()) }
}

/// `3.93E+11` has lost its digits; `3933312345.0` would gain a zero. Both come from a column that was read as a quantity.
fn is_spreadsheet(plain: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let quantity = |part: &str| match part.split_once(['.', ',']) {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(part),
    };
    let unsigned = plain.trim_start_matches(['+', '-']);
    if let Some((mantissa, exponent)) = unsigned.split_once(['e', 'E']) {
        return quantity(mantissa) && digits(exponent.trim_start_matches(['+', '-']));
    }
    unsigned
        .split_once(['.', ','])
        .is_some_and(|(whole, fraction)| whole.len() >= 7 && digits(whole) && matches!(fraction, "0" | "00"))
}

/// Marks that address books put around numbers they copy: zero-width and text-direction characters.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{ad}')
}

fn to_ascii(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '·' | '•' => '.',
        '\n' | '\r' | '\t' => c,
        c if c.is_whitespace() => ' ',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, country: &str) -> Result<String, PhoneError> {
        PhoneNumber::parse(text, Some(country), Fiction::Allowed).map(|n| n.0)
    }

    #[test]
    fn messy_forms_are_read_alike() {
        let forms = "+39 300 123 4567|+39.300.1234567|0039 300/1234567|(+39) 300-123-45-67|[39] 3001234567|300 1234567|+39–300–1234567|\
                     tel:+39-300-1234567|\"+393001234567\"|'3001234567|\u{202a}+39\u{a0}300\u{a0}1234567\u{202c}|＋３９３００１２３４５６７|\
                     3001234567\r\n";
        for form in forms.split('|') {
            assert_eq!(read(form, "IT").as_deref(), Ok("+393001234567"), "{form}");
        }
        for (form, country, expected) in [
            ("07700 900123", "GB", "+447700900123"),
            ("+44 (0)20 7946 0123", "IT", "+442079460123"),
            ("06 39 98 00 12", "FR", "+33639980012"),
            ("0171/39200-12", "DE", "+491713920012"),
            ("030/23125-123", "DE", "+493023125123"),
            ("499 123 456", "PL", "+48499123456"),
            ("+48 (0) 499 123 456", "PL", "+48499123456"),
            ("00 34 (0)770-123456", "PL", "+34770123456"),
            ("770 12 34 56", "es", "+34770123456"),
        ] {
            assert_eq!(read(form, country).as_deref(), Ok(expected), "{form}");
        }
    }

    #[test]
    fn significant_zeros_are_kept() {
        for (form, expected, country) in [
            ("+2250708091011", "+2250708091011", "CI"),
            ("+242066123456", "+242066123456", "CG"),
            ("+390669812345", "+390669812345", "VA"),
            ("06 69812345", "+390669812345", "VA"),
            ("+39 (0)6 69812345", "+390669812345", "VA"),
            ("+378 0549 882345", "+3780549882345", "SM"),
        ] {
            let number = PhoneNumber::parse(form, Some("IT"), Fiction::Refused).unwrap();
            assert_eq!((number.e164(), number.country()), (expected, Some(country)));
        }
    }

    #[test]
    fn what_is_no_single_number_is_refused() {
        use PhoneError::{Characters, Empty, Extension, Letters, NoCountry, NotInPlan, Several, Spreadsheet, TooLong, TooShort};
        let refused: &[(PhoneError, &[&str])] = &[
            (Empty, &["", " \"\" ", "tel:"]),
            (Spreadsheet, &["3.93E+11", "3,93e+11", "393001234567.0", "+3.93E11"]),
            (Letters, &["39300 FLOWERS", "call 3001234567", "3001234567 Mario"]),
            (Extension, &["3001234567 ext 12", "3001234567x12", "tel:+393001234567;ext=12", "3001234567#2"]),
            (
                Several,
                &["3001234567, 3007654321", "3001234567 / 3007654321", "3001234567\n3007654321", "+393001234567+393007654321"],
            ),
            (Characters, &["300\u{0}1234567", "٣٠٠١٢٣٤٥٦٧", "300_1234567"]),
            (TooShort, &["--", "+39"]),
            (TooLong, &["3001234567 3007654321"]),
            (PhoneError::UnknownCountryCode, &["+999 123 456 789"]),
            (NotInPlan, &["+39 300 12"]),
        ];
        for (error, texts) in refused {
            for text in *texts {
                assert_eq!(read(text, "IT"), Err(*error), "{text:?}");
            }
        }
        assert_eq!(PhoneNumber::parse("3001234567", None, Fiction::Allowed), Err(NoCountry));
        assert_eq!(PhoneNumber::parse("3001234567", Some("Italy"), Fiction::Allowed), Err(NoCountry));
    }

    #[test]
    fn fiction_needs_to_be_allowed_and_knows_its_country_and_line() {
        for (prefix, more, country, line) in FICTION {
            let text = format!("{prefix}{}", &"1234567"[..*more]);
            assert_eq!(PhoneNumber::parse(&text, None, Fiction::Refused), Err(PhoneError::Fiction));
            let number = PhoneNumber::parse(&text, None, Fiction::Allowed).unwrap();
            assert!(number.is_fiction());
            assert_eq!((number.e164(), number.country(), number.line()), (&*text, Some(*country), *line));
            if ["IT", "PL", "ES"].contains(country) {
                assert!(!UTIL.is_valid_number(&UTIL.parse(&text, None).unwrap()), "{prefix} is assigned now");
            }
        }
        assert!(!PhoneNumber("+390669812345".into()).is_fiction());
    }

    #[test]
    fn a_number_shows_its_last_digits_only() {
        let number = PhoneNumber::from_e164_trusted("+393001234342".into());
        assert_eq!(format!("{number} {number:?} {}", number.masked()), "…42 PhoneNumber(…42) ••• ••• 342");
        assert_eq!(PhoneNumber("+12025550123".into()).line(), Line::MobileOrLandline);
        assert_eq!(PhoneNumber("+390669812345".into()).line(), Line::Landline);
        assert_eq!(PhoneNumber("+80012345678".into()).country(), None);
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails_without_a_panic(text in any::<String>(), country in "[A-Z]{2}") {
            if let Ok(number) = PhoneNumber::parse(&text, Some(&country), Fiction::Allowed) {
                prop_assert!(number.e164().len() <= 16 && number.e164()[1..].bytes().all(|b| b.is_ascii_digit()));
            }
        }

        #[test]
        fn near_numbers_never_panic(text in "[-+0-9()/. \u{a0}eE]{0,24}") {
            let _ = PhoneNumber::parse(&text, Some("DE"), Fiction::Allowed);
        }

        #[test]
        fn separators_change_nothing(rest in "[0-9]{7}", gaps in proptest::collection::vec("[-. ()]{0,2}", 8)) {
            let plain = format!("+39300{rest}");
            let mut spaced = String::from("+39300");
            for (digit, gap) in rest.chars().zip(&gaps) {
                spaced.push_str(gap);
                spaced.push(digit);
            }
            // A trailing `.0` is the spreadsheet's, and a `(0)` may be a trunk zero: both are tested above.
            prop_assume!(!spaced.ends_with(".0") && !spaced.contains("(0"));
            prop_assert_eq!(read(&spaced, "PL"), Ok(plain.clone()));
            prop_assert_eq!(read(&plain, "PL"), Ok(plain));
        }
    }
}
