//! Reads a TOML file key by key, noting every problem with its line instead of stopping at the first. Whoever reads a table
//! asks for each key it knows; [`Table::end`] reports the keys nobody asked for.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems};
use super::values::Parsed;

/// A file's name and text, and what was found wrong in it so far.
#[derive(Debug)]
pub struct File {
    pub name: String,
    text: String,
    found: RefCell<Vec<Problem>>,
}

impl File {
    pub fn open(path: &Path) -> Result<File, Problems> {
        Ok(File { name: path.display().to_string(), text: text(path)?, found: RefCell::default() })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file's TOML; what does not parse is noted, one problem a mistake.
    pub fn parse(&self) -> Spanned<DeTable<'_>> {
        let (tree, errors) = DeTable::parse_recoverable(&self.text);
        if !errors.is_empty() {
            self.syntax(1);
        }
        tree
    }

    /// Notes what does not parse from line `from` on. After a mistake all that comes is read from the next key or section, or the rest of the
    /// file would seem wrong too: behind a list that is never closed every key does.
    fn syntax(&self, mut from: usize) {
        loop {
            let Some((line, what)) = first_error(&self.text, from) else { return };
            // Read by itself this line may be in order: then what stands before it does not end.
            let sound = begins(&self.text, line) && first_error(&self.text, line).is_none_or(|(other, _)| other > line);
            let is_open = |begin: &usize| {
                let lines = self.text.lines().skip(begin - 1).take(line - begin);
                !DeTable::parse_recoverable(&lines.flat_map(|line| [line, "\n"]).collect::<String>()).1.is_empty()
            };
            let open = (from..line).rev().find(|before| begins(&self.text, *before)).filter(|begin| sound && is_open(begin));
            match open {
                Some(open) => {
                    let what = format!("what begins here does not end before line {line}");
                    self.note(open, "", what, "close a list with ], a table with }, a text with its quotes");
                }
                None => self.note(line, "", what, "write it as TOML"),
            }
            let next = if sound { Some(line) } else { (line + 1..=self.text.lines().count()).find(|l| begins(&self.text, *l)) };
            let Some(next) = next.filter(|next| *next > from) else { return };
            from = next;
        }
    }

    pub fn line(&self, span: Range<usize>) -> usize {
        1 + self.text.as_bytes()[..span.start.min(self.text.len())].iter().filter(|b| **b == b'\n').count()
    }

    pub fn note(&self, line: usize, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let problem = Problem { file: self.name.clone(), line, key: key.into(), what: what.into(), remedy: remedy.into() };
        self.found.borrow_mut().push(problem);
    }

    pub fn is_sound(&self) -> bool {
        self.noted() == 0
    }

    /// How much was found wrong so far.
    pub fn noted(&self) -> usize {
        self.found.borrow().len()
    }

    pub fn found(self) -> Vec<Problem> {
        self.found.into_inner()
    }
}

/// The text of a file; one in another encoding than UTF-8 is named with its first line that is not, and what it seems to be.
pub fn text(path: &Path) -> Result<String, Problems> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path)
        .map_err(|error| Problems::one(file.clone(), format!("cannot be read: {error}"), "check the name and the permissions"))?;
    String::from_utf8(bytes).map_err(|error| {
        let (valid, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
        detector.feed(bytes, true);
        let encoding = detector.guess(None, Utf8Detection::Deny).name();
        let line = 1 + bytes[..valid].iter().filter(|b| **b == b'\n').count();
        let what = format!("is not UTF-8, but probably {encoding}");
        let remedy =
            format!("save it as UTF-8, or `iconv -f {encoding} -t utf-8 {file} > utf8.txt`; look whether its accents are right");
        Problems(vec![Problem { file, line, key: String::new(), what, remedy }])
    })
}

/// Line and message of the first syntax error from line `from` on.
fn first_error(text: &str, from: usize) -> Option<(usize, String)> {
    // Keys that are torn from their section must not meet others of the same name.
    let rest: String = text.lines().skip(from - 1).flat_map(|line| [line, "\n"]).collect();
    let (head, before) = if from > 1 && !rest.starts_with('[') { ("[rest]\n", from - 1) } else { ("", from) };
    let rest = format!("{head}{rest}");
    let (_, errors) = DeTable::parse_recoverable(&rest);
    let first = errors.into_iter().min_by_key(|error| error.span().map_or(0, |span| span.start))?;
    let at = first.span().map_or(0, |span| span.start.min(rest.len()));
    let lines = rest.as_bytes()[..at].iter().filter(|b| **b == b'\n').count();
    Some(((before + lines).max(from), first.message().replace('\n', "; ")))
}

