//! The real proxy beside the least that does the same work.
//!
//! ```text
//! cargo bench --bench proxy
//! cargo bench --bench proxy -- "one round" --connections 32 --turns 9
//! cargo bench --bench proxy -- --proxy OTHER      # a second proxy, such as that of another commit
//! cargo bench --bench proxy -- --test             # everything once, to see that it works
//! ```
//!
//! `examples/proxy` and the floors (`floor/`) are built in the release profile, and each is a
//! process of its own, started anew for each row. A model and an MCP server that answer at once
//! (`doubles/`) and the callers (`load.rs`) are in this process; every answer is checked.
//!
//! What counts is the processor time of a program, as the operating system has it: callers and
//! doubles share the machine with what is measured, so that requests per second say less.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    missing_debug_implementations,
    unreachable_pub,
    reason = "a bench that cannot go on fails, and a binary has no public interface"
)]

mod arguments;
mod doubles;
mod load;
mod measure;
mod memory;
mod process;
mod programs;
mod rows;
mod table;

use std::{path::Path, time::Duration};

use crate::{
    arguments::Arguments,
    doubles::Doubles,
    measure::{Side, measure},
    memory::Open,
    programs::{Programs, Setup},
    rows::{GROUPS, Ours, Row},
};

#[tokio::main]
async fn main() {
    // `cargo test --all-targets` runs benches, too, and asks for neither.
    let Some(arguments) = Arguments::read() else {
        return;
    };
    let programs = Programs::build(Doubles::start().await);
    let other = arguments.proxy.as_deref();
    table::print_machine();
    for &connections in &arguments.connections {
        for group in &GROUPS {
            let rows = group.rows.iter().filter(|row| arguments.wants(row.name));
            for (index, row) in rows.enumerate() {
                if index == 0 {
                    table::print_head(group.sides, connections, other.is_some());
                }
                let sides = sides(row, &programs, other, arguments.is_test);
                let figures = measure(&sides, connections, arguments.turns).await;
                table::print_row(row.name, &figures);
            }
        }
    }
    if arguments.wants("memory") {
        let open = match arguments.is_test {
            true => Open {
                connections: 20,
                streams: 10,
            },
            false => Open::most(),
        };
        memory::print(&programs, open).await;
    }
}

/// The floor, the proxy, and perhaps another proxy.
fn sides(row: &Row, programs: &Programs, other: Option<&Path>, is_test: bool) -> Vec<Side> {
    let side = |process, (body, expected)| Side {
        process,
        body,
        expected,
        requests: if is_test { 1 } else { row.requests },
        afterwards: match row.ours {
            Ours::Records if !is_test => Duration::from_millis(1500),
            _ => Duration::ZERO,
        },
    };
    let floor = side(programs.start_floor(row), row.of_floor());
    let proxies = [programs.proxy()].into_iter().chain(other).map(|proxy| {
        let process = programs.start_proxy(proxy, Setup::of(row, row.ours));
        side(process, row.of_ours())
    });
    [floor].into_iter().chain(proxies).collect()
}
