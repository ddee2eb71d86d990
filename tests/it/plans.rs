//! What the command line says of plans, starts, pauses and reports, in the words a manager reads.

use permesso::engine::{plan, steer};
use serde_json::{Value, json};

use crate::app::{LINK, TestApp};
use crate::both;
use crate::run::ask;

/// A command that succeeds.
pub async fn said(app: &TestApp, args: &[&str]) -> String {
    let (code, out, err) = ask(app.dir.path(), args).await;
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    out
}

fn planned(out: &str) -> String {
    out.lines().find_map(|line| line.strip_prefix("plan id: ")).expect("a plan id").to_owned()
}

/// What the planner's job does after a start.
async fn decide(app: &TestApp) {
    let id = app.count("SELECT id FROM campaigns").await;
    while plan::plan_next(&app.engine, id).await.expect("decided") {}
}

fn edit(app: &TestApp, from: &str, to: &str) {
    let file = app.dir.path().join("config/campaigns").join(format!("{LINK}.toml"));
    let text = std::fs::read_to_string(&file).expect("the campaign");
    assert!(text.contains(from), "{text}");
    std::fs::write(file, text.replace(from, to)).expect("written");
}

both!(a_plan_counts_every_text_by_its_channel_and_language, |app| {
    let mut file = String::from("number,kind,source,ask_basis,basis_evidence,basis_date,box_default,basis_channels\n");
    for (n, channels) in [(1, "sms whatsapp"), (2, "sms"), (3, "sms")] {
        file += &format!("{},prospect,web shop,prior_consent,form 1,2025-01-10,unticked,{channels}\n", TestApp::it(n));
    }
    assert_eq!(app.import_file(&file).await.rejected, 0);
    let out = said(app, &["campaign", "plan", "whatsapp-first"]).await;
    assert!(out.contains("\n          1 by whatsapp, 2 by sms\n"), "{out}");
    let texts: Vec<&str> = out.lines().filter(|line| line.contains("`; by ")).map(str::trim).collect();
    assert_eq!(texts, ["1 person reads `it`; by whatsapp:", "2 people read `it`; by sms:"], "{out}");
});

both!(a_start_says_what_it_froze_and_the_same_plan_is_not_started_twice, |app| {
    app.people(&[TestApp::it(1), TestApp::it(2)]).await;
    let first = planned(&said(app, &["campaign", "plan", LINK]).await);
    let out = said(app, &["campaign", "start", LINK, "--plan", &first]).await;
    assert!(out.contains("start ") && out.contains(", deadline ") && out.contains("(Europe/Rome)"), "{out}");
    assert!(!out.contains("warning"), "{out}");
    decide(app).await;
    assert_eq!(app.states().await.get("planned"), Some(&2));

    // Once more: what is planned stays planned, and a pause stays a pause.
    let out = said(app, &["campaign", "start", LINK, "--plan", &first]).await;
    assert!(out.contains("already started under") && out.contains("nothing changed\n"), "{out}");
    said(app, &["campaign", "pause", LINK]).await;
    assert_eq!(said(app, &["campaign", "pause", LINK]).await, format!("campaign {LINK} is paused already\n"));
    let out = said(app, &["campaign", "start", LINK, "--plan", &first]).await;
    assert!(out.contains("it is paused") && out.contains(&format!("campaign resume {LINK}")), "{out}");
    assert_eq!(app.states().await.get("planned"), Some(&2));
    assert_eq!(app.count("SELECT COUNT(*) FROM campaign_revisions").await, 1);
    // What is paused is not halted, and a script is told in JSON.
    assert!(said(app, &["resume"]).await.contains("nothing was halted") && app.states().await.get("planned") == Some(&2));
    let json = async |args: &[&str]| -> serde_json::Value { serde_json::from_str(&said(app, args).await).unwrap() };
    assert_eq!(json(&["--json", "halt"]).await["halted"], true);
    assert_eq!(json(&["--json", "resume"]).await["was_halted"], true);
    said(app, &["halt"]).await;
    assert_eq!(said(app, &["resume"]).await, "resumed\n");
    let told =
        |state: &str, changed: bool| serde_json::json!({ "campaign": LINK, "state": state, "changed": changed, "cancelled": 0 });
    assert_eq!(json(&["--json", "campaign", "pause", LINK]).await, told("paused", false));
    assert_eq!(json(&["--json", "campaign", "resume", LINK]).await, told("running", true));
    said(app, &["campaign", "pause", LINK]).await;
    assert_eq!(said(app, &["campaign", "resume", LINK]).await, format!("campaign {LINK} goes on\n"));
    for _ in 0..2 {
        assert_eq!(said(app, &["campaign", "resume", LINK]).await, format!("campaign {LINK} is running already\n"));
    }

    // A plan that the file has left behind is frozen as it was planned, with a warning; what it replaces is not "cancelled".
    let second = planned(&said(app, &["campaign", "plan", LINK]).await);
    edit(app, "reminder_after = ", "# reminder_after = ");
    let out = said(app, &["campaign", "start", LINK, "--plan", &second]).await;
    assert!(out.contains("warning: the campaign's file") && out.contains("what is frozen is the plan"), "{out}");
    decide(app).await;
    let out = said(app, &["campaign", "report", LINK]).await;
    assert!(out.contains("        2   asks replaced by a newer plan\n"), "{out}");
    assert!(out.contains("        2   asks planned\n") && !out.contains("cancelled"), "{out}");
});

