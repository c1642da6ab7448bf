//! Aliases of models, default servers and budgets: what an operator decides about the models of
//! callers.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{budget::Budget, error::Error, projects::Projects};
use crate::{
    name::ServerName,
    pattern::{Starts, fits},
    unseen::is_unseen,
};

/// The most aliases and defaults of an organization together: people can still tell them apart, and
/// every replica has them in memory.
const ENTRIES: usize = 1000;
/// The most budgets: of as many projects as a server may have.
const BUDGETS: usize = 1000;
/// The longest name of a model or a project, and the longest pattern, in bytes: names of models with
/// their publishers and versions have up to a hundred.
const NAME_LEN: usize = 256;
/// The most servers of an entry: each has a tool at least, and more tools do not fit into a request.
const SERVERS: usize = 128;
/// The most projects of an alias, as a server may have.
const PROJECTS: usize = 1000;
/// The most patterns of a default.
const PATTERNS: usize = 100;

/// A name that callers may use as their `model`, to get another model with the tools of servers.
///
/// For clients where only the name of the model can be chosen. See [`ModelRules`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelAlias {
    /// The name that callers use.
    pub name: String,
    /// The model that the upstream is asked for.
    pub model: String,
    /// The servers, at least one.
    pub servers: Vec<ServerName>,
    /// The projects that have the alias; default all.
    pub projects: Projects,
}

/// The servers that requests of a project get which ask for none.
///
/// A default never fails a request that would pass without it, and changes none that forbids or
/// forces tools: it is left out then, and the receipt says why. See [`ModelRules`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DefaultServers {
    /// The project whose requests these are.
    pub project: String,
    /// Patterns of their models, in which `*` stands for any text; at least one.
    pub models: Vec<String>,
    /// The servers, at least one.
    pub servers: Vec<ServerName>,
}

/// The aliases, defaults and budgets of one organization, which agree with each other.
///
/// - No two aliases that a project has are of one name.
/// - No alias leads to an alias, itself included, whoever has that one.
/// - Of defaults that fit a request, the first counts.
/// - There are at most 1,000 of both together. Names and patterns have 1 to 256 bytes, without
///   invisible characters and without blanks around them; aliases and their models are names, and no
///   patterns. Each entry has at least one server, at most 128, each once.
/// - A project has at most one budget, which limits something. There are at most 1,000.
///
/// Whether there are such servers is seen when a request asks for them.
///
/// ```
/// use mcp_layer::registry::{DefaultServers, ModelAlias, ModelRules};
///
/// let docs = "docs".parse::<mcp_layer::ServerName>()?;
/// let alias = ModelAlias::new("gpt-5-docs", "gpt-5", [docs.clone()]);
/// let default = DefaultServers::new("web", [docs]).with_models(["gpt-5*"]);
/// let rules = ModelRules::new([alias.clone()], [default])?;
/// assert_eq!(rules.alias("web", "gpt-5-docs"), Some(&alias));
/// assert!(rules.default_servers("web", "gpt-5-mini").is_some());
///
/// let circle = ModelAlias::new("gpt-5", "gpt-5-docs", alias.servers.clone());
/// assert!(ModelRules::new([alias, circle], []).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelRules {
    aliases: Vec<ModelAlias>,
    defaults: Vec<DefaultServers>,
    /// By project.
    budgets: BTreeMap<String, Budget>,
    index: Index,
}

/// The entries by what they are looked for by: every chat completion is looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Index {
    aliases: HashMap<String, Vec<usize>>,
    /// The lengths of their names, a bit each, and the last for all longer ones: most names of models
    /// are ruled out by theirs.
    lengths: u64,
    /// The patterns of each project, in the order of their names.
    patterns: Vec<(String, Starts)>,
}

impl ModelAlias {
    /// Creates an alias that all projects have.
    pub fn new(
        name: impl Into<String>,
        model: impl Into<String>,
        servers: impl IntoIterator<Item = ServerName>,
    ) -> Self {
        Self {
            name: name.into(),
            model: model.into(),
            servers: servers.into_iter().collect(),
            projects: Projects::All,
        }
    }

