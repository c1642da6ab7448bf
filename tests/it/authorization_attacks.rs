//! The attacks on an authorization that only the whole can stop: who began, who comes back, for
//! which server, and whose record it is by now. They add to the table of `oauth_attacks`, which
//! has those that the protocol's own messages give away.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Uri;
use mcp_layer::authorization::{Begun, redirect_uri};
use mcp_layer::outbound::Outbound;
use mcp_layer::registry::{Auth, CredentialKey, OAuth2, Server};
use secrecy::SecretString;
use serde_json::json;
use sha2::{Digest, Sha256};
use url::Url;

use crate::oauth_attacks;
use crate::support::auth_server::{AuthServer, METADATA, RESOURCE, callback, parameter};
use crate::support::provider::{LIFE, Rig, call, callbacks};
use crate::support::{everything, outbound};

/// A gateway, and the attacker's server.
struct Stage {
    rig: Rig,
    evil: AuthServer,
    /// Token requests before the attack.
    asked: AtomicUsize,
}

/// What the attacker, or whoever was tricked, is told; `Ok` if it goes through.
type Outcome = Result<(), String>;
type Attack = for<'a> fn(&'a Stage) -> BoxFuture<'a, Outcome>;

impl Stage {
    async fn set() -> Self {
        Self::over(outbound()).await
    }

    async fn over(outbound: Outbound) -> Self {
        Self {
            rig: Rig::over(outbound).await,
            evil: AuthServer::start().await,
            asked: AtomicUsize::new(0),
        }
    }

    async fn begin(&self) -> Begun {
        let uri = callbacks();
        let begun = self.rig.authorizations.begin(&self.rig.server, &uri);
        begun.await.unwrap()
    }

    fn approve(&self, begun: &Begun) -> Uri {
        self.rig.provider.server.approve(&begun.authorization_url)
    }

    /// The callback of `begun` with a query of the attacker's: `{state}` is the right one, `{as}`
    /// the issuer.
    async fn call_back(&self, begun: &Begun, query: &str) -> Outcome {
        let state = parameter(&begun.authorization_url, "state");
        let query = query.replace("{state}", &state);
        let query = query.replace("{as}", &self.rig.provider.server.url);
        let callback = callback(&begun.authorization_url, &query);
        self.finish(&callback, &begun.browser).await
    }

    /// The callback of `begun`, at another address.
    async fn back_at(&self, begun: &Begun, at: &Url) -> Outcome {
        let approved = self.approve(begun);
        let back = format!("{}?{}", at.path(), approved.query().unwrap());
        self.finish(&back.parse().unwrap(), &begun.browser).await
    }

    async fn finish(&self, callback: &Uri, browser: &SecretString) -> Outcome {
        let finished = self.rig.authorizations.finish(callback, browser).await;
        finished.map(drop).map_err(|error| told(&error))
    }

    /// What `begin` says to a record, and to an address of callbacks.
    async fn try_begin(&self, server: &Server, callbacks: &str) -> Outcome {
        let callbacks: Url = callbacks.parse().unwrap();
        let begun = self.rig.authorizations.begin(server, &callbacks).await;
        begun.map(drop).map_err(|error| told(&error))
    }

    /// Connects the server; the attack begins afterwards.
    async fn connect(&self, server: &Server) {
        let provider = &self.rig.provider;
        let connected =
            crate::support::provider::connect(provider, &self.rig.authorizations, server);
        connected.await.unwrap();
        self.mark();
    }

    /// What was asked for so far was no attack.
    fn mark(&self) {
        let asked = self.rig.provider.server.count("/token");
        self.asked.store(asked, Ordering::SeqCst);
    }

    /// Uses a server, with its first token and with one that has expired.
    async fn call(&self, server: &Server) -> Outcome {
        let first = call(&self.rig.connections, server, "echo", "x").await;
        self.rig.provider.clock.pass(LIFE);
        let second = call(&self.rig.connections, server, "echo", "x").await;
        assert_eq!(first.is_ok(), second.is_ok());
        second.map(drop).map_err(|error| told(&error))
    }

    /// A server that is connected, and then edited.
    async fn edited(&self, change: impl FnOnce(&mut OAuth2, &str)) -> Outcome {
        let server = self.rig.provider.typed();
        self.connect(&server).await;
        let Auth::OAuth2(oauth) = &server.auth else {
            unreachable!()
        };
        let mut oauth = (**oauth).clone();
        change(&mut oauth, &self.evil.url);
        let mut edited = server.clone();
        edited.auth = Auth::oauth2(oauth).unwrap();
        self.call(&edited).await
    }
}

