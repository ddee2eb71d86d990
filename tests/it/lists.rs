//! Lists as a campaign manager has them: every kind with headers of its own, saved by a spreadsheet.

use std::path::PathBuf;

use permesso::clock::DAY;
use permesso::engine::{import, screening};

use crate::app::{LINK, TestApp};
use crate::both;

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