    /// Replaces the projects that have it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty list.
    pub fn with_projects<P: Into<String>>(
        mut self,
        projects: impl IntoIterator<Item = P>,
    ) -> Result<Self, Error> {
        self.projects = Projects::only(projects)?;
        Ok(self)
    }

    /// Returns it with each server once, or the rule that it breaks.
    fn checked(mut self) -> Result<Self, String> {
        name("name", &self.name)?;
        name("model", &self.model)?;
        self.servers = servers(self.servers)?;
        if let Projects::Only(projects) = &self.projects {
            count("projects", projects.len(), PROJECTS)?;
            projects.iter().try_for_each(|one| text("projects", one))?;
        }
        Ok(self)
    }
}

impl DefaultServers {
    /// Creates a default for requests of `project` to models of any name.
    pub fn new(project: impl Into<String>, servers: impl IntoIterator<Item = ServerName>) -> Self {
        Self {
            project: project.into(),
            models: vec!["*".to_owned()],
            servers: servers.into_iter().collect(),
        }
    }

    /// Replaces the patterns of models.
    #[must_use]
    pub fn with_models<P: Into<String>>(mut self, models: impl IntoIterator<Item = P>) -> Self {
        self.models = models.into_iter().map(Into::into).collect();
        self
    }

    /// Returns it with each server once, or the rule that it breaks.
    fn checked(mut self) -> Result<Self, String> {
        text("project", &self.project)?;
        count("models", self.models.len(), PATTERNS)?;
        self.models.iter().try_for_each(|one| text("models", one))?;
        self.servers = servers(self.servers)?;
        Ok(self)
    }
}

impl ModelRules {
    /// Creates rules of these aliases and defaults.
    ///
    /// # Errors
    /// [`Error::Invalid`] if they break a rule: its `field` is `models` for an alias and `defaults`
    /// for a default, and its reason begins with the entry's place, from 0: `[3]: servers …`.
    pub fn new(
        aliases: impl IntoIterator<Item = ModelAlias>,
        defaults: impl IntoIterator<Item = DefaultServers>,
    ) -> Result<Self, Error> {
        Ok(Self::build(aliases, defaults)?)
    }

    /// [`new`](Self::new), for those who can point at an entry.
    pub(crate) fn build(
        aliases: impl IntoIterator<Item = ModelAlias>,
        defaults: impl IntoIterator<Item = DefaultServers>,
    ) -> Result<Self, Broken> {
        // One more is enough to know.
        let aliases = aliases.into_iter().take(ENTRIES + 1).enumerate();
        let aliases =
            aliases.map(|(at, alias)| alias.checked().map_err(Broken::of(List::Models, at)));
        let aliases = aliases.collect::<Result<Vec<_>, _>>()?;
        let defaults = defaults.into_iter().take(ENTRIES + 1).enumerate();
        let defaults =
            defaults.map(|(at, rule)| rule.checked().map_err(Broken::of(List::Defaults, at)));
        let defaults = defaults.collect::<Result<Vec<_>, _>>()?;
        if aliases.len() + defaults.len() > ENTRIES {
            return Err(Broken {
                list: List::Models,
                at: None,
                reason: format!("there are more than {ENTRIES} aliases and defaults"),
            });
        }
        check_names(&aliases)?;
        let index = Index::of(&aliases, &defaults);
        Ok(Self {
            aliases,
            defaults,
            budgets: BTreeMap::new(),
            index,
        })
    }

    /// Replaces the budgets of projects; by default there are none.
    ///
    /// # Errors
    /// [`Error::Invalid`] if they break a rule; its `field` is `projects`, and its reason as that of
    /// [`new`](Self::new).
    pub fn with_budgets(self, budgets: impl IntoIterator<Item = Budget>) -> Result<Self, Error> {
        Ok(self.budgeted(budgets)?)
    }

