//! The REST interface as a table: every call, what answers it, and what a description of it says.
//!
//! The router and the [document](super::openapi) are made of the same rows, so neither has a call
//! that the other lacks.

use std::sync::Arc;

use axum::{
    extract::State,
    routing::{delete, get, post, put},
};
use http::{Method, StatusCode};

use super::{
    answer::{Answer, json},
    call::{Call, Parameter},
    explain,
    hosts::Hosts,
    keys, models, oauth,
    openapi::document,
    projects, servers, tools, traces,
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

const OF_TRACES: [Parameter; 6] = [
    parameter("project", "Text", "Only exchanges of this project."),
    parameter("server", "Text", "Only exchanges that named this server."),
    parameter("model", "Text", "Only exchanges that asked for this model."),
    parameter("outcome", "Text", "Only exchanges that ended so."),
    parameter("limit", "Limit", "At most so many."),
    parameter(
        "cursor",
        "TraceId",
        "Where the page begins: the next of the page before.",
    ),
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

const ABSENT: (u16, &str) = (404, "There is no server of this name.");
const UNKEPT: (u16, &str) = (
    404,
    "Nobody told this side where aliases and defaults are kept.",
);
const DECLARED: (u16, &str) = (409, "The server is declared in a file, and changed there.");
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
            "Lists the projects that are known from keys and servers",
        )
        .gives(200, "KnownProjects"),
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
        ]),
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
