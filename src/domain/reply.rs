//! What a person meant by an inbound message: text in, [`Intent`] out. Pure; the words are data (`config/replies/*.toml`).
//! A STOP beats everything, and a yes counts only when nothing but the yes, courtesy and friendly emoji is there.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

/// Characters of a message that are read; a longer one is cut here and can then never be a yes.
pub const MAX_CHARS: usize = 1_600;

/// The only emoji and emoticons a yes may carry: a doubtful or angry one next to a yes needs a person to look.
const FRIENDLY: &str = "👍👌🙏😊🙂😀😃😄😁🤗😍🥰😘☺❤♥💪👏🎉✅✔🌹🌸⭐✨🌞🌈💙💚💛🧡💜🤝";
const EMOTICONS: [&str; 5] = [":-)", ":)", "^^", "<3", "=)"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Intent {
    OptIn,
    /// NO: refusal of what was asked.
    Refuse,
    /// STOP: no marketing of this controller any more.
    Stop,
    WrongPerson,
    Help,
    /// For a human: further messages are held until an operator decides.
    Unclear,
}

impl Intent {
    pub const ALL: [Intent; 6] =
        [Intent::OptIn, Intent::Refuse, Intent::Stop, Intent::WrongPerson, Intent::Help, Intent::Unclear];

    /// The coarse code shown outside, where refusal and STOP are both `opt_out`.
    pub fn code(self) -> &'static str {
        match self {
            Intent::Refuse | Intent::Stop => "opt_out",
            other => other.key(),
        }
    }

    /// The unique code that is stored; [`Intent::parse`] reads it back.
    pub fn key(self) -> &'static str {
        match self {
            Intent::OptIn => "opt_in",
            Intent::Refuse => "refuse",
            Intent::Stop => "stop",
            Intent::WrongPerson => "wrong_person",
            Intent::Help => "help",
            Intent::Unclear => "unclear",
        }
    }

    pub fn parse(key: &str) -> Option<Intent> {
        Intent::ALL.into_iter().find(|i| i.key() == key)
    }
}

/// The words of one language. Case, accents and punctuation do not matter. Everywhere but in `stop` a single word must
/// stand alone, while several words together count anywhere in a sentence (`yes` and `help`: only as the whole message).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhraseSet {
    /// Language, such as `it`; two sets of one language add up.
    pub locale: String,
    /// Stop, also in the middle of a sentence and with small typos.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Stop only as the whole message or first clause: words that are common in some language.
    #[serde(default)]
    pub stop_alone: Vec<String>,
    /// Phrases that contain one of these words and mean something else ("bus stop", "not sure").
    #[serde(default)]
    pub misleading: Vec<String>,
    #[serde(default)]
    pub no: Vec<String>,
    #[serde(default)]
    pub wrong_person: Vec<String>,
    #[serde(default)]
    pub help: Vec<String>,
    #[serde(default)]
    pub yes: Vec<String>,
    /// May surround any answer without changing it.
    #[serde(default)]
    pub courtesy: Vec<String>,
    /// Turn a following stop into unclear and a following yes into a no.
    #[serde(default)]
    pub negations: Vec<String>,
    /// May stand between a negation and what it negates ("non *voglio* stop").
    #[serde(default)]
    pub between: Vec<String>,
}

/// Phrases as sequences of normalised words.
#[derive(Debug, Clone, Default)]
struct Phrases {
    set: HashSet<Vec<String>>,
    longest: usize,
}

impl Phrases {
    fn extend(&mut self, phrases: &[String]) {
        for phrase in phrases {
            let words: Vec<String> = Reading::of(phrase).clauses.into_iter().flat_map(|c| c.words).collect();
            if !words.is_empty() {
                self.longest = self.longest.max(words.len());
                self.set.insert(words);
            }
        }
    }

    fn has(&self, words: &[String]) -> bool {
        words.len() <= self.longest && self.set.contains(words)
    }

    /// Lengths of the phrases that begin at `at`, longest first.
    fn at<'a>(&'a self, words: &'a [String], at: usize) -> impl Iterator<Item = usize> + 'a {
        (1..=self.longest.min(words.len() - at)).rev().filter(move |len| self.set.contains(&words[at..at + len]))
    }
}

