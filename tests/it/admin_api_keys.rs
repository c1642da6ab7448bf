//! Callers' API keys over REST and on pages: made, shown once, listed and revoked.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mcp_layer::Project;
use mcp_layer::registry::{
    ApiKey, ApiKeyDigest, ApiKeyId, ApiKeyStore, ApiKeys, BoxFuture, Error, MemoryApiKeys,
    MemoryRegistry,
};
use serde_json::{Value, json};

use super::support::{admin::Operator, pages::Pages};

const KEYS: &str = "/api/v1/api-keys";
const HOUR: Duration = Duration::from_secs(3600);

/// 2027-01-15T08:00:00Z.
fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Keys in memory, with one of a file beside them.
#[derive(Clone)]
struct WithFile(MemoryApiKeys);

impl ApiKeyStore for WithFile {
    fn api_keys(&self) -> Result<Arc<ApiKeys>, Error> {
        self.0.api_keys()
    }

    fn declared_api_keys(&self, _: &str) -> Vec<Arc<ApiKey>> {
        let id = ApiKeyId([7; 16]);
        let key = ApiKey::new(id, ApiKeyDigest([7; 32]), "FILE_KEY", Project::new("filed"));
        vec![Arc::new(key.unwrap())]
    }

    fn list_api_keys<'a>(&'a self, of: &'a str) -> BoxFuture<'a, Result<Vec<ApiKey>, Error>> {
        self.0.list_api_keys(of)
    }

    fn insert_api_key(&self, key: ApiKey) -> BoxFuture<'_, Result<bool, Error>> {
        self.0.insert_api_key(key)
    }

    fn revoke_api_key<'a>(
        &'a self,
        organization: &'a str,
        id: &'a ApiKeyId,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        self.0.revoke_api_key(organization, id)
    }

    fn note_api_key_uses<'a>(
        &'a self,
        uses: &'a [(ApiKeyId, SystemTime)],
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.0.note_api_key_uses(uses)
    }
}

/// An operator's side over keys in memory, and a clock.
struct Desk {
    operator: Operator,
    keys: MemoryApiKeys,
    clock: Arc<Mutex<SystemTime>>,
}

impl Desk {
    fn new() -> Self {
        Self::over(|keys| keys)
    }

    fn over<S: ApiKeyStore>(store: impl FnOnce(MemoryApiKeys) -> S) -> Self {
        let keys = MemoryApiKeys::default();
        let clock = Arc::new(Mutex::new(noon()));
        let time = clock.clone();
        let operator = Operator::with(MemoryRegistry::default(), |admin| {
            admin
                .with_api_keys(store(keys.clone()))
                .with_projects(["default"])
                .with_clock(move || *time.lock().unwrap())
        });
        Self {
            operator,
            keys,
            clock,
        }
    }

    async fn make(&self, name: &str, project: &str) -> Value {
        let body = json!({"name": name, "project": project});
        self.operator.post(KEYS, &body).await.expect(201)
    }

    async fn names(&self, path: &str) -> Vec<String> {
        let listed = self.operator.get(path).await;
        let listed = listed["api_keys"].as_array().unwrap().iter();
        let names = listed.map(|key| key["name"].as_str().unwrap().to_owned());
        names.collect()
    }

    /// Whether this key opens the gateway now.
    fn opens(&self, key: &str) -> bool {
        let now = *self.clock.lock().unwrap();
        let keys = self.keys.api_keys().unwrap();
        keys.find(&ApiKeyDigest::of(key), now).is_some()
    }

    async fn pages(&self) -> Pages {
        Pages::signed_in(self.operator.clone()).await
    }
}

#[tokio::test]
async fn a_key_is_shown_once_and_opens_until_it_is_revoked() {
    let desk = Desk::new();
    let made = desk.make(" ci ", "web").await;
    let key = made["key"].as_str().unwrap().to_owned();
    let id = made["id"].as_str().unwrap().to_owned();
    assert!(key.starts_with("mcpk_") && desk.opens(&key));
    let expected = json!({
        "id": id, "name": "ci", "project": "web", "source": "store",
        "created_at": "2027-01-15T08:00:00.000Z", "expires_at": null, "last_used_at": null, "limits": {},
    });
    let listed = desk.operator.ask("GET", KEYS, None).await;
    assert_eq!(listed.expect(200), json!({"api_keys": [expected]}));
    assert!(!listed.text.contains("mcpk_"));

    let path = format!("{KEYS}/{id}");
    assert_eq!(desk.operator.ask("DELETE", &path, None).await.status, 204);
    assert!(!desk.opens(&key));
    let again = desk.operator.ask("DELETE", &path, None).await;
    assert_eq!(again.error(404).0, "not_found");
    assert_eq!(desk.operator.get(KEYS).await, json!({"api_keys": []}));
    // It stays known that there was one.
    assert!(desk.keys.api_keys().unwrap().were_made());
}

