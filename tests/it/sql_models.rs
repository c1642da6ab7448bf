//! Aliases and defaults in SQLite: followed by other processes, and in force while it is away.

use std::time::Duration;

use mcp_layer::registry::{
    DefaultServers, ModelAlias, ModelRegistry, ModelRules, ModelStore, ServerStore, SqlRegistry,
};
use mcp_layer::secret::KeyRing;

use crate::support::directory::Directory;
use crate::support::sql::{intruder, open, run, server};

fn rules(model: &str) -> ModelRules {
    let server = || "s".parse().unwrap();
    let alias = ModelAlias::new("alias", model, [server()]);
    let default = DefaultServers::new("web", [server()]).with_models(["gpt-5*"]);
    ModelRules::new([alias], [default]).unwrap()
}

/// Waits until the aliases of the organization lead to this model.
async fn leads_to(registry: &SqlRegistry, organization: &str, model: &str) {
    for _ in 0..40 {
        let rules = registry.rules(organization);
        if rules
            .aliases()
            .first()
            .is_some_and(|alias| alias.model == model)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the change is not in force");
}

#[tokio::test]
async fn a_change_is_in_force_in_another_process_within_a_second_and_outlives_a_restart() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    for (version, model) in ["m", "n"].into_iter().enumerate() {
        let replaced = one.replace_models("default", model, version as u64).await;
        assert_eq!(replaced, version as u64 + 1);
        leads_to(&other, "default", model).await;
    }
    one.replace_models("other", "o", 0).await;
    leads_to(&other, "other", "o").await;
    assert_eq!(*other.rules("default"), rules("n"));
    // A change of a server between two changes of aliases.
    one.insert(server("s")).await.unwrap();
    other.replace_models("other", "p", 1).await;
    leads_to(&one, "other", "p").await;

    drop((one, other));
    let again = open(&url, &ring).await;
    assert_eq!((*again.rules("default")).clone(), rules("n"));
    assert_eq!(again.load_rules("default").await.unwrap().1, 2);
}

trait Replace {
    async fn replace_models(&self, organization: &str, model: &str, version: u64) -> u64;
}

impl Replace for SqlRegistry {
    async fn replace_models(&self, organization: &str, model: &str, version: u64) -> u64 {
        let replaced = self
            .replace_rules(organization, rules(model), version)
            .await;
        replaced.unwrap().expect("nobody was faster")
    }
}

#[tokio::test]
async fn changes_that_were_missed_are_read_anew() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    one.replace_models("default", "m", 0).await;
    let mut intruder = intruder(&url).await;
    run(
        &mut intruder,
        "DELETE FROM mcp_changes; UPDATE mcp_counters SET value = value + 1000
         WHERE name = 'revision'",
    )
    .await;
    leads_to(&other, "default", "m").await;
}

#[tokio::test]
async fn what_cannot_be_read_changes_nothing_and_is_no_reason_not_to_start() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    registry.replace_models("default", "m", 0).await;
    let mut intruder = intruder(&url).await;
    for broken in ["", "[]", "{\"models\":[{\"name\":\"x\"}]}", "{\"more\":1}"] {
        let change = format!(
            "UPDATE mcp_models SET rules = '{broken}', version = version + 1;
             UPDATE mcp_counters SET value = value + 1000 WHERE name = 'revision'"
        );
        run(&mut intruder, &change).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*registry.rules("default"), rules("m"), "{broken}");
        assert!(registry.load_rules("default").await.is_err());
    }
    let started = open(&url, &ring).await;
    assert!(started.rules("default").is_empty());
    // Whoever repairs it knows the version.
    started.replace_models("default", "n", 5).await;
    leads_to(&registry, "default", "n").await;
}
