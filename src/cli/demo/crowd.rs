//! The people of the demo, each with a phone in hand: they open the link, tick, reply, refuse, stop, write nonsense or do
//! nothing, through the same doors as anybody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};

use super::people::Dice;
use crate::gateway::mock::book::Accepted;
use crate::gateway::mock::server::MockGateway;

/// When each person's no was stored (microseconds of the demo's clock).
pub type Noes = Arc<Mutex<BTreeMap<String, i64>>>;

#[derive(Clone)]
pub struct Crowd {
    pub gateway: Arc<MockGateway>,
    pub http: reqwest::Client,
    pub noes: Noes,
    pub now: Arc<dyn Fn() -> i64 + Send + Sync>,
    pub seed: u64,
    /// Alphanumeric sender to the number its people reply to.
    pub reply_number: String,
}

/// What one person does about an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    Confirms,
    TicksOnly,
    NoOnPage,
    SaysNo,
    SaysStop,
    Nonsense,
    WrongPerson,
    AsksForHelp,
    Preview,
    Silent,
}

const STOPS: [&str; 6] = ["STOP", "Stop!", "s.t.o.p", "stpo", "STOP SI", "levatemi da questo elenco"];
const NONSENSE: [&str; 5] = ["??", "chi sei", "si ma solo via mail", "my dog ate it", "👍"];

impl std::fmt::Debug for Crowd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crowd({})", self.seed)
    }
}

impl Crowd {
    fn habit(&self, person: &str) -> Habit {
        let hash = person.bytes().fold(self.seed, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
        match Dice::new(hash).below(100) {
            0..=29 => Habit::Confirms,
            30..=39 => Habit::TicksOnly,
            40..=48 => Habit::NoOnPage,
            49..=53 => Habit::SaysNo,
            54..=61 => Habit::SaysStop,
            62..=64 => Habit::Nonsense,
            65..=66 => Habit::WrongPerson,
            67..=68 => Habit::AsksForHelp,
            69..=75 => Habit::Preview,
            _ => Habit::Silent,
        }
    }

    /// Reacts to a message on somebody's phone.
    pub async fn react(&self, message: &Accepted) -> Result<()> {
        let one_way = !message.from.starts_with('+');
        let to = if one_way { self.reply_number.as_str() } else { message.from.as_str() };
        let habit = self.habit(&message.to);
        let mut dice = Dice::new(message.at.unsigned_abs());
        if message.reference.starts_with("cfm") {
            if habit == Habit::Confirms {
                // A yes counts as the second step ten seconds after the confirmation; people need that long to read it.
                tokio::time::sleep(Duration::from_millis(10_800)).await;
                self.gateway.reply(&message.to, to, yes(&message.to)).await;
            }
            return Ok(());
        }
        if !message.reference.starts_with("ask") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100 + dice.below(1500))).await;
        let pick = |dice: &mut Dice, words: &[&'static str]| words[usize::try_from(dice.below(words.len() as u64)).unwrap_or(0)];
        match habit {
            Habit::Confirms if one_way => {
                self.post(&message.text, Some("sms.promotions")).await?;
                tokio::time::sleep(Duration::from_millis(300)).await;
                self.gateway.reply(&message.to, to, yes(&message.to)).await;
            }
            Habit::TicksOnly if one_way => self.post(&message.text, Some("sms.promotions")).await?,
            Habit::Confirms | Habit::TicksOnly => {
                self.gateway.reply(&message.to, to, yes(&message.to)).await;
            }
            Habit::NoOnPage => {
                self.post(&message.text, None).await?;
                self.said_no(&message.to);
            }
            Habit::SaysNo => self.no(&message.to, to, "no grazie").await,
            Habit::SaysStop => self.no(&message.to, to, pick(&mut dice, &STOPS)).await,
            Habit::WrongPerson => self.no(&message.to, to, if one_way { "numero sbagliato" } else { "wrong number" }).await,
            Habit::Nonsense => {
                self.gateway.reply(&message.to, to, pick(&mut dice, &NONSENSE)).await;
            }
            Habit::AsksForHelp => {
                self.gateway.reply(&message.to, to, if one_way { "aiuto" } else { "help" }).await;
            }
            // WhatsApp, Telegram and mail scanners fetch links; nothing may come of it.
            Habit::Preview => {
                for agent in ["WhatsApp/2.23", "TelegramBot (like TwitterBot)", "facebookexternalhit/1.1"] {
                    self.http.get(link(&message.text)?).header("user-agent", agent).send().await?;
                }
            }
            Habit::Silent => {}
        }
        Ok(())
    }

    /// A no by reply, and when it was stored.
    pub async fn no(&self, person: &str, to: &str, text: &str) {
        self.gateway.reply(person, to, text).await;
        self.said_no(person);
    }

    fn said_no(&self, person: &str) {
        let now = (self.now)();
        self.noes.lock().expect("no panic while held").entry(person.to_owned()).or_insert(now);
    }

    /// Opens the page, ticks one box or none, and submits, as a browser does.
    async fn post(&self, text: &str, tick: Option<&str>) -> Result<()> {
        let link = link(text)?;
        let page = self.http.get(link).send().await?.text().await?;
        let nonce = page.split("name=\"nonce\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let answer = if tick.is_some() { "chosen" } else { "none" };
        let mut pairs = vec![("nonce", nonce.context("the page has no form")?), ("answer", answer)];
        pairs.extend(tick.map(|tick| ("grant", tick)));
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.http
            .post(link)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await?;
        Ok(())
    }
}

/// Yes, as one says it where this number is at home.
fn yes(number: &str) -> &'static str {
    match number.get(..3) {
        Some("+39") => "Sì, grazie",
        Some("+48") => "Tak",
        Some("+34") => "Sí",
        Some("+33") => "Oui",
        Some("+49") => "Ja",
        _ => "Yes please",
    }
}

fn link(text: &str) -> Result<&str> {
    text.split_whitespace().find(|w| w.starts_with("http")).context("the message has no link")
}
