//! What the people's pages show. Knows neither HTTP nor the store: the handlers fill these structs. What they say in which
//! language is `lang`'s; the operator's pages stand in `desk`.

use std::collections::BTreeSet;

use askama::Template;
use axum::http::StatusCode;
use chrono::NaiveDate;

use super::lang::Lang;
use crate::domain::channel::{Channel, Permission, Purpose};
use crate::domain::code::TRIES;
use crate::domain::notice::Block;
use crate::domain::times::{Day, Often, Part, Times};
use crate::engine::choose::Door;
use crate::engine::code::Standing;

pub const STYLE_CSS: &str = include_str!("../../templates/pages/style.css");

/// The state the preference page reports after it was submitted, or finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Banner {
    /// The second step is done.
    Confirmed,
    /// The page behind a test message: nothing done on it counts.
    Test,
    Refused,
    Stopped,
    /// They were erased, and were handed a link to come back by.
    Erased,
    /// Something stands; the day of the last choice.
    Answered(NaiveDate),
    /// Something was just withdrawn, by a box or by its name, and other things stand.
    TakenBack,
    /// The second step never came.
    Lapsed,
    Restricted,
    /// A request about their data waits to be carried out.
    Noted,
    WrongNumber,
    /// The person has another number, and this one is closed.
    NumberChanged,
}

impl Banner {
    /// The CSS class.
    pub fn code(self) -> &'static str {
        match self {
            Banner::Confirmed => "confirmed",
            Banner::Test => "test",
            Banner::Refused => "refused",
            Banner::Stopped | Banner::Erased => "stopped",
            Banner::Answered(_) => "answered",
            Banner::TakenBack => "taken_back",
            Banner::Lapsed => "lapsed",
            Banner::Restricted | Banner::Noted => "restricted",
            Banner::WrongNumber | Banner::NumberChanged => "wrong_number",
        }
    }

    pub fn text(self, lang: Lang, brand: &str) -> String {
        let t = lang.t();
        let text = match self {
            Banner::Confirmed => &t.confirmed,
            Banner::Test => &t.test,
            Banner::Refused => &t.refused,
            Banner::Stopped => &t.stopped,
            Banner::Erased => &t.erased,
            Banner::Answered(day) => return t.answered.replace("{date}", &lang.date(day)),
            Banner::TakenBack => &t.taken_back,
            Banner::Lapsed => &t.lapsed,
            Banner::Restricted => &t.restricted,
            Banner::Noted => &t.noted,
            Banner::WrongNumber => &t.wrong_number,
            Banner::NumberChanged => &t.number_changed,
        };
        text.replace("{brand}", brand).replace("{data}", &lang.mine().link)
    }
}

/// A submitted yes that waits for its second step.
#[derive(Debug, Clone)]
pub struct PendingView {
    pub permissions: Vec<Permission>,
    /// E.164, the number to reply to (`link_reply`). `None` without a code form: reply to the message we sent.
    pub reply_number: Option<String>,
    /// Whether that reply is in and waits for an operator.
    pub yes_waits: bool,
    /// The word to reply, `SI`, in the language of the ask: replies are read in it, whatever the page speaks.
    pub word: &'static str,
    /// The second step is a one-time code typed here (`link_code`): posts `answer=code` and `code`, or `answer=another`.
    pub code: Option<CodeView>,
}

/// Where the one-time code stands.
#[derive(Debug, Clone)]
pub struct CodeView {
    pub standing: Standing,
    /// Seconds until another code may be asked for; `None` where it may be now.
    pub again_in: Option<i64>,
}

impl CodeView {
    /// Whether there was one on this page.
    pub fn is_asked_for(&self) -> bool {
        self.standing != Standing::None
    }

    pub fn can_be_typed(&self) -> bool {
        matches!(self.standing, Standing::Awaited { .. })
    }

