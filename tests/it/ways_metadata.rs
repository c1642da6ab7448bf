//! `metadata.mcp_servers`.

use serde_json::json;

use crate::support::ways::{House, Way};

#[tokio::test]
async fn the_member_goes_and_the_rest_of_metadata_stays() {
    let house = House::new().await;
    let ask = Way::Metadata.asks(&["b"], &json!({"metadata": {"a": "1", "z": "2"}}));
    let turns = house.turns(&ask, &[]).await;
    assert!(
        turns[0].contains(r#""metadata":{"a":"1","z":"2"}"#),
        "{}",
        turns[0]
    );
    let turns = house
        .turns(&Way::Metadata.asks(&["b"], &json!({})), &[])
        .await;
    assert!(!turns[0].contains("metadata"), "{}", turns[0]);
}

#[tokio::test]
async fn names_may_have_spaces_around_them_and_repeat() {
    let house = House::new().await;
    let ask = Way::Metadata.asks(&[" b ", "", "a", "b"], &json!({}));
    assert_eq!(
        house.offered(&ask).await,
        ["a__read", "a__write", "b__look"]
    );
}

#[tokio::test]
async fn metadata_that_names_no_servers_is_somebody_elses() {
    let house = House::new().await;
    let plain = Way::Metadata.asks(&["b"], &json!({}));
    for metadata in [
        json!({"servers": "mcp"}),
        json!({"mcp": "b"}),
        json!({"mcp_prompt": "p"}),
        json!({"a": {"mcp_servers": "b"}}),
        json!("mcp_servers"),
        json!(null),
    ] {
        let ask = plain.clone().with("metadata", metadata);
        assert_eq!(house.turns(&ask, &[]).await, [ask.body.to_string()]);
    }
}

#[tokio::test]
async fn what_is_no_text_with_names_is_refused() {
    let house = House::new().await;
    let plain = Way::Metadata.asks(&["b"], &json!({}));
    for servers in [
        json!(""),
        json!(" , "),
        json!(["b"]),
        json!(1),
        json!(null),
        json!({}),
    ] {
        let ask = plain
            .clone()
            .with("metadata", json!({"mcp_servers": servers}));
        let (status, code, param) = house.refused(&ask).await;
        assert_eq!(
            (status, &*code, &*param),
            (400, "invalid_mcp_options", "metadata.mcp_servers")
        );
    }
}

#[tokio::test]
async fn a_header_goes_before_metadata() {
    let house = House::new().await;
    let ask = Way::Metadata
        .asks(&["a"], &json!({}))
        .header("x-mcp-servers", "b");
    let turns = house.turns(&ask, &[]).await;
    assert_eq!(crate::support::ways::names(&turns[0]), ["b__look"]);
    assert!(!turns[0].contains("metadata"), "{}", turns[0]);
}
