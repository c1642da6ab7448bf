//! Pairs of a floor and what is measured against it.

use std::{rc::Rc, time::Duration};

use cpu_time::ThreadTime;
use criterion::{Criterion, Throughput};
use tokio::runtime::Runtime;

/// Does something so many times.
type Repeat = Box<dyn Fn(u64)>;

/// The same work without the layer and with it.
pub struct Pair {
    name: &'static str,
    floor: Repeat,
    ours: Repeat,
    elements: Option<u64>,
}

/// Pairs that belong together, and what must be true when they have run.
pub struct Group {
    pub name: &'static str,
    pub pairs: Vec<Pair>,
    pub check: Box<dyn Fn()>,
}

impl Pair {
    pub fn new<F, O>(
        name: &'static str,
        runtime: &Rc<Runtime>,
        floor: impl Fn() -> F + 'static,
        ours: impl Fn() -> O + 'static,
    ) -> Self
    where
        F: Future<Output = ()>,
        O: Future<Output = ()>,
    {
        Self {
            name,
            floor: repeat(runtime.clone(), floor),
            ours: repeat(runtime.clone(), ours),
            elements: None,
        }
    }

    /// Each time is about so many things, of which criterion gives the number per second.
    pub fn of(mut self, elements: u64) -> Self {
        self.elements = Some(elements);
        self
    }
}

fn repeat<F: Future<Output = ()>>(runtime: Rc<Runtime>, once: impl Fn() -> F + 'static) -> Repeat {
    Box::new(move |times| {
        runtime.block_on(async {
            for _ in 0..times {
                once().await;
            }
        });
    })
}

impl Group {
    /// Wall times, by criterion.
    pub fn bench(&self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group(self.name);
        group.sample_size(20);
        for pair in &self.pairs {
            if let Some(elements) = pair.elements {
                group.throughput(Throughput::Elements(elements));
            }
            for (side, repeat) in [("floor", &pair.floor), ("layer", &pair.ours)] {
                group.bench_function(format!("{}/{side}", pair.name), |bencher| {
                    bencher.iter_custom(|times| {
                        let started = std::time::Instant::now();
                        repeat(times);
                        started.elapsed()
                    });
                });
            }
        }
        group.finish();
    }

    /// Makes sure that what was measured is what the name says.
    pub fn check(&self) {
        (self.check)();
    }
}

/// Prints processor times in the form of a README's table.
pub fn print_table(groups: &[Group]) {
    println!("| | floor | with the layer | adds | ratio |");
    println!("|---|--:|--:|--:|--:|");
    for pair in groups.iter().flat_map(|group| &group.pairs) {
        let (floor, ours) = measure(pair);
        println!(
            "| {} | {floor:.2} µs | {ours:.2} µs | {:.2} µs | {:.2} |",
            pair.name,
            ours - floor,
            ours / floor
        );
    }
}

/// The medians of both sides, in microseconds of processor time.
fn measure(pair: &Pair) -> (f64, f64) {
    const TURNS: usize = 101;
    /// Long enough for the clock, short enough that both sides see the same noise.
    const BATCH: Duration = Duration::from_millis(8);
    let times = (BATCH.as_secs_f64() * 1e6 / time(&pair.ours, 100)) as u64;
    let turn = |_| {
        (
            time(&pair.floor, times.max(1)),
            time(&pair.ours, times.max(1)),
        )
    };
    let (floor, ours): (Vec<_>, Vec<_>) = (0..TURNS).map(turn).unzip();
    (median(floor), median(ours))
}

/// The microseconds of one of `times`.
fn time(repeat: &Repeat, times: u64) -> f64 {
    let started = ThreadTime::now();
    repeat(times);
    started.elapsed().as_secs_f64() * 1e6 / times as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
