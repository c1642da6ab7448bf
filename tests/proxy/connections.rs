//! Callers that send slowly, read slowly or not at all, and too many of them: others are served.

use std::{
    env,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use crate::support::{ADMIN_TOKEN, API_KEY, Proxy, Upstream, json as json_of, until};

const PATIENCE: Duration = Duration::from_secs(20);

/// Connects from 127.0.0.`from`.
async fn connect(to: SocketAddr, from: u8) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 0, from), 0).into())?;
    // What a caller does not read fills up soon.
    socket.set_recv_buffer_size(4096)?;
    socket.connect(to).await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

/// Sends this, and reads until the proxy closes the connection.
async fn exchange(to: SocketAddr, from: u8, request: &str) -> std::io::Result<String> {
    let asked = async {
        let mut stream = connect(to, from).await?;
        // Who is told that there is no place need not have been heard.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer).await;
        match answer.is_empty() {
            true => read.map(|_| String::new()),
            false => Ok(String::from_utf8(answer).unwrap()),
        }
    };
    timeout(PATIENCE, asked).await?
}

/// Connections from this address that say nothing.
async fn silent(to: SocketAddr, from: u8, count: usize) -> Vec<TcpStream> {
    let connections = join_all((0..count).map(|_| connect(to, from))).await;
    connections.into_iter().map(Result::unwrap).collect()
}

/// Holds that an answer says in OpenAI's shape that there is no place, and when to come back.
fn assert_no_place(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    for header in ["retry-after: 1", "connection: close"] {
        assert!(head.lines().any(|line| line == header), "{head}");
    }
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["error"]["code"], "overloaded", "{body}");
    assert_eq!(body["error"]["type"], "server_error", "{body}");
}

