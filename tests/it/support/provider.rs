//! A provider as many are: an MCP server at `/mcp` that wants a Bearer token, and an authorization
//! server that gives a new refresh token with each refresh, and takes back everything that came of
//! a consent when an old one is used again.
//!
//! Tokens are called `access-{consent}.{number}` and `refresh-{consent}.{number}`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::response::Response;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mcp_layer::authorization::{Authorizations, Connected, Error};
use mcp_layer::outbound::Outbound;
use mcp_layer::registry::{Auth, CredentialStore, OAuth2, OAuthGrant, Server};
use mcp_layer::{CallToolError, CallToolRequest, CallerTokens, Connections, ConnectionsBuilder};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use url::Url;

use super::auth_server::{AuthServer, RESOURCE, Seen, json_reply, refusal, reply};
use super::outbound;
use super::rows::{Log, Rows};

/// Seconds that an access token is good.
pub const LIFE: u64 = 3600;

/// A clock that is ahead of the real one, as far as a test wants. Clones share it.
#[derive(Clone, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    pub fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// Comes before an answer: takes its time, and may be the answer.
pub type Before = Arc<dyn Fn(String) -> BoxFuture<'static, Option<Response>> + Send + Sync>;

/// The provider; it ends when dropped.
pub struct Provider {
    pub server: AuthServer,
    pub clock: Clock,
    pub log: Log,
    /// One for all who reach it: making one takes a while.
    pub outbound: Outbound,
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    consents: Vec<Consent>,
    /// The consent that stands for a client of its own authority, or for a subject's token.
    others: HashMap<String, usize>,
    /// How often a family was taken back because an old refresh token was used again.
    reuses: usize,
    /// By argument.
    executed: HashMap<String, usize>,
    before: Option<Before>,
    before_code: Option<Before>,
    before_mcp: Option<Before>,
    keeps_refresh_tokens: bool,
    scope: String,
}

#[derive(Default)]
struct Consent {
    /// When each access token was given.
    given: Vec<SystemTime>,
    /// The first access token that the MCP server takes.
    good_from: usize,
    revoked: bool,
}

impl Provider {
    pub async fn start() -> Self {
        Self::over(outbound()).await
    }

    pub async fn over(outbound: Outbound) -> Self {
        let provider = Self {
            server: AuthServer::start().await,
            clock: Clock::default(),
            log: Log::default(),
            outbound,
            books: Arc::default(),
        };
        provider.books().scope = "files:read".to_owned();
        let (books, clock, log) = provider.shared();
        provider.server.respond("/token", move |seen| {
            token(seen, books.clone(), clock.clone(), log.clone())
        });
        let (books, clock, log) = provider.shared();
        let metadata = provider
            .server
            .at("/.well-known/oauth-protected-resource/mcp");
        provider.server.respond("/mcp", move |seen| {
            let (books, clock, log) = (books.clone(), clock.clone(), log.clone());
            let metadata = metadata.clone();
            async move {
                let before = books.lock().unwrap().before_mcp.clone();
                let token = seen.header("authorization").unwrap_or_default().to_owned();
                let answer = match before {
                    Some(before) => before(token).await,
                    None => None,
                };
                answer.unwrap_or_else(|| mcp(&seen, &books, &clock, &log, &metadata))
            }
        });
        let log = provider.log.clone();
        provider.server.respond("/revoke", move |seen| {
            note(&log, format!("revoke {}", seen.form()["token"]));
            std::future::ready(reply(200, "text/plain", ""))
        });
        provider
    }

    /// A record of the MCP server of which everything is discovered.
    pub fn discovered(&self) -> Server {
        self.with(|_| {})
    }

    /// A record of a gateway that authorizes itself.
    pub fn machine(&self) -> Server {
        self.machine_with(|_| {})
    }

    pub fn machine_with(&self, change: impl FnOnce(&mut OAuth2)) -> Server {
        self.with(|oauth| {
            oauth.grant = OAuthGrant::ClientCredentials;
            oauth.client_id = Some("machine-0".into());
            oauth.client_secret = Some("s3cret/0-of-a-machine".into());
            oauth.issuer = Some(self.server.url.clone());
            change(oauth);
        })
    }

    /// A record of a server that takes tokens of each caller's own.
    pub fn exchanging(&self) -> Server {
        self.exchanging_with(|_| {})
    }

    pub fn exchanging_with(&self, change: impl FnOnce(&mut OAuth2)) -> Server {
        self.machine_with(|oauth| {
            oauth.grant = OAuthGrant::TokenExchange;
            oauth.subject_audience = Some("gateway".into());
            oauth.subject_issuer = Some("https://login.example".into());
            change(oauth);
        })
    }

