//! Whether a text may be sent: what an ask must say and may not say, which
//! placeholders it has, and how many SMS parts it fills. Looks at the text as a phone would show it.

use super::problem::Problem;
use super::silence::silence_is_yes;
use super::templates::Wording;
use super::words::{SHORTENERS, Words, all_said, deals, once, prices, quoted, said};
use crate::domain::button::Titles;
use crate::domain::campaign::Mode;
use crate::domain::channel::{Channel, Permission};
use crate::domain::plural::{counted, word};
use crate::domain::sms::{self, Encoding};
use crate::domain::wording::{self, PLACEHOLDERS, Values, WordingError};

/// What an ask's text has to fit.
#[derive(Debug)]
pub struct Asking<'a> {
    pub channel: Channel,
    pub mode: Mode,
    pub asks_for: &'a [Permission],
}

/// Checks the text of an ask; `name` is `repermission.it`.
pub fn ask(name: &str, text: &Wording, values: &Values, asking: &Asking) -> Vec<Problem> {
    let mut check = Check { name, text, found: Vec::new() };
    let Some((bare, used)) = check.placeholders(values) else { return check.found };
    check.brand(values);
    if asking.channel == Channel::Sms {
        check.length(values);
    }
    let Some(words) = Words::of(check.locale()) else {
        check.says("is in a language whose words the check does not know", "write it in it, en, pl, de, fr or es");
        return check.found;
    };
    if said(&bare, words.reason).is_none() {
        check.says("does not say why we write", format!("add a reason, with one of: {}", words.reason.join(", ")));
    }
    if !used.iter().any(|p| p == "link") {
        check.says("does not name the page where people choose", "add {{ link }}, best at the end");
    }
    // Nobody can answer in link_code, so the link itself is the stop route, and its sentence must say so.
    let stops = match asking.mode {
        Mode::LinkCode => text.text.split(['.', '?', '!', '\n']).find(|s| s.contains("link")).unwrap_or_default(),
        Mode::LinkReply | Mode::Reply => &bare,
    };
    if said(stops, &["stop"]).is_none() {
        let remedy = match asking.mode {
            Mode::LinkCode => "say in the sentence of {{ link }} that the page stops everything too, with the word STOP",
            Mode::LinkReply | Mode::Reply => "say that STOP as an answer ends it",
        };
        check.says("has no stop route", remedy);
    }
    if asking.mode == Mode::LinkReply && !used.iter().any(|p| p == "reply_number") {
        check.says("does not say which number takes answers, as its sender cannot", "add {{ reply_number }} beside STOP");
    }
    for Permission { channel, purpose } in asking.asks_for {
        let known = words.purpose(*purpose);
        if said(&bare, known).is_none() {
            check.says(format!("does not name the purpose {}", purpose.code()), format!("use one of: {}", known.join(", ")));
        }
        // A yes by reply grants what the text names; on the page the boxes name it.
        let known = words.channel(*channel);
        if asking.mode == Mode::Reply && said(&bare, known).is_none() {
            check.says(format!("does not name the channel {}", channel.code()), format!("use one of: {}", known.join(", ")));
        }
    }
    let signs = bare.chars().filter(|c| "%€$£¥".contains(*c)).map(String::from);
    let offers = once(signs.chain(all_said(&bare, words.offer)).chain(prices(&bare)).chain(deals(&bare)));
    if let Some(first) = offers.first() {
        let (reads, it) = (word(offers.len(), "reads", "read"), word(offers.len(), "it", "them"));
        check.at(
            line_of(&text.text, first),
            format!("{} {reads} as an offer or a price", quoted(&offers)),
            format!("take {it} out: an ask offers nothing"),
        );
    }
    if let Some(silence) = silence_is_yes(&bare, &words.silence) {
        check.at(
            line_of(&text.text, silence.split(' ').next().unwrap_or_default()),
            format!("`{silence}` takes silence for a yes (Recital 32 GDPR)"),
            "take it out: only an answer grants anything",
        );
    }
    check.shortener(values);
    check.found
}

/// Checks a confirmation, code, acknowledgement, help or the titles of buttons.
pub fn service(name: &str, text: &Wording, values: &Values) -> Vec<Problem> {
    let mut check = Check { name, text, found: Vec::new() };
    if name.starts_with("buttons.") {
        if let Err(what) = Titles::parse(&text.text) {
            check.says(what, "write four short lines, as in Yes, No, STOP, Yes, I confirm");
        }
        return check.found;
    }
    if let Some((_, used)) = check.placeholders(values) {
        check.brand(values);
        check.length(values);
        if !values.code.is_empty() && !used.iter().any(|p| p == "code") {
            check.says("does not name the code", "add {{ code }}");
        }
    }
    check.found
}

struct Check<'a> {
    name: &'a str,
    text: &'a Wording,
    found: Vec<Problem>,
}

