//! Figures of exchanges over time, for an overview: how many, how fast, at which cost.
//!
//! ```text
//! layer ──▶ OverviewSink ──(each second)──▶ OverviewStore ──▶ Overview::read ──▶ REST, a page
//!           adds up in memory               sums of buckets    a range, put together
//! ```
//!
//! Each exchange is in one bucket of each [`Grain`], by the time when it began; in each of these, in
//! the sums of all projects and in those of its own. [`Sums`] are one writer's part of a bucket: it
//! puts them again as they grow, and readers add up those of all writers. So replicas never wait for
//! each other, and sums that are put twice count once.
//!
//! A range is read from few of them: figures over time from the buckets of one grain, what is by
//! name from days in the middle, and hours and minutes at the edges.

mod breakdown;
mod figures;
mod grain;
mod histogram;
mod memory;
mod overview_store;
mod pack;
mod pending;
mod range;
mod read;
mod sink;
mod sums;
mod writer;

pub use self::{
    breakdown::{Breakdown, Names},
    figures::Figures,
    grain::Grain,
    histogram::Histogram,
    memory::MemoryOverview,
    overview_store::{OverviewSpan, OverviewStore},
    range::OverviewRange,
    read::Overview,
    sink::OverviewSink,
    sums::Sums,
};
