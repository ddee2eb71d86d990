//! The languages of the people's pages. What a page says is data, one file a language in `templates/pages/texts`: a further
//! language is a further file and its line in [`Lang::ALL`]. The operator's pages speak English, like the command line.

use std::sync::LazyLock;

use chrono::NaiveDate;
use serde::Deserialize;

use crate::config::Form;
use crate::domain::channel::{Channel, Purpose};
use crate::domain::ledger::body_hash;
use crate::domain::times::{Day, Often, Part, Times};
use crate::engine::confirm::{Shown, Words};

/// The language of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lang(usize);

impl Lang {
    pub const EN: Lang = Lang(2);
    pub const ALL: [Lang; 6] = [Lang(0), Lang(1), Lang(2), Lang(3), Lang(4), Lang(5)];

    pub fn code(self) -> &'static str {
        FILES[self.0].0
    }

    pub fn parse(code: &str) -> Option<Lang> {
        Lang::ALL.into_iter().find(|l| l.code() == code)
    }

    /// The first of a browser's languages (`Accept-Language`) that a page is written in.
    pub fn accepted(header: &str) -> Option<Lang> {
        header.split(',').find_map(|l| Lang::parse(&l.trim().split(['-', ';']).next()?.to_ascii_lowercase()))
    }

    pub fn t(self) -> &'static Texts {
        static TEXTS: LazyLock<[Texts; 6]> =
            LazyLock::new(|| FILES.map(|(_, text)| toml::from_str(text).expect("the tests have read it")));
        &TEXTS[self.0]
    }

    /// The language of the page behind a link: the one that was chosen there, else that of the message.
    pub fn of_page(chosen: Option<Lang>, message: &str) -> Lang {
        chosen.or_else(|| Lang::parse(message)).unwrap_or(Lang::EN)
    }

    /// The preference page in this language, which offers each of these purposes by each of these channels.
    pub fn page(self, purposes: &[Purpose], channels: &[Channel]) -> Shown<'static> {
        let t = self.t();
        self.shown("page", [&t.title, &t.intro, &t.silence], purposes, channels)
    }

    /// A form's page in this language.
    pub fn form(self, form: &Form) -> Shown<'static> {
        let t = self.t();
        self.shown("form", [&t.join_title, &t.intro, &t.join_first], &form.purposes, &form.channels)
    }

    /// What a page says about the choice, for the proof (Art. 7(1) GDPR): what each box on it, the buttons and silence mean. `{brand}` stands
    /// as it does in the file, so that one hash is that of everybody to whom the same was offered.
    fn shown(self, name: &'static str, first: [&String; 3], purposes: &[Purpose], channels: &[Channel]) -> Shown<'static> {
        let t = self.t();
        let channels = channels.iter().map(|channel| self.channel(*channel)).collect::<Vec<_>>().join(", ");
        let boxes =
            purposes.iter().map(|p| format!("[ ] {} ({channels}){} {}", self.purpose(*p), t.colon, self.purpose_hint(*p)));
        let buttons = format!("[{}] [{}] {}", t.chosen, t.none, t.nothing_ticked);
        let lines = first.into_iter().cloned().chain(boxes).chain([buttons, t.notice_short.clone()]);
        let text = lines.collect::<Vec<_>>().join("\n");
        Shown { locale: self.code(), page: Some(Words { name, hash: body_hash(&text), text }) }
    }

    pub fn channel(self, channel: Channel) -> &'static str {
        match channel {
            Channel::Sms => "SMS",
            Channel::WhatsApp => "WhatsApp",
            Channel::Call => &self.t().call,
        }
    }

    pub fn purpose(self, purpose: Purpose) -> &'static str {
        match purpose {
            Purpose::ProductInfo => &self.t().product_info,
            Purpose::Promotions => &self.t().promotions,
            Purpose::Profiling => &self.t().profiling,
        }
    }

    pub fn purpose_hint(self, purpose: Purpose) -> &'static str {
        match purpose {
            Purpose::ProductInfo => &self.t().product_info_hint,
            Purpose::Promotions => &self.t().promotions_hint,
            Purpose::Profiling => &self.t().profiling_hint,
        }
    }

    pub fn part(self, part: Part) -> &'static str {
        match part {
            Part::Morning => &self.t().morning,
            Part::Afternoon => &self.t().afternoon,
            Part::Evening => &self.t().evening,
        }
    }

    pub fn day(self, day: Day) -> &'static str {
        match day {
            Day::Mo => &self.t().mo,
            Day::Tu => &self.t().tu,
            Day::We => &self.t().we,
            Day::Th => &self.t().th,
            Day::Fr => &self.t().fr,
            Day::Sa => &self.t().sa,
            Day::Su => &self.t().su,
        }
    }

    pub fn often(self, often: Often) -> &'static str {
        match often {
            Often::Week => &self.t().often_week,
            Often::Month => &self.t().often_month,
        }
    }

    /// What a person chose about when to be written to, in words; none where anything will do.
    pub fn times(self, times: &Times) -> Option<String> {
        let days = times.days.iter().map(|day| self.day(*day)).collect::<Vec<_>>().join(", ");
        let parts = times.parts.iter().map(|part| self.part(*part)).collect::<Vec<_>>().join(", ");
        let often = times.at_most.map(|often| self.often(often).to_owned()).unwrap_or_default();
        let said: Vec<String> = [days, parts, often].into_iter().filter(|words| !words.is_empty()).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// A day as the language writes it in figures.
    pub fn date(self, day: NaiveDate) -> String {
        let [y, m, d] = ["%Y", "%m", "%d"].map(|part| day.format(part).to_string());
        self.t().date.replace("{d}", &d).replace("{m}", &m).replace("{y}", &y)
    }

    /// A waiting time, rounded up so that whoever waits so long has waited enough. Units are abbreviated: no plural to inflect.
    pub fn duration(self, seconds: i64) -> String {
        let (n, unit) = match seconds {
            ..120 => (seconds.max(1), &self.t().seconds),
            120..7200 => ((seconds + 59) / 60, &self.t().minutes),
            _ => ((seconds + 3599) / 3600, &self.t().hours),
        };
        unit.replace("{n}", &n.to_string())
    }
}

