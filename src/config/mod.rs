//! The configuration folder: `permesso.toml`, `countries/`, `replies/`, `campaigns/` and the wording beside them, read and
//! checked as a whole, without a database or a clock.

mod accounts;
mod advice;
mod approved;
mod campaign;
mod columns;
mod entries;
mod forms;
mod lint;
mod notices;
mod packs;
mod prices;
mod problem;
mod read;
mod retention;
mod settings;
mod silence;
pub(crate) mod templates;
mod values;
mod webhooks;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::NaiveDate;
use url::Url;

pub use crate::gateway::driver::Secret;
pub use columns::{Columns, List};
pub use problem::{Problem, Problems};
pub use read::{meant, one_of};
pub use retention::Retention;

use crate::domain::campaign::{Campaign, Sender};
use crate::domain::channel::{Channel, Purpose};
use crate::domain::country::{self, CountryPack};
use crate::domain::notice::Notice;
use crate::domain::phone::Fiction;
use crate::domain::preview::{self, Shown};
use crate::domain::price::Price;
use crate::domain::reply::PhraseSet;
use crate::domain::webhook::News;
use crate::domain::wording::{Values, WordingError};
use crate::gateway::driver::{Account, Driver};

/// Everything an installation is told by its files. Holds secrets, so `Debug` shows the folder alone.
#[derive(Clone)]
pub struct Config {
    pub dir: PathBuf,
    pub controller: Controller,
    /// `sqlite:` with an absolute path, or `postgres://…`.
    pub database: String,
    pub key_file: PathBuf,
    pub public_url: Url,
    pub public_listen: SocketAddr,
    pub operator_listen: SocketAddr,
    pub operator_token_file: Option<PathBuf>,
    /// Host names under which browsers reach the operator listener, beside localhost and addresses.
    pub operator_hosts: Vec<String>,
    /// Addresses or networks (`10.0.0.0/8`) whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    /// ISO 3166 code of the country of numbers written without one.
    pub default_country: Option<String>,
    pub default_locale: String,
    pub gateways: Vec<GatewayConfig>,
    pub senders: Vec<Sender>,
    pub webhooks: Vec<WebhookConfig>,
    /// Where people leave their number.
    pub forms: Vec<Form>,
    /// What is wrong with forms that stay closed until it is mended: nobody's campaign waits for that.
    pub unfit_forms: Vec<Problem>,
    /// By which words people who write first are known.
    pub entries: Vec<Entry>,
    /// E.164 numbers that get test messages.
    pub testers: Vec<String>,
    /// Under which headers imported lists hold our fields.
    pub import: columns::Import,
    pub packs: BTreeMap<String, CountryPack>,
    /// What gateways charge.
    pub prices: Vec<Price>,
    pub phrases: Vec<PhraseSet>,
    /// The folder whose texts replace the built-in ones, if there is one.
    pub templates: Option<PathBuf>,
    /// Days after which the review of a country pack's rule is too old to send by.
    pub pack_stale_days: i64,
    /// Days before that from which on a warning says so.
    pub pack_warn_days: i64,
    /// Days a first yes waits for its second step.
    pub pending_days: i64,
    /// Days a link can still grant.
    pub link_days: i64,
    pub retention: Retention,
    wordings: templates::Wordings,
    offered: (BTreeSet<Channel>, BTreeSet<Purpose>),
    /// Whether every pack and every text could be read. Until then whatever names them would seem wrong.
    is_whole: bool,
}

/// Who asks (Art. 13(1)(a) GDPR), and how the pages look.
#[derive(Debug, Clone)]
pub struct Controller {
    /// Short and never changed: it begins every key in the database.
    pub id: String,
    pub name: String,
    pub address: String,
    pub privacy_contact: String,
    pub brand: String,
    /// The trade, where some country bars it from marketing.
    pub sector: Option<String>,
    /// `#rrggbb`, readable under white text (contrast 4.5:1, WCAG 2.2 SC 1.4.3).
    pub brand_color: String,
    /// Shown on every page beside the brand.
    pub logo: Option<Logo>,
    /// A further notice of the company's, named below the one that is published here.
    pub notice_url: Option<Url>,
    pub notice_version: String,
    /// Where the data are kept, as people read it; empty where nothing was said.
    pub storage: String,
    /// Where that stands, or should, in permesso.toml.
    storage_line: usize,
}

