//! The schemas of requests and answers, by their names.
//!
//! Answers are described down to the last member: the tests hold every answer to its schema.

use serde_json::{Map, Value, json};

use super::reference;
use crate::{
    admin::{
        query::LONGEST,
        view::{self, READ_ONLY},
    },
    registry::{
        AuthKind, CallLimit, Server, ToolPolicy,
        members::{About, Kind, OAUTH2, PASSTHROUGH, SERVER, Word},
    },
    tool_loop::Why,
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

/// A schema for a member that is answered, and may be sent back. Not `readOnly`, which some tools read as forbidden.
fn ignored() -> Value {
    json!({"description": "Read-only: ignored in what is sent."})
}

/// One of these words.
fn word(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

/// A schema for a value that is described elsewhere, or for `null`.
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
        models(),
        traces(),
        import(),
        operators(),
        api_keys(),
        overview(),
        rest(),
    ] {
        if let (Some(all), Value::Object(part)) = (all.as_object_mut(), part) {
            all.extend(part);
        }
    }
    all
}

fn words() -> Value {
    let mut words = json!({
        "Text": text(),
        "Moment": {"type": "string", "description": "RFC 3339, or a day, or a day and a minute, in UTC."},
        "Time": time(),
        "Limit": {"type": "integer", "minimum": 1, "maximum": LONGEST, "default": 50},
        "ServerName": {
            "type": "string", "pattern": "^[a-z0-9](-?[a-z0-9])*$", "maxLength": 40,
            "description": "No underscores: so `{server}__{tool}` has one reading.",
        },
        "Flag": {"type": "boolean", "default": false},
        "TraceId": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "Fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "WantedStatus": word(&["active", "inactive", "draft"]),
        "AuthType": word(&AuthKind::words()),
        "Policy": word(&ToolPolicy::words()),
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
                    "always": {
                        "type": ["boolean", "null"],
                        "default": false,
                        "description": "It is offered also where tools are searched for.",
                    },
                })),
            ],
        },
        "Grants": list_of("Grant"),
        "Grant": granted(&["project"], json!({
            "project": {"type": "string", "minLength": 1},
            "tools": {
                "description": "All that are selected, or those that are named; none: the project cannot use the server.",
                "anyOf": [
                    {"const": "all"},
                    {"type": "array", "items": {"type": "string", "minLength": 1}},
                    {"type": "null"},
                ],
            },
            "tool_limits": {"anyOf": [list_of("ToolLimits"), {"type": "null"}]},
        })),
        "ToolLimits": granted(&["tool"], json!({"tool": {"type": "string", "minLength": 1}})),
        "Error": entered(&["error"], json!({
            "error": object(json!({
                "message": text(),
                "type": word(&["invalid_request_error", "server_error"]),
                "param": or_null(text()),
                "code": text(),
            })),
            "left_out": {
                "type": "array", "items": reference("Unoffered"),
                "description": "Where a request that is explained would be refused, the tools of its servers that its project is not granted; else absent.",
            },
        })),
    });
    let server = SERVER.iter().map(|member| member.kind);
    for kind in server.chain(OAUTH2.iter().map(|member| member.kind)) {
        if let Kind::Word(name, all) = kind {
            words[name] = word(&all());
        }
    }
    words
}

/// The schema of something with limits of calls: those that are not set are absent.
fn granted(required: &[&str], mut members: Value) -> Value {
    for limit in CallLimit::ALL {
        members[limit.as_str()] =
            json!({"type": ["integer", "null"], "minimum": 1, "maximum": u32::MAX});
    }
    entered(required, members)
}

