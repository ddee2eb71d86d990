//! `campaign check|plan|start|pause|resume|cancel|report`

use anyhow::Result;
use clap::Subcommand;

use super::{Context, bar};
use crate::domain::campaign::{Campaign, CampaignState};
use crate::domain::eligibility::Reason;
use crate::domain::sms;
use crate::engine::Engine;
use crate::engine::plan::{self, Counts};
use crate::engine::report::{self, Report};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find every error in a campaign file and its wording, without a database.
    #[command(after_help = "Example: permesso campaign check rinnovo-consensi")]
    Check { name: String },
    /// The dry run: who would be asked, who not and why, what the message looks like. Prints a plan id; sends nothing.
    #[command(after_help = "Example: permesso campaign plan rinnovo-consensi")]
    Plan { name: String },
    /// Freeze a plan for its start time.
    #[command(after_help = "Example: permesso campaign start rinnovo-consensi --plan plan-7Yk2mXq9")]
    Start {
        name: String,
        #[arg(long)]
        plan: String,
    },
    /// Stop claiming messages, within a slice.
    #[command(after_help = "Example: permesso campaign pause rinnovo-consensi")]
    Pause { name: String },
    /// Go on after a pause, a ramp-up or an account fault.
    #[command(after_help = "Example: permesso campaign resume rinnovo-consensi")]
    Resume { name: String },
    /// Cancel what is planned, for good.
    #[command(after_help = "Example: permesso campaign cancel rinnovo-consensi")]
    Cancel { name: String },
    /// Targeted, skipped by reason, messages by state, pending, confirmed, refused, stopped, silent.
    #[command(after_help = "Example: permesso campaign report rinnovo-consensi --json")]
    Report { name: String },
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    match command {
        Command::Check { name } => {
            let config = crate::app::load(&context.dir)?;
            let campaign = config.campaign(name)?;
            println!("campaign {name} is in order: {} texts, deadline {}", campaign.texts.len(), campaign.deadline);
            Ok(())
        }
        Command::Plan { name } => {
            let engine = context.engine().await?;
            let campaign = engine.config.campaign(name)?;
            let bar = bar(0, "people").with_message("deciding");
            let counts = plan::preview(&engine, &campaign, |n| bar.set_position(n)).await?;
            bar.finish_and_clear();
            let id = plan::save(&engine, &campaign, &counts).await?;
            if context.json {
                println!("{}", serde_json::json!({ "plan": id, "counts": counts }));
            } else {
                print_plan(&engine, &campaign, &counts)?;
                println!("\nplan id: {id}");
                println!("start it with: permesso campaign start {name} --plan {id}");
            }
            Ok(())
        }
        Command::Start { name, plan } => {
            let engine = context.engine().await?;
            plan::start(&engine, name, plan).await?;
            println!("campaign {name} is frozen as {plan}; `permesso run` sends it from its start time on");
            Ok(())
        }
        Command::Pause { name } => steer(context, name, CampaignState::Paused).await,
        Command::Resume { name } => steer(context, name, CampaignState::Running).await,
        Command::Cancel { name } => steer(context, name, CampaignState::Cancelled).await,
        Command::Report { name } => {
            let engine = context.engine().await?;
            let report = report::campaign(&engine, name).await?;
            if context.json {
                println!("{}", serde_json::to_string(&report)?);
            } else {
                print_report(&report);
            }
            Ok(())
        }
    }
}

async fn steer(context: &Context, name: &str, to: CampaignState) -> Result<()> {
    let engine = context.engine().await?;
    let cancelled = plan::set_state(&engine, name, to).await?;
    match to {
        CampaignState::Cancelled => println!("campaign {name} is cancelled; {cancelled} planned messages with it"),
        CampaignState::Paused => println!("campaign {name} is paused; at most one slice a worker was under way"),
        _ => println!("campaign {name} goes on"),
    }
    Ok(())
}

/// The dry run as a manager reads it.
pub fn print_plan(engine: &Engine, campaign: &Campaign, counts: &Counts) -> Result<()> {
    println!("campaign {}: {} people looked at", campaign.name, counts.contacts);
    println!("{:>9} would be asked", counts.eligible);
    if counts.waiting > 0 {
        println!("{:>9} of them wait for quiet hours to end where they live", counts.waiting);
    }
    for (code, count) in &counts.skipped {
        println!("{count:>9} not: {code}. {}", Reason::parse(code).map_or("", Reason::sentence));
    }
    println!("{:>9} SMS parts in all", counts.parts);
    let seconds = plan::seconds_at_rate(campaign, counts.eligible);
    println!(
        "          at {}/s the sending itself takes {}, inside the allowed hours, until {}",
        campaign.limits.rate,
        duration(seconds),
        campaign.deadline.format("%Y-%m-%d %H:%M UTC")
    );
    for ask in &campaign.asks {
        for (locale, count) in &counts.locales {
            let Some(text) = ask.texts.get(locale) else { continue };
            let shown = engine.config.sample(campaign, ask, text)?;
            let parts = sms::parts(&shown);
            let encoding = match parts.encoding {
                sms::Encoding::Gsm7 => "GSM-7",
                sms::Encoding::Ucs2 => "UCS-2",
            };
            println!("\n  to {count} people in `{locale}`: {}, {} characters in {encoding}", plural(parts.parts), parts.units);
            print_phone(&ask.sender.id, &shown);
            for (at, character) in sms::forcing_ucs2(&shown).into_iter().take(3) {
                println!("  `{character}` at character {} forces UCS-2 (70 instead of 160 characters a part)", at + 1);
            }
        }
    }
    Ok(())
}

fn plural(parts: usize) -> String {
    if parts == 1 { "1 part".into() } else { format!("{parts} parts") }
}

/// The message as a phone shows it.
fn print_phone(sender: &str, text: &str) {
    const WIDTH: usize = 40;
    let line = |s: &str| println!("  | {s}{} |", " ".repeat(WIDTH.saturating_sub(s.chars().count())));
    println!("  .-{}-.", "-".repeat(WIDTH));
    line(sender);
    println!("  |-{}-|", "-".repeat(WIDTH));
    let mut row = String::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if !row.is_empty() && row.chars().count() + 1 + word.len() > WIDTH {
            line(&row);
            row.clear();
        }
        while word.len() > WIDTH {
            line(&word.drain(..WIDTH).collect::<String>());
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row.extend(word);
    }
    line(&row);
    println!("  '-{}-'", "-".repeat(WIDTH));
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

pub fn print_report(report: &Report) {
    let why = report.reason.as_ref().map_or(String::new(), |r| format!(" ({r})"));
    println!("campaign {}: {}{why}", report.name, report.state);
    println!("{:>9} targeted", report.targeted);
    for (code, count) in &report.skipped {
        println!("{count:>9}   skipped: {code}. {}", Reason::parse(code).map_or("", Reason::sentence));
    }
    println!("{:>9} eligible", report.eligible);
    for (state, count) in &report.asks {
        println!("{count:>9}   asks {state}");
    }
    println!("{:>9} pending: a first yes, second step awaited", report.pending);
    println!("{:>9} confirmed", report.confirmed);
    println!("{:>9} refused", report.refused);
    println!("{:>9} stopped all marketing", report.stopped);
    println!("{:>9} wrong person", report.wrong_person);
    println!("{:>9} silent", report.silent);
    if report.unknown > 0 {
        println!(
            "{:>9} unknown: it cannot be said whether the gateway took them; they count as asked and are never sent again",
            report.unknown
        );
    }
}
