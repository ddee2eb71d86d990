//! What may be known of a provider without asking it: the settings its account takes, what it can do, and what its errors mean for us.
//! Each provider's file says so in a constant; the settings are read and campaigns are checked by it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::{Gateway, Refusal, Sent, sign};
use crate::clock::Clock;
use crate::domain::campaign::Sender;
use crate::domain::channel::Channel;
use crate::domain::phone;

/// One kind of provider account.
#[derive(Debug, Clone, Copy)]
pub struct Driver {
    /// What `driver = "…"` says.
    pub name: &'static str,
    /// The provider's own name for it.
    pub title: &'static str,
    /// Where its API is unless the settings say otherwise; empty where every account has an address of its own.
    pub url: &'static str,
    /// Schemes of that address, the first of which is over TLS.
    pub schemes: &'static [&'static str],
    /// What an account needs to say beside name, address and pace.
    pub keys: &'static [Key],
    pub can: Can,
    /// What of an account's settings, each right by itself, keeps it from being opened.
    pub fits: fn(&Account) -> Result<(), Misfit>,
    pub open: fn(&Account, &Tools) -> Arc<dyn Gateway>,
}

impl Driver {
    /// Whether it calls us by HTTP; otherwise it is heard over a session of its own.
    pub fn calls_back(&self) -> bool {
        self.schemes.contains(&"https")
    }
}

/// Why an account cannot be opened: the key to mend, what is wrong, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    pub key: &'static str,
    pub what: String,
    pub remedy: String,
}

impl Misfit {
    pub fn at(key: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Result<(), Misfit> {
        Err(Misfit { key, what: what.into(), remedy: remedy.into() })
    }
}

/// What a provider can do. `config check` and `campaign check` refuse what it cannot, and the rule for sends of unknown outcome follows from it.
#[derive(Debug, Clone, Copy)]
pub struct Can {
    pub channels: &'static [Channel],
    /// Delivers people's replies to us.
    pub two_way: bool,
    /// Shows a name as the sender of an SMS.
    pub alphanumeric: bool,
    /// Carries our reference back with its receipts.
    pub own_reference: bool,
    /// Rejects a second message with our reference, so that a send of unknown outcome may be repeated.
    pub dedupes: bool,
    /// Can be asked what became of a message.
    pub look_up: bool,
    /// Signs its callbacks. Where it does not, the settings must give their address a token or a password.
    pub signed_callbacks: bool,
    /// Can list people's replies of a time in which we did not listen.
    pub inbound_pull: bool,
    /// Wants a template it has approved for every WhatsApp message that a person did not begin.
    pub templates: bool,
}

/// One setting of an account.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub take: Take,
    /// A line for the manual.
    pub means: &'static str,
}

/// What a setting holds.
#[derive(Debug, Clone, Copy)]
pub enum Take {
    Text {
        needed: bool,
    },
    /// A text with a form of its own: `check` answers what is wrong with it, and the remedy.
    Checked {
        needed: bool,
        check: fn(&str) -> Result<(), (String, String)>,
    },
    /// Several such texts.
    List {
        check: fn(&str) -> Result<(), (String, String)>,
    },
    /// From `NAME_env` or `NAME_file`, never from the settings themselves (where a real phone can be reached).
    Secret {
        needed: bool,
    },
    Number {
        default: i64,
        least: i64,
        most: i64,
    },
    Flag(bool),
    /// One of these, the first unless said.
    OneOf(&'static [&'static str]),
}

/// What a setting was given.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    Text(String),
    List(Vec<String>),
    Secret(Secret),
    Number(i64),
    Flag(bool),
}

/// An account as the settings give it: every key of its driver is there, or was optional.
#[derive(Debug, Clone)]
pub struct Account {
    pub name: String,
    pub url: Url,
    /// Whole request, connection included. At most five seconds, so that nothing arrives ten seconds after its claim.
    pub timeout: Duration,
    /// How the provider reaches us: `public_url`, as the callbacks are signed over it.
    pub public_url: Url,
    /// The secret last part of the callback address, where the provider does not sign.
    pub callback_token: Option<Secret>,
    pub given: BTreeMap<&'static str, Given>,
    /// Whatever sends through it.
    pub senders: Vec<Sender>,
}

impl Account {
    /// A text, empty where it was optional and left out.
    pub fn text(&self, key: &str) -> &str {
        match self.given.get(key) {
            Some(Given::Text(text)) => text,
            _ => "",
        }
    }

    /// The texts of a list, none where it was left out.
    pub fn list(&self, key: &str) -> &[String] {
        match self.given.get(key) {
            Some(Given::List(texts)) => texts,
            _ => &[],
        }
    }

    /// A secret, empty where it was optional and left out.
    pub fn secret(&self, key: &str) -> &str {
        match self.given.get(key) {
            Some(Given::Secret(secret)) => secret.expose(),
            _ => "",
        }
    }

