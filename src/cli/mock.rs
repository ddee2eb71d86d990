//! `mock-gateway`

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use clap::Args as ClapArgs;

use super::stop_signal;
use crate::clock::Clock;
use crate::gateway::mock::faults::Faults;
use crate::gateway::mock::server::{MockOptions, start};

#[derive(Debug, ClapArgs)]
pub struct Args {
    #[arg(long, default_value = "127.0.0.1:8082")]
    listen: SocketAddr,
    /// What requests must carry as their bearer token.
    #[arg(long, default_value = "mock-token")]
    token: String,
    /// What callbacks are signed with.
    #[arg(long, default_value = "mock-webhook-secret")]
    webhook_secret: String,
    /// Where receipts and replies go.
    #[arg(long, default_value = "http://127.0.0.1:8080/webhooks/mock")]
    webhook_url: String,
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

pub async fn run(args: &Args) -> Result<()> {
    let stop = stop_signal()?;
    let clock = Clock::System;
    let gateway = start(MockOptions {
        listen: args.listen,
        token: args.token.clone(),
        webhook_secret: args.webhook_secret.clone(),
        webhook_url: Some(args.webhook_url.clone()),
        faults: args.bad_weather.map_or_else(Faults::default, Faults::bad_weather),
        two_way: args.two_way.clone(),
        dedupe: args.dedupe,
        now: Arc::new(move || clock.now()),
    })
    .await?;
    println!("mock gateway and its phones: {}", gateway.url());
    stop.cancelled().await;
    gateway.stop().await;
    Ok(())
}
