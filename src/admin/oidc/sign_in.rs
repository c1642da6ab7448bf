//! One sign-in: to the provider, and back with a code.

use std::time::SystemTime;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::ExposeSecret;
use url::Url;

use super::{
    identity::{Grant, Identity},
    pending::Pending,
    provider::Provider,
};
use crate::{
    admin::outside::Outside,
    oauth::{
        self, Callback, ErrorKind, Request, Tokens,
        openid::{Claims, OpenId, userinfo},
    },
    random::fill_random,
};

/// The reason why somebody is not let in.
#[derive(Debug)]
pub(in super::super) enum Refusal {
    /// The provider, or what it answered.
    OAuth(oauth::Error),
    /// The provider gave no ID token: it speaks OAuth 2.0 only, or not for this client.
    NoIdToken,
    /// The claim that roles come from is not there, or none of its values stands for one.
    NoRole { name: String, is_there: bool },
    /// The role could never be looked at again.
    NoLook { name: String },
}

impl From<oauth::Error> for Refusal {
    fn from(error: oauth::Error) -> Self {
        Self::OAuth(error)
    }
}

impl Provider {
    /// The address that a browser is sent to, and what it has to bring back.
    pub(in super::super) async fn begin(
        &self,
        outside: &Outside,
        next: &str,
        now: SystemTime,
    ) -> Result<(Url, Pending), oauth::Error> {
        let openid = self.openid(now).await?;
        let client = self.client(&openid)?;
        let redirect_uri = redirect_uri(outside);
        let begun = oauth::begin(&self.request(&openid, &client, &redirect_uri))?;
        let mut nonce = [0; 32];
        fill_random(&mut nonce);
        let nonce = URL_SAFE_NO_PAD.encode(nonce);
        let mut url = begun.url;
        url.query_pairs_mut().append_pair("nonce", &nonce);
        let pending = Pending::new(&begun.state, &begun.verifier, nonce, next, now);
        Ok((url, pending))
    }

    /// Finishes a sign-in that came back to its own browser.
    pub(in super::super) async fn finish(
        &self,
        callback: &Callback,
        pending: &Pending,
        outside: &Outside,
        now: SystemTime,
    ) -> Result<Identity, Refusal> {
        let openid = self.openid(now).await?;
        let code = callback.code(&openid.server)?;
        let client = self.client(&openid)?;
        let redirect_uri = redirect_uri(outside);
        let request = self.request(&openid, &client, &redirect_uri);
        let verifier = pending.verifier.as_str().into();
        let tokens = oauth::exchange(&self.oidc.http, &request, code, &verifier).await?;
        let id_token = tokens.id_token.as_ref().ok_or(Refusal::NoIdToken)?;
        let nonce = Some(&*pending.nonce);
        let verified = self.verify(&openid, id_token.expose_secret(), nonce, now);
        let claims = verified.await.map_err(oauth::Error::from)?;
        self.admitted(&openid, claims, tokens).await
    }

    /// The role of somebody whose identity is certain.
    async fn admitted(
        &self,
        openid: &OpenId,
        claims: Claims,
        tokens: Tokens,
    ) -> Result<Identity, Refusal> {
        let name = self.oidc.name(&claims);
        // Checked: it is there, and not empty.
        let subject = claims.text("sub").unwrap_or_default().to_owned();
        let now = match &openid.userinfo_endpoint {
            Some(url) => match userinfo(&self.oidc.http, url, &tokens.access_token, &subject).await
            {
                Ok(claims) => Some(claims),
                // It is not for this token; there may be a refresh token to ask with.
                Err(error) if error.kind() == ErrorKind::InvalidGrant => None,
                Err(error) => return Err(error.into()),
            },
            None => None,
        };
        // Where both have it, the later one counts: it is what will be looked at.
        let told = now.filter(|claims| self.oidc.has_role_claim(claims));
        let is_told_again = told.is_some() || tokens.refresh_token.is_some();
        let told = told.unwrap_or(claims);
        let Some(role) = self.oidc.role(&told) else {
            let is_there = self.oidc.has_role_claim(&told);
            return Err(Refusal::NoRole { name, is_there });
        };
        if !is_told_again {
            return Err(Refusal::NoLook { name });
        }
        Ok(Identity {
            name,
            subject: subject.clone(),
            role,
            grant: Grant {
                issuer: self.issuer().to_owned(),
                subject,
                access_token: tokens.access_token,
                refresh_token: tokens.refresh_token,
            },
        })
    }

    fn request<'a>(
        &'a self,
        openid: &'a OpenId,
        client: &'a oauth::Client,
        redirect_uri: &'a Url,
    ) -> Request<'a> {
        Request {
            server: &openid.server,
            client,
            redirect_uri,
            scopes: &self.oidc.scopes,
            resource: None,
        }
    }
}

/// Where the provider sends browsers back to.
fn redirect_uri(outside: &Outside) -> Url {
    outside.at("/sign-in/callback")
}
