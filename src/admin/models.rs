//! Aliases of models and default servers: one document with a version, read and replaced.

use std::sync::Arc;

use axum::{body::Bytes, extract::State};
use http::StatusCode;

use super::{
    answer::{Answer, json},
    audit::{Audit, Change},
    body::tree,
    fault::{Code, Fault},
    model_edit::Edit,
};
use crate::registry::{
    Budget, Error, ModelRules, ModelStore,
    members::{
        self, Members, Node, Step, Tree, Words, read_alias, read_default, read_rules, write_budget,
        write_rules,
    },
};

/// The list of aliases, by its name in every text.
pub(super) const ALIASES: &str = "models";
/// The list of defaults.
pub(super) const DEFAULTS: &str = "defaults";
/// How often a change of one entry is tried while others change the document. Operators are people:
/// the second try is nearly always the last.
const TRIES: usize = 5;

/// `GET /models`
pub(super) async fn read(State(models): State<Models>) -> Answer {
    json(StatusCode::OK, &models.load().await?.tree())
}

/// `PUT /models`
pub(super) async fn replace(State(models): State<Models>, body: Bytes) -> Answer {
    let before = models.load().await?;
    let (rules, version) = entered(&tree(&body)?, &before.declared).map_err(recoded)?;
    // Budgets are in the same document, and no part of this one.
    let rules = rules.with_budgets(before.stored.budgets().cloned())?;
    let stored = Arc::new(rules.clone());
    let after = Document {
        version: models.put(rules, version, replaced).await?,
        stored,
        ..before
    };
    json(StatusCode::OK, &after.tree())
}

/// The aliases and defaults of one organization.
#[derive(Clone)]
pub(super) struct Models {
    store: Option<Arc<dyn ModelStore>>,
    organization: Arc<str>,
    audit: Audit,
}

/// Aliases and defaults as they were read.
pub(super) struct Document {
    /// Those of a file, which are changed there.
    pub(super) declared: Arc<ModelRules>,
    pub(super) stored: Arc<ModelRules>,
    version: u64,
}

impl Models {
    pub(super) fn new(
        store: Option<Arc<dyn ModelStore>>,
        organization: Arc<str>,
        audit: Audit,
    ) -> Self {
        Self {
            store,
            organization,
            audit,
        }
    }

    /// Returns `true` if this side was told where they are kept.
    pub(super) fn are_kept(&self) -> bool {
        self.store.is_some()
    }

    fn store(&self) -> Result<&dyn ModelStore, Fault> {
        self.store.as_deref().ok_or_else(|| {
            let message = "nobody told this side where aliases, defaults and budgets are kept";
            Fault::new(Code::NotFound, message)
        })
    }

    pub(super) async fn load(&self) -> Result<Document, Fault> {
        let store = self.store()?;
        let (stored, version) = store.load_rules(&self.organization).await?;
        Ok(Document {
            declared: store.declared(&self.organization),
            stored,
            version,
        })
    }

    /// The rules that are in force: those of the file and those of the store.
    pub(super) fn in_force(&self) -> Arc<ModelRules> {
        let store = self.store.as_ref();
        store.map_or_else(Arc::default, |store| store.rules(&self.organization))
    }

    /// Changes one entry of the stored rules, whatever else is changed in them meanwhile.
    ///
    /// # Errors
    /// What is wrong with the entry, by its own members; [`Code::StaleVersion`] if it is not there
    /// any more as it was.
    pub(super) async fn edit(&self, list: &'static str, edit: &Edit<'_>) -> Result<(), Fault> {
        for _ in 0..TRIES {
            let document = self.load().await?;
            let (tree, place) = edit.apply(list, &document.stored).ok_or_else(stale)?;
            let rules = agreeing(&tree, &document.declared);
            let rules = rules.map_err(|fault| recoded(about_entry(fault, &tree, (list, place))))?;
            match self.put(rules, document.version, replaced).await {
                Err(fault) if fault.code() == Code::StaleVersion => {}
                done => return done.map(|_| ()),
            }
        }
        Err(stale())
    }

    /// Returns `true` if the file has a budget of `project`.
    pub(super) fn declares_budget(&self, project: &str) -> bool {
        let store = self.store.as_ref();
        let declared = store.map(|store| store.declared(&self.organization));
        declared.is_some_and(|declared| declared.budget(project).is_some())
    }

