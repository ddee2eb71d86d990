//! One human with several numbers, however the external ids came: one ask among them, and a no of one counts for all.

use std::time::Duration;

use permesso::engine::import::{self, Summary};
use permesso::engine::rights;
use permesso::gateway::mock::protocol::Status;
use permesso::store::Store;

use crate::app::{LINK, ON_CHANNELS, REPLY_NUMBER, TestApp};
use crate::both;
use crate::erasure::by_letter;

const MINUTE: Duration = Duration::from_secs(60);

both!(an_id_that_lost_a_merge_still_means_its_human, |app| {
    // Whichever of the two ids loses.
    for (n, [x, y]) in [(1, ["X", "Y"]), (11, ["Q", "P"]), (21, ["1", "2"]), (31, ["d", "c"])] {
        app.import(&row(n, x)).await;
        app.import(&row(n, y)).await;
        app.reply(&it(n), REPLY_NUMBER, "STOP").await;
        app.import(&row(n + 1, y)).await;
        app.import(&row(n + 2, x)).await;
    }
    app.send(LINK).await;
    assert_eq!(asked(app).await, 0);
    assert!(app.story(&it(2)).await.verdict.contains("stopped"), "{}", app.story(&it(2)).await.verdict);
});

both!(a_chain_of_ids_in_one_file_is_one_human_in_any_order, |app| {
    let orders = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [0, 4, 2, 1, 3], [1, 3, 0, 4, 2], [3, 0, 4, 2, 1]];
    let mut rows = String::new();
    for chain in 0..10 {
        let of = |n: u32, id: &str| row(chain * 10 + n, &format!("{id}{chain}"));
        let links = [of(1, "X"), of(1, "Y"), of(2, "Y"), of(2, "Z"), of(3, "Z")];
        rows.extend(orders[chain as usize % 5].map(|i| links[i].clone()));
    }
    app.import(&rows).await;
    // The second half says no first, by a number at one end of the chain.
    for chain in 5..10 {
        app.reply(&it(chain * 10 + 1), REPLY_NUMBER, "STOP").await;
    }
    for _ in 0..3 {
        app.send(LINK).await;
        app.advance(MINUTE);
    }
    let asks: Vec<usize> = (0..10).map(|chain| (1..=3).map(|n| app.asks(&it(chain * 10 + n))).sum()).collect();
    assert_eq!(asks, [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]);
});

both!(two_humans_that_turn_out_to_be_one_get_no_second_ask_and_one_no, |app| {
    app.import(&(row(1, "X") + &row(2, "Y"))).await;
    app.plan_as(LINK, |_| {}).await;
    app.settle().await;
    assert_eq!([app.asks(&it(1)), app.asks(&it(2))], [1, 1], "nobody knows yet");
    app.submit(&app.link(&it(2)), "chosen", &["sms.promotions"]).await;
    app.advance(MINUTE);
    app.reply(&it(2), REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&it(2)).await, ["sms.promotions"]);
    app.advance(MINUTE);
    app.reply(&it(1), REPLY_NUMBER, "STOP").await;
    // The two ids meet on a third number.
    app.import(&(row(3, "X") + &row(3, "Y"))).await;
    assert!(app.granted(&it(2)).await.is_empty(), "a no of one ends what was granted to the other");
    app.plan_as(LINK, |c| c.name = "another-name".into()).await;
    app.settle().await;
    assert_eq!([1, 2, 3].map(|n| app.asks(&it(n))), [1, 1, 0]);
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
});

both!(an_ask_under_an_id_that_lost_counts_for_its_other_numbers, |app| {
    app.import(&row(1, "X")).await;
    app.send(LINK).await;
    for id in ["A", "B", "C", "Z"] {
        app.import(&row(1, id)).await;
    }
    app.import(&(row(2, "X") + &row(3, "A") + &row(4, "B") + &row(5, "C") + &row(6, "Z"))).await;
    app.send(LINK).await;
    assert_eq!([1, 2, 3, 4, 5, 6].map(|n| app.asks(&it(n))), [1, 0, 0, 0, 0, 0]);
});

