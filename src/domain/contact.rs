//! Who a contact is and why we may ask them at all.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::channel::Channel;

/// Prospect, customer or dormant customer. Ordered so that the strictest reading is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Left a number, never did a qualifying action.
    Prospect,
    /// Was a customer, no qualifying action for `dormant_after`.
    Dormant,
    /// Active customer: never asked.
    Customer,
}

impl Kind {
    pub fn code(self) -> &'static str {
        match self {
            Kind::Prospect => "prospect",
            Kind::Dormant => "dormant",
            Kind::Customer => "customer",
        }
    }
    pub fn parse(code: &str) -> Option<Kind> {
        [Kind::Prospect, Kind::Dormant, Kind::Customer].into_iter().find(|k| k.code() == code)
    }

    /// What a contact is on `today`: dates decide where there are any, the imported word where there are none.
    /// A customer of unknown last action counts as active: the strict reading.
    pub fn on(today: NaiveDate, stated: Option<Kind>, last_action: Option<NaiveDate>, dormant_after_days: i64) -> Kind {
        match (stated, last_action) {
            (_, Some(date)) if (today - date).num_days() <= dormant_after_days => Kind::Customer,
            (Some(Kind::Customer), None) => Kind::Customer,
            (_, Some(_)) => Kind::Dormant,
            (Some(kind), None) => kind,
            (None, None) => Kind::Prospect,
        }
    }
}

/// Why we may ask this person at all: even the ask is marketing, and wants a ground of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskBasis {
    PriorConsent,
    SoftOptIn,
    InboundRequest,
    EndOfRetentionFr,
    OtherApproved,
}

impl AskBasis {
    pub const ALL: [AskBasis; 5] = [
        AskBasis::PriorConsent,
        AskBasis::SoftOptIn,
        AskBasis::InboundRequest,
        AskBasis::EndOfRetentionFr,
        AskBasis::OtherApproved,
    ];
    pub fn code(self) -> &'static str {
        match self {
            AskBasis::PriorConsent => "prior_consent",
            AskBasis::SoftOptIn => "soft_opt_in",
            AskBasis::InboundRequest => "inbound_request",
            AskBasis::EndOfRetentionFr => "end_of_retention_fr",
            AskBasis::OtherApproved => "other_approved",
        }
    }
    pub fn parse(code: &str) -> Option<AskBasis> {
        AskBasis::ALL.into_iter().find(|b| b.code() == code)
    }
}

/// How an earlier consent was collected: a pre-ticked or bundled box is no consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxDefault {
    Unticked,
    PreTicked,
    Bundled,
}

impl BoxDefault {
    pub fn code(self) -> &'static str {
        match self {
            BoxDefault::Unticked => "unticked",
            BoxDefault::PreTicked => "pre_ticked",
            BoxDefault::Bundled => "bundled",
        }
    }
    pub fn parse(code: &str) -> Option<BoxDefault> {
        [BoxDefault::Unticked, BoxDefault::PreTicked, BoxDefault::Bundled].into_iter().find(|b| b.code() == code)
    }
}

/// What must be on record for a soft opt-in, all four of them (ePrivacy directive Art. 13(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SoftOptIn {
    /// The details were got from the customer in a sale, or in negotiating one.
    Sale,
    /// What we would advertise are our own similar products.
    Similar,
    /// An opt-out was offered when the details were got.
    OptOutThen,
    /// An opt-out was offered in every message since.
    OptOutSince,
}

impl SoftOptIn {
    pub const ALL: [SoftOptIn; 4] = [SoftOptIn::Sale, SoftOptIn::Similar, SoftOptIn::OptOutThen, SoftOptIn::OptOutSince];
    pub fn code(self) -> &'static str {
        match self {
            SoftOptIn::Sale => "sale",
            SoftOptIn::Similar => "similar",
            SoftOptIn::OptOutThen => "opt_out_then",
            SoftOptIn::OptOutSince => "opt_out_since",
        }
    }
    pub fn parse(code: &str) -> Option<SoftOptIn> {
        SoftOptIn::ALL.into_iter().find(|c| c.code() == code)
    }
}

/// One imported reason to ask, with what proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BasisEvidence {
    pub basis: AskBasis,
    /// What proves it: a document, a form version, a till receipt number. Never empty.
    pub evidence: String,
    pub date: NaiveDate,
    pub box_default: BoxDefault,
    /// Channels the evidence covers.
    pub channels: Vec<Channel>,
    /// `other_approved` only: who approved it, and why.
    pub approver: Option<String>,
    /// `soft_opt_in` only: which of its conditions are on record.
    #[serde(default)]
    pub conditions: Vec<SoftOptIn>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists are written with these words and databases hold them.
    #[test]
    fn each_word_is_read_as_what_it_says() {
        let kinds = [("prospect", Kind::Prospect), ("dormant", Kind::Dormant), ("customer", Kind::Customer)];
        assert!(kinds.iter().all(|(code, kind)| kind.code() == *code && Kind::parse(code) == Some(*kind)));
        let bases = ["prior_consent", "soft_opt_in", "inbound_request", "end_of_retention_fr", "other_approved"];
        assert_eq!(AskBasis::ALL.map(AskBasis::code), bases);
        assert_eq!(bases.map(AskBasis::parse), AskBasis::ALL.map(Some));
        let boxes = ["unticked", "pre_ticked", "bundled"];
        assert_eq!(boxes.map(|code| BoxDefault::parse(code).map(BoxDefault::code)), boxes.map(Some));
        let conditions = ["sale", "similar", "opt_out_then", "opt_out_since"];
        assert_eq!(SoftOptIn::ALL.map(SoftOptIn::code), conditions);
        assert_eq!(conditions.map(SoftOptIn::parse), SoftOptIn::ALL.map(Some));
        assert_eq!((Kind::parse("Prospect"), AskBasis::parse(""), SoftOptIn::parse("sales")), (None, None, None));
    }

    #[test]
    fn dates_say_who_is_dormant_and_where_there_are_none_the_strict_reading_does() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let on = |stated, last: Option<&str>| Kind::on(day("2026-12-01"), stated, last.map(day), 365);
        for stated in [None, Some(Kind::Prospect), Some(Kind::Dormant), Some(Kind::Customer)] {
            assert_eq!(on(stated, Some("2025-12-01")), Kind::Customer, "365 days ago");
            assert_eq!(on(stated, Some("2025-11-30")), Kind::Dormant, "366 days ago");
            assert_eq!(on(stated, None), stated.unwrap_or(Kind::Prospect));
        }
    }
}
