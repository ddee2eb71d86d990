//! The words by which the lint sees what a text says, per language: `stem*` starts a word, several words stand anywhere,
//! anything else is a whole word. A language that is not here cannot be checked, so its texts are refused.

use crate::domain::channel::{Channel, Purpose};

#[derive(Debug)]
pub struct Words {
    pub locale: &'static str,
    /// Why we write to this person (S22).
    pub reason: &'static [&'static str],
    product_info: &'static [&'static str],
    promotions: &'static [&'static str],
    profiling: &'static [&'static str],
    call: &'static [&'static str],
    /// Offers, prices, discounts, prizes (L4): none may stand in an ask.
    pub offer: &'static [&'static str],
    /// "If you do not answer": silence is never a yes (Recital 32 GDPR), so no sentence may make it one.
    pub silence: Silence,
    /// Guilt and urgency (T24).
    pub pressure: &'static [&'static str],
}

/// A sentence takes silence for a yes that names silence, goes on to something assumed, and denies nothing after it.
#[derive(Debug)]
pub struct Silence {
    pub named: &'static [&'static str],
    pub assumed: &'static [&'static str],
    pub denied: &'static [&'static str],
}

impl Words {
    pub fn of(locale: &str) -> Option<&'static Words> {
        WORDS.iter().find(|words| words.locale == locale)
    }

    pub fn purpose(&self, purpose: Purpose) -> &'static [&'static str] {
        match purpose {
            Purpose::ProductInfo => self.product_info,
            Purpose::Promotions => self.promotions,
            Purpose::Profiling => self.profiling,
        }
    }

    pub fn channel(&self, channel: Channel) -> &'static [&'static str] {
        match channel {
            Channel::Sms => &["sms"],
            Channel::WhatsApp => &["whatsapp"],
            Channel::Call => self.call,
        }
    }
}

/// The first of `patterns` that `text` says, as it stands there.
pub fn said(text: &str, patterns: &[&str]) -> Option<String> {
    all_said(text, patterns).into_iter().next()
}

/// Everything of `patterns` that `text` says, as it stands there, each once: words as they come, then phrases.
pub fn all_said(text: &str, patterns: &[&str]) -> Vec<String> {
    let text = text.to_lowercase().replace('’', "'");
    // `20zł` says `zł`.
    let words = text.split(|c: char| !c.is_alphanumeric()).map(|word| word.trim_start_matches(|c: char| c.is_ascii_digit()));
    let words = words.filter(|word| patterns.iter().any(|p| p.strip_suffix('*').map_or(*word == *p, |s| word.starts_with(s))));
    let phrases = patterns.iter().copied().filter(|p| p.contains(' ') && text.contains(*p));
    once(words.chain(phrases).map(str::to_owned))
}

/// Each of these once, where it first stands.
pub fn once(words: impl Iterator<Item = String>) -> Vec<String> {
    words.fold(Vec::new(), |mut all, word| {
        if !all.contains(&word) {
            all.push(word);
        }
        all
    })
}

/// "`a`, `b` and `c`".
pub fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => String::new(),
    }
}

/// Shorteners anybody can use: their links hide who writes, and carriers block them.
pub const SHORTENERS: [&str; 14] = [
    "bit.ly",
    "tinyurl.com",
    "goo.gl",
    "t.co",
    "ow.ly",
    "is.gd",
    "buff.ly",
    "rebrand.ly",
    "cutt.ly",
    "shorturl.at",
    "t.ly",
    "rb.gy",
    "tiny.cc",
    "s.id",
];

/// The part of a sentence of `text` that takes silence for a yes, as it stands there.
pub fn silence_is_yes(text: &str, silence: &Silence) -> Option<String> {
    let text = text.to_lowercase().replace('’', "'");
    for sentence in text.split(['.', '!', '?', ';', '\n']) {
        for named in silence.named {
            let Some((_, rest)) = sentence.split_once(named) else { continue };
            if said(rest, silence.assumed).is_some() && said(rest, silence.denied).is_none() {
                return Some(format!("{named}{rest}").trim().to_owned());
            }
        }
    }
    None
}

/// Every number that reads as a price: two decimals after a comma or point, and no digit, point or colon around them.
pub fn prices(text: &str) -> impl Iterator<Item = String> {
    let is_mark = |c: char| matches!(c, ',' | '.' | ':' | '/' | '-');
    text.split(move |c: char| !c.is_ascii_digit() && !is_mark(c)).map(move |number| number.trim_matches(is_mark)).filter_map(
        |number| {
            let (units, cents) = number.split_once([',', '.'])?;
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            (digits(units) && digits(cents) && cents.len() == 2).then(|| number.to_owned())
        },
    )
}

