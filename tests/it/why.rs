//! "Why was this person (not) asked?" The same answer on the terminal, on the desk and from the API, in words of a campaign manager:
//! a sentence a campaign, the facts its rule saw, then what happened in order of time.

use std::time::Duration;

use permesso::engine::explain::{InCampaign, Story};
use permesso::engine::history::Standing;
use permesso::engine::rights;
use permesso::gateway::mock::faults::Faults;
use permesso::gateway::mock::protocol::Status;

use crate::app::{LINK, REPLY_NUMBER, TestApp, WHATSAPP_FIRST};
use crate::both;
use crate::erasure::{by_letter, grants};
use crate::plans::said;
use crate::run::ask;

fn only(story: &Story) -> &InCampaign {
    assert_eq!(story.campaigns.len(), 1, "{story:#?}");
    &story.campaigns[0]
}

/// The desk's page of a person, and what the API says of them.
async fn on_the_desk(app: &TestApp, number: &str) -> (String, serde_json::Value) {
    let url = format!("{}/api/v1/contacts/explain", app.operator);
    let told = app.http.post(url).json(&serde_json::json!({ "number": number })).send().await.unwrap().json().await.unwrap();
    let subject = permesso::engine::explain::subject_of(&app.engine, &TestApp::number(number)).await.unwrap().unwrap();
    let (status, page) = app.get(&format!("{}/contacts/{subject}", app.operator)).await;
    assert_eq!(status, 200);
    (page.replace("&#39;", "'").replace("&#34;", "\""), told)
}

both!(a_pseudonym_is_taken_wherever_a_number_is, |app| {
    let number = TestApp::it(1);
    app.people(&[number.clone(), TestApp::it(2)]).await;
    app.send(LINK).await;
    grants(app, &number).await;
    let of =
        async |number: &str| permesso::engine::explain::subject_of(&app.engine, &TestApp::number(number)).await.unwrap().unwrap();
    let (subject, other) = (of(&number).await, of(&TestApp::it(2)).await);
    let listed = said(app, &["consents", "list", "--status", "granted"]).await;
    assert!(listed.contains(&subject), "{listed}");
    assert_eq!(said(app, &["contact", "explain", &subject]).await, said(app, &["contact", "explain", &number]).await);
    assert!(said(app, &["contact", "export", &subject, "--format", "csv"]).await.contains(&number));
    assert!(said(app, &["contact", "link", &other]).await.contains("for ••• ••• 002"));
    assert!(said(app, &["contact", "object", &other]).await.contains("all marketing to this person has ended"));
    said(app, &["contact", "erase", &subject]).await;
    // What is left of somebody erased is found by it too, and nothing else is.
    let left = said(app, &["contact", "explain", &subject]).await;
    assert!(left.contains("was erased") && left.contains(" granted "), "{left}");
    for args in [
        ["contact", "erase", &subject],
        ["contact", "explain", &subject.replace('s', "t")],
        ["contact", "explain", "sAAAAAAAAAAAAAAAAAAAAAA"],
    ] {
        let (code, _, err) = ask(app.dir.path(), &args).await;
        assert!(code == 1 && err.contains("; remedy: "), "{args:?}: {err}");
    }
});

both!(explain_begins_with_whether_the_person_was_asked_and_what_they_answered, |app| {
    let numbers: Vec<String> = (1..=3).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.send(LINK).await;
    assert_eq!(app.submit(&app.link(&numbers[0]), "chosen", &["sms.promotions"]).await, 303);
    app.advance(Duration::from_secs(120));
    app.reply(&numbers[0], REPLY_NUMBER, "SI").await;
    app.reply(&numbers[1], REPLY_NUMBER, "no grazie").await;
    let asked = "Asked on 2026-12-01 10:45 (Europe/Rome) by SMS in campaign rinnovo-consensi";
    let said = [
        "answered: granted promotions by SMS on 2026-12-01 10:47 (Europe/Rome).",
        "answered: refused on 2026-12-01 10:47 (Europe/Rome).",
        "silent since.",
    ];
    for (number, said) in numbers.iter().zip(said) {
        let story = app.story(number).await;
        assert_eq!(only(&story).sentence, format!("{asked}; {said}"));
        assert_eq!(only(&story).standing, Standing::Asked);
        let (page, told) = on_the_desk(app, number).await;
        assert!(page.contains(&only(&story).sentence), "{page}");
        assert_eq!(told, serde_json::to_value(&story).unwrap());
        assert!(!page.contains(&number[1..]) && !told.to_string().contains(&number[1..]), "a number stands in full");
    }
    assert!(app.story(&numbers[1]).await.verdict.starts_with("Nobody may write to this number: refused since"));

    // What others make of it since is not their answer; a later campaign that leaves them out hides neither that nor what they allow; and
    // every time is the person's own, whatever the campaign's zone.
    let number = TestApp::number(&numbers[0]);
    for restricted in [true, false] {
        rights::restrict_number(&app.engine, &number, restricted, &by_letter(app)).await.unwrap();
    }
    let on = "on 2026-12-01 10:47 (Europe/Rome)";
    let lifted =
        format!("{asked}; answered: granted promotions by SMS {on}; since then: the restriction lifted by an operator {on}.");
    assert_eq!(only(&app.story(&numbers[0]).await).sentence, lifted);
    app.plan_as(LINK, |c| (c.name, c.family, c.time_zone) = ("another".into(), "other".into(), "Europe/London".into())).await;
    let story = app.story(&numbers[0]).await;
    let left_out = &story.campaigns[1].sentence;
    assert!(left_out.starts_with("Not contacted in campaign another: "), "{left_out}");
    assert_eq!(story.verdict, format!("They allow promotions by SMS. {lifted} {left_out}"));
    assert_eq!(story.time_zone, "Europe/Rome");
});

