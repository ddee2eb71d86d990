//! What gateways tell at the same time is stored together: each call answered when its own events are on disk, one that cannot be
//! stored taking no neighbour with it, and receipts by the hundred meaning what they mean one by one.

use futures::FutureExt;
use futures::future::join_all;
use permesso::engine::group;
use permesso::gateway::mock::protocol::{self, Status};
use permesso::store::{Store, contacts};

use crate::app::{LINK, REPLY_NUMBER, TestApp, WHATSAPP_FIRST};
use crate::both;
use crate::promises::{inbound, said};

fn receipt(event_id: &str, id: &str, reference: &str, status: Status, code: Option<&str>, at: i64) -> protocol::Event {
    protocol::Event::Receipt(protocol::Receipt {
        event_id: event_id.into(),
        id: id.into(),
        reference: reference.into(),
        status,
        at,
        error: code.map(|code| protocol::ReceiptError { code: code.into() }),
    })
}

both!(calls_that_come_while_another_is_stored_are_all_on_disk_when_answered, |app| {
    let numbers: Vec<String> = (0..40).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.plan(LINK).await;
    app.deliver_unheard().await;
    let now = app.clock.now();
    // Somebody else writes: the first call waits for it, and the others come meanwhile.
    let mut busy = app.engine.store.write().await.unwrap();
    let keyed = app.engine.vault.keyed_all(&TestApp::number(&numbers[0]));
    let contact = contacts::by_number(&mut busy, &app.engine.controller, &keyed).await.unwrap().unwrap().id;
    contacts::lock(&mut busy, contact).await.unwrap();
    let calls = numbers.iter().enumerate().map(|(n, number)| {
        let ask = &app.inbox(number)[0];
        let (sent, delivered) = (format!("s{n}"), format!("d{n}"));
        let mut events = vec![
            receipt(&delivered, &ask.id, &ask.reference, Status::Delivered, None, now),
            receipt(&sent, &ask.id, &ask.reference, Status::Sent, None, now),
            receipt(&delivered, &ask.id, &ask.reference, Status::Delivered, None, now),
        ];
        if n.is_multiple_of(10) {
            events.push(inbound(&format!("stop{n}"), number, REPLY_NUMBER, "STOP", now));
        }
        app.gateway.deliver(events)
    });
    let (taken, ()) = tokio::join!(join_all(calls), async {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        busy.commit().await.unwrap();
    });
    assert!(taken.iter().all(|taken| *taken));
    assert_eq!(app.states().await.get("delivered"), Some(&40));
    assert_eq!(app.count("SELECT COUNT(*) FROM receipts WHERE attempt_id IS NOT NULL").await, 80, "a repeated one once");
    assert_eq!(app.count("SELECT COUNT(*) FROM conversations WHERE state = 'stopped'").await, 4);
});

