//! Mix-up (RFC 9700 section 4.4), code injection (4.5) and what is alike between servers of one
//! gateway: two servers, one of them the attacker's, and an operator who connects that one in a
//! browser. The honest authorization server does not say who it is, unless a row says so.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::SET_COOKIE;
use mcp_layer::Connections;
use mcp_layer::authorization::Authorizations;
use mcp_layer::outbound::Outbound;
use mcp_layer::registry::{MemoryCredentialStore, MemoryRegistry};
use serde_json::{Value, json};
use url::Url;

use crate::support::admin::{Answer, Operator, request};
use crate::support::auth_server::{AuthServer, METADATA, json_reply, parameter};
use crate::support::outbound;
use crate::support::strict::{Redirects, Strict};

/// The callback of all servers, before each had its own.
const SHARED: &str = "http://127.0.0.1:8788/oauth/callback";

/// The gateway, both servers, and the operator's browser.
struct Stage {
    honest: Strict,
    evil: AuthServer,
    operator: Operator,
    browser: Browser,
}

/// What came of an attack: what the provider or the gateway said to it, or `None` where a page
/// says that a server was connected.
type Outcome = Option<String>;
type Attack = for<'a> fn(&'a mut Stage) -> BoxFuture<'a, Outcome>;

impl Stage {
    async fn set(outbound: &Outbound, redirects: Redirects, says_iss: bool) -> Self {
        let honest = Strict::of(redirects, says_iss).await;
        let evil = AuthServer::start().await;
        let authorizations =
            Authorizations::new(outbound.clone(), MemoryCredentialStore::default());
        let store = MemoryRegistry::default();
        let connections = Connections::builder(outbound.clone())
            .authorizations(&authorizations)
            .observations(store.clone())
            .build();
        let operator = Operator::over(connections, store, |admin| {
            admin.with_authorizations(authorizations)
        });
        let stage = Self {
            honest,
            evil,
            operator,
            browser: Browser::default(),
        };
        stage.evil_says(json!({}));
        stage.create("tracker", &stage.honest.server, false).await;
        stage.create("evil", &stage.evil, false).await;
        stage
    }

    async fn create(&self, name: &str, at: &AuthServer, draft: bool) -> Value {
        let auth = json!({"type": "oauth2"});
        let server = json!({"name": name, "url": at.mcp(), "auth": auth, "draft": draft});
        self.operator.create(&server).await
    }

