//! `reply classify`

use std::io::{BufRead, Write};

use anyhow::{Result, bail};
use clap::Subcommand;

use super::Context;
use crate::domain::reply::Classifier;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lines on stdin, an intent a line on stdout: opt_in, opt_out, wrong_person, help, unclear.
    #[command(after_help = "Example: echo 'levatemi da questo elenco' | permesso reply classify --locale it")]
    Classify {
        #[arg(long)]
        locale: String,
    },
}

pub fn run(context: &Context, command: &Command) -> Result<()> {
    let Command::Classify { locale } = command;
    let config = crate::app::load(&context.dir)?;
    if !config.phrases.iter().any(|p| &p.locale == locale) {
        let known = config.phrases.iter().map(|p| p.locale.as_str()).collect::<Vec<_>>().join(", ");
        bail!("there is no phrase set for `{locale}`; there are: {known}");
    }
    let classifier = Classifier::new(config.phrases);
    let mut out = std::io::stdout().lock();
    let mut line = Vec::new();
    let mut input = std::io::stdin().lock();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        writeln!(out, "{}", classifier.classify(locale, text.trim_end_matches(['\r', '\n'])).code())?;
    }
}
