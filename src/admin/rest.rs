//! The REST interface as a table: every call, what answers it, and what a description of it says.
//!
//! The router and the [document](super::openapi) are made of the same rows, so neither has a call
//! that the other lacks.

use std::sync::Arc;

use axum::{
    extract::State,
    routing::{delete, get, patch, post, put},
};
use http::{Method, StatusCode};

use super::{
    answer::{Answer, json},
    api_keys, audit,
    call::{Call, Parameter},
    calling, explain, export,
    hosts::Hosts,
    import, keys,
    media_type::TOML,
    models, oauth,
    openapi::document,
    operator_sessions, overview, project, projects, servers, tools, traces,
};

const fn parameter(
    name: &'static str,
    schema: &'static str,
    description: &'static str,
) -> Parameter {
    Parameter {
        name,
        schema,
        description,
    }
}

const OF_SERVERS: [Parameter; 6] = [
    parameter("project", "Text", "Only servers that this project can use."),
    parameter(
        "status",
        "WantedStatus",
        "Only servers of this status. Drafts are in no other list.",
    ),
    parameter("auth", "AuthType", "Only servers with this authentication."),
    parameter(
        "q",
        "Text",
        "Only servers with this text in a name, the description or the URL.",
    ),
    parameter("limit", "Limit", "At most so many."),
    parameter(
        "cursor",
        "ServerName",
        "Where the page begins: the next of the page before.",
    ),
];

const OF_TRACES: [Parameter; 10] = [
    parameter("project", "Text", "Only exchanges of this project."),
    parameter("server", "Text", "Only exchanges that named this server."),
    parameter("model", "Text", "Only exchanges that asked for this model."),
    parameter("outcome", "Text", "Only exchanges that ended so."),
    parameter(
        "failed",
        "Failed",
        "Only exchanges in which a tool call failed.",
    ),
    parameter(
        "from",
        "Text",
        "Only exchanges that began at this time or later, as RFC 3339 has it.",
    ),
    parameter("to", "Text", "Only exchanges that began before this time."),
    parameter(
        "q",
        "Text",
        "Only exchanges with this text in a name or an id: their own, of the model, a server, a tool or a call.",
    ),
    parameter("limit", "Limit", "At most so many."),
    parameter(
        "cursor",
        "TraceId",
        "Where the page begins: the next of the page before.",
    ),
];

const OF_AUDIT: [Parameter; 7] = [
    parameter("operator", "Text", "Only what this operator did."),
    parameter(
        "action",
        "Text",
        "Only this action; with a full stop at its end, such as `server.`, all that begin so.",
    ),
    parameter(
        "target",
        "Text",
        "Only what was done to this, or to a part of it: `docs` also finds `docs/search`.",
    ),
    parameter(
        "from",
        "Moment",
        "Only what was done at this time or later.",
    ),
    parameter("to", "Moment", "Only what was done before this time."),
    parameter("limit", "Limit", "At most so many."),
    parameter(
        "cursor",
        "TraceId",
        "Where the page begins: the next of the page before.",
    ),
];

const OF_OVERVIEW: [Parameter; 3] = [
    parameter(
        "from",
        "Time",
        "Where the range begins, within the last 90 days; default 24 hours before its end.",
    ),
    parameter("to", "Time", "Where it ends; default now."),
    parameter("project", "Text", "Only exchanges of this project."),
];

const OF_EXPLAIN: [Parameter; 2] = [
    parameter(
        "project",
        "Text",
        "Whose request it would be; default `default`.",
    ),
    parameter(
        "host",
        "Text",
        "The host that it would be sent to, for addresses `/mcp/NAME` on it; default those that are known.",
    ),
];

const OF_IMPORT: [Parameter; 1] = [parameter(
    "preview",
    "Flag",
    "Whether only to tell what would be done; default false.",
)];

const OF_API_KEYS: [Parameter; 1] = [parameter("project", "Text", "Only keys of this project.")];

const ABSENT: (u16, &str) = (404, "There is no server of this name.");
const UNKEPT: (u16, &str) = (
    404,
    "Nobody told this side where aliases and defaults are kept.",
);
const KEYLESS: (u16, &str) = (
    404,
    "Nobody told this side where callers' API keys are kept.",
);
const DECLARED: (u16, &str) = (409, "The server is declared in a file, and changed there.");
const BUDGETLESS: (u16, &str) = (404, "Nobody told this side where budgets are kept.");
const BUDGETED: (u16, &str) = (409, "The budget is declared in a file, and changed there.");
const INACTIVE: (u16, &str) = (400, "The server cannot be used; the message says why.");

