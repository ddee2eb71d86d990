//! What every function of the store answers and leaves behind, the same on both databases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use permesso::domain::answer::{Answer, By};
use permesso::domain::campaign::CampaignState;
use permesso::domain::channel::{Channel, Permission};
use permesso::domain::ledger::{Body, Entry, GENESIS, Preference};
use permesso::domain::message::{Kind as MessageKind, State};
use permesso::domain::suppression::Reason;
use permesso::engine::import;
use permesso::store::codes::{self, Made};
use permesso::store::contacts::Imported;
use permesso::store::control::{Gap, Health, Silence};
use permesso::store::conversations::Opening;
use permesso::store::messages::{Batch, Claim, Claimant, New, NotNow, Route, Settled};
use permesso::store::queue::{self, Job};
use permesso::store::rates::{self, Lease, Rate};
use permesso::store::{
    Store, Tx, answers, campaigns, contacts, control, conversations, erase, facts, humans, inbound, keep, keys, ledger, legs,
    listed, messages, notices, paces, report, screenings, suppressions,
};
use permesso::vault::{Keyed, USER};

use crate::app::{HEADER, Kind, LINK, TestApp};
use crate::both;

/// A controller of the tests' own: the doors that [`TestApp`] opens write under another.
const C: &str = "contract";
const LATE: i64 = 1_000_000;
const MINUTE_DB: i64 = 60_000_000;

async fn write(app: &TestApp) -> Tx {
    app.engine.store.write().await.unwrap()
}

fn keyed(app: &TestApp, n: u32) -> Vec<Keyed> {
    app.engine.vault.keyed_all(&TestApp::number(&TestApp::it(n)))
}

/// A row that says as little as a row can.
fn row(app: &TestApp, n: u32) -> Imported {
    let number = TestApp::number(&TestApp::it(n));
    let mut keyed = app.engine.vault.keyed_all(&number);
    let newest = keyed.pop().unwrap();
    Imported {
        mac: newest.mac,
        key_id: newest.key_id,
        other_macs: keyed,
        number_enc: app.engine.vault.encrypt_number(&number).unwrap(),
        subject: format!("s{}", permesso::vault::token()),
        country: Some("IT".into()),
        line: "mobile",
        locale: None,
        zone: None,
        kind: None,
        last_action: None,
        human: None,
        row_hash: format!("row {n}"),
        import_line: 2,
        file: "contacts.csv".into(),
        source: "web shop".into(),
        quarantined: 0,
        basis: Some("prior_consent"),
        evidence: Some("form 1".into()),
        basis_date: Some("2025-01-10".into()),
        box_default: Some("unticked"),
        channels: "sms".into(),
        approver: None,
        conditions: String::new(),
        unsubscribed: 0,
    }
}

async fn known(tx: &mut Tx, app: &TestApp, n: u32) -> contacts::Contact {
    contacts::by_number(tx, C, &keyed(app, n)).await.unwrap().unwrap()
}

async fn contact(tx: &mut Tx, app: &TestApp, n: u32) -> i64 {
    contacts::merge(tx, C, &[row(app, n)], 1).await.unwrap();
    known(tx, app, n).await.id
}

async fn campaign(tx: &mut Tx, name: &str, allowance: Option<i64>) -> i64 {
    let start = campaigns::Start {
        name,
        family: "spring",
        plan_id: "p",
        body: "{}",
        hash: "h",
        start_at: 0,
        deadline: LATE,
        allowance,
        currency: None,
    };
    let id = campaigns::start(tx, C, &start, 1).await.unwrap();
    campaigns::set_state(tx, id, CampaignState::Running, None).await.unwrap();
    id
}

/// Gives a message a revision, as the planner does.
async fn give_revision(tx: &mut Tx, message: i64) {
    const SQL: &str = "UPDATE messages SET revision_id = 1 WHERE id = $1";
    match tx {
        Tx::Sqlite(t) => drop(sqlx::query(SQL).bind(message).execute(&mut **t).await.unwrap()),
        Tx::Postgres(t) => drop(sqlx::query(SQL).bind(message).execute(&mut **t).await.unwrap()),
    }
}

fn message(contact: i64, kind: MessageKind, due_at: i64) -> New {
    New {
        contact,
        family: "spring".into(),
        person: format!("person {contact}"),
        kind: kind.code(),
        cause: "plan".into(),
        channel: "sms",
        wording: None,
        locale: "it".into(),
        due_at,
        expires_at: LATE,
    }
}

fn route(campaign: Option<i64>) -> Route<'static> {
    Route { campaign, revision: None, gateway: "g", sender: "s" }
}

/// One batch of messages and their ids.
async fn planned(tx: &mut Tx, campaign: Option<i64>, new: &[New]) -> (Batch, Vec<i64>) {
    let (id, first) = messages::plan(tx, C, &route(campaign), new, 5).await.unwrap().unwrap();
    let batch = messages::batch(tx, id).await.unwrap().unwrap();
    let due = messages::due(tx, &batch, LATE, 100).await.unwrap();
    assert_eq!((batch.lo, due[0].id), (first, first));
    (batch, due.iter().map(|d| d.id).collect())
}

fn claim_of(contact: i64, message: i64) -> Claim {
    Claim {
        message,
        contact,
        reference: format!("ask-{message}"),
        token_hash: Some(format!("token {message}")),
        wording_hash: Some("w".into()),
        send_before: LATE,
        marks: vec![(format!("mark {contact}"), 1)],
        cost: 70_000,
        basis: Some("prior_consent"),
    }
}

const WHO: Claimant<'static> = Claimant { slice: "slice", worker: "worker", gateway: "g" };

/// An ask on its way, as delivery leaves it before it sends: (message, attempt).
async fn sending(tx: &mut Tx, campaign: i64, contact: i64) -> (i64, i64) {
    let (_, ids) = planned(tx, Some(campaign), &[message(contact, MessageKind::Ask, 0)]).await;
    let claim = claim_of(contact, ids[0]);
    let won = messages::claim(tx, C, &WHO, std::slice::from_ref(&claim), 10).await.unwrap();
    messages::mark_asked(tx, C, "spring", MessageKind::Ask, &[&claim], 10).await.unwrap();
    let opening = Opening { contact, message: ids[0], expires_at: 100 };
    conversations::open(tx, C, Some(campaign), None, "link", &[opening], 10).await.unwrap();
    won[0]
}

fn settled((message, attempt): (i64, i64), outcome: &'static str, state: State) -> Settled {
    let provider_id = (outcome == "accepted").then(|| format!("provider {message}"));
    Settled { attempt, message, outcome, provider_id, error: None, reason: None, state: state.code(), due_at: 50, uncounted: 0 }
}

async fn state(tx: &mut Tx, message: i64) -> State {
    State::parse(&messages::state_and_reason(tx, message).await.unwrap().unwrap().0).unwrap()
}

pub fn body(subject: &str, entry: Entry, at: i64, permissions: &[&str]) -> Body {
    Body {
        subject: subject.into(),
        entry,
        at,
        channel: "sms".into(),
        action: "reply".into(),
        permissions: permissions.iter().map(|p| Permission::parse(p).unwrap()).collect(),
        campaign: None,
        ask_basis: None,
        ask_reference: None,
        wording_hash: None,
        locale: None,
        notice_version: None,
        evidence: None,
        text_hash: None,
        first_yes: None,
        notice_hash: None,
        times: None,
        form: None,
        page_hash: None,
    }
}

// The store itself.

both!(a_transaction_rolled_back_leaves_nothing, |app| {
    let mut tx = write(app).await;
    contact(&mut tx, app, 1).await;
    assert!(tx.db_now().await.unwrap() > 1_700_000_000_000_000, "microseconds of a clock that is roughly right");
    tx.rollback().await.unwrap();
    let mut tx = app.engine.store.read().await.unwrap();
    assert!(contacts::by_number(&mut tx, C, &keyed(app, 1)).await.unwrap().is_none());
    tx.commit().await.unwrap();
    let other = Store::open(&app.engine.config.database).await.unwrap();
    other.close().await;
    assert!(other.read().await.is_err(), "a closed store answers nothing more");
});

#[tokio::test]
async fn both_schemas_have_the_same_tables_and_columns() {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Store::migrate(&format!("sqlite:{}", dir.path().join("new/permesso.db").display())).await.unwrap();
    let postgres = Store::migrate(&crate::postgres::database().await).await.unwrap();
    let (Store::Sqlite { read, .. }, Store::Postgres { pool, .. }) = (&sqlite, &postgres) else { unreachable!() };
    let mut one: Vec<(String, String, bool)> = sqlx::query_as(
        "SELECT m.name, p.name, p.\"notnull\" + p.pk > 0 FROM sqlite_master m JOIN pragma_table_info(m.name) p
         WHERE substr(m.name, 1, 1) <> '_' AND m.name NOT LIKE 'sqlite%' AND m.name NOT IN ('Jobs', 'Workers', 'counting', 'counted')
           AND m.type IN ('table', 'view')",
    )
    .fetch_all(read)
    .await
    .unwrap();
    let mut two: Vec<(String, String, bool)> = sqlx::query_as(
        "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT), is_nullable = 'NO' FROM information_schema.columns
         WHERE table_schema = 'public' AND left(table_name, 1) <> '_'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    one.sort();
    two.sort();
    assert!(one.iter().any(|(table, column, _)| table == "ledger" && column == "prev"), "the tables were found");
    assert_eq!(one, two);
    sqlite.close().await;
    postgres.close().await;
}

both!(what_is_committed_survives_a_power_cut, |app| {
    match &app.engine.store {
        Store::Sqlite { write, read, queue } => {
            for pool in [write, read, queue] {
                let mut held = Vec::new();
                for _ in 0..pool.options().get_max_connections() {
                    let mut one = pool.acquire().await.unwrap();
                    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *one).await.unwrap();
                    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *one).await.unwrap();
                    assert_eq!((synchronous, journal.as_str()), (2, "wal"));
                    held.push(one);
                }
            }
        }
        Store::Postgres { pool, queue } => {
            for pool in [pool, queue] {
                let mut held = Vec::new();
                for _ in 0..pool.options().get_max_connections() {
                    let mut one = pool.acquire().await.unwrap();
                    let commit: String = sqlx::query_scalar("SHOW synchronous_commit").fetch_one(&mut *one).await.unwrap();
                    assert_eq!(commit, "on");
                    held.push(one);
                }
            }
        }
    }
});

// Contacts.

both!(merge_is_the_same_in_any_order, |app| {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let mut tx = write(app).await;
    let some = |text: &str| Some(text.to_owned());
    let mut seen = BTreeSet::new();
    for (n, (order, at_once)) in orders.iter().flat_map(|o| [(o, true), (o, false)]).enumerate() {
        let n = u32::try_from(n).unwrap();
        let one = Imported { kind: Some("prospect"), last_action: some("2026-01-05"), locale: some("it"), ..row(app, n) };
        let two = Imported { kind: Some("customer"), zone: some("Europe/Rome"), ..row(app, n) };
        let three = Imported { kind: Some("dormant"), last_action: some("2025-01-05"), locale: some("en"), ..row(app, n) };
        let rows = [
            Imported { row_hash: "1".into(), ..one },
            Imported { row_hash: "2".into(), zone: some("Europe/London"), ..three },
            Imported { row_hash: "3".into(), human: Some(format!("human {n}")), ..two },
        ];
        let rows: Vec<Imported> = order.iter().map(|i| rows[*i].clone()).collect();
        let mut merged = contacts::Merged::default();
        for chunk in rows.chunks(if at_once { 3 } else { 1 }) {
            let m = contacts::merge(&mut tx, C, chunk, 1).await.unwrap();
            (merged.new, merged.evidence) = (merged.new + m.new, merged.evidence + m.evidence);
        }
        assert_eq!((merged.new, merged.evidence), (1, 3));
        let again = contacts::merge(&mut tx, C, &rows, 2).await.unwrap();
        let nothing = contacts::Merged { humans: vec![format!("human {n}")], ..contacts::Merged::default() };
        assert_eq!(again, nothing, "a second import adds nothing");
        let c = known(&mut tx, app, n).await;
        assert_eq!(contacts::evidence_of(&mut tx, c.id).await.unwrap().len(), 3);
        seen.insert((c.kind, c.last_action, c.locale, c.zone, c.created_at));
    }
    // The row that says customer has no date: the last of all days.
    let strictest = (some("customer"), some(contacts::UNDATED), some("en"), some("Europe/London"), 1);
    assert_eq!(seen, BTreeSet::from([strictest]));
    tx.rollback().await.unwrap();
});

both!(contacts_are_paged_held_and_locked, |app| {
    let mut tx = write(app).await;
    let ids = [contact(&mut tx, app, 1).await, contact(&mut tx, app, 2).await, contact(&mut tx, app, 3).await];
    assert_eq!(contacts::ids_after(&mut tx, C, 0, 2).await.unwrap(), [(ids[0],), (ids[1],)]);
    assert_eq!(contacts::ids_after(&mut tx, C, ids[1], 2).await.unwrap(), [(ids[2],)]);
    assert_eq!(contacts::ids_after(&mut tx, "another", 0, 2).await.unwrap(), []);
    contacts::hold(&mut tx, ids[0], Some(7)).await.unwrap();
    assert_eq!(contacts::lock(&mut tx, ids[0]).await.unwrap().unwrap().held_at, Some(7));
    contacts::hold(&mut tx, ids[0], None).await.unwrap();
    assert_eq!(contacts::lock(&mut tx, ids[0]).await.unwrap().unwrap().held_at, None);
    assert!(contacts::lock(&mut tx, -1).await.unwrap().is_none());
    contacts::save_import(&mut tx, C, "contacts", "contacts.csv", "{}", 1).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(app.count("SELECT COUNT(*) FROM imports WHERE controller = 'contract' AND at = 1").await, 1);
});

both!(a_row_is_known_once_it_was_merged, |app| {
    let mut tx = write(app).await;
    let rows = [row(app, 1), Imported { row_hash: "another".into(), ..row(app, 1) }];
    assert!(contacts::known_rows(&mut tx, C, &rows).await.unwrap().is_empty());
    contacts::merge(&mut tx, C, &rows[..1], 1).await.unwrap();
    assert_eq!(contacts::known_rows(&mut tx, C, &rows).await.unwrap(), [rows[0].row_hash.clone()]);
    tx.rollback().await.unwrap();
});

both!(a_row_that_says_no_is_noted_once, |app| {
    let mut tx = write(app).await;
    assert_eq!(listed::note(&mut tx, C, &["a", "b", "a"]).await.unwrap(), ["a", "b"].map(str::to_owned).into());
    assert_eq!(listed::note(&mut tx, C, &["b", "c"]).await.unwrap(), ["c".to_owned()].into());
    assert_eq!(listed::note(&mut tx, "another", &["a"]).await.unwrap().len(), 1, "each controller for itself");
    assert!(listed::note(&mut tx, C, &[]).await.unwrap().is_empty());
    tx.rollback().await.unwrap();
});

