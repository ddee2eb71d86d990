//! A campaign as the engine sees it: checked, frozen, without any text position of the file it came from.
//! The file form and its checks live in `config::campaign`.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::button::Titles;
use super::channel::{Channel, Permission, Purpose};
use super::contact::Kind;
use super::country::{self, CountryPack};
use super::hours::{self, Hours, Opening, opening};
use super::money::{Currency, Money};
use super::price::Price;

/// How a campaign asks and what completes a yes (`design`: ask modes). Belongs to a channel and must fit its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Alphanumeric sender; the second step is a one-time code typed on the page.
    LinkCode,
    /// Alphanumeric sender plus a two-way reply number; the second step is SI to that number after the submission.
    LinkReply,
    /// A sender that can be replied to; the second step is a reply to the confirmation.
    Reply,
}

impl Mode {
    pub fn code(self) -> &'static str {
        match self {
            Mode::LinkCode => "link_code",
            Mode::LinkReply => "link_reply",
            Mode::Reply => "reply",
        }
    }
    pub fn parse(code: &str) -> Option<Mode> {
        [Mode::LinkCode, Mode::LinkReply, Mode::Reply].into_iter().find(|m| m.code() == code)
    }
}

/// A sender ID of `permesso.toml` with everything a send needs to know about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sender {
    pub id: String,
    pub gateway: String,
    pub channel: Channel,
    /// What the provider knows it by, where that is not its id: the number or number id of a WhatsApp account.
    #[serde(default)]
    pub address: Option<String>,
    /// Whether a person can answer this sender: a number or a WhatsApp account, not an alphanumeric name.
    pub two_way: bool,
    /// The number named in the text and on the page where people reply, for an alphanumeric sender.
    pub reply_number: Option<String>,
    /// Highest rate of this sender, messages a second.
    pub rate: f64,
    /// Countries in which the sender ID is registered where registration is required: the short form, without a date.
    pub registered: Vec<String>,
    /// The same with state, day and reference.
    #[serde(default)]
    pub registrations: Vec<Registration>,
    /// WhatsApp templates the provider has approved for it.
    #[serde(default)]
    pub templates: Vec<ApprovedTemplate>,
    /// How many people WhatsApp lets it write to first in any 24 hours; `None`: as many as it likes.
    #[serde(default)]
    pub daily_recipients: Option<i64>,
    /// Seconds between two of its messages to one person, at least.
    #[serde(default)]
    pub pair_seconds: i64,
}

impl Sender {
    pub fn address(&self) -> &str {
        self.address.as_deref().unwrap_or(&self.id)
    }

    pub fn template(&self, text: &str, locale: &str) -> Option<&ApprovedTemplate> {
        self.templates.iter().find(|template| template.text == text && template.locale == locale)
    }

    /// Whether this very spelling is entered in the country's registry on `today`: registries tell `ACME` from `Acme`.
    pub fn is_registered(&self, country: &str, today: NaiveDate) -> bool {
        let entered = |r: &Registration| r.country == country && r.state == RegistrationState::Registered && r.since <= today;
        self.registered.iter().any(|code| code == country) || self.registrations.iter().any(entered)
    }
}

/// A WhatsApp template that says one of our texts. The text itself stays with us: it is what a person read, and so the proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedTemplate {
    /// The name of our text, and its locale.
    pub text: String,
    pub locale: String,
    /// The provider's name or id of the template.
    pub id: String,
    /// As the provider spells it: `it`, `en_GB`.
    pub language: String,
    /// Our placeholders in the order of the template's variables.
    pub values: Vec<String>,
    /// Its variables are called as our placeholders are; else they are counted.
    #[serde(default)]
    pub named: bool,
    /// The link is the end of a button's address, not a variable of the text.
    pub link_button: bool,
    pub approved: NaiveDate,
}

/// How a sender stands in one country's registry of sender names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    pub country: String,
    pub state: RegistrationState,
    /// Day of the entry, or of the application while it is pending.
    pub since: NaiveDate,
    /// The registry's or the provider's own number, for whoever asks.
    pub reference: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationState {
    Registered,
    /// Applied for and not yet granted: as good as nothing.
    Pending,
}

impl RegistrationState {
    pub fn parse(code: &str) -> Option<RegistrationState> {
        match code {
            "registered" => Some(RegistrationState::Registered),
            "pending" => Some(RegistrationState::Pending),
            _ => None,
        }
    }
}

