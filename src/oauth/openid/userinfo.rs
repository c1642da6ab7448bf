//! What a provider says of somebody now (OpenID Connect Core 1.0 section 5.3).

use http::{
    HeaderValue, Request,
    header::{ACCEPT, AUTHORIZATION},
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::claims::Claims;
use crate::oauth::{
    error::{Error, ErrorKind},
    http::{Http, bad, heard, unread},
    tolerated::object,
};

const ENDPOINT: &str = "the provider's userinfo endpoint";

/// Asks the provider about the person whose token this is, who must be `subject`.
///
/// # Errors
/// [`ErrorKind::InvalidGrant`] if the token is refused: it has expired, or the person is gone.
pub(crate) async fn userinfo(
    http: &Http,
    url: &Url,
    token: &SecretString,
    subject: &str,
) -> Result<Claims, Error> {
    let mut request = Request::new(Vec::new());
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let bearer = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
    let bearer = bearer.map_err(|_| bad(ENDPOINT, "is asked with a token that fits no header"))?;
    headers.insert(AUTHORIZATION, bearer);
    let answer = http.send(ENDPOINT, url, request).await;
    let answer = answer.map_err(|error| error.hiding([token]))?;
    if answer.status().is_client_error() {
        let text = format!("{ENDPOINT} refuses the token");
        let said = heard(&answer);
        return Err(Error::new(ErrorKind::InvalidGrant, text)
            .saying(said)
            .hiding([token]));
    }
    let claims = object(answer.body()).map(Claims::new);
    let claims = claims.ok_or_else(|| {
        bad(ENDPOINT, "does not answer with a JSON object").saying(unread(&answer))
    })?;
    // Section 5.3.2: without this an answer about somebody else would be taken.
    if claims.text("sub") != Some(subject) {
        return Err(bad(ENDPOINT, "answers about somebody else"));
    }
    Ok(claims)
}
