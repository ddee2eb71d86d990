//! `gateway list`, `gateway test`

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde_json::json;

use super::{Context, campaign};
use crate::config::{GatewayConfig, one_of};
use crate::domain::channel::Channel;
use crate::engine::{Engine, gateways, trial};
use crate::gateway::driver::Can;
use crate::gateway::http;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Every account, what its provider can do, and how it stands.
    #[command(after_help = "Example: permesso gateway list")]
    List,
    /// Ask the provider whether the account works; with --to, send one test message and wait for its receipt, a minute at most. The worker
    /// of a running permesso sends it. Not every provider can be asked: without --to such an account is not tested, exit code 1.
    #[command(after_help = "Example: permesso gateway test mock --to +393001234500")]
    Test {
        /// Its name in permesso.toml.
        name: String,
        /// A number of `testers`: it gets the ask of a campaign that asks through this account, as people would.
        #[arg(long)]
        to: Option<String>,
        /// The campaign whose ask is sent; else the first that asks through this account.
        #[arg(long, requires = "to")]
        campaign: Option<String>,
    },
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let engine = context.engine().await?;
    match command {
        Command::List => list(context, &engine).await,
        Command::Test { name, to, campaign } => {
            let Some(gateway) = engine.config.gateways.iter().find(|gateway| gateway.name() == name) else {
                let known = one_of(engine.config.gateways.iter().map(GatewayConfig::name), "add it to permesso.toml");
                bail!("there is no gateway `{name}`; remedy: {known}");
            };
            let works = check(context, &engine, gateway).await?;
            match to {
                Some(to) => send(context, &engine, name, to, campaign.as_deref()).await,
                None if works => Ok(()),
                None => bail!(
                    "gateway {name} was not tested: {} can only be tried by sending; remedy: --to with a number of `testers`",
                    gateway.driver.title
                ),
            }
        }
    }
}

async fn list(context: &Context, engine: &Engine) -> Result<()> {
    let reports = gateways::gateways(engine).await?;
    for (gateway, report) in engine.config.gateways.iter().zip(&reports) {
        let can = &gateway.driver.can;
        let senders = engine.config.senders.iter().filter(|s| s.gateway == gateway.name()).map(|s| s.id.as_str());
        let senders: Vec<&str> = senders.collect();
        if context.json {
            let channels: Vec<&str> = can.channels.iter().map(|c| c.code()).collect();
            let line = json!({
                "name": gateway.name(), "driver": gateway.driver.name, "provider": gateway.driver.title, "state": report.note,
                "healthy": report.healthy, "rate": gateway.rate, "simulator": gateway.is_mock() || gateway.simulator, "senders": senders,
                "callback": callback(gateway), "warning": gateway.warning(),
                "can": {
                    "channels": channels, "two_way": can.two_way, "alphanumeric": can.alphanumeric, "own_reference": can.own_reference,
                    "dedupes": can.dedupes, "look_up": can.look_up, "signed_callbacks": can.signed_callbacks,
                    "inbound_pull": can.inbound_pull, "templates": can.templates,
                },
            });
            println!("{line}");
            continue;
        }
        println!("{} ({}), {} a second: {}", gateway.name(), gateway.driver.title, gateway.rate, report.note);
        if gateway.is_mock() || gateway.simulator {
            println!("    a simulator: nothing it takes reaches a real phone");
        }
        println!("    senders          {}", if senders.is_empty() { "none".to_owned() } else { senders.join(", ") });
        match callback(gateway) {
            Some(callback) => println!("    callbacks come to {callback}"),
            None => println!("    heard over the session it is sent by"),
        }
        for (what, yes) in
            abilities(can).into_iter().filter(|(what, _)| gateway.driver.calls_back() || !what.contains("callbacks"))
        {
            println!("    {} {what}", if yes { "yes" } else { "no " });
        }
        if let Some(warning) = gateway.warning() {
            println!("    warning: {warning}");
        }
    }
    Ok(())
}

/// Where callbacks come to, without the secret at its end; none where there are no callbacks.
fn callback(gateway: &GatewayConfig) -> Option<String> {
    let whole = gateway.driver.calls_back().then(|| gateway.account.callback())?;
    Some(match &gateway.account.callback_token {
        Some(token) => whole.replace(token.expose(), "TOKEN"),
        None => whole,
    })
}

fn abilities(can: &Can) -> [(&'static str, bool); 10] {
    [
        ("SMS", can.channels.contains(&Channel::Sms)),
        ("WhatsApp", can.channels.contains(&Channel::WhatsApp)),
        ("brings people's replies", can.two_way),
        ("shows a name as the sender", can.alphanumeric),
        ("carries our reference back with receipts", can.own_reference),
        ("rejects a second message with our reference, so that an unknown send may be repeated", can.dedupes),
        ("can be asked what became of a message", can.look_up),
        ("signs its callbacks", can.signed_callbacks),
        ("lists replies of a time in which nobody listened", can.inbound_pull),
        ("wants an approved template for WhatsApp", can.templates),
    ]
}

/// Asks the provider about the account; false where it cannot be asked.
async fn check(context: &Context, engine: &Engine, gateway: &GatewayConfig) -> Result<bool> {
    let name = gateway.name();
    let driver = engine.gateways.get(name).context("the gateway is not open")?;
    let said = driver.check().await;
    if context.json {
        let (works, says) = match &said {
            Some(Ok(says)) => (Some(true), Some(says)),
            Some(Err(says)) => (Some(false), Some(says)),
            None => (None, None),
        };
        println!("{}", json!({ "gateway": name, "works": works, "says": says }));
    }
    match said {
        Some(Err(error)) => bail!("gateway {name}: {error}; remedy: {}", http::remedy(&error)),
        Some(Ok(says)) => {
            if !context.json {
                println!("gateway {name}: {says}");
            }
            Ok(true)
        }
        None => Ok(false),
    }
}

async fn send(context: &Context, engine: &Engine, gateway: &str, to: &str, named: Option<&str>) -> Result<()> {
    let number = campaign::tester(engine, to)?;
    let names = match named {
        Some(name) => vec![name.to_owned()],
        None => engine.config.campaign_names()?,
    };
    for name in names {
        // One that has mistakes is no reason not to try the next; the one that was named is.
        let found = match (engine.config.campaign(&name), named) {
            (Ok(campaign), _) => campaign,
            (Err(problems), Some(_)) => return Err(problems.into()),
            (Err(_), None) => continue,
        };
        let Some(ask) = found.asks.iter().find(|ask| ask.sender.gateway == gateway) else { continue };
        let planned = trial::plan(engine, &found, &number, Some(ask.channel), None).await?;
        return campaign::report_test(context, engine, &found, planned, true).await;
    }
    bail!("no campaign asks through {gateway}; remedy: write one whose sender belongs to it, or name it with --campaign")
}