both!(a_campaign_that_is_cancelled_says_so_and_stays_so, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.plan(LINK).await;
    // It is final, and nobody is here to be asked whether they are sure.
    let (code, _, err) = ask(app.dir.path(), &["campaign", "cancel", LINK]).await;
    assert!(code == 1 && err.contains("cannot be undone") && err.contains("remedy: say that you are sure with --yes"), "{err}");
    assert_eq!(app.states().await.get("planned"), Some(&1));
    let out = said(app, &["campaign", "cancel", LINK, "--yes"]).await;
    assert_eq!(out, format!("campaign {LINK} is cancelled; 1 planned message with it\n"));
    for _ in 0..2 {
        assert_eq!(said(app, &["campaign", "cancel", LINK]).await, format!("campaign {LINK} is cancelled already\n"));
    }
    let (code, _, err) = ask(app.dir.path(), &["campaign", "resume", LINK]).await;
    assert!(code == 1 && err.contains("is cancelled, so it cannot become running"), "{err}");
});

both!(a_plan_that_asks_nobody_by_sms_counts_no_parts, |app| {
    app.person(&TestApp::it(1), "sms whatsapp").await;
    let out = said(app, &["campaign", "plan", "whatsapp-first"]).await;
    assert!(
        out.starts_with("campaign whatsapp-first: 1 number looked at\n        1 would be asked\n          1 by whatsapp\n"),
        "{out}"
    );
    assert!(!out.contains("SMS part") && !out.contains(" part: "), "{out}");
});

both!(a_text_that_is_too_long_is_shown_with_what_is_wrong, |app| {
    let folder = app.dir.path().join("templates/messages");
    std::fs::create_dir_all(&folder).expect("a folder");
    let text = "{{ brand }}: hai lasciato il tuo numero. Possiamo mandarti promozioni? STOP al {{ reply_number }}.";
    std::fs::write(folder.join("repermission.it.txt"), format!("{text} {}{{{{ link }}}}", "ancora ".repeat(30)))
        .expect("written");
    let (code, out, err) = ask(app.dir.path(), &["campaign", "preview", LINK, "--locale", "it"]).await;
    assert!(code == 1 && err.contains("repermission.it.txt:1: repermission.it: the text fills 3 SMS parts"), "{err}");
    let over = |text: &str, before: &str| text.split(before).nth(1).and_then(|t| t.split(' ').next()?.parse::<usize>().ok());
    let many = over(&out, "TOO LONG by ").expect("how much");
    assert!((1..210).contains(&many) && err.contains(&format!(": {many} characters are too many")), "{out}{err}");
    assert!(out.contains("| ancora ancora"), "{out}");
    let (code, out, _) = ask(app.dir.path(), &["--json", "campaign", "preview", LINK, "--locale", "it"]).await;
    let shown: serde_json::Value = serde_json::from_str(&out).expect("one JSON object");
    assert_eq!((code, shown["messages"][0]["sms"]["over"].as_u64()), (1, Some(many as u64)));
    assert_eq!(shown["errors"].as_array().map(Vec::len), Some(1), "{shown}");
    // As long as that less it fits, to the letter.
    let less = format!("{text} {}{{{{ link }}}}", &"ancora ".repeat(30)[many..]);
    std::fs::write(folder.join("repermission.it.txt"), &less).expect("written");
    assert!(said(app, &["campaign", "preview", LINK, "--locale", "it"]).await.contains("2 parts: 306 characters"));
    std::fs::write(folder.join("repermission.it.txt"), format!("x{less}")).expect("written");
    app.reconfigure("").await;
    let (status, page) = app.get(&format!("{}/campaigns/{LINK}/preview", app.operator)).await;
    assert_eq!(status, 200);
    assert!(page.contains("Must be mended before it is planned") && page.contains("Too long by 1."), "{page}");
});

