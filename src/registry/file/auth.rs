//! The secrets of an entry, which the file names by variable or by path.

use secrecy::SecretString;
use url::Url;

use super::value::WORDS;
use crate::{
    registry::{
        OAuth2,
        members::{ClientProof, Entered, Fault, HeaderValue, Members, Secrets},
    },
    secret::SecretSource,
};

/// A function that returns the value of an environment variable.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The secrets of a file, looked up in these variables.
pub(super) struct File<'a>(pub(super) Env<'a>);

impl Secrets for File<'_> {
    fn header(&self, header: &Members<'_>, _: &str, _: &Url) -> Result<HeaderValue, Fault> {
        let value = self.secret(header, "value")?;
        let value =
            value.ok_or_else(|| header.at().fault("needs either value_env or value_file"))?;
        Ok(HeaderValue::Given(value, None))
    }

    fn client_proof(
        &self,
        auth: &Members<'_>,
        proof: ClientProof,
        _: &OAuth2,
        _: &Url,
    ) -> Result<Entered<SecretString>, Fault> {
        Ok((self.secret(auth, proof.member())?, None))
    }
}

impl File<'_> {
    /// Reads the secret that the keys for `member` name; `None` if there are no such keys.
    fn secret(&self, keys: &Members<'_>, member: &str) -> Result<Option<SecretString>, Fault> {
        let [variable, file] = &WORDS.spelled(member)[..] else {
            return Ok(None);
        };
        if keys.has(member) {
            return Err(keys.fault(member, format!(
                "a secret is not written in the file; use {variable}, the name of the environment variable that holds it, or {file}, the path of a file that does"
            )));
        }
        let (at, source) = match (keys.get(variable), keys.get(file)) {
            (None, None) => return Ok(None),
            (Some(at), None) => (at.clone(), SecretSource::Variable(at.text()?.into())),
            (None, Some(at)) => (at.clone(), SecretSource::File(at.text()?.into())),
            (Some(_), Some(at)) => {
                return Err(at.fault(format!("give either {variable} or {file}")));
            }
        };
        let secret = source.read(self.0);
        secret
            .map(Some)
            .map_err(|fault| at.fault(fault.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::FileRegistry;
    use crate::{registry::Auth, token_auth::TokenAuth};

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

    fn read(auth: &str) -> Auth {
        let text = format!("[[servers]]\nname = \"a\"\nurl = \"https://a.example\"\n{auth}");
        let registry = FileRegistry::parse(&text, env).unwrap();
        registry.servers()[0].auth.clone()
    }

    #[test]
    fn oauth_is_read_whole_and_its_secret_from_the_environment() {
        let auth = read(
            "[servers.auth]\ntype = \"oauth2\"\nclient_id = \"id\"\nclient_secret_env = \"KEY\"\n\
             authorization_url = \"https://as.example/a\"\ntoken_url = \"https://as.example/t\"\n\
             scopes = \"read, write\"\nresource = \"https://a.example\"\ntoken_auth = \"client_secret_post\"",
        );
        let Auth::OAuth2(oauth) = auth else {
            panic!("{auth:?}")
        };
        assert_eq!(oauth.scopes.to_string(), "read write");
        assert_eq!(oauth.token_auth, Some(TokenAuth::ClientSecretPost));
        assert!(oauth.client_secret.is_some() && oauth.token_url.is_some());
        assert!(matches!(
            read("auth = { type = \"oauth2\", scopes = [\"a\"] }"),
            Auth::OAuth2(_)
        ));
    }

    #[test]
    fn passthrough_has_a_header() {
        for (auth, expected) in [
            ("auth.type = \"token_passthrough\"", "authorization"),
            (
                "auth = { type = \"token_passthrough\", header = \"X-Key\" }",
                "x-key",
            ),
        ] {
            assert!(matches!(read(auth), Auth::TokenPassthrough(name) if name == expected));
        }
        assert_eq!(
            fault("auth = { type = \"token_passthrough\", header = \"Host\" }"),
            "auth.header: host is set by the connection or the protocol (line 4)"
        );
    }

    #[test]
    fn faults_of_oauth_stand_where_they_are() {
        let secret = "the client_secret is: give issuer, or authorization_url and token_url";
        for (members, expected) in [
            (
                "client_secret = \"s3cret\"",
                "auth.client_secret: a secret is not written in the file; use client_secret_env, the name of the environment variable that holds it, or client_secret_file, the path of a file that does (line 6)".to_owned(),
            ),
            (
                "client_id = \"id\"\nclient_secret_env = \"KEY\"",
                format!("auth.issuer: say for which authorization server {secret} (line 4)"),
            ),
            (
                "client_secret_env = \"KEY\"",
                "auth.client_id: is needed where a client_secret is given (line 4)".to_owned(),
            ),
            (
                "client_id = \"id\"\nclient_secret_env = \"BROKEN\"\nissuer = \"https://as.example\"",
                "auth.client_secret_env: is empty or has control characters (line 7)".to_owned(),
            ),
            (
                "token_url = \"https://as.example/t\"",
                "auth.token_url: authorization_url and token_url are given together, or discovered (line 6)".to_owned(),
            ),
            (
                "scopes = \"\\\"\"",
                "auth.scopes: a scope is empty or has characters that no scope may have (line 6)".to_owned(),
            ),
            (
                "token_auth = \"tls_client_auth\"",
                "auth.token_auth: must be \"client_secret_basic\", \"client_secret_post\", \"private_key_jwt\" or \"none\" (line 6)".to_owned(),
            ),
            (
                "token_auth = \"private_key_jwt\"",
                "auth.private_key_env: is needed for this token_auth (line 4)".to_owned(),
            ),
            (
                "client_id = \"id\"\nprivate_key_env = \"KEY\"\nissuer = \"https://as.example\"",
                "auth.private_key_env: is not a private key in PEM: its first line is -----BEGIN PRIVATE KEY----- (PKCS #8), -----BEGIN RSA PRIVATE KEY----- (PKCS #1) or -----BEGIN EC PRIVATE KEY----- (SEC 1) (line 7)".to_owned(),
            ),
            (
                "grant = \"client_credentials\"\nclient_id = \"id\"\nclient_secret_env = \"KEY\"",
                "auth.issuer: say for which authorization server the client_secret is: give issuer, or token_url (line 4)".to_owned(),
            ),
            (
                "grant = \"password\"",
                "auth.grant: must be \"authorization_code\", \"client_credentials\" or \"token_exchange\" (line 6)".to_owned(),
            ),
            (
                "issuer = \"as.example\"",
                "auth.issuer: not an absolute https URL without user and fragment (line 6)".to_owned(),
            ),
            ("headers = []", "auth.headers: unknown key; known are type, grant, client_id, client_secret_env, client_secret_file, private_key_env, private_key_file, key_id, signing_algorithm, authorization_url, token_url, scopes, issuer, resource, token_auth, audience, subject_audience, subject_issuer, subject_token_type (line 6)".to_owned()),
        ] {
            let lines = format!("[servers.auth]\ntype = \"oauth2\"\n{members}");
            assert_eq!(fault(&lines), expected);
        }
    }

    #[test]
    fn an_unknown_authentication_is_refused_plainly() {
        assert_eq!(
            fault("auth = { type = \"none\", headers = [] }"),
            "auth.headers: unknown key; known are type (line 4)"
        );
        assert_eq!(
            fault("auth.type = \"basic\""),
            "auth.type: must be \"none\", \"static_headers\", \"oauth2\" or \"token_passthrough\" (line 4)"
        );
    }

    #[test]
    fn faults_of_headers_never_repeat_a_secret() {
        for (headers, expected) in [
            (
                "[{ name = \"x-key\", value = \"s3cret\" }]",
                "auth.headers[0].value: a secret is not written in the file; use value_env, the name of the environment variable that holds it, or value_file, the path of a file that does (line 6)",
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
                "auth.headers[0].value_env: the environment variable that it names (6 characters) is not set; give the name of an environment variable, not the secret itself (line 6)",
            ),
            (
                "[{ name = \"x-key\", value_env = \"BROKEN\" }]",
                "auth.headers: the value of x-key is empty, over 8192 bytes, or has characters that a header cannot carry (line 6)",
            ),
            (
                "\"s3cret\"",
                "auth.headers: must be a list of { name, value_env } or { name, value_file } (line 6)",
            ),
            (
                "[\"s3cret\"]",
                "auth.headers[0]: must be { name, value_env } or { name, value_file } (line 6)",
            ),
            (
                "[{ name = \"x-key\", value_env = \"${KEY}\" }]",
                "auth.headers[0].value_env: the environment variable that it names (6 characters) is not set; give the name of an environment variable, not the secret itself (line 6)",
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
                "auth.headers[0].prefix: unknown key; known are name, value_env, value_file (line 6)",
            ),
        ] {
            let lines = format!("[servers.auth]\ntype = \"static_headers\"\nheaders = {headers}");
            assert_eq!(fault(&lines), expected);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_may_be_in_a_file_that_only_its_owner_reads() {
        use std::{
            fs::{self, Permissions},
            os::unix::fs::PermissionsExt,
        };

        let path = std::env::temp_dir().join(format!("mcp-layer-value-{}", std::process::id()));
        fs::write(&path, "Bearer s3cret\n").unwrap();
        let mode = |mode| fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let header = |rest: &str| {
            let path = path.display();
            format!(
                "auth = {{ type = \"static_headers\", headers = [{{ name = \"x-key\", value_file = \"{path}\"{rest} }}] }}"
            )
        };
        mode(0o600);
        assert_eq!(read(&header("")).headers()["x-key"], "Bearer s3cret");
        let oauth = read(&format!(
            "auth = {{ type = \"oauth2\", client_id = \"c\", issuer = \"https://as.example\", client_secret_file = \"{}\" }}",
            path.display()
        ));
        assert!(matches!(oauth, Auth::OAuth2(oauth) if oauth.client_secret.is_some()));
        assert_eq!(
            fault(&header(", value_env = \"KEY\"")),
            "auth.headers[0].value_file: give either value_env or value_file (line 4)"
        );
        mode(0o644);
        let shown = fault(&header(""));
        assert!(
            shown.contains("has the mode 0644") && shown.contains("chmod 600"),
            "{shown}"
        );
        fs::remove_file(&path).unwrap();
        let shown = fault(&header(""));
        assert!(
            shown.contains("auth.headers[0].value_file: ") && shown.contains("cannot be read"),
            "{shown}"
        );
    }
}
