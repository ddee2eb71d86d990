//! The two doors: the public one, for people and gateways, and the operator's, on loopback unless a token guards it.
//! The routes read as a contents page; logs hold route templates, never a path, since a path holds a token.

pub mod desk;
pub mod intake;
pub mod join;
pub mod lang;
pub mod mine;
pub mod mydata;
pub mod mytable;
pub mod pages;
pub mod people;
pub mod problem;
pub mod webhooks;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, serve};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, recover};
use crate::store::ledger;
use crate::web::lang::Lang;

/// Between two heartbeats.
const BEAT: Duration = Duration::from_secs(5);
/// The longest wait before what came in unheard is read again.
const READ_AGAIN: Duration = Duration::from_secs(300);
/// How long requests under way may take once the process is told to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(20);

/// What every handler may touch.
#[derive(Debug, Clone)]
pub struct Web {
    pub engine: Arc<Engine>,
    /// Unknown tokens an address may try: a mobile carrier puts thousands of people behind one, so known ones are free.
    unknown_tokens: Arc<DefaultKeyedRateLimiter<IpAddr>>,
    /// Numbers and codes an address may type on forms.
    joins: Arc<DefaultKeyedRateLimiter<IpAddr>>,
    /// The last count of everybody's consents.
    figures: Arc<desk::consents::Figures>,
}

impl Web {
    pub fn new(engine: Arc<Engine>) -> Web {
        let quota = Quota::per_minute(std::num::NonZeroU32::new(30).unwrap_or(std::num::NonZeroU32::MIN));
        let limiter = || Arc::new(RateLimiter::keyed(quota));
        Web { engine, unknown_tokens: limiter(), joins: limiter(), figures: Arc::default() }
    }
}

/// Whether an address may try once more. Of IPv6 a household has a whole /64.
fn may_try(tries: &DefaultKeyedRateLimiter<IpAddr>, address: IpAddr) -> bool {
    const MANY: usize = 10_000;
    if tries.len() > MANY {
        tries.retain_recent();
    }
    let household = match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    };
    tries.check_key(&household).is_ok()
}

/// For people and gateways.
pub fn public(web: Web) -> Router {
    let routes = Router::new()
        .route("/", get(people::home))
        .route("/{lang}", get(people::home_in))
        .route("/p/{token}", get(people::show).post(people::submit))
        .route("/p/{token}/{lang}", get(people::show_in).post(people::submit_in))
        .route("/p/{token}/data", get(mydata::door).post(mydata::submit))
        .route("/p/{token}/data/{lang}", get(mydata::door_in).post(mydata::submit_in))
        .route("/erased/{lang}", get(mydata::erased))
        .route("/join/{form}", get(join::show).post(join::submit))
        .route("/join/{form}/{lang}", get(join::show_in).post(join::submit_in))
        .route("/api/v1/intake", post(intake::take))
        .route("/notice", get(people::notice))
        .route("/notice/{lang}", get(people::notice_in))
        .route("/style.css", get(people::style))
        .route("/brand.css", get(people::brand))
        .route("/logo", get(people::logo))
        .route("/webhooks/{gateway}", get(webhooks::receive).post(webhooks::receive))
        .route("/webhooks/{gateway}/{token}", get(webhooks::receive_at).post(webhooks::receive_at))
        .route("/healthz", get(async || "ok\n"))
        .fallback(people::unknown)
        .layer(DefaultBodyLimit::max(webhooks::LARGEST))
        .layer(middleware::from_fn_with_state(web.clone(), in_our_language))
        .layer(middleware::from_fn(people_headers))
        .layer(middleware::from_fn(log))
        .with_state(web);
    // Before any route is looked for.
    Router::new().fallback_service(routes).layer(middleware::map_request(legible))
}

/// What stands in the place of a part of a path that is no text (U+FFFD): no link, form or gateway is called that, so it is answered as any
/// other that nobody has, and not by the router, which would tell them apart.
const NO_TEXT: &str = "%EF%BF%BD";

async fn legible(mut request: Request) -> Request {
    // Only what is escaped can be none; whatever decodes to the sign itself is as unknown as that.
    let is_text = |part: &str| {
        let mut decoded = url::form_urlencoded::parse(part.as_bytes());
        decoded.all(|(name, value)| !name.contains(char::REPLACEMENT_CHARACTER) && !value.contains(char::REPLACEMENT_CHARACTER))
    };
    let path = request.uri().path();
    if path.split('/').all(is_text) {
        return request;
    }
    let path: Vec<&str> = path.split('/').map(|part| if is_text(part) { part } else { NO_TEXT }).collect();
    let query = request.uri().query().map_or(String::new(), |query| format!("?{query}"));
    if let Ok(uri) = format!("{}{query}", path.join("/")).parse() {
        *request.uri_mut() = uri;
    }
    request
}

