//! What connections and streams that are only open take of a program's memory.

use std::fs;

use crate::{
    load::{self, Until},
    process::Process,
    programs::{Programs, Setup},
    requests::Asked,
    rows::{OPEN, OPEN_LOOP, PASS},
};

/// How many there are.
#[derive(Clone, Copy)]
pub struct Open {
    pub connections: usize,
    pub streams: usize,
}

impl Open {
    /// As many as the table is about, or as the system lets a process open.
    pub fn most() -> Self {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let files = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"));
        let files = files.and_then(|files| files.split_whitespace().next()?.parse().ok());
        // A proxy gives half of them to callers. A stream has a second connection, to the model.
        let half = files.unwrap_or(1024_usize) / 2;
        Self {
            connections: half.min(10_000),
            streams: (half / 2).min(1000),
        }
    }
}

/// Prints the memory of the floor and of the proxy.
pub async fn print(programs: &Programs, open: Open) {
    println!("\n| KiB of memory | floor | proxy |");
    println!("|---|--:|--:|");
    let Open {
        connections,
        streams,
    } = open;
    for (name, row, count, until) in [
        ("an idle connection", PASS, connections, Until::End),
        ("an open stream, passed on", OPEN, streams, Until::Begun),
        (
            "an open stream of a tool loop",
            OPEN_LOOP,
            streams,
            Until::Begun,
        ),
    ] {
        let floor = programs.start_floor(&row);
        let floor = of_each(&floor, &row.of_floor().0, count, until).await;
        let setup = Setup {
            is_patient: true,
            ..Setup::of(&row, row.ours)
        };
        let proxy = programs.start_proxy(&programs.proxy, setup);
        let proxy = of_each(&proxy, &row.of_ours().0, count, until).await;
        println!("| {name}, of {count} | {floor:.1} | {proxy:.1} |");
    }
}

/// The KiB that each of so many takes, beside what the first few take.
async fn of_each(process: &Process, asked: &Asked, count: usize, until: Until) -> f64 {
    const FEW: usize = 8;
    let _first = load::hold(process.address, asked, FEW, until).await;
    let before = process.resident_kib();
    let others = count - FEW;
    let _others = load::hold(process.address, asked, others, until).await;
    process.resident_kib().saturating_sub(before) as f64 / others as f64
}