#[tokio::test]
async fn every_attack_on_the_whole_is_refused_without_a_token_request() {
    let (table, outbound) = (table(), outbound());
    for (row, (name, said, attack)) in table.iter().enumerate() {
        let stage = Stage::over(outbound.clone()).await;
        let Err(error) = attack(&stage).await else {
            panic!("{name}: went through");
        };
        let first = error.lines().next().unwrap_or_default();
        println!("{:>2} {name:<52} {first}", row + 1);
        assert!(error.contains(said), "{name}: {error}");
        assert!(!error.contains("script"), "{name}: {error}");
        let asked = stage.rig.provider.server.count("/token");
        assert_eq!(asked, stage.asked.load(Ordering::SeqCst), "{name}");
        assert_eq!(stage.evil.seen().len(), 0, "{name}");
    }
    let total = table.len() + oauth_attacks::rows();
    println!(
        "{} rows here, {total} in all: all refused, 0 token requests",
        table.len()
    );
    assert!(total >= 40);
}

#[tokio::test]
async fn without_an_attack_it_goes_through() {
    let stage = Stage::set().await;
    let begun = stage.begin().await;
    stage
        .call_back(&begun, "code=c&state={state}&iss={as}")
        .await
        .unwrap();
    stage.call(&stage.rig.server).await.unwrap();
    let stage = Stage::set().await;
    stage.edited(|_, _| {}).await.unwrap();
}

/// What is said in the first line, and all that could be shown.
fn told(error: &dyn std::error::Error) -> String {
    format!("{error}\n{}", everything(error))
}

const STATE: &str = "belongs to no authorization";
const ISSUER: &str = "does not come from the authorization server";
const PLACE: &str = "not at the path of the server";
const NEEDS: &str = "it needs authorization";

