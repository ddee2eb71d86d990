//! What the pages show and the words they say, in Italian and English. Knows neither HTTP nor the store: the
//! handlers fill these structs. The operator's pages speak English, like the command line.

use std::collections::BTreeSet;
use std::fmt::Write;

use askama::Template;

use crate::domain::channel::{Channel, Permission, Purpose};

pub const STYLE_CSS: &str = include_str!("../../templates/pages/style.css");
pub const OPERATOR_CSS: &str = include_str!("../../templates/pages/operator.css");

/// The language of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lang {
    It,
    En,
}

impl Lang {
    pub fn code(self) -> &'static str {
        match self {
            Lang::It => "it",
            Lang::En => "en",
        }
    }

    pub fn parse(code: &str) -> Option<Lang> {
        [Lang::It, Lang::En].into_iter().find(|l| l.code() == code)
    }

    pub fn other(self) -> Lang {
        match self {
            Lang::It => Lang::En,
            Lang::En => Lang::It,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Lang::It => "Italiano",
            Lang::En => "English",
        }
    }

    pub fn t(self) -> &'static Texts {
        match self {
            Lang::It => &IT,
            Lang::En => &EN,
        }
    }

    pub fn channel(self, channel: Channel) -> &'static str {
        match channel {
            Channel::Sms => "SMS",
            Channel::WhatsApp => "WhatsApp",
            Channel::Call => self.t().call,
        }
    }

    pub fn purpose(self, purpose: Purpose) -> &'static str {
        match purpose {
            Purpose::ProductInfo => self.t().product_info,
            Purpose::Promotions => self.t().promotions,
            Purpose::Profiling => self.t().profiling,
        }
    }

    pub fn purpose_hint(self, purpose: Purpose) -> &'static str {
        match purpose {
            Purpose::ProductInfo => self.t().product_info_hint,
            Purpose::Promotions => self.t().promotions_hint,
            Purpose::Profiling => self.t().profiling_hint,
        }
    }
}

/// The state the preference page reports after it was submitted, or finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Banner {
    /// The second step is done: the ticked boxes are granted.
    Confirmed,
    /// Something granted was unticked and nothing new awaits a second step.
    Saved,
    Refused,
    Stopped,
    /// The one-time code typed was not the one sent.
    WrongCode,
}

impl Banner {
    /// The CSS class.
    pub fn code(self) -> &'static str {
        match self {
            Banner::Confirmed => "confirmed",
            Banner::Saved => "saved",
            Banner::Refused => "refused",
            Banner::Stopped => "stopped",
            Banner::WrongCode => "wrong-code",
        }
    }

    pub fn text(self, lang: Lang, brand: &str) -> String {
        let t = lang.t();
        let text = match self {
            Banner::Confirmed => t.confirmed,
            Banner::Saved => t.saved,
            Banner::Refused => t.refused,
            Banner::Stopped => t.stopped,
            Banner::WrongCode => t.wrong_code,
        };
        text.replace("{brand}", brand)
    }
}

/// A submitted yes that waits for its second step.
#[derive(Debug, Clone)]
pub struct PendingView {
    pub permissions: Vec<Permission>,
    /// E.164, the number to reply to (`link_reply`). `None` without a code form: reply to the message we sent.
    pub reply_number: Option<String>,
    /// The word to reply, `SI`.
    pub word: String,
    /// The second step is a one-time code typed here (`link_code`): posts `answer=code` and `code`.
    pub code_form: bool,
}

impl PendingView {
    /// One line a purpose: `Promotions and offers: SMS, WhatsApp`.
    pub fn lines(&self, lang: Lang) -> Vec<String> {
        let chosen = |purpose| self.permissions.iter().filter(move |p| p.purpose == purpose).map(|p| lang.channel(p.channel));
        Purpose::ALL
            .into_iter()
            .filter(|purpose| chosen(*purpose).next().is_some())
            .map(|purpose| format!("{}: {}", lang.purpose(purpose), chosen(purpose).collect::<Vec<_>>().join(", ")))
            .collect()
    }

    /// Opens the phone's messages with the number and the word filled in (RFC 5724).
    pub fn sms_link(&self) -> String {
        let number = self.reply_number.as_deref().unwrap_or_default().replace(' ', "");
        format!("sms:{number}?body={}", self.word)
    }
}

