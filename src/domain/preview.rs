//! What people would read: every text of a campaign as a phone shows it, what it costs to send, which characters make it dear and
//! what to write in their place. Shown by the terminal, the operator's page and the API alike.

use std::collections::BTreeMap;

use serde::Serialize;

use super::campaign::{Ask, Campaign, Mode};
use super::channel::Channel;
use super::message::Kind;
use super::money::Money;
use super::price::charged;
use super::sms::{self, Encoding};
use super::wording::{Values, WordingError, render};

/// A code as long as a real one.
const CODE: &str = "123456";

/// One text in one language, with the longest real link.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// What it is sent as: `ask` and `reminder`, or the name of the wording (`confirm`, `ack_stop`).
    pub kinds: Vec<String>,
    pub template: String,
    pub locale: String,
    pub channel: Channel,
    /// What the phone shows as its origin.
    pub sender: String,
    pub text: String,
    /// The buttons below it, where the channel has them.
    pub buttons: Vec<String>,
    /// What one costs, by country; without the countries whose price is not known.
    pub cost: BTreeMap<String, Money>,
    /// Its parts, for an SMS.
    pub sms: Option<InParts>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InParts {
    #[serde(flatten)]
    pub size: Size,
    /// The characters for which the whole text needs UCS-2.
    pub forcing: Vec<Forcing>,
    /// Characters of the extension table, two septets each.
    pub doubled: Vec<char>,
    /// The text with every remedy applied, where that changes it.
    pub plain: Option<Plain>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Size {
    /// `GSM-7` or `UCS-2`.
    pub encoding: &'static str,
    /// Septets, or UTF-16 code units.
    pub units: usize,
    pub parts: usize,
    /// Units a part holds.
    pub per_part: usize,
    /// Units too many for it to be sent at all; 0 where it may be.
    pub over: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forcing {
    /// Its place, counted in characters from 1.
    pub at: usize,
    pub character: char,
    /// `U+2019`, for characters that cannot be seen.
    pub code_point: String,
    /// What to write in its place; empty: leave it out; none: it has no plain form.
    pub instead: Option<String>,
}

impl Forcing {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self.instead.as_deref() {
            Some("") => "leave it out".into(),
            Some(" ") => "write a plain space".into(),
            Some("\n") => "write a plain line break".into(),
            Some(instead) => format!("write `{instead}`"),
            None => "GSM-7 has no such letter: say it in Latin letters".into(),
        }
    }
}

/// The text without what forces UCS-2.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plain {
    pub text: String,
    #[serde(flatten)]
    pub size: Size,
    pub cost: BTreeMap<String, Money>,
}

impl Size {
    pub fn of(text: &str) -> Size {
        let parts = sms::parts(text);
        let encoding = match parts.encoding {
            Encoding::Gsm7 => "GSM-7",
            Encoding::Ucs2 => "UCS-2",
        };
        Size { encoding, units: parts.units, parts: parts.parts, per_part: parts.per_part, over: parts.over() }
    }
}

/// Every character that forces UCS-2, with its remedy.
pub fn forcing(text: &str) -> Vec<Forcing> {
    let named = |(at, character): (usize, char)| Forcing {
        at: at + 1,
        character,
        code_point: format!("U+{:04X}", u32::from(character)),
        instead: sms::instead_of(character),
    };
    sms::forcing_ucs2(text).into_iter().map(named).collect()
}