/// A small picture, served from our own origin.
#[derive(Debug, Clone)]
pub struct Logo {
    /// Its content type.
    pub kind: &'static str,
    pub bytes: Arc<[u8]>,
}

impl Controller {
    /// Who asks, as every page names it: the identity and the contact details that Art. 13(1)(a) GDPR wants are its name and postal
    /// address, with the privacy contact beside them.
    pub fn identity(&self) -> String {
        format!("{}, {}", self.name, self.address)
    }
}

/// An account at a provider.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    pub driver: &'static Driver,
    pub account: Account,
    /// Messages a second.
    pub rate: f64,
    /// No message of it reaches a real phone: the provider's sandbox, an SMSC that only pretends.
    pub simulator: bool,
    /// What the calls of a provider that signs nothing must carry as their Basic password, if the address has no token.
    pub callback_password: Option<Secret>,
    /// From where such calls are taken; anywhere if empty.
    pub callback_addresses: Vec<String>,
    /// Who runs it, as people read it, and where: a processor (Art. 28 GDPR).
    pub processor: Option<String>,
    pub region: Option<String>,
    /// Where the region stands, or should, in permesso.toml.
    region_line: usize,
}

impl GatewayConfig {
    pub fn name(&self) -> &str {
        &self.account.name
    }

    /// Who processes its messages and where, as people read it.
    pub fn processor_and_region(&self) -> String {
        let name = self.processor.as_deref().unwrap_or(self.driver.title);
        self.region.as_ref().map_or_else(|| name.to_owned(), |region| format!("{name}, {region}"))
    }

    pub fn is_mock(&self) -> bool {
        self.driver.name == "mock"
    }

    /// Whether a reply that is called in again can be told from the same words written again. Each provider's own driver can; where the
    /// settings say how to read a call, they may name nothing that differs.
    pub fn tells_replies_apart(&self) -> bool {
        let mapped = |key: &str| !self.account.text(key).is_empty();
        let by_settings = self.driver.keys.iter().any(|key| key.name == "inbound_id");
        !by_settings || mapped("inbound_id") || mapped("inbound_time")
    }

    /// What is weaker about this account than about one with TLS and signed callbacks, to be said at every start.
    pub fn warning(&self) -> Option<String> {
        let name = self.name();
        let tls = self.driver.schemes.first().copied().unwrap_or_default();
        let clear = self.account.url.scheme() != tls && !self.is_mock() && !accounts::is_local(&self.account.url);
        let clear = clear.then(|| {
            format!("gateway {name} is reached in the clear: password, numbers and texts can be read on the way, unless a VPN leads there; else write {tls}://")
        });
        if !self.driver.calls_back() {
            return clear;
        }
        let both = [clear, self.believed_by()].into_iter().flatten().collect::<Vec<_>>().join("; ");
        Some(both).filter(|warning| !warning.is_empty())
    }

    /// What its callbacks are believed by, where nothing signs them.
    fn believed_by(&self) -> Option<String> {
        let signs = ["callback_hmac", "hmac_secret"].iter().any(|key| !self.account.secret(key).is_empty());
        if self.driver.can.signed_callbacks || signs {
            return None;
        }
        let guard = match (&self.account.callback_token, &self.callback_password) {
            (Some(_), Some(_)) => "the secret part of their address and a password",
            (Some(_), None) => "the secret part of their address",
            (None, Some(_)) => "a password",
            (None, None) => "a bearer token",
        };
        let from = match self.callback_addresses.is_empty() {
            true => ", from any address: `callback_addresses` would narrow that",
            false => " and the addresses they may come from",
        };
        Some(format!("{} signs no callbacks: those of gateway {} are believed by {guard}{from}", self.driver.title, self.name()))
    }
}

/// Where consent changes are told.
#[derive(Clone)]
pub struct WebhookConfig {
    pub name: String,
    pub url: Url,
    /// The newest first; a second one while a secret is changed.
    pub keys: Vec<Vec<u8>>,
    pub events: Vec<News>,
    pub timeout_ms: u64,
    /// Who runs what is behind it, as people read it, and where: a processor as a gateway's is. None: the company itself.
    pub processor: Option<String>,
    pub region: Option<String>,
    /// Where the region stands, or should, in permesso.toml.
    region_line: usize,
}

impl WebhookConfig {
    /// Who keeps what is told and where, as people read it; none where the company does so itself.
    pub fn processor_and_region(&self) -> Option<String> {
        let name = self.processor.as_ref()?;
        Some(self.region.as_ref().map_or_else(|| name.clone(), |region| format!("{name}, {region}")))
    }
}

