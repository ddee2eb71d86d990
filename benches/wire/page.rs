//! `page`: a person's page read, against the same template answered from memory; and submitted, against the page read.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use askama::Template;
use axum::response::Html;
use axum::routing::get;
use futures::StreamExt;
use permesso::domain::channel::{Channel, Purpose};
use permesso::engine::choose::Door;
use permesso::web;
use permesso::web::lang::Lang;
use permesso::web::pages::PreferencesPage;
use tokio_util::sync::CancellationToken;

use crate::Size;
use crate::house::{House, Kind};
use crate::measure::Figure;

const IN_FLIGHT: usize = 64;

pub async fn run(kind: Kind, size: &Size) -> Result<Vec<Figure>> {
    let seed = House::new(kind).await?;
    let people = size.pages / 10;
    seed.people(people, false).await?;
    let asked = seed.ask_everybody().await?;
    let (mut reads, mut posts) = (Vec::new(), Vec::new());
    for _ in 0..size.pairs {
        let house = seed.again().await?;
        let stop = CancellationToken::new();
        let serving = tokio::spawn(web::Doors::bind(&house.engine).await?.serve(house.engine.clone(), stop.clone()));
        let base = format!("http://127.0.0.1:{}", house.public);
        let links: Vec<String> = asked.iter().filter_map(|m| m.link(&base)).collect();
        ensure!(links.len() == asked.len(), "a message without a link");
        let forms = forms(&links).await?;
        let many: Vec<String> = links.iter().cycle().take(size.pages as usize).cloned().collect();
        let read = rate(&many, |http, link| http.get(link)).await?;
        let still = still(&house, &many).await?;
        let posted = rate(&forms, |http, (link, body)| {
            let form = http.post(link).header("sec-fetch-site", "same-origin");
            form.header("content-type", "application/x-www-form-urlencoded").body(body.clone())
        });
        posts.push((posted.await?, read));
        reads.push((read, still));
        let entries = house.count("SELECT COUNT(*) FROM ledger").await?;
        ensure!(entries == i64::from(people), "{entries} of {people} submissions are in the ledger");
        stop.cancel();
        serving.await??;
        house.engine.store.close().await;
    }
    Ok(vec![
        Figure::of("page get", kind, "pages/s", &reads).target(0.8),
        Figure::of("page post", kind, "pages/s", &posts).target(0.3),
    ])
}

/// Every page's form, ticked.
async fn forms(links: &[String]) -> Result<Vec<(String, String)>> {
    let http = permesso::gateway::http::pool()?;
    let mut forms = Vec::with_capacity(links.len());
    for link in links {
        let page = http.get(link).send().await?.text().await?;
        let nonce =
            page.split("name=\"nonce\" value=\"").nth(1).and_then(|r| r.split('"').next()).context("a page without a nonce")?;
        forms.push((link.clone(), format!("nonce={nonce}&answer=chosen&grant=sms.promotions")));
    }
    Ok(forms)
}

/// Requests answered a second.
async fn rate<T>(all: &[T], request: impl Fn(&reqwest::Client, &T) -> reqwest::RequestBuilder) -> Result<f64> {
    let http = permesso::gateway::http::pool()?;
    let begin = Instant::now();
    let wrong = futures::stream::iter(all)
        .map(|one| {
            let request = request(&http, one);
            async move {
                let answer = request.send().await.ok()?;
                let good = answer.status().is_success() || answer.status().is_redirection();
                answer.bytes().await.ok().filter(|_| good).map(drop)
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .filter(|done| std::future::ready(done.is_none()))
        .count()
        .await;
    ensure!(wrong == 0, "{wrong} requests were not answered well");
    Ok(all.len() as f64 / begin.elapsed().as_secs_f64())
}

/// The same page from memory, rendered anew each time.
async fn still(house: &House, links: &[String]) -> Result<f64> {
    async fn shown() -> Html<String> {
        let page = PreferencesPage {
            lang: Lang::parse("it").expect("a language"),
            lang_base: Some("/p/AAAAAAAAAAAAAAAAAAAAAA".into()),
            brand: "ACME".into(),
            masked_number: "••• 456".into(),
            channels: Channel::ALL.to_vec(),
            purposes: vec![Purpose::ProductInfo, Purpose::Promotions],
            granted: BTreeSet::new(),
            no_is_said: false,
            times: permesso::domain::times::Times::default(),
            pending: None,
            state_banner: None,
            nonce: "0".repeat(64),
            action: "/p/AAAAAAAAAAAAAAAAAAAAAA/it".into(),
            notice_url: "/notice".into(),
            notice_version: "2026-11".into(),
            source: Some("web shop".into()),
            controller: "ACME S.p.A.".into(),
            privacy_contact: "privacy@acme.example".into(),
            start_number: None,
            door: Door::Open,
            again: None,
        };
        Html(page.render().unwrap_or_default())
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    let serving = tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/p/{token}", get(shown))).await });
    let there = |link: &String| link.replace(&format!("http://127.0.0.1:{}", house.public), &base);
    let links: Vec<String> = links.iter().map(there).collect();
    let rate = rate(&links, |http, link| http.get(link)).await;
    serving.abort();
    rate
}