both!(a_report_says_in_its_first_line_that_everything_is_halted, |app| {
    app.people(&[TestApp::it(1)]).await;
    app.plan(LINK).await;
    let first = |out: String| out.lines().next().unwrap_or_default().to_owned();
    assert!(!first(said(app, &["campaign", "report", LINK]).await).contains("halted"));
    steer::halt(&app.engine, "a test").await.expect("halted");
    let line = first(said(app, &["campaign", "report", LINK]).await);
    assert!(line.contains("everything is halted") && line.contains("permesso resume"), "{line}");
});

both!(a_time_in_which_nobody_may_be_asked_is_named_by_check_and_plan, |app| {
    let set = |from: &str, to: &str| {
        let file = app.dir.path().join("config/campaigns").join(format!("{LINK}.toml"));
        let text = std::fs::read_to_string(&file).expect("the campaign");
        let line = |l: &str| match l {
            l if l.starts_with("start = ") => format!("start = \"{from}\""),
            l if l.starts_with("deadline = ") => format!("deadline = \"{to}\""),
            l if l.starts_with("reminder_after = ") => String::new(),
            l => l.to_owned(),
        };
        std::fs::write(&file, text.lines().map(line).collect::<Vec<_>>().join("\n")).expect("written");
    };
    app.import(&TestApp::good("+48512345678")).await;
    // Poland's hours have no weekend; Italy's have a Saturday.
    set("2026-12-05T09:00", "2026-12-06T20:00");
    let out = said(app, &["campaign", "check", LINK]).await;
    assert!(out.contains("no minute is allowed in PL (Mo-Fr 09:00-20:00"), "{out}");
    assert!(out.contains("from Sat 5 Dec 2026 09:00 (Europe/Rome) to Sun 6 Dec 2026 20:00") && !out.contains("IT ("), "{out}");
    let out = said(app, &["campaign", "plan", LINK]).await;
    assert!(out.contains("no minute is allowed in PL") && out.contains("nothing to start: nobody would be asked"), "{out}");
    assert!(!out.contains("start it with"), "{out}");
    // With a minute of Monday there is no such word.
    set("2026-12-05T09:00", "2026-12-07T09:01");
    assert!(!said(app, &["campaign", "check", LINK]).await.contains("no minute"));
    // Of a window that is over only what is left counts.
    set("2026-11-30T09:00", "2026-12-01T10:50");
    assert!(!said(app, &["campaign", "check", LINK]).await.contains("no minute"));
    app.import(&TestApp::good(&TestApp::it(1))).await;
    assert!(said(app, &["campaign", "plan", LINK]).await.contains("start it with"));
});

both!(a_country_without_a_text_in_its_language_is_named_by_check_and_plan, |app| {
    let folder = app.dir.path().join("templates/messages");
    std::fs::create_dir_all(&folder).expect("a folder");
    let text = |words: &str| format!("{{{{ brand }}}}: {words} STOP {{{{ reply_number }}}} {{{{ link }}}}");
    let texts = [
        ("it", "hai lasciato il tuo numero. Possiamo mandarti promozioni?"),
        ("pl", "bo mamy ten numer: czy przesylac promocje?"),
    ];
    for (locale, words) in texts {
        std::fs::write(folder.join(format!("again.{locale}.txt")), text(words)).expect("written");
    }
    edit(app, "template = \"repermission\"", "template = \"again\"");
    let why = "there is no `again` in `es`, the language of ES: people there without a language on record read it in `it`; add again.es.txt";
    for command in ["check", "plan"] {
        let out = said(app, &["campaign", command, LINK]).await;
        assert!(out.contains(why) && !out.contains("the language of IT") && !out.contains("the language of PL"), "{out}");
    }
    std::fs::write(folder.join("again.es.txt"), text("nos diste tu contacto. Podemos mandarte promociones?")).expect("written");
    assert!(!said(app, &["campaign", "check", LINK]).await.contains("the language of"));
});

