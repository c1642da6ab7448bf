//! `[limits]`: limits of size, number and time, with the defaults of the library and of this proxy.

use std::time::Duration;

use mcp_layer::{mcp, outbound::CONNECT_TIMEOUT};
use serde::{Deserialize, Deserializer, de::Error};

use crate::{
    config::Invalid,
    incoming::Terms,
    places::{Places, Trusted},
};

/// The table `[limits]`. Durations are whole seconds; all keys are optional.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table [limits]")]
pub struct Limits {
    // A request.
    body_bytes: Option<Count>,
    all_body_bytes: Option<Count>,
    caller_body_bytes: Option<Count>,
    body_read: Option<Seconds>,
    json_depth: Option<Count>,
    tools: Option<Count>,
    max_tool_rounds: Option<Count>,
    max_tool_rounds_cap: Option<Count>,
    /// The repeats of a turn that fails once tools have run; may be 0.
    turn_retries: Option<u32>,
    turn_calls: Option<Count>,
    calls: Option<Count>,
    concurrent_calls: Option<Count>,
    argument_bytes: Option<Count>,
    /// The part of one result that the model gets; `result_read_bytes` is the part that is read.
    result_bytes: Option<Count>,
    /// Images and recordings that a round shows, in bytes of Base64, and their number.
    media_bytes: Option<Count>,
    media_items: Option<Count>,
    resolve: Option<Seconds>,
    /// The longest silence of a call, which progress ends; `call_max` is the longest call.
    call: Option<Seconds>,
    call_max: Option<Seconds>,
    deadline: Option<Seconds>,
    /// The silence of a streamed answer before a comment is sent.
    keep_alive: Option<Seconds>,

    // A server.
    connect: Option<Seconds>,
    list: Option<Seconds>,
    list_fresh: Option<Seconds>,
    /// The longest silence inside a message that has begun, of a server or of a caller.
    idle: Option<Seconds>,
    unused: Option<Seconds>,
    pages: Option<Count>,
    /// Tools of one server's list; `tools` are those of a request.
    server_tools: Option<Count>,
    schema_bytes: Option<Count>,
    schema_depth: Option<Count>,
    result_read_bytes: Option<Count>,
    event_bytes: Option<Count>,
    /// A result or an event that has images or recordings.
    media_read_bytes: Option<Count>,
    stream_bytes: Option<Count>,
    peers: Option<Count>,
    peer_bytes: Option<Count>,
    new_tokens: Option<Count>,
    /// Servers that are listened to; 0 for none.
    listeners: Option<u32>,

    // The proxy.
    upstream_timeout: Option<Seconds>,
    header_read: Option<Seconds>,
    idle_write: Option<Seconds>,
    connections: Option<Count>,
    /// The connections of one address.
    address_connections: Option<Count>,
    /// The places for connections beyond the limit, health checks among them.
    health_connections: Option<Count>,
    operator_connections: Option<Count>,
    grace: Option<Seconds>,
}

impl Limits {
    /// Refuses values that would silently not work.
    pub fn check(&self) -> Result<(), Invalid> {
        if self
            .deadline
            .is_some_and(|d| d.0 <= Duration::from_secs(30))
        {
            return Err(Invalid::new(
                "limits.deadline: must be over 30 seconds, which are reserved for the model's last answer; otherwise no tool would ever run",
            ));
        }
        if self.max_tool_rounds.is_some_and(|rounds| rounds.0 > 5) {
            return Err(Invalid::new(
                "limits.max_tool_rounds: at most 5; each round is another model call with the whole conversation, so to allow more set limits.max_tool_rounds_cap",
            ));
        }
        if self.max_tool_rounds.is_some() && self.max_tool_rounds_cap.is_some() {
            return Err(Invalid::new(
                "limits: give max_tool_rounds (up to 5) or max_tool_rounds_cap, not both",
            ));
        }
        if let (Some(call), Some(call_max)) = (self.call, self.call_max)
            && call.0 > call_max.0
        {
            return Err(Invalid::new(
                "limits.call: is more than limits.call_max; call is the longest silence of a call, and call_max the longest call",
            ));
        }
        let bodies = self.of_requests();
        // The overhead of a body counts as well.
        let largest = bodies.body_bytes.saturating_add(bodies.body_bytes / 16);
        if bodies.caller_body_bytes < largest {
            return Err(Invalid::new(
                "limits.caller_body_bytes: must exceed limits.body_bytes by a sixteenth, or the largest requests would never be answered",
            ));
        }
        if bodies.all_body_bytes / 8 * 7 < largest {
            return Err(Invalid::new(
                "limits.all_body_bytes: seven eighths of it must exceed limits.body_bytes by a sixteenth, or the largest requests would never be answered",
            ));
        }
        Ok(())
    }