/// A page, or a chatbot, on which people choose and then leave their number.
#[derive(Debug, Clone)]
pub struct Form {
    pub name: String,
    /// Where the number comes from, as its person reads it later (Art. 13 and 14 GDPR).
    pub source: String,
    /// ISO codes of the countries whose numbers are taken.
    pub countries: Vec<String>,
    pub channels: Vec<Channel>,
    pub purposes: Vec<Purpose>,
    /// By which the code goes.
    pub sender: Sender,
    /// Codes in 24 hours, at most.
    pub per_day: i64,
    /// Origins of pages that may frame it.
    pub embed: Vec<String>,
    /// Lets a chatbot in.
    pub token: Option<Secret>,
}

/// A word by which somebody who writes first is known to come from a link or a QR code of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// In capitals.
    pub word: String,
    /// What stands in the chat when it opens, the word among it; nobody's answer to anything.
    pub text: String,
    /// The form whose page is the answer.
    pub form: String,
}

/// All that is wrong; nothing where all is right.
fn wrong<T>(read: Result<T, Problems>) -> Vec<Problem> {
    read.err().map(|Problems(problems)| problems).unwrap_or_default()
}

impl fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Config {
    /// Reads a configuration folder with the process's environment.
    pub fn load(dir: &Path) -> Result<Config, Problems> {
        Config::load_with(dir, &|name| std::env::var(name).ok())
    }

    /// Reads a configuration folder; `env` answers `PERMESSO_DATABASE` and the names that `…_env` keys give.
    pub fn load_with(dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Problems> {
        settings::read(dir, env)
    }

    /// Reads and checks `campaigns/NAME.toml`.
    pub fn campaign(&self, name: &str) -> Result<Campaign, Problems> {
        campaign::read(self, name)
    }

    /// `campaigns/NAME.toml` as it would be read if what is wrong in it were right, and what is wrong: a text that is too long must be seen
    /// to be shortened.
    ///
    /// # Errors
    /// So much is wrong that there is nothing to show.
    pub fn draft(&self, name: &str) -> Result<(Campaign, Vec<Shown>, Vec<Problem>), Problems> {
        let (found, campaign) = campaign::read_what_can_be(self, name)?;
        let shown = campaign.and_then(|campaign| Some((self.preview(&campaign).ok()?, campaign)));
        match shown {
            Some((shown, campaign)) => Ok((campaign, shown, Problems::sorted(found))),
            None => Err(Problems(Problems::sorted(found))),
        }
    }

    /// As [`Config::draft`], out of the folder: what is wrong in the settings is named with what is wrong in the campaign.
    ///
    /// # Errors
    /// So much is wrong that there is nothing to show: all of it.
    pub fn draft_in(dir: &Path, name: &str) -> Result<(Vec<Shown>, Vec<Problem>), Problems> {
        let (mut found, config) = settings::read_what_can_be(dir, &|name| std::env::var(name).ok())?;
        let config = config.filter(|config| config.is_whole);
        let shown = config.as_ref().and_then(|config| match config.draft(name) {
            Ok((_, shown, problems)) => {
                found.extend(problems);
                Some(shown)
            }
            Err(Problems(problems)) => {
                found.extend(problems);
                None
            }
        });
        // No text is shown otherwise for a notice that lacks something: that is told beside other mistakes alone.
        if !found.is_empty() {
            found.extend(config.map(|config| wrong(config.notices())).unwrap_or_default());
        }
        let found = Problems::sorted(found);
        shown.map(|shown| (shown, found.clone())).ok_or(Problems(found))
    }

    /// What to tell whoever is responsible about packs that are stale on `today` or soon will be.
    pub fn pack_warnings(&self, today: NaiveDate) -> Vec<String> {
        let rules =
            self.packs.values().flat_map(|pack| pack.rules().map(|(rule, source)| (pack.code.as_str(), rule, source.reviewed)));
        country::warnings(rules, today, self.pack_stale_days, self.pack_warn_days)
    }

    /// The names of the campaign files, in order.
    pub fn campaign_names(&self) -> Result<Vec<String>, Problems> {
        let files = templates::files(&self.dir.join("campaigns"), "toml")?;
        Ok(files.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect())
    }

    /// The form of this name.
    pub fn form(&self, name: &str) -> Option<&Form> {
        self.forms.iter().find(|form| form.name == name)
    }

    /// The address of this path of ours, which begins with a slash.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
    }

