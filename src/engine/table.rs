//! A CSV file read record by record in constant memory: with or without byte order mark, comma, semicolon or tab, our fields
//! under whatever headers the config names. A quote that is never closed costs its own line, not the rest of the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::config::{FIELDS, ImportMapping};

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
    fields: Vec<u8>,
    /// Columns that are not read.
    pub ignored: Vec<String>,
    /// Fields of ours for which the file has no column.
    pub missing: Vec<&'static str>,
}

/// One record's fields by our names.
#[derive(Debug)]
pub struct Row<'a> {
    columns: &'a HashMap<&'static str, usize>,
    values: Vec<&'a str>,
}

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
    /// The file cannot be read, is empty or not UTF-8, or lacks a required column; the message says what to do.
    ///
    /// `optional_too`: whether every header the mapping names must be there, not the required ones alone.
    pub fn open(file: &Path, mapping: &ImportMapping, required: &[&'static str], optional_too: bool) -> Result<Table> {
        let name = file.display();
        let mut input = BufReader::with_capacity(1 << 18, File::open(file).with_context(|| format!("cannot open {name}"))?);
        let start = input.fill_buf().with_context(|| format!("cannot read {name}"))?;
        if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
            bail!("{name} is UTF-16; remedy: save it as UTF-8 (in Excel: \"CSV UTF-8\")");
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
            fields: vec![0; RECORD],
            ignored: Vec::new(),
            missing: Vec::new(),
        };
        let Some(header) = table.physical()? else { bail!("{name} is empty; remedy: a first line that names the columns") };
        let header = String::from_utf8(header)
            .map_err(|_| anyhow::anyhow!("{name}:1: the header is not UTF-8; remedy: save the file as UTF-8"))?;
        let count = |c: char| header.matches(c).count();
        table.delimiter = match (count(','), count(';'), count('\t')) {
            (comma, semicolon, tab) if tab > comma.max(semicolon) => b'\t',
            (comma, semicolon, _) if semicolon > comma => b';',
            _ => b',',
        };
        let titles: Vec<String> = table
            .split(header.trim_end_matches(['\r', '\n']).as_bytes())
            .map_err(|e| anyhow::anyhow!("{name}:1: {e}"))?
            .into_iter()
            .map(|t| t.trim().to_owned())
            .collect();
        table.width = titles.len();
        for (index, title) in titles.iter().enumerate() {
            match FIELDS.into_iter().find(|f| mapping.header(f).eq_ignore_ascii_case(title)) {
                Some(field) => {
                    if table.columns.insert(field, index).is_some() {
                        bail!("{name}:1: two columns are `{field}`; remedy: remove or rename one");
                    }
                }
                None => table.ignored.push(title.clone()),
            }
        }
        // A header that the config names and the file lacks is a typing error, and may be the column that says no.
        let absent = |f: &&'static str| optional_too && mapping.header(f) != *f && !table.columns.contains_key(f);
        if let Some(field) = FIELDS.into_iter().find(absent) {
            bail!(
                "{name}:1: there is no column `{}`, which [import.columns] in permesso.toml names for `{field}`; remedy: correct one of the two",
                mapping.header(field)
            );
        }
        table.missing = FIELDS.into_iter().filter(|f| !table.columns.contains_key(f)).collect();
        for field in required {
            if !table.columns.contains_key(field) {
                bail!(
                    "{name}:1: there is no column `{}`; remedy: name it in the header, or map yours under [import.columns] in permesso.toml",
                    mapping.header(field)
                );
            }
        }
        Ok(table)
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next record with the line it starts on; `Err` inside is why this one record cannot be read.
    pub fn record(&mut self) -> Result<Option<(u64, std::result::Result<Row<'_>, String>)>> {
        let (line, mut record, taken) = loop {
            let Some(mut record) = self.physical()? else { return Ok(None) };
            if record.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            // A field may hold line breaks inside quotes: go on while the quotes are uneven.
            let mut quotes = record.iter().filter(|b| **b == b'"').count();
            let first = record.len();
            let mut taken: Vec<Vec<u8>> = Vec::new();
            let mut closed = quotes % 2 == 0;
            while !closed && record.len() < RECORD {
                let Some(more) = self.physical()? else { break };
                quotes += more.iter().filter(|b| **b == b'"').count();
                record.extend_from_slice(&more);
                taken.push(more);
                closed = quotes % 2 == 0;
            }
            if !closed {
                return Ok(Some((self.give_back(taken), Err("a quote is never closed".to_owned()))));
            }
            let line = self.line - taken.len() as u64;
            if record.len() > RECORD || first > RECORD {
                return Ok(Some((line, Err(format!("the row is longer than {} KiB", RECORD / 1024)))));
            }
            break (line, record, taken);
        };
        while matches!(record.last(), Some(b'\n' | b'\r')) {
            record.pop();
        }
        if record.contains(&0) {
            return Ok(Some((line, Err("a NUL byte; remedy: export the list again".to_owned()))));
        }
        let width = self.width;
        // A stray quote that a later stray quote seems to close: the lines between are rows of their own.
        if !taken.is_empty() && self.split(&record).is_ok_and(|values| values.len() != width) {
            return Ok(Some((self.give_back(taken), Err("a quote is never closed".to_owned()))));
        }
        let Self { columns, fields, delimiter, .. } = self;
        let row = split(*delimiter, fields, &record).and_then(|values| {
            if values.len() == width {
                Ok(Row { columns, values })
            } else {
                Err(format!("{} fields where the header has {width}; remedy: quote fields that hold the separator", values.len()))
            }
        });
        Ok(Some((line, row)))
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
        let values = split(self.delimiter, &mut self.fields, record)?;
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

/// Splits one record by RFC 4180's rules, into `buffer`.
fn split<'a>(delimiter: u8, buffer: &'a mut Vec<u8>, record: &[u8]) -> std::result::Result<Vec<&'a str>, String> {
    use csv_core::ReadRecordResult;
    let mut reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
    let mut ends = [0_usize; 256];
    let (mut out, mut end, mut input) = (0, 0, record);
    buffer.resize(RECORD + 2, 0);
    loop {
        let (result, read, wrote, ended) = reader.read_record(input, &mut buffer[out..], &mut ends[end..]);
        (out, end) = (out + wrote, end + ended);
        input = &input[read..];
        match result {
            // At its end, an empty input says so.
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::OutputFull => return Err(format!("the row is longer than {} KiB", RECORD / 1024)),
            ReadRecordResult::OutputEndsFull => return Err("more than 256 fields".to_owned()),
            ReadRecordResult::Record | ReadRecordResult::End => break,
        }
    }
    let buffer: &'a [u8] = buffer;
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
