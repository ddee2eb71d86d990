//! `reply classify`

use std::io::{BufRead, Write};

use anyhow::{Result, bail};
use clap::Subcommand;

use super::Context;
use crate::config::one_of;
use crate::domain::reply::Classifier;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lines on stdin, an intent a line on stdout: opt_in, opt_out, wrong_person, help, unclear. With --json an object a line.
    #[command(after_help = "Example: echo 'levatemi da questo elenco' | permesso reply classify --locale it --explain")]
    Classify {
        /// The language people were asked in: only its yes counts.
        #[arg(long)]
        locale: String,
        /// Also the phrase or rule that decided, and the file it stands in.
        #[arg(long)]
        explain: bool,
    },
}

pub fn run(context: &Context, command: &Command) -> Result<()> {
    let Command::Classify { locale, explain } = command;
    let config = crate::app::load(&context.dir)?;
    if !config.phrases.iter().any(|p| &p.locale == locale) {
        let add = format!("add replies/{locale}.toml");
        let known = one_of(config.phrases.iter().map(|p| p.locale.as_str()), &add);
        bail!("there is no phrase set for `{locale}`; remedy: {known}");
    }
    let classifier = Classifier::new(config.phrases);
    let mut out = super::out::Stdout;
    let mut line = Vec::new();
    let mut input = std::io::stdin().lock();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let (intent, why) = classifier.explain(locale, text.trim_end_matches(['\r', '\n']));
        if context.json {
            let origin = why.origin();
            let line = serde_json::json!({
                "intent": intent.code(),
                // Where `opt_out` says less: refuse or stop.
                "read_as": intent.key(),
                "because": why.code(),
                "phrase": origin.map(|o| &o.phrase),
                "list": origin.map(|o| o.list),
                "file": origin.map(|o| &o.file),
            });
            writeln!(out, "{line}")?;
        } else if *explain {
            writeln!(out, "{:<12}  {why}", intent.code())?;
        } else {
            writeln!(out, "{}", intent.code())?;
        }
    }
}