    /// A record of which nothing is.
    pub fn typed(&self) -> Server {
        self.with(|oauth| {
            oauth.client_id = Some("client-0".into());
            oauth.client_secret = Some("s3cret/0-of-a-client".into());
            oauth.authorization_url = Some(self.server.at("/authorize"));
            oauth.token_url = Some(self.server.at("/token"));
        })
    }

    pub fn with(&self, change: impl FnOnce(&mut OAuth2)) -> Server {
        let mut oauth = OAuth2::default();
        change(&mut oauth);
        let auth = Auth::oauth2(oauth).unwrap();
        Server::new("tracker", self.server.mcp().as_str())
            .unwrap()
            .with_auth(auth)
    }

    /// Authorizations by this provider's clock.
    pub fn authorizations(&self, store: impl CredentialStore) -> Authorizations {
        let clock = self.clock.clone();
        Authorizations::new(self.outbound.clone(), store).with_clock(move || clock.now())
    }

    /// What a process has of its own.
    pub fn process(&self, store: impl CredentialStore) -> (Authorizations, Connections) {
        let authorizations = self.authorizations(store);
        let connections = self.connections(&authorizations).build();
        (authorizations, connections)
    }

    /// The builder of connections with these authorizations.
    pub fn connections(&self, authorizations: &Authorizations) -> ConnectionsBuilder {
        Connections::builder(self.outbound.clone()).authorizations(authorizations)
    }

    /// How many refreshes were asked for.
    pub fn refreshes(&self) -> usize {
        let refreshes = |seen: &Seen| seen.path == "/token" && seen.body.contains("refresh_token");
        self.server
            .seen()
            .iter()
            .filter(|seen| refreshes(seen))
            .count()
    }

    /// The forms that were sent to the token endpoint.
    pub fn asked(&self) -> Vec<HashMap<String, String>> {
        let seen = self.server.seen();
        let asked = seen.iter().filter(|seen| seen.path == "/token");
        asked.map(Seen::form).collect()
    }

    /// How often a family was taken back because an old refresh token was used again.
    pub fn reuses(&self) -> usize {
        self.books().reuses
    }

    /// How often the tool ran with each argument.
    pub fn executed(&self) -> HashMap<String, usize> {
        self.books().executed.clone()
    }

    /// The MCP server takes none of the tokens that were given so far.
    pub fn refuse_tokens(&self) {
        for consent in &mut self.books().consents {
            consent.good_from = consent.given.len() + 1;
        }
    }

    /// The MCP server takes no token any more, whatever it is given.
    pub fn refuse_all(&self) {
        for consent in &mut self.books().consents {
            consent.good_from = usize::MAX;
        }
    }

    /// Somebody else has used the refresh tokens that were given so far.
    pub fn spend_refresh_tokens(&self) {
        let now = self.clock.now();
        for consent in &mut self.books().consents {
            consent.given.push(now);
        }
    }

    /// The user takes the consents back.
    pub fn revoke(&self) {
        for consent in &mut self.books().consents {
            consent.revoked = true;
        }
    }

    /// Refreshes keep the refresh token, and do not repeat it.
    pub fn keep_refresh_tokens(&self) {
        self.books().keeps_refresh_tokens = true;
    }

