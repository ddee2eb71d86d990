//! SMS text: which encoding it needs, how many parts it fills, and how to write it so that it fills fewer (3GPP TS 23.038).

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The most parts a message may fill. Above it a text is an error: long messages arrive torn and cost by the part.
pub const MAX_PARTS_GSM7: usize = 2;
pub const MAX_PARTS_UCS2: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// The GSM 7-bit default alphabet with its extension table; units are septets.
    Gsm7,
    /// UTF-16; units are its code units. One character outside GSM 7-bit puts the whole message here.
    Ucs2,
}

/// What a text costs to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    pub encoding: Encoding,
    /// Septets or UTF-16 code units of the whole text.
    pub units: usize,
    /// SMS parts, at least 1. It may exceed `units / per_part`, as no part ends inside a character of two units.
    pub parts: usize,
    /// Units one part holds: 160 or 70 alone; 153 or 67 of several, after the header that joins them (8-bit reference).
    pub per_part: usize,
}

impl Parts {
    /// Whether the text fills no more parts than its encoding allows.
    pub fn fits(&self) -> bool {
        match self.encoding {
            Encoding::Gsm7 => self.parts <= MAX_PARTS_GSM7,
            Encoding::Ucs2 => self.parts <= MAX_PARTS_UCS2,
        }
    }

    /// Units to take out until it fits, septets or UTF-16 code units; 0 where it does. One at least, though a character that may not be cut in
    /// two at the end of a part can need a few more.
    pub fn over(&self) -> usize {
        let most = match self.encoding {
            Encoding::Gsm7 => MAX_PARTS_GSM7,
            Encoding::Ucs2 => MAX_PARTS_UCS2,
        };
        if self.fits() { 0 } else { self.units.saturating_sub(most * self.per_part).max(1) }
    }
}

const GSM7: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§\
                    ¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Written as an escape and a second septet.
const GSM7_EXTENSION: &str = "^{}\\[~]|€\u{c}";

/// Septets of a character, none where GSM 7-bit has not got it.
fn septets(c: char) -> Option<usize> {
    match c {
        _ if GSM7.contains(c) => Some(1),
        _ if GSM7_EXTENSION.contains(c) => Some(2),
        _ => None,
    }
}

pub fn parts(text: &str) -> Parts {
    match text.chars().map(septets).collect::<Option<Vec<_>>>() {
        Some(widths) => fill(Encoding::Gsm7, &widths, 160, 153),
        None => fill(Encoding::Ucs2, &text.chars().map(char::len_utf16).collect::<Vec<_>>(), 70, 67),
    }
}

fn fill(encoding: Encoding, widths: &[usize], alone: usize, joined: usize) -> Parts {
    let units = widths.iter().sum();
    if units <= alone {
        return Parts { encoding, units, parts: 1, per_part: alone };
    }
    let (mut parts, mut used) = (1, 0);
    for width in widths {
        if used + width > joined {
            parts += 1;
            used = 0;
        }
        used += width;
    }
    Parts { encoding, units, parts, per_part: joined }
}

/// The text cut into its parts as [`parts`] counts them, in its own encoding or, where the way to the handset lacks that, in UCS-2.
/// No part ends inside a character.
pub fn split(text: &str, encoding: Encoding) -> Vec<&str> {
    let (width, alone, joined): (fn(char) -> usize, usize, usize) = match encoding {
        Encoding::Gsm7 => (|c| septets(c).unwrap_or(2), 160, 153),
        Encoding::Ucs2 => (char::len_utf16, 70, 67),
    };
    if text.chars().map(width).sum::<usize>() <= alone {
        return vec![text];
    }
    let (mut pieces, mut begin, mut used) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        if used + width(c) > joined {
            pieces.push(&text[begin..at]);
            (begin, used) = (at, 0);
        }
        used += width(c);
    }
    pieces.push(&text[begin..]);
    pieces
}

const ESCAPE: u8 = 0x1b;
/// The octets of [`GSM7_EXTENSION`], each after an escape.
const GSM7_EXTENDED: [u8; 10] = [0x14, 0x28, 0x29, 0x2f, 0x3c, 0x3d, 0x3e, 0x40, 0x65, 0x0a];

