//! `campaign check|preview|plan|test|start|pause|resume|cancel|settle|report`

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;

use super::{Context, bar, preview, word_of};
use crate::clock::instant;
use crate::config::{Config, Problems};
use crate::domain::answer::By;
use crate::domain::campaign::{Campaign, CampaignState, local};
use crate::domain::channel::Channel;
use crate::domain::eligibility::told;
use crate::domain::message::State;
use crate::domain::phone::{PhoneError, PhoneNumber};
use crate::domain::plural::{self, counted};
use crate::domain::preview::Shown;
use crate::engine::Engine;
use crate::engine::finish::{self, Finish};
use crate::engine::notice;
use crate::engine::plan::{self, Counts};
use crate::engine::report::{self, Report, Unsent};
use crate::engine::settle;
use crate::engine::trial;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find every error in a campaign's file and its texts. Needs no database; where there is one, the notice must be published in it.
    #[command(after_help = "Example: permesso campaign check rinnovo-consensi")]
    Check {
        /// The name of its file, without .toml.
        name: String,
    },
    /// Every text as a phone shows it: its parts, what it costs, and which character makes it dear. Needs no database.
    #[command(
        after_help = "Example: permesso campaign preview rinnovo-consensi --locale it\n         permesso campaign preview rinnovo-consensi --all --json"
    )]
    Preview {
        /// The name of its file, without .toml.
        name: String,
        /// Only the texts in this language.
        #[arg(long)]
        locale: Option<String>,
        /// Confirmations, acknowledgements and help too.
        #[arg(long)]
        all: bool,
    },
    /// The dry run: who would be asked, who not and why, what the message looks like. Prints a plan id; sends nothing.
    #[command(after_help = "Example: permesso campaign plan rinnovo-consensi")]
    Plan {
        /// The name of its file, without .toml.
        name: String,
    },
    /// Send the real ask to a colleague, before or after any plan and start. It leaves in the hours allowed where they live, while
    /// `permesso run` is running; nobody counts as asked, and the page behind its link takes nothing.
    #[command(after_help = "Example: permesso campaign test rinnovo-consensi --to \"+39 300 123 4500\" --locale it --wait")]
    Test {
        /// The name of its file, without .toml.
        name: String,
        /// A number of `testers` in permesso.toml.
        #[arg(long)]
        to: String,
        /// Language of the text; without it that of the number's country.
        #[arg(long)]
        locale: Option<String>,
        /// How it goes out; without it the campaign's first way.
        #[arg(long, value_parser = word_of([Channel::Sms, Channel::WhatsApp], Channel::code))]
        channel: Option<Channel>,
        /// Wait up to a minute for what became of it.
        #[arg(long)]
        wait: bool,
    },
    /// Let a plan go: `permesso run` sends it from its start time on, with texts and rules as they were planned.
    #[command(after_help = "Example: permesso campaign start rinnovo-consensi --plan plan-7Yk2mXq9")]
    Start {
        /// The campaign's name.
        name: String,
        /// The id that `campaign plan` printed.
        #[arg(long)]
        plan: String,
    },
    /// Send no more asks and reminders until `campaign resume`. Answers to people go on.
    #[command(after_help = "Example: permesso campaign pause rinnovo-consensi")]
    Pause {
        /// The campaign's name.
        name: String,
    },
    /// Go on after a pause, a ramp-up or an account fault.
    #[command(after_help = "Example: permesso campaign resume rinnovo-consensi")]
    Resume {
        /// The campaign's name.
        name: String,
    },
    /// Cancel for good what is not sent yet, once you have said that you are sure. Who was asked stays asked, and answers still count.
    #[command(
        after_help = "Example: permesso campaign cancel rinnovo-consensi\n         permesso campaign cancel rinnovo-consensi --yes"
    )]
    Cancel {
        /// The campaign's name.
        name: String,
        /// Ask nothing: for scripts, which nobody could ask.
        #[arg(long)]
        yes: bool,
    },
    /// Ask the gateways what became of messages of which it is not known whether they were sent; with --as, take your word for it.
    #[command(
        after_help = "Example: permesso campaign settle rinnovo-consensi\n         permesso campaign settle rinnovo-consensi --as failed --by \"A. Rossi: not in the provider's log\""
    )]
    Settle {
        /// The campaign's name.
        name: String,
        /// What became of them.
        #[arg(long = "as", requires = "by")]
        to: Option<Word>,
        /// Who says so and how they know; it is recorded.
        #[arg(long, requires = "to")]
        by: Option<String>,
        /// Only the send with this reference; all unknown sends of the campaign if left out.
        #[arg(long, requires = "to")]
        reference: Option<String>,
    },
    /// Where a campaign stands: who was left out and why, what was sent, what people answered.
    #[command(after_help = "Example: permesso campaign report rinnovo-consensi --json")]
    Report {
        /// The campaign's name.
        name: String,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Word {
    Accepted,
    Delivered,
    Failed,
}

impl Word {
    fn state(self) -> State {
        match self {
            Word::Accepted => State::Accepted,
            Word::Delivered => State::Delivered,
            Word::Failed => State::Failed,
        }
    }
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    match command {
        Command::Check { name } => {
            let (config, campaign) = super::config::shown(context, Config::check_campaign(&context.dir, name))?;
            let warnings = config.warnings(&campaign);
            // Where there is no database yet, nothing can have been published either, and `plan` will say so.
            if let Ok(engine) = context.engine().await {
                let mut tx = engine.store.read().await?;
                notice::required(&mut tx, &engine).await?;
            }
            let (start, deadline) = (campaign.local(campaign.start), campaign.local(campaign.deadline));
            let now = context.now()?;
            let of_campaign = campaign.warnings(now);
            if context.json {
                let shown = serde_json::json!({
                    "ok": true,
                    "start": start,
                    "deadline": deadline,
                    "warnings": of_campaign,
                    "text_warnings": warnings,
                });
                println!("{shown}");
            } else {
                super::config::warn(&warnings);
                let texts = counted(campaign.texts.len(), "text", "texts");
                println!("campaign {name} is in order: {texts}, start {start}, deadline {deadline}");
                warn(&of_campaign);
            }
            Ok(())
        }
        Command::Preview { name, locale, all } => {
            let (mut messages, wrong) = super::config::shown(context, Config::draft_in(&context.dir, name))?;
            messages
                .retain(|s| locale.as_ref().is_none_or(|l| s.locale == *l) && (*all || s.kinds.iter().any(|kind| kind == "ask")));
            if messages.is_empty() {
                bail!("campaign `{name}` has no such text; remedy: leave out --locale, or add the text to templates/messages");
            }
            if context.json {
                println!("{}", serde_json::json!({ "campaign": name, "messages": messages, "errors": wrong }));
            } else {
                preview::print(&messages);
            }
            if wrong.is_empty() { Ok(()) } else { Err(Problems(wrong).into()) }
        }
        Command::Plan { name } => {
            super::config::shown(context, Config::check_usable(&context.dir, name))?;
            let engine = context.engine().await?;
            let campaign = engine.config.campaign(name)?;
            let mut tx = engine.store.read().await?;
            notice::required(&mut tx, &engine).await?;
            tx.rollback().await?;
            let bar = bar(0, "numbers").with_message("deciding");
            let counts = plan::preview(&engine, &campaign, |n| bar.set_position(n)).await?;
            bar.finish_and_clear();
            let now = instant(engine.now());
            let warnings = campaign.warnings(now);
            let id = plan::save(&engine, &campaign, &counts).await?;
            if context.json {
                let finish = finish::estimate(&engine, &campaign, &counts.places);
                let max_cost = &campaign.limits.max_cost;
                println!(
                    "{}",
                    serde_json::json!({ "plan": id, "counts": counts, "finish": finish, "max_cost": max_cost, "warnings": warnings })
                );
            } else {
                print_plan(&engine, &campaign, &counts)?;
                warn(&warnings);
                println!("\nplan id: {id}");
                match asks_nobody(&campaign, &counts) {
                    Some(why) => println!("nothing to start: {why}"),
                    None if campaign.overdue(now).is_some() => {}
                    None => println!("start it with: permesso campaign start {name} --plan {id}"),
                }
            }
            Ok(())
        }
        Command::Test { name, to, locale, channel, wait } => {
            super::config::shown(context, Config::check_usable(&context.dir, name))?;
            let engine = context.engine().await?;
            let campaign = engine.config.campaign(name)?;
            let number = tester(&engine, to)?;
            let planned = trial::plan(&engine, &campaign, &number, *channel, locale.as_deref()).await?;
            report_test(context, &engine, &campaign, planned, *wait).await
        }
        Command::Start { name, plan } => {
            let engine = context.engine().await?;
            let started = plan::start(&engine, name, plan).await?;
            if context.json {
                let (state, revision) = (report::campaign(&engine, name).await?.state, &started.revision);
                let (start, deadline) = (revision.local(revision.start), revision.local(revision.deadline));
                println!(
                    "{}",
                    serde_json::json!({
                        "campaign": name, "plan": plan, "state": state, "changed": started.already.is_none(), "start": start,
                        "deadline": deadline, "file_changed": started.file_changed,
                    })
                );
            } else {
                print_started(name, plan, &started);
            }
            Ok(())
        }
        Command::Pause { name } => steer(context, name, CampaignState::Paused, true).await,
        Command::Resume { name } => steer(context, name, CampaignState::Running, true).await,
        Command::Cancel { name, yes } => steer(context, name, CampaignState::Cancelled, *yes).await,
        Command::Settle { name, to: None, .. } => {
            let engine = context.engine().await?;
            let done = settle::look_up(&engine, name).await?;
            if context.json {
                println!("{}", serde_json::to_string(&done)?);
            } else {
                print_settled(name, &done);
            }
            Ok(())
        }
        Command::Settle { name, to: Some(word), by, reference } => {
            let engine = context.engine().await?;
            let by = by.as_deref().map(str::trim).filter(|by| !by.is_empty());
            let by = by.context("--by is empty; remedy: say who knows it and how")?;
            let settled = settle::by_word(&engine, name, reference.as_deref(), word.state(), by).await?;
            if context.json {
                println!("{}", serde_json::json!({ "campaign": name, "state": word.state().code(), "settled": settled }));
                return Ok(());
            }
            let sends = counted(settled, "send", "sends");
            let are = plural::word(settled, "is", "are");
            println!("{sends} of {name} {are} {} now, by the word of {by}; nothing was sent again", word.state());
            Ok(())
        }
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

/// The number a test message goes to.
pub(super) fn tester(engine: &Engine, to: &str) -> Result<PhoneNumber> {
    PhoneNumber::parse(to, engine.config.default_country.as_deref(), engine.fiction()).map_err(|error| {
        let remedy = match error {
            PhoneError::Fiction => "write a colleague's real number, one of `testers`",
            _ => "write it as +39 300 123 4567",
        };
        anyhow::anyhow!("this is no number to write to: {error}; remedy: {remedy}")
    })
}

/// How long `--wait` waits for what became of a test message.
const WAIT: Duration = Duration::from_secs(60);

pub(super) async fn report_test(
    context: &Context,
    engine: &Engine,
    campaign: &Campaign,
    planned: trial::Planned,
    wait: bool,
) -> Result<()> {
    let waits = planned.waits_until.map(|at| campaign.local(instant(at)));
    let until = Instant::now() + WAIT;
    let (mut state, mut reason) = trial::outcome(engine, planned.message).await?;
    let mut held_back = trial::held_back(engine).await?;
    let mut out_of_reach = trial::out_of_reach(engine, &planned.gateway).await?;
    let probe = out_of_reach.as_ref().map(|(_, probe_at)| *probe_at);
    // Told once a probe has failed since: the next one may be this very message. A session that is down has no probes.
    let hopeless = |down: &Option<(String, i64)>| down.as_ref().is_some_and(|(_, at)| *at == 0 || Some(*at) != probe);
    while wait
        && waits.is_none()
        && held_back.is_none()
        && matches!(state.as_str(), "planned" | "sending" | "accepted" | "sent")
        && !hopeless(&out_of_reach)
        && Instant::now() < until
    {
        tokio::time::sleep(Duration::from_millis(250)).await;
        (state, reason) = trial::outcome(engine, planned.message).await?;
        out_of_reach = trial::out_of_reach(engine, &planned.gateway).await?;
        held_back = trial::held_back(engine).await?;
    }
    let out_of_reach = out_of_reach.map(|(why, _)| why).filter(|_| state == "planned");
    let stays = held_back.filter(|_| wait && state == "planned" && waits.is_none());
    if context.json {
        println!(
            "{}",
            serde_json::json!({
                "message": planned.message, "state": state, "reason": reason, "waits_until": waits, "held_back": held_back,
                "out_of_reach": out_of_reach,
            })
        );
    } else {
        let why = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        println!("test message {}: {state}{why}", planned.message);
        match (&waits, held_back) {
            (Some(at), _) => println!("quiet hours where the tester lives: it leaves {at}, if `permesso run` is running then"),
            (None, Some(why)) if state == "planned" => {
                println!("nothing leaves at the moment: {why}. It waits an hour, then it lapses")
            }
            (None, None) if state == "planned" && out_of_reach.is_none() => {
                println!("the worker of `permesso run` sends it within the hour, or not at all")
            }
            _ => {}
        }
    }
    if let Some(why) = stays {
        let remedy = if why == trial::IDLE { "start `permesso run`" } else { "end that" };
        bail!("the message was not sent: {why}; remedy: {remedy}, and test again; this one waits an hour, then it lapses");
    }
    match out_of_reach {
        Some(why) if wait => bail!(
            "gateway {}: {why}; remedy: look at its `url` in permesso.toml and at the way there; the message waits an hour, then it lapses",
            planned.gateway
        ),
        Some(why) => {
            // In JSON it stands in its line.
            if !context.json {
                println!("gateway {}: {why}. The message waits an hour, then it lapses", planned.gateway);
            }
            Ok(())
        }
        None => match state.as_str() {
            _ if !wait => Ok(()),
            "unknown" | "failed" | "undelivered" | "expired" => bail!(
                "the test message is {state}; remedy: what stands behind it is the gateway's reason: `permesso gateway test {}` asks about the account",
                planned.gateway
            ),
            "accepted" => bail!(
                "the gateway took the message and no receipt of it came within a minute; remedy: see that its callbacks reach {} from there, and look into the log for refused ones",
                engine.config.at(&format!("/webhooks/{}", planned.gateway))
            ),
            "planned" | "sending" if waits.is_none() => bail!(
                "the message has not left within a minute; remedy: look into the log of `permesso run` and at `permesso gateway list`; it waits an hour, then it lapses"
            ),
            "cancelled" | "lapsed" => {
                bail!("the message was not sent: {}; remedy: mend that, and test again", reason.as_deref().unwrap_or(&state))
            }
            _ => Ok(()),
        },
    }
}

fn print_settled(name: &str, done: &settle::Settled) {
    for (state, count) in &done.settled {
        println!("{count:>9} {} {state}, says the gateway", plural::word(*count, "was", "were"));
    }
    let left = done.left.len();
    println!(
        "{left:>9} {} left unknown; what is unknown counts as asked and is never sent again",
        plural::word(left, "is", "are")
    );
    for left in &done.left {
        let at = instant(left.claimed_at).format("%Y-%m-%d %H:%M:%S UTC");
        println!("          {} through {} at {at}: {}", left.reference, left.gateway, left.why);
    }
    if !done.left.is_empty() {
        println!("look them up at the provider by hand, then: permesso campaign settle {name} --as failed --by \"who and how\"");
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        println!("warning: {warning}");
    }
}

fn print_started(name: &str, plan: &str, started: &plan::Started) {
    let revision = &started.revision;
    match started.already {
        Some(CampaignState::Paused) => println!(
            "campaign {name} is already started under {plan}; nothing changed: it is paused, and `permesso campaign resume {name}` goes on"
        ),
        Some(_) => println!("campaign {name} is already started under {plan}; nothing changed"),
        None => println!("campaign {name} is frozen as {plan}; `permesso run` sends it from its start time on"),
    }
    println!("start {}, deadline {}", revision.local(revision.start), revision.local(revision.deadline));
    if started.file_changed {
        println!(
            "warning: the campaign's file, a text, a price or a country pack has changed since this plan; what is frozen is the plan. \
             To take the file as it is now: permesso campaign plan {name}, and start that plan"
        );
    }
}

/// Why a plan is not worth starting, if it asks nobody now and will ask nobody later.
fn asks_nobody(campaign: &Campaign, counts: &Counts) -> Option<&'static str> {
    match (counts.eligible, counts.contacts, campaign.repeat_at) {
        (0, 0, None) => Some("no number is here to be asked; `permesso import contacts LIST.csv`, then plan again"),
        (0, _, None) => Some("nobody would be asked, for the reasons above; mend what can be mended, then plan again"),
        _ => None,
    }
}

/// Asks whoever sits there, once.
fn sure(what: &str) -> Result<()> {
    let (input, terminal) = (std::io::stdin(), std::io::stderr());
    if !(input.is_terminal() && terminal.is_terminal()) {
        bail!("{what} and cannot be undone, and nobody is here to be asked; remedy: say that you are sure with --yes");
    }
    eprint!("{what} and cannot be undone. Go on? (y/N) ");
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("nothing was changed"),
    }
}

/// `is_sure`: nothing is to be asked.
async fn steer(context: &Context, name: &str, to: CampaignState, is_sure: bool) -> Result<()> {
    let engine = context.engine().await?;
    let is = report::campaign(&engine, name).await?.state;
    // Before its start a campaign that is not paused waits for that alone.
    if is == to.code() || (to == CampaignState::Running && is == CampaignState::Scheduled.code()) {
        match context.json {
            true => println!("{}", serde_json::json!({ "campaign": name, "state": is, "changed": false, "cancelled": 0 })),
            false => println!("campaign {name} is {is} already"),
        }
        return Ok(());
    }
    // What cannot be cancelled says so, and asks nothing.
    let alive = [CampaignState::Scheduled, CampaignState::Running, CampaignState::Paused].iter().any(|state| is == state.code());
    if alive && !is_sure {
        sure(&format!("to cancel {name} ends it for good"))?;
    }
    let cancelled = plan::set_state(&engine, name, to).await?;
    if context.json {
        let state = report::campaign(&engine, name).await?.state;
        println!("{}", serde_json::json!({ "campaign": name, "state": state, "changed": true, "cancelled": cancelled }));
        return Ok(());
    }
    match to {
        CampaignState::Cancelled => {
            println!("campaign {name} is cancelled; {} with it", counted(cancelled, "planned message", "planned messages"))
        }
        CampaignState::Paused => println!("campaign {name} is paused; at most 500 messages a worker are still on their way"),
        _ => println!("campaign {name} goes on"),
    }
    Ok(())
}

/// The dry run as a manager reads it.
pub fn print_plan(engine: &Engine, campaign: &Campaign, counts: &Counts) -> Result<()> {
    println!("campaign {}: {} looked at", campaign.name, counted(counts.contacts, "number", "numbers"));
    println!("{:>9} would be asked", counts.eligible);
    if counts.waiting > 0 {
        println!(
            "{:>9} of them {} for quiet hours to end where they live",
            counts.waiting,
            plural::word(counts.waiting, "waits", "wait")
        );
    }
    for (other, count) in &counts.elsewhere {
        let are = plural::word(*count, "is", "are");
        println!("{count:>9} of them {are} planned in campaign {other} too: one ask a person, of whichever comes first");
    }
    for (code, count) in &counts.skipped {
        println!("{count:>9} not: {}", told(code));
    }
    // Nobody may be asked by SMS.
    if counts.parts > 0 {
        println!("{:>9} {} in all", counts.parts, plural::word(counts.parts, "SMS part", "SMS parts"));
    }
    if campaign.asks.len() > 1 && !counts.channels.is_empty() {
        let by: Vec<String> = campaign
            .asks
            .iter()
            .filter_map(|ask| Some(format!("{} by {}", counts.channels.get(ask.channel.code())?, ask.channel.code())))
            .collect();
        println!("          {}", by.join(", "));
    }
    print_cost(campaign, counts);
    print_finish(campaign, &finish::estimate(engine, campaign, &counts.places));
    let mut read: Vec<(u64, Shown)> = engine
        .config
        .preview(campaign)?
        .into_iter()
        .filter_map(|shown| {
            let count = counts.texts.get(&plan::text_key(shown.channel, &shown.locale))?;
            shown.kinds.iter().any(|kind| kind == "ask").then_some((*count, shown))
        })
        .collect();
    // Of each channel what most people read comes first.
    read.sort_by_key(|(count, shown)| (campaign.asks.iter().position(|ask| ask.channel == shown.channel), Reverse(*count)));
    for (count, shown) in &read {
        println!("\n  {} `{}`; by {}:", counted(*count, "person reads", "people read"), shown.locale, shown.channel.code());
        preview::print_one(shown);
    }
    Ok(())
}

fn print_cost(campaign: &Campaign, counts: &Counts) {
    let cost = &counts.cost;
    if let Some(asks) = cost.asks {
        println!("          asks cost at most {asks}");
        let reminders = cost.reminders.map(|reminders| {
            println!("          reminders at most {reminders}, if nobody answers");
            asks.plus(reminders)
        });
        if let Some(answers) = cost.answers {
            println!("          answers about {answers} more, if everybody answers; no budget holds them back");
        }
        if let Some(max) = campaign.limits.max_cost {
            let all = reminders.unwrap_or(asks);
            match all.micros <= max.micros {
                true => println!("          max_cost {max} covers that"),
                false => println!("          max_cost {max} does not cover {all}: the campaign may pause before its end"),
            }
        }
    }
    for (country, people) in &cost.unpriced {
        println!(
            "          price unknown for {country} ({}); prices.toml has no row for it",
            counted(*people, "person", "people")
        );
    }
}

fn print_finish(campaign: &Campaign, finish: &Finish) {
    let deadline = campaign.local(campaign.deadline);
    let Some(last) = finish.last_ask else {
        return println!("          deadline {deadline}");
    };
    println!("          at {}/s the last ask leaves about {}; deadline {deadline}", finish.rate, campaign.local(last));
    if finish.lapse > 0 {
        let remedy = match finish.rate_needed {
            Some(rate) => format!("it takes {rate}/s at every limit (gateway, sender, campaign), or a later deadline"),
            None => "no rate would do: set a later deadline or longer hours".to_owned(),
        };
        println!(
            "          the deadline comes first for {}, who would not be asked: {remedy}",
            counted(finish.lapse, "person", "people")
        );
    }
}

pub fn print_report(report: &Report) {
    let why = report.reason.as_ref().map_or(String::new(), |r| format!(" ({r})"));
    let halted = if report.halted { "; but everything is halted, nothing is sent until `permesso resume`" } else { "" };
    println!("campaign {}: {}{why}{halted}", report.name, report.state);
    for down in &report.out_of_reach {
        println!("          {down}; what waits goes by itself once a probe gets through");
    }
    let time = |stamp: &str| {
        let at = stamp.parse::<chrono::DateTime<chrono::Utc>>();
        at.map_or_else(|_| stamp.to_owned(), |at| local(at, &report.time_zone))
    };
    println!("          start {}, deadline {}", time(&report.start), time(&report.deadline));
    println!("{:>9} {} targeted", report.targeted, plural::word(report.targeted, "number", "numbers"));
    for (code, count) in &report.skipped {
        println!("{count:>9}   skipped: {}", told(code));
    }
    println!("{:>9} eligible", report.eligible);
    let unsent = |unsent: &Unsent, kind: &str| {
        let how = if unsent.state == "planned" { "waits".to_owned() } else { unsent.state.clone() };
        println!("{:>9}     {kind} {how}: {}", unsent.count, told(&unsent.code));
    };
    states("asks", &report.asks);
    report.not_asked().for_each(|u| unsent(u, "ask"));
    states("reminders", &report.reminders);
    report.not_reminded().for_each(|u| unsent(u, "reminder"));
    if let Some(cost) = &report.cost {
        let max = cost.max_cost.map_or_else(String::new, |max| format!(" of at most {max}"));
        println!("          {} reserved{max}: {} accepted, {} open", cost.reserved, cost.accepted, cost.open);
    }
    println!("{:>9} asked, of whom answered {}", report.asked, report.answered);
    println!("{:>9}   confirmed", report.confirmed);
    if report.withdrawn > 0 {
        println!("{:>9}     of them withdrawn since: {}", report.withdrawn, By::told(&report.withdrawn_by));
    }
    println!("{:>9}   pending: a first yes, second step awaited", report.pending);
    println!("{:>9}   unfinished: a first yes, whose second step never came", report.unfinished);
    println!("{:>9}   refused", report.refused);
    let stopped = if report.stopped > 0 { format!(": {}", By::told(&report.stopped_by)) } else { String::new() };
    println!("{:>9}   stopped all marketing{stopped}", report.stopped);
    println!("{:>9}   wrong person", report.wrong_person);
    if report.number_changed > 0 {
        println!("{:>9}   number changed", report.number_changed);
    }
    println!("{:>9}   replied, no decision", report.replied);
    if report.answered_since > 0 {
        println!(
            "{:>9}     of them after the copy that was restored: what they said is in the database kept aside",
            report.answered_since
        );
    }
    println!("{:>9}   silent", report.silent);
    println!(
        "{:>9}   unknown: it cannot be said whether the gateway took the ask; it counts and is never sent again",
        report.unknown
    );
    println!("{:>9}   not reached: the ask was refused, undelivered or expired", report.not_reached);
    if report.in_doubt() > 0 {
        println!("          to settle the unknown: permesso campaign settle {}", report.name);
    }
}

fn states(kind: &str, states: &BTreeMap<String, u64>) {
    for (state, count) in states {
        let by = if state == "replaced" { " by a newer plan" } else { "" };
        println!("{count:>9}   {kind} {state}{by}");
    }
}
