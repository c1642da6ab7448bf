//! The transport of 2024-11-05, and the way to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_layer::mcp::{Client, ErrorKind, ServerLimits, Transport};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use crate::progress::notification;
use crate::support::evil::{Evil, Step, event, reply, status, stream_head};
use crate::support::{call, client, client_over, short_limits, until};

/// A proper server of 2024-11-05 at `/sse`; it answers on the stream.
struct OldServer {
    url: String,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    stream: broadcast::Sender<Option<String>>,
    /// The number of the session that it knows.
    session: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl OldServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sse", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<(String, Value)>>>::default();
        let (stream, _) = broadcast::channel(64);
        let session = Arc::new(AtomicUsize::new(1));
        let task = tokio::spawn({
            let (seen, stream) = (Arc::clone(&seen), stream.clone());
            let session = Arc::clone(&session);
            async move {
                while let Ok((connection, _)) = listener.accept().await {
                    let (seen, session) = (Arc::clone(&seen), Arc::clone(&session));
                    tokio::spawn(serve(connection, seen, stream.clone(), session));
                }
            }
        });
        Self {
            url,
            seen,
            stream,
            session,
            task,
        }
    }

    /// Forgets the session, and keeps its stream open, as a gateway does before a new server.
    fn forget(&self) {
        self.session.fetch_add(1, Ordering::SeqCst);
    }

    fn count(&self, what: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|(line, body)| line.starts_with(what) || body["method"] == what)
            .count()
    }

    /// Ends the open streams.
    fn cut(&self) {
        let _ = self.stream.send(None);
    }
}

