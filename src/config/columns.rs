//! `[import.columns]`: under which headers imported lists hold our fields. A kind of list that names them otherwise has a section of
//! its own, `[import.suppressions.columns]`, which goes before the common one field by field.

use std::collections::BTreeMap;

use super::read::Table;

/// What a row of an import can say. The header of each is its name unless a section gives another.
#[rustfmt::skip]
pub const FIELDS: [&str; 18] = [
    "number", "country", "kind", "last_action", "locale", "time_zone", "source", "external_id", "ask_basis", "basis_evidence",
    "basis_date", "basis_channels", "box_default", "approver", "soft_opt_in_conditions", "unsubscribed",
    "no_contact_reason", "registered_since",
];

/// The kinds of lists that `permesso import` takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    Contacts,
    Suppressions,
    Screening,
}

impl List {
    pub const ALL: [List; 3] = [List::Contacts, List::Suppressions, List::Screening];

    /// As in `permesso import contacts` and `[import.contacts.columns]`.
    pub fn code(self) -> &'static str {
        match self {
            List::Contacts => "contacts",
            List::Suppressions => "suppressions",
            List::Screening => "screening",
        }
    }

    /// The fields that such a list can have.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            // All but the register's.
            List::Contacts => &FIELDS[..17],
            List::Suppressions => &["number", "country", "external_id", "unsubscribed"],
            List::Screening => &["number", "country", "registered_since"],
        }
    }

    /// The section for headers of such lists alone.
    pub fn section(self) -> String {
        format!("[import.{}.columns]", self.code())
    }
}

#[derive(Debug, Clone)]
struct Header {
    title: String,
    /// Whether the list's own section gives it.
    own: bool,
}

/// Which header of a kind of list holds which of our fields.
#[derive(Debug, Clone)]
pub struct Columns {
    pub list: List,
    headers: BTreeMap<&'static str, Header>,
}

impl Columns {
    pub fn header<'a>(&'a self, field: &'a str) -> &'a str {
        self.headers.get(field).map_or(field, |header| &header.title)
    }

    /// Whether a file without this field's column must be refused: somebody wrote down a header of their own for it, so one that lacks it
    /// is a typing error, and may be the column that says no. The common section speaks of lists of contacts.
    pub fn is_promised(&self, field: &str) -> bool {
        let named = self.headers.get(field).filter(|header| header.title != field);
        named.is_some_and(|header| header.own || self.list == List::Contacts)
    }

    /// The section that gives this field's header.
    pub fn section_of(&self, field: &str) -> String {
        match self.headers.get(field) {
            Some(header) if header.own => self.list.section(),
            _ => "[import.columns]".to_owned(),
        }
    }
}

/// The columns of every kind of list.
#[derive(Debug, Clone)]
pub struct Import(BTreeMap<List, Columns>);

impl Import {
    pub fn of(&self, list: List) -> &Columns {
        &self.0[&list]
    }
}

/// Reads `[import]`.
pub fn import(table: &Table) -> Import {
    let common = table.table("columns");
    let written: BTreeMap<&str, String> = FIELDS.into_iter().filter_map(|field| Some((field, common.get(field)?))).collect();
    twice(&common, &FIELDS, |field| Some(written.get(field).map_or(field, String::as_str)));
    common.end();
    let lists = List::ALL.map(|list| {
        let section = table.table(list.code());
        let own = section.table("columns");
        let mut headers = BTreeMap::new();
        for field in list.fields() {
            let header = match own.get::<String>(field) {
                Some(title) => Header { title, own: true },
                None => Header { title: written.get(field).cloned().unwrap_or_else(|| (*field).to_owned()), own: false },
            };
            headers.insert(*field, header);
        }
        // What the common section says twice is said there.
        let clashes = |field: &str| headers.get(field).map(|header| header.title.as_str());
        if headers.values().any(|header| header.own) {
            twice(&own, list.fields(), clashes);
        }
        own.end();
        section.end();
        (list, Columns { list, headers })
    });
    table.end();
    Import(lists.into())
}

/// Notes a header that two fields share.
fn twice<'a>(table: &Table, fields: &[&'static str], header: impl Fn(&'static str) -> Option<&'a str>) {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for field in fields {
        let Some(title) = header(field) else { continue };
        // Headers are found in any case.
        match taken.get(&title.to_ascii_lowercase()) {
            Some(other) => {
                table.note(field, format!("the column `{title}` is already {other}"), "give each field its own column");
            }
            None => _ = taken.insert(title.to_ascii_lowercase(), field),
        }
    }
}