/// The text in GSM 7-bit, a septet an octet; none where it needs UCS-2.
pub fn to_gsm7(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    for c in text.chars() {
        if let Some(at) = GSM7.chars().position(|known| known == c) {
            // The escape, which is no character, stands between `Ξ` and `Æ`.
            let at = u8::try_from(at).ok()?;
            octets.push(if at < ESCAPE { at } else { at + 1 });
        } else {
            let at = GSM7_EXTENSION.chars().position(|known| known == c)?;
            octets.extend([ESCAPE, *GSM7_EXTENDED.get(at)?]);
        }
    }
    Some(octets)
}

/// What octets in GSM 7-bit say. An extension nobody knows reads as its plain character (3GPP TS 23.038, 6.2.1.1), an octet with its
/// highest bit set as a replacement character.
pub fn from_gsm7(octets: &[u8]) -> String {
    let plain = |octet: u8| match octet {
        ESCAPE => ' ',
        0x80.. => char::REPLACEMENT_CHARACTER,
        _ => GSM7.chars().nth(usize::from(octet) - usize::from(octet > ESCAPE)).unwrap_or(char::REPLACEMENT_CHARACTER),
    };
    let mut text = String::with_capacity(octets.len());
    let mut octets = octets.iter().copied();
    while let Some(octet) = octets.next() {
        if octet != ESCAPE {
            text.push(plain(octet));
        } else if let Some(octet) = octets.next() {
            let known = GSM7_EXTENDED.iter().position(|known| *known == octet);
            text.push(known.and_then(|at| GSM7_EXTENSION.chars().nth(at)).unwrap_or_else(|| plain(octet)));
        }
    }
    text
}

/// The characters that force UCS-2, each with its place, counted in characters from 0.
pub fn forcing_ucs2(text: &str) -> Vec<(usize, char)> {
    text.chars().enumerate().filter(|(_, c)| septets(*c).is_none()).collect()
}

/// What to write in place of a character that forces UCS-2: its letter without the accent, the straight quote, nothing at all for an
/// emoji or an invisible character. None for what GSM 7-bit needs no stand-in for, and for what has none, such as Cyrillic.
pub fn instead_of(c: char) -> Option<String> {
    if septets(c).is_some() {
        return None;
    }
    if let Some(instead) = replacement(c) {
        return Some(instead.to_owned());
    }
    let base: String = c.nfd().filter(|part| !is_combining_mark(*part)).collect();
    base.chars().all(|part| septets(part).is_some()).then_some(base)
}

/// The characters of the extension table, which take two septets each, as often as they stand there.
pub fn doubled(text: &str) -> Vec<char> {
    text.chars().filter(|c| septets(*c) == Some(2)).collect()
}

/// The text as GSM 7-bit can write it: accents it lacks go (`È` becomes `E`), curly quotes and dashes become straight, emoji and
/// invisible characters disappear. What has no plain form, such as Cyrillic, stays: [`forcing_ucs2`] then still names it.
pub fn without_accents(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    // Composed first, so that an `e` with a separate accent stays the `é` that GSM 7-bit has.
    for c in text.nfc() {
        match instead_of(c) {
            Some(instead) => plain.push_str(&instead),
            None => plain.push(c),
        }
    }
    plain
}