    /// Returns the limits of a request.
    pub fn of_requests(&self) -> mcp_layer::Limits {
        let mut limits = mcp_layer::Limits::default();
        set(&mut limits.body_bytes, self.body_bytes);
        set(&mut limits.all_body_bytes, self.all_body_bytes);
        set(&mut limits.caller_body_bytes, self.caller_body_bytes);
        set(&mut limits.body_read, self.body_read);
        set(&mut limits.json_depth, self.json_depth);
        set(&mut limits.tools, self.tools);
        set(&mut limits.max_tool_rounds, self.max_tool_rounds);
        set(&mut limits.turn_calls, self.turn_calls);
        set(&mut limits.calls, self.calls);
        set(&mut limits.concurrent_calls, self.concurrent_calls);
        set(&mut limits.argument_bytes, self.argument_bytes);
        set(&mut limits.result_bytes, self.result_bytes);
        set(&mut limits.media_bytes, self.media_bytes);
        set(&mut limits.media_items, self.media_items);
        set(&mut limits.resolve, self.resolve);
        set(&mut limits.call, self.call);
        limits.call_max = self.call_max(limits.call_max);
        set(&mut limits.deadline, self.deadline);
        set(&mut limits.keep_alive, self.keep_alive);
        limits
    }

    /// The longest call: at least the longest silence, where it is not set.
    fn call_max(&self, default: Duration) -> Duration {
        let silence = self.call.map_or(Duration::ZERO, Duration::from);
        self.call_max.map_or(default.max(silence), Duration::from)
    }

    /// Returns the cap on rounds, if one is set.
    pub fn max_tool_rounds_cap(&self) -> Option<u64> {
        self.max_tool_rounds_cap.map(u64::from)
    }

    /// Returns how often a turn that fails once tools have run is asked for again, if that is set.
    pub fn turn_retries(&self) -> Option<u32> {
        self.turn_retries
    }

    /// Returns the limits of calls to servers.
    pub fn of_servers(&self) -> mcp::ServerLimits {
        let mut limits = mcp::ServerLimits::default();
        set(&mut limits.call, self.call);
        limits.call_max = self.call_max(limits.call_max);
        set(&mut limits.list, self.list);
        set(&mut limits.list_fresh, self.list_fresh);
        set(&mut limits.idle, self.idle);
        set(&mut limits.unused, self.unused);
        set(&mut limits.pages, self.pages);
        set(&mut limits.tools, self.server_tools);
        set(&mut limits.schema_bytes, self.schema_bytes);
        set(&mut limits.schema_depth, self.schema_depth);
        set(&mut limits.result_bytes, self.result_read_bytes);
        set(&mut limits.event_bytes, self.event_bytes);
        set(&mut limits.media_bytes, self.media_read_bytes);
        set(&mut limits.stream_bytes, self.stream_bytes);
        set(&mut limits.peers, self.peers);
        set(&mut limits.peer_bytes, self.peer_bytes);
        set(&mut limits.new_tokens, self.new_tokens);
        if let Some(most) = self.listeners {
            limits.listeners = usize::try_from(most).unwrap_or(usize::MAX);
        }
        limits
    }

    /// Returns the time for connecting to a server; default 5 s.
    pub fn connect(&self) -> Duration {
        self.connect.map_or(CONNECT_TIMEOUT, |seconds| seconds.0)
    }

    /// Returns the longest silence of the upstream, before and within its answer; default 600 s,
    /// for models that think long before their first word.
    pub fn upstream_timeout(&self) -> Duration {
        seconds(self.upstream_timeout, 600)
    }