    /// [`with_budgets`](Self::with_budgets), for those who can point at an entry.
    pub(crate) fn budgeted(
        mut self,
        budgets: impl IntoIterator<Item = Budget>,
    ) -> Result<Self, Broken> {
        self.budgets.clear();
        for (at, budget) in budgets.into_iter().enumerate() {
            let broken = |reason: &str| Broken::of(List::Projects, at)(reason.to_owned());
            text("name", budget.project()).map_err(|reason| broken(&reason))?;
            if budget.tokens_per_day().is_none() && budget.cost_nanos().is_none() {
                return Err(broken("limits neither tokens_per_day nor cost_per_day"));
            }
            if at == BUDGETS {
                return Err(broken("is one more than the 1000 that there may be"));
            }
            let project = budget.project().to_owned();
            if self.budgets.insert(project, budget).is_some() {
                return Err(broken("name is that of another entry"));
            }
        }
        Ok(self)
    }

    /// The aliases, in the order in which they were given.
    pub fn aliases(&self) -> &[ModelAlias] {
        &self.aliases
    }

    /// The defaults, in the order in which they were given.
    pub fn defaults(&self) -> &[DefaultServers] {
        &self.defaults
    }

    /// The budgets, by project.
    pub fn budgets(&self) -> impl ExactSizeIterator<Item = &Budget> {
        self.budgets.values()
    }

    /// The budget of `project`.
    pub fn budget(&self, project: &str) -> Option<&Budget> {
        self.budgets.get(project)
    }

    /// Returns `true` if there is nothing at all.
    #[cfg(feature = "file")]
    pub(super) fn are_none(&self) -> bool {
        self.is_empty() && self.budgets.is_empty()
    }

    /// Returns `true` if there is neither an alias nor a default.
    pub fn is_empty(&self) -> bool {
        self.aliases.is_empty() && self.defaults.is_empty()
    }

    /// The alias that `model` is for `project`.
    pub fn alias(&self, project: &str, model: &str) -> Option<&ModelAlias> {
        if self.index.lengths & length(model) == 0 {
            return None;
        }
        let aliases = self.index.aliases.get(model)?.iter();
        let mut aliases = aliases.map(|at| &self.aliases[*at]);
        aliases.find(|alias| alias.projects.contains(project))
    }

    /// The servers that a request of `project` for `model` gets: those of the first default that
    /// is for it. A request that names no model is one for `""`, which only `*` fits.
    pub fn default_servers(&self, project: &str, model: &str) -> Option<&DefaultServers> {
        let patterns = &self.index.patterns;
        let of_project = patterns.binary_search_by(|(other, _)| (**other).cmp(project));
        let (_, starts) = &patterns[of_project.ok()?];
        let is_for = |at: &usize| {
            let mut models = self.defaults[*at].models.iter();
            models.any(|pattern| fits(pattern, model))
        };
        let first = starts.near(model).filter(is_for).min()?;
        Some(&self.defaults[first])
    }

    /// Returns `true` if `project` has an alias or a default for `model`.
    pub(crate) fn concern(&self, project: &str, model: &str) -> bool {
        self.alias(project, model).is_some() || self.default_servers(project, model).is_some()
    }
}

/// The length of a name as a bit.
fn length(name: &str) -> u64 {
    1 << name.len().min(63)
}

/// One of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Models,
    Defaults,
    Projects,
}

/// An entry that breaks a rule.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) list: List,
    /// Its place in the list; `None` if it is the list itself.
    pub(crate) at: Option<usize>,
    /// The rule, in words that begin with the member.
    pub(crate) reason: String,
}

impl List {
    /// Its name, as every text has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Models => "models",
            Self::Defaults => "defaults",
            Self::Projects => "projects",
        }
    }
}

impl Broken {
    fn of(list: List, at: usize) -> impl Fn(String) -> Self {
        move |reason| Self {
            list,
            at: Some(at),
            reason,
        }
    }
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        let reason = match broken.at {
            Some(at) => format!("[{at}]: {}", broken.reason),
            None => broken.reason,
        };
        Self::invalid(broken.list.name(), reason)
    }
}

