//! A CSV file read record by record in constant memory: with or without byte order mark, comma, semicolon or tab, our fields
//! under whatever headers the config names. A quote that is never closed costs its own line, not the rest of the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use serde::Serialize;

use crate::config::Columns;

/// Longest record, bytes. A quoted field may hold line breaks; a row of contact data is never longer than this.
const RECORD: usize = 64 * 1024;

#[derive(Debug)]
pub struct Table {
    input: BufReader<File>,
    /// Physical lines read ahead while looking for a closing quote.
    ahead: std::collections::VecDeque<Vec<u8>>,
    line: u64,
    position: u64,
    delimiter: u8,
    columns: HashMap<&'static str, usize>,
    width: usize,
    splitter: Splitter,
    foreign: Option<Foreign>,
    /// Columns that are not read.
    pub ignored: Vec<String>,
    /// Fields of ours for which the file has no column.
    pub missing: Vec<&'static str>,
}

/// That a file is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotUtf8 {
    /// The line of the first such row, from 1.
    pub line: u64,
    pub rows: u64,
    /// What it seems to be instead, by its WHATWG name, which `iconv` knows too: `windows-1252`. A guess, so nothing is read by it: what
    /// is an `è` in one is a `č` in another.
    pub encoding: &'static str,
}

/// One record's fields by our names.
#[derive(Debug)]
pub struct Row<'a> {
    columns: &'a HashMap<&'static str, usize>,
    values: Vec<&'a str>,
}

/// Why a record cannot be read, and its cells as far as they can be told apart: a no in them must not be lost.
#[derive(Debug)]
pub struct Broken<'a> {
    pub reason: String,
    columns: &'a HashMap<&'static str, usize>,
    values: Vec<&'a str>,
    /// How many cells it should have.
    width: usize,
}

impl Broken<'_> {
    /// Whether the row ends before the header does: then some cell is missing, and any may stand left of its place.
    pub fn is_short(&self) -> bool {
        self.values.len() < self.width
    }

    /// Its cells, as far as they can be told apart.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.values.iter().copied()
    }

    pub fn has_column(&self, field: &str) -> bool {
        self.columns.contains_key(field)
    }

    /// The cell in the field's own place.
    pub fn own(&self, field: &str) -> Option<&str> {
        let value = self.values.get(*self.columns.get(field)?)?;
        Some(value.trim_matches(|c: char| c == '"' || c.is_whitespace()))
    }

    /// Every cell that a field may stand in, its own place first: as far to the right as there are cells too many, to the left as there are
    /// too few. Empty ones too; nothing where there is no such column.
    pub fn cells(&self, field: &str) -> impl Iterator<Item = &str> {
        let place = self.columns.get(field).copied();
        let (more, fewer) = (self.values.len().saturating_sub(self.width), self.width.saturating_sub(self.values.len()));
        let places = place.into_iter().flat_map(move |at| (at..=at + more).chain((at.saturating_sub(fewer)..at).rev()));
        places.filter_map(|at| self.values.get(at)).map(|v| v.trim_matches(|c: char| c == '"' || c.is_whitespace()))
    }
}

type Record<'a> = std::result::Result<Row<'a>, Broken<'a>>;

impl Row<'_> {
    /// The trimmed value, `None` where the column is missing or empty.
    pub fn get(&self, field: &str) -> Option<&str> {
        let value = self.values.get(*self.columns.get(field)?)?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// The values of the known columns, in the order of their names.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let mut columns: Vec<_> = self.columns.iter().collect();
        columns.sort_unstable();
        columns.into_iter().map(|(_, i)| self.values.get(*i).copied().unwrap_or("").trim())
    }
}