/// Reads replies by the phrase sets it was made from.
#[derive(Debug, Clone, Default)]
pub struct Classifier {
    stop: Phrases,
    /// The single words of `stop` that are long enough to be recognised with a typo.
    stop_words: Vec<Vec<char>>,
    stop_alone: Phrases,
    misleading: Phrases,
    no: Phrases,
    wrong_person: Phrases,
    help: Phrases,
    negations: Phrases,
    between: Phrases,
    any_yes: Phrases,
    any_courtesy: Phrases,
    /// Yes and courtesy by language: only here does the language asked in matter.
    yes: HashMap<String, (Phrases, Phrases)>,
}

impl Classifier {
    pub fn new(sets: Vec<PhraseSet>) -> Classifier {
        let mut all = Classifier::default();
        for set in sets {
            all.stop.extend(&set.stop);
            all.stop_alone.extend(&set.stop_alone);
            all.misleading.extend(&set.misleading);
            all.no.extend(&set.no);
            all.wrong_person.extend(&set.wrong_person);
            all.help.extend(&set.help);
            all.negations.extend(&set.negations);
            all.between.extend(&set.between);
            all.any_yes.extend(&set.yes);
            all.any_courtesy.extend(&set.courtesy);
            let (yes, courtesy) = all.yes.entry(language(&set.locale)).or_default();
            yes.extend(&set.yes);
            courtesy.extend(&set.courtesy);
        }
        let words = all.stop.set.iter().filter_map(|p| if let [word] = &p[..] { Some(word.chars().collect()) } else { None });
        all.stop_words = words.filter(|w: &Vec<char>| w.len() >= 4).collect();
        all
    }

    /// What `text` means as an answer to an ask in `locale` (`it`, `it-IT`). Stops, refusals and wrong persons count in every
    /// language, a yes only in the one asked in; an unknown locale has no yes.
    pub fn classify(&self, locale: &str, text: &str) -> Intent {
        let mut reading = Reading::of(text);
        self.join_spelled_out(&mut reading.clauses);
        let as_written: Vec<Clause> = reading.clauses.clone();
        self.mask_misleading(&mut reading.clauses);

        match self.stop(&reading.clauses) {
            Some(true) => return Intent::Stop,
            Some(false) => return Intent::Unclear,
            None => {}
        }
        if self.says(&reading.clauses, &self.wrong_person)
            || (reading.plain && all_of(&reading.clauses, &self.wrong_person, &[&self.any_courtesy, &self.no]))
        {
            return Intent::WrongPerson;
        }
        if let Some(refusal) = self.refusal(&reading.clauses) {
            return refusal;
        }
        if all_of(&as_written, &self.help, &[&self.any_courtesy]) {
            return Intent::Help;
        }
        match self.yes.get(&language(locale)) {
            Some((yes, courtesy)) if reading.plain && all_of(&as_written, yes, &[courtesy]) => Intent::OptIn,
            _ => Intent::Unclear,
        }
    }

    /// `Some(true)`: a stop. `Some(false)`: a stop that is negated and no other.
    fn stop(&self, clauses: &[Clause]) -> Option<bool> {
        let mut negated = false;
        for words in clauses.iter().map(|c| &c.words) {
            for at in 0..words.len() {
                if self.stop.at(words, at).next().is_some() || self.is_stop_word(&words[at]) {
                    if !self.negated(words, at) {
                        return Some(true);
                    }
                    negated = true;
                }
            }
        }
        let around = [&self.any_courtesy, &self.any_yes, &self.no];
        let whole: String = clauses.iter().flat_map(|c| &c.words).map(String::as_str).collect();
        let broken = clauses.iter().map(|c| c.words.len()).sum::<usize>() <= 4 && self.is_stop_word(&whole);
        let first_clause = clauses.first().is_some_and(|c| !c.question && all_of([c], &self.stop_alone, &around));
        if broken || first_clause || all_of(clauses, &self.stop_alone, &around) {
            return Some(true);
        }
        negated.then_some(false)
    }

