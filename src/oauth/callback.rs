//! What the browser brings back.

use secrecy::SecretString;
use url::{Url, form_urlencoded};

use super::{
    challenge::is_code,
    error::{Error, ErrorKind},
    server::AuthorizationServer,
};

/// A query that is longer has nothing that we asked for in it.
const MAX_QUERY: usize = 16 * 1024;
/// Codes are opaque; some providers put a whole sealed session into them.
const MAX_VALUE: usize = 8 * 1024;

/// The query of a callback (RFC 6749 section 4.1.2, RFC 9207 section 2).
///
/// The state says which authorization it belongs to: look it up first, once, by its hash. Nothing
/// else in here may be believed or shown before that, and before [`code`](Self::code).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Callback {
    /// The state of [`Begun`](super::Begun), as it came back.
    pub state: SecretString,
    /// Who answers, by its own word.
    pub iss: Option<String>,
    /// What the answer is.
    pub outcome: CallbackOutcome,
}

/// What an authorization server answered through the browser.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallbackOutcome {
    /// An authorization code.
    Code(SecretString),
    /// An error code: letters, digits, `_`, `-` and `.` only.
    Refused(String),
}

impl Callback {
    /// Reads the query of a callback's URL, without the `?`. Parameters that are not ours are
    /// passed over.
    ///
    /// # Errors
    /// [`ErrorKind::Callback`] if `state`, `iss`, `code` or `error` is given twice, is empty, too
    /// long, or has characters that it may not have; if the state is absent; or if there is not
    /// just one of a code and an error.
    pub fn parse(query: &str) -> Result<Self, Error> {
        if query.len() > MAX_QUERY {
            return Err(malformed("is too long"));
        }
        let [mut state, mut iss, mut code, mut error] = [const { None::<String> }; 4];
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let member = match &*name {
                "state" => &mut state,
                "iss" => &mut iss,
                "code" => &mut code,
                "error" => &mut error,
                _ => continue,
            };
            let visible = |byte: u8| (0x20..=0x7e).contains(&byte);
            if value.is_empty() || value.len() > MAX_VALUE || !value.bytes().all(visible) {
                return Err(malformed("has an empty, too long or unreadable member"));
            }
            if member.replace(value.into_owned()).is_some() {
                return Err(malformed("has a member twice"));
            }
        }
        let outcome = match (code, error) {
            (Some(code), None) => CallbackOutcome::Code(code.into()),
            (None, Some(error)) if is_code(&error) => CallbackOutcome::Refused(error),
            (None, Some(_)) => return Err(malformed("has an unreadable error code")),
            _ => return Err(malformed("must have either a code or an error")),
        };
        Ok(Self {
            state: state.ok_or_else(|| malformed("has no state"))?.into(),
            iss,
            outcome,
        })
    }

    /// The code, if the callback is from `server`, which is the one that the state belongs to.
    ///
    /// Who answers is looked at first, for refusals too (RFC 9207 section 2.4): `iss` must be the
    /// recorded issuer, character for character. Where no issuer is recorded, because endpoints
    /// were typed without one, `iss` must at least be of the authorization endpoint's origin.
    ///
    /// # Errors
    /// [`ErrorKind::Issuer`] if `iss` is another one, or absent although the server promises it;
    /// then the outcome must not be shown either. [`ErrorKind::Denied`] for a refusal.
    pub fn code(&self, server: &AuthorizationServer) -> Result<&SecretString, Error> {
        let is_from_server = match (&self.iss, &server.issuer) {
            (Some(iss), Some(issuer)) => iss == issuer,
            (Some(iss), None) => Url::parse(iss)
                .is_ok_and(|iss| iss.origin() == server.authorization_endpoint.origin()),
            (None, _) => !server.sends_issuer,
        };
        if !is_from_server {
            return Err(Error::new(
                ErrorKind::Issuer,
                "the callback does not come from the authorization server that was asked",
            ));
        }
        match &self.outcome {
            CallbackOutcome::Code(code) => Ok(code),
            CallbackOutcome::Refused(code) => {
                Err(Error::coded("the authorization endpoint", code).with_kind(ErrorKind::Denied))
            }
        }
    }
}

fn malformed(how: &str) -> Error {
    Error::new(ErrorKind::Callback, format!("the callback {how}"))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn server(issuer: Option<&str>) -> AuthorizationServer {
        AuthorizationServer::typed(
            "https://as.example/authorize".parse().unwrap(),
            "https://as.example/token".parse().unwrap(),
            issuer.map(str::to_owned),
        )
        .unwrap()
    }

    #[test]
    fn a_code_comes_with_its_state() {
        let callback =
            Callback::parse("code=a%2Fb&state=s&session_state=x&scope=y&scope=z").unwrap();
        assert_eq!(callback.state.expose_secret(), "s");
        let code = callback.code(&server(None)).unwrap();
        assert_eq!(code.expose_secret(), "a/b");
        assert!(!format!("{callback:?}").contains("a/b"));
    }

    #[test]
    fn without_a_recorded_issuer_the_origin_must_be_that_of_the_endpoint() {
        let from = |iss: &str| {
            let callback = Callback::parse(&format!("code=c&state=s&iss={iss}")).unwrap();
            callback.code(&server(None)).map(drop)
        };
        assert!(from("https://as.example/realms/a").is_ok());
        for iss in [
            "https://honest.example",
            "http://as.example",
            "https://as.example:8443",
            "as.example",
        ] {
            assert_eq!(from(iss).unwrap_err().kind(), ErrorKind::Issuer, "{iss}");
        }
    }

    #[test]
    fn a_refusal_is_shown_by_known_codes_only() {
        let said = |code: &str| {
            let callback = Callback::parse(&format!("error={code}&state=s&error_description=<b>"));
            callback.unwrap().code(&server(None)).unwrap_err()
        };
        let denied = said("access_denied");
        assert_eq!(denied.kind(), ErrorKind::Denied);
        assert_eq!(
            denied.to_string(),
            "the authorization endpoint says access_denied"
        );
        assert!(!said("call-1-900-555").to_string().contains("900"));
    }
}