both!(the_no_of_a_rejected_row_counts_for_the_whole_human, |app| {
    app.import(&row(1, "EX1")).await;
    let summary = app.import(&(rejected(2, "EX1", "yes") + &rejected(3, "EX2", "yes"))).await;
    assert_eq!((summary.rejected, summary.unread, summary.new), (2, 0, 0), "{summary:?}");
    // Who shares the id and comes later.
    app.import(&(row(4, "EX1") + &row(5, "EX2") + &row(6, "EX3"))).await;
    app.send(LINK).await;
    assert_eq!([1, 4, 5, 6].map(|n| app.asks(&it(n))), [0, 0, 0, 1]);
});

both!(a_rejected_row_ties_its_number_for_a_later_no, |app| {
    app.import(&(row(1, "EX1") + &row(2, "EX2") + &row(3, "EX3"))).await;
    app.send(LINK).await;
    for n in 1..=2 {
        app.submit(&app.link(&it(n)), "chosen", &["sms.promotions"]).await;
        app.advance(MINUTE);
        app.reply(&it(n), REPLY_NUMBER, "SI").await;
    }
    // Nobody says no yet, and the numbers are nobody's.
    app.import(&(rejected(11, "EX1", "") + &rejected(12, "EX2", "") + &rejected(13, "EX4", ""))).await;
    assert_eq!([app.granted(&it(1)).await.len(), app.granted(&it(2)).await.len()], [1, 1]);
    app.advance(MINUTE);
    app.reply(&it(11), REPLY_NUMBER, "STOP").await;
    listed(app, &format!("number\n{}\n", it(12))).await;
    app.reply(&it(13), REPLY_NUMBER, "STOP").await;
    assert_eq!([app.granted(&it(1)).await.len(), app.granted(&it(2)).await.len()], [0, 0]);
    app.import(&(row(4, "EX4") + &row(5, "EX1") + &row(6, "EX2"))).await;
    // A rejected row of a number that is known ties it as well.
    app.reply(&it(7), REPLY_NUMBER, "STOP").await;
    app.import(&(row(7, "") + &row(8, "EX8") + &rejected(7, "EX8", ""))).await;
    app.send(LINK).await;
    assert_eq!([1, 2, 3, 4, 5, 6, 7, 8].map(|n| app.asks(&it(n))), [1, 1, 1, 0, 0, 0, 0, 0]);
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
});

