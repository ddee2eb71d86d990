//! `link whatsapp|sms|page`: addresses by which people come to us by themselves, and their QR codes.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};
use serde_json::json;

use super::Context;
use crate::config::{Config, Form, one_of};
use crate::domain::campaign::Sender;
use crate::domain::channel::Channel;
use crate::domain::link;
use crate::domain::phone::PhoneNumber;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// An address that opens a WhatsApp chat with us. Whoever writes first may be answered in that chat, and has consented to nothing.
    #[command(after_help = "Example: permesso link whatsapp --number +393001234567 --form newsletter --qr whatsapp.svg")]
    Whatsapp {
        #[command(flatten)]
        chat: Chat,
        /// The account's number, where permesso.toml knows it by a name.
        #[arg(long)]
        number: Option<String>,
        #[command(flatten)]
        qr: Qr,
    },
    /// An address that opens an SMS to a number of ours.
    #[command(after_help = "Example: permesso link sms --sender +393001234567 --form newsletter --qr sms.svg")]
    Sms {
        #[command(flatten)]
        chat: Chat,
        #[command(flatten)]
        qr: Qr,
    },
    /// The address of a form's page.
    #[command(after_help = "Example: permesso link page --form newsletter --qr page.svg")]
    Page {
        /// The form's name.
        #[arg(long)]
        form: String,
        #[command(flatten)]
        qr: Qr,
    },
}

#[derive(Debug, clap::Args)]
pub struct Chat {
    /// The sender of permesso.toml that people write to; needless where only one takes answers.
    #[arg(long)]
    sender: Option<String>,
    /// The form whose page is the answer: the text is that of its `[[entry]]`.
    #[arg(long)]
    form: Option<String>,
    /// Any other text, which nobody is answered for.
    #[arg(long, conflicts_with = "form")]
    text: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Qr {
    /// A new file for the QR code, as SVG.
    #[arg(long, value_name = "FILE")]
    qr: Option<PathBuf>,
    /// Write over the file if it exists.
    #[arg(long, requires = "qr")]
    force: bool,
}

pub fn run(context: &Context, command: &Command) -> Result<()> {
    let config = crate::app::load(&context.dir)?;
    let (address, text, qr) = match command {
        Command::Whatsapp { chat, number, qr } => {
            let text = text(&config, chat)?;
            let sender = sender(&config, Channel::WhatsApp, chat.sender.as_deref())?;
            (link::whatsapp(&number_of(&config, sender, number.as_deref())?, &text), text, qr)
        }
        Command::Sms { chat, qr } => {
            let text = text(&config, chat)?;
            let sender = sender(&config, Channel::Sms, chat.sender.as_deref())?;
            (link::sms(&number_of(&config, sender, None)?, &text), text, qr)
        }
        Command::Page { form, qr } => (config.form_link(&self::form(&config, form)?.name), String::new(), qr),
    };
    if let Some(path) = &qr.qr {
        let code = QrCode::with_error_correction_level(&address, EcLevel::M)
            .context("the text is too long for a QR code; remedy: write a shorter --text")?;
        let drawn = code.render::<svg::Color<'_>>().min_dimensions(240, 240).build();
        let mut target = super::out::open(Some(path), qr.force)?;
        target.write_all(drawn.as_bytes())?;
        target.done()?;
    }
    match context.json {
        true => println!("{}", json!({ "address": address, "text": text, "qr": qr.qr })),
        false => println!("{address}"),
    }
    Ok(())
}

/// A form that is open.
fn form<'a>(config: &'a Config, name: &str) -> Result<&'a Form> {
    config.form(name).with_context(|| {
        let known: Vec<&str> = config.forms.iter().map(|form| form.name.as_str()).collect();
        format!(
            "there is no form `{name}`, or something is wrong with it; remedy: `permesso config check`, or name one of: {}",
            known.join(", ")
        )
    })
}

/// What stands in the chat when it opens.
fn text(config: &Config, chat: &Chat) -> Result<String> {
    let Some(name) = &chat.form else { return Ok(chat.text.clone().unwrap_or_default()) };
    let form = form(config, name)?;
    let entry = config.entries.iter().find(|entry| entry.form == form.name);
    let entry = entry.with_context(|| {
        format!("no [[entry]] of permesso.toml names the form `{name}`, so nobody who writes would be answered; remedy: add one with its word")
    })?;
    Ok(entry.text.clone())
}

/// The sender people write to.
fn sender<'a>(config: &'a Config, channel: Channel, wanted: Option<&str>) -> Result<&'a Sender> {
    let on = |s: &&Sender| s.channel == channel;
    let answering: Vec<&Sender> = config.senders.iter().filter(on).filter(|s| s.two_way).collect();
    let known = one_of(answering.iter().map(|s| s.id.as_str()), "add a two-way [[sender]] to permesso.toml");
    let code = channel.code();
    match (wanted, answering.as_slice()) {
        (None, [only]) => Ok(only),
        (None, []) => {
            bail!("no {code} sender takes answers, so nobody can write to one; remedy: add a two-way [[sender]] to permesso.toml")
        }
        (None, _) => bail!("several {code} senders take answers; remedy: after --sender {known}"),
        (Some(id), _) => {
            let sender = config.senders.iter().filter(on).find(|s| s.id == id);
            let sender = sender.with_context(|| format!("permesso.toml has no {code} sender `{id}`; remedy: {known}"))?;
            if !sender.two_way {
                bail!("sender `{id}` takes no answers, so nobody can write to it; remedy: {known}");
            }
            Ok(sender)
        }
    }
}

/// The number behind a sender.
fn number_of(config: &Config, sender: &Sender, said: Option<&str>) -> Result<String> {
    let own = [Some(sender.id.as_str()), sender.address.as_deref()].into_iter().flatten().find(|id| id.starts_with('+'));
    let Some(text) = said.or(own) else {
        bail!("permesso.toml knows sender `{}` by a name; remedy: write its number, as in --number +393001234567", sender.id)
    };
    let number = PhoneNumber::parse(text, None, config.fiction())
        .context("--number is no number; remedy: write it with its country code, as in +393001234567")?;
    Ok(number.e164().to_owned())
}