/// How one channel of a campaign asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    pub channel: Channel,
    pub mode: Mode,
    pub sender: Sender,
    pub template: String,
    /// Locale (`it`) to wording of the ask, as it stood when the revision was frozen.
    pub texts: BTreeMap<String, String>,
}

impl Ask {
    /// Whether an answer to one is an answer to the other: as many steps, and to the same place.
    pub fn is_answered_as(&self, other: &Ask) -> bool {
        let place = |ask: &Ask| (ask.mode, ask.sender.id.clone(), ask.sender.two_way, ask.sender.reply_number.clone());
        place(self) == place(other)
    }

    /// Whether its messages carry buttons: a WhatsApp message that is answered has them.
    pub fn has_buttons(&self) -> bool {
        self.channel == Channel::WhatsApp && self.mode == Mode::Reply
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Highest rate of the campaign, messages a second.
    pub rate: f64,
    /// Ramp-up: pause by itself after this many asks until the manager resumes.
    pub first: Option<u64>,
    /// Asks and reminders may cost so much together; reserved at each claim.
    #[serde(default)]
    pub max_cost: Option<Money>,
    /// Pause by itself when too many say STOP or too many messages fail.
    #[serde(default)]
    pub stop_if: Option<StopIf>,
}

/// When a campaign pauses by itself. Shares are 0 to 1, of the asks and reminders that left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StopIf {
    pub stops: Option<f64>,
    pub failed: Option<f64>,
    /// Not before so many have left.
    pub after: i64,
}

/// What [`StopIf`] counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Asks and reminders that left, whatever became of them.
    pub left: i64,
    /// People who said STOP or "wrong person".
    pub stops: i64,
    /// Asks and reminders that failed, were not delivered or expired.
    pub failed: i64,
}

impl StopIf {
    /// Why the campaign must pause, if it must: the counts since the manager last resumed are over a limit.
    pub fn breached(&self, now: Tally, base: Tally) -> Option<String> {
        let left = now.left - base.left;
        if left < self.after.max(1) {
            return None;
        }
        let over = |count: i64, limit: Option<f64>, what: &str| {
            let (share, limit) = (count as f64 / left as f64, limit?);
            (share > limit)
                .then(|| format!("stop_if: {count} of {left} {what} ({:.1} %, limit {:.1} %)", share * 100.0, limit * 100.0))
        };
        over(now.stops - base.stops, self.stops, "asked said STOP")
            .or_else(|| over(now.failed - base.failed, self.failed, "messages failed"))
    }
}

/// A campaign's frozen revision: the file, the wording and the country packs it was planned with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Campaign {
    pub name: String,
    /// One ask a person a family; the whole controller is one family unless the campaign says otherwise.
    pub family: String,
    pub kinds: Vec<Kind>,
    /// Days without a qualifying action after which a customer is dormant.
    pub dormant_after_days: i64,
    pub countries: Vec<String>,
    pub start: DateTime<Utc>,
    pub deadline: DateTime<Utc>,
    pub time_zone: String,
    /// `None`: the country pack's quiet hours; `Some`: an OSM opening-hours string that narrows them.
    pub hours: Option<String>,
    /// Days after an unanswered ask at which its one reminder goes out.
    pub reminder_after_days: Option<i64>,
    /// Local time of day, `08:00`, at which everybody is looked at again until the deadline: the newly dormant and the newly
    /// imported are asked then.
    #[serde(default)]
    pub repeat_at: Option<NaiveTime>,
    /// What a yes by reply grants.
    pub asks_for: Vec<Permission>,
    /// In order of preference.
    pub asks: Vec<Ask>,
    /// What the preference page offers.
    pub page_channels: Vec<Channel>,
    pub page_purposes: Vec<Purpose>,
    pub limits: Limits,
    pub brand: String,
    /// Days a first yes waits for its second step.
    pub pending_days: i64,
    /// Days a link can still grant.
    pub link_days: i64,
    /// Days between two asks of one person, whatever the campaign's name (at least 730).
    pub cap_days: i64,
    pub default_locale: String,
    /// Wording of confirmations, acknowledgements and help: `confirm.it` to text.
    pub texts: BTreeMap<String, String>,
    #[serde(deserialize_with = "country::frozen::packs")]
    pub packs: BTreeMap<String, CountryPack>,
    /// Days after which the review of a country pack's rule is too old to send by.
    pub pack_stale_days: i64,
    /// What its gateways charge in its countries; all in one currency.
    #[serde(default)]
    pub prices: Vec<Price>,
    /// Days before that from which on a warning says so.
    #[serde(default = "warn_days")]
    pub pack_warn_days: i64,
    /// Every country with a pack when this was frozen, asked here or not: the rest of the world is blocked.
    #[serde(default)]
    pub governed: Vec<String>,
    /// The controller's trade, where some country bars it from marketing.
    #[serde(default)]
    pub sector: Option<String>,
    /// The privacy notice as it read when this was frozen; none in revisions of before.
    #[serde(default)]
    pub notice: Option<NoticeShown>,
}

