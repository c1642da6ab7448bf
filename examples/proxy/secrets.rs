//! Secrets named by the configuration: each in an environment variable or in a file.

use std::{env, path::PathBuf};

use mcp_layer::secret::{ExposeSecret, SecretSource, SecretString};

use crate::config::Invalid;

/// The place of a secret, from keys like `upstream_key_env` and `upstream_key_file`.
#[derive(Clone, Default)]
pub struct Named {
    pub variable: Option<String>,
    pub file: Option<PathBuf>,
}

impl Named {
    pub fn is_absent(&self) -> bool {
        self.variable.is_none() && self.file.is_none()
    }

    /// Returns `true` for an empty name of a variable and nothing else: the secret is said to be
    /// needless.
    pub fn is_none_needed(&self) -> bool {
        self.variable.as_deref() == Some("") && self.file.is_none()
    }

    /// Returns these if any is set, else the others: a flag overrides both keys of the file.
    pub fn or(self, others: Self) -> Self {
        if self.is_absent() { others } else { self }
    }

    /// Returns the key that names it, such as `upstream_key_env` for `upstream_key`.
    pub fn key(&self, key: &str) -> String {
        match self.file {
            Some(_) => format!("{key}_file"),
            None => format!("{key}_env"),
        }
    }

    /// Reads the secret, if one is named under `key`.
    pub fn read(&self, key: &str) -> Result<Option<SecretString>, Invalid> {
        let source = match (&self.variable, &self.file) {
            (None, None) => return Ok(None),
            (Some(variable), None) => SecretSource::Variable(variable.clone()),
            (None, Some(file)) => SecretSource::File(file.clone()),
            (Some(_), Some(_)) => {
                return Err(Invalid::new(format!(
                    "{key}_env and {key}_file: give only one"
                )));
            }
        };
        let secret = source.read(|name| env::var(name).ok());
        let secret = secret.map_err(|fault| {
            let fault = fault.to_string();
            let next = match fault.ends_with("is not set") {
                true => "; export it before starting the proxy",
                false => "",
            };
            Invalid::new(format!("{}: {fault}{next}", self.key(key)))
        })?;
        // A shell may leave blanks around what it exports; a file is taken exactly.
        match (&self.variable, secret.expose_secret().trim()) {
            (Some(_), "") => Err(Invalid::new(format!(
                "{}: {source} is empty",
                self.key(key)
            ))),
            (Some(_), trimmed) => Ok(Some(trimmed.into())),
            (None, _) => Ok(Some(secret)),
        }
    }
}