impl Drop for OldServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    connection: tokio::net::TcpStream,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    stream: broadcast::Sender<Option<String>>,
    session: Arc<AtomicUsize>,
) -> Option<()> {
    let mut connection = BufReader::new(connection);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        connection
            .read_line(&mut line)
            .await
            .ok()
            .filter(|&n| n > 0)?;
        loop {
            let mut header = String::new();
            connection
                .read_line(&mut header)
                .await
                .ok()
                .filter(|&n| n > 2)?;
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if header == "\r\n" {
                break;
            }
            // The last header is followed by the empty line.
            if connection.fill_buf().await.ok()?.starts_with(b"\r\n") {
                connection.consume(2);
                break;
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.ok()?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        seen.lock().unwrap().push((line.clone(), body.clone()));
        if line.starts_with("GET") {
            return listen(connection, stream, session.load(Ordering::SeqCst)).await;
        }
        if line.starts_with("POST /sse") {
            connection.write_all(&status(405)).await.ok()?;
            continue;
        }
        let known = format!("sessionId={} ", session.load(Ordering::SeqCst));
        if !line.contains(&known) {
            let gone = reply(404, "", "Could not find session");
            connection.write_all(&gone).await.ok()?;
            continue;
        }
        connection
            .write_all(&reply(202, "", "Accepted"))
            .await
            .ok()?;
        tokio::spawn(answer(body, stream.clone()));
    }
}

async fn listen(
    mut connection: BufReader<tokio::net::TcpStream>,
    stream: broadcast::Sender<Option<String>>,
    session: usize,
) -> Option<()> {
    let mut events = stream.subscribe();
    connection.write_all(&stream_head()).await.ok()?;
    // A line of a log before it, as supergateway passes on.
    let endpoint = format!(
        "data: Server starting\n\nevent: endpoint\ndata: /messages?sessionId={session}\n\n"
    );
    connection.write_all(endpoint.as_bytes()).await.ok()?;
    let mut ignored = [0; 16];
    loop {
        tokio::select! {
            sent = events.recv() => match sent.ok()? {
                Some(data) => {
                    let event = format!("event: message\ndata: {data}\n\n");
                    connection.write_all(event.as_bytes()).await.ok()?;
                }
                None => return None,
            },
            read = connection.read(&mut ignored) => if read.ok()? == 0 {
                let _ = stream.send(Some(r#"{"jsonrpc":"2.0","method":"somebody left"}"#.to_owned()));
                return None;
            },
        }
    }
}

async fn answer(request: Value, stream: broadcast::Sender<Option<String>>) {
    let result = match request["method"].as_str() {
        Some("initialize") => json!({"protocolVersion": "2024-11-05", "capabilities": {}}),
        Some("tools/list") => json!({"tools": [{"name": "a", "inputSchema": {}}]}),
        Some("tools/call") => {
            let arguments = &request["params"]["arguments"];
            let token = &request["params"]["_meta"]["progressToken"];
            for step in 1..=arguments["steps"].as_u64().unwrap_or(0) {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let progress = notification(token, &json!({"progress": step}));
                let _ = stream.send(Some(progress));
            }
            tokio::time::sleep(Duration::from_millis(arguments["ms"].as_u64().unwrap_or(0))).await;
            json!({"content": [{"type": "text", "text": arguments.to_string()}]})
        }
        _ => return,
    };
    let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": result});
    let _ = stream.send(Some(answer.to_string()));
}

fn old_client(server: &OldServer) -> Client {
    client_over(&server.url, Transport::Sse, ServerLimits::default())
}

#[tokio::test]
async fn callers_share_one_stream_and_get_their_own_answers() {
    let server = OldServer::start().await;
    let client = old_client(&server);
    assert_eq!(client.list_tools().await.unwrap().tools[0].name, "a");
    let calls: Vec<_> = (0..20)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                let arguments = format!(r#"{{"ms":{},"n":{n}}}"#, 40 - 2 * n);
                assert_eq!(
                    call(&client, "a", &arguments).await.unwrap().text,
                    arguments
                );
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(server.count("GET"), 1);
    assert_eq!(server.count("initialize"), 1);
    assert_eq!(server.count("POST /messages?sessionId=1"), 23);
}

#[tokio::test]
async fn progress_on_the_shared_stream_is_that_of_the_call_that_it_names() {
    let server = OldServer::start().await;
    let client = old_client(&server);
    client.list_tools().await.unwrap();
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let busy = call(&client, "a", r#"{"steps":300}"#);
    let silent = call(&client, "a", r#"{"ms":100000}"#);
    let silent = async {
        let failed = silent.await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Timeout);
        assert_eq!(began.elapsed().as_secs(), 60);
    };
    let (busy, ()) = tokio::join!(busy, silent);
    assert_eq!(busy.unwrap().text, r#"{"steps":300}"#);
    assert_eq!(began.elapsed().as_secs(), 300);
    assert_eq!(server.count("GET"), 1);
}

#[tokio::test]
async fn a_server_that_knows_no_streamable_http_is_spoken_to_in_the_old_way() {
    let server = OldServer::start().await;
    let client = client(&server.url, ServerLimits::default());
    assert_eq!(
        call(&client, "a", r#"{"n":1}"#).await.unwrap().text,
        r#"{"n":1}"#
    );
    // The probe and the handshake.
    assert_eq!(server.count("POST /sse"), 2);
    server.cut();
    until("the stream is gone", || server.stream.receiver_count() == 0).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(call(&client, "a", "{}").await.is_ok());
    assert_eq!(server.count("POST /sse"), 2, "what it speaks is remembered");
    assert_eq!(server.count("GET"), 2);
}

#[tokio::test]
async fn a_server_that_speaks_neither_is_told_so() {
    for code in [400, 404, 405] {
        let server = Evil::serve(move |_| vec![Step::Send(status(code))]).await;
        let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}")
            .await
            .unwrap_err();
        assert_eq!(failed.status(), Some(code));
        let text = failed.to_string();
        assert!(
            text.starts_with("the server speaks neither Streamable HTTP ("),
            "{text}"
        );
        let verbs: Vec<_> = server
            .received()
            .iter()
            .map(|r| r.verb().to_owned())
            .collect();
        assert_eq!(verbs, ["POST", "GET"]);
    }
    // Somebody who answers in JSON-RPC is no old server.
    let body = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32022,"message":"Unsupported"}}"#;
    let server = Evil::serve(move |_| {
        vec![Step::Send(reply(
            400,
            "content-type: application/json\r\n",
            body,
        ))]
    })
    .await;
    let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}")
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Rpc);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn an_endpoint_on_another_origin_gets_no_credential() {
    let sink = Evil::serve(|_| vec![]).await;
    for endpoint in [
        sink.url(),
        format!("//{}/x", sink.address),
        "https://127.0.0.1/x".to_owned(),
        "data:text/plain,x".to_owned(),
    ] {
        let server = Evil::serve(move |_| {
            let event = format!("event: endpoint\ndata: {endpoint}\n\n");
            vec![
                Step::Send(stream_head()),
                Step::Send(event.into_bytes()),
                Step::Hang,
            ]
        })
        .await;
        let client = client_over(&server.url(), Transport::Sse, ServerLimits::default());
        let failed = call(&client, "a", "{}").await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Protocol);
        assert_eq!(server.received().len(), 1);
    }
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn a_stream_that_begins_otherwise_is_refused() {
    let server = Evil::serve(|_| {
        vec![
            Step::Send(stream_head()),
            Step::Send(event("hello").repeat(16)),
            Step::Hang,
        ]
    })
    .await;
    let client = client_over(&server.url(), Transport::Sse, ServerLimits::default());
    assert_eq!(
        call(&client, "a", "{}").await.unwrap_err().kind(),
        ErrorKind::Protocol
    );
}

#[tokio::test]
async fn a_session_that_was_forgotten_is_opened_anew_by_a_call_and_by_a_listing() {
    let server = OldServer::start().await;
    let client = old_client(&server);
    assert!(call(&client, "a", "{}").await.is_ok());
    server.forget();
    assert!(call(&client, "a", "{}").await.is_ok());
    assert_eq!((server.count("GET"), server.count("tools/call")), (2, 3));
    server.forget();
    assert_eq!(client.list_tools().await.unwrap().tools.len(), 1);
    assert_eq!((server.count("GET"), server.count("initialize")), (3, 3));
}

/// supergateway sends the log lines of what it runs; dav-mcp#31 heartbeats.
#[tokio::test]
async fn events_that_are_no_messages_disturb_nobody_who_waits() {
    let server = OldServer::start().await;
    let client = old_client(&server);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { call(&client, "a", r#"{"ms":300}"#).await }
    });
    until("the call runs", || server.count("tools/call") == 1).await;
    for noise in [
        "[info] listening on 3000",
        r#"{"type":"heartbeat"}"#,
        r#"{"jsonrpc":"2.0","id":424242}"#,
        "[]",
    ] {
        let _ = server.stream.send(Some(noise.to_owned()));
    }
    assert_eq!(waiting.await.unwrap().unwrap().text, r#"{"ms":300}"#);
    assert_eq!(client.list_tools().await.unwrap().tools.len(), 1);
    assert_eq!(server.count("GET"), 1);
}

#[tokio::test]
async fn a_lost_stream_interrupts_who_waits_and_the_next_call_reconnects() {
    let server = OldServer::start().await;
    let client = old_client(&server);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { call(&client, "a", r#"{"ms":60000}"#).await }
    });
    until("the call runs", || server.count("tools/call") == 1).await;
    server.cut();
    assert_eq!(
        waiting.await.unwrap().unwrap_err().kind(),
        ErrorKind::Interrupted
    );
    assert!(call(&client, "a", "{}").await.is_ok());
    assert_eq!(server.count("GET"), 2);
    assert_eq!(server.count("tools/call"), 2);
}

#[tokio::test]
async fn an_unused_stream_is_closed_and_opened_again_when_needed() {
    let server = OldServer::start().await;
    let client = client_over(&server.url, Transport::Sse, short_limits());
    assert!(call(&client, "a", "{}").await.is_ok());
    until("the stream is closed", || {
        server.stream.receiver_count() == 0
    })
    .await;
    assert!(call(&client, "a", "{}").await.is_ok());
    assert_eq!(server.count("GET"), 2);
}

#[tokio::test]
async fn a_stream_in_use_is_not_closed() {
    let server = OldServer::start().await;
    let mut limits = ServerLimits::default();
    limits.unused = Duration::from_millis(100);
    let client = client_over(&server.url, Transport::Sse, limits);
    assert!(call(&client, "a", r#"{"ms":400}"#).await.is_ok());
    assert_eq!(server.count("GET"), 1);
}

#[tokio::test]
async fn dropping_the_client_closes_the_stream() {
    let server = OldServer::start().await;
    let client = old_client(&server);
    assert!(call(&client, "a", "{}").await.is_ok());
    assert_eq!(server.stream.receiver_count(), 1);
    drop(client);
    until("the stream is closed", || {
        server.stream.receiver_count() == 0
    })
    .await;
}

#[tokio::test]
async fn a_timeout_cancels_and_frees_the_place() {
    let server = OldServer::start().await;
    let client = client_over(&server.url, Transport::Sse, short_limits());
    let failed = call(&client, "a", r#"{"ms":60000}"#).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Timeout);
    until("cancelled", || server.count("notifications/cancelled") == 1).await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_dropped_and_not_cancelled() {
    let server = Evil::serve(|request| match request.verb() {
        "GET" => vec![
            Step::Send(stream_head()),
            Step::Send(b"event: endpoint\ndata: /messages\n\n".to_vec()),
            Step::Hang,
        ],
        _ => vec![Step::Send(status(202))],
    })
    .await;
    let mut limits = short_limits();
    limits.list = Duration::from_millis(300);
    let client = client_over(&server.url(), Transport::Sse, limits);
    let failed = call(&client, "a", "{}").await.unwrap_err();
    assert_eq!(
        failed.to_string(),
        "the server did not complete the handshake within 300ms"
    );
    until("the stream is dropped", || server.closed() >= 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let posted: Vec<_> = server.received().iter().map(|r| r.method()).collect();
    assert_eq!(posted, ["", "initialize"]);
}

#[tokio::test]
async fn more_callers_than_places_are_turned_away() {
    let server = OldServer::start().await;
    let client = old_client(&server);
    let waiting: Vec<_> = (0..64)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { call(&client, "a", r#"{"ms":60000}"#).await })
        })
        .collect();
    until("all places are taken", || server.count("tools/call") == 64).await;
    let turned_away = call(&client, "a", "{}").await.unwrap_err();
    assert_eq!(turned_away.kind(), ErrorKind::Busy);
    assert!(!turned_away.is_transport());
    waiting[0].abort();
    until("a place is free", || {
        server.count("notifications/cancelled") == 1
    })
    .await;
    assert!(call(&client, "a", "{}").await.is_ok());
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}