    /// A secret and, while it is being changed, the one before it: what is signed with either is the provider's.
    pub fn secrets(&self, key: &str, previous: &str) -> impl Iterator<Item = &str> {
        [self.secret(key), self.secret(previous)].into_iter().filter(|secret| !secret.is_empty())
    }

    pub fn number(&self, key: &str) -> i64 {
        match self.given.get(key) {
            Some(Given::Number(number)) => *number,
            _ => 0,
        }
    }

    pub fn flag(&self, key: &str) -> bool {
        matches!(self.given.get(key), Some(Given::Flag(true)))
    }

    /// The address of its API without the slash at the end.
    pub fn base(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Where the provider's callbacks reach us.
    pub fn callback(&self) -> String {
        let base = self.public_url.as_str().trim_end_matches('/');
        match &self.callback_token {
            Some(token) => format!("{base}/webhooks/{}/{}", self.name, token.expose()),
            None => format!("{base}/webhooks/{}", self.name),
        }
    }
}

/// Checks the ISO code of a country that has numbers.
///
/// # Errors
/// What is wrong, and the remedy.
pub fn country(code: &str) -> Result<(), (String, String)> {
    match phone::is_country(code) {
        true => Ok(()),
        false => Err((format!("`{code}` is no country code"), "write an ISO 3166 code, as in \"IT\"".to_owned())),
    }
}

/// Begins the id of an event whose provider gives it none. `engine::receive` keys what follows before it is stored: there are so few
/// numbers that a plain hash of one and a few words can be guessed back.
pub const OF_CONTENT: &str = "content:";

/// The id of an event by what it says: the same whenever it is told again.
pub fn id_of_content(said: &[u8]) -> String {
    format!("{OF_CONTENT}{}", sign::sha256_hex(said))
}

/// What every driver is handed: one connection pool for all, and the clock.
#[derive(Debug, Clone)]
pub struct Tools {
    pub http: reqwest::Client,
    pub clock: Clock,
}

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the request or the signature that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What a provider's error code means for us, at the send and in a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// This number will not work: final.
    Recipient,
    /// The handset is off, full or out of coverage: tried again at the send, final in a receipt.
    RecipientTemporary,
    /// The number is not on this channel (it has no WhatsApp): the next channel may try.
    NotOnChannel,
    /// The provider holds an opt-out of this person: ours from now on, too.
    OptedOut,
    /// WhatsApp takes free text to this person no more, since they have not written for a day: final for an answer. Of an ask, which should
    /// have been a template, it is said of all.
    WindowClosed,
    /// The provider's trouble, named as such: tried again.
    Transient,
    /// Too fast: nothing more to this gateway for a while.
    Throttled,
    /// Credit, credentials, sender, contract: a human has to mend it, so sending pauses.
    Account,
    /// What we send is wrong for everybody (template, parameter, content): pauses too.
    Config,
    /// The provider has this very message already.
    Duplicate,
    /// Proves nothing: the message may have been taken.
    Unknown,
}

impl Class {
    pub const ALL: [Class; 11] = [
        Class::Recipient,
        Class::RecipientTemporary,
        Class::NotOnChannel,
        Class::OptedOut,
        Class::WindowClosed,
        Class::Transient,
        Class::Throttled,
        Class::Account,
        Class::Config,
        Class::Duplicate,
        Class::Unknown,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Class::Recipient => "recipient",
            Class::RecipientTemporary => "recipient-temporary",
            Class::NotOnChannel => "not-on-channel",
            Class::OptedOut => "opted-out",
            Class::WindowClosed => "window-closed",
            Class::Transient => "transient",
            Class::Throttled => "throttled",
            Class::Account => "account",
            Class::Config => "config",
            Class::Duplicate => "duplicate",
            Class::Unknown => "unknown",
        }
    }

    pub fn parse(code: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.code() == code)
    }

    /// Whether a human has to mend something before anything more can be sent.
    pub fn pauses(self) -> bool {
        matches!(self, Class::Account | Class::Config)
    }

    /// What an answer of this class to our own request says about the message. `error` names the provider's code, nothing personal.
    pub fn at_send(self, error: String, retry_after: Option<Duration>) -> Sent {
        let why = match self {
            Class::Duplicate => return Sent::Accepted { provider_id: None },
            Class::Unknown => return Sent::Unknown { error },
            Class::Recipient => Refusal::Recipient,
            Class::NotOnChannel => Refusal::NotOnChannel,
            Class::OptedOut => Refusal::OptedOut,
            Class::WindowClosed => Refusal::WindowClosed,
            Class::Throttled => Refusal::Throttled { retry_after: retry_after.unwrap_or(Duration::from_secs(1)) },
            Class::Transient | Class::RecipientTemporary => Refusal::Transient { retry_after },
            Class::Account | Class::Config => Refusal::Account,
        };
        Sent::NotAccepted { why, error }
    }
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn a_class_is_read_as_it_is_written() {
        assert!(Class::ALL.into_iter().all(|class| Class::parse(class.code()) == Some(class)));
        assert_eq!(Class::parse("nothing"), None);
    }
}