both!(explain_says_which_rule_kept_a_person_from_being_asked_and_what_it_saw, |app| {
    let number = TestApp::it(1);
    app.import(&TestApp::good(&number).replace("unticked", "pre_ticked")).await;
    app.send(LINK).await;
    let story = app.story(&number).await;
    let campaign = only(&story);
    let expected =
        "Not contacted in campaign rinnovo-consensi: The earlier consent came from a pre-ticked or bundled box (LEGACY_INVALID).";
    assert_eq!((campaign.sentence.as_str(), campaign.code.as_deref()), (expected, Some("LEGACY_INVALID")));
    assert_eq!(story.verdict, expected);
    let lines = campaign.decisions[0].lines();
    let right = lines.iter().find(|(label, _)| *label == "Right to ask").expect("a line");
    assert_eq!(right.1, "prior consent of 2026-01-10 (box ticked beforehand)");
    let (page, _) = on_the_desk(app, &number).await;
    assert!(
        page.contains("<th scope=\"row\">Right to ask</th><td>prior consent of 2026-01-10 (box ticked beforehand)</td>"),
        "{page}"
    );
    assert!(!page.contains('{') && !page.contains("only_quarantined"), "no raw JSON for people: {page}");
});

both!(every_attempt_is_told_with_its_own_outcome_in_order_of_time, |app| {
    let number = TestApp::it(1);
    app.person(&number, "sms whatsapp").await;
    app.gateway.set_faults(Faults { not_on_whatsapp: [number.clone()].into(), ..Faults::default() });
    app.send(WHATSAPP_FIRST).await;
    app.deliver().await;
    app.gateway.idle().await;
    app.advance(Duration::from_secs(60));
    let sms = app.inbox(&number).last().unwrap().reference.clone();
    app.gateway.receipt(&sms, Status::Delivered).await;
    app.reply(&number, "+447700900123", "mah").await;
    let story = app.story(&number).await;
    let sentence = "Asked on 2026-12-01 10:45 (Europe/Rome) by SMS in campaign whatsapp-first; replied on 2026-12-01 10:46 (Europe/Rome), read as unclear, which waits for an operator.";
    assert_eq!(only(&story).sentence, sentence);
    assert!(story.verdict.starts_with("An unclear reply waits for an operator"), "{}", story.verdict);
    let told: Vec<String> =
        app.history(&number).await.into_iter().map(|h| h.split("; reference").next().unwrap().to_owned()).collect();
    let place = |what: &str| told.iter().position(|h| h == what).unwrap_or_else(|| panic!("{what} is not in {told:#?}"));
    let order = [
        place("decided At the plan of whatsapp-first, to be asked: Nothing speaks against asking (ELIGIBLE)."),
        place("attempt Ask by WhatsApp from acme-wa: not on this channel"),
        place("attempt Ask by SMS from +447700900123: delivered"),
        place("receipt Receipt of the ask by SMS: delivered"),
        place("reply Reply by SMS, read as unclear: it waits for an operator"),
    ];
    assert!(order.is_sorted(), "{told:#?}");
    assert!(!told.iter().any(|h| h.contains("mah")), "what was read in a reply, never its text");
});

both!(what_the_claim_saw_is_kept_like_what_the_plan_saw, |app| {
    let numbers: Vec<String> = (1..=3).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.plan(LINK).await;
    for number in &numbers[..2] {
        app.gateway.reply(number, REPLY_NUMBER, "mah, vediamo").await;
    }
    app.deliver().await;
    for number in &numbers[..2] {
        let story = app.story(number).await;
        let decisions = &only(&story).decisions;
        assert_eq!(decisions.iter().map(|d| d.stage.as_str()).collect::<Vec<_>>(), ["plan", "claim"]);
        let [before, after] = [&decisions[0], &decisions[1]].map(|d| d.facts.clone().expect("facts"));
        assert_eq!((before.held, after.held), (false, true));
        assert_eq!((after.evidence, after.country), (before.evidence, Some("IT".to_owned())));
        assert_eq!(decisions[1].code, "HELD_FOR_OPERATOR");
    }
    assert_eq!(only(&app.story(&numbers[2]).await).decisions.len(), 1);
});
