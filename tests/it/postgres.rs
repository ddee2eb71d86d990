//! A throwaway Postgres of the test run's own: made by initdb in a temporary folder, gone when the test process is.

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use permesso::store::Store;

pub struct Cluster {
    pub dir: PathBuf,
    port: u16,
    // The watcher's stdin: when the test process ends, however it ends, the pipe closes and the server stops.
    _watcher: Mutex<Child>,
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

const SCRIPT: &str = r#"
set -e
as() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
for bin in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V); do PATH="$bin:$PATH"; done
if [ "$(id -u)" = 0 ]; then chown postgres "$DIR"; fi
as "$(command -v initdb)" -D "$DIR/data" -U app -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$DIR/log" 2>&1
as "$(command -v pg_ctl)" -D "$DIR/data" -l "$DIR/server.log" -w -o "-k $DIR -p $PORT -c listen_addresses='' -c fsync=$FSYNC -c max_connections=400" start >>"$DIR/log" 2>&1
echo ready
cat >/dev/null
as "$(command -v pg_ctl)" -D "$DIR/data" -m immediate stop >>"$DIR/log" 2>&1 || true
rm -rf "$DIR"
"#;

impl Cluster {
    fn start() -> Cluster {
        Cluster::start_in("", crate::FSYNC)
    }

    /// A cluster of one test's own, which may be crashed.
    pub fn alone() -> Cluster {
        Cluster::of_its_own(crate::FSYNC)
    }

    /// One that syncs what it commits, as it is shipped.
    #[allow(dead_code, reason = "the benches' clusters all do")]
    pub fn durable() -> Cluster {
        Cluster::of_its_own("on")
    }

    fn of_its_own(fsync: &str) -> Cluster {
        Cluster::start_in(&format!("-{}", NUMBER.fetch_add(1, Ordering::SeqCst)), fsync)
    }

    /// The process that makes one for each connection.
    #[allow(dead_code, reason = "the benches trace nothing")]
    pub fn postmaster(&self) -> String {
        let file = std::fs::read_to_string(self.dir.join("data/postmaster.pid")).expect("it runs");
        file.lines().next().expect("its id").to_owned()
    }

    /// As if the machine had gone down: no checkpoint, every connection cut.
    pub fn crash(&self) {
        self.pg_ctl("stop");
    }

    /// Up again, by recovery from the log.
    pub fn start_again(&self) {
        self.pg_ctl("start");
    }

    /// No file of it may grow beyond so many bytes: a full disk for it alone, on any machine and without a mount. Where not even the log
    /// (WAL) can be written, Postgres goes down by itself; it has when this returns.
    pub fn goes_down_for_want_of_room(&self) {
        let script = r#"
as() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
pid=$(head -1 "$DIR/data/postmaster.pid")
for p in $pid $(pgrep -P "$pid"); do as prlimit --pid "$p" --fsize=4096: || true; done
while kill -0 "$pid" 2>/dev/null; do psql -q -U app -h "$DIR" -p "$PORT" -d postgres -c 'CHECKPOINT' >/dev/null 2>&1 || true; done
"#;
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).env("DIR", &self.dir).env("PORT", self.port.to_string());
        assert!(command.stdout(Stdio::null()).status().expect("sh").success(), "it went down");
    }

    fn pg_ctl(&self, what: &str) {
        let script = r#"
as() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
for bin in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V); do PATH="$bin:$PATH"; done
if [ "$WHAT" = stop ]; then as "$(command -v pg_ctl)" -D "$DIR/data" -m immediate stop; exit; fi
as "$(command -v pg_ctl)" -D "$DIR/data" -l "$DIR/server.log" -w -o "-k $DIR -p $PORT -c listen_addresses='' -c fsync=off -c max_connections=400" start
"#;
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).env("DIR", &self.dir).env("PORT", self.port.to_string()).env("WHAT", what);
        assert!(command.stdout(Stdio::null()).status().expect("sh").success(), "pg_ctl {what}");
    }

    fn start_in(name: &str, fsync: &str) -> Cluster {
        let dir = std::env::temp_dir().join(format!("permesso-pg-{}{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        let port = 5432;
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(SCRIPT)
            .env("DIR", &dir)
            .env("PORT", port.to_string())
            .env("FSYNC", fsync)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().expect("piped")), &mut line)
            .expect("a line");
        assert_eq!(
            line.trim(),
            "ready",
            "Postgres did not start; remedy: apt-get install postgresql (scripts/test does). Log: {}",
            std::fs::read_to_string(dir.join("log")).unwrap_or_default()
        );
        Cluster { dir, port, _watcher: Mutex::new(child) }
    }

    fn psql(&self, database: &str, sql: &str) {
        let mut child = Command::new("psql")
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-U", "app", "-d", database, "-p", &self.port.to_string(), "-h"])
            .arg(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("psql");
        child.stdin.take().expect("piped").write_all(sql.as_bytes()).expect("written");
        assert!(child.wait().expect("psql ends").success(), "psql failed: {sql}");
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://app@localhost:{}/{database}?host={}", self.port, self.dir.display())
    }
}

pub fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(Cluster::start)
}

// Whose story has ended: dropped with the next database made, so that a run needs room for a few of them and not for all.
static ENDED: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    // Each test has a thread of its own, which ends with it.
    static MINE: RefCell<Mine> = const { RefCell::new(Mine(Vec::new())) };
}

struct Mine(Vec<String>);

impl Drop for Mine {
    fn drop(&mut self) {
        ENDED.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.0);
    }
}

async fn made(kind: &str, how: &str) -> String {
    let name = format!("{kind}{}", NUMBER.fetch_add(1, Ordering::SeqCst));
    MINE.with_borrow_mut(|mine| mine.0.push(name.clone()));
    let ended = std::mem::take(&mut *ENDED.lock().unwrap_or_else(PoisonError::into_inner));
    let drops: String = ended.iter().map(|name| format!("DROP DATABASE {name} WITH (FORCE);\n")).collect();
    // Nothing depends on these but room.
    let sql = format!("\\set ON_ERROR_STOP off\n{drops}\\set ON_ERROR_STOP on\nCREATE DATABASE {name}{how};");
    tokio::task::spawn_blocking(move || cluster_sql(&sql)).await.expect("created");
    cluster().url(&name)
}

/// A database of its own for one test, already migrated: copied from a template.
pub async fn database() -> String {
    static TEMPLATE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let cluster = tokio::task::spawn_blocking(cluster).await.expect("the cluster starts");
    TEMPLATE
        .get_or_init(|| async {
            tokio::task::spawn_blocking(|| cluster_sql("CREATE DATABASE template_permesso;")).await.expect("created");
            Store::migrate(&cluster.url("template_permesso")).await.expect("migrated").close().await;
        })
        .await;
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _turn = ONE_AT_A_TIME.lock().await;
    made("t", " TEMPLATE template_permesso").await
}

/// A database of its own for one test, with nothing in it.
pub async fn empty() -> String {
    made("e", "").await
}

/// Another database with all that is in this one, to which nobody may be connected.
#[allow(dead_code, reason = "the benches copy, the tests do not")]
pub fn copy(database: &str) -> String {
    let name = format!("c{}", NUMBER.fetch_add(1, Ordering::SeqCst));
    cluster_sql(&format!("CREATE DATABASE {name} TEMPLATE {database} STRATEGY file_copy; CHECKPOINT;"));
    cluster().url(&name)
}

fn cluster_sql(sql: &str) {
    cluster().psql("postgres", sql);
}
