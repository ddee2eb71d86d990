//! `import` and `plan`: a million rows in, a million decisions.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use permesso::domain::contact::{AskBasis, BoxDefault};
use permesso::domain::phone::{Fiction, PhoneNumber};
use permesso::engine::{import as importer, plan as planner};

use crate::Size;
use crate::house::{House, Kind};
use crate::measure::{Figure, peak, timed};

const HEADER: &str =
    "number,name,kind,source,ask_basis,basis_evidence,basis_date,box_default,external_id,unsubscribed,last_action\n";

/// Rows as lists have them: five ways of writing a number, one of twenty repeated, one of fifty wrong, one of ten unsubscribed.
fn write_messy(file: &Path, from: u32, to: u32) -> Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(file)?);
    out.write_all(HEADER.as_bytes())?;
    for n in from..to {
        let m = if n % 20 == 7 { n.saturating_sub(3) } else { n };
        let (a, b) = (m / 10_000, m % 10_000);
        let number = match n % 5 {
            _ if n % 50 == 11 => format!("300 12 {b}"),
            0 => format!("+39300{m:07}"),
            1 => format!("+39 300 {a:03} {b:04}"),
            2 => format!("0039-300-{a:03}-{b:04}"),
            3 => format!("300{m:07}"),
            _ => format!("(300) {a:03}.{b:04}"),
        };
        let no = if n % 10 == 3 { "sì" } else { "" };
        let date = format!("20{:02}-{:02}-{:02}", 20 + n % 6, 1 + n % 12, 1 + n % 28);
        writeln!(out, "{number},\"Rossi, Mario {n}\",prospect,web shop,prior_consent,form {n},{date},unticked,c{m},{no},{date}")?;
    }
    out.flush()?;
    Ok(())
}

pub async fn import(kind: Kind, size: &Size) -> Result<Vec<Figure>> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let (whole, halves) = (dir.path().join("all.csv"), [dir.path().join("a.csv"), dir.path().join("b.csv")]);
    write_messy(&whole, 0, size.people)?;
    write_messy(&halves[0], 0, size.people / 2)?;
    write_messy(&halves[1], size.people / 2, size.people)?;
    let mut pairs = Vec::new();
    let mut memory = 0.0_f64;
    for _ in 0..size.pairs {
        let house = House::new(kind).await?;
        peak()?;
        let (seconds, summary) = timed(importer::contacts(&house.engine, &whole, |_| {})).await?;
        if let Some(statements) = &size.statements {
            statements.print(size.people);
        }
        memory = memory.max(peak()?);
        anyhow::ensure!(summary.new > 0 && summary.rows == u64::from(size.people), "{summary:?}");
        pairs.push((f64::from(size.people) / seconds, f64::from(size.people) / parse_alone(&halves)?));
        house.engine.store.close().await;
    }
    let target = if kind == Kind::Sqlite { 0.25 } else { 0.15 };
    let mut sizes = Vec::new();
    for part in [100, 10] {
        let (house, some, rows) = (House::new(kind).await?, dir.path().join("some.csv"), size.people / part);
        write_messy(&some, 0, rows)?;
        peak()?;
        let (seconds, _) = timed(importer::contacts(&house.engine, &some, |_| {})).await?;
        sizes.push((rows, seconds * 1e6 / f64::from(rows), peak()?));
    }
    let figure = Figure::of("import", kind, "rows/s", &pairs).target(target);
    let largest = (size.people, 1e6 / figure.value, memory);
    let growth = Figure::growth("import growth", kind, "µs/row", [sizes[0], sizes[1], largest]);
    Ok(vec![figure, growth])
}

/// Parsed and validated on both cores, and nothing kept: seconds.
fn parse_alone(halves: &[std::path::PathBuf; 2]) -> Result<f64> {
    let begin = Instant::now();
    let threads = halves.clone().map(|file| {
        std::thread::spawn(move || -> Result<u64> {
            let mut good = 0;
            let mut reader = csv::Reader::from_path(file)?;
            let mut row = csv::StringRecord::new();
            while reader.read_record(&mut row)? {
                let number = PhoneNumber::parse(row.get(0).unwrap_or_default(), Some("IT"), Fiction::Allowed);
                let date = row.get(6).unwrap_or_default().parse::<chrono::NaiveDate>();
                let last = row.get(10).unwrap_or_default().parse::<chrono::NaiveDate>();
                let basis = AskBasis::parse(row.get(4).unwrap_or_default());
                let ticked = BoxDefault::parse(row.get(7).unwrap_or_default());
                good += u64::from(number.is_ok() && date.is_ok() && last.is_ok() && basis.is_some() && ticked.is_some());
            }
            Ok(good)
        })
    });
    for thread in threads {
        let good = thread.join().map_err(|_| anyhow::anyhow!("parsing panicked"))??;
        anyhow::ensure!(good > 0, "nothing was parsed");
    }
    Ok(begin.elapsed().as_secs_f64())
}

pub async fn plan(kind: Kind, size: &Size) -> Result<Vec<Figure>> {
    let seed = House::new(kind).await?;
    seed.people(size.people, true).await?;
    let mut pairs = Vec::new();
    let (mut longest, mut memory) = (0.0_f64, 0.0_f64);
    for _ in 0..size.pairs {
        let house = seed.again().await?;
        peak()?;
        let (seconds, held) = decide_all(&house).await?;
        longest = longest.max(held);
        memory = memory.max(peak()?);
        pairs.push((seconds, written_alone(&house).await?));
        house.engine.store.close().await;
    }
    let mut figures =
        vec![Figure::of("plan", kind, "s", &pairs).target(4.0).with("longest_transaction_ms", (longest * 1e3).round())];
    let mut sizes = Vec::new();
    for part in [100, 10] {
        let house = House::new(kind).await?;
        house.people(size.people / part, true).await?;
        peak()?;
        let cost = decide_all(&house).await?.0 * 1e6 / f64::from(size.people / part);
        sizes.push((size.people / part, cost, peak()?));
    }
    let largest = (size.people, figures[0].value * 1e6 / f64::from(size.people), memory);
    figures.push(Figure::growth("plan growth", kind, "µs/person", [sizes[0], sizes[1], largest]));
    Ok(figures)
}

/// Decides about everybody; seconds, and the longest transaction's.
async fn decide_all(house: &House) -> Result<(f64, f64)> {
    let campaign = house.start().await?;
    let (begin, mut longest) = (Instant::now(), 0.0_f64);
    loop {
        let (seconds, more) = timed(planner::plan_next(&house.engine, campaign)).await?;
        longest = longest.max(seconds);
        if !more {
            return Ok((begin.elapsed().as_secs_f64(), longest));
        }
    }
}

/// The same rows written again by one statement a table, triggers and indexes as they are: seconds.
async fn written_alone(house: &House) -> Result<f64> {
    for table in ["decisions", "messages"] {
        house.execute(&format!("CREATE TABLE copied_{table} AS SELECT * FROM {table}")).await?;
        house.execute(&format!("DELETE FROM {table}")).await?;
    }
    let begin = Instant::now();
    for table in ["decisions", "messages"] {
        house.execute(&format!("INSERT INTO {table} SELECT * FROM copied_{table}")).await?;
    }
    Ok(begin.elapsed().as_secs_f64())
}
