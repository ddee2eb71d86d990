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
    /// The number that people reply to who were asked by a sender shown by name.
    pub reply_number: String,
    /// Each person's own page, by the link of the newest ask: where a code is typed.
    pub pages: Arc<Mutex<BTreeMap<String, String>>>,
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
    /// Says yes once it is reminded.
    Forgetful,
    Silent,
}

/// The sender whose second step is a code.
const BY_CODE: &str = "ACMEinfo";

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
            76..=82 => Habit::Forgetful,
            _ => Habit::Silent,
        }
    }

    /// Reacts to a message on somebody's phone.
    pub async fn react(&self, message: &Accepted) -> Result<()> {
        let habit = self.habit(&message.to);
        match message.reference.get(..3) {
            Some("ask") => {
                let link = link(&message.text)?.to_owned();
                self.pages.lock().expect("no panic while held").insert(message.to.clone(), link);
                self.answer(habit, message).await
            }
            Some("rem") => {
                let link = link(&message.text)?.to_owned();
                self.pages.lock().expect("no panic while held").insert(message.to.clone(), link);
                if habit == Habit::Forgetful { self.answer(Habit::Confirms, message).await } else { Ok(()) }
            }
            Some("cfm") if matches!(habit, Habit::Confirms | Habit::Forgetful) => self.confirm(message).await,
            Some("otp") if matches!(habit, Habit::Confirms | Habit::Forgetful) => self.type_code(message).await,
            _ => Ok(()),
        }
    }

    async fn confirm(&self, message: &Accepted) -> Result<()> {
        if self.tap(message, "yes").await {
            return Ok(());
        }
        // A yes counts as the second step ten seconds after the confirmation; people need that long to read it.
        tokio::time::sleep(Duration::from_millis(10_800)).await;
        self.gateway.reply(&message.to, &message.from, yes(&message.to)).await;
        Ok(())
    }

    /// Types the code where it was asked for.
    async fn type_code(&self, message: &Accepted) -> Result<()> {
        let code =
            message.text.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 6).context("the message has no code")?;
        let page = self.pages.lock().expect("no panic while held").get(&message.to).cloned().context("a code without an ask")?;
        self.post(&page, "code", &[("code", code)]).await
    }

    /// Taps the button of this word, where the message has one.
    async fn tap(&self, message: &Accepted, word: &str) -> bool {
        let Some(button) = message.buttons.iter().find(|b| b.id.split('.').next() == Some(word)) else { return false };
        self.gateway.tap(&message.id, &button.id).await.is_some()
    }

    /// What a person does about an ask or a reminder.
    async fn answer(&self, habit: Habit, message: &Accepted) -> Result<()> {
        let named = !message.from.starts_with('+') && message.buttons.is_empty();
        let to = if named { self.reply_number.as_str() } else { message.from.as_str() };
        let by_code = message.from == BY_CODE;
        let mut dice = Dice::new(message.at.unsigned_abs());
        tokio::time::sleep(Duration::from_millis(100 + dice.below(1500))).await;
        let pick = |dice: &mut Dice, words: &[&'static str]| words[usize::try_from(dice.below(words.len() as u64)).unwrap_or(0)];
        let page = link(&message.text)?;
        match habit {
            Habit::Confirms if named => {
                self.post(page, "chosen", &[("grant", "sms.promotions")]).await?;
                if !by_code {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    self.gateway.reply(&message.to, to, yes(&message.to)).await;
                }
            }
            Habit::TicksOnly if named => self.post(page, "chosen", &[("grant", "sms.promotions")]).await?,
            Habit::Confirms | Habit::TicksOnly => {
                if !self.tap(message, "yes").await {
                    self.gateway.reply(&message.to, to, yes(&message.to)).await;
                }
            }
            Habit::NoOnPage => {
                self.post(page, "none", &[]).await?;
                self.said_no(&message.to);
            }
            Habit::SaysNo => {
                if !self.tap(message, "no").await {
                    self.gateway.reply(&message.to, to, "no grazie").await;
                }
                self.said_no(&message.to);
            }
            Habit::SaysStop => self.no(&message.to, to, pick(&mut dice, &STOPS)).await,
            Habit::WrongPerson => self.no(&message.to, to, if named { "numero sbagliato" } else { "wrong number" }).await,
            Habit::Nonsense => {
                self.gateway.reply(&message.to, to, pick(&mut dice, &NONSENSE)).await;
            }
            Habit::AsksForHelp => {
                self.gateway.reply(&message.to, to, if named { "aiuto" } else { "help" }).await;
            }
            // WhatsApp, Telegram and mail scanners fetch links; nothing may come of it.
            Habit::Preview => {
                for agent in ["WhatsApp/2.23", "TelegramBot (like TwitterBot)", "facebookexternalhit/1.1"] {
                    self.http.get(page).header("user-agent", agent).send().await?;
                }
            }
            Habit::Forgetful | Habit::Silent => {}
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

    /// Opens the page, fills the form in and submits it, as a browser does.
    async fn post(&self, link: &str, answer: &str, fields: &[(&str, &str)]) -> Result<()> {
        let page = self.http.get(link).send().await?.text().await?;
        let nonce = page.split("name=\"nonce\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let pairs = [("nonce", nonce.context("the page has no form")?), ("answer", answer)];
        let pairs = pairs.into_iter().chain(fields.iter().copied());
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
