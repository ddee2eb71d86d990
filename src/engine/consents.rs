//! Who consented and who did not: contacts by status, channel and purpose, counted, listed and, a page after the other, exported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use futures::{Stream, stream};
use serde::Serialize;
use utoipa::ToSchema;

use super::Engine;
use crate::clock::instant;
use crate::domain::channel::{Channel, Permission, Purpose};
use crate::domain::status::{Status, permissions};
use crate::store::conversations::RanOut;
use crate::store::{Tx, consents, conversations};

/// Contacts one statement looks at, at most, and those of a page's first one: what many have is found among few.
const WINDOW: i64 = 5_000;
const FIRST: i64 = 250;

/// Contacts one page of the API looks at, at most: however rare what is looked for and however many contacts there are, it costs the same.
pub const LOOK: i64 = 20_000;

/// Which permissions, and under which status; all where nothing is said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub channel: Option<Channel>,
    pub purpose: Option<Purpose>,
}

/// A value that no filter of this name knows.
#[derive(Debug, thiserror::Error)]
#[error("{field}: `{value}` is not one of {}", allowed.join(", "))]
pub struct Unknown {
    pub field: &'static str,
    pub value: String,
    pub allowed: Vec<String>,
}

impl Filter {
    /// Reads what somebody typed; what is empty is not said. `controller` can only be this installation's: another's people are
    /// counted from its own folder.
    ///
    /// # Errors
    /// The field whose value is not known, with those that are.
    pub fn read(
        engine: &Engine,
        controller: Option<&str>,
        status: Option<&str>,
        channel: Option<&str>,
        purpose: Option<&str>,
    ) -> std::result::Result<Filter, Unknown> {
        let ours = |typed: &str| (typed == engine.controller).then_some(());
        one("controller", controller, ours, [engine.controller.as_str()])?;
        Ok(Filter {
            status: one("status", status, Status::parse, Status::ALL.map(Status::code))?,
            channel: one("channel", channel, Channel::parse, Channel::ALL.map(Channel::code))?,
            purpose: one("purpose", purpose, Purpose::parse, Purpose::ALL.map(Purpose::code))?,
        })
    }

    /// As it stands in an address: `status=silent&channel=sms`.
    pub fn query(&self) -> String {
        let parts = [
            ("status", self.status.map(Status::code)),
            ("channel", self.channel.map(Channel::code)),
            ("purpose", self.purpose.map(Purpose::code)),
        ];
        parts.into_iter().filter_map(|(name, code)| Some(format!("{name}={}", code?))).collect::<Vec<_>>().join("&")
    }

    fn wants(&self, permission: Permission) -> bool {
        self.channel.is_none_or(|c| c == permission.channel) && self.purpose.is_none_or(|p| p == permission.purpose)
    }

    /// The permissions it leaves, as bits.
    fn bits(&self) -> i64 {
        consents::bits(permissions().filter(|p| self.wants(*p)))
    }
}

fn one<'a, T>(
    field: &'static str,
    typed: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
    allowed: impl IntoIterator<Item = &'a str>,
) -> std::result::Result<Option<T>, Unknown> {
    let Some(typed) = typed.map(str::trim).filter(|typed| !typed.is_empty()) else { return Ok(None) };
    let unknown = || Unknown { field, value: typed.to_owned(), allowed: allowed.into_iter().map(str::to_owned).collect() };
    parse(typed).map(Some).ok_or_else(unknown)
}

/// How many contacts stand under which status, for each channel and purpose.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ConsentMatrix)]
pub struct Matrix {
    pub controller: String,
    /// When it was counted, RFC 3339.
    pub as_of: String,
    /// Those of each row add up to these.
    pub contacts: u64,
    pub rows: Vec<Row>,
}

impl Matrix {
    /// What of it a filter wants.
    #[must_use]
    pub fn only(mut self, filter: &Filter) -> Matrix {
        self.rows.retain(|row| {
            filter.channel.is_none_or(|c| c.code() == row.channel) && filter.purpose.is_none_or(|p| p.code() == row.purpose)
        });
        for row in &mut self.rows {
            row.contacts.retain(|count| filter.status.is_none_or(|status| status.code() == count.status));
        }
        self
    }
}

/// One channel and purpose.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ConsentRow)]
pub struct Row {
    pub channel: String,
    pub purpose: String,
    /// Every status with its contacts, those without anybody too.
    pub contacts: Vec<Count>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ConsentCount)]
