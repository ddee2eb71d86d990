//! `inbox list`, `inbox resolve`

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use super::Context;
use crate::engine::inbox;

/// Replies read at once.
const PAGE: i64 = 100;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replies nobody could read for sure; their senders get nothing more until an operator decides.
    #[command(
        after_help = "Example: permesso inbox list\n         permesso inbox list --numbers\n         permesso inbox list --dead-letters"
    )]
    List {
        /// With the whole number of whoever is a contact, to answer them by hand; nothing else shows it.
        #[arg(long)]
        numbers: bool,
        /// Only callbacks that are authentic and that Permesso could not read. Look at each, and settle it by hand.
        #[arg(long)]
        dead_letters: bool,
    },
    /// Decide about one: a stop, or nothing at all. Nobody but the person can say yes.
    #[command(after_help = "Example: permesso inbox resolve 17 --as stop")]
    Resolve {
        /// The number at the beginning of its line in `inbox list`.
        id: i64,
        /// A stop ends all marketing to this person; nothing leaves everything as it was.
        #[arg(long = "as", value_name = "stop|nothing", value_parser = verdict)]
        verdict: Verdict,
    },
}

#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    Stop,
    Nothing,
}

/// No nearest word is offered: "no" is nearer to "nothing" by its letters and to "stop" by its meaning.
fn verdict(text: &str) -> Result<Verdict, String> {
    match text {
        "stop" => Ok(Verdict::Stop),
        "nothing" => Ok(Verdict::Nothing),
        _ => Err("write `stop`, which ends all marketing to this person, or `nothing`".to_owned()),
    }
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let engine = context.engine().await?;
    match command {
        Command::List { numbers, dead_letters } => {
            let (mut after, mut none, mut all) = (0, true, Vec::new());
            loop {
                let page = inbox::with_numbers(&engine, after, PAGE).await?;
                let Some((last, _)) = page.last() else { break };
                after = last.id;
                for (mut reply, number) in page.into_iter().filter(|(reply, _)| reply.dead_letter || !dead_letters) {
                    none = false;
                    if let Some(number) = number.filter(|_| *numbers) {
                        reply.number = Some(number.e164().to_owned());
                    }
                    if context.json {
                        all.push(reply);
                        continue;
                    }
                    if reply.dead_letter {
                        println!(
                            "{:>6}  {} UTC  a callback of {} that could not be read  {:?}",
                            reply.id,
                            minute(&reply.at),
                            reply.gateway,
                            reply.text
                        );
                        continue;
                    }
                    let from = reply.number.as_deref().unwrap_or(if reply.stranger { "unknown number" } else { "no number" });
                    // Debug form: a control character in a reply must not reach the terminal.
                    println!(
                        "{:>6}  {} UTC  {:<8}  {from}  {}  {:?}",
                        reply.id,
                        minute(&reply.at),
                        reply.channel,
                        reply.locale,
                        reply.text
                    );
                    println!("        {}: {}", reply.reading.read_as, reply.reading.why);
                }
            }
            match (context.json, none) {
                (true, _) => println!("{}", json!({ "replies": all })),
                (false, true) => println!("nothing waits"),
                (false, false) => {}
            }
        }
        Command::Resolve { id, verdict } => {
            let stop = matches!(verdict, Verdict::Stop);
            let somebodys = inbox::resolve(&engine, *id, stop, &super::run::operator()).await?;
            if context.json {
                println!("{}", json!({ "reply": id, "as": if stop { "stop" } else { "nothing" }, "held_somebody": somebodys }));
                return Ok(());
            }
            println!(
                "reply {id}: {}",
                match (stop, somebodys) {
                    (true, _) => "taken as a stop",
                    (false, true) => "nothing; it holds the person no longer",
                    (false, false) => "put aside; it was nobody's whom we know, and changes nothing",
                }
            );
        }
    }
    Ok(())
}

/// A time in RFC 3339, as people read it.
fn minute(at: &str) -> String {
    at[..16].replace('T', " ")
}
