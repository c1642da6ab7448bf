//! What a broken or hostile server can do, and what comes of it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mcp_layer::mcp::{Error, ErrorKind, ServerLimits};
use serde_json::json;

use crate::support::evil::{
    Evil, Received, Step, event, json_reply, politely, reply, status, stream_head,
};
use crate::support::{CANARY, call, client, everything, short_limits, until};

/// Calls a tool of a server that answers with these steps; the call is sent exactly once.
async fn call_answered(steps: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) -> Error {
    let server = Evil::mcp(steps).await;
    let client = client(&server.url(), short_limits());
    let failed = call(&client, "a", "{}").await.unwrap_err();
    assert_eq!(server.count("tools/call"), 1);
    let shown = everything(&failed);
    for secret in ["canary", "session-1", "127.0.0.1", "http://", "<html>"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    failed
}

async fn kind_of(answer: Vec<u8>) -> ErrorKind {
    call_answered(move |_| vec![Step::Send(answer.clone())])
        .await
        .kind()
}

// Row 15.
#[tokio::test]
async fn a_tool_list_without_end_is_too_large() {
    let server = Evil::mcp(|request| {
        let next = request.json()["params"]["cursor"]
            .as_str()
            .map_or(0, |c| c.parse().unwrap());
        let page = json!({"tools": [], "nextCursor": (next + 1).to_string()});
        vec![Step::Send(json_reply(&request.result(&page)))]
    })
    .await;
    let failed = client(&server.url(), ServerLimits::default())
        .list_tools()
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::TooLarge);
    assert_eq!(
        failed.to_string(),
        "the server's tool list is too large: more than 64 pages"
    );
    assert_eq!(server.count("tools/list"), 64);
}

// Row 15.
#[tokio::test]
async fn a_cursor_that_repeats_ends_the_listing() {
    let server = Evil::mcp(|request| {
        let page = json!({"tools": [{"name": "a", "inputSchema": {}}], "nextCursor": "again"});
        vec![Step::Send(json_reply(&request.result(&page)))]
    })
    .await;
    let list = client(&server.url(), ServerLimits::default())
        .list_tools()
        .await
        .unwrap();
    assert_eq!((list.tools.len(), list.left_out.len()), (1, 1));
    assert_eq!(server.count("tools/list"), 2);
}

// Row 17.
#[tokio::test]
async fn a_refused_connection_names_no_address() {
    let server = Evil::mcp(|_| vec![]).await;
    let url = server.url();
    drop(server);
    let failed = call(&client(&url, short_limits()), "a", "{}")
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unreachable);
    assert!(failed.is_transport());
    assert_eq!(failed.to_string(), "the server refuses the connection");
}

// Row 17.
#[tokio::test]
async fn a_name_that_does_not_resolve_is_unreachable() {
    let url = "http://no-such-host.invalid/mcp";
    let failed = call(&client(url, ServerLimits::default()), "a", "{}")
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unreachable);
    assert_eq!(failed.to_string(), "the server's name cannot be resolved");
}

// Row 18.
#[tokio::test]
async fn a_connection_that_is_never_accepted_takes_no_longer_than_the_limit() {
    // A listener whose queue is full drops what comes.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    for _ in 0..4 {
        let filler = tokio::net::TcpStream::connect(address);
        fillers.extend(tokio::time::timeout(Duration::from_millis(50), filler).await);
    }
    let began = Instant::now();
    let client = client(&format!("http://{address}/mcp"), short_limits());
    let failed = call(&client, "a", "{}").await.unwrap_err();
    assert!(failed.is_transport(), "{failed}");
    assert!(began.elapsed() < Duration::from_secs(2));
}