    /// Replaces the stored budget of a project, or removes it, whatever else is changed meanwhile.
    ///
    /// # Errors
    /// What is wrong with it; [`Code::NotFound`] where there is none to remove.
    pub(super) async fn set_budget(
        &self,
        project: &str,
        budget: Option<Budget>,
    ) -> Result<(), Fault> {
        for _ in 0..TRIES {
            let Document {
                stored, version, ..
            } = self.load().await?;
            if budget.is_none() && stored.budget(project).is_none() {
                let message = "this project has no budget";
                return Err(Fault::new(Code::NotFound, message));
            }
            let others = stored.budgets();
            let others = others.filter(|other| other.project() != project);
            let budgets: Vec<_> = others.cloned().chain(budget.clone()).collect();
            let rules = ModelRules::clone(&stored).with_budgets(budgets);
            let rules = rules.map_err(|error| about_budget(&error))?;
            let change = |before: &ModelRules, after: &ModelRules| {
                let [before, after] = [before, after].map(|rules| {
                    let budget = rules.budget(project).map(write_budget);
                    budget.unwrap_or_default()
                });
                let action = match budget {
                    Some(_) => "budget.replace",
                    None => "budget.remove",
                };
                Change::new(action, project).before(&before).after(&after)
            };
            match self.put(rules, version, change).await {
                Err(fault) if fault.code() == Code::StaleVersion => {}
                done => return done.map(|_| ()),
            }
        }
        Err(stale())
    }

    /// Replaces the stored rules, which is a `change` for the audit.
    async fn put(
        &self,
        rules: ModelRules,
        version: u64,
        change: impl FnOnce(&ModelRules, &ModelRules) -> Change,
    ) -> Result<u64, Fault> {
        let (aliases, defaults) = (rules.aliases().len(), rules.defaults().len());
        let store = self.store()?;
        let (before, current) = store.load_rules(&self.organization).await?;
        // What would be refused anyway is no news to the audit; the store has the last word.
        if current != version {
            return Err(stale());
        }
        let change = change(&before, &rules);
        let putting = async {
            let put = store.replace_rules(&self.organization, rules, version);
            let version = put.await.map_err(|error| recoded(error.into()))?;
            version.ok_or_else(stale)
        };
        let version = self.audit.around(change, putting).await?;
        tracing::info!(
            action = "replace",
            aliases,
            defaults,
            version,
            "aliases, defaults or budgets were changed"
        );
        Ok(version)
    }
}

impl Document {
    /// The document as it is answered.
    fn tree(&self) -> Tree<'_> {
        let list = |list: &str| -> Tree<'_> {
            let of_file = entries(&self.declared, list).into_iter();
            let of_file = of_file.map(|entry| entry.with("source", "file"));
            let stored = entries(&self.stored, list).into_iter();
            let stored = stored.map(|entry| entry.with("source", "store"));
            of_file.chain(stored).collect()
        };
        Tree::new()
            .with(ALIASES, list(ALIASES))
            .with(DEFAULTS, list(DEFAULTS))
            .with("version", self.version)
    }
}

/// The entries of a list.
pub(super) fn entries<'r>(rules: &'r ModelRules, list: &str) -> Vec<Tree<'r>> {
    write_rules(rules).get(list).items().to_vec()
}

/// The change of aliases and defaults, for the audit.
fn replaced(before: &ModelRules, after: &ModelRules) -> Change {
    let change = Change::new("models.replace", "");
    change
        .before(&write_rules(before))
        .after(&write_rules(after))
}

/// What is wrong with a budget, in the words of its rule.
fn about_budget(error: &Error) -> Fault {
    let reason = match error {
        Error::Invalid { reason, .. } => {
            reason.split_once(": ").map_or(&**reason, |(_, rule)| rule)
        }
        _ => "cannot be kept",
    };
    // Here its name is the project's.
    let message = match reason.strip_prefix("name ") {
        Some(rest) => format!("the name of the project {rest}"),
        None => format!("the budget {reason}"),
    };
    Fault::new(Code::InvalidRequest, message)
}

fn stale() -> Fault {
    let message =
        "the aliases and defaults were changed in the meantime; read them again, and change that";
    Fault::new(Code::StaleVersion, message).at("version")
}

/// What is wrong with what was sent; nothing of it is a server.
fn recoded(fault: Fault) -> Fault {
    match fault.code() {
        Code::InvalidServer => fault.with_code(Code::InvalidRequest),
        _ => fault,
    }
}

