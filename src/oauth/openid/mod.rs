//! OpenID Connect Core 1.0, as far as signing in by it goes: a provider's metadata, its keys, and
//! the tokens that say who somebody is.
//!
//! ```text
//!  provider ──▶ OpenId           endpoints, by the issuer that an operator has named
//!  Keys::fetch ──▶ Keys          the keys that its tokens are signed with
//!  Claims::verify ──▶ Claims     what a signed token says, once everything about it is right
//!  userinfo ──▶ Claims           what the provider says now
//! ```
//!
//! Like the rest of this part it stores nothing: who keeps keys, and for how long, is decided by
//! whoever signs people in.

mod claims;
mod keys;
mod provider;
mod userinfo;

pub(crate) use self::{
    claims::{Claims, Expected, Wrong},
    keys::Keys,
    provider::{OpenId, provider},
    userinfo::userinfo,
};
