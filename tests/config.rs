//! The configuration folder as its readers meet it: the shipped one is sound, and a broken one names all that is wrong at once.

use std::path::{Path, PathBuf};

use chrono::{TimeZone, Utc};
use permesso::config::{Config, List, Problem};
use permesso::domain::campaign::{Mode, StopIf};
use permesso::domain::channel::{Channel, Permission, Purpose};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config");

/// The shipped folder in a place of its own, to be spoilt.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        copy(Path::new(SHIPPED), &folder.dir());
        folder
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("config")
    }

    /// Replaces a text that must be there.
    fn edit(self, file: &str, from: &str, to: &str) -> Folder {
        let path = self.dir().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
        self
    }

    fn write(self, file: &str, text: &str) -> Folder {
        let path = self.dir().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn load(&self) -> Result<Config, Vec<Problem>> {
        Config::load_with(&self.dir(), &|_| None).map_err(|problems| problems.0)
    }

    /// What is wrong with the settings, as shown, without the path.
    fn settings(&self) -> Vec<String> {
        self.shown(self.load().err().unwrap_or_default())
    }

    /// What is wrong with the campaign.
    fn campaign(&self) -> Vec<String> {
        let config = self.load().expect("sound settings");
        self.shown(config.campaign("rinnovo-consensi").err().map(|problems| problems.0).unwrap_or_default())
    }

    /// What is wrong with the forms.
    fn forms(&self) -> Vec<String> {
        self.shown(self.load().expect("sound settings").unfit_forms)
    }

    fn shown(&self, problems: Vec<Problem>) -> Vec<String> {
        let prefix = format!("{}/", self.dir().display());
        problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

const CAMPAIGN: &str = "campaigns/rinnovo-consensi.toml";

/// One line, beginning and containing so.
#[track_caller]
fn only(problems: &[String], begins: &str, contains: &str) {
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].starts_with(begins) && problems[0].contains(contains), "{problems:#?}");
}

#[test]
fn the_shipped_configuration_is_sound_and_sends_to_nobody() {
    let (config, warnings) = Config::check_all(Path::new(SHIPPED)).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings, [], "the shipped texts set an example");
    assert!(config.allows_fiction());
    assert_eq!(config.packs.len(), 6);
    assert_eq!(config.link("abc"), "http://127.0.0.1:8080/p/abc");
    assert_eq!(config.gateways[0].account.secret("token"), "mock-token");
    assert!(!format!("{:?}", config.gateways[0]).contains("mock-token"), "a secret is never shown");
    assert!(!format!("{config:?}").contains("mock"));
    assert!(config.database.ends_with("/data/permesso.db"), "{}", config.database);
    assert_eq!(config.import.of(List::Contacts).header("number"), "number");
    let two_way: Vec<_> = config.senders.iter().map(|s| (s.id.as_str(), s.two_way)).collect();
    assert_eq!(
        two_way,
        [("ACME", false), ("ACMEinfo", false), ("+393001234567", true), ("+447700900123", true), ("acme-wa", true)]
    );
}

#[test]
fn a_campaign_is_frozen_with_its_texts_and_packs() {
    let campaign = Config::load(Path::new(SHIPPED)).unwrap().campaign("rinnovo-consensi").unwrap();
    assert_eq!(campaign.start, Utc.with_ymd_and_hms(2026, 12, 1, 8, 30, 0).unwrap());
    assert_eq!(campaign.deadline, Utc.with_ymd_and_hms(2026, 12, 20, 19, 0, 0).unwrap());
    assert_eq!((campaign.dormant_after_days, campaign.reminder_after_days, campaign.cap_days), (365, Some(7), 730));
    assert_eq!(campaign.asks_for, [Permission { channel: Channel::Sms, purpose: Purpose::Promotions }]);
    assert_eq!(campaign.asks[0].mode, Mode::LinkReply);
    assert_eq!(campaign.asks[0].texts.keys().collect::<Vec<_>>(), ["de", "en", "es", "fr", "it", "pl"]);
    assert_eq!(campaign.packs.keys().collect::<Vec<_>>(), ["ES", "IT", "PL"]);
    assert_eq!((campaign.limits.rate, campaign.limits.first), (50.0, Some(200)));
    for name in ["confirm", "code", "ack_yes", "ack_no", "ack_stop", "ack_wrong_person", "help", "early_yes"] {
        for locale in ["it", "en", "pl", "de", "fr", "es"] {
            assert!(campaign.texts.contains_key(&format!("{name}.{locale}")), "{name}.{locale}");
        }
    }
}

#[test]
fn every_built_in_text_fills_two_gsm_parts_at_most_and_every_reply_text_suits_its_mode() {
    let folder = Folder::new()
        .edit(CAMPAIGN, "mode = \"link_reply\"", "mode = \"reply\"")
        .edit(CAMPAIGN, "\"ACME\"", "\"+393001234567\"")
        .edit(CAMPAIGN, "template = \"repermission\"", "template = \"repermission_reply\"");
    assert_eq!(folder.campaign(), Vec::<String>::new());
    let config = folder.load().unwrap();
    let campaign = config.campaign("rinnovo-consensi").unwrap();
    for shown in config.preview(&campaign).unwrap() {
        let sms = shown.sms.unwrap();
        assert_eq!(sms.forcing, [], "{} in {}: {}", shown.template, shown.locale, shown.text);
        assert!(sms.size.parts <= 2, "{} in {}: {}", shown.template, shown.locale, shown.text);
    }
}

#[test]
fn where_nobody_can_reply_the_sentence_of_the_link_is_the_stop_route() {
    let code = |text: &str| {
        let folder = Folder::new().write("../templates/messages/repermission_code.de.txt", text);
        folder.shown(folder.load().unwrap().campaign("einwilligung").err().map(|p| p.0).unwrap_or_default())
    };
    let all = "{{ brand }}: Sie haben uns Ihre Nummer hinterlassen. Dürfen wir Ihnen Informationen und Werbung senden? \
        Hier wählen Sie oder sagen STOP: {{ link }}";
    assert_eq!(code(all), Vec::<String>::new());
    let elsewhere = all.replace(" oder sagen STOP", "").replace("senden?", "senden? STOP beendet alles.");
    for without in [&all.replace("STOP", "Nein"), &elsewhere] {
        let problems = code(without);
        assert!(
            problems.len() == 1 && problems[0].contains("has no stop route") && problems[0].contains("{{ link }}"),
            "{problems:#?}"
        );
    }
    let problems = code(&format!("{all} {{{{ reply_number }}}}"));
    assert!(problems[0].contains("the placeholder `reply_number` has no value"), "{problems:#?}");
    let folder = Folder::new().edit("campaigns/einwilligung.toml", "\"ACMEinfo\"", "\"+393001234567\"");
    let problems = folder.shown(folder.load().unwrap().campaign("einwilligung").unwrap_err().0);
    only(&problems, "campaigns/einwilligung.toml", "ask.sms.mode: `+393001234567` takes answers itself");
}

#[test]
fn a_code_is_named_in_its_message_alone_and_fits_one_part() {
    let campaign = Config::load(Path::new(SHIPPED)).unwrap().campaign("einwilligung").unwrap();
    for locale in ["it", "en", "pl", "de", "fr", "es"] {
        let shown =
            campaign.texts[&format!("code.{locale}")].replace("{{ brand }}", "ACME Italia").replace("{{ code }}", "123456");
        let parts = permesso::domain::sms::parts(&shown);
        assert_eq!((parts.encoding, parts.parts), (permesso::domain::sms::Encoding::Gsm7, 1), "{shown}");
        assert_eq!(permesso::domain::sms::forcing_ucs2(&campaign.asks[0].texts[locale]), [], "{locale}");
    }
    for (text, expected) in [
        ("{{ brand }}: hallo", "does not name the code"),
        ("{{ brand }}: {{ code }} {{ link }}", "the placeholder `link` has no value"),
        ("{{ code }}", "does not say who writes"),
    ] {
        only(&Folder::new().write("../templates/messages/code.de.txt", text).settings(), "", expected);
    }
    let problems = Folder::new().write("../templates/messages/confirm.de.txt", "{{ brand }}: {{ code }}").settings();
    only(&problems, "", "the placeholder `code` has no value");
}

