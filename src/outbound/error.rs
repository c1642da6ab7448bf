//! Errors of URLs, rules and certificates.

use std::fmt;

use crate::secret::Doubtful;

/// An error of a call that was refused before it was made, or of building the client.
///
/// The texts contain no address, so callers learn nothing about the internal network; operators
/// find the refused address in a `tracing` event at level debug.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// An egress rule is neither an address, a CIDR block, nor a host with an optional port.
    Rule {
        /// The rule as given.
        rule: String,
    },
    /// The scheme is neither `https` nor `http`.
    Scheme,
    /// Plain `http`, and the egress rules do not allow the host.
    PlainHttp,
    /// The URL has a user name or a password, which would end up in logs.
    UserInfo,
    /// The URL has a fragment, which means nothing to a server.
    Fragment,
    /// The URL's port is 0.
    Port,
    /// The URL has no host.
    Host,
    /// The host is, or resolves to, an address that is neither public nor allowed.
    Denied,
    /// The URL was not named by the operator, and is not https to a public address.
    NotPublic,
    /// A root certificate cannot be read.
    Certificate,
    /// The input for a root certificate contains none.
    NoCertificate,
    /// TLS could not be set up.
    Tls,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { rule } => write!(
                f,
                "egress rule {} is not an address, a CIDR block or a host[:port]",
                // The rule may be a URL with a password.
                Doubtful(rule)
            ),
            Self::Scheme => f.write_str("the URL must be an https URL"),
            Self::PlainHttp => {
                f.write_str("plain http is refused unless the egress rules allow the host")
            }
            Self::UserInfo => f.write_str("the URL must not have a user name or a password"),
            Self::Fragment => f.write_str("the URL must not have a fragment"),
            Self::Port => f.write_str("the URL must not have port 0"),
            Self::Host => f.write_str("the URL must have a host"),
            Self::Denied => f.write_str("the egress rules do not allow this host's address; add it to them if it is to be reached"),
            Self::NotPublic => f.write_str(
                "a URL that was not entered by hand must be https and have a public address",
            ),
            Self::Certificate => f.write_str("a root certificate cannot be read"),
            Self::NoCertificate => f.write_str("the input contains no root certificate"),
            Self::Tls => f.write_str("TLS could not be set up"),
        }
    }
}

impl std::error::Error for Error {}
