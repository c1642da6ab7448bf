//! The authorizations of servers with OAuth 2.0: an operator begins them, a callback finishes them,
//! refreshes keep them alive, and disconnecting ends them.
//!
//! ```text
//!  operator      begin(server) ──▶ Begun: the address for the browser, and the browser's own secret
//!     │                                          │ consent
//!     │                                          │
//!     │   or without a browser at hand: prepare(server) ──▶ one-time address ──▶ start
//!     └──────────────────────────────────────────▼
//!  callback      finish(path and query, browser's secret) ──▶ Connected
//!
//!  a request     Connections ──▶ token: fresh, or refreshed once for everybody who waits
//!                            ──▶ renewed: after a 401        ──▶ missing: after a 403
//!
//!  the gateway   connect(server) ──▶ Connected, without a browser; or the first request does so
//!  each caller   the token that says who they are ──▶ exchanged for one of their own
//! ```
//!
//! The messages of the protocol are in [`oauth`](crate::oauth); credentials are stored, sealed, in
//! a [`CredentialStore`](crate::registry::CredentialStore). This module knows which server a token
//! is for, and ensures that no other server ever gets it:
//!
//! - A stored credential is bound to the origin of the server's URL. If the URL moves to another
//!   origin, the server has to be connected again.
//! - A client secret is only sent to the authorization server that the operator entered it for; the
//!   MCP server cannot name another one.
//! - Each server has its own callback, and an answer on another one is refused, so an attacker's
//!   server cannot have an honest server's code sent to itself.
//! - Endpoints that a server names in its metadata must be public, or on a host that the operator
//!   entered.
//! - What proves who the gateway is where it authorizes itself, and a caller's token that is exchanged, go to
//!   the token endpoint, or the issuer, that the operator entered.
//! - A refresh token is only sent to the token endpoint that issued it, whatever is discovered
//!   later.
//!
//! One attack remains. Someone may register a client of their own at an honest authorization server
//! that takes any client and never says who it is, with the callback of their own MCP server here,
//! and have the consent given there. That code was asked for by the attacker's client.

mod advice;
mod authorizations;
mod begin;
mod client;
mod credential;
mod disconnect;
mod error;
mod exchange;
mod exchanges;
mod finish;
mod flights;
mod glance;
mod grants;
mod hand_over;
mod machine;
mod pending;
mod place;
mod refresh;
mod request;
mod target;
mod text;

#[cfg(feature = "admin")]
pub(crate) use self::advice::own_advice;
pub use self::{
    authorizations::Authorizations, begin::Begun, error::Error, finish::Connected,
    hand_over::Started, place::redirect_uri,
};
