//! One project: its servers with what it is granted of them, its keys, its budget, and what it has used
//! today.

use std::{collections::BTreeMap, iter, sync::Arc};

use axum::{
    body::Bytes,
    extract::{Path, State},
};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    acting::Acting,
    answer::{Answer, json},
    api_keys::{ApiKeys, Listed},
    body::tree,
    fault::{Code, Fault},
    models::Models,
    organization::OrganizationStore,
    projects::Projects,
    role::Role,
};
use crate::registry::{
    Budget, CallLimit, CallLimits, ProjectGrant, Server, Source, budget_cost,
    members::{self, Node, Tree, Words, read_budget_limits},
    usage::{QuotaOf, UsageId, UsageStore, Used},
};

/// `GET /projects/{name}`
pub(super) async fn read(
    State(records): State<ProjectRecords>,
    Path(name): Path<String>,
) -> Answer {
    json(StatusCode::OK, &records.read(&name).await?.view())
}

/// `PUT /projects/{name}`
pub(super) async fn replace(
    State(records): State<ProjectRecords>,
    State(projects): State<Projects>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let tree = tree(&body)?;
    records
        .set_budget(&name, Some(entered(&tree, &name)?))
        .await?;
    projects.note_named(&name);
    json(StatusCode::OK, &records.read(&name).await?.view())
}