/// The two schemas of a member: in an answer, and in a request.
fn both(member: &About) -> (Value, Value) {
    let (mut answered, mut sent) = match member.kind {
        Kind::Prose { .. } => (text(), text()),
        Kind::Code | Kind::Url if member.is_optional => (some_text(), some_text()),
        Kind::Code => (text(), some_text()),
        Kind::Url => {
            let url = json!({"type": "string", "format": "iri"});
            (url.clone(), url)
        }
        Kind::Name => (reference("ServerName"), reference("ServerName")),
        Kind::Flag => (json!({"type": "boolean"}), json!({"type": "boolean"})),
        Kind::Seconds => {
            let seconds = json!({"type": "integer", "minimum": 1, "maximum": 86_400});
            (seconds.clone(), seconds)
        }
        Kind::Scopes => (
            scopes(),
            json!({"anyOf": [
                scopes(),
                {"type": "string", "description": "With blanks or commas between them."},
            ]}),
        ),
        Kind::Secret => (reference("SecretState"), reference("Secret")),
        Kind::Word(name, _) => (reference(name), reference(name)),
        Kind::Schema("Auth") => (reference("Auth"), reference("NewAuth")),
        Kind::Schema(name) => (reference(name), reference(name)),
    };
    if member.is_optional {
        answered = nullable(answered);
    }
    if !REQUIRED.contains(&member.name) {
        sent = nullable(sent);
    }
    if !member.description.is_empty() {
        answered["description"] = member.description.into();
        sent["description"] = member.description.into();
    }
    (answered, sent)
}

/// The members that a request must have; for any other, `null` is as good as absent.
const REQUIRED: [&str; 2] = ["name", "url"];

/// The members that a replacement must have besides.
const WIDE: [&str; 2] = ["projects", "tools"];

/// Allows `null` beside the values of `schema`.
fn nullable(schema: Value) -> Value {
    match &schema["type"] {
        Value::String(_) => or_null(schema),
        Value::Array(_) => schema,
        _ => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}

fn servers() -> Value {
    let version = json!({"type": "integer", "minimum": 0});
    let (mut answered, mut new) = (Map::new(), Map::new());
    let fresh = Server::new("a", "https://mcp.example.com/mcp");
    let fresh = fresh.as_ref().map(view::entered).unwrap_or_default();
    for member in SERVER {
        let (answer, mut sent) = both(member);
        answered.insert(member.name.to_owned(), answer);
        let default = serde_json::to_value(fresh.get(member.name)).unwrap_or_default();
        if !REQUIRED.contains(&member.name) && !default.is_null() {
            sent["default"] = default;
        }
        new.insert(member.name.to_owned(), sent);
    }
    answered.insert("version".to_owned(), version.clone());
    let only_answered = json!({
        "id": text(),
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
    if let Value::Object(members) = only_answered {
        answered.extend(members);
    }
    new.extend(READ_ONLY.map(|name| (name.to_owned(), ignored())));
    let mut changed = new.clone();
    // The path has it as well.
    if let Some(name) = changed.get_mut("name") {
        *name = nullable(name.take());
    }
    changed.insert("version".to_owned(), version);
    let mut patched = changed.clone();
    let auth = "The members to change; another type leaves nothing of the one before.";
    patched.insert(
        "auth".to_owned(),
        json!({"type": ["object", "null"], "description": auth}),
    );
    // Left out they would be the widest that there are.
    for name in WIDE {
        if let Some(member) = SERVER.iter().find(|member| member.name == name) {
            changed.insert(name.to_owned(), both(member).0);
        }
    }
    if let Some(Value::Object(grants)) = changed.get_mut("grants") {
        let needed = "Has to be there where the server has some; an empty list removes them.";
        grants.insert("description".to_owned(), needed.into());
    }
    // So that a server is copied by sending what was read under another name.
    new.insert("version".to_owned(), ignored());
    json!({
        "Server": object(answered.into()),
        "NewServer": entered(&REQUIRED, new.into()),
        "ChangedServer": entered(&["url", "version", WIDE[0], WIDE[1]], changed.into()),
        "PatchedServer": entered(&["version"], patched.into()),
        "Servers": object(json!({"servers": list_of("Server"), "next": maybe("ServerName")})),
    })
}

fn scopes() -> Value {
    let scope = json!({"type": "string", "pattern": "^[\\x21\\x23-\\x5b\\x5d-\\x7e]+$"});
    json!({"type": "array", "items": scope})
}

fn authentication() -> Value {
    let of = |kind: AuthKind, mut members: Value| {
        members["type"] = json!({"const": kind.word()});
        members
    };
    let headers = |secret: &str| {
        let header = object(json!({"name": text(), "value": reference(secret)}));
        of(
            AuthKind::StaticHeaders,
            json!({"headers": {"type": "array", "minItems": 1, "items": header}}),
        )
    };
    let (mut answered, mut sent) = (Map::new(), Map::new());
    for member in OAUTH2 {
        let (answer, send) = both(member);
        answered.insert(member.name.to_owned(), answer);
        sent.insert(member.name.to_owned(), send);
    }
    let oauth2 = |members: Map<_, _>| of(AuthKind::OAuth2, members.into());
    let none = object(of(AuthKind::None, json!({})));
    let header = both(&PASSTHROUGH);
    let passthrough = |header: Value| {
        of(
            AuthKind::TokenPassthrough,
            json!({PASSTHROUGH.name: header}),
        )
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
            object(headers("SecretState")),
            object(oauth2(answered)),
            object(passthrough(header.0)),
        ]},
        "NewAuth": {"anyOf": [
            none,
            object(headers("Secret")),
            entered(&["type"], oauth2(sent)),
            entered(&["type"], passthrough(header.1)),
        ]},
    })
}

