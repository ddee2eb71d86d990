//! What a message costs: a price a gateway, channel and country, and how often it is charged.

use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::money::Money;
use super::sms;

/// One row of the price table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    pub gateway: String,
    pub channel: Channel,
    /// ISO 3166 code of the country of the number written to.
    pub country: String,
    /// For an SMS part; for a whole message on WhatsApp, where providers charge by the message.
    pub price: Money,
}

/// How often a text is charged on a channel: an SMS by the part, WhatsApp by the message.
pub fn charged(channel: Channel, text: &str) -> u64 {
    match channel {
        Channel::Sms => sms::parts(text).parts as u64,
        Channel::WhatsApp | Channel::Call => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_charged_by_sms_and_messages_elsewhere() {
        let long = "A".repeat(161);
        assert_eq!([Channel::Sms, Channel::WhatsApp].map(|channel| charged(channel, &long)), [2, 1]);
        assert_eq!(charged(Channel::Sms, "A"), 1);
    }
}
