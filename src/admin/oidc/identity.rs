//! Who somebody is: a name, a role, and what the provider is asked with again.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::config::Oidc;
use crate::{
    admin::role::Role,
    hex::hex,
    oauth::openid::Claims,
    secret::{KeyRing, Place},
    unseen::is_unseen,
};

/// The longest name, in bytes: it stands in every entry of the audit.
const NAME: usize = 100;
/// Stands before every name from a provider: no operator of the file has such a name.
const PREFIX: &str = "oidc:";

/// Somebody who signed in.
pub(in super::super) struct Identity {
    pub(in super::super) name: String,
    pub(in super::super) subject: String,
    pub(in super::super) role: Role,
    pub(in super::super) grant: Grant,
}

/// What the provider is asked with, whether a role is still so.
#[derive(Clone)]
pub(in super::super) struct Grant {
    /// Who gave it, and who alone is asked with it.
    pub(in super::super) issuer: String,
    pub(super) subject: String,
    pub(super) access_token: SecretString,
    pub(super) refresh_token: Option<SecretString>,
}

/// A grant as it is sealed.
#[derive(Serialize, Deserialize)]
struct Written {
    subject: String,
    access_token: String,
    refresh_token: Option<String>,
}

impl Grant {
    /// The grant, sealed for its issuer and the session with this id.
    pub(in super::super) fn seal(&self, ring: &KeyRing, organization: &str, id: &str) -> Vec<u8> {
        let written = Written {
            subject: self.subject.clone(),
            access_token: self.access_token.expose_secret().to_owned(),
            refresh_token: self
                .refresh_token
                .as_ref()
                .map(|token| token.expose_secret().to_owned()),
        };
        // Texts do not fail to be written.
        let text = serde_json::to_string(&written).unwrap_or_default();
        ring.seal(&place(organization, id, &self.issuer), &text.into())
    }

    /// Opens what was sealed; `None` where the key is gone, or it is another issuer's or session's.
    pub(in super::super) fn open(
        ring: &KeyRing,
        (organization, id): (&str, &str),
        issuer: &str,
        sealed: &[u8],
    ) -> Option<Self> {
        let text = ring.open(&place(organization, id, issuer), sealed).ok()?;
        let written: Written = serde_json::from_str(text.expose_secret()).ok()?;
        Some(Self {
            issuer: issuer.to_owned(),
            subject: written.subject,
            access_token: written.access_token.into(),
            refresh_token: written.refresh_token.map(Into::into),
        })
    }
}

fn place<'a>(organization: &'a str, id: &'a str, issuer: &'a str) -> Place<'a> {
    Place::new(organization, id, "operator's grant", issuer)
}

impl Oidc {
    /// The highest role that the claims give.
    pub(super) fn role(&self, claims: &Claims) -> Option<Role> {
        let value = claims.at(&self.role_claim)?;
        let values = match value {
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
            Value::String(text) => vec![&**text],
            _ => Vec::new(),
        };
        let roles = self.roles.iter();
        let given = roles.filter(|(_, value)| values.contains(&&**value));
        given.map(|(role, _)| *role).max()
    }

    /// Returns `true` if the claims have the one that roles come from, whatever is in it.
    pub(super) fn has_role_claim(&self, claims: &Claims) -> bool {
        claims.at(&self.role_claim).is_some()
    }

    /// The name by which pages and the audit know somebody: as the provider calls them, which they may
    /// choose themselves or share with others, and a mark of who they are, which nobody chooses.
    pub(super) fn name(&self, claims: &Claims) -> String {
        let usual = ["preferred_username", "email", "sub"];
        let chosen = self.name_claim.as_deref().into_iter();
        let mut names = chosen
            .chain(usual)
            .filter_map(|claim| claims.at(claim)?.as_str())
            .map(cleaned);
        let name = names.find(|name| !name.is_empty());
        let subject = claims.text("sub").unwrap_or_default();
        let mark = mark(&self.issuer, subject);
        format!("{PREFIX}{}#{mark}", name.unwrap_or_default())
    }
}

/// The mark of somebody: 32 bits tell apart those who share a name.
fn mark(issuer: &str, subject: &str) -> String {
    let digest = Sha256::digest(format!("{issuer}\0{subject}"));
    hex(&digest[..4])
}

/// A name without what cannot be seen, and not too long.
fn cleaned(name: &str) -> String {
    let mut kept = String::new();
    let letters = name.trim().chars();
    for letter in letters.filter(|letter| !letter.is_control() && !is_unseen(*letter)) {
        if kept.len() + letter.len_utf8() > NAME {
            break;
        }
        kept.push(letter);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_all_of_them_is_seen() {
        assert_eq!(cleaned(" Ann O'Neill "), "Ann O'Neill");
        assert_eq!(cleaned("a\r\nb\u{202e}c\0"), "abc");
        assert_eq!(cleaned(&"é".repeat(200)).len(), 100);
        // Pages escape it.
        assert_eq!(cleaned("<b>x</b>"), "<b>x</b>");
    }

    #[test]
    fn a_grant_opens_for_its_own_issuer_and_session_only() {
        let ring = KeyRing::generate();
        let grant = Grant {
            issuer: "https://a.example".to_owned(),
            subject: "1".to_owned(),
            access_token: "s3cret".into(),
            refresh_token: None,
        };
        let sealed = grant.seal(&ring, "o", "a");
        let opened = |place, issuer| Grant::open(&ring, place, issuer, &sealed);
        let own = opened(("o", "a"), "https://a.example").unwrap();
        assert_eq!(own.access_token.expose_secret(), "s3cret");
        for (place, issuer) in [
            (("o", "b"), "https://a.example"),
            (("p", "a"), "https://a.example"),
            (("o", "a"), "https://b.example"),
            (("o", "a"), ""),
        ] {
            assert!(opened(place, issuer).is_none(), "{place:?} {issuer}");
        }
    }
}