pub struct Count {
    pub status: String,
    pub contacts: u64,
}

/// How one permission of one contact stands. No number but its last digits.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ContactStanding)]
pub struct Standing {
    /// The person's pseudonym, as in `/contacts/{subject}`.
    pub subject: String,
    pub number: String,
    pub country: Option<String>,
    pub channel: String,
    pub purpose: String,
    pub status: String,
    /// Since when, RFC 3339, where the status has a beginning: granted, refused, withdrawn, expired, pending, suppressed.
    pub since: Option<String>,
}

/// A part of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ConsentPage)]
pub struct Page {
    pub controller: String,
    /// When it was read, RFC 3339.
    pub as_of: String,
    /// One a contact, channel and purpose. There may be fewer than asked for, or none, while there is a `next`.
    pub rows: Vec<Standing>,
    /// `after` of the next page; none after the last.
    pub next: Option<i64>,
}

/// What each frozen revision asks for.
async fn revisions(engine: &Engine, tx: &mut Tx) -> Result<Vec<(i64, i64)>> {
    let mut all = Vec::new();
    for (id,) in consents::revisions(tx, &engine.controller).await? {
        all.push((id, consents::bits(engine.revision(tx, id).await?.permissions())));
    }
    Ok(all)
}

pub fn as_of(engine: &Engine) -> String {
    instant(engine.now()).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Everybody, in figures: one statement for every so many contacts, so that it needs no more memory for a million than for a thousand.
pub async fn matrix(engine: &Engine, filter: &Filter) -> Result<Matrix> {
    let mut tx = engine.store.read().await?;
    let revisions = revisions(engine, &mut tx).await?;
    let mut counted: BTreeMap<(i64, String), u64> = BTreeMap::new();
    let mut from = 0;
    while let Some(to) = consents::window(&mut tx, &engine.controller, from, LOOK).await? {
        let wanted = consents::Wanted {
            controller: &engine.controller,
            permissions: filter.bits(),
            revisions: &revisions,
            contacts: (from, to),
        };
        for (i, status, n) in consents::count(&mut tx, &wanted).await? {
            *counted.entry((i, status)).or_default() += n.unsigned_abs();
        }
        from = to;
    }
    let contacts = consents::contacts(&mut tx, &engine.controller).await?;
    tx.rollback().await?;
    let of = |i: usize, status: Status| {
        let status = status.code().to_owned();
        Count { contacts: counted.get(&(i as i64, status.clone())).copied().unwrap_or(0), status }
    };
    let row = |(i, p): (usize, Permission)| Row {
        channel: p.channel.code().to_owned(),
        purpose: p.purpose.code().to_owned(),
        contacts: Status::ALL.into_iter().map(|status| of(i, status)).collect(),
    };
    Ok(Matrix {
        controller: engine.controller.clone(),
        as_of: as_of(engine),
        contacts: contacts.unsigned_abs(),
        rows: permissions().enumerate().map(row).collect(),
    }
    .only(filter))
}

/// Rows read at a time of everybody.
const CHUNK: i64 = 5_000;

/// Everybody a filter finds, in parts: they can be written while they are read, and a million rows need no memory.
pub fn pages(engine: Arc<Engine>, filter: Filter) -> impl Stream<Item = Result<Vec<Standing>>> + Send + 'static {
    stream::try_unfold(Some(0), move |after: Option<i64>| {
        let engine = engine.clone();
        async move {
            let Some(after) = after else { return Ok(None) };
            let page = page(&engine, &filter, after, CHUNK, LOOK).await?;
            Ok(Some((page.rows, page.next)))
        }
    })
}

