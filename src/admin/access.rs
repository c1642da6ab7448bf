//! The access that a path requires.

/// The path of the metrics.
pub(super) const METRICS: &str = "/metrics";

/// The guard of a path. It depends on the path alone and is decided before any route is looked for,
/// so a refusal does not reveal which paths exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The token in each request. Cookies do not count, so no page can make a browser send it.
    Token,
    /// A session, and for a change a page of our own that sends it.
    Session,
    /// Nothing but the right `Host`: what leads to a session, and what a provider sends a browser
    /// back to.
    Open,
}

impl Access {
    pub(super) fn of(path: &str) -> Self {
        let is_under = |parent: &str| {
            path.strip_prefix(parent)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if is_under("/api") || is_under(METRICS) {
            return Self::Token;
        }
        let is_open = matches!(path, "/sign-in" | "/sign-in/provider" | "/sign-in/callback")
            || is_under("/oauth/callback")
            || is_under("/oauth/start")
            || is_under("/assets");
        match is_open {
            true => Self::Open,
            false => Self::Session,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_wants_a_session() {
        for path in ["/api", "/api/", "/api/v1/servers", "/api/v2", "/metrics"] {
            assert_eq!(Access::of(path), Access::Token, "{path}");
        }
        for path in [
            "/sign-in",
            "/sign-in/provider",
            "/sign-in/callback",
            "/assets/style.css",
            "/oauth/callback",
            "/oauth/callback/x",
            "/oauth/start/x",
        ] {
            assert_eq!(Access::of(path), Access::Open, "{path}");
        }
        for path in [
            "/",
            "",
            "*",
            "/servers",
            "/sign-in/",
            "/sign-in/other",
            "/sign-inside",
            "/assetsx",
            "/oauth",
            "/oauth/callbacks",
            "/apiary",
            "//api/v1/servers",
            "/%61pi/v1/servers",
            "/servers/../api/v1",
        ] {
            assert_eq!(Access::of(path), Access::Session, "{path}");
        }
    }
}