    /// The address of a form's page.
    pub fn form_link(&self, name: &str) -> String {
        self.at(&format!("/join/{name}"))
    }

    /// The remedy for the name of a campaign that is not there.
    pub fn campaign_meant(&self, name: &str) -> String {
        let names = self.campaign_names().unwrap_or_default();
        let or = format!("or write {}", self.dir.join("campaigns").join("NAME.toml").display());
        read::meant(name, names.iter().map(String::as_str), &or)
    }

    /// What a campaign that is in order had better do otherwise.
    pub fn warnings(&self, campaign: &Campaign) -> Vec<Problem> {
        let link = self.sample_link();
        let mut found: Vec<Problem> = Vec::new();
        for ask in &campaign.asks {
            let reply_number = ask.sender.reply_number.as_deref().unwrap_or_default();
            let values = Values { brand: &campaign.brand, link: &link, reply_number, code: "" };
            let names = ask.texts.keys().map(|locale| format!("{}.{locale}", ask.template));
            let texts = names.filter_map(|name| self.wordings.get_key_value(&name));
            found.extend(texts.flat_map(|(name, text)| advice::ask(name, text, &values, ask.channel)));
        }
        found.sort();
        found.dedup();
        found
    }

    /// Refuses phrases that contradict one another. Whoever is going to hear replies by them asks first; the rest is spared the
    /// thousands of readings it takes.
    ///
    /// # Errors
    /// A phrase is not read as its list says.
    pub fn check_phrases(&self) -> Result<(), Problems> {
        Problems::or(packs::misread(&self.dir), Some(()))
    }

    /// Checks everything in the folder, and answers the warnings too. Campaigns are checked against the settings as far as these
    /// can be read: what is wrong in both is named at once. Where a pack or a text cannot be read, or the settings do not parse, what a
    /// campaign says is checked only once they do, since all of it would then seem wrong.
    pub fn check_all(dir: &Path) -> Result<(Config, Vec<Problem>), Problems> {
        let (mut found, config) = settings::read_what_can_be(dir, &|name| std::env::var(name).ok())?;
        found.extend(packs::misread(dir));
        let mut warned = Vec::new();
        match config.as_ref().filter(|config| config.is_whole) {
            Some(config) => {
                found.extend(config.unfit_forms.iter().cloned());
                found.extend(wrong(config.notices()));
                let names = config.campaign_names();
                for name in names.iter().flatten() {
                    match config.campaign(name) {
                        Ok(campaign) => warned.extend(config.warnings(&campaign)),
                        Err(Problems(problems)) => found.extend(problems),
                    }
                }
                found.extend(wrong(names));
            }
            None => found.extend(campaign::syntax(dir)),
        }
        warned.sort();
        warned.dedup();
        Ok((Problems::or(found, config)?, warned))
    }

    /// Checks `campaigns/NAME.toml` and all that it rests on: what is wrong in the settings is named with what is wrong in it, as in
    /// [`Config::check_all`].
    ///
    /// # Errors
    /// All that is wrong.
    pub fn check_campaign(dir: &Path, name: &str) -> Result<(Config, Campaign), Problems> {
        let (mut found, config) = settings::read_what_can_be(dir, &|name| std::env::var(name).ok())?;
        let campaign = config.as_ref().filter(|config| config.is_whole).and_then(|config| {
            found.extend(wrong(config.notices()));
            let read = campaign::read_what_can_be(config, name);
            let (problems, campaign) = read.unwrap_or_else(|Problems(problems)| (problems, None));
            found.extend(problems);
            campaign
        });
        Problems::or(found, config.zip(campaign))
    }

    /// Whether `campaigns/NAME.toml` can be planned or tried as far as files go.
    ///
    /// # Errors
    /// It cannot: all that [`Config::check_campaign`] finds, what alone would not keep it from that among it.
    pub fn check_usable(dir: &Path, name: &str) -> Result<(), Problems> {
        let Err(all) = Config::check_campaign(dir, name) else { return Ok(()) };
        match Config::load(dir).and_then(|config| config.campaign(name)) {
            Ok(_) => Ok(()),
            Err(_) => Err(all),
        }
    }

    /// Whether the settings say under which name we write; until they do, no text can be judged.
    fn has_brand(&self) -> bool {
        !self.controller.brand.trim().is_empty()
    }

