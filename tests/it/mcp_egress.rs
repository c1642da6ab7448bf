//! The guard on the way out, with real sockets on the other side.

use http::HeaderMap;
use mcp_layer::mcp::{Client, Endpoint, Error, ErrorKind, ServerLimits, Transport};
use mcp_layer::outbound::{EgressRules, Outbound};

use crate::support::evil::{Evil, Step, json_reply};
use crate::support::{call, everything};

async fn call_with(rules: &[&str], url: &str) -> Result<String, Error> {
    let outbound = Outbound::new(EgressRules::parse(rules).unwrap());
    let endpoint = Endpoint::new(
        url.parse().unwrap(),
        Transport::StreamableHttp,
        HeaderMap::new(),
    );
    let client = Client::new(outbound, endpoint, ServerLimits::default());
    Ok(call(&client, "a", "{}").await?.text)
}

async fn server() -> Evil {
    Evil::mcp(|request| vec![Step::Send(json_reply(&request.text("reached")))]).await
}

// Row 45.
#[tokio::test]
async fn no_spelling_of_a_private_host_gets_a_connection() {
    let server = server().await;
    let port = server.address.port();
    for scheme in ["http", "https"] {
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "2130706433",
            "[::ffff:7f00:1]",
            "localhost",
            "localhost.",
            "user@127.0.0.1",
        ] {
            let denied = call_with(&[], &format!("{scheme}://{host}:{port}/mcp"))
                .await
                .unwrap_err();
            // Not every resolver knows `localhost.`; none may lead there.
            let unknown = host == "localhost." && denied.kind() == ErrorKind::Unreachable;
            assert!(
                unknown || denied.kind() == ErrorKind::EgressDenied,
                "{scheme}://{host}: {denied}"
            );
            assert!(!everything(&denied).contains("127.0.0.1"));
        }
    }
    assert_eq!(server.connections(), 0);
}

// Row 46.
#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_denied() {
    let server = server().await;
    let url = format!("https://localhost:{}/mcp", server.address.port());
    let denied = call_with(&["10.0.0.0/8"], &url).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::EgressDenied);
    assert_eq!(
        denied.to_string(),
        "the egress rules do not allow the server's address; its operator can add its host to them"
    );
    let url = format!("http://localhost:{}/mcp", server.address.port());
    let denied = call_with(&["10.0.0.0/8"], &url).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::EgressDenied);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_rule_opens_the_way_by_address_and_by_name() {
    let server = server().await;
    let port = server.address.port();
    let by_address = format!("http://127.0.0.1:{port}/mcp");
    let by_name = format!("http://localhost:{port}/mcp");
    let name_and_port = format!("localhost:{port}");
    for (rule, url) in [
        ("127.0.0.0/8", &by_address),
        ("127.0.0.1", &by_address),
        ("127.0.0.0/8", &by_name),
        ("localhost", &by_name),
        (&*name_and_port, &by_name),
    ] {
        assert_eq!(
            call_with(&[rule], url).await.unwrap(),
            "reached",
            "{rule} {url}"
        );
    }
    for (rule, url) in [("localhost:1", &by_name), ("localhost", &by_address)] {
        let denied = call_with(&[rule], url).await.unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::EgressDenied, "{rule} {url}");
    }
}
