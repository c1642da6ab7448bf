//! Signing in by OpenID Connect: who somebody is, and with which role, as a provider says.
//!
//! ```text
//!  /sign-in/provider ──▶ a cookie for this sign-in alone, and on to the provider
//!  /sign-in/callback ◀── from the provider, with the cookie: code ──▶ tokens ──▶ claims ──▶ role
//!  every half minute ──▶ userinfo, or the refresh token: is the role still so?
//! ```
//!
//! The protocol is in [`oauth`](crate::oauth); here is what is made of it. Roles come from one claim
//! and from nothing else: whoever has no role by it is not let in, whoever they are.

mod config;
mod identity;
mod look;
mod pending;
mod provider;
mod sign_in;
mod tries;

pub use self::config::{InvalidOidc, Oidc};
pub(super) use self::{
    identity::{Grant, Identity},
    look::Look,
    pending::Pending,
    provider::Provider,
    sign_in::Refusal,
    tries::{Spent, Tries},
};
