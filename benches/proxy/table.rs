//! The table, in Markdown.

use std::time::Duration;

use crate::measure::Figures;

/// Prints the names of the columns; `other` is there if a second proxy is.
pub fn print_head(connections: usize, other: bool) {
    println!("\n{connections} connections; CPU is milliseconds of processor time for a request.\n");
    let third = if other {
        " other CPU | ratio | to ours |"
    } else {
        ""
    };
    println!(
        "| work | floor CPU | proxy CPU | ratio |{third} floor req/s | proxy req/s | floor p50, p99 ms | proxy p50, p99 ms | floor MiB | proxy MiB |"
    );
    let columns = if other { 12 } else { 9 };
    println!("|---|{}", "--:|".repeat(columns));
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
