//! A provider of OpenID Connect on an authorization server's double: honest by default, and every
//! claim, key and answer can be a lie.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use mcp_layer::admin::{Oidc, Role};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use serde_json::{Value, json};
use url::Url;

use super::auth_server::{AuthServer, OPENID, json_reply, parameter, refusal};
use super::outbound;

pub const CLIENT: &str = "gateway";
const SECRET: &str = "s3cret-of-the-oidc-client";

/// The provider.
pub struct OpenId {
    pub server: AuthServer,
    pub says: Arc<Mutex<Says>>,
}

/// What it says, and how it signs.
pub struct Says {
    /// Of the person who signs in, in the ID token and in the userinfo.
    pub claims: Value,
    /// Claims that the ID token has otherwise; `null` takes one away.
    pub in_id_token: Value,
    /// The same of the userinfo.
    pub in_userinfo: Value,
    /// The `alg` and the `kid` in the head of an ID token.
    pub head: Value,
    /// The signature's last byte is another.
    pub is_forged: bool,
    /// The access token and the refresh token are good.
    pub is_granted: bool,
    pub nonce: String,
    key: KeyPair,
    kid: String,
    /// The tokens that were given.
    pub given: usize,
    pub now: SystemTime,
}

impl OpenId {
    pub async fn start() -> Self {
        let server = AuthServer::start_empty().await;
        let says = Arc::new(Mutex::new(Says {
            claims: json!({"sub": "subject-1", "preferred_username": "ann", "groups": ["ops"]}),
            in_id_token: json!({}),
            in_userinfo: json!({}),
            head: json!({}),
            is_forged: false,
            is_granted: true,
            nonce: String::new(),
            key: KeyPair::generate_for(&PKCS_ED25519).unwrap(),
            kid: "key-1".to_owned(),
            given: 0,
            now: SystemTime::now(),
        }));
        let metadata = json!({
            "issuer": server.url,
            "authorization_endpoint": server.at("/authorize"),
            "token_endpoint": server.at("/token"),
            "jwks_uri": server.at("/jwks"),
            "userinfo_endpoint": server.at("/userinfo"),
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        });
        server.json(OPENID, metadata);
        let issuer = server.url.clone();
        let this = Self { server, says };
        this.serve_keys();
        let says = this.says.clone();
        this.server.answer("/token", move || {
            let mut says = says.lock().unwrap();
            if !says.is_granted {
                return refusal(400, "invalid_grant");
            }
            says.given += 1;
            let tokens = json!({
                "access_token": format!("access-token-{}", says.given),
                "refresh_token": format!("refresh-token-{}", says.given),
                "token_type": "Bearer",
                "expires_in": 300,
                "id_token": says.id_token(&issuer),
            });
            json_reply(200, &tokens)
        });
        let says = this.says.clone();
        this.server.answer("/userinfo", move || {
            let says = says.lock().unwrap();
            match says.is_granted {
                true => json_reply(200, &changed(&says.claims, &says.in_userinfo)),
                false => json_reply(401, &json!({"error": "invalid_token"})),
            }
        });
        this
    }

    /// Has another key from now on; it is in the list if `is_listed`.
    pub fn rotate(&self, is_listed: bool) {
        {
            let mut says = self.says.lock().unwrap();
            says.key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
            says.kid.push('x');
        }
        if is_listed {
            self.serve_keys();
        }
    }

    fn serve_keys(&self) {
        let says = self.says.lock().unwrap();
        let x = BASE64_URL_SAFE_NO_PAD.encode(says.key.der_bytes());
        let key = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": says.kid, "x": x});
        self.server.json("/jwks", json!({"keys": [key]}));
    }

    /// The provider as an operator's side is told of it.
    pub fn configured(&self) -> Oidc {
        Oidc::new(outbound(), &self.server.url, CLIENT)
            .unwrap()
            .with_client_secret(SECRET.into())
            .with_role_claim("groups")
            .with_role(Role::Viewer, ["guests"])
            .with_role(Role::Editor, ["devs"])
            .with_role(Role::Admin, ["ops"])
    }

    pub fn say(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().unwrap());
    }

    /// The path and query with which a browser that was sent to `url` comes back.
    pub fn approve(&self, url: &Url) -> String {
        self.say(|says| says.nonce = parameter(url, "nonce"));
        assert_eq!(parameter(url, "code_challenge_method"), "S256");
        assert_eq!(parameter(url, "response_type"), "code");
        self.server.approve(url).to_string()
    }
}

impl Says {
    fn id_token(&self, issuer: &str) -> String {
        let now = self.now.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = changed(
            &self.claims,
            &json!({
                "iss": issuer, "aud": CLIENT, "nonce": self.nonce, "iat": now, "exp": now + 300,
            }),
        );
        let claims = changed(&claims, &self.in_id_token);
        let head = changed(&json!({"alg": "EdDSA", "kid": self.kid}), &self.head);
        let part = |part: Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", part(head), part(claims));
        let mut signature = self.key.sign(message.as_bytes()).unwrap();
        if self.is_forged {
            signature[63] ^= 1;
        }
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// An object with some members otherwise.
fn changed(object: &Value, changes: &Value) -> Value {
    let mut changed = object.clone();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(changed.as_object_mut().unwrap().remove(name)),
            value => changed[name] = value.clone(),
        }
    }
    changed
}
