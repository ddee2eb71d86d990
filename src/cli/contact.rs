//! `contact explain`, `contact export`, `contact erase`, `contact link`, `contact requests`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use chrono::NaiveDate;
use clap::{Subcommand, ValueEnum};

use super::{Context, run, word_of};
use crate::clock::instant;
use crate::domain::phone::PhoneNumber;
use crate::domain::plural::{counted, word};
use crate::domain::rights::Right;
use crate::engine::dossier::{self, Closed, Dossier};
use crate::engine::erase::{self, Erased, Left};
use crate::engine::requests::{self, Asked};
use crate::engine::rights::{self, Objected};
use crate::engine::{Engine, explain, hand, record};
use crate::web::desk::sheet;
use crate::web::lang::Lang;
use crate::web::mytable;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Whether each campaign asked this person and what they answered, or which rule kept it from asking; then the whole story.
    #[command(after_help = "Example: permesso contact explain \"+39 300 123 4567\"")]
    Explain {
        /// The number with its country code, in any spelling, or the pseudonym that lists print.
        number: String,
    },
    /// Everything that is known about a person, for the person: consent records (JSON-LD, ISO/IEC TS 27560) or a table (CSV).
    #[command(after_help = "Example: permesso contact export \"+39 300 123 4567\" --out anna.jsonld")]
    Export {
        /// The number with its country code, in any spelling, or the pseudonym that lists print.
        number: String,
        /// `jsonld` or `csv`.
        #[arg(long, value_enum, default_value = "jsonld")]
        format: Format,
        /// Language of the table's words: the person's own as far as it is known, or else the company's, if left out.
        #[arg(long, value_parser = word_of(Lang::ALL, Lang::code))]
        locale: Option<Lang>,
        /// A new file, for its owner alone; standard output if left out.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Write over the file if it exists.
        #[arg(long, requires = "out")]
        force: bool,
        /// The day the request came (UTC): today if left out.
        #[arg(long, value_name = "DAY")]
        received: Option<NaiveDate>,
    },
    /// Erase a person who asked for it, with every number tied to theirs, for good. A no as keyed hashes and pseudonymous proof remain.
    #[command(
        after_help = "Example: permesso contact erase \"+39 300 123 4567\" --dry-run\n         permesso contact erase \"+39 300 123 4567\" --received 2026-11-20"
    )]
    Erase {
        /// The number with its country code, in any spelling, or the pseudonym that lists print.
        number: String,
        /// The day the request came (UTC), from which its month runs: today if left out.
        #[arg(long, value_name = "DAY")]
        received: Option<NaiveDate>,
        /// Change nothing, and say what would be erased.
        #[arg(long)]
        dry_run: bool,
    },
    /// Restrict the use of a person's data (Art. 18 GDPR), with every number tied to theirs: they are kept, and nothing is sent.
    #[command(after_help = "Example: permesso contact restrict \"+39 300 123 4567\"")]
    Restrict {
        /// The number with its country code, in any spelling, or the pseudonym that lists print.
        number: String,
        /// The day the request came (UTC): today if left out.
        #[arg(long, value_name = "DAY")]
        received: Option<NaiveDate>,
    },
    /// End a restriction, after the person was told (Art. 18(3) GDPR).
    #[command(after_help = "Example: permesso contact unrestrict \"+39 300 123 4567\" --told \"letter of 2026-12-01\"")]
    Unrestrict {
        /// The number with its country code, in any spelling, or the pseudonym that lists print.
        number: String,
        /// How and when the person was told, for the record.
        #[arg(long, value_name = "WORDS")]
        told: String,
    },
    /// A person objects to marketing (Art. 21 GDPR): all of it ends, on every channel, for every purpose and number of theirs.
    #[command(after_help = "Example: permesso contact object \"+39 300 123 4567\" --received 2026-11-20")]
    Object {
        /// The number with its country code, in any spelling, or the pseudonym that lists print.
        number: String,
        /// The day the request came (UTC): today if left out.
        #[arg(long, value_name = "DAY")]
        received: Option<NaiveDate>,
    },
    /// A person has another number (Art. 16 GDPR): the old one is closed; the new one has every no and no consent of the old.
    #[command(after_help = "Example: permesso contact change \"+39 300 123 4567\" \"+39 300 765 4321\"")]
    Change {
        /// The old number, with its country code.
        number: String,
        /// The new one.
        new: String,
        /// The day the request came (UTC): today if left out.
        #[arg(long, value_name = "DAY")]
        received: Option<NaiveDate>,
    },
    /// A fresh link to a person's own page, to hand over by letter or mail: nothing is sent, and who made it is on record.
    #[command(
        after_help = "Example: permesso contact link \"+39 300 123 4567\"\n         permesso contact link \"+39 300 123 4567\" --asked-back \"letter of 2026-12-03\""
    )]
    Link {
        /// The number with its country code, in any spelling, or the pseudonym that lists print.
        number: String,
        /// How and when somebody who was erased asked to come back: on record, and on their page as the source of the number.
        #[arg(long, value_name = "WORDS")]
        asked_back: Option<String>,
    },
    /// What people asked for about their data: when it is due, and what providers still have to do.
    #[command(subcommand, after_help = "Example: permesso contact requests list")]
    Requests(Requests),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Jsonld,
    Csv,
}

