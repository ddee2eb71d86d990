//! Money in whole millionths of a currency's unit, never floats: a price of 0.0520 EUR times 30,000 messages is exact.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Millionths of one unit: a price has at most six decimals.
pub const MICROS: i64 = 1_000_000;

/// The largest amount written in a file: a billion units, so that no sum of ours overflows an `i64`'s nine trillion by accident.
const LARGEST: i64 = 1_000_000_000;

/// An ISO 4217 code, three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    pub fn parse(text: &str) -> Option<Currency> {
        let code: [u8; 3] = text.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_uppercase).then_some(Currency(code))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Currency {
    type Error = String;
    fn try_from(text: String) -> Result<Currency, String> {
        Currency::parse(&text).ok_or_else(|| format!("`{text}` is no currency"))
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.to_string()
    }
}

/// An amount of one currency, from zero up. Written, and stored in JSON, as in `0.052 EUR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Money {
    /// Millionths of the currency's unit.
    pub micros: i64,
    pub currency: Currency,
}

impl Money {
    pub fn new(micros: i64, currency: Currency) -> Money {
        Money { micros, currency }
    }

    /// `0.0520 EUR`: digits, at most six decimals after a point, a space, the currency. No sign, no thousands, no rounding.
    pub fn parse(text: &str) -> Option<Money> {
        let (amount, currency) = text.split_once(' ')?;
        let (units, decimals) = amount.split_once('.').unwrap_or((amount, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(units) || !digits(decimals) || decimals.len() > 6 {
            return None;
        }
        let units: i64 = units.parse().ok().filter(|units| *units <= LARGEST)?;
        let decimals: i64 = format!("{decimals:0<6}").parse().ok()?;
        Some(Money { micros: units * MICROS + decimals, currency: Currency::parse(currency)? })
    }

    /// `count` times this; the largest amount there is where that is too much to count.
    pub fn times(self, count: u64) -> Money {
        let micros = i64::try_from(count).ok().and_then(|count| self.micros.checked_mul(count)).unwrap_or(i64::MAX);
        Money { micros, ..self }
    }

    /// This and `other` of the same currency. One campaign has one currency, so nothing else is ever added.
    pub fn plus(self, other: Money) -> Money {
        debug_assert_eq!(self.currency, other.currency);
        Money { micros: self.micros.saturating_add(other.micros), ..self }
    }
}

/// At least two decimals, and as many more as it has.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:06}", self.micros.unsigned_abs() % MICROS.unsigned_abs());
        let shown = decimals.trim_end_matches('0');
        let sign = if self.micros < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{shown:0<2} {}", self.micros.unsigned_abs() / MICROS.unsigned_abs(), self.currency)
    }
}

impl TryFrom<String> for Money {
    type Error = String;
    fn try_from(text: String) -> Result<Money, String> {
        Money::parse(&text).ok_or_else(|| format!("`{text}` is no amount of money"))
    }
}

impl From<Money> for String {
    fn from(money: Money) -> String {
        money.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        for (text, micros, shown) in [
            ("0.0520 EUR", 52_000, "0.052 EUR"),
            ("400 EUR", 400_000_000, "400.00 EUR"),
            ("0.000001 GBP", 1, "0.000001 GBP"),
            ("0 PLN", 0, "0.00 PLN"),
            ("007.10 EUR", 7_100_000, "7.10 EUR"),
            ("8.20 EUR", 8_200_000, "8.20 EUR"), // 8,199,999.999999999 by way of a float
        ] {
            let money = Money::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((money.micros, money.to_string().as_str()), (micros, shown));
        }
        for text in [
            "",
            "1",
            "EUR",
            "1 eur",
            "1 EURO",
            "-1 EUR",
            "+1 EUR",
            "1,50 EUR",
            ".5 EUR",
            "1. EUR",
            "0.0000001 EUR",
            "1e3 EUR",
            "1  EUR",
            "1 EUR ",
            "9999999999 EUR",
        ] {
            assert_eq!(Money::parse(text), None, "{text}");
        }
    }

    /// In floats a tenth of these is lost: 0.1 + 0.2.
    #[test]
    fn thirty_thousand_times_a_price_is_exact() {
        let price = Money::parse("0.033337 EUR").unwrap();
        let one_by_one = (0..29_999).fold(Money::new(0, price.currency), |sum, _| sum.plus(price));
        assert_eq!((one_by_one, one_by_one.to_string().as_str()), (price.times(29_999), "1000.076663 EUR"));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_not_and_what_is_shown_reads_as_the_same(text in "[0-9., EURPLN-]{0,14}", micros in 0..=LARGEST * MICROS) {
            if let Some(money) = Money::parse(&text) {
                prop_assert_eq!(Money::parse(&money.to_string()), Some(money));
            }
            let money = Money::new(micros, Currency::parse("EUR").unwrap());
            prop_assert_eq!(Money::parse(&money.to_string()), Some(money));
        }
    }
}