fn tools() -> Value {
    let mut tool = object(json!({
        "name": text(),
        "offered_name": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"},
        "description": or_null(text()),
        "input_schema": {"type": ["object", "boolean", "null"]},
        "annotations": {"description": "As the server says them: hints, not promises."},
        "selected": {"type": "boolean"},
        "policy": maybe("Policy"),
        "state": word(&["approved", "changed", "new", "removed"]),
        "fingerprint": maybe("Fingerprint"),
        "approved_fingerprint": maybe("Fingerprint"),
    }));
    // Only where it is so.
    tool["properties"]["always"] = json!({"const": true});
    // The first is there where a tool is new, both where it has changed, so that they can be compared.
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
            "instructions": maybe("Instructions"),
        })),
        "Instructions": object(json!({
            "text": {"type": "string", "description": "As the server wrote it."},
            "given": {"type": "boolean", "description": "Whether models get it, up to 4 KiB."},
            "state": word(&["approved", "changed"]),
            "fingerprint": reference("Fingerprint"),
        })),
        "Accept": entered(&[], json!({
        "instructions": maybe("Fingerprint"),
        "tools": {"type": "array", "minItems": 1, "items": object(json!({
            "name": {"type": "string", "minLength": 1},
            "fingerprint": {
                "anyOf": [reference("Fingerprint"), {"type": "null"}],
                "description": "The one that was looked at; null accepts that the tool is gone.",
            },
        }))}})),
    })
}