// Row 19.
#[tokio::test]
async fn a_connection_reset_anywhere_is_an_unknown_outcome_and_no_second_call() {
    let before = |_: &Received| vec![Step::Reset];
    let in_body = |request: &Received| {
        let mut body = json_reply(&request.text("partial text"));
        body.truncate(body.len() - 5);
        vec![
            Step::Send(body),
            Step::Pause(Duration::from_millis(50)),
            Step::Reset,
        ]
    };
    let in_event = |request: &Received| {
        let mut event = event(&request.text("partial text"));
        event.truncate(event.len() - 1);
        vec![
            Step::Send(stream_head()),
            Step::Send(event),
            Step::Pause(Duration::from_millis(50)),
            Step::Reset,
        ]
    };
    for failed in [
        call_answered(before).await,
        call_answered(in_body).await,
        call_answered(in_event).await,
        call_answered(|_| vec![Step::Close]).await,
    ] {
        assert_eq!(failed.kind(), ErrorKind::Interrupted, "{failed}");
        assert!(failed.to_string().contains("outcome is unknown"));
        assert!(failed.to_string().contains("not repeated"));
        assert!(!everything(&failed).contains("partial"));
    }
}

// Row 20.
#[tokio::test]
async fn a_hang_ends_at_the_limit() {
    let began = Instant::now();
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n";
    let after_head = call_answered(|_| vec![Step::Send(head.to_vec()), Step::Hang]).await;
    let after_event = call_answered(|_| {
        let note = event(r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#);
        vec![Step::Send(stream_head()), Step::Send(note), Step::Hang]
    })
    .await;
    assert_eq!(after_head.kind(), ErrorKind::Timeout);
    assert_eq!(
        after_head.to_string(),
        "the server did not answer within 500ms"
    );
    assert_eq!(after_event.kind(), ErrorKind::Timeout);
    assert_eq!(
        after_event.to_string(),
        "the server did not answer within 500ms"
    );
    assert!(began.elapsed() < Duration::from_secs(3));
}

// Row 20.
#[tokio::test]
async fn silence_inside_an_event_is_no_tool_at_work() {
    let failed = call_answered(|_| {
        vec![
            Step::Send(stream_head()),
            Step::Send(b"data: {".to_vec()),
            Step::Hang,
        ]
    })
    .await;
    assert_eq!(
        failed.to_string(),
        "the server fell silent for 200ms inside its answer"
    );
}

// Row 20.
#[tokio::test]
async fn silence_inside_a_body_ends_it() {
    let failed = call_answered(|request| {
        let mut body = json_reply(&request.text("half"));
        body.truncate(body.len() - 5);
        vec![Step::Send(body), Step::Hang]
    })
    .await;
    assert_eq!(
        failed.to_string(),
        "the server fell silent for 200ms inside its answer"
    );
}

// Row 21.
#[tokio::test]
async fn a_drip_ends_at_the_limit_of_the_call() {
    let failed = call_answered(|request| {
        let drops = json_reply(&request.text("drip"))
            .into_iter()
            .flat_map(|byte| {
                [
                    Step::Send(vec![byte]),
                    Step::Pause(Duration::from_millis(20)),
                ]
            });
        drops.collect()
    })
    .await;
    assert_eq!(failed.kind(), ErrorKind::Timeout);
}

// Row 22.
#[tokio::test]
async fn a_stream_without_end_is_cut_at_the_cap() {
    let one_event = |_: &Received| vec![Step::Send(stream_head()), Step::Flood(vec![b'x'; 65536])];
    let many_events = |_: &Received| {
        let note = event(r#"{"jsonrpc":"2.0","method":"notifications/message"}"#);
        vec![Step::Send(stream_head()), Step::Flood(note.repeat(1000))]
    };
    let mut limits = ServerLimits::default();
    limits.stream_bytes = 2 * 1024 * 1024;
    for (flood, what) in [
        (
            Box::new(one_event) as Box<dyn Fn(&Received) -> Vec<Step> + Send + Sync>,
            "event is",
        ),
        (Box::new(many_events), "event stream is"),
    ] {
        let server = Evil::mcp(flood).await;
        let client = client(&server.url(), limits.clone());
        let failed = call(&client, "a", "{}").await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::TooLarge);
        assert!(failed.to_string().contains(what), "{failed}");
        until("cancelled", || server.count("notifications/cancelled") == 1).await;
        until("the stream is dropped", || server.closed() >= 1).await;
    }
}

// Row 23.
#[tokio::test]
async fn a_login_page_is_an_unexpected_content_type() {
    let page = reply(200, "content-type: text/html\r\n", "<html>log in</html>");
    assert_eq!(kind_of(page).await, ErrorKind::ContentType);
    assert_eq!(kind_of(reply(200, "", "{}")).await, ErrorKind::ContentType);
    assert_eq!(kind_of(status(202)).await, ErrorKind::ContentType);
}

// Row 24.
#[tokio::test]
async fn garbage_is_a_protocol_error() {
    for body in [
        "garbage",
        "",
        "{\"jsonrpc\":\"2.0\",\"id\":",
        "\u{0}\u{0}",
        "[]",
        r#"{"jsonrpc":"1.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0"}"#,
    ] {
        assert_eq!(
            kind_of(json_reply(body)).await,
            ErrorKind::Protocol,
            "{body:?}"
        );
    }
    // In a stream it is no answer, and the answer may still come.
    let mut stream = stream_head();
    stream.extend(event("garbage"));
    assert_eq!(kind_of(stream).await, ErrorKind::Timeout);
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{}}}"#,
        "[".repeat(200_000)
    );
    assert_eq!(kind_of(json_reply(&deep)).await, ErrorKind::Protocol);
}

