//! Message wording and privacy notices as files, `NAME.LOCALE.txt`: the built-in texts, and the folder whose files replace or add to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::problem::{Problem, Problems};
use super::{read, values};

/// One text and where to mend it.
#[derive(Debug, Clone)]
pub struct Wording {
    pub text: String,
    pub file: String,
}

impl Wording {
    /// Whether it is one of those that ship, as it ships.
    pub fn is_built_in(&self) -> bool {
        self.file.ends_with(BUILT_IN_MARK)
    }
}

/// What the name of a built-in text ends in, since there is no such file.
const BUILT_IN_MARK: &str = " (built in)";

/// By `NAME.LOCALE`, as in `repermission.it`.
pub type Wordings = BTreeMap<String, Wording>;

macro_rules! built_in {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../templates/messages/", $name, ".txt")))),*]
    };
}

#[rustfmt::skip]
const BUILT_IN: [(&str, &str); 102] = built_in![
    "repermission.it" "repermission.en" "repermission.pl" "repermission.de" "repermission.fr" "repermission.es"
    "repermission_reply.it" "repermission_reply.en" "repermission_reply.pl" "repermission_reply.de" "repermission_reply.fr" "repermission_reply.es"
    "repermission_code.it" "repermission_code.en" "repermission_code.pl" "repermission_code.de" "repermission_code.fr" "repermission_code.es"
    "code.it" "code.en" "code.pl" "code.de" "code.fr" "code.es"
    "data_code.it" "data_code.en" "data_code.pl" "data_code.de" "data_code.fr" "data_code.es"
    "join_code.it" "join_code.en" "join_code.pl" "join_code.de" "join_code.fr" "join_code.es"
    "repermission_whatsapp.it" "repermission_whatsapp.en" "repermission_whatsapp.pl" "repermission_whatsapp.de" "repermission_whatsapp.fr" "repermission_whatsapp.es"
    "confirm.it" "confirm.en" "confirm.pl" "confirm.de" "confirm.fr" "confirm.es"
    "ack_yes.it" "ack_yes.en" "ack_yes.pl" "ack_yes.de" "ack_yes.fr" "ack_yes.es"
    "ack_no.it" "ack_no.en" "ack_no.pl" "ack_no.de" "ack_no.fr" "ack_no.es"
    "ack_stop.it" "ack_stop.en" "ack_stop.pl" "ack_stop.de" "ack_stop.fr" "ack_stop.es"
    "ack_wrong_person.it" "ack_wrong_person.en" "ack_wrong_person.pl" "ack_wrong_person.de" "ack_wrong_person.fr" "ack_wrong_person.es"
    "buttons.it" "buttons.en" "buttons.pl" "buttons.de" "buttons.fr" "buttons.es"
    "notice.it" "notice.en" "notice.pl" "notice.de" "notice.fr" "notice.es"
    "help.it" "help.en" "help.pl" "help.de" "help.fr" "help.es"
    "early_yes.it" "early_yes.en" "early_yes.pl" "early_yes.de" "early_yes.fr" "early_yes.es"
    "join_link.it" "join_link.en" "join_link.pl" "join_link.de" "join_link.fr" "join_link.es"
];

/// The texts that ship, by `NAME.LOCALE`, as they are in the repository.
pub fn built_in() -> impl Iterator<Item = (&'static str, &'static str)> {
    BUILT_IN.into_iter()
}

/// What the privacy notices are named.
pub const NOTICE: &str = "notice";

/// The text that carries the code of a form.
pub const FORM: &str = "join_code";

/// The answer to a first message: the way to a form.
pub const ENTRY: &str = "join_link";

/// The texts every campaign needs beside its ask.
pub const SERVICE: [&str; 10] =
    ["confirm", "buttons", "code", "data_code", "ack_yes", "ack_no", "ack_stop", "ack_wrong_person", "help", "early_yes"];

/// Where our own texts are: the folder that is named, else `templates/messages` beside the configuration folder.
pub fn folder(dir: &Path, named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| values::path(dir, "../templates/messages"), Path::to_owned)
}

/// The built-in texts, with those of `folder` over them, and what of it cannot be read.
///
/// # Errors
/// The folder cannot be read.
pub fn load(folder: Option<&Path>) -> Result<(Wordings, Vec<Problem>), Problems> {
    let built_in = |(name, text): (&str, &str)| {
        (
            name.to_owned(),
            Wording { text: text.trim_end().to_owned(), file: format!("templates/messages/{name}.txt{BUILT_IN_MARK}") },
        )
    };
    let mut wordings: Wordings = BUILT_IN.into_iter().map(built_in).collect();
    let mut found = Vec::new();
    for path in folder.map_or(Ok(Vec::new()), |folder| files(folder, "txt"))? {
        let file = path.display().to_string();
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let unfit = |what: String, remedy: String| Problem { file: file.clone(), line: 0, key: String::new(), what, remedy };
        let Some((_, locale)) = name.split_once('.').filter(|(_, locale)| !locale.contains('.')) else {
            found.push(unfit("the name of a message text is NAME.LOCALE.txt".into(), "rename or move it".into()));
            continue;
        };
        if let Err((what, remedy)) = values::locale(locale) {
            found.push(unfit(format!("{what}, and the name of a message text is NAME.LOCALE.txt"), remedy));
            continue;
        }
        match read::text(&path) {
            Ok(text) => drop(wordings.insert(name.to_owned(), Wording { text: text.trim_end().to_owned(), file })),
            Err(Problems(problems)) => found.extend(problems),
        }
    }
    Ok((wordings, found))
}

/// The files of a folder that end in `.ext`, by name.
pub fn files(folder: &Path, ext: &str) -> Result<Vec<std::path::PathBuf>, Problems> {
    let unreadable = |error| Problems::one(folder.display().to_string(), format!("cannot be read: {error}"), "create the folder");
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|e| e == ext) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