#[tokio::test]
async fn a_key_expires_when_it_was_said_to() {
    let desk = Desk::new();
    let body = json!({"name": "a", "project": "web", "expires_at": "2027-01-15T10:30:00+01:30"});
    let made = desk.operator.post(KEYS, &body).await.expect(201);
    assert_eq!(made["expires_at"], "2027-01-15T09:00:00.000Z");
    let key = made["key"].as_str().unwrap();
    assert!(desk.opens(key));
    *desk.clock.lock().unwrap() = noon() + HOUR;
    assert!(!desk.opens(key));
    assert_eq!(desk.names(KEYS).await, ["a"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_key_is_named() {
    let desk = Desk::new();
    let long = "x".repeat(101);
    for (body, param) in [
        (json!([]), None),
        (json!({"project": "web"}), Some("name")),
        (json!({"name": "", "project": "web"}), Some("name")),
        (json!({"name": " ", "project": "web"}), Some("name")),
        (json!({"name": long, "project": "web"}), Some("name")),
        (json!({"name": "a\nb", "project": "web"}), Some("name")),
        (json!({"name": 7, "project": "web"}), Some("name")),
        (json!({"name": "a"}), Some("project")),
        (json!({"name": "a", "project": "\u{7}"}), Some("project")),
        (
            json!({"name": "a", "project": "web", "key": "mine"}),
            Some("key"),
        ),
        (
            json!({"name": "a", "project": "web", "limits": {"calls_per_day": 0}}),
            Some("limits.calls_per_day"),
        ),
        (
            json!({"name": "a", "project": "web", "limits": {"calls": 1}}),
            Some("limits.calls"),
        ),
        (
            json!({"name": "a", "project": "web", "limit": {}}),
            Some("limit"),
        ),
        (
            json!({"name": "a", "project": "web", "expires_at": "tomorrow"}),
            Some("expires_at"),
        ),
        (
            json!({"name": "a", "project": "web", "expires_at": "2027-01-15T08:00:00Z"}),
            Some("expires_at"),
        ),
    ] {
        let answer = desk.operator.post(KEYS, &body).await;
        let (code, at) = answer.error(400);
        assert_eq!(
            (&*code, at.as_deref()),
            ("invalid_request", param),
            "{body}"
        );
        assert!(!answer.text.contains("mine") && !answer.text.contains("tomorrow"));
    }
    let query = desk.operator.ask("GET", &format!("{KEYS}?q=a"), None).await;
    assert_eq!(query.error(400).1.as_deref(), Some("q"));
    for id in ["x", &"0".repeat(32), "%ff"] {
        let absent = desk
            .operator
            .ask("DELETE", &format!("{KEYS}/{id}"), None)
            .await;
        assert_eq!(absent.error(404).0, "not_found");
    }
    assert!(!desk.keys.api_keys().unwrap().were_made());
}

#[tokio::test]
async fn keys_are_listed_by_project_and_their_projects_are_known() {
    let desk = Desk::over(WithFile);
    desk.make("a", "web").await;
    *desk.clock.lock().unwrap() = noon() + HOUR;
    desk.make("b", "batch").await;
    assert_eq!(desk.names(KEYS).await, ["FILE_KEY", "b", "a"]);
    assert_eq!(desk.names(&format!("{KEYS}?project=web")).await, ["a"]);
    assert!(desk.names(&format!("{KEYS}?project=none")).await.is_empty());
    assert_eq!(
        desk.operator.get("/api/v1/projects").await["projects"],
        json!(["batch", "default", "filed", "web"])
    );
}

#[tokio::test]
async fn a_key_of_a_file_is_shown_and_not_revoked() {
    let desk = Desk::over(WithFile);
    let listed = &desk.operator.get(KEYS).await["api_keys"][0];
    let id = "07".repeat(16);
    assert_eq!(
        *listed,
        json!({
            "id": id, "name": "FILE_KEY", "project": "filed", "source": "file",
            "created_at": null, "expires_at": null, "last_used_at": null, "limits": {},
        })
    );
    let refused = desk
        .operator
        .ask("DELETE", &format!("{KEYS}/{id}"), None)
        .await;
    assert_eq!(refused.error(409).0, "declared_in_file");
    let pages = desk.pages().await;
    let html = pages.get("/api-keys").await.html(200).to_owned();
    assert!(html.contains("FILE_KEY") && html.contains("declared in file"));
    assert!(!html.contains(&format!("{id}/revoke")));
    for page in [
        pages.get(&format!("/api-keys/{id}/revoke")).await,
        pages.post(&format!("/api-keys/{id}/revoke"), &[]).await,
    ] {
        assert!(
            page.html(409)
                .contains("declared in the configuration file")
        );
    }
}

#[tokio::test]
async fn where_a_key_would_be_of_no_use_none_is_made_and_it_says_why() {
    let keys = MemoryApiKeys::default();
    let operator = Operator::with(MemoryRegistry::default(), |admin| {
        admin
            .with_api_keys(keys.clone())
            .without_new_api_keys("set the upstream's key first")
    });
    let body = json!({"name": "a", "project": "web"});
    let refused = operator.post(KEYS, &body).await;
    assert_eq!(refused.error(409).0, "conflict");
    assert!(refused.text.contains("set the upstream's key first"));
    let pages = Pages::signed_in(operator).await;
    for path in ["/api-keys", "/api-keys/new"] {
        let html = pages.get(path).await.html(200).to_owned();
        assert!(html.contains("set the upstream&#39;s key first"), "{html}");
        assert!(!html.contains("Make a key") && !html.contains("Make the key"));
    }
    let fields = [("name", "a"), ("project", "web"), ("expires", "never")];
    pages.post("/api-keys", &fields).await.html(409);
    assert!(!keys.api_keys().unwrap().were_made());
}

#[tokio::test]
async fn a_side_that_was_told_of_no_place_says_so() {
    let operator = Operator::memory();
    for (method, path, body) in [
        ("GET", KEYS.to_owned(), None),
        (
            "POST",
            KEYS.to_owned(),
            Some(r#"{"name":"a","project":"web"}"#),
        ),
        ("DELETE", format!("{KEYS}/{}", "0".repeat(32)), None),
    ] {
        let answer = operator.ask(method, &path, body).await;
        assert_eq!(answer.error(404).0, "not_found");
    }
    let pages = Pages::signed_in(operator).await;
    let html = pages.get("/api-keys").await.html(200).to_owned();
    assert!(html.contains("There is no place for them"), "{html}");
    pages.get("/api-keys/new").await.html(404);
}

/// The value of a field of a page.
fn field<'p>(html: &'p str, before: &str) -> &'p str {
    let (_, rest) = html.split_once(before).unwrap_or_else(|| panic!("{html}"));
    rest.split('"').next().unwrap()
}

#[tokio::test]
async fn a_page_makes_a_key_and_shows_it_once() {
    let desk = Desk::new();
    let pages = desk.pages().await;
    let empty = pages.get("/api-keys").await.html(200).to_owned();
    assert!(empty.contains("No API keys yet") && empty.contains("aria-current=\"page\">API Keys"));
    let form = pages.get("/api-keys/new").await.html(200).to_owned();
    assert!(form.contains("This is the first key.") && form.contains("value=\"90\" selected"));
    assert!(form.contains("<option value=\"default\">"), "{form}");

    let id = field(&form, "name=\"id\" value=\"").to_owned();
    let fields = [
        ("id", &*id),
        ("name", "<ci>"),
        ("project", "web"),
        ("expires", "30"),
    ];
    let made = pages.post("/api-keys", &fields).await;
    let html = made.html(200);
    let key = field(html, "id=\"made-key\" class=\"mono\" value=\"").to_owned();
    assert!(key.starts_with("mcpk_") && desk.opens(&key));
    assert!(
        html.contains(&format!("-H 'authorization: Bearer {key}'")),
        "{html}"
    );
    assert!(
        html.contains("API key \"<bdi>&lt;ci&gt;</bdi>\" created")
            && html.contains(">14 Feb 2027, 08:00 UTC<")
    );

    // The form, sent again, makes no second key.
    let again = pages.post("/api-keys", &fields).await;
    assert!(
        again.html(409).contains("shown only once"),
        "{}",
        again.text
    );
    let list = pages.get("/api-keys").await.html(200).to_owned();
    assert!(list.contains("&lt;ci&gt;") && list.contains("in 30 days") && list.contains("not yet"));
    assert!(!list.contains("mcpk_"), "{list}");
    assert_eq!(desk.names(KEYS).await, ["<ci>"]);
    let form = pages.get("/api-keys/new").await.html(200).to_owned();
    assert!(!form.contains("first key") && form.contains("<option value=\"web\">"));
}

#[tokio::test]
async fn a_page_asks_before_it_revokes_and_names_the_key() {
    let desk = Desk::new();
    let pages = desk.pages().await;
    let (one, other) = (
        desk.make("one", "web").await,
        desk.make("other", "web").await,
    );
    let id: ApiKeyId = one["id"].as_str().unwrap().parse().unwrap();
    let used = [(id, noon() - HOUR)];
    desk.keys.note_api_key_uses(&used).await.unwrap();
    assert!(pages.get("/api-keys").await.html(200).contains("1 h ago"));
    let path = format!("/api-keys/{id}/revoke");
    let asked = pages.get(&path).await.html(200).to_owned();
    assert!(asked.contains("Revoke <bdi>one</bdi>?") && asked.contains("1 h ago"));
    assert!(!asked.contains("It is the last key."), "{asked}");
    assert!(desk.opens(one["key"].as_str().unwrap()));
    let revoked = pages.post(&path, &[]).await;
    assert!(
        pages
            .get(revoked.place())
            .await
            .html(200)
            .contains("Revoked.")
    );
    assert!(!desk.opens(one["key"].as_str().unwrap()));
    assert!(desk.opens(other["key"].as_str().unwrap()));
    assert!(pages.get(&path).await.html(404).contains("Page not found"));

    let last = format!("/api-keys/{}/revoke", other["id"].as_str().unwrap());
    assert!(
        pages
            .get(&last)
            .await
            .html(200)
            .contains("It is the last key.")
    );
}

#[tokio::test]
async fn what_is_wrong_stands_beside_its_field_and_nothing_is_lost() {
    let desk = Desk::new();
    let pages = desk.pages().await;
    for (changed, at, words) in [
        (
            ("name", " "),
            "f-name",
            "Name must have 1 to 100 characters",
        ),
        (
            ("project", ""),
            "f-project",
            "Project must have 1 to 100 characters",
        ),
        (
            ("expires", "date"),
            "f-expires-at",
            "The expiry needs a date",
        ),
        (
            ("expires", "7"),
            "f-expires-at",
            "The expiry must be one of the choices.",
        ),
    ] {
        let mut fields = vec![
            ("name", "typed"),
            ("project", "typed"),
            ("expires", "never"),
        ];
        fields.retain(|(name, _)| *name != changed.0);
        fields.push(changed);
        let page = pages.post("/api-keys", &fields).await;
        let html = page.html(400);
        assert!(
            html.contains(&format!("href=\"#{at}\">{words}")),
            "{words}: {html}"
        );
        assert!(html.contains(&format!("id=\"{at}\"")) && html.contains("value=\"typed\""));
    }
    let page = pages.post("/api-keys", &[("expires", "date")]).await;
    let html = page.html(400);
    for at in ["f-name", "f-project", "f-expires-at"] {
        assert!(html.contains(&format!("id=\"{at}-wrong\"")), "{at}: {html}");
    }
    let past = [
        ("name", "a"),
        ("project", "web"),
        ("expires", "date"),
        ("expires_on", "2020-01-31"),
    ];
    let page = pages.post("/api-keys", &past).await;
    assert!(page.html(400).contains("The expiry must be in the future."));
    assert!(page.text.contains("value=\"2020-01-31\""));
    assert!(desk.names(KEYS).await.is_empty());
}

#[tokio::test]
async fn a_long_list_has_pages_and_a_filter() {
    let desk = Desk::new();
    for number in 0..101 {
        *desk.clock.lock().unwrap() = noon() + Duration::from_secs(number);
        desk.make(&format!("n{number:03}"), "web").await;
    }
    desk.make("other", "batch").await;
    let pages = desk.pages().await;
    let html = pages
        .get("/api-keys?project=web")
        .await
        .html(200)
        .to_owned();
    assert!(html.contains("n100") && html.contains("n001") && !html.contains("n000"));
    assert!(
        !html.contains("other") && html.contains("?project=web&#38;part=1"),
        "{html}"
    );
    let html = pages
        .get("/api-keys?project=web&part=1")
        .await
        .html(200)
        .to_owned();
    assert!(html.contains("n000") && !html.contains("n001") && html.contains("First page"));
    let html = pages
        .get("/api-keys?project=none")
        .await
        .html(200)
        .to_owned();
    assert!(html.contains("No key matches"));
    pages
        .get("/api-keys?part=99999999999999999999")
        .await
        .html(200);
}
