//! The `auth` of an entry: secrets are named in the file, and looked up.

use super::value::{Fault, Value};
use crate::registry::Auth;

/// Gives the value of an environment variable.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The `auth` of an entry.
pub(super) fn auth(value: &Value<'_>, env: Env<'_>) -> Result<Auth, Fault> {
    let keys = value.table("must be a table with a type")?;
    let kind = keys.require("type")?;
    match kind.as_text() {
        Some("none") => {
            keys.allow(&["type"])?;
            Ok(Auth::None)
        }
        Some("static_headers") => {
            keys.allow(&["type", "headers"])?;
            static_headers(&keys.require("headers")?, env)
        }
        Some("oauth2") => Err(kind.fault("oauth2 is not supported by this version")),
        Some("token_passthrough") => {
            Err(kind.fault("token_passthrough is not supported by this version"))
        }
        _ => Err(kind.fault("must be \"none\" or \"static_headers\"")),
    }
}

fn static_headers(value: &Value<'_>, env: Env<'_>) -> Result<Auth, Fault> {
    let headers = value
        .items("must be a list of { name, value_env }")?
        .iter()
        .map(|item| header(item, env))
        .collect::<Result<Vec<_>, _>>()?;
    Auth::static_headers(headers).map_err(|error| value.refused(error))
}

/// The name and the value of a header.
fn header<'a>(value: &Value<'a>, env: Env<'_>) -> Result<(&'a str, String), Fault> {
    let keys = value.table("must be { name, value_env }")?;
    if let Some(secret) = keys.get("value") {
        return Err(secret.fault(
            "a secret is not written in the file; use value_env, the name of the environment variable that holds it",
        ));
    }
    keys.allow(&["name", "value_env"])?;
    Ok((
        keys.require("name")?.text()?,
        secret(&keys.require("value_env")?, env)?,
    ))
}

/// The value of the environment variable that is named here.
fn secret(value: &Value<'_>, env: Env<'_>) -> Result<String, Fault> {
    let name = value.text()?;
    match env(name) {
        Some(secret) if secret.is_empty() => Err(format!("{} is empty", shown(name))),
        Some(secret) => Ok(secret),
        None => Err(format!("{} is not set", shown(name))),
    }
    .map_err(|reason| value.fault(reason))
}

/// The variable, by name where it looks like one: a secret pasted in its place is not repeated.
fn shown(name: &str) -> String {
    let is_usual = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    if name.len() <= 64 && name.bytes().all(is_usual) {
        format!("environment variable {name}")
    } else {
        "the environment variable that it names".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::FileRegistry;

    fn env(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("Bearer s3cret".into()),
            "BROKEN" => Some("s3cret\n".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    /// The error of a server with this authentication, which begins in line 4.
    fn fault(auth: &str) -> String {
        let text = format!("[[servers]]\nname = \"a\"\nurl = \"https://a.example\"\n{auth}");
        let error = FileRegistry::parse(&text, env).unwrap_err();
        let (shown, debug) = (error.to_string(), format!("{error:?}"));
        assert!(
            !shown.contains("s3cret") && !debug.contains("s3cret"),
            "{debug}"
        );
        shown
            .strip_prefix("servers \"a\": ")
            .unwrap_or(&shown)
            .to_owned()
    }

    #[test]
    fn authentication_that_is_not_built_yet_is_refused_plainly() {
        for kind in ["oauth2", "token_passthrough"] {
            assert_eq!(
                fault(&format!("[servers.auth]\ntype = \"{kind}\"\nscopes = []")),
                format!("auth.type: {kind} is not supported by this version (line 5)")
            );
        }
        assert_eq!(
            fault("auth = { type = \"none\", headers = [] }"),
            "auth.headers: unknown key (line 4)"
        );
        assert_eq!(
            fault("auth.type = \"basic\""),
            "auth.type: must be \"none\" or \"static_headers\" (line 4)"
        );
    }

    #[test]
    fn faults_of_headers_never_repeat_a_secret() {
        for (headers, expected) in [
            (
                "[{ name = \"x-key\", value = \"s3cret\" }]",
                "auth.headers[0].value: a secret is not written in the file; use value_env, the name of the environment variable that holds it (line 6)",
            ),
            (
                "[{ name = \"x-key\", value_env = \"ABSENT\" }]",
                "auth.headers[0].value_env: environment variable ABSENT is not set (line 6)",
            ),
            (
                "[{ name = \"x-key\", value_env = \"EMPTY\" }]",
                "auth.headers[0].value_env: environment variable EMPTY is empty (line 6)",
            ),
            (
                // The secret itself, where its variable should be named.
                "[{ name = \"x-key\", value_env = \"s3cret\" }]",
                "auth.headers[0].value_env: the environment variable that it names is not set (line 6)",
            ),
            (
                "[{ name = \"x-key\", value_env = \"BROKEN\" }]",
                "auth.headers: the value of x-key is empty, over 8192 bytes, or has characters that a header cannot carry (line 6)",
            ),
            (
                "\"s3cret\"",
                "auth.headers: must be a list of { name, value_env } (line 6)",
            ),
            (
                "[\"s3cret\"]",
                "auth.headers[0]: must be { name, value_env } (line 6)",
            ),
            (
                "[{ name = \"x-key\", value_env = \"${KEY}\" }]",
                "auth.headers[0].value_env: the environment variable that it names is not set (line 6)",
            ),
            (
                "[{ name = \"x-key\", value_env = \"KEY\" }, { name = \"X-Key\", value_env = \"KEY\" }]",
                "auth.headers: x-key is given twice (line 6)",
            ),
            ("[]", "auth.headers: name at least one header (line 6)"),
            (
                "[{ name = \"Host\", value_env = \"KEY\" }]",
                "auth.headers: host is set by the connection or the protocol and cannot be a static header (line 6)",
            ),
            (
                "[{ name = \"x-key\", value_env = \"KEY\", prefix = \"s3cret\" }]",
                "auth.headers[0].prefix: unknown key (line 6)",
            ),
        ] {
            let lines = format!("[servers.auth]\ntype = \"static_headers\"\nheaders = {headers}");
            assert_eq!(fault(&lines), expected);
        }
    }
}
