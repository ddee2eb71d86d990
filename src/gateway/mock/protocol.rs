//! The wire format that the mock gateway and its driver share: JSON types and the callback signature.
//!
//! # The protocol
//!
//! Every `/v1` and `/control` request carries `Authorization: Bearer <token>`; bodies are JSON; times are microseconds UTC.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/messages` [`SendRequest`] | 202 [`SendAnswer`], or an [`ErrorBody`] with one of the statuses below |
//! | `GET /v1/messages?reference=R` | 200 [`LookUp`] of the newest message accepted under `R`, or 404 |
//! | `GET /v1/inbound?since=T&until=U` | 200 [`InboundList`]: all inbound messages with `T <= at < U`; `until` may be left out |
//! | `GET /v1/stats` | 200, counts for tests and the demo |
//! | `PUT /control/faults` | 204, replaces the faults; fields left out take their default |
//!
//! | status | `error.code` | was it accepted? |
//! |---|---|---|
//! | 400 | `bad_request` | no: the request breaks this protocol |
//! | 401 | `unauthorized` | no: the token is wrong |
//! | 402 | `no_credit` | no: the account is out of credit |
//! | 403 | `sender_refused` | no: the account may not use this `from` |
//! | 409 | `duplicate_reference` | yes, earlier: `id` names that message (only where the gateway dedupes) |
//! | 422 | `recipient_refused` | no: the number will never take this message |
//! | 422 | `not_on_channel` | no: the number is not on WhatsApp |
//! | 429 | `throttled` | no: try again after `Retry-After` seconds |
//! | 500 | `server_error` | **not known** |
//!
//! A 200 with a body that cannot be read, no answer, and a closed connection are *not known* as well.
//!
//! Callbacks are `POST <webhook url>` with an [`EventBatch`] and the header [`SIGNATURE_HEADER`]:
//! `t=<unix seconds>,v1=<hex hmac-sha256(secret, t "." raw body)>`. Anything but a 2xx is tried again with the same `event_id`s,
//! three tries in all, then dropped; inbound messages stay in the listing. Events may be repeated, late, lost and out of order.

use std::fmt;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

pub const SIGNATURE_HEADER: &str = "X-Permesso-Mock-Signature";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    Sms,
    Whatsapp,
}

/// A quick reply under a WhatsApp message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    pub id: String,
    pub title: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendRequest {
    /// The caller's own name of this message: 1 to 64 of `[A-Za-z0-9_.-]`.
    pub reference: String,
    /// Alphanumeric sender, short code or number.
    pub from: String,
    /// E.164 with its plus.
    pub to: String,
    pub channel: Channel,
    /// 1 to 4096 characters.
    pub text: String,
    /// At most three, WhatsApp only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buttons: Vec<Button>,
    /// How long the gateway may keep trying; its own choice when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity_seconds: Option<u64>,
}

