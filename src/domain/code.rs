//! The one-time code of `link_code`: its form, its life, and how it is read from what a person typed. Where it comes from and
//! how it is compared is `vault`'s.

/// Digits of a code.
pub const DIGITS: usize = 6;
/// Microseconds from its claim in which a code counts.
pub const VALID: i64 = 10 * 60 * 1_000_000;
/// Wrong tries after which a code is dead. Five of a million leave a guesser one chance in 200,000.
pub const TRIES: i64 = 5;

/// The code a person typed or pasted, as digits alone: spaces and dashes between them are how messages and people group
/// digits (WCAG 2.2 SC 3.3.8: pasting must work). `None` where it is anything else: that is no guess, and costs no try.
pub fn typed(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| !(c.is_whitespace() || is_dash(*c))).take(DIGITS + 1).collect();
    (digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

fn is_dash(c: char) -> bool {
    matches!(c, '-' | '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// The code of one draw of 32 random bits, `None` where it must be drawn again: the top of the range is no whole million,
/// and folding it in would make low codes likelier.
pub fn of_draw(draw: u32) -> Option<String> {
    const MILLION: u32 = 1_000_000;
    const WHOLE: u32 = u32::MAX / MILLION * MILLION;
    (draw < WHOLE).then(|| format!("{:06}", draw % MILLION))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_may_be_typed_as_people_type_it() {
        for text in ["123456", " 123456 ", "123 456", "12-34-56", "1 2 3\u{a0}4\u{2013}5 6\r\n"] {
            assert_eq!(typed(text).as_deref(), Some("123456"), "{text:?}");
        }
        for text in ["", "12345", "1234567", "12345a", "١٢٣٤٥٦", "12.34.56", "+123456"] {
            assert_eq!(typed(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_code_is_as_likely_as_every_other() {
        assert_eq!(of_draw(0).as_deref(), Some("000000"));
        assert_eq!(of_draw(1_000_042).as_deref(), Some("000042"));
        assert_eq!(of_draw(4_293_999_999).as_deref(), Some("999999"));
        assert_eq!(of_draw(4_294_000_000), None);
        assert_eq!(of_draw(u32::MAX), None);
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_six_digits_or_nothing(text in any::<String>()) {
            if let Some(code) = typed(&text) {
                prop_assert!(code.len() == DIGITS && code.bytes().all(|b| b.is_ascii_digit()));
            }
        }

        #[test]
        fn grouping_never_changes_a_code(code in "[0-9]{6}", at in 1_usize..6, by in "[ \u{a0}-]{1,3}") {
            let (before, after) = code.split_at(at);
            prop_assert_eq!(typed(&format!("{before}{by}{after}")), Some(code.clone()));
        }
    }
}
