//! What needs an operator, each with the place where to act.

use std::{sync::Arc, time::Duration};

use axum::extract::FromRef;

use super::{
    super::{
        super::{
            fault::Fault,
            organization::OrganizationStore,
            parts::Parts,
            project::ProjectRecords,
            server_status::ServerStatus,
            standing::{Reason, reason},
            statuses::Statuses,
            traces::Traces,
        },
        projects::encoded,
        status::StatusView,
        text::Shown,
        when::When,
    },
    figure::of,
    links::Links,
};
use crate::{
    connect::Connections,
    registry::{
        Auth, Filter, Page, Server, TraceFilter, TracePage,
        overview::{Figures, Overview},
    },
};

/// Servers that are looked at: a page of them, since this is asked for every few seconds.
const SERVERS: usize = 200;
/// Budgets that are looked at, for the same reason.
const BUDGETS: usize = 200;
/// Matters that are shown; the others are told by their number.
const SHOWN: usize = 6;
/// How long before its end an authorization is to be renewed by hand.
const SOON: Duration = Duration::from_secs(24 * 60 * 60);
/// Models without a price that are named.
const MODELS: usize = 3;

/// The parts that know what needs attention.
#[derive(Clone)]
pub(in super::super::super) struct Attention {
    store: OrganizationStore,
    statuses: Statuses,
    traces: Traces,
    connections: Connections,
    project_records: ProjectRecords,
}

impl FromRef<Parts> for Attention {
    fn from_ref(parts: &Parts) -> Self {
        Self {
            store: parts.store.clone(),
            statuses: parts.statuses.clone(),
            traces: parts.traces.clone(),
            connections: parts.connections.clone(),
            project_records: parts.project_records.clone(),
        }
    }
}

/// A matter that needs attention.
pub(super) struct Item {
    /// `bad` for what is broken now, `warn` for what waits for somebody.
    pub(super) tone: &'static str,
    pub(super) title: Shown,
    pub(super) why: Shown,
    /// The time that `why` speaks of at its end.
    pub(super) when: Option<When>,
    pub(super) link: String,
    pub(super) action: &'static str,
}

/// What to do where nothing has happened yet.
pub(super) struct First {
    /// The name of a server to try; `None`: there is none yet.
    pub(super) server: Option<String>,
}

impl Attention {
    pub(super) async fn items(
        &self,
        overview: &Overview,
        links: &Links,
        may_edit: bool,
    ) -> Result<Vec<Item>, Fault> {
        let mut items = self.of_servers(links).await?;
        if !may_edit {
            // What is to be done about a server is for others to do.
            for item in &mut items {
                item.action = "Open";
            }
        }
        items.extend(self.of_budgets(links).await?);
        items.extend(out_of(&overview.totals, links));
        items.extend(unpriced(overview, links));
        // What is broken comes first.
        items.sort_by_key(|item| item.tone != "bad");
        if items.len() > SHOWN {
            let left = items.len() - SHOWN;
            items.truncate(SHOWN);
            items.push(Item {
                tone: "warn",
                title: Shown::of(&format!("{left} more")),
                why: Shown::of(
                    "Servers that cannot be used or have tools to review, or used-up budgets",
                ),
                when: None,
                link: format!("{}/servers", links.base),
                action: "All servers",
            });
        }
        Ok(items)
    }

    async fn of_servers(&self, links: &Links) -> Result<Vec<Item>, Fault> {
        let servers = self.servers(SERVERS).await?;
        let statuses = self.statuses.each(&servers).await?;
        let mut items = Vec::new();
        for (server, status) in servers.iter().zip(&statuses) {
            match self.of_server(server, status, links) {
                Some(item) => items.push(item),
                None => items.extend(self.of_consent(server, links).await),
            }
        }
        Ok(items)
    }

    /// Projects that may not use models today any more.
    async fn of_budgets(&self, links: &Links) -> Result<Vec<Item>, Fault> {
        let projects = self.project_records.used_up(BUDGETS).await?.into_iter();
        let items = projects.map(|project| Item {
            tone: "bad",
            title: Shown::short(&project, 60),
            why: Shown::of("Its budget is used up: its requests are refused until midnight, UTC"),
            when: None,
            link: format!("{}/projects/{}", links.base, encoded(&project)),
            action: "Open",
        });
        Ok(items.collect())
    }