impl SendRequest {
    /// What of this request breaks the protocol, for the message of a 400.
    pub fn flaw(&self) -> Option<&'static str> {
        let reference_char = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let digits = self.to.strip_prefix('+').unwrap_or("");
        if !(1..=64).contains(&self.reference.len()) || !self.reference.chars().all(reference_char) {
            Some("reference must be 1 to 64 of [A-Za-z0-9_.-]")
        } else if !(1..=20).contains(&self.from.chars().count()) {
            Some("from must have 1 to 20 characters")
        } else if !(7..=15).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            Some("to must be E.164 with its plus")
        } else if !(1..=4096).contains(&self.text.chars().count()) {
            Some("text must have 1 to 4096 characters")
        } else if self.buttons.len() > 3 || (self.channel == Channel::Sms && !self.buttons.is_empty()) {
            Some("buttons: at most three, and only on whatsapp")
        } else {
            None
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendAnswer {
    pub id: String,
    pub reference: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: ErrorDetail,
    /// The message that holds the reference already; only with `duplicate_reference`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    pub code: String,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Only in a [`LookUp`]: no receipt says so.
    Accepted,
    Sent,
    Delivered,
    Undelivered,
    Failed,
    Expired,
    Read,
}

impl Status {
    /// Whether the message never got to the phone, as far as this status knows.
    pub fn missed_the_phone(self) -> bool {
        matches!(self, Self::Undelivered | Self::Failed | Self::Expired)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookUp {
    pub id: String,
    pub reference: String,
    pub status: Status,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundList {
    pub events: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventBatch {
    pub events: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    Receipt(Receipt),
    Inbound(Inbound),
}

impl Event {
    pub fn id(&self) -> &str {
        match self {
            Event::Receipt(receipt) => &receipt.event_id,
            Event::Inbound(inbound) => &inbound.event_id,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub event_id: String,
    pub id: String,
    pub reference: String,
    pub status: Status,
    pub at: i64,
    pub error: Option<ReceiptError>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptError {
    /// `absent` (out of reach until the validity ended), `rejected` (the network refused it), `not_on_channel` (the number is not
    /// on WhatsApp) or `failed`.
    pub code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbound {
    pub event_id: String,
    pub from: String,
    pub to: String,
    pub channel: Channel,
    pub text: String,
    /// The id of the tapped button; `text` is then its title.
    pub button: Option<String>,
    pub at: i64,
    /// The message whose button was tapped. A typed reply names none.
    pub in_reply_to: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureError {
    /// The header is not `t=<seconds>,v1=<64 hex digits>`.
    Malformed,
    /// Signed with another secret, or for another body.
    Mismatch,
    /// Authentic, but further from `now` than the tolerance.
    Stale,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the signature header is malformed",
            Self::Mismatch => "the signature does not fit the body",
            Self::Stale => "the signature is too old or from the future",
        })
    }
}

impl std::error::Error for SignatureError {}

/// The value of [`SIGNATURE_HEADER`] for a callback sent at `t` (unix seconds).
pub fn sign(secret: &str, t: i64, body: &[u8]) -> String {
    let hex: String = mac(secret, t, body).finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    format!("t={t},v1={hex}")
}

/// Accepts a callback whose signature fits and was made within `tolerance_secs` of `now_unix` (seconds).
pub fn verify(secret: &str, header: &str, body: &[u8], now_unix: i64, tolerance_secs: i64) -> Result<(), SignatureError> {
    let (t, hex) = header.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).ok_or(SignatureError::Malformed)?;
    let t: i64 = t.parse().map_err(|_| SignatureError::Malformed)?;
    let tag = unhex(hex).ok_or(SignatureError::Malformed)?;
    // Authenticity first, in constant time, so that a forger learns nothing about the window.
    mac(secret, t, body).verify_slice(&tag).map_err(|_| SignatureError::Mismatch)?;
    if now_unix.abs_diff(t) > tolerance_secs.unsigned_abs() { Err(SignatureError::Stale) } else { Ok(()) }
}

fn mac(secret: &str, t: i64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(t.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let nibble = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let bytes = hex.as_bytes();
    if bytes.len() != 64 {
        return None;
    }
    bytes.chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_fits_only_its_secret_body_and_time() {
        let header = sign("secret", 1_000, b"{}");
        assert_eq!(verify("secret", &header, b"{}", 1_300, 300), Ok(()));
        assert_eq!(verify("secret", &header, b"{}", 1_301, 300), Err(SignatureError::Stale));
        assert_eq!(verify("secret", &header, b"{}", 699, 300), Err(SignatureError::Stale));
        assert_eq!(verify("other", &header, b"{}", 1_000, 300), Err(SignatureError::Mismatch));
        assert_eq!(verify("secret", &header, b"{ }", 1_000, 300), Err(SignatureError::Mismatch));
        assert_eq!(verify("secret", &header.replace("t=1000", "t=1001"), b"{}", 1_000, 300), Err(SignatureError::Mismatch));
        for header in ["", "t=1000", "v1=ab,t=1", "t=x,v1=00", "t=1000,v1=zz", "t=1000,v1="] {
            assert_eq!(verify("secret", header, b"{}", 1_000, 300), Err(SignatureError::Malformed), "{header}");
        }
    }

    /// Computed with `printf '1000.{}' | openssl dgst -sha256 -hmac secret`.
    #[test]
    fn the_signature_is_the_published_algorithm() {
        assert_eq!(sign("secret", 1_000, b"{}"), format!("t=1000,v1={OPENSSL}"));
    }

    const OPENSSL: &str = "026360fb6284f077f1148b1ae7c62679730497810a6a0321574de01e8b009e7a";
}
