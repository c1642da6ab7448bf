//! An authorization server that binds each code to the client, the redirect URI and the PKCE
//! challenge that it was asked with (RFC 6749 section 4.1.3, RFC 7636 section 4.6), and does not
//! say who it is in callbacks unless told to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::response::Response;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::auth_server::{AuthServer, METADATA, Seen, json_reply, refusal};
use super::evidence;

/// How redirect URIs are compared with what was registered.
#[derive(Clone, Copy, PartialEq)]
pub enum Redirects {
    /// Character for character.
    Exact,
    /// What is below a registered path is as good, as at GitHub.
    Below,
}

/// The server; it ends when dropped.
pub struct Strict {
    pub server: AuthServer,
    redirects: Redirects,
    says_iss: bool,
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    /// Redirect URIs of each client.
    clients: HashMap<String, Vec<String>>,
    codes: HashMap<String, HashMap<String, String>>,
    /// Tokens that were given: to which client.
    given: Vec<String>,
}

impl Strict {
    pub async fn start() -> Self {
        Self::of(Redirects::Exact, false).await
    }

    pub async fn of(redirects: Redirects, says_iss: bool) -> Self {
        let server = AuthServer::start().await;
        let mut metadata = server.metadata();
        metadata["authorization_response_iss_parameter_supported"] = says_iss.into();
        metadata["token_endpoint_auth_methods_supported"] = json!(["none"]);
        server.json(METADATA, metadata);
        let books = Arc::<Mutex<Books>>::default();
        let of_register = books.clone();
        server.respond("/register", move |seen| {
            std::future::ready(of_register.lock().unwrap().register(&seen))
        });
        let of_token = books.clone();
        server.respond("/token", move |seen| {
            std::future::ready(of_token.lock().unwrap().token(&seen))
        });
        Self {
            server,
            redirects,
            says_iss,
            books,
        }
    }

    /// A client that somebody registers by hand.
    pub fn register(&self, redirect_uri: &str) -> String {
        self.books
            .lock()
            .unwrap()
            .client(vec![redirect_uri.to_owned()])
    }

    /// Where a browser is sent after its user has said yes at `url`; the client that asks and
    /// where it wants the code have to be known here.
    pub fn consent(&self, url: &Url) -> Result<Url, String> {
        let asked: HashMap<String, String> = url.query_pairs().into_owned().collect();
        let mut books = self.books.lock().unwrap();
        let known = books
            .clients
            .get(&asked["client_id"])
            .ok_or("no such client")?;
        let redirect = &asked["redirect_uri"];
        let is_known = known.iter().any(|known| match self.redirects {
            Redirects::Exact => known == redirect,
            Redirects::Below => redirect == known || redirect.starts_with(&format!("{known}/")),
        });
        if !is_known {
            return Err("redirect_uri mismatch".to_owned());
        }
        let mut back: Url = redirect.parse().unwrap();
        let code = format!("honest-code-{}", books.codes.len());
        evidence::secret("authorization code", &code);
        back.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", &asked["state"]);
        if self.says_iss {
            back.query_pairs_mut().append_pair("iss", &self.server.url);
        }
        books.codes.insert(code, asked);
        Ok(back)
    }

    /// To which clients tokens were given.
    pub fn given(&self) -> Vec<String> {
        self.books.lock().unwrap().given.clone()
    }
}

impl Books {
    fn client(&mut self, redirect_uris: Vec<String>) -> String {
        let id = format!("client-{}", self.clients.len());
        self.clients.insert(id.clone(), redirect_uris);
        id
    }

    fn register(&mut self, seen: &Seen) -> Response {
        let uris = seen.json()["redirect_uris"].clone();
        let id = self.client(serde_json::from_value(uris).unwrap());
        json_reply(
            201,
            &json!({"client_id": id, "token_endpoint_auth_method": "none"}),
        )
    }

    fn token(&mut self, seen: &Seen) -> Response {
        let form = seen.form();
        let Some(asked) = self.codes.remove(&form["code"]) else {
            return refusal(400, "invalid_grant");
        };
        let challenge = Sha256::digest(&form["code_verifier"]);
        let is_bound = form["client_id"] == asked["client_id"]
            && form["redirect_uri"] == asked["redirect_uri"]
            && asked.get("code_challenge") == Some(&BASE64_URL_SAFE_NO_PAD.encode(challenge));
        if !is_bound {
            return refusal(400, "invalid_grant");
        }
        self.given.push(asked["client_id"].clone());
        let access = format!("strict-access-{}", self.given.len());
        let tokens: Value = json!({"access_token": access, "token_type": "Bearer"});
        json_reply(200, &tokens)
    }
}
