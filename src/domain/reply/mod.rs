//! What a person meant by an inbound message: text in, [`Intent`] and [`Why`] out. Pure; the words are data
//! (`config/replies/*.toml`). A STOP beats everything, and a yes counts only when nothing but the yes, courtesy and friendly
//! emoji is there.

mod check;
mod phrases;
mod text;
mod why;

use std::collections::HashMap;
use std::sync::Arc;

pub use check::Misread;
use phrases::{Fit, Phrases, Rules, all_of};
pub use phrases::{Meaning, Origin, PhraseSet, Rule};
use text::{Clause, Reading, is_typo, letter_for_digit};
pub use why::Why;

/// Characters of a message that are read; a longer one is cut here and can then never be a yes.
pub const MAX_CHARS: usize = 1_600;

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

    /// The coarse code of what is stored, which in rows of earlier versions is that already.
    pub fn coarse(stored: &str) -> &str {
        match Intent::parse(stored) {
            Some(intent) => intent.code(),
            None => stored,
        }
    }

    pub fn parse(key: &str) -> Option<Intent> {
        Intent::ALL.into_iter().find(|i| i.key() == key)
    }
}

/// Reads replies by the phrase sets it was made from.
#[derive(Debug, Clone, Default)]
pub struct Classifier {
    stop: Phrases,
    /// The single words of `stop` that are long enough to be recognised with a typo, in the order of the alphabet.
    stop_words: Vec<(Vec<char>, Arc<Origin>)>,
    /// Which of them have the letter in first or second place: a slip leaves one of the two there.
    stop_heads: HashMap<char, Vec<usize>>,
    stop_alone: Phrases,
    misleading: Phrases,
    no: Phrases,
    /// `no` and `no_alone`.
    whole_no: Phrases,
    wrong_person: Phrases,
    help: Phrases,
    rules: Rules,
    negations: Phrases,
    between: Phrases,
    any_yes: Phrases,
    any_courtesy: Phrases,
    languages: HashMap<String, Language>,
}

/// The only lists for which the language asked in matters.
#[derive(Debug, Clone, Default)]
struct Language {
    yes: Phrases,
    courtesy: Phrases,
    doubtful: Phrases,
}

impl Classifier {
    pub fn new(sets: Vec<PhraseSet>) -> Classifier {
        let mut all = Classifier::default();
        for set in &sets {
            all.negations.extend(set, "negations", &set.negations);
        }
        for set in &sets {
            all.stop.extend(set, "stop", &set.stop);
            all.stop_alone.extend(set, "stop_alone", &set.stop_alone);
            all.misleading.extend(set, "misleading", &set.misleading);
            all.no.extend(set, "no", &set.no);
            all.whole_no.extend(set, "no", &set.no);
            all.whole_no.extend(set, "no_alone", &set.no_alone);
            all.wrong_person.extend(set, "wrong_person", &set.wrong_person);
            all.help.extend(set, "help", &set.help);
            all.between.extend(set, "between", &set.between);
            all.any_yes.extend(set, "yes", &set.yes);
            all.any_courtesy.extend(set, "courtesy", &set.courtesy);
            all.rules.extend(set, &all.negations);
            let language = all.languages.entry(set.language()).or_default();
            language.yes.extend(set, "yes", &set.yes);
            language.courtesy.extend(set, "courtesy", &set.courtesy);
            language.doubtful.extend(set, "doubtful", &set.doubtful);
        }
        let words = all.stop.single_words().map(|(word, origin)| (word.chars().collect(), Arc::clone(origin)));
        all.stop_words = words.filter(|(w, _): &(Vec<char>, _)| w.len() >= 4).collect();
        // The phrases come out of a hash map: the reason given must not depend on its order.
        all.stop_words.sort_by(|a, b| a.0.cmp(&b.0));
        for (nth, (word, _)) in all.stop_words.iter().enumerate() {
            for letter in &word[..2] {
                all.stop_heads.entry(*letter).or_default().push(nth);
            }
        }
        all
    }

