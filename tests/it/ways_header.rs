//! `x-mcp-servers`, `x-mcp-tools` and `x-mcp-resume`.

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::framework::{Framework, lookup, turn};
use crate::support::gateway::{Gateway, chat};
use crate::support::model::says;
use crate::support::ways::{Ask, House, Way};

const HEADERS: [&str; 3] = ["x-mcp-servers", "x-mcp-tools", "x-mcp-resume"];

#[tokio::test]
async fn the_headers_are_taken_off_every_request() {
    let house = House::new().await;
    for (method, path) in [
        (Method::GET, "/v1/models"),
        (Method::POST, "/v1/embeddings"),
        (Method::POST, "/v1/responses"),
        (Method::POST, "/v1/chat/completions"),
    ] {
        house.gateway.model.add([says("hi")]);
        let body = json!({"model": "m", "messages": []}).to_string();
        let mut request: Request<Full<_>> = chat(body);
        (*request.method_mut(), *request.uri_mut()) = (method, path.parse().unwrap());
        for (name, value) in HEADERS.into_iter().zip(["b", "b__look", "false"]) {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        assert_eq!(house.gateway.request(request).await.status, 200, "{path}");
        let asked = house.gateway.model.asked();
        let headers = &asked.last().unwrap().headers;
        assert!(
            HEADERS.iter().all(|name| !headers.contains_key(*name)),
            "{path}"
        );
    }
}

#[tokio::test]
async fn where_they_do_not_opt_in_they_are_somebody_elses() {
    let house = House::new().await;
    let house = house.layered(|layer| layer.with_header_opt_in(false));
    let ask = Way::Header
        .asks(&["a"], &json!({}))
        .header("x-mcp-tools", "a__x");
    assert_eq!(house.turns(&ask, &[]).await, [ask.body.to_string()]);
    let asked = house.gateway.model.asked();
    assert_eq!(asked[0].headers["x-mcp-servers"], "a");
}

#[tokio::test]
async fn tools_are_chosen_by_their_offered_names() {
    let house = House::new().await;
    let ask = Way::Header.asks(&["a", "b"], &json!({}));
    let some = ask.clone().header("x-mcp-tools", "b__look, a__read");
    assert_eq!(house.offered(&some).await, ["a__read", "b__look"]);
    let unknown = ask.header("x-mcp-tools", "a__nothing");
    let (status, code, param) = house.refused(&unknown).await;
    assert_eq!(
        (status, &*code, &*param),
        (400, "invalid_mcp_options", "x-mcp-tools")
    );
}

/// The plain request.
fn plain() -> Ask {
    Ask {
        body: json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
        headers: Vec::new(),
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_read_is_refused() {
    let house = House::new().await;
    for (given, param) in [
        (vec![("x-mcp-tools", "a__read")], "x-mcp-tools"),
        (vec![("x-mcp-servers", "")], "x-mcp-servers"),
        (vec![("x-mcp-servers", " ,")], "x-mcp-servers"),
        (
            vec![("x-mcp-servers", "a"), ("x-mcp-servers", "b")],
            "x-mcp-servers",
        ),
        (
            vec![("x-mcp-servers", "a"), ("x-mcp-tools", "")],
            "x-mcp-tools",
        ),
        (
            vec![("x-mcp-servers", "a"), ("x-mcp-resume", "yes")],
            "x-mcp-resume",
        ),
    ] {
        let ask = given
            .into_iter()
            .fold(plain(), |ask, (name, value)| ask.header(name, value));
        let (status, code, place) = house.refused(&ask).await;
        assert_eq!(
            (status, &*code, &*place),
            (400, "invalid_mcp_options", param),
            "{ask:?}"
        );
    }
    let mut request: Request<Full<_>> = chat(plain().body.to_string());
    let no_text = http::HeaderValue::from_bytes(b"a\xff").unwrap();
    request.headers_mut().insert("x-mcp-servers", no_text);
    let error = house.gateway.request(request).await.error();
    assert_eq!(
        error,
        (
            400,
            "invalid_mcp_options".to_owned(),
            json!("x-mcp-servers")
        )
    );
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_where_a_header_asks() {
    let house = House::new().await;
    for (body, code) in [
        ("", "invalid_json"),
        ("[]", "invalid_json"),
        ("{\"messages\":[", "invalid_json"),
        (
            "{\"messages\":[],\"model\":1,\"model\":2}",
            "invalid_mcp_options",
        ),
    ] {
        let mut request: Request<Full<_>> = chat(body);
        request
            .headers_mut()
            .insert("x-mcp-servers", "a".parse().unwrap());
        let (status, told, _) = house.gateway.request(request).await.error();
        assert_eq!((status, &*told), (400, code), "{body}");
    }
}

/// A conversation whose request opts in by header.
fn framework(stream: bool) -> Framework {
    let mut framework = Framework::new(stream);
    framework.request.as_object_mut().unwrap().remove("mcp");
    framework.headers = vec![("x-mcp-servers", "s".to_owned())];
    framework
}

#[tokio::test]
async fn a_conversation_goes_on_whatever_these_headers_say_then() {
    for stream in [false, true] {
        for later in [vec![], vec![("x-mcp-servers", "s, s".to_owned())]] {
            let script = [
                turn(
                    stream,
                    "",
                    &[("s__echo", json!({"text": "x"})), lookup("y")],
                ),
                turn(stream, "done", &[]),
            ];
            let gateway = Gateway::new(script).await;
            let gateway = gateway.layered(|layer| layer.with_header_opt_in(true));
            let mut framework = framework(stream);
            let calls = framework.turn(&gateway).await;
            assert_eq!(calls.len(), 1, "its own call alone");
            assert_eq!(gateway.server.calls(), 0);
            framework.answer(&calls);
            framework.headers = later;
            let (reply, _) = framework.ask(&gateway).await;
            assert_eq!(gateway.server.calls(), 1);
            assert!(
                !reply.headers.contains_key("x-mcp-history"),
                "it is another caller's"
            );
        }
    }
}

#[tokio::test]
async fn other_headers_of_ours_tell_callers_apart_still() {
    let script = [
        turn(false, "", &[("s__echo", json!({"text": "x"})), lookup("y")]),
        turn(false, "done", &[]),
    ];
    let gateway = Gateway::new(script).await;
    let gateway = gateway.layered(|layer| layer.with_header_opt_in(true));
    let mut framework = framework(false);
    let calls: Vec<Value> = framework.turn(&gateway).await;
    framework.answer(&calls);
    framework
        .headers
        .push(("x-mcp-person", "another".to_owned()));
    let (reply, _) = framework.ask(&gateway).await;
    assert_eq!(gateway.server.calls(), 0);
    assert_eq!(reply.headers["x-mcp-history"], "incomplete");
}

#[tokio::test]
async fn requests_that_differ_in_a_header_alone_are_not_repeats_of_each_other() {
    let house = House::new().await;
    let keyed = |server: &str| {
        Way::Header
            .asks(&[server], &json!({}))
            .header("idempotency-key", "one")
    };
    assert_eq!(house.turns(&keyed("a"), &["a__read"]).await.len(), 2);
    assert_eq!(house.send(&keyed("a"), Vec::new()).await.status, 200);
    assert_eq!(house.refused(&keyed("b")).await.1, "idempotency_key_reused");
}