fn table() -> Vec<(&'static str, &'static str, Attack)> {
    vec![
        // Who comes back? (T-27, row 49)
        ("no state", "has no state", |s| {
            async { s.call_back(&s.begin().await, "code=c&iss={as}").await }.boxed()
        }),
        ("a state that nobody has given out", STATE, |s| {
            async {
                s.call_back(&s.begin().await, "code=c&state=x&iss={as}")
                    .await
            }
            .boxed()
        }),
        ("the state's hash, as the database has it", STATE, |s| {
            async {
                let begun = s.begin().await;
                let hash = Sha256::digest(parameter(&begun.authorization_url, "state"));
                let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                s.call_back(&begun, &format!("code=c&state={hash}&iss={{as}}"))
                    .await
            }
            .boxed()
        }),
        ("a callback a second time, after success", STATE, |s| {
            async {
                let begun = s.begin().await;
                s.finish(&s.approve(&begun), &begun.browser).await.unwrap();
                s.mark();
                s.finish(&s.approve(&begun), &begun.browser).await
            }
            .boxed()
        }),
        (
            "a callback after a refusal with the same state",
            STATE,
            |s| {
                async {
                    let begun = s.begin().await;
                    let refused = "error=access_denied&state={state}&iss={as}";
                    s.call_back(&begun, refused).await.unwrap_err();
                    s.finish(&s.approve(&begun), &begun.browser).await
                }
                .boxed()
            },
        ),
        ("a callback after ten minutes", STATE, |s| {
            async {
                let begun = s.begin().await;
                s.rig.provider.clock.pass(600);
                s.finish(&s.approve(&begun), &begun.browser).await
            }
            .boxed()
        }),
        ("a browser that began another authorization", STATE, |s| {
            async {
                let (victims, attackers) = (s.begin().await, s.begin().await);
                s.finish(&s.approve(&attackers), &victims.browser).await
            }
            .boxed()
        }),
        ("a browser that began nothing", STATE, |s| {
            async { s.finish(&s.approve(&s.begin().await), &"".into()).await }.boxed()
        }),
        ("the state in the browser's place", STATE, |s| {
            async {
                let begun = s.begin().await;
                let state = parameter(&begun.authorization_url, "state");
                s.finish(&s.approve(&begun), &state.into()).await
            }
            .boxed()
        }),
        ("the right browser, after a wrong one", STATE, |s| {
            async {
                let begun = s.begin().await;
                s.finish(&s.approve(&begun), &"x".into()).await.unwrap_err();
                s.finish(&s.approve(&begun), &begun.browser).await
            }
            .boxed()
        }),
        ("the state of another server's authorization", STATE, |s| {
            async {
                let mine = s.begin().await;
                let other = s.rig.provider.typed();
                let others = s
                    .rig
                    .authorizations
                    .begin(&other, &callbacks())
                    .await
                    .unwrap();
                s.finish(&s.approve(&others), &mine.browser).await
            }
            .boxed()
        }),
        // Where does it come back? (RFC 9700 section 4.4.2.2)
        ("a callback at another server's path", PLACE, |s| {
            async {
                let begun = s.begin().await;
                let other = s.rig.provider.typed();
                s.back_at(&begun, &redirect_uri(&callbacks(), &other.id))
                    .await
            }
            .boxed()
        }),
        ("a callback at the path that all shared once", PLACE, |s| {
            async { s.back_at(&s.begin().await, &callbacks()).await }.boxed()
        }),
        ("a callback without a path", PLACE, |s| {
            async {
                let begun = s.begin().await;
                s.back_at(&begun, &"http://127.0.0.1:8788".parse().unwrap())
                    .await
            }
            .boxed()
        }),
        ("a callback below the server's path", PLACE, |s| {
            async {
                let begun = s.begin().await;
                let below = format!("{}/x", begun.redirect_uri);
                s.back_at(&begun, &below.parse().unwrap()).await
            }
            .boxed()
        }),
        ("the right path, after a wrong one", STATE, |s| {
            async {
                let begun = s.begin().await;
                s.back_at(&begun, &callbacks()).await.unwrap_err();
                s.finish(&s.approve(&begun), &begun.browser).await
            }
            .boxed()
        }),
        ("a callback of a server that was made again", PLACE, |s| {
            async {
                let begun = s.begin().await;
                let again = s.rig.provider.discovered();
                s.back_at(&begun, &redirect_uri(&callbacks(), &again.id))
                    .await
            }
            .boxed()
        }),
        ("the pending record of another state", STATE, |s| {
            async {
                let (mine, others) = (s.begin().await, s.begin().await);
                s.rig.store.exchange_states();
                let [first, second] = [&mine, &others].map(|begun| s.approve(begun));
                s.finish(&first, &mine.browser).await.unwrap_err();
                s.finish(&second, &others.browser).await
            }
            .boxed()
        }),
        // Who answers? (T-29, row 50)
        ("iss of another", ISSUER, |s| {
            async {
                let query = "code=c&state={state}&iss=https%3A%2F%2Fevil.example";
                s.call_back(&s.begin().await, query).await
            }
            .boxed()
        }),
        ("no iss, which was promised", ISSUER, |s| {
            async { s.call_back(&s.begin().await, "code=c&state={state}").await }.boxed()
        }),
        ("a refusal of another iss, with a script", ISSUER, |s| {
            async {
                let query = "error=access_denied&error_description=<script>&state={state}&iss=x";
                s.call_back(&s.begin().await, query).await
            }
            .boxed()
        }),
        ("a refusal with a script", "says access_denied", |s| {
            async {
                let query = "error=access_denied&error_description=<script>&state={state}&iss={as}";
                s.call_back(&s.begin().await, query).await
            }
            .boxed()
        }),
        ("an error that is a script", "unreadable error code", |s| {
            async {
                let query = "error=<script>alert(1)</script>&state={state}&iss={as}";
                s.call_back(&s.begin().await, query).await
            }
            .boxed()
        }),
        ("two states", "has a member twice", |s| {
            async {
                let query = "code=c&state=x&state={state}&iss={as}";
                s.call_back(&s.begin().await, query).await
            }
            .boxed()
        }),
        // Who is asked?
        (
            "metadata that name another issuer than the secret's",
            "names other",
            |s| {
                async {
                    let server = s.rig.provider.with(|oauth| {
                        oauth.client_id = Some("client-0".into());
                        oauth.client_secret = Some("s3cret".into());
                        oauth.issuer = Some(s.rig.provider.server.url.clone());
                    });
                    let evil = json!({"resource": s.rig.provider.server.mcp(),
                    "authorization_servers": [s.evil.url]});
                    s.rig.provider.server.json(RESOURCE, evil);
                    s.try_begin(&server, callbacks().as_str()).await
                }
                .boxed()
            },
        ),
        (
            "the secret's issuer, now of another's metadata",
            "issuer",
            |s| {
                async {
                    let server = s.rig.provider.with(|oauth| {
                        oauth.client_id = Some("client-0".into());
                        oauth.client_secret = Some("s3cret".into());
                        oauth.issuer = Some(s.rig.provider.server.url.clone());
                    });
                    let mut evil = s.rig.provider.server.metadata();
                    evil["issuer"] = s.evil.url.as_str().into();
                    s.rig.provider.server.json(METADATA, evil);
                    s.try_begin(&server, callbacks().as_str()).await
                }
                .boxed()
            },
        ),
        (
            "a secret for whoever the server names",
            "auth.issuer",
            |_| {
                async {
                    let mut oauth = OAuth2::default();
                    oauth.client_id = Some("client-0".into());
                    oauth.client_secret = Some("s3cret".into());
                    Auth::oauth2(oauth).map(drop).map_err(|error| told(&error))
                }
                .boxed()
            },
        ),
        ("a redirect URI over http", "redirect URI", |s| {
            async { s.try_begin(&s.rig.server, "http://gateway.example/").await }.boxed()
        }),
        (
            "a redirect URI that begins like this machine",
            "redirect URI",
            |s| {
                async {
                    s.try_begin(&s.rig.server, "http://localhost.evil.example/")
                        .await
                }
                .boxed()
            },
        ),
        ("a redirect URI that is a script", "redirect URI", |s| {
            async { s.try_begin(&s.rig.server, "javascript:alert(1)").await }.boxed()
        }),
        ("a redirect URI with a fragment", "redirect URI", |s| {
            async {
                s.try_begin(&s.rig.server, "https://gateway.example/#x")
                    .await
            }
            .boxed()
        }),
        // Whose record is it by now? (T-21, row 48)
        ("a URL of another port", NEEDS, |s| {
            async {
                s.connect(&s.rig.server).await;
                let mut moved = s.rig.server.clone();
                moved.url = s.evil.mcp();
                s.call(&moved).await
            }
            .boxed()
        }),
        ("a URL of another host", NEEDS, |s| {
            async {
                s.connect(&s.rig.server).await;
                let mut moved = s.rig.server.clone();
                moved.url.set_host(Some("127.0.0.2")).unwrap();
                s.call(&moved).await
            }
            .boxed()
        }),
        ("a URL of another scheme", NEEDS, |s| {
            async {
                s.connect(&s.rig.server).await;
                let mut moved = s.rig.server.clone();
                moved.url.set_scheme("https").unwrap();
                s.call(&moved).await
            }
            .boxed()
        }),
        ("a URL that moves while the browser is away", NEEDS, |s| {
            async {
                let begun = s.begin().await;
                s.finish(&s.approve(&begun), &begun.browser).await.unwrap();
                s.mark();
                let mut moved = s.rig.server.clone();
                moved.url = s.evil.mcp();
                s.call(&moved).await
            }
            .boxed()
        }),
        ("another token_url", NEEDS, |s| {
            s.edited(|oauth, evil| oauth.token_url = Some(format!("{evil}/token").parse().unwrap()))
                .boxed()
        }),
        ("another issuer", NEEDS, |s| {
            s.edited(|oauth, evil| oauth.issuer = Some(evil.to_owned()))
                .boxed()
        }),
        ("another client_id", NEEDS, |s| {
            s.edited(|oauth, _| oauth.client_id = Some("client-9".into()))
                .boxed()
        }),
        ("another resource", NEEDS, |s| {
            s.edited(|oauth, evil| oauth.resource = Some(evil.to_owned()))
                .boxed()
        }),
        ("no client any more", NEEDS, |s| {
            s.edited(|oauth, _| *oauth = OAuth2::default()).boxed()
        }),
        ("a client where none was entered", NEEDS, |s| {
            async {
                s.connect(&s.rig.server).await;
                let mut edited = s.rig.provider.typed();
                edited.id = s.rig.server.id.clone();
                s.call(&edited).await
            }
            .boxed()
        }),
        ("a server made again under the same name", NEEDS, |s| {
            async {
                s.connect(&s.rig.server).await;
                s.call(&s.rig.provider.discovered()).await
            }
            .boxed()
        }),
        ("the same server in another organization", NEEDS, |s| {
            async {
                s.connect(&s.rig.server).await;
                s.call(&s.rig.server.clone().with_organization("other"))
                    .await
            }
            .boxed()
        }),
        (
            "a record that was another server's (row 57)",
            "credential is invalid",
            |s| {
                async {
                    let other = s.rig.provider.discovered();
                    s.connect(&s.rig.server).await;
                    s.connect(&other).await;
                    let [mine, others] = [&s.rig.server, &other].map(CredentialKey::of);
                    s.rig.store.edit(|rows| {
                        let row = rows[&others].clone();
                        rows.insert(mine, row);
                    });
                    s.call(&s.rig.server).await
                }
                .boxed()
            },
        ),
        ("a server that was disconnected", NEEDS, |s| {
            async {
                s.connect(&s.rig.server).await;
                s.rig
                    .authorizations
                    .disconnect(&s.rig.server)
                    .await
                    .unwrap();
                s.call(&s.rig.server).await
            }
            .boxed()
        }),
    ]
}