    /// Why there is nothing to type, or what to type.
    pub fn text(&self, lang: Lang) -> &'static str {
        let t = lang.t();
        match self.standing {
            Standing::Awaited { .. } => &t.pending_code,
            Standing::Dead => &t.code_dead,
            Standing::Expired => &t.code_expired,
            Standing::NotSent => &t.code_not_sent,
            Standing::WindowClosed => &t.code_window,
            Standing::Waits => &t.code_waits,
            Standing::None => &t.code_none,
        }
    }

    /// What to say of the wrong code just typed.
    pub fn wrong(&self, lang: Lang) -> Option<String> {
        let Standing::Awaited { wrong: wrong @ 1.. } = self.standing else { return None };
        let t = lang.t();
        Some(format!("{} {}", t.wrong_code, t.tries_left.replace("{n}", &(TRIES - wrong).to_string())))
    }

    pub fn again(&self, lang: Lang) -> Option<String> {
        Some(lang.t().code_again_in.replace("{time}", &lang.duration(self.again_in?)))
    }
}

impl PendingView {
    /// The person has done everything, and an operator has not.
    fn waits(&self) -> bool {
        self.yes_waits || self.code.as_ref().is_some_and(|code| code.standing == Standing::Waits)
    }

    pub fn lines(&self, lang: Lang) -> Vec<String> {
        lines(lang, &self.permissions)
    }

    /// Opens the phone's messages with the number and the word filled in (RFC 5724).
    pub fn sms_link(&self) -> String {
        let number = self.reply_number.as_deref().unwrap_or_default().replace(' ', "");
        format!("sms:{number}?body={}", self.word)
    }
}

/// One line a purpose: `Promotions and offers: SMS, WhatsApp`.
fn lines(lang: Lang, permissions: &[Permission]) -> Vec<String> {
    let chosen = |purpose| permissions.iter().filter(move |p| p.purpose == purpose).map(|p| lang.channel(p.channel));
    let of = |purpose: &Purpose| chosen(*purpose).next().is_some();
    let line =
        |purpose| format!("{}{} {}", lang.purpose(purpose), lang.t().colon, chosen(purpose).collect::<Vec<_>>().join(", "));
    Purpose::ALL.into_iter().filter(of).map(line).collect()
}

/// Where somebody stands on a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// What to choose, before anything is known of them.
    Choose,
    /// A no: it ends here.
    Declined,
    /// The number, for what is in the token; `unfit` where the one typed cannot be used.
    Number { token: String, typed: String, unfit: bool },
    /// The code that may be on its way.
    Code { token: String, wrong: bool },
    /// Confirmed, and the page where it can be changed.
    Done { link: String },
}

/// The page behind `/join/{form}`. Posts `nonce` and `answer` = `chosen` | `none` with `grant` once a ticked box, `number` with `token` and
/// `number`, `correct` with `token`, or `code` with `token` and `code`.
#[derive(Debug, Template)]
#[template(path = "pages/join.html")]
pub struct JoinPage {
    pub lang: Lang,
    /// What the addresses of the same page in other languages begin with.
    pub lang_base: Option<String>,
    pub brand: String,
    pub step: Step,
    pub channels: Vec<Channel>,
    pub purposes: Vec<Purpose>,
    pub chosen: Vec<Permission>,
    /// What numbers begin with here: `+39, +48`.
    pub prefixes: String,
    pub nonce: String,
    pub action: String,
    pub notice_url: String,
    pub notice_version: String,
    pub controller: String,
    pub privacy_contact: String,
    /// E.164, where STOP is understood.
    pub reply_number: Option<String>,
}

impl JoinPage {
    fn heading(&self) -> String {
        let t = self.lang.t();
        match self.step {
            Step::Choose => t.join_title.replace("{brand}", &self.brand),
            Step::Declined => t.join_declined_title.clone(),
            Step::Number { .. } => t.join_number_title.clone(),
            Step::Code { .. } => t.last_step.clone(),
            Step::Done { .. } => t.join_done_title.clone(),
        }
    }

    /// Nothing is ticked, whoever comes.
    fn fieldsets(&self) -> Vec<Fieldset> {
        fieldsets(self.lang, &self.purposes, &self.channels, &BTreeSet::new())
    }

    fn lines(&self) -> Vec<String> {
        lines(self.lang, &self.chosen)
    }
}