#[test]
fn all_that_is_wrong_in_a_campaign_is_named_at_once() {
    let problems = Folder::new()
        .edit(CAMPAIGN, "dormant_after =", "dormant_afer =")
        .edit(CAMPAIGN, "[\"IT\", \"PL\", \"ES\"]", "[\"IT\", \"XX\"]")
        .edit(CAMPAIGN, "2026-12-01T09:30", "2026-03-29T02:30")
        .edit(CAMPAIGN, "deadline =", "dead_line =")
        .edit(CAMPAIGN, "rate = \"50/s\"", "rate = 50\nmax_cost = \"400\"\nstop_if = { stops = \"5 %\", failed = \"20\" }")
        .edit(CAMPAIGN, "sender = \"ACME\"", "sender = \"ACMEE\"")
        .edit(CAMPAIGN, "\"24 months\"", "\"6 months\"")
        .campaign();
    let begin = |text: &str| problems.iter().any(|p| p.starts_with("campaigns/rinnovo-consensi.toml:") && p.contains(text));
    for expected in [
        ": audience.dormant_afer: there is no such key; remedy: did you mean `dormant_after`?",
        ": audience.countries: XX has no country pack",
        ": schedule.start: 2026-03-29T02:30 does not exist in Europe/Rome",
        ": schedule.deadline: is missing",
        ": schedule.dead_line: there is no such key; remedy: did you mean `deadline`?",
        ": ask.sms.sender: permesso.toml has no sender `ACMEE`; remedy: did you mean `ACME`?",
        ": limits.rate: the value is of the wrong type; remedy: write text in quotes",
        ": limits.max_cost: `400` is no amount of money; remedy: write it with a point",
        ": limits.stop_if.failed: `20` is no share; remedy: write a percentage",
        ": limits.cap: 6 months is too short",
    ] {
        assert!(begin(expected), "{expected} is not in {problems:#?}");
    }
    assert_eq!(problems.len(), 10, "{problems:#?}");
}

#[test]
fn a_budget_needs_every_price_and_one_currency() {
    let budget = |folder: Folder| folder.edit(CAMPAIGN, "# max_cost = \"400 EUR\"", "max_cost = \"400 EUR\"");
    assert_eq!(budget(Folder::new()).campaign(), Vec::<String>::new());
    let campaign = budget(Folder::new()).load().unwrap().campaign("rinnovo-consensi").unwrap();
    assert_eq!(campaign.price("mock", Channel::Sms, "IT").unwrap().micros, 52_000);
    assert_eq!(campaign.prices.len(), 3, "those of its gateway, channel and countries alone");

    let poland = "country = \"PL\"\nchannel = \"sms\"\nprice = \"0.0230 EUR\"";
    let without = |folder: Folder| folder.edit("prices.toml", poland, &poland.replace("PL", "CZ"));
    only(
        &budget(without(Folder::new())).campaign(),
        CAMPAIGN,
        "limits.max_cost: the price of sms to PL by gateway mock is not known",
    );
    assert_eq!(without(Folder::new()).campaign(), Vec::<String>::new(), "without a budget a price may be unknown");

    let zloty = |folder: Folder| folder.edit("prices.toml", poland, &poland.replace("0.0230 EUR", "0.1 PLN"));
    only(
        &budget(zloty(Folder::new())).campaign(),
        CAMPAIGN,
        "limits.max_cost: 400.00 EUR is the budget, but sms to PL costs 0.10 PLN",
    );
    only(
        &zloty(Folder::new()).campaign(),
        CAMPAIGN,
        "audience.countries: one campaign has one currency, but IT costs 0.052 EUR and PL 0.10 PLN",
    );
}

#[test]
fn a_price_that_cannot_be_read_is_named() {
    let first = "price = \"0.0520 EUR\"";
    for (from, to, expected) in [
        (first, "price = 0.0520", "price.price: the value is of the wrong type; remedy: write text in quotes"),
        (first, "price = \"0,0520 EUR\"", "price.price: `0,0520 EUR` is no amount of money"),
        (first, "price = \"0.00000001 EUR\"", "at most six decimals"),
        (first, "", "price.price: is missing"),
        (
            "gateway = \"mock\"",
            "gateway = \"mocks\"",
            "price.gateway: permesso.toml has no gateway `mocks`; remedy: write one of: mock",
        ),
        ("country = \"PL\"", "country = \"IT\"", "price.price: there is another price of mock for sms to IT"),
        ("country = \"IT\"", "country = \"Italy\"", "price.country: `Italy` is no ISO 3166 code; remedy: write IT"),
        ("channel = \"sms\"", "channel = \"mail\"", "price.channel: `mail` is no channel to send on"),
        ("channel = \"sms\"", "chanel = \"sms\"", "price.chanel: there is no such key; remedy: did you mean `channel`?"),
    ] {
        only(&Folder::new().edit("prices.toml", from, to).settings(), "prices.toml:", expected);
    }
}

#[test]
fn a_preview_names_what_forces_ucs2_what_to_write_and_what_that_saves() {
    let text = "{{ brand }}: perché hai lasciato il tuo numero, un’idea… Possiamo mandarti promozioni? Costa 0 [ok]\u{a0}😀 я STOP al {{ reply_number }} {{ link }}";
    let folder = Folder::new().write("../templates/messages/repermission.it.txt", text);
    let config = folder.load().unwrap();
    let campaign = config.campaign("rinnovo-consensi").unwrap();
    let all = config.preview(&campaign).unwrap();
    let ask = all.iter().find(|s| s.template == "repermission" && s.locale == "it").unwrap();
    assert_eq!((ask.sender.as_str(), ask.kinds.as_slice()), ("ACME", ["ask".to_owned(), "reminder".to_owned()].as_slice()));
    let sms = ask.sms.as_ref().unwrap();
    assert_eq!((sms.size.encoding, sms.size.parts), ("UCS-2", 3));
    let forcing: Vec<_> = sms.forcing.iter().map(|f| (f.at, f.code_point.as_str(), f.remedy())).collect();
    assert_eq!(
        forcing,
        [
            (44, "U+2019", "write `'`".to_owned()),
            (49, "U+2026", "write `...`".to_owned()),
            (93, "U+00A0", "write a plain space".to_owned()),
            (94, "U+1F600", "leave it out".to_owned()),
            (96, "U+044F", "GSM-7 has no such letter: say it in Latin letters".to_owned()),
        ]
    );
    assert_eq!(sms.doubled, ['[', ']']);
    // What cannot be rewritten still forces UCS-2, so the plain text is no cheaper.
    let plain = sms.plain.as_ref().unwrap();
    assert!(plain.text.contains("un'idea... Possiamo") && plain.size.encoding == "UCS-2", "{plain:?}");
    assert_eq!(ask.cost["IT"].to_string(), "0.156 EUR");
    // Answers come from the number that takes them.
    assert_eq!(all.iter().find(|s| s.template == "help").unwrap().sender, "+393001234567");

    let folder = Folder::new().write("../templates/messages/repermission.it.txt", &text.replace(" я", ""));
    let config = folder.load().unwrap();
    let all = config.preview(&config.campaign("rinnovo-consensi").unwrap()).unwrap();
    let plain = all.iter().find(|s| s.locale == "it").unwrap().sms.as_ref().unwrap().plain.clone().unwrap();
    assert_eq!((plain.size.encoding, plain.size.parts, plain.cost["IT"].to_string().as_str()), ("GSM-7", 2, "0.104 EUR"));
}

#[test]
fn a_problem_names_its_line() {
    let text = std::fs::read_to_string(Path::new(SHIPPED).join(CAMPAIGN)).unwrap();
    let line = 1 + text.lines().position(|line| line.starts_with("deadline")).unwrap();
    let problems = Folder::new().edit(CAMPAIGN, "2026-12-20T20:00", "2026-11-20T20:00").campaign();
    assert!(problems[0].starts_with(&format!("campaigns/rinnovo-consensi.toml:{line}: schedule.deadline: ")), "{problems:#?}");
}

#[test]
fn what_this_version_cannot_do_is_refused_and_not_ignored() {
    let folder = Folder::new().edit(CAMPAIGN, "hours = ", "repeat = \"weekly\"\nhours = ");
    only(&folder.campaign(), CAMPAIGN, "schedule.repeat: `weekly` is no repetition");
}

#[test]
fn channels_are_tried_in_the_order_they_are_written() {
    let config = Config::load(Path::new(SHIPPED)).unwrap();
    let campaign = config.campaign("whatsapp-first").unwrap();
    assert_eq!(campaign.asks.iter().map(|a| a.channel).collect::<Vec<_>>(), [Channel::WhatsApp, Channel::Sms]);
    assert!(campaign.asks[0].has_buttons() && !campaign.asks[1].has_buttons());
    assert_eq!(campaign.repeat_at, chrono::NaiveTime::from_hms_opt(8, 0, 0));
    assert_eq!(campaign.limits.stop_if, Some(StopIf { stops: Some(0.05), failed: Some(0.2), after: 100 }));
    let problems = Folder::new().write("../templates/messages/buttons.it.txt", "Sì\nNo\n").settings();
    only(&problems, "", "buttons.it: the text has 2 lines, not four");
}

