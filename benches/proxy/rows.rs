//! The rows of the tables: what is asked, and of whom.

use crate::doubles::{Length, Script};

/// Rows under one head.
pub struct Group {
    /// What the two sides of its rows are called.
    pub sides: [&'static str; 2],
    /// Whether others' programs can do the same.
    pub has_peers: bool,
    pub rows: &'static [Row],
}

/// One kind of work.
#[derive(Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    pub floor: Floor,
    pub ours: Ours,
    /// What the model does; tools are those that are added.
    pub script: Script,
    /// Messages of the conversation.
    pub messages: usize,
    /// Requests of a turn.
    pub requests: usize,
}

/// What a row is held against.
#[derive(Clone, Copy)]
pub enum Floor {
    /// The program that only passes on.
    Bare,
    /// The straight line of a tool loop.
    Loop,
    /// The proxy itself, doing less.
    Proxy(Ours),
}

/// What the proxy does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ours {
    /// It passes a request without `mcp` on.
    Passes,
    /// It runs a tool loop.
    Executes,
    /// The same with an operator's side, and with a database that keeps a record of each exchange.
    Records,
}

const WHOLE: Script = Script {
    length: Length::Whole,
    tools: 0,
    rounds: 0,
    calls: 0,
};
const STREAM: Script = Script {
    length: Length::Stream,
    ..WHOLE
};
pub const PASS: Row = Row {
    name: "pass-through",
    floor: Floor::Bare,
    ours: Ours::Passes,
    script: WHOLE,
    messages: 1,
    requests: 8000,
};
const LOOP: Row = Row {
    name: "20 tools added, none called",
    floor: Floor::Loop,
    ours: Ours::Executes,
    script: rounds(0, 0),
    messages: 1,
    requests: 4000,
};
const RECORDED: Row = Row {
    floor: Floor::Proxy(Ours::Executes),
    ours: Ours::Records,
    ..LOOP
};

const fn rounds(rounds: usize, calls: usize) -> Script {
    Script {
        tools: 20,
        rounds,
        calls,
        ..WHOLE
    }
}

const STREAMED_LOOP: Script = Script {
    tools: 20,
    ..STREAM
};

pub const GROUPS: [Group; 2] = [
    Group {
        sides: ["floor", "proxy"],
        has_peers: true,
        rows: &[
            PASS,
            Row {
                name: "pass-through, streamed, 50 events",
                script: STREAM,
                requests: 1000,
                ..PASS
            },
            Row {
                name: "a streamed loop of text, 50 events",
                ours: Ours::Executes,
                script: STREAMED_LOOP,
                requests: 1000,
                ..PASS
            },
            LOOP,
            Row {
                name: "128 tools added, none called",
                script: Script {
                    tools: 128,
                    ..LOOP.script
                },
                requests: 2000,
                ..LOOP
            },
            Row {
                name: "one round, one call",
                script: rounds(1, 1),
                requests: 2000,
                ..LOOP
            },
            Row {
                name: "one round, four calls",
                script: rounds(1, 4),
                requests: 1500,
                ..LOOP
            },
            Row {
                name: "three rounds, four calls",
                script: rounds(3, 4),
                requests: 600,
                ..LOOP
            },
            Row {
                name: "one round, one call, after 400 messages",
                script: rounds(1, 1),
                messages: 400,
                requests: 600,
                ..LOOP
            },
        ],
    },
    Group {
        sides: ["without", "with"],
        has_peers: false,
        rows: &[
            Row {
                name: "a tool loop around a streamed text, 50 events",
                floor: Floor::Proxy(Ours::Passes),
                ours: Ours::Executes,
                script: STREAMED_LOOP,
                requests: 1000,
                ..LOOP
            },
            Row {
                name: "records: 20 tools added, none called",
                ..RECORDED
            },
            Row {
                name: "records: one round, one call",
                script: rounds(1, 1),
                requests: 2000,
                ..RECORDED
            },
            Row {
                name: "records: three rounds, four calls",
                script: rounds(3, 4),
                requests: 600,
                ..RECORDED
            },
        ],
    },
];

/// Streams that stay open.
pub const OPEN: Row = Row {
    script: Script {
        length: Length::Open,
        ..WHOLE
    },
    ..PASS
};
pub const OPEN_LOOP: Row = Row {
    ours: Ours::Executes,
    script: Script {
        length: Length::Open,
        ..STREAMED_LOOP
    },
    ..PASS
};