/// For the operator.
pub fn operator(web: Web, gate: desk::guard::Gate) -> Router {
    let desk = desk::router(gate).layer(DefaultBodyLimit::max(LARGEST_FORM));
    desk.layer(middleware::from_fn(operator_headers)).layer(middleware::from_fn(log)).with_state(web)
}

/// Largest body an operator sends, bytes.
const LARGEST_FORM: usize = 64 * 1024;

/// Both listeners, bound: the addresses are known before anything is served.
#[derive(Debug)]
pub struct Doors {
    public: TcpListener,
    operator: TcpListener,
    token: Option<String>,
}

impl Doors {
    pub async fn bind(engine: &Engine) -> Result<Doors> {
        let config = &engine.config;
        let token = match &config.operator_token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read operator_token_file {}", file.display()))?;
                Some(text.trim().to_owned()).filter(|t| t.len() >= 16).map_or_else(
                    || bail!("operator_token_file {} holds fewer than 16 characters; remedy: write a longer token into it, as `openssl rand -hex 16` makes", file.display()),
                    |token| Ok(Some(token)),
                )?
            }
            None => None,
        };
        if token.is_none() && !config.operator_listen.ip().is_loopback() {
            bail!(
                "operator_listen {} can be reached by others; remedy: listen on 127.0.0.1, or set operator_token_file",
                config.operator_listen
            );
        }
        let bind = async |what: &str, address: SocketAddr| {
            TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen on {what} {address}; remedy: free the port or change it"))
        };
        Ok(Doors {
            public: bind("public_listen", config.public_listen).await?,
            operator: bind("operator_listen", config.operator_listen).await?,
            token,
        })
    }

    pub fn public_address(&self) -> Result<SocketAddr> {
        Ok(self.public.local_addr()?)
    }

    pub fn operator_address(&self) -> Result<SocketAddr> {
        Ok(self.operator.local_addr()?)
    }

    /// Serves until `stop`, and says meanwhile that somebody hears: without that no worker speaks.
    pub async fn serve(self, engine: Arc<Engine>, stop: CancellationToken) -> Result<()> {
        publish_words(&engine).await?;
        let web = Web::new(engine.clone());
        let people = public(web.clone()).into_make_service_with_connect_info::<SocketAddr>();
        let hosts = engine.config.operator_hosts.clone();
        let gate = desk::guard::Gate { token: self.token, ip: self.operator.local_addr()?.ip(), hosts };
        let desk = operator(web, gate).into_make_service_with_connect_info::<SocketAddr>();
        let ear = tokio::spawn(hear(engine.clone(), stop.clone()));
        let reader = tokio::spawn(read(engine, stop.clone()));
        let public = serve(self.public, people).with_graceful_shutdown(stop.clone().cancelled_owned());
        let operator = serve(self.operator, desk).with_graceful_shutdown(stop.clone().cancelled_owned());
        let served = tokio::select! {
            served = async { tokio::try_join!(async { public.await }, async { operator.await }) } => served.map(|_| ()),
            // Whoever sends half a request, or waits for a database that is away, keeps nobody from stopping.
            () = async { stop.cancelled().await; tokio::time::sleep(LAST_ANSWERS).await } => {
                tracing::warn!("Stopped with requests that were not answered");
                Ok(())
            }
        };
        stop.cancel();
        let _ = ear.await;
        reader.abort();
        Ok(served?)
    }
}

/// What the forms say about the choice is on record before anybody chooses: the ledger names it by its hash, and the first thing that is
/// stored of a choice comes a step later. What a preference page says is published with the choice (`Situation::on_page`).
async fn publish_words(engine: &Engine) -> Result<()> {
    let shown = engine.config.forms.iter().flat_map(|form| Lang::ALL.map(|lang| lang.form(form)));
    let texts: Vec<_> = shown.filter_map(|shown| shown.wording()).collect();
    if texts.is_empty() {
        return Ok(());
    }
    let mut tx = engine.store.write().await?;
    ledger::publish_wording(&mut tx, &engine.controller, &texts, engine.now()).await?;
    Ok(tx.commit().await?)
}

/// The web role's heartbeat. Nothing else is done here: whatever a reading waits for, others must not take us for deaf.
async fn hear(engine: Arc<Engine>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        if let Err(error) = recover::beat(&engine).await {
            tracing::error!(error = format!("{error:#}"), "The heartbeat failed; workers fall silent until it comes");
        }
    }
}