/// Whether a key or a section begins in this line.
fn begins(text: &str, line: usize) -> bool {
    let Some(line) = line.checked_sub(1).and_then(|at| text.lines().nth(at)).map(str::trim_start) else { return false };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match line.strip_prefix('[').map(|rest| rest.trim_start_matches('[')) {
        Some(section) => section.starts_with(is_name),
        None => line.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty() && key.trim().chars().all(is_name)),
    }
}

/// What a key can hold.
pub trait Value: Default {
    const KIND: &'static str;
    fn of(value: &DeValue) -> Option<Self>;
}

impl Value for String {
    const KIND: &'static str = "text in quotes";
    fn of(value: &DeValue) -> Option<String> {
        value.as_str().map(str::to_owned)
    }
}

impl Value for i64 {
    const KIND: &'static str = "a whole number";
    fn of(value: &DeValue) -> Option<i64> {
        value.as_integer().and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok())
    }
}

impl Value for f64 {
    const KIND: &'static str = "a number";
    fn of(value: &DeValue) -> Option<f64> {
        let float = value.as_float().and_then(|f| f.as_str().parse().ok());
        float.or_else(|| value.as_integer()?.as_str().parse().ok())
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";
    fn of(value: &DeValue) -> Option<bool> {
        value.as_bool()
    }
}

impl Value for Vec<String> {
    const KIND: &'static str = "a list of texts, as in [\"IT\", \"PL\"]";
    fn of(value: &DeValue) -> Option<Vec<String>> {
        value.as_array()?.iter().map(|item| String::of(item.get_ref())).collect()
    }
}

/// One table of a file.
#[derive(Debug)]
pub struct Table<'a> {
    pub file: &'a File,
    /// Dotted, with the dot at the end; empty at the top.
    path: String,
    line: usize,
    entries: Option<&'a DeTable<'a>>,
    asked: RefCell<Vec<String>>,
}

impl<'a> Table<'a> {
    pub fn root(file: &'a File, tree: &'a Spanned<DeTable<'a>>) -> Table<'a> {
        Table { file, path: String::new(), line: 0, entries: Some(tree.get_ref()), asked: RefCell::default() }
    }

    fn entry(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key.to_owned());
        self.entries?.get(key)
    }

    pub fn has(&self, key: &str) -> bool {
        self.asked.borrow_mut().push(key.to_owned());
        self.entries.is_some_and(|entries| entries.contains_key(key))
    }

    /// The value of a key that may be missing. A value of the wrong type is noted and counts as missing.
    pub fn get<T: Value>(&self, key: &str) -> Option<T> {
        let value = T::of(self.entry(key)?.get_ref());
        if value.is_none() {
            self.note(key, "the value is of the wrong type", format!("write {}", T::KIND));
        }
        value
    }

    pub fn or<T: Value>(&self, key: &str, default: T) -> T {
        self.get(key).unwrap_or(default)
    }

    /// The value of a key that must be there. Where it is not, that is noted, and the empty value stands in.
    pub fn need<T: Value>(&self, key: &str) -> T {
        if !self.has(key) {
            self.note(key, "is missing", format!("add it: {}", T::KIND));
        }
        self.or(key, T::default())
    }

    /// A text put through `parse`, whose error is a problem and its remedy.
    pub fn parsed<T>(&self, key: &str, text: &str, parse: impl Fn(&str) -> Parsed<T>) -> Option<T> {
        parse(text).map_err(|(what, remedy)| self.note(key, what, remedy)).ok()
    }

    /// A text that may be missing, put through `parse`.
    pub fn read<T>(&self, key: &str, parse: impl Fn(&str) -> Parsed<T>) -> Option<T> {
        self.parsed(key, &self.get::<String>(key)?, parse)
    }

    /// A text put through `parse`, or `default` where there is none.
    pub fn read_or<T>(&self, key: &str, default: &str, parse: impl Fn(&str) -> Parsed<T>) -> Option<T> {
        self.parsed(key, &self.or(key, default.to_owned()), parse)
    }

    /// A text that must be there, put through `parse`.
    pub fn read_needed<T>(&self, key: &str, parse: impl Fn(&str) -> Parsed<T>) -> Option<T> {
        if !self.has(key) {
            self.need::<String>(key);
            return None;
        }
        self.read(key, parse)
    }