// Row 24.
#[tokio::test]
async fn a_result_of_another_shape_is_a_protocol_error() {
    let failed = call_answered(|request| {
        vec![Step::Send(json_reply(
            &request.result(&json!({"content": "text"})),
        ))]
    })
    .await;
    assert_eq!(failed.kind(), ErrorKind::Protocol);
}

// Row 26.
#[tokio::test]
async fn an_encoded_answer_is_not_decoded() {
    for coding in ["gzip", "br", "identity, gzip"] {
        let headers = format!("content-type: application/json\r\ncontent-encoding: {coding}\r\n");
        assert_eq!(
            kind_of(reply(200, &headers, "\u{1f}")).await,
            ErrorKind::Encoding
        );
    }
}

// Row 27.
#[tokio::test]
async fn a_redirect_is_refused_and_the_new_host_sees_nothing() {
    let sink = Evil::serve(|_| vec![]).await;
    for code in [301, 302, 303, 307, 308] {
        let location = format!("location: {}\r\n", sink.url());
        assert_eq!(
            kind_of(reply(code, &location, "")).await,
            ErrorKind::Redirect
        );
    }
    assert_eq!(sink.connections(), 0);
}

// Row 32.
#[tokio::test]
async fn a_rate_limit_is_reported_and_not_waited_for() {
    for after in ["0", "1000000000", "garbage"] {
        let headers = format!("retry-after: {after}\r\n");
        assert_eq!(
            kind_of(reply(429, &headers, "")).await,
            ErrorKind::RateLimited
        );
    }
}

// Row 33.
#[tokio::test]
async fn a_5xx_on_a_call_is_not_retried_and_its_body_not_shown() {
    for code in [500, 502, 503, 504] {
        let failed = call_answered(move |_| {
            vec![Step::Send(reply(
                code,
                "content-type: text/html\r\n",
                "<html>",
            ))]
        })
        .await;
        assert_eq!(
            (failed.kind(), failed.status()),
            (ErrorKind::Status, Some(code))
        );
        assert_eq!(failed.is_transport(), code != 500);
    }
}

// Row 34.
#[tokio::test]
async fn a_5xx_on_a_listing_is_retried_once() {
    let server = Evil::mcp(|_| vec![Step::Send(status(503))]).await;
    let failed = client(&server.url(), ServerLimits::default())
        .list_tools()
        .await
        .unwrap_err();
    assert_eq!(failed.status(), Some(503));
    assert_eq!(server.count("tools/list"), 2);
}

