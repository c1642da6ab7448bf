//! What the command line asks for.

use std::{env, path::PathBuf};

pub struct Arguments {
    /// A few requests of each row, to see that all works.
    pub is_test: bool,
    /// Only rows with one of these in their names.
    pub filters: Vec<String>,
    pub connections: Vec<usize>,
    pub turns: usize,
    /// A second proxy.
    pub proxy: Option<PathBuf>,
    /// A Python environment with other programs.
    pub peers: Option<PathBuf>,
}

impl Arguments {
    /// Reads the command line; `None` if neither measures nor tests are asked for.
    pub fn read() -> Option<Self> {
        let mut arguments = Self {
            is_test: false,
            filters: Vec::new(),
            connections: vec![1, 32, 256],
            turns: 5,
            proxy: None,
            peers: None,
        };
        let mut is_bench = false;
        let mut given = env::args().skip(1);
        while let Some(argument) = given.next() {
            let mut value = || given.next().expect("a value behind the flag");
            match &*argument {
                "--bench" => is_bench = true,
                "--test" => {
                    arguments.is_test = true;
                    arguments.connections = vec![2];
                    arguments.turns = 1;
                }
                "--turns" => arguments.turns = value().parse().unwrap(),
                "--connections" => {
                    let numbers = value();
                    let numbers = numbers.split(',').map(|number| number.parse().unwrap());
                    arguments.connections = numbers.collect();
                }
                "--peers" => arguments.peers = Some(value().into()),
                "--proxy" => arguments.proxy = Some(value().into()),
                _ => arguments.filters.push(argument),
            }
        }
        (is_bench || arguments.is_test).then_some(arguments)
    }

    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty()
            || self
                .filters
                .iter()
                .any(|filter| name.contains(filter.as_str()))
    }
}
