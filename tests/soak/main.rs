//! Hours of a day in some minutes: every kind of load at once on the real proxy, with PostgreSQL.
//!
//! ```sh
//! bash tests/soak/run 15
//! ```
//!
//! Needs PostgreSQL 15 or newer (Debian: `postgresql`).
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on fails, and a binary has no public interface"
)]

#[path = "../it/support/mod.rs"]
#[allow(dead_code, reason = "this test needs a part of it")]
mod support;

#[path = "../proxy/support.rs"]
#[allow(dead_code, reason = "this test needs a part of it")]
mod proxy;

mod load;
mod process;
mod stage;

use std::{env, time::Duration};

use support::evidence;
use tokio::time::{Instant, sleep};

use load::Load;
use process::{Process, Sample, slope};
use stage::Stage;

/// Between two lines of the report.
const LINE: Duration = Duration::from_secs(10);
/// MiB that memory may grow by in ten minutes.
const MEMORY: f64 = 1.0;
/// Descriptors that may be more in ten minutes: they come and go, and one that is lost at every
/// request, refresh or probe of a server is one of many.
const FILES: f64 = 5.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_grows_under_load_of_every_kind() {
    let minutes = env::var("MCP_LAYER_SOAK_MINUTES").map_or(1.0, |text| text.parse().unwrap());
    let length = Duration::from_secs_f64(minutes * 60.0);
    let stage = Stage::set().await;
    let process = Process::new(stage.proxy.id());
    let before = process.sample();

    let load = Load::start(&stage);
    let started = Instant::now();
    let mut samples: Vec<(f64, Sample)> = Vec::new();
    println!("minute  MiB    files threads  pass p50/p99 ms  loop p50/p99 ms  done  failed");
    while started.elapsed() < length {
        sleep(LINE).await;
        let minute = started.elapsed().as_secs_f64() / 60.0;
        let sample = process.sample();
        println!("{minute:6.1}  {sample}  {}", load.line());
        samples.push((minute, sample));
    }
    let counts = load.stop().await;
    println!("{counts}");
    counts.check();

    println!("before the load:      {before}");
    // The first third is for caches and pools to fill.
    let settled = &samples[samples.len() / 3..];
    let grows =
        |of: fn(&Sample) -> f64| 10.0 * slope(settled.iter().map(|(at, sample)| (*at, of(sample))));
    let (memory, files) = (
        grows(|sample| sample.mib),
        grows(|sample| sample.files as f64),
    );
    println!("in 10 minutes memory grows by {memory:.2} MiB, and descriptors by {files:.1}");
    // Over less it is all noise.
    if minutes >= 10.0 {
        assert!(memory < MEMORY, "memory grows");
        assert!(files < FILES, "descriptors are lost");
    }
}
