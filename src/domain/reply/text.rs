//! A reply in normal form: words without case, accents, look-alike letters and invisible characters, in clauses between
//! marks of punctuation; and what counts as a slip of the finger.

use unicode_normalization::UnicodeNormalization;

use super::MAX_CHARS;

/// The only emoji and emoticons a yes may carry: a doubtful or angry one next to a yes needs a person to look.
const FRIENDLY: &str = "👍👌🙏😊🙂😀😃😄😁🤗😍🥰😘☺❤♥💪👏🎉✅✔🌹🌸⭐✨🌞🌈💙💚💛🧡💜🤝";
const EMOTICONS: [&str; 5] = [":-)", ":)", "^^", "<3", "=)"];

/// Words between two marks of punctuation, normalised.
#[derive(Debug, Clone, Default)]
pub(super) struct Clause {
    pub words: Vec<String>,
    pub question: bool,
}

/// A text in normal form.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub clauses: Vec<Clause>,
    /// Nothing that makes a yes doubtful: no question, ellipsis, look-alike letter, odd sign, unfriendly emoji, and not cut.
    pub plain: bool,
}

impl Reading {
    pub fn of(text: &str) -> Reading {
        let cut = text.char_indices().nth(MAX_CHARS).map(|(at, _)| at);
        let text = &text[..cut.unwrap_or(text.len())];
        let folded = if text.is_ascii() { fold(text.chars()) } else { fold(text.replace('\u{b4}', "'").nfkc()) };
        // "Yes..." hesitates.
        let hesitates = folded.windows(2).any(|pair| pair == ['.', '.']);
        let mut reading = Reading { plain: cut.is_none() && !hesitates, ..Reading::default() };
        let mut clause = Clause::default();
        let mut word = String::new();
        for (i, &c) in folded.iter().enumerate() {
            let next = || folded[i + 1..].iter().take(3).take_while(|c| c.is_alphabetic()).collect::<String>();
            match c {
                // An overlay strikes the letter through; every other mark is an accent.
                '\u{300}'..='\u{36f}' => reading.plain &= !('\u{334}'..='\u{338}').contains(&c),
                'ß' => word.push_str("ss"),
                'ł' => word.push('l'),
                'ø' => word.push('o'),
                'œ' => word.push_str("oe"),
                'æ' => word.push_str("ae"),
                _ if emblem(c).is_some() => {
                    reading.plain = false;
                    word.extend(emblem(c));
                }
                _ if c.is_alphanumeric() || (c == '$' && !next().is_empty()) => {
                    let plain = look_alike(c);
                    reading.plain &= plain == c;
                    word.push(plain);
                }
                // "don't" is one word, "l'elenco" two.
                '\'' | '’' | '‘' | 'ʼ' | '`' if ["t", "s", "m", "d", "ll", "re", "ve"].contains(&next().as_str()) => {}
                _ => {
                    clause.push(&mut word);
                    let question = matches!(c, '?' | '¿' | '؟');
                    let joins =
                        matches!(c, ' ' | '-' | '_' | '*' | '/' | '\'' | '’' | '‘' | 'ʼ' | '`' | '"' | '“' | '”' | '«' | '»');
                    let harmless = matches!(c, '.' | ',' | '!' | ';' | ':' | '–' | '—' | '¡') || c.is_whitespace();
                    reading.plain &= (joins && c != '/') || harmless || FRIENDLY.contains(c);
                    if !joins && (!clause.words.is_empty() || question) {
                        clause.question = question;
                        reading.close(std::mem::take(&mut clause));
                    }
                }
            }
        }
        clause.push(&mut word);
        reading.close(clause);
        reading
    }

    /// A question mark after other punctuation ("no!?") still makes a question of the clause before.
    fn close(&mut self, clause: Clause) {
        if !clause.words.is_empty() {
            self.clauses.push(clause);
        } else if clause.question
            && let Some(last) = self.clauses.last_mut()
        {
            last.question = true;
        }
    }
}

