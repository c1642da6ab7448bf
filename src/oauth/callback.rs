//! The callback that the browser brings back.
//!
//! The sender is checked before the content: `iss` is compared before a code or an error is looked
//! at. Endpoints that were typed without an issuer are held to their origin; otherwise an honest
//! server's code could be sent to an attacker's typed endpoint.

use secrecy::SecretString;
use url::{Url, form_urlencoded};

use super::{
    challenge::is_code,
    codes::{coded, known, refuses_resource},
    error::{Error, ErrorKind},
    said,
    server::{AUTHORIZATION_ENDPOINT, AuthorizationServer},
};

/// The longest query in bytes; a longer one is no answer to a request of ours.
const MAX_QUERY: usize = 16 * 1024;
/// The longest value in bytes. Codes are opaque, and some providers put a whole sealed session into
/// them.
const MAX_VALUE: usize = 8 * 1024;

/// The query of a callback (RFC 6749 section 4.1.2, RFC 9207 section 2).
///
/// The state tells which authorization it belongs to: look it up first, once, by its hash. Trust
/// and show nothing else before that, and before [`code`](Self::code).
///
/// An `iss` that is not the server's fails before the code is looked at:
///
/// ```
/// use mcp_layer::oauth::{AuthorizationServer, Callback, ErrorKind};
///
/// let server = AuthorizationServer::typed(
///     "https://as.example/authorize".parse()?,
///     "https://as.example/token".parse()?,
///     Some("https://as.example".to_owned()),
/// )?;
/// let honest = Callback::parse("code=c0de&state=5tate&iss=https%3A%2F%2Fas.example")?;
/// assert!(honest.code(&server).is_ok());
/// let mixed_up = Callback::parse("code=c0de&state=5tate&iss=https%3A%2F%2Fevil.example")?;
/// assert_eq!(mixed_up.code(&server).unwrap_err().kind(), ErrorKind::Issuer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Callback {
    /// The state of [`Begun`](super::Begun), as it came back.
    pub state: SecretString,
    /// The issuer that claims to answer.
    pub iss: Option<String>,
    /// The code or the refusal.
    pub outcome: CallbackOutcome,
    /// What a refusal says in its own words, cleaned.
    said: Option<String>,
}

/// The outcome that an authorization server sends through the browser.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallbackOutcome {
    /// An authorization code.
    Code(SecretString),
    /// An error code: letters, digits, `_`, `-` and `.` only.
    Refused(String),
}

impl Callback {
    /// Parses the query of a callback's URL, without the `?`. Unknown parameters are ignored.
    ///
    /// # Errors
    /// [`ErrorKind::Callback`] if `state`, `iss`, `code` or `error` is given twice, is empty or too
    /// long, or has invalid characters; if there is no state; or unless there is exactly one of
    /// code and error.
    pub fn parse(query: &str) -> Result<Self, Error> {
        if query.len() > MAX_QUERY {
            return Err(malformed("is too long"));
        }
        let [mut state, mut iss, mut code, mut error] = [const { None::<String> }; 4];
        let mut description = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let member = match &*name {
                "state" => &mut state,
                "iss" => &mut iss,
                "code" => &mut code,
                "error" => &mut error,
                "error_description" => {
                    description = Some(said::line(&value)).filter(|line| !line.is_empty());
                    continue;
                }
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
        let Some(state) = state else {
            return Err(stateless(error.as_deref()));
        };
        let outcome = match (code, error) {
            (Some(code), None) => CallbackOutcome::Code(code.into()),
            (None, Some(error)) if is_code(&error) => CallbackOutcome::Refused(error),
            (None, Some(_)) => return Err(malformed("has an unreadable error code")),
            _ => return Err(malformed("must have either a code or an error")),
        };
        Ok(Self {
            state: state.into(),
            iss,
            outcome,
            said: description,
        })
    }

    /// Returns the code if the callback comes from `server`, the one that the state belongs to.
    ///
    /// The sender is checked first, for refusals too (RFC 9207 section 2.4): `iss` must equal the
    /// recorded issuer, as its metadata spell it, character for character. If no issuer is recorded, because the endpoints
    /// were typed without one, `iss` must at least have the authorization endpoint's origin.
    ///
    /// # Errors
    /// [`ErrorKind::Issuer`] if `iss` differs, or is missing although the server promises it; then
    /// the outcome must not be shown either. [`ErrorKind::Denied`] for a refusal.
    pub fn code(&self, server: &AuthorizationServer) -> Result<&SecretString, Error> {
        let is_from_server = match (&self.iss, &server.issuer) {
            (Some(iss), Some(issuer)) => iss == issuer,
            (Some(iss), None) => {
                let endpoint = server.authorization_endpoint.as_ref().map(Url::origin);
                Url::parse(iss).is_ok_and(|iss| Some(iss.origin()) == endpoint)
            }
            (None, _) => !server.sends_issuer,
        };
        if !is_from_server {
            return Err(Error::new(
                ErrorKind::Issuer,
                match self.iss {
                    Some(_) => {
                        "the callback does not come from the authorization server that was asked"
                    }
                    None => {
                        "the callback does not come from the authorization server that was asked: \
                         it has no iss, which that one promises"
                    }
                },
            ));
        }
        match &self.outcome {
            CallbackOutcome::Code(code) => Ok(code),
            CallbackOutcome::Refused(code) => Err(self.refusal(code)),
        }
    }

    /// The error of a refusal, once its sender is known.
    fn refusal(&self, code: &str) -> Error {
        let said = self.said.as_deref();
        let error = coded(AUTHORIZATION_ENDPOINT, code);
        let is_about_the_resource =
            error.kind() == ErrorKind::InvalidTarget || said.is_some_and(refuses_resource);
        let error = match is_about_the_resource {
            true => error.with_kind(ErrorKind::InvalidTarget),
            false => error.with_kind(ErrorKind::Denied),
        };
        match said {
            Some(said) => error.saying(format!("{said:?}")),
            None => error,
        }
    }
}

/// The fault of a callback that belongs to nothing: only an error code that is known is believed.
fn stateless(error: Option<&str>) -> Error {
    match error.and_then(known) {
        Some((code, _)) => malformed(&format!("has no state, and says {code}")),
        None => malformed("has no state"),
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