#[rustfmt::skip]
const WORDS: [Words; 6] = [
    Words {
        locale: "it",
        reason: &["perché", "perche", "poiché", "hai lasciato", "ha lasciato", "ci hai", "ci ha", "avevi", "sei stat", "sei client", "in passato"],
        product_info: &["informazion*", "novità", "prodott*"],
        promotions: &["promo*"],
        profiling: &["profil*", "personalizzat*"],
        call: &["chiam*", "telefon*"],
        offer: &["scont*", "offert*", "gratis", "gratuit*", "omagg*", "regal*", "prezz*", "euro", "eur", "coupon", "voucher", "vinci", "vincere", "concors*", "premio", "saldi", "risparmi*", "convenien*", "estrazion*", "in palio", "bonus", "lotteri*", "buono", "buoni", "premi", "vincit*", "sterlin*"],
        silence: Silence {
            named: &["se non rispondi", "se non risponde", "se non ci rispondi", "senza risposta", "senza una tua risposta", "senza tua risposta", "in assenza di risposta", "in mancanza di risposta", "il silenzio", "il tuo silenzio", "silenzio"],
            assumed: &["accett*", "acconsent*", "consens*", "continu*", "consider*", "assenso", "accordo", "vale", "autorizz*", "riceverai", "scriveremo"],
            denied: &["non", "no", "nessun*", "niente", "rifiut*"],
        },
        pressure: &["subito", "ultima occasione", "ultima possibilità", "ultimo avviso", "urgent*", "affrettat*", "solo oggi", "entro oggi", "sta per scadere", "non perdere", "perderai", "peccato", "ci mancherai", "ci dispiace*"],
    },
    Words {
        locale: "en",
        reason: &["because", "you left", "you gave", "you were", "you have been", "you are a", "you asked", "you signed", "since you"],
        product_info: &["information", "info", "news", "product*", "updates"],
        promotions: &["promo*"],
        profiling: &["profil*", "personalis*", "personaliz*", "tailored"],
        call: &["call*", "phone*"],
        offer: &["offer*", "discount*", "free", "price*", "sale", "sales", "deal", "deals", "gift*", "prize*", "coupon*", "voucher*", "win", "bargain*", "cheap*", "euro*", "gbp", "eur", "raffle*", "lotter*", "reward*", "bonus*", "giveaway*", "sweepstake*", "winner*", "jackpot*", "dollar*", "pounds", "quid"],
        silence: Silence {
            named: &["do not answer", "don't answer", "do not reply", "don't reply", "do not respond", "don't respond", "no reply", "no answer", "without a reply", "without an answer", "silence", "unless you reply", "unless you answer", "unless you object", "unless we hear", "unless you tell"],
            assumed: &["accept*", "agree*", "consent*", "continue*", "keep", "assume*", "means", "yes", "carry on"],
            denied: &["not", "no", "never", "nothing", "won't", "stop writing"],
        },
        pressure: &["hurry", "urgent*", "last chance", "final notice", "only today", "today only", "about to expire", "don't miss", "do not miss", "miss out", "act now", "now or never", "hate to see", "sorry to see", "we miss you"],
    },
    Words {
        locale: "pl",
        reason: &["ponieważ", "poniewaz", "bo", "gdyż", "zostawi*", "podał*", "podal*", "był*", "byl*"],
        product_info: &["informac*", "nowości", "nowosci", "produkt*"],
        promotions: &["promoc*"],
        profiling: &["profil*", "spersonaliz*"],
        call: &["telefon*", "dzwoni*", "połącz*", "polacz*"],
        offer: &["ofert*", "rabat*", "zniżk*", "znizk*", "gratis*", "darm*", "bezpłatn*", "bezplatn*", "cena", "ceny", "cen", "prezent*", "nagrod*", "kupon*", "voucher*", "konkurs*", "wygra*", "zł", "zl", "pln", "wyprzeda*", "okazj*", "tani*", "losowan*", "loteri*", "bonus*", "upomin*", "zgarnij"],
        silence: Silence {
            named: &["brak odpowiedzi", "braku odpowiedzi", "brakiem odpowiedzi", "jeśli nie odpowiesz", "jesli nie odpowiesz", "bez odpowiedzi", "milczenie", "o ile nie odpiszesz", "jeśli nie odpiszesz", "jesli nie odpiszesz"],
            assumed: &["zgod*", "zgadz*", "akcept*", "oznacza", "uznamy", "będziemy", "bedziemy"],
            denied: &["nie", "brak", "odmow*"],
        },
        pressure: &["ostatnia szansa", "pilne", "pilny", "tylko dziś", "tylko dzis", "pospiesz*", "nie przegap", "stracisz", "szkoda"],
    },
    Words {
        locale: "de",
        reason: &["weil", "sie haben", "sie hatten", "du hast", "hinterlassen", "sie waren", "sie sind"],
        product_info: &["information*", "infos", "neuigkeit*", "produkt*"],
        promotions: &["werbeaktion*", "aktion*", "werbung", "promo*"],
        profiling: &["profil*", "personalisiert*"],
        call: &["anruf*", "anzurufen", "telefon*"],
        offer: &["angebot*", "sonderangebot*", "rabatt*", "gratis", "kostenlos*", "preis*", "geschenk*", "gutschein*", "gewinn*", "euro", "eur", "coupon*", "günstig*", "schnäppchen*", "verlosung*", "bonus", "prämie*", "lotterie*", "pfund"],
        silence: Silence {
            named: &["nicht antworten", "ohne antwort", "ohne ihre antwort", "keine antwort", "schweigen", "nicht reagieren", "nicht widersprechen"],
            assumed: &["zustimm*", "einverstanden", "einwillig*", "gilt", "weiterhin", "akzeptier*"],
            denied: &["nicht", "kein*", "nichts", "nie"],
        },
        pressure: &["letzte chance", "dringend", "nur heute", "beeilen", "verpassen", "schade", "sofort", "läuft ab"],
    },
    Words {
        locale: "fr",
        reason: &["car", "parce que", "vous avez", "vous aviez", "vous nous avez", "vous êtes", "tu as"],
        product_info: &["information", "informations", "infos", "nouveauté*", "produit*"],
        promotions: &["promo*"],
        profiling: &["profil*", "personnalis*"],
        call: &["appel*", "téléphon*"],
        offer: &["offre*", "offert*", "réduction*", "remise*", "gratuit*", "prix", "cadeau*", "coupon*", "gagne*", "concours", "soldes", "euro*", "eur", "rabais", "tirage*", "loterie*", "bonus", "lot", "lots", "bon d'achat", "bons d'achat"],
        silence: Silence {
            named: &["sans réponse", "sans reponse", "vous ne répondez pas", "vous ne repondez pas", "votre silence", "le silence", "sauf refus", "sauf opposition"],
            assumed: &["accept*", "consent*", "accord", "vaut", "continu*", "considér*", "consider*"],
            denied: &["ne", "n", "pas", "aucun*", "rien", "refus"],
        },
        pressure: &["dernière chance", "derniere chance", "urgent*", "dépêchez*", "depechez*", "aujourd'hui seulement", "ne manquez pas", "dommage", "vite"],
    },
    Words {
        locale: "es",
        reason: &["porque", "nos dej", "nos dio", "nos diste", "nos ha", "dejaste", "fuiste", "fue client"],
        product_info: &["informaci*", "novedad*", "producto*"],
        promotions: &["promo*"],
        profiling: &["perfil*", "personalizad*"],
        call: &["llamad*", "llamar*", "teléfono*", "telefono*"],
        offer: &["oferta*", "descuento*", "gratis", "gratuit*", "precio*", "regal*", "premio*", "cupón*", "cupon*", "vale", "vales", "sorteo*", "gana", "gane", "rebaja*", "ahorr*", "euro*", "eur", "lotería*", "loteria*", "rifa*", "bono", "bonos", "ganar", "ganador*", "premi*"],
        silence: Silence {
            named: &["si no respondes", "si no responde", "si no contestas", "si no contesta", "sin respuesta", "tu silencio", "su silencio", "el silencio"],
            assumed: &["acept*", "consient*", "consentimiento", "acuerdo", "segui*", "seguir*", "entender*", "conform*", "autoriz*"],
            denied: &["no", "nada", "ningún*", "ningun*", "nunca"],
        },
        pressure: &["última oportunidad", "ultima oportunidad", "urgente*", "date prisa", "solo hoy", "sólo hoy", "no te pierdas", "lástima", "lastima", "te echaremos de menos"],
    },
];
