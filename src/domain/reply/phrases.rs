//! The words replies are recognised by: phrase sets as a file gives them, phrases and rules as the classifier looks them up.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use super::text::{Clause, Reading};

/// Words that may stand between two that a rule names.
const GAP: usize = 5;

/// The words of one language. Case, accents and punctuation do not matter. Everywhere but in `stop` a single word must
/// stand alone, while several words together count anywhere in a sentence (`yes` and `help`: only as the whole message).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhraseSet {
    /// The file's name, for reasons shown to people; the file does not say it itself.
    #[serde(skip)]
    pub file: String,
    /// Language, such as `it`; two sets of one language add up.
    pub locale: String,
    /// Stop, also in the middle of a sentence and with small typos.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Stop only as the whole message, first or last clause: words that are common in some language.
    #[serde(default)]
    pub stop_alone: Vec<String>,
    /// Phrases that contain one of these words and mean something else ("bus stop", "not sure").
    #[serde(default)]
    pub misleading: Vec<String>,
    #[serde(default)]
    pub no: Vec<String>,
    /// A no only as the whole message or first clause: several words that mean less in a longer sentence ("no way").
    #[serde(default)]
    pub no_alone: Vec<String>,
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
    /// Unclear as the whole answer to an ask in this language, though another language reads a no (Polish "no" is a "yeah").
    #[serde(default)]
    pub doubtful: Vec<String>,
    #[serde(default)]
    pub rule: Vec<Rule>,
}

impl PhraseSet {
    /// The set's language: that of `it-CH` is `it`.
    pub fn language(&self) -> String {
        super::language(&self.locale)
    }

    fn origin(&self, list: &'static str, phrase: &str) -> Arc<Origin> {
        Arc::new(Origin { language: self.language(), file: self.file.clone(), list, phrase: phrase.to_owned() })
    }
}

/// A meaning in free wording: one word of every list of `words` in one clause, near one another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it stands for, in plain words: shown where an operator asks why.
    pub says: String,
    pub means: Meaning,
    /// `scriv*` stands for every word that begins so. A negation before the word of the first list makes the message unclear.
    pub words: Vec<Vec<String>>,
    /// The lists may be met in any order; otherwise in the order given.
    #[serde(default)]
    pub any_order: bool,
    /// The rule does not hold where one of these is in the clause.
    #[serde(default)]
    pub unless: Vec<String>,
}

/// What a rule can mean: free wording is never a yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    Stop,
    No,
    WrongPerson,
}

/// Where a phrase or rule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The language of the set.
    pub language: String,
    pub file: String,
    /// The key, such as `stop_alone`; `rule` for a rule.
    pub list: &'static str,
    /// The phrase as the file writes it, or what the rule says. Never the person's own words.
    pub phrase: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" ({} in {})", self.phrase, self.list, self.file)
    }
}

/// Phrases as sequences of normalised words.
#[derive(Debug, Clone, Default)]
pub(super) struct Phrases {
    /// By their first word, longest first.
    known: HashMap<String, Vec<Phrase>>,
}

#[derive(Debug, Clone)]
struct Phrase {
    words: Vec<String>,
    /// One a language.
    origins: Vec<Arc<Origin>>,
}

impl Phrases {
    pub fn extend(&mut self, set: &PhraseSet, list: &'static str, phrases: &[String]) {
        for phrase in phrases {
            let words = words_of(phrase);
            let Some(first) = words.first() else { continue };
            let origin = set.origin(list, phrase);
            let alike = self.known.entry(first.clone()).or_default();
            match alike.iter_mut().find(|known| known.words == words) {
                Some(known) => known.origins.push(origin),
                None => {
                    let at = alike.partition_point(|known| known.words.len() > words.len());
                    alike.insert(at, Phrase { words, origins: vec![origin] });
                }
            }
        }
    }

    fn find(&self, words: &[String]) -> Option<&Phrase> {
        self.known.get(words.first()?)?.iter().find(|known| known.words == words)
    }

    pub fn get(&self, words: &[String]) -> Option<&Arc<Origin>> {
        self.find(words)?.origins.first()
    }

    /// The same phrase in the set of `language`, where that has it too.
    pub fn twin(&self, origin: &Origin, language: &str) -> Option<&Arc<Origin>> {
        self.find(&words_of(&origin.phrase))?.origins.iter().find(|twin| twin.language == language)
    }

    pub fn has(&self, words: &[String]) -> bool {
        self.find(words).is_some()
    }

    /// The phrases that begin at `at` with their lengths, longest first.
    pub fn at<'a>(&'a self, words: &[String], at: usize) -> impl Iterator<Item = (usize, &'a Arc<Origin>)> {
        let known = self.known.get(&words[at]).into_iter().flatten();
        known.filter(move |p| words[at..].starts_with(&p.words)).map(|p| (p.words.len(), &p.origins[0]))
    }

    /// Its phrases of one word.
    pub fn single_words(&self) -> impl Iterator<Item = (&String, &Arc<Origin>)> {
        self.known.values().flatten().filter_map(|p| if let [word] = &p.words[..] { Some((word, &p.origins[0])) } else { None })
    }
}