/// Which notice people are shown: its version, and the hash of its text in each language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeShown {
    pub version: String,
    pub hashes: BTreeMap<String, String>,
}

/// Revisions frozen before there was a warning.
fn warn_days() -> i64 {
    60
}

impl Campaign {
    /// Everything a person is asked for or can choose on the page, in order.
    pub fn permissions(&self) -> Vec<Permission> {
        let chosen = |channel: &Channel| self.page_purposes.iter().map(|p| (*channel, *p)).collect::<Vec<_>>();
        let offered = self.page_channels.iter().flat_map(chosen).map(|(channel, purpose)| Permission { channel, purpose });
        let mut all: Vec<Permission> = self.asks_for.iter().copied().chain(offered).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What this gateway charges for a part (SMS) or a message on that channel to that country, if it is known.
    pub fn price(&self, gateway: &str, channel: Channel, country: &str) -> Option<Money> {
        let fits = |p: &&Price| p.gateway == gateway && p.channel == channel && p.country == country;
        self.prices.iter().find(fits).map(|p| p.price)
    }

    /// A moment as its manager's clock shows it: `Tue 8 Dec 2026 14:10 (Europe/Rome)`.
    pub fn local(&self, at: DateTime<Utc>) -> String {
        local(at, &self.time_zone)
    }

    /// Why it cannot be started any more, if its deadline has passed.
    pub fn overdue(&self, now: DateTime<Utc>) -> Option<String> {
        let deadline = self.local(self.deadline);
        (now >= self.deadline).then(|| {
            format!(
                "the deadline {deadline} has passed, so nothing would be sent; set a later `schedule.deadline` and plan again"
            )
        })
    }

    /// What its manager has to hear before it is planned or started at `now`: packs that age, texts that nobody wrote, a time in which nothing
    /// may leave.
    pub fn warnings(&self, now: DateTime<Utc>) -> Vec<String> {
        let mut found = self.pack_warnings(now.date_naive());
        found.extend(self.unwritten());
        match self.overdue(now) {
            Some(overdue) => found.push(overdue),
            None => found.extend(self.closed(now)),
        }
        found
    }

    /// Countries whose own language has no text: whoever has no language on record reads a foreign one there.
    fn unwritten(&self) -> Vec<String> {
        let packs = self.countries.iter().filter_map(|code| self.packs.get(code));
        let missing = packs.flat_map(|pack| {
            let lacks = |ask: &&Ask| !ask.texts.contains_key(&pack.default_locale);
            self.asks.iter().filter(lacks).map(move |ask| (pack, ask))
        });
        let mut found: Vec<String> = missing
            .map(|(pack, ask)| {
                let (code, language) = (&pack.code, &pack.default_locale);
                let read = self.locale_for(ask, Some(code), None);
                format!(
                    "there is no `{}` in `{language}`, the language of {code}: people there without a language on record read it in `{read}`; \
                     add {}.{language}.txt to your texts",
                    ask.template, ask.template
                )
            })
            .collect();
        found.dedup();
        found
    }

    /// Countries in which no minute is allowed from `now`, or the start, to the deadline: nobody there would be asked.
    fn closed(&self, now: DateTime<Utc>) -> Option<String> {
        let from = now.max(self.start);
        let is_closed = |pack: &&CountryPack| {
            let written = [Some(pack.open_hours()), self.hours.clone()].into_iter().flatten();
            let windows: Vec<Hours> = written.filter_map(|hours| Hours::parse(&hours, Some(&pack.code)).ok()).collect();
            let windows: Vec<&Hours> = windows.iter().collect();
            let mut zones = pack.zones.iter().filter_map(|zone| zone.parse::<Tz>().ok());
            !zones.any(|zone| match opening(&windows, &[zone], from) {
                Opening::Open { .. } => true,
                Opening::Opens { at } => at < self.deadline,
                Opening::Never => false,
            })
        };
        let packs = self.countries.iter().filter_map(|code| self.packs.get(code));
        let closed: Vec<String> = packs.filter(is_closed).map(|pack| format!("{} ({})", pack.code, pack.hours.open)).collect();
        (!closed.is_empty()).then(|| {
            let own = self.hours.as_ref().map_or(String::new(), |hours| format!(" and within `{hours}`"));
            format!(
                "from {} to {} no minute is allowed in {}{own}, so nobody there would be asked; set a `schedule.start` and `schedule.deadline` \
                 with such hours between them",
                self.local(from),
                self.local(self.deadline),
                closed.join(", ")
            )
        })
    }

    /// The one currency of its prices and its budget.
    pub fn currency(&self) -> Option<Currency> {
        self.limits.max_cost.or(self.prices.first().map(|p| p.price)).map(|money| money.currency)
    }

    pub fn ask(&self, channel: Channel) -> Option<&Ask> {
        self.asks.iter().find(|a| a.channel == channel)
    }

    /// The channel to try after this one.
    pub fn ask_after(&self, channel: Channel) -> Option<&Ask> {
        self.asks.iter().skip_while(|a| a.channel != channel).nth(1)
    }

    /// The titles of the buttons in the person's language.
    pub fn titles(&self, locale: &str) -> Option<Titles> {
        Titles::parse(self.text("buttons", locale)?).ok()
    }

    /// The next instant after `now` (UTC) at which everybody is looked at again, before the deadline. A local time that the
    /// clocks skip is the first instant after the gap; of one that comes twice the first counts.
    pub fn next_repeat(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let (time, zone) = (self.repeat_at?, self.time_zone.parse::<Tz>().ok()?);
        let today = now.with_timezone(&zone).date_naive();
        let days = today.iter_days().take(3);
        let at = days.filter_map(|day| hours::earliest(zone, day.and_time(time))).find(|at| *at > now)?;
        (at < self.deadline).then_some(at)
    }

    /// What to tell whoever is responsible about packs that are stale on `today` or soon will be.
    pub fn pack_warnings(&self, today: NaiveDate) -> Vec<String> {
        let asked = self.countries.iter().filter_map(|code| self.packs.get(code));
        let oldest = asked.flat_map(|pack| {
            self.asks.iter().map(|ask| {
                let (rule, reviewed) = pack.oldest(ask, self.sector.as_deref());
                (pack.code.as_str(), rule, reviewed)
            })
        });
        country::warnings(oldest, today, self.pack_stale_days, self.pack_warn_days)
    }

    /// The language of this ask for somebody in `country`: `wanted`, unless its text lacks what messages there must say.
    pub fn locale_for<'a>(&'a self, ask: &Ask, country: Option<&str>, wanted: Option<&'a str>) -> &'a str {
        let pack = country.and_then(|code| self.packs.get(code));
        let fits =
            |locale: &&str| ask.texts.get(*locale).is_some_and(|text| pack.is_none_or(|p| p.takes_text(&ask.sender, text)));
        let own = pack.map(|pack| pack.default_locale.as_str());
        [wanted, own, Some(self.default_locale.as_str())].into_iter().flatten().find(fits).unwrap_or(&self.default_locale)
    }

    /// The wording of `name` (`confirm`, `ack_stop`, …) in the person's language, else in the campaign's default.
    pub fn text(&self, name: &str, locale: &str) -> Option<&str> {
        self.texts
            .get(&format!("{name}.{locale}"))
            .or_else(|| self.texts.get(&format!("{name}.{}", self.default_locale)))
            .map(String::as_str)
    }
}

/// A moment in a time zone, with the zone's name; in UTC where there is no such zone.
pub fn local(at: DateTime<Utc>, zone: &str) -> String {
    let tz: chrono_tz::Tz = zone.parse().unwrap_or(chrono_tz::UTC);
    format!("{} ({tz})", at.with_timezone(&tz).format("%a %-d %b %Y %H:%M"))
}

/// The life of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CampaignState {
    /// Started by its manager, waiting for its start time.
    Scheduled,
    Running,
    Paused,
    Finished,
    Cancelled,
}

impl CampaignState {
    const ALL: [CampaignState; 5] = [
        CampaignState::Scheduled,
        CampaignState::Running,
        CampaignState::Paused,
        CampaignState::Finished,
        CampaignState::Cancelled,
    ];
    pub fn code(self) -> &'static str {
        match self {
            CampaignState::Scheduled => "scheduled",
            CampaignState::Running => "running",
            CampaignState::Paused => "paused",
            CampaignState::Finished => "finished",
            CampaignState::Cancelled => "cancelled",
        }
    }
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.code() == code)
    }
}
