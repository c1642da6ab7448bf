//! What an operator can do where the gateway gets no token by its own proof.

use super::error::Error;
use crate::{
    oauth::ErrorKind,
    registry::{OAuth2, OAuthGrant},
};

/// The advice for an error of this kind where nobody is asked in a browser, and the member that it is about.
pub(crate) fn own_advice(kind: ErrorKind, record: &OAuth2) -> (Option<&'static str>, &'static str) {
    match kind {
        ErrorKind::Discovery => (
            Some("auth.issuer"),
            "check the issuer, or enter the token URL by hand",
        ),
        ErrorKind::Egress => (
            Some("auth.token_url"),
            "enter the token URL by hand, and allow its address in the gateway's egress rules if it is not \
             public",
        ),
        ErrorKind::Issuer => (
            Some("auth.issuer"),
            "nothing was sent: check the server's URL and the issuer, and enter the one that is named only \
             if you trust it",
        ),
        ErrorKind::InvalidClient if record.private_key.is_some() => (
            Some("auth.private_key"),
            "register the public half of this private key there, for this client_id and under the same \
             key_id, or enter the key that is registered",
        ),
        ErrorKind::InvalidClient => (
            Some("auth.client_secret"),
            "enter the client secret that the provider has for this client_id, and check whether it wants \
             another token_auth",
        ),
        ErrorKind::Refused | ErrorKind::Denied => (
            Some("auth.client_id"),
            match record.grant {
                OAuthGrant::TokenExchange => "allow this client to exchange tokens there",
                _ => "allow this client the grant client_credentials there",
            },
        ),
        ErrorKind::InvalidScope => (
            Some("auth.scopes"),
            "check the scopes: the provider does not know one of them, or does not give it to this client",
        ),
        ErrorKind::InvalidTarget => (
            Some("auth.resource"),
            "set resource to what the provider calls this server, or to none if it takes no such parameter, \
             and name in the scopes what the token is for",
        ),
        ErrorKind::Unreachable => (
            None,
            "try again in a moment; if it lasts, check the issuer and the token URL",
        ),
        _ => (None, "check what was entered"),
    }
}

/// All that an operator is told of `error`: what it is, what was answered, and what to do.
pub(super) fn told(error: &Error, record: &OAuth2) -> String {
    let Error::OAuth(error) = error else {
        return error.to_string();
    };
    let said = error.said().map(|said| format!(" ({said})"));
    let (_, advice) = own_advice(error.kind(), record);
    format!("{error}{}; {advice}", said.unwrap_or_default())
}
