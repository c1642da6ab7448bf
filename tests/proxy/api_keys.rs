//! Callers' API keys that an operator makes while the proxy runs, beside those of the file, which is
//! followed.

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use http::StatusCode;
use mcp_layer::Project;
use mcp_layer::registry::{ApiKey, ApiKeyDigest, ApiKeyStore};
use mcp_layer::secret::ExposeSecret;
use serde_json::{Value, json};

use crate::LOCAL;
use crate::database::Storage;
use crate::support::{
    ADMIN_TOKEN, API_KEY, Proxy, UPSTREAM_KEY, Upstream, json as body_of, run_with, until,
};

const KEYS: &str = "/api/v1/api-keys";

/// Makes a key: its id and itself.
async fn make(proxy: &Proxy, project: &str) -> (String, String) {
    let body = json!({"name": "made", "project": project});
    let (status, made) = proxy.operate("POST", KEYS, body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let text = |member: &str| made[member].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

async fn revoke(proxy: &Proxy, id: &str) {
    let path = format!("{KEYS}/{id}");
    let (status, _) = proxy.operate("DELETE", &path, Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}

/// The status of a request with this key, or with none.
async fn status(proxy: &Proxy, key: &str) -> u16 {
    let request = proxy.client.get(format!("{}/v1/mcp/servers", proxy.url));
    let request = match key {
        "" => request,
        key => request.bearer_auth(key),
    };
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body = body_of(answer).await;
    if status == 401 {
        assert_eq!(body["error"]["code"], "invalid_api_key", "{body}");
    }
    status
}

#[tokio::test]
async fn a_key_that_is_made_works_at_once_and_one_that_is_revoked_does_not() {
    let upstream = Upstream::start().await;
    let storage = Storage::new();
    let base = format!(
        "upstream = \"{}/v1\"\nupstream_key_env = \"PROVIDER\"\n",
        upstream.url
    );
    let config = storage.config(&base);
    let env = [("PROVIDER", UPSTREAM_KEY)];
    let proxy = Proxy::operated(&config, &env);
    assert_eq!(status(&proxy, "").await, 200);

    let (id, key) = make(&proxy, "web").await;
    assert_eq!(status(&proxy, &key).await, 200);
    for wrong in ["", API_KEY, &key[..47], &format!("{key}x")] {
        assert_eq!(status(&proxy, wrong).await, 401, "{wrong}");
    }
    // It is this proxy's, and goes no further.
    let body = json!({"model": "echo", "messages": []});
    let answer = proxy.post(&body).bearer_auth(&key).send().await.unwrap();
    let answer = body_of(answer).await;
    assert_eq!(answer["authorization"], "Bearer UPSTREAM_KEY");
    assert!(!answer.to_string().contains("mcpk_"), "{answer}");

    until("its use is noted", async || {
        let (_, listed) = proxy.operate("GET", KEYS, Value::Null).await;
        listed["api_keys"][0]["last_used_at"].is_string()
    })
    .await;

    // The last one: nobody gets in by that, now and after a restart.
    revoke(&proxy, &id).await;
    for key in [&*key, ""] {
        assert_eq!(status(&proxy, key).await, 401);
    }
    assert!(!proxy.logged().contains("mcpk_"), "{}", proxy.logged());
    proxy.kill();
    let proxy = Proxy::operated(&config, &env);
    assert_eq!(status(&proxy, "").await, 401);
    let (_, key) = make(&proxy, "web").await;
    assert_eq!(status(&proxy, &key).await, 200);
    proxy.kill();
    let proxy = Proxy::operated(&config, &env);
    assert_eq!(status(&proxy, &key).await, 200);
}

#[tokio::test]
async fn a_key_opens_what_is_its_projects() {
    let storage = Storage::new();
    let servers = "[[servers]]\nname = \"web-only\"\nurl = \"http://127.0.0.1:1/mcp\"\nprojects = [\"web\"]\n";
    let proxy = Proxy::operated(&storage.config(servers), &[]);
    for (project, expected) in [("web", 1), ("batch", 0)] {
        let (_, key) = make(&proxy, project).await;
        let list = proxy.client.get(format!("{}/v1/mcp/servers", proxy.url));
        let list = body_of(list.bearer_auth(key).send().await.unwrap()).await;
        assert_eq!(
            list["servers"].as_array().unwrap().len(),
            expected,
            "{list}"
        );
    }
    let (_, projects) = proxy.operate("GET", "/api/v1/projects", Value::Null).await;
    assert_eq!(projects["projects"], json!(["batch", "default", "web"]));
}

#[tokio::test]
async fn an_expired_key_is_told_so() {
    let storage = Storage::new();
    let proxy = Proxy::operated(&storage.config(""), &[]);
    // What another replica stores is in force here likewise.
    let (key, secret) = ApiKey::generate("short", Project::new("web")).unwrap();
    let expires_at = SystemTime::now() + Duration::from_secs(3);
    let key = key.with_expiry(Some(expires_at));
    storage.open().await.insert_api_key(key).await.unwrap();
    let key = secret.expose_secret();
    until("it works", async || {
        status(&proxy, key).await == 200 && status(&proxy, "").await == 401
    })
    .await;
    until("it has expired", async || status(&proxy, key).await == 401).await;
    let list = proxy.client.get(format!("{}/v1/mcp/servers", proxy.url));
    let told = body_of(list.bearer_auth(key).send().await.unwrap()).await;
    let message = told["error"]["message"].as_str().unwrap();
    assert!(message.contains("has expired"), "{message}");
}

#[tokio::test]
async fn a_first_key_needs_a_key_for_the_upstream() {
    let upstream = Upstream::start().await;
    let base = format!("upstream = \"{}/v1\"\n", upstream.url);
    let proxy = Proxy::operated(&base, &[]);
    let body = json!({"name": "a", "project": "web"});
    let (refused, answer) = proxy.operate("POST", KEYS, body).await;
    assert_eq!(refused, StatusCode::CONFLICT, "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("upstream_key_env"), "{message}");
    assert_eq!(status(&proxy, "").await, 200);

    // Where a key was made, a start without one for the upstream would pass callers' keys on.
    let storage = Storage::new();
    let proxy = Proxy::operated(&storage.config(""), &[]);
    make(&proxy, "web").await;
    proxy.kill();
    let flags = ["--admin-listen", "off", "--listen", "127.0.0.1:0"];
    let (code, _, err) = run_with(&storage.config(&base), &flags, &[]);
    assert_eq!((code, err.lines().count()), (2, 1), "{err}");
    assert!(
        err.contains("upstream_key_env or upstream_key_file is required"),
        "{err}"
    );
}

#[tokio::test]
async fn an_upstream_that_needs_no_key_gets_none() {
    let upstream = Upstream::start().await;
    let config = format!(
        "upstream = \"{}/v1\"\nupstream_key_env = \"\"\n[[api_keys]]\nkey_env = \"WEB\"\nproject = \"web\"\n",
        upstream.url
    );
    let proxy = Proxy::operated(&config, &[("WEB", API_KEY)]);
    let (_, made) = make(&proxy, "web").await;
    let body = json!({"model": "echo", "messages": []});
    for key in [API_KEY, &made] {
        let answer = proxy.post(&body).bearer_auth(key).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let answer = body_of(answer).await;
        assert!(answer["authorization"].is_null(), "{answer}");
    }
    // All callers are one account there, too.
    let files = proxy.client.get(format!("{}/v1/files", proxy.url));
    let files = files.bearer_auth(API_KEY).send().await.unwrap();
    assert_eq!(files.status(), StatusCode::NOT_FOUND);

    // Without keys, what callers send is not passed on, either.
    let config = format!(
        "upstream = \"{}/v1\"\nupstream_key_env = \"\"\n",
        upstream.url
    );
    let proxy = Proxy::with(&config, &[]);
    let answer = proxy
        .post(&body)
        .bearer_auth("theirs")
        .send()
        .await
        .unwrap();
    assert!(body_of(answer).await["authorization"].is_null());
}

#[tokio::test]
async fn off_loopback_it_starts_closed_where_keys_can_be_made() {
    let storage = Storage::new();
    let config = format!("listen = \"0.0.0.0:0\"\n{}", storage.config(""));
    let flags = [
        "--admin-listen",
        "127.0.0.1:0",
        "--admin-token-env",
        "ADMIN",
    ];
    let path = crate::support::file(&config);
    let env = [("ADMIN", ADMIN_TOKEN)];
    let proxy = Proxy::anywhere_over(&path, &flags, &env);
    for key in ["", API_KEY] {
        assert_eq!(status(&proxy, key).await, 401);
    }
    assert!(
        proxy.logged().contains("no API key yet"),
        "{}",
        proxy.logged()
    );
    let (_, key) = make(&proxy, "web").await;
    assert_eq!(status(&proxy, &key).await, 200);
    proxy.kill();

    for (config, flags, expected) in [
        // Nothing could be made, or what is made is gone with the process.
        (
            config.clone(),
            vec!["--admin-listen", "off"],
            "declare [[api_keys]]",
        ),
        (
            "listen = \"0.0.0.0:0\"".into(),
            vec!["--admin-token-env", "ADMIN"],
            "needs a database",
        ),
        (
            format!("upstream = \"http://127.0.0.1:1\"\n{config}"),
            vec!["--admin-token-env", "ADMIN"],
            "upstream_key_env or upstream_key_file is required",
        ),
    ] {
        let (code, _, err) = run_with(&config, &flags, &env);
        assert_eq!((code, err.lines().count()), (2, 1), "{err}");
        assert!(err.contains(expected), "{err}");
    }
}

fn entry(key: &str, project: &str) -> String {
    let digest = ApiKeyDigest::of(key).0;
    let digest = digest.map(|byte| format!("{byte:02x}")).concat();
    format!("[[api_keys]]\nname = \"{key}\"\nkey_sha256 = \"{digest}\"\nproject = \"{project}\"\n")
}

#[tokio::test]
async fn keys_of_the_file_follow_it_and_what_is_invalid_changes_nothing() {
    let path = crate::support::file(&format!("{LOCAL}{}", entry("first-key", "web")));
    let flags = [
        "--admin-listen",
        "127.0.0.1:0",
        "--admin-token-env",
        "ADMIN",
    ];
    let proxy = Proxy::over(&path, &flags, &[("ADMIN", ADMIN_TOKEN)]);
    assert_eq!(status(&proxy, "first-key").await, 200);
    assert_eq!(status(&proxy, "second-key").await, 401);

    let both = format!(
        "{LOCAL}{}{}",
        entry("first-key", "web"),
        entry("second-key", "batch")
    );
    fs::write(&path, &both).unwrap();
    let changed = Instant::now();
    until("the second counts", async || {
        status(&proxy, "second-key").await == 200
    })
    .await;
    println!(
        "a key of the file is in force within {:?}",
        changed.elapsed()
    );
    let (_, listed) = proxy.operate("GET", KEYS, Value::Null).await;
    let names: Vec<_> = listed["api_keys"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 2);
    assert_eq!(names[1]["name"], "second-key");
    assert_eq!(names[1]["source"], "file");
    let path_of_it = format!("{KEYS}/{}", names[1]["id"].as_str().unwrap());
    let (refused, answer) = proxy.operate("DELETE", &path_of_it, Value::Null).await;
    assert_eq!(refused, StatusCode::CONFLICT);
    assert_eq!(answer["error"]["code"], "declared_in_file");

    // Invalid in three ways: what was read before stays, and the log says so, once for each.
    let broken = [
        format!("{both}[[api_keys"),
        format!("{both}[[api_keys]]\nkey_sha256 = \"short\"\nproject = \"web\"\n"),
        format!("upstream = \"http://127.0.0.1:1\"\n{both}unknown = 1\n"),
    ];
    for (times, text) in broken.iter().enumerate() {
        fs::write(&path, text).unwrap();
        until("it is told", async || {
            let told = proxy
                .logged()
                .matches("API keys of the configuration file cannot be read")
                .count();
            told == times + 1
        })
        .await;
        for key in ["first-key", "second-key"] {
            assert_eq!(status(&proxy, key).await, 200, "{text}");
        }
    }

    // A server at fault keeps no key that was taken out.
    let server = "[[servers]]\nname = \"no name\"\nurl = \"x\"\n";
    fs::write(
        &path,
        format!("{LOCAL}{}{server}", entry("second-key", "batch")),
    )
    .unwrap();
    until("the first is out", async || {
        status(&proxy, "first-key").await == 401
    })
    .await;
    assert_eq!(status(&proxy, "second-key").await, 200);

    // The last one: the proxy stays closed.
    fs::write(&path, LOCAL).unwrap();
    until("the second is out", async || {
        status(&proxy, "second-key").await == 401
    })
    .await;
    assert_eq!(status(&proxy, "").await, 401);
    until("it is told", async || {
        proxy.logged().contains("no API key any more")
    })
    .await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_key_in_a_file_of_its_own_follows_that() {
    use std::os::unix::fs::PermissionsExt;

    let folder = crate::directory::Directory::new();
    let secret = folder.0.join("web");
    let write = |key: &str| {
        fs::write(&secret, key).unwrap();
        fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("key-of-monday");
    let config = format!("[[api_keys]]\nkey_file = {secret:?}\nproject = \"web\"\n");
    let proxy = Proxy::with(&config, &[]);
    assert_eq!(status(&proxy, "key-of-monday").await, 200);
    write("key-of-tuesday-1");
    until("the new one counts", async || {
        status(&proxy, "key-of-tuesday-1").await == 200
    })
    .await;
    assert_eq!(status(&proxy, "key-of-monday").await, 401);
}

#[tokio::test]
async fn a_first_key_of_the_file_without_one_for_the_upstream_is_not_taken() {
    let upstream = Upstream::start().await;
    let base = format!("upstream = \"{}/v1\"\n", upstream.url);
    let path = crate::support::file(&base);
    let proxy = Proxy::over(&path, &["--admin-listen", "off"], &[]);
    fs::write(&path, format!("{base}{}", entry("first-key", "web"))).unwrap();
    until("it is told", async || {
        proxy
            .logged()
            .contains("upstream_key_env or upstream_key_file is required")
    })
    .await;
    let body = json!({"model": "echo", "messages": []});
    let answer = proxy
        .post(&body)
        .bearer_auth("theirs")
        .send()
        .await
        .unwrap();
    assert_eq!(body_of(answer).await["authorization"], "Bearer theirs");
}

#[tokio::test]
async fn names_of_hosts_count_until_there_is_a_key() {
    let storage = Storage::new();
    let proxy = Proxy::operated(&storage.config(""), &[]);
    let ask = |key: &str| {
        proxy.raw(&format!(
            "GET /v1/mcp/servers HTTP/1.1\r\nhost: evil.example\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n"
        ))
    };
    assert!(ask("x").starts_with("HTTP/1.1 403"));
    let (_, key) = make(&proxy, "web").await;
    assert!(ask("x").starts_with("HTTP/1.1 401"));
    assert!(ask(&key).starts_with("HTTP/1.1 200"));
}