/// All calls, in the order in which they are described.
pub(super) fn calls() -> Vec<Call> {
    const SERVERS: &str = "/api/v1/servers";
    const SERVER: &str = "/api/v1/servers/{name}";
    const TOOLS: &str = "/api/v1/servers/{name}/tools";
    const ACCEPT: &str = "/api/v1/servers/{name}/tools/accept";
    const REFRESH: &str = "/api/v1/servers/{name}/refresh";
    const CONNECT: &str = "/api/v1/servers/{name}/oauth/connect";
    const MODELS: &str = "/api/v1/models";
    const API_KEYS: &str = "/api/v1/api-keys";
    const PROJECT: &str = "/api/v1/projects/{project}";
    const OAUTH: &str = "/api/v1/servers/{name}/oauth";
    let call = Call::new;
    vec![
        call(Method::GET, SERVERS, get(servers::list), "Lists servers")
            .with(&OF_SERVERS)
            .gives(200, "Servers"),
        call(
            Method::POST,
            SERVERS,
            post(servers::create),
            "Creates a server",
        )
        .takes("NewServer")
        .gives(201, "Server")
        .fails(&[(409, "There is a server of this name already.")]),
        call(
            Method::GET,
            "/api/v1/servers/export",
            get(export::export),
            "Writes all servers as a configuration file, without their secrets",
        )
        .gives_text(TOML),
        call(
            Method::POST,
            "/api/v1/servers/import",
            post(import::import),
            "Makes drafts of the servers in an mcp.json, all or none; contacts nothing",
        )
        .with(&OF_IMPORT)
        .takes("McpJson")
        .gives(200, "Imported")
        .fails(&[
            (400, "The file cannot be read; the message says where."),
            (409, "A name was taken meanwhile."),
            (413, "The file is over 1 MiB."),
        ]),
        call(Method::GET, SERVER, get(servers::read), "Reads a server")
            .gives(200, "Server")
            .fails(&[ABSENT]),
        call(
            Method::PUT,
            SERVER,
            put(servers::replace),
            "Replaces a server, in the version that was read",
        )
        .takes("ChangedServer")
        .gives(200, "Server")
        .fails(&[
            ABSENT,
            (
                409,
                "The version is not the newest, or the server is declared in a file.",
            ),
        ]),
        call(
            Method::PATCH,
            SERVER,
            patch(servers::patch),
            "Changes parts of a server (RFC 7396), in the version that was read",
        )
        .takes("PatchedServer")
        .gives(200, "Server")
        .fails(&[
            ABSENT,
            (
                409,
                "The version is not the newest, or the server is declared in a file.",
            ),
        ]),
        call(
            Method::DELETE,
            SERVER,
            delete(servers::remove),
            "Removes a server",
        )
        .fails(&[ABSENT, DECLARED]),
        call(
            Method::GET,
            TOOLS,
            get(tools::list),
            "Lists the tools of a server, with their selection and state",
        )
        .gives(200, "Tools")
        .fails(&[INACTIVE, ABSENT]),
        call(
            Method::POST,
            ACCEPT,
            post(tools::accept),
            "Accepts tools as they are now",
        )
        .takes("Accept")
        .gives(200, "Tools")
        .fails(&[
            ABSENT,
            (
                409,
                "A tool has changed again, or its server is declared with fingerprints.",
            ),
        ]),
        call(
            Method::POST,
            "/api/v1/servers/{name}/tools/{tool}/call",
            post(calling::call),
            "Calls a tool as an operator, under all checks of a request",
        )
        .takes("ToolCall")
        .gives(200, "ToolResult")
        .fails(&[
            (
                400,
                "The server cannot be used, the tool is not offered, or it asks first and its fingerprint lacks.",
            ),
            (401, "A token of the caller's own is missing."),
            (404, "There is no server of this name, or the project cannot use it."),
        ]),
        call(
            Method::POST,
            REFRESH,
            post(tools::refresh),
            "Asks a server for its tools now",
        )
        .gives(200, "Tools")
        .fails(&[INACTIVE, ABSENT]),
        call(
            Method::POST,
            CONNECT,
            post(oauth::connect),
            "Begins to connect a server with OAuth 2.0",
        )
        .gives(200, "Connect")
        .fails(&[
            (400, "It cannot begin; the message says what to do."),
            ABSENT,
        ]),
        call(
            Method::DELETE,
            OAUTH,
            delete(oauth::disconnect),
            "Gives up the authorization of a server",
        )
        .fails(&[ABSENT]),
        call(
            Method::GET,
            "/api/v1/projects",
            get(projects::list),
            "Lists the projects that are known from keys, servers, grants and budgets",
        )
        .gives(200, "KnownProjects"),
        call(
            Method::GET,
            PROJECT,
            get(project::read),
            "Reads a project: its servers, tools, keys, limits and budget, and what is used of them",
        )
        .gives(200, "Project"),
        call(
            Method::PUT,
            PROJECT,
            put(project::replace),
            "Replaces what a project may use of its models in a day",
        )
        .takes("NewBudget")
        .gives(200, "Project")
        .fails(&[BUDGETLESS, BUDGETED]),
        call(
            Method::DELETE,
            PROJECT,
            delete(project::remove),
            "Removes the budget of a project, and nothing else of it",
        )
        .fails(&[
            (404, "The project has no budget, or nobody told this side where budgets are kept."),
            BUDGETED,
        ]),
        call(
            Method::GET,
            MODELS,
            get(models::read),
            "Reads the aliases of models and the default servers",
        )
        .gives(200, "Models")
        .fails(&[UNKEPT]),
        call(
            Method::PUT,
            MODELS,
            put(models::replace),
            "Replaces the aliases and defaults, in the version that was read",
        )
        .takes("ChangedModels")
        .gives(200, "Models")
        .fails(&[
            UNKEPT,
            (
                409,
                "The version is not the newest, or a changed entry is declared in a file.",
            ),
        ]),
        call(
            Method::GET,
            API_KEYS,
            get(api_keys::list),
            "Lists callers' API keys, without the keys themselves",
        )
        .with(&OF_API_KEYS)
        .gives(200, "ApiKeys")
        .fails(&[KEYLESS]),
        call(
            Method::POST,
            API_KEYS,
            post(api_keys::create),
            "Makes an API key, which only this answer has",
        )
        .takes("NewApiKey")
        .gives(201, "MadeApiKey")
        .fails(&[
            KEYLESS,
            (
                409,
                "No key can be made here; the message says what to change.",
            ),
        ]),
        call(
            Method::DELETE,
            "/api/v1/api-keys/{id}",
            delete(api_keys::revoke),
            "Revokes an API key: within a second it opens nothing any more",
        )
        .fails(&[
            (404, "There is no API key of this id."),
            (409, "The key is declared in a file, and removed there."),
        ]),
        call(
            Method::GET,
            "/api/v1/keys",
            get(keys::list),
            "Lists the sealing keys, with how many records each seals",
        )
        .gives(200, "Keys"),
        call(
            Method::GET,
            "/api/v1/traces",
            get(traces::list),
            "Lists exchanges, the latest first",
        )
        .with(&OF_TRACES)
        .gives(200, "Traces"),
        call(
            Method::GET,
            "/api/v1/traces/{id}",
            get(traces::read),
            "Reads an exchange with its spans",
        )
        .gives(200, "TraceWithSpans")
        .fails(&[(
            404,
            "There is no exchange of this id, or it is not kept any more.",
        )]),
        call(
            Method::GET,
            "/api/v1/overview",
            get(overview::read),
            "Reads figures of exchanges over time, and by project, model, server and tool",
        )
        .with(&OF_OVERVIEW)
        .gives(200, "Overview")
        .fails(&[(
            400,
            "The range is none: backwards, in the future, or older than 90 days.",
        )]),
        call(
            Method::POST,
            "/api/v1/explain",
            post(explain::explain),
            "Tells which tools a chat completion would get; calls no model",
        )
        .with(&OF_EXPLAIN)
        .takes("ChatCompletion")
        .gives(200, "Explanation")
        .fails(&[
            (400, "The request would be refused."),
            (
                401,
                "It would be refused, since a token of the caller's own is missing.",
            ),
            (404, "It would be refused, since a server is not there."),
            (429, "It would be refused, since the budget of the project is used up."),
        ]),
        call(
            Method::GET,
            "/api/v1/audit",
            get(audit::list),
            "Lists what operators did, the latest first",
        )
        .with(&OF_AUDIT)
        .gives(200, "Audit"),
        call(
            Method::GET,
            "/api/v1/operators",
            get(operator_sessions::operators),
            "Lists the operators, and who may sign in at a provider",
        )
        .gives(200, "Operators"),
        call(
            Method::GET,
            "/api/v1/sessions",
            get(operator_sessions::list),
            "Lists the browsers in which operators are signed in",
        )
        .gives(200, "Sessions"),
        call(
            Method::DELETE,
            "/api/v1/sessions/{id}",
            delete(operator_sessions::end),
            "Signs an operator out of a browser",
        )
        .fails(&[(404, "There is no session of this id, or it has ended.")]),
        call(
            Method::GET,
            "/api/v1/openapi.json",
            get(describe),
            "Describes all of this",
        )
        .gives(200, "Document"),
    ]
}

/// `GET /openapi.json`
async fn describe(State(hosts): State<Arc<Hosts>>) -> Answer {
    json(StatusCode::OK, &document(hosts.base(), &calls()))
}