const FILES: [(&str, &str); 6] = [
    ("it", include_str!("../../templates/pages/texts/it.toml")),
    ("pl", include_str!("../../templates/pages/texts/pl.toml")),
    ("en", include_str!("../../templates/pages/texts/en.toml")),
    ("de", include_str!("../../templates/pages/texts/de.toml")),
    ("fr", include_str!("../../templates/pages/texts/fr.toml")),
    ("es", include_str!("../../templates/pages/texts/es.toml")),
];

/// One language's file: a key that is missing there, or that no page has, does not read.
macro_rules! texts {
    ($($key:ident)*) => {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Texts { $(pub $key: String),* }
        #[cfg(test)]
        const KEYS: &[&str] = &[$(stringify!($key)),*];
    };
}

texts! {
    name yes_word colon languages title description your_number intro call product_info product_info_hint promotions
    promotions_hint profiling profiling_hint chosen none nothing_ticked unchosen outdated when when_hint
    parts morning afternoon evening days mo tu we th fr sa su often often_any often_week often_month any_time change
    wrong_number_title wrong_number_text wrong_number_button date answered taken_back ticked elsewhere silence lapsed restricted noted wrong_number number_changed blocked
    confirmed test
    refused stopped erased last_step
    pending_reply_before pending_reply_to pending_reply_message pending_cost pending_chosen pending_nothing_yet pending_code
    code_label code_button wrong_code tries_left code_dead code_expired code_not_sent code_window code_waits yes_waits code_none code_again code_again_in
    seconds minutes hours expired_title expired_text expired_allowed take_back expired_take_back expired_nothing unready_title unready_text new_link source
    notice_link version controller privacy_contact
    home unknown_title unknown_text gone_title gone_text too_many_title too_many_text stale_title stale_text bad_title bad_text bad_origin
    error_title error_text open_again stop_title stop_reply_before stop_reply_to stop_write stop_free new_link_title
    notice_title notice_short notice_elsewhere notice_rights_text
    join_title join_first join_declined join_number_title join_number_label join_number_hint join_number_button join_unfit
    join_code_hint join_wrong_code join_no_code_title join_no_code join_correct join_said_no join_again join_done join_done_title join_done_page join_declined_title
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn read(text: &str) -> toml::Table {
        text.parse().unwrap()
    }

    fn placeholders(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
    }

    #[test]
    fn every_language_says_everything_with_the_same_placeholders() {
        let italian = read(FILES[0].1);
        for (code, text) in FILES {
            if let Err(error) = toml::from_str::<Texts>(text) {
                panic!("{code}.toml: {error}");
            }
            for (key, value) in read(text) {
                let (value, italian) = (value.as_str().unwrap(), italian[&key].as_str().unwrap());
                assert!(!value.trim().is_empty(), "{code}.toml: {key} is empty");
                assert_eq!(placeholders(value), placeholders(italian), "{code}.toml: {key}");
                let same = ["name", "yes_word", "colon", "version", "call", "seconds", "minutes", "hours", "date"]
                    .contains(&key.as_str());
                assert!(code == "it" || same || value != italian, "{code}.toml: {key} is still Italian");
            }
        }
    }

    #[test]
    fn every_text_is_shown_by_some_page() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut pages = String::new();
        for at in ["src/web/lang.rs", "src/web/pages.rs", "src/web/people.rs", "src/web/join.rs"] {
            pages += std::fs::read_to_string(folder.join(at)).unwrap().split("#[cfg(test)]").next().unwrap();
        }
        for page in
            ["allowed", "answers", "base", "boxes", "code", "join", "layer", "mydata", "notice", "preferences", "state", "stop"]
        {
            pages += &std::fs::read_to_string(folder.join(format!("templates/pages/{page}.html"))).unwrap();
        }
        let shown =
            |call: String| pages.split(&call).skip(1).any(|rest| !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric()));
        let unused: Vec<_> = KEYS.iter().filter(|key| !shown(format!("t.{key}")) && !shown(format!("t().{key}"))).collect();
        assert!(unused.is_empty(), "no page shows {unused:?}");
    }

    #[test]
    fn a_browser_gets_the_first_of_its_languages_that_there_is() {
        let accepted = |header| Lang::accepted(header).map(Lang::code);
        assert_eq!(accepted("pl-PL,pl;q=0.9,en;q=0.8"), Some("pl"));
        assert_eq!(accepted("pt-BR, ES;q=0.5"), Some("es"));
        assert_eq!(accepted("ja"), None);
        assert_eq!(accepted(""), None);
        assert_eq!(Lang::EN.code(), "en");
    }

    #[test]
    fn a_waiting_time_is_never_too_short() {
        let german = Lang::parse("de").unwrap();
        let said = |seconds| german.duration(seconds).replace('\u{a0}', " ");
        assert_eq!([said(0), said(59), said(121), said(86_400)], ["1 s", "59 s", "3 min", "24 h"]);
        for lang in Lang::ALL {
            let sentence = lang.t().code_again_in.replace("{time}", &lang.duration(86_400));
            assert!(!sentence.ends_with(".."), "{sentence}");
        }
    }
}
