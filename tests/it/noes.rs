//! Noes in lists as they come from CRMs: cut, too wide, with stray quotes. None is lost unheard.

use std::process::Command;

use permesso::engine::import;
use permesso::store::{keep, suppressions};
use permesso::vault::Keyed;

use crate::app::{LINK, TestApp};
use crate::both;
use crate::run::ask;

both!(a_no_in_a_row_that_the_crm_cut_short_is_taken, |app| {
    let rows = [
        // The no is there, the rest is not.
        format!("{};si\n", it(1)),
        // Cut before the no: it may say one.
        format!("{}\n", it(2)),
        // Cut behind it.
        format!("{};;2025-01-10\n", it(3)),
        // A line break without quotes: the second half's no is nobody's.
        format!("{}\n;si;2025-01-10;x\n", it(4)),
        // Says no, of a number that a spreadsheet has rounded.
        "3.93E+11;si;2025-01-10;x\n".to_owned(),
        format!("{};;2025-01-10;x\n", it(5)),
    ];
    let summary = app.import_file(&format!("number;unsubscribed;last_action;note\n{}", rows.concat())).await;
    let counts = (summary.rows, summary.new, summary.rejected, summary.unread);
    assert_eq!(counts, (7, 1, 6, 5), "{summary:?}");
    assert!(summary.rejected_by_reason.keys().any(|why| why.contains("all columns in every row")), "{summary:?}");
    assert_eq!(noes(app).await, 1);
    app.people(&[it(1), it(5)]).await;
    app.send(LINK).await;
    assert_eq!([1, 2, 3, 4, 5].map(|n| app.asks(&it(n))), [0, 0, 0, 0, 1], "nobody of a rejected row is asked");
});

both!(a_no_beside_a_missing_cell_is_taken, |app| {
    let rows = [
        // A cell in the middle is missing: the no stands one place to the left.
        format!("{},yes,it\n", it(1)),
        format!("{},prospect,,it\n", it(2)),
    ];
    let summary = app.import_file(&format!("number,kind,unsubscribed,locale\n{}", rows.concat())).await;
    assert_eq!((summary.rejected, summary.unread, noes(app).await), (1, 0, 1), "{summary:?}");
});

both!(no_row_is_swallowed_by_a_quote_of_another, |app| {
    // An inch mark inside a cell, and one at a cell's start with another at the end of a later one.
    for mark in [["screen 24\" wide", "tv 32\" old"], ["\"24 wide", "tv 32\""]] {
        let rows = [
            format!("{},{},\n", it(1), mark[0]),
            format!("{},a,si\n", it(2)),
            format!("{},b,si\n", it(3)),
            format!("{},{},\n", it(4), mark[1]),
            format!("{},\"two\nlines\",si\n", it(5)),
        ];
        let summary = app.import_file(&format!("number,note,unsubscribed\n{}", rows.concat())).await;
        assert_eq!(summary.rows, 5, "every row is counted: {summary:?}");
        assert_eq!(noes(app).await, 3, "{summary:?}");
    }
    // In a list of noes, a carriage return alone does not end a row unheard.
    let path = app.dir.path().join("no.csv");
    std::fs::write(
        &path,
        format!("number,note\n{},he said: 5\" tv\n{},no\n{},7\" too\n{},a\r{},b\n", it(11), it(12), it(13), it(14), it(15)),
    )
    .unwrap();
    let summary = import::suppressions(&app.engine, &path, |_| {}).await.unwrap();
    assert_eq!((summary.rows, summary.new), (4, 4), "{summary:?}");
    app.people(&[it(12), it(13)]).await;
    app.send(LINK).await;
    assert_eq!([12, 13].map(|n| app.asks(&it(n))), [0, 0]);
});

both!(a_customer_without_a_date_stays_one_whatever_else_is_known, |app| {
    let header = "number,kind,last_action,source,ask_basis,basis_evidence,basis_date,box_default\n";
    let row = |n: u32, kind: &str, day: &str| format!("{},{kind},{day},shop,prior_consent,form 1,2026-01-10,unticked\n", it(n));
    let before = [
        row(1, "customer", ""),
        row(1, "prospect", "2022-01-01"),
        row(2, "prospect", "2022-01-01"),
        row(3, "dormant", "2022-01-01"),
    ];
    app.import_file(&format!("{header}{}", before.concat())).await;
    app.import_file(&format!("{header}{}", row(2, "customer", ""))).await;
    app.send(LINK).await;
    assert_eq!([1, 2, 3].map(|n| app.asks(&it(n))), [0, 0, 1], "an active customer wins, in any order");
});