#[derive(Debug, Subcommand)]
pub enum Requests {
    /// Requests, oldest first, with what to ask of each provider.
    #[command(after_help = "Example: permesso contact requests list --open")]
    List {
        /// Only those not done yet.
        #[arg(long)]
        open: bool,
    },
    /// Note a request that came by letter and is not carried out yet: the list and the desk then show when it is due. The command that
    /// carries it out (`contact erase`, …) ends it.
    #[command(after_help = "Example: permesso contact requests note \"+39 300 123 4567\" --right erasure --received 2026-11-20")]
    Note {
        /// The number with its country code, in any spelling, or the pseudonym that lists print.
        number: String,
        /// What was asked for.
        #[arg(long, value_parser = word_of(Right::ALL, Right::code))]
        right: Right,
        /// The day it came (UTC), from which its month runs: today if left out.
        #[arg(long, value_name = "DAY")]
        received: Option<NaiveDate>,
    },
    /// A provider has done its part, and with the last one the request is done; or what was noted is answered in another way, or a mistake.
    #[command(
        after_help = "Example: permesso contact requests done 17 --gateway mock\n         permesso contact requests done 18\n         permesso contact requests done 19 --mistaken \"the letter names another number\""
    )]
    Done {
        /// The number at the beginning of its line in `contact requests list`.
        id: i64,
        /// The provider's account, as in permesso.toml; left out for a request that was only noted.
        #[arg(long)]
        gateway: Option<String>,
        /// How and when the person was told why their wish is not carried out, for the record; an objection is never refused.
        #[arg(long, value_name = "WORDS", conflicts_with = "gateway")]
        told: Option<String>,
        /// Why nobody asked for what was noted, for the record: it ends, an objection too.
        #[arg(long, value_name = "WORDS", conflicts_with_all = ["gateway", "told"])]
        mistaken: Option<String>,
    },
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let engine = context.engine().await?;
    match command {
        Command::Explain { number } => explain(context, &engine, number).await,
        Command::Export { number, format, locale, out, force, received } => {
            let asked = asked(&engine, *received, "contact export")?;
            let write = |dossier: &Dossier| {
                let mut target = super::out::open(out.as_deref(), *force)?;
                match format {
                    Format::Jsonld => writeln!(target, "{:#}", record::json_ld(&engine, dossier))?,
                    Format::Csv => {
                        let theirs = || dossier.locale().and_then(|locale| Lang::parse(&locale));
                        let ours = || Lang::parse(&engine.config.default_locale);
                        let lang = locale.or_else(theirs).or_else(ours).unwrap_or(Lang::EN);
                        target.write_all(&sheet::csv(mytable::rows(lang, &engine.config.retention, dossier)))?;
                    }
                }
                target.done()?;
                dossier.closed.iter().for_each(|closed| eprintln!("{}", left_out(*closed)));
                Ok(())
            };
            dossier::hand_over(&engine, &parsed(&engine, number).await?, &asked, write).await
        }
        Command::Erase { number, received, dry_run } => {
            let number = parsed(&engine, number).await?;
            let asked = asked(&engine, *received, "contact erase")?;
            let erased = erase::erase(&engine, &number, &asked, *dry_run).await?;
            match context.json {
                true => println!("{}", serde_json::to_string(&erased)?),
                false => print_erased(&erased, *dry_run),
            }
            Ok(())
        }
        Command::Restrict { number, received } => {
            let numbers = rights::restrict_number(
                &engine,
                &parsed(&engine, number).await?,
                true,
                &asked(&engine, *received, "contact restrict")?,
            )
            .await?;
            match numbers {
                n if context.json => restriction(true, n),
                0 => println!("restricted already"),
                n => println!("restricted: {}; nothing is sent to them", counted(n, "number", "numbers")),
            }
            Ok(())
        }
        Command::Unrestrict { number, told } => {
            let told = words(told)?;
            let asked = Asked { evidence: format!("the person was told: {told}"), ..asked(&engine, None, "contact unrestrict")? };
            match rights::restrict_number(&engine, &parsed(&engine, number).await?, false, &asked).await? {
                n if context.json => restriction(false, n),
                0 => println!("not restricted"),
                n => println!("no more restricted: {}", counted(n, "number", "numbers")),
            }
            Ok(())
        }
        Command::Object { number, received } => {
            match rights::object(&engine, &parsed(&engine, number).await?, &asked(&engine, *received, "contact object")?).await? {
                found if context.json => println!("{}", serde_json::json!({ "objection": found })),
                Objected::Ended => println!("all marketing to this person has ended, on every channel"),
                Objected::Already => {
                    println!("all marketing to this person had ended before; nothing more is sent, and the request is on record")
                }
                // Art. 21(3) GDPR: to respect an objection its number has to be known again.
                Objected::Stranger => {
                    println!("the number is no contact, so nothing was sent to it or planned; kept: {KEPT_OUT}, and the request")
                }
                Objected::Erased => println!("this person was erased, which ended all marketing to them; nothing changed"),
            }
            Ok(())
        }
        Command::Change { number, new, received } => {
            let (old, new) = (parsed(&engine, number).await?, typed(&engine, new)?);
            rights::change_number(&engine, &old, &new, &asked(&engine, *received, "contact change")?).await?;
            match context.json {
                true => println!("{}", serde_json::json!({ "old": old.masked(), "new": new.masked() })),
                false => println!("the old number is closed; the new one has every no of the old, and none of its consents"),
            }
            Ok(())
        }
        Command::Link { number, asked_back } => {
            let asked_back = asked_back.as_deref().map(str::trim);
            if asked_back == Some("") {
                bail!(
                    "--asked-back: is empty; remedy: how and when the person asked for it, as in --asked-back \"letter of 2026-12-03\""
                );
            }
            let handed = hand::link(&engine, &parsed(&engine, number).await?, &run::operator(), asked_back).await?;
            if context.json {
                println!("{}", serde_json::to_string(&handed)?);
                return Ok(());
            }
            println!(
                "{}\nfor {}, and nobody else: whoever has it can say no in their name; a yes can be said behind it until {}",
                handed.address, handed.number, handed.yes_until
            );
            if asked_back.is_some() {
                println!("nothing is sent before they choose there, and without a yes of theirs the number is forgotten again");
            }
            Ok(())
        }
        Command::Requests(Requests::List { open }) => list(context, &engine, *open).await,
        Command::Requests(Requests::Note { number, right, received }) => {
            let asked = asked(&engine, *received, "contact requests note")?;
            let id = requests::note(&engine, *right, &parsed(&engine, number).await?, &asked).await?;
            let said = format!("request {id} is noted; it is due {}", requests::due_on(&asked));
            print_request(context, &engine, id, &said).await
        }
        Command::Requests(Requests::Done { id, gateway: Some(gateway), .. }) => {
            requests::done(&engine, *id, gateway, &run::operator()).await?;
            print_request(context, &engine, *id, &format!("request {id}: {gateway} has done its part")).await
        }
        Command::Requests(Requests::Done { id, mistaken: Some(why), .. }) => {
            let why = why.trim();
            if why.is_empty() {
                bail!(
                    "--mistaken: is empty; remedy: why nobody asked for it, as in --mistaken \"the letter names another number\""
                );
            }
            requests::mistaken(&engine, *id, why).await?;
            print_request(context, &engine, *id, &format!("request {id} is ended as noted by mistake")).await
        }
        Command::Requests(Requests::Done { id, gateway: None, told, mistaken: None }) => {
            requests::answered(&engine, *id, told.as_deref().map(words).transpose()?).await?;
            print_request(context, &engine, *id, &format!("request {id} is answered")).await
        }
    }
}

