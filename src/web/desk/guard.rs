//! Who may knock at the operator's door. A browser carries two dangers in: a page of somebody else that posts our forms (CSRF),
//! and a name of somebody else that points at this machine (DNS rebinding). Neither can add a bearer token by itself.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::vault;
use crate::web::problem::Problem;

/// What the listener knows of itself.
#[derive(Debug, Clone)]
pub struct Gate {
    pub token: Option<String>,
    /// Where it listens.
    pub ip: IpAddr,
    /// Names under which a proxy or DNS presents it (`operator_hosts`).
    pub hosts: Vec<String>,
}

/// Who acts, for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Operator, Self::Rejection> {
        Ok(parts.extensions.get::<Operator>().cloned().unwrap_or_else(|| Operator("operator (web)".into())))
    }
}

/// Lets a request in, or answers why not; the page or JSON behind it is not touched then.
pub async fn gate(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let api = request.uri().path().starts_with("/api/");
    match gate.admit(request.method(), api, request.headers()) {
        Ok(operator) => {
            request.extensions_mut().insert(operator);
            next.run(request).await
        }
        Err(problem) => {
            let unauthorized = problem.status == StatusCode::UNAUTHORIZED;
            let mut response = problem.answer(api);
            if unauthorized {
                // Basic first: a browser asks its user only if it knows the first scheme.
                for scheme in ["Basic realm=\"Permesso\", charset=\"UTF-8\"", "Bearer"] {
                    response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
                }
            }
            response
        }
    }
}

enum Credentials {
    /// No browser adds these by itself.
    Bearer,
    Basic(String),
    NotNeeded,
}

impl Gate {
    fn admit(&self, method: &Method, api: bool, headers: &HeaderMap) -> Result<Operator, Problem> {
        let text = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
        let operator = match self.credentials(text(header::AUTHORIZATION))? {
            Credentials::Bearer => return Ok(Operator("operator (API)".into())),
            Credentials::Basic(user) => Operator(user),
            Credentials::NotNeeded => Operator("operator (web)".into()),
        };
        let host = text(header::HOST).unwrap_or_default();
        if !self.is_ours(host) {
            let remedy = "use the address of operator_listen or localhost, or add the name to operator_hosts in permesso.toml";
            return Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "this listener does not go by the name in the Host header",
                remedy,
            ));
        }
        if matches!(*method, Method::GET | Method::HEAD) {
            return Ok(operator);
        }
        let kind = text(header::CONTENT_TYPE).unwrap_or_default();
        let json = kind.starts_with("application/json");
        if api && !json {
            let remedy = "send Content-Type: application/json, with {} where there is nothing to say";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is not JSON", remedy));
        }
        let bytes = |name: &str| headers.get(name).map(|v| v.as_bytes());
        let own = match (bytes("sec-fetch-site"), bytes("origin"), bytes("referer")) {
            (Some(site), ..) => site == b"same-origin",
            // Where Host is ours, an origin with the same authority is our own page, behind a TLS proxy too. Old browsers that send no
            // origin still name the page.
            (None, Some(from), _) | (None, None, Some(from)) => {
                let from = from.strip_prefix(b"http://").or_else(|| from.strip_prefix(b"https://"));
                let authority = from.and_then(|from| from.split(|b| b"/?#".contains(b)).next());
                authority.is_some_and(|a| a.eq_ignore_ascii_case(host.as_bytes()))
            }
            // No browser: it always sends one of the three with a POST, and cannot send JSON elsewhere unasked.
            (None, None, None) => api,
        };
        if !own {
            let remedy = "use the buttons of the operator's own pages, or the API with JSON";
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "this request came from another site's page; nothing was done",
                remedy,
            ));
        }
        Ok(operator)
    }

    fn credentials(&self, given: Option<&str>) -> Result<Credentials, Problem> {
        let Some(token) = &self.token else { return Ok(Credentials::NotNeeded) };
        let matches = |text: &str| vault::same(text, token);
        match given.and_then(|g| g.split_once(' ')) {
            Some((scheme, text)) if scheme.eq_ignore_ascii_case("bearer") && matches(text.trim()) => {
                return Ok(Credentials::Bearer);
            }
            Some((scheme, text)) if scheme.eq_ignore_ascii_case("basic") => {
                let pair = STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
                if let Some((user, _)) = pair.split_once(':').filter(|(_, password)| matches(password)) {
                    return Ok(Credentials::Basic(name(user)));
                }
            }
            _ => {}
        }
        let remedy = "Authorization: Bearer TOKEN, or in a browser any user name with the token as password";
        Err(Problem::new(StatusCode::UNAUTHORIZED, "the token of operator_token_file is needed", remedy))
    }

    /// An address in figures cannot be pointed elsewhere by DNS; a name can, so names are listed. The port may be a tunnel's.
    fn is_ours(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        match name.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || ip == self.ip || self.ip.is_unspecified(),
            Err(_) => name.eq_ignore_ascii_case("localhost") || self.hosts.iter().any(|h| h.eq_ignore_ascii_case(name)),
        }
    }
}

/// A user name as it may stand in a record.
fn name(user: &str) -> String {
    let name: String = user.chars().filter(|c| c.is_alphanumeric() || " .-_@".contains(*c)).take(60).collect();
    if name.trim().is_empty() { "operator (web)".into() } else { name.trim().to_owned() }
}