both!(a_row_with_too_many_cells_is_rejected_and_its_no_is_taken, |app| {
    let rows = [
        // A separator in the note, after the no and before it.
        format!("{};Milano;si;one; two\n", it(1)),
        format!("{};Milano; Centro;si;x\n", it(2)),
        // Nobody here says no.
        format!("{};Milano;;one; two\n", it(3)),
        format!("{};Milano;no;one; two\n", it(4)),
        // A quote that is never closed, after the no.
        format!("{};Milano;si;\"one\n", it(5)),
    ];
    let summary = app.import_file(&format!("number;town;unsubscribed;note\n{}", rows.concat())).await;
    assert_eq!((summary.rows, summary.new, summary.rejected), (5, 0, 5), "{summary:?}");
    assert!(summary.rejected_by_reason.keys().any(|why| why.contains("quote fields")), "{summary:?}");
    assert_eq!(noes(app).await, 3);
    app.people(&(1..=5).map(it).collect::<Vec<_>>()).await;
    app.send(LINK).await;
    assert_eq!([1, 2, 3, 4, 5].map(|n| app.asks(&it(n))), [0, 0, 1, 1, 0]);
});

both!(a_list_of_noes_takes_every_number_it_can_read, |app| {
    let path = app.dir.path().join("no.csv");
    std::fs::write(&path, format!("Number,reason\n{},\n{},a,b\n{},\"x\n{},x\n{}\n", it(1), it(2), it(3), it(4), it(5))).unwrap();
    let summary = import::suppressions(&app.engine, &path, |_| {}).await.unwrap();
    assert_eq!((summary.rows, summary.new, summary.rejected, summary.unread), (5, 5, 0, 0), "{summary:?}");
    assert_eq!(noes(app).await, 5);
});

both!(a_no_that_could_not_be_read_is_said_loudly, |app| {
    let path = app.dir.path().join("no.csv");
    for (rows, json) in [("nonsense\n", false), ("nonsense\n", true), ("", true)] {
        std::fs::write(&path, format!("number\n{}\n{rows}", it(1))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_permesso"));
        command.arg("--config").arg(app.dir.path().join("config")).args(["import", "suppressions"]).arg(&path);
        command.args(json.then_some("--json")).env("PERMESSO_CLOCK", app.clock.date_time().to_rfc3339()).env_remove("RUST_LOG");
        let done = tokio::process::Command::from(command).output().await.expect("permesso");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(i32::from(!rows.is_empty())), "{said}");
        assert_eq!(said.contains("1 row could not be read: this no was NOT taken"), !rows.is_empty(), "{said}");
        assert_eq!(noes(app).await, 1, "the others are taken");
    }
});