both!(a_list_of_noes_counts_for_the_humans_it_names, |app| {
    app.import(&(row(1, "EX1") + &row(2, "EX2") + &row(3, ""))).await;
    let rows = [
        // A number that is no contact, of a human that has another one.
        format!("{};EX1\n", it(11)),
        // Of a human that nobody knows yet.
        format!("{};EX4\n", it(12)),
        // A contact without an id, which others will come with.
        format!("{};EX5\n", it(3)),
        // The number cannot be read: the human can.
        "3.93E+11;EX2\n".to_owned(),
        ";EX6\n".to_owned(),
        // One cell too many.
        format!("{};EX7;a;b\n", it(13)),
    ];
    let summary =
        listed(app, &format!("number;external_id;note\n{}", rows.concat().replace("\n", ";\n").replace("a;b;", "a;b"))).await;
    // The number that was meant to be one is named; a row that never had one is in order.
    assert_eq!((summary.rows, summary.rejected, summary.by_id, summary.unread), (6, 1, 2, 0), "{summary:?}");
    assert_eq!((summary.new, summary.unsubscribed), (4, 6), "{summary:?}");
    assert_eq!(summary.ignored_columns, ["note"]);
    app.import(&(4..=7).map(|n| row(n, &format!("EX{n}"))).collect::<String>()).await;
    // The listed number comes under an id of its own: so does its no.
    app.import(&(row(12, "EX9") + &row(9, "EX9") + &row(10, "EX10"))).await;
    app.send(LINK).await;
    assert_eq!([1, 2, 3, 4, 5, 6, 7, 9, 10, 12].map(|n| app.asks(&it(n))), [0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    // Numbers of a list are kept as hashes alone.
    assert_eq!(app.count("SELECT COUNT(*) FROM contacts").await, 10);
});

both!(a_number_that_a_rejected_row_tied_gets_no_ask_of_its_own, |app| {
    app.import(&(row(1, "EX1") + &rejected(2, "EX1", "") + &rejected(3, "EX1", ""))).await;
    // Mended, and the ids are gone or others.
    app.import(&(row(2, "") + &row(3, "EX3") + &row(4, "EX3"))).await;
    for _ in 0..2 {
        app.send(LINK).await;
        app.advance(MINUTE);
    }
    assert_eq!((1..=4).map(|n| app.asks(&it(n))).sum::<usize>(), 1);
});

both!(who_granted_and_comes_under_an_id_that_a_list_named_has_said_no, |app| {
    app.import(&row(1, "")).await;
    app.send(LINK).await;
    app.submit(&app.link(&it(1)), "chosen", &["sms.promotions"]).await;
    app.advance(MINUTE);
    app.reply(&it(1), REPLY_NUMBER, "SI").await;
    app.advance(MINUTE);
    listed(app, &format!("number,external_id\n{},EX1\n", it(2))).await;
    assert_eq!(app.granted(&it(1)).await, ["sms.promotions"]);
    app.import(&row(1, "EX1")).await;
    assert!(app.granted(&it(1)).await.is_empty());
    assert_eq!(app.story(&it(1)).await.suppressions.len(), 1);
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
});

both!(a_list_of_noes_ends_what_the_human_granted, |app| {
    app.import(&row(1, "EX1")).await;
    app.send(LINK).await;
    app.submit(&app.link(&it(1)), "chosen", &["sms.promotions"]).await;
    app.advance(MINUTE);
    app.reply(&it(1), REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&it(1)).await, ["sms.promotions"]);
    app.advance(MINUTE);
    listed(app, &format!("number,external_id\n{},EX1\n", it(2))).await;
    assert!(app.granted(&it(1)).await.is_empty());
    // The way back is the person's own.
    app.advance(MINUTE);
    assert_eq!(app.submit(&app.link(&it(1)), "chosen", &["sms.promotions"]).await, 303);
    app.advance(MINUTE);
    app.reply(&it(1), REPLY_NUMBER, "SI").await;
    assert_eq!(app.granted(&it(1)).await, ["sms.promotions"]);
});

both!(the_no_of_a_row_that_cannot_be_split_counts_for_its_human, |app| {
    app.import(&(row(1, "EX1") + &row(2, "EX2"))).await;
    let file = format!("number,external_id,unsubscribed,note\n{},EX1,yes\n{},EX2,yes,one,two\n", it(11), it(12));
    assert_eq!(app.import_file(&file).await.rejected, 2);
    app.send(LINK).await;
    assert_eq!([1, 2].map(|n| app.asks(&it(n))), [0, 0]);
});

both!(an_ask_between_two_legs_sees_the_ask_of_a_number_tied_meanwhile, |app| {
    let (one, other) = (it(1), it(2));
    let first = app.asked_by_whatsapp(&one).await;
    assert_eq!(app.gateway.receipt(&first, Status::Delivered).await, Some(true));
    app.advance(MINUTE);
    let second = app.asked_by_whatsapp(&other).await;
    assert_eq!(app.gateway.receipt(&second, Status::Failed).await, Some(true));
    assert_eq!(app.count("SELECT COUNT(*) FROM messages WHERE state = 'planned' AND channel = 'sms'").await, 1);
    let header = ON_CHANNELS.replace("number,", "external_id,number,");
    let row = |n: &str| format!("SAME,{n},prospect,web shop,prior_consent,form 1,2026-01-10,unticked,sms whatsapp\n");
    assert_eq!(app.import_file(&format!("{header}{}{}", row(&one), row(&other))).await.rejected, 0);
    app.settle().await;
    assert_eq!([app.asks(&one), app.asks(&other)], [1, 1], "no second leg");
    assert!(app.decisions(&other).await.iter().any(|d| d.contains("ASK_CAP")), "{:?}", app.decisions(&other).await);
});

both!(what_an_earlier_version_knew_of_humans_is_kept, |app| {
    app.import(&(row(1, "X") + &row(4, "W"))).await;
    app.send(LINK).await;
    app.import(&(row(2, "X") + &row(5, "W"))).await;
    // As the earlier version left it: the first number has another id, and nothing says that X is the same.
    let y = app.engine.vault.human("Y");
    let left = format!("DROP TABLE humans; UPDATE contacts SET human = '{y}' WHERE id = (SELECT MIN(id) FROM contacts);");
    for sql in [left.as_str(), migration(app)] {
        match &app.engine.store {
            Store::Sqlite { write, .. } => drop(sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(write).await.unwrap()),
            Store::Postgres { pool, .. } => drop(sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(pool).await.unwrap()),
        }
    }
    let humans = "SELECT COUNT(DISTINCT human) FROM contacts";
    assert_eq!((app.count(humans).await, app.count("SELECT COUNT(*) FROM humans WHERE alias <> ''").await), (2, 3));
    app.reply(&it(1), REPLY_NUMBER, "STOP").await;
    app.import(&(row(3, "Y") + &row(6, "X") + &row(7, "W"))).await;
    app.send(LINK).await;
    assert_eq!((1..=7).map(|n| app.asks(&it(n))).collect::<Vec<_>>(), [1, 0, 0, 1, 0, 0, 0]);
});

both!(a_wrong_number_is_wrong_by_itself, |app| {
    app.import(&(row(1, "X") + &row(2, "Y") + &row(3, "Z") + &row(4, "Z"))).await;
    app.reply(&it(3), REPLY_NUMBER, "numero sbagliato").await;
    app.reply(&it(5), REPLY_NUMBER, "numero sbagliato").await;
    // A number of which a stranger said so is of no human that a list brings it with.
    app.import(&(row(5, "W") + &row(6, "W"))).await;
    app.send(LINK).await;
    assert_eq!([1, 2, 3, 4, 5, 6].map(|n| app.asks(&it(n))), [1, 1, 0, 1, 0, 1]);
    app.import(&row(2, "X")).await;
    app.submit(&app.link(&it(1)), "chosen", &["sms.promotions"]).await;
    app.advance(MINUTE);
    // Whoever has the second number now.
    app.reply(&it(2), REPLY_NUMBER, "numero sbagliato").await;
    app.advance(MINUTE);
    app.reply(&it(1), REPLY_NUMBER, "SI").await;
    app.import(&(row(1, "X") + &row(2, "X") + &row(7, "X"))).await;
    assert_eq!(app.granted(&it(1)).await, ["sms.promotions"]);
    assert!(app.story(&it(1)).await.suppressions.is_empty());
    assert!(app.story(&it(2)).await.verdict.contains("wrong person"));
    let list = format!("{}/api/v1/consents/list?status=granted&channel=sms&purpose=promotions", app.operator);
    let granted = app.get(&list).await.1;
    assert_eq!(granted.matches("\"subject\"").count(), 1, "{granted}");
    // Nor does anything else that they say: not by a list that ties all of them once more, and not for the operator.
    app.advance(MINUTE);
    app.reply(&it(2), REPLY_NUMBER, "STOP").await;
    app.import(&(row(1, "X") + &row(8, "X"))).await;
    assert_eq!(app.granted(&it(1)).await, ["sms.promotions"], "{:?}", app.story(&it(1)).await.ledger);
    assert!(app.story(&it(8)).await.suppressions.is_empty(), "{:?}", app.story(&it(8)).await);
    // What the person said by it before stays theirs.
    app.import(&row(9, "V")).await;
    for text in ["STOP", "numero sbagliato"] {
        app.reply(&it(9), REPLY_NUMBER, text).await;
    }
    app.import(&row(10, "V")).await;
    assert!(app.story(&it(10)).await.verdict.contains("stopped"), "{:?}", app.story(&it(10)).await);
    let told = crate::run::ask(app.dir.path(), &["contact", "erase", &it(2)]).await;
    assert_eq!(told.0, 0, "{told:?}");
    assert_eq!(app.granted(&it(1)).await, ["sms.promotions"]);
});

both!(a_no_told_of_a_number_of_somebody_else_is_its_humans_all_the_same, |app| {
    // Of each human's two numbers the second turns out to be somebody else's.
    let people = [(1, "A"), (2, "A"), (3, "B"), (4, "B"), (5, "C"), (6, "C"), (7, "D"), (8, "D")];
    app.import(&people.map(|(n, id)| row(n, id)).concat()).await;
    for n in [2, 4, 6, 8] {
        app.reply(&it(n), REPLY_NUMBER, "numero sbagliato").await;
    }
    // The company's lists still have it for them: with their no in a row, in one that is rejected, and in a list of noes.
    app.import(&(row(2, "A").replace("unticked,,", "unticked,sì,") + &rejected(4, "B", "sì"))).await;
    listed(app, &format!("number,external_id\n{},C\n", it(6))).await;
    app.send(LINK).await;
    assert_eq!([1, 3, 5, 7].map(|n| app.asks(&it(n))), [0, 0, 0, 1]);
    for n in [1, 3, 5] {
        assert!(app.story(&it(n)).await.verdict.contains("unsubscribed, as a list says"), "{:?}", app.story(&it(n)).await);
    }
    // Under a later key it is as wrong: no list ties it to its human again.
    let mut keys = std::fs::read_to_string(&app.engine.config.key_file).unwrap();
    keys.push_str(&format!("2:{}A\n", "B".repeat(42)));
    std::fs::write(&app.engine.config.key_file, keys).unwrap();
    let rotated = app.another().await;
    let file = app.dir.path().join("again.csv");
    std::fs::write(&file, format!("{}{}", crate::app::HEADER, row(8, "D"))).unwrap();
    import::contacts(&rotated, &file, |_| {}).await.unwrap();
    rotated.store.close().await;
    app.reply(&it(8), REPLY_NUMBER, "STOP").await;
    assert!(app.story(&it(7)).await.suppressions.is_empty(), "{:?}", app.story(&it(7)).await);
});

both!(a_wrong_number_that_is_no_contact_speaks_for_nobody_else_either, |app| {
    // Rows without a kind tied two numbers to one that granted, and a third to somebody whom no list has brought yet: what was said by that
    // before stays theirs.
    app.import(&(row(1, "X") + &rejected(11, "X", "") + &rejected(12, "X", "") + &rejected(13, "Y", ""))).await;
    app.send(LINK).await;
    crate::erasure::grants(app, &it(1)).await;
    for (n, text) in [(13, "STOP"), (11, "numero sbagliato"), (12, "numero sbagliato"), (13, "numero sbagliato")] {
        app.advance(MINUTE);
        app.reply(&it(n), REPLY_NUMBER, text).await;
    }
    app.advance(MINUTE);
    app.reply(&it(11), REPLY_NUMBER, "STOP").await;
    crate::erasure::erase(app, &it(12)).await;
    assert_eq!(app.granted(&it(1)).await, ["sms.promotions"], "{:?}", app.story(&it(1)).await.ledger);
    // Nor does a list tie it again.
    app.import(&(row(3, "Y") + &rejected(11, "X", ""))).await;
    app.reply(&it(11), REPLY_NUMBER, "NO").await;
    assert_eq!(app.granted(&it(1)).await, ["sms.promotions"]);
    assert!(app.story(&it(3)).await.verdict.contains("stopped"), "{:?}", app.story(&it(3)).await);
});

both!(a_number_tied_later_has_every_no_that_its_yes_does_not_answer, |app| {
    app.import(&((1..=7).step_by(2).map(|n| row(n, &format!("X{n}"))).collect::<String>())).await;
    app.send(LINK).await;
    let says = async |n: u32, text: &str| {
        app.advance(MINUTE);
        app.reply(&it(n), REPLY_NUMBER, text).await;
    };
    let chooses = async |n: u32| {
        app.advance(MINUTE);
        assert_eq!(app.submit(&app.link(&it(n)), "chosen", &["sms.promotions"]).await, 303);
    };
    let granted = async || {
        let mut all = Vec::new();
        for n in [1, 3, 5, 7] {
            all.push(app.granted(&it(n)).await.len());
        }
        all
    };
    // Of one human from the start.
    app.import(&row(2, "X1")).await;
    says(2, "STOP").await;
    for n in [3, 5, 7] {
        says(n, "STOP").await;
    }
    says(6, "STOP").await;
    says(8, "STOP").await;
    for n in [1, 3, 5, 7] {
        chooses(n).await;
    }
    // Between the first yes and the second, by a number that nobody has tied yet.
    says(4, "STOP").await;
    for n in [1, 3, 5, 7] {
        says(n, "SI").await;
    }
    // Once more, after both.
    says(6, "STOP").await;
    assert_eq!(granted().await, [1, 1, 1, 1]);
    // Whoever answered the no is known by one hash more by now, as a new key or a receipt brings it.
    app.execute(
        "INSERT INTO number_macs (controller, mac, key_id, contact_id) SELECT controller, 'later' || id, -1, id FROM contacts",
    )
    .await
    .unwrap();
    app.advance(MINUTE);
    app.import(&(1..=8).map(|n| row(n, &format!("X{}", (n - 1) / 2 * 2 + 1))).collect::<String>()).await;
    assert_eq!(granted().await, [1, 0, 0, 1]);
    assert_eq!(app.count("SELECT COUNT(*) FROM ledger WHERE kind = 'withdrawn'").await, 2);
    assert_eq!(permesso::engine::verify::ledger(&app.engine).await.unwrap().1, Vec::<String>::new());
});

both!(a_number_called_wrong_gives_its_place_to_the_next_one_and_what_its_new_holder_says_is_nobody_elses, |app| {
    let alone = [7, 9].map(|n| TestApp::good(&it(n))).concat();
    app.import(&(row(1, "H1") + &row(2, "H1") + &row(4, "H2") + &row(5, "H2") + &alone)).await;
    // The last had said no before somebody else had the number, who says it once more.
    let mut said = vec![(9, "STOP")];
    said.extend([2, 5, 7, 9].map(|n| (n, "numero sbagliato")));
    said.extend([7, 9, 1].map(|n| (n, "STOP")));
    for (n, word) in said {
        app.reply(&it(n), REPLY_NUMBER, word).await;
        app.advance(MINUTE);
    }
    for (old, new) in [(2, 3), (5, 6), (7, 8), (9, 10)] {
        let [old, new] = [old, new].map(|n| TestApp::number(&it(n)));
        rights::change_number(&app.engine, &old, &new, &by_letter(app)).await.unwrap();
    }
    app.people(&[3, 6, 8, 10].map(it)).await;
    app.send(LINK).await;
    app.advance(MINUTE);
    app.settle().await;
    assert_eq!([3, 8, 10].map(|n| app.asks(&it(n))), [0, 1, 0], "{:?}", app.decisions(&it(8)).await);
    assert_eq!(app.asks(&it(4)) + app.asks(&it(6)), 1, "one human");
    assert!(app.story(&it(8)).await.suppressions.is_empty(), "{:?}", app.story(&it(8)).await);
    app.reply(&it(4), REPLY_NUMBER, "STOP").await;
    for n in [3, 6, 10] {
        let verdict = app.story(&it(n)).await.verdict;
        assert!(verdict.contains("stopped since"), "{n}: {verdict}");
    }
    crate::erasure::erase(app, &it(4)).await;
    assert_eq!([app.story(&it(6)).await.known, app.story(&it(5)).await.known], [false; 2]);
});

both!(a_number_called_wrong_before_any_list_brings_it_gives_its_place_to_the_next_one_too, |app| {
    app.reply(&it(1), REPLY_NUMBER, "numero sbagliato").await;
    app.import(&(row(1, "H1") + &row(2, "H1"))).await;
    let [old, new] = [1, 3].map(|n| TestApp::number(&it(n)));
    rights::change_number(&app.engine, &old, &new, &by_letter(app)).await.unwrap();
    app.reply(&it(2), REPLY_NUMBER, "STOP").await;
    let verdict = app.story(&it(3)).await.verdict;
    assert!(verdict.contains("stopped since"), "{verdict}");
    // Whoever has it now is not meant by that, and says nothing for them.
    assert!(!app.story(&it(1)).await.suppressions.concat().contains("stopped"), "{:?}", app.story(&it(1)).await.suppressions);
});

fn migration(app: &TestApp) -> &'static str {
    match app.kind {
        crate::app::Kind::Sqlite => include_str!("../../migrations/sqlite/0013_humans.sql"),
        crate::app::Kind::Postgres => include_str!("../../migrations/postgres/0013_humans.sql"),
    }
}