/// The page behind `/p/{token}`. Posts `nonce`, `answer` = `chosen` | `none` | `code`, and `grant` once a ticked box.
#[derive(Debug, Template)]
#[template(path = "pages/preferences.html")]
pub struct PreferencesPage {
    pub lang: Lang,
    pub other_lang_url: Option<String>,
    pub brand: String,
    /// The last three digits at most (compliance T7).
    pub masked_number: String,
    pub channels: Vec<Channel>,
    pub purposes: Vec<Purpose>,
    pub granted: BTreeSet<Permission>,
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
    /// False once the link has expired: only "no to everything" is left.
    pub can_grant: bool,
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

impl PreferencesPage {
    fn fieldsets(&self) -> Vec<Fieldset> {
        let tick = |purpose, channel| {
            let permission = Permission { channel, purpose };
            // Nothing is ticked but what the person granted (Planet49, C-673/17).
            Tick { code: permission.code(), label: self.lang.channel(channel), granted: self.granted.contains(&permission) }
        };
        let set = |purpose: Purpose| Fieldset {
            code: purpose.code(),
            legend: self.lang.purpose(purpose),
            hint: self.lang.purpose_hint(purpose),
            ticks: self.channels.iter().map(|channel| tick(purpose, *channel)).collect(),
        };
        self.purposes.iter().copied().map(set).collect()
    }

    /// After an answer the form waits folded: it can be found, it does not ask again (compliance T24). While a yes is
    /// pending its boxes are empty, and confirming them by mistake would be a no.
    fn folded(&self) -> bool {
        self.pending.is_some() || matches!(self.state_banner, Some(Banner::Refused | Banner::Stopped))
    }
}

/// Why a neutral page is shown in place of the preference page. None of them tells whether a number is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateKind {
    Unknown,
    Expired,
    TooMany,
    /// The form was open for more than a day, or the notice changed meanwhile: open it again.
    NonceStale,
    /// The form was sent from elsewhere or is not ours.
    BadRequest,
    Error,
}

impl StateKind {
    pub fn heading(self, lang: Lang) -> &'static str {
        let t = lang.t();
        match self {
            StateKind::Unknown => t.unknown_title,
            StateKind::Expired => t.gone_title,
            StateKind::TooMany => t.too_many_title,
            StateKind::NonceStale => t.stale_title,
            StateKind::BadRequest => t.bad_title,
            StateKind::Error => t.error_title,
        }
    }

    pub fn text(self, lang: Lang) -> &'static str {
        let t = lang.t();
        match self {
            StateKind::Unknown => t.unknown_text,
            StateKind::Expired => t.gone_text,
            StateKind::TooMany => t.too_many_text,
            StateKind::NonceStale => t.stale_text,
            StateKind::BadRequest => t.bad_text,
            StateKind::Error => t.error_text,
        }
    }
}

/// A neutral page: what happened and how to stop all the same.
#[derive(Debug, Template)]
#[template(path = "pages/state.html")]
pub struct StatePage {
    pub lang: Lang,
    pub other_lang_url: Option<String>,
    pub brand: String,
    pub kind: StateKind,
    /// Where the page can be opened again, for `NonceStale`.
    pub back_url: Option<String>,
    /// E.164, where STOP is understood.
    pub reply_number: Option<String>,
    pub controller: String,
    pub privacy_contact: String,
}

/// The notice used where the controller configured none of its own (Art. 13 and 14 GDPR).
#[derive(Debug, Template)]
#[template(path = "pages/notice.html")]
pub struct NoticePage {
    pub lang: Lang,
    pub other_lang_url: Option<String>,
    pub brand: String,
    pub version: String,
    pub controller: String,
    pub privacy_contact: String,
    pub channels: Vec<Channel>,
    pub purposes: Vec<Purpose>,
    /// Names of the gateways, with their region where it is known.
    pub processors: Vec<String>,
    /// Months a consent holds; `None` until it is withdrawn.
    pub valid_months: Option<u32>,
    pub reply_number: Option<String>,
}

impl NoticePage {
    fn purposes(&self) -> Vec<(&'static str, &'static str)> {
        self.purposes.iter().map(|p| (self.lang.purpose(*p), self.lang.purpose_hint(*p))).collect()
    }

    fn channels(&self) -> String {
        self.channels.iter().map(|c| self.lang.channel(*c)).collect::<Vec<_>>().join(", ")
    }
}

