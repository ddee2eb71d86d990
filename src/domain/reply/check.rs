//! Whether phrase sets agree with themselves and one another: every phrase must be read as the list says in which it stands.

use super::{Classifier, Intent, PhraseSet, Rule, Why};

/// A phrase that is not read as its list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    /// The key, such as `stop_alone`.
    pub list: &'static str,
    pub phrase: String,
    pub read_as: Intent,
    pub why: Why,
}

impl Classifier {
    /// The phrases of `set` that a list, rule or negation of these sets overrules. In a sound configuration there is none: a yes
    /// that some set reads as a no would be a yes nobody gets, and a stop that is masked would be a stop nobody hears.
    pub fn misread(&self, set: &PhraseSet) -> Vec<Misread> {
        let lists: [(&'static str, &[String], Intent); 10] = [
            ("stop", &set.stop, Intent::Stop),
            ("stop_alone", &set.stop_alone, Intent::Stop),
            ("misleading", &set.misleading, Intent::Unclear),
            ("no", &set.no, Intent::Refuse),
            ("no_alone", &set.no_alone, Intent::Refuse),
            ("wrong_person", &set.wrong_person, Intent::WrongPerson),
            ("help", &set.help, Intent::Help),
            ("yes", &set.yes, Intent::OptIn),
            ("courtesy", &set.courtesy, Intent::Unclear),
            ("doubtful", &set.doubtful, Intent::Unclear),
        ];
        let mut found = Vec::new();
        for (list, phrases, meant) in lists {
            for phrase in phrases {
                let (read_as, why) = self.explain(&set.locale, phrase);
                if read_as != meant {
                    found.push(Misread { list, phrase: phrase.clone(), read_as, why });
                }
            }
        }
        found
    }
}

impl Rule {
    /// Why it would fit too much: a rule needs a word in every list, and a stem of at least three letters before `*`.
    pub fn too_broad(&self) -> Option<String> {
        if self.words.iter().any(Vec::is_empty) || self.words.is_empty() {
            return Some("a list of its words is empty".into());
        }
        let short = |word: &&String| word.strip_suffix('*').is_some_and(|stem| stem.chars().count() < 3);
        self.words.iter().flatten().find(short).map(|word| format!("`{word}` stands for too many words"))
    }
}