both!(a_no_closes_conversations_and_names_whose_grants_end, |app| {
    let mut tx = write(app).await;
    let same = |n| Imported { human: Some("human".into()), ..row(app, n) };
    contacts::merge(&mut tx, C, &[same(1), same(2), row(app, 3)], 1).await.unwrap();
    let (one, two) = (known(&mut tx, app, 1).await, known(&mut tx, app, 2).await);
    ledger::append(&mut tx, &app.engine.vault, C, &body(&two.subject, Entry::Granted, 3, &["sms.promotions"]), &[], 1)
        .await
        .unwrap();
    let opening = |contact| Opening { contact, message: 77, expires_at: 100 };
    conversations::open(&mut tx, C, None, None, "link", &[opening(one.id), opening(two.id)], 10).await.unwrap();
    planned(&mut tx, None, &[message(one.id, MessageKind::Ask, 0)]).await;
    let person = format!("person {}", one.id);
    let asks = [(person.clone(), one.id)];
    assert_eq!(messages::asks_of(&mut tx, C, "spring", ["nobody", &person].into_iter()).await.unwrap(), asks);
    assert!(messages::asks_of(&mut tx, C, "autumn", [person.as_str()].into_iter()).await.unwrap().is_empty());
    suppressions::suppress(&mut tx, C, &keyed(app, 1), Reason::Stopped, By::Person, 4, 4).await.unwrap();
    assert!(messages::asks_of(&mut tx, C, "spring", [person.as_str()].into_iter()).await.unwrap().is_empty(), "cancelled");
    // Whose no it is, the ledger or the list says, and nothing else.
    let three = known(&mut tx, app, 3).await.id;
    assert_eq!(humans::of_several_numbers(&mut tx, &[one.id, two.id, three]).await.unwrap(), [one.id, two.id].into());
    let no = async |tx: &mut Tx, contact| {
        let noes = humans::noes_of_others(tx, contact).await.unwrap();
        noes.into_iter().map(|no| (no.reason, no.at, no.said_there, no.said_here)).collect::<Vec<_>>()
    };
    let stopped = |there, here| vec![("stopped".to_owned(), 4, there, here)];
    assert_eq!(no(&mut tx, two.id).await, stopped(0, 0));
    ledger::append(&mut tx, &app.engine.vault, C, &body(&one.subject, Entry::Stopped, 4, &[]), &[], 4).await.unwrap();
    assert_eq!((no(&mut tx, one.id).await, no(&mut tx, two.id).await), (stopped(0, 1), stopped(1, 0)));
    assert_eq!(no(&mut tx, three).await, []);
    assert!(conversations::open_of(&mut tx, one.id).await.unwrap().is_none());
    assert!(conversations::open_of(&mut tx, two.id).await.unwrap().is_none());
    assert_eq!(ledger::granted(&mut tx, C, &two.subject).await.unwrap().len(), 1);
    assert_eq!(ledger::first_yeses(&mut tx, C, &two.subject).await.unwrap().len(), 1);
    assert_eq!(suppressions::granted_among(&mut tx, C, &keyed(app, 1), Reason::Stopped).await.unwrap(), [two.id]);
    assert!(suppressions::granted_among(&mut tx, C, &keyed(app, 1), Reason::WrongPerson).await.unwrap().is_empty());
    assert!(suppressions::granted_among(&mut tx, C, &keyed(app, 3), Reason::Stopped).await.unwrap().is_empty());
    assert!(suppressions::granted_alone(&mut tx, C, &keyed(app, 1)).await.unwrap().is_empty(), "its own");
    assert_eq!(suppressions::granted_alone(&mut tx, C, &keyed(app, 2)).await.unwrap(), [two.id]);
    suppressions::lock_reached(&mut tx, C, &keyed(app, 1), Reason::Stopped).await.unwrap();
    assert!(suppressions::ends_something(&mut tx, C, &keyed(app, 1), Reason::Stopped).await.unwrap());
    assert!(!suppressions::ends_something(&mut tx, C, &keyed(app, 3), Reason::Stopped).await.unwrap());
    let listed = suppressions::known_since(&mut tx, C, 4).await.unwrap();
    assert_eq!(listed.iter().map(|(_, _, _, reason, at)| (reason.as_str(), *at)).collect::<Vec<_>>(), [("stopped", 4); 2]);
    assert!(suppressions::known_since(&mut tx, C, 5).await.unwrap().is_empty());
    // A yes older than the no lifts nothing.
    assert_eq!(suppressions::lift(&mut tx, C, one.id, 9, 4, 8).await.unwrap(), 0);
    // Answered before it was learned of, and noted once.
    for _ in 0..2 {
        suppressions::note_answered(&mut tx, C, two.id, Reason::Refused, 3, 9).await.unwrap();
    }
    let noted = suppressions::of(&mut tx, C, &keyed(app, 2)).await.unwrap();
    assert_eq!(noted.iter().filter(|no| **no == ("refused".to_owned(), 3, Some(9))).count(), 1, "{noted:?}");
    // Of one number alone.
    assert_eq!(
        suppressions::suppress_alone(&mut tx, C, &keyed(app, 1), Reason::Refused, By::Person, 4, 4).await.unwrap(),
        (1, 0)
    );
    tx.rollback().await.unwrap();
});

both!(two_external_ids_of_one_number_are_one_human, |app| {
    let mut tx = write(app).await;
    let of = |n, human: &str| Imported { human: Some(human.into()), row_hash: format!("{n}{human}"), ..row(app, n) };
    contacts::merge(&mut tx, C, &[of(1, "x"), of(2, "y")], 1).await.unwrap();
    contacts::merge(&mut tx, C, &[of(1, "y")], 2).await.unwrap();
    suppressions::suppress(&mut tx, C, &keyed(app, 2), Reason::Stopped, By::Person, 4, 4).await.unwrap();
    assert_eq!(suppressions::of(&mut tx, C, &keyed(app, 1)).await.unwrap().len(), 1);
    tx.rollback().await.unwrap();
});

both!(ties_go_on_through_contacts_and_numbers_that_are_none, |app| {
    let mut tx = write(app).await;
    for _ in 0..2 {
        humans::take_turn(&mut tx, C).await.unwrap();
    }
    let tie = |n, id: Option<&str>| humans::Tie { number: keyed(app, n), id: id.map(str::to_owned) };
    contacts::merge(&mut tx, C, &[Imported { human: Some("y".into()), ..row(app, 1) }], 1).await.unwrap();
    assert_eq!(humans::tie(&mut tx, C, &[tie(1, Some("x")), tie(9, Some("z"))]).await.unwrap(), ["x", "z"]);
    assert_eq!(
        humans::tie(&mut tx, C, &[tie(9, Some("y")), tie(8, None)]).await.unwrap(),
        ["x"],
        "one human, by its smallest id"
    );
    assert_eq!(humans::tie(&mut tx, C, &[tie(9, None)]).await.unwrap(), ["x"]);
    suppressions::suppress(&mut tx, C, &keyed(app, 9), Reason::Stopped, By::Person, 4, 4).await.unwrap();
    assert_eq!(suppressions::of(&mut tx, C, &keyed(app, 1)).await.unwrap(), [("stopped".to_owned(), 4, None)]);
    // Whoever comes later is left in peace even before the no is written beside their own number.
    contacts::merge(&mut tx, C, &[Imported { human: Some("y".into()), ..row(app, 2) }], 5).await.unwrap();
    let two = known(&mut tx, app, 2).await.id;
    assert_eq!(suppressions::of(&mut tx, C, &keyed(app, 2)).await.unwrap(), []);
    let noes = humans::noes_of_others(&mut tx, two).await.unwrap();
    let of = noes.iter().map(|no| (no.at, no.number_enc.is_some(), no.said_there)).collect::<Vec<_>>();
    assert_eq!(of, [(4, false, 1), (4, true, 0)], "of a number that is no contact, which reached another that is one");
    assert_eq!(facts::people(&mut tx, "family", &[two], 6).await.unwrap()[&two].facts.suppressions, [(Reason::Stopped, 4)]);
    assert_eq!(suppressions::newest_since(&mut tx, two, 4).await.unwrap().as_deref(), Some("stopped"));
    assert_eq!(humans::tie(&mut tx, "another", &[tie(9, None)]).await.unwrap(), Vec::<String>::new());
    // Taken out again: a number that is none, and one that is, with the others left as they are.
    for n in [9, 2] {
        humans::untie(&mut tx, C, &keyed(app, n)).await.unwrap();
    }
    assert_eq!(humans::tie(&mut tx, C, &[tie(9, None)]).await.unwrap(), Vec::<String>::new());
    assert_eq!(humans::of_contact(&mut tx, two).await.unwrap(), None);
    let ids = ["x", "y"].map(|id| Keyed { key_id: 0, mac: id.into() });
    humans::forget(&mut tx, C, &ids[..1], 6).await.unwrap();
    assert_eq!(humans::not_forgotten(&mut tx, C, &ids).await.unwrap(), ids[1..]);
    assert!(humans::is_forgotten(&mut tx, C, &ids).await.unwrap());
    assert!(!humans::is_forgotten(&mut tx, C, &ids[1..]).await.unwrap());
    let newer = Keyed { key_id: 9, mac: "newer".into() };
    humans::known_by(&mut tx, C, &[ids[0].clone(), newer.clone()]).await.unwrap();
    assert_eq!(humans::not_forgotten(&mut tx, C, &[newer]).await.unwrap(), [], "it is the same number under another key");
    assert_eq!(humans::ever_of_contact(&mut tx, two).await.unwrap().as_deref(), Some("x"), "it was");
    let own = keyed(app, 1);
    assert!(suppressions::said_by(&mut tx, C, &own, 3).await.unwrap().is_empty());
    assert_eq!(suppressions::said_by(&mut tx, C, &own, 4).await.unwrap(), [("stopped".to_owned(), 4)]);
    suppressions::suppress_alone(&mut tx, C, &own, Reason::Stopped, By::Person, 9, 9).await.unwrap();
    assert_eq!(suppressions::said_by(&mut tx, C, &own, 8).await.unwrap(), [("stopped".to_owned(), 4)], "said again");
    let one = known(&mut tx, app, 1).await.id;
    assert_eq!(humans::of_contact(&mut tx, one).await.unwrap().as_deref(), Some("x"));
    tx.rollback().await.unwrap();
});

both!(a_closed_batch_with_something_planned_is_opened_again, |app| {
    let mut tx = write(app).await;
    control::take_turn(&mut tx, C).await.unwrap();
    let person = contact(&mut tx, app, 1).await;
    let (batch, ids) = planned(&mut tx, None, &[message(person, MessageKind::Help, 0)]).await;
    messages::set_state(&mut tx, ids[0], State::Planned, State::Cancelled, None, 6).await.unwrap();
    assert_eq!(messages::rest_batch(&mut tx, batch.id).await.unwrap(), None);
    assert_eq!(messages::reopen_batches(&mut tx, C, 7).await.unwrap(), 0);
    messages::set_state(&mut tx, ids[0], State::Cancelled, State::Planned, None, 8).await.unwrap();
    assert_eq!(messages::reopen_batches(&mut tx, C, 9).await.unwrap(), 1);
    assert_eq!(messages::due_batches(&mut tx, C, 9, 5).await.unwrap(), [(batch.id,)]);
    tx.rollback().await.unwrap();
});

both!(a_conversation_has_one_code_that_can_be_typed, |app| {
    let mut tx = write(app).await;
    let person = contact(&mut tx, app, 1).await;
    let two = [message(person, MessageKind::Code, 0), New { cause: "again".into(), ..message(person, MessageKind::Code, 0) }];
    let (_, ids) = planned(&mut tx, None, &two).await;
    codes::add(&mut tx, C, ids[0], 7, "token", 5).await.unwrap();
    let live = codes::live(&mut tx, C, 7).await.unwrap().unwrap();
    assert_eq!(
        (live.message_id, live.token_hash.as_str(), live.mac, live.expires_at, live.wrong),
        (ids[0], "token", None, None, 0)
    );
    codes::made(&mut tx, C, &[Made { message: ids[0], mac: "mac".into() }], 99).await.unwrap();
    codes::made(&mut tx, "another", &[Made { message: ids[0], mac: "foreign".into() }], 1).await.unwrap();
    codes::count_wrong(&mut tx, C, ids[0]).await.unwrap();
    let live = codes::live(&mut tx, C, 7).await.unwrap().unwrap();
    assert_eq!((live.mac.as_deref(), live.expires_at, live.wrong, live.state.as_str()), (Some("mac"), Some(99), 1, "planned"));
    // That it was typed is kept once: a second time changes nothing.
    codes::keep_typed(&mut tx, C, ids[0], Some("it"), 6).await.unwrap();
    codes::keep_typed(&mut tx, C, ids[0], Some("en"), 7).await.unwrap();
    let live = codes::live(&mut tx, C, 7).await.unwrap().unwrap();
    assert_eq!((live.typed_at, live.typed_locale.as_deref()), (Some(6), Some("it")));
    // A newer one ends it, and its message where that has not left.
    assert!(codes::ended(&mut tx, C, &ids).await.unwrap().is_empty());
    codes::end(&mut tx, C, 7, 6).await.unwrap();
    assert_eq!(codes::ended(&mut tx, C, &ids).await.unwrap(), [ids[0]]);
    assert!(codes::ended(&mut tx, "another", &ids).await.unwrap().is_empty());
    assert!(codes::live(&mut tx, C, 7).await.unwrap().is_none());
    assert_eq!(state(&mut tx, ids[0]).await, State::Cancelled);
    codes::add(&mut tx, C, ids[1], 7, "token", 7).await.unwrap();
    assert_eq!(codes::live(&mut tx, C, 7).await.unwrap().unwrap().message_id, ids[1]);
    assert!(codes::live(&mut tx, C, 8).await.unwrap().is_none());
    assert!(messages::newest_attempt(&mut tx, ids[1]).await.unwrap().is_none(), "it was never claimed");
    messages::relink(&mut tx, i64::MAX, "hash").await.unwrap();
    tx.rollback().await.unwrap();
});

both!(whom_a_whatsapp_sender_wrote_to_is_counted, |app| {
    let mut tx = write(app).await;
    let (a, b, c) = (contact(&mut tx, app, 1).await, contact(&mut tx, app, 2).await, contact(&mut tx, app, 3).await);
    let by = |contact, kind, cause: &str| New { channel: "whatsapp", cause: cause.into(), ..message(contact, kind, 0) };
    let all = [by(a, MessageKind::Ask, "plan"), by(b, MessageKind::Ack, "event:1"), by(c, MessageKind::Confirm, "page:1")];
    let (_, ids) = planned(&mut tx, None, &all).await;
    let claims = [claim_of(a, ids[0]), claim_of(b, ids[1]), claim_of(c, ids[2])];
    messages::claim(&mut tx, C, &WHO, &claims, 20).await.unwrap();
    let sorted = |mut rows: Vec<(i64, i64)>| {
        rows.sort_unstable();
        rows
    };
    assert_eq!(sorted(paces::last_to(&mut tx, "s", &[a, b], 10).await.unwrap()), [(a, 20), (b, 20)]);
    assert_eq!(paces::last_to(&mut tx, "s", &[a, b], 20).await.unwrap(), [], "after `since` alone");
    assert_eq!(paces::last_to(&mut tx, "another", &[a, b], 10).await.unwrap(), []);
    assert_eq!(paces::tries_since(&mut tx, C, "s", 10).await.unwrap(), 3);
    // An answer to a person's own message is not written first; the confirmation of a choice on the page is.
    assert_eq!(sorted(paces::written_to_first(&mut tx, C, "s", 10).await.unwrap()), [(a, 20), (c, 20)]);
    tx.rollback().await.unwrap();
});

