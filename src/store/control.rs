//! The levers and gauges of running: leases, the ear of the web role, the halt, and what each gateway is fit for.

use super::{Result, Tx, execute, fetch_all, fetch_optional};

/// A heartbeat that lies so far ahead was written before the clock was set back: how long nobody has heard since is not known.
const BACK: i64 = -2_000_000;

pub async fn register(tx: &mut Tx, worker: &str, roles: &str) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO leases (id, roles, started_db, renewed_db) VALUES ($1, $2, DBNOW(), DBNOW())
         ON CONFLICT (id) DO UPDATE SET renewed_db = excluded.renewed_db",
        worker,
        roles
    )?;
    execute!(tx, "DELETE FROM leases WHERE renewed_db < DBNOW() - 86400000000")?;
    Ok(())
}

/// Renews the lease; false where it was lost (the row is gone).
pub async fn renew(tx: &mut Tx, worker: &str) -> Result<bool> {
    Ok(execute!(tx, "UPDATE leases SET renewed_db = DBNOW() WHERE id = $1", worker)? == 1)
}

pub async fn unregister(tx: &mut Tx, worker: &str) -> Result<()> {
    execute!(tx, "DELETE FROM leases WHERE id = $1", worker)?;
    Ok(())
}

/// The web role says that it hears. After a silence of over `deaf_db` microseconds a gap is recorded, which keeps every
/// worker silent until it is settled; its id is answered.
pub async fn hear(tx: &mut Tx, controller: &str, deaf_db: i64, now: i64) -> Result<Option<i64>> {
    let last: Option<(i64, i64)> = fetch_optional!(
        tx,
        "SELECT CAST(DBNOW() - heard_db AS BIGINT), heard_at FROM listening WHERE controller = $1 FOR UPDATE",
        controller
    )?;
    execute!(
        tx,
        "INSERT INTO listening (controller, heard_db, heard_at) VALUES ($1, DBNOW(), $2)
         ON CONFLICT (controller) DO UPDATE SET heard_db = excluded.heard_db, heard_at = excluded.heard_at",
        controller,
        now
    )?;
    match last {
        Some((silence, heard_at)) if silence > deaf_db || silence < BACK => {
            let gap: Option<(i64,)> = fetch_optional!(
                tx,
                "INSERT INTO gaps (controller, from_at, to_at) VALUES ($1, $2, $3) RETURNING id",
                controller,
                heard_at,
                now
            )?;
            Ok(gap.map(|(id,)| id))
        }
        _ => Ok(None),
    }
}

/// A gateway's session says that it hears; when it last said so is answered. It stands among those who listen, under the controller and its
/// own name.
pub async fn hear_session(tx: &mut Tx, controller: &str, gateway: &str, now: i64) -> Result<Option<i64>> {
    let key = format!("{controller}/{gateway}");
    let last: Option<(i64,)> = fetch_optional!(tx, "SELECT heard_at FROM listening WHERE controller = $1 FOR UPDATE", &key)?;
    execute!(
        tx,
        "INSERT INTO listening (controller, heard_db, heard_at) VALUES ($1, DBNOW(), $2)
         ON CONFLICT (controller) DO UPDATE SET heard_db = excluded.heard_db, heard_at = excluded.heard_at",
        &key,
        now
    )?;
    Ok(last.map(|(at,)| at))
}

/// Records a time in which replies may have been lost: every worker is silent until it is settled.
pub async fn add_gap(tx: &mut Tx, controller: &str, from: i64, to: i64) -> Result<()> {
    execute!(tx, "INSERT INTO gaps (controller, from_at, to_at) VALUES ($1, $2, $3)", controller, from, to)?;
    Ok(())
}

/// Microseconds since a web role gave a sign of life, by the database's clock; none where none ever did.
pub async fn heard_ago(tx: &mut Tx, controller: &str) -> Result<Option<i64>> {
    let row: Option<(i64,)> =
        fetch_optional!(tx, "SELECT CAST(DBNOW() - heard_db AS BIGINT) FROM listening WHERE controller = $1", controller)?;
    Ok(row.map(|(ago,)| ago))
}

/// A time in which replies may have been lost.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Gap {
    pub id: i64,
    pub from_at: i64,
    pub to_at: i64,
    /// Not 0 where a copy of the database took over at its end, as [`forget_hearing`] says.
    pub restored: i64,
}

/// Gaps in hearing not yet settled.
pub async fn open_gaps(tx: &mut Tx, controller: &str) -> Result<Vec<Gap>> {
    fetch_all!(
        tx,
        "SELECT id, from_at, to_at, restored FROM gaps WHERE controller = $1 AND settled_at IS NULL ORDER BY id",
        controller
    )
}

/// A copy takes over at `now`. What was said since it was made has to be read, or vouched for, before anything is sent: a gap from when the
/// copy last heard anything; where it never did, from when it knew of its newest contact, before whom nobody was asked.
pub async fn forget_hearing(tx: &mut Tx, controller: &str, now: i64) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO gaps (controller, from_at, to_at, restored) SELECT $1, COALESCE(
           (SELECT heard_at FROM listening WHERE controller = $1), (SELECT MAX(created_at) FROM contacts WHERE controller = $1), 0), $2, 1",
        controller,
        now
    )?;
    // The time until somebody listens is a gap of its own.
    execute!(tx, "UPDATE listening SET heard_db = 0, heard_at = $2 WHERE controller = $1", controller, now)?;
    Ok(())
}

pub async fn settle_gap(tx: &mut Tx, id: i64, by: &str, now: i64) -> Result<()> {
    execute!(tx, "UPDATE gaps SET settled_at = $2, settled_by = $3 WHERE id = $1 AND settled_at IS NULL", id, now, by)?;
    Ok(())
}

