//! OAuth 2.0 client for MCP servers: from a server's URL to tokens, and from those to fresh ones.
//!
//! It stores nothing and knows no registry. Each step takes values that the one before returned,
//! and the caller keeps them in between, so every rule can be tested against a lying server:
//!
//! ```text
//!  operator's browser          caller                       MCP server   authorization server
//!        │                       │ 401 WWW-Authenticate          │               │
//!        │                       │◀──────────────────────────────┤               │
//!        │                       │ Challenge::parse              │               │
//!        │                       │ discover ────────────────────▶│ metadata      │
//!        │                       │          ────────────────────────────────────▶│ metadata
//!        │                       │ register, or Client::new ────────────────────▶│ (register only)
//!        │  Begun::url           │ begin                         │               │
//!        │◀──────────────────────┤ keeps state, verifier,        │               │
//!        │                       │ server, client, redirect_uri, │               │
//!        │                       │ resource                      │               │
//!        ├──────────────────────────────────────────────────────────────────────▶│ consent
//!        │◀──────────────────────────────────────────────────────────────────────┤
//!        │  ?code&state&iss      │                               │               │
//!        ├──────────────────────▶│ Callback::parse               │               │
//!        │                       │ takes what the state names    │               │
//!        │                       │ Callback::code (is it them?)  │               │
//!        │                       │ exchange ────────────────────────────────────▶│ Tokens
//!        │                       │ refresh, revoke ─────────────────────────────▶│ Tokens
//! ```
//!
//! Where no person is asked there is no browser, and none of its steps: a client that is authorized
//! itself ([`client_credentials`]), or has a token of somebody's exchanged ([`exchange_token`]), needs
//! [`discover_without_browser`] and the token endpoint alone. A client proves who it is by a secret, or
//! by an assertion that it signs ([`Client::with_key`]).
//!
//! ```
//! use mcp_layer::Scopes;
//! use mcp_layer::oauth::{self, AuthorizationServer, Callback, Client, ErrorKind, Request};
//!
//! let server = AuthorizationServer::typed(
//!     "https://github.com/login/oauth/authorize".parse()?,
//!     "https://github.com/login/oauth/access_token".parse()?,
//!     None,
//! )?;
//! let client = Client::new("Iv1.0123456789abcdef", Some("secret".into()), None, &server)?;
//! let begun = oauth::begin(&Request {
//!     server: &server,
//!     client: &client,
//!     redirect_uri: &"https://gateway.example/oauth/callback".parse()?,
//!     scopes: &Scopes::parse("read:user repo")?,
//!     resource: None,
//! })?;
//! assert!(begun.url.as_str().contains("code_challenge_method=S256"));
//!
//! let callback = Callback::parse("error=access_denied&state=0123456789")?;
//! assert_eq!(callback.code(&server).unwrap_err().kind(), ErrorKind::Denied);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Security
//! - All requests go through the guarded [`Outbound`](crate::outbound::Outbound): https and public
//!   addresses, no redirects, 15 s, 64 KiB. The operator's egress rules apply only to hosts that
//!   were [entered](Http::with_entered); metadata lead nowhere else.
//! - Issuers are compared character for character; only in metadata the slash at a root counts for
//!   nothing. The `iss` of a callback is what the metadata say, to the last slash. `tolerated.rs` has a table of all that is read although it is not as
//!   it should be, and of what never is.
//! - If a server does not identify itself in callbacks, only the redirect URI can: give each server
//!   its own, as [`Authorizations`](crate::authorization::Authorizations) does, and compare it.
//! - PKCE with S256 is always used; discovered servers must promise it.
//! - No error's `Display` or `Debug` contains a secret, or text of a provider's choice; what it said
//!   is apart, cleaned, in [`Error::said`].

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;

mod discover;
mod register;
mod token;

mod answer;
mod assertion;
mod authorize;
mod callback;
mod endpoint;
mod metadata;

mod client;
mod server;

mod challenge;
mod search;

#[cfg(feature = "admin")]
pub(crate) mod openid;

mod http;
mod said;

mod tolerated;

mod error;

mod codes;

pub(crate) use self::discover::canonical;
pub use self::{
    answer::Tokens,
    authorize::{Begun, Request, begin},
    callback::{Callback, CallbackOutcome},
    challenge::Challenge,
    client::Client,
    discover::{Discovered, discover, discover_without_browser},
    error::{Error, ErrorKind},
    http::Http,
    register::{client_metadata, register},
    server::AuthorizationServer,
    token::{Exchange, client_credentials, exchange, exchange_token, refresh, revoke},
};