both!(facts_hold_what_is_stored_about_a_person, |app| {
    let mut tx = write(app).await;
    let spring = campaign(&mut tx, "spring", None).await;
    let bought = Imported { quarantined: 1, row_hash: "bought".into(), ..row(app, 2) };
    contacts::merge(&mut tx, C, &[bought], 1).await.unwrap();
    let (id, other) = (contact(&mut tx, app, 1).await, known(&mut tx, app, 2).await.id);
    let subject = known(&mut tx, app, 1).await.subject;
    let mac = keyed(app, 1).remove(0);
    let claim = Claim { marks: vec![(mac.mac.clone(), mac.key_id)], ..claim_of(id, 77) };
    messages::mark_asked(&mut tx, C, "spring", MessageKind::Ask, &[&claim], 10).await.unwrap();
    messages::mark_asked(&mut tx, C, "spring", MessageKind::Reminder, &[&claim], 20).await.unwrap();
    ledger::append(&mut tx, &app.engine.vault, C, &body(&subject, Entry::Granted, 3, &["sms.promotions"]), &[], 1).await.unwrap();
    suppressions::suppress(&mut tx, C, std::slice::from_ref(&mac), Reason::Stopped, By::Person, 4, 4).await.unwrap();
    conversations::open(&mut tx, C, Some(spring), None, "link", &[Opening { contact: id, message: 77, expires_at: 100 }], 10)
        .await
        .unwrap();
    // One code has left; the other is planned, and gives way to the next.
    let answers = [
        message(id, MessageKind::Code, 7),
        New { cause: "again".into(), ..message(id, MessageKind::Code, 9) },
        message(id, MessageKind::Help, 0),
        New { wording: Some("ack_yes".into()), cause: "yes".into(), ..message(id, MessageKind::Ack, 0) },
    ];
    let (_, ids) = planned(&mut tx, None, &answers).await;
    assert!(messages::set_state(&mut tx, ids[0], State::Planned, State::Accepted, None, 5).await.unwrap());
    let people = facts::people(&mut tx, "spring", &[id, other], 20).await.unwrap();
    let (person, f) = (&people[&id], &people[&id].facts);
    assert_eq!((&person.person, &person.marks), (&mac.mac, &vec![(mac.mac.clone(), mac.key_id)]));
    assert_eq!((f.evidence.len(), f.only_quarantined, f.mobile), (1, false, true));
    assert_eq!((&f.asked, &f.asked_in_family, &f.reminded_in_family), (&vec![(10, 77)], &vec![77], &vec![77]));
    assert_eq!(f.suppressions, [(Reason::Stopped, 4)]);
    assert_eq!(f.granted, [Permission::parse("sms.promotions").unwrap()]);
    assert_eq!(f.conversation.as_ref().map(|c| (c.campaign, c.answered)), Some((Some(spring), false)));
    assert_eq!((f.confirms_today, f.codes_today, f.first_code, f.last_code), (0, 1, Some(5), Some(7)));
    assert_eq!((f.answers_today, f.grants_told_today), (2, 1));
    let f = &people[&other].facts;
    assert!(f.only_quarantined && f.evidence.is_empty() && f.asked.is_empty() && f.suppressions.is_empty());
    messages::hand_on_marks(&mut tx, C, std::slice::from_ref(&mac), &keyed(app, 2)).await.unwrap();
    let people = facts::people(&mut tx, "spring", &[other], 20).await.unwrap();
    let f = &people[&other].facts;
    assert_eq!((&f.asked, &f.reminded_in_family), (&vec![(10, 77)], &vec![77]));
    let elsewhere = facts::people(&mut tx, "summer", &[id], 20).await.unwrap();
    let elsewhere = &elsewhere[&id].facts;
    assert_eq!((&elsewhere.asked, &elsewhere.asked_in_family), (&vec![(10, 77)], &vec![]));
    tx.rollback().await.unwrap();
});

// Suppressions.

both!(who_is_kept_from_being_written_to_and_by_what, |app| {
    let mut tx = write(app).await;
    contacts::merge(&mut tx, C, &[row(app, 1), row(app, 2)], 1).await.unwrap();
    let (one, two) = (known(&mut tx, app, 1).await, known(&mut tx, app, 2).await);
    let subjects = [one.subject.as_str(), two.subject.as_str(), "nobody"];
    let both = [keyed(app, 1), keyed(app, 2)].concat();
    assert!(suppressions::wrong_among(&mut tx, C, &both).await.unwrap().is_empty());
    suppressions::suppress(&mut tx, C, &keyed(app, 1), Reason::WrongPerson, By::Person, 2, 2).await.unwrap();
    assert_eq!(suppressions::free_among(&mut tx, C, &subjects).await.unwrap(), [two.subject.clone()].into());
    suppressions::suppress(&mut tx, C, &keyed(app, 2), Reason::Stopped, By::Person, 2, 2).await.unwrap();
    assert!(suppressions::free_among(&mut tx, C, &subjects).await.unwrap().is_empty());
    let wrong = suppressions::wrong_among(&mut tx, C, &both).await.unwrap();
    assert_eq!(wrong, keyed(app, 1).into_iter().map(|k| k.mac).collect());
    // By an entry that the ledger does not have.
    assert!(suppressions::lifted_by_nothing(&mut tx, C).await.unwrap().is_empty());
    assert_eq!(suppressions::lift(&mut tx, C, two.id, 9, 3, 4).await.unwrap(), 1);
    assert_eq!(suppressions::lifted_by_nothing(&mut tx, C).await.unwrap().len(), 1);
    assert_eq!(suppressions::free_among(&mut tx, C, &subjects).await.unwrap(), [two.subject].into());
    tx.rollback().await.unwrap();
});

both!(a_suppression_reaches_every_number_of_a_human, |app| {
    let mut tx = write(app).await;
    let same = |n| Imported { human: Some("human".into()), ..row(app, n) };
    contacts::merge(&mut tx, C, &[same(1), same(2), row(app, 3)], 1).await.unwrap();
    let (a, b) = (known(&mut tx, app, 1).await.id, known(&mut tx, app, 2).await.id);
    let (_, ids) = planned(&mut tx, None, &[message(b, MessageKind::Ask, 0), message(b, MessageKind::Help, 0)]).await;
    let stopped = suppressions::suppress(&mut tx, C, &keyed(app, 1), Reason::Stopped, By::Person, 3, 4).await.unwrap();
    assert_eq!(stopped, (2, 1), "both numbers, and the planned ask of the other; help is owed to whoever asked for it");
    assert_eq!((state(&mut tx, ids[0]).await, state(&mut tx, ids[1]).await), (State::Cancelled, State::Planned));
    let again = suppressions::suppress(&mut tx, C, &keyed(app, 1), Reason::Stopped, By::Person, 3, 4).await.unwrap();
    assert_eq!(again, (0, 0));
    assert_eq!(suppressions::of(&mut tx, C, &keyed(app, 2)).await.unwrap(), [("stopped".to_owned(), 3, None)]);
    let live = suppressions::live_among(&mut tx, C, &[keyed(app, 1), keyed(app, 3)].concat()).await.unwrap();
    assert_eq!(live, keyed(app, 1).into_iter().map(|k| k.mac).collect());
    assert_eq!(suppressions::of(&mut tx, C, &keyed(app, 3)).await.unwrap(), []);
    // A number that turns out to be of the same human later inherits the no.
    let tied = [same(3)];
    let human = contacts::merge(&mut tx, C, &tied, 5).await.unwrap().humans;
    let tied = known(&mut tx, app, 3).await.id;
    let (_, ids) = planned(&mut tx, None, &[message(tied, MessageKind::Ask, 0)]).await;
    assert!(suppressions::spread_over_humans(&mut tx, C, &human, 6).await.unwrap().is_empty(), "nothing was granted");
    assert_eq!(suppressions::newest_since(&mut tx, tied, 3).await.unwrap().as_deref(), Some("stopped"));
    assert_eq!(suppressions::newest_since(&mut tx, tied, 4).await.unwrap(), None);
    assert_eq!(suppressions::of(&mut tx, C, &keyed(app, 3)).await.unwrap(), [("stopped".to_owned(), 3, None)]);
    assert_eq!(state(&mut tx, ids[0]).await, State::Cancelled);
    // A fresh yes lifts what is about marketing, on the number it came from; a wrong number stays wrong.
    suppressions::suppress(&mut tx, C, &keyed(app, 1), Reason::WrongPerson, By::Person, 7, 7).await.unwrap();
    assert_eq!(suppressions::lift(&mut tx, C, a, 9, 7, 8).await.unwrap(), 1);
    let left = suppressions::of(&mut tx, C, &keyed(app, 1)).await.unwrap();
    assert_eq!(left, [("stopped".to_owned(), 3, Some(8)), ("wrong_person".to_owned(), 7, None)]);
    tx.rollback().await.unwrap();
});

both!(a_no_that_is_inherited_closes_the_question_and_names_whose_grants_end, |app| {
    let mut tx = write(app).await;
    let of =
        |n, human: Option<&str>| Imported { human: human.map(str::to_owned), row_hash: format!("{n}{human:?}"), ..row(app, n) };
    contacts::merge(&mut tx, C, &[of(1, None), of(2, None)], 1).await.unwrap();
    let (one, two) = (known(&mut tx, app, 1).await, known(&mut tx, app, 2).await);
    ledger::append(&mut tx, &app.engine.vault, C, &body(&two.subject, Entry::Granted, 2, &["sms.promotions"]), &[], 2)
        .await
        .unwrap();
    suppressions::suppress(&mut tx, C, &keyed(app, 1), Reason::Refused, By::Person, 3, 3).await.unwrap();
    let opening = |contact| Opening { contact, message: 77, expires_at: 100 };
    conversations::open(&mut tx, C, None, None, "link", &[opening(one.id), opening(two.id)], 4).await.unwrap();
    let human = contacts::merge(&mut tx, C, &[of(1, Some("h")), of(2, Some("h"))], 5).await.unwrap().humans;
    let crowded = humans::crowded(&mut tx, C, &[of(1, Some("h"))], 1).await.unwrap();
    assert_eq!(crowded, [("h".to_owned(), 2)]);
    assert!(humans::crowded(&mut tx, C, &[of(1, Some("h"))], 2).await.unwrap().is_empty());
    assert_eq!(suppressions::spread_over_humans(&mut tx, C, &human, 6).await.unwrap(), [two.id]);
    let closed = conversations::newest_of(&mut tx, two.id).await.unwrap().unwrap();
    assert_eq!((closed.state.as_str(), closed.closed_at), ("refused", Some(6)));
    assert!(conversations::open_of(&mut tx, one.id).await.unwrap().is_some(), "whoever carried the no may be on their way back");
    assert!(suppressions::spread_over_humans(&mut tx, C, &human, 7).await.unwrap().is_empty(), "nothing is new");
    tx.rollback().await.unwrap();
});

both!(key_rotation_loses_no_no, |app| {
    let first = [1, 3].map(|n| TestApp::good(&TestApp::it(n))).concat();
    app.import(&first).await;
    let list = app.dir.path().join("noes.csv");
    std::fs::write(&list, format!("number\n{}\n", TestApp::it(2))).unwrap();
    import::suppressions(&app.engine, &list, |_| {}).await.unwrap();
    let mut keys = std::fs::read_to_string(&app.engine.config.key_file).unwrap();
    keys.push_str(&format!("2:{}A\n", "B".repeat(42)));
    std::fs::write(&app.engine.config.key_file, keys).unwrap();
    let rotated = app.another().await;
    assert_eq!(rotated.vault.key_id(), 2);
    // Known under key 1, a no under keys 1 and 2; a no under key 1, known under 1 and 2; and known under both already.
    let file = app.dir.path().join("rotated.csv");
    std::fs::write(&file, format!("{HEADER}{}{}", TestApp::good(&TestApp::it(2)), TestApp::good(&TestApp::it(3)))).unwrap();
    let summary = import::contacts(&rotated, &file, |_| {}).await.unwrap();
    assert_eq!((summary.rows, summary.new), (2, 1), "a number known under an older key is not doubled: {summary:?}");
    std::fs::write(&list, format!("number\n{}\n{}\n", TestApp::it(1), TestApp::it(3))).unwrap();
    import::suppressions(&rotated, &list, |_| {}).await.unwrap();
    let mut tx = rotated.store.read().await.unwrap();
    for n in 1..=3 {
        let keyed = rotated.vault.keyed_all(&TestApp::number(&TestApp::it(n)));
        let found = contacts::by_number(&mut tx, &rotated.controller, &keyed).await.unwrap().unwrap();
        let people = facts::people(&mut tx, "spring", &[found.id], 0).await.unwrap();
        assert!(!people[&found.id].facts.suppressions.is_empty(), "number {n}");
    }
    tx.rollback().await.unwrap();
    assert_eq!(app.count("SELECT COUNT(*) FROM contacts").await, 3);
    rotated.store.close().await;
});

// The levers.

both!(lease_is_lost_and_renewed, |app| {
    let mut tx = write(app).await;
    assert!(!control::renew(&mut tx, "worker").await.unwrap());
    control::register(&mut tx, "worker", "worker").await.unwrap();
    control::register(&mut tx, "old", "worker").await.unwrap();
    assert!(control::renew(&mut tx, "worker").await.unwrap());
    tx.commit().await.unwrap();
    app.execute("UPDATE leases SET renewed_db = renewed_db - 90000000000 WHERE id = 'old'").await.unwrap();
    let mut tx = write(app).await;
    control::register(&mut tx, "worker", "worker").await.unwrap();
    assert!(!control::renew(&mut tx, "old").await.unwrap(), "a lease a day old is swept away");
    control::unregister(&mut tx, "worker").await.unwrap();
    assert!(!control::renew(&mut tx, "worker").await.unwrap());
    tx.rollback().await.unwrap();
});

both!(a_gap_is_recorded_after_a_silence, |app| {
    let mut tx = write(app).await;
    assert_eq!(control::silence(&mut tx, C, MINUTE_DB).await.unwrap(), Some(Silence::Deaf));
    assert_eq!(control::hear(&mut tx, C, MINUTE_DB, 5).await.unwrap(), None, "before the first word there was nothing to miss");
    assert_eq!(control::hear(&mut tx, C, MINUTE_DB, 10).await.unwrap(), None);
    assert_eq!(control::silence(&mut tx, C, MINUTE_DB).await.unwrap(), None);
    tx.commit().await.unwrap();
    app.execute("UPDATE listening SET heard_db = heard_db - 120000000 WHERE controller = 'contract'").await.unwrap();
    let mut tx = write(app).await;
    assert_eq!(control::silence(&mut tx, C, MINUTE_DB).await.unwrap(), Some(Silence::Deaf));
    let gap = control::hear(&mut tx, C, MINUTE_DB, 90).await.unwrap().unwrap();
    let open = Gap { id: gap, from_at: 10, to_at: 90, restored: 0 };
    assert_eq!(control::open_gaps(&mut tx, C).await.unwrap(), [open]);
    assert_eq!(control::silence(&mut tx, C, MINUTE_DB).await.unwrap(), Some(Silence::Gap));
    control::settle_gap(&mut tx, gap, "op", 95).await.unwrap();
    assert_eq!(control::open_gaps(&mut tx, C).await.unwrap(), []);
    assert_eq!(control::silence(&mut tx, C, MINUTE_DB).await.unwrap(), None);
    tx.rollback().await.unwrap();
});

both!(halting_silences, |app| {
    let mut tx = write(app).await;
    control::hear(&mut tx, C, MINUTE_DB, 5).await.unwrap();
    control::set_halt(&mut tx, C, Some(6), "op").await.unwrap();
    assert_eq!(control::silence(&mut tx, C, MINUTE_DB).await.unwrap(), Some(Silence::Halted));
    assert_eq!(control::silence(&mut tx, "another", MINUTE_DB).await.unwrap(), Some(Silence::Deaf));
    control::set_halt(&mut tx, C, None, "op").await.unwrap();
    assert_eq!(control::silence(&mut tx, C, MINUTE_DB).await.unwrap(), None);
    tx.rollback().await.unwrap();
});

both!(a_session_that_hears_is_kept_beside_the_web_role, |app| {
    let mut tx = write(app).await;
    assert_eq!(control::hear_session(&mut tx, C, "g", 5).await.unwrap(), None);
    assert_eq!(control::hear_session(&mut tx, C, "g", 9).await.unwrap(), Some(5));
    assert_eq!(control::hear_session(&mut tx, C, "f", 9).await.unwrap(), None);
    assert_eq!(control::silence(&mut tx, C, MINUTE_DB).await.unwrap(), Some(Silence::Deaf), "a session is no web role");
    control::add_gap(&mut tx, C, 5, 9).await.unwrap();
    let open = control::open_gaps(&mut tx, C).await.unwrap();
    assert_eq!(open.iter().map(|gap| (gap.from_at, gap.to_at)).collect::<Vec<_>>(), [(5, 9)]);
    tx.rollback().await.unwrap();
});

both!(a_copy_that_takes_over_leaves_a_gap_of_its_own_whatever_it_had_heard, |app| {
    let mut tx = write(app).await;
    let mut expected = Vec::new();
    // It knew nobody; it knew somebody and had never listened; it had.
    for (from, now) in [(0, 50), (20, 60), (70, 80)] {
        match from {
            20 => drop(contacts::merge(&mut tx, C, &[row(app, 1)], 20).await.unwrap()),
            70 => assert_eq!(control::hear(&mut tx, C, MINUTE_DB, 70).await.unwrap(), None),
            _ => {}
        }
        control::forget_hearing(&mut tx, C, now).await.unwrap();
        expected.push((from, now, 1));
    }
    // From then on, until somebody listens, it is deaf like any other.
    control::hear(&mut tx, C, MINUTE_DB, 95).await.unwrap().unwrap();
    expected.push((80, 95, 0));
    let open = control::open_gaps(&mut tx, C).await.unwrap();
    assert_eq!(open.iter().map(|gap| (gap.from_at, gap.to_at, gap.restored)).collect::<Vec<_>>(), expected);
    tx.rollback().await.unwrap();
});

