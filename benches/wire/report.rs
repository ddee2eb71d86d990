//! `report`: reports and the operator's pages of a campaign under way, of a million people against a thousand: a tenth of them was asked,
//! every ask has two receipts, and one of ten who were asked wrote something.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use permesso::web;
use tokio_util::sync::CancellationToken;

use crate::Size;
use crate::house::{CAMPAIGN, House, Kind};
use crate::measure::{Figure, median, peak};
use crate::webhooks;

/// Requests a page that are not measured: the first six times on each of its twelve connections Postgres plans every statement anew, and how
/// many of them are open is no matter of the size.
const WARM: usize = 12 * 6;

pub async fn run(kind: Kind, size: &Size) -> Result<Vec<Figure>> {
    let pages = [
        ("report api", format!("/api/v1/campaigns/{CAMPAIGN}")),
        ("desk overview", "/".to_owned()),
        ("desk campaign", format!("/campaigns/{CAMPAIGN}")),
        ("desk by country", format!("/campaigns/{CAMPAIGN}/countries.csv")),
        ("desk timeline", format!("/campaigns/{CAMPAIGN}/timeline.csv")),
        ("desk skipped", format!("/campaigns/{CAMPAIGN}/skipped/SUPPRESSED_UNSUB")),
        ("desk person", "/contacts/{subject}".to_owned()),
        ("desk inbox", "/inbox".to_owned()),
        ("desk gateways", "/gateways".to_owned()),
        ("desk consents", "/consents".to_owned()),
        ("desk list", "/consents/list".to_owned()),
        ("desk requests", "/requests".to_owned()),
        ("desk webhooks", "/webhooks".to_owned()),
        ("metrics", "/metrics".to_owned()),
    ];
    let (smallest, _) = times(kind, (size.people / 1000).max(100), &pages).await?;
    let mut sizes = Vec::new();
    let mut largest = Vec::new();
    for part in [100, 10, 1] {
        let people = size.people / part;
        let (medians, memory) = times(kind, people, &pages).await?;
        sizes.push((people, medians.iter().sum::<f64>(), memory));
        largest = medians;
    }
    let figure = |((name, _), (large, small)): (&(&str, String), (&f64, &f64))| {
        Figure::of(name, kind, "ms", &[(*large, *small)]).target(2.0)
    };
    let mut figures: Vec<Figure> = pages.iter().zip(largest.iter().zip(&smallest)).map(figure).collect();
    figures.push(Figure::growth("report growth", kind, "ms/all pages", [sizes[0], sizes[1], sizes[2]]));
    Ok(figures)
}

/// Each page's median of twenty, milliseconds; and the most memory, megabytes.
async fn times(kind: Kind, people: u32, pages: &[(&str, String)]) -> Result<(Vec<f64>, f64)> {
    let house = House::new(kind).await?;
    house.people(people, true).await?;
    let asked = house.ask(people as usize / 10).await?;
    let stop = CancellationToken::new();
    let doors = web::Doors::bind(&house.engine).await?;
    let base = format!("http://{}", doors.operator_address()?);
    let serving = tokio::spawn(doors.serve(house.engine.clone(), stop.clone()));
    // In parts, and then away with it: the memory is measured below.
    for part in asked.chunks(5_000) {
        webhooks::post_all(house.public, &webhooks::bodies(&house.engine, part)).await?;
    }
    drop(asked);
    // As the sweep does every half a minute.
    permesso::store::report::fold(&house.engine.store).await?;
    // As autovacuum does within a minute: what is measured is the pages, not its work beside them.
    if kind == Kind::Postgres {
        house.execute("VACUUM ANALYZE").await?;
        house.execute("CHECKPOINT").await?;
    }
    peak()?;
    let http = permesso::gateway::http::pool()?;
    let listed = http.get(format!("{base}/campaigns/{CAMPAIGN}/skipped/SUPPRESSED_UNSUB")).send().await?.text().await?;
    let subject = listed.split("/contacts/").nth(1).and_then(|rest| rest.split('"').next()).context("somebody is skipped")?;
    let mut medians = Vec::new();
    for (name, path) in pages {
        let (mut times, mut asked) = (Vec::new(), 0);
        while times.len() < 20 {
            let begin = Instant::now();
            let answer = http.get(format!("{base}{}", path.replace("{subject}", subject))).send().await?;
            ensure!(answer.status().is_success(), "{name}: HTTP {}", answer.status());
            let counting = answer.text().await?.contains("being counted");
            times.push(begin.elapsed().as_secs_f64() * 1e3);
            asked += 1;
            // Some wait for what is counted once a minute.
            if counting || asked <= WARM {
                times.clear();
            }
        }
        medians.push(median(times));
    }
    stop.cancel();
    serving.await??;
    Ok((medians, peak()?))
}
