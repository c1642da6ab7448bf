//! One binary for all targets: the variable `TARGET` says which one libFuzzer drives; without it
//! their names are printed.
#![no_main]

use std::{env, process::exit, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use mcp_layer::fuzz::TARGETS;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = env::var("TARGET").unwrap_or_default();
    match TARGETS.iter().find(|(name, _)| *name == wanted) {
        Some((_, target)) => *target,
        None => {
            TARGETS.iter().for_each(|(name, _)| println!("{name}"));
            exit(if wanted.is_empty() { 0 } else { 2 })
        }
    }
});

fuzz_target!(init: { LazyLock::force(&TARGET); }, |data: &[u8]| TARGET(data));
