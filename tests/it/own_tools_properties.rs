//! Conversations of clients that have tools of their own, made up at random, against what should
//! have happened: 300 of them, or as many as `MCP_LAYER_CASES` says.
//!
//! ```text
//! MCP_LAYER_CASES=10000 cargo test --all-features --test it own_tools_properties  # some minutes
//! ```
//!
//! Two callers send equal bodies to two replicas that share a store. They answer calls in part and in
//! any order, give histories back as frameworks do, go back and take another way, hang up, and send
//! requests again. The model fails now and then, and else says the same at the same place of a
//! conversation, so that it calls once more what it does not see. In each case, no tool ran twice, no
//! result was lost, the model saw byte for byte what it saw before, and nobody got another's answer.

mod client;
mod clock;
mod history;
mod judge;
mod plan;
mod provider;

use std::{collections::HashSet, time::Duration};

use mcp_layer::{
    Connections, McpLayer, Streaming,
    mcp::ServerLimits,
    registry::{MemoryExchanges, MemoryRegistry, Server},
};

use self::{
    client::Client,
    clock::{Events, in_paused_time},
    provider::{Provider, State},
};
use crate::support::{
    counting::{Counting, Runs},
    gateway::connections,
};

const THREADS: u64 = 2;

fn cases() -> u64 {
    let cases = std::env::var("MCP_LAYER_CASES");
    cases.map_or(300, |cases| cases.parse().unwrap())
}

/// What all cases of a thread share.
struct Stage {
    tools: Counting,
    registry: MemoryRegistry,
    connections: [Connections; 2],
    events: Events,
}

/// What was done, and the cases in which something was wrong, each with its script and the
/// faults.
#[derive(Default)]
struct Tally {
    requests: usize,
    hang_ups: usize,
    asks: usize,
    calls: usize,
    faulty: Vec<(u64, String, String)>,
}

#[test]
fn no_tool_runs_twice_and_no_result_is_lost_whatever_a_client_does() {
    // One case alone, for whoever looks for a fault.
    let only = std::env::var("MCP_LAYER_CASE").map(|case| case.parse::<u64>().unwrap());
    let cases: Vec<_> = only.map_or_else(|_| (0..cases()).collect(), |case| vec![case]);
    let run = |thread| {
        let cases = cases
            .iter()
            .copied()
            .filter(move |case| case % THREADS == thread);
        let events = Events::new();
        in_paused_time(&events.clone(), || run_all(cases.collect(), events))
    };
    let tallies = std::thread::scope(|scope| {
        let threads = [0, 1].map(|thread| scope.spawn(move || run(thread)));
        threads.map(|thread| thread.join().unwrap())
    });
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    println!(
        "{} cases: {} requests, {} of them given up, {} questions to the model, {} calls of tools",
        cases.len(),
        sum(|tally| tally.requests),
        sum(|tally| tally.hang_ups),
        sum(|tally| tally.asks),
        sum(|tally| tally.calls),
    );
    let faulty: Vec<_> = tallies.iter().flat_map(|tally| &tally.faulty).collect();
    for (case, _, faults) in &faulty {
        let start: String = faults.chars().take(200).collect();
        println!("case {case}: {start}");
    }
    let shortest = faulty.iter().min_by_key(|(_, script, _)| script.len());
    if let Some((case, script, faults)) = shortest {
        let count = faulty.len();
        panic!("{count} cases are faulty, the shortest is {case}:\n{script}\n{faults}");
    }
    println!("0 tools twice, 0 lost results, 0 histories that differ, 0 answers to another caller");
}

async fn run_all(cases: Vec<u64>, events: Events) -> Tally {
    let seen = events.clone();
    let tools = Counting::start(move || seen.happened()).await;
    let server = Server::new("s", &tools.url()).unwrap();
    let stage = Stage {
        tools,
        registry: MemoryRegistry::new([server]).unwrap(),
        connections: [(); 2].map(|()| connections(ServerLimits::default())),
        events,
    };
    let mut tally = Tally::default();
    for case in cases {
        stage.run(case, &mut tally).await;
    }
    tally
}

impl Stage {
    async fn run(&self, case: u64, tally: &mut Tally) {
        let exchanges = MemoryExchanges::default();
        let replicas = self.connections.each_ref().map(|connections| {
            McpLayer::new(self.registry.clone())
                .with_connections(connections.clone())
                .with_exchanges(exchanges.clone())
                .with_streaming(Streaming::Execute)
        });
        let provider = Provider::new(case, self.events.clone());
        let client = |name| {
            let (provider, events) = (provider.clone(), self.events.clone());
            Client::new(
                name,
                case,
                replicas.clone(),
                provider,
                self.tools.clone(),
                events,
            )
        };
        let mut clients = [client("A"), client("B")];
        let [one, other] = &mut clients;
        tokio::join!(one.converse(), other.converse());
        // What nobody waits for ends too.
        tokio::time::sleep(Duration::from_secs(12)).await;

        let hang_ups = clients.iter().map(|client| client.hang_ups).sum();
        let state = provider.state();
        let runs = self.tools.take(&format!("c{case}."));
        let faults = [state.faults.clone(), twice(&state, &runs, hang_ups)].concat();
        if !faults.is_empty() {
            let script = clients.each_ref().map(|client| &*client.script).concat();
            tally.faulty.push((case, script, faults.join("\n")));
        }
        tally.requests += clients.iter().map(|client| client.requests).sum::<usize>();
        tally.hang_ups += hang_ups;
        tally.asks += state.asks.len();
        tally.calls += runs.iter().map(|(_, run)| run.begun).sum::<usize>();
    }
}

/// The calls that ran too often: what only looks may run again when its caller was gone.
fn twice(state: &State, runs: &[(String, Runs)], hang_ups: usize) -> Vec<String> {
    let said = state.asks.iter().filter_map(|ask| ask.said.as_ref());
    let calls = said.flat_map(|said| &said.say.calls);
    let looks: HashSet<_> = calls
        .filter(|call| call.name == "s__look")
        .map(|call| &call.token)
        .collect();
    let faulty = runs
        .iter()
        .filter(|(token, runs)| match looks.contains(token) {
            true => runs.begun > 1 + hang_ups,
            false => (runs.begun, runs.finished) != (1, 1),
        });
    faulty
        .map(|(token, runs)| format!("{token}: {runs:?}"))
        .collect()
}
