//! Whether somebody's role is still so.

use std::time::SystemTime;

use secrecy::ExposeSecret;

use super::{
    identity::Grant,
    provider::{Provider, Unverified},
};
use crate::{
    admin::role::Role,
    oauth::{
        self, ErrorKind,
        openid::{Claims, OpenId, userinfo},
    },
};

/// What the provider says.
pub(in super::super) enum Look {
    Role(Role),
    /// The person has no role any more, or the provider gives nothing for the grant any more.
    No,
    /// The provider cannot be asked now.
    Away(oauth::Error),
}

impl Provider {
    /// Asks the provider again; the grant may be another one afterwards, which alone is good.
    ///
    /// # Cancellation
    /// The old grant may be spent, and the new one lost: run it to its end.
    pub(in super::super) async fn look(&self, grant: &mut Grant, now: SystemTime) -> Look {
        match self.told(grant, now).await {
            Ok(Some(claims)) => match self.oidc.role(&claims) {
                Some(role) => Look::Role(role),
                None => Look::No,
            },
            Ok(None) => Look::No,
            Err(error) => match error.kind() {
                ErrorKind::InvalidGrant
                | ErrorKind::InvalidClient
                | ErrorKind::InvalidScope
                | ErrorKind::Denied
                | ErrorKind::Refused => Look::No,
                _ => Look::Away(error),
            },
        }
    }

    /// Claims that have the one that roles come from, as they are now.
    async fn told(
        &self,
        grant: &mut Grant,
        now: SystemTime,
    ) -> Result<Option<Claims>, oauth::Error> {
        let openid = self.openid(now).await?;
        match self.userinfo(&openid, grant).await {
            Ok(Some(claims)) => return Ok(Some(claims)),
            // An access token lives shorter than a session.
            Err(error) if error.kind() != ErrorKind::InvalidGrant => return Err(error),
            Ok(None) | Err(_) => {}
        }
        let Some(refresh_token) = &grant.refresh_token else {
            return Ok(None);
        };
        let client = self.client(&openid)?;
        let (http, server) = (&self.oidc.http, &openid.server);
        let tokens = oauth::refresh(http, server, &client, None, refresh_token).await?;
        grant.access_token = tokens.access_token;
        grant.refresh_token = tokens.refresh_token.or(grant.refresh_token.take());
        if let Some(id_token) = &tokens.id_token {
            let id_token = id_token.expose_secret();
            let claims = match self.verify(&openid, id_token, None, now).await {
                Ok(claims) => claims,
                Err(Unverified::Token(error)) => {
                    tracing::warn!(%error, "a provider gives an ID token that is not what it has to be");
                    return Ok(None);
                }
                Err(Unverified::Keys(error)) => return Err(error),
            };
            // Section 12.2: it must be the same person.
            if claims.text("sub") != Some(&*grant.subject) {
                return Ok(None);
            }
            if self.oidc.has_role_claim(&claims) {
                return Ok(Some(claims));
            }
        }
        self.userinfo(&openid, grant).await
    }

    async fn userinfo(
        &self,
        openid: &OpenId,
        grant: &Grant,
    ) -> Result<Option<Claims>, oauth::Error> {
        let Some(url) = &openid.userinfo_endpoint else {
            return Ok(None);
        };
        let (http, token) = (&self.oidc.http, &grant.access_token);
        let claims = userinfo(http, url, token, &grant.subject).await?;
        Ok(Some(claims).filter(|claims| self.oidc.has_role_claim(claims)))
    }
}
