//! Records that were not made as they should be.

use mcp_layer::authorization::{Authorizations, Error};
use mcp_layer::registry::{Auth, MemoryCredentialStore, OAuth2, Server};

use crate::support::auth_server::AuthServer;
use crate::support::outbound;

#[tokio::test]
async fn a_client_secret_without_an_issuer_is_not_for_the_server_to_direct() {
    let provider = AuthServer::start().await;
    // As a registry of one's own may read it: past `Auth::oauth2`, which refuses it.
    let mut oauth = OAuth2::default();
    oauth.client_id = Some("client-0".into());
    oauth.client_secret = Some("s3cret/0-of-a-client".into());
    assert!(Auth::oauth2(oauth.clone()).is_err());
    let server = Server::new("a", provider.mcp().as_str()).unwrap();
    let server = server.with_auth(Auth::OAuth2(Box::new(oauth)));

    let store = MemoryCredentialStore::default();
    let authorizations = Authorizations::new(outbound(), store);
    let callbacks = "https://gateway.example/callback".parse().unwrap();
    let refused = authorizations.begin(&server, &callbacks).await;
    assert!(matches!(refused, Err(Error::Record(_))), "{refused:?}");
    assert!(provider.seen().is_empty());
}
