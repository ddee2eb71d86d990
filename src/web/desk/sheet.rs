//! Tables as CSV. A spreadsheet takes a cell that begins with `=`, `+`, `-`, `@`, a tab or a return for a formula, and what stands
//! in our cells came from imported files and gateways; so such a cell begins with an apostrophe (OWASP, CSV injection).

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::{Stream, TryStreamExt};

/// The columns of people in figures, of a campaign and of a part of one, from the plan to their answer.
pub const FIGURES: [&str; 12] = [
    "decided",
    "eligible",
    "asked",
    "delivered",
    "confirmed",
    "withdrawn",
    "pending",
    "refused",
    "stopped",
    "wrong_person",
    "replied",
    "silent",
];

/// A cell no spreadsheet runs.
pub fn defused(cell: &str) -> String {
    // A full-width sign is a sign to some spreadsheets too.
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}

/// These rows as CSV, every cell defused.
pub fn csv<R: IntoIterator<Item = C>, C: AsRef<str>>(rows: impl IntoIterator<Item = R>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for row in rows {
        // A vector refuses nothing.
        let _ = writer.write_record(row.into_iter().map(|cell| defused(cell.as_ref())));
    }
    writer.into_inner().unwrap_or_default()
}

/// A file to be saved under this name.
pub fn file(name: &str, body: impl Into<Body>) -> Response {
    let safe: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    let disposition = format!("attachment; filename=\"{safe}\"");
    let kind = if name.ends_with(".jsonl") { "application/jsonl; charset=utf-8" } else { "text/csv; charset=utf-8" };
    ([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)], body.into()).into_response()
}

/// A file that is written while it is read: a million rows need no memory.
pub fn stream(name: &str, parts: impl Stream<Item = anyhow::Result<Vec<u8>>> + Send + 'static) -> Response {
    let parts =
        parts.map_ok(Bytes::from).inspect_err(|error| tracing::error!(error = format!("{error:#}"), "An export broke off"));
    file(name, Body::from_stream(parts.map_err(std::io::Error::other)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_name_of_a_file_writes_a_header_of_its_own(name in "(\\PC|[\r\n\0\";:=\\\\/% é]){0,40}", end in "(|\\.csv|\\.jsonl)") {
            let response = file(&format!("{name}{end}"), "x");
            prop_assert_eq!(response.status(), 200);
            let headers: Vec<_> = response.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            let [("content-type", kind), ("content-disposition", told)] = headers[..] else {
                return Err(TestCaseError::fail(format!("{headers:?}")));
            };
            prop_assert!(["application/jsonl; charset=utf-8", "text/csv; charset=utf-8"].contains(&kind));
            let named = told.strip_prefix("attachment; filename=\"").and_then(|rest| rest.strip_suffix('"')).unwrap();
            prop_assert!(named.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)), "{}", told);
        }

        #[test]
        fn no_cell_of_any_sheet_begins_a_formula(cells in prop::collection::vec("[=+@\\-\t\r\n'\",; a-z＝\\PC]{0,6}", 1..5)) {
            let written = csv([cells.clone()]);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(written.as_slice());
            let read = reader.records().next().unwrap().unwrap();
            prop_assert_eq!(read.len(), cells.len());
            for (cell, was) in read.iter().zip(&cells) {
                prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']));
                // Nothing is lost: the apostrophe is all that is added.
                prop_assert!(cell == was || cell.strip_prefix('\'') == Some(was));
            }
        }
    }
}
