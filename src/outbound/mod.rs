//! The guarded HTTP client for all calls to MCP servers and authorization servers.
//!
//! Anyone who can register a server can make this process send requests, so every call is guarded:
//!
//! - https only, and public addresses only, unless the operator's [`EgressRules`] allow the host.
//! - Addresses are checked where the connection is made, in the resolver: the address that was
//!   checked is the one connected to, so a name cannot be rebound in between. If an answer mixes
//!   allowed and refused addresses, none is used. Addresses written in the URL never reach a
//!   resolver and are checked earlier.
//! - Every request has a `User-Agent`, `mcp-layer/VERSION` unless it brings its own.
//! - No redirects, no proxy from the environment, no content codings, and no request is repeated by
//!   the library.
//! - A connection that sends on and on without an answer is closed: endless interim answers, pings
//!   or heads. A complete HTTP client offers no hook for that, so connections are made here, over
//!   hyper-util's client.
//!
//! There are four clients with separate connection pools, so that a connection opened under one
//! judgement is never used under another: *named* (a rule names the URL's host), *public* (https to
//! public or covered addresses), *covered* (plain http, only to covered addresses) and *foreign*
//! (https to public addresses, whatever the rules, for URLs that a server names).
//!
//! ```
//! use mcp_layer::outbound::{EgressRules, Outbound};
//!
//! let outbound = Outbound::new(EgressRules::parse(["127.0.0.0/8"])?);
//! assert!(outbound.check(&"https://mcp.example.com/mcp".parse()?).is_ok());
//! assert!(outbound.check(&"http://127.0.0.1:3001/mcp".parse()?).is_ok());
//! assert!(outbound.check(&"https://10.0.0.1/mcp".parse()?).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod advice;
mod connector;
mod error;
mod meter;
mod resolver;
mod response;
mod roots;
mod rules;
mod workers;

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header::USER_AGENT};
use http_body::Body;
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;
use rustls::RootCertStore;
use tokio::runtime::Handle;
use url::{Host, Url};

pub use error::Error;
pub(crate) use response::{Response, SendError};
pub use rules::EgressRules;
pub(crate) use workers::{Workers, move_on};

use address::{Place, place};
use connector::Connector;
use resolver::{Judgement, Resolver};

/// The default time limit for lookup, connecting and the TLS handshake together: 5 s.
///
/// Long enough for a lost packet or two on a far route; a host that drops packets must not block a
/// caller for the minutes that TCP would try.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle connections kept per host: more than the concurrent calls of a busy gateway to one server.
const IDLE_CONNECTIONS: usize = 64;

/// The lifetime of an idle connection: less than the five seconds after which servers of uvicorn and
/// of Node close theirs by default. A request that crosses such an end is lost, and neither a tool
/// call nor the refresh of a token can be sent again.
const IDLE: Duration = Duration::from_secs(4);

/// Firewalls and gateways refuse requests that do not say who sends them.
const AGENT: &str = concat!("mcp-layer/", env!("CARGO_PKG_VERSION"));

type Door = Client<Connector, BoxBody<Bytes, Infallible>>;

/// The guarded HTTP client. Clones are cheap and share the connections.
#[derive(Clone)]
pub struct Outbound(Arc<Doors>);

struct Doors {
    rules: Arc<EgressRules>,
    roots: Arc<RootCertStore>,
    connect_timeout: Duration,
    workers: Workers,
    named: Door,
    public: Door,
    covered: Door,
    foreign: Door,
}

/// A URL that many requests go to: the first judges and reads it, for all.
#[derive(Clone)]
pub(crate) struct Destination {
    url: Url,
    found: OnceLock<(Judgement, Uri)>,
}

impl Destination {
    pub(crate) fn new(url: Url) -> Self {
        Self {
            url,
            found: OnceLock::new(),
        }
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }
}

impl Outbound {
    /// A client that keeps to `rules`.
    ///
    /// Trusts the system's root certificates, or, where the system has none (an empty container),
    /// Mozilla's, which are bundled.
    ///
    /// Should TLS be impossible to set up, which no known system makes it, there is an event of
    /// level error, and every connection fails with [`Error::Tls`].
    #[must_use]
    pub fn new(rules: EgressRules) -> Self {
        let roots = roots::of_the_system().into();
        Self::build(rules.into(), roots, CONNECT_TIMEOUT, Workers::default())
    }

