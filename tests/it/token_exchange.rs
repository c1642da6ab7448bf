//! Callers' tokens, exchanged for tokens of their own for a server (RFC 8693): nobody acts as anybody else,
//! and what is not for the gateway goes nowhere.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::response::Response;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderName, Request};
use http_body_util::{BodyExt, Full};
use mcp_layer::admin::Chat;
use mcp_layer::mcp::ServerLimits;
use mcp_layer::oauth::{AuthorizationServer, Client, Exchange, exchange_token};
use mcp_layer::registry::{MemoryRegistry, Server};
use mcp_layer::{
    CallToolError, CallToolRequest, CallerId, CallerTokens, Inactive, InvalidSubjectToken,
    McpLayer, Project, Scopes, SubjectToken, SubjectTokenType,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

use crate::support::admin::{Operator, request};
use crate::support::auth_server::{
    AuthServer, METADATA, RESOURCE, RESOURCE_AT_ROOT, http, refusal, reply, silence,
};
use crate::support::evidence;
use crate::support::gateway::{Reply, chat, with_mcp};
use crate::support::model::{Model, calls, says};
use crate::support::pages::Pages;
use crate::support::provider::{LIFE, Provider, Rig};
use crate::support::traces::Witness;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// What the login says of somebody.
fn claims(subject: &str) -> Value {
    let exp = SystemTime::now() + Duration::from_secs(24 * 3600);
    let exp = exp.duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({"iss": "https://login.example", "sub": subject, "aud": ["gateway"], "exp": exp})
}

fn signed(claims: &Value) -> String {
    let encoded = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let (head, signature) = (r#"{"alg":"ES256"}"#, "a signature of the login");
    let token = [head, &claims.to_string(), signature]
        .map(encoded)
        .join(".");
    evidence::secret("subject token", &token);
    token
}

fn token(claims: &Value) -> SubjectToken {
    SubjectToken::from_jwt(signed(claims).into()).unwrap()
}

fn as_caller(token: SubjectToken) -> CallerTokens {
    with_key("key-1", token)
}

fn with_key(key: &str, token: SubjectToken) -> CallerTokens {
    let id = CallerId::new(key);
    CallerTokens::default()
        .of_caller(&Project::default(), Some(&id))
        .with_subject(token)
}

async fn rig(server: impl FnOnce(&Provider) -> Server) -> Rig {
    let mut rig = Rig::unconnected().await;
    rig.server = server(&rig.provider);
    rig
}

/// Calls the tool that gives back what its server was sent as a credential.
async fn call(rig: &Rig, tokens: &CallerTokens) -> Result<String, CallToolError> {
    let arguments = RawValue::from_string("{}".to_owned()).unwrap();
    let call = CallToolRequest::new("echo", &arguments);
    let called = rig.connections.call(&rig.server, tokens, call).await;
    called.map(|result| result.text)
}

fn inactive(called: Result<String, CallToolError>) -> Inactive {
    match called {
        Err(CallToolError::Inactive(inactive)) => inactive,
        other => panic!("{other:?}"),
    }
}

/// The tokens that the MCP server was sent with calls, each once.
fn used(rig: &Rig) -> HashSet<String> {
    let seen = rig.provider.server.seen();
    let calls = seen.iter().filter(|seen| seen.body.contains("tools/call"));
    let tokens = calls.filter_map(|seen| seen.header("authorization"));
    tokens.map(str::to_owned).collect()
}

#[tokio::test]
async fn each_caller_has_a_token_of_their_own_and_the_server_never_sees_the_first() {
    let rig = rig(|provider| {
        provider.exchanging_with(|oauth| {
            oauth.audience = Some("tracker".into());
            oauth.scopes = Scopes::parse("files:read").unwrap();
            oauth.subject_token_type = Some(SubjectTokenType::IdToken);
        })
    })
    .await;
    let (ann, ben) = (signed(&claims("ann")), signed(&claims("ben")));
    for text in [&ann, &ben, &ann] {
        let tokens = as_caller(SubjectToken::from_jwt(text.as_str().into()).unwrap());
        call(&rig, &tokens).await.unwrap();
    }
    assert_eq!(used(&rig).len(), 2);
    let mcp = rig.provider.server.mcp();
    let asked = rig.provider.asked();
    assert_eq!(asked.len(), 2, "what was exchanged is used again");
    for (form, text) in asked.iter().zip([&ann, &ben]) {
        let expected = [
            ("grant_type", GRANT),
            ("subject_token", text),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:id_token",
            ),
            (
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
            ("audience", "tracker"),
            ("scope", "files:read"),
            ("resource", mcp.as_str()),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(*form, expected.into_iter().collect());
    }
    for seen in rig.provider.server.seen() {
        let is_mcp = seen.path == "/mcp";
        assert!(!is_mcp || !format!("{seen:?}").contains(&ann));
    }
    // Nothing of it is stored.
    assert!(!rig.log().contains(&"stored".to_owned()));
}

#[tokio::test]
async fn callers_who_come_at_once_with_one_token_wait_for_one_exchange() {
    let rig = rig(Provider::exchanging).await;
    let tokens = as_caller(token(&claims("ann")));
    let called = join_all((0..100).map(|_| call(&rig, &tokens))).await;
    assert!(called.iter().all(Result::is_ok));
    assert_eq!(rig.provider.asked().len(), 1);
}

#[tokio::test]
async fn a_token_that_is_not_for_the_gateway_is_sent_nowhere() {
    let rig = rig(Provider::exchanging).await;
    for (name, value, why) in [
        ("aud", json!("tracker"), "audience"),
        ("aud", json!(["gateway-2", "tracker"]), "audience"),
        ("aud", json!(null), "audience"),
        ("iss", json!("https://login.evil.example"), "issuer"),
        ("iss", json!("https://login.example/"), "issuer"),
        ("exp", json!(1_000_000_000), "expired"),
    ] {
        let mut claims = claims("ann");
        claims[name] = value;
        let tokens = as_caller(token(&claims));
        let Inactive::TokenUnfit { message } = inactive(call(&rig, &tokens).await) else {
            panic!("{claims}");
        };
        assert!(message.contains(why), "{message}");
        let listed = rig.connections.tools(&rig.server, &tokens).await;
        assert!(matches!(listed, Err(Inactive::TokenUnfit { .. })));
    }
    let nobody = CallerTokens::default();
    assert_eq!(inactive(call(&rig, &nobody).await), Inactive::TokenMissing);
    assert_eq!(rig.provider.server.seen().len(), 0);
}

#[tokio::test]
async fn a_server_that_names_another_authorization_server_gets_no_callers_token() {
    let evil = AuthServer::start().await;
    let rig = rig(Provider::exchanging).await;
    let resource =
        json!({"resource": rig.provider.server.mcp(), "authorization_servers": [evil.url]});
    rig.provider.server.json(RESOURCE, resource);
    let tokens = as_caller(token(&claims("ann")));
    assert!(matches!(
        inactive(call(&rig, &tokens).await),
        Inactive::Unreachable { .. }
    ));
    assert_eq!((evil.seen().len(), rig.provider.asked().len()), (0, 0));
}

#[tokio::test]
async fn a_token_is_exchanged_anew_a_minute_before_it_expires_and_after_a_401_once() {
    let rig = rig(Provider::exchanging).await;
    let tokens = as_caller(token(&claims("ann")));
    call(&rig, &tokens).await.unwrap();
    rig.provider.clock.pass(LIFE - 70);
    call(&rig, &tokens).await.unwrap();
    assert_eq!(rig.provider.asked().len(), 1);
    rig.provider.clock.pass(20);
    call(&rig, &tokens).await.unwrap();
    assert_eq!(rig.provider.asked().len(), 2);

    rig.provider.refuse_tokens();
    let called = join_all((0..50).map(|_| call(&rig, &tokens))).await;
    assert!(called.iter().all(Result::is_ok), "{called:?}");
    assert_eq!(rig.provider.asked().len(), 3);
    rig.provider.refuse_all();
    for _ in 0..3 {
        assert!(call(&rig, &tokens).await.is_err());
    }
    assert_eq!(
        rig.provider.asked().len(),
        3,
        "a server that takes none is not fed with tokens"
    );
}

#[tokio::test]
async fn another_token_of_a_subject_gets_nothing_of_the_first() {
    let rig = rig(Provider::exchanging).await;
    let mut less = claims("ann");
    less["scope"] = json!("nothing");
    let mut later = claims("ann");
    later["jti"] = json!("2");
    for (claims, exchanges) in [
        (claims("ann"), 1),
        (less, 2),
        (later, 3),
        (claims("ann"), 3),
    ] {
        call(&rig, &as_caller(token(&claims))).await.unwrap();
        assert_eq!(rig.provider.asked().len(), exchanges, "{claims}");
    }
    assert_eq!(used(&rig).len(), 3);
    // Another project, too.
    let batch = CallerTokens::default()
        .of_caller(&Project::new("batch"), None)
        .with_subject(token(&claims("ann")));
    call(&rig, &batch).await.unwrap();
    assert_eq!(rig.provider.asked().len(), 4);
}

#[tokio::test]
async fn tools_are_listed_for_each_subject_with_their_own_token() {
    let rig = rig(Provider::exchanging).await;
    for subject in ["ann", "ben", "ann"] {
        let tokens = as_caller(token(&claims(subject)));
        let tools = rig.connections.tools(&rig.server, &tokens).await.unwrap();
        assert_eq!(tools.offered.len(), 3);
    }
    let seen = rig.provider.server.seen();
    let lists = seen.iter().filter(|seen| seen.body.contains("tools/list"));
    let lists: Vec<_> = lists
        .map(|seen| seen.header("authorization").unwrap())
        .collect();
    assert_eq!(lists.len(), 2);
    assert_ne!(lists[0], lists[1]);
}

#[tokio::test(start_paused = true)]
async fn what_one_token_meets_is_nothing_to_another() {
    let rig = rig(Provider::exchanging).await;
    let (ann, ben) = (
        as_caller(token(&claims("ann"))),
        as_caller(token(&claims("ben"))),
    );
    let bens = signed(&claims("ben"));
    rig.provider.before(move |subject| {
        let refused = (subject != bens).then(|| refusal(400, "invalid_grant"));
        std::future::ready(refused)
    });
    for _ in 0..3 {
        let refused = inactive(call(&rig, &ann).await);
        assert!(matches!(refused, Inactive::TokenUnfit { .. }), "{refused}");
    }
    assert_eq!(
        rig.provider.asked().len(),
        1,
        "it is left alone for a while"
    );
    call(&rig, &ben).await.unwrap();
    tokio::time::advance(Duration::from_secs(31)).await;
    rig.provider.recover();
    call(&rig, &ann).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_and_an_outage_are_the_operators_affair() {
    let rig = rig(Provider::exchanging).await;
    let (ann, ben) = (
        as_caller(token(&claims("ann"))),
        as_caller(token(&claims("ben"))),
    );
    rig.provider.fail(|| refusal(401, "invalid_client"));
    for tokens in [&ann, &ben, &ann] {
        assert_eq!(
            inactive(call(&rig, tokens).await),
            Inactive::CredentialInvalid
        );
    }
    assert_eq!(rig.provider.asked().len(), 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    rig.provider.fail(|| reply(503, "text/plain", ""));
    let refused = inactive(call(&rig, &ann).await);
    assert!(matches!(refused, Inactive::Unreachable { .. }));
    tokio::time::advance(Duration::from_secs(61)).await;
    rig.provider.recover();
    call(&rig, &ben).await.unwrap();
}

/// The answer of an authorization server that has been asked too often.
fn wait() -> Response {
    let mut answer = reply(429, "text/plain", "");
    let headers = answer.headers_mut();
    headers.insert("retry-after", "120".parse().unwrap());
    answer
}

#[tokio::test(start_paused = true)]
async fn what_a_forged_token_is_answered_is_nothing_to_other_callers() {
    let page = || reply(400, "text/html", "no");
    let later = || reply(503, "text/plain", "");
    let answers: [fn() -> Response; 3] = [wait, page, later];
    for answer in answers {
        let rig = rig(Provider::exchanging).await;
        let forged = as_caller(token(&claims("nobody")));
        let bens = signed(&claims("ben"));
        let good = SubjectToken::from_jwt(bens.as_str().into()).unwrap();
        let good = with_key("key-2", good);
        rig.provider
            .before(move |subject| std::future::ready((subject != bens).then(answer)));
        for _ in 0..3 {
            let refused = inactive(call(&rig, &forged).await);
            assert!(matches!(refused, Inactive::Unreachable { .. }), "{refused}");
        }
        assert_eq!(rig.provider.asked().len(), 1, "it is left alone");
        call(&rig, &good).await.unwrap();
        assert_eq!(rig.provider.asked().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_exchange_is_one_callers_affair_until_another_meets_it() {
    let rig = rig(Provider::exchanging).await;
    let with = |key, subject| with_key(key, token(&claims(subject)));
    let slow = with("key-1", "slow");
    let bens = signed(&claims("ben"));
    let ben = SubjectToken::from_jwt(bens.as_str().into()).unwrap();
    let ben = with_key("key-2", ben);
    rig.provider.before(move |subject| {
        let is_slow = subject != bens;
        async move {
            if is_slow {
                std::future::pending::<()>().await;
            }
            None
        }
    });
    let refused = inactive(call(&rig, &slow).await);
    assert_eq!(inactive(call(&rig, &slow).await), refused, "it waits");
    call(&rig, &ben).await.unwrap();
    for (key, subject) in [("key-3", "late"), ("key-4", "later")] {
        inactive(call(&rig, &with(key, subject)).await);
    }
    let asked = rig.provider.asked().len();
    inactive(call(&rig, &with("key-5", "last")).await);
    assert_eq!(rig.provider.asked().len(), asked, "nobody gets one");
}

#[tokio::test(start_paused = true)]
async fn an_authorization_server_is_left_alone_for_as_long_as_it_asks() {
    let rig = rig(Provider::exchanging).await;
    let ann = as_caller(token(&claims("ann")));
    rig.provider.fail(wait);
    assert!(call(&rig, &ann).await.is_err());
    tokio::time::advance(Duration::from_secs(119)).await;
    rig.provider.recover();
    assert!(call(&rig, &ann).await.is_err());
    tokio::time::advance(Duration::from_secs(2)).await;
    call(&rig, &ann).await.unwrap();

    // By everybody, once it has said so to two.
    rig.provider.fail(wait);
    for (key, subject) in [("key-1", "ben"), ("key-2", "cid"), ("key-3", "dan")] {
        let tokens = with_key(key, token(&claims(subject)));
        assert!(call(&rig, &tokens).await.is_err());
    }
    assert_eq!(rig.provider.asked().len(), 4);
}

#[tokio::test]
async fn made_up_tokens_are_few_for_the_authorization_server_and_cost_nobody_theirs() {
    let rig = rig(Provider::exchanging).await;
    let good = with_key("key-2", token(&claims("ben")));
    call(&rig, &good).await.unwrap();
    rig.provider.fail(|| refusal(400, "invalid_grant"));
    let forged = |n: usize| as_caller(token(&claims(&format!("nobody-{n}"))));
    let mut unfit = 0;
    for n in 0..300 {
        match inactive(call(&rig, &forged(n)).await) {
            Inactive::TokenUnfit { .. } => unfit += 1,
            refused => assert_eq!(refused, Inactive::TooManyCredentials),
        }
    }
    assert_eq!(rig.provider.asked().len(), 1 + unfit);
    assert!((125..300).contains(&unfit), "{unfit}");
    // What was exchanged before goes on, also for those who share the key.
    rig.provider.recover();
    call(&rig, &good).await.unwrap();
    assert_eq!(rig.provider.asked().len(), 1 + unfit);
    call(&rig, &with_key("key-2", token(&claims("cid"))))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_request_with_too_many_new_tokens_is_told_to_wait() {
    let rig = rig(Provider::exchanging).await;
    rig.provider.fail(|| refusal(400, "invalid_grant"));
    let mut replies = Vec::new();
    for n in 0..200 {
        let model = Model::new([]);
        let forged = token(&claims(&format!("nobody-{n}")));
        replies.push(send(&rig, &model, Some(forged)).await);
    }
    let reply = replies.last().unwrap();
    assert_eq!(reply.error().1, "mcp_too_many_credentials");
    let message = reply.json()["error"]["message"].to_string();
    assert!(!message.contains("x-mcp-auth"), "{message}");
}

#[tokio::test]
async fn a_server_chooses_no_scopes_of_an_exchanged_token() {
    let rig = rig(Provider::exchanging).await;
    rig.provider.greedy();
    let tokens = as_caller(token(&claims("ann")));
    call(&rig, &tokens).await.unwrap();
    assert_eq!(rig.provider.asked()[0].get("scope"), None);
}

#[tokio::test]
async fn what_is_issued_must_be_an_access_token() {
    for (kind, issued, is_taken) in [
        (
            "Bearer",
            "urn:ietf:params:oauth:token-type:access_token",
            true,
        ),
        ("bearer", "urn:ietf:params:oauth:token-type:jwt", true),
        (
            "Bearer",
            "urn:ietf:params:oauth:token-type:refresh_token",
            false,
        ),
        ("Bearer", "urn:ietf:params:oauth:token-type:id_token", false),
        (
            "N_A",
            "urn:ietf:params:oauth:token-type:access_token",
            false,
        ),
        (
            "DPoP",
            "urn:ietf:params:oauth:token-type:access_token",
            false,
        ),
    ] {
        let answer = json!({"access_token": "access-0.1", "token_type": kind,
            "issued_token_type": issued, "expires_in": 60, "refresh_token": "never-used"});
        let server = AuthServer::start().await;
        server.json("/token", answer.clone());
        let typed = AuthorizationServer::without_browser(server.at("/token"), None);
        let typed = typed.unwrap();
        let client = Client::new("id", Some("s3cret".into()), None, &typed).unwrap();
        let exchange = Exchange {
            subject_token: &signed(&claims("ann")).into(),
            subject_token_type: SubjectTokenType::AccessToken,
            audience: None,
            resource: None,
            scopes: &Scopes::default(),
        };
        let tokens = exchange_token(&http(), &typed, &client, &exchange).await;
        assert_eq!(tokens.is_ok(), is_taken, "{answer}");
        assert!(tokens.is_ok_and(|tokens| tokens.refresh_token.is_none()) == is_taken);
    }
}

/// What a request through the layer gets, whose caller has this token.
async fn send(rig: &Rig, model: &Model, subject: Option<SubjectToken>) -> Reply {
    let mut request = asked();
    if let Some(subject) = subject {
        request.extensions_mut().insert(subject);
    }
    answer(&layer(rig), model, request).await
}

fn layer(rig: &Rig) -> McpLayer {
    let registry = MemoryRegistry::new([rig.server.clone()]).unwrap();
    McpLayer::new(registry)
        .with_connections(rig.connections.clone())
        .add_trace_sink(Witness)
}

fn asked() -> Request<Full<Bytes>> {
    let mcp = json!({"enabled": true, "servers": ["tracker"], "auto_execute_tools": true});
    chat(with_mcp(mcp, json!({})).to_string())
}

async fn answer(layer: &McpLayer, model: &Model, request: Request<Full<Bytes>>) -> Reply {
    let service = layer.layer(model.clone());
    let (parts, body) = service.oneshot(request).await.unwrap().into_parts();
    Reply {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

#[tokio::test]
async fn a_requests_extensions_have_the_token_and_no_model_or_answer_does() {
    let rig = rig(Provider::exchanging).await;
    let model = Model::new([
        calls(&[("tracker__echo", json!({"text": "hi"}))]),
        says("done"),
    ]);
    let text = signed(&claims("ann"));
    let subject = SubjectToken::from_jwt(text.as_str().into()).unwrap();
    let reply = send(&rig, &model, Some(subject)).await;
    assert_eq!(reply.receipt()["calls"][0]["is_error"], false);
    let told = format!(
        "{:?} {}",
        model.asked(),
        String::from_utf8_lossy(&reply.body)
    );
    assert!(
        !told.contains(&text) && !told.contains("access-0.1"),
        "{told}"
    );
}

#[tokio::test]
async fn without_a_token_or_with_an_unfit_one_a_request_is_refused_before_anything_is_asked() {
    let rig = rig(Provider::exchanging).await;
    let mut foreign = claims("ann");
    foreign["aud"] = json!("tracker");
    for subject in [None, Some(token(&foreign))] {
        let model = Model::new([]);
        let reply = send(&rig, &model, subject).await;
        let expected = (
            401,
            "mcp_credential_required".to_owned(),
            json!("mcp.servers[0]"),
        );
        assert_eq!(reply.error(), expected);
        let message = reply.json()["error"]["message"].to_string();
        assert!(!message.contains("x-mcp-auth"), "{message}");
        assert_eq!(model.asked().len(), 0);
    }
    assert_eq!(rig.provider.server.seen().len(), 0);
}

const HEADER: HeaderName = HeaderName::from_static("x-user");

#[tokio::test]
async fn a_caller_is_told_in_which_header_a_token_goes_and_what_is_wrong_with_it() {
    let rig = rig(Provider::exchanging).await;
    let layer = layer(&rig).with_subject_header(HEADER);
    let changed = |name: &str, value: Value| {
        let mut claims = claims("ann");
        claims[name] = value;
        signed(&claims)
    };
    let long = format!("a.{}.b", "x".repeat(16 * 1024));
    for (sent, what, next) in [
        (
            vec![],
            "it wants a token of the caller's own",
            "send the token",
        ),
        (
            vec!["nonsense".to_owned()],
            "it is not a signed JWT",
            "send another token",
        ),
        (vec![long], "it is not a signed JWT", "send another token"),
        (
            vec![changed("sub", json!(""))],
            "it does not say who issued it",
            "send another token",
        ),
        (
            vec![signed(&claims("ann")), signed(&claims("ben"))],
            "it is there more than once",
            "send another",
        ),
        (
            vec![changed("exp", json!(1_000_000_000))],
            "it has expired",
            "send another token",
        ),
        (
            vec![changed("aud", json!("tracker"))],
            "it is for another audience",
            "send another token",
        ),
        (
            vec![changed("iss", json!("https://evil.example"))],
            "it is another issuer's",
            "send another",
        ),
    ] {
        let model = Model::new([]);
        let mut request = asked();
        for token in &sent {
            request.headers_mut().append(HEADER, token.parse().unwrap());
        }
        let reply = answer(&layer, &model, request).await;
        assert_eq!(
            (reply.error().0, &*reply.error().1),
            (401, "mcp_credential_required")
        );
        let message = reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        for part in [what, next, "in the header x-user"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(
            sent.iter().all(|token| !message.contains(&token[..8])),
            "{message}"
        );
    }
    assert_eq!(rig.provider.server.seen().len(), 0);
}

#[tokio::test]
async fn the_header_is_for_no_model_and_what_a_proxy_vouches_for_goes_before_it() {
    let rig = rig(Provider::exchanging).await;
    let layer = layer(&rig).with_subject_header(HEADER);
    let (ann, ben) = (signed(&claims("ann")), signed(&claims("ben")));
    for vouched in [None, Some(&ben)] {
        let model = Model::new([says("done")]);
        let mut request = asked();
        let bearer = format!("Bearer {ann}");
        request
            .headers_mut()
            .insert(HEADER, bearer.parse().unwrap());
        if let Some(token) = vouched {
            let token = SubjectToken::from_jwt(token.as_str().into()).unwrap();
            request.extensions_mut().insert(token);
        }
        assert_eq!(answer(&layer, &model, request).await.status, 200);
        assert!(!format!("{:?}", model.asked()).contains(&ann));
        let expected = vouched.unwrap_or(&ann);
        assert_eq!(
            rig.provider.asked().last().unwrap()["subject_token"],
            *expected
        );
    }
}

#[tokio::test]
async fn what_a_proxy_has_refused_or_set_is_not_overridden_by_a_header() {
    let rig = rig(Provider::exchanging).await;
    let layer = layer(&rig).with_subject_header(HEADER);
    let (ann, ben) = (signed(&claims("ann")), signed(&claims("ben")));
    let model = Model::new([]);
    let mut request = asked();
    request.headers_mut().insert(HEADER, ann.parse().unwrap());
    request
        .extensions_mut()
        .insert(InvalidSubjectToken::Several);
    let refused = answer(&layer, &model, request).await;
    assert_eq!(refused.status, 401);
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("more than once"), "{message}");
    assert_eq!(rig.provider.asked().len(), 0);

    let mut headers = http::HeaderMap::new();
    let header = HEADER;
    headers.insert(&header, ann.parse().unwrap());
    let vouched = SubjectToken::from_jwt(ben.as_str().into()).unwrap();
    let tokens = as_caller(vouched).with_subject_of(&mut headers, &header);
    assert!(headers.is_empty());
    call(&rig, &tokens).await.unwrap();
    assert_eq!(rig.provider.asked()[0]["subject_token"], ben);
}

#[tokio::test]
async fn an_operator_sends_the_same_header_over_rest_and_pages_say_that_they_cannot() {
    let rig = rig(Provider::exchanging).await;
    let registry = MemoryRegistry::new([rig.server.clone()]).unwrap();
    let connections = rig.provider.connections(&rig.authorizations);
    let connections = connections.observations(registry.clone()).build();
    let layer = |is_named: bool| {
        let layer = McpLayer::new(registry.clone()).with_connections(connections.clone());
        match is_named {
            true => layer.with_subject_header(HEADER),
            false => layer,
        }
    };
    let operator = |is_named| {
        let layer = layer(is_named);
        Operator::over(connections.clone(), registry.clone(), |admin| {
            admin
                .with_explainer(layer.explainer())
                .with_tool_caller(layer.tool_caller())
                .with_chat(Chat::new(layer.layer(Model::new([]))))
        })
    };
    let side = operator(true);
    let explain = asked().into_body().collect().await.unwrap().to_bytes();
    let explain = String::from_utf8(explain.to_vec()).unwrap();
    let call = r#"{"arguments": {"text": "hello"}}"#;
    for (path, body) in [
        ("/api/v1/explain", &*explain),
        ("/api/v1/servers/tracker/tools/echo/call", call),
    ] {
        let refused = side.ask("POST", path, Some(body)).await;
        assert_eq!(refused.status, 401, "{}", refused.text);
        assert!(
            refused.text.contains("in the header x-user"),
            "{}",
            refused.text
        );
        let mut request = request("POST", path, Some(body));
        let token = signed(&claims("ann"));
        request.headers_mut().insert(HEADER, token.parse().unwrap());
        let answered = side.send(request).await;
        assert_eq!(answered.status, 200, "{path}: {}", answered.text);
    }
    for (is_named, says) in [(true, "in the header x-user"), (false, "No header is set")] {
        let pages = Pages::signed_in(operator(is_named)).await;
        let page = pages.get("/servers/tracker").await;
        assert!(page.html(200).contains(says), "{}", page.text);
        let page = pages.get("/servers/tracker/try?tool=echo").await;
        assert!(
            page.html(200).contains("which this page cannot send"),
            "{}",
            page.text
        );
        assert_eq!(
            page.text.contains("<code>x-user</code>"),
            is_named,
            "{}",
            page.text
        );
        let fields = [("model", "m"), ("message", "hi"), ("server", "tracker")];
        let page = pages.post("/chat", &fields).await;
        assert!(
            page.html(400).contains("which this page cannot send"),
            "{}",
            page.text
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_authorization_server_that_does_not_answer_is_waited_for_no_longer_than_a_while() {
    for is_exchange in [true, false] {
        let rig = rig(|provider| match is_exchange {
            true => provider.exchanging(),
            false => provider.machine(),
        })
        .await;
        for path in [RESOURCE, RESOURCE_AT_ROOT, METADATA] {
            rig.provider.server.answer(path, silence);
        }
        let began = tokio::time::Instant::now();
        let tokens = as_caller(token(&claims("ann")));
        let Inactive::Unreachable { message } = inactive(call(&rig, &tokens).await) else {
            panic!();
        };
        assert!(message.contains("took over 20 s"), "{message}");
        assert!(began.elapsed() < Duration::from_secs(21));
    }
}

#[tokio::test]
async fn new_tokens_are_as_many_as_connections_allow() {
    let mut rig = rig(Provider::exchanging).await;
    let authorizations = rig.provider.authorizations(rig.store.clone());
    let mut limits = ServerLimits::default();
    limits.peers = 16;
    limits.new_tokens = 1;
    let connections = rig.provider.connections(&authorizations);
    rig.connections = connections.limits(limits).build();
    rig.provider.fail(|| refusal(400, "invalid_grant"));
    for (n, is_asked) in [(0, true), (1, true), (2, false)] {
        let forged = as_caller(token(&claims(&format!("nobody-{n}"))));
        let refused = inactive(call(&rig, &forged).await);
        assert_eq!(
            refused != Inactive::TooManyCredentials,
            is_asked,
            "{refused}"
        );
    }
}