    /// What `text` means as an answer to an ask in `locale` (`it`, `it-IT`). Stops, refusals and wrong persons count in every
    /// language, a yes only in the one asked in; an unknown locale has no yes.
    pub fn classify(&self, locale: &str, text: &str) -> Intent {
        self.explain(locale, text).0
    }

    /// As [`Classifier::classify`], with the phrase or rule that decided. The reason never quotes the text itself.
    pub fn explain(&self, locale: &str, text: &str) -> (Intent, Why) {
        let (intent, mut why) = self.read(locale, text);
        // "Stop" stands in every set: the one of the language asked in is named.
        if let Some(origin) = why.origin_mut().filter(|origin| origin.language != language(locale))
            && let Some(twin) = self.list(origin.list).and_then(|list| list.twin(origin, &language(locale)))
        {
            *origin = Arc::clone(twin);
        }
        (intent, why)
    }

    fn list(&self, key: &str) -> Option<&Phrases> {
        match key {
            "stop" => Some(&self.stop),
            "stop_alone" => Some(&self.stop_alone),
            "no" | "no_alone" => Some(&self.whole_no),
            "wrong_person" => Some(&self.wrong_person),
            "help" => Some(&self.help),
            "yes" => Some(&self.any_yes),
            _ => None,
        }
    }

    fn read(&self, locale: &str, text: &str) -> (Intent, Why) {
        let mut reading = Reading::of(text);
        self.join_spelled_out(&mut reading.clauses);
        let as_written: Vec<Clause> = reading.clauses.clone();
        self.mask_misleading(&mut reading.clauses);
        let language = self.languages.get(&language(locale));
        let fits: Vec<Vec<Fit<'_>>> = reading.clauses.iter().map(|c| self.rules.fitting(&c.words)).collect();

        if let Some(stop) = self.stop(&reading.clauses, &fits) {
            return stop;
        }
        let wrong_person = self.says(&reading.clauses, &fits, &self.wrong_person, Meaning::WrongPerson).or_else(|| {
            let whole = || all_of(&reading.clauses, &self.wrong_person, &[&self.any_courtesy, &self.whole_no]);
            reading.plain.then(whole).flatten()
        });
        if let Some(origin) = wrong_person {
            return (Intent::WrongPerson, Why::Says(Arc::clone(origin)));
        }
        // Courtesy of another language leaves no doubt in which the word is meant ("no grazie", read in Polish).
        if let Some(origin) = language.and_then(|l| all_of(&as_written, &l.doubtful, &[&l.courtesy, &l.yes])) {
            return (Intent::Unclear, Why::Doubtful(Arc::clone(origin)));
        }
        if let Some(refusal) = self.refusal(&reading.clauses, &fits) {
            return refusal;
        }
        if let Some(origin) = all_of(&as_written, &self.help, &[&self.any_courtesy]) {
            return (Intent::Help, Why::Says(Arc::clone(origin)));
        }
        let Some(language) = language else { return (Intent::Unclear, Why::Unknown) };
        match all_of(&as_written, &language.yes, &[&language.courtesy]) {
            Some(origin) if reading.plain && !self.has_a_negative_word(&as_written) => {
                (Intent::OptIn, Why::Says(Arc::clone(origin)))
            }
            _ => {
                (Intent::Unclear, mentioned(&as_written, &language.yes).map_or(Why::Unknown, |o| Why::NotOnlyYes(Arc::clone(o))))
            }
        }
    }

