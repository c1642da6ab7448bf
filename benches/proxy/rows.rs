//! The rows of the table: what is asked, of whom, and what the answer must be.

use bytes::Bytes;
use memchr::memmem;
use serde_json::{Value, json};

use crate::doubles::{ANSWER, EVENTS, Script};

/// One kind of work.
pub struct Row {
    pub name: &'static str,
    pub floor: Floor,
    /// What the proxy is asked for beside what the floor is.
    pub ours: Mcp,
    pub script: Script,
    /// Messages of the conversation.
    pub messages: usize,
    /// Requests of a turn.
    pub requests: usize,
}

/// What a row is held against.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// The proxy that only passes on.
    Bare,
    /// The straight line of a tool loop.
    Loop,
}

/// Whether the proxy is asked to run a tool loop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mcp {
    Absent,
    Executes,
}

/// What must be in an answer, and how often.
#[derive(Clone)]
pub struct Expected(Vec<(String, usize)>);

const WHOLE: Script = Script {
    tools: 0,
    rounds: 0,
    calls: 0,
    streamed: false,
};
const STREAM: Script = Script {
    streamed: true,
    ..WHOLE
};
const PASS: Row = Row {
    name: "pass-through",
    floor: Floor::Bare,
    ours: Mcp::Absent,
    script: WHOLE,
    messages: 1,
    requests: 8000,
};
const LOOP: Row = Row {
    name: "",
    floor: Floor::Loop,
    ours: Mcp::Executes,
    script: with_tools(20),
    messages: 1,
    requests: 2000,
};

const fn with_tools(tools: usize) -> Script {
    Script { tools, ..WHOLE }
}

const fn rounds(rounds: usize, calls: usize) -> Script {
    Script {
        tools: 20,
        rounds,
        calls,
        streamed: false,
    }
}

pub const ROWS: [Row; 6] = [
    PASS,
    Row {
        name: "pass-through, streamed, 50 events",
        script: STREAM,
        requests: 1000,
        ..PASS
    },
    Row {
        name: "20 tools added, none called",
        requests: 4000,
        ..LOOP
    },
    Row {
        name: "one round, one call",
        script: rounds(1, 1),
        ..LOOP
    },
    Row {
        name: "one round, four calls",
        script: rounds(1, 4),
        ..LOOP
    },
    Row {
        name: "three rounds, four calls",
        script: rounds(3, 4),
        requests: 800,
        ..LOOP
    },
];

impl Row {
    /// The request to the floor.
    pub fn plain(&self) -> Bytes {
        self.request().to_string().into()
    }

    /// The request to the proxy.
    pub fn asking(&self) -> Bytes {
        let mut request = self.request();
        if self.ours == Mcp::Executes {
            request["mcp"] =
                json!({"enabled": true, "servers": ["docs"], "auto_execute_tools": true});
        }
        request.to_string().into()
    }

    fn request(&self) -> Value {
        let message = |index: usize| {
            let role = if index.is_multiple_of(2) {
                "user"
            } else {
                "assistant"
            };
            json!({"role": role, "content": "How does a tower layer work, and what is it for? ".repeat(9)})
        };
        let messages: Vec<_> = (0..self.messages).map(message).collect();
        let mut request = json!({"model": self.script.to_string(), "messages": messages});
        if self.script.streamed {
            request["stream"] = true.into();
        }
        request
    }

    /// What the floor answers.
    pub fn expected(&self) -> Expected {
        Expected(match self.script.streamed {
            true => vec![
                ("\"delta\":".to_owned(), EVENTS),
                ("data: [DONE]".to_owned(), 1),
            ],
            false => vec![(ANSWER.to_owned(), 1)],
        })
    }

    /// What the proxy answers: the same, with the receipt.
    pub fn expected_of_ours(&self) -> Expected {
        let Expected(mut parts) = self.expected();
        if self.ours == Mcp::Executes {
            let Script { rounds, calls, .. } = self.script;
            parts.push((format!("\"rounds\":{rounds},"), 1));
            parts.push(("\"is_error\":false".to_owned(), rounds * calls));
        }
        Expected(parts)
    }
}

impl Expected {
    pub fn is_met(&self, answer: &[u8]) -> bool {
        let found = |part: &str| memmem::find_iter(answer, part).count();
        self.0.iter().all(|(part, times)| found(part) == *times)
    }
}
