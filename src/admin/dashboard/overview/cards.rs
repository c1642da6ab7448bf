//! The cards: a figure, how it differs from before, and how it went.

use std::time::{Duration, SystemTime};

use super::{
    chart::{Chart, Steps},
    figure::{cost, count, fraction, of, percent, quantile, tokens, took},
    links::Links,
    span::Span,
};
use crate::registry::overview::{Figures, Overview};

pub(super) struct Card {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) value: String,
    /// What stands beside the value.
    pub(super) about: String,
    /// Where the exchanges behind it are.
    pub(super) link: String,
    pub(super) trend: Option<Trend>,
    pub(super) chart: Chart,
    /// What colours mean, where there are several.
    pub(super) legend: &'static [(&'static str, &'static str)],
}

/// How a figure differs from the one before.
pub(super) struct Trend {
    pub(super) arrow: &'static str,
    pub(super) said: String,
    /// The same for those who do not see the arrow.
    pub(super) heard: String,
    pub(super) tone: &'static str,
}

/// Whether more of something is good.
#[derive(Clone, Copy, PartialEq)]
enum More {
    IsBad,
    IsNeither,
}

pub(super) fn cards(
    overview: &Overview,
    span: &Span,
    steps: &Steps,
    links: &Links,
    now: SystemTime,
) -> Vec<Card> {
    let totals = &overview.totals;
    let before = overview
        .before
        .as_ref()
        .filter(|before| before.exchanges > 0);
    let passed = now.min(span.range.to()).duration_since(span.range.from());
    let passed = passed.unwrap_or_default();
    let minutes = minutes(passed);
    let whole = self::minutes(span.range.length());
    let trend = |more, now: f64, before: Option<f64>| relative(more, now, before?, span.before);
    let each = |what: String| format!("{what} in {}", steps.length());
    let rate = totals.exchanges as f64 / minutes;
    let all = of(totals.exchanges, "exchange", "exchanges");
    // Of few, their number says more than a small fraction.
    let (title, value, about) = match rate {
        0.1.. => ("Exchanges per minute", fraction(rate), all),
        _ => {
            let value = format!("{} in {}", totals.exchanges, lasting(passed));
            ("Exchanges", value, String::new())
        }
    };
    let exchanges = Card {
        id: "exchanges",
        title,
        value,
        about,
        link: links.all(),
        trend: trend(
            More::IsNeither,
            rate,
            before.map(|before| before.exchanges as f64 / whole),
        ),
        chart: steps.chart(
            overview,
            links,
            ["plain", "bad"],
            |figures| {
                let errors = figures.errors();
                [figures.exchanges.saturating_sub(errors), errors].map(|number| number as f64)
            },
            |figures| {
                let errors = of(figures.errors(), "error", "errors");
                format!(
                    "{}, {errors}",
                    of(figures.exchanges, "exchange", "exchanges")
                )
            },
            |greatest| each(count(greatest as u64)),
        ),
        legend: &[("plain", "Answered"), ("bad", "Failed")],
    };
    let errors = Card {
        id: "errors",
        title: "Error rate",
        value: match totals.exchanges {
            0 => "–".to_owned(),
            all => percent(totals.errors(), all),
        },
        about: errors_said(totals),
        link: links.with(&[("outcome", worst(totals))]),
        trend: before
            .filter(|_| totals.exchanges > 0)
            .and_then(|before| points(share(totals), share(before), span.before)),
        chart: steps.chart(
            overview,
            links,
            ["bad"],
            |figures| [share(figures) * 100.0],
            |figures| {
                let rate = percent(figures.errors(), figures.exchanges);
                format!(
                    "{rate} of {}",
                    of(figures.exchanges, "exchange", "exchanges")
                )
            },
            |greatest| format!("{} %", fraction(greatest)),
        ),
        legend: &[],
    };
    let duration = |id, title, fraction: f64, about: &str| Card {
        id,
        title,
        value: quantile(totals, fraction),
        about: about.to_owned(),
        link: links.all(),
        trend: totals.durations.quantile(fraction).and_then(|now| {
            let before = before?.durations.quantile(fraction)?;
            relative(
                More::IsBad,
                now.as_secs_f64(),
                before.as_secs_f64(),
                span.before,
            )
        }),
        chart: steps.chart(
            overview,
            links,
            ["plain"],
            |figures| [millis(figures, fraction)],
            |figures| quantile(figures, fraction),
            |greatest| took(Duration::from_millis(greatest as u64)),
        ),
        legend: &[],
    };
    let used = Card {
        id: "tokens",
        title: "Tokens",
        value: count(tokens(totals)),
        about: format!(
            "{} in, {} out",
            count(totals.input_tokens),
            count(totals.output_tokens)
        ),
        link: links.all(),
        trend: trend(
            More::IsNeither,
            tokens(totals) as f64 / minutes,
            before.map(|before| tokens(before) as f64 / whole),
        ),
        chart: steps.chart(
            overview,
            links,
            ["plain", "second"],
            |figures| [figures.input_tokens as f64, figures.output_tokens as f64],
            |figures| {
                let (input, output) = (figures.input_tokens, figures.output_tokens);
                format!("{} in, {} out", count(input), count(output))
            },
            |greatest| each(count(greatest as u64)),
        ),
        legend: &[("plain", "In"), ("second", "Out")],
    };
    let spent = Card {
        id: "cost",
        title: "Cost",
        value: cost(totals),
        about: match totals.unpriced {
            0 => String::new(),
            _ if totals.priced == 0 => "no price is known".to_owned(),
            some => format!("{} without a price", of(some, "exchange", "exchanges")),
        },
        link: links.all(),
        trend: totals.cost().and_then(|now| {
            let before = before?.cost()? / whole;
            relative(More::IsNeither, now / minutes, before, span.before)
        }),
        chart: steps.chart(
            overview,
            links,
            ["plain"],
            |figures| [figures.cost().unwrap_or_default()],
            cost,
            |greatest| each(fraction(greatest)),
        ),
        legend: &[],
    };
    vec![
        exchanges,
        errors,
        duration("p50", "Duration, p50", 0.5, "half are faster"),
        duration("p95", "Duration, p95", 0.95, "1 in 20 is slower"),
        used,
        spent,
    ]
}

