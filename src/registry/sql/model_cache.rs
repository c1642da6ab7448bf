//! Aliases of models and default servers in memory, since each chat completion is looked up in them.
//!
//! All of them are there from the start, and stay as they were while the database is away.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use sqlx::Row;

use super::database::{Database, sql};
use crate::registry::{
    error::Error,
    members::{Blank, Node, Tree, Words, read_rules},
    model_rules::ModelRules,
};

/// The vocabulary of a stored document. Nobody reads its messages.
const WORDS: Words = Words {
    blank: Blank::Kept,
    ..Words::JSON
};

/// The rules of each organization with their version.
type Documents = HashMap<String, (Arc<ModelRules>, u64)>;

/// The rules of all organizations, in memory.
#[derive(Default)]
pub(super) struct Models(ArcSwap<Documents>);

impl Models {
    /// Reads all of them anew.
    pub(super) async fn read_all(&self, database: &Database) -> Result<(), Error> {
        let rows = sql("SELECT organization, version, rules FROM mcp_models")
            .fetch_all(&mut *database.reading().await?)
            .await?;
        let mut documents = Documents::with_capacity(rows.len());
        for row in &rows {
            let organization: &str = row.try_get(0)?;
            let version = row.try_get::<i64, _>(1)?.unsigned_abs();
            let rules = read(row.try_get(2)?).unwrap_or_else(|| self.unreadable(organization));
            documents.insert(organization.to_owned(), (rules, version));
        }
        self.0.store(Arc::new(documents));
        Ok(())
    }

    /// Reads those of one organization anew.
    pub(super) async fn read_one(
        &self,
        database: &Database,
        organization: &str,
    ) -> Result<(), Error> {
        let (rules, version) = stored(database, organization).await?;
        let rules = rules.unwrap_or_else(|| self.unreadable(organization));
        self.set(organization, rules, version);
        Ok(())
    }

    /// Those that are in force, of an organization whose document cannot be read.
    fn unreadable(&self, organization: &str) -> Arc<ModelRules> {
        tracing::error!(
            organization,
            "the stored aliases and defaults of models cannot be read; those of before stay"
        );
        self.get(organization)
    }

    pub(super) fn get(&self, organization: &str) -> Arc<ModelRules> {
        let documents = self.0.load();
        let found = documents.get(organization);
        found.map(|(rules, _)| rules.clone()).unwrap_or_default()
    }

    /// Puts rules in force, unless later ones are.
    pub(super) fn set(&self, organization: &str, rules: Arc<ModelRules>, version: u64) {
        self.0.rcu(|documents| {
            let mut documents = Documents::clone(documents);
            let known = documents.get(organization).map(|(_, version)| *version);
            if known.is_none_or(|known| known <= version) {
                documents.insert(organization.to_owned(), (rules.clone(), version));
            }
            documents
        });
    }
}

/// The stored rules of an organization, unless they cannot be read, and their version.
pub(super) async fn stored(
    database: &Database,
    organization: &str,
) -> Result<(Option<Arc<ModelRules>>, u64), Error> {
    let row = sql("SELECT version, rules FROM mcp_models WHERE organization = $1")
        .bind(organization)
        .fetch_optional(&mut *database.reading().await?)
        .await?;
    let Some(row) = row else {
        return Ok((Some(Arc::default()), 0));
    };
    let version = row.try_get::<i64, _>(0)?.unsigned_abs();
    Ok((read(row.try_get(1)?), version))
}

/// The rules that a document has; `None` if it has anything else.
fn read(text: &str) -> Option<Arc<ModelRules>> {
    let tree = Tree::json(text.as_bytes()).ok()?;
    let members = Node::new(&tree, &WORDS).table("must be an object").ok()?;
    members.allow(["models", "defaults", "projects"]).ok()?;
    read_rules(&members).ok().map(Arc::new)
}