    /// Adds root certificates to trust, in PEM (one or more certificates in each) or DER.
    ///
    /// ```no_run
    /// use mcp_layer::outbound::{EgressRules, Outbound};
    ///
    /// let root = std::fs::read("/etc/ssl/internal-ca.pem")?;
    /// let outbound = Outbound::new(EgressRules::default()).with_roots([root])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Certificate`] if one cannot be read, [`Error::NoCertificate`] if there is none in
    /// what is given.
    pub fn with_roots(self, roots: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, Error> {
        let mut all = RootCertStore::clone(&self.0.roots);
        for file in roots {
            roots::add(&mut all, file)?;
        }
        let doors = &*self.0;
        let workers = doors.workers.clone();
        let rules = doors.rules.clone();
        Ok(Self::build(
            rules,
            all.into(),
            doors.connect_timeout,
            workers,
        ))
    }

    /// Replaces the limit on looking up a name, connecting and the TLS handshake together; the
    /// default is [`CONNECT_TIMEOUT`].
    #[must_use]
    pub fn with_connect_timeout(self, limit: Duration) -> Self {
        let doors = &*self.0;
        let (rules, roots) = (doors.rules.clone(), doors.roots.clone());
        Self::build(rules, roots, limit, doors.workers.clone())
    }

    /// Moves the work that servers cause to `runtime`: connections with their TLS, tool lists, the
    /// answers to tool calls. By default all of that runs on the caller's runtime.
    ///
    /// On a separate runtime, a server that floods its connection, or sends answers that are
    /// expensive to read, takes no time from the threads that serve callers. That costs two
    /// hand-overs per call. The runtime needs I/O and time enabled, and must outlive all clones;
    /// requests fail once it is shut down. Existing connections are not moved.
    ///
    /// ```
    /// use mcp_layer::outbound::{EgressRules, Outbound};
    ///
    /// let servers = tokio::runtime::Builder::new_multi_thread()
    ///     .worker_threads(1)
    ///     .enable_all()
    ///     .build()?;
    /// let outbound = Outbound::new(EgressRules::default()).with_runtime(servers.handle());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_runtime(self, runtime: &Handle) -> Self {
        let doors = &*self.0;
        let (rules, roots) = (doors.rules.clone(), doors.roots.clone());
        let workers = Workers::on(runtime.clone(), false);
        Self::build(rules, roots, doors.connect_timeout, workers)
    }

    /// Moves what becomes expensive of the work that servers cause to `runtime`: TLS handshakes, and
    /// answers and connections that bring more than a few kilobytes, or many small pieces.
    ///
    /// This keeps what [`with_runtime`](Self::with_runtime) promises to callers for all but a
    /// bounded part of each answer, which is all there is of an ordinary one, and costs an ordinary
    /// call no hand-over. The runtime needs I/O and time enabled, and must outlive all clones; what
    /// would run on it fails once it is shut down. Existing connections are not moved.
    #[must_use]
    pub fn with_spare_runtime(self, runtime: &Handle) -> Self {
        let doors = &*self.0;
        let (rules, roots) = (doors.rules.clone(), doors.roots.clone());
        let workers = Workers::on(runtime.clone(), true);
        Self::build(rules, roots, doors.connect_timeout, workers)
    }

    fn build(
        rules: Arc<EgressRules>,
        roots: Arc<RootCertStore>,
        connect_timeout: Duration,
        workers: Workers,
    ) -> Self {
        let tls = roots::client(roots.clone());
        if let Err(error) = &tls {
            tracing::error!(%error, "no server can be reached");
        }
        let door = |judgement| {
            let resolver = Resolver::new(Arc::clone(&rules), judgement, workers.clone());
            let connector = Connector::new(
                resolver,
                tls.as_ref().ok(),
                connect_timeout,
                workers.clone(),
            );
            Client::builder(workers.clone())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(IDLE_CONNECTIONS)
                .http1_max_buf_size(meter::READ_AHEAD)
                .http2_initial_stream_window_size(meter::WINDOW)
                .http2_initial_connection_window_size(meter::WINDOW)
                .build(connector)
        };
        Self(Arc::new(Doors {
            named: door(Judgement::Named),
            public: door(Judgement::Public),
            covered: door(Judgement::Covered),
            foreign: door(Judgement::Foreign),
            rules,
            roots,
            connect_timeout,
            workers,
        }))
    }