#[tokio::test]
async fn postgres_knows_how_large_its_tables_are_before_and_after_a_planning() {
    let mut app = TestApp::new(Kind::Postgres).await;
    let people: Vec<String> = (0..40).map(TestApp::it).collect();
    app.people(&people[..20]).await;
    app.engine.store.take_stock().await;
    assert_eq!(app.count("SELECT CAST(reltuples AS BIGINT) FROM pg_class WHERE relname = 'contacts'").await, 20);
    app.people(&people[20..]).await;
    app.plan(LINK).await;
    for of in [
        "SELECT CAST(reltuples AS BIGINT) FROM pg_class WHERE relname = 'contacts'",
        "SELECT CAST(reltuples AS BIGINT) FROM pg_class WHERE relname = 'messages'",
    ] {
        assert_eq!(app.count(of).await, 40);
    }
    app.end().await;
}

both!(the_health_of_a_gateway_is_kept, |app| {
    let mut tx = write(app).await;
    assert!(control::health_seen(&mut tx, C, "g").await.unwrap().is_none(), "nothing was sent by it");
    let new = control::health(&mut tx, C, "g").await.unwrap();
    assert!(new.is_clean());
    assert_eq!((new.name.as_str(), new.unknowns, new.opened_at, new.paused_at), ("g", 0, None, None));
    let ill = Health { unknowns: 3, opened_at: Some(4), probing: 1, paused_at: Some(5), throttled_until: 6, ..new };
    let ill = Health { pause_reason: Some("no credit".into()), unreached: 7, ..ill };
    let ill = Health { open_reason: Some("connection refused".into()), probe_at: 8, ..ill };
    control::save_health(&mut tx, C, &ill).await.unwrap();
    control::health(&mut tx, C, "f").await.unwrap();
    let all = control::all_health(&mut tx, C).await.unwrap();
    assert_eq!(all.iter().map(|h| h.name.as_str()).collect::<Vec<_>>(), ["f", "g"]);
    assert_eq!(format!("{:?}", all[1]), format!("{ill:?}"));
    let seen = control::health_seen(&mut tx, C, "g").await.unwrap().unwrap();
    assert!(format!("{seen:?}") == format!("{ill:?}") && !seen.is_clean());
    tx.rollback().await.unwrap();
});

// Campaigns.

both!(a_campaign_moves_to_its_new_revision, |app| {
    let mut tx = write(app).await;
    let plan = campaigns::Plan { id: "p".into(), campaign: "spring".into(), revision: "{}".into(), counts: "{}".into(), at: 1 };
    campaigns::save_plan(&mut tx, C, &plan).await.unwrap();
    assert_eq!(campaigns::plan(&mut tx, C, "p").await.unwrap().unwrap().campaign, "spring");
    assert!(campaigns::plan(&mut tx, "another", "p").await.unwrap().is_none());
    let id = campaign(&mut tx, "spring", None).await;
    campaigns::set_progress(&mut tx, id, 40, true).await.unwrap();
    let (running, paused) = (CampaignState::Running, CampaignState::Paused);
    assert!(!campaigns::move_state(&mut tx, id, CampaignState::Cancelled, paused, None).await.unwrap(), "it is another by now");
    assert!(campaigns::move_state(&mut tx, id, running, paused, Some("why")).await.unwrap());
    assert_eq!(campaigns::revisions(&mut tx, C, "spring").await.unwrap().len(), 1);
    assert!(campaigns::revisions(&mut tx, C, "autumn").await.unwrap().is_empty());
    let old = campaigns::lock(&mut tx, id).await.unwrap().unwrap();
    assert_eq!(
        (old.state(), old.reason.as_deref(), old.planned_to, old.planned_all),
        (CampaignState::Paused, Some("why"), 40, 1)
    );
    let person = contact(&mut tx, app, 1).await;
    let (batch, _) = planned(&mut tx, Some(id), &[message(person, MessageKind::Ask, 0)]).await;
    assert_eq!(campaign(&mut tx, "spring", Some(9)).await, id, "the same campaign goes on");
    let new = campaigns::by_name(&mut tx, C, "spring").await.unwrap().unwrap();
    assert_eq!((new.planned_to, new.planned_all, new.reason, new.allowance), (0, 0, None, Some(9)));
    assert_ne!(new.revision_id, old.revision_id);
    assert_eq!(campaigns::revision(&mut tx, new.revision_id).await.unwrap().as_deref(), Some("{}"));
    assert_eq!(campaigns::revision(&mut tx, -1).await.unwrap(), None);
    assert!(messages::due(&mut tx, &batch, LATE, 9).await.unwrap().is_empty(), "what is not claimed yet is planned anew");
    // What was on its way meanwhile, and came back.
    let other = contact(&mut tx, app, 2).await;
    let (_, back) = planned(&mut tx, Some(id), &[message(other, MessageKind::Ask, 0)]).await;
    give_revision(&mut tx, back[0]).await;
    assert!(messages::replaced(&mut tx, 1, &back, 9).await.unwrap().is_empty());
    assert_eq!(messages::replaced(&mut tx, 2, &back, 9).await.unwrap(), back);
    assert!(messages::replaced(&mut tx, 2, &back, 9).await.unwrap().is_empty(), "once");
    let summer = campaign(&mut tx, "summer", None).await;
    let all = campaigns::all(&mut tx, C).await.unwrap();
    assert_eq!(all.iter().map(|r| r.id).collect::<Vec<_>>(), [id, summer]);
    assert_eq!(campaigns::by_id(&mut tx, summer).await.unwrap().unwrap().name, "summer");
    tx.rollback().await.unwrap();
});

both!(an_allowance_is_never_overdrawn, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", Some(5)).await;
    tx.commit().await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = app.engine.store.clone();
            tokio::spawn(async move {
                let mut tx = store.write().await.unwrap();
                let got = campaigns::take_allowance(&mut tx, id, 2).await.unwrap();
                tx.commit().await.unwrap();
                got
            })
        })
        .collect();
    let mut taken = 0;
    for task in tasks {
        taken += task.await.unwrap();
    }
    assert_eq!(taken, 5);
    let mut tx = write(app).await;
    campaigns::return_allowance(&mut tx, id, 2).await.unwrap();
    assert_eq!(campaigns::take_allowance(&mut tx, id, 9).await.unwrap(), 2);
    campaigns::lift_allowance(&mut tx, id).await.unwrap();
    campaigns::return_allowance(&mut tx, id, 2).await.unwrap();
    assert_eq!(campaigns::take_allowance(&mut tx, id, 9).await.unwrap(), 9);
    assert_eq!(campaigns::by_id(&mut tx, id).await.unwrap().unwrap().allowance, None);
    tx.rollback().await.unwrap();
});

both!(a_tester_is_known_by_every_key_and_is_nobody_a_campaign_looks_at, |app| {
    let mut tx = write(app).await;
    let imported = contact(&mut tx, app, 1).await;
    let number = TestApp::number(&TestApp::it(2));
    let mut keyed = app.engine.vault.keyed_all(&number);
    keyed.push(Keyed { mac: "older".into(), key_id: 0 });
    let new = contacts::Enrolled {
        subject: "tester".into(),
        number_enc: app.engine.vault.encrypt_number(&number).unwrap(),
        key_id: 1,
        country: "IT".into(),
        line: "mobile",
    };
    let id = contacts::enroll(&mut tx, C, &new, &keyed, 10).await.unwrap();
    for keyed in keyed {
        assert_eq!(contacts::by_number(&mut tx, C, &[keyed]).await.unwrap().unwrap().id, id);
    }
    assert_eq!(contacts::ids_after(&mut tx, C, 0, 10).await.unwrap(), [(imported,)]);
    // Imported later, the number is somebody a campaign looks at.
    assert_eq!(contact(&mut tx, app, 2).await, id);
    assert_eq!(contacts::ids_after(&mut tx, C, 0, 10).await.unwrap(), [(imported,), (id,)]);
    let revision = campaigns::freeze(&mut tx, C, "spring", "test", "{}", "h", 10).await.unwrap();
    assert_eq!(campaigns::revision(&mut tx, revision).await.unwrap().as_deref(), Some("{}"));
    let (_, messages) = planned(&mut tx, None, &[message(id, MessageKind::Test, 0)]).await;
    assert_eq!(messages::state_and_reason(&mut tx, messages[0]).await.unwrap(), Some(("planned".to_owned(), None)));
    tx.rollback().await.unwrap();
});

both!(a_reserve_is_given_back_once_and_only_for_what_was_proved_not_accepted, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let mut sent = Vec::new();
    for n in 1..=4 {
        let contact = contact(&mut tx, app, n).await;
        sent.push(sending(&mut tx, id, contact).await);
    }
    campaigns::reserve(&mut tx, id, 4 * 70_000).await.unwrap();
    assert_eq!(report::costs(&mut tx, id).await.unwrap(), (280_000, 280_000), "all on their way");
    let outcomes = [
        settled(sent[0], "accepted", State::Accepted),
        settled(sent[1], "unknown", State::Unknown),
        settled(sent[2], "not_accepted", State::Planned),
        settled(sent[3], "refused", State::Failed),
    ];
    messages::settle(&mut tx, &outcomes, 20).await.unwrap();
    let attempts: Vec<i64> = outcomes.iter().map(|o| o.attempt).collect();
    for _ in 0..2 {
        messages::release(&mut tx, &attempts).await.unwrap();
        assert_eq!(campaigns::reserved(&mut tx, id).await.unwrap(), 140_000);
        assert_eq!(report::costs(&mut tx, id).await.unwrap(), (140_000, 70_000));
    }
    tx.rollback().await.unwrap();
});

both!(cancelled_and_lapsed_messages_are_not_due, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let (a, b) = (contact(&mut tx, app, 1).await, contact(&mut tx, app, 2).await);
    let soon = New { expires_at: 20, ..message(a, MessageKind::Ask, 0) };
    let (batch, ids) = planned(&mut tx, Some(id), &[soon, message(b, MessageKind::Ask, 0)]).await;
    let again = [message(a, MessageKind::Ask, 0)];
    assert!(messages::left_out(&mut tx, Some(batch.id), &again).await.unwrap().is_empty());
    assert_eq!(messages::left_out(&mut tx, None, &again).await.unwrap(), [a]);
    assert!(campaigns::is_unfinished(&mut tx, id).await.unwrap());
    assert_eq!(campaigns::lapse_planned(&mut tx, C, 19, 9).await.unwrap(), 0);
    assert_eq!(campaigns::lapse_planned(&mut tx, C, 20, 9).await.unwrap(), 1);
    assert_eq!(campaigns::cancel_planned(&mut tx, id, 21, 9).await.unwrap(), 1);
    assert_eq!((state(&mut tx, ids[0]).await, state(&mut tx, ids[1]).await), (State::Lapsed, State::Cancelled));
    assert!(!campaigns::is_unfinished(&mut tx, id).await.unwrap());
    assert!(messages::due(&mut tx, &batch, LATE, 9).await.unwrap().is_empty());
    tx.rollback().await.unwrap();
});

both!(a_decision_is_kept_and_replaced, |app| {
    let mut tx = write(app).await;
    let (id, person) = (campaign(&mut tx, "spring", None).await, contact(&mut tx, app, 1).await);
    let decided = |outcome, code, basis| campaigns::Decided { contact: person, outcome, code, basis, facts: "{}".into() };
    campaigns::record(&mut tx, C, id, 1, "plan", &[decided("skip", "HELD", None)], 5).await.unwrap();
    assert_eq!(campaigns::basis_of(&mut tx, id, person).await.unwrap(), None);
    campaigns::record(&mut tx, C, id, 2, "plan", &[decided("send", "ELIGIBLE", Some("prior_consent"))], 6).await.unwrap();
    assert_eq!(campaigns::basis_of(&mut tx, id, person).await.unwrap().as_deref(), Some("prior_consent"));
    let counted = |outcome: &str, code: &str| vec![(outcome.to_owned(), code.to_owned(), 1)];
    assert_eq!(report::decisions(&mut tx, id).await.unwrap(), counted("send", "ELIGIBLE"));
    campaigns::record(&mut tx, C, id, 2, "claim", &[decided("skip", "SUPPRESSED", None)], 7).await.unwrap();
    assert_eq!(report::decisions(&mut tx, id).await.unwrap(), counted("skip", "SUPPRESSED"), "the last stage counts");
    assert_eq!(report::verdicts(&mut tx, C).await.unwrap(), [(person, "send".to_owned(), "ELIGIBLE".to_owned())]);
    let told = campaigns::decisions_of(&mut tx, person).await.unwrap();
    assert_eq!(
        told.iter().map(|d| (d.1.as_str(), d.3.as_str(), d.5)).collect::<Vec<_>>(),
        [("plan", "ELIGIBLE", 6), ("claim", "SUPPRESSED", 7)]
    );
    tx.rollback().await.unwrap();
});

both!(only_unanswered_asks_are_reminded, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let (a, b) = (contact(&mut tx, app, 1).await, contact(&mut tx, app, 2).await);
    let (one, two) = (sending(&mut tx, id, a).await, sending(&mut tx, id, b).await);
    give_revision(&mut tx, one.0).await;
    give_revision(&mut tx, two.0).await;
    let of = (1, &[1][..]);
    assert!(campaigns::unanswered(&mut tx, id, of, Channel::Sms, 10, 9).await.unwrap().is_empty(), "not accepted yet");
    let both = [settled(one, "accepted", State::Accepted), settled(two, "accepted", State::Accepted)];
    messages::settle(&mut tx, &both, 11).await.unwrap();
    assert!(campaigns::unanswered(&mut tx, id, of, Channel::Sms, 9, 9).await.unwrap().is_empty(), "too early");
    assert!(campaigns::unanswered(&mut tx, id, (1, &[2]), Channel::Sms, 10, 9).await.unwrap().is_empty(), "asked otherwise");
    let mut answered = conversations::open_of(&mut tx, b).await.unwrap().unwrap();
    answered.state = "pending".into();
    conversations::save(&mut tx, &answered).await.unwrap();
    assert_eq!(campaigns::still_asked(&mut tx, id, &[a, b]).await.unwrap(), [a]);
    assert_eq!(campaigns::unanswered(&mut tx, id, of, Channel::Sms, 10, 9).await.unwrap(), [(a, "it".to_owned())]);
    let (_, reminders) = planned(&mut tx, Some(id), &[message(a, MessageKind::Reminder, 0)]).await;
    assert!(campaigns::unanswered(&mut tx, id, of, Channel::Sms, 10, 9).await.unwrap().is_empty(), "one reminder is enough");
    give_revision(&mut tx, reminders[0]).await;
    campaigns::cancel_planned(&mut tx, id, 12, 9).await.unwrap();
    assert!(
        campaigns::unanswered(&mut tx, id, of, Channel::Sms, 10, 9).await.unwrap().is_empty(),
        "this plan has had its reminder"
    );
    assert_eq!(campaigns::unanswered(&mut tx, id, (2, &[1]), Channel::Sms, 10, 9).await.unwrap().len(), 1, "a newer one has not");
    tx.rollback().await.unwrap();
});