/// `DELETE /projects/{name}`
pub(super) async fn remove(
    State(records): State<ProjectRecords>,
    Path(name): Path<String>,
) -> Result<StatusCode, Fault> {
    records.set_budget(&name, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads a budget.
pub(super) fn entered(tree: &Tree<'_>, project: &str) -> Result<Budget, Fault> {
    let read = || {
        let members = Node::new(tree, &Words::JSON).table("must be an object")?;
        members.allow(["tokens_per_day", "cost_per_day"])?;
        read_budget_limits(&members, Budget::new(project))
    };
    read().map_err(|fault: members::Fault| Fault::from(fault).with_code(Code::InvalidRequest))
}

/// What is known of projects, and who changes it.
#[derive(Clone)]
pub(super) struct ProjectRecords {
    store: OrganizationStore,
    models: Models,
    keys: ApiKeys,
    usage: Option<Arc<dyn UsageStore>>,
}

/// A project as it was read.
pub(super) struct ProjectRecord {
    pub(super) name: String,
    pub(super) budget: Option<Budget>,
    /// The budget is a file's, and changed there.
    pub(super) is_declared: bool,
    /// What it has used today of tokens, and of cost; `None` without a budget, or where nobody told
    /// this side where that is counted.
    pub(super) used: Option<[Used; 2]>,
    pub(super) servers: Vec<Granted>,
    /// Its keys, where the operator may see keys.
    pub(super) keys: Option<Vec<Listed>>,
}

/// A server that a project can use, with what it is granted of it.
pub(super) struct Granted {
    pub(super) server: Arc<Server>,
    pub(super) grant: ProjectGrant,
    /// The limits of all its calls.
    pub(super) limits: Vec<Limit>,
    /// The limits of single tools.
    pub(super) tool_limits: Vec<(String, Vec<Limit>)>,
    /// Tools that the grant names and the server did not list when it was last asked, or that cannot be
    /// offered.
    pub(super) unlisted: Vec<String>,
}

/// A limit, and what is used of it; `None` where nobody told this side where that is counted.
pub(super) struct Limit {
    pub(super) of: CallLimit,
    pub(super) calls: u32,
    pub(super) used: Option<u64>,
    id: UsageId,
}

impl ProjectRecords {
    pub(super) fn new(
        store: OrganizationStore,
        models: Models,
        keys: ApiKeys,
        usage: Option<Arc<dyn UsageStore>>,
    ) -> Self {
        Self {
            store,
            models,
            keys,
            usage,
        }
    }

    /// What is known of a project. Any name is one: a server for all projects is its, too.
    pub(super) async fn read(&self, name: &str) -> Result<ProjectRecord, Fault> {
        let whose = (&**self.store.organization(), name);
        let servers = self.store.all().await?.into_iter();
        let usable = servers.filter(|server| server.projects.contains(name) && !server.draft);
        let mut servers: Vec<_> = usable.map(|server| Granted::of(server, whose)).collect();
        let budget = self.models.in_force().budget(name).cloned();
        let used = self.count(&mut servers, whose).await?;
        self.look_for_tools(&mut servers).await?;
        let keys = match Acting::now().may(Role::Admin) && self.keys.are_kept() {
            true => Some(self.keys.list(Some(name)).await?),
            false => None,
        };
        Ok(ProjectRecord {
            name: name.to_owned(),
            is_declared: self.models.declares_budget(name),
            used: used.filter(|_| budget.is_some()),
            budget,
            servers,
            keys,
        })
    }

    /// Fills in what is used of the limits, and returns what is used of the models today; all of it is
    /// looked up at once.
    async fn count(
        &self,
        servers: &mut [Granted],
        whose: (&str, &str),
    ) -> Result<Option<[Used; 2]>, Fault> {
        let Some(usage) = &self.usage else {
            return Ok(None);
        };
        let of_models = ["tokens", "cost"].map(|what| UsageId::of_models(whose, what));
        let mut ids = of_models.map(|id| (id, QuotaOf::Day)).to_vec();
        let mut limits: Vec<_> = servers.iter_mut().flat_map(Granted::all_limits).collect();
        ids.extend(limits.iter().map(|limit| (limit.id, limit.of.into())));
        let mut used = usage.used(&ids).await?.into_iter();
        let of_models = used.next().zip(used.next());
        for (limit, used) in limits.iter_mut().zip(used) {
            limit.used = Some(used.amount);
        }
        Ok(of_models.map(|(tokens, cost)| [tokens, cost]))
    }

    /// Finds the tools that grants name and their servers do not list, as far as that is known: where
    /// callers have tokens of their own, each may have a list of its own.
    async fn look_for_tools(&self, servers: &mut [Granted]) -> Result<(), Fault> {
        let naming = servers.iter_mut().filter(|granted| {
            let is_naming = granted.grant.named_tools().next().is_some();
            is_naming && !granted.server.auth.is_callers()
        });
        let mut naming: Vec<_> = naming.collect();
        let ids: Vec<_> = naming.iter().map(|one| one.server.id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let seen = self.store.observations(&ids).await?;
        for (granted, seen) in naming.iter_mut().zip(seen) {
            let Some(seen) = seen.filter(|seen| seen.listed_at.is_some()) else {
                continue;
            };
            let named = granted.grant.named_tools();
            let unlisted = named.filter(|tool| !seen.listed.contains_key(*tool));
            granted.unlisted = unlisted.map(str::to_owned).collect();
        }
        Ok(())
    }

    /// What these projects may use of their models today, and have used of that; those without a
    /// budget are left out.
    pub(super) async fn budgets(
        &self,
        projects: &[&str],
    ) -> Result<BTreeMap<String, (Budget, Option<[Used; 2]>)>, Fault> {
        let rules = self.models.in_force();
        let budgets = projects.iter().filter_map(|project| rules.budget(project));
        let budgets: Vec<&Budget> = budgets.collect();
        let organization = &**self.store.organization();
        let ids = budgets.iter().flat_map(|budget| {
            let whose = (organization, budget.project());
            ["tokens", "cost"].map(|what| (UsageId::of_models(whose, what), QuotaOf::Day))
        });
        let used = match &self.usage {
            Some(usage) if !budgets.is_empty() => usage.used(&Vec::from_iter(ids)).await?,
            _ => Vec::new(),
        };
        let (used, _) = used.as_chunks::<2>();
        let used = used.iter().copied().map(Some).chain(iter::repeat(None));
        let budgets = budgets.into_iter().zip(used);
        let named = budgets.map(|(budget, used)| {
            let project = budget.project().to_owned();
            (project, (budget.clone(), used))
        });
        Ok(named.collect())
    }

    /// The projects whose budget of today is used up, of at most `most` that have one.
    pub(super) async fn used_up(&self, most: usize) -> Result<Vec<String>, Fault> {
        let rules = self.models.in_force();
        let projects: Vec<_> = rules.budgets().map(Budget::project).take(most).collect();
        let budgets = self.budgets(&projects).await?.into_iter();
        let used_up = budgets.filter(|(_, (budget, used))| {
            let limits = [budget.tokens_per_day(), budget.cost_nanos()];
            let mut parts = used.iter().flatten().zip(limits);
            parts.any(|(used, limit)| limit.is_some_and(|limit| used.amount >= limit))
        });
        Ok(used_up.map(|(project, _)| project).collect())
    }

    /// Replaces the budget of a project, or removes it.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] for a budget that limits nothing; [`Code::NotFound`] where there is none
    /// to remove; [`Code::DeclaredInFile`] for that of a file.
    pub(super) async fn set_budget(
        &self,
        project: &str,
        budget: Option<Budget>,
    ) -> Result<(), Fault> {
        if self.models.declares_budget(project) {
            let message =
                "the budget of this project is declared in the configuration file; change it there";
            return Err(Fault::new(Code::DeclaredInFile, message));
        }
        self.models.set_budget(project, budget).await
    }
}

impl ProjectRecord {
    /// The project as it is answered.
    fn view(&self) -> Value {
        let budget = self.budget.as_ref().map(|budget| {
            json!({
                "tokens_per_day": budget.tokens_per_day(),
                "cost_per_day": budget.cost_per_day(),
                "source": match self.is_declared { true => "file", false => "store" },
            })
        });
        let used = self.used.map(|[tokens, cost]| {
            json!({
                "tokens": tokens.amount,
                "cost": budget_cost(cost.amount),
                "ends_in_s": tokens.ends_in.max(cost.ends_in).as_secs(),
            })
        });
        let servers: Vec<_> = self.servers.iter().map(Granted::view).collect();
        let keys = self.keys.as_ref().map(|keys| {
            let keys = keys
                .iter()
                .map(|listed| json!({"id": listed.key.id.to_string(), "name": listed.key.name}));
            keys.collect::<Vec<_>>()
        });
        json!({
            "name": self.name,
            "budget": budget,
            "used_today": used,
            "servers": servers,
            "api_keys": keys,
        })
    }
}

impl Granted {
    /// A server as it is granted to a project.
    fn of(server: Arc<Server>, whose: (&str, &str)) -> Self {
        let (_, project) = whose;
        let grant = server.grants.of(project).cloned();
        let grant = grant.unwrap_or_else(|| ProjectGrant::new(project));
        let limits = |tool: Option<&str>, limits: CallLimits| {
            let limits = limits.iter().map(|(of, calls)| Limit {
                of,
                calls,
                used: None,
                id: UsageId::of_calls(whose, &server.id, tool, of),
            });
            limits.collect::<Vec<_>>()
        };
        let tools = grant.tool_limits().iter();
        let tools = tools.map(|(tool, of_tool)| (tool.clone(), limits(Some(tool), *of_tool)));
        Self {
            limits: limits(None, grant.limits()),
            tool_limits: tools.collect(),
            unlisted: Vec::new(),
            grant,
            server,
        }
    }

    fn all_limits(&mut self) -> impl Iterator<Item = &mut Limit> {
        let of_tools = self.tool_limits.iter_mut().flat_map(|(_, limits)| limits);
        self.limits.iter_mut().chain(of_tools)
    }

    fn view(&self) -> Value {
        let tool_limits = self
            .tool_limits
            .iter()
            .map(|(tool, limits)| json!({"tool": tool, "limits": views(limits)}));
        json!({
            "name": self.server.name.as_str(),
            "display_name": self.server.display_name(),
            "source": match self.server.source {
                Source::File => "file",
                Source::Store => "store",
            },
            "tools": match self.grant.tools() {
                Some(tools) => json!(tools),
                None => json!("all"),
            },
            "limits": views(&self.limits),
            "tool_limits": tool_limits.collect::<Vec<_>>(),
            "unlisted": self.unlisted,
        })
    }
}

/// Limits by their names, each with what is used of it.
fn views(limits: &[Limit]) -> Map<String, Value> {
    let limits = limits.iter().map(|limit| {
        let view = json!({"limit": limit.calls, "used": limit.used});
        (limit.of.as_str().to_owned(), view)
    });
    limits.collect()
}
