//! A provider that takes everything back when an old refresh token is used again: whatever
//! callers, clocks and the network do, none ever is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use mcp_layer::oauth;
use mcp_layer::registry::MemoryCredentialStore;
use mcp_layer::{CallToolError, registry::Server};
use mcp_layer::{Connections, Inactive, Scopes};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::auth_server::reply;
use crate::support::dice::Dice;
use crate::support::provider::{Clock, LIFE, Provider, call, callbacks, connect};

const SCHEDULES: u64 = 1000;
/// Schedules that run at the same time.
const AT_ONCE: usize = 32;

/// What came of all schedules.
#[derive(Default, Debug)]
struct Tally {
    answered: usize,
    hung_up: usize,
    in_trouble: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_random_schedules_none_uses_a_refresh_token_twice() {
    let provider = Arc::new(Provider::start().await);
    // By consent: each schedule has one.
    let moods = Arc::<Mutex<HashMap<String, Dice>>>::default();
    provider.before({
        let moods = moods.clone();
        move |token| {
            let consent = token.split('.').next().unwrap().to_owned();
            let (pause, trouble) = {
                let mut moods = moods.lock().unwrap();
                let seed = consent
                    .bytes()
                    .fold(7, |sum: u64, byte| sum * 31 + u64::from(byte));
                let dice = moods.entry(consent).or_insert(Dice(seed));
                (dice.roll(20), dice.roll(6) == 0)
            };
            async move {
                sleep(Duration::from_millis(pause)).await;
                trouble.then(|| reply(503, "text/plain", ""))
            }
        }
    });
    let tally = Arc::<Mutex<Tally>>::default();
    let schedules = (0..SCHEDULES).map(|seed| {
        let (provider, tally) = (provider.clone(), tally.clone());
        tokio::spawn(async move { run(&provider, &tally, Dice(seed)).await })
    });
    let mut schedules = stream::iter(schedules).buffer_unordered(AT_ONCE);
    while let Some(ended) = schedules.next().await {
        ended.unwrap();
    }
    let tally = tally.lock().unwrap();
    let (refreshes, reuses) = (provider.refreshes(), provider.reuses());
    println!("{SCHEDULES} schedules: {tally:?}, {refreshes} refreshes, {reuses} revocations");
    assert_eq!(reuses, 0);
    assert!(refreshes as u64 > SCHEDULES, "they do refresh");
}

/// One server in two processes; a few callers, some of whom hang up, while its tokens expire.
async fn run(provider: &Provider, tally: &Mutex<Tally>, mut dice: Dice) {
    let clock = Clock::default();
    let store = MemoryCredentialStore::default();
    let process = || {
        let clock = clock.clone();
        let authorizations = provider
            .authorizations(store.clone())
            .with_clock(move || clock.now());
        let connections = provider.connections(&authorizations).build();
        (authorizations, connections)
    };
    let (authorizations, one) = process();
    let (_, other) = process();
    let server = provider.typed();
    connect(provider, &authorizations, &server).await.unwrap();

    let mut callers = JoinSet::new();
    for _ in 0..2 + dice.roll(3) {
        match dice.roll(3) {
            0 => clock.pass(LIFE),
            1 => clock.pass(LIFE - 30),
            _ => {}
        }
        sleep(Duration::from_millis(dice.roll(15))).await;
        let process = if dice.roll(2) == 0 { &one } else { &other };
        let patience = (dice.roll(3) == 0).then(|| Duration::from_millis(dice.roll(12)));
        callers.spawn(caller(process.clone(), server.clone(), patience));
    }
    while let Some(outcome) = callers.join_next().await {
        let mut tally = tally.lock().unwrap();
        match outcome.unwrap() {
            None => tally.hung_up += 1,
            Some(Ok(_)) => tally.answered += 1,
            Some(Err(CallToolError::Inactive(Inactive::Unreachable { .. }))) => {
                tally.in_trouble += 1
            }
            Some(Err(error)) => panic!("{error}"),
        }
    }
}

/// `None` where the caller has hung up.
async fn caller(
    connections: Connections,
    server: Server,
    patience: Option<Duration>,
) -> Option<Result<String, CallToolError>> {
    let called = call(&connections, &server, "echo", "x");
    match patience {
        None => Some(called.await),
        Some(patience) => tokio::time::timeout(patience, called).await.ok(),
    }
}

#[tokio::test]
async fn the_provider_would_notice() {
    let provider = Provider::start().await;
    let http = oauth::Http::new(provider.outbound.clone());
    let http = http.with_entered(&[provider.server.mcp()]);
    let found = oauth::discover(&http, &provider.server.mcp(), None, None)
        .await
        .unwrap();
    let client = oauth::Client::new("client-0", None, None, &found.server).unwrap();
    let request = oauth::Request {
        server: &found.server,
        client: &client,
        redirect_uri: &callbacks(),
        scopes: &Scopes::default(),
        resource: None,
    };
    let code = "code-1".into();
    let tokens = oauth::exchange(&http, &request, &code, &"v".into())
        .await
        .unwrap();
    let first = tokens.refresh_token.unwrap();
    let refresh = || oauth::refresh(&http, &found.server, &client, None, &first);
    refresh().await.unwrap();
    refresh().await.unwrap_err();
    assert_eq!(provider.reuses(), 1);
}