/// Why nothing may be claimed just now, if so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    Halted,
    /// No web role said lately that it hears.
    Deaf,
    /// Replies of a time of deafness have not been read yet.
    Gap,
}

impl Silence {
    pub fn sentence(self) -> &'static str {
        match self {
            Silence::Halted => "halted by the operator; `permesso resume` goes on",
            Silence::Deaf => {
                "deaf: no web role runs, or none can store what it hears, so a STOP could not be heard; start `permesso run --roles web`, or read its log"
            }
            Silence::Gap => {
                "replies may have been lost while nobody listened (no web role ran, a session was down longer than the carrier keeps them, or a copy was restored); the gateway's list is being read, or `permesso resume --heard` says they were"
            }
        }
    }
}

pub async fn silence(tx: &mut Tx, controller: &str, deaf_db: i64) -> Result<Option<Silence>> {
    let halted: Option<(Option<i64>,)> = fetch_optional!(tx, "SELECT halted_at FROM controls WHERE controller = $1", controller)?;
    if halted.is_some_and(|(at,)| at.is_some()) {
        return Ok(Some(Silence::Halted));
    }
    if heard_ago(tx, controller).await?.is_none_or(|silence| silence > deaf_db || silence < BACK) {
        return Ok(Some(Silence::Deaf));
    }
    Ok((!open_gaps(tx, controller).await?.is_empty()).then_some(Silence::Gap))
}

/// Claims of one controller take turns, whatever the gateway: two of them must not ask the same human at the same moment.
pub async fn take_turn(tx: &mut Tx, controller: &str) -> Result<()> {
    execute!(tx, "INSERT INTO controls (controller) VALUES ($1) ON CONFLICT DO NOTHING", controller)?;
    let _: Option<(String,)> =
        fetch_optional!(tx, "SELECT controller FROM controls WHERE controller = $1 FOR UPDATE", controller)?;
    Ok(())
}

pub async fn set_halt(tx: &mut Tx, controller: &str, at: Option<i64>, by: &str) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO controls (controller, halted_at, halted_by) VALUES ($1, $2, $3)
         ON CONFLICT (controller) DO UPDATE SET halted_at = excluded.halted_at, halted_by = excluded.halted_by",
        controller,
        at,
        by
    )?;
    Ok(())
}

#[derive(Debug, Clone, Default, sqlx::FromRow)]
pub struct Health {
    pub name: String,
    /// Unknown outcomes in a row.
    pub unknowns: i64,
    /// Sends in a row for which no connection came about.
    pub unreached: i64,
    /// The breaker is open since.
    pub opened_at: Option<i64>,
    /// Why it is open, where no connection comes about; none where outcomes are unknown.
    pub open_reason: Option<String>,
    /// The next probe may leave.
    pub probe_at: i64,
    /// When the breaker's probe left; 0 is none.
    pub probing: i64,
    pub paused_at: Option<i64>,
    pub pause_reason: Option<String>,
    pub throttled_until: i64,
}

impl Health {
    /// Whether anything is claimed for it but a probe.
    pub fn is_working(&self) -> bool {
        self.paused_at.is_none() && self.opened_at.is_none()
    }

    /// Nothing is being counted against it, so an answer it gives changes nothing.
    pub fn is_clean(&self) -> bool {
        self.is_working() && self.unknowns == 0 && self.unreached == 0 && self.probing == 0
    }

    /// Since when and why no connection to it comes about, if none does.
    pub fn out_of_reach(&self) -> Option<(i64, &str)> {
        self.opened_at.zip(self.open_reason.as_deref())
    }
}

macro_rules! healths {
    () => {
        "SELECT name, unknowns, unreached, opened_at, open_reason, probe_at, probing, paused_at, pause_reason, throttled_until FROM gateways"
    };
}

/// As [`health`], without waiting for whoever is changing it; none as long as nothing was sent by it.
pub async fn health_seen(tx: &mut Tx, controller: &str, gateway: &str) -> Result<Option<Health>> {
    fetch_optional!(tx, concat!(healths!(), " WHERE controller = $1 AND name = $2"), controller, gateway)
}

/// Locked until the transaction ends.
pub async fn health(tx: &mut Tx, controller: &str, gateway: &str) -> Result<Health> {
    execute!(tx, "INSERT INTO gateways (controller, name) VALUES ($1, $2) ON CONFLICT DO NOTHING", controller, gateway)?;
    let row: Option<Health> =
        fetch_optional!(tx, concat!(healths!(), " WHERE controller = $1 AND name = $2 FOR UPDATE"), controller, gateway)?;
    Ok(row.unwrap_or_default())
}

pub async fn all_health(tx: &mut Tx, controller: &str) -> Result<Vec<Health>> {
    fetch_all!(tx, concat!(healths!(), " WHERE controller = $1 ORDER BY name"), controller)
}

pub async fn save_health(tx: &mut Tx, controller: &str, h: &Health) -> Result<()> {
    execute!(
        tx,
        "UPDATE gateways SET unknowns = $3, opened_at = $4, probing = $5, paused_at = $6, pause_reason = $7, throttled_until = $8,
           unreached = $9, open_reason = $10, probe_at = $11
         WHERE controller = $1 AND name = $2",
        controller,
        &h.name,
        h.unknowns,
        h.opened_at,
        h.probing,
        h.paused_at,
        h.pause_reason.as_deref(),
        h.throttled_until,
        h.unreached,
        h.open_reason.as_deref(),
        h.probe_at
    )?;
    Ok(())
}