impl Table {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// The file cannot be read, is empty, no text or not UTF-8, or lacks the number's column or one that the settings promise; the message says
    /// what to do.
    pub fn open(file: &Path, headers: &Columns) -> Result<Table> {
        let name = file.display();
        let mut input = BufReader::with_capacity(1 << 18, File::open(file).with_context(|| format!("cannot open {name}"))?);
        let start = input.fill_buf().with_context(|| format!("cannot read {name}"))?;
        if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
            bail!("{name} is UTF-16; remedy: save it as UTF-8 (in Excel: \"CSV UTF-8\")");
        }
        if let Some(other) = other_than_text(start) {
            bail!(
                "{name} is {other}, not CSV; remedy: save it as CSV UTF-8 (in Excel: Save as, \"CSV UTF-8\") and import that file"
            );
        }
        let bom = if start.starts_with(&[0xef, 0xbb, 0xbf]) { 3 } else { 0 };
        input.consume(bom);
        let mut table = Table {
            input,
            ahead: std::collections::VecDeque::new(),
            line: 0,
            position: bom as u64,
            delimiter: b',',
            columns: HashMap::new(),
            width: 0,
            splitter: Splitter::new(b','),
            foreign: None,
            ignored: Vec::new(),
            missing: Vec::new(),
        };
        let Some(header) = table.physical()? else { bail!("{name} is empty; remedy: a first line that names the columns") };
        let header = String::from_utf8(header).map_err(|error| {
            let mut foreign = Foreign::new(1);
            foreign.add(error.as_bytes());
            foreign.add(table.input.buffer());
            let encoding = foreign.told().encoding;
            anyhow::anyhow!(
                "{name}:1: the header is not UTF-8, but probably {encoding}; remedy: {}",
                to_utf8(encoding, &name.to_string())
            )
        })?;
        let count = |c: char| header.matches(c).count();
        table.delimiter = match (count(','), count(';'), count('\t')) {
            (comma, semicolon, tab) if tab > comma.max(semicolon) => b'\t',
            (comma, semicolon, _) if semicolon > comma => b';',
            _ => b',',
        };
        table.splitter = Splitter::new(table.delimiter);
        let titles: Vec<String> = table
            .split(header.trim_end_matches(['\r', '\n']).as_bytes())
            .map_err(|e| anyhow::anyhow!("{name}:1: {e}"))?
            .into_iter()
            .map(|t| t.trim().to_owned())
            .collect();
        table.width = titles.len();
        let fields = headers.list.fields().iter().copied();
        for (index, title) in titles.iter().enumerate() {
            match fields.clone().find(|f| headers.header(f).eq_ignore_ascii_case(title)) {
                Some(field) => {
                    if table.columns.insert(field, index).is_some() {
                        bail!("{name}:1: two columns are `{field}`; remedy: remove or rename one");
                    }
                }
                None => table.ignored.push(title.clone()),
            }
        }
        table.missing = fields.filter(|f| !table.columns.contains_key(f)).collect();
        let (list, own) = (headers.list.code(), headers.list.section());
        if let Some(field) = table.missing.iter().find(|field| headers.is_promised(field)) {
            let (title, section) = (headers.header(field), headers.section_of(field));
            let remedy = if section == own {
                "correct one of the two, in permesso.toml or in the file's first line".to_owned()
            } else {
                format!(
                    "correct one of the two, or write what such lists call it under {own} in permesso.toml: {field} = \"their header\""
                )
            };
            bail!(
                "{name}:1: this list ({list}) has no column `{title}`, which {section} in permesso.toml names for `{field}`; remedy: {remedy}"
            );
        }
        if table.missing.contains(&"number") {
            bail!(
                "{name}:1: this list ({list}) has no column `{}`; remedy: name it in the file's first line, or write what such lists call it \
                 under {own} in permesso.toml: number = \"their header\"",
                headers.header("number")
            );
        }
        Ok(table)
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The rows read so far that are not UTF-8, if there are any.
    pub fn not_utf8(&self) -> Option<NotUtf8> {
        self.foreign.as_ref().map(Foreign::told)
    }

