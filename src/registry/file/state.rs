//! The servers of a file, and what stays the same from one reading to the next.

use std::{collections::BTreeMap, sync::Arc};

use secrecy::ExposeSecret;

use crate::{
    name::ServerName,
    registry::{Auth, OAuth2, Server},
};

/// The servers by name; a file has one organization.
pub(in crate::registry) type Servers = BTreeMap<ServerName, Arc<Server>>;

/// The state after `old` when the file now says `read`.
///
/// A server of the same name is the same one, so that sessions and tool lists live on. One that was
/// removed and comes back is so too: what is stored about servers goes by their identity, and a
/// process that has just started cannot know what the file has said in the meantime.
pub(super) fn after(old: &Servers, read: Vec<Server>) -> Servers {
    let servers = read.into_iter().map(|server| {
        let name = server.name.clone();
        let server = match old.get(&name) {
            Some(old) if is_same(old, &server) => old.clone(),
            Some(old) => Arc::new(Server {
                version: old.version + 1,
                ..server
            }),
            None => Arc::new(server),
        };
        (name, server)
    });
    servers.collect()
}

/// Whether two records say the same, whatever their `id` and `version`.
fn is_same(old: &Server, new: &Server) -> bool {
    // Taken apart in full: a field that is added later does not compile until it is decided here.
    let Server {
        // Made from the name.
        id: _,
        version: _,
        // Of stores only.
        draft: _,
        source: _,
        created_at: _,
        updated_at: _,
        organization,
        name,
        display_name,
        description,
        url,
        transport,
        projects,
        auth,
        tools,
        share_session,
        trace_context,
        on_change,
        new_tools,
        pins,
        enabled,
    } = new;
    old.organization == *organization
        && old.name == *name
        && old.display_name == *display_name
        && old.description == *description
        && old.url == *url
        && old.transport == *transport
        && old.projects == *projects
        && is_same_auth(&old.auth, auth)
        && old.tools == *tools
        && old.share_session == *share_session
        && old.trace_context == *trace_context
        && old.on_change == *on_change
        && old.new_tools == *new_tools
        && old.pins == *pins
        && old.enabled == *enabled
}

/// Whether the same credential is sent, secrets included.
fn is_same_auth(old: &Auth, new: &Auth) -> bool {
    match (old, new) {
        (Auth::None, Auth::None) => true,
        (Auth::StaticHeaders(_), Auth::StaticHeaders(_)) => old.headers() == new.headers(),
        (Auth::OAuth2(old), Auth::OAuth2(new)) => is_same_oauth(old, new),
        (Auth::TokenPassthrough(old), Auth::TokenPassthrough(new)) => old == new,
        (
            Auth::None
            | Auth::StaticHeaders(_)
            | Auth::OAuth2(_)
            | Auth::TokenPassthrough(_)
            | Auth::Unreadable(_),
            _,
        ) => false,
    }
}

fn is_same_oauth(old: &OAuth2, new: &OAuth2) -> bool {
    let secret = |oauth: &OAuth2| {
        let secret = oauth.client_secret.as_ref();
        secret.map(|secret| secret.expose_secret().to_owned())
    };
    // Taken apart in full, as above.
    let OAuth2 {
        client_id,
        client_secret: _,
        client_secret_set_at: _,
        authorization_url,
        token_url,
        scopes,
        issuer,
        resource,
        token_auth,
    } = new;
    old.client_id == *client_id
        && secret(old) == secret(new)
        && old.authorization_url == *authorization_url
        && old.token_url == *token_url
        && old.scopes == *scopes
        && old.issuer == *issuer
        && old.resource == *resource
        && old.token_auth == *token_auth
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str) -> Server {
        Server::new(name, "https://a.example/mcp").unwrap()
    }

    fn with_key(key: &str) -> Server {
        server("a").with_auth(Auth::static_headers([("x-api-key", key)]).unwrap())
    }

    /// What `new` becomes when it is read after `old`.
    fn read_again(old: Server, new: Server) -> (Arc<Server>, Arc<Server>) {
        let old = after(&Servers::new(), vec![old]);
        let new = after(&old, vec![new]);
        (old["a"].clone(), new["a"].clone())
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