/// How many numbers a restriction, or its end, has changed.
fn restriction(restricted: bool, numbers: u64) {
    println!("{}", serde_json::json!({ "restricted": restricted, "numbers": numbers }));
}

/// What was done with a request; in JSON as the list has it from then on.
async fn print_request(context: &Context, engine: &Engine, id: i64, said: &str) -> Result<()> {
    match context.json {
        true => println!("{}", serde_json::to_string(&requests::one(engine, id).await?)?),
        false => println!("{said}"),
    }
    Ok(())
}

/// How and when somebody was told something.
fn words(told: &str) -> Result<&str> {
    match told.trim() {
        "" => bail!(
            "--told: is empty; remedy: how and when the person was told, as in --told \"letter of 2026-12-01\" (Art. 12(4) and 18(3) GDPR)"
        ),
        told => Ok(told),
    }
}

/// The number that was typed, or that of a pseudonym.
async fn parsed(engine: &Engine, text: &str) -> Result<PhoneNumber> {
    match pseudonym(text) {
        Some(subject) => explain::number_of(engine, subject).await?.with_context(|| nobodys(subject)),
        None => typed(engine, text),
    }
}

fn typed(engine: &Engine, number: &str) -> Result<PhoneNumber> {
    PhoneNumber::parse(number, engine.config.default_country.as_deref(), engine.fiction())
        .context("this is no number; remedy: write it as +39 300 123 4567, or the pseudonym as `consents list` prints it")
}

