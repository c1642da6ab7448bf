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

/// Prints the names of the columns, of which each side has several.
pub fn print_head(sides: &[&str], connections: usize) {
    let columns = |of: &str, sides: &[&str]| format!(" {of}: {} |", sides.join(" | "));
    let heads = [
        columns("CPU ms", sides),
        columns("ratio", &sides[1..]),
        columns("req/s", sides),
        columns("p50, p99 ms", sides),
        columns("peak MiB", sides),
    ];
    println!("\n| {connections} connections |{}", heads.concat());
    println!("|---|{}", "--:|".repeat(5 * sides.len() - 1));
}

/// Prints a row; sides that cannot do it are absent.
pub fn print_row(name: &str, sides: &[Option<Figures>]) {
    let cells = |sides: &[Option<Figures>], cell: &dyn Fn(&Figures) -> String| {
        let cell = |side: &Option<Figures>| {
            side.as_ref().map_or(" – |".to_owned(), |figures| {
                format!(" {} |", cell(figures))
            })
        };
        sides.iter().map(cell).collect::<String>()
    };
    let Some(Some(floor)) = sides.first() else {
        return;
    };
    let at = |figures: &Figures, percent| percentile(&figures.times, percent);
    println!(
        "| {name} |{}{}{}{}{}",
        cells(sides, &|figures| format!("{:.3}", median(&figures.cpu))),
        cells(&sides[1..], &|figures| format!(
            "{:.2}",
            ratio(floor, figures)
        )),
        cells(sides, &|figures| format!("{:.0}", median(&figures.rates))),
        cells(sides, &|figures| format!(
            "{:.2}, {:.2}",
            at(figures, 50),
            at(figures, 99)
        )),
        cells(sides, &|figures| format!(
            "{:.1}",
            figures.peak_kib as f64 / 1024.0
        )),
    );
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
