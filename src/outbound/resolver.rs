//! Looks names up, and judges the addresses that a connection is about to be made to.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{Place, place};
use super::{EgressRules, Error};

/// Which addresses a connection may be made to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judgement {
    /// A rule names the host: any address, but a metadata service only by a rule of its own.
    Named,
    /// Public addresses, and those that a rule covers.
    Public,
    /// Only addresses that a rule covers.
    Covered,
}

pub(super) struct Resolver {
    rules: Arc<EgressRules>,
    judgement: Judgement,
}

impl Resolver {
    pub(super) fn new(rules: Arc<EgressRules>, judgement: Judgement) -> Self {
        Self { rules, judgement }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, judgement) = (Arc::clone(&self.rules), self.judgement);
        Box::pin(async move {
            // Port 0 is replaced by the URL's.
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            admit(&rules, judgement, name.as_str(), &found)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// All or nothing: a name that answers with a public and a private address is trying something.
fn admit(
    rules: &EgressRules,
    judgement: Judgement,
    name: &str,
    found: &[SocketAddr],
) -> Result<(), Error> {
    let admitted = |place| match judgement {
        Judgement::Named => place != Place::Metadata,
        Judgement::Public => place == Place::Public,
        Judgement::Covered => false,
    };
    let refused = found
        .iter()
        .map(SocketAddr::ip)
        .find(|&ip| !rules.cover(ip) && !admitted(place(ip)));
    match refused {
        None => Ok(()),
        Some(address) => {
            tracing::debug!(name, %address, "the egress rules do not allow this address");
            Err(Error::Denied)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(rules: &[&str], judgement: Judgement, found: &[&str]) -> bool {
        let rules = EgressRules::parse(rules).expect("rules");
        let found: Vec<_> = found
            .iter()
            .map(|ip| SocketAddr::new(ip.parse().expect("an address"), 0))
            .collect();
        admit(&rules, judgement, "host", &found).is_ok()
    }

    #[test]
    fn of_a_mixed_answer_nothing_is_used() {
        assert!(admitted(&[], Judgement::Public, &["8.8.8.8", "1.1.1.1"]));
        assert!(!admitted(&[], Judgement::Public, &["8.8.8.8", "127.0.0.1"]));
        assert!(!admitted(&[], Judgement::Public, &["127.0.0.1", "8.8.8.8"]));
    }

    #[test]
    fn plain_http_needs_every_address_covered() {
        let rules = ["127.0.0.0/8"];
        assert!(admitted(&rules, Judgement::Covered, &["127.0.0.1", "::1"]));
        assert!(!admitted(
            &rules,
            Judgement::Covered,
            &["127.0.0.1", "8.8.8.8"]
        ));
        assert!(!admitted(&rules, Judgement::Covered, &["8.8.8.8"]));
    }

    #[test]
    fn a_named_host_may_be_private_but_no_metadata_service() {
        assert!(admitted(&[], Judgement::Named, &["10.0.0.1", "8.8.8.8"]));
        assert!(!admitted(&[], Judgement::Named, &["169.254.169.254"]));
        let exact = ["169.254.169.254"];
        assert!(admitted(&exact, Judgement::Named, &["169.254.169.254"]));
    }
}