/// Up to `limit` rows after the key `after` (0: from the beginning), having looked at `look` contacts at most, or as many more as one
/// statement looks at. A page goes on by key, so that the last one costs what the first does.
pub async fn page(engine: &Engine, filter: &Filter, after: i64, limit: i64, look: i64) -> Result<Page> {
    let mut tx = engine.store.read().await?;
    let revisions = revisions(engine, &mut tx).await?;
    let after = after.max(0);
    // A key is a contact's id and a permission's place in one: the contact it names may have further permissions.
    let places = permissions().count() as i64;
    let (place, mut size) = ((after / places, after % places), look.clamp(1, FIRST));
    let done = place.1 == places - 1;
    let (mut from, mut looked, mut rows, mut next) = (if done { place.0 } else { place.0 - 1 }, 0, Vec::new(), None);
    while let Some(to) = consents::window(&mut tx, &engine.controller, from, size).await? {
        let wanted = consents::Wanted {
            controller: &engine.controller,
            permissions: filter.bits(),
            revisions: &revisions,
            contacts: (from, to),
        };
        let status = filter.status.map_or("", Status::code);
        rows.extend(consents::list(&mut tx, &wanted, status, place, limit - rows.len() as i64).await?);
        (from, looked, size) = (to, looked + size, (2 * size).min(WINDOW));
        if let Some(last) = rows.last().filter(|_| rows.len() as i64 >= limit) {
            next = Some(last.contact * places + last.i);
            break;
        }
        if looked >= look {
            next = Some(to * places + places - 1);
            break;
        }
    }
    tx.rollback().await?;
    let rows = rows.into_iter().map(|row| told(engine, row)).collect::<Result<_>>()?;
    Ok(Page { controller: engine.controller.clone(), as_of: as_of(engine), rows, next })
}

fn told(engine: &Engine, row: consents::Standing) -> Result<Standing> {
    let permission = permissions().nth(usize::try_from(row.i)?);
    Ok(Standing {
        subject: row.subject,
        number: engine.vault.decrypt_number(&row.number_enc)?.to_string(),
        country: row.country,
        channel: permission.map(|p| p.channel.code()).unwrap_or_default().to_owned(),
        purpose: permission.map(|p| p.purpose.code()).unwrap_or_default().to_owned(),
        status: row.status,
        since: row.since.map(|at| instant(at).to_rfc3339()),
    })
}

/// A permission of somebody who was asked for it and let the time for an answer pass.
#[derive(Debug, Clone)]
pub struct Silent {
    pub number_enc: String,
    pub country: Option<String>,
    pub permission: Permission,
    pub ask: RanOut,
}

/// Those of the contacts after this one, whose status is `silent`, and up to which contact they are; `None` after the last.
pub async fn silent_after(engine: &Engine, tx: &mut Tx, from: i64) -> Result<Option<(i64, Vec<Silent>)>> {
    let Some(to) = consents::window(tx, &engine.controller, from, WINDOW).await? else { return Ok(None) };
    let revisions = revisions(engine, tx).await?;
    let wanted = consents::Wanted {
        controller: &engine.controller,
        permissions: Filter::default().bits(),
        revisions: &revisions,
        contacts: (from, to),
    };
    let rows = consents::list(tx, &wanted, Status::Silent.code(), (0, 0), i64::MAX).await?;
    let contacts: BTreeSet<i64> = rows.iter().map(|row| row.contact).collect();
    let mut asks: BTreeMap<i64, Vec<RanOut>> = BTreeMap::new();
    for ask in conversations::ran_out(tx, &contacts.into_iter().collect::<Vec<_>>()).await? {
        asks.entry(ask.contact_id).or_default().push(ask);
    }
    let bits: BTreeMap<i64, i64> = revisions.into_iter().collect();
    let silent = rows.into_iter().filter_map(|row| {
        let asks_for = |ask: &&RanOut| ask.revision_id.and_then(|id| bits.get(&id)).is_none_or(|bits| bits & 1 << row.i != 0);
        // One whose question is open still may answer.
        let ask = asks.get(&row.contact)?.iter().rev().find(asks_for)?.clone();
        let permission = permissions().nth(usize::try_from(row.i).ok()?)?;
        Some(Silent { number_enc: row.number_enc, country: row.country, permission, ask })
    });
    Ok(Some((to, silent.collect())))
}

/// One contact, a line a status: `silent: sms.product_info, sms.promotions`.
pub async fn of(engine: &Engine, tx: &mut Tx, contact: i64) -> Result<Vec<String>> {
    let revisions = revisions(engine, tx).await?;
    let wanted = consents::Wanted {
        controller: &engine.controller,
        permissions: Filter::default().bits(),
        revisions: &revisions,
        contacts: (contact - 1, contact),
    };
    let rows = consents::list(tx, &wanted, "", (0, 0), i64::MAX).await?;
    let named = |row: &consents::Standing| permissions().nth(usize::try_from(row.i).ok()?).map(Permission::code);
    let line = |status: Status| {
        let names: Vec<String> = rows.iter().filter(|row| row.status == status.code()).filter_map(named).collect();
        (!names.is_empty()).then(|| format!("{}: {}", status.code(), names.join(", ")))
    };
    Ok(Status::ALL.into_iter().filter_map(line).collect())
}
