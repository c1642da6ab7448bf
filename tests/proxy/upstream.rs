//! What the proxy makes of a provider that misbehaves, and of the proxies on the way to it.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::Proxy;

/// A provider that does this with each connection.
fn provider(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    url
}

/// The next request on a connection with its body; empty at its end.
fn request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split_once("content-length: ");
            let length =
                length.map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return String::new(),
            Ok(count) => read.extend_from_slice(&piece[..count]),
        }
    }
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

fn over(upstream: &str, env: &[(&str, &str)]) -> Proxy {
    let config = format!("upstream = \"{upstream}/v1\"\n[limits]\nupstream_timeout = 2\n");
    Proxy::with(&config, env)
}

async fn ask(proxy: &Proxy) -> (StatusCode, Value) {
    proxy.chat(&json!({"messages": []})).await
}

#[tokio::test]
async fn interim_answers_are_skipped_and_without_end_they_are_no_answer() {
    let few = provider(|mut stream| {
        request(&mut stream);
        for _ in 0..100 {
            let interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
            stream.write_all(interim).unwrap();
        }
        stream.write_all(ANSWER.as_bytes()).unwrap();
    });
    assert_eq!(ask(&over(&few, &[])).await.0, StatusCode::OK);

    let endless = provider(|mut stream| {
        request(&mut stream);
        let interim = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(100);
        while stream.write_all(&interim).is_ok() {}
    });
    let proxy = Proxy::with(&format!("upstream = \"{endless}/v1\"\n"), &[]);
    let (status, answer) = ask(&proxy).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer["error"]["code"], "upstream_error");
    assert!(proxy.logged().contains("without answering"));
}

#[tokio::test]
async fn a_long_answer_is_no_flood_however_it_comes() {
    let long = provider(|mut stream| {
        request(&mut stream);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 8 << 20);
        stream.write_all(head.as_bytes()).unwrap();
        for _ in 0..8 {
            stream.write_all(&vec![b' '; 1 << 20]).unwrap();
        }
    });
    let proxy = over(&long, &[]);
    let answer = proxy.post(&json!({"messages": []})).send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap().len(), 8 << 20);
}

#[tokio::test]
async fn silence_in_the_middle_of_an_answer_ends_it_and_pauses_do_not() {
    let upstream = provider(|mut stream| {
        let ends = request(&mut stream).contains("\"ends\"");
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        for _ in 0..3 {
            stream.write_all(b"1\r\nx\r\n").unwrap();
            thread::sleep(Duration::from_millis(1200));
        }
        if ends {
            stream.write_all(b"0\r\n\r\n").unwrap();
        }
        thread::sleep(Duration::from_secs(20));
    });
    let proxy = over(&upstream, &[]);
    let began = Instant::now();
    let silent = proxy.post(&json!({"messages": []})).send().await.unwrap();
    assert!(silent.bytes().await.is_err());
    assert!(began.elapsed() < Duration::from_secs(15));
    let ends = proxy.post(&json!({"messages": [], "model": "ends"}));
    let ends = ends.send().await.unwrap();
    assert_eq!(ends.bytes().await.unwrap(), "xxx");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_on_as_whole() {
    for head in ["content-length: 10", "transfer-encoding: chunked"] {
        let broken = provider(move |mut stream| {
            request(&mut stream);
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n3\r\nabc\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let proxy = over(&broken, &[]);
        let answer = proxy.post(&json!({"messages": []})).send().await.unwrap();
        assert!(answer.bytes().await.is_err(), "{head}");
    }
    let old = provider(|mut stream| {
        request(&mut stream);
        let answer = b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{}";
        stream.write_all(answer).unwrap();
    });
    assert_eq!(ask(&over(&old, &[])).await, (StatusCode::OK, json!({})));
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_fails_no_request() {
    let closing = provider(|mut stream| {
        request(&mut stream);
        stream.write_all(ANSWER.as_bytes()).unwrap();
    });
    let proxy = over(&closing, &[]);
    for _ in 0..4 {
        assert_eq!(ask(&proxy).await.0, StatusCode::OK);
        // A request that is on its way as the connection closes is lost: it may have been heard.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A proxy on the way that answers each connection's first request with this.
fn on_the_way(answer: &'static str) -> (String, Receiver<String>) {
    let (sender, received) = mpsc::channel();
    let url = provider(move |mut stream| {
        sender.send(request(&mut stream)).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        let mut begins = [0];
        if stream.read_exact(&mut begins).is_ok() {
            sender.send(format!("{begins:?}")).unwrap();
        }
    });
    (url.replace("://", "://us%65r:pass@"), received)
}

#[tokio::test]
async fn the_environments_proxy_gets_whole_requests_or_makes_a_tunnel_for_tls() {
    // "user:pass", in lower case like all that is received.
    const AUTHORIZATION: &str = "proxy-authorization: basic dxnlcjpwyxnz\r\n";
    let (proxy, received) = on_the_way(ANSWER);
    let env = [("HTTP_PROXY", &*proxy), ("NO_PROXY", "10.0.0.0/8")];
    let plain = over("http://provider.invalid", &env);
    assert_eq!(ask(&plain).await.0, StatusCode::OK);
    let seen = received.recv().unwrap();
    let line = "post http://provider.invalid/v1/chat/completions http/1.1\r\n";
    assert!(seen.starts_with(line), "{seen}");
    assert!(seen.contains("host: provider.invalid\r\n"), "{seen}");
    assert!(seen.contains(AUTHORIZATION), "{seen}");

    let (proxy, received) = on_the_way("HTTP/1.1 200 OK\r\n\r\n");
    let tls = over("https://provider.invalid", &[("HTTPS_PROXY", &*proxy)]);
    // Nobody behind the tunnel speaks TLS.
    let _ = tls
        .post(&json!({"messages": []}))
        .timeout(Duration::from_secs(1))
        .send()
        .await;
    let seen = received.recv().unwrap();
    let line = "connect provider.invalid:443 http/1.1\r\n";
    assert!(seen.starts_with(line), "{seen}");
    assert!(seen.contains(AUTHORIZATION), "{seen}");
    assert_eq!(received.recv().unwrap(), "[22]", "a TLS handshake begins");
}

#[tokio::test]
async fn no_proxy_is_asked_for_where_none_is_wanted_or_none_could_reach() {
    let (proxy, received) = on_the_way(ANSWER);
    let env = [
        ("ALL_PROXY", &*proxy),
        ("NO_PROXY", "invalid, 192.0.2.0/24"),
    ];
    let (status, _) = ask(&over("http://provider.invalid", &env)).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    let (status, _) = ask(&over("http://192.0.2.1:9", &env)).await;
    assert!(status.is_server_error());

    let here = provider(|mut stream| {
        request(&mut stream);
        stream.write_all(ANSWER.as_bytes()).unwrap();
    });
    let here = over(&here, &[("ALL_PROXY", &*proxy)]);
    assert_eq!(ask(&here).await.0, StatusCode::OK);
    assert!(received.try_recv().is_err());
}

#[test]
fn no_tunnel_is_made_by_a_caller() {
    let provider = provider(|mut stream| {
        assert_eq!(request(&mut stream), "", "it is not asked");
    });
    let answer = over(&provider, &[])
        .raw("CONNECT /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
}