// Row 38.
#[tokio::test]
async fn a_huge_body_is_refused_before_it_is_read() {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 52428800\r\n\r\n";
    let announced = head.as_bytes().to_vec();
    assert_eq!(kind_of(announced).await, ErrorKind::TooLarge);
    let failed = call_answered(|_| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
        vec![Step::Send(head.to_vec()), Step::Flood(vec![b' '; 65536])]
    })
    .await;
    assert_eq!(failed.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn an_rpc_error_is_shown_without_control_characters_and_cut() {
    for code in [200, 400, 422] {
        let failed = call_answered(move |request| {
            let message = format!("no\u{1b}[31m {}", "x".repeat(5000));
            let body = json!({"jsonrpc": "2.0", "id": request.json()["id"], "error": {"code": -32602, "message": message}});
            vec![Step::Send(reply(code, "content-type: application/json\r\n", &body.to_string()))]
        })
        .await;
        assert_eq!(failed.kind(), ErrorKind::Rpc);
        let text = failed.to_string();
        assert!(
            text.starts_with("the server answers with error -32602: no[31m x"),
            "{text}"
        );
        assert!(text.len() < 1100);
    }
}

#[tokio::test]
async fn a_server_that_sends_and_sends_without_answering_is_given_up() {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let chunked = format!("{OK}transfer-encoding: chunked\r\n\r\n");
    for (before, flood) in [
        (
            "",
            "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n",
        ),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "HTTP/1.1 102 Processing\r\n\r\n"),
        (OK, "x-more: and more\r\n"),
        (&*chunked, "1;and=more\r\n \r\n"),
        (&*chunked, "0\r\nx-trailer: and more\r\n"),
    ] {
        let answer = [before, flood].map(|part| part.as_bytes().to_vec());
        let started = Instant::now();
        let failed = call_answered(move |_| {
            let [before, flood] = answer.clone();
            vec![Step::Send(before), Step::Flood(flood.repeat(1000))]
        })
        .await;
        println!("{:?} {failed} after {:?}", flood, started.elapsed());
        assert_ne!(failed.kind(), ErrorKind::Timeout, "{flood:?}");
    }
}

#[tokio::test]
async fn a_credential_among_characters_that_nobody_sees_is_refused() {
    let token = CANARY.trim_start_matches("Bearer ");
    for unseen in ["\u{200b}", r"\u200b", r"\u00aD", r"\u0001", r"\udb40\udc41"] {
        let letters = token.chars().map(|letter| match letter {
            '"' => r#"\""#.to_owned(),
            letter => letter.to_string(),
        });
        let written = letters.collect::<Vec<_>>().join(unseen);
        for answer in [
            format!(r#""result":{{"content":[{{"type":"text","text":"{written}"}}]}}"#),
            format!(r#""error":{{"code":-1,"message":"{written}"}}"#),
        ] {
            let failed = call_answered(move |request| {
                let id = &request.json()["id"];
                let body = format!(r#"{{"jsonrpc":"2.0","id":{id},{answer}}}"#);
                vec![Step::Send(json_reply(&body))]
            })
            .await;
            assert_eq!(failed.kind(), ErrorKind::Protocol, "{unseen:?}");
        }
    }
}

/// uvicorn and Node close a connection that was idle for five seconds, perhaps just as a call arrives.
#[tokio::test]
async fn no_call_meets_the_end_of_an_idle_connection() {
    let used = Mutex::new(HashMap::new());
    let server = Evil::serve(move |request| {
        let now = tokio::time::Instant::now();
        let last = used.lock().unwrap().insert(request.connection, now);
        match last.is_some_and(|last| now - last >= Duration::from_secs(5)) {
            true => vec![Step::Close],
            false => politely(request)
                .unwrap_or_else(|| vec![Step::Send(json_reply(&request.text("done")))]),
        }
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    for idle in [0, 1, 3, 5, 6, 60] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(idle)).await;
        tokio::time::resume();
        call(&client, "a", "{}").await.unwrap();
    }
    // What was used a moment ago is used again.
    assert_eq!((server.count("tools/call"), server.connections()), (6, 4));
}
