//! The commands, one file each. Exit code 0: done; 1: not possible, the reason is printed; 2: the command was wrong.
//! Progress bars and tables live here only.

mod campaign;
mod config;
mod consents;
mod contact;
mod database;
mod demo;
mod gateway;
mod import;
mod inbox;
mod init;
mod ledger;
mod link;
mod mock;
mod notice;
mod out;
mod preview;
mod reply;
mod restore;
mod retention;
mod run;
mod webhooks;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

use crate::clock::Clock;
use crate::engine::Engine;

#[derive(Debug, Parser)]
#[command(
    name = "permesso",
    version,
    about = "Asks people by SMS or WhatsApp whether a company may write to them, and keeps the proof",
    after_help = "Example: permesso demo\n\nThe manual is README.md; a newcomer starts at \"Your first afternoon\" there."
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
    /// See the whole story on this machine: a fictional list, pretended phones, replies, report. Nothing leaves it.
    #[command(after_help = "Example: permesso demo --exit --json")]
    Demo(demo::Args),
    /// Make a configuration folder with samples, a key and a database. Overwrites nothing.
    #[command(after_help = "Example: permesso --config acme init")]
    Init,
    /// Check the configuration; print the countries' rules.
    #[command(subcommand, after_help = "Example: permesso config check")]
    Config(config::Command),
    /// Serve people's pages, gateways and the operator's desk (role web), and plan and send (role worker), until Ctrl-C.
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
    /// Import contacts, numbers to leave in peace, and answers of opposition registers, from CSV.
    #[command(subcommand, after_help = "Example: permesso import contacts list.csv")]
    Import(import::Command),
    /// Publish the privacy notice, without which no campaign is planned, and read what was published.
    #[command(subcommand, after_help = "Example: permesso notice publish")]
    Notice(notice::Command),
    /// Check, plan, start and steer campaigns.
    #[command(subcommand, after_help = "Example: permesso campaign plan rinnovo-consensi")]
    Campaign(campaign::Command),
    /// What is known about one person, and why they were contacted or not.
    #[command(subcommand, after_help = "Example: permesso contact explain \"+39 300 123 4567\"")]
    Contact(contact::Command),
    /// The same as `contact requests`.
    #[command(subcommand, hide = true, after_help = "Example: permesso contact requests list")]
    Requests(contact::Requests),
    /// Read unclear replies and decide about them.
    #[command(subcommand, after_help = "Example: permesso inbox list")]
    Inbox(inbox::Command),
    /// Who consented and who did not, counted and listed; the consents, and every no, to take home as CSV.
    #[command(subcommand, after_help = "Example: permesso consents export --since 2026-12-01")]
    Consents(consents::Command),
    /// What the company's CRM is told of consents, and what it did not take.
    #[command(subcommand, after_help = "Example: permesso webhooks list --dead")]
    Webhooks(webhooks::Command),
    /// The providers' accounts: what each can do, and whether it works.
    #[command(subcommand, after_help = "Example: permesso gateway test mock --to +393001234500")]
    Gateway(gateway::Command),
    /// End and delete what is too old, and see what was.
    #[command(subcommand, after_help = "Example: permesso retention run --dry-run")]
    Retention(retention::Command),
    /// Try how replies are read.
    #[command(subcommand, after_help = "Example: echo 'sì grazie' | permesso reply classify --locale it")]
    Reply(reply::Command),
    /// Check or export the ledger, in which every change of consent is kept as proof.
    #[command(subcommand, after_help = "Example: permesso ledger verify")]
    Ledger(ledger::Command),
    /// Addresses and QR codes by which people come to us by themselves: a chat, or a form's page.
    #[command(subcommand, after_help = "Example: permesso link sms --sender +393001234567 --form newsletter --qr sms.svg")]
    Link(link::Command),
    /// Run pretended phones for trying out: the mock gateway, in place of a real provider.
    #[command(after_help = "Example: permesso mock-gateway --listen 127.0.0.1:8082")]
    MockGateway(mock::Args),
    /// Create, upgrade, back up or restore the database.
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
    let _written = log_to_stderr(matches!(cli.command, Command::Run(_) | Command::MockGateway(_)));
    let context = Context { dir: cli.config, json: cli.json };
    let done = match cli.command {
        Command::Demo(args) => demo::run(&context, &args).await,
        Command::Init => init::run(&context).await,
        Command::Config(command) => config::run(&context, &command),
        Command::Run(args) => run::run(&context, &args).await,
        Command::Halt => run::halt(&context).await,
        Command::Resume(args) => run::resume(&context, &args).await,
        Command::Import(command) => import::run(&context, &command).await,
        Command::Notice(command) => notice::run(&context, &command).await,
        Command::Campaign(command) => campaign::run(&context, &command).await,
        Command::Contact(command) => contact::run(&context, &command).await,
        Command::Requests(command) => contact::run(&context, &contact::Command::Requests(command)).await,
        Command::Inbox(command) => inbox::run(&context, &command).await,
        Command::Consents(command) => consents::run(&context, &command).await,
        Command::Webhooks(command) => webhooks::run(&context, &command).await,
        Command::Gateway(command) => gateway::run(&context, &command).await,
        Command::Retention(command) => retention::run(&context, &command).await,
        Command::Reply(command) => reply::run(&context, &command),
        Command::Ledger(command) => ledger::run(&context, &command).await,
        Command::Link(command) => link::run(&context, &command),
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
    let text = std::env::var(CLOCK_VARIABLE).unwrap_or_default();
    // As `unset` does.
    if text.trim().is_empty() {
        return Ok(Clock::System);
    }
    if !crate::app::load(dir)?.allows_fiction() {
        anyhow::bail!("{CLOCK_VARIABLE} is for trying out: it is refused where a gateway is not the mock");
    }
    let at = text.parse().map_err(|_| anyhow::anyhow!("{CLOCK_VARIABLE} is not a time such as 2026-12-01T09:45:00Z"))?;
    Ok(Clock::starting(at))
}

