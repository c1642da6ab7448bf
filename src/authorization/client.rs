//! Our client at an authorization server, and its redirect URI.

use url::Url;

use super::{
    authorizations::Inner,
    credential::{ClientOrigin, StoredClient, entered},
    error::Error,
    place,
};
use crate::{
    oauth::{self, AuthorizationServer, Client, Http},
    registry::{OAuth2, Server},
    scopes::Scopes,
    token_auth::TokenAuth,
};

/// The server that a client is for, and the authorization server that it is known to.
pub(super) struct Whose<'a> {
    pub(super) server: &'a Server,
    pub(super) record: &'a OAuth2,
    pub(super) asked: &'a AuthorizationServer,
    /// The URL below which each server has its own callback.
    pub(super) callbacks: &'a Url,
}

impl Whose<'_> {
    fn own(&self) -> Url {
        place::redirect_uri(self.callbacks, &self.server.id)
    }

    /// The server's own callback, or the shared one if the client was registered for it.
    pub(super) fn redirect_uri(&self, client: &StoredClient) -> Url {
        match &client.origin {
            ClientOrigin::Registered(uri) => uri.clone(),
            ClientOrigin::Entered | ClientOrigin::Document => self.own(),
        }
    }

    /// Returns `true` if a client that we registered can use its redirect URI, and authenticates as
    /// the operator wants. The callback that
    /// all servers once shared is only good if the answer says which authorization server sent it.
    fn is_usable(&self, client: &StoredClient) -> bool {
        let ClientOrigin::Registered(uri) = &client.origin else {
            return false;
        };
        let is_as_entered = self
            .record
            .token_auth
            .is_none_or(|auth| auth == client.auth);
        is_as_entered && (*uri == self.own() || uri == self.callbacks && self.asked.sends_issuer)
    }
}

impl Inner {
    /// Finds a client: the one that was entered, `stored`, which we registered earlier, the one of
    /// our metadata document, or a new one.
    pub(super) async fn client(
        &self,
        http: &Http,
        whose: &Whose<'_>,
        scopes: &Scopes,
        stored: Option<StoredClient>,
    ) -> Result<StoredClient, Error> {
        let (record, asked) = (whose.record, whose.asked);
        if let Some(id) = &record.client_id {
            let client = entered(record, id, asked)?;
            return Ok(StoredClient::new(client, ClientOrigin::Entered));
        }
        if let Some(known) = stored.filter(|stored| whose.is_usable(stored)) {
            return Ok(known);
        }
        if let Some(url) = &self.client_metadata_url
            && asked.takes_client_metadata_url
        {
            let url = url(&whose.server.id);
            let client = Client::new(url.as_str(), None, Some(TokenAuth::None), asked)?;
            return Ok(StoredClient::new(client, ClientOrigin::Document));
        }
        if asked.registration_endpoint.is_none() {
            return Err(Error::NoClient);
        }
        let own = whose.own();
        // Some servers take another method than they say (springfall2008/batpred#4799).
        let asked = match record.token_auth {
            Some(auth) => &asked.clone().with_token_auth(auth),
            None => asked,
        };
        let client = oauth::register(http, asked, &own, scopes, &self.client_name).await?;
        Ok(StoredClient::new(client, ClientOrigin::Registered(own)))
    }
}