both!(a_failed_ask_takes_its_next_channel_once_and_only_while_nobody_answered, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let (a, b, c) = (contact(&mut tx, app, 1).await, contact(&mut tx, app, 2).await, contact(&mut tx, app, 3).await);
    let (one, two, three) = (sending(&mut tx, id, a).await, sending(&mut tx, id, b).await, sending(&mut tx, id, c).await);
    let all = [one.0, two.0, three.0];
    assert!(legs::stranded(&mut tx, &all, 5).await.unwrap().is_empty(), "nothing has failed");
    // Accepted, and failed by a receipt that came first.
    messages::set_state(&mut tx, three.0, State::Sending, State::Failed, None, 6).await.unwrap();
    assert!(legs::proved_not_on_channel(&mut tx, &all).await.unwrap().is_empty(), "failed for another reason");
    let receipt = inbound::NewReceipt {
        event_id: "lost",
        provider_id: "x",
        reference: None,
        status: "failed",
        error: None,
        class: Some("not-on-channel"),
        at: 6,
    };
    let receipt = inbound::Matched { receipt, attempt: Some(three.1), hashed: "h" };
    inbound::add_receipts(&mut tx, C, "g", &[receipt], 6).await.unwrap();
    let told = inbound::receipts_of(&mut tx, c).await.unwrap();
    assert_eq!(told.iter().map(|r| (r.attempt_id, r.class.as_deref())).collect::<Vec<_>>(), [(three.1, Some("not-on-channel"))]);
    assert_eq!(legs::proved_not_on_channel(&mut tx, &all).await.unwrap(), [three.0]);
    let failed = [one, two].map(|m| settled(m, "unknown", State::Failed));
    messages::settle(&mut tx, &failed, 7).await.unwrap();
    let mut answered = conversations::open_of(&mut tx, b).await.unwrap().unwrap();
    answered.state = "pending".into();
    conversations::save(&mut tx, &answered).await.unwrap();
    for message in all {
        // The tests' campaigns have no revision to read.
        give_revision(&mut tx, message).await;
    }
    let stranded: Vec<i64> = legs::stranded(&mut tx, &all, 7).await.unwrap().iter().map(|s| s.id).collect();
    assert_eq!(stranded, [one.0, three.0], "one of them has said something");
    assert!(legs::stranded(&mut tx, &all, LATE).await.unwrap().is_empty(), "past the deadline");
    let route = Route { campaign: Some(id), revision: Some(1), gateway: "h", sender: "t" };
    let batch = legs::next_leg(&mut tx, C, &route, Channel::WhatsApp, "fr", &stranded, 8).await.unwrap().unwrap();
    let batch = messages::batch(&mut tx, batch).await.unwrap().unwrap();
    assert_eq!((batch.gateway.as_str(), batch.sender.as_str()), ("h", "t"));
    let due = messages::due(&mut tx, &batch, 8, 9).await.unwrap();
    assert_eq!(due.iter().map(|d| (d.id, d.channel.as_str())).collect::<Vec<_>>(), [(one.0, "whatsapp"), (three.0, "whatsapp")]);
    assert!(due.iter().all(|d| d.locale == "fr"));
    assert!(
        conversations::open_of(&mut tx, a).await.unwrap().is_none()
            && conversations::open_of(&mut tx, b).await.unwrap().is_some()
    );
    assert!(legs::stranded(&mut tx, &all, 8).await.unwrap().is_empty(), "once");
    assert_eq!(legs::next_leg(&mut tx, C, &route, Channel::WhatsApp, "fr", &[], 8).await.unwrap(), None);
    assert!(legs::take_back(&mut tx, id, 9).await.unwrap().is_empty(), "only what an earlier start has left");
    campaign(&mut tx, "spring", None).await;
    let mut back = legs::take_back(&mut tx, id, 9).await.unwrap();
    back.sort_unstable();
    assert_eq!(back, stranded, "back to the leg that failed");
    assert_eq!(state(&mut tx, one.0).await, State::Failed);
    assert!(legs::take_back(&mut tx, id, 9).await.unwrap().is_empty());
    tx.rollback().await.unwrap();
});

both!(what_arrived_is_known_and_marked, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let person = contact(&mut tx, app, 1).await;
    let one = sending(&mut tx, id, person).await;
    assert!(messages::arrived_asks(&mut tx, "spring", &[person]).await.unwrap().is_empty());
    messages::settle(&mut tx, &[settled(one, "accepted", State::Accepted)], 9).await.unwrap();
    let arrived = [(person, "sms".to_owned())];
    assert_eq!(messages::arrived_asks(&mut tx, "spring", &[person]).await.unwrap(), arrived);
    assert!(messages::arrived_asks(&mut tx, "autumn", &[person]).await.unwrap().is_empty());
    assert!(!messages::is_marked(&mut tx, C, &keyed(app, 1)).await.unwrap());
    messages::mark_arrived(&mut tx, one.0).await.unwrap();
    assert!(messages::is_marked(&mut tx, C, &keyed(app, 1)).await.unwrap());
    messages::mark_arrived(&mut tx, one.0).await.unwrap();
    let facts = facts::people(&mut tx, "spring", &[person], 20).await.unwrap();
    assert_eq!(facts[&person].facts.asked_in_family, [one.0]);
    let mut open = conversations::open_of(&mut tx, person).await.unwrap().unwrap();
    open.confirm_message_id = Some(one.0);
    conversations::save(&mut tx, &open).await.unwrap();
    for at in [30, 40] {
        conversations::confirmation_arrived(&mut tx, one.0, at).await.unwrap();
    }
    assert_eq!(
        conversations::open_of(&mut tx, person).await.unwrap().unwrap().confirm_accepted_at,
        Some(30),
        "the first time stays"
    );
    tx.rollback().await.unwrap();
});

both!(unknown_sends_are_listed_and_their_settlement_is_kept, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let person = contact(&mut tx, app, 1).await;
    let one = sending(&mut tx, id, person).await;
    assert!(legs::unknown_of(&mut tx, id).await.unwrap().is_empty());
    messages::settle(&mut tx, &[settled(one, "unknown", State::Unknown)], 9).await.unwrap();
    let unknown = legs::unknown_of(&mut tx, id).await.unwrap();
    assert_eq!(
        unknown.iter().map(|u| (u.message_id, u.reference.clone())).collect::<Vec<_>>(),
        [(one.0, format!("ask-{}", one.0))]
    );
    legs::record_settlement(&mut tx, C, one.0, State::Failed, "A. Rossi", 10).await.unwrap();
    let told = legs::settlements_of(&mut tx, person).await.unwrap();
    assert_eq!(told, [(one.0, "failed".to_owned(), "A. Rossi".to_owned(), 10)]);
    tx.commit().await.unwrap();
    assert_eq!(app.count("SELECT COUNT(*) FROM settlements WHERE by_whom = 'A. Rossi' AND state = 'failed'").await, 1);
});

both!(a_second_start_replaces_what_the_first_had_planned, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let person = contact(&mut tx, app, 1).await;
    planned(&mut tx, Some(id), &[message(person, MessageKind::Ask, 0)]).await;
    assert!(report::unsent(&mut tx, id).await.unwrap().is_empty());
    campaign(&mut tx, "spring", None).await;
    let replaced = ("ask".to_owned(), "cancelled".to_owned(), "planned anew".to_owned(), 1);
    assert_eq!(report::unsent(&mut tx, id).await.unwrap(), [replaced]);
    let revision = campaigns::by_id(&mut tx, id).await.unwrap().unwrap().revision_id;
    assert_eq!(campaigns::plan_of(&mut tx, revision).await.unwrap().as_deref(), Some("p"));
    assert_eq!(campaigns::plan_of(&mut tx, 9_999).await.unwrap(), None);
    tx.rollback().await.unwrap();
});

both!(a_repetition_begins_once_and_leaves_the_planned_alone, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let (a, b) = (contact(&mut tx, app, 1).await, contact(&mut tx, app, 2).await);
    let decided = |contact, outcome| campaigns::Decided { contact, outcome, code: "X", basis: None, facts: "{}".into() };
    let both = [decided(a, "send"), decided(b, "skip")];
    campaigns::record(&mut tx, C, id, 7, "plan", &both, 5).await.unwrap();
    assert_eq!(campaigns::planned_already(&mut tx, id, 7, &[a, b]).await.unwrap(), [a]);
    assert!(campaigns::planned_already(&mut tx, id, 8, &[a, b]).await.unwrap().is_empty(), "another revision's");
    campaigns::set_progress(&mut tx, id, b, true).await.unwrap();
    campaigns::set_repeat(&mut tx, id, Some(50)).await.unwrap();
    assert!(!campaigns::begin_repeat(&mut tx, id, 49).await.unwrap(), "not that one");
    assert!(campaigns::begin_repeat(&mut tx, id, 50).await.unwrap());
    assert!(!campaigns::begin_repeat(&mut tx, id, 50).await.unwrap(), "once");
    let row = campaigns::by_id(&mut tx, id).await.unwrap().unwrap();
    assert_eq!((row.planned_to, row.planned_all, row.repeat_at), (0, 0, None));
    campaigns::set_stop_base(&mut tx, id, "{}").await.unwrap();
    assert_eq!(campaigns::by_id(&mut tx, id).await.unwrap().unwrap().stop_base.as_deref(), Some("{}"));
    tx.rollback().await.unwrap();
});

// Messages.

both!(nobody_is_planned_twice, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let person = contact(&mut tx, app, 1).await;
    assert_eq!(messages::plan(&mut tx, C, &route(Some(id)), &[], 5).await.unwrap(), None);
    let (batch, ids) =
        planned(&mut tx, Some(id), &[message(person, MessageKind::Ask, 0), message(person, MessageKind::Ask, 0)]).await;
    assert_eq!((ids.len(), batch.campaign_id), (1, Some(id)));
    let later = New { cause: "another plan".into(), ..message(person, MessageKind::Ask, 0) };
    assert_eq!(messages::plan(&mut tx, C, &route(None), &[later], 5).await.unwrap(), None, "one ask a person and family");
    assert_eq!(messages::open_batches(&mut tx, id).await.unwrap(), [batch.id], "a batch of nothing is not kept");
    let (answer, _) = planned(&mut tx, Some(id), &[message(person, MessageKind::Confirm, 0)]).await;
    assert_eq!(answer.campaign_id, None, "an answer does not wait for its campaign");
    tx.rollback().await.unwrap();
});

both!(a_batch_rests_until_its_next_due_message, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let (a, b) = (contact(&mut tx, app, 1).await, contact(&mut tx, app, 2).await);
    let (batch, ids) = planned(&mut tx, Some(id), &[message(a, MessageKind::Ask, 10), message(b, MessageKind::Ask, 20)]).await;
    assert!(messages::due_batches(&mut tx, C, 9, 9).await.unwrap().is_empty());
    assert_eq!(messages::due_batches(&mut tx, C, 10, 9).await.unwrap(), [(batch.id,)]);
    campaigns::set_state(&mut tx, id, CampaignState::Paused, None).await.unwrap();
    assert!(messages::due_batches(&mut tx, C, 10, 9).await.unwrap().is_empty(), "its campaign is paused");
    campaigns::set_state(&mut tx, id, CampaignState::Running, None).await.unwrap();
    assert_eq!(messages::due(&mut tx, &batch, 10, 9).await.unwrap().len(), 1);
    assert_eq!(messages::count_due(&mut tx, &batch, 20, 9).await.unwrap(), 2);
    assert_eq!(messages::count_due(&mut tx, &batch, 20, 1).await.unwrap(), 1);
    assert_eq!(messages::due_beside(&mut tx, C, &[id + 1], 10, 9).await.unwrap(), [(batch.id,)]);
    assert!(messages::due_beside(&mut tx, C, &[id], 10, 9).await.unwrap().is_empty(), "its campaign has enough in work");
    assert!(messages::due_answers(&mut tx, C, 10, 9).await.unwrap().is_empty());
    let (answer, _) = planned(&mut tx, Some(id), &[message(a, MessageKind::Confirm, 10)]).await;
    assert_eq!(messages::due_answers(&mut tx, C, 10, 9).await.unwrap(), [(answer.id,)]);
    assert!(messages::due_answers(&mut tx, C, 9, 9).await.unwrap().is_empty());
    assert_eq!(messages::due_beside(&mut tx, C, &[id], 10, 9).await.unwrap(), [(answer.id,)]);
    messages::postpone_batch(&mut tx, answer.id, 99).await.unwrap();
    messages::postpone_batch(&mut tx, batch.id, 15).await.unwrap();
    assert!(messages::due_batches(&mut tx, C, 14, 9).await.unwrap().is_empty());
    let waits = NotNow { message: ids[0], state: None, reason: "QUIET_HOURS", due_at: 30 };
    messages::put_off(&mut tx, &[waits], 15).await.unwrap();
    assert_eq!(messages::rest_batch(&mut tx, batch.id).await.unwrap(), Some(20));
    let skipped = NotNow { message: ids[1], state: Some("cancelled"), reason: "SUPPRESSED", due_at: 20 };
    messages::put_off(&mut tx, &[skipped], 21).await.unwrap();
    assert_eq!(messages::rest_batch(&mut tx, batch.id).await.unwrap(), Some(30));
    messages::claim(&mut tx, C, &WHO, &[claim_of(a, ids[0])], 30).await.unwrap();
    assert_eq!(messages::rest_batch(&mut tx, batch.id).await.unwrap(), None);
    assert!(messages::batch(&mut tx, batch.id).await.unwrap().is_none(), "nothing left: closed");
    assert!(messages::open_batches(&mut tx, id).await.unwrap().is_empty());
    tx.rollback().await.unwrap();
});

both!(one_claim_wins, |app| {
    let mut tx = write(app).await;
    let person = contact(&mut tx, app, 1).await;
    let (_, ids) = planned(&mut tx, None, &[message(person, MessageKind::Ask, 0)]).await;
    tx.commit().await.unwrap();
    let tasks: Vec<_> = (0..6)
        .map(|n| {
            let (store, mut claim) = (app.engine.store.clone(), claim_of(person, ids[0]));
            (claim.reference, claim.token_hash) = (format!("ask-{n}"), None);
            tokio::spawn(async move {
                let mut tx = store.write().await.unwrap();
                let slice = format!("slice {n}");
                let won = messages::claim(&mut tx, C, &Claimant { slice: &slice, ..WHO }, &[claim], 10).await.unwrap();
                assert_eq!(messages::claimed_by_slice(&mut tx, &slice).await.unwrap(), won);
                tx.commit().await.unwrap();
                won.len()
            })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        won += task.await.unwrap();
    }
    assert_eq!(won, 1);
    assert_eq!(app.count("SELECT COUNT(*) FROM attempts").await, 1);
    assert_eq!(app.count("SELECT tries FROM messages").await, 1);
});

both!(outcomes_are_settled_once, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let mut asks = Vec::new();
    for n in 0..4 {
        let person = contact(&mut tx, app, n).await;
        asks.push((person, sending(&mut tx, id, person).await));
    }
    let [(_, accepted), (back, not_accepted), (_, refused), (_, unknown)] = asks[..] else { unreachable!() };
    let batch = messages::open_batches(&mut tx, id).await.unwrap()[1];
    assert_eq!(messages::rest_batch(&mut tx, batch).await.unwrap(), None);
    let rows = [
        settled(accepted, "accepted", State::Accepted),
        settled(not_accepted, "not_accepted", State::Planned),
        settled(refused, "refused", State::Failed),
        settled(unknown, "unknown", State::Unknown),
    ];
    messages::settle(&mut tx, &rows, 20).await.unwrap();
    let mut states = Vec::new();
    for (_, (message, _)) in &asks {
        states.push(state(&mut tx, *message).await);
    }
    assert_eq!(states, [State::Accepted, State::Planned, State::Failed, State::Unknown]);
    // Proved not accepted: not asked, and the batch is open again for when it is due.
    assert!(conversations::open_of(&mut tx, back).await.unwrap().is_none());
    let again = messages::batch(&mut tx, batch).await.unwrap().unwrap();
    assert_eq!(messages::due(&mut tx, &again, 49, 9).await.unwrap().len(), 0);
    assert_eq!(messages::due(&mut tx, &again, 50, 9).await.unwrap().len(), 1);
    assert_eq!(report::unknown_outcomes(&mut tx, C).await.unwrap(), 1);
    // An unknown is never sent again, and a late answer settles it; what is settled stays.
    let again = messages::settle(&mut tx, &[settled(unknown, "unknown", State::Planned)], 21).await.unwrap();
    assert!(again.is_empty(), "no news");
    assert_eq!(state(&mut tx, unknown.0).await, State::Unknown);
    messages::settle(&mut tx, &[settled(unknown, "accepted", State::Accepted)], 22).await.unwrap();
    messages::settle(&mut tx, &[settled(accepted, "refused", State::Failed)], 22).await.unwrap();
    assert_eq!((state(&mut tx, unknown.0).await, state(&mut tx, accepted.0).await), (State::Accepted, State::Accepted));
    assert_eq!(report::unknown_outcomes(&mut tx, C).await.unwrap(), 0);
    let told = messages::story_of(&mut tx, asks[0].0).await.unwrap();
    assert_eq!((told.len(), told[0].campaign.as_deref(), told[0].outcome.as_deref()), (1, Some("spring"), Some("accepted")));
    tx.commit().await.unwrap();
    assert_eq!(app.count("SELECT COUNT(*) FROM asked_marks").await, 2);
});

