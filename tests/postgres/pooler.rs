//! PgBouncer in transaction mode: a session is somebody else's after each transaction.
//!
//! Needs `pgbouncer` (Debian: `pgbouncer`).

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mcp_layer::registry::{ServerStore, SqlRegistry, conformance};
use mcp_layer::secret::KeyRing;

use crate::support::directory::Directory;
use crate::support::postgres::{Postgres, free_port, id, is_root};
use crate::support::sql::{find, name, open, server, shown};

struct Pooler {
    running: Child,
    port: u16,
    _directory: Directory,
}

impl Pooler {
    /// Two sessions for everybody, so that each statement is soon another one's.
    fn start(postgres: &Postgres) -> Self {
        let (directory, port) = (Directory::new(), free_port());
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = 2\nmax_client_conn = 200\nserver_reset_query =\n\
             ignore_startup_parameters = extra_float_digits\nunix_socket_dir =\n\
             [users]\npostgres = pool_mode=transaction\n",
            postgres.port()
        )
        .replace("* = host=127.0.0.1", "* = user=postgres host=127.0.0.1");
        let path = directory.0.join("pgbouncer.ini");
        std::fs::write(&path, config).unwrap();
        // Where Debian has it, which is not in everybody's path.
        let debian = std::path::Path::new("/usr/sbin/pgbouncer");
        let mut pgbouncer = Command::new(if debian.exists() {
            debian
        } else {
            "pgbouncer".as_ref()
        });
        pgbouncer
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if is_root() {
            // It refuses to run as root.
            pgbouncer
                .uid(id("-u", "postgres"))
                .gid(id("-g", "postgres"));
        }
        let running = pgbouncer.spawn();
        let running = running.expect("no pgbouncer: install it (Debian: pgbouncer)");
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "no pooler");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            running,
            port,
            _directory: directory,
        }
    }

    fn url(&self, database: &str, parameters: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/{database}{parameters}",
            self.port
        )
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

/// What the URL says of a pooler.
const POOLED: &str = "?statement-cache-capacity=0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_behind_a_pooler_read_and_write_at_once() {
    let postgres = Postgres::start();
    postgres.database("a");
    let pooler = Pooler::start(&postgres);
    let (url, ring) = (pooler.url("a", POOLED), KeyRing::generate());
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    let writes = (0..40).map(|number| {
        let registry = if number % 2 == 0 { &one } else { &other };
        let slug = format!("s{number}");
        async move {
            let inserted = registry.insert(server(&slug)).await;
            inserted.unwrap_or_else(|error| panic!("{}", shown(&error)));
            let got = registry.get("default", &name(&slug)).await;
            got.unwrap_or_else(|error| panic!("{}", shown(&error)));
        }
    });
    join_all(writes).await;
    // A change is in force in the other one, although a pooler passes no notifications on.
    assert!(find(&other, "s0").await.unwrap().enabled);
    let stored = one.get("default", &name("s0")).await.unwrap();
    one.replace((*stored).clone().with_enabled(false))
        .await
        .unwrap();
    let changed = Instant::now();
    while find(&other, "s0").await.unwrap().enabled {
        assert!(changed.elapsed() < Duration::from_secs(2), "not in force");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_clause_of_a_store_holds_behind_a_pooler() {
    let postgres = Postgres::start();
    let pooler = Pooler::start(&postgres);
    let count = std::cell::Cell::new(0);
    conformance::stores::all(async || {
        let name = format!("d{}", count.replace(count.get() + 1));
        postgres.database(&name);
        open(&pooler.url(&name, POOLED), &KeyRing::generate()).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_the_url_does_not_name_is_told_with_the_way_out() {
    let postgres = Postgres::start();
    postgres.database("a");
    let pooler = Pooler::start(&postgres);
    let (url, ring) = (pooler.url("a", ""), KeyRing::generate());
    // The second one meets what the first one has prepared.
    let mut opened = Vec::new();
    let refused = loop {
        match SqlRegistry::open(&url, ring.clone()).await {
            Ok(registry) => opened.push(registry),
            Err(error) => break error,
        }
        assert!(opened.len() < 20, "nothing was met");
    };
    let line = refused.to_string();
    assert!(line.contains("statement-cache-capacity=0"), "{line}");
    assert!(!line.contains('\n'), "{line}");
    println!("{line}");
}
