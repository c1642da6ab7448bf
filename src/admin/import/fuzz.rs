//! The target for files of servers.

use std::sync::LazyLock;

use futures_util::FutureExt;
use url::Url;

use super::{Imports, relaxed::relaxed, slug::slug};
use crate::{
    admin::{builder::Admin, dashboard, parts::Parts},
    fuzz_input::text,
    registry::{MemoryRegistry, members::Tree},
};

/// A secret in the file, which no answer and no fault repeats.
const SECRET: &str = "k3y-5f0c9d1e7a2b";
/// The members whose texts are secrets.
const SECRETS: [&str; 3] = ["env", "headers", "auth"];

static IMPORTS: LazyLock<Imports> = LazyLock::new(|| {
    let admin = Admin::new(
        MemoryRegistry::default(),
        dashboard::fuzz::CONNECTIONS.clone(),
        "a-token-of-many-random-characters".into(),
    );
    Parts::from(admin.expect("a token")).imports
});

/// Any text becomes a plan or faults; what is JSON already stays as it is.
pub(in crate::admin) fn mcp_json(data: &[u8]) {
    let text = text(data).as_bytes();
    let read = relaxed(text);
    assert_eq!(read.len(), text.len());
    if Tree::json(text).is_ok() {
        assert_eq!(*read, text);
    }
    let planned = IMPORTS.plan(text).now_or_never();
    let planned = planned.expect("memory is read at once");
    let told = match planned {
        Ok(plan) => {
            let told = serde_json::to_string(&plan).expect("a plan is JSON");
            for draft in &plan.drafts {
                assert!(draft.name.as_str().len() <= 40);
            }
            for rest in &plan.rest {
                let command = rest.command.as_deref().unwrap_or_default();
                assert!(!command.chars().any(char::is_control), "{command:?}");
            }
            let servers = plan.into_servers();
            assert!(
                servers
                    .iter()
                    .all(|server| server.draft && server.url.has_host())
            );
            told
        }
        Err(faults) => {
            let mut told = String::new();
            for fault in faults {
                assert!(!fault.message().chars().any(char::is_control), "{fault:?}");
                told.push_str(fault.message());
            }
            told
        }
    };
    let is_hidden = Tree::json(&read).is_ok_and(|tree| !shows(&tree));
    assert!(!is_hidden || !told.contains(SECRET), "{told}");
}

/// Returns `true` if the secret is in a text, or in what addresses and names make of one.
fn has(text: &str) -> bool {
    text.to_ascii_lowercase().contains(SECRET) || slug(text).contains(SECRET)
}

/// Returns `true` if the secret stands where no secret belongs: in a name, an address, a command.
fn shows(tree: &Tree<'_>) -> bool {
    match tree {
        Tree::Text(text) => has(text) || text.parse::<Url>().is_ok_and(|url| has(url.as_str())),
        Tree::List(items) => items.iter().any(shows),
        Tree::Table(members) => members.iter().any(|(name, value)| {
            let has_secrets = SECRETS.contains(&&**name);
            has(name) || names(value) || (!has_secrets && shows(value))
        }),
        _ => false,
    }
}

fn names(tree: &Tree<'_>) -> bool {
    match tree {
        Tree::Table(members) => members
            .iter()
            .any(|(name, value)| has(name) || names(value)),
        Tree::List(items) => items.iter().any(names),
        _ => false,
    }
}
