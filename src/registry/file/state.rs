//! What a file declares, and the identities that survive a reload.

use std::{collections::BTreeMap, sync::Arc};

use secrecy::ExposeSecret;

use crate::{
    name::ServerName,
    registry::{
        ModelRules, Server,
        members::{self, Tree, Writer},
    },
};

/// What a file declares.
#[derive(Default)]
pub(in crate::registry) struct Declared {
    pub(in crate::registry) servers: Servers,
    /// Its aliases of models and default servers.
    pub(in crate::registry) models: Arc<ModelRules>,
}

/// The servers by name; a file has one organization.
pub(in crate::registry) type Servers = BTreeMap<ServerName, Arc<Server>>;

/// The state that follows `old` once the file says `read`.
///
/// A server keeps its record while its entry is unchanged, so that sessions and tool lists live on.
/// A server that was removed and added again has its old identity, too: stored data goes by it, and
/// a process that has just started cannot know what the file said in the meantime.
pub(super) fn after(old: &Declared, (read, models): (Vec<Server>, ModelRules)) -> Declared {
    let servers = read.into_iter().map(|server| {
        let name = server.name.clone();
        let server = match old.servers.get(&name) {
            Some(old) if is_same(old, &server) => old.clone(),
            Some(old) => Arc::new(Server {
                version: old.version + 1,
                ..server
            }),
            None => Arc::new(server),
        };
        (name, server)
    });
    Declared {
        servers: servers.collect(),
        models: match *old.models == models {
            true => old.models.clone(),
            false => Arc::new(models),
        },
    }
}

/// Returns `true` if two records of a file are equal, secrets included, apart from their `version`.
fn is_same(old: &Server, new: &Server) -> bool {
    const CLEAR: Writer = Writer {
        url: |url| url.as_str().into(),
        time: |_| Tree::Null,
        secret: |secret| secret.expose_secret().into(),
    };
    let all = |server| members::write(server, &CLEAR, |_| true);
    // Pins are written nowhere.
    old.organization == new.organization && old.pins == new.pins && all(old) == all(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Auth;

    fn server(name: &str) -> Server {
        Server::new(name, "https://a.example/mcp").unwrap()
    }

    fn with_key(key: &str) -> Server {
        server("a").with_auth(Auth::static_headers([("x-api-key", key)]).unwrap())
    }

    /// The record of `old`, and that of `new` when it is read after `old`.
    fn read_again(old: Server, new: Server) -> (Arc<Server>, Arc<Server>) {
        let read = |server| (vec![server], ModelRules::default());
        let old = after(&Declared::default(), read(old));
        let new = after(&old, read(new));
        (old.servers["a"].clone(), new.servers["a"].clone())
    }

    #[test]
    fn an_unchanged_server_is_the_same_record() {
        let (old, new) = read_again(with_key("k"), with_key("k"));
        assert!(Arc::ptr_eq(&old, &new));
        assert_eq!(new.version, 1);
    }

    #[test]
    fn a_changed_server_counts_its_version_up() {
        let changes = [
            server("a").with_enabled(false),
            server("a").with_projects(["web"]).unwrap(),
            server("a").with_tools(["t"]).unwrap(),
            Server::new("a", "https://b.example/mcp").unwrap(),
            with_key("k"),
        ];
        for change in changes {
            let (_, new) = read_again(server("a"), change);
            assert_eq!(new.version, 2, "{new:?}");
        }
    }

    #[test]
    fn a_new_secret_is_a_change() {
        let (old, new) = read_again(with_key("k"), with_key("l"));
        assert_eq!((old.version, new.version), (1, 2));
        assert_eq!(new.auth.headers()["x-api-key"], "l");
    }
}