impl Check<'_> {
    fn locale(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    fn says(&mut self, what: impl AsRef<str>, remedy: impl Into<String>) {
        self.at(1, format!("the text {}", what.as_ref()), remedy);
    }

    fn at(&mut self, line: usize, what: impl Into<String>, remedy: impl Into<String>) {
        let (file, key) = (self.text.file.clone(), self.name.to_owned());
        self.found.push(Problem { file, line, key, what: what.into(), remedy: remedy.into() });
    }

    /// The text with its placeholders blank, and their names; none if it cannot be written with `values`.
    fn placeholders(&mut self, values: &Values) -> Option<(String, Vec<String>)> {
        let blank = Values { brand: " ", link: " ", reply_number: " ", code: " " };
        let read = wording::render(&self.text.text, values)
            .and_then(|_| Ok((wording::render(&self.text.text, &blank)?, wording::placeholders(&self.text.text)?)));
        read.map_err(|error| {
            let (line, remedy) = match &error {
                WordingError::Unknown(name) => {
                    (line_of(&self.text.text, name), format!("there are only {}", PLACEHOLDERS.join(", ")))
                }
                WordingError::NoValue(name) if name == "reply_number" => {
                    (line_of(&self.text.text, name), "take it out, or give the sender a reply_number in permesso.toml".into())
                }
                WordingError::NoValue(name) => (line_of(&self.text.text, name), "take it out".into()),
                _ => (1, "name values only, as in {{ brand }}".into()),
            };
            self.at(line, error.to_string(), remedy);
        })
        .ok()
    }

    fn brand(&mut self, values: &Values) {
        if !wording::render(&self.text.text, values).is_ok_and(|shown| shown.contains(values.brand)) {
            self.says("does not say who writes", "begin it with {{ brand }}");
        }
    }

    fn shortener(&mut self, values: &Values) {
        let shown = wording::render(&self.text.text, values).unwrap_or_default().to_lowercase();
        let mut hosts = shown.split(|c: char| c.is_whitespace() || c == '/').map(|word| word.trim_start_matches("www."));
        if let Some(host) = hosts.find(|host| SHORTENERS.contains(host)) {
            let remedy = "write {{ link }}, and a public_url of your own: a shortener hides who writes";
            self.at(line_of(&self.text.text, host), format!("`{host}` is a public link shortener"), remedy);
        }
    }

    fn length(&mut self, values: &Values) {
        let Ok(shown) = wording::render(&self.text.text, values) else { return };
        let size = sms::parts(&shown);
        if size.fits() {
            return;
        }
        let limits = format!("at most {} (GSM-7) or {} (UCS-2)", sms::MAX_PARTS_GSM7, sms::MAX_PARTS_UCS2);
        let what = format!(
            "the text fills {} SMS parts ({} units of {}), {limits}: {} too many",
            size.parts,
            size.units,
            size.per_part,
            counted(size.over(), "character is", "characters are")
        );
        if size.encoding == Encoding::Gsm7 {
            return self.at(1, what, "shorten it, or the brand or public_url in it");
        }
        let forcing: Vec<String> =
            sms::forcing_ucs2(&shown).iter().take(5).map(|(at, c)| format!("`{c}` at character {}", at + 1)).collect();
        let plain = sms::parts(&sms::without_accents(&shown));
        let line = sms::forcing_ucs2(&self.text.text).first().map_or(1, |(_, c)| line_of(&self.text.text, &c.to_string()));
        let remedy = format!(
            "shorten it; without accents it fills {} of {} characters",
            counted(plain.parts, "part", "parts"),
            plain.per_part
        );
        let force = word(forcing.len(), "forces", "force");
        self.at(line, format!("{what}; {} {force} UCS-2", forcing.join(", ")), remedy);
    }
}

/// Line of the first place where `text` has `word`, in any case.
fn line_of(text: &str, word: &str) -> usize {
    text.lines().position(|line| line.to_lowercase().contains(&word.to_lowercase())).map_or(1, |line| line + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::advice;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn no_text_makes_the_check_fail(
            text in "(\\PC|\n|\\{\\{ ?(brand|link|code|reply_number|name) ?\\}\\}|\\{[{%#]|9,90|se non rispondi|chi non risponde|, |NO|sei iscritto|vale|bit\\.ly/|😀|ł){0,30}",
            locale in "it|en|pl|de|fr|es|pt|",
        ) {
            let name = format!("repermission.{locale}");
            let wording = Wording { text, file: "x.txt".into() };
            let asks_for = [Permission { channel: Channel::Sms, purpose: crate::domain::channel::Purpose::Promotions }];
            for (link, mode) in [("https://a.example/p/x", Mode::LinkReply), ("", Mode::Reply), ("https://bit.ly/x", Mode::LinkCode)] {
                let values = Values { brand: "ACME", link, reply_number: "+393001234567", code: "" };
                ask(&name, &wording, &values, &Asking { channel: Channel::Sms, mode, asks_for: &asks_for });
                service(&name, &wording, &values);
                advice::ask(&name, &wording, &values, Channel::Sms);
            }
        }
    }
}
