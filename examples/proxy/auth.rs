//! The door for callers: whose key a request has, and the project that it belongs to.

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use mcp_layer::{
    CallerId, CallerLimits, Project,
    admin::{ClientAddress, Throttle},
    registry::CallLimits,
};

use crate::{
    answer::Answer,
    keys::{Found, Keys},
    log::Unlogged,
    refusal::Refusal,
};

/// The longest key in bytes; longer ones are not even hashed.
pub const LONGEST: usize = 4096;

/// The project of a request, and the id of its key.
pub struct Caller {
    pub project: Project,
    pub id: Option<CallerId>,
    /// The limits of its key.
    pub limits: CallLimits,
}

impl Caller {
    /// Tells the layer whose a request is.
    pub fn mark<B>(self, request: &mut Request<B>) {
        let extensions = request.extensions_mut();
        extensions.insert(self.project);
        if let Some(id) = self.id {
            extensions.insert(id);
            extensions.insert(CallerLimits(self.limits));
        }
    }
}

/// Why a request is not let in.
#[derive(Clone, Copy)]
pub enum Rejected {
    Unknown,
    Expired,
    /// The database has been away for so long that nobody knows which keys are still good.
    Away,
}

/// The keys, with a count of wrong ones that keeps them from filling the log.
pub struct Door {
    pub keys: Keys,
    pub throttle: Throttle,
}

/// Wrong keys of one address that are logged within a minute.
const LOGGED: u32 = 10;

impl Door {
    /// Identifies the caller, and removes the key from the request: it is for this proxy only.
    ///
    /// Without keys everybody is the project `default`. Then the layer looks at `Authorization`,
    /// which is passed on to the upstream.
    pub fn admit<B>(&self, request: &mut Request<B>) -> Result<Caller, Rejected> {
        let sent = bearer(request.headers()).filter(|key| key.len() <= LONGEST);
        let caller = match self.keys.find(sent, SystemTime::now()) {
            Found::Unneeded => {
                return Ok(Caller {
                    limits: CallLimits::default(),
                    project: Project::default(),
                    id: None,
                });
            }
            Found::Key(project, caller, limits) => Caller {
                limits,
                project,
                id: Some(caller),
            },
            Found::Expired => return Err(Rejected::Expired),
            Found::Unknown => return Err(Rejected::Unknown),
            Found::Away => return Err(Rejected::Away),
        };
        request.headers_mut().remove(header::AUTHORIZATION);
        Ok(caller)
    }

    /// Answers 401, never 429: clients retry that one.
    pub fn refuse(&self, why: Rejected, from: ClientAddress) -> Answer {
        let message = match why {
            Rejected::Unknown => {
                "the API key is missing or unknown; send it as: Authorization: Bearer KEY"
            }
            Rejected::Expired => {
                "the API key has expired; ask whoever runs this gateway for another"
            }
            Rejected::Away => return away(),
        };
        let wrong = self.throttle.wrong(Some(from), SystemTime::now());
        if wrong.times == 1 {
            let address = from.0.to_string();
            tracing::warn!(
                address,
                "an unknown API key, or none; only the first few from one address within a minute are logged"
            );
        }
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message);
        let mut refused = Answer::from(refusal);
        let challenge = HeaderValue::from_static("Bearer");
        refused
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
        if wrong.times > LOGGED {
            refused.extensions_mut().insert(Unlogged);
        }
        refused
    }
}

/// The answer while no stored key can be looked at. The registry has logged why.
fn away() -> Answer {
    let message = "the gateway's storage of API keys is not available";
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Refusal::new(status, "mcp_registry_error", message).into()
}

/// Returns the token of the only `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}