/// The page behind `/p/{token}`. Posts `nonce`, `answer` = `chosen` | `none` | `code` | `another` |
/// `wrong_number`, `grant` once a ticked box, `code`, and with `when` `part`, `day` and `often`; or `withdraw`, one thing they allow.
#[derive(Debug, Template)]
#[template(path = "pages/preferences.html")]
pub struct PreferencesPage {
    pub lang: Lang,
    /// What the addresses of the same page in other languages begin with.
    pub lang_base: Option<String>,
    pub brand: String,
    /// The last three digits at most: whoever has the link may be somebody else.
    pub masked_number: String,
    pub channels: Vec<Channel>,
    pub purposes: Vec<Purpose>,
    pub granted: BTreeSet<Permission>,
    /// A no stands, and said again it would end nothing.
    pub no_is_said: bool,
    pub times: Times,
    pub pending: Option<PendingView>,
    pub state_banner: Option<Banner>,
    pub nonce: String,
    pub action: String,
    pub notice_url: String,
    pub notice_version: String,
    /// Where the number was got, in words (Art. 14 GDPR).
    pub source: Option<String>,
    pub controller: String,
    pub privacy_contact: String,
    /// Where START lifts a provider's own block.
    pub start_number: Option<String>,
    /// What is left to say.
    pub door: Door,
    /// Why a submission was answered by this page.
    pub again: Option<Again>,
}

/// Why the page is shown once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// They said when, and ticked nothing to receive.
    Unchosen,
    /// They ticked boxes of a page that is shown otherwise by now.
    Outdated,
}

impl Again {
    pub fn status(self) -> StatusCode {
        match self {
            Again::Unchosen => StatusCode::UNPROCESSABLE_ENTITY,
            Again::Outdated => StatusCode::CONFLICT,
        }
    }

    fn text(self, lang: Lang) -> String {
        let t = lang.t();
        match self {
            Again::Unchosen => t.unchosen.replace("{none}", &t.none),
            Again::Outdated => t.outdated.clone(),
        }
    }
}

/// One purpose of the form with a box for each channel.
struct Fieldset {
    code: &'static str,
    legend: &'static str,
    hint: &'static str,
    ticks: Vec<Tick>,
}

struct Tick {
    code: String,
    label: &'static str,
    granted: bool,
}

/// One fieldset a purpose, with a box for each channel.
fn fieldsets(lang: Lang, purposes: &[Purpose], channels: &[Channel], granted: &BTreeSet<Permission>) -> Vec<Fieldset> {
    let tick = |purpose, channel| {
        let permission = Permission { channel, purpose };
        // Nothing is ticked but what the person granted (Planet49, C-673/17).
        Tick { code: permission.code(), label: lang.channel(channel), granted: granted.contains(&permission) }
    };
    let set = |purpose: Purpose| Fieldset {
        code: purpose.code(),
        legend: lang.purpose(purpose),
        hint: lang.purpose_hint(purpose),
        ticks: channels.iter().map(|channel| tick(purpose, *channel)).collect(),
    };
    purposes.iter().copied().map(set).collect()
}

impl PreferencesPage {
    fn fieldsets(&self) -> Vec<Fieldset> {
        fieldsets(self.lang, &self.purposes, &self.channels, &self.granted)
    }

    fn is(&self, door: Door) -> bool {
        self.door == door
    }

    /// What they allow and can take back by its name alone: its code, and how one says it. On an open page that is what was allowed
    /// elsewhere, by a form or another campaign, and has no box here; behind a link too old to grant, all of it.
    fn listed(&self) -> Vec<(String, String)> {
        let has_box =
            |p: &Permission| self.is(Door::Open) && self.purposes.contains(&p.purpose) && self.channels.contains(&p.channel);
        let said =
            |p: &Permission| format!("{}{} {}", self.lang.purpose(p.purpose), self.lang.t().colon, self.lang.channel(p.channel));
        self.granted.iter().filter(|p| !has_box(p)).map(|p| (p.code(), said(p))).collect()
    }

    /// What the banner says. That the ticked boxes are what stands it says only where some are, and are all of it.
    fn said(&self, banner: &Banner) -> String {
        let text = banner.text(self.lang, &self.brand);
        let of_choices = matches!(banner, Banner::Confirmed | Banner::Answered(_) | Banner::TakenBack);
        match of_choices && self.is(Door::Open) && !self.granted.is_empty() && self.listed().is_empty() {
            true => format!("{text} {}", self.lang.t().ticked),
            false => text,
        }
    }