both!(a_no_taken_by_its_external_id_is_no_error_and_every_no_taken_is_counted, |app| {
    let row = |n: u32, id: &str| format!("{},,prospect,,web shop,prior_consent,form 1,2026-01-10,unticked,,{id},\n", it(n));
    app.import(&(row(1, "C21") + &row(2, "C22") + &row(3, "C23") + &row(4, "C24"))).await;
    let path = app.dir.path().join("list.csv");
    let file = path.to_str().expect("text");
    std::fs::write(&path, "number,external_id\n,C21\n3.93E+11,C22\n").unwrap();
    let (code, out, err) = ask(app.dir.path(), &["import", "suppressions", file]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let expected = "        2 rows without a number that can be read: their noes were taken for everybody with their external_id\n        \
                    1 row rejected\n";
    assert!(out.contains(expected) && !out.contains("C21") && !out.contains("C22"), "{out}");
    // Of a list of contacts: by its id, cut short, in another encoding, wrong elsewhere; and one that nobody can take.
    let rows = [
        b"nonsense,yes,C23,x,\n".to_vec(),
        format!("{},yes\n", it(11)).into_bytes(),
        [it(12).as_bytes(), b",yes,,caff\xe8,\n"].concat(),
        format!("{},yes,,x,friend\n", it(13)).into_bytes(),
    ]
    .concat();
    let header = b"number,unsubscribed,external_id,source,kind\n";
    std::fs::write(&path, [&header[..], &rows].concat()).unwrap();
    let (code, out, err) = ask(app.dir.path(), &["import", "contacts", file]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for line in [
        "        4 rows rejected\n",
        "        4 of the rows say no: suppressed\n",
        "        1 row without a number that can be read: its no was taken for everybody with its external_id\n",
    ] {
        assert!(out.contains(line) && !out.contains("C23"), "{line}: {out}");
    }
    std::fs::write(&path, [&header[..], &rows, b"nonsense,yes,,x,\n"].concat()).unwrap();
    let (code, out, err) = ask(app.dir.path(), &["import", "contacts", file]).await;
    assert!(code == 1 && err.contains("1 row that says no") && err.contains("this no was NOT taken"), "{err}");
    assert!(out.contains("        4 of the rows say no: suppressed\n"), "{out}");
    app.send(LINK).await;
    assert_eq!([1, 2, 3, 4].map(|n| app.asks(&it(n))), [0, 0, 0, 1]);
});

fn it(n: u32) -> String {
    TestApp::it(n)
}

async fn noes(app: &TestApp) -> i64 {
    app.count("SELECT COUNT(*) FROM suppressions").await
}

both!(the_day_of_a_no_in_a_list_is_kept_and_told, |app| {
    let [dated, plain, listed, rejected] = [1, 2, 3, 4].map(TestApp::it);
    let row = |number: &str, no: &str| TestApp::good(number).replace("unticked,", &format!("unticked,{no}"));
    let rows = [row(&dated, "2025-10-01"), row(&plain, "yes"), TestApp::good(&listed)].concat();
    app.import(&(rows + &row(&rejected, "2025-08-01").replace("prospect", "friend"))).await;
    app.import(&row(&dated, "01/11/2025")).await;
    let file = app.dir.path().join("noes.csv");
    std::fs::write(&file, format!("number,unsubscribed\n{listed},30.09.2025\n")).unwrap();
    import::suppressions(&app.engine, &file, |_| {}).await.unwrap();
    app.plan(LINK).await;
    for (number, day) in [(&dated, " on 2025-10-01"), (&plain, ""), (&listed, " on 2025-09-30"), (&rejected, " on 2025-08-01")] {
        let story = app.story(number).await;
        let told = format!("unsubscribed{day}, as a list says that was imported on 2026-12-01 10:45 (Europe/Rome)");
        assert!(story.verdict.contains(&told) && story.suppressions == [told], "{story:?}");
    }
    let facts = app.story(&plain).await.campaigns.remove(0).decisions.remove(0).lines();
    assert!(facts.contains(&("A no on record", "unsubscribed, by a list imported on 2026-12-01".into())), "{facts:?}");
    let (code, csv, err) = ask(app.dir.path(), &["contact", "export", &dated, "--format", "csv"]).await;
    assert!(code == 0 && csv.contains(",unsubscribed_before,,,,said on 2025-10-01,"), "{csv}{err}");
    // A restored copy is told it too.
    let mut tx = app.engine.store.write().await.unwrap();
    let noes = keep::noes_after(&mut tx, &app.engine.controller, 0, 9).await.unwrap();
    assert_eq!(noes.iter().filter(|row| row.no.said_on.as_deref() == Some("2025-09-30")).count(), 1, "{noes:?}");
    let no = keep::No {
        mac: "m".into(),
        key_id: 1,
        scope: "marketing".into(),
        reason: "unsubscribed_before".into(),
        at: 1,
        said_on: Some("2025-07-01".into()),
        learned_at: None,
    };
    let keyed = [Keyed { key_id: 1, mac: "m".into() }];
    keep::add_noes(&mut tx, &app.engine.controller, &[no], 9).await.unwrap();
    suppressions::date(&mut tx, &app.engine.controller, &[(keyed[0].clone(), "2025-07-02".into())]).await.unwrap();
    let day = suppressions::said_on(&mut tx, &app.engine.controller, &keyed).await.unwrap();
    assert_eq!(day.as_deref(), Some("2025-07-01"), "the earliest");
    tx.rollback().await.unwrap();
});

both!(a_no_of_a_row_whose_number_was_erased_is_its_humans_all_the_same, |app| {
    let (erased, other) = (TestApp::it(1), TestApp::it(2));
    let (code, out, err) = crate::run::ask(app.dir.path(), &["contact", "erase", &erased]).await;
    assert_eq!(code, 0, "{out}{err}");
    app.import(&crate::erasure::with_id(&other, "Z")).await;
    let noes = app.dir.path().join("of-humans.csv");
    std::fs::write(&noes, format!("number,external_id\n{erased},Z\n")).unwrap();
    import::suppressions(&app.engine, &noes, |_| {}).await.unwrap();
    app.send(LINK).await;
    assert_eq!(app.asks(&other), 0, "{:?}", app.decisions(&other).await);
});
