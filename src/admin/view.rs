//! A server as an operator is shown it: everything but its secrets.

use std::time::SystemTime;

use serde::Serialize;

use super::{
    server_status::ServerStatus,
    standing::{Reason, Status, reason, status},
    time::Time,
};
use crate::{
    ServerName, TokenAuth,
    mcp::Transport,
    registry::{
        Auth, Failure, Gate, OAuth2, Projects, Server, ShareSession, Source, Stage, StaticHeader,
        ToolPolicy, ToolSelection,
    },
    url_keys,
};

/// The members that an answer has besides those that are entered. Whoever sends an answer back has
/// them in it: they are ignored.
pub(super) const READ_ONLY: [&str; 8] = [
    "id",
    "source",
    "status",
    "status_reason",
    "last_failure",
    "tool_count",
    "created_at",
    "updated_at",
];

/// A server in JSON.
#[derive(Serialize)]
pub(super) struct View<'a> {
    id: &'a str,
    name: &'a ServerName,
    display_name: Option<&'a str>,
    description: Option<&'a str>,
    /// Without its keys.
    url: String,
    transport: Transport,
    projects: ProjectsView<'a>,
    auth: AuthView<'a>,
    tools: ToolsView<'a>,
    share_session: ShareSession,
    trace_context: Option<bool>,
    on_change: Option<Gate>,
    new_tools: Option<Gate>,
    enabled: bool,
    draft: bool,
    version: u64,
    source: &'static str,
    status: Status,
    status_reason: Option<Reason>,
    last_failure: Option<FailureView>,
    /// How many tools models are offered; `null` before the first listing.
    tool_count: Option<usize>,
    created_at: Option<Time>,
    updated_at: Option<Time>,
}

impl<'a> View<'a> {
    pub(super) fn of(server: &'a Server, seen: &ServerStatus, now: SystemTime) -> Self {
        let status_reason = reason(server, seen, now);
        let observation = seen.observation.as_ref();
        let last_failure = observation.and_then(|seen| seen.last_failure.as_ref());
        Self {
            id: server.id.as_str(),
            name: &server.name,
            display_name: server.display_name.as_deref(),
            description: server.description.as_deref(),
            url: url_keys::shown(&server.url),
            transport: server.transport,
            projects: ProjectsView::of(&server.projects),
            auth: AuthView::of(&server.auth),
            tools: ToolsView::of(&server.tools),
            share_session: server.share_session,
            trace_context: server.trace_context,
            on_change: server.on_change,
            new_tools: server.new_tools,
            enabled: server.enabled,
            draft: server.draft,
            version: server.version,
            source: match server.source {
                Source::Store => "store",
                Source::File => "file",
            },
            status: status(status_reason),
            status_reason,
            last_failure: last_failure.map(FailureView::of),
            tool_count: observation
                .filter(|seen| seen.listed_at.is_some())
                .map(|seen| seen.offered(server)),
            created_at: server.created_at.map(Time),
            updated_at: server.updated_at.map(Time),
        }
    }
}

#[derive(Serialize)]
struct FailureView {
    stage: Stage,
    message: String,
    at: Time,
}

impl FailureView {
    fn of(failure: &Failure) -> Self {
        Self {
            stage: failure.stage,
            message: failure.reason.to_string(),
            at: Time(failure.at),
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum ProjectsView<'a> {
    All(&'static str),
    Only(Vec<&'a str>),
}

impl<'a> ProjectsView<'a> {
    fn of(projects: &'a Projects) -> Self {
        match projects {
            Projects::All => Self::All("all"),
            Projects::Only(projects) => Self::Only(projects.iter().map(String::as_str).collect()),
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum ToolsView<'a> {
    All(&'static str),
    Only(Vec<ToolView<'a>>),
}

/// A selected tool, in the short form where it has one.
#[derive(Serialize)]
#[serde(untagged)]
enum ToolView<'a> {
    Name(&'a str),
    Policy { name: &'a str, policy: &'static str },
}

impl<'a> ToolsView<'a> {
    fn of(tools: &'a ToolSelection) -> Self {
        let tools = match tools {
            ToolSelection::All => return Self::All("all"),
            ToolSelection::Only(tools) => tools,
        };
        let tools = tools.iter().map(|tool| match tool.policy() {
            ToolPolicy::Auto => ToolView::Name(tool.name()),
            policy => ToolView::Policy {
                name: tool.name(),
                policy: policy_name(policy),
            },
        });
        Self::Only(tools.collect())
    }
}

pub(super) fn policy_name(policy: ToolPolicy) -> &'static str {
    match policy {
        ToolPolicy::Auto => "auto",
        ToolPolicy::AskFirst => "ask_first",
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum AuthView<'a> {
    None,
    StaticHeaders {
        headers: Vec<HeaderView<'a>>,
    },
    #[serde(rename = "oauth2")]
    OAuth2 {
        client_id: Option<&'a str>,
        client_secret: Option<SecretView>,
        authorization_url: Option<&'a str>,
        token_url: Option<&'a str>,
        scopes: Vec<&'a str>,
        issuer: Option<&'a str>,
        resource: Option<&'a str>,
        token_auth: Option<TokenAuth>,
    },
    TokenPassthrough {
        header: &'a str,
    },
}

#[derive(Serialize)]
struct HeaderView<'a> {
    name: &'a str,
    value: SecretView,
}

/// What is said of a secret: whether there is one that can be used, and since when.
#[derive(Serialize)]
struct SecretView {
    set: bool,
    updated_at: Option<Time>,
}

impl<'a> AuthView<'a> {
    fn of(auth: &'a Auth) -> Self {
        match auth {
            Auth::Unreadable(auth) => Self::with(auth, false),
            auth => Self::with(auth, true),
        }
    }

    /// `is_readable`: whether the secrets that there were can be used.
    fn with(auth: &'a Auth, is_readable: bool) -> Self {
        match auth {
            Auth::None => Self::None,
            Auth::StaticHeaders(headers) => {
                let view = |header: &'a StaticHeader| HeaderView {
                    name: header.name().as_str(),
                    value: SecretView {
                        set: is_readable,
                        updated_at: header.set_at().map(Time),
                    },
                };
                Self::StaticHeaders {
                    headers: headers.iter().map(view).collect(),
                }
            }
            Auth::OAuth2(oauth) => Self::oauth(oauth, is_readable),
            Auth::TokenPassthrough(header) => Self::TokenPassthrough {
                header: header.as_str(),
            },
            Auth::Unreadable(auth) => Self::with(auth, false),
        }
    }

    fn oauth(oauth: &'a OAuth2, is_readable: bool) -> Self {
        // Of OAuth nothing but the client's secret can be unreadable, so there was one.
        let has_secret = oauth.client_secret.is_some() || !is_readable;
        Self::OAuth2 {
            client_id: oauth.client_id.as_deref(),
            client_secret: has_secret.then(|| SecretView {
                set: is_readable,
                updated_at: oauth.client_secret_set_at.map(Time),
            }),
            authorization_url: oauth.authorization_url.as_ref().map(url::Url::as_str),
            token_url: oauth.token_url.as_ref().map(url::Url::as_str),
            scopes: oauth.scopes.iter().collect(),
            issuer: oauth.issuer.as_deref(),
            resource: oauth.resource.as_deref(),
            token_auth: oauth.token_auth,
        }
    }
}
