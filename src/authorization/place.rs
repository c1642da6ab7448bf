//! The redirect URIs that browsers come back to. Each server has its own path, so that a code can
//! only come from the authorization server that was asked for it (RFC 9700 section 4.4.2.2).
//!
//! A program cannot compare the path wrongly or forget to: [`begin`](super::Authorizations::begin)
//! appends the server's identity to it, and [`finish`](super::Authorizations::finish) compares it
//! before it looks at the code.

use url::Url;

use super::error::Error;
use crate::{oauth, registry::ServerId};

/// The redirect URI of a server: its [id](crate::registry::Server::id) below `callbacks`, such as
/// `https://gateway.example/oauth/callback`. An operator who registers a client by hand enters it
/// there.
///
/// ```
/// use mcp_layer::{authorization::redirect_uri, registry::Server};
///
/// let tracker = Server::new("tracker", "https://mcp.example.com/mcp")?;
/// let callbacks = "https://gateway.example/oauth/callback".parse()?;
/// let uri = redirect_uri(&callbacks, &tracker.id);
/// assert_eq!(uri.as_str(), format!("{callbacks}/{}", tracker.id.as_str()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn redirect_uri(callbacks: &Url, server: &ServerId) -> Url {
    let mut uri = callbacks.clone();
    let path = uri.path().trim_end_matches('/');
    let path = format!("{path}/{}", server.as_str());
    uri.set_path(&path);
    uri
}

/// Checks that a browser that arrived at `path` was sent there by the authorization of `server`.
///
/// Only the last segment of the path counts, since a proxy in front may strip a prefix. A client
/// that was registered when all servers shared one callback returns to that one; then only the
/// authorization server itself can prove that it is the one that was asked.
pub(super) fn check(
    path: &str,
    server: &ServerId,
    redirect_uri: &Url,
    callback: &oauth::Callback,
) -> Result<(), Error> {
    let asked = last(redirect_uri.path());
    let is_own = asked == server.as_str();
    match last(path) == asked && (is_own || callback.iss.is_some()) {
        true => Ok(()),
        false => Err(Error::Place),
    }
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_counts_at_its_servers_own_path() {
        let [server, other] = [ServerId::random(), ServerId::random()];
        let callbacks: Url = "https://gateway.example/ops/oauth/callback"
            .parse()
            .unwrap();
        let uri = redirect_uri(&callbacks, &server);
        let code = oauth::Callback::parse("code=c&state=s").unwrap();
        let said = oauth::Callback::parse("code=c&state=s&iss=https://as.example").unwrap();
        for (path, redirect_uri, callback, expected) in [
            (
                format!("/oauth/callback/{}", server.as_str()),
                &uri,
                &code,
                true,
            ),
            (uri.path().to_owned(), &uri, &code, true),
            (
                format!("/oauth/callback/{}", other.as_str()),
                &uri,
                &said,
                false,
            ),
            (
                format!("/oauth/callback/{}/", server.as_str()),
                &uri,
                &said,
                false,
            ),
            ("/oauth/callback".to_owned(), &uri, &said, false),
            (String::new(), &uri, &said, false),
            ("/oauth/callback".to_owned(), &callbacks, &code, false),
            ("/oauth/callback".to_owned(), &callbacks, &said, true),
            (uri.path().to_owned(), &callbacks, &said, false),
        ] {
            let checked = check(&path, &server, redirect_uri, callback);
            assert_eq!(checked.is_ok(), expected, "{path} of {redirect_uri}");
        }
    }

    #[test]
    fn a_slash_at_the_end_of_the_callbacks_makes_no_other_path() {
        let id = ServerId::random();
        let uri = |text: &str| redirect_uri(&text.parse().unwrap(), &id);
        assert_eq!(
            uri("https://gateway.example/a/"),
            uri("https://gateway.example/a")
        );
        assert_eq!(
            uri("https://gateway.example").path(),
            format!("/{}", id.as_str())
        );
    }
}
