//! Certificates: a server is trusted for a root that we trust, in its time, under its name.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use mcp_layer::mcp::{Client, Endpoint, Error, ErrorKind, ServerLimits, Transport};
use mcp_layer::outbound::{self, EgressRules, Outbound};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::support::evil::{Evil, Step, json_reply};
use crate::support::{CANARY, call, everything};

/// A root of our own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// A server's side of TLS, with a certificate as described.
    fn certify(&self, params: &CertificateParams) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

/// Ends TLS in front of a server; nothing gets there without a handshake. Returns its port.
async fn in_front_of(server: &Evil, acceptor: TlsAcceptor) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = server.address;
    tokio::spawn(async move {
        while let Ok((outside, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut outside = acceptor.accept(outside).await?;
                let mut inside = TcpStream::connect(behind).await?;
                tokio::io::copy_bidirectional(&mut outside, &mut inside).await
            });
        }
    });
    port
}

async fn call_over_tls(roots: Option<&str>, port: u16) -> Result<String, Error> {
    let rules = EgressRules::parse(["127.0.0.0/8"]).unwrap();
    let outbound = Outbound::new(rules)
        .with_roots(roots.map(|pem| pem.as_bytes().to_vec()))
        .unwrap();
    let url = format!("https://localhost:{port}/mcp").parse().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static(CANARY));
    let endpoint = Endpoint::new(url, Transport::StreamableHttp, headers);
    let mut limits = ServerLimits::default();
    limits.list = Duration::from_secs(2);
    let client = Client::new(outbound, endpoint, limits);
    Ok(call(&client, "a", "{}").await?.text)
}

async fn server() -> Evil {
    Evil::mcp(|request| vec![Step::Send(json_reply(&request.text("reached")))]).await
}

#[tokio::test]
async fn a_root_of_the_operators_is_trusted() {
    let (server, authority) = (server().await, Authority::new());
    let port = in_front_of(&server, authority.certify(&named("localhost"))).await;
    let reached = call_over_tls(Some(&authority.pem), port).await;
    assert_eq!(reached.unwrap(), "reached");
}

// Row 35.
#[tokio::test]
async fn a_bad_certificate_gets_no_credential_and_no_second_try_without_tls() {
    let (server, authority) = (server().await, Authority::new());
    let mut expired = named("localhost");
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 1, 1);
    for (what, roots, certificate, told) in [
        ("unknown root", None, named("localhost"), "ca_file"),
        (
            "wrong name",
            Some(&*authority.pem),
            named("other.example"),
            "is for other names than localhost",
        ),
        ("expired", Some(&*authority.pem), expired, "has expired"),
    ] {
        let port = in_front_of(&server, authority.certify(&certificate)).await;
        let failed = call_over_tls(roots, port).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Unreachable, "{what}");
        assert_eq!(
            failed.to_string(),
            "the TLS handshake with the server failed",
            "{what}"
        );
        let detail = failed.detail().unwrap();
        assert!(detail.contains(told), "{what}: {detail}");
        assert!(!everything(&failed).contains("canary"));
    }
    assert_eq!(server.connections(), 0);
}

// Row 35.
#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to() {
    let server = server().await;
    let failed = call_over_tls(None, server.address.port())
        .await
        .unwrap_err();
    assert!(failed.is_transport());
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn what_is_no_certificate_is_refused_at_once() {
    let with =
        |root: &str| Outbound::new(EgressRules::default()).with_roots([root.as_bytes().to_vec()]);
    let empty = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(matches!(with(empty), Err(outbound::Error::NoCertificate)));
    assert!(with("garbage").is_err());
    assert!(with(&Authority::new().pem).is_ok());
}