    /// Sends the browser on its way to connect a server: where to.
    async fn begin(&mut self, name: &str) -> Url {
        let path = format!("/api/v1/servers/{name}/oauth/connect");
        let begun = self.operator.ask("POST", &path, None).await.expect(200);
        let start: Url = begun["authorization_url"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let started = self.browser.open(&self.operator, start.path()).await;
        assert_eq!(started.status, 303, "{}", started.text);
        started.headers["location"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// An operator says yes at the honest server; what the gateway says to what comes of it.
    async fn consent(&mut self, url: &Url) -> Outcome {
        match self.honest.consent(url) {
            Ok(back) => self.back(&back).await,
            Err(refused) => Some(refused),
        }
    }

    /// The browser comes back.
    async fn back(&mut self, back: &Url) -> Outcome {
        let query = back.query().unwrap();
        let path = format!("{}?{query}", back.path());
        let answer = self.browser.open(&self.operator, &path).await;
        (answer.status != 200).then_some(answer.text)
    }

    /// The operator has connected the honest server once: what was asked there.
    async fn connect_honest(&mut self) -> Url {
        let asked = self.begin("tracker").await;
        assert_eq!(self.consent(&asked).await, None);
        asked
    }

    /// The gateway's client there.
    async fn client(&mut self) -> String {
        parameter(&self.connect_honest().await, "client_id")
    }

    /// A code that was given to somebody, and went astray.
    async fn stolen(&mut self, name: &str) -> String {
        let asked = self.begin(name).await;
        parameter(&self.honest.consent(&asked).unwrap(), "code")
    }

    /// The browser comes back with another code than that of its own consent.
    async fn inject(&mut self, asked: &Url, code: &str) -> Outcome {
        let state = parameter(asked, "state");
        let mut back: Url = parameter(asked, "redirect_uri").parse().unwrap();
        back.set_query(Some(&format!("code={code}&state={state}")));
        self.back(&back).await
    }

    /// The browser, which sends its cookies anywhere, comes back to the path of `id`.
    async fn at(&mut self, asked: &Url, id: &str) -> Outcome {
        self.browser.sends_all();
        let mut back = self.honest.consent(asked).unwrap();
        back.set_path(&format!("/oauth/callback/{id}"));
        self.back(&back).await
    }

    /// Members of the attacker's metadata, which promise no `iss`.
    fn evil_says(&self, changes: Value) {
        let mut metadata = self.evil.metadata();
        metadata["authorization_response_iss_parameter_supported"] = Value::Null;
        metadata["token_endpoint_auth_methods_supported"] = json!(["none"]);
        for (name, value) in changes.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        self.evil.json(METADATA, metadata);
    }

    /// Who registers at the attacker's server gets this client.
    fn evil_registers(&self, client: String) {
        self.evil.answer("/register", move || {
            json_reply(
                201,
                &json!({"client_id": client, "token_endpoint_auth_method": "none"}),
            )
        });
    }

    /// Why a server cannot even begin to be connected.
    async fn cannot_begin(&self, name: &str) -> String {
        let path = format!("/api/v1/servers/{name}/oauth/connect");
        let refused = self.operator.ask("POST", &path, None).await;
        assert_eq!(refused.status, 400, "{}", refused.text);
        refused.text
    }

    /// What the attacker makes of a request for a code: the honest server is asked for it.
    fn swap(&self, asked: &Url, changes: &[(&str, &str)]) -> Url {
        let mut swapped = self.honest.server.at("/authorize");
        for (name, value) in asked.query_pairs() {
            let change = changes.iter().find(|(changed, _)| *changed == name);
            let value = change.map_or(&*value, |(_, value)| value);
            swapped.query_pairs_mut().append_pair(&name, value);
        }
        swapped
    }

    /// What the attacker gets for the codes that it was sent.
    async fn redeem(&self) {
        for seen in self.evil.seen().iter().filter(|seen| seen.path == "/token") {
            let form = seen.form();
            for client in 0..4 {
                let mut form = form.clone();
                form.insert("client_id".to_owned(), format!("client-{client}"));
                let body = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(&form)
                    .finish();
                let request = reqwest::Client::new()
                    .post(self.honest.server.at("/token"))
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(body);
                request.send().await.unwrap();
            }
        }
    }
}

/// A browser that keeps cookies for the paths that they are for.
#[derive(Default)]
struct Browser(BTreeMap<String, (String, String)>);

impl Browser {
    /// As over https, where a cookie of our own host alone has to be for all paths.
    fn sends_all(&mut self) {
        for (_, scope) in self.0.values_mut() {
            "/".clone_into(scope);
        }
    }

    async fn open(&mut self, operator: &Operator, path: &str) -> Answer {
        let mut request = request("GET", path, None);
        request.headers_mut().remove("authorization");
        let asked = path.split('?').next().unwrap();
        let cookies = self
            .0
            .iter()
            .filter(|(_, (_, scope))| asked.starts_with(scope));
        let cookies: Vec<_> = cookies
            .map(|(name, (value, _))| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            let cookies = cookies.join("; ").parse().unwrap();
            request.headers_mut().insert("cookie", cookies);
        }
        let answer = operator.send(request).await;
        for set in answer.headers.get_all(SET_COOKIE) {
            let (pair, flags) = set.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let scope = flags
                .split("Path=")
                .nth(1)
                .unwrap()
                .split(';')
                .next()
                .unwrap();
            match flags.contains("Max-Age=0;") {
                true => self.0.remove(name),
                false => self
                    .0
                    .insert(name.to_owned(), (value.to_owned(), scope.to_owned())),
            };
        }
        answer
    }
}

#[tokio::test]
async fn no_code_reaches_whom_it_was_not_asked_of() {
    let outbound = outbound();
    for (row, (name, redirects, says_iss, said, attack)) in table().into_iter().enumerate() {
        let mut stage = Stage::set(&outbound, redirects, says_iss).await;
        let outcome = attack(&mut stage).await;
        stage.redeem().await;
        let given = stage.honest.given();
        println!("{:>2} {name:<60} {given:?}", row + 1);
        let tokens = stage
            .evil
            .seen()
            .into_iter()
            .filter(|seen| seen.path == "/token");
        let sent: Vec<_> = tokens.map(|seen| seen.body).collect();
        assert!(
            sent.is_empty(),
            "{name}: the attacker was sent {sent:?}, and got tokens: {given:?}"
        );
        let outcome = outcome.unwrap_or_else(|| panic!("{name}: went through"));
        assert!(outcome.contains(said), "{name}: {outcome}");
        assert!(given.len() <= 1, "{name}: {given:?}");
    }
}

const MISMATCH: &str = "redirect_uri mismatch";
const PLACE: &str = "callback of another server";
const STATE: &str = "belongs to nothing that was begun";
const NO_TOKEN: &str = "gave no usable token";
const ISSUER: &str = "does not come from the authorization server";

fn table() -> Vec<(&'static str, Redirects, bool, &'static str, Attack)> {
    use Redirects::{Below, Exact};
    vec![
        // Mix-up: the attacker's authorization endpoint sends the browser on.
        ("on to the honest server", Exact, false, MISMATCH, |s| {
            async {
                let client = s.client().await;
                let asked = s.begin("evil").await;
                s.consent(&s.swap(&asked, &[("client_id", &client)])).await
            }
            .boxed()
        }),
        (
            "on to it, with its own redirect URI",
            Exact,
            false,
            STATE,
            |s| {
                async {
                    let honest = s.connect_honest().await;
                    let asked = s.begin("evil").await;
                    let [client, redirect] =
                        ["client_id", "redirect_uri"].map(|name| parameter(&honest, name));
                    let changes = [("client_id", &*client), ("redirect_uri", &redirect)];
                    s.consent(&s.swap(&asked, &changes)).await
                }
                .boxed()
            },
        ),
        (
            "the same, and the cookie goes to all paths",
            Exact,
            false,
            PLACE,
            |s| {
                async {
                    let honest = s.connect_honest().await;
                    let asked = s.begin("evil").await;
                    s.browser.sends_all();
                    let [client, redirect] =
                        ["client_id", "redirect_uri"].map(|name| parameter(&honest, name));
                    let changes = [("client_id", &*client), ("redirect_uri", &redirect)];
                    s.consent(&s.swap(&asked, &changes)).await
                }
                .boxed()
            },
        ),
        (
            "on to it, with the path that all shared once",
            Exact,
            false,
            MISMATCH,
            |s| {
                async {
                    let client = s.client().await;
                    let asked = s.begin("evil").await;
                    let changes = [("client_id", &*client), ("redirect_uri", SHARED)];
                    s.consent(&s.swap(&asked, &changes)).await
                }
                .boxed()
            },
        ),
        (
            "to a client that is still registered with that",
            Exact,
            false,
            PLACE,
            |s| {
                async {
                    let client = s.honest.register(SHARED);
                    let asked = s.begin("evil").await;
                    s.browser.sends_all();
                    let changes = [("client_id", &*client), ("redirect_uri", SHARED)];
                    s.consent(&s.swap(&asked, &changes)).await
                }
                .boxed()
            },
        ),
        (
            "a server that takes what is below a registered path",
            Below,
            false,
            MISMATCH,
            |s| {
                async {
                    let client = s.client().await;
                    let asked = s.begin("evil").await;
                    s.consent(&s.swap(&asked, &[("client_id", &client)])).await
                }
                .boxed()
            },
        ),
        (
            "the same, below the honest server's own path",
            Below,
            false,
            PLACE,
            |s| {
                async {
                    let honest = s.connect_honest().await;
                    let asked = s.begin("evil").await;
                    s.browser.sends_all();
                    let [client, redirect] =
                        ["client_id", "redirect_uri"].map(|name| parameter(&honest, name));
                    let own = parameter(&asked, "redirect_uri");
                    let id = own.rsplit('/').next().unwrap();
                    let redirect = format!("{redirect}/{id}");
                    let changes = [("client_id", &*client), ("redirect_uri", &redirect)];
                    let outcome = s.consent(&s.swap(&asked, &changes)).await;
                    // There is no such path, so nothing was looked at.
                    outcome.map(|text| format!("{PLACE}: {text}"))
                }
                .boxed()
            },
        ),
        ("a server that says who it is", Exact, true, ISSUER, |s| {
            async {
                let asked = s.begin("evil").await;
                let client = s.honest.register(&parameter(&asked, "redirect_uri"));
                s.consent(&s.swap(&asked, &[("client_id", &client)])).await
            }
            .boxed()
        }),
        // Registration: what it gives is the attacker's word.
        (
            "the honest client, as the attacker registers it",
            Exact,
            false,
            MISMATCH,
            |s| {
                async {
                    let client = s.client().await;
                    s.evil_registers(client);
                    let asked = s.begin("evil").await;
                    s.consent(&s.swap(&asked, &[])).await
                }
                .boxed()
            },
        ),
        (
            "a client of the attacker's, with the honest redirect URI",
            Exact,
            false,
            PLACE,
            |s| {
                async {
                    let redirect = parameter(&s.connect_honest().await, "redirect_uri");
                    let client = s.honest.register(&redirect);
                    let asked = s.begin("evil").await;
                    s.browser.sends_all();
                    let changes = [("client_id", &*client), ("redirect_uri", &redirect)];
                    s.consent(&s.swap(&asked, &changes)).await
                }
                .boxed()
            },
        ),
        // Metadata: the attacker's say that it is somebody else, or partly.
        (
            "the honest issuer's name in the attacker's metadata",
            Exact,
            false,
            "another issuer",
            |s| {
                async {
                    let honest = s.honest.server.url.clone();
                    s.evil_says(json!({"issuer": honest}));
                    Some(s.cannot_begin("evil").await)
                }
                .boxed()
            },
        ),
        (
            "the attacker's issuer, an honest authorization endpoint",
            Exact,
            false,
            MISMATCH,
            |s| {
                async {
                    let client = s.client().await;
                    s.evil_registers(client);
                    s.evil_says(
                        json!({"authorization_endpoint": s.honest.server.at("/authorize")}),
                    );
                    let asked = s.begin("evil").await;
                    s.consent(&asked).await
                }
                .boxed()
            },
        ),
        (
            "the attacker's code for an honest token endpoint",
            Exact,
            false,
            NO_TOKEN,
            |s| {
                async {
                    // Somebody's code, that the attacker got hold of.
                    let stolen = s.stolen("tracker").await;
                    s.evil_says(json!({"token_endpoint": s.honest.server.at("/token")}));
                    let asked = s.begin("evil").await;
                    s.inject(&asked, &stolen).await
                }
                .boxed()
            },
        ),
        // Code injection (RFC 9700 section 4.5): PKCE binds a code to who began.
        (
            "another session's code of the same server",
            Exact,
            false,
            NO_TOKEN,
            |s| {
                async {
                    let stolen = s.stolen("tracker").await;
                    let asked = s.begin("tracker").await;
                    s.inject(&asked, &stolen).await
                }
                .boxed()
            },
        ),
        (
            "a code that was asked for without PKCE",
            Exact,
            false,
            NO_TOKEN,
            |s| {
                async {
                    let mut asked = s.begin("tracker").await;
                    let bare: Vec<_> = asked.query_pairs().into_owned().collect();
                    let bare = bare
                        .iter()
                        .filter(|(name, _)| !name.starts_with("code_challenge"));
                    let bare: Vec<_> = bare.cloned().collect();
                    asked.query_pairs_mut().clear().extend_pairs(bare);
                    s.consent(&asked).await
                }
                .boxed()
            },
        ),
        (
            "a state a second time, with another code",
            Exact,
            false,
            STATE,
            |s| {
                async {
                    let asked = s.connect_honest().await;
                    let code = s.stolen("tracker").await;
                    s.browser.sends_all();
                    s.inject(&asked, &code).await
                }
                .boxed()
            },
        ),
        // One server's state at another's path.
        (
            "a state at the path of a server that was removed",
            Exact,
            false,
            PLACE,
            |s| {
                async {
                    let asked = s.begin("tracker").await;
                    s.operator
                        .ask("DELETE", "/api/v1/servers/tracker", None)
                        .await;
                    s.consent(&asked).await
                }
                .boxed()
            },
        ),
        (
            "the same, and another one was made under its name",
            Exact,
            false,
            PLACE,
            |s| {
                async {
                    let asked = s.begin("tracker").await;
                    s.operator
                        .ask("DELETE", "/api/v1/servers/tracker", None)
                        .await;
                    s.create("tracker", &s.honest.server, false).await;
                    s.consent(&asked).await
                }
                .boxed()
            },
        ),
        (
            "that state at the new one's path",
            Exact,
            false,
            PLACE,
            |s| {
                async {
                    let asked = s.begin("tracker").await;
                    s.operator
                        .ask("DELETE", "/api/v1/servers/tracker", None)
                        .await;
                    let new = s.create("tracker", &s.honest.server, false).await;
                    s.at(&asked, new["id"].as_str().unwrap()).await
                }
                .boxed()
            },
        ),
        (
            "a draft's state at another server's path",
            Exact,
            false,
            PLACE,
            |s| {
                async {
                    let other = s.create("sketch", &s.evil, true).await;
                    s.create("draft", &s.honest.server, true).await;
                    let asked = s.begin("draft").await;
                    s.at(&asked, other["id"].as_str().unwrap()).await
                }
                .boxed()
            },
        ),
        (
            "a state at a path that is no server's",
            Exact,
            false,
            PLACE,
            |s| {
                async {
                    let asked = s.begin("tracker").await;
                    s.at(&asked, "x").await
                }
                .boxed()
            },
        ),
        // Login CSRF: the attacker's own code, in the operator's browser.
        (
            "a link with the attacker's code and state",
            Exact,
            false,
            STATE,
            |s| {
                async {
                    let asked = s.begin("tracker").await;
                    let back = s.honest.consent(&asked).unwrap();
                    s.browser = Browser::default();
                    s.back(&back).await
                }
                .boxed()
            },
        ),
    ]
}

/// A draft keeps its identity when it is finished, and so its callback, which is registered.
#[tokio::test]
async fn a_draft_that_is_finished_meanwhile_is_connected_all_the_same() {
    let mut stage = Stage::set(&outbound(), Redirects::Exact, false).await;
    let mut draft = stage.create("sketch", &stage.honest.server, true).await;
    let asked = stage.begin("sketch").await;
    draft["draft"] = false.into();
    let finished = stage.operator.put("/api/v1/servers/sketch", &draft).await;
    assert_eq!(finished.expect(200)["id"], draft["id"]);
    assert_eq!(stage.consent(&asked).await, None);
    assert_eq!(stage.honest.given().len(), 1);
}