#[test]
fn a_reply_is_never_asked_of_a_sender_that_cannot_be_replied_to() {
    let folder = Folder::new().edit(CAMPAIGN, "mode = \"link_reply\"", "mode = \"reply\"").edit(
        CAMPAIGN,
        "template = \"repermission\"",
        "template = \"repermission_reply\"",
    );
    only(&folder.campaign(), CAMPAIGN, "ask.sms.mode: nobody can reply to `ACME`");
    let problems = Folder::new().edit("permesso.toml", "reply_number = \"+393001234567\"", "").campaign();
    assert!(problems.iter().any(|p| p.contains("`ACME` has no number to reply to")), "{problems:#?}");
    let registered = "{ country = \"IT\", state = \"registered\", since = \"2026-05-04\", reference = \"demo\" },";
    for (to, why) in [
        ("", "and `ACME` is not; remedy: register it"),
        (
            "{ country = \"IT\", state = \"pending\", since = \"2026-11-20\" },",
            "and `ACME` is only applied for, since 2026-11-20; remedy: wait",
        ),
        (
            "{ country = \"IT\", state = \"registered\", since = \"2026-12-02\" },",
            "and `ACME` is registered only from 2026-12-02 on",
        ),
    ] {
        let folder = Folder::new().edit("permesso.toml", registered, to);
        only(&folder.campaign(), CAMPAIGN, &format!("IT takes only registered sender names, {why}"));
    }
    // The short form, and a name of another spelling.
    let folder =
        Folder::new().edit("permesso.toml", registered, "").edit("permesso.toml", "rate = \"100/s\"", "registered = [\"IT\"]");
    assert_eq!(folder.campaign(), Vec::<String>::new());
    let twice = Folder::new().edit("permesso.toml", "rate = \"100/s\"", "registered = [\"IT\"]");
    only(&twice.settings(), "permesso.toml:", "sender.registrations.country: IT is named twice");
    let other = Folder::new().edit(
        "permesso.toml",
        "# The number that takes answers. A",
        "[[sender]]\nid = \"Acme\"\ngateway = \"mock\"\nreply_number = \"+393001234567\"\n# The number that takes answers. A",
    );
    let problems = other.edit(CAMPAIGN, "sender = \"ACME\"", "sender = \"Acme\"").campaign();
    assert!(problems.iter().any(|p| p.contains("IT takes only registered sender names, and `Acme` is not")), "{problems:#?}");
}

#[test]
fn an_ask_says_who_why_what_where_and_how_to_stop_and_offers_nothing() {
    let lint = |text: &str| Folder::new().write("../templates/messages/repermission.it.txt", text).campaign();
    let all = "{{ brand }}: hai lasciato il tuo numero. Possiamo mandarti promozioni? STOP al {{ reply_number }}. {{ link }}";
    assert_eq!(lint(all), Vec::<String>::new());
    for (from, to, expected) in [
        ("{{ brand }}: ", "", "does not say who writes"),
        ("hai lasciato il tuo numero. ", "", "does not say why we write"),
        ("promozioni", "messaggi", "does not name the purpose promotions"),
        ("{{ link }}", "", "does not name the page"),
        ("STOP al", "Scrivi al", "has no stop route"),
        ("{{ reply_number }}", "numero", "does not say which number takes answers"),
        ("promozioni?", "promozioni con lo sconto?", "`sconto` reads as an offer"),
        ("promozioni?", "promozioni al 20%?", "`%` reads as an offer"),
        ("promozioni?", "promozioni a 9,90?", "`9,90` reads as an offer"),
        ("promozioni?", "promozioni da 5 euro?", "`euro` reads as an offer"),
        (
            "promozioni?",
            "promozioni con sconti, gratis, al 20% e a 9,90, senza sconti?",
            "`%`, `sconti`, `gratis` and `9,90` read as an offer or a price; remedy: take them out",
        ),
        ("promozioni?", "promozioni da 5euro?", "`euro` reads as an offer"),
        ("promozioni?", "promozioni con estrazione?", "`estrazione` reads as an offer"),
        ("promozioni?", "promozioni, 2x1 in sauna?", "`2x1` reads as an offer"),
        ("promozioni?", "promozioni, 3 per 2?", "`3 per 2` reads as an offer"),
        ("promozioni?", "promozioni, -50.", "`-50` reads as an offer"),
        ("promozioni?", "promozioni e ingresso libero?", "`ingresso libero` reads as an offer"),
        ("promozioni?", "promozioni? Se non rispondi, accetti.", "`Se non rispondi, accetti` takes silence for a yes"),
        ("promozioni?", "promozioni? In assenza di risposta continueremo a scriverti.", "takes silence for a yes"),
        ("{{ link }}", "bit.ly/x {{ link }}", "`bit.ly` is a public link shortener"),
        ("{{ brand }}", "{{ brand }} {{ name }}", "the placeholder `name` does not exist"),
        ("{{ link }}", "{{ link }} {{ code }}", "the placeholder `code` has no value"),
        ("{{ link }}", "{{ link", "not well formed"),
    ] {
        let problems = lint(&all.replace(from, to));
        assert_eq!(problems.len(), 1, "{from} -> {to}: {problems:#?}");
        assert!(problems[0].contains(expected) && problems[0].contains("repermission.it"), "{problems:#?}");
    }
    // Hours, days, years, numbers and ranges are none.
    for fine in [
        "promozioni 24x7?",
        "promozioni, 4x4?",
        "promozioni, anche 2 volte per 1 anno?",
        "promozioni (lun-ven 9-18)?",
        "promozioni, ore 9 - 18?",
        "promozioni, ore 09 -18?",
        "promozioni dal 01-12-2026?",
        "promozioni, tel. 02-50.30?",
        "promozioni, tel. (02) -50 30 20?",
        "promozioni del Covid-19?",
        "promozioni - 24 ore al giorno?",
        "promozioni? Ingresso dal libero accesso.",
    ] {
        assert_eq!(lint(&all.replace("promozioni?", fine)), Vec::<String>::new(), "{fine}");
    }
    for (locale, offer, fine) in [
        ("it", "Entrata libera.", "Libera entrata."),
        ("en", "Free entry.", "Entry."),
        ("pl", "Wstęp wolny.", "Wolny termin."),
        ("de", "Eintritt frei.", "Eintritt Freitag."),
        ("fr", "Entrée libre.", "Entrée."),
        ("es", "Entrada libre.", "Entrada."),
    ] {
        let file = format!("templates/messages/repermission.{locale}.txt");
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)).unwrap();
        let with = |more: &str| {
            let text = text.replace("{{ link }}", &format!("{more} {{{{ link }}}}"));
            Folder::new().write(&format!("../{file}"), &text).campaign()
        };
        assert!(with(offer).iter().any(|p| p.contains("as an offer or a price")), "{offer}");
        assert!(!with(fine).iter().any(|p| p.contains("offer")), "{fine}");
    }
    let problems = Folder::new().write("../templates/messages/repermission.pt.txt", all).campaign();
    assert!(problems[0].contains("language whose words the check does not know"), "{problems:#?}");
}

#[test]
fn silence_is_never_a_yes_in_any_language() {
    for (locale, refused, fine) in [
        ("it", "Se non rispondi continueremo a scriverti.", "Se non rispondi, non continueremo a scriverti."),
        ("it", "Se non rispondi sei iscritto.", "Se non rispondi non ti scriviamo più."),
        ("it", "Chi non risponde accetta.", "Chi non risponde non riceve nulla."),
        ("en", "If you don’t reply we will assume you agree.", "If you don’t reply we will not continue."),
        ("en", "Unless you reply STOP, we keep writing.", "Unless you reply, nothing is accepted."),
        ("pl", "Brak odpowiedzi oznacza zgode.", "Brak odpowiedzi oznacza brak zgody."),
        ("de", "Wenn Sie nicht antworten, gilt das als Einwilligung.", "Wenn Sie nicht antworten, gilt das nicht als Ja."),
        ("fr", "Sans réponse de votre part, nous continuerons.", "Sans réponse, nous ne continuerons pas."),
        ("es", "Si no respondes, entenderemos que aceptas.", "Si no respondes, no entenderemos nada."),
    ] {
        let file = format!("templates/messages/repermission.{locale}.txt");
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)).unwrap();
        let lint = |more: &str| {
            Folder::new().write(&format!("../{file}"), &text.replace("{{ link }}", &format!("{more} {{{{ link }}}}"))).campaign()
        };
        let problems = lint(refused);
        assert!(problems.iter().any(|p| p.contains("takes silence for a yes")), "{refused}: {problems:#?}");
        assert!(!lint(fine).iter().any(|p| p.contains("silence")), "{fine}");
    }
}

#[test]
fn what_could_be_better_is_a_warning_and_stops_nothing() {
    let all = "{{ brand }}: hai lasciato il tuo numero. Possiamo mandarti promozioni? STOP al {{ reply_number }}. {{ link }}";
    let warnings = |text: &str| {
        let folder = Folder::new().write("../templates/messages/repermission.it.txt", text);
        let config = folder.load().unwrap();
        let campaign = config.campaign("rinnovo-consensi").unwrap_or_else(|problems| panic!("{problems}"));
        folder.shown(config.warnings(&campaign))
    };
    assert_eq!(warnings(all), Vec::<String>::new());
    for (from, to, expected) in [
        ("{{ brand }}: hai", "Ciao da {{ brand }}: hai", "does not begin with who writes"),
        ("{{ link }}", "{{ link }} Grazie", "the link is not the last word"),
        ("{{ link }}", "{{ link }}.", "a phone may take `.` into the link"),
        ("STOP al", "{{ link }} STOP al", "{{ link }} stands 2 times; remedy: keep one"),
        (" {{ link }}", " :{{ link }}", "`:` stands right before the link"),
        ("{{ link }}", "www.acme.example {{ link }}", "`www.acme.example` is a second link"),
        ("STOP al", "Ultima occasione! STOP al", "`ultima occasione` presses the reader"),
        (
            "il tuo numero",
            "un’idea",
            "UCS-2 fills 2 parts; written plainly it is 1 in GSM-7; remedy: `’` (U+2019) at character 22: write `'`",
        ),
    ] {
        let found = warnings(&all.replace(from, to));
        assert_eq!(found.len(), 1, "{from} -> {to}: {found:#?}");
        assert!(found[0].contains(expected) && found[0].contains("repermission.it.txt:1: repermission.it"), "{found:#?}");
    }
}