    /// Whether the default language has the texts every campaign needs; until then each campaign would seem to lack its own.
    fn speaks(&self) -> bool {
        templates::SERVICE.iter().all(|name| self.wordings.contains_key(&format!("{name}.{}", self.default_locale)))
    }

    /// Whether every gateway is the mock or a simulator, so that no message can reach a real phone.
    pub fn allows_fiction(&self) -> bool {
        accounts::pretended(&self.gateways)
    }

    pub fn fiction(&self) -> Fiction {
        if self.allows_fiction() { Fiction::Allowed } else { Fiction::Refused }
    }

    /// The sender that a gateway knows by this address, or the address itself where there is none.
    pub fn sender_at<'a>(&'a self, gateway: &str, channel: Channel, address: &'a str) -> &'a str {
        let known = |s: &&Sender| s.gateway == gateway && s.channel == channel && s.address() == address;
        self.senders.iter().find(known).map_or(address, |sender| &sender.id)
    }

    pub fn sender(&self, id: &str) -> Option<&Sender> {
        self.senders.iter().find(|sender| sender.id == id)
    }

    /// What a gateway knows this sender by.
    pub fn address_of<'a>(&'a self, sender: &'a str) -> &'a str {
        self.sender(sender).map_or(sender, Sender::address)
    }

    /// The gateways that hear what people answer to a sender's messages: its own, and the one that its reply number is at.
    pub fn heard_by<'a>(&'a self, gateway: &'a str, sender: &str) -> impl Iterator<Item = &'a str> {
        let number = self.sender(sender).and_then(|sender| sender.reply_number.as_deref());
        let at = number.and_then(|number| self.sender(number)).map(|sender| sender.gateway.as_str());
        std::iter::once(gateway).chain(at.filter(move |at| *at != gateway))
    }

    /// What stands beside the configuration folder.
    pub fn beside(&self, path: &str) -> PathBuf {
        values::path(&self.dir, &format!("../{path}"))
    }

    /// The address of a person's page.
    pub fn link(&self, token: &str) -> String {
        self.at(&format!("/p/{token}"))
    }

    /// A text by its locales.
    fn texts_of(&self, name: &str) -> BTreeMap<String, String> {
        let texts = self.wordings.iter().filter_map(|(full, wording)| Some((full.rsplit_once('.')?, wording)));
        texts.filter(|((stem, _), _)| *stem == name).map(|((_, locale), w)| (locale.to_owned(), w.text.clone())).collect()
    }

    /// The wording of a message that belongs to no campaign, in the person's language, else the default one.
    pub fn text(&self, name: &str, locale: &str) -> Option<&str> {
        let wording = self.wordings.get(&format!("{name}.{locale}"));
        Some(&wording.or_else(|| self.wordings.get(&format!("{name}.{}", self.default_locale)))?.text)
    }

    /// The privacy notice in every language it is written in, as people are to read it.
    ///
    /// # Errors
    /// A text names what does not exist, or what the settings do not say.
    pub fn notices(&self) -> Result<Vec<Notice>, Problems> {
        notices::read(self)
    }

    /// What campaigns and forms let people choose, all of them together, as their files were when the settings were read: a page that no
    /// campaign sent and the notice go by the same.
    pub fn offered(&self) -> &(BTreeSet<Channel>, BTreeSet<Purpose>) {
        &self.offered
    }

    /// Where a STOP is understood.
    pub fn stop_number(&self) -> Option<&str> {
        let two_way = self.senders.iter().find(|s| s.two_way && s.channel == Channel::Sms).map(|s| s.id.as_str());
        self.senders.iter().find_map(|s| s.reply_number.as_deref()).or(two_way)
    }

    /// The texts that ship, by `NAME.LOCALE`, and the folder whose files go before them, whether it is there or not.
    pub fn built_in_texts(&self) -> (PathBuf, impl Iterator<Item = (&'static str, &'static str)>) {
        (templates::folder(&self.dir, self.templates.as_deref()), templates::built_in())
    }

    /// Every text of a campaign as people would read it.
    pub fn preview(&self, campaign: &Campaign) -> Result<Vec<Shown>, WordingError> {
        preview::preview(campaign, &self.sample_link())
    }

    /// A link whose token is as long as a real one: 22 base58 characters.
    fn sample_link(&self) -> String {
        self.link("7Yk2mXq9PfWcT4vHsB8nRd")
    }
}