    /// Returns the workers that handle what servers send.
    pub(crate) fn workers(&self) -> &Workers {
        &self.0.workers
    }

    /// Sends `request` to a URL that many requests go to, whatever URI it has itself, if the URL is
    /// acceptable; the addresses behind a name are checked when the connection is made. A
    /// destination is judged once, so it is for this client and its clones alone.
    ///
    /// Only connecting has a timeout: the caller bounds the rest.
    ///
    /// # Errors
    ///
    /// [`SendError::into_refusal`] returns those of [`check`](Self::check).
    /// [`SendError::is_denied`] is true if the name leads to a refused address.
    pub(crate) async fn send_to<B>(
        &self,
        destination: &Destination,
        request: Request<B>,
    ) -> Result<Response, SendError>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
    {
        let (judgement, uri) = match destination.found.get() {
            Some(found) => found,
            None => {
                let url = &destination.url;
                let judgement = self.judge(url).map_err(SendError::refused)?;
                let uri = Uri::try_from(url.as_str()).map_err(SendError::uri)?;
                destination.found.get_or_init(|| (judgement, uri))
            }
        };
        self.through(*judgement, uri.clone(), request).await
    }

    /// Sends `request` to `url` once. Otherwise like [`send_to`](Self::send_to), with its errors.
    #[cfg(feature = "oauth")]
    pub(crate) async fn send<B>(
        &self,
        url: &Url,
        request: Request<B>,
    ) -> Result<Response, SendError>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
    {
        self.send_to(&Destination::new(url.clone()), request).await
    }

    /// Sends `request` to a URL that the operator did not name: the egress rules open nothing to
    /// it. Otherwise like [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), with the refusals of [`check_foreign`](Self::check_foreign).
    #[cfg(feature = "oauth")]
    pub(crate) async fn send_foreign<B>(
        &self,
        url: &Url,
        request: Request<B>,
    ) -> Result<Response, SendError>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
    {
        self.check_foreign(url).map_err(SendError::refused)?;
        let uri = Uri::try_from(url.as_str()).map_err(SendError::uri)?;
        self.through(Judgement::Foreign, uri, request).await
    }

    async fn through<B>(
        &self,
        judgement: Judgement,
        uri: Uri,
        request: Request<B>,
    ) -> Result<Response, SendError>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
    {
        let door = match judgement {
            Judgement::Named => &self.0.named,
            Judgement::Public => &self.0.public,
            Judgement::Covered => &self.0.covered,
            Judgement::Foreign => &self.0.foreign,
        };
        let mut request = request.map(|body| body.boxed());
        *request.uri_mut() = uri;
        // The operator's own comes first.
        let agent = request.headers_mut().entry(USER_AGENT);
        agent.or_insert_with(|| HeaderValue::from_static(AGENT));
        let response = door.request(request).await.map_err(SendError::client)?;
        Ok(Response::new(response))
    }

    /// Checks a URL that the operator did not name, such as one in a server's metadata: only https
    /// and public addresses are acceptable, whatever the rules allow. So a server cannot have us
    /// call a host that the operator opened for another one.
    ///
    /// # Errors
    ///
    /// The first reason why the URL is not acceptable.
    pub fn check_foreign(&self, url: &Url) -> Result<(), Error> {
        let (host, _) = parts(url)?;
        let is_public = match host {
            Host::Ipv4(ip) => place(ip.into()) == Place::Public,
            Host::Ipv6(ip) => place(ip.into()) == Place::Public,
            Host::Domain(_) => true,
        };
        match is_public && url.scheme() == "https" {
            true => Ok(()),
            false => Err(Error::NotPublic),
        }
    }