#[test]
fn settings_and_campaigns_are_checked_in_one_go() {
    let shown = |folder: &Folder| folder.shown(Config::check_all(&folder.dir()).err().map(|p| p.0).unwrap_or_default());
    let folder = Folder::new().edit("permesso.toml", "pending_days = 7", "pending_days = 90").edit(
        CAMPAIGN,
        "\"24 months\"",
        "\"6 months\"",
    );
    let found = shown(&folder);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("limits.cap") && found[1].contains("pending_days"), "{found:#?}");
    // Nor does a value that cannot be read at all, a text that cannot be sent or a phrase that contradicts another hide a campaign's.
    let short_cap = || Folder::new().edit(CAMPAIGN, "\"24 months\"", "\"6 months\"");
    let help = "{{ brand }} ".repeat(80);
    for (folder, expected) in [
        (short_cap().edit("permesso.toml", "id = \"default\"", "id = \"De Fault\""), "controller.id: "),
        (short_cap().edit("permesso.toml", "#1f4e79", "#ffff00"), "controller.brand_color: "),
        (short_cap().edit("permesso.toml", "public_url = \"", "public_url = \"ftp"), "public_url: "),
        (short_cap().edit("permesso.toml", "public_listen = \"", "public_listen = \"at "), "public_listen: "),
        (short_cap().edit("permesso.toml", "silent = \"24 months\"", "silent = \"for ever\""), "retention.silent: "),
        (short_cap().write("../templates/messages/help.it.txt", &help), "help.it: the text fills "),
        (short_cap().edit("replies/it.toml", "yes = [\n", "yes = [\n  \"annulla\",\n"), "replies/it.toml"),
        (short_cap().write("../templates/messages/notice.it.txt", "# A\n{nobody}"), "notice.it.txt:2: the placeholder {nobody}"),
    ] {
        for found in [shown(&folder), folder.shown(Config::check_campaign(&folder.dir(), "rinnovo-consensi").unwrap_err().0)] {
            let told = |what: &str| found.iter().filter(|problem| problem.contains(what)).count();
            assert!(told("limits.cap") == 1, "{expected}: {found:#?}");
        }
        let found = shown(&folder);
        assert!(found.len() == 2 && found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:#?}");
    }
    // A pack that cannot be read would make every campaign look wrong.
    let folder = Folder::new().edit("countries/it.toml", "zones = [", "zone = [").edit(CAMPAIGN, "\"24 months\"", "\"6 months\"");
    let found = shown(&folder);
    assert!(found[0].starts_with("countries/it.toml") && !found.iter().any(|p| p.starts_with(CAMPAIGN)), "{found:#?}");
}

#[test]
fn a_text_that_is_too_long_names_the_character_that_makes_it_so() {
    let all = "{{ brand }}: hai lasciato il tuo numero. Possiamo mandarti promozioni? STOP al {{ reply_number }}. {{ link }}";
    let lint = |text: String| Folder::new().write("../templates/messages/repermission.it.txt", &text).campaign();
    only(&lint(format!("{all} {}", "ancora ".repeat(30))), "", "fills 3 SMS parts");
    let problems = lint(format!("{} È {all}", "bene ".repeat(15)));
    only(&problems, "", "`È` at character 77 forces UCS-2");
    assert!(problems[0].contains("without accents it fills 2 parts"), "{problems:#?}");
}

#[test]
fn a_logo_that_cannot_be_shown_names_file_line_key_and_remedy() {
    let line = std::fs::read_to_string(Path::new(SHIPPED).join("permesso.toml"))
        .unwrap()
        .lines()
        .position(|line| line == "# logo = \"logo.svg\"")
        .expect("the example")
        + 1;
    let folder = || Folder::new().edit("permesso.toml", "# logo = \"logo.svg\"", "logo = \"logo.svg\"");
    let at = format!("permesso.toml:{line}: controller.logo: logo.svg ");
    let says = |folder: Folder, what: &str, remedy: &str| {
        let problems = folder.settings();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems[0].starts_with(&format!("{at}{what}")) && problems[0].contains(remedy), "{problems:#?}");
    };
    says(folder(), "cannot be read: No such file", "name a file beside permesso.toml");
    says(folder().write("logo.svg", "GIF89a"), "is neither SVG nor PNG nor WebP", "save it as one of these");
    let large = format!("<svg>{}</svg>", "x".repeat(9_990));
    says(folder().write("logo.svg", &large), "has 10001 bytes", "10000 bytes at most");
    let whole = folder().write("logo.svg", &large[1..]);
    says(whole, "is neither SVG", "save it");
    let fits = folder().write("logo.svg", &format!("<svg>{}</svg>", "x".repeat(9_989)));
    assert_eq!(fits.load().expect("sound").controller.logo.expect("a logo").kind, "image/svg+xml");
}

#[test]
fn all_that_is_wrong_in_the_settings_is_named_at_once() {
    let problems = Folder::new()
        .edit("permesso.toml", "database = \"sqlite:permesso.db\"", "database = \"mysql://x\"")
        .edit("permesso.toml", "brand_color = \"#1f4e79\"", "brand_color = \"#ffcc00\"")
        .edit("permesso.toml", "operator_listen = \"127.0.0.1:8081\"", "operator_listen = \"0.0.0.0:8081\"")
        .edit("permesso.toml", "driver = \"mock\"", "driver = \"twillio\"")
        .edit("permesso.toml", "id = \"ACME\"", "id = \"1ACME\"")
        .edit("permesso.toml", "pending_days = 7", "pending_days = 90")
        .edit("permesso.toml", "notice_version = \"2026-11\"", "notice_versio = \"2026-11\"")
        .edit("permesso.toml", "approver = \"approver\"", "approver = \"number\"")
        .edit("permesso.toml", "privacy_contact = \"privacy@acme.example\"", "privacy_contact = \"the office\"")
        .edit("permesso.toml", "storage = \"Milano, Italia (UE)\"", "storage = \" \"")
        .edit("countries/it.toml", "Europe/Rome", "Europe/Roma")
        .edit("replies/pl.toml", "locale", "locales")
        .settings();
    for expected in [
        ": database: the database is neither SQLite nor Postgres",
        ": controller.brand_color: white text on #ffcc00 has a contrast of 1.5:1",
        ": operator_listen: any machine",
        ": gateway.driver: there is no driver `twillio`; remedy: write one of: mock, twilio",
        ": sender.id: `1ACME` cannot be a sender name",
        ": pending_days: 90 is out of range; remedy: write 1 to 30",
        ": controller.notice_version: is missing",
        ": controller.notice_versio: there is no such key; remedy: did you mean `notice_version`?",
        ": controller.privacy_contact: `the office` is neither an e-mail address nor a web address",
        ": controller.storage: is empty; remedy: say where the database is",
        ": import.columns.approver: the column `number` is already number",
        "countries/it.toml:",
        "replies/pl.toml:",
    ] {
        assert!(problems.iter().any(|p| p.contains(expected)), "{expected} is not in {problems:#?}");
    }
}

#[test]
fn a_kind_of_list_has_headers_of_its_own_beside_the_common_ones() {
    let with = |sections: &str| {
        let text = std::fs::read_to_string(Path::new(SHIPPED).join("permesso.toml")).unwrap();
        let text = text.replace("\nnumber = \"number\"", "\nnumber = \"Telefono\"");
        Folder::new().write("permesso.toml", &format!("{text}\n{sections}"))
    };
    let import = with("[import.suppressions.columns]\nexternal_id = \"Codice\"").load().unwrap().import;
    let read = |list, field| (import.of(list).header(field).to_owned(), import.of(list).is_promised(field));
    assert_eq!(read(List::Contacts, "number"), ("Telefono".into(), true));
    assert_eq!(read(List::Suppressions, "number"), ("Telefono".into(), false), "the common section is about contacts");
    assert_eq!(read(List::Suppressions, "external_id"), ("Codice".into(), true));
    assert_eq!(read(List::Contacts, "external_id"), ("external_id".into(), false));

    only(
        &with("[import.suppressions.columns]\nkind = \"Tipo\"").settings(),
        "permesso.toml:",
        "import.suppressions.columns.kind: there is no such key; remedy: remove it; known here: number, country, external_id",
    );
    only(
        &with("[import.screening.columns]\nregistered_since = \"telefono\"").settings(),
        "permesso.toml:",
        "import.screening.columns.registered_since: the column `telefono` is already number",
    );
    only(&with("[import.suppression.columns]\nnumber = \"x\"").settings(), "permesso.toml:", "did you mean `suppressions`?");
}

