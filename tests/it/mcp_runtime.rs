//! Calls whose work is done on a runtime of their own.

use std::time::Duration;

use http::HeaderMap;
use mcp_layer::mcp::{Client, Endpoint, ServerLimits, Transport};
use tokio::runtime::{Builder, Runtime};

use crate::support::evil::{Evil, Step, json_reply};
use crate::support::{call, outbound, until};

fn servers() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

fn client(server: &Evil, runtime: &Runtime) -> Client {
    let url = server.url().parse().unwrap();
    let endpoint = Endpoint::new(url, Transport::StreamableHttp, HeaderMap::new());
    let outbound = outbound().with_runtime(runtime.handle());
    Client::new(outbound, endpoint, ServerLimits::default())
}

#[tokio::test]
async fn a_call_on_a_runtime_of_its_own_is_like_any_other() {
    let runtime = servers();
    let server = Evil::mcp(|request| vec![Step::Send(json_reply(&request.text("done")))]).await;
    let client = client(&server, &runtime);
    for _ in 0..3 {
        assert_eq!(call(&client, "a", "{}").await.unwrap().text, "done");
    }
    runtime.shutdown_background();
    assert!(call(&client, "a", "{}").await.is_err());
}

#[tokio::test]
async fn a_call_on_a_runtime_of_its_own_is_cancelled_with_its_caller() {
    let runtime = servers();
    let server = Evil::mcp(|_| vec![Step::Hang]).await;
    let client = client(&server, &runtime);
    let impatient = tokio::time::timeout(Duration::from_millis(200), call(&client, "a", "{}"));
    assert!(impatient.await.is_err());
    let told = || server.count("notifications/cancelled") == 1;
    until("the server is told that nobody waits", told).await;
    runtime.shutdown_background();
}
