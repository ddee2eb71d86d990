//! The rules, without I/O, clock or database: who may be asked, what a reply means, what a yes needs, what a no does.

pub mod answer;
pub mod button;
pub mod campaign;
pub mod channel;
pub mod code;
pub mod consent;
pub mod contact;
pub mod country;
pub mod eligibility;
pub mod hours;
pub mod ledger;
pub mod message;
pub mod money;
pub mod notice;
pub mod phone;
pub mod plural;
pub mod preview;
pub mod price;
pub mod register;
pub mod reply;
pub mod rights;
pub mod sms;
pub mod suppression;
pub mod times;
pub mod webhook;
pub mod wording;
