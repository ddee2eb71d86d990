//! Several processes at one Postgres: web processes of which either hears, workers that share a campaign and a STOP.

use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;

use permesso::store::Store;

use crate::after::after;
use crate::app::{Kind, LINK, REPLY_NUMBER, TestApp, field};
use crate::crash::{closed, end, kill, plan_more, run_to_the_end};
use crate::faults::{PEOPLE, leisurely, some_are_asked};
use crate::run::{spawn, spawn_in, until};

async fn it_listens(app: &TestApp, base: &str) {
    let health = format!("{base}/healthz");
    until("the web role listens", async || app.http.get(&health).send().await.is_ok()).await;
}

/// The same settings with other doors, as a second machine behind the same name has them: their folder, and the address.
fn other_doors(app: &TestApp) -> (PathBuf, String) {
    let (dir, [public, operator]) = (app.dir.path().join("second"), crate::app::ports());
    std::fs::create_dir(&dir).unwrap();
    let copied = Command::new("cp").arg("-r").arg(&app.engine.config.dir).arg(dir.join("config")).status();
    assert!(copied.expect("cp").success());
    let file = dir.join("config/permesso.toml");
    let line = |line: &str| match line {
        l if l.starts_with("public_listen") => format!("public_listen = \"127.0.0.1:{public}\"\n"),
        l if l.starts_with("operator_listen") => format!("operator_listen = \"127.0.0.1:{operator}\"\n"),
        l => format!("{l}\n"),
    };
    let text: String = std::fs::read_to_string(&file).unwrap().lines().map(line).collect();
    std::fs::write(&file, text).unwrap();
    (dir, format!("http://127.0.0.1:{public}"))
}

#[tokio::test]
async fn of_two_web_processes_each_knows_what_the_other_heard_and_one_alone_keeps_the_ear_open() {
    let app = closed(Kind::Postgres).await;
    let [person, stops] = [1, 2].map(TestApp::it);
    app.people(&[person.clone(), stops.clone()]).await;
    let (dir, there) = other_doors(&app);
    let one = spawn(&app, &["run", "--roles", "web"], "");
    let _other = spawn_in(&app, &dir, &["run", "--roles", "web"], "");
    for base in [&app.base, &there] {
        it_listens(&app, base).await;
    }
    app.send(LINK).await;
    // A page of one, sent to the other; the yes by message comes to the first.
    let [first, second] = [app.link(&person), app.link(&person).replace(&app.base, &there)];
    let nonce = field(&app.get(&first).await.1, "nonce");
    assert_eq!(app.post(&second, &nonce, "chosen", &["sms.promotions"]).await, 303);
    assert!(app.get(&first).await.1.contains("banner pending"));
    // Said again until it counts: their clocks differ by what each took to start, and a yes that one hears before the other's was said does not.
    until("the yes counts", async || {
        let yes = app.gateway.reply(&person, REPLY_NUMBER, "SI").await;
        assert!(app.gateway.taken().contains(&yes));
        app.granted(&person).await == ["sms.promotions"]
    })
    .await;
    assert!(app.get(&second).await.1.contains("banner confirmed"));
    // A stop comes to the second.
    app.gateway.set_webhook_url(format!("{there}/webhooks/mock"));
    let stop = app.gateway.reply(&stops, REPLY_NUMBER, "STOP").await;
    assert!(app.gateway.taken().contains(&stop));
    assert!(app.get(&app.link(&stops)).await.1.contains("banner stopped"));
    // The first dies: that is no deafness.
    drop(one);
    let heard = app.count("SELECT heard_db FROM listening").await;
    until("the other goes on hearing", async || app.count("SELECT heard_db FROM listening").await > heard).await;
    assert_eq!(app.count("SELECT COUNT(*) FROM gaps").await, 0);
    end(app).await;
}

/// How often this person's ask was claimed.
async fn claims_of(app: &TestApp, number: &str) -> i64 {
    let sql = "SELECT COUNT(a.claimed_at) FROM attempts a JOIN messages m ON m.id = a.message_id
        JOIN number_macs n ON n.contact_id = m.contact_id WHERE m.kind = 'ask' AND n.mac = $1";
    let Store::Postgres { pool, .. } = &app.engine.store else { unreachable!("two workers share a Postgres") };
    let mac = app.engine.vault.keyed_all(&TestApp::number(number)).remove(0).mac;
    sqlx::query_scalar(sql).bind(mac).fetch_one(pool).await.unwrap()
}

/// Every third says stop, from the end of the list on, one after another while the others are asked. Answers how often each had been claimed
/// when their stop was answered 2xx.
async fn storm_of_stops(app: &TestApp, people: Range<u32>) -> Vec<(String, i64)> {
    let mut said = Vec::new();
    for number in people.rev().step_by(3).map(TestApp::it) {
        let stop = app.gateway.reply(&number, REPLY_NUMBER, "STOP").await;
        assert!(app.gateway.taken().contains(&stop));
        let claims = claims_of(app, &number).await;
        said.push((number, claims));
    }
    said
}

#[tokio::test]
async fn of_two_workers_one_dies_the_other_asks_the_rest_once_and_neither_asks_after_a_stop() {
    let app = closed(Kind::Postgres).await;
    leisurely(&app);
    let web = spawn(&app, &["run", "--roles", "web"], "");
    it_listens(&app, &app.base).await;
    let (mut workers, mut before, mut unsettled) = (Vec::new(), 0, 0);
    for _ in 0..2 {
        let asked = app.gateway.stats().requests;
        plan_more(&app, before, PEOPLE).await;
        let death = async {
            until("somebody has said stop", async || app.gateway.stats().inbound > 0).await;
            while workers.len() < 2 {
                workers.push(spawn(&app, &["run", "--roles", "worker"], ""));
            }
            some_are_asked(&app, asked + 30).await;
            // Its lease runs out; the other renews its own.
            unsettled += kill(&app, workers.remove(0)).await;
            workers.push(spawn(&app, &["run", "--roles", "worker"], ""));
        };
        let (stops, ()) = tokio::join!(storm_of_stops(&app, before..before + PEOPLE), death);
        before += PEOPLE;
        run_to_the_end(&app).await;
        for (number, claims) in &stops {
            assert_eq!(claims_of(&app, number).await, *claims, "claimed after their stop was answered");
            assert!(app.asks(number) as i64 <= *claims, "asked without a claim");
        }
        assert!(stops.iter().any(|(_, claims)| *claims == 0), "a stop came before its person's turn");
        after(&app, before as usize, unsettled).await;
    }
    drop(web);
    workers.into_iter().for_each(drop);
    end(app).await;
}