impl Clause {
    /// Takes the word over. Three and more of a letter are one ("yesss", "nooo", "taaak"): none of our languages writes so.
    fn push(&mut self, word: &mut String) {
        if word.is_empty() {
            return;
        }
        let letters: Vec<char> = std::mem::take(word).chars().collect();
        let runs = letters.chunk_by(|a, b| a == b && a.is_alphabetic());
        self.words.push(runs.flat_map(|run| if run.len() > 2 { &run[..1] } else { run }).collect());
    }
}

/// Emoticons as emoji, lower case, accents apart, without what shows nothing. ASCII, as most replies are, has nothing to take apart.
fn fold(text: impl Iterator<Item = char>) -> Vec<char> {
    let mut text: String = text.collect();
    for emoticon in EMOTICONS {
        if text.contains(emoticon) {
            text = text.replace(emoticon, " 🙂 ");
        }
    }
    let shown = |c: &char| !is_invisible(*c);
    if text.is_ascii() {
        text.chars().map(|c| c.to_ascii_lowercase()).filter(shown).collect()
    } else {
        text.chars().flat_map(char::to_lowercase).nfd().filter(shown).collect()
    }
}

/// Characters that show nothing: controls, joiners, fillers, direction marks, variation selectors, tags, skin tones; and marks
/// that only decorate a letter.
fn is_invisible(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0000}'..='\u{e01ef}'
            | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// The Latin letter that a lower-case Cyrillic, Greek, Armenian or small-capital letter passes for.
fn look_alike(c: char) -> char {
    const PAIRS: &str = "аaвbсcԁdеeнhіiїiјjкkӏlмmоoрpԛqѕsтtуyүyхxԝwѵvαaβbεeηnιiκkμmνnοoρpσsςsτtυyχxζzօoոnսuհhցg\
                         ᴀaʙbᴄcᴅdᴇeꜰfɢgʜhɪiᴊjᴋkʟlᴍmɴnᴏoᴘpʀrꜱsᴛtᴜuᴠvᴡwʏyᴢzɑaɡgıi$s";
    if c.is_ascii_alphanumeric() {
        return c;
    }
    let mut pairs = PAIRS.chars();
    while let (Some(from), Some(to)) = (pairs.next(), pairs.next()) {
        if from == c {
            return to;
        }
    }
    c
}

/// The letter on a sign: white on black, in a circle or square, or one of a flag's two. NFKC leaves these as they are.
fn emblem(c: char) -> Option<char> {
    let first =
        ['\u{1f150}', '\u{1f170}', '\u{1f1e6}'].into_iter().map(u32::from).find(|f| (*f..f + 26).contains(&u32::from(c)))?;
    u8::try_from(u32::from(c) - first).ok().map(|nth| char::from(b'a' + nth))
}

pub(super) fn letter_for_digit(c: char) -> char {
    match c {
        '0' => 'o',
        '1' => 'i',
        '3' => 'e',
        '4' => 'a',
        '5' => 's',
        '7' => 't',
        _ => c,
    }
}

/// Whether `word` is `known` with letters doubled or two neighbours swapped, or, from 8 letters on, one letter wrong.
pub(super) fn is_typo(word: &[char], known: &[char]) -> bool {
    // However it slips, two of the first letters stay near their place: most words are told apart here.
    let [a, b] = [0, 1].map(|i| word.get(i));
    let [c, d] = [0, 1].map(|i| known.get(i));
    if a != c && a != d && b != c && b != d {
        return false;
    }
    let head = word.iter().zip(known).take_while(|(a, b)| a == b).count();
    let tail = word[head..].iter().rev().zip(known[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    match (&word[head..word.len() - tail], &known[head..known.len() - tail]) {
        ([a, b], [c, d]) if a == d && b == c => true,
        (w, k) if known.len() >= 8 && w.len() <= 1 && k.len() <= 1 => true,
        _ => word.chunk_by(char::eq).map(|run| run[0]).eq(known.chunk_by(char::eq).map(|run| run[0])),
    }
}