/// Every text of the campaign, asks first, and of each the languages of its countries in the order it names them; `link` is as long
/// as a real one.
///
/// # Errors
/// A text names a placeholder that does not exist or has no value; `campaign check` refuses such a text.
pub fn preview(campaign: &Campaign, link: &str) -> Result<Vec<Shown>, WordingError> {
    let mut shown = Vec::new();
    // A campaign names its countries, and so its languages, by weight.
    let rank = |locale: &str| {
        let of_country = |code: &String| campaign.packs.get(code).is_some_and(|pack| pack.default_locale == locale);
        (campaign.countries.iter().position(of_country).unwrap_or(usize::MAX), locale != campaign.default_locale)
    };
    for ask in &campaign.asks {
        let kinds = match campaign.reminder_after_days {
            Some(_) => vec!["ask".to_owned(), "reminder".to_owned()],
            None => vec!["ask".to_owned()],
        };
        let mut texts: Vec<_> = ask.texts.iter().collect();
        texts.sort_by_key(|(locale, _)| rank(locale));
        for (locale, text) in texts {
            let one = Wording { kinds: kinds.clone(), template: &ask.template, locale, text, sender: &ask.sender.id };
            shown.push(show(campaign, ask, one, link)?);
        }
    }
    for ask in &campaign.asks {
        // Answers go out from the number that people write to.
        let sender = ask.sender.reply_number.as_ref().filter(|_| ask.mode == Mode::LinkReply).unwrap_or(&ask.sender.id);
        let mut texts: Vec<_> = campaign.texts.iter().filter_map(|(name, text)| Some((name.split_once('.')?, text))).collect();
        texts.sort_by_key(|((template, locale), _)| (*template, rank(locale)));
        for ((template, locale), text) in texts {
            let serves = match template {
                // Shown under the asks and confirmations.
                "buttons" => false,
                // A code is asked for on the page in one mode; a confirmation is sent in another.
                "code" => ask.mode == Mode::LinkCode,
                // The code that opens a person's own data goes by SMS.
                "data_code" => ask.channel == Channel::Sms,
                "confirm" => ask.mode == Mode::Reply,
                _ => true,
            };
            if serves {
                shown.push(show(
                    campaign,
                    ask,
                    Wording { kinds: vec![template.to_owned()], template, locale, text, sender },
                    link,
                )?);
            }
        }
    }
    Ok(shown)
}

struct Wording<'a> {
    kinds: Vec<String>,
    template: &'a str,
    locale: &'a str,
    text: &'a str,
    sender: &'a str,
}

fn show(campaign: &Campaign, ask: &Ask, one: Wording, link: &str) -> Result<Shown, WordingError> {
    let reply_number = ask.sender.reply_number.as_deref().unwrap_or_default();
    let code = if matches!(one.template, "code" | "data_code") { CODE } else { "" };
    let text = render(one.text, &Values { brand: &campaign.brand, link, reply_number, code })?;
    let cost = |text: &str| cost(campaign, ask, text);
    let sms = (ask.channel == Channel::Sms).then(|| {
        let plain = sms::without_accents(&text);
        let plain = (plain != text).then(|| Plain { size: Size::of(&plain), cost: cost(&plain), text: plain });
        InParts { size: Size::of(&text), forcing: forcing(&text), doubled: sms::doubled(&text), plain }
    });
    let kind = if one.template == "confirm" { Some(Kind::Confirm) } else { one.kinds.iter().find_map(|k| Kind::parse(k)) };
    let titles = kind.zip(campaign.titles(one.locale).filter(|_| ask.has_buttons()));
    let buttons = titles.map(|(kind, titles)| titles.of(kind).into_iter().map(|(_, title)| title.to_owned()).collect());
    Ok(Shown {
        kinds: one.kinds,
        template: one.template.to_owned(),
        locale: one.locale.to_owned(),
        channel: ask.channel,
        sender: one.sender.to_owned(),
        cost: cost(&text),
        text,
        buttons: buttons.unwrap_or_default(),
        sms,
    })
}

fn cost(campaign: &Campaign, ask: &Ask, text: &str) -> BTreeMap<String, Money> {
    let price = |country: &String| {
        let price = campaign.price(&ask.sender.gateway, ask.channel, country)?;
        Some((country.clone(), price.times(charged(ask.channel, text))))
    };
    campaign.countries.iter().filter_map(price).collect()
}