    /// Every item of a list put through `parse`.
    pub fn each<T>(&self, key: &str, parse: impl Fn(&str) -> Parsed<T>) -> Vec<T> {
        self.or(key, Vec::new()).iter().filter_map(|item| self.parsed(key, item, &parse)).collect()
    }

    /// A number within `range`; else `default`, and the problem is noted.
    pub fn within(&self, key: &str, default: i64, range: std::ops::RangeInclusive<i64>) -> i64 {
        let value = self.or(key, default);
        if !range.contains(&value) {
            self.note(key, format!("{value} is out of range"), format!("write {} to {}", range.start(), range.end()));
        }
        value
    }

    /// The table of that name; an empty one where there is none, so that its missing keys are reported.
    pub fn table(&self, key: &str) -> Table<'a> {
        let entry = self.entry(key);
        let entries = entry.and_then(|value| value.get_ref().as_table());
        if entry.is_some() && entries.is_none() {
            self.note(key, "the value is of the wrong type", format!("write a table, [{}{key}]", self.path));
        }
        let line = entry.map_or(self.line, |value| self.file.line(value.span()));
        Table { file: self.file, path: format!("{}{key}.", self.path), line, entries, asked: RefCell::default() }
    }

    /// The tables of an array `[[key]]`.
    pub fn tables(&self, key: &str) -> Vec<Table<'a>> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let items = entry.get_ref().as_array().map(|items| items.iter().collect::<Vec<_>>()).unwrap_or_default();
        if items.is_empty() || items.iter().any(|item| item.get_ref().as_table().is_none()) {
            self.note(key, "the value is of the wrong type", format!("write [[{}{key}]] above each", self.path));
        }
        let table = |item: &&'a Spanned<DeValue<'a>>| Table {
            file: self.file,
            path: format!("{}{key}.", self.path),
            line: self.file.line(item.span()),
            entries: item.get_ref().as_table(),
            asked: RefCell::default(),
        };
        items.iter().map(table).collect()
    }

    /// Every key of a table whose keys are the reader's to choose.
    pub fn keys(&self) -> Vec<String> {
        let keys: Vec<String> =
            self.entries.into_iter().flat_map(|entries| entries.keys()).map(|k| k.get_ref().to_string()).collect();
        self.asked.borrow_mut().extend(keys.iter().cloned());
        keys
    }

    /// The line of a key, or of the table where there is no such key.
    pub fn line(&self, key: &str) -> usize {
        let value = self.entries.and_then(|entries| entries.get(key));
        value.map_or(self.line, |value| self.file.line(value.span()))
    }

    pub fn note(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.file.note(self.line(key), &format!("{}{key}", self.path), what, remedy);
    }

    /// Reports the keys nobody asked for.
    pub fn end(&self) {
        let asked = self.asked.borrow();
        for key in self.entries.into_iter().flat_map(|entries| entries.keys()) {
            if !asked.iter().any(|a| a == key.get_ref()) {
                let remedy = match nearest(key.get_ref(), asked.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => match distinct(asked.iter().map(String::as_str)).as_slice() {
                        [] => "remove it".to_owned(),
                        known => format!("remove it; known here: {}", known.join(", ")),
                    },
                };
                self.note(key.get_ref(), "there is no such key", remedy);
            }
        }
    }
}

/// Each word once, in the order in which they first come.
fn distinct<'w>(words: impl IntoIterator<Item = &'w str>) -> Vec<&'w str> {
    let mut once = Vec::new();
    for word in words {
        if !once.contains(&word) {
            once.push(word);
        }
    }
    once
}

/// The remedy where one of several names is wanted: all there are, or where there are none what `or` says.
pub fn one_of<'w>(known: impl IntoIterator<Item = &'w str>, or: &str) -> String {
    match distinct(known).as_slice() {
        [] => or.to_owned(),
        known => format!("write one of: {}", known.join(", ")),
    }
}

/// The remedy for a name nobody knows: the one that was meant, if one is like it, and all there are; else what `or` says.
pub fn meant<'w>(word: &str, known: impl IntoIterator<Item = &'w str>, or: &str) -> String {
    let known = distinct(known);
    let near = nearest(word, known.iter().copied()).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    match known.is_empty() {
        true => or.trim_start_matches("or ").to_owned(),
        false => format!("{near}there are {}; {or}", known.join(", ")),
    }
}

/// The known word most like `word`, if one is like it.
pub fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let (distance, near) = known.into_iter().map(|k| (edits(&word.to_lowercase(), &k.to_lowercase()), k)).min()?;
    (distance <= 1 + word.chars().count() / 4).then_some(near)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
