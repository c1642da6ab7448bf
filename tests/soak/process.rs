//! A process as Linux shows it.

use std::{fmt, fs};

pub struct Process(u32);

#[derive(Clone, Copy)]
pub struct Sample {
    /// Anonymous memory: what was allocated, and not what the program is.
    pub mib: f64,
    pub files: usize,
    pub threads: usize,
}

impl Process {
    pub fn new(id: u32) -> Self {
        Self(id)
    }

    pub fn sample(&self) -> Sample {
        let read = |name| fs::read_to_string(format!("/proc/{}/{name}", self.0)).unwrap();
        let count = |name| {
            fs::read_dir(format!("/proc/{}/{name}", self.0))
                .unwrap()
                .count()
        };
        let status = read("status");
        let anonymous = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib: f64 = anonymous
            .and_then(|text| text.trim().strip_suffix("kB")?.trim().parse().ok())
            .unwrap();
        Sample {
            mib: kib / 1024.0,
            files: count("fd"),
            threads: count("task"),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            mib,
            files,
            threads,
        } = self;
        write!(f, "{mib:6.2} {files:5} {threads:7}")
    }
}

/// The slope of the line that fits best.
pub fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let n = points.clone().count() as f64;
    let sum = |of: fn((f64, f64)) -> f64| points.clone().map(of).sum::<f64>();
    let (x, y) = (sum(|(x, _)| x), sum(|(_, y)| y));
    let (xx, xy) = (sum(|(x, _)| x * x), sum(|(x, y)| x * y));
    (n * xy - x * y) / (n * xx - x * x)
}