    /// The MCP server says, in its challenge and its metadata, that a token has to have these scopes.
    pub fn greedy(&self) {
        let scope = "payroll:write admin";
        let mut resource = self.server.resource();
        resource["scopes_supported"] = scope.split(' ').collect();
        self.server.json(RESOURCE, resource);
        self.before_mcp(move |token| {
            let challenge = format!(r#"Bearer scope="{scope}""#);
            std::future::ready(token.is_empty().then(|| refused(401, &challenge)))
        });
    }

    /// What the next consents are for.
    pub fn grant(&self, scope: &str) {
        scope.clone_into(&mut self.books().scope);
    }

    /// Has something come before the answer to each refresh.
    pub fn before<F>(&self, before: impl Fn(String) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Option<Response>> + Send + 'static,
    {
        self.books().before = Some(Arc::new(move |token| before(token).boxed()));
    }

    /// Has something come before the answer to each code.
    pub fn before_code<F>(&self, before: impl Fn(String) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Option<Response>> + Send + 'static,
    {
        self.books().before_code = Some(Arc::new(move |code| before(code).boxed()));
    }

    /// Has something come before the answer of the MCP server; it is given the `Authorization`.
    pub fn before_mcp<F>(&self, before: impl Fn(String) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Option<Response>> + Send + 'static,
    {
        self.books().before_mcp = Some(Arc::new(move |token| before(token).boxed()));
    }

    /// Answers each refresh so.
    pub fn fail(&self, answer: impl Fn() -> Response + Send + Sync + 'static) {
        self.before(move |_| std::future::ready(Some(answer())));
    }

    /// Answers everything properly again.
    pub fn recover(&self) {
        let mut books = self.books();
        (books.before, books.before_code, books.before_mcp) = (None, None, None);
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    fn shared(&self) -> (Arc<Mutex<Books>>, Clock, Log) {
        (self.books.clone(), self.clock.clone(), self.log.clone())
    }
}

/// A gateway with one server that is connected, and its provider.
pub struct Rig {
    pub provider: Provider,
    pub store: Rows,
    pub authorizations: Authorizations,
    pub connections: Connections,
    pub server: Server,
}

impl Rig {
    pub async fn start() -> Self {
        let rig = Self::unconnected().await;
        rig.connect().await.unwrap();
        rig
    }

    pub async fn unconnected() -> Self {
        Self::over(outbound()).await
    }

    /// Not connected, and over a client for calls out that others use, too.
    pub async fn over(outbound: Outbound) -> Self {
        let provider = Provider::over(outbound).await;
        let store = Rows::new(provider.log.clone());
        let (authorizations, connections) = provider.process(store.clone());
        Self {
            connections,
            server: provider.discovered(),
            authorizations,
            store,
            provider,
        }
    }

    /// The same server in another process.
    pub fn replica(&self) -> (Authorizations, Connections) {
        self.provider.process(self.store.clone())
    }

    /// As an operator would, who says yes.
    pub async fn connect(&self) -> Result<Connected, Error> {
        connect(&self.provider, &self.authorizations, &self.server).await
    }

    /// Calls the tool; it gives the argument back.
    pub async fn call(&self, argument: &str) -> Result<String, CallToolError> {
        call(&self.connections, &self.server, "echo", argument).await
    }

    /// What has happened, in order.
    pub fn log(&self) -> Vec<String> {
        self.provider.log.lock().unwrap().clone()
    }

    pub fn forget_log(&self) {
        self.provider.log.lock().unwrap().clear();
    }
}

pub async fn connect(
    provider: &Provider,
    authorizations: &Authorizations,
    server: &Server,
) -> Result<Connected, Error> {
    let begun = authorizations.begin(server, &callbacks()).await?;
    let query = provider.server.approve(&begun.authorization_url);
    authorizations.finish(&query, &begun.browser).await
}

pub async fn call(
    connections: &Connections,
    server: &Server,
    tool: &str,
    argument: &str,
) -> Result<String, CallToolError> {
    let arguments = json!({"text": argument}).to_string();
    let arguments = RawValue::from_string(arguments).unwrap();
    let call = CallToolRequest::new(tool, &arguments);
    let result = connections
        .call(server, &CallerTokens::default(), call)
        .await?;
    Ok(result.text)
}

/// Below this, each server has its redirect URI.
pub fn callbacks() -> Url {
    "http://127.0.0.1:8788/oauth/callback".parse().unwrap()
}

/// The token endpoint.
async fn token(seen: Seen, books: Arc<Mutex<Books>>, clock: Clock, log: Log) -> Response {
    let form = seen.form();
    if form["grant_type"] == "authorization_code" {
        note(&log, "token for a code");
        let before = books.lock().unwrap().before_code.clone();
        if let Some(before) = before
            && let Some(answer) = before(form["code"].clone()).await
        {
            return answer;
        }
        let mut books = books.lock().unwrap();
        books.consents.push(Consent::default());
        let consent = books.consents.len() - 1;
        return give(&mut books, consent, clock.now(), true);
    }
    if let Some(whose) = whose(&form) {
        note(&log, format!("token for {}", form["grant_type"]));
        let before = books.lock().unwrap().before.clone();
        if let Some(before) = before
            && let Some(answer) = before(whose.clone()).await
        {
            return answer;
        }
        let mut books = books.lock().unwrap();
        let next = books.consents.len();
        let consent = *books.others.entry(whose).or_insert(next);
        if consent == next {
            books.consents.push(Consent::default());
        }
        return give(&mut books, consent, clock.now(), false);
    }
    let refresh = &form["refresh_token"];
    note(&log, format!("token for {refresh}"));
    let before = books.lock().unwrap().before.clone();
    if let Some(before) = before
        && let Some(answer) = before(refresh.clone()).await
    {
        return answer;
    }
    let mut books = books.lock().unwrap();
    let Some((consent, number)) = parse(refresh, "refresh-") else {
        return refusal(400, "invalid_grant");
    };
    let rotates = !books.keeps_refresh_tokens;
    let newest = books.consents[consent].given.len();
    if books.consents[consent].revoked {
        return refusal(400, "invalid_grant");
    }
    if rotates && number != newest {
        books.reuses += 1;
        books.consents[consent].revoked = true;
        return refusal(400, "invalid_grant");
    }
    give(&mut books, consent, clock.now(), rotates)
}

/// The client of its own authority, or the token of a subject, that a form asks for.
fn whose(form: &HashMap<String, String>) -> Option<String> {
    match &*form["grant_type"] {
        "client_credentials" => Some("a client".to_owned()),
        "urn:ietf:params:oauth:grant-type:token-exchange" => Some(form["subject_token"].clone()),
        _ => None,
    }
}

fn give(books: &mut Books, consent: usize, now: SystemTime, refresh: bool) -> Response {
    books.consents[consent].given.push(now);
    let number = books.consents[consent].given.len();
    let mut tokens = json!({"access_token": format!("access-{consent}.{number}"),
        "token_type": "Bearer", "expires_in": LIFE, "scope": books.scope});
    if refresh {
        tokens["refresh_token"] = format!("refresh-{consent}.{number}").into();
    }
    json_reply(200, &tokens)
}

/// The MCP server, of revision 2026-07-28.
fn mcp(seen: &Seen, books: &Mutex<Books>, clock: &Clock, log: &Log, metadata: &Url) -> Response {
    let mut books = books.lock().unwrap();
    let token = seen
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    if !token.is_some_and(|token| books.takes(token, clock.now())) {
        let challenge = format!(r#"Bearer resource_metadata="{metadata}""#);
        return refused(401, &challenge);
    }
    let request = seen.json();
    let result = match request["method"].as_str().unwrap() {
        "server/discover" => json!({"resultType": "complete", "capabilities": {"tools": {}},
            "supportedVersions": ["2026-07-28"], "ttlMs": 0, "cacheScope": "private"}),
        "tools/list" => {
            let tool = |name| json!({"name": name, "inputSchema": {"type": "object"}});
            json!({"resultType": "complete", "tools": [tool("echo"), tool("write"), tool("leak")]})
        }
        "tools/call" => {
            let argument = request["params"]["arguments"]["text"]
                .as_str()
                .unwrap_or_default();
            let text = match request["params"]["name"].as_str().unwrap() {
                "write" => {
                    let challenge = r#"Bearer error="insufficient_scope", scope="files:write""#;
                    return refused(403, challenge);
                }
                "leak" => seen.header("authorization").unwrap(),
                _ => argument,
            };
            note(log, format!("call with {}", token.unwrap_or_default()));
            *books.executed.entry(argument.to_owned()).or_default() += 1;
            match request["params"]["name"].as_str().unwrap() {
                "work" => json!({"resultType": "task", "taskId": "t", "status": "working"}),
                _ => json!({"content": [{"type": "text", "text": text}]}),
            }
        }
        // Done for whoever comes with another token than the first.
        "tasks/get" if token == Some("access-0.1") => {
            json!({"resultType": "complete", "taskId": "t", "status": "working"})
        }
        "tasks/get" => json!({"resultType": "complete", "taskId": "t", "status": "completed",
            "result": {"content": [{"type": "text", "text": "done"}]}}),
        method => panic!("{method}"),
    };
    json_reply(
        200,
        &json!({"jsonrpc": "2.0", "id": request["id"], "result": result}),
    )
}

impl Books {
    fn takes(&self, token: &str, now: SystemTime) -> bool {
        let Some((consent, number)) = parse(token, "access-") else {
            return false;
        };
        let consent = &self.consents[consent];
        let given = consent.given[number - 1];
        let fresh = now < given + Duration::from_secs(LIFE);
        !consent.revoked && number >= consent.good_from && fresh
    }
}

fn parse(token: &str, prefix: &str) -> Option<(usize, usize)> {
    let (consent, number) = token.strip_prefix(prefix)?.split_once('.')?;
    Some((consent.parse().ok()?, number.parse().ok()?))
}

fn refused(status: u16, challenge: &str) -> Response {
    let mut response = json_reply(status, &Value::Null);
    let challenge = challenge.parse().unwrap();
    response.headers_mut().insert("www-authenticate", challenge);
    response
}

fn note(log: &Log, line: impl Into<String>) {
    log.lock().unwrap().push(line.into());
}
