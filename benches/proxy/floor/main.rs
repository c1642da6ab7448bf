//! The floors: the least that a proxy of chat completions can do, as a program of its own.
//!
//! ```text
//! floor bare  UPSTREAM          passes everything on
//! floor loop  UPSTREAM SERVER   adds a server's tools, and runs the calls of the model
//! ```
//!
//! Both are hyper and hyper-util on tokio, without a feature, a check or a limit. They listen on a
//! free port of loopback, which they print, and have the allocator of the proxy.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    missing_debug_implementations,
    unreachable_pub,
    reason = "a floor checks nothing, and a binary has no public interface"
)]

mod bare;
mod serve;
mod straight_line;

use std::env;

use http::Uri;
use mimalloc::MiMalloc;

/// The proxy's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let uri = |text: &str| text.parse::<Uri>().unwrap();
    match *arguments {
        ["bare", upstream] => bare::run(&uri(upstream)).await,
        ["loop", upstream, server] => straight_line::run(uri(upstream), uri(server)).await,
        _ => panic!("floor bare UPSTREAM | floor loop UPSTREAM SERVER"),
    }
}