    /// The next record with the line it starts on; `Err` inside is why this one record cannot be read.
    pub fn record(&mut self) -> Result<Option<(u64, Record<'_>)>> {
        let mut record = loop {
            let Some(record) = self.physical()? else { return Ok(None) };
            if !record.iter().all(u8::is_ascii_whitespace) {
                break record;
            }
        };
        let first = record.len();
        if first > RECORD {
            return Ok(Some((self.line, self.broken(&too_long(), &record[..RECORD]))));
        }
        // A cell may hold line breaks inside quotes: go on until its quote is closed.
        let mut taken: Vec<Vec<u8>> = Vec::new();
        while is_open(self.delimiter, &record) && record.len() < RECORD {
            let Some(more) = self.physical()? else { break };
            record.extend_from_slice(&more);
            taken.push(more);
        }
        while matches!(record.last(), Some(b'\n' | b'\r')) {
            record.pop();
        }
        // A quote that only a later row's quote seems to close would swallow the rows between: whoever they say no for.
        if is_open(self.delimiter, &record) || (!taken.is_empty() && self.swallows_rows(&record, &taken)) {
            let line = self.give_back(taken);
            record.truncate(first);
            return Ok(Some((line, self.broken("a quote is never closed", &record))));
        }
        let line = self.line - taken.len() as u64;
        if record.len() > RECORD {
            return Ok(Some((line, self.broken(&too_long(), &record[..RECORD]))));
        }
        if record.contains(&0) {
            record.retain(|b| *b != 0);
            return Ok(Some((line, self.broken("a NUL byte; remedy: export the list again", &record))));
        }
        if std::str::from_utf8(&record).is_err() {
            self.foreign.get_or_insert_with(|| Foreign::new(line)).add(&record);
            return Ok(Some((line, self.broken("not UTF-8; remedy: convert the file to UTF-8 and import it again", &record))));
        }
        let width = self.width;
        let Self { columns, splitter, .. } = self;
        let row = match splitter.split(true, &record) {
            Ok(values) if values.len() == width => Ok(Row { columns, values }),
            Ok(values) => {
                let count = values.len();
                // A row cut short may be the first half of one with a line break in a cell: what it lacks may be the no.
                let remedy = if count < width {
                    "all columns in every row, line breaks in quotes"
                } else {
                    "quote fields that hold the separator"
                };
                let reason = format!("{count} fields where the header has {width}; remedy: {remedy}");
                Err(Broken { reason, columns, values, width })
            }
            Err(reason) => Err(Broken { reason, columns, values: Vec::new(), width }),
        };
        Ok(Some((line, row)))
    }

    /// Whether a record of several lines is rather several rows: as one it has the wrong width, or one of its lines has the right one.
    fn swallows_rows(&mut self, record: &[u8], taken: &[Vec<u8>]) -> bool {
        let width = self.width;
        let mut fits = |quoting, line: &[u8]| self.splitter.split(quoting, line).is_ok_and(|v| v.len() == width);
        !fits(true, record) || taken.iter().any(|line| fits(false, line.trim_ascii_end()))
    }

    /// A record that cannot be read; `line` is what of it can be split at every separator, quotes or not.
    fn broken(&mut self, reason: &str, line: &[u8]) -> Record<'_> {
        let Self { columns, splitter, width, .. } = self;
        let line = String::from_utf8_lossy(line);
        let values = splitter.split(false, line.as_bytes()).unwrap_or_default();
        Err(Broken { reason: reason.to_owned(), columns, values, width: *width })
    }

    /// One line is broken; the lines after it are read again. Answers the broken line's number.
    fn give_back(&mut self, taken: Vec<Vec<u8>>) -> u64 {
        self.line -= taken.len() as u64;
        for line in taken.into_iter().rev() {
            self.ahead.push_front(line);
        }
        self.line
    }

    fn split(&mut self, record: &[u8]) -> std::result::Result<Vec<String>, String> {
        let values = self.splitter.split(true, record)?;
        Ok(values.into_iter().map(str::to_owned).collect())
    }

    /// One physical line with its ending, cut at a little over [`RECORD`] bytes: the rest of such a line is thrown away.
    fn physical(&mut self) -> Result<Option<Vec<u8>>> {
        if let Some(line) = self.ahead.pop_front() {
            self.line += 1;
            return Ok(Some(line));
        }
        let mut line = Vec::new();
        let read = (&mut self.input).take(RECORD as u64 + 2).read_until(b'\n', &mut line).context("cannot read the file")?;
        if read == 0 {
            return Ok(None);
        }
        self.position += read as u64;
        if line.len() > RECORD && line.last() != Some(&b'\n') {
            let mut rest = Vec::new();
            loop {
                rest.clear();
                let read = (&mut self.input).take(RECORD as u64).read_until(b'\n', &mut rest).context("cannot read the file")?;
                self.position += read as u64;
                if read == 0 || rest.last() == Some(&b'\n') {
                    break;
                }
            }
        }
        self.line += 1;
        Ok(Some(line))
    }
}

/// The rows in another encoding, and what they look like.
struct Foreign {
    line: u64,
    rows: u64,
    detector: EncodingDetector,
}

impl std::fmt::Debug for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.told().fmt(f)
    }
}

