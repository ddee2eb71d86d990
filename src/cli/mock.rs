//! `mock-gateway`

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args as ClapArgs;

use super::{Context, clock, stop_signal};
use crate::app;
use crate::config::{Config, GatewayConfig};
use crate::domain::channel::Channel;
use crate::gateway::mock::faults::Faults;
use crate::gateway::mock::server::{MockOptions, start};

#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Where it waits; else where the first mock gateway of permesso.toml is expected, or 127.0.0.1:8082.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// What requests must carry as their bearer token; else as in permesso.toml, or mock-token.
    #[arg(long)]
    token: Option<String>,
    /// What callbacks are signed with; else as in permesso.toml, or mock-webhook-secret.
    #[arg(long)]
    webhook_secret: Option<String>,
    /// Where receipts and replies go; else to the public listener of permesso.toml, or http://127.0.0.1:8080/webhooks/mock.
    #[arg(long)]
    webhook_url: Option<String>,
    /// Senders a phone can reply to, beside all that are numbers.
    #[arg(long)]
    two_way: Vec<String>,
    /// Refuse, throttle, reset, time out, garble and delay, each now and then; the number seeds it.
    #[arg(long, value_name = "SEED")]
    bad_weather: Option<u64>,
    /// Reject a second message with the same reference.
    #[arg(long)]
    dedupe: bool,
}

pub async fn run(context: &Context, args: &Args) -> Result<()> {
    let stop = stop_signal()?;
    let clock = clock(&context.dir)?;
    // It can also play for a folder on another machine: without one here, the values of the shipped file hold.
    let config = app::load(&context.dir).ok();
    let account = config.as_ref().and_then(|config| Some((config, config.gateways.iter().find(|g| g.is_mock())?)));
    let expected = account.and_then(|(_, gateway)| gateway.account.url.socket_addrs(|| None).ok()?.first().copied());
    let listen = args.listen.or(expected).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8082)));
    let (token, webhook_secret, webhook_url) = account.map_or_else(
        || ("mock-token".into(), "mock-webhook-secret".into(), "http://127.0.0.1:8080/webhooks/mock".into()),
        |(config, gateway)| {
            let url = format!("http://{}/webhooks/{}", config.public_listen, gateway.name());
            (gateway.account.secret("token").to_owned(), gateway.account.secret("webhook_secret").to_owned(), url)
        },
    );
    if let Err(error) = tokio::net::TcpListener::bind(listen).await {
        bail!(
            "cannot listen on {listen}: {error}; remedy: --listen with another address, and the same as the gateway's `url` in permesso.toml"
        );
    }
    // Whoever writes first, on the page, picks from these.
    let writable = |channel: Channel| {
        let of = |(config, gateway): (&'_ Config, &'_ GatewayConfig)| {
            let ours = config.senders.iter().filter(|s| s.two_way && s.channel == channel && s.gateway == gateway.name());
            ours.map(|sender| sender.address().to_owned()).collect::<Vec<_>>()
        };
        account.map(of).unwrap_or_default()
    };
    let gateway = start(MockOptions {
        listen,
        token: args.token.clone().unwrap_or(token),
        webhook_secret: args.webhook_secret.clone().unwrap_or(webhook_secret),
        webhook_url: Some(args.webhook_url.clone().unwrap_or(webhook_url)),
        faults: args.bad_weather.map_or_else(Faults::default, Faults::bad_weather),
        two_way: args.two_way.iter().cloned().chain(writable(Channel::Sms)).collect(),
        whatsapp: writable(Channel::WhatsApp),
        dedupe: args.dedupe,
        now: Arc::new(move || clock.now()),
    })
    .await?;
    println!("mock gateway and its phones: {}", gateway.url());
    stop.cancelled().await;
    gateway.stop().await;
    Ok(())
}
