//! Where an export goes: the terminal, or a file that its owner alone can read, and that is whole: half an export lacks noes.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::Context;
use crate::domain::plural::counted;
use crate::store::backup;

/// What is written becomes the file by [`Out::done`]; before that it stands beside it, and goes where it is given up.
pub enum Out {
    Terminal(BufWriter<Stdout>),
    /// A pipe, a device: there is no beside.
    Stream(BufWriter<File>),
    File(BufWriter<File>, Place),
}

/// Where a file is written, and what it becomes.
pub struct Place {
    new: PathBuf,
    to: PathBuf,
    over: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.new);
    }
}

/// A new file of mode 0600, or standard output. An earlier file is written over only with `force`.
pub fn open(path: Option<&Path>, force: bool) -> Result<Out> {
    let Some(path) = path else { return Ok(Out::Terminal(BufWriter::new(Stdout))) };
    let shown = path.display();
    if path.symlink_metadata().is_ok() && !force {
        return exists(path);
    }
    // What a name stands for is written, and not the name.
    let to = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let is_stream = fs::metadata(&to).is_ok_and(|there| !there.is_file());
    // Of this process alone: two at a time write two files, and each is whole when it takes the place.
    let new = match is_stream {
        true => to.clone(),
        false => to.with_added_extension(format!("{}.new", std::process::id())),
    };
    if !is_stream {
        // An earlier process of this number left it.
        let _ = fs::remove_file(&new);
    }
    let opened = OpenOptions::new().write(true).create_new(!is_stream).mode(0o600).open(&new);
    let file = match opened {
        Ok(file) => BufWriter::new(file),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("{shown} cannot be written: its folder does not exist; remedy: make the folder, or name another file")
        }
        Err(error) => bail!("{shown} cannot be written: {error}; remedy: name a file that you may write"),
    };
    if is_stream {
        return Ok(Out::Stream(file));
    }
    let place = Place { new, to, over: force };
    // Whatever mask the process has.
    file.get_ref().set_permissions(fs::Permissions::from_mode(0o600)).with_context(|| format!("cannot protect {shown}"))?;
    Ok(Out::File(file, place))
}

impl Out {
    /// All of it is written.
    ///
    /// # Errors
    /// It could not be; then what was there before is there still.
    pub fn done(self) -> Result<()> {
        match self {
            Out::Terminal(mut out) => Ok(out.flush()?),
            Out::Stream(mut out) => Ok(out.flush()?),
            Out::File(mut file, place) => {
                let stored = file.flush().and_then(|()| file.get_ref().sync_all());
                stored.with_context(|| format!("{} cannot be written; remedy: make room for it", place.to.display()))?;
                match place.over {
                    true => Ok(backup::replace(&place.new, &place.to)?),
                    false => put(&place),
                }
            }
        }
    }
}

/// In no other's place, who may have come meanwhile.
fn put(place: &Place) -> Result<()> {
    match fs::hard_link(&place.new, &place.to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => exists(&place.to),
        // Not every file system has links.
        Err(_) if !place.to.exists() => Ok(backup::replace(&place.new, &place.to)?),
        Err(_) => exists(&place.to),
    }
}

fn exists<T>(path: &Path) -> Result<T> {
    bail!("{} exists already; remedy: name a new file, or write over it with --force", path.display())
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Out::Terminal(out) => out.write(bytes),
            Out::Stream(out) | Out::File(out, _) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Out::Terminal(out) => out.flush(),
            Out::Stream(out) | Out::File(out, _) => out.flush(),
        }
    }
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
