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
    let text = text.to_lowercase();
    let mut words = text.split(|c: char| !c.is_alphanumeric());
    if let Some(word) =
        words.find(|word| patterns.iter().any(|p| p.strip_suffix('*').map_or(*word == *p, |s| word.starts_with(s))))
    {
        return Some(word.to_owned());
    }
    patterns.iter().filter(|p| p.contains(' ')).find(|p| text.contains(**p)).map(|p| (*p).to_owned())
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
        offer: &["scont*", "offert*", "gratis", "gratuit*", "omagg*", "regal*", "prezz*", "euro", "eur", "coupon", "voucher", "vinci", "vincere", "concors*", "premio", "saldi", "risparmi*", "convenien*"],
    },
    Words {
        locale: "en",
        reason: &["because", "you left", "you gave", "you were", "you have been", "you are a", "you asked", "you signed", "since you"],
        product_info: &["information", "info", "news", "product*", "updates"],
        promotions: &["promo*"],
        profiling: &["profil*", "personalis*", "personaliz*", "tailored"],
        call: &["call*", "phone*"],
        offer: &["offer*", "discount*", "free", "price*", "sale", "sales", "deal", "deals", "gift*", "prize*", "coupon*", "voucher*", "win", "bargain*", "cheap*", "euro*", "gbp", "eur"],
    },
    Words {
        locale: "pl",
        reason: &["ponieważ", "poniewaz", "bo", "gdyż", "zostawi*", "podał*", "podal*", "był*", "byl*"],
        product_info: &["informac*", "nowości", "nowosci", "produkt*"],
        promotions: &["promoc*"],
        profiling: &["profil*", "spersonaliz*"],
        call: &["telefon*", "dzwoni*", "połącz*", "polacz*"],
        offer: &["ofert*", "rabat*", "zniżk*", "znizk*", "gratis*", "darm*", "bezpłatn*", "bezplatn*", "cena", "ceny", "cen", "prezent*", "nagrod*", "kupon*", "voucher*", "konkurs*", "wygra*", "zł", "zl", "pln", "wyprzeda*", "okazj*", "tani*"],
    },
    Words {
        locale: "de",
        reason: &["weil", "sie haben", "sie hatten", "du hast", "hinterlassen", "sie waren", "sie sind"],
        product_info: &["information*", "infos", "neuigkeit*", "produkt*"],
        promotions: &["werbeaktion*", "aktion*", "werbung", "promo*"],
        profiling: &["profil*", "personalisiert*"],
        call: &["anruf*", "anzurufen", "telefon*"],
        offer: &["angebot*", "sonderangebot*", "rabatt*", "gratis", "kostenlos*", "preis*", "geschenk*", "gutschein*", "gewinn*", "euro", "eur", "coupon*", "günstig*", "schnäppchen*", "verlosung*"],
    },
    Words {
        locale: "fr",
        reason: &["car", "parce que", "vous avez", "vous aviez", "vous nous avez", "vous êtes", "tu as"],
        product_info: &["information", "informations", "infos", "nouveauté*", "produit*"],
        promotions: &["promo*"],
        profiling: &["profil*", "personnalis*"],
        call: &["appel*", "téléphon*"],
        offer: &["offre*", "offert*", "réduction*", "remise*", "gratuit*", "prix", "cadeau*", "coupon*", "gagne*", "concours", "soldes", "euro*", "eur", "rabais"],
    },
    Words {
        locale: "es",
        reason: &["porque", "nos dej", "nos dio", "nos diste", "nos ha", "dejaste", "fuiste", "fue client"],
        product_info: &["informaci*", "novedad*", "producto*"],
        promotions: &["promo*"],
        profiling: &["perfil*", "personalizad*"],
        call: &["llamad*", "llamar*", "teléfono*", "telefono*"],
        offer: &["oferta*", "descuento*", "gratis", "gratuit*", "precio*", "regal*", "premio*", "cupón*", "cupon*", "vale", "vales", "sorteo*", "gana", "gane", "rebaja*", "ahorr*", "euro*", "eur"],
    },
];
