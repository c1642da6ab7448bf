//! The operator's side: dashboard and REST on a separate listener, behind a token.

use std::{net::SocketAddr, str::FromStr, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::{Next, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::StatusCode;
use mcp_layer::{
    Connections,
    admin::{self, Admin, ClientAddress},
    registry::Store,
    secret::SecretString,
};
use serde::Deserialize;
use tower::Service;
use tracing::Span;
use url::{Host, Position, Url};

use crate::{
    answer::AnswerBody,
    config::{Invalid, KEYLESS_UPSTREAM},
    database::OpenDatabase,
    incoming::App,
    keys::Keys,
    log::Unlogged,
    places::Trusted,
    request_id::RequestId,
    secrets::Named,
    server::{self, Draining},
    watch::Watch,
};

/// The address of the operator's side, or `off`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    Off,
    At(SocketAddr),
}

impl Default for Listen {
    fn default() -> Self {
        Self::At(([127, 0, 0, 1], 8788).into())
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text
                .parse()
                .map(Self::At)
                .map_err(|_| "must be IP:PORT, or off".to_owned()),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The settings of the operator's side, from the file and from flags.
#[derive(Default)]
pub struct Wishes {
    pub listen: Option<Listen>,
    pub token: Named,
    pub public_url: Option<String>,
}

/// The operator's side as configured.
pub struct Side {
    pub listen: SocketAddr,
    pub token: Token,
    /// The key that names the token in messages.
    token_key: String,
    /// The public URL; without one, every name of this machine is accepted.
    public_url: Option<Url>,
}

/// The token that opens the operator's side.
pub enum Token {
    /// A configured token, shown nowhere.
    Given(SecretString),
    /// A token made for this run of the demo, and printed once.
    Made(String),
}

impl Side {
    /// Checks the settings; `None` if there is to be no operator's side.
    pub fn new(wishes: Wishes, is_demo: bool) -> Result<Option<Self>, Invalid> {
        let Listen::At(listen) = wishes.listen.unwrap_or_default() else {
            return Ok(None);
        };
        let public_url = wishes.public_url.as_deref().map(public_url).transpose()?;
        if public_url.is_none() && !listen.ip().is_loopback() {
            return Err(Invalid::new(format!(
                "public_url is required if admin_listen is {listen}: the address, beginning with https://, that operators use"
            )));
        }
        let token = match wishes.token.read("admin_token")? {
            Some(token) => Token::Given(token),
            None if is_demo => Token::Made(random()?),
            None => {
                return Err(Invalid::new(format!(
                    "admin_token_env or admin_token_file is required: the environment variable or the file with the token of the operator's side, which listens on {listen}; or set admin_listen = \"off\""
                )));
            }
        };
        Ok(Some(Self {
            listen,
            token,
            token_key: wishes.token.key("admin_token"),
            public_url,
        }))
    }

    /// Creates the interface over `store`; `connections` are the layer's. Keys of callers can be made
    /// if they `may_be`.
    pub fn admin(
        &self,
        store: Arc<dyn Store>,
        connections: Connections,
        (callers, may_be): (Keys, bool),
        database: Option<OpenDatabase>,
    ) -> Result<Admin, Invalid> {
        let token = match &self.token {
            Token::Given(token) => token.clone(),
            Token::Made(token) => token.as_str().into(),
        };
        let mut admin = Admin::new(store, connections, token)
            .map_err(|error| {
                let key = &self.token_key;
                Invalid::new(format!(
                    "{key}: {error}; `openssl rand -hex 16` generates one"
                ))
            })?
            .with_projects((!callers.are_wanted()).then_some("default"))
            .with_api_keys(callers);
        if !may_be {
            admin = admin.without_new_api_keys(KEYLESS_UPSTREAM);
        }
        if let Some(url) = &self.public_url {
            admin = admin.with_public_url(url.clone());
        }
        if let Some(database) = database {
            admin = admin.with_keys(move || database.clone().keys());
        }
        Ok(admin)
    }

    /// The host of the public URL, at which something may stand before both listeners.
    pub fn public_host(&self) -> Option<String> {
        let url = self.public_url.as_ref()?;
        Some(url[Position::BeforeHost..Position::AfterPort].to_owned())
    }
}

/// Builds the operator's side: the router with its layers, from the inside to the outside.
pub fn app(admin: Admin, draining: Draining, trusted: Trusted) -> App {
    let app = admin::router(admin)
        .layer(map_response(quieted))
        .layer(from_fn_with_state(draining, turn_away));
    Arc::new(move |mut request, from| {
        let id = RequestId::of(request.headers_mut());
        let from = ClientAddress(trusted.caller(request.headers(), from.0));
        let watch = Watch::new(&request, from, &id, Span::none());
        request.extensions_mut().insert(from);
        let answering = app.clone().call(request);
        let answering = answering.map(|Ok(answer)| answer.map(AnswerBody::operators));
        let answering = watch.over(answering).map(move |mut answer| {
            id.mark(&mut answer);
            Ok(answer)
        });
        Box::pin(answering)
    })
}

/// Builds the listener of metrics alone: nobody looks at who asks, and nothing is logged of it.
pub fn metrics_app(admin: Admin) -> App {
    let app = admin::metrics_router(admin);
    Arc::new(move |request, _| {
        let answering = app.clone().call(request);
        Box::pin(answering.map(|Ok(answer)| Ok(answer.map(AnswerBody::operators))))
    })
}

/// Creates the interface for the metrics of `store` where there is no operator's side: nobody has its
/// token.
pub fn nobodys(store: Arc<dyn Store>, connections: Connections) -> Result<Admin, Invalid> {
    Admin::new(store, connections, random()?.into()).map_err(Invalid::new)
}

/// Refuses new requests while the proxy is stopping.
async fn turn_away(State(draining): State<Draining>, request: Request, next: Next) -> Response {
    match draining.has_begun() {
        true => server::turned_away(request).await.into_response(),
        false => next.run(request).await,
    }
}

/// Keeps further 429s out of the log: the first one has its line.
async fn quieted(mut response: Response) -> Response {
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        response.extensions_mut().insert(Unlogged);
    }
    response
}

/// The outside address: what is sent over it is the token, so in the clear on this machine only.
fn public_url(text: &str) -> Result<Url, Invalid> {
    let invalid = |reason| Invalid::new(format!("public_url: {reason}"));
    let url: Url = text
        .parse()
        .map_err(|_| invalid("not a URL; expected one like https://gateway.example.com"))?;
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_local) {
        return Err(invalid(
            "must begin with https://, or http:// for this machine",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("the URL must not have a user name or a password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("the URL must not have a query or a fragment"));
    }
    Ok(url)
}

/// Returns a token of 128 random bits.
fn random() -> Result<String, Invalid> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(Invalid::new)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bits)))
}
