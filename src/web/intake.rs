//! `POST /api/v1/intake`: the steps of a form for chatbots, one call each. The token of the form says which form is meant; the second step
//! needs what the first one answered.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::lang::Lang;
use super::problem::Problem;
use super::{Web, address, may_try};
use crate::config::Form;
use crate::domain::channel::Permission;
use crate::engine::Engine;
use crate::engine::confirm::Shown;
use crate::engine::intake::{self, Given, Typed};
use crate::vault;

/// Largest body taken, bytes.
const LARGEST: usize = 16 * 1024;

/// One call.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub enum Call {
    /// What to show before anything is asked.
    Offer {
        locale: String,
    },
    /// What was chosen, after the notice of that version was shown in that language. Nothing chosen is a no.
    Consent {
        locale: String,
        notice: String,
        grant: Vec<String>,
    },
    Contact {
        token: String,
        number: String,
    },
    Code {
        token: String,
        code: String,
    },
}

pub async fn take(
    State(web): State<Web>,
    peer: ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let engine = &web.engine;
    let text = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let Some(form) = text(header::AUTHORIZATION).strip_prefix("Bearer ").and_then(|given| form_of(engine, given.trim())) else {
        // By address only whoever has no token is limited: a chatbot speaks for all its people from one.
        if !may_try(&web.unknown_tokens, address(&web, &peer, &headers)) {
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many calls without a token", "wait a minute"));
        }
        let remedy = "send Authorization: Bearer with the token of config/forms/NAME.toml";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "no form has this token", remedy));
    };
    if !text(header::CONTENT_TYPE).starts_with("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body is not JSON",
            "send Content-Type: application/json",
        ));
    }
    if body.len() > LARGEST {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long", format!("send at most {LARGEST} bytes")));
    }
    answer(engine, form, read(&body)?).await
}

/// How much of a token was right the time taken does not say.
fn form_of<'a>(engine: &'a Engine, given: &str) -> Option<&'a Form> {
    let is = |form: &&Form| form.token.as_ref().is_some_and(|t| vault::same(given, t.expose()));
    engine.config.forms.iter().find(is)
}

/// Reads a call. What is wrong with it names fields, never what stood in them: that may be somebody's number.
///
/// # Errors
/// No such step, a field that is missing or of no step; 400.
pub fn read(body: &[u8]) -> Result<Call, Problem> {
    serde_json::from_slice(body).map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "the body is no step of a form",
            "send {\"step\": \"offer\", \"locale\"}, {\"step\": \"consent\", \"locale\", \"notice\", \"grant\": []}, {\"step\": \"contact\", \"token\", \"number\"} or {\"step\": \"code\", \"token\", \"code\"}, with no other field",
        )
    })
}

async fn answer(engine: &Engine, form: &Form, call: Call) -> Result<Response, Problem> {
    let stale = || {
        let remedy = "begin again with {\"step\": \"consent\"}: it counts for half an hour, on its own form";
        Problem::new(StatusCode::CONFLICT, "the token is none of this form, too old or completed; nothing was stored", remedy)
    };
    Ok(match call {
        Call::Offer { locale } => Json(offer(engine, form, &locale).await?).into_response(),
        Call::Consent { locale, notice, grant } => {
            let (current, _) = intake::notice(engine, &locale).await?;
            if notice != current {
                let remedy = format!("show notice {current}, then send the choice made with it");
                return Err(Problem::new(StatusCode::CONFLICT, "this is not the notice of today", remedy));
            }
            let mut ticked = BTreeSet::new();
            for code in &grant {
                let Some(permission) = Permission::parse(code).filter(|p| form.offers(*p)) else {
                    let remedy = format!("send some of: {}", codes(&form.offered()).join(", "));
                    return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "the form does not offer all of this", remedy));
                };
                ticked.insert(permission);
            }
            // A chatbot shows it in its own way: what it was given to show is no proof of what it did.
            let shown = Shown { locale: &locale, page: None };
            match intake::choose(engine, form, &ticked, &shown).await? {
                Some(token) => Json(json!({ "state": "chosen", "token": token })).into_response(),
                None => Json(json!({ "state": "declined" })).into_response(),
            }
        }
        Call::Contact { token, number } => match intake::give(engine, form, &token, &number).await? {
            Given::Taken => (StatusCode::ACCEPTED, Json(json!({ "state": "pending" }))).into_response(),
            Given::UnfitNumber => {
                let remedy = format!("send a mobile number of: {}", form.countries.join(", "));
                return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "the number cannot be used here", remedy));
            }
            Given::BadToken => return Err(stale()),
        },
        Call::Code { token, code } => match intake::complete(engine, form, &token, &code).await? {
            Typed::Confirmed { granted, link } => {
                Json(json!({ "state": "confirmed", "granted": codes(&granted), "preferences": link })).into_response()
            }
            Typed::Wrong => {
                let remedy = "ask for the 6 digits of the newest message, or begin again with {\"step\": \"consent\"}";
                return Err(Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "the code does not match, or is no longer valid",
                    remedy,
                ));
            }
            Typed::BadToken => return Err(stale()),
        },
    })
}

fn codes(permissions: &[Permission]) -> Vec<String> {
    permissions.iter().map(|p| p.code()).collect()
}

/// What the page would show, in its words, for the bot to show.
async fn offer(engine: &Engine, form: &Form, locale: &str) -> Result<serde_json::Value, Problem> {
    let (notice, hash) = intake::notice(engine, locale).await?;
    let lang = Lang::parse(locale).unwrap_or(Lang::EN);
    let (config, brand, t) = (&engine.config, &engine.config.controller.brand, lang.t());
    let choices: Vec<_> = form
        .offered()
        .into_iter()
        .map(|p| json!({ "grant": p.code(), "purpose": lang.purpose(p.purpose), "hint": lang.purpose_hint(p.purpose), "channel": lang.channel(p.channel) }))
        .collect();
    let url = config.at(&format!("/notice/{locale}"));
    Ok(json!({
        "form": form.name,
        "brand": brand,
        "controller": config.controller.identity(),
        "privacy_contact": config.controller.privacy_contact,
        "question": t.join_title.replace("{brand}", brand),
        "intro": t.intro.replace("{brand}", brand),
        "choices": choices,
        "countries": form.countries,
        "notice": { "version": notice, "short": t.notice_short, "url": url, "sha256": hash },
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_comes_is_a_call_or_not(body in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,80}", key in "[a-z]{1,8}") {
            let _ = read(&body);
            for call in [
                json!({ "step": text }),
                json!({ "step": "contact", "token": text, "number": text, key.clone(): text }),
                json!({ "step": "consent", "locale": text, "notice": text, "grant": [text], key: [text] }),
                json!([text]),
            ] {
                if let Err(problem) = read(call.to_string().as_bytes()) {
                    prop_assert_eq!(problem.status, StatusCode::BAD_REQUEST);
                }
            }
            let call = json!({ "step": "contact", "token": text, "number": text });
            prop_assert_eq!(read(call.to_string().as_bytes()).ok(), Some(Call::Contact { token: text.clone(), number: text }));
        }

        #[test]
        fn a_field_of_no_step_is_refused(key in "[a-z_]{1,12}") {
            prop_assume!(!["step", "token", "number"].contains(&key.as_str()));
            let mut call = json!({ "step": "contact", "token": "t", "number": "n" });
            call[key] = json!("x");
            prop_assert!(read(call.to_string().as_bytes()).is_err());
        }
    }
}
