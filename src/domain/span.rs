//! Lengths of time in words, in the languages of the texts that ship.

/// Of one language: a day, days, a year, a few years (where it counts 2 to 4 otherwise than 5), years.
type Words = [&'static str; 5];

const WORDS: [(&str, Words); 6] = [
    ("it", ["1 giorno", "{n} giorni", "1 anno", "{n} anni", "{n} anni"]),
    ("pl", ["1 dzień", "{n} dni", "1 rok", "{n} lata", "{n} lat"]),
    ("en", ["1 day", "{n} days", "1 year", "{n} years", "{n} years"]),
    ("de", ["1 Tag", "{n} Tage", "1 Jahr", "{n} Jahre", "{n} Jahre"]),
    ("fr", ["1 jour", "{n} jours", "1 an", "{n} ans", "{n} ans"]),
    ("es", ["1 día", "{n} días", "1 año", "{n} años", "{n} años"]),
];

/// So many days as people say them: in years, where it is whole ones of 365 days, as settings are read. None in another language.
pub fn words(language: &str, days: i64) -> Option<String> {
    let (_, [day, many_days, year, few_years, many_years]) = WORDS.iter().find(|(known, _)| *known == language)?;
    let (n, words) = match (days, days / 365, days % 365) {
        (1, ..) => (1, day),
        (_, 1, 0) => (1, year),
        // As Polish counts: 2 to 4, 22 to 24, but 12 to 14.
        (_, years @ 2.., 0) if matches!(years % 10, 2..=4) && !matches!(years % 100, 12..=14) => (years, few_years),
        (_, years @ 2.., 0) => (years, many_years),
        _ => (days, many_days),
    };
    Some(words.replace("{n}", &n.to_string()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_length_of_time_is_told_in_years_where_it_is_whole_ones() {
        let told = |language: &str| [1, 90, 365, 730, 12 * 365, 5 * 365].map(|days| super::words(language, days).unwrap());
        assert_eq!(told("it"), ["1 giorno", "90 giorni", "1 anno", "2 anni", "12 anni", "5 anni"]);
        assert_eq!(told("pl"), ["1 dzień", "90 dni", "1 rok", "2 lata", "12 lat", "5 lat"]);
        assert_eq!(super::words("pt", 730), None);
    }
}