both!(an_outcome_said_again_leaves_the_next_attempt_alone, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let person = contact(&mut tx, app, 1).await;
    let first = sending(&mut tx, id, person).await;
    let proved = [settled(first, "not_accepted", State::Planned)];
    assert_eq!(messages::settle(&mut tx, &proved, 20).await.unwrap(), [first.1].into());
    // Another process claims what was given back, and its request is under way when the first one, whose COMMIT went unanswered, tries again.
    let claim = Claim { reference: "again".into(), token_hash: Some("again".into()), ..claim_of(person, first.0) };
    let second = messages::claim(&mut tx, C, &WHO, std::slice::from_ref(&claim), 30).await.unwrap()[0];
    messages::mark_asked(&mut tx, C, "spring", MessageKind::Ask, &[&claim], 30).await.unwrap();
    let opening = Opening { contact: person, message: first.0, expires_at: 100 };
    conversations::open(&mut tx, C, Some(id), None, "link", &[opening], 30).await.unwrap();
    assert!(messages::settle(&mut tx, &proved, 31).await.unwrap().is_empty(), "it is settled");
    // So may one whose outcome is not known.
    messages::settle(&mut tx, &[settled(first, "unknown", State::Unknown)], 31).await.unwrap();
    assert_eq!(state(&mut tx, first.0).await, State::Sending);
    messages::settle(&mut tx, &[settled(second, "accepted", State::Accepted)], 32).await.unwrap();
    assert_eq!(state(&mut tx, first.0).await, State::Accepted);
    assert!(conversations::open_of(&mut tx, person).await.unwrap().is_some());
    assert!(conversations::are_open_at(&mut tx, C, "g").await.unwrap());
    assert!(!conversations::are_open_at(&mut tx, C, "another").await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(app.count("SELECT COUNT(*) FROM asked_marks").await, 1);
});

both!(what_a_provider_calls_a_message_of_somebody_erased_is_forgotten, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let (gone, here) = (contact(&mut tx, app, 1).await, contact(&mut tx, app, 2).await);
    let (one, two) = (sending(&mut tx, id, gone).await, sending(&mut tx, id, here).await);
    messages::settle(&mut tx, &[settled(one, "accepted", State::Accepted), settled(two, "accepted", State::Accepted)], 20)
        .await
        .unwrap();
    assert!(messages::erased_among(&mut tx, &[one.0, two.0]).await.unwrap().is_empty());
    erase::contact(&mut tx, C, gone, "nobody", "", 21).await.unwrap();
    assert_eq!(messages::erased_among(&mut tx, &[one.0, two.0]).await.unwrap(), [one.0].into());
    messages::forget_names(&mut tx, &[two.0]).await.unwrap();
    let name = |n: i64| format!("provider {n}");
    assert!(messages::attempt_by_provider_id(&mut tx, "g", &name(two.0)).await.unwrap().is_none());
    tx.rollback().await.unwrap();
});

both!(a_lost_worker_leaves_unknowns, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let (a, b) = (contact(&mut tx, app, 1).await, contact(&mut tx, app, 2).await);
    let (one, two) = (sending(&mut tx, id, a).await, sending(&mut tx, id, b).await);
    control::register(&mut tx, WHO.worker, "worker").await.unwrap();
    assert_eq!(messages::abandon(&mut tx, MINUTE_DB, None, 20).await.unwrap(), 0, "it lives");
    assert_eq!(messages::abandon(&mut tx, MINUTE_DB, Some(WHO.worker), 20).await.unwrap(), 0, "it is me");
    control::unregister(&mut tx, WHO.worker).await.unwrap();
    assert_eq!(messages::abandon(&mut tx, MINUTE_DB, None, 20).await.unwrap(), 2);
    assert_eq!((state(&mut tx, one.0).await, state(&mut tx, two.0).await), (State::Unknown, State::Unknown));
    assert_eq!(messages::abandon(&mut tx, MINUTE_DB, Some("new start"), 21).await.unwrap(), 0, "once");
    assert_eq!(messages::settle_by_person(&mut tx, a, 22).await.unwrap(), 1);
    assert_eq!((state(&mut tx, one.0).await, state(&mut tx, two.0).await), (State::Delivered, State::Unknown));
    // Not lost after all: that it was not accepted settles what nobody has answered, and nothing else.
    let late = [settled(one, "not_accepted", State::Planned), settled(two, "not_accepted", State::Planned)];
    messages::settle(&mut tx, &late, 22).await.unwrap();
    assert_eq!((state(&mut tx, one.0).await, state(&mut tx, two.0).await), (State::Delivered, State::Planned));
    let c = contact(&mut tx, app, 3).await;
    let two = sending(&mut tx, id, c).await;
    assert_eq!(messages::abandon(&mut tx, MINUTE_DB, None, 22).await.unwrap(), 1);
    let step = |from: State, to: State| messages::Move { message: two.0, from: from.code(), to: to.code() };
    assert!(messages::move_on(&mut tx, &[step(State::Planned, State::Sent)], 22).await.unwrap().is_empty(), "it is unknown");
    assert!(messages::move_on(&mut tx, &[], 22).await.unwrap().is_empty());
    assert!(messages::set_state(&mut tx, two.0, State::Unknown, State::Read, None, 23).await.unwrap());
    assert!(!messages::set_state(&mut tx, two.0, State::Unknown, State::Failed, Some("late"), 24).await.unwrap());
    assert_eq!(state(&mut tx, two.0).await, State::Read);
    tx.rollback().await.unwrap();
});

both!(an_attempt_is_found_by_whatever_names_it, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let person = contact(&mut tx, app, 1).await;
    let ask @ (message, attempt) = sending(&mut tx, id, person).await;
    let (token, reference) = (format!("token {message}"), format!("ask-{message}"));
    assert_eq!(messages::attempt_by_token(&mut tx, C, &token).await.unwrap().unwrap().id, attempt);
    assert!(messages::attempt_by_token(&mut tx, "another", &token).await.unwrap().is_none());
    let found = messages::attempt_by_reference(&mut tx, C, &reference).await.unwrap().unwrap();
    assert_eq!((found.id, found.contact_id, found.state(), found.outcome), (attempt, person, State::Sending, None));
    assert_eq!(messages::newest_ask(&mut tx, person).await.unwrap().unwrap().id, attempt);
    assert!(messages::attempt_by_provider_id(&mut tx, "g", "x").await.unwrap().is_none());
    inbound::learn_provider_ids(&mut tx, &[(attempt, "x")]).await.unwrap();
    inbound::learn_provider_ids(&mut tx, &[(attempt, "y")]).await.unwrap();
    let named = messages::attempts_by_provider_id(&mut tx, "g", &["x", "y", "x"], 0).await.unwrap();
    assert_eq!(named.into_iter().map(|(name, a)| (name, a.id)).collect::<Vec<_>>(), [("x".to_owned(), attempt)]);
    let named = messages::attempts_by_reference(&mut tx, C, &[&reference, "another"]).await.unwrap();
    assert_eq!(named.into_iter().map(|(name, a)| (name, a.id)).collect::<Vec<_>>(), [(reference.clone(), attempt)]);
    assert_eq!(messages::attempt_by_provider_id(&mut tx, "g", "x").await.unwrap().unwrap().id, attempt, "the first one stays");
    assert_eq!(report::claims(&mut tx, C).await.unwrap(), [(reference, 10)]);
    // Ids come round: what was claimed long ago is not what a receipt is about now.
    for (now, found) in [(10 + messages::SMS_TOLD, 1), (11 + messages::SMS_TOLD, 0)] {
        assert_eq!(messages::attempts_by_provider_id(&mut tx, "g", &["x"], now).await.unwrap().len(), found);
    }
    messages::settle(&mut tx, &[settled(ask, "refused", State::Failed)], 20).await.unwrap();
    assert!(messages::newest_ask(&mut tx, person).await.unwrap().is_none(), "what was refused asked nobody");
    messages::prove_taken(&mut tx, attempt).await.unwrap();
    assert_eq!(messages::newest_ask(&mut tx, person).await.unwrap().unwrap().id, attempt, "unless a receipt proves that it did");
    tx.rollback().await.unwrap();
});

// What came in.

both!(receipts_and_inbound_events_are_stored_once, |app| {
    let mut tx = write(app).await;
    let person = contact(&mut tx, app, 1).await;
    let receipt = |event_id, at| inbound::NewReceipt {
        event_id,
        provider_id: "x",
        reference: None,
        status: "sent",
        error: None,
        class: None,
        at,
    };
    let [r1, r2] =
        [("r1", 9), ("r2", 8)].map(|(id, at)| inbound::Matched { receipt: receipt(id, at), attempt: None, hashed: id });
    let both = [r1, r2, r1];
    let mut new: Vec<_> = inbound::add_receipts(&mut tx, C, "g", &both, 10).await.unwrap().into_iter().collect();
    new.sort();
    assert_eq!(new, ["r1", "r2"]);
    assert!(inbound::add_receipts(&mut tx, C, "g", &[r1], 11).await.unwrap().is_empty());
    let plain = inbound::Matched { receipt: receipt("plain", 9), attempt: Some(1), hashed: "r1" };
    assert!(inbound::add_receipts(&mut tx, C, "g", &[plain], 11).await.unwrap().is_empty(), "known by its hash");
    assert_eq!(inbound::add_receipts(&mut tx, C, "f", &[r1], 11).await.unwrap().len(), 1, "another gateway's");
    let found = inbound::unmatched(&mut tx, "g", &[("x", "-".into()), ("y", "-".into())]).await.unwrap();
    let [early, late] = &found[..] else { panic!("{found:?}") };
    assert!(early.0 > late.0, "by the provider's time, though it came later");
    assert_eq!((early.1.as_str(), early.2.as_str(), &early.3, &early.4), ("x", "sent", &None, &None));
    inbound::match_receipt(&mut tx, early.0, 1, None).await.unwrap();
    assert_eq!(inbound::unmatched(&mut tx, "g", &[("x", "-".into())]).await.unwrap(), std::slice::from_ref(late));
    let by_hash = inbound::unmatched(&mut tx, "g", &[("name", "x".into())]).await.unwrap();
    assert_eq!((by_hash.len(), by_hash[0].1.as_str()), (1, "name"), "under the provider's own");
    assert_eq!(inbound::forget_unmatched(&mut tx, C, 10).await.unwrap(), 0);
    assert_eq!(inbound::forget_unmatched(&mut tx, C, 11).await.unwrap(), 1, "neither the one of a message nor what came later");
    let reply = |event_id, intent| inbound::NewInbound {
        event_id,
        mac: "m",
        key_id: 1,
        contact: Some(person),
        to_sender: "s",
        channel: "sms",
        body_enc: "b",
        intent,
        at: 9,
        said: None,
    };
    let one = inbound::add_inbound(&mut tx, C, "g", &reply("i1", "unclear"), 10).await.unwrap().unwrap();
    let two = inbound::add_inbound(&mut tx, C, "g", &reply("i2", "opt_in"), 10).await.unwrap().unwrap();
    assert_eq!(inbound::add_inbound(&mut tx, C, "g", &reply("i1", "opt_out"), 11).await.unwrap(), None);
    assert_eq!(inbound::of_contact(&mut tx, person).await.unwrap().iter().map(|i| i.id).collect::<Vec<_>>(), [one, two]);
    assert!(inbound::waiting_yes(&mut tx, person).await.unwrap().is_empty());
    inbound::set_effect(&mut tx, two, inbound::YES_WAITS).await.unwrap();
    assert_eq!(inbound::waiting_yes(&mut tx, person).await.unwrap().iter().map(|i| i.id).collect::<Vec<_>>(), [two]);
    inbound::set_effect(&mut tx, one, "held").await.unwrap();
    assert_eq!(inbound::held_after(&mut tx, C, 0, 9).await.unwrap().iter().map(|i| i.id).collect::<Vec<_>>(), [one]);
    assert_eq!(inbound::still_held(&mut tx, person).await.unwrap(), 1);
    assert_eq!(inbound::resolve(&mut tx, C, two, "stop", "op", 12).await.unwrap(), None, "only what is held is resolved");
    assert_eq!(
        inbound::resolve(&mut tx, C, one, "nothing", "op", 12).await.unwrap(),
        Some((Some(person), Keyed { key_id: 1, mac: "m".into() }))
    );
    assert_eq!(inbound::resolve(&mut tx, C, one, "stop", "op", 13).await.unwrap(), None);
    assert_eq!(
        inbound::of_contact(&mut tx, person).await.unwrap()[0].verdict.as_deref(),
        Some("nothing"),
        "the first word stays"
    );
    assert_eq!(inbound::still_held(&mut tx, person).await.unwrap(), 0);
    assert!(inbound::held_after(&mut tx, C, 0, 9).await.unwrap().is_empty());
    // A stranger's waits by its keyed number, until somebody has that number.
    let of = keyed(app, 2).pop().unwrap();
    let stranger = inbound::NewInbound { contact: None, mac: &of.mac, key_id: of.key_id, ..reply("i3", "unclear") };
    let three = inbound::add_inbound(&mut tx, C, "g", &stranger, 13).await.unwrap().unwrap();
    inbound::set_effect(&mut tx, three, "held").await.unwrap();
    inbound::adopt(&mut tx, C, 14).await.unwrap();
    assert_eq!(inbound::held_after(&mut tx, C, 0, 9).await.unwrap()[0].subject, None);
    let owner = contact(&mut tx, app, 2).await;
    inbound::adopt(&mut tx, C, 15).await.unwrap();
    assert_eq!(inbound::still_held(&mut tx, owner).await.unwrap(), 1);
    assert_eq!(known(&mut tx, app, 2).await.held_at, Some(15));
    assert_eq!(inbound::resolve(&mut tx, C, three, "nothing", "op", 16).await.unwrap(), Some((Some(owner), of)));
    let counted = report::inbound(&mut tx, C).await.unwrap();
    assert_eq!(counted, [("opt_in".to_owned(), 1), ("unclear".to_owned(), 2)]);
    // What somebody said who hides their number waits by their id; a no under it that they have answered since is lifted.
    let user = |mac: &str| Keyed { key_id: USER, mac: mac.into() };
    let unseen = inbound::NewInbound { contact: None, mac: "u1", key_id: USER, ..reply("i6", "stop") };
    let six = inbound::add_inbound(&mut tx, C, "g", &unseen, 17).await.unwrap().unwrap();
    inbound::set_effect(&mut tx, six, "held").await.unwrap();
    let own = keyed(app, 2);
    for reason in [Reason::Stopped, Reason::Refused] {
        suppressions::suppress(&mut tx, C, &own, reason, By::Person, 5, 5).await.unwrap();
    }
    let mut yes = body(&known(&mut tx, app, 2).await.subject, Entry::Granted, 20, &["sms.promotions"]);
    yes.first_yes = serde_json::from_str(r#"{"at":18,"channel":"page","action":"form_post","evidence":""}"#).unwrap();
    let seq = ledger::append(&mut tx, &app.engine.vault, C, &yes, &[], 20).await.unwrap();
    suppressions::lift(&mut tx, C, owner, seq, 18, 20).await.unwrap();
    // A no between the two steps of the yes is not answered by it.
    for (reason, at) in [(Reason::Stopped, 7), (Reason::Stopped, 8), (Reason::WrongPerson, 7), (Reason::Refused, 19)] {
        suppressions::suppress(&mut tx, C, &[user("u1")], reason, By::Person, at, at).await.unwrap();
    }
    inbound::adopt(&mut tx, C, 21).await.unwrap();
    assert!(inbound::hidden(&mut tx, C).await.unwrap().is_empty());
    let told = [(user("u1"), person), (user("u1"), owner), (user("u2"), person)];
    let mut learned = contacts::learn_users(&mut tx, C, &told).await.unwrap();
    learned.sort();
    assert_eq!(learned, [(user("u1"), owner), (user("u2"), person)], "of two the latest");
    assert_eq!(contacts::learn_users(&mut tx, C, &told[1..]).await.unwrap(), []);
    let seen = facts::people(&mut tx, "f", &[person], 22).await.unwrap().remove(&person).unwrap();
    assert!(seen.person != "u2" && seen.marks.iter().all(|(mac, _)| mac != "u2"), "an id is no number to be asked: {seen:?}");
    assert_eq!(suppressions::lift_answered(&mut tx, C, &user("u1"), owner, 22).await.unwrap(), 1);
    assert_eq!(suppressions::lift_answered(&mut tx, C, &user("u1"), owner, 22).await.unwrap(), 0);
    let waits = inbound::hidden(&mut tx, C).await.unwrap();
    assert_eq!(waits.iter().map(|h| (h.id, h.contact_id, h.mac.as_str())).collect::<Vec<_>>(), [(six, owner, "u1")]);
    inbound::give(&mut tx, six, owner).await.unwrap();
    assert!(inbound::hidden(&mut tx, C).await.unwrap().is_empty());
    inbound::set_effect(&mut tx, six, "applied").await.unwrap();
    // What has no id is known by what was said, until our answer to it has arrived.
    for (event_id, at) in [("i4", 20), ("i5", 30)] {
        let said = inbound::NewInbound { said: Some("yes"), ..reply(event_id, "opt_in") };
        assert!(inbound::add_inbound(&mut tx, C, "g", &said, at).await.unwrap().is_some());
    }
    for (gateway, said, since, known) in
        [("g", "yes", 20, true), ("g", "yes", 30, true), ("g", "yes", 31, false), ("f", "yes", 20, false), ("g", "no", 20, false)]
    {
        assert_eq!(inbound::said_since(&mut tx, C, gateway, said, since).await.unwrap(), known, "{gateway} {said} {since}");
    }
    inbound::answered(&mut tx, C, "f", "yes", 40).await.unwrap();
    inbound::answered(&mut tx, C, "g", "no", 40).await.unwrap();
    inbound::answered(&mut tx, C, "g", "yes", 19).await.unwrap();
    assert!(inbound::said_since(&mut tx, C, "g", "yes", 20).await.unwrap());
    inbound::answered(&mut tx, C, "g", "yes", 20).await.unwrap();
    assert!(inbound::said_since(&mut tx, C, "g", "yes", 20).await.unwrap(), "said after it was answered");
    inbound::answered(&mut tx, C, "g", "yes", 30).await.unwrap();
    assert!(!inbound::said_since(&mut tx, C, "g", "yes", 0).await.unwrap());
    tx.rollback().await.unwrap();
});

both!(an_answer_takes_the_place_of_what_it_may_and_of_nothing_else, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let (asked, planned_only) = (contact(&mut tx, app, 1).await, contact(&mut tx, app, 2).await);
    let one = sending(&mut tx, id, asked).await;
    planned(&mut tx, Some(id), &[message(planned_only, MessageKind::Ask, 0)]).await;
    messages::settle(&mut tx, &[settled(one, "accepted", State::Accepted)], 9).await.unwrap();
    let row = |answer: &str, by: &str| (answer.to_owned(), by.to_owned(), 1);
    assert_eq!(report::answers(&mut tx, id).await.unwrap(), [row("silent", "")]);
    for (step, expected) in [
        (Some(Answer::Unfinished), "silent"),
        (None, "replied"),
        (Some(Answer::Pending), "pending"),
        (None, "pending"),
        (Some(Answer::Unfinished), "unfinished"),
        (Some(Answer::Pending), "pending"),
        (Some(Answer::Confirmed), "confirmed"),
        (Some(Answer::Pending), "confirmed"),
        (Some(Answer::Unfinished), "confirmed"),
    ] {
        for person in [asked, planned_only] {
            match step {
                Some(answer) => answers::give(&mut tx, person, id, answer, 10).await.unwrap(),
                None => answers::replied(&mut tx, person, By::Person, 10).await.unwrap(),
            }
        }
        let counted = report::answers(&mut tx, id).await.unwrap();
        assert_eq!(counted.iter().map(|(answer, _, n)| (answer.as_str(), *n)).collect::<Vec<_>>(), [(expected, 1)], "{step:?}");
    }
    // Nothing that the person allowed is left, and a later list changes nothing about who ended it.
    answers::ended(&mut tx, asked, By::Operator, 11).await.unwrap();
    suppressions::suppress(&mut tx, C, &keyed(app, 1), Reason::UnsubscribedBefore, By::List, 12, 12).await.unwrap();
    assert_eq!(report::answers(&mut tx, id).await.unwrap(), [row("withdrawn", "operator")]);
    assert_eq!(report::answers_by_hour(&mut tx, id).await.unwrap(), [(0, "withdrawn".to_owned(), "operator".to_owned(), 1)]);
    let by_place = report::answers_by_place(&mut tx, id).await.unwrap();
    assert_eq!(
        by_place.iter().map(|(_, _, answer, by, n)| (answer.as_str(), by.as_str(), *n)).collect::<Vec<_>>(),
        [("withdrawn", "operator", 1)]
    );
    tx.rollback().await.unwrap();
});

