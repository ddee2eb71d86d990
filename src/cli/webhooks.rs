//! `webhooks list`, `webhooks retry`, `webhooks resume`, `webhooks test`

use anyhow::{Result, bail};
use clap::Subcommand;

use super::Context;
use crate::clock::instant;
use crate::domain::plural::counted;
use crate::engine::{Engine, notify};
use crate::store::outbox;

/// Rows shown at once.
const SHOWN: i64 = 200;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// How each webhook stands, and the events it has not taken yet.
    #[command(after_help = "Example: permesso webhooks list --dead")]
    List {
        /// Dead letters alone: events refused ten times over three days.
        #[arg(long)]
        dead: bool,
    },
    /// Give dead letters all their tries again.
    #[command(after_help = "Example: permesso webhooks retry 17 18\n         permesso webhooks retry --all")]
    Retry {
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<i64>,
        /// Every dead letter.
        #[arg(long)]
        all: bool,
    },
    /// Take a webhook up again that answered 410 Gone.
    #[command(after_help = "Example: permesso webhooks resume crm")]
    Resume { name: String },
    /// Send a `webhook.test` event now and print the answer.
    #[command(after_help = "Example: permesso webhooks test crm")]
    Test { name: String },
}

pub async fn run(context: &Context, command: &Command) -> Result<()> {
    let engine = context.engine().await?;
    match command {
        Command::List { dead } => list(context, &engine, *dead).await,
        Command::Retry { ids, all } => retry(context, &engine, ids, *all).await,
        Command::Resume { name } => {
            let mut tx = engine.store.write().await?;
            let was_closed = outbox::reopen(&mut tx, &engine.controller, name).await?;
            tx.commit().await?;
            if !was_closed {
                bail!("webhook `{name}` is not closed; remedy: `permesso webhooks list` shows how each stands");
            }
            match context.json {
                true => println!("{}", serde_json::json!({ "webhook": name, "resumed": true })),
                false => println!("webhook {name}: taken up again"),
            }
            Ok(())
        }
        Command::Test { name } => {
            let (status, answer) = notify::test(&engine, name).await?;
            match context.json {
                true => println!("{}", serde_json::json!({ "webhook": name, "status": status, "answer": answer })),
                // Debug form: a control character in an answer must not reach the terminal.
                false => println!("webhook {name}: HTTP {status} {answer:?}"),
            }
            if !(200..300).contains(&status) {
                bail!(
                    "the receiver did not take the test event; remedy: it has to answer 2xx once it has verified and stored it"
                );
            }
            Ok(())
        }
    }
}

async fn list(context: &Context, engine: &Engine, dead: bool) -> Result<()> {
    let mut tx = engine.store.read().await?;
    let webhooks = notify::standings(&mut tx, engine).await?;
    let mut rows = outbox::untold(&mut tx, &engine.controller, "dead", SHOWN).await?;
    if !dead {
        rows.extend(outbox::untold(&mut tx, &engine.controller, "pending", SHOWN).await?);
    }
    tx.rollback().await?;
    if context.json {
        let events: Vec<_> = rows
            .iter()
            .map(|r| {
                serde_json::json!({
                    "id": r.id, "webhook": r.webhook, "event_id": r.event_id, "type": r.kind, "ledger_seq": r.seq,
                    "at": instant(r.at).to_rfc3339(), "state": r.state, "tries": r.tries,
                    "next_at": instant(r.next_at).to_rfc3339(), "error": r.error,
                })
            })
            .collect();
        println!("{}", serde_json::json!({ "webhooks": webhooks, "events": events }));
        return Ok(());
    }
    if webhooks.is_empty() {
        println!("no [[webhook]] in permesso.toml");
    }
    for w in &webhooks {
        let note = match (&w.closed_since, w.configured) {
            (Some(since), _) => format!(", closed by 410 Gone since {since}: `permesso webhooks resume {}`", w.name),
            (None, false) => ", no longer in permesso.toml: these wait until it is back".to_owned(),
            (None, true) => String::new(),
        };
        println!("{}: {} pending (oldest {} s), {} dead{note}", w.name, w.pending, w.oldest_s, w.dead);
    }
    for r in &rows {
        let at = |at| instant(at).format("%Y-%m-%d %H:%M UTC");
        let next = if r.state == "dead" { "dead".to_owned() } else { format!("next {}", at(r.next_at)) };
        let error = r.error.as_deref().unwrap_or("not tried yet");
        println!(
            "{:>6}  {}  {:<12} {:<22} {next}, {}: {error}",
            r.id,
            at(r.at),
            r.webhook,
            r.kind,
            counted(r.tries, "try", "tries")
        );
    }
    if rows.len() as i64 >= SHOWN {
        println!("the first {SHOWN} of each kind are shown");
    }
    Ok(())
}

async fn retry(context: &Context, engine: &Engine, ids: &[i64], all: bool) -> Result<()> {
    let now = engine.now();
    let mut tx = engine.store.write().await?;
    let mut revived = 0;
    if all {
        revived = outbox::retry_all(&mut tx, &engine.controller, now).await?;
    }
    for id in ids {
        if !outbox::retry(&mut tx, &engine.controller, *id, now).await? {
            bail!("{id} is no dead letter, nothing was changed; remedy: `permesso webhooks list --dead`");
        }
        revived += 1;
    }
    tx.commit().await?;
    match context.json {
        true => println!("{}", serde_json::json!({ "retried": revived })),
        false => println!("{} tried again by the next worker", counted(revived, "event is", "events are")),
    }
    Ok(())
}
