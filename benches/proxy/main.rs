//! The real proxy beside the least that does the same work.
//!
//! ```text
//! cargo bench --bench proxy
//! cargo bench --bench proxy -- "one round" --connections 1,32,256 --turns 5
//! cargo bench --bench proxy -- --proxy OTHER      # a second proxy, such as that of another commit
//! cargo bench --bench proxy -- --test             # everything once, to see that it works
//! ```
//!
//! `examples/proxy` and the floors (`floor/`) are built in the release profile, and each is a
//! process of its own, started anew for each row. A model and an MCP server that answer at once
//! (`doubles/`) and the callers (`load.rs`) are in this process; every answer is checked.
//!
//! What counts is the processor time of the program, as the operating system has it: callers and
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
mod process;
mod programs;
mod rows;
mod table;

use std::path::Path;

use crate::{
    arguments::Arguments,
    doubles::Doubles,
    measure::{Effort, Side, measure},
    programs::Programs,
    rows::{ROWS, Row},
};

#[tokio::main]
async fn main() {
    // `cargo test --all-targets` runs benches without either.
    let Some(arguments) = Arguments::read() else {
        return;
    };
    let doubles = Doubles::start().await;
    let programs = Programs::build(doubles);
    for &connections in &arguments.connections {
        let effort = match arguments.test {
            true => Effort {
                connections: 2,
                turns: 1,
                share: 0.0,
            },
            false => Effort {
                connections,
                turns: arguments.turns,
                share: 1.0,
            },
        };
        table::print_head(effort.connections, arguments.proxy.is_some());
        for row in ROWS.iter().filter(|row| arguments.wants(row.name)) {
            let sides = sides(row, &programs, arguments.proxy.as_deref());
            table::print_row(row.name, &measure(row, &sides, effort).await);
        }
    }
}

/// The floor, the proxy, and perhaps another proxy.
fn sides(row: &Row, programs: &Programs, other: Option<&Path>) -> Vec<Side> {
    let tools = row.script.tools;
    let floor = Side {
        process: programs.start_floor(row.floor, tools),
        body: row.plain(),
        expected: row.expected(),
    };
    let proxies = [programs.proxy()].into_iter().chain(other);
    let proxies = proxies.map(|proxy| Side {
        process: programs.start_proxy(proxy, tools),
        body: row.asking(),
        expected: row.expected_of_ours(),
    });
    [floor].into_iter().chain(proxies).collect()
}