    /// A refusal, or unclear where one and a yes contradict each other.
    fn refusal(&self, clauses: &[Clause]) -> Option<Intent> {
        if self.says(clauses, &self.no) {
            return Some(Intent::Refuse);
        }
        let is_no = |c: &Clause| all_of([c], &self.no, &[&self.any_courtesy]) || (!c.question && self.is_negated_yes(&c.words));
        let at = clauses.iter().position(|c| !all_of([c], &self.any_courtesy, &[])).filter(|&i| is_no(&clauses[i]))?;
        let yes_after = clauses[at + 1..].iter().any(|c| all_of([c], &self.any_yes, &[&self.any_courtesy, &self.no]));
        Some(if yes_after { Intent::Unclear } else { Intent::Refuse })
    }

    /// A phrase of several words anywhere, but not in a question and not negated.
    fn says(&self, clauses: &[Clause], phrases: &Phrases) -> bool {
        clauses
            .iter()
            .filter(|c| !c.question)
            .any(|c| (0..c.words.len()).any(|at| phrases.at(&c.words, at).any(|len| len > 1) && !self.negated(&c.words, at)))
    }

    /// Whether the phrase at `at` follows a negation, with nothing but `between` words in the middle.
    fn negated(&self, words: &[String], at: usize) -> bool {
        let before = &words[..at];
        let start = before.iter().rposition(|w| !self.between.has(std::slice::from_ref(w)));
        start.is_some_and(|i| self.negations.has(&before[i..=i]))
    }

    fn is_negated_yes(&self, words: &[String]) -> bool {
        let start = words.iter().position(|w| !self.any_courtesy.has(std::slice::from_ref(w)));
        let Some(i) = start.filter(|&i| self.negations.has(&words[i..=i])) else { return false };
        let rest: Vec<String> =
            words[i + 1..].iter().skip_while(|w| self.between.has(std::slice::from_ref(*w))).cloned().collect();
        all_of([&Clause { words: rest, question: false }], &self.any_yes, &[&self.any_courtesy])
    }

    /// A stop word, allowing for doubled or swapped neighbours, figures for letters, and in long words one wrong letter.
    fn is_stop_word(&self, word: &str) -> bool {
        let trimmed = word.trim_end_matches(|c: char| c.is_ascii_digit());
        let spelled: String = word.chars().map(letter_for_digit).collect();
        [word, trimmed, &spelled].into_iter().any(|w| {
            let w: Vec<char> = w.chars().collect();
            !w.is_empty() && self.stop_words.iter().any(|known| is_typo(&w, known))
        })
    }

    /// "S.T.O.P" and "n o": single letters in a row become the stop or no they spell. Never a yes.
    fn join_spelled_out(&self, clauses: &mut Vec<Clause>) {
        let letters: String =
            clauses.iter().flat_map(|c| &c.words).filter(|w| w.chars().count() == 1).map(String::as_str).collect();
        let all_single = clauses.iter().flat_map(|c| &c.words).all(|w| w.chars().count() == 1);
        let one = [letters.clone()];
        if all_single && letters.chars().count() > 1 && (self.no.has(&one) || self.stop_alone.has(&one)) {
            *clauses = vec![Clause { words: one.to_vec(), question: false }];
        } else if self.stop_words.iter().any(|w| letters.contains(&w.iter().collect::<String>())) || self.is_stop_word(&letters) {
            clauses.push(Clause { words: vec!["stop".to_owned()], question: false });
        }
    }

    /// Takes "bus stop" and the like out, so that only another word of the text counts.
    fn mask_misleading(&self, clauses: &mut [Clause]) {
        for words in clauses.iter_mut().map(|c| &mut c.words) {
            let mut at = 0;
            while at < words.len() {
                let hit = self.misleading.at(words, at).next();
                if let Some(len) = hit {
                    words[at..at + len].fill("_".to_owned());
                }
                at += hit.unwrap_or(1);
            }
        }
    }
}

fn language(locale: &str) -> String {
    locale.split(['-', '_']).next().unwrap_or_default().to_lowercase()
}