impl Index {
    fn of(aliases: &[ModelAlias], defaults: &[DefaultServers]) -> Self {
        let mut index = Self::default();
        for (at, alias) in aliases.iter().enumerate() {
            let named = index.aliases.entry(alias.name.clone());
            named.or_default().push(at);
            index.lengths |= length(&alias.name);
        }
        let mut patterns: BTreeMap<&str, Starts> = BTreeMap::new();
        for (at, rule) in defaults.iter().enumerate() {
            let of_project = patterns.entry(&rule.project).or_default();
            rule.models
                .iter()
                .for_each(|pattern| of_project.add(pattern, at));
        }
        let patterns = patterns.into_iter();
        index.patterns = patterns
            .map(|(project, starts)| (project.to_owned(), starts))
            .collect();
        index
    }
}

/// Checks that no project has two aliases of one name, and that none leads to an alias.
fn check_names(aliases: &[ModelAlias]) -> Result<(), Broken> {
    let names: HashSet<&str> = aliases.iter().map(|alias| &*alias.name).collect();
    // Those who have an alias of a name already; `None` for all.
    let mut taken: HashMap<&str, HashSet<Option<&str>>> = HashMap::new();
    for (at, alias) in aliases.iter().enumerate() {
        let broken = |reason: &str| Broken::of(List::Models, at)(reason.to_owned());
        if names.contains(&*alias.model) {
            return Err(broken(
                "model is the name of an alias; give the model that the upstream knows",
            ));
        }
        let taken = taken.entry(&alias.name).or_default();
        let is_free = match &alias.projects {
            Projects::All => taken.is_empty(),
            Projects::Only(projects) => {
                let mut projects = projects.iter();
                !taken.contains(&None) && projects.all(|one| !taken.contains(&Some(&**one)))
            }
        };
        if !is_free {
            return Err(broken(
                "name is that of another alias which the same project has",
            ));
        }
        match &alias.projects {
            Projects::All => taken.extend([None]),
            Projects::Only(projects) => taken.extend(projects.iter().map(|one| Some(&**one))),
        }
    }
    Ok(())
}

/// Checks a name that is no pattern.
fn name(member: &str, name: &str) -> Result<(), String> {
    text(member, name)?;
    match name.contains('*') {
        true => Err(format!("{member} is a name, which has no *")),
        false => Ok(()),
    }
}

fn text(member: &str, text: &str) -> Result<(), String> {
    let has_blanks = text.trim() != text || text.contains(|c: char| c.is_control() || is_unseen(c));
    match text.len() {
        0 => Err(format!("{member} has an empty text")),
        1..=NAME_LEN if has_blanks => Err(format!(
            "{member} has an invisible character, or a blank at an end"
        )),
        1..=NAME_LEN => Ok(()),
        _ => Err(format!("{member} has more than {NAME_LEN} bytes")),
    }
}

fn count(member: &str, count: usize, most: usize) -> Result<(), String> {
    match count {
        0 => Err(format!("{member} is empty")),
        count if count > most => Err(format!("{member} has more than {most}")),
        _ => Ok(()),
    }
}

