//! Operators of each role, over REST and with the dashboard open.

use mcp_layer::admin::{self, Operator as Somebody, Operators, Role};
use mcp_layer::registry::{ObservationStore, ServerStore};

use super::admin::{Answer, Operator, TOKEN, request};
use super::evidence;
use super::pages::{Pages, cookie};

pub const VIEWER: &str = "viewer-token-of-the-tests";
pub const EDITOR: &str = "editor-token-of-the-tests";

/// Each role, with the token of somebody who has it.
pub const ROLES: [(Role, &str); 3] = [
    (Role::Viewer, VIEWER),
    (Role::Editor, EDITOR),
    (Role::Admin, TOKEN),
];

/// `vera`, who is a viewer, and `eddie`, who is an editor.
pub fn operators() -> Operators {
    evidence::secret("operator's token", VIEWER);
    evidence::secret("operator's token", EDITOR);
    Operators::new([
        somebody("vera", VIEWER, Role::Viewer),
        somebody("eddie", EDITOR, Role::Editor),
    ])
    .unwrap()
}

pub fn somebody(name: &str, token: &str, role: Role) -> Somebody {
    Somebody::new(name, &token.into(), role).unwrap()
}

/// An operator's side with these operators.
pub fn with(
    store: impl ServerStore + ObservationStore,
    set: impl FnOnce(admin::Admin) -> admin::Admin,
) -> Operator {
    Operator::with(store, |admin| set(admin.with_operators(operators())))
}

impl Operator {
    /// Asks with somebody's token.
    pub async fn ask_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Answer {
        let mut request = request(method, path, body);
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        self.send(request).await
    }
}

impl Pages {
    /// Signed in with somebody's token.
    pub async fn signed_in_as(operator: Operator, token: &str) -> Self {
        let mut pages = Self::of(operator);
        let answer = pages.post("/sign-in", &[("token", token)]).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        pages.cookie = Some(cookie(&answer.headers));
        pages
    }
}