/// Aliases and defaults: in an answer all members are there, and each entry says where it is from.
fn models() -> Value {
    let source = || word(&["store", "file"]);
    let name = || json!({"type": "string", "minLength": 1, "maxLength": 256});
    let servers = || json!({"type": "array", "minItems": 1, "items": reference("ServerName")});
    let patterns = || {
        json!({
            "type": "array", "minItems": 1, "items": name(),
            "description": "Patterns of their models, in which `*` stands for any text.",
        })
    };
    let alias = json!({
        "name": name(), "model": name(), "servers": servers(), "projects": reference("Projects"),
    });
    let default = json!({"project": name(), "models": patterns(), "servers": servers()});
    let answered = |entry: &Value| {
        let mut entry = entry.clone();
        entry["source"] = source();
        object(entry)
    };
    let sent = |entry: &Value, required: &[&str], other: &str| {
        let mut entry = entry.clone();
        entry[other] = match other {
            "projects" => maybe("Projects"),
            _ => or_null(patterns()),
        };
        entry["source"] = json!({"enum": ["store", "file", null], "default": "store"});
        entered(required, entry)
    };
    let version = json!({"type": "integer", "minimum": 0});
    let lists = |alias: &str, default: &str| json!({"models": list_of(alias), "defaults": list_of(default), "version": version});
    json!({
        "Alias": answered(&alias),
        "Default": answered(&default),
        "NewAlias": sent(&alias, &["name", "model", "servers"], "projects"),
        "NewDefault": sent(&default, &["project", "servers"], "models"),
        "Models": object(lists("Alias", "Default")),
        "ChangedModels": object(lists("NewAlias", "NewDefault")),
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
        "failed_calls": count(),
        "stopped_by": or_null(text()),
        "outcome": text(),
        "duration_ms": count(),
        "usage": {"type": ["object", "null"]},
    });
    let listed = object(trace.clone());
    trace["spans"] = list_of("Span");
    json!({
        "Failed": {"enum": ["tools"]},
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

fn import() -> Value {
    let texts = || json!({"type": "array", "items": text()});
    let common = || {
        json!({
            "from": {"type": "string", "description": "The name in the file."},
            "disabled": {"type": "boolean", "description": "Whether the file switches it off."},
        })
    };
    let (mut draft, mut rest) = (common(), common());
    for (name, schema) in [
        ("name", reference("ServerName")),
        (
            "renamed",
            json!({"type": ["string", "null"], "description": "Why the name is another one."}),
        ),
        ("url", text()),
        ("transport", reference("Transport")),
        ("auth", reference("AuthType")),
        ("headers", texts()),
        (
            "to_enter",
            json!({"type": "array", "items": object(json!({
                "member": text(), "placeholders": texts(),
            })), "description": "Values that the file leaves open, by the server's members."}),
        ),
        ("unread", texts()),
    ] {
        draft[name] = schema;
    }
    for (name, schema) in [
        ("reason", text()),
        (
            "command",
            json!({"type": ["string", "null"], "description": "Of a bridge, for a POSIX shell."}),
        ),
        ("url", or_null(text())),
        ("env", texts()),
    ] {
        rest[name] = schema;
    }
    json!({
        "McpJson": {
            "type": "object",
            "description": "The text of the file, with `mcpServers`, `servers` or `mcp.servers`; it \
                may have comments, and commas behind last items.",
        },
        "Imported": object(json!({
            "drafts": {"type": "array", "items": object(draft)},
            "rest": {
                "type": "array", "items": object(rest),
                "description": "Servers that cannot become drafts, with what to do.",
            },
        })),
    })
}

fn operators() -> Value {
    let role = || word(&["viewer", "editor", "admin"]);
    let values = || json!({"type": "array", "items": text()});
    let state = || json!({"description": "As it is answered elsewhere, without secrets; or null."});
    let entry = json!({
        "id": reference("TraceId"),
        "at": time(),
        "operator": or_null(text()),
        "role": or_null(text()),
        "via": or_null(text()),
        "from": or_null(text()),
        "action": text(),
        "target": or_null(text()),
        "before": state(),
        "after": state(),
    });
    let session = json!({
        "id": reference("TraceId"),
        "operator": text(),
        "role": role(),
        "via": word(&["token", "oidc"]),
        "from": or_null(text()),
        "began_at": time(),
        "used_at": time(),
        "ends_at": time(),
    });
    json!({
        "Audit": object(json!({
            "entries": {"type": "array", "items": object(entry)},
            "next": maybe("TraceId"),
        })),
        "Operators": object(json!({
            "operators": {"type": "array", "items": object(json!({
                "name": text(), "role": role(),
            }))},
            "provider": {"anyOf": [object(json!({
                "issuer": text(),
                "role_claim": text(),
                "roles": object(json!({
                    "viewer": values(), "editor": values(), "admin": values(),
                })),
            })), {"type": "null"}]},
        })),
        "Sessions": object(json!({"sessions": {"type": "array", "items": object(session)}})),
    })
}

/// Callers' API keys: one list, and the key itself once.
fn api_keys() -> Value {
    let name = || json!({"type": "string", "minLength": 1, "maxLength": 100});
    let key = json!({
        "id": reference("TraceId"),
        "name": name(),
        "project": name(),
        "source": word(&["store", "file"]),
        "created_at": or_null(time()),
        "expires_at": or_null(time()),
        "last_used_at": {
            "type": ["string", "null"], "format": "date-time",
            "description": "To the minute; not known of keys that are declared in a file.",
        },
        "limits": reference("KeyLimits"),
    });
    let mut made = key.clone();
    made["key"] = json!({
        "type": "string", "readOnly": true,
        "description": "What callers send as `Authorization: Bearer KEY`. It is shown here and never again.",
    });
    json!({
        "ApiKey": object(key),
        "ApiKeys": object(json!({"api_keys": list_of("ApiKey")})),
        "MadeApiKey": object(made),
        "NewApiKey": entered(&["name", "project"], json!({
            "name": name(),
            "project": name(),
            "expires_at": {
                "type": ["string", "null"], "format": "date-time", "default": null,
                "description": "When it stops to open anything; null for never.",
            },
            "limits": {
                "description": "The most calls of tools that requests with it may make.",
                "anyOf": [reference("KeyLimits"), {"type": "null"}],
            },
        })),
        "KeyLimits": granted(&[], json!({})),
    })
}

fn overview() -> Value {
    let count = || json!({"type": "integer", "minimum": 0});
    let millis = || {
        json!({
            "type": ["integer", "null"], "minimum": 0,
            "description": "Within 5 %; null where there is none.",
        })
    };
    let sum = json!({
        "exchanges": count(),
        "errors": {
            "type": "integer", "minimum": 0,
            "description": "upstream_errors, upstream_failures and refused, together.",
        },
        "upstream_errors": count(),
        "upstream_failures": count(),
        "refused": count(),
        "cancelled": count(),
        "out_of_rounds": count(),
        "out_of_time": count(),
        "p50_ms": millis(),
        "p95_ms": millis(),
        "calls": count(),
        "failed_calls": count(),
        "input_tokens": count(),
        "output_tokens": count(),
        "cost": {
            "type": ["number", "null"], "minimum": 0,
            "description": "As far as it is known; null where it is of no exchange.",
        },
        "unpriced": {
            "type": "integer", "minimum": 0,
            "description": "Exchanges with tokens whose cost is not known.",
        },
    });
    let with = |mut more: Value| {
        for (name, schema) in sum.as_object().into_iter().flatten() {
            more[name] = schema.clone();
        }
        more
    };
    let name = || {
        json!({
            "type": ["string", "null"],
            "description": "null for requests that named none, and where other is true.",
        })
    };
    let other = || {
        json!({
            "type": "boolean",
            "description": "Whether these are all names that have no row of their own.",
        })
    };
    json!({
        "Figures": object(sum.clone()),
        "Overview": object(json!({
            "from": time(),
            "to": time(),
            "bucket": word(&["minute", "hour", "day"]),
            "project": or_null(text()),
            "totals": reference("Figures"),
            "before": maybe("Figures"),
            "series": list_of("FiguresAt"),
            "projects": list_of("FiguresOf"),
            "models": list_of("FiguresOf"),
            "servers": list_of("FiguresOf"),
            "tools": list_of("FiguresOfTool"),
        })),
        "FiguresAt": object(with(json!({"at": time()}))),
        "FiguresOf": object(with(json!({"name": name(), "other": other()}))),
        "FiguresOfTool": object(json!({
            "server": name(),
            "tool": name(),
            "other": other(),
            "calls": count(),
            "failed_calls": count(),
            "p50_ms": millis(),
            "p95_ms": millis(),
        })),
    })
}

fn rest() -> Value {
    json!({
        "Connect": object(json!({"authorization_url": {
            "type": ["string", "null"], "format": "uri",
            "description": "To be opened in the operator's browser, once and within ten minutes; null where the gateway has authorized itself.",
        }})),
        "ToolCall": entered(&[], json!({
            "arguments": {"type": "object", "default": {}},
            "project": {
                "type": "string", "minLength": 1, "maxLength": 100, "default": "default",
                "description": "Whose call it is.",
            },
            "fingerprint": {
                "type": "string",
                "description": "The definition that was read; required for a tool that asks first; where a guard asks, no call runs without it.",
            },
        })),
        "ToolResult": object(json!({
            "result": {"type": "string", "description": "The text that a model would get."},
            "is_error": {"type": "boolean"},
            "duration_ms": {"type": "integer", "minimum": 0},
            "result_bytes": {"type": "integer", "minimum": 0},
            "truncated": {"type": "boolean"},
            "trace": maybe("TraceId"),
        })),
        "KnownProjects": object(json!({"projects": {"type": "array", "items": text()}})),
        "Project": object(json!({
            "name": text(),
            "budget": or_null(object(json!({
                "tokens_per_day": {"type": ["integer", "null"], "minimum": 1},
                "cost_per_day": {"type": ["number", "null"], "exclusiveMinimum": 0},
                "source": word(&["store", "file"]),
            }))),
            "used_today": or_null(object(json!({
                "tokens": {"type": "integer", "minimum": 0},
                "cost": {"type": "number", "minimum": 0, "description": "As far as it is known."},
                "ends_in_s": {"type": "integer", "minimum": 0, "description": "0 where nothing is used."},
            }))),
            "servers": {"type": "array", "items": object(json!({
                "name": reference("ServerName"),
                "display_name": text(),
                "source": word(&["store", "file"]),
                "tools": {
                    "description": "All that are selected, or those that are granted of these.",
                    "anyOf": [{"const": "all"}, {"type": "array", "items": text()}],
                },
                "limits": reference("UsedLimits"),
                "tool_limits": {"type": "array", "items": object(json!({
                    "tool": text(), "limits": reference("UsedLimits"),
                }))},
                "unlisted": {
                    "type": "array", "items": text(),
                    "description": "Tools that the grant names and the server did not list when it was last asked, or that cannot be offered; empty where that is not known.",
                },
            }))},
            "api_keys": or_null(json!({
                "type": "array", "items": object(json!({"id": text(), "name": text()})),
                "description": "null for those who may not see keys, and where none are kept.",
            })),
        })),
        "UsedLimits": {
            "type": "object",
            "description": "Those limits that are set, by name.",
            "propertyNames": {"enum": CallLimit::ALL.map(CallLimit::as_str)},
            "additionalProperties": object(json!({
                "limit": {"type": "integer", "minimum": 1},
                "used": {
                    "type": ["integer", "null"], "minimum": 0,
                    "description": "In this minute, today, or now; null where nobody told this side where that is counted.",
                },
            })),
        },
        "NewBudget": new_budget(),
        "Keys": object(json!({"keys": {"type": "array", "items": object(json!({
            "id": text(),
            "records": {"type": "integer", "minimum": 0},
            "newest": {"type": "boolean"},
        }))}})),
        "ChatCompletion": {
            "type": "object",
            "description": "As a caller sends it, with any way to ask for servers; for an alias or a \
                default `model` alone will do. A caller's headers are headers here, too: \
                x-mcp-auth-{server} for tokens of its own and, where the gateway takes them, \
                x-mcp-servers, x-mcp-tools, and the one for the token of its user.",
            "properties": {
                "model": {"description": "May be an alias, or have a default."},
                "messages": {"description": "A list, where `mcp` is enabled."},
                "tools": {"description": "Those of type `mcp` ask for servers."},
                "metadata": {"description": "Its `mcp_servers` asks for servers."},
                "mcp": entered(&[], json!({
                    "enabled": {"type": "boolean", "default": false},
                    "servers": {"type": "array", "items": text()},
                    "auto_execute_tools": {"type": "boolean", "default": false},
                    "max_tool_rounds": {"type": "integer", "minimum": 1},
                    "tools": {"type": "array", "items": text()},
                    "resume_tool_calls": {"type": "boolean", "default": false},
                    "receipt": {"type": "boolean"},
                    "on_max_rounds": {"enum": ["answer", "return"]},
                    "own_tools": {"enum": ["split", "whole"]},
                    "on_stream": {"enum": ["execute", "return"]},
                    "events": {"type": "boolean", "default": false},
                    "tool_search": {"type": "boolean"},
                })),
            },
        },
        "Unoffered": object(json!({
            "server": reference("ServerName"), "tool": text(),
            "reason": word(&Why::ALL.map(Why::as_str)),
            "message": {"type": "string", "description": "The reason in words."},
        })),
        "Explanation": entered(&["tools", "left_out"], json!({
            "tools": {"type": "array", "items": entered(&["offered_name", "server", "tool"], json!({
                "offered_name": text(), "server": reference("ServerName"), "tool": text(),
                "found": {
                    "const": true,
                    "description": "The model finds it by a search, and is not offered it before.",
                },
            }))},
            "left_out": {"type": "array", "items": reference("Unoffered")},
            "default": object(json!({"left_out": text()})),
        })),
        "Document": {"type": "object", "description": "This document."},
    })
}

/// A budget in a request: one of its limits at least is no `null`.
fn new_budget() -> Value {
    let tokens = json!({
        "type": ["integer", "null"], "minimum": 1,
        "description": "Tokens of prompts and answers together, by UTC; null for no limit.",
    });
    let cost = json!({"type": ["number", "null"], "exclusiveMinimum": 0});
    let limited =
        |name: &str| json!({"required": [name], "properties": {name: {"type": "number"}}});
    let mut budget = entered(&[], json!({"tokens_per_day": tokens, "cost_per_day": cost}));
    budget["anyOf"] = json!([limited("tokens_per_day"), limited("cost_per_day")]);
    budget
}
