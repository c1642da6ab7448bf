//! The contract of [`ModelStore`], a function per clause; each needs an empty store.

use futures_util::future::join_all;

use super::clauses;
use crate::{
    name::ServerName,
    registry::{
        budget::Budget,
        model_rules::{DefaultServers, ModelAlias, ModelRules},
        model_store::ModelStore,
    },
};

clauses! {
    /// Runs every clause, each with an empty store from `make`.
    all(ModelStore) {
        an_organization_without_rules_has_none_at_version_0
        what_is_stored_is_in_force_at_once_and_loads_as_it_is
        rules_that_somebody_else_has_changed_are_not_replaced
        of_writers_at_once_one_wins
        an_organization_has_rules_of_its_own
        rules_are_replaced_by_none
        odd_names_do_no_harm
    }
}

fn server(name: &str) -> ServerName {
    name.parse().unwrap()
}

/// Rules with an alias and a default of several members each.
fn rules(model: &str) -> ModelRules {
    let alias = ModelAlias::new("alias", model, ["b", "a"].map(server));
    let alias = alias.with_projects(["web", "batch"]).unwrap();
    let open = ModelAlias::new("open", model, [server("a")]);
    let default = DefaultServers::new("web", [server("a")]).with_models(["gpt-5*", model]);
    let budget = Budget::new("web").with_tokens_per_day(1_000_000).unwrap();
    let budget = budget.with_cost_per_day(0.25).unwrap();
    let rules = ModelRules::new([alias, open], [default]).unwrap();
    rules.with_budgets([budget]).unwrap()
}

/// Nobody has stored anything: that is no error, and its version is 0.
pub async fn an_organization_without_rules_has_none_at_version_0(store: impl ModelStore) {
    assert!(store.rules("default").is_empty());
    assert!(store.declared("default").is_empty());
    let (loaded, version) = store.load_rules("default").await.unwrap();
    assert!(loaded.is_empty());
    assert_eq!(version, 0);
}

/// Once a replacement is answered, requests of this process go by it; nothing of it is lost.
pub async fn what_is_stored_is_in_force_at_once_and_loads_as_it_is(store: impl ModelStore) {
    let mut version = 0;
    for model in ["m", "n"] {
        let next = store.replace_rules("default", rules(model), version).await;
        let next = next.unwrap().unwrap();
        assert!(next > version, "{next}");
        version = next;
        assert_eq!(*store.rules("default"), rules(model));
        let (loaded, loaded_version) = store.load_rules("default").await.unwrap();
        assert_eq!((&*loaded, loaded_version), (&rules(model), version));
    }
}

/// Whoever has read an older version, or none, reads again first.
pub async fn rules_that_somebody_else_has_changed_are_not_replaced(store: impl ModelStore) {
    for version in [1, u64::MAX] {
        let refused = store
            .replace_rules("default", rules("early"), version)
            .await;
        assert_eq!(refused.unwrap(), None);
    }
    let first = store
        .replace_rules("default", rules("first"), 0)
        .await
        .unwrap();
    let first = first.unwrap();
    let second = store.replace_rules("default", rules("second"), first).await;
    let second = second.unwrap().unwrap();
    for version in [0, first, second + 1, u64::MAX] {
        let refused = store.replace_rules("default", rules("late"), version).await;
        assert_eq!(refused.unwrap(), None, "{version}");
    }
    let (loaded, version) = store.load_rules("default").await.unwrap();
    assert_eq!((&*loaded, version), (&rules("second"), second));
    assert_eq!(*store.rules("default"), rules("second"));
}

/// Of replacements of one version exactly one is written.
pub async fn of_writers_at_once_one_wins(store: impl ModelStore) {
    let mut version = 0;
    for round in 0..3 {
        let models: Vec<_> = (0..4).map(|at| format!("m{round}-{at}")).collect();
        let writers = models
            .iter()
            .map(|model| store.replace_rules("default", rules(model), version));
        let written = join_all(writers).await;
        let written = written.into_iter().map(Result::unwrap).zip(&models);
        let mut winners = written.filter_map(|(next, model)| Some((next?, model)));
        let (next, model) = winners.next().expect("a winner");
        assert_eq!(winners.next(), None);
        assert_eq!(*store.load_rules("default").await.unwrap().0, rules(model));
        version = next;
    }
}

/// Names and versions of one organization are nothing to another.
pub async fn an_organization_has_rules_of_its_own(store: impl ModelStore) {
    for organization in ["default", "other", "Other", "other "] {
        let model = format!("m-{organization}!");
        let written = store.replace_rules(organization, rules(&model), 0).await;
        assert!(written.unwrap().is_some(), "{organization}");
    }
    for organization in ["default", "other", "Other", "other "] {
        let expected = rules(&format!("m-{organization}!"));
        assert_eq!(*store.rules(organization), expected);
        assert_eq!(*store.load_rules(organization).await.unwrap().0, expected);
    }
    assert!(store.rules("nobody").is_empty());
}

/// An operator removes the last entry: the version counts on.
pub async fn rules_are_replaced_by_none(store: impl ModelStore) {
    let first = store.replace_rules("default", rules("m"), 0).await.unwrap();
    let first = first.unwrap();
    let emptied = store
        .replace_rules("default", ModelRules::default(), first)
        .await;
    let emptied = emptied.unwrap().unwrap();
    assert!(emptied > first);
    assert!(store.rules("default").is_empty());
    let (loaded, version) = store.load_rules("default").await.unwrap();
    assert!(loaded.is_empty() && version == emptied);
    assert_eq!(
        store.replace_rules("default", rules("n"), 0).await.unwrap(),
        None
    );
}

/// Names are any texts, and so are organizations, which callers' keys may bring.
pub async fn odd_names_do_no_harm(store: impl ModelStore) {
    let odd = [
        "'; DROP TABLE",
        "\"\\{}[]",
        "é😀\u{301}",
        "a/b:c@d#e?f=g&h%00",
        "<b>",
    ];
    let aliases = odd.map(|name| ModelAlias::new(name, format!("to {name}"), [server("a")]));
    let defaults =
        odd.map(|name| DefaultServers::new(name, [server("a")]).with_models([name, "*"]));
    let rules = ModelRules::new(aliases, defaults).unwrap();
    let written = store.replace_rules("default", rules.clone(), 0).await;
    assert!(written.unwrap().is_some());
    assert_eq!(*store.load_rules("default").await.unwrap().0, rules);
    for organization in ["", "\0", "'; DROP TABLE", &"x".repeat(5000)] {
        assert!(store.rules(organization).is_empty());
        let loaded = store.load_rules(organization).await;
        assert!(loaded.is_ok_and(|(rules, version)| rules.is_empty() && version == 0));
    }
}
