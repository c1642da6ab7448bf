//! The real proxy beside the least that does the same work.
//!
//! ```text
//! cargo bench --bench proxy
//! cargo bench --bench proxy -- "one round" --connections 32 --turns 9
//! cargo bench --bench proxy -- --proxy OTHER      # a second proxy, such as that of another commit
//! cargo bench --bench proxy -- --test             # everything once, to see that it works
//! ```
//!
//! `examples/proxy` and the floors (`floor/`) are built in the release profile, unless nothing is
//! measured (`--test`), and each is a process of its own, started anew for each row. A model and an MCP server that answer at once
//! (`doubles/`) and the callers (`load.rs`) are in this process; every answer is checked.
//!
//! What counts is the processor time of a program, as the operating system has it: callers and
//! doubles share the machine with what is measured, so that requests per second say less. Needs
//! Linux, which tells it in `/proc`.
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
mod peers;
mod process;
mod programs;
mod requests;
mod rows;
mod table;
#[path = "../tool.rs"]
mod tool;

use std::time::Duration;

use crate::{
    arguments::Arguments,
    doubles::Doubles,
    measure::{Side, measure},
    memory::Open,
    peers::Peers,
    process::Process,
    programs::{Programs, Setup},
    requests::{Asked, Expected},
    rows::{GROUPS, Group, Ours, Row},
};

/// What is measured, and with what.
struct Run {
    arguments: Arguments,
    programs: Programs,
    peers: Option<Peers>,
}

/// What the rows about memory are called, to be asked for.
const MEMORY: &str = "memory";

#[tokio::main]
async fn main() {
    // `cargo test --all-targets` runs benches, too, and asks for neither; filters may mean others.
    let Some(arguments) = Arguments::read().filter(|arguments| {
        let mut names = GROUPS
            .iter()
            .flat_map(|group| group.rows)
            .map(|row| row.name);
        arguments.wants(MEMORY) || names.any(|name| arguments.wants(name))
    }) else {
        return;
    };
    let environment = arguments.peers.clone();
    let run = Run {
        programs: Programs::build(Doubles::start().await, arguments.is_test),
        peers: environment.map(|environment| Peers { environment }),
        arguments,
    };
    table::print_machine();
    for &connections in &run.arguments.connections {
        for group in &GROUPS {
            run.group(group, connections).await;
        }
    }
    run.memory().await;
}

impl Run {
    async fn group(&self, group: &Group, connections: usize) {
        let mut names = group.sides.to_vec();
        names.extend(self.arguments.proxy.as_ref().map(|_| "other"));
        if self.peers.is_some() {
            if !group.has_peers {
                return;
            }
            names.extend(peers::NAMES);
        }
        let rows = group.rows.iter();
        for (index, row) in rows
            .filter(|row| self.arguments.wants(row.name))
            .enumerate()
        {
            if index == 0 {
                table::print_head(&names, connections);
            }
            let figures = measure(&self.sides(row), connections, self.arguments.turns).await;
            table::print_row(row.name, &figures);
        }
    }

    async fn memory(&self) {
        if self.peers.is_some() || !self.arguments.wants(MEMORY) {
            return;
        }
        let open = match self.arguments.is_test {
            true => Open {
                connections: 20,
                streams: 10,
            },
            false => Open::most(),
        };
        memory::print(&self.programs, open).await;
    }

    /// The floor, the proxy, perhaps another one, and others' programs, where they can do it.
    fn sides(&self, row: &Row) -> Vec<Option<Side>> {
        let Self {
            arguments,
            programs,
            peers,
        } = self;
        let mut sides = vec![Some(self.side(
            row,
            programs.start_floor(row),
            row.of_floor(),
        ))];
        for proxy in [&programs.proxy].into_iter().chain(&arguments.proxy) {
            let process = programs.start_proxy(proxy, Setup::of(row, row.ours));
            sides.push(Some(self.side(row, process, row.of_ours())));
        }
        if let Some(peers) = peers {
            let (doubles, folder) = (&programs.doubles, &*programs.folder);
            for started in [
                peers.litellm(row, doubles, folder),
                peers.sdk_loop(row, doubles, folder),
            ] {
                sides.push(started.map(|(process, asked)| Side {
                    // They take their time.
                    requests: 1,
                    least: 1,
                    ..self.side(row, process, (asked, row.of_floor().1))
                }));
            }
        }
        sides
    }

    fn side(&self, row: &Row, process: Process, (asked, expected): (Asked, Expected)) -> Side {
        let is_test = self.arguments.is_test;
        Side {
            process,
            asked,
            expected,
            requests: if is_test { 1 } else { row.requests },
            least: 4,
            afterwards: match row.ours {
                Ours::Records if !is_test => Duration::from_millis(1500),
                _ => Duration::ZERO,
            },
        }
    }
}
