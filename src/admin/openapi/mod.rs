//! The description of the REST interface (OpenAPI 3.1), made of the table that serves it.

mod schemas;

use http::Method;
use serde_json::{Map, Value, json};

use super::{
    call::{Call, Parameter},
    media_type::{JSON, MERGE_PATCH},
    role::Role,
    roles::least_role,
};

/// The document of these calls, whose paths begin with `base`.
pub(super) fn document(base: &str, calls: &[Call]) -> Value {
    let mut paths = Map::new();
    for call in calls {
        let path = paths.entry(call.path).or_insert_with(|| json!({}));
        path[call.method.as_str().to_ascii_lowercase()] = operation(call);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "mcp-layer: the operator's interface",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "Servers, their tools, their authorizations, and what was done with \
                them. Every call needs the token of an operator, with the role in x-least-role or \
                a higher one. What is wrong with a request is told by the name of its member.",
        },
        "servers": [{"url": if base.is_empty() { "/" } else { base }}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas::all(),
        },
    })
}

fn operation(call: &Call) -> Value {
    let parameters = call.parameters.iter().map(in_query);
    let parameters: Vec<Value> = in_path(call.path).chain(parameters).collect();
    let mut operation = json!({
        "operationId": operation_id(call),
        "summary": call.summary,
        "parameters": parameters,
        "responses": responses(call),
        "x-least-role": least_role(&call.method, call.path).map(Role::as_str),
    });
    if let Some(schema) = call.body {
        let mut content = content(schema);
        if call.method == Method::PATCH {
            content[MERGE_PATCH] = content[JSON].clone();
        }
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    operation
}

/// Such as `get_servers_name_tools`.
fn operation_id(call: &Call) -> String {
    let path = call.path.trim_start_matches("/api/v1/");
    let words = path.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    let method = call.method.as_str().to_ascii_lowercase();
    [&*method]
        .into_iter()
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

/// The parameters that stand in a path, in braces.
fn in_path(path: &str) -> impl Iterator<Item = Value> {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| {
        let schema = match name {
            "id" => "TraceId",
            "tool" | "project" => "Text",
            _ => "ServerName",
        };
        json!({"name": name, "in": "path", "required": true, "schema": reference(schema)})
    })
}

fn in_query(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "allowEmptyValue": true,
        "schema": reference(parameter.schema),
    })
}

fn responses(call: &Call) -> Value {
    let error =
        |description: &str| json!({"description": description, "content": content("Error")});
    let mut responses = json!({
        "default": error("What went wrong, by a code that programs can rely on."),
    });
    for (status, description) in call.faults {
        responses[status.to_string()] = error(description);
    }
    let (status, schema) = call.answer;
    responses[status.to_string()] = match schema {
        Some(schema) => json!({
            "description": "It is done.",
            "content": {call.media_type: {"schema": reference(schema)}},
        }),
        None => json!({"description": "It is done; there is nothing to say."}),
    };
    responses
}

fn content(schema: &str) -> Value {
    json!({JSON: {"schema": reference(schema)}})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}