/// From now on the database refuses this, such as `INSERT ON receipts`, of a row such that.
pub async fn refuse(app: &TestApp, what: &str, when: &str) {
    match &app.engine.store {
        Store::Sqlite { write, .. } => {
            let sql = format!("CREATE TRIGGER poison BEFORE {what} WHEN {when} BEGIN SELECT RAISE(ABORT, 'poison'); END");
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(write).await.unwrap();
        }
        Store::Postgres { pool, .. } => {
            let sql = format!(
                "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'poison'; END $$;
                 CREATE TRIGGER poison BEFORE {what} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION poison()"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(pool).await.unwrap();
        }
    }
}

both!(what_cannot_be_stored_takes_no_neighbour_with_it, |app| {
    let numbers: Vec<String> = (0..4).map(TestApp::it).collect();
    app.people(&numbers).await;
    app.plan(LINK).await;
    app.deliver_unheard().await;
    refuse(app, "INSERT ON receipts", "NEW.event_id = 'poison'").await;
    let now = app.clock.now();
    let ask = |n: usize| app.inbox(&numbers[n])[0].clone();
    let of = |n: usize, id: &str| receipt(id, &ask(n).id, &ask(n).reference, Status::Delivered, None, now);
    let calls = [
        vec![of(0, "one")],
        vec![of(1, "before"), of(1, "poison"), inbound("stop", &numbers[1], REPLY_NUMBER, "STOP", now)],
        vec![inbound("another", &numbers[2], REPLY_NUMBER, "basta", now)],
        vec![of(3, "four")],
    ];
    let taken = join_all(calls.into_iter().map(|events| app.gateway.deliver(events))).await;
    assert_eq!(taken, [true, false, true, true], "the call with an event that is not on disk is not thanked for");
    for n in [0, 3] {
        assert_eq!(app.state_of(&numbers[n]).await, "delivered");
    }
    for n in [1, 2] {
        assert!(app.story(&numbers[n]).await.verdict.contains("stopped"), "the no beside it is kept");
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM receipts WHERE event_id = 'before'").await, 1);
});

both!(a_caller_that_hangs_up_takes_nothing_back, |app| {
    let numbers = [TestApp::it(1), TestApp::it(2)];
    app.people(&numbers).await;
    app.plan(LINK).await;
    let stop = |n: usize| said(&format!("stop{n}"), &numbers[n], REPLY_NUMBER, "STOP", app.clock.now());
    // Polled once and dropped, as a request is whose client went away.
    assert!(group::store(&app.engine, "mock", vec![stop(0)]).now_or_never().is_none());
    group::store(&app.engine, "mock", vec![stop(1)]).await.unwrap();
    app.settle().await;
    assert_eq!(numbers.iter().map(|n| app.asks(n)).sum::<usize>(), 0, "both said stop");
});

/// What a person's messages came to: their asks' channels, states and reasons.
async fn came_to(app: &TestApp, number: &str) -> Vec<String> {
    let keyed = app.engine.vault.keyed_all(&TestApp::number(number));
    let mut tx = app.engine.store.read().await.unwrap();
    let contact = contacts::by_number(&mut tx, &app.engine.controller, &keyed).await.unwrap().unwrap().id;
    let story = permesso::store::messages::story_of(&mut tx, contact).await.unwrap();
    tx.rollback().await.unwrap();
    story.iter().map(|m| format!("{} {} {} {:?} {:?}", m.kind, m.planned_channel, m.state, m.reason, m.outcome)).collect()
}

both!(receipts_by_the_hundred_mean_what_they_mean_one_by_one, |app| {
    const PAIRS: u32 = 60;
    for n in 0..2 * PAIRS {
        app.person(&TestApp::it(n), "sms whatsapp").await;
    }
    app.plan(WHATSAPP_FIRST).await;
    // A slice that took too long on a busy machine comes again.
    for _ in 0..20 {
        app.deliver_unheard().await;
        if (0..2 * PAIRS).all(|n| !app.inbox(&TestApp::it(n)).is_empty()) {
            break;
        }
        app.advance(std::time::Duration::from_secs(1));
    }
    let all = [Status::Sent, Status::Delivered, Status::Read, Status::Undelivered, Status::Failed, Status::Expired];
    let mut dice = fastrand(7);
    let (mut together, mut apart) = (Vec::new(), Vec::new());
    for n in 0..PAIRS {
        let (one, other) = (&app.inbox(&TestApp::it(n))[0], &app.inbox(&TestApp::it(PAIRS + n))[0]);
        for k in 0..1 + dice() % 5 {
            let status = all[dice() % all.len()];
            let code = (status == Status::Failed && dice().is_multiple_of(2)).then_some("not_on_channel");
            // Some name our reference alone, some repeat the event before.
            let known = !dice().is_multiple_of(3);
            let id =
                |ask: &permesso::gateway::mock::book::Accepted| if known { ask.id.clone() } else { format!("other-{}", ask.id) };
            let event = if dice().is_multiple_of(5) { k.saturating_sub(1) } else { k };
            let at = app.clock.now();
            together.push((dice(), n, receipt(&format!("t{n}-{event}"), &id(one), &one.reference, status, code, at)));
            apart.push(receipt(&format!("a{n}-{event}"), &id(other), &other.reference, status, code, at));
        }
    }
    // People interleaved, each one's own receipts in their order.
    let mut order: Vec<u32> = together.iter().map(|(_, n, _)| *n).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, dice() % (i + 1));
    }
    let mut of: Vec<std::collections::VecDeque<protocol::Event>> = vec![Default::default(); PAIRS as usize];
    together.into_iter().for_each(|(_, n, event)| of[n as usize].push_back(event));
    let slice: Vec<protocol::Event> = order.iter().map(|n| of[*n as usize].pop_front().unwrap()).collect();
    assert!(app.gateway.deliver(slice).await);
    for event in apart {
        assert!(app.gateway.deliver(vec![event]).await);
    }
    let mut kinds = std::collections::BTreeSet::new();
    for n in 0..PAIRS {
        let (one, other) = (came_to(app, &TestApp::it(n)).await, came_to(app, &TestApp::it(PAIRS + n)).await);
        assert_eq!(one, other, "person {n}");
        kinds.extend(one);
    }
    assert!(kinds.len() >= 6, "the dice showed too little: {kinds:?}");
});

/// The same numbers every time.
fn fastrand(seed: u64) -> impl FnMut() -> usize {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits")
    }
}
