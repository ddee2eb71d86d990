//! The words by which the lint sees what a text says, per language: `stem*` starts a word, several words stand anywhere,
//! anything else is a whole word. A language that is not here cannot be checked, so its texts are refused.

use super::silence::Silence;
use crate::domain::channel::{Channel, Purpose};

#[derive(Debug)]
pub struct Words {
    pub locale: &'static str,
    /// Why we write to this person.
    pub reason: &'static [&'static str],
    product_info: &'static [&'static str],
    promotions: &'static [&'static str],
    profiling: &'static [&'static str],
    call: &'static [&'static str],
    /// Offers, prices, discounts, prizes: none may stand in an ask.
    pub offer: &'static [&'static str],
    /// "If you do not answer": silence is never a yes (Recital 32 GDPR), so no sentence may make it one.
    pub silence: Silence,
    /// Guilt and urgency, which the EDPB counts among deceptive patterns (guidelines 03/2022).
    pub pressure: &'static [&'static str],
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

/// "Free entry", in any language: whole words, since "Eintritt Freitag" is a day.
const FREE_ENTRY: [[&str; 2]; 20] = [
    ["ingresso", "libero"],
    ["ingressi", "liberi"],
    ["entrata", "libera"],
    ["free", "entry"],
    ["free", "admission"],
    ["wstęp", "wolny"],
    ["wstep", "wolny"],
    ["wolny", "wstęp"],
    ["wolny", "wstep"],
    ["eintritt", "frei"],
    ["freier", "eintritt"],
    ["freien", "eintritt"],
    ["freiem", "eintritt"],
    ["entrée", "libre"],
    ["entree", "libre"],
    ["entrées", "libres"],
    ["entrada", "libre"],
    ["entradas", "libres"],
    ["acceso", "libre"],
    ["accès", "libre"],
];

/// What makes two figures a deal, in any language: "2 x 1", "3 per 2", "2 for 1".
const FOR: [&str; 9] = ["x", "×", "per", "for", "za", "für", "fuer", "pour", "por"];

/// Deals that no single word tells: more for the price of less (`2x1`), so much less (`-50`), and free entry.
pub fn deals(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '×').filter(|word| !word.is_empty()).collect();
    let is_deal = |[more, sign, less]: [&str; 3]| FOR.contains(&sign) && digit(more).zip(digit(less)).is_some_and(|(m, l)| m > l);
    let joined = words.iter().filter(|word| {
        let mut parts = word.splitn(2, ['x', '×']);
        parts.next().zip(parts.next()).is_some_and(|(more, less)| is_deal([more, "x", less]))
    });
    let apart = words.windows(3).filter(|w| is_deal([w[0], w[1], w[2]])).map(|w| w.join(" "));
    let free = words.windows(2).filter(|w| FREE_ENTRY.iter().any(|entry| *w == entry.as_slice())).map(|w| w.join(" "));
    joined.map(|word| (*word).to_owned()).chain(apart).chain(less(&text)).chain(free).collect()
}

/// One figure from 1 to 9: in a deal, as in "24x7" none is.
fn digit(text: &str) -> Option<u32> {
    text.parse().ok().filter(|n| text.len() == 1 && *n > 0)
}

