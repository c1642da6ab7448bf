//! `Oidc`: the provider that operators sign in at.

use std::fmt;

use secrecy::SecretString;
use url::Url;

use crate::{
    admin::role::Role,
    oauth::Http,
    outbound::{self, Outbound},
    scopes::Scopes,
};

/// The most values of a claim that stand for roles.
const VALUES: usize = 1000;

/// A provider of OpenID Connect that operators sign in at: code flow with PKCE, state and nonce.
///
/// Register `{public URL}/sign-in/callback` as its redirect URI. ID tokens are taken if they are
/// signed with RS256, PS256, ES256 or EdDSA.
///
/// An operator's role is looked at again every half minute, in the provider's userinfo or, where
/// that does not have the claim, with the refresh token; so a provider must offer one of them. A
/// session ends when the provider says no, and when it cannot be asked for three minutes.
///
/// ```
/// use mcp_layer::admin::{Oidc, Role};
/// use mcp_layer::outbound::{EgressRules, Outbound};
///
/// let outbound = Outbound::new(EgressRules::default());
/// let oidc = Oidc::new(outbound, "https://id.example.com/realms/ops", "gateway")?
///     .with_client_secret("s3cret".into())
///     .with_role_claim("realm_access.roles")
///     .with_role(Role::Admin, ["gateway-admins"])
///     .with_role(Role::Viewer, ["everybody"]);
/// # Ok::<(), mcp_layer::admin::InvalidOidc>(())
/// ```
#[derive(Clone)]
pub struct Oidc {
    pub(super) http: Http,
    pub(super) issuer: String,
    pub(super) client_id: String,
    pub(super) client_secret: Option<SecretString>,
    pub(super) scopes: Scopes,
    pub(super) role_claim: String,
    pub(super) name_claim: Option<String>,
    pub(super) roles: Vec<(Role, String)>,
}

impl Oidc {
    /// Configures the provider of this issuer, with the client id that it knows us by. It is
    /// reached over `outbound`, whose egress rules apply to the issuer's host.
    ///
    /// Nothing is fetched before somebody signs in.
    ///
    /// # Errors
    /// [`InvalidOidc`] for an issuer that is no URL, or that the egress rules do not allow, and for a
    /// client id that is empty.
    pub fn new(
        outbound: Outbound,
        issuer: &str,
        client_id: impl Into<String>,
    ) -> Result<Self, InvalidOidc> {
        let url: Url = issuer.parse().map_err(|_| InvalidOidc::Issuer)?;
        let is_plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !is_plain {
            return Err(InvalidOidc::Issuer);
        }
        outbound.check(&url).map_err(InvalidOidc::Egress)?;
        let client_id = client_id.into();
        if client_id.is_empty() {
            return Err(InvalidOidc::Client);
        }
        Ok(Self {
            http: Http::new(outbound).with_entered([&url]),
            issuer: issuer.to_owned(),
            client_id,
            client_secret: None,
            scopes: Scopes::parse("openid profile email").unwrap_or_default(),
            role_claim: "roles".to_owned(),
            name_claim: None,
            roles: Vec::new(),
        })
    }

    /// Sets the client's secret; default none, for a public client.
    #[must_use]
    pub fn with_client_secret(self, secret: SecretString) -> Self {
        Self {
            client_secret: Some(secret),
            ..self
        }
    }

    /// Replaces the scopes that are asked for; default `openid profile email`. `openid` is asked for
    /// in any case; many providers give a refresh token for `offline_access`.
    #[must_use]
    pub fn with_scopes(self, scopes: Scopes) -> Self {
        let all = format!("openid {scopes}");
        // One more than a hundred is too many.
        let scopes = Scopes::parse(&all).unwrap_or(scopes);
        Self { scopes, ..self }
    }

    /// Replaces the claim that roles come from: its name, or a path such as `realm_access.roles`;
    /// default `roles`. It is a text or a list of texts.
    #[must_use]
    pub fn with_role_claim(self, claim: impl Into<String>) -> Self {
        Self {
            role_claim: claim.into(),
            ..self
        }
    }

    /// Replaces the claim that operators' names come from. Default: `preferred_username`, `email` or
    /// `sub`, the first that is there. People may be able to choose it, so `oidc:` stands before it and
    /// a mark of issuer and subject behind it: `oidc:ann#1f0a93c2`.
    #[must_use]
    pub fn with_name_claim(self, claim: impl Into<String>) -> Self {
        Self {
            name_claim: Some(claim.into()),
            ..self
        }
    }

    /// Adds values of the claim that stand for a role. Whoever has several roles has the highest;
    /// whoever has none is not let in. At most 1,000 values in all are taken.
    #[must_use]
    pub fn with_role<V: Into<String>>(
        mut self,
        role: Role,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let room = VALUES.saturating_sub(self.roles.len());
        let values = values.into_iter().take(room);
        self.roles.extend(values.map(|value| (role, value.into())));
        self
    }
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .field("role_claim", &self.role_claim)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// The reason why a provider cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum InvalidOidc {
    /// The issuer is no URL, or has a user name, a password, a query or a fragment.
    Issuer,
    /// The egress rules do not allow the issuer.
    Egress(outbound::Error),
    /// The client id is empty.
    Client,
}

impl fmt::Display for InvalidOidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer => f.write_str(
                "the issuer is no URL without a user name, a password, a query and a fragment",
            ),
            Self::Egress(_) => f.write_str("the issuer is not allowed by the egress rules"),
            Self::Client => f.write_str("the client id is empty"),
        }
    }
}

impl std::error::Error for InvalidOidc {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Egress(error) => Some(error),
            _ => None,
        }
    }
}