/// What lists print in place of a number: no number has such letters.
fn pseudonym(text: &str) -> Option<&str> {
    let text = text.trim();
    (text.len() > 20 && text.starts_with('s') && text.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(text)
}

fn nobodys(subject: &str) -> String {
    format!(
        "there is no contact `{subject}`; remedy: the whole pseudonym as `consents list` or `contact requests list` prints it, or the number \
         (of whoever was erased, `contact explain` alone has what is left)"
    )
}

/// A request that came to the operator.
fn asked(engine: &Engine, received: Option<NaiveDate>, command: &str) -> Result<Asked> {
    let by = run::operator();
    let at = received.map(|day| day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros());
    if let Some(day) = received.filter(|_| at.is_some_and(|at| at > engine.now())) {
        bail!("--received: {day} has not come yet; remedy: the day on which the request came in");
    }
    Ok(Asked { channel: "operator", evidence: format!("{command}, by {by}"), by, received_at: at.unwrap_or(engine.now()) })
}

/// What a file of a closed number has not, and whose it is.
fn left_out(closed: Closed) -> String {
    let since = instant(closed.since).date_naive();
    let (why, remedy) = match closed.changed {
        true => ("its person has another one", "`contact export` of that one has all of theirs"),
        false => ("whoever has it said that it is not that person's", "whoever has it now gets nothing of this"),
    };
    format!(
        "the number is closed since {since}: {why}. The file is for the person that it was imported about, and leaves out what passed with the number from then on; remedy: hand it to nobody else, {remedy}"
    )
}

/// Whose data an erasure by such a number leaves.
fn left_beside(left: &Left) -> String {
    let (why, theirs) = match left {
        Left::Forgotten => ("nothing was heard from this number for so long that it was forgotten", "their number".to_owned()),
        Left::Changed(number) => ("this number's person has another one", number.clone()),
        Left::WrongPerson => ("whoever has this number said that it is a wrong one", "their number".to_owned()),
    };
    format!(
        "left as it is: what is known of whose number it was, by any other: {why}, so who asks may be somebody else; remedy: where it is that person, erase {theirs}, too"
    )
}

/// What is kept of a number that we do not know, and why.
const KEPT_OUT: &str = "its no, as a keyed hash, so that it is not written to, whatever list brings it";

fn print_erased(erased: &Erased, rehearsal: bool) {
    if erased.already {
        println!("this person was erased before: nothing of them is here");
        return;
    }
    let would = if rehearsal { "would be " } else { "" };
    match erased.numbers {
        0 if erased.replies == 0 => println!("the number is no contact, so there is nothing to erase; {would}kept: {KEPT_OUT}"),
        0 => println!(
            "the number is no contact; {would}erased: {}; {would}kept: {KEPT_OUT}",
            counted(erased.replies, "reply", "replies")
        ),
        n => println!(
            "{would}erased: {}, {}, {}; links in messages sent end",
            counted(n, "number", "numbers"),
            counted(erased.rows, "imported row", "imported rows"),
            counted(erased.replies, "reply", "replies")
        ),
    }
    if erased.numbers > 0 {
        println!("kept: the no, as keyed hashes; the pseudonymous proof in the ledger, until {}", erased.proof_until);
    }
    if let Some(left) = &erased.left {
        println!("{}", left_beside(left));
    }
    for (gateway, messages) in &erased.gateways {
        println!("{gateway} has to do its part ({}), by {}", counted(*messages, "message", "messages"), erased.due);
    }
    println!("yours: take the number out of your CRM and lists; no export names it any more (a [[webhook]] tells the CRM)");
    let (open, done): (Vec<i64>, Vec<i64>) = erased.requests.iter().partition(|id| erased.open.contains(id));
    let named = |ids: &[i64]| ids.iter().map(|id| format!("request {id}")).collect::<Vec<_>>().join(", ");
    let (open, done) = (named(&open), named(&done));
    let on_record = if done.is_empty() { String::new() } else { format!("; on record as {done}") };
    match (rehearsal, open.is_empty()) {
        (true, _) => println!("nothing was changed"),
        (false, true) => println!("done{on_record}"),
        (false, false) => println!(
            "done here{on_record}; {open} {} open until the providers have done their part: `permesso contact requests list --open` says what to ask of them",
            word(erased.open.len() as u64, "is", "are")
        ),
    }
}

async fn list(context: &Context, engine: &Engine, open: bool) -> Result<()> {
    let all = requests::list(engine, open).await?;
    if context.json {
        println!("{}", serde_json::to_string(&all)?);
        return Ok(());
    }
    for request in &all {
        let state = match (&request.done, request.overdue) {
            (Some(day), _) => format!("done {day}"),
            (None, true) => format!("OVERDUE since {}", request.due),
            (None, false) => format!("due {}", request.due),
        };
        let subject = request.subject.as_deref().unwrap_or("no contact");
        println!(
            "{:>6}  {:<13} {}  received {}, {}  {subject}",
            request.id,
            request.kind,
            state,
            request.received,
            request.came()
        );
        if let Some(command) = &request.left {
            println!("        not carried out yet: {command}");
        }
        if let Some(hint) = &request.hint {
            println!("        {hint}");
        }
        for provider in &request.providers {
            let done = provider.done.as_ref().map_or(String::new(), |day| {
                format!(" (done {day}, said by {})", provider.done_by.as_deref().unwrap_or_default())
            });
            println!("        {}: {}{done}", provider.gateway, provider.ask);
            for passed in &provider.messages {
                println!("          {}  {}", passed.reference, passed.provider_id.as_deref().unwrap_or("-"));
            }
        }
    }
    if all.is_empty() {
        println!("nothing {}", if open { "is open" } else { "was asked for" });
    }
    Ok(())
}

async fn explain(context: &Context, engine: &Engine, number: &str) -> Result<()> {
    let story = match pseudonym(number) {
        Some(subject) => explain::by_pseudonym(engine, subject).await?.with_context(|| nobodys(subject))?,
        None => explain::explain(engine, &typed(engine, number)?).await?,
    };
    if context.json {
        println!("{}", serde_json::to_string(&story)?);
        return Ok(());
    }
    println!("{}\n{}", story.number, story.verdict);
    for campaign in &story.campaigns {
        println!("\nCampaign {}", campaign.campaign);
        // The verdict at the top has the newest campaign's own sentence.
        if !story.verdict.contains(&campaign.sentence) {
            println!("  {}", campaign.sentence);
        }
        for wording in &campaign.wordings {
            println!("  {}", wording.replace('\n', "\n  "));
        }
        if let Some(decision) = campaign.decisions.last() {
            println!("  What was on record at the {} of {}:", decision.stage, decision.day());
            for (label, value) in decision.lines() {
                println!("    {:<22}{value}", format!("{label}:"));
            }
        }
    }
    if !story.history.is_empty() {
        println!("\nWhat happened ({})", story.time_zone);
        for moment in &story.history {
            println!("  {}  {}", moment.when(), moment.what);
        }
    }
    let parts = [
        ("Preferences", &story.preferences),
        ("Consents by status", &story.consents),
        ("Suppressions", &story.suppressions),
        ("Requests", &story.requests),
        ("Opposition registers", &story.registers),
        ("Imported", &story.imported),
        ("Ledger", &story.ledger),
        ("What the page said", &story.pages),
    ];
    for (title, lines) in parts.into_iter().filter(|(_, lines)| !lines.is_empty()) {
        println!("\n{title}");
        for line in lines {
            println!("  {}", line.replace('\n', "\n  "));
        }
    }
    Ok(())
}
