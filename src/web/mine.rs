//! What the page of one's own data says, one file a language in `templates/pages/mydata`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::lang::Lang;
use crate::config::Retention;
use crate::domain::channel::Purpose;
use crate::domain::{eligibility, span, suppression};

const FILES: [&str; 6] = [
    include_str!("../../templates/pages/mydata/it.toml"),
    include_str!("../../templates/pages/mydata/pl.toml"),
    include_str!("../../templates/pages/mydata/en.toml"),
    include_str!("../../templates/pages/mydata/de.toml"),
    include_str!("../../templates/pages/mydata/fr.toml"),
    include_str!("../../templates/pages/mydata/es.toml"),
];

/// Words by the code they stand for.
pub type Words = BTreeMap<String, String>;

macro_rules! mine {
    ($($key:ident)*; $($words:ident)*) => {
        /// One language's file: a key that is missing there, or that no page has, does not read.
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Mine { $(pub $key: String,)* $(pub $words: Words,)* }
        #[cfg(test)]
        const KEYS: &[&str] = &[$(stringify!($key),)* $(stringify!($words),)*];
    };
}

mine! {
    link title intro send closed open_for clock about number since country language zone kind last_action times sources imported moved basis
    registers listed consents no_consents history sent sent_how received entered nothing former decisions decisions_how facts facts_right facts_asked
    facts_never facts_noted requests due done recipients
    recipients_how passed keeps noes no_said no_lifted no_of_another left_out links kept
    kept_consent kept_silent kept_replies kept_proof take json csv erase_title erase_text erase_sure erase_button erased_title erased_text
    restrict_title restrict_text restrict_button lift_text lift_button object_title object_text object_button objected change_text;
    kinds bases boxes states entries messages outcomes rights reasons
}

impl Lang {
    pub fn mine(self) -> &'static Mine {
        static TEXTS: LazyLock<[Mine; 6]> =
            LazyLock::new(|| FILES.map(|text| toml::from_str(text).expect("the tests have read it")));
        let at = Lang::ALL.iter().position(|l| *l == self).unwrap_or_default();
        &TEXTS[at]
    }
}

impl Mine {
    /// Why nobody writes to them, by the code of a no.
    pub fn no<'a>(&'a self, code: &'a str) -> &'a str {
        match suppression::Reason::parse(code) {
            Some(no) => word(&self.reasons, eligibility::Reason::of(no).code()),
            None => word(&self.entries, code),
        }
    }

    /// That a register lists the number.
    pub fn listed(&self, register: &str, since: &str) -> String {
        self.listed.replace("{register}", register).replace("{date}", since)
    }

    /// What somebody does with the data of theirs that they have.
    pub fn recipient(&self, what: &str, who: &str) -> String {
        let text = if what == "passed" { &self.passed } else { &self.keeps };
        text.replace("{who}", who)
    }
}

impl Lang {
    /// How long what is kept: what it is, the time in the words of the codes beside it, and the sentence.
    pub fn kept(self, keep: &Retention) -> [(&'static str, String, String); 4] {
        let m = self.mine();
        let (marketing, profiling) = (keep.marketing_months(), keep.months(Purpose::Profiling));
        let consent = m.kept_consent.replace("{consent_months}", &marketing.to_string());
        let consent = consent.replace("{profiling_months}", &profiling.to_string());
        let days = |what: &'static str, text: &str, days: i64| {
            let [figures, said] = ["en", self.code()].map(|language| span::words(language, days).unwrap_or_default());
            (what, figures, text.replace("{time}", &said))
        };
        [
            ("consent", format!("{marketing} months; profiling {profiling} months"), consent),
            days("silent", &m.kept_silent, keep.silent_days),
            days("replies", &m.kept_replies, keep.replies_days),
            days("proof", &m.kept_proof, keep.proof_days),
        ]
    }
}

/// The word for a code; the code itself where an earlier version stored one that has none.
pub fn word<'a>(words: &'a Words, code: &'a str) -> &'a str {
    words.get(code).map_or(code, String::as_str)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every text, with its key.
    fn flat(text: &str) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        for (key, value) in text.parse::<toml::Table>().unwrap() {
            match value {
                toml::Value::Table(words) => {
                    out.extend(
                        words.into_iter().map(|(code, value)| (format!("{key}.{code}"), value.as_str().unwrap().to_owned())),
                    );
                }
                value => drop(out.insert(key, value.as_str().unwrap().to_owned())),
            }
        }
        out
    }

    fn placeholders(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
    }

    #[test]
    fn every_language_says_everything_with_the_same_placeholders() {
        let italian = flat(FILES[0]);
        for (lang, text) in Lang::ALL.into_iter().zip(FILES) {
            let code = lang.code();
            if let Err(error) = toml::from_str::<Mine>(text) {
                panic!("{code}.toml: {error}");
            }
            let own = flat(text);
            assert!(own.keys().eq(italian.keys()), "{code}.toml: other keys than it.toml");
            for (key, value) in own {
                assert!(!value.trim().is_empty(), "{code}.toml: {key} is empty");
                assert_eq!(placeholders(&value), placeholders(&italian[&key]), "{code}.toml: {key}");
                let same = ["kinds.customer"].contains(&key.as_str());
                assert!(code == "it" || same || value != italian[&key], "{code}.toml: {key} is still Italian");
            }
        }
    }

    #[test]
    fn every_rule_entry_and_message_has_its_words() {
        let mine = Lang::EN.mine();
        let codes = |words: &Words| words.keys().cloned().collect::<BTreeSet<_>>();
        let reasons = eligibility::Reason::ALL.map(|r| r.code().to_owned()).into_iter().chain(["ELIGIBLE".into()]);
        assert_eq!(codes(&mine.reasons), reasons.collect());
        let entries = crate::domain::ledger::Entry::ALL.map(|e| e.code().to_owned());
        assert_eq!(codes(&mine.entries), entries.into_iter().chain(["number_changed".into()]).collect());
        let kinds = ["ask", "reminder", "confirm", "code", "ack", "help", "test"];
        assert_eq!(codes(&mine.messages), kinds.map(str::to_owned).into());
        let bases = crate::domain::contact::AskBasis::ALL.map(|b| b.code().to_owned());
        assert_eq!(codes(&mine.bases), bases.into());
        assert_eq!(codes(&mine.boxes), ["unticked", "pre_ticked", "bundled"].map(str::to_owned).into());
    }

    #[test]
    fn every_text_is_shown_by_the_page() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let read = |at: &str| std::fs::read_to_string(folder.join(at)).unwrap();
        let mut pages = read("src/web/mydata.rs")
            + &read("src/web/mytable.rs")
            + read("src/web/mine.rs").split("#[cfg(test)]\nmod").next().unwrap();
        for page in ["mydata", "preferences", "erased"] {
            pages += &read(&format!("templates/pages/{page}.html"));
        }
        let shown = |key: &str| {
            let call = |begins: &str| {
                let call = format!("{begins}{key}");
                pages.split(&call).skip(1).any(|rest| !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric()))
            };
            call("m.") || call("mine().") || call("self.")
        };
        let unused: Vec<_> = KEYS.iter().filter(|key| !shown(key)).collect();
        assert!(unused.is_empty(), "no page shows {unused:?}");
    }
}
