//! Charts of columns, drawn as SVG, and the same figures for a table.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{
    super::super::time::rfc3339,
    figure::{cost, count, quantile},
    links::Links,
};
use crate::registry::overview::{Figures, Overview, OverviewRange};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// The lengths of what a column stands for, in seconds.
const LENGTHS: [u64; 10] = [
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    7 * DAY,
];
/// The most columns, each a few pixels wide on a card.
const COLUMNS: u64 = 100;
/// The width of a column and the height of a chart, in the units of the drawing.
const WIDTH: u64 = 10;
const HEIGHT: f64 = 100.0;

/// The columns of all charts of a page.
pub(super) struct Steps {
    /// The beginning of the first one, and the end of the last.
    from: u64,
    to: u64,
    /// Their length.
    length: u64,
}

/// A chart of columns, of one or two parts on top of each other.
pub(super) struct Chart {
    /// The width of the drawing.
    pub(super) width: u64,
    pub(super) columns: Vec<Column>,
    /// What its height stands for.
    pub(super) top: String,
    /// The first and the last moment.
    pub(super) from: String,
    pub(super) to: String,
}

pub(super) struct Column {
    pub(super) x: u64,
    pub(super) bars: Vec<Bar>,
    /// What it stands for.
    pub(super) said: String,
    pub(super) link: String,
}

pub(super) struct Bar {
    pub(super) y: String,
    pub(super) height: String,
    /// The name of its colour.
    pub(super) tone: &'static str,
}

/// A row of the table with the figures of all charts.
pub(super) struct Moment {
    pub(super) at: String,
    pub(super) exact: String,
    pub(super) link: String,
    pub(super) exchanges: String,
    pub(super) errors: String,
    pub(super) p50: String,
    pub(super) p95: String,
    pub(super) input_tokens: String,
    pub(super) output_tokens: String,
    pub(super) cost: String,
}

impl Steps {
    pub(super) fn of(range: &OverviewRange, now: SystemTime) -> Self {
        let (from, to) = (seconds(range.from()), seconds(range.to()));
        let shortest = range.grain().length().as_secs();
        let fits =
            |length: &&u64| **length >= shortest && (to - from).div_ceil(**length) <= COLUMNS;
        let length = *LENGTHS
            .iter()
            .find(fits)
            .unwrap_or(&LENGTHS[LENGTHS.len() - 1]);
        Self {
            from: from / length * length,
            // Nothing can be in a column that has not begun.
            to: to.min(seconds(now).max(from + 1)).div_ceil(length) * length,
            length,
        }
    }

    /// The length of a column in words, such as `15 min`.
    pub(super) fn length(&self) -> String {
        match self.length {
            ..HOUR => format!("{} min", self.length / MINUTE),
            HOUR..DAY => format!("{} h", self.length / HOUR),
            DAY => "1 day".to_owned(),
            _ => format!("{} days", self.length / DAY),
        }
    }

    /// The figures of each column.
    fn sums(&self, overview: &Overview) -> Vec<Figures> {
        let columns = usize::try_from((self.to - self.from) / self.length).unwrap_or_default();
        let mut sums = vec![Figures::default(); columns];
        for (start, figures) in &overview.series {
            let into = seconds(*start).saturating_sub(self.from) / self.length;
            let place = usize::try_from(into)
                .ok()
                .and_then(|into| sums.get_mut(into));
            if let Some(sum) = place {
                sum.add(figures);
            }
        }
        sums
    }

    /// Draws a chart: `parts` are the values of a column, the lowest first, `said` the words for them
    /// and `scale` those for the greatest.
    pub(super) fn chart<const N: usize>(
        &self,
        overview: &Overview,
        links: &Links,
        tones: [&'static str; N],
        parts: impl Fn(&Figures) -> [f64; N],
        said: impl Fn(&Figures) -> String,
        scale: impl Fn(f64) -> String,
    ) -> Chart {
        let sums = self.sums(overview);
        let whole = |figures: &Figures| parts(figures).iter().sum::<f64>();
        let greatest = sums.iter().map(whole).fold(0.0, f64::max);
        let columns = (0..).zip(&sums).filter(|(_, figures)| !figures.is_empty());
        let columns = columns.map(|(place, figures)| {
            let mut y = HEIGHT;
            let bars = parts(figures).into_iter().zip(tones);
            let bars = bars.filter(|(part, _)| *part > 0.0).map(|(part, tone)| {
                // What is there can be seen.
                let height = (part / greatest * HEIGHT).max(1.5);
                y = (y - height).max(0.0);
                Bar {
                    y: format!("{y:.1}"),
                    height: format!("{height:.1}"),
                    tone,
                }
            });
            let bars = bars.collect();
            let (from, to) = self.column(place);
            Column {
                x: place * WIDTH,
                bars,
                said: format!("{}: {}", self.said(from), said(figures)),
                link: links.during(from, to),
            }
        });
        Chart {
            width: (sums.len() as u64).max(1) * WIDTH,
            columns: columns.collect(),
            top: match greatest > 0.0 {
                true => scale(greatest),
                false => String::new(),
            },
            from: self.said(time(self.from)),
            to: self.said(time(self.to)),
        }
    }

    /// The beginning and the end of a column.
    fn column(&self, place: u64) -> (SystemTime, SystemTime) {
        let from = self.from + place * self.length;
        (time(from), time(from + self.length))
    }

    /// A moment as short as it can be told from the others.
    fn said(&self, at: SystemTime) -> String {
        let exact = rfc3339(at);
        // Such as `11-30` and `12:41`.
        let (day, clock) = (exact.get(5..10), exact.get(11..16));
        let (day, clock) = (day.unwrap_or_default(), clock.unwrap_or_default());
        match self.to - self.from {
            ..=DAY => clock.to_owned(),
            _ if self.length >= DAY => day.to_owned(),
            _ => format!("{day} {clock}"),
        }
    }
}

/// The figures of all columns in which there was anything, the latest first.
pub(super) fn moments(overview: &Overview, steps: &Steps, links: &Links) -> Vec<Moment> {
    let sums = steps.sums(overview);
    let some = (0..).zip(&sums).filter(|(_, figures)| !figures.is_empty());
    let moments = some.map(|(place, figures)| {
        let (from, to) = steps.column(place);
        Moment {
            at: steps.said(from),
            exact: rfc3339(from),
            link: links.during(from, to),
            exchanges: count(figures.exchanges),
            errors: count(figures.errors()),
            p50: quantile(figures, 0.5),
            p95: quantile(figures, 0.95),
            input_tokens: count(figures.input_tokens),
            output_tokens: count(figures.output_tokens),
            cost: cost(figures),
        }
    });
    let mut moments: Vec<_> = moments.collect();
    moments.reverse();
    moments
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}