/// Each of `servers` once, in their order.
fn servers(mut servers: Vec<ServerName>) -> Result<Vec<ServerName>, String> {
    let mut seen = HashSet::new();
    servers.retain(|server| seen.insert(server.clone()));
    count("servers", servers.len(), SERVERS)?;
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str) -> ServerName {
        name.parse().unwrap()
    }

    fn alias(name: &str, model: &str) -> ModelAlias {
        ModelAlias::new(name, model, [server("s")])
    }

    fn default(project: &str, models: &[&str]) -> DefaultServers {
        DefaultServers::new(project, [server("s")]).with_models(models.iter().copied())
    }

    fn fault(
        aliases: impl IntoIterator<Item = ModelAlias>,
        defaults: impl IntoIterator<Item = DefaultServers>,
    ) -> String {
        ModelRules::new(aliases, defaults).unwrap_err().to_string()
    }

    #[test]
    fn an_alias_is_that_of_the_callers_project() {
        let of = |project| alias("a", project).with_projects([project]).unwrap();
        let rules = ModelRules::new([of("web"), of("batch"), alias("b", "m")], []).unwrap();
        let model = |project, name| rules.alias(project, name).map(|alias| &*alias.model);
        assert_eq!(model("web", "a"), Some("web"));
        assert_eq!(model("batch", "a"), Some("batch"));
        assert_eq!(model("other", "a"), None);
        assert_eq!(model("other", "b"), Some("m"));
        assert_eq!(model("web", "m"), None);
    }

    #[test]
    fn of_defaults_the_first_that_fits_counts() {
        let mut last = default("web", &["*"]);
        last.servers = vec![server("last")];
        let rules = [
            default("web", &["gpt-5*", "o3"]),
            default("x", &["*"]),
            last,
        ];
        let rules = ModelRules::new([], rules).unwrap();
        let found = |model| rules.default_servers("web", model).unwrap().servers[0].to_string();
        assert_eq!(found("gpt-5-mini"), "s");
        assert_eq!(found("o3"), "s");
        assert_eq!(found("o3-mini"), "last");
        assert_eq!(found(""), "last");
        assert_eq!(rules.default_servers("other", "o3"), None);
    }

    #[test]
    fn no_alias_leads_to_an_alias() {
        let expected =
            "models: [0]: model is the name of an alias; give the model that the upstream knows";
        assert_eq!(fault([alias("a", "a")], []), expected);
        assert_eq!(fault([alias("a", "b"), alias("b", "m")], []), expected);
        let others = alias("b", "m").with_projects(["other"]).unwrap();
        assert_eq!(fault([alias("a", "b"), others], []), expected);
    }

    #[test]
    fn no_project_has_two_aliases_of_one_name() {
        let of = |projects: &[&str]| {
            let projects = projects.iter().copied();
            alias("a", "m").with_projects(projects).unwrap()
        };
        assert!(ModelRules::new([of(&["x"]), of(&["y", "z"])], []).is_ok());
        for two in [
            [of(&["x", "y"]), of(&["y"])],
            [alias("a", "m"), of(&["x"])],
            [of(&["x"]), alias("a", "n")],
        ] {
            assert_eq!(
                fault(two, []),
                "models: [1]: name is that of another alias which the same project has"
            );
        }
    }

    #[test]
    fn every_fault_names_its_entry_and_its_member() {
        let long = "x".repeat(NAME_LEN + 1);
        let mut nobody = alias("a", "m");
        nobody.projects = Projects::Only([].into());
        for (faulty, expected) in [
            (alias("", "m"), "name has an empty text"),
            (alias("a*", "m"), "name is a name, which has no *"),
            (alias("a", "m*"), "model is a name, which has no *"),
            (alias("a", &long), "model has more than 256 bytes"),
            (
                alias(" a", "m"),
                "name has an invisible character, or a blank at an end",
            ),
            (
                alias("a\nb", "m"),
                "name has an invisible character, or a blank at an end",
            ),
            (ModelAlias::new("a", "m", []), "servers is empty"),
            (nobody, "projects is empty"),
        ] {
            let good = alias("good", "m");
            assert_eq!(
                fault([good, faulty], []),
                format!("models: [1]: {expected}")
            );
        }
        for (faulty, expected) in [
            (default("", &["*"]), "project has an empty text"),
            (default("web", &[]), "models is empty"),
            (default("web", &["*", ""]), "models has an empty text"),
            (DefaultServers::new("web", []), "servers is empty"),
        ] {
            assert_eq!(fault([], [faulty]), format!("defaults: [0]: {expected}"));
        }
    }

    #[test]
    fn there_is_an_end_to_entries_and_servers_and_a_server_counts_once() {
        let many = |count| (0..count).map(|at| alias(&format!("a{at}"), "m"));
        assert!(ModelRules::new(many(999), [default("web", &["*"])]).is_ok());
        let expected = "models: there are more than 1000 aliases and defaults";
        assert_eq!(fault(many(1000), [default("web", &["*"])]), expected);
        assert_eq!(fault(many(5000), []), expected);

        let servers = (0..129).map(|at| server(&format!("s{at}")));
        let expected = "models: [0]: servers has more than 128";
        assert_eq!(fault([ModelAlias::new("a", "m", servers)], []), expected);
        let twice = ["b", "a", "b"].map(server);
        let rules = ModelRules::new([ModelAlias::new("a", "m", twice)], []).unwrap();
        assert_eq!(rules.aliases()[0].servers, ["b", "a"].map(server));
    }
}