/// Whether the clauses can be laid out without remainder in phrases of `wanted` and `around`, at least one of `wanted`.
fn all_of<'a>(clauses: impl IntoIterator<Item = &'a Clause>, wanted: &Phrases, around: &[&Phrases]) -> bool {
    let mut found = false;
    for Clause { words, .. } in clauses {
        // For every position: reachable at all, and reachable by way of a wanted phrase.
        let mut reach = vec![(false, false); words.len() + 1];
        reach[0] = (true, false);
        for at in 0..words.len() {
            let (here, with) = reach[at];
            if here {
                wanted.at(words, at).for_each(|len| reach[at + len] = (true, true));
                for len in around.iter().flat_map(|p| p.at(words, at)) {
                    reach[at + len] = (true, reach[at + len].1 || with);
                }
            }
        }
        let (whole, with) = reach[words.len()];
        if !whole {
            return false;
        }
        found |= with;
    }
    found
}

/// Words between two marks of punctuation, normalised.
#[derive(Debug, Clone, Default)]
struct Clause {
    words: Vec<String>,
    question: bool,
}

/// A text in normal form.
#[derive(Debug, Default)]
struct Reading {
    clauses: Vec<Clause>,
    /// Nothing that makes a yes doubtful: no question, look-alike letter, odd sign, unfriendly emoji, and not cut.
    plain: bool,
}

impl Reading {
    fn of(text: &str) -> Reading {
        let cut = text.char_indices().nth(MAX_CHARS).map(|(at, _)| at);
        let mut text = text[..cut.unwrap_or(text.len())].replace('\u{b4}', "'").nfkc().collect::<String>();
        for emoticon in EMOTICONS {
            text = text.replace(emoticon, " 🙂 ");
        }
        let folded: Vec<char> = text.chars().flat_map(char::to_lowercase).nfd().filter(|c| !is_invisible(*c)).collect();
        let mut reading = Reading { plain: cut.is_none(), ..Reading::default() };
        let mut clause = Clause::default();
        let mut word = String::new();
        for (i, &c) in folded.iter().enumerate() {
            let next: String = folded[i + 1..].iter().take(3).take_while(|c| c.is_alphabetic()).collect();
            match c {
                // An overlay strikes the letter through; every other mark is an accent.
                '\u{300}'..='\u{36f}' => reading.plain &= !('\u{334}'..='\u{338}').contains(&c),
                'ß' => word.push_str("ss"),
                'ł' => word.push('l'),
                'ø' => word.push('o'),
                'œ' => word.push_str("oe"),
                'æ' => word.push_str("ae"),
                _ if c.is_alphanumeric() || (c == '$' && !next.is_empty()) => {
                    let plain = look_alike(c);
                    reading.plain &= plain == c;
                    word.push(plain);
                }
                // "don't" is one word, "l'elenco" two.
                '\'' | '’' | '‘' | 'ʼ' | '`' if ["t", "s", "m", "d", "ll", "re", "ve"].contains(&next.as_str()) => {}
                _ => {
                    if !word.is_empty() {
                        clause.words.push(std::mem::take(&mut word));
                    }
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
        if !word.is_empty() {
            clause.words.push(word);
        }
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

/// Characters that show nothing: controls, joiners, direction marks, variation selectors, skin tones.
fn is_invisible(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}')
}

/// The Latin letter that a lower-case Cyrillic, Greek or small-capital letter passes for.
fn look_alike(c: char) -> char {
    const PAIRS: &str = "аaвbсcеeнhіiїiјjкkмmоoрpԛqѕsтtуyхxԝwѵvαaβbεeηnιiκkμmνnοoρpσsςsτtυyχxζz\
                         ᴀaʙbᴄcᴅdᴇeɪiɴnᴏoᴘpʀrꜱsᴛtᴜuıi$s";
    let mut pairs = PAIRS.chars();
    while let (Some(from), Some(to)) = (pairs.next(), pairs.next()) {
        if from == c {
            return to;
        }
    }
    c
}

fn letter_for_digit(c: char) -> char {
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
fn is_typo(word: &[char], known: &[char]) -> bool {
    let squeeze = |letters: &[char]| {
        let mut letters = letters.to_vec();
        letters.dedup();
        letters
    };
    let head = word.iter().zip(known).take_while(|(a, b)| a == b).count();
    let tail = word[head..].iter().rev().zip(known[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    match (&word[head..word.len() - tail], &known[head..known.len() - tail]) {
        ([a, b], [c, d]) if a == d && b == c => true,
        (w, k) if known.len() >= 8 && w.len() <= 1 && k.len() <= 1 => true,
        _ => squeeze(word) == squeeze(known),
    }
}