#[test]
fn phrases_that_contradict_one_another_are_errors() {
    let folder = Folder::new()
        // A stop word among the yeses, a no-word in a yes, a stop that a misleading phrase would hide, and a rule for everything.
        .edit("replies/it.toml", "yes = [\n", "yes = [\n  \"annulla\",\n  \"perché no\",\n")
        .edit("replies/en.toml", "misleading = [\n", "misleading = [\n  \"unsubscribe\",\n")
        .edit("replies/de.toml", "stop = [\n", "stop = [\n  \"ja gerne\",\n");
    let unheard = folder.load().expect("each set can be read").check_phrases().expect_err("nobody hears by them").0;
    assert!(unheard.iter().any(|p| p.to_string().contains("\"perché no\" is read as unclear")), "{unheard:#?}");
    let folder = folder
        .write("replies/own.toml", "locale = \"it\"\n[[rule]]\nsays = \"anything\"\nmeans = \"stop\"\nwords = [[\"me*\"]]\n");
    let all = folder.shown(Config::check_all(&folder.dir()).expect_err("refused").0);
    for (file, expected) in [
        ("replies/it.toml:", "yes: \"annulla\" is read as stop: it says \"annulla\" (stop_alone in "),
        ("replies/it.toml:", "yes: \"perché no\" is read as unclear"),
        ("replies/en.toml:", "stop: \"unsubscribe\" is read as unclear"),
        ("replies/de.toml:", "yes: \"ja gerne\" is read as stop: it says \"ja gerne\" (stop in "),
        ("replies/own.toml:3", "rule.words: `me*` stands for too many words; remedy: name whole words"),
    ] {
        let found = all.iter().find(|p| p.starts_with(file) && p.contains(expected));
        let line = found.and_then(|p| p.split(':').nth(1)?.parse::<usize>().ok());
        assert!(line.is_some_and(|line| line > 1), "{expected} is not in {all:#?}");
    }
    // No rule can mean a yes.
    let yes = "locale = \"it\"\n[[rule]]\nsays = \"x\"\nmeans = \"yes\"\nwords = [[\"certo\"]]\n";
    let problems = Folder::new().write("replies/own.toml", yes).settings();
    assert!(problems.iter().any(|p| p.contains("replies/own.toml:4: unknown variant `yes`")), "{problems:#?}");
}

#[test]
fn fiction_and_plain_http_are_only_for_the_mock_and_secrets_come_from_elsewhere() {
    let folder = Folder::new()
        .edit("permesso.toml", "token = \"mock-token\"", "token_env = \"TOKEN\"")
        .edit("permesso.toml", "webhook_secret = \"mock-webhook-secret\"", "webhook_secret_file = \"secret\"")
        .write("secret", "s3cret\n");
    let env = |name: &str| match name {
        "TOKEN" => Some("t0ken".to_owned()),
        "PERMESSO_DATABASE" => Some("postgres://permesso@localhost/permesso".to_owned()),
        _ => None,
    };
    let config = Config::load_with(&folder.dir(), &env).unwrap();
    assert_eq!(["token", "webhook_secret"].map(|key| config.gateways[0].account.secret(key)), ["t0ken", "s3cret"]);
    assert_eq!(config.database, "postgres://permesso@localhost/permesso");
    only(&folder.settings(), "permesso.toml:", "gateway.token_env: the environment has no TOKEN");
    let problems = Folder::new().edit("permesso.toml", "driver = \"mock\"", "driver = \"twilio\"").settings();
    assert!(problems.iter().any(|p| p.contains("testers: the number is reserved for fiction")), "{problems:#?}");
    assert!(problems.iter().any(|p| p.contains("public_url: ")), "{problems:#?}");
    assert!(problems.iter().any(|p| p.contains("gateway.auth_token: is missing; remedy: write auth_token_env")), "{problems:#?}");
}

#[test]
fn the_dots_of_an_example_are_no_values() {
    let with = "driver = \"twilio\"\naccount_sid = \"AC…\"\nauth_token_env = \"TOKEN\"\n";
    let folder = Folder::new().edit("permesso.toml", "driver = \"mock\"\n", with);
    let folder = folder.edit("permesso.toml", "id = \"acme-wa\"\n", "id = \"acme-wa\"\naddress = \"+39…\"\n");
    let env = |name: &str| (name == "TOKEN").then(|| "0123...".to_owned());
    let problems = folder.shown(Config::load_with(&folder.dir(), &env).expect_err("refused").0);
    let text = std::fs::read_to_string(folder.dir().join("permesso.toml")).unwrap();
    for (key, place) in
        [("gateway.account_sid", "account_sid = "), ("gateway.auth_token_env", "auth_token_env"), ("sender.address", "+39…")]
    {
        let line = text.lines().position(|line| line.contains(place)).unwrap() + 1;
        let wanted = format!("permesso.toml:{line}: {key}: is a stand-in with dots; remedy: write the whole value");
        assert!(problems.iter().any(|problem| problem.starts_with(&wanted)), "{wanted} is not in {problems:#?}");
    }
    assert!(!problems.concat().contains("0123..."), "a secret is not shown");
}

#[test]
fn a_key_nobody_knows_is_told_the_known_ones_once_each() {
    let problems = Folder::new().edit("permesso.toml", "rate = 200.0", "rate = 200.0\nxyzzyxyzzyxyzzy = 1").settings();
    let known = problems.iter().find_map(|problem| problem.split_once("known here: ")).expect("the known ones").1;
    let mut words: Vec<&str> = known.split(", ").collect();
    let all = words.len();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), all, "{known}");
}

#[test]
fn a_session_to_a_carrier_may_run_in_the_clear_inside_a_vpn() {
    let about_url = |url: &str| -> Vec<String> {
        let folder = Folder::new().edit("permesso.toml", "driver = \"mock\"", "driver = \"smpp\"");
        let problems = folder.edit("permesso.toml", "http://127.0.0.1:8082", url).settings();
        problems.into_iter().filter(|problem| problem.contains("gateway.url")).collect()
    };
    for url in ["smpps://smsc.carrier.example:3550", "smpp://10.8.0.1:2775", "smpp://[fd00::1]"] {
        assert_eq!(about_url(url), Vec::<String>::new(), "{url}");
    }
    for url in ["https://smsc.carrier.example", "smpp://acme:secret@10.8.0.1", "10.8.0.1:2775"] {
        only(&about_url(url), "permesso.toml:", "write smpps://… (smpp:// only inside a VPN), without password and #");
    }
}

#[test]
fn hours_that_never_meet_the_countrys_are_an_error() {
    let problems = Folder::new().edit(CAMPAIGN, "hours = \"country\"", "hours = \"Su 10:00-18:00\"").campaign();
    let italy = "schedule.hours: no hour in 60 days is both within these and within those of IT";
    assert!(problems.iter().any(|problem| problem.contains(italy) && problem.contains("remedy: ")), "{problems:#?}");
}

#[test]
fn every_syntax_error_is_named_with_its_line() {
    let problems = Folder::new().write("permesso.toml", "database = \n\nkey_file = 'x\n").settings();
    assert!(problems.iter().any(|p| p.starts_with("permesso.toml:1: ")), "{problems:#?}");
    assert!(problems.iter().any(|p| p.starts_with("permesso.toml:3: ")), "{problems:#?}");
}

#[test]
fn a_bracket_that_is_missing_is_one_error_and_the_rest_of_the_folder_is_checked_too() {
    let shown = |folder: &Folder| folder.shown(Config::check_all(&folder.dir()).err().map(|p| p.0).unwrap_or_default());
    let unclosed = || Folder::new().edit("permesso.toml", "testers = [\"+393001234500\"]", "testers = [\"+393001234500\"");
    let line = std::fs::read_to_string(Path::new(SHIPPED).join("permesso.toml")).unwrap();
    let line = line.lines().position(|l| l.starts_with("testers")).unwrap() + 1;
    only(
        &shown(&unclosed()),
        &format!("permesso.toml:{line}: what begins here does not end before line "),
        "close a list with ]",
    );
    let unclosed_pack = Folder::new().edit("countries/it.toml", "zones = [\"Europe/Rome\"]", "zones = [\"Europe/Rome\"");
    only(&shown(&unclosed_pack), "countries/it.toml:", "close a list with ]");

    // What stands in other files does not follow from it; nor does a second mistake in the same one.
    let found = shown(
        &unclosed()
            .edit("permesso.toml", "rate = 200.0", "rate = ")
            .edit("countries/pl.toml", "Europe/Warsaw", "Europe/Warszawa")
            .edit("replies/de.toml", "locale", "locales")
            .edit(CAMPAIGN, "[audience]", "[audience"),
    );
    let begins =
        ["campaigns/rinnovo-consensi.toml:", "countries/pl.toml:", "permesso.toml:", "permesso.toml:", "replies/de.toml:"];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    assert!(found.iter().zip(begins).all(|(problem, begins)| problem.starts_with(begins)), "{found:#?}");
    // A key that stands twice is no list without its end.
    let twice = Folder::new().edit("permesso.toml", "pending_days = 7", "pending_days = 7\npending_days = 8").settings();
    only(&twice, "permesso.toml:", "duplicate key");
}