both!(a_person_has_one_open_conversation, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let person = contact(&mut tx, app, 1).await;
    let opening = |message| Opening { contact: person, message, expires_at: 100 };
    conversations::open(&mut tx, C, Some(id), None, "link", &[opening(1)], 10).await.unwrap();
    conversations::open(&mut tx, C, Some(id), None, "link", &[opening(2)], 11).await.unwrap();
    let mut first = conversations::open_of(&mut tx, person).await.unwrap().unwrap();
    assert_eq!((first.message_id, first.state.as_str(), first.opened_at), (1, "asked", 10));
    assert!(conversations::expired(&mut tx, C, 99, 9).await.unwrap().is_empty());
    assert_eq!(conversations::expired(&mut tx, C, 100, 9).await.unwrap()[0].id, first.id);
    (first.state, first.closed_at, first.first_yes_at) = ("expired".into(), Some(100), Some(50));
    (first.pending, first.first_yes, first.confirm_message_id) = (Some("[]".into()), Some("{}".into()), Some(7));
    conversations::save(&mut tx, &first).await.unwrap();
    assert!(conversations::open_of(&mut tx, person).await.unwrap().is_none());
    assert!(conversations::expired(&mut tx, C, 100, 9).await.unwrap().is_empty());
    let newest = conversations::newest_of(&mut tx, person).await.unwrap().unwrap();
    assert_eq!(format!("{newest:?}"), format!("{first:?}"), "everything the machine may change was written");
    assert!(conversations::ran_out(&mut tx, &[person]).await.unwrap().is_empty(), "its message is gone, and it had a first yes");
    conversations::open(&mut tx, C, Some(id), None, "link", &[opening(3)], 101).await.unwrap();
    assert_eq!(conversations::newest_of(&mut tx, person).await.unwrap().unwrap().message_id, 3);
    let counted = report::conversations(&mut tx, id).await.unwrap();
    assert_eq!(counted, [("asked".to_owned(), 1), ("expired".to_owned(), 1)]);
    tx.rollback().await.unwrap();
});

both!(an_accepted_confirmation_starts_its_second_step, |app| {
    let mut tx = write(app).await;
    let person = contact(&mut tx, app, 1).await;
    let (_, ids) = planned(&mut tx, None, &[message(person, MessageKind::Confirm, 0)]).await;
    let won = messages::claim(&mut tx, C, &WHO, &[claim_of(person, ids[0])], 10).await.unwrap();
    conversations::open(&mut tx, C, None, None, "reply", &[Opening { contact: person, message: 1, expires_at: 100 }], 5)
        .await
        .unwrap();
    let mut c = conversations::open_of(&mut tx, person).await.unwrap().unwrap();
    c.confirm_message_id = Some(ids[0]);
    conversations::save(&mut tx, &c).await.unwrap();
    messages::settle(&mut tx, &[settled(won[0], "accepted", State::Accepted)], 20).await.unwrap();
    assert_eq!(conversations::open_of(&mut tx, person).await.unwrap().unwrap().confirm_accepted_at, Some(20));
    // Said once more, it is counted from that; whatever else is told of it later changes nothing, and no other help does.
    for (wording, at, counts) in [("help", 30, 20), (conversations::CONFIRM, 40, 50), (conversations::CONFIRM, 0, 50)] {
        c = conversations::open_of(&mut tx, person).await.unwrap().unwrap();
        c.first_yes_at = Some(6);
        conversations::save(&mut tx, &c).await.unwrap();
        let again = messages::New {
            wording: Some(wording.into()),
            cause: format!("{wording}{at}"),
            ..message(person, MessageKind::Help, 0)
        };
        let route = messages::Route { campaign: None, revision: None, gateway: "g", sender: "s" };
        let (_, id) = messages::plan(&mut tx, C, &route, &[again], at).await.unwrap().unwrap();
        for later in [10, 20] {
            conversations::confirmation_arrived(&mut tx, id, at + later).await.unwrap();
        }
        let counted = conversations::open_of(&mut tx, person).await.unwrap().unwrap().confirm_accepted_at;
        assert_eq!(counted, Some(counts), "{wording} {at}");
    }
    tx.rollback().await.unwrap();
});

// Proof.

both!(a_ledger_chain_starts_at_genesis_and_links, |app| {
    let mut tx = write(app).await;
    let one =
        ledger::append(&mut tx, &app.engine.vault, C, &body("a", Entry::Granted, 5, &["sms.promotions"]), &[], 1).await.unwrap();
    let other =
        ledger::append(&mut tx, &app.engine.vault, C, &body("b", Entry::Refused, 6, &["sms.promotions"]), &[], 1).await.unwrap();
    let two = ledger::append(&mut tx, &app.engine.vault, C, &body("a", Entry::Stopped, 7, &[]), &[], 1).await.unwrap();
    assert!(one < other && other < two);
    let chain = ledger::entries_of(&mut tx, C, "a").await.unwrap();
    assert_eq!(chain.iter().map(|r| r.0).collect::<Vec<_>>(), [one, two]);
    assert_eq!((chain[0].5.as_str(), &chain[1].5), (GENESIS, &chain[0].6));
    assert_eq!(ledger::entries_of(&mut tx, C, "b").await.unwrap()[0].5, GENESIS, "every subject has a chain of its own");
    let heads = ledger::heads(&mut tx, C).await.unwrap();
    let sealed = app.engine.vault.head_seal(C, "a", 2, &chain[1].6);
    assert_eq!(heads[0], ("a".to_owned(), 2, sealed), "the end of a chain is sealed with its length");
    assert_eq!((heads.len(), heads[1].1), (2, 1));
    let page = ledger::entries_after(&mut tx, C, one, 1).await.unwrap();
    assert_eq!(page.iter().map(|r| (r.0, r.1.as_str())).collect::<Vec<_>>(), [(other, "b")]);
    let sms = Permission::parse("sms.promotions").unwrap();
    let now = ledger::preferences(&mut tx, C, "a").await.unwrap();
    assert_eq!(now, BTreeMap::from([(sms, Preference::Withdrawn)]));
    let text = |s: &str, state: &str| (s.to_owned(), "sms".to_owned(), "promotions".to_owned(), state.to_owned());
    assert_eq!(ledger::all_preferences(&mut tx, C).await.unwrap(), [text("a", "withdrawn"), text("b", "refused")]);
    let counted = report::preferences(&mut tx, C).await.unwrap();
    assert_eq!(counted, [("refused".to_owned(), 1), ("withdrawn".to_owned(), 1)]);
    tx.rollback().await.unwrap();
});

both!(consents_since_lists_changes_in_order, |app| {
    let mut tx = write(app).await;
    for n in [1, 2] {
        contact(&mut tx, app, n).await;
    }
    let (a, b) = (known(&mut tx, app, 1).await.subject, known(&mut tx, app, 2).await.subject);
    let both = ["sms.promotions", "call.promotions"];
    ledger::append(&mut tx, &app.engine.vault, C, &body(&a, Entry::Granted, 5, &both), &[], 5).await.unwrap();
    ledger::append(&mut tx, &app.engine.vault, C, &body(&b, Entry::Granted, 6, &["sms.promotions"]), &[], 6).await.unwrap();
    // Said before, learned of last.
    let last =
        ledger::append(&mut tx, &app.engine.vault, C, &body(&a, Entry::Withdrawn, 4, &["sms.promotions"]), &[], 7).await.unwrap();
    let listed = async |tx: &mut Tx, since| {
        let rows = ledger::consents_since(tx, C, since, &[]).await.unwrap();
        rows.into_iter().map(|r| (r.channel, r.state, r.since)).collect::<Vec<_>>()
    };
    let row = |channel: &str, state: &str, since| (channel.to_owned(), state.to_owned(), since);
    let (call, sms, no) = (row("call", "granted", 5), row("sms", "granted", 6), row("sms", "withdrawn", 4));
    assert_eq!(listed(&mut tx, 0).await, [call, sms.clone(), no.clone()]);
    assert_eq!(listed(&mut tx, 6).await, [sms, no], "since it was learned of, that time included");
    let always = ledger::consents_since(&mut tx, C, 8, &["call"]).await.unwrap();
    assert_eq!(always.into_iter().map(|r| (r.channel, r.since)).collect::<Vec<_>>(), [("call".to_owned(), 5)]);
    let newest = ledger::consents_since(&mut tx, C, 7, &[]).await.unwrap().remove(0);
    assert_eq!((newest.seq, newest.body.is_some_and(|b| b.contains("withdrawn"))), (last, true));
    assert!(listed(&mut tx, 8).await.is_empty());
    tx.rollback().await.unwrap();
});

both!(a_published_wording_stays_as_it_is, |app| {
    let mut tx = write(app).await;
    let text = |body: &str| [("hash".to_owned(), "ask".to_owned(), "it".to_owned(), body.to_owned())];
    assert_eq!(ledger::publish_wording(&mut tx, C, &text("first"), 5).await.unwrap(), 1);
    assert_eq!(ledger::publish_wording(&mut tx, C, &text("second"), 6).await.unwrap(), 0);
    tx.commit().await.unwrap();
    let kept = "SELECT COUNT(*) FROM wordings WHERE controller = 'contract' AND body = 'first' AND published_at = 5";
    assert_eq!(app.count(kept).await, 1);
    assert_eq!(app.count("SELECT COUNT(*) FROM wordings WHERE controller = 'contract'").await, 1);
});

both!(the_times_of_a_person_are_kept_and_are_facts, |app| {
    let mut tx = write(app).await;
    let id = contact(&mut tx, app, 1).await;
    for (json, words) in
        [(Some("{\"parts\":[\"morning\"],\"at_most\":\"week\"}"), Some("08:00-12:00, at most once a week")), (None, None)]
    {
        contacts::set_times(&mut tx, id, json).await.unwrap();
        assert_eq!(contacts::lock(&mut tx, id).await.unwrap().unwrap().times.as_deref(), json);
        let people = facts::people(&mut tx, "", &[id], 5).await.unwrap();
        assert_eq!(people[&id].facts.times.as_ref().map(|t| t.words()).as_deref(), words);
    }
    tx.rollback().await.unwrap();
});