    /// A stop, or unclear where the only stop is negated.
    fn stop(&self, clauses: &[Clause], fits: &[Vec<Fit<'_>>]) -> Option<(Intent, Why)> {
        let mut negated = None;
        for (words, fits) in clauses.iter().map(|c| &c.words).zip(fits) {
            let phrases =
                (0..words.len()).flat_map(|at| self.stop.at(words, at).map(move |(_, o)| (at, Why::Says(Arc::clone(o)))));
            let slips = (0..words.len()).filter_map(|at| Some((at, Why::Almost(Arc::clone(self.stop_word(&words[at])?)))));
            let rules = fits.iter().filter(|fit| fit.means == Meaning::Stop);
            for (at, why) in phrases.chain(slips).chain(rules.map(|fit| (fit.at, Why::Says(Arc::clone(fit.origin))))) {
                if !self.negated(words, at) {
                    return Some((Intent::Stop, why));
                }
                negated = negated.or(why.origin().cloned());
            }
        }
        let around = [&self.any_courtesy, &self.any_yes, &self.whole_no];
        let ends = [clauses.first(), clauses.last()].into_iter().flatten().filter(|c| !c.question);
        let end = ends.filter_map(|c| all_of([c], &self.stop_alone, &around)).next();
        if let Some(origin) = end.or_else(|| all_of(clauses, &self.stop_alone, &around)) {
            return Some((Intent::Stop, Why::Says(Arc::clone(origin))));
        }
        let whole: String = clauses.iter().flat_map(|c| &c.words).map(String::as_str).collect();
        let short = clauses.iter().map(|c| c.words.len()).sum::<usize>() <= 4;
        if let Some(origin) = short.then(|| self.stop_word(&whole)).flatten() {
            return Some((Intent::Stop, Why::Almost(Arc::clone(origin))));
        }
        negated.map(|origin| (Intent::Unclear, Why::Negated(origin)))
    }

    /// A refusal, or unclear where one and a yes contradict each other.
    fn refusal(&self, clauses: &[Clause], fits: &[Vec<Fit<'_>>]) -> Option<(Intent, Why)> {
        if let Some(origin) = self.says(clauses, fits, &self.no, Meaning::No) {
            return Some((Intent::Refuse, Why::Says(Arc::clone(origin))));
        }
        let is_no = |c: &Clause| all_of([c], &self.whole_no, &[&self.any_courtesy]).map(|o| Why::Says(Arc::clone(o)));
        // "Thanks, but no": a phrase may run over a comma.
        let whole = Clause { words: clauses.iter().flat_map(|c| c.words.clone()).collect(), question: false };
        if let Some(why) = is_no(&whole) {
            return Some((Intent::Refuse, why));
        }
        let at = clauses.iter().position(|c| all_of([c], &self.any_courtesy, &[]).is_none())?;
        let why = is_no(&clauses[at]).or_else(|| self.denied_yes(&clauses[at]).map(|o| Why::Denied(Arc::clone(o))))?;
        // "No, I mean yes."
        let yes_after = clauses[at + 1..]
            .iter()
            .map(|c| &c.words)
            .filter(|words| words.len() <= 4)
            .find_map(|words| (0..words.len()).find_map(|from| self.any_yes.get(&words[from..])));
        Some(match yes_after {
            Some(yes) => (Intent::Unclear, Why::Contradicts(Arc::clone(yes))),
            None => (Intent::Refuse, why),
        })
    }

    /// A phrase of several words or a rule anywhere, but not in a question and not negated.
    fn says<'a>(
        &'a self,
        clauses: &[Clause],
        fits: &[Vec<Fit<'a>>],
        phrases: &'a Phrases,
        meaning: Meaning,
    ) -> Option<&'a Arc<Origin>> {
        clauses.iter().zip(fits).filter(|(c, _)| !c.question).find_map(|(Clause { words, .. }, fits)| {
            let phrase = |at| {
                let (_, long) = phrases.at(words, at).find(|(len, _)| *len > 1)?;
                (!self.negated(words, at)).then_some(long)
            };
            let rule = || {
                let holds = |fit: &&Fit<'a>| fit.means == meaning && !self.negated(words, fit.at);
                fits.iter().find(holds).map(|fit| fit.origin)
            };
            (0..words.len()).find_map(phrase).or_else(rule)
        })
    }

    /// Whether the phrase at `at` follows a negation, with nothing but `between` words in the middle.
    fn negated(&self, words: &[String], at: usize) -> bool {
        let before = &words[..at];
        let start = before.iter().rposition(|w| !self.between.has(std::slice::from_ref(w)));
        start.is_some_and(|i| self.negations.has(&before[i..=i]))
    }

    /// The yes that the clause consists of, behind a negation ("not ok").
    fn denied_yes(&self, clause: &Clause) -> Option<&Arc<Origin>> {
        let words = &clause.words;
        let i = words.iter().position(|w| !self.any_courtesy.has(std::slice::from_ref(w)))?;
        if clause.question || !self.negations.has(&words[i..=i]) {
            return None;
        }
        let rest = words[i + 1..].iter().skip_while(|w| self.between.has(std::slice::from_ref(*w)));
        all_of([&Clause { words: rest.cloned().collect(), question: false }], &self.any_yes, &[&self.any_courtesy])
    }

    /// Whether a word stands there that negates or refuses in any language: then a phrase under `yes` is none after all.
    fn has_a_negative_word(&self, clauses: &[Clause]) -> bool {
        let negative = |w: &String| [&self.negations, &self.no, &self.stop_alone].iter().any(|p| p.has(std::slice::from_ref(w)));
        clauses.iter().flat_map(|c| &c.words).any(negative)
    }

    /// The stop word meant, allowing for doubled or swapped neighbours, figures for letters, and in long words one wrong letter.
    fn stop_word(&self, word: &str) -> Option<&Arc<Origin>> {
        let trimmed = word.trim_end_matches(|c: char| c.is_ascii_digit());
        let spelled: String = word.chars().map(letter_for_digit).collect();
        let mut variants = [word, trimmed, &spelled].map(|w| w.chars().collect::<Vec<_>>()).to_vec();
        variants.dedup();
        let meant = |word: &Vec<char>| {
            let near = word.iter().take(2).filter_map(|letter| self.stop_heads.get(letter)).flatten().copied();
            let is_meant = |known: &[char]| word.len() + 1 >= known.len() && is_typo(word, known);
            near.filter(|&nth| is_meant(&self.stop_words[nth].0)).min()
        };
        variants.iter().filter_map(meant).min().map(|nth| &self.stop_words[nth].1)
    }

    /// "S.T.O.P" and "n o": single letters in a row become the stop or no they spell. Never a yes.
    fn join_spelled_out(&self, clauses: &mut Vec<Clause>) {
        let letters: String =
            clauses.iter().flat_map(|c| &c.words).filter(|w| w.chars().count() == 1).map(String::as_str).collect();
        if letters.chars().count() < 2 {
            return;
        }
        let all_single = clauses.iter().flat_map(|c| &c.words).all(|w| w.chars().count() == 1);
        let one = [letters.clone()];
        if all_single && (self.no.has(&one) || self.stop_alone.has(&one)) {
            *clauses = vec![Clause { words: one.to_vec(), question: false }];
        } else if self.stop_words.iter().any(|(w, _)| letters.contains(&w.iter().collect::<String>()))
            || self.stop_word(&letters).is_some()
        {
            clauses.push(Clause { words: vec!["stop".to_owned()], question: false });
        }
    }

    /// Takes "bus stop" and the like out, so that only another word of the text counts.
    fn mask_misleading(&self, clauses: &mut [Clause]) {
        for words in clauses.iter_mut().map(|c| &mut c.words) {
            let mut at = 0;
            while at < words.len() {
                let hit = self.misleading.at(words, at).next().map(|(len, _)| len);
                if let Some(len) = hit {
                    words[at..at + len].fill("_".to_owned());
                }
                at += hit.unwrap_or(1);
            }
        }
    }
}

/// A phrase that is there, whatever stands around it.
fn mentioned<'a>(clauses: &[Clause], phrases: &'a Phrases) -> Option<&'a Arc<Origin>> {
    clauses
        .iter()
        .map(|c| &c.words)
        .find_map(|words| (0..words.len()).find_map(|at| phrases.at(words, at).next().map(|(_, origin)| origin)))
}

fn language(locale: &str) -> String {
    locale.split(['-', '_']).next().unwrap_or_default().to_lowercase()
}