/// Lines of the log that wait where nobody takes them; what comes then is lost.
const LOG_LINES: usize = 10_000;

/// Logs go to stderr: everything for services, warnings for commands; `RUST_LOG` decides otherwise. A thread writes them, what is left when
/// the answer is dropped: a terminal that is held by Ctrl-S, or a pipe that nobody reads, must not hold up somebody's no.
fn log_to_stderr(service: bool) -> WorkerGuard {
    // What ends the queue's worker is told by ours, once and not with every try.
    let default = if service { "info,sqlx=warn,apalis=off" } else { "error,apalis=off" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
    // That crate logs whole PDUs, numbers and texts in them, whatever `RUST_LOG` says (promise 9).
    let filter = filter.add_directive("rusmpp=off".parse().expect("a directive"));
    let (writer, written) = NonBlockingBuilder::default().buffered_lines_limit(LOG_LINES).finish(std::io::stderr());
    let format = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    // A log that cannot be written, on a full disk, must not end the task that wrote it: the fallback is `eprintln!`, which panics there.
    let format = format.log_internal_errors(false);
    let _ = if std::io::stderr().is_terminal() { format.try_init() } else { format.with_ansi(false).try_init() };
    written
}

/// Takes one of a closed list of words. Any other makes the command a wrong one, and is answered with all there are.
fn word_of<T: Copy + Send + Sync + 'static, const N: usize>(
    all: [T; N],
    code: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let of = move |word: String| all.into_iter().find(|value| code(*value) == word).expect("no other word is taken");
    PossibleValuesParser::new(all.map(code)).map(of)
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

/// Stops on Ctrl-C and on SIGTERM; at once on a second Ctrl-C, as by a kill.
fn stop_signal() -> Result<tokio_util::sync::CancellationToken> {
    let stop = tokio_util::sync::CancellationToken::new();
    let pulled = stop.clone();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!(
            "Stopping: what is in flight is finished and stored first (Ctrl-C once more ends at once, and leaves it unknown)"
        );
        pulled.cancel();
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
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

    /// Every command without subcommands, by its path.
    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
        let path = format!("{path} {}", command.get_name());
        for sub in command.get_subcommands() {
            leaves(sub, &path, found);
        }
        if !command.has_subcommands() {
            found.push((path.trim().to_owned(), command.get_after_help().map(ToString::to_string).unwrap_or_default()));
        }
    }

    #[test]
    fn every_command_has_an_example_that_the_command_line_takes() {
        let mut found = Vec::new();
        leaves(&super::Cli::command(), "", &mut found);
        assert!(found.len() > 25, "{found:?}");
        for (path, help) in found {
            let examples: Vec<&str> = help.lines().filter_map(|line| Some(&line[line.find("permesso ")?..])).collect();
            assert!(!examples.is_empty(), "`{path}` has no example");
            for example in examples {
                // What a shell makes of quotes and of the next command.
                let words = example.split('"').enumerate().flat_map(|(i, part)| match i % 2 {
                    0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
                    _ => vec![part.to_owned()],
                });
                let words: Vec<String> = words.take_while(|word| !matches!(word.as_str(), ">" | "|")).collect();
                let taken = super::Cli::command().try_get_matches_from(&words);
                assert!(taken.is_ok(), "`{path}` has the example `{example}`: {}", taken.unwrap_err());
                let spoken: Vec<&str> = path.split(' ').skip(1).collect();
                assert!(spoken.iter().all(|word| words.iter().any(|w| w == word)), "`{example}` is none of `{path}`");
            }
        }
    }
}