    /// A part of the day, whose hours stay on one line.
    fn part(&self, part: &Part) -> String {
        self.lang.part(*part).replace('–', "–\u{2060}")
    }

    /// Whether what they allow is listed, each with its button: where no box stands for it.
    fn lists(&self) -> bool {
        matches!(self.door, Door::Expired | Door::Unready)
    }

    /// Whether the one button that is left says no: beside a folded form, and wherever no yes can be said any more.
    fn only_no(&self) -> bool {
        match self.door {
            Door::Open => self.pending.is_some(),
            Door::Expired | Door::Unready => !self.no_is_said,
            Door::Restricted | Door::Noted => true,
            Door::Closed => false,
        }
    }

    /// Whether to say what comes of doing nothing: where nothing was said yet.
    fn is_unanswered(&self) -> bool {
        self.granted.is_empty()
            && self.pending.is_none()
            && matches!(self.state_banner, None | Some(Banner::Test | Banner::Lapsed))
    }

    /// After an answer the form waits folded: it can be found, it does not ask again. While a yes is
    /// pending its boxes are empty, and confirming them by mistake would be a no.
    fn folded(&self) -> bool {
        self.again.is_none() && (self.pending.is_some() || matches!(self.state_banner, Some(Banner::Refused | Banner::Stopped)))
    }
}

/// Why a neutral page is shown in place of the preference page. None of them tells whether a number is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateKind {
    /// Nobody's link: where whoever has lost theirs reads how to take back what they allow.
    Home,
    Unknown,
    Expired,
    TooMany,
    /// The form was open for more than a day, or the notice changed meanwhile: open it again.
    NonceStale,
    /// The form is not ours.
    BadRequest,
    /// The form was sent from elsewhere, or the browser does not say where from.
    Elsewhere,
    Error,
}

impl StateKind {
    /// Whether another link would help.
    pub fn is_of_the_link(self) -> bool {
        matches!(self, StateKind::Home | StateKind::Unknown | StateKind::Expired)
    }

    pub fn heading(self, lang: Lang) -> &'static str {
        let t = lang.t();
        match self {
            StateKind::Home => &t.title,
            StateKind::Unknown => &t.unknown_title,
            StateKind::Expired => &t.gone_title,
            StateKind::TooMany => &t.too_many_title,
            StateKind::NonceStale => &t.stale_title,
            StateKind::BadRequest | StateKind::Elsewhere => &t.bad_title,
            StateKind::Error => &t.error_title,
        }
    }

    pub fn text(self, lang: Lang) -> &'static str {
        let t = lang.t();
        match self {
            StateKind::Home => &t.home,
            StateKind::Unknown => &t.unknown_text,
            StateKind::Expired => &t.gone_text,
            StateKind::TooMany => &t.too_many_text,
            StateKind::NonceStale => &t.stale_text,
            StateKind::BadRequest => &t.bad_text,
            StateKind::Elsewhere => &t.bad_origin,
            StateKind::Error => &t.error_text,
        }
    }
}

/// A neutral page: what happened and how to stop all the same.
#[derive(Debug, Template)]
#[template(path = "pages/state.html")]
pub struct StatePage {
    pub lang: Lang,
    /// What the addresses of the same page in other languages begin with.
    pub lang_base: Option<String>,
    pub brand: String,
    pub kind: StateKind,
    /// Where the page can be opened again.
    pub back_url: Option<String>,
    /// E.164, where STOP is understood.
    pub reply_number: Option<String>,
    pub controller: String,
    pub privacy_contact: String,
}

/// The privacy notice as it was published (Art. 13 and 14 GDPR).
#[derive(Debug, Template)]
#[template(path = "pages/notice.html")]
pub struct NoticePage {
    pub lang: Lang,
    /// What the addresses of the same page in other languages begin with.
    pub lang_base: Option<String>,
    pub brand: String,
    pub version: String,
    /// The language of the notice; one's own may be in one that no page speaks.
    pub locale: String,
    pub controller: String,
    pub privacy_contact: String,
    pub blocks: Vec<Block>,
    /// The company's own notice.
    pub elsewhere: Option<String>,
}
