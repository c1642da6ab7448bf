//! Aliases of models and default servers, one document for each organization. They have no secrets, and
//! are not sealed.

use std::sync::Arc;

use super::{
    database::{Database, sql},
    follow,
    model_cache::stored,
    registry::SqlRegistry,
    text,
};
use crate::registry::{
    error::Error,
    future::BoxFuture,
    members::write_rules,
    model_rules::ModelRules,
    model_store::{ModelRegistry, ModelStore},
};

/// The longest document in bytes: a thousand aliases of a few servers and projects have a fifth.
const DOCUMENT_LEN: usize = 1 << 20;

impl ModelRegistry for SqlRegistry {
    fn rules(&self, organization: &str) -> Arc<ModelRules> {
        self.shared.models.get(organization)
    }
}

impl ModelStore for SqlRegistry {
    fn load_rules<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<(Arc<ModelRules>, u64), Error>> {
        Box::pin(async move {
            if !text::fits(organization) {
                return Ok(Default::default());
            }
            let database = &self.shared.database;
            let (rules, version) = database.in_time(stored(database, organization)).await?;
            let rules = rules.ok_or_else(|| Error::unavailable("a document cannot be read"))?;
            Ok((rules, version))
        })
    }

    fn replace_rules<'a>(
        &'a self,
        organization: &'a str,
        rules: ModelRules,
        version: u64,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(async move {
            text::check("organization", organization)?;
            let written = written(&rules)?;
            let database = &self.shared.database;
            let replaced = database.in_time(replaced(database, organization, &written, version));
            let next = replaced.await?;
            if let Some(next) = next {
                self.shared.models.set(organization, Arc::new(rules), next);
            }
            Ok(next)
        })
    }
}

/// Replaces a document, if this is its version; 0 where there is none.
async fn replaced(
    database: &Database,
    organization: &str,
    rules: &str,
    version: u64,
) -> Result<Option<u64>, Error> {
    let Ok(next) = i64::try_from(version.saturating_add(1)) else {
        return Ok(None);
    };
    let mut tx = database.begin().await?;
    let change = match version {
        0 => sql(
            "INSERT INTO mcp_models (organization, version, rules) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        ),
        _ => sql("UPDATE mcp_models SET version = $2, rules = $3
             WHERE organization = $1 AND version = $2 - 1"),
    };
    let changed = change
        .bind(organization)
        .bind(next)
        .bind(rules)
        .execute(&mut *tx)
        .await?;
    if changed.rows_affected() == 0 {
        return Ok(None);
    }
    follow::note_models(&mut tx, database, organization).await?;
    tx.commit().await?;
    Ok(Some(next.unsigned_abs()))
}

fn written(rules: &ModelRules) -> Result<String, Error> {
    // Trees do not fail to be written.
    let text = serde_json::to_string(&write_rules(rules)).map_err(Error::unavailable)?;
    if text.len() > DOCUMENT_LEN {
        let reason = format!("all of them together are longer than {DOCUMENT_LEN} bytes");
        return Err(Error::invalid("models", reason));
    }
    Ok(text)
}
