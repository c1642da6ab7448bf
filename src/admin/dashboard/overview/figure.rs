//! Figures as people read them.

use std::time::Duration;

use super::super::when::span;
use crate::registry::overview::Figures;

/// A number with few digits: `1,234`, `56.7k`, `8.9M`.
pub(in super::super) fn count(number: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "B"), (1_000_000, "M"), (1000, "k")];
    let unit = UNITS
        .iter()
        .find(|(unit, _)| number >= 10_000 && number >= *unit);
    match unit {
        Some((unit, letter)) => {
            let parts = number as f64 / *unit as f64;
            let digits = usize::from(parts < 100.0);
            format!("{parts:.digits$}{letter}")
        }
        None => exact(number),
    }
}

/// A number with all of its digits: `1,234,567`.
pub(super) fn exact(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number that may be a fraction, with two or three digits that say something.
pub(in super::super) fn fraction(number: f64) -> String {
    match number {
        0.0 => "0".to_owned(),
        // Saturates.
        1000.0.. => count(number.round() as u64),
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        0.1.. => format!("{number:.2}"),
        0.001.. => format!("{number:.4}"),
        _ => "< 0.001".to_owned(),
    }
}

/// A part of a whole.
pub(super) fn percent(part: u64, whole: u64) -> String {
    match part as f64 / whole.max(1) as f64 * 100.0 {
        0.0 => "0 %".to_owned(),
        few if few < 0.1 => "< 0.1 %".to_owned(),
        some if some < 10.0 => format!("{some:.1} %"),
        many => format!("{many:.0} %"),
    }
}

/// The duration that the fraction `of` does not exceed; a dash where there is none.
pub(super) fn quantile(figures: &Figures, of: f64) -> String {
    figures
        .durations
        .quantile(of)
        .map_or_else(|| "–".to_owned(), took)
}

/// A duration.
pub(super) fn took(duration: Duration) -> String {
    span(duration)
}

/// A cost; a dash where it is not known.
pub(super) fn cost(figures: &Figures) -> String {
    figures.cost().map_or_else(|| "–".to_owned(), fraction)
}

/// The tokens in and out.
pub(super) fn tokens(figures: &Figures) -> u64 {
    figures.input_tokens.saturating_add(figures.output_tokens)
}

/// How a number is put beside its noun.
pub(super) fn of(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{} {many}", exact(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_few_digits() {
        for (number, said) in [
            (0, "0"),
            (999, "999"),
            (1234, "1,234"),
            (9999, "9,999"),
            (12_345, "12.3k"),
            (123_456, "123k"),
            (1_234_567, "1.2M"),
            (2_500_000_000, "2.5B"),
        ] {
            assert_eq!(count(number), said);
        }
        assert_eq!(exact(1_234_567), "1,234,567");
        for (number, said) in [
            (0.0, "0"),
            (0.000_1, "< 0.001"),
            (0.012_34, "0.0123"),
            (0.5, "0.50"),
            (12.34, "12.3"),
            (123.4, "123"),
            (12_345.0, "12.3k"),
        ] {
            assert_eq!(fraction(number), said);
        }
        assert_eq!((&*percent(1, 3), &*percent(0, 0)), ("33 %", "0 %"));
        assert_eq!(percent(1, 5000), "< 0.1 %");
        assert_eq!(of(1, "exchange", "exchanges"), "1 exchange");
    }
}