/// One campaign in the overview. `state` is `CampaignState::code`; counts are people.
#[derive(Debug, Clone)]
pub struct CampaignRow {
    pub name: String,
    pub url: String,
    pub state: String,
    pub pause_reason: Option<String>,
    pub targeted: u64,
    pub asked: u64,
    pub pending: u64,
    pub confirmed: u64,
    pub refused: u64,
    pub stopped: u64,
}

#[derive(Debug, Clone)]
pub struct GatewayRow {
    pub name: String,
    pub healthy: bool,
    /// A sentence: last answer, breaker open since, account error.
    pub note: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/overview.html")]
pub struct OverviewPage {
    /// Who halted everything, when and why, as a sentence.
    pub halted: Option<String>,
    /// Since when no web role was listening, as a sentence.
    pub deaf: Option<String>,
    /// Unclear replies that wait for an operator.
    pub inbox_waiting: u64,
    pub campaigns: Vec<CampaignRow>,
    pub gateways: Vec<GatewayRow>,
}

#[derive(Debug, Clone)]
pub struct Figure {
    pub label: String,
    pub count: u64,
}

/// People skipped for one reason: its code and the same sentence that `contact explain` prints.
#[derive(Debug, Clone)]
pub struct SkipRow {
    pub code: String,
    pub sentence: String,
    pub count: u64,
}

#[derive(Debug, Template)]
#[template(path = "pages/campaign.html")]
pub struct CampaignPage {
    pub name: String,
    pub state: String,
    pub pause_reason: Option<String>,
    /// Start, deadline, cost and the like: label and value.
    pub facts: Vec<(String, String)>,
    pub targeted: u64,
    pub asked: u64,
    pub pending: u64,
    pub confirmed: u64,
    pub refused: u64,
    pub stopped: u64,
    pub silent: u64,
    pub skipped: Vec<SkipRow>,
    /// Messages by state, in the order of their life.
    pub messages: Vec<Figure>,
}

impl CampaignPage {
    fn skipped_total(&self) -> u64 {
        self.skipped.iter().map(|s| s.count).sum()
    }