    /// Checks a URL as far as possible without looking up its name, for instance before it is
    /// saved. The same checks are made again when it is used.
    ///
    /// # Errors
    ///
    /// The first reason why the URL is not acceptable.
    pub fn check(&self, url: &Url) -> Result<(), Error> {
        self.judge(url).map(drop)
    }

    /// Returns true if `url` is at a host of the operator's own: the rules name it, or cover its
    /// address. Under https, a name that is looked up is the operator's only if a rule names it.
    #[must_use]
    pub fn is_own(&self, url: &Url) -> bool {
        let covered = |ip: IpAddr| self.0.rules.cover(ip);
        match (self.judge(url), url.host()) {
            (Ok(Judgement::Named | Judgement::Covered), _) => true,
            (Ok(Judgement::Public), Some(Host::Ipv4(ip))) => covered(ip.into()),
            (Ok(Judgement::Public), Some(Host::Ipv6(ip))) => covered(ip.into()),
            _ => false,
        }
    }

    /// Returns true if only the operator decides where the host of `url` is: an address, this
    /// machine, or a name in a rule.
    #[cfg(feature = "oauth")]
    pub(crate) fn is_settled(&self, url: &Url) -> bool {
        let port = url.port_or_known_default().unwrap_or(0);
        url.host().is_some_and(|host| {
            !matches!(host, Host::Domain(name) if name != "localhost")
                || self.0.rules.name(&host, port)
        })
    }

    fn judge(&self, url: &Url) -> Result<Judgement, Error> {
        let (host, port) = parts(url)?;
        let https = url.scheme() == "https";
        if self.0.rules.name(&host, port) {
            return Ok(Judgement::Named);
        }
        match host {
            Host::Ipv4(ip) => self.judge_address(ip.into(), https),
            Host::Ipv6(ip) => self.judge_address(ip.into(), https),
            Host::Domain(_) if https => Ok(Judgement::Public),
            Host::Domain(_) if self.0.rules.cover_any() => Ok(Judgement::Covered),
            Host::Domain(_) => Err(Error::PlainHttp),
        }
    }

    fn judge_address(&self, ip: IpAddr, https: bool) -> Result<Judgement, Error> {
        let public = place(ip) == Place::Public;
        match (self.0.rules.cover(ip), https) {
            (true, false) => Ok(Judgement::Covered),
            (true, true) => Ok(Judgement::Public),
            (false, true) if public => Ok(Judgement::Public),
            (false, false) if public => Err(Error::PlainHttp),
            (false, _) => Err(Error::Denied),
        }
    }
}