/// Waits until as many connections from this address have places that no more get one.
async fn until_full(proxy: &Proxy, from: u8) {
    let address = proxy.address();
    until("all places are taken", async || {
        let answer = exchange(address, from, &get("/v1/models")).await;
        answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 503"))
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_takes_nothing_of_its_answers_is_let_go() {
    let proxy = Proxy::with("[limits]\nidle_write = 1\n", &[]);
    let many = get("/healthz").replace("connection: close\r\n", "");
    let mut stream = connect(proxy.address(), 2).await.unwrap();
    let sent = timeout(PATIENCE, async {
        while stream.write_all(many.repeat(1000).as_bytes()).await.is_ok() {}
    });
    assert!(sent.await.is_ok(), "it is still there");
}

#[tokio::test]
async fn a_stream_that_nobody_takes_is_let_go_and_one_that_is_taken_slowly_goes_on() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::with(
        &format!(
            "upstream = \"{}/v1\"\n[limits]\nidle_write = 2\n",
            upstream.url
        ),
        &[],
    );
    let body = json!({"model": "endless", "stream": true}).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut reads = connect(proxy.address(), 2).await.unwrap();
    let mut ignores = connect(proxy.address(), 2).await.unwrap();
    for stream in [&mut reads, &mut ignores] {
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    let left = || upstream.left();
    let slowly = async {
        let mut some = vec![0; 1 << 20];
        while left() == 0 {
            assert!(reads.read(&mut some).await.unwrap() > 0);
            sleep(Duration::from_millis(50)).await;
        }
        assert!(reads.read(&mut some).await.unwrap() > 0);
    };
    timeout(PATIENCE, slowly).await.unwrap();
    assert_eq!(left(), 1, "whoever reads is still there");
    drop(ignores);
}

#[tokio::test]
async fn one_address_has_a_quarter_of_the_places() {
    let proxy = Proxy::with("[limits]\nconnections = 16\nheader_read = 60\n", &[]);
    let address = proxy.address();
    let held = silent(address, 2, 4).await;
    until_full(&proxy, 2).await;
    assert_no_place(&exchange(address, 2, &get("/v1/models")).await.unwrap());
    for from in [1, 3] {
        let answer = exchange(address, from, &get("/v1/models")).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(held);
    until("places are free again", async || {
        let answer = exchange(address, 2, &get("/v1/models")).await.unwrap();
        answer.starts_with("HTTP/1.1 200")
    })
    .await;
    let said = proxy.logged();
    assert_eq!(
        said.matches("no place for connections").count(),
        1,
        "{said}"
    );
}

#[tokio::test]
async fn a_load_balancer_may_have_all_places() {
    let proxy = Proxy::with(
        "trusted_proxies = [\"127.0.0.2\", \"10.0.0.0/8\"]\n[limits]\nconnections = 16\nheader_read = 60\n",
        &[],
    );
    let _held = silent(proxy.address(), 2, 15).await;
    let answer = exchange(proxy.address(), 2, &get("/v1/models")).await;
    assert!(answer.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn without_a_place_health_is_told_and_the_slow_are_let_go() {
    let proxy = Proxy::with("[limits]\nconnections = 8\nheader_read = 60\n", &[]);
    let address = proxy.address();
    let mut held = Vec::new();
    for from in 2..6 {
        held.extend(silent(address, from, 2).await);
    }
    until_full(&proxy, 9).await;
    for path in ["/healthz", "/readyz"] {
        let answer = exchange(address, 9, &get(path)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    assert_no_place(&exchange(address, 9, &get("/v1/models")).await.unwrap());
    for slow in [
        "",
        "GET /healthz HTT",
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
    ] {
        let ended = exchange(address, 9, slow).await.unwrap();
        assert!(!ended.contains("200 OK"), "{slow}: {ended}");
    }
    // So many of one address that it has not even a place for being told.
    let flood = silent(address, 9, 40).await;
    let told = join_all((0..40).map(|_| exchange(address, 9, "")));
    let told = timeout(PATIENCE, told).await.unwrap();
    assert!(
        told.iter()
            .flatten()
            .any(|answer| answer.contains("\r\nretry-after: 1\r\n"))
    );
    let answer = exchange(address, 10, &get("/healthz")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop((flood, held));
}

#[tokio::test]
async fn a_connection_that_is_open_for_nothing_frees_its_place() {
    let proxy = Proxy::with("[limits]\nheader_read = 1\n", &[]);
    let mut stream = connect(proxy.address(), 2).await.unwrap();
    let request = get("/healthz").replace("connection: close\r\n", "");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    timeout(PATIENCE, read).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_a_body_reaches_its_caller() {
    let proxy = Proxy::with(
        "[limits]\nbody_bytes = 1000000\ncaller_body_bytes = 1100000\n",
        &[],
    );
    for _ in 0..5 {
        let url = format!("{}/v1/chat/completions", proxy.url);
        let request = proxy.client.post(url).body(vec![b' '; 20 << 20]);
        let answer = request.header("content-type", "application/json").send();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let answer: Value = json_of(answer).await;
        assert_eq!(answer["error"]["code"], "request_too_large");
    }
}

#[tokio::test]
async fn a_callers_bodies_in_flight_have_a_share_by_its_key() {
    let upstream = Upstream::start().await;
    let config = format!(
        "upstream = \"{}/v1\"\nupstream_key_env = \"PROVIDER\"\n{}[limits]\nbody_bytes = 1000000\ncaller_body_bytes = 2000000\nbody_read = 60\n",
        upstream.url,
        crate::KEYS
    );
    let proxy = Proxy::with(&config, &[("PROVIDER", "upstreams-own"), ("WEB", API_KEY)]);
    let begun = |key: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: 900000\r\n\r\n{}",
            " ".repeat(890_000)
        )
    };
    let body = json!({"model": "echo", "padding": "x".repeat(300_000)});
    let mut held = Vec::new();
    until("the share is used up", async || {
        // One more each time: of two that are too much together, either may be refused.
        let mut stream = connect(proxy.address(), 2).await.unwrap();
        let _ = stream.write_all(begun(API_KEY).as_bytes()).await;
        held.push(stream);
        let answer = proxy.post(&body).bearer_auth(API_KEY).send().await.unwrap();
        let (status, wait) = (
            answer.status(),
            answer.headers().get("retry-after").cloned(),
        );
        let answer: Value = json_of(answer).await;
        status == 503 && answer["error"]["code"] == "overloaded" && wait.unwrap() == "1"
    })
    .await;
    let other = proxy.post(&body).bearer_auth("batch-key").send();
    assert_eq!(other.await.unwrap().status(), StatusCode::OK);
}

/// The attack as it was: 1.2 GB were held for as long as the callers liked.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn sixty_large_bodies_that_never_end_are_not_all_held() {
    let proxy = Proxy::with("", &[]);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        20 << 20
    );
    let begun = (0..60).map(|_| async {
        let mut stream = connect(proxy.address(), 2).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // All but the end, unless the proxy has had enough.
        let _ = stream.write_all(&[b' '; 1 << 20].repeat(19)).await;
        stream
    });
    let held = timeout(3 * PATIENCE, join_all(begun)).await.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.id())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let most: usize = most
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    assert!(most < 300 << 10, "{most} KiB");
    assert_eq!(proxy.get("/healthz").await.0, StatusCode::OK);
    drop(held);
}

/// Ten times what there is room for, at once: each is answered or told when to come back, and
/// whoever comes from elsewhere notices nothing.
#[tokio::test]
async fn overload_is_answered_at_once_and_others_do_not_notice() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::with(
        &format!(
            "upstream = \"{}/v1\"\n[limits]\nconnections = 80\n",
            upstream.url
        ),
        &[],
    );
    let address = proxy.address();
    let body = json!({"model": "hang"}).to_string();
    let hangs = Bytes::from(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    let told = Arc::new(AtomicUsize::new(0));
    let crowd: Vec<_> = (0..200)
        .map(|_| {
            let (told, hangs) = (told.clone(), hangs.clone());
            tokio::spawn(async move {
                let request = std::str::from_utf8(&hangs).unwrap();
                if let Ok(answer) = exchange(address, 2, request).await
                    && !answer.is_empty()
                {
                    assert_no_place(&answer);
                    told.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    until("all but those with places are told", async || {
        told.load(Ordering::Relaxed) >= 180 - 10
    })
    .await;
    for _ in 0..100 {
        let answer = exchange(address, 3, &get("/v1/models")).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let running = crowd.iter().filter(|one| !one.is_finished()).count();
    assert_eq!(running, 20, "a quarter of 80");
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
}

/// How long the slow take for a byte: less than any timer waits for one.
const SLOW: Duration = Duration::from_secs(3);

/// How the many misbehave.
#[derive(Clone, Copy)]
enum Bad {
    SlowHead,
    SlowBody,
    NeverReads,
    ReadsSlowly,
}

/// Misbehaves in this way until it is let go.
async fn misbehave(to: SocketAddr, path: &str, how: Bad) -> std::io::Result<()> {
    let mut stream = connect(to, 2).await?;
    let many = get(path).replace("connection: close\r\n", "").repeat(200);
    match how {
        Bad::SlowHead => {
            stream.write_all(b"GET /healthz HTTP/1.1\r\n").await?;
            loop {
                stream.write_all(b"x: y\r\n").await?;
                sleep(SLOW).await;
            }
        }
        Bad::SlowBody => {
            let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(b" ").await?;
                sleep(SLOW).await;
            }
        }
        Bad::NeverReads => loop {
            stream.write_all(many.as_bytes()).await?;
        },
        Bad::ReadsSlowly => loop {
            let (mut reader, mut writer) = stream.split();
            let mut one = [0];
            tokio::select! {
                sent = writer.write_all(many.as_bytes()) => sent?,
                () = sleep(SLOW) => {
                    if reader.read(&mut one).await? == 0 {
                        return Ok(());
                    }
                }
            }
        },
    }
}

/// `MCP_LAYER_ATTACKERS=5000` is the whole of it, against the defaults of every limit.
#[tokio::test(flavor = "multi_thread")]
async fn slow_callers_without_end_keep_nobody_else_waiting() {
    let attackers = env::var("MCP_LAYER_ATTACKERS").ok();
    let (limits, attackers, seconds) = match attackers {
        Some(count) => ("", count.parse().unwrap(), 45),
        None => (
            "[limits]\nconnections = 400\noperator_connections = 64\n",
            300,
            4,
        ),
    };
    let proxy = Proxy::operated(limits, &[]);
    let operators: SocketAddr = proxy
        .operators
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    let address = proxy.address();
    let let_go = Arc::new(AtomicUsize::new(0));
    let kinds = [
        Bad::SlowHead,
        Bad::SlowBody,
        Bad::NeverReads,
        Bad::ReadsSlowly,
    ];
    let crowd: Vec<_> = (0..attackers)
        .map(|number| {
            let (to, path) = match number % 4 {
                3 => (operators, "/sign-in"),
                _ => (address, "/healthz"),
            };
            let let_go = let_go.clone();
            tokio::spawn(async move {
                for round in 0.. {
                    // Renewed as soon as it ends, however it ends.
                    let _ = misbehave(to, path, kinds[(number / 4 + round) % kinds.len()]).await;
                    let_go.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(100)).await;
                }
            })
        })
        .collect();
    sleep(Duration::from_secs(1)).await;

    let listed = format!(
        "GET /api/v1/servers HTTP/1.1\r\nhost: {operators}\r\nauthorization: Bearer {ADMIN_TOKEN}\r\nconnection: close\r\n\r\n"
    );
    let asked = [
        (address, get("/healthz")),
        (address, get("/v1/models")),
        (operators, listed),
    ];
    // On a thread of their own: what the crowd costs here is no matter of the proxy's.
    let good = std::thread::spawn(move || {
        let mut took = [const { Vec::new() }; 3];
        let ends = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < ends {
            for ((to, request), took) in asked.iter().zip(&mut took) {
                let begun = Instant::now();
                let mut stream = std::net::TcpStream::connect(to).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                took.push(begun.elapsed());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        took.map(|mut took| {
            took.sort();
            took
        })
    });
    let good = tokio::task::spawn_blocking(|| good.join());
    let took = good.await.unwrap().unwrap();
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
    let let_go = let_go.load(Ordering::Relaxed);
    println!("{attackers} attackers, {let_go} let go; answered, median, 99 of 100, all:");
    for (what, took) in ["callers /healthz", "callers /v1", "operators"]
        .iter()
        .zip(&took)
    {
        let part = |of_100: usize| took[(took.len() * of_100 / 100).min(took.len() - 1)];
        let (count, median, most, all) = (took.len(), part(50), part(99), part(100));
        // The rest is the machine's.
        assert!(seconds < 45 || most < Duration::from_secs(1), "{most:?}");
        println!("{what}: {count}, {median:?}, {most:?}, {all:?}");
    }
    assert!(let_go > 0);
}
