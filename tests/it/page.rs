//! What the law wants on every page of a person, in each language.

use crate::app::{LINK, TestApp};
use crate::both;

/// Who asks, in the six languages of the pages.
const LABELS: [(&str, &str); 6] = [
    ("it", "Titolare del trattamento"),
    ("en", "Data controller"),
    ("pl", "Administrator danych"),
    ("de", "Verantwortlicher"),
    ("fr", "Responsable du traitement"),
    ("es", "Responsable del tratamiento"),
];

both!(every_page_names_who_asks_with_the_postal_address, |app| {
    let file = app.dir.path().join("config/permesso.toml");
    let text = std::fs::read_to_string(&file).expect("the settings");
    std::fs::write(&file, text.replace("Via Esempio 1, 20100 Milano", "Via Rossi & Figli <1>, 20100 Milano")).expect("written");
    app.reconfigure("").await;
    let number = TestApp::it(1);
    app.people(std::slice::from_ref(&number)).await;
    app.send(LINK).await;
    let link = app.link(&number);
    let escaped = "ACME S.p.A., Via Rossi &#38; Figli &#60;1&#62;, 20100 Milano";
    for (lang, label) in LABELS {
        let unknown = format!("{}/p/1111111111111111111111/{lang}", app.base);
        for address in [format!("{link}/{lang}"), format!("{}/notice/{lang}", app.base), unknown] {
            let (_, page) = app.get(&address).await;
            let footer = page.split("<footer>").nth(1).unwrap_or_default();
            let colon = if lang == "fr" { "\u{a0}:" } else { ":" };
            assert!(footer.contains(&format!("{label}{colon} {escaped}")), "{address}: {footer}");
        }
    }
});