/// A length of time in its nearest unit, such as `24 h`.
fn lasting(length: Duration) -> String {
    let hours = length.as_secs_f64() / 3600.0;
    match hours {
        ..0.9 => format!("{:.0} min", hours * 60.0),
        ..36.0 => format!("{hours:.0} h"),
        _ => format!("{:.0} days", hours / 24.0),
    }
}

fn minutes(length: Duration) -> f64 {
    length.as_secs_f64().max(60.0) / 60.0
}

fn millis(figures: &Figures, of: f64) -> f64 {
    let quantile = figures.durations.quantile(of).unwrap_or_default();
    quantile.as_millis() as f64
}

fn share(figures: &Figures) -> f64 {
    figures.errors() as f64 / figures.exchanges.max(1) as f64
}

/// The failures by their kind, of those that there are.
fn errors_said(totals: &Figures) -> String {
    let kinds = [
        (totals.upstream_errors, "model's errors"),
        (totals.upstream_failures, "model failures"),
        (totals.refused, "refused"),
    ];
    let kinds = kinds.iter().filter(|(number, _)| *number > 0);
    let kinds: Vec<_> = kinds
        .map(|(number, kind)| format!("{} {kind}", count(*number)))
        .collect();
    match kinds.is_empty() {
        true => "no failures".to_owned(),
        false => kinds.join(", "),
    }
}

/// The outcome of most failures; the list of exchanges knows one at a time.
fn worst(totals: &Figures) -> &'static str {
    let kinds = [
        (totals.refused, "refused"),
        (totals.upstream_failures, "upstream_failed"),
        (totals.upstream_errors, "upstream_error"),
    ];
    let most = kinds.into_iter().max_by_key(|(number, _)| *number);
    most.map_or("upstream_error", |(_, outcome)| outcome)
}

/// How much more or less, in percent of before.
fn relative(more: More, now: f64, before: f64, than: &str) -> Option<Trend> {
    if before <= 0.0 {
        return None;
    }
    let percent = (now - before) / before * 100.0;
    let said = match percent.abs() {
        huge if huge >= 1000.0 => format!("{} ×", fraction(now / before)),
        percent => format!("{percent:.0} %"),
    };
    Some(told(more, percent, 0.5, said, than))
}

/// How many points of percent more or less.
fn points(now: f64, before: f64, than: &str) -> Option<Trend> {
    let points = (now - before) * 100.0;
    let said = format!("{:.1} points", points.abs());
    Some(told(More::IsBad, points, 0.05, said, than))
}

/// A difference in words; one below `least` is none.
fn told(more: More, difference: f64, least: f64, said: String, than: &str) -> Trend {
    let (arrow, word, bad) = match difference {
        same if same.abs() < least => {
            return Trend {
                arrow: "=",
                said: "same".to_owned(),
                heard: format!("as {than}"),
                tone: "",
            };
        }
        rise if rise > 0.0 => ("▲", "more", "bad"),
        _ => ("▼", "less", "good"),
    };
    Trend {
        arrow,
        heard: format!("{word} than {than}"),
        said,
        tone: match more {
            More::IsBad => bad,
            More::IsNeither => "",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_said_in_its_nearest_unit() {
        for (minutes, said) in [
            (5, "5 min"),
            (61, "1 h"),
            (1441, "24 h"),
            (7 * 1440 + 59, "7 days"),
        ] {
            assert_eq!(lasting(Duration::from_secs(minutes * 60)), said);
        }
    }

    #[test]
    fn a_trend_says_which_way_and_whether_that_is_bad() {
        let told = |more, now, before| {
            relative(more, now, before, "before").map(|trend| {
                format!(
                    "{}{} {} {}",
                    trend.arrow, trend.said, trend.heard, trend.tone
                )
            })
        };
        assert_eq!(
            told(More::IsBad, 1.1, 1.0).unwrap(),
            "▲10 % more than before bad"
        );
        assert_eq!(
            told(More::IsBad, 0.5, 1.0).unwrap(),
            "▼50 % less than before good"
        );
        assert_eq!(
            told(More::IsNeither, 2.0, 1.0).unwrap(),
            "▲100 % more than before "
        );
        assert_eq!(told(More::IsNeither, 1.0, 1.0).unwrap(), "=same as before ");
        assert_eq!(
            told(More::IsNeither, 50.0, 1.0).unwrap(),
            "▲50.0 × more than before "
        );
        assert_eq!(told(More::IsNeither, 1.0, 0.0), None);
    }
}
