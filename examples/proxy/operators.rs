//! Operators by name, as the configuration file declares them, and what follows them there.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use mcp_layer::admin::{Operator, Operators, Role};
use serde::Deserialize;
use tokio::{task::spawn_blocking, time::sleep};

use crate::{config::Invalid, environment, secrets::Named};

/// The pause between two looks. A change needs two, so that no half of a file is read.
const PAUSE: Duration = Duration::from_millis(500);

/// An entry of `[[operators]]`: the token in an environment variable or a file, or its SHA-256.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [[operators]]")]
pub struct Declared {
    name: String,
    token_env: Option<String>,
    token_file: Option<PathBuf>,
    token_sha256: Option<String>,
    role: DeclaredRole,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DeclaredRole {
    Viewer,
    Editor,
    Admin,
}

impl From<DeclaredRole> for Role {
    fn from(role: DeclaredRole) -> Self {
        match role {
            DeclaredRole::Viewer => Self::Viewer,
            DeclaredRole::Editor => Self::Editor,
            DeclaredRole::Admin => Self::Admin,
        }
    }
}

impl Declared {
    fn read(&self, index: usize) -> Result<Operator, Invalid> {
        let place = format!("operators[{index}]");
        let invalid = |reason: &dyn std::fmt::Display| Invalid::new(format!("{place}: {reason}"));
        let named = Named {
            variable: self.token_env.clone(),
            file: self.token_file.clone(),
        };
        let role = self.role.into();
        let operator = match (&self.token_sha256, named.is_absent()) {
            (Some(digits), true) => {
                let sha256 = sha256(digits)
                    .ok_or_else(|| invalid(&"token_sha256 is not 64 hexadecimal digits"))?;
                Operator::with_token_sha256(&*self.name, sha256, role)
            }
            (None, false) => {
                let token = named.read(&format!("{place}.token"))?.unwrap_or_default();
                Operator::new(&*self.name, &token, role)
            }
            _ => {
                return Err(invalid(
                    &"give one of token_env, token_file and token_sha256",
                ));
            }
        };
        operator.map_err(|error| invalid(&error))
    }
}

fn sha256(digits: &str) -> Option<[u8; 32]> {
    let mut sha256 = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (place, byte) in sha256.iter_mut().enumerate() {
        let pair = digits.get(2 * place..2 * place + 2)?;
        *byte = pair
            .bytes()
            .all(|digit| digit.is_ascii_hexdigit())
            .then(|| u8::from_str_radix(pair, 16).ok())??;
    }
    Some(sha256)
}

/// Reads all entries.
pub fn read(entries: &[Declared]) -> Result<Vec<Operator>, Invalid> {
    let entries = entries.iter().enumerate();
    entries.map(|(index, entry)| entry.read(index)).collect()
}

/// Makes the list of the operators that were [read](read), which [`follow`] changes.
pub fn list(operators: &[Operator]) -> Result<Operators, Invalid> {
    let list = Operators::new(operators.to_vec());
    list.map_err(|error| Invalid::new(format!("operators: {error}")))
}

/// Puts the operators of the file in force after each change of it, or of a file of a token, for as
/// long as it is polled. What cannot be read changes nothing. The first look reads them once more: they
/// may have changed since they were read.
pub async fn follow(
    path: PathBuf,
    mut entries: Vec<Declared>,
    mut in_force: Vec<Operator>,
    operators: Operators,
) {
    let (mut read, mut seen) = (Vec::new(), Vec::new());
    loop {
        sleep(PAUSE).await;
        // Looking at a file on a network can take its time.
        let look = {
            let (path, entries) = (path.clone(), entries.clone());
            spawn_blocking(move || stamps(&path, &entries)).await
        };
        let Ok(now) = look else {
            // The runtime is ending.
            return;
        };
        let rests = now == seen;
        seen.clone_from(&now);
        if !rests || now == read {
            continue;
        }
        // From before the reading: what changes in between is seen as a change.
        read = now;
        match again(&path, &operators) {
            Ok((found, named)) => {
                if !files(&found).eq(files(&entries)) {
                    // Once more, together with these.
                    read.clear();
                }
                entries = found;
                if named != in_force {
                    tracing::info!(
                        operators = named.len(),
                        "the operators of the configuration file were read again"
                    );
                }
                in_force = named;
            }
            Err(error) => tracing::error!(
                %error,
                "the operators of the configuration file cannot be read; those that were read before stay"
            ),
        }
    }
}

fn again(path: &Path, operators: &Operators) -> Result<(Vec<Declared>, Vec<Operator>), Invalid> {
    let entries = environment::again(path)?.operators;
    let named = read(&entries)?;
    let replaced = operators.replace(named.clone());
    replaced.map_err(|error| Invalid::new(format!("operators: {error}")))?;
    Ok((entries, named))
}

/// Time and length of a file; `None` if it is not there.
type Stamp = Option<(SystemTime, u64)>;

fn stamps(path: &Path, entries: &[Declared]) -> Vec<Stamp> {
    let stamp = |path: &Path| {
        let file = fs::metadata(path).ok()?;
        Some((file.modified().ok()?, file.len()))
    };
    let files = [path].into_iter().chain(files(entries));
    files.map(stamp).collect()
}

/// The files of tokens.
fn files(entries: &[Declared]) -> impl Iterator<Item = &Path> {
    let entries = entries.iter();
    entries.filter_map(|entry| entry.token_file.as_deref())
}