    /// Returns the longest silence of a caller within a request's body; default 30 s.
    pub fn body_idle(&self) -> Duration {
        seconds(self.idle, 30)
    }

    /// Returns the time for a request's headers, and between two requests on one connection;
    /// default 10 s, so that slow callers cannot hold all connections.
    pub fn header_read(&self) -> Duration {
        seconds(self.header_read, 10)
    }

    /// Returns the time that a caller may take nothing of what is sent; default 30 s. A stream that
    /// is read slowly continues.
    pub fn idle_write(&self) -> Duration {
        seconds(self.idle_write, 30)
    }

    /// Returns the terms of callers' connections. There may be 10,000 at once, or half the number
    /// of `files` that the process may open: the other half is for what their requests need. One
    /// address gets a quarter, so that no caller can keep the others out.
    pub fn of_callers(&self, files: Option<u64>, trusted: &Trusted) -> Terms {
        let files = files.map_or(usize::MAX, |files| {
            usize::try_from(files).unwrap_or(usize::MAX)
        });
        let wanted = self.connections();
        let all = wanted.min(files / 2).max(1);
        let of_one = self.address_connections.map_or(all / 4, usize::from);
        if all < wanted {
            tracing::warn!(
                connections = all,
                files,
                "fewer connections than limits.connections, because of the limit of open files (ulimit -n, LimitNOFILE)"
            );
        } else {
            tracing::info!(
                connections = all,
                of_one_address = of_one,
                "accepting connections"
            );
        }
        self.terms(all, of_one, trusted)
    }

    /// Returns the terms of operators' connections: default 256, separate from those of callers.
    pub fn of_operators(&self, trusted: &Trusted) -> Terms {
        let all = self.operator_connections.map_or(256, usize::from);
        self.terms(all, all / 4, trusted)
    }

    fn terms(&self, all: usize, of_one: usize, trusted: &Trusted) -> Terms {
        let places = |all: usize, of_one: usize| Places::new(all, of_one.max(1), trusted.clone());
        // Each lasts a moment, so a few are enough; an address that floods gets next to none.
        let spare = self.health_connections.map_or(256, usize::from);
        Terms {
            header_read: self.header_read(),
            idle_write: self.idle_write(),
            places: places(all, of_one),
            spare: places(spare, spare / 16),
        }
    }

    /// Returns the number of files that the process should be allowed to open.
    pub fn files(&self) -> u64 {
        let others = 1024; // Operators, servers, the database.
        2 * self.connections() as u64 + others
    }

    fn connections(&self) -> usize {
        self.connections.map_or(10_000, usize::from)
    }

    /// Returns the time for running requests to end when the proxy is stopped; default 30 s, as
    /// long as container platforms wait by default. A loop may run up to `deadline`: to let every
    /// one end, raise this to it, and the platform's patience, too.
    pub fn grace(&self) -> Duration {
        seconds(self.grace, 30)
    }
}

/// A number from 1: a limit of 0 would silently not work.
#[derive(Clone, Copy)]
struct Count(u32);

/// A duration from a second to a day.
#[derive(Clone, Copy)]
struct Seconds(Duration);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            0 => Err(D::Error::custom("must be at least 1")),
            count => Ok(Self(count)),
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const DAY: u64 = 24 * 60 * 60;
        match u64::deserialize(deserializer)? {
            seconds @ 1..=DAY => Ok(Self(Duration::from_secs(seconds))),
            _ => Err(D::Error::custom(
                "must be between 1 second and a day, 86400",
            )),
        }
    }
}

impl From<Count> for usize {
    fn from(count: Count) -> Self {
        // Lossless on every platform with sockets: none has less than 32 bits.
        Self::try_from(count.0).unwrap_or(Self::MAX)
    }
}

impl From<Count> for u64 {
    fn from(count: Count) -> Self {
        count.0.into()
    }
}

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Self {
        seconds.0
    }
}

fn set<T, V: Into<T>>(limit: &mut T, value: Option<V>) {
    if let Some(value) = value {
        *limit = value.into();
    }
}

fn seconds(value: Option<Seconds>, default: u64) -> Duration {
    value.map_or(Duration::from_secs(default), Duration::from)
}