#[tokio::test]
async fn a_refresh_token_goes_where_it_came_from_whatever_the_metadata_say_now() {
    let stage = Stage::set().await;
    stage.connect(&stage.rig.server).await;
    let mut moved = stage.rig.provider.server.metadata();
    moved["token_endpoint"] = stage.evil.at("/token").as_str().into();
    moved["revocation_endpoint"] = stage.evil.at("/revoke").as_str().into();
    stage.rig.provider.server.json(METADATA, moved);
    let elsewhere = json!({"resource": stage.rig.provider.server.mcp(),
        "authorization_servers": [stage.evil.url]});
    stage.rig.provider.server.json(RESOURCE, elsewhere);
    stage.call(&stage.rig.server).await.unwrap();
    stage
        .rig
        .authorizations
        .disconnect(&stage.rig.server)
        .await
        .unwrap();
    assert_eq!(stage.rig.provider.refreshes(), 1);
    assert_eq!(stage.rig.provider.server.count("/revoke"), 1);
    assert_eq!(stage.evil.seen().len(), 0);
}

/// A server's metadata made us register at an internal service that another server's egress rule
/// had opened.
#[tokio::test]
async fn an_authorization_server_inside_is_asked_where_its_operator_has_entered_it() {
    let rig = Rig::unconnected().await;
    let inside = AuthServer::start_on("127.0.0.2").await;
    let resource = json!({"resource": rig.server.url, "authorization_servers": [inside.url]});
    rig.provider.server.json(RESOURCE, resource);
    let refused = rig
        .authorizations
        .begin(&rig.server, &callbacks())
        .await
        .unwrap_err();
    assert!(
        told(&refused).contains("nor on a host that was entered"),
        "{refused}"
    );
    assert!(inside.seen().is_empty());

    let entered = rig
        .provider
        .with(|oauth| oauth.issuer = Some(inside.url.clone()));
    let begun = rig
        .authorizations
        .begin(&entered, &callbacks())
        .await
        .unwrap();
    let approved = inside.approve(&begun.authorization_url);
    rig.authorizations
        .finish(&approved, &begun.browser)
        .await
        .unwrap();
    rig.provider.clock.pass(LIFE);
    // The MCP server knows nothing of the tokens that are given there.
    call(&rig.connections, &entered, "echo", "x")
        .await
        .unwrap_err();
    assert!(inside.count("/token") >= 2, "a code, and a refresh");
    rig.authorizations.disconnect(&entered).await.unwrap();
    assert_eq!(inside.count("/revoke"), 1);
}

