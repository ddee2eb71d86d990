//! The commands, one file each. Exit code 0: done; 1: not possible, the reason is printed; 2: the command was wrong.
//! Progress bars and tables live here only.

mod campaign;
mod config;
mod consents;
mod contact;
mod database;
mod demo;
mod import;
mod inbox;
mod init;
mod ledger;
mod mock;
mod out;
mod preview;
mod reply;
mod run;
mod webhooks;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::clock::Clock;
use crate::engine::Engine;

#[derive(Debug, Parser)]
#[command(
    name = "permesso",
    version,
    about = "Asks people by SMS or WhatsApp whether a company may write to them, and keeps the proof",
    after_help = "Example: permesso demo\n\nThe manual is README.md."
)]
struct Cli {
    /// Folder with permesso.toml, campaigns/, countries/ and replies/.
    #[arg(long, global = true, default_value = "config", env = "PERMESSO_CONFIG")]
    config: PathBuf,
    /// Print one JSON object in place of text, where a command reports.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole story on this machine: a fictional list, a mock gateway, phones, replies, report.
    #[command(after_help = "Example: permesso demo --exit --json")]
    Demo(demo::Args),
    /// Make a configuration folder, a key and a database.
    #[command(after_help = "Example: permesso --config acme init")]
    Init,
    /// Check the configuration; print the countries' rules.
    #[command(subcommand, after_help = "Example: permesso config check")]
    Config(config::Command),
    /// Run the web role (pages, webhooks, operator) and the worker role (planning, sending) until Ctrl-C.
    #[command(after_help = "Example: permesso run --roles web,worker")]
    Run(run::Args),
    /// Stop all sending at once.
    #[command(after_help = "Example: permesso halt")]
    Halt,
    /// Send again after `halt`.
    #[command(
        after_help = "Example: permesso resume\n         permesso resume --heard \"A. Rossi: looked through the provider's inbox by hand\""
    )]
    Resume(run::Resume),
    /// Import contacts or suppressions from CSV.
    #[command(subcommand, after_help = "Example: permesso import contacts list.csv")]
    Import(import::Command),
    /// Check, plan, start and steer campaigns.
    #[command(subcommand, after_help = "Example: permesso campaign plan rinnovo-consensi")]
    Campaign(campaign::Command),
    /// What is known about one person, and why they were contacted or not.
    #[command(subcommand, after_help = "Example: permesso contact explain \"+39 300 123 4567\"")]
    Contact(contact::Command),
    /// Unclear replies that wait for an operator.
    #[command(subcommand, after_help = "Example: permesso inbox list")]
    Inbox(inbox::Command),
    /// Take the consents home.
    #[command(subcommand, after_help = "Example: permesso consents export --since 2026-12-01")]
    Consents(consents::Command),
    /// What the company's CRM is told of consents, and what it did not take.
    #[command(subcommand, after_help = "Example: permesso webhooks list --dead")]
    Webhooks(webhooks::Command),
    /// Try the reading of replies.
    #[command(subcommand, after_help = "Example: echo 'sì grazie' | permesso reply classify --locale it")]
    Reply(reply::Command),
    /// Check or export the ledger.
    #[command(subcommand, after_help = "Example: permesso ledger verify")]
    Ledger(ledger::Command),
    /// Run the mock gateway with its phones.
    #[command(after_help = "Example: permesso mock-gateway --listen 127.0.0.1:8082")]
    MockGateway(mock::Args),
    /// Create or upgrade the database.
    #[command(subcommand, after_help = "Example: permesso db migrate")]
    Db(database::Command),
}

/// What a command may use.
struct Context {
    dir: PathBuf,
    json: bool,
}

impl Context {
    fn now(&self) -> Result<chrono::DateTime<chrono::Utc>> {
        Ok(clock(&self.dir)?.date_time())
    }

    /// The day by which country packs are judged.
    fn today(&self) -> Result<chrono::NaiveDate> {
        Ok(self.now()?.date_naive())
    }

    async fn engine(&self) -> Result<Engine> {
        crate::app::open(&self.dir, clock(&self.dir)?).await
    }
}

pub async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    log_to_stderr(matches!(cli.command, Command::Run(_) | Command::MockGateway(_)));
    let context = Context { dir: cli.config, json: cli.json };
    let done = match cli.command {
        Command::Demo(args) => demo::run(&context, &args).await,
        Command::Init => init::run(&context).await,
        Command::Config(command) => config::run(&context, &command),
        Command::Run(args) => run::run(&context, &args).await,
        Command::Halt => run::halt(&context).await,
        Command::Resume(args) => run::resume(&context, &args).await,
        Command::Import(command) => import::run(&context, &command).await,
        Command::Campaign(command) => campaign::run(&context, &command).await,
        Command::Contact(command) => contact::run(&context, &command).await,
        Command::Inbox(command) => inbox::run(&context, &command).await,
        Command::Consents(command) => consents::run(&context, &command).await,
        Command::Webhooks(command) => webhooks::run(&context, &command).await,
        Command::Reply(command) => reply::run(&context, &command),
        Command::Ledger(command) => ledger::run(&context, &command).await,
        Command::MockGateway(args) => mock::run(&context, &args).await,
        Command::Db(command) => database::run(&context, &command).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("permesso: {error:#}");
            ExitCode::from(1)
        }
    }
}

/// A campaign can be tried out at another time of the year, where no message can reach a real phone.
const CLOCK_VARIABLE: &str = "PERMESSO_CLOCK";

fn clock(dir: &std::path::Path) -> Result<Clock> {
    let Ok(text) = std::env::var(CLOCK_VARIABLE) else { return Ok(Clock::System) };
    if !crate::app::load(dir)?.allows_fiction() {
        anyhow::bail!("{CLOCK_VARIABLE} is for trying out: it is refused where a gateway is not the mock");
    }
    let at = text.parse().map_err(|_| anyhow::anyhow!("{CLOCK_VARIABLE} is not a time such as 2026-12-01T09:45:00Z"))?;
    Ok(Clock::starting(at))
}

/// Logs go to stderr: everything for services, warnings for commands; `RUST_LOG` decides otherwise.
fn log_to_stderr(service: bool) {
    let default = if service { "info,sqlx=warn" } else { "error" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
    let format = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let _ = if std::io::stderr().is_terminal() { format.try_init() } else { format.with_ansi(false).try_init() };
}

/// A progress bar to a terminal, nothing elsewhere.
fn bar(length: u64, unit: &str) -> indicatif::ProgressBar {
    if !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::new(length);
    let template = match unit {
        "bytes" => "{msg:>12} [{bar:30}] {bytes}/{total_bytes} {eta}",
        _ => "{msg:>12} [{bar:30}] {human_pos}/{human_len} {eta}",
    };
    if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Stops on Ctrl-C and on SIGTERM.
fn stop_signal() -> Result<tokio_util::sync::CancellationToken> {
    let stop = tokio_util::sync::CancellationToken::new();
    let pulled = stop.clone();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("Stopping: what is in flight is finished and stored first");
        pulled.cancel();
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
