//! What a registry of 10,000 servers costs a request, and an operator's page.
//!
//! ```text
//! cargo bench --bench registry
//! ```
//!
//! `find warm`: the servers of a request are in memory. `find cold`: it is the first to ask for
//! them, and they come from SQLite, whose file the system has in memory. `list`: a page of 50,
//! filtered by project and by a text that is in one of a hundred descriptions. `observe` and
//! `claim`: a round of probes, as a monitor writes it down, with a sync at each commit. `admit`: the
//! key of a request is hashed and looked up among as many; `compare` is what comparing its digest with
//! each of them in constant time would add. Everything
//! goes through the public interface, secrets opened and 20 tools of each server accepted.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, Throughput};
use futures_util::future::join_all;
use mcp_layer::registry::{
    ApiKey, ApiKeyDigest, ApiKeyStore, Auth, Filter, Fingerprint, Observation, ObservationStore,
    Page, Pins, Server, ServerId, ServerRegistry, ServerStore, SqlRegistry,
};
use mcp_layer::secret::{ExposeSecret, KeyRing};
use mcp_layer::{Project, ServerName};
use tokio::runtime::Runtime;

/// Servers that a request names.
const NAMED: usize = 3;
/// Tools of each server.
const TOOLS: usize = 20;
/// Servers that are looked at at the same time.
const LOOKS: usize = 100;

fn name(number: usize) -> ServerName {
    format!("server-{number:05}").parse().unwrap()
}

fn names(request: usize, servers: usize) -> Vec<ServerName> {
    let first = request * NAMED;
    (first..first + NAMED).map(|n| name(n % servers)).collect()
}

fn server(number: usize) -> Server {
    let auth = Auth::static_headers([("authorization", format!("Bearer s3cret-{number}"))]);
    let mut server = Server::new(name(number).as_str(), "https://mcp.example.com/mcp")
        .unwrap()
        .with_auth(auth.unwrap());
    server.display_name = Some(format!("Server {number}"));
    server.description = Some(format!("Topic {} for people", number % 100));
    match number % 3 {
        0 => server,
        other => server.with_projects([["web", "batch"][other - 1]]).unwrap(),
    }
}

/// A registry that has nothing in memory yet.
async fn open(url: &str, ring: &KeyRing) -> SqlRegistry {
    SqlRegistry::open(url, ring.clone()).await.unwrap()
}

/// What is known of a server after a listing.
fn observation() -> Observation {
    let tools = || (0..TOOLS).map(|tool| (format!("get_something_{tool}"), fingerprint(tool)));
    let mut observation = Observation::default();
    observation.listed_at = Some(SystemTime::now());
    observation.listed = tools().collect();
    observation.pins = Some(Arc::new(tools().collect::<Pins>()));
    let text = "x".repeat(1000);
    observation.definitions = tools()
        .map(|(_, pin)| (pin, text.as_str().into()))
        .collect();
    observation
}

fn fingerprint(tool: usize) -> Fingerprint {
    format!("{tool:064x}").parse().unwrap()
}

/// One look at each of these servers, [`LOOKS`] at a time.
async fn observe(registry: &SqlRegistry, servers: &[ServerId], seen: &Observation) {
    for some in servers.chunks(LOOKS) {
        let looks = some.iter().map(|id| registry.observe("default", id, seen));
        assert!(join_all(looks).await.into_iter().all(Result::unwrap));
    }
}

async fn fill(url: &str, ring: &KeyRing, servers: usize) -> Vec<ServerId> {
    let registry = open(url, ring).await;
    let mut filled = Vec::with_capacity(servers);
    for number in 0..servers {
        let server = registry.insert(server(number)).await.unwrap();
        filled.push(server.id.clone());
    }
    observe(&registry, &filled, &observation()).await;
    filled
}