#[tokio::test]
async fn a_challenge_that_points_to_another_origin_is_not_followed() {
    let stage = Stage::set().await;
    let evil = format!(r#"Bearer resource_metadata="{}""#, stage.evil.at(RESOURCE));
    stage.rig.provider.before_mcp(move |_| {
        let evil = evil.clone();
        async move {
            let mut response = crate::support::auth_server::reply(401, "text/plain", "");
            response
                .headers_mut()
                .insert("www-authenticate", evil.parse().unwrap());
            Some(response)
        }
    });
    stage.begin().await;
    assert_eq!(stage.evil.seen().len(), 0);
}

/// The secret that an operator had entered for another authorization server went to the old one,
/// when the tokens of the old one were revoked.
#[tokio::test]
async fn a_new_client_secret_does_not_go_to_the_former_authorization_server() {
    let stage = Stage::set().await;
    let server = &stage.rig.provider.server;
    let record = |issuer: &str, secret: &str| {
        stage.rig.provider.with(|oauth| {
            oauth.client_id = Some("client-0".into());
            oauth.client_secret = Some(secret.to_owned().into());
            oauth.issuer = Some(issuer.to_owned());
        })
    };
    let first = record(&server.url, "first-s3cret");
    stage.connect(&first).await;
    let mut edited = record(&stage.evil.url, "second-s3cret");
    edited.id = first.id.clone();
    stage.rig.authorizations.disconnect(&edited).await.unwrap();
    let revoked = server.only("/revoke");
    assert_eq!(revoked.form()["token"], "refresh-0.1");
    let sent = revoked
        .header("authorization")
        .unwrap()
        .strip_prefix("Basic ")
        .unwrap();
    let sent = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, sent).unwrap();
    assert_eq!(String::from_utf8(sent).unwrap(), "client-0:first-s3cret");
    assert_eq!(stage.evil.seen().len(), 0);
}