/// Two figures behind a minus that joins them to nothing: no number of a phone, no day, no hours.
fn less(text: &str) -> Vec<String> {
    let minus = text.match_indices(['-', '−', '–']);
    let found = minus.filter_map(|(at, sign)| {
        let (before, after) = (&text[..at], &text[at + sign.len()..]);
        let figures = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let mut rest = after[figures..].chars();
        let joined = match rest.next() {
            Some(c) if c.is_alphanumeric() => true,
            Some(c) if c.is_ascii_punctuation() || c == ' ' => rest.next().is_some_and(|c| c.is_ascii_digit()),
            _ => false,
        };
        let from_nothing = before.chars().next_back().is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ':' | '!'))
            && !before.trim_end().ends_with(|c: char| c.is_ascii_digit());
        (figures == 2 && from_nothing && !joined).then(|| format!("{sign}{}", &after[..figures]))
    });
    found.collect()
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
            named: &["se non rispond*", "se non ci rispond*", "se non mi rispond*", "se tu non rispond*", "se lei non rispond*", "chi non rispond*", "chi non ci rispond*", "qualora non rispond*", "non rispondendo", "se non riceviamo", "senza risposta", "senza una tua risposta", "senza una sua risposta", "senza tua risposta", "senza sua risposta", "in assenza di risposta", "in mancanza di risposta", "mancata risposta", "nessuna risposta", "silenzio", "chi tace", "se taci", "se non ti opponi", "se non si oppone", "chi non si oppone", "se non rifiut*", "chi non rifiut*", "se non dici no", "se non dici di no", "se non dice no", "se non dici stop", "se non dice stop", "se non scrivi no", "se non scrive no", "se non scrivi stop", "se non scrive stop", "a meno che tu non rispond*", "a meno che non rispond*", "a meno che tu non rifiut*", "a meno che non rifiut*", "salvo rifiuto", "salvo tuo rifiuto", "salvo opposizione"],
            assumed: &["accett*", "acconsent*", "consens*", "continu*", "consider*", "assenso", "accordo", "vale", "autorizz*", "iscritt*", "iscriv*", "abbonat*", "aderisc*", "aderit*", "ricever*", "ricevi", "scriveremo", "manderemo", "invieremo", "contatteremo", "significa", "sì"],
            denied: &["non", "no", "nessun*", "niente", "nulla", "mai", "rifiut*", "in pace", "smett*", "finisc*", "cancelliamo", "cancelleremo", "eliminiamo", "elimineremo"],
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
            named: &["do not answer", "do not reply", "do not respond", "do not object", "don't answer", "don't reply", "don't respond", "don't object", "does not answer", "does not reply", "does not respond", "does not object", "doesn't answer", "doesn't reply", "doesn't respond", "doesn't object", "not answering", "not replying", "not responding", "no reply", "no answer", "no response", "without a reply", "without an answer", "without a response", "silence", "stay silent", "stays silent", "if you say nothing", "if you do nothing", "fail to answer", "fail to reply", "fail to respond", "if we hear nothing", "if we don't hear", "if we do not hear", "unless we hear", "unless you answer", "unless you reply", "unless you respond", "unless you object", "unless you tell", "unless you opt out", "unless you refuse", "unless you decline", "unless you say no", "unless you say stop", "unless you text no", "unless you text stop"],
            assumed: &["accept*", "agree*", "consent*", "continue*", "keep", "assume*", "means", "yes", "carry on", "subscri*", "sign you up", "signed up", "signs up", "enrol*", "opted in", "opt in", "join*", "will receive", "will get", "will write", "will text", "will send", "will contact"],
            denied: &["not", "no", "never", "nothing", "t", "cannot", "stop writing", "we stop", "will stop", "end", "ends", "delete", "remove", "leave you"],
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
            named: &["jeśli nie odpowi*", "jeśli nie odpis*", "jeśli nie zaprotest*", "jeśli nie sprzeciw*", "jesli nie odpowi*", "jesli nie odpis*", "jesli nie zaprotest*", "jesli nie sprzeciw*", "jeżeli nie odpowi*", "jeżeli nie odpis*", "jeżeli nie zaprotest*", "jeżeli nie sprzeciw*", "jezeli nie odpowi*", "jezeli nie odpis*", "jezeli nie zaprotest*", "jezeli nie sprzeciw*", "o ile nie odpowi*", "o ile nie odpis*", "o ile nie zaprotest*", "o ile nie sprzeciw*", "kto nie odpowi*", "kto nie odpis*", "kto nie zaprotest*", "kto nie sprzeciw*", "gdy nie odpowi*", "gdy nie odpis*", "gdy nie zaprotest*", "gdy nie sprzeciw*", "jeśli się nie sprzeciw*", "jesli sie nie sprzeciw*", "kto się nie sprzeciw*", "kto sie nie sprzeciw*", "brak odpowiedzi", "braku odpowiedzi", "brakiem odpowiedzi", "brak sprzeciwu", "braku sprzeciwu", "bez odpowiedzi", "bez sprzeciwu", "milczeni*", "milczy", "milczysz", "chyba że odpowi*", "chyba ze odpowi*", "chyba że odpis*", "chyba ze odpis*", "chyba że odm*", "chyba ze odm*", "chyba że napisz*", "chyba ze napisz*"],
            assumed: &["zgod*", "zgadz*", "akcept*", "oznacza", "uznamy", "uznajemy", "będziemy", "bedziemy", "zapis*", "zapisz*", "subskryb*", "otrzym*", "dostaniesz", "dostanie", "wyślemy", "wyslemy"],
            denied: &["nie", "brak", "odmow*", "odmów*", "nic", "żadn*", "zadn*", "nigdy", "usuniemy", "usuwamy", "spokoju", "przestan*", "skończ*", "skoncz*"],
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
            named: &["nicht antwort*", "nicht mit nein antwort*", "nicht mit stop antwort*", "antworten sie nicht mit nein", "antworten sie nicht mit stop", "nicht reagier*", "nicht widersprech*", "nicht widersprich*", "nicht ablehn*", "ohne antwort", "ohne ihre antwort", "ohne deine antwort", "ohne rückmeldung", "ohne widerspruch", "keine antwort", "keine rückmeldung", "kein widerspruch", "schweig*", "es sei denn sie widersprech*", "es sei denn sie antwort*", "es sei denn du widersprichst", "es sei denn du antwortest"],
            assumed: &["zustimm*", "einverstanden", "einverständnis", "einwillig*", "willig*", "gilt", "gelten", "weiterhin", "akzeptier*", "stimmen", "stimmst", "stimmt", "angemeldet", "anmeld*", "melden wir", "abonnier*", "eingetragen", "registriert", "erhalten", "erhältst", "bekommen", "bekommst", "heißt", "heisst", "bedeutet"],
            denied: &["nicht", "kein*", "nichts", "nie", "löschen", "in ruhe", "hören", "endet", "enden"],
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
            named: &["sans réponse", "sans reponse", "absence de réponse", "absence de reponse", "défaut de réponse", "defaut de reponse", "ne répondez pas", "ne repondez pas", "ne réponds pas", "ne reponds pas", "qui ne répond pas", "qui ne repond pas", "ne vous opposez pas", "ne t'opposes pas", "ne refusez pas", "ne dites pas non", "ne dites pas stop", "ne dites rien", "ne dit rien", "ne dit mot", "silence", "sauf refus", "sauf opposition", "sauf réponse", "sauf reponse", "sauf si vous répond*", "sauf si vous repond*", "sauf si vous refus*", "à moins que vous ne répond*", "à moins que vous ne refus*"],
            assumed: &["accept*", "consent*", "accord", "vaut", "continu*", "considér*", "consider*", "inscri*", "abonn*", "adhér*", "adher*", "recevrez", "recevez", "recevras", "enverrons", "écrirons", "ecrirons", "signifie", "oui"],
            denied: &["ne", "n", "pas", "aucun*", "rien", "refus", "jamais", "non", "tranquille", "supprimons", "supprimerons", "arrêt*", "arret*", "cess*"],
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
            named: &["si no respond*", "si no contest*", "si no nos respond*", "si no nos contest*", "quien no respond*", "quien no contest*", "quienes no respond*", "quienes no contest*", "de no responder", "al no responder", "sin respuesta", "falta de respuesta", "silencio", "quien calla", "si no te opones", "si no se opone", "quien no se opone", "si no dices no", "si no dices que no", "si no dices stop", "si no dice no", "si no dice que no", "si no dice stop", "si no rechaz*", "salvo que respond*", "salvo que te opongas", "salvo que se oponga", "a menos que respond*", "a menos que te opongas", "a menos que se oponga", "salvo oposición", "salvo oposicion"],
            assumed: &["acept*", "consient*", "consentimiento", "acuerdo", "segui*", "seguir*", "entender*", "conform*", "autoriz*", "suscri*", "inscri*", "alta", "apunt*", "recibir*", "recibes", "enviaremos", "escribiremos", "continu*", "significa", "vale", "sí"],
            denied: &["no", "nada", "ningún*", "ningun*", "nunca", "en paz", "dejamos", "dejaremos", "paramos", "borramos", "borraremos"],
        },
        pressure: &["última oportunidad", "ultima oportunidad", "urgente*", "date prisa", "solo hoy", "sólo hoy", "no te pierdas", "lástima", "lastima", "te echaremos de menos"],
    },
];