/// Letting a request in, by one of as many keys of callers.
fn admission(criterion: &mut Criterion, runtime: &Runtime, registry: &SqlRegistry) {
    let mut group = criterion.benchmark_group("callers' keys");
    let mut made = 0;
    for keys in [10, 1000] {
        let mut sent = None;
        for number in made..keys {
            let (key, secret) = ApiKey::generate(number.to_string(), Project::new("web")).unwrap();
            assert!(runtime.block_on(registry.insert_api_key(key)).unwrap());
            sent = Some(secret);
        }
        made = keys;
        let sent = sent.unwrap();
        group.bench_function(format!("admit, {keys} keys"), |bencher| {
            bencher.iter(|| {
                let digest = ApiKeyDigest::of(black_box(sent.expose_secret()));
                let keys = registry.api_keys().unwrap();
                keys.find(&digest, SystemTime::now())
                    .unwrap()
                    .project
                    .clone()
            });
        });
        let digests: Vec<_> = {
            let keys = registry.api_keys().unwrap();
            keys.iter().map(|key| key.digest.0).collect()
        };
        let digest = ApiKeyDigest::of(sent.expose_secret()).0;
        group.bench_function(format!("compare, {keys} keys"), |bencher| {
            bencher.iter(|| {
                let differs = |other: &[u8; 32]| {
                    let pairs = other.iter().zip(black_box(&digest));
                    pairs.fold(0, |all, (a, b)| black_box(all | (a ^ b)))
                };
                let same = black_box(&digests)
                    .iter()
                    .filter(|other| differs(other) == 0);
                same.count()
            });
        });
    }
    group.finish();
}

fn main() {
    // Under `cargo bench -- --test`, which only sees whether everything runs, a hundredth does.
    let is_measured = !std::env::args().any(|argument| argument == "--test");
    let servers = if is_measured { 10_000 } else { 100 };
    let path = std::env::temp_dir().join(format!("mcp-layer-bench-{}", std::process::id()));
    std::fs::create_dir(&path).unwrap();
    let url = format!("sqlite://{}", path.join("a.db").display());
    let ring = KeyRing::generate();
    let runtime = Runtime::new().unwrap();
    let ids = runtime.block_on(fill(&url, &ring, servers));

    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let mut group = criterion.benchmark_group(format!("{servers} servers"));
    group.throughput(Throughput::Elements(1));
    let project = Project::new("web");

    let registry = runtime.block_on(open(&url, &ring));
    let some = names(7, servers);
    group.bench_function(format!("find {NAMED} warm"), |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || registry.find(&project, &some).await.unwrap());
    });

    group.bench_function(format!("find {NAMED} cold"), |bencher| {
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            let mut registry = None;
            for iteration in 0..usize::try_from(iterations).unwrap() {
                let request = iteration % (servers / NAMED);
                if request == 0 {
                    // Asked for all of them: only a new one knows none.
                    registry = Some(runtime.block_on(open(&url, &ring)));
                    let registry = registry.as_ref().unwrap();
                    // A connection to begin with.
                    let last = [name(servers - 1)];
                    runtime.block_on(registry.find(&project, &last)).unwrap();
                }
                let registry = registry.as_ref().unwrap();
                let names = names(request, servers);
                let began = Instant::now();
                runtime.block_on(registry.find(&project, &names)).unwrap();
                total += began.elapsed();
            }
            total
        });
    });

    let mut filter = Filter::default();
    filter.project = Some("web".to_owned());
    let page = Page::default();
    group.bench_function("list 50 by project", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || registry.list("default", &filter, &page).await.unwrap());
    });
    filter.text = Some("TOPIC 42".to_owned());
    group.bench_function("list 50 by project and text", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || registry.list("default", &filter, &page).await.unwrap());
    });
    filter.text = Some("nowhere".to_owned());
    group.bench_function("list nothing of all", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || registry.list("default", &filter, &page).await.unwrap());
    });
    let mut seen = observation();
    group.bench_function(format!("observe {LOOKS}"), |bencher| {
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            for _ in 0..iterations {
                seen.version += 1;
                let began = Instant::now();
                runtime.block_on(observe(&registry, &ids[..LOOKS], &seen));
                total += began.elapsed();
            }
            total
        });
    });
    group.bench_function(format!("claim {servers}"), |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let claimed = registry.claim_probes("default", &ids, Duration::ZERO);
            claimed.await.unwrap()
        });
    });
    group.finish();
    admission(&mut criterion, &runtime, &registry);
    criterion.final_summary();
    std::fs::remove_dir_all(path).unwrap();
}
