//! One campaign: its progress, its funnel, what happened hour by hour, where, by which channel and for which purpose, and whom
//! it left out. Pause, resume and cancel are here too.

use std::collections::BTreeMap;

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Duration, FixedOffset};
use serde::Deserialize;

use super::sheet::FIGURES;
use super::{Frame, Page, back_to, chart, filters, html, minute, sheet};
use crate::domain::answer::By;
use crate::domain::campaign::CampaignState;
use crate::domain::eligibility;
use crate::domain::ledger::Preference;
use crate::engine::breakdown::{self, Breakdown, Hour, Timeline};
use crate::engine::report::{self, Report, Unsent};
use crate::engine::{Engine, plan};
use crate::store;
use crate::web::Web;
use crate::web::problem::{PageProblem, Problem};

/// Hours up to which the chart draws each; a longer campaign is drawn by days.
const HOURS: i64 = 96;
/// Bars the chart has room for at least, so that a short campaign is no wall.
const ROOM: usize = 24;
/// Rows of the table under the chart; the file has all.
const ROWS: usize = 200;

#[derive(Template)]
#[template(path = "desk/campaign.html")]
struct CampaignPage {
    frame: Frame,
    report: Report,
    time_line: Drawn,
    breakdown: Breakdown,
}

/// The timeline as the page draws it.
struct Drawn {
    time_zone: String,
    /// `hour` or `day`
    unit: &'static str,
    series: Vec<Series>,
    first: String,
    last: String,
    /// The bars end before the chart does: it says from when to when they are, and names no time to come.
    is_short: bool,
    /// The newest first.
    rows: Vec<Hour>,
    left_out: usize,
}

struct Series {
    label: &'static str,
    svg: String,
    total: u64,
    most: u64,
}

/// One step from plan to answer: people, each by one number, and their share of the numbers decided about.
struct Step {
    label: &'static str,
    /// Who, where the figure is several people's doing.
    note: String,
    count: u64,
    of: u64,
}

/// How many answered in a time of which a restored copy knows nothing else.
fn since_copy(n: u64) -> String {
    if n == 0 {
        String::new()
    } else {
        format!("{n} after the copy that was restored: what they said is in the database kept aside")
    }
}

impl CampaignPage {
    /// The last ones add up to the asked.
    fn steps(&self) -> Vec<Step> {
        let r = &self.report;
        let step = |label, count| Step { label, note: String::new(), count, of: r.targeted };
        vec![
            step("Numbers targeted", r.targeted),
            step("Eligible", r.eligible),
            step("Asked", r.asked),
            step("Delivered", r.delivered),
            step("Answered", r.answered),
            step("Confirmed", r.confirmed),
            Step { note: By::told(&r.withdrawn_by), ..step("Of them withdrawn since", r.withdrawn) },
            step("Pending: a first yes, second step awaited", r.pending),
            step("Unfinished: a first yes, whose second step never came", r.unfinished),
            step("Refused", r.refused),
            Step { note: By::told(&r.stopped_by), ..step("Stopped all marketing", r.stopped) },
            step("Wrong person", r.wrong_person),
            step("Number changed", r.number_changed),
            Step { note: since_copy(r.answered_since), ..step("Replied, no decision", r.replied) },
            step("Silent", r.silent),
            step("Unknown whether asked", r.unknown),
            step("Not reached", r.not_reached),
        ]
    }

    fn places(&self) -> [(&'static str, &'static str, &[breakdown::Line], &'static str); 2] {
        [
            ("By country", "Country", &self.breakdown.countries, "countries.csv"),
            ("By channel of the ask", "Channel", &self.breakdown.channels, "channels.csv"),
        ]
    }

    fn skipped_total(&self) -> u64 {
        self.report.skipped.values().sum()
    }

    fn sentence(&self, code: &str) -> &'static str {
        eligibility::sentence(code).unwrap_or_default()
    }

