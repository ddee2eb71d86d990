//! `report`: reports and the operator's pages of a campaign of a million people, against the same of a thousand.

use std::time::Instant;

use anyhow::{Result, ensure};
use permesso::engine::plan;
use permesso::web;
use tokio_util::sync::CancellationToken;

use crate::Size;
use crate::house::{CAMPAIGN, House, Kind};
use crate::measure::{Figure, median, peak};

pub async fn run(kind: Kind, size: &Size) -> Result<Vec<Figure>> {
    let pages = [
        ("report api", format!("/api/v1/campaigns/{CAMPAIGN}")),
        ("desk overview", "/".to_owned()),
        ("desk campaign", format!("/campaigns/{CAMPAIGN}")),
        ("desk skipped", format!("/campaigns/{CAMPAIGN}/skipped/SUPPRESSED_UNSUB")),
        ("desk inbox", "/inbox".to_owned()),
        ("desk gateways", "/gateways".to_owned()),
        ("desk consents", "/consents".to_owned()),
        ("desk requests", "/requests".to_owned()),
        ("metrics", "/metrics".to_owned()),
    ];
    let (small, _) = times(kind, (size.people / 1000).max(100), &pages).await?;
    let (large, memory) = times(kind, size.people, &pages).await?;
    let figure = |((name, _), (large, small)): (&(&str, String), (&f64, &f64))| {
        Figure::of(name, kind, "ms", &[(*large, *small)]).target(2.0).with("peak_mb", memory)
    };
    Ok(pages.iter().zip(large.iter().zip(&small)).map(figure).collect())
}

/// Each page's median of twenty, milliseconds.
async fn times(kind: Kind, people: u32, pages: &[(&str, String)]) -> Result<(Vec<f64>, f64)> {
    let house = House::new(kind).await?;
    house.people(people, true).await?;
    let campaign = house.start().await?;
    while plan::plan_next(&house.engine, campaign).await? {}
    // As the sweep does every half a minute.
    permesso::store::report::fold(&house.engine.store).await?;
    peak()?;
    let stop = CancellationToken::new();
    let doors = web::Doors::bind(&house.engine).await?;
    let base = format!("http://{}", doors.operator_address()?);
    let serving = tokio::spawn(doors.serve(house.engine.clone(), stop.clone()));
    let http = permesso::gateway::http::pool()?;
    let mut medians = Vec::new();
    for (name, path) in pages {
        let (mut times, mut warm) = (Vec::new(), false);
        // The first ones open the connection, and wait for what is counted once a minute.
        while times.len() < 20 {
            let begin = Instant::now();
            let answer = http.get(format!("{base}{path}")).send().await?;
            ensure!(answer.status().is_success(), "{name}: HTTP {}", answer.status());
            let counting = answer.text().await?.contains("being counted");
            times.push(begin.elapsed().as_secs_f64() * 1e3);
            if counting || !std::mem::replace(&mut warm, true) {
                times.clear();
            }
        }
        medians.push(median(times));
    }
    stop.cancel();
    serving.await??;
    Ok((medians, peak()?))
}