impl Foreign {
    fn new(line: u64) -> Foreign {
        Foreign { line, rows: 0, detector: EncodingDetector::new(Iso2022JpDetection::Deny) }
    }

    fn add(&mut self, row: &[u8]) {
        self.rows += 1;
        self.detector.feed(row, false);
    }

    fn told(&self) -> NotUtf8 {
        NotUtf8 { line: self.line, rows: self.rows, encoding: self.detector.guess(None, Utf8Detection::Deny).name() }
    }
}

/// What a file is that is no text at all, by how it begins; none where it may be text, in whatever encoding.
fn other_than_text(start: &[u8]) -> Option<&'static str> {
    // ECMA-376 (.xlsx) and OpenDocument (.ods) are ZIP archives; before them Excel wrote OLE compound files.
    if start.starts_with(b"PK\x03\x04") {
        return Some("an Excel workbook (or another ZIP archive)");
    }
    if start.starts_with(&[0xd0, 0xcf, 0x11, 0xe0]) {
        return Some("an old Excel workbook (.xls)");
    }
    let header = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    header.iter().any(|byte| *byte < b' ' && !b"\t\r".contains(byte)).then_some("a binary file")
}

/// How to make UTF-8 of a file.
pub fn to_utf8(encoding: &str, file: &str) -> String {
    format!(
        "save it as \"CSV UTF-8\" (Excel: Save as), or `iconv -f {encoding} -t utf-8 {file} > utf8.csv`; look whether its accents are right, and \
         import that"
    )
}

/// Whether a cell of the record is still inside its quotes at the end. A quote opens only at a cell's start (RFC 4180); elsewhere it is an inch.
fn is_open(delimiter: u8, record: &[u8]) -> bool {
    #[derive(PartialEq)]
    enum At {
        Start,
        Plain,
        Quoted,
        /// Behind a quote inside quotes: the end of the cell, or the first half of a doubled one.
        Closed,
    }
    let mut at = At::Start;
    for byte in record {
        at = match (at, *byte) {
            (At::Quoted, b'"') => At::Closed,
            (At::Quoted, _) | (At::Start | At::Closed, b'"') => At::Quoted,
            (_, byte) if byte == delimiter || byte == b'\n' => At::Start,
            _ => At::Plain,
        };
    }
    at == At::Quoted
}

fn too_long() -> String {
    format!("the row is longer than {} KiB", RECORD / 1024)
}

/// Splits records by RFC 4180's rules. To build a reader costs more than to read a row, so there are two for good.
#[derive(Debug)]
struct Splitter {
    quoting: csv_core::Reader,
    plain: csv_core::Reader,
    buffer: Vec<u8>,
}

impl Splitter {
    fn new(delimiter: u8) -> Splitter {
        // One record is one: a carriage return inside it ends nothing, or what is behind it would be lost.
        let terminator = csv_core::Terminator::Any(b'\n');
        let reader =
            |quoting| csv_core::ReaderBuilder::new().delimiter(delimiter).quoting(quoting).terminator(terminator).build();
        Splitter { quoting: reader(true), plain: reader(false), buffer: vec![0; RECORD + 2] }
    }

    /// Splits one record; without `quoting`, at every separator.
    fn split(&mut self, quoting: bool, record: &[u8]) -> std::result::Result<Vec<&str>, String> {
        use csv_core::ReadRecordResult;
        let Splitter { quoting: quoted, plain, buffer } = self;
        let reader = if quoting { quoted } else { plain };
        reader.reset();
        let mut ends = [0_usize; 256];
        let (mut out, mut end, mut input) = (0, 0, record);
        loop {
            let (result, read, wrote, ended) = reader.read_record(input, &mut buffer[out..], &mut ends[end..]);
            (out, end) = (out + wrote, end + ended);
            input = &input[read..];
            match result {
                // At its end, an empty input says so.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => return Err(too_long()),
                ReadRecordResult::OutputEndsFull => return Err("more than 256 fields".to_owned()),
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        let buffer: &[u8] = buffer;
        let mut from = 0;
        ends[..end]
            .iter()
            .map(|to| {
                let field =
                    std::str::from_utf8(&buffer[from..*to]).map_err(|_| "not UTF-8; remedy: save the file as UTF-8".to_owned());
                from = *to;
                field
            })
            .collect()
    }
}