    /// The authorization of a server that ends soon, and that nothing but an operator renews.
    async fn of_consent(&self, server: &Server, links: &Links) -> Option<Item> {
        // Only these have one, and asking takes a look at the storage.
        if !server.enabled || !matches!(server.auth, Auth::OAuth2(_)) {
            return None;
        }
        let ends = self.connections.authorization_ends_at(server).await?;
        let left = ends.duration_since(self.statuses.now()).unwrap_or_default();
        if left > SOON {
            return None;
        }
        let why = match left.as_secs() / 60 {
            0 => "Its authorization ends now, and cannot be renewed".to_owned(),
            minutes @ 1..60 => {
                format!("Its authorization ends in {minutes} min, and cannot be renewed")
            }
            minutes => format!(
                "Its authorization ends in {} h, and cannot be renewed",
                minutes / 60
            ),
        };
        Some(Item {
            tone: "warn",
            title: Shown::short(server.display_name(), 60),
            why: Shown::of(&why),
            when: None,
            link: format!("{}/servers/{}", links.base, server.name),
            action: "Connect",
        })
    }

    /// What is the matter with a server. One that an operator has switched off is as it should be.
    fn of_server(&self, server: &Server, status: &ServerStatus, links: &Links) -> Option<Item> {
        let now = self.statuses.now();
        let withheld = status
            .observation
            .as_ref()
            .map_or(0, |seen| seen.withheld(server));
        let place = format!("{}/servers/{}", links.base, server.name);
        let view = StatusView::of(server, status, now);
        let (tone, why, when, link, action) = match reason(server, status, now) {
            Some(Reason::Disabled) => return None,
            None | Some(Reason::NoTools) if withheld > 0 => {
                let why = match withheld {
                    1 => "1 tool waits for review: it is new or has changed".to_owned(),
                    some => format!("{some} tools wait for review: they are new or have changed"),
                };
                (
                    "warn",
                    Shown::of(&why),
                    None,
                    format!("{place}/tools"),
                    "Review",
                )
            }
            None => return None,
            Some(Reason::NoTools) => (
                view.tone,
                view.why,
                None,
                format!("{place}/tools"),
                "Choose tools",
            ),
            Some(Reason::NeedsAuthorization) => (view.tone, view.why, None, place, "Connect"),
            Some(Reason::CredentialInvalid | Reason::Unreachable) => {
                (view.tone, view.why, view.when, place, "Open")
            }
        };
        Some(Item {
            tone,
            title: Shown::short(server.display_name(), 60),
            why,
            when,
            link,
            action,
        })
    }

    async fn servers(&self, limit: usize) -> Result<Vec<Arc<Server>>, Fault> {
        let page = Page {
            limit,
            ..Page::default()
        };
        Ok(self.store.list(&Filter::default(), &page).await?.servers)
    }

    /// The first steps, if nothing was ever asked here.
    pub(super) async fn first(&self) -> Result<Option<First>, Fault> {
        let page = TracePage {
            limit: 1,
            ..TracePage::default()
        };
        let listed = self.traces.list(&TraceFilter::default(), &page).await?;
        if !listed.traces.is_empty() {
            return Ok(None);
        }
        let server = self.servers(1).await?.into_iter().next();
        let server = server.map(|server| server.name.to_string());
        Ok(Some(First { server }))
    }
}

/// Exchanges that ended at a limit.
fn out_of(totals: &Figures, links: &Links) -> Option<Item> {
    let (rounds, time) = (totals.out_of_rounds, totals.out_of_time);
    let why = match (rounds, time) {
        (0, 0) => return None,
        (_, 0) => "No round was left: the model wanted to go on calling tools".to_owned(),
        (0, _) => "No time was left for another round".to_owned(),
        _ => format!("{rounds} were out of rounds, {time} out of time"),
    };
    let number = rounds.saturating_add(time);
    Some(Item {
        tone: "warn",
        title: Shown::of(&format!(
            "{} ended at a limit",
            of(number, "exchange", "exchanges")
        )),
        why: Shown::of(&why),
        when: None,
        link: links.all(),
        action: "Traces",
    })
}

/// Models that took tokens, and that no price is known for.
fn unpriced(overview: &Overview, links: &Links) -> Option<Item> {
    // Where nothing has a price, nobody wants to know costs.
    overview.totals.cost()?;
    let models = overview.breakdown.models.iter();
    let mut models: Vec<_> = models
        .filter(|(name, figures)| !name.is_empty() && figures.unpriced > 0)
        .collect();
    models.sort_by(|(a, of_a), (b, of_b)| of_b.unpriced.cmp(&of_a.unpriced).then(a.cmp(b)));
    let (first, _) = models.first()?;
    let named: Vec<_> = models.iter().take(MODELS).map(|(name, _)| *name).collect();
    let more = models.len().saturating_sub(MODELS);
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(Item {
        tone: "warn",
        title: Shown::of("Prices are missing"),
        why: Shown::short(
            &format!("The cost of {}{more} is not known", named.join(", ")),
            200,
        ),
        when: None,
        link: links.with(&[("model", first)]),
        action: "Traces",
    })
}