both!(a_published_notice_is_found_by_version_and_language, |app| {
    let mut tx = write(app).await;
    let text = |body: &'static str| [("it", format!("hash of {body}"), body)];
    notices::publish(&mut tx, C, "1", &text("first"), 5).await.unwrap();
    notices::publish(&mut tx, C, "1", &text("first"), 6).await.unwrap();
    notices::publish(&mut tx, C, "2", &[("it", "b".into(), "second"), ("de", "c".into(), "zweite")], 7).await.unwrap();
    let first = notices::of_version(&mut tx, C, "1").await.unwrap();
    assert_eq!(
        first.iter().map(|p| (p.locale.as_str(), p.body.as_str(), p.published_at)).collect::<Vec<_>>(),
        [("it", "first", 5)]
    );
    let all = notices::all(&mut tx, C).await.unwrap();
    assert_eq!(all.iter().map(|p| p.hash.as_str()).collect::<Vec<_>>(), ["c", "b", "hash of first"]);
    assert_eq!(notices::hash(&mut tx, C, "2", "de").await.unwrap().as_deref(), Some("c"));
    assert_eq!(notices::hash(&mut tx, C, "2", "pl").await.unwrap(), None);
    for (wanted, shown) in [("1", Some("1")), ("2", Some("2")), ("3", Some("2"))] {
        assert_eq!(notices::standing(&mut tx, C, wanted).await.unwrap().as_deref(), shown);
    }
    assert_eq!(notices::standing(&mut tx, "another controller", "1").await.unwrap(), None);
    tx.commit().await.unwrap();
    // Another text under the same version: whether it is refused or passed over, the first one stays.
    let mut tx = write(app).await;
    let _ = notices::publish(&mut tx, C, "1", &text("another"), 8).await;
    drop(tx);
    let kept = "SELECT COUNT(*) FROM notices WHERE controller = 'contract' AND version = '1' AND body = 'first'";
    assert_eq!(app.count(kept).await, 1);
});

both!(a_screening_covers_whom_it_knew_and_the_newest_is_the_registers_word, |app| {
    let listings = |n: u32, since| -> Vec<screenings::Listing> {
        keyed(app, n).into_iter().map(|keyed| screenings::Listing { keyed, since }).collect()
    };
    let mut tx = write(app).await;
    let (early, late) = (contact(&mut tx, app, 1).await, {
        contacts::merge(&mut tx, C, &[row(app, 2)], 50).await.unwrap();
        known(&mut tx, app, 2).await.id
    });
    let said = async |tx: &mut Tx, id| {
        let all = screenings::of(tx, &[early, late]).await.unwrap().remove(&id).unwrap_or_default();
        all.into_iter().map(|s| (s.at, s.listed_since)).collect::<Vec<_>>()
    };
    let first = screenings::begin(&mut tx, C, "RPO", 40, "rpo.csv").await.unwrap();
    screenings::list(&mut tx, C, "RPO", first, &[listings(1, 30), listings(1, 20), listings(2, 10)].concat()).await.unwrap();
    // Listed is listed at once; nobody is covered by half a screening.
    assert_eq!(screenings::newest(&mut tx, C, "RPO").await.unwrap(), None);
    assert_eq!(said(&mut tx, early).await, [(None, Some(30))]);
    screenings::finish(&mut tx, C, "RPO", first, 60).await.unwrap();
    assert_eq!(screenings::newest(&mut tx, C, "RPO").await.unwrap(), Some(40));
    assert_eq!((said(&mut tx, early).await, said(&mut tx, late).await), (vec![(Some(40), Some(30))], vec![(None, Some(10))]));
    let second = screenings::begin(&mut tx, C, "RPO", 55, "rpo.csv").await.unwrap();
    screenings::list(&mut tx, C, "RPO", second, &listings(2, 52)).await.unwrap();
    screenings::finish(&mut tx, C, "RPO", second, 60).await.unwrap();
    assert_eq!((said(&mut tx, early).await, said(&mut tx, late).await), (vec![(Some(55), None)], vec![(Some(55), Some(52))]));
    assert!(screenings::granted_among(&mut tx, C, &listings(2, 52)).await.unwrap().is_empty());
    let subject = known(&mut tx, app, 2).await.subject;
    ledger::append(&mut tx, &app.engine.vault, C, &body(&subject, Entry::Granted, 5, &["call.promotions"]), &[], 5)
        .await
        .unwrap();
    assert_eq!(screenings::granted_among(&mut tx, C, &listings(2, 52)).await.unwrap(), [(late, 52)]);
    assert_eq!(screenings::newest(&mut tx, "another", "RPO").await.unwrap(), None);
    tx.rollback().await.unwrap();
});

both!(a_database_is_whose_oldest_row_it_is, |app| {
    let mut tx = write(app).await;
    assert_eq!(keys::owner(&mut tx).await.unwrap(), None, "nobody is in it");
    let mark = keep::Asked { mac: "m1".into(), key_id: 1, family: "f".into(), kind: "ask".into(), asked_at: 5, message_id: 1 };
    keep::add_asked(&mut tx, "marks", &[mark]).await.unwrap();
    assert_eq!(keys::owner(&mut tx).await.unwrap().as_deref(), Some("marks"));
    for controller in ["first", C] {
        contacts::merge(&mut tx, controller, &[row(app, 1)], 20).await.unwrap();
        assert_eq!(keys::owner(&mut tx).await.unwrap().as_deref(), Some("first"), "whoever came under another id since");
    }
    tx.rollback().await.unwrap();
});

both!(of_two_screenings_at_a_time_neither_ends_what_the_other_lists, |app| {
    let listings = |n: u32| -> Vec<screenings::Listing> {
        keyed(app, n).into_iter().map(|keyed| screenings::Listing { keyed, since: 30 }).collect()
    };
    let mut tx = write(app).await;
    let ids = [contact(&mut tx, app, 1).await, contact(&mut tx, app, 2).await];
    let listed = async |tx: &mut Tx| {
        let all = screenings::of(tx, &ids).await.unwrap();
        ids.map(|id| all.get(&id).into_iter().flatten().any(|s| s.listed_since.is_some()))
    };
    // The same answer twice, begun one after the other, and ended in either order; or the second breaks off.
    for (first_ends, second_ends) in [(1, 2), (2, 1), (1, 0)] {
        let mut at = [0, 0];
        for one in &mut at {
            *one = screenings::begin(&mut tx, C, "RPO", 40, "rpo.csv").await.unwrap();
            screenings::list(&mut tx, C, "RPO", *one, &listings(1)).await.unwrap();
        }
        for turn in 1..=2 {
            for (screening, ends) in [(at[0], first_ends), (at[1], second_ends)] {
                if ends == turn {
                    screenings::list(&mut tx, C, "RPO", screening, &listings(2)).await.unwrap();
                    screenings::finish(&mut tx, C, "RPO", screening, 60).await.unwrap();
                    assert_eq!(listed(&mut tx).await, [true, true], "{first_ends}, {second_ends}: when {turn} has ended");
                }
            }
        }
        // The register's next word is the only one.
        let next = screenings::begin(&mut tx, C, "RPO", 41, "rpo.csv").await.unwrap();
        screenings::finish(&mut tx, C, "RPO", next, 60).await.unwrap();
        assert_eq!(listed(&mut tx).await, [false, false]);
    }
    // As of a later time, and broken off: what it lists is listed when an earlier one ends, though that one was begun after it.
    let later = screenings::begin(&mut tx, C, "RPO", 50, "rpo.csv").await.unwrap();
    screenings::list(&mut tx, C, "RPO", later, &listings(1)).await.unwrap();
    let earlier = screenings::begin(&mut tx, C, "RPO", 45, "rpo.csv").await.unwrap();
    screenings::list(&mut tx, C, "RPO", earlier, &[listings(1), listings(2)].concat()).await.unwrap();
    screenings::finish(&mut tx, C, "RPO", earlier, 60).await.unwrap();
    assert_eq!(listed(&mut tx).await, [true, true]);
    let same = screenings::begin(&mut tx, C, "RPO", 45, "rpo.csv").await.unwrap();
    screenings::finish(&mut tx, C, "RPO", same, 60).await.unwrap();
    assert_eq!(listed(&mut tx).await, [true, false], "whom the later one lists is listed until one of its time has ended");
    tx.rollback().await.unwrap();
});

// The queue and the counts.

both!(jobs_pushed_in_a_rolled_back_transaction_are_not_there, |app| {
    let (jobs, done) = match app.kind {
        Kind::Sqlite => ("SELECT COUNT(*) FROM Jobs", "UPDATE Jobs SET status = 'Done'"),
        Kind::Postgres => ("SELECT COUNT(*) FROM apalis.jobs", "UPDATE apalis.jobs SET status = 'Done'"),
    };
    let mut tx = write(app).await;
    queue::push(&mut tx, &Job::Deliver { batch: 1 }, Duration::ZERO).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(app.count(jobs).await, 0);
    let mut tx = write(app).await;
    queue::push(&mut tx, &Job::Plan { campaign: 1 }, Duration::from_secs(60)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(app.count(jobs).await, 1);
    assert_eq!(queue::sweep(&app.engine.store).await.unwrap(), 0, "what is not done stays");
    app.execute(done).await.unwrap();
    assert_eq!(queue::sweep(&app.engine.store).await.unwrap(), 1);
    assert_eq!(app.count(jobs).await, 0);
});

both!(messages_are_counted_by_kind_and_state, |app| {
    let mut tx = write(app).await;
    let id = campaign(&mut tx, "spring", None).await;
    let (a, b) = (contact(&mut tx, app, 1).await, contact(&mut tx, app, 2).await);
    sending(&mut tx, id, a).await;
    planned(&mut tx, Some(id), &[message(b, MessageKind::Ask, 0)]).await;
    planned(&mut tx, None, &[message(b, MessageKind::Help, 0)]).await;
    let row = |kind: &str, state: &str| (kind.to_owned(), state.to_owned(), 1);
    assert_eq!(report::messages(&mut tx, id).await.unwrap(), [row("ask", "planned"), row("ask", "sending")]);
    let all = report::all_messages(&mut tx, C).await.unwrap();
    assert_eq!(all, [row("ask", "planned"), row("ask", "sending"), row("help", "planned")]);
    assert!(report::all_messages(&mut tx, "another").await.unwrap().is_empty());
    tx.rollback().await.unwrap();
});

/// Functions that no test names, each with the reason.
const NOT_NAMED: [(&str, &str); 0] = [];

#[test]
fn every_function_of_the_store_is_named_in_a_test() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let rust = |folder: &str| {
        let files = std::fs::read_dir(root.join(folder)).unwrap().map(|f| f.unwrap().path());
        files.filter(|f| f.extension().is_some_and(|e| e == "rs")).collect::<Vec<_>>()
    };
    let tests: String = rust("tests/it").iter().map(|f| std::fs::read_to_string(f).unwrap()).collect();
    let mut functions = 0;
    let mut missing = Vec::new();
    for file in rust("src/store") {
        let module = file.file_stem().unwrap().to_string_lossy().into_owned();
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let Some(name) = line.trim().strip_prefix("pub async fn ").and_then(|l| l.split(['(', '<']).next()) else { continue };
            functions += 1;
            let called = match module.as_str() {
                "mod" => tests.contains(&format!("Store::{name}(")) || tests.contains(&format!(".{name}()")),
                "migrations" => {
                    [format!("Store::{name}("), format!("migrations::{name}(")].iter().any(|call| tests.contains(call))
                }
                _ => tests.contains(&format!("{module}::{name}(")),
            };
            let excused = NOT_NAMED.iter().any(|(n, _)| *n == format!("{module}::{name}"));
            if called == excused {
                missing.push(format!("{module}::{name}"));
            }
        }
    }
    assert!(functions > 80, "the sources were read: {functions}");
    assert!(missing.is_empty(), "neither tested nor excused, or both: {missing:?}");
}

// Rates that several processes share.

fn rate(name: &str, a_second: i64, burst: i64) -> Rate {
    Rate { name: name.into(), period: 1_000_000 / a_second, burst }
}

async fn lease(tx: &mut Tx, controller: &str, rates: &[Rate], least: i64, wanted: i64, now: i64) -> Lease {
    let free = rates::hold(tx, controller, rates).await.unwrap();
    rates::lease(tx, controller, rates, &free, least, wanted, now).await.unwrap()
}

both!(processes_together_are_no_faster_than_a_rate_and_use_it, |app| {
    let rates = [rate("gateway", 100, 25), rate("sender", 50, 12)];
    let mut tx = write(app).await;
    // Three processes that look at odd moments, for ten seconds.
    let mut taken: Vec<(i64, i64)> = Vec::new();
    let (mut now, mut dice) = (1_000_000_000, 7_u64);
    while now < 1_010_000_000 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let wanted = 1 + i64::try_from(dice >> 60).unwrap();
        match lease(&mut tx, C, &rates, 1.min(wanted), wanted, now).await {
            Lease::Permits(n) => taken.push((now, n)),
            Lease::NotFor(wait) => assert!((1..=20_000).contains(&wait), "{wait}"),
        }
        now += 1_000 + i64::try_from((dice >> 40) % 40_000).unwrap();
    }
    let all: i64 = taken.iter().map(|(_, n)| n).sum();
    assert!((450..=512).contains(&all), "{all} of 500 in ten seconds");
    for (from, _) in &taken {
        let second: i64 = taken.iter().filter(|(at, _)| (*from..from + 1_000_000).contains(at)).map(|(_, n)| n).sum();
        assert!(second <= 62, "{second} in a second");
    }
    // A process that asks for a whole burst is told when there is one.
    let Lease::NotFor(wait) = lease(&mut tx, C, &rates, 12, 12, now).await else { panic!("there is none") };
    assert_eq!(lease(&mut tx, C, &rates, 12, 12, now + wait).await, Lease::Permits(12));
    // After a rest there is one burst and no more, for this controller; another has its own.
    assert_eq!(lease(&mut tx, C, &rates, 1, 500, now + 60_000_000).await, Lease::Permits(12));
    assert_eq!(lease(&mut tx, "another", &rates, 1, 500, now).await, Lease::Permits(12));
    // The database's clock was set back by an hour: nothing stands still for so long.
    assert_eq!(lease(&mut tx, C, &rates, 1, 500, now - 3_600_000_000).await, Lease::Permits(12));
    assert_eq!(lease(&mut tx, C, &[], 1, 500, now).await, Lease::Permits(500), "no rate, no limit");
    tx.rollback().await.unwrap();
});

#[tokio::test]
async fn two_processes_that_ask_at_the_same_moment_get_one_burst_postgres() {
    let mut app = TestApp::new(crate::app::Kind::Postgres).await;
    let rates = [rate("gateway", 100, 25)];
    let mut first = write(&app).await;
    assert_eq!(lease(&mut first, C, &rates, 1, 1, 1_000_000).await, Lease::Permits(1));
    first.commit().await.unwrap();
    let (mut one, mut other) = (write(&app).await, write(&app).await);
    assert_eq!(lease(&mut one, C, &rates, 1, 20, 1_000_000).await, Lease::Permits(20));
    let (second, ()) = tokio::join!(lease(&mut other, C, &rates, 1, 20, 1_000_000), async {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        one.commit().await.unwrap();
    });
    assert_eq!(second, Lease::Permits(4));
    other.commit().await.unwrap();
    app.end().await;
}

// Keys.

both!(a_database_knows_its_keys_and_whether_anybody_is_in_it, |app| {
    let mut tx = write(app).await;
    assert!(!keys::is_in_use(&mut tx).await.unwrap());
    let proof = |id: i64, text: &str| (id, text.to_owned());
    keys::add_proofs(&mut tx, &[proof(1, "one")]).await.unwrap();
    keys::add_proofs(&mut tx, &[proof(1, "another"), proof(2, "two")]).await.unwrap();
    assert_eq!(keys::proofs(&mut tx).await.unwrap(), [proof(1, "one"), proof(2, "two")], "whoever was first stays");
    assert!(keys::some_numbers(&mut tx).await.unwrap().is_empty());
    for n in 1..4 {
        contact(&mut tx, app, n).await;
    }
    assert_eq!(keys::some_numbers(&mut tx).await.unwrap().len(), 2, "the first and the last");
    assert!(keys::is_in_use(&mut tx).await.unwrap());
    tx.rollback().await.unwrap();
});