both!(what_is_not_there_is_answered_with_how_to_add_it, |app| {
    let (code, _, err) = ask(app.dir.path(), &["webhooks", "test", "crm"]).await;
    assert!(
        code == 1 && err.contains("there is no [[webhook]] in permesso.toml") && err.contains("remedy: add a [[webhook]]"),
        "{err}"
    );
    let out = said(app, &["campaign", "plan", LINK]).await;
    assert!(out.contains("nothing to start: no number is here to be asked") && !out.contains("start it with"), "{out}");
});

both!(a_deadline_that_has_passed_is_named_by_check_and_plan, |app| {
    let file = app.dir.path().join("config/campaigns").join(format!("{LINK}.toml"));
    let text = std::fs::read_to_string(&file).expect("the campaign");
    let line = |key: &str| text.lines().find(|l| l.starts_with(key)).expect("the key").to_owned();
    assert!(!said(app, &["campaign", "check", LINK]).await.contains("has passed"));
    edit(app, &line("start"), "start = \"2026-11-02T09:00\"");
    edit(app, &line("deadline"), "deadline = \"2026-11-20T20:00\"");
    assert!(
        said(app, &["campaign", "check", LINK])
            .await
            .contains("warning: the deadline Fri 20 Nov 2026 20:00 (Europe/Rome) has passed")
    );
    let out = said(app, &["campaign", "plan", LINK]).await;
    assert!(out.contains("warning: the deadline") && !out.contains("start it with"), "{out}");
});

both!(what_a_command_did_it_says_in_one_object, |app| {
    let [one, two, stranger, new] = [1, 2, 3, 4].map(TestApp::it);
    app.people(&[one.clone(), two.clone()]).await;
    let json = async |args: &[&str]| -> Value {
        let out = said(app, &[&["--json"], args].concat()).await;
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"))
    };
    let plan = json(&["campaign", "plan", LINK]).await["plan"].as_str().unwrap().to_owned();
    let start = ["campaign", "start", LINK, "--plan", &plan];
    let started = json(&start).await;
    assert_eq!(
        (&started["campaign"], &started["plan"], &started["state"], &started["changed"], &started["file_changed"]),
        (&json!(LINK), &json!(plan), &json!("scheduled"), &json!(true), &json!(false)),
        "{started}"
    );
    assert!(started["start"].as_str().unwrap().contains("(Europe/Rome)") && started["deadline"].is_string(), "{started}");
    assert_eq!(json(&start).await["changed"], false);
    let settled = json(&["campaign", "settle", LINK, "--as", "failed", "--by", "ann"]).await;
    assert_eq!(settled, json!({ "campaign": LINK, "state": "failed", "settled": 0 }));

    assert_eq!(json(&["contact", "restrict", &one]).await, json!({ "restricted": true, "numbers": 1 }));
    assert_eq!(json(&["contact", "restrict", &one]).await, json!({ "restricted": true, "numbers": 0 }));
    let told = ["contact", "unrestrict", &one, "--told", "letter of today"];
    assert_eq!(json(&told).await, json!({ "restricted": false, "numbers": 1 }));
    for (number, found) in [(&one, "ended"), (&one, "already"), (&stranger, "stranger")] {
        assert_eq!(json(&["contact", "object", number]).await, json!({ "objection": found }));
    }
    assert_eq!(json(&["contact", "change", &two, &new]).await, json!({ "old": "••• ••• 002", "new": "••• ••• 004" }));
    let noted = json(&["contact", "requests", "note", &new, "--right", "access"]).await;
    assert_eq!((&noted["kind"], &noted["done"], &noted["number"]), (&json!("access"), &Value::Null, &json!("…04")), "{noted}");
    assert!(noted["due"].is_string() && noted["left"].as_str().unwrap().starts_with("permesso contact export"), "{noted}");
    let id = noted["id"].to_string();
    let done = json(&["contact", "requests", "done", &id]).await;
    assert!(done["id"] == noted["id"] && done["done"].is_string() && done["left"].is_null(), "{done}");
    let noted = json(&["requests", "note", &new, "--right", "restriction"]).await["id"].to_string();
    let done = json(&["requests", "done", &noted, "--mistaken", "another number"]).await;
    assert!(done["done"].is_string() && done["by"].as_str().unwrap().ends_with("noted by mistake: another number"), "{done}");
    assert_eq!(json(&["webhooks", "retry", "--all"]).await, json!({ "retried": 0 }));
});
