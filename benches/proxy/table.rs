//! The table, in Markdown.

use std::{fs, thread::available_parallelism, time::Duration};

use crate::measure::Figures;

/// Prints what the figures are of.
pub fn print_machine() {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    let count = available_parallelism().map_or(1, usize::from);
    println!(
        "{}, {count} processors",
        model.map_or("unknown", |(_, model)| model)
    );
}

/// Prints the names of the columns; there are more if a second proxy is.
pub fn print_head([floor, ours]: [&str; 2], connections: usize, has_other: bool) {
    let other = match has_other {
        true => format!(" other | to {floor} | to {ours} |"),
        false => String::new(),
    };
    println!(
        "\n| {connections} connections: CPU ms per request | {floor} | {ours} | ratio |{other} req/s: {floor} | {ours} | p50, p99 ms: {floor} | {ours} | peak MiB: {floor} | {ours} |"
    );
    println!("|---|{}", "--:|".repeat(if has_other { 12 } else { 9 }));
}

/// Prints a row: the floor, the proxy and perhaps a second proxy.
pub fn print_row(name: &str, sides: &[Figures]) {
    let [floor, ours, others @ ..] = sides else {
        return;
    };
    let mut line = format!(
        "| {name} | {:.3} | {:.3} | {:.2} |",
        median(&floor.cpu),
        median(&ours.cpu),
        ratio(floor, ours)
    );
    for other in others {
        line += &format!(
            " {:.3} | {:.2} | {:.2} |",
            median(&other.cpu),
            ratio(floor, other),
            ratio(ours, other)
        );
    }
    let both = [floor, ours];
    for figures in both {
        line += &format!(" {:.0} |", median(&figures.rates));
    }
    for figures in both {
        let at = |percent| percentile(&figures.times, percent);
        line += &format!(" {:.2}, {:.2} |", at(50), at(99));
    }
    for figures in both {
        line += &format!(" {:.1} |", figures.peak_kib as f64 / 1024.0);
    }
    println!("{line}");
}

/// The median of the turns' ratios: both of a turn ran next to each other.
fn ratio(floor: &Figures, ours: &Figures) -> f64 {
    let pairs = floor.cpu.iter().zip(&ours.cpu);
    median(&pairs.map(|(floor, ours)| ours / floor).collect::<Vec<_>>())
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Of sorted times, in milliseconds.
fn percentile(times: &[Duration], percent: usize) -> f64 {
    times[times.len() * percent / 100].as_secs_f64() * 1e3
}
