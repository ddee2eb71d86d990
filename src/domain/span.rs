//! Lengths of time in words, in the languages of the texts that ship.

/// Of one unit in one language: one, a few (where it counts 2 to 4 otherwise than 5), many.
type Unit = [&'static str; 3];

/// Days, months, years.
const WORDS: [(&str, [Unit; 3]); 6] = [
    ("it", [["1 giorno", "{n} giorni", "{n} giorni"], ["1 mese", "{n} mesi", "{n} mesi"], ["1 anno", "{n} anni", "{n} anni"]]),
    ("pl", [["1 dzień", "{n} dni", "{n} dni"], ["1 miesiąc", "{n} miesiące", "{n} miesięcy"], ["1 rok", "{n} lata", "{n} lat"]]),
    ("en", [["1 day", "{n} days", "{n} days"], ["1 month", "{n} months", "{n} months"], ["1 year", "{n} years", "{n} years"]]),
    ("de", [["1 Tag", "{n} Tage", "{n} Tage"], ["1 Monat", "{n} Monate", "{n} Monate"], ["1 Jahr", "{n} Jahre", "{n} Jahre"]]),
    ("fr", [["1 jour", "{n} jours", "{n} jours"], ["1 mois", "{n} mois", "{n} mois"], ["1 an", "{n} ans", "{n} ans"]]),
    ("es", [["1 día", "{n} días", "{n} días"], ["1 mes", "{n} meses", "{n} meses"], ["1 año", "{n} años", "{n} años"]]),
];

/// Days of so many months, as settings are read: a twelfth of 365 each, rounded up.
pub fn days_of_months(months: i64) -> i64 {
    (months * 365 + 11) / 12
}

/// So many days as people say them: in years or else in months, where it is whole ones as settings are read. None in another language.
pub fn words(language: &str, days: i64) -> Option<String> {
    let (_, [of_days, of_months, of_years]) = WORDS.iter().find(|(known, _)| *known == language)?;
    let months = days * 12 / 365;
    let (n, [one, few, many]) = match () {
        () if days > 0 && days % 365 == 0 => (days / 365, of_years),
        () if months > 0 && days_of_months(months) == days => (months, of_months),
        () => (days, of_days),
    };
    // As Polish counts: 2 to 4, 22 to 24, but 12 to 14.
    let words = match n {
        1 => one,
        _ if matches!(n % 10, 2..=4) && !matches!(n % 100, 12..=14) => few,
        _ => many,
    };
    Some(words.replace("{n}", &n.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{days_of_months, words};

    #[test]
    fn a_length_of_time_is_told_in_the_longest_unit_of_which_it_is_whole_ones() {
        let told = |language: &str| [1, 90, 365, 730, 12 * 365, 5 * 365].map(|days| words(language, days).unwrap());
        assert_eq!(told("it"), ["1 giorno", "90 giorni", "1 anno", "2 anni", "12 anni", "5 anni"]);
        assert_eq!(told("pl"), ["1 dzień", "90 dni", "1 rok", "2 lata", "12 lat", "5 lat"]);
        let months = |language: &str| [1, 3, 12, 14, 18, 22].map(|months| words(language, days_of_months(months)).unwrap());
        assert_eq!(months("en"), ["1 month", "3 months", "1 year", "14 months", "18 months", "22 months"]);
        assert_eq!(months("pl"), ["1 miesiąc", "3 miesiące", "1 rok", "14 miesięcy", "18 miesięcy", "22 miesiące"]);
        assert_eq!(words("en", days_of_months(18) + 1).as_deref(), Some("549 days"));
        assert_eq!(words("pt", 730), None);
    }

    #[test]
    fn whole_months_are_told_as_so_many() {
        for n in 1..=120 {
            let (n, unit) = if n % 12 == 0 { (n / 12, "year") } else { (n, "month") };
            let days = if unit == "year" { n * 365 } else { days_of_months(n) };
            let ending = if n == 1 { "" } else { "s" };
            assert_eq!(words("en", days), Some(format!("{n} {unit}{ending}")));
        }
    }
}