#[test]
fn a_campaign_name_cannot_leave_the_folder() {
    let config = Folder::new().load().unwrap();
    for name in ["../permesso", "a/b", "", ".", "Rinnovo", "x\0"] {
        let problems = config.campaign(name).unwrap_err();
        assert!(problems.to_string().contains(&format!("there is no campaign `{name}`")), "{name}: {problems}");
    }
}

#[test]
fn files_for_another_version_are_refused_and_files_without_one_are_the_first() {
    let version = |line: &str| {
        Folder::new().edit("permesso.toml", "config_version = 1\n", line).edit("permesso.toml", "database", "databse")
    };
    let newer = version("config_version = 2\n").settings();
    only(
        &newer,
        "permesso.toml:5: config_version: the files are written for a newer permesso",
        "remedy: run the permesso they were written for",
    );
    only(&version("config_version = 0\n").settings(), "permesso.toml:5: config_version: there is no version 0", "write 1");
    // The misspelt key is reported only where the form is known.
    only(&version("").settings(), "permesso.toml:", "did you mean `database`?");
}

const HOOK: &str = "\n[[webhook]]\nname = \"crm\"\nurl = \"https://crm.acme.example/hooks?key=1\"\nsecret = \"whsec_bmV3IHNlY3JldCBvZiB0aGUgY3JtIHdpdGggMzIgYnl0ZXM=\"\n";

/// The shipped settings with a webhook at their end.
fn with_hook(hook: &str) -> Folder {
    let shipped = std::fs::read_to_string(format!("{SHIPPED}/permesso.toml")).unwrap();
    Folder::new().write("permesso.toml", &format!("{shipped}{hook}"))
}

#[test]
fn a_webhook_has_an_address_and_a_secret_and_tells_everything_unless_told_otherwise() {
    let config = with_hook(HOOK).load().unwrap();
    let hook = &config.webhooks[0];
    assert_eq!((hook.name.as_str(), hook.keys.len(), hook.events.len(), hook.timeout_ms), ("crm", 1, 5, 15_000));
    assert!(!format!("{hook:?}").contains("key"), "address and secret are not shown");
    let quiet = with_hook(&format!("{HOOK}events = [\"consent.stopped\"]\n")).load().unwrap();
    assert_eq!(quiet.webhooks[0].events.len(), 1);
}

#[test]
fn a_webhook_that_cannot_work_is_refused_with_its_remedy() {
    let wrong = |from: &str, to: &str| {
        assert!(HOOK.contains(from), "{from}");
        with_hook(&HOOK.replace(from, to)).settings()
    };
    for address in
        ["ftp://crm.example", "https://user@crm.example/", "https://u:p@crm.example/", "https://crm.example/#a", "crm.example"]
    {
        only(
            &wrong("https://crm.acme.example/hooks?key=1", address),
            "permesso.toml:",
            "webhook.url: is no usable web address; remedy: write https://",
        );
    }
    only(&wrong("whsec_", ""), "permesso.toml:", "webhook.secret: is no secret of Standard Webhooks; remedy: write whsec_");
    only(&wrong("secret = ", "# "), "permesso.toml:", "webhook.secret: is missing; remedy: write secret_env");
    only(&wrong("name = \"crm\"", "name = \"C R M\""), "permesso.toml:", "webhook.name: `C R M` cannot be a name");
    only(&with_hook(&format!("{HOOK}{HOOK}")).settings(), "permesso.toml:", "there is another webhook `crm`");
    only(
        &with_hook(&format!("{HOOK}timeout_ms = 60000\n")).settings(),
        "permesso.toml:",
        "webhook.timeout_ms: 60000 is out of range",
    );
    only(&with_hook(&format!("{HOOK}evnts = []\n")).settings(), "permesso.toml:", "did you mean `events`?");
    only(&with_hook(&format!("{HOOK}events = []\n")).settings(), "permesso.toml:", "names nothing");
    only(
        &with_hook(&format!("{HOOK}events = [\"consent.given\"]\n")).settings(),
        "permesso.toml:",
        "there is no event `consent.given`",
    );
    let yes = format!("{HOOK}events = [\"consent.granted\", \"consent.stopped\"]\n");
    only(&with_hook(&yes).settings(), "permesso.toml:", "must hear of every no");
    let twice = format!("{HOOK}secret_previous = \"whsec_b2xk\"\n");
    only(&with_hook(&twice).settings(), "permesso.toml:", "webhook.secret_previous: is no secret");
    let http = HOOK.replace("https://crm.acme.example", "http://127.0.0.1:9");
    assert_eq!(with_hook(&http).settings(), Vec::<String>::new());
}

#[test]
fn one_mistake_makes_one_error() {
    // A mode that the sender cannot do would make every text seem wrong.
    let problems = Folder::new().edit(CAMPAIGN, "mode = \"link_reply\"", "mode = \"reply\"").campaign();
    only(
        &problems,
        "campaigns/rinnovo-consensi.toml:36: ask.sms.mode: nobody can reply to `ACME`",
        "name a sender that is a number",
    );
    let problems = Folder::new().edit(CAMPAIGN, "sender = \"ACME\"", "sender = \"acme-wa\"").campaign();
    only(&problems, "campaigns/rinnovo-consensi.toml:38: ask.sms.sender: `acme-wa` sends by whatsapp", "channel sms");
    // So would a gateway of which nothing is known.
    let unknown = |folder: Folder| folder.edit("permesso.toml", "driver = \"mock\"", "driver = \"twillio\"");
    let problems = unknown(Folder::new()).settings();
    only(&problems, "permesso.toml:", "gateway.driver: there is no driver `twillio`; remedy: write one of: mock, twilio");
    let all = |folder: Folder| folder.shown(Config::check_all(&folder.dir()).expect_err("refused").0);
    assert_eq!(all(unknown(Folder::new())).len(), 1);
    // So would texts without the name that each must say, and campaigns in a language that has no texts.
    for brand in ["", "  "] {
        let nameless = Folder::new().edit("permesso.toml", "brand = \"ACME\"", &format!("brand = \"{brand}\""));
        only(&all(nameless), "permesso.toml:", "controller.brand: is empty; remedy: write what people should read");
    }
    // What names no language is none, wherever one is named.
    let what = "`klingon` names no language";
    let pack = Folder::new().edit("countries/it.toml", "default_locale = \"it\"", "default_locale = \"klingon\"");
    only(&pack.settings(), "countries/it.toml:", &format!("default_locale: {what}; remedy: write its two letters, as in \"it\""));
    let phrases = Folder::new().edit("replies/it.toml", "locale = \"it\"", "locale = \"klingon\"");
    only(&phrases.settings(), "replies/it.toml:", &format!("locale: {what}"));
    let text = Folder::new().write("../templates/messages/help.klingon.txt", "{{ brand }}");
    only(&text.settings(), "", &format!("help.klingon.txt: {what}, and the name of a message text is NAME.LOCALE.txt"));
    // Nor is there a line that says nothing for want of words: a language of one's own writes numbers.
    let notice = |line: &str| {
        let folder = Folder::new().write("../templates/messages/notice.pt.txt", line);
        let config = folder.load().unwrap();
        config
            .notices()
            .map(|all| all.into_iter().find(|n| n.locale == "pt").unwrap().text)
            .map_err(|found| folder.shown(found.0))
    };
    assert_eq!(notice("{silent_days} dias").as_deref(), Ok("730 dias"));
    only(
        &notice("# A\n{silent}").unwrap_err(),
        "",
        "notice.pt.txt:2: there are no words for {silent} in `pt`; remedy: write the number",
    );
    let foreign = Folder::new().edit("permesso.toml", "default_locale = \"it\"", "default_locale = \"pt\"");
    only(&all(foreign), "permesso.toml:", "default_locale: there is no text confirm.pt.txt, buttons.pt.txt, code.pt.txt");
}