    /// Asks and reminders: their states, and why the missing ones did not go.
    fn sent(&self) -> [(&'static str, &BTreeMap<String, u64>, Vec<&Unsent>); 2] {
        let r = &self.report;
        [("Asks", &r.asks, r.not_asked().collect()), ("Reminders", &r.reminders, r.not_reminded().collect())]
    }

    /// Asks and reminders in this state.
    fn count(&self, state: &str) -> u64 {
        [&self.report.asks, &self.report.reminders].into_iter().filter_map(|states| states.get(state)).sum()
    }

    fn can_pause(&self) -> bool {
        matches!(self.report.state.as_str(), "running" | "scheduled")
    }

    fn can_resume(&self) -> bool {
        self.report.state == "paused"
    }

    fn preferences(&self) -> [&'static str; 3] {
        [Preference::Granted.code(), Preference::Refused.code(), Preference::Withdrawn.code()]
    }
}

/// The report of a campaign that was started, else 404.
pub async fn find(engine: &Engine, name: &str) -> Result<Report, Problem> {
    known(engine, name).await?;
    Ok(report::campaign(engine, name).await?)
}

/// As [`find`], without the report.
pub async fn known(engine: &Engine, name: &str) -> Result<(), Problem> {
    let mut tx = engine.store.read().await?;
    let known = store::campaigns::by_name(&mut tx, &engine.controller, name).await?.is_some();
    tx.rollback().await?;
    if !known {
        let remedy = "`permesso campaign start` puts a planned campaign here; the overview lists all";
        return Err(Problem::not_found("no such campaign was ever started", remedy));
    }
    Ok(())
}

pub async fn show(State(web): State<Web>, Path(name): Path<String>) -> Page {
    let engine = &web.engine;
    let report = find(engine, &name).await?;
    let mut frame = Frame::new(engine, "overview").await?;
    if report.state == "running" {
        frame.refresh = Some(15);
    }
    let time_line = draw(breakdown::timeline(engine, &name).await?);
    let breakdown = breakdown::breakdown(engine, &name).await?;
    html(&CampaignPage { frame, report, time_line, breakdown })
}

/// Every hour, or every day, from the first to the last in which something happened.
fn draw(timeline: Timeline) -> Drawn {
    let parsed = |hour: &Hour| DateTime::parse_from_rfc3339(&hour.start).unwrap_or_default();
    let ends = timeline.hours.first().map(parsed).zip(timeline.hours.last().map(parsed));
    let (first, last) = ends.unwrap_or_default();
    let (unit, step) = if (last - first).num_hours() <= HOURS { ("hour", 1) } else { ("day", 24) };
    let slot = |at: DateTime<FixedOffset>| (at - first).num_hours() / step;
    let mut slots: BTreeMap<i64, Hour> = BTreeMap::new();
    for hour in &timeline.hours {
        let start = first + Duration::hours(slot(parsed(hour)) * step);
        let into = slots.entry(slot(parsed(hour))).or_insert_with(|| Hour { start: start.to_rfc3339(), ..Hour::default() });
        for (sum, n) in figures_mut(into).into_iter().zip(figures(hour)) {
            *sum += n;
        }
    }
    let length = slot(last) + 1;
    let end = first + Duration::hours((length - 1) * step);
    let labels = [
        "Asks and reminders",
        "Of them delivered",
        "Of them not delivered",
        "First yes",
        "Confirmed, and standing",
        "Withdrawn",
        "Refused",
        "Marketing stopped",
        "Wrong person",
    ];
    let series = labels.into_iter().enumerate().filter_map(|(i, label)| {
        let values: Vec<u64> = (0..length).map(|at| slots.get(&at).map_or(0, |hour| figures(hour)[i])).collect();
        let most = values.iter().copied().max().filter(|most| *most > 0)?;
        Some(Series { label, svg: chart::bars(&values, ROOM), total: values.iter().sum(), most })
    });
    let series = series.collect();
    let left_out = slots.len().saturating_sub(ROWS);
    Drawn {
        time_zone: timeline.time_zone,
        unit,
        series,
        first: minute(&first.to_rfc3339()),
        last: minute(&end.to_rfc3339()),
        is_short: usize::try_from(length).is_ok_and(|length| length < ROOM),
        rows: slots.into_values().rev().take(ROWS).collect(),
        left_out,
    }
}

fn figures(hour: &Hour) -> [u64; 9] {
    let Hour { start: _, asked, delivered, failed, first_yes, confirmed, withdrawn, refused, stopped, wrong_person } = *hour;
    [asked, delivered, failed, first_yes, confirmed, withdrawn, refused, stopped, wrong_person]
}

fn figures_mut(hour: &mut Hour) -> [&mut u64; 9] {
    let Hour { start: _, asked, delivered, failed, first_yes, confirmed, withdrawn, refused, stopped, wrong_person } = hour;
    [asked, delivered, failed, first_yes, confirmed, withdrawn, refused, stopped, wrong_person]
}

pub async fn timeline_sheet(State(web): State<Web>, Path(name): Path<String>) -> Result<Response, PageProblem> {
    known(&web.engine, &name).await?;
    let timeline = breakdown::timeline(&web.engine, &name).await?;
    let head = [
        "hour",
        "asks_and_reminders",
        "of_them_delivered",
        "of_them_not_delivered",
        "first_yes",
        "confirmed",
        "withdrawn",
        "refused",
        "stopped",
        "wrong_person",
    ];
    let head = head.map(String::from).to_vec();
    let rows = timeline
        .hours
        .iter()
        .map(|hour| std::iter::once(hour.start.clone()).chain(figures(hour).map(|n| n.to_string())).collect::<Vec<_>>());
    Ok(sheet::file(&format!("{name}-timeline.csv"), sheet::csv(std::iter::once(head).chain(rows))))
}

/// `countries.csv`, `channels.csv`, `purposes.csv`, `skipped.csv`; `skipped` is a part of the campaign's own page.
pub async fn sheet(State(web): State<Web>, Path((name, by)): Path<(String, String)>) -> Result<Response, PageProblem> {
    known(&web.engine, &name).await?;
    if by == "skipped" {
        return back_to(&format!("/campaigns/{name}#skipped"));
    }
    let breakdown = breakdown::breakdown(&web.engine, &name).await?;
    let rows: Vec<Vec<String>> = match by.as_str() {
        "countries.csv" => lines("country", &breakdown.countries),
        "channels.csv" => lines("channel", &breakdown.channels),
        "purposes.csv" => {
            let head = ["purpose", "channel", "state", "people"].map(String::from).to_vec();
            let rows = breakdown.purposes.iter().flat_map(|line| {
                let row =
                    |(state, n): (&String, &u64)| vec![line.purpose.clone(), line.channel.clone(), state.clone(), n.to_string()];
                line.states.iter().map(row).collect::<Vec<_>>()
            });
            std::iter::once(head).chain(rows).collect()
        }
        "skipped.csv" => {
            let head = ["code", "reason", "people"].map(String::from).to_vec();
            let row = |(code, n): (&String, &u64)| {
                vec![code.clone(), eligibility::sentence(code).unwrap_or_default().to_owned(), n.to_string()]
            };
            let report = report::campaign(&web.engine, &name).await?;
            std::iter::once(head).chain(report.skipped.iter().map(row)).collect()
        }
        _ => return Err(Problem::not_found("there is no such page", "begin at the overview").into()),
    };
    Ok(sheet::file(&format!("{name}-{by}"), sheet::csv(rows)))
}

fn lines(what: &str, lines: &[breakdown::Line]) -> Vec<Vec<String>> {
    let head = std::iter::once(what).chain(FIGURES).map(String::from).collect();
    let optional = |n: Option<u64>| n.map_or(String::new(), |n| n.to_string());
    let row = |l: &breakdown::Line| {
        let rest = [
            l.asked,
            l.delivered,
            l.confirmed,
            l.withdrawn,
            l.pending,
            l.refused,
            l.stopped,
            l.wrong_person,
            l.replied,
            l.silent,
        ];
        let rest = rest.map(|n| n.to_string());
        [l.name.clone(), optional(l.decided), optional(l.eligible)].into_iter().chain(rest).collect()
    };
    std::iter::once(head).chain(lines.iter().map(row)).collect()
}

pub async fn pause(State(web): State<Web>, Path(name): Path<String>) -> Page {
    steer(&web.engine, &name, CampaignState::Paused).await
}

pub async fn resume(State(web): State<Web>, Path(name): Path<String>) -> Page {
    steer(&web.engine, &name, CampaignState::Running).await
}

#[derive(Deserialize)]
pub struct Cancel {
    #[serde(default)]
    sure: String,
}

pub async fn cancel(State(web): State<Web>, Path(name): Path<String>, Form(form): Form<Cancel>) -> Page {
    if form.sure != "yes" {
        let what = "the box that says a cancelled campaign stays cancelled was not ticked";
        return Err(Problem::new(StatusCode::CONFLICT, what, "go back, tick it, and cancel again").into());
    }
    steer(&web.engine, &name, CampaignState::Cancelled).await
}

async fn steer(engine: &Engine, name: &str, to: CampaignState) -> Page {
    known(engine, name).await?;
    plan::set_state(engine, name, to).await?;
    back_to(&format!("/campaigns/{name}"))
}