    fn answers(&self) -> [(&'static str, u64); 8] {
        [
            ("Targeted", self.targeted),
            ("Skipped", self.skipped_total()),
            ("Asked", self.asked),
            ("Pending: first yes, second step awaited", self.pending),
            ("Confirmed", self.confirmed),
            ("Refused (no)", self.refused),
            ("Stopped all marketing (STOP)", self.stopped),
            ("Silent so far", self.silent),
        ]
    }

    fn svg(&self) -> String {
        funnel_svg(&self.answers())
    }
}

/// Bars under their labels, widest = the greatest count. Text takes the page's color and the bars its class `bar`,
/// so dark mode works and no inline style is needed (the page's CSP forbids it).
pub fn funnel_svg(rows: &[(&str, u64)]) -> String {
    const WIDTH: u64 = 340;
    const ROW: usize = 40;
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let said = rows.iter().map(|(label, count)| format!("{}: {count}", escape(label))).collect::<Vec<_>>().join("; ");
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {}" font-size="14"><title>{said}</title>"#,
        rows.len() * ROW
    );
    for (i, (label, count)) in rows.iter().enumerate() {
        let y = i * ROW;
        // Someone is never drawn as no one.
        let bar = if *count == 0 { 0 } else { (u128::from(*count) * u128::from(WIDTH) / u128::from(most)).max(2) };
        let _ = write!(
            svg,
            concat!(
                r#"<text x="0" y="{}" fill="currentColor">{}</text>"#,
                r#"<text x="{}" y="{}" text-anchor="end" fill="currentColor">{}</text>"#,
                r#"<rect x="0" y="{}" width="{}" height="10" rx="2" fill="currentColor" fill-opacity="0.12"/>"#,
                r#"<rect class="bar" x="0" y="{}" width="{}" height="10" rx="2" fill="currentColor"/>"#
            ),
            y + 15,
            escape(label),
            WIDTH,
            y + 15,
            count,
            y + 22,
            WIDTH,
            y + 22,
            bar
        );
    }
    svg.push_str("</svg>");
    svg
}

/// One row a text, both languages: a missing translation does not compile.
macro_rules! texts {
    ($($key:ident: $it:literal, $en:literal;)*) => {
        #[derive(Debug)]
        pub struct Texts { $(pub $key: &'static str),* }
        static IT: Texts = Texts { $($key: $it),* };
        static EN: Texts = Texts { $($key: $en),* };
    };
}

texts! {
    title: "Le tue preferenze di contatto", "Your contact preferences";
    description: "Scegli se e come ricevere i nostri messaggi.", "Choose whether and how to receive our messages.";
    your_number: "Il tuo numero", "Your number";
    intro: "Spunta ciò che vuoi ricevere da {brand} e come. La scelta è libera: i nostri servizi non dipendono da questo.",
        "Tick what you would like to receive from {brand}, and how. The choice is free: our services do not depend on it.";
    call: "Telefonata", "Phone call";
    product_info: "Informazioni sui prodotti", "Product information";
    product_info_hint: "Novità e istruzioni sui prodotti, senza offerte.", "News and instructions about products, without offers.";
    promotions: "Promozioni e offerte", "Promotions and offers";
    promotions_hint: "Sconti, offerte e iniziative commerciali.", "Discounts, offers and commercial initiatives.";
    profiling: "Messaggi su misura (profilazione)", "Tailored messages (profiling)";
    profiling_hint: "Usare i tuoi dati per scegliere quali messaggi mandarti.", "Using your data to choose which messages to send you.";
    chosen: "Conferma le mie scelte", "Confirm my choices";
    none: "No a tutto", "No to everything";
    nothing_ticked: "Se confermi con tutte le caselle vuote, vale come «No a tutto».",
        "Confirming with every box empty counts as “No to everything”.";
    any_time: "Puoi cambiare idea quando vuoi, gratis, da questa pagina.", "You can change your mind at any time, free of charge, on this page.";
    change: "Cambiare scelta", "Change your choice";
    confirmed: "Fatto: il tuo permesso è confermato. Le caselle spuntate mostrano ciò che hai scelto.",
        "Done: your permission is confirmed. The ticked boxes show what you chose.";
    saved: "Fatto: le tue scelte sono salvate.", "Done: your choices are saved.";
    refused: "Hai detto no. {brand} non ti manderà questi messaggi e non te lo chiederà più.",
        "You said no. {brand} will not send you these messages and will not ask again.";
    stopped: "Hai fermato tutto. {brand} non ti contatterà più a scopo commerciale. Vale per tutti i canali.",
        "You stopped everything. {brand} will no longer contact you for marketing. This covers every channel.";
    wrong_code: "Il codice non corrisponde. Controlla l’ultimo messaggio ricevuto e riprova.",
        "The code does not match. Check the latest message you received and try again.";
    last_step: "Ultimo passo", "Last step";
    pending_reply_before: "Rispondi", "Reply";
    pending_reply_to: "con un SMS al numero", "by SMS to";
    pending_reply_message: "al messaggio che ti abbiamo mandato.", "to the message we sent you.";
    pending_code: "Scrivi qui il codice che ti abbiamo mandato con un messaggio.", "Type the code we sent you in a message.";
    pending_cost: "Costa come un normale SMS del tuo operatore.", "It costs what your operator charges for an ordinary SMS.";
    pending_chosen: "Hai scelto:", "You chose:";
    pending_nothing_yet: "Il permesso vale solo dopo questo passo. Se ti fermi qui, resta tutto com’era.",
        "The permission counts only after this step. If you stop here, everything stays as it was.";
    code_label: "Codice", "Code";
    code_button: "Conferma il codice", "Confirm the code";
    expired_title: "Questo link è scaduto", "This link has expired";
    expired_text: "Con questo link puoi ancora dire di no a tutti i messaggi commerciali di {brand}. Basta un tocco.",
        "With this link you can still say no to all marketing messages from {brand}. One tap is enough.";
    new_link: "Se vuoi dare il tuo permesso, chiedi un nuovo link al contatto privacy indicato in fondo.",
        "If you would like to give your permission, ask the privacy contact below for a new link.";
    source: "Dove abbiamo preso il tuo numero", "Where we got your number";
    notice_link: "Informativa sulla privacy", "Privacy notice";
    version: "versione", "version";
    controller: "Titolare del trattamento", "Data controller";
    privacy_contact: "Contatto privacy", "Privacy contact";
    unknown_title: "Questa pagina non esiste", "This page does not exist";
    unknown_text: "Il link potrebbe essere incompleto. Aprilo di nuovo dal messaggio che hai ricevuto.",
        "The link may be incomplete. Open it again from the message you received.";
    gone_title: "Questo link è scaduto", "This link has expired";
    gone_text: "La pagina non è più disponibile.", "The page is no longer available.";
    too_many_title: "Troppe richieste", "Too many requests";
    too_many_text: "Aspetta qualche minuto e riprova.", "Wait a few minutes and try again.";
    stale_title: "La pagina è cambiata nel frattempo", "The page has changed in the meantime";
    stale_text: "La tua scelta non è stata registrata. Apri di nuovo la pagina e ripetila.",
        "Your choice was not recorded. Open the page again and repeat it.";
    bad_title: "Richiesta non valida", "Invalid request";
    bad_text: "La tua scelta non è stata registrata. Apri di nuovo il link dal messaggio che hai ricevuto.",
        "Your choice was not recorded. Open the link again from the message you received.";
    error_title: "Qualcosa non ha funzionato", "Something went wrong";
    error_text: "Il problema è nostro. La tua scelta potrebbe non essere registrata: riprova tra qualche minuto.",
        "The problem is on our side. Your choice may not be recorded: try again in a few minutes.";
    open_again: "Apri di nuovo la pagina", "Open the page again";
    stop_title: "Come fermare i messaggi", "How to stop the messages";
    stop_reply_before: "Manda", "Send";
    stop_reply_to: "con un SMS al numero", "by SMS to";
    stop_write: "Scrivi a", "Write to";
    stop_free: "Basta uno di questi modi, senza dare spiegazioni.", "Any one of these is enough. You need not say why.";
    new_link_title: "Come avere un nuovo link", "How to get a new link";
    notice_title: "Informativa sulla privacy", "Privacy notice";
    notice_who: "Chi tratta i tuoi dati", "Who processes your data";
    notice_who_text: "Il titolare del trattamento è {controller}: per ogni domanda e per esercitare i tuoi diritti scrivi a {contact}.",
        "The data controller is {controller}: for any question, and to exercise your rights, write to {contact}.";
    notice_why: "Perché e su quale base", "Why, and on what basis";
    notice_why_text: "Solo con il tuo consenso (art. 6, par. 1, lett. a GDPR), separato per ogni scopo e per ogni canale. Darlo è facoltativo.",
        "Only with your consent (Art. 6(1)(a) GDPR), separate for each purpose and each channel. Giving it is optional.";
    notice_channels: "Canali possibili", "Possible channels";
    notice_data: "Quali dati", "Which data";
    notice_data_text: "Il tuo numero di telefono, da dove lo abbiamo avuto, i messaggi che ti mandiamo e le tue risposte, le scelte che fai e quando. \
        La pagina delle preferenze usa il link solo per mostrarti la pagina.",
        "Your phone number, where we got it, the messages we send you and your replies, the choices you make and when. \
        The preference page uses its link only to show you the page.";
    notice_processors: "Chi ci aiuta", "Who helps us";
    notice_processors_text: "Questi fornitori consegnano i messaggi per nostro conto, come responsabili del trattamento:",
        "These providers deliver messages on our behalf, as processors:";
    notice_keep: "Per quanto tempo", "For how long";
    notice_keep_months: "Il consenso vale {months} mesi, o meno se lo ritiri prima.",
        "A consent holds for {months} months, or less if you withdraw it earlier.";
    notice_keep_open: "Il consenso vale fino a quando decidi di ritirarlo.", "A consent holds until you withdraw it.";
    notice_keep_proof: "Dopo un no teniamo solo quanto serve a rispettarlo e a dimostrare le scelte fatte.",
        "After a no we keep only what is needed to respect it and to prove the choices made.";
    notice_withdraw: "Come ritirare il consenso o dire di no", "How to withdraw consent or say no";
    notice_withdraw_text: "In ogni momento, gratis e senza spiegazioni, in uno di questi modi. Quanto fatto prima resta lecito.",
        "At any time, free of charge and without giving a reason, in one of these ways. What was done before remains lawful.";
    notice_withdraw_page: "Apri il link che hai ricevuto e premi «No a tutto», anche se il link è scaduto.",
        "Open the link you received and press “No to everything”, even if the link has expired.";
    notice_rights: "I tuoi diritti", "Your rights";
    notice_rights_text: "Puoi chiedere di vedere, correggere, cancellare o ricevere i tuoi dati, di limitarne l’uso, e opporti al marketing. \
        Rispondiamo entro un mese. Puoi anche presentare reclamo all’autorità per la protezione dei dati (in Italia il Garante).",
        "You may ask to see, correct, erase or receive your data, to restrict their use, and object to marketing. \
        We answer within one month. You may also complain to the data protection authority of your country.";
}