/// After a gap in hearing: reads what gateways list of that time. One that cannot list is asked more and more rarely.
async fn read(engine: Arc<Engine>, stop: CancellationToken) {
    let mut pause = BEAT;
    loop {
        pause = match recover::read_gaps(&engine).await {
            Ok(true) => BEAT,
            Ok(false) => (pause * 2).min(READ_AGAIN),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "Reading what came in while nobody listened failed; trying again");
                (pause * 2).min(READ_AGAIN)
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// A heartbeat and what follows a gap in it. Public so that a test can say "a web role listens" without a server.
pub async fn hear_once(engine: &Engine) -> Result<()> {
    recover::beat(engine).await?;
    recover::read_gaps(engine).await?;
    Ok(())
}

/// One line a request: method, route template, status, time. Never the path.
async fn log(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("(none)".to_owned(), |p| p.as_str().to_owned());
    let method = request.method().clone();
    let started = Instant::now();
    let response = next.run(request).await;
    tracing::info!(
        http.method = %method,
        http.route = route,
        http.status = response.status().as_u16(),
        http.duration_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        "Answered {method} {route}"
    );
    response
}

fn set(response: &mut Response, name: HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}

/// Whoever states no language reads the company's.
async fn in_our_language(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    if let Ok(ours) = HeaderValue::from_str(&web.engine.config.default_locale) {
        request.headers_mut().entry(header::ACCEPT_LANGUAGE).or_insert(ours);
    }
    next.run(request).await
}

/// The people's pages. `same-origin`, since with `no-referrer` browsers send `Origin: null` on our own
/// form's POST.
async fn people_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let r = &mut response;
    set(r, header::REFERRER_POLICY, "same-origin");
    set(r, header::CACHE_CONTROL, "no-store");
    set(r, HeaderName::from_static("x-robots-tag"), "noindex, nofollow, noarchive");
    set(r, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(r, header::STRICT_TRANSPORT_SECURITY, "max-age=63072000");
    if let Ok(policy) = HeaderValue::from_str(&people_policy("'none'")) {
        // A form that may be framed says so itself.
        r.headers_mut().entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    }
    response
}

/// What a page of the people's may load, and who may show it in a frame.
fn people_policy(framed_by: &str) -> String {
    format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors {framed_by}; base-uri 'none'"
    )
}

async fn operator_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let r = &mut response;
    // `same-origin` as above: the desk's own forms must say where they come from.
    set(r, header::REFERRER_POLICY, "same-origin");
    set(r, header::CACHE_CONTROL, "no-store");
    set(r, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(
        r,
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    );
    response
}

/// The visitor's address: the peer's, or what a trusted proxy says.
fn address(web: &Web, peer: &ConnectInfo<SocketAddr>, headers: &axum::http::HeaderMap) -> IpAddr {
    let peer = peer.0.ip();
    if !web.engine.config.trusted_proxies.iter().any(|network| contains(network, peer)) {
        return peer;
    }
    // A proxy that adds a line of its own adds it last.
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back().and_then(|v| v.to_str().ok());
    forwarded.and_then(|list| list.rsplit(',').next()?.trim().parse().ok()).unwrap_or(peer)
}

/// Whether `network` (`10.0.0.0/8`, or one address) holds this address.
fn contains(network: &str, address: IpAddr) -> bool {
    let (base, length) = network.split_once('/').unwrap_or((network, "128"));
    let (Ok(base), Ok(length)) = (base.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    // A listener of both families sees who comes by IPv4 as ::ffff:203.0.113.7.
    let ((base, width), (address, other)) = (bits(base), bits(address.to_canonical()));
    let shift = 128 - length.min(width);
    width == other && base.checked_shr(shift) == address.checked_shr(shift)
}

#[cfg(test)]
mod tests {
    use super::{Quota, RateLimiter, contains, may_try};

    #[test]
    fn a_household_has_one_count_of_tries() {
        let tries = RateLimiter::keyed(Quota::per_minute(std::num::NonZeroU32::MIN));
        let may = |address: &str| may_try(&tries, address.parse().expect("an address"));
        assert!(may("2001:db8::1") && !may("2001:db8::2:1"), "one /64");
        assert!(may("2001:db8:0:1::1"), "another");
        assert!(may("192.0.2.1") && !may("::ffff:192.0.2.1") && may("192.0.2.2"));
    }

    #[test]
    fn a_network_holds_its_addresses_alone() {
        let holds = |network, address: &str| contains(network, address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.200.3.4") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("127.0.0.0/8", "::ffff:127.0.0.1") && !holds("10.0.0.0/8", "::ffff:127.0.0.1"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1") && !holds("2001:db8::/32", "10.0.0.1"));
    }
}
