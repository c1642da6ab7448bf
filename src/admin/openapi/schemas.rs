//! The schemas of what is sent and answered, by their names.
//!
//! What is answered is described to the last member: the tests hold every answer to it.

use serde_json::{Map, Value, json};

use super::reference;
use crate::{
    admin::{query::LONGEST, view::READ_ONLY},
    registry::ShareSession,
};

/// RFC 3339, in UTC.
fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

fn text() -> Value {
    json!({"type": "string"})
}

/// A text with at least one character, or `null`.
fn some_text() -> Value {
    json!({"type": ["string", "null"], "minLength": 1})
}

/// A schema that has a `type`, or `null`.
fn or_null(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

fn list_of(schema: &str) -> Value {
    json!({"type": "array", "items": reference(schema)})
}

/// What only answers have.
fn ignored() -> Value {
    json!({"readOnly": true, "description": "Ignored in what is sent."})
}

/// One of these words.
fn word(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

/// What is described elsewhere, or `null`.
fn maybe(schema: &str) -> Value {
    json!({"anyOf": [reference(schema), {"type": "null"}]})
}

/// An object that has these members, all of them, and no others.
fn object(members: Value) -> Value {
    let names: Vec<_> = members
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .collect();
    json!({
        "type": "object",
        "required": names,
        "properties": members,
        "additionalProperties": false,
    })
}

/// An object with no members but these, of which only some have to be there.
fn entered(required: &[&str], members: Value) -> Value {
    json!({
        "type": "object",
        "required": required,
        "properties": members,
        "additionalProperties": false,
    })
}

pub(super) fn all() -> Value {
    let mut all = json!({});
    for part in [
        words(),
        servers(),
        authentication(),
        tools(),
        traces(),
        rest(),
    ] {
        if let (Some(all), Value::Object(part)) = (all.as_object_mut(), part) {
            all.extend(part);
        }
    }
    all
}

fn words() -> Value {
    json!({
        "Text": text(),
        "Limit": {"type": "integer", "minimum": 1, "maximum": LONGEST, "default": 50},
        "ServerName": {
            "type": "string", "pattern": "^[a-z0-9](-?[a-z0-9])*$", "maxLength": 40,
            "description": "No underscores: so `{server}__{tool}` has one reading.",
        },
        "TraceId": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "Fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "WantedStatus": word(&["active", "inactive", "draft"]),
        "AuthType": word(&["none", "static_headers", "oauth2", "token_passthrough"]),
        "Transport": word(&["streamable_http", "sse"]),
        "Policy": word(&["auto", "ask_first"]),
        "Gate": word(&["block", "allow"]),
        "ShareSession": {
            "type": "string",
            "enum": ShareSession::ALL.map(|(word, _)| word),
            "description": "Who shares one session of the server, and so sees what it remembers; default project.",
        },
        "TokenAuth": word(&["client_secret_basic", "client_secret_post", "none"]),
        "Projects": {
            "description": "All projects, or those that are named.",
            "anyOf": [
                {"const": "all"},
                {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
            ],
        },
        "Selection": {
            "description": "All tools, or those that are named.",
            "anyOf": [{"const": "all"}, list_of("Selected")],
        },
        "Selected": {
            "anyOf": [
                {"type": "string", "minLength": 1},
                entered(&["name"], json!({
                    "name": {"type": "string", "minLength": 1},
                    "policy": maybe("Policy"),
                })),
            ],
        },
        "Error": object(json!({"error": object(json!({
            "message": text(),
            "type": word(&["invalid_request_error", "server_error"]),
            "param": or_null(text()),
            "code": text(),
        }))})),
    })
}

fn servers() -> Value {
    let mut server = json!({
        "id": text(),
        "name": reference("ServerName"),
        "display_name": or_null(text()),
        "description": or_null(text()),
        "url": {"type": "string", "format": "iri", "description":
            "Keys in it are shown as … in answers; sent back, that keeps them."},
        "transport": reference("Transport"),
        "projects": reference("Projects"),
        "auth": reference("Auth"),
        "tools": reference("Selection"),
        "share_session": reference("ShareSession"),
        "trace_context": {
            "type": ["boolean", "null"],
            "description": "Whether the server is told which trace a call is a part of; null: where its host is the operator's own.",
        },
        "on_change": maybe("Gate"),
        "new_tools": maybe("Gate"),
        "enabled": {"type": "boolean"},
        "draft": {"type": "boolean"},
        "version": {"type": "integer", "minimum": 0},
        "source": word(&["store", "file"]),
        "status": word(&["active", "inactive"]),
        "status_reason": {"enum": [
            "disabled", "unreachable", "needs_authorization", "credential_invalid", "no_tools",
            null,
        ]},
        "last_failure": {"anyOf": [object(json!({
            "stage": word(&["connect", "authorize", "list", "call"]),
            "message": text(),
            "at": time(),
        })), {"type": "null"}]},
        "tool_count": {
            "type": ["integer", "null"], "minimum": 0,
            "description": "How many tools models are offered; null before the first listing.",
        },
        "created_at": or_null(time()),
        "updated_at": or_null(time()),
    });
    let answered = object(server.clone());
    if let Some(members) = server.as_object_mut() {
        for name in READ_ONLY {
            members[name] = ignored();
        }
        for (name, schema) in [
            ("auth", reference("NewAuth")),
            ("transport", maybe("Transport")),
            ("projects", maybe("Projects")),
            ("tools", maybe("Selection")),
            ("share_session", maybe("ShareSession")),
            (
                "enabled",
                json!({"type": ["boolean", "null"], "default": true}),
            ),
            (
                "draft",
                json!({"type": ["boolean", "null"], "default": false}),
            ),
        ] {
            members[name] = schema;
        }
    }
    let mut new = server.clone();
    // So that a server is copied by sending what was read under another name.
    new["version"] = ignored();
    json!({
        "Server": answered,
        "NewServer": entered(&["name", "url"], new),
        "ChangedServer": entered(&["url", "version"], server),
        "Servers": object(json!({"servers": list_of("Server"), "next": maybe("ServerName")})),
    })
}

fn authentication() -> Value {
    let of = |kind: &str, mut members: Value, required: &[&str]| {
        members["type"] = json!({"const": kind});
        let required: Vec<&str> = ["type"].iter().chain(required).copied().collect();
        entered(&required, members)
    };
    let oauth = |secret: &str, scopes: Value| {
        json!({
            "client_id": some_text(),
            "client_secret": maybe(secret),
            "authorization_url": some_text(),
            "token_url": some_text(),
            "scopes": scopes,
            "issuer": some_text(),
            "resource": some_text(),
            "token_auth": maybe("TokenAuth"),
        })
    };
    let scope = json!({"type": "string", "pattern": "^[\\x21\\x23-\\x5b\\x5d-\\x7e]+$"});
    let scopes = json!({"type": "array", "items": scope});
    let mut answered = oauth("SecretState", scopes.clone());
    answered["type"] = json!({"const": "oauth2"});
    let headers = |secret: &str| {
        let header = object(json!({"name": text(), "value": reference(secret)}));
        json!({"headers": {"type": "array", "minItems": 1, "items": header}})
    };
    let none = of("none", json!({}), &[]);
    let passthrough = |header: Value, required: &[&str]| {
        of("token_passthrough", json!({"header": header}), required)
    };
    json!({
        "SecretState": object(json!({"set": {"type": "boolean"}, "updated_at": or_null(time())})),
        "Secret": {
            "description": "The secret itself, or what was answered, which keeps the one that is stored.",
            "anyOf": [
                {"type": "string", "minLength": 1, "writeOnly": true},
                entered(&["set"], json!({"set": {"const": true}, "updated_at": {}})),
            ],
        },
        "Auth": {"oneOf": [
            none,
            of("static_headers", headers("SecretState"), &["headers"]),
            object(answered),
            passthrough(text(), &["header"]),
        ]},
        "NewAuth": {"anyOf": [
            {"type": "null"},
            none,
            of("static_headers", headers("Secret"), &["headers"]),
            of("oauth2", oauth("Secret", json!({"anyOf": [
                scopes,
                {"type": ["string", "null"], "description": "With blanks or commas between them."},
            ]})), &[]),
            passthrough(some_text(), &[]),
        ]},
    })
}

fn tools() -> Value {
    let mut tool = object(json!({
        "name": text(),
        "offered_name": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"},
        "description": or_null(text()),
        "input_schema": {"type": ["object", "boolean", "null"]},
        "selected": {"type": "boolean"},
        "policy": maybe("Policy"),
        "state": word(&["approved", "changed", "new", "removed"]),
        "fingerprint": maybe("Fingerprint"),
        "approved_fingerprint": maybe("Fingerprint"),
    }));
    // Both are there where a tool has changed, so that they can be compared.
    tool["properties"]["definition"] = json!({"type": "object"});
    tool["properties"]["approved_definition"] = json!({"type": "object"});
    json!({
        "Tool": tool,
        "Tools": object(json!({
            "tools": list_of("Tool"),
            "left_out": {
                "type": "array",
                "items": object(json!({"name": text(), "reason": text()})),
                "description": "Tools that nobody can be offered, by the list that is in memory.",
            },
        })),
        "Accept": object(json!({"tools": {"type": "array", "minItems": 1, "items": object(json!({
            "name": {"type": "string", "minLength": 1},
            "fingerprint": {
                "anyOf": [reference("Fingerprint"), {"type": "null"}],
                "description": "The one that was looked at; null accepts that the tool is gone.",
            },
        }))}})),
    })
}

fn traces() -> Value {
    let count = || json!({"type": "integer", "minimum": 0});
    let mut trace = json!({
        "id": reference("TraceId"),
        "started_at": time(),
        "project": text(),
        "model": or_null(text()),
        "servers": {"type": "array", "items": text()},
        "rounds": count(),
        "stopped_by": or_null(text()),
        "outcome": text(),
        "duration_ms": count(),
        "usage": {"type": ["object", "null"]},
    });
    let listed = object(trace.clone());
    trace["spans"] = list_of("Span");
    json!({
        "Trace": listed,
        "TraceWithSpans": object(trace),
        "Span": object(json!({
            "name": text(),
            "start_ms": count(),
            "duration_ms": count(),
            "attributes": {
                "type": "object",
                "description": "By the names that OpenTelemetry has for them.",
            },
        })),
        "Traces": object(json!({"traces": list_of("Trace"), "next": maybe("TraceId")})),
    })
}

fn rest() -> Value {
    let tool = |members: Value| json!({"type": "array", "items": object(members)});
    json!({
        "Connect": object(json!({"authorization_url": {
            "type": "string", "format": "uri",
            "description": "To be opened in the operator's browser, once and within ten minutes.",
        }})),
        "KnownProjects": object(json!({"projects": {"type": "array", "items": text()}})),
        "Keys": object(json!({"keys": {"type": "array", "items": object(json!({
            "id": text(),
            "records": {"type": "integer", "minimum": 0},
            "newest": {"type": "boolean"},
        }))}})),
        "ChatCompletion": {
            "type": "object",
            "description": "As a caller sends it, with `mcp`. Tokens of the caller's own are in \
                headers, x-mcp-auth-{server}.",
            "properties": {
                "messages": {"description": "A list, where `mcp` is enabled."},
                "mcp": entered(&[], json!({
                    "enabled": {"type": "boolean", "default": false},
                    "servers": {"type": "array", "items": text()},
                    "auto_execute_tools": {"type": "boolean", "default": false},
                    "max_tool_rounds": {"type": "integer", "minimum": 1},
                    "tools": {"type": "array", "items": text()},
                    "resume_tool_calls": {"type": "boolean", "default": false},
                    "receipt": {"type": "boolean"},
                })),
            },
        },
        "Explanation": object(json!({
            "tools": tool(json!({
                "offered_name": text(), "server": reference("ServerName"), "tool": text(),
            })),
            "left_out": tool(json!({
                "server": reference("ServerName"), "tool": text(), "reason": text(),
            })),
        })),
        "Document": {"type": "object", "description": "This document."},
    })
}
