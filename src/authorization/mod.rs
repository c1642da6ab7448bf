//! The authorizations of servers with OAuth 2.0: begun by an operator, finished by a callback,
//! kept fresh, and given up.
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
//! ```
//!
//! The protocol's messages are [`oauth`](crate::oauth)'s; what is kept lies in a
//! [`CredentialStore`](crate::registry::CredentialStore), sealed there. This part knows which
//! server a token is for, and sees to it that it never reaches another one:
//!
//! - What is stored is bound to the origin of the server's URL. A URL that moves to another origin
//!   has no authorization.
//! - A client secret that an operator entered goes to the authorization server that it was entered
//!   for: the server itself cannot name another one.
//! - Each server has a callback of its own, and what comes back elsewhere is refused: an attacker's
//!   server cannot have an honest one's code sent to itself.
//! - What a server names in its metadata is public, or on a host that the operator entered.
//! - A refresh token goes to the token endpoint that it came from, whatever is discovered later.
//!
//! One attack remains. Someone may register a client of their own at an honest authorization server
//! that takes any client and never says who it is, with the callback of their own MCP server here,
//! and have the consent given there. That code was asked for by the attacker's client.

mod authorizations;
mod begin;
mod client;
mod credential;
mod disconnect;
mod error;
mod finish;
mod flights;
mod glance;
mod grants;
mod hand_over;
mod pending;
mod place;
mod refresh;
mod request;
mod text;

pub use self::{
    authorizations::Authorizations, begin::Begun, error::Error, finish::Connected,
    hand_over::Started, place::redirect_uri,
};