/// Stand-ins that taking a letter's accents off does not find.
fn replacement(c: char) -> Option<&'static str> {
    Some(match c {
        '‘' | '’' | '‚' | '‛' | '′' | '´' | '`' | 'ʼ' | '‹' | '›' => "'",
        '“' | '”' | '„' | '‟' | '″' | '«' | '»' => "\"",
        '\u{2010}'..='\u{2015}' | '−' => "-",
        '…' => "...",
        '•' | '·' => "-",
        '\t' | '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => " ",
        '\u{2028}' | '\u{2029}' => "\n",
        '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}' => "",
        'ł' => "l",
        'Ł' => "L",
        'œ' => "oe",
        'Œ' => "OE",
        'ẞ' => "SS",
        'ı' => "i",
        'đ' | 'ð' => "d",
        'Đ' | 'Ð' => "D",
        'þ' => "th",
        'Þ' => "Th",
        'ħ' => "h",
        'Ħ' => "H",
        '№' => "No",
        '™' => "TM",
        '®' => "(R)",
        '©' => "(C)",
        'º' => "o",
        'ª' => "a",
        '×' => "x",
        '→' => "->",
        '←' => "<-",
        '½' => "1/2",
        '°' => "o",
        // Pictographs, dingbats, flags, skin tones, and what joins or styles them.
        '\u{2190}'..='\u{21ff}'
        | '\u{2300}'..='\u{27bf}'
        | '\u{2b00}'..='\u{2bff}'
        | '\u{20e3}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{1f000}'..='\u{1faff}'
        | '\u{e0020}'..='\u{e007f}' => "",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Encoding::{Gsm7, Ucs2};
    use super::*;

    #[test]
    fn what_is_too_long_says_by_how_much() {
        let over = |text: &str, times: usize| parts(&text.repeat(times)).over();
        assert_eq!([0, 5].map(|more| over("A", MAX_PARTS_GSM7 * 153 + more)), [0, 5]);
        assert_eq!([0, 7].map(|more| over("ł", MAX_PARTS_UCS2 * 67 + more)), [0, 7]);
    }

    /// Derived from the tables of 3GPP TS 23.038: text, encoding, units, parts.
    #[test]
    fn golden_counts() {
        let straddling_euro = format!("{}€{}", "A".repeat(152), "A".repeat(152));
        let straddling_emoji = format!("{}😀{}", "ł".repeat(66), "ł".repeat(66));
        for (text, encoding, units, count) in [
            ("", Gsm7, 0, 1),
            (&*"A".repeat(160), Gsm7, 160, 1),
            (&"A".repeat(161), Gsm7, 161, 2),
            (&"A".repeat(306), Gsm7, 306, 2),
            (&"A".repeat(307), Gsm7, 307, 3),
            (&"A".repeat(459), Gsm7, 459, 3),
            (&"A".repeat(460), Gsm7, 460, 4),
            (&"€".repeat(80), Gsm7, 160, 1),
            (&"€".repeat(81), Gsm7, 162, 2),
            (&straddling_euro, Gsm7, 306, 3),
            ("^{}\\[~]|€", Gsm7, 18, 1),
            ("Perché no? Così è più bello, là", Gsm7, 31, 1),
            ("È UN'OFFERTA", Ucs2, 12, 1),
            ("É", Gsm7, 1, 1),
            ("Ça va", Gsm7, 5, 1),
            ("ça va", Ucs2, 5, 1),
            ("Proszę odpisz TAK", Ucs2, 17, 1),
            ("Grüße, Maße Ä Ö Ü ß", Gsm7, 19, 1),
            ("¿Mañana? ¡Sí", Ucs2, 12, 1),
            ("l’offerta", Ucs2, 9, 1),
            ("9–18", Ucs2, 4, 1),
            ("`", Ucs2, 1, 1),
            ("a\u{a0}b", Ucs2, 3, 1),
            ("a\nb", Gsm7, 3, 1),
            ("a\tb", Ucs2, 3, 1),
            ("ΔΦΓΛΩΠΨΣΘΞ", Gsm7, 10, 1),
            ("Α", Ucs2, 1, 1),
            (&"ł".repeat(70), Ucs2, 70, 1),
            (&"ł".repeat(71), Ucs2, 71, 2),
            (&"ł".repeat(134), Ucs2, 134, 2),
            (&"ł".repeat(135), Ucs2, 135, 3),
            (&"😀".repeat(35), Ucs2, 70, 1),
            (&"😀".repeat(36), Ucs2, 72, 2),
            (&straddling_emoji, Ucs2, 134, 3),
        ] {
            let found = parts(text);
            assert_eq!((found.encoding, found.units, found.parts), (encoding, units, count), "{text}");
        }
        assert_eq!(GSM7.chars().count(), 127, "128 code points less the escape");
    }

    #[test]
    fn a_text_is_named_by_what_forces_it_and_rewritten() {
        assert_eq!(forcing_ucs2("Sì, È l’ok"), [(4, 'È'), (7, '’')]);
        for (text, plain) in [
            ("È l’ora… – “sì”", "E l'ora... - \"sì\""),
            ("Zażółć gęślą jaźń ŁÓDŹ", "Zazolc gesla jazn LODZ"),
            ("ça va, cœur, être", "ca va, coeur, etre"),
            ("„Straße“\u{a0}ẞ\u{200b}", "\"Straße\" SS"),
            ("¿Mañana? ¡Sí, mamá!", "¿Mañana? ¡Si, mama!"),
            ("e\u{301} E\u{300}", "é E"),
            ("ok 😀 привет", "ok  привет"),
            ("👩\u{200d}💻❤\u{fe0f}🇮🇹 sì →", " sì ->"),
        ] {
            assert_eq!(without_accents(text), plain);
        }
    }

    #[test]
    fn every_forcing_character_has_its_remedy_and_doubled_ones_are_named() {
        for (c, instead) in
            [('’', "'"), ('“', "\""), ('–', "-"), ('…', "..."), ('ą', "a"), ('😀', ""), ('\u{a0}', " "), ('ł', "l")]
        {
            assert_eq!(instead_of(c).as_deref(), Some(instead), "{c}");
        }
        for c in ['a', 'è', '€', 'я', '中'] {
            assert_eq!(instead_of(c), None, "{c}");
        }
        assert_eq!(doubled("a [b] {c} 5€ ~^|\\"), ['[', ']', '{', '}', '€', '~', '^', '|', '\\']);
    }

    #[test]
    fn two_gsm_parts_and_three_ucs2_parts_fit() {
        assert!(parts(&"a".repeat(306)).fits() && !parts(&"a".repeat(307)).fits());
        assert!(parts(&"ł".repeat(201)).fits() && !parts(&"ł".repeat(202)).fits());
    }

    /// 3GPP TS 23.038, 6.2.1: places in both tables.
    #[test]
    fn the_alphabet_is_that_of_the_standard() {
        assert_eq!(to_gsm7("@£ΞÆ É aà€[{").unwrap(), b"\x00\x01\x1a\x1c\x20\x1f\x20\x61\x7f\x1b\x65\x1b\x3c\x1b\x28");
        assert_eq!(to_gsm7("Reply STOP").unwrap(), b"Reply STOP");
        assert_eq!(to_gsm7("ł"), None);
        assert_eq!(from_gsm7(b"\x1b\x41\x1b"), "A");
        assert_eq!(from_gsm7(b"\x1b\x1b\x80A"), " \u{fffd}A");
    }

    proptest! {
        #[test]
        fn a_text_cut_and_encoded_is_the_same_text(text in "(\\PC|[@£$Ξ^€\\[ÆłęÈ’😀]){0,400}") {
            let counted = parts(&text);
            let pieces = split(&text, counted.encoding);
            prop_assert_eq!(pieces.len(), counted.parts);
            prop_assert_eq!(pieces.concat(), text.clone());
            prop_assert_eq!(to_gsm7(&text).is_some(), counted.encoding == Gsm7);
            if let Some(octets) = to_gsm7(&text) {
                prop_assert_eq!(octets.len(), counted.units);
                prop_assert_eq!(from_gsm7(&octets), text.clone());
            }
            prop_assert!(split(&text, Ucs2).iter().all(|piece| piece.encode_utf16().count() <= 70));
        }

        #[test]
        fn no_octets_are_beyond_reading(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(from_gsm7(&octets).chars().count() <= octets.len());
        }

        #[test]
        fn parts_hold_all_units_and_rewriting_never_costs_a_new_encoding(text in "(\\PC|[€^łęÈ’😀]){0,300}") {
            let found = parts(&text);
            prop_assert!(found.parts * found.per_part >= found.units);
            prop_assert!(found.parts <= 1 + found.units / (found.per_part - 1));
            prop_assert_eq!(found.encoding == Gsm7, forcing_ucs2(&text).is_empty());
            let plain = without_accents(&text);
            prop_assert!(forcing_ucs2(&plain).len() <= forcing_ucs2(&text).len());
            prop_assert_eq!(&without_accents(&plain), &plain);
        }
    }
}
