//! Workers that write, each a server of its own, step by step; what is stored tells which step it
//! was.

use std::io::Write;

use futures_util::future::join_all;
use mcp_layer::registry::{
    Auth, CredentialKey, CredentialStore, Error, ExchangeId, ExchangeOwner, ExchangeRecord,
    ExchangeStore, Expected, Server, ServerStore, SqlRegistry, StoredExchange,
};
use mcp_layer::secret::{KeyFile, KeySource};
use secrecy::ExposeSecret;

use crate::child::{plays, told};
use crate::support::sql::{name, open, server};

pub const WORKERS: usize = 4;
pub const ROLE: &str = "writer::the_writer";

/// What there is after a step: the server's description, its token, and the text of a kept exchange.
pub type State = (Option<String>, Option<String>, Option<String>);

/// A cycle: removed, inserted, replaced, a token, another token, an exchange, the same again.
const CYCLE: u64 = 7;

pub fn after(step: u64) -> State {
    let phase = step % CYCLE;
    let description = match phase {
        0 => None,
        1 => Some(step),
        _ => Some(step - (phase - 2)),
    };
    let token = (phase >= 3).then_some(step - phase.saturating_sub(4));
    let exchange = (0..=step).rev().find(|step| step % CYCLE >= 5);
    (
        description.map(|step| format!("step {step}")),
        token.map(|step| format!("token {step}")),
        exchange.map(|step| format!("turn {step}")),
    )
}

fn owner() -> ExchangeOwner {
    ExchangeOwner::new("default", "web", [7; 32])
}

fn exchange_id(worker: usize) -> ExchangeId {
    ExchangeId([u8::try_from(worker).unwrap(); 12])
}

async fn exchange(registry: &SqlRegistry, worker: usize) -> Result<Option<StoredExchange>, Error> {
    let (owner, ids) = (owner(), [exchange_id(worker)]);
    Ok(ExchangeStore::get(registry, &owner, &ids).await?.pop())
}

/// What there is now.
pub async fn read(registry: &SqlRegistry, worker: usize) -> State {
    let kept = exchange(registry, worker).await.unwrap();
    let text = kept.map(|kept| kept.data.to_string());
    let slug = name(&format!("w{worker}"));
    let server = match ServerStore::get(registry, "default", &slug).await {
        Err(Error::NotFound { .. }) => return (None, None, text),
        found => found.unwrap(),
    };
    assert!(matches!(server.auth, Auth::StaticHeaders(_)), "{server:?}");
    let stored = registry.load(&CredentialKey::of(&server)).await.unwrap();
    let token = stored.map(|stored| stored.secret.expose_secret().to_owned());
    (server.description.clone(), token, text)
}

async fn write(registry: &SqlRegistry, worker: usize, step: u64) -> Result<(), Error> {
    let slug = name(&format!("w{worker}"));
    match step % CYCLE {
        0 => ServerStore::remove(registry, "default", &slug).await,
        1 => {
            let server = described(server(slug.as_str()), step);
            registry.insert(server).await.map(drop)
        }
        2 => {
            let stored = ServerStore::get(registry, "default", &slug).await?;
            let server = described((*stored).clone(), step);
            registry.replace(server).await.map(drop)
        }
        5.. => {
            let stored = exchange(registry, worker).await?;
            let version = stored.map(|stored| stored.version);
            let record = ExchangeRecord::new(format!("turn {step}"));
            let owner = owner();
            let put = registry.put(&owner, exchange_id(worker), record, version);
            assert!(put.await?.is_some());
            Ok(())
        }
        _ => {
            let stored = ServerStore::get(registry, "default", &slug).await?;
            let key = CredentialKey::of(&stored);
            let expected = match registry.load(&key).await? {
                None => Expected::Nothing,
                Some(stored) => Expected::Version(stored.version),
            };
            let token = format!("token {step}").into();
            assert!(registry.swap(&key, expected, Some(token)).await?);
            Ok(())
        }
    }
}

fn described(server: Server, step: u64) -> Server {
    let mut server = server;
    server.description = Some(format!("step {step}"));
    server
}

/// Goes on from the steps that it is told, and says each one that is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writer() {
    if !plays(ROLE) {
        return;
    }
    let ring = KeyFile::new(told("KEYS")).load().await.unwrap();
    let registry = open(&told("DATABASE"), &ring).await;
    let steps = told("STEPS");
    let steps = steps.split(',').map(|step| step.parse::<u64>().unwrap());
    let workers = steps.enumerate().map(|(worker, step)| {
        let registry = registry.clone();
        tokio::spawn(async move {
            for step in step + 1.. {
                // The database may be away: then it was not done, as far as anybody knows.
                if write(&registry, worker, step).await.is_err() {
                    return;
                }
                let line = format!("done {worker} {step}\n");
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        })
    });
    join_all(workers).await;
}