fn words_of(phrase: &str) -> Vec<String> {
    Reading::of(phrase).clauses.into_iter().flat_map(|c| c.words).collect()
}

/// Lays the clauses out without remainder in phrases of `wanted` and `around`, at least one of `wanted`: answers the first.
pub(super) fn all_of<'a, 'p>(
    clauses: impl IntoIterator<Item = &'a Clause>,
    wanted: &'p Phrases,
    around: &[&Phrases],
) -> Option<&'p Arc<Origin>> {
    let mut found = None;
    for Clause { words, .. } in clauses {
        // For every position: reachable at all, and by way of which wanted phrase.
        let mut reach: Vec<Option<Option<&Arc<Origin>>>> = vec![None; words.len() + 1];
        reach[0] = Some(None);
        for at in 0..words.len() {
            let Some(with) = reach[at] else { continue };
            let hits = wanted.at(words, at).map(|(len, hit)| (len, Some(hit)));
            let others = around.iter().flat_map(|p| p.at(words, at)).map(|(len, _)| (len, None));
            for (len, hit) in hits.chain(others) {
                reach[at + len] = Some(reach[at + len].flatten().or(with).or(hit));
            }
        }
        found = found.or(reach[words.len()]?);
    }
    found
}

/// A rule that fits a clause.
pub(super) struct Fit<'a> {
    pub means: Meaning,
    pub at: usize,
    pub origin: &'a Arc<Origin>,
}

/// Rules by the words they name, so that a message is looked at once for all of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    rules: Vec<Known>,
    /// Rule and list, by whole word and by beginning. The list after a rule's last is its `unless`.
    whole: HashMap<String, Vec<(usize, usize)>>,
    stems: HashMap<String, Vec<(usize, usize)>>,
    longest_stem: usize,
}

#[derive(Debug, Clone)]
struct Known {
    means: Meaning,
    lists: usize,
    any_order: bool,
    /// It names a negation itself, so that another before it turns nothing round ("je *ne* veux pas …").
    negates: bool,
    origin: Arc<Origin>,
}

impl Rules {
    pub fn extend(&mut self, set: &PhraseSet, negations: &Phrases) {
        for rule in &set.rule {
            let number = self.rules.len();
            let origin = set.origin("rule", &rule.says);
            let negates = rule.words.iter().flatten().any(|word| negations.has(&words_of(word)));
            self.rules.push(Known { means: rule.means, lists: rule.words.len(), any_order: rule.any_order, negates, origin });
            for (list, words) in rule.words.iter().chain([&rule.unless]).enumerate() {
                for word in words {
                    let map = if word.ends_with('*') { &mut self.stems } else { &mut self.whole };
                    for normal in words_of(word) {
                        if word.ends_with('*') {
                            self.longest_stem = self.longest_stem.max(normal.len());
                        }
                        map.entry(normal).or_default().push((number, list));
                    }
                }
            }
        }
    }

    /// Every rule that fits the clause, and where the word stands that a negation could turn round.
    pub fn fitting(&self, words: &[String]) -> Vec<Fit<'_>> {
        let mut places: BTreeMap<usize, Vec<Vec<usize>>> = BTreeMap::new();
        for (at, word) in words.iter().enumerate() {
            let stems = (1..=word.len().min(self.longest_stem)).filter_map(|len| self.stems.get(word.get(..len)?));
            for &(rule, list) in self.whole.get(word).into_iter().chain(stems).flatten() {
                let lists = places.entry(rule).or_insert_with(|| vec![Vec::new(); self.rules[rule].lists + 1]);
                if lists[list].last() != Some(&at) {
                    lists[list].push(at);
                }
            }
        }
        let mut found = Vec::new();
        for (number, places) in places {
            let rule = &self.rules[number];
            let (lists, unless) = places.split_at(rule.lists);
            let Some((first, rest)) = lists.split_first().filter(|_| unless[0].is_empty()) else { continue };
            let fits = |at: &&usize| if rule.any_order { are_near(**at, rest) } else { follow(**at, rest) };
            let fit = |&at| Fit { means: rule.means, at: if rule.negates { 0 } else { at }, origin: &rule.origin };
            found.extend(first.iter().filter(fits).map(fit));
        }
        found
    }
}

fn follow(at: usize, rest: &[Vec<usize>]) -> bool {
    let Some((next, rest)) = rest.split_first() else { return true };
    let after = &next[next.partition_point(|p| *p <= at)..];
    after.iter().take_while(|p| **p <= at + GAP + 1).any(|&p| follow(p, rest))
}

fn are_near(at: usize, rest: &[Vec<usize>]) -> bool {
    rest.iter().all(|places| places.iter().any(|p| *p != at && p.abs_diff(at) <= GAP + 1))
}
