//! `GET /metrics`: what was counted, and how the servers stand.
//!
//! Counts come from the records of exchanges; how the servers stand is looked up at each scrape.

use std::fmt;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::header::CONTENT_TYPE;
use prometheus_client::{
    encoding::prometheus_text::{CONTENT_TYPE as PROMETHEUS, encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{
    fault::{Code, Fault},
    metrics::Metrics,
    organization::{OrganizationStore, PAGE},
    standing::{Reason, reason},
    statuses::Statuses,
};
use crate::connect::{ConnectionCounts, Connections};

/// `GET /metrics`
///
/// A store that does not answer takes nothing from what was counted: the scrape says that it is
/// down, and nothing of servers.
pub(super) async fn metrics(
    State(metrics): State<Option<Metrics>>,
    State(connections): State<Connections>,
    State(store): State<OrganizationStore>,
    State(statuses): State<Statuses>,
) -> Result<Response, Fault> {
    let Some(metrics) = &metrics else {
        return Err(Fault::new(Code::NotFound, "nothing is counted here"));
    };
    let mut now = Registry::with_prefix("mcp_layer");
    name_counts(connections.counts(), &mut now);
    let standing = Standing::of(&store, &statuses).await;
    let up = Gauge::<i64>::default();
    up.set(standing.is_ok().into());
    now.register("registry_up", "Whether servers can be looked up", up);
    if let Ok(standing) = standing {
        standing.name(&mut now);
    }
    let text = written(metrics, &now).map_err(|error| {
        tracing::error!(%error, "the metrics cannot be written");
        Fault::new(Code::Registry, "the metrics cannot be written")
    })?;
    Ok(([(CONTENT_TYPE, PROMETHEUS)], text).into_response())
}

fn written(metrics: &Metrics, now: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode(&mut text, metrics.registry())?;
    encode(&mut text, now)?;
    metrics.write_more(&mut text);
    Ok(text)
}

/// Registers the totals of the connections.
fn name_counts(counts: ConnectionCounts, to: &mut Registry) {
    let by = |label, values: [(&'static str, u64); 2]| {
        let family = Family::<[(&str, &str); 1], Counter>::default();
        for (value, count) in values {
            family.get_or_create(&[(label, value)]).inc_by(count);
        }
        family
    };
    to.register(
        "tool_lists",
        "Lists of tools that requests needed: from the cache, or waited for",
        by(
            "cache",
            [("hit", counts.list_hits), ("miss", counts.list_misses)],
        ),
    );
    to.register(
        "token_refreshes",
        "OAuth tokens that were to be renewed",
        by(
            "outcome",
            [
                ("ok", counts.token_refreshes),
                ("error", counts.failed_token_refreshes),
            ],
        ),
    );
}

/// The servers by their status.
#[derive(Default)]
struct Standing {
    servers: Family<[(&'static str, &'static str); 2], Gauge>,
    withheld: Gauge,
}

impl Standing {
    async fn of(store: &OrganizationStore, statuses: &Statuses) -> Result<Self, Fault> {
        let (standing, now) = (Self::default(), statuses.now());
        for page in store.all().await?.chunks(PAGE) {
            for (server, server_status) in page.iter().zip(statuses.each(page).await?) {
                let (status, reason) = match reason(server, &server_status, now) {
                    None => ("active", ""),
                    Some(reason) => ("inactive", word(reason)),
                };
                let labels = [("status", status), ("reason", reason)];
                standing.servers.get_or_create(&labels).inc();
                let observation = server_status.observation;
                let withheld = observation.map_or(0, |seen| seen.withheld(server));
                standing
                    .withheld
                    .inc_by(i64::try_from(withheld).unwrap_or(i64::MAX));
            }
        }
        Ok(standing)
    }

    fn name(self, to: &mut Registry) {
        to.register(
            "servers",
            "Servers that can be used, and others by what is in the way",
            self.servers,
        );
        to.register(
            "withheld_tools",
            "Selected tools that wait for an operator to accept them",
            self.withheld,
        );
    }
}

fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::Disabled => "disabled",
        Reason::Unreachable => "unreachable",
        Reason::NeedsAuthorization => "needs_authorization",
        Reason::CredentialInvalid => "credential_invalid",
        Reason::NoTools => "no_tools",
    }
}