#[test]
fn a_name_that_is_not_there_is_answered_with_what_there_is() {
    let problems = Folder::new().edit(CAMPAIGN, "sender = \"ACME\"", "sender = \"Acme\"").campaign();
    only(
        &problems,
        CAMPAIGN,
        "permesso.toml has `ACME`, not `Acme`; networks and registries tell capitals from small letters; remedy: write \"ACME\"",
    );
    let problems = Folder::new().edit(CAMPAIGN, "sender = \"ACME\"", "sender = \"ACNE\"").campaign();
    only(
        &problems,
        CAMPAIGN,
        "did you mean `ACME`? there are ACME, ACMEinfo, +393001234567, +447700900123, acme-wa; or add a [[sender]]",
    );
    let folder = Folder::new().edit(CAMPAIGN, "template = \"repermission\"", "template = \"repermision\"");
    let problems = folder.campaign();
    only(&problems, CAMPAIGN, "there is no text repermision.it.txt; remedy: did you mean `repermission`?");
    let beside = folder.0.path().join("templates/messages");
    let remedy = format!(
        "there are repermission, repermission_code, repermission_reply, repermission_whatsapp; or add the file to {}",
        beside.display()
    );
    assert!(problems[0].ends_with(&remedy), "{problems:?}");
    let Err(problems) = folder.load().unwrap().campaign("renew-consent") else { panic!("there is none") };
    assert!(problems.to_string().contains("did you mean `renew-consents`?"), "{problems}");
    // A folder of texts is shown without the way in and out of the configuration's.
    std::fs::create_dir_all(&beside).unwrap();
    assert_eq!(folder.load().unwrap().templates, Some(beside));
}

#[test]
fn hours_that_cannot_be_read_are_answered_with_an_example() {
    let problems = Folder::new().edit(CAMPAIGN, "hours = \"country\"", "hours = \"9 to 20, weekdays\"").campaign();
    only(&problems, CAMPAIGN, "schedule.hours: `9 to 20, weekdays` cannot be read as opening hours; remedy: write \"country\"");
    let (_, example) = problems[0].split_once("as in \"").unwrap();
    let (example, _) = example.split_once('"').unwrap();
    let folder = Folder::new().edit(CAMPAIGN, "hours = \"country\"", &format!("hours = \"{example}\""));
    assert_eq!(folder.campaign(), Vec::<String>::new(), "the example serves");
}

#[test]
fn an_account_that_could_not_be_opened_is_named_at_its_key() {
    let smpp = |id: &str, password: &str| {
        let account = format!("driver = \"smpp\"\nsimulator = true\nsystem_id = \"{id}\"\npassword = \"{password}\"");
        Folder::new()
            .edit("permesso.toml", "driver = \"mock\"", &account)
            .edit("permesso.toml", "http://127.0.0.1:8082", "smpp://127.0.0.1:2775")
            .settings()
            .into_iter()
            .filter(|problem| problem.contains("longer than"))
            .collect::<Vec<_>>()
    };
    // Where a key is unknown, as the mock's are here, the rest of the account is not judged yet.
    assert_eq!(smpp("acme", "ninechars"), Vec::<String>::new());
    let account = |text: &str| {
        let folder = Folder::new();
        let file = std::fs::read_to_string(folder.dir().join("permesso.toml")).unwrap();
        let (before, rest) = file.split_once("[[gateway]]").unwrap();
        let (_, after) = rest.split_once("[[sender]]").unwrap();
        let senders = after.split("[[sender]]\nid = \"acme-wa\"").next().unwrap();
        let tail = after.split("[import.columns]").nth(1).unwrap();
        let text = format!("{before}[[gateway]]\nname = \"mock\"\n{text}\n[[sender]]{senders}\n[import.columns]{tail}");
        let line = |word: &str| text.lines().position(|line| line.starts_with(word)).map_or(0, |at| at + 1);
        (line("password"), line("system_id"), folder.write("secret", "ninechars\n").write("permesso.toml", &text).settings())
    };
    let smpp = |more: &str| {
        account(&format!("driver = \"smpp\"\nurl = \"smpp://127.0.0.1:2775\"\nsimulator = true\nrate = 200.0\n{more}"))
    };
    assert_eq!(smpp("system_id = \"acme\"\npassword = \"eightchr\"").2, Vec::<String>::new());
    let (line, _, problems) = smpp("system_id = \"acme\"\npassword_file = \"secret\"");
    let expected = format!(
        "permesso.toml:{line}: gateway.password_file: is longer than 8 plain characters; remedy: write it as the carrier gave it"
    );
    assert_eq!(problems, [expected]);
    let (_, line, problems) = smpp("system_id = \"sixteencharacter\"\npassword = \"x\"");
    only(&problems, &format!("permesso.toml:{line}: gateway.system_id: is longer than 15 plain characters"), "; remedy: ");
    let infobip = |url: &str| {
        let keys = "simulator = true\napi_key = \"x\"\ncallback_token = \"0123456789abcdef\"";
        account(&format!("driver = \"infobip\"\nurl = \"{url}\"\n{keys}")).2
    };
    assert_eq!(infobip("https://p9k3.api.infobip.com"), Vec::<String>::new());
    only(
        &infobip("https://XXXXX.api.infobip.com"),
        "permesso.toml:",
        "gateway.url: `https://XXXXX.api.infobip.com` is a stand-in",
    );
}

#[test]
fn a_text_in_another_encoding_is_one_error_with_its_line() {
    let folder = Folder::new();
    let texts = folder.dir().join("../templates/messages");
    std::fs::create_dir_all(&texts).unwrap();
    std::fs::write(texts.join("help.it.txt"), b"{{ brand }}: ciao\nperch\xe9 no, caff\xe8\n").unwrap();
    let problems = folder.settings();
    only(
        &problems,
        "",
        "help.it.txt:2: is not UTF-8, but probably windows-1252; remedy: save it as UTF-8, or `iconv -f windows-1252",
    );
    // Nor does a language of our own seem to lack it.
    let folder = folder.edit("permesso.toml", "default_locale = \"it\"", "default_locale = \"pt\"");
    assert_eq!(folder.settings(), problems);
    let folder = Folder::new();
    let text = std::fs::read(folder.dir().join(CAMPAIGN)).unwrap();
    std::fs::write(folder.dir().join(CAMPAIGN), [&b"# caff\xe8\n"[..], &text].concat()).unwrap();
    only(&folder.campaign(), &format!("{CAMPAIGN}:1: is not UTF-8, but probably windows-1252"), "");
}

#[test]
fn a_brand_that_no_text_can_carry_is_one_error() {
    let brand = |brand: &str| {
        let folder = Folder::new().edit("permesso.toml", "brand = \"ACME\"", &format!("brand = \"{brand}\""));
        folder.shown(Config::check_all(&folder.dir()).err().map(|problems| problems.0).unwrap_or_default())
    };
    let problems = brand("ACME 🎉");
    only(&problems, "permesso.toml:", "controller.brand: `🎉` at character 6 halves what an SMS holds (it forces UCS-2), so ");
    assert!(problems[0].contains("remedy: write it without, as in \"ACME\""), "{problems:#?}");
    only(&brand(&"ACME ".repeat(40)), "permesso.toml:", "controller.brand: is so long (199 characters) that ");
    assert_eq!(brand("ACME Italia"), Vec::<String>::new());
}

#[test]
fn a_change_of_provider_says_each_thing_once() {
    let folder = Folder::new().edit("permesso.toml", "name = \"mock\"", "name = \"other\"");
    let problems = folder.settings();
    let prices: Vec<_> = problems.iter().filter(|problem| problem.starts_with("prices.toml:")).collect();
    assert_eq!(prices.len(), 1, "{prices:#?}");
    assert!(
        prices[0].contains("permesso.toml has no gateway `mock`, and 12 prices of it stand here; remedy: write one of: other")
    );
    // A number that was refused is not missing, too.
    let folder = Folder::new().edit("permesso.toml", "reply_number = \"+393001234567\"", "reply_number = \"+39300\"");
    let problems = folder.shown(Config::check_all(&folder.dir()).err().map(|problems| problems.0).unwrap_or_default());
    only(&problems, "permesso.toml:", "sender.reply_number: ");
    // A number of fiction is well written: only another one helps.
    let problems = Folder::new().edit("permesso.toml", "driver = \"mock\"", "driver = \"twilio\"").settings();
    let tester = problems.iter().find(|problem| problem.contains(": testers: ")).unwrap();
    assert!(
        tester.ends_with("; remedy: write a real number: a colleague's to test with, the account's own to send from"),
        "{tester}"
    );
    let problems = Folder::new().edit(CAMPAIGN, "[\"IT\", \"PL\", \"ES\"]", "[\"IT\", \"UK\"]").campaign();
    only(&problems, "campaigns/rinnovo-consensi.toml:", "audience.countries: `UK` is no ISO 3166 code; remedy: write GB");
}

