//! Channels a person can be reached on and the purposes a message can serve. Consent is kept for each
//! pair of the two (one consent a purpose: EDPB guidelines 05/2020, 3.1.3).

use serde::{Deserialize, Serialize};

/// A way of reaching a phone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Sms,
    #[serde(rename = "whatsapp")]
    WhatsApp,
    Call,
}

impl Channel {
    pub const ALL: [Channel; 3] = [Channel::Sms, Channel::WhatsApp, Channel::Call];

    pub fn code(self) -> &'static str {
        match self {
            Channel::Sms => "sms",
            Channel::WhatsApp => "whatsapp",
            Channel::Call => "call",
        }
    }

    pub fn parse(code: &str) -> Option<Channel> {
        Channel::ALL.into_iter().find(|c| c.code() == code)
    }
}

/// What marketing is about (seed guidance: product information only, or also promotions; profiling apart).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    ProductInfo,
    Promotions,
    Profiling,
}

impl Purpose {
    pub const ALL: [Purpose; 3] = [Purpose::ProductInfo, Purpose::Promotions, Purpose::Profiling];

    pub fn code(self) -> &'static str {
        match self {
            Purpose::ProductInfo => "product_info",
            Purpose::Promotions => "promotions",
            Purpose::Profiling => "profiling",
        }
    }

    pub fn parse(code: &str) -> Option<Purpose> {
        Purpose::ALL.into_iter().find(|p| p.code() == code)
    }
}

/// One thing a person can allow: this purpose over this channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Permission {
    pub channel: Channel,
    pub purpose: Purpose,
}

impl Permission {
    /// The field name of the preference page's check box, `sms.promotions`.
    pub fn code(self) -> String {
        format!("{}.{}", self.channel.code(), self.purpose.code())
    }

    pub fn parse(code: &str) -> Option<Permission> {
        let (channel, purpose) = code.split_once('.')?;
        Some(Permission { channel: Channel::parse(channel)?, purpose: Purpose::parse(purpose)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages post these words, configurations are written with them, and the ledger holds them.
    #[test]
    fn each_permission_is_read_as_what_it_says() {
        let all: Vec<Permission> = Channel::ALL
            .iter()
            .flat_map(|channel| Purpose::ALL.map(|purpose| Permission { channel: *channel, purpose }))
            .collect();
        let codes: Vec<String> = all.iter().map(|permission| permission.code()).collect();
        assert_eq!(codes[..4], ["sms.product_info", "sms.promotions", "sms.profiling", "whatsapp.product_info"]);
        assert_eq!(
            codes.iter().map(|code| Permission::parse(code)).collect::<Vec<_>>(),
            all.into_iter().map(Some).collect::<Vec<_>>()
        );
        for other in ["", "sms", "sms.", "fax.promotions", "sms.prizes", "SMS.promotions"] {
            assert_eq!(Permission::parse(other), None);
        }
    }
}
