//! A country pack: the rules by which people of one country may be asked. Data with a source and a review date,
//! loaded from `config/countries/*.toml`; no rule of a country stands in code.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::contact::AskBasis;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CountryPack {
    /// ISO 3166 code, `IT`; the United Kingdom is `GB` (file `uk.toml`).
    pub code: String,
    /// IANA zones of the country; a person of unknown zone must be inside the hours in all of them.
    pub zones: Vec<String>,
    pub default_locale: String,
    /// OSM opening-hours string in which asks may go out, `PH off` for public holidays.
    pub hours: String,
    pub hours_source: String,
    /// Whether an alphanumeric sender must be registered before use.
    pub sender_registration: bool,
    pub sender_source: String,
    /// Which ask basis counts for which channel. What is not listed is not allowed.
    pub ask_basis: BTreeMap<AskBasis, Vec<Channel>>,
    pub ask_basis_source: String,
    /// Text a message to this country must carry (`STOP au 36xxx`), if any.
    pub version: String,
    pub reviewed: NaiveDate,
    pub reviewed_by: String,
}

impl CountryPack {
    pub fn allows(&self, basis: AskBasis, channel: Channel) -> bool {
        self.ask_basis.get(&basis).is_some_and(|channels| channels.contains(&channel))
    }
}
