//! Mix-up (RFC 9700 section 4.4), code injection (4.5) and what is alike between servers of one
//! gateway: two servers, one of them the attacker's, and an operator who connects that one in a
//! browser. The honest authorization server does not say who it is, unless a row says so.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::SET_COOKIE;
use mcp_layer::authorization::Authorizations;
use mcp_layer::outbound::Outbound;
use mcp_layer::registry::{MemoryCredentialStore, MemoryRegistry};
use mcp_layer::Connections;
use serde_json::{Value, json};
use url::Url;

use crate::support::admin::{Answer, Operator, request};
use crate::support::auth_server::{AuthServer, METADATA, parameter};
use crate::support::outbound;
use crate::support::strict::{Redirects, Strict};

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
        let mut metadata = evil.metadata();
        metadata["authorization_response_iss_parameter_supported"] = Value::Null;
        evil.json(METADATA, metadata);
        let authorizations =
            Authorizations::new(outbound.clone(), MemoryCredentialStore::default());
        let store = MemoryRegistry::default();
        let connections = Connections::new(outbound.clone())
            .with_authorizations(&authorizations)
            .with_observations(store.clone());
        let operator = Operator::over(connections, store, |admin| {
            admin.with_authorizations(authorizations)
        });
        let stage = Self {
            honest,
            evil,
            operator,
            browser: Browser::default(),
        };
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
        let start: Url = begun["authorization_url"].as_str().unwrap().parse().unwrap();
        let started = self.browser.open(&self.operator, start.path()).await;
        assert_eq!(started.status, 303, "{}", started.text);
        started.headers["location"].to_str().unwrap().parse().unwrap()
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
    async fn open(&mut self, operator: &Operator, path: &str) -> Answer {
        let mut request = request("GET", path, None);
        request.headers_mut().remove("authorization");
        let asked = path.split('?').next().unwrap();
        let cookies = self.0.iter().filter(|(_, (_, scope))| asked.starts_with(scope));
        let cookies: Vec<_> = cookies.map(|(name, (value, _))| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            let cookies = cookies.join("; ").parse().unwrap();
            request.headers_mut().insert("cookie", cookies);
        }
        let answer = operator.send(request).await;
        for set in answer.headers.get_all(SET_COOKIE) {
            let (pair, flags) = set.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let scope = flags.split("Path=").nth(1).unwrap().split(';').next().unwrap();
            match flags.contains("Max-Age=0;") {
                true => self.0.remove(name),
                false => self.0.insert(name.to_owned(), (value.to_owned(), scope.to_owned())),
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
        let tokens = stage.evil.seen().into_iter().filter(|seen| seen.path == "/token");
        let sent: Vec<_> = tokens.map(|seen| seen.body).collect();
        assert!(sent.is_empty(), "{name}: the attacker was sent {sent:?}, and got tokens: {given:?}");
        let outcome = outcome.unwrap_or_else(|| panic!("{name}: went through"));
        assert!(outcome.contains(said), "{name}: {outcome}");
        assert!(given.len() <= 1, "{name}: {given:?}");
    }
}

const MISMATCH: &str = "redirect_uri mismatch";
const STATE: &str = "belongs to nothing that was begun";

fn table() -> Vec<(&'static str, Redirects, bool, &'static str, Attack)> {
    use Redirects::Exact;
    vec![
        (
            "a browser sent on to the honest server",
            Exact,
            false,
            MISMATCH,
            |s| {
                async {
                    let client = parameter(&s.connect_honest().await, "client_id");
                    let asked = s.begin("evil").await;
                    let swapped = s.swap(&asked, &[("client_id", &client)]);
                    s.consent(&swapped).await
                }
                .boxed()
            },
        ),
    ]
}
