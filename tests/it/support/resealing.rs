//! Records by the hundred, sealed anew while others read and write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use mcp_layer::registry::{
    Auth, CredentialKey, CredentialStore, Expected, Resealed, ServerStore, SqlRegistry, StateHash,
};

use super::sql::{name, server};

/// So many servers, each with a credential; and a pending authorization.
pub async fn fill(registry: &SqlRegistry, servers: usize) {
    let filled = stream::iter(0..servers).map(async |number| {
        let server = registry
            .insert(server(&format!("s{number}")))
            .await
            .unwrap();
        let key = CredentialKey::of(&server);
        let token = format!("s3cret-{number}");
        let swapped = registry.swap(&key, Expected::Nothing, Some(token.into()));
        assert!(swapped.await.unwrap());
    });
    filled.buffer_unordered(8).collect::<()>().await;
    let key = CredentialKey::of(&server("other"));
    let expires_at = SystemTime::now() + Duration::from_secs(600);
    let pending = "s3cret pending".into();
    let put = registry.put_state(&key, StateHash([1; 32]), expires_at, pending);
    put.await.unwrap();
}

/// Seals everything anew under load; what came of it, and how much was read meanwhile. A read
/// that fails is a panic.
pub async fn under_load(registry: &SqlRegistry, servers: usize) -> (Resealed, usize) {
    let over = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicUsize::new(0));
    let load = (0..2).map(|offset| {
        let (registry, over, reads) = (registry.clone(), over.clone(), reads.clone());
        tokio::spawn(async move {
            let mut number = offset;
            while !over.load(Ordering::Relaxed) {
                number = (number + 7) % servers;
                let server = registry.get("default", &name(&format!("s{number}"))).await;
                let server = server.unwrap();
                assert!(matches!(server.auth, Auth::StaticHeaders(_)), "{server:?}");
                let key = CredentialKey::of(&server);
                let stored = registry.load(&key).await.unwrap().unwrap();
                reads.fetch_add(2, Ordering::Relaxed);
                if number % 10 == 0 {
                    registry.replace((*server).clone()).await.ok();
                    let expected = Expected::Version(stored.version);
                    let swapped = registry.swap(&key, expected, Some(stored.secret));
                    swapped.await.unwrap();
                }
            }
        })
    });
    let load: Vec<_> = load.collect();
    let done = registry.reseal(|_| {}).await.unwrap();
    over.store(true, Ordering::Relaxed);
    for load in load {
        load.await.unwrap();
    }
    (done, reads.load(Ordering::Relaxed))
}