#[test]
fn a_notice_says_of_each_provider_who_runs_it_and_where() {
    let folder = Folder::new();
    let mut config = folder.load().expect("sound settings");
    let said = |config: &Config| config.notices().map(|all| all.into_iter().map(|n| n.text).collect::<Vec<_>>());
    let texts = said(&config).expect("a pretended gateway needs no region");
    assert_eq!(texts.len(), 6);
    for text in &texts {
        assert!(text.contains("ACME S.p.A., Via Esempio 1, 20100 Milano") && text.contains("Milano, Italia (UE)"), "{text}");
        assert!(text.contains("- Mock gateway") && text.contains("+393001234567") && !text.contains(['{', '}']), "{text}");
        assert_eq!(text.matches("\n# ").count() + 1, 8, "{text}");
    }
    config.gateways[0].driver = permesso::gateway::driver("infobip").expect("a driver");
    let problems = folder.shown(said(&config).expect_err("no region").0);
    only(&problems, "permesso.toml:", ": gateway.region: gateway mock says no region");
    config.gateways[0].region = Some("EU".into());
    config.gateways[0].processor = Some("Infobip Ltd".into());
    assert!(said(&config).expect("a notice").iter().all(|text| text.contains("- Infobip Ltd, EU\n")));
    // Whoever keeps what a webhook tells is one of them.
    let folder = with_hook(&format!("{HOOK}processor = \"CRM S.p.A.\"\n"));
    let problems = folder.shown(said(&folder.load().expect("sound settings")).expect_err("no region").0);
    only(&problems, "permesso.toml:", ": webhook.region: webhook crm says no region");
    let named = with_hook(&format!("{HOOK}processor = \"CRM S.p.A.\"\nregion = \"EU\"\n"));
    assert!(
        said(&named.load().expect("sound settings"))
            .expect("a notice")
            .iter()
            .all(|text| text.contains("\n- Mock gateway\n- CRM S.p.A., EU\n"))
    );
    let own = with_hook(HOOK);
    assert_eq!(said(&own.load().expect("sound settings")).expect("a notice"), texts, "the company's own system is nobody else");
    only(&with_hook(&format!("{HOOK}processor = \" \"\n")).settings(), "permesso.toml:", "webhook.processor: is empty");
}

#[test]
fn a_notice_names_the_purposes_and_channels_that_somebody_offers() {
    let italian = |folder: &Folder| {
        let all = folder.load().expect("sound settings").notices().expect("a notice");
        all.into_iter().find(|n| n.locale == "it").expect("one in Italian").text
    };
    let all = ["- Promozioni e offerte", "- Messaggi su misura", "- SMS", "- WhatsApp", "- Telefonata"];
    let named = |folder: &Folder| {
        let text = italian(folder);
        assert!(!text.contains(['{', '}']), "{text}");
        all.map(|line| text.contains(&format!("\n{line}")))
    };
    let folder = Folder::new();
    assert_eq!(named(&folder), [true, false, true, true, true]);
    // One campaign is enough, whatever else is wrong with it.
    let folder = folder.edit(CAMPAIGN, "purposes = [\"product_info\", \"promotions\"]", "purposes = [\"profiling\"]");
    assert_eq!(named(&folder), [true; 5]);
    let mut folder = folder.edit("forms/newsletter.toml", "channels = [\"sms\", \"whatsapp\"]", "channels = [\"sms\"]");
    for name in ["einwilligung", "renew-consents", "rinnovo-consensi", "whatsapp-first"] {
        folder = folder.edit(&format!("campaigns/{name}.toml"), "[\"sms\", \"whatsapp\", \"call\"]", "[\"sms\"]");
    }
    assert_eq!(named(&folder), [true, true, true, false, false]);
    // Nothing is offered yet: the text says all that can be.
    for folder_of in ["campaigns", "forms"] {
        std::fs::remove_dir_all(folder.dir().join(folder_of)).unwrap();
    }
    assert_eq!(named(&folder), [true; 5]);
}

#[test]
fn what_is_kept_longer_than_usual_says_why_and_nothing_longer_than_ten_years() {
    let with = |key: &str, usual: &str, time: &str| {
        Folder::new().edit("permesso.toml", &format!("{key} = \"{usual}\""), &format!("{key} = \"{time}\""))
    };
    for (key, usual, longer, full) in [
        ("product_info", "24 months", "25 months", "retention.consent.product_info"),
        ("promotions", "24 months", "3 years", "retention.consent.promotions"),
        ("profiling", "12 months", "13 months", "retention.consent.profiling"),
        ("silent", "24 months", "731 days", "retention.silent"),
        ("proof", "5 years", "1826 days", "retention.proof"),
    ] {
        let unsaid = format!(": {full}: is longer than the usual {usual}, and nothing says why; remedy: ");
        only(&with(key, usual, longer).settings(), "permesso.toml:", &unsaid);
        let said = |why: &str| {
            with(key, usual, longer).edit("permesso.toml", "[retention]\n", &format!("[retention]\njustification = \"{why}\"\n"))
        };
        only(&said(" ").settings(), "permesso.toml:", &unsaid);
        let why = said("beds last ten years").load().expect("sound settings").retention.justification;
        assert_eq!(why.as_deref(), Some("beds last ten years"));
        only(&with(key, usual, "11 years").settings(), "permesso.toml:", &format!(": {full}: 11 years is too long"));
    }
    // Nor are words kept longer than whoever wrote them.
    let replies = |time: &str| with("replies", "90 days", time);
    only(&replies("11 years").settings(), "permesso.toml:", ": retention.replies: 11 years is too long");
    let longer = ": retention.replies: is longer than retention.silent; remedy: ";
    only(&replies("731 days").settings(), "permesso.toml:", longer);
    only(&with("silent", "24 months", "89 days").settings(), "permesso.toml:", longer);
    assert_eq!(replies("24 months").settings(), Vec::<String>::new());
}

#[test]
fn a_form_names_all_that_is_wrong_with_it_at_once() {
    let text = std::fs::read_to_string(Path::new(SHIPPED).join("forms/newsletter.toml")).unwrap();
    let config = Folder::new().load().unwrap();
    let form = config.form("newsletter").unwrap();
    assert_eq!((form.channels.len(), form.purposes.len(), form.embed.len(), form.token.is_some()), (2, 2, 0, false));
    assert_eq!(config.form_link("newsletter"), "http://127.0.0.1:8080/join/newsletter");

    let spoilt = text
        .replace("name = \"newsletter\"", "name = \"news\"")
        .replace("countries = [\"IT\",", "countries = [\"XX\",")
        .replace("sender = \"ACME\"", "sender = \"acme-wa\"")
        .replace("per_day = 500", "per_day = 0")
        .replace("# embed = [\"https://www.acme.example\"]", "embed = [\"https://www.acme.example/page\", \"*\"]")
        .replace("# token_env = ", "token = \"short\" # ")
        .replace("purposes = [", "purpose = [");
    let found = Folder::new().write("forms/newsletter.toml", &spoilt).forms();
    for (key, what) in [
        ("name", "the file is newsletter.toml, but the form is `news`"),
        ("countries", "XX has no country pack"),
        ("sender", "`acme-wa` sends by whatsapp, and the code goes by SMS"),
        ("per_day", "0 is out of range"),
        ("embed", "`https://www.acme.example/page` is no origin of a page"),
        ("embed", "`*` is no origin of a page"),
        ("token", "the token has 5 characters, and could be guessed"),
        ("preferences.purposes", "nothing is listed"),
        ("preferences.purpose", "did you mean `purposes`?"),
    ] {
        let named = |line: &&String| {
            line.starts_with("forms/newsletter.toml:") && line.contains(&format!(": {key}: ")) && line.contains(what)
        };
        assert!(found.iter().any(|line| named(&line)), "{key}: {what}: {found:#?}");
    }
    assert_eq!(found.len(), 9, "{found:#?}");
    // A name that its countries do not take, a code that its text does not name, one token for two forms.
    let other = text.replace("sender = \"ACME\"", "sender = \"ACMEinfo\"");
    let found = Folder::new().write("forms/newsletter.toml", &other).forms();
    assert_eq!(found.len(), 2, "IT and ES register names: {found:#?}");
    let found = Folder::new().write("../templates/messages/join_code.it.txt", "{{ brand }}: done").forms();
    only(&found, "", "join_code.it: the text does not name the code");
    // What France wants of a sender shown by name; a number of ours needs no such words.
    let french = text.replace("countries = [\"IT\",", "countries = [\"FR\", \"IT\",");
    assert_ne!(french, text);
    let found = Folder::new().write("forms/newsletter.toml", &french).forms();
    only(&found, "", "the text lacks what FR wants of a sender shown by name: \"STOP au 36###\"");
    let by_number = french.replace("sender = \"ACME\"", "sender = \"+393001234567\"");
    let found = Folder::new().write("forms/newsletter.toml", &by_number).forms();
    assert!(found.iter().all(|line| !line.contains("lacks what FR wants")), "{found:#?}");
    let said = "{{ brand }} : {{ code }} est votre code. STOP au 36111";
    let found =
        Folder::new().write("forms/newsletter.toml", &french).write("../templates/messages/join_code.fr.txt", said).forms();
    assert_eq!(found, Vec::<String>::new());
    let shared = text.replace("# token_env = ", "token = \"0123456789abcdef0123456789abcdef\" # ");
    let twice = shared.replace("name = \"newsletter\"", "name = \"shop\"");
    let found = Folder::new().write("forms/newsletter.toml", &shared).write("forms/shop.toml", &twice).forms();
    only(&found, "forms/shop.toml", "its token is that of form `newsletter`");
}
