//! Name lookup, with a check of the addresses that are about to be connected to.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

use super::address::{Place, place};
use super::workers::Workers;
use super::{EgressRules, Error};

/// The addresses that a connection may be made to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judgement {
    /// A rule names the host: any address, except a metadata service without a rule of its own.
    Named,
    /// Public addresses, and those that a rule covers.
    Public,
    /// Only addresses that a rule covers.
    Covered,
    /// Only public addresses, whatever the rules say: the rules are the operator's word about what
    /// was entered, and a server that names a URL could have it lead inside.
    Foreign,
}

#[derive(Clone)]
pub(super) struct Resolver {
    rules: Arc<EgressRules>,
    judgement: Judgement,
    workers: Workers,
}

impl Resolver {
    pub(super) fn new(rules: Arc<EgressRules>, judgement: Judgement, workers: Workers) -> Self {
        Self {
            rules,
            judgement,
            workers,
        }
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (rules, judgement) = (Arc::clone(&self.rules), self.judgement);
        let workers = self.workers.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            // Port 0 is replaced by the URL's.
            let look_up = async move {
                let found = tokio::net::lookup_host((host, 0)).await;
                found.map(Vec::from_iter)
            };
            let found = match workers.elsewhere() {
                // A lookup that hangs holds a thread.
                Some(elsewhere) => elsewhere.run_there(look_up).await.ok_or("no runtime")?,
                None => look_up.await,
            };
            let found = found.map_err(Unresolved)?;
            admit(&rules, judgement, name.as_str(), &found)?;
            Ok(found.into_iter())
        })
    }
}

/// The error of a name that cannot be looked up.
#[derive(Debug)]
pub(super) struct Unresolved(io::Error);

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name cannot be resolved")
    }
}

impl StdError for Unresolved {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

/// Allows all addresses or none: a name that resolves to a public and a private address is
/// suspicious.
fn admit(
    rules: &EgressRules,
    judgement: Judgement,
    name: &str,
    found: &[SocketAddr],
) -> Result<(), Error> {
    let admitted = |ip| match judgement {
        Judgement::Named => rules.cover(ip) || place(ip) != Place::Metadata,
        Judgement::Public => rules.cover(ip) || place(ip) == Place::Public,
        Judgement::Covered => rules.cover(ip),
        Judgement::Foreign => place(ip) == Place::Public,
    };
    let refused = found.iter().map(SocketAddr::ip).find(|&ip| !admitted(ip));
    match refused {
        None => Ok(()),
        Some(address) => {
            tracing::debug!(name, %address, "the egress rules do not allow this address");
            Err(match judgement {
                Judgement::Foreign => Error::NotPublic,
                _ => Error::Denied,
            })
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
    fn a_name_of_somebody_elses_leads_to_public_addresses_whatever_the_rules_say() {
        let rules = ["127.0.0.0/8", "10.0.0.0/8", "host"];
        assert!(admitted(&rules, Judgement::Foreign, &["8.8.8.8"]));
        for found in [&["10.0.0.1"][..], &["127.0.0.1"], &["8.8.8.8", "10.0.0.1"]] {
            assert!(!admitted(&rules, Judgement::Foreign, found), "{found:?}");
        }
    }

    #[test]
    fn a_named_host_may_be_private_but_no_metadata_service() {
        assert!(admitted(&[], Judgement::Named, &["10.0.0.1", "8.8.8.8"]));
        assert!(!admitted(&[], Judgement::Named, &["169.254.169.254"]));
        let exact = ["169.254.169.254"];
        assert!(admitted(&exact, Judgement::Named, &["169.254.169.254"]));
    }
}