/// A row that may be asked.
pub fn row(n: u32, id: &str) -> String {
    format!("{},,prospect,,web shop,prior_consent,form 1,2025-01-10,unticked,,{id},\n", it(n))
}

/// A row whose kind is none.
pub fn rejected(n: u32, id: &str, unsubscribed: &str) -> String {
    format!("{},,prospekt,,web shop,prior_consent,form 1,2025-01-10,unticked,{unsubscribed},{id},\n", it(n))
}

async fn listed(app: &TestApp, text: &str) -> Summary {
    let path = app.dir.path().join("no.csv");
    std::fs::write(&path, text).unwrap();
    import::suppressions(&app.engine, &path, |_| {}).await.unwrap()
}

async fn asked(app: &TestApp) -> i64 {
    app.count("SELECT COUNT(*) FROM attempts WHERE kind = 'ask'").await
}

fn it(n: u32) -> String {
    TestApp::it(n)
}

both!(a_no_said_again_ends_what_the_humans_other_number_granted_since, |app| {
    let [one, two] = [1, 2].map(TestApp::it);
    app.people(&[one.clone(), two.clone()]).await;
    app.send(LINK).await;
    let id = |number: &str| TestApp::good(number).replace(",,,\n", ",,H1,\n");
    app.import(&(id(&one) + &id(&two))).await;
    let say = async |number: &str, answer: &str, grants: &[&str]| {
        app.advance(Duration::from_secs(60));
        assert_eq!(app.submit(&app.link(number), answer, grants).await, 303);
    };
    let yes = async || {
        app.advance(Duration::from_secs(60));
        app.reply(&two, REPLY_NUMBER, "SI").await;
    };
    say(&one, "none", &[]).await;
    say(&two, "chosen", &["sms.promotions"]).await;
    yes().await;
    assert_eq!(app.granted(&two).await, ["sms.promotions"], "what the other number grants since answers its no");
    say(&one, "none", &[]).await;
    assert_eq!(app.granted(&two).await, Vec::<String>::new(), "said again it is newer than that");
    // A first yes that waits for its second step ends by it, too.
    say(&two, "chosen", &["sms.promotions"]).await;
    say(&one, "none", &[]).await;
    yes().await;
    assert_eq!(app.granted(&two).await, Vec::<String>::new());
    let entries = app.story(&one).await.ledger.len();
    say(&one, "none", &[]).await;
    assert_eq!(app.story(&one).await.ledger.len(), entries, "a form that is sent twice says nothing new");
});
