//! Where an export goes: the terminal, or a file that its owner alone can read.

use std::fs::OpenOptions;
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::Context;
use crate::domain::plural::counted;

/// A new file of mode 0600, or standard output. An earlier file is written over, and made its owner's alone, only with `force`.
pub fn open(path: Option<&Path>, force: bool) -> Result<Box<dyn Write>> {
    let Some(path) = path else { return Ok(Box::new(BufWriter::new(Stdout))) };
    let shown = path.display();
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{shown} exists already; remedy: name a new file, or write over it with --force")
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("{shown} cannot be written: its folder does not exist; remedy: make the folder, or name another file")
        }
        Err(error) => bail!("{shown} cannot be written: {error}; remedy: name a file that you may write"),
    };
    if file.metadata()?.is_file() {
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).with_context(|| format!("cannot protect {shown}"))?;
    }
    Ok(Box::new(BufWriter::new(file)))
}

/// Standard output. Whoever reads it may have seen enough, as in `permesso … | head`: that is no error, and ends the command.
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        unless_closed(std::io::stdout().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        unless_closed(std::io::stdout().flush())
    }
}

fn unless_closed<T>(done: std::io::Result<T>) -> std::io::Result<T> {
    if done.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
    done
}

/// How many lines went where; nothing where they went to standard output, which holds them alone.
pub fn report(context: &Context, path: Option<&Path>, lines: usize) {
    let Some(path) = path else { return };
    match context.json {
        true => println!("{}", serde_json::json!({ "lines": lines, "file": path })),
        false => println!("{} written to {}", counted(lines, "line", "lines"), path.display()),
    }
}