/// Reads the rules that are to be stored, and the version that they replace. Entries of the file are
/// left out: a client may send back what it has read.
fn entered(tree: &Tree<'_>, declared: &ModelRules) -> Result<(ModelRules, u64), Fault> {
    let members = Node::new(tree, &Words::JSON).table("must be an object")?;
    members.allow([ALIASES, DEFAULTS, "version"])?;
    let version = members.require("version")?.count()?;
    let (aliases, of_aliases) = own(tree, &members, ALIASES, declared)?;
    let (defaults, of_defaults) = own(tree, &members, DEFAULTS, declared)?;
    let own = Tree::new().with(ALIASES, aliases).with(DEFAULTS, defaults);
    let rules = agreeing(&own, declared).map_err(|mut fault| {
        // By the place that it was sent at.
        if let [Step::Member(list), Step::Item(at), ..] = &mut fault.path[..] {
            let places = match &**list {
                ALIASES => &of_aliases,
                _ => &of_defaults,
            };
            *at = places.get(*at).copied().unwrap_or(*at);
        }
        fault
    })?;
    Ok((rules, version))
}

/// The entries of a list that are not the file's, each with its place.
fn own<'t>(
    tree: &'t Tree<'t>,
    members: &Members<'_>,
    list: &str,
    declared: &ModelRules,
) -> Result<(Tree<'t>, Vec<usize>), Fault> {
    members.require(list)?.items("must be a list")?;
    let (mut own, mut places) = (Vec::new(), Vec::new());
    for (place, item) in tree.get(list).items().iter().enumerate() {
        let entry = without_source(item);
        let source = item.get("source");
        match source.as_text() {
            Some("file") if is_declared(list, &entry, declared) => continue,
            Some("file") => {
                let at = format!("{list}[{place}]");
                let reason = "is declared in the configuration file, and changed there";
                return Err(Fault::of(Code::DeclaredInFile, &at, reason));
            }
            Some("store") => {}
            None if source.is_null() => {}
            _ => {
                let at = format!("{list}[{place}].source");
                let reason = "must be \"store\" or \"file\"";
                return Err(Fault::of(Code::InvalidRequest, &at, reason));
            }
        }
        own.push(entry);
        places.push(place);
    }
    Ok((Tree::List(own), places))
}

/// An entry without the member that only answers have.
fn without_source<'t>(entry: &Tree<'t>) -> Tree<'t> {
    match entry {
        Tree::Table(members) => {
            let members = members.iter().filter(|(name, _)| name != "source");
            Tree::Table(members.cloned().collect())
        }
        other => other.clone(),
    }
}

fn is_declared(list: &str, entry: &Tree<'_>, declared: &ModelRules) -> bool {
    let at = Node::new(entry, &Words::JSON);
    match list {
        ALIASES => read_alias(&at).is_ok_and(|alias| declared.aliases().contains(&alias)),
        _ => read_default(&at).is_ok_and(|default| declared.defaults().contains(&default)),
    }
}

/// Reads rules that agree with each other and with those of the file.
fn agreeing(tree: &Tree<'_>, declared: &ModelRules) -> Result<ModelRules, members::Fault> {
    let members = Node::new(tree, &Words::JSON).table("must be an object")?;
    let rules = read_rules(&members)?;
    for (at, alias) in rules.aliases().iter().enumerate() {
        let mut of_file = declared.aliases().iter();
        let clash = of_file.find_map(|other| match other {
            other if other.name == alias.name => {
                Some(("name", "is that of an alias in the configuration file"))
            }
            other if other.name == alias.model => Some((
                "model",
                "is the name of an alias in the configuration file; give the model that the upstream knows",
            )),
            other if other.model == alias.name => Some((
                "name",
                "is the model of an alias in the configuration file, which cannot lead to another alias",
            )),
            _ => None,
        });
        if let Some((member, reason)) = clash {
            let mut fault = members.fault(ALIASES, reason);
            fault.path.push(Step::Item(at));
            fault.path.push(Step::Member(member.to_owned()));
            return Err(fault);
        }
    }
    Ok(rules)
}

/// A fault of the whole document as one of the entry at `place`, by the entry's own members.
fn about_entry(mut fault: members::Fault, tree: &Tree<'_>, place: (&str, usize)) -> Fault {
    match &fault.path[..] {
        [Step::Member(list), Step::Item(at)] if (&**list, *at) == place => {
            // A rule of the whole begins with the member that breaks it.
            let (member, reason) = fault.reason.split_once(' ').unwrap_or(("", &fault.reason));
            Fault::of(Code::InvalidRequest, member, reason)
        }
        [Step::Member(list), Step::Item(at), ..] if (&**list, *at) == place => {
            fault.path.drain(..2);
            fault.into()
        }
        [Step::Member(list), Step::Item(at), ..] => {
            let other = tree.get(list).items().get(*at);
            let name = other.and_then(|other| other.get("name").as_text());
            let name = name.unwrap_or("another");
            let message = format!("it does not agree with the alias {name}: {}", fault.reason);
            Fault::new(Code::InvalidRequest, message)
        }
        _ => fault.into(),
    }
}
