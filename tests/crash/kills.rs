//! `kill -9` at random moments under write load.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use mcp_layer::registry::SqlRegistry;
use mcp_layer::secret::{KeyFile, KeySource};
use sqlx::Row;

use crate::child::play;
use crate::support::dice::Dice;
use crate::support::directory::Directory;
use crate::support::postgres::Postgres;
use crate::support::sql::{intruder, open};
use crate::writer::{ROLE, State, WORKERS, after, read};

/// How often; in `.ci/run` 20 times.
pub fn crashes() -> usize {
    let crashes = std::env::var("MCP_LAYER_CRASHES");
    crashes.map_or(20, |crashes| crashes.parse().unwrap())
}

/// What came of it.
#[derive(Default)]
struct Tally {
    acknowledged: usize,
    in_doubt: usize,
    slowest_start: Duration,
}

/// A database, and a file with its keys.
struct Subject {
    url: String,
    keys: PathBuf,
}

impl Subject {
    async fn new(url: String, directory: &Directory) -> Self {
        let keys = directory.0.join("keys");
        KeyFile::new(&keys).generate().unwrap();
        let subject = Self { url, keys };
        subject.open().await;
        subject
    }

    async fn open(&self) -> SqlRegistry {
        let ring = KeyFile::new(&self.keys).load().await.unwrap();
        open(&self.url, &ring).await
    }
}

/// Lets the writer write from `steps` on, ends somebody with `end` after a while, and tells the
/// last steps that were acknowledged.
fn write_until(
    subject: &Subject,
    steps: &[u64],
    patience: Duration,
    end: impl FnOnce(),
) -> (Vec<u64>, usize) {
    let list: Vec<_> = steps.iter().map(u64::to_string).collect();
    let mut child = play(ROLE)
        .env("DATABASE", &subject.url)
        .env("KEYS", &subject.keys)
        .env("STEPS", list.join(","))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reader = thread::spawn({
        let mut steps = steps.to_vec();
        move || {
            let mut acknowledged = 0;
            for line in lines.map_while(Result::ok) {
                // The first line has the harness's words before it.
                let Some(at) = line.find("done ") else {
                    continue;
                };
                let mut words = line[at..].split(' ').skip(1);
                let (Some(worker), Some(step)) = (words.next(), words.next()) else {
                    continue;
                };
                steps[worker.parse::<usize>().unwrap()] = step.parse().unwrap();
                acknowledged += 1;
            }
            (steps, acknowledged)
        }
    });
    thread::sleep(patience);
    end();
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// Opens the database anew, and compares it with what was acknowledged; the steps to go on from.
async fn compare(subject: &Subject, acknowledged: &[u64], tally: &mut Tally) -> Vec<u64> {
    let began = Instant::now();
    let registry = subject.open().await;
    let start = began.elapsed();
    // As long as a store may take for an answer; how long it took is told at the end.
    assert!(start < Duration::from_secs(3), "started after {start:?}");
    tally.slowest_start = tally.slowest_start.max(start);
    let mut steps = Vec::new();
    for (worker, last) in acknowledged.iter().enumerate() {
        let state: State = read(&registry, worker).await;
        // The next one may have been done, and nobody told.
        let is_next = state == after(last + 1);
        assert!(
            is_next || state == after(*last),
            "worker {worker}: step {last} was acknowledged, and there is {state:?}"
        );
        tally.in_doubt += usize::from(is_next);
        steps.push(last + u64::from(is_next));
    }
    steps
}

#[tokio::test]
async fn sqlite_loses_nothing_when_its_process_is_killed() {
    let directory = Directory::new();
    let subject = Subject::new(directory.url("a.db"), &directory).await;
    let (mut tally, mut dice) = (Tally::default(), Dice(5));
    let mut steps = vec![0; WORKERS];
    for _ in 0..crashes() {
        let patience = Duration::from_millis(50 + dice.roll(400));
        let (acknowledged, count) = write_until(&subject, &steps, patience, || {});
        tally.acknowledged += count;
        steps = compare(&subject, &acknowledged, &mut tally).await;
        let mut connection = intruder(&subject.url).await;
        let row = sqlx::raw_sql("PRAGMA integrity_check");
        let row = row.fetch_one(&mut connection).await.unwrap();
        assert_eq!(row.get::<&str, _>(0), "ok");
    }
    report("SQLite", &tally);
}

#[tokio::test]
async fn postgresql_loses_nothing_when_it_or_its_client_is_killed() {
    let mut postgres = Postgres::start();
    let directory = Directory::new();
    let subject = Subject::new(postgres.database("a"), &directory).await;
    let (mut tally, mut dice) = (Tally::default(), Dice(6));
    let mut steps = vec![0; WORKERS];
    for crash in 0..crashes() {
        let patience = Duration::from_millis(100 + dice.roll(400));
        let end = || {
            if crash % 2 == 0 {
                postgres.kill();
            }
        };
        let (acknowledged, count) = write_until(&subject, &steps, patience, end);
        tally.acknowledged += count;
        if crash % 2 == 0 {
            postgres.restart();
        }
        steps = compare(&subject, &acknowledged, &mut tally).await;
    }
    report("PostgreSQL", &tally);
}

fn report(engine: &str, tally: &Tally) {
    assert!(tally.acknowledged > crashes(), "there was load");
    println!(
        "{engine}: {} times kill -9, {} acknowledged writes, 0 lost, 0 unreadable rows; {} more were done and not acknowledged; slowest start {:?}",
        crashes(),
        tally.acknowledged,
        tally.in_doubt,
        tally.slowest_start
    );
}
