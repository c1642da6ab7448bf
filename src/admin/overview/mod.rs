//! Figures of exchanges over time and by name.

mod asked;
mod view;

use std::{sync::Arc, time::SystemTime};

use axum::extract::{RawQuery, State};
use http::StatusCode;

use self::view::View;
pub(super) use self::{
    asked::{Asked, range},
    view::ranked,
};
use super::{
    answer::{Answer, json},
    clock::Clock,
    fault::Fault,
};
use crate::registry::overview::{Overview, OverviewStore};

/// `GET /overview`
pub(super) async fn read(State(overviews): State<Overviews>, RawQuery(query): RawQuery) -> Answer {
    let asked = Asked::read(query.as_deref().unwrap_or_default(), overviews.now())?;
    let overview = overviews.read(&asked).await?;
    json(StatusCode::OK, &View::of(&asked, &overview))
}

/// The figures of one organization.
#[derive(Clone)]
pub(super) struct Overviews {
    store: Arc<dyn OverviewStore>,
    organization: Arc<str>,
    clock: Clock,
}

impl Overviews {
    pub(super) fn new(store: Arc<dyn OverviewStore>, organization: Arc<str>, clock: Clock) -> Self {
        Self {
            store,
            organization,
            clock,
        }
    }

    /// The time by which ranges are judged.
    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// The figures that are asked for.
    pub(super) async fn read(&self, asked: &Asked) -> Result<Overview, Fault> {
        let (organization, project) = (&self.organization, asked.project.as_deref());
        let read = Overview::read(&self.store, organization, project, &asked.range, self.now());
        Ok(read.await?)
    }
}
