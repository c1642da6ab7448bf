//! The provider that operators sign in at, as the configuration file declares it.

use std::path::PathBuf;

use mcp_layer::{
    Scopes,
    admin::{Oidc, Role},
    outbound::Outbound,
};
use serde::Deserialize;

use crate::{config::Invalid, secrets::Named};

/// The table `[oidc]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [oidc]")]
pub struct Declared {
    issuer: String,
    client_id: String,
    client_secret_env: Option<String>,
    client_secret_file: Option<PathBuf>,
    scopes: Option<Vec<String>>,
    role_claim: Option<String>,
    name_claim: Option<String>,
    roles: Roles,
}

/// The values of the claim, by role.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of lists")]
struct Roles {
    viewer: Vec<String>,
    editor: Vec<String>,
    admin: Vec<String>,
}

impl Declared {
    /// The provider, which is reached over `outbound`.
    pub fn provider(&self, outbound: Outbound) -> Result<Oidc, Invalid> {
        let invalid = |reason: &str| Invalid::new(format!("oidc: {reason}"));
        let Roles {
            viewer,
            editor,
            admin,
        } = &self.roles;
        if [viewer, editor, admin].into_iter().all(Vec::is_empty) {
            return Err(invalid(
                "roles names no value of the claim, so nobody could sign in; give roles = { admin = [\"…\"] }",
            ));
        }
        let oidc = Oidc::new(outbound, &self.issuer, &*self.client_id);
        let mut oidc = oidc
            .map_err(|error| Invalid::because(&error))
            .map_err(|error| invalid(&error.to_string()))?
            .with_role(Role::Viewer, viewer)
            .with_role(Role::Editor, editor)
            .with_role(Role::Admin, admin);
        let secret = Named {
            variable: self.client_secret_env.clone(),
            file: self.client_secret_file.clone(),
        };
        if let Some(secret) = secret.read("oidc.client_secret")? {
            oidc = oidc.with_client_secret(secret);
        }
        if let Some(scopes) = &self.scopes {
            let scopes = Scopes::new(scopes.iter().map(String::as_str));
            let scopes = scopes.map_err(|error| invalid(&format!("scopes: {error}")))?;
            oidc = oidc.with_scopes(scopes);
        }
        if let Some(claim) = &self.role_claim {
            oidc = oidc.with_role_claim(claim);
        }
        if let Some(claim) = &self.name_claim {
            oidc = oidc.with_name_claim(claim);
        }
        Ok(oidc)
    }
}