/// Returns host and port of a URL that may be called as far as can be seen without rules.
fn parts(url: &Url) -> Result<(Host<&str>, u16), Error> {
    if !matches!(url.scheme(), "https" | "http") {
        return Err(Error::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(Error::Fragment);
    }
    let port = url.port_or_known_default().unwrap_or(0);
    if port == 0 {
        return Err(Error::Port);
    }
    Ok((url.host().ok_or(Error::Host)?, port))
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("rules", &self.0.rules)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &[&str], url: &str) -> Result<(), Error> {
        let rules = EgressRules::parse(rules).expect("rules");
        let outbound = Outbound::new(rules);
        outbound.check(&url.parse().expect("a URL"))
    }

    #[test]
    fn odd_spellings_of_private_addresses_are_seen_through() {
        for host in [
            "127.1",
            "0x7f.1",
            "0177.0.0.1",
            "2130706433",
            "127.0.0.1.",
            "[::1]",
            "[::ffff:a9fe:a9fe]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "169.254.169.254",
            "10.0.0.1",
        ] {
            let refused = check(&[], &format!("https://{host}/mcp"));
            assert!(matches!(refused, Err(Error::Denied)), "{host}: {refused:?}");
        }
    }

    #[test]
    fn only_clean_https_urls_pass() {
        assert!(check(&[], "https://mcp.example.com/mcp?x=1").is_ok());
        assert!(check(&[], "https://8.8.8.8/mcp").is_ok());
        assert!(matches!(
            check(&[], "ftp://example.com/"),
            Err(Error::Scheme)
        ));
        assert!(matches!(
            check(&[], "http://example.com/"),
            Err(Error::PlainHttp)
        ));
        assert!(matches!(
            check(&[], "http://8.8.8.8/"),
            Err(Error::PlainHttp)
        ));
        assert!(matches!(
            check(&[], "https://u@example.com/"),
            Err(Error::UserInfo)
        ));
        assert!(matches!(
            check(&[], "https://:p@example.com/"),
            Err(Error::UserInfo)
        ));
        assert!(matches!(
            check(&[], "https://example.com/#f"),
            Err(Error::Fragment)
        ));
        assert!(matches!(
            check(&[], "https://example.com:0/"),
            Err(Error::Port)
        ));
    }

    #[test]
    fn a_host_is_the_operators_own_where_a_rule_says_so() {
        let rules = ["10.1.0.0/16", "mcp.internal", "8.8.8.8"];
        let rules = EgressRules::parse(rules).expect("rules");
        let outbound = Outbound::new(rules);
        for (url, own) in [
            ("https://mcp.internal/mcp", true),
            ("https://mcp.internal./mcp", true),
            ("https://10.1.2.3/mcp", true),
            ("http://10.1.2.3/mcp", true),
            ("http://somewhere.example/mcp", true),
            ("https://8.8.8.8/mcp", true),
            ("https://somewhere.example/mcp", false),
            ("https://mcp.internal.example/mcp", false),
            ("https://9.9.9.9/mcp", false),
            ("https://10.2.2.3/mcp", false),
        ] {
            let judged = outbound.is_own(&url.parse().expect("a URL"));
            assert_eq!(judged, own, "{url}");
        }
    }

    #[cfg(feature = "oauth")]
    #[test]
    fn rules_open_nothing_to_a_url_that_somebody_else_names() {
        let rules = EgressRules::parse(["127.0.0.0/8", "10.0.0.1", "mcp.internal"]);
        let outbound = Outbound::new(rules.expect("rules"));
        let check = |url: &str| outbound.check_foreign(&url.parse().expect("a URL"));
        assert!(check("https://as.example.com/token").is_ok());
        assert!(check("https://8.8.8.8/token").is_ok());
        for url in [
            "http://127.0.0.1:9/token",
            "https://127.0.0.1/token",
            "https://10.0.0.1/token",
            "http://mcp.internal/token",
            "http://as.example.com/token",
            "https://[::ffff:10.0.0.1]/token",
            "https://169.254.169.254/token",
        ] {
            assert!(matches!(check(url), Err(Error::NotPublic)), "{url}");
        }
        assert!(matches!(check("file:///etc/passwd"), Err(Error::Scheme)));
        assert!(matches!(
            check("https://u@as.example.com/"),
            Err(Error::UserInfo)
        ));
    }

    #[cfg(feature = "oauth")]
    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_where_the_connection_is_made() {
        let rules = EgressRules::parse(["127.0.0.0/8"]).expect("rules");
        let outbound = Outbound::new(rules);
        let url = "https://localhost:1/token".parse().expect("a URL");
        let request = || http::Request::new(http_body_util::Empty::new());
        let foreign = outbound.send_foreign(&url, request()).await;
        assert!(foreign.expect_err("refused").is_denied());
        let entered = outbound.send(&url, request()).await;
        assert!(!entered.expect_err("nobody listens").is_denied());
    }

    #[test]
    fn rules_open_exactly_what_they_say() {
        assert!(check(&["127.0.0.0/8"], "http://127.0.0.1:3001/mcp").is_ok());
        assert!(check(&["127.0.0.0/8"], "http://localhost:3001/mcp").is_ok());
        assert!(check(&["127.0.0.0/8"], "https://10.0.0.1/mcp").is_err());
        assert!(check(&["mcp.internal:8443"], "http://mcp.internal:8443/").is_ok());
        assert!(check(&["mcp.internal:8443"], "http://mcp.internal/").is_err());
        assert!(check(&["10.1.2.3:80"], "http://10.1.2.3/").is_ok());
        assert!(check(&["10.1.2.3:80"], "http://10.1.2.3:81/").is_err());
        assert!(check(&["169.254.0.0/16"], "http://169.254.169.254/").is_err());
        assert!(check(&["169.254.169.254"], "http://169.254.169.254/").is_ok());
    }
}
