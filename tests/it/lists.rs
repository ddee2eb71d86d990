//! Lists as a campaign manager has them: every kind with headers of its own, saved by a spreadsheet.

use std::path::PathBuf;

use permesso::clock::DAY;
use permesso::engine::table::NotUtf8;
use permesso::engine::{import, screening};

use crate::app::{LINK, TestApp};
use crate::both;
use crate::run::permesso;

fn file(app: &TestApp, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = app.dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

both!(every_kind_of_list_has_its_own_headers, |app| {
    app.reconfigure(
        "[import.contacts.columns]\nnumber = \"Cellulare\"\nunsubscribed = \"Disiscritto\"\n\
         [import.suppressions.columns]\nnumber = \"Telefono\"\nexternal_id = \"Codice cliente\"\n\
         [import.screening.columns]\nnumber = \"NUMERO\"\nregistered_since = \"DATA ISCRIZIONE\"",
    )
    .await;
    let [one, two, three] = [1, 2, 3].map(TestApp::it);
    let noes = file(app, "no.csv", format!("Codice cliente;Telefono\nA1;{one}\n"));
    let summary = import::suppressions(&app.engine, &noes, |_| {}).await.unwrap();
    assert_eq!((summary.new, summary.rejected), (1, 0), "{summary:?}");

    let header = "Cellulare,source,ask_basis,basis_evidence,basis_date,box_default,Disiscritto,external_id";
    let row =
        |number: &str, no: &str, id: &str| format!("{number},web shop,prior_consent,form 1,2026-01-10,unticked,{no},{id}\n");
    let rows = [
        row(&one, "", ""),
        row(&two, "si", ""),
        row(&three, "", "A1"),
        row(&TestApp::it(4), "", ""),
        row(&TestApp::it(5), "", ""),
    ]
    .concat();
    let summary = app.import_file(&format!("{header}\n{rows}")).await;
    assert_eq!((summary.new, summary.rejected, summary.missing_fields.contains(&"unsubscribed".to_owned())), (5, 0, false));
    let rpo = file(app, "rpo.csv", "NUMERO;DATA ISCRIZIONE\n+393000000004;2026-05-01\n");
    let at = app.engine.now() - DAY;
    let summary = screening::import(&app.engine, &rpo, "RPO", at, false, |_| {}).await.unwrap();
    assert_eq!((summary.new, summary.rejected), (1, 0), "{summary:?}");
    app.send(LINK).await;
    // One by the list of noes, one by the column, one by the human of the list, one by the register.
    assert_eq!([1, 2, 3, 4, 5].map(|n| app.asks(&TestApp::it(n))), [0, 0, 0, 0, 1]);
});

both!(a_word_for_none_is_nobodys_id_and_an_id_of_many_is_told, |app| {
    let nones = ["0", "n/a", "-", "null", "none", "unknown", "nd", "n.d.", "sconosciuto", "#N/A"];
    let rows: String = nones.iter().zip(1..).map(|(id, n)| crate::erasure::with_id(&TestApp::it(n), id)).collect();
    let again: String = nones.iter().zip(11..).map(|(id, n)| crate::erasure::with_id(&TestApp::it(n), id)).collect();
    let summary = app.import(&format!("{rows}{again}")).await;
    assert_eq!((summary.new, summary.new_people, summary.crowded_ids.len()), (20, 20, 0), "{summary:?}");
    app.send(LINK).await;
    app.reply(&TestApp::it(1), crate::app::REPLY_NUMBER, "STOP").await;
    assert_eq!((1..=20).map(|n| app.asks(&TestApp::it(n))).sum::<usize>(), 20);
    assert!(app.story(&TestApp::it(11)).await.suppressions.is_empty(), "no no of a stranger's");
    // In a list of noes it names nobody, and a row with nothing else is said loudly.
    let noes = file(app, "no.csv", format!("number,external_id\n{},0\n,n/a\n", TestApp::it(2)));
    let summary = import::suppressions(&app.engine, &noes, |_| {}).await.unwrap();
    assert_eq!((summary.new, summary.by_id, summary.unread), (1, 0, 1), "{summary:?}");
    assert!(app.story(&TestApp::it(11)).await.suppressions.is_empty());
    let rows = (30..=41).chain([41]).map(|n| crate::erasure::with_id(&TestApp::it(n), "CRM"));
    let list =
        file(app, "list.csv", format!("{}{}{}", crate::app::HEADER, TestApp::good(&TestApp::it(50)), rows.collect::<String>()));
    let args = ["import", "contacts", list.to_str().unwrap()];
    let (code, out, err) = crate::run::ask(app.dir.path(), &args).await;
    assert!(code == 0 && out.contains("WARNING: an external_id that stands on more than ten numbers"), "{out}{err}");
    assert!(out.contains("           12  numbers have the one of line 3\n") && !out.contains("CRM"), "{out}");
    let (_, out, _) = crate::run::ask(app.dir.path(), &["--json", args[0], args[1], args[2]]).await;
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(summary["crowded_ids"], serde_json::json!([{ "line": 3, "numbers": 12 }]));
});

both!(a_day_with_a_time_is_read_and_a_short_year_is_asked_back, |app| {
    let days = ["2025-06-01 00:00:00", "2025-06-01T10:30:00Z", "01/06/2025 10:30", "2025/06/01"];
    let row = |n, day: &str| TestApp::good(&TestApp::it(n)).replace("2026-01-10", day);
    let rows: String = days.iter().zip(1..).map(|(day, n)| row(n, day)).collect();
    assert_eq!(app.import(&rows).await.rejected, 0);
    for n in 1..=4 {
        let imported = app.story(&TestApp::it(n)).await.imported;
        assert!(imported[0].contains("(form 1, 2025-06-01, box"), "{imported:?}");
    }
    let summary = app.import(&format!("{}{}", row(5, "17/05/25"), row(6, "1.6.25"))).await;
    let why = "basis_date: cannot be read for sure: write the year in four digits, as in 31/03/2026";
    assert_eq!(summary.rejected_by_reason, [(why.to_owned(), 2)].into());
});

#[tokio::test]
async fn where_rejected_rows_cannot_be_written_down_it_is_said_what_was_imported() {
    let mut app = TestApp::new(crate::app::Kind::Sqlite).await;
    let list = file(&app, "list.csv", format!("number\n{}\nnobody\n", TestApp::it(1)));
    // As in a folder that is read-only, also for whoever may write everywhere.
    std::fs::create_dir(app.dir.path().join("list.csv.rejected.csv")).unwrap();
    let (code, _, err) = crate::run::ask(app.dir.path(), &["import", "contacts", list.to_str().unwrap()]).await;
    assert!(code == 1 && err.contains("nothing of the file was imported: cannot write") && err.contains("remedy"), "{err}");
    assert_eq!(app.count("SELECT COUNT(*) FROM contacts").await, 0);
    let many: String = (1..=2_000).map(|n| format!("{}\n", TestApp::it(n))).collect();
    file(&app, "list.csv", format!("number\n{many}nobody\n"));
    let (code, _, err) = crate::run::ask(app.dir.path(), &["import", "contacts", list.to_str().unwrap()]).await;
    assert!(code == 1 && err.contains("the first 2000 rows are imported and the rest was not"), "{err}");
    assert_eq!(app.count("SELECT COUNT(*) FROM contacts").await, 2_000);
    // Nor is a folder without hope silent.
    let (code, _, err) = crate::run::ask(std::path::Path::new("/dev/null"), &["init"]).await;
    assert!(code == 1 && err.contains("choose a folder that you may write"), "{err}");
    app.end().await;
}

both!(a_header_that_is_missing_is_named_with_its_list_and_its_section, |app| {
    app.reconfigure("[import.suppressions.columns]\nexternal_id = \"Codice\"").await;
    let noes = file(app, "no.csv", "number\n+393000000001\n");
    let error = import::suppressions(&app.engine, &noes, |_| {}).await.unwrap_err().to_string();
    for expected in [
        "no.csv:1: this list (suppressions) has no column `Codice`",
        "[import.suppressions.columns] in permesso.toml names for `external_id`",
        "remedy: correct one of the two",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    let rpo = file(app, "rpo.csv", "NUMERO\n+393000000001\n");
    let error = screening::import(&app.engine, &rpo, "RPO", app.engine.now(), false, |_| {}).await.unwrap_err().to_string();
    let expected = "rpo.csv:1: this list (screening) has no column `number`; remedy: name it in the file's first line, or write what such \
                    lists call it under [import.screening.columns] in permesso.toml: number = \"their header\"";
    assert!(error.ends_with(expected), "{error}");
});

both!(new_people_are_neither_rows_nor_numbers_nor_people_known_already, |app| {
    let row = |n: u32, form: &str, id: &str| {
        format!("{},,prospect,,web shop,prior_consent,form {form},2026-01-10,unticked,,{id},\n", TestApp::it(n))
    };
    app.import(&row(8, "1", "known")).await;
    let rows = [
        // One human by two numbers.
        row(1, "1", "A"),
        row(2, "1", "A"),
        // One number by two rows, and one of these twice.
        row(3, "1", ""),
        row(3, "2", ""),
        row(3, "2", ""),
        // Another number of somebody known, and the one known already.
        row(9, "1", "known"),
        row(8, "1", "known"),
    ];
    let summary = app.import(&rows.concat()).await;
    let counts = (summary.rows, summary.new, summary.new_people, summary.merged, summary.repeated);
    assert_eq!(counts, (7, 4, 2, 1, 2), "{summary:?}");
    let out = permesso(app.dir.path()).args(["import", "contacts"]).arg(app.dir.path().join("contacts.csv")).output().unwrap();
    let out = String::from_utf8(out.stdout).unwrap();
    assert!(out.starts_with("        7 rows\n        0 new people\n"), "{out}");
    assert!(out.contains("        7 rows repeated, nothing new\n"), "{out}");

    // A list of noes: what counts are its own rows, though the no of 1 reaches 2 as well.
    let noes = file(app, "no.csv", format!("number\n{}\n{}\n{}\n", TestApp::it(1), TestApp::it(1), TestApp::it(5)));
    let summary = import::suppressions(&app.engine, &noes, |_| {}).await.unwrap();
    assert_eq!((summary.rows, summary.new, summary.repeated), (3, 2, 1), "{summary:?}");
    let noes = file(app, "no.csv", format!("number\n{}\n", TestApp::it(2)));
    let out = permesso(app.dir.path()).args(["import", "suppressions"]).arg(&noes).output().unwrap();
    let out = String::from_utf8(out.stdout).unwrap();
    let expected = "        1 row\n        0 rows with a number left in peace from now on\n        1 row with a number left in peace already\n";
    assert!(out.starts_with(expected), "{out}");
});

both!(a_list_that_is_not_utf8_says_where_what_it_is_and_what_to_do, |app| {
    let row = |number: &str, source: &[u8]| [number.as_bytes(), b";prospect;", source, b"\n"].concat();
    let one = TestApp::it(1);
    for (source, encoding) in
        [(&b"caff\xe8 perch\xe9"[..], "windows-1252"), (&b"sklep \xa3\xf3d\x9f, ul. \x8cl\xb9ska"[..], "windows-1250")]
    {
        let rows =
            [b"number;kind;source\n".to_vec(), row(&one, b"shop"), row(&TestApp::it(2), source), row(&TestApp::it(3), source)];
        let path = file(app, "list.csv", rows.concat());
        let summary = import::contacts(&app.engine, &path, |_| {}).await.unwrap();
        assert_eq!(summary.not_utf8, Some(NotUtf8 { line: 3, rows: 2, encoding }), "{summary:?}");
        assert_eq!((summary.rows, summary.rejected), (3, 2));
        let out = permesso(app.dir.path()).args(["import", "contacts"]).arg(&path).output().unwrap();
        let out = String::from_utf8(out.stdout).unwrap();
        let expected =
            format!("WARNING: 2 rows are not UTF-8, the first in line 3: the file is probably {encoding}. Remedy: save it as");
        assert!(out.contains(&expected) && out.contains(&format!("`iconv -f {encoding} -t utf-8 ")), "{out}");
    }
    let path = file(app, "list.csv", b"number;citt\xe0\n+393000000001;x\n");
    let error = import::contacts(&app.engine, &path, |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("list.csv:1: the header is not UTF-8, but probably windows-1252; remedy: save it as"), "{error}");
});

both!(a_country_is_understood_by_its_name_or_the_row_is_named, |app| {
    let rows = [
        "300 0000001;Italia;",
        "770 000 002;Spagna;",
        "499 000 003;POLSKA;",
        // Whose is it? Not the default country's.
        "300 0000004;Ruritania;",
        "300 0000005;Ruritania;si",
        // Its own country code says it.
        "+393000000006;Ruritania;",
    ];
    let summary = app.import_file(&format!("number;country;unsubscribed\n{}\n", rows.join("\n"))).await;
    assert_eq!((summary.new, summary.rejected, summary.unread), (4, 2, 1), "{summary:?}");
    for number in [TestApp::it(1), "+34770000002".into(), "+48499000003".into(), TestApp::it(6)] {
        app.story(&number).await;
    }
    let rejected = std::fs::read_to_string(summary.rejected_file.unwrap()).unwrap();
    let lines: Vec<&str> = rejected.lines().skip(1).collect();
    assert!(lines[0].starts_with("5,country,") && lines[1].starts_with("6,country,"), "{rejected}");
    assert!(
        rejected.contains("names no country we know") && rejected.contains("remedy: write the country's ISO code"),
        "{rejected}"
    );
    // Nor is a language what begins with the letters of one.
    let summary = app.import_file("number;locale\n+393000000007;klingon\n+393000000008;it-IT\n").await;
    assert_eq!((summary.new, summary.rejected), (1, 1), "{summary:?}");
    let rejected = std::fs::read_to_string(summary.rejected_file.unwrap()).unwrap();
    assert!(rejected.contains("2,locale,") && rejected.contains("is not a language such as it or it-IT"), "{rejected}");
});

both!(a_workbook_or_other_binary_is_named_and_not_read_as_a_list, |app| {
    for (name, bytes, what) in [
        ("list.xlsx", &b"PK\x03\x04\x14\x00\x06\x00[Content_Types].xml\n+393000000001\n"[..], "an Excel workbook"),
        ("list.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\n", "an old Excel workbook"),
        ("list.gz", b"\x1f\x8b\x08\x00\xe8\n", "a binary file"),
    ] {
        let path = file(app, name, bytes);
        for error in [
            import::contacts(&app.engine, &path, |_| {}).await.unwrap_err(),
            import::suppressions(&app.engine, &path, |_| {}).await.unwrap_err(),
        ] {
            let error = error.to_string();
            let remedy = "not CSV; remedy: save it as CSV UTF-8 (in Excel: Save as, \"CSV UTF-8\") and import that file";
            assert!(error.contains(&format!("{name} is {what}")) && error.ends_with(remedy), "{error}");
        }
    }
    // What begins alike and is a list.
    let path = file(app, "no.csv", "PK;number\n7;+393000000001\n");
    assert_eq!(import::suppressions(&app.engine, &path, |_| {}).await.unwrap().new, 1);
});
